//! Lines of /proc/PID/mountinfo (proc_pid_mountinfo(5)).

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;

use super::procfs::Procfs;
use super::sync::Cause;
use crate::sys::mount::{place_at, place_of};
use crate::sys::statmount::{statmount, unique_mount_of};

/// How many mounts may lie on each other at one place.
pub const LAYERS_MAX: usize = 64;

/// How the source of a container's mark begins (see [`crate::plan::RootPlace::Marked`]).
pub const MARK: &str = "loadline:";

/// How many mounts may lie below each other.
const DEPTH_MAX: usize = 1000;

/// What a line says of a mount.
#[derive(Debug)]
pub struct Mounted {
    /// Its number.
    pub id: u32,
    /// The number of the mount that it lies on.
    pub parent: u32,
    /// Where it is mounted.
    pub place: PathBuf,
    /// What was named as its source.
    pub source: Vec<u8>,
    /// Whether it is of procfs or sysfs.
    pub is_kernels: bool,
}

impl Mounted {
    /// All lines; `None` where one is not as it should be.
    pub fn parse_all(text: &[u8]) -> Option<Vec<Mounted>> {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(Mounted::parse).collect()
    }

    /// What is mounted in this process's namespace.
    ///
    /// # Errors
    /// What procfs refuses.
    pub fn all() -> Result<Vec<Mounted>, Cause> {
        let procfs = Procfs::detached().or_else(|_| Procfs::of_host())?;
        let path = CString::new(format!("{}/mountinfo", std::process::id()));
        let path = path.map_err(|_| Errno::EINVAL)?;
        let mut text = Vec::new();
        let mut file = File::from(procfs.open(&path, libc::O_RDONLY)?);
        file.read_to_end(&mut text).map_err(|_| Errno::EIO)?;
        Ok(Mounted::parse_all(&text).ok_or(Errno::EINVAL)?)
    }

    /// Whether it is a container's mark.
    pub fn is_mark(&self) -> bool {
        is_mark(&self.source)
    }

    fn parse(line: &[u8]) -> Option<Mounted> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (id, parent) = (number()?, number()?);
        let place = PathBuf::from(OsString::from_vec(unescaped(fields.nth(2)?)));
        let mut after = fields.skip_while(|field| *field != b"-").skip(1);
        let is_kernels = matches!(after.next()?, b"proc" | b"sysfs");
        let source = unescaped(after.next().unwrap_or_default());
        Some(Mounted { id, parent, place, source, is_kernels })
    }
}

fn is_mark(source: &[u8]) -> bool {
    source.starts_with(MARK.as_bytes())
}

/// Undoes the octal escapes (`\040` for a space).
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// The first mark on the way down from a mount, which may be one itself.
pub fn mark_below(mounts: &[Mounted], id: u64) -> Option<&Mounted> {
    let mut id = u32::try_from(id).ok();
    for _ in 0..=mounts.len() {
        let mount = mounts.iter().find(|mount| Some(mount.id) == id)?;
        if mount.is_mark() {
            return Some(mount);
        }
        id = Some(mount.parent);
    }
    None
}

/// The same by asking for one mount after the other, however many there are.
///
/// # Errors
/// The kernel's errno where it does not tell (see [`statmount`]).
fn is_above_a_mark(place: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut mount = unique_mount_of(place)?;
    for _ in 0..DEPTH_MAX {
        let facts = statmount(mount)?;
        if is_mark(&facts.source) {
            return Ok(true);
        }
        if facts.parent == mount {
            return Ok(false);
        }
        mount = facts.parent;
    }
    Err(Errno::ELOOP)
}

/// Refuses the place of a root where another container's mounts lie: neither would be apart from
/// the other, and whichever is deleted would take both away. A container's mounts are never on that
/// of `/`, so most roots are known at once.
///
/// # Errors
/// [`Cause::OnAnothersMark`], or what the kernel does not tell.
pub fn refuse_anothers_mark(place: BorrowedFd<'_>) -> Result<(), Cause> {
    let number = place_of(place)?.mount;
    if number == place_at(AT_FDCWD, c"/")?.mount {
        return Ok(());
    }
    let has_mark = match is_above_a_mark(place) {
        Ok(has_mark) => has_mark,
        // The list is there on every kernel.
        Err(_) => mark_below(&Mounted::all()?, number).is_some(),
    };
    if has_mark { Err(Cause::OnAnothersMark) } else { Ok(()) }
}
