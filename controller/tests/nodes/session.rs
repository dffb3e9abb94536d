//! A session from Hello to its end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use loadline_controller::command::StopTask;
use loadline_model::{DesiredStatus, TaskStatus};
use loadline_proto::v1::agent_message::Kind as FromAgent;
use loadline_proto::v1::controller_message::Kind as ToAgent;
use loadline_proto::v1::{self, AgentMessage, Change, ContainerReport, Hello, Reports, TaskReport};
use tonic::Code;

use crate::agent::{Agent, Session};
use crate::world::{World, default_cluster};

pub(crate) fn report(task_arn: &str, version: u64, status: v1::TaskStatus) -> TaskReport {
    let stopped = status == v1::TaskStatus::Stopped;
    let container = ContainerReport {
        name: "main".into(),
        status: match status {
            v1::TaskStatus::Running => v1::ContainerStatus::Running.into(),
            v1::TaskStatus::Stopped => v1::ContainerStatus::Stopped.into(),
            _ => v1::ContainerStatus::Pending.into(),
        },
        exit_code: stopped.then_some(5),
        ..ContainerReport::default()
    };
    TaskReport {
        task_arn: task_arn.into(),
        version,
        status: status.into(),
        containers: vec![container],
        stop_code: stopped.then_some(v1::StopCode::EssentialContainerExited.into()),
        stopped_reason: stopped.then(|| "Essential container in task exited".into()),
        started_at_ms: Some(1),
        stopped_at_ms: stopped.then_some(2),
        ..TaskReport::default()
    }
}

pub(crate) async fn report_and_hear_ack(
    session: &mut Session,
    report: TaskReport,
) -> (String, u64) {
    session.send(FromAgent::Reports(Reports { reports: vec![report] })).await;
    let ToAgent::ReportAcks(acks) = session.hear().await else { panic!("no acknowledgement") };
    assert_eq!(acks.acks.len(), 1);
    (acks.acks[0].task_arn.clone(), acks.acks[0].version)
}

pub(crate) async fn change(session: &mut Session) -> Change {
    let ToAgent::Change(change) = session.hear().await else { panic!("no change") };
    assert_eq!(change.generation, change.base_generation + 1);
    assert_eq!(change.base_generation, session.generation, "no gap");
    change
}

#[tokio::test]
async fn a_task_goes_from_assignment_to_acknowledged_end() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    let ToAgent::Welcome(welcome) = session.hear().await else { panic!("no welcome") };
    assert_eq!((welcome.heartbeat_interval_ms, welcome.lease_ms), (20_000, 60_000));
    assert!(session.snapshot().await.is_empty());

    let ran = world.run_task(100).await;
    let arn = &ran.tasks[0].arn;
    let assigned = change(&mut session).await;
    let task = assigned.assignments[0].task.clone().unwrap();
    assert_eq!((task.arn.as_str(), task.family.as_str()), (arn.as_str(), "work"));
    session.applied(assigned.generation, None).await;

    let running = report(arn.as_str(), 1, v1::TaskStatus::Running);
    let ack = report_and_hear_ack(&mut session, running.clone()).await;
    assert_eq!(ack, (arn.to_string(), 1));
    assert_eq!(world.task(arn).last_status, TaskStatus::Running);
    report_and_hear_ack(&mut session, running).await;

    let stop = StopTask { cluster: default_cluster(), task: arn.clone(), reason: None };
    world.engine.call(stop).await.unwrap();
    let stopping = change(&mut session).await;
    assert_eq!(stopping.assignments[0].desired_status(), v1::DesiredStatus::Stopped);
    session.applied(stopping.generation, None).await;

    let stopped = report(arn.as_str(), 2, v1::TaskStatus::Stopped);
    report_and_hear_ack(&mut session, stopped).await;
    let task = world.task(arn);
    assert_eq!((task.last_status, task.desired), (TaskStatus::Stopped, DesiredStatus::Stopped));
    assert_eq!(task.containers[0].exit_code, Some(5));
    let forgotten = change(&mut session).await;
    assert_eq!(forgotten.forget_task_arns, [arn.to_string()]);
}

