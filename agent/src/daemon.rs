//! `loadline-agent run`: sets everything up in the one order that works, and runs it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use loadline_model::network::WITHOUT_NETWORKS;
use loadline_model::{ContainerName, ContainerStatus, Resources, Right, TaskArn};
use loadline_proto::convert::Attribute;
use loadline_proto::v1;
use loadline_runtime::sys::malloc;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rand::Rng as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::board::Board;
use crate::clock::now_ms;
use crate::elf;
use crate::exec::{ExecPlace, ExecPlaces, Execs};
use crate::host::HostFacts;
use crate::image::registry::{PullOptions, Puller};
use crate::image::{CleanupRules, ImageStore};
use crate::ledger::{Contents, Ledger};
use crate::metadata::server::{Loopback, Server};
use crate::metadata::{CredentialStore, Directory, Questions, SecretStore};
use crate::network::{Network, Pool};
use crate::node::Keeper;
use crate::options::RunOptions;
use crate::session::backoff::Backoff;
use crate::session::link::{LogPlace, LogPlaces};
use crate::session::{self, Identity, JoinToken, Link, enrol, token};
use crate::task::groups::Groups;
use crate::task::upgrade::Supervisor;
use crate::task::workshop::{Pulls, Tools, Workshop};
use crate::task::{Task, actor};
use crate::text::chain;
use crate::usage::Meter;
use crate::{api, bundle};

/// Open files that the agent asks for: a socket for each container, and then some.
const OPEN_FILES_WANTED: u64 = 65_536;

/// How long a folder may be locked before another agent is taken to use it.
const LOCKED_TIME_MAX: Duration = Duration::from_secs(3);
const LOCKED_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Stopped tasks that wait to be told to the node.
const STOPPED_MAX: usize = 256;

/// Everything that must hold for as long as the agent runs.
struct Agent {
    state_dir: PathBuf,
    link: Link,
    api: api::Context,
    keeper: JoinHandle<()>,
    _lock: Lock,
}

/// Keeps a second agent off the folder.
type Lock = Flock<std::fs::File>;

/// What a node that has not joined joins with; one that has may go on without it.
type Joining = Option<JoinToken>;

/// Runs the agent until it is told to end.
///
/// # Errors
/// What keeps it from starting: step, object, cause.
pub async fn run(options: RunOptions) -> anyhow::Result<()> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "the agent needs root, for cgroups, mounts and networks: run it with sudo"
    );
    check_address(&options.controller)?;
    let token = first_token(&options)?;
    raise_open_files();
    make_dir(&options.state_dir)?;
    close_to_others(&options.state_dir)?;
    let lock = lock(&options.state_dir).await?;
    let agent = set_up(options, token, lock).await?;
    tokio::spawn(give_back_memory());
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let workshop = Arc::clone(&agent.api.workshop);
    let state_dir = agent.state_dir;
    let link = agent.link.run_alone().context("start the session's thread")?;
    tokio::select! {
        // Whoever starts the agent again finds everything in the ledger; one that goes on without
        // its node, or without a way to the controller, only looks alive.
        _ = link => anyhow::bail!("the session's thread has failed: the agent ends, tasks run on"),
        _ = agent.keeper => anyhow::bail!("the keeper has failed: the agent ends, tasks run on"),
        served = api::serve(&state_dir, agent.api) => served.context("serve the local API")?,
        _ = terminate.recv() => tracing::info!("SIGTERM: the agent ends, tasks run on"),
        _ = interrupt.recv() => tracing::info!("SIGINT: the agent ends, tasks run on"),
    }
    workshop.leave();
    Ok(())
}

