//! A TLS connection to a controller whose CA is known by its hash, before a byte is sent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use loadline_proto::CONTROLLER_DNS_NAME;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, OtherError,
    RootCertStore, SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long connecting and the handshake may take, each.
const DIAL_S_MAX: u64 = 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answers.
    #[error("connect to the controller at {address}")]
    Connect {
        /// HOST:PORT.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody answers who is not the controller that this node trusts.
    #[error("the controller at {address} is not the one that this node may trust")]
    Untrusted {
        /// HOST:PORT.
        address: String,
        /// What differs.
        source: WrongAuthority,
    },
    /// Somebody answers who speaks something else.
    #[error(
        "{address} answers, but not in TLS: agents connect to the controller's agent port \
         (--agent-listen, 7071 unless it was told otherwise), not to its API"
    )]
    NotTls {
        /// HOST:PORT.
        address: String,
    },
    /// The handshake failed.
    #[error("open TLS to the controller at {address}")]
    Handshake {
        /// HOST:PORT.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Our own certificate or key can't be used.
    #[error("use the node's own certificate")]
    Identity(#[source] rustls::Error),
}

/// Another certificate authority than the pinned one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongAuthority {
    /// The chain has no CA in it.
    #[error("it presents no certificate authority")]
    None,
    /// Another CA.
    #[error("its certificate authority has the hash {presented}, expected {pinned}")]
    Other {
        /// SHA-256, hex.
        presented: String,
        /// SHA-256, hex.
        pinned: String,
    },
}

/// A client's certificate, and its key as PKCS #8.
#[derive(Debug)]
pub struct ClientCertificate {
    /// DER.
    pub certificate: CertificateDer<'static>,
    /// DER.
    pub key: PrivateKeyDer<'static>,
}

impl ClientCertificate {
    /// The same once more: a key is not copied by accident.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { certificate: self.certificate.clone(), key: self.key.clone_key() }
    }
}

/// Connects, and returns only when the peer's CA has the hash `ca_hash` and signed its
/// certificate.
///
/// # Errors
/// [`DialError`]; nothing was sent but the handshake.
pub async fn dial(
    address: &str,
    ca_hash: [u8; 32],
    client: Option<ClientCertificate>,
) -> Result<TlsStream<TcpStream>, DialError> {
    let config = client_config(ca_hash, client).map_err(DialError::Identity)?;
    let patience = Duration::from_secs(DIAL_S_MAX);
    let connected = match tokio::time::timeout(patience, TcpStream::connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    let tcp =
        connected.map_err(|source| DialError::Connect { address: address.to_owned(), source })?;
    // Heartbeats and reports are small and should not wait for each other.
    let _ = tcp.set_nodelay(true);
    let name = ServerName::try_from(CONTROLLER_DNS_NAME).expect("the fixed name is a DNS name");
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let shaken = match tokio::time::timeout(patience, handshake).await {
        Ok(shaken) => shaken,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    let address = address.to_owned();
    shaken.map_err(|error| match wrong_authority(&error) {
        Some(source) => DialError::Untrusted { address, source },
        None if is_not_tls(&error) => DialError::NotTls { address },
        None => DialError::Handshake { address, source: error },
    })
}

fn is_not_tls(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let wrong = InvalidMessage::InvalidContentType;
    matches!(error, Some(rustls::Error::InvalidMessage(message)) if *message == wrong)
}

fn client_config(
    ca_hash: [u8; 32],
    client: Option<ClientCertificate>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(PinnedCa { ca_hash, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match client {
        Some(client) => builder.with_client_auth_cert(vec![client.certificate], client.key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn wrong_authority(error: &io::Error) -> Option<WrongAuthority> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref::<WrongAuthority>().cloned()
        }
        _ => None,
    }
}

/// Trusts exactly the CA with this hash; the rest of the check is the ordinary one.
#[derive(Debug)]
struct PinnedCa {
    ca_hash: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl PinnedCa {
    fn check_authority<'a, 'b>(
        &self,
        chain: &'a [CertificateDer<'b>],
    ) -> Result<(&'a CertificateDer<'b>, &'a [CertificateDer<'b>]), WrongAuthority> {
        let (ca, between) = chain.split_last().ok_or(WrongAuthority::None)?;
        let hash: [u8; 32] = Sha256::digest(ca).into();
        if hash != self.ca_hash {
            return Err(WrongAuthority::Other {
                presented: hex::encode(hash),
                pinned: hex::encode(self.ca_hash),
            });
        }
        Ok((ca, between))
    }
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let (ca, between) = self
            .check_authority(intermediates)
            .map_err(|wrong| CertificateError::Other(OtherError(Arc::new(wrong))))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let ordinary = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
        ordinary.verify_server_cert(end_entity, between, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
