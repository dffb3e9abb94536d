//! Pulling from any OCI registry (distribution specification 1.1): HTTP or TLS, without, basic or
//! token authentication, docker's `config.json` and its credential helpers.
//!
//! ```text
//!  reference ─▶ manifest (index ─▶ this platform's) ─▶ configuration ─▶ missing layers, several
//!  at once, each resumable ─▶ store
//! ```
//!
//! Invariants: credentials go to the registry's own origin, and to the token service that it
//! names, never to where it redirects. TLS is never left. Everything is checked against its digest
//! before it is used. A layer that is in the store is not asked for.
//!
//! Deliberately absent: HTTP proxies, mirrors, and pushing.

mod challenge;
mod credentials;
mod download;
mod error;
mod place;
mod policy;
mod request;
mod session;

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use loadline_proto::trust;

use super::document::DOCUMENT_BYTES_MAX;
use super::layout::{self, Content, Found, FoundLayer};
use super::refs::Origin;
use super::store::Blobs;
use super::{Digest, Image, ImageError, ImageStore, Imported, Progress, Reference, Target};
use download::{Contact, Downloads, Gain, Wanted};
use session::Session;

pub use credentials::{Credentials, CredentialsError};
pub use download::TRIES_MAX;
pub use error::PullError;
pub use place::{Endpoint, PlaceError, Security};
pub use policy::{PullBehaviour, UnknownBehaviour};
pub use request::{CONNECT_TIMEOUT, HttpError, INACTIVITY_TIMEOUT};
pub use session::REDIRECTS_MAX;

/// Layers of one image that are downloaded at the same time (docker's default).
pub const DOWNLOADS_AT_ONCE: usize = 3;

/// Indexes may lie in indexes, this deep.
const INDEX_DEPTH_MAX: usize = 4;

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// Told how far a pull is.
pub type Report<'a> = &'a (dyn Fn(Progress) + Sync);

/// How registries are spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullOptions {
    /// Docker's `config.json` with credentials, where there is one.
    pub docker_config: Option<PathBuf>,
    /// Registries, as they stand in references, that speak plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Certificate authorities beside the host's own, PEM.
    pub ca_file: Option<PathBuf>,
}

/// Pulls images into a store.
#[derive(Debug)]
pub struct Puller {
    store: Arc<ImageStore>,
    http: request::Http,
    options: PullOptions,
    /// One pull at a time for each repository: the others then find its layers in the store.
    repositories: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Puller {
    /// A puller into `store`.
    ///
    /// # Errors
    /// [`PullError::Trust`] where the extra authorities can't be read.
    pub fn new(store: Arc<ImageStore>, options: PullOptions) -> Result<Self, PullError> {
        let http = request::Http::new(trust::of_the_web(options.ca_file.as_deref())?);
        Ok(Self { store, http, options, repositories: Mutex::default() })
    }

    /// The image of `reference`, by the ECS agent's rules for when to pull.
    ///
    /// # Errors
    /// [`PullError`] where it can't be had.
    pub async fn obtain(
        &self,
        reference: &str,
        behaviour: PullBehaviour,
        report: Report<'_>,
    ) -> Result<Image, PullError> {
        let cached = self.store.resolve(reference);
        let steps = policy::decide(behaviour, cached.is_ok());
        if !steps.pull {
            return Ok(cached?);
        }
        match self.pull(reference, report).await {
            Ok(_) => Ok(self.store.resolve(reference)?),
            Err(error) => match cached {
                Ok(image) if steps.fall_back => {
                    tracing::warn!(reference, %error, "not pulled: the image that is here serves");
                    Ok(image)
                }
                Err(ImageError::NotFound { reference }) => {
                    Err(PullError::NotHere { reference, source: Box::new(error) })
                }
                _ => Err(error),
            },
        }
    }

    /// Pulls `reference`. What is in the store already is not downloaded again.
    ///
    /// # Errors
    /// [`PullError`]; the store is then as it was, and the next try goes on with the layers.
    pub async fn pull(&self, reference: &str, report: Report<'_>) -> Result<Imported, PullError> {
        let reference = Reference::parse(reference).map_err(ImageError::Reference)?;
        let repository = format!("{}/{}", reference.domain(), reference.path());
        let lock = self.lock_of(&repository);
        let pulled = {
            let _held = lock.lock().await;
            self.pull_alone(&reference, &repository, report).await
        };
        drop(lock);
        self.forget_lock(&repository);
        pulled
    }

    async fn pull_alone(
        &self,
        reference: &Reference,
        repository: &str,
        report: Report<'_>,
    ) -> Result<Imported, PullError> {
        let credentials = match &self.options.docker_config {
            Some(path) => credentials::of(path, reference.domain()).await?,
            None => None,
        };
        let endpoint = Endpoint::of(reference, &self.options.insecure_registries)?;
        let session = Session::new(&self.http, endpoint, reference.path(), credentials);
        let mut found = image(&session, reference).await?;
        found.references = vec![reference.clone()];
        let prefix = &Digest::of(repository.as_bytes()).hex()[..16];
        let dir = self.store.partial_dir();
        // Held from here on, so that a clean-up leaves the layers that were found present.
        let pin = self.store.pin(&found);
        let wanted = wanted(&found, |layer| self.store.has_layer(layer));
        let downloads = Downloads {
            session: &session,
            dir: &dir,
            prefix,
            done_bytes: AtomicU64::new(0),
            total_bytes: wanted.iter().map(|wanted| wanted.bytes).sum(),
            report,
        };
        let each = stream::iter(wanted.iter().copied().map(|wanted| downloads.blob(wanted)));
        let files: Vec<PathBuf> = each.buffer_unordered(DOWNLOADS_AT_ONCE).try_collect().await?;
        let files_of = Files { dir: dir.clone(), prefix: prefix.to_owned() };
        let store = Arc::clone(&self.store);
        let taken = tokio::task::spawn_blocking(move || {
            let taken = store.take_in(&files_of, &[found], Origin::Pulled, &mut |_| {});
            drop(pin);
            taken
        });
        let taken = taken.await?;
        let is_damaged = matches!(
            &taken,
            Err(ImageError::Digest { .. } | ImageError::Size { .. } | ImageError::Layer { .. })
        );
        if taken.is_ok() || is_damaged {
            for file in files {
                // Left over, it is removed when the store is opened the next time.
                let _ = tokio::fs::remove_file(file).await;
            }
        }
        let (object, why) = (reference.to_string(), "was taken in without its name".to_owned());
        let nameless = ImageError::Inconsistent { object, why };
        taken?.into_iter().next().ok_or_else(|| nameless.into())
    }

    fn lock_of(&self, repository: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(repository.to_owned()).or_default())
    }

