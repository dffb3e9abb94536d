//! The one owner of a task: sees, decides, records, acts.

use std::sync::Arc;
use std::time::Duration;

use loadline_model::{ContainerStatus, TaskArn};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::execed;
use super::health::{self, Checks, Outcome};
use super::init::{Found, Init};
use super::reconcile::{Action, CleanUp, Decision, End, Seen, Stage, reconcile};
use super::record::{Pull, Stop, Task};
use super::upgrade::Supervisor;
use super::watch::{self, Commands, Run, Watched};
use super::workshop::{Prepared, Workshop};
use crate::board::Board;
use crate::clock::{Steady, boot_ms};
use crate::failpoint;
use crate::image::Image;
use crate::ledger::{Entry, Ledger, LedgerError, Purpose};
use crate::metadata::{Directory, SecretStore};
use crate::supervise::{Command, Exit, FailedStep, State};

/// Events that wait for an actor.
const INBOX_MAX: usize = 64;

/// From one attempt to write the record to a full disk to the next.
const WRITE_AGAIN_MS: u64 = 1_000;

/// How often a task's clean-up is tried, a second apart, before its end is told without it.
const CLEAN_UP_TRIES_MAX: u32 = 5;

/// What every actor of a node shares.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where records go.
    pub ledger: Ledger,
    /// Where reports go.
    pub board: Arc<Board>,
    /// Where the tasks themselves can ask.
    pub directory: Arc<Directory>,
    /// What makes and removes everything below a container.
    pub workshop: Arc<Workshop>,
    /// What the controller tells tasks and nobody else.
    pub secrets: Arc<SecretStore>,
    /// The supervisor's program.
    pub supervisor: Arc<Supervisor>,
    /// How many containers are made ready at once: more would only slow each other down.
    pub makers: Arc<Semaphore>,
    /// How many health checks are made at once.
    pub checkers: Arc<Semaphore>,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Gets each task that has stopped, once that is on disk.
    pub stopped: mpsc::Sender<Box<Task>>,
}

/// What an actor reacts to.
#[derive(Debug)]
enum Event {
    Stop(Stop),
    /// When the image was there, or given up, in Unix milliseconds; and the image.
    Pulled(usize, u64, Result<Box<Image>, String>),
    Prepared(usize, Result<Prepared, String>),
    Watched(usize, Watched),
    /// Its supervisor died, its processes were ended, and how its init ended, where that is known.
    Lost(usize, Option<Found>),
    /// Its supervisor can't be ended: why.
    Stuck(usize, String),
    /// A health check of the run with this number.
    Checked(usize, u32, Outcome),
    CleanedUp(Result<(), String>),
}

/// The way to an actor.
#[derive(Clone, Debug)]
pub struct Handle {
    events: mpsc::Sender<Event>,
}

impl Handle {
    /// Asks the task to stop. Asking twice is no change.
    pub async fn stop(&self, stop: Stop) {
        // An actor that is gone has stopped its task already.
        let _ = self.events.send(Event::Stop(stop)).await;
    }
}

/// Starts the actor of a task that is in the ledger: a new one, or one from before a restart.
pub fn start(context: Context, task: Task) -> Handle {
    let (events, inbox) = mpsc::channel(INBOX_MAX);
    let handle = Handle { events: events.clone() };
    tokio::spawn(async move {
        let _guard = EndsWithUs("a task's actor");
        let mut actor = Actor::new(context, task, events);
        actor.resume();
        actor.run(inbox).await;
    });
    handle
}

/// Ends the process where its owner panics. A task whose actor is gone would never be stopped or
/// told of again, while the agent looks alive; one that starts anew finds everything (law 8).
#[derive(Debug)]
pub(crate) struct EndsWithUs(pub(crate) &'static str);

impl Drop for EndsWithUs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("{} has failed: the agent ends, and its tasks run on", self.0);
            std::process::abort();
        }
    }
}

/// An image that is being looked for.
struct PullUnderWay {
    began_at_ms: u64,
    handle: AbortHandle,
}

impl PullUnderWay {
    fn ended(&self, at_ms: u64) -> Pull {
        Pull { began_at_ms: self.began_at_ms, ended_at_ms: at_ms }
    }
}

