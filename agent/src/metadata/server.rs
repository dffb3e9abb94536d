//! The server: who asks, may they, and what for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use loadline_model::{KeyValue, LogConfiguration, NetworkMode, TaskArn};
use loadline_proto::convert::{TaskAsk, TaskTold};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::document::About;
use super::limit::Limits;
use super::{
    CredentialStore, Directory, Questions, document, introspection, owner, protection, statistics,
};
use crate::clock::now_ms;
use crate::network::plan::METADATA_PORT;
use crate::task::Task;
use crate::task::workshop::Workshop;
use crate::usage::meter::host_cpu_ns;
use crate::usage::{LinkCounters, Meter};

/// Connections at once, of all tasks.
const CONNECTIONS_MAX: usize = 1024;
/// Connections at once from one address: a task can't take them all.
const CONNECTIONS_EACH_MAX: usize = 32;
/// Longest life of a connection.
const CONNECTION: Duration = Duration::from_secs(60);
/// How long a document waits for what the controller alone knows.
const ABOUT_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a controller that did not answer is left alone, so that documents come at once.
const SILENT: Duration = Duration::from_secs(10);
/// How often a port of loopback is tried again that another program has.
const LISTEN_AGAIN: Duration = Duration::from_secs(60);
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
    /// Who measures what they use.
    pub meter: Arc<Meter>,
    /// Where the controller is asked.
    pub questions: Arc<Questions>,
    /// Which node this is.
    pub container_instance_arn: tokio::sync::watch::Receiver<String>,
    /// What was told of tasks that asked, and never changes.
    known: Mutex<BTreeMap<TaskArn, Arc<About>>>,
    /// Until when a controller that did not answer is not asked again for what is only an addition.
    silent_until: Mutex<Option<Instant>>,
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
        let listen = |kind: Kind, without: &str| {
            let port = kind.port();
            let ready = listen(port);
            if let Err(error) = &ready {
                tracing::warn!(
                    %error,
                    port,
                    "another program has this port of loopback, an agent perhaps: {without}"
                );
            }
            ready.ok()
        };
        let metadata = listen(Kind::Metadata, "tasks with networkMode host get no metadata");
        if metadata.is_some() {
            directory.set_serves_host();
        }
        Self {
            metadata,
            introspection: listen(Kind::Introspection, "nobody is told what runs here"),
        }
    }
}

fn listen(port: u16) -> io::Result<std::net::TcpListener> {
    let own = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    own.set_nonblocking(true)?;
    Ok(own)
}

/// Waits until the port is free.
async fn listen_later(port: u16, every: Duration) -> std::net::TcpListener {
    loop {
        tokio::time::sleep(every).await;
        if let Ok(listener) = listen(port) {
            return listener;
        }
    }
}

impl Server {
    /// A server of these.
    #[must_use]
    pub fn new(
        directory: Arc<Directory>,
        credentials: Arc<CredentialStore>,
        meter: Arc<Meter>,
        questions: Arc<Questions>,
        workshop: Arc<Workshop>,
        container_instance_arn: tokio::sync::watch::Receiver<String>,
    ) -> Self {
        Self {
            directory,
            credentials,
            workshop,
            meter,
            questions,
            container_instance_arn,
            known: Mutex::default(),
            silent_until: Mutex::default(),
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
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let listener = match listener {
                    Some(listener) => listener,
                    None => server.wait_for(kind).await,
                };
                server.accept(listener, kind).await;
            });
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

