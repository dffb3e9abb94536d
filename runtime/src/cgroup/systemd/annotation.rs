//! Properties of the unit that annotations ask for, by runc's convention: an annotation
//! `org.systemd.property.NAME` has the value in GVariant's text form
//! (docs.gtk.org/glib/gvariant-text-format.html), such as `uint64 5000000`, `'inactive-or-failed'`
//! or `['a.service', 'b.service']`. A time in seconds (`TimeoutStopSec`) is told to systemd as it
//! wants it, in microseconds (`TimeoutStopUSec`).
//!
//! Pure. Deliberately absent: tuples, dictionaries and arrays of arrays, which no property of a
//! scope has.

use std::collections::BTreeMap;

use super::property::{Property, Value};

/// How the names of such annotations begin.
const PREFIX: &str = "org.systemd.property.";

/// The shortest name that can be one.
const NAME_LEN_MIN: usize = 3;

/// How much of a value an error repeats.
const TOLD_CHARS_MAX: usize = 80;

/// The keywords of types, and D-Bus's letters for them.
const TYPES: [(&str, &str); 10] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
];

/// Properties that say which processes the scope has, and where it and its groups are: the runtime
/// relies on those that it has set.
const OWN: [&str; 6] =
    ["PIDs", "PIDFDs", "Slice", "Delegate", "DelegateControllers", "DelegateSubgroup"];

/// The properties, in the order of the annotations' names.
///
/// # Errors
/// What is wrong, for each annotation by its name.
pub fn asked(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, Vec<String>> {
    let (mut properties, mut wrong) = (Vec::new(), Vec::new());
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        match property(name, text) {
            Ok(property) => properties.push(property),
            Err(why) => {
                let begin: String = text.chars().take(TOLD_CHARS_MAX).collect();
                wrong.push(format!("annotations.{key}: {why}: {begin:?}"));
            }
        }
    }
    if wrong.is_empty() { Ok(properties) } else { Err(wrong) }
}

fn property(name: &str, text: &str) -> Result<Property, &'static str> {
    if name.len() < NAME_LEN_MIN || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("the name after org.systemd.property. must be three letters or more");
    }
    if OWN.contains(&name) {
        return Err("the runtime sets this property by itself");
    }
    let mut reader = Reader { rest: text };
    let value = reader.value()?;
    if !reader.rest.trim_start().is_empty() {
        return Err("something follows the value");
    }
    // Not so `…USec`, which is in microseconds already.
    let seconds =
        name.strip_suffix("Sec").filter(|stem| stem.ends_with(|c: char| c.is_lowercase()));
    Ok(match seconds {
        Some(stem) => Property { name: format!("{stem}USec").into(), value: microseconds(&value)? },
        None => Property { name: name.to_owned().into(), value },
    })
}

fn microseconds(seconds: &Value) -> Result<Value, &'static str> {
    const SECOND_US: u64 = 1_000_000;
    let whole = |seconds: Option<u64>| seconds.and_then(|s| s.checked_mul(SECOND_US));
    let number = match seconds {
        Value::Byte(n) => whole(Some(u64::from(*n))),
        Value::U16(n) => whole(Some(u64::from(*n))),
        Value::U32(n) => whole(Some(u64::from(*n))),
        Value::Number(n) => whole(Some(*n)),
        Value::I16(n) => whole(u64::try_from(*n).ok()),
        Value::I32(n) => whole(u64::try_from(*n).ok()),
        Value::I64(n) => whole(u64::try_from(*n).ok()),
        Value::Double(bits) => Some(f64::from_bits(*bits) * SECOND_US as f64)
            .filter(|us| (0.0..u64::MAX as f64).contains(us))
            .map(|us| us as u64),
        _ => None,
    };
    number.map(Value::Number).ok_or("a time is expected, as a number of seconds")
}

