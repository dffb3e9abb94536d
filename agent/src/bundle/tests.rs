//! The whole configuration as golden text, and the choices that vary.

use loadline_model::{ContainerName, NetworkMode, TaskArn};

use super::storage::{Bind, Made};
use super::*;
use crate::image::ImageConfig;

fn container() -> ContainerSpec {
    ContainerSpec {
        cpu_units: 256,
        memory_mib: Some(64),
        memory_reservation_mib: Some(32),
        command: Some(vec!["serve".into()]),
        environment: vec![KeyValue { name: "MODE".into(), value: "test".into() }],
        readonly_root_filesystem: true,
        labels: vec![KeyValue { name: "run.oci.handler".into(), value: "evil".into() }],
        ..ContainerSpec::new(ContainerName::parse("web").unwrap(), "app")
    }
}

fn task(network_mode: NetworkMode) -> TaskSpec {
    TaskSpec {
        family: "fam".into(),
        revision: 7,
        network_mode,
        ..TaskSpec::new(
            TaskArn::parse("arn:aws:ecs:r:1:task/default/0123456789abcdef").unwrap(),
            vec![],
        )
    }
}

fn host(memory: MemoryAccounting) -> Host {
    Host {
        cgroup_parent: "loadline".into(),
        memory,
        hostname: "node-1".into(),
        pids_limit: Some(1000),
        capabilities: capabilities_in(u64::MAX),
        runtime: Features::NONE,
        init: Some("/usr/sbin/loadline-supervisor".into()),
    }
}

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/app".into()],
        cmd: vec!["help".into()],
        env: vec!["PATH=/usr/bin".into()],
        working_dir: "/srv".into(),
        ..ImageConfig::default()
    }
}

fn root() -> Identity {
    Identity { uid: 0, gid: 0, additional_gids: vec![0], home: "/root".into() }
}

fn json(
    container: &ContainerSpec,
    task: &TaskSpec,
    host: &Host,
    identity: &Identity,
) -> Result<serde_json::Value, SpecError> {
    with_binds(&[], container, task, host, identity)
}

fn with_binds(
    binds: &[Bind],
    container: &ContainerSpec,
    task: &TaskSpec,
    host: &Host,
    identity: &Identity,
) -> Result<serde_json::Value, SpecError> {
    let image = image();
    let input = spec::Input {
        image: &image,
        task,
        container,
        host,
        identity,
        network: &Surroundings::default(),
        cgroups_path: "/loadline/0123456789abcdef/web",
        dir: Path::new("/state/tasks/0123456789abcdef/web"),
        binds,
        devices: &[],
    };
    let text = spec::to_json(&spec::spec(&input)?).unwrap();
    Ok(serde_json::from_slice(&text).unwrap())
}

#[test]
fn the_configuration_is_this_text() {
    let host = host(MemoryAccounting::V1WithSwap);
    let json = json(&container(), &task(NetworkMode::None), &host, &root()).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
}

/// Labels that look like annotations, with which a runtime or the host would do something.
#[test]
fn cve_2026_53488_labels_are_data_and_no_annotations_of_a_runtime() {
    let mut container = container();
    for name in ["run.oci.handler", "org.systemd.property.ExecStopPost", "io.kubernetes.x"] {
        container.labels.push(KeyValue { name: name.into(), value: "evil".into() });
    }
    let host = host(MemoryAccounting::V2);
    let json = json(&container, &task(NetworkMode::None), &host, &root()).unwrap();
    let annotations = json["annotations"].as_object().unwrap();
    assert!(annotations.contains_key("loadline.label.run.oci.handler"));
    let foreign: Vec<_> = annotations.keys().filter(|key| !key.starts_with("loadline.")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

/// An image's volume or working directory that goes up, or through a link to the host.
#[test]
fn cve_2022_23648_an_images_volume_is_made_inside_of_its_root() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    std::fs::create_dir(&root).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, root.join("absolute")).unwrap();
    std::os::unix::fs::symlink("../outside", root.join("relative")).unwrap();
    let opened = std::fs::File::open(&root).unwrap();
    for path in ["/../../outside/a", "/absolute/b", "/relative/c", "/../outside/d/e"] {
        // Made inside, or refused.
        drop(make_dirs_inside(opened.as_fd(), path));
    }
    assert_eq!(outside.read_dir().unwrap().count(), 0);
}

