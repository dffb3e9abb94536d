//! Plans as text: what a reviewer reads when the set-up of containers changes.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Ask, Begin, Console, Inside, plan, plan_exec};
use crate::cgroup::{Controllers, Layout};
use crate::host::Host;
use crate::spec::{NamespaceKind, Spec};

const HYBRID_MOUNTS: &str = "\
30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro\n\
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
34 30 0:30 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
35 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
const HYBRID_GROUPS: &str = "4:devices:/\n3:pids:/\n2:memory:/\n1:cpu,cpuacct:/\n0::/\n";
const V2_MOUNTS: &str = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

fn hybrid() -> Host {
    let cgroups = Layout::parse(HYBRID_MOUNTS, HYBRID_GROUPS).unwrap();
    Host {
        is_privileged: true,
        capabilities: u64::MAX,
        cgroups,
        apparmor: false,
        selinux: false,
        resctrl: None,
    }
}

fn v2() -> Host {
    let cgroups = Layout::parse(V2_MOUNTS, "0::/\n").unwrap();
    let cgroups = cgroups.with_v2_controllers("cpuset cpu io memory hugetlb pids");
    assert_ne!(cgroups.hierarchies[0].controllers, Controllers::NONE);
    Host { cgroups, ..hybrid() }
}

fn template() -> Value {
    let mut config: Value = serde_json::from_str(include_str!("../template.json")).unwrap();
    config["process"]["terminal"] = json!(false);
    config
}

fn push(array: &mut Value, element: Value) {
    array.as_array_mut().unwrap().push(element);
}

pub(super) fn ask(begin: Begin) -> Ask {
    Ask {
        id: "web".to_owned(),
        bundle: PathBuf::from("/bundles/web"),
        begin,
        console: Console::None,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
        listen_fds: 0,
        pidfd_socket: None,
        cgroup_driver: super::CgroupDriver::Cgroupfs,
    }
}

fn printed(config: Value, host: &Host, ask: &Ask) -> String {
    let oci = serde_json::from_value(config).unwrap();
    let spec = Spec::validate(&oci).unwrap();
    plan(&spec, host, ask).unwrap().to_string()
}

#[test]
fn the_template_on_a_hybrid_host() {
    insta::assert_snapshot!(printed(template(), &hybrid(), &ask(Begin::OnStart)));
}

#[test]
fn the_template_on_v2_with_a_terminal_in_the_foreground() {
    let mut config = template();
    config["process"]["terminal"] = json!(true);
    push(&mut config["linux"]["namespaces"], json!({ "type": "cgroup" }));
    let ask = Ask { console: Console::Foreground, ..ask(Begin::AtOnce) };
    insta::assert_snapshot!(printed(config, &v2(), &ask));
}

#[test]
fn a_user_namespace_with_mounts_of_the_host() {
    let mut config = template();
    let linux = &mut config["linux"];
    push(&mut linux["namespaces"], json!({ "type": "user" }));
    let maps = json!([
        { "containerID": 0, "hostID": 100_000, "size": 1000 },
        { "containerID": 1000, "hostID": 1000, "size": 1 },
    ]);
    linux["uidMappings"] = maps.clone();
    linux["gidMappings"] = maps;
    linux["rootfsPropagation"] = json!("shared");
    push(
        &mut config["mounts"],
        json!({
            "destination": "/data/../srv", "type": "bind", "source": "data",
            "options": ["rbind", "rro", "nosuid", "nodev", "rshared"],
        }),
    );
    push(
        &mut config["mounts"],
        json!({
            "destination": "/mapped", "source": "/host", "options": ["rbind", "ridmap"],
        }),
    );
    push(
        &mut config["mounts"],
        json!({
            "destination": "/run", "type": "tmpfs", "source": "run",
            "options": ["tmpcopyup", "noatime", "size=1m", "nosymfollow"],
        }),
    );
    insta::assert_snapshot!(printed(config, &hybrid(), &ask(Begin::OnStart)));
}

#[test]
fn namespaces_that_are_joined() {
    let mut config = template();
    config["linux"]["namespaces"] = json!([
        { "type": "mount" },
        { "type": "network", "path": "/run/netns/web" },
        { "type": "pid", "path": "/proc/7/ns/pid" },
        { "type": "ipc", "path": "/proc/7/ns/ipc" },
    ]);
    config["hostname"] = Value::Null;
    insta::assert_snapshot!(printed(config.clone(), &v2(), &ask(Begin::OnStart)));
    push(
        &mut config["linux"]["namespaces"],
        json!({
            "type": "user", "path": "/proc/7/ns/user",
        }),
    );
    insta::assert_snapshot!(printed(config, &v2(), &ask(Begin::OnStart)));
}

