//! One look at one service: what happened, what is missing, what is too much.

use std::collections::BTreeSet;
use std::sync::Arc;

use loadline_model::report::clip_reason;
use loadline_model::{DesiredStatus, HealthStatus, InstanceArn, KeyValue, StopCode, TaskStatus};

use super::super::seed::{Seed, merged};
use super::super::{Applied, Draft};
use super::{daemon, history, replica};
use crate::command::Reply;
use crate::services::breaker;
use crate::state::{
    Breaker, BreakerReset, Happened, IdSource, NodeStatus, Rollout, Scheduling, Service,
    ServiceEntry, ServiceKey, ServiceStatus, ServiceTags, State, Task, TaskDefinition, Throttle,
    UndoCause, Write,
};

/// Moves the service on. One that is gone, or as it shall be, is no change.
pub(crate) fn reconcile(
    state: &State,
    key: &ServiceKey,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Applied {
    let noted = (Vec::new(), Reply::Noted(()));
    let Some(entry) = state.view.service(key) else { return noted };
    if entry.record.status == ServiceStatus::Inactive {
        return noted;
    }
    let mut look = Look {
        draft: Draft::new(state),
        entry,
        service: Service::clone(&entry.record),
        wake_ms: None,
        now_ms,
        ids,
    };
    let happened = state.ledger.agenda().happened(key).cloned().unwrap_or_default();
    look.learn(&happened);
    match look.service.scheduling {
        Scheduling::Replica => replica::step(&mut look),
        Scheduling::Daemon => daemon::step(&mut look),
    }
    look.finish()
}

/// A look under way.
pub(super) struct Look<'a> {
    pub(super) draft: Draft<'a>,
    pub(super) entry: &'a ServiceEntry,
    /// The record as it will be.
    pub(super) service: Service,
    /// When time alone moves it next.
    wake_ms: Option<u64>,
    pub(super) now_ms: u64,
    pub(super) ids: &'a mut dyn IdSource,
}

/// What new tasks of a service's primary deployment are made of.
pub(super) fn seed<'s>(
    service: &'s Service,
    definition: &'s TaskDefinition,
    group: &'s str,
    now_ms: u64,
) -> Seed<'s> {
    let key = &service.key;
    let pair = |name: &str, value: &str| KeyValue { name: name.into(), value: value.into() };
    let managed = [
        pair("aws:ecs:clusterName", key.cluster.as_str()),
        pair("aws:ecs:serviceName", key.name.as_str()),
    ];
    let own = match service.propagate_tags {
        ServiceTags::None => &[][..],
        ServiceTags::Service => &service.tags,
        ServiceTags::TaskDefinition => &definition.body.tags,
    };
    let managed = if service.managed_tags { &managed[..] } else { &[] };
    Seed {
        cluster: &key.cluster,
        definition,
        overrides: None,
        group,
        service: Some(&key.name),
        started_by: Some(&service.primary().id),
        execute_command: service.execute_command,
        tags: merged(own, managed),
        now_ms,
    }
}

/// How a task of the service counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Of the primary deployment, on a node that keeps it.
    Current,
    /// To be replaced.
    Old,
    /// Asked to stop already.
    Stopping,
}

impl<'a> Look<'a> {
    /// Failures and successes since the last look: throttle and circuit breaker.
    fn learn(&mut self, happened: &Happened) {
        let primary = self.service.primary().id.clone();
        if happened.ran.contains(&primary) {
            self.service.throttle = Throttle::default();
        }
        let definition = &self.service.primary().definition;
        let definition = self.draft.state.view.definitions.get(definition);
        let checks = definition.is_some_and(|definition| definition.checks_health());
        let healthy = if checks { &happened.well } else { &happened.ran }.contains(&primary);
        if healthy && self.service.config.reset == BreakerReset::OnHealthyTask {
            self.service.deployments[0].failed_tasks = 0;
        }
        let Some(failed) = happened.failed.get(&primary) else { return };
        let throttle = self.service.throttle;
        self.service.throttle = breaker::slow_down(throttle, failed.count, self.now_ms);
        let why = failed.newest.as_deref();
        if self.now_ms < self.service.throttle.not_before_ms {
            let told = "is unable to consistently start tasks successfully.";
            self.complain(&history::with_newest(told, why));
        }
        self.fail(failed.count, why);
    }

