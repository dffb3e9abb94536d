//! The cgroup module on the real kernel. Every test makes groups with names of its own and leaves
//! none; a facility that is missing is named on a `SKIPPED` line.

#![cfg(test)]

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use loadline_runtime::cgroup::{
    CgroupPath, Controller, Controllers, Current, Error, Existing, Group, HierarchyId, Layout,
    Location, Mode, Readiness, Version, decide, remove, remove_if_idle,
};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;
use serde_json::json;

const DEADLINE: Duration = Duration::from_secs(30);

/// A world for one test: where groups go, or `None` (said on stderr) without what it needs.
struct World {
    layout: Layout,
    name: String,
}

impl World {
    fn new(test: &str, needs: &[Controller]) -> Option<World> {
        let skip = |what: &str| {
            eprintln!("SKIPPED {test}: needs {what}");
            None
        };
        if !nix::unistd::geteuid().is_root() {
            return skip("root");
        }
        let Ok(layout) = Layout::probe() else { return skip("a cgroup mount") };
        for controller in needs {
            if layout.version_of(*controller).is_none() {
                return skip(&format!("the {controller} cgroup controller"));
            }
        }
        let probe = layout.locate(&absolute(&format!("cgt-probe-{}-{test}", std::process::id())));
        if Group::create(&probe, Controllers::NONE, Existing::RefuseIfUsed).is_err() {
            return skip("writable cgroups");
        }
        Some(World { layout, name: format!("cgt-{}-{test}", std::process::id()) })
    }

    fn location(&self) -> Location {
        self.layout.locate(&absolute(&self.name))
    }

    fn group(&self) -> Group {
        Group::create(&self.location(), Controllers::NONE, Existing::RefuseIfUsed).unwrap()
    }

    fn limited(&self, resources: serde_json::Value) -> Group {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let decision = decide(&resources, &self.layout, &Current::default()).unwrap();
        let location = self.location();
        let group = Group::create(&location, decision.controllers(), Existing::RefuseIfUsed);
        let group = group.unwrap();
        group.apply(&decision).unwrap();
        group
    }

    fn update(&self, group: &Group, resources: serde_json::Value) -> Result<(), Error> {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let decision = decide(&resources, &self.layout, &group.current()?)?;
        group.apply(&decision)
    }
}

fn absolute(name: &str) -> CgroupPath {
    CgroupPath::parse(Some(&Path::new("/").join(name)), "unused").unwrap()
}

/// Runs a test where a cgroup2 tree is the only one: here, or in a mount namespace made so.
fn with_lone_v2(test: &'static str, body: fn(World)) {
    let run = move || {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root");
            return;
        }
        if Layout::probe().is_ok_and(|layout| layout.mode() != Mode::V2) {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let flags = MsFlags::empty();
            mount(Some("none"), "/sys/fs/cgroup", Some("cgroup2"), flags, None::<&str>).unwrap();
        }
        if let Some(world) = World::new(test, &[]) {
            body(world);
        }
    };
    thread::spawn(run).join().unwrap();
}

/// A shell that waits for a line before it runs its script, so that it can be put into a group.
struct Process {
    child: Child,
    go: ChildStdin,
}

impl Process {
    fn waiting(script: &str) -> Process {
        let script = format!("read go; {script}");
        let mut child = Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let go = child.stdin.take().unwrap();
        Process { child, go }
    }

