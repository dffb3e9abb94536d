//! The signature itself: HMAC-SHA256 with a key derived for day, region and service.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::canonical::{Head, canonical_request};
use super::scope::{ALGORITHM, Authorization};
use super::{AuthRefusal, SecretKey};

/// Checks that `authorization` carries the signature of this head and payload hash.
pub(super) fn verify(
    authorization: &Authorization,
    secret: &SecretKey,
    head: Head<'_>,
    payload_hash: &str,
) -> Result<(), AuthRefusal> {
    let signed: Vec<&str> = authorization.signed_headers.iter().map(String::as_str).collect();
    let canonical = canonical_request(head, &signed, payload_hash)
        .map_err(|bad| AuthRefusal::Invalid(bad.to_string()))?;
    let Authorization { date, region, service, timestamp, .. } = authorization;
    let canonical_hash = hex::encode(Sha256::digest(canonical.as_bytes()));
    let to_sign = format!(
        "{ALGORITHM}\n{timestamp}\n{date}/{region}/{service}/aws4_request\n{canonical_hash}"
    );
    let expected = sign(&signing_key(secret, date, region, service), to_sign.as_bytes());
    if bool::from(expected.ct_eq(&authorization.signature)) {
        return Ok(());
    }
    Err(AuthRefusal::Invalid(
        "The request signature we calculated does not match the signature you provided. Check \
         your AWS Secret Access Key and signing method. Consult the service documentation for \
         details."
            .into(),
    ))
}

/// The key that requests of one day to one service are signed with.
pub(crate) fn signing_key(secret: &SecretKey, date: &str, region: &str, service: &str) -> [u8; 32] {
    let first = [b"AWS4", secret.as_bytes()].concat();
    [date, region, service, "aws4_request"]
        .into_iter()
        .fold((first, [0; 32]), |(key, _), part| {
            let next = sign(&key, part.as_bytes());
            (next.to_vec(), next)
        })
        .1
}

/// HMAC-SHA256.
pub(crate) fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104)");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signing_key_is_that_of_awss_published_example() {
        let secret = SecretKey::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let key = signing_key(&secret, "20150830", "us-east-1", "iam");
        let published = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9";
        assert_eq!(hex::encode(key), published);
    }
}
