//! IAM's rules for names, paths and documents; pages; and its words for what is refused.

use loadline_model::KeyValue;

use super::values::{FormInt, Tag};
use crate::api::{ApiError, Code};
use crate::iam::{IdentityKind, PolicyKind, PolicyText, Refusal};

/// Longest names (AWS: 64 for users and roles, 128 for policies, groups and instance profiles).
const IDENTITY_NAME_CHARS_MAX: usize = 64;
const GROUP_NAME_CHARS_MAX: usize = 128;
pub(super) const POLICY_NAME_CHARS_MAX: usize = 128;
const PATH_CHARS_MAX: usize = 512;
const DESCRIPTION_CHARS_MAX: usize = 1000;
/// Largest documents (AWS: 6,144 for managed and 2,048 for trust policies, without white space).
pub(super) const MANAGED_CHARS_MAX: usize = 6144;
pub(super) const TRUST_CHARS_MAX: usize = 2048;
pub(super) const INLINE_CHARS_MAX: usize = 10_240;
/// Largest document with its white space, in characters (AWS's own bound).
const DOCUMENT_CHARS_MAX: usize = 131_072;
const TAGS_MAX: usize = 50;
/// Most items of a page, and how many where the caller does not say.
const ITEMS_MAX: i64 = 1000;
const ITEMS_DEFAULT: i64 = 100;

/// What the engine refused, with IAM's code.
pub(in crate::api) fn refusal(refusal: &Refusal) -> ApiError {
    let code = match refusal {
        Refusal::NotFound { .. } => Code::of("NoSuchEntity", 404),
        Refusal::Exists { .. } => Code::of("EntityAlreadyExists", 409),
        Refusal::Conflict(_) => Code::of("DeleteConflict", 409),
        Refusal::Limit { .. } => Code::of("LimitExceeded", 409),
        Refusal::Invalid(_) => Code::of("InvalidInput", 400),
    };
    ApiError::new(code, refusal)
}

pub(super) fn not_found(what: &'static str, name: &str) -> ApiError {
    refusal(&Refusal::NotFound { what, name: name.to_owned() })
}

fn name(field: &str, text: &str, max: usize) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if text.is_empty() || max < text.chars().count() || !text.chars().all(allowed) {
        return Err(ApiError::invalid(format_args!(
            "The specified value for {field} is invalid. It must contain only alphanumeric \
             characters and/or the following: +=,.@_- (1 to {max} characters)"
        )));
    }
    Ok(())
}

pub(super) fn identity_name(kind: IdentityKind, text: &str) -> Result<(), ApiError> {
    let field = match kind {
        IdentityKind::User => "userName",
        IdentityKind::Role => "roleName",
        IdentityKind::Group => "groupName",
        IdentityKind::Profile => "instanceProfileName",
    };
    let max = match kind {
        IdentityKind::User | IdentityKind::Role => IDENTITY_NAME_CHARS_MAX,
        IdentityKind::Group | IdentityKind::Profile => GROUP_NAME_CHARS_MAX,
    };
    name(field, text, max)
}

pub(super) fn policy_name(text: &str) -> Result<(), ApiError> {
    name("policyName", text, POLICY_NAME_CHARS_MAX)
}

pub(super) fn path(path: Option<String>) -> Result<String, ApiError> {
    let path = path.unwrap_or_else(|| "/".to_owned());
    let allowed = |c: char| ('\u{21}'..='\u{7e}').contains(&c) && c != '*' && c != '?' && c != ':';
    let whole = path.starts_with('/') && path.ends_with('/') && !path.contains("//");
    if !whole || PATH_CHARS_MAX < path.chars().count() || !path.chars().all(allowed) {
        return Err(ApiError::invalid(
            "The specified value for path is invalid. It must begin and end with / and contain \
             only alphanumeric characters and/or / characters.",
        ));
    }
    Ok(path)
}

pub(super) fn description(text: Option<String>) -> Result<String, ApiError> {
    let text = text.unwrap_or_default();
    if DESCRIPTION_CHARS_MAX < text.chars().count() {
        let message = format!("description must have at most {DESCRIPTION_CHARS_MAX} characters");
        return Err(ApiError::invalid(message));
    }
    Ok(text)
}

pub(super) fn document(text: &str, kind: PolicyKind, max: usize) -> Result<PolicyText, ApiError> {
    let dense = text.chars().filter(|c| !c.is_whitespace()).count();
    if max < dense || DOCUMENT_CHARS_MAX < text.chars().count() {
        let message = format!("Cannot exceed quota for PolicySize: {max}");
        return Err(ApiError::new(Code::of("LimitExceeded", 409), message));
    }
    PolicyText::parse(text, kind)
        .map_err(|bad| ApiError::new(Code::of("MalformedPolicyDocument", 400), bad))
}

/// 900 is AWS's least for a session, 3,600 its least for a role's longest one.
pub(super) fn session_s_max(seconds: Option<FormInt>) -> Result<Option<u32>, ApiError> {
    let Some(FormInt(seconds)) = seconds else { return Ok(None) };
    let good = u32::try_from(seconds).ok().filter(|s| (3600..=43_200).contains(s));
    good.map(Some).ok_or_else(|| {
        ApiError::invalid("maxSessionDuration must be between 3600 and 43200 seconds")
    })
}

pub(super) fn tags(tags: Option<Vec<Tag>>) -> Result<Vec<KeyValue>, ApiError> {
    let tags = tags.unwrap_or_default();
    if TAGS_MAX < tags.len() {
        return Err(ApiError::invalid(format_args!("tags: at most {TAGS_MAX}")));
    }
    let mut read: Vec<KeyValue> = Vec::new();
    for Tag { key, value } in tags {
        if key.is_empty() || 128 < key.chars().count() || 256 < value.chars().count() {
            let message = "a tag's key has 1 to 128 characters and its value at most 256";
            return Err(ApiError::invalid(message));
        }
        if read.iter().any(|have| have.name == key) {
            let message =
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(ApiError::new(Code::of("InvalidInput", 400), message));
        }
        read.push(KeyValue { name: key, value });
    }
    Ok(read)
}

/// One page of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) marker: Option<String>,
}

/// Takes a page of what comes in the order of its keys. The marker is the last key of the page
/// before.
pub(super) fn page<T>(
    items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> String,
    marker: Option<&str>,
    max: Option<FormInt>,
) -> Result<Page<T>, ApiError> {
    let max = max.map_or(ITEMS_DEFAULT, |FormInt(max)| max);
    if !(1..=ITEMS_MAX).contains(&max) {
        let message = format!("maxItems must be between 1 and {ITEMS_MAX}");
        return Err(ApiError::invalid(message));
    }
    let max = usize::try_from(max).unwrap_or(1);
    let after = |item: &T| marker.is_none_or(|marker| *marker < *key(item));
    let mut items: Vec<T> = items.filter(after).take(max + 1).collect();
    let more = max < items.len();
    items.truncate(max);
    let marker = items.last().filter(|_| more).map(key);
    Ok(Page { items, marker })
}

/// Percent-encoded, as IAM gives policy documents back.
pub(super) fn encoded(text: &str) -> String {
    const KEPT: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encoding::utf8_percent_encode(text, &KEPT).to_string()
}
