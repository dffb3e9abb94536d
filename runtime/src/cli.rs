//! From a verb to an exit code.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::container::{self, Error, Store, dry_run};
use crate::log::{self, Level, tell};
use crate::verb::{Global, Verb, decode};
use crate::{features, help, sys, template};

/// More sockets than this are no service manager's.
const LISTEN_FDS_MAX: u32 = 1024;

/// Runs the program's command line, and gives its exit code. `commit` is what the program was built
/// from, where that is known.
pub fn main(words: Vec<OsString>, commit: Option<&str>) -> i32 {
    let words: Option<Vec<String>> =
        words.into_iter().map(|word| word.into_string().ok()).collect();
    // Refused never: the signal is one, and has a default.
    let _ = sys::signal::hear_of_children();
    let code = run(words, commit);
    // Nobody else does: the program has no standard library around it.
    let flushed = io::stdout().flush();
    if code == 0 && flushed.is_err() { 1 } else { code }
}

/// `None` stands for a command line that is not UTF-8.
fn run(words: Option<Vec<String>>, commit: Option<&str>) -> i32 {
    let Some(words) = words else {
        log::say("loadline-runtime: an argument is not UTF-8");
        return 1;
    };
    let (global, verb) = match decode(&words) {
        Ok(decoded) => decoded,
        Err((global, error)) => {
            tell(&global, Level::Error, &error.to_string());
            return error.exit_code();
        }
    };
    if let (Err(error), Some(log)) = (begin_log(&global, &verb), &global.log) {
        log::say(&format!("loadline-runtime: open log {}: {error}", log.display()));
        return 1;
    }
    log::debug(|| format!("loadline-runtime {}: {}", env!("CARGO_PKG_VERSION"), log::told(&words)));
    let (prefix, failure_code) = match &verb {
        Verb::Live(live) => (live.failure_prefix(), live.failure_code()),
        _ => ("", 1),
    };
    let code = match act(&global, verb, commit) {
        Ok(code) => i32::from(code),
        Err(error) => {
            tell(&global, Level::Error, &format!("{prefix}{}", chain(error.as_ref())));
            i32::from(failure_code)
        }
    };
    log::debug(|| format!("exit code {code}"));
    code
}

/// As in runc, who asks for help needs no log.
fn begin_log(global: &Global, verb: &Verb) -> io::Result<()> {
    match verb {
        Verb::Help(_) | Verb::Version => Ok(()),
        _ => log::begin(global),
    }
}

type Failed = Box<dyn StdError>;

/// Prints at once, so that an error is told, with what it is about.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(unprinted)
}

pub(crate) fn unprinted(source: io::Error) -> Error {
    Error::io("write to", "standard output", source)
}

fn act(global: &Global, verb: Verb, commit: Option<&str>) -> Result<u8, Failed> {
    let store = || {
        let root = global.root.clone().unwrap_or_else(|| own_folder("loadline-runtime"));
        Store::at(root, own_folder("loadline-filters"))
    };
    match verb {
        Verb::Help(of) => print(of.unwrap_or(help::PROGRAM))?,
        Verb::Version => print(&features::version(commit))?,
        Verb::Create { id, options, dry_run: true }
        | Verb::Run { id, options, dry_run: true, .. } => {
            print(&dry_run(&store(), &id, &options)?)?;
        }
        Verb::Create { id, options, .. } => {
            let options = with_sockets(options);
            prepare(options.preserve_fds)?;
            let created = container::create(&store(), &id, &options)?;
            warn_of(global, &created);
        }
        Verb::Start(id) => {
            prepare(0)?;
            let notify_socket = notify_socket();
            warn(global, container::start(&store(), &id, notify_socket.as_deref())?);
        }
        Verb::Run { id, options, keep, .. } => {
            let options = with_sockets(options);
            prepare(options.preserve_fds)?;
            return run_container(global, &store(), &id, &options, keep);
        }
        Verb::State(id) => {
            let state = container::state(&store(), &id)?;
            print(&(serde_json::to_string_pretty(&state)? + "\n"))?;
        }
        Verb::Kill { id, signal, reach } => container::kill(&store(), &id, signal, reach)?,
        Verb::Delete(id, force) => {
            prepare(0)?;
            warn(global, container::delete(&store(), &id, force)?);
        }
        Verb::List { json, quiet } => print(&list(global, &store(), json, quiet)?)?,
        Verb::Spec { bundle, rootless } => template::write(&bundle, rootless)?,
        Verb::Features => print(&features::json())?,
        Verb::Checkpoint { id, asked } => {
            sys::fd::cloexec_from(3)?;
            warn(global, container::checkpoint(&store(), &id, &asked)?);
        }
        Verb::Restore { id, mut options, asked } => {
            options.notify_socket = notify_socket();
            prepare(0)?;
            return restore(global, &store(), &id, &options, &asked);
        }
        Verb::Live(live) => {
            prepare(live.preserve_fds())?;
            let mut warn = |text: &str| tell(global, Level::Warning, text);
            return live.act(&store(), &mut warn);
        }
    }
    Ok(0)
}

