//! criu's messages, as far as they are used. Field numbers are criu's (images/rpc.proto); they are
//! protobuf, one message a packet.

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Nothing; what an absent number reads as.
    Empty = 0,
    /// Write a process tree into images.
    Dump = 1,
    /// Make a process tree from images.
    Restore = 2,
    /// Write memory that changed since the last time, and let the processes go on.
    PreDump = 4,
    /// A stage was reached, or the answer to that.
    Notify = 6,
}

/// How the cgroups of processes are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CgroupsMode {
    /// Not at all.
    Ignore = 0,
    /// Properties of cgroups that the restore makes.
    Soft = 3,
    /// Properties of all.
    Full = 4,
    /// None may exist before.
    Strict = 5,
}

/// A request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Request {
    /// What is asked for.
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub kind: i32,
    /// How.
    #[prost(message, optional, tag = "2")]
    pub options: Option<Options>,
    /// The answer to a notification.
    #[prost(bool, optional, tag = "3")]
    pub notify_success: Option<bool>,
}

/// How processes are written or made.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Options {
    /// The folder of the images: a descriptor of the asking process.
    #[prost(int32, required, tag = "1")]
    pub images_dir_fd: i32,
    /// The root of the tree that is written.
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
    /// Let the processes go on.
    #[prost(bool, optional, tag = "3")]
    pub leave_running: Option<bool>,
    /// Allow unix sockets whose other end is outside.
    #[prost(bool, optional, tag = "4")]
    pub ext_unix_sk: Option<bool>,
    /// Allow TCP connections.
    #[prost(bool, optional, tag = "5")]
    pub tcp_established: Option<bool>,
    /// Use any path to a device file if its own is not there.
    #[prost(bool, optional, tag = "6")]
    pub evasive_devices: Option<bool>,
    /// Allow a session whose leader is outside.
    #[prost(bool, optional, tag = "7")]
    pub shell_job: Option<bool>,
    /// Allow file locks.
    #[prost(bool, optional, tag = "8")]
    pub file_locks: Option<bool>,
    /// 4 is everything.
    #[prost(int32, optional, tag = "9")]
    pub log_level: Option<i32>,
    /// The log's name in the work folder.
    #[prost(string, optional, tag = "10")]
    pub log_file: Option<String>,
    /// Where memory goes instead of into images.
    #[prost(message, optional, tag = "11")]
    pub page_server: Option<PageServer>,
    /// Tell of stages.
    #[prost(bool, optional, tag = "12")]
    pub notify_scripts: Option<bool>,
    /// The root filesystem, for a restore a mount point.
    #[prost(string, optional, tag = "13")]
    pub root: Option<String>,
    /// Earlier images, from the images' folder.
    #[prost(string, optional, tag = "14")]
    pub parent_images: Option<String>,
    /// Let the kernel note which memory changes.
    #[prost(bool, optional, tag = "15")]
    pub track_mem: Option<bool>,
    /// Take out of earlier images what is in these.
    #[prost(bool, optional, tag = "16")]
    pub auto_dedup: Option<bool>,
    /// The folder of the log.
    #[prost(int32, optional, tag = "17")]
    pub work_dir_fd: Option<i32>,
    /// Give open files that have lost their name another one.
    #[prost(bool, optional, tag = "18")]
    pub link_remap: Option<bool>,
    /// Mounts whose source is outside, by path at a dump, with their sources at a restore.
    #[prost(message, repeated, tag = "23")]
    pub external_mounts: Vec<ExternalMount>,
    /// What older criu reads instead of the mode.
    #[prost(bool, optional, tag = "24")]
    pub manage_cgroups: Option<bool>,
    /// The cgroup that takes the place of the tree's own.
    #[prost(message, repeated, tag = "25")]
    pub cgroup_roots: Vec<CgroupRoot>,
    /// The restored tree is a child of the asking process.
    #[prost(bool, optional, tag = "26")]
    pub restore_sibling: Option<bool>,
    /// Files that take the place of those that were open.
    #[prost(message, repeated, tag = "27")]
    pub inherited: Vec<InheritedFd>,
    /// Allow mounts that receive from outside.
    #[prost(bool, optional, tag = "30")]
    pub external_masters: Option<bool>,
    /// A [`CgroupsMode`].
    #[prost(enumeration = "CgroupsMode", optional, tag = "34")]
    pub manage_cgroups_mode: Option<i32>,
    /// Namespaces that are outside, as `kind[inode]:name`.
    #[prost(string, repeated, tag = "37")]
    pub external: Vec<String>,
    /// `CLONE_NEW*` of namespaces that are made and not filled.
    #[prost(uint32, optional, tag = "38")]
    pub empty_namespaces: Option<u32>,
    /// Namespaces that are joined.
    #[prost(message, repeated, tag = "39")]
    pub joined: Vec<JoinedNamespace>,
    /// The cgroup with a freezer that holds the tree.
    #[prost(string, optional, tag = "44")]
    pub freeze_cgroup: Option<String>,
    /// Leave TCP connections out that are not established yet.
    #[prost(bool, optional, tag = "46")]
    pub tcp_skip_in_flight: Option<bool>,
    /// Move memory when it is used.
    #[prost(bool, optional, tag = "48")]
    pub lazy_pages: Option<bool>,
    /// Allow a terminal whose master is outside.
    #[prost(bool, optional, tag = "50")]
    pub orphan_pts_master: Option<bool>,
    /// A file whose settings win.
    #[prost(string, optional, tag = "51")]
    pub config_file: Option<String>,
    /// The security module's profile, as `type:name`.
    #[prost(string, optional, tag = "53")]
    pub lsm_profile: Option<String>,
    /// The security module's context of mounts.
    #[prost(string, optional, tag = "63")]
    pub lsm_mount_context: Option<String>,
}