struct Actor {
    context: Context,
    task: Task,
    /// Whether `task` is newer than the ledger.
    unwritten: bool,
    seen: Vec<Seen>,
    /// What is needed between pulling and preparing; holding it keeps its layers.
    images: Vec<Option<Box<Image>>>,
    pulls: Vec<Option<PullUnderWay>>,
    commands: Vec<Option<Commands>>,
    clean_up: CleanUp,
    /// What deadlines go by.
    clock: Steady,
    /// Holds of each container's init what the kernel knows of its end.
    inits: Vec<Option<Init>>,
    events: mpsc::Sender<Event>,
}

impl Actor {
    fn new(context: Context, task: Task, events: mpsc::Sender<Event>) -> Self {
        let count = task.containers.len();
        Self {
            context,
            task,
            unwritten: false,
            seen: vec![Seen::nothing(); count],
            images: vec![None; count],
            pulls: (0..count).map(|_| None).collect(),
            commands: vec![None; count],
            clean_up: CleanUp::NotBegun,
            clock: Steady::start(),
            inits: (0..count).map(|_| None).collect(),
            events,
        }
    }

    fn arn(&self) -> &TaskArn {
        &self.task.spec.arn
    }

    /// Finds again what an earlier agent began.
    fn resume(&mut self) {
        let rebooted = self.task.boot_id != self.context.boot_id;
        if rebooted {
            // What was only noted may be missing in the ledger; the controller may have seen it.
            self.task.version += VERSION_LEAP;
            self.task.boot_id.clone_from(&self.context.boot_id);
        }
        for at in 0..self.seen.len() {
            let container = &self.task.containers[at];
            self.seen[at].image_digest.clone_from(&container.image_digest);
            self.seen[at].checks.verdict.clone_from(&container.health);
            let run_dir = self.context.workshop.run_dir(&self.task, at);
            let ended = container.status == ContainerStatus::Stopped;
            let has_settings = self.context.workshop.has_settings(&run_dir);
            if !rebooted && 0 < container.runs && !ended && !has_settings {
                // Recorded, but no supervisor can ever have been started: it is decided anew.
                self.task.containers[at].runs -= 1;
            }
            if rebooted {
                self.seen[at].stage = Stage::Ended(end_before_reboot(&run_dir, ended));
            } else if 0 < self.task.containers[at].runs {
                self.seen[at].stop_signal = self.context.workshop.stop_signal(&self.task, at);
                self.seen[at].launched_at_ms = Some(self.clock.now_ms());
                self.seen[at].stage =
                    if ended { Stage::Ended(End::Recorded) } else { Stage::Launching };
                self.watch(at);
                self.end_execs(at);
            } else if ended {
                self.seen[at].stage = Stage::Ended(End::Recorded);
            }
        }
    }

