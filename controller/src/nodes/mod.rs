//! The agent port: gRPC over TLS 1.3, where nodes enrol, register and keep their sessions.
//!
//! ```text
//!   listen (TLS, bounds) ─▶ caller (whose certificate?) ─┬▶ enrolment: token in, certificate out
//!                                                        └▶ node: renew, register, session
//!   session ◀─ engine.watch_node (desired state)   session ─▶ engine (reports, signs of life)
//!   session ◀─▶ relay (logs, asked for by the API)
//!   node: exec ◀─▶ execs (programs in containers, run by the API)
//! ```
//!
//! Invariants: nothing here decides about the cluster's state, the engine does; a node is who its
//! certificate says and speaks for nobody else; every queue between a node and us is bounded, and a
//! node that does not read loses its session, not our memory.

mod about;
mod awslogs;
mod caller;
mod enrolment;
mod environment;
mod execs;
mod listen;
mod node;
pub mod pki;
mod private;
mod relay;
mod session;
mod status;
mod token;

use std::sync::Arc;
use std::time::Duration;

use loadline_proto::v1::enrolment_server::EnrolmentServer;
use loadline_proto::v1::node_server::NodeServer;
use loadline_proto::{FILE_DESCRIPTOR_SET, MESSAGE_BYTES_MAX};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

pub use awslogs::Shipper;
pub use execs::{AgentEnd, Claimed, ExecCaller, ExecError, Execs};
pub use relay::{
    EVENTS_MAX, LogLine, LogPage, LogQuery, LogStream, LogsError, LogsRelay, WAIT_MS_MAX,
};
pub use session::Timing;
pub use token::{JoinTokenText, NotAJoinToken};

use self::caller::CallerCheck;
use self::enrolment::Enrolment;
use self::node::Node;
use self::pki::{Authority, ServerIdentity};
use crate::engine::Engine;
use crate::keyring::Keyring;
use crate::logs::LogStore;
use crate::objects::ObjectStore;
use crate::seeing::UsageBoard;
use crate::state::Scope;

/// Largest `EnrolRequest`, in bytes: a token and a certificate request.
const ENROL_BYTES_MAX: usize = 16 * 1024;
/// Most calls that one connection may have open: an agent has a session and one more.
const CALLS_PER_CONNECTION_MAX: u32 = 16;
/// How often an idle connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long open calls may go on after the port was told to close.
const CLOSE_MS_MAX: u64 = 3_000;

/// What the agent port needs.
#[derive(Clone, Debug)]
pub struct AgentPort {
    /// Decides and remembers.
    pub engine: Engine,
    /// Signs certificates.
    pub authority: Arc<Authority>,
    /// Which ARNs are ours.
    pub scope: Scope,
    /// Where the API asks for logs.
    pub relay: LogsRelay,
    /// Where nodes tell what containers use.
    pub usage: UsageBoard,
    /// Where containers' output goes.
    pub logs: LogStore,
    /// Makes credentials of tasks and opens their secrets.
    pub keyring: Arc<Keyring>,
    /// Where environment files lie; `None` where the operator named no store.
    pub objects: Option<ObjectStore>,
    /// Heartbeats and lease.
    pub timing: Timing,
}

/// The port can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No certificate for it.
    #[error("can't set up TLS for the agent port")]
    Tls(#[source] listen::TlsError),
    /// The reflection service could not be made.
    #[error("can't describe the agent protocol for reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The server ended.
    #[error("the agent port failed")]
    Transport(#[source] tonic::transport::Error),
}

/// Serves the agent port until `closing` turns true; open sessions are told so.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    listener: TcpListener,
    port: AgentPort,
    closing: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let identity = ServerIdentity::new(Arc::clone(&port.authority), std::time::SystemTime::now())
        .map_err(|e| ServeError::Tls(e.into()))?;
    let tls = listen::tls_config(identity, &port.authority).map_err(ServeError::Tls)?;
    let connections = listen::accept(listener, tls, closing.clone());
    let check = CallerCheck::new(port.engine.clone(), port.scope.clone());
    let enrolment =
        EnrolmentServer::new(Enrolment::new(&port)).max_decoding_message_size(ENROL_BYTES_MAX);
    let node = NodeServer::new(Node::new(port, closing.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    // Both versions: common clients still speak the older one alone.
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    let reflection = describe().build_v1().map_err(ServeError::Reflection)?;
    let reflection_alpha = describe().build_v1alpha().map_err(ServeError::Reflection)?;
    let serving = Server::builder()
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(enrolment)
        .add_service(InterceptedService::new(node, check.clone()))
        .add_service(InterceptedService::new(reflection, check.clone()))
        .add_service(InterceptedService::new(reflection_alpha, check))
        .serve_with_incoming_shutdown(connections, closed(closing.clone()));
    let overdue = async {
        closed(closing).await;
        tokio::time::sleep(Duration::from_millis(CLOSE_MS_MAX)).await;
    };
    tokio::select! {
        served = serving => served.map_err(ServeError::Transport),
        () = overdue => Ok(()),
    }
}

/// Returns once `closing` is true, or nobody is left who could turn it.
async fn closed(mut closing: watch::Receiver<bool>) {
    // An error means that the sender is gone.
    let _ = closing.wait_for(|closing| *closing).await;
}
