//! One request: who calls, what is asked for, and the answer or refusal in AWS's form.
//!
//! Every request that may change something leaves one line in the audit log: who, from where,
//! what, and how it ended. Key ids, operations and what they are about are named, secrets and
//! bodies never.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::auth::{Caller, Head};
use super::guard::{self, Asker, Need};
use super::holders::Holders;
use super::query::{self, Form};
use super::reply::{self, Format};
use super::{Api, ApiError, Code, ecs, iam, logs, own, sts, vault, wire};
use crate::engine::{Clock as _, SystemClock};
use crate::nodes::ExecCaller;
use crate::seeing::audit;
use crate::state::View;

/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest body of a request to the service logs, in bytes.
const LOGS_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a client may take for a body.
const BODY_S_MAX: u64 = 20;
/// Longest name of an operation that a log line repeats, in characters.
const TARGET_SHOWN_CHARS_MAX: usize = 128;

/// The services of this port, told apart by the prefix of `X-Amz-Target`. A service that AWS
/// speaks to without a target (query, rest-json) is told apart by its signature's scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Ecs,
    Own,
    Secrets,
    Parameters,
    Logs,
}

impl Service {
    const ALL: [Self; 5] = [Self::Ecs, Self::Own, Self::Secrets, Self::Parameters, Self::Logs];

    const fn target_prefix(self) -> &'static str {
        match self {
            Self::Ecs => "AmazonEC2ContainerServiceV20141113.",
            Self::Own => "Loadline_20261126.",
            Self::Secrets => "secretsmanager.",
            Self::Parameters => "AmazonSSM.",
            Self::Logs => "Logs_20140328.",
        }
    }

    /// Names that a signature's scope may give it.
    const fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Ecs => &["ecs"],
            Self::Own => &["ecs", "loadline"],
            Self::Secrets => &["secretsmanager"],
            Self::Parameters => &["ssm"],
            Self::Logs => &["logs"],
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
    let mut about = About {
        format: Format::of(request.method(), request.headers()),
        operation: shown(target_text(request.headers())),
        key_id: None,
        who: None,
        subject: None,
    };
    let outcome = outcome(api, peer, request, &id, &mut about).await;
    let code = outcome.as_ref().map_or_else(|refused| refused.code.as_str(), |_| "ok");
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let About { format, operation, key_id, who, subject } = about;
    tracing::debug!(request_id = %id, %peer, key_id, operation, code, took_us, "api request");
    api.seeing.calls.count(&operation, code, took_us);
    if changes(&operation) {
        let (request_id, code) = (id.clone(), code.to_owned());
        let (peer, at_ms) = (peer.to_string(), SystemClock::new().unix_ms());
        let call =
            audit::Call { at_ms, request_id, peer, key_id, who, operation, subject, code, took_us };
        api.seeing.audit.note(&call).await;
    }
    reply::response(format, &id, outcome)
}

/// Whether an operation may change something. What is not known to only read counts.
fn changes(target: &str) -> bool {
    let operation = target.rsplit('.').next().unwrap_or_default();
    let reads = ["Describe", "List", "Read", "Get"];
    !operation.is_empty() && !reads.iter().any(|verb| operation.starts_with(verb))
}

/// Longest name of what a call is about, in characters.
const SUBJECT_CHARS_MAX: usize = 256;

/// The first field of a request that names one thing.
fn subject(body: &Value) -> Option<String> {
    const KEYS: [&str; 17] = [
        "task",
        "serviceName",
        "service",
        "taskDefinition",
        "family",
        "containerInstance",
        "containerInstances",
        "tokenId",
        "clusterName",
        "resourceArn",
        "userName",
        "UserName",
        "RoleName",
        "PolicyArn",
        "PolicyName",
        "name",
        "cluster",
    ];
    let named = KEYS.into_iter().find_map(|key| body.get(key))?;
    let named = named.get(0).unwrap_or(named).as_str()?;
    Some(named.chars().take(SUBJECT_CHARS_MAX).collect())
}

/// Operations whose answer or record is about the caller.
const OF_CALLER: [&str; 5] = [
    "BatchGetSecretValue",
    "CreateService",
    "ExecuteCommand",
    "RegisterTaskDefinition",
    "StartExec",
];

/// `who` is set once the caller has proved who they are.
async fn outcome(
    api: &Api,
    peer: SocketAddr,
    request: Request<Incoming>,
    id: &str,
    about: &mut About,
) -> Result<Vec<u8>, ApiError> {
    let (parts, body) = request.into_parts();
    let head = Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    let view = api.engine.snapshot();
    let holders = Holders { view: &view, keyring: &api.keyring };
    let admitted = api.gate.admit(head, now_s(), &holders)?;
    let body = read_body(body, body_bytes_max(&parts.headers)).await?;
    let caller = admitted.verify(head, &body)?;
    about.key_id = Some(caller.key_id.clone());
    about.who = Some(caller.principal.arn(&view.scope));
    if caller.once.is_some_and(|once| !api.replays.first(once, now_s())) {
        let message = "Signature was used before: a request is sent once, sign it again";
        return Err(ApiError::new(Code::InvalidSignature, message));
    }
    let get = parts.method == Method::GET && about.format == Format::Query;
    if (parts.method != Method::POST && !get) || parts.uri.path() != "/" {
        let what = format!("{} {} is not an operation", parts.method, parts.uri.path());
        return Err(ApiError::new(Code::UnknownOperation, what));
    }
    // The body may have taken its time: what holds now is what counts.
    let view = api.engine.snapshot();
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let call = Call { api, view: &view, caller: &caller, peer, host };
    if about.format == Format::Query {
        let form = if get { head.query.unwrap_or_default().as_bytes() } else { body.as_ref() };
        let form = Form::read(form)?;
        about.operation = format!("{}.{}", shown(&caller.service), shown(&form.action));
        about.subject = subject(&form.body);
        return call.query(form, id).await;
    }
    let (service, operation) = target(&parts.headers)?;
    check_scope(service.scopes(), &caller)?;
    let body = parse(&parts.headers, &body)?;
    about.subject = subject(&body);
    call.json(service, operation, body).await
}

