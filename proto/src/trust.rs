//! Which servers outside the cluster are believed: those that the host's own authorities vouch for,
//! and one file of authorities more. Registries and object stores are reached so; agent and
//! controller believe each other by the cluster's own authority, and not by these.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

/// Where Debian, and most others, keep the authorities that a host trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What keeps servers from being checked.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Authorities that can't be read.
    #[error(
        "read the certificate authorities in {}: it must be a file of PEM certificates",
        path.display()
    )]
    Authorities {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        source: pem::Error,
    },
    /// A file without any: whoever named it meant to trust somebody.
    #[error(
        "read the certificate authorities in {}: it holds no certificate: name a file of PEM \
         certificates",
        path.display()
    )]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The library refused its configuration.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
}

/// How a client of the web speaks TLS (1.2 or 1.3), without a certificate of its own. `more` is a
/// PEM file of authorities to believe besides the host's. Of the host's, entries that are damaged
/// are left out with a warning: whoever named `more` can mend it, and the host's may be anybody's.
///
/// # Errors
/// [`TrustError::Authorities`] where `more` can't be read or holds what is no PEM,
/// [`TrustError::NoAuthority`] where it holds nothing to believe.
pub fn of_the_web(more: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    // A host without authorities of its own can still speak with the servers of `more`.
    let _ = add_readable(&mut roots, Path::new(AUTHORITIES));
    if let Some(path) = more {
        let added = add(&mut roots, path)
            .map_err(|source| TrustError::Authorities { path: path.to_owned(), source })?;
        if added == 0 {
            return Err(TrustError::NoAuthority { path: path.to_owned() });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(tls))
}

/// Adds those that can be read; how many there are in the file, and how many entries are damaged.
fn add_readable(roots: &mut RootCertStore, path: &Path) -> Result<(usize, usize), pem::Error> {
    let (mut added, mut damaged, mut first) = (0, 0, None);
    // It ends at an error of the disk, and goes on behind an entry that is none.
    for certificate in CertificateDer::pem_file_iter(path)? {
        match certificate {
            Ok(certificate) => added += usize::from(roots.add(certificate).is_ok()),
            Err(why) => {
                damaged += 1;
                first.get_or_insert(why);
            }
        }
    }
    if let Some(why) = first {
        let path = path.display();
        tracing::warn!(%path, damaged, added, "left out damaged certificate authorities: {why}");
    }
    Ok((added, damaged))
}

/// How many there are in the file.
fn add(roots: &mut RootCertStore, path: &Path) -> Result<usize, pem::Error> {
    let mut added = 0;
    for certificate in CertificateDer::pem_file_iter(path)? {
        // One that the library can't read vouches for nothing that it could check.
        added += usize::from(roots.add(certificate?).is_ok());
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_cannot_be_read_are_named() {
        let missing = Path::new("/nonexistent/authorities.pem");
        let error = of_the_web(Some(missing)).unwrap_err();
        assert!(matches!(&error, TrustError::Authorities { path, .. } if path == missing));
        assert!(error.to_string().contains("/nonexistent/authorities.pem"), "{error}");
    }

    #[test]
    fn a_file_without_an_authority_is_refused_by_name() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("loadline-no-authority-{}", std::process::id()));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "no PEM at all\n", key, other] {
            std::fs::write(&path, text).unwrap();
            let error = of_the_web(Some(&path)).unwrap_err();
            let named = matches!(&error, TrustError::NoAuthority { path: named } if *named == path);
            assert!(named, "{text:?}: {error}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn of_the_hosts_authorities_one_that_is_damaged_hides_no_other() {
        let made =
            |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem();
        let damaged = "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n";
        let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        let text = [&made("a"), damaged, &made("b"), "no PEM\n", &made("c"), torn].concat();
        let folder = std::env::temp_dir();
        let path = folder.join(format!("loadline-damaged-authority-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let read = add_readable(&mut RootCertStore::empty(), &path);
        let strict = of_the_web(Some(&path));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), (3, 2));
        assert!(matches!(strict, Err(TrustError::Authorities { .. })), "{strict:?}");
    }

    #[test]
    fn a_host_without_more_authorities_is_fine() {
        assert!(of_the_web(None).is_ok());
    }
}
