//! A small world for tests: a state, a clock that is set by hand, and ids that count.

use std::collections::BTreeMap;

use loadline_model::{
    ContainerName, ContainerReport, ContainerSpec, ContainerStatus, HealthStatus, InstanceArn,
    Resources, TaskArn, TaskReport, TaskStatus,
};

use super::apply;
use crate::command::{
    Command, CreateCluster, DefinitionRef, NodeConnected, PropagateTags, Ran, Refusal,
    RegisterNode, RegisterTaskDefinition, Reply, RunTask,
};
use crate::state::{
    ClusterName, CountingIds, DefinitionBody, Family, NodeAttribute, Scope, State, Task, Write,
};
use crate::store::{Table, mutations};

/// The scope of every test.
pub(crate) fn scope() -> Scope {
    Scope { partition: "aws".into(), region: "r".into(), account: "1".into() }
}

/// The cluster `default`.
pub(crate) fn cluster() -> ClusterName {
    ClusterName::parse("default").unwrap()
}

/// The node with this id.
pub(crate) fn node_arn(id: &str) -> InstanceArn {
    scope().instance_arn(&cluster(), id).unwrap()
}

/// A container that reserves this much.
pub(crate) fn container(name: &str, cpu_units: u64, memory_mib: u64) -> ContainerSpec {
    ContainerSpec {
        cpu_units,
        memory_mib: Some(memory_mib),
        ..ContainerSpec::new(ContainerName::parse(name).unwrap(), "probe")
    }
}

/// A definition of one container named `main`.
pub(crate) fn definition(family: &str, cpu_units: u64, memory_mib: u64) -> RegisterTaskDefinition {
    let body = DefinitionBody {
        ..DefinitionBody::new(
            Family::parse(family).unwrap(),
            vec![container("main", cpu_units, memory_mib)],
        )
    };
    RegisterTaskDefinition { body, by: None }
}

/// RunTask with nothing but a family and a count.
pub(crate) fn run(family: &str, count: u32) -> RunTask {
    let family = Family::parse(family).unwrap();
    RunTask {
        cluster: cluster(),
        definition: DefinitionRef { family, revision: None },
        count,
        overrides: None,
        group: None,
        started_by: None,
        execute_command: false,
        client_token: None,
        tags: vec![],
        propagate_tags: PropagateTags::None,
        constraints: vec![],
        strategy: vec![],
    }
}

/// A node's registration.
pub(crate) fn register(id: &str, cpu_units: u64, memory_mib: u64) -> RegisterNode {
    RegisterNode {
        node: node_arn(id),
        resources: Resources { cpu_units, memory_mib },
        attributes: vec![],
        agent_version: "1.2.3".into(),
    }
}

/// A session's begin.
pub(crate) fn connect(id: &str, run_id: &str) -> NodeConnected {
    NodeConnected { node: node_arn(id), run_id: run_id.into(), generation: 0 }
}

/// A report of a task with the one container `main`.
pub(crate) fn report(task: &TaskArn, version: u64, status: TaskStatus) -> TaskReport {
    let container = match status {
        TaskStatus::Stopped => ContainerStatus::Stopped,
        TaskStatus::Running => ContainerStatus::Running,
        _ => ContainerStatus::Pending,
    };
    TaskReport {
        task: task.clone(),
        version,
        status,
        containers: vec![ContainerReport {
            name: ContainerName::parse("main").unwrap(),
            runtime_id: Some("r1".into()),
            image_digest: None,
            status: container,
            exit_code: (status == TaskStatus::Stopped).then_some(7),
            reason: None,
            started_at_ms: None,
            finished_at_ms: None,
            health: HealthStatus::Unknown,
            restarts: 0,
            network_bindings: vec![],
            addresses: None,
        }],
        stop_code: None,
        stopped_reason: None,
        pull_started_at_ms: None,
        pull_stopped_at_ms: None,
        started_at_ms: None,
        stopping_at_ms: None,
        stopped_at_ms: None,
    }
}

/// The world.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now_ms: u64,
    pub(crate) ids: CountingIds,
    /// What a store would hold.
    pub(crate) disk: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl World {
    /// With the cluster `default` and nothing else.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            state: State::empty(scope()),
            now_ms: 1_000_000,
            ids: CountingIds::default(),
            disk: BTreeMap::new(),
        };
        world.must(CreateCluster { cluster: cluster(), tags: vec![] });
        world
    }

    /// A connected node.
    pub(crate) fn node(&mut self, id: &str, cpu_units: u64, memory_mib: u64) -> &mut Self {
        self.must(register(id, cpu_units, memory_mib));
        self.must(connect(id, "run"));
        self
    }

    /// A connected node with an attribute.
    pub(crate) fn node_with(&mut self, id: &str, name: &str, value: &str) -> &mut Self {
        let attribute = NodeAttribute { name: name.into(), value: Some(value.into()) };
        self.must(RegisterNode { attributes: vec![attribute], ..register(id, 4096, 4096) });
        self.must(connect(id, "run"));
        self
    }

    /// Decides a command, and takes it in if it was not refused.
    pub(crate) fn does(&mut self, command: impl Into<Command>) -> Result<Reply, Refusal> {
        self.writes(command).map(|(_, reply)| reply)
    }

    /// The same, with what it wrote.
    pub(crate) fn writes(
        &mut self,
        command: impl Into<Command>,
    ) -> Result<(Vec<Write>, Reply), Refusal> {
        let command = command.into();
        let (writes, reply) = apply(&self.state, &command, self.now_ms, &mut self.ids)?;
        for write in &writes {
            self.state.absorb(write);
        }
        for mutation in mutations(writes.iter()) {
            let key = (mutation.table, mutation.key);
            match mutation.value {
                Some(value) => self.disk.insert(key, value),
                None => self.disk.remove(&key),
            };
        }
        Ok((writes, reply))
    }

    /// Looks at the services that something happened to, as the owner does after each command.
    pub(crate) fn looks(&mut self) -> &mut Self {
        self.state.ledger.agenda_mut().tick(self.now_ms);
        while let Some(key) = self.state.ledger.agenda().next().cloned() {
            self.must(crate::command::Reconcile { key: key.clone() });
            self.state.ledger.agenda_mut().done(&key);
        }
        self
    }

    /// A command that must not be refused.
    #[track_caller]
    pub(crate) fn must(&mut self, command: impl Into<Command>) -> Reply {
        self.does(command).unwrap_or_else(|refusal| panic!("refused: {refusal}"))
    }

    /// RunTask that must not be refused.
    #[track_caller]
    pub(crate) fn run(&mut self, command: RunTask) -> Ran {
        match self.must(command) {
            Reply::Ran(ran) => ran,
            other => panic!("{other:?}"),
        }
    }

    /// A task that is there.
    #[track_caller]
    pub(crate) fn task(&self, arn: &TaskArn) -> &Task {
        self.state.view.task(arn).expect("the task is there")
    }

    /// A task's node reports.
    pub(crate) fn says(&mut self, task: &TaskArn, version: u64, status: TaskStatus) {
        let node = self.task(task).node.clone();
        let reports = vec![report(task, version, status)];
        self.must(crate::command::TaskReports { node, reports });
    }
}
