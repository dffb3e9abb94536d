//! The sessions of programs in containers: a WebSocket on the API's port, for whoever has the token
//! that ExecuteCommand or StartExec answered with.
//!
//! ```text
//!  GET /v1/data-channel/SESSION ─▶ is it awaited? ─▶ 101 ─▶ token ─▶ claim ─▶ ask the node
//!                                       client ◀─ wire ─▶ session ◀─▶ node's Exec ◀┘
//! ```
//!
//! Invariants: nobody without a session's id gets a WebSocket, and nobody without its token gets
//! further than its first message; nothing is read from one side faster than the other takes it.

mod plain;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use loadline_proto::convert::ExecId;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::Api;

/// Where sessions are found.
pub(super) const PATH: &str = "/v1/data-channel/";
/// What a session's id begins with (ECS's own).
const SESSION_PREFIX: &str = "ecs-execute-command-";
/// Largest message of a client, in bytes: a piece of input with its frame.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes that wait to be written to a client before it is waited for.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// How long the change of protocols may take.
const UPGRADE_S_MAX: u64 = 10;

/// A session's id, from its program's.
pub(super) fn session_id(exec: &ExecId) -> String {
    format!("{SESSION_PREFIX}{exec}")
}

/// Whether a request is for a session rather than for an operation.
pub(super) fn is_for_session<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET && request.uri().path().starts_with(PATH)
}

/// Answers a request for a session, which then goes on by itself.
pub(super) fn answer(
    api: &Arc<Api>,
    peer: SocketAddr,
    mut request: Request<Incoming>,
    closing: watch::Receiver<bool>,
) -> Response<Full<Bytes>> {
    let id = request.uri().path().strip_prefix(PATH).unwrap_or_default();
    let id = id.strip_prefix(SESSION_PREFIX).and_then(ExecId::parse);
    let Some(id) = id.filter(|id| api.relay.execs().awaits(id)) else {
        return refuse(StatusCode::NOT_FOUND, "no such session, or it has begun already");
    };
    let accept = match accept(request.headers()) {
        Ok(accept) => accept,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let api = Arc::clone(api);
    tokio::spawn(async move {
        let patience = Duration::from_secs(UPGRADE_S_MAX);
        // A client that goes away here is its own business: there is nobody to tell.
        let Ok(Ok(upgraded)) = tokio::time::timeout(patience, upgraded).await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX))
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BYTES_MAX);
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        session::run(&api, peer, &id, socket, closing).await;
    });
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(plain::PROTOCOL));
    response
}

/// The answer to a client's key, where it asks for a WebSocket (RFC 6455, 4.2.1) and for a protocol
/// that is spoken here.
fn accept(headers: &HeaderMap) -> Result<HeaderValue, &'static str> {
    let has = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|have| have.trim().eq_ignore_ascii_case(word))
    };
    if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        return Err("a session is a WebSocket: ask for an upgrade");
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err("the WebSocket's version has to be 13");
    }
    if !has(SEC_WEBSOCKET_PROTOCOL, plain::PROTOCOL) {
        return Err("Sec-WebSocket-Protocol has to offer loadline.exec.v1");
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or("Sec-WebSocket-Key is missing")?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    accept.map_err(|_| "Sec-WebSocket-Key can't be used")
}

fn refuse(status: StatusCode, why: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(why.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
