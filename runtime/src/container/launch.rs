//! The near side of the clone: the runtime interprets its part of the plan.
//!
//! Every kernel resource is a guard from the moment it exists, so a step that fails leaves
//! nothing: the child is killed and reaped, then its cgroup removed, then (by the caller) its
//! folder.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sched::{CloneFlags, sched_setaffinity, setns};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::unistd::{Pid, symlinkat};

use super::idmap;
use super::kernel::{
    Process, flags_of, open_container, open_namespace, open_root_of, refuse_own, set_of,
};
use super::killed;
use super::launch_error::{LaunchError, StepError, child_error, hint};
use super::marked::Marked;
use super::net_device::{self, Moved};
use super::notify;
use super::record::{
    CGROUP_LINK, MOUNTS_LINK, ProcessStat, START_SOCKET, Unrecorded, boot_ticks, process_stat,
};
use super::resctrl;
use crate::cgroup::{self, Existing, Group};
use crate::init;
use crate::init::hook;
use crate::init::message;
use crate::init::procfs::Procfs;
use crate::init::sync::{self, Cause, Failure, FromChild, Last, ParentEnd};
use crate::log;
use crate::plan::{ChildStep, ParentStep, Plan, Slot, c_path};
use crate::spec::{Hook, HookKind, NamespaceKind, NetDevice};
use crate::sys::heap::take_own_pages;
use crate::sys::mount::{AT_RECURSIVE, OPEN_TREE_CLONE, open_tree};
use crate::sys::network::{self, Making};
use crate::sys::process::{Clone3, Side, clone3, pidfd_open};

/// A container that was set up. Dropped, it is undone.
#[derive(Debug)]
pub(super) struct Launched {
    /// The first process. Before the cgroup, so that it is gone when that is removed.
    pub(super) process: Process,
    /// Its cgroup.
    pub(super) group: Option<Group>,
    /// The terminal's master arrives here, if the runtime keeps it.
    pub(super) console: Option<OwnedFd>,
}

/// How far a container's set-up is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Hooks run, which may ask for the container's state.
    Creating,
    /// Only the exec is left.
    Done,
}

/// Writes the record of a container with this pid and cgroup.
type WriteRecord<'a> = dyn FnMut(Known<'_>, Progress) -> Result<(), super::Error> + 'a;

/// What is known of a container once it has a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// The first process.
    pub(super) pid: i32,
    /// When it started, in clock ticks since boot.
    pub(super) start_ticks: u64,
    /// Its cgroup.
    pub(super) cgroup: Option<&'a cgroup::Location>,
    /// Its groups of resctrl.
    pub(super) resctrl: Option<&'a resctrl::Groups>,
    /// Its mounts that lie in a mount namespace of others.
    pub(super) marked: Option<&'a Marked>,
}

/// What launching needs beyond the plan.
pub(super) struct Setting<'a> {
    /// The container's folder, where `start` finds its socket.
    pub(super) folder: &'a Path,
    /// The state that hooks read; the pid is filled in.
    pub(super) hook_state: hook::State,
    /// The runtime's end of the console socket in the foreground.
    pub(super) foreground: bool,
    /// Whether the runtime stays until the program ends, and hears of its death in any case.
    pub(super) stays: bool,
    /// Writes the record.
    pub(super) write_record: &'a mut WriteRecord<'a>,
    /// The number of the step that a test lets fail.
    pub(super) fail_step: Option<usize>,
}

