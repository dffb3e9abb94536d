//! The words of `update`.

use std::io::Read;
use std::path::Path;

use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

use super::{LiveVerb, container_id, count, invalid};
use crate::args::{ArgError, Flag, Order, Parsed, parse, value};
use crate::bundle::CONFIG_BYTES_MAX;
use crate::cli::chain;
use crate::strict_json::from_object;

pub(super) const FLAGS: [Flag; 19] = [
    value("resources", Some("r")),
    value("blkio-weight", None),
    value("cpu-period", None),
    value("cpu-quota", None),
    value("cpu-burst", None),
    value("cpu-share", None),
    value("cpu-rt-period", None),
    value("cpu-rt-runtime", None),
    value("cpu-idle", None),
    value("cpuset-cpus", None),
    value("cpuset-mems", None),
    value("kernel-memory", None),
    value("kernel-memory-tcp", None),
    value("memory", None),
    value("memory-reservation", None),
    value("memory-swap", None),
    value("pids-limit", None),
    value("l3-cache-schema", None),
    value("mem-bw-schema", None),
];

/// Flag, object and property of config.json, and how the value reads.
const PROPERTIES: [(&str, &str, &str, Form); 15] = [
    ("blkio-weight", "blockIO", "weight", Form::Number),
    ("cpu-period", "cpu", "period", Form::Number),
    ("cpu-quota", "cpu", "quota", Form::Number),
    ("cpu-burst", "cpu", "burst", Form::Number),
    ("cpu-share", "cpu", "shares", Form::Number),
    ("cpu-rt-period", "cpu", "realtimePeriod", Form::Number),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Form::Number),
    ("cpu-idle", "cpu", "idle", Form::Number),
    ("cpuset-cpus", "cpu", "cpus", Form::Text),
    ("cpuset-mems", "cpu", "mems", Form::Text),
    ("kernel-memory", "memory", "kernel", Form::Bytes),
    ("kernel-memory-tcp", "memory", "kernelTCP", Form::Bytes),
    ("memory", "memory", "limit", Form::Bytes),
    ("memory-reservation", "memory", "reservation", Form::Bytes),
    ("memory-swap", "memory", "swap", Form::Bytes),
];

#[derive(Clone, Copy)]
enum Form {
    Number,
    Bytes,
    Text,
}

impl Form {
    fn expected(self) -> &'static str {
        match self {
            Form::Number => "expected a number",
            Form::Bytes => {
                "expected bytes, as a number with or without a unit of 1024 (512m, 1GiB), or -1"
            }
            Form::Text => "expected a text",
        }
    }
}

pub(super) fn decode(rest: &[String]) -> Result<LiveVerb, ArgError> {
    let parsed = parse(rest, &FLAGS, Order::Any)?;
    let [id] = parsed.arguments.as_slice() else {
        return Err(count("update", "one container id", &parsed));
    };
    let schema = |flag| parsed.value(flag).filter(|text| !text.is_empty()).map(str::to_owned);
    let schemata = ["l3-cache-schema", "mem-bw-schema"].into_iter().filter_map(schema).collect();
    let resources = match parsed.value("resources") {
        // As in runc, a file makes all other flags void.
        Some(path) => from_file(path)?,
        None => from_flags(&parsed)?,
    };
    Ok(LiveVerb::Update { id: container_id(id)?, resources: Box::new(resources), schemata })
}

fn from_flags(parsed: &Parsed) -> Result<LinuxResources, ArgError> {
    let mut resources = json!({});
    for (flag, object, property, form) in PROPERTIES {
        let Some(text) = parsed.value(flag).filter(|text| !text.is_empty()) else { continue };
        let value = match form {
            Form::Text => Some(Value::from(text)),
            Form::Number => text.parse::<i64>().ok().map(Value::from),
            Form::Bytes => bytes(text).map(Value::from),
        };
        let value = value.ok_or_else(|| invalid(flag, text, form.expected()))?;
        resources[object][property] = value;
    }
    // As in runc, the flag's 0 is "unset"; the limit of 0 comes by a file.
    if let Some(text) = parsed.value("pids-limit").filter(|text| *text != "0") {
        let limit: i64 =
            text.parse().map_err(|_| invalid("pids-limit", text, "expected a number"))?;
        resources["pids"]["limit"] = limit.into();
    }
    let text = resources.to_string();
    serde_json::from_value(resources)
        .map_err(|_| invalid("resources", &text, "a number is out of range for what it sets"))
}

fn from_file(path: &str) -> Result<LinuxResources, ArgError> {
    let failed = |cause| ArgError::File { flag: "resources", file: path.to_owned(), cause };
    let text = if path == "-" {
        let mut text = String::new();
        let input = std::io::stdin().lock().take(CONFIG_BYTES_MAX + 1);
        { input }.read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
        if text.len() as u64 > CONFIG_BYTES_MAX {
            return Err(failed(format!("it is larger than {CONFIG_BYTES_MAX} bytes")));
        }
        text
    } else {
        crate::bundle::read(Path::new(path)).map_err(|error| failed(chain(&error)))?
    };
    from_object(&text).map_err(|error| {
        failed(format!("expected an object as linux.resources of config.json: {error}"))
    })
}

/// A size: digits and a unit of 1024 (`512m`, `1GiB`), or -1 for "no limit".
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let factor = match unit {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1i64 << 50,
        _ => return None,
    };
    digits.parse::<i64>().ok().filter(|n| *n >= 0)?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<LinuxResources, ArgError> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        match decode(&words)? {
            LiveVerb::Update { resources, .. } => Ok(*resources),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_resources() {
        let text = "--cpu-quota=50000 --cpu-share 512 --memory 64m --memory-swap -1 \
                    --cpuset-cpus 0-1 --pids-limit 7 --blkio-weight 500 c1";
        let resources = decoded(text).unwrap();
        let (cpu, memory) = (resources.cpu().clone().unwrap(), resources.memory().unwrap());
        assert_eq!((cpu.quota(), cpu.shares(), cpu.period()), (Some(50_000), Some(512), None));
        assert_eq!(cpu.cpus().as_deref(), Some("0-1"));
        assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(-1)));
        assert_eq!(resources.pids().unwrap().limit(), 7);
        assert_eq!(resources.block_io().clone().unwrap().weight(), Some(500));
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, size) in [
            ("0", Some(0)),
            ("4k", Some(4096)),
            ("1GiB", Some(1 << 30)),
            ("2MB", Some(2 << 20)),
            ("-1", Some(-1)),
            ("-2", None),
            ("x", None),
            ("9000000p", None),
            ("1x", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in [
            "--memory x c1",
            "--cpu-share -1 c1",
            "--blkio-weight 70000 c1",
            "--resources /nonexistent c1",
            "--memory 1m",
        ] {
            assert!(decoded(bad).is_err(), "{bad}");
        }
        let error = decoded("--memory 10x c1").unwrap_err().to_string();
        assert!(error.contains("unit of 1024 (512m, 1GiB)"), "{error}");
    }
}
