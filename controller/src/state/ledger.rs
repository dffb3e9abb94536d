//! What only the owner of the state keeps: the nodes' lines, and the indexes that make a decision
//! cost what it touches and not what the cluster holds. All of it is derived from the records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use loadline_model::{InstanceArn, Line, Resources, TaskArn};

use super::agenda::{Agenda, Happened};
use super::{
    ClusterName, DefinitionKey, DefinitionStatus, JoinToken, Node, NodeEntry, NodeStatus, Pool,
    Service, ServiceKey, SessionId, Task, TaskDefinition, Text, TokenId,
};

/// Lines and indexes.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    lines: HashMap<InstanceArn, Shelf>,
    zones: HashMap<ClusterName, BTreeMap<String, u32>>,
    rooms: HashMap<ClusterName, Rooms>,
    groups: HashMap<ClusterName, HashMap<Text, BTreeMap<InstanceArn, u32>>>,
    pool: Pool,
    stopped: BTreeSet<(u64, TaskArn)>,
    quarantined: BTreeSet<(u64, InstanceArn)>,
    run_tokens: BTreeSet<(u64, ClusterName, String)>,
    removed: BTreeSet<(u64, InstanceArn)>,
    deleted: BTreeSet<DefinitionKey>,
    uses: HashMap<DefinitionKey, u32>,
    join_tokens: BTreeSet<(u64, TokenId)>,
    last_session: u64,
    agenda: Agenda,
}

/// A node's line, and where the node stands in the index of rooms.
#[derive(Clone, Debug)]
struct Shelf {
    line: Line,
    room: Option<(ClusterName, RoomKey)>,
    quarantined_until_ms: Option<u64>,
    zone: Option<String>,
}

/// What is left below a line: memory in MiB first, then CPU units.
type RoomKey = (u64, u64);

/// The nodes that take tasks, by what they have left.
type Rooms = BTreeMap<RoomKey, BTreeSet<InstanceArn>>;

impl Ledger {
    /// The node's line; `None` for a node that is not known.
    #[must_use]
    pub fn line(&self, node: &InstanceArn) -> Option<&Line> {
        self.lines.get(node).map(|shelf| &shelf.line)
    }

    /// The nodes of a cluster that take tasks now and have this much memory left or more, those
    /// with the least first.
    pub fn rooms(
        &self,
        cluster: &ClusterName,
        memory_mib: u64,
    ) -> impl DoubleEndedIterator<Item = &InstanceArn> {
        self.rooms
            .get(cluster)
            .into_iter()
            .flat_map(move |rooms| rooms.range((memory_mib, 0)..))
            .flat_map(|(_, nodes)| nodes)
    }

    /// How many live tasks of a group each node has.
    #[must_use]
    pub fn group(&self, cluster: &ClusterName, group: &str) -> Option<&BTreeMap<InstanceArn, u32>> {
        self.groups.get(cluster)?.get(group)
    }

    /// Stopped tasks that no node holds and that stopped at `until_ms` or before, oldest first.
    pub fn stopped_until(&self, until_ms: u64) -> impl Iterator<Item = &TaskArn> {
        self.stopped.iter().take_while(move |(at, _)| *at <= until_ms).map(|(_, task)| task)
    }

    /// Nodes whose quarantine is over at `now_ms`.
    pub fn quarantined_until(&self, now_ms: u64) -> impl Iterator<Item = &InstanceArn> {
        self.quarantined.iter().take_while(move |(until, _)| *until <= now_ms).map(|(_, node)| node)
    }

    /// Client tokens that expire at `until_ms` or before.
    pub fn run_tokens_until(&self, until_ms: u64) -> impl Iterator<Item = (&ClusterName, &str)> {
        self.run_tokens
            .iter()
            .take_while(move |(at, _, _)| *at <= until_ms)
            .map(|(_, cluster, token)| (cluster, token.as_str()))
    }

    /// Nodes that were removed at `until_ms` or before.
    pub fn removed_until(&self, until_ms: u64) -> impl Iterator<Item = &InstanceArn> {
        self.removed.iter().take_while(move |(at, _)| *at <= until_ms).map(|(_, node)| node)
    }

    /// Revisions whose deletion was asked for and of which there is no task.
    pub fn deleted_and_idle(&self) -> impl Iterator<Item = &DefinitionKey> {
        self.deleted.iter().filter(|key| !self.uses.contains_key(key))
    }

