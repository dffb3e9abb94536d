//! What a task can ask its node: who it is, what it uses, and the credentials of its role.
//!
//! ```text
//!  bridge, awsvpc   169.254.170.2:80 ─▶ 169.254.170.2:51679   caller: the source address
//!  host             127.0.0.1:51679                           caller: the socket's owner
//!  the host         127.0.0.1:51678                           introspection: what runs here
//! ```
//!
//! Invariants (law 11):
//! - An address has an unguessable id in it, and only the task that has the id is answered: from
//!   its own address, which no other container can send with (`network::ruleset`), or on the host's
//!   network, from a socket that a process in its cgroup has. To everybody else nothing is there.
//! - Credentials are in memory only ([`CredentialStore`]).
//! - A task asks at most so often, and has at most so many connections.

pub mod credentials;
pub mod directory;
pub mod document;
mod introspection;
mod limit;
mod owner;
mod protection;
pub mod questions;
pub mod secrets;
pub mod server;
pub mod statistics;

use loadline_model::{KeyValue, NetworkMode};

pub use credentials::CredentialStore;
pub use directory::Directory;
pub use questions::Questions;
pub use secrets::SecretStore;

use crate::network::plan::{METADATA_ADDRESS, METADATA_PORT};
use crate::task::Task;

/// The variables that tell a container where to ask.
#[must_use]
pub fn environment(task: &Task, container: usize, serves_host: bool) -> Vec<KeyValue> {
    let network = &task.network;
    let Some(id) = network.endpoints.get(container) else { return Vec::new() };
    let base = match task.network_mode(container) {
        NetworkMode::Bridge | NetworkMode::Awsvpc => format!("http://{METADATA_ADDRESS}"),
        NetworkMode::Host if serves_host => format!("http://127.0.0.1:{METADATA_PORT}"),
        NetworkMode::Host | NetworkMode::None => return Vec::new(),
    };
    let mut pairs = vec![
        ("AWS_EXECUTION_ENV", "AWS_ECS_EC2".to_owned()),
        ("ECS_CONTAINER_METADATA_URI", format!("{base}/v3/{id}")),
        ("ECS_CONTAINER_METADATA_URI_V4", format!("{base}/v4/{id}")),
        ("ECS_AGENT_URI", format!("{base}/api/{id}")),
    ];
    if let (Some(id), Some(_)) = (&network.credentials, &task.spec.task_role_arn) {
        let path = format!("/v2/credentials/{id}");
        // The relative one is always asked for at 169.254.170.2, which the host does not have.
        pairs.push(if task.network_mode(container) == NetworkMode::Host {
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{base}{path}"))
        } else {
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", path)
        });
    }
    let pair = |(name, value): (&str, String)| KeyValue { name: name.to_owned(), value };
    pairs.into_iter().map(pair).collect()
}
