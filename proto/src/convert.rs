//! Conversions between the wire and the model. Decoding checks everything that the .proto
//! promises; encoding can't fail.

mod container;
mod credentials;
mod exec;
mod network;
mod node;
mod question;
mod report;
mod secrets;
mod task;
mod usage;

use std::fmt;

use loadline_model::InvalidId;

pub use credentials::TaskCredentials;
pub use exec::{
    EXEC_ANSWER_S_MAX, EXEC_COMMAND_BYTES_MAX, EXEC_DATA_BYTES_MAX, EXEC_WORDS_MAX,
    EXECS_PER_TASK_MAX, ExecEnd, ExecId, ExecInput, ExecOutput, OpenExec, WindowSize,
};
pub use node::{ATTRIBUTES_MAX, Attribute};
pub use question::{TaskAnswer, TaskAsk, TaskQuestion, TaskTold};
pub use report::{REPORTS_MAX, reports_from_wire};
pub use secrets::{SECRETS_PER_CONTAINER_MAX, TaskSecrets};
pub use task::CONTAINERS_MAX;
pub use usage::{USAGES_MAX, usage_from_wire};

/// A message that breaks the protocol: which field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {path}: {fault}")]
pub struct InvalidField {
    /// Where, for example `task.containers[2].name`.
    pub path: String,
    /// What.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has to be there.
    Missing,
    /// An enum value that this build does not know, or the unspecified one.
    UnknownValue(i32),
    /// Not an id of its kind.
    Id(InvalidId),
    /// A list or text above its bound.
    TooLong {
        /// Items, bytes or characters found.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// A number outside its range.
    OutOfRange {
        /// What was found.
        found: i64,
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
    },
    /// The same name twice where each may occur once.
    Duplicate(String),
    /// A rule between fields, in words.
    Rule(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::UnknownValue(value) => write!(f, "unknown value {value}"),
            Self::Id(invalid) => write!(f, "{invalid}"),
            Self::TooLong { found, max } => write!(f, "{found} is above the bound of {max}"),
            Self::OutOfRange { found, min, max } => {
                write!(f, "{found} is not within {min} to {max}")
            }
            Self::Duplicate(name) => write!(f, "{name:?} occurs twice"),
            Self::Rule(rule) => f.write_str(rule),
        }
    }
}

impl InvalidField {
    fn new(path: &str, fault: Fault) -> Self {
        Self { path: path.to_owned(), fault }
    }

    /// The same fault seen from the message around it.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.path = format!("{outer}.{}", self.path);
        self
    }
}

fn id<T>(path: &str, parsed: Result<T, InvalidId>) -> Result<T, InvalidField> {
    parsed.map_err(|invalid| InvalidField::new(path, Fault::Id(invalid)))
}

fn at_most(path: &str, found: usize, max: usize) -> Result<(), InvalidField> {
    if max < found {
        return Err(InvalidField::new(path, Fault::TooLong { found, max }));
    }
    Ok(())
}

/// Converts each item; a fault names the item by its index.
fn each<W, M>(path: &str, items: Vec<W>) -> Result<Vec<M>, InvalidField>
where
    M: TryFrom<W, Error = InvalidField>,
{
    let numbered = items.into_iter().enumerate();
    numbered.map(|(i, item)| item_at(path, i, item)).collect()
}

fn item_at<W, M>(path: &str, i: usize, item: W) -> Result<M, InvalidField>
where
    M: TryFrom<W, Error = InvalidField>,
{
    M::try_from(item).map_err(|e| e.within(&format!("{path}[{i}]")))
}

/// The first name that occurs a second time.
fn distinct<'a>(path: &str, names: impl Iterator<Item = &'a str>) -> Result<(), InvalidField> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(InvalidField::new(path, Fault::Duplicate(name.to_owned())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
