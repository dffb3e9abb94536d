//! AWS Signature Version 4 of a GET of an object. Pure: no clock, no connection.
//!
//! Source: Amazon S3 API reference, "Signature calculations for the Authorization header". Unlike
//! with the other services the path is encoded once and not normalised.

use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use super::ObjectName;
use crate::api::auth::{ALGORITHM, AccessKey, sign, signing_key};

/// RFC 3986's unreserved characters, and the slashes of a key, stay as they are.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The SHA-256 of an empty body.
const NOTHING_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// What is signed, in the order of names.
const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

/// What goes over the wire for one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// The path, percent-encoded.
    pub(super) path: String,
    /// Header names and values, besides `host`.
    pub(super) headers: [(&'static str, String); 3],
}

/// `/BUCKET/KEY` as it is requested and signed.
fn path(name: &ObjectName) -> String {
    let encoded = percent_encode(name.key().as_bytes(), ENCODED);
    format!("/{}/{encoded}", name.bucket())
}

/// Signs the GET of `name` from the store that is addressed as `host`.
pub(super) fn get(
    name: &ObjectName,
    host: &str,
    region: &str,
    key: &AccessKey,
    now: SystemTime,
) -> Signed {
    let now = OffsetDateTime::from(now);
    let day = now.format(format_description!("[year][month][day]"));
    let day = day.expect("a date has digits");
    let second = now.format(format_description!("[year][month][day]T[hour][minute][second]Z"));
    let second = second.expect("a time has digits");
    let path = path(name);
    let canonical = format!(
        "GET\n{path}\n\nhost:{host}\nx-amz-content-sha256:{NOTHING_SHA256}\nx-amz-date:{second}\n\
         \n{SIGNED}\n{NOTHING_SHA256}"
    );
    let scope = format!("{day}/{region}/s3/aws4_request");
    let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
    let text = format!("{ALGORITHM}\n{second}\n{scope}\n{hash}");
    let signature = sign(&signing_key(&key.secret, &day, region, "s3"), text.as_bytes());
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={}",
        key.id,
        hex::encode(signature)
    );
    let headers = [
        ("authorization", authorization),
        ("x-amz-content-sha256", NOTHING_SHA256.to_owned()),
        ("x-amz-date", second),
    ];
    Signed { path, headers }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::api::auth::SecretKey;

    /// Computed by botocore's S3SigV4Auth (1.43) for the same request.
    #[test]
    fn the_signature_is_the_one_that_botocore_makes() {
        let key = AccessKey {
            id: "AKIDEXAMPLE".into(),
            secret: SecretKey::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        };
        let name = ObjectName::parse("arn:aws:s3:::bucket/a b/ä+%~.env").unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let signed = get(&name, "minio:9000", "eu-west-1", &key, now);
        assert_eq!(signed.path, "/bucket/a%20b/%C3%A4%2B%25~.env");
        let [(_, authorization), _, (_, date)] = &signed.headers;
        assert_eq!(date, "20150830T123600Z");
        let expected = "AWS4-HMAC-SHA256 \
                        Credential=AKIDEXAMPLE/20150830/eu-west-1/s3/aws4_request, \
                        SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
                        Signature=5ffa599e4c22e56a9adbd3d2abc1e73437d8067a95b9c0c33cc319e109e5782f";
        assert_eq!(authorization, expected);
    }
}
