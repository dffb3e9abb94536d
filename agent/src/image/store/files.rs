//! The store's files: what is there, how large it is, and how it goes away.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use serde::{Deserialize, Serialize};

use super::{ImageStore, failed};
use crate::image::document::DOCUMENT_BYTES_MAX;
use crate::image::{Digest, ImageError};
use crate::rooted::{self, Inside};

/// What `layer.json` holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    pub(super) bytes: u64,
    pub(super) entries: u64,
    pub(super) devices_left_out: u64,
    /// Percent-encoded names of directories that the layer itself does not describe.
    #[serde(default)]
    pub(super) implied_dirs: Vec<String>,
}

/// Unfinished downloads older than this, in seconds, are removed when the store is opened.
const PARTIAL_AGE_S_MAX: i64 = 24 * 60 * 60;

/// A name in one of the store's folders, and the digest that it is.
pub(super) type Named = (Vec<u8>, Option<Digest>);
pub(super) const LAYER_RECORD: &str = "layer.json";
const LAYER_RECORD_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl ImageStore {
    pub(crate) fn has_layer(&self, layer: Digest) -> bool {
        let name = format!("{}/{LAYER_RECORD}", layer.hex());
        rooted::open_file(self.layers.as_fd(), name.as_bytes(), Inside::Beneath).is_ok()
    }

    /// Bytes, and device nodes left out, of these layers. A layer without a record counts nothing.
    pub(super) fn size_of(&self, layers: &[Digest]) -> (u64, u64) {
        layers
            .iter()
            .filter_map(|layer| self.layer_record(*layer))
            .fold((0, 0), |(bytes, devices), record| {
                (bytes + record.bytes, devices + record.devices_left_out)
            })
    }

    /// The directories of a layer that it does not describe itself.
    pub(super) fn implied_dirs(&self, layer: Digest) -> BTreeSet<Vec<u8>> {
        let names = self.layer_record(layer).map(|record| record.implied_dirs);
        let decode = |name: String| percent_encoding::percent_decode_str(&name).collect();
        names.unwrap_or_default().into_iter().map(decode).collect()
    }

    fn layer_record(&self, layer: Digest) -> Option<LayerRecord> {
        let name = format!("{}/{LAYER_RECORD}", layer.hex());
        let file = rooted::open_file(self.layers.as_fd(), name.as_bytes(), Inside::Beneath);
        let bytes = rooted::read_max(file.ok()?, LAYER_RECORD_BYTES_MAX).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn read_blob(&self, digest: Digest) -> Result<Vec<u8>, ImageError> {
        let object = digest.to_string();
        let file = rooted::open_file(self.blobs.as_fd(), digest.hex().as_bytes(), Inside::Beneath)
            .map_err(failed("open the document", &object))?;
        let bytes = rooted::read_max(file, DOCUMENT_BYTES_MAX)
            .map_err(failed("read the document", &object))?;
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(ImageError::Digest { object, expected: digest, found });
        }
        Ok(bytes)
    }

    /// What is in one of the store's folders, with the digest that a name is.
    pub(super) fn names_in(&self, dir: &OwnedFd, object: &str) -> Result<Vec<Named>, ImageError> {
        let list = || -> rustix::io::Result<Vec<Vec<u8>>> {
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::read_from(dir)? {
                let name = entry?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.push(name);
                }
            }
            Ok(names)
        };
        let names = list().map_err(|errno| failed("list", object)(errno.into()))?;
        let digest = |name: &[u8]| std::str::from_utf8(name).ok().and_then(Digest::from_hex);
        Ok(names.into_iter().map(|name| (name.clone(), digest(&name))).collect())
    }

    /// Moves something out of the way in one step, then removes it.
    pub(super) fn discard(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), ImageError> {
        let object = String::from_utf8_lossy(name).into_owned();
        let gone = format!("gone-{}", self.next_scratch.fetch_add(1, Ordering::Relaxed));
        rustix::fs::renameat(dir, name, &self.scratch, &gone)
            .map_err(|errno| failed("move away", &object)(errno.into()))?;
        rooted::remove_tree(self.scratch.as_fd(), gone.as_bytes()).map_err(failed("remove", object))
    }

    /// Empties scratch: nothing in it is in use, since no other process has the store open. Of
    /// the unfinished downloads, those go that nobody came back for.
    pub(super) fn sweep(&self) -> Result<(), ImageError> {
        for (name, _) in self.names_in(&self.scratch, "scratch")? {
            let object = String::from_utf8_lossy(&name).into_owned();
            rooted::remove_tree(self.scratch.as_fd(), &name).map_err(failed("remove", object))?;
        }
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        for (name, _) in self.names_in(&self.partial, "partial")? {
            let object = || format!("partial/{}", String::from_utf8_lossy(&name));
            let stat = rustix::fs::statat(&self.partial, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| failed("look at", object())(errno.into()))?;
            if PARTIAL_AGE_S_MAX < now - stat.st_mtime {
                rooted::remove_tree(self.partial.as_fd(), &name)
                    .map_err(failed("remove", object()))?;
            }
        }
        Ok(())
    }
}
