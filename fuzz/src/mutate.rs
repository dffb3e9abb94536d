//! Mutations that know JSON: values are replaced by the ones that programs stumble over, removed,
//! doubled, and exchanged with other documents'. What is no JSON is changed by bytes and lines.
//! A seed decides everything, so that a finding can be made again.

use serde_json::{Value, json};

/// Most changes to one input.
const CHANGES_MAX: u64 = 6;

/// How deep into a document a change goes at most.
const DEPTH_MAX: u32 = 12;

/// Numbers without end, the same for the same seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// `seed` may be anything.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.below(from.len());
        from.get(at)
    }
}

/// One input made from one of the corpus, with parts of the others.
#[must_use]
pub fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let empty = Vec::new();
    let base = random.pick(corpus).unwrap_or(&empty).clone();
    let changes = 1 + random.next() % CHANGES_MAX;
    let Ok(mut document) = serde_json::from_slice::<Value>(&base) else {
        return (0..changes).fold(base, |bytes, _| change_bytes(bytes, corpus, random));
    };
    for _ in 0..changes {
        let other = random.pick(corpus).and_then(|bytes| serde_json::from_slice(bytes).ok());
        change(&mut document, other.as_ref().unwrap_or(&Value::Null), random, 0);
    }
    document.to_string().into_bytes()
}

/// Goes down a random way and changes what is at its end.
fn change(value: &mut Value, other: &Value, random: &mut Random, depth: u32) {
    let stops = DEPTH_MAX < depth || random.next().is_multiple_of(6);
    match value {
        Value::Object(map) if !map.is_empty() && !stops => {
            let at = random.below(map.len());
            let key = map.keys().nth(at).cloned().unwrap_or_default();
            let theirs = other.get(&key).unwrap_or(&Value::Null);
            match random.next() % 12 {
                0 => drop(map.remove(&key)),
                1 => drop(map.insert(key, theirs.clone())),
                2 => drop(map.insert(text(random), interesting(random))),
                _ => {
                    if let Some(inner) = map.get_mut(&key) {
                        change(inner, theirs, random, depth + 1);
                    }
                }
            }
        }
        Value::Array(list) if !list.is_empty() && !stops => {
            let at = random.below(list.len());
            match random.next() % 12 {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                2 => list.extend(other.as_array().into_iter().flatten().cloned()),
                3 => list.swap(0, at),
                _ => change(&mut list[at], other.get(at).unwrap_or(other), random, depth + 1),
            }
        }
        _ if random.next().is_multiple_of(8) => *value = other.clone(),
        Value::String(old) if !random.next().is_multiple_of(3) => {
            let new = text(random);
            *value = match random.next() % 3 {
                0 => json!(format!("{old}{new}")),
                1 => json!(format!("{new}{old}")),
                _ => json!(new),
            };
        }
        _ => *value = interesting(random),
    }
}

fn interesting(random: &mut Random) -> Value {
    let numbers = [
        0,
        1,
        -1,
        2,
        255,
        1024,
        65_535,
        65_536,
        262_144,
        i64::from(i32::MAX),
        i64::from(i32::MAX) + 1,
        i64::from(u32::MAX),
        i64::from(u32::MAX) + 1,
        i64::MAX,
        i64::MIN,
    ];
    match random.next() % 10 {
        0 => Value::Null,
        1 => json!(random.next().is_multiple_of(2)),
        2 => json!([]),
        3 => json!({}),
        4 => json!(u64::MAX),
        5 | 6 => json!(text(random)),
        _ => json!(random.pick(&numbers)),
    }
}

fn text(random: &mut Random) -> String {
    let words = [
        "",
        "/",
        "//",
        ".",
        "..",
        "/..",
        "/../../x",
        "a/b",
        "/proc",
        "/proc/sys",
        "/dev",
        "\0",
        "a\0b",
        "a\nb",
        "\u{1F4A3}",
        " ",
        ":",
        "a:b:c",
        "=",
        "0",
        "-1",
        "99999999999999999999",
        "0-3,7",
        "0-",
        "*",
        "%s",
        "SCMP_ACT_ALLOW",
        "SCMP_ARCH_X86",
        "bind",
        "rbind",
        "proc",
        "tmpfs",
        "cgroup",
        "overlay",
        "ro",
        "size=9223372036854775807",
        "mode=7777",
        "shared",
        "c",
        "rwm",
        "systemd",
        "a.slice:b:c",
    ];
    match random.next() % 20 {
        0 => "x".repeat(random.below(5000)),
        1 => "/a".repeat(random.below(3000)),
        _ => random.pick(&words).copied().unwrap_or_default().to_owned(),
    }
}

fn change_bytes(mut bytes: Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let at = random.below(bytes.len() + 1);
    match random.next() % 6 {
        0 if at < bytes.len() => bytes[at] = random.next() as u8,
        1 => bytes.truncate(at),
        2 => drop(bytes.splice(at..at, text(random).into_bytes())),
        3 => {
            let other = random.pick(corpus).cloned().unwrap_or_default();
            let from = random.below(other.len() + 1);
            drop(bytes.splice(at.., other[from..].iter().copied()));
        }
        _ => {
            let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            let (one, two) = (random.below(lines.len()), random.below(lines.len()));
            match random.next() % 3 {
                0 => lines.swap(one, two),
                1 => lines.insert(one, lines[two]),
                _ => drop(lines.remove(one)),
            }
            bytes = lines.join(&b'\n');
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_input_each_time_and_another_one_another() {
        let corpus = vec![br#"{"a": [1, {"b": "c"}]}"#.to_vec(), b"text\nof lines".to_vec()];
        let made = |seed| mutate(&corpus, &mut Random::new(seed));
        assert!((0..50).all(|seed| made(seed) == made(seed)));
        let different: std::collections::BTreeSet<_> = (0..50).map(made).collect();
        assert!(30 < different.len(), "{} of 50", different.len());
    }
}
