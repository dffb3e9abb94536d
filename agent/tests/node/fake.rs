//! A controller for tests: the real protocol over real TLS, with everything that the agent says
//! kept for the test to look at.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use loadline_model::{Assignment, DesiredStatus, TaskReport, TaskSpec};
use loadline_proto::CONTROLLER_DNS_NAME;
use loadline_proto::v1::agent_message::Kind as Theirs;
use loadline_proto::v1::controller_message::Kind as Ours;
use loadline_proto::v1::enrolment_server::{Enrolment, EnrolmentServer};
use loadline_proto::v1::exec_output::Kind as Said;
use loadline_proto::v1::node_server::{Node, NodeServer};
use loadline_proto::v1::{self, AgentMessage, ControllerMessage};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateSigningRequestDer;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::server::{Server, ServerTlsConfig};
use tonic::transport::{Certificate, Identity};
use tonic::{Request, Response, Status, Streaming};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the controller holds and has heard.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) generation: u64,
    pub(crate) assignments: BTreeMap<String, Assignment>,
    /// Every report, in the order of arrival.
    pub(crate) reports: Vec<TaskReport>,
    pub(crate) registered: Vec<v1::RegisterRequest>,
    pub(crate) hellos: Vec<v1::Hello>,
    pub(crate) refusals: Vec<String>,
    pub(crate) applied: u64,
    pub(crate) enrolled: u32,
    pub(crate) chunks: BTreeMap<u64, v1::LogChunk>,
    pub(crate) acknowledge: bool,
    /// Whether a new node gets a certificate that is nearly over.
    pub(crate) old_certificates: bool,
    pub(crate) renewed: u32,
    /// What a registration is answered with; none by a controller from before the field.
    pub(crate) protocol_version: Option<u32>,
    /// How many heartbeats have come.
    pub(crate) beats: u64,
    /// The node was deregistered; the next that joins is another one.
    pub(crate) removed: bool,
    /// What tasks are told at the begin of every session.
    pub(crate) secrets: Vec<v1::TaskSecrets>,
    /// Programs in containers, by their ids.
    pub(crate) execs: BTreeMap<String, Exec>,
    /// Why programs were refused, by their ids.
    pub(crate) exec_refusals: BTreeMap<String, String>,
    session: Option<mpsc::Sender<Result<ControllerMessage, Status>>>,
    next_request: u64,
}

/// A program in a container.
#[derive(Default)]
pub(crate) struct Exec {
    /// Dropping it ends the call.
    pub(crate) input: Option<mpsc::Sender<Result<v1::ExecInput, Status>>>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) end: Option<v1::ExecEnd>,
    /// Whether the agent has ended the call.
    pub(crate) over: bool,
    /// Whether output is left unread.
    pub(crate) is_slow: bool,
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running fake. Each has a CA of its own.
pub(crate) struct Fake {
    pub(crate) address: String,
    pub(crate) token: String,
    authority: Arc<Authority>,
    shared: Shared,
    server: Option<Running>,
}

