//! A tar stream as a sequence of entries, read without trust: every length that the archive names
//! is checked against a bound before memory is spent on it.
//!
//! The `tar` crate gives the header's fields. Its own iteration is not used because it reads the
//! name and PAX records of an entry whole, however long they say they are, and knows neither PAX
//! sparse files nor times before 1970.

mod fields;
mod sparse;

use std::io::{self, Read};

use ::tar::{EntryType, Header};

use fields::Pax;
pub(crate) use sparse::Segment;

/// Longest name or link target, in bytes (Linux PATH_MAX, without its NUL).
pub(crate) const NAME_BYTES_MAX: u64 = 4095;

/// Largest PAX header of one entry, in bytes: its extended attributes are in there.
pub(crate) const PAX_BYTES_MAX: u64 = 1024 * 1024;

const BLOCK: u64 = 512;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream could not be read, or ended inside an entry.
    #[error("read the archive at byte {at}")]
    Read {
        /// Bytes read before.
        at: u64,
        /// The reader's error.
        source: io::Error,
    },
    /// A header whose sum does not match.
    #[error("the header at byte {at} has a wrong checksum: not a tar archive, or damaged")]
    Checksum {
        /// Where the header begins.
        at: u64,
    },
    /// A field that does not hold what it must.
    #[error("the header at byte {at} has a bad {field}")]
    Field {
        /// Where the header begins.
        at: u64,
        /// The field's or PAX record's name.
        field: &'static str,
    },
    /// A name, link or PAX header longer than its bound.
    #[error("the {field} at byte {at} is longer than {bytes_max} bytes")]
    TooLong {
        /// Where the header begins.
        at: u64,
        /// Which of them.
        field: &'static str,
        /// The bound.
        bytes_max: u64,
    },
    /// A kind of entry that no image has.
    #[error("the entry at byte {at} is of the unknown type {type_flag:?}")]
    UnknownType {
        /// Where the header begins.
        at: u64,
        /// The type flag.
        type_flag: char,
    },
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Char,
    Block,
    Fifo,
}

/// One entry, with all its extension records applied.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds and nanoseconds since the Unix epoch.
    pub(crate) mtime: (i64, u32),
    pub(crate) link: Vec<u8>,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Size of the file once unpacked, holes included.
    pub(crate) size: u64,
    /// Where the stored bytes go; `None` where they are the file.
    pub(crate) sparse: Option<Vec<Segment>>,
}

/// Names and PAX records that came in front of the entry that they are about.
#[derive(Default)]
struct Pending {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Pax,
}

