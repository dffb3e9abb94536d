//! The systemd driver: systemd makes the container's group, as a transient scope, and is told the
//! limits, so that it neither removes nor resets them. Files are still written directly: systemd
//! knows only a part of them, and applies its own later.
//!
//! ```text
//! cgroupsPath `slice:prefix:name` -> Unit       name and place, pure
//! Decision                        -> Property   what systemd knows of the limits, pure
//! annotations                     -> Property   what else its user wants, pure
//! Unit + pid                      -> D-Bus      StartTransientUnit, await the job
//! ```
//!
//! Deliberately absent: a D-Bus library. The one in Rust that is kept well, zbus, brings 60 crates
//! and an async executor; what is needed is five method calls and one signal (`bus.rs`), over the
//! message format in `wire.rs`.

mod annotation;
mod bus;
mod property;
mod unit;
mod wire;

pub use annotation::asked;
pub use property::{Property, Value, properties};
pub use unit::Unit;

use super::error::Error;
use bus::Manager;

/// Why systemd did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No bus can be reached.
    #[error("no D-Bus socket of systemd can be reached ({tried})")]
    Unreachable {
        /// Which sockets were tried.
        tried: String,
    },
    /// The connection failed.
    #[error("{step}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The other side does not speak as it should.
    #[error("{0}")]
    Protocol(&'static str),
    /// systemd refused.
    #[error("{name}: {message}")]
    Refused {
        /// The error's name.
        name: String,
        /// Its text.
        message: String,
    },
    /// The job did not succeed.
    #[error("the job ended as `{0}`; see journalctl")]
    Job(String),
}

/// Starts the unit with this process in it, and waits until it is there.
pub(super) fn start(unit: &Unit, pid: i32, limits: &[Property]) -> Result<(), Error> {
    let failed = |source| Error::Systemd { step: "start", unit: unit.name.clone(), source };
    let mut all = unit.properties(pid);
    all.extend_from_slice(limits);
    // Of properties that are told twice, the last ones count.
    all.extend_from_slice(&unit.more);
    let mut manager = Manager::connect().map_err(failed)?;
    match manager.start_transient(&unit.name, &all) {
        // A scope of the same name that failed is kept for people to look at.
        Err(BusError::Refused { name, .. }) if name.ends_with(".UnitExists") => {
            manager.reset_failed(&unit.name).map_err(failed)?;
            manager.start_transient(&unit.name, &all).map_err(failed)
        }
        done => done.map_err(failed),
    }
}

/// Tells systemd new limits of a unit, for as long as the machine runs.
pub(super) fn update(unit: &str, limits: &[Property]) -> Result<(), Error> {
    if limits.is_empty() {
        return Ok(());
    }
    let failed = |source| Error::Systemd { step: "update", unit: unit.to_owned(), source };
    let mut manager = Manager::connect().map_err(failed)?;
    manager.set_properties(unit, limits).map_err(failed)
}

/// Stops a unit, which ends what is in it; one that is gone is fine.
pub(super) fn stop(unit: &str) -> Result<(), Error> {
    let failed = |source| Error::Systemd { step: "stop", unit: unit.to_owned(), source };
    let mut manager = Manager::connect().map_err(failed)?;
    match manager.stop(unit) {
        Err(BusError::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => return Ok(()),
        done => done.map_err(failed)?,
    }
    // A scope whose processes were killed counts as failed and would keep its name.
    let _ = manager.reset_failed(unit);
    Ok(())
}