fn run_container(
    global: &Global,
    store: &Store,
    id: &container::ContainerId,
    options: &container::CreateOptions,
    keep: bool,
) -> Result<u8, Failed> {
    let mut created = container::create(store, id, options)?;
    warn_of(global, &created);
    let record = created.record.as_ref().ok_or_else(|| store.not_found(id))?;
    if let Err(failed) = container::after_start(record) {
        // What matters more is why.
        warn(global, container::delete(store, id, container::Force::Yes).unwrap_or_else(Some));
        return Err(failed.into());
    }
    if options.stays {
        return stay(global, store, id, &mut created, keep);
    }
    if let Some(readiness) = created.readiness.take() {
        warn(global, readiness.wait(created.pidfd.as_fd(), created.pid.unsigned_abs()).err());
    }
    Ok(0)
}

fn restore(
    global: &Global,
    store: &Store,
    id: &container::ContainerId,
    options: &container::CreateOptions,
    asked: &crate::criu::request::Restore,
) -> Result<u8, Failed> {
    let mut created = container::restore(store, id, options, asked)?;
    warn_of(global, &created);
    if !options.stays {
        return Ok(0);
    }
    stay(global, store, id, &mut created, false)
}

/// Stays until the container's program ends, and removes the container unless it is kept.
fn stay(
    global: &Global,
    store: &Store,
    id: &container::ContainerId,
    created: &mut container::Created,
    keep: bool,
) -> Result<u8, Failed> {
    let readiness = created.readiness.take();
    let record = created.record.as_ref().ok_or_else(|| store.not_found(id))?;
    let code = container::wait(created, readiness, &mut |error| warn(global, Some(error)))
        .map_err(|error| container::explained(error, Some(record)));
    warn(
        global,
        match (keep, &code) {
            (true, _) => None,
            (false, Ok(_)) => container::delete_ended(store, id, record)?,
            (false, Err(_)) => container::delete(store, id, container::Force::Yes)?,
        },
    );
    Ok(u8::try_from(code?).unwrap_or(u8::MAX))
}

/// The socket of a service manager that waits for a word of what it starts (sd_notify(3)).
fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
}

/// With the sockets that a service manager gave to this process (sd_listen_fds(3)): they are for
/// the container's program, and come before the preserved descriptors, as in runc. So does the
/// one that it reads.
fn with_sockets(mut options: container::CreateOptions) -> container::CreateOptions {
    options.notify_socket = notify_socket();
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if let Some(sockets) = number("LISTEN_FDS").filter(|n| (1..=LISTEN_FDS_MAX).contains(n))
        && number("LISTEN_PID") == Some(std::process::id())
    {
        options.listen_fds = sockets;
        options.preserve_fds += sockets;
    }
    options
}

/// Nothing that the caller left open reaches hooks or the container, but what was asked for.
fn prepare(preserve_fds: u32) -> Result<(), Failed> {
    for fd in 3..3 + preserve_fds {
        if !sys::fd::is_open(fd) {
            return Err(format!("--preserve-fds: descriptor {fd} is not open").into());
        }
    }
    Ok(sys::fd::cloexec_from(3 + preserve_fds)?)
}

/// A folder of this user that a restart of the machine empties: an ordinary user's is in that of
/// the session; so is that of root in a user namespace, unless the environment says that this is
/// root's own session.
fn own_folder(name: &str) -> PathBuf {
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match runtime_dir {
        Some(dir) if is_ordinary_user() => PathBuf::from(dir).join(name),
        _ => Path::new("/run").join(name),
    }
}

fn is_ordinary_user() -> bool {
    if !nix::unistd::geteuid().is_root() {
        return true;
    }
    let is_own_session = std::env::var_os("USER").is_some_and(|user| user == "root");
    !is_own_session && !sys::creds::in_initial_user_namespace()
}

fn list(global: &Global, store: &Store, json: bool, quiet: bool) -> Result<String, Failed> {
    let (containers, failed) = container::list(store)?;
    for (id, error) in failed {
        tell(global, Level::Warning, &format!("container {id}: {}", chain(&error)));
    }
    if quiet {
        return Ok(containers.iter().map(|c| format!("{}\n", c.id)).collect());
    }
    if json {
        return Ok(serde_json::to_string(&containers)? + "\n");
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(containers.into_iter().map(|c| {
        let bundle = c.bundle.display().to_string();
        [c.id, c.pid.to_string(), c.status.to_owned(), bundle, c.created, c.owner]
    }));
    Ok(table(&rows))
}

/// Columns as wide as runc's: at least 12, and three spaces between.
fn table(rows: &[[String; 6]]) -> String {
    const WIDTH_MIN: usize = 12;
    const GAP: usize = 3;
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count() + GAP).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            let pad = if i + 1 == row.len() { 0 } else { width(i).max(WIDTH_MIN) };
            text.push_str(&format!("{cell:pad$}"));
        }
        text.push('\n');
    }
    text
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Transparent errors show their source as themselves.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// What went wrong beside what was asked for.
fn warn(global: &Global, failed: Option<Error>) {
    if let Some(error) = failed {
        tell(global, Level::Warning, &chain(&error));
    }
}

fn warn_of(global: &Global, created: &container::Created) {
    created.warnings.iter().for_each(|text| tell(global, Level::Warning, text));
}
