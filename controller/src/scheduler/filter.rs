//! The filters: each looks at one node for one request and has no objection, or says which.

use std::fmt;

use loadline_model::network::RESERVED_TCP_PORTS;
use loadline_model::{Protocol, RefusalReason, Resources};

use super::place::{Request, Tentative};
use crate::command::{PlacementFailure, PlacementReason};
use crate::state::{HostPort, NodeEntry, NodeStatus, PlacementConstraint, State};

/// Why a node is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It takes no new tasks in this status.
    Status(NodeStatus),
    /// Its agent is not connected, or the node counts as lost.
    Agent,
    /// It was lost too often of late, and takes no tasks for a while: in words.
    Quarantined(String),
    /// Its line would be passed.
    Room(RefusalReason, Resources, Resources),
    /// A task on it uses the same port of the host.
    Port(u16, Protocol),
    /// No task may have this TCP port.
    ReservedPort(u16),
    /// It has a task of the same group already.
    Distinct,
    /// The expression does not select it.
    MemberOf(String),
    /// The expression could not be evaluated; the API checks expressions before, so this is one
    /// that an older version stored.
    Expression(String),
}

/// One node under one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) state: &'a State,
    pub(super) tentative: &'a Tentative,
    pub(super) node: &'a NodeEntry,
    pub(super) request: &'a Request<'a>,
}

type Filter = fn(&Candidate<'_>) -> Result<(), Objection>;

/// In this order; the first objection is the one that is told.
const FILTERS: [Filter; 5] = [status, agent, room, ports, constraints];

impl Candidate<'_> {
    /// Asks every filter.
    pub(super) fn check(&self) -> Result<(), Objection> {
        FILTERS.iter().try_for_each(|filter| filter(self))
    }

    /// What the node would have left for this request, tasks of the same command included.
    pub(super) fn left(&self) -> Resources {
        let placed = self.tentative.reserved(&self.node.record.arn);
        self.node.left().saturating_sub(placed)
    }
}

fn status(candidate: &Candidate<'_>) -> Result<(), Objection> {
    match candidate.node.record.status {
        NodeStatus::Active => Ok(()),
        other => Err(Objection::Status(other)),
    }
}

fn agent(candidate: &Candidate<'_>) -> Result<(), Objection> {
    let node = candidate.node;
    if !node.agent_connected() || node.record.lost_at_ms.is_some() {
        return Err(Objection::Agent);
    }
    node.record.quarantine_reason().map_or(Ok(()), |why| Err(Objection::Quarantined(why)))
}

/// The node's own line decides (law 13), with what this command has placed on it so far.
fn room(candidate: &Candidate<'_>) -> Result<(), Objection> {
    let node = &candidate.node.record.arn;
    let need = candidate.request.need;
    let placed = candidate.tentative.reserved(node);
    let left = candidate.left();
    let unpayable = Objection::Room(RefusalReason::Memory, need, left);
    let Some(line) = candidate.state.ledger.line(node) else { return Err(unpayable) };
    let Some(asked) = placed.checked_add(need) else { return Err(unpayable) };
    line.check(asked).map_err(|refused| Objection::Room(refused.reason, need, left))
}

/// Tasks of one command are of one definition: a second one wants the same ports as the first.
fn ports(candidate: &Candidate<'_>) -> Result<(), Objection> {
    let Some(first) = candidate.request.ports.first() else { return Ok(()) };
    if 0 < candidate.tentative.tasks(&candidate.node.record.arn) {
        return Err(Objection::Port(first.port, first.protocol));
    }
    let asked = &candidate.request.ports;
    let is_reserved = |port: &&HostPort| {
        port.protocol == Protocol::Tcp && RESERVED_TCP_PORTS.contains(&port.port)
    };
    if let Some(reserved) = asked.iter().find(is_reserved) {
        return Err(Objection::ReservedPort(reserved.port));
    }
    let wanted =
        |used: &(u16, Protocol)| asked.iter().any(|port| (port.port, port.protocol) == *used);
    match candidate.state.view.ports_on(candidate.node).find(wanted) {
        Some((port, protocol)) => Err(Objection::Port(port, protocol)),
        None => Ok(()),
    }
}

pub(super) fn constraints(candidate: &Candidate<'_>) -> Result<(), Objection> {
    candidate.request.constraints.iter().try_for_each(|constraint| match constraint {
        PlacementConstraint::DistinctInstance => {
            let tasks = candidate.request.group_tasks_on(candidate);
            if tasks == 0 { Ok(()) } else { Err(Objection::Distinct) }
        }
        PlacementConstraint::MemberOf(expression) => {
            let compiled = candidate.request.expressions.get(expression.as_str());
            match compiled {
                Some(Ok(compiled)) if compiled.selects(candidate.node, &candidate.state.view) => {
                    Ok(())
                }
                Some(Ok(_)) => Err(Objection::MemberOf(expression.clone())),
                Some(Err(why)) => Err(Objection::Expression(why.clone())),
                None => Err(Objection::Expression(expression.clone())),
            }
        }
    })
}

impl Objection {
    /// As RunTask tells it.
    pub(super) fn failure(&self, node: &NodeEntry) -> PlacementFailure {
        PlacementFailure {
            node: Some(node.record.arn.clone()),
            reason: self.reason(),
            detail: self.to_string(),
        }
    }

    fn reason(&self) -> PlacementReason {
        match self {
            Self::Status(_) => PlacementReason::Inactive,
            Self::Agent | Self::Quarantined(_) => PlacementReason::Agent,
            Self::Room(RefusalReason::Cpu, ..) => PlacementReason::Cpu,
            Self::Room(RefusalReason::Memory, ..) => PlacementReason::Memory,
            Self::Port(..) | Self::ReservedPort(_) => PlacementReason::Ports,
            Self::Distinct => PlacementReason::DistinctInstance,
            Self::MemberOf(_) | Self::Expression(_) => PlacementReason::MemberOf,
        }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the container instance is {}", status.as_str()),
            Self::Agent => f.write_str("the container instance's agent is not connected"),
            Self::Quarantined(why) => f.write_str(why),
            Self::Room(RefusalReason::Cpu, asked, left) => {
                write!(f, "{} CPU units asked for, {} left", asked.cpu_units, left.cpu_units)
            }
            Self::Room(RefusalReason::Memory, asked, left) => {
                write!(f, "{} MiB asked for, {} left", asked.memory_mib, left.memory_mib)
            }
            Self::Port(port, protocol) => {
                write!(f, "port {port}/{} is in use by another task", protocol.as_str())
            }
            Self::ReservedPort(port) => {
                write!(f, "port {port}/tcp is kept for the node itself")
            }
            Self::Distinct => f.write_str("it has a task of the same group already"),
            Self::MemberOf(expression) => write!(f, "not selected by {expression:?}"),
            Self::Expression(why) => write!(f, "the expression can't be evaluated: {why}"),
        }
    }
}