    /// Waits for a port that another program had at the agent's start.
    async fn wait_for(&self, kind: Kind) -> std::net::TcpListener {
        let port = kind.port();
        let listener = listen_later(port, LISTEN_AGAIN).await;
        tracing::info!(port, "this port of loopback has become free: it is served from now on");
        if matches!(kind, Kind::Metadata) {
            self.directory.set_serves_host();
        }
        listener
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
                async move { Ok::<_, io::Error>(server.answer(request, peer, own, kind).await) }
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
        request: Request<Incoming>,
        peer: SocketAddr,
        own: SocketAddr,
        kind: Kind,
    ) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let method = request.method().clone();
        let looking = Arc::clone(&self);
        // Reading cgroups and looking for a socket's owner block.
        let work = move || match kind {
            Kind::Introspection if method != Method::GET => Looked::Answer(only_get()),
            Kind::Introspection => Looked::Answer(introspection::answer(&looking, &path)),
            Kind::Metadata => looking.welcome_task(&path, &method, peer, own),
        };
        let looked = tokio::task::spawn_blocking(work).await;
        let failed = || refuse(StatusCode::INTERNAL_SERVER_ERROR, "the agent failed");
        let (asked, task, at) = match looked {
            Ok(Looked::Found(asked, task, at)) => (asked, task, at),
            Ok(Looked::Answer(answer)) => return answer,
            Err(_) => return failed(),
        };
        match asked {
            Asked::Protection => return protection::answer(&self.questions, &task, request).await,
            Asked::TaskWithTags => return self.with_tags(&task).await,
            Asked::Container | Asked::Task => {
                let about = self.about(&task).await;
                return json_of(&match asked {
                    Asked::Task => document::task(&task, &about),
                    _ => document::container(&task, at, &about),
                });
            }
            Asked::Stats | Asked::TaskStats | Asked::Credentials => {}
        }
        let work = move || self.measured_or_secret(asked, &task, at);
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| failed())
    }

    /// What the path means, if the task itself asks and has not asked too often.
    fn welcome_task(
        &self,
        path: &str,
        method: &Method,
        peer: SocketAddr,
        own: SocketAddr,
    ) -> Looked {
        let nothing = || refuse(StatusCode::NOT_FOUND, "there is nothing here for you");
        let Some((asked, task, at)) = self.find(path) else { return Looked::Answer(nothing()) };
        if !self.is_from(&task, peer, own) {
            return Looked::Answer(nothing());
        }
        if !self.has_one_left(&task.spec.arn) {
            return Looked::Answer(refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests"));
        }
        let may_put = matches!(asked, Asked::Protection) && method == Method::PUT;
        if method != Method::GET && !may_put {
            return Looked::Answer(only_get());
        }
        Looked::Found(asked, task, at)
    }

    /// What the controller knows of a task: asked for once, and told for as long as it lives. A
    /// controller that is away holds nobody up for long.
    async fn about(&self, task: &Task) -> Arc<About> {
        let arn = &task.spec.arn;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(arn).cloned();
        if let Some(known) = known {
            return known;
        }
        let silent = || self.silent_until.lock().unwrap_or_else(PoisonError::into_inner);
        if silent().is_some_and(|until| Instant::now() < until) {
            return Arc::default();
        }
        let asking = self.questions.ask(arn, TaskAsk::About);
        match tokio::time::timeout(ABOUT_WAIT_MAX, asking).await {
            Ok(Ok(TaskTold::About { service, container_arns, logs, .. })) => {
                self.learn(arn, service, container_arns, logs)
            }
            Ok(Ok(_)) => Arc::default(),
            Ok(Err(_)) | Err(_) => {
                *silent() = Some(Instant::now() + SILENT);
                Arc::default()
            }
        }
    }

    fn learn(
        &self,
        arn: &TaskArn,
        service: Option<String>,
        container_arns: Vec<KeyValue>,
        logs: BTreeMap<String, LogConfiguration>,
    ) -> Arc<About> {
        let arns = container_arns.into_iter().map(|pair| (pair.name, pair.value)).collect();
        let about = Arc::new(About { service, container_arns: arns, logs });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if LIMITS_MAX < known.len() {
            let here = self.here();
            known.retain(|task, _| here.contains(task));
        }
        known.insert(arn.clone(), Arc::clone(&about));
        about
    }

    async fn with_tags(&self, task: &Task) -> Response<Full<Bytes>> {
        let arn = &task.spec.arn;
        let why = match self.questions.ask(arn, TaskAsk::About).await {
            Ok(TaskTold::About { tags, instance_tags, service, container_arns, logs }) => {
                let about = self.learn(arn, service, container_arns, logs);
                let tags = Ok([&tags[..], &instance_tags[..]]);
                return json_of(&document::task_with_tags(task, &about, tags));
            }
            Ok(TaskTold::Refused { message, .. }) => message,
            Ok(TaskTold::Protection { .. }) => "the controller answered something else".to_owned(),
            Err(why) => why.to_string(),
        };
        json_of(&document::task_with_tags(task, &About::default(), Err(&why)))
    }

    fn measured_or_secret(&self, asked: Asked, task: &Task, at: usize) -> Response<Full<Bytes>> {
        match asked {
            Asked::Stats => json_of(&self.stats(task, at)),
            Asked::TaskStats => {
                let all = (0..task.spec.containers.len())
                    .map(|at| (task.runtime_id(at), self.stats(task, at)));
                json_of(&Value::Object(all.collect()))
            }
            Asked::Credentials => self.credentials_of(task),
            Asked::Container | Asked::Task | Asked::TaskWithTags | Asked::Protection => {
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "the agent asked itself a wrong question")
            }
        }
    }

    /// What the path means: one that has no id of a task in it means nothing.
    fn find(&self, path: &str) -> Option<(Asked, Arc<Task>, usize)> {
        let path = path.trim_start_matches('/').trim_end_matches('/');
        if let Some(id) = path.strip_prefix("v2/credentials/") {
            return Some((Asked::Credentials, self.directory.credentials(id)?, 0));
        }
        if let Some(rest) = path.strip_prefix("api/") {
            let id = rest.strip_suffix("/task-protection/v1/state")?;
            let (task, at) = self.directory.endpoint(id)?;
            return Some((Asked::Protection, task, at));
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
            let here = self.here();
            limits.retain(|task| here.contains(task));
        }
        limits.take(task, now_ms())
    }

    fn here(&self) -> BTreeSet<TaskArn> {
        self.directory.all().iter().map(|task| task.spec.arn.clone()).collect()
    }

    fn stats(&self, task: &Task, at: usize) -> Value {
        let Some(stats) = self.workshop.stats(task, at) else { return Value::Null };
        // Without the counters there is no network to tell of.
        let links = LinkCounters::read().unwrap_or_default();
        let known = statistics::Known {
            stats: &stats,
            network: self.meter.network(task, at, &links),
            before: self.meter.sample(&task.runtime_id(at)),
            host_cpu_ns: host_cpu_ns(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            now_ms: now_ms(),
        };
        statistics::stats(task, at, &known)
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

impl Kind {
    /// On loopback.
    const fn port(self) -> u16 {
        match self {
            Self::Metadata => METADATA_PORT,
            Self::Introspection => introspection::PORT,
        }
    }
}

/// What is to be done about a request.
#[derive(Debug)]
enum Looked {
    /// A task asks about itself, or about a container of its own.
    Found(Asked, Arc<Task>, usize),
    /// It is answered already.
    Answer(Response<Full<Bytes>>),
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Container,
    Task,
    TaskWithTags,
    Stats,
    TaskStats,
    Credentials,
    Protection,
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

fn only_get() -> Response<Full<Bytes>> {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET")
}

pub(super) fn json_of(value: &Value) -> Response<Full<Bytes>> {
    with_status(StatusCode::OK, value)
}

pub(super) fn refuse(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    with_status(status, &json!({ "code": status.as_u16(), "message": why }))
}

/// A page for Prometheus.
pub(super) fn page_of(text: String) -> Response<Full<Bytes>> {
    Response::builder()
        .header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
        .body(Full::new(Bytes::from(text)))
        .expect("a constant header makes a response")
}

pub(super) fn with_status(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(value.to_string())))
        .expect("a status and a constant header make a response")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_another_program_had_is_taken_once_it_is_free() {
        let other = listen(0).unwrap();
        let port = other.local_addr().unwrap().port();
        let taking = tokio::spawn(listen_later(port, Duration::from_millis(10)));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!taking.is_finished());
        drop(other);
        let taken = tokio::time::timeout(Duration::from_secs(60), taking).await.unwrap().unwrap();
        assert_eq!(taken.local_addr().unwrap().port(), port);
    }
}
