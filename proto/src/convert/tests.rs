//! Round trips over the whole model, and each refusal with the path that it names.

use loadline_model::network::{
    Addresses, ContainerNetwork, HostEntry, Link, NetworkBinding, PortMapping, Protocol,
};
use loadline_model::{
    Assignment, Condition, ContainerName, ContainerReport, ContainerSpec, ContainerStatus,
    Dependency, DesiredStatus, Device, HealthCheck, HealthStatus, IpcMode, KeyValue,
    LinuxParameters, LogConfiguration, MountPoint, NetworkMode, PidMode, RestartPolicy, StopCode,
    TaskArn, TaskReport, TaskSpec, TaskStatus, Tmpfs, Ulimit, Volume, VolumeFrom, VolumeSource,
};
use prop::option::of as maybe;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::v1;

const ARN: &str = "arn:aws:ecs:us-east-1:000000000000:task/default/0af1";

fn pairs() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = (".{0,8}", ".{0,8}").prop_map(|(name, value)| KeyValue { name, value });
    prop::collection::vec(pair, 0..4)
}

fn words() -> impl Strategy<Value = Option<Vec<String>>> {
    maybe(prop::collection::vec(".*", 0..3))
}

fn name() -> ContainerName {
    ContainerName::parse("c").unwrap()
}

prop_compose! {
    fn linux()(
        capabilities in (words(), words()),
        device in maybe((".*", maybe(".*"), any::<(bool, bool, bool)>())),
        init_process in any::<bool>(),
        amounts in (maybe(any::<u64>()), maybe(any::<u64>()), maybe(any::<u64>())),
        tmpfs in maybe((".*", any::<u64>(), words())),
    ) -> LinuxParameters {
        let device = device.map(|(host_path, container_path, (read, write, mknod))| Device {
            host_path, container_path, read, write, mknod,
        });
        let tmpfs = tmpfs.map(|(container_path, size_mib, options)| Tmpfs {
            container_path, size_mib, mount_options: options.unwrap_or_default(),
        });
        LinuxParameters {
            capabilities_add: capabilities.0.unwrap_or_default(),
            capabilities_drop: capabilities.1.unwrap_or_default(),
            devices: device.into_iter().collect(),
            init_process,
            shared_memory_mib: amounts.0,
            tmpfs: tmpfs.into_iter().collect(),
            max_swap_mib: amounts.1,
            swappiness: amounts.2,
        }
    }
}

prop_compose! {
    fn lifecycle()(
        condition in maybe(prop::sample::select(Condition::ALL.to_vec())),
        start_timeout_s in maybe(any::<u32>()),
        check in maybe((5..=300_u32, 2..=60_u32, 1..=10_u32, 0..=300_u32)),
        restart in maybe((prop::collection::vec(any::<i32>(), 0..=50), 60..=1800_u32)),
    ) -> ContainerSpec {
        let depends = |condition| Dependency { container: name(), condition };
        ContainerSpec {
            depends_on: condition.map(depends).into_iter().collect(),
            start_timeout_s,
            health_check: check.map(|(interval_s, timeout_s, retries, start_period_s)| {
                let command = vec!["CMD-SHELL".into(), "true".into()];
                HealthCheck { command, interval_s, timeout_s, retries, start_period_s }
            }),
            restart_policy: restart.map(|(ignored_exit_codes, attempt_period_s)| {
                RestartPolicy { enabled: true, ignored_exit_codes, attempt_period_s }
            }),
            ..ContainerSpec::new(name(), "x")
        }
    }
}

prop_compose! {
    fn volumes()(
        name in ".*",
        path in ".*",
        shared in any::<bool>(),
        kind in 0..3_u32,
    ) -> Volume {
        let source = match kind {
            0 => VolumeSource::HostPath(path),
            1 => VolumeSource::Task,
            _ => VolumeSource::Shared { autoprovision: shared },
        };
        Volume { name, source }
    }
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![Protocol::Tcp, Protocol::Udp])
}

