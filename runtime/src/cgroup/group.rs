//! A group with its directories open in every hierarchy.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::decide::{Current, Decision, IfMissing, Step, Write};
use super::dir::Dir;
use super::error::Error;
use super::layout::HierarchyId;
use super::location::{Location, Place};
use super::systemd::{self, Unit};
use super::{Controller, Controllers, Version, freeze, make};

/// How often joining is tried while the kernel answers that the process is not ready yet.
const ATTACH_TRIES_MAX: u32 = 5;
/// v1: the threads of a group.
const TASKS: &str = "tasks";
/// The pause between two such tries.
const ATTACH_PAUSE: Duration = Duration::from_millis(10);

/// What to do about a group that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Take it if it has no processes; else an error. For a container.
    RefuseIfUsed,
    /// Take it, for systemd made it with the container's first process in it; an error if that
    /// stands still there.
    OfUnit,
    /// Take it as it is. For a parent that groups of other owners may share.
    Share,
}

/// An open group. Dropped without [`Group::release`], it removes what it made.
#[derive(Debug)]
pub struct Group {
    location: Location,
    members: Vec<Member>,
    is_guard: bool,
}

/// One hierarchy's side of a group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) place: Place,
    pub(super) dir: Dir,
}

impl Group {
    /// Makes the group in every hierarchy of `location`; parents are made as needed. `wanted` are
    /// the controllers that it needs ([`Decision::controllers`]): on v2, failing to enable one of
    /// these is an error, and failing to enable others is not.
    ///
    /// On an error nothing is left behind.
    pub fn create(
        location: &Location,
        wanted: Controllers,
        existing: Existing,
    ) -> Result<Group, Error> {
        let mut group = Group::nowhere(location);
        group.make(location, wanted, existing, |_| true)?;
        Ok(group)
    }

    /// Makes the group on v2 only, where [`Group::complete`] makes the rest later.
    ///
    /// On an error nothing is left behind.
    pub fn create_v2(location: &Location, wanted: Controllers) -> Result<Group, Error> {
        let mut group = Group::nowhere(location);
        let existing = Existing::RefuseIfUsed;
        group.make(location, wanted, existing, |version| version == Version::V2)?;
        Ok(group)
    }

    /// Makes the v1 sides of a group that [`Group::create_v2`] made.
    pub fn complete(&mut self, location: &Location, wanted: Controllers) -> Result<(), Error> {
        let on_v2 = self.members.len();
        let existing = Existing::RefuseIfUsed;
        self.make(location, wanted, existing, |version| version == Version::V1)?;
        // In the layout's order.
        self.members.rotate_left(on_v2);
        self.location.places.rotate_left(on_v2);
        Ok(())
    }

    /// v1: has groups that are made in this one from now on begin with its CPUs and memory nodes
    /// (`cgroup.clone_children`), as parents do that [`Group::create`] makes on the way. Where the
    /// kernel refuses, whoever makes a group in it writes them, which takes longer.
    pub fn hand_cpuset_on(&self) {
        for member in &self.members {
            make::hand_cpuset_on(&member.place, &member.dir);
        }
    }

    fn nowhere(location: &Location) -> Group {
        Group {
            location: Location {
                places: Vec::with_capacity(location.places.len()),
                unit: location.unit.clone(),
            },
            members: Vec::with_capacity(location.places.len()),
            is_guard: true,
        }
    }

    fn make(
        &mut self,
        location: &Location,
        wanted: Controllers,
        existing: Existing,
        is_meant: impl Fn(Version) -> bool,
    ) -> Result<(), Error> {
        for place in location.places.iter().filter(|place| is_meant(place.version())) {
            let (dir, made) = make::make(place, wanted)?;
            let place = Place { made, ..place.clone() };
            let is_used = existing == Existing::RefuseIfUsed
                && made == 0
                && !dir.read("cgroup.procs")?.is_empty();
            if is_used {
                return Err(Error::InUse { path: dir.path().to_owned() });
            }
            self.location.places.push(place.clone());
            let member = Member { place, dir };
            let holds_still = match existing {
                Existing::RefuseIfUsed => freeze::holds_still(&member)?,
                Existing::OfUnit => freeze::will_hold_still(&member)?,
                Existing::Share => false,
            };
            if holds_still {
                let path = member.dir.path().to_owned();
                self.members.push(member);
                return Err(Error::Frozen { path });
            }
            self.members.push(member);
        }
        Ok(())
    }

