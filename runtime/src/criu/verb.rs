//! The command lines of `checkpoint` and `restore`, which are runc's.

use std::path::PathBuf;

use super::request::{Checkpoint, Common, Lsm, LsmProfile, Restore};
use super::rpc::CgroupsMode;
use crate::args::{ArgError, Flag, Order, Parsed, parse, switch, value};
use crate::container::{ContainerId, CreateOptions};
use crate::plan::{Begin, CgroupDriver};

/// The folder of the images where none is named, in the working directory.
const IMAGES: &str = "checkpoint";

const BOTH: [Flag; 11] = [
    value("image-path", None),
    value("work-path", None),
    switch("tcp-established", None),
    switch("ext-unix-sk", None),
    switch("shell-job", None),
    switch("lazy-pages", None),
    switch("file-locks", None),
    value("manage-cgroups-mode", None),
    value("empty-ns", None),
    switch("auto-dedup", None),
    switch("help", Some("h")),
];

const CHECKPOINT: [Flag; 7] = [
    value("parent-path", None),
    switch("leave-running", None),
    value("status-fd", None),
    value("page-server", None),
    switch("pre-dump", None),
    switch("tcp-skip-in-flight", None),
    switch("link-remap", None),
];

const RESTORE: [Flag; 8] = [
    value("console-socket", None),
    value("bundle", Some("b")),
    switch("detach", Some("d")),
    value("pid-file", None),
    switch("no-subreaper", None),
    switch("no-pivot", None),
    value("lsm-profile", None),
    value("lsm-mount-context", None),
];

/// The flags of a verb of this module.
#[cfg(test)]
pub(crate) fn flags(verb: &str) -> Option<Vec<Flag>> {
    let own: &[Flag] = match verb {
        "checkpoint" => &CHECKPOINT,
        "restore" => &RESTORE,
        _ => return None,
    };
    Some(BOTH.iter().chain(own).copied().collect())
}

/// A verb, or nothing where only its help is asked for.
pub type Decoded<T> = Result<Option<T>, ArgError>;

/// Takes the words after `checkpoint` apart.
///
/// # Errors
/// What is wrong with them.
pub fn checkpoint(rest: &[String]) -> Decoded<(ContainerId, Checkpoint)> {
    let known: Vec<Flag> = BOTH.iter().chain(&CHECKPOINT).copied().collect();
    let parsed = parse(rest, &known, Order::Any)?;
    if parsed.is_on("help")? {
        return Ok(None);
    }
    let parent_path = parsed.value("parent-path").map(PathBuf::from);
    if let Some(path) = parent_path.as_ref().filter(|path| path.is_absolute()) {
        return Err(invalid(
            "parent-path",
            path.to_string_lossy(),
            "expected a path that is \
            relative to --image-path",
        ));
    }
    let asked = Checkpoint {
        common: common(&parsed)?,
        parent_path,
        leave_running: parsed.is_on("leave-running")?,
        pre_dump: parsed.is_on("pre-dump")?,
        status_fd: parsed.number("status-fd", i32::MAX as u32)?,
        page_server: page_server(&parsed)?,
        tcp_skip_in_flight: parsed.is_on("tcp-skip-in-flight")?,
        link_remap: parsed.is_on("link-remap")?,
    };
    if asked.status_fd.is_some() && !asked.common.lazy_pages {
        return Err(invalid(
            "status-fd",
            parsed.value("status-fd").unwrap_or_default(),
            "it goes \
            with --lazy-pages",
        ));
    }
    Ok(Some((id("checkpoint", &parsed)?, asked)))
}