impl fmt::Debug for Setting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Sets a container up.
///
/// # Errors
/// The step that failed, on either side. Nothing is left of the others.
pub(super) fn launch<'a>(plan: &'a Plan, setting: Setting<'a>) -> Result<Launched, LaunchError> {
    let mut launch = Launch {
        plan,
        setting,
        since_ticks: if plan.parent.contains(&ParentStep::CreateCgroup) { boot_ticks() } else { 0 },
        slots: (0..plan.slots).map(|_| None).collect(),
        console: None,
        kept_console: None,
        pidfd_receiver: None,
        listener: None,
        sync: None,
        interfaces: Vec::new(),
        process: None,
        stat: None,
        group: None,
        network: None,
        is_in_v2: false,
        lists: Vec::new(),
        rdt: resctrl::Guard::default(),
        marked: None,
    };
    for (index, step) in plan.parent.iter().enumerate() {
        let injected = launch.setting.fail_step == Some(index + 1);
        log::debug(|| format!("step {} of {}: {step}", index + 1, plan.length()));
        let done = if injected { Err(Cause::Injected.into()) } else { launch.step(step) };
        match done {
            Ok(()) => {}
            Err(error) => {
                let mut failed = launch.explain(index, error);
                // Before the process ends, with whose namespace they would go.
                let moved = std::mem::take(&mut launch.interfaces);
                failed.left = moved.into_iter().filter_map(Moved::give_back).collect();
                failed.left.extend(launch.take_mounts_away());
                return Err(failed);
            }
        }
    }
    launch.interfaces.into_iter().for_each(Moved::release);
    launch.rdt.release();
    Ok(Launched {
        process: launch.process.expect("a plan has a clone"),
        group: launch.group,
        console: launch.kept_console,
    })
}

/// A file of the record that could not be made: the step is about something else.
fn not_made(file: &Path, errno: Errno) -> StepError {
    StepError::Record(Box::new(super::Error::io("make", file, errno.into())))
}

/// The runtime between its first step and its last. Fields are dropped in this order.
struct Launch<'a> {
    plan: &'a Plan,
    setting: Setting<'a>,
    /// Before the process, with whose namespace they would go.
    interfaces: Vec<Moved>,
    process: Option<Process>,
    group: Option<Group>,
    /// The network namespace that is made aside.
    network: Option<Making>,
    /// What the kernel said of the process.
    stat: Option<ProcessStat>,
    /// Whether the process is in the v2 side of its cgroup since it is there.
    is_in_v2: bool,
    /// What the process writes to so that it joins the v1 sides, until it has them.
    lists: Vec<OwnedFd>,
    rdt: resctrl::Guard,
    marked: Option<Marked>,
    /// When it began, in clock ticks since boot, where a cgroup is made.
    since_ticks: u64,
    slots: Vec<Option<OwnedFd>>,
    console: Option<OwnedFd>,
    kept_console: Option<OwnedFd>,
    pidfd_receiver: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    sync: Option<ParentEnd>,
}

