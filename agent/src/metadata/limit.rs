//! How often a task may ask. Pure.

use std::collections::BTreeMap;

use loadline_model::TaskArn;

/// Requests in a second that go on for ever (ECS).
const RATE_PER_S: u64 = 40;
/// Requests at once after a while of silence (ECS).
const BURST: u64 = 60;

/// Each task's store of requests, in thousandths.
#[derive(Debug, Default)]
pub(super) struct Limits {
    by_task: BTreeMap<TaskArn, (u64, u64)>,
}

impl Limits {
    /// Takes one request; whether there was one left.
    pub(super) fn take(&mut self, task: &TaskArn, now_ms: u64) -> bool {
        let full = BURST * 1000;
        let (left, at_ms) = self.by_task.entry(task.clone()).or_insert((full, now_ms));
        let gained = now_ms.saturating_sub(*at_ms).saturating_mul(RATE_PER_S);
        *left = left.saturating_add(gained).min(full);
        *at_ms = now_ms;
        let has_one = 1000 <= *left;
        if has_one {
            *left -= 1000;
        }
        has_one
    }

    /// Drops what is known of tasks that are gone.
    pub(super) fn retain(&mut self, is_here: impl Fn(&TaskArn) -> bool) {
        self.by_task.retain(|task, _| is_here(task));
    }

    pub(super) fn len(&self) -> usize {
        self.by_task.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_at_once_and_forty_a_second_after_that() {
        let task = |n: u32| TaskArn::parse(&format!("arn:aws:ecs:r:1:task/c/{n}")).unwrap();
        let mut limits = Limits::default();
        let taken = |limits: &mut Limits, now_ms| {
            (0..100).filter(|_| limits.take(&task(1), now_ms)).count()
        };
        assert_eq!(taken(&mut limits, 5_000), 60);
        assert_eq!(taken(&mut limits, 5_500), 20);
        assert_eq!(taken(&mut limits, 4_000), 0, "a clock that goes back gives nothing");
        assert!(limits.take(&task(2), 4_000), "another task has its own");
        assert_eq!(taken(&mut limits, 60_000), 60);
        limits.retain(|known| *known == task(2));
        assert_eq!(limits.len(), 1);
    }
}
