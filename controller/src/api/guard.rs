//! Whether a caller may do what a request asks for: each operation says what it needs, before
//! anything of it is carried out, and [`crate::iam`] decides.

use std::net::SocketAddr;

use loadline_model::KeyValue;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::auth::Caller;
use super::{Api, ApiError, Code};
use crate::iam::{Context, Principal, Request, authorize};
use crate::state::{Scope, View};

/// Most things that one request may need: lists of requests are shorter.
const NEEDS_MAX: usize = 1024;

/// One thing that a caller must be allowed to do.
#[derive(Clone, Debug)]
pub(super) struct Need {
    /// For example `ecs:RunTask`.
    pub(super) action: String,
    /// An ARN, or `*`.
    pub(super) resource: String,
    /// What conditions can say about it.
    pub(super) context: Context,
}

impl Need {
    /// Without a context.
    pub(super) fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { action: action.into(), resource: resource.into(), context: Context::default() }
    }

    /// With one more key.
    pub(super) fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.context.put(key, value);
        self
    }

    /// With the tags of the resource, where it has some.
    pub(super) fn resource_tags(mut self, prefix: &str, tags: &[KeyValue]) -> Self {
        for tag in tags {
            self.context.put(&format!("aws:ResourceTag/{}", tag.name), &tag.value);
            self.context.put(&format!("{prefix}:ResourceTag/{}", tag.name), &tag.value);
        }
        self
    }

    /// With the tags that the request gives, by `names` for key and value.
    pub(super) fn request_tags(mut self, tags: Option<&Value>, (key, value): (&str, &str)) -> Self {
        let mut keys = Vec::new();
        for tag in tags.and_then(Value::as_array).into_iter().flatten() {
            let (Some(key), value) = (tag[key].as_str(), tag[value].as_str()) else { continue };
            self.context.put(&format!("aws:RequestTag/{key}"), value.unwrap_or_default());
            keys.push(key.to_owned());
        }
        self.context.put_all("aws:TagKeys", keys);
        self
    }
}

/// Who makes a call, for what it needs on its way.
#[derive(Clone, Debug)]
pub struct Asker {
    pub(super) caller: Caller,
    pub(super) peer: SocketAddr,
}

impl Api {
    /// Judges one thing of several, which a call may get or not.
    ///
    /// # Errors
    /// `AccessDeniedException` in AWS's words.
    pub(super) fn may(&self, view: &View, needs: Option<Vec<Need>>) -> Result<(), ApiError> {
        match &self.asker {
            Some(Asker { caller, peer }) => check(view, caller, *peer, needs),
            None => Err(ApiError::new(Code::AccessDenied, "Nobody asks.")),
        }
    }
}

/// `iam:PassRole` for a role that a task shall have.
pub(super) fn pass_role(role: &str) -> Need {
    Need::new("iam:PassRole", role).with("iam:PassedToService", "ecs-tasks.amazonaws.com")
}

/// Judges all that a request needs. `None`: nobody wrote down what the operation needs, so nobody
/// but root may do it.
///
/// # Errors
/// `AccessDeniedException` in AWS's words.
pub(super) fn check(
    view: &View,
    caller: &Caller,
    peer: SocketAddr,
    needs: Option<Vec<Need>>,
) -> Result<(), ApiError> {
    if caller.principal == Principal::Root {
        return Ok(());
    }
    let Some(needs) = needs.filter(|needs| needs.len() <= NEEDS_MAX) else {
        let message = "Only the account's own keys may do this.";
        return Err(ApiError::new(Code::AccessDenied, message));
    };
    let mut whole = caller.principal.context(&view.scope, &view.iam);
    about_request(&mut whole, &view.scope, peer);
    still_running(view, caller)?;
    for need in needs {
        let mut context = whole.clone();
        context.extend(&need.context);
        let request = Request { action: &need.action, resource: &need.resource, context: &context };
        authorize(&view.scope, &view.iam, &caller.principal, request)
            .map_err(|denied| ApiError::new(Code::AccessDenied, denied))?;
    }
    Ok(())
}

/// Credentials that were made for a task end with it.
///
/// # Errors
/// `ExpiredTokenException`
pub(super) fn still_running(view: &View, caller: &Caller) -> Result<(), ApiError> {
    let Principal::Session(session) = &caller.principal else { return Ok(()) };
    let Some((task, _)) = &session.task else { return Ok(()) };
    let held = loadline_model::TaskArn::parse(task).ok().and_then(|arn| view.task(&arn));
    if held.is_some_and(|task| task.held) {
        return Ok(());
    }
    let message = "The security token included in the request is expired: its task has stopped";
    Err(ApiError::new(Code::ExpiredToken, message))
}

/// What holds for every need of a request.
fn about_request(context: &mut Context, scope: &Scope, peer: SocketAddr) {
    let now = OffsetDateTime::now_utc();
    context.put("aws:SourceIp", peer.ip().to_canonical().to_string());
    context.put("aws:SecureTransport", "false");
    context.put("aws:RequestedRegion", &scope.region);
    context.put("aws:CurrentTime", now.format(&Rfc3339).unwrap_or_default());
    context.put("aws:EpochTime", now.unix_timestamp().to_string());
}
