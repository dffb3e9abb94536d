//! System calls, and the only module of this crate with `unsafe`: one call a block, each with the
//! fact that makes it safe. Wrappers take borrowed descriptors and NUL-terminated strings and give
//! owned descriptors back, so that no raw descriptor number appears outside. What `nix` already
//! wraps safely is called from there and not repeated here.

#![allow(unsafe_code)]

pub mod bpf;
pub mod creds;
pub mod entry;
pub mod fd;
pub mod heap;
pub mod malloc;
pub mod mount;
pub mod net;
pub mod network;
pub mod path;
pub mod process;
pub mod seal;
pub mod signal;
pub mod statmount;
pub mod term;

pub use nix::errno::Errno;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the kernel's `-1 and errno` into a `Result`.
fn check(value: libc::c_long) -> Result<libc::c_long> {
    if value == -1 { Err(Errno::last()) } else { Ok(value) }
}
