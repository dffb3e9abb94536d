//! journald's native protocol: a datagram a message, one field after the other. A value without a
//! newline is `NAME=value`; any other is the name, its length in 8 bytes, and the value.

use std::io;
use std::os::unix::net::UnixDatagram;

use super::{Destination, Message};
use crate::logs::record::Stream;
use crate::supervise::settings::JournaldSettings;

/// syslog's "informational" and "error": what docker gives stdout and stderr.
const PRIORITY_STDOUT: &str = "6";
const PRIORITY_STDERR: &str = "3";

/// A node's journal.
#[derive(Debug)]
pub(super) struct Journald {
    settings: JournaldSettings,
    socket: Option<UnixDatagram>,
}

impl Journald {
    pub(super) fn new(settings: JournaldSettings) -> Self {
        Self { settings, socket: None }
    }
}

impl Destination for Journald {
    fn deliver(&mut self, message: &Message) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => UnixDatagram::unbound()?,
        };
        // By its name each time: a journal that was started anew is another socket.
        socket.send_to(&entry(&self.settings.fields, message), &self.settings.socket)?;
        self.socket = Some(socket);
        Ok(())
    }
}

fn entry(fields: &[(String, String)], message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + message.text.len());
    let priority = match message.stream {
        Stream::Stdout => PRIORITY_STDOUT,
        Stream::Stderr => PRIORITY_STDERR,
    };
    field(&mut out, "PRIORITY", priority.as_bytes());
    for (name, value) in fields {
        field(&mut out, name, value.as_bytes());
    }
    field(&mut out, "SYSLOG_TIMESTAMP", super::syslog::rfc3339(message.timestamp_ms).as_bytes());
    if message.partial {
        field(&mut out, "CONTAINER_PARTIAL_MESSAGE", b"true");
    }
    field(&mut out, "MESSAGE", &message.text);
    out
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use loadline_model::logging::DELIVERY;

    use super::*;

    /// Reads what journald would: fields of both forms.
    fn decode(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let line = &bytes[..end];
            bytes = &bytes[end + 1..];
            let name = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
            if let Some(at) = line.iter().position(|byte| *byte == b'=') {
                fields.push((name(&line[..at]), line[at + 1..].to_vec()));
                continue;
            }
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let length = usize::try_from(length).unwrap();
            fields.push((name(line), bytes[8..8 + length].to_vec()));
            assert_eq!(bytes[8 + length], b'\n');
            bytes = &bytes[9 + length..];
        }
        fields
    }

    #[test]
    fn a_journal_gets_each_message_with_the_containers_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let fields = vec![
            ("CONTAINER_NAME".to_owned(), "web".to_owned()),
            ("NOTE".to_owned(), "two\nlines".to_owned()),
        ];
        let settings = JournaldSettings { socket: path.clone(), fields, delivery: DELIVERY };
        let mut destination = Journald::new(settings);
        for (stream, partial, priority) in
            [(Stream::Stdout, false, "6"), (Stream::Stderr, true, "3")]
        {
            let text = b"a=b \xff".to_vec();
            let timestamp_ms = 1_440_938_160_250;
            destination.deliver(&Message { timestamp_ms, stream, partial, text }).unwrap();
            let mut bytes = [0; 1024];
            let length = journal.recv(&mut bytes).unwrap();
            let fields = decode(&bytes[..length]);
            let value = |name: &str| {
                let found = fields.iter().find(|(have, _)| have == name);
                found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            };
            assert_eq!(value("PRIORITY").as_deref(), Some(priority));
            assert_eq!(value("CONTAINER_NAME").as_deref(), Some("web"));
            assert_eq!(value("NOTE").as_deref(), Some("two\nlines"));
            assert_eq!(value("SYSLOG_TIMESTAMP").as_deref(), Some("2015-08-30T12:36:00.250000Z"));
            assert_eq!(value("CONTAINER_PARTIAL_MESSAGE").is_some(), partial);
            assert_eq!(fields.last().unwrap().1, b"a=b \xff");
        }
        drop(journal);
        std::fs::remove_file(&path).unwrap();
        let (stream, text) = (Stream::Stdout, b"x".to_vec());
        let message = Message { timestamp_ms: 1, stream, partial: false, text };
        assert!(destination.deliver(&message).is_err(), "it is away");
        let again = UnixDatagram::bind(&path).unwrap();
        destination.deliver(&message).unwrap();
        assert!(again.recv(&mut [0; 1024]).is_ok(), "a journal that comes back is found again");
    }
}
