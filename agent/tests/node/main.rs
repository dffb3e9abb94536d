//! The whole node against a fake controller: the real protocol, the real supervisor, a real OCI
//! runtime, real cgroups. Each test has a folder, a CA and a cgroup of its own.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a test that fails")]

mod away;
mod fake;
mod join;
mod life;
mod restart;
mod world;