    /// Ends, in a moment, the programs that an agent which was killed ran in a container: they were
    /// hung up with it, and may not care. What is run from now on is not meant.
    fn end_execs(&self, at: usize) {
        let left = self.context.workshop.execs_left(&self.task, at);
        if left.is_empty() {
            return;
        }
        let name = self.task.spec.containers[at].name.to_string();
        tracing::warn!(task = %self.arn(), container = name, count = left.len(),
            "programs of an agent that died are ended");
        let (context, id) = (self.context.clone(), self.arn().id().to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(execed::HANG_UP_S)).await;
            let ending = move |workshop: &Workshop| {
                workshop.end_execs(&id, &name, left);
                Ok(())
            };
            if let Err(error) = context.blocking(ending).await {
                tracing::error!(error, "programs of an agent that died are left");
            }
        });
    }

    async fn run(&mut self, mut inbox: mpsc::Receiver<Event>) {
        self.show();
        loop {
            self.mind_the_clock();
            let now_ms = self.clock.now_ms();
            let decision = reconcile(&self.task, &self.seen, self.clean_up, now_ms);
            let wake_at_ms = self.wake(decision.wake_at_ms);
            let acted = !decision.actions.is_empty();
            self.commit(&decision).await;
            for action in decision.actions {
                self.act(action).await;
            }
            if acted {
                continue;
            }
            if self.task.is_stopped() && !self.unwritten {
                failpoint::hit("stopped-recorded");
                // The node lives as long as its actors.
                let _ = self.context.stopped.send(Box::new(self.task.clone())).await;
                return;
            }
            tokio::select! {
                event = inbox.recv() => match event {
                    Some(event) => self.see(event),
                    None => return,
                },
                () = sleep_until(wake_at_ms, self.clock) => {}
            }
        }
    }

    /// Takes over a wall clock that was set, once nothing is waited for by it but health checks,
    /// which move along.
    fn mind_the_clock(&mut self) {
        let jumped_ms = self.clock.jumped_ms();
        let is_settled = |seen: &Seen| match seen.stage {
            Stage::Running { .. } => seen.checks.last_end_ms.is_some() || !seen.checks.under_way,
            _ => seen.has_ended(),
        };
        if jumped_ms == 0 || self.task.stop.is_some() || !self.seen.iter().all(is_settled) {
            return;
        }
        tracing::warn!(task = %self.arn(), jumped_ms, "the host's clock was set");
        self.clock = Steady::start();
        for seen in &mut self.seen {
            let last = &mut seen.checks.last_end_ms;
            *last = last.map(|at_ms| at_ms.saturating_add_signed(jumped_ms));
        }
    }

    /// To the controller, and to the task itself.
    fn show(&self) {
        self.context.board.publish(self.task.report());
        self.context.directory.publish(&self.task);
    }

    fn wake(&self, wake_at_ms: Option<u64>) -> Option<u64> {
        if !self.unwritten {
            return wake_at_ms;
        }
        let again = self.clock.now_ms() + WRITE_AGAIN_MS;
        Some(wake_at_ms.map_or(again, |at| at.min(again)))
    }

    /// Writes the decided record, then shows it. Where the disk refuses, the task goes on, unless
    /// a run was to be begun: that must be on disk first.
    async fn commit(&mut self, decision: &Decision) {
        if decision.task == self.task && !self.unwritten {
            return;
        }
        let before = std::mem::replace(&mut self.task, decision.task.clone());
        let purpose = if is_news(&before, &self.task) || self.unwritten {
            Purpose::Progress
        } else {
            Purpose::Note
        };
        let entry = Entry::Task(Box::new(self.task.clone()));
        match self.context.ledger.write(&[entry], purpose).await {
            Ok(()) => {
                self.unwritten = false;
                if purpose == Purpose::Progress {
                    self.show();
                    self.hit_failpoints(&before);
                } else {
                    self.context.directory.publish(&self.task);
                    failpoint::hit("run-recorded");
                }
            }
            Err(error) => self.not_written(&before, &error),
        }
    }

    fn not_written(&mut self, before: &Task, error: &LedgerError) {
        if !self.unwritten {
            tracing::error!(task = %self.arn(), %error, "the task's record can't be written");
        }
        self.unwritten = true;
        let reason = format!("ResourceInitializationError: write the task's record: {error}");
        for (at, old) in before.containers.iter().enumerate() {
            if old.runs < self.task.containers[at].runs {
                self.task.containers[at].runs = old.runs;
                self.seen[at].stage = Stage::Ended(End::NotStarted(reason.clone()));
            }
        }
    }

    fn hit_failpoints(&self, before: &Task) {
        use loadline_model::TaskStatus::{Running, Stopping};
        for (old, new) in before.containers.iter().zip(&self.task.containers) {
            if old.health != new.health && new.health.is_some() {
                failpoint::hit("health-recorded");
            }
            if old.runs < new.runs && 1 < new.runs {
                failpoint::hit("restart-recorded");
            }
        }
        match self.task.status {
            Running => failpoint::hit("running-recorded"),
            Stopping => failpoint::hit("end-recorded"),
            _ => {}
        }
    }

    async fn act(&mut self, action: Action) {
        tracing::debug!(task = %self.arn(), ?action, "acts");
        match action {
            Action::Pull(at) => self.pull(at),
            Action::Prepare(at) => self.prepare(at),
            // Where its record could not be written it has ended by now, and is not begun.
            Action::Launch(at) if self.seen[at].stage == Stage::Prepared => self.launch(at),
            Action::Launch(_) => {}
            Action::Start(at) => {
                self.seen[at].stage = Stage::Starting;
                self.command(at, Command::Start).await;
                failpoint::hit("start-sent");
            }
            Action::Signal(at, number) => {
                if number == super::reconcile::SIGKILL {
                    self.seen[at].kill_at_ms = Some(self.clock.now_ms());
                    self.command(at, Command::Signal(number)).await;
                } else {
                    self.command(at, Command::Signal(number)).await;
                    self.begin_stop_timeout(at).await;
                }
            }
            Action::KillAll(at) => {
                self.seen[at].kill_all_asked = true;
                self.kill_all(at);
            }
            Action::EndSupervisor(at) => {
                self.seen[at].supervisor_ended = true;
                self.end_supervisor(at);
            }
            Action::Skip(at) => {
                if let Some(pull) = self.pulls[at].take() {
                    pull.handle.abort();
                    self.seen[at].pull = Some(pull.ended(self.clock.now_ms()));
                }
                self.seen[at].stage = Stage::Ended(End::Skipped);
            }
            Action::GiveUp(at, reason) => {
                tracing::warn!(task = %self.arn(), %reason, "a container is not started");
                self.seen[at].stage = Stage::Ended(End::GaveUp(reason));
            }
            Action::Renew(at) => self.renew(at),
            Action::Check(at) => self.check(at),
            Action::CleanUp => self.clean_up(),
        }
    }

    /// The stop timeout goes on where an agent before this one began it. The signal was sent again
    /// all the same: nobody knows whether the first one arrived.
    async fn begin_stop_timeout(&mut self, at: usize) {
        let boot_ms = boot_ms();
        let container = &mut self.task.containers[at];
        let passed_ms = container.stop_sent_boot_ms.map(|sent| boot_ms.saturating_sub(sent));
        let now_ms = self.clock.now_ms();
        self.seen[at].term_at_ms = Some(now_ms.saturating_sub(passed_ms.unwrap_or(0)));
        if passed_ms.is_some() {
            return;
        }
        container.stop_sent_boot_ms = Some(boot_ms);
        let entry = Entry::Task(Box::new(self.task.clone()));
        if let Err(error) = self.context.ledger.write(&[entry], Purpose::Note).await {
            tracing::warn!(task = %self.arn(), %error, "the begin of a stop can't be noted");
        }
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Stop(stop) => {
                if self.task.stop.is_none() && !self.task.is_stopped() {
                    self.task.stop = Some(stop);
                    self.task.version += 1;
                    self.unwritten = true;
                }
            }
            Event::Pulled(at, at_ms, pulled) => self.see_pulled(at, at_ms, pulled),
            Event::Prepared(at, Ok(prepared)) => {
                failpoint::hit("prepared");
                self.seen[at].image_digest = Some(prepared.image_digest);
                self.seen[at].stop_signal = prepared.stop_signal;
                self.seen[at].stage = Stage::Prepared;
            }
            Event::Prepared(at, Err(reason)) => {
                tracing::warn!(task = %self.arn(), %reason, "a container can't be made");
                self.seen[at].stage = Stage::Ended(End::NotStarted(reason));
            }
            Event::Watched(at, watched) => self.see_watched(at, watched),
            Event::Checked(at, run, outcome) => self.see_checked(at, run, outcome),
            Event::Lost(at, found) => self.see_lost(at, found),
            Event::Stuck(at, why) => {
                // Nobody can end it, and it holds nothing but its own memory.
                self.seen[at].supervised = false;
                self.commands[at] = None;
                if !self.seen[at].has_ended() {
                    let reason = format!("ContainerVanishedError: {why}");
                    self.seen[at].stage = Stage::Ended(End::Lost(reason));
                }
            }
            Event::CleanedUp(Ok(())) => {
                failpoint::hit("cleaned-up");
                self.clean_up = CleanUp::Done;
            }
            Event::CleanedUp(Err(error)) => {
                // Removing its logs later tries once more; its end is not held back for ever.
                tracing::error!(task = %self.arn(), %error, "something of a task is left behind");
                self.clean_up = CleanUp::Done;
            }
        }
    }

    fn see_pulled(&mut self, at: usize, at_ms: u64, pulled: Result<Box<Image>, String>) {
        let pull = self.pulls[at].take();
        // What was skipped in the meantime is over.
        if self.seen[at].stage != Stage::Pulling {
            return;
        }
        self.seen[at].pull = pull.map(|pull| pull.ended(at_ms));
        self.seen[at].stage = match pulled {
            Ok(image) => {
                self.images[at] = Some(image);
                Stage::Pulled
            }
            Err(reason) => {
                tracing::warn!(task = %self.arn(), %reason, "an image can't be had");
                Stage::Ended(End::NotStarted(reason))
            }
        };
    }

    fn see_checked(&mut self, at: usize, run: u32, outcome: Outcome) {
        let (seen, task) = (&mut self.seen[at], &self.task);
        let check = &task.spec.containers[at].health_check;
        // A container that ended meanwhile took its check with it, which says nothing.
        match (&seen.stage, check) {
            (Stage::Running { started_at_ms, .. }, Some(check))
                if task.containers[at].runs == run =>
            {
                let now_ms = self.clock.now_ms();
                health::take_in(check, &mut seen.checks, outcome, *started_at_ms, now_ms);
                failpoint::hit("checked");
            }
            _ => {}
        }
    }

    fn see_watched(&mut self, at: usize, watched: Watched) {
        let stage = match watched {
            Watched::Gone => {
                self.seen[at].supervised = false;
                self.commands[at] = None;
                return;
            }
            Watched::Lost => {
                self.lose(at);
                return;
            }
            Watched::NotBegun(why) => {
                Stage::Ended(End::NotStarted(format!("CannotCreateContainerError: {why}")))
            }
            Watched::State(State::Creating) => Stage::Launching,
            Watched::State(State::Created { pid }) => {
                self.hold(at, pid);
                failpoint::hit("created-seen");
                Stage::Created
            }
            Watched::State(State::Running { started_at_ms, oom_kills, pid }) => {
                self.hold(at, pid);
                let started_at_ms = self.clock.from_wall(started_at_ms);
                Stage::Running { started_at_ms, oom_kills }
            }
            Watched::State(State::Failed { step, error }) => {
                let name = match step {
                    FailedStep::Create => "CannotCreateContainerError",
                    FailedStep::Start => "CannotStartContainerError",
                };
                Stage::Ended(End::NotStarted(format!("{name}: {error}")))
            }
            Watched::State(State::Exited(exit)) => Stage::Ended(End::Exit(self.by_our_clock(exit))),
        };
        self.seen[at].stage = stage;
    }
}

