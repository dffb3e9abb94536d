//! The readers' face of the state.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use loadline_model::{Assignment, InstanceArn, Protocol, TaskArn, TaskStatus};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use super::{
    ClusterEntry, ClusterName, DefinitionKey, DefinitionStatus, Family, JoinToken, NodeEntry,
    RunToken, Scope, ServiceEntry, ServiceKey, ServiceName, Task, TaskDefinition, TokenId,
};

/// The cluster as of one commit.
#[derive(Clone, Debug)]
pub struct View {
    /// What ARNs begin with.
    pub scope: Arc<Scope>,
    pub(crate) clusters: RedBlackTreeMapSync<ClusterName, Arc<ClusterEntry>>,
    pub(crate) definitions: RedBlackTreeMapSync<DefinitionKey, Arc<TaskDefinition>>,
    pub(crate) families: RedBlackTreeMapSync<Family, FamilyEntry>,
    pub(crate) tasks: RedBlackTreeMapSync<TaskArn, Arc<Task>>,
    pub(crate) nodes: RedBlackTreeMapSync<InstanceArn, Arc<NodeEntry>>,
    pub(crate) services: RedBlackTreeMapSync<ServiceKey, Arc<ServiceEntry>>,
    pub(crate) tokens: RedBlackTreeMapSync<TokenId, Arc<JoinToken>>,
    pub(crate) run_tokens: HashTrieMapSync<(ClusterName, String), Arc<RunToken>>,
    /// Users, roles and policies.
    pub iam: crate::iam::Directory,
    /// Secrets and parameters.
    pub vault: crate::vault::Vault,
}

/// A family's revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FamilyEntry {
    /// The newest number given out.
    pub(crate) last_revision: u32,
    /// How many are ACTIVE.
    pub(crate) active: u32,
    /// How many there are, of any status.
    pub(crate) revisions: u32,
}

impl View {
    /// Nothing at all.
    #[must_use]
    pub fn empty(scope: Scope) -> Self {
        Self {
            scope: Arc::new(scope),
            clusters: RedBlackTreeMapSync::new_sync(),
            definitions: RedBlackTreeMapSync::new_sync(),
            families: RedBlackTreeMapSync::new_sync(),
            tasks: RedBlackTreeMapSync::new_sync(),
            nodes: RedBlackTreeMapSync::new_sync(),
            services: RedBlackTreeMapSync::new_sync(),
            tokens: RedBlackTreeMapSync::new_sync(),
            run_tokens: HashTrieMapSync::new_sync(),
            iam: crate::iam::Directory::default(),
            vault: crate::vault::Vault::default(),
        }
    }

