//! Whether a program needs nothing but the kernel: such a one runs in any container.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The beginning of every ELF file of 64 bits whose numbers begin with the low byte (elf(5)).
const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
/// The kind of program header that names a loader.
const PT_INTERP: u32 = 3;
/// Most program headers that are looked at.
const HEADERS_MAX: u16 = 64;

/// Whether the program is one static file. One that can't be read is not.
#[must_use]
pub fn is_static(program: &Path) -> bool {
    names_loader(program).is_ok_and(|names| !names)
}

fn names_loader(program: &Path) -> io::Result<bool> {
    let file = File::open(program)?;
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0)?;
    if head[..6] != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no ELF program of 64 bits"));
    }
    let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let mut offset = [0; 8];
    offset.copy_from_slice(&head[32..40]);
    let (offset, size) = (u64::from_le_bytes(offset), u64::from(short(54)));
    for at in 0..short(56).min(HEADERS_MAX) {
        let mut kind = [0; 4];
        let place = offset.saturating_add(size * u64::from(at));
        file.read_exact_at(&mut kind, place)?;
        if u32::from_le_bytes(kind) == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_told_from_one_without() {
        assert!(!is_static(Path::new("/bin/sh")), "Debian's dash has a loader");
        assert!(is_static(&loadline_fixtures::probe::probe().unwrap()));
        assert!(!is_static(Path::new("/etc/passwd")) && !is_static(Path::new("/nobody")));
    }
}
