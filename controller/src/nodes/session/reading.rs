//! Environment files on their way: read beside the session, a few tasks at a time, and sent when
//! they are there.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use loadline_model::TaskArn;
use loadline_proto::convert::TaskSecrets;
use tokio::task::JoinSet;

use super::talk::now_s;
use crate::nodes::AgentPort;
use crate::nodes::environment::{self, Contents, FileFault};
use crate::nodes::private::{self, Found};
use crate::objects::ObjectName;

/// Most tasks of a node whose files are read, or wait to be sent, at once: they lie in memory.
const TASKS_AT_ONCE_MAX: usize = 8;

/// A session's tasks whose files are awaited. What is under way ends with it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Tasks of the node, and the log groups that were missing when they came.
    waiting: VecDeque<(TaskArn, Arc<BTreeSet<String>>)>,
    under_way: JoinSet<Option<TaskSecrets>>,
}

impl Reading {
    pub(super) fn push(&mut self, task: TaskArn, missing: Arc<BTreeSet<String>>) {
        self.waiting.push_back((task, missing));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// The next task's secrets; `None` for one that awaits none any more. Nothing is lost where
    /// the caller stops waiting.
    pub(super) async fn next(&mut self, port: &AgentPort) -> Option<TaskSecrets> {
        while self.under_way.len() < TASKS_AT_ONCE_MAX
            && let Some((task, missing)) = self.waiting.pop_front()
        {
            self.under_way.spawn(secrets(port.clone(), task, missing));
        }
        match self.under_way.join_next().await? {
            Ok(secrets) => secrets,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody cancels one before the session ends.
                Err(_) => None,
            },
        }
    }
}

async fn secrets(
    port: AgentPort,
    task: TaskArn,
    missing: Arc<BTreeSet<String>>,
) -> Option<TaskSecrets> {
    let AgentPort { engine, keyring, .. } = &port;
    // By the time that it is this task's turn it may be over, or its role may be another.
    let names = private::files(&engine.snapshot(), keyring, &task, now_s());
    let files = match names {
        Ok(names) if names.is_empty() => return None,
        Ok(names) => read(&port, names).await,
        Err(fault) => Err(fault),
    };
    let found = Found { missing, files };
    private::secrets(&engine.snapshot(), keyring, &task, found, now_s())
}

async fn read(port: &AgentPort, names: Vec<ObjectName>) -> Result<Contents, FileFault> {
    let store = port.objects.as_ref().ok_or(FileFault::NoStore)?;
    environment::read(store, names).await
}
