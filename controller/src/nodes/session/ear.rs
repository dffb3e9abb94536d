//! The ear of a session: hears its node at once, whatever the session itself is waiting for, a
//! commit on a slow disk for example. What is more than a sign of life waits its turn.

use std::time::{Duration, Instant};

use loadline_model::InstanceArn;
use loadline_proto::v1::agent_message::Kind as FromAgent;
use loadline_proto::v1::controller_message::Kind as ToAgent;
use loadline_proto::v1::{AgentMessage, HeartbeatAck};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::{AgentPort, End, Outgoing, message};
use crate::state::SessionId;

/// Most messages that wait for the session.
pub(super) const HEARD_MAX: usize = 64;
/// Heartbeats to one that is answered, the first of a session among them: an agent is patient for
/// three leases, and most of what it hears says that we live.
const HEARTBEATS_PER_ACK: u64 = 3;
/// While that many wait it is us who do not listen, and the node's lease is renewed this often.
const RENEW_MS: u64 = 500;

/// What a session is handed, in the order in which it came.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message that is more than a sign of life.
    Message(FromAgent),
    /// The last: nothing more comes.
    End(End),
}

/// What the ear has said.
#[derive(Debug)]
struct Said {
    /// Of the newest heartbeat; 0 before the first.
    sequence: u64,
    heartbeats: u64,
    at: Instant,
}

/// One session's ear.
#[derive(Clone, Debug)]
pub(super) struct Ear<'a> {
    pub(super) port: &'a AgentPort,
    pub(super) node: &'a InstanceArn,
    pub(super) session: SessionId,
    pub(super) outgoing: Outgoing,
}

impl Ear<'_> {
    /// Listens for ever; returns only where the session is no longer the node's own.
    pub(super) async fn run(
        &self,
        messages: &mut Streaming<AgentMessage>,
        heard: mpsc::Sender<Heard>,
    ) -> End {
        let last = self.listen(messages, &heard).await;
        if let End::Superseded = last {
            return last;
        }
        // The session comes to it after all that was said before.
        let _ = heard.send(Heard::End(last)).await;
        std::future::pending().await
    }

    async fn listen(
        &self,
        messages: &mut Streaming<AgentMessage>,
        heard: &mpsc::Sender<Heard>,
    ) -> End {
        let mut said = Said { sequence: 0, heartbeats: 0, at: Instant::now() };
        loop {
            let message = match messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return End::Left,
                // What the transport says about itself is a connection that broke.
                Err(status) if status.code() == tonic::Code::OutOfRange => {
                    return End::Refused(Status::resource_exhausted(status.message()));
                }
                Err(_) => return End::Left,
            };
            if !self.renew() {
                return End::Superseded;
            }
            match message.kind {
                Some(FromAgent::Heartbeat(heartbeat)) => {
                    said.sequence = heartbeat.sequence;
                    if said.heartbeats.is_multiple_of(HEARTBEATS_PER_ACK) {
                        self.acknowledge(&mut said);
                    }
                    said.heartbeats += 1;
                }
                Some(kind) => {
                    self.speak_if_due(&mut said);
                    if let Some(end) = self.hand_over(kind, heard, &mut said).await {
                        return end;
                    }
                }
                // A newer agent's message: ignored, by the protocol's own rule.
                None => {}
            }
        }
    }

    fn renew(&self) -> bool {
        self.port.engine.heard(self.node, self.session)
    }

    /// Where no more fits, the agent has other things of ours to hear.
    fn acknowledge(&self, said: &mut Said) {
        let ack = ToAgent::HeartbeatAck(HeartbeatAck { sequence: said.sequence });
        let _ = self.outgoing.try_send(Ok(message(ack)));
        said.at = Instant::now();
    }

    /// An agent that is busy sends reports in place of heartbeats. What answers them waits for the
    /// disk, and that we live must not.
    fn speak_if_due(&self, said: &mut Said) {
        if self.port.timing.lease() <= said.at.elapsed() {
            self.acknowledge(said);
        }
    }

    async fn hand_over(
        &self,
        kind: FromAgent,
        heard: &mpsc::Sender<Heard>,
        said: &mut Said,
    ) -> Option<End> {
        let sending = heard.send(Heard::Message(kind));
        tokio::pin!(sending);
        loop {
            match timeout(Duration::from_millis(RENEW_MS), &mut sending).await {
                Ok(Ok(())) => return None,
                Ok(Err(_)) => return Some(End::Left),
                Err(_) if self.renew() => self.speak_if_due(said),
                Err(_) => return Some(End::Superseded),
            }
        }
    }
}