    /// Counts failures of the primary deployment, the newest for this reason, until there are too
    /// many.
    pub(super) fn fail(&mut self, failed: u32, why: Option<&str>) {
        let config = self.service.config;
        let deployment = &mut self.service.deployments[0];
        deployment.failed_tasks = deployment.failed_tasks.saturating_add(failed);
        let broken = breaker::threshold(config.threshold, self.service.desired_count)
            <= deployment.failed_tasks
            && deployment.rollout == Rollout::InProgress;
        if broken && config.breaker != Breaker::Off {
            self.break_deployment(why);
        }
    }

    fn break_deployment(&mut self, newest: Option<&str>) {
        let failed = self.service.primary().id.clone();
        let told = format!("(deployment {failed}) deployment failed: tasks failed to start.");
        self.tell(&history::with_newest(&told, newest));
        let why = "ECS deployment circuit breaker: tasks failed to start.";
        let why = history::with_newest(why, newest);
        history::end_undo(&mut self.service, Rollout::Failed, self.now_ms);
        history::roll(&mut self.service, Rollout::Failed, &why, self.now_ms);
        if self.service.config.breaker == Breaker::RollBack {
            let cause = (UndoCause::Breaker, why.as_str());
            history::roll_back(&mut self.service, cause, self.now_ms, self.ids);
        }
    }

    /// The service's tasks that are not STOPPED, and how they count.
    pub(super) fn tasks(&self) -> Vec<(&'a Arc<Task>, Standing)> {
        let view = &self.draft.state.view;
        let primary = self.service.primary().id.as_str();
        let stands = |task: &Task| {
            if task.desired == DesiredStatus::Stopped {
                return Standing::Stopping;
            }
            let keeps = |node: &InstanceArn| {
                view.node(node).is_some_and(|node| node.record.status == NodeStatus::Active)
            };
            if task.started_by.as_deref() == Some(primary) && keeps(&task.node) {
                Standing::Current
            } else {
                Standing::Old
            }
        };
        let tasks = self.entry.tasks.iter().filter_map(|arn| view.task(arn));
        tasks.map(|task| (task, stands(task))).collect()
    }

    /// What the task's health checks say; `None` where its definition has none that count.
    pub(super) fn health(&self, task: &Task) -> Option<HealthStatus> {
        let definition = self.draft.state.view.definitions.get(&task.definition)?;
        definition.checks_health().then(|| definition.health_of(task))
    }

    /// Whether it is too early to believe that a task is not well
    /// (`healthCheckGracePeriodSeconds`). If so, the look comes again.
    pub(super) fn is_in_grace(&mut self, task: &Task) -> bool {
        let grace_ms = u64::from(self.service.health_check_grace_s.unwrap_or(0)) * 1_000;
        let since = task.started_at_ms.unwrap_or(self.now_ms);
        let until_ms = since.saturating_add(grace_ms);
        let early = self.now_ms < until_ms;
        if early {
            self.wake_at(until_ms);
        }
        early
    }

    /// Whether a RUNNING task counts as healthy: its health checks say so, or it has none and runs
    /// for some time. If it is only too young, the look comes again.
    pub(super) fn is_healthy(&mut self, task: &Task) -> bool {
        if let Some(health) = self.health(task) {
            return task.last_status == TaskStatus::Running && health == HealthStatus::Healthy;
        }
        let settings = self.draft.state.settings;
        let since = task.started_at_ms.unwrap_or(self.now_ms);
        let from_ms = since.saturating_add(settings.healthy_after_ms);
        if task.last_status == TaskStatus::Running && self.now_ms < from_ms {
            self.wake_at(from_ms);
        }
        task.last_status == TaskStatus::Running && from_ms <= self.now_ms
    }