#[tokio::test]
async fn a_second_session_is_refused_unless_it_is_of_the_same_run() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let mut first = agent.session("run-1").await;
    first.greeted().await;
    let refused = agent.session("run-2").await.end().await;
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    let mut second = agent.session("run-1").await;
    second.greeted().await;
    // At once, and without a word of its own.
    assert_eq!(first.end().await.code(), Code::Aborted, "its place was taken");
    second.beat(1).await;
    let heard = second.next().await;
    assert!(matches!(heard, Ok(Some(ToAgent::HeartbeatAck(_)))), "{heard:?}");
}

#[tokio::test]
async fn a_session_that_left_can_be_followed_by_another_run() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let mut first = agent.session("run-1").await;
    first.greeted().await;
    drop(first);
    // The controller learns of the end a moment later.
    for _ in 0..600 {
        let mut next = agent.session("run-2").await;
        match next.next().await {
            Ok(Some(ToAgent::Welcome(_))) => return,
            Err(status) if status.code() == Code::AlreadyExists => {}
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the first session never ended");
}

#[tokio::test]
async fn a_silent_agent_loses_its_session_after_a_lease() {
    let world = World::with_lease(4_000).await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    session.greeted().await;
    let end = session.end().await;
    let codes = [Code::DeadlineExceeded, Code::Aborted];
    assert!(codes.contains(&end.code()), "{end}");
}

#[tokio::test]
async fn while_the_disk_hangs_an_agent_that_sends_reports_alone_hears_that_the_controller_lives() {
    let world = World::with_lease(4_000).await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    session.greeted().await;
    let ran = world.run_task(100).await;
    let arn = ran.tasks[0].arn.as_str();
    let assigned = change(&mut session).await;
    session.applied(assigned.generation, None).await;

    world.disk_hangs.store(true, Ordering::SeqCst);
    let mut version = 0;
    // A few wait for the session at first, and then more than may: the ear itself waits.
    for mut burst in [1, 100] {
        let mut heard = 0;
        // The first may answer a heartbeat of before.
        while heard < 2 {
            for _ in 0..std::mem::replace(&mut burst, 1) {
                version += 1;
                let running = report(arn, version, v1::TaskStatus::Running);
                session.send(FromAgent::Reports(Reports { reports: vec![running] })).await;
            }
            assert!(version < 200, "nothing is heard");
            match tokio::time::timeout(Duration::from_millis(500), session.next()).await {
                Err(_) => {}
                Ok(Ok(Some(ToAgent::HeartbeatAck(_)))) => heard += 1,
                Ok(other) => panic!("{other:?}"),
            }
        }
    }
    world.disk_hangs.store(false, Ordering::SeqCst);
    let mut acknowledged = 0;
    while acknowledged < version {
        let ToAgent::ReportAcks(acks) = session.hear().await else { panic!("no acknowledgement") };
        acknowledged = acks.acks[0].version;
    }
}

#[tokio::test]
async fn a_refused_change_is_followed_by_a_snapshot_and_a_refused_snapshot_by_the_end() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    session.greeted().await;
    let ran = world.run_task(100).await;
    let generation = change(&mut session).await.generation;
    session.applied(generation, Some("the ledger is full")).await;
    let ToAgent::Snapshot(snapshot) = session.hear().await else { panic!("no snapshot") };
    assert_eq!(snapshot.generation, generation);
    let arn = snapshot.assignments[0].task.as_ref().unwrap().arn.clone();
    assert_eq!(arn, ran.tasks[0].arn.as_str());
    session.applied(generation, Some("the ledger is full")).await;
    let end = session.end().await;
    assert_eq!(end.code(), Code::FailedPrecondition);
    assert!(end.message().contains("the ledger is full"), "{end}");
}

#[tokio::test]
async fn a_new_session_begins_with_everything_that_is_desired() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    session.greeted().await;
    let ran = world.run_task(100).await;
    let generation = change(&mut session).await.generation;
    session.applied(generation, None).await;
    let mut again = agent.session_after("a", generation).await;
    assert_eq!(again.greeted().await, [ran.tasks[0].arn.to_string()]);
    assert_eq!(again.generation, generation);
}

