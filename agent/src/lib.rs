//! Loadline's node agent, as a library for its two programs.
//!
//! ```text
//!  session ─▶ node (desired state, the line) ─▶ task (one actor each) ─▶ supervise ─▶ supervisor
//!     ▲                    │                         │        │
//!     └──── board ◀────────┴── ledger ◀──────────────┘        └─▶ image, rootfs, bundle, cgroups
//! ```
//!
//! Invariants: the ledger knows a task before a process of it exists, and a report before it is
//! sent (law 8). Each task is owned by one actor and the node by one keeper; decisions are pure
//! functions. Without a controller everything goes on (law 9). The supervisor shares only the
//! modules `supervise`, `logs` and `clock` with the agent: no async, no TLS.

#![forbid(unsafe_code)]

pub mod api;
pub mod board;
pub mod bundle;
pub mod cgroups;
pub mod clock;
pub mod daemon;
pub mod elf;
pub mod exec;
pub mod failpoint;
pub mod hide;
pub mod hollow;
pub mod host;
pub mod image;
pub mod ledger;
pub mod logs;
pub mod metadata;
pub mod network;
pub mod node;
pub mod options;
pub mod priority;
pub mod rooted;
pub mod rootfs;
pub mod session;
pub mod session_logs;
pub mod supervise;
pub mod supervisor;
pub mod task;
pub mod text;
pub mod usage;
