//! Filter patterns of plain terms (CloudWatch Logs, "Filter pattern syntax"): all terms must be
//! there, terms behind `-` must not, and of those behind `?` one is enough.

/// A pattern that is not read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// `{ $.x = 1 }`
    #[error("filterPattern: JSON patterns are not supported yet: use terms")]
    Json,
    /// `[ip, user, …]`
    #[error("filterPattern: space-delimited patterns are not supported yet: use terms")]
    Columns,
    /// `%regex%`
    #[error("filterPattern: regular expressions are not supported yet: use terms")]
    Regex,
    /// A quote without its end.
    #[error("Invalid filter pattern: a quote is not closed")]
    Quote,
}

/// Terms to look for, case and all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    all: Vec<String>,
    none: Vec<String>,
    any: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; an empty one takes everything.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let text = text.trim();
        match text.chars().next() {
            Some('{') => return Err(Unreadable::Json),
            Some('[') => return Err(Unreadable::Columns),
            Some('%') if 1 < text.len() && text.ends_with('%') => return Err(Unreadable::Regex),
            _ => {}
        }
        let mut pattern = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (list, body) = match first {
                c if c.is_whitespace() => {
                    rest = rest.trim_start();
                    continue;
                }
                '-' => (&mut pattern.none, &rest[1..]),
                '?' => (&mut pattern.any, &rest[1..]),
                _ => (&mut pattern.all, rest),
            };
            let (term, after) = match body.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or(Unreadable::Quote)?,
                None => body.split_at(body.find(char::is_whitespace).unwrap_or(body.len())),
            };
            if !term.is_empty() {
                list.push(term.to_owned());
            }
            rest = after;
        }
        Ok(pattern)
    }

    /// Whether a message passes.
    #[must_use]
    pub fn matches(&self, message: &str) -> bool {
        let has = |term: &String| message.contains(term.as_str());
        self.all.iter().all(has)
            && !self.none.iter().any(has)
            && (self.any.is_empty() || !self.all.is_empty() || self.any.iter().any(has))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_takes_what_its_terms_say() {
        let check = |pattern: &str, message: &str, expected: bool| {
            let got = Pattern::parse(pattern).map(|pattern| pattern.matches(message));
            assert_eq!(got, Ok(expected), "{pattern} {message}");
        };
        check("", "anything", true);
        check("ERROR", "an ERROR here", true);
        check("ERROR", "an error here", false);
        check("ERROR disk", "disk ERROR", true);
        check("ERROR disk", "ERROR", false);
        check("\"no space\"", "no space left", true);
        check("\"no space\"", "space, no", false);
        check("ERROR -retry", "ERROR, retry", false);
        check("ERROR -retry", "ERROR", true);
        check("?WARN ?ERROR", "a WARN", true);
        check("?WARN ?ERROR", "fine", false);
        check("-\"a b\"", "a b", false);
        assert_eq!(Pattern::parse("{ $.a = 1 }"), Err(Unreadable::Json));
        assert_eq!(Pattern::parse("[a, b]"), Err(Unreadable::Columns));
        assert_eq!(Pattern::parse("%a.b%"), Err(Unreadable::Regex));
        assert_eq!(Pattern::parse("\"a"), Err(Unreadable::Quote));
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in ".{0,40}", message in ".{0,40}") {
            let _ = Pattern::parse(&pattern).map(|pattern| pattern.matches(&message));
        }
    }
}
