//! The decisions as text for each kind of host, and the groups of this one.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use loadline_model::{ContainerName, ContainerSpec, TaskArn};

use super::*;

const V1: &str = "20 1 0:20 / /cg/cpu rw - cgroup cgroup rw,cpu\n\
                  21 1 0:21 / /cg/memory rw - cgroup cgroup rw,memory\n";
const V2: &str = "20 1 0:20 / /cg rw - cgroup2 cgroup2 rw\n";

fn host(mounts: &str, counts_swap: bool) -> plan::Kernel {
    let groups = "1:cpu:/\n2:memory:/\n0::/\n";
    let layout = Layout::parse(mounts, groups).unwrap().with_v2_controllers("cpu memory pids");
    plan::Kernel { layout, counts_swap }
}

fn decided(task: &TaskSpec, kernel: &plan::Kernel) -> String {
    plan::task(task, NODE, kernel, &Current::default()).unwrap().to_string()
}

fn task(id: &str, cpu: Option<u64>, memory: Option<u64>, containers: &[(u64, u64)]) -> TaskSpec {
    let container = |(index, (cpu_units, memory_mib)): (usize, &(u64, u64))| ContainerSpec {
        cpu_units: *cpu_units,
        memory_mib: Some(*memory_mib),
        ..ContainerSpec::new(ContainerName::parse(&format!("c{index}")).unwrap(), "x")
    };
    TaskSpec {
        family: "f".into(),
        cpu_units: cpu,
        memory_mib: memory,
        ..TaskSpec::new(
            TaskArn::parse(&format!("arn:aws:ecs:r:1:task/default/{id}")).unwrap(),
            containers.iter().enumerate().map(container).collect(),
        )
    }
}

const NODE: Resources = Resources { cpu_units: 2048, memory_mib: 4096 };

/// A decision's text, line by line.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn a_task_with_cpu_and_memory_gets_quota_weight_and_limit() {
    let task = task("1", Some(512), Some(256), &[(10, 64)]);
    insta::assert_snapshot!("task_v1", decided(&task, &host(V1, true)));
    let without_swap = decided(&task, &host(V1, false));
    assert!(!without_swap.contains("memsw"), "{without_swap}");
    insta::assert_snapshot!("task_v2", decided(&task, &host(V2, true)));
}

#[test]
fn a_task_without_cpu_weighs_what_its_containers_weigh_and_has_no_quota() {
    let task = task("1", None, None, &[(0, 64), (100, 64)]);
    assert_eq!(plan::task_weight_units(&task), 102);
    let text = decided(&task, &host(V1, true));
    assert!(text.contains("cpu.shares") && text.contains("102"), "{text}");
    assert!(!text.contains("quota") && !text.contains("memory.limit"), "{text}");
}

#[test]
fn the_sum_of_all_tasks_weights_is_at_most_the_whole_range() {
    for (units, weight) in [(1, 4), (128, 625), (1024, 5000), (2048, 10_000), (4096, 10_000)] {
        let task = task("1", Some(units), None, &[]);
        let text = decided(&task, &host(V2, true));
        let line = lines(&text).into_iter().find(|line| line.contains("cpu.weight")).unwrap();
        let found = line.split(|c: char| !c.is_ascii_digit()).rfind(|word| !word.is_empty());
        assert_eq!(found, Some(&*weight.to_string()), "{line}");
    }
}

#[test]
fn the_parent_outweighs_the_host_and_keeps_back_what_was_not_registered() {
    let parent = |registered: Resources, task_quota_units_max, used_bytes, mounts| {
        let facts = plan::ParentFacts {
            registered,
            host: NODE,
            task_quota_units_max,
            used_bytes,
            gives_swap: false,
        };
        let kernel = host(mounts, true);
        plan::parent(&facts, &kernel, &Current::default()).unwrap().to_string()
    };
    insta::assert_snapshot!("parent_v1", parent(NODE, 0, 0, V1));
    insta::assert_snapshot!("parent_v2", parent(NODE, 0, 0, V2));
    let less = Resources { cpu_units: 1024, memory_mib: 1024 };
    insta::assert_snapshot!("parent_with_reserve", parent(less, 0, 0, V1));
    // Lowered below what runs: neither a task's quota nor its memory is taken away.
    insta::assert_snapshot!("parent_lowered", parent(less, 1500, 3 << 30, V1));
}

