//! The far side of the clone: the container's first process interprets the plan.
//!
//! ```text
//! runtime                         container's first process
//!   clone ──────────────────────▶ join namespaces
//!   make cgroup, map ids
//!   proceed ────────────────────▶ join cgroup, mounts, devices, (hooks), root, limits, ids
//!         ◀──────────────── ready
//!   (start, or proceed) ────────▶ exec
//! ```
//!
//! Invariants: the process is single-threaded; it cannot be traced or its memory and executable
//! opened by the container's processes until its exec (`PR_SET_DUMPABLE` 0); a step that fails is
//! reported by its index and the process ends, so nothing runs half set up.

pub mod copy_up;
mod exec;
pub mod hook;
mod identity;
pub mod message;
pub mod mountinfo;
mod mounts;
mod nodes;
pub mod procfs;
mod root;
pub mod rooted;
pub mod sync;
mod tail;
mod terminal;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use crate::plan::{ChildStep, ParentStep, Plan, Program, Slot};
use crate::spec::{Hook, HookKind, NamespaceKind};
use crate::sys;
use crate::sys::network::Arrival;
use crate::sys::process::{Clone3, Side, clone3};
use crate::sys::signal::SignalMask;
use procfs::Procfs;
use sync::{Cause, ChildEnd, Failure, FromChild};

/// What a step gives.
pub type Done = Result<(), Cause>;

/// What the first process starts with.
#[derive(Debug)]
pub struct Start {
    /// The socket to the runtime.
    pub sync: ChildEnd,
    /// Where `start` is awaited.
    pub listener: Option<OwnedFd>,
    /// Where the terminal's master goes.
    pub console: Option<OwnedFd>,
    /// Where the network namespace arrives that the parent makes.
    pub network: Option<Arrival>,
    /// What the parent opened, by slot.
    pub slots: Vec<Option<OwnedFd>>,
    /// The state that hooks read, in the form of a template.
    pub hook_state: hook::State,
    /// The source that mountinfo shows of the mount below all of the container's, where they lie in
    /// a namespace that others use.
    pub mark: Option<std::ffi::CString>,
    /// The number of the child's step that a test lets fail, counted from 1.
    pub fail_step: Option<usize>,
}

/// The first process, between the clone and its exec.
#[derive(Debug)]
struct Init<'p> {
    plan: &'p Plan,
    start: Start,
    /// The root filesystem's mount.
    root: Option<OwnedFd>,
    /// Slots of trees of the host that are open and not cloned yet.
    uncloned: Vec<Slot>,
    /// A procfs that shows this process's pid namespace.
    procfs: Option<Procfs>,
    /// The mounts of /proc and /sys, with their places: what is hidden there is found from them, as
    /// somebody who can change the image could exchange the directories meanwhile.
    kernel_mounts: Vec<(std::path::PathBuf, Rc<OwnedFd>)>,
    /// Each tmpfs that the container was given and nothing covers.
    tmpfs: Vec<mounts::Tmpfs>,
    /// The host's /dev/null, checked.
    null: Option<OwnedFd>,
    /// An empty read-only directory.
    empty: Option<OwnedFd>,
    /// The directory of the last node, because nodes come in rows.
    node_dir: Option<(std::path::PathBuf, OwnedFd)>,
    /// What is executed, once it is found.
    program: Option<exec::Found>,
    /// The connection of `start`.
    starter: Option<OwnedFd>,
    /// Whether it is in a user namespace of its own, which can forbid to set groups (`setgroups` in
    /// user_namespaces(7)).
    may_lack_groups: bool,
    /// Whether root may not enter the working directory.
    is_elsewhere: bool,
    /// The signals that the runtime's caller ignores.
    ignored: SignalMask,
    /// The lists of the cgroup, until they are written to.
    lists: Vec<OwnedFd>,
}

