//! What the ledger remembers, forgets, and refuses.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;

use super::*;
use crate::task::testing;

fn arn(n: u32) -> TaskArn {
    testing::task(n).spec.arn
}

async fn put(ledger: &Ledger, n: u32, version: u64) {
    let mut task = testing::task(n);
    task.version = version;
    ledger.write(&[Entry::Task(Box::new(task))], Purpose::Progress).await.unwrap();
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, empty) = Ledger::open(dir.path()).unwrap();
    assert_eq!(empty, Contents::default());
    for n in 0..3 {
        put(&ledger, n, 1).await;
    }
    put(&ledger, 1, 9).await;
    let last = [Entry::Remove(arn(2)), Entry::Generation(5)];
    ledger.write(&last, Purpose::Admission).await.unwrap();
    let (_, contents) = Ledger::open(dir.path()).unwrap();
    assert_eq!(contents.generation, 5);
    let found: Vec<_> = contents.tasks.values().map(|task| task.version).collect();
    assert_eq!(found, [1, 9]);
}

#[tokio::test]
async fn a_torn_last_record_is_dropped_and_the_rest_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path()).unwrap();
    put(&ledger, 1, 1).await;
    let path = dir.path().join("ledger");
    let length = records(&std::fs::read(&path).unwrap()) as u64;
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"0123abcd 17 {\"remo", length).unwrap();
    let (ledger, contents) = Ledger::open(dir.path()).unwrap();
    assert_eq!(contents.tasks.len(), 1);
    put(&ledger, 2, 1).await;
    let (_, contents) = Ledger::open(dir.path()).unwrap();
    assert_eq!(contents.tasks.len(), 2, "what came after it");
}

/// Length of the records, without the newlines that the file is filled with behind them.
fn records(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != b'\n').unwrap() + 2
}

#[tokio::test]
async fn records_take_the_place_of_newlines_and_the_file_keeps_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path()).unwrap();
    let path = dir.path().join("ledger");
    put(&ledger, 1, 1).await;
    let before = std::fs::read(&path).unwrap();
    for version in 2..20 {
        put(&ledger, 1, version).await;
    }
    let after = std::fs::read(&path).unwrap();
    assert_eq!(before.len(), after.len());
    assert!(records(&before) < records(&after) && records(&after) < after.len());
    // And a file that is nearly full of records grows in time.
    let mut task = testing::task(2);
    task.spec.containers[0].image = "x".repeat(after.len());
    ledger.write(&[Entry::Task(Box::new(task.clone()))], Purpose::Progress).await.unwrap();
    put(&ledger, 3, 1).await;
    let (_, contents) = Ledger::open(dir.path()).unwrap();
    assert_eq!(contents.tasks.len(), 3);
    assert_eq!(contents.tasks[&task.spec.arn], task);
}

#[tokio::test]
async fn damage_to_what_was_durable_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path()).unwrap();
    put(&ledger, 1, 1).await;
    put(&ledger, 2, 1).await;
    put(&ledger, 3, 1).await;
    let path = dir.path().join("ledger");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = records(&bytes) / 2;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Ledger::open(dir.path()).unwrap_err();
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
    std::fs::write(&path, "something else\n").unwrap();
    let error = Ledger::open(dir.path()).unwrap_err();
    assert!(matches!(error, LedgerError::Format { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_mostly_old_is_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path()).unwrap();
    let mut task = testing::task(1);
    task.spec.containers[0].image = "x".repeat(50_000);
    for version in 0..100 {
        task.version = version;
        let entry = Entry::Task(Box::new(task.clone()));
        ledger.write(&[entry], Purpose::Note).await.unwrap();
    }
    let length = std::fs::metadata(dir.path().join("ledger")).unwrap().len();
    assert!(length < 2_000_000, "{length}");
    let (_, contents) = Ledger::open(dir.path()).unwrap();
    assert_eq!(contents.tasks[&task.spec.arn].version, 99);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn cutting_the_file_anywhere_loses_only_the_end(cut in 0.0f64..1.0) {
        let mut bytes = format!("{}\n", format::HEADER).into_bytes();
        for n in 1..6 {
            let json = serde_json::to_vec(&Entry::Generation(n)).unwrap();
            bytes.extend(format::record(&json, 0));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let at = (bytes.len() as f64 * cut) as usize;
        let parsed = format::parse(&bytes[..at]).unwrap();
        prop_assert!(parsed.length <= at as u64);
        prop_assert!(parsed.contents.generation <= 5);
    }
}
