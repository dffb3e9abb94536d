//! The supervisor's one loop: waits for whatever comes next and takes the step that follows.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::children::{self, Call, Ended, PID_FILE, Verb};
use super::console::Console;
use super::driver::Driver;
use super::handover::{self, Begun, Handover};
use super::oom::Oom;
use super::output::Lines;
use super::record::{ERROR_CHARS_MAX, FinalRecord};
use super::server::Server;
use super::sink::{Pushed, Sink};
use super::{Error, step};
use crate::clock::{boot_ms, now_ms};
use crate::failpoint;
use crate::logs::record::Stream;
use crate::rootfs;
use crate::supervise::settings::DriverSettings;
use crate::supervise::version::Holder;
use crate::supervise::{Command, Exit, FailedStep, Settings, State, UPGRADE_FILE};

/// How long the container may be held up by a full queue before its output is dropped.
const BACKPRESSURE_MS_MAX: u64 = 1_000;

/// How long a line without its newline is held back.
const PARTIAL_LINE_MS_MAX: u64 = 500;

/// How long output is awaited after the init's end, where other processes still hold the pipes.
const DRAIN_MS_MAX: u64 = 2_000;

/// How long the log's disk may take after that.
const FLUSH_MS_MAX: u64 = 10_000;

/// How often a failed write of the exit record is tried again, once a second.
const EXIT_WRITE_RETRIES_MAX: u32 = 24 * 3600;

/// Children that ended before the init's pid was known; more than the runtime ever leaves.
const EARLY_CHILDREN_MAX: usize = 64;

/// cgroup v1 tells of an OOM before its victim is counted: the counter is looked at for this long,
/// this often.
const OOM_LOOK_MS_MAX: u64 = 3_000;
const OOM_LOOK_EVERY_MS: u64 = 50;

const READ_BYTES: usize = 8 * 1024;

/// File in the run's folder that tells why it did not become another program.
const UPGRADE_FAILED_FILE: &str = "upgrade.failed";
const UPGRADE_FAILED: &str = "the supervisor could not become another program";

/// One of the container's output pipes.
#[derive(Debug)]
struct Output {
    pipe: Option<PipeReader>,
    lines: Lines,
}

/// How the container's init ended, and when.
#[derive(Clone, Copy, Debug)]
struct InitEnd {
    ended: Ended,
    at_ms: u64,
    boot_ms: u64,
}

/// What an engine begins with.
struct Parts {
    lock: File,
    state: State,
    record: FinalRecord,
    signals: SignalFd,
    server: Server,
    sink: Sink,
    driver: Option<Driver>,
    outputs: [Output; 2],
}

fn signals() -> Result<SignalFd, Error> {
    let mask = SigSet::from(Signal::SIGCHLD);
    mask.thread_block().map_err(step("block SIGCHLD"))?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&mask, flags).map_err(step("open a signalfd"))
}

/// A final state on its way to the disk.
#[derive(Debug)]
struct Finishing {
    state: State,
    retry_at: Instant,
    retries: u32,
}

/// Everything the loop owns.
#[derive(Debug)]
pub(super) struct Engine {
    run_dir: PathBuf,
    settings: Settings,
    /// Held for as long as this run has a supervisor.
    lock: File,
    state: State,
    record: FinalRecord,
    finishing: Option<Finishing>,
    signals: SignalFd,
    server: Server,
    sink: Sink,
    driver: Option<Driver>,
    /// Gets the container's terminal, where it has one.
    console: Option<Console>,
    /// The terminal, until the container is created.
    terminal: Option<PipeReader>,
    /// Held so that the container's standard input does not end; nobody writes to it.
    kept_stdin: Option<PipeWriter>,
    oom: Oom,
    oom_kills: u64,
    /// When to look at the counter again, and when to stop that.
    oom_look: Option<(Instant, Instant)>,
    call: Option<Call>,
    init: Option<Pid>,
    init_end: Option<InitEnd>,
    early: Vec<(Pid, InitEnd)>,
    start_asked_at_ms: Option<u64>,
    start_asked_boot_ms: Option<u64>,
    start_error: Option<String>,
    outputs: [Output; 2],
    /// What came over the pipes before the start is the runtime's, not the container's.
    runtime_said: Vec<u8>,
    full_since: Option<Instant>,
    partial_since: Option<Instant>,
    /// Set with the final state: when to give up on output, and on the disk.
    drain_until: Option<Instant>,
    flush_until: Option<Instant>,
    deleted: bool,
    /// Whether another program shall go on, as soon as nothing is under way.
    upgrade_asked: bool,
}

