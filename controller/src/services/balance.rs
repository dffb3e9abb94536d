//! Evening out: which nodes shall get a task of a service so that its tasks are spread again, once
//! a node or an availability zone joined, came back or lost its crowd.
//!
//! A service spreads over fields, the first weighs most. At each field the places with the most
//! tasks and with the fewest may differ by one; where they differ by more, a task moves: one is
//! started where there are fewest, and when it is well, scale-in takes one from where there are
//! most. Within one value of a field, the next field is evened out in the same way.

use std::collections::BTreeMap;

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its value of each field; a node that lacks one is left out there.
    pub values: Vec<Option<String>>,
    /// How many tasks of the service it has.
    pub tasks: u32,
    /// How many more it can take now.
    pub open: u32,
    /// What it has left: among equals, the one with the most is taken.
    pub room: (u64, u64),
}

/// What there is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Indices of the places that get a task each, in this order.
    pub starts: Vec<usize>,
    /// Whether tasks should move for which there is no room now.
    pub blocked: bool,
}

/// At most `most` tasks move at once.
#[must_use]
pub fn plan(places: &[Place], most: u32) -> Plan {
    let mut places = places.to_vec();
    let mut plan = Plan::default();
    let all: Vec<usize> = (0..places.len()).collect();
    while let Some(step) = next(&places, &all, 0) {
        let Step::Move { from, to } = step else {
            plan.blocked = true;
            break;
        };
        if u32::try_from(plan.starts.len()).unwrap_or(u32::MAX) == most {
            break;
        }
        places[from].tasks -= 1;
        places[to].tasks += 1;
        places[to].open -= 1;
        plan.starts.push(to);
    }
    plan
}

enum Step {
    Move { from: usize, to: usize },
    Blocked,
}

/// The next move among these places, which are alike in all fields before `level`.
fn next(places: &[Place], among: &[usize], level: usize) -> Option<Step> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for n in among {
        if let Some(Some(value)) = places[*n].values.get(level) {
            groups.entry(value).or_default().push(*n);
        }
    }
    let tasks = |group: &[usize]| group.iter().map(|n| u64::from(places[*n].tasks)).sum::<u64>();
    let is_open = |group: &[usize]| group.iter().any(|n| 0 < places[*n].open);
    let crowd = groups.values().max_by_key(|group| tasks(group))?;
    let uneven = |group: &[usize]| tasks(group) + 1 < tasks(crowd);
    let wanting = groups.values().filter(|group| uneven(group));
    let open = wanting.clone().filter(|group| is_open(group)).min_by_key(|group| tasks(group));
    if let Some(open) = open {
        let to = open.iter().filter(|n| 0 < places[**n].open);
        let to = to.min_by_key(|n| (places[**n].tasks, std::cmp::Reverse(places[**n].room)));
        let from = crowd.iter().max_by_key(|n| places[**n].tasks);
        return Some(Step::Move { from: *from?, to: *to? });
    }
    let blocked = wanting.count() != 0;
    let mut deeper = groups.values().filter_map(|group| next(places, group, level + 1));
    let moved = deeper.find(|step| matches!(step, Step::Move { .. }));
    moved.or_else(|| blocked.then_some(Step::Blocked))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(values: &[&str], tasks: u32, open: u32) -> Place {
        let values = values.iter().map(|value| Some((*value).to_owned())).collect();
        Place { values, tasks, open, room: (0, 0) }
    }

    #[track_caller]
    fn check(places: &[Place], most: u32, starts: &[usize], blocked: bool) {
        assert_eq!(plan(places, most), Plan { starts: starts.to_vec(), blocked });
    }

    #[test]
    fn tasks_move_until_zones_differ_by_one() {
        check(&[place(&["a"], 4, 9), place(&["b"], 0, 9)], 9, &[1, 1], false);
        check(&[place(&["a"], 5, 9), place(&["b"], 0, 9)], 9, &[1, 1], false);
        check(&[place(&["a"], 5, 9), place(&["b"], 0, 9)], 1, &[1], false);
        check(&[place(&["a"], 2, 9), place(&["b"], 1, 9)], 9, &[], false);
        let three = [place(&["a"], 6, 9), place(&["b"], 0, 9), place(&["c"], 0, 9)];
        check(&three, 9, &[1, 2, 1, 2], false);
        check(&[], 9, &[], false);
    }

    #[test]
    fn what_has_no_room_is_waited_for_and_the_next_best_is_taken() {
        check(&[place(&["a"], 4, 9), place(&["b"], 0, 0)], 9, &[], true);
        check(&[place(&["a"], 4, 9), place(&["b"], 0, 1)], 9, &[1], true);
        let three = [place(&["a"], 4, 9), place(&["b"], 0, 0), place(&["c"], 0, 9)];
        check(&three, 9, &[2, 2], true);
    }

    #[test]
    fn nodes_are_evened_out_within_their_zone() {
        let places =
            [place(&["a", "n1"], 2, 9), place(&["a", "n2"], 0, 9), place(&["b", "n3"], 2, 9)];
        check(&places, 9, &[1], false);
        // The zones come first; in the new zone the emptier node is taken.
        let places =
            [place(&["a", "n1"], 4, 9), place(&["b", "n2"], 1, 9), place(&["b", "n3"], 0, 9)];
        check(&places, 9, &[2], false);
    }

    #[test]
    fn a_node_without_the_field_neither_gives_nor_takes() {
        let without = Place { values: vec![None], tasks: 9, open: 9, room: (9, 9) };
        check(&[without, place(&["a"], 2, 9), place(&["b"], 0, 9)], 9, &[2], false);
    }

    proptest! {
        #[test]
        fn carried_out_it_is_even_and_moves_no_task_twice(
            nodes in prop::collection::vec((0..3_usize, 0..9_u32), 1..9),
        ) {
            let zones = ["a", "b", "c"];
            let places: Vec<Place> =
                nodes.iter().map(|(zone, tasks)| place(&[zones[*zone]], *tasks, 99)).collect();
            let plan = plan(&places, u32::MAX);
            prop_assert!(!plan.blocked);
            let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
            for (zone, tasks) in &nodes {
                *counts.entry(zones[*zone]).or_default() += i64::from(*tasks);
            }
            let before = counts.clone();
            for n in &plan.starts {
                *counts.entry(zones[nodes[*n].0]).or_default() += 1;
                // Scale-in takes from where there are most.
                let most = *counts.iter().max_by_key(|(_, count)| **count).unwrap().0;
                *counts.entry(most).or_default() -= 1;
            }
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            prop_assert!(most - least <= 1, "{:?} -> {:?}", before, counts);
            let moved: i64 = counts.iter().map(|(zone, n)| (n - before[zone]).max(0)).sum();
            prop_assert_eq!(moved, plan.starts.len() as i64);
        }
    }
}
