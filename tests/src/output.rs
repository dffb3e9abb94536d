//! What the suites' programs print. Whoever reads may leave early, as head(1) does, and a disk may
//! be full: neither is a reason to panic.

use std::io::{self, Write as _};

use anyhow::Context as _;

/// Writes `text` to standard output. A reader that is gone has what it wanted.
///
/// # Errors
/// Where it can't be written for another reason.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("write to standard output"),
    }
}

/// Writes `text` to standard error, where somebody reads it.
pub fn tell(text: &str) {
    // There is no other place to tell that this fails.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Whether `program` did this part of its end; where not, a line says why.
pub fn did(program: &str, part: anyhow::Result<()>) -> bool {
    let Err(error) = part else { return true };
    tell(&format!("{program}: {error:#}\n"));
    false
}
