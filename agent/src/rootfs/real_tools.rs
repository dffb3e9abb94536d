//! Images as umoci and skopeo write them, whiteouts included, imported and mounted: what a
//! container sees is what the tool had. Needs root, overlayfs, umoci, skopeo and busybox.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::image::ImageStore;
use crate::rootfs;

/// A folder with an OCI layout of two layers, and the tree that they make.
struct World {
    dir: tempfile::TempDir,
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {words}");
}

fn is_able(test: &str) -> bool {
    let present = |name: &&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(name).exists())
    };
    let missing: Vec<_> =
        ["umoci", "skopeo", "busybox"].into_iter().filter(|name| !present(name)).collect();
    let root = rustix::process::geteuid().is_root();
    if !root || !missing.is_empty() {
        eprintln!("SKIPPED {test}: needs root and {missing:?}");
    }
    root && missing.is_empty()
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        let layout = world.text("layout");
        run("umoci", &["init", "--layout", &layout]);
        run("umoci", &["new", "--image", &format!("{layout}:1")]);
        world.layer(fill);
        world.layer(change);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn tree(&self) -> PathBuf {
        self.path("bundle/rootfs")
    }

    /// Adds the layer that `change` makes.
    fn layer(&self, change: fn(&Path)) {
        let (image, bundle) = (format!("{}:1", self.text("layout")), self.text("bundle"));
        let _ = std::fs::remove_dir_all(&bundle);
        run("umoci", &["unpack", "--image", &image, &bundle]);
        change(&self.tree());
        run("umoci", &["repack", "--image", &image, &bundle]);
    }

    fn skopeo(&self, arguments: &[&str], target: &str) -> PathBuf {
        let source = format!("oci:{}:1", self.text("layout"));
        let (transport, name) = target.split_once(':').unwrap();
        let target = format!("{transport}:{}:real/tools:1", self.text(name));
        run("skopeo", &[&["copy", "--quiet"], arguments, &[&source, &target]].concat());
        self.path(name)
    }

    /// Imports `path` into a new store, mounts it, and compares every file.
    fn check(&self, path: &Path) {
        let store = ImageStore::open(&self.path("images")).unwrap();
        store.import(path, Some("real/tools:1"), &mut |_| {}).unwrap();
        let image = store.resolve("real/tools:1").unwrap();
        let container = self.path("container");
        let root = rootfs::mount(&container, &image, rootfs::Writes::Volatile).unwrap();
        let (seen, expected) = (listing(&root), listing(&self.tree()));
        rootfs::remove(&container).unwrap();
        assert_eq!(seen, expected, "{}", path.display());
        drop((image, store));
        std::fs::remove_dir_all(self.path("images")).unwrap();
    }
}

/// The first layer.
fn fill(root: &Path) {
    for dir in ["bin", "etc/conf.d", "usr/lib", "home/user", "var/cache/old", "tmp"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let busybox = Command::new("sh").args(["-c", "command -v busybox"]).output().unwrap();
    let busybox = String::from_utf8(busybox.stdout).unwrap();
    std::fs::copy(busybox.trim(), root.join("bin/busybox")).unwrap();
    std::fs::hard_link(root.join("bin/busybox"), root.join("bin/sh")).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/bin/busybox", root.join("bin/ls")).unwrap();
    for name in ["etc/passwd", "etc/conf.d/a", "etc/conf.d/b", "var/cache/old/x", "usr/lib/lib.so"]
    {
        std::fs::write(root.join(name), name.repeat(100)).unwrap();
    }
    let long = "long-name-".repeat(20);
    std::fs::write(root.join(&long), "x").unwrap();
    std::fs::write(root.join("home/user/ünïcödé name"), "x").unwrap();
    chown(root.join("home/user"), Some(1000), Some(70_000)).unwrap();
    let mode = |name, bits| {
        let bits = std::fs::Permissions::from_mode(bits);
        std::fs::set_permissions(root.join(name), bits).unwrap();
    };
    mode("tmp", 0o1777);
    mode("bin/busybox", 0o4755);
    mode("home/user", 0o2750);
}

/// The second layer: removes, replaces and empties.
fn change(root: &Path) {
    std::fs::remove_file(root.join("etc/conf.d/a")).unwrap();
    std::fs::remove_dir_all(root.join("var/cache/old")).unwrap();
    std::fs::create_dir(root.join("var/cache/old")).unwrap();
    std::fs::write(root.join("var/cache/old/new"), "x").unwrap();
    std::fs::remove_file(root.join("bin/ls")).unwrap();
    std::fs::create_dir(root.join("bin/ls")).unwrap();
    std::fs::remove_dir_all(root.join("home")).unwrap();
    std::fs::write(root.join("home"), "now a file").unwrap();
    std::fs::write(root.join("usr/lib/lib.so"), "changed").unwrap();
}

/// Every file below `root`: kind and mode, owner, size, link target, content.
fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut list = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let sum =
            content.iter().fold(0u64, |sum, b| sum.wrapping_mul(31).wrapping_add((*b).into()));
        let target = std::fs::read_link(&path).unwrap_or_default();
        let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
        let line = format!("{mode:o} {uid}:{gid} {} {sum:x} {}", content.len(), target.display());
        if meta.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        list.insert(path.strip_prefix(root).unwrap().to_owned(), line);
    }
    list
}

#[test]
fn an_image_of_umoci_and_skopeo_is_seen_as_it_was_made() {
    if !is_able("an_image_of_umoci_and_skopeo_is_seen_as_it_was_made") {
        return;
    }
    let world = World::new();
    assert!(world.tree().join("var/cache/old/new").exists());
    world.check(&world.path("layout"));
    world.check(&world.skopeo(&[], "docker-archive:docker.tar"));
    world.check(&world.skopeo(&[], "oci-archive:oci.tar"));
    world.check(&world.skopeo(&["--dest-compress-format", "zstd"], "oci:zstd"));
}
