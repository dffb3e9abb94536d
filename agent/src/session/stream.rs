//! One session: what comes is applied, what is new is sent.
//!
//! ```text
//!   controller ─▶ session ─▶ queue ─▶ applier ─▶ node ─▶ disk
//!        ▲          │ beats                │
//!        └──────────┴── outbox ◀── Applied ┘
//! ```
//!
//! Invariant: the session itself waits for the wire alone. A node that waits for its disk, or an
//! applier that waits for the node, holds no heartbeat back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use loadline_model::{Assignment, TaskArn};
use loadline_proto::convert::{REPORTS_MAX, TaskAnswer, TaskCredentials, TaskSecrets, USAGES_MAX};
use loadline_proto::v1::agent_message::Kind as Ours;
use loadline_proto::v1::controller_message::Kind as Theirs;
use loadline_proto::v1::node_client::NodeClient;
use loadline_proto::v1::{self, AgentMessage, ControllerMessage};
use tokio::runtime;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::link::{Dialer, LinkError, LogPlaces};
use crate::board::{Board, News};
use crate::clock::now_ms;
use crate::exec::Execs;
use crate::metadata::questions::Asked;
use crate::metadata::{CredentialStore, Questions, SecretStore};
use crate::node::desired::TASKS_MAX;
use crate::node::{self, Update};
use crate::session_logs;
use crate::usage::Measured;

/// Messages that wait for the wire.
const OUTBOX_MAX: usize = 64;

/// Snapshots and changes that wait for the node. A controller lets at most 256 changes be
/// unanswered, so a queue that is full says that it does not keep the protocol.
const UPDATES_MAX: usize = 1_024;

/// Longest wait for the node to say which generation it holds, before the last one known is told.
const STATUS_MS_MAX: u64 = 500;

/// Log requests answered at once.
const LOG_READERS_MAX: usize = 32;

/// Before the controller has said how often: a heartbeat each.
const HEARTBEAT_MS: u64 = 5_000;

/// Before the controller has said how long it may be silent.
const LEASE_MS: u64 = 30_000;

/// How many leases the controller may be silent for before its session is given up. It is not
/// lost by that, so there is no hurry: one that was stopped for a moment finds its sessions again.
const PATIENCE_LEASES: u64 = 3;

/// How long reports of tasks that were only taken in wait for more to say: mostly they run by then.
const TAKEN_IN_WAIT: Duration = Duration::from_millis(500);

/// Bounds of what the controller may ask for.
const HEARTBEAT_MS_RANGE: std::ops::RangeInclusive<u64> = 50..=60_000;

/// How an orderly session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The controller restarts or moves: connect again at once.
    Planned,
    /// The controller said goodbye for this reason.
    Goodbye(String),
    /// The stream ended.
    Closed,
    /// The certificate is to be renewed, which the next session begins with.
    Renewal,
}

/// What a session works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) node: node::Handle,
    pub(super) board: Arc<Board>,
    pub(super) logs: Arc<dyn LogPlaces>,
    pub(super) credentials: Arc<CredentialStore>,
    pub(super) secrets: Arc<SecretStore>,
    pub(super) questions: Arc<Questions>,
    pub(super) usage: Option<watch::Receiver<Arc<Measured>>>,
    pub(super) execs: Arc<Execs>,
    pub(super) dialer: Dialer,
    pub(super) run_id: String,
    /// Which both sides speak.
    pub(super) protocol_version: u32,
    /// The newest generation that a session of this link applied.
    pub(super) generation: Arc<AtomicU64>,
    /// Whether somebody was told that there is no session.
    pub(super) was_away: bool,
    /// Where work is done that may wait for a disk.
    pub(super) work: runtime::Handle,
}

impl Parts {
    /// The newest generation applied. A node that is too busy to answer does not keep the session
    /// from beginning: what is told then may be older, and the controller begins with a snapshot.
    async fn generation(&self) -> u64 {
        let patience = Duration::from_millis(STATUS_MS_MAX);
        let asked = tokio::time::timeout(patience, self.node.status()).await;
        let known = self.generation.load(Ordering::Relaxed);
        asked.ok().flatten().map_or(known, |status| status.generation)
    }
}

