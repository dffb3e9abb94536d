//! `cargo xtask vm -- COMMAND`: runs a command in a small virtual machine whose cgroups are unified
//! (v2), or version 1 alone, which the developer's own machine may not have. The machine's root is
//! this host's, read only, below a memory file system: every program and every test is there, and
//! nothing that is written survives or is seen by the host.
//!
//! The kernel is Debian's; it is started with an initramfs made on the fly. KVM is used where a
//! machine really starts with it, else QEMU's own emulation, which is slow but needs no right.

mod initramfs;
mod machine;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;

use crate::sh;

pub(crate) use machine::{missing, run_seen};

/// What runs as process 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Init {
    /// A script that mounts what is needed and runs the command: ready in seconds.
    #[default]
    Script,
    /// systemd, with the command as a service with `Delegate=yes`.
    Systemd,
}

/// Which cgroups it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Cgroups {
    /// Version 2.
    #[default]
    Unified,
    /// Version 1, each controller with a hierarchy. Not with systemd, which makes its own.
    V1,
}

/// How the machine is made.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) init: Init,
    pub(crate) cgroups: Cgroups,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// Its clock is its count of instructions, a nanosecond each: one emulated processor
    /// (QEMU, `-icount shift=0`).
    pub(crate) counting_clock: bool,
    /// The folder of the programs that the command uses, as `LOADLINE_BIN_DIR`.
    pub(crate) bin: Option<PathBuf>,
    /// From the start of the machine to the end of the command.
    pub(crate) timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            init: Init::Script,
            cgroups: Cgroups::Unified,
            memory_mib: 2048,
            cpus: 2,
            counting_clock: false,
            bin: None,
            timeout: Duration::from_secs(30 * 60),
        }
    }
}

/// The newest kernel that is made for virtual machines and whose modules are there.
pub(crate) fn kernel() -> Option<PathBuf> {
    let entries = Path::new("/boot").read_dir().ok()?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut kernels: Vec<String> = names
        .filter(|name| name.starts_with("vmlinuz-") && name.contains("-cloud-"))
        .filter(|name| modules_of(name).is_dir())
        .collect();
    kernels.sort();
    Some(Path::new("/boot").join(kernels.pop()?))
}

/// The folder of the modules of a kernel named `vmlinuz-RELEASE`.
fn modules_of(kernel: &str) -> PathBuf {
    Path::new("/lib/modules").join(kernel.trim_start_matches("vmlinuz-"))
}

/// Runs `command` in a machine, and fails as it does.
pub(crate) fn run(workspace: &Path, command: &[String], options: &Options) -> anyhow::Result<()> {
    if options.init == Init::Systemd && options.cgroups == Cgroups::V1 {
        bail!("--cgroups v1 goes with --init script: systemd mounts cgroups itself");
    }
    if let Some(why) = missing() {
        bail!("no virtual machine can run here: it needs {why}; try `cargo xtask setup`");
    }
    sh::step(&format!("vm: {}", command.join(" ")));
    let seen = run_seen(workspace, command, options)?;
    match seen.status.code() {
        Some(0) => Ok(()),
        _ => bail!("the command in the virtual machine ended with {}", seen.status),
    }
}
