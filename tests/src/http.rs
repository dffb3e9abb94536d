//! As much of an HTTP/1.1 client as tests need: one request a connection, over TCP or a UNIX
//! socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::program::CALL_TIMEOUT;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Sends a request to a TCP address.
///
/// # Errors
/// Where nobody answers, or not in HTTP.
pub fn tcp(
    address: &str,
    line: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(CALL_TIMEOUT)).context("set a timeout")?;
    exchange(stream, line, headers, body)
}

/// Sends a request to a UNIX socket.
///
/// # Errors
/// As [`tcp`].
pub fn unix(socket: &Path, line: &str, body: &[u8]) -> anyhow::Result<Answer> {
    let stream =
        UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(CALL_TIMEOUT)).context("set a timeout")?;
    exchange(stream, line, &[("host", "localhost"), ("content-type", "application/json")], body)
}

fn exchange(
    mut stream: impl Read + Write,
    line: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let mut head = format!("{line} HTTP/1.1\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).context("send the head of a request")?;
    stream.write_all(body).context("send the body of a request")?;
    let mut bytes = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
    // A server may reset a connection whose request it did not read; what it said counts.
    if bytes.is_empty() {
        read.context("read an answer")?;
    }
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.with_context(|| format!("no HTTP: {:?}", String::from_utf8_lossy(bytes)))?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no status in {head:?}"))?;
    let rest = &bytes[end + 4..];
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { chunks(rest)? } else { rest.to_vec() };
    Ok(Answer { status, head, body })
}

fn chunks(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
            bail!("the answer ends inside a chunk");
        };
        let size = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).context("read the size of a chunk")?;
        let from = end + 2;
        if size == 0 {
            return Ok(body);
        }
        let chunk = rest.get(from..from + size).context("the answer ends inside a chunk")?;
        body.extend_from_slice(chunk);
        rest = rest.get(from + size + 2..).context("the answer ends after a chunk")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_and_in_chunks() {
        let answer = parse(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"ab"[..]));
        let head = "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunked = format!("{head}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").into_bytes();
        let answer = parse(&chunked).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (400, &b"abc"[..]));
        assert!(parse(b"nonsense").is_err());
    }
}
