//! This machine's agent: HTTP/1.1 over its socket, for images.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::exchange;
use crate::failure::Failure;

/// How long the agent may take for all but an import.
const ANSWER_MS_MAX: u64 = 30_000;
/// Longest line of an import's progress, in bytes.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The agent's socket.
#[derive(Debug)]
pub(crate) struct Agent {
    socket: PathBuf,
}

/// A step of an import.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    /// How far it is.
    Progress { done_bytes: u64, total_bytes: u64 },
    /// It is done.
    Imported(Value),
    /// It failed, and nothing was imported.
    Error(String),
}

impl Agent {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// A small request; the answer is JSON, or empty.
    pub(crate) async fn call(&self, method: Method, path: &str) -> Result<Value, Failure> {
        let request = self.request(method, path, String::new())?;
        let io = self.connect().await?;
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        let (status, body) = exchange::exchange(io, request, &self.peer(), limit).await?;
        let value: Value = match serde_json::from_slice(&body) {
            Ok(value) => value,
            Err(_) if body.is_empty() => Value::Null,
            Err(e) => return Err(self.no_answer(&format!("HTTP {status}, and no JSON: {e}"))),
        };
        self.accept(status, value)
    }

    /// Imports an image; each step is told as it comes.
    pub(crate) async fn import(
        &self,
        body: &Value,
        mut told: impl FnMut(u64, u64),
    ) -> Result<Value, Failure> {
        let request = self.request(Method::POST, "/v1/images/import", body.to_string())?;
        let io = self.connect().await?;
        let response = exchange::send(io, request, &self.peer()).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| self.no_answer(&e.to_string()))?;
            pending.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                match self.step(status, &line)? {
                    Step::Progress { done_bytes, total_bytes } => told(done_bytes, total_bytes),
                    Step::Imported(imported) => return Ok(imported),
                    Step::Error(why) => return Err(Failure::AgentRefused(why)),
                }
            }
            if LINE_BYTES_MAX < pending.len() {
                return Err(self.no_answer("a line without an end"));
            }
        }
        match self.step(status, &pending)? {
            Step::Imported(imported) => Ok(imported),
            Step::Error(why) => Err(Failure::AgentRefused(why)),
            Step::Progress { .. } => Err(self.no_answer("the import broke off")),
        }
    }

    fn step(&self, status: StatusCode, line: &[u8]) -> Result<Step, Failure> {
        if line.is_empty() {
            return Err(self.no_answer(&format!("HTTP {status}, and the import broke off")));
        }
        serde_json::from_slice(line)
            .map_err(|e| self.no_answer(&format!("HTTP {status}, and an unknown line: {e}")))
    }

    fn accept(&self, status: StatusCode, value: Value) -> Result<Value, Failure> {
        if status.is_success() {
            return Ok(value);
        }
        match value.get("error").and_then(Value::as_str) {
            Some(why) => Err(Failure::AgentRefused(why.to_owned())),
            None => Err(self.no_answer(&format!("HTTP {status}"))),
        }
    }

    async fn connect(&self) -> Result<UnixStream, Failure> {
        let connected = UnixStream::connect(&self.socket).await;
        connected.map_err(|source| Failure::NoAgent { socket: self.socket.clone(), source })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "agent")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| Failure::Usage(format!("can't make a request of that: {e}")))
    }

    fn peer(&self) -> String {
        format!("the agent at {}", self.socket.display())
    }

    fn no_answer(&self, what: &str) -> Failure {
        Failure::NoAnswer { peer: self.peer(), what: what.to_owned() }
    }
}

/// Text in a query: what is not plain is percent-encoded (RFC 3986, 2.1).
pub(crate) fn query_text(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let encode = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(encode).collect()
}

/// The same path from any folder: the agent has another working directory.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).map_err(|e| Failure::io("find", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_safe_in_a_query() {
        assert_eq!(query_text("a/b:1@sha256~x y"), "a%2Fb%3A1%40sha256~x%20y");
    }

    #[test]
    fn each_line_of_an_import_is_understood() {
        let agent = Agent::new(PathBuf::from("/s"));
        let step = |line: &str| agent.step(StatusCode::OK, line.as_bytes());
        let progress = step("{\"progress\":{\"done_bytes\":1,\"total_bytes\":2}}\n").unwrap();
        assert!(matches!(progress, Step::Progress { done_bytes: 1, total_bytes: 2 }));
        assert!(matches!(step("{\"imported\":[]}"), Ok(Step::Imported(_))));
        assert!(matches!(step("{\"error\":\"no\"}"), Ok(Step::Error(why)) if why == "no"));
        assert!(step("").is_err() && step("hello").is_err());
    }
}