#[test]
fn nothing_is_inheritable_and_another_user_has_nothing_at_all() {
    let user = Identity { uid: 33, gid: 34, additional_gids: vec![34, 50], home: "/".into() };
    let host = host(MemoryAccounting::V2);
    for identity in [root(), user] {
        let json = json(&container(), &task(NetworkMode::None), &host, &identity).unwrap();
        let sets = &json["process"]["capabilities"];
        assert_eq!(sets["inheritable"], serde_json::json!([]));
        assert_eq!(sets["ambient"], serde_json::json!([]));
        let own = sets["effective"].as_array().unwrap().len();
        assert_eq!(own, if identity.uid == 0 { 14 } else { 0 });
        assert_eq!(sets["effective"], sets["permitted"]);
    }
}

#[test]
fn a_container_on_the_hosts_network_has_its_name_and_no_network_namespace() {
    let host = host(MemoryAccounting::V2);
    let json = json(&container(), &task(NetworkMode::Host), &host, &root()).unwrap();
    assert_eq!(json["hostname"], "node-1");
    let kinds = json["linux"]["namespaces"].as_array().unwrap();
    assert!(kinds.iter().all(|namespace| namespace["type"] != "network"));
}

#[test]
fn the_profile_is_there_where_the_runtime_can_use_it() {
    let mut host = host(MemoryAccounting::V2);
    let seccomp = |host: &Host| {
        let json = json(&container(), &task(NetworkMode::None), host, &root()).unwrap();
        json["linux"].get("seccomp").cloned()
    };
    assert_eq!(seccomp(&host), None);
    host.runtime.seccomp = Seccomp::DefaultProfile;
    let profile = seccomp(&host).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let calls = profile["syscalls"].as_array().unwrap();
    let clone3 = calls.iter().find(|call| call["names"] == serde_json::json!(["clone3"])).unwrap();
    assert_eq!((&clone3["action"], &clone3["errnoRet"]), (&"SCMP_ACT_ERRNO".into(), &38.into()));
}

#[test]
fn a_read_only_volume_is_so_with_all_below_it_where_the_runtime_can() {
    let mut host = host(MemoryAccounting::V2);
    let bind = |destination: &str, read_only| Bind {
        source: "/data".into(),
        destination: destination.into(),
        read_only,
        made: Made::OfNode,
    };
    let binds = [bind("/closed", true), bind("/open", false)];
    for (read_only, access) in [(ReadOnly::Tree, "rro"), (ReadOnly::Top, "ro")] {
        host.runtime.read_only = read_only;
        let json =
            with_binds(&binds, &container(), &task(NetworkMode::None), &host, &root()).unwrap();
        let options = |place: &str| {
            let mounts = json["mounts"].as_array().unwrap();
            mounts.iter().find(|mount| mount["destination"] == place).unwrap()["options"].clone()
        };
        assert_eq!(options("/closed"), serde_json::json!(["rbind", "rprivate", access]));
        assert_eq!(options("/open"), serde_json::json!(["rbind", "rprivate", "rw"]));
    }
}

