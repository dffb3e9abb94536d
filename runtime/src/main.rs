//! `loadline-runtime`: a drop-in for runc's command line.
//!
//! argv becomes a verb, the verb becomes an exit code, and an error is printed once: as a chain on
//! standard error, and as a line of the log that shims read.

#![deny(unsafe_code)]
#![cfg_attr(not(test), no_main)]

use loadline_runtime::sys::heap::Arena;

#[global_allocator]
static HEAP: Arena = Arena::new();

/// `cargo xtask build` says it, and a build from elsewhere may.
const COMMIT: Option<&str> = option_env!("LOADLINE_COMMIT");

fn run(words: Vec<std::ffi::OsString>) -> i32 {
    loadline_runtime::cli::main(words, COMMIT)
}

#[cfg(not(test))]
loadline_runtime::entry!(run);

/// Run by `--bins` alone: the library has the tests.
#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_no_error() {
        assert_eq!(super::run(vec!["--version".into()]), 0);
    }
}
