//! Archives and layouts for tests, hostile ones included: nothing here refuses anything.

use std::io::Write;
use std::path::{Path, PathBuf};

use ::tar::{EntryType, Header};
use serde_json::json;

use super::{Digest, Image, ImageStore};

/// A tar archive under construction.
#[derive(Clone, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"", |h| h.set_mode(0o755))
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.entry(EntryType::Regular, name, "", text.as_bytes(), |_| {})
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"", |_| {})
    }

    pub(crate) fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"", |_| {})
    }

    pub(crate) fn device(self, kind: EntryType, name: &str, (major, minor): (u32, u32)) -> Self {
        self.entry(kind, name, "", b"", |h| {
            h.set_device_major(major).unwrap();
            h.set_device_minor(minor).unwrap();
        })
    }

    /// PAX records for the entry that follows.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let digits = (1..).find(|d| (rest + d).to_string().len() == *d).unwrap();
            write!(data, "{} {key}=", rest + digits).unwrap();
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(EntryType::XHeader, "pax", "", &data, |_| {})
    }

    /// An entry with any header at all.
    pub(crate) fn entry(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        data: &[u8],
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.raw(data)
    }

    /// Bytes as they are, filled up to a whole block.
    pub(crate) fn raw(mut self, data: &[u8]) -> Self {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// The archive with its end mark.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder that becomes an OCI image layout.
pub(crate) struct Layout {
    pub(crate) path: PathBuf,
}

/// A layer as it is stored, and the digest of its plain form.
pub(crate) struct Layer {
    pub(crate) blob: Vec<u8>,
    pub(crate) diff_id: Digest,
}

impl Layer {
    pub(crate) fn plain(archive: &Archive) -> Self {
        let blob = archive.bytes();
        Self { diff_id: Digest::of(&blob), blob }
    }
}

impl Layout {
    pub(crate) fn new(path: &Path) -> Self {
        std::fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { path: path.to_owned() }
    }

    pub(crate) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn blob(&self, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes);
        std::fs::write(self.blob_path(digest), bytes).unwrap();
        json!({"digest": digest.to_string(), "size": bytes.len()})
    }

    /// Writes an image with these layers; the descriptor of its manifest.
    pub(crate) fn image(&self, layers: &[Layer], arch: &str) -> serde_json::Value {
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = json!({"architecture": arch, "os": "linux",
            "config": {"Cmd": ["/bin/true"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = self.blob(&serde_json::to_vec(&config).unwrap());
        let blobs: Vec<_> = layers.iter().map(|layer| self.blob(&layer.blob)).collect();
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": blobs});
        self.blob(&serde_json::to_vec(&manifest).unwrap())
    }

    /// Writes `index.json` with one image under `name`.
    pub(crate) fn index(&self, mut descriptor: serde_json::Value, name: &str) {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
        std::fs::write(self.path.join("index.json"), index.to_string()).unwrap();
    }
}

/// The architecture of this machine in an image's words.
pub(crate) fn here() -> String {
    super::document::Platform::here().architecture
}

/// Imports an image of these layers, and resolves it.
pub(crate) fn image_of(store: &ImageStore, scratch: &Path, layers: &[Archive]) -> Image {
    let layout = Layout::new(&scratch.join("layout"));
    let layers: Vec<Layer> = layers.iter().map(Layer::plain).collect();
    layout.index(layout.image(&layers, &here()), "test:1");
    store.import(&layout.path, None, &mut |_| {}).unwrap();
    store.resolve("test:1").unwrap()
}
