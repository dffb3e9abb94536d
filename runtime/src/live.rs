//! Verbs on a container that lives: exec, pause, resume, ps, update, events. From their words to a
//! value, and from the value to an exit code.

mod exec;
mod update;

use std::error::Error as StdError;
use std::io::{self, Write};
use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use crate::args::{ArgError, Flag, Order, Parsed, parse, switch, value};
use crate::cli::{print, unprinted};
use crate::container::{self, ContainerId, ExecOptions, Store};

/// What `events` waits between two reports, when nothing is said.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
/// And at most: a day.
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);

const PS: [Flag; 1] = [value("format", Some("f"))];

const EVENTS: [Flag; 2] = [value("interval", None), switch("stats", None)];

/// The flags of a verb of this module.
#[cfg(test)]
pub(crate) fn flags(verb: &str) -> Option<Vec<Flag>> {
    Some(match verb {
        "exec" => exec::FLAGS.to_vec(),
        "update" => update::FLAGS.to_vec(),
        "ps" => PS.to_vec(),
        "events" => EVENTS.to_vec(),
        _ => return None,
    })
}

/// What is to be done.
#[derive(Debug)]
pub enum LiveVerb {
    /// Runs another process.
    Exec(ContainerId, ExecOptions),
    /// Stops all processes.
    Pause(ContainerId),
    /// Lets them go on.
    Resume(ContainerId),
    /// Lists them.
    Ps {
        /// Of which container.
        id: ContainerId,
        /// As a JSON array of pids.
        json: bool,
        /// For ps(1).
        options: Vec<String>,
    },
    /// Changes limits.
    Update {
        /// Of which container.
        id: ContainerId,
        /// To these.
        resources: Box<LinuxResources>,
        /// And in its class of resctrl, these lines.
        schemata: Vec<String>,
    },
    /// Prints statistics and OOM kills.
    Events {
        /// Of which container.
        id: ContainerId,
        /// How often; `None` is once.
        interval: Option<Duration>,
    },
}

/// Takes the words after one of these verbs apart; `None` when it is another verb.
///
/// # Errors
/// What is wrong with them.
pub fn decode(verb: &str, rest: &[String]) -> Option<Result<LiveVerb, ArgError>> {
    Some(match verb {
        "exec" => exec::decode(rest),
        "pause" => only_id(verb, rest).map(LiveVerb::Pause),
        "resume" => only_id(verb, rest).map(LiveVerb::Resume),
        "ps" => ps(rest),
        "update" => update::decode(rest),
        "events" => events(rest),
        _ => return None,
    })
}

impl LiveVerb {
    /// What the program ends with when the verb fails: callers of exec tell the runtime's failure
    /// from the program's by it.
    pub fn failure_code(&self) -> u8 {
        if matches!(self, LiveVerb::Exec(..)) { u8::MAX } else { 1 }
    }

    /// How many descriptors from 3 on are passed on.
    pub fn preserve_fds(&self) -> u32 {
        match self {
            LiveVerb::Exec(_, options) => options.preserve_fds,
            _ => 0,
        }
    }

    /// What stands before the error.
    pub fn failure_prefix(&self) -> &'static str {
        if matches!(self, LiveVerb::Exec(..)) { "exec failed: " } else { "" }
    }

    /// Does it, and tells `warn` what is to be told although nothing failed.
    ///
    /// # Errors
    /// What failed.
    pub fn act(&self, store: &Store, warn: &mut dyn FnMut(&str)) -> Result<u8, Box<dyn StdError>> {
        match self {
            LiveVerb::Exec(id, options) => return run(store, id, options, warn),
            LiveVerb::Pause(id) => container::pause(store, id)?,
            LiveVerb::Resume(id) => container::resume(store, id)?,
            LiveVerb::Ps { id, json, options } => {
                let pids = container::processes(store, id)?;
                let text = match json {
                    true => serde_json::to_string(&pids)? + "\n",
                    false => container::table(&pids, options)?,
                };
                print(&text)?;
            }
            LiveVerb::Update { id, resources, schemata } => {
                for note in container::update(store, id, resources, schemata)? {
                    warn(&format!("left out {}: {}", note.field, note.why));
                }
            }
            LiveVerb::Events { id, interval: None } => {
                emit(&container::stats(store, id)?).map_err(unprinted)?;
            }
            LiveVerb::Events { id, interval: Some(interval) } => {
                container::follow(store, id, *interval, emit)?;
            }
        }
        Ok(0)
    }
}

