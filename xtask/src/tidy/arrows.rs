//! Which crate may depend on which: the picture in ARCHITECTURE.md as a table, checked against the
//! Cargo.toml files. Dev-dependencies count too: a crate's own tests must not turn an arrow round.

use super::{Crate, Finding};

/// Each crate and the crates of this workspace that it may use. A crate that is not here is new
/// and has to be given its place.
const ARROWS: &[(&str, &[&str])] = &[
    ("loadline-model", &[]),
    ("loadline-proto", &["loadline-model"]),
    ("loadline-runtime", &[]),
    (
        "loadline-agent",
        &["loadline-fixtures", "loadline-model", "loadline-proto", "loadline-runtime"],
    ),
    ("loadline-controller", &["loadline-model", "loadline-proto"]),
    ("loadline", &["loadline-model"]),
    ("loadline-fixtures", &[]),
    ("loadline-bench", &["loadline-fixtures"]),
    ("loadline-fuzz", &["loadline-runtime"]),
    ("xtask", &[]),
    (
        "loadline-tests",
        &[
            "loadline-agent",
            "loadline-controller",
            "loadline-fixtures",
            "loadline-model",
            "loadline-proto",
            "loadline-runtime",
        ],
    ),
];

/// Every arrow that points the wrong way.
pub(super) fn check(crates: &[Crate]) -> Vec<Finding> {
    let mut found = Vec::new();
    for krate in crates {
        let mut report = |message| {
            found.push(Finding { path: format!("{}/Cargo.toml", krate.folder), line: 1, message });
        };
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == krate.name) else {
            report(format!("crate {} has no place among the arrows of tidy", krate.name));
            continue;
        };
        for need in krate.needs.iter().filter(|need| !allowed.contains(&need.as_str())) {
            report(format!("crate {} must not depend on {need}", krate.name));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, need: &str) -> usize {
        let (name, folder) = (name.to_owned(), "a".to_owned());
        check(&[Crate { name, folder, roots: Vec::new(), needs: vec![need.to_owned()] }]).len()
    }

    #[test]
    fn an_arrow_that_points_the_wrong_way_is_found() {
        assert_eq!(check_one("loadline-agent", "loadline-proto"), 0);
        assert_eq!(check_one("loadline-proto", "loadline-agent"), 1);
        assert_eq!(check_one("loadline-agent", "loadline-controller"), 1);
        assert_eq!(check_one("loadline-runtime", "loadline-model"), 1);
        assert_eq!(check_one("loadline-new", "loadline-model"), 1);
    }

    #[test]
    fn nothing_depends_on_the_tests() {
        assert!(ARROWS.iter().all(|(_, allowed)| !allowed.contains(&"loadline-tests")));
    }
}
