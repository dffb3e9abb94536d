//! The owner's face of the state: a [`View`] and its ledger, and how they take in a write.

use std::collections::BTreeSet;
use std::sync::Arc;

use loadline_model::{InstanceArn, TaskArn, TaskStatus};
use rpds::RedBlackTreeSetSync;

use super::ledger::Ledger;
use super::{
    Cluster, ClusterEntry, ClusterName, Connection, DefinitionKey, DefinitionStatus, Node,
    NodeEntry, NodeStatus, PlacementStrategy, RunToken, Scope, Service, ServiceEntry, ServiceKey,
    ServiceStatus, Task, TaskDefinition, View, Write,
};
use crate::services::Settings;

/// The whole state, as `apply` decides on it.
#[derive(Clone, Debug)]
pub struct State {
    /// What readers see, once it is committed.
    pub view: View,
    /// What only the owner needs.
    pub ledger: Ledger,
    /// What of the services' behaviour can be set.
    pub settings: Settings,
}

impl State {
    /// Nothing at all.
    #[must_use]
    pub fn empty(scope: Scope) -> Self {
        Self { view: View::empty(scope), ledger: Ledger::default(), settings: Settings::default() }
    }

    /// Lets a record that was read from the store share what others have as well.
    pub fn share(&mut self, write: &mut Write) {
        if let Write::Task(task) = write
            && let Some(task) = Arc::get_mut(task)
        {
            self.ledger.pool_mut().share(task);
        }
    }

    /// Takes in a write: from `apply`, or from the store at open. Costs a few map steps.
    pub fn absorb(&mut self, write: &Write) {
        match write {
            Write::Cluster(cluster) => self.cluster(cluster),
            Write::Definition(definition) => self.definition(definition),
            Write::ForgetDefinition(key) => self.forget_definition(key),
            Write::Family(family, revision) => {
                let mut entry = self.view.families.get(family).copied().unwrap_or_default();
                entry.last_revision = entry.last_revision.max(*revision);
                self.view.families.insert_mut(family.clone(), entry);
            }
            Write::Task(task) => self.task(&task.arn, Some(task)),
            Write::ForgetTask(arn) => self.task(arn, None),
            Write::Node(node) => self.node(node),
            Write::Generation(node, generation) => {
                self.change_node(node, |entry| entry.generation = *generation);
            }
            Write::ForgetNode(arn) => {
                if let Some(entry) = self.view.nodes.get(arn) {
                    self.ledger.forget_node(&entry.record);
                }
                self.view.nodes.remove_mut(arn);
            }
            // It lives in the node's entry.
            Write::ForgetGeneration(_) => {}
            Write::ForgetJoinToken(id) => {
                if let Some(token) = self.view.tokens.get(id) {
                    self.ledger.forget_join_token(token);
                }
                self.view.tokens.remove_mut(id);
            }
            Write::JoinToken(token) => {
                self.ledger.join_token(token);
                self.view.tokens.insert_mut(token.id.clone(), Arc::clone(token));
            }
            Write::RunToken(token) => self.run_token(token),
            Write::ForgetRunToken(cluster, token) => {
                let key = (cluster.clone(), token.clone());
                if let Some(record) = self.view.run_tokens.get(&key) {
                    self.ledger.forget_run_token(record.expires_at_ms, cluster, token);
                }
                self.view.run_tokens.remove_mut(&key);
            }
            Write::Vault(record) => self.view.vault.absorb(record),
            Write::ForgetVault(key) => self.view.vault.forget(key),
            Write::Iam(record) => self.view.iam.absorb(record),
            Write::ForgetIam(key) => self.view.iam.forget(key),
            Write::Service(service) => self.service(service),
            Write::Wake(service, at_ms) => self.ledger.wake_at(service, *at_ms),
            Write::Connection(node, connection) => self.connection(node, connection.as_ref()),
        }
    }

    fn cluster(&mut self, record: &Arc<Cluster>) {
        let entry = match self.view.clusters.get(&record.name) {
            Some(entry) => {
                ClusterEntry { record: Arc::clone(record), ..ClusterEntry::clone(entry) }
            }
            None => ClusterEntry {
                record: Arc::clone(record),
                running_tasks: 0,
                pending_tasks: 0,
                live_tasks: 0,
                services: 0,
                draining_services: 0,
                nodes: 0,
            },
        };
        self.view.clusters.insert_mut(record.name.clone(), Arc::new(entry));
    }

