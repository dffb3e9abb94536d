//! podman as root, with storage, networks and a runtime folder of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::terminal::Session;
use super::world::IMAGE;
use super::{World, claims, holds, same};
use crate::conformance::Verdict;
use crate::kernel;
use crate::program::{self, Ran};
use crate::service_manager::Manager;

claims!("podman":
    run_gives_output_and_exit_code,
    run_has_a_terminal,
    init_is_process_1,
    a_program_that_is_not_there_is_exit_127,
    a_program_that_may_not_be_executed_is_exit_126,
    exec_runs_in_the_container,
    the_life_of_a_container_is_told,
    pause_and_unpause_are_told,
    kill_and_wait_give_the_exit_code,
    update_and_stats_change_and_tell_limits,
    top_lists_the_processes,
    out_of_memory_is_told,
    a_service_manager_hears_that_the_container_is_ready,
    read_only_with_a_tmpfs_is_writable_there_only,
    loopback_is_up_without_a_network,
    a_user_namespace_maps_the_ids,
    containers_of_a_pod_share_its_network,
    pods_are_stopped_and_removed,
    a_checkpoint_is_restored,
);

/// podman's settings: limits that every root may set, and docker's init.
const SETTINGS: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
init_path = "/usr/bin/docker-init"
"#;

/// A podman with folders of its own.
#[derive(Debug)]
pub(super) struct Podman {
    folder: PathBuf,
    /// How it is started, up to the verb.
    start: Vec<String>,
    settings: PathBuf,
    /// The environment where it is not the caller's.
    environment: Option<Vec<(String, String)>>,
    user: Option<u32>,
    /// The options that place a container or a pod: users have no cgroups to give.
    place: Vec<String>,
}

impl Podman {
    /// As root.
    pub(super) fn new(world: &World) -> anyhow::Result<Self> {
        let folder = world.place.make("podman")?;
        let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (root, runroot, state) = (at("root"), at("runroot"), at("tmp"));
        let start = ["--root", &root, "--runroot", &runroot, "--tmpdir", &state].map(str::to_owned);
        Self::ready(world, folder, start.to_vec(), None, None)
    }

    /// As the user `id`, who owns `folder`.
    pub(super) fn of_user(
        world: &World,
        folder: PathBuf,
        id: u32,
        environment: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        Self::ready(world, folder, Vec::new(), Some(environment), Some(id))
    }

    fn ready(
        world: &World,
        folder: PathBuf,
        mut start: Vec<String>,
        environment: Option<Vec<(String, String)>>,
        user: Option<u32>,
    ) -> anyhow::Result<Self> {
        let settings = folder.join("containers.conf");
        fs::write(&settings, SETTINGS).context("write podman's settings")?;
        let usual = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"];
        start.extend(usual.map(str::to_owned));
        start.extend(["--events-backend", "file", "--runtime"].map(str::to_owned));
        start.push(world.runtime.to_string_lossy().into_owned());
        let place = match user {
            None => vec!["--cgroup-parent".to_owned(), world.place.cgroup.clone()],
            Some(_) => Vec::new(),
        };
        let podman = Self { folder, start, settings, environment, user, place };
        let archive = world.archive.to_str().context("the path of the image is no text")?;
        podman.out(&["load", "--input", archive])?;
        Ok(podman)
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        use std::os::unix::process::CommandExt as _;
        let mut command = program::command(&program::find("podman")?);
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().cloned());
        }
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        command.env("CONTAINERS_CONF", &self.settings).current_dir(&self.folder);
        // The verb first, and after it where its cgroup goes.
        let words = match arguments {
            ["run", ..] => 1,
            ["pod", "create", ..] => 2,
            _ => 0,
        };
        command.args(&self.start).args(&arguments[..words]);
        command.args(self.place.iter().filter(|_| words > 0)).args(&arguments[words..]);
        Ok(command)
    }

    /// Types `podman ARGUMENTS`.
    pub(super) fn typed(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        program::run(&self.folder, &mut self.command(arguments)?)
    }

    /// Types `podman ARGUMENTS`, which must succeed: what it prints, without spaces around.
    pub(super) fn out(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let ran = self.typed(arguments)?.succeeded();
        let ran = ran.with_context(|| format!("podman {}", arguments.join(" ")))?;
        Ok(ran.stdout.trim().to_owned())
    }

    /// `podman run --rm --network none OPTIONS IMAGE PROGRAM`.
    pub(super) fn run(&self, options: &[&str], program: &[&str]) -> anyhow::Result<Ran> {
        let run = ["run", "--rm", "--network", "none"];
        self.typed(&[&run[..], options, &[IMAGE], program].concat())
    }

    /// What a container prints that must end well.
    pub(super) fn printed(&self, options: &[&str], program: &[&str]) -> anyhow::Result<String> {
        Ok(self.run(options, program)?.succeeded()?.stdout.trim().to_owned())
    }

    /// A container `name` in the background, removed when it is dropped.
    pub(super) fn held<'a>(
        &'a self,
        name: &'a str,
        options: &[&str],
        program: &[&str],
    ) -> anyhow::Result<Held<'a>> {
        let run = ["run", "--detach", "--name", name, "--network", "none"];
        self.out(&[&run[..], options, &[IMAGE], program].concat())?;
        Ok(Held { podman: self, name })
    }
}

