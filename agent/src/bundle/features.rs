//! What an OCI runtime says that it can do (`features`, OCI runtime specification 1.1).

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::Seccomp;
use crate::rooted;

/// Largest answer of a runtime's `features`, in bytes.
const FEATURES_BYTES_MAX: u64 = 1024 * 1024;

/// What a bundle depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Whether containers get a seccomp profile.
    pub seccomp: Seccomp,
    /// How much of a read-only volume is so.
    pub read_only: ReadOnly,
}

impl Features {
    /// Of a runtime that does not say.
    pub const NONE: Features = Features { seccomp: Seccomp::Unsupported, read_only: ReadOnly::Top };
}

/// How much of a read-only volume is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnly {
    /// What is mounted below it, too.
    Tree,
    /// The volume itself: the runtime can't do more.
    Top,
}

impl ReadOnly {
    /// The option of a mount.
    pub(super) const fn option(self) -> &'static str {
        match self {
            ReadOnly::Tree => "rro",
            ReadOnly::Top => "ro",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    mount_options: Option<Vec<String>>,
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    seccomp: Option<SeccompFeature>,
}

#[derive(Deserialize)]
struct SeccompFeature {
    enabled: Option<bool>,
}

/// Asks a runtime. One that does not know the verb can do nothing of all this.
///
/// # Errors
/// The kernel's, where the runtime can't be run at all.
pub fn of(runtime: &Path) -> io::Result<Features> {
    let mut child = Command::new(runtime)
        .arg("features")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let answer = match child.stdout.take() {
        Some(stdout) => rooted::read_max(stdout, FEATURES_BYTES_MAX),
        None => Ok(Vec::new()),
    };
    let ended = child.wait()?;
    Ok(answer.ok().filter(|_| ended.success()).map_or(Features::NONE, |answer| read(&answer)))
}

fn read(answer: &[u8]) -> Features {
    let Ok(Told { mount_options, linux }) = serde_json::from_slice(answer) else {
        return Features::NONE;
    };
    let enabled = linux.and_then(|linux| linux.seccomp?.enabled).unwrap_or(false);
    let is_recursive =
        mount_options.iter().flatten().any(|option| option == ReadOnly::Tree.option());
    Features {
        seccomp: if enabled { Seccomp::DefaultProfile } else { Seccomp::Unsupported },
        read_only: if is_recursive { ReadOnly::Tree } else { ReadOnly::Top },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_without_features_has_none() {
        assert_eq!(of(Path::new("/bin/false")).unwrap(), Features::NONE);
        assert_eq!(of(Path::new("/bin/echo")).unwrap(), Features::NONE);
        assert!(of(Path::new("/no/such/runtime")).is_err());
    }

    #[test]
    fn what_a_runtime_says_is_believed() {
        let told = br#"{ "ociVersionMin": "1.0.0", "mountOptions": ["ro", "rro"],
            "linux": { "seccomp": { "enabled": true } } }"#;
        let all = Features { seccomp: Seccomp::DefaultProfile, read_only: ReadOnly::Tree };
        assert_eq!(read(told), all);
        assert_eq!(read(br#"{ "mountOptions": ["ro"], "linux": {} }"#), Features::NONE);
        let null = br#"{ "mountOptions": null, "linux": { "seccomp": { "enabled": true } } }"#;
        assert_eq!(read(null).seccomp, Seccomp::DefaultProfile);
        assert_eq!(read(b"{}"), Features::NONE);
    }
}
