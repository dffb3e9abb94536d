//! Network namespaces that are made ahead of time: making one takes the kernel longer than all that
//! is done with it. They are held by descriptors only, so that none outlives the agent.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::space;

/// How many are kept ready: about what comes at once where several tasks start together.
const READY_MAX: usize = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Spares {
    ready: Arc<Mutex<Vec<OwnedFd>>>,
    wanted: SyncSender<()>,
}

impl Spares {
    /// Begins to make some, on a thread that ends with this.
    pub(super) fn start() -> io::Result<Self> {
        let ready: Arc<Mutex<Vec<OwnedFd>>> = Arc::default();
        let (wanted, orders) = sync_channel(1);
        let shelf = Arc::clone(&ready);
        std::thread::Builder::new().name("spare-netns".into()).spawn(move || {
            while orders.recv().is_ok() {
                while shelf.lock().unwrap_or_else(PoisonError::into_inner).len() < READY_MAX {
                    match space::make() {
                        Ok(made) => {
                            shelf.lock().unwrap_or_else(PoisonError::into_inner).push(made);
                        }
                        // Whoever needs one makes it then, and gets the error.
                        Err(_) => break,
                    }
                }
            }
        })?;
        let spares = Self { ready, wanted };
        spares.order();
        Ok(spares)
    }

    /// One that nobody has.
    pub(super) fn take(&self) -> io::Result<OwnedFd> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop();
        self.order();
        ready.map_or_else(space::make, Ok)
    }

    fn order(&self) {
        match self.wanted.try_send(()) {
            // An order that waits is as good as two.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn spares_are_made_ahead_and_again_and_no_two_are_the_same() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!(
                "SKIPPED spares_are_made_ahead_and_again_and_no_two_are_the_same: needs root"
            );
            return;
        }
        let spares = Spares::start().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        for _ in 0..2 {
            while spares.ready.lock().unwrap().len() < READY_MAX {
                assert!(Instant::now() < until, "none are made");
                std::thread::sleep(Duration::from_millis(5));
            }
            let (one, two) = (spares.take().unwrap(), spares.take().unwrap());
            assert!(!space::is_same(&one, &two) && space::is_same(&one, &one));
        }
    }
}
