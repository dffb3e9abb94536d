//! Notices the OOM killer at work in the container's cgroup, of any process of it (law 7).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::path::Path;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::supervise::OomSettings;

/// What wakes the engine.
#[derive(Debug)]
enum Source {
    /// cgroup v1: an eventfd that is registered with `cgroup.event_control`
    /// (Documentation/admin-guide/cgroup-v1/memory.rst, section 10).
    Event(EventFd),
    /// cgroup v2: `memory.events` is "modified" at each change.
    Watch(Inotify),
    /// The kernel offers neither: the counter is read at the container's end only.
    None,
}

/// The watched counter.
#[derive(Debug)]
pub(super) struct Oom {
    settings: Option<OomSettings>,
    source: Source,
}

impl Oom {
    /// Not watching yet: the cgroup exists only once the container was created.
    pub(super) fn new(settings: Option<OomSettings>) -> Self {
        Self { settings, source: Source::None }
    }

    /// Begins to watch; where that is impossible the count is still right at the end.
    pub(super) fn arm(&mut self) {
        if let Some(settings) = &self.settings {
            self.source = watch(settings).unwrap_or(Source::None);
        }
    }

    /// What to poll.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Event(event) => Some(event.as_fd()),
            Source::Watch(inotify) => Some(inotify.as_fd()),
            Source::None => None,
        }
    }

    /// Takes what made the descriptor readable.
    pub(super) fn clear(&mut self) {
        match &self.source {
            Source::Event(event) => drop(event.read()),
            Source::Watch(inotify) => drop(inotify.read_events()),
            Source::None => {}
        }
    }

    /// Processes ended by the OOM killer so far; `None` where that can't be known.
    pub(super) fn kills(&self) -> Option<u64> {
        let settings = self.settings.as_ref()?;
        let text = std::fs::read_to_string(&settings.counter_file).ok()?;
        parse_kills(&text)
    }
}

fn parse_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn watch(settings: &OomSettings) -> io::Result<Source> {
    match &settings.event_control_file {
        Some(control) => watch_v1(&settings.counter_file, control),
        None => {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            inotify.add_watch(&settings.counter_file, AddWatchFlags::IN_MODIFY)?;
            Ok(Source::Watch(inotify))
        }
    }
}

fn watch_v1(counter: &Path, control: &Path) -> io::Result<Source> {
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let counter = File::open(counter)?;
    let line = format!("{} {}", event.as_fd().as_raw_fd(), counter.as_raw_fd());
    std::fs::write(control, line)?;
    Ok(Source::Event(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_both_kinds_of_file() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let v2 = "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n";
        for (text, expected) in [(v1, Some(3)), (v2, Some(1)), ("oom_kill_disable 0\n", None)] {
            assert_eq!(parse_kills(text), expected);
        }
    }
}