#[test]
fn quotas_are_exact_and_never_below_the_kernels_least() {
    assert_eq!(plan::quota_us(256), 25_000);
    assert_eq!(plan::quota_us(1024), 100_000);
    assert_eq!(plan::quota_us(1), 1000);
    for units in [128, 256, 777, 1024, 196_608] {
        let back = plan::units_of_quota(plan::quota_us(units), plan::CPU_PERIOD_US);
        assert!(back.abs_diff(units) <= 1, "{units} -> {back}");
    }
}

/// A parent group of this test's own, removed with everything in it at the end.
struct Live {
    cgroups: Cgroups,
}

impl Live {
    fn new(test: &str) -> Option<Self> {
        let layout = Layout::probe().ok();
        let has = |controller| layout.as_ref().is_some_and(|l| l.version_of(controller).is_some());
        let able =
            rustix::process::geteuid().is_root() && has(Controller::Cpu) && has(Controller::Memory);
        if !able {
            eprintln!("SKIPPED {test}: needs root and the cpu and memory controllers");
            return None;
        }
        let name = format!("loadline-test-{}-{test}", std::process::id());
        let registered = Resources { cpu_units: 1024, memory_mib: 512 };
        let host = Resources { cpu_units: 2048, memory_mib: 1024 };
        Some(Self { cgroups: Cgroups::open(&name, registered, host, false).unwrap() })
    }

    fn file(&self, controller: Controller, path: &[&str], name: &str) -> String {
        let location = self.cgroups.location(path);
        let hierarchies = &self.cgroups.kernel.layout.hierarchies;
        let at = hierarchies.iter().position(|h| h.controllers.contains(controller)).unwrap();
        std::fs::read_to_string(location.places[at].path().join(name)).unwrap().trim().to_owned()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for id in self.cgroups.task_ids().unwrap_or_default() {
            let _ = self.cgroups.remove_task(&id);
        }
        let _ = self.cgroups.remove_parent_if_empty();
    }
}