fn port() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

prop_compose! {
    fn network()(
        ports in prop::collection::vec((port(), maybe(port()), protocol()), 0..3),
        hostname in maybe("[a-z]{1,9}"),
        extra_hosts in prop::collection::vec(("[a-z]{1,9}", any::<std::net::IpAddr>()), 0..3),
        dns_servers in prop::collection::vec(any::<std::net::IpAddr>(), 0..3),
        dns_search_domains in prop::collection::vec("[a-z.]{1,9}", 0..3),
        links in prop::collection::vec(("[a-z]{1,9}", "[a-z]{1,9}"), 0..3),
        disabled in any::<bool>(),
    ) -> ContainerNetwork {
        let mapping = |(container_port, host_port, protocol)| {
            PortMapping { container_port, host_port, protocol }
        };
        let entry = |(hostname, address)| HostEntry { hostname, address };
        let link = |(container, alias)| Link { container, alias };
        ContainerNetwork {
            disabled,
            ports: ports.into_iter().map(mapping).collect(),
            hostname,
            extra_hosts: extra_hosts.into_iter().map(entry).collect(),
            dns_servers,
            dns_search_domains,
            links: links.into_iter().map(link).collect(),
        }
    }
}

prop_compose! {
    fn container_spec()(
        network in network(),
        lifecycle in lifecycle(),
        linux in linux(),
        more in any::<(bool, bool, bool, bool, bool)>(),
        mount in maybe((".*", ".*", any::<bool>())),
        limit in maybe((".*", maybe(any::<u64>()), maybe(any::<u64>()))),
        system_controls in pairs(),
        image in ".{0,20}",
        cpu_units in any::<u64>(),
        memory in (maybe(any::<u64>()), maybe(any::<u64>())),
        flags in any::<(bool, bool)>(),
        argv in (words(), words()),
        environment in pairs(),
        texts in (maybe(".*"), maybe(".*")),
        stop_timeout_s in maybe(any::<u32>()),
        labels in pairs(),
    ) -> ContainerSpec {
        ContainerSpec {
            name: ContainerName::parse("c").unwrap(),
            image,
            cpu_units,
            memory_mib: memory.0,
            memory_reservation_mib: memory.1,
            essential: flags.0,
            entry_point: argv.0,
            command: argv.1,
            environment,
            working_directory: texts.0,
            user: texts.1,
            readonly_root_filesystem: flags.1,
            stop_timeout_s,
            labels,
            mount_points: mount
                .into_iter()
                .map(|(source_volume, container_path, read_only)| MountPoint {
                    source_volume, container_path, read_only,
                })
                .collect(),
            volumes_from: vec![VolumeFrom { source_container: name(), read_only: more.0 }],
            privileged: more.1,
            ulimits: limit
                .into_iter()
                .map(|(name, soft, hard)| Ulimit { name, soft, hard })
                .collect(),
            linux,
            system_controls,
            no_new_privileges: more.2,
            log: more.3.then(|| LogConfiguration {
                driver: "syslog".into(),
                options: [("tag".to_owned(), "web".to_owned())].into(),
            }),
            interactive: more.3,
            pseudo_terminal: more.4,
            network,
            ..lifecycle
        }
    }
}

