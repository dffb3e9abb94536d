//! Which images a source holds and where their parts are: an OCI image layout, or the archive of
//! `docker save`, `podman save` and `skopeo copy … docker-archive:`.
//!
//! Nothing is unpacked here; documents are read with their digests checked.

use super::blob::Expected;
use super::document::{
    self, Config, DOCUMENT_BYTES_MAX, Descriptor, DockerImage, Index, LAYERS_MAX, Manifest,
    Platform,
};
use super::source::Source;
use super::{Digest, ImageError, Reference};

/// Most images of one archive.
pub const IMAGES_PER_ARCHIVE_MAX: usize = 1000;

/// Indexes may lie in indexes, this deep.
const INDEX_DEPTH_MAX: usize = 4;

/// An image that can be imported.
pub(crate) struct Found {
    pub(crate) references: Vec<Reference>,
    /// The manifest, where the source has one.
    pub(crate) manifest: Option<(Digest, Vec<u8>)>,
    pub(crate) config_bytes: (Digest, Vec<u8>),
    pub(crate) config: Config,
    /// Bottom first, as many as the configuration has diff ids.
    pub(crate) layers: Vec<FoundLayer>,
}

/// A layer and where its blob is.
pub(crate) struct FoundLayer {
    pub(crate) member: Vec<u8>,
    pub(crate) expected: Expected,
}

/// Reads what `source` holds. `name` names its only image.
pub(crate) fn read(
    source: &Source,
    path: &std::path::Path,
    name: Option<&Reference>,
) -> Result<Vec<Found>, ImageError> {
    let mut images = if source.has(b"index.json") {
        oci(source, name.is_some())?
    } else if source.has(b"manifest.json") {
        docker(source, name.is_some())?
    } else {
        return Err(ImageError::NotAnImage { path: path.to_owned() });
    };
    if let Some(name) = name {
        let [image] = &mut images[..] else {
            let names = images.iter().flat_map(|image| &image.references).take(20);
            let names: Vec<String> = names.map(ToString::to_string).collect();
            let (count, names) = (images.len(), names.join(", "));
            return Err(ImageError::ManyImages { count, names });
        };
        image.references = vec![name.clone()];
    }
    match images.iter().find(|image| image.references.is_empty()) {
        Some(image) => Err(ImageError::Unnamed { digest: image.digest() }),
        None => Ok(images),
    }
}

impl Found {
    /// The image's digest: its manifest's, or its configuration's where it has no manifest.
    pub(crate) fn digest(&self) -> Digest {
        self.manifest.as_ref().map_or(self.config_bytes.0, |(digest, _)| *digest)
    }
}

fn inconsistent(object: &str, why: impl Into<String>) -> ImageError {
    ImageError::Inconsistent { object: object.to_owned(), why: why.into() }
}

