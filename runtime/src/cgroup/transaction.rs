//! New limits for a group that is in use, all or none: what was there is remembered before each
//! file is written, and brought back where a later one is refused.

use super::Controller;
use super::decide::{Decision, Step, Write};
use super::error::Error;
use super::group::{Group, Member};

/// What the written files held before, in the order of the writes.
#[derive(Debug)]
pub struct Undo<'g> {
    old: Vec<Old<'g>>,
    /// Whether there are other device rules, of which the kernel does not tell the earlier ones.
    has_device_rules: bool,
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
    /// Like [`Group::apply`], and where a step fails the earlier ones are undone. Device rules come
    /// last: they have no way back.
    ///
    /// # Errors
    /// The step that failed.
    pub fn change(&self, decision: &Decision) -> Result<Undo<'_>, Box<Refusal>> {
        let mut undo = Undo { old: Vec::new(), has_device_rules: false };
        let (rules, others): (Vec<&Step>, Vec<&Step>) =
            decision.steps.iter().partition(|step| sets_device_rules(step));
        for step in others.into_iter().chain(rules) {
            let old = match step {
                Step::Write(write) => self.before(write),
                Step::DeviceProgram(_) => None,
            };
            match self.apply_step(step) {
                Ok(()) => {
                    undo.has_device_rules |= sets_device_rules(step);
                    undo.old.extend(old);
                }
                Err(source) => {
                    return Err(Box::new(Refusal { source, left: undo.bring_back().err() }));
                }
            }
        }
        Ok(undo)
    }

    /// What the write is about to replace; `None` where the file cannot be read.
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
        first.and(if self.has_device_rules { Err(Error::DeviceRules) } else { Ok(()) })
    }
}

fn sets_device_rules(step: &Step) -> bool {
    match step {
        Step::Write(write) => write.controller == Some(Controller::Devices),
        Step::DeviceProgram(_) => true,
    }
}

/// Files with a line for each of something that has a name, besides those with one for a device.
const BY_NAME: [&str; 4] = ["net_prio.ifpriomap", "rdma.max", "misc.max", "dmem.max"];

/// What brings `old` back after `new`: files with a line for each device, or each name, take one at
/// a time, and where there was no line for the device, the word for "none" is.
fn line_back(file: &str, old: &str, new: &str) -> String {
    // Of a file that tells more than it takes, and of one that has lines for devices too, after the
    // one for all others.
    let first = match file {
        "memory.oom_control" => old.lines().find_map(|line| line.strip_prefix("oom_kill_disable ")),
        _ if file.ends_with("weight") => old.lines().next(),
        _ => Some(old),
    };
    let Some(key) = key(file, new) else {
        let old = first.unwrap_or_default().trim();
        // A set that is empty is written as a line without content.
        return if old.is_empty() { "\n".to_owned() } else { old.to_owned() };
    };
    let had = old.lines().find(|line| self::key(file, line) == Some(key));
    let none = match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.latency" => "target=max",
        "io.weight" | "io.bfq.weight" | "blkio.bfq.weight_device" => "default",
        _ => "0",
    };
    had.map_or_else(|| format!("{key} {none}"), str::to_owned)
}

/// What a line is about, where a file has several.
fn key<'l>(file: &str, line: &'l str) -> Option<&'l str> {
    let (first, _) = line.split_once(' ')?;
    (first.contains(':') || BY_NAME.contains(&file)).then_some(first)
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
            ("io.latency", "", "8:0 target=5", "8:0 target=max"),
            ("blkio.bfq.weight_device", "default 100\n", "8:0 50", "8:0 default"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "1", "0"),
            ("net_prio.ifpriomap", "lo 0\neth0 7\n", "eth0 5", "eth0 7"),
            ("rdma.max", "a hca_handle=max\nb hca_handle=2\n", "b hca_handle=3", "b hca_handle=2"),
        ] {
            assert_eq!(line_back(file, old, new), expected, "{file}: {old:?} {new:?}");
        }
    }
}
