//! Cuts a stream of bytes into records. Pure: the time is an argument.

use crate::logs::record::{MESSAGE_BYTES_MAX, Record, Stream};

/// One of the container's two streams.
#[derive(Debug)]
pub(super) struct Lines {
    stream: Stream,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// Whether it is a terminal's, whose lines end with a carriage return too.
    is_terminal: bool,
}

impl Lines {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, begun: Vec::new(), is_terminal: false }
    }

    /// Of a container with a terminal: there is one stream.
    pub(super) fn of_terminal() -> Self {
        Self { is_terminal: true, ..Self::new(Stream::Stdout) }
    }

    /// Goes on with a line that was begun.
    pub(super) fn resumed(stream: Stream, begun: Vec<u8>) -> Self {
        Self { stream, begun, is_terminal: false }
    }

    /// The beginning of a line whose end has not come.
    pub(super) fn begun(&self) -> &[u8] {
        &self.begun
    }

    /// Takes bytes as they came; appends every record that is complete to `out`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], now_ms: u64, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = MESSAGE_BYTES_MAX - self.begun.len();
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            match newline {
                Some(at) if at <= room => {
                    self.emit(&bytes[..at], false, now_ms, out);
                    bytes = &bytes[at + 1..];
                }
                _ if room <= bytes.len() => {
                    self.emit(&bytes[..room], true, now_ms, out);
                    bytes = &bytes[room..];
                }
                _ => {
                    self.begun.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    /// Whether a line was begun and not ended.
    pub(super) fn has_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Gives what was begun: a prompt without a newline should be seen too.
    pub(super) fn flush(&mut self, partial: bool, now_ms: u64, out: &mut Vec<u8>) {
        if self.has_begun() {
            self.emit(&[], partial, now_ms, out);
        }
    }

    fn emit(&mut self, rest: &[u8], partial: bool, timestamp_ms: u64, out: &mut Vec<u8>) {
        let (stream, is_terminal) = (self.stream, self.is_terminal);
        // A supervisor is small: it keeps no buffer of a long line that is gone.
        let mut begun = std::mem::take(&mut self.begun);
        let message = if begun.is_empty() {
            rest
        } else {
            begun.extend_from_slice(rest);
            &begun
        };
        let message = if is_terminal && !partial { without_return(message) } else { message };
        Record { timestamp_ms, stream, partial, message }.encode(out);
    }
}

fn without_return(message: &[u8]) -> &[u8] {
    message.strip_suffix(b"\r").unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(out: &[u8]) -> Vec<(bool, Vec<u8>)> {
        out.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| Record::decode(line).unwrap())
            .map(|record| (record.partial, record.message.to_vec()))
            .collect()
    }

    #[test]
    fn lines_come_whole_however_they_were_written() {
        let mut lines = Lines::new(Stream::Stdout);
        let mut out = Vec::new();
        for part in ["he", "llo\n\nwor", "ld"] {
            lines.feed(part.as_bytes(), 5, &mut out);
        }
        lines.flush(false, 6, &mut out);
        let expected = [(false, b"hello".to_vec()), (false, vec![]), (false, b"world".to_vec())];
        assert_eq!(records(&out), expected);
    }

    #[test]
    fn lines_of_a_terminal_come_without_its_carriage_returns() {
        let mut lines = Lines::of_terminal();
        let mut out = Vec::new();
        lines.feed(b"one\r\ntwo\r", 5, &mut out);
        lines.feed(b"\nth\rree", 5, &mut out);
        lines.flush(false, 6, &mut out);
        let expected = [&b"one"[..], b"two", b"th\rree"].map(|line| (false, line.to_vec()));
        assert_eq!(records(&out), expected);
    }

    #[test]
    fn the_longest_line_is_one_record_and_one_byte_more_makes_two() {
        for (length, expected) in [(MESSAGE_BYTES_MAX, 1), (MESSAGE_BYTES_MAX + 1, 2)] {
            let mut lines = Lines::new(Stream::Stderr);
            let mut out = Vec::new();
            let mut text = vec![b'x'; length];
            text.push(b'\n');
            lines.feed(&text, 5, &mut out);
            let records = records(&out);
            assert_eq!(records.len(), expected, "{length}");
            assert_eq!(records.iter().map(|(_, m)| m.len()).sum::<usize>(), length);
            assert!(!records.last().unwrap().0);
        }
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_made_up(parts in prop::collection::vec("[a\n]{0,9}", 0..9)) {
            let mut lines = Lines::new(Stream::Stdout);
            let mut out = Vec::new();
            for part in &parts {
                lines.feed(part.as_bytes(), 1, &mut out);
            }
            lines.flush(true, 1, &mut out);
            let mut text = Vec::new();
            for (partial, message) in records(&out) {
                text.extend(message);
                text.extend((!partial).then_some(b'\n'));
            }
            prop_assert_eq!(text, parts.concat().into_bytes());
        }
    }
}
