//! The authority on disk: one file with key and certificate, so that no crash leaves half of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::{Authority, PkiError, random_serial};

/// Permission bits that nobody but the owner may have.
const OTHERS: u32 = 0o077;
/// The file has about 1000 bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The authority's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityFileError {
    /// Reading, writing or locking failed.
    #[error("can't {step} {path}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can read the key.
    #[error(
        "{path} is open to others (mode {mode:03o}): it holds the cluster's key; run chmod 600"
    )]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what we wrote.
    #[error("{path} holds no key and certificate that belong together; restore it from a backup")]
    Content {
        /// Which file.
        path: PathBuf,
    },
    /// A new one can't be made.
    #[error("can't make a certificate authority")]
    Create(#[source] PkiError),
}

/// Reads the authority from `path`, or makes one there at the first start.
///
/// # Errors
/// [`AuthorityFileError`].
pub fn load_or_create(path: &Path, now: SystemTime) -> Result<Authority, AuthorityFileError> {
    match fs::metadata(path) {
        Ok(metadata) => load(path, &metadata),
        Err(e) if e.kind() == io::ErrorKind::NotFound => create(path, now),
        Err(source) => Err(io_error("look at", path, source)),
    }
}

fn load(path: &Path, metadata: &fs::Metadata) -> Result<Authority, AuthorityFileError> {
    let mode = metadata.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(AuthorityFileError::Mode { path: path.to_owned(), mode });
    }
    let content = || AuthorityFileError::Content { path: path.to_owned() };
    if FILE_BYTES_MAX < metadata.len() {
        return Err(content());
    }
    let pem = fs::read(path).map_err(|e| io_error("read", path, e))?;
    let key_der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| content())?;
    let certificate = CertificateDer::from_pem_slice(&pem).map_err(|_| content())?;
    let key = KeyPair::try_from(&key_der).map_err(|_| content())?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).map_err(|_| content())?;
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(content());
    }
    let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| content())?;
    Ok(Authority { issuer, certificate })
}

fn create(path: &Path, now: SystemTime) -> Result<Authority, AuthorityFileError> {
    let serial = random_serial();
    let name = format!("Loadline CA {}", hex::encode(&serial[8..12]));
    let authority = Authority::create(&name, serial, now).map_err(AuthorityFileError::Create)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| io_error("make the folder", folder, e))?;
    let certificate = pem_of("CERTIFICATE", &authority.certificate);
    let text = authority.issuer.key().serialize_pem() + &certificate;
    let temporary = path.with_extension("new");
    write_durably(&temporary, text.as_bytes()).map_err(|e| io_error("write", &temporary, e))?;
    fs::rename(&temporary, path).map_err(|e| io_error("move into place", path, e))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| io_error("sync", folder, e))?;
    Ok(authority)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// RFC 7468: base64 in lines of 64 characters between two labels.
fn pem_of(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem + &format!("-----END {label}-----\n")
}

fn io_error(step: &'static str, path: &Path, source: io::Error) -> AuthorityFileError {
    AuthorityFileError::Io { step, path: path.to_owned(), source }
}
