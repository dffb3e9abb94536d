//! The middle of a session: three sources of events, one owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use loadline_model::{Assignment, DesiredStatus, InstanceArn, TaskArn};
use loadline_proto::convert::{TaskQuestion, TaskSecrets, reports_from_wire, usage_from_wire};
use loadline_proto::v1::agent_message::Kind as FromAgent;
use loadline_proto::v1::controller_message::Kind as ToAgent;
use loadline_proto::v1::{self, Applied, Change, ReportAck, ReportAcks, Reports, Usage};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;

use super::ear::Heard as Ears;
use super::questions::Questions;
use super::reading::{self, Reading};
use super::sent::{Heard, Sent, secrets_message, snapshot_parts};
use super::{AgentPort, End, Outgoing, message, status, welcome};
use crate::command::TaskReports;
use crate::engine::{NodeChange, NodeWatch, Told};
use crate::nodes::about;
use crate::nodes::environment::{Contents, FileFault};
use crate::nodes::private::{self, Found, Given};
use crate::nodes::relay::Question;
use crate::state::{SessionId, View};

/// How often it is looked whether credentials have to be sent anew.
const REFRESH_EVERY: Duration = Duration::from_secs(60);

/// A little past the moment at which a lease would lapse.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long an acknowledgement may wait for more of them: a report is sent once in a session, so
/// nobody waits for it.
const ACKS_WAIT: Duration = Duration::from_millis(200);
/// Most acknowledgements that wait.
const ACKS_MAX: usize = 256;

