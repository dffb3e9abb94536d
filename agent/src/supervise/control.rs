//! The words on a supervisor's socket. The agent sends commands, one a line; the supervisor sends
//! its state, one JSON line each: the present one at once, then each new one.

use std::fmt;

/// Longest command line, in bytes, newline included.
pub const COMMAND_BYTES_MAX: usize = 64;

/// Highest signal number of Linux (`SIGRTMAX`).
pub const SIGNAL_MAX: i32 = 64;

/// What an agent asks of a supervisor. Asking twice is no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start the created container.
    Start,
    /// Send a signal to the container's init.
    Signal(i32),
    /// Become the program that the run's folder names, and go on.
    Upgrade,
}

impl Command {
    /// Reads a line without its newline; `None` for what is no command.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        match text.split_once(' ') {
            None if text == "start" => Some(Self::Start),
            None if text == "upgrade" => Some(Self::Upgrade),
            Some(("signal", number)) => {
                let number = number.parse().ok()?;
                (1..=SIGNAL_MAX).contains(&number).then_some(Self::Signal(number))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Upgrade => f.write_str("upgrade"),
            Self::Signal(number) => write!(f, "signal {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_they_are_written_and_nothing_else_is() {
        for command in [Command::Start, Command::Upgrade, Command::Signal(1), Command::Signal(64)] {
            assert_eq!(Command::parse(command.to_string().as_bytes()), Some(command));
        }
        for text in ["", "stop", "start ", "signal", "signal 0", "signal 65", "signal -9", "\u{e9}"]
        {
            assert_eq!(Command::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
