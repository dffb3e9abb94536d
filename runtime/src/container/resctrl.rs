//! Groups of resctrl: made and joined by `create`, joined by `exec`, removed by `delete`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::plan::{RdtGroup, RdtMake};

/// A container's groups, as its record keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// Those that its processes are in: the class's, and that for monitoring.
    pub joined: Vec<PathBuf>,
    /// Those that were made for it and end with it, the inner one last.
    pub made: Vec<PathBuf>,
}

/// What went wrong with a group.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of resctrl.
    #[error("{step} {}", .path.display())]
    Io {
        /// What was done.
        step: &'static str,
        /// To which.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The class is there and has other shares.
    #[error("{} says {has:?} and not {wanted:?}: use another closID", .path.display())]
    Differs {
        /// The class's `schemata`.
        path: PathBuf,
        /// The line that was found, if any.
        has: String,
        /// The line that is wanted.
        wanted: String,
    },
}

/// Groups that are removed on drop unless they are kept.
#[derive(Debug, Default)]
pub(super) struct Guard {
    groups: Groups,
    /// A class that others may join later: it is only removed where the container was not made.
    class: Option<PathBuf>,
}

impl Guard {
    /// Makes what a plan wants.
    pub(super) fn make(&mut self, wanted: &RdtGroup) -> Result<(), Error> {
        let path = &wanted.path;
        let is_new = match wanted.make {
            RdtMake::Never => false,
            RdtMake::Own | RdtMake::Shared => make_directory(path)?,
        };
        if is_new && wanted.make == RdtMake::Own {
            self.groups.made.push(path.clone());
        } else if is_new {
            self.class = Some(path.clone());
        }
        let schemata = path.join("schemata");
        if is_new || wanted.make == RdtMake::Own {
            write_lines(&schemata, &wanted.schemata)?;
        } else {
            compare(&schemata, &wanted.schemata)?;
        }
        self.groups.joined.push(path.clone());
        if let Some(monitor) = &wanted.monitor {
            if make_directory(monitor)? {
                self.groups.made.push(monitor.clone());
            }
            self.groups.joined.push(monitor.clone());
        }
        Ok(())
    }

    /// What was made.
    pub(super) fn groups(&self) -> Option<&Groups> {
        Some(&self.groups).filter(|groups| !groups.joined.is_empty())
    }

    /// Lets it stay.
    pub(super) fn release(mut self) {
        self.groups.made.clear();
        self.class = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = remove(&self.groups);
        if let Some(class) = &self.class {
            let _ = fs::remove_dir(class);
        }
    }
}

/// Puts a process into groups, the outer one first.
pub(super) fn join(groups: &[PathBuf], pid: i32) -> Result<(), Error> {
    groups.iter().try_for_each(|group| write_lines(&group.join("tasks"), &[pid.to_string()]))
}

/// Removes what was made for a container.
pub(super) fn remove(groups: &Groups) -> Result<(), Error> {
    for path in groups.made.iter().rev() {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(failed("remove", path))?,
        }
    }
    Ok(())
}

/// What a class has before it is changed.
#[derive(Debug)]
pub(super) struct Shares {
    schemata: PathBuf,
    lines: Vec<String>,
}

impl Shares {
    /// Looks at them.
    pub(super) fn of(class: &Path) -> Result<Shares, Error> {
        let schemata = class.join("schemata");
        let text = fs::read_to_string(&schemata).map_err(failed("read", &schemata))?;
        let lines = text.lines().map(|line| line.trim().to_owned());
        let lines = lines.filter(|line| !line.is_empty()).collect();
        Ok(Shares { schemata, lines })
    }

    /// Writes others; some may be there when one is refused.
    pub(super) fn replace(&self, lines: &[String]) -> Result<(), Error> {
        write_lines(&self.schemata, lines)
    }

    /// Writes what was there.
    pub(super) fn bring_back(self) -> Result<(), Error> {
        write_lines(&self.schemata, &self.lines)
    }
}

/// Writes lines, each by itself, as the kernel wants them.
pub(super) fn write_lines(path: &Path, lines: &[String]) -> Result<(), Error> {
    for line in lines {
        let file = File::options().write(true).open(path);
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.map_err(failed("write to", path))?;
    }
    Ok(())
}

