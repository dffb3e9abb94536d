//! One request: who calls, what is asked for, and the answer or refusal in AWS's form.
//!
//! Every request that may change something leaves one line under the log target `audit`: who, from
//! where, what, and how it ended. Key ids and operations are named, secrets and bodies never.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::auth::{Caller, Head};
use super::reply::{self, Format};
use super::{Api, ApiError, Code, ecs, own, sts, wire};

/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a client may take for a body.
const BODY_S_MAX: u64 = 20;
/// Longest `X-Amz-Target` that a log line repeats, in characters.
const TARGET_SHOWN_CHARS_MAX: usize = 128;

/// The services of this port, told apart by the prefix of `X-Amz-Target`. A service that AWS
/// speaks to without a target (query, rest-json) is told apart by its signature's scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Ecs,
    Own,
}

impl Service {
    const ALL: [Self; 2] = [Self::Ecs, Self::Own];

    const fn target_prefix(self) -> &'static str {
        match self {
            Self::Ecs => "AmazonEC2ContainerServiceV20141113.",
            Self::Own => "Loadline_20261126.",
        }
    }

    /// Names that a signature's scope may give it.
    const fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Ecs => &["ecs"],
            Self::Own => &["ecs", "loadline"],
        }
    }
}

/// Answers one request. Never fails: a refusal is an answer.
pub(super) async fn answer(
    api: &Api,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let id = request_id();
    let began = std::time::Instant::now();
    let format = Format::of(request.headers());
    let target: String =
        target_text(request.headers()).chars().take(TARGET_SHOWN_CHARS_MAX).collect();
    let mut key_id = None;
    let outcome = outcome(api, request, &id, &mut key_id).await;
    let code = outcome.as_ref().map_or_else(|refused| refused.code.as_str(), |_| "ok");
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let key_id = key_id.as_deref().unwrap_or("-");
    if changes(&target) {
        tracing::info!(target: "audit", request_id = %id, %peer, key_id, target, code, took_us);
    } else {
        tracing::debug!(request_id = %id, %peer, key_id, target, code, took_us, "api request");
    }
    reply::response(format, &id, outcome)
}

/// Whether an operation may change something. What is not known to only read counts.
fn changes(target: &str) -> bool {
    let operation = target.rsplit('.').next().unwrap_or_default();
    let reads = ["Describe", "List", "Read", "Get"];
    !operation.is_empty() && !reads.iter().any(|verb| operation.starts_with(verb))
}

/// `key_id` is set once the caller has proved to hold that key.
async fn outcome(
    api: &Api,
    request: Request<Incoming>,
    id: &str,
    key_id: &mut Option<String>,
) -> Result<Vec<u8>, ApiError> {
    let (parts, body) = request.into_parts();
    let head = Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    let admitted = api.gate.admit(head, now_s())?;
    let body = read_body(body).await?;
    let caller = admitted.verify(head, &body)?;
    *key_id = Some(caller.key_id.clone());
    if parts.method != Method::POST || parts.uri.path() != "/" {
        let what = format!("{} {} is not an operation", parts.method, parts.uri.path());
        return Err(ApiError::new(Code::UnknownOperation, what));
    }
    if Format::of(&parts.headers) == Format::Query {
        return query(api, &caller, &body, id);
    }
    let (service, operation) = target(&parts.headers)?;
    check_scope(service.scopes(), &caller)?;
    let body = parse(&parts.headers, &body)?;
    match service {
        Service::Ecs => ecs::run(api, operation, body).await,
        Service::Own => own::run(api, operation, body).await,
    }
}

/// The query protocol names no service: the signature's scope does.
fn query(api: &Api, caller: &Caller, body: &[u8], id: &str) -> Result<Vec<u8>, ApiError> {
    let form: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    match caller.service.as_str() {
        "sts" => sts::run(api, caller, &form, id),
        other => {
            let message = format!("no service {other:?} speaks the query protocol here");
            Err(ApiError::new(Code::UnknownOperation, message))
        }
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, ApiError> {
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(Duration::from_secs(BODY_S_MAX), body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("a request body is at most {BODY_BYTES_MAX} bytes");
            Err(ApiError::new(Code::RequestEntityTooLarge, message))
        }
        Ok(Err(error)) => {
            Err(ApiError::new(Code::Serialization, format!("the body broke off: {error}")))
        }
        Err(_) => {
            let message = format!("the body did not come within {BODY_S_MAX} s");
            Err(ApiError::new(Code::RequestTimeout, message))
        }
    }
}

fn target_text(headers: &HeaderMap) -> &str {
    headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn target(headers: &HeaderMap) -> Result<(Service, &str), ApiError> {
    let text = target_text(headers);
    if text.is_empty() {
        let message = "the header X-Amz-Target is missing: it names the operation";
        return Err(ApiError::new(Code::UnknownOperation, message));
    }
    Service::ALL
        .into_iter()
        .find_map(|service| Some((service, text.strip_prefix(service.target_prefix())?)))
        .ok_or_else(|| {
            let message = format!("{text:?} is not an operation of a service that is served here");
            ApiError::new(Code::UnknownOperation, message)
        })
}

fn check_scope(scopes: &[&str], caller: &Caller) -> Result<(), ApiError> {
    if scopes.contains(&caller.service.as_str()) {
        return Ok(());
    }
    let message = format!("Credential should be scoped to correct service: '{}'.", scopes[0]);
    Err(ApiError::new(Code::InvalidSignature, message))
}

/// The body as JSON. An empty one stands for a request without fields, as AWS has it.
fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    let content_type = reply::content_type(headers);
    if !matches!(content_type, "application/x-amz-json-1.1" | "application/x-amz-json-1.0") {
        let message =
            format!("Content-Type must be application/x-amz-json-1.1, not {content_type:?}");
        return Err(ApiError::new(Code::Serialization, message));
    }
    if body.is_empty() {
        return Ok(json!({}));
    }
    wire::from_slice(body).map_err(|error| {
        ApiError::new(Code::Serialization, format!("the body is not JSON: {error}"))
    })
}

fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// In the form of a UUID, as AWS's are.
fn request_id() -> String {
    let hex = hex::encode(rand::random::<[u8; 16]>());
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}
