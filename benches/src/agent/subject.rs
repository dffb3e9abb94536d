//! What is compared: something that starts a container and says when it runs.

use std::fmt;

use serde::Serialize;

/// The name of the image that all are given.
pub(crate) const IMAGE: &str = "localhost/box:latest";

/// What every container runs.
pub(crate) const PROGRAM: [&str; 2] = ["sleep", "100000"];

/// The limit of each container's memory.
pub(crate) const MEMORY_MIB: u64 = 32;

/// The weight of each container's share of the processors, in CPU units.
pub(crate) const CPU_UNITS: u64 = 10;

/// How a container meets the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Network {
    /// Loopback alone.
    None,
    /// An address of its own behind the host's.
    Bridge,
}

impl Network {
    /// As all subjects spell it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bridge => "bridge",
        }
    }
}

/// Something that starts containers.
pub(crate) trait Subject: fmt::Debug + Sync {
    /// What it is called in the results.
    fn name(&self) -> &'static str;

    /// A way to start containers, one after the other; each thread has its own.
    fn launcher(&self, network: Network) -> anyhow::Result<Box<dyn Launcher>>;

    /// Ends and removes every container.
    fn clear(&self) -> anyhow::Result<()>;

    /// The name of the process that each container has beside it, as in /proc/PID/comm; none where
    /// another subject has the same one.
    fn beside(&self) -> Option<&'static str>;

    /// The processes that are there without any container.
    fn daemons(&self) -> Vec<u32>;
}

/// A way to start containers.
pub(crate) trait Launcher: Send {
    /// Starts one container; comes back when it runs.
    fn launch(&mut self) -> anyhow::Result<()>;
}
