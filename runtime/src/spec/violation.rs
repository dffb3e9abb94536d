//! What is wrong with a configuration: all of it at once, each with the name of its field.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field as config.json names it, such as `linux.sysctl.net.ipv4.ip_forward`.
    pub field: String,
    /// What is wrong with it, as the rest of a sentence that begins with the field.
    pub problem: String,
}

/// The configuration cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(pub Vec<Violation>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config.json: ")?;
        for (i, violation) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{} {}", violation.field, violation.problem)?;
        }
        Ok(())
    }
}

/// Violations on their way to becoming an error.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Adds one.
    pub fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Violation { field: field.into(), problem: problem.into() });
    }

    /// Adds the refusal of a known field that is not honoured, if it is present.
    pub fn refuse(&mut self, field: &str, present: bool) {
        if present {
            self.add(field, "is not supported by this runtime");
        }
    }

    /// The error, if there is one.
    pub fn into_error(self) -> Option<Invalid> {
        if self.0.is_empty() { None } else { Some(Invalid(self.0)) }
    }
}
