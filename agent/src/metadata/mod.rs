//! What a task can ask its node: who it is, what it uses, and the credentials of its role.

pub mod credentials;

pub use credentials::CredentialStore;
