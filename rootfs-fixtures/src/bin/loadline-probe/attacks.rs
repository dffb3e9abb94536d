//! What attackers do while a runtime works: exchange two paths as fast as the kernel can, and reach
//! through /proc for what other processes hold open. Both go on until their stdin ends, so that a
//! test stops them by dropping a pipe, and tell then how much they did.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, fstat};
use serde_json::{Value, json};

use super::{Said, number, word};

/// How far up a folder of a host may lie: longer than any path of a test.
const ANCESTORS_MAX: u32 = 256;

/// How long a program that runs is waited for.
const HOLD: Duration = Duration::from_secs(5);

/// How often it is tried.
const POLL: Duration = Duration::from_millis(5);

/// Does what `verb` asks for; none where it is no attack.
pub(super) fn attack(words: &[&str]) -> Option<Said> {
    match words[0] {
        "exchange" => Some(exchange(word(words, 1), word(words, 2))),
        "hold" => Some(hold(word(words, 1))),
        "hunt" => Some(hunt(number(words, 1, u32::MAX))),
        _ => None,
    }
}

/// Set once stdin has ended.
fn end_of_stdin() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&ended);
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        // An error ends the attack as well as the end does.
        drop(std::io::stdin().read_to_end(&mut rest));
        set.store(true, Ordering::Relaxed);
    });
    ended
}

/// Lets two paths change places again and again.
fn exchange(one: &str, other: &str) -> Said {
    let ended = end_of_stdin();
    let mut exchanges = 0_u64;
    while !ended.load(Ordering::Relaxed) {
        match renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => exchanges += 1,
            // The runtime has just mounted something there.
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(format!("exchange {one} and {other}: {errno}")),
        }
    }
    Ok(json!({ "exchanges": exchanges }))
}

/// Keeps a handle of a program that runs, says so, and opens it for writing once it has ended. Its
/// content stays as it is.
fn hold(path: &str) -> Said {
    let held = openat(AT_FDCWD, path, OFlag::O_PATH, Mode::empty());
    let held = held.map_err(|errno| format!("hold {path}: {errno}"))?;
    let line = json!({ "held": path });
    writeln!(std::io::stdout(), "{line}").map_err(|error| format!("write stdout: {error}"))?;
    let again = format!("/proc/self/fd/{}", held.as_raw_fd());
    let begun = Instant::now();
    loop {
        match openat(AT_FDCWD, again.as_str(), OFlag::O_WRONLY, Mode::empty()) {
            Ok(_) => return Ok(json!({ "writable": true })),
            Err(Errno::ETXTBSY) if begun.elapsed() < HOLD => std::thread::sleep(POLL),
            Err(errno) => return Ok(json!({ "writable": false, "errno": format!("{errno:?}") })),
        }
    }
}

/// Looks `rounds` times, or until stdin ends, at everything that other processes of this pid
/// namespace hold, and prints a line for each way out that it finds.
fn hunt(rounds: u32) -> Said {
    let ended = end_of_stdin();
    let (mut processes, mut descriptors) = (0_u64, 0_u64);
    for _ in 0..rounds {
        for pid in others() {
            processes += 1;
            let held = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let held: Vec<_> = held.map(|entry| entry.path()).collect();
            descriptors += held.len() as u64;
            let places = ["cwd", "root"].map(|name| format!("/proc/{pid}/{name}").into());
            for path in held.into_iter().chain(places) {
                tell_if(leads_out(&path), &path)?;
            }
            let program = format!("/proc/{pid}/exe");
            let writable = OpenOptions::new().write(true).open(&program).is_ok();
            tell_if(writable, Path::new(&program))?;
        }
        if ended.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(json!({ "processes": processes, "descriptors": descriptors }))
}

fn others() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id()).collect()
}

fn tell_if(found: bool, path: &Path) -> Result<(), String> {
    if !found {
        return Ok(());
    }
    let target = fs::read_link(path).unwrap_or_default();
    let line: Value = json!({ "way_out": path, "target": target });
    writeln!(std::io::stdout(), "{line}").map_err(|error| format!("write stdout: {error}"))
}

/// Whether climbing from the folder at `path` ends at another root than ours.
fn leads_out(path: &Path) -> bool {
    let open = |dir: &dyn AsFd, name: &str| {
        openat(dir.as_fd(), name, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())
    };
    let Some(Ok(mut here)) = path.to_str().map(|path| open(&AT_FDCWD, path)) else { return false };
    let identity = |dir: &dyn AsFd| fstat(dir.as_fd()).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    for _ in 0..ANCESTORS_MAX {
        let Ok(above) = open(&here, "..") else { return false };
        if identity(&above) == identity(&here) {
            let own = File::open("/").and_then(|root| root.metadata());
            return own.is_ok_and(|own| identity(&here) != Some((own.dev(), own.ino())));
        }
        here = above;
    }
    false
}
