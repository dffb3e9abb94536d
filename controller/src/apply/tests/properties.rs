//! Whatever anybody asks for, in whatever order: no node's line is passed, every sum equals what it
//! sums, nothing goes backwards, and what is on disk is what is in memory.

use std::collections::BTreeMap;

use loadline_model::{DesiredStatus, InstanceArn, Resources, TaskArn, TaskStatus};
use proptest::prelude::*;

use super::super::testing::{
    World, cluster, connect, definition, node_arn, register, report, run, scope,
};
use crate::command::{
    Command, CreateService, DeleteService, Deploy, DeregisterNode, Force, NodeDisconnected,
    NodeTasks, Reconcile, Reply, RunTask, SetNodeStatus, StopTask, TaskReports, Tick,
    UpdateService,
};
use crate::state::{
    BinpackField, Breaker, DeploymentConfig, NodeStatus, PlacementConstraint, PlacementStrategy,
    Rebalancing, Scheduling, ServiceKey, ServiceName, ServiceStatus, ServiceTags, View,
};
use crate::store::{Mutation, Store, StoreError, Table, Visit, load};

/// A step in terms of small numbers, so that a failure shrinks well.
#[derive(Clone, Debug)]
enum Step {
    Run { family: usize, count: u32, strategy: usize, token: Option<u8> },
    Stop { task: usize },
    Report { task: usize, version: u64, status: usize },
    Connect { node: usize },
    Disconnect { node: usize },
    Drain { node: usize, status: bool },
    Lose { node: usize },
    Remove { node: usize, force: bool },
    Create { service: usize, family: usize, count: u32, limits: usize },
    Update { service: usize, count: Option<u32>, force: bool },
    Delete { service: usize },
    Wait { ms: u64 },
}

const NODES: [&str; 4] = ["n0", "n1", "n2", "n3"];
const FAMILIES: [(&str, u64, u64); 3] = [("small", 10, 20), ("wide", 400, 30), ("tall", 5, 350)];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3_usize, 1..5_u32, 0..6_usize, prop::option::of(0..4_u8)).prop_map(
            |(family, count, strategy, token)| Step::Run { family, count, strategy, token }
        ),
        2 => (0..40_usize).prop_map(|task| Step::Stop { task }),
        6 => (0..40_usize, 0..6_u64, 0..8_usize)
            .prop_map(|(task, version, status)| Step::Report { task, version, status }),
        2 => (0..4_usize).prop_map(|node| Step::Connect { node }),
        1 => (0..4_usize).prop_map(|node| Step::Disconnect { node }),
        1 => (0..4_usize, any::<bool>()).prop_map(|(node, status)| Step::Drain { node, status }),
        1 => (0..4_usize).prop_map(|node| Step::Lose { node }),
        1 => (0..4_usize, any::<bool>()).prop_map(|(node, force)| Step::Remove { node, force }),
        1 => (0..2_usize, 0..3_usize, 0..5_u32, 0..4_usize).prop_map(
            |(service, family, count, limits)| Step::Create { service, family, count, limits }
        ),
        2 => (0..2_usize, prop::option::of(0..5_u32), any::<bool>())
            .prop_map(|(service, count, force)| Step::Update { service, count, force }),
        1 => (0..2_usize).prop_map(|service| Step::Delete { service }),
        2 => (0..3_000_000_u64).prop_map(|ms| Step::Wait { ms }),
        2 => (0..60_000_u64).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 0..80)
}

fn strategy(n: usize) -> (Vec<PlacementStrategy>, Vec<PlacementConstraint>) {
    let binpack = PlacementStrategy::Binpack;
    match n {
        0 => (vec![], vec![]),
        1 => (vec![binpack(BinpackField::Memory)], vec![]),
        2 => (vec![binpack(BinpackField::Cpu), PlacementStrategy::Random], vec![]),
        3 => (vec![PlacementStrategy::Spread("instanceId".into())], vec![]),
        4 => (vec![], vec![PlacementConstraint::DistinctInstance]),
        _ => (vec![], vec![PlacementConstraint::MemberOf("runningTasksCount < 2".into())]),
    }
}

