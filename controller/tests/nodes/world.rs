//! A controller in this process: engine on a fresh store, agent port on a loopback port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use loadline_controller::command::{
    CreateJoinToken, DefinitionRef, PropagateTags, Ran, RegisterTaskDefinition, RunTask,
};
use loadline_controller::engine::{Engine, Options};
use loadline_controller::logs::LogStore;
use loadline_controller::nodes::pki::{self, Authority};
use loadline_controller::nodes::{self, AgentPort, JoinTokenText, LogsRelay, Timing};
use loadline_controller::objects::ObjectStore;
use loadline_controller::state::{ClusterName, DefinitionBody, Family, Scope, Task};
use loadline_controller::store::{Mutation, RedbStore, Store, StoreError, Table, Visit};
use loadline_model::{ContainerName, ContainerSpec, TaskArn};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A lease that no load of the machine makes anybody miss.
const LEASE_MS: u32 = 60_000;

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) engine: Engine,
    pub(crate) authority: Arc<Authority>,
    pub(crate) relay: LogsRelay,
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) served: Option<tokio::task::JoinHandle<()>>,
    /// While it does no commit comes to an end.
    pub(crate) disk_hangs: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_lease(LEASE_MS).await
    }

    pub(crate) async fn with_lease(lease_ms: u32) -> Self {
        Self::with(lease_ms, None).await
    }

    /// With a store of environment files.
    pub(crate) async fn with_objects(objects: ObjectStore) -> Self {
        Self::with(LEASE_MS, Some(objects)).await
    }

    async fn with(lease_ms: u32, objects: Option<ObjectStore>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scope = Scope {
            partition: "aws".into(),
            region: "us-east-1".into(),
            account: "000000000000".into(),
        };
        let inner = RedbStore::open(&folder.path().join("state.redb")).unwrap();
        let disk_hangs = Arc::new(AtomicBool::new(false));
        let store = SlowStore { inner, hangs: Arc::clone(&disk_hangs) };
        let mut options = Options::new(scope.clone());
        options.rules.lease_ms = lease_ms.into();
        let (engine, _owner) = Engine::open(Box::new(store), options).unwrap();
        let authority = pki::load_or_create(&folder.path().join("ca.pem"), SystemTime::now());
        let authority = Arc::new(authority.unwrap());
        let relay = LogsRelay::new();
        let port = AgentPort {
            keyring: Arc::new(loadline_controller::keyring::Keyring::new(&[7; 32])),
            engine: engine.clone(),
            authority: Arc::clone(&authority),
            scope,
            relay: relay.clone(),
            usage: loadline_controller::seeing::UsageBoard::default(),
            logs: LogStore::open(&folder.path().join("logs.redb")).unwrap(),
            objects,
            timing: Timing { heartbeat_interval_ms: lease_ms / 3, lease_ms },
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (closing, closed) = watch::channel(false);
        let served =
            tokio::spawn(async move { nodes::serve(listener, port, closed).await.unwrap() });
        let served = Some(served);
        Self { address, engine, authority, relay, closing, served, disk_hangs, _folder: folder }
    }

    /// A join token for this many nodes.
    pub(crate) async fn token(&self, uses: u32, valid_for_ms: u64) -> JoinTokenText {
        let text = JoinTokenText::fresh(self.authority.hash());
        let token = CreateJoinToken {
            id: text.id().clone(),
            secret_hash: text.secret_hash(),
            cluster: default_cluster(),
            valid_for_ms,
            uses,
        };
        self.engine.call(token).await.unwrap();
        text
    }

    /// Registers a definition of one container, and runs one task of it.
    pub(crate) async fn run_task(&self, memory_mib: u64) -> Ran {
        self.run_of(definition(Family::parse("work").unwrap(), memory_mib)).await
    }

    /// Registers a definition, and runs one task of it.
    pub(crate) async fn run_of(&self, body: DefinitionBody) -> Ran {
        let family = body.family.clone();
        self.engine.call(RegisterTaskDefinition { body, by: None }).await.unwrap();
        let run = RunTask {
            cluster: default_cluster(),
            definition: DefinitionRef { family, revision: None },
            count: 1,
            overrides: None,
            group: None,
            started_by: None,
            execute_command: false,
            client_token: None,
            tags: vec![],
            propagate_tags: PropagateTags::None,
            constraints: vec![],
            strategy: vec![],
        };
        self.engine.call(run).await.unwrap()
    }

    /// The task as it is now.
    pub(crate) fn task(&self, arn: &TaskArn) -> Arc<Task> {
        Arc::clone(self.engine.snapshot().task(arn).unwrap())
    }
}

/// A store on a disk that may hang.
struct SlowStore {
    inner: RedbStore,
    hangs: Arc<AtomicBool>,
}

impl Store for SlowStore {
    fn scan(&mut self, table: Table, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.inner.scan(table, visit)
    }

    fn commit(&mut self, mutations: &[Mutation]) -> Result<(), StoreError> {
        while self.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.inner.commit(mutations)
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        self.inner.recover()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.closing.send(true);
        self.engine.stop();
    }
}

pub(crate) fn default_cluster() -> ClusterName {
    ClusterName::parse("default").unwrap()
}

pub(crate) fn definition(family: Family, memory_mib: u64) -> DefinitionBody {
    let container = ContainerSpec {
        cpu_units: 10,
        memory_mib: Some(memory_mib),
        command: Some(vec!["sleep".into()]),
        ..ContainerSpec::new(ContainerName::parse("main").unwrap(), "probe:latest")
    };
    DefinitionBody::new(family, vec![container])
}
