//! `GET /v1/status`.

use axum::body::Body;
use axum::extract::State;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Context;
use crate::usage::page::page;

/// Who the node is, what is reserved, and where each task stands.
pub(super) async fn status(State(context): State<Context>) -> Response<Body> {
    let Some(status) = context.node.status().await else {
        return super::refuse(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending");
    };
    let tasks: Vec<Value> = context.board.all().iter().map(task).collect();
    let amount = |of: loadline_model::Resources| {
        let (cpu_units, memory_mib) = (of.cpu_units, of.memory_mib);
        json!({ "cpu_units": cpu_units, "memory_mib": memory_mib })
    };
    let answer = json!({
        "container_instance_arn": *context.container_instance_arn.borrow(),
        "controller": context.controller,
        "agent_version": env!("CARGO_PKG_VERSION"),
        "registered": amount(status.registered),
        "reserved": amount(status.reserved),
        "generation": status.generation,
        "tasks_live": status.live,
        "tasks_kept": status.kept,
        "tasks_waiting": status.waiting,
        "tasks": tasks,
    });
    super::json(StatusCode::OK, &answer)
}

/// The newest measurement.
pub(super) async fn metrics(State(context): State<Context>) -> String {
    page(&context.meter.newest().borrow().tasks)
}

fn task(report: &loadline_model::TaskReport) -> Value {
    let containers: Vec<Value> = report
        .containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name.as_str(),
                "status": container.status.as_str(),
                "exit_code": container.exit_code,
                "reason": container.reason,
            })
        })
        .collect();
    json!({
        "arn": report.task.as_str(),
        "status": report.status.as_str(),
        "version": report.version,
        "stopped_reason": report.stopped_reason,
        "containers": containers,
    })
}
