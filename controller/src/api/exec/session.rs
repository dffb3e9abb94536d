//! One session: token, the node's call, and then bytes both ways until one side ends it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use loadline_proto::convert::{ExecEnd, ExecId, ExecInput, ExecOutput, WindowSize};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::{Api, plain, session_id};
use crate::engine::{Clock as _, SystemClock};
use crate::nodes::{AgentEnd, Claimed};
use crate::seeing::audit;

/// How long a client may take for its first message.
const OPENING_S_MAX: u64 = 10;
/// How often a client is asked whether it is there.
const PING_S: u64 = 20;
/// One that says nothing for so long is not.
const SILENCE_S_MAX: u64 = 60;
/// A client that takes nothing for so long is not there either.
const SEND_S_MAX: u64 = 60;
/// A session in which nothing was typed or written for so long ends (ECS Exec: 20 minutes).
const IDLE_S_MAX: u64 = 20 * 60;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Why a session ended.
#[derive(Debug)]
enum Over {
    /// The program ended, or never began.
    End(ExecEnd),
    /// The client went away, or is told no more.
    Left,
}

/// Serves one session to its end.
pub(super) async fn run(
    api: &Api,
    peer: SocketAddr,
    id: &ExecId,
    mut socket: Socket,
    closing: watch::Receiver<bool>,
) {
    let (claimed, size) = match open(api, id, &mut socket).await {
        Ok(opened) => opened,
        Err(why) => {
            tracing::info!(%peer, session = %session_id(id), "no session: {why}");
            tell_end(&mut socket, &ExecEnd::Failed(why)).await;
            return;
        }
    };
    let began = Instant::now();
    let mut claimed = claimed;
    if let Some(terminal) = &mut claimed.open.terminal {
        *terminal = size.unwrap_or(*terminal);
    }
    let over = match claimed.begin(&api.relay).await {
        Ok(agent) => Relay::new(&mut socket, agent).run(closing).await,
        Err(why) => Over::End(ExecEnd::Failed(why)),
    };
    if let Over::End(end) = &over {
        tell_end(&mut socket, end).await;
    }
    note(api, peer, &claimed, &over, began).await;
}

/// Hears the token.
async fn open(
    api: &Api,
    id: &ExecId,
    socket: &mut Socket,
) -> Result<(Claimed, Option<WindowSize>), String> {
    let first = tokio::time::timeout(Duration::from_secs(OPENING_S_MAX), socket.next()).await;
    let first = first.map_err(|_| format!("no token came within {OPENING_S_MAX} s"))?;
    let first = first.ok_or("the client left")?.map_err(|error| error.to_string())?;
    let opening = plain::opening(&first)?;
    let claimed = api.relay.execs().claim(id, &opening.token);
    Ok((claimed.map_err(|error| error.to_string())?, opening.size))
}

struct Relay<'a> {
    socket: &'a mut Socket,
    agent: AgentEnd,
    /// Input that the node has not taken yet: nothing more is read from the client meanwhile.
    pending: Option<ExecInput>,
    heard_at: Instant,
    active_at: Instant,
}

impl<'a> Relay<'a> {
    fn new(socket: &'a mut Socket, agent: AgentEnd) -> Self {
        let now = Instant::now();
        Self { socket, agent, pending: None, heard_at: now, active_at: now }
    }

    async fn run(mut self, mut closing: watch::Receiver<bool>) -> Over {
        let mut ping = tokio::time::interval(Duration::from_secs(PING_S));
        let failed = |why: &str| Over::End(ExecEnd::Failed(why.to_owned()));
        if !self.send(plain::started()).await {
            return Over::Left;
        }
        let input = self.agent.input.clone();
        loop {
            let step = tokio::select! {
                heard = self.socket.next(), if self.pending.is_none() => self.hear(heard),
                room = input.reserve(), if self.pending.is_some() => {
                    match (room, self.pending.take()) {
                        (Ok(room), Some(input)) => room.send(Ok(input.into())),
                        // The node's end is told by its output.
                        _ => self.pending = None,
                    }
                    None
                }
                said = self.agent.output.message() => self.tell(said).await,
                _ = ping.tick() => self.look().await,
                () = closed(&mut closing) => {
                    Some(failed("the controller is stopping: the session has ended"))
                }
            };
            if let Some(over) = step {
                return over;
            }
        }
    }

