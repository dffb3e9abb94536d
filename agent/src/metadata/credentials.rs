//! The tasks' credentials, as the controller sent them last. In memory only: a node's disk never
//! holds them, and an agent that was started again gets them anew with its first session.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use loadline_model::TaskArn;
use loadline_proto::convert::TaskCredentials;

use crate::node::desired::TASKS_MAX;

/// How long credentials of a task that is not (yet) shown are kept, in milliseconds.
const UNSHOWN_MS_MAX: u64 = 60_000;

#[derive(Debug)]
struct Kept {
    credentials: TaskCredentials,
    came_at_ms: u64,
}

/// Shared by the session, which brings credentials, and by whoever gives them to their task. The
/// lock is held for a look only, never across an await.
#[derive(Debug, Default)]
pub struct CredentialStore {
    by_task: Mutex<BTreeMap<TaskArn, Kept>>,
}

impl CredentialStore {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskArn, Kept>> {
        self.by_task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the controller sent; whether there was room for it.
    pub fn put(&self, credentials: TaskCredentials, now_ms: u64) -> bool {
        let mut kept = self.lock();
        let has_room = kept.len() < TASKS_MAX || kept.contains_key(&credentials.task);
        if has_room {
            kept.insert(credentials.task.clone(), Kept { credentials, came_at_ms: now_ms });
        }
        has_room
    }

    /// The newest credentials of a task.
    #[must_use]
    pub fn get(&self, task: &TaskArn) -> Option<TaskCredentials> {
        self.lock().get(task).map(|kept| kept.credentials.clone())
    }

    /// Drops those of tasks that are gone.
    pub fn retain(&self, is_here: impl Fn(&TaskArn) -> bool, now_ms: u64) {
        let is_new = |kept: &Kept| now_ms < kept.came_at_ms.saturating_add(UNSHOWN_MS_MAX);
        self.lock().retain(|task, kept| is_here(task) || is_new(kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(n: u32, key: &str) -> TaskCredentials {
        TaskCredentials {
            task: TaskArn::parse(&format!("arn:aws:ecs:r:1:task/default/{n}")).unwrap(),
            role_arn: "arn:aws:iam::1:role/r".into(),
            access_key_id: key.into(),
            secret_access_key: "s".into(),
            session_token: "t".into(),
            expires_at_ms: 9,
        }
    }

    #[test]
    fn newer_credentials_replace_older_and_go_with_their_task() {
        let store = CredentialStore::default();
        assert!(store.put(credentials(1, "a"), 0));
        assert!(store.put(credentials(1, "b"), 0));
        assert!(store.put(credentials(2, "c"), 0));
        let key = |n| store.get(&credentials(n, "").task).map(|own| own.access_key_id);
        assert_eq!(key(1).as_deref(), Some("b"));
        store.retain(|_| false, UNSHOWN_MS_MAX - 1);
        assert_eq!(key(1).as_deref(), Some("b"), "its task may be about to be shown");
        store.retain(|task| *task == credentials(2, "").task, UNSHOWN_MS_MAX);
        assert_eq!((key(1), key(2).as_deref()), (None, Some("c")));
    }
}
