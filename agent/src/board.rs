//! The newest report of each task, on its way to the controller. Older ones are skipped. Every new
//! session begins with all of them: a controller that was made of a backup does not know what the
//! one before it acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use loadline_model::{TaskArn, TaskReport, TaskStatus};
use tokio::sync::Notify;

#[derive(Debug)]
struct Shown {
    report: TaskReport,
    acked: u64,
}

/// How much there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// Tasks that were taken in, and no more: PENDING is how a task begins for the controller too.
    TakenIn,
    /// What others wait for.
    Pressing,
}

#[derive(Debug, Default)]
struct Reports {
    shown: BTreeMap<TaskArn, Shown>,
    /// Those of them that were not acknowledged: a look for what to send costs no more than these.
    open: BTreeSet<TaskArn>,
}

impl Reports {
    fn news(&self, sent: &BTreeMap<TaskArn, u64>) -> impl Iterator<Item = &TaskReport> {
        let open = self.open.iter().filter_map(|task| self.shown.get(task));
        let is_news = |entry: &&Shown| {
            let sent = sent.get(&entry.report.task).copied().unwrap_or(0);
            sent.max(entry.acked) < entry.report.version
        };
        open.filter(is_news).map(|entry| &entry.report)
    }
}

/// Shared by the tasks' actors, which publish, and the session, which sends. The lock is held for
/// a look only, never across an await.
#[derive(Debug, Default)]
pub struct Board {
    reports: Mutex<Reports>,
    changed: Notify,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins: what was acknowledged in another one is to be told to this one's
    /// controller as well.
    pub fn begin_session(&self) {
        let mut reports = self.lock();
        let Reports { shown, open } = &mut *reports;
        for entry in shown.values_mut() {
            entry.acked = 0;
        }
        open.extend(shown.keys().cloned());
    }

    /// Shows a report, unless a newer one of the task is shown already.
    pub fn publish(&self, report: TaskReport) {
        let mut reports = self.lock();
        let acked = match reports.shown.get(&report.task) {
            Some(old) if report.version < old.report.version => return,
            Some(old) => old.acked,
            None => 0,
        };
        if acked < report.version {
            reports.open.insert(report.task.clone());
        }
        reports.shown.insert(report.task.clone(), Shown { report, acked });
        drop(reports);
        self.changed.notify_one();
    }

    /// Takes a task's report away: the controller has let go of it.
    pub fn retract(&self, task: &TaskArn) {
        let mut reports = self.lock();
        reports.shown.remove(task);
        reports.open.remove(task);
    }

    /// The controller has this version of a task's report, and every older one.
    pub fn acknowledge(&self, task: &TaskArn, version: u64) {
        let mut reports = self.lock();
        let Some(shown) = reports.shown.get_mut(task) else { return };
        shown.acked = shown.acked.max(version.min(shown.report.version));
        if shown.acked == shown.report.version {
            reports.open.remove(task);
        }
    }

    /// Up to `max` reports that were neither acknowledged nor, as far as `sent` knows, sent.
    #[must_use]
    pub fn to_send(&self, sent: &BTreeMap<TaskArn, u64>, max: usize) -> Vec<TaskReport> {
        self.lock().news(sent).take(max).cloned().collect()
    }

    /// What there is to send.
    #[must_use]
    pub fn news(&self, sent: &BTreeMap<TaskArn, u64>) -> News {
        let reports = self.lock();
        let mut news = News::None;
        for report in reports.news(sent) {
            if report.status != TaskStatus::Pending {
                return News::Pressing;
            }
            news = News::TakenIn;
        }
        news
    }

    /// Takes out of `sent` what was acknowledged, or is shown no more.
    pub fn drop_settled(&self, sent: &mut BTreeMap<TaskArn, u64>) {
        let reports = self.lock();
        sent.retain(|task, _| reports.open.contains(task));
    }

    /// The newest report of a task.
    #[must_use]
    pub fn get(&self, task: &TaskArn) -> Option<TaskReport> {
        self.lock().shown.get(task).map(|entry| entry.report.clone())
    }

    /// Everything that is shown.
    #[must_use]
    pub fn all(&self) -> Vec<TaskReport> {
        self.lock().shown.values().map(|entry| entry.report.clone()).collect()
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
        board.acknowledge(&report(1, 3).task, 3);
        assert_eq!(versions(&BTreeMap::new()), [1], "it was acknowledged twice");
        board.retract(&report(2, 1).task);
        board.publish(report(3, 1));
        sent.extend([(report(2, 1).task, 1), (report(3, 1).task, 1)]);
        board.drop_settled(&mut sent);
        assert_eq!(sent.into_keys().collect::<Vec<_>>(), [report(3, 1).task]);
        assert_eq!(versions(&BTreeMap::new()), [1]);
    }

    #[test]
    fn what_an_earlier_session_acknowledged_is_sent_once_more_in_the_next_one() {
        let board = Board::default();
        let none = BTreeMap::new();
        for n in [1, 2, 3] {
            board.publish(report(n, 1));
            board.acknowledge(&report(n, 1).task, 1);
        }
        board.retract(&report(3, 1).task);
        assert_eq!(board.to_send(&none, 9), []);
        board.begin_session();
        assert_eq!(board.to_send(&none, 9), [report(1, 1), report(2, 1)]);
        board.acknowledge(&report(1, 1).task, 1);
        assert_eq!(board.to_send(&none, 9), [report(2, 1)]);
    }

    #[test]
    fn a_task_that_was_only_taken_in_is_no_pressing_news() {
        let board = Board::default();
        let none = BTreeMap::new();
        assert_eq!(board.news(&none), News::None);
        board.publish(TaskReport { status: TaskStatus::Pending, ..report(1, 1) });
        assert_eq!(board.news(&none), News::TakenIn);
        board.publish(TaskReport { status: TaskStatus::Running, ..report(2, 1) });
        assert_eq!(board.news(&none), News::Pressing);
        assert_eq!(board.news(&BTreeMap::from([(report(2, 1).task, 1)])), News::TakenIn);
    }
}
