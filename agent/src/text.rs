//! Errors in words.

use std::error::Error;
use std::io;

/// Longest cause chain that is told.
const CAUSES_MAX: usize = 16;

/// An error with all its causes, the way a person reads it: `step: cause: cause`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(error) = cause else { break };
        let more = error.to_string();
        // Libraries that repeat their source in their own words are told once.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// An error of the image store in the same way, and what can be done where its disk is full.
#[must_use]
pub fn chain_of_images(error: &dyn Error) -> String {
    let text = chain(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return format!(
                "{text}: free some space on the disk of the agent's images (--state-dir), or \
                 remove images with `loadline image rm`"
            );
        }
        cause = error.source();
    }
    text
}
