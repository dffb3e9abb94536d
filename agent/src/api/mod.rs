//! The agent's local API: HTTP/1.1 on a Unix socket, for root and the agent's own user.
//!
//! ```text
//!  POST   /v1/images/import   {"path": "/abs/file-or-dir", "name": "ref"?} ─▶ NDJSON: progress
//!  GET    /v1/images          {"images": […]}
//!  DELETE /v1/images?reference=REF
//!  GET    /v1/status          who the node is, its line, and its tasks
//!  GET    /metrics            what containers use, for Prometheus
//! ```
//!
//! Invariants: the socket's mode is 0600 and each connection's user is checked besides. Every body
//! and every answer is bounded.

mod images;
mod listener;
mod status;

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{Response, StatusCode, header};

pub use listener::LocalListener;
use tokio::sync::watch;

use crate::board::Board;
use crate::image::ImageStore;
use crate::node;
use crate::task::workshop::Workshop;
use crate::usage::Meter;

/// File name of the socket in the agent's folder.
pub const SOCKET: &str = "agent.sock";

/// What the API speaks about.
#[derive(Clone, Debug)]
pub struct Context {
    /// The images.
    pub images: Arc<ImageStore>,
    /// Who knows what containers are mounted from.
    pub workshop: Arc<Workshop>,
    /// The node.
    pub node: node::Handle,
    /// The tasks' reports.
    pub board: Arc<Board>,
    /// Who measures what they use.
    pub meter: Arc<Meter>,
    /// Who the node is.
    pub container_instance_arn: watch::Receiver<String>,
    /// The controller's address.
    pub controller: String,
}

/// Serves the API on `state_dir/agent.sock` until the agent ends.
///
/// # Errors
/// Where the socket can't be made.
pub async fn serve(state_dir: &Path, context: Context) -> io::Result<()> {
    let listener = LocalListener::bind(&state_dir.join(SOCKET))?;
    axum::serve(listener, router(context)).await
}

fn router(context: Context) -> Router {
    Router::new()
        .route("/v1/images", get(images::list).delete(images::remove))
        .route("/v1/images/import", post(images::import))
        .route("/v1/status", get(status::status))
        .route("/metrics", get(status::metrics))
        .with_state(context)
}

/// An answer of one JSON value.
fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(format!("{value}\n")))
        .expect("a status and a constant header make a response")
}

fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "error": why }))
}
