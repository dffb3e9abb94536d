//! A network of its own for a test: the thread, and everything that it starts, lives in a new
//! network namespace, so that nothing of the machine's network is seen or changed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::demo::Network;

/// Moves the calling thread into a new network namespace with loopback.
///
/// # Errors
/// Where the kernel refuses.
pub fn enter() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
    ip(&["link", "set", "lo", "up"]).map(drop)
}

/// Somebody outside of the host: a namespace behind a pair of links, with a route back.
#[derive(Debug)]
pub struct Outside {
    network: Network,
}

impl Outside {
    /// Beside the thread's namespace, which is the host.
    ///
    /// # Errors
    /// Where `ip` refuses.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { network: Network::new()? })
    }

    /// The host's address on the pair.
    #[must_use]
    pub fn host_address(&self) -> &str {
        &self.network.host_address
    }

    /// The address out there.
    ///
    /// # Errors
    /// Where it can't be found.
    pub fn address(&self) -> anyhow::Result<String> {
        let shown = ip(&["-n", &self.network.name, "-json", "-4", "addr", "show", "eth0"])?;
        let shown: Value = serde_json::from_str(&shown).context("read what ip says")?;
        let address = shown[0]["addr_info"][0]["local"].as_str().context("no address")?;
        Ok(address.to_owned())
    }

    /// Gives both ends of the pair an IPv6 address too.
    ///
    /// # Errors
    /// Where `ip` refuses.
    pub fn add_ipv6(&self, host: &str, own: &str) -> anyhow::Result<()> {
        let (host, own) = (format!("{host}/64"), format!("{own}/64"));
        // Nobody else has it, and a second of waiting whether somebody has would be for nothing.
        ip(&["addr", "add", &host, "dev", &self.network.outside(), "nodad"])?;
        let name = self.network.name.as_str();
        ip(&["-n", name, "addr", "add", &own, "dev", "eth0", "nodad"]).map(drop)
    }

    /// A command that runs out there.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.network.name)).arg(program);
        command
    }

    /// Adds a way to `network` by the host, out there.
    ///
    /// # Errors
    /// Where `ip` refuses.
    pub fn add_route(&self, network: &str) -> anyhow::Result<()> {
        self.add_route_by(network, &self.network.host_address)
    }

    /// The same by another address of the host.
    ///
    /// # Errors
    /// Where `ip` refuses.
    pub fn add_route_by(&self, network: &str, host: &str) -> anyhow::Result<()> {
        let name = self.network.name.as_str();
        ip(&["-n", name, "route", "add", network, "via", host]).map(drop)
    }
}

/// What is left of a node's network in the thread's namespace, and where it pins others.
///
/// # Errors
/// Where it can't be listed.
pub fn leftovers(state_dir: &Path) -> anyhow::Result<Vec<String>> {
    let links: Value = serde_json::from_str(&ip(&["-json", "link"])?).context("read ip's links")?;
    let names = links.as_array().into_iter().flatten();
    let names = names.filter_map(|link| link["ifname"].as_str());
    let mut found: Vec<String> = names
        .filter(|name| name.starts_with("loadline"))
        .map(|name| format!("link {name}"))
        .collect();
    let tables = run(Command::new("nft").args(["list", "tables"]))?;
    found.extend(tables.lines().map(|table| format!("nftables {table}")));
    for words in [&["route"][..], &["-6", "route"], &["neigh"]] {
        let told = ip(words)?;
        let ours = told.lines().filter(|line| line.contains("loadline"));
        found.extend(ours.map(|line| format!("{}: {line}", words.join(" "))));
    }
    let pins = state_dir.join("netns").read_dir().into_iter().flatten().flatten();
    found.extend(pins.map(|pin| format!("namespace {}", pin.path().display())));
    Ok(found)
}

/// Calls `ip` and gives what it says.
///
/// # Errors
/// Where it is missing or refuses.
pub fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    run(Command::new("ip").args(arguments))
}

/// Runs a program and gives what it says.
///
/// # Errors
/// Where it is missing or fails.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
