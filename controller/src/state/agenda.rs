//! Which services have to be looked at, and why. Changes of tasks, nodes and services put them
//! here as they are taken in, so that the work of a commit is what the commit touched.

use std::collections::{BTreeMap, BTreeSet};

use loadline_model::{HealthStatus, StopCode, TaskStatus};

use super::{ClusterName, Rebalancing, Scheduling, Service, ServiceKey, ServiceStatus, Task};

/// The services to look at.
#[derive(Clone, Debug, Default)]
pub struct Agenda {
    due: BTreeMap<ServiceKey, Happened>,
    by_time: BTreeSet<(u64, ServiceKey)>,
    times: BTreeMap<ServiceKey, u64>,
    /// Services that look for a place, or (DAEMON) for new nodes.
    looking: BTreeMap<ClusterName, BTreeSet<ServiceKey>>,
    /// Services whose tasks may move when nodes come and go.
    balancing: BTreeMap<ClusterName, BTreeSet<ServiceKey>>,
    /// Clusters in which a task gave its room back: looked at once a tick, not once a task.
    roomier: BTreeSet<ClusterName>,
}

/// What happened to a service since it was last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Tasks that stopped before they ran, by deployment.
    pub failed: BTreeMap<String, Failures>,
    /// Deployments of which a task reached RUNNING.
    pub ran: BTreeSet<String>,
    /// Deployments of which a container became HEALTHY.
    pub well: BTreeSet<String>,
}

/// Tasks of one deployment that stopped before they ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: u32,
    /// Why the newest of them did, if anybody said.
    pub newest: Option<String>,
}

impl Happened {
    /// What a task's change means. A task that is new, or read from the store, means nothing.
    pub(super) fn between(before: Option<&Task>, after: &Task) -> Self {
        let mut happened = Self::default();
        let (Some(before), Some(deployment)) = (before, after.started_by.as_ref()) else {
            return happened;
        };
        let reached = |status| before.last_status != status && after.last_status == status;
        let ours = [Some(StopCode::ServiceSchedulerInitiated), Some(StopCode::UserInitiated)];
        if reached(TaskStatus::Stopped)
            && after.started_at_ms.is_none()
            && !ours.contains(&after.stop_code)
        {
            let failures = Failures { count: 1, newest: why(after) };
            happened.failed.insert(deployment.to_string(), failures);
        }
        if reached(TaskStatus::Running) {
            happened.ran.insert(deployment.to_string());
        }
        let is_well = |task: &Task| {
            task.containers.iter().filter(|c| c.health == HealthStatus::Healthy).count()
        };
        if is_well(before) < is_well(after) {
            happened.well.insert(deployment.to_string());
        }
        happened
    }
}

/// Why a task stopped: its own reason, or that of the first container that has one where the task's
/// says nothing of it.
fn why(task: &Task) -> Option<String> {
    let own = task.stopped_reason.as_deref().filter(|reason| !reason.is_empty());
    let of_container = task.containers.iter().find_map(|container| container.reason.as_deref());
    match (own, of_container.filter(|reason| !reason.is_empty())) {
        (Some(own), Some(more)) if !own.contains(more) => Some(format!("{own}: {more}")),
        (own, more) => own.or(more).map(ToOwned::to_owned),
    }
}

impl Agenda {
    /// The next service to look at.
    #[must_use]
    pub fn next(&self) -> Option<&ServiceKey> {
        self.due.keys().next()
    }

    /// What happened to a service.
    #[must_use]
    pub fn happened(&self, service: &ServiceKey) -> Option<&Happened> {
        self.due.get(service)
    }

    /// It was looked at, and what that did is taken in.
    pub fn done(&mut self, service: &ServiceKey) {
        self.due.remove(service);
    }

    /// Time has passed: puts what it makes due.
    pub fn tick(&mut self, now_ms: u64) {
        while let Some((at_ms, service)) = self.by_time.first().cloned() {
            if now_ms < at_ms {
                break;
            }
            self.wake_at(&service, None);
            self.add(&service, Happened::default());
        }
        for cluster in std::mem::take(&mut self.roomier) {
            for service in self.looking.get(&cluster).cloned().unwrap_or_default() {
                self.add(&service, Happened::default());
            }
        }
    }

    pub(super) fn add(&mut self, service: &ServiceKey, happened: Happened) {
        let known = self.due.entry(service.clone()).or_default();
        for (deployment, newer) in happened.failed {
            let none = Failures { count: 0, newest: None };
            let failures = known.failed.entry(deployment).or_insert(none);
            failures.count = failures.count.saturating_add(newer.count);
            failures.newest = newer.newest.or(failures.newest.take());
        }
        known.ran.extend(happened.ran);
        known.well.extend(happened.well);
    }

    pub(super) fn service(&mut self, service: &Service) {
        let looks = service.status == ServiceStatus::Active
            && (service.scheduling == Scheduling::Daemon || !service.unplaced.is_empty());
        let moves = service.status == ServiceStatus::Active
            && service.rebalancing == Rebalancing::Enabled
            && 1 < service.desired_count;
        for (list, listed) in [(&mut self.looking, looks), (&mut self.balancing, moves)] {
            let services = list.entry(service.key.cluster.clone()).or_default();
            if listed {
                services.insert(service.key.clone());
            } else {
                services.remove(&service.key);
            }
        }
        if service.status == ServiceStatus::Inactive {
            self.wake_at(&service.key, None);
        } else {
            self.add(&service.key, Happened::default());
        }
    }

    pub(super) fn wake_at(&mut self, service: &ServiceKey, at_ms: Option<u64>) {
        if let Some(old) = self.times.remove(service) {
            self.by_time.remove(&(old, service.clone()));
        }
        if let Some(at_ms) = at_ms {
            self.times.insert(service.clone(), at_ms);
            self.by_time.insert((at_ms, service.clone()));
        }
    }

    pub(super) fn node_moved(&mut self, cluster: &ClusterName, services: BTreeSet<ServiceKey>) {
        let looking = self.looking.get(cluster).cloned().unwrap_or_default();
        let balancing = self.balancing.get(cluster).cloned().unwrap_or_default();
        for service in services.into_iter().chain(looking).chain(balancing) {
            self.add(&service, Happened::default());
        }
    }

    pub(super) fn room_was_made(&mut self, cluster: &ClusterName) {
        self.roomier.insert(cluster.clone());
    }
}
