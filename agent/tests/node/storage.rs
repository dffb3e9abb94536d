//! Volumes, and what a definition says in the kernel's terms, seen from inside real containers.

use loadline_model::{
    ContainerName, ContainerSpec, Dependency, Device, IpcMode, KeyValue, MountPoint, PidMode,
    TaskReport, TaskSpec, TaskStatus, Tmpfs, Ulimit, Volume, VolumeFrom, VolumeSource,
};

use super::world::{World, can_run, container};

fn is_stopped(report: &TaskReport) -> bool {
    report.status == TaskStatus::Stopped
}

fn mount(volume: &str, path: &str, read_only: bool) -> MountPoint {
    let (source_volume, container_path) = (volume.to_owned(), path.to_owned());
    MountPoint { source_volume, container_path, read_only }
}

fn volume(name: &str, source: VolumeSource) -> Volume {
    Volume { name: name.to_owned(), source }
}

/// Runs a task to its end; its report, and what its containers said.
async fn run(world: &World, spec: TaskSpec) -> (TaskReport, Vec<String>) {
    let arn = spec.arn.as_str().to_owned();
    let names: Vec<String> = spec.containers.iter().map(|c| c.name.to_string()).collect();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, is_stopped).await;
    let mut said = Vec::new();
    for (name, container) in names.iter().zip(&report.containers) {
        let mut text = String::new();
        if container.started_at_ms.is_some() {
            for event in world.fake.logs(&arn, name).await {
                text.push_str(&String::from_utf8_lossy(&event.message));
                text.push('\n');
            }
        }
        said.push(text);
    }
    world.fake.let_go(&arn);
    (report, said)
}

fn after(mut container: ContainerSpec, on: &str) -> ContainerSpec {
    let on = ContainerName::parse(on).unwrap();
    let condition = loadline_model::Condition::Success;
    container.depends_on.push(Dependency { container: on, condition });
    container
}

