//! Clusters.

use super::reference::{DEFAULT_CLUSTER, active_cluster, cluster_name};
use super::shapes::{Failure, NameValue, Tag, show_tags};
use super::{check, from_call, page::Pager};
use crate::api::wire::{Never, shape};
use crate::api::{Api, ApiError};
use crate::command::{CreateCluster, DeleteCluster};
use crate::state::{ClusterEntry, ClusterName, ClusterStatus, View};

/// Most clusters of one DescribeClusters.
const DESCRIBE_MAX: usize = 100;

shape! {
    /// CreateCluster's input.
    CreateClusterRequest = "CreateClusterRequest" {
        /// `default` where absent.
        cluster_name: "clusterName" => Option<String>,
        /// Tags.
        tags: "tags" => Option<Vec<Tag>>,
        /// Only `containerInsights` = `disabled`.
        settings: "settings" => Option<Vec<ClusterSetting>>,
    }
    unsupported [
        "configuration", "capacityProviders", "defaultCapacityProviderStrategy",
        "serviceConnectDefaults",
    ]
}

shape! {
    /// A setting of a cluster.
    ClusterSetting = "ClusterSetting" {
        /// Its name.
        name: "name" => Option<String>,
        /// Its value.
        value: "value" => Option<String>,
    }
}

shape! {
    /// CreateCluster's output.
    CreateClusterResponse = "CreateClusterResponse" {
        /// As it is now.
        cluster: "cluster" => Cluster,
    }
}

shape! {
    /// UpdateCluster's input.
    UpdateClusterRequest = "UpdateClusterRequest" {
        /// Name or ARN.
        cluster: "cluster" => String,
        /// Only `containerInsights` = `disabled`.
        settings: "settings" => Option<Vec<ClusterSetting>>,
    }
    unsupported ["configuration", "serviceConnectDefaults"]
}

shape! {
    /// UpdateCluster's output.
    UpdateClusterResponse = "UpdateClusterResponse" {
        /// As it is now.
        cluster: "cluster" => Cluster,
    }
}

shape! {
    /// UpdateClusterSettings' input.
    UpdateClusterSettingsRequest = "UpdateClusterSettingsRequest" {
        /// Name or ARN.
        cluster: "cluster" => String,
        /// Only `containerInsights` = `disabled`.
        settings: "settings" => Vec<ClusterSetting>,
    }
}

shape! {
    /// UpdateClusterSettings' output.
    UpdateClusterSettingsResponse = "UpdateClusterSettingsResponse" {
        /// As it is now.
        cluster: "cluster" => Cluster,
    }
}

shape! {
    /// DeleteCluster's input.
    DeleteClusterRequest = "DeleteClusterRequest" {
        /// Name or ARN.
        cluster: "cluster" => String,
    }
}

shape! {
    /// DeleteCluster's output.
    DeleteClusterResponse = "DeleteClusterResponse" {
        /// As it is now.
        cluster: "cluster" => Cluster,
    }
}

shape! {
    /// DescribeClusters' input.
    DescribeClustersRequest = "DescribeClustersRequest" {
        /// Names or ARNs; `default` where empty.
        clusters: "clusters" => Option<Vec<String>>,
        /// What else to show.
        include: "include" => Option<Vec<String>>,
    }
}

