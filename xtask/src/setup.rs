//! What the other verbs need from the machine beside Rust: Debian packages, installed only where
//! something of them is missing. Which verb needs which is the table at the end.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::sh;

/// What a verb wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Compile and link.
    Build,
    /// Run a cluster: network namespaces, a root file system.
    Demo,
    /// Everything that is tested.
    Test,
    /// Compare with peers; what is tested is not needed for that.
    Bench,
    /// Fuzz under libFuzzer.
    Fuzz,
    /// Build youki from its sources.
    Youki,
}

impl Purpose {
    /// What needs more includes what needs less.
    const fn level(self) -> u8 {
        match self {
            Self::Build => 0,
            Self::Demo => 1,
            Self::Test | Self::Bench => 2,
            Self::Fuzz | Self::Youki => 3,
        }
    }

    /// Whether `need` is one of this purpose.
    fn wants(self, need: &Need) -> bool {
        match self {
            Self::Bench => need.purpose == Self::Build || PEERS.contains(&need.package),
            Self::Fuzz | Self::Youki => need.purpose == Self::Build || need.purpose == self,
            _ => need.purpose.level() <= self.level(),
        }
    }

    /// Whether there is no going on without `need`.
    fn stands_on(self, need: &Need) -> bool {
        need.purpose == Self::Build || (self.level() == 3 && need.purpose == self)
    }
}

/// Tries of apt-get before giving up: mirrors are flaky.
const APT_TRIES_MAX: u32 = 4;

/// What a measurement compares with, and the profile of system calls that it uses.
const PEERS: [&str; 3] = ["runc", "crun", "golang-github-containers-common"];

struct Need {
    package: &'static str,
    /// What of the package must be there.
    present: fn() -> bool,
    purpose: Purpose,
    /// What can't be done without it.
    loses: &'static str,
}

/// Installs what `purpose` needs and is missing. Says what it does.
pub(crate) fn run(purpose: Purpose) -> anyhow::Result<()> {
    let wanted = NEEDS.iter().filter(|need| purpose.wants(need));
    let missing: Vec<&Need> = wanted.filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    sh::step(&format!("setup: installing {}", packages.join(" ")));
    let root = sh::ask("id", &["-u"]).as_deref() == Some("0");
    if !root || sh::find("apt-get").is_none() {
        let why = if root { "this is no Debian" } else { "this is not root" };
        bail!("{why}; as root on Debian: apt-get install {}", packages.join(" "));
    }
    install(&packages);
    let still: Vec<&&Need> = missing.iter().filter(|need| !(need.present)()).collect();
    for need in &still {
        eprintln!("setup: {} could not be installed: no {}", need.package, need.loses);
    }
    match still.iter().find(|need| purpose.stands_on(need)) {
        Some(need) => bail!("nothing can be built without {}", need.package),
        None => Ok(()),
    }
}

/// Failures are seen by what is still missing afterwards.
fn install(packages: &[&str]) {
    for attempt in 1..=APT_TRIES_MAX {
        let done = apt(&["update", "-q"])
            && apt(&[&["install", "-y", "-q", "--no-install-recommends"], packages].concat());
        if done {
            return;
        }
        eprintln!("setup: apt-get failed, try {attempt} of {APT_TRIES_MAX}");
        std::thread::sleep(std::time::Duration::from_secs(5 * u64::from(attempt)));
    }
}

fn apt(arguments: &[&str]) -> bool {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(std::process::Stdio::null())
        .stdout(std::io::stderr())
        .status();
    status.is_ok_and(|status| status.success())
}

fn has_cloud_kernel() -> bool {
    crate::vm::kernel().is_some()
}

fn has_venv() -> bool {
    sh::ask("python3", &["-c", "import venv, ensurepip"]).is_some()
}

