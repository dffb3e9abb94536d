//! A task's life as tables: what is seen, what follows.

use loadline_model::{ContainerStatus, StopCode, TaskStatus};

use super::*;
use crate::task::testing;

/// A task with one container for each stage; a name that begins with `side` is not essential.
fn world(containers: &[(&str, Stage)]) -> (Task, Vec<Seen>) {
    let mut spec = testing::spec(1);
    spec.containers = containers
        .iter()
        .map(|(name, _)| {
            let mut container = testing::container(name);
            container.essential = !name.starts_with("side");
            container
        })
        .collect();
    let seen = containers
        .iter()
        .map(|(_, stage)| Seen { stage: stage.clone(), ..Seen::nothing() })
        .collect();
    (Task::accepted(spec, "boot"), seen)
}

fn running() -> Stage {
    Stage::Running { started_at_ms: 5, oom_kills: 0 }
}

fn exited(exit_code: i32, oom_kills: u64) -> Stage {
    let signal = (128 < exit_code).then(|| exit_code - 128);
    let exit = Exit { exit_code, signal, oom_kills, started_at_ms: Some(5), finished_at_ms: 9 };
    Stage::Ended(End::Exit(exit))
}

fn stopping(task: &mut Task) {
    task.stop = Some(Stop { code: StopCode::UserInitiated, reason: "test".into(), at_ms: 10 });
}

fn check(containers: &[(&str, Stage)], actions: &[Action], status: TaskStatus) -> Decision {
    let (task, seen) = world(containers);
    let next = reconcile(&task, &seen, CleanUp::NotBegun, 100);
    assert_eq!(next.actions, actions, "{containers:?}");
    assert_eq!(next.task.status, status, "{containers:?}");
    next
}

#[test]
fn a_task_is_led_to_running_one_step_at_a_time() {
    use Stage::{Created, Launching, Prepared, Preparing, Pulled, Pulling, Starting, Waiting};
    check(&[("a", Waiting)], &[Action::Pull(0)], TaskStatus::Pending);
    check(&[("a", Pulling)], &[], TaskStatus::Pending);
    check(&[("a", Pulled)], &[Action::Prepare(0)], TaskStatus::Pending);
    check(&[("a", Preparing)], &[], TaskStatus::Pending);
    let next = check(&[("a", Prepared)], &[Action::Launch(0)], TaskStatus::Pending);
    assert_eq!(next.task.containers[0].runs, 1, "a run is in the record before it is launched");
    check(&[("a", Launching)], &[], TaskStatus::Pending);
    check(&[("a", Created)], &[Action::Start(0)], TaskStatus::Pending);
    check(&[("a", Starting)], &[], TaskStatus::Pending);
    let next = check(&[("a", running())], &[], TaskStatus::Running);
    assert_eq!((next.task.started_at_ms, next.task.version), (Some(100), 2));
    check(&[("a", running()), ("b", Starting)], &[], TaskStatus::Pending);
}

#[test]
fn the_end_of_an_essential_container_stops_the_others() {
    let actions = [Action::Signal(1, SIGTERM)];
    let next = check(&[("a", exited(3, 0)), ("b", running())], &actions, TaskStatus::Stopping);
    let stop = next.task.stop.unwrap();
    assert_eq!(stop.code, StopCode::EssentialContainerExited);
    assert_eq!(stop.reason, "Essential container in task exited");
    assert_eq!(next.task.containers[0].exit_code, Some(3));
    assert_eq!(next.wake_at_ms, Some(2100));
}

#[test]
fn the_end_of_another_container_changes_nothing_for_the_rest() {
    let next = check(&[("side", exited(1, 0)), ("b", running())], &[], TaskStatus::Running);
    assert_eq!(next.task.containers[0].status, ContainerStatus::Stopped);
    assert_eq!(next.task.stop, None);
}

