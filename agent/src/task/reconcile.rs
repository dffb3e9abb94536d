//! The decision: from what a task shall do and what is seen of it, what to do next. Pure.
//!
//! ```text
//!  Waiting ─▶ Pulling ─▶ Pulled ─▶ Preparing ─▶ Prepared ─▶ Launching ─▶ Created ─▶ Starting
//!                                                        Ended ◀─ Running ◀──────────────┘
//!  and from each of them straight to Ended, where it fails or the task stops
//! ```
//!
//! A container that waits for others stays Waiting; one whose restart policy takes it back goes
//! from Ended to Preparing, and from there as before, with the next number of its run.
//!
//! Called again after every change; an action that is under way shows in `Seen`, so that nothing
//! is asked for twice.

use loadline_model::report::clip_reason;
use loadline_model::{ContainerStatus, StopCode, TaskStatus};

use super::gate::{Gate, gate, has_dependents};
use super::health::{self, Checks};
use super::record::{Pull, Stop, Task};
use crate::supervise::Exit;

/// Default of `stopTimeout` (ECS), in seconds.
pub const STOP_TIMEOUT_S: u32 = 30;

/// From SIGKILL of the init to SIGKILL of everything in its cgroup, in milliseconds.
pub const KILL_ALL_AFTER_MS: u64 = 5_000;

/// From SIGKILL of the init to SIGKILL of a supervisor that still has not told the end, in
/// milliseconds: it hangs, and would keep the task STOPPING for ever.
pub const END_SUPERVISOR_AFTER_MS: u64 = 30_000;

/// How long a supervisor may take to create a container that shall not run any more, in
/// milliseconds, before it is taken for hung.
pub const LAUNCH_MS_MAX: u64 = 60_000;

/// How a container came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its supervisor saw it.
    Exit(Exit),
    /// It was never started: why, beginning with ECS's name of the error.
    NotStarted(String),
    /// It waited for another container in vain: why.
    GaveUp(String),
    /// Stopped before its start came.
    Skipped,
    /// Its supervisor died; how it ended is the kernel's word. And the reason.
    Vanished(Exit, String),
    /// Nobody knows how it ended.
    Lost(String),
    /// It ended before the agent was restarted, and the record has it.
    Recorded,
}

/// Where a container stands, as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was done yet.
    Waiting,
    /// Its image is looked for here, and in its registry where it has to be.
    Pulling,
    /// The image is here.
    Pulled,
    /// Root filesystem, cgroup and bundle are being made.
    Preparing,
    /// All of that is there.
    Prepared,
    /// A supervisor is being started and calls the runtime.
    Launching,
    /// The container exists.
    Created,
    /// Its start was asked for.
    Starting,
    /// Its program runs.
    Running {
        /// Since when, in Unix milliseconds.
        started_at_ms: u64,
        /// Processes of it that the OOM killer has ended.
        oom_kills: u64,
    },
    /// It is over.
    Ended(End),
}

/// What is seen of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it stands.
    pub stage: Stage,
    /// The digest of its image, once known.
    pub image_digest: Option<String>,
    /// When that was looked for, once it is over.
    pub pull: Option<Pull>,
    /// Its image's stop signal; SIGTERM where it names none.
    pub stop_signal: i32,
    /// When the stop signal was sent.
    pub term_at_ms: Option<u64>,
    /// When SIGKILL was sent.
    pub kill_at_ms: Option<u64>,
    /// Whether its cgroup was emptied by force.
    pub kill_all_asked: bool,
    /// When its supervisor was started, or looked for again after a restart of the agent.
    pub launched_at_ms: Option<u64>,
    /// Whether its supervisor was ended because it hung.
    pub supervisor_ended: bool,
    /// Whether a supervisor of it may still live.
    pub supervised: bool,
    /// Its health checks in this run.
    pub checks: Checks,
}

impl Seen {
    /// A container that nothing is known of.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            stage: Stage::Waiting,
            image_digest: None,
            pull: None,
            stop_signal: SIGTERM,
            term_at_ms: None,
            kill_at_ms: None,
            kill_all_asked: false,
            launched_at_ms: None,
            supervisor_ended: false,
            supervised: false,
            checks: Checks::default(),
        }
    }

    /// Whether it is over; what a restart policy takes back is asked for elsewhere.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }
}

/// The clean-up of the whole task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanUp {
    /// Not begun.
    NotBegun,
    /// Under way.
    UnderWay,
    /// Nothing is left.
    Done,
}

/// SIGTERM's number (signal(7), every architecture of ours).
pub const SIGTERM: i32 = 15;
/// SIGKILL's number.
pub const SIGKILL: i32 = 9;

