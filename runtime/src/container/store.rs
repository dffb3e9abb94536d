//! The folder of all containers: a folder for each, locked while a verb works on it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::record::{CGROUP_LINK, RECORD_FILE, Record, START_SOCKET};
use super::{ContainerId, Error};
use crate::seccomp::Cache;

/// The folder of all containers.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    filters: PathBuf,
}

/// The folder of one container, locked. A new one is removed on drop unless it is kept.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: Flock<File>,
    is_new: bool,
}

impl Store {
    /// The store at this path, with compiled filters of system calls kept in another one. Nothing
    /// is made until a container is.
    pub fn at(root: PathBuf, filters: PathBuf) -> Store {
        Store { root, filters }
    }

    /// That there is no such container.
    pub fn not_found(&self, id: &ContainerId) -> Error {
        Error::NotFound { folder: self.root.join(id.as_str()) }
    }

    /// Remembers that containers of this host may have mounts among those of others, until the
    /// machine restarts. Whoever has a mount namespace of its own need not look for them before.
    pub(super) fn note_marks(&self) -> Result<(), Error> {
        let path = self.marks();
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(()),
            // An ordinary user without a folder of the session, who can mount nothing where other
            // users' containers could see it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(source) => Err(Error::Io { step: "make", path, source }),
        }
    }

    /// Whether that was ever noted.
    pub(super) fn has_marks(&self) -> bool {
        self.marks().exists()
    }

    fn marks(&self) -> PathBuf {
        self.filters.with_file_name("loadline-marks")
    }

    /// The compiled filters of system calls that are kept.
    pub fn filters(&self) -> Cache {
        Cache::at(self.filters.clone())
    }

    /// Makes a container's folder.
    ///
    /// # Errors
    /// [`Error::Exists`] when the id is taken.
    pub fn reserve(&self, id: &ContainerId) -> Result<Folder, Error> {
        let path = self.folder_of(id);
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        let made = match builder.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let root = &self.root;
                let failed = |source| Error::Records { path: root.clone(), source };
                DirBuilder::new().recursive(true).mode(0o711).create(root).map_err(failed)?;
                builder.create(&path)
            }
            other => other,
        };
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists);
            }
            // Somebody else's: root has used it before.
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Error::Records { path: self.root.clone(), source });
            }
            Err(source) => return Err(Error::io("make folder", path, source)),
        }
        lock(path, true)
    }

    /// Where a container's folder is, or would be.
    pub fn folder_of(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Locks a container's folder.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub fn open(&self, id: &ContainerId) -> Result<Folder, Error> {
        lock(self.folder_of(id), false)
    }

    /// Reads a container's record without waiting for a verb that works on it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub fn read(&self, id: &ContainerId) -> Result<Record, Error> {
        Record::read(&self.root.join(id.as_str()))
    }

    /// The ids of all containers, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read; a missing one has no containers.
    pub fn ids(&self) -> Result<Vec<ContainerId>, Error> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| Error::io("read folder", &self.root, source))?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ids: Vec<_> = names.filter_map(|name| ContainerId::parse(&name).ok()).collect();
        ids.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(ids)
    }

    /// Whether the container awaits its start.
    pub fn awaits_start(&self, id: &ContainerId) -> bool {
        self.root.join(id.as_str()).join(START_SOCKET).exists()
    }
}

fn lock(path: PathBuf, is_new: bool) -> Result<Folder, Error> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = match openat(AT_FDCWD, &path, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Err(Error::NotFound { folder: path }),
        other => other.map_err(|errno| Error::io("open", &path, errno.into()))?,
    };
    let lock = Flock::lock(File::from(directory), FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::io("lock", &path, errno.into()))?;
    // Whoever held the lock may have removed the folder meanwhile.
    if !is_new && !path.exists() {
        return Err(Error::NotFound { folder: path });
    }
    Ok(Folder { path, lock, is_new })
}

impl Folder {
    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder as a descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Reads the record.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub fn record(&self) -> Result<Record, Error> {
        Record::read(&self.path)
    }

    /// Writes the record, so that readers see the old one or the new one, whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_record(&self, record: &Record) -> Result<(), Error> {
        write_atomically(&self.path.join(RECORD_FILE), &record.to_bytes(), 0o600)
    }

    /// Whether the container awaits its start.
    pub fn awaits_start(&self) -> bool {
        self.path.join(START_SOCKET).exists()
    }

    /// Removes the start socket: the container has been started.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget_start(&self) -> Result<(), Error> {
        let path = self.path.join(START_SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|source| Error::io("remove", path, source)),
        }
    }

    /// Lets a new folder stay.
    pub fn keep(&mut self) {
        self.is_new = false;
    }

    /// Removes the folder.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove(mut self) -> Result<(), Error> {
        self.is_new = false;
        // What is there as a rule; anything else is found by looking.
        for name in [CGROUP_LINK, START_SOCKET, RECORD_FILE] {
            let _ = unlinkat(self.lock.as_fd(), name, UnlinkatFlags::NoRemoveDir);
        }
        if unlinkat(AT_FDCWD, &self.path, UnlinkatFlags::RemoveDir).is_ok() {
            return Ok(());
        }
        fs::remove_dir_all(&self.path).map_err(|source| Error::io("remove", &self.path, source))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_new {
            // The verb has failed and says why; what cannot be removed is found by `delete`.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Writes a file beside its place and renames it there.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let failed = |source| Error::io("write", path, source);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
    let file = openat(AT_FDCWD, &temporary, flags, Mode::from_bits_truncate(mode));
    let file = file.map(File::from).map_err(io::Error::from);
    let written = file.and_then(|mut file| file.write_all(bytes));
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    renamed.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed(error)
    })
}
