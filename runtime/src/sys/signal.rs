//! Signals as a new program should find them.

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};

use super::Result;

/// Signals: bit n is signal n + 1, as /proc/PID/stat has it for the signals that are older than the
/// real-time ones.
pub type SignalMask = u32;

/// Every signal of a [`SignalMask`] whose action can be changed.
pub const ALL: SignalMask = 0x7fff_ffff & !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));

/// Blocks nothing, and lets these signals do again what they do by default: an exec keeps that they
/// are ignored, by whoever called the runtime (nohup, a shell's `trap ''`, a daemon).
///
/// # Errors
/// The kernel's errno.
pub fn reset(ignored: SignalMask) -> Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Signal::iterator()
        .filter(|one| ignored & ALL & 1 << (*one as i32 - 1) != 0)
        .try_for_each(use_default)
}

/// Without this, the kernel would reap the children of a process whose caller ignores SIGCHLD, and
/// nobody could hear how they ended.
///
/// # Errors
/// The kernel's errno.
pub fn hear_of_children() -> Result<()> {
    use_default(Signal::SIGCHLD)
}

fn use_default(one: Signal) -> Result<()> {
    // SAFETY: the default action is no handler, so no code of ours runs in a signal.
    unsafe { signal(one, SigHandler::SigDfl) }.map(drop)
}
