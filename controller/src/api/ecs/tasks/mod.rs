//! Tasks.

mod read;
mod shapes;
mod show;

use std::ops::Bound;
use std::sync::Arc;

use loadline_model::{DesiredStatus, TaskArn};

pub(super) use self::shapes::{
    DescribeTasksRequest, DescribeTasksResponse, ListTasksRequest, ListTasksResponse,
    RunTaskRequest, RunTaskResponse, StartTaskRequest, StartTaskResponse, StopTaskRequest,
    StopTaskResponse,
};
use self::show::Tags;

use super::page::Pager;
use super::reference::{
    active_cluster, cluster_name, find_task, instance_arn, service_key, service_not_found, task_arn,
};
use super::shapes::Failure;
use super::{check, from_call};
use crate::api::{Api, ApiError};
use crate::command::{PlacementFailure, StopTask};
use crate::state::{ClusterName, ServiceKey, ServiceName, Task, View};

/// Most tasks of one DescribeTasks (ECS's own bound).
const DESCRIBE_MAX: usize = 100;
/// Longest `reason` of StopTask (ECS's own bound).
const REASON_CHARS_MAX: usize = 255;

pub(super) async fn run(
    api: &Api,
    mut request: RunTaskRequest,
) -> Result<RunTaskResponse, ApiError> {
    let view = api.engine.snapshot();
    let network = request.network_configuration.take();
    let command = read::run_task(&view.scope, request)?;
    super::network::network(network, &view, &command.definition)?;
    let ran = api.engine.call(command).await.map_err(from_call)?;
    let view = api.engine.snapshot();
    Ok(RunTaskResponse {
        tasks: ran.tasks.iter().map(|task| show::task(&view, task, Tags::Shown)).collect(),
        failures: ran.failures.iter().map(show_failure).collect(),
    })
}

pub(super) async fn start(
    api: &Api,
    mut request: StartTaskRequest,
) -> Result<StartTaskResponse, ApiError> {
    let view = api.engine.snapshot();
    let network = request.network_configuration.take();
    let command = read::start_task(&view.scope, request)?;
    super::network::network(network, &view, &command.definition)?;
    let ran = api.engine.call(command).await.map_err(from_call)?;
    let view = api.engine.snapshot();
    Ok(StartTaskResponse {
        tasks: ran.tasks.iter().map(|task| show::task(&view, task, Tags::Shown)).collect(),
        failures: ran.failures.iter().map(show_failure).collect(),
    })
}

fn show_failure(failure: &PlacementFailure) -> Failure {
    Failure {
        arn: failure.node.as_ref().map(ToString::to_string),
        reason: Some(failure.reason.as_str().into()),
        detail: Some(failure.detail.clone()).filter(|detail| !detail.is_empty()),
    }
}

pub(super) async fn stop(
    api: &Api,
    request: StopTaskRequest,
) -> Result<StopTaskResponse, ApiError> {
    if let Some(reason) = &request.reason {
        check::text("reason", reason, REASON_CHARS_MAX)?;
    }
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    let task = find_task(&view, &cluster, &request.task)?.arn.clone();
    let command = StopTask { cluster, task, reason: request.reason.filter(|r| !r.is_empty()) };
    let stopped = api.engine.call(command).await.map_err(from_call)?;
    let view = api.engine.snapshot();
    Ok(StopTaskResponse { task: show::task(&view, &stopped, Tags::Shown) })
}

pub(super) async fn describe(
    api: &Api,
    request: DescribeTasksRequest,
) -> Result<DescribeTasksResponse, ApiError> {
    let with_tags = check::include_tags(request.include.as_deref(), &[])?;
    let tags = if with_tags { Tags::Shown } else { Tags::Left };
    check::count("tasks", &request.tasks, DESCRIBE_MAX)?;
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    active_cluster(&view, &cluster)?;
    let mut answer = DescribeTasksResponse { tasks: vec![], failures: vec![] };
    for name in request.tasks {
        let arn = task_arn(&view.scope, &cluster, &name);
        match arn.as_ref().and_then(|arn| view.task(arn)) {
            Some(task) => answer.tasks.push(show::task(&view, task, tags)),
            None => {
                let arn = arn.map_or(name, |arn| arn.to_string());
                answer.failures.push(Failure::missing(arn));
            }
        }
    }
    Ok(answer)
}

