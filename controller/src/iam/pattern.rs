//! Texts of policies that stand for many: `*`, `?`, and policy variables such as `${aws:username}`.

use super::Context;

/// Longest text that a pattern is compared with, in characters: longer ones match nothing, so that
/// a comparison stays cheap.
const TEXT_CHARS_MAX: usize = 8192;

/// A text with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `*`
    Any,
    /// `?`
    One,
    /// `${key}` or `${key, 'default'}`
    Variable {
        key: String,
        default: Option<String>,
    },
}

/// One place of a pattern whose variables have been filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Glob {
    Char(char),
    Any,
    One,
}

impl Pattern {
    /// Reads a text in which `*` and `?` are wildcards.
    pub(super) fn wild(text: &str) -> Self {
        Self::read(text, true)
    }

    /// Reads a text in which only variables mean something.
    pub(super) fn plain(text: &str) -> Self {
        Self::read(text, false)
    }

    fn read(text: &str, wild: bool) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        let flush = |literal: &mut String, parts: &mut Vec<Part>| {
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(literal)));
            }
        };
        while let Some(c) = rest.chars().next() {
            if let Some((inside, after)) = rest.strip_prefix("${").and_then(|r| r.split_once('}')) {
                match inside {
                    // How a policy says these characters themselves.
                    "*" | "?" | "$" => literal.push_str(inside),
                    _ => {
                        flush(&mut literal, &mut parts);
                        parts.push(variable(inside));
                    }
                }
                rest = after;
                continue;
            }
            match c {
                '*' | '?' if wild => {
                    flush(&mut literal, &mut parts);
                    parts.push(if c == '*' { Part::Any } else { Part::One });
                }
                c => literal.push(c),
            }
            rest = &rest[c.len_utf8()..];
        }
        flush(&mut literal, &mut parts);
        Self { parts }
    }

    /// Whether `text` is one of what the pattern stands for. A variable without a value in the
    /// context stands for nothing.
    pub(super) fn matches(&self, text: &str, context: &Context) -> bool {
        let Some(globs) = self.fill(context) else { return false };
        let text: Vec<char> = text.chars().take(TEXT_CHARS_MAX + 1).collect();
        text.len() <= TEXT_CHARS_MAX && glob(&globs, &text)
    }

    fn fill(&self, context: &Context) -> Option<Vec<Glob>> {
        let mut globs = Vec::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => globs.extend(text.chars().map(Glob::Char)),
                Part::Any => globs.push(Glob::Any),
                Part::One => globs.push(Glob::One),
                Part::Variable { key, default } => {
                    let value = context.one(key).or(default.as_deref())?;
                    globs.extend(value.chars().map(Glob::Char));
                }
            }
        }
        Some(globs)
    }

    /// The text of a plain pattern, with its variables filled in.
    pub(super) fn text(&self, context: &Context) -> Option<String> {
        let globs = self.fill(context)?;
        let chars = globs.into_iter().map(|glob| match glob {
            Glob::Char(c) => c,
            Glob::Any => '*',
            Glob::One => '?',
        });
        Some(chars.collect())
    }
}

fn variable(inside: &str) -> Part {
    let (key, default) = match inside.split_once(',') {
        Some((key, default)) => (key, Some(default.trim().trim_matches('\'').to_owned())),
        None => (inside, None),
    };
    Part::Variable { key: key.trim().to_ascii_lowercase(), default }
}

/// Linear but for the last `*`, to which it comes back: no pattern makes it explode.
fn glob(pattern: &[Glob], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_any: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Glob::Any) => {
                last_any = Some((p, t));
                p += 1;
                continue;
            }
            Some(Glob::One) => {
                p += 1;
                t += 1;
                continue;
            }
            Some(Glob::Char(c)) if *c == text[t] => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        let Some((any, from)) = last_any else { return false };
        last_any = Some((any, from + 1));
        p = any + 1;
        t = from + 1;
    }
    pattern[p..].iter().all(|glob| *glob == Glob::Any)
}

