//! One HTTP/1.1 exchange over any connection, bounded in time and size.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::failure::Failure;

/// Largest answer, in bytes: 1000 log lines of 16 KiB.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Sends a request and reads the whole answer.
pub(crate) async fn exchange(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    peer: &str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), Failure> {
    let whole = async {
        let response = send(io, request, peer).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|e| no_answer(peer, &e.to_string()))?;
        Ok((head.status, body.to_bytes()))
    };
    tokio::time::timeout(limit, whole)
        .await
        .unwrap_or_else(|_| Err(no_answer(peer, &format!("nothing within {} s", limit.as_secs()))))
}

/// Sends a request and gives the answer's head, and its body to read.
pub(crate) async fn send(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    peer: &str,
) -> Result<Response<Incoming>, Failure> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(io)).await;
    let (mut sender, connection) = handshake.map_err(|e| no_answer(peer, &e.to_string()))?;
    // Ends with the exchange; its error is the exchange's own.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|e| no_answer(peer, &e.to_string()))
}

fn no_answer(peer: &str, what: &str) -> Failure {
    Failure::NoAnswer { peer: peer.to_owned(), what: what.to_owned() }
}