prop_compose! {
    fn assignment()(
        mut containers in prop::collection::vec(container_spec(), 1..=CONTAINERS_MAX),
        family in "[a-z]{1,9}",
        revision in any::<u32>(),
        cpu_units in maybe(any::<u64>()),
        memory_mib in maybe(any::<u64>()),
        network_mode in prop::sample::select(vec![
            NetworkMode::None, NetworkMode::Host, NetworkMode::Bridge, NetworkMode::Awsvpc,
        ]),
        task_role_arn in maybe(".*"),
        awaits_secrets in any::<bool>(),
        stop in any::<bool>(),
        stop_reason in maybe(".*"),
        volume in maybe(volumes()),
        modes in (0..3_u32, 0..4_u32),
    ) -> Assignment {
        for (i, container) in containers.iter_mut().enumerate() {
            container.name = ContainerName::parse(&format!("c{i}")).unwrap();
        }
        containers[0].essential = true;
        let desired = if stop { DesiredStatus::Stopped } else { DesiredStatus::Running };
        let arn = TaskArn::parse(ARN).unwrap();
        let task = TaskSpec {
            family,
            revision,
            cpu_units,
            memory_mib,
            network_mode,
            task_role_arn,
            awaits_secrets,
            volumes: volume.into_iter().collect(),
            pid_mode: [PidMode::Container, PidMode::Task, PidMode::Host][modes.0 as usize],
            ipc_mode: [IpcMode::Container, IpcMode::Task, IpcMode::Host, IpcMode::None]
                [modes.1 as usize],
            ..TaskSpec::new(arn, containers)
        };
        Assignment { task, desired, stop_reason }
    }
}

prop_compose! {
    fn container_report()(
        ids in (maybe(".*"), maybe(".*")),
        status in prop::sample::select(vec![
            ContainerStatus::Pending, ContainerStatus::Running, ContainerStatus::Stopped,
        ]),
        exit_code in maybe(0..=255),
        reason in maybe(".{0,1024}"),
        times in (maybe(any::<u64>()), maybe(any::<u64>())),
        health in prop::sample::select(HealthStatus::ALL.to_vec()),
        restarts in any::<u32>(),
        bindings in prop::collection::vec((port(), port(), protocol()), 0..3),
        addresses in maybe(any::<(std::net::Ipv4Addr, Option<std::net::Ipv6Addr>)>()),
    ) -> ContainerReport {
        ContainerReport {
            name: ContainerName::parse("c").unwrap(),
            runtime_id: ids.0,
            image_digest: ids.1,
            status,
            exit_code,
            reason,
            started_at_ms: times.0,
            finished_at_ms: times.1,
            health,
            restarts,
            network_bindings: bindings
                .into_iter()
                .map(|(container_port, host_port, protocol)| NetworkBinding {
                    container_port,
                    host_port,
                    protocol,
                })
                .collect(),
            addresses: addresses.map(|(ipv4, ipv6)| Addresses { ipv4, ipv6 }),
        }
    }
}

prop_compose! {
    fn report()(
        version in any::<u64>(),
        status in prop::sample::select(TaskStatus::ALL.to_vec()),
        mut containers in prop::collection::vec(container_report(), 0..=CONTAINERS_MAX),
        stop_code in maybe(prop::sample::select(StopCode::ALL.to_vec())),
        stopped_reason in maybe(".{0,1024}"),
        times in (maybe(any::<u64>()), maybe(any::<u64>()), maybe(any::<u64>())),
        pull in (maybe(any::<u64>()), maybe(any::<u64>())),
    ) -> TaskReport {
        for (i, container) in containers.iter_mut().enumerate() {
            container.name = ContainerName::parse(&format!("c{i}")).unwrap();
        }
        TaskReport {
            task: TaskArn::parse(ARN).unwrap(),
            version,
            status,
            containers,
            stop_code,
            stopped_reason,
            pull_started_at_ms: pull.0,
            pull_stopped_at_ms: pull.1,
            started_at_ms: times.0,
            stopping_at_ms: times.1,
            stopped_at_ms: times.2,
        }
    }
}

proptest! {
    #[test]
    fn an_assignment_survives_the_wire(assignment in assignment()) {
        let bytes = v1::Assignment::from(assignment.clone()).encode_to_vec();
        let back = Assignment::try_from(v1::Assignment::decode(bytes.as_slice()).unwrap());
        prop_assert_eq!(back, Ok(assignment));
    }

    #[test]
    fn a_report_survives_the_wire(report in report()) {
        let bytes = v1::TaskReport::from(report.clone()).encode_to_vec();
        let back = TaskReport::try_from(v1::TaskReport::decode(bytes.as_slice()).unwrap());
        prop_assert_eq!(back, Ok(report));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(wire) = v1::Assignment::decode(bytes.as_slice()) {
            let _ = Assignment::try_from(wire);
        }
        if let Ok(wire) = v1::Reports::decode(bytes.as_slice()) {
            let _ = reports_from_wire(wire);
        }
    }
}

