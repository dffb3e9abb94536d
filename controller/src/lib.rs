//! Loadline's cluster controller: an ECS-speaking API in front of one state with one owner.
//!
//! ```text
//!   api (HTTP, AWS JSON) ─┐                                       ┌─▶ store (redb, fsync)
//!   nodes (gRPC sessions) ┴─ command ─▶ engine ─▶ apply (pure) ───┴─▶ state::View, watches
//!                                                   └ scheduler, liveness (pure)
//! ```
//!
//! Modules in reading order: `keyring`, `iam` (who may what), `state` (the records), `command`
//! (what can be asked), `apply` (what then happens), `scheduler`, `services` and `liveness` (the
//! large decisions), `store`, `engine` (the owner), the two edges `api` and `nodes`, and
//! `objects`, which reads from a store of somebody else's.

#![forbid(unsafe_code)]

pub mod iam;
mod json;
pub mod keyring;
pub mod logs;
pub mod state;
pub mod vault;

pub mod command;

pub mod apply;
pub mod liveness;
pub mod scheduler;
pub mod seeing;
pub mod services;

pub mod backup;
pub mod engine;
pub mod objects;
pub mod rotate;
pub mod store;

pub mod api;
pub mod nodes;

#[cfg(test)]
mod simulation;
