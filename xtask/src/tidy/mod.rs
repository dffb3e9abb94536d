//! `cargo xtask tidy`: the style rules that a program can check. One pass over the tree, every
//! finding printed as `file:line: message`. Runs under `cargo test` too: a rule that is not
//! checked is a wish.

mod arrows;
mod docs;
mod lexer;
mod modules;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// Folders that are made by tools, wherever they are.
const SKIPPED_FOLDERS: &[&str] = &["target", ".git", "node_modules", ".venv", "__pycache__"];

/// Files of which only the first bytes are text, or none: not read for machine paths.
const TEXT_ENDINGS: &[&str] = &[
    "rs", "toml", "md", "proto", "py", "sh", "yml", "yaml", "json", "service", "run", "txt", "conf",
];

/// Places of one person's machine. Written in two halves, or this file would find itself.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/wo", "rk/"),
    concat!(".lib", "rary"),
    concat!("bash_", "jobs"),
    concat!("/tmp/", "brief"),
    concat!("/tmp/", "t-"),
];

/// One thing to repair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// A crate of the workspace, as cargo sees it. Paths are relative to the workspace.
#[derive(Clone, Debug)]
struct Crate {
    name: String,
    folder: String,
    /// The files that cargo compiles first: libraries, programs, tests, build scripts.
    roots: Vec<String>,
    /// The crates of this workspace that its Cargo.toml names.
    needs: Vec<String>,
}

/// Prints every finding and fails where there is one.
pub(crate) fn run(workspace: &Path) -> anyhow::Result<()> {
    let findings = check(workspace)?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    Ok(())
}

fn check(workspace: &Path) -> anyhow::Result<Vec<Finding>> {
    let crates = crates(workspace)?;
    let (mut sources, mut pages, mut findings) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for path in files(workspace, Path::new(""))? {
        let full = workspace.join(&path);
        let text = match std::fs::read_to_string(&full) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("read {} as text", full.display()));
            }
        };
        findings.extend(machine_paths(&path, &text));
        if path.ends_with(".rs") {
            findings.extend(source::check(&path, &text));
            sources.insert(path, text);
        } else if path.ends_with(".md") {
            pages.insert(path, text);
        }
    }
    let read = |path: &str| {
        let full = workspace.join(path);
        if full.is_dir() { Some(Vec::new()) } else { std::fs::read(full).ok() }
    };
    findings.extend(docs::check(&pages, &read));
    findings.extend(arrows::check(&crates));
    findings.extend(modules::check(&crates, &sources));
    findings.sort();
    Ok(findings)
}

/// All text files below `folder`, relative to the workspace.
fn files(workspace: &Path, folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let full = workspace.join(folder);
    let entries = full.read_dir().with_context(|| format!("list {}", full.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", full.display()))?;
        let name = entry.file_name();
        let path = folder.join(&name);
        let kind = entry.file_type().with_context(|| format!("look at {}", path.display()))?;
        if kind.is_dir() && !SKIPPED_FOLDERS.iter().any(|skipped| name == *skipped) {
            found.extend(files(workspace, &path)?);
        } else if kind.is_file() {
            let ending = path.extension().map_or(name.as_os_str(), |ending| ending);
            if TEXT_ENDINGS.iter().any(|text| ending == *text) {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    Ok(found)
}

fn machine_paths(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for place in MACHINE_PATHS.iter().filter(|place| names(line, place)) {
            let message = format!("names a place of one machine: {place}");
            found.push(Finding { path: path.to_owned(), line: at + 1, message });
        }
    }
    found
}

/// Whether `line` has `place`, not as the later part of a longer path.
fn names(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !place.starts_with('/')
            || !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '}' | '.' | '_' | '-'))
    })
}

fn crates(workspace: &Path) -> anyhow::Result<Vec<Crate>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(workspace)
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("read the output of cargo metadata")?;
    let relative = |path: &str| {
        let path = Path::new(path);
        path.strip_prefix(workspace).unwrap_or(path).to_string_lossy().into_owned()
    };
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let read_crate = |package: &serde_json::Value| {
        let manifest = relative(&text(&package["manifest_path"]));
        let needs = list(&package["dependencies"]);
        let targets = list(&package["targets"]);
        Crate {
            name: text(&package["name"]),
            folder: manifest.trim_end_matches("/Cargo.toml").to_owned(),
            roots: targets.iter().map(|target| relative(&text(&target["src_path"]))).collect(),
            needs: needs
                .iter()
                .filter(|need| need["path"].is_string())
                .map(|need| text(&need["name"]))
                .collect(),
        }
    };
    Ok(list(&metadata["packages"]).iter().map(read_crate).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let findings = check(&crate::workspace().unwrap()).unwrap();
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }

    #[test]
    fn a_place_of_one_machine_is_found_but_not_the_middle_of_a_path() {
        let line = |place: &str, before: &str| format!("{before}{place}x");
        for place in MACHINE_PATHS {
            assert_eq!(machine_paths("a", &line(place, "\"")).len(), 1, "{place}");
        }
        assert_eq!(machine_paths("a", &line(MACHINE_PATHS[1], "overlay")).len(), 0);
    }

    #[test]
    fn a_finding_prints_as_file_line_message() {
        let finding = Finding { path: "a.rs".to_owned(), line: 3, message: "x".to_owned() };
        assert_eq!(finding.to_string(), "a.rs:3: x");
    }
}