/// Where memory goes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PageServer {
    /// Its address.
    #[prost(string, optional, tag = "1")]
    pub address: Option<String>,
    /// Its port.
    #[prost(int32, optional, tag = "2")]
    pub port: Option<i32>,
}

/// A mount with a source outside.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExternalMount {
    /// The mount point at a dump; its name at a restore.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Its name at a dump; the source at a restore.
    #[prost(string, required, tag = "2")]
    pub value: String,
}

/// A cgroup of one hierarchy.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CgroupRoot {
    /// The controllers; empty for version 2.
    #[prost(string, optional, tag = "1")]
    pub controllers: Option<String>,
    /// The path in the hierarchy.
    #[prost(string, required, tag = "2")]
    pub path: String,
}

/// A descriptor of criu's that takes the place of a file.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InheritedFd {
    /// The file's name in the images.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// The descriptor.
    #[prost(int32, required, tag = "2")]
    pub fd: i32,
}

/// A namespace to join.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct JoinedNamespace {
    /// ipc, uts …
    #[prost(string, required, tag = "1")]
    pub kind: String,
    /// Its file.
    #[prost(string, required, tag = "2")]
    pub file: String,
}

/// An answer, or a notification.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Response {
    /// What was asked for; [`Kind::Notify`] is a notification.
    #[prost(int32, required, tag = "1")]
    pub kind: i32,
    /// Whether it was done.
    #[prost(bool, required, tag = "2")]
    pub success: bool,
    /// What a restore made.
    #[prost(message, optional, tag = "4")]
    pub restored: Option<Restored>,
    /// The stage.
    #[prost(message, optional, tag = "5")]
    pub notice: Option<Stage>,
    /// Why it was not done: an errno.
    #[prost(int32, optional, tag = "7")]
    pub errno: Option<i32>,
    /// Why it was not done, in words.
    #[prost(string, optional, tag = "9")]
    pub message: Option<String>,
}

/// What a restore made.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Restored {
    /// The first process.
    #[prost(int32, required, tag = "1")]
    pub pid: i32,
}

/// A stage that was reached.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Stage {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// The first process.
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
}
