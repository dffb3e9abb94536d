//! What systemd knows of a group's limits: the decision's writes to v2 files, in its words
//! (systemd.resource-control(5)). What it has no word for only the file says.

use std::borrow::Cow;
use std::fmt;

use crate::cgroup::decide::{Decision, Step};
use crate::cgroup::layout::Version;

/// A unit's property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: Value,
}

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// D-Bus `s`.
    Text(String),
    /// D-Bus `b`.
    Bool(bool),
    /// D-Bus `y`.
    Byte(u8),
    /// D-Bus `n`.
    I16(i16),
    /// D-Bus `q`.
    U16(u16),
    /// D-Bus `i`.
    I32(i32),
    /// D-Bus `u`.
    U32(u32),
    /// D-Bus `x`.
    I64(i64),
    /// D-Bus `t`.
    Number(u64),
    /// D-Bus `d`, as its bits.
    Double(u64),
    /// D-Bus `au`.
    Numbers(Vec<u32>),
    /// D-Bus `ay`.
    Bytes(Vec<u8>),
    /// An array of values that all have the type with this letter.
    Array(char, Vec<Value>),
}

impl Value {
    /// D-Bus's letter for its type, unless that is an array.
    pub(super) fn letter(&self) -> Option<char> {
        match self {
            Value::Text(_) => Some('s'),
            Value::Bool(_) => Some('b'),
            Value::Byte(_) => Some('y'),
            Value::I16(_) => Some('n'),
            Value::U16(_) => Some('q'),
            Value::I32(_) => Some('i'),
            Value::U32(_) => Some('u'),
            Value::I64(_) => Some('x'),
            Value::Number(_) => Some('t'),
            Value::Double(_) => Some('d'),
            Value::Numbers(_) | Value::Bytes(_) | Value::Array(..) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Byte(number) => write!(f, "{number}"),
            Value::I16(number) => write!(f, "{number}"),
            Value::U16(number) => write!(f, "{number}"),
            Value::I32(number) => write!(f, "{number}"),
            Value::U32(number) => write!(f, "{number}"),
            Value::I64(number) => write!(f, "{number}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Double(bits) => write!(f, "{}", f64::from_bits(*bits)),
            Value::Numbers(numbers) => write!(f, "{numbers:?}"),
            Value::Bytes(bytes) => write!(f, "{:?}", bytes.escape_ascii().to_string()),
            Value::Array(_, values) => {
                let mut separators = ["["].into_iter().chain(std::iter::repeat(", "));
                for value in values {
                    write!(f, "{}{value}", separators.next().unwrap_or_default())?;
                }
                f.write_str(if values.is_empty() { "[]" } else { "]" })
            }
        }
    }
}

/// systemd's word for "no limit".
const INFINITY: u64 = u64::MAX;
/// A quota is told per second.
const SECOND_US: u64 = 1_000_000;
/// systemd rounds a quota to whole hundredths of a CPU; told less, it would cut it.
const QUOTA_STEP_US: u64 = 10_000;
/// The largest CPU or node number that becomes a bit mask.
const MASK_BIT_MAX: u32 = 8191;

/// The properties of a decision, in its order.
pub fn properties(decision: &Decision) -> Vec<Property> {
    let mut properties = Vec::new();
    for step in &decision.steps {
        let Step::Write(write) = step else { continue };
        let Some(target) = write.targets.first() else { continue };
        properties.extend(match write.version {
            Version::V2 => of_v2_file(&target.file, &target.value),
            Version::V1 => of_v1_file(&target.file, &target.value),
        });
    }
    properties
}

fn of_v2_file(file: &str, value: &str) -> Vec<Property> {
    let limit = |name| match value {
        "max" => Some(number(name, INFINITY)),
        value => value.parse().ok().map(|bytes| number(name, bytes)),
    };
    match file {
        "cpu.weight" => value.parse().ok().map(|w| number("CPUWeight", w)).into_iter().collect(),
        "cpu.max" => quota(value),
        "memory.max" => limit("MemoryMax").into_iter().collect(),
        "memory.high" => limit("MemoryHigh").into_iter().collect(),
        "memory.low" => limit("MemoryLow").into_iter().collect(),
        "memory.min" => limit("MemoryMin").into_iter().collect(),
        "memory.swap.max" => limit("MemorySwapMax").into_iter().collect(),
        "pids.max" => limit("TasksMax").into_iter().collect(),
        "cpuset.cpus" => mask(value).map(|m| bytes("AllowedCPUs", m)).into_iter().collect(),
        "cpuset.mems" => mask(value).map(|m| bytes("AllowedMemoryNodes", m)).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn of_v1_file(file: &str, value: &str) -> Vec<Property> {
    let property = match file {
        "cpu.shares" => value.parse().ok().map(|shares| number("CPUShares", shares)),
        "memory.limit_in_bytes" => match value {
            "-1" => Some(number("MemoryLimit", INFINITY)),
            value => value.parse().ok().map(|bytes| number("MemoryLimit", bytes)),
        },
        "pids.max" => match value {
            "max" => Some(number("TasksMax", INFINITY)),
            value => value.parse().ok().map(|tasks| number("TasksMax", tasks)),
        },
        _ => None,
    };
    property.into_iter().collect()
}

/// `cpu.max` as a quota per second of time, rounded up to what systemd can hold.
fn quota(value: &str) -> Vec<Property> {
    let mut words = value.split_ascii_whitespace();
    let (Some(quota), Some(period)) = (words.next(), words.next()) else { return Vec::new() };
    let Ok(period) = period.parse::<u64>() else { return Vec::new() };
    let per_second = match quota.parse::<u64>() {
        Ok(quota) if period > 0 => {
            (quota.saturating_mul(SECOND_US) / period).next_multiple_of(QUOTA_STEP_US)
        }
        _ => INFINITY,
    };
    vec![number("CPUQuotaPeriodUSec", period), number("CPUQuotaPerSecUSec", per_second)]
}

/// A list such as `0-2,7` as bits, the lowest first.
fn mask(list: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for part in list.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let low: u32 = low.trim().parse().ok()?;
        let high: u32 = high.trim().parse().ok().filter(|high| *high <= MASK_BIT_MAX)?;
        for bit in low..=high {
            let byte = bit as usize / 8;
            mask.resize(mask.len().max(byte + 1), 0);
            mask[byte] |= 1 << (bit % 8);
        }
    }
    Some(mask)
}

fn number(name: &'static str, value: u64) -> Property {
    Property { name: name.into(), value: Value::Number(value) }
}

fn bytes(name: &'static str, value: Vec<u8>) -> Property {
    Property { name: name.into(), value: Value::Bytes(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_files_have_systemds_words() {
        let check = |file, value, expected: Vec<Property>| {
            assert_eq!(of_v2_file(file, value), expected, "{file}={value}");
        };
        check("memory.max", "4096", vec![number("MemoryMax", 4096)]);
        check("memory.max", "max", vec![number("MemoryMax", INFINITY)]);
        check("pids.max", "7", vec![number("TasksMax", 7)]);
        check("cpu.weight", "39", vec![number("CPUWeight", 39)]);
        check(
            "cpu.max",
            "25500 100000",
            vec![number("CPUQuotaPeriodUSec", 100_000), number("CPUQuotaPerSecUSec", 260_000)],
        );
        check(
            "cpu.max",
            "max 100000",
            vec![number("CPUQuotaPeriodUSec", 100_000), number("CPUQuotaPerSecUSec", INFINITY)],
        );
        check("cpuset.cpus", "0-2,9", vec![bytes("AllowedCPUs", vec![7, 2])]);
        check("hugetlb.2MB.max", "0", vec![]);
        assert_eq!(mask("0-99999999"), None);
    }
}
