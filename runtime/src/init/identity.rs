//! What the process becomes: namespaces of its own, limits, user, capabilities, directory.

use std::ffi::{CStr, CString};
use std::fmt::Write;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_keepcaps;
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use nix::unistd::{Uid, fchown};

use super::Done;
use super::procfs::Procfs;
use super::sync::Cause;
use crate::spec::Capabilities;
use crate::sys::{creds, fd, process};

const CLONE_NEWTIME: i32 = 0x80;

/// The longest path that the kernel gives (`PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;

/// The kernel's highest capability is found by asking; this is where asking ends.
const CAPABILITIES_MAX: u8 = 63;

pub(super) fn become_root() -> Done {
    creds::set_ids(0, 0)?;
    // The change of ids has made the process undumpable to its own user namespace only if asked;
    // it stays so (see `init::run`).
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

/// A clone into a time namespace would freeze its clocks before they are set, so it is unshared,
/// set, and entered.
pub(super) fn unshare_time(offsets: &[(String, i64, u32)]) -> Done {
    unshare(CloneFlags::from_bits_retain(CLONE_NEWTIME))?;
    let procfs = Procfs::of_host()?;
    let pid = nix::unistd::getpid();
    let own = own_directory(&procfs, pid.as_raw())?;
    if !offsets.is_empty() {
        let mut text = String::new();
        for (clock, seconds, nanoseconds) in offsets {
            let _ = writeln!(text, "{clock} {seconds} {nanoseconds}");
        }
        procfs.write(&c_string(format!("{own}/timens_offsets"))?, text.as_bytes())?;
    }
    let path = format!("/proc/{own}/ns/time_for_children");
    let namespace = nix::fcntl::open(
        path.as_str(),
        nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    Ok(setns(&namespace, CloneFlags::from_bits_retain(CLONE_NEWTIME))?)
}

/// This process's directory in the host's procfs, which may count pids differently.
fn own_directory(procfs: &Procfs, pid: i32) -> Result<String, Cause> {
    let link = nix::fcntl::readlink("/proc/self").map_err(Cause::from)?;
    let name = link.to_string_lossy().into_owned();
    match name.parse::<i32>() {
        Ok(_) => Ok(name),
        Err(_) => {
            procfs.open(&c_string(format!("{pid}/stat"))?, libc::O_RDONLY)?;
            Ok(pid.to_string())
        }
    }
}

pub(super) fn unshare_cgroup() -> Done {
    Ok(unshare(CloneFlags::CLONE_NEWCGROUP)?)
}

/// A kernel without keyrings, or a filter that hides them, leaves nothing to isolate.
pub(super) fn new_keyring(name: &CStr) -> Done {
    match process::join_session_keyring(name) {
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn personality(domain: u32) -> Done {
    Ok(process::set_personality(domain)?)
}

pub(super) fn umask(mask: u32) -> Done {
    nix::sys::stat::umask(Mode::from_bits_truncate(mask));
    Ok(())
}

/// As `/dev/stdin` opens a descriptor anew, the user needs to own what is behind 0, 1 and 2.
/// /dev/null belongs to everybody; what cannot be given away stays as it is.
pub(super) fn own_stdio(uid: u32) -> Done {
    let null = makedev(1, 3);
    for number in 0..3 {
        let fd = fd::standard(number);
        let Ok(stat) = fstat(fd) else { continue };
        let is_character = stat.st_mode & libc::S_IFMT == SFlag::S_IFCHR.bits();
        if stat.st_uid == uid || (is_character && stat.st_rdev == null) {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(uid)), None) {
            Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

pub(super) fn bound_capabilities(keep: u64) -> Done {
    for capability in 0..CAPABILITIES_MAX {
        if keep & (1 << capability) != 0 {
            continue;
        }
        match creds::drop_bounding(capability) {
            Ok(()) => {}
            Err(Errno::EINVAL) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// A user namespace that forbids to set groups is known by the kernel's refusal, and then nobody is
/// in a group who asked for none. Its file would be looked up in the container's /proc by `exec`.
pub(super) fn become_user(uid: u32, gid: u32, groups: &[u32], may_lack_groups: bool) -> Done {
    match creds::set_groups(groups) {
        Err(Errno::EPERM) if may_lack_groups && groups.is_empty() => {}
        done => done?,
    }
    set_keepcaps(true)?;
    creds::set_ids(uid, gid)?;
    set_keepcaps(false)?;
    // A change of ids can make the process dumpable again.
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

/// All sets but one capability more, with which the process forgets its executable at exec (see
/// `sys::seal`) and which is dropped there. Which one depends on what the runtime itself has.
pub(super) fn set_capabilities(caps: &Capabilities, has_late_filter: bool) -> Done {
    const SYS_ADMIN: u64 = 1 << 21;
    const CHECKPOINT_RESTORE: u64 = 1 << 40;
    let had = creds::capget()?.permitted;
    let mut kept = if had & CHECKPOINT_RESTORE != 0 { CHECKPOINT_RESTORE } else { SYS_ADMIN };
    if has_late_filter {
        kept |= SYS_ADMIN;
    }
    creds::capset(creds::CapSets {
        effective: caps.effective | kept & had,
        permitted: caps.permitted | kept & had,
        inheritable: caps.inheritable,
    })?;
    creds::clear_ambient()?;
    for capability in (0..CAPABILITIES_MAX).filter(|c| caps.ambient & (1 << c) != 0) {
        creds::raise_ambient(capability)?;
    }
    Ok(())
}

pub(super) fn use_cpus(cpus: &[usize]) -> Done {
    let set = crate::container::set_of(cpus)?;
    Ok(nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?)
}

/// Where whoever started the runtime forbids the call by a filter, or has given it a policy that
/// takes no CPUs, its own CPUs stay: so it was on kernels without this.
pub(super) fn use_all_cpus() -> Done {
    match process::use_all_cpus() {
        Err(Errno::EPERM | Errno::ENOSYS | Errno::EBUSY) => Ok(()),
        done => Ok(done?),
    }
}

/// Goes to the directory and asks the kernel where that is: outside of the root, its answer does
/// not begin with a slash (CVE-2024-21626).
pub(super) fn change_directory(path: &CStr) -> Done {
    nix::unistd::chdir(path)?;
    let mut buffer = [0; PATH_BYTES_MAX];
    process::getcwd(&mut buffer)?;
    if buffer[0] == b'/' { Ok(()) } else { Err(Cause::OutsideRoot) }
}

fn c_string(text: String) -> Result<CString, Cause> {
    CString::new(text).map_err(|_| Cause::Kernel(Errno::EINVAL))
}
