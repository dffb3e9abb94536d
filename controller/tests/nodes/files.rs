//! Environment files, from a store that is away at times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use loadline_controller::api::auth::{AccessKey, SecretKey};
use loadline_controller::iam::{Command, Grant, IdentityKind, NewIdentity, PolicyKind, PolicyText};
use loadline_controller::objects::{ObjectStore, StoreOptions};
use loadline_controller::state::{DefinitionBody, EnvironmentFile, Family};
use loadline_proto::v1::controller_message::Kind as ToAgent;
use loadline_proto::v1::{TaskSecrets, TaskStatus};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::agent::{Agent, Session};
use crate::session::{change, report, report_and_hear_ack};
use crate::world::{World, definition};

/// How often one reading asks a store that is away.
const TRIES: u32 = 3;
const OBJECT: &str = "arn:aws:s3:::bucket/app.env";

/// A store with one object. The number says how many of the next requests it has no answer to.
async fn store() -> (ObjectStore, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let faults = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&faults);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let less = |left: u32| left.checked_sub(1);
            let answer = match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
                Ok(_) => "HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\n\r\n",
                Err(_) => "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nTOLD=one",
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let key = AccessKey { id: "A".into(), secret: SecretKey::new("s") };
    let options = StoreOptions { endpoint, region: "us-east-1".into(), key, ca_file: None };
    (ObjectStore::new(options).unwrap(), faults)
}

/// A definition with the object, and the role that may read it.
async fn with_file(world: &World) -> DefinitionBody {
    let trust = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]}"#;
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow",
        "Action": "s3:GetObject", "Resource": "{OBJECT}"}}]}}"#
    );
    let trust = Some(PolicyText::parse(trust, PolicyKind::Trust).unwrap());
    let role = NewIdentity { trust, ..NewIdentity::named(IdentityKind::Role, "execution") };
    let policy = PolicyText::parse(&policy, PolicyKind::Identity).unwrap();
    world.engine.call(Command::Create(role)).await.unwrap();
    let grant = Grant::PutPolicy("p".into(), policy);
    let grant = Command::Change(IdentityKind::Role, "execution".into(), grant);
    world.engine.call(grant).await.unwrap();
    let mut body = definition(Family::parse("work").unwrap(), 100);
    body.roles.execution = Some("arn:aws:iam::000000000000:role/execution".into());
    let container = body.containers[0].name.clone();
    body.environment_files = vec![EnvironmentFile { container, object: OBJECT.into() }];
    body
}

async fn told(session: &mut Session) -> TaskSecrets {
    let ToAgent::TaskSecrets(secrets) = session.hear().await else { panic!("no secrets") };
    secrets
}

#[tokio::test]
async fn a_task_that_runs_is_told_nothing_of_a_fault_of_the_store_that_passes() {
    let (objects, faults) = store().await;
    let world = World::with_objects(objects).await;
    let body = with_file(&world).await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    session.greeted().await;

    // One that is about to start is told.
    faults.store(TRIES, Ordering::SeqCst);
    let ran = world.run_of(body.clone()).await;
    let assigned = change(&mut session).await;
    session.applied(assigned.generation, None).await;
    let secrets = told(&mut session).await;
    assert_eq!(secrets.task_arn, ran.tasks[0].arn.as_str());
    assert!(secrets.error.unwrap().contains("503 Service Unavailable"));
    let stopped = report(&secrets.task_arn, 1, TaskStatus::Stopped);
    report_and_hear_ack(&mut session, stopped).await;

    let forgotten = change(&mut session).await;
    session.applied(forgotten.generation, None).await;
    let ran = world.run_of(body).await;
    let arn = ran.tasks[0].arn.as_str();
    let assigned = change(&mut session).await;
    session.applied(assigned.generation, None).await;
    let first = told(&mut session).await;
    assert_eq!(first.containers[0].environment[0].value, "one");
    report_and_hear_ack(&mut session, report(arn, 1, TaskStatus::Running)).await;

    // As by an agent that was started again, and has nothing in memory any more.
    faults.store(TRIES, Ordering::SeqCst);
    let mut session = agent.session_after("a", assigned.generation).await;
    assert_eq!(session.greeted().await, [arn]);
    assert_eq!(told(&mut session).await, first);
    assert_eq!(faults.load(Ordering::SeqCst), 0, "the store had its faults");
}
