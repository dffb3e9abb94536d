//! Steps as text: what `--dry-run` prints, goldens keep and errors name.

use std::ffi::CStr;
use std::fmt;
use std::path::Path;

use super::step::{
    ChildStep, Cloning, Content, Finding, ParentStep, RdtGroup, RdtMake, RootPlace, Slot, Target,
};
use crate::spec::{Device, DeviceKind, Hook, IdMap, NamespaceKind, OptionText, Rlimit, Tmpcopyup};

impl fmt::Display for ParentStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParentStep::OpenNamespace { kind, path, slot } => {
                write!(f, "open {kind} namespace {} as {slot}", path.display())
            }
            ParentStep::RefuseOwnNamespace { slot, kind } => {
                write!(f, "check that {kind} namespace {slot} is not the host's")
            }
            ParentStep::EnterPidNamespace { slot } => write!(f, "enter pid namespace {slot}"),
            ParentStep::OpenContainer { slot, pid, .. } => {
                write!(f, "open the container of pid {pid} as {slot}")
            }
            ParentStep::OpenRootOf { slot, pid, .. } => {
                write!(f, "open the root of pid {pid} as {slot}")
            }
            ParentStep::EnterNamespaces { kinds, .. } => {
                f.write_str("enter namespaces of the container:")?;
                kinds.iter().try_for_each(|kind| write!(f, " {kind}"))
            }
            ParentStep::OpenCgroup => f.write_str("open cgroup"),
            ParentStep::CloneTree { slot, path, recursive } => {
                fmt_clone(*slot, path, *recursive, f)
            }
            ParentStep::ConnectConsole { path } => {
                write!(f, "connect to console socket {}", path.display())
            }
            ParentStep::ConnectPidfd { path } => {
                write!(f, "connect to pidfd socket {}", path.display())
            }
            ParentStep::SendPidfd => f.write_str("send the first process's pidfd"),
            ParentStep::ListenForStart => f.write_str("listen for start"),
            ParentStep::StartScope => f.write_str("start scope"),
            ParentStep::MakeNetwork => f.write_str("begin to make a network namespace, lo up"),
            ParentStep::CreateUnifiedCgroup => f.write_str("create cgroup on version 2"),
            ParentStep::CreateCgroup => f.write_str("create cgroup"),
            ParentStep::GiveCgroup { uid } => write!(f, "give cgroup to user {uid}"),
            ParentStep::Clone { namespaces, first } => fmt_first_process(namespaces, first, f),
            ParentStep::JoinCgroup => f.write_str("join cgroup"),
            ParentStep::OfferCgroup => f.write_str("let the container join its cgroup"),
            ParentStep::MapIds { uid, gid } => {
                write!(f, "map user ids {} and group ids {}", Maps(uid), Maps(gid))
            }
            ParentStep::MapTree { slot, uid, gid, recursive } => {
                let prefix = if *recursive { "r" } else { "" };
                write!(f, "{prefix}idmap {slot} with {} and {}", Maps(uid), Maps(gid))
            }
            ParentStep::MakeRdtGroup(group) => fmt_rdt(group, f),
            ParentStep::JoinRdtGroups { groups } => fmt_joined(groups, f),
            ParentStep::UseCpus { cpus } => write!(f, "use CPUs {cpus:?}"),
            ParentStep::MoveInterface { device, slot } => {
                write!(f, "move interface {} in as {}", device.device, device.name)?;
                slot.map_or(Ok(()), |slot| write!(f, " of {slot}"))
            }
            ParentStep::OomScore { score } => write!(f, "set oom_score_adj {score}"),
            ParentStep::Proceed => f.write_str("let the container go on"),
            ParentStep::AwaitNamespaces => f.write_str("await namespaces"),
            ParentStep::RunHooks { kind, hooks } => write!(f, "run {kind} hooks{}", Paths(hooks)),
            ParentStep::WriteRecord => f.write_str("write record"),
            ParentStep::AwaitReady => f.write_str("await the container being ready"),
            ParentStep::AwaitExec => f.write_str("await exec"),
            ParentStep::NoteMounts { namespace: None } => f.write_str("note the mounts"),
            ParentStep::NoteMounts { namespace: Some(slot) } => {
                write!(f, "note the mounts in mount namespace {slot}")
            }
        }
    }
}

