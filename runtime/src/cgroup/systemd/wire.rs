//! D-Bus messages as bytes (the D-Bus specification, "Marshaling"), little-endian: writing the few
//! types that are sent, reading the few that come back.

use super::property::{Property, Value};

/// Longer messages than this are not read; systemd's replies have a few hundred bytes.
pub(super) const MESSAGE_LEN_MAX: usize = 1 << 20;
/// The part of a message that tells its length.
pub(super) const PROLOGUE_LEN: usize = 16;

const LITTLE_ENDIAN: u8 = b'l';
const PROTOCOL_VERSION: u8 = 1;
const METHOD_CALL: u8 = 1;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Return,
    Error,
    Signal,
    Other,
}

/// A message that came in.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) kind: Option<Kind>,
    pub(super) reply_to: Option<u32>,
    pub(super) member: String,
    pub(super) error_name: String,
    pub(super) body: Vec<u8>,
}

/// A method to call.
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
    pub(super) body: Writer,
}

impl Call<'_> {
    /// The whole message.
    pub(super) fn encode(self, serial: u32) -> Vec<u8> {
        let mut w = Writer::default();
        w.bytes.extend([LITTLE_ENDIAN, METHOD_CALL, 0, PROTOCOL_VERSION]);
        w.u32(length(self.body.bytes.len()));
        w.u32(serial);
        w.array(8, |w| {
            let mut field = |code: u8, kind: &str, text: &str| {
                w.align(8);
                w.bytes.push(code);
                w.signature(kind);
                if kind == "g" { w.signature(text) } else { w.text(text) }
            };
            field(1, "o", self.path);
            field(2, "s", self.interface);
            field(3, "s", self.member);
            field(6, "s", self.destination);
            if !self.signature.is_empty() {
                field(8, "g", self.signature);
            }
        });
        w.align(8);
        w.bytes.extend(self.body.bytes);
        w.bytes
    }
}

/// Writes values one after the other, each aligned as its type wants.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.bytes.push(u8::try_from(signature.len()).expect("ours are a few letters long"));
        self.bytes.extend(signature.as_bytes());
        self.bytes.push(0);
    }

    pub(super) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let start = self.bytes.len();
        elements(self);
        let count = length(self.bytes.len() - start);
        self.bytes[length_at..length_at + 4].copy_from_slice(&count.to_le_bytes());
    }

    /// `a(sv)`
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |w| {
            for property in properties {
                w.align(8);
                w.text(&property.name);
                w.variant(&property.value);
            }
        });
    }

    fn variant(&mut self, value: &Value) {
        match value {
            Value::Numbers(_) => self.signature("au"),
            Value::Bytes(_) => self.signature("ay"),
            Value::Array(letter, _) => self.signature(&format!("a{letter}")),
            value => self.signature(&value.letter().unwrap_or_default().to_string()),
        }
        self.value(value);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => self.text(text),
            Value::Bool(value) => self.u32(u32::from(*value)),
            Value::Byte(number) => self.number(&[*number]),
            Value::I16(number) => self.number(&number.to_le_bytes()),
            Value::U16(number) => self.number(&number.to_le_bytes()),
            Value::I32(number) => self.number(&number.to_le_bytes()),
            Value::U32(number) => self.number(&number.to_le_bytes()),
            Value::I64(number) => self.number(&number.to_le_bytes()),
            Value::Number(number) | Value::Double(number) => self.number(&number.to_le_bytes()),
            Value::Numbers(numbers) => {
                self.array(4, |w| numbers.iter().for_each(|number| w.u32(*number)));
            }
            Value::Bytes(bytes) => self.array(1, |w| w.bytes.extend(bytes)),
            Value::Array(letter, values) => {
                let alignment = match letter {
                    'y' => 1,
                    'n' | 'q' => 2,
                    'x' | 't' | 'd' => 8,
                    _ => 4,
                };
                self.array(alignment, |w| values.iter().for_each(|value| w.value(value)));
            }
        }
    }

    /// A number, which is aligned by its size.
    fn number(&mut self, bytes: &[u8]) {
        self.align(bytes.len());
        self.bytes.extend(bytes);
    }
}