    /// Opens a group that somebody made; hierarchies in which it is gone are left out, and so is
    /// the guard. `None` if it is gone everywhere.
    pub fn open(location: &Location) -> Result<Option<Group>, Error> {
        let mut members = Vec::with_capacity(location.places.len());
        for place in &location.places {
            match Dir::open(&place.mount_point).and_then(|root| root.descend(&place.inner)) {
                Ok(dir) => members.push(Member { place: place.clone(), dir }),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        if members.is_empty() {
            return Ok(None);
        }
        Ok(Some(Group { location: location.clone(), members, is_guard: false }))
    }

    /// Where the group is; what to keep on record.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Lets the group live on, and returns where it is.
    pub fn release(mut self) -> Location {
        self.is_guard = false;
        std::mem::replace(&mut self.location, Location { places: Vec::new(), unit: None })
    }

    /// Does the decided steps, in order. The device program of v2 is attached as well.
    ///
    /// A group of systemd's is told to systemd by [`Group::update_unit`].
    pub fn apply(&self, decision: &Decision) -> Result<(), Error> {
        decision.steps.iter().try_for_each(|step| self.apply_step(step))
    }

    pub(super) fn apply_step(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Write(write) => self.write(write),
            Step::DeviceProgram(rules) => self.attach_device_program(rules),
        }
    }

    /// Tells systemd the new limits of a group that it made; without that it would bring the old
    /// ones back at its next reload.
    pub fn update_unit(&self, decision: &Decision) -> Result<(), Error> {
        match &self.location.unit {
            Some(unit) => systemd::update(unit, &systemd::properties(decision)),
            None => Ok(()),
        }
    }

    /// Lets systemd make the scope of a container whose first process is there.
    pub fn start_unit(unit: &Unit, pid: Pid, decision: &Decision) -> Result<(), Error> {
        systemd::start(unit, pid.as_raw(), &systemd::properties(decision))
    }

    /// Moves a process into the group, in every hierarchy. v2 is first, because joining there can
    /// be refused for reasons of structure.
    pub fn attach(&self, pid: Pid) -> Result<(), Error> {
        self.attach_v2(pid)?;
        self.attach_v1(pid)
    }

    /// Like [`Group::attach`], for a process that was cloned into the v2 side
    /// (`CLONE_INTO_CGROUP`, see [`Group::v2_fd`]).
    pub fn attach_v1(&self, pid: Pid) -> Result<(), Error> {
        self.v1_members().try_for_each(|member| join(member, pid))
    }

    /// Moves a process into the v2 side, if there is one.
    pub fn attach_v2(&self, pid: Pid) -> Result<(), Error> {
        self.v2_member().map_or(Ok(()), |member| join(member, pid))
    }

    /// The lists to which a thread writes 0 so that it joins the v1 sides.
    pub fn task_lists(&self) -> Result<Vec<OwnedFd>, Error> {
        self.v1_members().map(|member| member.dir.open_file(TASKS, OFlag::O_WRONLY)).collect()
    }

    /// What it means that a thread could not write to the list with this number.
    pub fn not_joined(&self, number: usize, errno: Errno) -> Error {
        match self.v1_members().nth(number) {
            Some(member) => member.dir.not_written(TASKS, "0", errno),
            None => Error::NoHierarchy { step: "join cgroup", needs: "v1" },
        }
    }

    fn v1_members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.place.version() == Version::V1)
    }

    /// The v2 directory, for `CLONE_INTO_CGROUP`.
    pub fn v2_fd(&self) -> Option<BorrowedFd<'_>> {
        self.v2_member().map(|member| member.dir.as_fd())
    }

    /// The processes of this group itself.
    pub fn processes(&self) -> Result<Vec<Pid>, Error> {
        pids_in(&self.lister()?.dir)
    }

    /// The processes of this group and of all groups below it.
    pub fn all_processes(&self) -> Result<Vec<Pid>, Error> {
        let mut pids = Vec::new();
        collect_pids(&self.lister()?.dir, &mut pids, 0)?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Whether a control file exists for this group, such as `memory.memsw.limit_in_bytes`.
    pub fn has(&self, controller: Controller, file: &str) -> bool {
        self.members_with(controller).any(|member| member.dir.has(file))
    }

    /// What the group has now, as far as [`super::decide()`] wants to know.
    pub fn current(&self) -> Result<Current, Error> {
        let number = |controller, file| self.read_number(controller, file);
        let (cpu, memory) = (Controller::Cpu, Controller::Memory);
        let mut current = Current {
            memory_limit_bytes: number(memory, "memory.limit_in_bytes")?
                .or(number(memory, "memory.max")?)
                .filter(|bytes| *bytes < UNLIMITED_FROM),
            memory_swap_limit_bytes: number(memory, "memory.memsw.limit_in_bytes")?
                .filter(|bytes| *bytes < UNLIMITED_FROM),
            memory_usage_bytes: number(memory, "memory.usage_in_bytes")?
                .or(number(memory, "memory.current")?)
                .unwrap_or(0),
            cpu_quota_us: number(cpu, "cpu.cfs_quota_us")?.filter(|quota| *quota > 0),
            cpu_period_us: number(cpu, "cpu.cfs_period_us")?.and_then(|n| u64::try_from(n).ok()),
            cpu_burst_us: number(cpu, "cpu.cfs_burst_us")?
                .or(number(cpu, "cpu.max.burst")?)
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0),
        };
        if let Some(text) = self.read(cpu, "cpu.max")? {
            let mut words = text.split_ascii_whitespace();
            current.cpu_quota_us = words.next().and_then(|quota| quota.parse().ok());
            current.cpu_period_us = words.next().and_then(|period| period.parse().ok());
        }
        Ok(current)
    }

    fn write(&self, write: &Write) -> Result<(), Error> {
        let last = write.targets.last();
        let (Some(member), Some(last)) = (self.member_of(write), last) else {
            return Err(Error::NoHierarchy {
                step: "write a cgroup file",
                needs: write.controller.map_or("v2", Controller::v1_name),
            });
        };
        for target in &write.targets {
            match member.dir.write(&target.file, &target.value) {
                Err(error) if error.is_not_found() && !member.dir.has(&target.file) => {}
                done => return done,
            }
        }
        match write.if_missing {
            IfMissing::Skip => Ok(()),
            IfMissing::Fail => Err(missing_file(member, write, &last.file)),
        }
    }

    /// Where a write goes.
    pub(super) fn member_of(&self, write: &Write) -> Option<&Member> {
        match (write.version, write.controller) {
            (Version::V2, _) => self.v2_member(),
            (Version::V1, Some(controller)) => self.members_with(controller).next(),
            (Version::V1, None) => None,
        }
    }

    /// The text of a control file; `None` where group or file is missing.
    pub(super) fn read(&self, controller: Controller, file: &str) -> Result<Option<String>, Error> {
        for member in self.members_with(controller) {
            if let Some(text) = member.dir.read_if_there(file)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// A control file that holds one number; `max` is `None`.
    pub(super) fn read_number(
        &self,
        controller: Controller,
        file: &str,
    ) -> Result<Option<i64>, Error> {
        let text = self.read(controller, file)?;
        // v1 shows "unlimited" as a number close to 2^63, which fits.
        Ok(text.and_then(|text| text.trim().parse().ok()))
    }

    /// The sides on which a controller's files can be: its v1 hierarchy, then v2.
    pub(super) fn members_with(&self, controller: Controller) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| match &member.place.hierarchy {
            HierarchyId::V1(controllers) => controllers.contains(controller),
            HierarchyId::Named(_) => false,
            HierarchyId::V2 => true,
        })
    }

    pub(super) fn v2_member(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.place.version() == Version::V2)
    }

    pub(super) fn v1_member(&self, controller: Controller) -> Option<&Member> {
        self.members_with(controller).find(|member| member.place.version() == Version::V1)
    }

    /// The side whose process list counts. All sides list the same processes, unless something
    /// was moved by hand; v1's freezer is the side that stops them, so it goes first.
    pub(super) fn lister(&self) -> Result<&Member, Error> {
        let freezer = self.v1_member(Controller::Freezer);
        freezer
            .or(self.v2_member())
            .or(self.members.first())
            .ok_or(Error::NoHierarchy { step: "list the group's processes", needs: "cgroup" })
    }

    fn attach_device_program(&self, rules: &[super::decide::DeviceRule]) -> Result<(), Error> {
        let step = "attach the device program";
        let Some(member) = self.v2_member() else {
            return Err(Error::NoHierarchy { step, needs: "v2" });
        };
        super::device_program::attach(&member.dir, rules)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.is_guard {
            // What was found stays. Nobody is left to tell; what cannot be removed now is in use by
            // someone.
            self.location.places.retain(|place| place.made > 0);
            let _ = super::remove::remove(&self.location);
        }
    }
}