impl fmt::Display for ChildStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ChildStep as S;
        match self {
            S::AwaitParent => f.write_str("await the runtime"),
            S::JoinCgroup => f.write_str("join cgroup"),
            S::JoinNamespace { slot, kind } => write!(f, "join {kind} namespace {slot}"),
            S::JoinNamespaces { kinds, .. } => {
                f.write_str("join namespaces of the container:")?;
                kinds.iter().try_for_each(|kind| write!(f, " {kind}"))
            }
            S::UseRoot => f.write_str("use the root"),
            S::BecomeRoot => f.write_str("become root of the user namespace"),
            S::NewSession => f.write_str("lead a new session"),
            S::UnshareTime { offsets } => {
                f.write_str("unshare time namespace")?;
                offsets.iter().try_for_each(|(c, s, n)| write!(f, " {c}={s}s{n}ns"))
            }
            S::EnterNetwork => f.write_str("enter the new network namespace"),
            S::UnshareCgroup => f.write_str("unshare cgroup namespace"),
            S::OwnNull => f.write_str("reopen /dev/null on 0 1 2"),
            S::RaiseLoopback => f.write_str("raise interface lo"),
            S::SetHostname { name } => write!(f, "set hostname {}", Text(name)),
            S::SetDomainname { name } => write!(f, "set domainname {}", Text(name)),
            S::NewKeyring { name } => write!(f, "join new session keyring {}", Text(name)),
            S::AwaitHooks => f.write_str("await hooks of the runtime"),
            S::RunHooks { kind, hooks } => write!(f, "run {kind} hooks{}", Paths(hooks)),
            S::Ready => f.write_str("report ready"),
            S::AwaitStart => f.write_str("await start"),
            S::FindProgram => f.write_str("find the program"),
            S::CloseDescriptors => f.write_str("close all other descriptors"),
            S::Exec(program) => {
                f.write_str("exec")?;
                program.args.iter().try_for_each(|arg| write!(f, " {}", Text(arg)))?;
                program.limits.iter().try_for_each(|limit| {
                    f.write_str(", ")?;
                    fmt_limit(limit, f)
                })?;
                if program.listen_fds > 0 {
                    write!(f, " with {} sockets", program.listen_fds)?;
                }
                match &program.filter {
                    Some(filter) => {
                        write!(f, " under a filter of {} instructions", filter.program.len())
                    }
                    None => Ok(()),
                }
            }
            S::Personality { .. }
            | S::UseAllCpus
            | S::UseCpus { .. }
            | S::Schedule(_)
            | S::IoPriority { .. }
            | S::MemoryPolicy { .. }
            | S::Limit(_)
            | S::Umask { .. }
            | S::OwnStdio { .. }
            | S::AppArmor { .. }
            | S::SelinuxLabel { .. }
            | S::BoundCapabilities { .. }
            | S::BecomeUser { .. }
            | S::SetCapabilities { .. }
            | S::NoNewPrivileges
            | S::ChangeDirectory { .. }
            | S::ChangeDirectoryAsUser { .. } => self.fmt_identity(f),
            _ => self.fmt_filesystem(f),
        }
    }
}

