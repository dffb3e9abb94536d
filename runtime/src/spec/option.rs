//! Mount options: which words are attributes of a mount, which set its propagation, which belong
//! to the filesystem. The words are mount(8)'s and the specification's.

use std::fmt;

use crate::sys::mount::Attr;

const RDONLY: Attr = libc::MOUNT_ATTR_RDONLY;
const NOSUID: Attr = libc::MOUNT_ATTR_NOSUID;
const NODEV: Attr = libc::MOUNT_ATTR_NODEV;
const NOEXEC: Attr = libc::MOUNT_ATTR_NOEXEC;
const NOATIME: Attr = libc::MOUNT_ATTR_NOATIME;
const STRICTATIME: Attr = libc::MOUNT_ATTR_STRICTATIME;
const NODIRATIME: Attr = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: Attr = libc::MOUNT_ATTR_NOSYMFOLLOW;
/// The bits in which the three times of access are one value, not flags.
const ATIME: Attr = libc::MOUNT_ATTR__ATIME;

/// What one word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Sets attributes of this mount, after clearing some.
    Set { set: Attr, clear: Attr },
    /// Takes back what an earlier word set.
    Unset(Attr),
    /// Sets attributes of the whole tree, after clearing some.
    SetTree { set: Attr, clear: Attr },
    /// Propagation (`MS_*`), of the whole tree or not.
    Propagation { flag: u64, recursive: bool },
    /// Bind, of the whole tree or not.
    Bind { recursive: bool },
    /// Id-mapped, of the whole tree or not.
    IdMap { recursive: bool },
    /// Copy what the mount hides into it.
    CopyUp,
    /// Nothing to do: the default, or about messages only.
    Nothing,
    /// A flag that the kernel takes for a filesystem, whatever its kind.
    Superblock,
}

const fn set(bit: Attr) -> Word {
    Word::Set { set: bit, clear: 0 }
}

const fn atime(value: Attr) -> Word {
    Word::Set { set: value, clear: ATIME }
}

const fn tree(bit: Attr) -> Word {
    Word::SetTree { set: bit, clear: 0 }
}

const fn tree_clear(bit: Attr) -> Word {
    Word::SetTree { set: 0, clear: bit }
}

const fn tree_atime(value: Attr) -> Word {
    Word::SetTree { set: value, clear: ATIME }
}

const fn propagation(flag: u64, recursive: bool) -> Word {
    Word::Propagation { flag, recursive }
}

/// Every word that is not a filesystem's own.
pub(super) const WORDS: [(&str, Word); 60] = [
    ("defaults", Word::Nothing),
    ("silent", Word::Nothing),
    ("loud", Word::Nothing),
    ("ro", set(RDONLY)),
    ("rw", Word::Unset(RDONLY)),
    ("nosuid", set(NOSUID)),
    ("suid", Word::Unset(NOSUID)),
    ("nodev", set(NODEV)),
    ("dev", Word::Unset(NODEV)),
    ("noexec", set(NOEXEC)),
    ("exec", Word::Unset(NOEXEC)),
    ("noatime", atime(NOATIME)),
    ("atime", Word::Unset(NOATIME)),
    ("nodiratime", set(NODIRATIME)),
    ("diratime", Word::Unset(NODIRATIME)),
    ("relatime", atime(0)),
    ("norelatime", Word::Nothing),
    ("strictatime", atime(STRICTATIME)),
    ("nostrictatime", Word::Unset(STRICTATIME)),
    ("nosymfollow", set(NOSYMFOLLOW)),
    ("symfollow", Word::Unset(NOSYMFOLLOW)),
    ("rro", tree(RDONLY)),
    ("rrw", tree_clear(RDONLY)),
    ("rnosuid", tree(NOSUID)),
    ("rsuid", tree_clear(NOSUID)),
    ("rnodev", tree(NODEV)),
    ("rdev", tree_clear(NODEV)),
    ("rnoexec", tree(NOEXEC)),
    ("rexec", tree_clear(NOEXEC)),
    ("rnoatime", tree_atime(NOATIME)),
    ("ratime", tree_atime(0)),
    ("rnodiratime", tree(NODIRATIME)),
    ("rdiratime", tree_clear(NODIRATIME)),
    ("rrelatime", tree_atime(0)),
    ("rnorelatime", tree_atime(STRICTATIME)),
    ("rstrictatime", tree_atime(STRICTATIME)),
    ("rnostrictatime", tree_atime(0)),
    ("rnosymfollow", tree(NOSYMFOLLOW)),
    ("rsymfollow", tree_clear(NOSYMFOLLOW)),
    ("bind", Word::Bind { recursive: false }),
    ("rbind", Word::Bind { recursive: true }),
    ("private", propagation(libc::MS_PRIVATE, false)),
    ("rprivate", propagation(libc::MS_PRIVATE, true)),
    ("slave", propagation(libc::MS_SLAVE, false)),
    ("rslave", propagation(libc::MS_SLAVE, true)),
    ("shared", propagation(libc::MS_SHARED, false)),
    ("rshared", propagation(libc::MS_SHARED, true)),
    ("unbindable", propagation(libc::MS_UNBINDABLE, false)),
    ("runbindable", propagation(libc::MS_UNBINDABLE, true)),
    ("idmap", Word::IdMap { recursive: false }),
    ("ridmap", Word::IdMap { recursive: true }),
    ("tmpcopyup", Word::CopyUp),
    ("sync", Word::Superblock),
    ("async", Word::Superblock),
    ("dirsync", Word::Superblock),
    ("lazytime", Word::Superblock),
    ("nolazytime", Word::Superblock),
    ("mand", Word::Superblock),
    ("nomand", Word::Superblock),
    ("iversion", Word::Superblock),
];

