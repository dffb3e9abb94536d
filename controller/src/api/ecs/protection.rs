//! Task protection.

use super::reference::{active_cluster, cluster_name, task_arn};
use super::shapes::Failure;
use super::{check, from_call};
use crate::api::wire::{EpochSeconds, shape};
use crate::api::{Api, ApiError};
use crate::apply::can_be_protected;
use crate::command::{
    PROTECTION_MINUTES_DEFAULT as MINUTES_DEFAULT, PROTECTION_MINUTES_MAX as MINUTES_MAX,
    ProtectTasks, Protection,
};
use crate::state::{ClusterName, Task, View};

/// Most tasks of one UpdateTaskProtection (ECS's own bound).
const UPDATE_MAX: usize = 10;
/// Most tasks of one GetTaskProtection (ECS's own bound).
const GET_MAX: usize = 100;

shape! {
    /// GetTaskProtection's input.
    GetTaskProtectionRequest = "GetTaskProtectionRequest" {
        /// Name or ARN.
        cluster: "cluster" => String,
        /// 1 to 100 ids or ARNs.
        tasks: "tasks" => Option<Vec<String>>,
    }
}

shape! {
    /// GetTaskProtection's output.
    GetTaskProtectionResponse = "GetTaskProtectionResponse" {
        /// Those that can be protected, whether they are or not.
        protected_tasks: "protectedTasks" => Vec<ProtectedTask>,
        /// Those that can't, or are not there.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// UpdateTaskProtection's input.
    UpdateTaskProtectionRequest = "UpdateTaskProtectionRequest" {
        /// Name or ARN.
        cluster: "cluster" => String,
        /// 1 to 10 ids or ARNs.
        tasks: "tasks" => Vec<String>,
        /// Whether from now on.
        protection_enabled: "protectionEnabled" => bool,
        /// 1 to 2,880; 120 where absent.
        expires_in_minutes: "expiresInMinutes" => Option<i32>,
    }
}

shape! {
    /// UpdateTaskProtection's output.
    UpdateTaskProtectionResponse = "UpdateTaskProtectionResponse" {
        /// As they are now.
        protected_tasks: "protectedTasks" => Vec<ProtectedTask>,
        /// Those that can't be protected, or are not there.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// A task that can be protected.
    ProtectedTask = "ProtectedTask" {
        /// ARN.
        task_arn: "taskArn" => String,
        /// Whether it is.
        protection_enabled: "protectionEnabled" => bool,
        /// Until when.
        expiration_date: "expirationDate" => Option<EpochSeconds>,
    }
}

pub(super) async fn get(
    api: &Api,
    request: GetTaskProtectionRequest,
) -> Result<GetTaskProtectionResponse, ApiError> {
    let names = request.tasks.unwrap_or_default();
    check::count("tasks", &names, GET_MAX)?;
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, Some(&request.cluster))?;
    active_cluster(&view, &cluster)?;
    let (protected_tasks, failures) = show(&view, &cluster, &names);
    Ok(GetTaskProtectionResponse { protected_tasks, failures })
}

pub(super) async fn update(
    api: &Api,
    request: UpdateTaskProtectionRequest,
) -> Result<UpdateTaskProtectionResponse, ApiError> {
    check::count("tasks", &request.tasks, UPDATE_MAX)?;
    let minutes = request.expires_in_minutes.map_or(Ok(MINUTES_DEFAULT), u32::try_from);
    let minutes = minutes.ok().filter(|minutes| (1..=MINUTES_MAX).contains(minutes));
    let minutes = minutes.ok_or_else(|| {
        ApiError::invalid(format_args!("expiresInMinutes must be between 1 and {MINUTES_MAX}"))
    })?;
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, Some(&request.cluster))?;
    let tasks = request.tasks.iter().filter_map(|name| task_arn(&view.scope, &cluster, name));
    let command = ProtectTasks {
        cluster: cluster.clone(),
        tasks: tasks.collect(),
        protection: if request.protection_enabled {
            Protection::ForMinutes(minutes)
        } else {
            Protection::Off
        },
    };
    api.engine.call(command).await.map_err(from_call)?;
    let (protected_tasks, failures) = show(&api.engine.snapshot(), &cluster, &request.tasks);
    Ok(UpdateTaskProtectionResponse { protected_tasks, failures })
}

fn show(
    view: &View,
    cluster: &ClusterName,
    names: &[String],
) -> (Vec<ProtectedTask>, Vec<Failure>) {
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let arn = task_arn(&view.scope, cluster, name);
        match arn.as_ref().and_then(|arn| view.task(arn)) {
            Some(task) if can_be_protected(task) => tasks.push(protected(task)),
            Some(task) => failures.push(Failure {
                arn: Some(task.arn.to_string()),
                reason: Some("TASK_NOT_VALID".into()),
                detail: Some("only a running task of a service can be protected".into()),
            }),
            None => {
                let arn = arn.map_or_else(|| name.clone(), |arn| arn.to_string());
                failures.push(Failure::missing(arn));
            }
        }
    }
    (tasks, failures)
}

fn protected(task: &Task) -> ProtectedTask {
    ProtectedTask {
        task_arn: task.arn.to_string(),
        protection_enabled: task.protected_until_ms.is_some(),
        expiration_date: task.protected_until_ms.map(EpochSeconds::from_ms),
    }
}
