//! The OCI runtime as a library.
//!
//! ```text
//! argv ─▶ verb ─▶ bundle ─▶ spec (validated) ─plan(host)▶ plan ─▶ container::launch ─clone▶ init
//! ```
//!
//! The modules are in reading order. Only [`sys`] has `unsafe`; [`plan`] and `spec` are pure;
//! [`init`] runs on the far side of the clone; [`cgroup`] can be used on its own.

#![deny(unsafe_code)]

pub mod args;
pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod container;
pub mod criu;
pub mod features;
pub mod help;
pub mod host;
pub mod init;
mod kernel_file;
pub mod live;
mod log;
mod misfit;
pub mod netlink;
pub mod plan;
pub mod seccomp;
pub mod signal;
pub mod spec;
mod strict_json;
pub mod sys;
pub mod template;
pub mod verb;
