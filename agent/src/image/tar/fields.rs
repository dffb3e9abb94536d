//! The fields of a header and the records of a PAX header, each checked.

use ::tar::{EntryType, Header};

use super::sparse::{self, Segment};
use super::{Entry, Kind, TarError};

/// Most extended attributes of one entry.
pub(crate) const XATTRS_MAX: usize = 256;

/// A header's data size, for every type that may have data.
pub(super) fn size(header: &Header, at: u64) -> Result<u64, TarError> {
    let size = number(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
    size.ok_or(TarError::Field { at, field: "size" })
}

/// Sums the block with its checksum field read as spaces, in both readings that writers have used.
pub(super) fn checksum_matches(header: &Header) -> bool {
    let Some(stored) = number(&header.as_old().cksum) else { return false };
    let (mut unsigned, mut signed) = (0i128, 0i128);
    for (at, byte) in header.as_bytes().iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += i128::from(byte);
        signed += i128::from(byte.cast_signed());
    }
    stored == unsigned || stored == signed
}

/// An entry as its own header describes it, but for its name: where a record in front of it has
/// that, the header has only its beginning, which may end with a slash by chance.
pub(super) fn entry(header: &Header, at: u64, size: u64, path: Vec<u8>) -> Result<Entry, TarError> {
    let kind = match header.entry_type() {
        // Before POSIX a directory was a file whose name ends with a slash.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::Hardlink,
        EntryType::Char => Kind::Char,
        EntryType::Block => Kind::Block,
        EntryType::Fifo => Kind::Fifo,
        other => {
            let type_flag = char::from(other.as_byte());
            return Err(TarError::UnknownType { at, type_flag });
        }
    };
    let old = header.as_old();
    let whole = |bytes: &[u8], field| {
        let value = number(bytes).and_then(|value| u64::try_from(value).ok());
        value.ok_or(TarError::Field { at, field })
    };
    let mtime = number(&old.mtime).and_then(|time| i64::try_from(time).ok());
    Ok(Entry {
        kind,
        mode: (whole(&old.mode, "mode")? & 0o7777) as u32,
        uid: whole(&old.uid, "uid")?,
        gid: whole(&old.gid, "gid")?,
        mtime: (mtime.ok_or(TarError::Field { at, field: "mtime" })?, 0),
        link: header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default(),
        device: (
            header.device_major().ok().flatten().unwrap_or_default(),
            header.device_minor().ok().flatten().unwrap_or_default(),
        ),
        xattrs: Vec::new(),
        size,
        sparse: None,
        path,
    })
}

/// A numeric field: octal text, or base-256 with its sign (GNU). Empty is zero.
fn number(bytes: &[u8]) -> Option<i128> {
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        let negative = bytes[0] & 0x40 != 0;
        let head = i128::from(bytes[0] & 0x3f) - if negative { 0x40 } else { 0 };
        return Some(bytes[1..].iter().fold(head, |value, byte| value << 8 | i128::from(*byte)));
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.split('\0').next().unwrap_or_default().trim();
    if text.is_empty() { Some(0) } else { i128::from_str_radix(text, 8).ok() }
}

/// The PAX records that mean something for an image (pax(1), and GNU's and star's extensions).
#[derive(Default)]
pub(super) struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
    sparse_map: Option<Vec<Segment>>,
    sparse_offset: Option<u64>,
    sparse_major: u64,
}

