//! Images as people hand them over: an OCI layout folder, or the archive of `docker save`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::bundle::{PROBE, make_folders, make_rootfs};
use crate::folders;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image to write in one of the two forms.
#[derive(Clone, Debug)]
pub struct Image {
    reference: String,
    layers: Vec<PathBuf>,
    config: Map<String, Value>,
}

impl Image {
    /// An image without layers. `reference` is, for example, `probe:latest`.
    #[must_use]
    pub fn new(reference: &str) -> Self {
        Self { reference: reference.to_owned(), layers: Vec::new(), config: Map::new() }
    }

    /// An image of the probe alone: its entry point is the probe, its command `true`.
    ///
    /// # Errors
    /// Where the probe can't be built or packed.
    pub fn probe(reference: &str) -> anyhow::Result<Self> {
        Ok(Self::new(reference)
            .layer(probe_layer()?)
            .config("Entrypoint", json!([PROBE]))
            .config("Cmd", json!(["true"]))
            .config("Env", json!(["PATH=/bin", "FROM_IMAGE=yes"])))
    }

    /// An image of Debian's static busybox with all of its commands: a shell and small tools.
    ///
    /// # Errors
    /// Where no busybox is installed, or it can't be packed.
    pub fn busybox(reference: &str) -> anyhow::Result<Self> {
        Ok(Self::new(reference)
            .layer(busybox_layer()?)
            .config("Cmd", json!(["sh"]))
            .config("Env", json!(["PATH=/bin"])))
    }

    /// Adds the probe to it, at its usual place.
    ///
    /// # Errors
    /// As [`Image::probe`].
    pub fn with_probe(self) -> anyhow::Result<Self> {
        Ok(self.layer(probe_layer()?))
    }

    /// Adds a layer: an uncompressed tar file.
    #[must_use]
    pub fn layer(mut self, tar: PathBuf) -> Self {
        self.layers.push(tar);
        self
    }

    /// Sets a field of the image's configuration ("Entrypoint", "Cmd", "Env", "User" …).
    #[must_use]
    pub fn config(mut self, field: &str, value: Value) -> Self {
        self.config.insert(field.to_owned(), value);
        self
    }

    /// Writes an OCI layout into `folder`, with compressed layers.
    ///
    /// # Errors
    /// Where a file can't be read or written.
    pub fn write_oci_layout(&self, folder: &Path) -> anyhow::Result<()> {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("make {}", blobs.display()))?;
        let mut layers = Vec::new();
        for tar in &self.layers {
            layers.push(add_layer(&blobs, tar)?);
        }
        let config = add_json(&blobs, CONFIG_TYPE, &self.image_config()?)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config,
            "layers": layers
        });
        let mut descriptor = add_json(&blobs, MANIFEST_TYPE, &manifest)?;
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": self.reference });
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        write(&folder.join("index.json"), index.to_string().as_bytes())?;
        write(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// Writes an archive as `docker save` does, with uncompressed layers.
    ///
    /// # Errors
    /// Where a file can't be read or written.
    pub fn write_docker_archive(&self, file: &Path) -> anyhow::Result<()> {
        let out = File::create(file).with_context(|| format!("make {}", file.display()))?;
        let mut archive = tar::Builder::new(out);
        let mut names = Vec::new();
        for tar in &self.layers {
            let name = format!("{}/layer.tar", sha256_of(tar)?);
            if !names.contains(&name) {
                archive.append_path_with_name(tar, &name).context("pack a layer")?;
            }
            names.push(name);
        }
        let config = self.image_config()?.to_string().into_bytes();
        let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
        append(&mut archive, &config_name, &config)?;
        let manifest =
            json!([{ "Config": config_name, "RepoTags": [self.reference], "Layers": names }]);
        append(&mut archive, "manifest.json", manifest.to_string().as_bytes())?;
        archive.finish().with_context(|| format!("finish {}", file.display()))
    }

    fn image_config(&self) -> anyhow::Result<Value> {
        let digests: Result<Vec<_>, _> = self.layers.iter().map(|tar| sha256_of(tar)).collect();
        let ids: Vec<_> = digests?.iter().map(|digest| format!("sha256:{digest}")).collect();
        Ok(json!({
            "architecture": architecture(),
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": ids }
        }))
    }
}

/// The machine's architecture in the words of image specifications.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The root file system of the probe as a tar file, made again where the probe is newer.
fn probe_layer() -> anyhow::Result<PathBuf> {
    let digest = sha256_of(&crate::probe::probe()?)?;
    let made = folders::cache()?.join(format!("probe-{}.tar", &digest[..16]));
    folders::once(&made, |part| {
        let folder = tempfile::tempdir().context("make a folder for the probe's layer")?;
        make_rootfs(folder.path())?;
        pack(folder.path(), part)
    })?;
    Ok(made)
}

