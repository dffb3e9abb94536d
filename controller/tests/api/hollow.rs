//! A hollow node: joins with a token, and reports each task RUNNING or STOPPED as it is asked to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use loadline_controller::command::{
    CreateJoinToken, NodeConnected, RegisterNode, TaskReports, UseJoinToken,
};
use loadline_controller::engine::{Engine, NodeWatch, Told};
use loadline_controller::state::{ClusterName, NodeAttribute, Sha256Hash, TokenId};
use loadline_model::{
    Assignment, ContainerReport, ContainerStatus, DesiredStatus, InstanceArn, Resources, Right,
    StopCode, TaskReport, TaskStatus,
};

/// What every agent of this version can do.
fn features() -> impl Iterator<Item = NodeAttribute> {
    let names = ["container-ordering", "container-health-check", "container-restart-policy"];
    let features = names.map(|name| format!("ecs.capability.{name}")).into_iter();
    let rights = Right::ALL.into_iter().map(|right| right.attribute().to_owned());
    features.chain(rights).map(|name| NodeAttribute { name, value: None })
}

/// Brings in a node of the cluster `default`, and keeps it alive. `number` tells it from others.
pub(crate) async fn join(
    engine: &Engine,
    number: u8,
    cpu_units: u64,
    memory_mib: u64,
) -> InstanceArn {
    let id = TokenId::parse(&format!("00112233445566{number:02x}")).unwrap();
    let hash = Sha256Hash([1; 32]);
    let cluster = ClusterName::parse("default").unwrap();
    let token = CreateJoinToken {
        id: id.clone(),
        secret_hash: hash,
        cluster,
        valid_for_ms: 60_000,
        uses: 10,
    };
    engine.call(token).await.unwrap();
    let pair = |name: &str, value: &str| NodeAttribute {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    let key_hash = Sha256Hash([number; 32]);
    let node = engine.call(UseJoinToken { id, secret_hash: hash, key_hash }).await.unwrap();
    let register = RegisterNode {
        node: node.clone(),
        resources: Resources { cpu_units, memory_mib },
        attributes: vec![pair("ecs.os-type", "linux"), pair("ecs.cpu-architecture", "x86_64")]
            .into_iter()
            .chain(features())
            .collect(),
        agent_version: "hollow".into(),
    };
    engine.call(register).await.unwrap();
    let connect = NodeConnected { node: node.clone(), run_id: "hollow".into(), generation: 0 };
    let mut session = engine.call(connect.clone()).await.unwrap().session;
    let watch = engine.watch_node(&node).unwrap();
    tokio::spawn(live(engine.clone(), node.clone(), watch));
    let (engine, alive) = (engine.clone(), node.clone());
    tokio::spawn(async move {
        loop {
            // A starved machine lets even this session pass its lease: come back as agents do.
            if !engine.heard(&alive, session) {
                let Ok(again) = engine.call(connect.clone()).await else { return };
                let Some(watch) = engine.watch_node(&alive) else { return };
                session = again.session;
                tokio::spawn(live(engine.clone(), alive.clone(), watch));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    node
}

/// Of reports: it grows over reconnects too.
static VERSION: AtomicU64 = AtomicU64::new(1);

async fn live(engine: Engine, node: InstanceArn, mut watch: NodeWatch) {
    let mut assignments = std::mem::take(&mut watch.assignments);
    loop {
        let reports: Vec<TaskReport> = assignments
            .iter()
            .map(|assignment| report(assignment, VERSION.fetch_add(1, Ordering::Relaxed)))
            .collect();
        for some in reports.chunks(64) {
            let command = TaskReports { node: node.clone(), reports: some.to_vec() };
            if engine.call(command).await.is_err() {
                return;
            }
        }
        match watch.changes.recv().await {
            Some(change) => assignments = change.assignments.iter().map(Told::assignment).collect(),
            None => return,
        }
    }
}

fn report(assignment: &Assignment, version: u64) -> TaskReport {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_ms = u64::try_from(now.as_millis()).unwrap();
    let told = assignment.desired == DesiredStatus::Stopped;
    // What is made of the image `…:bad` ends before it runs.
    let bad = assignment.task.containers.iter().any(|spec| spec.image.ends_with(":bad"));
    let stopped = told || bad;
    let container = |spec: &loadline_model::ContainerSpec| ContainerReport {
        name: spec.name.clone(),
        runtime_id: Some("hollow".into()),
        image_digest: None,
        status: if stopped { ContainerStatus::Stopped } else { ContainerStatus::Running },
        exit_code: stopped.then_some(if bad { 1 } else { 143 }),
        reason: None,
        started_at_ms: Some(now_ms),
        finished_at_ms: stopped.then_some(now_ms),
        health: loadline_model::HealthStatus::Unknown,
        restarts: 0,
        network_bindings: vec![],
        addresses: None,
    };
    TaskReport {
        task: assignment.task.arn.clone(),
        version,
        status: if stopped { TaskStatus::Stopped } else { TaskStatus::Running },
        containers: assignment.task.containers.iter().map(container).collect(),
        stop_code: stopped.then_some(if told {
            StopCode::UserInitiated
        } else {
            StopCode::TaskFailedToStart
        }),
        stopped_reason: assignment.stop_reason.clone(),
        pull_started_at_ms: (!stopped).then_some(now_ms),
        pull_stopped_at_ms: (!stopped).then_some(now_ms),
        started_at_ms: (!bad).then_some(now_ms),
        stopping_at_ms: stopped.then_some(now_ms),
        stopped_at_ms: stopped.then_some(now_ms),
    }
}
