//! The process of a container: what config.json says it is, and nothing more.
//! Source: OCI runtime-spec, config.md, "Process" and "POSIX process"; capabilities(7).

use serde_json::{Value, json};

use super::{Verdict, World, cases, claim};

cases!("process":
    arguments_are_exact,
    the_environment_is_exact,
    the_working_directory_is_set,
    a_missing_working_directory_is_made,
    the_user_is_set,
    additional_groups_are_set,
    the_umask_is_set,
    capabilities_are_exact,
    without_capabilities_there_are_none,
    ambient_capabilities_reach_another_user,
    no_new_privileges_is_set,
    no_new_privileges_is_not_set_unasked,
    limits_are_set,
    the_oom_score_is_set,
    no_descriptor_leaks_in,
    the_process_is_a_session_leader,
    the_program_is_found_in_path,
    a_missing_path_falls_back,
);

fn arguments_are_exact(w: &World) -> anyhow::Result<Verdict> {
    let words = ["args", "", "two words", "\"quoted\"", "$HOME", "*", "-x"];
    let facts = w.facts(&w.bundle(&words)?)?;
    let mut expected = vec!["/bin/probe"];
    expected.extend(words);
    claim!(facts["args"] == json!(expected), "{}", facts["args"]);
    Ok(Verdict::Pass)
}

fn the_environment_is_exact(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["env"])?.change(|config| {
        config["process"]["env"] = json!(["PATH=/bin", "A=1 2", "EMPTY=", "EQ=a=b"]);
    })?;
    let facts = w.facts(&bundle)?;
    let mut env = facts["env"].clone();
    // Runtimes may add HOME from the user's entry (and runc does).
    if let Some(env) = env.as_object_mut() {
        env.remove("HOME");
    }
    let expected = json!({ "PATH": "/bin", "A": "1 2", "EMPTY": "", "EQ": "a=b" });
    claim!(env == expected, "{env}");
    Ok(Verdict::Pass)
}

fn ids(w: &World, change: impl FnOnce(&mut Value)) -> anyhow::Result<Value> {
    w.facts(&w.bundle(&["ids"])?.change(change)?)
}

fn the_working_directory_is_set(w: &World) -> anyhow::Result<Verdict> {
    let facts = ids(w, |c| c["process"]["cwd"] = json!("/var/tmp"))?;
    claim!(facts["cwd"] == "/var/tmp", "{}", facts["cwd"]);
    Ok(Verdict::Pass)
}

fn a_missing_working_directory_is_made(w: &World) -> anyhow::Result<Verdict> {
    let facts = ids(w, |c| c["process"]["cwd"] = json!("/new/place"))?;
    claim!(facts["cwd"] == "/new/place", "{}", facts["cwd"]);
    Ok(Verdict::Pass)
}

fn the_user_is_set(w: &World) -> anyhow::Result<Verdict> {
    let facts = ids(w, |c| c["process"]["user"] = json!({ "uid": 1000, "gid": 1001 }))?;
    let seen = (&facts["uid"], &facts["euid"], &facts["gid"], &facts["egid"]);
    claim!(seen == (&json!(1000), &json!(1000), &json!(1001), &json!(1001)), "{facts}");
    claim!(facts["groups"] == json!([]), "groups of the caller: {}", facts["groups"]);
    Ok(Verdict::Pass)
}

fn additional_groups_are_set(w: &World) -> anyhow::Result<Verdict> {
    let facts = ids(w, |config| {
        config["process"]["user"] =
            json!({ "uid": 1000, "gid": 1001, "additionalGids": [2000, 2001] });
    })?;
    claim!(facts["groups"] == json!([2000, 2001]), "{}", facts["groups"]);
    Ok(Verdict::Pass)
}

fn the_umask_is_set(w: &World) -> anyhow::Result<Verdict> {
    let facts = ids(w, |c| c["process"]["user"] = json!({ "uid": 0, "gid": 0, "umask": 0o27 }))?;
    claim!(facts["umask"] == "0027", "{}", facts["umask"]);
    Ok(Verdict::Pass)
}

fn caps(w: &World, change: impl FnOnce(&mut Value)) -> anyhow::Result<Value> {
    Ok(w.facts(&w.bundle(&["caps"])?.change(change)?)?["caps"].clone())
}

fn capabilities_are_exact(w: &World) -> anyhow::Result<Verdict> {
    let seen = caps(w, |config| {
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN", "CAP_KILL"],
            "inheritable": [],
            "ambient": []
        });
    })?;
    // Root would get its whole bounding set at exec, but no_new_privs keeps it to what it had
    // (Linux, security/commoncap.c).
    let bounding = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]);
    claim!(seen["bounding"] == bounding, "bounding {}", seen["bounding"]);
    claim!(seen["inheritable"] == json!([]), "inheritable {}", seen["inheritable"]);
    claim!(seen["ambient"] == json!([]), "ambient {}", seen["ambient"]);
    let asked = json!(["CAP_CHOWN", "CAP_KILL"]);
    claim!(seen["effective"] == asked, "effective {}", seen["effective"]);
    claim!(seen["permitted"] == asked, "permitted {}", seen["permitted"]);
    Ok(Verdict::Pass)
}