/// One thing to do. The number is the container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Get the image.
    Pull(usize),
    /// Make root filesystem, cgroup and bundle ready.
    Prepare(usize),
    /// Start a supervisor for the container's newest run, which is in the record.
    Launch(usize),
    /// Start the created container.
    Start(usize),
    /// Send a signal to the container's init.
    Signal(usize, i32),
    /// Send SIGKILL to everything in the container's cgroup.
    KillAll(usize),
    /// Send SIGKILL to the container's supervisor, which hangs.
    EndSupervisor(usize),
    /// It will never be started: `Stage::Ended(End::Skipped)`.
    Skip(usize),
    /// What it waits for never comes: `Stage::Ended(End::GaveUp)` with the reason.
    GiveUp(usize, String),
    /// Make it ready for its next run, in the root filesystem that it has.
    Renew(usize),
    /// Ask the running container whether it is well.
    Check(usize),
    /// Remove everything of the task but its log.
    CleanUp,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The record as it shall be, to be written before anything is done.
    pub task: Task,
    /// In this order.
    pub actions: Vec<Action>,
    /// When to decide again though nothing has happened, in Unix milliseconds.
    pub wake_at_ms: Option<u64>,
}

/// Decides what follows from what is seen.
#[must_use]
pub fn reconcile(task: &Task, seen: &[Seen], clean_up: CleanUp, now_ms: u64) -> Decision {
    let mut next = Decision { task: task.clone(), actions: Vec::new(), wake_at_ms: None };
    if task.is_stopped() {
        return next;
    }
    fold_containers(&mut next.task, seen);
    if next.task.stop.is_none() {
        next.task.stop = reason_to_stop(&next.task, seen, now_ms);
    }
    if next.task.stop.is_some() {
        stop_containers(&mut next, seen, now_ms);
    } else {
        advance_containers(&mut next, seen, now_ms);
    }
    advance_task(&mut next, seen, clean_up, now_ms);
    if next.task != *task {
        next.task.version = task.version + 1;
    }
    next
}

/// Brings into the record what was seen of the containers.
fn fold_containers(task: &mut Task, seen: &[Seen]) {
    for (at, seen) in seen.iter().enumerate() {
        let comes_back = comes_back(task, seen, at);
        let container = &mut task.containers[at];
        if seen.checks.verdict.is_some() {
            container.health.clone_from(&seen.checks.verdict);
        }
        if seen.image_digest.is_some() {
            container.image_digest.clone_from(&seen.image_digest);
        }
        // Noted with the run that it was for, or with the end: alone it is not worth a write.
        if seen.pull.is_some() && !matches!(seen.stage, Stage::Pulled | Stage::Preparing) {
            container.pull = seen.pull;
        }
        match &seen.stage {
            Stage::Running { started_at_ms, oom_kills } => {
                container.status = ContainerStatus::Running;
                container.started_at_ms = Some(*started_at_ms);
                if 0 < *oom_kills {
                    container.reason = Some(oom_beside(*oom_kills));
                }
            }
            Stage::Ended(end) => {
                if !comes_back {
                    container.status = ContainerStatus::Stopped;
                }
                fold_end(container, end, seen.kill_at_ms.is_some());
            }
            Stage::Waiting
            | Stage::Pulling
            | Stage::Pulled
            | Stage::Preparing
            | Stage::Prepared
            | Stage::Launching
            | Stage::Created
            | Stage::Starting => {}
        }
    }
}

fn fold_end(container: &mut super::Container, end: &End, killed_by_us: bool) {
    match end {
        End::Exit(exit) => {
            container.exit_code = Some(exit.exit_code);
            container.started_at_ms = exit.started_at_ms;
            container.finished_at_ms = Some(exit.finished_at_ms);
            if 0 < exit.oom_kills {
                container.reason = Some(oom_reason(exit, killed_by_us));
            }
        }
        End::Vanished(exit, reason) => {
            container.exit_code = Some(exit.exit_code);
            container.started_at_ms = exit.started_at_ms;
            container.finished_at_ms = Some(exit.finished_at_ms);
            container.reason = Some(clip_reason(reason));
        }
        End::NotStarted(reason) | End::Lost(reason) => {
            container.reason = Some(clip_reason(reason));
        }
        End::GaveUp(reason) => {
            // No process ended with it: the ECS agent reports SIGTERM's code for such a container.
            container.exit_code = Some(128 + SIGTERM);
            container.reason = Some(clip_reason(reason));
        }
        End::Skipped | End::Recorded => {}
    }
}

