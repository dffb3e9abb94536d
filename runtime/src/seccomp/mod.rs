//! Seccomp: from the profile of config.json to the program that the kernel runs before each
//! system call of the container (seccomp(2), Documentation/userspace-api/seccomp_filter.rst).
//!
//! ```text
//! oci LinuxSeccomp ─profile▶ Profile ─verdicts▶ ranges of numbers ─program▶ classic BPF
//! ```
//!
//! All of it is pure. The rules, where the specification leaves them open, are libseccomp's and
//! runc's: names that no ABI here has are left out; a condition list with an argument twice is a
//! list of alternatives; a default of "errno" without a value answers ENOSYS to numbers beyond the
//! last one that the profile names, because callers fall back on that and not on EPERM.
//!
//! Deliberately absent: libseccomp. Its compilation of a distribution's profile costs more than
//! starting the container (10 ms and more, hence its users' caches), and it is a C library to be
//! found at build time and an LGPL notice to be shipped. Here a profile becomes a decision tree
//! over ranges of numbers: a container with Debian's profile takes about 1 ms of CPU time more than
//! one without, the kernel's share included, and from the second one on half of that ([`Cache`]).
//! `tests.rs` checks every filter
//! against a plain reading of its profile. Compared once, over all numbers of three ABIs and 26
//! kinds of arguments, with what runc 1.1.5 and libseccomp 2.5.4 load for that profile: 705
//! instructions instead of 1158, and the same answers but for seven calls that x32 does not have,
//! for x32 and x86 arguments beyond 32 bits (refused here), and for foreign ABIs (the process is
//! killed, not the thread). The numbers come from the `syscalls` crate.

mod cache;
mod profile;
mod program;
mod table;
mod verdict;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use oci_spec::runtime as oci;

pub use cache::Cache;
pub use profile::{ACTIONS, ARCHITECTURES, FLAGS, OPERATORS};
pub use program::Instruction;

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
pub const INSTRUCTIONS_MAX: usize = 4096;

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
    /// Who answers the calls that are notified, if any are.
    pub listener: Option<Listener>,
}

/// Who answers the calls of `SCMP_ACT_NOTIFY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The unix socket to which the filter's descriptor is sent.
    pub path: PathBuf,
    /// What is told to it besides.
    pub metadata: Option<String>,
}

/// Compiles a profile.
///
/// # Errors
/// All that is wrong with it: the property below `linux.seccomp`, and why.
pub fn compile(oci: &oci::LinuxSeccomp) -> Result<Filter, Vec<(String, String)>> {
    let profile = profile::Profile::validate(oci)?;
    let program = program::assemble(&profile);
    if program.len() > INSTRUCTIONS_MAX {
        let why = format!("makes {} instructions; the kernel takes 4096", program.len());
        return Err(vec![("syscalls".to_owned(), why)]);
    }
    Ok(Filter { program, flags: profile.flags, listener: profile.listener })
}
