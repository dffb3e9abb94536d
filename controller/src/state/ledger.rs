//! What only the owner of the state keeps: the nodes' lines, and the indexes that make a decision
//! cost what it touches and not what the cluster holds. All of it is derived from the records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use loadline_model::{InstanceArn, Line, Resources, TaskArn};

use super::agenda::{Agenda, Happened};
use super::crowd::{Crowd, Floor, RoomKey, Values};
use super::{
    AZ_ATTRIBUTE, ClusterName, DefinitionKey, DefinitionStatus, JoinToken, Node, NodeEntry,
    NodeStatus, Pool, Service, ServiceKey, SessionId, Task, TaskDefinition, Text, TokenId,
};

/// Lines and indexes.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    lines: HashMap<InstanceArn, Shelf>,
    zones: HashMap<ClusterName, BTreeMap<String, u32>>,
    floors: HashMap<ClusterName, Floor>,
    groups: HashMap<ClusterName, HashMap<Text, Crowd>>,
    /// The attributes that are spread over.
    fields: HashMap<ClusterName, BTreeSet<String>>,
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
    values: Values,
    /// The groups that have tasks on it.
    crowds: BTreeSet<Text>,
    quarantined_until_ms: Option<u64>,
    zone: Option<String>,
}

/// Most attributes by which the nodes of a cluster are counted: each costs a few steps with every
/// change of a task.
const FIELDS_MAX: usize = 8;

/// A node whose record is not known yet, or that lacks the attribute.
const NO_VALUE: &Option<String> = &None;

impl Shelf {
    fn new(registered: Resources) -> Self {
        Self {
            line: Line::new(registered),
            room: None,
            values: Values::new(),
            crowds: BTreeSet::new(),
            quarantined_until_ms: None,
            zone: None,
        }
    }

    fn values_of<'a>(
        &'a self,
        fields: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = (&'a str, &'a Option<String>)> {
        fields.iter().map(|field| (field.as_str(), self.values.get(field).unwrap_or(NO_VALUE)))
    }
}

/// What is spread over in a cluster: its zones, and what its services name.
fn fields_of<'a>(
    fields: &'a mut HashMap<ClusterName, BTreeSet<String>>,
    cluster: &ClusterName,
) -> &'a mut BTreeSet<String> {
    let zones = || BTreeSet::from([AZ_ATTRIBUTE.to_owned()]);
    fields.entry(cluster.clone()).or_insert_with(zones)
}

impl Ledger {
    /// The node's line; `None` for a node that is not known.
    #[must_use]
    pub fn line(&self, node: &InstanceArn) -> Option<&Line> {
        self.lines.get(node).map(|shelf| &shelf.line)
    }

    /// The nodes of a cluster that take tasks now and have this much left or more, those with the
    /// least memory first.
    pub fn rooms(
        &self,
        cluster: &ClusterName,
        need: Resources,
    ) -> impl DoubleEndedIterator<Item = &InstanceArn> {
        let need = (need.memory_mib, need.cpu_units);
        let floor = self.floor(cluster).into_iter();
        floor.flat_map(move |floor| floor.all().least_first(need))
    }

    /// The nodes of a cluster that take tasks now; `None` where it never had one.
    #[must_use]
    pub fn floor(&self, cluster: &ClusterName) -> Option<&Floor> {
        self.floors.get(cluster)
    }

    /// The live tasks of a group.
    #[must_use]
    pub fn group(&self, cluster: &ClusterName, group: &str) -> Option<&Crowd> {
        self.groups.get(cluster)?.get(group)
    }

    /// Whether nodes and groups are counted by this attribute.
    #[must_use]
    pub fn counts_by(&self, cluster: &ClusterName, attribute: &str) -> bool {
        match self.fields.get(cluster) {
            Some(fields) => fields.contains(attribute),
            None => attribute == AZ_ATTRIBUTE,
        }
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
        let shelf = self.lines.remove(&node.arn);
        let is_bare = |shelf: &Shelf| shelf.room.is_none() && shelf.crowds.is_empty();
        debug_assert!(shelf.as_ref().is_none_or(is_bare), "{} is still in the indexes", node.arn);
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
        self.value(entry);
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

    /// Counts nodes and groups of a cluster by one more attribute, from now on.
    pub(super) fn count_by<'a>(
        &mut self,
        cluster: &ClusterName,
        attribute: &str,
        nodes: impl Iterator<Item = &'a NodeEntry>,
    ) {
        let fields = fields_of(&mut self.fields, cluster);
        if FIELDS_MAX <= fields.len() || !fields.insert(attribute.to_owned()) {
            return;
        }
        for entry in nodes {
            let Some(shelf) = self.lines.get_mut(&entry.record.arn) else { continue };
            let value = entry.record.attribute(attribute).map(ToOwned::to_owned);
            if let Some((cluster, key)) = &shelf.room {
                let floor = self.floors.entry(cluster.clone()).or_default();
                floor.insert_at(attribute, &value, *key, &entry.record.arn);
            }
            shelf.values.insert(attribute.to_owned(), value);
        }
        for crowd in self.groups.get_mut(cluster).into_iter().flat_map(HashMap::values_mut) {
            let nodes: Vec<_> = crowd.nodes().keys().cloned().collect();
            for node in nodes {
                let shelf = self.lines.get(&node);
                let taking = shelf.is_some_and(|shelf| shelf.room.is_some());
                let value = shelf.and_then(|shelf| shelf.values.get(attribute));
                crowd.moved(&node, taking, attribute, None, value.unwrap_or(NO_VALUE));
            }
        }
    }

