//! One comparison of the query language: a subject, an operator, its arguments.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::state::{NodeEntry, View};

/// Largest compiled regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 18;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    AgentConnected,
    AgentVersion,
    Attribute(String),
    Ec2InstanceId,
    RegisteredAt,
    RunningTasksCount,
    TaskGroup,
}

impl Subject {
    pub(super) fn read(word: &str) -> Option<Self> {
        if let Some(name) = word.strip_prefix("attribute:") {
            return (!name.is_empty()).then(|| Self::Attribute(name.to_owned()));
        }
        Some(match word {
            "agentConnected" => Self::AgentConnected,
            "agentVersion" => Self::AgentVersion,
            "ec2InstanceId" => Self::Ec2InstanceId,
            "registeredAt" => Self::RegisteredAt,
            "runningTasksCount" => Self::RunningTasksCount,
            "task:group" => Self::TaskGroup,
            _ => return None,
        })
    }

    /// What the node has of it: nothing, one value, or (task groups) several.
    fn values(&self, node: &NodeEntry, view: &View) -> Vec<String> {
        match self {
            Self::AgentConnected => vec![node.agent_connected().to_string()],
            Self::AgentVersion => vec![node.record.agent_version.clone()],
            Self::Attribute(name) => node
                .record
                .attributes
                .iter()
                .filter(|attribute| attribute.name == *name)
                .map(|attribute| attribute.value.clone().unwrap_or_default())
                .collect(),
            Self::Ec2InstanceId => node.record.ec2_instance_id.iter().cloned().collect(),
            Self::RegisteredAt => vec![node.record.registered_at_ms.to_string()],
            Self::RunningTasksCount => vec![node.running_tasks.to_string()],
            Self::TaskGroup => {
                let tasks = node.tasks.iter().filter_map(|arn| view.task(arn));
                tasks.map(|task| task.group.to_string()).collect()
            }
        }
    }
}

/// How it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equals,
    NotEquals,
    Above,
    AtLeast,
    Below,
    AtMost,
    Exists,
    NotExists,
    In,
    NotIn,
    Matches,
    NotMatches,
}

/// One comparison.
#[derive(Clone, Debug)]
pub(super) struct Test {
    subject: Subject,
    operator: Operator,
    arguments: Vec<String>,
    regex: Option<Regex>,
}

impl Test {
    pub(super) fn new(
        subject: Subject,
        operator: Operator,
        mut arguments: Vec<String>,
    ) -> Result<Self, String> {
        let mut regex = None;
        if matches!(operator, Operator::Matches | Operator::NotMatches) {
            let pattern = arguments.first().map_or("", String::as_str);
            let built = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
            regex = Some(built.map_err(|why| format!("regular expression {pattern:?}: {why}"))?);
        } else if subject == Subject::RegisteredAt {
            for argument in &mut arguments {
                *argument = unix_ms(argument)
                    .ok_or_else(|| format!("{argument:?} is no time such as 2026-01-31T12:00:00Z"))?
                    .to_string();
            }
        }
        Ok(Self { subject, operator, arguments, regex })
    }

    pub(super) fn passes(&self, node: &NodeEntry, view: &View) -> bool {
        let values = self.subject.values(node, view);
        let any = |test: &dyn Fn(&str) -> bool| values.iter().any(|value| test(value));
        let listed = |value: &str| self.arguments.iter().any(|argument| argument == value);
        let ordered = |wanted: &[Ordering]| {
            let argument = self.arguments.first().map_or("", String::as_str);
            any(&|value| wanted.contains(&compare(value, argument)))
        };
        let matched = || self.regex.as_ref().is_some_and(|regex| any(&|v| regex.is_match(v)));
        match self.operator {
            Operator::Equals | Operator::In => any(&listed),
            Operator::NotEquals | Operator::NotIn => !any(&listed),
            Operator::Above => ordered(&[Ordering::Greater]),
            Operator::AtLeast => ordered(&[Ordering::Greater, Ordering::Equal]),
            Operator::Below => ordered(&[Ordering::Less]),
            Operator::AtMost => ordered(&[Ordering::Less, Ordering::Equal]),
            Operator::Exists => !values.is_empty(),
            Operator::NotExists => values.is_empty(),
            Operator::Matches => matched(),
            Operator::NotMatches => !matched(),
        }
    }
}

/// Numbers as numbers, part by part at dots (so versions too); what is no number as text.
fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (Some(_), None) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                _ => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Milliseconds of an RFC 3339 time, or of a date, which means its midnight in UTC.
fn unix_ms(text: &str) -> Option<i128> {
    let full = if text.len() == "2026-01-31".len() {
        format!("{text}T00:00:00Z")
    } else {
        text.to_owned()
    };
    let time = OffsetDateTime::parse(&full, &Rfc3339).ok()?;
    Some(time.unix_timestamp_nanos() / 1_000_000)
}