impl Engine {
    /// Prepares everything that can fail, then calls the runtime.
    pub(super) fn set_up(run_dir: &Path, settings: Settings, lock: File) -> Result<Self, Error> {
        let signals = signals()?;
        let record = FinalRecord::allocate(run_dir).map_err(step("allocate the exit record"))?;
        let server = Server::listen().map_err(step("listen on the run's socket"))?;
        let sink = Sink::start(settings.log.clone()).map_err(step("start the log's thread"))?;
        let driver = Driver::start(&settings.log.driver, sink.drained());
        let driver = driver.map_err(step("start the log driver's thread"))?;
        let console = settings.terminal.then(Console::listen).transpose();
        let console = console.map_err(step("listen for the container's terminal"))?;
        let stdin = (settings.stdin_open && !settings.terminal).then(io::pipe).transpose();
        let (stdin_end, stdin) = stdin.map_err(step("make a pipe"))?.unzip();
        let (stdout, stdout_end) = io::pipe().map_err(step("make a pipe"))?;
        let (stderr, stderr_end) = io::pipe().map_err(step("make a pipe"))?;
        for pipe in [&stdout, &stderr] {
            children::set_nonblocking(pipe).map_err(step("make a pipe non-blocking"))?;
        }
        State::Creating.write(run_dir).map_err(step("write the run's first state"))?;
        let output = |pipe, stream| Output { pipe: Some(pipe), lines: Lines::new(stream) };
        let parts = Parts {
            lock,
            state: State::Creating,
            record,
            signals,
            server,
            sink,
            driver,
            outputs: [output(stdout, Stream::Stdout), output(stderr, Stream::Stderr)],
        };
        let mut engine = Self::new(run_dir, settings, parts);
        (engine.console, engine.kept_stdin) = (console, stdin);
        engine.settle();
        failpoint::hit("creating-written");
        match Call::create(&engine.settings, stdin_end, stdout_end, stderr_end) {
            Ok(call) => engine.call = Some(call),
            Err(error) => engine.fail_call(FailedStep::Create, &error),
        }
        failpoint::hit("create-called");
        Ok(engine)
    }

    fn new(run_dir: &Path, settings: Settings, parts: Parts) -> Self {
        let Parts { lock, state, record, signals, server, sink, driver, outputs } = parts;
        Self {
            run_dir: run_dir.to_owned(),
            lock,
            state,
            record,
            finishing: None,
            signals,
            server,
            sink,
            driver,
            console: None,
            terminal: None,
            kept_stdin: None,
            oom: Oom::new(settings.oom.clone()),
            settings,
            oom_kills: 0,
            oom_look: None,
            call: None,
            init: None,
            init_end: None,
            early: Vec::new(),
            start_asked_at_ms: None,
            start_asked_boot_ms: None,
            start_error: None,
            outputs,
            runtime_said: Vec::new(),
            full_since: None,
            partial_since: None,
            drain_until: None,
            flush_until: None,
            deleted: false,
            upgrade_asked: false,
        }
    }

