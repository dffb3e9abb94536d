//! What a person types, from `loadline up` to the end of it.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;

use loadline_fixtures::Image;
use loadline_tests::cluster::empty;
use loadline_tests::require::Facility;
use loadline_tests::{kernel, program, require};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A cluster that `loadline up` keeps, and the words with which every other call begins.
struct Up {
    folder: tempfile::TempDir,
    child: Child,
    cgroup_parent: String,
    common: Vec<String>,
}

impl Up {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("loadline-").tempdir().unwrap();
        // Both are held until both are found: else they may be the same.
        let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [api, agents] = held.map(|held| held.local_addr().unwrap().to_string());
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        let cgroup_parent = format!("{name}-up");
        let state = folder.path().join("state").to_str().unwrap().to_owned();
        let common =
            ["--state-dir", &state, "--endpoint", &format!("http://{api}")].map(str::to_owned);
        let mut command = program::command(&program::find("loadline").unwrap());
        command.args(["up", "--state-dir", &state, "--api-listen", &api]);
        command.args(["--agent-listen", &agents, "--cgroup-parent", &cgroup_parent]);
        let log = File::create(folder.path().join("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let mut up = Self { folder, child, cgroup_parent, common: common.to_vec() };
        program::until("the cluster is up", || {
            let ended = up.child.try_wait()?;
            assert!(ended.is_none(), "up ended: {ended:?}: {}", up.log());
            // It says how to use it once it has seen its node connected itself.
            Ok(up.log().contains(&format!("http://{api}")).then_some(()))
        })
        .unwrap();
        assert!(up.call(&["nodes"]).unwrap().contains("ACTIVE"));
        up
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn call(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = program::command(&program::find("loadline")?);
        command.args(words.iter().take_while(|word| **word != "--")).args(&self.common);
        command.args(words.iter().skip_while(|word| **word != "--"));
        Ok(program::run(self.folder.path(), &mut command)?.succeeded()?.stdout)
    }

    fn terminate(&mut self) -> Option<std::process::ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        // It may have ended already.
        let _ = kill(pid, Signal::SIGTERM);
        program::wait(&mut self.child, program::CALL_TIMEOUT).unwrap()
    }

    fn end(mut self) {
        let status = self.terminate();
        assert!(status.is_some_and(|status| status.success()), "{status:?}: {}", self.log());
        let folder = self.folder.path().to_str().unwrap();
        let left: Vec<_> =
            kernel::processes().into_values().filter(|line| line.contains(folder)).collect();
        assert!(left.is_empty(), "processes are left: {left:?}");
        let left: Vec<_> =
            kernel::mounts().into_iter().filter(|mount| mount.starts_with(folder)).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
        let left = kernel::cgroups_named(&self.cgroup_parent);
        assert!(left.is_empty(), "cgroups are left: {left:?}");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
        }
        // After an orderly end there is none.
        for cgroup in kernel::cgroups_named(&self.cgroup_parent) {
            empty(&cgroup);
        }
    }
}

fn import(up: &Up, folder: &Path) {
    Image::probe("probe:latest").unwrap().write_oci_layout(folder).unwrap();
    let said = up.call(&["image", "import", folder.to_str().unwrap()]).unwrap();
    assert!(said.contains("probe:latest"), "{said}");
}

#[test]
fn a_person_takes_a_cluster_from_up_to_its_end() {
    require!("a_person_takes_a_cluster_from_up_to_its_end": Facility::Root);
    let up = Up::start();
    import(&up, &up.folder.path().join("image"));
    let words =
        ["run", "probe:latest", "--memory", "64", "--", "echo", "hello", "--", "trap", "TERM", "0"];
    let said = up.call(&words).unwrap();
    let running = program::until("the task runs", || {
        let table = up.call(&["ps"])?;
        Ok(table.contains("RUNNING").then_some(table))
    });
    assert!(running.is_ok(), "{running:?}: {said}: {}", up.log());
    let ids = up.call(&["ps", "--quiet"]).unwrap();
    let id = ids.trim();
    assert!(said.contains(id) || id.contains(said.trim()), "{said:?} and {id:?}");
    program::until("the log", || Ok(up.call(&["logs", id])?.contains("hello").then_some(())))
        .unwrap();
    let shown = up.call(&["inspect", id]).unwrap();
    assert!(shown.contains("\"lastStatus\": \"RUNNING\""), "{shown}");
    up.call(&["stop", id]).unwrap();
    program::until("the task stopped", || {
        Ok(up.call(&["ps", "--all"])?.contains("STOPPED").then_some(()))
    })
    .unwrap();
    up.end();
}

#[test]
fn the_end_of_up_stops_what_runs() {
    require!("the_end_of_up_stops_what_runs": Facility::Root);
    let up = Up::start();
    import(&up, &up.folder.path().join("image"));
    let words = ["run", "probe:latest", "--count", "3", "--memory", "32", "--"];
    up.call(&[&words[..], &["trap", "TERM", "0"]].concat()).unwrap();
    program::until("the tasks run", || {
        Ok((up.call(&["ps"])?.matches("RUNNING").count() == 3).then_some(()))
    })
    .unwrap();
    up.end();
}
