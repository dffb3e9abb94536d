//! What the agent and a container's supervisor say to each other, all of it through one folder:
//!
//! ```text
//!  run folder/   settings.json   what to supervise; written by the agent before it starts one
//!                lock            held by the supervisor for as long as it lives; says who it is
//!                upgrade         which program it shall become, where it is asked to
//!                state.json      the newest state, replaced whole; the exit is fsynced
//!                control         Unix socket, 0600: states pushed, commands taken
//! ```
//!
//! Invariants: the lock makes a second supervisor of the same run impossible. `state.json` exists
//! from before the OCI runtime is called, so a run whose supervisor died is never begun again. An
//! exit is on disk before it is on the socket. Nothing here is async: both sides use it.

pub mod control;
pub mod disk;
pub mod settings;
pub mod state;
pub mod version;

pub use control::{COMMAND_BYTES_MAX, Command};
pub use settings::{LogSettings, OomSettings, Settings};
pub use state::{Exit, FailedStep, State};

/// File with [`Settings`].
pub const SETTINGS_FILE: &str = "settings.json";
/// File with the path of the program that a supervisor shall become.
pub const UPGRADE_FILE: &str = "upgrade";
/// File that the supervisor holds locked.
pub const LOCK_FILE: &str = "lock";
/// File with the newest [`State`].
pub const STATE_FILE: &str = "state.json";
/// The Unix socket.
pub const CONTROL_SOCKET: &str = "control";