impl Launch<'_> {
    fn step(&mut self, step: &ParentStep) -> Result<(), StepError> {
        match step {
            ParentStep::OpenNamespace { slot, kind, path } => {
                self.fill(*slot, open_namespace(*kind, path)?)
            }
            ParentStep::RefuseOwnNamespace { slot, kind } => {
                let joined = self.slots[slot.0].as_ref().ok_or(Errno::EBADF)?;
                refuse_own(joined, *kind)
            }
            ParentStep::EnterPidNamespace { slot } => {
                let fd = self.slots[slot.0].take().ok_or(Errno::EBADF)?;
                Ok(setns(&fd, CloneFlags::CLONE_NEWPID)?)
            }
            ParentStep::OpenContainer { slot, pid, start_ticks } => {
                self.fill(*slot, open_container(*pid, *start_ticks)?)
            }
            ParentStep::OpenRootOf { slot, pid, start_ticks } => {
                self.fill(*slot, open_root_of(*pid, *start_ticks)?)
            }
            ParentStep::EnterNamespaces { slot, kinds } => {
                let fd = self.slots[slot.0].as_ref().ok_or(Errno::EBADF)?;
                Ok(setns(fd, flags_of(kinds))?)
            }
            ParentStep::OpenCgroup => self.open_cgroup(),
            ParentStep::CloneTree { slot, path, recursive } => {
                let flags = if *recursive { AT_RECURSIVE } else { 0 };
                let tree = open_tree(AT_FDCWD, &c_path(path), OPEN_TREE_CLONE | flags)?;
                self.fill(*slot, tree)
            }
            ParentStep::ConnectConsole { path } => self.connect_console(path),
            ParentStep::ConnectPidfd { path } => self.connect_pidfd(path),
            ParentStep::SendPidfd => self.send_pidfd(),
            ParentStep::ListenForStart => self.listen_for_start(),
            ParentStep::StartScope => self.start_scope(),
            ParentStep::MakeNetwork => self.make_network(),
            ParentStep::CreateUnifiedCgroup => self.create_unified_cgroup(),
            ParentStep::CreateCgroup => self.create_cgroup(),
            ParentStep::GiveCgroup { uid } => {
                Ok(self.group.as_ref().map_or(Ok(()), |group| group.give_to(*uid))?)
            }
            ParentStep::Clone { namespaces, first } => self.clone(namespaces, first),
            ParentStep::JoinCgroup => self.join_cgroup(),
            ParentStep::OfferCgroup => self.offer_cgroup(),
            ParentStep::MapIds { uid, gid } => Ok(idmap::write(self.pid()?, uid, gid)?),
            ParentStep::MapTree { slot, uid, gid, recursive } => {
                let tree = self.slots[slot.0].as_ref().ok_or(Errno::EBADF)?;
                Ok(idmap::map_tree(tree.as_fd(), self.pid()?, uid, gid, *recursive)?)
            }
            ParentStep::MakeRdtGroup(group) => Ok(self.rdt.make(group)?),
            ParentStep::JoinRdtGroups { groups } => Ok(resctrl::join(groups, self.pid()?)?),
            ParentStep::UseCpus { cpus } => {
                Ok(sched_setaffinity(Pid::from_raw(0), &set_of(cpus)?)?)
            }
            ParentStep::MoveInterface { device, slot } => self.move_interface(device, *slot),
            ParentStep::OomScore { score } => {
                let path = format!("{}/oom_score_adj", self.pid()?);
                let path = c_path(Path::new(&path));
                Ok(Procfs::of_host()?.write(&path, score.to_string().as_bytes())?)
            }
            ParentStep::Proceed => self.proceed(),
            ParentStep::AwaitNamespaces => self.expect(FromChild::Namespaces),
            ParentStep::RunHooks { kind, hooks } => self.run_hooks(*kind, hooks),
            ParentStep::AwaitReady => self.expect(FromChild::Ready),
            ParentStep::WriteRecord => self.write_record(Progress::Done),
            ParentStep::AwaitExec => self.await_exec(),
            ParentStep::NoteMounts { namespace } => self.note_mounts(*namespace),
        }
    }

    fn fill(&mut self, slot: Slot, opened: OwnedFd) -> Result<(), StepError> {
        self.slots[slot.0] = Some(opened);
        Ok(())
    }

    fn proceed(&mut self) -> Result<(), StepError> {
        let ignored = self.stat()?.map_or(0, |stat| stat.ignored);
        let lists = std::mem::take(&mut self.lists);
        Ok(self.sync()?.proceed(ignored, &lists)?)
    }

    /// First with pages of this process's own: the thread shares its memory.
    fn make_network(&mut self) -> Result<(), StepError> {
        take_own_pages();
        let network = self.network.as_mut().ok_or(Errno::EBADF)?;
        Ok(network.begin()?)
    }

    fn move_interface(&mut self, device: &NetDevice, slot: Option<Slot>) -> Result<(), StepError> {
        let own = match slot {
            Some(_) => None,
            None => Some(net_device::namespace_of(self.pid()?)?),
        };
        let joined = slot.and_then(|slot| self.slots[slot.0].as_ref());
        let namespace = own.as_ref().or(joined).ok_or(Errno::EBADF)?.as_fd();
        let moved = net_device::move_into(&device.device, &device.name, namespace)?;
        self.interfaces.push(moved);
        Ok(())
    }

    fn connect_console(&mut self, path: &Path) -> Result<(), StepError> {
        self.console = Some(message::connect(path)?);
        Ok(())
    }

    fn connect_pidfd(&mut self, path: &Path) -> Result<(), StepError> {
        self.pidfd_receiver = Some(message::connect(path)?);
        Ok(())
    }

    /// With runc's name for the kind of process as the data.
    fn send_pidfd(&mut self) -> Result<(), StepError> {
        let receiver = self.pidfd_receiver.take().ok_or(Errno::EBADF)?;
        let pidfd = self.process.as_ref().and_then(Process::pidfd);
        let is_first = self.plan.parent.contains(&ParentStep::WriteRecord);
        let kind: &[u8] = if is_first { b"standard" } else { b"setns" };
        Ok(message::send_fd(receiver.as_fd(), kind, pidfd.ok_or(Errno::EBADF)?.as_fd())?)
    }

    /// By a relative name, because a socket's address is too short for some folders.
    fn listen_for_start(&mut self) -> Result<(), StepError> {
        nix::unistd::chdir(self.setting.folder)?;
        let socket =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(START_SOCKET)?)
            .map_err(|errno| not_made(&self.setting.folder.join(START_SOCKET), errno))?;
        listen(&socket, Backlog::new(1)?)?;
        self.listener = Some(socket);
        Ok(())
    }

    /// A scope ends by itself with its last process, so until the cgroup is a guard the process
    /// is guard enough.
    fn start_scope(&mut self) -> Result<(), StepError> {
        let Some(cgroup) = &self.plan.cgroup else { return Ok(()) };
        let unit = cgroup.unit.as_ref().ok_or(Errno::EINVAL)?;
        Group::start_unit(unit, Pid::from_raw(self.pid()?), &cgroup.decision)?;
        self.is_in_v2 = true;
        Ok(())
    }

    fn create_unified_cgroup(&mut self) -> Result<(), StepError> {
        let Some(cgroup) = &self.plan.cgroup else { return Ok(()) };
        self.note_cgroup(&cgroup.location)?;
        let wanted = cgroup.decision.controllers();
        self.group = Some(Group::create_v2(&cgroup.location, wanted)?);
        Ok(())
    }

    fn create_cgroup(&mut self) -> Result<(), StepError> {
        let Some(cgroup) = &self.plan.cgroup else { return Ok(()) };
        let wanted = cgroup.decision.controllers();
        if let Some(group) = &mut self.group {
            group.complete(&cgroup.location, wanted)?;
            return Ok(group.apply(&cgroup.decision)?);
        }
        self.note_cgroup(&cgroup.location)?;
        // The scope holds the container's first process already.
        let existing = match cgroup.unit {
            Some(_) => Existing::OfUnit,
            None => Existing::RefuseIfUsed,
        };
        let group = Group::create(&cgroup.location, wanted, existing)?;
        let group = self.group.insert(group);
        Ok(group.apply(&cgroup.decision)?)
    }

    /// For whoever finds the folder of a container whose runtime was killed.
    fn note_cgroup(&self, location: &cgroup::Location) -> Result<(), StepError> {
        let is_hook = |step: &ChildStep| {
            matches!(step, ChildStep::RunHooks { kind: HookKind::CreateContainer, .. })
        };
        let records_first = !self.plan.child.iter().any(is_hook);
        let since_ticks = self.since_ticks;
        let unrecorded = Unrecorded { cgroup: location, since_ticks, records_first };
        let text = serde_json::to_vec(&unrecorded).map_err(|_| Errno::EINVAL)?;
        self.note(CGROUP_LINK, &text)
    }

    /// Writes down what would be left if this process were killed.
    fn note(&self, name: &str, text: &[u8]) -> Result<(), StepError> {
        let link = self.setting.folder.join(name);
        match symlinkat(OsStr::from_bytes(text), AT_FDCWD, &link) {
            // A folder on a filesystem without links, or a very long path: worse after a kill only.
            Ok(()) | Err(Errno::ENAMETOOLONG | Errno::EPERM) => Ok(()),
            Err(errno) => Err(not_made(&link, errno)),
        }
    }

    fn note_mounts(&mut self, namespace: Option<Slot>) -> Result<(), StepError> {
        let opened = self.plan.parent.iter().find_map(|step| match step {
            ParentStep::OpenNamespace { slot, path, .. } if Some(*slot) == namespace => {
                Some((self.slots[slot.0].as_ref()?.as_fd(), path.as_path()))
            }
            _ => None,
        });
        let marked = Marked::new(&self.setting.hook_state.id, opened)?;
        let text = serde_json::to_vec(&marked).map_err(|_| Errno::EINVAL)?;
        self.note(MOUNTS_LINK, &text)?;
        self.marked = Some(marked);
        Ok(())
    }

    /// What a container has mounted whose set-up failed; gives what is left. Its process ends
    /// first, which could mount more.
    fn take_mounts_away(&mut self) -> Option<String> {
        let marked = self.marked.take()?;
        self.process = None;
        let failed = marked.take_away().err()?;
        Some(format!("mounts at root.path: {failed}"))
    }

    fn open_cgroup(&mut self) -> Result<(), StepError> {
        let Some(cgroup) = &self.plan.cgroup else { return Ok(()) };
        let group = Group::open(&cgroup.location)?;
        self.group = Some(group.ok_or(Errno::ENOENT)?);
        Ok(())
    }

    fn clone(
        &mut self,
        namespaces: &[NamespaceKind],
        first: &[(Slot, NamespaceKind)],
    ) -> Result<(), StepError> {
        let (parent, child) = sync::pair()?;
        if self.setting.foreground {
            let (kept, given) = nix::sys::socket::socketpair(
                AddressFamily::Unix,
                SockType::Stream,
                None,
                SockFlag::SOCK_CLOEXEC,
            )?;
            self.console = Some(given);
            self.kept_console = Some(kept);
        }
        let network = match self.plan.parent.contains(&ParentStep::MakeNetwork) {
            true => network::pair().map(|(near, far)| (Some(near), Some(far)))?,
            false => (None, None),
        };
        let flags = namespaces.iter().fold(0, |flags, kind| flags | kind.flag());
        let what = Clone3 {
            namespaces: if first.is_empty() { flags } else { 0 },
            cgroup: self.group.as_ref().and_then(Group::v2_fd),
            is_sibling: false,
        };
        self.is_in_v2 = what.cgroup.is_some();
        let start = init::Start {
            sync: child,
            network: network.1,
            listener: self.listener.take(),
            console: self.console.take(),
            slots: std::mem::take(&mut self.slots),
            hook_state: self.setting.hook_state.clone(),
            mark: self.marked.as_ref().map(Marked::source).transpose()?,
            fail_step: self.setting.fail_step.and_then(|n| n.checked_sub(self.plan.parent.len())),
        };
        let (near, all) = (self.plan.parent.len(), self.plan.length());
        log::debug(|| format!("steps {} to {all} are the first process's", near + 1));
        match clone3(what)? {
            Side::Child => {
                // So that the runtime's death is seen as the end of the socket.
                drop(parent);
                drop(network.0);
                if first.is_empty() {
                    init::run(self.plan, start)
                }
                init::run_between(self.plan, start, first, flags)
            }
            Side::Parent { pid, pidfd } => {
                self.process = Some(Process::new(pid, pidfd));
                self.slots = start.slots;
                self.network = network.0;
                self.sync = Some(parent);
                if first.is_empty() { Ok(()) } else { self.take_sibling() }
            }
        }
    }

    /// The process between has entered namespaces and cloned the container's first process, as a
    /// child of this one; it ends, and the other takes its place.
    fn take_sibling(&mut self) -> Result<(), StepError> {
        let pid = match self.sync()?.recv()? {
            Some(FromChild::Cloned(pid)) => pid,
            Some(FromChild::Failed(Failure { cause, .. })) => return Err(cause.into()),
            Some(_) => return Err(Errno::EPROTO.into()),
            None => return Err(StepError::Died),
        };
        self.process = Some(Process::new(pid, pidfd_open(pid)?));
        Ok(())
    }

    fn join_cgroup(&mut self) -> Result<(), StepError> {
        let pid = Pid::from_raw(self.pid()?);
        match &self.group {
            Some(group) if self.is_in_v2 => Ok(group.attach_v1(pid)?),
            Some(group) => Ok(group.attach(pid)?),
            None => Ok(()),
        }
    }

    /// The process joins by itself, when it gets these with the next word to go on.
    fn offer_cgroup(&mut self) -> Result<(), StepError> {
        let pid = Pid::from_raw(self.pid()?);
        let Some(group) = &self.group else { return Ok(()) };
        if !self.is_in_v2 {
            group.attach_v2(pid)?;
        }
        match group.task_lists() {
            Ok(lists) => self.lists = lists,
            // Whoever delegated a group may have thought of its other file only. Where that is not
            // writable either, the error tells what to do.
            Err(_) => group.attach_v1(pid)?,
        }
        Ok(())
    }

    fn run_hooks(&mut self, kind: HookKind, hooks: &[Hook]) -> Result<(), StepError> {
        let pid = self.pid()?;
        self.write_record(Progress::Creating)?;
        let mut state = self.setting.hook_state.clone();
        state.pid = pid;
        state.status = if kind == HookKind::Prestart { "creating" } else { state.status };
        Ok(hook::run_all(hooks, &state, hook::Files::Host)?)
    }

    fn write_record(&mut self, progress: Progress) -> Result<(), StepError> {
        let pid = self.pid()?;
        let start_ticks = self.stat()?.map_or(0, |stat| stat.start_ticks);
        let cgroup = self.group.as_ref().map(Group::location);
        let (resctrl, marked) = (self.rdt.groups(), self.marked.as_ref());
        let known = Known { pid, start_ticks, cgroup, resctrl, marked };
        let written = (self.setting.write_record)(known, progress);
        written.map_err(|error| StepError::Record(Box::new(error)))
    }

    fn await_exec(&self) -> Result<(), StepError> {
        while let Some(last) = self.sync()?.recv_last()? {
            match last {
                Last::Failed(failure) => return Err(StepError::Child(failure)),
                Last::Listener(fd) => {
                    let to = notify::listener(self.plan).ok_or(Errno::EPROTO)?;
                    let pid = self.pid()?;
                    let mut state = self.setting.hook_state.clone();
                    // Of a further process, the state is the container's.
                    state.pid = if state.pid == 0 { pid } else { state.pid };
                    notify::hand_over(to, fd.as_fd(), pid, &state)?;
                }
            }
        }
        // The socket ends with the process, too.
        let has_executed = |stat: ProcessStat| stat.has_executed;
        match self.setting.stays || process_stat(self.pid()?).is_none_or(has_executed) {
            true => Ok(()),
            false => Err(StepError::Died),
        }
    }

    fn expect(&self, expected: FromChild) -> Result<(), StepError> {
        match self.sync()?.recv()? {
            Some(message) if message == expected => Ok(()),
            Some(FromChild::Failed(failure)) => Err(StepError::Child(failure)),
            Some(_) => Err(Errno::EPROTO.into()),
            None => Err(StepError::Died),
        }
    }

    /// What the kernel says of the process, asked once.
    fn stat(&mut self) -> Result<Option<ProcessStat>, StepError> {
        let pid = self.pid()?;
        if self.stat.is_none() {
            self.stat = process_stat(pid);
        }
        Ok(self.stat)
    }

    fn pid(&self) -> Result<i32, StepError> {
        self.process.as_ref().map(Process::pid).ok_or(StepError::Died)
    }

    fn sync(&self) -> Result<&ParentEnd, StepError> {
        self.sync.as_ref().ok_or(StepError::Died)
    }

    /// Names the step: the child's, when the child failed while the parent waited.
    fn explain(&self, index: usize, error: StepError) -> LaunchError {
        let told = self.sync.as_ref().and_then(ParentEnd::failure).map(StepError::Child);
        let (number, source) = match told.unwrap_or(error) {
            StepError::Child(Failure { step, cause }) => {
                let number = self.plan.parent.len() + usize::from(step) + 1;
                let error = match (cause, &self.group) {
                    (Cause::NotJoined(list, errno), Some(group)) => {
                        group.not_joined(list.into(), errno).into()
                    }
                    _ => child_error(self.plan, usize::from(step), cause),
                };
                (number, error)
            }
            other => (index + 1, other),
        };
        let step = self.plan.describe(number);
        let hint = match source {
            StepError::Died => Some(killed::hint(self.plan)),
            _ => hint(&step, &source),
        };
        let source = Box::new(source);
        LaunchError { number, step, hint, left: Vec::new(), source }
    }
}
