//! Keeps a session with the controller for as long as the agent lives.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use loadline_model::Resources;
use loadline_proto::convert::Attribute;
use loadline_proto::v1::node_client::NodeClient;
use loadline_proto::v1::{RegisterRequest, RenewRequest};
use loadline_proto::version::{PROTOCOL_VERSION_MIN, SPOKEN};
use loadline_proto::{MESSAGE_BYTES_MAX, PROTOCOL_VERSION, v1};
use rand::Rng as _;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::backoff::{Backoff, GOOD_SESSION_S};
use super::dial::{self, ClientCertificate, DialError};
use super::enrol::{self, EnrolError};
use super::identity::{Identity, IdentityError};
use super::stream;
use super::token::JoinToken;
use crate::board::Board;
use crate::clock::now_ms;
use crate::exec::Execs;
use crate::metadata::{CredentialStore, Questions, SecretStore};
use crate::text::chain;
use crate::usage::Measured;
use crate::{node, priority};

/// How often HTTP/2 asks whether the other side is there, in seconds.
const KEEPALIVE_S: u64 = 20;

/// Longest wait for the answer to Register or Renew, in seconds.
const CALL_S_MAX: u64 = 30;

/// What a link needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The controller's agent port, HOST:PORT.
    pub controller: String,
    /// Where the identity is kept.
    pub state_dir: PathBuf,
    /// What the node registers.
    pub resources: Resources,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
    /// Random, for each start of the agent.
    pub run_id: String,
    /// Where the containers' logs are.
    pub logs: Arc<dyn LogPlaces>,
    /// Where the tasks' credentials go.
    pub credentials: Arc<CredentialStore>,
    /// Where the tasks' secrets go.
    pub secrets: Arc<SecretStore>,
    /// What tasks ask and only the controller knows.
    pub questions: Arc<Questions>,
    /// What containers use, where it is measured.
    pub usage: Option<watch::Receiver<Arc<Measured>>>,
    /// Programs that somebody runs in containers.
    pub execs: Arc<Execs>,
    /// With what the node may join again, should it have been removed, or should this be another
    /// cluster's controller.
    pub token: Option<JoinToken>,
}

/// Finds a container's log.
pub trait LogPlaces: Send + Sync + fmt::Debug {
    /// The log's folder, and whether the container will write no more; `None` where this node
    /// knows no such container.
    fn find(&self, task_arn: &str, container_name: &str) -> Option<LogPlace>;
}

/// Where a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// Its folder.
    pub dir: PathBuf,
    /// Whether nothing more will be written.
    pub ended: bool,
}

