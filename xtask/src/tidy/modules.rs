//! Which .rs files belong to a crate: follows `mod` declarations from the crate roots, so that a
//! file that nothing declares is found. Crate roots carry the lint that keeps `unsafe` out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::lexer::{Kind, Token, tokens};
use super::{Crate, Finding};

/// The only crate with `unsafe`; it denies it and its `sys` module allows it.
const UNSAFE_CRATE: &str = "loadline-runtime";

/// Files that no crate declares, and roots without their lint. `files` are all .rs files by path
/// relative to the workspace.
pub(super) fn check(crates: &[Crate], files: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut live = BTreeSet::new();
    for root in crates.iter().flat_map(|krate| &krate.roots) {
        follow(root, true, files, &mut live);
    }
    for path in files.keys().filter(|path| !live.contains(*path)) {
        let message = "no crate declares this file: add its `mod`, or remove it";
        found.push(Finding { path: path.clone(), line: 1, message: message.to_owned() });
    }
    for krate in crates {
        let level = if krate.name == UNSAFE_CRATE { "deny" } else { "forbid" };
        for root in krate.roots.iter().filter(|root| root.contains("/src/")) {
            let attribute = format!("#![{level}(unsafe_code)]");
            let text = files.get(root).map_or("", String::as_str);
            if !text.contains(&attribute) && !text.contains("#![forbid(unsafe_code)]") {
                let message = format!("crate root without {attribute}");
                found.push(Finding { path: root.clone(), line: 1, message });
            }
        }
    }
    found
}

fn follow(path: &str, root: bool, files: &BTreeMap<String, String>, live: &mut BTreeSet<String>) {
    let Some(text) = files.get(path) else { return };
    if !live.insert(path.to_owned()) {
        return;
    }
    for declared in declared(Path::new(path), text, root || path.ends_with("/mod.rs")) {
        follow(&declared, false, files, live);
    }
}

/// Every path at which the modules that `text` declares may lie.
fn declared(path: &Path, text: &str, beside: bool) -> Vec<String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let own = if beside { folder.to_owned() } else { path.with_extension("") };
    let code: Vec<Token<'_>> =
        tokens(text).into_iter().filter(|token| token.kind != Kind::Comment).collect();
    let mut found = Vec::new();
    let (mut inside, mut depth): (Vec<(String, usize)>, usize) = (Vec::new(), 0);
    for (at, token) in code.iter().enumerate() {
        if token.is_mark('{') {
            depth += 1;
        } else if token.is_mark('}') {
            depth = depth.saturating_sub(1);
            inside.retain(|(_, opened)| *opened <= depth);
        }
        let [name, after] = code.get(at + 1..at + 3).unwrap_or_default() else { continue };
        if !token.is_word("mod") || name.kind != Kind::Word {
            continue;
        }
        if after.is_mark('{') {
            inside.push((name.text.to_owned(), depth + 1));
        } else if after.is_mark(';') {
            let below = inside.iter().fold(own.clone(), |below, (name, _)| below.join(name));
            found.push(below.join(format!("{}.rs", name.text)));
            found.push(below.join(name.text).join("mod.rs"));
            found.extend(path_attribute(&code[..at]).map(|given| folder.join(given)));
        }
    }
    found.iter().map(|path| normal(path)).collect()
}

/// The value of a `#[path = "…"]` just before a declaration (with `pub` or the like between).
fn path_attribute<'a>(before: &[Token<'a>]) -> Option<&'a str> {
    let close = before.iter().rposition(|token| token.is_mark(']'))?;
    if 5 < before.len() - close || close < 3 {
        return None;
    }
    let value = before[close - 1];
    let named = before[close - 3].is_word("path") && before[close - 2].is_mark('=');
    (named && value.kind == Kind::Text).then(|| value.text.trim_matches('"'))
}

fn normal(path: &Path) -> String {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_paths(files: &[(&str, &str)], expected: &[&str]) {
        let krate = Crate {
            name: "a".to_owned(),
            folder: "a".to_owned(),
            roots: vec!["a/src/lib.rs".to_owned()],
            needs: Vec::new(),
        };
        let files = files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
        let found: Vec<_> = check(&[krate], &files).into_iter().map(|f| f.path).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn files_that_are_declared_are_live() {
        check_paths(
            &[
                ("a/src/lib.rs", "#![forbid(unsafe_code)]\nmod b;\nmod c;\nmod t { mod u; }"),
                ("a/src/b.rs", "mod d;"),
                ("a/src/b/d.rs", ""),
                ("a/src/c/mod.rs", "#[path = \"../odd.rs\"]\nmod e;"),
                ("a/src/odd.rs", ""),
                ("a/src/t/u.rs", ""),
            ],
            &[],
        );
    }

    #[test]
    fn a_file_that_nothing_declares_is_dead() {
        let root = ("a/src/lib.rs", "#![forbid(unsafe_code)]\n// mod b;\n");
        check_paths(&[root, ("a/src/b.rs", "")], &["a/src/b.rs"]);
    }

    #[test]
    fn a_root_without_the_lint_is_found() {
        check_paths(&[("a/src/lib.rs", "//! x")], &["a/src/lib.rs"]);
    }
}
