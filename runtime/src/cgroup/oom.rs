//! Seeing the OOM killer at work, also where a container's main process lives on.
//!
//! Two sources that complete each other: a *counter* of kills, which nothing can make up or lose
//! while the group exists, and a *notification*, which says when to look. On v1 the notification
//! comes before the kill (mem_cgroup_oom_notify), and to the groups below one that hit its limit
//! as well: an event means "look at the counters now and again soon", never "a process of this
//! container was killed".

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::dir::Dir;
use super::error::Error;
use super::group::{DEPTH_MAX, Group, Member};
use super::{Controller, Version};

/// A notification source for a group's OOM events.
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Readable when the group, or one above it, is out of memory, and when it is removed.
    EventFd(EventFd),
    /// `memory.events`: `POLLPRI` when a counter changes.
    EventsFile(OwnedFd),
}

/// Which readiness of [`OomWatch::as_fd`] to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// `POLLIN`, v1.
    Read,
    /// `POLLPRI`, v2.
    Priority,
}

impl OomWatch {
    /// What to poll the fd for.
    pub fn readiness(&self) -> Readiness {
        match self.source {
            Source::EventFd(_) => Readiness::Read,
            Source::EventsFile(_) => Readiness::Priority,
        }
    }

    /// Takes the event, so that the fd becomes quiet until the next one.
    pub fn drain(&self) -> Result<(), Error> {
        let outcome = match &self.source {
            Source::EventFd(fd) => fd.read().map(drop),
            Source::EventsFile(fd) => {
                let mut buffer = [0u8; 512];
                nix::sys::uio::pread(fd, &mut buffer, 0).map(drop)
            }
        };
        match outcome {
            // ENODEV: the group is gone; the caller learns that from its files.
            Ok(()) | Err(Errno::EAGAIN | Errno::ENODEV) => Ok(()),
            Err(errno) => Err(Error::io("read the OOM event of", "memory".as_ref(), errno)),
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::EventFd(fd) => fd.as_fd(),
            Source::EventsFile(fd) => fd.as_fd(),
        }
    }
}

impl Group {
    /// How many processes of this group, and of those below it, the OOM killer has killed.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let member = self.memory_member("count OOM kills")?;
        match member.place.version() {
            // Hierarchical by itself.
            Version::V2 => Ok(counter(&member.dir, "memory.events")?.unwrap_or(0)),
            // A kill counts in the victim's own group only.
            Version::V1 => count_below(&member.dir, 0),
        }
    }

    /// Opens a notification source. Take it before the first process starts, and read
    /// [`Group::oom_kills`] once after that, so that nothing falls in between.
    pub fn watch_oom(&self) -> Result<OomWatch, Error> {
        let member = self.memory_member("watch for OOM")?;
        let source = match member.place.version() {
            Version::V2 => {
                Source::EventsFile(member.dir.open_file("memory.events", OFlag::O_RDONLY)?)
            }
            Version::V1 => Source::EventFd(register_eventfd(&member.dir)?),
        };
        let watch = OomWatch { source };
        // kernfs reports a change since the last read of this open file.
        watch.drain()?;
        Ok(watch)
    }

    fn memory_member(&self, step: &'static str) -> Result<&Member, Error> {
        let v2 = self.v2_member().filter(|member| member.dir.has("memory.events"));
        let member = self.v1_member(Controller::Memory).or(v2);
        member.ok_or(Error::NoHierarchy { step, needs: "memory" })
    }
}

/// `cgroup.event_control` takes "eventfd, fd of memory.oom_control"
/// (Documentation/admin-guide/cgroup-v1/memory.rst, section 10).
fn register_eventfd(dir: &Dir) -> Result<EventFd, Error> {
    use std::os::fd::AsRawFd;
    let fail = |errno| Error::io("watch", &dir.path().join("memory.oom_control"), errno);
    let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(fail)?;
    let control = dir.open_file("memory.oom_control", OFlag::O_RDONLY)?;
    let line = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
    dir.write("cgroup.event_control", &line)?;
    Ok(event)
}

/// The `oom_kill` line of a file of `name number` lines.
fn counter(dir: &Dir, file: &str) -> Result<Option<u64>, Error> {
    let text = dir.read_if_there(file)?;
    Ok(text.and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }))
}

fn count_below(dir: &Dir, depth: usize) -> Result<u64, Error> {
    if depth > DEPTH_MAX {
        return Err(Error::io("count OOM kills below", dir.path(), Errno::ELOOP));
    }
    let mut kills = counter(dir, "memory.oom_control")?.unwrap_or(0);
    for name in dir.children()? {
        match dir.child(&name) {
            Ok(child) => kills += count_below(&child, depth + 1)?,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(kills)
}
