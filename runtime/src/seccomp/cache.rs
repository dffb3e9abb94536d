//! Compiled filters of earlier containers, by the text of their profile.
//!
//! Engines hand the same profile over with every container, and reading and compiling it takes as
//! long as all namespaces and mounts. A folder of the user's own, beside the records' usual place,
//! keeps what was compiled.
//!
//! What a filter is taken from must be trusted as much as the runtime itself, so: folder and file
//! are looked at on their open descriptors, and have to belong to the runtime's own user and to be
//! closed to all others; a file holds the whole text of its profile, and is used only for exactly
//! that text, so no profile can be made that gets another one's filter; it names the program
//! that compiled it, so no other version's filter is used; and it is written beside its place and
//! renamed. A file that is not as it should be is as good as none.
//!
//! Not kept: filters with a listener, whose profile names sockets of one container.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat, stat};
use nix::unistd::{UnlinkatFlags, geteuid, read, unlinkat, write};

use super::{Filter, INSTRUCTIONS_MAX, Instruction};

/// How many filters are kept. Hosts have a handful of profiles; when there are more, all go.
const FILTERS_MAX: usize = 64;
/// The longest profile that is kept.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// The form of a file: raised with every change of it.
const MAGIC: [u8; 8] = *b"llbpf\0\0\x02";
/// Magic, the compiling program, flags, the lengths of text and program, and their hash.
const HEADER_BYTES: usize = 8 + 32 + 8 + 8 + 8 + 8;
const INSTRUCTION_BYTES: usize = 8;

/// The filters that are kept.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in this folder. Nothing is made until a filter is kept.
    pub fn at(folder: PathBuf) -> Cache {
        Cache { folder }
    }

    /// The filter of exactly this profile; `None` where it is not there or not to be trusted.
    pub fn get(&self, text: &str) -> Option<Filter> {
        let folder = open_own(AT_FDCWD, &self.folder, OFlag::O_DIRECTORY, SFlag::S_IFDIR)?;
        let (file, stat) = open_own_file(folder.as_fd(), &name_of(text))?;
        let length = usize::try_from(stat.st_size).ok()?;
        let longest = HEADER_BYTES + TEXT_BYTES_MAX + INSTRUCTIONS_MAX * INSTRUCTION_BYTES;
        if !(HEADER_BYTES..=longest).contains(&length) {
            return None;
        }
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            match read(&file, &mut bytes[done..]) {
                Ok(0) | Err(_) => return None,
                Ok(count) => done += count,
            }
        }
        decode(&bytes, text, &compiler()?)
    }

    /// Keeps a filter. That it could not be kept is no error: the next start compiles it again.
    pub fn put(&self, text: &str, filter: &Filter) {
        if filter.listener.is_none() && text.len() <= TEXT_BYTES_MAX {
            let _ = self.try_put(text, filter);
        }
    }

    fn try_put(&self, text: &str, filter: &Filter) -> Result<(), Errno> {
        let bytes = encode(text, filter, &compiler().ok_or(Errno::ENOENT)?);
        match mkdirat(AT_FDCWD, &self.folder, Mode::from_bits_truncate(0o700)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        let folder = open_own(AT_FDCWD, &self.folder, OFlag::O_DIRECTORY, SFlag::S_IFDIR);
        let folder = folder.ok_or(Errno::EACCES)?;
        self.make_room(folder.as_fd());
        let name = name_of(text);
        let part = format!("{name}.{}", std::process::id());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&folder, part.as_str(), flags, Mode::from_bits_truncate(0o600))?;
        let written = write(&file, &bytes);
        let placed = match written {
            Ok(count) if count == bytes.len() => {
                renameat(&folder, part.as_str(), &folder, name.as_str())
            }
            Ok(_) => Err(Errno::ENOSPC),
            Err(errno) => Err(errno),
        };
        if placed.is_err() {
            let _ = unlinkat(&folder, part.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        placed
    }

    /// Empties a full folder: what is still used comes back with its next container.
    fn make_room(&self, folder: BorrowedFd<'_>) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        if names.len() >= FILTERS_MAX {
            for name in names {
                let _ = unlinkat(folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
            }
        }
    }
}

/// The program that compiles: its file's device, inode, size and time of change. Another build is
/// another file.
fn compiler() -> Option<[u8; 32]> {
    let stat = stat("/proc/self/exe").ok()?;
    let nanoseconds = stat.st_mtime.wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec);
    let fields = [stat.st_dev, stat.st_ino, stat.st_size as u64, nanoseconds as u64];
    let mut bytes = [0; 32];
    for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    Some(bytes)
}

/// Two profiles of one name take turns in its file; that is all a collision does.
fn name_of(text: &str) -> String {
    format!("{:016x}", hash(0, text.as_bytes()))
}

/// Eight bytes at a time, against damage and for names: nobody else writes here.
fn hash(first: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    let mixed = words.fold(first ^ bytes.len() as u64, |mixed, word| {
        (mixed.rotate_left(23) ^ word).wrapping_mul(FACTOR)
    });
    mixed ^ (mixed >> 32)
}

/// Whether two texts are the same, eight bytes at a time: a C library compares them one by one.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    a.len() == b.len()
        && a_words.iter().zip(b_words).all(|(a, b)| word(a) == word(b))
        && a_rest == b_rest
}

