//! Answers what a task asks about itself by its node: its tags, and its protection, with the rights
//! of its role.

use std::collections::BTreeMap;

use loadline_model::{InstanceArn, KeyValue, LogConfiguration};
use loadline_proto::convert::{TaskAnswer, TaskAsk, TaskQuestion, TaskTold};

use super::awslogs::stream_name;
use super::private::session;
use crate::apply::can_be_protected;
use crate::command::{
    PROTECTION_MINUTES_DEFAULT, PROTECTION_MINUTES_MAX, ProtectTasks, Protection,
};
use crate::engine::Engine;
use crate::iam::{Context, Principal, Request, TaskRole, authorize};
use crate::state::{Task, TaskContainer, View};

/// How long the session lasts that a question is answered with, in seconds.
const SESSION_S: i64 = 60;

/// The answer to one question of `node`.
pub(super) async fn answer(
    engine: &Engine,
    node: &InstanceArn,
    question: TaskQuestion,
    now_s: i64,
) -> TaskAnswer {
    let told = told(engine, node, &question, now_s).await;
    TaskAnswer { request_id: question.request_id, told: told.unwrap_or_else(|refused| refused) }
}

fn refused(code: &str, message: impl ToString) -> TaskTold {
    TaskTold::Refused { code: code.to_owned(), message: message.to_string() }
}

async fn told(
    engine: &Engine,
    node: &InstanceArn,
    question: &TaskQuestion,
    now_s: i64,
) -> Result<TaskTold, TaskTold> {
    let view = engine.snapshot();
    let task = view.task(&question.task).filter(|task| task.held && task.node == *node);
    let Some(task) = task else {
        return Err(refused("ResourceNotFoundException", "this node has no such task"));
    };
    match question.ask {
        TaskAsk::About => Ok(about(&view, task)),
        TaskAsk::Protection => {
            allowed(&view, task, "ecs:GetTaskProtection", now_s)?;
            protection(task)
        }
        TaskAsk::Protect { enabled, expires_in_minutes } => {
            allowed(&view, task, "ecs:UpdateTaskProtection", now_s)?;
            protection(task)?;
            let command = ProtectTasks {
                cluster: task.cluster.clone(),
                tasks: vec![task.arn.clone()],
                protection: wanted(enabled, expires_in_minutes)?,
            };
            let done = engine.call(command).await;
            done.map_err(|error| refused("ServerException", error))?;
            let view = engine.snapshot();
            let gone = || refused("ResourceNotFoundException", "the task has gone");
            protection(view.task(&question.task).ok_or_else(gone)?)
        }
    }
}

fn wanted(enabled: bool, minutes: Option<i32>) -> Result<Protection, TaskTold> {
    if !enabled {
        return Ok(Protection::Off);
    }
    let minutes = minutes.map_or(Ok(PROTECTION_MINUTES_DEFAULT), u32::try_from);
    let minutes = minutes.ok().filter(|n| (1..=PROTECTION_MINUTES_MAX).contains(n));
    let minutes = minutes.ok_or_else(|| {
        let text = format!("expiresInMinutes must be between 1 and {PROTECTION_MINUTES_MAX}");
        refused("InvalidParameterException", text)
    })?;
    Ok(Protection::ForMinutes(minutes))
}

fn about(view: &View, task: &Task) -> TaskTold {
    let node = view.node(&task.node);
    let arn = |container: &TaskContainer| KeyValue {
        name: container.name.to_string(),
        value: view.scope.container_arn(&task.arn, &container.id),
    };
    TaskTold::About {
        tags: task.tags.clone(),
        instance_tags: node.map(|entry| entry.record.tags.clone()).unwrap_or_default(),
        service: task.service.as_ref().map(ToString::to_string),
        container_arns: task.containers.iter().map(arn).collect(),
        logs: logs(view, task),
    }
}

/// As ECS tells of awslogs: the stream in place of what its name begins with.
fn logs(view: &View, task: &Task) -> BTreeMap<String, LogConfiguration> {
    let Some(definition) = view.definitions.get(&task.definition) else { return BTreeMap::new() };
    let all = definition.body.logs.iter().map(|(container, logs)| {
        let mut options = logs.options.clone();
        options.remove("awslogs-stream-prefix");
        options.insert("awslogs-stream".to_owned(), stream_name(task, container, logs));
        (container.to_string(), LogConfiguration { driver: "awslogs".to_owned(), options })
    });
    all.collect()
}

/// What ECS says of a task that is of no service.
fn protection(task: &Task) -> Result<TaskTold, TaskTold> {
    if !can_be_protected(task) {
        let text = "only a running task of a service can be protected";
        return Err(refused("TASK_NOT_VALID", text));
    }
    let expires_at_ms = task.protected_until_ms;
    Ok(TaskTold::Protection { enabled: expires_at_ms.is_some(), expires_at_ms })
}

/// The task's role must have the right, as with ECS's agent.
fn allowed(view: &View, task: &Task, action: &str, now_s: i64) -> Result<(), TaskTold> {
    let denied = |why: &dyn ToString| refused("AccessDeniedException", why.to_string());
    let definition = view.definitions.get(&task.definition);
    let role = definition.and_then(|definition| definition.roles(task.overrides.as_deref()).task);
    let Some(role) = role else {
        return Err(denied(&format!("the task has no role that may {action}")));
    };
    let session = session(view, task, &role, TaskRole::Task, now_s + SESSION_S);
    let Some(session) = session else { return Err(denied(&"the task's role is not there")) };
    let principal = Principal::Session(session.into());
    let mut context = Context::default();
    context.put("ecs:cluster", view.scope.cluster_arn(&task.cluster));
    let request = Request { action, resource: task.arn.as_str(), context: &context };
    authorize(&view.scope, &view.iam, &principal, request).map_err(|denial| denied(&denial))
}
