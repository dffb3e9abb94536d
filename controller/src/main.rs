//! The controller's program: reads its options, opens the state, serves the API and the agent port,
//! and ends in order.
//!
//! ```text
//!   options ─▶ listeners ─▶ folder, lock ─▶ keys, authority ─▶ engine ─▶ ready ─▶ serve ─▶ end
//! ```

#![forbid(unsafe_code)]

mod lock;
mod notify;
mod options;

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use loadline_controller::api::auth::credentials;
use loadline_controller::api::{self, Api, Gate};
use loadline_controller::engine::{self, Engine, PulseClock};
use loadline_controller::keyring::{self, Keyring};
use loadline_controller::logs::LogStore;
use loadline_controller::nodes::pki::{self, Authority};
use loadline_controller::nodes::{self, AgentPort, LogsRelay, Shipper, Timing};
use loadline_controller::objects::ObjectStore;
use loadline_controller::seeing::{Audit, Calls, Events, Seeing, UsageBoard, port};
use loadline_controller::store::RedbStore;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::lock::Lock;
use crate::options::{LogFormat, Options, Verb};

/// A million tasks are many millions of small pieces, made by one thread and freed by others: the
/// C library's own allocator takes more time for them and keeps more between them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Heartbeats in a lease: one that is late or lost is not yet a silent node.
const HEARTBEATS_PER_LEASE: u64 = 3;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.verb {
        None => run(&options),
        Some(Verb::Restore { backup }) => restore(&options, backup),
        Some(Verb::RotateKey) => rotate_key(&options),
    };
    if let Err(error) = done {
        eprintln!("loadline-controller: error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(options: &Options) -> anyhow::Result<()> {
    log(options.log_format)?;
    raise_open_files();
    let runtime = tokio::runtime::Runtime::new().context("start the async runtime")?;
    let served = runtime.block_on(serve(options));
    // A call that hangs on a dead disk must not keep the process.
    runtime.shutdown_background();
    served
}

fn restore(options: &Options, backup: &Path) -> anyhow::Result<()> {
    let folder = options.folder();
    let _lock = Lock::take(&folder)?;
    let credentials = options.credentials();
    let counts = loadline_controller::backup::restore(backup, &folder, &credentials)?;
    let (records, logs) = (counts.records, counts.logs);
    println!("{records} records and {logs} of logs restored in {}", folder.display());
    Ok(())
}

fn rotate_key(options: &Options) -> anyhow::Result<()> {
    let folder = options.folder();
    let _lock = Lock::take(&folder)?;
    let count = loadline_controller::rotate::rotate(&folder)?;
    println!("{count} values are sealed with the new key of {}", folder.display());
    Ok(())
}

fn log(format: LogFormat) -> anyhow::Result<()> {
    let directives = std::env::var("LOADLINE_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("LOADLINE_LOG={directives:?} is no log filter"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Each node is a connection: the default soft limit of 1024 would be a limit of nodes. The hard
/// one is the host's say.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
}

async fn serve(options: &Options) -> anyhow::Result<()> {
    // From here on a signal is not lost, even before everything is ready.
    let mut signals = [
        signal(SignalKind::terminate()).context("handle SIGTERM")?,
        signal(SignalKind::interrupt()).context("handle SIGINT")?,
    ];
    let api_listener = listen(options.api_listen, "--api-listen").await?;
    let agent_listener = listen(options.agent_listen, "--agent-listen").await?;
    let (api_at, agents_at) = (api_listener.local_addr()?, agent_listener.local_addr()?);
    refuse_dev_abroad(options, api_at)?;
    // Only now: one that can't listen leaves nothing behind in the state folder.
    let _lock = Lock::take(&options.folder())?;
    loadline_controller::rotate::check_whole(&options.folder()).map_err(anyhow::Error::msg)?;
    let gate = gate(options)?;
    let authority =
        Arc::new(pki::load_or_create(&options.folder().join("ca.pem"), SystemTime::now())?);
    let keyring = Arc::new(keyring::load_or_create(&options.folder().join("secrets.key"))?);
    let objects = options.objects()?;
    let (engine, mut owner) = open_engine(options)?;
    let logs = LogStore::open(&options.folder().join("logs.redb"))?;

    let (closing, closed) = watch::channel(false);
    let relay = LogsRelay::new();
    let seeing = seeing(options, &engine)?;
    let usage = seeing.usage.clone();
    serve_metrics(options, &engine, &seeing).await?;
    let api = Api {
        engine: engine.clone(),
        gate,
        relay: relay.clone(),
        keyring: Arc::clone(&keyring),
        logs: logs.clone(),
        replays: Arc::default(),
        seeing,
        caller: Default::default(),
        asker: None,
        authority: None,
        ca_hash: authority.hash(),
    };
    let shipper = Shipper::new(engine.clone(), relay.clone(), logs.clone());
    tokio::spawn(shipper.run(closed.clone()));
    let port = agent_port(options, &engine, &authority, &keyring, (relay, usage, logs, objects));
    let mut api = tokio::spawn(api::serve(api_listener, api, closed.clone()));
    let mut agents = tokio::spawn(nodes::serve(agent_listener, port, closed));
    ready(api_at, agents_at);

    let ended = tokio::select! {
        () = any(&mut signals) => Ok(()),
        ended = &mut api => Err(unexpected("the API", ended)),
        ended = &mut agents => Err(unexpected("the agent port", ended)),
        () = true_or_gone(&mut owner) => Err(anyhow::anyhow!("the owner of the state ended")),
    };
    tracing::info!("stopping: answering what is under way");
    notify::send("STOPPING=1");
    // An error means that both ports are closed already.
    let _ = closing.send(true);
    let wound_down = async {
        let errors = [wait(&mut api).await, wait(&mut agents).await];
        for error in errors.into_iter().flatten() {
            tracing::warn!("a port closed with an error: {error:#}");
        }
        engine.stop();
        true_or_gone(&mut owner).await;
    };
    tokio::select! {
        () = wound_down => {}
        () = any(&mut signals) => tracing::warn!("ending at once: calls under way are cut off"),
    }
    ended
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("listen on {address}: free the port, or choose another one with {option}")
    })
}