    fn definition(&mut self, definition: &Arc<TaskDefinition>) {
        let key = definition.key();
        let active = |d: &TaskDefinition| u32::from(d.status == DefinitionStatus::Active);
        let old = self.view.definitions.get(&key);
        let before = old.map_or(0, |old| active(old));
        let mut family = self.view.families.get(&key.family).copied().unwrap_or_default();
        family.active = family.active + active(definition) - before;
        family.revisions += u32::from(old.is_none());
        self.ledger.definition(definition);
        family.last_revision = family.last_revision.max(key.revision);
        self.view.families.insert_mut(key.family.clone(), family);
        self.view.definitions.insert_mut(key, Arc::clone(definition));
    }

    fn forget_definition(&mut self, key: &DefinitionKey) {
        let Some(old) = self.view.definitions.get(key) else { return };
        let active = u32::from(old.status == DefinitionStatus::Active);
        if let Some(family) = self.view.families.get_mut(&key.family) {
            family.active -= active;
            family.revisions -= 1;
        }
        self.ledger.forget_definition(key);
        self.view.definitions.remove_mut(key);
    }

    fn task(&mut self, arn: &TaskArn, after: Option<&Arc<Task>>) {
        let before = self.view.tasks.get(arn).cloned();
        let Some(any) = after.or(before.as_ref()).cloned() else { return };
        let reserved = self.ledger.task(before.as_deref(), after.map(Arc::as_ref));
        let (old, new) = (Tally::of(before.as_deref()), Tally::of(after.map(Arc::as_ref)));
        if let Some(entry) = self.view.clusters.get_mut(&any.cluster) {
            let entry = Arc::make_mut(entry);
            entry.running_tasks = entry.running_tasks + new.running - old.running;
            entry.pending_tasks = entry.pending_tasks + new.pending - old.pending;
            entry.live_tasks = entry.live_tasks + new.live - old.live;
        }
        self.service_task(before.as_deref(), &any, (old, new));
        self.change_node(&any.node, |entry| {
            entry.reserved = reserved;
            entry.running_tasks = entry.running_tasks + new.running - old.running;
            entry.pending_tasks = entry.pending_tasks + new.pending - old.pending;
            entry.live_tasks = entry.live_tasks + new.live - old.live;
            if after.is_some_and(|task| task.held) {
                entry.tasks.insert_mut(any.arn.clone());
            } else {
                entry.tasks.remove_mut(&any.arn);
            }
        });
        match after {
            Some(task) => self.view.tasks.insert_mut(arn.clone(), Arc::clone(task)),
            None => {
                self.view.tasks.remove_mut(arn);
            }
        }
    }

    /// A service's task moved: the service's sums, and that something happened to it.
    fn service_task(&mut self, before: Option<&Task>, any: &Task, (old, new): (Tally, Tally)) {
        let Some(name) = any.service.clone() else { return };
        let key = ServiceKey { cluster: any.cluster.clone(), name };
        if let Some(entry) = self.view.services.get_mut(&key) {
            let entry = Arc::make_mut(entry);
            entry.running_tasks = entry.running_tasks + new.running - old.running;
            entry.pending_tasks = entry.pending_tasks + new.pending - old.pending;
            if 0 < new.live {
                entry.tasks.insert_mut(any.arn.clone());
            } else {
                entry.tasks.remove_mut(&any.arn);
            }
            self.ledger.happened(&key, before, any);
        }
    }

