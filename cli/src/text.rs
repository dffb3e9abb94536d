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

/// MiB, from `128`, `128m`, `64MB`, `1.5g` or `2GiB`, as docker and people write it.
pub(crate) fn memory_mib(text: &str) -> Result<u64, String> {
    let wrong = || "MiB, as in 128, 128m, 1.5g or 2GiB".to_owned();
    let lower = text.to_ascii_lowercase();
    let unit = lower.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = &lower[..lower.len() - unit.len()];
    let kib = match unit.trim() {
        "" | "m" | "mb" | "mib" => 1024,
        "g" | "gb" | "gib" => 1024 * 1024,
        "k" | "kb" | "kib" => 1,
        "b" => return Err(format!("{text}: bytes are too small a unit here: {}", wrong())),
        _ => return Err(wrong()),
    };
    let kib = thousandths(number).ok_or_else(wrong)?.checked_mul(kib).ok_or("too large")? / 1000;
    if kib % 1024 != 0 {
        return Err(format!("{text} is no whole number of MiB"));
    }
    Ok(kib / 1024)
}

/// A decimal number with at most three digits after its point.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || 3 < part.len() || !digits(whole) || !digits(part) {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    whole.checked_mul(1000)?.checked_add(part)
}

/// How many tasks one call places (ECS's own bound).
pub(crate) fn task_count(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| (1..=10).contains(count));
    count.ok_or_else(|| "1 to 10 tasks; a service keeps more of them running".to_owned())
}

/// A number that is not negative.
pub(crate) fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "a whole number from 0 on".to_owned())
}

/// An image's reference, refused here where no registry and no store could ever have it.
pub(crate) fn image(text: &str) -> Result<String, String> {
    let wrong = |what: &str| Err(format!("{what}: an image is NAME, NAME:TAG or NAME@sha256:…"));
    let (name, digest) = text.split_once('@').map_or((text, None), |(n, d)| (n, Some(d)));
    let after_slash = name.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match name[after_slash..].split_once(':') {
        Some((last, tag)) => (&name[..after_slash + last.len()], Some(tag)),
        None => (name, None),
    };
    let is_hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if digest.is_some_and(|digest| !digest.strip_prefix("sha256:").is_some_and(is_hex)) {
        return wrong("its digest is not sha256: and 64 hex digits");
    }
    let tag_byte = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if tag.is_some_and(|tag| tag.is_empty() || 128 < tag.len() || !tag.bytes().all(tag_byte)) {
        return wrong("its tag has other characters than letters, digits and _.-");
    }
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("", name),
    };
    let host_byte = |b: u8| b.is_ascii_alphanumeric() || b".:-[]".contains(&b);
    let path_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(path_byte);
    if !host.bytes().all(host_byte) || !path.split('/').all(is_part) {
        return wrong("its name has other characters than lower-case letters, digits and ._-/");
    }
    Ok(text.to_owned())
}

/// CPU units, from `256`, or `0.25vcpu` in thousandths.
pub(crate) fn cpu_units(text: &str) -> Result<u64, String> {
    let wrong = || "CPU units (1024 are one vCPU), as in 256, or vCPUs, as in 0.25vcpu".to_owned();
    let lower = text.to_ascii_lowercase();
    let Some(vcpus) = lower.strip_suffix("vcpu") else {
        return text.parse().map_err(|_| wrong());
    };
    let thousandths = thousandths(vcpus.trim()).ok_or_else(wrong)?;
    thousandths.checked_mul(CPU_UNITS_PER_VCPU).map(|units| units / 1000).ok_or_else(wrong)
}

/// `NAME=VALUE` as the API's `{name, value}`.
pub(crate) fn pair(text: &str) -> Result<Value, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(json!({"name": name, "value": value})),
        _ => Err("NAME=VALUE".to_owned()),
    }
}

/// A published port: `HOST:CONTAINER` or `CONTAINER`, `/tcp` or `/udp` behind it.
pub(crate) fn published(text: &str) -> Result<Value, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| 0 < *port);
    let read = || match ports.split_once(':') {
        Some((host, container)) => Some((port(host)?, port(container)?)),
        None => Some((0, port(ports)?)),
    };
    let read = read().filter(|_| ["tcp", "udp"].contains(&protocol));
    let (host, container) = read.ok_or("HOST:CONTAINER or CONTAINER, ports from 1 to 65535")?;
    Ok(json!({ "hostPort": host, "containerPort": container, "protocol": protocol }))
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
                ("1.5g", Some(1536)),
                ("64MB", Some(64)),
                ("2 GiB", Some(2048)),
                ("2048k", Some(2)),
                ("1.5m", None),
                ("100b", None),
                ("1.2.3g", None),
                (".g", None),
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
    fn an_image_that_nobody_can_have_is_refused_before_anything_is_made_of_it() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for good in [
            "busybox",
            "busybox:1.36",
            "localhost:5000/a/b_c:x",
            "Host.example:5000/a",
            "r.io/a/b.c-d:V1",
            &digest,
        ] {
            assert!(image(good).is_ok(), "{good}");
        }
        for bad in ["", "Busybox", "a b", "a:", "a:b c", "a@sha256:12", "a//b", "/a", "a:b:c"] {
            assert!(image(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pair_has_a_name() {
        assert_eq!(pair("A=b=c").unwrap(), json!({"name": "A", "value": "b=c"}));
        assert_eq!(pair("A=").unwrap(), json!({"name": "A", "value": ""}));
        assert!(pair("=x").is_err() && pair("A").is_err());
    }
}
