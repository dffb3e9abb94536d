//! Processes: `clone3` (Linux 5.3), pidfds (5.3), exec and the attributes that exec keeps.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use super::{Result, check};

/// Which side of the clone this is.
#[derive(Debug)]
pub enum Side {
    /// The new process.
    Child,
    /// The calling process, with the child's pid and a descriptor for it.
    Parent {
        /// The child's pid in the caller's pid namespace.
        pid: i32,
        /// The child as a descriptor (`CLONE_PIDFD`).
        pidfd: OwnedFd,
    },
}

/// What `clone3(2)` is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clone3<'a> {
    /// `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// The cgroup v2 folder that the child is born in (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The child's parent becomes the caller's parent (`CLONE_PARENT`).
    pub is_sibling: bool,
}

/// Starts a process in new namespaces, with memory of its own (like `fork`).
///
/// The caller must be single-threaded: the child runs arbitrary Rust. `container::launch` checks.
///
/// # Errors
/// The kernel's errno.
pub fn clone3(what: Clone3<'_>) -> Result<Side> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: i32 = -1;
    // SAFETY: `clone_args` is a plain structure of integers, for which all zeroes is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = what.namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    if what.is_sibling {
        // A sibling inherits the caller's exit signal, and may not name one.
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(fd) = what.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    let size = size_of::<libc::clone_args>();
    // SAFETY: `args` lives until return and `size` is its; without CLONE_VM and with a null stack
    // the child runs on a copy of this stack.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size) })?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    // SAFETY: the kernel wrote a new descriptor into `pidfd` because CLONE_PIDFD was set.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Side::Parent { pid: pid as i32, pidfd })
}

/// Opens a process as a descriptor (`pidfd_open(2)`, Linux 5.3).
///
/// # Errors
/// The kernel's errno; `ESRCH` when there is no such process.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: all arguments are integers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel just returned this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal to the process that a descriptor stands for (`pidfd_send_signal(2)`, Linux 5.1).
///
/// # Errors
/// The kernel's errno; `ESRCH` when the process has ended and was reaped.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let none = ptr::null::<libc::siginfo_t>();
    // SAFETY: a null `siginfo_t` asks for the default one; the other arguments are integers.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) })
        .map(drop)
}

/// Sends a signal to the process with this number (`kill(2)`), real-time signals included.
///
/// # Errors
/// The kernel's errno.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: all arguments are integers.
    check(unsafe { libc::syscall(libc::SYS_kill, pid, signal) }).map(drop)
}

/// Ends this process without running anything registered for its exit.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

/// Sets one resource limit of this process (`prlimit64(2)`); `resource` is `RLIMIT_*`.
///
/// # Errors
/// The kernel's errno; `EPERM` when the hard limit is raised without CAP_SYS_RESOURCE.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let old = ptr::null_mut::<libc::rlimit64>();
    // SAFETY: `limit` lives until return, and a null pointer means that the old one is not wanted.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, old) })
        .map(drop)
}

/// Sets the I/O priority of this process (`ioprio_set(2)`).
///
/// # Errors
/// The kernel's errno.
pub fn set_io_priority(class: u16, level: u16) -> Result<()> {
    const WHO_PROCESS: i32 = 1;
    let value = (i32::from(class) << 13) | i32::from(level);
    // SAFETY: all arguments are integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}

/// Lets this thread run on all CPUs of its cgroup (`sched_setaffinity(2)` with every bit set, of
/// which the kernel takes those that there are). Since Linux 6.2 a mask that was set before a
/// cgroup was joined stays in force there, and with it that of whoever started the runtime.
///
/// # Errors
/// The kernel's errno.
pub fn use_all_cpus() -> Result<()> {
    // As many as any configuration of the kernel has.
    const CPUS_MAX: usize = 8192;
    let mask = [u64::MAX; CPUS_MAX / 64];
    let size = size_of_val(&mask);
    // SAFETY: `mask` is `size` live bytes, which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size, mask.as_ptr()) }).map(drop)
}

/// Scheduling attributes (`sched_setattr(2)`); the layout is the kernel's `struct sched_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// Size of this structure in bytes.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19, for the normal policies.
    pub nice: i32,
    /// 1 to 99, for the real-time policies.
    pub priority: u32,
    /// SCHED_DEADLINE, in nanoseconds.
    pub runtime: u64,
    /// SCHED_DEADLINE, in nanoseconds.
    pub deadline: u64,
    /// SCHED_DEADLINE, in nanoseconds.
    pub period: u64,
}

