//! Why a pull failed.

use std::io;
use std::path::PathBuf;

use super::credentials::CredentialsError;
use super::place::PlaceError;
use super::request::HttpError;
use super::session::REDIRECTS_MAX;
use crate::image::{Digest, ImageError};

/// Why an image could not be pulled. What was downloaded of it stays, for the next try.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Neither here nor to be had from its registry.
    #[error(
        "image {reference} is not on this node (`loadline image import` brings it) and can't be \
         pulled"
    )]
    NotHere {
        /// The reference in its full form.
        reference: String,
        /// Why it can't be pulled.
        source: Box<PullError>,
    },
    /// The exchange with the registry.
    #[error("exchange with the registry")]
    Http(#[from] HttpError),
    /// A URL that must not be followed.
    #[error("follow the registry")]
    Place(#[from] PlaceError),
    /// Credentials that can't be found out.
    #[error("find the registry's credentials")]
    Credentials(#[from] CredentialsError),
    /// The image itself, or the store.
    #[error("take the image in")]
    Image(#[from] ImageError),
    /// Not allowed as who is asking.
    #[error("{registry} refused {repository} {with}: log in with `docker login` or name a config")]
    Unauthorized {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// As whom it was asked.
        with: String,
    },
    /// Not allowed at all.
    #[error("{url} is denied: {words}")]
    Denied {
        /// What was asked for.
        url: String,
        /// The registry's words.
        words: String,
    },
    /// Not there.
    #[error("{url} does not exist: {words}")]
    NotFound {
        /// What was asked for.
        url: String,
        /// The registry's words.
        words: String,
    },
    /// Another answer than success.
    #[error("{url} answered {status}: {words}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The registry's words.
        words: String,
    },
    /// Sent on and on.
    #[error("{url} led through more than {REDIRECTS_MAX} redirects")]
    Redirects {
        /// What was asked for.
        url: String,
    },
    /// A token service without a token.
    #[error("{url} answered without a token")]
    NoToken {
        /// The token service.
        url: String,
    },
    /// Something that can't stand in a header.
    #[error("the {name} header can't hold what belongs there")]
    Header {
        /// Which header.
        name: &'static str,
    },
    /// More than was announced.
    #[error("the blob {digest} is longer than the {expected} bytes that its manifest says")]
    TooLong {
        /// Which blob.
        digest: Digest,
        /// What the manifest says.
        expected: u64,
    },
    /// Less than was announced.
    #[error("the blob {digest} ended after {found} of {expected} bytes")]
    TooShort {
        /// Which blob.
        digest: Digest,
        /// What the manifest says.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The files of unfinished blobs.
    #[error("{step} {}", path.display())]
    Disk {
        /// What was done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// No server can be believed.
    #[error(transparent)]
    Trust(#[from] loadline_proto::trust::TrustError),
    /// The unpacking was cut off.
    #[error("unpack the image")]
    Unpack(#[from] tokio::task::JoinError),
}

impl PullError {
    pub(super) fn header(name: &'static str) -> Self {
        Self::Header { name }
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Http(error) => {
                !matches!(error, HttpError::TooLarge { .. } | HttpError::Url { .. })
            }
            Self::Status { status, .. } => *status == 429 || *status == 416 || 500 <= *status,
            Self::TooShort { .. } => true,
            _ => false,
        }
    }

    /// Whether the registry's host could not be reached at all.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Http(HttpError::Connect { .. }))
    }
}
