//! Join tokens as text: `loadline1.TOKEN_ID.SECRET.CA_HASH`.
//!
//! The secret exists in this text and nowhere else: the store keeps its hash.

use std::fmt;

use crate::state::{Sha256Hash, TokenId};

use super::pki::sha256;

const PREFIX: &str = "loadline1";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;

/// A join token, whole. Its `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinTokenText {
    id: TokenId,
    secret: String,
    ca_hash: Sha256Hash,
}

/// Text that is not a join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a join token: it has to look like loadline1.TOKEN_ID.SECRET.CA_HASH")]
pub struct NotAJoinToken;

impl JoinTokenText {
    /// A token of 8 and 32 random bytes.
    #[must_use]
    pub fn from_random(id: [u8; ID_DIGITS / 2], secret: [u8; 32], ca_hash: Sha256Hash) -> Self {
        let id = TokenId::parse(&hex::encode(id)).expect("hex digits are plain characters");
        Self { id, secret: hex::encode(secret), ca_hash }
    }

    /// A new token for the controller whose authority has this hash.
    #[must_use]
    pub fn fresh(ca_hash: Sha256Hash) -> Self {
        Self::from_random(rand::random(), rand::random(), ca_hash)
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`NotAJoinToken`].
    pub fn parse(text: &str) -> Result<Self, NotAJoinToken> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(NotAJoinToken);
        let (prefix, id, secret, ca_hash) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some()
            || prefix != PREFIX
            || !is_hex(id, ID_DIGITS)
            || !is_hex(secret, SECRET_DIGITS)
            || !is_hex(ca_hash, 64)
        {
            return Err(NotAJoinToken);
        }
        let mut hash = [0; 32];
        hex::decode_to_slice(ca_hash, &mut hash).map_err(|_| NotAJoinToken)?;
        Ok(Self {
            id: TokenId::parse(id).map_err(|_| NotAJoinToken)?,
            secret: secret.to_owned(),
            ca_hash: Sha256Hash(hash),
        })
    }

    /// The public part.
    #[must_use]
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// What the store keeps of the secret.
    #[must_use]
    pub fn secret_hash(&self) -> Sha256Hash {
        sha256(self.secret.as_bytes())
    }

    /// Which authority the token is for.
    #[must_use]
    pub fn ca_hash(&self) -> Sha256Hash {
        self.ca_hash
    }

    /// The whole token, secret included: for the one answer that hands it out.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}.{}.{}.{}", self.id, self.secret, hex::encode(self.ca_hash.0))
    }
}

impl fmt::Debug for JoinTokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinTokenText({})", self.id)
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_hides_its_secret() {
        let token = JoinTokenText::from_random([0xab; 8], [0xcd; 32], Sha256Hash([0xef; 32]));
        let text = token.reveal();
        let expected = ["loadline1", &"ab".repeat(8), &"cd".repeat(32), &"ef".repeat(32)];
        assert_eq!(text, expected.join("."));
        assert_eq!(JoinTokenText::parse(&text), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("cd"));
        assert_eq!(token.secret_hash(), sha256("cd".repeat(32).as_bytes()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = JoinTokenText::fresh(Sha256Hash([1; 32])).reveal();
        assert!(JoinTokenText::parse(&good).is_ok());
        let upper = good.to_uppercase();
        let long = format!("{good}0");
        let more = format!("{good}.x");
        let version = good.replace("loadline1", "loadline2");
        for text in ["", "loadline1", "loadline1...", &good[1..], &long, &upper, &more, &version] {
            assert_eq!(JoinTokenText::parse(text), Err(NotAJoinToken), "{text}");
        }
    }
}
