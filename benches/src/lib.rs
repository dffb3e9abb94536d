//! What several measurements share: a client of the API, and samples.

#![forbid(unsafe_code)]

pub mod client;
pub mod times;
