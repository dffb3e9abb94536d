//! Questions of the API that only a node can answer: what a container wrote, and the programs that
//! are run in containers ([`super::execs`]).
//!
//! A question goes to the node's session and comes back by its number. Both ways are bounded, in
//! number and in time; nothing is kept for a node that is away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loadline_model::{ContainerName, InstanceArn, TaskArn};
use loadline_proto::v1;
use tokio::sync::{mpsc, oneshot};

use super::execs::Execs;
use crate::state::SessionId;

/// Most questions that wait for one node to be sent, and to be answered.
pub(super) const QUESTIONS_MAX: usize = 64;
/// Most events of one answer (the .proto's bound).
pub const EVENTS_MAX: u32 = 1000;
/// Longest wait for a first event (the .proto's bound).
pub const WAIT_MS_MAX: u32 = 20_000;
/// How long an answer may take beyond the wait that was asked for.
const ANSWER_MS_MAX: u64 = 10_000;

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Whose output.
    pub task: TaskArn,
    /// Which of its containers.
    pub container: ContainerName,
    /// From an earlier [`LogPage`]; empty for the beginning.
    pub cursor: String,
    /// At most this many events, 1 to [`EVENTS_MAX`].
    pub events_max: u32,
    /// Where there is nothing yet, wait this long for the first event; at most [`WAIT_MS_MAX`].
    pub wait_ms: u32,
    /// Skip what is older, Unix milliseconds; 0 for everything.
    pub since_ms: u64,
}

/// What a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// In the order in which they were written.
    pub events: Vec<LogLine>,
    /// Where to read on.
    pub next_cursor: String,
    /// Whether the container has ended and this was the rest.
    pub end: bool,
}

/// One line, or a piece of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Where to.
    pub stream: LogStream,
    /// Without the newline. Containers may write anything: not always UTF-8.
    pub message: Vec<u8>,
    /// Whether the line goes on in the next event of the same stream.
    pub partial: bool,
}

/// Where a container writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogsError {
    /// Its agent has no session.
    #[error("the agent of {0} is not connected: its logs can't be read now")]
    NotConnected(InstanceArn),
    /// Too many questions wait already.
    #[error("{QUESTIONS_MAX} requests wait for {0} already: try again")]
    Busy(InstanceArn),
    /// It did not answer in time, or its session ended first.
    #[error("the agent of {0} did not answer in time: try again")]
    NoAnswer(InstanceArn),
    /// It can't read that log.
    #[error("{0}")]
    Agent(String),
    /// It answered nonsense.
    #[error("the agent of {node} broke the protocol: {what}")]
    Broken {
        /// Which node.
        node: InstanceArn,
        /// How.
        what: &'static str,
    },
}

/// A question on its way to a session.
#[derive(Debug)]
pub(super) enum Question {
    /// What did a container write?
    Logs(LogQuestion),
    /// Run a program in a container. Answered by a call of its own.
    Exec(Box<v1::OpenExec>),
}

/// A question that is answered in the session.
#[derive(Debug)]
pub(super) struct LogQuestion {
    pub(super) query: LogQuery,
    pub(super) answer: oneshot::Sender<v1::LogChunk>,
}

/// Knows the session of each node that has one. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LogsRelay {
    sessions: Arc<Mutex<BTreeMap<InstanceArn, Entry>>>,
    execs: Execs,
}

#[derive(Debug)]
struct Entry {
    session: SessionId,
    questions: mpsc::Sender<Question>,
}

impl LogsRelay {
    /// A relay that knows no node yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the task's node and waits for its answer.
    ///
    /// # Errors
    /// [`LogsError`].
    pub async fn read(&self, node: &InstanceArn, query: LogQuery) -> Result<LogPage, LogsError> {
        let wait = u64::from(query.wait_ms.min(WAIT_MS_MAX)) + ANSWER_MS_MAX;
        let (answer, answered) = oneshot::channel();
        self.ask(node, Question::Logs(LogQuestion { query, answer }))?;
        let chunk = tokio::time::timeout(Duration::from_millis(wait), answered).await;
        let chunk = chunk.ok().and_then(Result::ok);
        page(node, chunk.ok_or_else(|| LogsError::NoAnswer(node.clone()))?)
    }

