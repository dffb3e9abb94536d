//! `loadline.exec.v1`: a session as WebSocket messages. Both sides' texts are JSON.
//!
//! ```text
//!  client   first {"token": T, "rows": R, "columns": C}; the sizes only where there is a terminal
//!           binary: 0x00 and input    {"resize": {"rows": R, "columns": C}}    {"inputEnd": true}
//!  server   {"started": true}    binary: 0x01 and stdout, 0x02 and stderr
//!           last {"exitCode": N} or {"error": "why"}; then the WebSocket is closed
//! ```

use loadline_proto::convert::{EXEC_DATA_BYTES_MAX, ExecEnd, ExecInput, WindowSize};
use serde::Deserialize;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// Its name.
pub(super) const PROTOCOL: &str = "loadline.exec.v1";

const STDIN: u8 = 0;
/// What a piece of output begins with.
pub(super) const STDOUT: u8 = 1;
/// The same for standard error.
pub(super) const STDERR: u8 = 2;

/// The first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) token: String,
    pub(super) size: Option<WindowSize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpeningText {
    token: String,
    rows: Option<u16>,
    columns: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
enum InputText {
    Resize(SizeText),
    InputEnd(End),
}

/// `true`, the only value that says something.
#[derive(Deserialize)]
#[serde(try_from = "bool")]
struct End;

impl TryFrom<bool> for End {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Ok(Self) } else { Err("inputEnd is true, or is not there") }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SizeText {
    rows: u16,
    columns: u16,
}

/// Reads the first message.
///
/// # Errors
/// What is wrong with it.
pub(super) fn opening(message: &Message) -> Result<Opening, String> {
    let Message::Text(text) = message else {
        return Err("the first message has to be a text with the token".to_owned());
    };
    let read: OpeningText =
        serde_json::from_str(text).map_err(|error| format!("the first message: {error}"))?;
    let size = match (read.rows, read.columns) {
        (Some(rows), Some(columns)) => Some(size(rows, columns)?),
        (None, None) => None,
        _ => return Err("the first message: rows and columns go together".to_owned()),
    };
    Ok(Opening { token: read.token, size })
}

/// Reads one that is not the first; `None` for what is about the WebSocket alone.
///
/// # Errors
/// What is wrong with it.
pub(super) fn input(message: Message) -> Result<Option<ExecInput>, String> {
    Ok(Some(match message {
        Message::Binary(bytes) => match bytes.split_first() {
            Some((&STDIN, data)) if data.len() <= EXEC_DATA_BYTES_MAX => {
                ExecInput::Stdin(data.to_vec())
            }
            Some((&STDIN, _)) => {
                return Err(format!("a piece of input has at most {EXEC_DATA_BYTES_MAX} bytes"));
            }
            _ => return Err("a binary message has to begin with 0x00".to_owned()),
        },
        Message::Text(text) => match serde_json::from_str(&text) {
            Ok(InputText::Resize(to)) => ExecInput::Resize(size(to.rows, to.columns)?),
            Ok(InputText::InputEnd(End)) => ExecInput::StdinEnd,
            Err(error) => return Err(format!("a text message: {error}")),
        },
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
            return Ok(None);
        }
    }))
}

fn size(rows: u16, columns: u16) -> Result<WindowSize, String> {
    if rows == 0 || columns == 0 {
        return Err("a terminal has at least one row and one column".to_owned());
    }
    Ok(WindowSize { rows, columns })
}

/// The program runs.
pub(super) fn started() -> Message {
    Message::Text(json!({ "started": true }).to_string().into())
}

/// A piece of output.
pub(super) fn output(stream: u8, bytes: &[u8]) -> Message {
    let mut message = Vec::with_capacity(1 + bytes.len());
    message.push(stream);
    message.extend_from_slice(bytes);
    Message::Binary(Bytes::from(message))
}

/// The last.
pub(super) fn end(end: &ExecEnd) -> Message {
    let text = match end {
        ExecEnd::Code(code) => json!({ "exitCode": code }),
        ExecEnd::Failed(why) => json!({ "error": why }),
    };
    Message::Text(text.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Message {
        Message::Text(text.into())
    }

    #[test]
    fn the_first_message_has_the_token_and_perhaps_a_size() {
        let size = Some(WindowSize { rows: 24, columns: 80 });
        for (message, expected) in [
            (r#"{"token":"t"}"#, Some(None)),
            (r#"{"token":"t","rows":24,"columns":80}"#, Some(size)),
            (r#"{"token":"t","rows":24}"#, None),
            (r#"{"token":"t","rows":0,"columns":80}"#, None),
            (r#"{"token":"t","rows":70000,"columns":80}"#, None),
            (r#"{"token":"t","more":1}"#, None),
            (r#"{"rows":24,"columns":80}"#, None),
            ("", None),
        ] {
            let read = opening(&text(message)).ok();
            assert_eq!(read.as_ref().map(|opening| opening.size), expected, "{message}");
            assert!(read.is_none_or(|opening| opening.token == "t"));
        }
        assert!(opening(&Message::Binary(Bytes::from_static(b"\0x"))).is_err());
    }

    #[test]
    fn input_is_read_as_it_is_meant_and_nonsense_is_refused() {
        let binary = |bytes: &[u8]| Message::Binary(Bytes::copy_from_slice(bytes));
        let size = WindowSize { rows: 1, columns: 2 };
        for (message, expected) in [
            (binary(b"\0ls\n"), Some(ExecInput::Stdin(b"ls\n".to_vec()))),
            (binary(b"\0"), Some(ExecInput::Stdin(vec![]))),
            (text(r#"{"resize":{"rows":1,"columns":2}}"#), Some(ExecInput::Resize(size))),
            (text(r#"{"inputEnd":true}"#), Some(ExecInput::StdinEnd)),
            (Message::Ping(Bytes::new()), None),
        ] {
            assert_eq!(input(message).unwrap(), expected);
        }
        let large = vec![0; EXEC_DATA_BYTES_MAX + 2];
        for message in [binary(b""), binary(b"\x01x"), binary(&large), text("{}"), text("[]")] {
            assert!(input(message).is_err());
        }
    }
}