/// Runs the child's steps. Returns never: it executes the program or ends.
pub fn run(plan: &Plan, start: Start) -> ! {
    let mut init = Init {
        plan,
        start,
        root: None,
        uncloned: Vec::new(),
        procfs: None,
        kernel_mounts: Vec::new(),
        tmpfs: Vec::new(),
        null: None,
        empty: None,
        node_dir: None,
        program: None,
        starter: None,
        may_lack_groups: false,
        is_elsewhere: false,
        ignored: 0,
        lists: Vec::new(),
    };
    // Before anything of the container is near: no ptrace, no /proc/PID/exe or mem for others. In a
    // new user namespace, where nobody is yet, that is done by `BecomeRoot`: an ordinary user's
    // runtime must write the id maps first, and could not write into such a process's files.
    let is_mapped = |step: &ParentStep| matches!(step, ParentStep::MapIds { .. });
    if !plan.parent.iter().any(is_mapped) {
        let _ = nix::sys::prctl::set_dumpable(false);
    }
    let _ = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    for (index, step) in plan.child.iter().enumerate() {
        let injected = init.start.fail_step == Some(index + 1);
        let done = if injected { Err(Cause::Injected) } else { init.step(step) };
        if let Err(cause) = done {
            init.report(FromChild::Failed(Failure { step: index as u16, cause }));
            break;
        }
    }
    sys::process::exit_now(1)
}

/// The process between the runtime and the container's first process: enters namespaces in their
/// order, then clones the other with new ones. Returns never.
pub fn run_between(
    plan: &Plan,
    mut start: Start,
    first: &[(Slot, NamespaceKind)],
    namespaces: u64,
) -> ! {
    let mut entered = Ok(());
    for (slot, kind) in first {
        let namespace = start.slots[slot.0].take();
        let enter = |fd: OwnedFd| setns(fd, CloneFlags::from_bits_retain(kind.flag() as i32));
        entered = entered.and_then(|()| namespace.ok_or(Errno::EBADF).and_then(enter));
    }
    let what = Clone3 { namespaces, cgroup: None, is_sibling: true };
    let message = match entered.and_then(|()| clone3(what)) {
        Ok(Side::Child) => run(plan, start),
        Ok(Side::Parent { pid, .. }) => FromChild::Cloned(pid),
        Err(errno) => FromChild::Failed(Failure { step: 0, cause: errno.into() }),
    };
    let _ = start.sync.send(message);
    sys::process::exit_now(0)
}

