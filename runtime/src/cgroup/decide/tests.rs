//! Goldens of the decision: config.json's resources in, the list of writes out.

use serde_json::json;

use super::*;

fn hybrid() -> Layout {
    let mut mounts = "1 0 0:1 / / rw - ext4 a rw\n".to_owned();
    for (n, name) in ["cpu", "cpuset", "memory", "devices", "blkio", "pids"].iter().enumerate() {
        let id = n + 2;
        mounts.push_str(&format!("{id} 1 0:{id} / /cg/{name} rw - cgroup cgroup rw,{name}\n"));
    }
    mounts.push_str("20 1 0:20 / /cg/unified rw - cgroup2 cgroup2 rw\n");
    Layout::parse(&mounts, "0::/\n").unwrap().with_v2_controllers("hugetlb")
}

fn v2() -> Layout {
    let mounts = "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /cg rw - cgroup2 cgroup2 rw\n";
    let controllers = "cpuset cpu io memory hugetlb pids rdma";
    Layout::parse(mounts, "0::/\n").unwrap().with_v2_controllers(controllers)
}

fn outcome(layout: &Layout, current: &Current, resources: &serde_json::Value) -> String {
    let resources: LinuxResources = serde_json::from_value(resources.clone()).unwrap();
    match decide(&resources, layout, current) {
        Ok(decision) => decision.to_string(),
        Err(refusals) => format!("refused: {refusals}\n"),
    }
}

/// Compares the decisions for a new group on a hybrid and on a v2 host.
#[track_caller]
fn check(resources: serde_json::Value, on_hybrid: &str, on_v2: &str) {
    let new = Current::default();
    assert_eq!(outcome(&hybrid(), &new, &resources), on_hybrid, "hybrid");
    assert_eq!(outcome(&v2(), &new, &resources), on_v2, "v2");
}

/// Compares the decision for a group that has limits already.
#[track_caller]
fn check_update(current: Current, resources: serde_json::Value, on_hybrid: &str, on_v2: &str) {
    assert_eq!(outcome(&hybrid(), &current, &resources), on_hybrid, "hybrid");
    assert_eq!(outcome(&v2(), &current, &resources), on_v2, "v2");
}

#[test]
fn cpu_time_is_weight_and_quota() {
    check(
        json!({"cpu": {"shares": 512, "quota": 25000, "period": 100_000, "burst": 1000}}),
        "cpu.shares=512\ncpu.cfs_period_us=100000\ncpu.cfs_quota_us=25000\n\
         cpu.cfs_burst_us=1000\n",
        "cpu.weight=20\ncpu.max=25000 100000\ncpu.max.burst=1000\n",
    );
    check(json!({"cpu": {"quota": -1}}), "cpu.cfs_quota_us=-1\n", "cpu.max=max 100000\n");
    check(json!({"cpu": {"idle": 1}}), "cpu.idle=1\n", "cpu.idle=1\n");
    check(json!({"cpu": {"shares": 0, "quota": 0, "period": 0, "idle": 0}}), "", "");
    for (shares, weight) in [(1, 1), (262_145, 10_000)] {
        check(
            json!({"cpu": {"shares": shares}}),
            &format!(
                "refused: cpu.shares = {shares}: must be from 2 to 262144 on cgroup v1, or 0 for \
                 unset\n"
            ),
            &format!("cpu.weight={weight}\n"),
        );
    }
    check(
        json!({"cpu": {"cpus": "0-1", "mems": "0"}}),
        "cpuset.cpus=0-1\ncpuset.mems=0\n",
        "cpuset.cpus=0-1\ncpuset.mems=0\n",
    );
}

#[test]
fn weights_follow_runc_and_keep_ratios() {
    let table = [(2, 1), (256, 10), (512, 20), (1024, 39), (2048, 79), (262_144, 10_000)];
    for (shares, weight) in table {
        assert_eq!(weight_of_shares(shares), weight, "{shares} shares");
    }
    assert_eq!(weight_of_shares(0), 0);
    assert_eq!(weight_of_shares(u64::MAX), 10_000);
}