/// Why a session ended or did not come about.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection.
    #[error("reach the controller")]
    Dial(#[source] DialError),
    /// The connection broke.
    #[error("speak to the controller")]
    Transport(#[source] tonic::transport::Error),
    /// A call was refused.
    #[error("{call} was refused ({:?}): {}", status.code(), status.message())]
    Refused {
        /// Which call.
        call: &'static str,
        /// The answer.
        status: Box<tonic::Status>,
    },
    /// The connection ended below a call.
    #[error("the connection to the controller was lost: {cause}")]
    Lost {
        /// What became of it.
        cause: String,
    },
    /// A call was not answered.
    #[error("{call} was not answered within {CALL_S_MAX} s")]
    Timeout {
        /// Which call.
        call: &'static str,
    },
    /// The controller chose a version that this agent did not offer.
    #[error("the controller wants to speak protocol version {version}, which this agent does not")]
    Version {
        /// Which.
        version: u32,
    },
    /// The certificate can't be renewed.
    #[error("renew the node's certificate")]
    Renewal(#[source] IdentityError),
    /// It was deregistered.
    #[error(
        "{node} was removed from its cluster: to let this host join again, as a new container \
         instance, make a token with `loadline token create` and start the agent with \
         --join-token-file"
    )]
    Removed {
        /// Who the node was.
        node: String,
    },
    /// It was removed, and the token that it has does not bring it in again.
    #[error("this node was removed from its cluster and can't join again")]
    Rejoin(#[source] EnrolError),
    /// The controller was silent for several leases.
    #[error("the controller was silent for {silent_ms} ms")]
    Silent {
        /// For how long.
        silent_ms: u64,
    },
    /// The controller sends on though this node has not answered what came before.
    #[error("the controller sent more than {max} changes without waiting for an answer")]
    Overrun {
        /// How many may wait.
        max: usize,
    },
    /// The stream takes nothing more.
    #[error("the session's stream was closed")]
    Closed,
}

impl LinkError {
    /// Of a call that failed: a word of the controller's, or the end of the connection, which has
    /// a cause on this side.
    pub(super) fn of(call: &'static str, status: tonic::Status) -> Self {
        let mut cause = status.source();
        while let Some(deeper) = cause.and_then(Error::source) {
            cause = Some(deeper);
        }
        match cause {
            Some(cause) => Self::Lost { cause: cause.to_string() },
            None => Self::Refused { call, status: Box::new(status) },
        }
    }
}

/// Keeps a node connected.
#[derive(Debug)]
pub struct Link {
    settings: Settings,
    identity: Identity,
    node: node::Handle,
    board: Arc<Board>,
    generation: Arc<AtomicU64>,
    work: runtime::Handle,
    name: watch::Sender<String>,
    /// Whether the last attempt failed, which was told.
    away: bool,
}

impl Link {
    /// A link that is not connected yet. What may wait for a disk is done on the runtime that is
    /// current here, wherever [`Self::run`] runs.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(
        settings: Settings,
        identity: Identity,
        node: node::Handle,
        board: Arc<Board>,
    ) -> Self {
        let (generation, work) = (Arc::default(), runtime::Handle::current());
        let name = watch::Sender::new(identity.container_instance_arn.clone());
        Self { settings, identity, node, board, generation, work, name, away: false }
    }

    /// Who the node is: the ARN of its container instance, which changes where it joins again.
    #[must_use]
    pub fn name(&self) -> watch::Receiver<String> {
        self.name.subscribe()
    }

    /// Connects, and connects again, for ever.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let mut ended = self.session().await;
            if let Err(error) = &ended
                && self.is_out(error)
            {
                ended = self.join_again().await;
            }
            if Duration::from_secs(GOOD_SESSION_S) <= began.elapsed() {
                backoff = Backoff::default();
            }
            let at_once = matches!(ended, Ok(stream::Ended::Planned));
            self.away = ended.is_err();
            match ended {
                Ok(why) => tracing::info!(?why, "the session has ended"),
                Err(error) => tracing::warn!(error = %chain(&error), "no session; tasks run on"),
            }
            if !at_once {
                let luck = rand::rng().random::<f64>();
                tokio::time::sleep(backoff.next(luck)).await;
            }
        }
    }

    /// Whether only a new identity helps.
    fn is_out(&self, error: &LinkError) -> bool {
        match error {
            LinkError::Removed { .. } => true,
            LinkError::Dial(DialError::Untrusted { .. }) => {
                let ours = self.identity.ca_hash();
                self.settings.token.as_ref().is_some_and(|token| token.ca_hash() != ours)
            }
            _ => false,
        }
    }

    /// Joins with the token that the agent was started with. What runs here is stopped by the new
    /// node's first snapshot, which names none of it.
    async fn join_again(&mut self) -> Result<stream::Ended, LinkError> {
        let node = self.identity.container_instance_arn.clone();
        // A token is of no use twice: the next attempt says what to do.
        let Some(token) = self.settings.token.take() else {
            return Err(LinkError::Removed { node });
        };
        let joined = enrol::enrol(&self.settings.controller, &token, &self.settings.state_dir);
        match joined.await {
            Ok(identity) => self.identity = identity,
            Err(error) => {
                if error.is_passing() {
                    self.settings.token = Some(token);
                }
                return Err(LinkError::Rejoin(error));
            }
        }
        let now = self.identity.container_instance_arn.clone();
        tracing::warn!(was = %node, %now, "the node was removed, and joined again as a new one");
        self.name.send_replace(now);
        Ok(stream::Ended::Planned)
    }

    /// [`Self::run`] on a thread of its own, with nothing else on it: no disk, no image and no task
    /// of this node can hold a heartbeat up. The answer comes only where that thread has failed.
    ///
    /// # Errors
    /// The kernel's, where there is no thread or no event queue for it.
    pub fn run_alone(self) -> std::io::Result<oneshot::Receiver<()>> {
        let (running, ended) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("session".to_owned()).spawn(move || {
            // Dropped also by a panic: whoever waits then hears of it.
            let _running: oneshot::Sender<()> = running;
            priority::raise("session");
            runtime.block_on(self.run());
        })?;
        Ok(ended)
    }

    async fn session(&mut self) -> Result<stream::Ended, LinkError> {
        let dialer = Dialer {
            controller: self.settings.controller.clone(),
            ca_hash: self.identity.ca_hash(),
            client: Arc::new(self.identity.client_certificate()),
        };
        let mut client = dialer.connect().await?;
        let node = || self.identity.container_instance_arn.clone();
        let registered = self.register(&mut client).await;
        let protocol_version = registered.map_err(|error| removed(error, node()))?;
        self.renew_if_due(&mut client).await?;
        let parts = stream::Parts {
            node: self.node.clone(),
            board: Arc::clone(&self.board),
            logs: Arc::clone(&self.settings.logs),
            credentials: Arc::clone(&self.settings.credentials),
            secrets: Arc::clone(&self.settings.secrets),
            questions: Arc::clone(&self.settings.questions),
            usage: self.settings.usage.clone(),
            execs: Arc::clone(&self.settings.execs),
            dialer,
            run_id: self.settings.run_id.clone(),
            protocol_version,
            generation: Arc::clone(&self.generation),
            was_away: self.away,
            work: self.work.clone(),
        };
        let ended = stream::run(&mut client, parts, || {
            let now_s = i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX);
            self.identity.is_due(now_s)
        });
        ended.await
    }

    async fn renew_if_due(&mut self, client: &mut NodeClient<Channel>) -> Result<(), LinkError> {
        let now_s = i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX);
        if !self.identity.is_due(now_s) {
            return Ok(());
        }
        let csr_der = self.identity.renewal_der().map_err(LinkError::Renewal)?;
        let answer = call("Renew", client.renew(RenewRequest { csr_der })).await?;
        self.identity
            .renew(&self.settings.state_dir, answer.certificate_der)
            .map_err(LinkError::Renewal)?;
        tracing::info!("the node's certificate was renewed");
        Ok(())
    }

    /// Registers; which version of the protocol is spoken from now on.
    async fn register(&self, client: &mut NodeClient<Channel>) -> Result<u32, LinkError> {
        let request = RegisterRequest {
            protocol_version: PROTOCOL_VERSION,
            protocol_version_min: Some(PROTOCOL_VERSION_MIN),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            resources: Some(self.settings.resources.into()),
            attributes: self.settings.attributes.iter().cloned().map(v1::Attribute::from).collect(),
        };
        let answer = call("Register", client.register(request)).await?;
        tracing::info!(
            container_instance_arn = %answer.container_instance_arn,
            cluster = %answer.cluster,
            "registered"
        );
        let version = answer.protocol_version.unwrap_or(1);
        if SPOKEN.contains(&version) { Ok(version) } else { Err(LinkError::Version { version }) }
    }
}