shape! {
    /// DescribeClusters' output.
    DescribeClustersResponse = "DescribeClustersResponse" {
        /// Those that are there.
        clusters: "clusters" => Vec<Cluster>,
        /// Those that are not.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// ListClusters' input.
    ListClustersRequest = "ListClustersRequest" {
        /// From the page before.
        next_token: "nextToken" => Option<String>,
        /// 1 to 100.
        max_results: "maxResults" => Option<i32>,
    }
}

shape! {
    /// ListClusters' output.
    ListClustersResponse = "ListClustersResponse" {
        /// The ACTIVE ones.
        cluster_arns: "clusterArns" => Vec<String>,
        /// For the next page.
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// A cluster as it is shown.
    Cluster = "Cluster" {
        /// ARN.
        cluster_arn: "clusterArn" => String,
        /// Name.
        cluster_name: "clusterName" => String,
        /// ACTIVE or INACTIVE.
        status: "status" => String,
        /// Nodes that are not INACTIVE.
        registered_container_instances_count: "registeredContainerInstancesCount" => i64,
        /// RUNNING tasks.
        running_tasks_count: "runningTasksCount" => i64,
        /// Tasks before RUNNING.
        pending_tasks_count: "pendingTasksCount" => i64,
        /// ACTIVE services.
        active_services_count: "activeServicesCount" => i64,
        /// Counts by launch type, with `include` STATISTICS.
        statistics: "statistics" => Vec<NameValue>,
        /// With `include` TAGS.
        tags: "tags" => Vec<Tag>,
        /// With `include` SETTINGS.
        settings: "settings" => Vec<ClusterSetting>,
        /// None yet.
        capacity_providers: "capacityProviders" => Vec<Never>,
        /// None yet.
        default_capacity_provider_strategy: "defaultCapacityProviderStrategy" => Vec<Never>,
    }
}

pub(super) async fn create(
    api: &Api,
    request: CreateClusterRequest,
) -> Result<CreateClusterResponse, ApiError> {
    check_settings(request.settings.as_deref().unwrap_or_default())?;
    let name = request.cluster_name.as_deref().filter(|name| !name.is_empty());
    let command = CreateCluster {
        cluster: ClusterName::parse(name.unwrap_or(DEFAULT_CLUSTER)).map_err(ApiError::invalid)?,
        tags: check::tags(request.tags)?,
    };
    let name = command.cluster.clone();
    api.engine.call(command).await.map_err(from_call)?;
    Ok(CreateClusterResponse { cluster: committed(api, &name)? })
}

/// The one setting has one value that is served, so there is nothing to remember.
fn check_settings(settings: &[ClusterSetting]) -> Result<(), ApiError> {
    for setting in settings {
        match (setting.name.as_deref(), setting.value.as_deref()) {
            (Some("containerInsights"), Some("disabled")) => {}
            (Some("containerInsights"), Some(value)) => {
                return Err(ApiError::unsupported(format_args!("containerInsights {value}")));
            }
            _ => return Err(ApiError::invalid("settings: the only name is containerInsights")),
        }
    }
    Ok(())
}

pub(super) async fn update(
    api: &Api,
    request: UpdateClusterRequest,
) -> Result<UpdateClusterResponse, ApiError> {
    let settings = request.settings.as_deref().unwrap_or_default();
    Ok(UpdateClusterResponse { cluster: keep(api, &request.cluster, settings)? })
}

pub(super) async fn update_settings(
    api: &Api,
    request: UpdateClusterSettingsRequest,
) -> Result<UpdateClusterSettingsResponse, ApiError> {
    if request.settings.is_empty() {
        return Err(ApiError::invalid("settings can not be empty."));
    }
    let cluster = keep(api, &request.cluster, &request.settings)?;
    Ok(UpdateClusterSettingsResponse { cluster })
}

/// A cluster whose settings are asked to be what they are.
fn keep(api: &Api, cluster: &str, settings: &[ClusterSetting]) -> Result<Cluster, ApiError> {
    check_settings(settings)?;
    let view = api.engine.snapshot();
    let entry = active_cluster(&view, &cluster_name(&view.scope, Some(cluster))?)?;
    Ok(show(&view, entry, Shown { tags: true, settings: true, ..Shown::default() }))
}

pub(super) async fn delete(
    api: &Api,
    request: DeleteClusterRequest,
) -> Result<DeleteClusterResponse, ApiError> {
    let cluster = cluster_name(&api.engine.snapshot().scope, Some(&request.cluster))?;
    if request.cluster.is_empty() {
        return Err(ApiError::invalid("cluster can not be empty."));
    }
    let name = cluster.clone();
    api.engine.call(DeleteCluster { cluster }).await.map_err(from_call)?;
    Ok(DeleteClusterResponse { cluster: committed(api, &name)? })
}

/// The cluster as of the newest commit, which is not older than the command that was answered.
fn committed(api: &Api, name: &ClusterName) -> Result<Cluster, ApiError> {
    let view = api.engine.snapshot();
    let entry = view
        .cluster(name)
        .ok_or_else(|| ApiError::new(crate::api::Code::ClusterNotFound, "Cluster not found."))?;
    Ok(show(&view, entry, Shown { tags: true, ..Shown::default() }))
}

pub(super) async fn describe(
    api: &Api,
    request: DescribeClustersRequest,
) -> Result<DescribeClustersResponse, ApiError> {
    let shown = Shown::read(request.include.as_deref())?;
    let view = api.engine.snapshot();
    let mut names = request.clusters.unwrap_or_default();
    if names.is_empty() {
        names.push(DEFAULT_CLUSTER.into());
    }
    check::count("clusters", &names, DESCRIBE_MAX)?;
    let mut answer = DescribeClustersResponse { clusters: vec![], failures: vec![] };
    for name in names {
        let found = cluster_name(&view.scope, Some(&name)).ok();
        match found.as_ref().and_then(|name| view.cluster(name)) {
            Some(entry) => answer.clusters.push(show(&view, entry, shown)),
            None => {
                let arn = found.map_or(name, |name| view.scope.cluster_arn(&name));
                answer.failures.push(Failure::missing(arn));
            }
        }
    }
    Ok(answer)
}

pub(super) async fn list(
    api: &Api,
    request: ListClustersRequest,
) -> Result<ListClustersResponse, ApiError> {
    let token = request.next_token.as_deref();
    let pager = Pager::new("ListClusters".into(), token, request.max_results)?;
    let view = api.engine.snapshot();
    let names = view
        .clusters()
        .filter(|entry| entry.record.status == ClusterStatus::Active)
        .map(|entry| &entry.record.name)
        .filter(|name| pager.after().is_none_or(|after| after < name.as_str()));
    let (names, next_token) = pager.page(names, ToString::to_string);
    let cluster_arns = names.into_iter().map(|name| view.scope.cluster_arn(name)).collect();
    Ok(ListClustersResponse { cluster_arns, next_token })
}

/// What `include` asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    statistics: bool,
    tags: bool,
    settings: bool,
}

impl Shown {
    fn read(include: Option<&[String]>) -> Result<Self, ApiError> {
        let mut shown = Self::default();
        for word in include.unwrap_or_default() {
            match word.as_str() {
                "STATISTICS" => shown.statistics = true,
                "TAGS" => shown.tags = true,
                "SETTINGS" => shown.settings = true,
                // There is never one to show.
                "ATTACHMENTS" | "CONFIGURATIONS" => {}
                word => {
                    return Err(ApiError::invalid(format_args!("include has no value {word:?}")));
                }
            }
        }
        Ok(shown)
    }
}

fn show(view: &View, entry: &ClusterEntry, shown: Shown) -> Cluster {
    let record = &entry.record;
    Cluster {
        cluster_arn: view.scope.cluster_arn(&record.name),
        cluster_name: record.name.to_string(),
        status: record.status.as_str().into(),
        registered_container_instances_count: entry.nodes.into(),
        running_tasks_count: entry.running_tasks.into(),
        pending_tasks_count: entry.pending_tasks.into(),
        active_services_count: active_services(entry).into(),
        statistics: if shown.statistics { statistics(entry) } else { vec![] },
        tags: if shown.tags { show_tags(&record.tags) } else { vec![] },
        settings: if shown.settings { settings() } else { vec![] },
        capacity_providers: vec![],
        default_capacity_provider_strategy: vec![],
    }
}

fn settings() -> Vec<ClusterSetting> {
    vec![ClusterSetting { name: Some("containerInsights".into()), value: Some("disabled".into()) }]
}

fn active_services(entry: &ClusterEntry) -> u32 {
    entry.services - entry.draining_services
}

/// AWS's names; every task runs on a node of the caller's own, which is launch type EC2.
fn statistics(entry: &ClusterEntry) -> Vec<NameValue> {
    [
        ("runningEC2TasksCount", entry.running_tasks),
        ("runningFargateTasksCount", 0),
        ("pendingEC2TasksCount", entry.pending_tasks),
        ("pendingFargateTasksCount", 0),
        ("activeEC2ServiceCount", active_services(entry)),
        ("activeFargateServiceCount", 0),
        ("drainingEC2ServiceCount", entry.draining_services),
        ("drainingFargateServiceCount", 0),
    ]
    .map(|(name, count)| NameValue { name: Some(name.into()), value: Some(count.to_string()) })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::testing::{World, cluster};

    #[test]
    fn a_draining_service_is_not_counted_as_active() {
        let view = World::new().state.view;
        let entry = ClusterEntry::clone(view.cluster(&cluster()).unwrap());
        let entry = ClusterEntry { services: 3, draining_services: 1, ..entry };
        let shown = show(&view, &entry, Shown { statistics: true, ..Shown::default() });
        assert_eq!(shown.active_services_count, 2);
        let count = |name: &str| {
            let mut all = shown.statistics.iter();
            all.find(|one| one.name.as_deref() == Some(name)).and_then(|one| one.value.clone())
        };
        assert_eq!(count("activeEC2ServiceCount").as_deref(), Some("2"));
        assert_eq!(count("drainingEC2ServiceCount").as_deref(), Some("1"));
    }
}