const NEEDS: &[Need] = &[
    Need {
        package: "gcc",
        present: || sh::find("cc").is_some(),
        purpose: Purpose::Build,
        loses: "linker",
    },
    Need {
        package: "libc6-dev",
        present: || Path::new("/usr/include/stdio.h").exists(),
        purpose: Purpose::Build,
        loses: "static C library",
    },
    Need {
        package: "iproute2",
        present: || sh::find("ip").is_some(),
        purpose: Purpose::Demo,
        loses: "second node in a network namespace",
    },
    Need {
        package: "nftables",
        present: || sh::find("nft").is_some(),
        purpose: Purpose::Test,
        loses: "tests of networks",
    },
    Need {
        package: "curl",
        present: || sh::find("curl").is_some(),
        purpose: Purpose::Test,
        loses: "published ports seen from outside",
    },
    Need {
        package: "debootstrap",
        present: || sh::find("debootstrap").is_some(),
        purpose: Purpose::Test,
        loses: "container of a real Debian",
    },
    Need {
        package: "runc",
        present: || sh::find("runc").is_some(),
        purpose: Purpose::Test,
        loses: "conformance suite on runc",
    },
    Need {
        package: "crun",
        present: || sh::find("crun").is_some(),
        purpose: Purpose::Test,
        loses: "conformance suite on crun",
    },
    Need {
        package: "golang-github-containers-common",
        present: || Path::new("/usr/share/containers/seccomp.json").exists(),
        purpose: Purpose::Test,
        loses: "engine's profile of system calls",
    },
    Need {
        package: "skopeo",
        present: || sh::find("skopeo").is_some(),
        purpose: Purpose::Test,
        loses: "image as another tool writes it",
    },
    Need {
        package: "umoci",
        present: || sh::find("umoci").is_some(),
        purpose: Purpose::Test,
        loses: "image as another tool writes it",
    },
    Need {
        package: "uidmap",
        present: || sh::find("newuidmap").is_some(),
        purpose: Purpose::Test,
        loses: "container of an ordinary user",
    },
    Need {
        package: "python3-venv",
        present: has_venv,
        purpose: Purpose::Test,
        loses: "boto3 and a foreign agent",
    },
    Need {
        package: "docker.io",
        present: || sh::find("dockerd").is_some() && sh::find("docker").is_some(),
        purpose: Purpose::Test,
        loses: "docker and containerd on the runtime",
    },
    Need {
        package: "podman",
        present: || sh::find("podman").is_some(),
        purpose: Purpose::Test,
        loses: "podman on the runtime",
    },
    Need {
        package: "buildah",
        present: || sh::find("buildah").is_some(),
        purpose: Purpose::Test,
        loses: "buildah on the runtime",
    },
    Need {
        package: "criu",
        present: || sh::find("criu").is_some(),
        purpose: Purpose::Test,
        loses: "checkpoint of a container",
    },
    Need {
        package: "apparmor",
        present: || sh::find("apparmor_parser").is_some(),
        purpose: Purpose::Test,
        loses: "profile of AppArmor, in the virtual machine",
    },
    Need {
        package: "qemu-system-x86",
        present: || sh::find("qemu-system-x86_64").is_some(),
        purpose: Purpose::Test,
        loses: "test on cgroup v2 in a virtual machine",
    },
    Need {
        package: "linux-image-cloud-amd64",
        present: has_cloud_kernel,
        purpose: Purpose::Test,
        loses: "kernel for the virtual machine",
    },
    Need {
        package: "busybox-static",
        present: || sh::find("busybox").is_some(),
        purpose: Purpose::Test,
        loses: "first program of the virtual machine",
    },
    Need {
        package: "g++",
        present: || sh::find("c++").is_some(),
        purpose: Purpose::Fuzz,
        loses: "libFuzzer, which is C++",
    },
    Need {
        package: "libseccomp-dev",
        present: || Path::new("/usr/include/seccomp.h").exists(),
        purpose: Purpose::Youki,
        loses: "filters of youki",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(purpose: Purpose) -> Vec<&'static str> {
        NEEDS.iter().filter(|need| purpose.wants(need)).map(|need| need.package).collect()
    }

    #[test]
    fn each_purpose_has_what_it_needs_and_no_more() {
        assert_eq!(packages(Purpose::Build), ["gcc", "libc6-dev"]);
        assert_eq!(packages(Purpose::Fuzz), ["gcc", "libc6-dev", "g++"]);
        assert_eq!(packages(Purpose::Youki), ["gcc", "libc6-dev", "libseccomp-dev"]);
        let test = packages(Purpose::Test);
        assert!(test.contains(&"runc") && !test.contains(&"g++"), "{test:?}");
        assert!(packages(Purpose::Demo).len() < test.len());
    }
}
