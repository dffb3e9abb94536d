//! The names of a store: one file, replaced whole and synced at each change.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use super::{Digest, ImageError};
use crate::rooted::{self, Inside};
use crate::supervise::disk::Durability;

/// Most names in one store.
pub const IMAGES_MAX: usize = 10_000;

const FILE: &str = "refs.json";
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
const VERSION: u32 = 1;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Of the manifest, or of the configuration where the image came without one.
    pub(super) digest: Digest,
    pub(super) config: Digest,
    /// Diff ids, bottom first.
    pub(super) layers: Vec<Digest>,
    #[serde(default)]
    pub(super) origin: Origin,
}

/// How an image came here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// By a person: it stays.
    #[default]
    Imported,
    /// For a task: it can be had again.
    Pulled,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    version: u32,
    images: BTreeMap<String, Record>,
}

/// The names, as they are on disk.
#[derive(Debug, Default)]
pub(super) struct Refs {
    pub(super) images: BTreeMap<String, Record>,
}

fn failed(step: &'static str) -> impl FnOnce(std::io::Error) -> ImageError {
    move |source| ImageError::Store { step, object: FILE.to_owned(), source }
}

impl Refs {
    pub(super) fn load(store: BorrowedFd<'_>) -> Result<Self, ImageError> {
        let file = match rooted::open_file(store, FILE.as_bytes(), Inside::Beneath) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(failed("open")(error)),
        };
        let bytes = rooted::read_max(file, FILE_BYTES_MAX).map_err(failed("read"))?;
        let document: Document = serde_json::from_slice(&bytes)
            .map_err(|error| failed("understand")(std::io::Error::other(error)))?;
        if document.version != VERSION {
            let why = format!("version {} where {VERSION} is known", document.version);
            return Err(failed("understand")(std::io::Error::other(why)));
        }
        Ok(Self { images: document.images })
    }

    /// Writes `images` and, once they are on disk, takes them over.
    pub(super) fn replace(
        &mut self,
        store: BorrowedFd<'_>,
        images: BTreeMap<String, Record>,
    ) -> Result<(), ImageError> {
        if IMAGES_MAX < images.len() {
            return Err(ImageError::Full { images_max: IMAGES_MAX });
        }
        let document = Document { version: VERSION, images };
        let bytes = serde_json::to_vec_pretty(&document)
            .map_err(|error| failed("write")(std::io::Error::other(error)))?;
        rooted::write_atomic(store, FILE, &bytes, Durability::Power).map_err(failed("write"))?;
        self.images = document.images;
        Ok(())
    }
}
