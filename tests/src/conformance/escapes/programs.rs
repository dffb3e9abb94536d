//! Attacks on the runtime's own processes: its executable, its descriptors, its working directory,
//! and what its hooks inherit.

use std::process::Stdio;

use serde_json::{Value, json};

use super::race::rounds;
use super::{
    Verdict, World, attack, capabilities, cases, claim, fs, lines, make_link, outside, path_text,
    write,
};
use crate::program;
use anyhow::Context as _;

cases!("escapes":
    cve_2019_5736_the_runtime_can_not_be_overwritten_from_inside,
    cve_2019_5736_the_runtime_is_not_executed_by_a_link_to_itself,
    cve_2016_9962_a_process_that_enters_holds_no_way_out,
    cve_2024_21626_a_working_directory_is_no_descriptor_of_the_runtime,
    cve_2024_21626_an_exec_begins_in_no_descriptor_of_the_runtime,
    cve_2025_23266_hooks_get_nothing_of_the_containers_environment,
);

/// All but the one with which everything can be traced, for which a process that enters is open
/// whatever the runtime does.
const NEARLY_ALL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_NET_ADMIN",
    "CAP_KILL",
    "CAP_MKNOD",
];

/// A container that is created waits as a process of the runtime; another one in its pid namespace
/// keeps a handle of that process's executable, and opens it for writing once it has ended.
fn cve_2019_5736_the_runtime_can_not_be_overwritten_from_inside(
    w: &World,
) -> anyhow::Result<Verdict> {
    let before = w.runtime_bytes()?;
    let holder = w.create(&w.bundle(&["sleep"])?)?;
    let path = format!("/proc/{}/ns/pid", holder.pid);
    let bundle = w.bundle(&["echo", "up", "--", "hold", "/proc/1/exe"])?.change(|config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
            if namespace["type"] == "pid" {
                namespace["path"] = json!(path);
            }
        }
        capabilities(config, NEARLY_ALL);
        config["linux"]["cgroupsPath"] = json!(w.cgroups_path("-attack"));
    })?;
    let id = format!("{}-attack", w.id());
    let attacker = w.create_as(&bundle, &id, &[])?;
    w.ok(&["start", &attacker.id])?;
    w.until_said(&id, "up")?;
    w.until_said(&id, "{\"")?;
    w.ok(&["start", &holder.id])?;
    w.until_status(&attacker.id, "stopped")?;
    let said = w.said(&attacker.id)?;
    claim!(!said.contains("\"writable\":true"), "the executable could be written: {said}");
    claim!(w.runtime_bytes()? == before, "the runtime was overwritten");
    w.ok(&["delete", "--force", &id])?;
    Ok(Verdict::Pass)
}

/// The program, a script's interpreter and a link lead to the runtime's own executable: none of
/// them may make it run again inside, where a library of the image would be loaded into it.
fn cve_2019_5736_the_runtime_is_not_executed_by_a_link_to_itself(
    w: &World,
) -> anyhow::Result<Verdict> {
    let created = w.started(&w.bundle(&["echo", "up", "--", "sleep"])?, "up")?;
    let root = w.folder().join("bundle1/rootfs");
    write(&root.join("bin/script"), "#!/proc/self/exe\n")?;
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root.join("bin/script"), mode).context("make a script")?;
    make_link("/proc/self/exe", &root.join("bin/link"))?;
    for program in ["/proc/self/exe", "/bin/script", "/bin/link"] {
        let ran = w.call(&["exec", &created.id, program, "--version"])?;
        // A program that is a copy of the runtime, or itself, tells its version.
        claim!(!ran.stdout.contains("version"), "{program} is the runtime: {}", ran.said());
        claim!(ran.code() != 0, "{program} ran: {}", ran.said());
    }
    Ok(Verdict::Pass)
}

