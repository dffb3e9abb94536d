//! The agent port over a real socket: enrolment, identity, sessions, and an agent that somebody
//! else wrote from the .proto alone.

#![allow(clippy::unwrap_used, reason = "every line here is a test's")]

mod agent;
mod enrolment;
mod foreign;
mod identity;
mod logs;
mod session;
mod world;