/// How many bytes follow the first [`PROLOGUE_LEN`] ones; `None` for what is no message or is
/// longer than [`MESSAGE_LEN_MAX`].
pub(super) fn rest_len(prologue: &[u8; PROLOGUE_LEN]) -> Option<usize> {
    if prologue[0] != LITTLE_ENDIAN || prologue[3] != PROTOCOL_VERSION {
        return None;
    }
    let number = |at: usize| {
        let bytes = prologue[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    };
    let (body, fields) = (number(4), number(12));
    let rest = fields.checked_next_multiple_of(8)?.checked_add(body)?;
    (rest <= MESSAGE_LEN_MAX).then_some(rest)
}

/// Takes a message apart; `None` if it is not one.
pub(super) fn decode(prologue: &[u8; PROLOGUE_LEN], rest: &[u8]) -> Option<Received> {
    let kind = match prologue[1] {
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => Kind::Other,
    };
    let fields_len = u32::from_le_bytes(prologue[12..16].try_into().ok()?) as usize;
    let mut received = Received { kind: Some(kind), ..Received::default() };
    received.body = rest.get(fields_len.checked_next_multiple_of(8)?..)?.to_vec();
    // The fields begin at a multiple of eight, so positions in them align as in the message.
    let mut reader = Reader::new(rest.get(..fields_len)?);
    while reader.at < fields_len {
        reader.align(8);
        let code = reader.u8()?;
        let signature = reader.signature()?;
        match (code, signature) {
            (5, "u") => received.reply_to = Some(reader.u32()?),
            (3, "s") => received.member = reader.text()?.to_owned(),
            (4, "s") => received.error_name = reader.text()?.to_owned(),
            (_, "s" | "o") => drop(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            (_, "u") => drop(reader.u32()?),
            _ => return None,
        }
    }
    Some(received)
}

/// Reads values one after the other; `None` beyond the end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.take(4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let count = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(count)?).ok()?;
        self.take(1)?;
        Some(text)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let count = usize::from(self.u8()?);
        let text = std::str::from_utf8(self.take(count)?).ok()?;
        self.take(1)?;
        Some(text)
    }
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("messages that are written are far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let mut body = Writer::default();
        body.text("a.scope");
        body.properties(&[Property { name: "P".into(), value: Value::Number(7) }]);
        let call = Call {
            destination: "d.d",
            path: "/p",
            interface: "i.i",
            member: "M",
            signature: "sa(sv)",
            body,
        };
        let bytes = call.encode(5);
        let prologue: [u8; PROLOGUE_LEN] = bytes[..PROLOGUE_LEN].try_into().unwrap();
        assert_eq!(&prologue[..4], b"l\x01\x00\x01");
        assert_eq!(rest_len(&prologue), Some(bytes.len() - PROLOGUE_LEN));
        let received = decode(&prologue, &bytes[PROLOGUE_LEN..]).unwrap();
        assert_eq!(received.member, "M");
        let mut reader = Reader::new(&received.body);
        assert_eq!(reader.text(), Some("a.scope"));
        // length 24: "P" with its length, the variant's signature, and a number aligned to eight
        assert_eq!(reader.u32(), Some(24));
        assert_eq!(received.body.len(), 40);
        assert_eq!(received.body[32..], 7u64.to_le_bytes());
    }

    #[test]
    fn values_are_aligned_by_their_types() {
        let written = |value: Value| {
            let mut writer = Writer::default();
            writer.variant(&value);
            writer.bytes
        };
        assert_eq!(written(Value::Byte(7)), b"\x01y\0\x07");
        assert_eq!(written(Value::I16(-2)), b"\x01n\0\0\xfe\xff");
        assert_eq!(written(Value::U32(7)), b"\x01u\0\0\x07\0\0\0");
        // The array's length leaves out what aligns its first element.
        let mut writer = Writer::default();
        writer.u32(9);
        writer.variant(&Value::Array('x', vec![Value::I64(1)]));
        let bytes = b"\x09\0\0\0\x02ax\0\x08\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0";
        assert_eq!(writer.bytes, bytes);
        let texts = Value::Array('s', vec![Value::Text("a".into()), Value::Text("b".into())]);
        let bytes = b"\x02as\0\x0e\0\0\0\x01\0\0\0a\0\0\0\x01\0\0\0b\0";
        assert_eq!(written(texts), bytes);
    }

    #[test]
    fn broken_messages_are_no_messages() {
        let good = Call {
            destination: "d",
            path: "/",
            interface: "i",
            member: "M",
            signature: "",
            body: Writer::default(),
        }
        .encode(1);
        let prologue: [u8; PROLOGUE_LEN] = good[..PROLOGUE_LEN].try_into().unwrap();
        let rest = &good[PROLOGUE_LEN..];
        for cut in 0..rest.len() {
            // Without its end a message may lack only padding.
            let _ = decode(&prologue, &rest[..cut]);
        }
        for (at, byte) in [(0, b'B'), (3, 2), (7, 0xff), (15, 0xff)] {
            let mut broken = prologue;
            broken[at] = byte;
            assert_eq!(rest_len(&broken), None, "byte {at}");
        }
    }
}