/// What is told about a request in the log.
#[derive(Debug)]
struct About {
    format: Format,
    operation: String,
    key_id: Option<String>,
    who: Option<String>,
    subject: Option<String>,
}

/// One verified request.
struct Call<'a> {
    api: &'a Api,
    view: &'a View,
    caller: &'a Caller,
    peer: SocketAddr,
    /// The header Host.
    host: &'a str,
}

impl Call<'_> {
    async fn json(
        &self,
        service: Service,
        operation: &str,
        body: Value,
    ) -> Result<Vec<u8>, ApiError> {
        let absent = match service {
            Service::Ecs => ecs::absent(operation),
            Service::Logs => logs::absent(operation),
            Service::Own | Service::Secrets | Service::Parameters => None,
        };
        if let Some(refused) = absent {
            return Err(refused);
        }
        let needs = match service {
            Service::Ecs => ecs::needs(self.view, operation, &body),
            Service::Own => own::needs(self.view, operation, &body),
            Service::Secrets => vault::secret_needs(self.view, operation, &body),
            Service::Parameters => vault::parameter_needs(self.view, operation, &body),
            Service::Logs => logs::needs(self.view, operation, &body),
        };
        if service == Service::Own && own::is_about_keys(operation) {
            self.no_temporary_key()?;
        }
        self.may(needs)?;
        let own = OF_CALLER.contains(&operation).then(|| self.for_caller());
        let api = own.as_ref().unwrap_or(self.api);
        match service {
            Service::Ecs => ecs::run(api, operation, body).await,
            Service::Own => own::run(api, operation, body).await,
            Service::Secrets => vault::secrets::run(api, operation, body).await,
            Service::Parameters => vault::parameters::run(self.api, operation, body).await,
            Service::Logs => logs::run(self.api, operation, body).await,
        }
    }

    /// Credentials in the place of a key give no lasting ones (AWS: IAM takes none without MFA).
    fn no_temporary_key(&self) -> Result<(), ApiError> {
        if !self.caller.temporary {
            return Ok(());
        }
        let message = "Credentials of GetSessionToken can't be used for IAM: use the key itself";
        Err(ApiError::new(Code::AccessDenied, message))
    }

    /// The API as this caller reached it.
    fn for_caller(&self) -> Api {
        let who = self.caller.principal.arn(&self.view.scope);
        let caller = ExecCaller { key_id: self.caller.key_id.clone(), who };
        let asker = Some(Asker { caller: self.caller.clone(), peer: self.peer });
        Api { caller, asker, authority: Some(self.host.to_owned()), ..self.api.clone() }
    }

    /// The query protocol names no service: the signature's scope does.
    async fn query(&self, form: Form, id: &str) -> Result<Vec<u8>, ApiError> {
        let Form { action, mut body, .. } = match self.caller.service.as_str() {
            "sts" => form.of_version(sts::VERSION)?,
            "iam" => form.of_version(iam::VERSION)?,
            other => {
                let message = format!("no service {other:?} speaks the query protocol here");
                return Err(ApiError::new(Code::UnknownOperation, message));
            }
        };
        let (namespace, answer) = if self.caller.service == "sts" {
            guard::still_running(self.view, self.caller)?;
            (sts::NAMESPACE, sts::run(self.api, self.caller, &action, body)?)
        } else {
            self.no_temporary_key()?;
            iam::complete(&action, &mut body, &self.caller.principal);
            self.may(iam::needs(self.view, &action, &body))?;
            (iam::NAMESPACE, iam::run(self.api, &action, body).await?)
        };
        let answer: Value =
            serde_json::from_slice(&answer).map_err(|error| ApiError::new(Code::Server, error))?;
        Ok(query::to_xml(namespace, &action, &answer, id))
    }

    fn may(&self, needs: Option<Vec<Need>>) -> Result<(), ApiError> {
        guard::check(self.view, self.caller, self.peer, needs)
    }
}

fn shown(text: &str) -> String {
    text.chars().take(TARGET_SHOWN_CHARS_MAX).collect()
}

/// A batch of log events has up to 1 MiB of messages, which JSON writes longer than they are.
fn body_bytes_max(headers: &HeaderMap) -> usize {
    let logs = target_text(headers).starts_with(Service::Logs.target_prefix());
    if logs { LOGS_BODY_BYTES_MAX } else { BODY_BYTES_MAX }
}

async fn read_body(body: Incoming, most: usize) -> Result<Bytes, ApiError> {
    let body = Limited::new(body, most).collect();
    match tokio::time::timeout(Duration::from_secs(BODY_S_MAX), body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("a request body is at most {most} bytes");
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
