//! The second half of `run`: stay until the program ends, pass signals and the terminal on.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::termios::{
    LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcgetattr,
    tcsetattr,
};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{read, write};

use super::readiness::{Hearing, Readiness};
use super::record::process_stat;
use super::{Created, Error};
use crate::sys::fd::{self, received};
use crate::sys::process::pidfd_send_signal;
use crate::sys::term;

/// How much is copied between terminals at once.
const COPY_BYTES: usize = 16 * 1024;
/// How often it is looked whether a program has read all of an input that has ended.
const END_LOOK_EVERY: Duration = Duration::from_millis(50);
/// The pause after a look at a terminal whose other side is closed.
const HUNG_UP_PAUSE: Duration = Duration::from_millis(5);

/// Waits for the program's end and returns its exit status as a shell would. A service manager that
/// waits for the program is told when it is ready, and that this process is the main one; `warn`
/// gets why it could not be told.
///
/// # Errors
/// When the terminal cannot be passed on or the process cannot be waited for.
pub fn wait(
    created: &Created,
    readiness: Option<Readiness>,
    warn: &mut dyn FnMut(Error),
) -> Result<i32, Error> {
    let signals = block_signals().map_err(|source| Error::Signal { pid: created.pid, source })?;
    // With the signals blocked, which a thread inherits.
    let hearing = readiness.map(|readiness| readiness.pass_on(created.pidfd.as_fd()));
    let hearing = hearing.transpose().unwrap_or_else(|error| {
        warn(error);
        None
    });
    let code = wait_for_the_end(created, &signals);
    if let Some(Err(error)) = hearing.map(Hearing::finish) {
        warn(error);
    }
    code
}