    fn service(&mut self, record: &Arc<Service>) {
        let alive = |status: ServiceStatus| u32::from(status != ServiceStatus::Inactive);
        let draining = |status: ServiceStatus| u32::from(status == ServiceStatus::Draining);
        let old = self.view.services.get(&record.key);
        let before = old.map(|entry| entry.record.status);
        let entry = match old {
            Some(old) => ServiceEntry { record: Arc::clone(record), ..ServiceEntry::clone(old) },
            None => ServiceEntry {
                record: Arc::clone(record),
                tasks: RedBlackTreeSetSync::new_sync(),
                running_tasks: 0,
                pending_tasks: 0,
            },
        };
        if let Some(cluster) = self.view.clusters.get_mut(&record.key.cluster) {
            let cluster = Arc::make_mut(cluster);
            cluster.services += alive(record.status);
            cluster.services -= before.map_or(0, alive);
            cluster.draining_services += draining(record.status);
            cluster.draining_services -= before.map_or(0, draining);
        }
        self.ledger.service(record);
        for strategy in &record.strategy {
            if let PlacementStrategy::Spread(field) = strategy
                && let Some(attribute) = field.strip_prefix("attribute:")
            {
                let nodes = self.view.nodes_in(&record.key.cluster, None);
                self.ledger.count_by(&record.key.cluster, attribute, nodes);
            }
        }
        self.view.services.insert_mut(record.key.clone(), Arc::new(entry));
    }

    /// Every service that a change of this node may move: those that have tasks there, and those
    /// that look for a place.
    fn node_moved(&mut self, node: &InstanceArn) {
        let Some(entry) = self.view.nodes.get(node) else { return };
        let tasks = entry.tasks.iter().filter_map(|arn| self.view.tasks.get(arn));
        let services = tasks.filter_map(|task| {
            Some(ServiceKey { cluster: task.cluster.clone(), name: task.service.clone()? })
        });
        let services: BTreeSet<_> = services.collect();
        self.ledger.node_moved(&entry.record.cluster, services);
    }

    fn node(&mut self, record: &Arc<Node>) {
        let counts = |status: NodeStatus| u32::from(status != NodeStatus::Inactive);
        let old = self.view.nodes.get(&record.arn);
        let before = old.map_or(0, |entry| counts(entry.record.status));
        let entry = match old {
            Some(entry) => NodeEntry { record: Arc::clone(record), ..NodeEntry::clone(entry) },
            None => NodeEntry {
                record: Arc::clone(record),
                generation: 0,
                connection: None,
                reserved: loadline_model::Resources::ZERO,
                running_tasks: 0,
                pending_tasks: 0,
                live_tasks: 0,
                tasks: RedBlackTreeSetSync::new_sync(),
            },
        };
        if let Some(cluster) = self.view.clusters.get_mut(&record.cluster) {
            let cluster = Arc::make_mut(cluster);
            cluster.nodes = cluster.nodes + counts(record.status) - before;
        }
        self.ledger.node(&entry);
        self.view.nodes.insert_mut(record.arn.clone(), Arc::new(entry));
        self.node_moved(&record.arn);
    }

    fn connection(&mut self, node: &InstanceArn, connection: Option<&Connection>) {
        if let Some(connection) = connection {
            self.ledger.sessions_until(connection.session);
        }
        let before = self.view.node(node).is_some_and(NodeEntry::agent_connected);
        self.change_node(node, |entry| entry.connection = connection.cloned());
        if before != connection.is_some() {
            self.node_moved(node);
        }
    }

    fn run_token(&mut self, token: &Arc<RunToken>) {
        let key: (ClusterName, String) = (token.cluster.clone(), token.token.clone());
        self.ledger.run_token(token.expires_at_ms, &key.0, &key.1);
        self.view.run_tokens.insert_mut(key, Arc::clone(token));
    }

    fn change_node(&mut self, node: &InstanceArn, change: impl FnOnce(&mut NodeEntry)) {
        if let Some(entry) = self.view.nodes.get_mut(node) {
            let entry = Arc::make_mut(entry);
            change(entry);
            self.ledger.shelve(entry);
        }
    }
}

/// How a task counts in the sums of its cluster and its node.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    running: u32,
    pending: u32,
    live: u32,
}

impl Tally {
    fn of(task: Option<&Task>) -> Self {
        let Some(status) = task.map(|task| task.last_status) else { return Self::default() };
        let before_running = status.rank() < TaskStatus::Running.rank();
        Self {
            running: u32::from(status == TaskStatus::Running),
            pending: u32::from(before_running),
            live: u32::from(status != TaskStatus::Stopped),
        }
    }
}
