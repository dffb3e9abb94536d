//! Attacks on who a process is: its ids, groups and capabilities.

use serde_json::{Value, json};

use super::{Outcome, Verdict, World, cases, claim, fs, path_text};
use crate::program;
use anyhow::Context as _;

cases!("escapes":
    cve_2022_29162_an_exec_with_capabilities_makes_none_inheritable,
    cve_2022_27650_an_exec_makes_no_capability_inheritable,
    cve_2022_24769_a_container_inherits_no_capability,
    cve_2026_30892_an_exec_as_a_user_by_number_is_not_root,
    cve_2023_25173_groups_of_the_caller_do_not_come_along,
    cve_2021_43784_more_id_maps_than_the_kernel_takes_are_refused,
);

/// A container that sleeps, with these capabilities.
fn sleeping(w: &World) -> anyhow::Result<String> {
    let bundle = w.bundle(&["echo", "up", "--", "sleep"])?.change(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
    })?;
    Ok(w.started(&bundle, "up")?.id)
}

fn facts(ran: &program::Ran) -> anyhow::Result<Value> {
    let (stdout, stderr) = (ran.stdout.clone(), ran.stderr.clone());
    Outcome { code: ran.code(), stdout, stderr }.facts()
}

/// exec --cap: the capability is had, and is not inheritable, for an ordinary user of the container
/// could then take it from a file that root marked.
fn cve_2022_29162_an_exec_with_capabilities_makes_none_inheritable(
    w: &World,
) -> anyhow::Result<Verdict> {
    let id = sleeping(w)?;
    let ran = w.ok(&["exec", "--cap", "CAP_CHOWN", &id, "/bin/probe", "caps"])?;
    let facts = facts(&ran)?;
    let had =
        facts["caps"]["permitted"].as_array().is_some_and(|c| c.contains(&json!("CAP_CHOWN")));
    claim!(had, "the capability was not given: {facts}");
    claim!(facts["caps"]["inheritable"] == json!([]), "{}", facts["caps"]["inheritable"]);
    Ok(Verdict::Pass)
}

/// exec without more: nothing of the container's capabilities is inheritable.
fn cve_2022_27650_an_exec_makes_no_capability_inheritable(w: &World) -> anyhow::Result<Verdict> {
    let id = sleeping(w)?;
    let facts = facts(&w.ok(&["exec", &id, "/bin/probe", "caps"])?)?;
    claim!(facts["caps"]["permitted"] != json!([]), "no capability at all: {facts}");
    claim!(facts["caps"]["inheritable"] == json!([]), "{}", facts["caps"]["inheritable"]);
    Ok(Verdict::Pass)
}

/// A configuration without an inheritable set, by a caller that has one: nothing is inheritable.
fn cve_2022_24769_a_container_inherits_no_capability(w: &World) -> anyhow::Result<Verdict> {
    let facts = called_with(w, &["--inh-caps", "+net_raw,+sys_admin"])?;
    claim!(facts["caps"]["inheritable"] == json!([]), "{}", facts["caps"]["inheritable"]);
    claim!(facts["caps"]["ambient"] == json!([]), "{}", facts["caps"]["ambient"]);
    Ok(Verdict::Pass)
}

/// exec --user N: a number alone is the user, and never root; what is no number is refused.
fn cve_2026_30892_an_exec_as_a_user_by_number_is_not_root(w: &World) -> anyhow::Result<Verdict> {
    let id = sleeping(w)?;
    let ids = |user: &str| w.call(&["exec", "--user", user, &id, "/bin/probe", "ids"]);
    for (user, uid, gid) in [("1", 1, 0), ("1:2", 1, 2), ("1000:1000", 1000, 1000)] {
        let ran = ids(user)?;
        let seen = facts(&ran).with_context(|| ran.said())?;
        claim!(seen["uid"] == uid && seen["gid"] == gid, "--user {user}: {seen}");
    }
    for user in ["1x", "x1", "-1", "0x1", "1:x", "4294967296", "4294967297:0", " 1", "1:"] {
        let ran = ids(user)?;
        if let Ok(seen) = facts(&ran) {
            let root = seen["uid"] == 0 || seen["euid"] == 0;
            claim!(!root, "--user {user:?} is root: {seen}");
        }
    }
    Ok(Verdict::Pass)
}

/// The facts of a container whose caller was started by setpriv with these options.
fn called_with(w: &World, options: &[&str]) -> anyhow::Result<Value> {
    let bundle = w.bundle(&["ids", "--", "caps"])?;
    let inner = w.command(&["run", "--bundle", path_text(&bundle.path)?, &w.id()]);
    let mut outer = std::process::Command::new("setpriv");
    outer.args(options).arg(inner.get_program()).args(inner.get_args());
    let ran = program::run(w.folder(), outer.stdin(std::process::Stdio::null()))?.succeeded()?;
    facts(&ran)
}

/// The caller is in groups that the configuration does not name: the process is in none of them,
/// for a group can be what keeps somebody out.
fn cve_2023_25173_groups_of_the_caller_do_not_come_along(w: &World) -> anyhow::Result<Verdict> {
    let seen = called_with(w, &["--groups", "27,100"])?;
    claim!(seen["groups"] == json!([]), "groups {}", seen["groups"]);
    let bundle = w.bundle(&["ids"])?.change(|config| {
        config["process"]["user"] = json!({ "uid": 7, "gid": 8, "additionalGids": [8, 9] });
    })?;
    let seen = w.facts(&bundle)?;
    claim!(seen["groups"] == json!([8, 9]), "groups {}", seen["groups"]);
    Ok(Verdict::Pass)
}

/// So many id maps that their length wraps in a message of 16 bits: refused, or mapped as asked;
/// never is another map, or none, in force.
fn cve_2021_43784_more_id_maps_than_the_kernel_takes_are_refused(
    w: &World,
) -> anyhow::Result<Verdict> {
    super::good(w)?;
    let maps: Vec<Value> = (0..6000_u32)
        .map(|n| json!({ "containerID": n, "hostID": 100_000 + 2 * n, "size": 1 }))
        .collect();
    let bundle = w.bundle(&["ids"])?.change(|config| {
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "user" }));
        }
        config["linux"]["uidMappings"] = json!(maps);
        config["linux"]["gidMappings"] = json!(maps);
    })?;
    std::os::unix::fs::chown(bundle.rootfs(), Some(100_000), Some(100_000))
        .context("give the root away")?;
    let outcome = w.run(&bundle)?;
    if let Ok(seen) = outcome.facts() {
        let maps = seen["uid_map"].as_array().map_or(0, Vec::len);
        claim!(maps == 6000, "{maps} maps are in force: {}", seen["uid_map"][0]);
    } else {
        claim!(!outcome.stderr.trim().is_empty(), "refused without a word");
    }
    let left = fs::read_dir(w.folder().join("state")).into_iter().flatten().flatten().count();
    claim!(left == 0 || outcome.code == 0, "a record of it is left");
    Ok(Verdict::Pass)
}
