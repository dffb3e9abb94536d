//! What the host's own people and programs can ask, on loopback: no secrets, and no ids that lead
//! to any.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::document;
use super::server::{Server, json_of, page_of, refuse};
use crate::usage::page::page;

/// The port (ECS).
pub(super) const PORT: u16 = 51_678;

pub(super) fn answer(server: &Server, path: &str) -> Response<Full<Bytes>> {
    match path.trim_end_matches('/') {
        "/v1/metadata" => json_of(&metadata(server)),
        "/v1/tasks" => {
            let tasks = server.directory.all();
            let tasks: Vec<Value> = tasks.iter().map(|task| document::introspected(task)).collect();
            json_of(&json!({ "Tasks": tasks }))
        }
        "/metrics" => page_of(page(&server.meter.newest().borrow().tasks)),
        _ => refuse(StatusCode::NOT_FOUND, "/v1/metadata, /v1/tasks and /metrics are here"),
    }
}

fn metadata(server: &Server) -> Value {
    let arn = server.container_instance_arn.borrow().clone();
    let cluster = arn.split('/').rev().nth(1).unwrap_or_default().to_owned();
    let version = format!("Loadline Agent - v{}", env!("CARGO_PKG_VERSION"));
    json!({ "Cluster": cluster, "ContainerInstanceArn": arn, "Version": version })
}
