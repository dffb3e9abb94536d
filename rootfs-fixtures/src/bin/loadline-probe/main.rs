//! `loadline-probe`: the one program that containers in tests run. Static, so that a root file
//! system is this file alone. Each verb does one thing or tells one fact, as one line of JSON on
//! stdout; verbs separated by `--` run in turn.
//!
//! Exit codes: what `exit N` or a trap says; 0 where every verb did its work; 1 where one could
//! not, with its error in the JSON; 2 for a verb that does not exist.

#![forbid(unsafe_code)]

mod acts;
mod attacks;
mod facts;
mod net;
mod tries;

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

const USAGE: &str = "\
facts: args env ids caps mounts limits cgroup fds ns host devices tty status facts
       cat PATH  ls PATH  stat PATH  link PATH
acts:  exit N  true  sleep SECONDS  spin [THREADS [SECONDS]]  eat-memory MIB [SECONDS]
       oom-child MIB SECONDS  fork COUNT SECONDS  write PATH TEXT  mkdir PATH
       echo TEXT  echo-err TEXT  lines COUNT BYTES  count MS CODE  read-line
       notify TEXT...
       trap SIGNAL CODE  trap-slowly SIGNAL CODE SECONDS  ignore SIGNAL SECONDS
net:   serve PORT TEXT  serve-udp PORT TEXT  fetch URL [METHOD]
       fetch-until-200 URL  resolve NAME  addresses
tries: try-mount  try-mknod PATH MAJOR MINOR  try-sethostname NAME  try-chroot  try-unshare
       try-open PATH MODE  try-setuid UID  try-kill PID  try-connect ADDRESS
       try-oom-adj N
attacks (until stdin ends):  exchange PATH PATH  hunt [ROUNDS]
       hold PATH";

/// What a verb says, and whether it could do its work.
type Said = Result<Value, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let mut code = ExitCode::SUCCESS;
    for verb in arguments.split(|argument| argument == "--").filter(|verb| !verb.is_empty()) {
        let words: Vec<&str> = verb.iter().map(String::as_str).collect();
        if words[0] == "exit" {
            return ExitCode::from(number(&words, 1, 0));
        }
        let Some(said) = run(&words) else {
            eprintln!("loadline-probe: no verb {:?}\n{USAGE}", words[0]);
            return ExitCode::from(2);
        };
        code = match &said {
            Ok(_) => code,
            Err(_) => ExitCode::FAILURE,
        };
        let line = said.unwrap_or_else(|error| json!({ "error": error }));
        // A verb that prints its own text says null. A closed stdout is how some tests end.
        if !line.is_null() && writeln!(std::io::stdout(), "{line}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    code
}

fn run(words: &[&str]) -> Option<Said> {
    let said = facts::tell(words).or_else(|| acts::act(words)).or_else(|| net::act(words));
    said.or_else(|| tries::attempt(words)).or_else(|| attacks::attack(words))
}

/// The number at `at`, or `default` where there is none; not a number reads as `default`.
fn number<N: std::str::FromStr>(words: &[&str], at: usize, default: N) -> N {
    words.get(at).and_then(|word| word.parse().ok()).unwrap_or(default)
}

/// The word at `at`, empty where there is none.
fn word<'a>(words: &[&'a str], at: usize) -> &'a str {
    words.get(at).copied().unwrap_or_default()
}
