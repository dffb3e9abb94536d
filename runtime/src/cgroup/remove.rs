//! Removing a group, its descendants, and the parents that were made for it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::unistd::UnlinkatFlags;

use super::dir::Dir;
use super::error::Error;
use super::group::{DEPTH_MAX, Group, pids_in};
use super::location::{Location, Place};
use super::{make, systemd};

/// How long a group may stay busy after its last process exited, in all hierarchies together:
/// the kernel takes a moment.
pub const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause between two tries; each next one is longer, up to the last.
const PAUSE_FIRST: Duration = Duration::from_micros(500);
const PAUSE_LAST: Duration = Duration::from_millis(50);
/// How many pids a message lists.
const NAMED_MAX: usize = 10;

impl Group {
    /// Removes the group everywhere; see [`remove`].
    pub fn remove(self) -> Result<(), Error> {
        remove(&self.release())
    }
}

/// Stops the group's unit, if systemd made it; then removes it from every hierarchy, with the
/// groups below it, and then the parents that its creation made, unless somebody uses them.
/// What is gone already is fine.
///
/// All hierarchies are tried; the first failure is returned.
pub fn remove(location: &Location) -> Result<(), Error> {
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    // Directories are tried even if systemd cannot be reached.
    let mut first = location.unit.as_deref().map_or(Ok(()), systemd::stop);
    for place in &location.places {
        let done = remove_place(place, deadline);
        if first.is_ok() {
            first = done;
        }
    }
    first
}

/// Removes a group from every hierarchy if that can be done at once, and tells whether it was: not
/// where processes or groups are left in it. The common case of [`remove`] in fewer steps.
///
/// Never for a group of systemd's: its unit is to be stopped, and awaited.
pub fn remove_if_idle(location: &Location) -> Result<bool, Error> {
    if location.unit.is_some() {
        return Ok(false);
    }
    for place in &location.places {
        if place.inner.parent().is_none() {
            continue;
        }
        match nix::unistd::unlinkat(AT_FDCWD, &place.path(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => {}
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => return Ok(false),
            Err(errno) => return Err(Error::io("remove cgroup", &place.path(), errno)),
        }
        if let (Some(parent), true) = (place.inner.parent(), place.made > 1) {
            let above = Place { inner: parent.to_owned(), ..place.clone() };
            make::unmake(&above, place.made - 1);
        }
    }
    Ok(true)
}

fn remove_place(place: &Place, deadline: Instant) -> Result<(), Error> {
    let (Some(parent), Some(name)) = (place.inner.parent(), place.inner.file_name()) else {
        return Ok(());
    };
    let dir = match Dir::open(&place.mount_point).and_then(|root| root.descend(parent)) {
        Ok(dir) => dir,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    remove_tree(&dir, Path::new(name), deadline)?;
    if place.made > 1 {
        let above = Place { inner: parent.to_owned(), ..place.clone() };
        make::unmake(&above, place.made - 1);
    }
    Ok(())
}

fn remove_tree(parent: &Dir, name: &Path, deadline: Instant) -> Result<(), Error> {
    let mut pause = PAUSE_FIRST;
    loop {
        let errno = match parent.remove_child(name) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
            Err(errno) => errno,
        };
        let path = parent.path().join(name);
        if !matches!(errno, Errno::EBUSY | Errno::ENOTEMPTY) {
            return Err(Error::io("remove cgroup", &path, errno));
        }
        if Instant::now() >= deadline {
            return Err(still_busy(parent, name));
        }
        match parent.child(name).and_then(|child| remove_descendants(&child, 0)) {
            // Somebody else, such as systemd, removes it too.
            Err(error) if error.is_not_found() => return Ok(()),
            done => done?,
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

/// Removes the groups below, innermost first, once; what is busy is left for the next round.
fn remove_descendants(dir: &Dir, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::io("remove cgroup", dir.path(), Errno::ELOOP));
    }
    for name in dir.children()? {
        if dir.remove_child(&name) == Err(Errno::EBUSY) {
            match dir.child(&name).and_then(|child| remove_descendants(&child, depth + 1)) {
                Err(error) if error.is_not_found() => continue,
                done => done?,
            }
            // EBUSY again means a process; the caller's next round sees it.
            let _ = dir.remove_child(&name);
        }
    }
    Ok(())
}

fn still_busy(parent: &Dir, name: &Path) -> Error {
    let pids = parent.child(name).and_then(|dir| pids_in(&dir)).unwrap_or_default();
    let pids: Vec<_> = pids.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let left = match pids.is_empty() {
        true => "a group below it is in use".to_owned(),
        false => format!("it holds pid {}; end these processes and delete again", pids.join(", ")),
    };
    Error::TimedOut {
        step: "remove cgroup",
        path: parent.path().join(name),
        waited_ms: u64::try_from(REMOVE_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        left,
    }
}
