//! The systemd units in docs/: systemd itself finds nothing wrong with them.

use std::path::Path;
use std::process::Command;

/// Checks a unit as it is, but for the program's place: it may not be installed here.
#[cfg(test)]
fn check(unit: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/systemd").join(unit);
    let text = std::fs::read_to_string(source).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let here = std::env::current_exe().unwrap();
    let text: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix("ExecStart=") {
            Some(command) => {
                let (program, arguments) = command.split_once(' ').unwrap();
                assert!(program.starts_with("/usr/local/bin/loadline-"), "{line}");
                format!("ExecStart={} {arguments}", here.display())
            }
            None => line.to_owned(),
        })
        .collect();
    let path = folder.path().join(unit);
    std::fs::write(&path, text.join("\n")).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output();
    let Ok(verified) = verified else {
        eprintln!("SKIPPED systemd_takes_the_units: needs systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains(unit), "{unit}: {said}");
}

#[test]
fn systemd_takes_the_units() {
    check("loadline-controller.service");
    check("loadline-agent.service");
}

#[test]
fn an_agent_that_ends_leaves_its_containers_alone() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/systemd/loadline-agent.service");
    let text = std::fs::read_to_string(unit).unwrap();
    for line in ["KillMode=process", "Delegate=yes", "OOMPolicy=continue"] {
        assert!(text.lines().any(|have| have == line), "{line}");
    }
    // Containers would inherit these, or lose their mounts with the agent (see the unit).
    for setting in ["NoNewPrivileges", "SystemCallFilter", "Private", "ProtectSystem"] {
        assert!(!text.lines().any(|have| have.starts_with(setting)), "{setting}");
    }
}
