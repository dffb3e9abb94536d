//! What a profile answers to each number, as ranges.

use std::collections::BTreeMap;

use super::profile::{Abi, Answer, Condition, KILL_PROCESS, Profile, Test};
use super::table::{Table, X32_BIT};

/// The answer to the calls of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Always the same.
    Plain(Answer),
    /// It depends on the arguments: the first alternative that holds.
    Checked { alternatives: Vec<(Vec<Condition>, Answer)>, otherwise: Answer },
}

/// From which number on a verdict holds, up to the next one's.
pub(super) type Range = (u32, Verdict);

/// The ranges of one architecture as the kernel tells them apart: x86_64 together with x32, or
/// x86. The first begins at 0.
pub(super) fn ranges(profile: &Profile, is_x86: bool) -> Vec<Range> {
    let mut ranges = Vec::new();
    if is_x86 {
        append(&mut ranges, 0, profile, Abi::X86);
    } else {
        append(&mut ranges, 0, profile, Abi::X86_64);
        if profile.abis.contains(&Abi::X32) {
            append(&mut ranges, X32_BIT, profile, Abi::X32);
        } else {
            ranges.push((X32_BIT, Verdict::Plain(KILL_PROCESS)));
        }
    }
    ranges.dedup_by(|next, kept| next.1 == kept.1);
    ranges
}

fn append(ranges: &mut Vec<Range>, first: u32, profile: &Profile, abi: Abi) {
    let mut next = first;
    for (number, verdict) in verdicts(profile, abi) {
        if number > next {
            ranges.push((next, Verdict::Plain(profile.default)));
        }
        ranges.push((number, verdict));
        next = number + 1;
    }
    ranges.push((next, Verdict::Plain(profile.newer)));
}

/// What the rules say about a call.
#[derive(Default)]
struct Said {
    alternatives: Vec<(Vec<Condition>, Answer)>,
    always: Option<Answer>,
}

/// Rules with conditions come before those without, each kind in the profile's order.
fn verdicts(profile: &Profile, abi: Abi) -> BTreeMap<u32, Verdict> {
    let table = Table::of(abi);
    let mut said: BTreeMap<u32, Said> = BTreeMap::new();
    for rule in &profile.rules {
        for name in &rule.names {
            if let Some(number) = table.number(name) {
                let said = said.entry(number).or_default();
                let more = rule.alternatives.iter().map(|list| (list.clone(), rule.answer));
                said.alternatives.extend(more);
                // libseccomp's users leave a rule out that says what the default says.
                let says_more = rule.answer != profile.default;
                if rule.alternatives.is_empty() && said.always.is_none() && says_more {
                    said.always = Some(rule.answer);
                }
            }
            // Behind the old way the arguments are in memory, where no filter can look.
            let old_way = table.multiplexed(name).filter(|_| rule.alternatives.is_empty());
            if let Some(old_way) = old_way {
                let test = Test::Equal(old_way.first_argument);
                let said = said.entry(old_way.number).or_default();
                said.alternatives.push((vec![Condition { index: 0, test }], rule.answer));
            }
        }
    }
    said.into_iter().map(|(number, said)| (number, said.verdict(profile.default))).collect()
}

impl Said {
    fn verdict(mut self, default: Answer) -> Verdict {
        let otherwise = self.always.unwrap_or(default);
        // What says at the end what is said anyway need not be looked at.
        while self.alternatives.last().is_some_and(|(_, answer)| *answer == otherwise) {
            self.alternatives.pop();
        }
        if self.alternatives.is_empty() {
            Verdict::Plain(otherwise)
        } else {
            Verdict::Checked { alternatives: self.alternatives, otherwise }
        }
    }
}