#[test]
fn everything_that_a_process_can_be_given() {
    let mut config = template();
    let process = &mut config["process"];
    process["user"] = json!({
        "uid": 1000, "gid": 100, "additionalGids": [5, 6], "umask": 0o027,
    });
    process["cwd"] = json!("/srv/me");
    process["oomScoreAdj"] = json!(-500);
    process["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 10 });
    process["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 7 });
    push(
        &mut process["rlimits"],
        json!({
            "type": "RLIMIT_CORE", "soft": 0, "hard": u64::MAX,
        }),
    );
    config["domainname"] = json!("example.org");
    let linux = &mut config["linux"];
    push(&mut linux["namespaces"], json!({ "type": "time" }));
    linux["timeOffsets"] = json!({ "monotonic": { "secs": -5, "nanosecs": 7 } });
    linux["personality"] = json!({ "domain": "LINUX32" });
    linux["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0-1" });
    linux["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "65536" });
    linux["devices"] = json!([
        { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600 },
        { "path": "/dev/pipe", "type": "p", "uid": 1, "gid": 2 },
        { "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 },
    ]);
    linux["resources"]["memory"] = json!({ "limit": 1 << 26 });
    linux["cgroupsPath"] = json!("/tasks/web");
    let hook = |path: &str| json!([{ "path": path }]);
    config["hooks"] = json!({
        "prestart": hook("/h/prestart"), "createRuntime": hook("/h/create-runtime"),
        "createContainer": hook("/h/create-container"),
        "startContainer": hook("/h/start-container"), "poststart": hook("/h/poststart"),
        "poststop": hook("/h/poststop"),
    });
    let ask = Ask { no_pivot: true, no_new_keyring: true, ..ask(Begin::AtOnce) };
    insta::assert_snapshot!(printed(config, &hybrid(), &ask));
}

/// A host with all that the machines of the tests lack.
fn endowed() -> Host {
    let resctrl = Some(PathBuf::from("/sys/fs/resctrl"));
    Host { apparmor: true, selinux: true, resctrl, ..hybrid() }
}

#[test]
fn what_needs_other_kernels() {
    let mut config = template();
    config["process"]["apparmorProfile"] = json!("web-profile");
    config["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0:c1,c2");
    config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 5, "hard": 5 }]);
    let linux = &mut config["linux"];
    linux["mountLabel"] = json!("system_u:object_r:container_file_t:s0:c1,c2");
    linux["intelRdt"] = json!({
        "schemata": ["L2:0=f"], "memBwSchema": "MB:0=20;1=70", "l3CacheSchema": "L3:0=7f0;1=1f",
        "enableMonitoring": true,
    });
    linux["netDevices"] = json!({ "eth1": { "name": "web%d" }, "eth0": {} });
    for namespace in linux["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "network" {
            namespace["path"] = json!("/run/netns/web");
        }
    }
    let pidfd_socket = Some(PathBuf::from("/run/pidfd.sock"));
    let ask = Ask { listen_fds: 2, pidfd_socket, ..ask(Begin::OnStart) };
    insta::assert_snapshot!(printed(config, &endowed(), &ask));
}

#[test]
fn groups_of_resctrl_follow_the_specifications_rules() {
    let lines = |rdt: Value| -> Vec<String> {
        let mut config = template();
        config["linux"]["intelRdt"] = rdt;
        let text = printed(config, &endowed(), &ask(Begin::OnStart));
        let about = text.lines().filter(|line| line.contains("resctrl"));
        about.map(|line| line.trim().split_once(' ').unwrap().1.to_owned()).collect()
    };
    let top = "/sys/fs/resctrl";
    for (rdt, group, joined) in [
        (json!({}), format!("make own resctrl group {top}/web"), format!("{top}/web")),
        (json!({ "closID": "a" }), format!("use resctrl group {top}/a"), format!("{top}/a")),
        (
            json!({ "closID": "a", "schemata": ["MB:0=20"] }),
            format!("make if missing resctrl group {top}/a MB:0=20"),
            format!("{top}/a"),
        ),
        (
            json!({ "closID": "/", "enableMonitoring": true }),
            format!("use resctrl group {top} monitored by {top}/mon_groups/web"),
            format!("{top} {top}/mon_groups/web"),
        ),
    ] {
        assert_eq!(lines(rdt), [group, format!("join resctrl groups {joined}")]);
    }
}

