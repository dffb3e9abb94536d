//! Who is calling: AWS Signature Version 4 over the whole request, in two stages. [`Gate::admit`]
//! looks at the head alone (key, scope, clock, what is signed), so that a stranger's body is never
//! read; [`Admitted::verify`] then checks the signature over head and body.
//!
//! Invariants: nothing here does I/O or reads a clock; the comparison of signatures takes the same
//! time wherever they differ; a secret never leaves this module.

pub mod canonical;
pub mod credentials;
mod scope;
mod sigv4;

use http::HeaderMap;
use sha2::{Digest as _, Sha256};

pub use self::canonical::Head;
pub use self::credentials::{AccessKeys, CredentialsError, SecretKey};
use self::scope::Authorization;

/// How far a request's time may be from ours, in seconds (AWS: 15 minutes).
pub const CLOCK_SKEW_S_MAX: i64 = 15 * 60;

/// Longest Host that a message repeats, in characters.
const HOST_SHOWN_CHARS_MAX: usize = 255;

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthRefusal {
    /// No Authorization header at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// A header or a part of it is missing or malformed.
    #[error("{0}")]
    Incomplete(String),
    /// Nobody has this access key id.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// Temporary credentials.
    #[error(
        "X-Amz-Security-Token is not supported yet: sign with a long-term access key of the \
         controller's credentials file"
    )]
    SessionToken,
    /// Development mode, and a Host that is not this machine.
    #[error(
        "in development mode the Host must be localhost or a loopback address, not {0:?}: a web \
         page may have sent this"
    )]
    ForeignHost(String),
    /// The time in the request is too far from ours, or the scope or the signature is wrong.
    #[error("{0}")]
    Invalid(String),
}

/// Who may come in, and for what.
#[derive(Clone, Debug)]
pub enum Gate {
    /// Only holders of these keys, with a valid signature for this region.
    Keys {
        /// The keys.
        keys: AccessKeys,
        /// The controller's region, which a signature's scope must name.
        region: String,
    },
    /// Any key, signature unchecked: development on loopback only (see `api::serve`).
    AnyKey,
}

/// A request whose head was found in order; its signature is not verified yet.
#[derive(Debug)]
pub struct Admitted<'a> {
    authorization: Authorization<'a>,
    secret: Option<&'a SecretKey>,
}

/// Who called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The access key id.
    pub key_id: String,
    /// The service of the signature's scope, for example `ecs`.
    pub service: String,
}

impl Gate {
    /// Looks at the head of a request that arrived at `now_s` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// [`AuthRefusal`] where the request can't be let in whatever its body is.
    pub fn admit<'a>(&'a self, head: Head<'a>, now_s: i64) -> Result<Admitted<'a>, AuthRefusal> {
        let authorization = scope::read(head)?;
        match self {
            Self::AnyKey => {
                only_on_this_machine(head.headers)?;
                Ok(Admitted { authorization, secret: None })
            }
            Self::Keys { keys, region } => {
                let secret = keys.secret(authorization.key_id).ok_or(AuthRefusal::UnknownKey)?;
                scope::check(&authorization, head.headers, region, now_s)?;
                Ok(Admitted { authorization, secret: Some(secret) })
            }
        }
    }
}

impl Admitted<'_> {
    /// Checks the signature over the head and `body`.
    ///
    /// # Errors
    /// [`AuthRefusal::Invalid`] where they are not what was signed.
    pub fn verify(&self, head: Head<'_>, body: &[u8]) -> Result<Caller, AuthRefusal> {
        if let Some(secret) = self.secret {
            let hash = hex::encode(Sha256::digest(body));
            scope::check_payload_hash(head.headers, &hash)?;
            sigv4::verify(&self.authorization, secret, head, &hash)?;
        }
        Ok(Caller {
            key_id: self.authorization.key_id.to_owned(),
            service: self.authorization.service.to_owned(),
        })
    }
}

/// With `--dev` a signature proves nothing, and loopback alone does not keep out a web page whose
/// name was made to resolve to 127.0.0.1: its requests still carry that name as their host.
fn only_on_this_machine(headers: &HeaderMap) -> Result<(), AuthRefusal> {
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<http::uri::Authority>().ok());
    let name = authority.as_ref().map_or("", http::uri::Authority::host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if loopback || bare == "localhost" || bare.ends_with(".localhost") {
        return Ok(());
    }
    Err(AuthRefusal::ForeignHost(name.chars().take(HOST_SHOWN_CHARS_MAX).collect()))
}

#[cfg(test)]
mod tests;
