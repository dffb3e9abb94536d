//! The controller's certificate authority: who may speak on the agent port.
//!
//! Invariants: the authority's key never leaves its file (0600) and this process. The server's key
//! lives in memory only, so a copied state folder without the authority's file is worth nothing.
//! A node's certificate is good for client authentication alone: a node can't pose as the
//! controller. Time is an argument.

mod file;
mod server;

use std::time::{Duration, SystemTime};

use loadline_model::InstanceArn;
use loadline_proto::CONTROLLER_DNS_NAME;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

pub use file::{AuthorityFileError, load_or_create};
pub use server::ServerIdentity;

use crate::state::Sha256Hash;

/// How long a node's certificate holds. An agent renews it well before (`Node.Renew`); a host that
/// was off for longer has to join again.
pub const NODE_CERTIFICATE_VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the server's certificate holds; a new one is made after a third of it.
pub const SERVER_CERTIFICATE_VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long the authority itself holds.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Certificates begin to hold this long before they are made: clocks of hosts differ.
const BACKDATE: Duration = Duration::from_secs(3600);
/// Largest certificate request, in bytes: one for a P-256 key has about 250.
pub const CSR_BYTES_MAX: usize = 4096;

/// An uncompressed P-256 point, and an Ed25519 public key, in bytes (RFC 5480, RFC 8410).
const P256_POINT_BYTES: usize = 65;
const ED25519_KEY_BYTES: usize = 32;

/// The authority: its key, and its certificate, whose hash is in each join token.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate request that is refused, or a certificate that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Not a request that we can read, or not signed by the key that it names.
    #[error("not a PKCS #10 request signed by its own key")]
    Request(#[source] rcgen::Error),
    /// A key of another kind.
    #[error("the request's key is neither ECDSA P-256 nor Ed25519")]
    KeyKind,
    /// Above [`CSR_BYTES_MAX`].
    #[error("the request has {0} bytes, more than {CSR_BYTES_MAX}")]
    RequestTooLarge(usize),
    /// Making or signing failed.
    #[error("can't make a certificate")]
    Make(#[source] rcgen::Error),
    /// What was made can't be used for TLS.
    #[error("can't use the new certificate for TLS")]
    Tls(#[source] rustls::Error),
}

/// A certificate request that was checked: signed by its own key, of a kind that we take.
#[derive(Debug)]
pub struct NodeKey {
    request: CertificateSigningRequestParams,
}

impl NodeKey {
    /// Reads a PKCS #10 request. Its subject and extensions are ignored: who the node is comes
    /// from its token or its certificate.
    ///
    /// # Errors
    /// [`PkiError::Request`], [`PkiError::KeyKind`] or [`PkiError::RequestTooLarge`].
    pub fn from_request(csr_der: &[u8]) -> Result<Self, PkiError> {
        if CSR_BYTES_MAX < csr_der.len() {
            return Err(PkiError::RequestTooLarge(csr_der.len()));
        }
        let der = CertificateSigningRequestDer::from(csr_der);
        let request = CertificateSigningRequestParams::from_der(&der).map_err(PkiError::Request)?;
        let key = &request.public_key;
        // The algorithm is the signature's: a P-384 key may sign with SHA-256, and only the
        // length tells it from P-256.
        let length = key.der_bytes().len();
        let known = if key.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256 {
            length == P256_POINT_BYTES
        } else {
            key.algorithm() == &rcgen::PKCS_ED25519 && length == ED25519_KEY_BYTES
        };
        if known { Ok(Self { request }) } else { Err(PkiError::KeyKind) }
    }

    /// SHA-256 of the SubjectPublicKeyInfo's DER form.
    #[must_use]
    pub fn hash(&self) -> Sha256Hash {
        sha256(&self.request.public_key.subject_public_key_info())
    }
}

impl Authority {
    /// A new authority. `name` tells it from others in error messages of TLS libraries.
    ///
    /// # Errors
    /// [`PkiError::Make`] where the system's random source fails.
    pub fn create(name: &str, serial: [u8; 16], now: SystemTime) -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::Make)?;
        let mut params = params(name, serial, now, AUTHORITY_VALIDITY);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(PkiError::Make)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// The authority's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What join tokens carry.
    #[must_use]
    pub fn hash(&self) -> Sha256Hash {
        sha256(&self.certificate)
    }

    /// A certificate with which a node proves that it is `node`.
    ///
    /// # Errors
    /// [`PkiError::Make`].
    pub fn issue_node(
        &self,
        node: &InstanceArn,
        key: &NodeKey,
        serial: [u8; 16],
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let mut params = params(node.as_str(), serial, now, NODE_CERTIFICATE_VALIDITY);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let made = params.signed_by(&key.request.public_key, &self.issuer);
        Ok(made.map_err(PkiError::Make)?.der().clone())
    }

    /// A certificate for the agent port, with a key of its own.
    fn issue_server(
        &self,
        serial: [u8; 16],
        now: SystemTime,
    ) -> Result<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>), PkiError> {
        let key = KeyPair::generate().map_err(PkiError::Make)?;
        let mut params = params(CONTROLLER_DNS_NAME, serial, now, SERVER_CERTIFICATE_VALIDITY);
        let name = CONTROLLER_DNS_NAME.try_into().map_err(PkiError::Make)?;
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(PkiError::Make)?;
        Ok((certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der())))
    }
}

fn params(
    common_name: &str,
    serial: [u8; 16],
    now: SystemTime,
    validity: Duration,
) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    // RFC 5280, 4.1.2.2: a serial number is positive.
    let mut serial = serial;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + validity).into();
    params.use_authority_key_identifier_extension = true;
    params
}

pub(super) fn sha256(bytes: &[u8]) -> Sha256Hash {
    Sha256Hash(Sha256::digest(bytes).into())
}

/// 16 random bytes for a serial number.
pub(super) fn random_serial() -> [u8; 16] {
    rand::random()
}

#[cfg(test)]
mod tests;
