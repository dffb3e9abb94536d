//! Signals as a new program should find them.

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};

use super::Result;

/// Blocks nothing and lets SIGPIPE end the process again, which Rust's start ignores.
///
/// # Errors
/// The kernel's errno.
pub fn reset() -> Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    // SAFETY: the default action is no handler, so no code of ours runs in a signal.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}