    fn started_in(group: &Group, script: &str) -> Process {
        let mut process = Process::waiting(script);
        group.attach(process.pid()).unwrap();
        process.go.write_all(b"\n").unwrap();
        process
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "still not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn paths(location: &Location) -> Vec<PathBuf> {
    location.places.iter().map(loadline_runtime::cgroup::Place::path).collect()
}

fn assert_gone(location: &Location) {
    let left: Vec<_> = paths(location).into_iter().filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn file(group: &Group, controller: Controller, name: &str) -> String {
    let has = |id: &HierarchyId| match id {
        HierarchyId::V1(controllers) => controllers.contains(controller),
        HierarchyId::Named(_) => false,
        HierarchyId::V2 => true,
    };
    let place = group.location().places.iter().find(|place| has(&place.hierarchy)).unwrap();
    fs::read_to_string(place.path().join(name)).unwrap().trim().to_owned()
}

#[test]
fn a_group_is_in_every_hierarchy_and_goes_with_its_guard() {
    let Some(world) = World::new("guard", &[]) else { return };
    let group = world.group();
    assert!(paths(group.location()).iter().all(|path| path.is_dir()));
    let location = group.location().clone();
    drop(group);
    assert_gone(&location);
}

#[test]
fn a_released_group_stays_until_it_is_removed() {
    let Some(world) = World::new("release", &[]) else { return };
    let location = world.group().release();
    let group = Group::open(&location).unwrap().expect("it was released");
    assert!(group.all_processes().unwrap().is_empty());
    drop(group);
    assert!(paths(&location).iter().all(|path| path.is_dir()));
    remove(&location).unwrap();
    assert_gone(&location);
    remove(&location).expect("removing what is gone is fine");
    assert!(Group::open(&location).unwrap().is_none());
}

/// As systemd does it with a scope whose last process has ended.
#[test]
fn a_group_that_somebody_removes_while_it_is_open_holds_nobody() {
    let Some(world) = World::new("removed", &[]) else { return };
    let location = world.group().release();
    let open = || Group::open(&location).unwrap().expect("it is there");
    let groups = [open(), open()];
    for path in paths(&location) {
        fs::remove_dir(path).unwrap();
    }
    for group in &groups {
        assert!(group.processes().unwrap().is_empty());
        assert!(group.all_processes().unwrap().is_empty());
        group.kill_all().unwrap();
        group.signal_all(Signal::SIGTERM).unwrap();
        group.thaw().unwrap();
    }
    let [first, second] = groups;
    first.remove().unwrap();
    assert!(remove_if_idle(second.location()).unwrap());
}

/// There is no such disk, which the kernel says when the other values are written already.
#[test]
fn a_change_that_is_refused_leaves_files_and_device_rules_as_they_were() {
    let needs = [Controller::Devices, Controller::Memory, Controller::Io];
    let Some(world) = World::new("undone", &needs) else { return };
    let group = world.limited(json!({ "memory": { "limit": 64 << 20 },
        "devices": [{ "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw" }] }));
    let files = ["devices.list", "memory.oom_control", "memory.limit_in_bytes", "memory.max"];
    let seen = || -> Vec<(PathBuf, String)> {
        let paths = paths(group.location()).into_iter();
        let paths = paths.flat_map(|path| files.map(|file| path.join(file)));
        paths.filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?))).collect()
    };
    let before = seen();
    assert!(!before.is_empty());
    let mut wanted = json!({ "memory": { "limit": 128 << 20 },
        "devices": [{ "allow": true, "access": "rwm" }],
        "blockIO": { "throttleReadBpsDevice": [{ "major": 4000, "minor": 0, "rate": 1 << 20 }] } });
    if world.layout.version_of(Controller::Memory) == Some(Version::V1) {
        wanted["memory"]["disableOOMKiller"] = json!(true);
    }
    let wanted: LinuxResources = serde_json::from_value(wanted).unwrap();
    let decision = decide(&wanted, &world.layout, &group.current().unwrap()).unwrap();
    let refused = group.change(&decision).unwrap_err();
    assert!(refused.left.is_none(), "{refused:?}");
    assert_eq!(seen(), before, "{refused:?}");
}

#[test]
fn made_parents_go_and_found_ones_stay() {
    let Some(world) = World::new("parents", &[]) else { return };
    let outer = world.group();
    let below = world.layout.locate(&absolute(&world.name).join("a").join("b"));
    let inner = Group::create(&below, Controllers::NONE, Existing::RefuseIfUsed).unwrap();
    assert!(inner.location().places.iter().all(|place| place.made == 2));
    inner.remove().unwrap();
    let middle = world.layout.locate(&absolute(&world.name).join("a"));
    assert_gone(&middle);
    assert!(paths(outer.location()).iter().all(|path| path.is_dir()));
}

#[test]
fn a_parent_in_use_by_another_group_stays() {
    let Some(world) = World::new("shared-parent", &[]) else { return };
    let at = |name: &str| world.layout.locate(&absolute(&world.name).join(name));
    let first = Group::create(&at("a"), Controllers::NONE, Existing::RefuseIfUsed).unwrap();
    let second = Group::create(&at("b"), Controllers::NONE, Existing::RefuseIfUsed).unwrap();
    first.remove().unwrap();
    assert!(paths(second.location()).iter().all(|path| path.is_dir()));
    second.remove().unwrap();
    remove(&world.location()).unwrap();
}

