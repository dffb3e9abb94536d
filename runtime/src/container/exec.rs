//! `exec`: runs another process in a container.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::prctl::set_dumpable;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use super::create::capability_warnings;
use super::exec_cgroup::{SubCgroup, joined_cgroup};
use super::exec_process::{Decided, Wanted, process};
use super::launch::{Launched, Setting, launch};
use super::record::{Record, Status};
use super::state::status;
use super::store::write_atomically;
use super::{ContainerId, Created, Error, Store};
use crate::config::Config;
use crate::host::Host;
use crate::init::hook::State;
use crate::plan::{Ask, Begin, CgroupDriver, Console, Inside, Withheld, plan_exec};
use crate::spec::NamespaceKind;

/// Every kind, in the order in which they are listed.
const KINDS: [NamespaceKind; 8] = [
    NamespaceKind::User,
    NamespaceKind::Pid,
    NamespaceKind::Network,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Cgroup,
    NamespaceKind::Time,
    NamespaceKind::Mount,
];

/// What the command line says.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    /// The process.
    pub process: Wanted,
    /// Who gets the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Whether the runtime stays until the process ends.
    pub stays: bool,
    /// Where the process's pid is written.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// Who gets the process as a descriptor.
    pub pidfd_socket: Option<PathBuf>,
    /// Groups below the container's own to join.
    pub cgroups: Vec<SubCgroup>,
    /// The number of the step that a test lets fail.
    pub fail_step: Option<usize>,
    /// Whether a paused container is entered too; the process then waits for `resume`.
    pub ignore_paused: bool,
}

/// Runs a process in a container. When this returns, its program runs.
///
/// # Errors
/// What failed. Nothing is left of it.
pub fn exec(store: &Store, id: &ContainerId, options: &ExecOptions) -> Result<Created, Error> {
    let record = store.read(id)?;
    match status(&record, store.awaits_start(id))? {
        Status::Running | Status::Created => {}
        Status::Paused if options.ignore_paused => {}
        other => return Err(Error::CannotExec(other)),
    }
    // Before there is a process that the container could see: nothing of it is traced or read.
    set_dumpable(false).map_err(|source| Error::Signal { pid: 0, source })?;
    let cache = store.filters();
    let config = Config::decode(&record.config, &cache)
        .map_err(|source| Error::Damaged { path: PathBuf::from(id.as_str()), source })?;
    let Decided { process, unknown } = process(&config.oci, &options.process)?;
    let spec = config.validate()?.with_process(&process)?;
    let host = Host::probe(&spec).map_err(Error::Host)?;
    let console = match &options.console_socket {
        Some(path) => Console::Socket(path.clone()),
        None if options.stays && spec.process.terminal => Console::Foreground,
        None => Console::None,
    };
    let ask = Ask {
        id: record.id.clone(),
        bundle: record.bundle.clone(),
        begin: Begin::AtOnce,
        console: console.clone(),
        no_pivot: false,
        no_new_keyring: record.no_new_keyring,
        preserve_fds: options.preserve_fds,
        listen_fds: 0,
        pidfd_socket: options.pidfd_socket.clone(),
        cgroup_driver: CgroupDriver::Cgroupfs,
    };
    let inside = inside(&record, &options.cgroups)?;
    let plan = plan_exec(&spec, &host, &ask, &inside)?;
    let setting = Setting {
        folder: &record.bundle,
        hook_state: hook_state(&record),
        foreground: console == Console::Foreground,
        stays: options.stays,
        write_record: &mut |_, _| Ok(()),
        fail_step: options.fail_step,
    };
    if options.stays {
        hold_hang_up().map_err(|source| Error::Signal { pid: 0, source })?;
    }
    let Launched { process, group: _, console } = launch(&plan, setting)?;
    let pid = process.pid();
    if let Some(path) = &options.pid_file {
        write_atomically(path, pid.to_string().as_bytes(), 0o644)?;
    }
    // Of what was asked for here; the container's own were told when it was made.
    let asks = options.process.asks_for_capabilities();
    let withheld = if asks { plan.withheld } else { Withheld::default() };
    let warnings = capability_warnings(&unknown, withheld);
    let pidfd = process.release();
    Ok(Created { pid, pidfd, console, record: None, readiness: None, executes: true, warnings })
}

/// From here on until [`super::wait`], which passes it on: a caller that goes away now must not
/// leave a program behind that nobody knows. The program itself begins with no signal blocked.
fn hold_hang_up() -> Result<(), Errno> {
    let hang_up = SigSet::from(Signal::SIGHUP);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&hang_up), None)
}

/// No hook runs, so nobody reads it.
fn hook_state(record: &Record) -> State {
    State {
        oci_version: record.oci_version.clone(),
        id: record.id.clone(),
        status: "running",
        pid: record.pid,
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone(),
    }
}

/// The facts of the live container that the plan wants.
fn inside(record: &Record, sub: &[SubCgroup]) -> Result<Inside, Error> {
    let cgroup = match &record.cgroup {
        Some(location) => Some(joined_cgroup(location, record.pid, sub)?),
        None => None,
    };
    Ok(Inside {
        pid: record.pid,
        pid_start_ticks: record.pid_start_ticks,
        namespaces: KINDS.into_iter().filter(|kind| is_other(record.pid, *kind)).collect(),
        cgroup,
        resctrl: record.resctrl.clone().unwrap_or_default().joined,
    })
}

/// Whether a process has another namespace of this kind than the runtime. A kind that the kernel
/// does not have is nobody's.
fn is_other(pid: i32, kind: NamespaceKind) -> bool {
    let inode = |who: &str| {
        let path = format!("/proc/{who}/ns/{}", kind.file());
        fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
    };
    inode(&pid.to_string()) != inode("self")
}