/// A container in the background.
#[derive(Debug)]
pub(super) struct Held<'a> {
    podman: &'a Podman,
    name: &'a str,
}

impl Held<'_> {
    /// `podman VERB OPTIONS NAME`.
    pub(super) fn verb(&self, verb: &str, options: &[&str]) -> anyhow::Result<String> {
        self.podman.out(&[&[verb], options, &[self.name]].concat())
    }

    /// A field by podman's template.
    pub(super) fn field(&self, template: &str) -> anyhow::Result<String> {
        self.verb("inspect", &["--format", template])
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        drop(self.podman.typed(&["rm", "--force", "--time", "0", self.name]));
    }
}

fn run_gives_output_and_exit_code(w: &World) -> anyhow::Result<Verdict> {
    let ran = w.podman()?.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"])?;
    same!(ran.code(), 7);
    same!(ran.stdout, "out\n");
    same!(ran.stderr, "err\n");
    Ok(Verdict::Pass)
}

fn run_has_a_terminal(w: &World) -> anyhow::Result<Verdict> {
    let run = w.podman()?.command(&["run", "--rm", "-it", "--network", "none", IMAGE, "sh"])?;
    let mut session = Session::start(run)?;
    session.until("#")?;
    session.type_in("until stty size | grep '40 120'; do sleep 0.1; done; tty\n")?;
    session.until("/dev/pts/0")?;
    session.type_in("exit 5\n")?;
    let (code, said) = session.end()?;
    holds!(said, "40 120\r\n");
    same!(code, 5);
    Ok(Verdict::Pass)
}

fn init_is_process_1(w: &World) -> anyhow::Result<Verdict> {
    let said = w.podman()?.printed(&["--init"], &["cat", "/proc/1/comm"])?;
    same!(said, "podman-init");
    Ok(Verdict::Pass)
}

fn a_program_that_is_not_there_is_exit_127(w: &World) -> anyhow::Result<Verdict> {
    let ran = w.podman()?.run(&[], &["no-such-program"])?;
    same!(ran.code(), 127);
    holds!(ran.stderr, "no-such-program");
    Ok(Verdict::Pass)
}

fn a_program_that_may_not_be_executed_is_exit_126(w: &World) -> anyhow::Result<Verdict> {
    same!(w.podman()?.run(&[], &["/etc/passwd"])?.code(), 126);
    Ok(Verdict::Pass)
}

fn exec_runs_in_the_container(w: &World) -> anyhow::Result<Verdict> {
    let podman = w.podman()?;
    let _held = podman.held("execs", &["-e", "A=container"], &["sleep", "1000"])?;
    let script = "echo $A $B; id -u; tr '\\0' ' ' < /proc/1/cmdline; exit 5";
    let exec = ["exec", "-e", "B=exec", "-u", "1000", "execs", "sh", "-c", script];
    let ran = podman.typed(&exec)?;
    same!(ran.stdout, "container exec\n1000\nsleep 1000 ");
    same!(ran.code(), 5);
    Ok(Verdict::Pass)
}