    /// From here on nobody reads our standard error: whoever started us sees its end and knows
    /// that the run has begun.
    fn settle(&self) {
        if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
            // Where it fails the starter waits for nothing more than its own deadline.
            let _ = nix::unistd::dup2_stderr(&null);
        }
    }

    /// Runs until the container has ended, is recorded, read out and deleted.
    pub(super) fn run(mut self) {
        while !self.is_over() {
            self.turn();
        }
    }

    fn is_over(&self) -> bool {
        if self.finishing.as_ref().is_some_and(|f| EXIT_WRITE_RETRIES_MAX <= f.retries) {
            return true;
        }
        let is_finished =
            self.sink.is_finished() && self.driver.as_ref().is_none_or(Driver::is_finished);
        let flushed = is_finished || self.flush_until.is_some_and(|until| until <= Instant::now());
        self.state.is_final() && self.finishing.is_none() && self.deleted && flushed
    }

    fn turn(&mut self) {
        let ready = self.wait();
        self.take(&ready);
    }

    fn take(&mut self, ready: &Ready) {
        self.hand_over();
        let now = Instant::now();
        if ready.signal {
            // What it says is what the sweep below finds out.
            while let Ok(Some(_)) = self.signals.read_signal() {}
        }
        if ready.drained {
            let _ = self.sink.drained().read();
        }
        if ready.oom {
            self.oom.clear();
            self.oom_look = Some((now, now + Duration::from_millis(OOM_LOOK_MS_MAX)));
        }
        if let Some(call) = &mut self.call {
            call.listen();
        }
        self.receive_terminal();
        self.note_oom(now);
        self.read_outputs(now);
        while let Some((pid, ended)) = children::reap() {
            self.child_ended(pid, InitEnd { ended, at_ms: now_ms(), boot_ms: boot_ms() });
        }
        if let Some(call) = self.call.as_ref().filter(|call| call.deadline <= now) {
            call.kill();
        }
        for command in self.server.commands() {
            self.obey(command);
        }
        self.server.accept(&self.state.to_line());
        self.finish(now);
        self.end_of_output(now);
        // Asked for in this turn, and perhaps nothing wakes the next one.
        self.hand_over();
    }
}

/// What woke the loop; the pipes, the clients and the call are simply tried.
struct Ready {
    signal: bool,
    drained: bool,
    oom: bool,
}

