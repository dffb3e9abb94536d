//! Logs, asked for by the API and answered by a node.

use loadline_controller::nodes::{LogQuery, LogStream, LogsError};
use loadline_model::{ContainerName, TaskArn};
use loadline_proto::v1::agent_message::Kind as FromAgent;
use loadline_proto::v1::controller_message::Kind as ToAgent;
use loadline_proto::v1::{LogChunk, LogEvent, log_event};

use crate::agent::Agent;
use crate::world::World;

fn query() -> LogQuery {
    LogQuery {
        task: TaskArn::parse("arn:aws:ecs:us-east-1:000000000000:task/default/1").unwrap(),
        container: ContainerName::parse("main").unwrap(),
        cursor: "c1".into(),
        events_max: 10,
        wait_ms: 0,
        since_ms: 5,
    }
}

fn event(stream: log_event::Stream) -> LogEvent {
    LogEvent { timestamp_ms: 7, stream: stream.into(), message: b"hi".to_vec(), partial: false }
}

/// Asks, answers with `chunk`, and gives what the asker gets.
async fn ask(chunk: LogChunk) -> Result<loadline_controller::nodes::LogPage, LogsError> {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    session.greeted().await;
    let (relay, node) = (world.relay.clone(), agent.node.clone());
    let asked = tokio::spawn(async move { relay.read(&node, query()).await });
    let ToAgent::ReadLogs(read) = session.hear().await else { panic!("no question") };
    assert_eq!(
        (read.task_arn.as_str(), read.container_name.as_str()),
        (query().task.as_str(), "main")
    );
    assert_eq!((read.cursor.as_str(), read.events_max, read.since_ms), ("c1", 10, 5));
    let chunk = LogChunk { request_id: read.request_id, ..chunk };
    session.send(FromAgent::LogChunk(chunk)).await;
    asked.await.unwrap()
}

#[tokio::test]
async fn an_answer_comes_back_to_who_asked() {
    let chunk = LogChunk {
        events: vec![event(log_event::Stream::Stderr)],
        next_cursor: "c2".into(),
        end: true,
        ..LogChunk::default()
    };
    let page = ask(chunk).await.unwrap();
    assert_eq!((page.next_cursor.as_str(), page.end), ("c2", true));
    let line = &page.events[0];
    assert_eq!(
        (line.timestamp_ms, line.stream, &*line.message),
        (7, LogStream::Stderr, &b"hi"[..])
    );
}

#[tokio::test]
async fn a_node_that_can_not_read_says_why_and_nonsense_is_called_so() {
    let error = Some("no such container".to_owned());
    let refused = ask(LogChunk { error, ..LogChunk::default() }).await.unwrap_err();
    assert_eq!(refused, LogsError::Agent("no such container".to_owned()));
    let events = vec![event(log_event::Stream::Unspecified)];
    let refused = ask(LogChunk { events, ..LogChunk::default() }).await.unwrap_err();
    assert!(matches!(refused, LogsError::Broken { .. }), "{refused}");
    let events = vec![event(log_event::Stream::Stdout); 1001];
    let refused = ask(LogChunk { events, ..LogChunk::default() }).await.unwrap_err();
    assert!(matches!(refused, LogsError::Broken { .. }), "{refused}");
}

#[tokio::test]
async fn a_node_without_a_session_is_not_asked() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let refused = world.relay.read(&agent.node, query()).await.unwrap_err();
    assert_eq!(refused, LogsError::NotConnected(agent.node.clone()));
    let mut session = agent.session("a").await;
    session.greeted().await;
    let (relay, node) = (world.relay.clone(), agent.node.clone());
    let asked = tokio::spawn(async move { relay.read(&node, query()).await });
    assert!(matches!(session.hear().await, ToAgent::ReadLogs(_)));
    drop(session);
    let refused = asked.await.unwrap().unwrap_err();
    assert_eq!(refused, LogsError::NoAnswer(agent.node), "its session ended first");
}