/// Takes a text apart from its front. However deep a text nests, nothing in it calls itself.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value, &'static str> {
        let said = self.type_said()?;
        match self.rest.starts_with('[') {
            true => self.array(said),
            false => self.scalar(said),
        }
    }

    /// The type that stands before a value, as a D-Bus signature.
    fn type_said(&mut self) -> Result<Option<&'a str>, &'static str> {
        self.rest = self.rest.trim_start();
        let mut ahead = Reader { rest: self.rest };
        let said = if self.rest.starts_with('@') {
            let signature = &ahead.word(|c| !c.is_whitespace())[1..];
            let element = signature.strip_prefix('a').unwrap_or(signature);
            if !TYPES.iter().any(|(_, letter)| *letter == element) {
                return Err("the type is none of b y n q i u x t d s, nor an array of one");
            }
            signature
        } else {
            let word = ahead.word(|c| c.is_ascii_alphanumeric());
            let Some((_, letter)) = TYPES.iter().find(|(name, _)| *name == word) else {
                return Ok(None);
            };
            letter
        };
        self.rest = ahead.rest.trim_start();
        Ok(Some(said))
    }

    /// A value that is no array, but for a byte string.
    fn scalar(&mut self, wanted: Option<&str>) -> Result<Value, &'static str> {
        match self.rest.chars().next() {
            Some('\'' | '"') => match wanted {
                None | Some("s") => self.text().map(Value::Text),
                Some(_) => Err(OTHER_TYPE),
            },
            Some('b') if self.rest[1..].starts_with(['\'', '"']) => {
                if wanted.is_some_and(|wanted| wanted != "ay") {
                    return Err(OTHER_TYPE);
                }
                self.rest = &self.rest[1..];
                // A byte string of D-Bus ends with a NUL.
                let bytes = self.text()?.into_bytes();
                Ok(Value::Bytes(bytes.into_iter().chain([0]).collect()))
            }
            Some(c) if c.is_ascii_alphabetic() => {
                match (self.word(|c| c.is_ascii_alphanumeric()), wanted) {
                    (word @ ("true" | "false"), None | Some("b")) => {
                        Ok(Value::Bool(word == "true"))
                    }
                    ("true" | "false", Some(_)) => Err(OTHER_TYPE),
                    _ => Err("a text needs quotes, and this word is no type"),
                }
            }
            Some(_) => self.number(wanted),
            None => Err("a value is missing"),
        }
    }

    fn array(&mut self, wanted: Option<&str>) -> Result<Value, &'static str> {
        const NESTED: &str = "an array of arrays is not supported";
        let mut element = match wanted.map(|wanted| wanted.strip_prefix('a')) {
            Some(None) => return Err(OTHER_TYPE),
            Some(Some(element)) => element.chars().next(),
            None => None,
        };
        self.rest = &self.rest[1..];
        let mut values = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(']') {
                self.rest = rest;
                break;
            }
            if !values.is_empty() {
                self.rest = self.rest.strip_prefix(',').ok_or("a comma or ] is missing")?;
            }
            let said = self.type_said()?;
            if self.rest.starts_with('[') {
                return Err(NESTED);
            }
            let mut letter = [0; 4];
            let known = element.map(|letter_of| &*letter_of.encode_utf8(&mut letter));
            if said.is_some() && known.is_some() && said != known {
                return Err(OTHER_TYPE);
            }
            let value = self.scalar(said.or(known))?;
            element = Some(value.letter().ok_or(NESTED)?);
            values.push(value);
        }
        Ok(Value::Array(element.ok_or("an empty array needs its type, as in @as []")?, values))
    }

    fn number(&mut self, wanted: Option<&str>) -> Result<Value, &'static str> {
        let word = self.word(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let is_hex = word.trim_start_matches(['+', '-']).starts_with("0x");
        let is_double = !is_hex && word.contains(['.', 'e', 'E']);
        let letter = wanted.unwrap_or(if is_double { "d" } else { "i" });
        if letter == "d" {
            return double(word);
        }
        let number = integer(word).ok_or("it is no number, and a text needs quotes")?;
        match letter {
            "y" => number.try_into().map(Value::Byte),
            "n" => number.try_into().map(Value::I16),
            "q" => number.try_into().map(Value::U16),
            "i" => number.try_into().map(Value::I32),
            "u" => number.try_into().map(Value::U32),
            "x" => number.try_into().map(Value::I64),
            "t" => number.try_into().map(Value::Number),
            _ => return Err(OTHER_TYPE),
        }
        .map_err(|_| "the number is out of the range of its type")
    }

    /// A text in quotes, with the escapes of C and of Unicode.
    fn text(&mut self) -> Result<String, &'static str> {
        const NO_ESCAPE: &str = "a backslash is followed by what is no escape";
        let mut chars = self.rest.chars();
        let quote = chars.next();
        let mut text = String::new();
        loop {
            let c = match chars.next() {
                None => return Err("the closing quote is missing"),
                end if end == quote => break,
                Some('\\') => match chars.next() {
                    Some('a') => '\u{7}',
                    Some('b') => '\u{8}',
                    Some('f') => '\u{c}',
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('v') => '\u{b}',
                    Some(c @ ('\\' | '\'' | '"')) => c,
                    Some(c @ ('u' | 'U')) => {
                        let digits = if c == 'u' { 4 } else { 8 };
                        let hex: String = chars.by_ref().take(digits).collect();
                        let code = (hex.len() == digits).then(|| u32::from_str_radix(&hex, 16));
                        let code = code.and_then(Result::ok).and_then(char::from_u32);
                        code.ok_or(NO_ESCAPE)?
                    }
                    _ => return Err(NO_ESCAPE),
                },
                Some(c) => c,
            };
            text.push(c);
        }
        self.rest = chars.as_str();
        if text.contains('\0') { Err("a text has a NUL") } else { Ok(text) }
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }
}