/// What is done elsewhere, and told when it is done.
impl Actor {
    fn pull(&mut self, at: usize) {
        self.seen[at].stage = Stage::Pulling;
        let (context, events) = (self.context.clone(), self.events.clone());
        let container = &self.task.spec.containers[at];
        let (reference, name) = (container.image.clone(), container.name.clone());
        let secrets_of = self.task.spec.awaits_secrets.then(|| self.arn().clone());
        let (clock, began_at_ms) = (self.clock, self.clock.now_ms());
        let pull = tokio::spawn(async move {
            let mut pulled = context.workshop.obtain(&reference).await;
            let at_ms = clock.now_ms();
            // Awaited here, because a stop lets go of a pull.
            if let (Ok(_), Some(arn)) = (&pulled, secrets_of)
                && let Err(reason) = context.secrets.of(&arn, &name).await
            {
                pulled = Err(reason);
            }
            let _ = events.send(Event::Pulled(at, at_ms, pulled.map(Box::new))).await;
        });
        self.pulls[at] = Some(PullUnderWay { began_at_ms, handle: pull.abort_handle() });
    }

    fn prepare(&mut self, at: usize) {
        let Some(image) = self.images[at].take() else { return };
        self.seen[at].stage = Stage::Preparing;
        let (context, events) = (self.context.clone(), self.events.clone());
        let mut task = self.task.clone();
        tokio::spawn(async move {
            let made = match context.told(&mut task, at).await {
                Ok(()) => {
                    context.blocking(move |workshop| workshop.prepare(&task, at, &image)).await
                }
                Err(reason) => Err(reason),
            };
            let _ = events.send(Event::Prepared(at, made)).await;
        });
    }

