//! Paths as the kernel walks them.

use std::ffi::{CStr, OsString, c_char};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::{Errno, Result};

/// An absolute path without links, `.` and `..` (`realpath(3)`): into memory of ours, because a C
/// library's heap would be set up for this alone.
///
/// # Errors
/// Why it does not lead anywhere.
pub fn real(path: &CStr) -> Result<PathBuf> {
    let mut buffer = [0 as c_char; libc::PATH_MAX as usize];
    // SAFETY: `path` is a live NUL-terminated string, and the buffer has the bytes that the result
    // may take.
    let found = unsafe { libc::realpath(path.as_ptr(), buffer.as_mut_ptr()) };
    if found.is_null() {
        return Err(Errno::last());
    }
    // SAFETY: the result is the buffer, and ends with a NUL.
    let found = unsafe { CStr::from_ptr(buffer.as_ptr()) };
    Ok(PathBuf::from(OsString::from_vec(found.to_bytes().to_vec())))
}

#[cfg(test)]
mod tests {
    use super::real;
    use crate::sys::Errno;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_dots_are_walked() {
        let dir = tempfile::tempdir().unwrap();
        symlink(dir.path(), dir.path().join("link")).unwrap();
        let walked = |path: &str| {
            let path = format!("{}/{path}", dir.path().display());
            real(&std::ffi::CString::new(path).unwrap())
        };
        assert_eq!(
            walked("link/./link/../"),
            Ok(dir.path().parent().unwrap().canonicalize().unwrap())
        );
        assert_eq!(walked("none"), Err(Errno::ENOENT));
    }
}