async fn set_up(options: RunOptions, token: Joining, lock: Lock) -> anyhow::Result<Agent> {
    let state_dir = std::fs::canonicalize(&options.state_dir)
        .with_context(|| format!("find {}", options.state_dir.display()))?;
    let facts = HostFacts::read()?;
    let resources = registered(&options, &facts)?;
    let programs = programs(&options)?;
    let attributes = attributes(&facts, &options, elf::is_static(&programs.supervisor))?;
    let images = Arc::new(ImageStore::open(&state_dir.join("images"))?);
    let (ledger, contents) = Ledger::open(&state_dir)?;
    // Before any cgroup is made: a node that may not join leaves nothing behind.
    let (identity, token) = join(&options, token, &state_dir).await?;
    let directory = Arc::new(Directory::default());
    let loopback = Loopback::listen(&directory);
    let (metadata, listeners) = mpsc::channel(1);
    let (network, pool) = network(&options, &state_dir, &facts, metadata)?;
    let (around, supervisor) = ((network, Arc::clone(&directory)), programs.supervisor.clone());
    let workshop = workshop(&options, &state_dir, programs, &facts, Arc::clone(&images), around)?;
    let board = Arc::new(Board::default());
    tracing::info!(node = %identity.container_instance_arn, "this node");
    let workshop = sweep(workshop, &contents).await?;
    let (stopped, stopped_inbox) = mpsc::channel(STOPPED_MAX);
    let (credentials, secrets): (Arc<CredentialStore>, Arc<SecretStore>) = Default::default();
    let context = actor::Context {
        ledger,
        board: Arc::clone(&board),
        directory: Arc::clone(&directory),
        workshop: Arc::clone(&workshop),
        secrets: Arc::clone(&secrets),
        supervisor: Arc::new(Supervisor::inspect(supervisor.clone()).await),
        makers: Arc::new(Semaphore::new(makers())),
        checkers: Arc::new(Semaphore::new(CHECKS_MAX)),
        boot_id: facts.boot_id.clone(),
        stopped,
    };
    let keep_ms = options.keep_stopped_s.saturating_mul(1000);
    let keeper = Keeper::new(context, resources, pool, contents, keep_ms);
    let (node, inbox) = Keeper::handle();
    let keeper = tokio::spawn(keeper.run(inbox, stopped_inbox));
    tokio::spawn(clean_up_images(Arc::clone(&images), Arc::clone(&workshop)));
    let meter = measure(&options, &directory, &workshop);
    let questions = Arc::<Questions>::default();
    let settings = session::Settings {
        controller: options.controller.clone(),
        state_dir: state_dir.clone(),
        resources,
        attributes,
        run_id: hex::encode(rand::rng().random::<[u8; 16]>()),
        execs: Arc::new(Execs::new(Places::new(&workshop, &board, supervisor.clone()))),
        logs: Places::new(&workshop, &board, supervisor),
        credentials: Arc::clone(&credentials),
        secrets,
        questions: Arc::clone(&questions),
        usage: Some(meter.newest()),
        token,
    };
    let link = Link::new(settings, identity, node.clone(), Arc::clone(&board));
    let (asked, measured) = (Arc::clone(&workshop), Arc::clone(&meter));
    let server = Server::new(directory, credentials, measured, questions, asked, link.name());
    server.start(loopback, listeners);
    let api = api::Context {
        images,
        workshop,
        node,
        board,
        meter,
        container_instance_arn: link.name(),
        controller: options.controller,
    };
    Ok(Agent { state_dir, link, api, keeper, _lock: lock })
}

/// The programs that containers need.
struct Programs {
    runtime: PathBuf,
    supervisor: PathBuf,
}

fn programs(options: &RunOptions) -> anyhow::Result<Programs> {
    Ok(Programs {
        runtime: program("loadline-runtime", options.runtime.as_deref())?,
        supervisor: program("loadline-supervisor", options.supervisor.as_deref())?,
    })
}

fn network(
    options: &RunOptions,
    state_dir: &Path,
    facts: &HostFacts,
    metadata: mpsc::Sender<std::net::TcpListener>,
) -> anyhow::Result<(Network, Pool)> {
    let made = options.network.network(state_dir, &facts.boot_id, metadata);
    made.map_err(|why| anyhow::anyhow!("read the options of the network: {why}"))
}

/// Begins to measure what containers use.
fn measure(
    options: &RunOptions,
    directory: &Arc<Directory>,
    workshop: &Arc<Workshop>,
) -> Arc<Meter> {
    let meter = Arc::new(Meter::new(Arc::clone(directory), Arc::clone(workshop)));
    let every = Duration::from_secs(options.usage_interval_s);
    tokio::spawn(Arc::clone(&meter).run(every));
    meter
}

/// Health checks that are made at once: most wait for somebody, and one that hangs holds its place
/// for up to a minute.
const CHECKS_MAX: usize = 64;

/// How often memory that the agent does not need any more is given back.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(10);

/// What a hundred launches at once took is not held until the next hundred come.
async fn give_back_memory() {
    let mut ticks = tokio::time::interval(GIVE_BACK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = tokio::task::spawn_blocking(malloc::give_back).await {
            tracing::warn!(%error, "memory can't be given back");
        }
    }
}

/// How often pulled images that nobody uses are looked for (the ECS agent's default).
const CLEAN_UP_INTERVAL: Duration = Duration::from_secs(30 * 60);

