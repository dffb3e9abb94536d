//! Which nodes are silent, lost, or given up: law 9, as one pure function.
//!
//! ```text
//!   heard ──lease──▶ silent: its session is dead, it takes no tasks
//!                      │  not within the grace after a start, nor where more than a third of the
//!                      │  nodes fell silent within a lease (then after the grace, which begins
//!                      │  anew where so many of those that were heard meanwhile fall again)
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
    /// No node is lost for this long after the controller's start.
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
            start_grace_ms: 30_000,
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

/// What follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Sessions to end.
    pub silent: Vec<InstanceArn>,
    /// Nodes that are lost from now on.
    pub lost: Vec<InstanceArn>,
    /// Lost nodes whose tasks are given up from now on.
    pub given_up: Vec<InstanceArn>,
    /// Since when more than a third are silent; to be handed in again next time.
    pub mass_since_ms: Option<u64>,
}

/// Judges all nodes at once. `started_ms` is when this controller began to listen.
#[must_use]
pub fn judge(
    rules: &Rules,
    started_ms: u64,
    mass_since_ms: Option<u64>,
    now_ms: u64,
    nodes: &[Observed<'_>],
) -> Verdict {
    let silence = |node: &Observed<'_>| now_ms.saturating_sub(node.heard_ms.unwrap_or(started_ms));
    let silent = |node: &&Observed<'_>| rules.lease_ms < silence(node);
    let arns = |nodes: &mut dyn Iterator<Item = &Observed>| -> Vec<InstanceArn> {
        nodes.map(|node| node.node.clone()).collect()
    };
    let mut verdict = Verdict {
        silent: arns(&mut nodes.iter().filter(silent).filter(|node| node.connected)),
        given_up: arns(&mut nodes.iter().filter(silent).filter(|node| {
            let due = rules.lease_ms.saturating_add(rules.standalone_grace_ms);
            node.lost && node.has_live_tasks && due < silence(node)
        })),
        ..Verdict::default()
    };
    let fallen: Vec<_> = nodes.iter().filter(|node| !node.lost).filter(silent).collect();
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
    if !fallen.is_empty() {
        verdict.mass_since_ms = match mass_since_ms {
            Some(since_ms) if again(since_ms) => Some(now_ms),
            // What has begun goes on for those that stay silent, though others be lost or back.
            Some(since_ms) => Some(since_ms),
            None => is_mass(missing.len()).then_some(now_ms),
        };
    }
    let started = rules.start_grace_ms <= now_ms.saturating_sub(started_ms);
    let patient = |since: u64| now_ms.saturating_sub(since) < rules.mass_grace_ms;
    let is_patient = verdict.mass_since_ms.is_some_and(patient);
    // However often others fall silent and come back: twice the grace is enough for anybody.
    let longest = rules.mass_grace_ms.saturating_mul(2).saturating_add(rules.lease_ms);
    if started {
        let is_due = |node: &&Observed<'_>| !is_patient || longest < silence(node);
        verdict.lost = arns(&mut fallen.into_iter().filter(is_due));
    }
    verdict
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
        let verdict = judge(&RULES, 0, None, 43_100, &nodes);
        assert_eq!((verdict.silent.len(), verdict.lost.len()), (1, 0), "{verdict:?}");
        assert_eq!(verdict.mass_since_ms, Some(43_100));
    }

    #[test]
    fn one_that_falls_within_a_lease_of_a_lost_one_waits_with_it_to_the_end_of_the_grace() {
        let arns = arns();
        let mut nodes = nodes(&arns[..4], 2, 44_900);
        (nodes[0].lost, nodes[0].connected) = (true, false);
        nodes[1].heard_ms = Some(41_800);
        let verdict = judge(&RULES, 0, None, 44_900, &nodes);
        assert_eq!((verdict.lost.len(), verdict.mass_since_ms), (0, Some(44_900)));
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
        let verdict = judge(&RULES, 0, mass, now_ms, nodes);
        let seen = (verdict.silent.len(), verdict.lost.len(), verdict.mass_since_ms.is_some());
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
        let (mut mass, mut losses) = (None, Vec::new());
        for now_ms in (100_000..200_000).step_by(100) {
            for (n, node) in nodes.iter_mut().enumerate() {
                if is_heard(n, now_ms) && now_ms.is_multiple_of(500) {
                    (node.heard_ms, node.lost) = (Some(now_ms), false);
                }
            }
            let verdict = judge(&RULES, 0, mass, now_ms, &nodes);
            mass = verdict.mass_since_ms;
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
        assert!(judge(&RULES, 0, None, 103_000, &nodes).given_up.is_empty());
        nodes[1].heard_ms = Some(103_001);
        let verdict = judge(&RULES, 0, None, 103_001, &nodes);
        assert_eq!(verdict.given_up, arns[..1]);
        nodes[0].has_live_tasks = false;
        assert!(judge(&RULES, 0, None, 103_001, &nodes).given_up.is_empty());
    }
}
