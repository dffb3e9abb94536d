//! The supervisor of one run of one container: holds its output, waits for its init, and writes
//! down how it ended. It outlives the agent, and needs nobody to finish.
//!
//! ```text
//!  lock ─▶ listen ─▶ state Creating ─▶ runtime create ─▶ Created ─(command)▶ runtime start
//!       ─▶ Running ─▶ init ends ─▶ exit on disk ─▶ told ─▶ output drained ─▶ runtime delete ─▶ end
//! ```
//!
//! Invariants: no async, no TLS; one thread polls and one writes the log, so that a slow or full
//! disk delays neither the container (beyond a bound) nor the exit record. The exit record
//! overwrites a file that was allocated at the start, so a full disk can't lose it. Every child is
//! reaped. `main` is `loadline-supervisor RUN_FOLDER`; a second argument says that an earlier
//! program of this process has begun the run ([`handover`]). [`front`] is another use of the same
//! program.

mod children;
mod console;
mod driver;
mod engine;
mod front;
mod handover;
pub mod init;
mod oom;
mod output;
mod record;
mod server;
mod sink;

pub use front::front;

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::failpoint;
use crate::supervise::settings::SettingsError;
use crate::supervise::version::Holder;
use crate::supervise::{LOCK_FILE, Settings, State};

/// Why a supervisor could not begin. Once it has begun, it ends only with its container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings can't be used.
    #[error("read the run's settings")]
    Settings(#[source] SettingsError),
    /// A step of the set-up failed.
    #[error("{step}")]
    Setup {
        /// Which step.
        step: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Another supervisor holds the lock.
    #[error("{} is locked: this run has a supervisor already", path.display())]
    AlreadySupervised {
        /// The lock.
        path: PathBuf,
    },
    /// An earlier supervisor of this run is dead, and the run is never begun twice.
    #[error("{} was begun before and is not begun again", path.display())]
    AlreadyBegun {
        /// The run's folder.
        path: PathBuf,
    },
}

/// Names the step that an I/O error ended.
fn step<E: Into<std::io::Error>>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::Setup { step, source: error.into() }
}

/// The argument that says that the run has begun.
pub const RESUME: &str = "--resume";

/// Supervises the run whose folder is `run_dir`, to its end.
///
/// # Errors
/// [`Error`], only before the container is touched.
pub fn run(run_dir: &Path) -> Result<(), Error> {
    // A supervisor belongs to no terminal and to no process group of the agent's.
    // It fails only where it leads a group already, and that serves as well.
    let _ = nix::unistd::setsid();
    nix::sys::prctl::set_child_subreaper(true).map_err(step("become a subreaper"))?;
    let settings = Settings::read(run_dir).map_err(Error::Settings)?;
    std::env::set_current_dir(run_dir).map_err(step("enter the run's folder"))?;
    let lock = lock(run_dir)?;
    failpoint::hit("locked");
    if State::read(run_dir).map_err(step("read the run's state"))?.is_some() {
        return Err(Error::AlreadyBegun { path: run_dir.to_owned() });
    }
    let engine = engine::Engine::set_up(run_dir, settings, lock)?;
    engine.run();
    Ok(())
}

/// Goes on with a run that an earlier program of this process has begun.
///
/// # Errors
/// [`Error`]: the run is lost then, so whoever asks for this asks first whether it can be.
pub fn resume(run_dir: &Path) -> Result<(), Error> {
    let (handover, fds) = handover::receive().map_err(step("take the run over"))?;
    let settings = Settings::read(run_dir).map_err(Error::Settings)?;
    std::env::set_current_dir(run_dir).map_err(step("enter the run's folder"))?;
    let engine = engine::Engine::resume(run_dir, settings, handover, fds)?;
    engine.run();
    Ok(())
}

fn lock(run_dir: &Path) -> Result<File, Error> {
    let path = run_dir.join(LOCK_FILE);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(step("open the run's lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::AlreadySupervised { path }),
        Err(errno) => return Err(Error::Setup { step: "lock the run", source: errno.into() }),
    }
    // On a full disk nobody can ask this supervisor to become another program, and that is all.
    let _ = Holder::own().write(&file);
    Ok(file)
}