/// Sets the scheduling policy of this process.
///
/// # Errors
/// The kernel's errno.
pub fn set_scheduler(mut attr: SchedAttr) -> Result<()> {
    attr.size = size_of::<SchedAttr>() as u32;
    // SAFETY: `attr` lives until return and carries its own size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// Sets the NUMA memory policy of this thread (`set_mempolicy(2)`); bit n of `nodes` is node n.
///
/// # Errors
/// The kernel's errno.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<()> {
    let bits = nodes.len() * 64 + usize::from(!nodes.is_empty());
    let mask = if nodes.is_empty() { ptr::null() } else { nodes.as_ptr() };
    // SAFETY: `mask` is null with zero bits, or points to `bits - 1` live bits (the kernel counts
    // one more than it reads).
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) }).map(drop)
}

/// Joins a new session keyring of this name (`keyctl(KEYCTL_JOIN_SESSION_KEYRING)`).
///
/// # Errors
/// The kernel's errno; `ENOSYS` when the kernel has no keyrings.
pub fn join_session_keyring(name: &CStr) -> Result<i32> {
    const JOIN: i32 = 1;
    // SAFETY: `name` is a live NUL-terminated string.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN, name.as_ptr()) }).map(|key| key as i32)
}

/// Writes the kernel's path of the working directory into `buffer` and gives its length without
/// the NUL. The kernel's answer begins with `(unreachable)` when it is outside the root, which
/// libc hides.
///
/// # Errors
/// The kernel's errno; `ENOENT` when the directory was removed.
pub fn getcwd(buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the pointer and the length are those of one live, writable slice.
    let n = check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    Ok((n as usize).saturating_sub(1))
}

/// Sets the NIS domain's name of this UTS namespace (`setdomainname(2)`).
///
/// # Errors
/// The kernel's errno; `EINVAL` when it is longer than 64 bytes.
pub fn set_domainname(name: &CStr) -> Result<()> {
    let length = name.count_bytes();
    // SAFETY: `name` is live and has `length` bytes before its NUL.
    check(unsafe { libc::syscall(libc::SYS_setdomainname, name.as_ptr(), length) }).map(drop)
}

/// The time since the machine was started, sleep included (`CLOCK_BOOTTIME`).
pub fn since_boot() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives until return. The clock is there on every kernel, and without an answer
    // `time` stays what it was.
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Sets the execution domain of this process (`personality(2)`).
///
/// # Errors
/// The kernel's errno.
pub fn set_personality(domain: u32) -> Result<()> {
    // SAFETY: all arguments are integers.
    check(unsafe { libc::syscall(libc::SYS_personality, u64::from(domain)) }).map(drop)
}

/// The status, as wait(2) gives it, of a process that has ended and whose parent was told; `None`
/// before that, and where the descriptor was opened after it (`PIDFD_GET_INFO` with
/// `PIDFD_INFO_EXIT`, Linux 6.15).
///
/// # Errors
/// The kernel's errno: EINVAL or ENOTTY where it does not know the question.
pub fn exit_status_of(pidfd: BorrowedFd<'_>) -> Result<Option<i32>> {
    /// `struct pidfd_info` in its first version, of 64 bytes.
    #[repr(C)]
    struct Info {
        mask: u64,
        cgroup: u64,
        /// Process, its group's leader, its parent, and its user and group ids.
        ids: [u32; 11],
        exit_code: i32,
    }
    const INFO_EXIT: u64 = 1 << 3;
    /// `_IOWR(0xFF, 11, struct pidfd_info)`.
    const GET_INFO: libc::c_ulong = 0xC040_FF0B;
    const _: () = assert!(size_of::<Info>() == 64);
    let mut info = Info { mask: INFO_EXIT, cgroup: 0, ids: [0; 11], exit_code: 0 };
    let fd = pidfd.as_raw_fd();
    // SAFETY: the number of the call carries the size of `info`, so the kernel writes no more than
    // that, and `info` lives until return.
    check(libc::c_long::from(unsafe { libc::ioctl(fd, GET_INFO as _, &raw mut info) }))?;
    Ok((info.mask & INFO_EXIT != 0).then_some(info.exit_code))
}
