//! The store on disk.
//!
//! ```text
//!  refs.json              names → digests, replaced whole
//!  blobs/HEX              manifests and configurations
//!  layers/HEX/fs          an unpacked layer, under its diff id
//!  layers/HEX/layer.json  its size
//!  partial/               downloads that are not whole yet; old ones are removed at open
//!  scratch/               what is being unpacked or removed; emptied at open
//!  lock                   held while an agent has the store open
//! ```

mod files;
mod import;
mod pins;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::cleanup::{self, CleanupRules};
use super::document;
use super::layout::{self, Found};
use super::refs::{Origin, Record, Refs};
use super::source::Source;
use super::unpack::Limits;
use super::{Digest, ImageConfig, ImageError, Reference, Target};
use crate::rooted::{self, Inside};
use pins::Pins;

pub(crate) use import::Blobs;
pub(crate) use pins::Pin;

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the source that were read.
    pub done_bytes: u64,
    /// Bytes that will be read.
    pub total_bytes: u64,
}

/// An image that an import brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its name in full.
    pub reference: String,
    /// Of its manifest, or of its configuration where it came without one.
    pub digest: Digest,
    /// Sum of its unpacked files, in bytes.
    pub size_bytes: u64,
    /// Device nodes below `dev/` that its layers had and that were left out.
    pub devices_left_out: u64,
}

/// One line of the list of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its name in full.
    pub reference: String,
    /// Of its manifest, or of its configuration where it came without one.
    pub digest: Digest,
    /// Sum of its unpacked files, in bytes; layers that images share count for each.
    pub size_bytes: u64,
    /// How many layers it has.
    pub layers: usize,
}

/// An image that can be run. While it lives, its layers are not removed.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name in full.
    pub reference: String,
    /// Of its manifest, or of its configuration where it came without one.
    pub digest: Digest,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Its layers' diff ids, bottom first.
    pub layers: Vec<Digest>,
    /// Its layers' root directories, bottom first.
    pub layer_dirs: Vec<PathBuf>,
    /// For each layer, the directories below its root that it does not describe itself: their
    /// owner and mode are those that the layers below say.
    pub implied_dirs: Vec<BTreeSet<Vec<u8>>>,
    _pin: Arc<Pin>,
}

/// What a clean-up gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Layers removed.
    pub layers: usize,
    /// Sum of their files, in bytes.
    pub bytes: u64,
}
/// The images of one node. One process at a time has it open.
#[derive(Debug)]
pub struct ImageStore {
    path: PathBuf,
    root: OwnedFd,
    layers: OwnedFd,
    blobs: OwnedFd,
    scratch: OwnedFd,
    partial: OwnedFd,
    refs: Mutex<Refs>,
    pins: Arc<Pins>,
    /// When a task last asked for a name, Unix milliseconds.
    last_used: Mutex<BTreeMap<String, u64>>,
    opened_ms: u64,
    next_scratch: AtomicU64,
    limits: Limits,
    /// Locked as long as it is open.
    _lock: File,
}

