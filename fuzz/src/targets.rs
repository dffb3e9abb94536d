//! What is fuzzed, and what must hold of it.

use std::path::PathBuf;
use std::sync::LazyLock;

use loadline_runtime::cgroup::Layout;
use loadline_runtime::config::Config;
use loadline_runtime::container::Record;
use loadline_runtime::host::Host;
use loadline_runtime::plan::{
    Ask, Begin, CgroupDriver, Console, Inside, plan as decide, plan_exec,
};
use loadline_runtime::seccomp::{Cache, INSTRUCTIONS_MAX, Instruction, compile};
use loadline_runtime::spec::{NamespaceKind, Spec};
use oci_spec::runtime as oci;

const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro\n\
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
34 30 0:30 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
35 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
const UNIFIED: &str = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

/// Root on both kinds of cgroups, and somebody who may do nothing.
static HOSTS: LazyLock<Vec<Host>> = LazyLock::new(|| {
    let groups = "4:devices:/\n3:pids:/\n2:memory:/\n1:cpu,cpuacct:/\n0::/\n";
    let hybrid = Layout::parse(HYBRID, groups).expect("the text above is one");
    let unified = Layout::parse(UNIFIED, "0::/user.slice\n").expect("the text above is one");
    let unified = unified.with_v2_controllers("cpuset cpu io memory hugetlb pids rdma");
    let host = |is_privileged, capabilities, cgroups, labels: bool| Host {
        is_privileged,
        capabilities,
        cgroups,
        apparmor: labels,
        selinux: labels,
        resctrl: labels.then(|| PathBuf::from("/sys/fs/resctrl")),
    };
    vec![
        host(true, u64::MAX, hybrid.clone(), false),
        host(true, u64::MAX, unified, true),
        host(false, 0, hybrid, false),
    ]
});

fn asks() -> [Ask; 2] {
    let ask = |begin, console, cgroup_driver, preserve_fds| Ask {
        id: "web".to_owned(),
        bundle: PathBuf::from("/bundles/web"),
        begin,
        console,
        no_pivot: preserve_fds > 0,
        no_new_keyring: preserve_fds > 0,
        preserve_fds,
        listen_fds: 0,
        pidfd_socket: None,
        cgroup_driver,
    };
    let socket = Console::Socket(PathBuf::from("/run/console.sock"));
    [
        ask(Begin::OnStart, socket, CgroupDriver::Cgroupfs, 0),
        ask(Begin::AtOnce, Console::Foreground, CgroupDriver::Systemd, 3),
    ]
}

/// config.json: whatever it says, it is refused in words or becomes a plan that can be printed, and
/// the same one each time.
pub(crate) fn plan(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let decoded = Config::decode(text, &Cache::at(PathBuf::from("/nonexistent")));
    let Ok(config) = serde_json::from_str::<oci::Spec>(text) else {
        assert!(decoded.is_err(), "what is no configuration was read as one");
        return;
    };
    match decoded {
        // By a look for the profile of system calls first, and all the same.
        Ok(decoded) => assert_eq!(decoded.oci, config, "it was read as another one"),
        Err(_) => assert!(!text.trim_start().starts_with('{'), "it is one, and was refused"),
    }
    plan_of(&config);
}

fn plan_of(config: &oci::Spec) {
    let spec = match Spec::validate(config) {
        Ok(spec) => spec,
        Err(invalid) => {
            assert!(!invalid.0.is_empty(), "it is refused without a reason");
            assert!(!invalid.to_string().contains('\0'), "a reason has a NUL byte in it");
            return;
        }
    };
    for host in &*HOSTS {
        for ask in asks() {
            match decide(&spec, host, &ask) {
                Ok(plan) => {
                    let text = plan.to_string();
                    let again = decide(&spec, host, &ask).expect("it was decided before");
                    assert_eq!(text, again.to_string(), "two plans for the same configuration");
                    assert!(!plan.child.is_empty() && !plan.parent.is_empty(), "an empty plan");
                    for number in 0..=plan.parent.len() + plan.child.len() + 1 {
                        drop(plan.describe(number));
                    }
                }
                Err(refused) => assert!(!refused.to_string().is_empty(), "refused without a word"),
            }
            let inside = Inside {
                pid: 4,
                pid_start_ticks: 5,
                namespaces: vec![NamespaceKind::Mount, NamespaceKind::Pid],
                cgroup: None,
                resctrl: Vec::new(),
            };
            drop(plan_exec(&spec, host, &ask, &inside).map(|plan| plan.to_string()));
        }
    }
}

/// A seccomp profile: it is refused in words or becomes a program that the kernel takes.
pub(crate) fn seccomp(bytes: &[u8]) {
    let Ok(profile) = serde_json::from_slice::<oci::LinuxSeccomp>(bytes) else { return };
    match compile(&profile) {
        Ok(filter) => check_program(&filter.program),
        Err(reasons) => assert!(!reasons.is_empty(), "it is refused without a reason"),
    }
}

/// What `bpf_check_classic` and `seccomp_check_filter` ask for (Linux, net/core/filter.c and
/// kernel/seccomp.c): jumps go forward and stay inside, and the last instruction returns.
fn check_program(program: &[Instruction]) {
    const CLASS: u16 = 0x07;
    const JUMP_CLASS: u16 = 0x05;
    const RETURN_CLASS: u16 = 0x06;
    const ALWAYS: u16 = 0x05;
    assert!((1..=INSTRUCTIONS_MAX).contains(&program.len()), "{} instructions", program.len());
    for (at, instruction) in program.iter().enumerate() {
        if instruction.code & CLASS == JUMP_CLASS {
            let far = if instruction.code == ALWAYS {
                instruction.operand as usize
            } else {
                usize::from(instruction.jump_true.max(instruction.jump_false))
            };
            assert!(at + 1 + far < program.len(), "instruction {at} jumps out of the program");
        }
    }
    let last = program.last().map(|instruction| instruction.code & CLASS);
    assert_eq!(last, Some(RETURN_CLASS), "the program has no end");
}

/// A container's record: what an older or newer program, or an accident, left there.
pub(crate) fn record(bytes: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else { return };
    let written = record.to_bytes();
    let again: Record = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(written, again.to_bytes(), "it changes in writing");
    if let Ok(config) = serde_json::from_str::<oci::Spec>(&record.config) {
        plan_of(&config);
    }
}

/// What /proc tells of cgroups: mountinfo, an empty line, and the process's own groups.
pub(crate) fn layout(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (mounts, groups) = text.split_once("\n\n").unwrap_or((&text, "0::/\n"));
    if let Ok(layout) = Layout::parse(mounts, groups) {
        drop(format!("{:?}", layout.with_v2_controllers("cpu memory nothing-known")));
    }
}

/// A command line, a word on each line.
pub(crate) fn words(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Err((_, error)) = loadline_runtime::verb::decode(&words) {
        assert!(!error.to_string().is_empty(), "refused without a word");
    }
}