/// Whether the restart policy takes a container back that has ended: it is enabled, the task is not
/// stopping, the exit code is known and not ignored, and the run was long enough.
fn comes_back(task: &Task, seen: &Seen, at: usize) -> bool {
    let Stage::Ended(End::Exit(exit)) = &seen.stage else { return false };
    let Some(policy) = &task.spec.containers[at].restart_policy else { return false };
    let Some(ran_ms) = exit.ran_ms() else { return false };
    policy.enabled
        && task.stop.is_none()
        && !policy.ignored_exit_codes.contains(&exit.exit_code)
        && u64::from(policy.attempt_period_s) * 1000 <= ran_ms
}

/// ECS's words where the OOM killer ended the container; more where it ended another process.
fn oom_reason(exit: &Exit, killed_by_us: bool) -> String {
    if exit.exit_code == 128 + SIGKILL && !killed_by_us {
        return "OutOfMemoryError: Container killed due to memory usage".to_owned();
    }
    oom_beside(exit.oom_kills)
}

fn oom_beside(kills: u64) -> String {
    let processes = if kills == 1 { "process" } else { "processes" };
    format!(
        "OutOfMemoryError: {kills} {processes} of the container killed due to memory usage, not \
         its main process"
    )
}

/// The first of the containers' ends that ends the task.
fn reason_to_stop(task: &Task, seen: &[Seen], now_ms: u64) -> Option<Stop> {
    for (at, seen) in seen.iter().enumerate() {
        let Stage::Ended(end) = &seen.stage else { continue };
        if !task.spec.containers[at].essential || comes_back(task, seen, at) {
            continue;
        }
        let (code, reason) = match end {
            End::NotStarted(reason) | End::GaveUp(reason) => {
                (StopCode::TaskFailedToStart, clip_reason(reason))
            }
            End::Exit(_) | End::Vanished(..) | End::Lost(_) | End::Skipped | End::Recorded => (
                StopCode::EssentialContainerExited,
                "Essential container in task exited".to_owned(),
            ),
        };
        return Some(Stop { code, reason, at_ms: now_ms, given_up: false });
    }
    None
}

/// Leads every container towards running, and asks those that run whether they are well.
fn advance_containers(next: &mut Decision, all: &[Seen], now_ms: u64) {
    for (at, seen) in all.iter().enumerate() {
        match &seen.stage {
            Stage::Waiting => match gate(&next.task, all, at, now_ms) {
                Gate::Open => next.actions.push(Action::Pull(at)),
                Gate::Wait(until_ms) => wake_perhaps(next, until_ms),
                Gate::Never(why) => {
                    let reason = format!("TaskDependencyError: {why}");
                    next.actions.push(Action::GiveUp(at, reason));
                }
            },
            Stage::Pulled => next.actions.push(Action::Prepare(at)),
            Stage::Prepared => begin_run(next, at),
            Stage::Created => next.actions.push(Action::Start(at)),
            Stage::Running { started_at_ms, .. } => check(next, at, seen, *started_at_ms, now_ms),
            // Its supervisor first takes away what is left of the run before.
            Stage::Ended(_) if comes_back(&next.task, seen, at) && !seen.supervised => {
                next.actions.push(Action::Renew(at));
            }
            Stage::Pulling
            | Stage::Preparing
            | Stage::Launching
            | Stage::Starting
            | Stage::Ended(_) => {}
        }
    }
}

/// The run is in the record before it is launched, and nothing of the run before any more.
fn begin_run(next: &mut Decision, at: usize) {
    let container = &mut next.task.containers[at];
    container.runs += 1;
    (container.exit_code, container.finished_at_ms) = (None, None);
    (container.reason, container.health) = (None, None);
    next.actions.push(Action::Launch(at));
}

fn check(next: &mut Decision, at: usize, seen: &Seen, started_at_ms: u64, now_ms: u64) {
    let Some(check) = &next.task.spec.containers[at].health_check else { return };
    if seen.checks.under_way {
        return;
    }
    let due_ms = health::due_at_ms(check, &seen.checks, started_at_ms);
    if due_ms <= now_ms {
        next.actions.push(Action::Check(at));
    } else {
        wake(next, due_ms);
    }
}

