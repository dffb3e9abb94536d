//! What a task asks about itself, by its node.

use std::collections::BTreeMap;

use loadline_model::{KeyValue, LogConfiguration, TaskArn};

use super::{Fault, InvalidField, at_most, id};
use crate::v1;

/// Most tags of a task or a node.
const TAGS_MAX: usize = 100;

/// A question of a task's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskQuestion {
    /// Of this session, chosen by the agent.
    pub request_id: u64,
    /// Whose.
    pub task: TaskArn,
    /// What it asks.
    pub ask: TaskAsk,
}

/// What a task can ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskAsk {
    /// Its tags and its node's.
    About,
    /// Whether it is protected.
    Protection,
    /// To be protected, or not any more.
    Protect {
        /// Whether.
        enabled: bool,
        /// For how long; ECS's default where absent.
        expires_in_minutes: Option<i32>,
    },
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskAnswer {
    /// Of the question.
    pub request_id: u64,
    /// The answer.
    pub told: TaskTold,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskTold {
    /// To [`TaskAsk::About`].
    About {
        /// The task's.
        tags: Vec<KeyValue>,
        /// The container instance's.
        instance_tags: Vec<KeyValue>,
        /// The service that it is of.
        service: Option<String>,
        /// The ARN of each container, by its name.
        container_arns: Vec<KeyValue>,
        /// Of the containers whose log driver is the controller's, by their names.
        logs: BTreeMap<String, LogConfiguration>,
    },
    /// To the others.
    Protection {
        /// Whether it is protected.
        enabled: bool,
        /// Until when, Unix milliseconds.
        expires_at_ms: Option<u64>,
    },
    /// No.
    Refused {
        /// AWS's code.
        code: String,
        /// For people.
        message: String,
    },
}

impl TryFrom<v1::TaskQuestion> for TaskQuestion {
    type Error = InvalidField;

    fn try_from(wire: v1::TaskQuestion) -> Result<Self, InvalidField> {
        use v1::task_question::Ask;
        let ask = match wire.ask {
            Some(Ask::About(_)) => TaskAsk::About,
            Some(Ask::Protection(_)) => TaskAsk::Protection,
            Some(Ask::Protect(v1::Protect { enabled, expires_in_minutes })) => {
                TaskAsk::Protect { enabled, expires_in_minutes }
            }
            None => return Err(InvalidField::new("ask", Fault::Missing)),
        };
        let task = id("task_arn", TaskArn::parse(&wire.task_arn))?;
        Ok(Self { request_id: wire.request_id, task, ask })
    }
}

impl From<TaskQuestion> for v1::TaskQuestion {
    fn from(question: TaskQuestion) -> Self {
        use v1::task_question::Ask;
        let ask = match question.ask {
            TaskAsk::About => Ask::About(v1::About {}),
            TaskAsk::Protection => Ask::Protection(v1::Protection {}),
            TaskAsk::Protect { enabled, expires_in_minutes } => {
                Ask::Protect(v1::Protect { enabled, expires_in_minutes })
            }
        };
        let TaskQuestion { request_id, task, .. } = question;
        Self { request_id, task_arn: task.into(), ask: Some(ask) }
    }
}

impl TryFrom<v1::TaskAnswer> for TaskAnswer {
    type Error = InvalidField;

    fn try_from(wire: v1::TaskAnswer) -> Result<Self, InvalidField> {
        use v1::task_answer::Told;
        let told = match wire.told {
            Some(Told::About(about)) => {
                at_most("tags", about.tags.len(), TAGS_MAX)?;
                at_most("instance_tags", about.instance_tags.len(), TAGS_MAX)?;
                at_most("container_arns", about.container_arns.len(), TAGS_MAX)?;
                at_most("logs", about.logs.len(), TAGS_MAX)?;
                TaskTold::About {
                    tags: pairs(about.tags),
                    instance_tags: pairs(about.instance_tags),
                    service: about.service,
                    container_arns: pairs(about.container_arns),
                    logs: about.logs.into_iter().map(log_from_wire).collect::<Result<_, _>>()?,
                }
            }
            Some(Told::Protection(own)) => {
                TaskTold::Protection { enabled: own.enabled, expires_at_ms: own.expires_at_ms }
            }
            Some(Told::Refused(no)) => TaskTold::Refused { code: no.code, message: no.message },
            None => return Err(InvalidField::new("told", Fault::Missing)),
        };
        Ok(Self { request_id: wire.request_id, told })
    }
}

impl From<TaskAnswer> for v1::TaskAnswer {
    fn from(answer: TaskAnswer) -> Self {
        use v1::task_answer::Told;
        let told = match answer.told {
            TaskTold::About { tags, instance_tags, service, container_arns, logs } => {
                Told::About(v1::TaskAbout {
                    tags: to_wire(tags),
                    instance_tags: to_wire(instance_tags),
                    service,
                    container_arns: to_wire(container_arns),
                    logs: logs.into_iter().map(log_to_wire).collect(),
                })
            }
            TaskTold::Protection { enabled, expires_at_ms } => {
                Told::Protection(v1::ProtectionState { enabled, expires_at_ms })
            }
            TaskTold::Refused { code, message } => Told::Refused(v1::Refusal { code, message }),
        };
        Self { request_id: answer.request_id, told: Some(told) }
    }
}

fn log_from_wire(wire: v1::ContainerLog) -> Result<(String, LogConfiguration), InvalidField> {
    at_most("logs.options", wire.options.len(), TAGS_MAX)?;
    let options = wire.options.into_iter().map(|pair| (pair.name, pair.value)).collect();
    Ok((wire.container_name, LogConfiguration { driver: wire.driver, options }))
}

fn log_to_wire((container_name, log): (String, LogConfiguration)) -> v1::ContainerLog {
    let options = log.options.into_iter().map(|(name, value)| v1::KeyValue { name, value });
    v1::ContainerLog { container_name, driver: log.driver, options: options.collect() }
}

fn to_wire(pairs: Vec<KeyValue>) -> Vec<v1::KeyValue> {
    pairs.into_iter().map(|pair| v1::KeyValue { name: pair.name, value: pair.value }).collect()
}

fn pairs(wire: Vec<v1::KeyValue>) -> Vec<KeyValue> {
    wire.into_iter().map(|pair| KeyValue { name: pair.name, value: pair.value }).collect()
}
