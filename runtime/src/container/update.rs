//! `update`: new limits for a live container.

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};

use super::record::Status;
use super::state::status;
use super::{ContainerId, Error, Store, resctrl};
use crate::cgroup::{self, Layout, Note};
use crate::cli::chain;

/// Brings a container's cgroup to `resources`, and its class of resctrl to `schemata`; what these
/// do not say stays. All of it, or nothing: what is refused brings the earlier limits back. Returns
/// what was left out on purpose.
///
/// # Errors
/// [`Error::NotRunning`] for a stopped container; the file and value that the kernel refused.
pub fn update(
    store: &Store,
    id: &ContainerId,
    resources: &LinuxResources,
    schemata: &[String],
) -> Result<Vec<Note>, Error> {
    let folder = store.open(id)?;
    let mut record = folder.record()?;
    if matches!(status(&record, folder.awaits_start())?, Status::Stopped | Status::Creating) {
        return Err(Error::NotRunning);
    }
    let class = record.resctrl.as_ref().and_then(|groups| groups.joined.first());
    let shares = match schemata {
        [] => None,
        _ => Some(resctrl::Shares::of(class.ok_or(Error::NoResctrl)?).map_err(Error::Resctrl)?),
    };
    let failed = |source: cgroup::Error| Error::Cgroup { step: "update", source };
    let group = record.group()?.ok_or(Error::NoCgroup)?;
    let layout = Layout::probe().map_err(Error::Host)?;
    let current = group.current().map_err(failed)?;
    let decision = cgroup::decide(resources, &layout, &current);
    let decision = decision.map_err(|refusals| failed(refusals.into()))?;
    let undo = group.change(&decision).map_err(|refused| {
        let cgroup::ChangeRefused { source, left } = *refused;
        not_updated(failed(source), left.map(failed))
    })?;
    let wanted = with_resources(&record.config, resources);
    let old = std::mem::replace(&mut record.config, wanted);
    let changed = shares.as_ref().map_or(Ok(()), |shares| shares.replace(schemata));
    let changed = changed
        .map_err(Error::Resctrl)
        .and_then(|()| folder.write_record(&record))
        // Last, because it has no way back.
        .and_then(|()| group.update_unit(&decision).map_err(failed));
    let Err(source) = changed else { return Ok(decision.notes) };
    record.config = old;
    let undone = [
        folder.write_record(&record),
        shares.map_or(Ok(()), |shares| shares.bring_back().map_err(Error::Resctrl)),
        undo.bring_back().map_err(failed),
    ];
    Err(not_updated(source, undone.into_iter().find_map(Result::err)))
}

fn not_updated(source: Error, left: Option<Error>) -> Error {
    Error::NotUpdated { source: Box::new(source), left: left.map(|error| chain(&error)) }
}

/// The configuration with new limits in `linux.resources`: whoever reads it later, as a restored
/// container does, finds what is in force.
fn with_resources(config: &str, resources: &LinuxResources) -> String {
    let decoded = serde_json::from_str::<Value>(config);
    let (Ok(mut config), Ok(more)) = (decoded, serde_json::to_value(resources)) else {
        return config.to_owned();
    };
    merge(&mut config["linux"]["resources"], more, "");
    config.to_string()
}

/// Numbers that mean themselves where they are 0; of the others 0 is how callers say "unset".
const ZERO_IS_A_VALUE: [&str; 5] = ["limit of pids", "burst", "idle", "swappiness", "classID"];

fn merge(old: &mut Value, new: Value, name: &str) {
    match new {
        Value::Null => {}
        Value::Object(new) => {
            if !old.is_object() {
                *old = Value::Object(Map::new());
            }
            for (key, value) in new {
                let name = if name == "pids" { "limit of pids" } else { key.as_str() };
                merge(&mut old[&key], value, name);
            }
        }
        zero if zero == 0 && !ZERO_IS_A_VALUE.contains(&name) => {}
        // Sets of CPUs and memory nodes, which callers give empty where they do not change.
        Value::String(text) if text.is_empty() => {}
        other => *old = other,
    }
}

#[cfg(test)]
mod tests {
    use super::with_resources;
    use serde_json::{Value, json};

    #[test]
    fn new_limits_replace_old_ones_and_unset_ones_stay() {
        let old = json!({ "linux": { "resources": {
            "memory": { "limit": 1000, "swap": 2000 }, "cpu": { "shares": 7, "cpus": "0" } } } });
        let new = json!({ "memory": { "limit": 500, "swap": 0 }, "pids": { "limit": 0 },
            "cpu": { "cpus": "" } });
        let new = with_resources(&old.to_string(), &serde_json::from_value(new).unwrap());
        let new: Value = serde_json::from_str(&new).unwrap();
        let expected = json!({
            "memory": { "limit": 500, "swap": 2000 }, "cpu": { "shares": 7, "cpus": "0" },
            "pids": { "limit": 0 } });
        assert_eq!(new["linux"]["resources"], expected);
    }
}
