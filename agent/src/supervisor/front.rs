//! `loadline-supervisor --front PARENT PROGRAM [ARGUMENT ...]`: becomes PROGRAM, in a session of
//! its own whose terminal is its standard input, if that is one. When PARENT, the agent, dies, it
//! gets SIGHUP, as the program of a terminal that was closed.
//!
//! A program of its own because the agent has threads, and such a process may run nothing between
//! fork and exec.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::signal::Signal;

/// Returns only where it can't become the program.
#[must_use]
pub fn front(parent: i32, program: &OsString, arguments: &[OsString]) -> io::Error {
    match set_up(parent) {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

fn set_up(parent: i32) -> io::Result<()> {
    nix::unistd::setsid()?;
    let stdin = io::stdin();
    if rustix::termios::isatty(&stdin) {
        rustix::process::ioctl_tiocsctty(&stdin)?;
    }
    nix::sys::prctl::set_pdeathsig(Signal::SIGHUP)?;
    // One that died before has told nobody.
    if nix::unistd::getppid().as_raw() != parent {
        return Err(io::Error::other("the agent has ended"));
    }
    Ok(())
}
