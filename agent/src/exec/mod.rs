//! Programs that somebody runs in a container: `loadline exec`, and ExecuteCommand of the API.
//!
//! ```text
//!  OpenExec ─▶ find the container ─▶ connect ─▶ Exec ─┬▶ relay ◀─▶ program (terminal or pipes)
//!                     └──── ExecRefused ◀─────────────┘              front ▶ runtime exec
//! ```
//!
//! Invariants: the OCI runtime stays in front of the program, because only it learns the exit code.
//! Each has a connection of its own, so that its output holds no heartbeat up; nothing is read from
//! a program faster than the other end takes it. Where either end goes away the program is ended.

mod program;
mod relay;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use loadline_model::{ContainerName, TaskArn};
use loadline_proto::convert::{EXECS_PER_TASK_MAX, OpenExec};
use loadline_proto::v1;
use loadline_proto::v1::agent_message::Kind as Ours;
use tokio::sync::mpsc;

use crate::session::link::Dialer;
use crate::text::chain;

/// Most programs at once on this node.
const EXECS_MAX: usize = 64;

/// Finds a container that a program can be run in.
pub trait ExecPlaces: Send + Sync + fmt::Debug {
    /// How.
    ///
    /// # Errors
    /// Why not, in words.
    fn find(&self, task: &TaskArn, container: &ContainerName) -> Result<ExecPlace, String>;
}

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecPlace {
    /// The OCI runtime's program.
    pub runtime: PathBuf,
    /// Its `--root`.
    pub runtime_root: PathBuf,
    /// The container's id for it.
    pub id: String,
    /// The folder of its newest run.
    pub run_dir: PathBuf,
    /// The supervisor's program, which goes in front of the runtime.
    pub front: PathBuf,
}

/// The programs of a node.
#[derive(Debug)]
pub struct Execs {
    places: Arc<dyn ExecPlaces>,
    running: Mutex<BTreeMap<TaskArn, usize>>,
}

impl Execs {
    /// None yet.
    #[must_use]
    pub fn new(places: Arc<dyn ExecPlaces>) -> Self {
        Self { places, running: Mutex::default() }
    }

    /// Answers an OpenExec, and stays until the program has ended.
    pub async fn open(
        self: Arc<Self>,
        wire: v1::OpenExec,
        dialer: Dialer,
        outbox: mpsc::Sender<v1::AgentMessage>,
    ) {
        let exec_id = wire.exec_id.clone();
        if let Err(reason) = self.serve(wire, dialer).await {
            tracing::warn!(exec_id, reason, "a program is not run in a container");
            let refused = v1::ExecRefused { exec_id, reason };
            // A session that has ended has nobody to answer.
            let _ = outbox.send(v1::AgentMessage { kind: Some(Ours::ExecRefused(refused)) }).await;
        }
    }

    async fn serve(self: Arc<Self>, wire: v1::OpenExec, dialer: Dialer) -> Result<(), String> {
        let open = OpenExec::try_from(wire).map_err(|invalid| invalid.to_string())?;
        let place = self.places.find(&open.task, &open.container)?;
        let _place_taken = self.take(&open.task)?;
        let client = dialer.connect().await.map_err(|error| chain(&error))?;
        relay::run(client, &open, &place).await
    }

    fn take(self: &Arc<Self>, task: &TaskArn) -> Result<Taken, String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if EXECS_MAX <= running.values().sum() {
            return Err(format!("{EXECS_MAX} programs run in containers of this node already"));
        }
        let count = running.entry(task.clone()).or_default();
        if EXECS_PER_TASK_MAX <= *count {
            return Err(format!("{EXECS_PER_TASK_MAX} programs run in the task already"));
        }
        *count += 1;
        Ok(Taken { execs: Arc::clone(self), task: task.clone() })
    }
}

/// A place among the programs of a task.
struct Taken {
    execs: Arc<Execs>,
    task: TaskArn,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut running = self.execs.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.task) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nowhere;

    impl ExecPlaces for Nowhere {
        fn find(&self, _: &TaskArn, _: &ContainerName) -> Result<ExecPlace, String> {
            Err("nowhere".to_owned())
        }
    }

    #[test]
    fn a_task_has_a_bounded_number_of_programs_and_each_that_ends_makes_room() {
        let execs = Arc::new(Execs::new(Arc::new(Nowhere)));
        let task = |n: usize| TaskArn::parse(&format!("arn:aws:ecs:r:1:task/c/{n}")).unwrap();
        let mut taken: Vec<Taken> =
            (0..EXECS_PER_TASK_MAX).map(|_| execs.take(&task(0)).unwrap()).collect();
        assert!(execs.take(&task(0)).is_err());
        taken.pop();
        taken.push(execs.take(&task(0)).unwrap());
        for n in 1.. {
            let Ok(more) = execs.take(&task(n)) else { break };
            taken.push(more);
        }
        assert_eq!(taken.len(), EXECS_MAX);
        drop(taken);
        assert!(execs.running.lock().unwrap().is_empty());
    }
}
