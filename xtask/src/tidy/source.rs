//! The rules for one Rust file, each a function from the file's tokens to what is wrong. The table
//! of rules is at the end of [`check`]; every rule has a self test below.

use super::Finding;
use super::lexer::{Kind, Token, tokens};

/// Longest line in a .rs file, in columns.
const LINE_COLUMNS_MAX: usize = 100;

/// Longest function, in lines, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that are longer, with their present length: they may shrink, not grow, and nothing
/// is added here without a reason beside it.
const RATCHET: &[(&str, &str, usize)] = &[];

/// The one folder where system calls are made.
const UNSAFE_FOLDER: &str = "runtime/src/sys";

/// The line above a string literal that may hold lines of test data longer than the limit.
const LONG_DATA: &str = "// tidy: long data";

/// Everything wrong with one file. `path` is relative to the workspace.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let tokens = tokens(text);
    let file = File { path, text, tokens: &tokens };
    let rules = [columns, header, function_length, unsafe_code, leftovers, swallowed];
    rules.iter().flat_map(|rule| rule(&file)).collect()
}

struct File<'a> {
    path: &'a str,
    text: &'a str,
    tokens: &'a [Token<'a>],
}

impl File<'_> {
    fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.to_owned(), line, message: message.into() }
    }
}

fn columns(file: &File<'_>) -> Vec<Finding> {
    let lines: Vec<&str> = file.text.lines().collect();
    let exempt = |number: usize| {
        file.tokens.iter().any(|token| {
            token.kind == Kind::Text
                && (token.line..=token.last_line()).contains(&number)
                && 1 < token.line
                && lines[token.line - 2].trim() == LONG_DATA
        })
    };
    let long = lines.iter().enumerate().filter_map(|(at, line)| {
        let columns = line.chars().count();
        (LINE_COLUMNS_MAX < columns && !exempt(at + 1)).then_some((at + 1, columns))
    });
    let message = |columns| format!("line has {columns} columns, at most {LINE_COLUMNS_MAX}");
    long.map(|(line, columns)| file.finding(line, message(columns))).collect()
}

fn header(file: &File<'_>) -> Vec<Finding> {
    if file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![file.finding(1, "begins without a `//!` header that says what the module is for")]
}

fn function_length(file: &File<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let code: Vec<&Token<'_>> = file.tokens.iter().filter(|t| t.kind != Kind::Comment).collect();
    for at in 0..code.len().saturating_sub(1) {
        if !code[at].is_word("fn") || code[at + 1].kind != Kind::Word {
            continue;
        }
        let name = code[at + 1].text;
        let Some(last_line) = closing_line(&code[at..]) else { continue };
        let length = last_line - code[at].line + 1;
        let allowed = RATCHET
            .iter()
            .find(|(path, function, _)| *path == file.path && *function == name)
            .map_or(FUNCTION_LINES_MAX, |(_, _, lines)| *lines);
        if allowed < length {
            let message = format!("fn {name} has {length} lines, at most {allowed}");
            found.push(file.finding(code[at].line, message));
        }
    }
    found
}

/// The line of the brace that closes the body of the function at the start of `code`; none for a
/// function without a body.
fn closing_line(code: &[&Token<'_>]) -> Option<usize> {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for token in code.iter().filter(|token| token.kind == Kind::Mark) {
        match token.text {
            "(" | "[" => round += 1,
            ")" | "]" => round -= 1,
            "{" => curly += 1,
            "}" => curly -= 1,
            ";" if round == 0 && curly == 0 => return None,
            _ => continue,
        }
        if token.text == "}" && curly == 0 && round == 0 {
            return Some(token.line);
        }
    }
    None
}

fn unsafe_code(file: &File<'_>) -> Vec<Finding> {
    if file.path.starts_with(UNSAFE_FOLDER) {
        return Vec::new();
    }
    let words = file.tokens.iter().filter(|token| token.is_word("unsafe"));
    let message = format!("`unsafe` outside {UNSAFE_FOLDER}");
    words.map(|token| file.finding(token.line, message.clone())).collect()
}

/// What is written to be removed later: notes in comments, macros and attributes in code.
fn leftovers(file: &File<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, token) in file.tokens.iter().enumerate() {
        if token.kind == Kind::Comment {
            for (offset, line) in token.text.lines().enumerate() {
                let words = line.split(|c: char| !c.is_alphanumeric());
                for note in words.filter(|word| ["FIXME", "XXX", "TODO", "HACK"].contains(word)) {
                    let message = format!("a {note} is left in a comment");
                    found.push(file.finding(token.line + offset, message));
                }
            }
        }
        let next = file.tokens.get(at + 1);
        let macros = ["todo", "dbg", "unimplemented"];
        if macros.iter().any(|name| token.is_word(name)) && next.is_some_and(|n| n.is_mark('!')) {
            found.push(file.finding(token.line, format!("{}! is left in the code", token.text)));
        }
        let before = |back: usize| at.checked_sub(back).and_then(|at| file.tokens.get(at));
        if token.is_word("ignore")
            && before(1).is_some_and(|t| t.is_mark('['))
            && before(2).is_some_and(|t| t.is_mark('#'))
        {
            let message =
                "#[ignore] hides a test: print `SKIPPED <test>: needs <facility>` instead";
            found.push(file.finding(token.line, message));
        }
    }
    found
}

