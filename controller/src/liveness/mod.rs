//! Which nodes are silent, lost, or given up: law 9, as one pure function.
//!
//! ```text
//!   heard ──lease──▶ silent: its session is dead, it takes no tasks
//!                      │  not within the grace after a start, or after a time in which nodes
//!                      │  could not come back; nor where more than a third of the nodes fell
//!                      │  silent within a lease (then after the grace). A grace begins anew
//!                      │  where its reason comes again, and ends for each node after twice its
//!                      │  length, counted from when somebody could first judge the node
//!                      ▼
//!                    lost: what has a replacement (a service's tasks) is replaced
//!                      │  standalone grace: nobody replaces a standalone task, so it waits
//!                      ▼
//!                    given up: standalone tasks count as stopped, InfrastructureHealth
//! ```
//!
//! All times are of a clock that never jumps, in milliseconds.

use loadline_model::InstanceArn;

/// The times and shares of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Silent for longer than this is silent.
    pub lease_ms: u64,
    /// No node is lost or given up for this long after the controller's start, and after a time in
    /// which it took no sessions.
    pub start_grace_ms: u64,
    /// Nor for this long after more than a third of the nodes fell silent at once.
    pub mass_grace_ms: u64,
    /// A lost node's standalone tasks are given up this long after the lease.
    pub standalone_grace_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lease_ms: 3_000,
            start_grace_ms: loadline_proto::START_GRACE_MS,
            mass_grace_ms: 30_000,
            standalone_grace_ms: 60_000,
        }
    }
}

/// What is known of one node that is not deregistered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed<'a> {
    /// Which.
    pub node: &'a InstanceArn,
    /// When it was last heard in this life of the controller.
    pub heard_ms: Option<u64>,
    /// Whether a session counts as alive.
    pub connected: bool,
    /// Whether it counts as lost already.
    pub lost: bool,
    /// Whether it has tasks that are not given up yet.
    pub has_live_tasks: bool,
}

/// A time in which nodes are spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// When it began for the first time.
    first_ms: u64,
    /// When it began anew.
    since_ms: u64,
}

impl Grace {
    /// It begins now.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self { first_ms: now_ms, since_ms: now_ms }
    }

    fn anew(self, now_ms: u64) -> Self {
        Self { since_ms: now_ms, ..self }
    }

    fn is_over(self, length_ms: u64, now_ms: u64) -> bool {
        length_ms <= now_ms.saturating_sub(self.since_ms)
    }
}

/// What one judgement hands to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// When this controller began to listen.
    started_ms: u64,
    /// After that, and after each time in which it took no sessions.
    start: Grace,
    /// Where more than a third fell silent at once, and some still are.
    mass: Option<Grace>,
}

impl Past {
    /// This controller begins to listen now.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self { started_ms: now_ms, start: Grace::new(now_ms), mass: None }
    }

    /// Until now, from `began_ms` on, no session could begin: a node whose session broke had no way
    /// back. A grace that was not over by then goes on: its time stood still meanwhile, so that one
    /// such time after the other, however long, spares nobody for ever.
    pub fn was_away(&mut self, rules: &Rules, began_ms: u64, now_ms: u64) {
        let was_over = self.start.is_over(rules.start_grace_ms, began_ms);
        self.start = match was_over {
            true => Grace::new(now_ms),
            false => Grace {
                first_ms: self.start.first_ms.saturating_add(now_ms.saturating_sub(began_ms)),
                since_ms: now_ms,
            },
        };
    }

    /// Whether a grace still spares a node whose lease ended at `fell_ms`. However often it begins
    /// anew, twice its length is enough for anybody; but no time counts for that in which nobody
    /// could judge, or a node come back.
    fn spares(&self, grace: Grace, length_ms: u64, fell_ms: u64, now_ms: u64) -> bool {
        let from_ms = fell_ms.max(grace.first_ms).max(self.start.first_ms);
        let longest_ms = length_ms.saturating_mul(2);
        !grace.is_over(length_ms, now_ms) && now_ms.saturating_sub(from_ms) < longest_ms
    }
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Sessions to end.
    pub silent: Vec<InstanceArn>,
    /// Nodes that are lost from now on.
    pub lost: Vec<InstanceArn>,
    /// Lost nodes whose tasks are given up from now on.
    pub given_up: Vec<InstanceArn>,
    /// To be handed in next time.
    pub past: Past,
}

