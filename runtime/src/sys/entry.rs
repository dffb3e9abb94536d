//! The program's entry, without the standard library's preparations.
//!
//! Those read /proc/self/maps, set up a guard for the main thread's stack and change SIGPIPE: a
//! dozen system calls that a runtime which lives for two milliseconds can feel. What of them
//! matters is kept: descriptors 0, 1 and 2 are open.

use std::fs::File;
use std::os::fd::IntoRawFd;

/// Defines `main` as the C library calls it. `$run` is a function from nothing to an exit code.
#[macro_export]
macro_rules! entry {
    ($run:path) => {
        // SAFETY: the program is `no_main`, so this is its only symbol of that name.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            _: std::ffi::c_int,
            _: *const *const std::ffi::c_char,
        ) -> std::ffi::c_int {
            $crate::sys::entry::open_standard_descriptors();
            $run()
        }
    };
}

/// Opens /dev/null on each of 0, 1 and 2 that is closed, so that no other file gets its number.
pub fn open_standard_descriptors() {
    while (0..3).any(|fd| !super::fd::is_open(fd)) {
        // The lowest free number is the one that is taken.
        match File::options().read(true).write(true).open("/dev/null") {
            Ok(null) => drop(null.into_raw_fd()),
            Err(_) => return,
        }
    }
}