#[test]
fn limits_follow_the_ecs_rules() {
    let check = |change: fn(&mut ContainerSpec), memory, pointer: &str, expected| {
        let mut container = container();
        change(&mut container);
        let host = host(memory);
        let json = json(&container, &task(NetworkMode::None), &host, &root()).unwrap();
        let found = json.pointer(&format!("/linux/resources/{pointer}")).cloned();
        assert_eq!(found.unwrap_or_default(), expected, "{pointer}");
    };
    use MemoryAccounting::{V1WithSwap, V1WithoutSwap, V2};
    let json = |value: i64| serde_json::json!(value);
    let null = || serde_json::Value::Null;
    check(|c| c.cpu_units = 0, V2, "cpu/shares", json(2));
    check(|c| c.cpu_units = 1 << 40, V2, "cpu/shares", json(262_144));
    check(|_| {}, V2, "cpu/quota", null());
    check(|c| c.memory_mib = Some(1), V2, "memory/limit", json(4 << 20));
    check(|_| {}, V2, "memory/reservation", json(32 << 20));
    check(|_| {}, V1WithSwap, "memory/swap", json(64 << 20));
    check(|_| {}, V1WithoutSwap, "memory/swap", null());
    check(|_| {}, V1WithoutSwap, "memory/swappiness", json(0));
    check(|_| {}, V2, "memory/swappiness", null());
    check(|c| (c.memory_mib, c.memory_reservation_mib) = (None, None), V2, "memory", null());
    check(|_| {}, V2, "pids/limit", json(1000));
}

#[test]
fn what_can_not_be_is_refused() {
    let refused = |change: fn(&mut ContainerSpec)| {
        let mut container = container();
        change(&mut container);
        let host = host(MemoryAccounting::V2);
        json(&container, &task(NetworkMode::None), &host, &root()).unwrap_err()
    };
    let memory = refused(|c| c.memory_mib = Some(u64::MAX));
    assert_eq!(memory, SpecError::Memory { memory_mib: u64::MAX });
    for path in ["relative", "/a/../../b"] {
        let mut container = container();
        container.working_directory = Some(path.into());
        let host = host(MemoryAccounting::V2);
        let error = json(&container, &task(NetworkMode::None), &host, &root()).unwrap_err();
        assert_eq!(error, SpecError::WorkingDirectory { path: path.into() });
    }
    let command = refused(|c| (c.entry_point, c.command) = (Some(vec![]), Some(vec![])));
    assert_eq!(command, SpecError::Command(CommandError::Empty));
}

#[test]
fn a_bundle_is_prepared_and_removed_whole() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED a_bundle_is_prepared_and_removed_whole: needs root");
        return;
    }
    use crate::image::testing::{Archive, image_of};
    let dir = tempfile::tempdir().unwrap();
    let store = crate::image::ImageStore::open(&dir.path().join("images")).unwrap();
    let layer = Archive::new()
        .file("etc/passwd", "web:x:33:34::/var/www:/bin/sh\n")
        .symlink("data", "/var/data")
        .dir("var/data");
    let image = image_of(&store, dir.path(), &[layer]);
    let mut container = container();
    (container.user, container.working_directory) = (Some("web".into()), Some("/data/in".into()));
    let (task, host) = (task(NetworkMode::None), host(MemoryAccounting::V2));
    let place = dir.path().join("tasks/1/web");
    let network = Surroundings::default();
    let request = Request {
        dir: &place,
        image: &image,
        task: &task,
        container: &container,
        host: &host,
        network: &network,
        task_dir: &dir.path().join("tasks/1"),
        shared_volumes: &dir.path().join("volumes"),
    };
    let error = prepare(&Request { container: &container_of("nobody"), ..request }).unwrap_err();
    assert!(matches!(error, BundleError::User(UserError::Unknown { .. })));
    assert!(!place.exists(), "a failed bundle was left behind");
    let bundle = prepare(&request).unwrap();
    assert_eq!(bundle.cgroups_path, "/loadline/0123456789abcdef/web");
    let config = std::fs::read(place.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["process"]["user"]["uid"], 33);
    assert!(place.join("rootfs/var/data/in").is_dir(), "the working directory is missing");
    assert_eq!(std::fs::read(place.join("etc/hostname")).unwrap(), b"0123456789ab\n");
    remove(&place).unwrap();
    assert!(!place.exists() && rootfs::mounts_below(dir.path()).unwrap().is_empty());
}

fn container_of(user: &str) -> ContainerSpec {
    ContainerSpec { user: Some(user.into()), ..container() }
}
