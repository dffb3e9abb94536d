//! The rules for prose: every page of docs/ is linked from the README or the architecture page,
//! every relative link leads somewhere, and a page that repeats a source file carries the
//! file's fingerprint, so that it can't drift.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Finding;

/// Pages from which a reader must be able to reach every other page.
const ENTRIES: &[&str] = &["README.md", "ARCHITECTURE.md"];

/// The source that a page with a block of protobuf repeats.
const PROTO: &str = "proto/loadline/agent/v1/agent.proto";

/// Everything wrong with the pages. `pages` are the .md files by path; `read` gives any file of
/// the workspace, none where it does not exist (a folder reads as empty).
pub(super) fn check(
    pages: &BTreeMap<String, String>,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let linked: Vec<String> = ENTRIES
        .iter()
        .filter_map(|entry| pages.get_key_value(*entry))
        .flat_map(|(path, text)| links(text).into_iter().map(|l| resolve(path, &l.target).0))
        .collect();
    for (path, text) in pages {
        let mut report = |line, message| found.push(Finding { path: path.clone(), line, message });
        if path.starts_with("docs/") && !linked.contains(path) {
            report(1, format!("not linked from {}", ENTRIES.join(" or ")));
        }
        for link in links(text) {
            if let Some(message) = broken(path, &link, pages, read) {
                report(link.line, message);
            }
        }
        for (line, message) in fingerprints(text, read) {
            report(line, message);
        }
    }
    found
}

struct Link {
    line: usize,
    target: String,
}

/// The relative links of a page, outside code blocks.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for piece in line.split("](").skip(1) {
            let target = piece.split(')').next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push(Link { line: at + 1, target: target.to_owned() });
            }
        }
    }
    found
}

/// The file that `target` on page `path` names, and the heading in it.
fn resolve(path: &str, target: &str) -> (String, Option<String>) {
    let (file, heading) = target.split_once('#').map_or((target, None), |(f, h)| (f, Some(h)));
    if file.is_empty() {
        return (path.to_owned(), heading.map(str::to_owned));
    }
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut parts: Vec<&str> = folder.iter().filter_map(|part| part.to_str()).collect();
    for part in file.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    (parts.join("/"), heading.map(str::to_owned))
}

fn broken(
    path: &str,
    link: &Link,
    pages: &BTreeMap<String, String>,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Option<String> {
    let (file, heading) = resolve(path, &link.target);
    if read(&file).is_none() {
        return Some(format!("link to {file}, which does not exist"));
    }
    let (heading, page) = (heading?, pages.get(&file)?);
    let known = page.lines().filter(|line| line.starts_with('#')).map(anchor);
    let exists = known.into_iter().any(|known| known == heading);
    (!exists).then(|| format!("link to {file}#{heading}, which is no heading there"))
}

/// The anchor that a heading gets on the usual hosting sites.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// `<!-- matches PATH sha256=HEX -->` must be true, and a page with a block of protobuf has one.
fn fingerprints(text: &str, read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut has_proto = false;
    for (at, line) in text.lines().enumerate() {
        let Some(mark) = line.trim().strip_prefix("<!-- matches ") else { continue };
        let (path, given) =
            mark.trim_end_matches(" -->").split_once(" sha256=").unwrap_or((mark, ""));
        has_proto |= path == PROTO;
        let real = read(path).map(|bytes| hex(&Sha256::digest(bytes)));
        match real {
            None => found.push((at + 1, format!("matches {path}, which does not exist"))),
            Some(real) if real != given => {
                let message = format!("{path} changed: read this page again, then sha256={real}");
                found.push((at + 1, message));
            }
            Some(_) => {}
        }
    }
    if let Some(at) = text.lines().position(|line| line.trim() == "```proto")
        && !has_proto
    {
        let message = format!("repeats the protocol without `<!-- matches {PROTO} sha256=… -->`");
        found.push((at + 1, message));
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_pages(pages: &[(&str, &str)], expected: &[&str]) {
        let pages: BTreeMap<String, String> =
            pages.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
        let read = |path: &str| match path {
            "src" => Some(Vec::new()),
            PROTO => Some(b"abc".to_vec()),
            _ => pages.get(path).map(|text| text.clone().into_bytes()),
        };
        let found: Vec<_> = check(&pages, &read).into_iter().map(|f| f.message).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (message, part) in found.iter().zip(expected) {
            assert!(message.contains(part), "{message:?} has no {part:?}");
        }
    }

    #[test]
    fn a_page_that_nobody_links_is_found() {
        check_pages(&[("README.md", "[a](docs/a.md)"), ("docs/a.md", "")], &[]);
        check_pages(&[("README.md", ""), ("docs/a.md", "")], &["not linked"]);
    }

    #[test]
    fn a_link_to_nowhere_is_found() {
        check_pages(&[("README.md", "[s](src) [w](https://a.example/b)")], &[]);
        check_pages(&[("README.md", "[s](lib.rs)")], &["lib.rs, which does not exist"]);
        check_pages(&[("README.md", "```\n[s](lib.rs)\n```\n")], &[]);
        check_pages(&[("README.md", "# How it works, in short\n[s](#how-it-works-in-short)")], &[]);
        check_pages(&[("README.md", "# A\n[s](#b)")], &["no heading"]);
    }

    #[test]
    fn a_fingerprint_that_does_not_match_is_found() {
        let page = |hash: &str| format!("<!-- matches {PROTO} sha256={hash} -->\n```proto\n```\n");
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check_pages(&[("README.md", &page(hash))], &[]);
        check_pages(&[("README.md", &page("00"))], &["changed"]);
        check_pages(&[("README.md", "```proto\n```\n")], &["repeats the protocol"]);
    }
}
