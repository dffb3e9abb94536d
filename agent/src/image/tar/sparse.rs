//! Maps of sparse files, in the four forms that GNU tar has written.

use std::io::Read;

use super::fields::decimal;
use super::{Reader, TarError};

/// Most stored pieces of one sparse file.
pub(crate) const SEGMENTS_MAX: usize = 65_536;

/// Stored bytes and where in the file they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

fn bad(at: u64) -> TarError {
    TarError::Field { at, field: "sparse map" }
}

pub(super) fn push(map: &mut Vec<Segment>, segment: Segment, at: u64) -> Result<(), TarError> {
    if SEGMENTS_MAX <= map.len() {
        return Err(bad(at));
    }
    map.push(segment);
    Ok(())
}

/// Old GNU format: an unused element ends the list.
pub(super) fn add_gnu(
    map: &mut Vec<Segment>,
    headers: &[::tar::GnuSparseHeader],
    at: u64,
) -> Result<(), TarError> {
    for header in headers {
        if header.is_empty() {
            break;
        }
        let offset = header.offset().map_err(|_| bad(at))?;
        let bytes = header.length().map_err(|_| bad(at))?;
        push(map, Segment { offset, bytes }, at)?;
    }
    Ok(())
}

/// PAX format 0.1: `OFFSET,BYTES,OFFSET,BYTES…`.
pub(super) fn parse_list(text: &[u8], at: u64) -> Result<Vec<Segment>, TarError> {
    let mut map = Vec::new();
    let mut numbers = text.split(|b| *b == b',');
    while let Some(offset) = numbers.next() {
        let offset = decimal(offset).ok_or_else(|| bad(at))?;
        let bytes = numbers.next().and_then(decimal).ok_or_else(|| bad(at))?;
        push(&mut map, Segment { offset, bytes }, at)?;
    }
    Ok(map)
}

/// PAX format 1.0: decimal lines in front of the data, filled up to a whole block.
pub(super) fn read_map<R: Read>(reader: &mut Reader<R>, at: u64) -> Result<Vec<Segment>, TarError> {
    let mut lines = Lines { reader, block: [0; 512], used: 512 };
    let count = lines.number(at)?;
    let mut map = Vec::new();
    for _ in 0..count {
        let segment = Segment { offset: lines.number(at)?, bytes: lines.number(at)? };
        push(&mut map, segment, at)?;
    }
    Ok(map)
}

struct Lines<'a, R> {
    reader: &'a mut Reader<R>,
    block: [u8; 512],
    used: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self, at: u64) -> Result<u64, TarError> {
        let mut digits = Vec::new();
        loop {
            match self.byte(at)? {
                b'\n' => return decimal(&digits).ok_or_else(|| bad(at)),
                byte if digits.len() < 20 => digits.push(byte),
                _ => return Err(bad(at)),
            }
        }
    }

    fn byte(&mut self, at: u64) -> Result<u8, TarError> {
        if self.used == self.block.len() {
            let mut filled = 0;
            while filled < self.block.len() {
                match self.reader.read_data(&mut self.block[filled..])? {
                    0 => return Err(bad(at)),
                    count => filled += count,
                }
            }
            self.used = 0;
        }
        self.used += 1;
        Ok(self.block[self.used - 1])
    }
}

/// Segments must rise, not overlap, lie within the file, and be what is stored.
pub(super) fn check(map: &[Segment], size: u64, stored: u64, at: u64) -> Result<(), TarError> {
    let (mut end, mut sum) = (0u64, 0u64);
    for segment in map {
        if segment.offset < end {
            return Err(bad(at));
        }
        end = segment.offset.checked_add(segment.bytes).ok_or_else(|| bad(at))?;
        sum = sum.checked_add(segment.bytes).ok_or_else(|| bad(at))?;
    }
    if size < end || sum != stored { Err(bad(at)) } else { Ok(()) }
}
