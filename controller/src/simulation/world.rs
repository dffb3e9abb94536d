//! The world of the simulation: one controller, a few agents, and what may happen to them.

use std::collections::HashMap;

use loadline_model::{DesiredStatus, InstanceArn, Resources, TaskArn, TaskStatus};

use super::agent::{Agent, Down};
use crate::apply::testing::{World, cluster, definition, node_arn, register, run, scope};
use crate::command::{
    Command, CreateService, Deploy, NodeConnected, NodeDisconnected, Reply, StopTask, TaskReports,
    Tick, UpdateService,
};
use crate::engine::node_changes;
use crate::state::{
    DeploymentConfig, Rebalancing, Scheduling, ServiceKey, ServiceName, ServiceTags, View, Write,
};
use crate::store::{Mutation, Store, StoreError, Table, Visit, load};

/// How many nodes there are.
pub(super) const NODES: usize = 4;
const NODE: Resources = Resources { cpu_units: 1_000, memory_mib: 1_000 };
/// The rounds in which a quiet world must have come to its end.
const ROUNDS_MAX: usize = 200;

/// What may happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Run(u32),
    Stop(usize),
    Scale(u32),
    Deploy,
    /// An agent takes the next message.
    Deliver(usize),
    /// One of its tasks goes on; with chance 0 one that runs ends.
    Work {
        node: usize,
        task: usize,
        chance: u8,
    },
    /// An agent sends what is not acknowledged.
    Report(usize),
    /// A session breaks; the controller may or may not notice at once.
    Break {
        node: usize,
        noticed: bool,
    },
    Connect(usize),
    RestartAgent(usize),
    RestartController,
    /// The lease lapses, the node is lost, and all its tasks are given up.
    Lose(usize),
    Wait(u64),
}

pub(super) struct Simulation {
    world: World,
    agents: Vec<Agent>,
}

fn node(n: usize) -> InstanceArn {
    node_arn(&format!("n{n}"))
}

fn key() -> ServiceKey {
    ServiceKey { cluster: cluster(), name: ServiceName::parse("s").unwrap() }
}

fn update() -> UpdateService {
    UpdateService {
        key: key(),
        desired_count: None,
        definition: None,
        config: None,
        health_check_grace_s: None,
        network: None,
        constraints: None,
        strategy: None,
        rebalancing: None,
        propagate_tags: None,
        managed_tags: None,
        execute_command: None,
        deploy: Deploy::IfChanged,
    }
}

impl Simulation {
    pub(super) fn new() -> Self {
        let mut world = World::new();
        world.must(definition("web", 100, 240));
        let agents = (0..NODES).map(|_| Agent::new(NODE)).collect();
        let mut simulation = Self { world, agents };
        for n in 0..NODES {
            simulation.decide(register(&format!("n{n}"), NODE.cpu_units, NODE.memory_mib));
            simulation.happens(&Event::Connect(n));
        }
        simulation.decide(CreateService {
            key: key(),
            definition: run("web", 1).definition,
            scheduling: Scheduling::Replica,
            desired_count: 2,
            config: DeploymentConfig::default_of(Scheduling::Replica),
            health_check_grace_s: None,
            network: None,
            constraints: vec![],
            strategy: vec![],
            rebalancing: Rebalancing::Disabled,
            propagate_tags: ServiceTags::None,
            managed_tags: false,
            execute_command: false,
            tags: vec![],
            by: None,
        });
        simulation
    }

    fn view(&self) -> &View {
        &self.world.state.view
    }

    /// Decides a command and sends what it means to the agents that have a session, as the engine
    /// does; then looks at the services.
    fn decide(&mut self, command: impl Into<Command>) -> Option<Reply> {
        let reply = self.one(command);
        self.world.state.ledger.agenda_mut().tick(self.world.now_ms);
        while let Some(key) = self.world.state.ledger.agenda().next().cloned() {
            self.one(crate::command::Reconcile { key: key.clone() });
            self.world.state.ledger.agenda_mut().done(&key);
        }
        reply
    }

    fn one(&mut self, command: impl Into<Command>) -> Option<Reply> {
        let before = self.view().clone();
        let (writes, reply) = self.world.writes(command).ok()?;
        for (of, change) in node_changes(self.view(), &before, &writes, &mut HashMap::new()) {
            let to = (0..NODES).find(|n| node(*n) == of);
            if let Some(agent) = to.map(|n| &mut self.agents[n])
                && agent.session.is_some()
            {
                agent.inbox.push_back(Down::Change(change));
            }
        }
        for write in &writes {
            if let Write::Generation(of, generation) = write {
                let old = before.node(of).map_or(0, |node| node.generation);
                assert!(old < *generation, "{of} went from {old} to {generation}");
            }
        }
        Some(reply)
    }

    pub(super) fn happens(&mut self, event: &Event) {
        match event {
            Event::Run(count) => drop(self.decide(run("web", *count))),
            Event::Stop(n) => {
                let task = self.view().tasks.values().nth(*n).map(|task| task.arn.clone());
                if let Some(task) = task {
                    self.decide(StopTask { cluster: cluster(), task, reason: None });
                }
            }
            Event::Scale(count) => {
                self.decide(UpdateService { desired_count: Some(*count), ..update() });
            }
            Event::Deploy => drop(self.decide(UpdateService { deploy: Deploy::Force, ..update() })),
            Event::Deliver(n) => {
                if self.agents[*n].take() {
                    self.send_snapshot(*n);
                }
            }
            Event::Work { node, task, chance } => self.agents[*node].work(*task, *chance == 0),
            Event::Report(n) => self.report(*n),
            Event::Break { node, noticed } => self.break_session(*node, *noticed),
            Event::Connect(n) => self.connect(*n),
            Event::RestartAgent(n) => {
                self.agents[*n].disconnect();
                self.agents[*n].run += 1;
            }
            Event::RestartController => self.restart_controller(),
            Event::Lose(n) => self.lose(*n),
            Event::Wait(ms) => {
                self.world.now_ms += ms;
                self.decide(Tick::default());
            }
        }
    }

