//! The tasks' secrets, as the controller sent them first, and who waits for them. In memory only:
//! the ledger never holds them, and an agent that was started again gets them anew with its first
//! session. A container's own bundle holds its environment, as any OCI runtime needs it, below a
//! folder that is closed to others.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loadline_model::{ContainerName, KeyValue, TaskArn};
use loadline_proto::convert::TaskSecrets;
use tokio::sync::watch;

use crate::node::desired::TASKS_MAX;

/// How long secrets of a task that is not (yet) shown are kept, in milliseconds.
const UNSHOWN_MS_MAX: u64 = 60_000;
/// How long a task waits for its secrets.
const WAIT_MAX: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Kept {
    secrets: TaskSecrets,
    came_at_ms: u64,
}

/// Shared by the session, which brings secrets, and by the tasks that wait for theirs. The lock is
/// held for a look only, never across an await.
#[derive(Debug, Default)]
pub struct SecretStore {
    by_task: Mutex<BTreeMap<TaskArn, Kept>>,
    came: watch::Sender<()>,
}

impl SecretStore {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskArn, Kept>> {
        self.by_task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the controller sent; whether there was room for it. Values that came once
    /// stay, whether newer ones come or can't be had any more: they are a task's for the life of
    /// this agent, so that a container that starts again by its restart policy begins as it did at
    /// first, as on ECS. The next agent has those of its own first session.
    pub fn put(&self, secrets: TaskSecrets, now_ms: u64) -> bool {
        let has_room = {
            let mut kept = self.lock();
            if let Some(had) = kept.get_mut(&secrets.task)
                && had.secrets.values.is_ok()
            {
                had.came_at_ms = now_ms;
                return true;
            }
            let has_room = kept.len() < TASKS_MAX || kept.contains_key(&secrets.task);
            if has_room {
                kept.insert(secrets.task.clone(), Kept { secrets, came_at_ms: now_ms });
            }
            has_room
        };
        self.came.send_replace(());
        has_room
    }

    fn look(&self, task: &TaskArn) -> Option<TaskSecrets> {
        self.lock().get(task).map(|kept| kept.secrets.clone())
    }

    /// A container's secret variables, once they came.
    ///
    /// # Errors
    /// The reason why the container can't be started, in ECS's words.
    pub async fn of(
        &self,
        task: &TaskArn,
        container: &ContainerName,
    ) -> Result<Vec<KeyValue>, String> {
        let mut came = self.came.subscribe();
        let all = async {
            loop {
                if let Some(secrets) = self.look(task) {
                    return secrets;
                }
                // The sender is this store: it outlives the borrow.
                let _ = came.changed().await;
            }
        };
        let secrets = tokio::time::timeout(WAIT_MAX, all).await.map_err(|_| {
            let seconds = WAIT_MAX.as_secs();
            format!(
                "ResourceInitializationError: unable to pull secrets or registry auth: the \
                 controller did not send the task's secrets within {seconds} s"
            )
        })?;
        secrets.values.map(|mut all| all.remove(container).unwrap_or_default())
    }

    /// Drops those of tasks that are gone.
    pub fn retain(&self, is_here: impl Fn(&TaskArn) -> bool, now_ms: u64) {
        let is_new = |kept: &Kept| now_ms < kept.came_at_ms.saturating_add(UNSHOWN_MS_MAX);
        self.lock().retain(|task, kept| is_here(task) || is_new(kept));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn secrets(value: Result<&str, &str>) -> TaskSecrets {
        let pairs = |value: &str| vec![KeyValue { name: "P".into(), value: value.into() }];
        let named = |value| BTreeMap::from([(ContainerName::parse("app").unwrap(), pairs(value))]);
        let task = TaskArn::parse("arn:aws:ecs:r:1:task/default/1").unwrap();
        TaskSecrets { task, values: value.map(named).map_err(ToOwned::to_owned) }
    }

    #[tokio::test]
    async fn a_task_waits_for_its_secrets_and_keeps_those_that_came_first() {
        let store = Arc::new(SecretStore::default());
        let (task, app) = (secrets(Ok("")).task, ContainerName::parse("app").unwrap());
        let waiting = {
            let (store, task, app) = (Arc::clone(&store), task.clone(), app.clone());
            tokio::spawn(async move { store.of(&task, &app).await })
        };
        tokio::task::yield_now().await;
        assert!(store.put(secrets(Ok("one")), 0));
        assert_eq!(waiting.await.unwrap().unwrap()[0].value, "one");
        let other = ContainerName::parse("other").unwrap();
        assert!(store.of(&task, &other).await.unwrap().is_empty());
        assert!(store.put(secrets(Ok("two")), 1));
        assert_eq!(store.of(&task, &app).await.unwrap()[0].value, "one", "it began with them");
        assert!(store.put(secrets(Err("why not")), 2));
        assert_eq!(store.of(&task, &app).await.unwrap()[0].value, "one", "they were there");
        let never = SecretStore::default();
        assert!(never.put(secrets(Err("why not")), 1));
        assert_eq!(never.of(&task, &app).await.unwrap_err(), "why not");
        assert!(never.put(secrets(Ok("now")), 1));
        assert_eq!(never.of(&task, &app).await.unwrap()[0].value, "now");
        store.retain(|_| false, UNSHOWN_MS_MAX + 1);
        assert!(store.look(&task).is_some(), "it was told again");
        store.retain(|_| false, UNSHOWN_MS_MAX + 2);
        assert!(store.look(&task).is_none());
    }
}