/// The server on a runtime of its own, which takes every connection with it.
struct Running(Option<tokio::runtime::Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::listen(Authority::new(), Arc::default(), "127.0.0.1:0").await
    }

    async fn listen(authority: Arc<Authority>, shared: Shared, address: &str) -> Self {
        lock(&shared).acknowledge = true;
        let hash = hex::encode(Sha256::digest(authority.issuer.der()));
        let token = format!("loadline1.{}.{}.{hash}", "0".repeat(16), "1".repeat(64));
        let mut fake = Self { address: address.to_owned(), token, authority, shared, server: None };
        fake.come_back().await;
        fake
    }

    /// Ends every connection and listens no more.
    pub(crate) async fn go_away(&mut self) {
        self.server = None;
        self.state().session = None;
        let gone = self.until("the server's end", |fake| {
            std::net::TcpStream::connect(&fake.address).is_err().then_some(())
        });
        gone.await;
    }

    /// Listens, again at the same address after the first time.
    pub(crate) async fn come_back(&mut self) {
        let authority = Arc::clone(&self.authority);
        let tls = ServerTlsConfig::new()
            .identity(authority.server_identity())
            .client_ca_root(Certificate::from_pem(authority.issuer.pem()))
            .client_auth_optional(true);
        let service = Service { authority, shared: Arc::clone(&self.shared) };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (address, told) = (self.address.clone(), tokio::sync::oneshot::channel());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            told.0.send(listener.local_addr().unwrap().to_string()).unwrap();
            let mut server = Server::builder().tls_config(tls).unwrap();
            let serving = server
                .add_service(EnrolmentServer::new(service.clone()))
                .add_service(NodeServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener));
            serving.await.unwrap();
        });
        self.server = Some(Running(Some(runtime)));
        self.address = told.1.await.unwrap();
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    /// Desires a task, and says so in a whole snapshot.
    pub(crate) fn assign(&self, spec: TaskSpec) {
        self.desire(spec);
        self.say_snapshot();
    }

    /// Desires a task, and says nothing yet.
    pub(crate) fn desire(&self, spec: TaskSpec) {
        let arn = spec.arn.as_str().to_owned();
        let assignment =
            Assignment { task: spec, desired: DesiredStatus::Running, stop_reason: None };
        self.state().assignments.insert(arn, assignment);
    }

    pub(crate) fn stop(&self, arn: &str) {
        if let Some(assignment) = self.state().assignments.get_mut(arn) {
            assignment.desired = DesiredStatus::Stopped;
            assignment.stop_reason = Some("the test stops it".into());
        }
        self.say_snapshot();
    }

    /// Desires nothing of it any more.
    pub(crate) fn let_go(&self, arn: &str) {
        self.state().assignments.remove(arn);
        self.say_snapshot();
    }

    pub(crate) fn say_snapshot(&self) {
        let mut state = self.state();
        state.generation += 1;
        let message = snapshot(&state);
        if let Some(session) = &state.session {
            let _ = session.try_send(Ok(message));
        }
    }

    /// Says something in the agent's session, once it has one.
    pub(crate) async fn say(&self, kind: Ours) {
        let message = ControllerMessage { kind: Some(kind) };
        let session = self.until("a session", |fake| {
            fake.state().session.clone().filter(|session| !session.is_closed())
        });
        session.await.send(Ok(message)).await.unwrap();
    }

    /// The newest report of a task.
    pub(crate) fn report(&self, arn: &str) -> Option<TaskReport> {
        let state = self.state();
        state.reports.iter().rev().find(|report| report.task.as_str() == arn).cloned()
    }

    /// Waits until the newest report of a task is as wanted.
    pub(crate) async fn wait(&self, arn: &str, wanted: impl Fn(&TaskReport) -> bool) -> TaskReport {
        self.until(&format!("a report of {arn}"), |fake| fake.report(arn).filter(&wanted)).await
    }

    pub(crate) async fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if until < Instant::now() {
                let state = self.state();
                for exec in state.execs.values() {
                    eprintln!("--- a program wrote\n{}", String::from_utf8_lossy(&exec.stdout));
                }
                panic!("{what} did not come; reports: {:#?}", state.reports.last());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything that a container has written, read to its end.
    pub(crate) async fn logs(&self, arn: &str, container: &str) -> Vec<v1::LogEvent> {
        let (mut events, mut cursor) = (Vec::new(), String::new());
        loop {
            let chunk = self.read_logs(arn, container, cursor, 20_000).await;
            assert_eq!(chunk.error, None);
            events.extend(chunk.events);
            cursor = chunk.next_cursor;
            if chunk.end {
                return events;
            }
        }
    }

    pub(crate) async fn read_logs(
        &self,
        arn: &str,
        container: &str,
        cursor: String,
        wait_ms: u32,
    ) -> v1::LogChunk {
        let request_id = {
            let mut state = self.state();
            state.next_request += 1;
            state.next_request
        };
        self.say(Ours::ReadLogs(v1::ReadLogs {
            request_id,
            task_arn: arn.to_owned(),
            container_name: container.to_owned(),
            cursor,
            events_max: 100,
            wait_ms,
            since_ms: 0,
        }))
        .await;
        self.until("a log chunk", |fake| fake.state().chunks.remove(&request_id)).await
    }
}

fn snapshot(state: &State) -> ControllerMessage {
    let assignments = state.assignments.values().cloned().map(v1::Assignment::from).collect();
    let snapshot = v1::Snapshot { generation: state.generation, assignments, last: true };
    ControllerMessage { kind: Some(Ours::Snapshot(snapshot)) }
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Arc<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a CA for tests");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Arc::new(Self { issuer })
    }

    /// A node's certificate, valid from so long ago to so far ahead.
    fn certify(&self, csr_der: Vec<u8>, before_s: i64, after_s: i64) -> Vec<u8> {
        let der = CertificateSigningRequestDer::from(csr_der);
        let mut csr = rcgen::CertificateSigningRequestParams::from_der(&der).unwrap();
        csr.params.distinguished_name.push(DnType::CommonName, ARN);
        let now = time::OffsetDateTime::now_utc();
        csr.params.not_before = now - time::Duration::seconds(before_s);
        csr.params.not_after = now + time::Duration::seconds(after_s);
        csr.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    fn server_identity(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![CONTROLLER_DNS_NAME.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = format!("{}\n{}", certificate.pem(), self.issuer.pem());
        Identity::from_pem(chain, key.serialize_pem())
    }
}

#[derive(Clone)]
struct Service {
    authority: Arc<Authority>,
    shared: Shared,
}

const ARN: &str = "arn:aws:ecs:us-east-1:000000000000:container-instance/default/node1";

#[tonic::async_trait]
impl Enrolment for Service {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        let request = request.into_inner();
        if !request.token.contains(&"1".repeat(64)) {
            return Err(Status::unauthenticated("the token is expired"));
        }
        let old = lock(&self.shared).old_certificates;
        let (before_s, after_s) = if old { (900, 100) } else { (100, 900) };
        let certificate_der = self.authority.certify(request.csr_der, before_s, after_s);
        let mut state = lock(&self.shared);
        state.enrolled += 1;
        state.removed = false;
        drop(state);
        Ok(Response::new(v1::EnrolResponse {
            certificate_der,
            ca_certificate_der: self.authority.issuer.der().to_vec(),
            container_instance_arn: ARN.to_owned(),
        }))
    }
}

