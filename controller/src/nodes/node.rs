//! The service of enrolled nodes: renew, register, session.

use std::sync::Arc;
use std::time::SystemTime;

use loadline_model::{InstanceArn, Resources};
use loadline_proto::PROTOCOL_VERSION;
use loadline_proto::convert::Attribute;
use loadline_proto::v1::{
    AgentMessage, ControllerMessage, RegisterRequest, RegisterResponse, RenewRequest,
    RenewResponse, node_server,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::caller::Caller;
use super::enrolment::{not_made, request_refused};
use super::pki::{NodeKey, random_serial};
use super::{AgentPort, session, status};
use crate::command::RegisterNode;
use crate::state::NodeAttribute;

/// Longest `agent_version`, in characters.
const AGENT_VERSION_CHARS_MAX: usize = 128;

/// What an enrolled node can call.
#[derive(Debug)]
pub(super) struct Node {
    port: Arc<AgentPort>,
    closing: watch::Receiver<bool>,
}

impl Node {
    pub(super) fn new(port: AgentPort, closing: watch::Receiver<bool>) -> Self {
        Self { port: Arc::new(port), closing }
    }
}

#[tonic::async_trait]
impl node_server::Node for Node {
    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let node = Caller::of(&request)?;
        let key = NodeKey::from_request(&request.into_inner().csr_der)
            .map_err(|e| request_refused(&e))?;
        let certificate = self
            .port
            .authority
            .issue_node(&node, &key, random_serial(), SystemTime::now())
            .map_err(|e| not_made(&e))?;
        tracing::info!(%node, "renewed a node's certificate");
        Ok(Response::new(RenewResponse { certificate_der: certificate.to_vec() }))
    }

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let node = Caller::of(&request)?;
        let command = registration(node, request.into_inner())?;
        let answer = self.port.engine.call(command).await.map_err(status::of_call)?;
        let node = &answer.node;
        tracing::info!(node = %node.arn, resources = ?node.registered, "a node registered");
        Ok(Response::new(RegisterResponse {
            container_instance_arn: node.arn.to_string(),
            cluster: node.cluster.to_string(),
        }))
    }

    type SessionStream = ReceiverStream<Result<ControllerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = Caller::of(&request)?;
        let (outgoing, answers) = mpsc::channel(session::OUTGOING_MAX);
        let (port, closing) = (Arc::clone(&self.port), self.closing.clone());
        // Refusals of a session travel in the stream: a client that waits for the answer's head
        // before it says Hello is served as well.
        tokio::spawn(session::serve(port, node, request.into_inner(), outgoing, closing));
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// Checks what a node says about itself.
fn registration(node: InstanceArn, request: RegisterRequest) -> Result<RegisterNode, Status> {
    check_version(request.protocol_version)?;
    if AGENT_VERSION_CHARS_MAX < request.agent_version.chars().count() {
        let text = format!("field agent_version: more than {AGENT_VERSION_CHARS_MAX} characters");
        return Err(Status::invalid_argument(text));
    }
    let resources =
        request.resources.ok_or_else(|| Status::invalid_argument("field resources: missing"))?;
    let attributes = Attribute::list_from_wire(request.attributes).map_err(status::of_invalid)?;
    let attributes = attributes
        .into_iter()
        .map(|attribute| NodeAttribute { name: attribute.name, value: attribute.value })
        .collect();
    let resources = Resources::from(resources);
    Ok(RegisterNode { node, resources, attributes, agent_version: request.agent_version })
}

/// Refuses a protocol that this build does not speak.
pub(super) fn check_version(version: u32) -> Result<(), Status> {
    if version == PROTOCOL_VERSION {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "protocol version {version} is not served: this controller speaks {PROTOCOL_VERSION}"
    )))
}
