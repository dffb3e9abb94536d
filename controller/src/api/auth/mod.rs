//! Who is calling: AWS Signature Version 4 over the whole request, in two stages. [`Gate::admit`]
//! looks at the head alone (key, scope, clock, what is signed), so that a stranger's body is never
//! read; [`Admitted::verify`] then checks the signature over head and body.
//!
//! Invariants: nothing here does I/O or reads a clock; the comparison of signatures takes the same
//! time wherever they differ; a secret never leaves this module.

pub mod canonical;
pub mod credentials;
mod replays;
mod scope;
mod sigv4;

use http::HeaderMap;
use sha2::{Digest as _, Sha256};

pub use self::canonical::Head;
pub use self::credentials::{AccessKey, AccessKeys, CredentialsError, SecretKey};
pub use self::replays::{REPLAYS_MAX, Replays};
pub(crate) use self::scope::ALGORITHM;
use self::scope::Authorization;
pub(crate) use self::sigv4::{sign, signing_key};
use crate::iam::Principal;

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
    /// Temporary credentials whose time is over.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
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

/// Whose a key is, and the secret that goes with it.
#[derive(Debug)]
pub struct Holder {
    /// To verify the signature with.
    pub secret: SecretKey,
    /// Who signs with it.
    pub principal: Principal,
    /// The key in whose place it was made, for a while.
    pub in_place_of: Option<String>,
}

/// Knows the keys that are not in the credentials file: those of users and of sessions.
pub trait KeySource {
    /// Whose a key is.
    ///
    /// # Errors
    /// [`AuthRefusal::UnknownKey`] or [`AuthRefusal::ExpiredToken`].
    fn holder(&self, key_id: &str, token: Option<&str>, now_s: i64) -> Result<Holder, AuthRefusal>;
}

/// A request whose head was found in order; its signature is not verified yet.
#[derive(Debug)]
pub struct Admitted {
    authorization: Authorization,
    secret: Option<SecretKey>,
    principal: Principal,
    temporary: bool,
}

/// Who called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The access key id.
    pub key_id: String,
    /// The service of the signature's scope, for example `ecs`.
    pub service: String,
    /// Who that is.
    pub principal: Principal,
    /// Whether the key is a temporary one in the place of the principal's own.
    pub temporary: bool,
    /// Names this very request where it carries an id of its own that is signed, as the SDKs send
    /// it: what comes with the same name was sent before.
    pub once: Option<u64>,
}

impl Gate {
    /// Looks at the head of a request that arrived at `now_s` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// [`AuthRefusal`] where the request can't be let in whatever its body is.
    pub fn admit(
        &self,
        head: Head<'_>,
        now_s: i64,
        source: &dyn KeySource,
    ) -> Result<Admitted, AuthRefusal> {
        let authorization = scope::read(head)?;
        match self {
            Self::AnyKey => {
                only_on_this_machine(head.headers)?;
                let principal = Principal::Root;
                Ok(Admitted { authorization, secret: None, principal, temporary: false })
            }
            Self::Keys { keys, region } => {
                let token = authorization.token.as_deref();
                let holder = match (keys.secret(&authorization.key_id), token) {
                    (Some(secret), None) => {
                        let (secret, principal) = (secret.clone(), Principal::Root);
                        Holder { secret, principal, in_place_of: None }
                    }
                    (Some(_), Some(_)) => return Err(AuthRefusal::UnknownKey),
                    (None, token) => source.holder(&authorization.key_id, token, now_s)?,
                };
                scope::check(&authorization, head.headers, region, now_s)?;
                let Holder { secret, principal, in_place_of } = holder;
                let stands =
                    |key: &String| principal != Principal::Root || keys.secret(key).is_some();
                if !in_place_of.as_ref().is_none_or(stands) {
                    return Err(AuthRefusal::UnknownKey);
                }
                let temporary = in_place_of.is_some();
                Ok(Admitted { authorization, secret: Some(secret), principal, temporary })
            }
        }
    }
}

/// The header by which AWS's SDKs name each call.
const INVOCATION_ID: &str = "amz-sdk-invocation-id";

impl Admitted {
    /// Checks the signature over the head and `body`.
    ///
    /// # Errors
    /// [`AuthRefusal::Invalid`] where they are not what was signed.
    pub fn verify(self, head: Head<'_>, body: &[u8]) -> Result<Caller, AuthRefusal> {
        if let Some(secret) = &self.secret {
            let hash = hex::encode(Sha256::digest(body));
            scope::check_payload_hash(head.headers, &hash)?;
            sigv4::verify(&self.authorization, secret, head, &hash)?;
        }
        let Authorization { key_id, service, signed_headers, signature, .. } = self.authorization;
        let named = self.secret.is_some() && signed_headers.iter().any(|h| h == INVOCATION_ID);
        let first = signature.first_chunk().expect("a signature has 32 bytes");
        let once = named.then_some(u64::from_le_bytes(*first));
        let Self { principal, temporary, .. } = self;
        Ok(Caller { key_id, service, principal, temporary, once })
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
