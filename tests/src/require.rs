//! What a test needs of the machine. A test that can't run says so in a line that is counted, and
//! never passes in silence.

use crate::{kernel, program};

/// A facility that a machine may lack.
#[derive(Clone, Copy, Debug)]
pub enum Facility {
    /// Containers with cgroups and mounts.
    Root,
    /// A program in PATH.
    Program(&'static str),
    /// IPv6 that is not turned off.
    Ipv6,
    /// The Python that `cargo xtask test` prepares, with this module.
    Python(&'static str),
}

impl Facility {
    /// What is missing, none where nothing is.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Root => (!kernel::is_root()).then(|| "root".to_owned()),
            Self::Program(name) => program::find(name).is_err().then(|| name.to_owned()),
            Self::Ipv6 => {
                let off = std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6");
                let is_on = off.is_ok_and(|off| off.trim() == "0");
                (!is_on).then(|| "IPv6 (net.ipv6.conf.default.disable_ipv6 = 0)".to_owned())
            }
            Self::Python(module) => {
                let mut python = std::process::Command::new(python());
                let there = python.args(["-c", &format!("import {module}")]).output();
                let there = there.is_ok_and(|output| output.status.success());
                (!there).then(|| format!("python3 with {module}"))
            }
        }
    }
}

/// The Python with the modules of the client tests.
#[must_use]
pub fn python() -> String {
    std::env::var("LOADLINE_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// Returns from a test that can't run, after saying why.
#[macro_export]
macro_rules! require {
    ($test:literal: $($facility:expr),+ $(,)?) => {
        for facility in [$($facility),+] {
            if let Some(missing) = facility.missing() {
                eprintln!("\nSKIPPED {}: needs {missing}", $test);
                return;
            }
        }
    };
}