/// Whether it was not there.
fn make_directory(path: &Path) -> Result<bool, Error> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        done => done.map(|()| true).map_err(failed("make", path)),
    }
}

fn compare(path: &Path, wanted: &[String]) -> Result<(), Error> {
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    for line in wanted {
        let kind = shares(line).0;
        let has = text.lines().find(|has| shares(has).0 == kind).unwrap_or_default();
        let (wanted_shares, has_shares) = (shares(line).1, shares(has).1);
        if !wanted_shares.iter().all(|share| has_shares.contains(share)) {
            let (has, wanted) = (has.trim().to_owned(), line.clone());
            return Err(Error::Differs { path: path.to_owned(), has, wanted });
        }
    }
    Ok(())
}

/// A line's resource and its shares by cache, as the kernel prints them: without leading zeros.
fn shares(line: &str) -> (&str, Vec<(&str, &str)>) {
    let (kind, rest) = line.split_once(':').unwrap_or((line, ""));
    let share = |text| {
        let (cache, share) = str::split_once(text, '=')?;
        Some((cache.trim(), share.trim().trim_start_matches('0')))
    };
    (kind.trim(), rest.split(';').filter_map(share).collect())
}

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { step, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::{Error, Guard, Shares, join};
    use crate::plan::{RdtGroup, RdtMake};
    use std::fs;

    fn wanted(path: &std::path::Path, make: RdtMake, line: &str) -> RdtGroup {
        let monitor = Some(path.join("mon_groups/web"));
        RdtGroup { path: path.to_owned(), make, schemata: vec![line.to_owned()], monitor }
    }

    #[test]
    fn a_class_with_other_shares_is_refused_and_one_with_the_same_joined() {
        let dir = tempfile::tempdir().unwrap();
        let class = dir.path().join("class");
        fs::create_dir_all(class.join("mon_groups/web")).unwrap();
        fs::write(class.join("schemata"), "    MB:0=100;1=100\n    L3:0=00f;1=0ff\n").unwrap();
        for group in [class.clone(), class.join("mon_groups/web")] {
            fs::write(group.join("tasks"), "").unwrap();
        }
        let mut guard = Guard::default();
        guard.make(&wanted(&class, RdtMake::Shared, "L3:0=f;1=ff")).unwrap();
        join(&guard.groups().unwrap().joined, 7).unwrap();
        assert_eq!(fs::read_to_string(class.join("mon_groups/web/tasks")).unwrap(), "7\n");
        drop(guard);
        assert!(class.join("mon_groups/web").exists(), "it was there before");
        let other = Guard::default().make(&wanted(&class, RdtMake::Never, "L3:0=1f"));
        assert!(matches!(other, Err(Error::Differs { .. })), "{other:?}");
        let missing = wanted(&dir.path().join("none"), RdtMake::Never, "L3:0=1f");
        assert!(matches!(Guard::default().make(&missing), Err(Error::Io { .. })));
    }

    #[test]
    fn what_was_made_goes_when_a_later_step_fails() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("web");
        for make in [RdtMake::Own, RdtMake::Shared] {
            let mut guard = Guard::default();
            // Only resctrl itself puts files into a new directory.
            assert!(guard.make(&wanted(&group, make, "L3:0=f")).is_err());
            assert!(group.exists());
            drop(guard);
            assert!(!group.exists(), "{make:?}");
        }
    }

    #[test]
    fn shares_are_brought_back_line_by_line() {
        let class = tempfile::tempdir().unwrap();
        let schemata = class.path().join("schemata");
        fs::write(&schemata, "    MB:0=100\n    L3:0=00f\n").unwrap();
        let shares = Shares::of(class.path()).unwrap();
        assert_eq!(shares.lines, ["MB:0=100", "L3:0=00f"]);
        shares.replace(&["L3:0=001".to_owned()]).unwrap();
        shares.bring_back().unwrap();
        // A file that is none of the kernel's begins with the line that was written last.
        assert!(fs::read_to_string(&schemata).unwrap().starts_with("L3:0=00f\n"));
    }
}
