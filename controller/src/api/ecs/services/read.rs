//! CreateService's and UpdateService's input, judged by ECS's rules as far as no state is needed.

use super::super::check;
use super::super::placement::{constraints, strategies};
use super::super::reference::definition_ref;
use super::shapes::{
    CreateServiceRequest, DeploymentCircuitBreaker, DeploymentConfiguration, DeploymentController,
    ThresholdConfiguration, UpdateServiceRequest,
};
use crate::api::ApiError;
use crate::command::{CreateService, DESIRED_COUNT_MAX, Deploy, UpdateService};
use crate::state::{
    AZ_ATTRIBUTE, Breaker, BreakerReset, ClusterName, DeploymentConfig, PlacementStrategy,
    Rebalancing, Scheduling, Scope, Service, ServiceKey, ServiceName, ServiceTags, Threshold,
};

/// Most of `maximumPercent`.
const MAXIMUM_PERCENT_MAX: i32 = 200;
/// Largest threshold of the circuit breaker that is a count: no service has more tasks.
const THRESHOLD_COUNT_MAX: u32 = DESIRED_COUNT_MAX;

/// CreateService.
pub(super) fn create(
    scope: &Scope,
    cluster: ClusterName,
    request: CreateServiceRequest,
) -> Result<CreateService, ApiError> {
    // The same call again is answered with the service that the first one made, token or not.
    check::client_token(request.client_token)?;
    let other_types = ["FARGATE", "EXTERNAL", "MANAGED_INSTANCES"];
    check::one_of("launchType", request.launch_type.as_deref(), &["EC2"], &other_types)?;
    controller(request.deployment_controller.as_ref())?;
    let word = request.scheduling_strategy.as_deref();
    check::one_of("schedulingStrategy", word, &["REPLICA", "DAEMON"], &[])?;
    let scheduling = if word == Some("DAEMON") { Scheduling::Daemon } else { Scheduling::Replica };
    let name = ServiceName::parse(&request.service_name)
        .map_err(|bad| ApiError::invalid(format_args!("serviceName: {}", bad.why)))?;
    let definition = request.task_definition.as_deref().filter(|text| !text.is_empty());
    let definition =
        definition.ok_or_else(|| ApiError::invalid("TaskDefinition cannot be empty."))?;
    let desired_count = match (scheduling, request.desired_count) {
        (Scheduling::Replica, None) => {
            return Err(ApiError::invalid("desiredCount is required with REPLICA"));
        }
        (Scheduling::Daemon, Some(n)) if n != 0 => {
            return Err(ApiError::invalid("desiredCount must not be given with DAEMON"));
        }
        (_, count) => desired_count(count.unwrap_or(0))?,
    };
    let defaults = DeploymentConfig::default_of(scheduling);
    let config = config(request.deployment_configuration, defaults, scheduling)?;
    let strategy = strategies(request.placement_strategy.unwrap_or_default())?;
    let word = request.availability_zone_rebalancing.as_deref();
    let rebalancing = rebalancing(word)?
        .unwrap_or_else(|| rebalancing_default(scheduling, config, strategy.first()));
    Ok(CreateService {
        definition: definition_ref(scope, definition)?,
        key: ServiceKey { cluster, name },
        scheduling,
        desired_count,
        config,
        health_check_grace_s: grace(request.health_check_grace_period_seconds)?,
        network: None,
        constraints: constraints(request.placement_constraints.unwrap_or_default())?,
        strategy,
        rebalancing,
        propagate_tags: propagate_tags(request.propagate_tags.as_deref())?
            .unwrap_or(ServiceTags::None),
        managed_tags: request.enable_ecs_managed_tags.unwrap_or(false),
        execute_command: request.enable_execute_command.unwrap_or(false),
        tags: check::tags(request.tags)?,
        by: None,
    })
}

/// UpdateService of a service that is there.
pub(super) fn update(
    scope: &Scope,
    service: &Service,
    request: UpdateServiceRequest,
) -> Result<UpdateService, ApiError> {
    controller(request.deployment_controller.as_ref())?;
    let definition = request.task_definition.as_deref().filter(|text| !text.is_empty());
    let config = request
        .deployment_configuration
        .map(|given| config(Some(given), service.config, service.scheduling));
    let force = request.force_new_deployment.unwrap_or(false);
    Ok(UpdateService {
        key: service.key.clone(),
        desired_count: request.desired_count.map(desired_count).transpose()?,
        definition: definition.map(|text| definition_ref(scope, text)).transpose()?,
        config: config.transpose()?,
        health_check_grace_s: grace(request.health_check_grace_period_seconds)?,
        network: None,
        constraints: request.placement_constraints.map(constraints).transpose()?,
        strategy: request.placement_strategy.map(strategies).transpose()?,
        rebalancing: rebalancing(request.availability_zone_rebalancing.as_deref())?,
        propagate_tags: propagate_tags(request.propagate_tags.as_deref())?,
        managed_tags: request.enable_ecs_managed_tags,
        execute_command: request.enable_execute_command,
        deploy: if force { Deploy::Force } else { Deploy::IfChanged },
    })
}

fn controller(controller: Option<&DeploymentController>) -> Result<(), ApiError> {
    let kind = controller.map(|controller| controller.kind.as_str());
    check::one_of("deploymentController.type", kind, &["ECS"], &["CODE_DEPLOY", "EXTERNAL"])
}

fn rebalancing(word: Option<&str>) -> Result<Option<Rebalancing>, ApiError> {
    check::one_of("availabilityZoneRebalancing", word, &["ENABLED", "DISABLED"], &[])?;
    Ok(word.map(|word| match word {
        "ENABLED" => Rebalancing::Enabled,
        _ => Rebalancing::Disabled,
    }))
}

