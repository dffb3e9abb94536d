//! The options of the node's network.

use std::net::TcpListener;
use std::path::Path;

use clap::Args;
use tokio::sync::mpsc;

use super::plan::{Plan, Range};
use super::{Network, Pool, Settings};

/// Dynamic host ports where the kernel does not say which it gives out (ECS).
const DYNAMIC_PORTS: (u16, u16) = (49_153, 65_535);

const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const NO_IPV6: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
const MACHINE_ID: &str = "/etc/machine-id";

/// Options of `run` about the tasks' network.
#[derive(Clone, Debug, Args)]
pub struct NetworkOptions {
    /// The IPv4 addresses that tasks with networkMode bridge or awsvpc get. No other network that
    /// this host can reach may have them.
    #[arg(long, value_name = "ADDRESS/LENGTH", default_value = "10.213.0.0/16")]
    pub network_range: Range,

    /// What the links and the nftables table of the node's network are called. Two agents on one
    /// host need two, and two ranges.
    #[arg(long, value_name = "NAME", default_value = "loadline")]
    pub network_name: String,

    /// Offers no networkMode bridge and awsvpc, only host and none: the host's network stays
    /// untouched.
    #[arg(long)]
    pub no_task_networks: bool,

    /// Where dynamic host ports are taken from [default: the kernel's ip_local_port_range].
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_ports)]
    pub host_ports: Option<(u16, u16)>,
}

impl NetworkOptions {
    /// The network, of which nothing is made yet, and who gets what of it.
    ///
    /// # Errors
    /// In words, where an option makes no sense.
    pub fn network(
        &self,
        state_dir: &Path,
        boot_id: &str,
        metadata: mpsc::Sender<TcpListener>,
    ) -> Result<(Network, Pool), String> {
        let machine_id = std::fs::read_to_string(MACHINE_ID).ok();
        let host_id = machine_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
        let has_ipv6 = std::fs::read_to_string(NO_IPV6).is_ok_and(|text| text.trim() == "0");
        let host_id = has_ipv6.then_some(host_id.unwrap_or(boot_id));
        let plan = Plan::new(&self.network_name, self.network_range, host_id)?;
        let kernels = std::fs::read_to_string(PORT_RANGE).ok();
        let kernels = kernels.and_then(|text| {
            let mut words = text.split_whitespace().map(str::parse::<u16>);
            let range = (words.next()?.ok()?, words.next()?.ok()?);
            (0 < range.0 && range.0 <= range.1).then_some(range)
        });
        let dynamic = self.host_ports.or(kernels).unwrap_or(DYNAMIC_PORTS);
        let dir = state_dir.join("netns");
        let settings = Settings { plan: plan.clone(), dir, metadata };
        Ok((Network::new(settings), Pool::new(plan, dynamic)))
    }
}

impl NetworkOptions {
    /// Why no task gets a network of its own here, if none does.
    #[must_use]
    pub fn without_networks(&self) -> Option<&'static str> {
        if self.no_task_networks {
            return Some("this node offers no networkMode bridge and awsvpc (--no-task-networks)");
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has_nft = std::env::split_paths(&path).any(|dir| dir.join("nft").is_file());
        (!has_nft).then_some(
            "this node offers no networkMode bridge and awsvpc: it has no nft (package nftables)",
        )
    }
}

fn parse_ports(text: &str) -> Result<(u16, u16), String> {
    let parse = || {
        let (first, last) = text.split_once('-')?;
        let range: (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        (0 < range.0 && range.0 <= range.1).then_some(range)
    };
    parse().ok_or_else(|| format!("{text:?} is no range of ports such as 49153-65535"))
}