/// Leads every container towards its end: the stop signal, SIGKILL, SIGKILL for all. A container
/// ends after those that waited for it.
fn stop_containers(next: &mut Decision, all: &[Seen], now_ms: u64) {
    for (at, seen) in all.iter().enumerate() {
        match &seen.stage {
            // A pull may take hours, and nobody waits for it any more.
            Stage::Waiting | Stage::Pulling | Stage::Pulled | Stage::Prepared => {
                next.actions.push(Action::Skip(at));
            }
            // It comes to Prepared or Created, or fails; then it is decided.
            Stage::Preparing => {}
            Stage::Launching => end_launch(next, at, seen, now_ms),
            Stage::Created | Stage::Starting | Stage::Running { .. }
                if has_dependents(&next.task, all, at) => {}
            // Its program has not begun: there is nobody who could react to a polite signal.
            Stage::Created | Stage::Starting => kill(next, at, seen, now_ms),
            Stage::Running { .. } => stop_running(next, at, seen, now_ms),
            Stage::Ended(_) => {}
        }
    }
}

fn stop_running(next: &mut Decision, at: usize, seen: &Seen, now_ms: u64) {
    let timeout_s = next.task.spec.containers[at].stop_timeout_s.unwrap_or(STOP_TIMEOUT_S);
    let Some(term_at_ms) = seen.term_at_ms else {
        next.actions.push(Action::Signal(at, seen.stop_signal));
        wake(next, now_ms + u64::from(timeout_s) * 1000);
        return;
    };
    let deadline = term_at_ms + u64::from(timeout_s) * 1000;
    if now_ms < deadline {
        wake(next, deadline);
    } else {
        kill(next, at, seen, now_ms);
    }
}

fn kill(next: &mut Decision, at: usize, seen: &Seen, now_ms: u64) {
    match seen.kill_at_ms {
        None => {
            next.actions.push(Action::Signal(at, SIGKILL));
            wake(next, now_ms + KILL_ALL_AFTER_MS);
        }
        Some(killed) if now_ms < killed + KILL_ALL_AFTER_MS => {
            wake(next, killed + KILL_ALL_AFTER_MS);
        }
        Some(_) if !seen.kill_all_asked => next.actions.push(Action::KillAll(at)),
        Some(killed) => end_supervisor(next, at, seen, killed + END_SUPERVISOR_AFTER_MS, now_ms),
    }
}

/// A call of the runtime that never returns, or a supervisor that hangs before it says anything.
fn end_launch(next: &mut Decision, at: usize, seen: &Seen, now_ms: u64) {
    let stop_at_ms = next.task.stop.as_ref().map_or(now_ms, |stop| stop.at_ms);
    let began_ms = seen.launched_at_ms.unwrap_or(now_ms).max(stop_at_ms);
    end_supervisor(next, at, seen, began_ms + LAUNCH_MS_MAX, now_ms);
}

fn end_supervisor(next: &mut Decision, at: usize, seen: &Seen, due_ms: u64, now_ms: u64) {
    if seen.supervisor_ended {
        return;
    }
    if now_ms < due_ms {
        wake(next, due_ms);
    } else {
        next.actions.push(Action::EndSupervisor(at));
    }
}

fn wake_perhaps(next: &mut Decision, at_ms: Option<u64>) {
    if let Some(at_ms) = at_ms {
        wake(next, at_ms);
    }
}

fn wake(next: &mut Decision, at_ms: u64) {
    next.wake_at_ms = Some(next.wake_at_ms.map_or(at_ms, |earlier| earlier.min(at_ms)));
}

/// The task's own status, and its clean-up once every container has ended.
fn advance_task(next: &mut Decision, seen: &[Seen], clean_up: CleanUp, now_ms: u64) {
    let all_ended = seen.iter().all(Seen::has_ended);
    let target = if next.task.stop.is_some() {
        match (all_ended, clean_up) {
            (true, CleanUp::Done) => TaskStatus::Stopped,
            _ => TaskStatus::Stopping,
        }
    } else if seen.iter().all(has_started) {
        TaskStatus::Running
    } else {
        TaskStatus::Pending
    };
    let Ok(status) = next.task.status.advance(target) else { return };
    if status == TaskStatus::Running && next.task.started_at_ms.is_none() {
        next.task.started_at_ms = Some(now_ms);
    }
    if status == TaskStatus::Stopped {
        next.task.stopped_at_ms = Some(now_ms);
    }
    next.task.status = status;
    let unsupervised = !seen.iter().any(|seen| seen.supervised);
    let is_over = next.task.stop.is_some() && all_ended && unsupervised;
    if is_over && clean_up == CleanUp::NotBegun {
        next.actions.push(Action::CleanUp);
    }
}

/// Whether it runs or did run. What never will does not keep the others from being RUNNING.
fn has_started(seen: &Seen) -> bool {
    matches!(seen.stage, Stage::Running { .. } | Stage::Ended(_))
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