/// The task with this number, of those that are there.
fn task(view: &View, n: usize) -> Option<(TaskArn, InstanceArn)> {
    let count = view.tasks.size();
    let task = view.tasks.values().nth(n.checked_rem(count)?)?;
    Some((task.arn.clone(), task.node.clone()))
}

fn command(world: &World, step: &Step) -> Option<Command> {
    let view = &world.state.view;
    let node = |n: usize| node_arn(NODES[n]);
    Some(match step {
        Step::Run { family, count, strategy: n, token } => {
            let (strategy, constraints) = strategy(*n);
            let client_token = token.map(|token| token.to_string());
            let call = run(FAMILIES[*family].0, *count);
            RunTask { strategy, constraints, client_token, ..call }.into()
        }
        Step::Stop { task: n } => {
            StopTask { cluster: cluster(), task: task(view, *n)?.0, reason: None }.into()
        }
        Step::Report { task: n, version, status } => {
            let (task, node) = task(view, *n)?;
            let reports = vec![report(&task, *version, TaskStatus::ALL[*status])];
            TaskReports { node, reports }.into()
        }
        Step::Connect { node: n } => connect(NODES[*n], "run").into(),
        Step::Disconnect { node: n } => {
            let session = view.node(&node(*n))?.connection.as_ref()?.session;
            NodeDisconnected { node: node(*n), session }.into()
        }
        Step::Drain { node: n, status } => {
            let status = if *status { NodeStatus::Active } else { NodeStatus::Draining };
            SetNodeStatus { cluster: cluster(), node: node(*n), status }.into()
        }
        Step::Lose { node: n } => {
            let lost = || vec![node(*n)];
            Tick { silent: lost(), lost: lost(), given_up: lost() }.into()
        }
        Step::Remove { node: n, force } => {
            let tasks = if *force { NodeTasks::GiveUp } else { NodeTasks::Keep };
            DeregisterNode { cluster: cluster(), node: node(*n), tasks }.into()
        }
        Step::Create { service: n, family, count, limits } => {
            create(service(*n), FAMILIES[*family].0, *count, *limits).into()
        }
        Step::Update { service: n, count, force } => UpdateService {
            desired_count: *count,
            deploy: if *force { Deploy::Force } else { Deploy::IfChanged },
            ..unchanged(service(*n))
        }
        .into(),
        Step::Delete { service: n } => DeleteService { key: service(*n), force: Force::Yes }.into(),
        Step::Wait { .. } => Tick::default().into(),
    })
}

fn service(n: usize) -> ServiceKey {
    ServiceKey { cluster: cluster(), name: ServiceName::parse(["s0", "s1"][n]).unwrap() }
}

fn create(key: ServiceKey, family: &str, desired_count: u32, limits: usize) -> CreateService {
    let (minimum_healthy_percent, maximum_percent, scheduling, breaker) = [
        (100, 200, Scheduling::Replica, Breaker::RollBack),
        (50, 100, Scheduling::Replica, Breaker::Off),
        (75, 150, Scheduling::Replica, Breaker::Fail),
        (0, 100, Scheduling::Daemon, Breaker::Off),
    ][limits];
    let (rebalancing, strategy) = if 100 < maximum_percent {
        let spread = PlacementStrategy::Spread("instanceId".into());
        (Rebalancing::Enabled, vec![spread])
    } else {
        (Rebalancing::Disabled, vec![])
    };
    CreateService {
        key,
        definition: run(family, 1).definition,
        scheduling,
        desired_count,
        config: DeploymentConfig {
            minimum_healthy_percent,
            maximum_percent,
            breaker,
            ..DeploymentConfig::default_of(scheduling)
        },
        health_check_grace_s: None,
        network: None,
        constraints: vec![],
        strategy,
        rebalancing,
        propagate_tags: ServiceTags::None,
        managed_tags: false,
        execute_command: false,
        tags: vec![],
        by: None,
    }
}

