//! Claims about `apply`, by subject.

mod nodes;
mod properties;
mod running;
mod services;
mod tokens;
