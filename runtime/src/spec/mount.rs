//! Mounts: what is mounted, where, and how.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use oci_spec::runtime as oci;

use super::linux::id_maps;
use super::option::{MountOptions, Word, word};
use super::{IdMap, Linux, NEEDS_MOUNTS, NamespaceKind, Violations, c_string, inside};

/// The longest value that `fsconfig(2)` takes.
pub const PARAMETER_BYTES_MAX: usize = 255;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, relative to the container's root, without `.` and `..`. Empty is the root itself.
    pub destination: PathBuf,
    /// What.
    pub kind: MountKind,
    /// Attributes and propagation.
    pub options: MountOptions,
    /// Options of filesystems that stand at a bind mount, where the kernel ignores them.
    pub ignored: Vec<String>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Absolute, or relative to the bundle.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
        /// With other owners.
        id_mapping: Option<IdMapping>,
    },
    /// A filesystem of its own.
    Filesystem {
        /// The kernel's name of it.
        kind: CString,
        /// The source, where the filesystem has one.
        source: Option<CString>,
        /// Its own options: a key, and a value unless it is a flag.
        parameters: Vec<(CString, Option<CString>)>,
        /// Whether it gets a copy of what it hides.
        copy_up: Tmpcopyup,
    },
    /// The container's view of its cgroups, whatever the host's layout.
    Cgroup,
}

/// Whether a tmpfs gets a copy of what it hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tmpcopyup {
    /// It does.
    Yes,
    /// It starts empty.
    No,
}

/// How the owners of an id-mapped mount are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMapping {
    /// Own mappings, or those of the container's user namespace when empty.
    pub uid: Vec<IdMap>,
    /// Own mappings, or those of the container's user namespace when empty.
    pub gid: Vec<IdMap>,
    /// With the mounts below it.
    pub recursive: bool,
}

/// Words of one mount on their way to a kind.
#[derive(Default)]
struct Words {
    options: MountOptions,
    bind: Option<bool>,
    id_map: Option<bool>,
    copy_up: bool,
    own: Vec<String>,
}

/// Validates one mount. `None` goes with at least one violation.
pub(super) fn validate(
    index: usize,
    oci: &oci::Mount,
    linux: &Linux,
    found: &mut Violations,
) -> Option<Mount> {
    let field = format!("mounts[{index}]");
    let destination = oci.destination();
    if destination.as_os_str().is_empty() {
        found.add(format!("{field}.destination"), "is empty");
        return None;
    }
    if destination.as_os_str().as_bytes().contains(&0) {
        found.add(format!("{field}.destination"), "contains a NUL byte");
        return None;
    }
    if inside(destination).as_os_str().is_empty() {
        found.add(format!("{field}.destination"), "is the root itself, which root.path gives");
    }
    if !linux.can_mount() {
        found.add(&field, NEEDS_MOUNTS);
    }
    let words = read_words(&field, oci.options().as_deref().unwrap_or_default(), found);
    let kind = kind(&field, oci, linux, &words, found)?;
    if !linux.creates(NamespaceKind::Mount) && has_long_value(&kind) {
        let problem = format!("has a value of more than 255 bytes, which {NEEDS_MOUNTS}");
        found.add(format!("{field}.options"), problem);
    }
    let ignored = match kind {
        MountKind::Bind { .. } | MountKind::Cgroup => words.own,
        MountKind::Filesystem { .. } => Vec::new(),
    };
    Some(Mount { destination: inside(destination), kind, options: words.options, ignored })
}

/// Whether only `mount(2)` can mount it, which needs a place that nobody else sees.
fn has_long_value(kind: &MountKind) -> bool {
    let MountKind::Filesystem { parameters, .. } = kind else { return false };
    let is_long = |value: &CString| value.count_bytes() > PARAMETER_BYTES_MAX;
    parameters.iter().any(|(_, value)| value.as_ref().is_some_and(is_long))
}

fn read_words(field: &str, texts: &[String], found: &mut Violations) -> Words {
    let mut words = Words::default();
    for text in texts {
        let options = &mut words.options;
        match word(text) {
            Some(Word::Set { set, clear }) => {
                options.set = (options.set & !clear) | set;
                options.clear |= clear;
            }
            Some(Word::Unset(bit)) => options.set &= !bit,
            Some(Word::SetTree { set, clear }) => {
                options.tree_set = (options.tree_set & !clear) | set;
                options.tree_clear = (options.tree_clear & !set) | clear;
            }
            Some(Word::Propagation { flag, recursive }) => {
                options.propagation.push((flag, recursive));
            }
            Some(Word::Bind { recursive }) => words.bind = Some(recursive),
            Some(Word::IdMap { recursive }) => words.id_map = Some(recursive),
            Some(Word::CopyUp) => words.copy_up = true,
            Some(Word::Nothing) => {}
            Some(Word::Superblock) => words.own.push(text.clone()),
            None if text == "remount" => {
                found.add(format!("{field}.options"), "remount is not supported");
            }
            None => words.own.push(text.clone()),
        }
    }
    words
}

