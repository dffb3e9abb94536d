//! The kernel's list of mounts (proc_pid_mountinfo(5)): only where they are.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The mount points in `text`, in the kernel's order: a mount comes after what it lies on.
pub(super) fn mount_points(text: &[u8]) -> Vec<PathBuf> {
    let point = |line: &[u8]| line.split(|b| *b == b' ').nth(4).map(unescape);
    text.split(|b| *b == b'\n').filter_map(point).collect()
}

/// Space, tab, newline and backslash are written as three octal digits behind a backslash.
fn unescape(text: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| *first == b'\\');
        let octal = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_mount_point_is_read_as_it_is() {
        let text = b"36 35 98:0 / /a\\040b\\134c rw - ext4 /dev/x rw\n37 36 0:1 / /a rw - t t rw\n";
        assert_eq!(mount_points(text), [PathBuf::from("/a b\\c"), PathBuf::from("/a")]);
    }
}