    fn renew(&mut self, at: usize) {
        self.seen[at].stage = Stage::Preparing;
        self.seen[at].checks = Checks::default();
        let stop_signal = self.seen[at].stop_signal;
        let image_digest = self.seen[at].image_digest.clone().unwrap_or_default();
        let (context, events, task) =
            (self.context.clone(), self.events.clone(), self.task.clone());
        tokio::spawn(async move {
            let renewed = context.blocking(move |workshop| workshop.renew(&task, at)).await;
            let prepared = renewed.map(|()| Prepared { image_digest, stop_signal });
            let _ = events.send(Event::Prepared(at, prepared)).await;
        });
    }

    fn check(&mut self, at: usize) {
        let Some(check) = self.task.spec.containers[at].health_check.clone() else { return };
        self.seen[at].checks.under_way = true;
        let run = self.task.containers[at].runs;
        let (context, events, task) =
            (self.context.clone(), self.events.clone(), self.task.clone());
        tokio::spawn(async move {
            // Closed never: the agent's end is the process's.
            let _permit = context.checkers.acquire().await;
            let workshop = Arc::clone(&context.workshop);
            let found = tokio::task::spawn_blocking(move || workshop.probe(&task, at, &check));
            let outcome = match found.await {
                Ok((probe, processes)) => probe.run(&processes).await,
                Err(error) => Outcome { exit_code: None, output: error.to_string() },
            };
            let _ = events.send(Event::Checked(at, run, outcome)).await;
        });
    }

