//! The JSON documents of an image, decoded without judgement beyond their shape and bounds.
//!
//! `oci-spec` has types for them too; these are here because registries and `docker save` write
//! `null` where the specification wants a list, and because a digest is a [`Digest`] from the
//! first moment on.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{Digest, ImageError};

/// Largest index, manifest or configuration, in bytes (registries accept 4 MiB at most).
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Most layers of one image (docker's own bound; overlayfs takes 500).
pub const LAYERS_MAX: usize = 127;

/// Annotation with the whole name of an image in an OCI layout, as containerd and docker write it.
const FULL_NAME: &str = "io.containerd.image.name";
/// Annotation with a name or only a tag (image spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What an index or manifest says about a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
    pub(crate) platform: Option<Platform>,
}

impl Descriptor {
    /// The name that the layout gives this image, if any.
    pub(crate) fn name(&self) -> Option<&str> {
        self.annotations.get(FULL_NAME).or_else(|| self.annotations.get(REF_NAME)).map(|s| &s[..])
    }
}

/// For which machines something is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

impl Platform {
    /// This node's, in Go's words, which images use.
    pub(crate) fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { architecture: architecture.to_owned(), os: "linux".to_owned() }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// `index.json`, or an image index.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) manifests: Vec<Descriptor>,
}

/// An image manifest (OCI, or docker's schema 2).
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) layers: Vec<Descriptor>,
}

/// One image of a docker archive's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerImage {
    pub(crate) config: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) layers: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct ConfigDocument {
    architecture: String,
    os: String,
    #[serde(default, deserialize_with = "null_is_default")]
    config: RunDocument,
    rootfs: RootfsDocument,
}

#[derive(Debug, Deserialize)]
struct RootfsDocument {
    #[serde(default, deserialize_with = "null_is_default")]
    diff_ids: Vec<Digest>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RunDocument {
    #[serde(deserialize_with = "null_is_default")]
    user: String,
    #[serde(deserialize_with = "null_is_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    volumes: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "null_is_default")]
    working_dir: String,
    #[serde(deserialize_with = "null_is_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    stop_signal: String,
}

/// What an image says about how to run it. Empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`.
    pub user: String,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments after the entrypoint; the command itself where there is none.
    pub cmd: Vec<String>,
    /// Absolute paths that want a volume.
    pub volumes: Vec<String>,
    /// Where the program starts.
    pub working_dir: String,
    /// Data of the image's maker, never instructions.
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the program to end, as a name or number.
    pub stop_signal: String,
}

/// A configuration with what the store needs of it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) run: ImageConfig,
    pub(crate) platform: Platform,
    pub(crate) diff_ids: Vec<Digest>,
}

/// Decodes `bytes` as a `T`.
pub(crate) fn decode<T: for<'a> Deserialize<'a>>(
    bytes: &[u8],
    object: &str,
) -> Result<T, ImageError> {
    serde_json::from_slice(bytes)
        .map_err(|source| ImageError::Document { object: object.to_owned(), source })
}

/// Decodes an image configuration.
pub(crate) fn config(bytes: &[u8], object: &str) -> Result<Config, ImageError> {
    let ConfigDocument { architecture, os, config, rootfs } = decode(bytes, object)?;
    let inconsistent = |why| ImageError::Inconsistent { object: object.to_owned(), why };
    if LAYERS_MAX < rootfs.diff_ids.len() {
        return Err(inconsistent(format!("names more than {LAYERS_MAX} layers")));
    }
    let run = ImageConfig {
        user: config.user,
        env: config.env,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: config.volumes.into_keys().collect(),
        working_dir: config.working_dir,
        labels: config.labels,
        stop_signal: config.stop_signal,
    };
    let nul = |text: &String| text.contains('\0');
    let lists = [&run.env, &run.entrypoint, &run.cmd, &run.volumes];
    if lists.into_iter().flatten().any(nul) || nul(&run.working_dir) || nul(&run.user) {
        return Err(inconsistent("has a NUL byte in its configuration".to_owned()));
    }
    Ok(Config { run, platform: Platform { architecture, os }, diff_ids: rootfs.diff_ids })
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_an_empty_list() {
        let text = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers",
            "diff_ids":null},"config":{"Env":null,"Cmd":["sh"],"Volumes":{"/data":{}},
            "Healthcheck":{"Test":["NONE"]}}}"#;
        let config = config(text, "config").unwrap();
        assert_eq!(config.run.cmd, ["sh"]);
        assert_eq!(config.run.volumes, ["/data"]);
        assert_eq!((config.run.env.len(), config.diff_ids.len()), (0, 0));
    }

    #[test]
    fn a_digest_that_is_a_path_is_refused() {
        let text = br#"{"config":{"digest":"sha256:../../../etc/passwd","size":1}}"#;
        let error = decode::<Manifest>(text, "manifest").unwrap_err();
        assert!(matches!(error, ImageError::Document { .. }));
    }

    #[test]
    fn more_layers_than_the_bound_are_refused() {
        let with = |count| {
            let id = format!("\"sha256:{}\"", "0".repeat(64));
            let ids = vec![id; count].join(",");
            let head = r#"{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":["#;
            config(format!("{head}{ids}]}}}}").as_bytes(), "config")
        };
        assert!(with(LAYERS_MAX).is_ok());
        assert!(with(LAYERS_MAX + 1).is_err());
    }
}
