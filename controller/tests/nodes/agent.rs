//! An agent in small: a key, a certificate, and the calls of the protocol.

use std::time::Duration;

use loadline_model::InstanceArn;
use loadline_proto::v1::agent_message::Kind as FromAgent;
use loadline_proto::v1::controller_message::Kind as ToAgent;
use loadline_proto::v1::enrolment_client::EnrolmentClient;
use loadline_proto::v1::node_client::NodeClient;
use loadline_proto::v1::{
    AgentMessage, Applied, EnrolRequest, EnrolResponse, Heartbeat, Hello, RegisterRequest,
    Resources,
};
use loadline_proto::{CONTROLLER_DNS_NAME, PROTOCOL_VERSION};
use rcgen::{CertificateParams, KeyPair};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Status, Streaming};

use crate::world::World;

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Key {
    pair: KeyPair,
}

impl Key {
    pub(crate) fn new() -> Self {
        Self { pair: KeyPair::generate().unwrap() }
    }

    pub(crate) fn csr(&self) -> Vec<u8> {
        CertificateParams::default().serialize_request(&self.pair).unwrap().der().to_vec()
    }

    /// As TLS libraries take it.
    pub(crate) fn identity(&self, certificate_der: &[u8]) -> Identity {
        Identity::from_pem(pem(certificate_der), self.pair.serialize_pem())
    }
}

pub(crate) fn pem(certificate_der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate_der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// A connection that trusts the world's authority alone.
pub(crate) async fn dial(
    world: &World,
    identity: Option<Identity>,
) -> Result<Channel, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .domain_name(CONTROLLER_DNS_NAME)
        .ca_certificate(Certificate::from_pem(pem(world.authority.certificate())));
    let tls = match identity {
        Some(identity) => tls.identity(identity),
        None => tls,
    };
    let endpoint = Endpoint::from_shared(format!("https://{}", world.address)).unwrap();
    endpoint.tls_config(tls)?.connect().await
}

pub(crate) async fn enrol(world: &World, token: &str, key: &Key) -> Result<EnrolResponse, Status> {
    let mut client = EnrolmentClient::new(dial(world, None).await.unwrap());
    let request = EnrolRequest { token: token.to_owned(), csr_der: key.csr() };
    client.enrol(request).await.map(tonic::Response::into_inner)
}

/// An enrolled node.
pub(crate) struct Agent {
    pub(crate) node: InstanceArn,
    pub(crate) client: NodeClient<Channel>,
    pub(crate) identity: Identity,
}

impl Agent {
    pub(crate) async fn enrolled(world: &World) -> Self {
        let key = Key::new();
        let token = world.token(1, 60_000).await;
        let enrolled = enrol(world, &token.reveal(), &key).await.unwrap();
        let identity = key.identity(&enrolled.certificate_der);
        let channel = dial(world, Some(identity.clone())).await.unwrap();
        let node = InstanceArn::parse(&enrolled.container_instance_arn).unwrap();
        Self { node, client: NodeClient::new(channel), identity }
    }

    /// Registered with 1 vCPU and 1 GiB.
    pub(crate) async fn registered(world: &World) -> Self {
        let mut agent = Self::enrolled(world).await;
        agent.client.register(registration()).await.unwrap();
        agent
    }

    /// Opens a session and says Hello.
    pub(crate) async fn session(&mut self, run_id: &str) -> Session {
        self.session_after(run_id, 0).await
    }

    pub(crate) async fn session_after(&mut self, run_id: &str, generation: u64) -> Session {
        let hello = Hello {
            protocol_version: PROTOCOL_VERSION,
            agent_run_id: run_id.to_owned(),
            generation,
        };
        let session = self.silent_session().await;
        session.send(FromAgent::Hello(hello)).await;
        session
    }

    /// Opens a session and says nothing.
    pub(crate) async fn silent_session(&mut self) -> Session {
        let (messages, outgoing) = mpsc::channel(16);
        let incoming = self.client.session(ReceiverStream::new(outgoing)).await.unwrap();
        Session { messages, incoming: incoming.into_inner(), generation: 0 }
    }
}

pub(crate) fn registration() -> RegisterRequest {
    RegisterRequest {
        protocol_version: PROTOCOL_VERSION,
        agent_version: "test".into(),
        resources: Some(Resources { cpu_units: 1024, memory_mib: 1024 }),
        attributes: vec![],
        protocol_version_min: None,
    }
}

pub(crate) struct Session {
    pub(crate) messages: mpsc::Sender<AgentMessage>,
    incoming: Streaming<loadline_proto::v1::ControllerMessage>,
    pub(crate) generation: u64,
}

impl Session {
    pub(crate) async fn send(&self, kind: FromAgent) {
        self.messages.send(AgentMessage { kind: Some(kind) }).await.unwrap();
    }

    pub(crate) async fn beat(&self, sequence: u64) {
        self.send(FromAgent::Heartbeat(Heartbeat { sequence })).await;
    }

    /// The next message, or how the session ended (`None`: in order).
    pub(crate) async fn next(&mut self) -> Result<Option<ToAgent>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.incoming.message()).await;
        let next = next.expect("the controller said nothing for a minute")?;
        Ok(next.map(|message| message.kind.unwrap()))
    }

    /// The next message that is not an answer to a heartbeat. Stays alive meanwhile.
    pub(crate) async fn hear(&mut self) -> ToAgent {
        for sequence in 1_000.. {
            let heard =
                tokio::time::timeout(Duration::from_millis(500), self.incoming.message()).await;
            match heard {
                Err(_) => self.beat(sequence).await,
                Ok(message) => match message.unwrap().unwrap().kind.unwrap() {
                    ToAgent::HeartbeatAck(_) => {}
                    kind => return kind,
                },
            }
        }
        unreachable!("an endless range ended")
    }

    /// Welcome and Snapshot, applied; the ARNs of the snapshot's tasks.
    pub(crate) async fn greeted(&mut self) -> Vec<String> {
        assert!(matches!(self.hear().await, ToAgent::Welcome(_)));
        self.snapshot().await
    }

    pub(crate) async fn snapshot(&mut self) -> Vec<String> {
        let ToAgent::Snapshot(snapshot) = self.hear().await else { panic!("no snapshot") };
        assert!(snapshot.last);
        self.applied(snapshot.generation, None).await;
        snapshot.assignments.into_iter().map(|a| a.task.unwrap().arn).collect()
    }

    pub(crate) async fn applied(&mut self, generation: u64, refused: Option<&str>) {
        self.generation = generation;
        let refused = refused.map(str::to_owned);
        self.send(FromAgent::Applied(Applied { generation, refused })).await;
    }

    /// How the session ends, whatever comes before.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("the stream ended"),
                Err(status) => return status,
            }
        }
    }
}
