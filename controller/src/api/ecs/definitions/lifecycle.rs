//! When a container starts, whether it is well, and whether it starts again: `dependsOn`,
//! `startTimeout`, `healthCheck`, `restartPolicy`.

use loadline_model::lifecycle::{
    HEALTH_INTERVAL_S, HEALTH_RETRIES, HEALTH_TIMEOUT_S, RESTART_ATTEMPT_PERIOD_S,
};
use loadline_model::{
    Condition, ContainerName, ContainerSpec, Dependency, HealthCheck, RestartPolicy, TaskArn,
    TaskSpec,
};

use super::read::no_nul;
use super::shapes::ContainerDefinition;
use crate::api::ApiError;
use crate::api::wire::shape;

/// Most exit codes that a restart policy ignores (ECS's own bound).
const IGNORED_CODES_MAX: usize = 50;

shape! {
    /// An entry of `dependsOn`, in both directions.
    ContainerDependency = "ContainerDependency" {
        /// Who is waited for.
        container_name: "containerName" => String,
        /// START, COMPLETE, SUCCESS or HEALTHY.
        condition: "condition" => String,
    }
}

shape! {
    /// `healthCheck`, in both directions.
    HealthCheckShape = "HealthCheck" {
        /// CMD and arguments, or CMD-SHELL and a text.
        command: "command" => Vec<String>,
        /// 5 to 300 s; 30 where absent.
        interval: "interval" => Option<i32>,
        /// 2 to 60 s; 5 where absent.
        timeout: "timeout" => Option<i32>,
        /// 1 to 10; 3 where absent.
        retries: "retries" => Option<i32>,
        /// 0 to 300 s; off where absent.
        start_period: "startPeriod" => Option<i32>,
    }
}

shape! {
    /// `restartPolicy`, in both directions.
    ContainerRestartPolicy = "ContainerRestartPolicy" {
        /// Whether it starts again.
        enabled: "enabled" => bool,
        /// Ends that are final; at most 50.
        ignored_exit_codes: "ignoredExitCodes" => Option<Vec<i32>>,
        /// 60 to 1800 s; 300 where absent.
        restart_attempt_period: "restartAttemptPeriod" => Option<i32>,
    }
}

/// Takes these fields of a container into its spec.
pub(super) fn read(
    at: &dyn Fn(&str) -> String,
    given: &mut ContainerDefinition,
    spec: &mut ContainerSpec,
) -> Result<(), ApiError> {
    for (n, dependency) in given.depends_on.take().unwrap_or_default().into_iter().enumerate() {
        let at = at(&format!("dependsOn[{n}]"));
        spec.depends_on.push(dependency_of(&at, &dependency)?);
    }
    let timeout = given.start_timeout.map(u32::try_from).transpose();
    spec.start_timeout_s = timeout.map_err(|_| {
        ApiError::client(format_args!("{} must not be negative", at("startTimeout")))
    })?;
    let check = given.health_check.take();
    spec.health_check = check.map(|check| health_check(&at("healthCheck"), check)).transpose()?;
    let policy = given.restart_policy.take();
    let policy = policy.map(|policy| restart_policy(&at("restartPolicy"), policy));
    spec.restart_policy = policy.transpose()?;
    Ok(())
}

fn dependency_of(at: &str, given: &ContainerDependency) -> Result<Dependency, ApiError> {
    let name = ContainerName::parse(&given.container_name);
    let wanted = given.condition.as_str();
    let condition = Condition::ALL.into_iter().find(|condition| condition.as_str() == wanted);
    Ok(Dependency {
        container: name
            .map_err(|bad| ApiError::client(format_args!("{at}.containerName: {}", bad.why)))?,
        condition: condition.ok_or_else(|| {
            ApiError::client(format_args!("{at}.condition has no value {wanted:?}"))
        })?,
    })
}