impl Init<'_> {
    fn step(&mut self, step: &ChildStep) -> Done {
        use ChildStep as S;
        match step {
            S::AwaitParent => self.await_parent(),
            S::JoinCgroup => self.join_cgroup(),
            S::JoinNamespace { slot, kind } => self.join_namespace(*slot, *kind),
            S::JoinNamespaces { slot, kinds } => {
                let container = self.take_slot(*slot)?;
                Ok(setns(&container, crate::container::flags_of(kinds))?)
            }
            S::BecomeRoot => {
                self.may_lack_groups = true;
                identity::become_root()
            }
            S::NewSession => Ok(nix::unistd::setsid().map(|_| ())?),
            S::UnshareTime { offsets } => identity::unshare_time(offsets),
            S::EnterNetwork => self.enter_network(),
            S::UnshareCgroup => identity::unshare_cgroup(),
            S::RaiseLoopback => Ok(sys::net::raise_loopback()?),
            S::SetHostname { name } => Ok(nix::unistd::sethostname(os_str(name))?),
            S::SetDomainname { name } => Ok(sys::process::set_domainname(name)?),
            S::AwaitHooks => {
                self.start.sync.send(FromChild::Namespaces)?;
                self.await_parent()
            }
            S::RunHooks { kind, hooks } => self.run_hooks(*kind, hooks),
            S::NewKeyring { name } => identity::new_keyring(name),
            S::Personality { domain } => identity::personality(*domain),
            S::UseAllCpus => identity::use_all_cpus(),
            S::UseCpus { cpus } => identity::use_cpus(cpus),
            S::Schedule(attr) => Ok(sys::process::set_scheduler(*attr)?),
            S::IoPriority { class, level } => Ok(sys::process::set_io_priority(*class, *level)?),
            S::MemoryPolicy { mode, nodes } => Ok(sys::process::set_memory_policy(*mode, nodes)?),
            S::Limit(l) => Ok(sys::process::set_rlimit(l.resource, l.soft, l.hard)?),
            S::Umask { mask } => identity::umask(*mask),
            S::OwnStdio { uid } => identity::own_stdio(*uid),
            S::AppArmor { profile } => self.apparmor(profile),
            S::SelinuxLabel { label } => {
                let path = attribute_path("exec")?;
                self.procfs()?.write(&path, label.to_bytes())
            }
            S::BoundCapabilities { keep } => identity::bound_capabilities(*keep),
            S::BecomeUser { uid, gid, groups } => {
                identity::become_user(*uid, *gid, groups, self.may_lack_groups)
            }
            S::SetCapabilities { capabilities, has_late_filter } => {
                identity::set_capabilities(capabilities, *has_late_filter)
            }
            S::NoNewPrivileges => Ok(nix::sys::prctl::set_no_new_privs()?),
            S::ChangeDirectory { path } => self.change_directory(path),
            S::ChangeDirectoryAsUser { path } if self.is_elsewhere => {
                identity::change_directory(path)
            }
            S::ChangeDirectoryAsUser { .. } => Ok(()),
            S::CloseDescriptors => self.close_descriptors(),
            S::FindProgram => self.find_program(),
            S::Ready => Ok(self.start.sync.send(FromChild::Ready)?),
            S::AwaitStart => self.await_start(),
            S::Exec(program) => self.exec(program),
            _ => self.filesystem_step(step),
        }
    }

    fn filesystem_step(&mut self, step: &ChildStep) -> Done {
        use ChildStep as S;
        match step {
            S::Propagate { propagation } => root::propagate(*propagation),
            S::OpenRoot { path } => self.open_root(path),
            S::TakeRoot { slot, .. } => self.take_root(*slot),
            S::OpenTree { slot, path, recursive, cloning } => {
                self.open_source(*slot, path, *recursive, *cloning)
            }
            S::AttachRoot { at } => self.attach_root(at),
            S::UseRoot => self.use_root(),
            S::Mount { content, target, options } => self.mount(content, target, options),
            S::Link { path, target } => self.link(path, target),
            S::Node(device) => self.node(device),
            S::BindNode(device) => self.bind_node(device),
            S::OwnNull => self.own_null(),
            S::MakeDirectory { path } => self.make_directory(path),
            S::Terminal { console_size, bind, in_foreground } => {
                self.terminal(*console_size, *bind, *in_foreground)
            }
            S::Sysctl { path, value } => self.sysctl(path, value),
            S::ReadonlyMount { path } => self.readonly_mount(path),
            S::ReadonlyPath { path } => self.readonly_path(path),
            S::MaskPath { path } => self.mask_path(path),
            S::LabelMount { path, label } => self.label_mount(path, label),
            S::PivotRoot => self.pivot_root(),
            S::MoveRoot => self.move_root(),
            S::ChangeRoot { path } => root::change_root(path),
            S::EnterRoot => self.enter_root(),
            S::EnterRootOf { slot } => self.enter_root_of(*slot),
            S::ReadonlyRoot => self.readonly_root(),
            S::PropagateRoot { propagation } => self.propagate_root(*propagation),
            other => unreachable!("{other} is no step of the filesystem"),
        }
    }

    fn await_parent(&mut self) -> Done {
        (self.ignored, self.lists) = self.start.sync.await_parent()?;
        Ok(())
    }

    fn join_cgroup(&mut self) -> Done {
        for (number, list) in std::mem::take(&mut self.lists).iter().enumerate() {
            // 0 is the thread that writes.
            let refused = |errno| Cause::NotJoined(number as u8, errno);
            nix::unistd::write(list, b"0").map_err(refused)?;
        }
        Ok(())
    }

    fn change_directory(&mut self, path: &std::ffi::CStr) -> Done {
        let as_user = |step: &ChildStep| matches!(step, ChildStep::ChangeDirectoryAsUser { .. });
        match identity::change_directory(path) {
            Err(Cause::Kernel(Errno::EACCES)) if self.plan.child.iter().any(as_user) => {
                self.is_elsewhere = true;
                Ok(())
            }
            done => done,
        }
    }

    /// The parent hears of it as long as it waits; afterwards `start` does.
    fn report(&self, message: FromChild) {
        match &self.starter {
            Some(starter) => drop(sync::report(starter, message)),
            None => drop(self.start.sync.send(message)),
        }
    }

    fn root(&self) -> Result<BorrowedFd<'_>, Cause> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Cause::Kernel(Errno::EBADF))
    }

    fn take_slot(&mut self, slot: Slot) -> Result<OwnedFd, Cause> {
        self.start.slots[slot.0].take().ok_or(Cause::Kernel(Errno::EBADF))
    }

    fn join_namespace(&mut self, slot: Slot, kind: NamespaceKind) -> Done {
        let fd = self.take_slot(slot)?;
        let flag = CloneFlags::from_bits_retain(kind.flag() as i32);
        Ok(setns(&fd, flag)?)
    }

    fn enter_network(&mut self) -> Done {
        let arrival = self.start.network.take().ok_or(Cause::Kernel(Errno::EBADF))?;
        let namespace = arrival.receive()?;
        Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?)
    }

    fn run_hooks(&self, kind: HookKind, hooks: &[Hook]) -> Done {
        let state = self.start.hook_state.clone().inside(kind);
        let env;
        let files = match kind {
            HookKind::StartContainer => {
                let program = self.planned_program()?;
                env = exec::environment(program, self.program.as_ref());
                hook::Files::Container(program, &env)
            }
            // In the container's root, where runc runs them.
            HookKind::CreateContainer if self.root.is_some() => {
                nix::unistd::fchdir(self.root()?)?;
                hook::Files::HostHere
            }
            _ => hook::Files::Host,
        };
        hook::run_all(hooks, &state, files).map_err(|failure| failure.cause)
    }

    /// The program that will be executed in the end.
    fn planned_program(&self) -> Result<&'_ Program, Cause> {
        match self.plan.child.last() {
            Some(ChildStep::Exec(program)) => Ok(program),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// A procfs that can be trusted: the one mounted for the container, or one of its own.
    fn procfs(&mut self) -> Result<&Procfs, Cause> {
        if self.procfs.is_none() {
            self.procfs = Some(Procfs::detached().or_else(|_| Procfs::of_host())?);
        }
        self.procfs.as_ref().ok_or(Cause::NotProcfs)
    }

    fn sysctl(&mut self, path: &std::ffi::CStr, value: &std::ffi::CStr) -> Done {
        let path = [b"sys/", path.to_bytes()].concat();
        let path = std::ffi::CString::new(path).map_err(|_| Errno::EINVAL)?;
        self.procfs()?.write(&path, value.to_bytes())
    }

    fn apparmor(&mut self, profile: &std::ffi::CStr) -> Done {
        let value = [b"exec ", profile.to_bytes()].concat();
        match self.procfs()?.write(&attribute_path("apparmor/exec")?, &value) {
            Err(Cause::Kernel(Errno::ENOENT)) => {
                self.procfs()?.write(&attribute_path("exec")?, &value)
            }
            other => other,
        }
    }

    /// Closes all but what exec still needs. Nothing of the host can be reached by a descriptor
    /// afterwards: only sockets are left (CVE-2016-9962, CVE-2024-21626).
    fn close_descriptors(&mut self) -> Done {
        let first = 3 + self.plan.preserve_fds;
        let mut keep = vec![self.start.sync.fd().as_raw_fd() as u32];
        keep.extend(self.start.listener.as_ref().map(|fd| fd.as_raw_fd() as u32));
        keep.sort_unstable();
        // Their owners must not close numbers that may belong to others by then.
        std::mem::forget(self.start.console.take());
        std::mem::forget(self.start.network.take());
        std::mem::forget(std::mem::take(&mut self.start.slots));
        std::mem::forget(self.root.take());
        std::mem::forget(self.procfs.take());
        std::mem::forget(std::mem::take(&mut self.kernel_mounts));
        std::mem::forget(std::mem::take(&mut self.tmpfs));
        std::mem::forget(self.null.take());
        std::mem::forget(self.empty.take());
        std::mem::forget(self.node_dir.take());
        let mut next = first;
        for fd in keep {
            if fd >= next {
                if fd > next {
                    sys::fd::close_range(next, fd - 1)?;
                }
                next = fd + 1;
            }
        }
        Ok(sys::fd::close_range(next, u32::MAX)?)
    }
}

/// A file of this process by which security modules are asked.
fn attribute_path(name: &str) -> Result<std::ffi::CString, Cause> {
    let path = std::ffi::CString::new(format!("{}/attr/{name}", std::process::id()));
    path.map_err(|_| Cause::Kernel(Errno::EINVAL))
}

fn os_str(text: &std::ffi::CStr) -> &std::ffi::OsStr {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(text.to_bytes())
}