/// One session's state between Welcome and its end.
pub(super) struct Talk<'a> {
    port: &'a AgentPort,
    node: &'a InstanceArn,
    session: SessionId,
    outgoing: Outgoing,
    sent: Sent,
    questions: Questions,
    given: Given,
    reading: Reading,
    /// When to look whether the agent is silent.
    look_at: Instant,
    /// The newest version of each task's report that is durable, to be told.
    acks: BTreeMap<TaskArn, u64>,
    /// When to tell them; none waits where it is `None`.
    acks_at: Option<Instant>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(
        port: &'a AgentPort,
        node: &'a InstanceArn,
        session: SessionId,
        outgoing: Outgoing,
    ) -> Self {
        Self {
            port,
            node,
            session,
            outgoing,
            sent: Sent::default(),
            questions: Questions::default(),
            given: Given::default(),
            reading: Reading::default(),
            look_at: Instant::now() + port.timing.lease(),
            acks: BTreeMap::new(),
            acks_at: None,
        }
    }

    /// Goes on until something ends it.
    pub(super) async fn run(
        mut self,
        heard: mpsc::Receiver<Ears>,
        watch: NodeWatch,
        asked: mpsc::Receiver<Question>,
    ) -> End {
        match self.run_to_end(heard, watch, asked).await {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    async fn run_to_end(
        &mut self,
        mut heard: mpsc::Receiver<Ears>,
        mut watch: NodeWatch,
        mut asked: mpsc::Receiver<Question>,
    ) -> Result<std::convert::Infallible, End> {
        self.send(welcome(self.port.timing)).await?;
        self.send_snapshot(&mut watch).await?;
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        let alarm = sleep_until(self.look_at);
        tokio::pin!(alarm);
        loop {
            // A timer costs only where it is set anew.
            let due = self.acks_at.map_or(self.look_at, |at| at.min(self.look_at));
            if alarm.deadline() != due {
                alarm.as_mut().reset(due);
            }
            tokio::select! {
                Some(heard) = heard.recv() => match heard {
                    Ears::Message(message) => self.on_message(message, &mut watch).await?,
                    Ears::End(end) => return Err(end),
                },
                change = watch.changes.recv(), if self.sent.has_room() => match change {
                    Some(change) => self.send_change(change).await?,
                    None => self.watch_again(&mut watch).await?,
                },
                Some(question) = asked.recv() => self.ask(question).await?,
                secrets = self.reading.next(self.port), if !self.reading.is_idle() => {
                    self.send_secrets(secrets).await?;
                }
                _ = refresh.tick() => self.refresh().await?,
                () = &mut alarm => self.on_alarm(due).await?,
            }
        }
    }

    /// What was due at this time.
    async fn on_alarm(&mut self, due: Instant) -> Result<(), End> {
        if self.acks_at.is_some_and(|at| at <= due) {
            self.send_acks().await?;
        }
        if self.look_at <= due { self.look_for_silence() } else { Ok(()) }
    }

    /// Silence is what the engine says it is: this task, or the whole process, may have been held
    /// up itself.
    fn look_for_silence(&mut self) -> Result<(), End> {
        let silence = self.port.engine.silence_ms(self.node, self.session);
        let silence = Duration::from_millis(silence.ok_or(End::Superseded)?);
        let left = self.port.timing.lease().checked_sub(silence).ok_or(End::Silent)?;
        self.look_at = Instant::now() + left + LOOK_AGAIN;
        Ok(())
    }

    async fn on_message(&mut self, message: FromAgent, watch: &mut NodeWatch) -> Result<(), End> {
        match message {
            FromAgent::Reports(reports) => self.on_reports(reports).await,
            FromAgent::Applied(applied) => self.on_applied(applied, watch).await,
            FromAgent::Usage(usage) => self.on_usage(usage),
            FromAgent::TaskQuestion(question) => self.on_question(question).await,
            FromAgent::LogChunk(chunk) => {
                self.questions.answer(chunk);
                Ok(())
            }
            FromAgent::ExecRefused(refused) => {
                self.port.relay.execs().refused(self.node, refused);
                Ok(())
            }
            FromAgent::Hello(_) => {
                Err(End::Refused(Status::invalid_argument("Hello is said once, at the beginning")))
            }
            // The ear's own.
            FromAgent::Heartbeat(_) => Ok(()),
        }
    }

    async fn on_reports(&mut self, reports: Reports) -> Result<(), End> {
        let reports =
            reports_from_wire(reports).map_err(|e| End::Refused(status::of_invalid(e)))?;
        let command = TaskReports { node: self.node.clone(), reports };
        let answer = self.call(command).await?;
        for task in &answer.foreign {
            tracing::warn!(node = %self.node, "refused a report of {task}, another node's task");
        }
        for (task, version) in answer.acks {
            let newest = self.acks.entry(task).or_default();
            *newest = version.max(*newest);
            self.acks_at.get_or_insert_with(|| Instant::now() + ACKS_WAIT);
        }
        if ACKS_MAX <= self.acks.len() { self.send_acks().await } else { Ok(()) }
    }

    async fn send_acks(&mut self) -> Result<(), End> {
        self.acks_at = None;
        if self.acks.is_empty() {
            return Ok(());
        }
        let ack = |(task, version): (TaskArn, u64)| ReportAck { task_arn: task.into(), version };
        let acks = std::mem::take(&mut self.acks).into_iter().map(ack).collect();
        self.send(ToAgent::ReportAcks(ReportAcks { acks })).await
    }

    /// What containers use is nobody's to wait for: what is of others is said, and that is all.
    fn on_usage(&self, usage: Usage) -> Result<(), End> {
        let told = usage_from_wire(usage).map_err(|e| End::Refused(status::of_invalid(e)))?;
        let view = self.port.engine.snapshot();
        for task in self.port.usage.put(&view, self.node, told) {
            tracing::debug!(node = %self.node, "told the use of {task}, which is not its own");
        }
        Ok(())
    }

    async fn on_question(&self, question: v1::TaskQuestion) -> Result<(), End> {
        let question = TaskQuestion::try_from(question);
        let question = question.map_err(|e| End::Refused(status::of_invalid(e)))?;
        let answer = about::answer(&self.port.engine, self.node, question, now_s()).await;
        self.send(ToAgent::TaskAnswer(answer.into())).await
    }

    async fn on_applied(&mut self, applied: Applied, watch: &mut NodeWatch) -> Result<(), End> {
        let generation = applied.generation;
        match self.sent.heard(generation, applied.refused) {
            Heard::Unexpected => Err(End::Refused(Status::invalid_argument(format!(
                "Applied names generation {generation}, which is not waiting for an answer"
            )))),
            Heard::Applied => {
                self.port.engine.applied(self.node, self.session, generation);
                Ok(())
            }
            Heard::SnapshotFollows => Ok(()),
            Heard::SnapshotNeeded(why) => {
                tracing::info!(node = %self.node, "change {generation} was refused: {why}");
                self.watch_again(watch).await
            }
            Heard::SnapshotRefused(why) => {
                let text = format!("the node refused its snapshot {generation}: {why}");
                Err(End::Refused(Status::failed_precondition(text)))
            }
        }
    }

    /// The watch has a gap, or the agent has: begin again from the whole.
    async fn watch_again(&mut self, watch: &mut NodeWatch) -> Result<(), End> {
        // A watch also ends because another session's began: taking it back would be wrong.
        if !self.is_the_nodes_own() {
            return Err(End::Superseded);
        }
        *watch = self.port.engine.watch_node(self.node).ok_or(End::Superseded)?;
        self.send_snapshot(watch).await
    }

    fn is_the_nodes_own(&self) -> bool {
        let view = self.port.engine.snapshot();
        let connection = view.node(self.node).and_then(|entry| entry.connection.as_ref());
        connection.is_some_and(|connection| connection.session == self.session)
    }

    async fn send_snapshot(&mut self, watch: &mut NodeWatch) -> Result<(), End> {
        let assignments = std::mem::take(&mut watch.assignments);
        self.sent.snapshot(watch.generation);
        let new = running(&assignments);
        for part in snapshot_parts(watch.generation, assignments) {
            self.send(ToAgent::Snapshot(part)).await?;
        }
        self.send_private(&new).await
    }

    /// What only the node of these tasks may know of them.
    async fn send_private(&mut self, tasks: &[TaskArn]) -> Result<(), End> {
        if tasks.is_empty() {
            return Ok(());
        }
        let view = self.port.engine.snapshot();
        let missing = self.missing_groups(private::log_groups(&view, tasks)).await;
        let missing = Arc::new(missing);
        for task in tasks {
            let keyring = &self.port.keyring;
            let missing = Arc::clone(&missing);
            let files = match private::files(&view, keyring, task, now_s()) {
                Ok(files) if files.is_empty() => Ok(Contents::new()),
                // They come from another machine, for which the session does not wait.
                Ok(_) if self.await_files(&view, task, &missing) => {
                    self.send_credentials(&view, task).await?;
                    continue;
                }
                Ok(_) => Err(FileFault::Crowded),
                Err(fault) => Err(fault),
            };
            let found = Found { missing, files };
            let secrets = private::secrets(&view, keyring, task, found, now_s());
            self.send_secrets(secrets).await?;
            self.send_credentials(&view, task).await?;
        }
        Ok(())
    }

    /// Whether there was room.
    fn await_files(
        &mut self,
        view: &View,
        task: &TaskArn,
        missing: &Arc<BTreeSet<String>>,
    ) -> bool {
        self.reading.push(task.clone(), Arc::clone(missing), reading::runs(view, task))
    }

    async fn send_secrets(&self, secrets: Option<TaskSecrets>) -> Result<(), End> {
        let Some(secrets) = secrets.map(secrets_message) else { return Ok(()) };
        if let Some(why) = &secrets.error {
            let task = &secrets.task_arn;
            tracing::warn!(node = %self.node, %task, "no secrets for a task: {why}");
        }
        self.send(ToAgent::TaskSecrets(secrets)).await
    }

    /// Those of these log groups that are not there. What the log store can't say now is no reason
    /// to keep a task from its start: its output waits on its node.
    async fn missing_groups(&self, groups: BTreeSet<String>) -> BTreeSet<String> {
        if groups.is_empty() {
            return groups;
        }
        let store = self.port.logs.clone();
        let is_missing = move |name: &String| match store.group(name) {
            Ok(group) => group.is_none(),
            Err(error) => {
                tracing::warn!("can't see whether the log group {name} is there: {error}");
                false
            }
        };
        let looked = tokio::task::spawn_blocking(move || {
            groups.into_iter().filter(is_missing).collect::<BTreeSet<_>>()
        });
        looked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    async fn send_credentials(&mut self, view: &View, task: &TaskArn) -> Result<(), End> {
        let made = private::credentials(view, &self.port.keyring, task, now_s());
        let Some(credentials) = made else { return Ok(()) };
        self.given.note(&credentials);
        self.send(ToAgent::TaskCredentials(credentials.into())).await
    }

    /// New credentials for those whose time comes.
    async fn refresh(&mut self) -> Result<(), End> {
        let view = self.port.engine.snapshot();
        for task in self.given.due(&view, now_s()) {
            self.send_credentials(&view, &task).await?;
        }
        Ok(())
    }

    async fn send_change(&mut self, change: NodeChange) -> Result<(), End> {
        // What may be forgotten was acknowledged before; and one packet takes both.
        self.send_acks().await?;
        self.sent.change(change.generation);
        let forget = change.forget.into_iter().map(String::from).collect();
        let assignments: Vec<_> = change.assignments.iter().map(Told::assignment).collect();
        let new = running(&assignments);
        self.send(ToAgent::Change(Change {
            generation: change.generation,
            base_generation: change.base_generation,
            assignments: assignments.into_iter().map(Into::into).collect(),
            forget_task_arns: forget,
        }))
        .await?;
        self.send_private(&new).await
    }

    async fn ask(&mut self, question: Question) -> Result<(), End> {
        match question {
            Question::Logs(question) => match self.questions.ask(question) {
                Some(read) => self.send(ToAgent::ReadLogs(read)).await,
                None => Ok(()),
            },
            Question::Exec(open) => self.send(ToAgent::OpenExec(*open)).await,
        }
    }

    async fn call<O: crate::command::Operation>(&self, operation: O) -> Result<O::Answer, End> {
        let answer = self.port.engine.call(operation).await;
        answer.map_err(|e| End::Refused(status::of_call(e)))
    }

    /// Waits for a slow agent, but no longer than a lease.
    async fn send(&self, kind: ToAgent) -> Result<(), End> {
        let sending = self.outgoing.send(Ok(message(kind)));
        match timeout(self.port.timing.lease(), sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Left),
            Err(_) => Err(End::Silent),
        }
    }
}

/// The tasks of these assignments that shall run.
fn running(assignments: &[Assignment]) -> Vec<TaskArn> {
    let wanted = assignments.iter().filter(|one| one.desired == DesiredStatus::Running);
    wanted.map(|one| one.task.arn.clone()).collect()
}

/// Now, in seconds since the Unix epoch.
pub(super) fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
