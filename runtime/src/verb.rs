//! argv as a value: the global flags and one verb with its own.

use std::path::PathBuf;

use crate::args::{ArgError, Flag, Order, Parsed, parse, switch, value};
use crate::container::{ContainerId, CreateOptions, Force, Reach};
use crate::criu;
use crate::help;
use crate::live::{self, LiveVerb};
use crate::plan::{Begin, CgroupDriver};
use crate::signal;

/// Whether this is a build for tests, which can be told to fail.
const FAILPOINTS: bool = cfg!(any(debug_assertions, feature = "failpoints"));

/// More descriptors than this cannot be preserved.
const PRESERVE_FDS_MAX: u32 = 1024;

/// The form of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, as containerd reads it.
    Json,
}

/// Flags before the verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Global {
    /// Where the records are.
    pub root: Option<PathBuf>,
    /// Where errors go besides standard error.
    pub log: Option<PathBuf>,
    /// In what form.
    pub log_format: LogFormat,
    /// Whether steps are told too.
    pub debug: bool,
    /// Whether cgroups are asked of systemd.
    pub systemd_cgroup: bool,
}

/// What is to be done.
#[derive(Debug)]
pub enum Verb {
    /// Prints how to use the program, or this verb.
    Help(Option<&'static str>),
    /// Prints the version.
    Version,
    /// Creates a container.
    Create {
        /// Which.
        id: ContainerId,
        /// How.
        options: CreateOptions,
        /// Only print the plan.
        dry_run: bool,
    },
    /// Starts a created container.
    Start(ContainerId),
    /// Creates and starts a container.
    Run {
        /// Which.
        id: ContainerId,
        /// How.
        options: CreateOptions,
        /// Only print the plan.
        dry_run: bool,
        /// Keep it when its program has ended.
        keep: bool,
    },
    /// Prints the state.
    State(ContainerId),
    /// Sends a signal.
    Kill {
        /// To which.
        id: ContainerId,
        /// The signal's number.
        signal: i32,
        /// To which of its processes.
        reach: Reach,
    },
    /// Removes a container.
    Delete(ContainerId, Force),
    /// Prints all containers.
    List {
        /// As JSON.
        json: bool,
        /// Only the ids.
        quiet: bool,
    },
    /// Writes a configuration to begin with.
    Spec {
        /// Where.
        bundle: PathBuf,
        /// For an ordinary user.
        rootless: bool,
    },
    /// Prints what this runtime can do.
    Features,
    /// Writes a running container into images.
    Checkpoint {
        /// Which.
        id: ContainerId,
        /// How.
        asked: Box<criu::request::Checkpoint>,
    },
    /// Makes a container from images.
    Restore {
        /// Which.
        id: ContainerId,
        /// As what container.
        options: Box<CreateOptions>,
        /// How.
        asked: Box<criu::request::Restore>,
    },
    /// Does something with a container that lives.
    Live(LiveVerb),
}

const GLOBAL: [Flag; 9] = [
    value("root", None),
    value("log", None),
    value("log-format", None),
    value("criu", None),
    value("rootless", None),
    switch("debug", None),
    switch("systemd-cgroup", None),
    switch("help", Some("h")),
    switch("version", Some("v")),
];

const CREATE: [Flag; 14] = [
    value("bundle", Some("b")),
    value("console-socket", None),
    value("pid-file", None),
    value("pidfd-socket", None),
    value("preserve-fds", None),
    value("fail-step", None),
    switch("no-pivot", None),
    switch("no-new-keyring", None),
    switch("no-subreaper", None),
    switch("detach", Some("d")),
    switch("keep", None),
    switch("dry-run", None),
    switch("strict", None),
    switch("help", Some("h")),
];

const KILL: [Flag; 1] = [switch("all", Some("a"))];

const DELETE: [Flag; 1] = [switch("force", Some("f"))];

const LIST: [Flag; 2] = [value("format", Some("f")), switch("quiet", Some("q"))];

const SPEC: [Flag; 2] = [value("bundle", Some("b")), switch("rootless", None)];

/// Takes a command line (without the program's name) apart.
///
/// # Errors
/// What is wrong with it, and the global flags, which say where that is told.
pub fn decode(words: &[String]) -> Result<(Global, Verb), (Global, ArgError)> {
    let (global, parsed) = global(words).map_err(|error| (Global::default(), error))?;
    match decode_after(&global, &parsed) {
        Ok(verb) => Ok((global, verb)),
        Err(error) => Err((global, error)),
    }
}

fn global(words: &[String]) -> Result<(Global, Parsed), ArgError> {
    let parsed = parse(words, &GLOBAL, Order::FlagsFirst)?;
    let log_format = match parsed.value("log-format") {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => {
            let (value, why) = (other.to_owned(), "expected text or json");
            return Err(ArgError::Invalid { flag: "log-format", value, why });
        }
    };
    let global = Global {
        root: parsed.value("root").map(absolute),
        log: parsed.value("log").filter(|path| !path.is_empty()).map(absolute),
        log_format,
        debug: parsed.is_on("debug")?,
        systemd_cgroup: parsed.is_on("systemd-cgroup")?,
    };
    Ok((global, parsed))
}

/// What containers are here is seen, not said; a word that runc would not take is a mistake.
fn refuse_other_than_truth(parsed: &Parsed) -> Result<(), ArgError> {
    const FLAG: &str = "rootless";
    let is_decided = !matches!(parsed.value(FLAG), None | Some("" | "auto"));
    match parsed.is_on(FLAG) {
        Err(ArgError::Invalid { value, .. }) if is_decided => {
            Err(ArgError::Invalid { flag: FLAG, value, why: "expected true, false or auto" })
        }
        _ => Ok(()),
    }
}

fn decode_after(global: &Global, parsed: &Parsed) -> Result<Verb, ArgError> {
    refuse_other_than_truth(parsed)?;
    let mut verb = match parsed.arguments.split_first() {
        _ if parsed.is_on("version")? => Verb::Version,
        _ if parsed.is_on("help")? => Verb::Help(None),
        None => Verb::Help(None),
        Some((verb, rest)) => decode_verb(verb, rest)?,
    };
    match &mut verb {
        Verb::Create { options, .. } | Verb::Run { options, .. } if global.systemd_cgroup => {
            options.cgroup_driver = CgroupDriver::Systemd;
        }
        Verb::Restore { options, .. } if global.systemd_cgroup => {
            options.cgroup_driver = CgroupDriver::Systemd;
        }
        _ => {}
    }
    let common = match &mut verb {
        Verb::Checkpoint { asked, .. } => Some(&mut asked.common),
        Verb::Restore { asked, .. } => Some(&mut asked.common),
        _ => None,
    };
    let program = parsed.value("criu").filter(|path| !path.is_empty());
    if let (Some(common), Some(program)) = (common, program) {
        common.program = PathBuf::from(program);
    }
    Ok(verb)
}

fn decode_verb(verb: &str, rest: &[String]) -> Result<Verb, ArgError> {
    let asks = |word: &String| ["--help", "-help", "--h", "-h"].contains(&word.as_str());
    if rest.first().is_some_and(asks) {
        return help_of(verb);
    }
    match verb {
        "create" | "run" => create(verb, rest),
        "start" => Ok(Verb::Start(only_id(verb, &plain(rest)?)?)),
        "state" => Ok(Verb::State(only_id(verb, &plain(rest)?)?)),
        "kill" => kill(rest),
        "delete" => {
            let parsed = parse(rest, &DELETE, Order::Any)?;
            let force = if parsed.is_on("force")? { Force::Yes } else { Force::No };
            Ok(Verb::Delete(only_id(verb, &parsed)?, force))
        }
        "list" => list(rest),
        "spec" => {
            let parsed = parse(rest, &SPEC, Order::Any)?;
            count(verb, &parsed, "no argument", 0, 0)?;
            let bundle = parsed.value("bundle").map_or_else(PathBuf::new, absolute);
            Ok(Verb::Spec { bundle, rootless: parsed.is_on("rootless")? })
        }
        "features" => {
            count(verb, &plain(rest)?, "no argument", 0, 0)?;
            Ok(Verb::Features)
        }
        "help" | "h" => match rest.first() {
            Some(verb) => help_of(verb),
            None => Ok(Verb::Help(None)),
        },
        "checkpoint" => Ok(match criu::verb::checkpoint(rest)? {
            Some((id, asked)) => Verb::Checkpoint { id, asked: Box::new(asked) },
            None => help_of(verb)?,
        }),
        "restore" => Ok(match criu::verb::restore(rest)? {
            Some((id, options, asked)) => {
                Verb::Restore { id, options: Box::new(options), asked: Box::new(asked) }
            }
            None => help_of(verb)?,
        }),
        other => match live::decode(other, rest) {
            Some(decoded) => decoded.map(Verb::Live),
            None => Err(ArgError::NoVerb(other.to_owned())),
        },
    }
}

fn help_of(verb: &str) -> Result<Verb, ArgError> {
    let text = help::of(verb).ok_or_else(|| ArgError::NoVerb(verb.to_owned()))?;
    Ok(Verb::Help(Some(text)))
}

/// The flags of a verb of this module.
#[cfg(test)]
pub(crate) fn flags(verb: &str) -> Option<Vec<Flag>> {
    Some(match verb {
        "create" | "run" => CREATE.to_vec(),
        "kill" => KILL.to_vec(),
        "delete" => DELETE.to_vec(),
        "list" => LIST.to_vec(),
        "spec" => SPEC.to_vec(),
        _ => return None,
    })
}

fn create(verb: &str, rest: &[String]) -> Result<Verb, ArgError> {
    let parsed = parse(rest, &CREATE, Order::Any)?;
    if parsed.is_on("help")? {
        return help_of(verb);
    }
    let id = only_id(verb, &parsed)?;
    let is_run = verb == "run";
    let stays = is_run && !parsed.is_on("detach")?;
    let path = |name| parsed.value(name).filter(|path| !path.is_empty()).map(absolute);
    let options = CreateOptions {
        bundle: path("bundle").unwrap_or_else(|| absolute(".")),
        begin: if is_run { Begin::AtOnce } else { Begin::OnStart },
        console_socket: path("console-socket"),
        stays,
        pid_file: path("pid-file"),
        no_pivot: parsed.is_on("no-pivot")?,
        no_new_keyring: parsed.is_on("no-new-keyring")?,
        preserve_fds: parsed.number("preserve-fds", PRESERVE_FDS_MAX)?.unwrap_or(0),
        listen_fds: 0,
        pidfd_socket: path("pidfd-socket"),
        cgroup_driver: CgroupDriver::Cgroupfs,
        notify_socket: None,
        strict: parsed.is_on("strict")?,
        fail_step: fail_step(&parsed)?,
    };
    let dry_run = parsed.is_on("dry-run")?;
    if is_run {
        let keep = !stays || parsed.is_on("keep")?;
        return Ok(Verb::Run { id, options, dry_run, keep });
    }
    Ok(Verb::Create { id, options, dry_run })
}

/// Only a build for tests can be told to fail.
pub(crate) fn fail_step(parsed: &Parsed) -> Result<Option<usize>, ArgError> {
    if FAILPOINTS {
        return Ok(parsed.number("fail-step", u32::MAX)?.map(|step| step as usize));
    }
    match parsed.value("fail-step") {
        Some(_) => Err(ArgError::Unknown("--fail-step".to_owned())),
        None => Ok(None),
    }
}

fn kill(rest: &[String]) -> Result<Verb, ArgError> {
    let parsed = parse(rest, &KILL, Order::Any)?;
    count("kill", &parsed, "an id and at most one signal", 1, 2)?;
    let text = parsed.arguments.get(1).map_or("SIGTERM", String::as_str);
    let signal = signal::parse(text).ok_or_else(|| ArgError::Argument {
        what: "unknown signal",
        value: text.to_owned(),
        why: "expected a name or a number",
    })?;
    let reach = if parsed.is_on("all")? { Reach::All } else { Reach::First };
    Ok(Verb::Kill { id: id(&parsed.arguments[0])?, signal, reach })
}

fn list(rest: &[String]) -> Result<Verb, ArgError> {
    let parsed = parse(rest, &LIST, Order::Any)?;
    count("list", &parsed, "no argument", 0, 0)?;
    let json = match parsed.value("format") {
        None | Some("table") => false,
        Some("json") => true,
        Some(other) => {
            let (value, why) = (other.to_owned(), "expected table or json");
            return Err(ArgError::Invalid { flag: "format", value, why });
        }
    };
    Ok(Verb::List { json, quiet: parsed.is_on("quiet")? })
}

fn plain(rest: &[String]) -> Result<Parsed, ArgError> {
    parse(rest, &[], Order::Any)
}

fn only_id(verb: &str, parsed: &Parsed) -> Result<ContainerId, ArgError> {
    count(verb, parsed, "one container id", 1, 1)?;
    id(&parsed.arguments[0])
}

fn id(text: &str) -> Result<ContainerId, ArgError> {
    ContainerId::parse(text).map_err(|_| ArgError::id(text))
}

fn count(
    verb: &str,
    parsed: &Parsed,
    expected: &'static str,
    min: usize,
    max: usize,
) -> Result<(), ArgError> {
    let got = parsed.arguments.len();
    if (min..=max).contains(&got) {
        return Ok(());
    }
    Err(ArgError::Count { verb: verb.to_owned(), expected, got })
}

/// Relative to where the command was typed; the runtime itself moves around.
fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::{LogFormat, Verb, decode};
    use crate::container::Reach;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_containerd_types_is_understood() {
        let text = "--root /run/r --log /b/log.json --log-format json create --bundle /b \
                    --pid-file /b/init.pid --console-socket /tmp/s.sock --no-pivot abc";
        let (global, verb) = decode(&words(text)).unwrap();
        assert_eq!(global.log_format, LogFormat::Json);
        let Verb::Create { id, options, dry_run: false } = verb else { panic!("{verb:?}") };
        assert_eq!(id.as_str(), "abc");
        assert!(options.no_pivot);
        let (_, verb) = decode(&words("--root /r kill --all abc 9")).unwrap();
        let Verb::Kill { signal: 9, reach: Reach::All, .. } = verb else { panic!("{verb:?}") };
    }

    #[test]
    fn rootless_is_a_truth_or_left_to_the_runtime() {
        for word in ["true", "0", "auto", ""] {
            assert!(decode(&words(&format!("--rootless={word} state abc"))).is_ok(), "{word}");
        }
        let (_, error) = decode(&words("--rootless maybe state abc")).unwrap_err();
        assert!(error.to_string().contains("expected true, false or auto"), "{error}");
    }

    #[test]
    fn an_id_that_is_a_path_is_refused() {
        assert!(decode(&words("state ../x")).is_err());
    }

    #[test]
    fn a_failing_step_can_be_asked_for_in_test_builds_only() {
        let decoded = decode(&words("create --fail-step 3 abc"));
        assert_eq!(decoded.is_ok(), super::FAILPOINTS);
    }
}
