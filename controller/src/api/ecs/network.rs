//! `networkConfiguration`: what callers say of subnets and security groups. Here are none, so it is
//! checked as ECS checks it, kept and shown, and selects nothing.

use loadline_model::NetworkMode;

use super::check;
use crate::api::ApiError;
use crate::api::wire::shape;
use crate::command::DefinitionRef;
use crate::state::{AwsVpc, View};

/// Most subnets and security groups (ECS's own bounds).
const SUBNETS_MAX: usize = 16;
const SECURITY_GROUPS_MAX: usize = 5;
const NAME_CHARS_MAX: usize = 128;

shape! {
    /// The network of tasks, in both directions.
    NetworkConfiguration = "NetworkConfiguration" {
        /// For the network mode `awsvpc`.
        awsvpc_configuration: "awsvpcConfiguration" => Option<AwsVpcConfiguration>,
    }
}

shape! {
    /// Where in a VPC tasks are, in both directions.
    AwsVpcConfiguration = "AwsVpcConfiguration" {
        /// 1 to 16.
        subnets: "subnets" => Vec<String>,
        /// At most 5.
        security_groups: "securityGroups" => Option<Vec<String>>,
        /// DISABLED.
        assign_public_ip: "assignPublicIp" => Option<String>,
    }
}

/// Judges it for tasks of a definition. One that is not there is refused elsewhere.
pub(super) fn network(
    given: Option<NetworkConfiguration>,
    view: &View,
    definition: &DefinitionRef,
) -> Result<Option<AwsVpc>, ApiError> {
    let Some(given) = given.and_then(|given| given.awsvpc_configuration) else { return Ok(None) };
    let found = match definition.revision {
        Some(revision) => view.definition(&definition.family, revision),
        None => view.latest_active(&definition.family),
    };
    if found.is_some_and(|found| found.body.network_mode != NetworkMode::Awsvpc) {
        return Err(ApiError::invalid(
            "Network Configuration is not valid for the given networkMode of this task definition.",
        ));
    }
    let AwsVpcConfiguration { subnets, security_groups, assign_public_ip } = given;
    check::one_of(
        "networkConfiguration.awsvpcConfiguration.assignPublicIp",
        assign_public_ip.as_deref(),
        &["ENABLED", "DISABLED"],
        &[],
    )?;
    if assign_public_ip.as_deref() == Some("ENABLED") {
        return Err(ApiError::invalid("Assign public IP is not supported for this launch type."));
    }
    if subnets.is_empty() {
        return Err(ApiError::invalid("subnets can not be empty."));
    }
    let security_groups = security_groups.unwrap_or_default();
    for (name, given, most) in [
        ("subnets", &subnets, SUBNETS_MAX),
        ("securityGroups", &security_groups, SECURITY_GROUPS_MAX),
    ] {
        if most < given.len() {
            return Err(ApiError::invalid(format_args!("{name} can have at most {most} items.")));
        }
        for one in given {
            check::text(name, one, NAME_CHARS_MAX)?;
        }
    }
    Ok(Some(AwsVpc { subnets, security_groups }))
}

/// As it was given.
pub(super) fn show(network: &AwsVpc) -> NetworkConfiguration {
    NetworkConfiguration {
        awsvpc_configuration: Some(AwsVpcConfiguration {
            subnets: network.subnets.clone(),
            security_groups: Some(network.security_groups.clone()),
            assign_public_ip: Some("DISABLED".into()),
        }),
    }
}