    /// The programs that run in containers.
    #[must_use]
    pub fn execs(&self) -> &Execs {
        &self.execs
    }

    pub(super) fn ask(&self, node: &InstanceArn, question: Question) -> Result<(), LogsError> {
        self.questions_of(node)?.try_send(question).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => LogsError::Busy(node.clone()),
            mpsc::error::TrySendError::Closed(_) => LogsError::NotConnected(node.clone()),
        })
    }

    fn questions_of(&self, node: &InstanceArn) -> Result<mpsc::Sender<Question>, LogsError> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = sessions.get(node).ok_or_else(|| LogsError::NotConnected(node.clone()))?;
        Ok(entry.questions.clone())
    }

    /// A session begins; one before it gets no more questions. Two of a node may come here in the
    /// other order: the older one then gets none from the beginning.
    pub(super) fn attach(
        &self,
        node: &InstanceArn,
        session: SessionId,
    ) -> mpsc::Receiver<Question> {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newest = sessions.get(node).is_none_or(|entry| entry.session <= session);
        if is_newest && sessions.insert(node.clone(), Entry { session, questions }).is_some() {
            self.execs.lost(node);
        }
        asked
    }

    /// A session ends. No change where another one took its place.
    pub(super) fn detach(&self, node: &InstanceArn, session: SessionId) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.get(node).is_some_and(|entry| entry.session == session) {
            sessions.remove(node);
            self.execs.lost(node);
        }
    }
}

fn page(node: &InstanceArn, chunk: v1::LogChunk) -> Result<LogPage, LogsError> {
    if let Some(error) = chunk.error {
        return Err(LogsError::Agent(error));
    }
    let broken = |what| LogsError::Broken { node: node.clone(), what };
    if usize::try_from(EVENTS_MAX).is_ok_and(|max| max < chunk.events.len()) {
        return Err(broken("a LogChunk with more than 1000 events"));
    }
    let line = |event: v1::LogEvent| {
        let stream = match event.stream() {
            v1::log_event::Stream::Stdout => LogStream::Stdout,
            v1::log_event::Stream::Stderr => LogStream::Stderr,
            v1::log_event::Stream::Unspecified => return Err(broken("a LogEvent of no stream")),
        };
        let v1::LogEvent { timestamp_ms, message, partial, .. } = event;
        Ok(LogLine { timestamp_ms, stream, message, partial })
    };
    let events = chunk.events.into_iter().map(line).collect::<Result<_, _>>()?;
    Ok(LogPage { events, next_cursor: chunk.next_cursor, end: chunk.end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_session_that_comes_late_takes_no_questions_away() {
        let relay = LogsRelay::new();
        let node = InstanceArn::parse("arn:aws:ecs:r:1:container-instance/c/1").unwrap();
        let mut newer = relay.attach(&node, SessionId(2));
        let mut older = relay.attach(&node, SessionId(1));
        let (answer, _answered) = oneshot::channel();
        let query = LogQuery {
            task: TaskArn::parse("arn:aws:ecs:r:1:task/c/1").unwrap(),
            container: ContainerName::parse("main").unwrap(),
            cursor: String::new(),
            events_max: 1,
            wait_ms: 0,
            since_ms: 0,
        };
        relay.ask(&node, Question::Logs(LogQuestion { query, answer })).unwrap();
        assert!(newer.try_recv().is_ok() && older.try_recv().is_err());
        relay.detach(&node, SessionId(1));
        assert!(relay.questions_of(&node).is_ok(), "the newer one is still there");
    }
}
