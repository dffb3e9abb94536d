//! An import, step by step: unpack into scratch, move to its place, name.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{Mode, RenameFlags};

use super::files::{LAYER_RECORD, LayerRecord};
use super::{ImageStore, Imported, Progress, failed, make_dir};
use crate::image::layout::{Found, FoundLayer};
use crate::image::refs::{Origin, Record};
use crate::image::source::Source;
use crate::image::{Digest, ImageError, blob};
use crate::rooted;
use crate::supervise::disk::Durability;

/// Where the blobs of an image come from.
pub(crate) trait Blobs {
    /// A layer's blob, and its length in bytes.
    fn blob(&self, layer: &FoundLayer) -> Result<(Box<dyn Read + '_>, u64), ImageError>;
}

impl Blobs for Source {
    fn blob(&self, layer: &FoundLayer) -> Result<(Box<dyn Read + '_>, u64), ImageError> {
        self.member(&layer.member)
    }
}

/// What an import has unpacked and not yet published. Removed when dropped.
struct Staged<'a> {
    store: &'a ImageStore,
    layers: BTreeMap<Digest, String>,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        for name in self.layers.values() {
            // What can't be removed now is scratch that the next open removes.
            let _ = rooted::remove_tree(self.store.scratch.as_fd(), name.as_bytes());
        }
    }
}

/// Reports what is read through it.
struct Counted<'a, R> {
    inner: R,
    progress: &'a mut Progress,
    report: &'a mut dyn FnMut(Progress),
    reported_bytes: u64,
}

/// Progress is told each time this many bytes were read.
const PROGRESS_STEP_BYTES: u64 = 256 * 1024;

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.done_bytes += count as u64;
        if PROGRESS_STEP_BYTES <= self.progress.done_bytes - self.reported_bytes {
            self.reported_bytes = self.progress.done_bytes;
            (self.report)(*self.progress);
        }
        Ok(count)
    }
}

impl ImageStore {
    /// Takes images in, whose documents were checked: all of them or none.
    pub(crate) fn take_in(
        &self,
        blobs: &dyn Blobs,
        found: &[Found],
        origin: Origin,
        report: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Imported>, ImageError> {
        let pin = self.pins.pin(found.iter().flat_map(|image| image.config.diff_ids.clone()));
        let staged = self.stage(blobs, found, report)?;
        self.publish(staged)?;
        let imported = self.name(found, origin)?;
        drop(pin);
        Ok(imported)
    }

    /// Unpacks into scratch the layers that are not here yet.
    fn stage(
        &self,
        blobs: &dyn Blobs,
        found: &[Found],
        report: &mut dyn FnMut(Progress),
    ) -> Result<Staged<'_>, ImageError> {
        let mut missing: BTreeMap<Digest, &FoundLayer> = BTreeMap::new();
        for layer in found.iter().flat_map(|image| &image.layers) {
            if !self.has_layer(layer.expected.diff_id) {
                missing.insert(layer.expected.diff_id, layer);
            }
        }
        let mut progress = Progress::default();
        for layer in missing.values() {
            progress.total_bytes += blobs.blob(layer)?.1;
        }
        report(progress);
        let mut staged = Staged { store: self, layers: BTreeMap::new() };
        for (diff_id, layer) in missing {
            let name = format!("layer-{}", self.next_scratch.fetch_add(1, Ordering::Relaxed));
            staged.layers.insert(diff_id, name.clone());
            self.stage_layer(blobs, layer, &name, &mut progress, report)?;
        }
        progress.done_bytes = progress.total_bytes;
        report(progress);
        Ok(staged)
    }

    fn stage_layer(
        &self,
        blobs: &dyn Blobs,
        layer: &FoundLayer,
        name: &str,
        progress: &mut Progress,
        report: &mut dyn FnMut(Progress),
    ) -> Result<(), ImageError> {
        let dir = make_dir(self.scratch.as_fd(), name)?;
        let root = make_dir(dir.as_fd(), "fs")?;
        // What an image does not say about its root directory: as docker has it.
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755))
            .map_err(|errno| failed("set the mode of", name)(errno.into()))?;
        let (reader, _) = blobs.blob(layer)?;
        let reported_bytes = progress.done_bytes;
        let reader = Counted { inner: reader, progress, report, reported_bytes };
        let unpacked = blob::unpack(reader, &layer.expected, root.as_fd(), &self.limits)?;
        let record = LayerRecord {
            bytes: unpacked.bytes,
            entries: unpacked.entries,
            devices_left_out: unpacked.devices_left_out,
            implied_dirs: unpacked.implied_dirs.iter().map(|name| encode(name)).collect(),
        };
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| failed("write", LAYER_RECORD)(io::Error::other(error)))?;
        rooted::write_atomic(dir.as_fd(), LAYER_RECORD, &bytes, Durability::Power)
            .map_err(failed("write", format!("{name}/{LAYER_RECORD}")))
    }

    /// Moves what is unpacked to its place, once it is all on the disk.
    fn publish(&self, staged: Staged<'_>) -> Result<(), ImageError> {
        if staged.layers.is_empty() {
            return Ok(());
        }
        let sync = |fd: &OwnedFd, step| {
            rustix::fs::fsync(fd).map_err(|errno| failed(step, "layers")(errno.into()))
        };
        rustix::fs::syncfs(&self.scratch)
            .map_err(|errno| failed("sync", "scratch")(errno.into()))?;
        for (diff_id, name) in &staged.layers {
            let (from, to, layer) = (&self.scratch, &self.layers, diff_id.hex());
            match rustix::fs::renameat_with(from, name, to, &layer, RenameFlags::NOREPLACE) {
                // Another import was first with the same content.
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(failed("publish the layer", layer)(errno.into())),
            }
        }
        sync(&self.layers, "sync")
    }

    /// Writes the documents, then the names.
    fn name(&self, found: &[Found], origin: Origin) -> Result<Vec<Imported>, ImageError> {
        let mut refs = self.refs();
        let mut images = refs.images.clone();
        let mut imported = Vec::new();
        for image in found {
            let record = Record {
                digest: image.digest(),
                config: image.config_bytes.0,
                layers: image.config.diff_ids.clone(),
                origin,
            };
            for (digest, bytes) in image.manifest.iter().chain([&image.config_bytes]) {
                rooted::write_atomic(self.blobs.as_fd(), &digest.hex(), bytes, Durability::Power)
                    .map_err(failed("write the document", digest.to_string()))?;
            }
            let (size_bytes, devices_left_out) = self.size_of(&record.layers);
            for reference in &image.references {
                images.insert(reference.to_string(), record.clone());
                let (reference, digest) = (reference.to_string(), record.digest);
                imported.push(Imported { reference, digest, size_bytes, devices_left_out });
            }
        }
        refs.replace(self.root.as_fd(), images)?;
        Ok(imported)
    }
}

fn encode(name: &[u8]) -> String {
    percent_encoding::percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}
