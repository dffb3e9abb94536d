//! The cluster query language of `memberOf`: which container instances an expression selects.
//!
//! ```text
//!   expression := clause { ("or" | "||") clause }          "and" binds tighter than "or"
//!   clause     := factor { ("and" | "&&") factor }
//!   factor     := ("not" | "!") factor | "(" expression ")" | subject operator [argument]
//!   subject    := agentConnected | agentVersion | attribute:NAME | ec2InstanceId | registeredAt
//!               | runningTasksCount | task:group
//! ```
//!
//! The negative operators (`!=`, `not_in`, `!~`, `!exists`) are the exact opposites of the
//! positive ones, so they select a node that lacks the attribute. Regular expressions are matched
//! anywhere in the value; look-around and back-references, which Java has, are refused when the
//! expression is parsed.

mod parse;
mod test;

use crate::state::{NodeEntry, View};

pub use parse::QueryError;
use test::Test;

/// Longest expression, in characters (ECS's own bound).
pub const EXPRESSION_CHARS_MAX: usize = 2000;
/// Deepest nesting of parentheses and negations.
pub const DEPTH_MAX: usize = 32;

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expression(Node);

#[derive(Clone, Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test(Test),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`QueryError`] says at which character and what was expected there.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        parse::expression(text).map(Self)
    }

    /// Whether it selects this container instance.
    #[must_use]
    pub fn selects(&self, node: &NodeEntry, view: &View) -> bool {
        self.0.selects(node, view)
    }
}

impl Node {
    fn selects(&self, node: &NodeEntry, view: &View) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.selects(node, view)),
            Self::Any(parts) => parts.iter().any(|part| part.selects(node, view)),
            Self::Not(part) => !part.selects(node, view),
            Self::Test(test) => test.passes(node, view),
        }
    }
}
