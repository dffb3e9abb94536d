//! GetRandomPassword.

use super::values::invalid;
use crate::api::wire::shape;
use crate::api::{Api, ApiError};

/// Longest password, and where the caller does not say (AWS's own).
const LENGTH_MAX: i64 = 4096;
const LENGTH_DEFAULT: i64 = 32;
/// Most characters that a caller leaves out (AWS's own bound).
const EXCLUDED_CHARS_MAX: usize = 4096;

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

shape! {
    /// GetRandomPassword's input.
    GetRandomPasswordRequest = "GetRandomPasswordRequest" {
        /// 1 to 4,096; 32 where absent.
        password_length: "PasswordLength" => Option<i64>,
        exclude_characters: "ExcludeCharacters" => Option<String>,
        exclude_numbers: "ExcludeNumbers" => Option<bool>,
        exclude_punctuation: "ExcludePunctuation" => Option<bool>,
        exclude_uppercase: "ExcludeUppercase" => Option<bool>,
        exclude_lowercase: "ExcludeLowercase" => Option<bool>,
        include_space: "IncludeSpace" => Option<bool>,
        /// Whether there is one of each kind; true where absent.
        require_each_included_type: "RequireEachIncludedType" => Option<bool>,
    }
}

shape! {
    /// GetRandomPassword's output.
    GetRandomPasswordResponse = "GetRandomPasswordResponse" {
        random_password: "RandomPassword" => String,
    }
}

pub(super) async fn random(
    _api: &Api,
    request: GetRandomPasswordRequest,
) -> Result<GetRandomPasswordResponse, ApiError> {
    let length = request.password_length.unwrap_or(LENGTH_DEFAULT);
    if !(1..=LENGTH_MAX).contains(&length) {
        return Err(invalid(format!("PasswordLength must be between 1 and {LENGTH_MAX}")));
    }
    let kinds = kinds(&request)?;
    let length = usize::try_from(length).unwrap_or(1);
    let each = request.require_each_included_type != Some(false);
    if each && length < kinds.len() {
        let message = format!("PasswordLength must be at least {} for one of each", kinds.len());
        return Err(invalid(message));
    }
    Ok(GetRandomPasswordResponse { random_password: make(&kinds, length, each, &mut below) })
}

/// The characters of each kind that is not left out.
fn kinds(request: &GetRandomPasswordRequest) -> Result<Vec<Vec<char>>, ApiError> {
    let excluded = request.exclude_characters.as_deref().unwrap_or_default();
    if EXCLUDED_CHARS_MAX < excluded.chars().count() {
        let message = format!("ExcludeCharacters: at most {EXCLUDED_CHARS_MAX} characters");
        return Err(invalid(message));
    }
    let all = [
        (LOWER, request.exclude_lowercase == Some(true)),
        (UPPER, request.exclude_uppercase == Some(true)),
        (DIGITS, request.exclude_numbers == Some(true)),
        (PUNCTUATION, request.exclude_punctuation == Some(true)),
        (" ", request.include_space != Some(true)),
    ];
    let kept = all.iter().filter(|(_, left_out)| !left_out);
    let kinds = kept.map(|(kind, _)| kind.chars().filter(|c| !excluded.contains(*c)).collect());
    let kinds: Vec<Vec<char>> = kinds.filter(|kind: &Vec<char>| !kind.is_empty()).collect();
    if kinds.is_empty() {
        return Err(invalid("no character is left for the password".to_owned()));
    }
    Ok(kinds)
}

/// One of each kind where that is wanted, the rest of all of them, in any order.
fn make(
    kinds: &[Vec<char>],
    length: usize,
    each: bool,
    below: &mut dyn FnMut(usize) -> usize,
) -> String {
    let all: Vec<char> = kinds.iter().flatten().copied().collect();
    let mut chosen = Vec::with_capacity(length);
    if each {
        chosen.extend(kinds.iter().map(|kind| kind[below(kind.len())]));
    }
    while chosen.len() < length {
        chosen.push(all[below(all.len())]);
    }
    for n in (1..chosen.len()).rev() {
        chosen.swap(n, below(n + 1));
    }
    chosen.into_iter().collect()
}

/// A random number below `count`, each as likely as the others.
fn below(count: usize) -> usize {
    let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let zone = u32::MAX - u32::MAX % count;
    loop {
        let random = rand::random::<u32>();
        if random < zone {
            return usize::try_from(random % count).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::wire::{Path, Wire as _};

    fn kinds_of(request: serde_json::Value) -> Result<Vec<String>, ApiError> {
        let request = GetRandomPasswordRequest::decode(request, Path::Root).unwrap();
        let kinds = kinds(&request)?;
        Ok(kinds.into_iter().map(|kind| kind.into_iter().collect()).collect())
    }

    #[test]
    fn what_is_left_out_is_not_there() {
        let one = json!({"ExcludePunctuation": true, "ExcludeUppercase": true,
                         "ExcludeCharacters": "abc0", "IncludeSpace": true});
        assert_eq!(kinds_of(one).unwrap(), ["defghijklmnopqrstuvwxyz", "123456789", " "]);
        let none = json!({"ExcludePunctuation": true, "ExcludeUppercase": true,
                          "ExcludeLowercase": true, "ExcludeCharacters": DIGITS});
        assert!(kinds_of(none).is_err());
    }

    #[test]
    fn a_password_has_one_of_each_kind_and_its_length() {
        let kinds = [LOWER, DIGITS, "!"].map(|kind| kind.chars().collect::<Vec<_>>());
        for length in [3, 4, 40] {
            let made = make(&kinds, length, true, &mut below);
            assert_eq!(made.chars().count(), length);
            for kind in &kinds {
                assert!(made.chars().any(|c| kind.contains(&c)), "{made}");
            }
        }
        // The last of all, each time: the punctuation.
        assert_eq!(make(&kinds, 2, false, &mut |count| count - 1), "!!");
    }
}
