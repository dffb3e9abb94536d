//! The Authorization header, or the query of a presigned request: its parts, and every check that
//! needs neither secret nor body.

use http::HeaderMap;
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::{AuthRefusal, CLOCK_SKEW_S_MAX, Head};

/// The only algorithm served.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Longest time that a presigned request holds, in seconds: seven days, as with AWS.
const EXPIRES_S_MAX: i64 = 604_800;

/// Services without a region of their own, and the region that they are signed for.
const GLOBAL_SERVICES: [&str; 2] = ["iam", "sts"];
const GLOBAL_REGION: &str = "us-east-1";

const TIME_FORMAT: &[FormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// What a request says about its signature: in its headers, or (presigned) in its query.
#[derive(Debug)]
pub(super) struct Authorization {
    pub(super) key_id: String,
    /// `YYYYMMDD` of the scope.
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: [u8; 32],
    /// `YYYYMMDD'T'HHMMSS'Z'` of X-Amz-Date.
    pub(super) timestamp: String,
    /// X-Amz-Security-Token.
    pub(super) token: Option<String>,
    /// How long a presigned request holds, in seconds; `None` where it is signed by headers.
    pub(super) expires_s: Option<i64>,
}

/// Reads the parts.
pub(super) fn read(head: Head<'_>) -> Result<Authorization, AuthRefusal> {
    let presigned = |part: &str| part.starts_with("X-Amz-Signature=");
    match head.query {
        Some(query) if query.split('&').any(presigned) => read_query(head.headers, query),
        _ => read_headers(head.headers),
    }
}

fn read_headers(headers: &HeaderMap) -> Result<Authorization, AuthRefusal> {
    let header = one(headers, "authorization")?.ok_or(AuthRefusal::Missing)?;
    let parts = header.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' '));
    let Some(parts) = parts else {
        return incomplete(format!("Authorization must use {ALGORITHM}"));
    };
    let (mut credential, mut signed, mut signature) = (None, None, None);
    for part in parts.split(',') {
        let slot = match part.trim().split_once('=') {
            Some(("Credential", value)) => credential.replace(value),
            Some(("SignedHeaders", value)) => signed.replace(value),
            Some(("Signature", value)) => signature.replace(value),
            _ => return incomplete(format!("Authorization has an unknown part {part:?}")),
        };
        if slot.is_some() {
            return incomplete("Authorization has a part twice");
        }
    }
    let required = |part: Option<&'_ str>, name| match part {
        Some(_) => Ok(()),
        None => incomplete(format!("Authorization header requires '{name}' parameter.")),
    };
    required(credential, "Credential")?;
    required(signature, "Signature")?;
    required(signed, "SignedHeaders")?;
    let timestamp = one(headers, "x-amz-date")?;
    let Some(timestamp) = timestamp else {
        return incomplete("Authorization header requires existence of an 'X-Amz-Date' header.");
    };
    let token = one(headers, "x-amz-security-token")?.map(ToOwned::to_owned);
    let [credential, signed, signature] =
        [credential, signed, signature].map(Option::unwrap_or_default);
    authorization(credential, signed, signature, timestamp, token, None)
}

/// The parameters of a presigned request (General Reference, "Add the signature to the query").
fn read_query(headers: &HeaderMap, query: &str) -> Result<Authorization, AuthRefusal> {
    if headers.contains_key("authorization") {
        return incomplete("a request is signed by its query or by its headers, not by both");
    }
    let mut found = std::collections::BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name.starts_with("X-Amz-") && found.insert(name.into_owned(), value).is_some() {
            return incomplete("the query has an X-Amz- parameter twice");
        }
    }
    let part = |name: &str| match found.get(name) {
        Some(value) => Ok(value.as_ref()),
        None => incomplete(format!("AWS query-string parameters must include '{name}'.")),
    };
    if part("X-Amz-Algorithm")? != ALGORITHM {
        return incomplete(format!("X-Amz-Algorithm must be {ALGORITHM}"));
    }
    let expires_s = part("X-Amz-Expires")?.parse().ok();
    let expires_s = expires_s.filter(|seconds| (1..=EXPIRES_S_MAX).contains(seconds));
    let Some(expires_s) = expires_s else {
        return incomplete(format!("X-Amz-Expires must be between 1 and {EXPIRES_S_MAX} seconds"));
    };
    authorization(
        part("X-Amz-Credential")?,
        part("X-Amz-SignedHeaders")?,
        part("X-Amz-Signature")?,
        part("X-Amz-Date")?,
        found.get("X-Amz-Security-Token").map(ToString::to_string),
        Some(expires_s),
    )
}

fn authorization(
    credential: &str,
    signed: &str,
    signature: &str,
    timestamp: &str,
    token: Option<String>,
    expires_s: Option<i64>,
) -> Result<Authorization, AuthRefusal> {
    let Some([key_id, date, region, service]) = split_credential(credential) else {
        return incomplete("Credential must be KEY_ID/YYYYMMDD/REGION/SERVICE/aws4_request");
    };
    Ok(Authorization {
        key_id: key_id.to_owned(),
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        signed_headers: split_signed(signed)?.into_iter().map(ToOwned::to_owned).collect(),
        signature: decode_signature(signature)?,
        timestamp: timestamp.to_owned(),
        token,
        expires_s,
    })
}

