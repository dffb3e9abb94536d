//! Control groups: one face over cgroup v1, hybrid hosts and v2.
//!
//! ```text
//! /proc/self/{mountinfo,cgroup} -> Layout          which controller lives where
//! cgroupsPath + container id    -> CgroupPath      what was asked for, without `..`
//! Layout::locate(CgroupPath)    -> Location        one directory a hierarchy; goes on record
//! decide[_new](LinuxResources)  -> Decision        ordered writes, pure, printable
//! Group::create(Location)       -> Group           directories held open; removed on drop
//! Group::{apply, attach, freeze, kill, stats, remove}
//! ```
//!
//! Invariants:
//! - Nothing below a hierarchy's mount point is reached through a symbolic link: directories are
//!   opened one component at a time with `O_NOFOLLOW`, and files through the directory's fd.
//! - A [`Group`] that is not [released](Group::release) removes every directory that it made.
//! - A resource whose controller is missing is an error that names controller and file. What is
//!   left out on purpose is a [`Note`] in the [`Decision`], with the reason.
//!
//! Deliberately absent: the `cgroups-rs` crate. With it the runtime linked 133 crates instead
//! of 61 (zbus and an async executor came along for its systemd client); it re-reads mountinfo
//! once for each group, leaves memory+swap unlimited when only a memory limit is given, and
//! leaves parent groups behind; what is left of it, writing files, is a few lines of `dir.rs`.

mod controller;
pub mod decide;
mod device_program;
mod dir;
mod error;
mod freeze;
mod group;
mod kill;
mod layout;
mod location;
mod make;
mod oom;
mod owner;
mod remove;
mod stats;
mod stats_devices;
pub mod systemd;
mod transaction;

pub use controller::{Controller, Controllers, is_controller};
pub use decide::{Current, Decision, Note, Refusal, Refusals, decide, decide_new};
pub use error::Error;
pub use freeze::FREEZE_TIMEOUT;
pub use group::{Existing, Group};
pub use kill::KILL_TIMEOUT;
pub use layout::{Hierarchy, HierarchyId, Layout, Mode, Version};
pub use location::{CgroupPath, Location, Place};
pub use oom::{OomWatch, Readiness};
pub use remove::{REMOVE_TIMEOUT, remove, remove_if_idle};
pub use stats::{CpuStats, MemoryStats, PidsStats, Stats};
pub use stats_devices::{HugePageStats, IoEntry, IoStats};
pub use transaction::{Refusal as ChangeRefused, Undo};