/// Reads entries one after the other; their data in between.
pub(crate) struct Reader<R> {
    inner: R,
    position: u64,
    /// Data of the current entry that has not been read.
    remaining: u64,
    padding: u64,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, position: 0, remaining: 0, padding: 0 }
    }

    /// The next entry, or `None` at the archive's end mark or the stream's end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut pending = Pending::default();
        loop {
            self.skip_rest()?;
            let at = self.position;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = fields::size(&header, at)?;
            match header.entry_type() {
                EntryType::GNULongName => pending.path = Some(self.long_name(size, at)?),
                EntryType::GNULongLink => pending.link = Some(self.long_name(size, at)?),
                EntryType::XHeader => {
                    let bytes = self.record(size, at, "PAX header", PAX_BYTES_MAX)?;
                    pending.pax = Pax::parse(&bytes, at)?;
                }
                // A comment on the whole archive (git writes its commit there).
                EntryType::XGlobalHeader => self.begin_data(size),
                _ => return self.entry(&header, at, size, pending).map(Some),
            }
        }
    }

    /// Data of the current entry: like [`Read::read`], 0 at its end.
    pub(crate) fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let room = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let count = match self.inner.read(&mut buffer[..room]) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            result => result,
        }
        .map_err(|source| TarError::Read { at: self.position, source })?;
        self.position += count as u64;
        self.remaining -= count as u64;
        Ok(count)
    }

    /// Bytes of the archive that were read so far: where the current entry's data begins, if none
    /// of it was read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the current entry's data that have not been read.
    pub(crate) fn stored(&self) -> u64 {
        self.remaining
    }

    /// The stream behind the archive's end mark.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    fn entry(
        &mut self,
        header: &Header,
        at: u64,
        size: u64,
        mut pending: Pending,
    ) -> Result<Entry, TarError> {
        let path = pending.pax.take_path().or(pending.path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let mut entry = fields::entry(header, at, size, path)?;
        let stored = pending.pax.size.unwrap_or(size);
        if header.entry_type() == EntryType::GNUSparse {
            let (segments, real_size) = self.gnu_sparse(header, at)?;
            (entry.sparse, entry.size) = (Some(segments), real_size);
        }
        self.begin_data(if has_data(entry.kind) { stored } else { 0 });
        if let Some(link) = pending.link {
            entry.link = link;
        }
        entry.size = if entry.sparse.is_some() { entry.size } else { stored };
        let map_in_data = pending.pax.apply(&mut entry, at)?;
        if map_in_data {
            entry.sparse = Some(sparse::read_map(self, at)?);
        }
        if let Some(segments) = &entry.sparse {
            sparse::check(segments, entry.size, self.remaining, at)?;
        }
        for (name, field) in [(&entry.path, "name"), (&entry.link, "link target")] {
            if NAME_BYTES_MAX < name.len() as u64 {
                return Err(TarError::TooLong { at, field, bytes_max: NAME_BYTES_MAX });
            }
            if name.contains(&0) {
                return Err(TarError::Field { at, field });
            }
        }
        Ok(entry)
    }

    fn begin_data(&mut self, size: u64) {
        self.remaining = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let rest = self.remaining.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.inner).take(rest), &mut io::sink());
        let source = match skipped {
            Ok(count) if count == rest => None,
            // Some writers leave out the padding of the last entry.
            Ok(count) if self.remaining <= count => None,
            Ok(_) => Some(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Err(error) => Some(error),
        };
        if let Some(source) = source {
            return Err(TarError::Read { at: self.position, source });
        }
        self.position = self.position.saturating_add(rest);
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    /// The next header; `None` at a block of zeros or at the stream's end.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|b| *b == 0) {
            return Ok(None);
        }
        if !fields::checksum_matches(&header) {
            return Err(TarError::Checksum { at: self.position - BLOCK });
        }
        Ok(Some(header))
    }

    /// Fills one block; `false` where the stream ends before its first byte.
    fn block(&mut self, block: &mut [u8; 512]) -> Result<bool, TarError> {
        let mut filled = 0;
        while filled < block.len() {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => {
                    let source = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Err(TarError::Read { at: self.position, source });
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { at: self.position, source }),
            }
        }
        self.position += BLOCK;
        Ok(true)
    }

    fn long_name(&mut self, size: u64, at: u64) -> Result<Vec<u8>, TarError> {
        let mut name = self.record(size, at, "GNU long name", NAME_BYTES_MAX + 1)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// The data of an extension entry.
    fn record(
        &mut self,
        size: u64,
        at: u64,
        field: &'static str,
        bytes_max: u64,
    ) -> Result<Vec<u8>, TarError> {
        if bytes_max < size {
            return Err(TarError::TooLong { at, field, bytes_max });
        }
        self.begin_data(size);
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = self.read_data(&mut buffer)?;
            if count == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&buffer[..count]);
        }
    }

    /// The map of an old GNU sparse entry: four in the header, the rest in blocks behind it.
    fn gnu_sparse(&mut self, header: &Header, at: u64) -> Result<(Vec<Segment>, u64), TarError> {
        let gnu = header.as_gnu().ok_or(TarError::Field { at, field: "sparse header" })?;
        let bad = |_| TarError::Field { at, field: "sparse map" };
        let mut segments = Vec::new();
        sparse::add_gnu(&mut segments, &gnu.sparse, at)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = ::tar::GnuExtSparseHeader::new();
            let mut bytes = [0; 512];
            if !self.block(&mut bytes)? {
                return Err(TarError::Field { at, field: "sparse map" });
            }
            block.as_mut_bytes().copy_from_slice(&bytes);
            sparse::add_gnu(&mut segments, block.sparse(), at)?;
            more = block.is_extended();
        }
        Ok((segments, gnu.real_size().map_err(bad)?))
    }
}

const fn has_data(kind: Kind) -> bool {
    matches!(kind, Kind::File)
}

#[cfg(test)]
mod tests;
