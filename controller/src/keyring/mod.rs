//! The controller's secret key, and what is sealed with it: values of secrets and parameters,
//! secret access keys, and the session tokens of temporary credentials.
//!
//! One file holds the key, readable by its owner only. Each purpose has a key of its own, derived
//! from it, so that what was sealed for one purpose opens for no other. AES-256-GCM (RFC 5116) with
//! a random nonce; the object's name is bound to its value, so that no value can be moved to
//! another name inside the store.

mod file;

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::file::{KeyringError, load_or_create};

/// What something is sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Values of secretsmanager and ssm.
    Value,
    /// Secret access keys of users.
    AccessKey,
    /// Session tokens, which leave the controller.
    Session,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Value, Self::AccessKey, Self::Session];

    const fn label(self) -> &'static str {
        match self {
            Self::Value => "loadline value 1",
            Self::AccessKey => "loadline access key 1",
            Self::Session => "loadline session 1",
        }
    }
}

/// Sealed bytes with the id of the key that opens them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Names the key.
    pub key_id: String,
    /// Nonce, then ciphertext and tag.
    #[serde(with = "hex::serde")]
    pub bytes: Vec<u8>,
}

/// Why sealed bytes do not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Sealed with a key that is not this controller's.
    #[error("it was sealed with the key {found}, and this controller's key file holds {known}")]
    OtherKey {
        /// The record's.
        found: String,
        /// Ours.
        known: String,
    },
    /// Changed, cut off, or of another name.
    #[error("the sealed value is damaged")]
    Damaged,
}

/// The keys. Never printed.
pub struct Keyring {
    id: String,
    keys: [LessSafeKey; 3],
    fingerprints: [u8; 32],
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Keyring {
    /// From the bytes of the key file.
    #[must_use]
    pub fn new(master: &[u8; 32]) -> Self {
        let hash = Sha256::new().chain_update("loadline key id").chain_update(master);
        let keys = Purpose::ALL.map(|purpose| {
            let derived = derive(master, purpose.label());
            let key = UnboundKey::new(&AES_256_GCM, &derived);
            LessSafeKey::new(key.expect("AES-256 takes 32 bytes, which HMAC-SHA256 gives"))
        });
        let fingerprints = derive(master, "loadline fingerprint 1");
        Self { id: hex::encode(&hash.finalize()[..8]), keys, fingerprints }
    }

    /// Names the key, as records do.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Tells equal values from others without telling what they are.
    #[must_use]
    pub fn fingerprint(&self, name: &str, value: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.fingerprints)
            .expect("HMAC takes a key of any length (RFC 2104)");
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(value);
        hex::encode(mac.finalize().into_bytes())
    }

    /// Seals a value of this name.
    #[must_use]
    pub fn seal(&self, purpose: Purpose, name: &str, value: &[u8]) -> Sealed {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = value.to_vec();
        self.keys[purpose as usize]
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut sealed,
            )
            .expect("GCM seals up to 64 GiB; a value is bounded far below");
        Sealed { key_id: self.id.clone(), bytes: [&nonce[..], &sealed].concat() }
    }

    /// Opens what was sealed for this purpose and name.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(
        &self,
        purpose: Purpose,
        name: &str,
        sealed: &Sealed,
    ) -> Result<Vec<u8>, OpenError> {
        if sealed.key_id != self.id {
            let (found, known) = (sealed.key_id.clone(), self.id.clone());
            return Err(OpenError::OtherKey { found, known });
        }
        let (nonce, body) =
            sealed.bytes.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Damaged)?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let key = &self.keys[purpose as usize];
        let opened = key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut body);
        let length = opened.map_err(|_| OpenError::Damaged)?.len();
        body.truncate(length);
        Ok(body)
    }
}

fn derive(master: &[u8; 32], label: &str) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(master).expect("HMAC takes a key of any length (RFC 2104)");
    mac.update(label.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_for_its_purpose_and_name_and_key_only() {
        let ring = Keyring::new(&[7; 32]);
        let sealed = ring.seal(Purpose::Value, "secret:a", b"hush");
        assert!(!sealed.bytes.windows(4).any(|four| four == b"hush"));
        assert_eq!(ring.open(Purpose::Value, "secret:a", &sealed).unwrap(), b"hush");
        let damaged = Err(OpenError::Damaged);
        assert_eq!(ring.open(Purpose::Value, "secret:b", &sealed), damaged);
        assert_eq!(ring.open(Purpose::Session, "secret:a", &sealed), damaged);
        let mut changed = sealed.clone();
        changed.bytes[15] ^= 1;
        assert_eq!(ring.open(Purpose::Value, "secret:a", &changed), damaged);
        changed.bytes.truncate(5);
        assert_eq!(ring.open(Purpose::Value, "secret:a", &changed), damaged);
        let other = Keyring::new(&[8; 32]).open(Purpose::Value, "secret:a", &sealed);
        assert!(matches!(other, Err(OpenError::OtherKey { .. })));
        let again = ring.seal(Purpose::Value, "secret:a", b"hush");
        assert_ne!(sealed.bytes, again.bytes, "each sealing has a nonce of its own");
    }

    #[test]
    fn a_key_is_never_printed() {
        let text = format!("{:?}", Keyring::new(&[7; 32]));
        assert!(text.contains("Keyring") && !text.contains("07"), "{text}");
    }
}
