//! Who may what, by AWS's rules: users and roles, their policies, and the decision.
//!
//! ```text
//!   policy text ─▶ Document ─┐
//!   Principal, Directory ────┼─▶ decide(documents, request) ─▶ Verdict
//!   Request, Context ────────┘
//! ```
//!
//! Invariants: everything here is pure. What no policy allows is denied, and what one denies is
//! denied whatever the others say. A policy that can't be read whole is refused when it is stored,
//! so no statement is ever skipped. The account itself (root) asks nobody.
//!
//! Deliberately absent: resource policies but trust policies.

mod apply;
mod builtin;
mod condition;
mod decide;
mod directory;
mod pattern;
mod policy;
mod principal;
mod record;
mod session;

pub use self::apply::{
    ATTACHED_MAX, Applied, Change, Command, Grant, KEYS_MAX, NewIdentity, NewPolicy, Refusal,
    VERSIONS_MAX, apply, whose,
};
pub use self::builtin::builtin;
pub use self::condition::Context;
pub use self::decide::{Request, Trust, Verdict, decide, trusts};
pub use self::directory::Directory;
pub use self::policy::{Document, Kind as PolicyKind, PolicyText, Unreadable};
pub(crate) use self::principal::may_assume;
pub use self::principal::{Denied, Layer, Principal, authorize};
pub use self::record::{
    AccessKey, Identity, IdentityKind, KeyStatus, ManagedPolicy, PolicyVersion, Record,
};
pub use self::session::{
    Credentials, Session, SessionError, SessionOf, TaskRole, mint, open as open_session,
};
pub(crate) use self::session::{fresh_key_id, fresh_secret};