#[test]
fn a_joined_mount_namespace_is_used_as_it_is() {
    let mut config = template();
    config["process"]["terminal"] = json!(true);
    config["root"] = json!({ "path": "/" });
    config["mounts"] = json!([]);
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
    for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "mount" {
            namespace["path"] = json!("/proc/7/ns/mnt");
        }
    }
    let ask = Ask { console: Console::Foreground, ..ask(Begin::AtOnce) };
    insta::assert_snapshot!(printed(config, &v2(), &ask));
}

#[test]
fn mounts_in_a_namespace_of_others_lie_on_a_mark() {
    let mut config = template();
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "mount");
    let bind = json!({ "destination": "/data", "type": "bind", "source": "/srv", "options": [] });
    push(&mut config["mounts"], bind);
    insta::assert_snapshot!(printed(config, &hybrid(), &ask(Begin::OnStart)));
}

#[test]
fn a_process_that_joins_may_begin_on_other_cpus() {
    let mut config = template();
    config["process"]["execCPUAffinity"] = json!({ "initial": "0-1,3" });
    let spec = Spec::validate(&serde_json::from_value(config).unwrap()).unwrap();
    let inside = Inside {
        pid: 7,
        pid_start_ticks: 1,
        namespaces: vec![NamespaceKind::Pid, NamespaceKind::Mount],
        cgroup: None,
        resctrl: vec![PathBuf::from("/sys/fs/resctrl/a")],
    };
    let plan = plan_exec(&spec, &hybrid(), &ask(Begin::AtOnce), &inside).unwrap();
    insta::assert_snapshot!(plan.to_string());
}

#[test]
fn a_cgroup_is_given_away_only_where_that_is_safe() {
    let given = |host: &Host, options: Value, uid: u32, has_namespace: bool| {
        let mut config = template();
        config["process"]["user"]["uid"] = json!(uid);
        if has_namespace {
            push(&mut config["linux"]["namespaces"], json!({ "type": "cgroup" }));
        }
        for mount in config["mounts"].as_array_mut().unwrap() {
            if mount["type"] == "cgroup" {
                mount["options"] = options.clone();
            }
        }
        printed(config, host, &ask(Begin::OnStart)).contains("give cgroup to user 7")
    };
    assert!(given(&v2(), json!(["rw"]), 7, true));
    assert!(!given(&v2(), json!(["ro"]), 7, true), "it cannot be written to");
    assert!(!given(&v2(), json!(["rw"]), 0, true), "it is root's already");
    assert!(!given(&v2(), json!(["rw"]), 7, false), "it shows the host's groups");
    assert!(!given(&hybrid(), json!(["rw"]), 7, true), "v1 is not safe");
}

