//! Layouts of real hosts, from the texts that their kernels show.

use super::*;

/// Debian 9 with systemd: v1 only, co-mounted controllers.
const V1_MOUNTS: &str = "\
17 22 0:17 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
22 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
24 17 0:20 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
25 24 0:21 / /sys/fs/cgroup/systemd rw,nosuid shared:10 - cgroup cgroup rw,xattr,name=systemd
27 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:13 - cgroup cgroup rw,cpu,cpuacct
28 24 0:24 / /sys/fs/cgroup/net_cls,net_prio rw shared:14 - cgroup cgroup rw,net_cls,net_prio
29 24 0:25 / /sys/fs/cgroup/memory rw,nosuid shared:15 - cgroup cgroup rw,memory
";
const V1_GROUPS: &str = "\
4:memory:/user.slice
3:net_cls,net_prio:/
2:cpu,cpuacct:/user.slice
1:name=systemd:/user.slice/user-0.slice/session-1.scope
";

/// Linux 6.18 with each controller on its own, and a v2 tree beside them.
const HYBRID_MOUNTS: &str = "\
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const HYBRID_GROUPS: &str = "9:name=systemd:/\n4:memory:/a b/c\n3:cpuset:/\n1:cpu:/\n0::/\n";

/// Debian 12 with systemd: v2 only.
const V2_MOUNTS: &str = "\
22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
29 22 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
const V2_GROUPS: &str = "0::/user.slice/user-1000.slice/session-3.scope\n";

fn layout(mounts: &str, groups: &str) -> Layout {
    Layout::parse(mounts, groups).unwrap()
}

fn ids(layout: &Layout) -> Vec<String> {
    layout.hierarchies.iter().map(|h| format!("{}@{}", h.id, h.mount_point.display())).collect()
}

#[test]
fn a_v1_host_has_co_mounted_controllers() {
    let layout = layout(V1_MOUNTS, V1_GROUPS);
    assert_eq!(layout.mode(), Mode::V1);
    assert_eq!(
        ids(&layout),
        [
            "name=systemd@/sys/fs/cgroup/systemd",
            "cpu,cpuacct@/sys/fs/cgroup/cpu,cpuacct",
            "net_cls,net_prio@/sys/fs/cgroup/net_cls,net_prio",
            "memory@/sys/fs/cgroup/memory",
        ]
    );
    assert_eq!(layout.version_of(Controller::Cpuacct), Some(Version::V1));
    assert_eq!(layout.version_of(Controller::Pids), None);
    assert_eq!(layout.hierarchies[1].own, Path::new("/user.slice"));
    assert_eq!(layout.hierarchies[0].own, Path::new("/user.slice/user-0.slice/session-1.scope"));
}

#[test]
fn a_hybrid_host_keeps_each_controller_where_it_is() {
    let layout = layout(HYBRID_MOUNTS, HYBRID_GROUPS).with_v2_controllers("hugetlb dmem\n");
    assert_eq!(layout.mode(), Mode::Hybrid);
    assert_eq!(layout.version_of(Controller::Memory), Some(Version::V1));
    assert_eq!(layout.version_of(Controller::Hugetlb), Some(Version::V2));
    assert_eq!(layout.version_of(Controller::Io), None);
    assert_eq!(layout.hierarchies.last().unwrap().id, HierarchyId::V2);
    assert_eq!(layout.hierarchies[2].own, Path::new("/a b/c"));
}

#[test]
fn a_v2_host_has_one_hierarchy() {
    let layout = layout(V2_MOUNTS, V2_GROUPS).with_v2_controllers("cpuset cpu io memory pids");
    assert_eq!(layout.mode(), Mode::V2);
    assert_eq!(ids(&layout), ["@/sys/fs/cgroup"]);
    assert_eq!(layout.version_of(Controller::Io), Some(Version::V2));
    assert_eq!(layout.version_of(Controller::Devices), None);
}

#[test]
fn mounts_hidden_below_another_do_not_count() {
    let over = "90 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n";
    let layout = layout(&format!("{HYBRID_MOUNTS}{over}"), HYBRID_GROUPS);
    assert_eq!(ids(&layout), ["@/sys/fs/cgroup"]);
    assert_eq!(layout.mode(), Mode::V2);
}

#[test]
fn a_chroot_whose_root_is_no_mount_still_sees_its_mounts() {
    let mounts = "29 7 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    assert_eq!(ids(&layout(mounts, "0::/\n")), ["@/sys/fs/cgroup"]);
}

#[test]
fn the_first_of_two_mounts_of_a_hierarchy_counts() {
    let again = "91 27 0:32 / /srv/memory rw,relatime - cgroup cgroup rw,memory\n";
    let layout = layout(&format!("{HYBRID_MOUNTS}{again}"), HYBRID_GROUPS);
    let memory: Vec<_> = ids(&layout).into_iter().filter(|id| id.starts_with("memory")).collect();
    assert_eq!(memory, ["memory@/sys/fs/cgroup/memory"]);
}

#[test]
fn escaped_mount_points_are_read() {
    let mounts = "27 1 0:1 / / rw - ext4 a rw\n29 27 0:25 / /a\\040b rw - cgroup2 none rw\n";
    assert_eq!(ids(&layout(mounts, "0::/\n")), ["@/a b"]);
    assert_eq!(unescape("a\\134b\\0"), "a\\b\\0");
}

#[test]
fn texts_that_are_none_are_refused_and_no_mount_is_said() {
    assert!(matches!(Layout::parse("junk\n", ""), Err(Error::Malformed { .. })));
    assert!(matches!(Layout::parse(V2_MOUNTS, "junk\n"), Err(Error::Malformed { .. })));
    let none = "27 1 0:1 / / rw - ext4 a rw\n";
    assert!(matches!(Layout::parse(none, ""), Err(Error::NoMount)));
}

#[test]
fn a_parent_cycle_ends() {
    let cycle = "1 2 0:1 / / rw - ext4 a rw\n2 1 0:1 / / rw - cgroup2 a rw\n";
    // Which answer does not matter; that there is one does.
    let _ = Layout::parse(cycle, "0::/\n");
}

#[test]
fn a_hierarchy_name_survives_the_record() {
    for text in ["", "memory", "cpu,cpuacct", "name=systemd"] {
        let id = HierarchyId::try_from(text.to_owned()).unwrap();
        assert_eq!(id.to_string(), text);
    }
    assert!(HierarchyId::try_from("nonsense".to_owned()).is_err());
}

#[test]
fn this_host_has_a_layout() {
    let layout = Layout::probe().unwrap();
    assert!(!layout.hierarchies.is_empty());
}

#[test]
fn an_id_is_another_outside_of_a_user_namespace() {
    let map = "         0       1000          1\n         1     100000      65536\n";
    assert_eq!(outside(map, 0), Some(1000));
    assert_eq!(outside(map, 7), Some(100_006));
    assert_eq!(outside(map, 70_000), None);
    assert_eq!(outside("", 0), None);
}
