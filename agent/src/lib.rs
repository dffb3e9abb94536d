//! Loadline's node agent, as a library for its two programs.

#![forbid(unsafe_code)]

pub mod image;
pub mod logs;
pub mod rooted;
pub mod supervise;
pub mod supervisor;
