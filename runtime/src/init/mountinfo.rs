//! Lines of /proc/PID/mountinfo (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// How many mounts may lie on each other at one place.
pub const LAYERS_MAX: usize = 64;

/// What a line says of a mount.
#[derive(Debug)]
pub struct Mounted {
    /// Its number.
    pub id: u32,
    /// The number of the mount that it lies on.
    pub parent: u32,
    /// Where it is mounted.
    pub place: PathBuf,
    /// What was named as its source.
    pub source: Vec<u8>,
    /// Whether it is of procfs or sysfs.
    pub is_kernels: bool,
}

impl Mounted {
    /// All lines; `None` where one is not as it should be.
    pub fn parse_all(text: &[u8]) -> Option<Vec<Mounted>> {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(Mounted::parse).collect()
    }

    fn parse(line: &[u8]) -> Option<Mounted> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (id, parent) = (number()?, number()?);
        let place = PathBuf::from(OsString::from_vec(unescaped(fields.nth(2)?)));
        let mut after = fields.skip_while(|field| *field != b"-").skip(1);
        let is_kernels = matches!(after.next()?, b"proc" | b"sysfs");
        let source = unescaped(after.next().unwrap_or_default());
        Some(Mounted { id, parent, place, source, is_kernels })
    }
}

/// Undoes the octal escapes (`\040` for a space).
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}