    /// Whether new tasks may be started now.
    pub(super) fn may_launch(&mut self) -> bool {
        if self.service.primary().rollout == Rollout::Failed {
            return false;
        }
        let not_before_ms = self.service.throttle.not_before_ms;
        if self.now_ms < not_before_ms {
            self.wake_at(not_before_ms);
            return false;
        }
        true
    }

    /// The look comes again at this time, or earlier.
    pub(super) fn wake_at(&mut self, at_ms: u64) {
        self.wake_ms = Some(self.wake_ms.map_or(at_ms, |earlier| earlier.min(at_ms)));
    }

    pub(super) fn tell(&mut self, what: &str) {
        history::tell(&mut self.service, what, self.now_ms, self.ids);
    }

    pub(super) fn complain(&mut self, what: &str) {
        history::complain(&mut self.service, what, self.now_ms, self.ids);
    }

    /// Asks tasks to stop, and tells it.
    pub(super) fn stop(&mut self, tasks: &[&Arc<Task>]) {
        let deployment = &self.service.primary().id;
        self.stop_for(tasks, &format!("Scaling activity initiated by (deployment {deployment})"));
    }

    /// Asks tasks to stop for this reason, and tells it.
    pub(super) fn stop_for(&mut self, tasks: &[&Arc<Task>], reason: &str) {
        if tasks.is_empty() {
            return;
        }
        let mut stopped = Vec::new();
        for task in tasks {
            let stopping = Arc::new(Task {
                desired: DesiredStatus::Stopped,
                version: task.version + 1,
                stop_code: Some(StopCode::ServiceSchedulerInitiated),
                stopped_reason: Some(clip_reason(reason).into()),
                stopping_at_ms: Some(self.now_ms),
                ..Task::clone(task)
            });
            self.draft.moves(&task.node);
            self.draft.writes.push(Write::Task(Arc::clone(&stopping)));
            stopped.push(stopping);
        }
        self.tell(&history::counted("stopped", "running tasks", &stopped));
        self.service.steady = false;
    }

    /// Whether it is as it shall be: the deployment is completed, and once it is told.
    pub(super) fn settle(&mut self, settled: bool) {
        if !settled {
            self.service.steady = false;
            return;
        }
        if self.service.status != ServiceStatus::Active {
            return;
        }
        if self.service.primary().rollout == Rollout::InProgress {
            let id = self.service.primary().id.clone();
            let reason = format!("ECS deployment {id} completed.");
            history::roll(&mut self.service, Rollout::Completed, &reason, self.now_ms);
            history::end_undo(&mut self.service, Rollout::Completed, self.now_ms);
            self.service.deployments[0].completed_at_ms.get_or_insert(self.now_ms);
            self.tell(&format!("(deployment {id}) deployment completed."));
        }
        if !self.service.steady {
            self.service.steady = true;
            self.tell("has reached a steady state.");
        }
    }

    fn finish(mut self) -> Applied {
        let gone = self.entry.tasks.is_empty();
        if self.service.status == ServiceStatus::Draining && gone {
            self.service.status = ServiceStatus::Inactive;
        }
        let view = &self.draft.state.view;
        let started = self.draft.writes.iter().filter_map(|write| match write {
            Write::Task(task) => task.started_by.as_deref(),
            _ => None,
        });
        let there = self.entry.tasks.iter().filter_map(|arn| view.task(arn)?.started_by.as_deref());
        let with_tasks: BTreeSet<&str> = started.chain(there).collect();
        history::prune(&mut self.service, |id| with_tasks.contains(id));
        if self.service != *self.entry.record {
            self.draft.writes.push(Write::Service(Arc::new(self.service)));
        }
        let wake = Write::Wake(self.entry.record.key.clone(), self.wake_ms);
        self.draft.writes.push(wake);
        self.draft.finish(Reply::Noted(()))
    }
}
