//! Clusters come and go.

use std::sync::Arc;

use super::{Applied, active_cluster};
use crate::command::{CreateCluster, DeleteCluster, Refusal, Reply};
use crate::state::{Cluster, ClusterStatus, State, Write};

pub(super) fn create(state: &State, command: &CreateCluster, now_ms: u64) -> Applied {
    if let Ok(entry) = active_cluster(&state.view, &command.cluster) {
        return (Vec::new(), Reply::Cluster(Arc::clone(&entry.record)));
    }
    let cluster = Arc::new(Cluster {
        name: command.cluster.clone(),
        status: ClusterStatus::Active,
        created_at_ms: now_ms,
        tags: command.tags.clone(),
    });
    (vec![Write::Cluster(Arc::clone(&cluster))], Reply::Cluster(cluster))
}

pub(super) fn delete(state: &State, command: &DeleteCluster) -> Result<Applied, Refusal> {
    let entry = active_cluster(&state.view, &command.cluster)?;
    let cluster = command.cluster.clone();
    if 0 < entry.nodes {
        return Err(Refusal::ClusterContainsNodes { cluster, nodes: entry.nodes });
    }
    if 0 < entry.services {
        return Err(Refusal::ClusterContainsServices { cluster, services: entry.services });
    }
    if 0 < entry.live_tasks {
        return Err(Refusal::ClusterContainsTasks { cluster, tasks: entry.live_tasks });
    }
    let record = Cluster { status: ClusterStatus::Inactive, ..Cluster::clone(&entry.record) };
    let cluster = Arc::new(record);
    Ok((vec![Write::Cluster(Arc::clone(&cluster))], Reply::Cluster(cluster)))
}
