//! One record of a log file: a line of output, or a piece of a long one.

use std::io::Write as _;

/// Longest piece of a line in one record, in bytes (the protocol's bound too).
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Longest record with its head and newline: 20 digits, 2 spaces, 2 letters.
pub const RECORD_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 25;

/// Where the container wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was read from the container, in Unix milliseconds.
    pub timestamp_ms: u64,
    /// Where it was written.
    pub stream: Stream,
    /// Whether the line goes on in the next record of the stream.
    pub partial: bool,
    /// The bytes, without a newline.
    pub message: &'a [u8],
}

impl<'a> Record<'a> {
    /// Appends the record, newline included, to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let stream = match self.stream {
            Stream::Stdout => 'o',
            Stream::Stderr => 'e',
        };
        let part = if self.partial { 'P' } else { 'F' };
        write!(out, "{} {stream}{part} ", self.timestamp_ms).expect("a Vec takes every write");
        out.extend_from_slice(self.message);
        out.push(b'\n');
    }

    /// Reads a record from a line without its newline; `None` for what is none.
    #[must_use]
    pub fn decode(line: &'a [u8]) -> Option<Self> {
        let space = line.iter().position(|byte| *byte == b' ')?;
        let timestamp_ms = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
        let [stream, part, b' ', message @ ..] = &line[space + 1..] else { return None };
        let stream = match stream {
            b'o' => Stream::Stdout,
            b'e' => Stream::Stderr,
            _ => return None,
        };
        let partial = match part {
            b'F' => false,
            b'P' => true,
            _ => return None,
        };
        Some(Self { timestamp_ms, stream, partial, message })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            timestamp_ms in any::<u64>(),
            stdout in any::<bool>(),
            partial in any::<bool>(),
            mut message in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            message.retain(|byte| *byte != b'\n');
            let stream = if stdout { Stream::Stdout } else { Stream::Stderr };
            let record = Record { timestamp_ms, stream, partial, message: &message };
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            prop_assert_eq!(bytes.pop(), Some(b'\n'));
            prop_assert_eq!(Record::decode(&bytes), Some(record));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(line in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Record::decode(&line);
        }
    }
}
