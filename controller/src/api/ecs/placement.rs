//! Placement constraints and strategies, as RunTask and services take and show them.

use super::definitions::{CONSTRAINTS_MAX, member_of};
use crate::api::ApiError;
use crate::api::wire::shape;
use crate::state::{self, BinpackField};

/// Most strategies (ECS's own bound).
const STRATEGIES_MAX: usize = 5;
/// Longest `attribute:NAME`.
const FIELD_CHARS_MAX: usize = 138;

shape! {
    /// A placement constraint.
    PlacementConstraint = "PlacementConstraint" {
        /// `distinctInstance` or `memberOf`.
        kind: "type" => Option<String>,
        /// For `memberOf`.
        expression: "expression" => Option<String>,
    }
}

shape! {
    /// A placement strategy.
    PlacementStrategy = "PlacementStrategy" {
        /// `random`, `spread` or `binpack`.
        kind: "type" => Option<String>,
        /// What it goes by.
        field: "field" => Option<String>,
    }
}

/// Constraints, each of them with all that it needs.
pub(super) fn constraints(
    given: Vec<PlacementConstraint>,
) -> Result<Vec<state::PlacementConstraint>, ApiError> {
    if CONSTRAINTS_MAX < given.len() {
        let message = format!("placementConstraints can have at most {CONSTRAINTS_MAX} items.");
        return Err(ApiError::invalid(message));
    }
    given
        .into_iter()
        .enumerate()
        .map(|(index, constraint)| {
            let at = format!("placementConstraints[{index}]");
            match constraint.kind.as_deref() {
                Some("memberOf") => member_of(&at, constraint.expression),
                Some("distinctInstance") => match constraint.expression.as_deref() {
                    None | Some("") => Ok(state::PlacementConstraint::DistinctInstance),
                    Some(_) => Err(ApiError::invalid(format_args!(
                        "{at}.expression must not be given with distinctInstance"
                    ))),
                },
                Some(kind) => {
                    Err(ApiError::invalid(format_args!("{at}.type has no value {kind:?}")))
                }
                None => Err(ApiError::invalid(format_args!("{at}.type is required"))),
            }
        })
        .collect()
}

/// Strategies, each of them with all that it needs.
pub(super) fn strategies(
    given: Vec<PlacementStrategy>,
) -> Result<Vec<state::PlacementStrategy>, ApiError> {
    if STRATEGIES_MAX < given.len() {
        let message = format!("placementStrategy can have at most {STRATEGIES_MAX} items.");
        return Err(ApiError::invalid(message));
    }
    given
        .into_iter()
        .enumerate()
        .map(|(index, strategy)| {
            let at = format!("placementStrategy[{index}]");
            self::strategy(&at, strategy)
        })
        .collect()
}

fn strategy(at: &str, given: PlacementStrategy) -> Result<state::PlacementStrategy, ApiError> {
    let field = given.field.as_deref().filter(|field| !field.is_empty());
    let wrong = |what: &str| Err(ApiError::invalid(format_args!("{at}.{what}")));
    match (given.kind.as_deref(), field) {
        (Some("random"), None) => Ok(state::PlacementStrategy::Random),
        (Some("random"), Some(_)) => wrong("field must not be given with random"),
        (Some("binpack"), Some(field)) => match field.to_ascii_lowercase().as_str() {
            "cpu" => Ok(state::PlacementStrategy::Binpack(BinpackField::Cpu)),
            "memory" => Ok(state::PlacementStrategy::Binpack(BinpackField::Memory)),
            _ => wrong("field must be cpu or memory with binpack"),
        },
        (Some("spread"), Some(field)) => {
            let named = field.strip_prefix("attribute:").is_some_and(|name| !name.is_empty());
            let known = named || matches!(field, "instanceId" | "host");
            if !known || FIELD_CHARS_MAX < field.chars().count() {
                return wrong("field must be instanceId, host or attribute:NAME with spread");
            }
            Ok(state::PlacementStrategy::Spread(field.to_owned()))
        }
        (Some("binpack" | "spread"), None) => wrong("field is required"),
        (Some(_), _) => wrong("type must be random, spread or binpack"),
        (None, _) => wrong("type is required"),
    }
}

/// Constraints as they are shown.
pub(super) fn show_constraints(
    constraints: &[state::PlacementConstraint],
) -> Vec<PlacementConstraint> {
    let show = |constraint: &state::PlacementConstraint| match constraint {
        state::PlacementConstraint::DistinctInstance => {
            PlacementConstraint { kind: Some("distinctInstance".into()), expression: None }
        }
        state::PlacementConstraint::MemberOf(expression) => PlacementConstraint {
            kind: Some("memberOf".into()),
            expression: Some(expression.clone()),
        },
    };
    constraints.iter().map(show).collect()
}

/// Strategies as they are shown.
pub(super) fn show_strategies(strategies: &[state::PlacementStrategy]) -> Vec<PlacementStrategy> {
    let show = |strategy: &state::PlacementStrategy| {
        let (kind, field) = match strategy {
            state::PlacementStrategy::Random => ("random", None),
            state::PlacementStrategy::Spread(field) => ("spread", Some(field.clone())),
            state::PlacementStrategy::Binpack(BinpackField::Cpu) => ("binpack", Some("cpu".into())),
            state::PlacementStrategy::Binpack(BinpackField::Memory) => {
                ("binpack", Some("memory".into()))
            }
        };
        PlacementStrategy { kind: Some(kind.into()), field }
    };
    strategies.iter().map(show).collect()
}
