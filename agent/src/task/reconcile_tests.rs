//! A task's life as tables: what is seen, what follows.

use loadline_model::{
    Condition, ContainerStatus, Dependency, HealthCheck, HealthStatus, RestartPolicy, StopCode,
    TaskStatus,
};

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
    let (started_at_ms, finished_at_ms, ran_ms) = (Some(5), 9, None);
    let exit = Exit { exit_code, signal, oom_kills, started_at_ms, finished_at_ms, ran_ms };
    Stage::Ended(End::Exit(exit))
}

fn stop() -> Stop {
    let (code, reason) = (StopCode::UserInitiated, "test".into());
    Stop { code, reason, at_ms: 10, given_up: false }
}

fn stopping(task: &mut Task) {
    task.stop = Some(stop());
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
fn the_pulls_of_a_task_are_told_from_the_first_ones_begin_to_the_last_ones_end() {
    let told = |task: &Task| {
        let report = task.report();
        (report.pull_started_at_ms, report.pull_stopped_at_ms)
    };
    let (task, mut seen) = world(&[("a", Stage::Pulled), ("b", Stage::Pulling)]);
    seen[0].pull = Some(Pull { began_at_ms: 20, ended_at_ms: 30 });
    let next = reconcile(&task, &seen, CleanUp::NotBegun, 100);
    assert_eq!(next.task, task, "a pull alone is not worth a write");
    seen[0].stage = Stage::Prepared;
    let next = reconcile(&task, &seen, CleanUp::NotBegun, 100);
    assert_eq!(told(&next.task), (Some(20), None), "one is still under way");
    let stopping = Task { stop: Some(stop()), ..next.task.clone() };
    seen[1].stage = Stage::Prepared;
    seen[1].pull = Some(Pull { began_at_ms: 10, ended_at_ms: 40 });
    let next = reconcile(&next.task, &seen, CleanUp::NotBegun, 100);
    assert_eq!(told(&next.task), (Some(10), Some(40)));
    // An agent that is started again has seen nothing of it.
    let (_, anew) = world(&[("a", running()), ("b", running())]);
    let next = reconcile(&next.task, &anew, CleanUp::NotBegun, 200);
    assert_eq!(told(&next.task), (Some(10), Some(40)));

    let skipped = Stage::Ended(End::Skipped);
    let (_, seen) = world(&[("a", exited(0, 0)), ("b", skipped)]);
    let next = reconcile(&stopping, &seen, CleanUp::NotBegun, 300);
    assert_eq!(told(&next.task), (Some(20), Some(30)), "what is never pulled is not waited for");
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
    at(&seen, 9000, &[], Some(32_100));
    at(&seen, 32_100, &[Action::EndSupervisor(0)], None);
    seen[0].supervisor_ended = true;
    at(&seen, 99_000, &[], None);
}

#[test]
fn a_launch_that_never_comes_back_is_ended_once_the_task_shall_stop() {
    let (mut task, mut seen) = world(&[("a", Stage::Launching)]);
    seen[0].launched_at_ms = Some(5);
    let at = |task: &Task, now_ms| {
        let next = reconcile(task, &seen, CleanUp::NotBegun, now_ms);
        (next.actions, next.wake_at_ms)
    };
    assert_eq!(at(&task, 99_000), (vec![], None), "a slow one is waited for");
    stopping(&mut task);
    assert_eq!(at(&task, 60_009), (vec![], Some(60_010)));
    assert_eq!(at(&task, 60_010), (vec![Action::EndSupervisor(0)], None));
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

/// A run of so many seconds that ended with this.
fn ran(exit_code: i32, seconds: u64) -> Stage {
    let exit = Exit {
        exit_code,
        signal: None,
        oom_kills: 0,
        started_at_ms: Some(1_000),
        finished_at_ms: 1_000 + seconds * 1000,
        ran_ms: None,
    };
    Stage::Ended(End::Exit(exit))
}

fn with_policy(stage: Stage) -> (Task, Vec<Seen>) {
    let (mut task, seen) = world(&[("a", stage)]);
    task.spec.containers[0].restart_policy =
        Some(RestartPolicy { enabled: true, ignored_exit_codes: vec![7], attempt_period_s: 60 });
    task.containers[0].runs = 1;
    (task, seen)
}

#[test]
fn a_restart_policy_takes_back_what_ran_long_enough_and_did_not_end_as_it_should() {
    let check = |stage: Stage, comes_back: bool| {
        let (task, seen) = with_policy(stage.clone());
        let next = reconcile(&task, &seen, CleanUp::NotBegun, 999_000);
        let renews = next.actions == [Action::Renew(0)];
        assert_eq!((renews, next.task.stop.is_none()), (comes_back, comes_back), "{stage:?}");
    };
    check(ran(1, 60), true);
    check(ran(0, 3600), true);
    check(ran(1, 59), false);
    // The clock was set meanwhile: how long it ran is what was measured.
    let measured = |stage: Stage, seconds: u64| match stage {
        Stage::Ended(End::Exit(exit)) => {
            Stage::Ended(End::Exit(Exit { ran_ms: Some(seconds * 1000), ..exit }))
        }
        other => other,
    };
    check(measured(ran(1, 0), 60), true);
    check(measured(ran(1, 3600), 59), false);
    check(ran(7, 3600), false);
    check(Stage::Ended(End::Lost("supervisor".into())), false);
    check(Stage::Ended(End::NotStarted("no image".into())), false);
}

#[test]
fn a_restart_is_in_the_record_before_it_is_launched_and_is_decided_once() {
    let (task, mut seen) = with_policy(ran(3, 60));
    seen[0].supervised = true;
    let waits = reconcile(&task, &seen, CleanUp::NotBegun, 100);
    assert_eq!(waits.actions, [], "its supervisor still takes the old run away");
    assert_eq!(waits.task.report().containers[0].exit_code, None, "it comes back");
    seen[0].supervised = false;
    seen[0].stage = Stage::Preparing;
    assert_eq!(reconcile(&waits.task, &seen, CleanUp::NotBegun, 100).actions, []);
    seen[0].stage = Stage::Prepared;
    let next = reconcile(&waits.task, &seen, CleanUp::NotBegun, 100);
    assert_eq!(next.actions, [Action::Launch(0)]);
    assert_eq!((next.task.containers[0].runs, next.task.report().containers[0].restarts), (2, 1));
}

#[test]
fn a_stop_ends_what_a_restart_policy_was_about_to_take_back() {
    let (task, mut seen) = with_policy(ran(3, 60));
    let mut task = reconcile(&task, &seen, CleanUp::NotBegun, 100).task;
    seen[0].stage = Stage::Prepared;
    stopping(&mut task);
    let next = reconcile(&task, &seen, CleanUp::NotBegun, 200);
    assert_eq!(next.actions, [Action::Skip(0)]);
    seen[0].stage = Stage::Ended(End::Skipped);
    let next = reconcile(&next.task, &seen, CleanUp::Done, 300);
    assert_eq!(next.task.status, TaskStatus::Stopped);
    assert_eq!(next.task.report().containers[0].exit_code, Some(3), "of the run that was");
}

/// `a` waits for nobody, `b` for START of `a`, `c` for START of `b`.
fn chain(stages: [Stage; 3]) -> (Task, Vec<Seen>) {
    let [a, b, c] = stages;
    let (mut task, seen) = world(&[("a", a), ("b", b), ("c", c)]);
    for at in 1..3 {
        let container = task.spec.containers[at - 1].name.clone();
        task.spec.containers[at].depends_on =
            vec![Dependency { container, condition: Condition::Start }];
    }
    (task, seen)
}

#[test]
fn containers_start_in_the_order_of_their_dependencies_and_stop_in_the_reverse() {
    use Stage::Waiting;
    let check = |stages: [Stage; 3], stop: bool, actions: &[Action]| {
        let (mut task, seen) = chain(stages);
        if stop {
            stopping(&mut task);
        }
        assert_eq!(reconcile(&task, &seen, CleanUp::NotBegun, 100).actions, actions);
    };
    let over = || {
        Stage::Ended(End::Exit(Exit {
            exit_code: 0,
            signal: None,
            oom_kills: 0,
            started_at_ms: Some(1),
            finished_at_ms: 2,
            ran_ms: None,
        }))
    };
    check([Waiting, Waiting, Waiting], false, &[Action::Pull(0)]);
    check([running(), Waiting, Waiting], false, &[Action::Pull(1)]);
    check([running(), running(), Waiting], false, &[Action::Pull(2)]);
    check([running(), running(), running()], true, &[Action::Signal(2, SIGTERM)]);
    check([running(), running(), over()], true, &[Action::Signal(1, SIGTERM)]);
    check([running(), over(), over()], true, &[Action::Signal(0, SIGTERM)]);
    let skips = [Action::Skip(1), Action::Skip(2)];
    check([running(), Waiting, Waiting], true, &skips);
}

#[test]
fn a_container_whose_dependency_can_not_come_is_given_up_with_the_reason() {
    let (mut task, mut seen) = world(&[("side", exited(3, 0)), ("b", Stage::Waiting)]);
    let container = task.spec.containers[0].name.clone();
    task.spec.containers[1].depends_on =
        vec![Dependency { container, condition: Condition::Success }];
    let reason =
        "TaskDependencyError: SUCCESS of container 'side' was awaited, but it ended with 3";
    let next = reconcile(&task, &seen, CleanUp::NotBegun, 100);
    assert_eq!(next.actions, [Action::GiveUp(1, reason.to_owned())]);
    seen[1].stage = Stage::Ended(End::GaveUp(reason.to_owned()));
    let next = reconcile(&next.task, &seen, CleanUp::NotBegun, 100);
    let stop = next.task.stop.unwrap();
    assert_eq!((stop.code, stop.reason.as_str()), (StopCode::TaskFailedToStart, reason));
    assert_eq!(next.task.containers[1].exit_code, Some(143));
}

#[test]
fn a_health_check_is_asked_for_when_it_is_due_and_its_verdict_is_in_the_record() {
    let (mut task, mut seen) = world(&[("a", running())]);
    task.spec.containers[0].health_check = Some(HealthCheck {
        command: vec!["CMD".into(), "true".into()],
        interval_s: 10,
        timeout_s: 2,
        retries: 1,
        start_period_s: 0,
    });
    let at = |seen: &[Seen], now_ms| {
        let next = reconcile(&task, seen, CleanUp::NotBegun, now_ms);
        (next.actions, next.wake_at_ms)
    };
    assert_eq!(at(&seen, 10_004), (vec![], Some(10_005)));
    assert_eq!(at(&seen, 10_005), (vec![Action::Check(0)], None));
    seen[0].checks.under_way = true;
    assert_eq!(at(&seen, 99_000), (vec![], None), "one at a time");
    let check = task.spec.containers[0].health_check.clone().unwrap();
    let outcome = health::Outcome { exit_code: Some(1), output: "no".into() };
    health::take_in(&check, &mut seen[0].checks, outcome, 5, 12_000);
    assert_eq!(at(&seen, 12_000), (vec![], Some(22_000)));
    let next = reconcile(&task, &seen, CleanUp::NotBegun, 12_000);
    assert_eq!(next.task.report().containers[0].health, HealthStatus::Unhealthy);
    assert_eq!(next.task.stop, None, "who runs on is the service scheduler's matter");
}
