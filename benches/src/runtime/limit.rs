//! The smallest limit of memory under which a container still starts: what of the runtime's own
//! memory is charged to the container.

use crate::bundle::{Config, World};
use crate::measure::{LeftOut, Scenario};
use crate::spawn::Spawner;
use crate::subject::{Kind, Subject};

/// What limits are tried in steps of.
const STEP_KIB: u64 = 64;
/// What starts any container.
const HIGHEST_KIB: u64 = 64 * 1024;
/// How often a limit must suffice.
const TRIES: usize = 3;

/// For each subject, in KiB; `None` for the floor, which sets no limits, and where nothing starts.
pub(crate) fn smallest(
    spawner: &Spawner,
    world: &World,
    subjects: &[Subject],
    left_out: &LeftOut,
) -> anyhow::Result<Vec<Option<u64>>> {
    let each = subjects.iter().enumerate();
    each.map(|(index, subject)| match left_out.contains(&(Scenario::Run, index)) {
        true => Ok(None),
        false => of(spawner, world, subject),
    })
    .collect()
}

fn of(spawner: &Spawner, world: &World, subject: &Subject) -> anyhow::Result<Option<u64>> {
    if subject.kind == Kind::Floor {
        return Ok(None);
    }
    let starts = |steps: u64| -> anyhow::Result<bool> {
        world.limit(steps * STEP_KIB * 1024)?;
        Ok(spawner.run(TRIES, 1, &[subject.run(world, Config::Limited)]).is_ok())
    };
    let (mut low, mut high) = (0, HIGHEST_KIB / STEP_KIB);
    if !starts(high)? {
        return Ok(None);
    }
    while low + 1 < high {
        let middle = low.midpoint(high);
        if starts(middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(Some(high * STEP_KIB))
}
