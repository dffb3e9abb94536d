//! Claims about the engine: many callers, one line; nothing acknowledged is lost; a disk that is
//! full is said and survived.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use loadline_model::{DesiredStatus, InstanceArn, TaskStatus};

use super::{CallError, Clock, Engine, NodeChange, Options, Told};
use crate::apply::testing::{cluster, connect, definition, node_arn, register, report, run, scope};
use crate::command::{PlacementReason, StopTask, TaskReports};
use crate::state::{CountingIds, SessionId};
use crate::store::faulty::Disk;
use crate::store::{Mutation, Store, StoreError, Table, Visit};

/// Longest that a test waits for something that must come.
const WAIT: Duration = Duration::from_secs(60);

/// A clock that a test moves.
#[derive(Clone, Debug, Default)]
struct HandClock(Arc<AtomicU64>);

impl HandClock {
    fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn unix_ms(&self) -> u64 {
        1_000_000 + self.0.load(Ordering::SeqCst)
    }

    fn steady_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn open(disk: &Disk, clock: &HandClock, ids: u64) -> Engine {
    open_on(Box::new(disk.store()), clock, ids)
}

fn open_on(store: Box<dyn Store>, clock: &HandClock, ids: u64) -> Engine {
    let options = Options {
        clock: Arc::new(clock.clone()),
        ids: Box::new(CountingIds(ids)),
        tick_ms: 10,
        ..Options::new(scope())
    };
    Engine::open(store, options).unwrap().0
}

async fn open_with_node(disk: &Disk, clock: &HandClock, memory_mib: u64) -> Engine {
    let engine = open(disk, clock, 0);
    engine.call(definition("web", 1, 10)).await.unwrap();
    engine.call(register("n1", 100_000, memory_mib)).await.unwrap();
    engine.call(connect("n1", "run")).await.unwrap();
    engine
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < WAIT, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_at_room_for_fifty_place_exactly_fifty() {
    let disk = Disk::default();
    let engine = open_with_node(&disk, &HandClock::default(), 500).await;
    let syncs = disk.syncs();
    let calls = (0..200).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.call(run("web", 1)).await.unwrap() })
    });
    let (mut placed, mut refused) = (0, 0);
    for call in calls.collect::<Vec<_>>() {
        let ran = call.await.unwrap();
        placed += ran.tasks.len();
        if let [failure] = ran.failures.as_slice() {
            assert_eq!(failure.reason, PlacementReason::Memory);
            assert_eq!(failure.detail, "10 MiB asked for, 0 left");
            refused += 1;
        }
    }
    assert_eq!((placed, refused), (50, 150));
    let view = engine.snapshot();
    assert_eq!(view.node(&node_arn("n1")).unwrap().reserved.memory_mib, 500);
    assert_eq!(view.tasks_in(&cluster(), None).count(), 50);
    assert!(disk.syncs() - syncs <= 50, "commands that placed nothing need no fsync");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_loss_of_power() {
    let disk = Disk::default();
    let clock = HandClock::default();
    let engine = open_with_node(&disk, &clock, 500).await;
    let mut acknowledged = Vec::new();
    for _ in 0..5 {
        let ran = engine.call(run("web", 2)).await.unwrap();
        acknowledged.extend(ran.tasks.iter().map(|task| task.arn.clone()));
        let again = open(&disk.as_after_power_loss(), &clock, 1_000);
        let view = again.snapshot();
        for arn in &acknowledged {
            assert!(view.task(arn).is_some(), "{arn} was acknowledged");
        }
        let (old, new) = (engine.snapshot(), view.node(&node_arn("n1")).unwrap());
        assert_eq!(old.node(&node_arn("n1")).unwrap().generation, new.generation);
        assert!(!new.agent_connected(), "sessions are not kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_changes_nothing_and_is_survived() {
    let disk = Disk::default();
    let clock = HandClock::default();
    let engine = open_with_node(&disk, &clock, 500).await;
    let before = engine.snapshot();
    disk.fill_up();
    let failed = engine.call(run("web", 1)).await.unwrap_err();
    assert!(matches!(&failed, CallError::Store(_)), "{failed}");
    assert!(failed.to_string().contains("a disk in memory"), "names the object: {failed}");
    let view = engine.snapshot();
    assert_eq!(view.tasks_in(&cluster(), None).count(), 0, "nothing changed");
    assert_eq!(view.nodes, before.nodes);
    let refused = engine.call(run("web", 1)).await.unwrap_err();
    assert!(matches!(refused, CallError::Store(_)), "{refused}");

    disk.make_room();
    clock.advance(1_001);
    let ran = engine.call(run("web", 1)).await.unwrap();
    assert_eq!(ran.tasks.len(), 1, "the node's session is as it was");
    let again = open(&disk.as_after_power_loss(), &clock, 1_000);
    assert_eq!(again.snapshot().tasks, engine.snapshot().tasks);
}

/// One world in which the disk breaks at its `steps`-th write or sync. Whether it broke at all.
async fn breaks_at(steps: u64, late: bool) -> bool {
    let disk = Disk::default();
    let clock = HandClock::default();
    let engine = open_with_node(&disk, &clock, 100).await;
    disk.break_after(steps, late);
    let mut acknowledged = Vec::new();
    let mut failures = 0;
    for n in 0..8 {
        match engine.call(run("web", 1)).await {
            Ok(ran) => acknowledged.extend(ran.tasks.iter().map(|task| task.arn.clone())),
            Err(CallError::Store(_)) => failures += 1,
            Err(other) => panic!("{other}"),
        }
        if n == 5 {
            disk.make_room();
            clock.advance(1_001);
        }
    }
    disk.make_room();
    clock.advance(1_001);
    let last = engine.call(run("web", 1)).await.unwrap();
    acknowledged.extend(last.tasks.iter().map(|task| task.arn.clone()));
    let again = open(&disk.as_after_power_loss(), &clock, 1_000).snapshot();
    let view = engine.snapshot();
    for arn in &acknowledged {
        assert!(view.task(arn).is_some() && again.task(arn).is_some(), "{steps}: {arn} is lost");
    }
    assert!(view.tasks == again.tasks, "{steps}: memory and disk differ");
    let node = view.node(&node_arn("n1")).unwrap();
    assert_eq!(node.generation, again.node(&node_arn("n1")).unwrap().generation);
    assert_eq!(node.reserved.memory_mib, 10 * view.tasks.size() as u64);
    assert!(node.reserved.fits_in(node.record.registered), "{steps}: the line is passed");
    0 < failures
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_breaks_at_any_step_loses_nothing_and_passes_no_line() {
    for late in [false, true] {
        let mut broken = 0;
        for steps in 0..60 {
            broken += u32::from(breaks_at(steps, late).await);
        }
        assert!(20 < broken, "only {broken} worlds had a fault: the test looks at nothing");
    }
}

/// An agent as far as its desired state goes.
fn follow(held: &mut Vec<(String, DesiredStatus)>, generation: &mut u64, change: NodeChange) {
    assert_eq!(change.base_generation, *generation, "no gap");
    *generation = change.generation;
    for assignment in change.assignments.iter().map(Told::assignment) {
        let id = assignment.task.arn.id().to_owned();
        held.retain(|(have, _)| *have != id);
        held.push((id, assignment.desired));
    }
    for arn in change.forget {
        held.retain(|(have, _)| have != arn.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_change_so_that_its_sum_is_the_snapshot() {
    let engine = open_with_node(&Disk::default(), &HandClock::default(), 500).await;
    let mut watch = engine.watch_node(&node_arn("n1")).unwrap();
    let (mut held, mut generation) = (Vec::new(), watch.generation);
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let ran = engine.call(run("web", 3)).await.unwrap();
        tasks.extend(ran.tasks.iter().map(|task| task.arn.clone()));
    }
    for (n, arn) in tasks.iter().enumerate() {
        let stop = StopTask { cluster: cluster(), task: arn.clone(), reason: None };
        if n % 2 == 0 {
            engine.call(stop).await.unwrap();
        }
        let status = if n % 3 == 0 { TaskStatus::Stopped } else { TaskStatus::Running };
        let reports = vec![report(arn, 1, status)];
        let acks = engine.call(TaskReports { node: node_arn("n1"), reports }).await.unwrap();
        assert_eq!(acks.acks, [(arn.clone(), 1)]);
    }
    let (newest, assignments) = engine.snapshot().desired_state(&node_arn("n1")).unwrap();
    while generation < newest {
        let change = tokio::time::timeout(WAIT, watch.changes.recv()).await.unwrap().unwrap();
        follow(&mut held, &mut generation, change);
    }
    let ids = |a: &loadline_model::Assignment| (a.task.arn.id().to_owned(), a.desired);
    let mut expected: Vec<_> = assignments.iter().map(ids).collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    held.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(held, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_loses_its_session_and_then_its_tasks() {
    let clock = HandClock::default();
    let engine = open_with_node(&Disk::default(), &clock, 500).await;
    let session = {
        let view = engine.snapshot();
        view.node(&node_arn("n1")).unwrap().connection.clone().unwrap().session
    };
    let arn = engine.call(run("web", 1)).await.unwrap().tasks[0].arn.clone();
    assert!(engine.heard(&node_arn("n1"), session));
    clock.advance(3_500);
    let connected = || engine.snapshot().node(&node_arn("n1")).unwrap().agent_connected();
    until("the session ends", || !connected()).await;
    assert!(!engine.heard(&node_arn("n1"), session), "a dead session is told so");
    let status = || engine.snapshot().task(&arn).unwrap().last_status;
    assert_eq!(status(), TaskStatus::Pending);
    // All nodes are silent at once, so the grace passes first, and then the one for standalone
    // tasks. The owner looks at the time only when it goes on.
    clock.advance(66_600);
    let given_up = || {
        clock.advance(10);
        status() == TaskStatus::Stopped
    };
    until("the task is given up", given_up).await;
}

/// A store whose commits wait for as long as the test holds the lock.
struct Slow(Box<dyn Store>, Arc<Gate>);

#[derive(Default)]
struct Gate {
    lock: Mutex<()>,
    /// Commits that came to it.
    came: AtomicU64,
}

fn open_slow(clock: &HandClock) -> (Engine, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let store = Slow(Box::new(Disk::default().store()), Arc::clone(&gate));
    (open_on(Box::new(store), clock, 0), gate)
}

impl Store for Slow {
    fn scan(&mut self, table: Table, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.0.scan(table, visit)
    }

    fn commit(&mut self, mutations: &[Mutation]) -> Result<(), StoreError> {
        self.1.came.fetch_add(1, Ordering::SeqCst);
        drop(self.1.lock.lock());
        self.0.commit(mutations)
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        self.0.recover()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_heard_while_a_commit_takes_long_keeps_its_session() {
    let clock = HandClock::default();
    let (engine, gate) = open_slow(&clock);
    engine.call(definition("web", 1, 10)).await.unwrap();
    engine.call(register("n1", 100_000, 500)).await.unwrap();
    let session = engine.call(connect("n1", "run")).await.unwrap().session;
    let held = gate.lock.lock().unwrap();
    let waiting = engine.clone();
    let placed = tokio::spawn(async move { waiting.call(run("web", 1)).await });
    for _ in 0..10 {
        clock.advance(1_000);
        assert!(engine.heard(&node_arn("n1"), session), "its session is its own");
    }
    assert_eq!(engine.silence_ms(&node_arn("n1"), session), Some(0));
    drop(held);
    let ran = placed.await.unwrap().unwrap();
    assert_eq!(ran.tasks.len(), 1, "and it still takes tasks");
    // Ticks that came after the commit have judged it by now.
    engine.call(run("web", 1)).await.unwrap();
    assert!(engine.snapshot().node(&node_arn("n1")).unwrap().agent_connected());
}

/// Four nodes with their sessions.
async fn four_nodes(engine: &Engine) -> Vec<(InstanceArn, SessionId)> {
    engine.call(definition("web", 1, 10)).await.unwrap();
    let mut nodes = Vec::new();
    for name in ["n1", "n2", "n3", "n4"] {
        engine.call(register(name, 100_000, 500)).await.unwrap();
        nodes.push((node_arn(name), engine.call(connect(name, "run")).await.unwrap().session));
    }
    nodes
}

/// So many milliseconds pass, in which these nodes are heard.
fn pass(engine: &Engine, clock: &HandClock, ms: u64, heard: &[(InstanceArn, SessionId)]) {
    for _ in 0..ms / 500 {
        clock.advance(500);
        assert!(heard.iter().all(|(node, session)| engine.heard(node, *session)));
    }
}

/// The first of four nodes lost its connection while no session could begin; now one can.
async fn is_given_time_to_come_back(
    engine: &Engine,
    clock: &HandClock,
    heard: &[(InstanceArn, SessionId)],
) {
    let node = || engine.snapshot().node(&node_arn("n1")).unwrap().clone();
    until("its session ends", || !node().agent_connected()).await;
    assert_eq!(node().record.lost_at_ms, None, "it could not come back yet");
    pass(engine, clock, 20_000, heard);
    // The answer comes after whatever was judged before.
    engine.call(run("web", 1)).await.unwrap();
    assert_eq!(node().record.lost_at_ms, None, "nor is it lost a while later");
    // A commit of a tick, in which this clock goes on, may seem to have taken long.
    let is_lost = || {
        pass(engine, clock, 500, heard);
        node().record.lost_at_ms.is_some()
    };
    until("it is lost", is_lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_session_broke_while_a_commit_took_long_is_given_time_to_come_back() {
    let clock = HandClock::default();
    let (engine, gate) = open_slow(&clock);
    let nodes = four_nodes(&engine).await;
    pass(&engine, &clock, 60_000, &nodes);
    let waiting = engine.clone();
    let placed = {
        let _held = gate.lock.lock().unwrap();
        let came = gate.came.load(Ordering::SeqCst);
        let placed = tokio::spawn(async move { waiting.call(run("web", 1)).await });
        let start = Instant::now();
        while gate.came.load(Ordering::SeqCst) == came {
            assert!(start.elapsed() < WAIT, "the commit does not come");
            std::thread::sleep(Duration::from_millis(1));
        }
        pass(&engine, &clock, 10_000, &nodes[1..]);
        placed
    };
    placed.await.unwrap().unwrap();
    is_given_time_to_come_back(&engine, &clock, &nodes[1..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_session_broke_while_the_store_failed_is_given_time_to_come_back() {
    let (disk, clock) = (Disk::default(), HandClock::default());
    let engine = open(&disk, &clock, 0);
    let nodes = four_nodes(&engine).await;
    pass(&engine, &clock, 60_000, &nodes);
    disk.fill_up();
    engine.call(run("web", 1)).await.unwrap_err();
    pass(&engine, &clock, 40_000, &nodes[1..]);
    disk.make_room();
    pass(&engine, &clock, 1_500, &nodes[1..]);
    is_given_time_to_come_back(&engine, &clock, &nodes[1..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_came_back_gives_no_session_an_old_number() {
    let (disk, clock) = (Disk::default(), HandClock::default());
    let engine = open_with_node(&disk, &clock, 500).await;
    let last = engine.call(connect("n1", "run")).await.unwrap().session;
    let gone = crate::command::NodeDisconnected { node: node_arn("n1"), session: last };
    engine.call(gone).await.unwrap();
    disk.fill_up();
    engine.call(definition("more", 1, 1)).await.unwrap_err();
    disk.make_room();
    clock.advance(1_001);
    let next = engine.call(connect("n1", "run-2")).await.unwrap().session;
    assert!(last < next, "{last:?} {next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_engine_answers_what_waits_and_then_says_that_it_stops() {
    let engine = open_with_node(&Disk::default(), &HandClock::default(), 500).await;
    let waiting = engine.clone();
    let call = tokio::spawn(async move { waiting.call(run("web", 1)).await });
    engine.call(run("web", 1)).await.unwrap();
    engine.stop();
    let seen = call.await.unwrap();
    assert!(matches!(&seen, Ok(_) | Err(CallError::Stopped)), "{seen:?}");
    let mut last = engine.call(run("web", 1)).await;
    let start = Instant::now();
    while last.is_ok() && start.elapsed() < WAIT {
        last = engine.call(run("web", 1)).await;
    }
    assert!(matches!(last, Err(CallError::Stopped)), "{last:?}");
}
