//! A controller in this process: engine on a fresh store, API on a loopback port, one hollow node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use loadline_controller::api::auth::credentials;
use loadline_controller::api::{Api, Gate, serve};
use loadline_controller::engine::{Engine, Options};
use loadline_controller::keyring::Keyring;
use loadline_controller::logs::LogStore;
use loadline_controller::nodes::LogsRelay;
use loadline_controller::state::{Scope, Sha256Hash};
use loadline_controller::store::RedbStore;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::hollow;

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) credentials: PathBuf,
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) served: tokio::task::JoinHandle<()>,
    pub(crate) engine: Engine,
    _folder: tempfile::TempDir,
}

pub(crate) const REGION: &str = "us-east-1";

impl World {
    /// With one node of 4 vCPU and 4 GiB.
    pub(crate) async fn new() -> Self {
        Self::with_nodes(1).await
    }

    /// With so many nodes of that size.
    pub(crate) async fn with_nodes(nodes: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scope = Scope {
            partition: "aws".into(),
            region: REGION.into(),
            account: "000000000000".into(),
        };
        let store = RedbStore::open(&folder.path().join("state.redb")).unwrap();
        let mut options = Options::new(scope);
        options.services.healthy_after_ms = 300;
        let (engine, _owner) = Engine::open(Box::new(store), options).unwrap();
        let credentials = folder.path().join("credentials");
        let keys = credentials::load_or_create(&credentials).unwrap();
        let api = Api {
            engine: engine.clone(),
            gate: Gate::Keys { keys, region: REGION.into() },
            relay: LogsRelay::new(),
            keyring: Arc::new(Keyring::new(&[7; 32])),
            logs: LogStore::open(&folder.path().join("logs.redb")).unwrap(),
            replays: Arc::default(),
            seeing: Default::default(),
            caller: Default::default(),
            asker: None,
            authority: None,
            ca_hash: Sha256Hash([7; 32]),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (closing, closed) = watch::channel(false);
        let served = tokio::spawn(async move { serve(listener, api, closed).await.unwrap() });
        for number in 0..nodes {
            hollow::join(&engine, number, 4096, 4096).await;
        }
        Self { address, credentials, closing, served, engine, _folder: folder }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.closing.send(true);
        self.engine.stop();
    }
}