/// ENABLED, where ECS could do it: a REPLICA service that spreads over availability zones first, or
/// does not say over what, and that may have a task more than it shall.
fn rebalancing_default(
    scheduling: Scheduling,
    config: DeploymentConfig,
    first: Option<&PlacementStrategy>,
) -> Rebalancing {
    let zones = |strategy: &PlacementStrategy| {
        let field = format!("attribute:{AZ_ATTRIBUTE}");
        matches!(strategy, PlacementStrategy::Spread(over) if *over == field)
    };
    let able = scheduling == Scheduling::Replica && 100 < config.maximum_percent;
    if able && first.is_none_or(zones) { Rebalancing::Enabled } else { Rebalancing::Disabled }
}

fn desired_count(count: i32) -> Result<u32, ApiError> {
    u32::try_from(count).ok().filter(|count| *count <= DESIRED_COUNT_MAX).ok_or_else(|| {
        ApiError::invalid(format_args!("desiredCount must be between 0 and {DESIRED_COUNT_MAX}"))
    })
}

fn grace(seconds: Option<i32>) -> Result<Option<u32>, ApiError> {
    seconds.map(u32::try_from).transpose().map_err(|_| {
        ApiError::invalid("healthCheckGracePeriodSeconds must be between 0 and 2147483647")
    })
}

fn propagate_tags(word: Option<&str>) -> Result<Option<ServiceTags>, ApiError> {
    let words = ["NONE", "SERVICE", "TASK_DEFINITION"];
    check::one_of("propagateTags", word, &words, &[])?;
    Ok(word.map(|word| match word {
        "SERVICE" => ServiceTags::Service,
        "TASK_DEFINITION" => ServiceTags::TaskDefinition,
        _ => ServiceTags::None,
    }))
}

/// What is given, laid over what holds where it is absent.
fn config(
    given: Option<DeploymentConfiguration>,
    before: DeploymentConfig,
    scheduling: Scheduling,
) -> Result<DeploymentConfig, ApiError> {
    let Some(given) = given else { return Ok(before) };
    let other = ["BLUE_GREEN", "LINEAR", "CANARY"];
    let strategy = given.strategy.as_deref();
    check::one_of("deploymentConfiguration.strategy", strategy, &["ROLLING"], &other)?;
    if given.bake_time_in_minutes.is_some_and(|minutes| minutes != 0) {
        return Err(ApiError::unsupported("deploymentConfiguration.bakeTimeInMinutes"));
    }
    let percent = |field: &str, value: Option<i32>, range: std::ops::RangeInclusive<i32>| {
        let refuse = || {
            ApiError::invalid(format_args!(
                "deploymentConfiguration.{field} must be between {} and {}",
                range.start(),
                range.end()
            ))
        };
        value
            .map(|value| {
                let inside = Some(value).filter(|value| range.contains(value));
                inside.and_then(|value| u32::try_from(value).ok()).ok_or_else(refuse)
            })
            .transpose()
    };
    let minimum = percent("minimumHealthyPercent", given.minimum_healthy_percent, 0..=100)?;
    let most = match scheduling {
        Scheduling::Replica => MAXIMUM_PERCENT_MAX,
        // A DAEMON has one task a node, so there is no room for a second one beside it.
        Scheduling::Daemon => 100,
    };
    let maximum = percent("maximumPercent", given.maximum_percent, 100..=most)?;
    let config = DeploymentConfig {
        minimum_healthy_percent: minimum.unwrap_or(before.minimum_healthy_percent),
        maximum_percent: maximum.unwrap_or(before.maximum_percent),
        ..before
    };
    breaker(given.deployment_circuit_breaker, config)
}

/// The circuit breaker is given whole: what is absent of it has ECS's default.
fn breaker(
    given: Option<DeploymentCircuitBreaker>,
    config: DeploymentConfig,
) -> Result<DeploymentConfig, ApiError> {
    let Some(given) = given else { return Ok(config) };
    let breaker = match (given.enable, given.rollback) {
        (false, _) => Breaker::Off,
        (true, false) => Breaker::Fail,
        (true, true) => Breaker::RollBack,
    };
    let reset = match given.reset_on_healthy_task {
        Some(false) => BreakerReset::Never,
        Some(true) | None => BreakerReset::OnHealthyTask,
    };
    let threshold = given.threshold_configuration.map(threshold).transpose()?.unwrap_or_default();
    Ok(DeploymentConfig { breaker, threshold, reset, ..config })
}

fn threshold(given: ThresholdConfiguration) -> Result<Threshold, ApiError> {
    let at = "deploymentConfiguration.deploymentCircuitBreaker.thresholdConfiguration";
    let kinds = ["COUNT", "BOUNDED_PERCENT", "UNBOUNDED_PERCENT"];
    check::one_of(&format!("{at}.type"), Some(&given.kind), &kinds, &[])?;
    let most = if given.kind == "COUNT" { THRESHOLD_COUNT_MAX } else { 100 };
    let value = u32::try_from(given.value).ok().filter(|value| (1..=most).contains(value));
    let value = value.ok_or_else(|| {
        ApiError::invalid(format_args!("{at}.value must be between 1 and {most}"))
    })?;
    Ok(match given.kind.as_str() {
        "COUNT" => Threshold::Count(value),
        "UNBOUNDED_PERCENT" => Threshold::UnboundedPercent(value),
        _ => Threshold::BoundedPercent(value),
    })
}