fn unchanged(key: ServiceKey) -> UpdateService {
    UpdateService {
        key,
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

/// Every sum, counted anew.
fn sums_hold(world: &World) -> Result<(), TestCaseError> {
    let view = &world.state.view;
    for node in view.nodes.values() {
        let arn = &node.record.arn;
        let held: Vec<_> =
            view.tasks.values().filter(|task| task.node == *arn && task.held).collect();
        let sum = held.iter().try_fold(Resources::ZERO, |sum, task| sum.checked_add(task.reserved));
        prop_assert_eq!(sum, Some(node.reserved));
        prop_assert_eq!(world.state.ledger.line(arn).unwrap().reserved(), node.reserved);
        prop_assert!(
            node.reserved.fits_in(node.record.registered),
            "the line of {} is passed",
            arn
        );
        prop_assert!(held.iter().map(|task| &task.arn).eq(node.tasks.iter()));
        let running = |status| {
            let on_it = view.tasks.values().filter(|task| task.node == *arn);
            on_it.filter(|task| task.last_status == status).count()
        };
        prop_assert_eq!(running(TaskStatus::Running), node.running_tasks as usize);
        let live = view.tasks.values().filter(|task| task.last_status.holds_reservation());
        prop_assert_eq!(live.filter(|task| task.node == *arn).count(), node.live_tasks as usize);
    }
    let entry = view.cluster(&cluster()).unwrap();
    let live = view.tasks.values().filter(|task| task.last_status.holds_reservation());
    prop_assert_eq!(live.count(), entry.live_tasks as usize);
    Ok(())
}

/// Nothing goes backwards from `before` to `after`, and a node's generation moves by one step.
fn goes_forward(before: &View, after: &View) -> Result<(), TestCaseError> {
    for (arn, old) in &before.nodes {
        let new = after.node(arn).unwrap();
        let step = new.generation - old.generation;
        prop_assert!(step <= 1, "{} moved by {} generations", arn, step);
        let desired = |view: &View| view.desired_state(arn).unwrap().1;
        prop_assert_eq!(step == 1, desired(before) != desired(after) || step == 1);
        if step == 0 {
            prop_assert_eq!(desired(before), desired(after), "a silent change on {}", arn);
        }
    }
    for (arn, old) in &before.tasks {
        let Some(new) = after.task(arn) else {
            prop_assert!(!old.held, "a held task was forgotten");
            continue;
        };
        prop_assert!(old.last_status.rank() <= new.last_status.rank());
        prop_assert!(old.held || !new.held, "a released task is held again");
        prop_assert_eq!(&old.node, &new.node);
    }
    Ok(())
}

type Disk = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// What is on one disk and not on the other, as text.
fn differences(before: &Disk, after: &Disk) -> Vec<String> {
    let text = |bytes: Option<&Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "nothing".to_owned(),
    };
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differ = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    let show = |key: &(Table, Vec<u8>)| {
        format!("{:?}: {} became {}", key.0, text(before.get(key)), text(after.get(key)))
    };
    differ.map(show).collect()
}

/// A store that holds what the world wrote.
struct Written(Disk);

impl Store for Written {
    fn scan(&mut self, table: Table, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for ((of, key), value) in &self.0 {
            if *of == table && !visit(key, value) {
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

/// What a controller would know that starts now. Sessions are not part of it.
fn disk_equals_memory(world: &World) -> Result<(), TestCaseError> {
    let loaded = load(&mut Written(world.disk.clone()), &scope()).unwrap().state;
    let (disk, memory) = (&loaded.view, &world.state.view);
    prop_assert_eq!(&disk.tasks, &memory.tasks);
    prop_assert_eq!(&disk.clusters, &memory.clusters);
    prop_assert_eq!(&disk.definitions, &memory.definitions);
    prop_assert_eq!(&disk.families, &memory.families);
    prop_assert_eq!(&disk.services, &memory.services);
    prop_assert_eq!(&disk.run_tokens, &memory.run_tokens);
    for (arn, node) in &memory.nodes {
        let mut node = node.as_ref().clone();
        node.connection = None;
        prop_assert_eq!(disk.node(arn), Some(&node));
    }
    Ok(())
}

fn begin() -> World {
    let mut world = World::new();
    for (family, cpu_units, memory_mib) in FAMILIES {
        world.must(definition(family, cpu_units, memory_mib));
    }
    for (n, id) in NODES.into_iter().enumerate() {
        world.must(register(id, 500 + 300 * n as u64, 1100 - 200 * n as u64));
        world.must(connect(id, "run"));
    }
    world
}

/// Whether the same command once more must change nothing.
fn is_idempotent(step: &Step) -> bool {
    match step {
        Step::Run { token: None, .. } | Step::Connect { .. } => false,
        Step::Update { force, .. } => !force,
        _ => true,
    }
}

/// Looks at every service that something happened to, as the owner does, and then once more: that
/// must find nothing to do.
fn look(world: &mut World) -> Result<(), TestCaseError> {
    world.state.ledger.agenda_mut().tick(world.now_ms);
    while let Some(key) = world.state.ledger.agenda().next().cloned() {
        let before = world.state.view.clone();
        world.must(Reconcile { key: key.clone() });
        world.state.ledger.agenda_mut().done(&key);
        sums_hold(world)?;
        goes_forward(&before, &world.state.view)?;
        within_limits(world, &before, &key)?;
        let disk = world.disk.clone();
        world.must(Reconcile { key: key.clone() });
        world.state.ledger.agenda_mut().done(&key);
        let changed = differences(&disk, &world.disk);
        prop_assert!(changed.is_empty(), "looked at twice: {:#?}", changed);
    }
    Ok(())
}

/// A look never starts what would be above the upper limit, nor stops what serves below the lower.
fn within_limits(world: &World, before: &View, key: &ServiceKey) -> Result<(), TestCaseError> {
    let entry = world.state.view.service(key).unwrap();
    let record = &entry.record;
    if record.status != ServiceStatus::Active || record.scheduling == Scheduling::Daemon {
        return Ok(());
    }
    let percent = |percent: u32| record.desired_count * percent;
    let upper = percent(record.config.maximum_percent) / 100;
    let lower = percent(record.config.minimum_healthy_percent).div_ceil(100);
    let old = before.service(key).unwrap();
    prop_assert!(entry.tasks.size() <= old.tasks.size().max(upper as usize));
    let serving = |view: &View| {
        let tasks = view.service(key).unwrap().tasks.iter();
        let serves = |arn: &&TaskArn| {
            let task = view.task(arn).unwrap();
            task.last_status == TaskStatus::Running && task.desired == DesiredStatus::Running
        };
        tasks.filter(serves).count()
    };
    let (was, is) = (serving(before), serving(&world.state.view));
    prop_assert!(is == was || lower as usize <= is, "{} serve, {} did, of {}", is, was, lower);
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_of_commands_passes_a_line_or_loses_count(steps in steps()) {
        let mut world = begin();
        for step in steps {
            if let Step::Wait { ms } = step {
                world.now_ms += ms;
            }
            let Some(command) = command(&world, &step) else { continue };
            let before = world.state.view.clone();
            let placed = world.does(command.clone());
            sums_hold(&world)?;
            goes_forward(&before, &world.state.view)?;
            let empty_run = matches!(&placed, Ok(Reply::Ran(ran)) if ran.tasks.is_empty());
            if is_idempotent(&step) && placed.is_ok() && !empty_run {
                let disk = world.disk.clone();
                let _ = world.does(command);
                let changed = differences(&disk, &world.disk);
                prop_assert!(changed.is_empty(), "sent twice: {:#?}", changed);
            }
            look(&mut world)?;
        }
        disk_equals_memory(&world)?;
    }
}
