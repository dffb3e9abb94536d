//! Texts that many tasks have in common are kept once: a group, a deployment's id, an image's
//! digest, a node's ARN. Nothing depends on it but memory.

use std::collections::HashSet;
use std::hash::Hash;

use loadline_model::{ContainerName, InstanceArn};

use super::{ClusterName, Family, ServiceName, Task, Text};

/// Most texts of one kind that are known; a pool that has reached this begins anew.
const POOL_MAX: usize = 1 << 16;

/// The texts that are known.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    texts: HashSet<Text>,
    clusters: HashSet<ClusterName>,
    nodes: HashSet<InstanceArn>,
    families: HashSet<Family>,
    services: HashSet<ServiceName>,
    containers: HashSet<ContainerName>,
}

impl Pool {
    /// The text as it is known already, or a new one.
    #[must_use]
    pub fn text(&self, text: &str) -> Text {
        self.texts.get(text).cloned().unwrap_or_else(|| text.into())
    }

    /// The same, for a cluster's name.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> ClusterName {
        self.clusters.get(name).unwrap_or(name).clone()
    }

    /// Makes a task's texts known.
    pub(super) fn note(&mut self, task: &Task) {
        note(&mut self.clusters, &task.cluster);
        note(&mut self.texts, &task.group);
        task.started_by.iter().for_each(|text| note(&mut self.texts, text));
        for container in &task.containers {
            container.image_digest.iter().for_each(|text| note(&mut self.texts, text));
        }
    }

    /// Lets a task that was read from the store share what others have as well.
    pub(super) fn share(&mut self, task: &mut Task) {
        share(&mut self.clusters, &mut task.cluster);
        share(&mut self.nodes, &mut task.node);
        share(&mut self.families, &mut task.definition.family);
        share(&mut self.texts, &mut task.group);
        task.service.iter_mut().for_each(|name| share(&mut self.services, name));
        let texts = task.started_by.iter_mut().chain(&mut task.stopped_reason);
        texts.for_each(|text| share(&mut self.texts, text));
        for container in &mut task.containers {
            share(&mut self.containers, &mut container.name);
            container.image_digest.iter_mut().for_each(|text| share(&mut self.texts, text));
        }
        task.containers.shrink_to_fit();
        task.tags.shrink_to_fit();
    }
}

fn note<T: Clone + Eq + Hash>(known: &mut HashSet<T>, one: &T) {
    if !known.contains(one) {
        if POOL_MAX <= known.len() {
            known.clear();
        }
        known.insert(one.clone());
    }
}

fn share<T: Clone + Eq + Hash>(known: &mut HashSet<T>, one: &mut T) {
    match known.get(one) {
        Some(same) => *one = same.clone(),
        None => note(known, one),
    }
}