fn refused(change: impl FnOnce(&mut Value), host: &Host, expected: &str) {
    let mut config = template();
    change(&mut config);
    let spec = Spec::validate(&serde_json::from_value(config).unwrap()).unwrap();
    let error = plan(&spec, host, &ask(Begin::OnStart)).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn what_the_host_lacks_is_refused_by_name() {
    let terminal = |config: &mut Value| config["process"]["terminal"] = json!(true);
    refused(terminal, &hybrid(), "process.terminal needs --console-socket");
    let apparmor = |config: &mut Value| config["process"]["apparmorProfile"] = json!("web");
    refused(apparmor, &hybrid(), "process.apparmorProfile needs AppArmor");
    let label = |config: &mut Value| config["process"]["selinuxLabel"] = json!("a:b:c");
    refused(label, &hybrid(), "process.selinuxLabel needs SELinux");
    let label = |config: &mut Value| config["linux"]["mountLabel"] = json!("a:b:c");
    refused(label, &hybrid(), "linux.mountLabel needs SELinux");
    let rdt = |config: &mut Value| config["linux"]["intelRdt"] = json!({});
    refused(rdt, &hybrid(), "linux.intelRdt needs resctrl mounted");
    let user = Host { is_privileged: false, ..hybrid() };
    refused(|_| {}, &user, "needs a user namespace when an ordinary user");
}

#[test]
fn capabilities_that_the_runtime_lacks_are_not_granted() {
    let host = Host { capabilities: 1 << 5, ..hybrid() };
    let text = printed(template(), &host, &ask(Begin::OnStart));
    assert!(text.contains("set capabilities effective 0x20 permitted 0x20"), "{text}");
}

/// Where podman without root starts the runtime.
#[test]
fn root_of_a_user_namespace_binds_nodes_and_makes_a_cgroup_only_where_one_is_asked_for() {
    let machine = hybrid();
    let cgroups = Layout { controls_devices: false, ..machine.cgroups.clone() };
    let host = Host { cgroups, ..machine };
    let text = printed(template(), &host, &ask(Begin::OnStart));
    assert!(!text.contains("make node /dev/null"), "{text}");
    assert!(!text.contains("create cgroup"), "{text}");
    let mut limited = template();
    limited["linux"]["resources"]["pids"] = json!({ "limit": 7 });
    let text = printed(limited, &host, &ask(Begin::OnStart));
    assert!(text.contains("create cgroup"), "{text}");
}

/// The positions of lines that begin with these words.
fn positions(printed: &str, words: &[&str]) -> Vec<Option<usize>> {
    let line = |line: &str| line.trim_start().split_once(' ').map(|(_, text)| text.to_owned());
    let lines: Vec<String> = printed.lines().filter_map(line).collect();
    words.iter().map(|words| lines.iter().position(|line| line.starts_with(words))).collect()
}

#[test]
fn what_shows_network_and_cgroup_is_mounted_last_where_nothing_lies_below() {
    let words = ["mount sysfs", "mount tmpfs on /sys/fs/cgroup", "mask /sys/", "mask /proc/kcore"];
    let order = |config: Value| {
        let printed = printed(config, &hybrid(), &ask(Begin::AtOnce));
        let found = positions(&printed, &words);
        found.into_iter().map(Option::unwrap).collect::<Vec<_>>()
    };
    let late = order(template());
    assert!(late[3] < late[0] && late[0] < late[1] && late[1] < late[2], "{late:?}");
    let bind = json!({ "destination": "/sys/fs/bpf", "type": "bind", "source": "/b",
        "options": ["bind"] });
    let hook = json!({ "createContainer": [{ "path": "/bin/hook" }] });
    let mut with_bind = template();
    push(&mut with_bind["mounts"], bind);
    // Mounts are made in the order of config.json.
    let mut with_more = template();
    push(&mut with_more["mounts"], json!({ "destination": "/data", "type": "tmpfs" }));
    let mut with_hook = template();
    with_hook["hooks"] = hook;
    let mut with_cover = template();
    push(&mut with_cover["linux"]["readonlyPaths"], json!("/sys"));
    for config in [with_bind, with_more, with_hook, with_cover] {
        let early = order(config);

        assert!(early[1] < early[3], "{early:?}");
    }
}

#[test]
fn a_network_namespace_is_made_aside_where_the_kernel_lets_the_runtime_have_a_thread() {
    let is_aside = |config: Value| {
        let printed = printed(config, &hybrid(), &ask(Begin::AtOnce));
        let words =
            ["begin to make a network namespace", "enter the new network", "raise interface"];
        let found = positions(&printed, &words);
        assert_ne!(found[0].is_some(), found[2].is_some(), "{printed}");
        assert_eq!(found[0].is_some(), found[1].is_some(), "{printed}");
        found[0].is_some()
    };
    assert!(is_aside(template()));
    let mut joins_pids = template();
    joins_pids["linux"]["namespaces"][0]["path"] = json!("/proc/1/ns/pid");
    assert_eq!(joins_pids["linux"]["namespaces"][0]["type"], json!("pid"));
    assert!(!is_aside(joins_pids));
    let mut has_devices = template();
    has_devices["linux"]["netDevices"] = json!({ "eth1": {} });
    assert!(!is_aside(has_devices));
}

#[test]
fn the_program_is_executed_only_after_its_record_is_written() {
    let printed = printed(template(), &hybrid(), &ask(Begin::AtOnce));
    let words = ["let the container join its cgroup", "write record", "await exec", "join cgroup"];
    let found: Option<Vec<usize>> = positions(&printed, &words).into_iter().collect();
    assert!(found.is_some_and(|found| found.is_sorted()), "{printed}");
    let awaited = printed.lines().filter(|line| line.ends_with("await the runtime")).count();
    let let_go = printed.lines().filter(|line| line.ends_with("let the container go on")).count();
    assert_eq!((awaited, let_go), (2, 2), "{printed}");
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[lines.len() - 2].ends_with("await the runtime"), "{printed}");
}

/// Else one above the place of the root would be cloned with it.
#[test]
fn trees_of_the_host_are_opened_before_anything_is_attached() {
    let bind = |source: &str, options: &[&str]| {
        let place = "/data";
        json!({ "destination": place, "type": "bind", "source": source, "options": options })
    };
    let mut config = template();
    push(&mut config["mounts"], bind("/", &["rbind", "ro", "rprivate"]));
    push(&mut config["mounts"], bind("below", &["bind"]));
    for hooks in [json!({}), json!({ "createRuntime": [{ "path": "/bin/hook" }] })] {
        config["hooks"] = hooks;
        let printed = printed(config.clone(), &hybrid(), &ask(Begin::AtOnce));
        let words = [
            "open root /bundles/web/rootfs",
            "open tree / as #0 and clone it",
            "open mount /bundles/web/below as #1",
            "attach root",
            "mount proc",
            "mount rbind / from #0 on /data ro rprivate",
            "mount bind /bundles/web/below from #1 on /data",
        ];
        let found: Option<Vec<usize>> = positions(&printed, &words).into_iter().collect();
        assert!(found.is_some_and(|found| found.is_sorted()), "{printed}");
    }
}

