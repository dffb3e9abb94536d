//! From desired state to what it changes here. Pure.

use std::collections::{BTreeMap, BTreeSet};

use loadline_model::{Assignment, DesiredStatus, TaskArn};

/// Most tasks in one snapshot.
pub const TASKS_MAX: usize = 20_000;

/// What the controller says, already free of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Everything that it wants of this node.
    Snapshot {
        /// Of the desired state.
        generation: u64,
        /// All of it.
        assignments: Vec<Assignment>,
    },
    /// What differs from the generation before.
    Change {
        /// Of the desired state after it.
        generation: u64,
        /// Of the desired state before it.
        base_generation: u64,
        /// New, or with another desired status.
        assignments: Vec<Assignment>,
        /// Whose end is known.
        forget: Vec<TaskArn>,
    },
}

impl Update {
    /// The generation that holds after it.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        match self {
            Self::Snapshot { generation, .. } | Self::Change { generation, .. } => *generation,
        }
    }

    /// The tasks that [`plan`] asks about; `None` means all that are here.
    #[must_use]
    pub fn asks_about(&self) -> Option<Vec<&TaskArn>> {
        match self {
            Self::Snapshot { .. } => None,
            Self::Change { assignments, forget, .. } => {
                let assigned = assignments.iter().map(|assignment| &assignment.task.arn);
                Some(assigned.chain(forget).collect())
            }
        }
    }
}

/// Why an update was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Desired state never goes backwards.
    #[error("generation {offered} is older than {applied}, which was applied")]
    Older {
        /// What came.
        offered: u64,
        /// What holds.
        applied: u64,
    },
    /// A change to something else than what holds.
    #[error("the change is to generation {base}, but {applied} was applied: send a snapshot")]
    OtherBase {
        /// What it changes.
        base: u64,
        /// What holds.
        applied: u64,
    },
    /// More tasks than a node ever holds.
    #[error("{count} tasks in one snapshot are more than {TASKS_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// The controller contradicts itself.
    #[error("task {task} is named twice in one message")]
    Twice {
        /// Which task.
        task: TaskArn,
    },
    /// The agent is ending.
    #[error("the agent is ending")]
    Ending,
}

/// How a task stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Under way or running.
    Live,
    /// Asked to stop.
    Stopping,
    /// Over; its report may not have been acknowledged.
    Stopped,
    /// Over and let go of.
    Forgotten,
}

/// What an update changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Tasks to stop, because the controller says so.
    pub stop: Vec<Assignment>,
    /// Tasks to stop, because the controller no longer names them; their replacements wait.
    pub stop_unnamed: Vec<TaskArn>,
    /// Tasks that a snapshot names STOPPED and that have not stopped: the controller may count what
    /// they hold as free, so what does not fit beside them waits for their end.
    pub departing: Vec<TaskArn>,
    /// Those of them that nobody had asked to stop, in `stop` as well: the controller may have
    /// given them up and replaced them while this node was away, so no replacement begins before
    /// their end.
    pub given_up: BTreeSet<TaskArn>,
    /// New tasks to admit or refuse.
    pub begin: Vec<Assignment>,
    /// New here, and to be stopped already.
    pub never_begin: Vec<Assignment>,
    /// Stopped tasks that the controller still names: their report is to be shown again.
    pub show_again: Vec<TaskArn>,
    /// Stopped tasks to let go of.
    pub forget: Vec<TaskArn>,
}

