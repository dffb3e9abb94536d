//! The controller's API: AWS JSON 1.1 over HTTP/1.1, each request signed.

pub(crate) mod credentials;
mod endpoint;
mod sign;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use tokio::net::TcpStream;

pub(crate) use self::credentials::Credentials;
pub(crate) use self::endpoint::Endpoint;
use crate::exchange;
use crate::failure::Failure;
use crate::text::short;

/// How long a connection may take.
const CONNECT_MS_MAX: u64 = 5_000;
/// How long an answer may take: a log request waits 20 s at the node, and 10 s for it.
const ANSWER_MS_MAX: u64 = 60_000;
/// Where AWS's operations live, and Loadline's own.
const ECS: &str = "AmazonEC2ContainerServiceV20141113";
const OWN: &str = "Loadline_20261126";

/// Speaks to one controller.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    pub(crate) region: String,
    pub(crate) credentials: Credentials,
}

impl Client {
    /// One of AWS's operations.
    pub(crate) async fn ecs(&self, operation: &str, body: Value) -> Result<Value, Failure> {
        self.call(ECS, operation, body).await
    }

    /// One of Loadline's own.
    pub(crate) async fn own(&self, operation: &str, body: Value) -> Result<Value, Failure> {
        self.call(OWN, operation, body).await
    }

    async fn call(&self, service: &str, operation: &str, body: Value) -> Result<Value, Failure> {
        let target = format!("{service}.{operation}");
        let subject = subject(&body);
        let body = body.to_string();
        let headers = sign::sign(
            &sign::Call { host: self.endpoint.authority(), target: &target, body: &body },
            &self.region,
            &self.credentials,
            SystemTime::now(),
        );
        let mut request = Request::post("/");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| Failure::Usage(format!("can't make a request of that: {e}")))?;
        let tcp = self.connect().await?;
        let peer = format!("the controller at {}", self.endpoint);
        let answer = exchange::exchange(tcp, request, &peer, Duration::from_millis(ANSWER_MS_MAX));
        let (status, body) = answer.await?;
        let text = |what: String| Failure::NoAnswer { peer: peer.clone(), what };
        let value: Value = serde_json::from_slice(&body)
            .map_err(|e| text(format!("HTTP {status}, and no JSON: {e}")))?;
        if status.is_success() {
            return Ok(value);
        }
        Err(refusal(operation, &subject, (status.as_u16(), &value), &self.credentials.origin))
    }

    /// A connection to the controller.
    pub(crate) async fn connect(&self) -> Result<TcpStream, Failure> {
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        let connected = tokio::time::timeout(limit, TcpStream::connect(self.endpoint.authority()));
        let connected =
            connected.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        connected
            .map_err(|source| Failure::NoController { endpoint: self.endpoint.to_string(), source })
    }
}

/// What a request is about: many of AWS's messages do not say it.
fn subject(request: &Value) -> String {
    const KEYS: [&str; 7] = [
        "task",
        "service",
        "serviceName",
        "taskDefinition",
        "containerInstance",
        "tokenId",
        "clusterName",
    ];
    let named = KEYS.into_iter().find_map(|key| request.get(key)).or_else(|| {
        let list = |key| request.get(key).and_then(|list| list.get(0));
        ["tasks", "services", "containerInstances", "clusters"].into_iter().find_map(list)
    });
    let subject = named.or_else(|| request.get("cluster")).and_then(Value::as_str);
    subject.map(short).unwrap_or_default().to_owned()
}

/// AWS JSON 1.1: `__type` may carry a namespace, and the message comes in two spellings.
fn refusal(operation: &str, subject: &str, (status, value): (u16, &Value), key: &str) -> Failure {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let code = text("__type").map_or_else(
        || format!("HTTP {status}"),
        |code| code.rsplit('#').next().unwrap_or(code).to_owned(),
    );
    let message = text("message").or_else(|| text("Message")).unwrap_or("no message").to_owned();
    // "Cluster not found." is of a cluster, whatever else the request names.
    let says_it = subject.is_empty()
        || message.contains(subject)
        || code == "ClusterNotFoundException"
        || code.ends_with("SignatureException");
    let message = if says_it { message } else { format!("{subject}: {message}") };
    Failure::Refused { operation: operation.to_owned(), code, message, key: key.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_shows_awss_code_and_message() {
        let check = |value: Value, expected: &str| {
            assert_eq!(refusal("RunTask", "web", (400, &value), "").to_string(), expected);
        };
        check(
            json!({"__type": "com.amazonaws.ecs#ClientException", "message": "no"}),
            "RunTask: web: no (ClientException)",
        );
        check(
            json!({"__type": "ServerException", "Message": "x"}),
            "RunTask: web: x (ServerException)",
        );
        check(json!({}), "RunTask: web: no message (HTTP 400)");
    }
}
