//! `apply`: what a command does to the state. Pure: the state, the command, the time and a source
//! of ids go in; writes and an answer, or a refusal, come out. No I/O, no clock, no randomness.
//!
//! A command that changes what a node shall do moves that node's generation by exactly one, and
//! says so with a [`Write::Generation`] among its writes (law 10).

mod attributes;
mod cluster;
mod definition;
mod iam;
mod join_token;
mod node;
mod protect;
mod report;
mod roles;
mod run;
mod seed;
mod service;
mod start;
mod stop;
mod tags;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tick;
mod vault;

use std::collections::BTreeMap;

use loadline_model::InstanceArn;

use crate::command::{Command, Refusal, Reply};
use crate::state::{ClusterEntry, ClusterName, ClusterStatus, IdSource, State, View, Write};

pub use protect::can_be_protected;
pub use tick::STOPPED_KEPT_MS;

/// What a command that was not refused does.
pub type Applied = (Vec<Write>, Reply);

/// Decides one command. `now_ms` never goes backwards from one call to the next.
///
/// # Errors
/// [`Refusal`]: the state stays as it is.
pub fn apply(
    state: &State,
    command: &Command,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    match command {
        Command::CreateCluster(command) => Ok(cluster::create(state, command, now_ms)),
        Command::DeleteCluster(command) => cluster::delete(state, command),
        Command::RegisterTaskDefinition(command) => definition::register(state, command, now_ms),
        Command::DeregisterTaskDefinition(command) => {
            definition::deregister(state, command, now_ms)
        }
        Command::DeleteTaskDefinition(command) => definition::delete(state, command, now_ms),
        Command::RunTask(command) => run::run(state, command, now_ms, ids),
        Command::StartTask(command) => start::start(state, command, now_ms, ids),
        Command::CreateService(command) => service::create(state, command, now_ms, ids),
        Command::UpdateService(command) => service::update(state, command, now_ms, ids),
        Command::DeleteService(command) => service::delete(state, command, now_ms, ids),
        Command::StopServiceDeployment(command) => {
            service::stop_deployment(state, command, now_ms, ids)
        }
        Command::Reconcile(command) => Ok(service::reconcile(state, &command.key, now_ms, ids)),
        Command::StopTask(command) => stop::stop(state, command, now_ms),
        Command::CreateJoinToken(command) => join_token::create(state, command, now_ms),
        Command::RevokeJoinToken(command) => join_token::revoke(state, command),
        Command::UseJoinToken(command) => join_token::present(state, command, now_ms, ids),
        Command::RegisterNode(command) => node::register(state, command, now_ms),
        Command::RegisterInstance(command) => node::register_agentless(state, command, now_ms, ids),
        Command::SetNodeStatus(command) => node::set_status(state, command),
        Command::DeregisterNode(command) => node::deregister(state, command, now_ms),
        Command::ProtectTasks(command) => protect::protect(state, command, now_ms),
        Command::SetTags(command) => tags::set(state, command),
        Command::SetAttributes(command) => attributes::set(state, command),
        Command::NodeConnected(command) => node::connected(state, command, now_ms),
        Command::NodeDisconnected(command) => Ok(node::disconnected(state, command)),
        Command::TaskReports(command) => report::reports(state, command, now_ms),
        Command::Vault(command) => vault::apply(state, command, now_ms, ids),
        Command::Iam(command) => iam::apply(state, command, now_ms, ids),
        Command::Tick(command) => Ok(tick::tick(state, command, now_ms)),
    }
}

/// The cluster, if it is ACTIVE.
fn active_cluster<'a>(view: &'a View, name: &ClusterName) -> Result<&'a ClusterEntry, Refusal> {
    view.cluster(name)
        .filter(|entry| entry.record.status == ClusterStatus::Active)
        .ok_or_else(|| Refusal::ClusterNotFound(name.clone()))
}

/// Writes under way, and which nodes' desired state they change.
struct Draft<'a> {
    state: &'a State,
    writes: Vec<Write>,
    moved: BTreeMap<InstanceArn, u64>,
}

impl<'a> Draft<'a> {
    fn new(state: &'a State) -> Self {
        Self { state, writes: Vec::new(), moved: BTreeMap::new() }
    }

    /// Notes that the node's desired state changes with this command.
    fn moves(&mut self, node: &InstanceArn) {
        if let Some(entry) = self.state.view.node(node) {
            self.moved.insert(node.clone(), entry.generation + 1);
        }
    }

    fn finish(self, reply: Reply) -> Applied {
        let mut writes = self.writes;
        writes.extend(self.moved.into_iter().map(|(node, next)| Write::Generation(node, next)));
        (writes, reply)
    }
}