    /// Join tokens that expired at `until_ms` or before.
    pub fn join_tokens_until(&self, until_ms: u64) -> impl Iterator<Item = &TokenId> {
        self.join_tokens.iter().take_while(move |(at, _)| *at <= until_ms).map(|(_, id)| id)
    }

    /// The session after the newest one.
    #[must_use]
    pub fn next_session(&self) -> SessionId {
        SessionId(self.last_session + 1)
    }

    /// The newest session that there was.
    #[must_use]
    pub fn last_session(&self) -> SessionId {
        SessionId(self.last_session)
    }

    /// No new session gets a number up to this one.
    pub fn sessions_until(&mut self, last: SessionId) {
        self.last_session = self.last_session.max(last.0);
    }

    /// Texts that tasks have in common.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// What services have to be looked at, and why.
    #[must_use]
    pub fn agenda(&self) -> &Agenda {
        &self.agenda
    }

    /// The same, for the owner, who works it off.
    pub fn agenda_mut(&mut self) -> &mut Agenda {
        &mut self.agenda
    }

    pub(super) fn service(&mut self, service: &Service) {
        self.agenda.service(service);
    }

    pub(super) fn wake_at(&mut self, service: &ServiceKey, at_ms: Option<u64>) {
        self.agenda.wake_at(service, at_ms);
    }

    pub(super) fn happened(&mut self, key: &ServiceKey, before: Option<&Task>, after: &Task) {
        self.agenda.add(key, Happened::between(before, after));
    }

    pub(super) fn node_moved(&mut self, cluster: &ClusterName, services: BTreeSet<ServiceKey>) {
        self.agenda.node_moved(cluster, services);
    }

    pub(super) fn run_token(&mut self, expires_at_ms: u64, cluster: &ClusterName, token: &str) {
        self.run_tokens.insert((expires_at_ms, cluster.clone(), token.to_owned()));
    }

    pub(super) fn forget_run_token(&mut self, at_ms: u64, cluster: &ClusterName, token: &str) {
        self.run_tokens.remove(&(at_ms, cluster.clone(), token.to_owned()));
    }

    pub(super) fn join_token(&mut self, token: &JoinToken) {
        self.join_tokens.insert((token.expires_at_ms, token.id.clone()));
    }

    pub(super) fn forget_join_token(&mut self, token: &JoinToken) {
        self.join_tokens.remove(&(token.expires_at_ms, token.id.clone()));
    }

    pub(super) fn definition(&mut self, definition: &TaskDefinition) {
        if definition.status == DefinitionStatus::DeleteInProgress {
            self.deleted.insert(definition.key());
        }
    }

    pub(super) fn forget_definition(&mut self, key: &DefinitionKey) {
        self.deleted.remove(key);
    }