/// Takes the words after `restore` apart.
///
/// # Errors
/// What is wrong with them.
pub fn restore(rest: &[String]) -> Decoded<(ContainerId, CreateOptions, Restore)> {
    let known: Vec<Flag> = BOTH.iter().chain(&RESTORE).copied().collect();
    let parsed = parse(rest, &known, Order::Any)?;
    if parsed.is_on("help")? {
        return Ok(None);
    }
    let path = |name| parsed.value(name).filter(|path| !path.is_empty()).map(absolute);
    let text = |name| parsed.value(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let options = CreateOptions {
        bundle: path("bundle").unwrap_or_else(|| absolute(".")),
        begin: Begin::AtOnce,
        console_socket: path("console-socket"),
        stays: !parsed.is_on("detach")?,
        pid_file: path("pid-file"),
        no_pivot: parsed.is_on("no-pivot")?,
        no_new_keyring: false,
        cgroup_driver: CgroupDriver::Cgroupfs,
        preserve_fds: 0,
        listen_fds: 0,
        pidfd_socket: None,
        fail_step: None,
        notify_socket: None,
        strict: false,
    };
    let asked = Restore {
        common: common(&parsed)?,
        lsm_profile: text("lsm-profile").map(|text| lsm_profile(&text)).transpose()?,
        lsm_mount_context: text("lsm-mount-context"),
    };
    Ok(Some((id("restore", &parsed)?, options, asked)))
}

fn common(parsed: &Parsed) -> Result<Common, ArgError> {
    let path = |name| parsed.value(name).filter(|path| !path.is_empty()).map(absolute);
    let cgroups = match parsed.value("manage-cgroups-mode") {
        None | Some("" | "soft") => CgroupsMode::Soft,
        Some("full") => CgroupsMode::Full,
        Some("strict") => CgroupsMode::Strict,
        Some("ignore") => CgroupsMode::Ignore,
        Some(other) => {
            let why = "expected soft, full, strict or ignore";
            return Err(invalid("manage-cgroups-mode", other, why));
        }
    };
    let other = parsed.values("empty-ns").find(|kind| *kind != "network");
    if let Some(other) = other {
        return Err(invalid("empty-ns", other, "only network is supported"));
    }
    Ok(Common {
        program: PathBuf::from("criu"),
        image_path: path("image-path").unwrap_or_else(|| absolute(IMAGES)),
        work_path: path("work-path"),
        tcp_established: parsed.is_on("tcp-established")?,
        ext_unix_sk: parsed.is_on("ext-unix-sk")?,
        shell_job: parsed.is_on("shell-job")?,
        file_locks: parsed.is_on("file-locks")?,
        lazy_pages: parsed.is_on("lazy-pages")?,
        auto_dedup: parsed.is_on("auto-dedup")?,
        empty_network: parsed.value("empty-ns").is_some(),
        cgroups,
    })
}

fn lsm_profile(text: &str) -> Result<LsmProfile, ArgError> {
    let (word, name) = text.split_once(':').unwrap_or((text, ""));
    let module = [Lsm::AppArmor, Lsm::SeLinux].into_iter().find(|module| module.word() == word);
    match module.filter(|_| !name.is_empty()) {
        Some(module) => Ok(LsmProfile { module, name: name.to_owned() }),
        None => Err(invalid("lsm-profile", text, "expected apparmor:PROFILE or selinux:LABEL")),
    }
}

fn page_server(parsed: &Parsed) -> Result<Option<(String, u16)>, ArgError> {
    let Some(text) = parsed.value("page-server").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let address = text.rsplit_once(':').and_then(|(address, port)| {
        let port = port.parse().ok().filter(|port| *port != 0)?;
        Some((address.to_owned(), port)).filter(|(address, _)| !address.is_empty())
    });
    address.map(Some).ok_or_else(|| invalid("page-server", text, "expected ADDRESS:PORT"))
}

fn id(verb: &str, parsed: &Parsed) -> Result<ContainerId, ArgError> {
    match parsed.arguments.as_slice() {
        [id] => ContainerId::parse(id).map_err(|_| ArgError::id(id)),
        other => Err(ArgError::Count {
            verb: verb.to_owned(),
            expected: "one container id",
            got: other.len(),
        }),
    }
}

fn invalid(flag: &'static str, value: impl Into<String>, why: &'static str) -> ArgError {
    ArgError::Invalid { flag, value: value.into(), why }
}

/// Relative to where the command was typed; the runtime itself moves around.
fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_podman_types_is_understood() {
        let text = "--image-path /c/checkpoint --work-path /c --leave-running --file-locks abc";
        let (id, asked) = checkpoint(&words(text)).unwrap().unwrap();
        assert_eq!(id.as_str(), "abc");
        assert!(asked.leave_running && asked.common.file_locks && !asked.common.shell_job);
        assert_eq!(asked.common.work_path, Some(PathBuf::from("/c")));
        let text = "--bundle /b --pid-file /p --detach --image-path /c --console-socket /s abc";
        let (_, options, asked) = restore(&words(text)).unwrap().unwrap();
        assert!(!options.stays && asked.lsm_profile.is_none());
        assert_eq!(asked.common.cgroups, CgroupsMode::Soft);
        assert!(checkpoint(&words("--help")).unwrap().is_none());
        // podman finds out by these words that pods can be restored.
        let error = restore(&words("--lsm-mount-context")).unwrap_err().to_string();
        assert!(error.contains("flag needs an argument"), "{error}");
    }

    #[test]
    fn what_has_no_meaning_is_refused_by_name() {
        for (text, flag) in [
            ("--parent-path /abs a", "parent-path"),
            ("--empty-ns pid a", "empty-ns"),
            ("--manage-cgroups-mode most a", "manage-cgroups-mode"),
            ("--page-server 127.0.0.1 a", "page-server"),
            ("--page-server :27 a", "page-server"),
            ("--status-fd 5 a", "status-fd"),
        ] {
            let error = checkpoint(&words(text)).unwrap_err().to_string();
            assert!(error.contains(flag), "{text}: {error}");
        }
        for text in ["--lsm-profile web a", "--lsm-profile smack:web a", "--lsm-profile selinux: a"]
        {
            let error = restore(&words(text)).unwrap_err().to_string();
            assert!(error.contains("apparmor:PROFILE or selinux:LABEL"), "{text}: {error}");
        }
    }

    #[test]
    fn a_label_of_selinux_has_colons_of_its_own() {
        let text = "--lsm-profile selinux:system_u:system_r:container_t:s0 a";
        let (_, _, asked) = restore(&words(text)).unwrap().unwrap();
        let name = "system_u:system_r:container_t:s0".to_owned();
        assert_eq!(asked.lsm_profile, Some(LsmProfile { module: Lsm::SeLinux, name }));
    }
}
