//! Task-level `cpu` and `memory`: texts in CPU units or vCPU, in MiB or GB, as ECS takes them
//! (API reference, RegisterTaskDefinition: "256" or ".25 vCPU"; "512" or "0.5 GB").

use crate::api::ApiError;

/// Least and most task-level CPU units on a node of one's own (AWS: 0.125 to 192 vCPU).
const TASK_CPU_UNITS: std::ops::RangeInclusive<u64> = 128..=196_608;

/// Least task-level memory, MiB: a container has 4 at least.
pub(super) const MEMORY_MIB_MIN: u64 = 4;
/// Most memory that any field takes, MiB: AWS shows it as a 32-bit number.
pub(super) const MEMORY_MIB_MAX: u64 = i32::MAX as u64;

/// Reads task-level CPU, in CPU units.
pub(in crate::api::ecs) fn cpu_units(field: &str, text: &str) -> Result<u64, ApiError> {
    scaled(text, "vcpu").filter(|units| TASK_CPU_UNITS.contains(units)).ok_or_else(|| {
        ApiError::client(format_args!(
            "Invalid 'cpu' setting for task. ({field}: {text:?} is not {} to {} CPU units, such \
             as \"256\" or \".25 vCPU\")",
            TASK_CPU_UNITS.start(),
            TASK_CPU_UNITS.end()
        ))
    })
}

/// Reads task-level memory, in MiB.
pub(in crate::api::ecs) fn memory_mib(field: &str, text: &str) -> Result<u64, ApiError> {
    let range = MEMORY_MIB_MIN..=MEMORY_MIB_MAX;
    scaled(text, "gb").filter(|mib| range.contains(mib)).ok_or_else(|| {
        ApiError::client(format_args!(
            "Invalid 'memory' setting for task. ({field}: {text:?} is not {MEMORY_MIB_MIN} MiB or \
             more, such as \"512\" or \"0.5 GB\")"
        ))
    })
}

/// A whole number as it is, or a decimal number of `unit`, which is 1024 of it.
fn scaled(text: &str, unit: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.strip_suffix(unit) {
        Some(number) => thousand_twenty_four_times(number.trim_end()),
        None => Some(lower).filter(|text| all_digits(text))?.parse().ok(),
    }
}

/// 1024 times a decimal number, where that is whole.
fn thousand_twenty_four_times(number: &str) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !all_digits(whole) || !all_digits(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    // 2^10 divides by at most ten factors of two: more digits than ten can't come out whole.
    let fraction = fraction.trim_end_matches('0');
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 10)?;
    let part = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    let scaled_fraction = part(fraction)?.checked_mul(1024)?;
    let tens = 10u64.pow(digits);
    let whole = part(whole)?.checked_mul(1024)?;
    (scaled_fraction % tens == 0).then(|| whole.checked_add(scaled_fraction / tens))?
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cpu_is_read_in_units_and_in_vcpu() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(cpu_units("cpu", text).ok(), expected, "{text:?}");
        };
        check("256", Some(256));
        check("128", Some(128));
        check("127", None);
        check("196608", Some(196_608));
        check("196609", None);
        check(".25 vCPU", Some(256));
        check("0.25vcpu", Some(256));
        check("1 VCPU", Some(1024));
        check("1. vCPU", Some(1024));
        check("192 vCPU", Some(196_608));
        check("0.1 vCPU", None);
        check("0.125 vCPU", Some(128));
        for text in ["", " ", "vCPU", ". vCPU", "1.5", "-1", "+256", "1e3", "1.2.3 vCPU", "256 GB"]
        {
            check(text, None);
        }
        check("99999999999999999999999 vCPU", None);
    }

    #[test]
    fn memory_is_read_in_mib_and_in_gb() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(memory_mib("memory", text).ok(), expected, "{text:?}");
        };
        check("512", Some(512));
        check("0.5 GB", Some(512));
        check("1GB", Some(1024));
        check("1.5 gb", Some(1536));
        check("4", Some(4));
        check("3", None);
        check("2147483647", Some(2_147_483_647));
        check("2147483648", None);
        check("18446744073709551616", None);
        check("0.0001 GB", None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9.]{0,24} ?(vCPU|GB|)") {
            let _ = cpu_units("cpu", &text);
            let _ = memory_mib("memory", &text);
        }

        #[test]
        fn what_is_shown_is_read_again(units in 128u64..196_608) {
            prop_assert_eq!(cpu_units("cpu", &units.to_string()).unwrap(), units);
        }
    }
}
