//! Whose keys they are that the credentials file does not name: users' access keys, from the view,
//! and sessions', from their own tokens.

use super::auth::{AuthRefusal, Holder, KeySource, SecretKey};
use crate::iam::{KeyStatus, Principal, SessionError, open_session};
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
        Ok(Holder { secret: SecretKey::new(secret), principal: Principal::user(user) })
    }

    fn session(&self, key_id: &str, token: &str, now_s: i64) -> Result<Holder, AuthRefusal> {
        let opened = open_session(self.keyring, key_id, token, now_s);
        let (session, secret) = opened.map_err(|error| match error {
            SessionError::Invalid => AuthRefusal::UnknownKey,
            SessionError::Expired => AuthRefusal::ExpiredToken,
        })?;
        let principal = Principal::Session(Box::new(session));
        Ok(Holder { secret: SecretKey::new(secret), principal })
    }
}