/// One answer that is due, in the order in which the controller is to get them.
#[derive(Debug)]
enum Due {
    /// Of what the node says to this.
    Update(Update),
    /// Of desired state that could not be understood.
    Refusal { generation: u64, why: String },
}

/// Applies what comes, one after the other, and answers each.
async fn apply_all(
    node: node::Handle,
    newest: Arc<AtomicU64>,
    mut due: mpsc::Receiver<Due>,
    outbox: mpsc::Sender<AgentMessage>,
) {
    while let Some(due) = due.recv().await {
        let applied = match due {
            Due::Refusal { generation, why } => v1::Applied { generation, refused: Some(why) },
            Due::Update(update) => {
                let generation = update.generation();
                let refused = node.apply(update).await.err().map(|refused| {
                    tracing::warn!(generation, %refused, "desired state is refused");
                    refused.to_string()
                });
                if refused.is_none() {
                    newest.fetch_max(generation, Ordering::Relaxed);
                }
                v1::Applied { generation, refused }
            }
        };
        // A session that has ended is answered in the next one.
        let _ = outbox.send(AgentMessage { kind: Some(Ours::Applied(applied)) }).await;
    }
}

/// Opens a session and keeps it until it ends.
pub(super) async fn run(
    client: &mut NodeClient<Channel>,
    parts: Parts,
    renewal_is_due: impl Fn() -> bool,
) -> Result<Ended, LinkError> {
    let generation = parts.generation().await;
    parts.board.begin_session();
    let (outbox, outgoing) = mpsc::channel(OUTBOX_MAX);
    let agent_run_id = parts.run_id.clone();
    let hello = v1::Hello { protocol_version: parts.protocol_version, agent_run_id, generation };
    // The channel is new and empty: there is room.
    let _ = outbox.try_send(AgentMessage { kind: Some(Ours::Hello(hello)) });
    let incoming = client
        .session(ReceiverStream::new(outgoing))
        .await
        .map_err(|status| LinkError::of("Session", status))?
        .into_inner();
    let (updates, due) = mpsc::channel(UPDATES_MAX);
    // Ends with the session; what it did not come to is in the next session's snapshot.
    let mut applier = JoinSet::new();
    let (node, newest) = (parts.node.clone(), Arc::clone(&parts.generation));
    applier.spawn(apply_all(node, newest, due, outbox.clone()));
    let session = Session {
        parts,
        outbox,
        updates,
        _applier: applier,
        sent: BTreeMap::new(),
        report_at: None,
        spoke_at: None,
        snapshot: None,
        skips_parts: false,
        heartbeat_ms: HEARTBEAT_MS,
        lease_ms: LEASE_MS,
        sequence: 0,
        heard_at: Instant::now(),
        readers: Arc::new(Semaphore::new(LOG_READERS_MAX)),
        asked: Asked::default(),
    };
    session.run(incoming, renewal_is_due).await
}

struct Session {
    parts: Parts,
    outbox: mpsc::Sender<AgentMessage>,
    updates: mpsc::Sender<Due>,
    _applier: JoinSet<()>,
    /// The version of each task's report that was sent in this session.
    sent: BTreeMap<TaskArn, u64>,
    /// When to send reports that nobody is in a hurry for; `None` where there are none.
    report_at: Option<Instant>,
    /// When reports were sent last: they are answered, and say as much as a heartbeat.
    spoke_at: Option<Instant>,
    /// Parts of a snapshot whose last has not come.
    snapshot: Option<(u64, Vec<Assignment>)>,
    /// A part of a snapshot was refused: what follows of it is not the whole, and not applied.
    skips_parts: bool,
    heartbeat_ms: u64,
    lease_ms: u64,
    sequence: u64,
    heard_at: Instant,
    readers: Arc<Semaphore>,
    /// Questions of tasks that wait for the controller's answer.
    asked: Asked,
}

