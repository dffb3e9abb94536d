//! The newest report of each task, on its way to the controller. Older ones are skipped; what was
//! not acknowledged is sent again in every new session.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use loadline_model::{TaskArn, TaskReport};
use tokio::sync::Notify;

#[derive(Debug)]
struct Shown {
    report: TaskReport,
    acked: u64,
}

/// Shared by the tasks' actors, which publish, and the session, which sends. The lock is held for
/// a look only, never across an await.
#[derive(Debug, Default)]
pub struct Board {
    shown: Mutex<BTreeMap<TaskArn, Shown>>,
    changed: Notify,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskArn, Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a report, unless a newer one of the task is shown already.
    pub fn publish(&self, report: TaskReport) {
        let mut shown = self.lock();
        let acked = match shown.get(&report.task) {
            Some(old) if report.version < old.report.version => return,
            Some(old) => old.acked,
            None => 0,
        };
        shown.insert(report.task.clone(), Shown { report, acked });
        drop(shown);
        self.changed.notify_one();
    }

    /// Takes a task's report away: the controller has let go of it.
    pub fn retract(&self, task: &TaskArn) {
        self.lock().remove(task);
    }

    /// The controller has this version of a task's report, and every older one.
    pub fn acknowledge(&self, task: &TaskArn, version: u64) {
        if let Some(shown) = self.lock().get_mut(task) {
            shown.acked = shown.acked.max(version.min(shown.report.version));
        }
    }

    /// Up to `max` reports that were neither acknowledged nor, as far as `sent` knows, sent.
    #[must_use]
    pub fn to_send(&self, sent: &BTreeMap<TaskArn, u64>, max: usize) -> Vec<TaskReport> {
        let shown = self.lock();
        let is_news = |entry: &&Shown| {
            let sent = sent.get(&entry.report.task).copied().unwrap_or(0);
            sent.max(entry.acked) < entry.report.version
        };
        shown.values().filter(is_news).take(max).map(|entry| entry.report.clone()).collect()
    }

    /// Takes out of `sent` what is shown no more.
    pub fn drop_retracted(&self, sent: &mut BTreeMap<TaskArn, u64>) {
        let shown = self.lock();
        sent.retain(|task, _| shown.contains_key(task));
    }

    /// The newest report of a task.
    #[must_use]
    pub fn get(&self, task: &TaskArn) -> Option<TaskReport> {
        self.lock().get(task).map(|entry| entry.report.clone())
    }

    /// Everything that is shown.
    #[must_use]
    pub fn all(&self) -> Vec<TaskReport> {
        self.lock().values().map(|entry| entry.report.clone()).collect()
    }

    /// Returns once something was published since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::testing;

    fn report(n: u32, version: u64) -> TaskReport {
        let mut task = testing::task(n);
        task.version = version;
        task.report()
    }

    #[test]
    fn only_the_newest_report_is_sent_and_only_until_it_is_acknowledged() {
        let board = Board::default();
        let versions = |sent: &BTreeMap<_, _>| -> Vec<u64> {
            board.to_send(sent, 9).iter().map(|report| report.version).collect()
        };
        for (n, version) in [(1, 1), (1, 3), (1, 2), (2, 1)] {
            board.publish(report(n, version));
        }
        let mut sent = BTreeMap::new();
        assert_eq!(versions(&sent), [3, 1]);
        sent.insert(report(1, 3).task, 3);
        assert_eq!(versions(&sent), [1]);
        assert_eq!(versions(&BTreeMap::new()), [3, 1], "a new session sends both again");
        board.acknowledge(&report(1, 3).task, 2);
        assert_eq!(versions(&BTreeMap::new()), [3, 1], "an older one was acknowledged");
        board.acknowledge(&report(1, 3).task, 3);
        assert_eq!(versions(&BTreeMap::new()), [1]);
        board.retract(&report(2, 1).task);
        sent.insert(report(2, 1).task, 1);
        board.drop_retracted(&mut sent);
        assert_eq!(sent.into_keys().collect::<Vec<_>>(), [report(1, 3).task]);
        assert_eq!(versions(&BTreeMap::new()), [0; 0]);
    }
}