#[test]
fn a_quota_update_never_passes_through_a_larger_ratio() {
    let current = Current { cpu_quota_us: Some(50_000), ..Current::default() };
    let with_period = |period| Current { cpu_period_us: Some(period), ..current };
    // Growing the period first would be 0.25 in between, the quota first 2.0.
    check_update(
        with_period(100_000),
        json!({"cpu": {"quota": 200_000, "period": 200_000}}),
        "cpu.cfs_period_us=200000\ncpu.cfs_quota_us=200000\n",
        "cpu.max=200000 200000\n",
    );
    check_update(
        with_period(100_000),
        json!({"cpu": {"quota": 10_000, "period": 20_000}}),
        "cpu.cfs_quota_us=10000\ncpu.cfs_period_us=20000\n",
        "cpu.max=10000 20000\n",
    );
    check_update(
        Current { cpu_burst_us: 9000, ..with_period(100_000) },
        json!({"cpu": {"quota": 5000, "burst": 1000}}),
        "cpu.cfs_burst_us=1000\ncpu.cfs_quota_us=5000\n",
        "cpu.max.burst=1000\ncpu.max=5000 100000\n",
    );
}

#[test]
fn swap_is_memory_plus_swap_on_v1_and_swap_alone_on_v2() {
    check(
        json!({"memory": {"limit": 4096, "swap": 4096, "reservation": 2048}}),
        "memory.limit_in_bytes=4096\nmemory.memsw.limit_in_bytes=4096\n\
         memory.soft_limit_in_bytes=2048\n",
        "memory.swap.max=0 (if there)\nmemory.max=4096\nmemory.low=2048\n",
    );
    check(
        json!({"memory": {"limit": 4096, "swap": 12288}}),
        "memory.limit_in_bytes=4096\nmemory.memsw.limit_in_bytes=12288\n",
        "memory.swap.max=8192\nmemory.max=4096\n",
    );
    check(
        json!({"memory": {"limit": 4096, "swap": -1}}),
        "memory.memsw.limit_in_bytes=-1\nmemory.limit_in_bytes=4096\n",
        "memory.swap.max=max (if there)\nmemory.max=4096\n",
    );
    check(
        json!({"memory": {"limit": -1}}),
        "memory.memsw.limit_in_bytes=-1 (if there)\nmemory.limit_in_bytes=-1\n",
        "memory.swap.max=max (if there)\nmemory.max=max\n",
    );
}

#[test]
fn memory_grows_swap_first_and_shrinks_memory_first() {
    let current = Current {
        memory_limit_bytes: Some(4096),
        memory_swap_limit_bytes: Some(4096),
        memory_usage_bytes: 3000,
        ..Current::default()
    };
    check_update(
        current,
        json!({"memory": {"limit": 8192, "swap": 8192}}),
        "memory.memsw.limit_in_bytes=8192\nmemory.limit_in_bytes=8192\n",
        "memory.swap.max=0 (if there)\nmemory.max=8192\n",
    );
    check_update(
        current,
        json!({"memory": {"limit": 2048, "swap": 2048}}),
        "memory.limit_in_bytes=2048\nmemory.memsw.limit_in_bytes=2048\n",
        "memory.swap.max=0 (if there)\nmemory.max=2048\n",
    );
    let refused = "refused: memory.limit = 2048: 3000 bytes are in use, and checkBeforeUpdate \
                   is set\n";
    check_update(
        current,
        json!({"memory": {"limit": 2048, "checkBeforeUpdate": true}}),
        refused,
        refused,
    );
}

