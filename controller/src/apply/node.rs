//! Nodes: what they have, whether they take tasks, and their sessions.

use std::sync::Arc;

use super::attributes::laid_over;
use super::{Applied, Draft, active_cluster, stop};
use crate::command::{
    ATTRIBUTES_MAX, Connected, DeregisterNode, NodeConnected, NodeDisconnected, NodeTasks, Refusal,
    RegisterInstance, RegisterNode, Registered, Reply, SetNodeStatus,
};
use crate::state::{
    ClusterName, Connection, IdSource, Node, NodeEntry, NodeStatus, State, Task, Write,
};

pub(super) fn register(
    state: &State,
    command: &RegisterNode,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    Ok(registered(state, record(state, command, now_ms)?))
}

/// The node as its registration makes it, with the version that it had.
fn record(state: &State, command: &RegisterNode, now_ms: u64) -> Result<Node, Refusal> {
    let cluster = ClusterName::parse(command.node.cluster())
        .map_err(|_| Refusal::NodeNotFound(command.node.clone()))?;
    active_cluster(&state.view, &cluster)?;
    let before = state.view.node(&command.node).map(|entry| &entry.record);
    let put = before.map(|node| node.put_attributes.clone()).unwrap_or_default();
    let attributes = laid_over(&command.attributes, &put);
    if ATTRIBUTES_MAX < attributes.len() {
        let max = ATTRIBUTES_MAX as u64;
        return Err(Refusal::LimitExceeded { what: "attributes of a node", max });
    }
    if let Some(pair) = attributes.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let why = format!("{} is there twice", pair[0].name);
        return Err(Refusal::Invalid { field: "attributes", why });
    }
    if before.is_some_and(|node| node.status == NodeStatus::Inactive) {
        return Err(Refusal::NodeRemoved(command.node.clone()));
    }
    Ok(Node {
        arn: command.node.clone(),
        cluster,
        status: before.map_or(NodeStatus::Active, |node| node.status),
        registered: command.resources,
        attributes,
        put_attributes: put,
        agent_version: command.agent_version.clone(),
        registered_at_ms: before.map_or(now_ms, |node| node.registered_at_ms),
        version: before.map_or(1, |node| node.version),
        lost_at_ms: before.and_then(|node| node.lost_at_ms),
        losses_ms: before.map(|node| node.losses_ms.clone()).unwrap_or_default(),
        quarantined_until_ms: before.and_then(|node| node.quarantined_until_ms),
        removed_at_ms: None,
        tags: before.map(|node| node.tags.clone()).unwrap_or_default(),
        agentless: before.is_some_and(|node| node.agentless),
        ec2_instance_id: before.and_then(|node| node.ec2_instance_id.clone()),
    })
}

/// Writes the node down, if it is not so already.
fn registered(state: &State, node: Node) -> Applied {
    let before = state.view.node(&node.arn).map(|entry| &entry.record);
    if before.is_some_and(|before| **before == node) {
        return (Vec::new(), Reply::Registered(Registered { node: Arc::new(node) }));
    }
    let version = before.map_or(1, |node| node.version + 1);
    let node = Arc::new(Node { version, ..node });
    let mut writes = vec![Write::Node(Arc::clone(&node))];
    if before.is_none() {
        writes.push(Write::Generation(node.arn.clone(), 1));
    }
    (writes, Reply::Registered(Registered { node }))
}

pub(super) fn register_agentless(
    state: &State,
    command: &RegisterInstance,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    active_cluster(&state.view, &command.cluster)?;
    let arn = match &command.node {
        Some(arn) => {
            let known = &in_cluster(state, &command.cluster, arn)?.record;
            if !known.agentless {
                let why = "this container instance has an agent, which alone registers it".into();
                return Err(Refusal::Invalid { field: "containerInstanceArn", why });
            }
            arn.clone()
        }
        None => state
            .view
            .scope
            .instance_arn(&command.cluster, &ids.fresh())
            .expect("an id is 32 hex digits and a cluster's name is plain"),
    };
    let plain = RegisterNode {
        node: arn,
        resources: command.resources,
        attributes: command.attributes.clone(),
        agent_version: command.agent_version.clone(),
    };
    let node = record(state, &plain, now_ms)?;
    let tags = command.tags.clone().unwrap_or_else(|| node.tags.clone());
    let ec2_instance_id = command.ec2_instance_id.clone().or(node.ec2_instance_id.clone());
    Ok(registered(state, Node { tags, ec2_instance_id, agentless: true, ..node }))
}

