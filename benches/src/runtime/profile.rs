//! From an engine's profile of system calls to the form that a runtime takes.
//!
//! The engines' form has rules that hold for some architectures or capabilities only; an engine
//! resolves them for the container at hand and hands the rest to the runtime, as is done here.

use anyhow::Context as _;
use serde_json::{Map, Value, json};

/// This machine's architecture in the two spellings that profiles use.
const ARCH_GO: &str = "amd64";
const ARCH_OCI: &str = "SCMP_ARCH_X86_64";

/// The profile for the container of `config`, as `linux.seccomp`.
pub(crate) fn convert(profile: &Value, config: &Value) -> anyhow::Result<Value> {
    let rules = profile["syscalls"].as_array().context("the profile has no list of rules")?;
    let capabilities: Vec<&str> = texts(&config["process"]["capabilities"]["bounding"]);
    let holds = |rule: &&Value| applies(rule, &capabilities);
    let architectures = profile["archMap"].as_array().into_iter().flatten();
    let architectures: Vec<Value> = architectures
        .filter(|entry| entry["architecture"] == ARCH_OCI)
        .flat_map(|entry| {
            let others = entry["subArchitectures"].as_array().cloned().unwrap_or_default();
            std::iter::once(entry["architecture"].clone()).chain(others)
        })
        .collect();
    let mut converted = json!({
        "defaultAction": profile["defaultAction"],
        "architectures": architectures,
        "syscalls": rules.iter().filter(holds).map(rule).collect::<Vec<_>>(),
    });
    if profile["defaultErrnoRet"].is_number() {
        converted["defaultErrnoRet"] = profile["defaultErrnoRet"].clone();
    }
    Ok(converted)
}

fn applies(rule: &Value, capabilities: &[&str]) -> bool {
    let has = |list: &Value| texts(list).iter().any(|name| capabilities.contains(name));
    let has_all = |list: &Value| texts(list).iter().all(|name| capabilities.contains(name));
    let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
    let arches = texts(&includes["arches"]);
    let is_here = arches.is_empty() || arches.contains(&ARCH_GO);
    is_here
        && has_all(&includes["caps"])
        && !texts(&excludes["arches"]).contains(&ARCH_GO)
        && !has(&excludes["caps"])
}

/// What the specification knows of a rule.
fn rule(rule: &Value) -> Value {
    let mut kept = Map::new();
    for key in ["names", "action", "errnoRet", "args"] {
        let value = &rule[key];
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if !value.is_null() && !is_empty {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(kept)
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::convert;
    use serde_json::json;

    #[test]
    fn rules_of_other_machines_and_capabilities_are_left_out() {
        let rule = |name: &str, includes, excludes| {
            json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "x",
                    "includes": includes, "excludes": excludes })
        };
        let none = || json!({});
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "archMap": [
                { "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] },
                { "architecture": "SCMP_ARCH_ARM", "subArchitectures": [] }],
            "syscalls": [
                rule("read", none(), none()),
                rule("arm", json!({ "arches": ["arm"] }), none()),
                rule("mount", json!({ "caps": ["CAP_SYS_ADMIN"] }), none()),
                rule("kill", json!({ "caps": ["CAP_KILL"] }), none()),
                rule("no", none(), json!({ "caps": ["CAP_KILL"] })),
            ],
        });
        let config = json!({ "process": { "capabilities": { "bounding": ["CAP_KILL"] } } });
        let converted = convert(&profile, &config).unwrap();
        let names: Vec<_> = converted["syscalls"].as_array().unwrap().iter().collect();
        assert_eq!(names[0], &json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW" }));
        assert_eq!(names[1]["names"], json!(["kill"]));
        assert_eq!(names.len(), 2);
        assert_eq!(converted["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
        assert_eq!(converted["defaultErrnoRet"], 38);
    }
}
