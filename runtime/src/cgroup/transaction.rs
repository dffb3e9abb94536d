//! New limits for a group that is in use, all or none: what was there is remembered before each
//! file is written, and brought back where a later one is refused.

use super::decide::{Decision, Step, Write};
use super::error::Error;
use super::group::{Group, Member};

/// What the written files held before, in the order of the writes.
#[derive(Debug)]
pub struct Undo<'g> {
    old: Vec<Old<'g>>,
}

/// A file before it was written.
#[derive(Debug)]
struct Old<'g> {
    member: &'g Member,
    file: String,
    text: String,
    /// What was written then.
    new: String,
}

/// Limits that could not be set.
#[derive(Debug)]
pub struct Refusal {
    /// The file and why.
    pub source: Error,
    /// What could not be brought back.
    pub left: Option<Error>,
}

impl Group {
    /// Like [`Group::apply`], and where a step fails the earlier ones are undone.
    ///
    /// # Errors
    /// The step that failed.
    pub fn change(&self, decision: &Decision) -> Result<Undo<'_>, Box<Refusal>> {
        let mut undo = Undo { old: Vec::new() };
        for step in &decision.steps {
            let old = match step {
                Step::Write(write) => self.before(write),
                Step::DeviceProgram(_) => None,
            };
            match self.apply_step(step) {
                Ok(()) => undo.old.extend(old),
                Err(source) => {
                    return Err(Box::new(Refusal { source, left: undo.bring_back().err() }));
                }
            }
        }
        Ok(undo)
    }

    /// What the write is about to replace. A file that cannot be read, as those of v1's devices,
    /// only adds to what is there.
    fn before(&self, write: &Write) -> Option<Old<'_>> {
        let member = self.member_of(write)?;
        let target = write.targets.iter().find(|target| member.dir.has(&target.file))?;
        let text = member.dir.read(&target.file).ok()?;
        let (file, new) = (target.file.clone(), target.value.clone());
        Some(Old { member, file, text, new })
    }
}

impl Undo<'_> {
    /// Writes the earlier values again, the last one first: each was valid together with those
    /// before it. All are tried; the first failure is returned.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn bring_back(self) -> Result<(), Error> {
        let mut first = Ok(());
        for old in self.old.into_iter().rev() {
            let line = line_back(&old.file, &old.text, &old.new);
            first = first.and(old.member.dir.write(&old.file, &line));
        }
        first
    }
}

/// What brings `old` back after `new`: files with a line for each device take one at a time, and
/// where there was no line for the device, the word for "none" is.
fn line_back(file: &str, old: &str, new: &str) -> String {
    let device = |line: &str| {
        let first = line.split(' ').next().filter(|word| word.contains(':'));
        first.filter(|_| line.contains(' ')).map(str::to_owned)
    };
    let Some(number) = device(new) else {
        // Of a file that has lines for devices too, the first one is for all others. A set that is
        // empty is written as a line without content.
        let has_devices = file.ends_with("weight");
        let old = if has_devices { old.lines().next().unwrap_or_default() } else { old };
        return if old.trim().is_empty() { "\n".to_owned() } else { old.trim().to_owned() };
    };
    let had = old.lines().find(|line| device(line).as_deref() == Some(&number));
    let none = match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.weight" | "io.bfq.weight" => "default",
        _ => "0",
    };
    had.map_or_else(|| format!("{number} {none}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::line_back;

    #[test]
    fn each_form_of_a_file_has_its_way_back() {
        for (file, old, new, expected) in [
            ("memory.max", "4096\n", "max", "4096"),
            ("cpu.max", "max 100000\n", "5000 100000", "max 100000"),
            ("cpuset.cpus", "\n", "0-1", "\n"),
            ("blkio.throttle.read_bps_device", "", "8:0 5", "8:0 0"),
            ("blkio.throttle.read_bps_device", "8:1 7\n8:0 6\n", "8:0 5", "8:0 6"),
            ("io.weight", "default 100\n", "8:0 50", "8:0 default"),
            ("io.weight", "default 100\n8:0 50\n", "default 200", "default 100"),
            ("io.max", "", "8:0 rbps=5", "8:0 rbps=max wbps=max riops=max wiops=max"),
        ] {
            assert_eq!(line_back(file, old, new), expected, "{file}: {old:?} {new:?}");
        }
    }
}