fn wait_for_the_end(created: &Created, signals: &SignalFd) -> Result<i32, Error> {
    let mut terminal = created.console.as_ref().map(Terminal::receive).transpose()?;
    loop {
        let mut fds = vec![
            PollFd::new(created.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(terminal) = &terminal {
            let takes =
                if terminal.unsent.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            fds.push(PollFd::new(terminal.master.as_fd(), PollFlags::POLLIN | takes));
            if terminal.reads_input && terminal.unsent.is_empty() {
                fds.push(PollFd::new(fd::standard(0), PollFlags::POLLIN));
            }
        }
        let ends_input = terminal.as_ref().is_some_and(|terminal| terminal.end.is_some());
        let timeout = if ends_input {
            PollTimeout::try_from(END_LOOK_EVERY).unwrap_or(PollTimeout::MAX)
        } else {
            PollTimeout::NONE
        };
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => continue,
            other => other.map_err(|source| Error::Signal { pid: created.pid, source })?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let of_terminal = fds.get(2).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        // What ended takes no signal.
        if ready[1] && !ready[0] {
            pass_signal(signals, created, terminal.as_ref());
        }
        if let Some(terminal) = &mut terminal {
            if of_terminal.contains(PollFlags::POLLOUT) {
                terminal.send();
            }
            let has_output = of_terminal.difference(PollFlags::POLLOUT) != PollFlags::empty();
            if has_output && copy(terminal.master.as_fd(), fd::standard(1)).is_none() {
                // Nobody has the other side open, which poll reports at once for ever; by
                // /dev/console somebody may open it again.
                thread::sleep(HUNG_UP_PAUSE);
            }
            if ready.get(3) == Some(&true) {
                terminal.take_input();
            }
            if ends_input {
                terminal.end_input();
            }
        }
        if ready[0] {
            if let Some(terminal) = &terminal {
                terminal.drain();
            }
            return exit_status(created);
        }
    }
}

fn block_signals() -> Result<SignalFd, Errno> {
    let mut all = SigSet::all();
    for kept in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL] {
        all.remove(kept);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// All signals go to the program but those that are about this process only.
fn pass_signal(signals: &SignalFd, created: &Created, terminal: Option<&Terminal>) {
    while let Ok(Some(info)) = signals.read_signal() {
        let signal = info.ssi_signo as i32;
        match signal {
            libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG => {}
            libc::SIGWINCH => {
                if let Some(terminal) = terminal {
                    terminal.take_size();
                }
            }
            // The program may end at this moment; the loop will see it.
            other => drop(pidfd_send_signal(created.pidfd.as_fd(), other)),
        }
    }
}

fn exit_status(created: &Created) -> Result<i32, Error> {
    let pid = created.pid;
    let ended = |flags| waitid(Id::PIDFd(created.pidfd.as_fd()), flags);
    // Asked before the process is reaped, and with it what the kernel says of it.
    if created.executes
        && let Ok(WaitStatus::Signaled(_, signal, _)) =
            ended(WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        && process_stat(pid).is_some_and(|stat| !stat.has_executed)
    {
        return Err(Error::KilledBeforeExec { signal });
    }
    match ended(WaitPidFlag::WEXITED) {
        Ok(WaitStatus::Exited(_, code)) => Ok(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => Ok(128 + signal as i32),
        Ok(_) => Ok(255),
        Err(source) => Err(Error::Signal { pid, source }),
    }
}

/// The program's terminal, copied to and from the runtime's own.
struct Terminal {
    master: OwnedFd,
    /// The own terminal's settings, to be restored.
    restore: Option<Termios>,
    reads_input: bool,
    /// Input that the terminal has not taken yet. No more is read meanwhile, and nothing waits for
    /// it: a program that first wants its output read reads no input.
    unsent: Vec<u8>,
    /// The end of an input that has ended; a terminal types its end itself.
    end: Option<InputEnd>,
}

/// An input that has ended, which its reader finds anew at every reading, as of a file. A terminal
/// keeps no such state: each end is one character, which is lost where a program begins to edit
/// lines itself before it has read it.
struct InputEnd {
    /// When the next look is due at a program that edits lines itself.
    next_look: Instant,
    /// The pause after an end that was typed for a program that edits lines itself. It doubles,
    /// because such a program may take the character for something else.
    pause: Duration,
}

impl Terminal {
    fn receive(console: &OwnedFd) -> Result<Terminal, Error> {
        let failed = |step| move |source| Error::Terminal { step, source };
        let master = receive_master(console).map_err(failed("receive"))?;
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed("set"))?;
        let input = fd::standard(0);
        let restore = tcgetattr(input).ok();
        if let Some(settings) = &restore {
            let mut raw = settings.clone();
            cfmakeraw(&mut raw);
            if !term::is_between_terminals() {
                // The program's terminal leaves newlines to this one.
                raw.output_flags.insert(OutputFlags::OPOST);
            }
            tcsetattr(input, SetArg::TCSANOW, &raw).map_err(failed("set"))?;
        }
        let terminal =
            Terminal { master, restore, reads_input: true, unsent: Vec::new(), end: None };
        terminal.take_size();
        Ok(terminal)
    }

    fn take_input(&mut self) {
        let mut buffer = [0; COPY_BYTES];
        match read(fd::standard(0), &mut buffer) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(0) | Err(_) => self.end_of_input(),
            Ok(length) => {
                self.unsent.extend_from_slice(&buffer[..length]);
                self.send();
            }
        }
    }

    /// Gives the terminal as much as it takes now.
    fn send(&mut self) {
        while !self.unsent.is_empty() {
            match write(&self.master, &self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // Nobody has the other side open now, and may have it again.
                Err(_) => self.unsent.clear(),
            }
        }
    }

    fn end_of_input(&mut self) {
        self.reads_input = false;
        if self.restore.is_none() {
            self.end = Some(InputEnd { next_look: Instant::now(), pause: END_LOOK_EVERY });
        }
    }

    /// Types the end of input (termios(3), VEOF) whenever the program has read everything before
    /// it: a program that reads its terminal would wait for ever. Behind a part of a line, the
    /// first such character only sends that off.
    fn end_input(&mut self) {
        let Some(end) = &mut self.end else { return };
        // A program that is gone needs no input.
        let Ok(peer) = term::peer(self.master.as_fd()) else { return };
        // Asked first, because it has the kernel take in what was written to the terminal.
        let mut readable = [PollFd::new(peer.as_fd(), PollFlags::POLLIN)];
        if poll(&mut readable, PollTimeout::ZERO) != Ok(0) {
            return;
        }
        let Ok(settings) = tcgetattr(&peer) else { return };
        let takes_lines = settings.local_flags.contains(LocalFlags::ICANON);
        if !takes_lines && Instant::now() < end.next_look {
            return;
        }
        let typed = settings.control_chars[SpecialCharacterIndices::VEOF as usize];
        // A program that wants many characters at once has unread ones that are not reported.
        if typed == libc::_POSIX_VDISABLE || term::unread(peer.as_fd()) != Ok(0) {
            return;
        }
        // A terminal that takes no more is looked at again.
        let _ = write(&self.master, &[typed]);
        if takes_lines {
            end.pause = END_LOOK_EVERY;
        } else {
            end.next_look = Instant::now() + end.pause;
            end.pause *= 2;
        }
    }

    /// What the program has written before its end. The other side is closed then, so reading
    /// ends with an error when nothing is left.
    fn drain(&self) {
        loop {
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let is_ready = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0);
            if !is_ready || copy(self.master.as_fd(), fd::standard(1)).is_none() {
                return;
            }
        }
    }

    fn take_size(&self) {
        if let Ok((rows, columns)) = term::size(fd::standard(0)) {
            // A terminal that is gone needs no size.
            let _ = term::set_size(self.master.as_fd(), rows, columns);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.restore {
            let _ = tcsetattr(fd::standard(0), SetArg::TCSANOW, settings);
        }
    }
}

/// Copies once; `None` when there is nothing more to copy.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Option<()> {
    let mut buffer = [0; COPY_BYTES];
    let length = match read(from, &mut buffer) {
        Err(Errno::EAGAIN | Errno::EINTR) => return Some(()),
        Ok(0) | Err(_) => return None,
        Ok(length) => length,
    };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            // Somebody else made it so; whoever reads there is waited for.
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(to, PollFlags::POLLOUT)];
                let _ = poll(&mut fds, PollTimeout::NONE);
            }
            Err(_) => return None,
        }
    }
    Some(())
}

fn receive_master(console: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut data = [0; 64];
    let mut data = [IoSliceMut::new(&mut data)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(console.as_raw_fd(), &mut data, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            return fds.first().map(|fd| received(*fd)).ok_or(Errno::EBADMSG);
        }
    }
    Err(Errno::EBADMSG)
}
