//! Who this node is: its key, its certificate, and the CA that it trusts, in one file (0600).

use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::dial::ClientCertificate;
use crate::supervise::disk::{self, Durability};

const IDENTITY_FILE: &str = "identity.json";
const KEY_FILE: &str = "enrolment-key.pem";
const FORMAT_VERSION: u32 = 1;

/// What the file holds.
#[derive(Clone, Serialize, Deserialize)]
struct OnDisk {
    format_version: u32,
    container_instance_arn: String,
    key_pem: String,
    certificate_der_hex: String,
    ca_certificate_der_hex: String,
}

/// A node that has joined.
#[derive(Debug)]
pub struct Identity {
    /// Who it is.
    pub container_instance_arn: String,
    key: KeyPair,
    certificate_der: Vec<u8>,
    ca_certificate_der: Vec<u8>,
    not_before_s: i64,
    not_after_s: i64,
}

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file can't be read or written.
    #[error("{step} {}", path.display())]
    Io {
        /// Which step.
        step: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged.
    #[error(
        "{} is damaged ({why}): move it away and join again with a new token",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No key or request could be made.
    #[error("make a key and a certificate request")]
    Key(#[source] rcgen::Error),
    /// The controller sent something that is no certificate.
    #[error("the controller sent an unusable certificate: {0}")]
    Certificate(String),
}

/// A key that waits for its certificate. It is on disk from before the first attempt, so that a
/// lost answer is asked for again with the same key.
#[derive(Debug)]
pub struct PendingKey {
    key: KeyPair,
    dir: PathBuf,
}

fn io_failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Io { step, path, source }
}

impl PendingKey {
    /// The key in `dir`, made where there is none.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load_or_make(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(KEY_FILE);
        let key = match std::fs::read_to_string(&path) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(IdentityError::Key)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate().map_err(IdentityError::Key)?;
                let pem = key.serialize_pem();
                disk::replace(dir, KEY_FILE, pem.as_bytes(), Durability::Power)
                    .map_err(io_failed("write", &path))?;
                key
            }
            Err(error) => return Err(io_failed("read", &path)(error)),
        };
        Ok(Self { key, dir: dir.to_owned() })
    }

    /// A PKCS #10 request for it, DER.
    ///
    /// # Errors
    /// [`IdentityError::Key`].
    pub fn request_der(&self) -> Result<Vec<u8>, IdentityError> {
        request_der(&self.key)
    }

    /// Becomes the node's identity, on disk.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn certified(
        self,
        container_instance_arn: String,
        certificate_der: Vec<u8>,
        ca_certificate_der: Vec<u8>,
    ) -> Result<Identity, IdentityError> {
        let identity =
            Identity::new(container_instance_arn, self.key, certificate_der, ca_certificate_der)
                .map_err(IdentityError::Certificate)?;
        identity.save(&self.dir)?;
        // The identity has the key now; a second copy that stays is untidy, not harmful.
        let _ = std::fs::remove_file(self.dir.join(KEY_FILE));
        Ok(identity)
    }
}

fn request_der(key: &KeyPair) -> Result<Vec<u8>, IdentityError> {
    let params = CertificateParams::default();
    let request = params.serialize_request(key).map_err(IdentityError::Key)?;
    Ok(request.der().to_vec())
}

impl Identity {
    fn new(
        container_instance_arn: String,
        key: KeyPair,
        certificate_der: Vec<u8>,
        ca_certificate_der: Vec<u8>,
    ) -> Result<Self, String> {
        let (_, certificate) = x509_parser::parse_x509_certificate(&certificate_der)
            .map_err(|error| error.to_string())?;
        let validity = certificate.validity();
        let (not_before_s, not_after_s) =
            (validity.not_before.timestamp(), validity.not_after.timestamp());
        Ok(Self {
            container_instance_arn,
            key,
            certificate_der,
            ca_certificate_der,
            not_before_s,
            not_after_s,
        })
    }

