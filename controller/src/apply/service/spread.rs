//! Where a service's tasks are: which go first when there are too many, and which move when nodes
//! came or went.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use loadline_model::Resources;

use super::history;
use super::reconcile::{Look, seed};
use super::replica::Seen;
use crate::scheduler::{self, Request, Tentative};
use crate::services::balance::{self, Place};
use crate::services::rolling::Picture;
use crate::state::{
    AZ_ATTRIBUTE, BinpackField, NodeEntry, NodeStatus, PlacementConstraint, PlacementStrategy,
    Rebalancing, Rollout, ServiceStatus, Task,
};

/// Of the desired count, one part in so many moves at once.
const MOVED_SHARE: u32 = 10;
/// Most that move at once: each looks at every node of the cluster.
const MOVED_MAX: u32 = 50;
/// Most places that an event tells of.
const PLACES_TOLD_MAX: usize = 5;

/// By what the service's tasks are placed: what it says, else by availability zones where the
/// cluster has more than one.
pub(super) fn strategy(look: &Look<'_>) -> Vec<PlacementStrategy> {
    let service = &look.service;
    if service.strategy.is_empty() && look.draft.state.ledger.has_zones(&service.key.cluster) {
        return vec![PlacementStrategy::Spread(format!("attribute:{AZ_ATTRIBUTE}"))];
    }
    service.strategy.clone()
}

/// The fields that it spreads over, the first weighs most.
fn fields(strategy: &[PlacementStrategy]) -> impl Iterator<Item = &str> {
    strategy.iter().filter_map(|strategy| match strategy {
        PlacementStrategy::Spread(field) => Some(field.as_str()),
        PlacementStrategy::Binpack(_) | PlacementStrategy::Random => None,
    })
}

/// Which tasks go first: those that do not run yet; then, by the service's first strategy, those
/// where the most of the service is (spread) or where the most room is (binpack), the newest first.
pub(super) fn choose<'a>(look: &Look<'_>, from: &[Seen<'a>], count: u32) -> Vec<&'a Arc<Task>> {
    if count == 0 {
        return Vec::new();
    }
    let strategy = strategy(look);
    let mut crowds = Crowds::new(look, &strategy, from);
    let mut heap: BinaryHeap<_> =
        crowds.tasks.keys().filter_map(|at| Some((crowds.weight(look, at)?, at.clone()))).collect();
    let mut chosen = Vec::new();
    while chosen.len() < count as usize
        && let Some((weight, at)) = heap.pop()
    {
        // What was taken elsewhere may have made this crowd smaller.
        let Some(now) = crowds.weight(look, &at) else { continue };
        if now == weight {
            chosen.extend(crowds.take(&at));
            heap.extend(crowds.weight(look, &at).map(|next| (next, at)));
        } else {
            heap.push((now, at));
        }
    }
    chosen
}

/// Tasks by the values of all fields that the service spreads over, and by their node.
struct Crowds<'s, 'a> {
    strategy: &'s [PlacementStrategy],
    tasks: BTreeMap<Vec<String>, Vec<Seen<'a>>>,
    /// How many there are at the first values of each.
    counts: HashMap<Vec<String>, u64>,
}

/// What goes first is greatest: not RUNNING; the crowds' sizes or the node's room; the newest.
type Weight = (bool, Vec<u64>, u64, String);

impl<'s, 'a> Crowds<'s, 'a> {
    fn new(look: &Look<'_>, strategy: &'s [PlacementStrategy], from: &[Seen<'a>]) -> Self {
        let mut crowds = Self { strategy, tasks: BTreeMap::new(), counts: HashMap::new() };
        for seen in from {
            let node = look.draft.state.view.node(&seen.0.node);
            let value = |field| node.and_then(|node| scheduler::spread_value(node, field));
            let at = fields(strategy).map(|field| value(field).unwrap_or_default());
            let at: Vec<_> = at.chain([seen.0.node.id().to_owned()]).collect();
            for depth in 1..=at.len() {
                *crowds.counts.entry(at[..depth].to_vec()).or_default() += 1;
            }
            crowds.tasks.entry(at).or_default().push(*seen);
        }
        for tasks in crowds.tasks.values_mut() {
            tasks.sort_by_key(|(task, running)| (!running, task.created_at_ms, task.arn.clone()));
        }
        crowds
    }

    fn weight(&self, look: &Look<'_>, at: &[String]) -> Option<Weight> {
        let (task, running) = self.tasks.get(at)?.last()?;
        let sizes = match self.strategy.first() {
            Some(PlacementStrategy::Binpack(field)) => vec![room(look, task, *field)],
            _ => (1..=at.len()).map(|depth| self.counts[&at[..depth]]).collect(),
        };
        Some((!running, sizes, task.created_at_ms, task.arn.id().to_owned()))
    }

    fn take(&mut self, at: &[String]) -> Option<&'a Arc<Task>> {
        let (task, _) = self.tasks.get_mut(at)?.pop()?;
        for depth in 1..=at.len() {
            if let Some(count) = self.counts.get_mut(&at[..depth]) {
                *count -= 1;
            }
        }
        Some(task)
    }
}

/// What the task's node has left.
fn room(look: &Look<'_>, task: &Task, field: BinpackField) -> u64 {
    let node = look.draft.state.view.node(&task.node);
    node.map_or(0, |node| match field {
        BinpackField::Cpu => node.left().cpu_units,
        BinpackField::Memory => node.left().memory_mib,
    })
}

/// A service at rest whose tasks are not spread: starts some where there are too few. They take the
/// place of others once they are healthy. Says how many.
pub(super) fn even_out(look: &mut Look<'_>, picture: &Picture, current: &[Seen<'_>]) -> u32 {
    let service = &look.service;
    let at_rest = service.rebalancing == Rebalancing::Enabled
        && service.status == ServiceStatus::Active
        && service.primary().rollout == Rollout::Completed
        && picture.is_settled()
        && picture.current_healthy == picture.desired
        && current.len() == picture.desired as usize;
    let room = picture.upper.saturating_sub(picture.total());
    let most = picture.desired.div_ceil(MOVED_SHARE).min(MOVED_MAX).min(room);
    if !at_rest || most == 0 || !look.may_launch() {
        return 0;
    }
    let strategy = strategy(look);
    let (cluster, group) =
        (&look.service.key.cluster, format!("service:{}", look.service.key.name));
    let is_even = scheduler::is_even(look.draft.state, cluster, &group, &strategy);
    if fields(&strategy).next().is_none() || is_even {
        return 0;
    }
    let moved = start(look, &strategy, current, most);
    look.service.moving = moved;
    moved
}

