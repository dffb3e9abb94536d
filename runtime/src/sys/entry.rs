//! The program's entry, without the standard library's preparations.
//!
//! Those read /proc/self/maps, set up a guard for the main thread's stack and change SIGPIPE: a
//! dozen system calls that a runtime which lives for two milliseconds can feel. What of them
//! matters is kept: descriptors 0, 1 and 2 are open.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

/// More than the kernel hands over: an argument takes a byte and a pointer of `ARG_MAX`'s 6 MiB.
const WORDS_MAX: c_int = 1024 * 1024;

/// Defines `main` as the C library calls it. `$run` is a function from the command line's words,
/// without the program's name, to an exit code.
#[macro_export]
macro_rules! entry {
    ($run:path) => {
        // SAFETY: the program is `no_main`, so this is its only symbol of that name.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: std::ffi::c_int,
            words: *const *const std::ffi::c_char,
        ) -> std::ffi::c_int {
            $crate::sys::entry::open_standard_descriptors();
            // SAFETY: these are the arguments that the C library calls `main` with.
            $run(unsafe { $crate::sys::entry::words(count, words) })
        }
    };
}

/// The command line's words without the first. `std::env::args` is empty in a `no_main` program
/// where the C library does not hand them to constructors, as musl does not.
///
/// # Safety
/// `count` and `words` are the arguments of `main`: so many pointers to strings that live and do
/// not change until the process ends.
pub unsafe fn words(count: c_int, words: *const *const c_char) -> Vec<OsString> {
    let word = |index: c_int| {
        // SAFETY: `index` is below `count`, so the result points into the array.
        let word = unsafe { words.offset(index as isize) };
        // SAFETY: it points to one of the array's pointers.
        let word = unsafe { *word };
        // SAFETY: it is not null below `count`, and the string ends with a NUL.
        let word = unsafe { CStr::from_ptr(word) };
        OsString::from_vec(word.to_bytes().to_vec())
    };
    (1..count.min(WORDS_MAX)).map(word).collect()
}

/// Opens /dev/null on each of 0, 1 and 2 that is closed, so that no other file gets its number.
/// What is executed has it too.
pub fn open_standard_descriptors() {
    while (0..3).any(|fd| !super::fd::is_open(fd)) {
        // The lowest free number is the one that is taken.
        match openat(AT_FDCWD, "/dev/null", OFlag::O_RDWR, Mode::empty()) {
            Ok(null) => drop(null.into_raw_fd()),
            Err(_) => return,
        }
    }
}
