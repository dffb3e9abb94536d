//! Follows one run of one container: starts its supervisor where there is none yet, or finds the
//! one that an earlier agent started, and tells the actor what becomes of it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::upgrade::Supervisor;
use crate::supervise::{CONTROL_SOCKET, Command, LOCK_FILE, State};

/// Commands that wait for a supervisor.
const COMMANDS_MAX: usize = 16;

/// Longest line that a supervisor sends, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// How long a supervisor may take to begin, and to listen once it holds its lock.
const BEGIN_S_MAX: u64 = 60;

/// How long a supervisor may take from its container's end to its own: draining, flushing,
/// deleting.
const END_S_MAX: u64 = 300;

const POLL_MS: u64 = 20;

/// From one attempt to read the state of a run to the next, where the host refuses it.
const READ_AGAIN_S: u64 = 1;

/// What the actor is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// A new state of the run.
    State(State),
    /// The supervisor could not begin; nothing was touched.
    NotBegun(String),
    /// The supervisor died before it could write down an end.
    Lost,
    /// No supervisor lives any more; the last thing that is told.
    Gone,
}

/// Which run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The container's place in the task.
    pub(super) at: usize,
    /// Its folder, with the settings in it.
    pub(super) dir: PathBuf,
    /// The supervisor's program.
    pub(super) supervisor: Arc<Supervisor>,
}

/// Where commands for the supervisor go.
pub(super) type Commands = mpsc::Sender<Command>;

/// Who is told, and how: makes the actor's event of what happened to a container.
pub(super) struct Teller<E> {
    pub(super) events: mpsc::Sender<E>,
    pub(super) event: fn(usize, Watched) -> E,
}

impl<E> Teller<E> {
    async fn say(&self, at: usize, what: Watched) {
        // An actor that is gone has no more questions.
        let _ = self.events.send((self.event)(at, what)).await;
    }
}

/// Begins to follow a run. The last that is told is [`Watched::Gone`].
pub(super) fn begin<E: Send + 'static>(run: Run, teller: Teller<E>) -> Commands {
    let (commands, mut inbox) = mpsc::channel(COMMANDS_MAX);
    tokio::spawn(async move {
        let last = follow(&run, &mut inbox, &teller).await;
        if let Some(last) = last {
            teller.say(run.at, last).await;
        }
        teller.say(run.at, Watched::Gone).await;
    });
    commands
}

/// Follows to the end; what that was, where it was not told yet.
async fn follow<E>(
    run: &Run,
    commands: &mut mpsc::Receiver<Command>,
    teller: &Teller<E>,
) -> Option<Watched> {
    let mut begun = false;
    let mut found = true;
    loop {
        // The lock is looked at first: who finds it free then reads the last word on disk.
        let locked = is_locked(&run.dir);
        let state = match State::read(&run.dir) {
            Ok(state) => state,
            // A living supervisor tells its state by itself.
            Err(_) if locked => None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(run = %run.dir.display(), %error, "unreadable state of a run");
                return Some(Watched::Lost);
            }
            // The host is short of something (EMFILE, ENOMEM): that says nothing about the run.
            Err(error) => {
                tracing::error!(run = %run.dir.display(), %error, "can't read a run's state yet");
                tokio::time::sleep(Duration::from_secs(READ_AGAIN_S)).await;
                continue;
            }
        };
        match (locked, state) {
            (true, _) => {
                let found = std::mem::take(&mut found) && !begun;
                if let Err(error) = connect_and_listen(run, found, commands, teller).await {
                    tracing::debug!(run = %run.dir.display(), %error, "supervisor's socket");
                    tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
                }
            }
            (false, Some(state)) if state.is_final() => return Some(Watched::State(state)),
            (false, Some(_)) => return Some(Watched::Lost),
            (false, None) if begun => {
                return Some(Watched::NotBegun("its supervisor died at once".to_owned()));
            }
            (false, None) => {
                begun = true;
                if let Err(why) = start(run).await {
                    return Some(Watched::NotBegun(why));
                }
            }
        }
    }
}

/// Whether a supervisor lives in the run's folder. Where that can't be found out (EMFILE) one may:
/// taking it for dead would kill its container.
pub(super) fn is_locked(run_dir: &Path) -> bool {
    match File::options().read(true).write(true).open(run_dir.join(LOCK_FILE)) {
        Ok(file) => Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Starts a supervisor and waits until it has begun: it then closes its standard error.
async fn start(run: &Run) -> Result<(), String> {
    let program = run.supervisor.path().display();
    let mut child = tokio::process::Command::new(run.supervisor.path())
        .arg(&run.dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("start {program}: {error}"))?;
    crate::failpoint::hit("supervisor-spawned");
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let reading = stderr.take(LINE_BYTES_MAX);
        tokio::pin!(reading);
        let patience = Duration::from_secs(BEGIN_S_MAX);
        if tokio::time::timeout(patience, reading.read_to_end(&mut said)).await.is_err() {
            tracing::warn!(run = %run.dir.display(), "a supervisor is slow to begin");
        }
    }
    // It outlives this agent; while both live, the agent reaps it.
    tokio::spawn(async move { child.wait().await });
    let said = String::from_utf8_lossy(&said);
    let said = said.trim();
    // "Already supervised" shows in the lock, and is no failure.
    if said.is_empty() || is_locked(&run.dir) { Ok(()) } else { Err(said.to_owned()) }
}

/// Listens to a supervisor until its end of the socket closes. One that was found, because an
/// earlier agent started it, may have to become a newer program first.
async fn connect_and_listen<E>(
    run: &Run,
    found: bool,
    commands: &mut mpsc::Receiver<Command>,
    teller: &Teller<E>,
) -> io::Result<()> {
    let stream = connect(&run.dir).await?;
    let (reader, mut writer) = stream.into_split();
    if found && run.supervisor.prepare_upgrade(&run.dir) {
        writer.write_all(format!("{}\n", Command::Upgrade).as_bytes()).await?;
    }
    let mut reader = BufReader::with_capacity(1024, reader);
    let mut line = Vec::new();
    let mut ending = false;
    loop {
        let mut limited = (&mut reader).take(LINE_BYTES_MAX);
        tokio::select! {
            read = limited.read_until(b'\n', &mut line) => {
                if read? == 0 || line.last() != Some(&b'\n') {
                    return Ok(());
                }
                let state: State = serde_json::from_slice(&line)?;
                line.clear();
                ending = state.is_final();
                teller.say(run.at, Watched::State(state)).await;
            }
            command = commands.recv() => match command {
                Some(command) => writer.write_all(format!("{command}\n").as_bytes()).await?,
                // The actor is gone: so is the interest.
                None => std::future::pending().await,
            },
            () = tokio::time::sleep(Duration::from_secs(END_S_MAX)), if ending => {
                // What it had to say is on disk and told.
                let (program, dir) = (Arc::clone(&run.supervisor), run.dir.clone());
                let ended = tokio::task::spawn_blocking(move || {
                    super::calls::end_supervisor(program.path(), &dir)
                });
                // Looking through /proc does not panic.
                let _ = ended.await;
                return Err(io::Error::other("a supervisor did not end, and was ended"));
            }
        }
    }
}

/// Through the folder's descriptor, because the path of a socket has at most 107 bytes.
async fn connect(run_dir: &Path) -> io::Result<UnixStream> {
    let dir = File::open(run_dir)?;
    let path = format!("/proc/self/fd/{}/{CONTROL_SOCKET}", dir.as_raw_fd());
    UnixStream::connect(path).await
}