const OTHER_TYPE: &str = "the value is not of its type";

fn double(word: &str) -> Result<Value, &'static str> {
    let number = word.parse::<f64>().map_err(|_| "it is no number")?;
    Ok(Value::Double(number.to_bits()))
}

/// A whole number: decimal, or as in C hexadecimal or octal.
fn integer(word: &str) -> Option<i128> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let (digits, radix) = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (digits, 10),
    };
    // The library would take a second sign.
    let is_plain = digits.starts_with(|c: char| c.is_ascii_alphanumeric());
    i128::from_str_radix(digits, radix).ok().filter(|_| is_plain).map(|number| sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_for(name: &str, text: &str) -> Result<Vec<Property>, Vec<String>> {
        asked(&BTreeMap::from([(format!("{PREFIX}{name}"), text.to_owned())]))
    }

    #[track_caller]
    fn check(name: &str, text: &str, expected_name: &'static str, expected: Value) {
        let expected = Property { name: expected_name.into(), value: expected };
        assert_eq!(asked_for(name, text), Ok(vec![expected]), "{name}={text}");
    }

    #[test]
    fn values_are_read_in_gvariants_text_form() {
        let text = |text: &str| Value::Text(text.to_owned());
        check("CollectMode", "'inactive-or-failed'", "CollectMode", text("inactive-or-failed"));
        check("Name", r#" "a\"\u00e9\n" "#, "Name", text("a\"é\n"));
        check("TimeoutStopUSec", "uint64 5000000", "TimeoutStopUSec", Value::Number(5_000_000));
        check("Flag", "true", "Flag", Value::Bool(true));
        check("Number", "-7", "Number", Value::I32(-7));
        check("Number", "byte 0xff", "Number", Value::Byte(255));
        check("Number", "@q 017", "Number", Value::U16(15));
        check("Number", "1.5", "Number", Value::Double(1.5f64.to_bits()));
        let array = Value::Array('s', vec![text("a.service"), text("b.service")]);
        check("After", "['a.service', 'b.service']", "After", array);
        check("After", "@as []", "After", Value::Array('s', vec![]));
        let numbers = Value::Array('u', vec![Value::U32(1), Value::U32(2)]);
        check("Pids", "[uint32 1, 2]", "Pids", numbers);
        check("Bytes", "b'ab'", "Bytes", Value::Bytes(b"ab\0".to_vec()));
    }

    #[test]
    fn seconds_become_microseconds() {
        check("TimeoutStopSec", "90", "TimeoutStopUSec", Value::Number(90_000_000));
        check("TimeoutStopSec", "0.25", "TimeoutStopUSec", Value::Number(250_000));
        check("TimeoutStopSec", "uint16 1", "TimeoutStopUSec", Value::Number(1_000_000));
        for wrong in ["-1", "'1min'", "1e300", "uint64 18446744073709551615"] {
            let told = asked_for("TimeoutStopSec", wrong).unwrap_err();
            assert!(told[0].contains("as a number of seconds"), "{told:?}");
        }
    }

    #[test]
    fn what_is_no_property_is_refused_by_its_name() {
        for (name, text) in [
            ("ab", "1"),
            ("PIDs", "[uint32 1]"),
            ("Slice", "'other.slice'"),
            ("Two.Words", "1"),
            ("Name", ""),
            ("Name", "word"),
            ("Name", "'open"),
            ("Name", "'a' 'b'"),
            ("Name", "'\\x'"),
            ("Name", "'\\u12'"),
            ("Name", "'\\u0000'"),
            ("Name", "byte 256"),
            ("Name", "byte 'x'"),
            ("Name", "uint32 -1"),
            ("Name", "--1"),
            ("Name", "@(ss) ('a', 'b')"),
            ("Name", "@aas [['a']]"),
            ("Name", "['a', 1]"),
            ("Name", "[['a']]"),
            ("Name", "['a' 'b']"),
            ("Name", "[]"),
            ("Name", "["),
            ("Name", "{'a': 1}"),
            ("Name", "é"),
            ("Name", "bé"),
            ("Name", "byte byte 1"),
            ("Name", "@s @s 'a'"),
            ("Name", &"[".repeat(1 << 20)),
            ("Name", &"@as ".repeat(1 << 20)),
        ] {
            let told = asked_for(name, text).unwrap_err();
            assert!(told[0].starts_with(&format!("annotations.{PREFIX}{name}: ")), "{told:?}");
        }
        let other = BTreeMap::from([("org.example".to_owned(), "[".to_owned())]);
        assert_eq!(asked(&other), Ok(vec![]));
    }
}