impl Pax {
    /// Reads records of the form `LENGTH KEY=VALUE\n`.
    pub(super) fn parse(mut bytes: &[u8], at: u64) -> Result<Self, TarError> {
        let bad = || TarError::Field { at, field: "PAX record" };
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let space = bytes.iter().take(20).position(|b| *b == b' ').ok_or_else(bad)?;
            let length = decimal(&bytes[..space]).ok_or_else(bad)?;
            let length = usize::try_from(length).map_err(|_| bad())?;
            if length <= space + 1 || bytes.len() < length || bytes[length - 1] != b'\n' {
                return Err(bad());
            }
            let record = &bytes[space + 1..length - 1];
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            pax.set(&record[..equals], &record[equals + 1..], at)?;
            bytes = &bytes[length..];
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8], at: u64) -> Result<(), TarError> {
        let whole = |field| decimal(value).ok_or(TarError::Field { at, field });
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(whole("PAX size")?),
            b"uid" => self.uid = Some(whole("PAX uid")?),
            b"gid" => self.gid = Some(whole("PAX gid")?),
            b"mtime" => {
                let bad = TarError::Field { at, field: "PAX mtime" };
                self.mtime = Some(time(value).ok_or(bad)?);
            }
            b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse_size = Some(whole("PAX sparse size")?);
            }
            b"GNU.sparse.major" => self.sparse_major = whole("PAX sparse version")?,
            b"GNU.sparse.offset" => self.sparse_offset = Some(whole("PAX sparse offset")?),
            b"GNU.sparse.numbytes" => {
                let bad = TarError::Field { at, field: "PAX sparse map" };
                let offset = self.sparse_offset.take().ok_or(bad)?;
                let segment = Segment { offset, bytes: whole("PAX sparse map")? };
                sparse::push(self.sparse_map.get_or_insert_default(), segment, at)?;
            }
            b"GNU.sparse.map" => self.sparse_map = Some(sparse::parse_list(value, at)?),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if XATTRS_MAX <= self.xattrs.len() {
                        return Err(TarError::Field { at, field: "number of attributes" });
                    }
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    /// The entry's name: of a sparse file, `path` is one for programs that do not know such files.
    pub(super) fn take_path(&mut self) -> Option<Vec<u8>> {
        let path = self.path.take();
        self.sparse_name.take().or(path)
    }

    /// Puts the records over the header's other fields. Says whether the sparse map is in the data.
    pub(super) fn apply(self, entry: &mut Entry, at: u64) -> Result<bool, TarError> {
        let is_sparse = self.sparse_size.is_some() && entry.kind == Kind::File;
        entry.link = self.link.unwrap_or(std::mem::take(&mut entry.link));
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
        entry.mtime = self.mtime.unwrap_or(entry.mtime);
        entry.xattrs = self.xattrs;
        if !is_sparse {
            return Ok(false);
        }
        entry.size = self.sparse_size.unwrap_or_default();
        match (self.sparse_major, self.sparse_map) {
            (0, Some(map)) => entry.sparse = Some(map),
            (1, None) => return Ok(true),
            _ => return Err(TarError::Field { at, field: "PAX sparse map" }),
        }
        Ok(false)
    }
}

pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// `[-]SECONDS[.FRACTION]`, rounded down to nanoseconds.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = i64::try_from(decimal(seconds.as_bytes())?).ok()?;
    let digits: String = fraction.chars().take(9).collect();
    let nanos = if digits.is_empty() {
        0
    } else {
        u32::try_from(decimal(format!("{digits:0<9}").as_bytes())?).ok()?
    };
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_signed_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff"), Some(-1));
        assert_eq!(number(b"00x0644\0"), None);
        assert_eq!(number(b"-000644\0"), Some(-0o644));
    }

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"1.1234567891"), Some((1, 123_456_789)));
        assert_eq!(time(b"1e9"), None);
    }

    #[test]
    fn a_pax_record_with_a_wrong_length_is_refused() {
        assert!(Pax::parse(b"12 path=abc\n", 0).is_ok());
        for bad in [
            &b"11 path=abc\n"[..],
            b"13 path=abc\n",
            b"0 path=abc\n",
            b"99999999999999999999 p=a\n",
            b"7 path\n",
            b"path=abc\n",
        ] {
            assert!(Pax::parse(bad, 0).is_err(), "{}", bad.escape_ascii());
        }
    }
}