fn run(
    store: &Store,
    id: &ContainerId,
    options: &ExecOptions,
    warn: &mut dyn FnMut(&str),
) -> Result<u8, Box<dyn StdError>> {
    let created = container::exec(store, id, options)?;
    created.warnings.iter().for_each(|text| warn(text));
    if !options.stays {
        return Ok(0);
    }
    let code = container::wait(&created, None, &mut |error| warn(&error.to_string()));
    let code = code.map_err(|error| container::explained(error, store.read(id).ok().as_ref()))?;
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

fn emit(event: &container::Event) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, event)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn ps(rest: &[String]) -> Result<LiveVerb, ArgError> {
    let parsed = parse(rest, &PS, Order::FlagsFirst)?;
    let Some((id, options)) = parsed.arguments.split_first() else {
        return Err(count("ps", "a container id and options of ps", &parsed));
    };
    let json = match parsed.value("format") {
        None | Some("table") => false,
        Some("json") => true,
        Some(other) => return Err(invalid("format", other, "expected table or json")),
    };
    let options = options.iter().skip_while(|word| *word == "--").cloned().collect();
    Ok(LiveVerb::Ps { id: container_id(id)?, json, options })
}

fn events(rest: &[String]) -> Result<LiveVerb, ArgError> {
    let parsed = parse(rest, &EVENTS, Order::Any)?;
    let [id] = parsed.arguments.as_slice() else {
        return Err(count("events", "one container id", &parsed));
    };
    let id = container_id(id)?;
    let interval = match parsed.value("interval") {
        None => INTERVAL_DEFAULT,
        Some(text) => duration(text)
            .filter(|interval| (Duration::from_millis(1)..=INTERVAL_MAX).contains(interval))
            .ok_or_else(|| invalid("interval", text, "expected a duration such as 5s, 1ms..24h"))?,
    };
    let interval = if parsed.is_on("stats")? { None } else { Some(interval) };
    Ok(LiveVerb::Events { id, interval })
}

/// A duration as Go prints and reads it: `1h2m3.5s`, `250ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |end| digits + end);
        total += amount
            * match &rest[digits..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(total).ok() }
}

fn only_id(verb: &str, rest: &[String]) -> Result<ContainerId, ArgError> {
    let parsed = parse(rest, &[], Order::Any)?;
    match parsed.arguments.as_slice() {
        [id] => container_id(id),
        _ => Err(count(verb, "one container id", &parsed)),
    }
}

fn container_id(text: &str) -> Result<ContainerId, ArgError> {
    ContainerId::parse(text).map_err(|_| ArgError::id(text))
}

fn count(verb: &str, expected: &'static str, parsed: &Parsed) -> ArgError {
    ArgError::Count { verb: verb.to_owned(), expected, got: parsed.arguments.len() }
}

fn invalid(flag: &'static str, value: &str, why: &'static str) -> ArgError {
    ArgError::Invalid { flag, value: value.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<LiveVerb, ArgError> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        decode(&words[0], &words[1..]).unwrap()
    }

    #[test]
    fn durations_are_gos() {
        for (text, ms) in [
            ("5s", Some(5000)),
            ("1m0.5s", Some(60_500)),
            ("20ms", Some(20)),
            ("1h", Some(3_600_000)),
        ] {
            assert_eq!(duration(text), ms.map(Duration::from_millis), "{text}");
        }
        for bad in ["", "5", "s", "1x", "-1s", "1..2s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_engines_type_is_understood() {
        let LiveVerb::Ps { json: true, .. } = decoded("ps --format json c1").unwrap() else {
            panic!("not ps")
        };
        let LiveVerb::Ps { options, .. } = decoded("ps c1 -- -o pid,comm").unwrap() else {
            panic!("not ps")
        };
        assert_eq!(options, ["-o", "pid,comm"]);
        let LiveVerb::Events { interval: None, .. } = decoded("events --stats c1").unwrap() else {
            panic!("not events")
        };
        let events = decoded("events --interval 20ms c1").unwrap();
        let LiveVerb::Events { interval, .. } = events else { panic!("not events") };
        assert_eq!(interval, Some(Duration::from_millis(20)));
        assert!(decoded("events --interval 0s c1").is_err());
        assert!(decoded("pause").is_err());
        assert!(decode("run", &[]).is_none());
    }
}
