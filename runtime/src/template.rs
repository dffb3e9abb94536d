//! `spec`: a configuration to begin with.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The configuration for root, as text: it is read by people first.
const TEMPLATE: &str = include_str!("template.json");

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is one already.
    #[error("File {} exists. Remove it first", .0.display())]
    Exists(PathBuf),
    /// Another failure.
    #[error("write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Writes config.json into a directory.
///
/// # Errors
/// When there is one already or it cannot be written.
pub fn write(bundle: &Path, is_rootless: bool) -> Result<(), Error> {
    let path = bundle.join("config.json");
    let text = if is_rootless { rootless() } else { TEMPLATE.to_owned() };
    let mut file = match File::create_new(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::Exists(path));
        }
        other => other.map_err(|source| Error::Write { path: path.clone(), source })?,
    };
    file.write_all(text.as_bytes()).map_err(|source| Error::Write { path, source })
}

/// What an ordinary user cannot have is taken out: the network namespace (nobody would set it up),
/// sysfs (it belongs to the network namespace's owner), groups that are not mapped, limits.
fn rootless() -> String {
    let mut config: Value = serde_json::from_str(TEMPLATE).expect("the template is JSON");
    let map = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 1 }]);
    let linux = &mut config["linux"];
    linux["uidMappings"] = map(nix::unistd::geteuid().as_raw());
    linux["gidMappings"] = map(nix::unistd::getegid().as_raw());
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["type"] != "cgroup");
        for mount in mounts {
            if mount["destination"] == "/sys" {
                *mount = json!({
                    "destination": "/sys",
                    "type": "none",
                    "source": "/sys",
                    // With all mounts below it, or the user's own cgroups could be written to.
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro", "rro"],
                });
            }
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option.as_str().is_none_or(|o| !o.starts_with("gid=")));
            }
        }
    }
    serde_json::to_string_pretty(&config).expect("a value has text keys only") + "\n"
}

#[cfg(test)]
mod tests {
    use super::{TEMPLATE, rootless};
    use crate::spec::Spec;

    #[test]
    fn both_configurations_are_valid() {
        for text in [TEMPLATE.to_owned(), rootless()] {
            let oci = serde_json::from_str(&text).unwrap();
            let spec = Spec::validate(&oci).unwrap();
            assert_eq!(spec.process.capabilities.inheritable, 0);
        }
    }
}
