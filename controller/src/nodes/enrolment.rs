//! Enrolment: a join token and a certificate request in, a certificate out.

use std::sync::Arc;
use std::time::SystemTime;

use loadline_proto::v1::{EnrolRequest, EnrolResponse, enrolment_server};
use tonic::{Request, Response, Status};

use super::listen::Peer;
use super::pki::{Authority, NodeKey, PkiError, random_serial};
use super::{AgentPort, JoinTokenText, status};
use crate::command::UseJoinToken;
use crate::engine::Engine;

/// The service that answers without a client certificate.
#[derive(Debug)]
pub(super) struct Enrolment {
    engine: Engine,
    authority: Arc<Authority>,
}

impl Enrolment {
    pub(super) fn new(port: &AgentPort) -> Self {
        Self { engine: port.engine.clone(), authority: Arc::clone(&port.authority) }
    }
}

#[tonic::async_trait]
impl enrolment_server::Enrolment for Enrolment {
    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
        let from = peer.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let enrolled = self.enrol_key(request.into_inner()).await;
        match &enrolled {
            Ok(answer) => {
                let node = &answer.container_instance_arn;
                tracing::info!(%node, "a node enrolled from {from}");
            }
            Err(status) => tracing::warn!("refused to enrol {from}: {}", status.message()),
        }
        enrolled.map(Response::new)
    }
}

impl Enrolment {
    async fn enrol_key(&self, request: EnrolRequest) -> Result<EnrolResponse, Status> {
        let token = JoinTokenText::parse(&request.token)
            .map_err(|e| Status::unauthenticated(format!("field token: {e}")))?;
        if token.ca_hash() != self.authority.hash() {
            let text = format!("join token {} is for another controller", token.id());
            return Err(Status::unauthenticated(text));
        }
        let key = NodeKey::from_request(&request.csr_der).map_err(|e| request_refused(&e))?;
        let (id, secret_hash) = (token.id().clone(), token.secret_hash());
        let command = UseJoinToken { id, secret_hash, key_hash: key.hash() };
        let node = self.engine.call(command).await.map_err(status::of_call)?;
        let certificate = self
            .authority
            .issue_node(&node, &key, random_serial(), SystemTime::now())
            .map_err(|e| not_made(&e))?;
        Ok(EnrolResponse {
            certificate_der: certificate.to_vec(),
            ca_certificate_der: self.authority.certificate().to_vec(),
            container_instance_arn: node.into(),
        })
    }
}

/// A certificate request that breaks the protocol.
pub(super) fn request_refused(error: &PkiError) -> Status {
    Status::invalid_argument(format!("field csr_der: {error}"))
}

/// A certificate that could not be made is our failure, not the node's.
pub(super) fn not_made(error: &PkiError) -> Status {
    Status::internal(error.to_string())
}