#[test]
fn a_guard_leaves_what_it_found() {
    let Some(world) = World::new("found", &[]) else { return };
    let found = world.group();
    for existing in [Existing::Share, Existing::RefuseIfUsed] {
        drop(Group::create(&world.location(), Controllers::NONE, existing).unwrap());
        assert!(paths(found.location()).iter().all(|path| path.is_dir()), "{existing:?}");
    }
    found.remove().unwrap();
    assert_gone(&world.location());
}

#[test]
fn a_used_group_is_refused_unless_shared() {
    let Some(world) = World::new("used", &[]) else { return };
    let group = world.group();
    let process = Process::started_in(&group, "exec sleep 1000");
    assert_eq!(group.processes().unwrap(), [process.pid()]);
    let again = Group::create(&world.location(), Controllers::NONE, Existing::RefuseIfUsed);
    assert!(matches!(again, Err(Error::InUse { .. })), "{again:?}");
    let shared = Group::create(&world.location(), Controllers::NONE, Existing::Share).unwrap();
    assert!(shared.location().places.iter().all(|place| place.made == 0));
    shared.release();
    group.kill_all().unwrap();
    group.remove().unwrap();
    assert_gone(&world.location());
}

#[test]
fn limits_are_what_the_kernel_then_shows() {
    use Controller::{Cpu, Cpuset, Memory, Pids};
    let Some(world) = World::new("limits", &[Cpu, Cpuset, Memory, Pids]) else { return };
    let group = world.limited(serde_json::json!({
        "cpu": {"shares": 512, "quota": 25000, "period": 100_000, "cpus": "0"},
        "memory": {"limit": 16_777_216, "swap": 16_777_216, "reservation": 8_388_608},
        "pids": {"limit": 7},
    }));
    let stats = group.stats().unwrap();
    assert_eq!(stats.memory.limit_bytes, Some(16_777_216));
    assert_eq!(stats.pids.limit, Some(7));
    assert_eq!(file(&group, Cpuset, "cpuset.cpus"), "0");
    let shown: &[(Controller, &str, &str)] = match world.layout.version_of(Memory) {
        Some(Version::V1) => &[
            (Cpu, "cpu.shares", "512"),
            (Cpu, "cpu.cfs_quota_us", "25000"),
            (Memory, "memory.memsw.limit_in_bytes", "16777216"),
            (Memory, "memory.soft_limit_in_bytes", "8388608"),
        ],
        _ => &[
            (Cpu, "cpu.weight", "20"),
            (Cpu, "cpu.max", "25000 100000"),
            (Memory, "memory.swap.max", "0"),
            (Memory, "memory.low", "8388608"),
        ],
    };
    for (controller, name, value) in shown {
        assert_eq!(file(&group, *controller, name), *value, "{name}");
    }
}

#[test]
fn updates_grow_and_shrink_without_a_wrong_order() {
    let Some(world) = World::new("update", &[Controller::Memory, Controller::Cpu]) else { return };
    let memory = |mib: u64| serde_json::json!({"limit": mib << 20, "swap": mib << 20});
    let group = world.limited(serde_json::json!({"memory": memory(64)}));
    for mib in [128, 256, 32, 16, 512] {
        world.update(&group, serde_json::json!({"memory": memory(mib)})).unwrap();
        assert_eq!(group.memory_stats().unwrap().limit_bytes, Some(mib << 20));
    }
    for (quota, period) in [(50_000, 100_000), (400_000, 200_000), (5000, 20_000), (1000, 1000)] {
        let cpu = serde_json::json!({"cpu": {"quota": quota, "period": period}});
        world.update(&group, cpu).unwrap();
        let current = group.current().unwrap();
        assert_eq!(current.cpu_quota_us, Some(quota));
        assert_eq!(current.cpu_period_us, Some(u64::try_from(period).unwrap()));
    }
    world.update(&group, serde_json::json!({"memory": {"limit": -1}})).unwrap();
    assert_eq!(group.memory_stats().unwrap().limit_bytes, None);
}

#[test]
fn a_refused_value_names_file_value_and_reason() {
    let Some(world) = World::new("refused", &[Controller::Cpu]) else { return };
    let group = world.group();
    let error = world.update(&group, serde_json::json!({"cpu": {"quota": 10}})).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("10") && text.contains("at least 1000 us"), "{text}");
    assert!(text.contains(&world.name), "{text}");
}