/// A container looks at everything that the processes that enter it hold, while they enter: no
/// folder above its root, no executable that it could write.
fn cve_2016_9962_a_process_that_enters_holds_no_way_out(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["hunt"])?.change(|config| {
        capabilities(config, NEARLY_ALL);
    })?;
    let said = w.folder().join("hunter.said");
    let out = fs::File::create(&said).context("make a file for the hunter")?;
    let mut command = w.command(&["run", "--bundle", path_text(&bundle.path)?, &w.id()]);
    command.stdin(Stdio::piped()).stdout(out);
    let mut hunter = command.spawn().context("start the runtime")?;
    program::until("the hunter runs", || {
        let ended = hunter.try_wait().context("look at the hunter")?;
        claim!(ended.is_none(), "the hunter ended: {ended:?}");
        let state = w.call_again(&["state", &w.id()])?;
        let state: Value = serde_json::from_str(&state.stdout).unwrap_or_default();
        Ok((state["status"] == "running").then_some(()))
    })?;
    for _ in 0..rounds().min(400) {
        let ran = w.call_again(&["exec", &w.id(), "/bin/probe", "true"])?;
        claim!(ran.code() == 0, "exec: {}", ran.said());
    }
    drop(hunter.stdin.take());
    let ended = program::wait(&mut hunter, program::patience())?.context("the hunter hangs")?;
    let said = fs::read_to_string(&said).context("read what the hunter said")?;
    claim!(ended.success(), "the hunter: {ended}: {said}");
    claim!(!said.contains("way_out"), "{}", said.lines().next().unwrap_or_default());
    let told: Value = said
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .context("the hunter told nothing")?;
    claim!(told["processes"].as_u64().unwrap_or(0) > 0, "the hunter saw nobody: {told}");
    Ok(Verdict::Pass)
}

/// A folder's names are those of the host: the suite's own folder, or the root of cgroups.
fn is_of_the_host(facts: &Value) -> bool {
    let names = facts["names"].as_array().cloned().unwrap_or_default();
    let marks = ["boot", "cgroup.procs", "outside"];
    names.iter().any(|name| marks.iter().any(|mark| name == mark))
}

/// The working directory is a descriptor that the runtime may have open: it must not be a way to
/// folders of the host.
fn cve_2024_21626_a_working_directory_is_no_descriptor_of_the_runtime(
    w: &World,
) -> anyhow::Result<Verdict> {
    outside(w)?;
    for fd in 3..16 {
        for up in ["", "/..", "/../../.."] {
            let bundle = w.bundle(&["ls", ".", "--", "ls", "../../../.."])?.change(|config| {
                config["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}{up}"));
            })?;
            let Some(outcome) = attack(w, &bundle)? else { continue };
            for facts in lines(&outcome) {
                claim!(!is_of_the_host(&facts), "fd {fd}{up} is a folder of the host: {facts}");
            }
        }
    }
    Ok(Verdict::Pass)
}

/// As before, by exec into a container that runs; a link of the image leads to the descriptor.
fn cve_2024_21626_an_exec_begins_in_no_descriptor_of_the_runtime(
    w: &World,
) -> anyhow::Result<Verdict> {
    outside(w)?;
    let bundle = w.bundle(&["echo", "up", "--", "sleep"])?;
    for fd in 3..16 {
        make_link(format!("/proc/self/fd/{fd}"), &bundle.rootfs().join(format!("fd{fd}")))?;
    }
    let created = w.started(&bundle, "up")?;
    let exec = |cwd: &str| {
        let verbs = ["/bin/probe", "ls", ".", "--", "ls", "../../../.."];
        w.call_again(&[&["exec", "--cwd", cwd, &created.id], &verbs[..]].concat())
    };
    claim!(exec("/tmp")?.code() == 0, "a good exec: {}", exec("/tmp")?.said());
    for fd in 3..16 {
        for cwd in [format!("/proc/self/fd/{fd}"), format!("/fd{fd}")] {
            let ran = exec(&cwd)?;
            for facts in ran.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()) {
                claim!(!is_of_the_host(&facts), "{cwd} is a folder of the host: {facts}");
            }
        }
    }
    Ok(Verdict::Pass)
}

/// A hook that runs in the container's namespaces gets the environment that config.json gives it,
/// and nothing of the image's, which could name a library to load.
fn cve_2025_23266_hooks_get_nothing_of_the_containers_environment(
    w: &World,
) -> anyhow::Result<Verdict> {
    let file = w.folder().join("environment");
    let bundle = w.bundle(&["echo", "up"])?.change(|config| {
        config["process"]["env"] = json!(["PATH=/bin", "LD_PRELOAD=/evil.so", "EVIL=1"]);
        let script = format!("tr '\\0' '\\n' </proc/self/environ >>{}", file.display());
        let hook = json!({
            "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]
        });
        config["hooks"] = json!({ "createRuntime": [hook], "createContainer": [hook] });
    })?;
    let outcome = w.run(&bundle)?;
    claim!(outcome.code == 0, "exit {}: {}", outcome.code, outcome.stderr);
    let seen = fs::read_to_string(&file).context("read what the hooks were given")?;
    claim!(!seen.contains("EVIL") && !seen.contains("LD_PRELOAD"), "a hook was given {seen:?}");
    claim!(seen.matches("PATH=/usr/bin:/bin").count() == 2, "the hooks were given {seen:?}");
    Ok(Verdict::Pass)
}