#[test]
fn memory_extras_are_done_or_said() {
    check(
        json!({"memory": {"swappiness": 10, "disableOOMKiller": true}}),
        "memory.swappiness=10\nmemory.oom_control=1\n",
        "refused: memory.swappiness: cgroup v2 has no swappiness; leave it out; \
         memory.disableOOMKiller: cgroup v2 cannot disable the OOM killer; leave it out\n",
    );
    check(json!({"memory": {"disableOOMKiller": false}}), "", "");
    let note = "left out memory.kernel: kernels since 5.16 have no separate limit for kernel \
                memory; `limit` covers it\n";
    check(json!({"memory": {"kernel": 4096}}), note, note);
    let swap_only = outcome(&v2(), &Current::default(), &json!({"memory": {"swap": 4096}}));
    assert!(swap_only.starts_with("refused: memory.swap = 4096"), "{swap_only}");
}

#[test]
fn pids_follow_the_specification() {
    check(json!({"pids": {"limit": 5}}), "pids.max=5\n", "pids.max=5\n");
    check(json!({"pids": {"limit": -1}}), "pids.max=max\n", "pids.max=max\n");
    check(json!({"pids": {"limit": 0}}), "pids.max=1\n", "pids.max=1\n");
}

#[test]
fn block_io_has_weights_and_throttles() {
    check(
        json!({"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}}),
        "blkio.weight=500 or blkio.bfq.weight=500\n\
         blkio.weight_device=8:0 10 or blkio.bfq.weight_device=8:0 10\n\
         blkio.throttle.read_bps_device=8:0 600\n\
         blkio.throttle.write_iops_device=8:16 0\n",
        "io.bfq.weight=500 or io.weight=4950\n\
         io.bfq.weight=8:0 10 or io.weight=8:0 1\n\
         io.max=8:0 rbps=600\n\
         io.max=8:16 wiops=max\n",
    );
    let bad = "refused: blockIO.weight = 9: must be 10 to 1000\n";
    check(json!({"blockIO": {"weight": 9}}), bad, bad);
}

#[test]
fn huge_pages_are_limited_with_their_reservations() {
    let on_v2 = "hugetlb.2MB.max=4194304\nhugetlb.2MB.rsvd.max=4194304 (if there)\n";
    check(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}), on_v2, on_v2);
    for bad in ["", "2", "MB", "2mb", "../2MB", "0MB"] {
        let text = outcome(
            &v2(),
            &Current::default(),
            &json!({"hugepageLimits": [{"pageSize": bad, "limit": 1}]}),
        );
        assert!(text.starts_with("refused: hugepageLimits.pageSize"), "{bad}: {text}");
    }
}

#[test]
fn a_missing_controller_is_named_with_its_file() {
    let refused = "refused: network.classID: the net_cls controller, whose net_cls.classid it \
                   sets, is on no cgroup hierarchy here; enable it in the kernel or leave the \
                   property out\n";
    check(json!({"network": {"classID": 5}}), refused, refused);
    let rdma = json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}});
    let hybrid = outcome(&hybrid(), &Current::default(), &rdma);
    assert!(hybrid.contains("the rdma controller, whose rdma.max"), "{hybrid}");
    let v2 = outcome(&v2(), &Current::default(), &rdma);
    assert_eq!(v2, "rdma.max=mlx5_1 hca_handle=3 hca_object=10000\n");
}

#[test]
fn unified_files_come_last_and_are_checked() {
    check(
        json!({"unified": {"hugetlb.2MB.max": "0", "cgroup.max.depth": "3"}, "pids": {"limit": 2}}),
        "pids.max=2\ncgroup.max.depth=3\nhugetlb.2MB.max=0\n",
        "pids.max=2\ncgroup.max.depth=3\nhugetlb.2MB.max=0\n",
    );
    check(
        json!({"unified": {"memory.high": "10000"}}),
        "refused: unified[\"memory.high\"]: the memory controller is not on a cgroup v2 hierarchy \
         here\n",
        "memory.high=10000\n",
    );
    for bad in ["x", "../a.b", "memory/x.y"] {
        let text = outcome(&v2(), &Current::default(), &json!({"unified": {bad: "1"}}));
        assert!(text.starts_with("refused: unified["), "{text}");
    }
}

