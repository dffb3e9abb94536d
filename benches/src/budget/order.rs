//! The order of the runtime's functions in memory: those that a start uses, side by side, as they
//! are used. A linker script (`runtime/order.ld`) that names them by patterns, because a compiler
//! ends their names with a hash of its own.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// The longest pattern: a name's end tells little.
const PATTERN_BYTES_MAX: usize = 84;

/// Functions by their addresses: name and size.
pub(crate) type Functions = BTreeMap<u64, (String, u64)>;

/// Reads a program's functions, which must not be stripped.
pub(crate) fn functions(program: &Path) -> anyhow::Result<Functions> {
    let output = Command::new("nm").arg("--numeric-sort").arg(program).output();
    let output = output.context("start nm (Debian's binutils)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let symbol = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (address, kind, name) = (fields.next()?, fields.next()?, fields.next()?);
        let address = u64::from_str_radix(address, 16).ok()?;
        ["t", "T", "w", "W"].contains(&kind).then(|| (address, name.to_owned()))
    };
    let symbols: Vec<(u64, String)> = text.lines().filter_map(symbol).collect();
    let Some((last, _)) = symbols.last() else {
        bail!("{} has no symbols: build it without strip", program.display());
    };
    let ends = symbols.iter().skip(1).map(|(address, _)| *address).chain([*last]);
    let sized = symbols.iter().zip(ends);
    Ok(sized.map(|((at, name), end)| (*at, (name.clone(), end.saturating_sub(*at)))).collect())
}

/// The script, from the addresses of code in the order of its first use. A pattern that also
/// takes in much that is not used comes after all others.
pub(crate) fn script(functions: &Functions, addresses: &[u64]) -> String {
    let mut used: Vec<(String, u64)> = Vec::new();
    let mut seen = HashSet::new();
    for address in addresses {
        let Some((at, (name, bytes))) = functions.range(..=*address).next_back() else { continue };
        if seen.insert(*at) {
            let pattern = pattern(name);
            match used.iter_mut().find(|(known, _)| *known == pattern) {
                Some((_, sum)) => *sum += bytes,
                None => used.push((pattern, *bytes)),
            }
        }
    }
    let takes = |pattern: &str| -> u64 {
        let matches = functions.values().filter(|(name, _)| self::pattern(name) == pattern);
        matches.map(|(_, bytes)| bytes).sum()
    };
    let (dense, sparse): (Vec<_>, Vec<_>) =
        used.iter().partition(|(pattern, bytes)| takes(pattern) <= bytes * 2);
    let line = |(pattern, _): &&(String, u64)| format!("        *(.text.{pattern})\n");
    let lines: String = dense.iter().chain(&sparse).map(line).collect();
    format!(
        "/* Made by `cargo xtask order`: the functions that a start uses, side by side. */\n\
         SECTIONS\n{{\n    .text.used :\n    {{\n{lines}    }}\n}}\nINSERT BEFORE .text;\n"
    )
}

/// What a function is called in any build.
fn pattern(name: &str) -> String {
    let hash_bytes = "0123456789abcdefE".len();
    let legacy = name.rsplit_once("17h").filter(|(_, hash)| hash.len() == hash_bytes);
    let mut text = legacy.map_or_else(|| name.to_owned(), |(path, _)| format!("{path}17h*"));
    // The new names have a hash for each crate (`Cs…_`).
    while let Some(at) = text.find("Cs").filter(|_| name.starts_with("_R")) {
        let Some(end) = text[at..].find('_') else { break };
        text.replace_range(at..at + end, "C*");
    }
    if PATTERN_BYTES_MAX < text.len() {
        text.truncate(PATTERN_BYTES_MAX);
        let kept = text.trim_end_matches(['*', '$', '.']).len();
        text.truncate(kept);
        text.push('*');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Functions, pattern, script};

    #[test]
    fn a_name_has_no_hash_of_a_compiler() {
        assert_eq!(pattern("_ZN4core3fmt5write17h0123456789abcdefE"), "_ZN4core3fmt5write17h*");
        assert_eq!(pattern("_RNvNtCsaz6eC2DG7lh_4core3fmt"), "_RNvNtC*_4core3fmt");
        assert_eq!(pattern("memcpy"), "memcpy");
        assert!(pattern(&"x".repeat(200)).len() <= 85);
    }

    #[test]
    fn what_is_used_comes_in_its_order_and_what_takes_much_else_in_comes_last() {
        let function = |at: u64, name: &str| (at, (name.to_owned(), 16));
        let hash = |n: u64| format!("_ZN1a1b17h{n:016x}E");
        let functions: Functions = [function(16, "_start"), function(32, "main")]
            .into_iter()
            .chain((0..5).map(|n| (48 + 16 * n, (hash(n), 16))))
            .collect();
        let text = script(&functions, &[50, 40, 20, 45]);
        let place = |name: &str| text.find(name).unwrap();
        assert!(
            place("main") < place("_start") && place("_start") < place("_ZN1a1b17h*"),
            "{text}"
        );
    }
}
