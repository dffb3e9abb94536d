//! A text that is JSON, and not of the form that is decoded: what serde says of it, with the path
//! of the property, and without the names of this program's types.

use serde::de::Error as _;
use serde_json::error::Category;

/// The error with the path in `text` of what it is about. Only where something is wrong is the text
/// looked at again: up to where the decoder stood.
pub(crate) fn told(text: &str, error: serde_json::Error) -> serde_json::Error {
    if error.classify() != Category::Data || error.line() == 0 {
        return error;
    }
    let full = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = full.strip_suffix(&place).unwrap_or(&full);
    let path = path_at(text, error.line(), error.column());
    let name = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    serde_json::Error::custom(match (name, path.is_empty()) {
        (Some(name), true) => format!("{name}: it is missing"),
        (Some(name), false) => format!("{path}.{name}: it is missing"),
        (None, true) => in_words(message),
        (None, false) => format!("{path}: {}", in_words(message)),
    })
}

/// serde's message without words of Rust.
fn in_words(message: &str) -> String {
    let message = message.replace("unknown variant", "unknown value");
    let Some((found, expected)) = message.split_once(", expected ") else { return message };
    let found = match found.strip_prefix("invalid type: ") {
        Some("map") => "invalid type: object",
        Some("sequence") => "invalid type: array",
        _ => found,
    };
    let range = |max: u64| format!("a whole number from 0 to {max}");
    let expected = match expected {
        "u8" => range(u8::MAX.into()),
        "u16" => range(u16::MAX.into()),
        "u32" => range(u32::MAX.into()),
        "u64" | "usize" => range(u64::MAX),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "an object".to_owned(),
        _ if expected.starts_with("struct ") => "an object".to_owned(),
        _ if expected.starts_with("enum ") => "one of its words".to_owned(),
        _ => expected.to_owned(),
    };
    format!("{found}, expected {expected}")
}

/// A value that is open where the decoder stood.
enum Open<'t> {
    /// An object, and the key in it, as it is written.
    Object(&'t str),
    /// An array, and the number of the element.
    Array(usize),
}

/// The path of what is at a place, or ends there: `mounts[3].options`.
fn path_at(text: &str, line: usize, column: usize) -> String {
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let end = (before + column).min(text.len());
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut takes_key = false;
    let mut at = 0;
    while at < end {
        let start = at;
        at += 1;
        match text.as_bytes()[start] {
            b'{' => {
                open.push(Open::Object(""));
                takes_key = true;
            }
            b'[' => {
                open.push(Open::Array(0));
                takes_key = false;
            }
            b'}' | b']' => {
                open.pop();
                takes_key = false;
            }
            b',' => match open.last_mut() {
                Some(Open::Array(index)) => *index += 1,
                _ => takes_key = true,
            },
            b'"' => {
                let length = string_bytes(&text.as_bytes()[at..]);
                if let (true, Some(Open::Object(key))) = (takes_key, open.last_mut()) {
                    *key = text.get(at..at + length).unwrap_or_default();
                    takes_key = false;
                }
                at += length + 1;
            }
            _ => {}
        }
    }
    let mut path = String::new();
    for value in open {
        match value {
            Open::Object("") => {}
            Open::Object(key) if path.is_empty() => path.push_str(key),
            Open::Object(key) => path.extend([".", key]),
            Open::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// How long the rest of a string is, up to its closing mark.
fn string_bytes(rest: &[u8]) -> usize {
    let mut bytes = rest.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return at,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Spec;
    use serde_json::{Value, json};

    use crate::strict_json::decode;

    /// A configuration with one thing in another form, written in one line and in many.
    fn check(pointer: &str, value: Value, expected: &str) {
        let mut config: Value = decode(include_str!("template.json")).unwrap();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match (config.pointer_mut(parent).unwrap(), &value) {
            (Value::Object(parent), Value::Null) => drop(parent.remove(key)),
            (Value::Object(parent), _) => drop(parent.insert(key.to_owned(), value)),
            (parent, _) => parent[key.parse::<usize>().unwrap()] = value,
        }
        for text in [config.to_string(), format!("{config:#}")] {
            let error = decode::<Spec>(&text).unwrap_err().to_string();
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_path_and_in_words() {
        let resources = "/linux/resources";
        check(
            resources,
            json!({ "memory": { "swap": 5, "limit": "1m" } }),
            "linux.resources.memory.limit: invalid type: string \"1m\", expected a whole number",
        );
        check(
            resources,
            json!({ "memory": { "limit": [1] } }),
            "linux.resources.memory.limit: invalid type: array, expected a whole number",
        );
        check(
            "/process/user/uid",
            json!(-1),
            "process.user.uid: invalid value: integer `-1`, expected a whole number from 0 to \
             4294967295",
        );
        check("/root", json!("r"), "root: invalid type: string \"r\", expected an object");
        check("/process/cwd", Value::Null, "process.cwd: it is missing");
        check(
            "/mounts/1/options/0",
            json!({ "a\"]": ["}"] }),
            "mounts[1].options[0]: invalid type: object, expected a string",
        );
        check("/mounts/1/destination", Value::Null, "mounts[1].destination: it is missing");
    }

    #[test]
    fn an_unknown_word_and_a_property_that_is_there_twice_have_their_path() {
        let config = r#"{ "ociVersion": "1.0.2", "linux": { "namespaces": [ { "type": "pid" },
            { "type": "pidd" } ] } }"#;
        let error = decode::<Spec>(config).unwrap_err().to_string();
        let expected = "linux.namespaces[1].type: unknown value `pidd`, expected one of `";
        assert!(error.starts_with(expected), "{error}");
        let error = decode::<oci_spec::runtime::Process>("{}").unwrap_err().to_string();
        assert_eq!(error, "user: it is missing");
        let config = r#"{ "ociVersion": "1.0.2", "root": { "path": "r", "path": "s" } }"#;
        let error = decode::<Spec>(config).unwrap_err().to_string();
        assert_eq!(error, "root.path: duplicate field `path`");
    }

    #[test]
    fn what_is_no_json_is_told_by_its_place() {
        let error = decode::<Spec>("{ \"root\": {").unwrap_err().to_string();
        assert!(error.contains(" at line 1 column "), "{error}");
    }
}