impl ChildStep {
    fn fmt_filesystem(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ChildStep as S;
        match self {
            S::Propagate { propagation } => write!(f, "propagate / {propagation}"),
            S::OpenRoot { path } => write!(f, "open root {}", path.display()),
            S::TakeRoot { slot, path } => write!(f, "take root {} from {slot}", path.display()),
            S::OpenTree { slot, path, recursive, cloning } => {
                let what = if *recursive { "tree" } else { "mount" };
                write!(f, "open {what} {} as {slot}", path.display())?;
                f.write_str(match cloning {
                    Cloning::WhenMounted => "",
                    Cloning::Now => " and clone it",
                    Cloning::NowIfRoot => " and clone it if it is the root",
                })
            }
            S::AttachRoot { at: RootPlace::Root } => f.write_str("attach root"),
            S::AttachRoot { at: RootPlace::Path(at) } => {
                write!(f, "attach root at {}", at.display())
            }
            S::AttachRoot { at: RootPlace::Marked(at) } => {
                write!(f, "attach root on a mark at {}", at.display())
            }
            S::Mount { content, target, options } => {
                write!(f, "mount {content} on {target}{}", OptionText(options))?;
                if let Content::Filesystem { parameters, copy_up, .. } = content {
                    for (key, value) in parameters {
                        write!(f, " {}", Text(key))?;
                        if let Some(value) = value {
                            write!(f, "={}", Text(value))?;
                        }
                    }
                    if *copy_up == Tmpcopyup::Yes {
                        f.write_str(" tmpcopyup")?;
                    }
                }
                Ok(())
            }
            S::Link { path, target } => {
                write!(f, "link /{} to {}", path.display(), Text(target))
            }
            S::Node(device) => write!(f, "make node {}", DeviceText(device)),
            S::BindNode(device) => write!(f, "bind node {}", DeviceText(device)),
            S::MakeDirectory { path } => write!(f, "make directory /{}", path.display()),
            S::Terminal { bind, in_foreground, .. } => {
                f.write_str("open terminal")?;
                f.write_str(if *in_foreground { " in the foreground" } else { "" })?;
                if *bind { f.write_str(" and bind it on /dev/console") } else { Ok(()) }
            }
            S::Sysctl { path, value } => write!(f, "sysctl {}={}", Text(path), Text(value)),
            S::ReadonlyMount { path } => write!(f, "make mount read-only /{}", path.display()),
            S::ReadonlyPath { path } => write!(f, "make read-only /{}", path.display()),
            S::MaskPath { path } => write!(f, "mask /{}", path.display()),
            S::LabelMount { path, label } => {
                write!(f, "label mount /{} {}", path.display(), Text(label))
            }
            S::PivotRoot => f.write_str("pivot root"),
            S::MoveRoot => f.write_str("move root"),
            S::EnterRoot => f.write_str("change root to the root"),
            S::EnterRootOf { slot } => write!(f, "change root to {slot}"),
            S::ChangeRoot { path } => write!(f, "change root to {}", path.display()),
            S::ReadonlyRoot => f.write_str("make root read-only"),
            S::PropagateRoot { propagation } => write!(f, "propagate root {propagation}"),
            _ => f.write_str("unnamed step"),
        }
    }

    fn fmt_identity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ChildStep as S;
        match self {
            S::Personality { domain } => write!(f, "set personality {domain}"),
            S::UseAllCpus => f.write_str("use all CPUs of the cgroup"),
            S::UseCpus { cpus } => write!(f, "use CPUs {cpus:?}"),
            S::Schedule(s) => write!(f, "set scheduler policy {} nice {}", s.policy, s.nice),
            S::IoPriority { class, level } => write!(f, "set io priority {class}/{level}"),
            S::MemoryPolicy { mode, nodes } => {
                write!(f, "set memory policy {mode:#x} nodes {nodes:x?}")
            }
            S::Limit(limit) => fmt_limit(limit, f),
            S::Umask { mask } => write!(f, "set umask {mask:04o}"),
            S::OwnStdio { uid } => write!(f, "give standard descriptors to user {uid}"),
            S::SelinuxLabel { label } => write!(f, "set SELinux label {}", Text(label)),
            S::AppArmor { profile } => write!(f, "set AppArmor profile {}", Text(profile)),
            S::BoundCapabilities { keep } => write!(f, "bound capabilities {keep:#x}"),
            S::BecomeUser { uid, gid, groups } => {
                write!(f, "become user {uid} group {gid}")?;
                groups.iter().try_for_each(|group| write!(f, " +{group}"))
            }
            S::SetCapabilities { capabilities: c, .. } => write!(
                f,
                "set capabilities effective {:#x} permitted {:#x} inheritable {:#x} ambient {:#x}",
                c.effective, c.permitted, c.inheritable, c.ambient
            ),
            S::NoNewPrivileges => f.write_str("set no_new_privs"),
            S::ChangeDirectory { path } => write!(f, "change directory to {}", Text(path)),
            S::ChangeDirectoryAsUser { path } => {
                write!(f, "change directory to {} as the user if root could not", Text(path))
            }
            _ => f.write_str("unnamed step"),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.path.display())?;
        if self.finding == Finding::NoLinks { f.write_str(" (no links)") } else { Ok(()) }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |recursive: &bool| if *recursive { "rbind" } else { "bind" };
        match self {
            Content::HostTree { path, recursive } => {
                write!(f, "{} {}", word(recursive), path.display())
            }
            Content::OpenedTree { slot, path, recursive } => {
                write!(f, "{} {} from {slot}", word(recursive), path.display())
            }
            Content::Filesystem { kind, source, .. } => {
                write!(f, "{}", Text(kind))?;
                match source {
                    Some(source) if source != kind => write!(f, " {}", Text(source)),
                    _ => Ok(()),
                }
            }
        }
    }
}

