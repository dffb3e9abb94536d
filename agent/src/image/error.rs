//! What can go wrong with images, each naming its object.

use std::io;
use std::path::PathBuf;

use super::unpack::UnpackError;
use super::{Digest, InvalidReference};

/// Why an image operation failed. Nothing of it is left in the store then.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Text that is no reference.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// No such image here.
    #[error("image {reference} is not on this node: import it with `loadline image import`")]
    NotFound {
        /// The reference in its full form.
        reference: String,
    },
    /// The store's own files.
    #[error("{step} {object} in the image store")]
    Store {
        /// What was done.
        step: &'static str,
        /// To what.
        object: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("the image store {} is in use by another agent", path.display())]
    Busy {
        /// The store's folder.
        path: PathBuf,
    },
    /// What is being imported can't be read.
    #[error("read {object} of the image")]
    Source {
        /// The file or archive member.
        object: String,
        /// The error.
        source: io::Error,
    },
    /// The archive around an image is damaged.
    #[error("read the archive {}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        source: super::tar::TarError,
    },
    /// Neither of the two forms.
    #[error(
        "{} is no image: it has neither an index.json (OCI layout) nor a manifest.json (docker \
         archive)",
        path.display()
    )]
    NotAnImage {
        /// The file or folder.
        path: PathBuf,
    },
    /// A JSON document of the image that does not say what it must.
    #[error("understand {object} of the image")]
    Document {
        /// The document.
        object: String,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// A document that contradicts itself or goes beyond a bound.
    #[error("{object} of the image {why}")]
    Inconsistent {
        /// The document.
        object: String,
        /// What is wrong.
        why: String,
    },
    /// Content that is not what its digest says: truncated or altered.
    #[error("{object} of the image is truncated or altered: expected {expected}, found {found}")]
    Digest {
        /// Which content.
        object: String,
        /// What the image says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Content of another length than its descriptor says.
    #[error("{object} of the image has {found} bytes where its descriptor says {expected}")]
    Size {
        /// Which content.
        object: String,
        /// What the image says.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A layer that can't be unpacked.
    #[error("unpack the layer {layer}")]
    Layer {
        /// The layer's blob or diff id.
        layer: String,
        /// Why.
        source: UnpackError,
    },
    /// Made for other machines.
    #[error("the image is for {found}, and this node is {wanted}")]
    Platform {
        /// What there is.
        found: String,
        /// What this node runs.
        wanted: String,
    },
    /// An image without a usable name, and none was given.
    #[error("the image {digest} has no name in its archive: give it one with --name")]
    Unnamed {
        /// Which image.
        digest: Digest,
    },
    /// One name for several images.
    #[error("a name was given, but the archive holds {count} images: {names}")]
    ManyImages {
        /// How many.
        count: usize,
        /// Their names.
        names: String,
    },
    /// The store's bound on names.
    #[error("the image store holds {images_max} names already: remove some")]
    Full {
        /// The bound.
        images_max: usize,
    },
}
