//! The server: who asks, may they, and what for.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use loadline_model::{NetworkMode, TaskArn};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::limit::Limits;
use super::{CredentialStore, Directory, document, introspection, owner};
use crate::clock::now_ms;
use crate::network::plan::METADATA_PORT;
use crate::task::Task;
use crate::task::workshop::Workshop;

/// Connections at once, of all tasks.
const CONNECTIONS_MAX: usize = 1024;
/// Connections at once from one address: a task can't take them all.
const CONNECTIONS_EACH_MAX: usize = 32;
/// Longest life of a connection.
const CONNECTION: Duration = Duration::from_secs(60);
/// Tasks whose limits are remembered before those that are gone are forgotten.
const LIMITS_MAX: usize = 4096;

/// What the server knows.
#[derive(Debug)]
pub struct Server {
    /// The tasks.
    pub directory: Arc<Directory>,
    /// Their credentials.
    pub credentials: Arc<CredentialStore>,
    /// Who knows their cgroups.
    pub workshop: Arc<Workshop>,
    /// Which node this is.
    pub container_instance_arn: tokio::sync::watch::Receiver<String>,
    limits: Mutex<Limits>,
    connections: Mutex<BTreeMap<IpAddr, usize>>,
    all: Semaphore,
}

/// What listens on the host's loopback: one that another agent has is missing.
#[derive(Debug, Default)]
pub struct Loopback {
    metadata: Option<std::net::TcpListener>,
    introspection: Option<std::net::TcpListener>,
}

impl Loopback {
    /// Listens, before any task goes on.
    #[must_use]
    pub fn listen(directory: &Directory) -> Self {
        let listen = |port: u16| {
            let bound = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            let ready = bound.and_then(|own| own.set_nonblocking(true).map(|()| own));
            if let Err(error) = &ready {
                tracing::info!(%error, port, "not listening on loopback: another agent may be");
            }
            ready.ok()
        };
        let metadata = listen(METADATA_PORT);
        if metadata.is_some() {
            directory.set_serves_host();
        }
        Self { metadata, introspection: listen(introspection::PORT) }
    }
}

impl Server {
    /// A server of these.
    #[must_use]
    pub fn new(
        directory: Arc<Directory>,
        credentials: Arc<CredentialStore>,
        workshop: Arc<Workshop>,
        container_instance_arn: tokio::sync::watch::Receiver<String>,
    ) -> Self {
        Self {
            directory,
            credentials,
            workshop,
            container_instance_arn,
            limits: Mutex::default(),
            connections: Mutex::default(),
            all: Semaphore::new(CONNECTIONS_MAX),
        }
    }

    /// Serves on loopback, and on each listener of the tasks' network that comes.
    pub fn start(self, loopback: Loopback, mut listeners: mpsc::Receiver<std::net::TcpListener>) {
        let server = Arc::new(self);
        for (listener, kind) in
            [(loopback.metadata, Kind::Metadata), (loopback.introspection, Kind::Introspection)]
        {
            if let Some(listener) = listener {
                tokio::spawn(Arc::clone(&server).accept(listener, kind));
            }
        }
        tokio::spawn(async move {
            let mut newest: Option<tokio::task::AbortHandle> = None;
            while let Some(listener) = listeners.recv().await {
                newest.take().inspect(tokio::task::AbortHandle::abort);
                let serving = Arc::clone(&server).accept(listener, Kind::Metadata);
                newest = Some(tokio::spawn(serving).abort_handle());
            }
        });
    }

