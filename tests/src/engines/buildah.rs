//! buildah, which builds images by running containers.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use super::{World, claims, holds, same};
use crate::conformance::Verdict;
use crate::program::{self, Ran};

claims!("buildah":
    run_gives_output_and_exit_code,
    what_run_writes_stays,
    a_build_runs_its_lines,
);

/// buildah with storage of its own.
struct Buildah<'a> {
    world: &'a World,
    folder: PathBuf,
}

impl<'a> Buildah<'a> {
    fn new(world: &'a World, name: &str) -> anyhow::Result<Self> {
        Ok(Self { world, folder: world.place.make(name)? })
    }

    fn typed(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let mut command = program::command(&program::find("buildah")?);
        command.arg("--root").arg(self.folder.join("root"));
        command.arg("--runroot").arg(self.folder.join("runroot"));
        command.args(["--storage-driver", "vfs"]).args(arguments);
        // The defaults of a root that may raise limits.
        let settings = self.folder.join("containers.conf");
        let text = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        fs::write(&settings, text).context("write buildah's settings")?;
        program::run(&self.folder, command.env("CONTAINERS_CONF", settings))
    }

    fn from(&self) -> anyhow::Result<String> {
        let archive = format!("docker-archive:{}", self.world.archive.display());
        Ok(self.typed(&["from", &archive])?.succeeded()?.stdout.trim().to_owned())
    }

    fn run(&self, container: &str, program: &[&str]) -> anyhow::Result<Ran> {
        let runtime = self.world.runtime.to_string_lossy().into_owned();
        let run = ["run", "--runtime", &runtime, "--isolation", "oci", container];
        self.typed(&[&run[..], program].concat())
    }
}

fn run_gives_output_and_exit_code(w: &World) -> anyhow::Result<Verdict> {
    let buildah = Buildah::new(w, "buildah-run")?;
    let container = buildah.from()?;
    let ran = buildah.run(&container, &["sh", "-c", "echo out; exit 3"])?;
    same!(ran.stdout, "out\n");
    same!(ran.code(), 3);
    Ok(Verdict::Pass)
}

fn what_run_writes_stays(w: &World) -> anyhow::Result<Verdict> {
    let buildah = Buildah::new(w, "buildah-write")?;
    let container = buildah.from()?;
    buildah.run(&container, &["sh", "-c", "echo kept > /made"])?.succeeded()?;
    same!(buildah.run(&container, &["cat", "/made"])?.stdout, "kept\n");
    Ok(Verdict::Pass)
}

fn a_build_runs_its_lines(w: &World) -> anyhow::Result<Verdict> {
    let buildah = Buildah::new(w, "buildah-build")?;
    let file = buildah.folder.join("Containerfile");
    let from = format!("FROM docker-archive:{}\n", w.archive.display());
    let lines = "RUN echo built > /made\nRUN cat /made && id -u\n";
    fs::write(&file, from + lines).context("write a Containerfile")?;
    let runtime = w.runtime.to_string_lossy().into_owned();
    let (file, context) = (file.to_string_lossy(), buildah.folder.join("context"));
    fs::create_dir_all(&context).context("make a folder")?;
    let build = ["build", "--runtime", &runtime, "--isolation", "oci", "--tag", "made", "--file"];
    let context = context.to_string_lossy();
    let ran = buildah.typed(&[&build[..], &[&file, &context]].concat())?.succeeded()?;
    holds!(ran.stdout, "built\n0\n");
    holds!(buildah.typed(&["images"])?.succeeded()?.stdout, "localhost/made");
    Ok(Verdict::Pass)
}
