//! A captured request is worth nothing the second time: the SDKs name each call by an id that they
//! sign, and sign each retry anew, so the same signature over the same id is somebody else's copy.
//!
//! Requests without such an id (curl's) can be alike and honest; for them the window of the clock
//! is the bound, as with AWS.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::CLOCK_SKEW_S_MAX;

/// Most signatures that are remembered; beyond it the oldest half is forgotten.
pub const REPLAYS_MAX: usize = 1 << 20;
/// How long a signature is of use: the window on both sides of now.
const WINDOW_S: i64 = 2 * CLOCK_SKEW_S_MAX;

/// Signatures that were seen, in two halves: the younger one takes new ones, the older one is
/// forgotten as a whole.
#[derive(Debug, Default)]
pub struct Replays {
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    younger: HashSet<u64>,
    older: HashSet<u64>,
    since_s: i64,
}

impl Replays {
    /// Notes a signature at `now_s`; whether it is new.
    pub fn first(&self, signature: u64, now_s: i64) -> bool {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        let full = REPLAYS_MAX / 2 <= halves.younger.len();
        if full || halves.since_s + WINDOW_S <= now_s {
            halves.older = std::mem::take(&mut halves.younger);
            halves.since_s = now_s;
        }
        !halves.older.contains(&signature) && halves.younger.insert(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_new_once_in_the_window_and_memory_is_bounded() {
        let replays = Replays::default();
        assert!(replays.first(7, 0));
        assert!(!replays.first(7, WINDOW_S - 1));
        assert!(!replays.first(7, WINDOW_S), "the half that is older is still asked");
        assert!(replays.first(7, 3 * WINDOW_S), "by then its clock has run out");
        for n in 0..=REPLAYS_MAX as u64 {
            replays.first(1_000 + n, 3 * WINDOW_S);
        }
        let halves = replays.halves.lock().unwrap();
        assert!(halves.younger.len() + halves.older.len() <= REPLAYS_MAX);
    }
}
