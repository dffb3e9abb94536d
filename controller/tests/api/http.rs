//! Clients that misbehave, below AWS's protocol: what they send is answered or cut off, and the
//! server goes on.

use std::sync::Arc;

use std::time::Duration;

use loadline_controller::api::{AccessKeys, Api, Gate, ServeError, serve};
use loadline_controller::keyring::Keyring;
use loadline_controller::logs::LogStore;
use loadline_controller::nodes::LogsRelay;
use loadline_controller::state::Sha256Hash;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(60);

async fn say(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("the server ends the connection").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_request_is_answered_or_cut_off_and_the_server_goes_on() {
    let world = World::new().await;
    let close = "Connection: close\r\n\r\n";
    let check = async |sent: &[u8], expected: &str| {
        let answer = say(&world, sent).await;
        assert!(answer.contains(expected), "{answer:?} should contain {expected:?}");
    };
    let unsigned = format!("POST / HTTP/1.1\r\nHost: x\r\n{close}");
    check(unsigned.as_bytes(), "MissingAuthenticationTokenException").await;
    check(format!("GET / HTTP/1.1\r\nHost: x\r\n{close}").as_bytes(), "Missing").await;
    check(b"\x16\x03\x01\x02\x00\x01\x00\x01", "HTTP/1.1 400").await;
    check(b"nonsense\r\n\r\n", "HTTP/1.1 400").await;
    let long = format!("POST / HTTP/1.1\r\nHost: x\r\nX: {}\r\n{close}", "y".repeat(100_000));
    check(long.as_bytes(), "HTTP/1.1 431").await;
    let many = "X: y\r\n".repeat(200);
    check(format!("POST / HTTP/1.1\r\nHost: x\r\n{many}{close}").as_bytes(), "HTTP/1.1 431").await;
    check(unsigned.as_bytes(), "MissingAuthenticationTokenException").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_body_is_never_waited_for() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await;
    let length = read.expect("answered before any of the body came").unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.contains("MissingAuthenticationTokenException"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_idle_connections_and_the_port() {
    let mut world = World::new().await;
    let mut idle = TcpStream::connect(world.address).await.unwrap();
    idle.write_all(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    assert!(0 < idle.read(&mut answer).await.unwrap());
    world.closing.send(true).unwrap();
    let served = tokio::time::timeout(PATIENCE, &mut world.served).await;
    served.expect("the server ends").unwrap();
    assert_eq!(idle.read(&mut answer).await.unwrap_or(0), 0, "the idle connection is closed");
    assert!(TcpStream::connect(world.address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn development_mode_is_refused_off_loopback() {
    let world = World::new().await;
    let check = async |gate: Gate, address: &str| {
        let folder = tempfile::tempdir().unwrap();
        let api = Api {
            engine: world.engine.clone(),
            gate,
            relay: LogsRelay::new(),
            keyring: Arc::new(Keyring::new(&[7; 32])),
            logs: LogStore::open(&folder.path().join("logs.redb")).unwrap(),
            replays: Arc::default(),
            seeing: Default::default(),
            caller: Default::default(),
            asker: None,
            authority: None,
            ca_hash: Sha256Hash([0; 32]),
        };
        let listener = TcpListener::bind(address).await.unwrap();
        let (closing, closed) = tokio::sync::watch::channel(true);
        let served = serve(listener, api, closed).await;
        drop(closing);
        served
    };
    let refused = check(Gate::AnyKey, "0.0.0.0:0").await;
    assert!(matches!(refused, Err(ServeError::NotLoopback(_))), "{refused:?}");
    assert!(check(Gate::AnyKey, "127.0.0.1:0").await.is_ok());
    let keys = Gate::Keys { keys: AccessKeys::none(), region: "us-east-1".into() };
    assert!(check(keys, "0.0.0.0:0").await.is_ok());
}