/// Makes connections to the controller with the node's certificate.
#[derive(Clone)]
pub struct Dialer {
    controller: String,
    ca_hash: [u8; 32],
    client: Arc<ClientCertificate>,
}

/// Without the key.
impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("controller", &self.controller).finish_non_exhaustive()
    }
}

impl Dialer {
    /// A new connection.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn connect(&self) -> Result<NodeClient<Channel>, LinkError> {
        let client = self.client.duplicate();
        let tls = dial::dial(&self.controller, self.ca_hash, Some(client))
            .await
            .map_err(LinkError::Dial)?;
        let channel = channel(tls).await.map_err(LinkError::Transport)?;
        Ok(NodeClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }
}

/// The controller's way to say that the certificate's node is no more.
fn removed(error: LinkError, node: String) -> LinkError {
    match error {
        LinkError::Refused { status, .. }
            if status.code() == tonic::Code::PermissionDenied
                && status.message().contains("was removed") =>
        {
            LinkError::Removed { node }
        }
        other => other,
    }
}

async fn call<T>(
    call: &'static str,
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, LinkError> {
    match tokio::time::timeout(Duration::from_secs(CALL_S_MAX), answer).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(LinkError::of(call, status)),
        Err(_) => Err(LinkError::Timeout { call }),
    }
}

/// gRPC over one connection that is open already; when that ends, so does the channel.
pub(super) async fn channel(
    stream: TlsStream<TcpStream>,
) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or(std::io::ErrorKind::NotConnected);
        std::future::ready(stream.map_err(std::io::Error::from))
    });
    // The scheme says only that tonic shall not add a second layer of TLS.
    Endpoint::from_static("http://controller.loadline.internal")
        .http2_keep_alive_interval(Duration::from_secs(KEEPALIVE_S))
        .keep_alive_timeout(Duration::from_secs(KEEPALIVE_S))
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
}
