//! The join token: `loadline1.TOKEN_ID.SECRET.CA_HASH`.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Longest text that can be a token with space around it, in bytes.
const TEXT_BYTES_MAX: u64 = 4_096;

/// A token's file can't be read.
#[derive(Debug, thiserror::Error)]
#[error("read the join token in {}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    source: io::Error,
}

/// The text in a token's file, or on standard input where that is `-`.
///
/// # Errors
/// [`Unreadable`].
pub fn read_file(path: &Path) -> Result<String, Unreadable> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        if path == Path::new("-") {
            io::stdin().lock().take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
        } else {
            std::fs::File::open(path)?.take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
        }
        Ok(text)
    };
    read().map_err(|source| Unreadable { path: path.to_owned(), source })
}

/// A token that has the right form. Its text is secret and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    text: String,
    ca_hash: [u8; 32],
}

/// What is wrong with a token's form; the token itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It begins with something else.
    #[error("a join token begins with \"loadline1.\" (make one with `loadline token create`)")]
    Prefix,
    /// It does not have the four parts.
    #[error("a join token has four parts with dots between them; was it cut off?")]
    Parts,
    /// A part has another length or other characters.
    #[error("the join token's {0} is not {1} lower-case hex digits; was it cut off?")]
    Part(&'static str, usize),
}

impl JoinToken {
    /// Reads a token, with space around it ignored.
    ///
    /// # Errors
    /// [`InvalidToken`].
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        let rest = text.strip_prefix("loadline1.").ok_or(InvalidToken::Prefix)?;
        let parts: Vec<&str> = rest.split('.').collect();
        let [id, secret, hash] = parts[..] else { return Err(InvalidToken::Parts) };
        for (part, name, digits) in [(id, "id", 16), (secret, "secret", 64), (hash, "CA hash", 64)]
        {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if part.len() != digits || !part.bytes().all(is_hex) {
                return Err(InvalidToken::Part(name, digits));
            }
        }
        let mut ca_hash = [0; 32];
        hex::decode_to_slice(hash, &mut ca_hash).map_err(|_| InvalidToken::Part("CA hash", 64))?;
        Ok(Self { text: text.to_owned(), ca_hash })
    }

    /// The whole token, for the controller.
    #[must_use]
    pub fn secret_text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the controller's CA certificate.
    #[must_use]
    pub fn ca_hash(&self) -> [u8; 32] {
        self.ca_hash
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_the_right_form_is_read_and_any_other_refused_in_words() {
        let (id, secret, hash) = ("0f".repeat(8), "ab".repeat(32), "01".repeat(32));
        let token = JoinToken::parse(&format!(" loadline1.{id}.{secret}.{hash}\n")).unwrap();
        assert_eq!(token.ca_hash(), [1; 32]);
        assert!(!format!("{token:?}").contains(&secret));
        for text in [
            String::new(),
            format!("loadline2.{id}.{secret}.{hash}"),
            format!("loadline1.{id}.{secret}"),
            format!("loadline1.{id}.{secret}.{hash}.x"),
            format!("loadline1.{id}.{secret}.{}", &hash[1..]),
            format!("loadline1.{}.{secret}.{hash}", "0F".repeat(8)),
            format!("loadline1.{id}.{}.{hash}", "é".repeat(32)),
        ] {
            assert!(JoinToken::parse(&text).is_err(), "{text}");
        }
    }
}
