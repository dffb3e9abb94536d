//! `linux.resources.blockIO`: weights and throttles.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::{Controller, Draft, IfMissing, Target, Version};

/// The range that config.json and v1 have for a weight.
const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

pub(super) fn decide(draft: &mut Draft<'_>, block_io: &LinuxBlockIo) {
    let Some(version) = draft.version(Controller::Io, "blockIO", "block I/O limits") else {
        return;
    };
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        default_weight(draft, version, weight);
    }
    if let Some(weight) = block_io.leaf_weight().filter(|weight| *weight != 0) {
        leaf_weight(draft, version, "blkio.leaf_weight", weight.to_string());
    }
    for device in block_io.weight_device().iter().flatten() {
        let id = format!("{}:{}", device.major(), device.minor());
        if device.weight().is_none() && device.leaf_weight().is_none() {
            draft.refuse(format!("blockIO.weightDevice {id}"), "must have weight or leafWeight");
        }
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            device_weight(draft, version, &id, weight);
        }
        if let Some(weight) = device.leaf_weight().filter(|weight| *weight != 0) {
            leaf_weight(draft, version, "blkio.leaf_weight_device", format!("{id} {weight}"));
        }
    }
    let throttles = [
        ("blkio.throttle.read_bps_device", "rbps", block_io.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", "wbps", block_io.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", "riops", block_io.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", "wiops", block_io.throttle_write_iops_device()),
    ];
    for (file, key, devices) in throttles {
        for device in devices.iter().flatten() {
            throttle(draft, version, file, key, device);
        }
    }
}

/// The scheduler decides which file exists: BFQ brings its own, with v1's range, on both.
fn default_weight(draft: &mut Draft<'_>, version: Version, weight: u16) {
    if !in_range(draft, "blockIO.weight", weight) {
        return;
    }
    let targets = match version {
        Version::V1 => vec![
            target("blkio.weight", weight.to_string()),
            target("blkio.bfq.weight", weight.to_string()),
        ],
        Version::V2 => vec![
            target("io.bfq.weight", weight.to_string()),
            target("io.weight", io_weight(weight).to_string()),
        ],
    };
    draft.write_first_of(Controller::Io, version, targets, IfMissing::Fail);
}

fn device_weight(draft: &mut Draft<'_>, version: Version, id: &str, weight: u16) {
    if !in_range(draft, "blockIO.weightDevice", weight) {
        return;
    }
    let targets = match version {
        Version::V1 => vec![
            target("blkio.weight_device", format!("{id} {weight}")),
            target("blkio.bfq.weight_device", format!("{id} {weight}")),
        ],
        Version::V2 => vec![
            target("io.bfq.weight", format!("{id} {weight}")),
            target("io.weight", format!("{id} {}", io_weight(weight))),
        ],
    };
    draft.write_first_of(Controller::Io, version, targets, IfMissing::Fail);
}

/// Leaf weights were CFQ's, gone with it in Linux 5.0; an old kernel's file is used if there.
fn leaf_weight(draft: &mut Draft<'_>, version: Version, file: &str, value: String) {
    match version {
        Version::V1 => draft.write(Controller::Io, version, file, value),
        Version::V2 => draft.refuse("blockIO.leafWeight", "cgroup v2 has no leaf weight"),
    }
}

fn throttle(
    draft: &mut Draft<'_>,
    version: Version,
    v1_file: &str,
    v2_key: &str,
    device: &LinuxThrottleDevice,
) {
    let (major, minor, rate) = (device.major(), device.minor(), device.rate());
    match version {
        Version::V1 => {
            draft.write(Controller::Io, version, v1_file, format!("{major}:{minor} {rate}"));
        }
        Version::V2 => {
            // On v1 a rate of 0 lifts a limit; v2 says that in a word.
            let rate = if rate == 0 { "max".to_owned() } else { rate.to_string() };
            let value = format!("{major}:{minor} {v2_key}={rate}");
            draft.write(Controller::Io, version, "io.max", value);
        }
    }
}

/// runc's straight line from 10..1000 to 1..10000.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}

fn in_range(draft: &mut Draft<'_>, field: &str, weight: u16) -> bool {
    let ok = WEIGHTS.contains(&weight);
    if !ok {
        draft.refuse(format!("{field} = {weight}"), "must be 10 to 1000");
    }
    ok
}

fn target(file: &str, value: String) -> Target {
    Target { file: file.to_owned(), value }
}
