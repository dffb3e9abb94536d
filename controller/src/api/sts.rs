//! Security Token Service, in AWS's query protocol: who am I. Tools ask it before anything else.

use super::auth::Caller;
use super::reply::escape;
use super::{Api, ApiError, Code};

const VERSION: &str = "2011-06-15";

/// Runs the operation of a form; `request_id` goes into the answer.
pub(super) fn run(
    api: &Api,
    caller: &Caller,
    form: &[(String, String)],
    request_id: &str,
) -> Result<Vec<u8>, ApiError> {
    let value = |name: &str| {
        form.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value.as_str())
    };
    if value("Version") != VERSION {
        let message = format!("Version must be {VERSION}, not {:?}", value("Version"));
        return Err(ApiError::new(Code::UnknownOperation, message));
    }
    match value("Action") {
        "GetCallerIdentity" => {
            let known = ["Action", "Version"];
            match form.iter().find(|(name, _)| !known.contains(&name.as_str())) {
                Some((name, _)) => Err(ApiError::invalid(format_args!(
                    "{name:?} is not a parameter of this action"
                ))),
                None => Ok(identity(api, caller, request_id).into_bytes()),
            }
        }
        other => {
            let shown: String = other.chars().take(64).collect();
            let message = format!("the action {shown:?} is not supported");
            Err(ApiError::new(Code::UnknownOperation, message))
        }
    }
}

/// Every access key is the account's own: there are no users and roles yet.
fn identity(api: &Api, caller: &Caller, request_id: &str) -> String {
    tracing::trace!(key_id = caller.key_id, "identity asked for");
    let view = api.engine.snapshot();
    let account = escape(&view.scope.account);
    let partition = escape(&view.scope.partition);
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/{VERSION}/\">\
         <GetCallerIdentityResult><Arn>arn:{partition}:iam::{account}:root</Arn>\
         <UserId>{account}</UserId><Account>{account}</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>"
    )
}