impl Session {
    async fn run(
        mut self,
        mut incoming: Streaming<ControllerMessage>,
        renewal_is_due: impl Fn() -> bool,
    ) -> Result<Ended, LinkError> {
        let mut next_beat = Instant::now();
        let questions = Arc::clone(&self.parts.questions);
        let mut usage = self.parts.usage.clone();
        let board = Arc::clone(&self.parts.board);
        let alarm = tokio::time::sleep_until(next_beat.into());
        tokio::pin!(alarm);
        loop {
            // A timer costs only where it is set anew.
            let due = self.report_at.map_or(next_beat, |at| at.min(next_beat));
            if alarm.deadline().into_std() != due {
                alarm.as_mut().reset(due.into());
            }
            tokio::select! {
                biased;
                () = &mut alarm => {
                    if self.report_at.is_some_and(|at| at <= due) {
                        self.report().await?;
                    }
                    if due < next_beat {
                        continue;
                    }
                    next_beat = self.beat_is_due(next_beat).await?;
                    if renewal_is_due() {
                        return Ok(Ended::Renewal);
                    }
                }
                message = incoming.message() => {
                    let message =
                        message.map_err(|status| LinkError::of("Session", status))?;
                    let Some(message) = message else { return Ok(Ended::Closed) };
                    self.heard_at = Instant::now();
                    if let Some(ended) = self.hear(message).await? {
                        return Ok(ended);
                    }
                    // A Welcome that asks for a faster beat counts from now on.
                    let beat = Duration::from_millis(self.heartbeat_ms);
                    next_beat = next_beat.min(Instant::now() + beat);
                }
                () = board.changed() => self.report_or_wait().await?,
                () = questions.asked() => self.ask().await?,
                newest = measured(&mut usage) => self.tell_usage(&newest),
            }
        }
    }

    /// When the next one is due.
    async fn beat_is_due(&mut self, since: Instant) -> Result<Instant, LinkError> {
        // While this process itself did not run, it could not hear either.
        let late = since.elapsed();
        if Duration::from_millis(self.heartbeat_ms) < late {
            self.heard_at += late;
        }
        self.check_silence()?;
        let every = Duration::from_millis(self.heartbeat_ms);
        let spoke = self.spoke_at.filter(|at| at.elapsed() < every);
        if spoke.is_none() {
            self.beat().await?;
        }
        let next = spoke.unwrap_or_else(Instant::now) + every;
        // A session may live for months, and tasks come and go.
        let board = Arc::clone(&self.parts.board);
        board.drop_settled(&mut self.sent);
        let is_here = |task: &TaskArn| board.get(task).is_some();
        self.parts.credentials.retain(is_here, now_ms());
        self.parts.secrets.retain(is_here, now_ms());
        // Also what an earlier full outbox or a missed wake-up left behind.
        self.ask().await?;
        self.report_or_wait().await?;
        Ok(next)
    }

