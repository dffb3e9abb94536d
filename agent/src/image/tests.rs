//! The store as a whole: import, names, sharing, verification, clean-up, crashes. Need root.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::testing::{Archive, Layer, Layout, gzip, here, image_of};
use super::*;

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root");
            return None;
        }
        Some(Self { dir: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> ImageStore {
        ImageStore::open(&self.path("images")).unwrap()
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.path("layout"))
    }

    fn count(&self, folder: &str) -> usize {
        std::fs::read_dir(self.path("images").join(folder)).unwrap().count()
    }

    /// Nothing was taken in, and nothing left over.
    fn check_empty(&self, store: &ImageStore) {
        assert!(store.list().is_empty());
        assert_eq!((self.count("layers"), self.count("scratch"), self.count("blobs")), (0, 0, 0));
    }
}

fn import(store: &ImageStore, path: &Path) -> Result<Vec<Imported>, String> {
    store.import(path, None, &mut |_| {}).map_err(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    })
}

#[test]
fn an_image_is_found_by_every_spelling_and_after_a_restart() {
    let test = "an_image_is_found_by_every_spelling_and_after_a_restart";
    let Some(world) = World::new(test) else { return };
    let layout = world.layout();
    let packed = Archive::new().file("etc/os", "linux").bytes();
    let layer = Layer { diff_id: Digest::of(&packed), blob: gzip(&packed) };
    layout.index(layout.image(&[layer], &here()), "busybox");
    let store = world.store();
    let mut steps = Vec::new();
    let imported = store.import(&layout.path, None, &mut |step| steps.push(step)).unwrap();
    assert_eq!(imported[0].reference, "docker.io/library/busybox:latest");
    assert_eq!(imported[0].size_bytes, 5);
    let end = steps.last().unwrap();
    assert!(0 < end.total_bytes && end.done_bytes == end.total_bytes);
    drop(store);
    let store = world.store();
    let digest = imported[0].digest;
    for name in ["busybox", "docker.io/busybox:latest", &format!("busybox@{digest}")] {
        let image = store.resolve(name).unwrap();
        assert_eq!((image.digest, &image.config.cmd[..]), (digest, &["/bin/true".to_owned()][..]));
        assert_eq!(std::fs::read(image.layer_dirs[0].join("etc/os")).unwrap(), b"linux");
    }
    let missing = store.resolve("busybox:2").unwrap_err().to_string();
    assert!(missing.starts_with("image docker.io/library/busybox:2 is not on this node"));
    assert!(matches!(ImageStore::open(&world.path("images")), Err(ImageError::Busy { .. })));
}

