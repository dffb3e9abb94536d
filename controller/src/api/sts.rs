//! Security Token Service, in AWS's query protocol: who am I, and temporary credentials of a role.

use std::time::{SystemTime, UNIX_EPOCH};

use super::auth::Caller;
use super::iam::values::{FormInt, IsoTime};
use super::wire::{Path, Wire as _, shape, to_json, unknown_operation};
use super::{Api, ApiError, Code};
use crate::iam::{
    Credentials as Minted, PolicyKind, PolicyText, Principal, Session, SessionOf, may_assume, mint,
};

/// The API's version.
pub(super) const VERSION: &str = "2011-06-15";
/// Of its answers.
pub(super) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Shortest session and the default, in seconds (AWS's).
const SESSION_S_MIN: i64 = 900;
const SESSION_S_DEFAULT: i64 = 3600;
/// Longest session by role chaining, in seconds (AWS's).
const CHAINED_S_MAX: i64 = 3600;
/// Longest and usual life of credentials in the place of a key, and longest of the account's own,
/// in seconds (AWS's).
const TOKEN_S_MAX: i64 = 129_600;
const TOKEN_S_DEFAULT: i64 = 43_200;
const ROOT_TOKEN_S_MAX: i64 = 3600;
/// Largest session policy, in characters (AWS's).
const POLICY_CHARS_MAX: usize = 2048;

shape! {
    /// GetCallerIdentity's input.
    GetCallerIdentityRequest = "GetCallerIdentityRequest" {}
}

shape! {
    /// GetCallerIdentity's output.
    GetCallerIdentityResponse = "GetCallerIdentityResponse" {
        user_id: "UserId" => String,
        account: "Account" => String,
        arn: "Arn" => String,
    }
}

shape! {
    /// AssumeRole's input.
    AssumeRoleRequest = "AssumeRoleRequest" {
        role_arn: "RoleArn" => String,
        role_session_name: "RoleSessionName" => String,
        /// Narrows what the session may.
        policy: "Policy" => Option<String>,
        duration_seconds: "DurationSeconds" => Option<FormInt>,
        /// What a trust policy may ask for.
        external_id: "ExternalId" => Option<String>,
    }
    unsupported [
        "PolicyArns", "Tags", "TransitiveTagKeys", "SerialNumber", "TokenCode", "SourceIdentity",
        "ProvidedContexts",
    ]
}

shape! {
    /// AssumeRole's output.
    AssumeRoleResponse = "AssumeRoleResponse" {
        credentials: "Credentials" => Credentials,
        assumed_role_user: "AssumedRoleUser" => AssumedRoleUser,
    }
}

shape! {
    /// Temporary credentials.
    Credentials = "Credentials" {
        access_key_id: "AccessKeyId" => String,
        secret_access_key: "SecretAccessKey" => String,
        session_token: "SessionToken" => String,
        expiration: "Expiration" => IsoTime,
    }
}

shape! {
    /// Who the credentials make their holder.
    AssumedRoleUser = "AssumedRoleUser" {
        assumed_role_id: "AssumedRoleId" => String,
        arn: "Arn" => String,
    }
}

shape! {
    /// GetSessionToken's input.
    GetSessionTokenRequest = "GetSessionTokenRequest" {
        duration_seconds: "DurationSeconds" => Option<FormInt>,
    }
    unsupported ["SerialNumber", "TokenCode"]
}

shape! {
    /// GetSessionToken's output.
    GetSessionTokenResponse = "GetSessionTokenResponse" {
        credentials: "Credentials" => Credentials,
    }
}

/// Runs one operation. All need nothing but to be signed: who may assume a role is judged here.
pub(super) fn run(
    api: &Api,
    caller: &Caller,
    operation: &str,
    body: serde_json::Value,
) -> Result<Vec<u8>, ApiError> {
    match operation {
        "GetCallerIdentity" => {
            GetCallerIdentityRequest::decode(body, Path::Root)?;
            to_json(&identity(api, caller))
        }
        "AssumeRole" => {
            let request = AssumeRoleRequest::decode(body, Path::Root)?;
            to_json(&assume(api, caller, request)?)
        }
        "GetSessionToken" => {
            let request = GetSessionTokenRequest::decode(body, Path::Root)?;
            to_json(&token(api, caller, request)?)
        }
        other => Err(unknown_operation(other)),
    }
}

/// Each operation with its shapes, as the other services' tables have them.
#[cfg(test)]
pub(super) fn shapes() -> Vec<super::wire::OperationShapes> {
    use super::wire::OperationShapes;
    let mut who = OperationShapes { name: "GetCallerIdentity", request: vec![], answer: vec![] };
    GetCallerIdentityRequest::describe(&mut who.request);
    GetCallerIdentityResponse::describe(&mut who.answer);
    let mut assume = OperationShapes { name: "AssumeRole", request: vec![], answer: vec![] };
    AssumeRoleRequest::describe(&mut assume.request);
    AssumeRoleResponse::describe(&mut assume.answer);
    let mut token = OperationShapes { name: "GetSessionToken", request: vec![], answer: vec![] };
    GetSessionTokenRequest::describe(&mut token.request);
    GetSessionTokenResponse::describe(&mut token.answer);
    vec![who, assume, token]
}

fn identity(api: &Api, caller: &Caller) -> GetCallerIdentityResponse {
    let scope = &api.engine.snapshot().scope;
    GetCallerIdentityResponse {
        user_id: caller.principal.user_id(scope),
        account: scope.account.clone(),
        arn: caller.principal.arn(scope),
    }
}

fn assume(
    api: &Api,
    caller: &Caller,
    request: AssumeRoleRequest,
) -> Result<AssumeRoleResponse, ApiError> {
    let view = api.engine.snapshot();
    session_name(&request.role_session_name)?;
    let policy = request.policy.as_deref().map(session_policy).transpose()?;
    let denied = |who: &str| {
        let message = format!(
            "User: {who} is not authorized to perform: sts:AssumeRole on resource: {}",
            request.role_arn
        );
        ApiError::new(Code::AccessDenied, message)
    };
    let own = caller.principal.arn(&view.scope);
    // AWS does not tell whether a role exists to whom it does not let in.
    let role = view.iam.role_by_arn(&view.scope, &request.role_arn).ok_or_else(|| denied(&own))?;
    let mut context = caller.principal.context(&view.scope, &view.iam);
    context.put("sts:RoleSessionName", request.role_session_name.clone());
    if let Some(id) = &request.external_id {
        context.put("sts:ExternalId", id.clone());
    }
    may_assume(&view.scope, &view.iam, &caller.principal, role, &context)
        .map_err(|_| denied(&own))?;
    let seconds = duration(request.duration_seconds, role.session_s_max.into(), caller)?;
    let mut session = Session::of(role, &request.role_session_name, now_s() + seconds);
    session.policy = policy;
    let principal = Principal::Session(Box::new(session.clone()));
    Ok(AssumeRoleResponse {
        assumed_role_user: AssumedRoleUser {
            assumed_role_id: principal.user_id(&view.scope),
            arn: principal.arn(&view.scope),
        },
        credentials: show(mint(&api.keyring, session)),
    })
}

/// Credentials with the rights of a key, for a while: not for IAM, and not to make others.
fn token(
    api: &Api,
    caller: &Caller,
    request: GetSessionTokenRequest,
) -> Result<GetSessionTokenResponse, ApiError> {
    let key = caller.key_id.as_str();
    let (of, whose, most) = match &caller.principal {
        _ if caller.temporary => (SessionOf::User, None, 0),
        Principal::Session(_) => (SessionOf::Role, None, 0),
        Principal::Root => (SessionOf::Root, Some(("", "")), ROOT_TOKEN_S_MAX),
        Principal::User { name, id, .. } => {
            (SessionOf::User, Some((name.as_str(), id.as_str())), TOKEN_S_MAX)
        }
    };
    let whose = whose.ok_or_else(|| {
        let message = "Cannot call GetSessionToken with session credentials";
        ApiError::new(Code::AccessDenied, message)
    })?;
    let FormInt(seconds) = request.duration_seconds.unwrap_or(FormInt(TOKEN_S_DEFAULT.min(most)));
    if !(SESSION_S_MIN..=TOKEN_S_MAX).contains(&seconds) {
        return Err(ApiError::invalid(format_args!(
            "durationSeconds must be between {SESSION_S_MIN} and {TOKEN_S_MAX}"
        )));
    }
    let session = Session::for_key(of, whose, key, now_s() + seconds.min(most));
    Ok(GetSessionTokenResponse { credentials: show(mint(&api.keyring, session)) })
}

fn show(minted: Minted) -> Credentials {
    Credentials {
        access_key_id: minted.access_key_id,
        secret_access_key: minted.secret_access_key,
        session_token: minted.session_token,
        expiration: IsoTime::from_s(minted.expires_at_s),
    }
}

fn session_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_=,.@-".contains(c);
    if !(2..=64).contains(&name.len()) || !name.chars().all(allowed) {
        return Err(ApiError::invalid(
            "roleSessionName must have 2 to 64 characters: letters, digits and _=,.@-",
        ));
    }
    Ok(())
}

fn session_policy(text: &str) -> Result<PolicyText, ApiError> {
    if POLICY_CHARS_MAX < text.chars().count() {
        let message = format!("Policy must have at most {POLICY_CHARS_MAX} characters");
        return Err(ApiError::new(Code::of("PackedPolicyTooLarge", 400), message));
    }
    PolicyText::parse(text, PolicyKind::Identity)
        .map_err(|bad| ApiError::new(Code::of("MalformedPolicyDocument", 400), bad))
}

fn duration(asked: Option<FormInt>, max: i64, caller: &Caller) -> Result<i64, ApiError> {
    let FormInt(seconds) = asked.unwrap_or(FormInt(SESSION_S_DEFAULT));
    let chained = matches!(caller.principal, Principal::Session(_));
    if chained && CHAINED_S_MAX < seconds {
        return Err(ApiError::invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining",
        ));
    }
    if seconds < SESSION_S_MIN || max < seconds {
        return Err(ApiError::invalid(format_args!(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role. \
             ({SESSION_S_MIN} to {max})"
        )));
    }
    Ok(seconds)
}

fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
