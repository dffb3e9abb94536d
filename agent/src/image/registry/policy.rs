//! When an image is pulled: the ECS agent's `ECS_IMAGE_PULL_BEHAVIOR`.

use std::str::FromStr;

/// The node owner's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullBehaviour {
    /// Pull each time; what is here serves where that fails.
    Default,
    /// Pull each time, and fail where that fails.
    Always,
    /// Pull what is not here. ECS's `once` asks whether a task has pulled it before; here both
    /// words mean the same, because an image stays until it is cleaned up.
    Once,
    /// Pull what is not here.
    PreferCached,
    /// Never pull: only what was imported. Not one of ECS's.
    Never,
}

/// A word that is none of the behaviours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no pull behaviour: default, always, once, prefer-cached or never is")]
pub struct UnknownBehaviour {
    text: String,
}

impl FromStr for PullBehaviour {
    type Err = UnknownBehaviour;

    fn from_str(text: &str) -> Result<Self, UnknownBehaviour> {
        match text {
            "default" => Ok(Self::Default),
            "always" => Ok(Self::Always),
            "once" => Ok(Self::Once),
            "prefer-cached" => Ok(Self::PreferCached),
            "never" => Ok(Self::Never),
            _ => Err(UnknownBehaviour { text: text.to_owned() }),
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) pull: bool,
    /// Whether what is here serves where the pull fails.
    pub(super) fall_back: bool,
}

pub(super) fn decide(behaviour: PullBehaviour, cached: bool) -> Steps {
    match behaviour {
        PullBehaviour::Default => Steps { pull: true, fall_back: true },
        PullBehaviour::Always => Steps { pull: true, fall_back: false },
        PullBehaviour::Once | PullBehaviour::PreferCached => {
            Steps { pull: !cached, fall_back: false }
        }
        PullBehaviour::Never => Steps { pull: false, fall_back: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_behaviour_pulls_as_ecs_says() {
        let check = |word: &str, cached, pull, fall_back| {
            assert_eq!(decide(word.parse().unwrap(), cached), Steps { pull, fall_back }, "{word}");
        };
        check("default", true, true, true);
        check("default", false, true, true);
        check("always", true, true, false);
        check("once", true, false, false);
        check("prefer-cached", true, false, false);
        check("prefer-cached", false, true, false);
        check("never", false, false, false);
        assert!("sometimes".parse::<PullBehaviour>().is_err());
    }
}
