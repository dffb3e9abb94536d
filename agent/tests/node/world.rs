//! A node for tests: the real agent, the real supervisor and an OCI runtime, in a folder and below
//! a cgroup of their own.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loadline_model::{ContainerName, ContainerSpec, TaskArn, TaskSpec};

use super::fake::{Fake, PATIENCE};

/// Whether this host can run the tests; says what is missing where it can't.
pub(crate) fn can_run(test: &str) -> bool {
    let missing = if !nix::unistd::geteuid().is_root() {
        Some("root")
    } else if runtime().is_none() {
        Some("an OCI runtime (runc)")
    } else {
        None
    };
    if let Some(facility) = missing {
        eprintln!("SKIPPED {test}: needs {facility}");
    }
    missing.is_none()
}

/// The runtime to test with: `LOADLINE_TEST_RUNTIME`, or runc.
fn runtime() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LOADLINE_TEST_RUNTIME") {
        return Some(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    std::env::split_paths(&path).chain(extra).map(|dir| dir.join("runc")).find(|p| p.is_file())
}

pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) fake: Fake,
    pub(crate) cgroup_parent: String,
    /// The runtime's program; the test may put another in its place.
    pub(crate) runtime: Option<PathBuf>,
    /// The supervisor's program; the test may put another in its place.
    pub(crate) supervisor: PathBuf,
    /// Whether the agent's folder is a file system of the test's.
    pub(crate) mount_is_ours: bool,
    agent: Option<Child>,
    _temporary: tempfile::TempDir,
}

impl World {
    /// A world whose agent runs and holds the probe's image.
    pub(crate) async fn start(name: &str) -> Self {
        let mut world = Self::without_agent(name).await;
        world.start_agent(&[], &[]);
        world.import_probe();
        world
    }

    pub(crate) async fn without_agent(name: &str) -> Self {
        let temporary = tempfile::Builder::new().prefix("loadline-node-").tempdir().unwrap();
        Self {
            dir: temporary.path().join("agent"),
            fake: Fake::start().await,
            cgroup_parent: format!("loadline-test-{name}-{}", std::process::id()),
            runtime: runtime(),
            supervisor: env!("CARGO_BIN_EXE_loadline-supervisor").into(),
            mount_is_ours: false,
            agent: None,
            _temporary: temporary,
        }
    }