fn without_capabilities_there_are_none(w: &World) -> anyhow::Result<Verdict> {
    let seen = caps(w, |c| c["process"]["capabilities"] = json!({}))?;
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        claim!(seen[set] == json!([]), "{set} {}", seen[set]);
    }
    Ok(Verdict::Pass)
}

fn ambient_capabilities_reach_another_user(w: &World) -> anyhow::Result<Verdict> {
    let seen = caps(w, |config| {
        let set = json!(["CAP_NET_BIND_SERVICE"]);
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        config["process"]["capabilities"] = json!({
            "bounding": set, "permitted": set, "effective": set, "inheritable": set, "ambient": set
        });
    })?;
    for set in ["ambient", "permitted", "effective"] {
        claim!(seen[set] == json!(["CAP_NET_BIND_SERVICE"]), "{set} {}", seen[set]);
    }
    Ok(Verdict::Pass)
}

fn no_new_privileges_is_set(w: &World) -> anyhow::Result<Verdict> {
    let facts = ids(w, |c| c["process"]["noNewPrivileges"] = json!(true))?;
    claim!(facts["no_new_privs"] == true, "{facts}");
    Ok(Verdict::Pass)
}

fn no_new_privileges_is_not_set_unasked(w: &World) -> anyhow::Result<Verdict> {
    let facts = ids(w, |c| c["process"]["noNewPrivileges"] = json!(false))?;
    claim!(facts["no_new_privs"] == false, "{facts}");
    Ok(Verdict::Pass)
}

fn limits_are_set(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["limits"])?.change(|config| {
        config["process"]["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": 200, "hard": 300 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }
        ]);
    })?;
    let facts = w.facts(&bundle)?;
    let limits = &facts["limits"];
    claim!(limits["Max open files"] == json!(["200", "300"]), "{}", limits["Max open files"]);
    claim!(limits["Max core file size"] == json!(["0", "0"]), "{limits}");
    Ok(Verdict::Pass)
}

fn the_oom_score_is_set(w: &World) -> anyhow::Result<Verdict> {
    let facts = ids(w, |c| c["process"]["oomScoreAdj"] = json!(500))?;
    claim!(facts["oom_score_adj"] == "500", "{}", facts["oom_score_adj"]);
    Ok(Verdict::Pass)
}

/// The caller of the runtime holds a descriptor open that is not closed at exec.
fn no_descriptor_leaks_in(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["fds"])?;
    let path = super::world::path_text(&bundle.path)?;
    let inner = w.command(&["run", "--bundle", path, &w.id()]);
    let mut outer = std::process::Command::new("/bin/sh");
    outer.args(["-c", "exec 7</etc/passwd 9</; exec \"$@\"", "sh"]);
    outer.arg(inner.get_program()).args(inner.get_args()).stdin(std::process::Stdio::null());
    let ran = crate::program::run(w.folder(), &mut outer)?.succeeded()?;
    let facts: Value = serde_json::from_str(ran.stdout.trim())?;
    let fds: Vec<_> = facts["fds"].as_object().into_iter().flatten().map(|(fd, _)| fd).collect();
    claim!(fds == ["0", "1", "2"], "open descriptors: {}", facts["fds"]);
    Ok(Verdict::Pass)
}

fn the_process_is_a_session_leader(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["cat", "/proc/self/stat"])?;
    let facts = w.facts(&bundle)?;
    let text = facts["text"].as_str().unwrap_or_default();
    // pid (name) state ppid pgrp session
    let rest: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    claim!(rest.get(3) == Some(&"1"), "session {:?} in {text:?}", rest.get(3));
    Ok(Verdict::Pass)
}

fn the_program_is_found_in_path(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&[])?.change(|config| {
        config["process"]["env"] = json!(["PATH=/nowhere:/bin"]);
        config["process"]["args"] = json!(["probe", "exit", "9"]);
    })?;
    let outcome = w.run(&bundle)?;
    claim!(outcome.code == 9, "exit {}: {}", outcome.code, outcome.stderr);
    Ok(Verdict::Pass)
}

fn a_missing_path_falls_back(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&[])?.change(|config| {
        config["process"]["env"] = json!([]);
        config["process"]["args"] = json!(["/bin/probe", "exit", "9"]);
    })?;
    let outcome = w.run(&bundle)?;
    claim!(outcome.code == 9, "exit {}: {}", outcome.code, outcome.stderr);
    Ok(Verdict::Pass)
}