    fn launch(&mut self, at: usize) {
        self.seen[at].stage = Stage::Launching;
        self.seen[at].launched_at_ms = Some(self.clock.now_ms());
        let stop_signal = self.seen[at].stop_signal;
        let written = self.context.workshop.write_settings(&self.task, at, stop_signal);
        if let Err(reason) = written {
            self.seen[at].stage = Stage::Ended(End::NotStarted(reason));
            return;
        }
        failpoint::hit("settings-written");
        self.context.workshop.forget_run_before(&self.task, at);
        self.watch(at);
    }

    fn watch(&mut self, at: usize) {
        let run = Run {
            at,
            dir: self.context.workshop.run_dir(&self.task, at),
            supervisor: Arc::clone(&self.context.supervisor),
        };
        self.seen[at].supervised = true;
        let teller = watch::Teller { events: self.events.clone(), event: Event::Watched };
        self.commands[at] = Some(watch::begin(run, teller));
    }

    async fn command(&self, at: usize, command: Command) {
        if let Some(commands) = &self.commands[at] {
            // A supervisor that is gone has told its container's end.
            let _ = commands.send(command).await;
        }
    }

    /// From now on the kernel keeps how it ends, whoever is told.
    fn hold(&mut self, at: usize, pid: i32) {
        if self.inits[at].is_none() {
            let name = self.task.spec.containers[at].name.as_str();
            self.inits[at] = Init::hold(pid, self.arn().id(), name);
        }
    }

    /// The supervisor's times: it knows only the wall clock, which may have been set since the
    /// start, and how long the container ran.
    fn by_our_clock(&self, exit: Exit) -> Exit {
        let finished_at_ms = self.clock.from_wall(exit.finished_at_ms);
        let started_at_ms = exit.started_at_ms.map(|at_ms| match exit.ran_ms {
            Some(ran_ms) if at_ms.saturating_add(ran_ms).abs_diff(exit.finished_at_ms) > 1_000 => {
                finished_at_ms.saturating_sub(ran_ms)
            }
            _ => self.clock.from_wall(at_ms),
        });
        Exit { started_at_ms, finished_at_ms, ..exit }
    }

    /// Its supervisor is dead: everything of it is ended, and asked how.
    fn lose(&mut self, at: usize) {
        let (context, events) = (self.context.clone(), self.events.clone());
        let (task, held) = (self.task.clone(), self.inits[at].take());
        tokio::spawn(async move {
            let arn = task.spec.arn.clone();
            let ended = context.blocking(move |workshop| {
                let held = held.or_else(|| workshop.hold_init(&task, at));
                workshop.kill_all(&task, at).map(|()| held.and_then(Init::wait))
            });
            let found = ended.await.unwrap_or_else(|error| {
                tracing::error!(task = %arn, %error, "processes of a container can't be killed");
                None
            });
            let _ = events.send(Event::Lost(at, found)).await;
        });
    }

    fn see_lost(&mut self, at: usize, found: Option<Found>) {
        let name = "ContainerVanishedError: the container's supervisor died;";
        // A container that was not seen running has no exit code of its program's.
        let container = &self.task.containers[at];
        let started_at_ms = match &self.seen[at].stage {
            Stage::Running { started_at_ms, .. } => Some(*started_at_ms),
            // Seen by an agent before this one.
            _ if container.status == ContainerStatus::Running => container.started_at_ms,
            _ => None,
        };
        let end = match (found, started_at_ms) {
            (Some(found), Some(started_at_ms)) => {
                let reason = format!("{name} its exit code is the kernel's");
                let exit = Exit {
                    exit_code: found.exit_code,
                    signal: found.signal,
                    oom_kills: 0,
                    started_at_ms: Some(started_at_ms),
                    finished_at_ms: self.clock.now_ms(),
                    ran_ms: None,
                };
                End::Vanished(exit, reason)
            }
            _ => End::Lost(format!(
                "{name} its processes were stopped and how it ended is not known"
            )),
        };
        self.seen[at].stage = Stage::Ended(end);
    }

