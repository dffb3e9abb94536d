//! The command line's grammar: runc's, which is Go's `flag` with subcommands. A flag has one dash
//! or two, a value after `=` or as the next word, and may stand before or after the arguments.

use crate::container::ID_BYTES_MAX;

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    /// A flag that the verb does not have.
    #[error("flag provided but not defined: {0}")]
    Unknown(String),
    /// A flag without its value.
    #[error("flag needs an argument: {0}")]
    NeedsValue(String),
    /// A value that cannot be read.
    #[error("invalid value {value:?} for flag --{flag}: {why}")]
    Invalid {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is expected.
        why: &'static str,
    },
    /// A number that is none, or out of range.
    #[error("invalid value {value:?} for flag --{flag}: expected a number from 0 to {max}")]
    Number {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// The largest that is taken.
        max: u32,
    },
    /// An argument that is no flag's.
    #[error("{what}: {value:?}: {why}")]
    Argument {
        /// What is wrong, in runc's words.
        what: &'static str,
        /// What was given.
        value: String,
        /// What is expected.
        why: &'static str,
    },
    /// A file that a flag names.
    #[error("read --{flag} {file}: {cause}")]
    File {
        /// The flag.
        flag: &'static str,
        /// The file, or `-` for the standard input.
        file: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A command line of `exec` that has the right form and cannot be done; told, as by runc, as
    /// an exec that failed.
    #[error("exec failed: {0}")]
    Exec(Box<ArgError>),
    /// `exec` without a program.
    #[error("process args cannot be empty: name a program after the id, or --process FILE")]
    NoProgram,
    /// Too many or too few arguments.
    #[error("{verb}: expected {expected}, got {got} arguments; see --help")]
    Count {
        /// The verb.
        verb: String,
        /// What it takes.
        expected: &'static str,
        /// How many were given.
        got: usize,
    },
    /// No such verb.
    #[error("No help topic for '{0}'")]
    NoVerb(String),
}

impl ArgError {
    /// What the program ends with: runc's callers tell by these whether a verb is missing, and
    /// whether it was the program of an exec that failed.
    pub fn exit_code(&self) -> i32 {
        match self {
            ArgError::NoVerb(_) => 3,
            ArgError::Exec(_) => 255,
            _ => 1,
        }
    }

    /// That an id is none.
    pub fn id(text: &str) -> ArgError {
        ArgError::Argument {
            what: "invalid container ID format",
            value: text.to_owned(),
            why: match text {
                "." | ".." => "it is a folder's name for itself or for the one above",
                "" => "it is empty",
                _ if text.len() > ID_BYTES_MAX => "it is longer than 1024 bytes",
                _ => "use letters, digits, _ + - and .",
            },
        }
    }
}

/// One flag of a verb.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The long name.
    pub name: &'static str,
    /// The one-letter name, if any.
    pub short: Option<&'static str>,
    /// Whether a value follows.
    pub has_value: bool,
}

/// A flag that is on or off.
pub const fn switch(name: &'static str, short: Option<&'static str>) -> Flag {
    Flag { name, short, has_value: false }
}

/// A flag with a value.
pub const fn value(name: &'static str, short: Option<&'static str>) -> Flag {
    Flag { name, short, has_value: true }
}

/// Where arguments end the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first argument ends the flags: what follows belongs to somebody else.
    FlagsFirst,
    /// Flags may stand between and after the arguments.
    Any,
}

/// A command line taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    flags: Vec<(&'static str, String)>,
    /// What is no flag.
    pub arguments: Vec<String>,
}

/// Takes a command line apart.
///
/// # Errors
/// A flag that is not in `known`, or one without its value.
pub fn parse(words: &[String], known: &[Flag], order: Order) -> Result<Parsed, ArgError> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.arguments.extend(words.cloned());
            break;
        }
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
            parsed.arguments.push(word.clone());
            if order == Order::FlagsFirst {
                parsed.arguments.extend(words.cloned());
                break;
            }
            continue;
        };
        let name = name.strip_prefix('-').unwrap_or(name);
        let (name, given) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let flag = known.iter().find(|flag| flag.name == name || flag.short == Some(name));
        let flag = flag.ok_or_else(|| ArgError::Unknown(word.clone()))?;
        let value = match (given, flag.has_value) {
            (Some(value), _) => value,
            (None, false) => "true".to_owned(),
            (None, true) => {
                words.next().cloned().ok_or_else(|| ArgError::NeedsValue(word.clone()))?
            }
        };
        parsed.flags.push((flag.name, value));
    }
    Ok(parsed)
}

impl Parsed {
    /// The last value of a flag.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let is_named = move |(flag, _): &&(&str, String)| *flag == name;
        self.flags.iter().filter(is_named).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    ///
    /// # Errors
    /// When its value is no truth value.
    pub fn is_on(&self, name: &'static str) -> Result<bool, ArgError> {
        match self.value(name) {
            None | Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
            Some(other) => Err(ArgError::Invalid {
                flag: name,
                value: other.to_owned(),
                why: "expected true or false",
            }),
        }
    }

    /// A flag's number.
    ///
    /// # Errors
    /// When its value is no number from 0 to `max`.
    pub fn number(&self, name: &'static str, max: u32) -> Result<Option<u32>, ArgError> {
        let Some(text) = self.value(name) else { return Ok(None) };
        match text.parse::<u32>() {
            Ok(number) if number <= max => Ok(Some(number)),
            _ => Err(ArgError::Number { flag: name, value: text.to_owned(), max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ArgError, Flag, Order, parse, switch, value};

    const KNOWN: [Flag; 2] = [switch("force", Some("f")), value("bundle", Some("b"))];

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn check(text: &str, bundle: Option<&str>, force: bool, arguments: &[&str]) {
        let parsed = parse(&words(text), &KNOWN, Order::Any).unwrap();
        assert_eq!(parsed.value("bundle"), bundle, "{text}");
        assert_eq!(parsed.is_on("force"), Ok(force), "{text}");
        assert_eq!(parsed.arguments, arguments, "{text}");
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        check("--bundle /b id", Some("/b"), false, &["id"]);
        check("-bundle=/b id", Some("/b"), false, &["id"]);
        check("-b /b --force=false id", Some("/b"), false, &["id"]);
        check("id --force", None, true, &["id"]);
        check("id -- --force", None, false, &["id", "--force"]);
    }

    #[test]
    fn the_first_argument_can_end_the_flags() {
        let parsed = parse(&words("-f id -b x"), &KNOWN, Order::FlagsFirst).unwrap();
        assert_eq!(parsed.arguments, ["id", "-b", "x"]);
    }

    #[test]
    fn mistakes_are_named() {
        let why = |id: &str| ArgError::id(id).to_string();
        assert!(why("a/b").ends_with("use letters, digits, _ + - and ."));
        assert!(why("..").ends_with("a folder's name for itself or for the one above"));
        assert!(why("").ends_with("it is empty"));
        assert!(why(&"x".repeat(1025)).ends_with("longer than 1024 bytes"));
        let parsed = parse(&words("--bundle 7x id"), &KNOWN, Order::Any).unwrap();
        let range = parsed.number("bundle", 1024).unwrap_err().to_string();
        assert!(range.ends_with("expected a number from 0 to 1024"), "{range}");
        let error = |text| parse(&words(text), &KNOWN, Order::Any).unwrap_err();
        assert_eq!(error("--frob"), ArgError::Unknown("--frob".into()));
        assert_eq!(error("id --bundle"), ArgError::NeedsValue("--bundle".into()));
    }
}
