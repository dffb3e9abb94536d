//! Overlay mounts on the real kernel: need root and overlayfs on the temporary folder's filesystem.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::image::ImageStore;
use crate::image::testing::{Archive, image_of};

/// Says on stderr why a test did not run.
fn skipped(test: &str, needs: &str) {
    eprintln!("SKIPPED {test}: needs {needs}");
}

fn can_mount(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    let overlay = std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.lines().any(|line| line.ends_with("\toverlay")));
    if !root || !overlay {
        skipped(test, "root and overlayfs");
    }
    root && overlay
}

#[test]
fn layers_lie_on_one_another_and_removal_leaves_nothing() {
    if !can_mount("layers_lie_on_one_another_and_removal_leaves_nothing") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let lower = Archive::new().dir("etc").file("etc/gone", "1").file("etc/kept", "1").dir("old");
    let lower = lower.file("old/hidden", "1").file("etc/changed", "1");
    let upper = Archive::new().file("etc/.wh.gone", "").file("etc/changed", "2").dir("old");
    let upper = upper.file("old/.wh..wh..opq", "").file("old/new", "2");
    let image = image_of(&store, dir.path(), &[lower, upper]);
    let container = dir.path().join("task: 1/container");
    let rootfs = mount(&container, &image, Writes::Volatile).unwrap();
    let names = |path: &str| {
        let entries = std::fs::read_dir(rootfs.join(path)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("etc"), ["changed", "kept"]);
    assert_eq!(names("old"), ["new"]);
    assert_eq!(std::fs::read(rootfs.join("etc/changed")).unwrap(), b"2");
    assert_eq!(rootfs.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    std::fs::write(rootfs.join("written"), "by the container").unwrap();
    assert!(!image.layer_dirs[1].join("written").exists());
    assert!(matches!(
        mount(&container, &image, Writes::Volatile),
        Err(RootfsError::Mounted { .. })
    ));
    // Every kernel since 5.10 can; and what was mounted so is mounted again.
    assert!(is_volatile(&container));
    unmount(&container).unwrap();
    mount(&container, &image, Writes::Volatile).unwrap();
    assert!(is_volatile(&container) && rootfs.join("written").exists());
    unmount(&container).unwrap();
    mount(&container, &image, Writes::Kept).unwrap();
    assert!(!is_volatile(&container) && rootfs.join("written").exists());
    assert_eq!(layers_of(&container).unwrap(), image.layers);
    remove(&container).unwrap();
    remove(&container).unwrap();
    assert!(!container.exists() && mounts_below(dir.path()).unwrap().is_empty());
    assert!(image.layer_dirs[0].join("etc/gone").exists());
}

#[test]
fn a_record_that_a_loss_of_power_left_empty_says_that_nothing_is_in_use() {
    if !can_mount("a_record_that_a_loss_of_power_left_empty_says_that_nothing_is_in_use") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let image = image_of(&store, dir.path(), &[Archive::new().dir("etc")]);
    let container = dir.path().join("container");
    mount(&container, &image, Writes::Volatile).unwrap();
    std::fs::write(container.join("layers.json"), "").unwrap();
    let error = layers_of(&container).unwrap_err();
    assert!(matches!(error, RootfsError::Kernel { step: "understand", .. }), "it is mounted");
    unmount(&container).unwrap();
    assert_eq!(layers_of(&container).unwrap(), []);
    remove(&container).unwrap();
}

#[test]
fn removal_goes_around_the_kernels_list_and_still_finds_what_others_mounted() {
    if !can_mount("removal_goes_around_the_kernels_list_and_still_finds_what_others_mounted") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let image = image_of(&store, dir.path(), &[Archive::new().dir("etc")]);
    let container = dir.path().join("container");
    remove_own(&container).unwrap();
    for strange in [None, Some("volumes/0")] {
        let rootfs = mount(&container, &image, Writes::Volatile).unwrap();
        std::fs::write(rootfs.join("written"), "by the container").unwrap();
        if let Some(strange) = strange {
            let place = container.join(strange);
            std::fs::create_dir_all(&place).unwrap();
            let none: Option<&std::ffi::CStr> = None;
            let flags = MountFlags::empty();
            rustix::mount::mount("tmpfs", &place, "tmpfs", flags, none).unwrap();
            std::fs::write(place.join("theirs"), "x").unwrap();
        }
        remove_own(&container).unwrap();
        assert!(!container.exists() && mounts_below(dir.path()).unwrap().is_empty());
        assert!(image.layer_dirs[0].join("etc").exists());
    }
}

#[test]
fn an_opaque_root_hides_all_lower_layers() {
    if !can_mount("an_opaque_root_hides_all_lower_layers") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let upper = Archive::new().file(".wh..wh..opq", "").file("new", "2");
    let image = image_of(&store, dir.path(), &[Archive::new().file("old", "1"), upper]);
    let container = dir.path().join("c");
    let rootfs = mount(&container, &image, Writes::Volatile).unwrap();
    assert!(rootfs.join("new").exists() && !rootfs.join("old").exists());
    remove(&container).unwrap();
}

#[test]
fn as_many_layers_as_an_image_may_have_are_mounted() {
    if !can_mount("as_many_layers_as_an_image_may_have_are_mounted") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let layer = |n: usize| Archive::new().file(&format!("file-{n}"), "x");
    let layers: Vec<Archive> = (0..LAYERS_MAX).map(layer).collect();
    let image = image_of(&store, dir.path(), &layers);
    let container = dir.path().join("c");
    let rootfs = mount(&container, &image, Writes::Volatile).unwrap();
    assert_eq!(std::fs::read_dir(rootfs).unwrap().count(), LAYERS_MAX);
    remove(&container).unwrap();
}

#[test]
fn an_image_without_layers_is_an_empty_root() {
    if !can_mount("an_image_without_layers_is_an_empty_root") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let image = image_of(&store, dir.path(), &[]);
    let container = dir.path().join("c");
    let rootfs = mount(&container, &image, Writes::Volatile).unwrap();
    assert_eq!(std::fs::read_dir(rootfs).unwrap().count(), 0);
    remove(&container).unwrap();
    assert!(layers_of(&container).unwrap().is_empty());
}

#[test]
fn a_state_folder_on_overlayfs_is_named() {
    if !can_mount("a_state_folder_on_overlayfs_is_named") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let image = image_of(&store, dir.path(), &[Archive::new().dir("state")]);
    let outer = dir.path().join("outer");
    let inner = mount(&outer, &image, Writes::Volatile).unwrap().join("state/c");
    let error = mount(&inner, &image, Writes::Volatile).unwrap_err();
    remove(&outer).unwrap();
    assert!(matches!(error, RootfsError::Unsuitable { kind: "overlayfs", .. }), "{error:?}");
}

#[test]
fn a_directory_that_a_layer_only_implies_looks_as_the_layers_below_say() {
    if !can_mount("a_directory_that_a_layer_only_implies_looks_as_the_layers_below_say") {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    use tar::EntryType;
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let described = |name: &str, mode: u32, uid: u64| {
        Archive::new().entry(EntryType::Directory, name, "", b"", |h| {
            h.set_mode(mode);
            h.set_uid(uid);
        })
    };
    let base = described("tmp", 0o1777, 0);
    let base = base.entry(EntryType::Directory, "srv/data", "", b"", |h| {
        h.set_mode(0o2750);
        h.set_uid(1000);
    });
    let implies = Archive::new().file("tmp/a", "x").file("srv/data/deep/b", "x");
    let again = Archive::new().file("srv/data/c", "x").file("new/d", "x");
    let image = image_of(&store, dir.path(), &[base, implies, again]);
    let container = dir.path().join("c");
    let rootfs = mount(&container, &image, Writes::Volatile).unwrap();
    let seen = |name: &str| {
        let meta = rootfs.join(name).metadata().unwrap();
        (meta.mode() & 0o7777, meta.uid())
    };
    assert_eq!((seen("tmp"), seen("srv/data")), ((0o1777, 0), (0o2750, 1000)));
    assert_eq!((seen("srv/data/deep"), seen("new")), ((0o755, 0), (0o755, 0)));
    assert!(rootfs.join("srv/data/c").exists() && rootfs.join("tmp/a").exists());
    remove(&container).unwrap();
}