fn forking_group_dies(world: &World) {
    let group = world.group();
    let script = "while :; do sleep 1000 & sleep 0.01; done";
    let _forker = Process::started_in(&group, script);
    wait_until("a few forks", || group.processes().unwrap().len() > 5);
    group.kill_all().unwrap();
    assert!(group.all_processes().unwrap().is_empty());
    group.remove().unwrap();
    assert_gone(&world.location());
}

fn frozen_group_stands_still_and_dies(world: &World) {
    let group = world.group();
    let process = Process::started_in(&group, "while :; do :; done");
    let cpu_ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
        let fields: Vec<u64> = stat.split(' ').skip(13).take(2).flat_map(str::parse).collect();
        fields.iter().sum::<u64>()
    };
    wait_until("it spins", || cpu_ticks() > 2);
    group.freeze().unwrap();
    assert!(group.is_frozen().unwrap());
    // Its last time is booked as it leaves the processor, a moment behind its word.
    thread::sleep(Duration::from_millis(50));
    let before = cpu_ticks();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(cpu_ticks(), before, "a frozen process ran");
    group.thaw().unwrap();
    assert!(!group.is_frozen().unwrap());
    wait_until("it spins again", || cpu_ticks() > before);
    group.freeze().unwrap();
    group.kill_all().unwrap();
    group.remove().unwrap();
}

fn nested_groups_are_listed_and_removed(world: &World) {
    let group = world.group();
    let inner = world.layout.locate(&absolute(&world.name).join("a").join("b"));
    let inner = Group::create(&inner, Controllers::NONE, Existing::RefuseIfUsed).unwrap();
    let process = Process::started_in(&inner, "exec sleep 1000");
    assert!(group.processes().unwrap().is_empty());
    assert_eq!(group.all_processes().unwrap(), [process.pid()]);
    group.signal_all(Signal::SIGTERM).unwrap();
    wait_until("SIGTERM ended it", || group.all_processes().unwrap().is_empty());
    inner.release();
    group.remove().unwrap();
    assert_gone(&world.location());
}

fn frozen_groups_take_no_container(world: &World) {
    let group = world.group();
    group.freeze().unwrap();
    let below = world.layout.locate(&absolute(&world.name).join("below"));
    for location in [group.location(), &below] {
        let again = Group::create(location, Controllers::NONE, Existing::RefuseIfUsed);
        assert!(matches!(again, Err(Error::Frozen { .. })), "{again:?}");
    }
    let of_unit = || Group::create(&below, Controllers::NONE, Existing::OfUnit);
    let refused = of_unit();
    assert!(matches!(refused, Err(Error::Frozen { .. })), "{refused:?}");
    group.thaw().unwrap();
    // With a process in it, as systemd makes it.
    let inner = of_unit().unwrap();
    let process = Process::started_in(&inner, "exec sleep 1000");
    of_unit().unwrap().release();
    group.freeze().unwrap();
    let refused = of_unit();
    assert!(matches!(refused, Err(Error::Frozen { .. })), "{refused:?}");
    group.thaw().unwrap();
    drop(process);
    wait_until("it ended", || group.all_processes().unwrap().is_empty());
    drop(inner);
    drop(Group::create(&below, Controllers::NONE, Existing::RefuseIfUsed).unwrap());
    group.remove().unwrap();
    assert_gone(&world.location());
}

/// A process that joined it would stand still, and with it whoever waits for its start.
#[test]
fn a_group_that_is_frozen_is_refused_and_so_is_one_below() {
    if let Some(world) = World::new("still", &[]) {
        frozen_groups_take_no_container(&world);
    }
    with_lone_v2("still-v2", |world| frozen_groups_take_no_container(&world));
}

/// Where a location is in the cpuset hierarchy of cgroup v1.
fn cpuset_on_v1(location: &Location, test: &str) -> Option<PathBuf> {
    let has = |id: &HierarchyId| matches!(id, HierarchyId::V1(c) if c.contains(Controller::Cpuset));
    let place = location.places.iter().find(|place| has(&place.hierarchy));
    if place.is_none() {
        eprintln!("SKIPPED {test}: needs the cpuset controller of cgroup v1");
    }
    place.map(|place| place.path())
}