fn the_life_of_a_container_is_told(w: &World) -> anyhow::Result<Verdict> {
    let podman = w.podman()?;
    let held = podman.held("life", &[], &["sh", "-c", "echo up; sleep 1000"])?;
    let pid: u64 = held.field("{{.State.Pid}}")?.parse().context("read the pid")?;
    same!(kernel::lives(pid), true);
    let ps = podman.out(&["ps", "--filter", "name=life", "--format", "{{.Status}}"])?;
    holds!(ps, "Up ");
    program::until("the logs hold a line", || Ok((held.verb("logs", &[])? == "up").then_some(())))?;
    held.verb("stop", &["--time", "0"])?;
    same!(held.field("{{.State.Status}} {{.State.ExitCode}}")?, "exited 137");
    held.verb("start", &[])?;
    same!(held.field("{{.State.Status}}")?, "running");
    held.verb("rm", &["--force", "--time", "0"])?;
    same!(podman.out(&["ps", "--all", "--filter", "name=life", "--quiet"])?, "");
    Ok(Verdict::Pass)
}

fn pause_and_unpause_are_told(w: &World) -> anyhow::Result<Verdict> {
    let held = w.podman()?.held("pauses", &[], &["sleep", "1000"])?;
    held.verb("pause", &[])?;
    same!(held.field("{{.State.Status}}")?, "paused");
    held.verb("unpause", &[])?;
    same!(held.field("{{.State.Status}}")?, "running");
    Ok(Verdict::Pass)
}

fn kill_and_wait_give_the_exit_code(w: &World) -> anyhow::Result<Verdict> {
    let script = "trap 'exit 8' USR1; echo up; while :; do sleep 0.1; done";
    let held = w.podman()?.held("kills", &[], &["sh", "-c", script])?;
    program::until("the trap is set", || Ok((held.verb("logs", &[])? == "up").then_some(())))?;
    held.verb("kill", &["--signal", "USR1"])?;
    same!(held.verb("wait", &[])?, "8");
    Ok(Verdict::Pass)
}

fn update_and_stats_change_and_tell_limits(w: &World) -> anyhow::Result<Verdict> {
    let podman = w.podman()?;
    let options = ["--memory", "64m", "--memory-swap", "64m"];
    let held = podman.held("updates", &options, &["sleep", "1000"])?;
    held.verb("update", &["--cpus", "0.5"])?;
    let quota = if kernel::is_unified() { "cpu.max" } else { "cpu/cpu.cfs_quota_us" };
    let file = format!("/sys/fs/cgroup/{quota}");
    holds!(podman.out(&["exec", "updates", "cat", &file])?, "50000");
    let stats = held.verb("stats", &["--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}"])?;
    holds!(stats, "1 ");
    holds!(stats, " / 67.11MB");
    Ok(Verdict::Pass)
}

fn top_lists_the_processes(w: &World) -> anyhow::Result<Verdict> {
    let held = w.podman()?.held("tops", &[], &["sleep", "1357"])?;
    holds!(held.verb("top", &[])?, "sleep 1357");
    Ok(Verdict::Pass)
}

/// conmon 2.1 misses the kill with any runtime; the exit code tells it too.
fn out_of_memory_is_told(w: &World) -> anyhow::Result<Verdict> {
    let options = ["--memory", "24m", "--memory-swap", "24m"];
    let script = "until test -e /go; do sleep 0.1; done; exec tail /dev/zero";
    let held = w.podman()?.held("eats", &options, &["sh", "-c", script])?;
    w.podman()?.out(&["exec", "eats", "touch", "/go"])?;
    same!(held.verb("wait", &[])?, "137");
    Ok(Verdict::Pass)
}

/// `--sdnotify=container`, as units of podman have it.
fn a_service_manager_hears_that_the_container_is_ready(w: &World) -> anyhow::Result<Verdict> {
    let podman = w.podman()?;
    let manager = Manager::listen(&podman.folder)?;
    let probe = loadline_fixtures::probe::probe()?;
    let volume = format!("{}:/probe:ro", probe.display());
    let options = ["--sdnotify", "container", "--network", "none", "--volume", &volume];
    let program = [IMAGE, "/probe", "notify", "READY=1", "--", "sleep"];
    let run = ["run", "--detach", "--name", "ready"];
    let command = podman.command(&[&run[..], &options, &program].concat())?;
    let held = Held { podman, name: "ready" };
    program::run(&podman.folder, &mut manager.of(command))?.succeeded()?;
    let conmon = held.field("{{.State.ConmonPid}}")?;
    manager.hears(&["READY=1", &format!("MAINPID={conmon}")])?;
    Ok(Verdict::Pass)
}

fn read_only_with_a_tmpfs_is_writable_there_only(w: &World) -> anyhow::Result<Verdict> {
    let script = "touch /x/new && echo written; touch /new";
    let ran = w.podman()?.run(&["--read-only", "--tmpfs", "/x"], &["sh", "-c", script])?;
    same!(ran.stdout, "written\n");
    holds!(ran.stderr, "Read-only file system");
    Ok(Verdict::Pass)
}

