//! Pages of lists: `maxResults` and `nextToken`.
//!
//! A token is the last key of the page before, and a checksum over it and over what was asked
//! for: it is opaque, survives a restart of the controller, and one that was made for another
//! question is refused rather than answered with a list that has holes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::api::ApiError;

/// Most items of a page, and the default (ECS's own bound).
pub(super) const RESULTS_MAX: i32 = 100;

/// Longest token, in bytes: a checksum and the longest key.
const TOKEN_BYTES_MAX: usize = 2048;

const CHECKSUM_BYTES: usize = 12;

/// One question for a page.
#[derive(Debug)]
pub(super) struct Pager {
    question: String,
    after: Option<String>,
    size: usize,
}

impl Pager {
    /// `question` says what is listed and every filter of it.
    pub(super) fn new(
        question: String,
        next_token: Option<&str>,
        max_results: Option<i32>,
    ) -> Result<Self, ApiError> {
        Self::with_default(question, next_token, max_results, RESULTS_MAX)
    }

    /// The same, with another number of items where the caller does not say.
    pub(super) fn with_default(
        question: String,
        next_token: Option<&str>,
        max_results: Option<i32>,
        default: i32,
    ) -> Result<Self, ApiError> {
        let size = max_results.unwrap_or(default);
        if !(1..=RESULTS_MAX).contains(&size) {
            return Err(ApiError::invalid(format_args!(
                "maxResults must be between 1 and {RESULTS_MAX}, not {size}"
            )));
        }
        let size = usize::try_from(size).unwrap_or(1);
        let after = match next_token {
            None | Some("") => None,
            Some(token) => Some(read_token(&question, token)?),
        };
        Ok(Self { question, after, size })
    }

    /// The key after which the page begins.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Takes the page off the front of what comes after [`Pager::after`], and gives the token of
    /// the next one where there is more.
    pub(super) fn page<T>(
        &self,
        items: impl Iterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let mut items: Vec<T> = items.take(self.size + 1).collect();
        if items.len() <= self.size {
            return (items, None);
        }
        items.truncate(self.size);
        let next = items.last().map(|last| write_token(&self.question, &key(last)));
        (items, next)
    }
}

fn checksum(question: &str, key: &str) -> [u8; CHECKSUM_BYTES] {
    let whole = Sha256::new().chain_update(question).chain_update([0]).chain_update(key);
    let mut short = [0; CHECKSUM_BYTES];
    short.copy_from_slice(&whole.finalize()[..CHECKSUM_BYTES]);
    short
}

fn write_token(question: &str, key: &str) -> String {
    URL_SAFE_NO_PAD.encode([&checksum(question, key), key.as_bytes()].concat())
}

fn read_token(question: &str, token: &str) -> Result<String, ApiError> {
    let read = || {
        let bytes = Some(token).filter(|token| token.len() <= TOKEN_BYTES_MAX)?;
        let bytes = URL_SAFE_NO_PAD.decode(bytes).ok()?;
        let (sum, key) = bytes.split_at_checked(CHECKSUM_BYTES)?;
        let key = std::str::from_utf8(key).ok()?;
        (checksum(question, key) == sum).then(|| key.to_owned())
    };
    read().ok_or_else(|| {
        ApiError::invalid("Invalid token: nextToken is not one that this request was answered with")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(question: &str, token: Option<&str>, size: i32) -> (Vec<u32>, Option<String>) {
        let pager = Pager::new(question.into(), token, Some(size)).unwrap();
        let after: Option<u32> = pager.after().map(|key| key.parse().unwrap());
        let rest = (0..10u32).filter(|n| after.is_none_or(|after| after < *n));
        pager.page(rest, ToString::to_string)
    }

    #[test]
    fn pages_join_to_the_whole_without_gap_or_repetition() {
        for size in 1..=11 {
            let (mut all, mut next) = list("q", None, size);
            while let Some(token) = next {
                let (more, after) = list("q", Some(&token), size);
                assert!(!more.is_empty(), "no token leads to an empty page");
                all.extend(more);
                next = after;
            }
            assert_eq!(all, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_token_of_another_question_and_a_size_out_of_bounds_are_refused() {
        let (_, token) = list("q", None, 3);
        let new = |question: &str, token: Option<&str>, size| {
            Pager::new(question.into(), token, size).map(drop).map_err(|error| error.message)
        };
        assert!(new("other", token.as_deref(), None).unwrap_err().contains("nextToken"));
        assert!(new("q", None, Some(0)).unwrap_err().contains("between 1 and 100"));
        assert!(new("q", None, Some(101)).unwrap_err().contains("between 1 and 100"));
        assert!(new("q", None, Some(100)).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_is_taken_for_a_token(text in ".{1,40}") {
            prop_assert!(Pager::new("q".into(), Some(&text), None).is_err());
        }
    }
}