/// How many parts an ARN has; the last one may hold colons.
const ARN_PARTS: usize = 6;

/// A pattern for ARNs: a wildcard stays within its part, but in the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ArnPattern {
    /// `*` alone.
    All,
    /// One for each part.
    Parts(Vec<Pattern>),
}

impl ArnPattern {
    /// Reads `*`, or an ARN with wildcards. Parts that are missing at the end stand for all, as AWS
    /// completes them. `None` where it is neither.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let parts = split(text);
        let first = parts.first()?;
        if *first != "arn" && *first != "*" {
            return None;
        }
        let missing = ARN_PARTS - parts.len();
        let missing = std::iter::repeat_n("*", missing);
        Some(Self::Parts(parts.into_iter().chain(missing).map(Pattern::wild).collect()))
    }

    pub(super) fn matches(&self, arn: &str, context: &Context) -> bool {
        match self {
            Self::All => true,
            Self::Parts(patterns) => {
                let parts = split(arn);
                parts.len() == ARN_PARTS
                    && patterns
                        .iter()
                        .zip(parts)
                        .all(|(pattern, part)| pattern.matches(part, context))
            }
        }
    }
}

/// The parts of an ARN; colons within a variable are none that part.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut inside) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '{' if text[..at].ends_with('$') => inside = true,
            '}' => inside = false,
            ':' if !inside && parts.len() + 1 < ARN_PARTS => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context() -> Context {
        let mut context = Context::default();
        context.put("aws:username", "ann*");
        context
    }

    #[test]
    fn wildcards_and_variables_stand_for_what_aws_says() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let got = Pattern::wild(pattern).matches(text, &context());
            assert_eq!(got, expected, "{pattern} {text}");
        };
        check("*", "", true);
        check("a*c", "abbc", true);
        check("a*c", "abbcd", false);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("*b*b*", "abb", true);
        check("*b*b*", "ab", false);
        check("home/${aws:username}/*", "home/ann*/x", true);
        check("home/${aws:username}/*", "home/anna/x", false);
        check("${AWS:UserName}", "ann*", true);
        check("${aws:nobody}", "", false);
        check("${aws:nobody, 'all'}", "all", true);
        check("a${*}", "a*", true);
        check("a${*}", "ab", false);
        check("${$}{", "${", true);
        check("${open", "${open", true);
    }

    #[test]
    fn an_arns_wildcard_stays_in_its_part() {
        let check = |pattern: &str, arn: &str, expected: Option<bool>| {
            let got = ArnPattern::read(pattern).map(|pattern| pattern.matches(arn, &context()));
            assert_eq!(got, expected, "{pattern} {arn}");
        };
        let arn = "arn:aws:ecs:r:1:task/default/0af1";
        check("*", "*", Some(true));
        check("*", arn, Some(true));
        check("arn:aws:ecs:*:*:task/default/*", arn, Some(true));
        check("arn:aws:ecs:*:task/default/*", arn, Some(false));
        check("arn:aws:ecs:*", arn, Some(true));
        check("arn:aws:ec2:*", arn, Some(false));
        check("arn:aws:logs:r:1:log-group:a:*", "arn:aws:logs:r:1:log-group:a:b:c", Some(true));
        check("arn:aws:iam::1:user/${aws:username}", "arn:aws:iam::1:user/ann*", Some(true));
        check("arn:aws:ecs:r:1:*", "*", Some(false));
        check("task/default", arn, None);
        check("", arn, None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(pattern in ".{0,40}", text in ".{0,40}") {
            let _ = Pattern::wild(&pattern).matches(&text, &context());
            let _ = ArnPattern::read(&pattern).map(|p| p.matches(&text, &context()));
        }

        #[test]
        fn a_text_without_wildcards_matches_itself(text in "[a-z:/$}-]{0,30}") {
            prop_assert!(Pattern::wild(&text).matches(&text, &context()));
        }
    }
}
