//! Reading one object: connect, ask, bound the answer, try again where that may help.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use loadline_proto::trust::{self, TrustError};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::{
    Endpoint, OBJECT_BYTES_MAX, ObjectName, PAUSE, READ_AT_ONCE_MAX, READ_FOR_RUNNING_MAX,
    TRIES_MAX, TRY_TIMEOUT, TURN_MAX, sign,
};
use crate::api::auth::AccessKey;

/// How much of a refusal is read for its code, in bytes.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;
/// Longest code or place of a refusal that is repeated, in characters.
const SHOWN_CHARS_MAX: usize = 128;

/// A store and how it is asked.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The region that requests are signed for.
    pub region: String,
    /// Who asks.
    pub key: AccessKey,
    /// A PEM file of authorities to trust besides the host's.
    pub ca_file: Option<PathBuf>,
}

/// Reads objects; clones share its bounds.
#[derive(Clone, Debug)]
pub struct ObjectStore {
    options: Arc<StoreOptions>,
    tls: Arc<rustls::ClientConfig>,
    room: Arc<Semaphore>,
    /// Taken first by what is read for tasks that run.
    room_for_running: Arc<Semaphore>,
}

/// Who waits for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// A task that is about to start.
    StartingTask,
    /// One that runs, and needs the object should a container of it start again. However many of
    /// them hang, those that start have places.
    RunningTask,
}

/// A store that can't be used, or an object that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No server can be believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// There was no conversation.
    #[error("can't {step} {endpoint}: {source}")]
    Broken {
        /// `connect to`, `speak TLS with` or `read from`.
        step: &'static str,
        /// Whom.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("{endpoint} did not answer within {} s", TRY_TIMEOUT.as_secs())]
    Slow {
        /// Who.
        endpoint: Endpoint,
    },
    /// Its turn did not come: the store is slow for others too.
    #[error("too many other objects were being read from {endpoint} for {} s", TURN_MAX.as_secs())]
    Busy {
        /// Who.
        endpoint: Endpoint,
    },
    /// It said no.
    #[error("{endpoint} answered {status}{code}")]
    Refused {
        /// Who.
        endpoint: Endpoint,
        /// The status.
        status: StatusCode,
        /// ` (CODE)` where it had one.
        code: String,
    },
    /// It said to look elsewhere.
    #[error(
        "{endpoint} answered {status} and points to {location:?}, which is not followed: check \
         --s3-endpoint and --s3-region"
    )]
    Moved {
        /// Who.
        endpoint: Endpoint,
        /// The status.
        status: StatusCode,
        /// Where it points to.
        location: String,
    },
    /// Larger than an object may be here.
    #[error("the object is larger than {OBJECT_BYTES_MAX} bytes")]
    TooLarge,
}

impl StoreError {
    /// Whether the next try may end differently.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Slow { .. } | Self::Busy { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

impl ObjectStore {
    /// A reader. Nothing is asked yet.
    ///
    /// # Errors
    /// [`StoreError::Trust`].
    pub fn new(options: StoreOptions) -> Result<Self, StoreError> {
        let tls = trust::of_the_web(options.ca_file.as_deref())?;
        let room = Arc::new(Semaphore::new(READ_AT_ONCE_MAX));
        let room_for_running = Arc::new(Semaphore::new(READ_FOR_RUNNING_MAX));
        Ok(Self { options: Arc::new(options), tls, room, room_for_running })
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.options.endpoint
    }

    /// The id of the key that asks.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.options.key.id
    }