#[test]
fn what_could_not_be_started_says_so_in_ecs_words() {
    let reason = "CannotPullContainerError: no such image".to_owned();
    let failed = Stage::Ended(End::NotStarted(reason.clone()));
    let next =
        check(&[("a", failed), ("b", Stage::Waiting)], &[Action::Skip(1)], TaskStatus::Stopping);
    let stop = next.task.stop.unwrap();
    assert_eq!((stop.code, stop.reason), (StopCode::TaskFailedToStart, reason.clone()));
    assert_eq!(next.task.containers[0].reason, Some(reason));
    assert_eq!(next.task.containers[0].exit_code, None, "no exit code is invented");
}

#[test]
fn an_oom_kill_is_named_and_one_of_another_process_too() {
    let reason = |stage: Stage| {
        let (task, seen) = world(&[("a", stage)]);
        let next = reconcile(&task, &seen, CleanUp::NotBegun, 100);
        next.task.containers[0].reason.clone()
    };
    let killed = "OutOfMemoryError: Container killed due to memory usage";
    assert_eq!(reason(exited(137, 1)).as_deref(), Some(killed));
    assert_eq!(reason(exited(137, 0)), None, "SIGKILL alone is no OOM");
    assert_eq!(reason(running()), None);
    for stage in [exited(1, 2), Stage::Running { started_at_ms: 5, oom_kills: 2 }] {
        let reason = reason(stage).unwrap();
        assert!(reason.starts_with("OutOfMemoryError: 2 processes"), "{reason}");
    }
}

#[test]
fn a_stop_goes_from_the_polite_signal_to_the_kill_of_all() {
    let (mut task, mut seen) = world(&[("a", running())]);
    stopping(&mut task);
    let at = |seen: &[Seen], now_ms, actions: &[Action], wake_at_ms| {
        let next = reconcile(&task, seen, CleanUp::NotBegun, now_ms);
        assert_eq!((next.actions.as_slice(), next.wake_at_ms), (actions, wake_at_ms), "{now_ms}");
    };
    seen[0].stop_signal = 3;
    at(&seen, 100, &[Action::Signal(0, 3)], Some(2100));
    seen[0].term_at_ms = Some(100);
    at(&seen, 2099, &[], Some(2100));
    at(&seen, 2100, &[Action::Signal(0, SIGKILL)], Some(7100));
    seen[0].kill_at_ms = Some(2100);
    at(&seen, 7099, &[], Some(7100));
    at(&seen, 7100, &[Action::KillAll(0)], None);
    seen[0].kill_all_asked = true;
    at(&seen, 9000, &[], None);
}

#[test]
fn a_task_stops_only_when_everything_has_ended_and_is_cleaned_up() {
    let (mut task, mut seen) = world(&[("a", exited(0, 0)), ("b", Stage::Created)]);
    stopping(&mut task);
    seen[0].supervised = true;
    let status = |seen: &[Seen], clean_up| {
        let next = reconcile(&task, seen, clean_up, 100);
        (next.task.status, next.actions)
    };
    let kill = vec![Action::Signal(1, SIGKILL)];
    assert_eq!(status(&seen, CleanUp::NotBegun), (TaskStatus::Stopping, kill));
    seen[1].stage = Stage::Ended(End::Skipped);
    assert_eq!(status(&seen, CleanUp::NotBegun), (TaskStatus::Stopping, vec![]));
    seen[0].supervised = false;
    let clean_up = vec![Action::CleanUp];
    assert_eq!(status(&seen, CleanUp::NotBegun), (TaskStatus::Stopping, clean_up));
    assert_eq!(status(&seen, CleanUp::UnderWay), (TaskStatus::Stopping, vec![]));
    assert_eq!(status(&seen, CleanUp::Done), (TaskStatus::Stopped, vec![]));
}

#[test]
fn deciding_twice_on_the_same_picture_is_no_change() {
    for stage in [Stage::Preparing, Stage::Starting, running(), exited(0, 0)] {
        let (task, seen) = world(&[("a", stage)]);
        let once = reconcile(&task, &seen, CleanUp::NotBegun, 100);
        let twice = reconcile(&once.task, &seen, CleanUp::NotBegun, 200);
        assert_eq!(once.task, twice.task);
    }
}
