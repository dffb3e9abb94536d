//! What criu is asked, decided from the container's plan and the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::rpc::{
    CgroupRoot, CgroupsMode, ExternalMount, InheritedFd, JoinedNamespace, Kind, Options,
    PageServer, Request,
};
use crate::plan::{ChildStep, Content, Plan};
use crate::spec::{NamespaceKind, Spec};

/// All of criu's messages.
const LOG_LEVEL: i32 = 4;
/// criu's log of a checkpoint, in the work folder.
pub const DUMP_LOG: &str = "dump.log";
/// criu's log of a restore, in the work folder.
pub const RESTORE_LOG: &str = "restore.log";

/// What both verbs let the command line say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// criu's program.
    pub program: PathBuf,
    /// The folder of the images.
    pub image_path: PathBuf,
    /// The folder of criu's log, if it is another.
    pub work_path: Option<PathBuf>,
    /// Allow TCP connections.
    pub tcp_established: bool,
    /// Allow unix sockets whose other end is outside.
    pub ext_unix_sk: bool,
    /// Allow a session whose leader is outside.
    pub shell_job: bool,
    /// Allow file locks.
    pub file_locks: bool,
    /// Move memory when it is used.
    pub lazy_pages: bool,
    /// Take out of earlier images what is in these.
    pub auto_dedup: bool,
    /// Make the network namespace, and leave it empty.
    pub empty_network: bool,
    /// What of cgroups is restored.
    pub cgroups: CgroupsMode,
}

/// What `checkpoint` lets the command line say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What `restore` has too.
    pub common: Common,
    /// Earlier images, from the images' folder.
    pub parent_path: Option<PathBuf>,
    /// Let the container go on.
    pub leave_running: bool,
    /// Write memory only, and let the container go on.
    pub pre_dump: bool,
    /// The descriptor that hears when pages can be asked for.
    pub status_fd: Option<u32>,
    /// Where memory goes: address and port.
    pub page_server: Option<(String, u16)>,
    /// Leave TCP connections out that are not established yet.
    pub tcp_skip_in_flight: bool,
    /// Give files that are open and have lost this name a new one meanwhile.
    pub link_remap: bool,
}

/// A mount whose source is outside of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Below the container's root.
    pub inside: PathBuf,
    /// On the host.
    pub outside: PathBuf,
    /// Whether this is a path that is hidden: with a file of the host only where it is a file.
    pub is_mask: bool,
}

/// The mounts of a plan whose source is outside.
pub fn externals(plan: &Plan) -> Vec<External> {
    let of = |step: &ChildStep| {
        let (inside, outside, is_mask) = match step {
            ChildStep::Mount {
                content: Content::HostTree { path, .. } | Content::OpenedTree { path, .. },
                target,
                ..
            } => (&target.path, path.clone(), false),
            ChildStep::BindNode(device) => (&device.path, Path::new("/").join(&device.path), false),
            ChildStep::MaskPath { path } => (path, PathBuf::from("/dev/null"), true),
            _ => return None,
        };
        Some(External { inside: inside.clone(), outside, is_mask })
    };
    plan.child.iter().filter_map(of).collect()
}

/// The name under which the images know a namespace that is outside.
pub fn namespace_name(kind: NamespaceKind) -> Option<&'static str> {
    match kind {
        NamespaceKind::Network => Some("extRootNetNS"),
        NamespaceKind::Pid => Some("extRootPidNS"),
        _ => None,
    }
}

/// What is known of a container that is written.
#[derive(Clone, Debug)]
pub struct Running {
    /// The images' folder, a descriptor.
    pub images_dir_fd: i32,
    /// The log's folder, a descriptor.
    pub work_dir_fd: Option<i32>,
    /// The first process.
    pub pid: i32,
    /// The root filesystem on the host.
    pub rootfs: PathBuf,
    /// Mount points whose sources are outside.
    pub external_mounts: Vec<String>,
    /// Inode numbers of namespaces that are outside.
    pub external_namespaces: Vec<(NamespaceKind, u64)>,
    /// The cgroup with a freezer.
    pub freeze_cgroup: Option<PathBuf>,
    /// A file of criu's settings, which win: see [`config_file`].
    pub config_file: Option<String>,
}

/// The file of criu's settings that an annotation names, by runc's convention. Without one criu
/// reads its own, and says nothing of one that is missing.
pub fn config_file(annotations: &BTreeMap<String, String>) -> Option<String> {
    annotations.get("org.criu.config").filter(|path| !path.is_empty()).cloned()
}

