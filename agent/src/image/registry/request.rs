//! One HTTP request on one connection, with bounds on time and size.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long reaching a host may take, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a registry may send nothing (the ECS agent's pull inactivity timeout).
pub const INACTIVITY_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The host can't be reached.
    #[error("connect to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// The error.
        source: io::Error,
    },
    /// The host is not who it says, or speaks no TLS.
    #[error("speak TLS with {host}")]
    Tls {
        /// Host and port.
        host: String,
        /// The error.
        source: io::Error,
    },
    /// The exchange broke off.
    #[error("ask {url}")]
    Exchange {
        /// What was asked for.
        url: String,
        /// The error.
        source: hyper::Error,
    },
    /// It went silent.
    #[error("{url} sent nothing for {} s", waited.as_secs())]
    Silent {
        /// What was asked for.
        url: String,
        /// For how long.
        waited: Duration,
    },
    /// An answer larger than its kind ever is.
    #[error("the answer of {url} is larger than {bytes_max} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The bound.
        bytes_max: u64,
    },
    /// A URL that can't be asked.
    #[error("{url} is no URL that can be asked")]
    Url {
        /// The URL.
        url: String,
    },
}

/// Makes requests.
#[derive(Clone, Debug)]
pub(super) struct Http {
    tls: Arc<rustls::ClientConfig>,
}

impl Http {
    pub(super) fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        Self { tls }
    }

    /// Sends one request and waits for the answer's head. Redirects are the caller's.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, HttpError> {
        let bad_url = || HttpError::Url { url: url.to_string() };
        let host = url.host().ok_or_else(bad_url)?;
        let is_tls = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| bad_url())?;
        *request.headers_mut() = headers;
        let authority = url.authority().map_or(host, |authority| authority.as_str());
        let authority = HeaderValue::from_str(authority).map_err(|_| bad_url())?;
        request.headers_mut().insert(header::HOST, authority);
        let agent = concat!("loadline/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let exchange = async {
            if is_tls {
                exchange(TokioIo::new(self.tls_stream(host, port).await?), request, url).await
            } else {
                exchange(TokioIo::new(tcp_stream(host, port).await?), request, url).await
            }
        };
        let waited = CONNECT_TIMEOUT + INACTIVITY_TIMEOUT;
        let silent = |_| HttpError::Silent { url: url.to_string(), waited };
        tokio::time::timeout(waited, exchange).await.map_err(silent)?
    }

    async fn tls_stream(
        &self,
        host: &str,
        port: u16,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, HttpError> {
        let failed = |source| HttpError::Tls { host: format!("{host}:{port}"), source };
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(io::Error::other).map_err(failed)?;
        let stream = tcp_stream(host, port).await?;
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(failed)
    }
}

async fn tcp_stream(host: &str, port: u16) -> Result<TcpStream, HttpError> {
    let failed = |source| HttpError::Connect { host: format!("{host}:{port}"), source };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((bare, port))).await {
        Ok(stream) => stream.map_err(failed),
        Err(_) => Err(failed(io::Error::from(io::ErrorKind::TimedOut))),
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    url: &Uri,
) -> Result<Response<Incoming>, HttpError>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let failed = |source| HttpError::Exchange { url: url.to_string(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(failed)?;
    // It ends with the exchange; what goes wrong on it is seen by the body's reader.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(failed)
}

/// The next piece of a body; `None` at its end.
pub(super) async fn next_piece(body: &mut Incoming, url: &Uri) -> Result<Option<Bytes>, HttpError> {
    loop {
        let frame = tokio::time::timeout(INACTIVITY_TIMEOUT, body.frame()).await;
        let silent = |_| HttpError::Silent { url: url.to_string(), waited: INACTIVITY_TIMEOUT };
        match frame.map_err(silent)? {
            None => return Ok(None),
            Some(Err(source)) => {
                return Err(HttpError::Exchange { url: url.to_string(), source });
            }
            // Trailers are of no use here.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A whole body of at most `bytes_max` bytes.
pub(super) async fn whole(
    mut body: Incoming,
    url: &Uri,
    bytes_max: u64,
) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    while let Some(piece) = next_piece(&mut body, url).await? {
        if bytes_max < (bytes.len() + piece.len()) as u64 {
            return Err(HttpError::TooLarge { url: url.to_string(), bytes_max });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Whether the answer says to look elsewhere.
pub(super) fn location<B>(response: &Response<B>) -> Option<&str> {
    let moved = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(header::LOCATION).filter(|_| moved);
    location.and_then(|value| value.to_str().ok())
}
