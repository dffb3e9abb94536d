//! What every container gets: the tables that docker's defaults have made a habit.

use oci_spec::runtime::{Capability, LinuxDeviceCgroup, LinuxDeviceType, Mount};

/// A mount of every container.
struct DefaultMount {
    destination: &'static str,
    typ: &'static str,
    source: &'static str,
    options: &'static [&'static str],
}

const MOUNTS: [DefaultMount; 7] = [
    DefaultMount {
        destination: "/proc",
        typ: "proc",
        source: "proc",
        options: &["nosuid", "noexec", "nodev"],
    },
    DefaultMount {
        destination: "/dev",
        typ: "tmpfs",
        source: "tmpfs",
        options: &["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    DefaultMount {
        destination: "/dev/pts",
        typ: "devpts",
        source: "devpts",
        options: &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    DefaultMount {
        destination: "/dev/shm",
        typ: "tmpfs",
        source: "shm",
        options: &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    DefaultMount {
        destination: "/dev/mqueue",
        typ: "mqueue",
        source: "mqueue",
        options: &["nosuid", "noexec", "nodev"],
    },
    DefaultMount {
        destination: "/sys",
        typ: "sysfs",
        source: "sysfs",
        options: &["nosuid", "noexec", "nodev", "ro"],
    },
    DefaultMount {
        destination: "/sys/fs/cgroup",
        typ: "cgroup",
        source: "cgroup",
        options: &["nosuid", "noexec", "nodev", "relatime", "ro"],
    },
];

/// Parts of /proc and /sys that tell or change too much of the host.
pub(super) const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Parts of /proc that a container may read only.
pub(super) const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What root in a container may do.
pub(super) const CAPABILITIES: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Character devices that may be used: null, zero, full, random, urandom, tty, ptmx, and all
/// pseudo terminals.
const DEVICES: [(i64, Option<i64>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

pub(super) fn mounts() -> Vec<Mount> {
    MOUNTS.iter().map(|m| mount(m.destination, m.typ, m.source, m.options)).collect()
}

pub(super) fn mount(destination: &str, typ: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some(typ.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(ToString::to_string).collect()));
    mount
}

/// Nothing, then nodes may be made of any device, then the harmless ones may be used.
pub(super) fn device_rules() -> Vec<LinuxDeviceCgroup> {
    let rule = |allow, typ: Option<LinuxDeviceType>, (major, minor), access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(allow)
            .set_typ(typ)
            .set_major(major)
            .set_minor(minor)
            .set_access(Some(access.to_owned()));
        rule
    };
    let char_device = Some(LinuxDeviceType::C);
    let mut rules = vec![
        rule(false, None, (None, None), "rwm"),
        rule(true, char_device, (None, None), "m"),
        rule(true, Some(LinuxDeviceType::B), (None, None), "m"),
    ];
    let usable = DEVICES.iter().map(|(major, minor)| (Some(*major), *minor));
    rules.extend(usable.map(|number| rule(true, char_device, number, "rwm")));
    rules
}