    /// The session watches from here on; what was sent in it before is answered by the snapshot.
    fn send_snapshot(&mut self, n: usize) {
        let (generation, assignments) = self.view().desired_state(&node(n)).unwrap();
        let agent = &mut self.agents[n];
        agent.inbox.retain(|message| !matches!(message, Down::Change(_)));
        agent.inbox.push_back(Down::Snapshot(generation, assignments));
    }

    fn connect(&mut self, n: usize) {
        let agent = &self.agents[n];
        if agent.session.is_some() {
            return;
        }
        let run_id = agent.run.to_string();
        let command = NodeConnected { node: node(n), run_id, generation: agent.generation };
        if let Some(Reply::Connected(connected)) = self.decide(command) {
            self.agents[n].session = Some(connected.session);
            self.send_snapshot(n);
        }
    }

    fn break_session(&mut self, n: usize, noticed: bool) {
        let Some(session) = self.agents[n].session else { return };
        self.agents[n].disconnect();
        if noticed {
            self.decide(NodeDisconnected { node: node(n), session });
        }
    }

    fn report(&mut self, n: usize) {
        let reports = self.agents[n].reports();
        if self.agents[n].session.is_none() || reports.is_empty() {
            return;
        }
        let Some(Reply::Acks(acks)) = self.decide(TaskReports { node: node(n), reports }) else {
            panic!("reports are never refused");
        };
        assert!(acks.foreign.is_empty(), "a node has another's task: {:?}", acks.foreign);
        self.agents[n].inbox.push_back(Down::Acks(acks.acks));
    }

    fn lose(&mut self, n: usize) {
        if self.agents[n].session.is_some() {
            return;
        }
        let lost = || vec![node(n)];
        self.decide(Tick { silent: lost(), lost: lost(), given_up: lost() });
    }

    /// What is on disk is all that the next life knows; every session ends.
    fn restart_controller(&mut self) {
        let disk = self.world.disk.clone();
        let loaded = load(&mut Kept(disk), &scope()).unwrap();
        self.world.state = loaded.state;
        for agent in &mut self.agents {
            agent.disconnect();
        }
        self.decide(Tick::default());
    }

    /// Nothing breaks any more, everyone does its work, and time passes.
    pub(super) fn calms_down(&mut self) {
        for round in 0..ROUNDS_MAX {
            for n in 0..NODES {
                if self.agents[n].session.is_none() {
                    let silent = vec![node(n)];
                    self.decide(Tick { silent, ..Tick::default() });
                    self.connect(n);
                }
                self.hears(n);
                for task in 0..8 {
                    self.agents[n].work(task, false);
                }
                self.report(n);
            }
            (0..NODES).for_each(|n| self.hears(n));
            self.happens(&Event::Wait(60_000));
            if self.is_calm() {
                self.agrees();
                return;
            }
            assert!(round + 1 < ROUNDS_MAX, "the world does not come to rest");
        }
    }

    fn hears(&mut self, n: usize) {
        while !self.agents[n].inbox.is_empty() {
            self.happens(&Event::Deliver(n));
        }
    }

    fn is_calm(&self) -> bool {
        let service = self.view().service(&key()).unwrap();
        let placed = service.record.steady || !service.record.unplaced.is_empty();
        let heard = self.agents.iter().all(|agent| agent.reports().is_empty());
        let at_work = self.agents.iter().flat_map(Agent::tasks);
        let done = at_work.into_iter().all(|(_, status)| status == TaskStatus::Running);
        placed && heard && done && self.agents.iter().all(|agent| agent.inbox.is_empty())
    }

    /// Both sides know the same tasks, in the same state, and the service has what it wants.
    fn agrees(&self) {
        let view = self.view();
        for (n, agent) in self.agents.iter().enumerate() {
            let entry = view.node(&node(n)).unwrap();
            let held = entry.tasks.iter().map(|arn| view.task(arn).unwrap());
            let known: Vec<(TaskArn, TaskStatus)> =
                held.map(|task| (task.arn.clone(), task.last_status)).collect();
            assert_eq!(agent.tasks(), known, "node {n}");
            assert_eq!(agent.generation, entry.generation, "node {n}");
            let running = known.iter().all(|(_, status)| *status == TaskStatus::Running);
            assert!(running, "node {n} holds what is over: {known:?}");
        }
        let service = view.service(&key()).unwrap();
        if service.record.unplaced.is_empty() {
            assert_eq!(service.running_tasks, service.record.desired_count);
        }
        let wanted = view.tasks.values().filter(|task| task.desired == DesiredStatus::Running);
        assert!(wanted.into_iter().all(|task| task.held), "a wanted task that no node holds");
    }
}

/// What the last life of the controller left on disk.
struct Kept(std::collections::BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl Store for Kept {
    fn scan(&mut self, table: Table, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let rows = self.0.iter().filter(|((of, _), _)| *of == table);
        for ((_, key), value) in rows {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&mut self, _: &[Mutation]) -> Result<(), StoreError> {
        Ok(())
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