fn kind(
    field: &str,
    oci: &oci::Mount,
    linux: &Linux,
    words: &Words,
    found: &mut Violations,
) -> Option<MountKind> {
    let typ = oci.typ().as_deref().unwrap_or_default();
    let id_mapping = id_mapping(field, oci, linux, words, found);
    if let Some(recursive) = words.bind.or((typ == "bind").then_some(false)) {
        return bind(field, oci, recursive, id_mapping, words, found);
    }
    if id_mapping.is_some() {
        found.add(field, "has an id mapping, which only bind mounts can have");
    }
    match typ {
        "" | "none" => {
            found.add(format!("{field}.type"), "is missing, and no option says bind");
            None
        }
        "cgroup" => {
            if words.copy_up {
                found.add(format!("{field}.options"), "has tmpcopyup, which is for tmpfs");
            }
            Some(MountKind::Cgroup)
        }
        _ => filesystem(field, typ, oci, words, found),
    }
}

fn bind(
    field: &str,
    oci: &oci::Mount,
    recursive: bool,
    id_mapping: Option<IdMapping>,
    words: &Words,
    found: &mut Violations,
) -> Option<MountKind> {
    // A parameter of a filesystem changes nothing, and is warned of as in peers it passes; a word
    // that is no option at all may be a slip for one that protects.
    let is_known = |own: &str| own.contains('=') || matches!(word(own), Some(Word::Superblock));
    for own in words.own.iter().filter(|own| !is_known(own)) {
        found.add(format!("{field}.options"), format!("has {own:?}, which no bind mount has"));
    }
    if words.copy_up {
        found.add(format!("{field}.options"), "has tmpcopyup, which is for tmpfs");
    }
    let source = oci.source().clone().unwrap_or_default();
    if source.as_os_str().is_empty() {
        found.add(format!("{field}.source"), "is required for a bind mount");
        return None;
    }
    c_string(&format!("{field}.source"), source.as_os_str().as_bytes(), found)?;
    Some(MountKind::Bind { source, recursive, id_mapping })
}

fn filesystem(
    field: &str,
    typ: &str,
    oci: &oci::Mount,
    words: &Words,
    found: &mut Violations,
) -> Option<MountKind> {
    if words.copy_up && typ != "tmpfs" {
        found.add(format!("{field}.options"), "has tmpcopyup, which is for tmpfs");
    }
    let name = format!("{field}.options");
    let mut parameters = Vec::with_capacity(words.own.len());
    for own in &words.own {
        let (key, value) = match own.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (own.as_str(), None),
        };
        let value = match value {
            Some(value) => Some(c_string(&name, value.as_bytes(), found)?),
            None => None,
        };
        parameters.push((c_string(&name, key.as_bytes(), found)?, value));
    }
    let source = match oci.source() {
        Some(source) if !source.as_os_str().is_empty() => {
            Some(c_string(&format!("{field}.source"), source.as_os_str().as_bytes(), found)?)
        }
        _ => None,
    };
    let copy_up = if words.copy_up { Tmpcopyup::Yes } else { Tmpcopyup::No };
    let kind = c_string(&format!("{field}.type"), typ.as_bytes(), found)?;
    Some(MountKind::Filesystem { kind, source, parameters, copy_up })
}

fn id_mapping(
    field: &str,
    oci: &oci::Mount,
    linux: &Linux,
    words: &Words,
    found: &mut Violations,
) -> Option<IdMapping> {
    let uid = id_maps(&format!("{field}.uidMappings"), oci.uid_mappings().as_ref(), found);
    let gid = id_maps(&format!("{field}.gidMappings"), oci.gid_mappings().as_ref(), found);
    if uid.is_empty() != gid.is_empty() {
        found.add(field, "needs both uidMappings and gidMappings, or neither");
    }
    if uid.is_empty() && words.id_map.is_none() {
        return None;
    }
    if !linux.creates(NamespaceKind::Mount) {
        found.add(field, format!("is id-mapped, which {NEEDS_MOUNTS}"));
    }
    if uid.is_empty() && !linux.creates(NamespaceKind::User) {
        found.add(field, "is id-mapped without mappings and without a new user namespace");
    }
    Some(IdMapping { uid, gid, recursive: words.id_map.unwrap_or(false) })
}