/// v1 shows "no limit" as the largest page-aligned 64-bit number.
const UNLIMITED_FROM: i64 = i64::MAX - (1 << 20);

/// How deep a tree of groups is followed; the kernel's own default has no bound, people's do.
pub(super) const DEPTH_MAX: usize = 64;

fn join(member: &Member, pid: Pid) -> Result<(), Error> {
    let value = pid.to_string();
    for _ in 1..ATTACH_TRIES_MAX {
        match member.dir.try_write("cgroup.procs", &value) {
            // A process in the middle of exec or exit, or a kernel thread being born.
            Err(Errno::EINVAL) => thread::sleep(ATTACH_PAUSE),
            Ok(()) => return Ok(()),
            Err(_) => break,
        }
    }
    member.dir.write("cgroup.procs", &value)
}

/// The processes of one group. One that is gone has none: systemd removes a scope by itself as soon
/// as its last process has ended, perhaps just after it was opened here.
pub(super) fn pids_in(dir: &Dir) -> Result<Vec<Pid>, Error> {
    let text = match dir.read("cgroup.procs") {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            // A threaded group shows its processes in the domain above it.
            return Ok(Vec::new());
        }
        text => text?,
    };
    Ok(text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw).collect())
}

pub(super) fn collect_pids(dir: &Dir, pids: &mut Vec<Pid>, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::io("list cgroup", dir.path(), Errno::ELOOP));
    }
    pids.extend(pids_in(dir)?);
    let children = match dir.children() {
        Err(error) if error.is_not_found() => return Ok(()),
        children => children?,
    };
    for name in children {
        match dir.child(&name) {
            Ok(child) => collect_pids(&child, pids, depth + 1)?,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn missing_file(member: &Member, write: &Write, file: &str) -> Error {
    let path = member.dir.path().join(file);
    match (write.version, write.controller) {
        (Version::V2, Some(controller)) if !is_enabled(&member.dir, controller) => {
            Error::ControllerMissing {
                controller,
                file: path.display().to_string(),
                why: "enable it in cgroup.subtree_control of the parent groups",
            }
        }
        _ => Error::io("open", &path, Errno::ENOENT),
    }
}

fn is_enabled(dir: &Dir, controller: Controller) -> bool {
    let text = dir.read("cgroup.controllers").unwrap_or_default();
    Controllers::from_v2_text(&text).contains(controller)
}
