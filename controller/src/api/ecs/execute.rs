//! ExecuteCommand: a program in a running container, and a session with it.

use std::sync::Arc;

use loadline_model::{ContainerName, ContainerStatus, TaskStatus};
use loadline_proto::convert::{
    EXEC_COMMAND_BYTES_MAX, EXEC_WORDS_MAX, ExecId, OpenExec, WindowSize,
};

use super::reference::{cluster_name, find_task};
use crate::api::exec::{PATH, session_id};
use crate::api::wire::shape;
use crate::api::{Api, ApiError, Code};
use crate::nodes::ExecError;
use crate::state::{Task, View};

/// What a terminal has until its client says what it has.
const SIZE: WindowSize = WindowSize { rows: 24, columns: 80 };

shape! {
    /// ExecuteCommand's input.
    ExecuteCommandRequest = "ExecuteCommandRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Id or ARN.
        task: "task" => String,
        /// May be absent where the task has one container.
        container: "container" => Option<String>,
        /// Program and arguments, in a shell's quotes.
        command: "command" => String,
        /// true.
        interactive: "interactive" => bool,
    }
}

shape! {
    /// ExecuteCommand's output.
    ExecuteCommandResponse = "ExecuteCommandResponse" {
        /// ARN.
        cluster_arn: "clusterArn" => String,
        /// ARN.
        container_arn: "containerArn" => Option<String>,
        /// Which container.
        container_name: "containerName" => String,
        /// true.
        interactive: "interactive" => bool,
        /// How to get to it.
        session: "session" => Session,
        /// ARN.
        task_arn: "taskArn" => String,
    }
}

shape! {
    /// How to get to a program.
    Session = "Session" {
        /// Names it.
        session_id: "sessionId" => String,
        /// A WebSocket.
        stream_url: "streamUrl" => String,
        /// Opens it, once, within two minutes.
        token_value: "tokenValue" => String,
    }
}

pub(super) async fn execute(
    api: &Api,
    request: ExecuteCommandRequest,
) -> Result<ExecuteCommandResponse, ApiError> {
    if !request.interactive {
        return Err(ApiError::invalid("Interactive is the only mode supported currently."));
    }
    let words = shlex::split(&request.command).filter(|words| !words.is_empty());
    let command = words.ok_or_else(|| {
        ApiError::invalid("command: not a program with arguments in a shell's quotes")
    })?;
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    let task = find_task(&view, &cluster, &request.task)?;
    let container = container_of(task, "container", request.container.as_deref())?;
    let wish = Wish { command, terminal: true, interactive: true };
    let session = session(api, &view, task, &container, wish)?;
    let own = task.containers.iter().find(|have| have.name == container);
    Ok(ExecuteCommandResponse {
        cluster_arn: view.scope.cluster_arn(&cluster),
        container_arn: own.map(|own| view.scope.container_arn(&task.arn, &own.id)),
        container_name: container.to_string(),
        interactive: true,
        session,
        task_arn: task.arn.to_string(),
    })
}

/// What shall run.
#[derive(Clone, Debug)]
pub(in crate::api) struct Wish {
    /// Program and arguments.
    pub(in crate::api) command: Vec<String>,
    /// Whether it gets a terminal.
    pub(in crate::api) terminal: bool,
    /// Whether its standard input is open.
    pub(in crate::api) interactive: bool,
}

/// Makes a session, where the task allows it.
pub(in crate::api) fn session(
    api: &Api,
    view: &View,
    task: &Arc<Task>,
    container: &ContainerName,
    wish: Wish,
) -> Result<Session, ApiError> {
    let bytes: usize = wish.command.iter().map(String::len).sum();
    if EXEC_WORDS_MAX < wish.command.len() || EXEC_COMMAND_BYTES_MAX < bytes {
        return Err(ApiError::invalid(format_args!(
            "command must have at most {EXEC_WORDS_MAX} words and {EXEC_COMMAND_BYTES_MAX} bytes"
        )));
    }
    if wish.command.first().is_none_or(String::is_empty) {
        return Err(ApiError::invalid("command must name a program"));
    }
    reachable(view, task, container)?;
    let exec = ExecId::new(rand::random());
    let token = hex::encode(rand::random::<[u8; 32]>());
    let session_id = session_id(&exec);
    let open = OpenExec {
        exec,
        task: task.arn.clone(),
        container: container.clone(),
        command: wish.command,
        terminal: wish.terminal.then_some(SIZE),
        interactive: wish.interactive,
    };
    let made = api.relay.execs().create(&task.node, open, api.caller.clone(), &token);
    made.map_err(|error| match error {
        ExecError::TaskFull | ExecError::Full => ApiError::client(error),
        ExecError::Unknown => ApiError::new(Code::Server, error),
    })?;
    let authority = api.authority.as_deref().unwrap_or("127.0.0.1");
    let stream_url = format!("ws://{authority}{PATH}{session_id}?role=publish_subscribe");
    Ok(Session { session_id, stream_url, token_value: token })
}

fn reachable(view: &View, task: &Task, container: &ContainerName) -> Result<(), ApiError> {
    if !task.execute_command {
        return Err(ApiError::invalid(
            "The execute command failed because execute command was not enabled when the task was \
             run or the execute command agent isn\u{2019}t running. Wait and try again or run a \
             new task with execute command enabled and try again.",
        ));
    }
    let id = task.arn.id();
    if TaskStatus::Deactivating.rank() <= task.last_status.rank() {
        let status = task.last_status.as_str();
        return Err(ApiError::invalid(format_args!(
            "The execute command failed because task {id} is {status}"
        )));
    }
    let not_connected = |why: String| {
        let text = format!("The execute command failed because {why}. Try again later.");
        ApiError::new(Code::of("TargetNotConnectedException", 400), text)
    };
    let node = view.node(&task.node);
    if node.is_none_or(|entry| entry.connection.is_none()) {
        return Err(not_connected(format!("the agent of {} is not connected", task.node)));
    }
    let own = task.containers.iter().find(|have| have.name == *container);
    let status = own.map_or(ContainerStatus::Stopped, |own| own.last_status);
    if status != ContainerStatus::Running {
        return Err(not_connected(format!("container {container} is {}", status.as_str())));
    }
    Ok(())
}

/// The container that a caller means, which may be left out where there is one.
pub(in crate::api) fn container_of(
    task: &Task,
    field: &str,
    name: Option<&str>,
) -> Result<ContainerName, ApiError> {
    let names = || {
        let names: Vec<&str> = task.containers.iter().map(|c| c.name.as_str()).collect();
        names.join(", ")
    };
    match (name.filter(|name| !name.is_empty()), task.containers.as_slice()) {
        (Some(name), all) => all
            .iter()
            .map(|container| &container.name)
            .find(|have| have.as_str() == name)
            .cloned()
            .ok_or_else(|| {
                ApiError::invalid(format_args!(
                    "{field}: the task has no container {name:?}, it has: {}",
                    names()
                ))
            }),
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => {
            Err(ApiError::invalid(format_args!("{field} is required: the task has {}", names())))
        }
    }
}
