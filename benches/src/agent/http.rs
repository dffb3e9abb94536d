//! HTTP over a Unix socket, one request a connection: docker's API, and the agent's own.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, ensure};

/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Posts JSON; the answer, head and all, where its status is one of success.
pub(crate) fn post(socket: &Path, path: &str, body: &str) -> anyhow::Result<String> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: local\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).context("send a request")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).context("read an answer")?;
    ensure!(answer.starts_with("HTTP/1.1 2"), "POST {path}: {}", answer.trim());
    Ok(answer)
}