async fn clean_up_images(images: Arc<ImageStore>, workshop: Arc<Workshop>) {
    let mut ticks = tokio::time::interval(CLEAN_UP_INTERVAL);
    loop {
        ticks.tick().await;
        let (images, workshop) = (Arc::clone(&images), Arc::clone(&workshop));
        let cleaned = tokio::task::spawn_blocking(move || {
            images.clean_up(|| workshop.used_layers(), now_ms(), &CleanupRules::DEFAULT)
        });
        match cleaned.await {
            Ok(Ok(removed)) if removed.is_empty() => {}
            Ok(Ok(removed)) => tracing::info!(?removed, "images that nobody used were removed"),
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "images can't be cleaned up"),
            Err(error) => tracing::warn!(%error, "images can't be cleaned up"),
        }
    }
}

/// Twice the CPUs: making a container waits for the disk about half of the time.
fn makers() -> usize {
    std::thread::available_parallelism().map_or(2, |cpus| cpus.get() * 2)
}

fn make_dir(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make the folder {}", path.display()))
}

/// A controller without a port can never be reached, however often it is tried.
fn check_address(controller: &str) -> anyhow::Result<()> {
    let is_host = |host: &str| !host.is_empty() && !host.contains('/');
    let port = controller.rsplit_once(':').filter(|(host, _)| is_host(host));
    let is_port = |(_, port): (&str, &str)| port.parse::<u16>().is_ok_and(|port| port != 0);
    anyhow::ensure!(
        port.is_some_and(is_port),
        "--controller {controller:?} is not HOST:PORT, without a scheme: the controller's agent \
         port is 7071 unless it was told otherwise"
    );
    Ok(())
}

/// Only root reads and writes an agent's folder. One from before, or that somebody made by hand, is
/// closed if it is plainly an agent's; one that others may write is refused, because they could put
/// anything in the place of a key.
fn close_to_others(state_dir: &Path) -> anyhow::Result<()> {
    let metadata =
        std::fs::metadata(state_dir).with_context(|| format!("look at {}", state_dir.display()))?;
    let mode = metadata.permissions().mode();
    let mut entries = std::fs::read_dir(state_dir)
        .with_context(|| format!("read the folder {}", state_dir.display()))?;
    let is_ours = state_dir.join("lock").exists() || entries.next().is_none();
    if mode & 0o077 != 0 && is_ours {
        return std::fs::set_permissions(state_dir, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("close {} to others", state_dir.display()));
    }
    anyhow::ensure!(
        mode & 0o022 == 0,
        "the state folder {} can be written by others (mode {:o}): give the agent a folder of its \
         own with --state-dir",
        state_dir.display(),
        mode & 0o7777
    );
    Ok(())
}

/// A child that an agent was about to start when it was killed holds all that it had open until it
/// executes its program: what is locked is looked at for a while.
async fn lock(state_dir: &Path) -> anyhow::Result<Lock> {
    let path = state_dir.join("lock");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let until = Instant::now() + LOCKED_TIME_MAX;
    loop {
        let errno = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((unlocked, errno)) => {
                file = unlocked;
                errno
            }
        };
        if errno != Errno::EWOULDBLOCK || until <= Instant::now() {
            return Err(anyhow::Error::new(io::Error::from(errno)).context(format!(
                "lock {}: another agent uses this state folder; give each its own --state-dir and \
                 --cgroup-parent",
                path.display()
            )));
        }
        tokio::time::sleep(LOCKED_LOOK_EVERY).await;
    }
}

/// The default soft limit of 1024 is below what a full node needs; the hard one is the host's say.
pub(crate) fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = OPEN_FILES_WANTED.min(hard);
    if soft < wanted
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    {
        tracing::warn!(%error, soft, "the limit of open files can't be raised");
    }
}

/// Finds one of Loadline's programs: as told, beside this one, or in PATH.
fn program(name: &str, told: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(told) = told {
        return std::fs::canonicalize(told)
            .with_context(|| format!("find the program {}", told.display()));
    }
    let own = std::env::current_exe().context("find the agent's own program")?;
    let beside = own.parent().map(|dir| dir.join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|dir| dir.join(name));
    beside
        .into_iter()
        .chain(in_path)
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is neither beside {} nor in PATH", own.display()))
}

