//! Things to do: use CPU and memory, write, wait, meet signals. All of them end by themselves or
//! at a signal; every count and duration is given by the caller.

use std::fs;
use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use serde_json::{Value, json};

use super::{Said, number, word};

const MIB: usize = 1 << 20;

/// Smallest page that a supported kernel uses: one write to each makes the memory real.
const PAGE: usize = 4096;

/// For ever, as far as a test is concerned.
const LONG_S: f64 = 1e6;

/// Does what `verb` asks for; none where it is no act.
pub(super) fn act(words: &[&str]) -> Option<Said> {
    Some(match words[0] {
        "true" => Ok(Value::Null),
        "sleep" => sleep(number(words, 1, LONG_S)),
        "spin" => spin(number(words, 1, 1), number(words, 2, LONG_S)),
        "eat-memory" => eat_memory(number(words, 1, 1), number(words, 2, 0.0)),
        "oom-child" => oom_child(word(words, 1), number(words, 2, LONG_S)),
        "fork" => fork(number(words, 1, 1), word(words, 2)),
        "write" => fs::write(word(words, 1), word(words, 2))
            .map(|()| json!({ "wrote": word(words, 1) }))
            .map_err(|error| format!("write {}: {error}", word(words, 1))),
        "mkdir" => fs::create_dir(word(words, 1))
            .map(|()| json!({ "made": word(words, 1) }))
            .map_err(|error| format!("mkdir {}: {error}", word(words, 1))),
        "echo" => print(&format!("{}\n", words[1..].join(" "))),
        "echo-err" => writeln!(std::io::stderr(), "{}", words[1..].join(" "))
            .map(|()| Value::Null)
            .map_err(|error| format!("write stderr: {error}")),
        "lines" => print_lines(number(words, 1, 1), number(words, 2, 1)),
        "count" => count(number(words, 1, 10), number(words, 2, 0)),
        "read-line" => read_line(),
        "notify" => notify(&words[1..].join("\n")),
        "trap" => trap(word(words, 1), 0.0, number(words, 2, 0)),
        "trap-slowly" => trap(word(words, 1), number(words, 3, 1.0), number(words, 2, 0)),
        "ignore" => ignore(word(words, 1), number(words, 2, LONG_S)),
        _ => return None,
    })
}

fn sleep(seconds: f64) -> Said {
    std::thread::sleep(Duration::from_secs_f64(seconds));
    Ok(Value::Null)
}

fn print(text: &str) -> Said {
    let mut out = std::io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map(|()| Value::Null).map_err(|error| format!("write stdout: {error}"))
}

/// `count` numbered lines of `bytes` bytes each, newline included where there is room for it.
fn print_lines(count: usize, bytes: usize) -> Said {
    for at in 0..count {
        let number = at.to_string();
        let filler = ".".repeat(bytes.saturating_sub(number.len() + 1));
        print(&format!("{number}{filler}\n"))?;
    }
    Ok(Value::Null)
}

fn read_line() -> Said {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| format!("read stdin: {error}"))?;
    Ok(json!({ "line": line.trim_end_matches(['\r', '\n']) }))
}

/// Tells the service manager (sd_notify(3)).
fn notify(text: &str) -> Said {
    let socket = std::env::var_os("NOTIFY_SOCKET").ok_or("no NOTIFY_SOCKET")?;
    let sent = UnixDatagram::unbound().and_then(|to| to.send_to(text.as_bytes(), &socket));
    sent.map(|_| json!({ "told": text })).map_err(|error| format!("send to {socket:?}: {error}"))
}

fn spin(threads: usize, seconds: f64) -> Said {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(move || {
                while Instant::now() < end {
                    (0..100_000_u64).for_each(|n| {
                        black_box(n);
                    });
                }
            });
        }
    });
    Ok(json!({ "spun": threads }))
}