/// As somebody leaves them who makes a parent for containers by mkdir on cgroup v1.
#[test]
fn parents_with_an_empty_cpuset_are_filled() {
    let Some(world) = World::new("cpuset", &[Controller::Cpuset]) else { return };
    let outer = world.location();
    let Some(found) = cpuset_on_v1(&outer, "cpuset") else { return };
    fs::create_dir(&found).unwrap();
    assert_eq!(fs::read_to_string(found.join("cpuset.cpus")).unwrap().trim(), "");
    let inner = world.layout.locate(&absolute(&world.name).join("a").join("b"));
    let inner = Group::create(&inner, Controllers::NONE, Existing::RefuseIfUsed).unwrap();
    assert_ne!(file(&inner, Controller::Cpuset, "cpuset.cpus"), "");
    let process = Process::started_in(&inner, "exec sleep 1000");
    assert_eq!(inner.processes().unwrap(), [process.pid()]);
    inner.kill_all().unwrap();
    inner.remove().unwrap();
    fs::remove_dir(&found).unwrap();
    assert_gone(&outer);
}

/// Each write of the CPUs costs the more, the more groups there are.
#[test]
fn new_parents_hand_their_cpus_on_and_found_ones_are_left_as_they_are() {
    let Some(world) = World::new("handson", &[Controller::Cpuset]) else { return };
    let outer = world.location();
    let Some(found) = cpuset_on_v1(&outer, "handson") else { return };
    fs::create_dir(&found).unwrap();
    let read = |path: &Path, name: &str| fs::read_to_string(path.join(name)).unwrap();
    let make = |below: &str| {
        let inner = world.layout.locate(&absolute(&world.name).join(below));
        Group::create(&inner, Controllers::NONE, Existing::RefuseIfUsed).unwrap()
    };
    let groups = [make("a/b/c"), make("a/b/d"), make("e")];
    assert_eq!(read(&found, "cgroup.clone_children"), "0\n");
    for (below, hands_on) in [("a", "1\n"), ("a/b", "1\n"), ("a/b/d", "1\n"), ("e", "0\n")] {
        let path = found.join(below);
        assert_eq!(read(&path, "cgroup.clone_children"), hands_on, "{below}");
        assert_eq!(read(&path, "cpuset.cpus"), read(&found, "cpuset.cpus"), "{below}");
        assert_ne!(read(&path, "cpuset.mems"), "\n", "{below}");
    }
    // The one that made the parents goes last.
    groups.into_iter().rev().for_each(|group| group.remove().unwrap());
    fs::remove_dir(&found).unwrap();
    assert_gone(&outer);
}

#[test]
fn a_group_that_forks_all_the_time_dies() {
    if let Some(world) = World::new("forker", &[]) {
        forking_group_dies(&world);
    }
    with_lone_v2("forker-v2", |world| forking_group_dies(&world));
}

#[test]
fn a_frozen_group_stands_still_and_can_be_killed() {
    if let Some(world) = World::new("frozen", &[]) {
        frozen_group_stands_still_and_dies(&world);
    }
    with_lone_v2("frozen-v2", |world| frozen_group_stands_still_and_dies(&world));
}

#[test]
fn groups_below_are_listed_signalled_and_removed() {
    if let Some(world) = World::new("nested", &[]) {
        nested_groups_are_listed_and_removed(&world);
    }
    with_lone_v2("nested-v2", |world| nested_groups_are_listed_and_removed(&world));
}

#[test]
fn an_oom_kill_is_seen_while_the_main_process_lives_on() {
    let Some(world) = World::new("oom", &[Controller::Memory]) else { return };
    let bytes = 32 << 20;
    let group = world.limited(serde_json::json!({"memory": {"limit": bytes, "swap": bytes}}));
    let watch = group.watch_oom().unwrap();
    assert_eq!(group.oom_kills().unwrap(), 0);
    // The kill counts in the victim's group, also when that is one below the watched one.
    let inner = world.layout.locate(&absolute(&world.name).join("inner"));
    let inner = Group::create(&inner, Controllers::NONE, Existing::RefuseIfUsed).unwrap();
    let main = Process::started_in(&inner, "tail /dev/zero; exec sleep 1000");
    let interest = match watch.readiness() {
        Readiness::Read => PollFlags::POLLIN,
        Readiness::Priority => PollFlags::POLLPRI,
    };
    let timeout = PollTimeout::try_from(DEADLINE).unwrap();
    let mut fds = [PollFd::new(watch.as_fd(), interest)];
    assert_eq!(poll(&mut fds, timeout).unwrap(), 1, "no OOM event");
    watch.drain().unwrap();
    wait_until("the kill is counted", || group.oom_kills().unwrap() == 1);
    wait_until("only the main process is left", || inner.all_processes().unwrap() == [main.pid()]);
    inner.kill_all().unwrap();
    inner.remove().unwrap();
    group.remove().unwrap();
}