/// Plans what `update` changes where `applied` is the newest generation and `here` are the tasks,
/// of which those that [`Update::asks_about`] names are enough.
///
/// # Errors
/// [`Refused`]; nothing changes then.
pub fn plan(
    applied: u64,
    here: &BTreeMap<TaskArn, Standing>,
    update: &Update,
) -> Result<Plan, Refused> {
    let offered = update.generation();
    if offered < applied {
        return Err(Refused::Older { offered, applied });
    }
    let mut plan = Plan::default();
    match update {
        Update::Snapshot { assignments, .. } => {
            let count = assignments.len();
            if TASKS_MAX < count {
                return Err(Refused::TooMany { count });
            }
            refuse_twins(assignments)?;
            plan_assignments(&mut plan, here, assignments);
            let is_live =
                |arn: &TaskArn| matches!(here.get(arn), Some(Standing::Live | Standing::Stopping));
            let stopped = assignments.iter().filter(|a| a.desired == DesiredStatus::Stopped);
            let arns = stopped.map(|assignment| &assignment.task.arn);
            plan.departing = arns.filter(|arn| is_live(arn)).cloned().collect();
            plan.given_up = plan.stop.iter().map(|a| a.task.arn.clone()).collect();
            plan_unnamed(&mut plan, here, assignments);
        }
        // The same change again: it was applied.
        Update::Change { .. } if offered == applied => {}
        Update::Change { base_generation: base, .. } if *base != applied => {
            return Err(Refused::OtherBase { base: *base, applied });
        }
        Update::Change { assignments, forget, .. } => {
            refuse_twins(assignments)?;
            plan_assignments(&mut plan, here, assignments);
            let is_over = |arn: &&TaskArn| here.get(*arn) == Some(&Standing::Stopped);
            plan.forget.extend(forget.iter().filter(is_over).cloned());
        }
    }
    Ok(plan)
}

fn refuse_twins(assignments: &[Assignment]) -> Result<(), Refused> {
    let mut seen = BTreeSet::new();
    let twin = assignments.iter().find(|assignment| !seen.insert(&assignment.task.arn));
    twin.map_or(Ok(()), |twin| Err(Refused::Twice { task: twin.task.arn.clone() }))
}

fn plan_assignments(
    plan: &mut Plan,
    here: &BTreeMap<TaskArn, Standing>,
    assignments: &[Assignment],
) {
    for assignment in assignments {
        let arn = &assignment.task.arn;
        match (here.get(arn), assignment.desired) {
            (None, DesiredStatus::Running) => plan.begin.push(assignment.clone()),
            (None, DesiredStatus::Stopped) => plan.never_begin.push(assignment.clone()),
            (Some(Standing::Live), DesiredStatus::Stopped) => plan.stop.push(assignment.clone()),
            (Some(Standing::Live | Standing::Stopping), _) => {}
            // An ARN means the same work for ever: what has stopped does not begin again.
            (Some(Standing::Stopped | Standing::Forgotten), _) => {
                plan.show_again.push(arn.clone());
            }
        }
    }
}

