//! Secret values of tasks. They are no part of the model: nobody keeps them on disk.

use std::collections::BTreeMap;
use std::fmt;

use loadline_model::{ContainerName, KeyValue, TaskArn};

use super::{CONTAINERS_MAX, InvalidField, at_most, id};
use crate::v1;

/// Most values of one container: its secrets, and the variables of its environment files.
pub const SECRETS_PER_CONTAINER_MAX: usize = 10_000;
/// Longest reason, in bytes.
const ERROR_BYTES_MAX: usize = 4096;

/// What a task's containers are told and nobody else, or why it can't be had.
#[derive(Clone, PartialEq, Eq)]
pub struct TaskSecrets {
    /// Whose they are.
    pub task: TaskArn,
    /// Each container's variables; or the reason.
    pub values: Result<BTreeMap<ContainerName, Vec<KeyValue>>, String>,
}

/// Without the values, so that no log line can hold them.
impl fmt::Debug for TaskSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.values.as_ref().map(|all| all.values().map(Vec::len).sum::<usize>());
        f.debug_struct("TaskSecrets").field("task", &self.task).field("values", &count).finish()
    }
}

impl TryFrom<v1::TaskSecrets> for TaskSecrets {
    type Error = InvalidField;

    fn try_from(wire: v1::TaskSecrets) -> Result<Self, InvalidField> {
        let task = id("task_arn", TaskArn::parse(&wire.task_arn))?;
        if let Some(error) = wire.error {
            at_most("error", error.len(), ERROR_BYTES_MAX)?;
            return Ok(Self { task, values: Err(error) });
        }
        at_most("containers", wire.containers.len(), CONTAINERS_MAX)?;
        let mut values = BTreeMap::new();
        for container in wire.containers {
            at_most("environment", container.environment.len(), SECRETS_PER_CONTAINER_MAX)?;
            let name = id("container_name", ContainerName::parse(&container.container_name))?;
            let pairs = container.environment.into_iter();
            let pairs = pairs.map(|pair| KeyValue { name: pair.name, value: pair.value });
            values.insert(name, pairs.collect());
        }
        Ok(Self { task, values: Ok(values) })
    }
}

impl From<TaskSecrets> for v1::TaskSecrets {
    fn from(own: TaskSecrets) -> Self {
        let task_arn = own.task.into();
        let values = match own.values {
            Ok(values) => values,
            Err(error) => return Self { task_arn, containers: vec![], error: Some(error) },
        };
        let containers = values.into_iter().map(|(name, pairs)| v1::ContainerSecrets {
            container_name: name.into(),
            environment: pairs
                .into_iter()
                .map(|pair| v1::KeyValue { name: pair.name, value: pair.value })
                .collect(),
        });
        Self { task_arn, containers: containers.collect(), error: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_cross_the_wire_whole_and_are_never_printed() {
        let task = TaskArn::parse("arn:aws:ecs:r:1:task/default/1").unwrap();
        let pair = KeyValue { name: "PASSWORD".into(), value: "hush".into() };
        let values = BTreeMap::from([(ContainerName::parse("app").unwrap(), vec![pair])]);
        for values in [Ok(values), Err("no such secret".to_owned())] {
            let own = TaskSecrets { task: task.clone(), values };
            assert!(!format!("{own:?}").contains("hush"));
            let wire = v1::TaskSecrets::from(own.clone());
            assert_eq!(TaskSecrets::try_from(wire).unwrap(), own);
        }
        let nobody = v1::TaskSecrets { task_arn: "x".into(), ..v1::TaskSecrets::default() };
        assert!(TaskSecrets::try_from(nobody).is_err());
        let long = "x".repeat(ERROR_BYTES_MAX + 1);
        let wire = v1::TaskSecrets { task_arn: task.into(), error: Some(long), containers: vec![] };
        assert!(TaskSecrets::try_from(wire).is_err());
    }
}