/// Said before anything is made; `api::serve` keeps the rule as well.
fn refuse_dev_abroad(options: &Options, api_at: SocketAddr) -> anyhow::Result<()> {
    if options.dev && !api_at.ip().is_loopback() {
        bail!(
            "--dev takes any key and is refused on {api_at}: use a loopback address with \
             --api-listen, or leave --dev out"
        );
    }
    Ok(())
}

fn gate(options: &Options) -> anyhow::Result<Gate> {
    if options.dev {
        tracing::warn!("--dev: any access key is taken");
        return Ok(Gate::AnyKey);
    }
    let path = options.credentials();
    let keys = credentials::load_or_create(&path)?;
    tracing::info!("{} access keys from {}", keys.count(), path.display());
    Ok(Gate::Keys { keys, region: options.scope().region })
}

/// The events from now on, and the audit log.
fn seeing(options: &Options, engine: &Engine) -> anyhow::Result<Seeing> {
    let folder = options.folder();
    let audit = Audit::open(&folder)
        .with_context(|| format!("open the audit log in {}", folder.display()))?;
    let events = Events::default();
    tokio::spawn(events.clone().follow(engine.clone()));
    let (calls, folder) = (Calls::default(), Some(folder));
    let credentials = (!options.dev).then(|| options.credentials());
    Ok(Seeing { events, audit, calls, folder, credentials, ..Seeing::default() })
}

/// The port of its own for Prometheus, where one is wanted.
async fn serve_metrics(options: &Options, engine: &Engine, seeing: &Seeing) -> anyhow::Result<()> {
    let Some(address) = options.metrics_listen else { return Ok(()) };
    let listener = listen(address, "--metrics-listen").await?;
    let folder = options.folder();
    let token = port::token(&folder)
        .with_context(|| format!("read or make {}/metrics-token", folder.display()))?;
    tracing::info!("metrics on {}", listener.local_addr()?);
    tokio::spawn(port::serve(listener, token, engine.clone(), seeing.clone()));
    Ok(())
}

/// The engine, and whether its owner has ended.
fn open_engine(options: &Options) -> anyhow::Result<(Engine, watch::Receiver<bool>)> {
    let path = options.folder().join("state.redb");
    let store = RedbStore::open(&path)?;
    let clock = Arc::new(PulseClock::default());
    tokio::spawn(Arc::clone(&clock).keep());
    let rules = options.rules();
    let settings = engine::Options { clock, rules, ..engine::Options::new(options.scope()) };
    let (engine, thread) = Engine::open(Box::new(store), settings)?;
    let (ended, owner) = watch::channel(false);
    std::thread::spawn(move || {
        // A panic of the owner has been printed; it is an end like any other.
        let _ = thread.join();
        // An error means that nobody waits.
        let _ = ended.send(true);
    });
    Ok((engine, owner))
}

fn agent_port(
    options: &Options,
    engine: &Engine,
    authority: &Arc<Authority>,
    keyring: &Arc<Keyring>,
    (relay, usage, logs, objects): (LogsRelay, UsageBoard, LogStore, Option<ObjectStore>),
) -> AgentPort {
    let lease_ms = options.rules().lease_ms;
    let ms = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
    let timing = Timing {
        heartbeat_interval_ms: ms(lease_ms / HEARTBEATS_PER_LEASE),
        lease_ms: ms(lease_ms),
    };
    AgentPort {
        engine: engine.clone(),
        authority: Arc::clone(authority),
        scope: options.scope(),
        relay,
        usage,
        logs,
        keyring: Arc::clone(keyring),
        objects,
        timing,
    }
}

/// Tells whoever waits: `loadline up` and scripts by a line, systemd by its socket.
fn ready(api: SocketAddr, agents: SocketAddr) {
    tracing::info!("ready: API on {api}, agents on {agents}");
    let line = format!("ready api={api} agents={agents}\n");
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!("can't say ready on standard output: {error}");
    }
    notify::send("READY=1");
}

async fn true_or_gone(value: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone.
    let _ = value.wait_for(|value| *value).await;
}

async fn any(signals: &mut [Signal; 2]) {
    let [terminate, interrupt] = signals;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

type Ended<E> = Result<Result<(), E>, tokio::task::JoinError>;

fn unexpected<E>(what: &'static str, ended: Ended<E>) -> anyhow::Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("{what} closed unexpectedly"),
        Ok(Err(error)) => anyhow::Error::new(error),
        Err(error) => anyhow::Error::new(error).context(what),
    }
}

/// Waits for a port's end, if it has not been seen yet; the error it ended with.
async fn wait<E>(port: &mut tokio::task::JoinHandle<Result<(), E>>) -> Option<anyhow::Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    if port.is_finished() {
        return None;
    }
    match port.await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(anyhow::Error::new(error)),
        Err(error) => Some(anyhow::Error::new(error)),
    }
}