fn attributes(
    facts: &HostFacts,
    options: &RunOptions,
    has_init: bool,
) -> anyhow::Result<Vec<Attribute>> {
    let mut wire: Vec<v1::Attribute> =
        facts.attributes.iter().cloned().map(v1::Attribute::from).collect();
    let granted = Right::ALL.into_iter().filter(|right| !options.refuse.contains(right));
    wire.extend(granted.map(|right| {
        let name = right.attribute().to_owned();
        v1::Attribute { name, value: None }
    }));
    let more = [
        ("loadline.capability.init-process", has_init),
        ("loadline.capability.swap", options.allow_swap),
        (WITHOUT_NETWORKS, options.network.without_networks().is_some()),
    ];
    wire.extend(more.into_iter().filter(|(_, is_so)| *is_so).map(|(name, _)| {
        let name = name.to_owned();
        v1::Attribute { name, value: None }
    }));
    if options.journal_socket.exists() {
        let name = "com.amazonaws.ecs.capability.logging-driver.journald".to_owned();
        wire.push(v1::Attribute { name, value: None });
    }
    for text in &options.attributes {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), None),
        };
        wire.push(v1::Attribute { name: name.to_owned(), value });
    }
    Attribute::list_from_wire(wire).context("read the options --attribute")
}

/// What tasks can reserve.
fn registered(options: &RunOptions, facts: &HostFacts) -> anyhow::Result<Resources> {
    let reserved = Resources {
        cpu_units: options.reserved_cpu_units,
        memory_mib: options.reserved_memory_mib,
    };
    Ok(facts.less(reserved)?)
}

fn workshop(
    options: &RunOptions,
    state_dir: &Path,
    Programs { runtime, supervisor }: Programs,
    facts: &HostFacts,
    images: Arc<ImageStore>,
    (network, directory): (Network, Arc<Directory>),
) -> anyhow::Result<Workshop> {
    let resources = registered(options, facts)?;
    let groups = Groups::open(&options.cgroup_parent, resources, facts.total, options.allow_swap)?;
    let tools = Tools {
        tasks_dir: state_dir.join("tasks"),
        shared_volumes: state_dir.join("volumes"),
        refused: options.refuse.iter().copied().collect(),
        gives_swap: options.allow_swap,
        without_networks: options.network.without_networks(),
        runtime_root: state_dir.join("runtime"),
        log_file_bytes_max: options.log_file_bytes_max,
        log_files_max: options.log_files_max,
        journal_socket: options.journal_socket.clone(),
        host: bundle::Host {
            cgroup_parent: options.cgroup_parent.clone(),
            memory: groups.cgroups.memory_accounting(),
            hostname: facts.hostname.clone(),
            pids_limit: None,
            capabilities: bundle::capabilities_in(facts.capabilities),
            runtime: features_of(&runtime),
            init: elf::is_static(&supervisor).then(|| supervisor.clone()),
        },
        pulls: pulls(options, &images)?,
        network: Arc::new(network),
        directory,
        runtime,
        supervisor,
    };
    make_dir(&tools.tasks_dir)?;
    make_dir(&tools.runtime_root)?;
    Ok(Workshop::new(tools, groups))
}

/// Containers still run without a profile, as docker's do on such a host; the log says so.
fn features_of(runtime: &Path) -> bundle::Features {
    let found = bundle::features::of(runtime);
    let error = found.as_ref().err().map(|error| chain(error));
    let found = found.unwrap_or(bundle::Features::NONE);
    if found.seccomp == bundle::Seccomp::Unsupported {
        tracing::warn!(?runtime, error, "containers get no seccomp profile: the runtime has none");
    }
    if found.read_only == bundle::ReadOnly::Top {
        let what = "mounts below a read-only volume can be written to: the runtime has no rro";
        tracing::warn!(?runtime, error, what);
    }
    found
}

fn pulls(options: &RunOptions, images: &Arc<ImageStore>) -> anyhow::Result<Pulls> {
    let registries = PullOptions {
        docker_config: options.registry_credentials.clone(),
        insecure_registries: options.insecure_registries.clone(),
        ca_file: options.registry_ca.clone(),
    };
    Ok(Pulls {
        puller: Arc::new(Puller::new(Arc::clone(images), registries)?),
        behaviour: options.image_pull,
    })
}