    pub(crate) fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadline-agent"));
        command
            .arg("run")
            .arg("--state-dir")
            .arg(&self.dir)
            .args(["--controller", &self.fake.address])
            .args(["--join-token", &self.fake.token])
            .args(["--cgroup-parent", &self.cgroup_parent])
            .args(self.runtime.iter().map(|path| format!("--runtime={}", path.display())))
            .arg("--supervisor")
            .arg(&self.supervisor)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    pub(crate) fn start_agent(&mut self, options: &[&str], env: &[(&str, &str)]) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.with_extension("log"))
            .unwrap();
        let mut command = self.command(options);
        command.envs(env.iter().copied()).stderr(log);
        self.agent = Some(command.spawn().unwrap());
        // The socket of an agent that was killed is still there; only an answer says it lives.
        self.until("the local API", |world| world.http("GET", "/v1/status", "").ok());
    }

    /// The agent's process.
    pub(crate) fn agent_pid(&self) -> u32 {
        self.agent.as_ref().expect("an agent runs").id()
    }

    /// Another program in the agent's place, which becomes it.
    pub(crate) fn start_agent_as(&mut self, mut command: Command) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.with_extension("log"))
            .unwrap();
        self.agent = Some(command.stderr(log).spawn().unwrap());
        self.until("the local API", |world| world.http("GET", "/v1/status", "").ok());
    }

    pub(crate) fn agent_log(&self) -> String {
        std::fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default()
    }

    /// kill -9, and nothing else.
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("an agent runs");
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// SIGTERM, as systemd does it.
    pub(crate) fn end_agent(&mut self) -> std::process::ExitStatus {
        let mut agent = self.agent.take().expect("an agent runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(agent.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        agent.wait().unwrap()
    }

    pub(crate) fn wait_for_agents_death(&mut self) {
        let agent = self.agent.as_mut().expect("an agent was started");
        let until = Instant::now() + PATIENCE;
        while agent.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the agent did not come to the failpoint");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.agent = None;
    }

    pub(crate) fn start_agent_that_may_die(&mut self, env: &[(&str, &str)]) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.with_extension("log"))
            .unwrap();
        let mut command = self.command(&[]);
        command.envs(env.iter().copied()).stderr(log);
        self.agent = Some(command.spawn().unwrap());
    }

    pub(crate) fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < until, "{what} did not come\n{}", self.agent_log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// One request to the local API; the body of the answer.
    pub(crate) fn http(&self, method: &str, target: &str, body: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.dir.join("agent.sock"))?;
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\ncontent-length: \
             {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    pub(crate) fn import_probe(&self) {
        let layout = self.dir.with_extension("image");
        let image = loadline_fixtures::Image::probe("probe:latest").unwrap();
        image.write_oci_layout(&layout).unwrap();
        let request = serde_json::json!({ "path": layout, "name": "probe:latest" });
        let answer = self.http("POST", "/v1/images/import", &request.to_string()).unwrap();
        assert!(answer.contains("\"imported\""), "{answer}");
    }

    pub(crate) fn task(&self, id: &str, command: &[&str]) -> TaskSpec {
        TaskSpec {
            family: "test".into(),
            ..TaskSpec::new(
                TaskArn::parse(&format!("arn:aws:ecs:us-east-1:000000000000:task/default/{id}"))
                    .unwrap(),
                vec![container("main", command)],
            )
        }
    }

    /// Everything that a node without tasks must not have: in words.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = self.dir.to_str().unwrap();
        found.extend(mounts.lines().filter(|line| line.contains(dir)).map(str::to_owned));
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let parent = hierarchy.path().join(&self.cgroup_parent);
            let tasks = std::fs::read_dir(parent).into_iter().flatten().flatten();
            let tasks = tasks.map(|entry| entry.path()).filter(|path| path.is_dir());
            found.extend(tasks.map(|path| path.display().to_string()));
        }
        found.extend(self.supervisors().iter().map(|pid| format!("supervisor {pid}")));
        let containers = std::fs::read_dir(self.dir.join("runtime")).into_iter().flatten();
        found.extend(containers.flatten().map(|entry| entry.path().display().to_string()));
        found
    }

    /// The pids of supervisors that live.
    pub(crate) fn supervisors(&self) -> Vec<i32> {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let is_ours = |path: &Path| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            // The agent's own command line names the supervisor too.
            let program = line.split('\0').next().unwrap_or_default();
            program.ends_with("/loadline-supervisor") && line.contains(self.dir.to_str().unwrap())
        };
        processes
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                is_ours(&entry.path()).then_some(pid)
            })
            .collect()
    }

    /// The pids of all containers' processes, from their cgroups.
    pub(crate) fn container_pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        let mut folders = vec![Path::new("/sys/fs/cgroup/pids").join(&self.cgroup_parent)];
        while let Some(folder) = folders.pop() {
            let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
        pids.sort_unstable();
        pids
    }

    /// SIGKILL for every container and every supervisor: what a reboot does.
    pub(crate) fn kill_tasks(&self) {
        for pid in self.supervisors().into_iter().chain(self.container_pids()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// Whether none is left.
    fn remove_cgroups(&self) -> bool {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let removed = hierarchies.map(|at| remove_cgroup(&at.path().join(&self.cgroup_parent)));
        // All of them are tried, whatever becomes of the first.
        removed.filter(|gone| !gone).count() == 0
    }

    /// Waits until nothing is left of any task.
    pub(crate) fn assert_clean(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.leftovers().is_empty() {
            assert!(Instant::now() < until, "left behind: {:#?}", self.leftovers());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A process that ends with its test.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the agent's log\n{}", self.agent_log());
        }
        self.kill_tasks();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for mount in below.filter(|path| path.starts_with(self.dir.to_str().unwrap_or("/"))) {
            let _ = nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH);
        }
        // A process that was killed leaves its cgroup a little later.
        let until = Instant::now() + PATIENCE;
        while !self.remove_cgroups() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
            self.kill_tasks();
        }
    }
}

/// Whether nothing is left of it.
fn remove_cgroup(folder: &Path) -> bool {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroup(&entry.path());
        }
    }
    std::fs::remove_dir(folder).is_ok() || !folder.exists()
}

pub(crate) fn container(name: &str, command: &[&str]) -> ContainerSpec {
    ContainerSpec {
        cpu_units: 10,
        memory_mib: Some(32),
        command: Some(command.iter().map(|&word| word.to_owned()).collect()),
        stop_timeout_s: Some(5),
        ..ContainerSpec::new(ContainerName::parse(name).unwrap(), "probe:latest")
    }
}
