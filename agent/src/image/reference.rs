//! Image references, normalised as docker does, so that `busybox` and
//! `docker.io/library/busybox:latest` are one name.

use std::fmt;

use super::Digest;

/// Longest repository name with its domain, in bytes (distribution spec: 255).
pub const NAME_BYTES_MAX: usize = 255;

/// Longest tag, in bytes (distribution spec: 128).
pub const TAG_BYTES_MAX: usize = 128;

/// A reference in its full form: domain, path, and a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    target: Target,
}

/// What a reference picks in its repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A tag, which can move.
    Tag(String),
    /// A digest, which can't. It wins where both are written.
    Digest(Digest),
}

/// Text that is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no image reference: {why}")]
pub struct InvalidReference {
    text: String,
    why: &'static str,
}

impl Reference {
    /// Reads `[DOMAIN/]PATH[:TAG][@DIGEST]`. Without a domain it is `docker.io`, there without a
    /// namespace `library`, without a tag or digest `latest`.
    ///
    /// # Errors
    /// [`InvalidReference`] that says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        let wrong = |why| InvalidReference { text: text.chars().take(300).collect(), why };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = Digest::parse(digest)
                    .map_err(|_| wrong("after @ comes sha256: and 64 lower-case hex digits"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon is a tag's only behind the last slash: before it, it is a port's.
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].find(':') {
            Some(at) => (&rest[..slash + at], Some(&rest[slash + at + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("a tag is 1 to 128 of [A-Za-z0-9_.-], not beginning with . or -"));
        }
        let (domain, path) = split_domain(name);
        if NAME_BYTES_MAX < domain.len() + 1 + path.len() {
            return Err(wrong("the name is longer than 255 bytes"));
        }
        if !is_domain(&domain) {
            return Err(wrong("the registry is not HOST or HOST:PORT"));
        }
        if !path.split('/').all(is_component) {
            return Err(wrong("a name has lower-case letters and digits, separated by . _ __ - /"));
        }
        let target = match (digest, tag) {
            (Some(digest), _) => Target::Digest(digest),
            (None, tag) => Target::Tag(tag.unwrap_or("latest").to_owned()),
        };
        Ok(Self { domain, path, target })
    }

    /// The registry's host, with its port where one is written.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository inside the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag or digest.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Tag(tag) => write!(f, "{}/{}:{tag}", self.domain, self.path),
            Target::Digest(digest) => write!(f, "{}/{}@{digest}", self.domain, self.path),
        }
    }
}

/// The first component is a registry only if it can't be a namespace: it has a dot, a port or an
/// upper-case letter, or is `localhost`.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => ("docker.io", name),
    };
    let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
    if domain == "docker.io" && !path.contains('/') {
        return (domain.to_owned(), format!("library/{path}"));
    }
    (domain.to_owned(), path.to_owned())
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=TAG_BYTES_MAX).contains(&tag.len())
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
                return false;
            }
            ("v6", rest.strip_prefix(':').or((!rest.is_empty()).then_some("bad")))
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// `[a-z0-9]+` runs, separated by one dot, one or two underscores, or any number of hyphens.
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    if !ends.is_some_and(|(first, last)| alphanumeric(*first) && alphanumeric(*last)) {
        return false;
    }
    bytes
        .split(|b| alphanumeric(*b))
        .filter(|run| !run.is_empty())
        .all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_name_is_the_same_reference() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("docker.io/busybox", "docker.io/library/busybox:latest".to_owned()),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest".to_owned()),
            ("team/app:1.0", "docker.io/team/app:1.0".to_owned()),
            ("localhost/app", "localhost/app:latest".to_owned()),
            ("localhost:5000/app", "localhost:5000/app:latest".to_owned()),
            ("[::1]:5000/app", "[::1]:5000/app:latest".to_owned()),
            ("ghcr.io/a/b-c__d:V_1", "ghcr.io/a/b-c__d:V_1".to_owned()),
            (&format!("app:1@{digest}"), format!("docker.io/library/app@{digest}")),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(Reference::parse(&full).unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            ":tag",
            "App",
            "a//b",
            "../etc",
            "a/../b",
            "a:",
            "a:-x",
            "a___b",
            "-a",
            "a b",
            "host:99999/a",
            "a@sha256:12",
            &format!("a:{}", "t".repeat(129)),
            &"a".repeat(256),
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