#[test]
fn a_read_only_tmpfs_is_closed_late_where_something_may_have_to_be_made_in_it() {
    let closes_late = |change: &dyn Fn(&mut Value)| {
        let mut config = template();
        push(
            &mut config["mounts"],
            json!({ "destination": "/run", "type": "tmpfs", "options": ["ro"] }),
        );
        change(&mut config);
        let printed = printed(config, &hybrid(), &ask(Begin::AtOnce));
        let found = positions(&printed, &["mount tmpfs on /run ro", "make mount read-only /run"]);
        assert_ne!(found[0].is_some(), found[1].is_some(), "{printed}");
        found[1].is_some()
    };
    let then = |destination: &'static str| {
        move |config: &mut Value| {
            push(&mut config["mounts"], json!({ "destination": destination, "type": "tmpfs" }));
        }
    };
    assert!(!closes_late(&|_| {}));
    // Below, by the names, and perhaps, by a link of the image.
    assert!(closes_late(&then("/run/x")));
    assert!(closes_late(&then("/var/run")));
    assert!(closes_late(&|config| config["process"]["cwd"] = json!("/run/x")));
    assert!(closes_late(&|config| {
        config["linux"]["devices"] = json!([{ "path": "/var/pipe", "type": "p" }]);
    }));
    // Covered; and in what begins empty or has no links on the way.
    assert!(!closes_late(&then("/run")));
    assert!(!closes_late(&then("/dev/x")));
    assert!(!closes_late(&then("/sys/fs/bpf")));
    // The working directory is made where it is missing, by a link of the image perhaps in here.
    let starts_in =
        |cwd: &'static str| move |config: &mut Value| config["process"]["cwd"] = json!(cwd);
    assert!(closes_late(&starts_in("/var/run/app")));
    assert!(!closes_late(&starts_in("/run")));
    assert!(!closes_late(&starts_in("/dev/shm/app")));
}

#[test]
fn what_a_place_leads_through_is_the_last_mount_on_the_way_to_it() {
    let closes_late = |mounts: &[(&str, &str)]| {
        let mut config = template();
        for (kind, destination) in mounts {
            let (kind, options) = match *kind {
                "ro" => ("tmpfs", json!(["ro"])),
                "bind" => ("bind", json!(["bind"])),
                kind => (kind, json!([])),
            };
            let mount = json!({
                "type": kind, "destination": destination, "source": "/srv", "options": options
            });
            push(&mut config["mounts"], mount);
        }
        let printed = printed(config, &hybrid(), &ask(Begin::AtOnce));
        positions(&printed, &["make mount read-only /x"])[0].is_some()
    };
    // Places have to be made in it, also for filesystems that are reached without links.
    assert!(closes_late(&[("ro", "/x"), ("proc", "/x/proc")]));
    assert!(closes_late(&[("ro", "/x"), ("sysfs", "/x/sys")]));
    assert!(!closes_late(&[("ro", "/x"), ("proc", "/y/proc")]));
    // An empty filesystem that it covers has no place for anything.
    assert!(closes_late(&[("tmpfs", "/x/a"), ("ro", "/x"), ("bind", "/x/a/b")]));
    assert!(closes_late(&[("proc", "/x/a"), ("ro", "/x"), ("bind", "/x/a/b")]));
    // A tree of the host may have links, be it in an empty filesystem or upon one.
    assert!(!closes_late(&[("tmpfs", "/a"), ("ro", "/x"), ("tmpfs", "/a/b/c")]));
    assert!(closes_late(&[("tmpfs", "/a"), ("bind", "/a/b"), ("ro", "/x"), ("tmpfs", "/a/b/c")]));
    assert!(closes_late(&[("tmpfs", "/a"), ("bind", "/a"), ("ro", "/x"), ("tmpfs", "/a/b/c")]));
    assert!(!closes_late(&[("bind", "/a"), ("tmpfs", "/a"), ("ro", "/x"), ("tmpfs", "/a/b/c")]));
    // What comes later is not on the way yet.
    assert!(closes_late(&[("ro", "/x"), ("tmpfs", "/a/b"), ("proc", "/a")]));
}
