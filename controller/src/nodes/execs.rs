//! Programs that somebody runs in containers, from the API's answer to the end of the program.
//!
//! ```text
//!  API: create ─▶ Waiting ─(token)▶ claim ─▶ asked of the node ─▶ arrived ─▶ relayed ─▶ gone
//!                    └ nobody comes: forgotten     └ refused, or no answer ─▶ gone
//! ```
//!
//! Invariants: a token opens one session, once, and only for a while; a node answers only for what
//! it was asked itself. Nothing of it is stored: with the controller, they end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use loadline_model::InstanceArn;
use loadline_proto::convert::{EXECS_PER_TASK_MAX, ExecId, OpenExec};
use loadline_proto::v1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};

use super::relay::{LogsError, LogsRelay, Question};

/// How long somebody may take from the API's answer to the session.
const TOKEN_S_MAX: u64 = 120;
/// Most programs at once in the whole cluster, those that nobody came for yet included.
const EXECS_MAX: usize = 256;
/// Pieces of input that wait for one program's node.
pub(super) const INPUT_MAX: usize = 4;

/// On whose behalf: for the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecCaller {
    /// The access key.
    pub key_id: String,
    /// The ARN of whoever holds it.
    pub who: String,
}

/// A node's end of a running program.
pub struct AgentEnd {
    /// What it writes.
    pub output: Streaming<v1::ExecOutput>,
    /// What it reads. Dropping it ends it.
    pub input: mpsc::Sender<Result<v1::ExecInput, Status>>,
}

impl fmt::Debug for AgentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentEnd").finish_non_exhaustive()
    }
}

/// What is told to whoever waits for a node.
type Answer = Result<AgentEnd, String>;

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The task has enough.
    #[error("{EXECS_PER_TASK_MAX} programs run in the task already: end one of them first")]
    TaskFull,
    /// The cluster has.
    #[error("{EXECS_MAX} programs run in containers already: end one of them first")]
    Full,
    /// Nobody asked for it, or its time is over, or it was begun already.
    #[error("no such session, or its token was used or has expired: ask for a new one")]
    Unknown,
}

#[derive(Debug)]
enum Stage {
    /// Nobody has come yet.
    Waiting {
        token_hash: [u8; 32],
        until: Instant,
    },
    /// The node was asked.
    Asked(oneshot::Sender<Answer>),
    Running,
}

#[derive(Debug)]
struct Entry {
    node: InstanceArn,
    open: OpenExec,
    caller: ExecCaller,
    stage: Stage,
}

/// All of them; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Execs {
    entries: Arc<Mutex<BTreeMap<ExecId, Entry>>>,
}

/// One that somebody came for. Dropping it forgets it.
#[derive(Debug)]
pub struct Claimed {
    /// What is run.
    pub open: OpenExec,
    /// On whose node.
    pub node: InstanceArn,
    /// For whom.
    pub caller: ExecCaller,
    answer: Option<oneshot::Receiver<Answer>>,
    execs: Execs,
}

impl Execs {
    /// Notes what somebody may run, once, with this token.
    ///
    /// # Errors
    /// [`ExecError::TaskFull`], [`ExecError::Full`]
    pub fn create(
        &self,
        node: &InstanceArn,
        open: OpenExec,
        caller: ExecCaller,
        token: &str,
    ) -> Result<(), ExecError> {
        let now = Instant::now();
        let mut entries = self.locked();
        entries.retain(|_, entry| match entry.stage {
            Stage::Waiting { until, .. } => now < until,
            Stage::Asked(_) | Stage::Running => true,
        });
        if EXECS_MAX <= entries.len() {
            return Err(ExecError::Full);
        }
        let of_task = entries.values().filter(|entry| entry.open.task == open.task);
        if EXECS_PER_TASK_MAX <= of_task.count() {
            return Err(ExecError::TaskFull);
        }
        let until = now + Duration::from_secs(TOKEN_S_MAX);
        let stage = Stage::Waiting { token_hash: Sha256::digest(token).into(), until };
        let (id, node) = (open.exec.clone(), node.clone());
        entries.insert(id, Entry { node, open, caller, stage });
        Ok(())
    }