    /// The whole object.
    ///
    /// # Errors
    /// [`StoreError`] of the last try.
    pub async fn read(&self, name: &ObjectName, waiter: Waiter) -> Result<Vec<u8>, StoreError> {
        let turn = async {
            // Nobody closes them.
            let running = match waiter {
                Waiter::RunningTask => Some(self.room_for_running.acquire().await),
                Waiter::StartingTask => None,
            };
            (running, self.room.acquire().await)
        };
        let turn = tokio::time::timeout(TURN_MAX, turn).await;
        let _permits = turn.map_err(|_| StoreError::Busy { endpoint: self.endpoint().clone() })?;
        let mut tries = 1;
        loop {
            let slow = |_| StoreError::Slow { endpoint: self.endpoint().clone() };
            let tried = tokio::time::timeout(TRY_TIMEOUT, self.try_once(name)).await;
            match tried.map_err(slow).and_then(|tried| tried) {
                Err(error) if error.may_pass() && tries < TRIES_MAX => {
                    tracing::debug!(object = %name, "try {tries} of {TRIES_MAX}: {error}");
                    tokio::time::sleep(PAUSE * tries).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    async fn try_once(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let request = self.request(name, SystemTime::now())?;
        let endpoint = self.endpoint();
        let tcp = TcpStream::connect((endpoint.host(), endpoint.port())).await;
        let tcp = tcp.map_err(|source| self.broken("connect to", source))?;
        let response = if endpoint.tls {
            let server = ServerName::try_from(endpoint.host().to_owned());
            let server = server.map_err(|e| self.broken("speak TLS with", io::Error::other(e)))?;
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            let tls = connector.connect(server, tcp).await;
            let tls = tls.map_err(|source| self.broken("speak TLS with", source))?;
            exchange(TokioIo::new(tls), request).await
        } else {
            exchange(TokioIo::new(tcp), request).await
        };
        self.answer(response.map_err(|e| self.broken("read from", io::Error::other(e)))?).await
    }

    fn request(
        &self,
        name: &ObjectName,
        now: SystemTime,
    ) -> Result<Request<Empty<Bytes>>, StoreError> {
        let StoreOptions { endpoint, region, key, .. } = &*self.options;
        let signed = sign::get(name, endpoint.authority.as_str(), region, key, now);
        let agent = concat!("loadline/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::get(signed.path)
            .header(header::HOST, endpoint.authority.as_str())
            .header(header::USER_AGENT, agent);
        for (name, value) in signed.headers {
            request = request.header(name, value);
        }
        let bad = |e| self.broken("ask", io::Error::other(e));
        request.body(Empty::new()).map_err(bad)
    }

    fn broken(&self, step: &'static str, source: io::Error) -> StoreError {
        StoreError::Broken { step, endpoint: self.endpoint().clone(), source }
    }

    async fn answer(&self, response: Response<Incoming>) -> Result<Vec<u8>, StoreError> {
        let (head, body) = response.into_parts();
        let endpoint = self.endpoint().clone();
        let status = head.status;
        if status.is_redirection() {
            let location = head.headers.get(header::LOCATION).map(HeaderValue::as_bytes);
            let location = String::from_utf8_lossy(location.unwrap_or_default());
            let location = location.chars().take(SHOWN_CHARS_MAX).collect();
            return Err(StoreError::Moved { endpoint, status, location });
        }
        if status != StatusCode::OK {
            let text = self.bounded(body, REFUSAL_BYTES_MAX).await.unwrap_or_default();
            let code = code(&String::from_utf8_lossy(&text));
            return Err(StoreError::Refused { endpoint, status, code });
        }
        self.bounded(body, OBJECT_BYTES_MAX).await
    }

    async fn bounded(&self, mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| self.broken("read from", io::Error::other(e)))?;
            // Trailers are of no use here.
            let Ok(data) = frame.into_data() else { continue };
            if bytes_max < bytes.len() + data.len() {
                return Err(StoreError::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, hyper::Error>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    // It ends with the exchange; what goes wrong on it is seen by whoever reads the body.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// ` (CODE)` of S3's error document, for example ` (NoSuchKey)`; nothing where it has none.
fn code(document: &str) -> String {
    let code = document.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
    match code {
        Some((code, _)) if code.len() <= SHOWN_CHARS_MAX && code.chars().all(plain) => {
            format!(" ({code})")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::api::auth::SecretKey;

    /// A server that gives these answers, one a connection, then closes its port; a store on it.
    async fn serve(answers: Vec<String>) -> (ObjectStore, tokio::task::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let mut served = 0;
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                // A client that has seen enough hangs up.
                let _ = stream.write_all(answer.as_bytes()).await;
                served += 1;
            }
            served
        });
        (store_at(&endpoint), serving)
    }

    fn store_at(endpoint: &str) -> ObjectStore {
        let options = StoreOptions {
            endpoint: endpoint.parse().unwrap(),
            region: "us-east-1".into(),
            key: AccessKey { id: "A".into(), secret: SecretKey::new("s") },
            ca_file: None,
        };
        ObjectStore::new(options).unwrap()
    }

    fn answer(status: &str, more: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{more}\r\n{body}")
    }

    async fn read(answers: Vec<String>) -> Result<Vec<u8>, String> {
        let count = answers.len();
        let (store, serving) = serve(answers).await;
        let name = ObjectName::parse("arn:aws:s3:::bucket/a.env").unwrap();
        let read = store.read(&name, Waiter::StartingTask).await.map_err(|error| {
            let here = store.endpoint().to_string();
            error.to_string().replace(&here, "HERE")
        });
        assert_eq!(serving.await.unwrap(), count, "every answer was asked for");
        read
    }

    #[tokio::test]
    async fn a_store_that_is_busy_is_asked_again_and_one_that_says_no_is_not() {
        let busy = || answer("503 Slow Down", "", "<Error><Code>SlowDown</Code></Error>");
        assert_eq!(read(vec![busy(), busy(), answer("200 OK", "", "A=b")]).await.unwrap(), b"A=b");
        let error = read(vec![busy(), busy(), busy()]).await.unwrap_err();
        assert_eq!(error, "HERE answered 503 Service Unavailable (SlowDown)");
        let no = answer("404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>");
        let error = read(vec![no]).await.unwrap_err();
        assert_eq!(error, "HERE answered 404 Not Found (NoSuchKey)");
    }

    #[tokio::test]
    async fn a_redirect_is_told_and_not_followed() {
        let moved = answer("307 Temporary Redirect", "location: http://127.0.0.1:1/x\r\n", "");
        let error = read(vec![moved]).await.unwrap_err();
        assert!(error.contains("points to \"http://127.0.0.1:1/x\", which is not foll"), "{error}");
    }

    #[tokio::test]
    async fn an_object_that_is_too_large_is_refused_whatever_its_length_said() {
        let fits = "x".repeat(OBJECT_BYTES_MAX);
        assert_eq!(read(vec![answer("200 OK", "", &fits)]).await.unwrap().len(), fits.len());
        let large = format!("{fits}x");
        let error = read(vec![answer("200 OK", "", &large)]).await.unwrap_err();
        assert_eq!(error, "the object is larger than 262144 bytes");
        let unsaid = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{large}");
        assert_eq!(read(vec![unsaid]).await.unwrap_err(), error);
    }

    #[tokio::test]
    async fn one_that_breaks_off_or_is_not_there_is_told() {
        let half = || "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nA=b".to_owned();
        let error = read(vec![half(), half(), half()]).await.unwrap_err();
        assert!(error.starts_with("can't read from HERE: "), "{error}");
        let (store, serving) = serve(vec![]).await;
        serving.await.unwrap();
        let name = ObjectName::parse("arn:aws:s3:::bucket/a.env").unwrap();
        let error = store.read(&name, Waiter::StartingTask).await.unwrap_err().to_string();
        assert!(error.starts_with("can't connect to http://127.0.0.1:"), "{error}");
    }

    #[tokio::test]
    async fn over_tls_only_a_certificate_of_a_known_authority_is_taken() {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint: Endpoint =
            format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // One that does not trust us hangs up.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer("200 OK", "", "A=b").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, made.cert.pem()).unwrap();
        let store = |ca_file| {
            let key = AccessKey { id: "A".into(), secret: SecretKey::new("s") };
            let (endpoint, region) = (endpoint.clone(), "us-east-1".to_owned());
            ObjectStore::new(StoreOptions { endpoint, region, key, ca_file })
        };
        let name = ObjectName::parse("arn:aws:s3:::bucket/a.env").unwrap();
        let read = async |ca_file| store(ca_file).unwrap().read(&name, Waiter::StartingTask).await;
        assert_eq!(read(Some(path)).await.unwrap(), b"A=b");
        let error = read(None).await.unwrap_err().to_string();
        assert!(error.starts_with("can't speak TLS with https://127.0.0.1:"), "{error}");
        let missing = store(Some(folder.path().join("nobody"))).unwrap_err().to_string();
        assert!(missing.contains("read the certificate authorities in"), "{missing}");
    }

    /// A server that says nothing about the objects of running tasks, and answers all others; how
    /// many are being asked for, and the most so far.
    async fn silent_about_running() -> (ObjectStore, Arc<(AtomicUsize, AtomicUsize)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = store_at(&format!("http://{}", listener.local_addr().unwrap()));
        let asked = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    if head.starts_with(b"GET /bucket/running") {
                        let now = counted.0.fetch_add(1, Ordering::SeqCst) + 1;
                        counted.1.fetch_max(now, Ordering::SeqCst);
                        stream.read_u8().await.unwrap_err();
                        counted.0.fetch_sub(1, Ordering::SeqCst);
                    } else {
                        stream.write_all(answer("200 OK", "", "A=b").as_bytes()).await.unwrap();
                    }
                });
            }
        });
        (store, asked)
    }

    #[tokio::test]
    async fn however_many_reads_for_running_tasks_hang_a_task_that_starts_has_its_objects() {
        let (store, asked) = silent_about_running().await;
        let running = ObjectName::parse("arn:aws:s3:::bucket/running.env").unwrap();
        let name = ObjectName::parse("arn:aws:s3:::bucket/a.env").unwrap();
        let mut hanging = tokio::task::JoinSet::new();
        for _ in 0..READ_AT_ONCE_MAX + 8 {
            let (store, name) = (store.clone(), running.clone());
            hanging.spawn(async move { store.read(&name, Waiter::RunningTask).await });
        }
        while asked.0.load(Ordering::SeqCst) < READ_FOR_RUNNING_MAX {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(store.read(&name, Waiter::StartingTask).await.unwrap(), b"A=b");
        assert_eq!(asked.1.load(Ordering::SeqCst), READ_FOR_RUNNING_MAX);
    }

    #[test]
    fn what_is_no_code_is_not_repeated() {
        assert_eq!(code("<Code>NoSuchKey</Code>"), " (NoSuchKey)");
        for text in ["", "<Code>", "<Code>a b</Code>", "</Code><Code>"] {
            assert_eq!(code(text), "");
        }
        assert_eq!(code(&format!("<Code>{}</Code>", "a".repeat(129))), "");
    }
}
