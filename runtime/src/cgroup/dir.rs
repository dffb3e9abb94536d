//! One directory of a cgroup file system, held open: its files are reached through the fd, so
//! neither a rename nor a mount can point a later write elsewhere.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::Error;

/// The largest control file that is read; `cgroup.procs` of a group with 100,000 processes fits.
const FILE_LEN_MAX: usize = 4 << 20;

/// An open cgroup directory and the path it was reached by, which serves messages only.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// The control file that was written last, for rules come in rows.
    written: Mutex<Option<(String, OwnedFd)>>,
}

impl Dir {
    /// Opens a mount point.
    pub(super) fn open(path: &Path) -> Result<Dir, Error> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = openat(AT_FDCWD, path, flags, Mode::empty())
            .map_err(|errno| Error::io("open cgroup mount", path, errno))?;
        Ok(Dir { fd, path: path.to_owned(), written: Mutex::default() })
    }

    /// Opens a child directory, never through a link.
    pub(super) fn child(&self, name: &Path) -> Result<Dir, Error> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let path = self.path.join(name);
        match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Dir { fd, path, written: Mutex::default() }),
            Err(errno) => Err(Error::io("open cgroup", &path, errno)),
        }
    }

    /// Opens a descendant, one component at a time.
    pub(super) fn descend(self, inner: &Path) -> Result<Dir, Error> {
        let mut dir = self;
        for name in components(inner) {
            dir = dir.child(name)?;
        }
        Ok(dir)
    }

    /// Makes a child directory; false if it was there.
    pub(super) fn make_child(&self, name: &Path) -> Result<bool, Error> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(Error::io("create cgroup", &self.path.join(name), errno)),
        }
    }

    /// Removes a child directory, once.
    pub(super) fn remove_child(&self, name: &Path) -> Result<(), Errno> {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)
    }

    /// Names of the child groups.
    pub(super) fn children(&self) -> Result<Vec<PathBuf>, Error> {
        let names = self.entries(nix::dir::Type::Directory)?.into_iter();
        Ok(names.filter(|name| name != "." && name != "..").map(PathBuf::from).collect())
    }

    /// Names of the control files.
    pub(super) fn files(&self) -> Result<Vec<String>, Error> {
        let names = self.entries(nix::dir::Type::File)?.into_iter();
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }

    fn entries(&self, kind: nix::dir::Type) -> Result<Vec<OsString>, Error> {
        let fail = |errno| Error::io("list cgroup", &self.path, errno);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing =
            nix::dir::Dir::openat(&self.fd, ".", flags, Mode::empty()).map_err(fail)?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let entry = entry.map_err(fail)?;
            if entry.file_type() == Some(kind) {
                names.push(OsString::from_vec(entry.file_name().to_bytes().to_vec()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens a control file.
    pub(super) fn open_file(&self, name: &str, flags: OFlag) -> Result<OwnedFd, Error> {
        openat(&self.fd, name, flags | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| Error::io("open", &self.path.join(name), errno))
    }

    /// A control file's whole text.
    pub(super) fn read(&self, name: &str) -> Result<String, Error> {
        let fd = self.open_file(name, OFlag::O_RDONLY)?;
        let mut bytes = Vec::new();
        let mut chunk = [0u8; 4096];
        loop {
            match nix::unistd::read(&fd, &mut chunk) {
                Ok(0) => break,
                Ok(n) if bytes.len() + n <= FILE_LEN_MAX => bytes.extend_from_slice(&chunk[..n]),
                Ok(_) => return Err(Error::io("read", &self.path.join(name), Errno::EFBIG)),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::io("read", &self.path.join(name), errno)),
            }
        }
        String::from_utf8(bytes)
            .map_err(|_| Error::io("read", &self.path.join(name), Errno::EILSEQ))
    }

    /// Like [`Dir::read`], but a file or group that is not there is `None`.
    pub(super) fn read_if_there(&self, name: &str) -> Result<Option<String>, Error> {
        match self.read(name) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a control file in one system call, as the kernel's interface wants it.
    pub(super) fn write(&self, name: &str, value: &str) -> Result<(), Error> {
        self.try_write(name, value).map_err(|errno| self.not_written(name, value, errno))
    }

    /// The error of a write that failed, here or in another process.
    pub(super) fn not_written(&self, name: &str, value: &str, errno: Errno) -> Error {
        Error::Write {
            path: self.path.join(name),
            value: value.to_owned(),
            hint: hint(name, errno),
            source: io::Error::from(errno),
        }
    }

    /// [`Dir::write`] with the bare errno, for callers that choose by it.
    pub(super) fn try_write(&self, name: &str, value: &str) -> Result<(), Errno> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match written.take() {
            Some((last, file)) if last == name => file,
            _ => openat(&self.fd, name, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?,
        };
        let done = loop {
            match nix::unistd::write(&file, value.as_bytes()) {
                Ok(_) => break Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => break Err(errno),
            }
        };
        *written = Some((name.to_owned(), file));
        done
    }

    /// Whether a control file is there.
    pub(super) fn has(&self, name: &str) -> bool {
        nix::sys::stat::fstatat(&self.fd, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The normal components of a path below a mount point.
pub(super) fn components(inner: &Path) -> impl Iterator<Item = &Path> {
    inner.components().filter_map(|component| match component {
        std::path::Component::Normal(name) => Some(Path::new(name)),
        _ => None,
    })
}

/// What an errno means for a file: lore of the kernel that its bare number hides.
fn hint(name: &str, errno: Errno) -> &'static str {
    match (name, errno) {
        ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Errno::EBUSY) => {
            " (more is in use already, and the kernel could not reclaim it)"
        }
        ("memory.memsw.limit_in_bytes", Errno::EINVAL) => {
            " (memory+swap must not be below the memory limit)"
        }
        ("memory.memsw.limit_in_bytes", Errno::ENOENT) => {
            " (the kernel does not account for swap; boot with swapaccount=1)"
        }
        ("cpuset.cpus" | "cpuset.mems", Errno::EINVAL | Errno::EACCES) => {
            " (it must be a subset of what the parent group has)"
        }
        ("cpu.cfs_quota_us" | "cpu.cfs_period_us" | "cpu.max", Errno::EINVAL) => {
            " (the period is 1000 to 1000000 us, the quota at least 1000 us, and their ratio at \
             most the parent group's)"
        }
        ("cpu.cfs_burst_us" | "cpu.max.burst", Errno::EINVAL) => {
            " (the burst must not exceed the quota)"
        }
        ("cpu.rt_runtime_us" | "cpu.rt_period_us", Errno::EINVAL) => {
            " (the parent groups have no realtime time to give)"
        }
        ("cgroup.procs", Errno::EBUSY) => {
            " (a v2 group that gives controllers to children cannot hold processes)"
        }
        ("cgroup.procs" | "tasks", Errno::ENOSPC) => " (cpuset.cpus or cpuset.mems is empty)",
        ("cgroup.procs", Errno::EOPNOTSUPP) => {
            " (the group is threaded, or its domain is invalid: see its cgroup.type)"
        }
        ("cgroup.procs", Errno::ESRCH) => " (the process is gone)",
        ("devices.allow", Errno::EPERM) => " (the parent group does not allow this device)",
        (_, Errno::ERANGE) => " (the kernel takes no number as small or as large here)",
        (_, Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
            " (this user may not write here: delegate the group or run as root)"
        }
        _ => "",
    }
}
