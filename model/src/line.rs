//! The node's line (law 7): the sum of the reservations of all tasks that have not stopped is never
//! above what the node registered. The agent and the scheduler use this same ledger.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Resources, TaskArn};

/// What a refused reservation was short of, in ECS's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefusalReason {
    /// `RESOURCE:CPU`
    Cpu,
    /// `RESOURCE:MEMORY`
    Memory,
}

impl RefusalReason {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "RESOURCE:CPU",
            Self::Memory => "RESOURCE:MEMORY",
        }
    }
}

/// Why a reservation would pass the line. CPU is named first where both are short, as ECS does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Refusal {
    /// What is short.
    pub reason: RefusalReason,
    /// What was asked for.
    pub asked: Resources,
    /// What was left.
    pub left: Resources,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (asked, left, unit) = match self.reason {
            RefusalReason::Cpu => (self.asked.cpu_units, self.left.cpu_units, "CPU units"),
            RefusalReason::Memory => (self.asked.memory_mib, self.left.memory_mib, "MiB"),
        };
        write!(f, "{}: {asked} {unit} asked for, {left} left", self.reason.as_str())
    }
}

/// One node's reservations against its registered resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    registered: Resources,
    /// Exact sums (CPU units, MiB): 2^64 reservations of u64::MAX fit in 128 bits.
    sum: (u128, u128),
    by_task: BTreeMap<TaskArn, Resources>,
}

impl Line {
    /// An empty line of this height.
    #[must_use]
    pub fn new(registered: Resources) -> Self {
        Self { registered, sum: (0, 0), by_task: BTreeMap::new() }
    }

    /// What the node registered.
    #[must_use]
    pub fn registered(&self) -> Resources {
        self.registered
    }

    /// The sum of all reservations; a part beyond `u64::MAX` (adopted tasks only) reads as that.
    #[must_use]
    pub fn reserved(&self) -> Resources {
        let part = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
        Resources { cpu_units: part(self.sum.0), memory_mib: part(self.sum.1) }
    }

    /// What is left. Zero, not less, where the line was lowered below what is reserved.
    #[must_use]
    pub fn left(&self) -> Resources {
        self.registered.saturating_sub(self.reserved())
    }

    /// The tasks that hold a reservation, and how much.
    pub fn tasks(&self) -> impl Iterator<Item = (&TaskArn, Resources)> {
        self.by_task.iter().map(|(task, need)| (task, *need))
    }

    /// Reserves `need` for `task`. A task that already holds a reservation keeps the one it has:
    /// asking twice is no change.
    ///
    /// # Errors
    /// [`Refusal`] where the sum would pass the line; nothing is changed then.
    pub fn reserve(&mut self, task: &TaskArn, need: Resources) -> Result<(), Refusal> {
        if self.by_task.contains_key(task) {
            return Ok(());
        }
        self.check(need)?;
        self.hold(task, need);
        Ok(())
    }

    /// Whether `need` would fit now.
    ///
    /// # Errors
    /// [`Refusal`] where it would not.
    pub fn check(&self, need: Resources) -> Result<(), Refusal> {
        let left = self.left();
        let reason = if left.cpu_units < need.cpu_units {
            RefusalReason::Cpu
        } else if left.memory_mib < need.memory_mib {
            RefusalReason::Memory
        } else {
            return Ok(());
        };
        Err(Refusal { reason, asked: need, left })
    }

    /// Records the reservation of a task that already runs, whatever the line says: found again
    /// after a restart, or after the node came back smaller. [`Line::left`] then is zero.
    pub fn adopt(&mut self, task: &TaskArn, need: Resources) {
        if !self.by_task.contains_key(task) {
            self.hold(task, need);
        }
    }

    /// Gives back what `task` holds. A task that holds nothing is no change.
    pub fn release(&mut self, task: &TaskArn) {
        if let Some(held) = self.by_task.remove(task) {
            self.sum.0 -= u128::from(held.cpu_units);
            self.sum.1 -= u128::from(held.memory_mib);
        }
    }

    /// Moves the line, as a node does that registers again with other resources.
    pub fn register(&mut self, registered: Resources) {
        self.registered = registered;
    }

    fn hold(&mut self, task: &TaskArn, need: Resources) {
        self.by_task.insert(task.clone(), need);
        self.sum.0 += u128::from(need.cpu_units);
        self.sum.1 += u128::from(need.memory_mib);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arn(n: u8) -> TaskArn {
        TaskArn::parse(&format!("arn:aws:ecs:r:1:task/default/{n}")).unwrap()
    }

    #[test]
    fn a_refusal_names_what_is_short_and_how_much_is_left() {
        let mut line = Line::new(Resources { cpu_units: 1024, memory_mib: 100 });
        line.reserve(&arn(1), Resources { cpu_units: 1000, memory_mib: 60 }).unwrap();
        let refused = line.reserve(&arn(2), Resources { cpu_units: 10, memory_mib: 41 });
        assert_eq!(refused.unwrap_err().to_string(), "RESOURCE:MEMORY: 41 MiB asked for, 40 left");
        let refused = line.reserve(&arn(2), Resources { cpu_units: 25, memory_mib: 41 });
        assert_eq!(refused.unwrap_err().reason, RefusalReason::Cpu);
        line.reserve(&arn(2), Resources { cpu_units: 24, memory_mib: 40 }).unwrap();
        assert_eq!(line.left(), Resources::ZERO);
    }

    proptest! {
        #[test]
        fn no_order_of_requests_passes_the_line(
            cpu in 0u64..5000,
            memory in 0u64..5000,
            steps in prop::collection::vec(
                (any::<bool>(), 0u8..20, 0u64..3000, 0u64..3000),
                0..200,
            ),
        ) {
            let mut line = Line::new(Resources { cpu_units: cpu, memory_mib: memory });
            for (reserve, n, cpu_units, memory_mib) in steps {
                let before = line.clone();
                if reserve {
                    let need = Resources { cpu_units, memory_mib };
                    if line.reserve(&arn(n), need).is_err() {
                        prop_assert_eq!(&line, &before);
                    }
                    let once = line.clone();
                    let _ = line.reserve(&arn(n), need);
                    prop_assert_eq!(&line, &once);
                } else {
                    line.release(&arn(n));
                    let once = line.clone();
                    line.release(&arn(n));
                    prop_assert_eq!(&line, &once);
                }
                prop_assert!(line.reserved().fits_in(line.registered()));
                let sum = line.tasks().fold(Resources::ZERO, |s, (_, r)| s.checked_add(r).unwrap());
                prop_assert_eq!(sum, line.reserved());
            }
        }
    }
}