    fn check_silence(&self) -> Result<(), LinkError> {
        let silent_ms = u64::try_from(self.heard_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        if (PATIENCE_LEASES * self.lease_ms).max(3 * self.heartbeat_ms) < silent_ms {
            return Err(LinkError::Silent { silent_ms });
        }
        Ok(())
    }

    async fn hear(&mut self, message: ControllerMessage) -> Result<Option<Ended>, LinkError> {
        match message.kind {
            Some(Theirs::Welcome(welcome)) => self.welcome(&welcome),
            Some(Theirs::Snapshot(snapshot)) => self.snapshot(snapshot)?,
            Some(Theirs::Change(change)) => self.change(change)?,
            Some(Theirs::ReportAcks(acks)) => self.acknowledged(acks),
            Some(Theirs::ReadLogs(request)) => self.read_logs(request),
            Some(Theirs::TaskCredentials(wire)) => self.credentials(wire),
            Some(Theirs::TaskSecrets(wire)) => self.secrets(wire),
            Some(Theirs::TaskAnswer(wire)) => match TaskAnswer::try_from(wire) {
                Ok(answer) => self.asked.answer(answer),
                Err(invalid) => tracing::warn!(%invalid, "an answer is not understood"),
            },
            Some(Theirs::OpenExec(wire)) => self.open_exec(wire),
            Some(Theirs::Goodbye(goodbye)) => {
                return Ok(Some(if goodbye.reconnect_at_once {
                    Ended::Planned
                } else {
                    Ended::Goodbye(goodbye.reason)
                }));
            }
            // That it came is all it says; unknown kinds are a newer controller's.
            Some(Theirs::HeartbeatAck(_)) | None => {}
        }
        Ok(None)
    }

    /// A task without its credentials goes on; what is wrong with them is the controller's to mend.
    fn credentials(&self, wire: v1::TaskCredentials) {
        match TaskCredentials::try_from(wire) {
            Ok(credentials) => {
                if !self.parts.credentials.put(credentials, now_ms()) {
                    tracing::warn!("credentials of too many tasks: new ones are dropped");
                }
            }
            Err(invalid) => tracing::warn!(%invalid, "credentials of a task are not understood"),
        }
    }

    fn secrets(&self, wire: v1::TaskSecrets) {
        match TaskSecrets::try_from(wire) {
            Ok(secrets) => {
                if !self.parts.secrets.put(secrets, now_ms()) {
                    tracing::warn!("secrets of too many tasks: new ones are dropped");
                }
            }
            Err(invalid) => tracing::warn!(%invalid, "secrets of a task are not understood"),
        }
    }

    fn welcome(&mut self, welcome: &v1::Welcome) {
        let (least, most) = HEARTBEAT_MS_RANGE.into_inner();
        self.heartbeat_ms = u64::from(welcome.heartbeat_interval_ms).clamp(least, most);
        self.lease_ms = u64::from(welcome.lease_ms);
        if self.parts.was_away {
            // As loud as what it follows on.
            tracing::warn!("connected to the controller again");
        }
        tracing::info!(heartbeat_ms = self.heartbeat_ms, lease_ms = self.lease_ms, "welcome");
    }

    fn snapshot(&mut self, part: v1::Snapshot) -> Result<(), LinkError> {
        let generation = part.generation;
        if self.skips_parts {
            self.skips_parts = !part.last;
            return Ok(());
        }
        let assignments = match decode_all(part.assignments) {
            Ok(assignments) => assignments,
            Err(invalid) => {
                self.skips_parts = !part.last;
                return self.not_understood(generation, invalid);
            }
        };
        let (of, mut all) = self.snapshot.take().unwrap_or((generation, Vec::new()));
        if of != generation {
            all.clear();
        }
        all.extend(assignments);
        if !part.last && all.len() <= TASKS_MAX {
            self.snapshot = Some((generation, all));
            return Ok(());
        }
        self.skips_parts = !part.last;
        self.due(Due::Update(Update::Snapshot { generation, assignments: all }))
    }

    fn change(&mut self, change: v1::Change) -> Result<(), LinkError> {
        let forget = change.forget_task_arns.iter().map(|arn| TaskArn::parse(arn));
        let forget = forget.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string());
        let decoded = forget.and_then(|forget| Ok((forget, decode_all(change.assignments)?)));
        let generation = change.generation;
        let (forget, assignments) = match decoded {
            Ok(decoded) => decoded,
            Err(invalid) => return self.not_understood(generation, invalid),
        };
        let base_generation = change.base_generation;
        let update = Update::Change { generation, base_generation, assignments, forget };
        self.due(Due::Update(update))
    }

    /// Desired state that breaks the protocol is refused in words; the session goes on.
    fn not_understood(&mut self, generation: u64, why: String) -> Result<(), LinkError> {
        tracing::error!(generation, %why, "desired state can't be understood");
        self.snapshot = None;
        self.due(Due::Refusal { generation, why })
    }

    fn due(&self, due: Due) -> Result<(), LinkError> {
        self.updates.try_send(due).map_err(|_| LinkError::Overrun { max: UPDATES_MAX })
    }

    fn acknowledged(&self, acks: v1::ReportAcks) {
        for ack in acks.acks {
            // An ARN that can't be read is none of ours.
            if let Ok(task) = TaskArn::parse(&ack.task_arn) {
                self.parts.board.acknowledge(&task, ack.version);
            }
        }
    }