fn within(at: &str, given: Option<i32>, default: u32, min: u32, max: u32) -> Result<u32, ApiError> {
    let Some(given) = given else { return Ok(default) };
    u32::try_from(given).ok().filter(|n| (min..=max).contains(n)).ok_or_else(|| {
        ApiError::client(format_args!("{at} must be between {min} and {max}, not {given}"))
    })
}

fn health_check(at: &str, given: HealthCheckShape) -> Result<HealthCheck, ApiError> {
    let first = given.command.first().map(String::as_str);
    if !matches!(first, Some("CMD" | "CMD-SHELL")) || given.command.len() < 2 {
        return Err(ApiError::client(format_args!(
            "{at}.command must begin with CMD or CMD-SHELL, and what to run must follow"
        )));
    }
    for (n, word) in given.command.iter().enumerate() {
        no_nul(&format!("{at}.command[{n}]"), word)?;
    }
    let field = |name: &str| format!("{at}.{name}");
    Ok(HealthCheck {
        command: given.command,
        interval_s: within(&field("interval"), given.interval, HEALTH_INTERVAL_S, 5, 300)?,
        timeout_s: within(&field("timeout"), given.timeout, HEALTH_TIMEOUT_S, 2, 60)?,
        retries: within(&field("retries"), given.retries, HEALTH_RETRIES, 1, 10)?,
        start_period_s: within(&field("startPeriod"), given.start_period, 0, 0, 300)?,
    })
}

fn restart_policy(at: &str, given: ContainerRestartPolicy) -> Result<RestartPolicy, ApiError> {
    let ignored_exit_codes = given.ignored_exit_codes.unwrap_or_default();
    if IGNORED_CODES_MAX < ignored_exit_codes.len() {
        return Err(ApiError::client(format_args!(
            "{at}.ignoredExitCodes can have at most {IGNORED_CODES_MAX} items."
        )));
    }
    let period = format!("{at}.restartAttemptPeriod");
    let default = RESTART_ATTEMPT_PERIOD_S;
    let given_period = given.restart_attempt_period;
    Ok(RestartPolicy {
        enabled: given.enabled,
        ignored_exit_codes,
        attempt_period_s: within(&period, given_period, default, 60, 1800)?,
    })
}

/// Whether what containers wait for can come: a container that is there, no circle, and so on.
pub(super) fn check_dependencies(containers: &[ContainerSpec]) -> Result<(), ApiError> {
    // Dependencies do not depend on who the task is.
    let any = TaskArn::parse("arn:aws:ecs:-:-:task/-/-").expect("it is one");
    match TaskSpec::new(any, containers.to_vec()).dependency_fault() {
        Some(fault) => Err(ApiError::client(fault)),
        None => Ok(()),
    }
}

/// The fields as AWS shows them, with what was absent filled in.
pub(super) fn show(spec: &ContainerSpec, shown: &mut ContainerDefinition) {
    let number = |value: u32| Some(i32::try_from(value).unwrap_or(i32::MAX));
    let dependencies = spec.depends_on.iter().map(|dependency| ContainerDependency {
        container_name: dependency.container.to_string(),
        condition: dependency.condition.to_string(),
    });
    shown.depends_on = Some(dependencies.collect()).filter(|list: &Vec<_>| !list.is_empty());
    shown.start_timeout = spec.start_timeout_s.and_then(number);
    shown.health_check = spec.health_check.as_ref().map(|check| HealthCheckShape {
        command: check.command.clone(),
        interval: number(check.interval_s),
        timeout: number(check.timeout_s),
        retries: number(check.retries),
        start_period: number(check.start_period_s).filter(|_| check.start_period_s != 0),
    });
    shown.restart_policy = spec.restart_policy.as_ref().map(|policy| ContainerRestartPolicy {
        enabled: policy.enabled,
        ignored_exit_codes: Some(policy.ignored_exit_codes.clone())
            .filter(|codes| !codes.is_empty()),
        restart_attempt_period: number(policy.attempt_period_s),
    });
}