fn wire_assignment() -> v1::Assignment {
    let container = v1::ContainerSpec {
        name: "main".into(),
        image: "probe:1".into(),
        essential: true,
        ..Default::default()
    };
    let task = v1::TaskSpec {
        arn: ARN.into(),
        family: "f".into(),
        revision: 1,
        network_mode: v1::NetworkMode::None.into(),
        containers: vec![container],
        ..Default::default()
    };
    v1::Assignment {
        task: Some(task),
        desired_status: v1::DesiredStatus::Running.into(),
        stop_reason: None,
    }
}

/// Breaks a good assignment and checks what the refusal says.
fn check_assignment(break_it: fn(&mut v1::Assignment, &mut v1::TaskSpec), expected: &str) {
    let mut wire = wire_assignment();
    let mut task = wire.task.take().unwrap();
    break_it(&mut wire, &mut task);
    wire.task = Some(task);
    assert_eq!(Assignment::try_from(wire).unwrap_err().to_string(), expected);
}

#[test]
fn a_refused_assignment_names_the_field() {
    assert!(Assignment::try_from(wire_assignment()).is_ok());
    check_assignment(|a, _| a.desired_status = 9, "field desired_status: unknown value 9");
    check_assignment(|_, t| t.network_mode = 0, "field task.network_mode: unknown value 0");
    check_assignment(
        |_, t| t.arn = "../x".into(),
        "field task.arn: not a valid task ARN: \"../x\" (not arn:PARTITION:ecs:REGION:ACCOUNT:…)",
    );
    check_assignment(
        |_, t| t.containers[0].name = "a/b".into(),
        "field task.containers[0].name: not a valid container name: \"a/b\" \
         (only letters, digits, hyphens and underscores, at least one)",
    );
    check_assignment(
        |_, t| t.containers = vec![t.containers[0].clone(); 2],
        "field task.containers: \"main\" occurs twice",
    );
    check_assignment(
        |_, t| t.containers = vec![t.containers[0].clone(); 11],
        "field task.containers: 11 is above the bound of 10",
    );
    check_assignment(
        |_, t| {
            let mapping = v1::PortMapping { container_port: 80, ..Default::default() };
            let network = v1::ContainerNetwork { ports: vec![mapping], ..Default::default() };
            t.containers[0].network = Some(network);
        },
        "field task.containers[0].network.ports[0].protocol: unknown value 0",
    );
    check_assignment(
        |_, t| {
            let hostname = Some("a b".to_owned());
            let network = v1::ContainerNetwork { hostname, ..Default::default() };
            t.containers[0].network = Some(network);
        },
        "field task.containers[0].network.hostname: only letters, digits and _ . -, at least one",
    );
    check_assignment(
        |_, t| t.containers.clear(),
        "field task.containers: at least one container has to be essential",
    );
    check_assignment(
        |_, t| t.volumes = vec![v1::Volume { name: "v".into(), source: None }],
        "field task.volumes[0].source: missing",
    );
    check_assignment(|_, t| t.pid_mode = Some(0), "field task.pid_mode: unknown value 0");
    check_assignment(
        |_, t| t.containers[0].health_check = Some(v1::HealthCheck::default()),
        "field task.containers[0].health_check.command: begins with CMD or CMD-SHELL, and what to \
         run follows",
    );
    check_assignment(
        |_, t| {
            let policy = v1::RestartPolicy { attempt_period_s: 59, ..Default::default() };
            t.containers[0].restart_policy = Some(policy);
        },
        "field task.containers[0].restart_policy.attempt_period_s: 59 is not within 60 to 1800",
    );
    let missing = v1::Assignment { task: None, ..wire_assignment() };
    assert_eq!(Assignment::try_from(missing).unwrap_err().to_string(), "field task: missing");
}