    async fn accept(self: Arc<Self>, listener: std::net::TcpListener, kind: Kind) {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => Arc::clone(&self).welcome(stream, peer, kind),
                Err(error) => {
                    tracing::warn!(%error, "the metadata endpoint can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn welcome(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, kind: Kind) {
        let Some(place) = Place::take(&self, peer.ip()) else { return };
        tokio::spawn(async move {
            let server = Arc::clone(&place.server);
            let Ok(own) = stream.local_addr() else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                let server = Arc::clone(&server);
                async move { Ok::<_, io::Error>(server.answer(&request, peer, own, kind).await) }
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // Who speaks no HTTP, or too slowly, is let go of without a word.
            let _ = tokio::time::timeout(CONNECTION, serving).await;
            drop(place);
        });
    }

    async fn answer(
        self: Arc<Self>,
        request: &Request<Incoming>,
        peer: SocketAddr,
        own: SocketAddr,
        kind: Kind,
    ) -> Response<Full<Bytes>> {
        if *request.method() != Method::GET {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET");
        }
        let path = request.uri().path().to_owned();
        // Reading cgroups and looking for a socket's owner block.
        let work = move || match kind {
            Kind::Introspection => introspection::answer(&self, &path),
            Kind::Metadata => self.metadata(&path, peer, own),
        };
        let answered = tokio::task::spawn_blocking(work).await;
        answered.unwrap_or_else(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR, "the agent failed"))
    }

    fn metadata(&self, path: &str, peer: SocketAddr, own: SocketAddr) -> Response<Full<Bytes>> {
        let nothing = || refuse(StatusCode::NOT_FOUND, "there is nothing here for you");
        let Some((asked, task, at)) = self.find(path) else { return nothing() };
        if !self.is_from(&task, peer, own) {
            return nothing();
        }
        if !self.has_one_left(&task.spec.arn) {
            return refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests");
        }
        match asked {
            Asked::Container => json_of(&document::container(&task, at)),
            Asked::Task => json_of(&document::task(&task)),
            Asked::TaskWithTags => json_of(&document::task_with_tags(&task)),
            Asked::Stats => json_of(&self.stats(&task, at)),
            Asked::TaskStats => {
                let all = (0..task.spec.containers.len())
                    .map(|at| (task.runtime_id(at), self.stats(&task, at)));
                json_of(&Value::Object(all.collect()))
            }
            Asked::Credentials => self.credentials_of(&task),
        }
    }

    /// What the path means: one that has no id of a task in it means nothing.
    fn find(&self, path: &str) -> Option<(Asked, Arc<Task>, usize)> {
        let path = path.trim_start_matches('/').trim_end_matches('/');
        if let Some(id) = path.strip_prefix("v2/credentials/") {
            return Some((Asked::Credentials, self.directory.credentials(id)?, 0));
        }
        let rest = path.strip_prefix("v4/").or_else(|| path.strip_prefix("v3/"))?;
        let (id, what) = rest.split_once('/').unwrap_or((rest, ""));
        let (task, at) = self.directory.endpoint(id)?;
        let asked = match what {
            "" => Asked::Container,
            "task" => Asked::Task,
            "taskWithTags" => Asked::TaskWithTags,
            "stats" => Asked::Stats,
            "task/stats" => Asked::TaskStats,
            _ => return None,
        };
        Some((asked, task, at))
    }

    fn is_from(&self, task: &Task, peer: SocketAddr, own: SocketAddr) -> bool {
        match task.spec.network_mode {
            NetworkMode::Bridge | NetworkMode::Awsvpc => {
                self.directory.at_address(peer.ip()).is_some_and(|arn| arn == task.spec.arn)
            }
            NetworkMode::Host => {
                peer.ip().is_loopback()
                    && owner::is_of_task(&self.workshop, task.spec.arn.id(), peer, own)
            }
            NetworkMode::None => false,
        }
    }

    fn has_one_left(&self, task: &TaskArn) -> bool {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if LIMITS_MAX < limits.len() {
            let here: std::collections::BTreeSet<TaskArn> =
                self.directory.all().iter().map(|task| task.spec.arn.clone()).collect();
            limits.retain(|task| here.contains(task));
        }
        limits.take(task, now_ms())
    }

    fn stats(&self, task: &Task, at: usize) -> Value {
        let name = task.spec.containers[at].name.as_str();
        let usage = self.workshop.usage(task.spec.arn.id(), name);
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        usage.map_or(Value::Null, |usage| document::stats(task, at, &usage, cpus, now_ms()))
    }

    fn credentials_of(&self, task: &Task) -> Response<Full<Bytes>> {
        let now = now_ms();
        let kept = self.credentials.get(&task.spec.arn);
        let Some(own) = kept.filter(|own| now < own.expires_at_ms) else {
            let why = "the credentials of the task's role have not come from the controller yet";
            return refuse(StatusCode::SERVICE_UNAVAILABLE, why);
        };
        json_of(&json!({
            "RoleArn": own.role_arn,
            "AccessKeyId": own.access_key_id,
            "SecretAccessKey": own.secret_access_key,
            "Token": own.session_token,
            "Expiration": document::rfc3339(own.expires_at_ms),
        }))
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Metadata,
    Introspection,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Container,
    Task,
    TaskWithTags,
    Stats,
    TaskStats,
    Credentials,
}

/// One of the connections that there may be; given back when dropped.
struct Place {
    server: Arc<Server>,
    from: IpAddr,
}

impl Place {
    fn take(server: &Arc<Server>, from: IpAddr) -> Option<Self> {
        server.all.try_acquire().ok()?.forget();
        let place = Self { server: Arc::clone(server), from };
        let mut connections = server.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(from).or_default();
        *count += 1;
        let is_one_of_few = *count <= CONNECTIONS_EACH_MAX;
        drop(connections);
        is_one_of_few.then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.all.add_permits(1);
        let connections = self.server.connections.lock();
        let mut connections = connections.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.from);
            }
        }
    }
}

pub(super) fn json_of(value: &Value) -> Response<Full<Bytes>> {
    with_status(StatusCode::OK, value)
}

pub(super) fn refuse(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    with_status(status, &json!({ "code": status.as_u16(), "message": why }))
}

fn with_status(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(value.to_string())))
        .expect("a status and a constant header make a response")
}