/// The request of a checkpoint.
pub fn dump(asked: &Checkpoint, running: &Running) -> Request {
    let mount = |path: &String| ExternalMount { key: path.clone(), value: path.clone() };
    let namespace = |(kind, inode): &(NamespaceKind, u64)| {
        let word = if *kind == NamespaceKind::Network { "net" } else { "pid" };
        Some(format!("{word}[{inode}]:{}", namespace_name(*kind)?))
    };
    let server = |(address, port): &(String, u16)| PageServer {
        address: Some(address.clone()),
        port: Some(i32::from(*port)),
    };
    let options = Options {
        images_dir_fd: running.images_dir_fd,
        work_dir_fd: running.work_dir_fd,
        pid: Some(running.pid),
        leave_running: Some(asked.leave_running),
        log_file: Some(DUMP_LOG.to_owned()),
        page_server: asked.page_server.as_ref().map(server),
        root: Some(text(&running.rootfs)),
        parent_images: asked.parent_path.as_deref().map(text),
        tcp_skip_in_flight: asked.tcp_skip_in_flight.then_some(true),
        link_remap: asked.link_remap.then_some(true),
        track_mem: (asked.parent_path.is_some() || asked.pre_dump).then_some(true),
        external_mounts: running.external_mounts.iter().map(mount).collect(),
        external: running.external_namespaces.iter().filter_map(namespace).collect(),
        freeze_cgroup: running.freeze_cgroup.as_deref().map(text),
        config_file: running.config_file.clone(),
        ..common(&asked.common)
    };
    let kind = if asked.pre_dump { Kind::PreDump } else { Kind::Dump };
    Request { kind: kind as i32, options: Some(options), notify_success: None }
}

/// What `restore` lets the command line say, beyond what `create` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// What `checkpoint` has too.
    pub common: Common,
    /// The profile or label of the processes.
    pub lsm_profile: Option<LsmProfile>,
    /// SELinux's context of mounts.
    pub lsm_mount_context: Option<String>,
}

/// A security module that criu knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lsm {
    /// AppArmor.
    AppArmor,
    /// SELinux.
    SeLinux,
}

impl Lsm {
    /// The word before the colon, criu's.
    pub const fn word(self) -> &'static str {
        match self {
            Lsm::AppArmor => "apparmor",
            Lsm::SeLinux => "selinux",
        }
    }
}

/// What a security module calls processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LsmProfile {
    /// Whose it is.
    pub module: Lsm,
    /// AppArmor's profile or SELinux's label.
    pub name: String,
}

/// What is known of a container that is made again.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The images' folder, a descriptor.
    pub images_dir_fd: i32,
    /// The log's folder, a descriptor.
    pub work_dir_fd: Option<i32>,
    /// The root filesystem, a mount point.
    pub rootfs: PathBuf,
    /// Mount points whose sources are outside, and these.
    pub external_mounts: Vec<(String, PathBuf)>,
    /// Descriptors that take the place of files and namespaces.
    pub inherited: Vec<(String, i32)>,
    /// The container's cgroup: controllers (none for version 2) and path.
    pub cgroups: Vec<(String, String)>,
    /// A file of criu's settings, which win: see [`config_file`].
    pub config_file: Option<String>,
}

/// The request of a restore.
pub fn restore(asked: &Restore, spec: &Spec, prepared: &Prepared) -> Request {
    let mount =
        |(key, source): &(String, PathBuf)| ExternalMount { key: key.clone(), value: text(source) };
    let root = |(controllers, path): &(String, String)| CgroupRoot {
        controllers: Some(controllers.clone()),
        path: path.clone(),
    };
    let options = Options {
        images_dir_fd: prepared.images_dir_fd,
        work_dir_fd: prepared.work_dir_fd,
        evasive_devices: Some(true),
        restore_sibling: Some(true),
        log_file: Some(RESTORE_LOG.to_owned()),
        root: Some(text(&prepared.rootfs)),
        external_mounts: prepared.external_mounts.iter().map(mount).collect(),
        inherited: prepared
            .inherited
            .iter()
            .map(|(key, fd)| InheritedFd { key: key.clone(), fd: *fd })
            .collect(),
        joined: joined(spec),
        cgroup_roots: prepared.cgroups.iter().map(root).collect(),
        lsm_profile: asked
            .lsm_profile
            .as_ref()
            .map(|profile| format!("{}:{}", profile.module.word(), profile.name)),
        lsm_mount_context: asked.lsm_mount_context.clone(),
        config_file: prepared.config_file.clone(),
        ..common(&asked.common)
    };
    Request { kind: Kind::Restore as i32, options: Some(options), notify_success: None }
}

/// Namespaces that exist, but for those that criu takes as descriptors.
fn joined(spec: &Spec) -> Vec<JoinedNamespace> {
    let of = |namespace: &crate::spec::Namespace| {
        let kind = match namespace.kind {
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::User => "user",
            _ => return None,
        };
        let file = text(namespace.path.as_deref()?);
        Some(JoinedNamespace { kind: kind.to_owned(), file })
    };
    spec.linux.namespaces.iter().filter_map(of).collect()
}

