//! From text to [`Node`]s: a recursive descent of bounded depth over the characters.

use super::test::{Operator, Subject, Test};
use super::{DEPTH_MAX, EXPRESSION_CHARS_MAX, Node};

/// An expression that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {why}")]
pub struct QueryError {
    /// Counted from 0.
    pub at: usize,
    /// What was expected, or what is wrong.
    pub why: String,
}

pub(super) fn expression(text: &str) -> Result<Node, QueryError> {
    let chars: Vec<char> = text.chars().collect();
    let mut parser = Parser { chars: &chars, at: 0, depth: 0 };
    if EXPRESSION_CHARS_MAX < chars.len() {
        return Err(parser.error("the expression is longer than 2000 characters"));
    }
    let node = parser.any()?;
    parser.skip_space();
    if parser.at < chars.len() {
        return Err(parser.error("expected and, or, or the end"));
    }
    Ok(node)
}

struct Parser<'a> {
    chars: &'a [char],
    at: usize,
    depth: usize,
}

/// Every spelling of every operator; a longer one stands before one that it begins with.
const OPERATORS: [(&str, Operator); 24] = [
    ("==", Operator::Equals),
    ("!=", Operator::NotEquals),
    ("=~", Operator::Matches),
    ("!~", Operator::NotMatches),
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::Above),
    ("<", Operator::Below),
    ("!exists", Operator::NotExists),
    ("not_exists", Operator::NotExists),
    ("exists", Operator::Exists),
    ("!in", Operator::NotIn),
    ("not_in", Operator::NotIn),
    ("in", Operator::In),
    ("not_equals", Operator::NotEquals),
    ("equals", Operator::Equals),
    ("greater_than_equal", Operator::AtLeast),
    ("greater_than", Operator::Above),
    ("less_than_equal", Operator::AtMost),
    ("less_than", Operator::Below),
    ("not_matches", Operator::NotMatches),
    ("matches", Operator::Matches),
    ("=", Operator::Equals),
    ("is", Operator::Equals),
];

impl Parser<'_> {
    fn any(&mut self) -> Result<Node, QueryError> {
        let mut parts = vec![self.all()?];
        while self.takes_word("or") || self.takes("||") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Node::Any(parts) })
    }

    fn all(&mut self) -> Result<Node, QueryError> {
        let mut parts = vec![self.factor()?];
        while self.takes_word("and") || self.takes("&&") {
            parts.push(self.factor()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Node::All(parts) })
    }

    fn factor(&mut self) -> Result<Node, QueryError> {
        self.depth += 1;
        if DEPTH_MAX < self.depth {
            return Err(self.error("nested deeper than 32 levels"));
        }
        let node = if self.takes_word("not") || self.takes("!") {
            Node::Not(Box::new(self.factor()?))
        } else if self.takes("(") {
            let inner = self.any()?;
            if !self.takes(")") {
                return Err(self.error("expected )"));
            }
            inner
        } else {
            Node::Test(self.test()?)
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<Test, QueryError> {
        let subject = self.subject()?;
        self.skip_space();
        let (word, operator) = OPERATORS
            .into_iter()
            .find(|(word, _)| self.starts(word))
            .ok_or_else(|| self.error("expected an operator, for example == or exists"))?;
        self.at += word.len();
        let arguments = match operator {
            Operator::Exists | Operator::NotExists => Vec::new(),
            Operator::In | Operator::NotIn => self.list()?,
            Operator::Matches | Operator::NotMatches => vec![self.pattern()?],
            _ => vec![self.value()?],
        };
        let at = self.at;
        Test::new(subject, operator, arguments).map_err(|why| QueryError { at, why })
    }

    fn subject(&mut self) -> Result<Subject, QueryError> {
        self.skip_space();
        let start = self.at;
        let word = self.word();
        Subject::read(&word).ok_or_else(|| {
            self.at = start;
            self.error(&format!("{word:?} is no subject, such as attribute:NAME or task:group"))
        })
    }

    /// `[a, b]`, or one value.
    fn list(&mut self) -> Result<Vec<String>, QueryError> {
        if !self.takes("[") {
            return Ok(vec![self.value()?]);
        }
        let mut values = vec![self.value()?];
        while self.takes(",") {
            values.push(self.value()?);
        }
        if !self.takes("]") {
            return Err(self.error("expected , or ]"));
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<String, QueryError> {
        if let Some(text) = self.quoted()? {
            return Ok(text);
        }
        let word = self.word();
        if word.is_empty() { Err(self.error("expected a value")) } else { Ok(word) }
    }

    /// A regular expression: quoted, or up to white space or a parenthesis that it did not open.
    fn pattern(&mut self) -> Result<String, QueryError> {
        if let Some(text) = self.quoted()? {
            return Ok(text);
        }
        let (start, mut open) = (self.at, 0_usize);
        while let Some(c) = self.chars.get(self.at) {
            match c {
                '(' => open += 1,
                ')' if open == 0 => break,
                ')' => open -= 1,
                c if c.is_whitespace() => break,
                _ => {}
            }
            self.at += 1;
        }
        if start == self.at {
            return Err(self.error("expected a regular expression"));
        }
        Ok(self.chars[start..self.at].iter().collect())
    }

    fn quoted(&mut self) -> Result<Option<String>, QueryError> {
        self.skip_space();
        let Some(quote) = self.chars.get(self.at).copied().filter(|c| matches!(c, '\'' | '"'))
        else {
            return Ok(None);
        };
        let rest = &self.chars[self.at + 1..];
        let Some(end) = rest.iter().position(|c| *c == quote) else {
            return Err(self.error("a quote that is not closed"));
        };
        self.at += end + 2;
        Ok(Some(rest[..end].iter().collect()))
    }

    fn word(&mut self) -> String {
        self.skip_space();
        let start = self.at;
        let ends = |c: char| c.is_whitespace() || "()[],'\"=!<>&|~".contains(c);
        while self.chars.get(self.at).is_some_and(|c| !ends(*c)) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn takes(&mut self, text: &str) -> bool {
        self.skip_space();
        let found = self.starts(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let end = self.at + word.len();
        let whole = self.chars.get(end).is_none_or(|c| c.is_whitespace() || *c == '(');
        let found = whole && self.starts(word);
        if found {
            self.at = end;
        }
        found
    }

    fn starts(&self, text: &str) -> bool {
        let mut rest = self.chars[self.at..].iter();
        text.chars().all(|c| rest.next().is_some_and(|have| have.eq_ignore_ascii_case(&c)))
    }

    fn skip_space(&mut self) {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn error(&self, why: &str) -> QueryError {
        QueryError { at: self.at, why: why.to_owned() }
    }
}