/// Judges all nodes at once.
#[must_use]
pub fn judge(rules: &Rules, past: Past, now_ms: u64, nodes: &[Observed<'_>]) -> Verdict {
    let heard = |node: &Observed<'_>| node.heard_ms.unwrap_or(past.started_ms);
    let silence = |node: &Observed<'_>| now_ms.saturating_sub(heard(node));
    let silent = |node: &&Observed<'_>| rules.lease_ms < silence(node);
    let arns = |nodes: &mut dyn Iterator<Item = &Observed>| -> Vec<InstanceArn> {
        nodes.map(|node| node.node.clone()).collect()
    };
    let fallen: Vec<_> = nodes.iter().filter(|node| !node.lost).filter(silent).collect();
    let past = Past { mass: mass(rules, past, now_ms, nodes, &fallen), ..past };
    let fell_ms = |node: &Observed<'_>| heard(node).saturating_add(rules.lease_ms);
    let is_early =
        |node: &Observed<'_>| past.spares(past.start, rules.start_grace_ms, fell_ms(node), now_ms);
    let is_mass = |node: &Observed<'_>| {
        let spares = |mass| past.spares(mass, rules.mass_grace_ms, fell_ms(node), now_ms);
        past.mass.is_some_and(spares)
    };
    Verdict {
        silent: arns(&mut nodes.iter().filter(silent).filter(|node| node.connected)),
        lost: arns(&mut fallen.into_iter().filter(|node| !is_early(node) && !is_mass(node))),
        given_up: arns(&mut nodes.iter().filter(silent).filter(|node| {
            let due = rules.lease_ms.saturating_add(rules.standalone_grace_ms);
            node.lost && node.has_live_tasks && due < silence(node) && !is_early(node)
        })),
        past,
    }
}