pub(super) async fn list(
    api: &Api,
    request: ListTasksRequest,
) -> Result<ListTasksResponse, ApiError> {
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    active_cluster(&view, &cluster)?;
    let filter = Filter::read(&view, &cluster, &request)?;
    let question = format!("ListTasks {cluster} {filter:?}");
    let pager = Pager::new(question, request.next_token.as_deref(), request.max_results)?;
    let after = pager.after().map(TaskArn::parse).transpose().map_err(ApiError::invalid)?;
    let tasks = filter.source(&view, &cluster, after.as_ref()).filter(|task| filter.takes(task));
    let (page, next_token) = pager.page(tasks, |task| task.arn.to_string());
    let task_arns = page.into_iter().map(|task| task.arn.to_string()).collect();
    Ok(ListTasksResponse { task_arns, next_token })
}

/// ListTasks' filters; a task must pass all of them.
#[derive(Debug)]
struct Filter {
    desired: String,
    node: Option<loadline_model::InstanceArn>,
    family: Option<String>,
    started_by: Option<String>,
    service: Option<ServiceName>,
    launch_type: Option<String>,
}

impl Filter {
    fn read(
        view: &View,
        cluster: &ClusterName,
        request: &ListTasksRequest,
    ) -> Result<Self, ApiError> {
        let desired = request.desired_status.as_deref();
        check::one_of("desiredStatus", desired, &["RUNNING", "PENDING", "STOPPED"], &[])?;
        let types = ["EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES"];
        check::one_of("launchType", request.launch_type.as_deref(), &types, &[])?;
        let node = request.container_instance.as_deref().map(|text| {
            instance_arn(&view.scope, cluster, text)
                .filter(|arn| view.node(arn).is_some())
                .ok_or_else(|| ApiError::invalid("Referenced container instance not found."))
        });
        let service = request.service_name.as_deref().map(|text| {
            let key = service_key(&view.scope, cluster, text);
            let known = key.filter(|key| view.service(key).is_some());
            known.map(|key| key.name).ok_or_else(service_not_found)
        });
        Ok(Self {
            // AWS: PENDING is taken and never matches, as it is no desired status of a task.
            desired: desired.unwrap_or("RUNNING").to_owned(),
            node: node.transpose()?,
            family: request.family.clone(),
            started_by: request.started_by.clone(),
            service: service.transpose()?,
            launch_type: request.launch_type.clone(),
        })
    }

    /// Every task that may pass, in the order of their ARNs. What is wanted RUNNING is held by its
    /// node and counted by its service, so those are asked instead of the whole cluster.
    fn source<'a>(
        &self,
        view: &'a View,
        cluster: &ClusterName,
        after: Option<&TaskArn>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Task>> + 'a> {
        let stopped = self.desired == DesiredStatus::Stopped.as_str();
        let service =
            self.service.clone().map(|name| ServiceKey { cluster: cluster.clone(), name });
        let service = service.and_then(|key| view.service(&key)).map(|entry| &entry.tasks);
        let node = self.node.as_ref().and_then(|node| view.node(node)).map(|entry| &entry.tasks);
        match service.or(node).filter(|_| !stopped) {
            None => Box::new(view.tasks_in(cluster, after)),
            Some(tasks) => {
                let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
                let tasks = tasks.range((start, Bound::Unbounded));
                Box::new(tasks.filter_map(|arn| view.task(arn)))
            }
        }
    }

    fn takes(&self, task: &Arc<Task>) -> bool {
        task.desired.as_str() == self.desired
            && self.node.as_ref().is_none_or(|node| task.node == *node)
            && self.family.as_deref().is_none_or(|f| task.definition.family.as_str() == f)
            && self.started_by.as_ref().is_none_or(|by| task.started_by.as_deref() == Some(by))
            && self.service.as_ref().is_none_or(|name| task.service.as_ref() == Some(name))
            && self.launch_type.as_deref().is_none_or(|launch_type| launch_type == "EC2")
    }
}