    /// Counts the tasks of a revision, forgotten ones not included.
    fn count_uses(&mut self, before: Option<&Task>, after: Option<&Task>) {
        match (before, after) {
            (None, Some(task)) => match self.uses.get_mut(&task.definition) {
                Some(count) => *count += 1,
                None => {
                    self.uses.insert(task.definition.clone(), 1);
                }
            },
            (Some(task), None) => {
                if let Some(count) = self.uses.get_mut(&task.definition) {
                    *count -= 1;
                    if *count == 0 {
                        self.uses.remove(&task.definition);
                    }
                }
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// A node that holds nothing and takes nothing is no longer known.
    pub(super) fn forget_node(&mut self, node: &Node) {
        self.lines.remove(&node.arn);
        if let Some(at) = node.inactive_since_ms() {
            self.removed.remove(&(at, node.arn.clone()));
        }
    }

    /// Takes a task's change into the line and the indexes. Gives the node's new sum.
    pub(super) fn task(&mut self, before: Option<&Task>, after: Option<&Task>) -> Resources {
        self.count_uses(before, after);
        if let Some(task) = before {
            self.index_out(task);
        }
        if let Some(task) = after {
            self.index_in(task);
            self.pool.note(task);
        }
        let Some(task) = after.or(before) else { return Resources::ZERO };
        let shelf = self.shelf(&task.node, Resources::ZERO);
        if after.is_some_and(|task| task.held) {
            shelf.line.adopt(&task.arn, task.reserved);
        } else {
            shelf.line.release(&task.arn);
        }
        let reserved = shelf.line.reserved();
        if before.is_some_and(|task| task.held) && !after.is_some_and(|task| task.held) {
            self.agenda.room_was_made(&task.cluster);
        }
        reserved
    }

    /// Takes a node's change: the height of its line, and whether it takes tasks.
    pub(super) fn node(&mut self, entry: &NodeEntry) {
        let record = &entry.record;
        let shelf = self.shelf(&record.arn, record.registered);
        shelf.line.register(record.registered);
        let before =
            std::mem::replace(&mut shelf.quarantined_until_ms, record.quarantined_until_ms);
        if let Some(until) = before {
            self.quarantined.remove(&(until, record.arn.clone()));
        }
        if let Some(until) = record.quarantined_until_ms {
            self.quarantined.insert((until, record.arn.clone()));
        }
        if let Some(at) = record.inactive_since_ms() {
            self.removed.insert((at, record.arn.clone()));
        }
        let zone = if record.status == NodeStatus::Active { record.zone() } else { None };
        let zone = zone.map(ToOwned::to_owned);
        let shelf = self.shelf(&record.arn, record.registered);
        let old = std::mem::replace(&mut shelf.zone, zone.clone());
        self.move_zone(&record.cluster, old, zone);
        self.shelve(entry);
    }

    fn move_zone(&mut self, cluster: &ClusterName, old: Option<String>, new: Option<String>) {
        if old == new {
            return;
        }
        let zones = self.zones.entry(cluster.clone()).or_default();
        if let Some(old) = old
            && let Some(count) = zones.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                zones.remove(&old);
            }
        }
        if let Some(new) = new {
            *zones.entry(new).or_default() += 1;
        }
    }

    /// Whether the cluster's ACTIVE nodes are in more than one availability zone.
    #[must_use]
    pub fn has_zones(&self, cluster: &ClusterName) -> bool {
        self.zones.get(cluster).is_some_and(|zones| 1 < zones.len())
    }

    /// Puts the node where it now belongs in the index of rooms.
    pub(super) fn shelve(&mut self, entry: &NodeEntry) {
        let node = &entry.record.arn;
        let left = self.line(node).map_or(Resources::ZERO, Line::left);
        let room = takes_tasks(entry)
            .then(|| (entry.record.cluster.clone(), (left.memory_mib, left.cpu_units)));
        let shelf = self.shelf(node, entry.record.registered);
        if shelf.room == room {
            return;
        }
        if let Some((cluster, key)) = std::mem::replace(&mut shelf.room, room.clone())
            && let Some(rooms) = self.rooms.get_mut(&cluster)
            && let Some(nodes) = rooms.get_mut(&key)
        {
            nodes.remove(node);
            if nodes.is_empty() {
                rooms.remove(&key);
            }
        }
        if let Some((cluster, key)) = room {
            let rooms = self.rooms.entry(cluster).or_default();
            rooms.entry(key).or_default().insert(node.clone());
        }
    }

    fn shelf(&mut self, node: &InstanceArn, registered: Resources) -> &mut Shelf {
        self.lines.entry(node.clone()).or_insert_with(|| Shelf {
            line: Line::new(registered),
            room: None,
            quarantined_until_ms: None,
            zone: None,
        })
    }

    fn index_in(&mut self, task: &Task) {
        if counts_in_group(task) {
            let groups = self.groups.entry(task.cluster.clone()).or_default();
            let nodes = groups.entry(task.group.clone()).or_default();
            *nodes.entry(task.node.clone()).or_default() += 1;
        }
        if let Some(at) = forgettable_from(task) {
            self.stopped.insert((at, task.arn.clone()));
        }
    }

    fn index_out(&mut self, task: &Task) {
        if counts_in_group(task) {
            let groups = self.groups.get_mut(&task.cluster);
            if let Some(groups) = groups
                && let Some(nodes) = groups.get_mut(&task.group)
            {
                if let Some(count) = nodes.get_mut(&task.node) {
                    *count -= 1;
                    if *count == 0 {
                        nodes.remove(&task.node);
                    }
                }
                if nodes.is_empty() {
                    groups.remove(&task.group);
                }
            }
        }
        if let Some(at) = forgettable_from(task) {
            self.stopped.remove(&(at, task.arn.clone()));
        }
    }
}

/// Whether a node may be given tasks at all.
#[must_use]
pub fn takes_tasks(entry: &NodeEntry) -> bool {
    entry.record.status == NodeStatus::Active
        && entry.agent_connected()
        && entry.record.lost_at_ms.is_none()
        && entry.record.quarantined_until_ms.is_none()
}

fn counts_in_group(task: &Task) -> bool {
    task.desired == loadline_model::DesiredStatus::Running && task.last_status.holds_reservation()
}

fn forgettable_from(task: &Task) -> Option<u64> {
    if task.held { None } else { task.stopped_at_ms }
}
