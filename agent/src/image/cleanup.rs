//! Which pulled images go to make room: the ECS agent's rules. No I/O in here.
//!
//! An image that a person imported stays until a person removes it.

use std::collections::BTreeSet;

use super::Digest;

/// When and how much is cleaned up. The defaults are the ECS agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupRules {
    /// An image was not used for at least this long, in milliseconds.
    pub idle_ms_min: u64,
    /// At most so many go at once.
    pub images_per_cycle_max: usize,
}

impl CleanupRules {
    /// Idle for an hour, five at a time.
    pub const DEFAULT: Self = Self { idle_ms_min: 60 * 60 * 1000, images_per_cycle_max: 5 };
}

/// What is known of an image when it is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) reference: String,
    pub(super) layers: Vec<Digest>,
    /// When a task last asked for it, or when the store was opened.
    pub(super) last_used_ms: u64,
}

/// The references to remove, the one that was idle longest first. `used` are the layers that
/// containers are mounted from: an image all of whose layers are among them would free nothing.
pub(super) fn choose(
    mut pulled: Vec<Candidate>,
    used: &BTreeSet<Digest>,
    now_ms: u64,
    rules: &CleanupRules,
) -> Vec<String> {
    pulled.retain(|image| {
        rules.idle_ms_min <= now_ms.saturating_sub(image.last_used_ms)
            && !image.layers.iter().all(|layer| used.contains(layer))
    });
    pulled.sort_by(|a, b| (a.last_used_ms, &a.reference).cmp(&(b.last_used_ms, &b.reference)));
    pulled.into_iter().take(rules.images_per_cycle_max).map(|image| image.reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, layer: &str, last_used_ms: u64) -> Candidate {
        let layers = vec![Digest::of(layer.as_bytes())];
        Candidate { reference: name.to_owned(), layers, last_used_ms }
    }

    #[test]
    fn the_longest_idle_go_first_and_no_more_than_the_rules_allow() {
        let rules = CleanupRules { idle_ms_min: 100, images_per_cycle_max: 2 };
        let pulled = vec![
            image("young", "1", 901),
            image("old", "2", 700),
            image("running", "3", 0),
            image("oldest", "4", 500),
            image("older", "5", 600),
        ];
        let used = BTreeSet::from([Digest::of(b"3")]);
        let chosen = |now_ms| choose(pulled.clone(), &used, now_ms, &rules);
        assert_eq!(chosen(1000), ["oldest", "older"]);
        assert_eq!(chosen(650), ["oldest"]);
        assert!(chosen(599).is_empty());
    }

    #[test]
    fn a_clock_that_was_set_back_removes_nothing() {
        let pulled = vec![image("a", "1", 5_000_000)];
        assert!(choose(pulled, &BTreeSet::new(), 0, &CleanupRules::DEFAULT).is_empty());
    }
}
