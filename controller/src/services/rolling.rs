//! ECS's rolling update. With `lower = ceil(desired * min / 100)` and
//! `upper = floor(desired * max / 100)`: tasks that are not STOPPED never exceed `upper`, and
//! tasks that serve never fall below `lower` by our doing.
//!
//! Where every missing task can be started at once, nothing that serves is stopped before its
//! replacement is healthy: the room down to `lower` is used only when starting is blocked, by
//! `upper` or for want of a place. The same holds for a task that its health checks call unhealthy,
//! which serves nobody and counts for no limit but `upper`.

/// A service, counted. A task is *current* if it is of the primary deployment and on a node that
/// keeps its tasks; the others are *old*. Tasks that are asked to stop are counted apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// How many current tasks there shall be.
    pub desired: u32,
    /// `ceil(desired * min / 100)`
    pub lower: u32,
    /// `floor(desired * max / 100)`
    pub upper: u32,
    /// Current, not RUNNING yet, or not yet found to be healthy.
    pub current_pending: u32,
    /// Current and RUNNING, but too young to count.
    pub current_young: u32,
    /// Current and healthy.
    pub current_healthy: u32,
    /// Current, and its health checks say that it is not well: to be replaced.
    pub current_unhealthy: u32,
    /// Old, not RUNNING yet, or not well.
    pub old_pending: u32,
    /// Old and RUNNING.
    pub old_running: u32,
    /// Asked to stop, not STOPPED yet.
    pub stopping: u32,
    /// Current ones that are to take the place of others and are not healthy yet: so many may
    /// there be beyond the desired count.
    pub moving: u32,
}

/// What to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    /// Current tasks beyond the desired count.
    pub surplus: u32,
    /// Current tasks that are not well.
    pub unhealthy: u32,
    /// Old tasks that are not RUNNING, or not well: nobody misses them.
    pub old_pending: u32,
    /// Old tasks that are RUNNING.
    pub old_running: u32,
}

impl Picture {
    /// The limits of a desired count.
    #[must_use]
    pub fn limits(desired: u32, minimum_percent: u32, maximum_percent: u32) -> (u32, u32) {
        let share = |percent: u32| u64::from(desired) * u64::from(percent);
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        (narrow(share(minimum_percent).div_ceil(100)), narrow(share(maximum_percent) / 100))
    }

    /// Current tasks that are well, or may become so.
    #[must_use]
    pub fn current(&self) -> u32 {
        self.current_pending + self.current_young + self.current_healthy
    }