    /// Reads the identity in `dir`; `None` where the node has not joined.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(IDENTITY_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_failed("read", &path)(error)),
        };
        Self::from_bytes(&bytes).map(Some).map_err(|why| IdentityError::Damaged { path, why })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let disk: OnDisk = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if FORMAT_VERSION < disk.format_version {
            return Err(format!("it has format {}", disk.format_version));
        }
        let key = KeyPair::from_pem(&disk.key_pem).map_err(|error| error.to_string())?;
        let der = |text: &str| hex::decode(text).map_err(|error| error.to_string());
        Self::new(
            disk.container_instance_arn,
            key,
            der(&disk.certificate_der_hex)?,
            der(&disk.ca_certificate_der_hex)?,
        )
    }

    fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        let disk = OnDisk {
            format_version: FORMAT_VERSION,
            container_instance_arn: self.container_instance_arn.clone(),
            key_pem: self.key.serialize_pem(),
            certificate_der_hex: hex::encode(&self.certificate_der),
            ca_certificate_der_hex: hex::encode(&self.ca_certificate_der),
        };
        let bytes = serde_json::to_vec(&disk).expect("strings make JSON");
        disk::replace(dir, IDENTITY_FILE, &bytes, Durability::Power)
            .map_err(io_failed("write", &dir.join(IDENTITY_FILE)))
    }

    /// SHA-256 of the CA that it trusts.
    #[must_use]
    pub fn ca_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.ca_certificate_der).into()
    }

    /// What it shows to the controller.
    #[must_use]
    pub fn client_certificate(&self) -> ClientCertificate {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        ClientCertificate {
            certificate: CertificateDer::from(self.certificate_der.clone()),
            key: PrivateKeyDer::from(key),
        }
    }

    /// Whether the certificate should be renewed: two thirds of its life are over.
    #[must_use]
    pub fn is_due(&self, now_s: i64) -> bool {
        let life_s = self.not_after_s.saturating_sub(self.not_before_s);
        self.not_before_s.saturating_add(life_s / 3 * 2) <= now_s
    }

    /// A request to renew it with the same key, DER.
    ///
    /// # Errors
    /// [`IdentityError::Key`].
    pub fn renewal_der(&self) -> Result<Vec<u8>, IdentityError> {
        request_der(&self.key)
    }

    /// Takes the new certificate, on disk first.
    ///
    /// # Errors
    /// [`IdentityError`]; the old one then still holds.
    pub fn renew(&mut self, dir: &Path, certificate_der: Vec<u8>) -> Result<(), IdentityError> {
        let key = KeyPair::from_pem(&self.key.serialize_pem()).map_err(IdentityError::Key)?;
        let arn = self.container_instance_arn.clone();
        let renewed = Self::new(arn, key, certificate_der, self.ca_certificate_der.clone())
            .map_err(IdentityError::Certificate)?;
        renewed.save(dir)?;
        *self = renewed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_the_disk_and_is_renewed_after_two_thirds_of_its_life() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::load(dir.path()).unwrap().is_none());
        let pending = PendingKey::load_or_make(dir.path()).unwrap();
        let again = PendingKey::load_or_make(dir.path()).unwrap();
        assert_eq!(pending.key.serialize_pem(), again.key.serialize_pem());
        let certificate = CertificateParams::default().self_signed(&pending.key).unwrap();
        let der = certificate.der().to_vec();
        let made = pending.certified("arn".into(), der.clone(), der).unwrap();
        let found = Identity::load(dir.path()).unwrap().unwrap();
        assert_eq!(found.ca_hash(), made.ca_hash());
        let mode = std::fs::metadata(dir.path().join(IDENTITY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let life = made.not_after_s - made.not_before_s;
        assert!(!made.is_due(made.not_before_s + life / 2));
        assert!(made.is_due(made.not_before_s + life / 4 * 3));
        std::fs::write(dir.path().join(IDENTITY_FILE), "{}").unwrap();
        assert!(matches!(Identity::load(dir.path()), Err(IdentityError::Damaged { .. })));
    }
}
