//! Copies of both units, and what a person types beside them.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use loadline_fixtures::Image;
use loadline_tests::kernel;
use loadline_tests::program::{self, Ran, until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Where systemd looks for units of this boot alone.
const UNITS: &str = "/run/systemd/system";

pub(crate) struct World {
    /// The names of the units.
    pub(crate) controller: String,
    pub(crate) agent: String,
    name: String,
    state: PathBuf,
    folder: tempfile::TempDir,
    api: String,
    agents: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("loadline-units-").tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        let state = Path::new("/var/lib").join(&name);
        std::fs::create_dir(&state).unwrap();
        // The machine's root may be an overlay, on which no overlay can be written.
        let flags = MsFlags::empty();
        mount(Some("tmpfs"), &state, Some("tmpfs"), flags, Some("mode=0700")).unwrap();
        let [api, agents] = free_addresses();
        let world = Self {
            controller: format!("{name}-controller.service"),
            agent: format!("{name}-agent.service"),
            name,
            state,
            folder,
            api,
            agents,
        };
        world.write_unit("loadline-controller.service", &world.controller);
        world.write_unit("loadline-agent.service", &world.agent);
        let options = format!("--api-listen {} --agent-listen {}", world.api, world.agents);
        world.write_settings("controller", &format!("LOADLINE_CONTROLLER_OPTIONS={options}\n"));
        world.systemctl(&["daemon-reload"]);
        world
    }

    /// The unit of docs/ with other names and places, and nothing else changed.
    fn write_unit(&self, unit: &str, name: &str) {
        let source = loadline_fixtures::folders::workspace().join("docs/systemd").join(unit);
        let programs = program::find("loadline-agent").unwrap().parent().unwrap().to_owned();
        let text = std::fs::read_to_string(source)
            .unwrap()
            .replace("/usr/local/bin", programs.to_str().unwrap())
            .replace("/var/lib/loadline", self.state.to_str().unwrap())
            .replace("StateDirectory=loadline", &format!("StateDirectory={}", self.name))
            .replace("/etc/loadline", self.settings().to_str().unwrap())
            .replace("loadline-controller.service", &self.controller)
            // The programs and settings of a test may lie where the unit hides them.
            .replace("PrivateTmp=yes\n", "")
            .replace("ProtectHome=yes\n", "");
        std::fs::write(Path::new(UNITS).join(name), text).unwrap();
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("etc")
    }

    fn write_settings(&self, of: &str, text: &str) {
        std::fs::create_dir_all(self.settings()).unwrap();
        let path = self.settings().join(format!("{of}.env"));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn let_agent_join(&self, token: &str) {
        let (agents, name) = (&self.agents, &self.name);
        self.write_settings(
            "agent",
            &format!(
                "LOADLINE_CONTROLLER={agents}\nLOADLINE_JOIN_TOKEN={token}\n\
                 LOADLINE_AGENT_OPTIONS=--cgroup-parent {name}\n"
            ),
        );
    }

    pub(crate) fn systemctl(&self, args: &[&str]) -> String {
        let mut command = program::command(&program::find("systemctl").unwrap());
        command.arg("--no-pager").args(args);
        let ran = program::run(self.folder.path(), &mut command).unwrap();
        assert!(ran.status.success(), "systemctl {args:?}: {}{}", ran.stderr, self.journal());
        ran.stdout
    }

    fn journal(&self) -> String {
        let mut command = program::command(Path::new("journalctl"));
        command.args(["--no-pager", "-n", "40", "-u", &self.controller, "-u", &self.agent]);
        let ran = program::run(self.folder.path(), &mut command);
        ran.map_or_else(|error| error.to_string(), |ran| ran.stdout)
    }

    pub(crate) fn loadline(&self, args: &[&str]) -> Ran {
        let mut command = program::command(&program::find("loadline").unwrap());
        command
            .args(args)
            .env("LOADLINE_ENDPOINT", format!("http://{}", self.api))
            .env("LOADLINE_STATE_DIR", &self.state);
        program::run(self.folder.path(), &mut command).unwrap()
    }

    pub(crate) fn until_connected(&self) {
        self.until("the node is connected", &["nodes"], "connected");
    }

    pub(crate) fn until_running(&self, task: &str) {
        self.until("the task runs", &["ps"], &format!("{task}  run-probe"));
    }

    fn until(&self, what: &str, args: &[&str], expected: &str) {
        let seen = until(what, || Ok(self.loadline(args).stdout.contains(expected).then_some(())));
        seen.unwrap_or_else(|error| panic!("{error:#}\n{}", self.journal()));
    }

    /// Waits until systemd itself has started the agent again.
    pub(crate) fn until_restarted_once(&self) {
        until("systemd starts the agent again", || {
            let shown = self.systemctl(&["show", "--property=NRestarts,SubState", &self.agent]);
            let again = shown.contains("NRestarts=1") && shown.contains("SubState=running");
            Ok(again.then_some(()))
        })
        .unwrap();
    }

    pub(crate) fn import_probe(&self) {
        let layout = self.folder.path().join("layout");
        Image::probe("probe:latest").unwrap().write_oci_layout(&layout).unwrap();
        let imported = self.loadline(&["image", "import", layout.to_str().unwrap()]);
        assert!(imported.status.success(), "{}", imported.stderr);
    }

    /// The process that holds the task's container.
    pub(crate) fn supervisor_of(&self, task: &str) -> Vec<u64> {
        let all = kernel::processes().into_iter();
        let found = all.filter(|(_, line)| line.contains(task) && line.contains("supervisor"));
        let found: Vec<u64> = found.map(|(pid, _)| pid).collect();
        assert_eq!(found.len(), 1, "{task}");
        found
    }

    pub(crate) fn left_nothing(&self) {
        let state = self.state.to_str().unwrap();
        let processes = kernel::processes().into_iter().filter(|(_, line)| line.contains(state));
        let mut left: Vec<String> = processes.map(|(_, line)| line).collect();
        let below = format!("{state}/");
        left.extend(kernel::mounts().into_iter().filter(|mount| mount.starts_with(&below)));
        let cgroups = kernel::cgroups_named(&self.name);
        left.extend(cgroups.iter().map(|cgroup| cgroup.display().to_string()));
        assert!(left.is_empty(), "{left:#?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.journal());
        }
        for unit in [&self.agent, &self.controller] {
            let mut command = program::command(Path::new("systemctl"));
            let _ = program::run(self.folder.path(), command.args(["stop", unit]));
            let _ = std::fs::remove_file(Path::new(UNITS).join(unit));
        }
        let mut command = program::command(Path::new("systemctl"));
        let _ = program::run(self.folder.path(), command.arg("daemon-reload"));
        let _ = umount2(&self.state, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.state);
    }
}

/// Free a moment ago; a unit can't tell us the port that the kernel chose. Both are held until both
/// are found: else they may be the same.
fn free_addresses() -> [String; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|held| held.local_addr().unwrap().to_string())
}
