//! `loadline exec`

use std::io::{IsTerminal as _, Read as _, Write as _};

use clap::Args;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use crate::api::Client;
use crate::failure::Failure;
use crate::options::Context;
use crate::query;

/// What the session speaks.
const PROTOCOL: &str = "loadline.exec.v1";
/// Bytes of a piece of input.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces that wait for the wire.
const PIECES_MAX: usize = 4;
/// What a binary message begins with.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;

/// Run a program in a running task's container
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Exec {
    /// The task's id, the beginning of it, or its ARN
    task: String,
    /// Which container; needed where the task has more than one
    #[arg(long, short, value_name = "NAME")]
    container: Option<String>,
    /// Keep the program's standard input open
    #[arg(long, short)]
    interactive: bool,
    /// Give it a terminal
    #[arg(long, short)]
    tty: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  loadline exec -it 4f1c -- sh
  loadline exec 4f1c --container web -- cat /etc/hosts
  echo hello | loadline exec -i 4f1c -- tee /tmp/hello

Ends with the program's exit code; with 126 where it could not be run, or its end is not known.
The task must allow it: tasks of `loadline run` do, unless --no-exec was given.";

/// As a shell has it for what can't be run.
const NOT_RUN: u8 = 126;

impl Exec {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let stdin = std::io::stdin();
        if self.tty && !stdin.is_terminal() {
            let text = "--tty: standard input is no terminal; leave -t out, and keep -i for input";
            return Err(Failure::Usage(text.to_owned()));
        }
        let client = context.client()?;
        let arn = query::find_task(&client, context.cluster(), &self.task).await?;
        let mut request = json!({
            "cluster": context.cluster(),
            "task": arn,
            "command": self.command,
            "interactive": self.interactive || self.tty,
            "terminal": self.tty,
        });
        if let Some(container) = &self.container {
            request["containerName"] = json!(container);
        }
        let answer = client.own("StartExec", request).await?;
        let session = Session::open(&client, &answer["session"], self.tty).await?;
        let raw = if self.tty { Some(Raw::begin()?) } else { None };
        let end = session.relay(self.interactive || self.tty, self.tty).await;
        drop(raw);
        match end? {
            End::Code(code) => Ok(code),
            End::Failed(why) => Err(Failure::NotRun { why, exit_code: NOT_RUN }),
        }
    }
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Code(u8),
    Failed(String),
}

type Socket = WebSocketStream<TcpStream>;

struct Session {
    socket: Socket,
}

impl Session {
    async fn open(client: &Client, session: &Value, tty: bool) -> Result<Self, Failure> {
        let peer = format!("the controller at {}", client.endpoint);
        let text = |key: &str| query::part::<String>(session, key);
        let (url, token) = (text("streamUrl")?, text("tokenValue")?);
        let tcp = client.connect().await?;
        // A key that is pressed is one small message.
        let _ = tcp.set_nodelay(true);
        let request = http::Request::get(&url)
            .header("host", client.endpoint.authority())
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key())
            .header("sec-websocket-protocol", PROTOCOL)
            .body(())
            .map_err(|error| broken(&peer, &error))?;
        let opened = tokio_tungstenite::client_async(request, tcp).await;
        let (mut socket, _) = opened.map_err(|error| broken(&peer, &error))?;
        let mut opening = json!({ "token": token });
        if tty && let Some((rows, columns)) = terminal_size() {
            opening["rows"] = json!(rows);
            opening["columns"] = json!(columns);
        }
        let opening = Message::Text(opening.to_string().into());
        socket.send(opening).await.map_err(|error| broken(&peer, &error))?;
        Ok(Self { socket })
    }

    /// Both ways at once: whoever waits for one must not hold the other up.
    async fn relay(self, input: bool, tty: bool) -> Result<End, Failure> {
        let (to, from) = self.socket.split();
        let sending = async move {
            send_input(to, input, tty).await;
            // What there was to say is said; the program may go on.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = receive(from) => end,
            () = sending => Ok(End::Failed("the session was left".to_owned())),
        }
    }
}

fn broken(peer: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::NoAnswer { peer: peer.to_owned(), what: format!("no session: {error}") }
}