fn failed(step: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> ImageError {
    let object = object.into();
    move |source| ImageError::Store { step, object, source }
}

impl ImageStore {
    /// Opens the store in `dir`, making it where there is none, and removes what a crash left.
    ///
    /// # Errors
    /// [`ImageError::Busy`] where another agent has it open; the kernel's otherwise.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        Self::open_with(dir, Limits::DEFAULT)
    }

    /// As [`Self::open`], with other bounds on a layer.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(dir: &Path, limits: Limits) -> Result<Self, ImageError> {
        let path = std::path::absolute(dir).map_err(failed("find", dir.display().to_string()))?;
        std::fs::create_dir_all(&path).map_err(failed("make", path.display().to_string()))?;
        let root = rooted::open_dir(&path).map_err(failed("open", path.display().to_string()))?;
        // An image's setuid programs must not be within reach of this host's users.
        rustix::fs::fchmod(&root, Mode::RWXU)
            .map_err(|errno| failed("set the mode of", ".")(errno.into()))?;
        let lock = lock(&root, &path)?;
        let scratch = make_dir(root.as_fd(), "scratch")?;
        let store = Self {
            layers: make_dir(root.as_fd(), "layers")?,
            blobs: make_dir(root.as_fd(), "blobs")?,
            partial: make_dir(root.as_fd(), "partial")?,
            refs: Mutex::new(Refs::load(root.as_fd())?),
            pins: Arc::default(),
            last_used: Mutex::default(),
            opened_ms: crate::clock::now_ms(),
            next_scratch: AtomicU64::new(0),
            limits,
            _lock: lock,
            path,
            root,
            scratch,
        };
        store.sweep()?;
        Ok(store)
    }

    /// Imports what is at `path`: an OCI image layout (folder or tar) or a docker archive, plain
    /// or compressed. `name` names its only image, over what the archive says. Layers that are
    /// here already are not read. An image that had the name before loses it.
    ///
    /// # Errors
    /// [`ImageError`]; the store is then as it was.
    pub fn import(
        &self,
        path: &Path,
        name: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Imported>, ImageError> {
        let name = name.map(Reference::parse).transpose()?;
        if let Some(name) = &name
            && let Target::Digest(_) = name.target()
        {
            return Err(ImageError::Inconsistent {
                object: format!("the name {name}"),
                why: "is a digest: give a tag".to_owned(),
            });
        }
        let source = Source::open(path, self.scratch.as_fd())?;
        let found = layout::read(&source, path, name.as_ref())?;
        self.take_in(&source, &found, Origin::Imported, progress)
    }

    /// All images, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Summary> {
        let images = self.refs().images.clone();
        let line = |(reference, record): (String, Record)| Summary {
            reference,
            digest: record.digest,
            size_bytes: self.size_of(&record.layers).0,
            layers: record.layers.len(),
        };
        images.into_iter().map(line).collect()
    }

    /// The image that `reference` names: by tag, or by the digest of its manifest or
    /// configuration.
    ///
    /// # Errors
    /// [`ImageError::NotFound`]; others where the store is damaged.
    pub fn resolve(&self, reference: &str) -> Result<Image, ImageError> {
        let wanted = Reference::parse(reference)?;
        let now_ms = crate::clock::now_ms();
        let (record, pin) = {
            let refs = self.refs();
            let record = lookup(&refs, &wanted)
                .ok_or_else(|| ImageError::NotFound { reference: wanted.to_string() })?;
            let pin = self.pins.pin(record.layers.iter().copied());
            self.last_used().insert(wanted.to_string(), now_ms);
            (record.clone(), pin)
        };
        let bytes = self.read_blob(record.config)?;
        let config = document::config(&bytes, &format!("the configuration {}", record.config))?;
        let layer_dirs: Vec<PathBuf> =
            record.layers.iter().map(|layer| self.layer_dir(*layer)).collect();
        for (layer, dir) in record.layers.iter().zip(&layer_dirs) {
            std::fs::symlink_metadata(dir).map_err(failed("find the layer", layer.to_string()))?;
        }
        Ok(Image {
            reference: wanted.to_string(),
            digest: record.digest,
            config: config.run,
            implied_dirs: record.layers.iter().map(|layer| self.implied_dirs(*layer)).collect(),
            layers: record.layers,
            layer_dirs,
            _pin: Arc::new(pin),
        })
    }

    /// Takes the name `reference` away. Its layers go with the next [`Self::collect`], unless
    /// something else has them.
    ///
    /// # Errors
    /// [`ImageError::NotFound`]; the kernel's where the change can't be written.
    pub fn remove(&self, reference: &str) -> Result<(), ImageError> {
        let name = Reference::parse(reference)?.to_string();
        let mut refs = self.refs();
        let mut images = refs.images.clone();
        if images.remove(&name).is_none() {
            return Err(ImageError::NotFound { reference: name });
        }
        self.last_used().remove(&name);
        refs.replace(self.root.as_fd(), images)
    }

    /// Removes the layers and documents that no name has, no living [`Image`], and no container:
    /// `used` tells the layers that containers are mounted from. It is asked after the living
    /// images were counted, so that one that becomes a container in between is seen.
    ///
    /// # Errors
    /// That of `used`, and nothing is removed then; the kernel's, and what was not removed yet
    /// goes with the next call.
    pub fn collect(
        &self,
        used: impl FnOnce() -> io::Result<BTreeSet<Digest>>,
    ) -> Result<Freed, ImageError> {
        // Held throughout, so that no image is resolved or named in between.
        let refs = self.refs();
        let pinned = self.pins.pinned();
        let mut layers = used().map_err(failed("ask what containers use", "layers"))?;
        layers.extend(pinned);
        layers.extend(refs.images.values().flat_map(|record| record.layers.iter().copied()));
        let documents: BTreeSet<Digest> =
            refs.images.values().flat_map(|record| [record.digest, record.config]).collect();
        let mut freed = Freed::default();
        for (name, digest) in self.names_in(&self.layers, "layers")? {
            if !digest.is_some_and(|digest| layers.contains(&digest)) {
                freed.bytes += digest.map_or(0, |digest| self.size_of(&[digest]).0);
                freed.layers += 1;
                self.discard(self.layers.as_fd(), &name)?;
            }
        }
        for (name, digest) in self.names_in(&self.blobs, "blobs")? {
            if !digest.is_some_and(|digest| documents.contains(&digest)) {
                self.discard(self.blobs.as_fd(), &name)?;
            }
        }
        Ok(freed)
    }

    /// Makes room by the rules: takes the names of pulled images away that were idle long enough,
    /// then collects. Returns the names.
    ///
    /// # Errors
    /// As [`Self::remove`] and [`Self::collect`].
    pub fn clean_up(
        &self,
        used: impl Fn() -> io::Result<BTreeSet<Digest>>,
        now_ms: u64,
        rules: &CleanupRules,
    ) -> Result<Vec<String>, ImageError> {
        let in_use = used().map_err(failed("ask what containers use", "layers"))?;
        let chosen = cleanup::choose(self.pulled(), &in_use, now_ms, rules);
        for reference in &chosen {
            match self.remove(reference) {
                // A person was faster.
                Ok(()) | Err(ImageError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if !chosen.is_empty() {
            self.collect(used)?;
        }
        Ok(chosen)
    }

    /// The root directory of an unpacked layer.
    #[must_use]
    pub fn layer_dir(&self, layer: Digest) -> PathBuf {
        self.path.join("layers").join(layer.hex()).join("fs")
    }

    /// Where downloads that are not whole yet are kept.
    pub(crate) fn partial_dir(&self) -> PathBuf {
        self.path.join("partial")
    }

    /// Keeps the layers of `image` from being cleaned up.
    pub(crate) fn pin(&self, image: &Found) -> Pin {
        self.pins.pin(image.config.diff_ids.iter().copied())
    }

    /// The pulled images, and when each was used last as far as this process knows.
    fn pulled(&self) -> Vec<cleanup::Candidate> {
        let refs = self.refs();
        let last_used = self.last_used();
        let pulled = refs.images.iter().filter(|(_, record)| record.origin == Origin::Pulled);
        let candidate = |(reference, record): (&String, &Record)| cleanup::Candidate {
            reference: reference.clone(),
            layers: record.layers.clone(),
            last_used_ms: last_used.get(reference).copied().unwrap_or(self.opened_ms),
        };
        pulled.map(candidate).collect()
    }

    fn last_used(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        // Each change is one insertion: a panic elsewhere leaves the times whole.
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refs(&self) -> std::sync::MutexGuard<'_, Refs> {
        // The names are replaced in one assignment: a panic elsewhere leaves them whole.
        self.refs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lookup<'a>(refs: &'a Refs, wanted: &Reference) -> Option<&'a Record> {
    let exact = refs.images.get(&wanted.to_string());
    let (Target::Digest(digest), None) = (wanted.target(), exact) else { return exact };
    let same_repository = |name: &str| {
        Reference::parse(name)
            .is_ok_and(|name| name.domain() == wanted.domain() && name.path() == wanted.path())
    };
    let fits = |(name, record): &(&String, &Record)| {
        (record.digest == *digest || record.config == *digest) && same_repository(name)
    };
    refs.images.iter().find(fits).map(|(_, record)| record)
}

fn make_dir(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, ImageError> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(failed("make", name)(errno.into())),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    rooted::open(parent, name.as_bytes(), flags, Inside::Beneath).map_err(failed("open", name))
}

fn lock(root: &OwnedFd, path: &Path) -> Result<File, ImageError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(root, "lock", flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| failed("open", "lock")(errno.into()))?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(File::from(fd)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ImageError::Busy { path: path.to_owned() }),
        Err(errno) => Err(failed("lock", "lock")(errno.into())),
    }
}