#[test]
fn device_rules_start_from_nothing_and_end_with_the_defaults() {
    let resources = json!({"devices": [{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]});
    check(
        resources,
        "devices.deny=a\ndevices.allow=c 10:229 rw\n\
         devices.allow=c *:* m\ndevices.allow=b *:* m\n\
         devices.allow=c 1:3 rwm\ndevices.allow=c 1:5 rwm\ndevices.allow=c 1:7 rwm\n\
         devices.allow=c 1:8 rwm\ndevices.allow=c 1:9 rwm\ndevices.allow=c 5:0 rwm\n\
         devices.allow=c 5:1 rwm\ndevices.allow=c 5:2 rwm\ndevices.allow=c 136:* rwm\n",
        "device program: deny a *:* rwm, allow c 10:229 rw, \
         allow c *:* m, allow b *:* m, \
         allow c 1:3 rwm, allow c 1:5 rwm, allow c 1:7 rwm, \
         allow c 1:8 rwm, allow c 1:9 rwm, allow c 5:0 rwm, \
         allow c 5:1 rwm, allow c 5:2 rwm, allow c 136:* rwm\n",
    );
    check(
        json!({"devices": [{"allow": true, "access": "rwm"}]}),
        "devices.allow=a\n",
        "device program: allow a *:* rwm\n",
    );
}

#[test]
fn a_new_group_without_rules_allows_the_defaults_only() {
    let text = decide_new(None, &v2()).unwrap().to_string();
    assert!(text.starts_with("device program: allow c *:* m, "), "{text}");
    let text = decide_new(None, &hybrid()).unwrap().to_string();
    assert!(text.starts_with("devices.deny=a\ndevices.allow=c *:* m\n"), "{text}");
    let rootless = Layout { controls_devices: false, ..v2() };
    let text = decide_new(None, &rootless).unwrap().to_string();
    assert!(text.starts_with("left out devices: only root"), "{text}");
}

#[test]
fn what_v1_cannot_carve_out_is_refused_there_only() {
    let rules = json!({"devices": [{"allow": true, "type": "c", "major": 4, "access": "rw"},
        {"allow": false, "type": "c", "major": 4, "minor": 1, "access": "w"}]});
    let text = outcome(&hybrid(), &Current::default(), &rules);
    let refused = "refused: devices rule `c 4:1 w`: it takes back a part of `c 4:* rw`, which \
                   cgroup v1 cannot express\n";
    assert_eq!(text, refused);
    let text = outcome(&v2(), &Current::default(), &rules);
    assert!(text.starts_with("device program: allow c 4:* rw, deny c 4:1 w"), "{text}");
}

#[test]
fn bad_device_rules_are_refused() {
    for (bad, why) in [
        (json!({"allow": true, "type": "p"}), "FIFO"),
        (json!({"allow": true, "access": "x"}), "\"x\" has none of"),
        (json!({"allow": true, "type": "c", "major": -2}), "out of range"),
    ] {
        let text = outcome(&v2(), &Current::default(), &json!({"devices": [bad]}));
        assert!(text.starts_with("refused: devices: ") && text.contains(why), "{text}");
    }
}

#[test]
fn letters_that_stand_for_nothing_are_left_out_and_noted() {
    let rule = json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwa"});
    let text = outcome(&v2(), &Current::default(), &json!({"devices": [rule]}));
    assert!(text.contains("deny c 1:11 rw") && text.contains("devices[].access"), "{text}");
}

#[test]
fn all_refusals_come_at_once() {
    let resources = json!({"cpu": {"idle": 2, "cpus": "x", "mems": "3-1"},
        "memory": {"swappiness": 101}});
    let text = outcome(&hybrid(), &Current::default(), &resources);
    for field in ["cpu.idle = 2", "cpu.cpus = \"x\"", "cpu.mems", "memory.swappiness = 101"] {
        assert!(text.contains(field), "{text}");
    }
}
