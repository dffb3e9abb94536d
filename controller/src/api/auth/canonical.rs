//! The canonical request of AWS Signature Version 4: the one spelling of a request that both sides
//! sign. Pure text work; no clock, no keys.
//!
//! Source: AWS General Reference, "Create a signed AWS API request". For every service but S3 the
//! path is normalised and encoded once more on top of the encoding that it came with.

use std::fmt::Write as _;

use http::HeaderMap;

/// What of a request is signed, as it came over the wire.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The path, still percent-encoded, without the query.
    pub path: &'a str,
    /// The query, still percent-encoded, without the question mark.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// A signed header that the request does not have, or whose value is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signed header {0:?} is missing or is not UTF-8")]
pub struct BadSignedHeader(pub String);

/// The canonical request over these signed headers and the body's hash (lower-case hex).
///
/// # Errors
/// [`BadSignedHeader`] where a signed header can't be read.
pub fn canonical_request(
    head: Head<'_>,
    signed_headers: &[&str],
    payload_hash: &str,
) -> Result<String, BadSignedHeader> {
    let mut text = String::with_capacity(512);
    text.push_str(head.method);
    text.push('\n');
    text.push_str(&canonical_path(head.path));
    text.push('\n');
    text.push_str(&canonical_query(head.query.unwrap_or_default()));
    text.push('\n');
    for name in signed_headers {
        push_header(&mut text, head.headers, name)?;
    }
    text.push('\n');
    text.push_str(&signed_headers.join(";"));
    text.push('\n');
    text.push_str(payload_hash);
    Ok(text)
}

fn push_header(text: &mut String, headers: &HeaderMap, name: &str) -> Result<(), BadSignedHeader> {
    let bad = || BadSignedHeader(name.to_owned());
    let values = headers
        .get_all(name)
        .iter()
        .map(|value| std::str::from_utf8(value.as_bytes()).map(collapse_spaces))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| bad())?;
    if values.is_empty() {
        return Err(bad());
    }
    text.push_str(name);
    text.push(':');
    text.push_str(&values.join(","));
    text.push('\n');
    Ok(())
}

fn collapse_spaces(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn canonical_path(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let trailing = path.ends_with('/') && !kept.is_empty();
    let mut text = String::from("/");
    text.push_str(&encode(kept.join("/").as_bytes(), Slash::Kept));
    if trailing {
        text.push('/');
    }
    text
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        // A presigned request's signature is over all of its query but the signature.
        .filter(|pair| !pair.is_empty() && !pair.starts_with("X-Amz-Signature="))
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let spell = |part: &str| encode(&decode(part), Slash::Encoded);
            (spell(name), spell(value))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slash {
    Kept,
    Encoded,
}

/// RFC 3986 percent-encoding with upper-case hex; the unreserved characters stay.
fn encode(bytes: &[u8], slash: Slash) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            b'/' if slash == Slash::Kept => text.push('/'),
            byte => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Undoes percent-encoding; a `%` that no two hex digits follow stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let mut byte = [0u8];
        if escaped.is_some_and(|two| hex::decode_to_slice(two, &mut byte).is_ok()) {
            out.push(byte[0]);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_normalised_and_encoded_on_top_of_its_own_encoding() {
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/a/./b/../c/", "/a/c/"),
            ("/..", "/"),
            ("/%E1%88%B4", "/%25E1%2588%25B4"),
            ("/a b", "/a%20b"),
            ("/-._~09azAZ", "/-._~09azAZ"),
        ] {
            assert_eq!(canonical_path(path), expected, "{path}");
        }
    }

    #[test]
    fn a_query_is_sorted_by_name_then_value_and_spelt_in_one_way() {
        for (query, expected) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("p=b&p=a", "p=a&p=b"),
            ("flag", "flag="),
            ("a=%7e%2F", "a=~%2F"),
            ("a=1+1", "a=1%2B1"),
            ("a=%zz", "a=%25zz"),
            ("%", "%25="),
        ] {
            assert_eq!(canonical_query(query), expected, "{query}");
        }
    }
}