#[test]
fn statistics_count_time_and_throttling() {
    let Some(world) = World::new("stats", &[Controller::Cpu, Controller::Cpuacct]) else { return };
    // So little that it is used up on the busiest machine.
    let group = world.limited(serde_json::json!({"cpu": {"quota": 1000, "period": 100_000}}));
    let _spinner = Process::started_in(&group, "while :; do :; done");
    // The kernel books each of these at a moment of its own.
    wait_until("throttled", || {
        let cpu = group.stats().unwrap().cpu;
        let counted = 1 < cpu.periods && 1 < cpu.throttled_periods && 0 < cpu.throttled_ns;
        counted && cpu.usage_ns.is_some_and(|usage_ns| 5_000_000 < usage_ns)
    });
    group.kill_all().unwrap();
}

#[test]
fn a_busy_group_says_who_is_in_the_way() {
    let Some(world) = World::new("busy", &[]) else { return };
    let group = world.group();
    let process = Process::started_in(&group, "exec sleep 1000");
    let text = remove(group.location()).unwrap_err().to_string();
    assert!(text.contains(&format!("pid {}", process.pid())), "{text}");
    group.kill_all().unwrap();
    group.remove().unwrap();
}

#[test]
fn huge_pages_are_limited_on_a_hybrid_hosts_v2_side() {
    let Some(world) = World::new("hugetlb", &[Controller::Hugetlb]) else { return };
    let limit = serde_json::json!([{"pageSize": "2MB", "limit": 4_194_304}]);
    let group = world.limited(serde_json::json!({"hugepageLimits": limit}));
    let name = match world.layout.version_of(Controller::Hugetlb) {
        Some(Version::V1) => "hugetlb.2MB.limit_in_bytes",
        _ => "hugetlb.2MB.max",
    };
    assert_eq!(file(&group, Controller::Hugetlb, name), "4194304");
    let limit = serde_json::json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]});
    let error = world.update(&group, limit).unwrap_err();
    assert!(error.to_string().contains("hugetlb.3MB"), "{error}");
}

#[test]
fn a_parent_with_processes_cannot_hand_controllers_down_on_v2() {
    with_lone_v2("internal", |world| {
        let group = world.group();
        let Some(wanted) = world.layout.v2().and_then(|v2| v2.controllers.iter().next()) else {
            eprintln!("SKIPPED internal: needs a controller on v2");
            return;
        };
        let wanted = Controllers::NONE.with(wanted);
        let _process = Process::started_in(&group, "exec sleep 1000");
        let below = world.layout.locate(&absolute(&world.name).join("a"));
        let error = Group::create(&below, wanted, Existing::RefuseIfUsed).unwrap_err();
        assert!(matches!(error, Error::InternalProcesses { .. }), "{error}");
        assert_gone(&below);
        let without = Group::create(&below, Controllers::NONE, Existing::RefuseIfUsed).unwrap();
        without.remove().unwrap();
        group.kill_all().unwrap();
        group.remove().unwrap();
    });
}

#[test]
fn device_rules_hold() {
    fn body(world: &World) {
        let deny_kmsg = serde_json::json!({"devices": [{"allow": true, "access": "rwm"},
            {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"}]});
        let group = world.limited(deny_kmsg);
        let opens = |redirect: &str| {
            let script = format!("true {redirect}");
            let mut process = Process::started_in(&group, &script);
            process.child.wait().unwrap().success()
        };
        assert!(opens("</dev/kmsg"), "reading kmsg");
        assert!(!opens(">/dev/kmsg"), "writing kmsg");
        assert!(opens(">/dev/null"), "writing null");
        let deny_all = serde_json::json!({"devices": [{"allow": false, "access": "rwm"}]});
        world.update(&group, deny_all).unwrap();
        assert!(opens(">/dev/null"), "the defaults hold null");
        assert!(!opens("</dev/kmsg"), "kmsg is not among the defaults");
        let allow_all = serde_json::json!({"devices": [{"allow": true, "access": "rwm"}]});
        world.update(&group, allow_all).unwrap();
        assert!(opens(">/dev/kmsg"), "the old rules are gone");
    }
    if let Some(world) = World::new("devices", &[Controller::Devices]) {
        body(&world);
    }
    with_lone_v2("devices-v2", |world| body(&world));
}
