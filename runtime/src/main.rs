//! `loadline-runtime`: a drop-in for runc's command line.
//!
//! argv becomes a verb, the verb becomes an exit code, and an error is printed once: as a chain on
//! standard error, and as a line of the log that shims read.

#![deny(unsafe_code)]
#![no_main]

use loadline_runtime::sys::heap::Arena;

#[global_allocator]
static HEAP: Arena = Arena::new();

loadline_runtime::entry!(loadline_runtime::cli::main);
