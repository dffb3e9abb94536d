//! Errors in words.

use std::error::Error;

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