/// Removes what no task of the ledger accounts for, before any task goes on.
async fn sweep(workshop: Workshop, contents: &Contents) -> anyhow::Result<Arc<Workshop>> {
    let known: std::collections::BTreeSet<String> =
        contents.tasks.keys().map(|arn| arn.id().to_owned()).collect();
    let workshop = Arc::new(workshop);
    let theirs = Arc::clone(&workshop);
    let live = contents.tasks.values().filter(|task| !task.is_stopped());
    let live: BTreeMap<String, Task> =
        live.map(|task| (task.spec.arn.id().to_owned(), task.clone())).collect();
    tokio::task::spawn_blocking(move || theirs.sweep(|task_id| known.contains(task_id), &live))
        .await
        .context("sweep what earlier agents left")?;
    Ok(workshop)
}

/// The join token, where one was given. A node that has joined already may go on without it.
fn read_token(options: &RunOptions) -> anyhow::Result<Joining> {
    let text = match (&options.join_token, &options.join_token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(path)) => token::read_file(path)?,
        (None, None) => return Ok(None),
    };
    JoinToken::parse(&text).context("read the join token").map(Some)
}

/// The join token, before anything is written: a node that can't join leaves no folder behind.
fn first_token(options: &RunOptions) -> anyhow::Result<Joining> {
    let token = read_token(options);
    if Identity::load(&options.state_dir)?.is_some() {
        return Ok(token.unwrap_or_else(|error| {
            tracing::info!("the node has joined already, and the token is of no use: {error:#}");
            None
        }));
    }
    token?.context(NOT_JOINED).map(Some)
}

const NOT_JOINED: &str = "this node has not joined a cluster: make a token on the controller with \
                          `loadline token create` and give it with --join-token-file";

/// The node's identity: from disk, or for a join token. And the token, where it was not used.
async fn join(
    options: &RunOptions,
    token: Joining,
    state_dir: &Path,
) -> anyhow::Result<(Identity, Joining)> {
    if let Some(identity) = Identity::load(state_dir)? {
        return Ok((identity, token));
    }
    let token = token.context(NOT_JOINED)?;
    let mut backoff = Backoff::default();
    loop {
        match enrol::enrol(&options.controller, &token, state_dir).await {
            Ok(identity) => return Ok((identity, None)),
            Err(error) if error.is_passing() => {
                let wait = backoff.next(rand::rng().random::<f64>()).min(JOIN_WAIT_MAX);
                tracing::warn!(error = %chain(&error), ?wait, "not joined yet, trying again");
                tokio::time::sleep(wait).await;
            }
            Err(error) => return Err(anyhow::Error::new(error).context("join the cluster")),
        }
    }
}

/// A person may be waiting for a join.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(10);

/// Finds logs, and running containers, by asking the tasks' reports.
#[derive(Debug)]
struct Places {
    workshop: Arc<Workshop>,
    board: Arc<Board>,
    supervisor: PathBuf,
}

impl Places {
    fn new(workshop: &Arc<Workshop>, board: &Arc<Board>, supervisor: PathBuf) -> Arc<Self> {
        let (workshop, board) = (Arc::clone(workshop), Arc::clone(board));
        Arc::new(Self { workshop, board, supervisor })
    }
}

impl ExecPlaces for Places {
    fn find(&self, task: &TaskArn, container: &ContainerName) -> Result<ExecPlace, String> {
        let report = self.board.get(task).ok_or("this node has no such task")?;
        let found = report.containers.iter().find(|have| have.name == *container);
        let found = found.ok_or("the task has no such container")?;
        let runtime_id = found.runtime_id.as_deref();
        let runtime_id = runtime_id.filter(|_| found.status == ContainerStatus::Running);
        let runtime_id = runtime_id.ok_or_else(|| {
            format!("container {container} is {}, not RUNNING", found.status.as_str())
        })?;
        let place = self.workshop.exec_place(task, container, runtime_id);
        place.map(|place| ExecPlace { front: self.supervisor.clone(), ..place })
    }
}

impl LogPlaces for Places {
    fn find(&self, task_arn: &str, container_name: &str) -> Option<LogPlace> {
        let arn = TaskArn::parse(task_arn).ok()?;
        let name = ContainerName::parse(container_name).ok()?;
        let dir = self.workshop.log_dir(&arn, name.as_str());
        let report = self.board.get(&arn);
        let Some(report) = report else {
            // Let go of, but its log may still be kept.
            return dir.is_dir().then_some(LogPlace { dir, ended: true });
        };
        let container = report.containers.iter().find(|container| container.name == name)?;
        let stopped = container.status == ContainerStatus::Stopped;
        // Its supervisor may still be reading out what it wrote last.
        let ended = stopped && !self.workshop.is_supervised(&arn, name.as_str());
        Some(LogPlace { dir, ended })
    }
}
