//! Signals by name or number, as `kill` takes them.

use nix::sys::signal::Signal;

/// The kernel's highest signal.
const SIGNAL_MAX: i32 = 64;
/// The first real-time signal as the kernel counts.
const SIGRTMIN: i32 = 34;

/// Reads `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3` or `RTMAX-2`. Signal 0 is none: sending it
/// asks whether the process is there, as with kill(2) and runc.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=SIGNAL_MAX).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => rest.strip_prefix(sign)?.parse::<i32>().ok().filter(|n| (0..=30).contains(n)),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(SIGRTMIN + offset(rest, '+')?);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return Some(SIGNAL_MAX - offset(rest, '-')?);
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_and_numbers_are_signals() {
        for (text, number) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigterm", Some(15)),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("0", Some(0)),
            ("65", None),
            ("-9", None),
            ("RTMIN+99", None),
            ("RTMIN3", None),
            ("NOSUCH", None),
            ("", None),
        ] {
            assert_eq!(parse(text), number, "{text:?}");
        }
    }
}