/// Touches `mib` MiB, says so, and holds it for `seconds`.
fn eat_memory(mib: usize, seconds: f64) -> Said {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    for _ in 0..mib {
        let mut piece = vec![0_u8; MIB];
        piece.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        eaten.push(black_box(piece));
    }
    print(&format!("{}\n", json!({ "ate_mib": mib })))?;
    sleep(seconds)?;
    drop(black_box(eaten));
    Ok(Value::Null)
}

fn again(arguments: &[&str]) -> Result<Child, String> {
    let program = "/proc/self/exe";
    Command::new(program).args(arguments).spawn().map_err(|error| match error.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).to_string(),
        None => error.to_string(),
    })
}

fn wait(mut child: Child) -> Result<ExitStatus, String> {
    child.wait().map_err(|error| format!("wait for a child: {error}"))
}

/// A child eats the memory; this process says how the child ended, and lives on.
fn oom_child(mib: &str, seconds: f64) -> Said {
    use std::os::unix::process::ExitStatusExt as _;
    let status = wait(again(&["eat-memory", mib])?)?;
    let said = json!({ "child": { "code": status.code(), "signal": status.signal() } });
    print(&format!("{said}\n"))?;
    sleep(seconds)
}

/// Starts up to `count` children that sleep, and says how many could be started.
fn fork(count: usize, seconds: &str) -> Said {
    let (mut children, mut error) = (Vec::new(), None);
    for _ in 0..count {
        match again(&["sleep", seconds]) {
            Ok(child) => children.push(child),
            Err(why) => {
                error = Some(why);
                break;
            }
        }
    }
    let started = children.len();
    for child in children {
        wait(child)?;
    }
    Ok(json!({ "started": started, "refused": error }))
}

fn signal(name: &str) -> Result<Signal, String> {
    let full = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    Signal::from_str(&full).map_err(|_| format!("no signal {name:?}"))
}

/// Says that it is ready, waits for the signal, says so, takes its time, and exits with `code`.
fn trap(name: &str, seconds: f64, code: i32) -> Said {
    let mut set = SigSet::empty();
    set.add(signal(name)?);
    set.thread_block().map_err(|errno| format!("block {name}: {errno}"))?;
    print(&format!("{}\n", json!({ "ready": name })))?;
    let met = set.wait().map_err(|errno| format!("wait for {name}: {errno}"))?;
    print(&format!("{}\n", json!({ "met": met.as_str() })))?;
    sleep(seconds)?;
    std::process::exit(code)
}

/// Writes the next number every `ms` milliseconds, in two pieces, until SIGTERM; then exits with
/// `code`.
fn count(ms: u64, code: i32) -> Said {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.thread_block().map_err(|errno| format!("block SIGTERM: {errno}"))?;
    let waiting = std::thread::spawn(move || set.wait().map(drop));
    let mut at: u64 = 0;
    while !waiting.is_finished() {
        print(&format!("{at}"))?;
        std::thread::sleep(Duration::from_millis(ms));
        print("\n")?;
        at += 1;
    }
    std::process::exit(code)
}

/// Says that it is ready, works on a thread of its own, and ends well at SIGTERM.
pub(super) fn work_until_term(ready: &Value, work: impl FnOnce() + Send + 'static) -> Said {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.thread_block().map_err(|errno| format!("block SIGTERM: {errno}"))?;
    std::thread::spawn(work);
    print(&format!("{ready}\n"))?;
    set.wait().map_err(|errno| format!("wait for SIGTERM: {errno}"))?;
    std::process::exit(0)
}

/// Sleeps with the signal blocked, as a program that does not care for SIGTERM.
fn ignore(name: &str, seconds: f64) -> Said {
    let mut set = SigSet::empty();
    set.add(signal(name)?);
    set.thread_block().map_err(|errno| format!("block {name}: {errno}"))?;
    print(&format!("{}\n", json!({ "ready": name })))?;
    sleep(seconds)
}
