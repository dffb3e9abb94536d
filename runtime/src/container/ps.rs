//! `ps`: the processes of a container, as the host numbers them.

use std::process::Command;

use super::{ContainerId, Error, Store};

/// The pids of all processes in the container's cgroup and below, ascending.
///
/// # Errors
/// [`Error::NoCgroup`] for a container without one, because nothing else says what belongs to it.
pub fn processes(store: &Store, id: &ContainerId) -> Result<Vec<i32>, Error> {
    let record = store.read(id)?;
    if record.cgroup.is_none() {
        return Err(Error::NoCgroup);
    }
    let Some(group) = record.group()? else { return Ok(Vec::new()) };
    let pids = group.all_processes();
    let pids = pids.map_err(|source| Error::Cgroup { step: "list the processes of", source })?;
    Ok(pids.into_iter().map(nix::unistd::Pid::as_raw).collect())
}

/// What the host's ps(1) prints about these processes; `-ef` without options of its own.
///
/// # Errors
/// When ps cannot be run, fails, or prints no PID column.
pub fn table(pids: &[i32], options: &[String]) -> Result<String, Error> {
    let mut ps = Command::new("ps");
    if options.is_empty() {
        ps.arg("-ef");
    } else {
        ps.args(options);
    }
    let output = ps.output().map_err(|source| Error::io("run", "ps", source))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Ps { text });
    }
    select(&String::from_utf8_lossy(&output.stdout), pids)
        .ok_or_else(|| Error::Ps { text: "its output has no PID column".to_owned() })
}

/// The header and the lines of these processes.
fn select(text: &str, pids: &[i32]) -> Option<String> {
    let mut lines = text.lines();
    let header = lines.next()?;
    let column = header.split_whitespace().position(|word| word == "PID")?;
    let mut selected = format!("{header}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            selected.push_str(line);
            selected.push('\n');
        }
    }
    Some(selected)
}

#[cfg(test)]
mod tests {
    use super::select;

    #[test]
    fn only_lines_of_the_container_are_printed() {
        let text = "UID   PID  PPID\nroot    1     0\nroot   12     1\n 12     3     1\n";
        assert_eq!(select(text, &[12, 99]).unwrap(), "UID   PID  PPID\nroot   12     1\n");
        assert_eq!(select("UID CMD\n", &[1]), None);
    }
}
