//! A suite that is asked to end: by Ctrl-C, a hangup, or what a service manager sends. The first
//! signal lets what is under way end and clean up, and the second ends the program at once.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::libc::c_int;
use nix::sys::signal::Signal;
use signal_hook::iterator::Signals;

use crate::output;

/// What asks for an end.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Signals within this time are one request: timeout(1) sends its signal to us and to our group.
const ONE_REQUEST: Duration = Duration::from_millis(300);

/// The signal that came first, 0 where none did.
static CAME: AtomicI32 = AtomicI32::new(0);

static LISTENS: AtomicBool = AtomicBool::new(false);

/// Listens from now on, in a thread of its own; `what` is what no longer begins after a signal. A
/// signal that whoever started us ignores, as nohup(1) does, is not listened to.
///
/// # Errors
/// Where the kernel refuses.
pub fn listen(program: &'static str, what: &'static str) -> anyhow::Result<()> {
    let ignored = ignored().context("read which signals are ignored")?;
    let wanted = SIGNALS.iter().filter(|signal| ignored & (1 << (**signal as c_int - 1)) == 0);
    let wanted: Vec<c_int> = wanted.map(|signal| *signal as c_int).collect();
    let mut signals = Signals::new(wanted).context("listen to signals")?;
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let listening = move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            match first {
                Some(came) if came.elapsed() < ONE_REQUEST => continue,
                Some(_) => std::process::exit(128 + signal),
                None => first = Some(Instant::now()),
            }
            CAME.store(signal, Ordering::Relaxed);
            output::tell(&format!(
                "\n{program}: {}: no more {what} begin; those under way end and clean up (a second \
                 signal ends at once)\n",
                name(signal)
            ));
        }
    };
    thread.spawn(listening).context("start a thread for signals")?;
    LISTENS.store(true, Ordering::Relaxed);
    Ok(())
}

/// Keeps Ctrl-C, which a terminal sends to a whole group, from what `command` starts, where this
/// program listens: what is under way has to end by itself.
pub fn keep_from(command: &mut Command) {
    if LISTENS.load(Ordering::Relaxed) {
        command.process_group(0);
    }
}

/// The signal that asked for an end, none where none did.
#[must_use]
pub fn asked() -> Option<Signal> {
    Signal::try_from(CAME.load(Ordering::Relaxed)).ok()
}

/// What a program exits with that was asked to end.
#[must_use]
pub fn code() -> Option<u8> {
    u8::try_from(128 + asked()? as c_int).ok()
}

fn name(signal: c_int) -> &'static str {
    Signal::try_from(signal).map_or("a signal", Signal::as_str)
}

/// The signals that this process ignores, a bit for each.
fn ignored() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    Ok(u64::from_str_radix(mask.unwrap_or("0").trim(), 16)?)
}