fn encode(text: &str, filter: &Filter, compiler: &[u8; 32]) -> Vec<u8> {
    let program = filter.program.iter().flat_map(|i| {
        let [a, b] = i.code.to_le_bytes();
        let [c, d, e, f] = i.operand.to_le_bytes();
        [a, b, i.jump_true, i.jump_false, c, d, e, f]
    });
    let body: Vec<u8> = text.bytes().chain(program).collect();
    let sum = hash(filter.flags, &body);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend(MAGIC);
    bytes.extend(compiler);
    for field in [filter.flags, text.len() as u64, filter.program.len() as u64, sum] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

/// Everything is checked: what is not exactly as [`encode`] makes it is no filter.
fn decode(bytes: &[u8], text: &str, compiler: &[u8; 32]) -> Option<Filter> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
    let (start, numbers) = header.split_at_checked(MAGIC.len() + compiler.len())?;
    if start != [MAGIC.as_slice(), compiler].concat() {
        return None;
    }
    let mut numbers = numbers.chunks_exact(8);
    let mut number = || Some(u64::from_le_bytes(numbers.next()?.try_into().ok()?));
    let (flags, text_bytes, instructions, sum) = (number()?, number()?, number()?, number()?);
    let (kept, program) = body.split_at_checked(usize::try_from(text_bytes).ok()?)?;
    let is_whole = is_same(kept, text.as_bytes())
        && (1..=INSTRUCTIONS_MAX as u64).contains(&instructions)
        && program.len() as u64 == instructions * INSTRUCTION_BYTES as u64
        && hash(flags, body) == sum;
    is_whole.then(|| Filter {
        program: program.as_chunks::<INSTRUCTION_BYTES>().0.iter().map(instruction).collect(),
        flags,
        listener: None,
    })
}

fn instruction(bytes: &[u8; INSTRUCTION_BYTES]) -> Instruction {
    Instruction {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jump_true: bytes[2],
        jump_false: bytes[3],
        operand: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

fn open_own_file(folder: BorrowedFd<'_>, name: &str) -> Option<(OwnedFd, FileStat)> {
    let file = open_own(folder, Path::new(name), OFlag::O_NONBLOCK, SFlag::S_IFREG)?;
    let stat = fstat(&file).ok()?;
    Some((file, stat))
}

/// Opens what is of this kind, belongs to this user, and is closed to all others.
fn open_own(at: BorrowedFd<'_>, path: &Path, flags: OFlag, kind: SFlag) -> Option<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let flags = flags | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(at, path.as_c_str(), flags, Mode::empty()).ok()?;
    let stat = fstat(&fd).ok()?;
    let is_kind = stat.st_mode & libc::S_IFMT == kind.bits();
    let is_closed = stat.st_mode & 0o077 == 0;
    (is_kind && is_closed && stat.st_uid == geteuid().as_raw()).then_some(fd)
}

#[cfg(test)]
mod tests {
    use super::{Cache, FILTERS_MAX, decode, encode, name_of};
    use crate::seccomp::{Filter, Instruction};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::{Path, PathBuf};

    const TEXT: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;

    fn filter() -> Filter {
        let program = (0..5)
            .map(|n| Instruction { code: 6, jump_true: n, jump_false: 1, operand: 0x7fff_0000 })
            .collect();
        Filter { program, flags: 4, listener: None }
    }

    fn world() -> (tempfile::TempDir, Cache, PathBuf) {
        let records = tempfile::tempdir().unwrap();
        let cache = Cache::at(records.path().join("filters"));
        let file = records.path().join("filters").join(name_of(TEXT));
        cache.put(TEXT, &filter());
        assert_eq!(cache.get(TEXT), Some(filter()));
        (records, cache, file)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_filter_is_found_for_exactly_its_profile() {
        let (_records, cache, file) = world();
        let other = TEXT.replace("ALLOW", "ERRNO");
        assert_eq!(cache.get(&other), None);
        // A collision of names gives nothing either.
        fs::copy(&file, file.with_file_name(name_of(&other))).unwrap();
        assert_eq!(cache.get(&other), None);
    }

    #[test]
    fn a_filter_that_others_could_have_written_is_not_used() {
        let (_records, cache, file) = world();
        set_mode(&file, 0o620);
        assert_eq!(cache.get(TEXT), None);
        set_mode(&file, 0o600);
        assert_eq!(cache.get(TEXT), Some(filter()));
        set_mode(file.parent().unwrap(), 0o777);
        assert_eq!(cache.get(TEXT), None);
        cache.put(TEXT, &filter());
        assert_eq!(cache.get(TEXT), None, "nor is it written there");
    }

    #[test]
    fn a_link_in_place_of_folder_or_file_is_not_followed() {
        let (records, cache, file) = world();
        let elsewhere = records.path().join("elsewhere");
        fs::rename(&file, &elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert_eq!(cache.get(TEXT), None);
        fs::remove_file(&file).unwrap();
        fs::rename(&elsewhere, &file).unwrap();
        let folder = records.path().join("filters");
        fs::rename(&folder, records.path().join("moved")).unwrap();
        symlink("moved", &folder).unwrap();
        assert_eq!(cache.get(TEXT), None);
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let compiler = [7; 32];
        let whole = encode(TEXT, &filter(), &compiler);
        assert_eq!(decode(&whole, TEXT, &compiler), Some(filter()));
        assert_eq!(decode(&whole, TEXT, &[8; 32]), None, "of another program");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged, TEXT, &compiler), None, "byte {at}");
            assert_eq!(decode(&whole[..at], TEXT, &compiler), None, "cut at {at}");
        }
    }

    #[test]
    fn a_full_folder_is_emptied() {
        let (records, cache, _) = world();
        for n in 0..FILTERS_MAX {
            cache.put(&format!("{TEXT}{n}"), &filter());
        }
        let count = fs::read_dir(records.path().join("filters")).unwrap().count();
        assert!(count <= FILTERS_MAX, "{count}");
        assert_eq!(cache.get(&format!("{TEXT}{}", FILTERS_MAX - 1)), Some(filter()));
    }
}
