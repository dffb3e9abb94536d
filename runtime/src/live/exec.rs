//! The words of `exec`.

use std::path::PathBuf;

use oci_spec::runtime::Capability;

use super::{LiveVerb, container_id, count, invalid};
use crate::args::{ArgError, Flag, Order, Parsed, parse, switch, value};
use crate::container::{Change, ExecOptions, SubCgroup, Wanted};

/// More descriptors than this cannot be preserved.
const PRESERVE_FDS_MAX: u32 = 1024;

pub(super) const FLAGS: [Flag; 18] = [
    value("console-socket", None),
    value("cwd", None),
    value("env", Some("e")),
    switch("tty", Some("t")),
    value("user", Some("u")),
    value("additional-gids", Some("g")),
    value("process", Some("p")),
    switch("detach", Some("d")),
    value("pid-file", None),
    value("pidfd-socket", None),
    value("process-label", None),
    value("apparmor", None),
    switch("no-new-privs", None),
    value("cap", Some("c")),
    value("preserve-fds", None),
    value("cgroup", None),
    value("fail-step", None),
    switch("ignore-paused", None),
];

pub(super) fn decode(rest: &[String]) -> Result<LiveVerb, ArgError> {
    let parsed = parse(rest, &FLAGS, Order::FlagsFirst)?;
    let expected = "a container id, and a program unless --process is given";
    let Some((id, args)) = parsed.arguments.split_first() else {
        return Err(count("exec", expected, &parsed));
    };
    let tty = parsed.is_on("tty")?;
    let no_new_privileges = match parsed.value("no-new-privs") {
        Some(_) => Some(parsed.is_on("no-new-privs")?),
        None => None,
    };
    let failed = |error| ArgError::Exec(Box::new(error));
    let path = |name| parsed.value(name).filter(|path| !path.is_empty()).map(absolute);
    let process = match path("process") {
        Some(file) => Wanted::File(file),
        None if args.is_empty() => return Err(failed(ArgError::NoProgram)),
        None => {
            let change = change(&parsed, args).map_err(failed)?;
            Wanted::Changed(Box::new(Change { terminal: tty, no_new_privileges, ..change }))
        }
    };
    let cgroups = parsed
        .values("cgroup")
        .map(|text| SubCgroup::parse(text).map_err(|why| invalid("cgroup", text, why)));
    let options = ExecOptions {
        process,
        console_socket: path("console-socket"),
        stays: !parsed.is_on("detach")?,
        pid_file: path("pid-file"),
        pidfd_socket: path("pidfd-socket"),
        preserve_fds: parsed.number("preserve-fds", PRESERVE_FDS_MAX)?.unwrap_or(0),
        cgroups: cgroups.collect::<Result<_, _>>().map_err(failed)?,
        fail_step: crate::verb::fail_step(&parsed)?,
        ignore_paused: parsed.is_on("ignore-paused")?,
    };
    Ok(LiveVerb::Exec(container_id(id).map_err(failed)?, options))
}

fn change(parsed: &Parsed, args: &[String]) -> Result<Change, ArgError> {
    let text = |name| parsed.value(name).map(str::to_owned);
    let user = match parsed.value("user") {
        Some(text) => Some(user(text)?),
        None => None,
    };
    let (capabilities, unknown_capabilities) = capabilities(parsed);
    Ok(Change {
        args: args.to_vec(),
        cwd: parsed.value("cwd").map(PathBuf::from),
        env: parsed.values("env").map(environment).collect::<Result<_, _>>()?,
        user,
        additional_gids: additional_gids(parsed)?,
        capabilities,
        unknown_capabilities,
        apparmor: text("apparmor"),
        label: text("process-label"),
        ..Change::default()
    })
}

fn environment(text: &str) -> Result<String, ArgError> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err(invalid("env", text, "expected NAME=VALUE")),
    }
}

/// Numbers only, digits only: a name would have to be looked up in files of the container.
fn user(text: &str) -> Result<(u32, Option<u32>), ArgError> {
    let number = |part: &str| {
        id_number(part).ok_or_else(|| invalid("user", text, "expected UID or UID:GID, as numbers"))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

fn additional_gids(parsed: &Parsed) -> Result<Vec<u32>, ArgError> {
    let gid = |text: &str| {
        id_number(text).ok_or_else(|| invalid("additional-gids", text, "expected a group number"))
    };
    parsed.values("additional-gids").flat_map(|list| list.split(',')).map(gid).collect()
}

/// The largest number is the kernel's "leave as it is", so it is nobody's.
fn id_number(text: &str) -> Option<u32> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits { text.parse().ok().filter(|id| *id != u32::MAX) } else { None }
}

/// The capabilities, and the names that are none: of those the caller is warned, as by runc.
fn capabilities(parsed: &Parsed) -> (Vec<Capability>, Vec<String>) {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for name in parsed.values("cap").flat_map(|list| list.split(',')) {
        let name = name.to_ascii_uppercase();
        match serde_json::from_value(name.as_str().into()) {
            Ok(capability) => known.push(capability),
            Err(_) => unknown.push(name),
        }
    }
    (known, unknown)
}

fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<ExecOptions, ArgError> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        match decode(&words)? {
            LiveVerb::Exec(_, options) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_containerd_and_docker_type_is_understood() {
        let text = "--process /tmp/p1 --detach --pid-file /run/x.pid --console-socket /tmp/s c1";
        let options = decoded(text).unwrap();
        assert!(matches!(options.process, Wanted::File(ref path) if path.ends_with("p1")));
        assert!(!options.stays);
    }

    #[test]
    fn flags_after_the_id_belong_to_the_program() {
        let options = decoded("-t -e A=b -u 7:8 -g 9,10 --cap cap_net_raw c1 ls -e x").unwrap();
        let Wanted::Changed(change) = options.process else { panic!("not changed") };
        assert_eq!(change.args, ["ls", "-e", "x"]);
        assert_eq!((change.user, change.terminal), (Some((7, Some(8))), true));
        assert_eq!(
            (change.env.as_slice(), change.additional_gids.as_slice()),
            (["A=b".to_owned()].as_slice(), [9, 10].as_slice())
        );
        assert_eq!(change.capabilities, [Capability::NetRaw]);
        assert_eq!(change.no_new_privileges, None);
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in [
            "c1",
            "-u root c1 id",
            "-u +1 c1 id",
            "-u 4294967295 c1 id",
            "-u 1: c1 id",
            "-g x c1 id",
            "-e =x c1 id",
            "--cgroup ../x c1 id",
            "--preserve-fds -1 c1 id",
        ] {
            assert!(decoded(bad).is_err(), "{bad}");
        }
    }
}
