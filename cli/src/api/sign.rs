//! AWS Signature Version 4, for one kind of request: POST / with a JSON body.

use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use super::Credentials;

const SERVICE: &str = "ecs";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) host: &'a str,
    pub(super) target: &'a str,
    pub(super) body: &'a str,
}

/// The headers of the signed request.
pub(super) fn sign(
    call: &Call<'_>,
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Vec<(&'static str, String)> {
    let (date, date_time) = dates(now);
    let mut headers = vec![
        ("content-type", CONTENT_TYPE.to_owned()),
        ("host", call.host.to_owned()),
        ("x-amz-date", date_time.clone()),
    ];
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token", token.clone()));
    }
    headers.push(("x-amz-target", call.target.to_owned()));

    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let signed_headers = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let body_hash = hex::encode(Sha256::digest(call.body.as_bytes()));
    let canonical = format!("POST\n/\n\n{lines}\n{signed_headers}\n{body_hash}");
    let canonical_hash = hex::encode(Sha256::digest(canonical.as_bytes()));
    let scope = format!("{date}/{region}/{SERVICE}/aws4_request");
    let to_sign = format!("{ALGORITHM}\n{date_time}\n{scope}\n{canonical_hash}");

    let secret = format!("AWS4{}", credentials.secret);
    let key = [date.as_str(), region, SERVICE, "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| hmac(&key, part));
    let signature = hex::encode(hmac(&key, &to_sign));
    let key_id = &credentials.key_id;
    let authorization = format!(
        "{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={signed_headers}, \
         Signature={signature}"
    );
    headers.push(("authorization", authorization));
    headers
}

/// The day, and the second, as the signature spells them.
fn dates(now: SystemTime) -> (String, String) {
    let now = OffsetDateTime::from(now);
    let second = format_description!("[year][month][day]T[hour][minute][second]Z");
    let text = now.format(&second).expect("every part of the format is there in a date-time");
    (text[..8].to_owned(), text)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The signing key of AWS's own documentation example ("Deriving a signing key").
    #[test]
    fn a_signing_key_is_derived_as_aws_does() {
        let key = ["20120215", "us-east-1", "iam", "aws4_request"]
            .iter()
            .fold(b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec(), |key, part| {
                hmac(&key, part)
            });
        let expected = "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d";
        assert_eq!(hex::encode(key), expected);
    }

    /// Computed with botocore 1.x's SigV4Auth for the same request.
    #[test]
    fn a_request_is_signed_as_botocore_signs_it() {
        let call = Call {
            host: "127.0.0.1:7070",
            target: "AmazonEC2ContainerServiceV20141113.ListClusters",
            body: "{}",
        };
        let credentials = Credentials {
            key_id: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            origin: String::new(),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let headers = sign(&call, "us-east-1", &credentials, now);
        let value = |name| headers.iter().find(|(have, _)| *have == name).unwrap().1.as_str();
        assert_eq!(value("x-amz-date"), "20150830T123600Z");
        assert_eq!(value("authorization"), EXPECTED);
    }

    const EXPECTED: &str = "AWS4-HMAC-SHA256 \
        Credential=AKIDEXAMPLE/20150830/us-east-1/ecs/aws4_request, \
        SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
        Signature=9b507d99750879589c8b622974a31e3bf088755e4ca5a95dccaa00e1ad208563";
}
