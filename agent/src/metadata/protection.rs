//! A task that protects itself from scale-in and deployments:
//! `$ECS_AGENT_URI/task-protection/v1/state`, in the ECS agent's form.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use loadline_proto::convert::{TaskAsk, TaskTold};
use serde::Deserialize;
use serde_json::json;

use super::Questions;
use super::document::rfc3339;
use super::server::{json_of, refuse, with_status};
use crate::task::Task;

/// Largest body.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// ECS's word for a task that can't be protected.
const NOT_VALID: &str = "TASK_NOT_VALID";

/// What PUT says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Wanted {
    protection_enabled: bool,
    #[serde(default)]
    expires_in_minutes: Option<i32>,
}

/// Answers GET and PUT.
pub(super) async fn answer(
    questions: &Arc<Questions>,
    task: &Task,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let ask = if *request.method() == Method::PUT {
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
        let Ok(body) = body else {
            return refuse(StatusCode::BAD_REQUEST, "the body is broken, or too long");
        };
        match serde_json::from_slice::<Wanted>(&body.to_bytes()) {
            Ok(Wanted { protection_enabled: enabled, expires_in_minutes }) => {
                TaskAsk::Protect { enabled, expires_in_minutes }
            }
            Err(error) => {
                return error_of(task, "InvalidParameterException", &error.to_string());
            }
        }
    } else {
        TaskAsk::Protection
    };
    match questions.ask(&task.spec.arn, ask).await {
        Ok(told) => show(task, &told),
        Err(why) => {
            let (arn, why) = (task.spec.arn.as_str(), why.to_string());
            let value =
                json!({ "error": { "Arn": arn, "Code": "ServerException", "Message": why } });
            with_status(StatusCode::SERVICE_UNAVAILABLE, &value)
        }
    }
}

fn show(task: &Task, told: &TaskTold) -> Response<Full<Bytes>> {
    let arn = task.spec.arn.as_str();
    match told {
        TaskTold::Protection { enabled, expires_at_ms } => {
            let mut protection = json!({ "ProtectionEnabled": enabled, "TaskArn": arn });
            if let Some(at) = expires_at_ms.and_then(rfc3339) {
                protection["ExpirationDate"] = at.into();
            }
            json_of(&json!({ "protection": protection }))
        }
        TaskTold::Refused { code, message } if code == NOT_VALID => json_of(&json!({
            "failure": { "Arn": arn, "Reason": code, "Detail": message }
        })),
        TaskTold::Refused { code, message } => error_of(task, code, message),
        TaskTold::About { .. } => {
            error_of(task, "ServerException", "the controller answered another question")
        }
    }
}

fn error_of(task: &Task, code: &str, message: &str) -> Response<Full<Bytes>> {
    let status = match code {
        "AccessDeniedException" | "InvalidParameterException" => StatusCode::BAD_REQUEST,
        "ResourceNotFoundException" => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let arn = task.spec.arn.as_str();
    with_status(status, &json!({ "error": { "Arn": arn, "Code": code, "Message": message } }))
}
