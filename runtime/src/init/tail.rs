//! The end of what a hook writes. It may write as much as it likes: only the last bytes are kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};

/// How much of a failed hook's output goes into the error.
const OUTPUT_BYTES_MAX: usize = 4096;

/// What a pipe holds at most by default: so much may be left when the hook has ended.
const PIPE_BYTES: usize = 64 * 1024;

/// The near end of the pipe to which a hook writes.
#[derive(Debug)]
pub(super) struct Tail {
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
}

impl Tail {
    /// With the far end, for the hook.
    pub(super) fn new() -> nix::Result<(Tail, OwnedFd)> {
        let (near, far) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&near, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((Tail { pipe: Some(near), kept: Vec::new() }, far))
    }

    /// The pipe, until nobody has the far end any more.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there; false when that is nothing.
    pub(super) fn take(&mut self) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let mut buffer = [0; OUTPUT_BYTES_MAX];
        match read(pipe, &mut buffer) {
            Ok(length @ 1..) => {
                self.keep(&buffer[..length]);
                true
            }
            Err(Errno::EAGAIN | Errno::EINTR) => false,
            Ok(_) | Err(_) => {
                self.pipe = None;
                false
            }
        }
    }

    /// Takes what a hook that has ended left. Others may have the far end still, and write on.
    pub(super) fn drain(&mut self) {
        let _ = (0..PIPE_BYTES / OUTPUT_BYTES_MAX).all(|_| self.take());
    }

    /// The kept bytes as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).trim_end().to_owned()
    }

    fn keep(&mut self, more: &[u8]) {
        self.kept.extend_from_slice(more);
        let surplus = self.kept.len().saturating_sub(OUTPUT_BYTES_MAX);
        self.kept.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::{OUTPUT_BYTES_MAX, Tail};

    #[test]
    fn only_the_last_bytes_are_kept() {
        let (mut tail, far) = Tail::new().unwrap();
        for n in 0..1000 {
            let line = format!("{n:099}\n");
            nix::unistd::write(&far, line.as_bytes()).unwrap();
            tail.take();
            assert!(tail.kept.len() <= OUTPUT_BYTES_MAX);
        }
        assert!(!tail.take(), "the pipe is empty");
        drop(far);
        tail.drain();
        assert!(tail.pipe().is_none() && tail.text().ends_with("999"), "{tail:?}");
    }
}
