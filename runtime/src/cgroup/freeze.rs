//! Stopping and continuing a whole group.
//!
//! v1: `freezer.state` (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst), which can
//! hang in FREEZING and then wants to be asked again. v2: `cgroup.freeze`, done when
//! `cgroup.events` says so.

use std::thread;
use std::time::{Duration, Instant};

use super::dir::{Dir, components};
use super::error::Error;
use super::group::{Group, Member};
use super::{Controller, HierarchyId, Version};

/// How long a group may take to freeze before it is thawed again and the attempt reported.
pub const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause between two looks; each next one is longer, up to the last.
const PAUSE_FIRST: Duration = Duration::from_micros(100);
const PAUSE_LAST: Duration = Duration::from_millis(20);

impl Group {
    /// Stops every process of the group and of the groups below, and waits until they are.
    pub fn freeze(&self) -> Result<(), Error> {
        let member = self.freezer("freeze the group")?;
        set(member, true)?;
        let started = Instant::now();
        let mut pause = PAUSE_FIRST;
        while !is_frozen(member)? {
            if started.elapsed() >= FREEZE_TIMEOUT {
                set(member, false)?;
                return Err(Error::TimedOut {
                    step: "freeze",
                    path: member.dir.path().to_owned(),
                    waited_ms: u64::try_from(FREEZE_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
                    left: "a process of it does not stop (state D?); it was thawed again".into(),
                });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_LAST);
            if member.place.version() == Version::V1 {
                // A process that forked while the kernel walked the group is caught only by
                // another walk.
                set(member, true)?;
            }
        }
        Ok(())
    }

    /// Lets the group go on. One that is gone holds nobody.
    pub fn thaw(&self) -> Result<(), Error> {
        match set(self.freezer("thaw the group")?, false) {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        }
    }

    /// Whether somebody asked for the group to be frozen, and it is.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        is_frozen(self.freezer("read the freezer's state")?)
    }

    fn freezer(&self, step: &'static str) -> Result<&Member, Error> {
        let member = self.v1_member(Controller::Freezer).or(self.v2_member());
        member.ok_or(Error::NoHierarchy { step, needs: "freezer or v2" })
    }
}

fn set(member: &Member, frozen: bool) -> Result<(), Error> {
    match (member.place.version(), frozen) {
        (Version::V1, true) => member.dir.write("freezer.state", "FROZEN"),
        (Version::V1, false) => member.dir.write("freezer.state", "THAWED"),
        (Version::V2, true) => member.dir.write("cgroup.freeze", "1"),
        (Version::V2, false) => member.dir.write("cgroup.freeze", "0"),
    }
}

/// Whether a process would stand still that joined this side of a group. That is also so below a
/// group that is frozen.
pub(super) fn holds_still(member: &Member) -> Result<bool, Error> {
    let (file, is_still): (_, fn(&str) -> bool) = match &member.place.hierarchy {
        HierarchyId::V1(controllers) if controllers.contains(Controller::Freezer) => {
            ("freezer.state", |text| text.trim() != "THAWED")
        }
        HierarchyId::V2 => ("cgroup.events", |text| text.lines().any(|line| line == "frozen 1")),
        _ => return Ok(false),
    };
    // The root of a hierarchy has neither file.
    Ok(member.dir.read_if_there(file)?.is_some_and(|text| is_still(&text)))
}

/// The same of a group that has a process already, which is told to be still only once it is.
pub(super) fn will_hold_still(member: &Member) -> Result<bool, Error> {
    if member.place.version() == Version::V1 {
        return holds_still(member);
    }
    let mut dir = Dir::open(&member.place.mount_point)?;
    for name in components(&member.place.inner) {
        dir = dir.child(name)?;
        if dir.read_if_there("cgroup.freeze")?.is_some_and(|text| text.trim() == "1") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_frozen(member: &Member) -> Result<bool, Error> {
    match member.place.version() {
        Version::V1 => Ok(member.dir.read("freezer.state")?.trim() == "FROZEN"),
        Version::V2 => {
            let events = member.dir.read("cgroup.events")?;
            Ok(events.lines().any(|line| line == "frozen 1"))
        }
    }
}
