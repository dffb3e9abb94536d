//! Splits Rust source into the tokens that the style rules look at: enough to tell code from
//! strings and comments, not enough to parse. Text that is not Rust gives tokens, never a panic.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or keyword.
    Word,
    /// One character of punctuation.
    Mark,
    /// A string, byte string, C string or character literal, with its quotes.
    Text,
    /// A comment, with its slashes.
    Comment,
}

/// A piece of a source file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Of its first character, counted from 1.
    pub(super) line: usize,
}

impl Token<'_> {
    /// The line of its last character.
    pub(super) fn last_line(&self) -> usize {
        self.line + self.text.matches('\n').count()
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    pub(super) fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark && self.text.starts_with(mark)
    }
}

/// All tokens of `source`, in order. Numbers come as words, white space not at all.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let (kind, length) = if rest.starts_with("//") {
            (Some(Kind::Comment), rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (Some(Kind::Comment), block_comment(rest))
        } else if let Some(length) = string(rest) {
            (Some(Kind::Text), length)
        } else if first == '_' || first.is_alphanumeric() {
            (Some(Kind::Word), word(rest))
        } else if first.is_whitespace() {
            (None, first.len_utf8())
        } else {
            (Some(Kind::Mark), first.len_utf8())
        };
        let text = &rest[..length];
        if let Some(kind) = kind {
            found.push(Token { kind, text, line });
        }
        line += text.matches('\n').count();
        at += length;
    }
    found
}

fn word(rest: &str) -> usize {
    rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len())
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of the string or character literal that `rest` begins with, if it does.
fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|after| {
            after.starts_with('"')
                || (prefix.ends_with('r') && after.trim_start_matches('#').starts_with('"'))
                || (!prefix.ends_with('r') && *prefix != "c" && after.starts_with('\''))
        })
    })?;
    let after = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let body = hashes + 1;
        let length = after[body..].find(&end).map_or(after.len(), |n| body + n + end.len());
        return Some(prefix.len() + length);
    }
    let quote = after.chars().next()?;
    if quote == '\'' && !is_character(after) {
        return None;
    }
    Some(prefix.len() + quoted(after, quote))
}

/// Tells `'a'` and `'\n'` from the lifetime `'a`.
fn is_character(after: &str) -> bool {
    let mut chars = after.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

fn quoted(after: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in after.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    after.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[(Kind, &str)]) {
        let found: Vec<_> = tokens(source).iter().map(|t| (t.kind, t.text)).collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn strings_and_comments_hide_what_is_in_them() {
        check("a\"{\\\"\"}", &[(Kind::Word, "a"), (Kind::Text, "\"{\\\"\""), (Kind::Mark, "}")]);
        check("r#\"a\"b\"#;", &[(Kind::Text, "r#\"a\"b\"#"), (Kind::Mark, ";")]);
        check("br\"\\\"x", &[(Kind::Text, "br\"\\\""), (Kind::Word, "x")]);
        check("// {\nx", &[(Kind::Comment, "// {"), (Kind::Word, "x")]);
        check("/* /* } */ */x", &[(Kind::Comment, "/* /* } */ */"), (Kind::Word, "x")]);
    }

    #[test]
    fn a_lifetime_is_no_character() {
        check("'{'", &[(Kind::Text, "'{'")]);
        check("b'\\''", &[(Kind::Text, "b'\\''")]);
        check(
            "&'a T",
            &[(Kind::Mark, "&"), (Kind::Mark, "'"), (Kind::Word, "a"), (Kind::Word, "T")],
        );
    }

    #[test]
    fn text_that_ends_early_is_no_panic() {
        for source in ["\"", "'", "'\\", "r#\"", "/*", "b'", "é'", "r#"] {
            let _ = tokens(source);
        }
    }

    #[test]
    fn lines_count_through_tokens_of_many_lines() {
        let found = tokens("\"a\nb\" c");
        assert_eq!((found[0].last_line(), found[1].line), (2, 2));
    }
}
