//! Every property of config.json is honoured or refused: none is ignored in silence.
//!
//! `everything.json` has each property that is honoured. Without any one of them, or with another
//! value, the validated configuration or the printed plans are others, or it is refused.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::tests::ask;
use super::{Ask, Begin, Console, Inside, plan, plan_exec};
use crate::cgroup::Layout;
use crate::host::Host;
use crate::spec::table::tests::properties;
use crate::spec::table::{Fate, PROPERTIES};
use crate::spec::{NamespaceKind, Spec};

const CONTROLLERS: [&str; 9] = [
    "cpu,cpuacct",
    "cpuset",
    "memory",
    "pids",
    "devices",
    "blkio",
    "hugetlb",
    "net_cls,net_prio",
    "rdma",
];

fn host(cgroups: Layout) -> Host {
    let resctrl = Some(PathBuf::from("/sys/fs/resctrl"));
    let is_privileged = true;
    let capabilities = u64::MAX;
    Host { is_privileged, capabilities, cgroups, apparmor: true, selinux: true, resctrl }
}

fn v1() -> Host {
    let mounts = CONTROLLERS.iter().enumerate().map(|(n, name)| {
        format!("{n} 25 0:{n} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n")
    });
    let groups = CONTROLLERS.iter().enumerate().map(|(n, name)| format!("{n}:{name}:/\n"));
    let (mounts, groups): (String, String) = (mounts.collect(), groups.collect());
    host(Layout::parse(&mounts, &groups).unwrap())
}

fn v2() -> Host {
    let mounts = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let cgroups = Layout::parse(mounts, "0::/\n").unwrap();
    host(cgroups.with_v2_controllers("cpuset cpu io memory hugetlb pids rdma"))
}

/// The plans of a container and of another process in it.
fn plans(spec: &Spec, host: &Host) -> Result<String, String> {
    let console = Console::Socket(PathBuf::from("/run/console.sock"));
    let ask = Ask { console, ..ask(Begin::OnStart) };
    let inside = Inside {
        pid: 7,
        pid_start_ticks: 1,
        namespaces: vec![NamespaceKind::Mount],
        cgroup: None,
        resctrl: Vec::new(),
    };
    let text = |error: super::Refused| {
        std::error::Error::source(&error).map_or(error.to_string(), |e| format!("{error}: {e}"))
    };
    let first = plan(spec, host, &ask).map_err(text)?;
    let second = plan_exec(spec, host, &ask, &inside).map_err(text)?;
    Ok(format!("{first}{second}{:?}{:?}", first.child, second.child))
}

/// What a configuration comes to, on both kinds of hosts. What one cannot do is left out there:
/// v1 has no `unified`, and v2 lacks what v1 has alone.
fn outcome(config: &Value) -> Result<String, String> {
    let spec = |config: &Value| {
        let decoded = serde_json::from_value(config.clone()).map_err(|error| error.to_string())?;
        Spec::validate(&decoded).map_err(|error| error.to_string())
    };
    let mut on_v1 = config.clone();
    let mut on_v2 = config.clone();
    let remove = |config: &mut Value, pointer: &str, names: &[&str]| {
        if let Some(Value::Object(part)) = config.pointer_mut(pointer) {
            names.iter().for_each(|name| drop(part.remove(*name)));
        }
    };
    remove(&mut on_v1, "/linux/resources", &["unified"]);
    remove(&mut on_v2, "/linux/resources", &["network"]);
    remove(&mut on_v2, "/linux/resources/memory", &["swappiness", "disableOOMKiller"]);
    remove(&mut on_v2, "/linux/resources/cpu", &["realtimeRuntime", "realtimePeriod"]);
    remove(&mut on_v2, "/linux/resources/blockIO", &["leafWeight"]);
    remove(&mut on_v2, "/linux/resources/blockIO/weightDevice/0", &["leafWeight"]);
    let mut outcome = String::new();
    for (config, host) in [(on_v1, v1()), (on_v2, v2())] {
        let mut spec = spec(&config)?;
        outcome += &plans(&spec, &host)?;
        // What the cgroup gets is in the plans; the copy of config.json must not count.
        spec.linux.resources = None;
        outcome += &format!("{spec:?}");
    }
    Ok(outcome)
}

fn everything() -> Value {
    serde_json::from_str(include_str!("everything.json")).unwrap()
}

/// Without the property at a JSON pointer.
fn without(config: &Value, pointer: &str) -> Value {
    let mut config = config.clone();
    let (holder, name) = pointer.rsplit_once('/').unwrap();
    match config.pointer_mut(holder).unwrap() {
        Value::Object(part) => drop(part.remove(name)),
        Value::Array(part) => drop(part.remove(name.parse().unwrap())),
        other => panic!("{pointer} is in {other}"),
    }
    config
}

#[test]
fn the_example_has_every_property_that_is_honoured() {
    let found: BTreeSet<String> = properties(&everything()).into_iter().map(|(p, _)| p).collect();
    let known = |fate: fn(&Fate) -> bool| -> BTreeSet<String> {
        let list = PROPERTIES.iter().filter(|(_, f)| fate(f));
        list.map(|(name, _)| (*name).to_owned()).collect()
    };
    let honoured = known(|fate| *fate == Fate::Honoured);
    assert_eq!(honoured.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new());
    let any = known(|fate| *fate != Fate::Refused);
    assert_eq!(found.difference(&any).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The decoder drops what it does not know.
#[test]
fn the_decoder_knows_every_property() {
    let decoded: oci_spec::runtime::Spec = serde_json::from_value(everything()).unwrap();
    let encoded = properties(&serde_json::to_value(decoded).unwrap());
    for (name, path) in properties(&everything()) {
        assert!(encoded.iter().any(|(_, encoded)| *encoded == path), "{name} ({path})");
    }
}

#[test]
fn every_honoured_property_changes_something() {
    let whole = outcome(&everything()).unwrap();
    let mut ignored = Vec::new();
    for (name, path) in properties(&everything()) {
        let fate = PROPERTIES.iter().find(|(known, _)| *known == name).map(|(_, fate)| fate);
        let changed = outcome(&without(&everything(), &path));
        let is_same = changed.is_ok_and(|text| text == whole);
        if is_same && fate == Some(&Fate::Honoured) {
            ignored.push(path);
        }
    }
    assert_eq!(ignored, Vec::<String>::new());
}

#[test]
fn every_refused_property_is_named() {
    for (name, fate) in PROPERTIES.iter().filter(|(_, fate)| *fate == Fate::Refused) {
        let mut config = everything();
        let value = match *name {
            "process.commandLine" => json!("x"),
            "windows" => json!({ "layerFolders": ["c"] }),
            "vm" => json!({ "kernel": { "path": "/k" } }),
            "linux.personality.flags[]" => json!(["X"]),
            _ => json!({}),
        };
        let pointer = format!("/{}", name.trim_end_matches("[]").replace('.', "/"));
        let (holder, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(holder).unwrap()[key] = value;
        let told = outcome(&config).unwrap_err();
        assert!(told.contains(name.trim_end_matches("[]")), "{name} ({fate:?}): {told}");
    }
}