/// Prints what the program writes, to its end.
async fn receive(mut from: SplitStream<Socket>) -> Result<End, Failure> {
    while let Some(message) = from.next().await {
        // A controller that was killed says nothing more.
        let Ok(message) = message else { break };
        match message {
            Message::Binary(bytes) => print(&bytes).map_err(Failure::Output)?,
            Message::Text(text) => {
                if let Some(end) = end_of(&text) {
                    return Ok(end);
                }
            }
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    let why = "the connection to the controller was lost: the program is hung up";
    Ok(End::Failed(why.to_owned()))
}

/// What the last message says; `None` for any other.
fn end_of(text: &Utf8Bytes) -> Option<End> {
    let said: Value = serde_json::from_str(text).ok()?;
    if let Some(why) = said["error"].as_str() {
        return Some(End::Failed(why.to_owned()));
    }
    let code = said["exitCode"].as_i64()?;
    Some(End::Code(u8::try_from(code).unwrap_or(u8::MAX)))
}

fn print(bytes: &Bytes) -> std::io::Result<()> {
    match bytes.split_first() {
        Some((&STDOUT, data)) => {
            let mut out = std::io::stdout().lock();
            out.write_all(data)?;
            out.flush()
        }
        Some((&STDERR, data)) => std::io::stderr().lock().write_all(data),
        // A later protocol's.
        _ => Ok(()),
    }
}

/// Sends what is typed, and the terminal's size where it changes. A session that breaks is told by
/// the other direction.
async fn send_input(mut to: SplitSink<Socket, Message>, input: bool, tty: bool) {
    let mut pieces = input.then(read_stdin);
    let mut sizes = tty.then(|| signal(SignalKind::window_change())).and_then(Result::ok);
    loop {
        let message = tokio::select! {
            piece = next_piece(&mut pieces) => match piece {
                Some(piece) => Message::Binary(piece.into()),
                None => {
                    pieces = None;
                    Message::Text(r#"{"inputEnd":true}"#.into())
                }
            },
            () = size_change(&mut sizes) => match terminal_size() {
                Some((rows, columns)) => {
                    let size = json!({ "resize": { "rows": rows, "columns": columns } });
                    Message::Text(size.to_string().into())
                }
                None => continue,
            },
        };
        if to.send(message).await.is_err() {
            return;
        }
    }
}

/// Waits for ever where there is no input, or no more.
async fn next_piece(pieces: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match pieces {
        Some(pieces) => pieces.recv().await,
        None => std::future::pending().await,
    }
}

async fn size_change(sizes: &mut Option<Signal>) {
    if let Some(sizes) = sizes
        && sizes.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// A thread of its own, which ends with the process: nothing waits for a key that nobody presses.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (pieces, read) = mpsc::channel(PIECES_MAX);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut bytes = [0; 1 + PIECE_BYTES];
        bytes[0] = STDIN;
        while let Ok(length @ 1..) = stdin.read(&mut bytes[1..]) {
            if pieces.blocking_send(bytes[..=length].to_vec()).is_err() {
                return;
            }
        }
    });
    read
}

/// Rows and columns of the own terminal.
fn terminal_size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdin()).ok()?;
    (0 < size.ws_row && 0 < size.ws_col).then_some((size.ws_row, size.ws_col))
}

/// The own terminal passes every key on as long as this lives.
struct Raw {
    before: Termios,
}

impl Raw {
    fn begin() -> Result<Self, Failure> {
        let failed = |step| {
            move |errno: nix::Error| Failure::Io {
                step,
                object: "the terminal".to_owned(),
                source: errno.into(),
            }
        };
        let before = tcgetattr(std::io::stdin()).map_err(failed("ask"))?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &raw).map_err(failed("set"))?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody to tell, and the shell sets it anyway.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_has_the_exit_code_or_the_reason() {
        for (text, expected) in [
            (r#"{"started":true}"#, None),
            (r#"{"exitCode":7}"#, Some(End::Code(7))),
            (r#"{"error":"no"}"#, Some(End::Failed("no".to_owned()))),
            ("nonsense", None),
        ] {
            assert_eq!(end_of(&text.into()), expected, "{text}");
        }
    }
}
