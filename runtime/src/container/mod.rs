//! Containers: their life, and their record on disk. One file a verb.
//!
//! ```text
//! create ─▶ creating ─▶ created ─start▶ running ─▶ stopped ─delete▶ (gone)
//!                └──────── a failure undoes everything: (gone)
//! ```
//!
//! The record is written by `create`, and only the limits in it are changed, by `update`; what
//! changes otherwise is derived: a container is created as long as its start socket exists and its
//! first process has executed nothing (one of `run`, without such a socket, is being created that
//! long), stopped when that is gone or a zombie, and paused when its cgroup is frozen. So no crash
//! can leave a record that lies.

mod checkpoint;
mod clock;
mod create;
mod delete;
mod error;
mod events;
mod exec;
mod exec_cgroup;
mod exec_process;
mod foreground;
mod id;
mod idmap;
mod kernel;
mod kill;
mod killed;
mod launch;
mod launch_error;
mod list;
mod marked;
mod net_device;
mod notify;
mod pause;
mod ps;
mod readiness;
mod record;
mod resctrl;
mod restore;
mod start;
mod state;
mod store;
mod update;

pub use checkpoint::checkpoint;
pub use clock::rfc3339;
pub use create::{CreateOptions, Created, create, dry_run};
pub use delete::{Force, delete, delete_ended};
pub use error::Error;
pub use events::{Event, follow, stats};
pub use exec::{ExecOptions, exec};
pub use exec_cgroup::SubCgroup;
pub use exec_process::{Change, Wanted};
pub use foreground::wait;
pub use id::ContainerId;
pub(crate) use id::ID_BYTES_MAX;
pub(crate) use kernel::{flags_of, set_of};
pub use kill::{Reach, kill};
pub use killed::explained;
pub use launch_error::{LaunchError, StepError};
pub use list::{Listed, list};
pub use notify::NotifyError;
pub use pause::{pause, resume};
pub use ps::{processes, table};
pub use readiness::Readiness;
pub use record::{Record, Status};
pub use restore::restore;
pub use start::{after_start, start};
pub use state::{StateReport, state};
pub use store::Store;
pub use update::update;
