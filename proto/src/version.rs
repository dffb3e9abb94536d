//! Which version of the protocol two sides speak that were not upgraded together. Pure.

use std::ops::RangeInclusive;

use crate::PROTOCOL_VERSION;

/// The versions that this build speaks.
pub const SPOKEN: RangeInclusive<u32> = PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION;

/// The oldest of them.
pub const PROTOCOL_VERSION_MIN: u32 = 1;

/// No version that both sides speak.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "protocol version {} is not served: the agent speaks {}, this controller {}; upgrade {}",
    theirs.end(),
    Range(theirs),
    Range(ours),
    behind(ours, theirs)
)]
pub struct NoCommonVersion {
    ours: RangeInclusive<u32>,
    theirs: RangeInclusive<u32>,
}

struct Range<'a>(&'a RangeInclusive<u32>);

impl std::fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (min, max) = (self.0.start(), self.0.end());
        if min == max { write!(f, "{min}") } else { write!(f, "{min} to {max}") }
    }
}

fn behind(ours: &RangeInclusive<u32>, theirs: &RangeInclusive<u32>) -> &'static str {
    if ours.end() < theirs.start() { "the controller, which comes first" } else { "the agent" }
}

/// The newest version that both a controller and an agent speak. An agent that names no oldest one
/// speaks its newest alone.
///
/// # Errors
/// [`NoCommonVersion`], which says which side is behind.
pub fn common(
    ours: RangeInclusive<u32>,
    newest: u32,
    oldest: Option<u32>,
) -> Result<u32, NoCommonVersion> {
    let theirs = oldest.unwrap_or(newest)..=newest;
    let version = *ours.end().min(theirs.end());
    let is_common = ours.contains(&version) && theirs.contains(&version);
    if is_common { Ok(version) } else { Err(NoCommonVersion { ours, theirs }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_spoken_in_either_order_of_upgrade() {
        // The controller was upgraded first, then the agent first, then both.
        assert_eq!(common(1..=3, 1, None), Ok(1));
        assert_eq!(common(1..=1, 3, Some(1)), Ok(1));
        assert_eq!(common(1..=2, 3, Some(2)), Ok(2));
        assert_eq!(common(2..=3, 3, Some(1)), Ok(3));
    }

    #[test]
    fn without_one_it_is_said_who_is_behind() {
        let text = |ours, newest, oldest| common(ours, newest, oldest).unwrap_err().to_string();
        let behind = text(1..=1, 3, Some(2));
        assert!(behind.contains("the agent speaks 2 to 3, this controller 1;"), "{behind}");
        assert!(behind.ends_with("upgrade the controller, which comes first"), "{behind}");
        assert!(text(2..=3, 1, None).ends_with("upgrade the agent"));
        assert!(common(1..=1, 0, None).is_err());
        assert!(common(1..=1, 1, Some(2)).is_err(), "an empty range has nothing in common");
    }
}