fn oci(source: &Source, renamed: bool) -> Result<Vec<Found>, ImageError> {
    let index: Index =
        document::decode(&source.read(b"index.json", DOCUMENT_BYTES_MAX)?, "index.json")?;
    if IMAGES_PER_ARCHIVE_MAX < index.manifests.len() {
        let why = format!("names more than {IMAGES_PER_ARCHIVE_MAX} images");
        return Err(inconsistent("index.json", why));
    }
    let mut images: Vec<Found> = Vec::new();
    let mut other_platform = None;
    for descriptor in &index.manifests {
        let image = match oci_image(source, descriptor, 0) {
            Ok(image) => image,
            Err(error @ ImageError::Platform { .. }) => {
                other_platform = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let references = match descriptor.name() {
            Some(name) if !renamed => vec![Reference::parse(name)?],
            _ => Vec::new(),
        };
        // An image with several tags has a descriptor for each.
        match images.iter_mut().find(|known| known.digest() == image.digest()) {
            Some(known) => known.references.extend(references),
            None => images.push(Found { references, ..image }),
        }
    }
    match (images.is_empty(), other_platform) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(inconsistent("index.json", "names no image")),
        (false, _) => Ok(images),
    }
}

/// Follows a descriptor, through indexes, to the manifest for this node.
fn oci_image(source: &Source, top: &Descriptor, depth: usize) -> Result<Found, ImageError> {
    let bytes = document_blob(source, top)?;
    match content(&bytes, top.digest)? {
        Content::Index(chosen) if depth < INDEX_DEPTH_MAX => oci_image(source, &chosen, depth + 1),
        Content::Index(_) => {
            Err(inconsistent(&top.digest.to_string(), "is an index nested too deep"))
        }
        Content::Manifest(manifest) => {
            let config_bytes = document_blob(source, &manifest.config)?;
            found((top.digest, bytes), &manifest, config_bytes)
        }
    }
}

/// What a document that names an image can be.
pub(crate) enum Content {
    /// An index; this is its entry for this node.
    Index(Descriptor),
    /// A manifest.
    Manifest(Manifest),
}

/// Reads an index or a manifest. Their members decide which it is: old writers leave out the
/// media type, and registries get it wrong.
pub(crate) fn content(bytes: &[u8], digest: Digest) -> Result<Content, ImageError> {
    let object = format!("the manifest {digest}");
    let value: serde_json::Value = document::decode(bytes, &object)?;
    if value.get("manifests").is_some() {
        let index: Index = document::decode(bytes, &format!("the index {digest}"))?;
        return Ok(Content::Index(choose(index)?));
    }
    let manifest: Manifest = document::decode(bytes, &object)?;
    if LAYERS_MAX < manifest.layers.len() {
        return Err(inconsistent(&object, format!("names more than {LAYERS_MAX} layers")));
    }
    Ok(Content::Manifest(manifest))
}

/// An image from its documents. `config_bytes` were checked against the manifest.
pub(crate) fn found(
    (digest, bytes): (Digest, Vec<u8>),
    manifest: &Manifest,
    config_bytes: Vec<u8>,
) -> Result<Found, ImageError> {
    let object = format!("the configuration {}", manifest.config.digest);
    let config = document::config(&config_bytes, &object)?;
    check_platform(&config)?;
    let blobs = manifest.layers.iter().map(|layer| {
        let member = format!("blobs/sha256/{}", layer.digest.hex()).into_bytes();
        (member, Some((layer.digest, layer.size)))
    });
    Ok(Found {
        references: Vec::new(),
        layers: layers(&config, blobs.collect(), &object)?,
        manifest: Some((digest, bytes)),
        config_bytes: (manifest.config.digest, config_bytes),
        config,
    })
}

/// The entry of an index that is for this node.
fn choose(index: Index) -> Result<Descriptor, ImageError> {
    let here = Platform::here();
    let mut others = Vec::new();
    for descriptor in index.manifests {
        match &descriptor.platform {
            Some(platform) if *platform != here => others.push(platform.to_string()),
            _ => return Ok(descriptor),
        }
    }
    others.truncate(20);
    let found = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
    Err(ImageError::Platform { found, wanted: here.to_string() })
}

fn check_platform(config: &Config) -> Result<(), ImageError> {
    let here = Platform::here();
    if config.platform == here {
        return Ok(());
    }
    let found = config.platform.to_string();
    Err(ImageError::Platform { found, wanted: here.to_string() })
}

/// Reads a document from the layout and checks it against its descriptor.
fn document_blob(source: &Source, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
    let member = format!("blobs/sha256/{}", descriptor.digest.hex());
    let bytes = source.read(member.as_bytes(), DOCUMENT_BYTES_MAX)?;
    let (expected, found) = (descriptor.digest, Digest::of(&bytes));
    if expected != found {
        return Err(ImageError::Digest { object: member, expected, found });
    }
    if descriptor.size != bytes.len() as u64 {
        let (expected, found) = (descriptor.size, bytes.len() as u64);
        return Err(ImageError::Size { object: member, expected, found });
    }
    Ok(bytes)
}

type Blob = (Vec<u8>, Option<(Digest, u64)>);

/// Pairs blobs with the diff ids of the configuration.
fn layers(config: &Config, blobs: Vec<Blob>, object: &str) -> Result<Vec<FoundLayer>, ImageError> {
    if blobs.len() != config.diff_ids.len() {
        let (blobs, ids) = (blobs.len(), config.diff_ids.len());
        return Err(inconsistent(object, format!("has {ids} diff ids for {blobs} layers")));
    }
    let pairs = blobs.into_iter().zip(&config.diff_ids);
    Ok(pairs
        .map(|((member, blob), diff_id)| FoundLayer {
            member,
            expected: Expected { blob, diff_id: *diff_id },
        })
        .collect())
}

fn docker(source: &Source, renamed: bool) -> Result<Vec<Found>, ImageError> {
    let bytes = source.read(b"manifest.json", DOCUMENT_BYTES_MAX)?;
    let list: Vec<DockerImage> = document::decode(&bytes, "manifest.json")?;
    if IMAGES_PER_ARCHIVE_MAX < list.len() {
        let why = format!("names more than {IMAGES_PER_ARCHIVE_MAX} images");
        return Err(inconsistent("manifest.json", why));
    }
    if list.is_empty() {
        return Err(inconsistent("manifest.json", "names no image"));
    }
    list.into_iter().map(|image| docker_image(source, image, renamed)).collect()
}

fn docker_image(source: &Source, image: DockerImage, renamed: bool) -> Result<Found, ImageError> {
    let config_bytes = source.read(image.config.as_bytes(), DOCUMENT_BYTES_MAX)?;
    let found = Digest::of(&config_bytes);
    // The member is named by the digest, as `HEX.json` or `blobs/sha256/HEX`.
    let stem = image.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if let Some(expected) = Digest::from_hex(stem)
        && expected != found
    {
        return Err(ImageError::Digest { object: image.config, expected, found });
    }
    let config = document::config(&config_bytes, &image.config)?;
    check_platform(&config)?;
    let blobs = image.layers.into_iter().map(|member| (member.into_bytes(), None)).collect();
    let tags = if renamed { &[][..] } else { &image.repo_tags[..] };
    let references = tags.iter().map(|tag| Reference::parse(tag));
    Ok(Found {
        references: references.collect::<Result<_, _>>()?,
        manifest: None,
        layers: layers(&config, blobs, &image.config)?,
        config_bytes: (found, config_bytes),
        config,
    })
}
