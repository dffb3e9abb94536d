//! The certificate that the agent port shows, renewed while the controller runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Authority, PkiError, SERVER_CERTIFICATE_VALIDITY, random_serial};

/// Makes a new certificate when the present one has spent a third of its time.
#[derive(Debug)]
pub struct ServerIdentity {
    authority: Arc<Authority>,
    present: Mutex<Present>,
}

#[derive(Debug)]
struct Present {
    made_at: SystemTime,
    key: Arc<CertifiedKey>,
}

impl ServerIdentity {
    /// An identity with a first certificate.
    ///
    /// # Errors
    /// [`PkiError`] where it can't be made.
    pub fn new(authority: Arc<Authority>, now: SystemTime) -> Result<Self, PkiError> {
        let key = certified_key(&authority, now)?;
        Ok(Self { authority, present: Mutex::new(Present { made_at: now, key }) })
    }

    /// What to show at `now`. A clock that was set back counts as old: what was made in the
    /// future may not hold yet for a node.
    fn at(&self, now: SystemTime) -> Arc<CertifiedKey> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = now
            .duration_since(present.made_at)
            .is_ok_and(|age| age < SERVER_CERTIFICATE_VALIDITY / 3);
        if !fresh {
            match certified_key(&self.authority, now) {
                Ok(key) => *present = Present { made_at: now, key },
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    tracing::error!("the agent port keeps its old certificate: {error:#}");
                }
            }
        }
        Arc::clone(&present.key)
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.at(SystemTime::now()))
    }
}

/// The chain ends with the authority's certificate: a node that joins compares its hash with the
/// one in its token.
fn certified_key(authority: &Authority, now: SystemTime) -> Result<Arc<CertifiedKey>, PkiError> {
    let (certificate, key) = authority.issue_server(random_serial(), now)?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key.into()).map_err(PkiError::Tls)?;
    let chain = vec![certificate, authority.certificate().clone()];
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_server_certificate_is_replaced_long_before_it_ends() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let authority = Arc::new(Authority::create("test", [1; 16], start).unwrap());
        let identity = ServerIdentity::new(authority, start).unwrap();
        let first = identity.at(start).cert[0].clone();
        let third = SERVER_CERTIFICATE_VALIDITY / 3;
        assert_eq!(identity.at(start + third - Duration::from_secs(1)).cert[0], first);
        let second = identity.at(start + third).cert[0].clone();
        assert_ne!(second, first);
        assert_ne!(identity.at(start).cert[0], second, "the clock was set back");
    }
}