fn common(asked: &Common) -> Options {
    let on = |flag: bool| flag.then_some(true);
    Options {
        ext_unix_sk: on(asked.ext_unix_sk),
        tcp_established: on(asked.tcp_established),
        shell_job: on(asked.shell_job),
        file_locks: on(asked.file_locks),
        log_level: Some(LOG_LEVEL),
        notify_scripts: Some(true),
        auto_dedup: on(asked.auto_dedup),
        manage_cgroups: Some(true),
        // Mounts of a container receive from the host by default.
        external_masters: Some(true),
        manage_cgroups_mode: Some(asked.cgroups as i32),
        empty_namespaces: asked.empty_network.then_some(libc::CLONE_NEWNET as u32),
        lazy_pages: on(asked.lazy_pages),
        orphan_pts_master: Some(true),
        ..Options::default()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn nothing() -> Common {
        Common {
            program: PathBuf::from("criu"),
            image_path: PathBuf::from("/images"),
            work_path: None,
            tcp_established: false,
            ext_unix_sk: false,
            shell_job: false,
            file_locks: false,
            lazy_pages: false,
            auto_dedup: false,
            empty_network: false,
            cgroups: CgroupsMode::Soft,
        }
    }

    fn checkpoint(common: Common) -> Checkpoint {
        Checkpoint {
            common,
            parent_path: None,
            leave_running: false,
            pre_dump: false,
            status_fd: None,
            page_server: None,
            tcp_skip_in_flight: false,
            link_remap: false,
        }
    }

    fn options(asked: &Checkpoint) -> Options {
        let running = Running {
            images_dir_fd: 7,
            work_dir_fd: None,
            pid: 42,
            rootfs: PathBuf::from("/b/rootfs"),
            external_mounts: vec!["/etc/hosts".to_owned()],
            external_namespaces: vec![(NamespaceKind::Network, 99)],
            freeze_cgroup: Some(PathBuf::from("/sys/fs/cgroup/freezer/c")),
            config_file: config_file(&BTreeMap::from([(
                "org.criu.config".to_owned(),
                "/etc/c".to_owned(),
            )])),
        };
        dump(asked, &running).options.unwrap()
    }

    #[test]
    fn a_checkpoint_says_what_is_outside() {
        let options = options(&checkpoint(nothing()));
        assert_eq!((options.images_dir_fd, options.pid), (7, Some(42)));
        assert_eq!(options.external, ["net[99]:extRootNetNS"]);
        let mount = &options.external_mounts[0];
        assert_eq!((mount.key.as_str(), mount.value.as_str()), ("/etc/hosts", "/etc/hosts"));
        assert_eq!(options.freeze_cgroup.as_deref(), Some("/sys/fs/cgroup/freezer/c"));
        assert_eq!(options.manage_cgroups_mode, Some(3));
        assert_eq!(options.config_file.as_deref(), Some("/etc/c"));
        assert_eq!(config_file(&BTreeMap::new()), None);
    }

    /// One flag, and the bytes that it adds to the message: criu's field number and the value.
    fn check(change: impl FnOnce(&mut Checkpoint), added: &[u8]) {
        let mut asked = checkpoint(nothing());
        change(&mut asked);
        let bytes = options(&asked).encode_to_vec();
        assert!(bytes.windows(added.len()).any(|window| window == added), "{added:?}: {bytes:?}");
    }

    #[test]
    fn every_flag_of_checkpoint_reaches_criu() {
        check(|asked| asked.leave_running = true, &[3 << 3, 1]);
        check(|asked| asked.common.ext_unix_sk = true, &[4 << 3, 1]);
        check(|asked| asked.common.tcp_established = true, &[5 << 3, 1]);
        check(|asked| asked.common.shell_job = true, &[7 << 3, 1]);
        check(|asked| asked.common.file_locks = true, &[8 << 3, 1]);
        // From field 16 on, a number takes two bytes.
        check(|asked| asked.common.auto_dedup = true, &[0x80, 0x01, 1]);
        check(|asked| asked.link_remap = true, &[0x90, 0x01, 1]);
        check(|asked| asked.tcp_skip_in_flight = true, &[0xf0, 0x02, 1]);
        check(|asked| asked.common.lazy_pages = true, &[0x80, 0x03, 1]);
        check(|asked| asked.common.cgroups = CgroupsMode::Full, &[0x90, 0x02, 4]);
        // CLONE_NEWNET is 0x4000_0000.
        let network = [0xb0, 0x02, 0x80, 0x80, 0x80, 0x80, 0x04];
        check(|asked| asked.common.empty_network = true, &network);
        check(|asked| asked.parent_path = Some("../a".into()), b"\x72\x04../a\x78\x01");
        let server = |asked: &mut Checkpoint| asked.page_server = Some(("h".to_owned(), 27));
        check(server, b"\x5a\x05\x0a\x01h\x10\x1b");
    }

    #[test]
    fn a_pre_dump_is_a_request_of_its_own_and_tracks_memory() {
        let asked = Checkpoint { pre_dump: true, ..checkpoint(nothing()) };
        assert_eq!(options(&asked).track_mem, Some(true));
    }
}
