//! How people write amounts: durations, memory, CPU, name=value pairs.

use loadline_model::resources::CPU_UNITS_PER_VCPU;
use serde_json::{Value, json};

/// Seconds, from `90`, `90s`, `10m`, `2h` or `7d`.
pub(crate) fn duration_s(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("a number with s, m, h or d, as in 90s or 2h".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

/// MiB, from `128`, `128m` or `2g`.
pub(crate) fn memory_mib(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, factor) = match lower.strip_suffix('g') {
        Some(digits) => (digits, 1024),
        None => (lower.strip_suffix('m').unwrap_or(&lower), 1),
    };
    let number: u64 = digits.parse().map_err(|_| "MiB, as in 128, 128m or 2g".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

/// CPU units, from `256`, or `0.25vcpu` in thousandths.
pub(crate) fn cpu_units(text: &str) -> Result<u64, String> {
    let wrong = || "CPU units (1024 are one vCPU), as in 256, or vCPUs, as in 0.25vcpu".to_owned();
    let lower = text.to_ascii_lowercase();
    let Some(vcpus) = lower.strip_suffix("vcpu") else {
        return text.parse().map_err(|_| wrong());
    };
    let (whole, part) = vcpus.trim().split_once('.').unwrap_or((vcpus.trim(), ""));
    let empty = whole.is_empty() && part.is_empty();
    if empty || 3 < part.len() || !part.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let thousandths: u64 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
    let whole = whole.checked_mul(CPU_UNITS_PER_VCPU).ok_or_else(wrong)?;
    whole.checked_add(thousandths * CPU_UNITS_PER_VCPU / 1000).ok_or_else(wrong)
}

/// `NAME=VALUE` as the API's `{name, value}`.
pub(crate) fn pair(text: &str) -> Result<Value, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(json!({"name": name, "value": value})),
        _ => Err("NAME=VALUE".to_owned()),
    }
}

/// The last part of an ARN.
pub(crate) fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parse: fn(&str) -> Result<u64, String>, cases: &[(&str, Option<u64>)]) {
        for (text, expected) in cases {
            assert_eq!(parse(text).ok(), *expected, "{text:?}");
        }
    }

    #[test]
    fn durations_have_units() {
        check(
            duration_s,
            &[
                ("90", Some(90)),
                ("90s", Some(90)),
                ("10m", Some(600)),
                ("2h", Some(7_200)),
                ("7d", Some(604_800)),
                ("", None),
                ("m", None),
                ("-1s", None),
                ("1w", None),
                ("99999999999999999999d", None),
            ],
        );
    }

    #[test]
    fn memory_is_in_mib_unless_it_says_g() {
        check(
            memory_mib,
            &[
                ("128", Some(128)),
                ("128M", Some(128)),
                ("2g", Some(2048)),
                ("x", None),
                ("g", None),
            ],
        );
    }

    #[test]
    fn cpu_is_in_units_unless_it_says_vcpu() {
        check(
            cpu_units,
            &[
                ("256", Some(256)),
                ("1vcpu", Some(1024)),
                ("0.25vCPU", Some(256)),
                (".5 vcpu", Some(512)),
                ("0.125vcpu", Some(128)),
                ("0.0001vcpu", None),
                ("1.5", None),
                ("vcpu", None),
                ("é", None),
            ],
        );
    }

    #[test]
    fn a_pair_has_a_name() {
        assert_eq!(pair("A=b=c").unwrap(), json!({"name": "A", "value": "b=c"}));
        assert_eq!(pair("A=").unwrap(), json!({"name": "A", "value": ""}));
        assert!(pair("=x").is_err() && pair("A").is_err());
    }
}
