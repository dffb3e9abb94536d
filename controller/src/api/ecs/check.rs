//! AWS's rules for texts and lists that more than one operation takes.

use loadline_model::KeyValue;

use super::shapes::Tag;
use crate::api::ApiError;
use crate::command::TAGS_MAX;

const CLIENT_TOKEN_CHARS_MAX: usize = 64;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;

/// Tags as AWS takes them: distinct keys of the allowed characters, none that begins with `aws:`.
pub(super) fn tags(tags: Option<Vec<Tag>>) -> Result<Vec<KeyValue>, ApiError> {
    let tags = tags.unwrap_or_default();
    if TAGS_MAX < tags.len() {
        return Err(ApiError::invalid(format_args!("tags: at most {TAGS_MAX}")));
    }
    let mut read: Vec<KeyValue> = Vec::with_capacity(tags.len());
    for (index, tag) in tags.into_iter().enumerate() {
        let bad = |why: &str| Err(ApiError::invalid(format_args!("tags[{index}]{why}")));
        let (key, value) = (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
        let chars = key.chars().count();
        if chars == 0 || TAG_KEY_CHARS_MAX < chars {
            return bad(".key must have 1 to 128 characters");
        }
        if TAG_VALUE_CHARS_MAX < value.chars().count() {
            return bad(".value must have at most 256 characters");
        }
        if !key.chars().chain(value.chars()).all(is_tag_char) {
            return bad(": only letters, digits, spaces and _.:/=+-@ are allowed");
        }
        if key.to_lowercase().starts_with("aws:") {
            return bad(".key must not begin with aws:");
        }
        if read.iter().any(|have| have.name == key) {
            return bad(".key is there twice");
        }
        read.push(KeyValue { name: key, value });
    }
    Ok(read)
}

fn is_tag_char(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c)
}

/// Whether `include` asks for TAGS; another word of AWS's is refused as not supported, and one
/// that is none as wrong.
pub(super) fn include_tags(
    include: Option<&[String]>,
    unsupported: &[&str],
) -> Result<bool, ApiError> {
    let mut tags = false;
    for word in include.unwrap_or_default() {
        match word.as_str() {
            "TAGS" => tags = true,
            word if unsupported.contains(&word) => {
                return Err(ApiError::unsupported(format_args!("include {word}")));
            }
            word => return Err(ApiError::invalid(format_args!("include has no value {word:?}"))),
        }
    }
    Ok(tags)
}

/// A list that must hold 1 to `max` items.
pub(super) fn count(field: &str, items: &[String], max: usize) -> Result<(), ApiError> {
    match items.len() {
        0 => Err(ApiError::invalid(format_args!("{field} can not be empty."))),
        n if max < n => {
            Err(ApiError::invalid(format_args!("{field} can have at most {max} items.")))
        }
        _ => Ok(()),
    }
}

/// A text of at most `max` characters, none of them a control character.
pub(super) fn text(field: &str, text: &str, max: usize) -> Result<(), ApiError> {
    if max < text.chars().count() {
        return Err(ApiError::invalid(format_args!("{field} must have at most {max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::invalid(format_args!("{field} must not have control characters")));
    }
    Ok(())
}

/// A token that makes a repeated call harmless.
pub(super) fn client_token(token: Option<String>) -> Result<Option<String>, ApiError> {
    let token = token.filter(|token| !token.is_empty());
    if let Some(token) = token.as_deref() {
        let printable = token.bytes().all(|b| b.is_ascii_graphic());
        if CLIENT_TOKEN_CHARS_MAX < token.len() || !printable {
            return Err(ApiError::invalid(format_args!(
                "clientToken must have at most {CLIENT_TOKEN_CHARS_MAX} printable ASCII characters"
            )));
        }
    }
    Ok(token)
}

/// A field of which AWS has more values than Loadline serves.
pub(super) fn one_of(
    field: &str,
    value: Option<&str>,
    served: &[&str],
    known: &[&str],
) -> Result<(), ApiError> {
    match value {
        None => Ok(()),
        Some(value) if served.contains(&value) => Ok(()),
        Some(value) if known.contains(&value) => {
            Err(ApiError::unsupported(format_args!("{field} {value}")))
        }
        Some(value) => Err(ApiError::invalid(format_args!("{field} has no value {value:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[(&str, &str)], expected: Result<usize, &str>) {
        let given = given
            .iter()
            .map(|(key, value)| Tag { key: Some((*key).into()), value: Some((*value).into()) })
            .collect();
        let got = tags(Some(given)).map(|tags| tags.len()).map_err(|error| error.message);
        assert_eq!(got, expected.map_err(ToOwned::to_owned));
    }

    #[test]
    fn tags_follow_awss_rules_at_the_bound_and_one_past_it() {
        let (key, value) = ("k".repeat(128), "v".repeat(256));
        check(&[(&key, &value), ("Größe", "a b")], Ok(2));
        check(&[(&format!("{key}k"), "")], Err("tags[0].key must have 1 to 128 characters"));
        check(&[("", "")], Err("tags[0].key must have 1 to 128 characters"));
        let long = format!("{value}v");
        check(&[("k", &long)], Err("tags[0].value must have at most 256 characters"));
        check(&[("a", ""), ("a", "")], Err("tags[1].key is there twice"));
        check(&[("AWS:x", "")], Err("tags[0].key must not begin with aws:"));
        let chars = "tags[0]: only letters, digits, spaces and _.:/=+-@ are allowed";
        check(&[("a", "<b>")], Err(chars));
        let keys: Vec<String> = (0..51).map(|n| format!("k{n}")).collect();
        let many: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "")).collect();
        check(&many[..50], Ok(50));
        check(&many, Err("tags: at most 50"));
    }
}