    fn hear(
        &mut self,
        heard: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Option<Over> {
        self.heard_at = Instant::now();
        let message = match heard {
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Some(Over::Left),
            Some(Ok(message)) => message,
        };
        match plain::input(message) {
            Ok(None) => None,
            Ok(Some(input)) => {
                self.active_at = self.heard_at;
                self.pending = Some(input);
                None
            }
            Err(why) => Some(Over::End(ExecEnd::Failed(why))),
        }
    }

    async fn tell(
        &mut self,
        said: Result<Option<loadline_proto::v1::ExecOutput>, tonic::Status>,
    ) -> Option<Over> {
        const LOST: &str = "the node's agent was lost: the session has ended, and the program with \
                            it";
        let failed = |why: String| Some(Over::End(ExecEnd::Failed(why)));
        let Ok(Some(wire)) = said else { return failed(LOST.to_owned()) };
        let message = match ExecOutput::try_from(wire) {
            Ok(ExecOutput::Stdout(bytes)) => plain::output(plain::STDOUT, &bytes),
            Ok(ExecOutput::Stderr(bytes)) => plain::output(plain::STDERR, &bytes),
            Ok(ExecOutput::End(end)) => return Some(Over::End(end)),
            Ok(ExecOutput::Opened(_)) => return failed("the agent broke the protocol".to_owned()),
            Err(invalid) => return failed(format!("the agent broke the protocol: {invalid}")),
        };
        self.active_at = Instant::now();
        (!self.send(message).await).then_some(Over::Left)
    }

    /// Looks whether the client is still there, and does something.
    async fn look(&mut self) -> Option<Over> {
        if Duration::from_secs(IDLE_S_MAX) < self.active_at.elapsed() {
            let why = format!("nothing happened for {} minutes", IDLE_S_MAX / 60);
            return Some(Over::End(ExecEnd::Failed(why)));
        }
        // While input waits for the node nothing is heard, which is not the client's silence.
        if self.pending.is_none() && Duration::from_secs(SILENCE_S_MAX) < self.heard_at.elapsed() {
            return Some(Over::Left);
        }
        (!self.send(Message::Ping(Bytes::new())).await).then_some(Over::Left)
    }

    async fn send(&mut self, message: Message) -> bool {
        send(self.socket, message).await
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone.
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn send(socket: &mut Socket, message: Message) -> bool {
    let patience = Duration::from_secs(SEND_S_MAX);
    matches!(tokio::time::timeout(patience, socket.send(message)).await, Ok(Ok(())))
}

async fn tell_end(socket: &mut Socket, end: &ExecEnd) {
    // A client that is gone has no use for it.
    if send(socket, plain::end(end)).await {
        let patience = Duration::from_secs(OPENING_S_MAX);
        let _ = tokio::time::timeout(patience, async {
            let _ = socket.close(None).await;
            // Until the client has closed as well: what it was told could be lost otherwise.
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
    }
}

/// Leaves a line in the audit log, as a call does.
async fn note(api: &Api, peer: SocketAddr, claimed: &Claimed, over: &Over, began: Instant) {
    let open = &claimed.open;
    let code = match over {
        Over::End(ExecEnd::Code(code)) => format!("exit {code}"),
        Over::End(ExecEnd::Failed(why)) => format!("failed: {why}"),
        Over::Left => "left".to_owned(),
    };
    let session = session_id(&open.exec);
    tracing::info!(%peer, session, task = %open.task, container = %open.container, code,
        "a session in a container has ended");
    let call = audit::Call {
        at_ms: SystemClock::new().unix_ms(),
        request_id: session,
        peer: peer.to_string(),
        key_id: Some(claimed.caller.key_id.clone()),
        who: Some(claimed.caller.who.clone()),
        operation: "ExecSession".to_owned(),
        subject: Some(format!("{}/{}", open.task, open.container)),
        code,
        took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
    };
    api.seeing.audit.note(&call).await;
}
