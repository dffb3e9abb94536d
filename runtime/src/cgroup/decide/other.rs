//! The smaller resources: pids, huge pages, network classes, RDMA, and v2 files by name.

use std::collections::{BTreeMap, HashMap};

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma};

use super::{Controller, Draft, IfMissing, Step, Target, Version, Write};

pub(super) fn pids(draft: &mut Draft<'_>, pids: &LinuxPids) {
    // The first process is in the group whatever the limit, so with 0 as with 1 it is alone.
    let value = match pids.limit() {
        limit if limit < 0 => "max".to_owned(),
        limit => limit.max(1).to_string(),
    };
    if let Some(version) = draft.version(Controller::Pids, "pids.limit", "pids.max") {
        draft.write(Controller::Pids, version, "pids.max", value);
    }
}

pub(super) fn hugepages(draft: &mut Draft<'_>, limits: &[LinuxHugepageLimit]) {
    for limit in limits {
        let size = limit.page_size();
        if !is_page_size(size) {
            draft.refuse(
                format!("hugepageLimits.pageSize = {size:?}"),
                "must be a number and KB, MB or GB, such as `2MB`",
            );
            continue;
        }
        let (name, value) = (format!("hugetlb.{size}"), limit.limit().to_string());
        let Some(version) = draft.version(Controller::Hugetlb, "hugepageLimits", &name) else {
            continue;
        };
        let suffix = match version {
            Version::V1 => "limit_in_bytes",
            Version::V2 => "max",
        };
        draft.write(Controller::Hugetlb, version, &format!("{name}.{suffix}"), value.clone());
        // Reservations have a limit of their own since Linux 5.7; without it, mmap of more than
        // the limit would only fail later, by SIGBUS.
        let rsvd = format!("{name}.rsvd.{suffix}");
        draft.write_with(Controller::Hugetlb, version, &rsvd, value, IfMissing::Skip);
    }
}

/// The form of the kernel's own file names.
fn is_page_size(size: &str) -> bool {
    let digits = size.trim_end_matches(|c: char| c.is_ascii_uppercase());
    let unit = &size[digits.len()..];
    matches!(unit, "KB" | "MB" | "GB") && digits.parse::<u32>().is_ok_and(|n| n > 0)
}

pub(super) fn network(draft: &mut Draft<'_>, network: &LinuxNetwork) {
    // The files are v1's alone: v2 matches packets by group path, in nftables.
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        let controller = Controller::NetCls;
        if draft.version(controller, "network.classID", "net_cls.classid") == Some(Version::V1) {
            draft.write(controller, Version::V1, "net_cls.classid", class.to_string());
        }
    }
    for priority in network.priorities().iter().flatten() {
        let controller = Controller::NetPrio;
        let file = "net_prio.ifpriomap";
        if draft.version(controller, "network.priorities", file) == Some(Version::V1) {
            let value = format!("{} {}", priority.name(), priority.priority());
            draft.write(controller, Version::V1, file, value);
        }
    }
}

pub(super) fn rdma(draft: &mut Draft<'_>, limits: &HashMap<String, LinuxRdma>) {
    for (device, limit) in limits.iter().collect::<BTreeMap<_, _>>() {
        let Some(version) = draft.version(Controller::Rdma, "rdma", "rdma.max") else { return };
        if limit.hca_handles().is_none() && limit.hca_objects().is_none() {
            draft.refuse(format!("rdma.{device}"), "must have hcaHandles or hcaObjects");
            continue;
        }
        let mut value = device.clone();
        if let Some(handles) = limit.hca_handles() {
            value.push_str(&format!(" hca_handle={handles}"));
        }
        if let Some(objects) = limit.hca_objects() {
            value.push_str(&format!(" hca_object={objects}"));
        }
        draft.write(Controller::Rdma, version, "rdma.max", value);
    }
}

/// `unified`: files of v2 by name. They come last, so that they win over the other properties.
pub(super) fn unified(draft: &mut Draft<'_>, files: &HashMap<String, String>) {
    for (file, value) in files.iter().collect::<BTreeMap<_, _>>() {
        let field = format!("unified[{file:?}]");
        let Some((prefix, _)) = file.split_once('.').filter(|_| !file.contains('/')) else {
            draft.refuse(field, "must be the name of a cgroup v2 file, such as `memory.high`");
            continue;
        };
        let controller = Controller::from_v2_name(prefix);
        let available = match (draft.layout.v2(), controller) {
            (None, _) => false,
            (Some(v2), Some(controller)) => v2.controllers.contains(controller),
            (Some(_), None) => true,
        };
        if !available {
            draft.refuse(
                field,
                format!("the {prefix} controller is not on a cgroup v2 hierarchy here"),
            );
            continue;
        }
        for line in value.lines() {
            let targets = vec![Target { file: file.clone(), value: line.to_owned() }];
            let version = Version::V2;
            let if_missing = IfMissing::Fail;
            draft.push(Step::Write(Write { controller, version, targets, if_missing }));
        }
    }
}