/// Where Debian puts the static busybox.
const BUSYBOX: &str = "/bin/busybox";

/// A root file system with busybox under the names of all its commands.
fn busybox_layer() -> anyhow::Result<PathBuf> {
    let digest = sha256_of(Path::new(BUSYBOX)).context("find busybox (busybox-static)")?;
    let made = folders::cache()?.join(format!("busybox-{}.tar", &digest[..16]));
    folders::once(&made, |part| {
        let folder = tempfile::tempdir().context("make a folder for busybox's layer")?;
        make_folders(folder.path())?;
        let bin = folder.path().join("bin");
        fs::copy(BUSYBOX, bin.join("busybox")).context("copy busybox")?;
        let listed = std::process::Command::new(BUSYBOX).arg("--list").output();
        let listed = listed.context("ask busybox for its commands")?;
        for name in String::from_utf8_lossy(&listed.stdout).lines() {
            if name != "busybox" {
                symlink("busybox", bin.join(name)).with_context(|| format!("link {name}"))?;
            }
        }
        pack(folder.path(), part)
    })?;
    Ok(made)
}

/// Packs a folder as a layer; links stay links.
fn pack(folder: &Path, tar: &Path) -> anyhow::Result<()> {
    let out = File::create(tar).with_context(|| format!("make {}", tar.display()))?;
    let mut archive = tar::Builder::new(out);
    archive.follow_symlinks(false);
    archive.append_dir_all(".", folder).with_context(|| format!("pack {}", folder.display()))?;
    archive.finish().with_context(|| format!("finish {}", tar.display()))
}

/// Makes a layer's tar file of `files` (path, mode, content) at `tar`.
///
/// # Errors
/// Where it can't be written.
pub fn write_layer(tar: &Path, files: &[(&str, u32, &[u8])]) -> anyhow::Result<()> {
    let out = File::create(tar).with_context(|| format!("make {}", tar.display()))?;
    let mut archive = tar::Builder::new(out);
    for (path, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        archive.append_data(&mut header, path, *content).with_context(|| format!("pack {path}"))?;
    }
    archive.finish().with_context(|| format!("finish {}", tar.display()))
}

fn append(archive: &mut tar::Builder<File>, name: &str, content: &[u8]) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content).with_context(|| format!("pack {name}"))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

fn add_json(blobs: &Path, media_type: &str, value: &Value) -> anyhow::Result<Value> {
    let bytes = value.to_string().into_bytes();
    let digest = hex::encode(Sha256::digest(&bytes));
    write(&blobs.join(&digest), &bytes)?;
    Ok(descriptor(media_type, &digest, bytes.len() as u64))
}

fn add_layer(blobs: &Path, tar: &Path) -> anyhow::Result<Value> {
    let part = blobs.join("part");
    let mut input = File::open(tar).with_context(|| format!("open {}", tar.display()))?;
    let output = File::create(&part).with_context(|| format!("make {}", part.display()))?;
    let mut encoder = GzEncoder::new(output, Compression::fast());
    std::io::copy(&mut input, &mut encoder).context("compress a layer")?;
    encoder.finish().and_then(|mut out| out.flush()).context("finish a layer")?;
    let digest = sha256_of(&part)?;
    let size = part.metadata().context("read the size of a layer")?.len();
    fs::rename(&part, blobs.join(&digest)).context("name a layer")?;
    Ok(descriptor(LAYER_TYPE, &digest, size))
}

fn sha256_of(file: &Path) -> anyhow::Result<String> {
    let mut input = File::open(file).with_context(|| format!("open {}", file.display()))?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let read = input.read(&mut piece).with_context(|| format!("read {}", file.display()))?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&piece[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blob_of_a_layout_has_the_name_of_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        Image::probe("probe:latest").unwrap().write_oci_layout(folder.path()).unwrap();
        let blobs = folder.path().join("blobs/sha256");
        let names: Vec<_> = blobs.read_dir().unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(names.len(), 3);
        for blob in names {
            assert_eq!(blob.file_name().to_str().unwrap(), sha256_of(&blob.path()).unwrap());
        }
    }

    #[test]
    fn the_archive_names_its_parts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("probe.tar");
        Image::probe("probe:latest").unwrap().write_docker_archive(&file).unwrap();
        let mut archive = tar::Archive::new(File::open(file).unwrap());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names.len(), 3);
        assert!(names.contains(&"manifest.json".to_owned()), "{names:?}");
    }
}
