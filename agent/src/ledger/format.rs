//! Bytes to entries and back. Pure.

use std::collections::BTreeMap;

use super::{Contents, Entry};

/// The first line.
pub(super) const HEADER: &str = "loadline-ledger 1";

/// Why bytes are no ledger.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The first line is another.
    Header(String),
    /// A durable record at this offset can't be read.
    Damaged(u64),
}

/// What an entry replaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Generation,
    Task(String),
}

impl Key {
    pub(super) fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Task(task) => Self::Task(task.spec.arn.as_str().to_owned()),
            Entry::Remove(arn) => Self::Task(arn.as_str().to_owned()),
            Entry::Generation(_) => Self::Generation,
        }
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// What a file held.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) contents: Contents,
    /// Where the newest entry of each key is.
    pub(super) live: BTreeMap<Key, Place>,
    /// Bytes that are whole records; what follows is to be cut off.
    pub(super) length: u64,
}

/// One record with its newline. `durable` is how much of the file was fsynced when it was written.
pub(super) fn record(json: &[u8], durable: u64) -> Vec<u8> {
    let mut rest = format!("{durable} ").into_bytes();
    rest.extend_from_slice(json);
    let mut line = format!("{:08x} ", crc(&rest)).into_bytes();
    line.extend_from_slice(&rest);
    line.push(b'\n');
    line
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn parse_record(line: &[u8]) -> Option<(u64, Entry)> {
    let (sum, rest) = line.split_at_checked(8)?;
    let rest = rest.strip_prefix(b" ")?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    if sum != crc(rest) {
        return None;
    }
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let durable = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
    Some((durable, serde_json::from_slice(&rest[space + 1..]).ok()?))
}

/// Reads a whole file.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Unreadable> {
    let mut parsed = Parsed { contents: Contents::default(), live: BTreeMap::new(), length: 0 };
    let header_end = HEADER.len() + 1;
    if bytes.len() < header_end && HEADER.as_bytes().starts_with(bytes) {
        // Not even the header got to the disk: nothing was ever remembered.
        return Ok(parsed);
    }
    if bytes.get(..header_end) != Some(format!("{HEADER}\n").as_bytes()) {
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let shown = String::from_utf8_lossy(first).chars().take(80).collect();
        return Err(Unreadable::Header(shown));
    }
    let mut bad_at = None;
    let mut at = header_end as u64;
    parsed.length = at;
    for line in written(&bytes[header_end..]).split_inclusive(|byte| *byte == b'\n') {
        let whole = line.strip_suffix(b"\n").and_then(parse_record);
        let place = Place { offset: at, length: line.len() as u64 };
        at += place.length;
        match (whole, bad_at) {
            (Some((_, entry)), None) => {
                apply(&mut parsed, entry, place);
                parsed.length = at;
            }
            (Some((durable, _)), Some(bad)) if bad < durable => {
                return Err(Unreadable::Damaged(bad));
            }
            (Some(_), Some(_)) => {}
            (None, _) => bad_at = bad_at.or(Some(place.offset)),
        }
    }
    Ok(parsed)
}

/// Without the newlines that the file is filled with behind the last record.
fn written(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|byte| *byte != b'\n');
    let end = last.map_or(0, |last| bytes.len().min(last + 2));
    &bytes[..end]
}

fn apply(parsed: &mut Parsed, entry: Entry, place: Place) {
    let key = Key::of(&entry);
    let contents = &mut parsed.contents;
    if matches!(entry, Entry::Remove(_)) {
        parsed.live.remove(&key);
    } else {
        parsed.live.insert(key, place);
    }
    match entry {
        Entry::Task(task) => {
            contents.tasks.insert(task.spec.arn.clone(), *task);
        }
        Entry::Remove(arn) => {
            contents.tasks.remove(&arn);
        }
        Entry::Generation(generation) => {
            contents.generation = contents.generation.max(generation);
        }
    }
}
