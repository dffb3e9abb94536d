//! AWS Signature Version 4, written from its public description and not shared with the product: a
//! mistake made once would otherwise agree with itself.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// A key as a client holds it.
#[derive(Clone, Debug)]
pub struct Key {
    /// `aws_access_key_id`
    pub id: String,
    /// `aws_secret_access_key`
    pub secret: String,
}

/// What is signed beside the body.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Like `20261126T101112Z`.
    pub time: &'a str,
    /// Like `us-east-1`.
    pub region: &'a str,
    /// Like `ecs`.
    pub service: &'a str,
}

/// The value of the Authorization header of `POST /` with `headers` (lower case, in order) and
/// `body`.
#[must_use]
pub fn authorization(key: &Key, scope: Scope<'_>, headers: &[(&str, &str)], body: &[u8]) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let request = format!("POST\n/\n\n{lines}\n{names}\n{}", hex::encode(Sha256::digest(body)));
    let day = &scope.time[..8];
    let range = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let hash = hex::encode(Sha256::digest(request.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{}\n{range}\n{hash}", scope.time);
    let secret = format!("AWS4{}", key.secret);
    let parts = [day, scope.region, scope.service, "aws4_request", &text];
    let signature = parts.iter().fold(secret.into_bytes(), |key, part| mac(&key, part.as_bytes()));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{range}, SignedHeaders={names}, Signature={}",
        key.id,
        hex::encode(signature)
    )
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}
