//! Waiting for a task, and the exit code that stands for it.

use std::time::Duration;

use crate::api::Client;
use crate::failure::{Failure, exit};
use crate::query::{self, Task};

/// How often to look. The API has no way to be told.
const POLL_MS: u64 = 200;
const POLL_SLOW_MS: u64 = 1_000;
/// How many looks are quick ones: what ends soon is seen soon.
const QUICK_LOOKS: u32 = 25;

/// Waits until the task has stopped, however long that takes.
pub(crate) async fn until_stopped(
    client: &Client,
    cluster: &str,
    arn: &str,
) -> Result<Task, Failure> {
    let mut looks = 0;
    loop {
        let task = query::task(client, cluster, arn).await?;
        if task.is_stopped() {
            return Ok(task);
        }
        pause(&mut looks).await;
    }
}

/// The wait before the next look.
pub(crate) async fn pause(looks: &mut u32) {
    *looks = looks.saturating_add(1);
    let pause = if *looks <= QUICK_LOOKS { POLL_MS } else { POLL_SLOW_MS };
    tokio::time::sleep(Duration::from_millis(pause)).await;
}

/// A controller that does not answer while something is followed: told once, and when it is over.
#[derive(Debug, Default)]
pub(crate) struct Away {
    answered: bool,
    told: bool,
    looks: u32,
}

impl Away {
    /// The answer, if there is one; `None` after a pause where the controller is away. One that
    /// never answered is a failure.
    pub(crate) async fn outlast<T>(
        &mut self,
        answer: Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        match answer {
            Err(failure) if self.answered && failure.is_away() => {
                if !self.told {
                    eprintln!("loadline: {failure}: trying again");
                }
                self.told = true;
                pause(&mut self.looks).await;
                Ok(None)
            }
            Err(failure) => Err(failure),
            Ok(answer) => {
                if self.told {
                    eprintln!("loadline: connected again");
                }
                *self = Self { answered: true, ..Self::default() };
                Ok(Some(answer))
            }
        }
    }
}

/// The exit code of a stopped task: its first container's that is not 0, else 0; 125 where a
/// container has none, or the task was not ended by a container of its own.
pub(crate) fn exit_code(task: &Task) -> u8 {
    let by_container = task.stop_code.as_deref() == Some("EssentialContainerExited");
    let codes: Vec<i64> = task.containers.iter().filter_map(|c| c.exit_code).collect();
    if codes.is_empty() || (!by_container && codes.iter().all(|code| *code == 0)) {
        return exit::TASK_FAILED;
    }
    let first = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
    u8::try_from(first).unwrap_or(exit::TASK_FAILED)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tasks_exit_code_is_its_containers() {
        let check = |stop_code: &str, codes: &[Option<i64>], expected: u8| {
            let containers: Vec<_> =
                codes.iter().map(|code| json!({"name": "c", "exitCode": code})).collect();
            let task: Task = serde_json::from_value(json!({
                "taskArn": "a", "taskDefinitionArn": "d", "lastStatus": "STOPPED",
                "desiredStatus": "STOPPED", "stopCode": stop_code, "containers": containers,
            }))
            .unwrap();
            assert_eq!(exit_code(&task), expected, "{stop_code} {codes:?}");
        };
        check("EssentialContainerExited", &[Some(0)], 0);
        check("EssentialContainerExited", &[Some(0), Some(3)], 3);
        check("EssentialContainerExited", &[Some(137)], 137);
        check("EssentialContainerExited", &[None], 125);
        check("TaskFailedToStart", &[None], 125);
        check("UserInitiated", &[Some(0)], 125);
        check("UserInitiated", &[Some(143)], 143);
        check("EssentialContainerExited", &[Some(1000)], 125);
    }
}
