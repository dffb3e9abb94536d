//! The supervisor's program, and whether a run that an older one began can go on in it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::supervise::version::Holder;
use crate::supervise::{UPGRADE_FILE, disk};

/// How long the program may take to say what it can go on with.
const ASK_S_MAX: u64 = 10;

/// The program that supervises containers from now on.
#[derive(Clone, Debug)]
pub struct Supervisor {
    path: PathBuf,
    /// Which file it is, and the newest handover that it understands; `None` where it can't say,
    /// and then every supervisor stays what it is.
    known: Option<Known>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    file: FileId,
    handover: u32,
}

/// Device and inode: a program that was replaced is another file, whatever its name.
type FileId = (u64, u64);

/// What becomes of a supervisor that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// It is the program of this agent.
    Same,
    /// It becomes that program.
    Upgrade,
    /// It stays what it is, to its container's end.
    Stay(&'static str),
}

impl Supervisor {
    /// Looks at a program and asks it what it can go on with.
    pub async fn inspect(path: PathBuf) -> Self {
        let known = ask(&path).await;
        if let Err(error) = &known {
            let path = path.display();
            tracing::warn!(%path, %error, "running supervisors stay what they are");
        }
        Self { path, known: known.ok() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the supervisor of a run shall become this program; its folder then says so.
    pub(super) fn prepare_upgrade(&self, run_dir: &Path) -> bool {
        let holder = Holder::read(run_dir);
        let exe = holder.and_then(|holder| file_id(&PathBuf::from(exe_of(holder.pid))).ok());
        match choose(holder, exe, self.known) {
            Choice::Same => false,
            Choice::Stay(why) => {
                tracing::info!(run = %run_dir.display(), why, "an older supervisor goes on");
                false
            }
            Choice::Upgrade => {
                let path = self.path.as_os_str().as_encoded_bytes();
                let durability = disk::Durability::Process;
                let written = disk::replace(run_dir, UPGRADE_FILE, path, durability);
                if let Err(error) = &written {
                    let run = run_dir.display();
                    tracing::warn!(%run, %error, "a supervisor can't be asked to upgrade");
                }
                tracing::info!(run = %run_dir.display(), "a supervisor becomes the new program");
                written.is_ok()
            }
        }
    }
}

fn choose(holder: Option<Holder>, exe: Option<FileId>, ours: Option<Known>) -> Choice {
    let Some(ours) = ours else { return Choice::Stay("the new program can't say what it reads") };
    let Some(holder) = holder else { return Choice::Stay("it is from before upgrades") };
    match exe {
        None => Choice::Stay("its program can't be looked at"),
        Some(file) if file == ours.file => Choice::Same,
        Some(_) if ours.handover < holder.handover => {
            Choice::Stay("it is newer than this agent's program")
        }
        Some(_) => Choice::Upgrade,
    }
}

async fn ask(path: &Path) -> io::Result<Known> {
    let file = file_id(path)?;
    let mut command = tokio::process::Command::new(path);
    command.arg("--handover").stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(ASK_S_MAX), command.output());
    let output = output.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let said = String::from_utf8_lossy(&output.stdout);
    let handover = said.trim().parse().ok().filter(|_| output.status.success());
    let handover = handover.ok_or_else(|| {
        io::Error::other("it does not say which runs it can go on with (--handover)")
    })?;
    Ok(Known { file, handover })
}

/// Also of a program whose file was removed: the kernel leads to what runs.
fn exe_of(pid: u32) -> String {
    format!("/proc/{pid}/exe")
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_understands_the_run_goes_on_with_it() {
        let holder = |handover| Some(Holder { pid: 7, handover });
        let ours = Some(Known { file: (1, 2), handover: 2 });
        assert_eq!(choose(holder(2), Some((1, 2)), ours), Choice::Same);
        assert_eq!(choose(holder(2), Some((1, 3)), ours), Choice::Upgrade);
        assert_eq!(choose(holder(1), Some((1, 3)), ours), Choice::Upgrade);
        for (holder, exe, ours) in [
            (holder(3), Some((1, 3)), ours),
            (holder(1), None, ours),
            (None, Some((1, 3)), ours),
            (holder(1), Some((1, 3)), None),
        ] {
            assert!(matches!(choose(holder, exe, ours), Choice::Stay(_)), "{holder:?} {exe:?}");
        }
    }
}
