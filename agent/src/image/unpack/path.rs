//! An entry's name, taken apart before the kernel sees any of it.

use super::{Limits, Refusal};

/// Longest name of one file, in bytes (Linux NAME_MAX).
const COMPONENT_BYTES_MAX: usize = 255;

/// A name inside the root: no `..`, no empty part, no leading slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inner {
    /// The directory's components, joined by `/`; empty for the root itself.
    pub(super) parent: Vec<u8>,
    /// The last component.
    pub(super) name: Vec<u8>,
}

/// What an entry's name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The root directory.
    Root,
    /// Something below it.
    Inner(Inner),
}

/// Reads a name. Leading slashes, `.` and doubled slashes fall away.
pub(super) fn parse(name: &[u8], limits: &Limits) -> Result<Place, Refusal> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Refusal::ParentInName),
            _ if COMPONENT_BYTES_MAX < part.len() => return Err(Refusal::NameTooLong),
            _ if limits.depth_max <= parts.len() => {
                return Err(Refusal::TooDeep { depth_max: limits.depth_max });
            }
            _ => parts.push(part),
        }
    }
    Ok(match parts.pop() {
        None => Place::Root,
        Some(name) => Place::Inner(Inner { parent: parts.join(&b'/'), name: name.to_vec() }),
    })
}

/// A name in the form that aufs and docker use for what a layer takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whiteout<'a> {
    /// `.wh.NAME`: NAME of a lower layer is gone.
    Of(&'a [u8]),
    /// `.wh..wh..opq`: everything that lower layers have in this directory is gone.
    Opaque,
    /// `.wh..wh.…`: aufs's own bookkeeping, which means nothing here.
    Bookkeeping,
}

/// Reads the last component as a whiteout, if it is one.
pub(super) fn whiteout(name: &[u8]) -> Result<Option<Whiteout<'_>>, Refusal> {
    let Some(hidden) = name.strip_prefix(b".wh.") else { return Ok(None) };
    match hidden {
        b"" | b"." | b".." => Err(Refusal::BadWhiteout),
        b".wh..opq" => Ok(Some(Whiteout::Opaque)),
        _ if hidden.starts_with(b".wh.") => Ok(Some(Whiteout::Bookkeeping)),
        _ => Ok(Some(Whiteout::Of(hidden))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Result<(&str, &str), Refusal>) {
        let limits = Limits { depth_max: 3, ..Limits::DEFAULT };
        let place = parse(name.as_bytes(), &limits).map(|place| match place {
            Place::Root => (String::new(), String::new()),
            Place::Inner(inner) => {
                (String::from_utf8(inner.parent).unwrap(), String::from_utf8(inner.name).unwrap())
            }
        });
        let expected = expected.map(|(parent, name)| (parent.to_owned(), name.to_owned()));
        assert_eq!(place, expected, "{name}");
    }

    #[test]
    fn a_name_is_taken_apart_or_refused() {
        check("a", Ok(("", "a")));
        check("./a//b/./c/", Ok(("a/b", "c")));
        check("/bin/sh", Ok(("bin", "sh")));
        check("./", Ok(("", "")));
        check("..", Err(Refusal::ParentInName));
        check("a/../b", Err(Refusal::ParentInName));
        check("...", Ok(("", "...")));
        check("a/b/c/d", Err(Refusal::TooDeep { depth_max: 3 }));
        check(&"n".repeat(256), Err(Refusal::NameTooLong));
    }

    #[test]
    fn a_whiteout_names_what_it_hides() {
        assert_eq!(whiteout(b"plain"), Ok(None));
        assert_eq!(whiteout(b".wh.x"), Ok(Some(Whiteout::Of(b"x"))));
        assert_eq!(whiteout(b".wh..wh..opq"), Ok(Some(Whiteout::Opaque)));
        assert_eq!(whiteout(b".wh..wh.plnk"), Ok(Some(Whiteout::Bookkeeping)));
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert_eq!(whiteout(bad), Err(Refusal::BadWhiteout));
        }
    }
}
