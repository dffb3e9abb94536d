//! The OCI runtime as a library.

pub mod cgroup;