    /// A cluster of any status.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> Option<&ClusterEntry> {
        self.clusters.get(name).map(Arc::as_ref)
    }

    /// Every cluster of any status, by name.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterEntry> {
        self.clusters.values().map(Arc::as_ref)
    }

    /// One revision of any status.
    #[must_use]
    pub fn definition(&self, family: &Family, revision: u32) -> Option<&Arc<TaskDefinition>> {
        self.definitions.get(&DefinitionKey { family: family.clone(), revision })
    }

    /// The newest ACTIVE revision of a family.
    #[must_use]
    pub fn latest_active(&self, family: &Family) -> Option<&Arc<TaskDefinition>> {
        let newest = self.families.get(family)?.last_revision;
        (1..=newest)
            .rev()
            .filter_map(|revision| self.definition(family, revision))
            .find(|definition| definition.status == DefinitionStatus::Active)
    }

    /// Every revision, by family and then by number.
    pub fn definitions(&self) -> impl DoubleEndedIterator<Item = &Arc<TaskDefinition>> {
        self.definitions.values()
    }

    /// Every family that has a revision, by name, and whether it has an ACTIVE revision.
    pub fn families(&self) -> impl Iterator<Item = (&Family, bool)> {
        let there = self.families.iter().filter(|(_, entry)| 0 < entry.revisions);
        there.map(|(family, entry)| (family, 0 < entry.active))
    }

    /// A task that is not forgotten yet.
    #[must_use]
    pub fn task(&self, arn: &TaskArn) -> Option<&Arc<Task>> {
        self.tasks.get(arn)
    }

    /// A cluster's tasks of any status in the order of their ARNs, beginning after `after`.
    pub fn tasks_in<'a>(
        &'a self,
        cluster: &ClusterName,
        after: Option<&TaskArn>,
    ) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        let first = self.scope.task_arn(cluster, "-");
        let start = match (after, first) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(first)) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let cluster = cluster.clone();
        self.tasks
            .range((start, Bound::Unbounded))
            .map(|(_, task)| task)
            .take_while(move |task| task.cluster == cluster)
    }

    /// A container instance of any status.
    #[must_use]
    pub fn node(&self, arn: &InstanceArn) -> Option<&NodeEntry> {
        self.nodes.get(arn).map(Arc::as_ref)
    }

    /// A cluster's container instances of any status in the order of their ARNs, beginning after
    /// `after`.
    pub fn nodes_in<'a>(
        &'a self,
        cluster: &ClusterName,
        after: Option<&InstanceArn>,
    ) -> impl Iterator<Item = &'a NodeEntry> + use<'a> {
        let first = self.scope.instance_arn(cluster, "-");
        let start = match (after, first) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(first)) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let cluster = cluster.clone();
        self.nodes
            .range((start, Bound::Unbounded))
            .map(|(_, node)| node.as_ref())
            .take_while(move |node| node.record.cluster == cluster)
    }

    /// A service of any status; of several with one name the newest.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&ServiceEntry> {
        self.services.get(key).map(Arc::as_ref)
    }

    /// A cluster's services of any status by name, beginning after `after`.
    pub fn services_in<'a>(
        &'a self,
        cluster: &ClusterName,
        after: Option<&ServiceName>,
    ) -> impl Iterator<Item = &'a ServiceEntry> + use<'a> {
        let key = |name: &ServiceName| ServiceKey { cluster: cluster.clone(), name: name.clone() };
        let first = ServiceName::parse("-").ok();
        let start = match (after, first) {
            (Some(after), _) => Bound::Excluded(key(after)),
            (None, Some(first)) => Bound::Included(key(&first)),
            (None, None) => Bound::Unbounded,
        };
        let cluster = cluster.clone();
        self.services
            .range((start, Bound::Unbounded))
            .map(|(_, service)| service.as_ref())
            .take_while(move |service| service.record.key.cluster == cluster)
    }

    /// How many tasks of a deployment are RUNNING, and how many are before that.
    #[must_use]
    pub fn deployment_tasks(&self, service: &ServiceEntry, deployment: &str) -> (u32, u32) {
        let tasks = service.tasks.iter().filter_map(|arn| self.task(arn));
        let of_it = tasks.filter(|task| task.started_by.as_deref() == Some(deployment));
        of_it.fold((0, 0), |(running, pending), task| {
            let rank = task.last_status.rank();
            match rank.cmp(&TaskStatus::Running.rank()) {
                Ordering::Less => (running, pending + 1),
                Ordering::Equal => (running + 1, pending),
                Ordering::Greater => (running, pending),
            }
        })
    }

    /// The node's whole desired state as of this view: its generation and every held task. A node
    /// that is not known, or was removed, has none.
    #[must_use]
    pub fn desired_state(&self, node: &InstanceArn) -> Option<(u64, Vec<Assignment>)> {
        let entry = self.node(node)?;
        let assignments = entry.tasks.iter().filter_map(|arn| self.assignment(self.task(arn)?));
        Some((entry.generation, assignments.collect()))
    }

    /// A task as its node is told about it; `None` only where its definition is unknown, which the
    /// state's invariants exclude.
    #[must_use]
    pub fn assignment(&self, task: &Task) -> Option<Assignment> {
        Some(self.definitions.get(&task.definition)?.assignment(task))
    }

    /// The host's ports that the node's held tasks use.
    pub fn ports_on<'a>(
        &'a self,
        node: &'a NodeEntry,
    ) -> impl Iterator<Item = (u16, Protocol)> + 'a {
        let tasks = node.tasks.iter().filter_map(|arn| self.task(arn));
        tasks.flat_map(|task| {
            let definition = self.definitions.get(&task.definition);
            let asked = definition.into_iter().flat_map(|definition| &definition.body.ports);
            let said = task.containers.iter().flat_map(|container| &container.network_bindings);
            let asked = asked.map(|port| (port.port, port.protocol));
            asked.chain(said.map(|binding| (binding.host_port, binding.protocol)))
        })
    }

    /// A join token, revoked and expired ones included.
    #[must_use]
    pub fn join_token(&self, id: &TokenId) -> Option<&Arc<JoinToken>> {
        self.tokens.get(id)
    }

    /// Every join token, by id.
    pub fn join_tokens(&self) -> impl Iterator<Item = &Arc<JoinToken>> {
        self.tokens.values()
    }
}