fn loopback_is_up_without_a_network(w: &World) -> anyhow::Result<Verdict> {
    let ask = ["ping", "-c", "1", "-W", "5", "127.0.0.1"];
    holds!(w.podman()?.printed(&[], &ask)?, "1 packets received");
    Ok(Verdict::Pass)
}

fn a_user_namespace_maps_the_ids(w: &World) -> anyhow::Result<Verdict> {
    let options = ["--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000"];
    let script = "tr -s ' ' < /proc/self/uid_map; stat -c %u /etc; touch /new && echo written";
    let said = w.podman()?.printed(&options, &["sh", "-c", script])?;
    same!(said, "0 100000 1000\n0\nwritten");
    Ok(Verdict::Pass)
}

/// On version 2, the pod's cgroup of podman 4.3 with cgroupfs forbids every device, /dev/null too.
fn containers_of_a_pod_share_its_network(w: &World) -> anyhow::Result<Verdict> {
    if kernel::is_unified() {
        return Ok(Verdict::Needs(
            "a podman whose pods have devices on cgroup version 2".to_owned(),
        ));
    }
    let podman = w.podman()?;
    let infra = ["--infra-image", IMAGE, "--infra-command", "sleep 1000", "--network", "none"];
    podman.out(&[&["pod", "create", "--name", "shares"], &infra[..]].concat())?;
    let serve = "cd /tmp; echo found > index.html; exec httpd -f -p 8000";
    podman.out(&["run", "--detach", "--pod", "shares", IMAGE, "sh", "-c", serve])?;
    let ask = "until wget -q -O - http://127.0.0.1:8000/; do sleep 0.1; done; hostname";
    same!(
        podman.out(&["run", "--rm", "--pod", "shares", IMAGE, "sh", "-c", ask])?,
        "found\nshares"
    );
    let format = ["--format", "{{.Name}} {{.Status}} {{.NumberOfContainers}}"];
    let ps = podman.out(&[&["pod", "ps", "--filter", "name=shares"], &format[..]].concat())?;
    same!(ps, "shares Running 2");
    podman.out(&["pod", "rm", "--force", "--time", "0", "shares"])?;
    Ok(Verdict::Pass)
}

fn pods_are_stopped_and_removed(w: &World) -> anyhow::Result<Verdict> {
    let podman = w.podman()?;
    podman.out(&["pod", "create", "--name", "ends", "--infra=false"])?;
    let run = ["run", "--detach", "--pod", "ends", "--name", "ending", "--network", "none"];
    podman.out(&[&run[..], &[IMAGE, "sleep", "1000"]].concat())?;
    podman.out(&["pod", "stop", "--time", "0", "ends"])?;
    same!(podman.out(&["inspect", "--format", "{{.State.Status}}", "ending"])?, "exited");
    podman.out(&["pod", "rm", "ends"])?;
    same!(podman.out(&["ps", "--all", "--filter", "name=ending", "--quiet"])?, "");
    Ok(Verdict::Pass)
}

fn a_checkpoint_is_restored(w: &World) -> anyhow::Result<Verdict> {
    let works = program::run(&w.place.folder, Command::new("criu").arg("check"));
    if !works.is_ok_and(|check| check.status.success()) {
        return Ok(Verdict::Needs("a criu that works on this kernel".to_owned()));
    }
    let podman = w.podman()?;
    let script = "i=0; while :; do i=$((i + 1)); echo $i > /i; sleep 0.1; done";
    let held = podman.held("frozen", &[], &["sh", "-c", script])?;
    let count = || -> anyhow::Result<u64> {
        let text = podman.out(&["exec", "frozen", "cat", "/i"])?;
        Ok(text.parse().unwrap_or(0))
    };
    program::until("it counts", || Ok((count()? > 3).then_some(())))?;
    let before = count()?;
    podman.out(&["container", "checkpoint", "frozen"])?;
    same!(held.field("{{.State.Status}} {{.State.Checkpointed}}")?, "exited true");
    podman.out(&["container", "restore", "frozen"])?;
    same!(held.field("{{.State.Status}}")?, "running");
    program::until("it counts on", || Ok((count()? > before).then_some(())))?;
    Ok(Verdict::Pass)
}
