//! What new tasks are made of, whoever asks for them: RunTask, StartTask or a service.

use std::sync::Arc;

use loadline_model::{
    ContainerStatus, DesiredStatus, HealthStatus, InstanceArn, KeyValue, Resources, TaskArn,
    TaskStatus,
};

use super::{Draft, roles};
use crate::command::{PlacementFailure, Ran};
use crate::scheduler::{self, Placer};
use crate::state::{
    ClusterName, IdSource, Pool, ServiceName, State, Task, TaskContainer, TaskDefinition,
    TaskOverrides, Write,
};

/// What the tasks of one request have in common.
pub(super) struct Seed<'a> {
    pub(super) cluster: &'a ClusterName,
    pub(super) definition: &'a TaskDefinition,
    pub(super) overrides: Option<&'a TaskOverrides>,
    pub(super) group: &'a str,
    pub(super) service: Option<&'a ServiceName>,
    pub(super) started_by: Option<&'a str>,
    pub(super) execute_command: bool,
    pub(super) tags: Vec<KeyValue>,
    pub(super) now_ms: u64,
}

impl Seed<'_> {
    /// What one of them takes from its node's line.
    pub(super) fn need(&self, state: &State) -> Resources {
        let any = state.view.scope.task_arn(self.cluster, "-");
        let any = any.expect("a cluster's name is plain");
        self.definition.task_spec(any, self.overrides).reservation()
    }

    /// Why none of them can start anywhere, where a role of theirs is the reason.
    pub(super) fn role_failure(&self, state: &State) -> Option<PlacementFailure> {
        roles::failure(state, &self.definition.roles(self.overrides))
    }

    /// Places up to `count` tasks; stops at the first that finds no place, because the others
    /// would find none either.
    pub(super) fn place(
        &self,
        draft: &mut Draft<'_>,
        request: &scheduler::Request<'_>,
        count: u32,
        ids: &mut dyn IdSource,
    ) -> Ran {
        let need = self.need(draft.state);
        let mut ran = Ran { tasks: Vec::new(), failures: Vec::new() };
        if let Some(failure) = self.role_failure(draft.state) {
            ran.failures.push(failure);
            return ran;
        }
        let mut placer = Placer::new(draft.state, request, count);
        for _ in 0..count {
            let id = ids.fresh();
            let seed = u64::from_str_radix(id.get(16..).unwrap_or("0"), 16).unwrap_or(0);
            match placer.next(seed) {
                Ok(node) => ran.tasks.push(self.start(draft, &id, &node, need, ids)),
                Err(failures) => {
                    ran.failures = failures;
                    break;
                }
            }
        }
        ran
    }

    /// One task on a node that was asked.
    pub(super) fn start(
        &self,
        draft: &mut Draft<'_>,
        id: &str,
        node: &InstanceArn,
        reserved: Resources,
        ids: &mut dyn IdSource,
    ) -> Arc<Task> {
        let arn = draft
            .state
            .view
            .scope
            .task_arn(self.cluster, id)
            .expect("an id is 32 hex digits and a cluster's name is plain");
        let task = Arc::new(self.task(draft.state.ledger.pool(), arn, node, reserved, ids));
        draft.moves(node);
        draft.writes.push(Write::Task(Arc::clone(&task)));
        task
    }

    fn task(
        &self,
        pool: &Pool,
        arn: TaskArn,
        node: &InstanceArn,
        reserved: Resources,
        ids: &mut dyn IdSource,
    ) -> Task {
        let containers = self.definition.body.containers.iter().map(|container| TaskContainer {
            name: container.name.clone(),
            id: uuid(&ids.fresh()).into(),
            last_status: ContainerStatus::Pending,
            runtime_id: None,
            image_digest: None,
            exit_code: None,
            reason: None,
            network_bindings: Vec::new(),
            addresses: None,
            health: HealthStatus::Unknown,
            restarts: 0,
        });
        Task {
            arn,
            cluster: pool.cluster(self.cluster),
            node: node.clone(),
            definition: self.definition.key(),
            overrides: self.overrides.cloned().map(Box::new),
            reserved,
            desired: DesiredStatus::Running,
            last_status: TaskStatus::Pending,
            held: true,
            version: 1,
            report_version: 0,
            group: pool.text(self.group),
            service: self.service.cloned(),
            started_by: self.started_by.map(|by| pool.text(by)),
            execute_command: self.execute_command,
            tags: self.tags.clone(),
            containers: containers.collect(),
            stop_code: None,
            stopped_reason: None,
            created_at_ms: self.now_ms,
            pull_started_at_ms: None,
            pull_stopped_at_ms: None,
            started_at_ms: None,
            stopping_at_ms: None,
            protected_until_ms: None,
            execution_stopped_at_ms: None,
            stopped_at_ms: None,
        }
    }
}

/// Tags, and below them those of `lower` whose names are not there yet.
pub(super) fn merged(tags: &[KeyValue], lower: &[KeyValue]) -> Vec<KeyValue> {
    let mut all = tags.to_vec();
    for tag in lower {
        if !all.iter().any(|have| have.name == tag.name) {
            all.push(tag.clone());
        }
    }
    all
}

/// 32 hex digits in the form 8-4-4-4-12, which ECS gives container ids.
pub(super) fn uuid(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}