pub(super) struct Text<'a>(pub(super) &'a CStr);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.to_bytes().escape_ascii())
    }
}

struct Ceiling(u64);

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == u64::MAX { f.write_str("unlimited") } else { write!(f, "{}", self.0) }
    }
}

fn fmt_first_process(
    namespaces: &[NamespaceKind],
    first: &[(Slot, NamespaceKind)],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.write_str("clone with new namespaces:")?;
    namespaces.iter().try_for_each(|kind| write!(f, " {kind}"))?;
    let mut words = ["; enter first"].into_iter().chain(std::iter::repeat(" and"));
    first.iter().try_for_each(|(slot, kind)| {
        write!(f, "{} {kind} namespace {slot}", words.next().unwrap_or_default())
    })
}

fn fmt_clone(slot: Slot, path: &Path, recursive: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let what = if recursive { "tree" } else { "mount" };
    write!(f, "clone {what} {} as {slot}", path.display())
}

fn fmt_joined(groups: &[std::path::PathBuf], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("join resctrl groups")?;
    groups.iter().try_for_each(|group| write!(f, " {}", group.display()))
}

fn fmt_rdt(group: &RdtGroup, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let word = match group.make {
        RdtMake::Own => "make own",
        RdtMake::Shared => "make if missing",
        RdtMake::Never => "use",
    };
    write!(f, "{word} resctrl group {}", group.path.display())?;
    group.schemata.iter().try_for_each(|line| write!(f, " {line}"))?;
    let monitor = group.monitor.as_ref();
    monitor.map_or(Ok(()), |path| write!(f, " monitored by {}", path.display()))
}

fn fmt_limit(limit: &Rlimit, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "limit {} {}:{}", limit.name, Ceiling(limit.soft), Ceiling(limit.hard))
}

struct Maps<'a>(&'a [IdMap]);

impl fmt::Display for Maps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the container's");
        }
        for (i, map) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "," };
            write!(f, "{separator}{}:{}:{}", map.container_id, map.host_id, map.size)?;
        }
        Ok(())
    }
}

struct Paths<'a>(&'a [Hook]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|hook| write!(f, " {}", hook.path.display()))
    }
}

struct DeviceText<'a>(&'a Device);

impl fmt::Display for DeviceText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.0;
        write!(f, "/{} ", device.path.display())?;
        match device.kind {
            DeviceKind::Char(major, minor) => write!(f, "c {major}:{minor}")?,
            DeviceKind::Block(major, minor) => write!(f, "b {major}:{minor}")?,
            DeviceKind::Fifo => f.write_str("p")?,
        }
        write!(f, " {:04o}", device.mode)?;
        if (device.uid, device.gid) == (0, 0) {
            return Ok(());
        }
        write!(f, " {}:{}", device.uid, device.gid)
    }
}
