//! What containers use, as their nodes measured it last. In memory only.
//!
//! Invariant: no more is kept than one measurement of each task that runs: what a node tells is
//! taken of its own tasks alone, and what is of a task that has gone is dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use loadline_model::{InstanceArn, Resources, TaskArn, TaskUsage};

use crate::state::{ClusterName, NodeStatus, ServiceKey, View};

/// A measurement that is older counts for nothing, in milliseconds: its node is silent.
pub const FRESH_MS: u64 = 120_000;
/// Measurements that are taken in before those of tasks that have gone are looked for.
const SWEEP_EVERY: usize = 1024;

/// The newest measurement of each task. Clones share it. The lock is held for a look only.
#[derive(Clone, Debug, Default)]
pub struct UsageBoard {
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    by_task: BTreeMap<TaskArn, Arc<TaskUsage>>,
    /// How many were put since the last sweep.
    put: usize,
}

impl UsageBoard {
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a node tells of its own tasks; gives those that are not its own.
    pub fn put(&self, view: &View, node: &InstanceArn, told: Vec<TaskUsage>) -> Vec<TaskArn> {
        let is_own = |usage: &TaskUsage| {
            view.task(&usage.task).is_some_and(|task| task.held && task.node == *node)
        };
        let (own, foreign): (Vec<_>, Vec<_>) = told.into_iter().partition(is_own);
        let mut shelf = self.lock();
        shelf.put += own.len();
        for usage in own {
            shelf.by_task.insert(usage.task.clone(), Arc::new(usage));
        }
        if SWEEP_EVERY < shelf.put {
            shelf.put = 0;
            shelf.by_task.retain(|task, _| view.task(task).is_some_and(|task| task.held));
        }
        foreign.into_iter().map(|usage| usage.task).collect()
    }

    /// The newest of a task that runs, unless it is too old to mean anything.
    #[must_use]
    pub fn get(&self, task: &TaskArn, now_ms: u64) -> Option<Arc<TaskUsage>> {
        let found = self.lock().by_task.get(task).cloned();
        found.filter(|usage| now_ms < usage.at_ms.saturating_add(FRESH_MS))
    }
}

/// Used and reserved, of CPU and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// CPU units in use.
    pub cpu_units_used: u64,
    /// Memory in use, in bytes.
    pub memory_bytes_used: u64,
    /// What it is a part of: what tasks reserved, or nodes registered.
    pub of: Resources,
}

impl Sum {
    /// CPU in use, in percent; `None` of nothing.
    #[must_use]
    pub fn cpu_percent(&self) -> Option<f64> {
        percent(self.cpu_units_used as f64, self.of.cpu_units as f64)
    }

    /// Memory in use, in percent; `None` of nothing.
    #[must_use]
    pub fn memory_percent(&self) -> Option<f64> {
        percent(self.memory_bytes_used as f64 / 1024.0 / 1024.0, self.of.memory_mib as f64)
    }

    fn add(&mut self, usage: &TaskUsage) {
        self.cpu_units_used = self.cpu_units_used.saturating_add(usage.cpu_units());
        self.memory_bytes_used = self.memory_bytes_used.saturating_add(usage.memory_bytes());
    }
}

fn percent(part: f64, whole: f64) -> Option<f64> {
    (0.0 < whole).then(|| part / whole * 100.0)
}

/// ECS's CPUUtilization and MemoryUtilization: of a service what its running tasks use of what
/// they reserved, of a cluster what tasks use of what its ACTIVE and DRAINING nodes registered.
#[derive(Clone, Debug, Default)]
pub struct Utilization {
    /// Of clusters that have nodes.
    pub clusters: BTreeMap<ClusterName, Sum>,
    /// Of services with a measured task.
    pub services: BTreeMap<ServiceKey, Sum>,
}

/// Sums everything up.
#[must_use]
pub fn utilization(view: &View, board: &UsageBoard, now_ms: u64) -> Utilization {
    let mut all = Utilization::default();
    for entry in view.nodes.values() {
        let record = &entry.record;
        if matches!(record.status, NodeStatus::Active | NodeStatus::Draining) {
            let sum = all.clusters.entry(record.cluster.clone()).or_default();
            sum.of.cpu_units = sum.of.cpu_units.saturating_add(record.registered.cpu_units);
            sum.of.memory_mib = sum.of.memory_mib.saturating_add(record.registered.memory_mib);
        }
    }
    let measured: Vec<Arc<TaskUsage>> = board.lock().by_task.values().cloned().collect();
    for usage in measured.iter().filter(|usage| now_ms < usage.at_ms.saturating_add(FRESH_MS)) {
        let Some(task) = view.task(&usage.task).filter(|task| task.held) else { continue };
        if let Some(sum) = all.clusters.get_mut(&task.cluster) {
            sum.add(usage);
        }
        let Some(name) = task.service.clone() else { continue };
        let service = ServiceKey { cluster: task.cluster.clone(), name };
        let sum = all.services.entry(service).or_default();
        sum.add(usage);
        sum.of.cpu_units = sum.of.cpu_units.saturating_add(task.reserved.cpu_units);
        sum.of.memory_mib = sum.of.memory_mib.saturating_add(task.reserved.memory_mib);
    }
    all
}