    /// Takes in a node's values of what is spread over.
    fn value(&mut self, entry: &NodeEntry) {
        let Node { arn, cluster, .. } = &*entry.record;
        let fields = fields_of(&mut self.fields, cluster);
        let value = |field: &String| entry.record.attribute(field).map(ToOwned::to_owned);
        let values: Values = fields.iter().map(|field| (field.clone(), value(field))).collect();
        if self.lines.get(arn).is_some_and(|shelf| shelf.values == values) {
            return;
        }
        // It leaves the rooms by its old values, and comes back by its new ones.
        self.put(arn, None);
        let Some(shelf) = self.lines.get_mut(arn) else { return };
        let old = std::mem::replace(&mut shelf.values, values);
        let groups = self.groups.get_mut(cluster);
        let Some(groups) = groups else { return };
        for group in &shelf.crowds {
            let Some(crowd) = groups.get_mut(group) else { continue };
            for (field, new) in &shelf.values {
                // It takes nothing until it is back in the rooms.
                crowd.moved(arn, false, field, Some(old.get(field).unwrap_or(NO_VALUE)), new);
            }
        }
    }

    /// Puts the node where it now belongs in the index of rooms.
    pub(super) fn shelve(&mut self, entry: &NodeEntry) {
        let node = &entry.record.arn;
        let left = self.line(node).map_or(Resources::ZERO, Line::left);
        let room = takes_tasks(entry)
            .then(|| (entry.record.cluster.clone(), (left.memory_mib, left.cpu_units)));
        self.shelf(node, entry.record.registered);
        self.put(node, room);
    }

    fn put(&mut self, node: &InstanceArn, room: Option<(ClusterName, RoomKey)>) {
        let Some(shelf) = self.lines.get_mut(node) else { return };
        if shelf.room == room {
            return;
        }
        let old = std::mem::replace(&mut shelf.room, room);
        // A node's cluster is in its ARN: it is the same before and after.
        let any = shelf.room.as_ref().or(old.as_ref());
        let Some((cluster, _)) = any else { return };
        let floor = match self.floors.get_mut(cluster) {
            Some(floor) => floor,
            None => self.floors.entry(cluster.clone()).or_default(),
        };
        let key = |room: &Option<(ClusterName, RoomKey)>| room.as_ref().map(|(_, key)| *key);
        floor.moves(node, (key(&old), key(&shelf.room)), &shelf.values);
        let taking = shelf.room.is_some();
        if taking != old.is_some()
            && let Some(groups) = self.groups.get_mut(cluster)
        {
            for group in &shelf.crowds {
                if let Some(crowd) = groups.get_mut(group) {
                    crowd.takes(taking, &shelf.values);
                }
            }
        }
    }

    fn shelf(&mut self, node: &InstanceArn, registered: Resources) -> &mut Shelf {
        self.lines.entry(node.clone()).or_insert_with(|| Shelf::new(registered))
    }

    fn index_in(&mut self, task: &Task) {
        if counts_in_group(task) {
            let fields = fields_of(&mut self.fields, &task.cluster);
            let shelf =
                self.lines.entry(task.node.clone()).or_insert_with(|| Shelf::new(Resources::ZERO));
            let groups = self.groups.entry(task.cluster.clone()).or_default();
            let crowd = groups.entry(task.group.clone()).or_default();
            if crowd.add(&task.node, shelf.room.is_some(), shelf.values_of(fields)) {
                shelf.crowds.insert(task.group.clone());
            }
        }
        if let Some(at) = forgettable_from(task) {
            self.stopped.insert((at, task.arn.clone()));
        }
    }

    fn index_out(&mut self, task: &Task) {
        if counts_in_group(task)
            && let Some(groups) = self.groups.get_mut(&task.cluster)
            && let Some(crowd) = groups.get_mut(&task.group)
            && let Some(shelf) = self.lines.get_mut(&task.node)
        {
            let fields = fields_of(&mut self.fields, &task.cluster);
            if crowd.remove(&task.node, shelf.room.is_some(), shelf.values_of(fields)) {
                shelf.crowds.remove(&task.group);
            }
            if crowd.is_empty() {
                groups.remove(&task.group);
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
