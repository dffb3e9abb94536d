//! System call filters. Source: OCI runtime-spec, config-linux.md, "Seccomp".

use serde_json::{Value, json};

use super::{Verdict, World, cases, claim};

cases!("seccomp":
    a_call_is_refused_with_the_errno_asked_for,
    a_call_that_is_not_allowed_is_refused,
    a_filter_can_look_at_arguments,
    a_filter_can_end_the_process,
    no_call_is_refused_where_all_are_only_logged,
);

/// A runtime that says it has no filters is not asked for one; one that says nothing is.
fn missing(w: &World) -> anyhow::Result<Option<Verdict>> {
    let ran = w.call(&["features"])?;
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let off = told["linux"]["seccomp"]["enabled"] == false;
    Ok(off.then(|| Verdict::Needs("seccomp, which `features` tells to be off".to_owned())))
}

fn filtered(w: &World, verbs: &[&str], seccomp: Value) -> anyhow::Result<Value> {
    let bundle = w.bundle(verbs)?.change(|config| {
        config["linux"]["seccomp"] = seccomp;
    })?;
    w.facts(&bundle)
}

fn a_call_is_refused_with_the_errno_asked_for(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 62
        }]
    });
    let facts = filtered(w, &["try-sethostname", "x", "--", "ids"], seccomp)?;
    claim!(facts["errno"] == "ETIME", "{}", facts["errno"]);
    claim!(facts["seccomp"] == "2", "mode {}", facts["seccomp"]);
    Ok(Verdict::Pass)
}

fn a_call_that_is_not_allowed_is_refused(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["unshare", "no_such_call"], "action": "SCMP_ACT_ERRNO" }]
    });
    let facts = filtered(w, &["try-unshare"], seccomp)?;
    claim!(facts["errno"] == "EPERM", "{}", facts["errno"]);
    Ok(Verdict::Pass)
}

fn a_filter_can_look_at_arguments(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    // kill(1, 0) is refused, and kill of another process is not.
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 62,
            "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]
        }]
    });
    let facts = filtered(w, &["try-kill", "1"], seccomp.clone())?;
    claim!(facts["errno"] == "ETIME", "{}", facts["errno"]);
    let facts = filtered(w, &["try-kill", "9999"], seccomp)?;
    claim!(facts["errno"] == "ESRCH", "{}", facts["errno"]);
    Ok(Verdict::Pass)
}

fn a_filter_can_end_the_process(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let bundle = w.bundle(&["echo", "up", "--", "try-sethostname", "x", "--", "echo", "on"])?;
    let bundle = bundle.change(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS" }]
        });
    })?;
    let outcome = w.run(&bundle)?;
    // SIGSYS is 31.
    claim!(outcome.code == 128 + 31, "exit {}: {}", outcome.code, outcome.stderr);
    claim!(outcome.stdout == "up\n", "{:?}", outcome.stdout);
    Ok(Verdict::Pass)
}

fn no_call_is_refused_where_all_are_only_logged(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["getuid", "uname"], "action": "SCMP_ACT_LOG" }]
    });
    let facts = filtered(w, &["host", "--", "ids"], seccomp)?;
    claim!(facts["seccomp"] == "2", "mode {}", facts["seccomp"]);
    claim!(facts["hostname"] == "probe", "{facts}");
    Ok(Verdict::Pass)
}