    fn forget_lock(&self, repository: &str) {
        let mut locks = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.get(repository).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(repository);
        }
    }
}

/// Downloaded blobs, for the store to take in.
struct Files {
    dir: PathBuf,
    prefix: String,
}

impl Blobs for Files {
    fn blob(&self, layer: &FoundLayer) -> Result<(Box<dyn Read + '_>, u64), ImageError> {
        let digest = layer.expected.blob.map_or(layer.expected.diff_id, |(digest, _)| digest);
        let path = download::file_of(&self.dir, &self.prefix, digest);
        let failed = |source| ImageError::Source { object: path.display().to_string(), source };
        let file = std::fs::File::open(&path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok((Box::new(file), bytes))
    }
}

/// The blobs to download: each once, and none whose content is in the store.
fn wanted(found: &Found, has: impl Fn(Digest) -> bool) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for layer in &found.layers {
        let Some((digest, bytes)) = layer.expected.blob else { continue };
        let new = Wanted { digest, bytes };
        if !has(layer.expected.diff_id) && !wanted.contains(&new) {
            wanted.push(new);
        }
    }
    wanted
}

/// Fetches the documents of an image, down to this platform's manifest and its configuration.
async fn image(session: &Session<'_>, reference: &Reference) -> Result<Found, PullError> {
    let mut path = place::manifest_path(reference);
    let mut expected = match reference.target() {
        Target::Digest(digest) => Some(*digest),
        Target::Tag(_) => None,
    };
    for _ in 0..=INDEX_DEPTH_MAX {
        let bytes = document(session, &path, MANIFESTS).await?;
        let digest = Digest::of(&bytes);
        check(&path, expected, digest)?;
        match layout::content(&bytes, digest)? {
            Content::Index(chosen) => {
                path = format!("{}/manifests/{}", session.repository, chosen.digest);
                expected = Some(chosen.digest);
            }
            Content::Manifest(manifest) => {
                let config = manifest.config.digest;
                let path = format!("{}/blobs/{config}", session.repository);
                let config_bytes = document(session, &path, "*/*").await?;
                check(&path, Some(config), Digest::of(&config_bytes))?;
                return Ok(layout::found((digest, bytes), &manifest, config_bytes)?);
            }
        }
    }
    let (object, why) = (reference.to_string(), "is an index nested too deep".to_owned());
    Err(ImageError::Inconsistent { object, why }.into())
}

fn check(path: &str, expected: Option<Digest>, found: Digest) -> Result<(), PullError> {
    match expected {
        Some(expected) if expected != found => {
            Err(ImageError::Digest { object: path.to_owned(), expected, found }.into())
        }
        _ => Ok(()),
    }
}

async fn document(session: &Session<'_>, path: &str, accept: &str) -> Result<Vec<u8>, PullError> {
    download::with_retries(Contact::First, || async {
        let nothing = |error| (error, Gain::None);
        let (response, url) = session.get(path, accept, 0).await.map_err(nothing)?;
        let bytes = request::whole(response.into_body(), &url, DOCUMENT_BYTES_MAX).await;
        bytes.map_err(|error| nothing(error.into()))
    })
    .await
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
