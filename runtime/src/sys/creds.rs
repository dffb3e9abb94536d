//! Capabilities of this thread. `caps` reads and writes one set a call and allocates a hash set
//! for each; this is the same in one `capset` for three sets, which a start can feel.

use super::{Result, check};

/// The three sets that `capset(2)` carries, as bit masks (bit n is capability n).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSets {
    /// What is checked.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What an exec of a file with inheritable capabilities keeps.
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The same in the form that the kernel reads, for a call that is made later.
#[repr(C)]
pub struct RawCapSets {
    header: Header,
    data: [Data; 2],
}

impl std::fmt::Debug for RawCapSets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawCapSets").finish_non_exhaustive()
    }
}

impl From<CapSets> for RawCapSets {
    fn from(sets: CapSets) -> RawCapSets {
        let half = |shift: u32| Data {
            effective: (sets.effective >> shift) as u32,
            permitted: (sets.permitted >> shift) as u32,
            inheritable: (sets.inheritable >> shift) as u32,
        };
        RawCapSets { header: Header { version: VERSION_3, pid: 0 }, data: [half(0), half(32)] }
    }
}

impl RawCapSets {
    /// The two pointers that `capset(2)` takes.
    pub(super) fn pointers(raw: *const RawCapSets) -> (usize, usize) {
        let at = raw as usize;
        let offset = std::mem::offset_of!(RawCapSets, data);
        (at, at + offset)
    }
}

const VERSION_3: u32 = 0x2008_0522;

/// Reads this thread's sets (`capget(2)`).
///
/// # Errors
/// The kernel's errno.
pub fn capget() -> Result<CapSets> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 writes exactly two `Data`, and both live until return.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    Ok(CapSets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Sets this thread's sets (`capset(2)`).
///
/// # Errors
/// The kernel's errno; `EPERM` when a set would grow.
pub fn capset(sets: CapSets) -> Result<()> {
    let mut raw = RawCapSets::from(sets);
    let data = raw.data.as_ptr();
    // SAFETY: version 3 reads exactly two `Data`, and both live until return.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut raw.header, data) }).map(drop)
}

/// Removes one capability from the bounding set.
///
/// # Errors
/// `EINVAL` when the kernel does not know the capability.
pub fn drop_bounding(capability: u8) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0)
}

/// Empties the ambient set.
///
/// # Errors
/// The kernel's errno.
pub fn clear_ambient() -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)
}

/// Adds one capability to the ambient set.
///
/// # Errors
/// `EPERM` when it is not both permitted and inheritable.
pub fn raise_ambient(capability: u8) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(capability))
}

/// Sets the groups of this thread, without libc's signalling of other threads (there are none).
///
/// # Errors
/// The kernel's errno.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the pointer and the count are those of one live slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets real, effective and saved group, then user, of this thread.
///
/// # Errors
/// The kernel's errno; `EINVAL` when an id is not mapped in the user namespace.
pub fn set_ids(uid: u32, gid: u32) -> Result<()> {
    // SAFETY: all arguments are integers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: all arguments are integers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

fn prctl(option: i32, second: u64, third: u64) -> Result<()> {
    // SAFETY: the options used in this module take integers only.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, second, third, 0, 0) }).map(drop)
}

/// Whether this process is in the user namespace that the machine booted with.
pub fn in_initial_user_namespace() -> bool {
    /// Its number is part of the kernel's interface (`PROC_USER_INIT_INO`, linux/nsfs.h).
    const INITIAL: u64 = 0xEFFF_FFFD;
    // A kernel without user namespaces has no such file.
    nix::sys::stat::stat(c"/proc/self/ns/user").map_or(true, |stat| stat.st_ino == INITIAL)
}