fn wire_report() -> v1::TaskReport {
    let container = v1::ContainerReport {
        name: "main".into(),
        status: v1::ContainerStatus::Stopped.into(),
        exit_code: Some(137),
        ..Default::default()
    };
    v1::TaskReport {
        task_arn: ARN.into(),
        version: 1,
        status: v1::TaskStatus::Stopped.into(),
        containers: vec![container],
        stop_code: Some(v1::StopCode::EssentialContainerExited.into()),
        ..Default::default()
    }
}

fn check_report(break_it: fn(&mut v1::TaskReport), expected: &str) {
    let mut wire = wire_report();
    break_it(&mut wire);
    let refused = reports_from_wire(v1::Reports { reports: vec![wire_report(), wire] });
    assert_eq!(refused.unwrap_err().to_string(), expected);
}

#[test]
fn a_refused_report_names_the_field() {
    assert!(reports_from_wire(v1::Reports { reports: vec![wire_report(); 64] }).is_ok());
    let refused = reports_from_wire(v1::Reports { reports: vec![wire_report(); 65] });
    assert_eq!(refused.unwrap_err().to_string(), "field reports: 65 is above the bound of 64");
    check_report(|r| r.status = 0, "field reports[1].status: unknown value 0");
    check_report(|r| r.stop_code = Some(99), "field reports[1].stop_code: unknown value 99");
    check_report(
        |r| r.stopped_reason = Some("x".repeat(1025)),
        "field reports[1].stopped_reason: 1025 is above the bound of 1024",
    );
    check_report(
        |r| r.containers[0].exit_code = Some(256),
        "field reports[1].containers[0].exit_code: 256 is not within 0 to 255",
    );
    check_report(
        |r| r.containers[0].status = -1,
        "field reports[1].containers[0].status: unknown value -1",
    );
    check_report(
        |r| r.containers[0].health = Some(7),
        "field reports[1].containers[0].health: unknown value 7",
    );
}

#[test]
fn credentials_survive_the_wire_and_are_in_no_log_line() {
    let wire = v1::TaskCredentials {
        task_arn: ARN.into(),
        role_arn: "arn:aws:iam::000000000000:role/r".into(),
        access_key_id: "AKID".into(),
        secret_access_key: "hidden1".into(),
        session_token: "hidden2".into(),
        expires_at_ms: 7,
    };
    let own = TaskCredentials::try_from(wire.clone()).unwrap();
    assert!(!format!("{own:?}").contains("hidden"), "{own:?}");
    assert_eq!(v1::TaskCredentials::from(own), wire);
    let empty = v1::TaskCredentials { secret_access_key: String::new(), ..wire };
    assert!(TaskCredentials::try_from(empty).is_err());
}

#[test]
fn attributes_are_bounded_and_named_once() {
    let wire = |name: &str| v1::Attribute { name: name.into(), value: Some("v".into()) };
    let check = |list: Vec<v1::Attribute>, expected: &str| {
        assert_eq!(Attribute::list_from_wire(list).unwrap_err().to_string(), expected);
    };
    let many = |n: usize| (0..n).map(|i| wire(&format!("a{i}"))).collect::<Vec<_>>();
    assert_eq!(Attribute::list_from_wire(many(100)).unwrap().len(), 100);
    check(many(101), "field attributes: 101 is above the bound of 100");
    check(vec![wire("a"), wire("a")], "field attributes: \"a\" occurs twice");
    check(
        vec![wire("a"), wire("")],
        "field attributes[1].name: only letters, digits and _ . / -, at least one",
    );
    check(vec![wire(&"a".repeat(129))], "field attributes[0].name: 129 is above the bound of 128");
}