impl Engine {
    fn wait(&self) -> Ready {
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.signals.as_fd(), self.sink.drained().as_fd()];
        let oom_at = self.oom.fd().map(|fd| {
            fds.push(fd);
            fds.len() - 1
        });
        fds.extend(self.server.fds());
        fds.extend(self.call.as_ref().and_then(Call::fd));
        fds.extend(self.console.as_ref().map(Console::fd));
        if self.full_since.is_none() {
            fds.extend(self.outputs.iter().filter_map(|o| o.pipe.as_ref()).map(|p| p.as_fd()));
        }
        let mut polled: Vec<PollFd<'_>> =
            fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // An interrupted poll is a turn in which nothing was ready.
        let _ = poll(&mut polled, self.timeout());
        let any = |at: usize| polled[at].any().unwrap_or(true);
        Ready { signal: any(0), drained: any(1), oom: oom_at.is_some_and(any) }
    }

    fn timeout(&self) -> PollTimeout {
        let after = |since: Option<Instant>, ms| since.map(|at| at + Duration::from_millis(ms));
        let deadlines = [
            self.call.as_ref().map(|call| call.deadline),
            after(self.full_since.filter(|_| !self.sink.has_room()), BACKPRESSURE_MS_MAX),
            after(self.partial_since, PARTIAL_LINE_MS_MAX),
            self.finishing.as_ref().map(|finishing| finishing.retry_at),
            self.oom_look.map(|(next, _)| next),
            self.drain_until,
            self.flush_until,
        ];
        match deadlines.into_iter().flatten().min() {
            None => PollTimeout::NONE,
            Some(at) => {
                // One more millisecond, so that the deadline has passed on waking.
                let wait = at.saturating_duration_since(Instant::now()).as_millis() + 1;
                PollTimeout::from(u16::try_from(wait).unwrap_or(u16::MAX))
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match (command, &self.state) {
            (Command::Start, State::Created { .. }) if self.start_asked_at_ms.is_none() => {
                self.start_asked_at_ms = Some(now_ms());
                self.start_asked_boot_ms = Some(boot_ms());
                match Call::start(&self.settings) {
                    Ok(call) => self.call = Some(call),
                    Err(error) => self.fail_call(FailedStep::Start, &error),
                }
                failpoint::hit("start-called");
            }
            (Command::Signal(number), _) => self.signal(number),
            (Command::Upgrade, _) => self.upgrade_asked = true,
            // Started already, or over: asking twice is no change.
            (Command::Start, _) => {}
        }
    }

    fn signal(&self, number: i32) {
        let Some(pid) = self.init.filter(|_| self.init_end.is_none()) else { return };
        // The init is our child and not reaped, so the pid can't be another's; it may be a zombie,
        // and then nothing happens.
        match Signal::try_from(number) {
            Ok(signal) => drop(kill(pid, signal)),
            Err(_) => drop(Call::kill_by_runtime(&self.settings, number)),
        }
    }

    fn child_ended(&mut self, pid: Pid, end: InitEnd) {
        if self.call.as_ref().is_some_and(|call| call.pid == pid) {
            if let Some(call) = self.call.take() {
                self.call_ended(call, end.ended);
            }
        } else if self.init == Some(pid) {
            self.init_end = Some(end);
        } else if self.init.is_none() && self.early.len() < EARLY_CHILDREN_MAX {
            self.early.push((pid, end));
        }
        self.conclude();
    }

    fn call_ended(&mut self, call: Call, ended: Ended) {
        let verb = call.verb;
        let said = call.into_said();
        match (verb, ended) {
            (Verb::Create, Ended::Code(0)) => self.created(),
            (Verb::Create, _) => {
                self.read_outputs(Instant::now());
                let said = std::mem::take(&mut self.runtime_said);
                self.failed(FailedStep::Create, explain(&said, ended));
            }
            (Verb::Start, Ended::Code(0)) => self.started(),
            (Verb::Start, _) => self.failed(FailedStep::Start, explain(&said, ended)),
            (Verb::Delete, _) => self.deleted = true,
            (Verb::Kill, _) => {}
        }
    }

    fn created(&mut self) {
        let pid = std::fs::read_to_string(PID_FILE).ok().and_then(|text| text.trim().parse().ok());
        let Some(pid) = pid else {
            let error = "the runtime reported success but wrote no pid file".to_owned();
            return self.failed(FailedStep::Create, error);
        };
        self.init = Some(Pid::from_raw(pid));
        let early = std::mem::take(&mut self.early);
        self.init_end =
            early.into_iter().find(|(child, _)| child.as_raw() == pid).map(|(_, end)| end);
        self.oom.arm();
        self.runtime_said = Vec::new();
        // It may have come since this turn began.
        self.receive_terminal();
        if let Some(terminal) = self.terminal.take() {
            // What the runtime had to say is said; the container has no other output.
            self.outputs[0] = Output { pipe: Some(terminal), lines: Lines::of_terminal() };
        }
        self.change(State::Created { pid });
        failpoint::hit("created-written");
    }

    fn receive_terminal(&mut self) {
        if let Some(terminal) = self.console.as_ref().and_then(Console::receive) {
            self.terminal = Some(terminal);
            self.console = None;
        }
    }

    fn started(&mut self) {
        let (Some(pid), Some(started_at_ms)) = (self.init, self.start_asked_at_ms) else { return };
        let pid = pid.as_raw();
        // A container that has ended by now needs no state in between.
        if self.init_end.is_none() {
            self.change(State::Running { pid, started_at_ms, oom_kills: self.oom_kills });
            failpoint::hit("running-written");
            if self.settings.only_run {
                self.let_go_of_rootfs();
            }
        }
    }

    /// The container has its root filesystem in a mount namespace of its own. The host's mount of
    /// it would be copied, and thrown away again, by every container that begins from now on. Its
    /// last process is the last to hold it then, so only where that does not wait for the disk.
    fn let_go_of_rootfs(&self) {
        if !rootfs::is_volatile(&self.settings.bundle) {
            return;
        }
        // What stays is removed with the bundle, which tells why that fails.
        let _ = rootfs::unmount(&self.settings.bundle);
    }

    fn fail_call(&mut self, step: FailedStep, error: &io::Error) {
        let program = self.settings.runtime.display();
        let error = format!("run {program}: {error}");
        self.failed(step, error);
    }

    fn failed(&mut self, step: FailedStep, error: String) {
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        match step {
            FailedStep::Create => self.begin_finish(State::Failed { step, error }),
            FailedStep::Start => {
                // The created init is ended first; then `conclude` tells.
                self.start_error = Some(error);
                self.signal(Signal::SIGKILL as i32);
                self.conclude();
            }
        }
    }

    /// Once the init has ended and no call is about it any more, the run is over.
    fn conclude(&mut self) {
        let Some(end) = self.init_end else { return };
        if self.call.is_some() || self.state.is_final() || self.finishing.is_some() {
            return;
        }
        if let Some(error) = self.start_error.take() {
            self.begin_finish(State::Failed { step: FailedStep::Start, error });
            return;
        }
        self.oom_kills = self.oom.kills().unwrap_or(self.oom_kills);
        let (exit_code, signal) = match end.ended {
            Ended::Code(code) => (code, None),
            Ended::Signal(number) => (128 + number, Some(number)),
        };
        let started_at_ms = self.start_asked_at_ms;
        let finished_at_ms = end.at_ms.max(started_at_ms.unwrap_or(0));
        let oom_kills = self.oom_kills;
        let ran_ms = self.start_asked_boot_ms.map(|at_ms| end.boot_ms.saturating_sub(at_ms));
        let exit = Exit { exit_code, signal, oom_kills, started_at_ms, finished_at_ms, ran_ms };
        self.begin_finish(State::Exited(exit));
    }

    fn begin_finish(&mut self, state: State) {
        failpoint::hit("exit-seen");
        self.finishing = Some(Finishing { state, retry_at: Instant::now(), retries: 0 });
    }

    /// Writes the final state; only then is it told.
    fn finish(&mut self, now: Instant) {
        let Some(finishing) = &mut self.finishing else { return };
        if now < finishing.retry_at {
            return;
        }
        if self.record.commit(&finishing.state).is_err() {
            finishing.retries += 1;
            finishing.retry_at = now + Duration::from_secs(1);
            return;
        }
        failpoint::hit("exit-written");
        self.state = finishing.state.clone();
        self.finishing = None;
        self.server.tell(&self.state.to_line());
        self.drain_until = Some(now + Duration::from_millis(DRAIN_MS_MAX));
        self.flush_until = Some(now + Duration::from_millis(DRAIN_MS_MAX + FLUSH_MS_MAX));
        match Call::delete(&self.settings) {
            Ok(call) => self.call = Some(call),
            // The agent's own clean-up does what is left.
            Err(_) => self.deleted = true,
        }
    }

    /// Takes a step that is not final. Where the disk refuses it, who is connected is still told:
    /// an agent that comes later asks over the socket too.
    fn change(&mut self, state: State) {
        let _ = state.write(&self.run_dir);
        self.state = state;
        self.server.tell(&self.state.to_line());
    }

    fn note_oom(&mut self, now: Instant) {
        let Some((next, until)) = self.oom_look else { return };
        if now < next {
            return;
        }
        let next = now + Duration::from_millis(OOM_LOOK_EVERY_MS);
        self.oom_look = (now < until).then_some((next, until));
        // Before it runs nobody asks, and its end reads the counter by itself.
        let State::Running { pid, started_at_ms, oom_kills } = self.state else { return };
        let kills = self.oom.kills().unwrap_or(oom_kills);
        if oom_kills < kills {
            self.oom_kills = kills;
            self.change(State::Running { pid, started_at_ms, oom_kills: kills });
        }
    }
}

/// The container's output.
impl Engine {
    fn read_outputs(&mut self, now: Instant) {
        if self.full_since.is_some() && self.has_room() {
            self.full_since = None;
        }
        let patience = Duration::from_millis(BACKPRESSURE_MS_MAX);
        // A driver that blocks holds the container up for as long as it takes.
        let dropping =
            self.full_since.is_some_and(|since| since + patience <= now) && !self.sink.has_room();
        if self.full_since.is_some() && !dropping {
            return;
        }
        let before_start = matches!(self.state, State::Creating);
        let flush = self
            .partial_since
            .is_some_and(|since| since + Duration::from_millis(PARTIAL_LINE_MS_MAX) <= now);
        for at in 0..self.outputs.len() {
            self.read_output(at, before_start, flush, dropping, now);
        }
        let begun = self.outputs.iter().any(|output| output.lines.has_begun());
        self.partial_since = match self.partial_since {
            Some(since) if begun && !flush => Some(since),
            _ => begun.then_some(now),
        };
    }

    fn read_output(
        &mut self,
        at: usize,
        before_start: bool,
        flush: bool,
        dropping: bool,
        now: Instant,
    ) {
        let output = &mut self.outputs[at];
        let mut bytes = [0; READ_BYTES];
        let mut records = Vec::new();
        let length = match output.pipe.as_mut().map(|pipe| pipe.read(&mut bytes)) {
            Some(Ok(0)) => {
                output.pipe = None;
                output.lines.flush(false, now_ms(), &mut records);
                0
            }
            Some(Ok(length)) => length,
            Some(Err(error)) if is_passing(&error) => 0,
            // A terminal whose other side is closed gives EIO, and has no more to say.
            Some(Err(_)) => {
                output.pipe = None;
                output.lines.flush(false, now_ms(), &mut records);
                0
            }
            None => 0,
        };
        if before_start {
            children::keep(&mut self.runtime_said, &bytes[..length]);
            return;
        }
        if dropping {
            self.sink.dropped(length as u64);
            return;
        }
        output.lines.feed(&bytes[..length], now_ms(), &mut records);
        if flush {
            output.lines.flush(true, now_ms(), &mut records);
        }
        self.put(&records);
        if !self.has_room() {
            self.full_since.get_or_insert(now);
        }
    }

    /// Whether there is room for what one turn may bring.
    fn has_room(&self) -> bool {
        self.sink.has_room() && !self.driver.as_ref().is_some_and(Driver::is_full)
    }

    /// Hands whole records to the files, and to the driver.
    fn put(&self, records: &[u8]) {
        if records.is_empty() || self.settings.log.driver == DriverSettings::None {
            return;
        }
        if self.sink.push(records) == Pushed::Full {
            self.sink.dropped(records.len() as u64);
        }
        if let Some(driver) = &self.driver {
            driver.push(records);
        }
    }

    /// After the end: closes the log once the pipes are at their end, or took too long.
    fn end_of_output(&mut self, now: Instant) {
        let Some(until) = self.drain_until else { return };
        let open = self.outputs.iter().any(|output| output.pipe.is_some());
        if open && now < until {
            return;
        }
        self.drain_until = None;
        let mut records = Vec::new();
        for output in &mut self.outputs {
            output.pipe = None;
            output.lines.flush(false, now_ms(), &mut records);
        }
        self.put(&records);
        self.partial_since = None;
        self.full_since = None;
        self.sink.close();
        if let Some(driver) = &self.driver {
            driver.close();
        }
    }
}

/// Another program in the same process.
impl Engine {
    /// Goes on with what another program handed over.
    pub(super) fn resume(
        run_dir: &Path,
        settings: Settings,
        handover: Handover,
        fds: Vec<OwnedFd>,
    ) -> Result<Self, Error> {
        let missing = || io::Error::new(io::ErrorKind::UnexpectedEof, "a descriptor is missing");
        let taken = || step("take the run over")(missing());
        let mut fds = fds.into_iter();
        let lock = File::from(fds.next().ok_or_else(taken)?);
        let listener = fds.next().ok_or_else(taken)?;
        let mut output = |begun: Begun, stream| -> Result<Output, Error> {
            let pipe = if begun.open { Some(fds.next().ok_or_else(taken)?) } else { None };
            let line = hex::decode(&begun.line).map_err(io::Error::other);
            let line = line.map_err(step("read what was handed over"))?;
            let lines = Lines::resumed(stream, line);
            Ok(Output { pipe: pipe.map(PipeReader::from), lines })
        };
        let [stdout, stderr] = handover.outputs;
        let outputs = [output(stdout, Stream::Stdout)?, output(stderr, Stream::Stderr)?];
        let sink = Sink::start(settings.log.clone()).map_err(step("start the log's thread"))?;
        sink.dropped(handover.dropped_bytes);
        // On a full disk it stays what it is, and is not asked to become another one.
        let _ = Holder::own().write(&lock);
        let parts = Parts {
            lock,
            state: handover.state,
            record: FinalRecord::reopen(run_dir).map_err(step("open the exit record"))?,
            signals: signals()?,
            server: Server::resumed(listener, fds.zip(handover.clients).collect()),
            sink,
            driver: None,
            outputs,
        };
        let mut engine = Self::new(run_dir, settings, parts);
        engine.init = handover.init.map(Pid::from_raw);
        engine.start_asked_at_ms = handover.start_asked_at_ms;
        engine.start_asked_boot_ms = handover.start_asked_boot_ms;
        engine.oom_kills = handover.oom_kills;
        engine.oom.arm();
        failpoint::hit("resumed");
        // Whoever is connected learns by this that it has worked; and what happened meanwhile is
        // looked at before the first wait.
        engine.server.tell(&engine.state.to_line());
        let now = Instant::now();
        engine.oom_look = Some((now, now));
        engine.take(&Ready { signal: true, drained: false, oom: false });
        Ok(engine)
    }

    /// Becomes another program, where one was asked for and nothing is under way that it could not
    /// go on with. Where that fails this one goes on.
    fn hand_over(&mut self) {
        let is_steady = matches!(self.state, State::Created { .. } | State::Running { .. });
        let under_way = self.call.is_some() || self.init_end.is_some() || self.finishing.is_some();
        if !self.upgrade_asked || !is_steady || under_way {
            return;
        }
        let Some(dropped_bytes) = self.sink.at_rest() else { return };
        self.upgrade_asked = false;
        if let Err(error) = self.become_another(dropped_bytes) {
            let text = format!("{UPGRADE_FAILED}: {error}\n");
            // For an operator; the agent sees that the program is the old one.
            let _ = std::fs::write(UPGRADE_FAILED_FILE, text);
        }
    }

    /// What no other program can be given yet: its supervisor stays the program that it is.
    fn keeps(&self) -> Option<&'static str> {
        let kept = [
            (self.driver.is_some(), "it delivers to a log driver"),
            (self.kept_stdin.is_some(), "it holds the container's standard input open"),
            (self.settings.terminal, "it holds the container's terminal"),
        ];
        kept.into_iter().find_map(|(holds, what)| holds.then_some(what))
    }

    fn become_another(&self, dropped_bytes: u64) -> io::Result<()> {
        if let Some(what) = self.keeps() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        let program = PathBuf::from(OsString::from_vec(std::fs::read(UPGRADE_FILE)?));
        let begun = |output: &Output| Begun {
            open: output.pipe.is_some(),
            line: hex::encode(output.lines.begun()),
        };
        let handover = Handover {
            state: self.state.clone(),
            init: self.init.map(Pid::as_raw),
            start_asked_at_ms: self.start_asked_at_ms,
            start_asked_boot_ms: self.start_asked_boot_ms,
            oom_kills: self.oom_kills,
            outputs: [begun(&self.outputs[0]), begun(&self.outputs[1])],
            dropped_bytes,
            clients: self.server.begun(),
        };
        let pipes = self.outputs.iter().filter_map(|output| output.pipe.as_ref());
        let fds: Vec<BorrowedFd<'_>> = [self.lock.as_fd()]
            .into_iter()
            .chain(self.server.fds().take(1))
            .chain(pipes.map(|pipe| pipe.as_fd()))
            .chain(self.server.fds().skip(1))
            .collect();
        let far = handover::send(&handover, &fds)?;
        failpoint::hit("handed-over");
        let mut command = process::Command::new(program);
        command.arg(&self.run_dir).arg(super::RESUME).stdin(OwnedFd::from(far));
        // Comes back only where the kernel refuses; standard input is then nobody's again.
        let error = command.exec();
        nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
        Err(error)
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// What to tell of a failed call: its own words, or else how it ended.
fn explain(said: &[u8], ended: Ended) -> String {
    let text = String::from_utf8_lossy(said);
    let text = text.trim();
    match (text.is_empty(), ended) {
        (false, _) => text.to_owned(),
        (true, Ended::Code(code)) => format!("the runtime ended with exit code {code}"),
        (true, Ended::Signal(signal)) => format!("the runtime was ended by signal {signal}"),
    }
}
