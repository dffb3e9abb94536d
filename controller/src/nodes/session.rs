//! One session: a node's open stream. Each is one task that owns its state.
//!
//! ```text
//!   Hello ─▶ Welcome, Snapshot ─▶ ┌ messages ─▶ ear ─▶ queue ─▶ engine ─▶ acknowledgements┐
//!                                 │ changes of the desired state ─▶ Change              │─▶ end
//!                                 │ questions of the relay ─▶ ReadLogs                  │
//!                                 └ silence for a lease, or the controller closes       ┘
//! ```

mod ear;
mod questions;
mod reading;
mod sent;
mod talk;

use std::sync::Arc;
use std::time::Duration;

use loadline_model::InstanceArn;
use loadline_proto::v1::agent_message::Kind as FromAgent;
use loadline_proto::v1::controller_message::Kind as ToAgent;
use loadline_proto::v1::{AgentMessage, ControllerMessage, Goodbye, Hello, Welcome};
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

use self::ear::{Ear, HEARD_MAX};
use self::talk::Talk;
use super::node::version;
use super::{AgentPort, closed, status};
use crate::command::{NodeConnected, NodeDisconnected};
use crate::engine::NodeWatch;
use crate::state::SessionId;

/// Most messages that wait to be read by one agent.
pub(super) const OUTGOING_MAX: usize = 32;
/// How long an agent may take to say Hello.
const HELLO_MS_MAX: u64 = 10_000;
/// Longest `agent_run_id`, in bytes.
const RUN_ID_BYTES_MAX: usize = 128;
/// Highest generation that a node may claim: ours go on from there, one by one.
const GENERATION_MAX: u64 = u64::MAX / 2;

/// What agents are told about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often to send a heartbeat.
    pub heartbeat_interval_ms: u32,
    /// A node that was silent for this long counts as lost.
    pub lease_ms: u32,
}

impl Timing {
    fn lease(self) -> Duration {
        Duration::from_millis(self.lease_ms.into())
    }
}

type Outgoing = mpsc::Sender<Result<ControllerMessage, Status>>;

/// Why a session ended.
#[derive(Debug)]
enum End {
    /// The agent closed it, or its connection broke.
    Left,
    /// Nothing was heard for a lease, or nothing could be sent for one.
    Silent,
    /// Another session took its place, or the node was removed.
    Superseded,
    /// The controller is stopping.
    Closing,
    /// The agent broke the protocol, or the engine refused; the agent is told why.
    Refused(Status),
}

/// Serves one session from Hello to its end.
pub(super) async fn serve(
    port: Arc<AgentPort>,
    node: InstanceArn,
    mut messages: Streaming<AgentMessage>,
    outgoing: Outgoing,
    closing: watch::Receiver<bool>,
) {
    let opened = match open(&port, &node, &mut messages).await {
        Ok(opened) => opened,
        Err(status) => {
            tracing::info!(%node, "no session: {}", status.message());
            // An error means that the agent has gone.
            let _ = outgoing.send(Err(status)).await;
            return;
        }
    };
    let (session, watch) = opened;
    tracing::info!(%node, "session {} begins", session.0);
    let questions = port.relay.attach(&node, session);
    let talk = Talk::new(&port, &node, session, outgoing.clone());
    let ear = Ear { port: &port, node: &node, session, outgoing: outgoing.clone() };
    let (to_talk, heard) = mpsc::channel(HEARD_MAX);
    let end = tokio::select! {
        end = talk.run(heard, watch, questions) => end,
        end = ear.run(&mut messages, to_talk) => end,
        () = closed(closing) => End::Closing,
    };
    port.relay.detach(&node, session);
    farewell(&node, session, &outgoing, end);
    let gone = NodeDisconnected { node: node.clone(), session };
    if let Err(error) = port.engine.call(gone).await {
        tracing::debug!(%node, "the end of session {} is not noted: {error}", session.0);
    }
}

/// Hears Hello and asks the engine for a session.
async fn open(
    port: &AgentPort,
    node: &InstanceArn,
    messages: &mut Streaming<AgentMessage>,
) -> Result<(SessionId, NodeWatch), Status> {
    let hello = hello(messages).await?;
    let connected = NodeConnected {
        node: node.clone(),
        run_id: hello.agent_run_id,
        generation: hello.generation,
    };
    let connected = port.engine.call(connected).await.map_err(status::of_call)?;
    let session = connected.session;
    if let Some(watch) = port.engine.watch_node(node) {
        return Ok((session, watch));
    }
    // Removed between the two calls.
    let gone = NodeDisconnected { node: node.clone(), session };
    port.engine.call(gone).await.map_err(status::of_call)?;
    Err(Status::failed_precondition(format!("container instance {node} is not registered")))
}

async fn hello(messages: &mut Streaming<AgentMessage>) -> Result<Hello, Status> {
    let limit = Duration::from_millis(HELLO_MS_MAX);
    let first = tokio::time::timeout(limit, messages.message())
        .await
        .map_err(|_| Status::deadline_exceeded(format!("no Hello within {HELLO_MS_MAX} ms")))??;
    let Some(FromAgent::Hello(hello)) = first.and_then(|message| message.kind) else {
        return Err(Status::invalid_argument("the first message of a session has to be Hello"));
    };
    version(hello.protocol_version, None)?;
    let length = hello.agent_run_id.len();
    if length == 0 || RUN_ID_BYTES_MAX < length {
        let text = format!("field hello.agent_run_id: {length} bytes, not 1 to {RUN_ID_BYTES_MAX}");
        return Err(Status::invalid_argument(text));
    }
    if GENERATION_MAX < hello.generation {
        let text = format!("field hello.generation: above {GENERATION_MAX}");
        return Err(Status::invalid_argument(text));
    }
    Ok(hello)
}

/// Tells the agent why its session ends, if it still listens, and the log.
fn farewell(node: &InstanceArn, session: SessionId, outgoing: &Outgoing, end: End) {
    let session = session.0;
    let last = match end {
        End::Left => {
            tracing::info!(%node, "session {session} ends: the agent left");
            return;
        }
        End::Silent => {
            tracing::warn!(%node, "session {session} ends: the agent was silent for a lease");
            Err(Status::deadline_exceeded("nothing was heard for a lease"))
        }
        End::Superseded => {
            tracing::info!(%node, "session {session} ends: it is no longer the node's own");
            Err(Status::aborted("another session took this one's place, or the node was removed"))
        }
        End::Closing => {
            tracing::debug!(%node, "session {session} ends: the controller is stopping");
            let reason = "the controller is stopping".to_owned();
            Ok(message(ToAgent::Goodbye(Goodbye { reason, reconnect_at_once: true })))
        }
        End::Refused(status) => {
            tracing::warn!(%node, "session {session} ends: {}", status.message());
            Err(status)
        }
    };
    // Full or closed: an agent that does not read learns it from the end of the stream.
    let _ = outgoing.try_send(last);
}

fn message(kind: ToAgent) -> ControllerMessage {
    ControllerMessage { kind: Some(kind) }
}

fn welcome(timing: Timing) -> ToAgent {
    ToAgent::Welcome(Welcome {
        heartbeat_interval_ms: timing.heartbeat_interval_ms,
        lease_ms: timing.lease_ms,
    })
}
