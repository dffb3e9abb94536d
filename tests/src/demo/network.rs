//! A network namespace with a pair of devices to the host: where the demo's second node lives.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail};

/// A network of its own for the demo (from the block for benchmarks, RFC 2544).
const NETWORK: &str = "198.18";

static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// Removes the namespace and its devices when dropped.
#[derive(Debug)]
pub struct Network {
    /// The name of the namespace.
    pub name: String,
    /// The host's address on the pair.
    pub host_address: String,
}

impl Network {
    /// A new namespace.
    ///
    /// # Errors
    /// Where `ip` is missing or refuses.
    pub fn new() -> anyhow::Result<Self> {
        let pid = std::process::id();
        // A process may have several, each beside another network.
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let name = format!("loadline-{pid}-{number}");
        // A network of four addresses of its own for each process: demos can run side by side.
        let (third, fourth) = (pid / 64 % 256, pid % 64 * 4);
        let host_address = format!("{NETWORK}.{third}.{}", fourth + 1);
        let own_address = format!("{NETWORK}.{third}.{}", fourth + 2);
        let network = Self { name, host_address };
        let (outside, name) = (network.outside(), network.name.as_str());
        ip(&["netns", "add", name])?;
        let pair = ["type", "veth", "peer", "name", "eth0", "netns", name];
        ip(&[&["link", "add", &outside], &pair[..]].concat())?;
        ip(&["addr", "add", &format!("{}/30", network.host_address), "dev", &outside])?;
        ip(&["link", "set", &outside, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{own_address}/30"), "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(network)
    }

    /// The name of the host's side: at most 15 bytes.
    #[must_use]
    pub fn outside(&self) -> String {
        self.name.replace("loadline-", "ll-")
    }

    /// Whether it is gone.
    #[must_use]
    pub fn is_left(name: &str) -> bool {
        Path::new("/run/netns").join(name).exists()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The pair goes with the namespace, later; this one goes now.
        for arguments in [["link", "del", &self.outside()], ["netns", "del", &self.name]] {
            if let Err(error) = ip(&arguments) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    let output = command.args(arguments).output().context("start ip (package iproute2)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("ip {}: {said}", arguments.join(" "));
    }
    Ok(())
}