fn plan_unnamed(plan: &mut Plan, here: &BTreeMap<TaskArn, Standing>, assignments: &[Assignment]) {
    let named: BTreeSet<&TaskArn> = assignments.iter().map(|a| &a.task.arn).collect();
    for (arn, standing) in here.iter().filter(|(arn, _)| !named.contains(arn)) {
        match standing {
            Standing::Live | Standing::Stopping => plan.stop_unnamed.push(arn.clone()),
            Standing::Stopped => plan.forget.push(arn.clone()),
            Standing::Forgotten => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::testing;

    fn assignment(n: u32, desired: DesiredStatus) -> Assignment {
        Assignment { task: testing::spec(n), desired, stop_reason: None }
    }

    fn arn(n: u32) -> TaskArn {
        testing::spec(n).arn
    }

    fn here(tasks: &[(u32, Standing)]) -> BTreeMap<TaskArn, Standing> {
        tasks.iter().map(|(n, standing)| (arn(*n), *standing)).collect()
    }

    fn change(generation: u64, base_generation: u64) -> Update {
        let assignments = vec![assignment(1, DesiredStatus::Running)];
        Update::Change { generation, base_generation, assignments, forget: vec![arn(2), arn(3)] }
    }

    #[test]
    fn generations_never_go_backwards() {
        let none = BTreeMap::new();
        let snapshot = |generation| Update::Snapshot { generation, assignments: vec![] };
        let older = Refused::Older { offered: 4, applied: 5 };
        assert_eq!(plan(5, &none, &snapshot(4)), Err(older.clone()));
        assert_eq!(plan(5, &none, &change(4, 3)), Err(older));
        assert_eq!(plan(5, &none, &snapshot(5)), Ok(Plan::default()));
        assert_eq!(plan(5, &none, &change(5, 4)), Ok(Plan::default()), "the same again");
        let other = Refused::OtherBase { base: 6, applied: 5 };
        assert_eq!(plan(5, &none, &change(7, 6)), Err(other));
        assert_eq!(plan(5, &none, &change(6, 5)).unwrap().begin.len(), 1);
    }

    #[test]
    fn a_snapshot_is_complete() {
        use Standing::{Forgotten, Live, Stopped, Stopping};
        let here = here(&[(1, Live), (2, Live), (3, Stopped), (4, Stopping), (5, Forgotten)]);
        let assignments = vec![
            assignment(1, DesiredStatus::Running),
            assignment(6, DesiredStatus::Running),
            assignment(7, DesiredStatus::Stopped),
        ];
        let plan = plan(0, &here, &Update::Snapshot { generation: 1, assignments }).unwrap();
        assert_eq!(plan.stop_unnamed, [arn(2), arn(4)]);
        assert_eq!(plan.forget, [arn(3)]);
        assert_eq!(plan.begin, [assignment(6, DesiredStatus::Running)]);
        assert_eq!(plan.never_begin, [assignment(7, DesiredStatus::Stopped)]);
        assert_eq!((plan.stop, plan.show_again), (vec![], vec![]));
    }

    #[test]
    fn of_what_a_snapshot_names_stopped_only_what_ran_on_may_have_been_replaced() {
        use Standing::{Live, Stopped, Stopping};
        let here = here(&[(1, Live), (2, Stopping), (3, Stopped)]);
        let named = [1, 2, 3].map(|n| assignment(n, DesiredStatus::Stopped)).to_vec();
        let snapshot = Update::Snapshot { generation: 1, assignments: named };
        let plan = plan(0, &here, &snapshot).unwrap();
        assert_eq!(plan.departing, [arn(1), arn(2)]);
        assert_eq!(plan.given_up, BTreeSet::from([arn(1)]));
        assert_eq!(plan.stop, [assignment(1, DesiredStatus::Stopped)]);
        assert_eq!(plan.show_again, [arn(3)]);
    }

    #[test]
    fn a_task_that_is_named_twice_in_one_message_is_refused_by_name() {
        let twins = vec![assignment(1, DesiredStatus::Running); 2];
        let snapshot = Update::Snapshot { generation: 1, assignments: twins.clone() };
        let change = Update::Change {
            generation: 1,
            base_generation: 0,
            assignments: twins,
            forget: vec![],
        };
        for update in [snapshot, change] {
            let refused = plan(0, &BTreeMap::new(), &update).unwrap_err();
            assert_eq!(refused, Refused::Twice { task: arn(1) });
        }
    }

    #[test]
    fn what_has_stopped_never_begins_again() {
        let here = here(&[(1, Standing::Stopped), (2, Standing::Forgotten)]);
        let assignments = [1, 2].map(|n| assignment(n, DesiredStatus::Running)).to_vec();
        let plan = plan(0, &here, &Update::Snapshot { generation: 1, assignments }).unwrap();
        assert_eq!((plan.begin, plan.show_again), (vec![], vec![arn(1), arn(2)]));
    }

    #[test]
    fn only_what_has_stopped_is_forgotten() {
        let here = here(&[(2, Standing::Live), (3, Standing::Stopped)]);
        assert_eq!(plan(0, &here, &change(1, 0)).unwrap().forget, [arn(3)]);
    }
}
