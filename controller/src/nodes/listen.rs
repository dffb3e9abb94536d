//! Connections of the agent port: accepted, bounded, and behind TLS 1.3.
//!
//! A client certificate is optional here, because a node that joins has none yet; each service asks
//! for it itself. A connection without one is short: nobody holds a place for long by connecting.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::closed;
use super::pki::{Authority, PkiError, ServerIdentity};

/// Most connections at a time: nodes with a certificate.
const NODES_MAX: usize = 16_384;
/// Most connections at a time that are not (yet) known to have one.
const STRANGERS_MAX: usize = 256;
/// How long a TLS handshake may take.
const HANDSHAKE_MS_MAX: u64 = 10_000;
/// How long a connection without a client certificate may live: enrolling is one call.
const STRANGER_MS_MAX: u64 = 30_000;
/// How long to wait after `accept` failed, for example for want of file descriptors.
const ACCEPT_PAUSE_MS: u64 = 100;

/// TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No server certificate.
    #[error("can't make the server's certificate")]
    Certificate(#[from] PkiError),
    /// The library refused our configuration.
    #[error("the TLS library refused the configuration")]
    Config(#[from] rustls::Error),
    /// The authority can't be used to check nodes.
    #[error("can't check certificates of nodes")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// TLS 1.3 alone, HTTP/2 alone, client certificates of our authority alone.
pub(super) fn tls_config(
    identity: ServerIdentity,
    authority: &Authority,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(identity));
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Each connection shows its certificate anew: one that ended is refused at the next connect.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Where from.
    pub(super) address: SocketAddr,
    /// The client certificate, signed by our authority and within its time, if one was shown.
    pub(super) certificate: Option<CertificateDer<'static>>,
}

/// One connection; gives its place back when it ends.
#[derive(Debug)]
pub(super) struct Connection {
    io: TlsStream<TcpStream>,
    peer: Peer,
    /// Set where no client certificate was shown.
    ends: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

/// Accepts until `closing` turns true.
pub(super) fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    closing: watch::Receiver<bool>,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = accept_all(&listener, TlsAcceptor::from(tls), ready) => {}
            () = closed(closing) => {}
        }
    });
    ReceiverStream::new(connections)
}

async fn accept_all(
    listener: &TcpListener,
    tls: TlsAcceptor,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    let nodes = Arc::new(Semaphore::new(NODES_MAX));
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    loop {
        // Waiting before `accept` leaves further clients in the kernel's own bounded queue.
        let Ok(place) = Arc::clone(&strangers).acquire_owned().await else { return };
        let (tcp, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("the agent port can't accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        let (tls, ready, nodes) = (tls.clone(), ready.clone(), Arc::clone(&nodes));
        tokio::spawn(async move {
            if let Some(connection) = handshake(tls, tcp, address, place, &nodes).await {
                // An error means that the server has gone.
                let _ = ready.send(Ok(connection)).await;
            }
        });
    }
}

async fn handshake(
    tls: TlsAcceptor,
    tcp: TcpStream,
    address: SocketAddr,
    place: OwnedSemaphorePermit,
    nodes: &Arc<Semaphore>,
) -> Option<Connection> {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!("{address}: no TCP_NODELAY: {error}");
    }
    let limit = Duration::from_millis(HANDSHAKE_MS_MAX);
    let io = match tokio::time::timeout(limit, tls.accept(tcp)).await {
        Ok(Ok(io)) => io,
        Ok(Err(error)) => {
            tracing::info!("{address}: TLS failed: {error}");
            return None;
        }
        Err(_) => {
            tracing::info!("{address}: no TLS within {HANDSHAKE_MS_MAX} ms");
            return None;
        }
    };
    let certificate = io.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.map(|certificate| certificate.clone().into_owned());
    let (place, ends) = if certificate.is_some() {
        let Ok(node_place) = Arc::clone(nodes).try_acquire_owned() else {
            tracing::warn!("{address}: refused: {NODES_MAX} nodes are connected already");
            return None;
        };
        (node_place, None)
    } else {
        let end = tokio::time::sleep(Duration::from_millis(STRANGER_MS_MAX));
        (place, Some(Box::pin(end)))
    };
    Some(Connection { io, peer: Peer { address, certificate }, ends, _place: place })
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
