//! A container's scope: its name, its slice, and where that is in the tree.

use std::path::PathBuf;

use super::property::{Property, Value};
use crate::cgroup::error::Error;

/// What stands before the id where cgroupsPath does not say.
const PREFIX_DEFAULT: &str = "loadline";
/// systemd's own limit on a unit's name (`UNIT_NAME_MAX`).
const NAME_LEN_MAX: usize = 255;

/// A transient scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Such as `docker-4711.scope`.
    pub name: String,
    /// Such as `system.slice`.
    pub slice: String,
    /// What annotations ask for.
    pub more: Vec<Property>,
    /// The container's id, for people.
    id: String,
}

impl Unit {
    /// Reads `slice:prefix:name`; without a path it is a scope of the id in system.slice (or, for
    /// an ordinary user's manager, user.slice).
    pub fn parse(configured: Option<&str>, id: &str, is_user: bool) -> Result<Unit, Error> {
        let slice_default = if is_user { "user.slice" } else { "system.slice" };
        let text = configured.unwrap_or_default();
        let refuse = |why| Err(Error::BadPath { path: PathBuf::from(text), why });
        let (slice, prefix, name) = match text.split(':').collect::<Vec<_>>()[..] {
            [""] => (slice_default, PREFIX_DEFAULT, id),
            ["", prefix, name] => (slice_default, prefix, name),
            [slice, prefix, name] => (slice, prefix, name),
            _ => return refuse("with --systemd-cgroup it must be of the form slice:prefix:name"),
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if !slice.chars().chain(prefix.chars()).chain(name.chars()).all(is_word) {
            return refuse("it holds a character that systemd does not take in a unit's name");
        }
        if name.is_empty() {
            return refuse("the name is empty");
        }
        let Some(stem) = slice.strip_suffix(".slice") else {
            return refuse("the slice does not end in .slice");
        };
        let is_plain = stem == "-" || stem.split('-').all(|part| !part.is_empty());
        if !is_plain {
            return refuse("the slice has an empty part between dashes");
        }
        let name = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        if name.len() > NAME_LEN_MAX {
            return refuse("the unit's name would be longer than 255 bytes");
        }
        Ok(Unit { name, slice: slice.to_owned(), more: Vec::new(), id: id.to_owned() })
    }

    /// The same with these properties besides.
    #[must_use]
    pub fn with(self, more: Vec<Property>) -> Unit {
        Unit { more, ..self }
    }

    /// Where systemd puts it: each dash in a slice's name is a level.
    pub fn path(&self) -> PathBuf {
        let mut path = PathBuf::new();
        let stem = self.slice.trim_end_matches(".slice");
        if stem != "-" {
            let dashes = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
            dashes.for_each(|at| path.push(format!("{}.slice", &stem[..at])));
        }
        path.join(&self.name)
    }

    /// What makes it the container's. `Delegate` tells systemd to leave everything below alone.
    pub(super) fn properties(&self, pid: i32) -> Vec<Property> {
        let pid = pid.unsigned_abs();
        let property = |name: &'static str, value| Property { name: name.into(), value };
        let yes = |name| property(name, Value::Bool(true));
        vec![
            property("Description", Value::Text(format!("loadline container {}", self.id))),
            property("Slice", Value::Text(self.slice.clone())),
            property("PIDs", Value::Numbers(vec![pid])),
            yes("Delegate"),
            yes("CPUAccounting"),
            yes("IOAccounting"),
            yes("MemoryAccounting"),
            yes("TasksAccounting"),
            property("DefaultDependencies", Value::Bool(false)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(configured: &str, path: &str) {
        let unit = Unit::parse(Some(configured), "id1", false).unwrap();
        assert_eq!(unit.path(), PathBuf::from(path), "{configured}");
    }

    #[test]
    fn a_path_names_slice_and_scope() {
        check("", "system.slice/loadline-id1.scope");
        check("system.slice:docker:4711", "system.slice/docker-4711.scope");
        check(":docker:4711", "system.slice/docker-4711.scope");
        check("a-b-c.slice::x", "a.slice/a-b.slice/a-b-c.slice/x.scope");
        check("-.slice:p:x", "p-x.scope");
        let user = Unit::parse(None, "id1", true).unwrap();
        assert_eq!(user.path(), PathBuf::from("user.slice/loadline-id1.scope"));
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for bad in [
            "/a/b",
            "a:b",
            "a:b:c:d",
            "a.scope:b:c",
            "a--b.slice:p:x",
            "-a.slice:p:x",
            "a.slice:p:",
            "a.slice:p:x/y",
            "a.slice:p:x y",
        ] {
            assert!(Unit::parse(Some(bad), "id1", false).is_err(), "{bad}");
        }
        let long = format!("a.slice:p:{}", "x".repeat(NAME_LEN_MAX));
        assert!(Unit::parse(Some(&long), "id1", false).is_err());
    }
}