#[tokio::test]
async fn a_node_can_not_report_another_nodes_task() {
    let world = World::new().await;
    let mut owner = Agent::registered(&world).await;
    let mut owners = owner.session("a").await;
    owners.greeted().await;
    let ran = world.run_task(100).await;
    let arn = &ran.tasks[0].arn;
    let mut other = Agent::registered(&world).await;
    let mut session = other.session("b").await;
    session.greeted().await;
    let forged = report(arn.as_str(), 9, v1::TaskStatus::Stopped);
    session.send(FromAgent::Reports(Reports { reports: vec![forged] })).await;
    session.beat(1).await;
    // No acknowledgement comes before the answer to the heartbeat.
    assert!(matches!(session.next().await, Ok(Some(ToAgent::HeartbeatAck(_)))));
    assert_ne!(world.task(arn).last_status, TaskStatus::Stopped);
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_session_with_a_reason() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let hello = |protocol_version, agent_run_id: &str| {
        let agent_run_id = agent_run_id.into();
        FromAgent::Hello(Hello { protocol_version, agent_run_id, generation: 0 })
    };
    let first = [
        (FromAgent::Heartbeat(v1::Heartbeat { sequence: 1 }), Code::InvalidArgument),
        (hello(7, "a"), Code::FailedPrecondition),
        (hello(1, ""), Code::InvalidArgument),
        (hello(1, &"a".repeat(129)), Code::InvalidArgument),
    ];
    for (message, code) in first {
        let mut session = agent.silent_session().await;
        session.send(message).await;
        assert_eq!(session.end().await.code(), code);
    }
    let reports = |n: usize, status| Reports {
        reports: vec![report("arn:aws:ecs:r:1:task/default/1", 1, status); n],
    };
    let task_arn = "arn:aws:ecs:r:1:task/default/1".to_owned();
    let usage = v1::TaskUsage { task_arn, ..Default::default() };
    let later = [
        (hello(1, "a"), Code::InvalidArgument),
        (FromAgent::Reports(reports(65, v1::TaskStatus::Running)), Code::ResourceExhausted),
        (FromAgent::Reports(reports(1, v1::TaskStatus::Unspecified)), Code::InvalidArgument),
        (FromAgent::Applied(v1::Applied { generation: 99, refused: None }), Code::InvalidArgument),
        (FromAgent::Usage(v1::Usage { tasks: vec![usage; 65] }), Code::ResourceExhausted),
        (FromAgent::TaskQuestion(v1::TaskQuestion::default()), Code::InvalidArgument),
    ];
    for (message, code) in later {
        let mut session = agent.session("a").await;
        session.greeted().await;
        session.send(message).await;
        assert_eq!(session.end().await.code(), code);
    }
}

#[tokio::test]
async fn a_message_above_its_bound_ends_the_session() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    session.greeted().await;
    let mut large = report("arn:aws:ecs:r:1:task/default/1", 1, v1::TaskStatus::Running);
    large.stopped_reason = Some("x".repeat(loadline_proto::MESSAGE_BYTES_MAX));
    session.send(FromAgent::Reports(Reports { reports: vec![large] })).await;
    assert_eq!(session.end().await.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_message_of_a_newer_agent_is_ignored() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    session.greeted().await;
    session.messages.send(AgentMessage { kind: None }).await.unwrap();
    session.beat(3).await;
    let heard = session.next().await;
    assert!(matches!(heard, Ok(Some(ToAgent::HeartbeatAck(ack))) if ack.sequence == 3));
}

#[tokio::test]
async fn a_node_that_has_not_registered_gets_no_session() {
    let world = World::new().await;
    let mut agent = Agent::enrolled(&world).await;
    let end = agent.session("a").await.end().await;
    assert_eq!(end.code(), Code::FailedPrecondition, "{end}");
}

#[tokio::test]
async fn a_controller_that_stops_says_goodbye() {
    let mut world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    session.greeted().await;
    world.closing.send(true).unwrap();
    let ToAgent::Goodbye(goodbye) = session.hear().await else { panic!("no goodbye") };
    assert!(goodbye.reconnect_at_once);
    assert_eq!(session.end().await.code(), Code::Ok);
    drop((session, agent));
    world.served.take().unwrap().await.unwrap();
}