    /// Whether somebody may come for it.
    #[must_use]
    pub fn awaits(&self, id: &ExecId) -> bool {
        let entries = self.locked();
        let stage = entries.get(id).map(|entry| &entry.stage);
        matches!(stage, Some(Stage::Waiting { until, .. }) if Instant::now() < *until)
    }

    /// Somebody came. A wrong token ends it: nobody guesses twice.
    ///
    /// # Errors
    /// [`ExecError::Unknown`]
    pub fn claim(&self, id: &ExecId, token: &str) -> Result<Claimed, ExecError> {
        let mut entries = self.locked();
        let entry = entries.get_mut(id).ok_or(ExecError::Unknown)?;
        let Stage::Waiting { token_hash, until } = &entry.stage else {
            return Err(ExecError::Unknown);
        };
        let given: [u8; 32] = Sha256::digest(token).into();
        let fits: bool = given.ct_eq(token_hash).into();
        if !fits || *until <= Instant::now() {
            entries.remove(id);
            return Err(ExecError::Unknown);
        }
        let (asked, answer) = oneshot::channel();
        entry.stage = Stage::Asked(asked);
        Ok(Claimed {
            open: entry.open.clone(),
            node: entry.node.clone(),
            caller: entry.caller.clone(),
            answer: Some(answer),
            execs: self.clone(),
        })
    }

    /// The node's call came. It names one that this very node was asked for, or is refused.
    pub(super) fn arrived(
        &self,
        node: &InstanceArn,
        id: &ExecId,
        end: AgentEnd,
    ) -> Result<(), Status> {
        let gone = || Status::not_found("nobody waits for this program any more");
        let mut entries = self.locked();
        let entry = entries.get_mut(id).filter(|entry| entry.node == *node).ok_or_else(gone)?;
        match std::mem::replace(&mut entry.stage, Stage::Running) {
            Stage::Asked(waiting) => waiting.send(Ok(end)).map_err(|_| gone()),
            before => {
                entry.stage = before;
                Err(gone())
            }
        }
    }

    /// The node will not run it.
    pub(super) fn refused(&self, node: &InstanceArn, refused: v1::ExecRefused) {
        let Some(id) = ExecId::parse(&refused.exec_id) else { return };
        let mut entries = self.locked();
        let Some(entry) = entries.get_mut(&id).filter(|entry| entry.node == *node) else { return };
        match std::mem::replace(&mut entry.stage, Stage::Running) {
            Stage::Asked(waiting) => {
                // An error means that nobody waits any more.
                let _ = waiting.send(Err(refused.reason));
            }
            // It was not asked, or has answered.
            before => entry.stage = before,
        }
    }

