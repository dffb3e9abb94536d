//! StartExec: as ExecuteCommand, for programs without a terminal too, and with its words apart.

use super::super::ecs::{Session, Wish, cluster_name, container_of, find_task, session};
use crate::api::wire::shape;
use crate::api::{Api, ApiError};

shape! {
    /// StartExec's input.
    StartExecRequest = "" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Id or ARN.
        task: "task" => String,
        /// May be absent where the task has one container.
        container_name: "containerName" => Option<String>,
        /// Program and arguments.
        command: "command" => Vec<String>,
        /// Whether its standard input is open.
        interactive: "interactive" => Option<bool>,
        /// Whether it gets a terminal.
        terminal: "terminal" => Option<bool>,
    }
}

shape! {
    /// How to get to a program: what ECS's Session says, under no name of AWS's.
    ExecSession = "" {
        /// Names it.
        session_id: "sessionId" => String,
        /// A WebSocket.
        stream_url: "streamUrl" => String,
        /// Opens it, once, within two minutes.
        token_value: "tokenValue" => String,
    }
}

shape! {
    /// StartExec's output.
    StartExecResponse = "" {
        /// How to get to it.
        session: "session" => ExecSession,
        /// Which container.
        container_name: "containerName" => String,
    }
}

pub(super) async fn start(
    api: &Api,
    request: StartExecRequest,
) -> Result<StartExecResponse, ApiError> {
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    let task = find_task(&view, &cluster, &request.task)?;
    let container = container_of(task, "containerName", request.container_name.as_deref())?;
    let wish = Wish {
        command: request.command,
        terminal: request.terminal.unwrap_or(false),
        interactive: request.interactive.unwrap_or(false),
    };
    let Session { session_id, stream_url, token_value } =
        session(api, &view, task, &container, wish)?;
    let session = ExecSession { session_id, stream_url, token_value };
    Ok(StartExecResponse { session, container_name: container.to_string() })
}