#[test]
fn a_tasks_group_is_made_twice_read_and_removed_with_what_runs_in_it() {
    let test = "a_tasks_group_is_made_twice_read_and_removed_with_what_runs_in_it";
    let Some(live) = Live::new(test) else { return };
    let cgroups = &live.cgroups;
    let task = task("t1", Some(256), Some(64), &[]);
    for _ in 0..2 {
        cgroups.create_task(&task).unwrap();
    }
    if cgroups.memory_accounting() != MemoryAccounting::V2 {
        let quota = live.file(Controller::Cpu, &["t1"], "cpu.cfs_quota_us");
        let limit = live.file(Controller::Memory, &["t1"], "memory.limit_in_bytes");
        let parent = live.file(Controller::Cpu, &[], "cpu.cfs_quota_us");
        assert_eq!((&*quota, &*limit, &*parent), ("25000", "67108864", "100000"));
    }
    if cgroups.memory_accounting() == MemoryAccounting::V2 {
        let read = |controller, file| live.file(controller, &["t1"], file);
        assert_eq!(read(Controller::Cpu, "cpu.max"), "25000 100000");
        assert_eq!(read(Controller::Cpu, "cpu.weight"), "2500");
        assert_eq!(read(Controller::Memory, "memory.max"), "67108864");
        assert_eq!(read(Controller::Memory, "memory.low"), "67108864");
        assert_eq!(live.file(Controller::Cpu, &[], "cpu.weight"), "10000");
        assert_eq!(live.file(Controller::Cpu, &[], "cpu.max"), "100000 100000");
    }
    if cgroups.memory_accounting() == MemoryAccounting::V1WithSwap {
        let with_swap = live.file(Controller::Memory, &["t1"], "memory.memsw.limit_in_bytes");
        assert_eq!(with_swap, "67108864");
    }
    if cgroups.kernel.layout.version_of(Controller::Cpuset) == Some(Version::V1) {
        // Containers' groups have processors without a write, which takes long on a full node.
        for path in [&[][..], &["t1"]] {
            let hands_on = live.file(Controller::Cpuset, path, "cgroup.clone_children");
            assert_eq!(hands_on, "1", "{path:?}");
        }
        assert_ne!(live.file(Controller::Cpuset, &["t1"], "cpuset.cpus"), "");
    }
    assert_eq!(cgroups.task_ids().unwrap(), BTreeSet::from(["t1".to_owned()]));
    assert!(!cgroups.remove_parent_if_empty().unwrap());
    let mut child: Child = Command::new("sleep").arg("1000").spawn().unwrap();
    let group = cgroups.group(&["t1"]).unwrap().unwrap();
    group.attach(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap())).unwrap();
    let usage = cgroups.usage("t1", None).unwrap().unwrap();
    assert_eq!((usage.pids, usage.oom_kills), (1, 0));
    assert_eq!(cgroups.processes("t1", None).unwrap(), [i32::try_from(child.id()).unwrap()]);
    cgroups.remove_task("t1").unwrap();
    cgroups.remove_task("t1").unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
    assert_eq!(cgroups.usage("t1", None).unwrap(), None);
    assert!(cgroups.processes("t1", None).unwrap().is_empty());
    assert!(cgroups.remove_parent_if_empty().unwrap());
}

#[test]
fn an_oom_kill_is_counted_while_another_process_of_the_group_lives_on() {
    let test = "an_oom_kill_is_counted_while_another_process_of_the_group_lives_on";
    let Some(live) = Live::new(test) else { return };
    let cgroups = &live.cgroups;
    cgroups.create_task(&task("t1", None, Some(16), &[])).unwrap();
    let group = cgroups.group(&["t1"]).unwrap().unwrap();
    let join = |child: &Child| {
        group.attach(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap())).unwrap();
    };
    let mut idle = Command::new("sleep").arg("1000").spawn().unwrap();
    join(&idle);
    // Once its stdin ends, and it is in the group, the shell keeps 200 MB in a variable.
    let mut greedy = Command::new("sh")
        .args(["-c", "read go; x=$(head -c 200000000 /dev/zero | tr '\\0' x)"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    join(&greedy);
    drop(greedy.stdin.take());
    let deadline = Instant::now() + Duration::from_secs(60);
    while cgroups.oom_kills("t1", None).unwrap() == Some(0) {
        assert!(Instant::now() < deadline, "nothing was killed");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&greedy.wait().unwrap()), Some(9));
    assert!(idle.try_wait().unwrap().is_none(), "the idle process was killed too");
    let usage = cgroups.usage("t1", None).unwrap().unwrap();
    assert!(1 <= usage.oom_kills && usage.memory_peak_bytes <= 16 << 20, "{usage:?}");
    cgroups.remove_task("t1").unwrap();
    let _ = idle.wait();
}

#[test]
fn a_line_that_is_lowered_leaves_running_tasks_alone() {
    let Some(live) = Live::new("a_line_that_is_lowered_leaves_running_tasks_alone") else { return };
    live.cgroups.create_task(&task("t1", Some(1024), Some(64), &[])).unwrap();
    let host = Resources { cpu_units: 2048, memory_mib: 1024 };
    let lowered = Resources { cpu_units: 128, memory_mib: 1 };
    let again = Cgroups::open(&live.cgroups.parent_name, lowered, host, false).unwrap();
    again.create_task(&task("t1", Some(1024), Some(64), &[])).unwrap();
    assert_eq!(again.task_ids().unwrap().len(), 1);
}
