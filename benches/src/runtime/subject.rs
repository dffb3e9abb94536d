//! What is compared: the floor, Loadline, and the peers that are there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::Arguments;

/// The peers that are looked for where none is named.
const PEERS: [&str; 3] = ["crun", "runc", "youki"];

/// How a subject is told what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The yardstick: `floor ROOTFS PROGRAM`.
    Floor,
    /// An OCI runtime, with runc's command line.
    Runtime,
}

/// One program under test.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// How it is called in results.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) kind: Kind,
    /// What it says of its version.
    pub(crate) version: String,
}

/// The name under which Loadline's runtime is shown.
pub(crate) const OURS: &str = "loadline";
/// The name of the yardstick.
pub(crate) const FLOOR: &str = "floor";

/// The floor first, then ours, then the peers.
pub(crate) fn all(arguments: &Arguments) -> anyhow::Result<Vec<Subject>> {
    let floor = Subject {
        name: FLOOR.to_owned(),
        program: arguments.tools.join("floor"),
        kind: Kind::Floor,
        version: "this build's".to_owned(),
    };
    let mut subjects = vec![floor, runtime(OURS, &arguments.runtime)?];
    if arguments.peer.is_empty() {
        for name in PEERS {
            match find(Path::new(name), &arguments.tools) {
                Some(program) => subjects.push(runtime(name, &program)?),
                None => eprintln!("bench: {name} is not installed, and is left out"),
            }
        }
    }
    for peer in &arguments.peer {
        let program = find(peer, &arguments.tools)
            .with_context(|| format!("{} is not installed", peer.display()))?;
        let name = program.file_name().context("a runtime is a file")?;
        subjects.push(runtime(&name.to_string_lossy(), &program)?);
    }
    Ok(subjects)
}

fn runtime(name: &str, program: &Path) -> anyhow::Result<Subject> {
    let program =
        program.canonicalize().with_context(|| format!("no runtime at {}", program.display()))?;
    let output = Command::new(&program)
        .arg("--version")
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().next().unwrap_or_default().trim().to_owned();
    Ok(Subject { name: name.to_owned(), program, kind: Kind::Runtime, version })
}

/// In PATH, among the administrator's programs, or among the tools.
fn find(name: &Path, tools: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return name.is_file().then(|| name.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin"), tools.join("bin")];
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(name)).find(|p| p.is_file())
}
