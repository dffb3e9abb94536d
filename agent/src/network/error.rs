//! Why a task can't have its network.

use std::io;
use std::path::{Path, PathBuf};

use super::netlink::NetlinkError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused to change or show its network.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The rules could not be loaded.
    #[error("load the rules of the node's network with nft: {0}")]
    Rules(String),
    /// Loading them takes a program.
    #[error("start nft: install the package nftables, which networkMode bridge and awsvpc need")]
    NoNft(#[source] io::Error),
    /// Another agent has the network.
    #[error(
        "the network {name:?} of this host belongs to another agent: give each its own \
         --network-name and --network-range"
    )]
    Locked {
        /// Its name.
        name: String,
    },
    /// The tasks' addresses would hide somebody else's.
    #[error(
        "the tasks' addresses {range} overlap with {other}, which this host has a route to: choose \
         others with --network-range"
    )]
    Overlap {
        /// Ours.
        range: String,
        /// Theirs.
        other: String,
    },
    /// The ledger has no place for the container: it is of an older agent.
    #[error("the task has no place in the network")]
    NoPlace,
    /// A file or a namespace.
    #[error("{step} {}", path.display())]
    File {
        /// What was done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A namespace can't be made or entered.
    #[error("enter a network namespace")]
    Namespace(#[from] io::Error),
}

impl NetworkError {
    pub(super) fn at(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { step, path, source }
    }
}