/// `allow` of the lints that exist to stop a defect.
fn swallowed(file: &File<'_>) -> Vec<Finding> {
    // Clippy takes the helpers of integration tests for ordinary code, and rustc calls what only
    // some of them use dead.
    let in_tests = file.path.contains("/tests/");
    let lints: &[&str] = if in_tests {
        &["unused", "undocumented_unsafe_blocks"]
    } else {
        &["unwrap_used", "dead_code", "unused", "undocumented_unsafe_blocks"]
    };
    let mut found = Vec::new();
    let mut allowing = false;
    for token in file.tokens.iter().filter(|token| token.kind != Kind::Comment) {
        match token.text {
            "allow" => allowing = true,
            "]" | ";" => allowing = false,
            name if allowing && lints.contains(&name) => {
                found.push(file.finding(token.line, format!("allow({name}): repair it instead")));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_lines(path: &str, text: &str, expected: &[(usize, &str)]) {
        let found = check(path, text);
        let seen: Vec<_> = found.iter().map(|f| (f.line, f.message.as_str())).collect();
        assert_eq!(seen.len(), expected.len(), "{seen:?}");
        for ((line, message), (line_expected, part)) in seen.iter().zip(expected) {
            assert_eq!(line, line_expected, "{message}");
            assert!(message.contains(part), "{message:?} has no {part:?}");
        }
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_more_column_does_not() {
        let line = |columns: usize| format!("//! x\n//{}\n", "é".repeat(columns - 2));
        check_lines("a.rs", &line(100), &[]);
        check_lines("a.rs", &line(101), &[(2, "101 columns")]);
    }

    #[test]
    fn long_test_data_is_allowed_only_below_its_mark() {
        let data = format!("const A: &str = r\"\n{}\n\";\n", "x".repeat(200));
        check_lines("a.rs", &format!("//! x\n{data}"), &[(3, "columns")]);
        check_lines("a.rs", &format!("//! x\n// tidy: long data\n{data}"), &[]);
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        check_lines("a.rs", "fn a() {}\n", &[(1, "header")]);
    }

    #[test]
    fn a_function_at_the_limit_passes_and_one_more_line_does_not() {
        let function = |lines: usize| {
            format!("//! x\nfn long(a: [u8; 2]) {{\n{}}}\n", "    let s = '{';\n".repeat(lines - 2))
        };
        check_lines("a.rs", &function(70), &[]);
        check_lines("a.rs", &function(71), &[(2, "fn long has 71 lines")]);
        check_lines("a.rs", "//! x\ntrait A { fn b(); }\n", &[]);
    }

    #[test]
    fn unsafe_is_found_everywhere_but_in_its_room() {
        let text = "//! unsafe\nfn a() { unsafe { \"unsafe\" } }\n";
        check_lines("agent/src/a.rs", text, &[(2, "`unsafe` outside")]);
        check_lines("runtime/src/sys/a.rs", text, &[]);
    }

    #[test]
    fn leftovers_are_found_in_comments_and_code_but_not_in_strings() {
        check_lines("a.rs", "//! x\n// FIXME: y\n", &[(2, "FIXME")]);
        check_lines("a.rs", "//! x\n/*\nXXX */\n", &[(3, "XXX")]);
        check_lines("a.rs", "//! x\nfn a() { todo!() }\n", &[(2, "todo!")]);
        check_lines("a.rs", "//! x\nfn a() { dbg!(1); }\n", &[(2, "dbg!")]);
        check_lines("a.rs", "//! x\n#[ignore]\nfn a() {}\n", &[(2, "#[ignore]")]);
        check_lines("a.rs", "//! x\nconst A: &str = \"fileXXXXXX FIXME todo!\";\n", &[]);
    }

    #[test]
    fn silencing_a_lint_is_found() {
        check_lines("a.rs", "//! x\n#![allow(dead_code)]\n", &[(2, "dead_code")]);
        let text = "//! x\n#[allow(clippy::unwrap_used)]\nfn a() {}\n";
        check_lines("a.rs", text, &[(2, "unwrap")]);
        check_lines("a/tests/b.rs", text, &[]);
    }
}