pub(super) fn set_status(state: &State, command: &SetNodeStatus) -> Result<Applied, Refusal> {
    let entry = in_cluster(state, &command.cluster, &command.node)?;
    if command.status == NodeStatus::Inactive {
        let why = "INACTIVE is what deregistering makes; ACTIVE or DRAINING here".to_owned();
        return Err(Refusal::Invalid { field: "status", why });
    }
    if entry.record.status == command.status {
        return Ok((Vec::new(), Reply::Node(Arc::clone(&entry.record))));
    }
    let node = Arc::new(Node {
        status: command.status,
        version: entry.record.version + 1,
        ..Node::clone(&entry.record)
    });
    Ok((vec![Write::Node(Arc::clone(&node))], Reply::Node(node)))
}

pub(super) fn deregister(
    state: &State,
    command: &DeregisterNode,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    let entry = in_cluster(state, &command.cluster, &command.node)?;
    let tasks: Vec<_> = entry.tasks.iter().filter_map(|arn| state.view.task(arn)).collect();
    let live = tasks.iter().filter(|task| task.last_status.holds_reservation()).count();
    if command.tasks == NodeTasks::Keep && 0 < live {
        return Err(Refusal::NodeHasTasks { node: command.node.clone(), tasks: live });
    }
    let mut draft = Draft::new(state);
    for task in tasks {
        let gone = stop::give_up(task, "Container instance was deregistered by force", now_ms);
        let stopped_at_ms = task.stopped_at_ms.or(gone.stopped_at_ms);
        // Nobody will hear of this node again, so nothing is held there any more.
        draft.writes.push(Write::Task(Arc::new(Task { held: false, stopped_at_ms, ..gone })));
    }
    let node = Arc::new(Node {
        status: NodeStatus::Inactive,
        removed_at_ms: Some(now_ms),
        version: entry.record.version + 1,
        ..Node::clone(&entry.record)
    });
    draft.moves(&node.arn);
    draft.writes.push(Write::Node(Arc::clone(&node)));
    draft.writes.push(Write::Connection(node.arn.clone(), None));
    Ok(draft.finish(Reply::Node(node)))
}

pub(super) fn connected(
    state: &State,
    command: &NodeConnected,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    let entry = state
        .view
        .node(&command.node)
        .ok_or_else(|| Refusal::NotRegistered(command.node.clone()))?;
    if entry.record.status == NodeStatus::Inactive {
        return Err(Refusal::NodeRemoved(command.node.clone()));
    }
    if entry.connection.as_ref().is_some_and(|alive| alive.run_id != command.run_id) {
        return Err(Refusal::SessionAlive(command.node.clone()));
    }
    let mut writes = Vec::new();
    if entry.record.lost_at_ms.is_some() {
        let record = Node::clone(&entry.record);
        let version = record.version + 1;
        writes.push(Write::Node(Arc::new(Node { lost_at_ms: None, version, ..record })));
    }
    let mut generation = entry.generation;
    if generation < command.generation {
        // Our store is older than what the node has applied (a restored backup). What we say must
        // be newer than that, or the node would have to ignore it.
        generation = command.generation.saturating_add(1);
        writes.push(Write::Generation(command.node.clone(), generation));
    }
    let session = state.ledger.next_session();
    let connection = Connection {
        session,
        run_id: command.run_id.clone(),
        since_ms: now_ms,
        applied_generation: command.generation,
    };
    writes.push(Write::Connection(command.node.clone(), Some(connection)));
    Ok((writes, Reply::Connected(Connected { session, generation })))
}

pub(super) fn disconnected(state: &State, command: &NodeDisconnected) -> Applied {
    let own = state
        .view
        .node(&command.node)
        .and_then(|entry| entry.connection.as_ref())
        .is_some_and(|connection| connection.session == command.session);
    let writes = if own { vec![Write::Connection(command.node.clone(), None)] } else { Vec::new() };
    (writes, Reply::Noted(()))
}

pub(super) fn in_cluster<'a>(
    state: &'a State,
    cluster: &ClusterName,
    node: &loadline_model::InstanceArn,
) -> Result<&'a NodeEntry, Refusal> {
    active_cluster(&state.view, cluster)?;
    state
        .view
        .node(node)
        .filter(|entry| entry.record.cluster == *cluster)
        .filter(|entry| entry.record.status != NodeStatus::Inactive)
        .ok_or_else(|| Refusal::NodeNotFound(node.clone()))
}