/// What a word means, or `None` when it can only be the filesystem's own.
pub(super) fn word(text: &str) -> Option<Word> {
    WORDS.iter().find(|(name, _)| *name == text).map(|(_, word)| *word)
}

/// The words for `features`, sorted.
pub fn known_words() -> Vec<&'static str> {
    let mut words: Vec<_> = WORDS.iter().map(|(name, _)| *name).collect();
    words.sort_unstable();
    words
}

/// Attributes and propagation of a mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Attributes to set on this mount (`MOUNT_ATTR_*`).
    pub set: Attr,
    /// Attributes to clear on this mount first.
    pub clear: Attr,
    /// Attributes to set on the whole tree.
    pub tree_set: Attr,
    /// Attributes to clear on the whole tree first.
    pub tree_clear: Attr,
    /// Propagation changes in their order: `MS_*`, and whether of the whole tree.
    pub propagation: Vec<(u64, bool)>,
}

/// Shows options in mount(8)'s words.
#[derive(Debug)]
pub struct OptionText<'a>(pub &'a MountOptions);

impl fmt::Display for OptionText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BITS: [(Attr, &str); 5] = [
            (RDONLY, "ro"),
            (NOSUID, "nosuid"),
            (NODEV, "nodev"),
            (NOEXEC, "noexec"),
            (NODIRATIME, "nodiratime"),
        ];
        let attrs = |f: &mut fmt::Formatter<'_>, prefix: &str, set: Attr, clear: Attr| {
            for (bit, name) in BITS.into_iter().chain([(NOSYMFOLLOW, "nosymfollow")]) {
                if set & bit != 0 {
                    write!(f, " {prefix}{name}")?;
                }
                if clear & bit != 0 {
                    write!(f, " {prefix}{}", name.strip_prefix("no").unwrap_or("rw"))?;
                }
            }
            match (clear & ATIME != 0, set & ATIME) {
                (false, 0) => Ok(()),
                (_, NOATIME) => write!(f, " {prefix}noatime"),
                (_, STRICTATIME) => write!(f, " {prefix}strictatime"),
                (_, _) => write!(f, " {prefix}relatime"),
            }
        };
        attrs(f, "", self.0.set, self.0.clear)?;
        attrs(f, "r", self.0.tree_set, self.0.tree_clear)?;
        for (flag, recursive) in &self.0.propagation {
            let prefix = if *recursive { "r" } else { "" };
            write!(f, " {prefix}{}", super::linux::propagation_name(*flag))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{WORDS, word};

    #[test]
    fn no_word_is_listed_twice() {
        for (i, (name, _)) in WORDS.iter().enumerate() {
            assert!(WORDS[i + 1..].iter().all(|(other, _)| other != name), "{name}");
        }
    }

    #[test]
    fn a_filesystems_own_option_is_no_word() {
        assert_eq!(word("size=65536k"), None);
    }
}