fn incomplete<T>(why: impl Into<String>) -> Result<T, AuthRefusal> {
    Err(AuthRefusal::Incomplete(why.into()))
}

/// The value of a header that may be there at most once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, AuthRefusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return incomplete(format!("the header {name} is there more than once"));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => incomplete(format!("the header {name} is not ASCII")),
    }
}

fn split_credential(credential: &str) -> Option<[&str; 4]> {
    let mut parts = credential.split('/');
    let four = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let whole = parts.next()? == "aws4_request" && parts.next().is_none();
    (whole && four.iter().all(|part| !part.is_empty())).then_some(four)
}

/// Lower case, sorted and distinct: another spelling would be another canonical request.
fn split_signed(list: &str) -> Result<Vec<&str>, AuthRefusal> {
    let names: Vec<&str> = list.split(';').collect();
    let in_order = names.is_sorted_by(|a, b| a < b);
    let spelt = |name: &&str| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
    if !in_order || !names.iter().all(spelt) {
        return incomplete("SignedHeaders must be lower case, sorted and distinct");
    }
    Ok(names)
}

fn decode_signature(text: &str) -> Result<[u8; 32], AuthRefusal> {
    let mut bytes = [0; 32];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => incomplete("Signature must be 64 hex digits"),
    }
}

/// Scope, clock, and that everything which decides what the request means is signed.
pub(super) fn check(
    authorization: &Authorization,
    headers: &HeaderMap,
    region: &str,
    now_s: i64,
) -> Result<(), AuthRefusal> {
    // IAM and its tokens are AWS's global services: clients of any region sign them for this one.
    let global = GLOBAL_SERVICES.contains(&authorization.service.as_str())
        && authorization.region == GLOBAL_REGION;
    if authorization.region != region && !global {
        return Err(AuthRefusal::Invalid(format!(
            "Credential should be scoped to a valid region, not {:?}: this controller's is {:?}",
            authorization.region, region
        )));
    }
    check_clock(authorization, now_s)?;
    let must_be_signed = headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-"))
        .chain(["host"]);
    for name in must_be_signed {
        if !authorization.signed_headers.iter().any(|signed| signed == name) {
            return Err(AuthRefusal::Invalid(format!("the header {name} must be signed")));
        }
    }
    Ok(())
}

/// A captured request is worth nothing after the window; AWS's words for both sides of it.
fn check_clock(authorization: &Authorization, now_s: i64) -> Result<(), AuthRefusal> {
    let signed = authorization.timestamp.as_str();
    let Ok(time) = PrimitiveDateTime::parse(signed, TIME_FORMAT) else {
        return incomplete(format!("Date must be in ISO-8601 'basic format'. Got {signed:?}."));
    };
    if !signed.starts_with(&authorization.date) || authorization.date.len() != 8 {
        return Err(AuthRefusal::Invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
             HTTP: {:?} != {signed:?}",
            authorization.date
        )));
    }
    let signed_s = time.assume_utc().unix_timestamp();
    let minutes = CLOCK_SKEW_S_MAX / 60;
    if let Some(expires_s) = authorization.expires_s
        && signed_s.saturating_add(expires_s) < now_s
    {
        let (now, bound) = (spell(now_s), spell(signed_s.saturating_add(expires_s)));
        return Err(AuthRefusal::Invalid(format!(
            "Signature expired: the presigned request held until {bound}, and now is {now}"
        )));
    }
    if authorization.expires_s.is_none() && signed_s < now_s - CLOCK_SKEW_S_MAX {
        let (now, bound) = (spell(now_s), spell(now_s - CLOCK_SKEW_S_MAX));
        return Err(AuthRefusal::Invalid(format!(
            "Signature expired: {signed} is now earlier than {bound} ({now} - {minutes} min.)"
        )));
    }
    if now_s + CLOCK_SKEW_S_MAX < signed_s {
        let (now, bound) = (spell(now_s), spell(now_s + CLOCK_SKEW_S_MAX));
        return Err(AuthRefusal::Invalid(format!(
            "Signature not yet current: {signed} is still later than {bound} ({now} + {minutes} \
             min.)"
        )));
    }
    Ok(())
}

fn spell(unix_s: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix_s)
        .ok()
        .and_then(|time| time.format(TIME_FORMAT).ok())
        .unwrap_or_else(|| unix_s.to_string())
}

/// `X-Amz-Content-Sha256`, where a client sends it, must be the hash of the body that came.
pub(super) fn check_payload_hash(headers: &HeaderMap, hash: &str) -> Result<(), AuthRefusal> {
    match one(headers, "x-amz-content-sha256")? {
        Some(claimed) if !claimed.eq_ignore_ascii_case(hash) => Err(AuthRefusal::Invalid(
            "The provided 'x-amz-content-sha256' header does not match what was computed.".into(),
        )),
        _ => Ok(()),
    }
}