fn start(
    look: &mut Look<'_>,
    strategy: &[PlacementStrategy],
    current: &[Seen<'_>],
    most: u32,
) -> u32 {
    let state = look.draft.state;
    let Some(definition) = state.view.definitions.get(&look.service.primary().definition) else {
        return 0;
    };
    let group = format!("service:{}", look.service.key.name);
    let service = look.service.clone();
    let seed = seed(&service, definition, &group, look.now_ms);
    if seed.role_failure(state).is_some() {
        return 0;
    }
    let need = seed.need(state);
    let constraints = definition.body.constraints().chain(&service.constraints);
    let request = Request::new(&service.key.cluster, need, &group, constraints, strategy)
        .with_ports(&definition.body.ports);
    let single = !definition.body.ports.is_empty()
        || service.constraints.contains(&PlacementConstraint::DistinctInstance);
    let nodes: Vec<&NodeEntry> = state
        .view
        .nodes_in(&service.key.cluster, None)
        .filter(|node| node.record.status == NodeStatus::Active && !node.record.agentless)
        .filter(|node| node.record.lost_at_ms.is_none())
        .collect();
    let mut tasks: HashMap<&str, u32> = HashMap::new();
    for (task, _) in current {
        *tasks.entry(task.node.as_str()).or_default() += 1;
    }
    let none = Tentative::default();
    let place = |node: &&NodeEntry| {
        let takes = scheduler::ask(state, &none, &request, &node.record.arn);
        let fits = if matches!(takes, Some(Ok(()))) { fits(node.left(), need) } else { 0 };
        let left = node.left();
        Place {
            values: fields(strategy).map(|field| scheduler::spread_value(node, field)).collect(),
            tasks: tasks.get(node.record.arn.as_str()).copied().unwrap_or(0),
            open: if single { fits.min(1) } else { fits },
            room: (left.memory_mib, left.cpu_units),
        }
    };
    let places: Vec<Place> = nodes.iter().map(place).collect();
    let plan = balance::plan(&places, most);
    if plan.blocked {
        look.wake_at(look.now_ms.saturating_add(state.settings.balance_again_ms));
    }
    let mut started = Vec::new();
    for n in &plan.starts {
        let id = look.ids.fresh();
        let node = &nodes[*n].record.arn;
        started.push(seed.start(&mut look.draft, &id, node, need, look.ids));
    }
    if !started.is_empty() {
        tell(look, strategy, &places, &started);
    }
    u32::try_from(started.len()).unwrap_or(u32::MAX)
}

/// How many more tasks fit.
fn fits(left: Resources, need: Resources) -> u32 {
    let share = |left: u64, need: u64| left.checked_div(need).unwrap_or(u64::MAX);
    let fits = share(left.cpu_units, need.cpu_units).min(share(left.memory_mib, need.memory_mib));
    u32::try_from(fits).unwrap_or(u32::MAX)
}

/// In ECS's words where it is about availability zones.
fn tell(
    look: &mut Look<'_>,
    strategy: &[PlacementStrategy],
    places: &[Place],
    started: &[Arc<Task>],
) {
    let field = fields(strategy).next().unwrap_or_default();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for place in places {
        if let Some(Some(value)) = place.values.first() {
            *counts.entry(value).or_default() += place.tasks;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    let shown = counts.iter().take(PLACES_TOLD_MAX);
    let shown: Vec<_> = shown.map(|(value, count)| format!("{count} tasks in {value}")).collect();
    let shown = shown.join(", ");
    if field.strip_prefix("attribute:") == Some(AZ_ATTRIBUTE) {
        look.tell(&format!("is not AZ balanced with {shown}. AZ Rebalancing in progress."));
    } else {
        look.tell(&format!("is not balanced over {field} with {shown}. Rebalancing in progress."));
    }
    look.tell(&history::counted("started", "tasks to rebalance", started));
    look.service.steady = false;
}