    /// Reports; a little later, where nothing but tasks that were taken in is new.
    async fn report_or_wait(&mut self) -> Result<(), LinkError> {
        match self.parts.board.news(&self.sent) {
            News::None => {}
            News::TakenIn => {
                self.report_at.get_or_insert_with(|| Instant::now() + TAKEN_IN_WAIT);
            }
            News::Pressing => return self.report().await,
        }
        Ok(())
    }

    async fn report(&mut self) -> Result<(), LinkError> {
        self.report_at = None;
        loop {
            let reports = self.parts.board.to_send(&self.sent, REPORTS_MAX);
            if reports.is_empty() {
                return Ok(());
            }
            for report in &reports {
                self.sent.insert(report.task.clone(), report.version);
            }
            let reports = reports.into_iter().map(v1::TaskReport::from).collect();
            self.send(Ours::Reports(v1::Reports { reports })).await?;
            self.spoke_at = Some(Instant::now());
        }
    }

    /// Sends what tasks ask.
    async fn ask(&mut self) -> Result<(), LinkError> {
        for pending in self.parts.questions.take() {
            if let Some(question) = self.asked.note(pending) {
                self.send(Ours::TaskQuestion(question.into())).await?;
            }
        }
        Ok(())
    }

    /// Tells what containers use. Where the wire is busy this measurement is left out: the next
    /// one comes soon.
    fn tell_usage(&self, newest: &Measured) {
        for some in newest.tasks.chunks(USAGES_MAX) {
            let tasks = some.iter().cloned().map(v1::TaskUsage::from).collect();
            let kind = Some(Ours::Usage(v1::Usage { tasks }));
            if self.outbox.try_send(AgentMessage { kind }).is_err() {
                return;
            }
        }
    }

    async fn beat(&mut self) -> Result<(), LinkError> {
        self.sequence += 1;
        self.send(Ours::Heartbeat(v1::Heartbeat { sequence: self.sequence })).await
    }

    fn read_logs(&self, request: v1::ReadLogs) {
        let (outbox, logs) = (self.outbox.clone(), Arc::clone(&self.parts.logs));
        let permit = Arc::clone(&self.readers).try_acquire_owned();
        self.parts.work.spawn(async move {
            let chunk = match permit {
                Ok(_permit) => session_logs::read(logs.as_ref(), request).await,
                Err(_) => session_logs::refuse(request.request_id, "too many log readers at once"),
            };
            // A session that has ended has nobody to answer.
            let _ = outbox.send(AgentMessage { kind: Some(Ours::LogChunk(chunk)) }).await;
        });
    }

    /// Goes on beside the session, on a connection of its own.
    fn open_exec(&self, wire: v1::OpenExec) {
        let (outbox, dialer) = (self.outbox.clone(), self.parts.dialer.clone());
        self.parts.work.spawn(Arc::clone(&self.parts.execs).open(wire, dialer, outbox));
    }

    /// Hands a message to the wire; a peer that takes none for a whole lease is gone.
    async fn send(&self, kind: Ours) -> Result<(), LinkError> {
        let patience = Duration::from_millis(self.lease_ms.max(1_000));
        let sending = self.outbox.send(AgentMessage { kind: Some(kind) });
        match tokio::time::timeout(patience, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(LinkError::Closed),
            Err(_) => Err(LinkError::Silent { silent_ms: self.lease_ms }),
        }
    }
}

/// The next measurement; never, where nothing is measured.
async fn measured(usage: &mut Option<watch::Receiver<Arc<Measured>>>) -> Arc<Measured> {
    if let Some(newest) = usage
        && newest.changed().await.is_ok()
    {
        return Arc::clone(&newest.borrow_and_update());
    }
    std::future::pending().await
}

fn decode_all(assignments: Vec<v1::Assignment>) -> Result<Vec<Assignment>, String> {
    let decode = |(at, wire): (usize, v1::Assignment)| {
        Assignment::try_from(wire)
            .map_err(|invalid| invalid.within(&format!("assignments[{at}]")).to_string())
    };
    assignments.into_iter().enumerate().map(decode).collect()
}
