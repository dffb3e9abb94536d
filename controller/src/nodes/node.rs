//! The service of enrolled nodes: renew, register, session, exec.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use loadline_model::{InstanceArn, Resources};
use loadline_proto::convert::{self, Attribute, EXEC_ANSWER_S_MAX, ExecId};
use loadline_proto::v1::{
    AgentMessage, ControllerMessage, ExecInput, ExecOutput, RegisterRequest, RegisterResponse,
    RenewRequest, RenewResponse, node_server,
};
use loadline_proto::version::{SPOKEN, common};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::caller::Caller;
use super::enrolment::{not_made, request_refused};
use super::pki::{NodeKey, random_serial};
use super::{AgentEnd, AgentPort, execs, session, status};
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
        let request = request.into_inner();
        let version = version(request.protocol_version, request.protocol_version_min)?;
        let command = registration(node, request)?;
        let answer = self.port.engine.call(command).await.map_err(status::of_call)?;
        let node = &answer.node;
        tracing::info!(node = %node.arn, resources = ?node.registered, "a node registered");
        Ok(Response::new(RegisterResponse {
            container_instance_arn: node.arn.to_string(),
            cluster: node.cluster.to_string(),
            protocol_version: Some(version),
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

    type ExecStream = ReceiverStream<Result<ExecInput, Status>>;

    async fn exec(
        &self,
        request: Request<Streaming<ExecOutput>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let node = Caller::of(&request)?;
        let mut output = request.into_inner();
        let id = first_of(&mut output).await?;
        let (input, inputs) = mpsc::channel(execs::INPUT_MAX);
        self.port.relay.execs().arrived(&node, &id, AgentEnd { output, input })?;
        Ok(Response::new(ReceiverStream::new(inputs)))
    }
}

/// Which program an Exec is about.
async fn first_of(output: &mut Streaming<ExecOutput>) -> Result<ExecId, Status> {
    let limit = Duration::from_secs(EXEC_ANSWER_S_MAX);
    let first = tokio::time::timeout(limit, output.message()).await.map_err(|_| {
        Status::deadline_exceeded(format!("no exec_id within {EXEC_ANSWER_S_MAX} s"))
    })??;
    let first = first.ok_or_else(|| Status::invalid_argument("Exec ended before it began"))?;
    match convert::ExecOutput::try_from(first).map_err(status::of_invalid)? {
        convert::ExecOutput::Opened(id) => Ok(id),
        _ => Err(Status::invalid_argument("the first message of Exec has to be exec_id")),
    }
}

/// Checks what a node says about itself.
fn registration(node: InstanceArn, request: RegisterRequest) -> Result<RegisterNode, Status> {
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

/// The version to speak with an agent that speaks these.
pub(super) fn version(newest: u32, oldest: Option<u32>) -> Result<u32, Status> {
    common(SPOKEN, newest, oldest).map_err(|error| Status::failed_precondition(error.to_string()))
}
