//! What time alone does: sessions die, nodes are lost, stopped tasks are forgotten. Each tick is
//! bounded; what is left over comes with the next.

use std::sync::Arc;

use loadline_model::InstanceArn;

use super::{Applied, Draft, definition, stop};
use crate::command::{Reply, Tick, Ticked};
use crate::liveness;
use crate::nodes::pki::NODE_CERTIFICATE_VALIDITY;
use crate::state::{Node, State, Task, Write};

/// How long a stopped task is kept (ECS: at least one hour).
pub const STOPPED_KEPT_MS: u64 = 60 * 60 * 1000;
/// How long a join token is shown after it expired.
const JOIN_TOKEN_KEPT_MS: u64 = DAY_MS;
/// How long a container instance that was deregistered is known: until no certificate of it can be
/// valid any more, because one that is not known could register anew.
const REMOVED_KEPT_MS: u64 = NODE_CERTIFICATE_VALIDITY.as_secs() * 1000 + DAY_MS;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Most of each kind that one tick forgets.
const EXPIRED_PER_TICK_MAX: usize = 1_000;
/// Most nodes that one tick declares lost, and most whose tasks it gives up.
const NODES_PER_TICK_MAX: usize = 200;

const NODE_LOST: &str = "Container instance was lost: its agent has not been heard";

pub(super) fn tick(state: &State, command: &Tick, now_ms: u64) -> Applied {
    let mut draft = Draft::new(state);
    let mut ticked = Ticked::default();
    for node in &command.silent {
        draft.writes.push(Write::Connection(node.clone(), None));
    }
    for node in command.lost.iter().take(NODES_PER_TICK_MAX) {
        ticked.tasks_lost += lose(&mut draft, node, now_ms);
    }
    for node in command.given_up.iter().take(NODES_PER_TICK_MAX) {
        ticked.tasks_lost += give_up(&mut draft, node, now_ms, |_| true);
    }
    let over = state.ledger.quarantined_until(now_ms).filter(|node| !command.lost.contains(node));
    for node in over {
        end_quarantine(&mut draft, node);
    }
    let most = command.lost.len().max(command.given_up.len());
    let expired_most = expire(&mut draft, &mut ticked.tasks_expired, now_ms);
    ticked.more = expired_most || NODES_PER_TICK_MAX < most;
    draft.finish(Reply::Ticked(ticked))
}

/// A lost node takes no tasks, and what a service has there is replaced at once.
fn lose(draft: &mut Draft<'_>, node: &InstanceArn, now_ms: u64) -> usize {
    let Some(entry) = draft.state.view.node(node) else { return 0 };
    if entry.record.lost_at_ms.is_none() {
        let record = Node::clone(&entry.record);
        let version = record.version + 1;
        let mut losses_ms = record.losses_ms.clone();
        losses_ms.push(now_ms);
        losses_ms.drain(..losses_ms.len().saturating_sub(liveness::FLAPS));
        let quarantined_until_ms =
            liveness::quarantine(&losses_ms, now_ms).or(record.quarantined_until_ms);
        let lost_at_ms = Some(now_ms);
        let lost = Node { lost_at_ms, losses_ms, quarantined_until_ms, version, ..record };
        draft.writes.push(Write::Node(Arc::new(lost)));
    }
    give_up(draft, node, now_ms, |task| task.service.is_some())
}

fn end_quarantine(draft: &mut Draft<'_>, node: &InstanceArn) {
    let Some(entry) = draft.state.view.node(node) else { return };
    let record = Node::clone(&entry.record);
    let version = record.version + 1;
    let (losses_ms, quarantined_until_ms) = (Vec::new(), None);
    let free = Node { losses_ms, quarantined_until_ms, version, ..record };
    draft.writes.push(Write::Node(Arc::new(free)));
}

fn give_up(
    draft: &mut Draft<'_>,
    node: &InstanceArn,
    now_ms: u64,
    which: fn(&Task) -> bool,
) -> usize {
    let Some(entry) = draft.state.view.node(node) else { return 0 };
    let tasks = entry.tasks.iter().filter_map(|arn| draft.state.view.task(arn));
    let live = tasks.filter(|task| task.last_status.holds_reservation() && which(task));
    let given_up: Vec<_> =
        live.map(|task| Write::Task(Arc::new(stop::give_up(task, NODE_LOST, now_ms)))).collect();
    let count = given_up.len();
    if 0 < count {
        draft.writes.extend(given_up);
        draft.moves(node);
    }
    count
}

/// Forgets what nobody asks about any more; whether there is more of it.
fn expire(draft: &mut Draft<'_>, tasks_expired: &mut usize, now_ms: u64) -> bool {
    let ledger = &draft.state.ledger;
    let until = |kept_ms: u64| now_ms.saturating_sub(kept_ms);
    let most = EXPIRED_PER_TICK_MAX;
    let tasks = ledger.stopped_until(until(STOPPED_KEPT_MS)).take(most);
    let tasks: Vec<_> = tasks.map(|arn| Write::ForgetTask(arn.clone())).collect();
    let ended = draft.state.view.vault.ended_until(now_ms).take(most);
    let ended: Vec<_> = ended.map(|key| Write::ForgetVault(key.clone())).collect();
    draft.writes.extend(ended);
    let deleted: Vec<_> = definition::unused(draft.state).take(most).cloned().collect();
    draft.writes.extend(deleted.into_iter().map(Write::ForgetDefinition));
    let ledger = &draft.state.ledger;
    let run_tokens = ledger.run_tokens_until(now_ms).take(most);
    let run_tokens: Vec<_> = run_tokens
        .map(|(cluster, token)| Write::ForgetRunToken(cluster.clone(), token.to_owned()))
        .collect();
    let join_tokens = ledger.join_tokens_until(until(JOIN_TOKEN_KEPT_MS)).take(most);
    let join_tokens: Vec<_> = join_tokens.map(|id| Write::ForgetJoinToken(id.clone())).collect();
    let nodes: Vec<_> = ledger.removed_until(until(REMOVED_KEPT_MS)).take(most).collect();
    let generations = nodes.iter().map(|arn| Write::ForgetGeneration((*arn).clone()));
    let forgotten_nodes: Vec<_> =
        nodes.iter().map(|arn| Write::ForgetNode((*arn).clone())).chain(generations).collect();
    *tasks_expired = tasks.len();
    let counts = [tasks.len(), run_tokens.len(), join_tokens.len(), nodes.len()];
    let all = [tasks, run_tokens, join_tokens, forgotten_nodes];
    draft.writes.extend(all.into_iter().flatten());
    counts.contains(&most)
}
