//! Statistics with more than one row: block devices and huge page sizes.

use std::collections::BTreeMap;

use super::error::Error;
use super::group::Group;
use super::{Controller, Version};

/// Block I/O of the group and the groups below.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IoStats {
    /// Bytes moved.
    pub bytes: Vec<IoEntry>,
    /// Requests made.
    pub operations: Vec<IoEntry>,
}

/// One counter of one block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoEntry {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// `Read`, `Write`, `Discard`; on v1 also `Sync`, `Async` and `Total`.
    pub operation: String,
    /// The counter.
    pub value: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePageStats {
    /// In use, in bytes.
    pub usage_bytes: u64,
    /// The largest use so far; v1 only.
    pub usage_bytes_max: Option<u64>,
    /// How often the limit was hit.
    pub limit_hits: u64,
}

/// v2's keys and the words that v1 has for them.
const BYTES_KEYS: [(&str, &str); 3] =
    [("rbytes", "Read"), ("wbytes", "Write"), ("dbytes", "Discard")];
const OPERATION_KEYS: [(&str, &str); 3] =
    [("rios", "Read"), ("wios", "Write"), ("dios", "Discard")];

impl Group {
    /// Block I/O.
    pub fn io_stats(&self) -> Result<IoStats, Error> {
        if let Some(text) = self.read(Controller::Io, "io.stat")? {
            let entries = |keys: &[(&str, &str)]| v2_entries(&text, keys);
            return Ok(IoStats {
                bytes: entries(&BYTES_KEYS),
                operations: entries(&OPERATION_KEYS),
            });
        }
        let read = |name: &str| {
            let file = format!("blkio.throttle.{name}_recursive");
            let text = self.read(Controller::Io, &file)?.unwrap_or_default();
            Ok::<_, Error>(v1_entries(&text))
        };
        Ok(IoStats { bytes: read("io_service_bytes")?, operations: read("io_serviced")? })
    }

    /// Huge pages by size, such as `2MB`.
    pub fn huge_page_stats(&self) -> Result<BTreeMap<String, HugePageStats>, Error> {
        let mut table = BTreeMap::new();
        let Some(member) = self.members_with(Controller::Hugetlb).last() else {
            return Ok(table);
        };
        let version = member.place.version();
        let suffix = match version {
            Version::V1 => ".usage_in_bytes",
            Version::V2 => ".current",
        };
        for file in member.dir.files()? {
            let size = file.strip_prefix("hugetlb.").and_then(|name| name.strip_suffix(suffix));
            let Some(size) = size.filter(|size| !size.contains('.')) else { continue };
            let Some(usage_bytes) = self.number(Controller::Hugetlb, &file)? else { continue };
            let name = |name: &str| format!("hugetlb.{size}.{name}");
            let stats = match version {
                Version::V1 => HugePageStats {
                    usage_bytes,
                    usage_bytes_max: self
                        .number(Controller::Hugetlb, &name("max_usage_in_bytes"))?,
                    limit_hits: self.number(Controller::Hugetlb, &name("failcnt"))?.unwrap_or(0),
                },
                Version::V2 => {
                    let events = self.read(Controller::Hugetlb, &name("events"))?;
                    let max = events.as_deref().and_then(|text| text.trim().strip_prefix("max "));
                    let limit_hits = max.and_then(|count| count.parse().ok()).unwrap_or(0);
                    HugePageStats { usage_bytes, usage_bytes_max: None, limit_hits }
                }
            };
            table.insert(size.to_owned(), stats);
        }
        Ok(table)
    }
}

/// Lines of `8:0 Read 4096`; a last line `Total 4096` has no device and is left out.
fn v1_entries(text: &str) -> Vec<IoEntry> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = device(words.next()?)?;
        let operation = words.next()?.to_owned();
        Some(IoEntry { major, minor, operation, value: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

/// Lines of `8:0 rbytes=4096 wbytes=0 rios=1 …`.
fn v2_entries(text: &str, keys: &[(&str, &str)]) -> Vec<IoEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let operation = keys.iter().find(|(known, _)| *known == key);
            if let (Some((_, operation)), Ok(value)) = (operation, value.parse()) {
                let operation = (*operation).to_owned();
                entries.push(IoEntry { major, minor, operation, value });
            }
        }
    }
    entries
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(operation: &str, value: u64) -> IoEntry {
        IoEntry { major: 8, minor: 16, operation: operation.to_owned(), value }
    }

    #[test]
    fn both_versions_give_the_same_entries() {
        let expected = [entry("Read", 4096), entry("Write", 7)];
        assert_eq!(v1_entries("8:16 Read 4096\n8:16 Write 7\nTotal 4103\n"), expected);
        let text = "8:16 rbytes=4096 wbytes=7 rios=1 wios=2 dbytes=junk\n";
        assert_eq!(v2_entries(text, &BYTES_KEYS), expected);
        assert_eq!(v2_entries(text, &OPERATION_KEYS), [entry("Read", 1), entry("Write", 2)]);
    }
}
