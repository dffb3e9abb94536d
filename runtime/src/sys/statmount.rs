//! `statmount(2)` (Linux 6.8): what one mount is. The kernel's list of all takes a microsecond or
//! more for each line, and a node has thousands.

use std::ffi::CStr;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Errno, Result, check};

/// On x86, ARM and RISC-V.
const SYS_STATMOUNT: libc::c_long = 457;
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
const STATMOUNT_MNT_BASIC: u64 = 0x2;
/// Linux 6.13.
const STATMOUNT_SB_SOURCE: u64 = 0x200;
/// Longer sources are those of network filesystems.
const TEXT_BYTES: usize = 512;

/// What is asked for (`struct mnt_id_req`).
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    mount: u64,
    wanted: u64,
    namespace: u64,
}

/// The answer (`struct statmount`), with room for its texts.
#[repr(C)]
struct Answer {
    size: u32,
    options: u32,
    told: u64,
    device: [u32; 2],
    magic: u64,
    sb_flags: u32,
    fs_type: u32,
    mount: u64,
    parent: u64,
    old_numbers: [u32; 2],
    attributes: u64,
    propagation: [u64; 4],
    root: u32,
    point: u32,
    namespace: u64,
    fs_subtype: u32,
    source: u32,
    others: [u64; 48],
    texts: [u8; TEXT_BYTES],
}

const _: () = assert!(offset_of!(Answer, source) == 124 && offset_of!(Answer, texts) == 512);

/// What the kernel tells of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFacts {
    /// The mount that it lies on; itself where it is the lowest.
    pub parent: u64,
    /// What was named as its source.
    pub source: Vec<u8>,
}

/// The number, never given twice, of the mount that a descriptor is open on (`statx(2)`).
///
/// # Errors
/// The kernel's errno; `ENOSYS` where it gives no such numbers (before Linux 6.8).
pub fn unique_mount_of(fd: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: `statx` is a plain structure of integers, for which all zeroes is a value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let (fd, flags) = (fd.as_raw_fd(), libc::AT_EMPTY_PATH);
    // SAFETY: the path is a NUL-terminated literal, and `found` lives until return.
    check(unsafe {
        let (path, mask) = (c"".as_ptr(), STATX_MNT_ID_UNIQUE);
        libc::syscall(libc::SYS_statx, fd, path, flags, mask, &raw mut found)
    })?;
    match found.stx_mask & STATX_MNT_ID_UNIQUE {
        0 => Err(Errno::ENOSYS),
        _ => Ok(found.stx_mnt_id),
    }
}

/// What the kernel tells of a mount in this process's namespace, by its unique number.
///
/// # Errors
/// The kernel's errno; `ENODATA` where it does not tell the source (before Linux 6.13, and of a
/// mount without one), `EPERM` where the mount cannot be reached from this process's root.
pub fn statmount(mount: u64) -> Result<MountFacts> {
    let wanted = STATMOUNT_MNT_BASIC | STATMOUNT_SB_SOURCE;
    let request =
        Request { size: size_of::<Request>() as u32, spare: 0, mount, wanted, namespace: 0 };
    // SAFETY: `Answer` is a plain structure of integers, for which all zeroes is a value.
    let mut answer: Answer = unsafe { std::mem::zeroed() };
    // SAFETY: `request` tells its own size, the size given is that of `answer`, and both live until
    // return.
    check(unsafe {
        let answer = &raw mut answer;
        libc::syscall(SYS_STATMOUNT, &raw const request, answer, size_of::<Answer>(), 0)
    })?;
    if answer.told & wanted != wanted {
        return Err(Errno::ENODATA);
    }
    let text = answer.texts.get(answer.source as usize..).ok_or(Errno::EINVAL)?;
    let source = CStr::from_bytes_until_nul(text).map_err(|_| Errno::EINVAL)?;
    Ok(MountFacts { parent: answer.parent, source: source.to_bytes().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::{MountFacts, statmount, unique_mount_of};
    use crate::init::mountinfo::Mounted;
    use crate::sys::Errno;
    use crate::sys::mount::place_of;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn a_mount_is_what_the_list_of_all_says() {
        let list = std::fs::read("/proc/thread-self/mountinfo").unwrap();
        let list = Mounted::parse_all(&list).unwrap();
        let mut seen = 0;
        for place in ["/", "/proc", "/sys", "/dev", "/dev/shm", "/sys/fs/cgroup"] {
            let Ok(dir) = File::open(place) else { continue };
            let told = unique_mount_of(dir.as_fd()).and_then(statmount);
            if let Err(Errno::ENOSYS | Errno::ENODATA | Errno::EPERM) = told {
                let what = "a_mount_is_what_the_list_of_all_says";
                eprintln!("SKIPPED {what}: needs statmount with sources (Linux 6.13)");
                return;
            }
            let number = place_of(dir.as_fd()).unwrap().mount;
            let listed = list.iter().find(|mount| u64::from(mount.id) == number).unwrap();
            let MountFacts { parent, source } = told.unwrap();
            assert_eq!(source, listed.source, "{place}");
            let Ok(lower) = statmount(parent) else { continue };
            let Some(below) = list.iter().find(|mount| mount.id == listed.parent) else { continue };
            assert_eq!(lower.source, below.source, "below {place}");
            seen += 1;
        }
        assert_ne!(seen, 0);
    }
}
