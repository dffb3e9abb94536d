//! Whose keys they are that the credentials file does not name: users' access keys, from the view,
//! and sessions', from their own tokens.

use super::auth::{AuthRefusal, Holder, KeySource, SecretKey};
use crate::iam::{KeyStatus, Principal, SessionError, SessionOf, open_session};
use crate::keyring::{Keyring, Purpose};
use crate::state::View;

/// Both, as of one view.
#[derive(Debug)]
pub(super) struct Holders<'a> {
    pub(super) view: &'a View,
    pub(super) keyring: &'a Keyring,
}

impl KeySource for Holders<'_> {
    fn holder(&self, key_id: &str, token: Option<&str>, now_s: i64) -> Result<Holder, AuthRefusal> {
        match token {
            Some(token) => self.session(key_id, token, now_s),
            None => self.user(key_id),
        }
    }
}

impl Holders<'_> {
    fn user(&self, key_id: &str) -> Result<Holder, AuthRefusal> {
        let known = self.view.iam.access_key(key_id);
        let active = known.filter(|(_, key)| key.status == KeyStatus::Active);
        let (user, key) = active.ok_or(AuthRefusal::UnknownKey)?;
        let secret = self.keyring.open(Purpose::AccessKey, key_id, &key.secret);
        let secret = secret.map_err(|error| {
            tracing::error!(key_id, user = user.name, "an access key can't be opened: {error}");
            AuthRefusal::UnknownKey
        })?;
        let secret = String::from_utf8(secret).map_err(|_| AuthRefusal::UnknownKey)?;
        let principal = Principal::user(user);
        Ok(Holder { secret: SecretKey::new(secret), principal, in_place_of: None })
    }

    fn session(&self, key_id: &str, token: &str, now_s: i64) -> Result<Holder, AuthRefusal> {
        let opened = open_session(self.keyring, key_id, token, now_s);
        let (session, secret) = opened.map_err(|error| match error {
            SessionError::Invalid => AuthRefusal::UnknownKey,
            SessionError::Expired => AuthRefusal::ExpiredToken,
        })?;
        let secret = SecretKey::new(secret);
        let (principal, in_place_of) = match session.of {
            SessionOf::Role => (Principal::Session(Box::new(session)), None),
            SessionOf::Root => (Principal::Root, Some(session.name)),
            // It ends with the key in whose place it is.
            SessionOf::User => {
                let known = self.view.iam.access_key(&session.name);
                let user = known.filter(|(user, key)| {
                    key.status == KeyStatus::Active && user.id == session.role_id
                });
                let (user, _) = user.ok_or(AuthRefusal::UnknownKey)?;
                (Principal::user(user), Some(session.name))
            }
        };
        Ok(Holder { secret, principal, in_place_of })
    }
}