/// A container that is not essential, for others to wait for.
fn first(name: &str, command: &[&str]) -> ContainerSpec {
    ContainerSpec { essential: false, ..container(name, command) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_carry_data_between_containers_and_live_as_long_as_their_scope() {
    const TEST: &str = "volumes_carry_data_between_containers_and_live_as_long_as_their_scope";
    if !can_run(TEST) {
        return;
    }
    let world = World::start("volumes").await;
    let host = world.dir.with_extension("host");
    for (name, source, kept) in [
        ("own", VolumeSource::Task, None),
        ("shared", VolumeSource::Shared { autoprovision: true }, Some("volumes/v-shared/x")),
        ("host", VolumeSource::HostPath(host.to_str().unwrap().to_owned()), Some("host")),
    ] {
        let mut spec = world.task(name, &["true"]);
        spec.volumes = vec![volume(name, source)];
        let mut writer = first("writer", &["write", "/data/x", "hello"]);
        writer.mount_points = vec![mount(name, "/data", false)];
        let mut reader = after(container("reader", &["cat", "/in/x"]), "writer");
        reader.mount_points = vec![mount(name, "/in", true)];
        let mut denied = after(first("denied", &["write", "/in/y", "no"]), "writer");
        denied.mount_points = vec![mount(name, "/in", true)];
        let mut heir = first("heir", &["cat", "/data/x"]);
        let source_container = ContainerName::parse("writer").unwrap();
        heir.volumes_from = vec![VolumeFrom { source_container, read_only: true }];
        let heir = after(heir, "writer");
        spec.containers = vec![writer, denied, heir, reader];
        // The reader is essential and ends last.
        let reader = spec.containers.remove(3);
        spec.containers.push(after(reader, "heir"));
        let on = ContainerName::parse("denied").unwrap();
        let condition = loadline_model::Condition::Complete;
        spec.containers[3].depends_on.push(Dependency { container: on, condition });
        let (report, said) = run(&world, spec).await;
        let codes: Vec<_> = report.containers.iter().map(|c| c.exit_code).collect();
        assert_eq!((codes[0], codes[2], codes[3]), (Some(0), Some(0), Some(0)), "{report:#?}");
        assert_ne!(codes[1], Some(0), "{name}: what is read-only was written to");
        assert!(said[2].contains("hello") && said[3].contains("hello"), "{name}: {said:?}");
        match kept {
            None => {}
            Some("host") => assert_eq!(std::fs::read(host.join("x")).unwrap(), b"hello"),
            Some(path) => assert_eq!(std::fs::read(world.dir.join(path)).unwrap(), b"hello"),
        }
        world.assert_clean();
        let folder = world.dir.join("tasks").join(name).join(".volumes");
        assert!(!folder.exists(), "a task's volumes go with it");
    }
    let mut spec = world.task("missing", &["true"]);
    spec.volumes = vec![volume("nowhere", VolumeSource::Shared { autoprovision: false })];
    spec.containers[0].mount_points = vec![mount("nowhere", "/data", false)];
    let (report, _) = run(&world, spec).await;
    let reason = report.stopped_reason.unwrap();
    assert!(reason.contains("InvalidVolumeError") && reason.contains("v-nowhere"), "{reason}");
    world.assert_clean();
}

/// The probe's answer to one question, asked in a container that `change` has made.
async fn ask(
    world: &World,
    id: &str,
    command: &[&str],
    change: impl FnOnce(&mut TaskSpec),
) -> String {
    let mut spec = world.task(id, command);
    change(&mut spec);
    let (report, mut said) = run(world, spec).await;
    assert_eq!(report.containers[0].exit_code, Some(0), "{id}: {report:#?} {said:?}");
    said.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linux_parameters_are_seen_from_inside() {
    if !can_run("linux_parameters_are_seen_from_inside") {
        return;
    }
    let world = World::start("linux").await;
    let mounts = ask(&world, "mounts", &["mounts"], |spec| {
        let (container_path, size_mib) = ("/scratch".to_owned(), 3);
        let linux = &mut spec.containers[0].linux;
        linux.tmpfs = vec![Tmpfs { container_path, size_mib, mount_options: vec![] }];
        linux.shared_memory_mib = Some(7);
    });
    let mounts = mounts.await;
    assert!(mounts.contains("size=3072k") && mounts.contains("size=7168k"), "{mounts}");
    let scratch = ask(&world, "scratch", &["write", "/scratch/x", "y"], |spec| {
        let (container_path, size_mib) = ("/scratch".to_owned(), 3);
        let container = &mut spec.containers[0];
        container.readonly_root_filesystem = true;
        container.linux.tmpfs = vec![Tmpfs { container_path, size_mib, mount_options: vec![] }];
    });
    scratch.await;
    let limits = ask(&world, "limits", &["limits"], |spec| {
        let limit = Ulimit { name: "nofile".into(), soft: Some(77), hard: Some(78) };
        spec.containers[0].ulimits = vec![limit];
    });
    let limits = limits.await;
    assert!(limits.contains("77") && limits.contains("78"), "{limits}");
    let caps = ask(&world, "caps", &["caps"], |spec| {
        let linux = &mut spec.containers[0].linux;
        linux.capabilities_drop = vec!["ALL".into()];
        linux.capabilities_add = vec!["CHOWN".into()];
    });
    let caps = caps.await;
    assert!(caps.contains("CHOWN") && !caps.contains("SETUID"), "{caps}");
    let value = ask(&world, "sysctl", &["cat", "/proc/sys/kernel/shmmni"], |spec| {
        let control = KeyValue { name: "kernel.shmmni".into(), value: "1234".into() };
        spec.containers[0].system_controls = vec![control];
    });
    assert!(value.await.contains("1234"));
    let status = ask(&world, "privs", &["cat", "/proc/self/status"], |spec| {
        spec.containers[0].no_new_privileges = true;
    });
    assert!(status.await.contains("NoNewPrivs:\\t1"));
    let device = ask(&world, "device", &["stat", "/dev/mine"], |spec| {
        spec.containers[0].linux.devices = vec![Device {
            host_path: "/dev/null".into(),
            container_path: Some("/dev/mine".into()),
            read: true,
            write: true,
            mknod: false,
        }];
    });
    device.await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_of_the_host_are_given_and_refused_where_its_owner_says_so() {
    if !can_run("rights_of_the_host_are_given_and_refused_where_its_owner_says_so") {
        return;
    }
    let mut world = World::start("rights").await;
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap().to_string_lossy().into_owned();
    let ipc = std::fs::read_link("/proc/self/ns/ipc").unwrap().to_string_lossy().into_owned();
    let alone = ask(&world, "alone", &["ns"], |_| {}).await;
    assert!(!alone.contains(&own) && !alone.contains(&ipc), "{alone}");
    let shared = ask(&world, "shared", &["ns"], |spec| {
        (spec.pid_mode, spec.ipc_mode) = (PidMode::Host, IpcMode::Host);
    });
    let shared = shared.await;
    assert!(shared.contains(&own) && shared.contains(&ipc), "{shared}");
    let caps = ask(&world, "caps", &["caps"], |spec| spec.containers[0].privileged = true).await;
    assert!(caps.contains("SYS_ADMIN"), "{caps}");
    world.assert_clean();
    world.kill_agent();
    world.start_agent(&["--refuse", "privileged", "--refuse", "host-path"], &[]);
    let mut privileged = world.task("privileged", &["true"]);
    privileged.containers[0].privileged = true;
    let mut path = world.task("path", &["true"]);
    path.volumes = vec![volume("v", VolumeSource::HostPath("/etc".into()))];
    for (spec, right) in [(privileged, "privileged"), (path, "host-path")] {
        let (report, _) = run(&world, spec).await;
        let expected =
            format!("HostConfigError: the owner of this node refuses {right} (--refuse)");
        assert_eq!(report.stopped_reason, Some(expected));
    }
    let registered = world.fake.state().registered.last().unwrap().clone();
    let has = |name: &str| registered.attributes.iter().any(|attribute| attribute.name == name);
    assert!(!has("com.amazonaws.ecs.capability.privileged-container"));
    assert!(has("loadline.capability.devices") && !has("loadline.capability.host-path"));
    world.assert_clean();
}