#[test]
fn a_docker_archive_is_imported_plain_and_compressed_with_linked_layers() {
    let test = "a_docker_archive_is_imported_plain_and_compressed_with_linked_layers";
    let Some(world) = World::new(test) else { return };
    let layer = Archive::new().file("shared", "x").bytes();
    let diff_id = Digest::of(&layer).to_string();
    let config = json!({"architecture": here(), "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id, diff_id]}});
    let config = config.to_string();
    let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let manifest = json!([{"Config": name, "RepoTags": ["app:1", "reg.example:5000/app:2"],
        "Layers": ["a/layer.tar", "b/layer.tar"]}]);
    let archive = Archive::new()
        .file("a/layer.tar", std::str::from_utf8(&layer).unwrap())
        .symlink("b/layer.tar", "../a/layer.tar")
        .file(&name, &config)
        .file("manifest.json", &manifest.to_string());
    let store = world.store();
    for (file, bytes) in [("plain.tar", archive.bytes()), ("packed.tar", gzip(&archive.bytes()))] {
        std::fs::write(world.path(file), bytes).unwrap();
        let names: Vec<_> =
            import(&store, &world.path(file)).unwrap().into_iter().map(|i| i.reference).collect();
        assert_eq!(names, ["docker.io/library/app:1", "reg.example:5000/app:2"]);
    }
    assert_eq!(world.count("layers"), 1);
    let renamed = store.import(&world.path("plain.tar"), Some("own:3"), &mut |_| {}).unwrap();
    assert_eq!(renamed[0].reference, "docker.io/library/own:3");
    assert_eq!(store.list().len(), 3);
}

#[test]
fn a_truncated_or_altered_layer_is_refused_with_both_digests() {
    let test = "a_truncated_or_altered_layer_is_refused_with_both_digests";
    let Some(world) = World::new(test) else { return };
    let layout = world.layout();
    let plain = Archive::new().file("a", &"data".repeat(5000)).file("b", "x").bytes();
    let blob = gzip(&plain);
    let layer = Layer { diff_id: Digest::of(&plain), blob: blob.clone() };
    layout.index(layout.image(&[layer], &here()), "app:1");
    let store = world.store();
    let path = layout.blob_path(Digest::of(&blob));
    let mut altered = blob.clone();
    altered[blob.len() / 2] ^= 1;
    for bad in [&blob[..blob.len() / 2], &blob[..0], &altered] {
        std::fs::write(&path, bad).unwrap();
        let error = import(&store, &layout.path).unwrap_err();
        let (expected, found) = (Digest::of(&blob), Digest::of(bad));
        let words = format!(
            "the layer {expected} of the image is truncated or altered: expected {expected}, \
             found {found}"
        );
        assert_eq!(error, words);
        world.check_empty(&store);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(import(&store, &layout.path).unwrap_err().contains(&Digest::of(&blob).hex()));
    world.check_empty(&store);
}

#[test]
fn an_image_that_contradicts_itself_is_refused() {
    let Some(world) = World::new("an_image_that_contradicts_itself_is_refused") else { return };
    let store = world.store();
    let layout = world.layout();
    let blob = Archive::new().file("a", "x").bytes();
    let refused = |expected: &str| {
        let error = import(&store, &layout.path).unwrap_err();
        assert!(error.contains(expected), "{error}");
        world.check_empty(&store);
    };
    let wrong_id = Layer { blob: blob.clone(), diff_id: Digest::of(b"other") };
    layout.index(layout.image(&[wrong_id], &here()), "app:1");
    refused("(unpacked) of the image is truncated or altered");
    let layer = || Layer { blob: blob.clone(), diff_id: Digest::of(&blob) };
    layout.index(layout.image(&[layer()], "s390x"), "app:1");
    refused("the image is for linux/s390x");
    layout.index(layout.image(&[layer()], &here()), "UPPER");
    refused("is no image reference");
    let mut descriptor = layout.image(&[layer()], &here());
    descriptor["digest"] = json!("sha256:../../../../etc/passwd");
    layout.index(descriptor, "app:1");
    refused("is no digest");
    let mut descriptor = layout.image(&[layer()], &here());
    descriptor["size"] = json!(1);
    layout.index(descriptor, "app:1");
    refused("bytes where its descriptor says 1");
    std::fs::write(layout.path.join("index.json"), "{").unwrap();
    refused("understand index.json of the image");
    std::fs::remove_file(layout.path.join("index.json")).unwrap();
    refused("is no image: it has neither an index.json");
}

#[test]
fn an_archive_that_was_cut_off_is_not_taken_for_something_else() {
    let test = "an_archive_that_was_cut_off_is_not_taken_for_something_else";
    let Some(world) = World::new(test) else { return };
    let store = world.store();
    // As `docker save` writes them: the manifest comes last.
    let archive = Archive::new().file("layer.tar", &"x".repeat(4000)).file("manifest.json", "[]");
    let path = world.path("cut.tar");
    for bytes in [513, 2000, 4511] {
        std::fs::write(&path, &archive.clone().bytes()[..bytes]).unwrap();
        let error = import(&store, &path).unwrap_err();
        assert!(error.contains("the file ends in the middle of layer.tar"), "{bytes}: {error}");
    }
    world.check_empty(&store);
}

#[test]
fn a_member_outside_of_the_layout_is_not_read() {
    let Some(world) = World::new("a_member_outside_of_the_layout_is_not_read") else { return };
    let store = world.store();
    let layout = world.path("docker");
    std::fs::create_dir(&layout).unwrap();
    std::fs::write(world.path("secret.json"), "{}").unwrap();
    let manifest = |config: &str| json!([{"Config": config, "RepoTags": ["a:1"], "Layers": []}]);
    std::os::unix::fs::symlink("/etc/passwd", layout.join("link")).unwrap();
    for config in ["../secret.json", "/etc/passwd", "link"] {
        std::fs::write(layout.join("manifest.json"), manifest(config).to_string()).unwrap();
        let error = import(&store, &layout).unwrap_err();
        assert!(error.starts_with(&format!("read {config} of the image")), "{error}");
    }
    world.check_empty(&store);
}

#[test]
fn layers_are_shared_and_go_when_nobody_needs_them() {
    let test = "layers_are_shared_and_go_when_nobody_needs_them";
    let Some(world) = World::new(test) else { return };
    let store = world.store();
    let layout = world.layout();
    let base = Archive::new().file("base", "12345");
    for (name, own) in [("one:1", "1"), ("two:1", "2")] {
        let own = Archive::new().file("own", own);
        layout.index(layout.image(&[Layer::plain(&base), Layer::plain(&own)], &here()), name);
        import(&store, &layout.path).unwrap();
    }
    assert_eq!(world.count("layers"), 3);
    let used_before_a_restart = store.resolve("one:1").unwrap().layers;
    let running = store.resolve("two:1").unwrap();
    let unknown = || Err(std::io::Error::other("can't be told"));
    assert!(store.collect(unknown).is_err());
    store.remove("one:1").unwrap();
    store.remove("two:1").unwrap();
    assert!(store.collect(unknown).is_err());
    assert_eq!(world.count("layers"), 3, "removed without knowing what is in use");
    assert!(matches!(store.remove("two:1"), Err(ImageError::NotFound { .. })));
    let used: BTreeSet<Digest> = used_before_a_restart.into_iter().collect();
    assert_eq!(store.collect(|| Ok(used.clone())).unwrap(), Freed::default());
    assert_eq!(store.collect(|| Ok(BTreeSet::new())).unwrap(), Freed { layers: 1, bytes: 1 });
    assert!(running.layer_dirs.iter().all(|dir| dir.exists()));
    drop(running);
    assert_eq!(store.collect(|| Ok(BTreeSet::new())).unwrap(), Freed { layers: 2, bytes: 6 });
    world.check_empty(&store);
}

#[test]
fn what_a_crash_left_is_swept_at_open() {
    let Some(world) = World::new("what_a_crash_left_is_swept_at_open") else { return };
    drop(world.store());
    let left = world.path("images/scratch/layer-7/fs/deep/er");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("file"), "x").unwrap();
    std::fs::write(world.path("images/.refs.json.new"), "{half").unwrap();
    let store = world.store();
    world.check_empty(&store);
}

#[test]
fn a_changed_document_in_the_store_is_noticed_when_it_is_read() {
    let test = "a_changed_document_in_the_store_is_noticed_when_it_is_read";
    let Some(world) = World::new(test) else { return };
    let store = world.store();
    drop(image_of(&store, world.dir.path(), &[Archive::new().file("a", "x")]));
    for entry in std::fs::read_dir(world.path("images/blobs")).unwrap() {
        std::fs::write(entry.unwrap().path(), "{}").unwrap();
    }
    assert!(matches!(store.resolve("test:1"), Err(ImageError::Digest { .. })));
}

#[test]
fn a_full_disk_is_named_and_nothing_of_the_image_stays() {
    let test = "a_full_disk_is_named_and_nothing_of_the_image_stays";
    let Some(world) = World::new(test) else { return };
    let disk = world.path("images");
    std::fs::create_dir(&disk).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    if rustix::mount::mount("tmpfs", &disk, "tmpfs", flags, Some(c"size=1m")).is_err() {
        eprintln!("SKIPPED {test}: needs CAP_SYS_ADMIN, to mount a small disk");
        return;
    }
    let store = world.store();
    let layout = world.layout();
    let large = Archive::new().file("small", "x").file("large", &"x".repeat(3 << 20));
    layout.index(layout.image(&[Layer::plain(&large)], &here()), "app:1");
    let error = import(&store, &layout.path).unwrap_err();
    world.check_empty(&store);
    // There is room again for what fits.
    layout.index(layout.image(&[Layer::plain(&Archive::new().dir("a"))], &here()), "app:1");
    let imported = import(&store, &layout.path);
    drop(store);
    rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::empty()).unwrap();
    assert!(error.ends_with("write \"large\": No space left on device (os error 28)"), "{error}");
    assert!(imported.is_ok(), "{imported:?}");
}
