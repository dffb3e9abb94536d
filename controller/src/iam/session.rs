//! Temporary credentials. All that they are is in their session token, sealed: the controller keeps
//! no list of them, they hold over its restarts, and no token can be made without its key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Identity, PolicyText};
use crate::keyring::{Keyring, Purpose, Sealed};

/// Longest session token, in bytes: a session policy has at most 2,048 characters.
const TOKEN_BYTES_MAX: usize = 8192;
/// The version of the token's form.
const TOKEN_VERSION: u8 = 1;

/// Somebody who assumed a role, or who has temporary credentials in the place of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose rights it has.
    pub of: SessionOf,
    /// The role's or user's name.
    pub role: String,
    /// Its unique id: a new one of this name is another one.
    pub role_id: String,
    /// What the one who assumed the role called it; the access key in whose place it is.
    pub name: String,
    /// Of no use from then on, seconds since the Unix epoch.
    pub expires_at_s: i64,
    /// Narrows what the role may.
    pub policy: Option<PolicyText>,
    /// The task that it was made for, and for what: it ends with the task.
    pub task: Option<(String, TaskRole)>,
}

/// Whose rights a session has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionOf {
    /// A role's, which was assumed.
    #[default]
    Role,
    /// A user's own.
    User,
    /// The account's.
    Root,
}

/// What a task has a role for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskRole {
    /// `taskRoleArn`: what its containers may.
    Task,
    /// `executionRoleArn`: what its agent may for it.
    Execution,
}

/// Temporary credentials as their holder gets them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `ASIA…`
    pub access_key_id: String,
    /// To sign with.
    pub secret_access_key: String,
    /// To send with each request.
    pub session_token: String,
    /// Of no use from then on, seconds since the Unix epoch.
    pub expires_at_s: i64,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires_at_s", &self.expires_at_s)
            .finish_non_exhaustive()
    }
}

/// Why a session token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Not made here, or not for this access key id.
    #[error("The security token included in the request is invalid.")]
    Invalid,
    /// Its time is over.
    #[error("The security token included in the request is expired")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    version: u8,
    secret: String,
    #[serde(default)]
    of: SessionOf,
    role: String,
    role_id: String,
    name: String,
    expires_at_s: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<(String, TaskRole)>,
}

/// Credentials for a session of a role.
#[must_use]
pub fn mint(keyring: &Keyring, session: Session) -> Credentials {
    let access_key_id = fresh_key_id("ASIA");
    let secret = fresh_secret();
    let expires_at_s = session.expires_at_s;
    let claims = Claims {
        version: TOKEN_VERSION,
        secret: secret.clone(),
        of: session.of,
        role: session.role,
        role_id: session.role_id,
        name: session.name,
        expires_at_s,
        policy: session.policy,
        task: session.task,
    };
    let claims = serde_json::to_vec(&claims).expect("claims have string keys only");
    let sealed = keyring.seal(Purpose::Session, &access_key_id, &claims);
    Credentials {
        access_key_id,
        secret_access_key: secret,
        session_token: STANDARD.encode(sealed.bytes),
        expires_at_s,
    }
}

/// What a session token says, and the secret that its holder signs with.
///
/// # Errors
/// [`SessionError`]
pub fn open(
    keyring: &Keyring,
    key_id: &str,
    token: &str,
    now_s: i64,
) -> Result<(Session, String), SessionError> {
    if TOKEN_BYTES_MAX < token.len() {
        return Err(SessionError::Invalid);
    }
    let bytes = STANDARD.decode(token).map_err(|_| SessionError::Invalid)?;
    let sealed = Sealed { key_id: keyring.id().to_owned(), bytes };
    let opened =
        keyring.open(Purpose::Session, key_id, &sealed).map_err(|_| SessionError::Invalid)?;
    let claims: Claims = serde_json::from_slice(&opened).map_err(|_| SessionError::Invalid)?;
    if claims.version != TOKEN_VERSION {
        return Err(SessionError::Invalid);
    }
    if claims.expires_at_s <= now_s {
        return Err(SessionError::Expired);
    }
    let session = Session {
        of: claims.of,
        role: claims.role,
        role_id: claims.role_id,
        name: claims.name,
        expires_at_s: claims.expires_at_s,
        policy: claims.policy,
        task: claims.task,
    };
    Ok((session, claims.secret))
}

impl Session {
    /// A session of this role.
    #[must_use]
    pub fn of(role: &Identity, name: &str, expires_at_s: i64) -> Self {
        Self {
            of: SessionOf::Role,
            role: role.name.clone(),
            role_id: role.id.clone(),
            name: name.to_owned(),
            expires_at_s,
            policy: None,
            task: None,
        }
    }

    /// One in the place of an access key.
    #[must_use]
    pub fn for_key(of: SessionOf, (name, id): (&str, &str), key: &str, expires_at_s: i64) -> Self {
        Self {
            of,
            role: name.to_owned(),
            role_id: id.to_owned(),
            name: key.to_owned(),
            expires_at_s,
            policy: None,
            task: None,
        }
    }
}

/// A key id of AWS's form: `AKIA` for one that lasts, `ASIA` for a session's.
#[must_use]
pub(crate) fn fresh_key_id(prefix: &str) -> String {
    format!("{prefix}{}", random_text(16, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
}

/// 40 characters, 240 random bits.
#[must_use]
pub(crate) fn fresh_secret() -> String {
    random_text(40, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}

fn random_text(length: usize, alphabet: &[u8]) -> String {
    use rand::Rng as _;
    let mut random = rand::rng();
    (0..length).map(|_| char::from(alphabet[random.random_range(0..alphabet.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            of: SessionOf::Role,
            role: "deploy".into(),
            role_id: "AROA1".into(),
            name: "ann".into(),
            expires_at_s: 1000,
            policy: None,
            task: Some(("arn:task".into(), TaskRole::Task)),
        }
    }

    #[test]
    fn a_token_says_what_it_was_made_of_until_it_expires_and_for_its_key_only() {
        let keyring = Keyring::new(&[1; 32]);
        let made = mint(&keyring, session());
        let look = |id: &str, token: &str, now| open(&keyring, id, token, now);
        let (read, secret) = look(&made.access_key_id, &made.session_token, 999).unwrap();
        assert_eq!((read, secret), (session(), made.secret_access_key.clone()));
        let expired = look(&made.access_key_id, &made.session_token, 1000);
        assert_eq!(expired.unwrap_err(), SessionError::Expired);
        let other = mint(&keyring, session());
        let invalid = look(&other.access_key_id, &made.session_token, 0);
        assert_eq!(invalid.unwrap_err(), SessionError::Invalid);
        let elsewhere = Keyring::new(&[2; 32]);
        let foreign = open(&elsewhere, &made.access_key_id, &made.session_token, 0);
        assert_eq!(foreign.unwrap_err(), SessionError::Invalid);
        for token in ["", "!", "AAAA", &"A".repeat(9000)] {
            assert!(look(&made.access_key_id, token, 0).is_err());
        }
        assert!(!format!("{made:?}").contains(&made.secret_access_key));
    }
}