/// The grace of those that fell silent with more than a third of the nodes. `fallen` are those that
/// are silent and not lost yet.
fn mass(
    rules: &Rules,
    past: Past,
    now_ms: u64,
    nodes: &[Observed<'_>],
    fallen: &[&Observed<'_>],
) -> Option<Grace> {
    if fallen.is_empty() {
        return None;
    }
    let silence =
        |node: &Observed<'_>| now_ms.saturating_sub(node.heard_ms.unwrap_or(past.started_ms));
    // Heartbeats of nodes that fell at once are an interval apart, and more where one was late:
    // whoever missed one falls with those whose lease is over already, and with those that were
    // lost within a lease before.
    let just_lost = |node: &Observed<'_>| {
        node.heard_ms.is_some() && silence(node) < rules.lease_ms.saturating_mul(2)
    };
    let counted: Vec<_> = nodes.iter().filter(|node| !node.lost || just_lost(node)).collect();
    let missing: Vec<_> =
        counted.iter().filter(|node| rules.lease_ms / 2 < silence(node)).collect();
    let is_mass = |missing: usize| counted.len() < missing * 3;
    // Those that were heard since a mass fell silent: their silence is another one, with its own
    // grace, though some of the first be silent still.
    let since = |since_ms: u64, node: &Observed<'_>| node.heard_ms.is_some_and(|at| since_ms < at);
    let again = |since_ms: u64| {
        let missing = missing.iter().filter(|node| since(since_ms, node)).count();
        fallen.iter().any(|node| since(since_ms, node)) && is_mass(missing)
    };
    match past.mass {
        Some(mass) if again(mass.since_ms) => Some(mass.anew(now_ms)),
        // What has begun goes on for those that stay silent, though others be lost or back.
        Some(mass) => Some(mass),
        None => is_mass(missing.len()).then(|| Grace::new(now_ms)),
    }
}

/// A node that was lost this often within [`FLAPS_WITHIN_MS`] flaps.
pub const FLAPS: usize = 3;
/// The time in which losses count, milliseconds.
pub const FLAPS_WITHIN_MS: u64 = 10 * 60 * 1_000;
/// How long a node that flaps takes no tasks, milliseconds.
pub const QUARANTINE_MS: u64 = 10 * 60 * 1_000;

/// Until when a node takes no tasks that was lost at these times, the newest last: each loss costs
/// its services a replacement, so a node that comes and goes is left alone for a while. `None`
/// where it was not lost too often.
#[must_use]
pub fn quarantine(losses_ms: &[u64], now_ms: u64) -> Option<u64> {
    let first = losses_ms.len().checked_sub(FLAPS).and_then(|n| losses_ms.get(n))?;
    let flaps = now_ms.saturating_sub(*first) <= FLAPS_WITHIN_MS;
    flaps.then(|| now_ms.saturating_add(QUARANTINE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        lease_ms: 3_000,
        start_grace_ms: 30_000,
        mass_grace_ms: 20_000,
        standalone_grace_ms: 60_000,
    };

    fn arns() -> Vec<InstanceArn> {
        let arn = |n| InstanceArn::parse(&format!("arn:aws:ecs:r:1:container-instance/c/{n}"));
        (0..9).map(|n| arn(n).unwrap()).collect()
    }

    /// Connected nodes, of which the first `silent` were last heard at 40,000.
    fn nodes(arns: &[InstanceArn], silent: usize, heard_ms: u64) -> Vec<Observed<'_>> {
        let heard = |n| Some(if n < silent { 40_000 } else { heard_ms });
        arns.iter()
            .enumerate()
            .map(|(n, node)| Observed {
                node,
                heard_ms: heard(n),
                connected: true,
                lost: false,
                has_live_tasks: true,
            })
            .collect()
    }

    #[test]
    fn nodes_that_fell_at_once_count_together_though_their_heartbeats_did_not_come_at_once() {
        let arns = arns();
        let mut nodes = nodes(&arns[..4], 2, 43_100);
        nodes[1].heard_ms = Some(40_900);
        let verdict = judge(&RULES, Past::new(0), 43_100, &nodes);
        assert_eq!((verdict.silent.len(), verdict.lost.len()), (1, 0), "{verdict:?}");
        assert_eq!(verdict.past.mass, Some(Grace::new(43_100)));
    }

    #[test]
    fn one_that_falls_within_a_lease_of_a_lost_one_waits_with_it_to_the_end_of_the_grace() {
        let arns = arns();
        let mut nodes = nodes(&arns[..4], 2, 44_900);
        (nodes[0].lost, nodes[0].connected) = (true, false);
        nodes[1].heard_ms = Some(41_800);
        let verdict = judge(&RULES, Past::new(0), 44_900, &nodes);
        assert_eq!((verdict.lost.len(), verdict.past.mass), (0, Some(Grace::new(44_900))));
        for node in &mut nodes[2..] {
            node.heard_ms = Some(64_000);
        }
        check(&nodes, Some(44_900), 64_899, (1, 0, true));
        check(&nodes, Some(44_900), 64_900, (1, 1, true));
        check(&nodes, None, 64_900, (1, 1, false));
    }

    #[track_caller]
    fn check(
        nodes: &[Observed<'_>],
        mass: Option<u64>,
        now_ms: u64,
        expected: (usize, usize, bool),
    ) {
        let past = Past { mass: mass.map(Grace::new), ..Past::new(0) };
        let verdict = judge(&RULES, past, now_ms, nodes);
        let seen = (verdict.silent.len(), verdict.lost.len(), verdict.past.mass.is_some());
        assert_eq!(seen, expected, "silent, lost, mass at {now_ms}");
    }

    #[test]
    fn a_node_is_lost_when_its_lease_has_lapsed_and_not_before() {
        check(&nodes(&arns(), 1, 43_000), None, 43_000, (0, 0, false));
        check(&nodes(&arns(), 1, 43_001), None, 43_001, (1, 1, false));
    }

    #[test]
    fn up_to_a_third_may_fall_at_once_and_one_more_waits_for_the_grace() {
        check(&nodes(&arns(), 3, 44_000), None, 44_000, (3, 3, false));
        check(&nodes(&arns(), 4, 44_000), None, 44_000, (4, 0, true));
        check(&nodes(&arns(), 4, 63_999), Some(44_000), 63_999, (4, 0, true));
        check(&nodes(&arns(), 4, 64_000), Some(44_000), 64_000, (4, 4, true));
        check(&nodes(&arns()[..1], 1, 44_000), None, 44_000, (1, 0, true));
    }

    /// When which nodes are lost, judged ten times a second from 100,000 to 200,000, where each is
    /// heard twice a second while `is_heard(node, now)`.
    fn losses(arns: &[InstanceArn], is_heard: impl Fn(usize, u64) -> bool) -> Vec<(u64, usize)> {
        let mut nodes = nodes(arns, 0, 100_000);
        let (mut past, mut losses) = (Past::new(0), Vec::new());
        for now_ms in (100_000..200_000).step_by(100) {
            for (n, node) in nodes.iter_mut().enumerate() {
                if is_heard(n, now_ms) && now_ms.is_multiple_of(500) {
                    (node.heard_ms, node.lost) = (Some(now_ms), false);
                }
            }
            let verdict = judge(&RULES, past, now_ms, &nodes);
            past = verdict.past;
            for (n, node) in nodes.iter_mut().enumerate() {
                if verdict.lost.contains(node.node) {
                    node.lost = true;
                    losses.push((now_ms, n));
                }
            }
        }
        losses
    }

    #[test]
    fn a_second_mass_silence_has_a_grace_of_its_own_though_one_of_the_first_is_silent_still() {
        let arns = arns();
        let first = |n, now_ms| 4 <= n || now_ms <= 100_000 || (n != 0 && 108_000 <= now_ms);
        // The first silence alone: who does not come back is lost at the end of its grace.
        assert_eq!(losses(&arns, first), [(123_100, 0)]);
        let blinks = |n, now_ms| first(n, now_ms) && !(119_000..135_000).contains(&now_ms);
        assert_eq!(losses(&arns, blinks), [(141_600, 0)], "all others were back in time");
        let often = |n, now_ms: u64| {
            first(n, now_ms) && (now_ms < 115_000 || 4_000 <= (now_ms - 115_000) % 15_000)
        };
        assert_eq!(losses(&arns, often), [(143_100, 0)], "twice the grace is enough");
        let two = |n, now_ms| first(n, now_ms) && !((5..=6).contains(&n) && 119_000 < now_ms);
        assert_eq!(losses(&arns, two), [(123_100, 0), (123_100, 5), (123_100, 6)], "no mass");
    }

    #[test]
    fn a_mass_silence_that_is_first_seen_late_has_its_whole_grace_all_the_same() {
        // Nobody judged for 70 s, in which the network was gone.
        let arns = arns();
        let nodes = nodes(&arns, 9, 0);
        check(&nodes, None, 110_000, (9, 0, true));
        check(&nodes, Some(110_000), 129_999, (9, 0, true));
        check(&nodes, Some(110_000), 130_000, (9, 9, true));
    }

    #[test]
    fn a_second_mass_silence_that_is_first_seen_late_has_its_grace_where_no_session_could_begin() {
        let rules = Rules { mass_grace_ms: 40_000, ..RULES };
        let arns = arns();
        let mut nodes = nodes(&arns, 1, 108_000);
        nodes[0].heard_ms = Some(100_000);
        let mut past = Past { mass: Some(Grace::new(103_100)), ..Past::new(0) };
        past.was_away(&rules, 110_000, 180_000);
        for now_ms in [180_000, 219_999] {
            let verdict = judge(&rules, past, now_ms, &nodes);
            assert_eq!((verdict.silent.len(), verdict.lost.len()), (9, 0), "{now_ms}");
            past = verdict.past;
        }
        assert_eq!(judge(&rules, past, 220_000, &nodes).lost.len(), 9);
    }

    #[test]
    fn no_node_is_lost_or_given_up_for_the_grace_after_a_time_in_which_it_could_not_come_back() {
        let arns = arns();
        let mut nodes = nodes(&arns, 2, 300_000);
        (nodes[1].lost, nodes[1].connected) = (true, false);
        let judged = |past, now_ms| {
            let Verdict { lost, given_up, .. } = judge(&RULES, past, now_ms, &nodes);
            (lost.len(), given_up.len())
        };
        let mut past = Past::new(0);
        assert_eq!(judged(past, 180_000), (1, 1));
        past.was_away(&RULES, 170_000, 180_000);
        assert_eq!(judged(past, 180_000), (0, 0));
        assert_eq!(judged(past, 209_999), (0, 0));
        assert_eq!(judged(past, 210_000), (1, 1));
        // A store that hangs again and again keeps nobody for ever.
        for now_ms in (200_000..=240_000).step_by(20_000) {
            assert_eq!(judged(past, now_ms - 1), (0, 0), "{now_ms}");
            past.was_away(&RULES, now_ms, now_ms);
        }
        assert_eq!(judged(past, 240_000), (1, 1));
        // After a whole grace without such a time it is another matter.
        past.was_away(&RULES, 270_000, 270_000);
        assert_eq!(judged(past, 299_999), (0, 0));
    }

    #[test]
    fn a_store_that_hangs_longer_than_the_grace_each_time_keeps_nobody_for_ever() {
        let arns = arns();
        let nodes = nodes(&arns, 2, 10_000_000);
        // Twice the grace counts, without the time in which it hangs; each end has its grace.
        for (hangs_ms, works_ms, cycles) in [(30_000, 20_000, 4), (35_000, 20_000, 4)] {
            let (mut past, mut now_ms, mut lost) = (Past::new(0), 180_000, Vec::new());
            for cycle in 1..=8 {
                past.was_away(&RULES, now_ms, now_ms + hangs_ms);
                now_ms += hangs_ms;
                if !judge(&RULES, past, now_ms, &nodes).lost.is_empty() {
                    lost.push(cycle);
                }
                now_ms += works_ms;
            }
            assert_eq!(lost.first(), Some(&cycles), "{hangs_ms}");
        }
    }

    #[test]
    fn a_long_hang_soon_after_a_short_one_has_its_grace() {
        let arns = arns();
        let nodes = nodes(&arns, 2, 300_000);
        let mut past = Past::new(0);
        past.was_away(&RULES, 100_000, 105_000);
        past.was_away(&RULES, 110_000, 210_000);
        assert!(judge(&RULES, past, 239_999, &nodes).lost.is_empty());
        assert_eq!(judge(&RULES, past, 240_000, &nodes).lost.len(), 2);
    }

    #[test]
    fn after_a_start_no_node_is_lost_for_the_grace() {
        let arns = arns();
        let mut nodes = nodes(&arns, 0, 0);
        for node in &mut nodes[3..] {
            node.heard_ms = Some(29_999);
        }
        for node in &mut nodes[..3] {
            (node.heard_ms, node.connected) = (None, false);
        }
        check(&nodes, None, 29_999, (0, 0, false));
        check(&nodes, None, 30_000, (0, 3, false));
    }

    #[test]
    fn standalone_tasks_of_a_lost_node_wait_for_their_own_grace() {
        let arns = arns();
        let mut nodes = nodes(&arns, 1, 103_000);
        (nodes[0].lost, nodes[0].connected) = (true, false);
        assert!(judge(&RULES, Past::new(0), 103_000, &nodes).given_up.is_empty());
        nodes[1].heard_ms = Some(103_001);
        let verdict = judge(&RULES, Past::new(0), 103_001, &nodes);
        assert_eq!(verdict.given_up, arns[..1]);
        nodes[0].has_live_tasks = false;
        assert!(judge(&RULES, Past::new(0), 103_001, &nodes).given_up.is_empty());
    }
}