    fn kill_all(&self, at: usize) {
        let context = self.context.clone();
        let task = self.task.clone();
        tokio::spawn(async move {
            let arn = task.spec.arn.clone();
            let killed = context.blocking(move |workshop| workshop.kill_all(&task, at)).await;
            if let Err(error) = killed {
                tracing::error!(task = %arn, %error, "processes of a container can't be killed");
            }
        });
    }

    /// What follows is that of a supervisor that died: its watch finds it out.
    fn end_supervisor(&self, at: usize) {
        let run_dir = self.context.workshop.run_dir(&self.task, at);
        tracing::error!(run = %run_dir.display(), "a supervisor does not answer: it is ended");
        let supervisor = Arc::clone(&self.context.supervisor);
        let events = self.events.clone();
        tokio::spawn(async move {
            let ending = move || super::calls::end_supervisor(supervisor.path(), &run_dir);
            let left = tokio::task::spawn_blocking(ending).await;
            if let Ok(Some(why)) = left {
                tracing::error!(why, "a supervisor can't be ended");
                let _ = events.send(Event::Stuck(at, why)).await;
            }
        });
    }

    fn clean_up(&mut self) {
        self.clean_up = CleanUp::UnderWay;
        let (context, events) = (self.context.clone(), self.events.clone());
        let task = self.task.clone();
        tokio::spawn(async move {
            let mut tries = 1;
            let done = loop {
                let task = task.clone();
                let done = context.blocking(move |workshop| workshop.clean_up(&task)).await;
                if done.is_ok() || CLEAN_UP_TRIES_MAX <= tries {
                    break done;
                }
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            };
            let _ = events.send(Event::CleanedUp(done)).await;
        });
    }
}

impl Context {
    /// Puts a container's secrets into this copy of its task, which never meets the ledger.
    async fn told(&self, task: &mut Task, at: usize) -> Result<(), String> {
        if !task.spec.awaits_secrets {
            return Ok(());
        }
        let name = task.spec.containers[at].name.clone();
        let secrets = self.secrets.of(&task.spec.arn, &name).await?;
        let environment = &mut task.spec.containers[at].environment;
        environment.retain(|have| !secrets.iter().any(|secret| secret.name == have.name));
        environment.extend(secrets);
        Ok(())
    }

    /// Runs what blocks on a thread for that, as one of the makers.
    async fn blocking<T, F>(&self, work: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: FnOnce(&Workshop) -> Result<T, String> + Send + 'static,
    {
        let _permit = self.makers.acquire().await.map_err(|_| "the agent is ending".to_owned())?;
        let workshop = Arc::clone(&self.workshop);
        let joined = tokio::task::spawn_blocking(move || work(&workshop)).await;
        joined.unwrap_or_else(|error| Err(format!("a thread of the agent failed: {error}")))
    }
}

/// How far a version leaps over a reboot: more than one boot ever notes without an fsync.
const VERSION_LEAP: u64 = 1_000;

/// Whether the change is one that the controller shall see.
fn is_news(before: &Task, after: &Task) -> bool {
    let quiet = |task: &Task| {
        let mut task = task.clone();
        task.version = 0;
        for container in &mut task.containers {
            // The first run shows when it begins; a restart is counted.
            container.runs = container.runs.saturating_sub(1);
            container.image_digest = None;
            container.pull = None;
        }
        task
    };
    quiet(before) != quiet(after)
}

/// No container survives a reboot; one that had ended before may have left its record.
fn end_before_reboot(run_dir: &std::path::Path, ended: bool) -> End {
    match State::read(run_dir) {
        Ok(Some(State::Exited(exit))) => End::Exit(exit),
        _ if ended => End::Recorded,
        _ => End::Lost("ContainerVanishedError: the host was restarted".to_owned()),
    }
}

async fn sleep_until(at_ms: Option<u64>, clock: Steady) {
    match at_ms {
        Some(at_ms) => {
            let wait_ms = at_ms.saturating_sub(clock.now_ms()).max(1);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        None => std::future::pending().await,
    }
}
