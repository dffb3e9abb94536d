//! Files that the kernel makes as they are read: small, of unknown size, and read at every start.

use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::read;

/// The longest such file that is read: mountinfo of a node with 10,000 containers is shorter.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What most of them fit into; the kernel hands longer ones out by the page anyway.
const CHUNK_BYTES: usize = 4096;

/// Reads a whole file of procfs, sysfs or cgroupfs in as few system calls as possible.
///
/// # Errors
/// The kernel's errno; `EFBIG` when there is no end to it.
pub(crate) fn read_all(path: &Path) -> Result<Vec<u8>, Errno> {
    let file = openat(AT_FDCWD, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        match read(&file, &mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(count) if bytes.len() + count <= FILE_BYTES_MAX => {
                bytes.extend_from_slice(&chunk[..count]);
            }
            Ok(_) => return Err(Errno::EFBIG),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read_all;
    use std::path::Path;

    #[test]
    fn a_file_longer_than_a_page_is_read_to_its_end() {
        let path = Path::new("/proc/self/mountinfo");
        let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        let read = read_all(path).unwrap();
        assert_eq!(lines(&read), lines(&std::fs::read(path).unwrap()));
        assert!(read_all(Path::new("/proc/none")).is_err());
    }
}