    /// The node's session has ended, and with it what it was asked there: whoever waits is told.
    pub(super) fn lost(&self, node: &InstanceArn) {
        let mut entries = self.locked();
        for entry in entries.values_mut().filter(|entry| entry.node == *node) {
            match std::mem::replace(&mut entry.stage, Stage::Running) {
                Stage::Asked(waiting) => {
                    let why = format!("the agent of {node} was lost before it ran the program");
                    // An error means that nobody waits any more.
                    let _ = waiting.send(Err(why));
                }
                before => entry.stage = before,
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<ExecId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claimed {
    /// Asks the node, and waits for its call.
    ///
    /// # Errors
    /// Why the program will not run, in words.
    pub async fn begin(&mut self, relay: &LogsRelay) -> Result<AgentEnd, String> {
        let question = Question::Exec(Box::new(self.open.clone().into()));
        relay.ask(&self.node, question).map_err(|error| match error {
            LogsError::NotConnected(node) => format!("the agent of {node} is not connected"),
            error => error.to_string(),
        })?;
        let Some(answer) = self.answer.take() else { return Err("it was begun already".into()) };
        // A little more than the agent has, for the way.
        let patience = Duration::from_secs(2 * loadline_proto::convert::EXEC_ANSWER_S_MAX);
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(format!(
                "the agent of {} did not answer: is it older than this controller?",
                self.node
            )),
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.execs.locked().remove(&self.open.exec);
    }
}

#[cfg(test)]
mod tests {
    use loadline_model::{ContainerName, TaskArn};

    use super::*;
    use crate::state::SessionId;

    fn node() -> InstanceArn {
        InstanceArn::parse("arn:aws:ecs:r:1:container-instance/c/1").unwrap()
    }

    fn open(n: u8) -> OpenExec {
        OpenExec {
            exec: ExecId::new([n; 16]),
            task: TaskArn::parse("arn:aws:ecs:r:1:task/c/1").unwrap(),
            container: ContainerName::parse("main").unwrap(),
            command: vec!["sh".into()],
            terminal: None,
            interactive: false,
        }
    }

    fn create(execs: &Execs, n: u8) -> Result<(), ExecError> {
        execs.create(&node(), open(n), ExecCaller::default(), "secret")
    }

    #[test]
    fn a_token_opens_its_session_once() {
        let execs = Execs::default();
        create(&execs, 1).unwrap();
        let id = ExecId::new([1; 16]);
        assert!(execs.awaits(&id));
        let claimed = execs.claim(&id, "secret").unwrap();
        assert!(!execs.awaits(&id), "somebody came");
        assert_eq!(execs.claim(&id, "secret").unwrap_err(), ExecError::Unknown);
        drop(claimed);
        assert!(execs.locked().is_empty(), "it is forgotten");
        create(&execs, 2).unwrap();
        let id = ExecId::new([2; 16]);
        assert_eq!(execs.claim(&id, "guess").unwrap_err(), ExecError::Unknown);
        assert_eq!(execs.claim(&id, "secret").unwrap_err(), ExecError::Unknown, "one guess");
    }

    #[test]
    fn a_task_has_a_bounded_number_of_sessions() {
        let execs = Execs::default();
        let most = u8::try_from(EXECS_PER_TASK_MAX).unwrap();
        (0..most).for_each(|n| create(&execs, n).unwrap());
        assert_eq!(create(&execs, most).unwrap_err(), ExecError::TaskFull);
        drop(execs.claim(&ExecId::new([0; 16]), "secret").unwrap());
        create(&execs, most).unwrap();
    }

    #[tokio::test]
    async fn only_the_node_that_was_asked_can_refuse() {
        let execs = Execs::default();
        create(&execs, 1).unwrap();
        let exec_id = ExecId::new([1; 16]).to_string();
        execs.refused(&node(), v1::ExecRefused { exec_id, reason: "too early".to_owned() });
        let mut claimed = execs.claim(&ExecId::new([1; 16]), "secret").unwrap();
        let other = InstanceArn::parse("arn:aws:ecs:r:1:container-instance/c/2").unwrap();
        let exec_id = claimed.open.exec.to_string();
        let refused =
            |reason: &str| v1::ExecRefused { exec_id: exec_id.clone(), reason: reason.to_owned() };
        execs.refused(&other, refused("not its own"));
        execs.refused(&node(), refused("no room"));
        let answer = claimed.answer.take().unwrap().await.unwrap();
        assert_eq!(answer.unwrap_err(), "no room");
    }

    #[tokio::test]
    async fn who_waits_for_a_node_whose_session_ends_is_told_at_once() {
        let relay = LogsRelay::new();
        let mut ends = Vec::new();
        // It ends, or another one takes its place.
        for n in 1..=2 {
            let asked = relay.attach(&node(), SessionId(u64::from(n)));
            create(relay.execs(), n).unwrap();
            let mut claimed = relay.execs().claim(&ExecId::new([n; 16]), "secret").unwrap();
            let relay = relay.clone();
            ends.push(tokio::spawn(async move { claimed.begin(&relay).await.map(drop) }));
            while asked.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        relay.detach(&node(), SessionId(2));
        for end in ends {
            let why = end.await.unwrap().unwrap_err();
            assert!(why.contains("was lost before it ran the program"), "{why}");
        }
    }
}