    /// Everything that is not STOPPED.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.current()
            + self.current_unhealthy
            + self.old_pending
            + self.old_running
            + self.stopping
    }

    /// How many current tasks are missing.
    #[must_use]
    pub fn missing(&self) -> u32 {
        self.desired.saturating_sub(self.current())
    }

    /// How many of them may be started now.
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.missing().min(self.upper.saturating_sub(self.total()))
    }

    /// What to stop now, if `started` of the missing tasks have just been started (and are not in
    /// the picture yet).
    #[must_use]
    pub fn stops(&self, started: u32) -> Stops {
        let blocked = started < self.missing();
        let floor = if blocked { self.lower } else { self.lower.max(self.desired) };
        let serving = self.current_healthy + self.old_running;
        // First comes a healthy replacement for each; where none can be started, one at a time
        // makes room.
        let replaced = self
            .current_unhealthy
            .saturating_sub(self.desired.saturating_sub(self.current_healthy));
        let makes_room = u32::from(blocked && self.stopping == 0);
        Stops {
            surplus: self.current().saturating_sub(self.desired.saturating_add(self.moving)),
            unhealthy: replaced.max(makes_room).min(self.current_unhealthy),
            old_pending: self.old_pending,
            old_running: self.old_running.min(serving.saturating_sub(floor)),
        }
    }

    /// Whether it is as it shall be, with nothing of the past left.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let running = self.current_young + self.current_healthy;
        running == self.desired && self.total() == self.desired
    }

    /// Whether nothing can move: old tasks must stay for `lower`, new ones find no room in
    /// `upper`, and nothing is under way that would change it.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let under_way = self.current_pending + self.current_young + self.stopping;
        0 < self.missing()
            && self.starts() == 0
            && self.stops(0) == Stops::default()
            && under_way == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `old` tasks run, a new deployment has just begun.
    fn begin(desired: u32, minimum: u32, maximum: u32) -> Picture {
        let (lower, upper) = Picture::limits(desired, minimum, maximum);
        Picture { desired, lower, upper, old_running: desired, ..Picture::default() }
    }

    #[track_caller]
    fn check(picture: Picture, starts: u32, stops: u32, stuck: bool) {
        let started = picture.starts();
        let seen = (started, picture.stops(started).old_running, picture.is_stuck());
        assert_eq!(seen, (starts, stops, stuck), "{picture:?}");
    }

    #[test]
    fn the_vectors_of_the_ecs_guide_hold() {
        check(begin(4, 50, 100), 0, 2, false);
        check(begin(2, 75, 200), 2, 0, false);
        check(begin(2, 75, 100), 0, 0, true);
        check(begin(4, 100, 200), 4, 0, false);
        check(begin(3, 100, 125), 0, 0, true);
        check(begin(4, 100, 100), 0, 0, true);
        check(begin(4, 0, 100), 0, 4, false);
        assert_eq!(Picture::limits(u32::MAX, 200, 200), (u32::MAX, u32::MAX));
    }

    #[test]
    fn a_surplus_and_what_never_ran_are_stopped_at_once() {
        let picture = Picture { current_healthy: 5, old_pending: 2, ..begin(3, 100, 200) };
        let stops = Stops { surplus: 2, unhealthy: 0, old_pending: 2, old_running: 3 };
        assert_eq!(picture.stops(0), stops);
    }

    #[test]
    fn an_unhealthy_task_is_replaced_before_it_is_stopped_where_there_is_room() {
        let (lower, upper) = Picture::limits(3, 100, 200);
        let base = Picture { desired: 3, lower, upper, ..Picture::default() };
        let sick = Picture { current_healthy: 2, current_unhealthy: 1, ..base };
        let check = |picture: Picture, started: u32, starts: u32, unhealthy: u32| {
            assert_eq!(picture.starts(), starts, "{picture:?}");
            assert_eq!(picture.stops(started).unhealthy, unhealthy, "{picture:?}");
        };
        check(sick, 1, 1, 0);
        check(Picture { current_pending: 1, ..sick }, 0, 0, 0);
        check(Picture { current_healthy: 3, ..sick }, 0, 0, 1);
        let full = Picture { upper: 3, ..sick };
        check(full, 0, 0, 1);
        let all = Picture { current_healthy: 0, current_unhealthy: 3, ..full };
        check(all, 0, 0, 1);
        check(Picture { current_unhealthy: 2, stopping: 1, ..all }, 0, 0, 0);
    }

    /// One step of the world: the service moves, then something happens to it.
    fn step(picture: &mut Picture, chance: u32) {
        let started = picture.starts();
        let stops = picture.stops(started);
        picture.current_pending += started;
        picture.old_pending -= stops.old_pending;
        picture.old_running -= stops.old_running;
        picture.stopping += stops.old_pending + stops.old_running;
        let from = |count: &mut u32| {
            let some = (*count).min(1);
            *count -= some;
            some
        };
        match chance % 4 {
            0 => picture.current_young += from(&mut picture.current_pending),
            1 => picture.current_healthy += from(&mut picture.current_young),
            2 => picture.stopping -= from(&mut picture.stopping.clone()),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn an_update_stays_within_its_limits_and_comes_to_its_end(
            desired in 1..20_u32,
            minimum in 0..=100_u32,
            maximum in 100..=200_u32,
            chances in prop::collection::vec(0..4_u32, 0..100),
        ) {
            let mut picture = begin(desired, minimum, maximum);
            let stuck = picture.is_stuck();
            let rounds = (0..desired * 16).map(|n| n % 4);
            for chance in chances.into_iter().chain(rounds) {
                step(&mut picture, chance);
                prop_assert!(picture.total() <= picture.upper.max(desired), "{:?}", picture);
                let serving = picture.current_healthy + picture.old_running;
                prop_assert!(picture.lower <= serving, "{:?}", picture);
            }
            let done = picture.is_settled() && picture.current_healthy == desired;
            prop_assert!(done || stuck, "{:?}", picture);
            prop_assert_eq!(stuck, picture.is_stuck());
        }
    }
}
