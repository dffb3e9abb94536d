//! `logConfiguration` of container definitions.

use std::collections::BTreeMap;

use loadline_model::{ContainerName, ContainerSpec};

use super::shapes::{ContainerDefinition, LogConfiguration};
use crate::api::ApiError;
use crate::api::logs::{group_name, stream_name};
use crate::state::{AwsLogs, Scope};

const PREFIX_CHARS_MAX: usize = 128;
/// Drivers that ECS knows besides.
const KNOWN: [&str; 4] = ["gelf", "fluentd", "splunk", "awsfirelens"];
/// Drivers of nodes.
const OF_NODES: [&str; 4] = ["json-file", "none", "syslog", "journald"];

/// The driver of every container that names the controller's own.
pub(super) fn read(
    scope: &Scope,
    given: &[ContainerDefinition],
) -> Result<BTreeMap<ContainerName, AwsLogs>, ApiError> {
    let mut all = BTreeMap::new();
    for (index, container) in given.iter().enumerate() {
        let name = ContainerName::parse(container.name.as_deref().unwrap_or_default());
        let (Some(configuration), Ok(name)) = (&container.log_configuration, name) else {
            continue;
        };
        if OF_NODES.contains(&configuration.log_driver.as_str()) {
            continue;
        }
        let at = format!("containerDefinitions[{index}].logConfiguration");
        all.insert(name, driver(scope, &at, configuration)?);
    }
    Ok(all)
}

/// A driver that the container's node has.
pub(super) fn of_node(
    at: &str,
    given: Option<&LogConfiguration>,
) -> Result<Option<loadline_model::LogConfiguration>, ApiError> {
    let given = given.filter(|given| OF_NODES.contains(&given.log_driver.as_str()));
    let Some(given) = given else { return Ok(None) };
    let log = loadline_model::LogConfiguration {
        driver: given.log_driver.clone(),
        options: given.options.clone().unwrap_or_default(),
    };
    match log.driver() {
        Ok(_) => Ok(Some(log)),
        Err(why) => Err(ApiError::client(format_args!("{at}.options: {why}"))),
    }
}

fn driver(scope: &Scope, at: &str, given: &LogConfiguration) -> Result<AwsLogs, ApiError> {
    match given.log_driver.as_str() {
        "awslogs" => {}
        other if KNOWN.contains(&other) => {
            return Err(ApiError::unsupported(format_args!("{at}.logDriver {other}")));
        }
        other => {
            return Err(ApiError::invalid(format_args!("{at}.logDriver has no value {other:?}")));
        }
    }
    let mut options = given.options.clone().unwrap_or_default();
    let mut take = |name: &str| options.remove(name).filter(|value| !value.is_empty());
    let group = take("awslogs-group").ok_or_else(|| {
        ApiError::client(format_args!("{at}.options: awslogs-group is required by awslogs"))
    })?;
    group_name(&group)?;
    if let Some(region) = take("awslogs-region").filter(|region| *region != scope.region) {
        return Err(ApiError::client(format_args!(
            "{at}.options: awslogs-region {region:?} is not this controller's, {:?}",
            scope.region
        )));
    }
    let create_group = match take("awslogs-create-group").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let message = format!("{at}.options: awslogs-create-group is no {other:?}");
            return Err(ApiError::client(message));
        }
    };
    let stream_prefix = take("awslogs-stream-prefix");
    if let Some(prefix) = &stream_prefix {
        stream_name(prefix)?;
        if PREFIX_CHARS_MAX < prefix.chars().count() {
            let message = format!(
                "{at}.options: awslogs-stream-prefix has at most {PREFIX_CHARS_MAX} characters"
            );
            return Err(ApiError::client(message));
        }
    }
    // A container never waits for its output to be shipped: it is on the node's disk by then.
    if take("mode").is_some_and(|mode| mode != "non-blocking") {
        return Err(ApiError::unsupported(format_args!(
            "{at}.options: mode other than non-blocking"
        )));
    }
    if let Some(name) = options.keys().next() {
        return Err(ApiError::unsupported(format_args!("{at}.options: {name:?}")));
    }
    Ok(AwsLogs {
        group,
        stream_prefix,
        create_group,
        options: given.options.clone().unwrap_or_default(),
    })
}

/// As it was given.
pub(super) fn show(
    all: &BTreeMap<ContainerName, AwsLogs>,
    container: &ContainerSpec,
) -> Option<LogConfiguration> {
    if let Some(log) = &container.log {
        return Some(LogConfiguration {
            log_driver: log.driver.clone(),
            options: Some(log.options.clone()).filter(|options| !options.is_empty()),
        });
    }
    all.get(&container.name).map(|logs| LogConfiguration {
        log_driver: "awslogs".to_owned(),
        options: Some(logs.options.clone()),
    })
}
