//! Mounts inside the root filesystem, each on the descriptor of the place that was checked.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::procfs::Procfs;
use super::rooted::{self, Make};
use super::sync::Cause;
use super::{Done, Init, copy_up, nodes};
use crate::plan::{Content, Finding, Target, c_path};
use crate::spec::{MountOptions, PARAMETER_BYTES_MAX, Tmpcopyup};
use crate::sys::mount::{
    self, AT_RECURSIVE, OPEN_TREE_CLONE, SetAttr, clone_tree, mount_setattr, move_mount,
    move_mount_to, open_tree,
};

/// Files of procfs that containers hide behind files of their own, by custom (lxcfs and others).
const PROC_FILES: [&str; 11] = [
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "proc/loadavg",
    "proc/slabinfo",
    "proc/net/dev",
    "proc/sys/kernel/ns_last_pid",
    "proc/sys/crypto/fips_enabled",
];

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;

impl Init<'_> {
    pub(super) fn mount(
        &mut self,
        content: &Content,
        target: &Target,
        options: &MountOptions,
    ) -> Done {
        let mode = self.inherited_mode(content, &target.path)?;
        let mount = Rc::new(self.detached(content, options, mode)?);
        if !self.mount_in_new_place(&mount, content, &target.path)? {
            let place = self.place(&mount, target)?;
            if is_copied(content) {
                copy_up::copy(place.as_fd(), mount.as_fd())?;
                if options.set & RDONLY != 0 {
                    close(mount.as_fd())?;
                }
            }
            move_mount(mount.as_fd(), place.as_fd())?;
        }
        self.note(&mount, content, target);
        if options.tree_set | options.tree_clear != 0 {
            let change = SetAttr {
                set: options.tree_set,
                clear: options.tree_clear,
                recursive: true,
                propagation: 0,
            };
            mount_setattr(mount.as_fd(), change, None)?;
        }
        for (propagation, recursive) in &options.propagation {
            let (propagation, recursive) = (*propagation, *recursive);
            let change = SetAttr { propagation, recursive, ..SetAttr::default() };
            mount_setattr(mount.as_fd(), change, None)?;
        }
        // One with options of its own may be read-only or lack what is written to later.
        if let Content::Filesystem { kind, parameters, .. } = content
            && kind.to_bytes() == b"proc"
            && target.path == Path::new("proc")
            && parameters.is_empty()
            && options.set & RDONLY == 0
        {
            self.procfs = Some(Procfs::from_mount(mount)?);
        }
        Ok(())
    }

    /// Mounts on a new directory of a filesystem that the container was just given: nobody else
    /// can have put anything there. False where that is not so, and the place has to be found.
    fn mount_in_new_place(
        &mut self,
        mount: &OwnedFd,
        content: &Content,
        path: &Path,
    ) -> Result<bool, Cause> {
        let is_new = |dir: &Path| self.tmpfs.iter().any(|tmpfs| tmpfs.is_new && tmpfs.place == dir);
        if !path.parent().is_some_and(is_new) || is_copied(content) {
            return Ok(false);
        }
        let is_filesystem = matches!(content, Content::Filesystem { .. });
        if !is_filesystem && !is_directory(mount.as_fd())? {
            return Ok(false);
        }
        let (dir, name) = self.node_dir(path)?;
        match mkdirat(dir, name, Mode::from_bits_truncate(rooted::MODE)) {
            Ok(()) => move_mount_to(mount.as_fd(), dir, &c_path(Path::new(name)))?,
            Err(Errno::EEXIST) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        Ok(true)
    }

    /// What later steps want to know of a mount.
    fn note(&mut self, mount: &Rc<OwnedFd>, content: &Content, target: &Target) {
        let path = &target.path;
        self.forget_directory(path);
        self.kernel_mounts.retain(|(place, _)| !place.starts_with(path));
        self.tmpfs.retain(|tmpfs| !tmpfs.place.starts_with(path));
        if target.finding == Finding::NoLinks {
            self.kernel_mounts.push((path.clone(), Rc::clone(mount)));
        }
        if let Content::Filesystem { kind, .. } = content
            && kind.to_bytes() == b"tmpfs"
        {
            let (place, mount) = (path.clone(), Rc::clone(mount));
            self.tmpfs.push(Tmpfs { place, mount, is_new: !is_copied(content) });
        }
    }

    /// The permissions of the directory that a tmpfs hides, which it has as well if config.json
    /// says nothing of them; the kernel would let everybody write to it.
    fn inherited_mode(&self, content: &Content, path: &Path) -> Result<Option<CString>, Cause> {
        let Content::Filesystem { kind, parameters, copy_up: Tmpcopyup::No, .. } = content else {
            return Ok(None);
        };
        if kind.to_bytes() != b"tmpfs" || parameters.iter().any(|(key, _)| &**key == c"mode") {
            return Ok(None);
        }
        match rooted::open(self.root()?, path) {
            Ok(place) => Ok(CString::new(format!("{:o}", fstat(&place)?.st_mode & 0o7777)).ok()),
            // It is made, or finding it will fail and be told.
            Err(_) => Ok(None),
        }
    }

    /// Makes the mount, attached nowhere, with its attributes.
    fn detached(
        &mut self,
        content: &Content,
        options: &MountOptions,
        mode: Option<CString>,
    ) -> Result<OwnedFd, Cause> {
        let change = SetAttr { set: options.set, clear: options.clear, ..SetAttr::default() };
        // What is copied has to be written first.
        let set = if is_copied(content) { options.set & !RDONLY } else { options.set };
        let tree = match content {
            Content::Filesystem { kind, source, parameters, .. } => {
                let is_block = !SOURCELESS.contains(&kind.to_bytes());
                let read_only = is_block && options.set & RDONLY != 0;
                let mut parameters = parameters.clone();
                parameters.extend(mode.map(|mode| (c"mode".to_owned(), Some(mode))));
                return filesystem(kind, source.as_deref(), &parameters, read_only, set);
            }
            Content::OpenedTree { slot, recursive, .. } => {
                let tree = self.take_slot(*slot)?;
                if self.uncloned.contains(slot) {
                    clone_tree(tree.as_fd(), c"", *recursive, change)?
                } else {
                    if options.set | options.clear != 0 {
                        mount_setattr(tree.as_fd(), change, None)?;
                    }
                    tree
                }
            }
            Content::HostTree { path, recursive } => host_tree(path, *recursive, change)?,
        };
        self.cut_off(tree.as_fd())?;
        Ok(tree)
    }

    /// In a mount namespace that others use, a clone of theirs is a peer of what it was cloned
    /// from: what happens below the one happens below the other. That ends while nothing can see
    /// the clone. Otherwise a set-up that ends before the tree's options are set is taken away from
    /// the host's tree, too.
    pub(super) fn cut_off(&self, tree: BorrowedFd<'_>) -> Done {
        if self.start.mark.is_none() {
            return Ok(());
        }
        let slave = SetAttr { propagation: libc::MS_SLAVE, recursive: true, ..SetAttr::default() };
        Ok(mount_setattr(tree, slave, None)?)
    }

    /// Finds the place of a mount by its rule.
    fn place(&mut self, mount: &OwnedFd, target: &Target) -> Result<OwnedFd, Cause> {
        if target.finding == Finding::NoLinks {
            return Ok(rooted::open_directory_without_links(self.root()?, &target.path)?);
        }
        let make = if is_directory(mount.as_fd())? { Make::Directory } else { Make::File };
        let (dir, name) = self.node_dir(&target.path)?;
        let place = match rooted::open_or_make_child(dir, name, make)? {
            Some(place) => place,
            // A link, which may lead anywhere inside of the root.
            None => {
                self.node_dir = None;
                rooted::open_or_make(self.root()?, &target.path, make)?
            }
        };
        let in_procfs = fstatfs(&place)?.filesystem_type() == PROC_SUPER_MAGIC;
        let is_custom = PROC_FILES.iter().any(|file| target.path == Path::new(file));
        if in_procfs && !is_custom { Err(Cause::InsideProc) } else { Ok(place) }
    }

    pub(super) fn make_directory(&mut self, path: &Path) -> Done {
        // What is there already need not be a directory: entering it will tell.
        match rooted::open_or_make(self.root()?, path, Make::Directory) {
            Ok(_) | Err(Errno::EROFS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens what exists at a path as a handle; what lies in /proc or /sys, from the mount there.
    fn existing(&self, path: &Path) -> Result<OwnedFd, Cause> {
        let mut inside = self.kernel_mounts.iter().rev();
        let inside =
            inside.find_map(|(place, mount)| Some((mount, path.strip_prefix(place).ok()?)));
        Ok(match inside {
            Some((mount, rest)) => rooted::open(mount.as_fd(), rest)?,
            None => rooted::open(self.root()?, path)?,
        })
    }

    /// The mount itself: by its path another one could be found that a link has put over it.
    pub(super) fn readonly_mount(&mut self, path: &Path) -> Done {
        let mut tmpfs = self.tmpfs.iter().rev();
        let tmpfs = tmpfs.find(|tmpfs| tmpfs.place == path).ok_or(Cause::Kernel(Errno::EBADF))?;
        close(tmpfs.mount.as_fd())
    }

    pub(super) fn label_mount(&mut self, path: &Path, label: &CStr) -> Done {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let mount = rooted::open_with(self.root()?, path, flags)?;
        Ok(mount::set_attribute(mount.as_fd(), c"security.selinux", label)?)
    }

    /// A path that does not exist needs no protection.
    pub(super) fn readonly_path(&mut self, path: &Path) -> Done {
        let place = match self.existing(path) {
            Err(Cause::Kernel(Errno::ENOENT)) => return Ok(()),
            other => other?,
        };
        let change = SetAttr { set: RDONLY, recursive: true, ..SetAttr::default() };
        let tree = clone_tree(place.as_fd(), c"", true, change)?;
        Ok(move_mount(tree.as_fd(), place.as_fd())?)
    }

    /// A directory is hidden by an empty one, anything else by /dev/null.
    pub(super) fn mask_path(&mut self, path: &Path) -> Done {
        let place = match self.existing(path) {
            Err(Cause::Kernel(Errno::ENOENT | Errno::ENOTDIR)) => return Ok(()),
            other => other?,
        };
        if is_directory(place.as_fd())? {
            return self.hide_directory(place.as_fd());
        }
        // It is the host's own node, whose mode and owner the container's root could change. A
        // read-only mount refuses that, and lets devices be written to.
        let change = SetAttr { set: RDONLY, ..SetAttr::default() };
        let cover = clone_tree(self.null()?, c"", false, change)?;
        self.cut_off(cover.as_fd())?;
        Ok(move_mount(cover.as_fd(), place.as_fd())?)
    }

    /// One filesystem for all hidden directories: it is empty and stays read-only. The first one
    /// gets the mount itself, the others clones of it: before Linux 6.15 only a mount that is
    /// attached can be cloned.
    fn hide_directory(&mut self, place: BorrowedFd<'_>) -> Done {
        if let Some(first) = &self.empty {
            let cover = open_tree(first.as_fd(), c"", OPEN_TREE_CLONE)?;
            return Ok(move_mount(cover.as_fd(), place)?);
        }
        let attr =
            RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        let mode = (c"mode".to_owned(), Some(c"755".to_owned()));
        let first = filesystem(c"tmpfs", None, &[mode], false, attr)?;
        move_mount(first.as_fd(), place)?;
        self.empty = Some(first);
        Ok(())
    }

    /// The host's, not the container's, which an image could have replaced (CVE-2025-31133).
    fn null(&mut self) -> Result<BorrowedFd<'_>, Cause> {
        if self.null.is_none() {
            self.null = Some(nodes::host_device(Path::new("/dev/null"), SFlag::S_IFCHR, 1, 3)?);
        }
        self.null.as_ref().map(AsFd::as_fd).ok_or(Cause::Kernel(Errno::EBADF))
    }
}

/// A tmpfs that the container was given.
#[derive(Debug)]
pub(super) struct Tmpfs {
    place: PathBuf,
    mount: Rc<OwnedFd>,
    /// Whether nobody else has written to it.
    is_new: bool,
}

/// Makes a mount read-only.
fn close(mount: BorrowedFd<'_>) -> Done {
    let change = SetAttr { set: RDONLY, ..SetAttr::default() };
    Ok(mount_setattr(mount, change, None)?)
}

fn is_copied(content: &Content) -> bool {
    matches!(content, Content::Filesystem { copy_up: Tmpcopyup::Yes, .. })
}

/// Filesystems that are made of nothing, for which read-only is a property of the mount only.
const SOURCELESS: [&[u8]; 8] =
    [b"proc", b"sysfs", b"tmpfs", b"devpts", b"mqueue", b"cgroup", b"cgroup2", b"ramfs"];

/// Makes a filesystem and a detached mount of it.
fn filesystem(
    kind: &CStr,
    source: Option<&CStr>,
    parameters: &[(CString, Option<CString>)],
    read_only: bool,
    attr: u64,
) -> Result<OwnedFd, Cause> {
    let is_long = |(_, value): &(_, Option<CString>)| {
        value.as_ref().is_some_and(|value| value.count_bytes() > PARAMETER_BYTES_MAX)
    };
    if parameters.iter().any(is_long) {
        return filesystem_with_long_options(kind, source, parameters, read_only, attr);
    }
    let fs = mount::fsopen(kind)?;
    let fs = fs.as_fd();
    if let Some(source) = source {
        mount::fsconfig_string(fs, c"source", source)?;
    }
    if read_only {
        mount::fsconfig_flag(fs, c"ro")?;
    }
    for (key, value) in parameters {
        match value {
            Some(value) => mount::fsconfig_string(fs, key, value)?,
            None => mount::fsconfig_flag(fs, key)?,
        }
    }
    mount::fsconfig_create(fs)?;
    Ok(mount::fsmount(fs, attr)?)
}

/// What `mount(2)` takes of options in all: a page, with its NUL.
const OPTIONS_BYTES_MAX: usize = 4095;

/// The same by `mount(2)`, whose options may be longer: overlays of many layers need that. It can
/// only attach, so the mount lies on the old root for a moment, on whose top `/..` is found.
fn filesystem_with_long_options(
    kind: &CStr,
    source: Option<&CStr>,
    parameters: &[(CString, Option<CString>)],
    read_only: bool,
    attr: u64,
) -> Result<OwnedFd, Cause> {
    let mut options = Vec::new();
    for (key, value) in parameters {
        options.extend_from_slice(if options.is_empty() { b"" } else { b"," });
        options.extend_from_slice(key.to_bytes());
        if let Some(value) = value {
            options.push(b'=');
            // SELinux's contexts have commas, and are taken in quotes for that.
            let quote: &[u8] = if value.to_bytes().contains(&b',') { b"\"" } else { b"" };
            options.extend([quote, value.to_bytes(), quote].concat());
        }
    }
    if options.len() > OPTIONS_BYTES_MAX {
        return Err(Errno::E2BIG.into());
    }
    let options = CString::new(options).map_err(|_| Errno::EINVAL)?;
    let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    nix::mount::mount(source, c"/", Some(kind), flags, Some(options.as_c_str()))?;
    let tree = open_tree(AT_FDCWD, c"/..", OPEN_TREE_CLONE);
    umount2(c"/..", MntFlags::MNT_DETACH)?;
    let tree = tree?;
    let change = SetAttr { set: attr, ..SetAttr::default() };
    mount_setattr(tree.as_fd(), change, None)?;
    Ok(tree)
}

/// Clones a tree of the host, with these attributes.
fn host_tree(path: &Path, recursive: bool, change: SetAttr) -> Result<OwnedFd, Errno> {
    let path = c_path(path);
    if change.set | change.clear != 0 {
        return clone_tree(AT_FDCWD, &path, recursive, change);
    }
    let flags = if recursive { AT_RECURSIVE } else { 0 };
    open_tree(AT_FDCWD, &path, OPEN_TREE_CLONE | flags)
}

fn is_directory(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let kind = SFlag::from_bits_truncate(fstat(fd)?.st_mode & libc::S_IFMT);
    Ok(kind == SFlag::S_IFDIR)
}