fn authenticated<T>(request: &Request<T>) -> Result<(), Status> {
    let certificates = request.peer_certs();
    certificates.map(|_| ()).ok_or_else(|| Status::unauthenticated("no client certificate"))
}

#[tonic::async_trait]
impl Node for Service {
    type SessionStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<ControllerMessage, Status>> + Send>>;

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        authenticated(&request)?;
        lock(&self.shared).renewed += 1;
        let certificate_der = self.authority.certify(request.into_inner().csr_der, 0, 900);
        Ok(Response::new(v1::RenewResponse { certificate_der }))
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        authenticated(&request)?;
        if lock(&self.shared).removed {
            return Err(Status::permission_denied(format!("{ARN} was removed from its cluster")));
        }
        lock(&self.shared).registered.push(request.into_inner());
        Ok(Response::new(v1::RegisterResponse {
            container_instance_arn: ARN.to_owned(),
            cluster: "default".to_owned(),
            protocol_version: lock(&self.shared).protocol_version,
        }))
    }

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        authenticated(&request)?;
        let mut incoming = request.into_inner();
        let (outbox, outgoing) = mpsc::channel(256);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                for answer in hear(&shared, &outbox, message) {
                    let _ = outbox.send(Ok(ControllerMessage { kind: Some(answer) })).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    type ExecStream = ReceiverStream<Result<v1::ExecInput, Status>>;

    async fn exec(
        &self,
        request: Request<Streaming<v1::ExecOutput>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        authenticated(&request)?;
        let mut incoming = request.into_inner();
        let (input, inputs) = mpsc::channel(4);
        let first = incoming.message().await?.and_then(|first| first.kind);
        let Some(Said::ExecId(id)) = first else { return Err(Status::invalid_argument("no id")) };
        lock(&self.shared).execs.entry(id.clone()).or_default().input = Some(input);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            loop {
                if lock(&shared).execs[&id].is_slow {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                let said = incoming.message().await;
                let mut state = lock(&shared);
                let exec = state.execs.entry(id.clone()).or_default();
                match said.ok().flatten().and_then(|said| said.kind) {
                    Some(Said::Stdout(bytes)) => exec.stdout.extend(bytes),
                    Some(Said::Stderr(bytes)) => exec.stderr.extend(bytes),
                    Some(Said::End(end)) => exec.end = Some(end),
                    Some(Said::ExecId(_)) | None => {
                        exec.over = true;
                        exec.input = None;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(inputs)))
    }
}

fn hear(
    shared: &Shared,
    outbox: &mpsc::Sender<Result<ControllerMessage, Status>>,
    message: AgentMessage,
) -> Vec<Ours> {
    let mut state = lock(shared);
    match message.kind {
        Some(Theirs::Hello(hello)) => {
            state.hellos.push(hello);
            state.session = Some(outbox.clone());
            let welcome = v1::Welcome { heartbeat_interval_ms: 200, lease_ms: 60_000 };
            let snapshot = snapshot(&state).kind;
            let secrets = state.secrets.iter().cloned().map(Ours::TaskSecrets);
            std::iter::once(Ours::Welcome(welcome)).chain(snapshot).chain(secrets).collect()
        }
        Some(Theirs::Heartbeat(beat)) => {
            state.beats += 1;
            vec![Ours::HeartbeatAck(v1::HeartbeatAck { sequence: beat.sequence })]
        }
        Some(Theirs::Reports(reports)) => {
            let reports = loadline_proto::convert::reports_from_wire(reports).unwrap();
            let ack = |report: &TaskReport| v1::ReportAck {
                task_arn: report.task.as_str().to_owned(),
                version: report.version,
            };
            let acks = reports.iter().map(ack).collect();
            state.reports.extend(reports);
            let acknowledge = state.acknowledge;
            acknowledge.then_some(Ours::ReportAcks(v1::ReportAcks { acks })).into_iter().collect()
        }
        Some(Theirs::Applied(applied)) => {
            match applied.refused {
                Some(why) => state.refusals.push(why),
                None => state.applied = applied.generation,
            }
            vec![]
        }
        Some(Theirs::ExecRefused(refused)) => {
            state.exec_refusals.insert(refused.exec_id, refused.reason);
            vec![]
        }
        Some(Theirs::LogChunk(chunk)) => {
            state.chunks.insert(chunk.request_id, chunk);
            vec![]
        }
        Some(Theirs::Usage(_) | Theirs::TaskQuestion(_)) | None => vec![],
    }
}
