//! Layers unpacked on the real filesystem, and attacks on the one who unpacks them. Need root, for
//! owners and whiteouts.

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ::tar::EntryType;

use super::*;
use crate::image::testing::Archive;
use crate::rooted;

/// A folder with a secret beside the root that layers are unpacked into.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// `None`, and says so, where the test can't run.
    fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::write(dir.path().join("secret"), "untouched").unwrap();
        Some(Self { dir })
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn unpack_within(&self, layer: &Archive, limits: Limits) -> Result<Unpacked, UnpackError> {
        let root = rooted::open_dir(&self.root()).unwrap();
        unpack(&layer.bytes()[..], root.as_fd(), &limits).map(|(unpacked, _)| unpacked)
    }

    fn unpack(&self, layer: &Archive) -> Unpacked {
        self.unpack_within(layer, Limits::DEFAULT).unwrap()
    }

    fn at(&self, name: &str) -> std::fs::Metadata {
        std::fs::symlink_metadata(self.root().join(name)).unwrap()
    }

    fn is_opaque(&self, name: &str) -> bool {
        let mut mark = [0u8; 8];
        let path = self.root().join(name);
        rustix::fs::getxattr(&path, tree::OPAQUE, &mut mark[..]).is_ok_and(|n| mark[..n] == *b"y")
    }

    fn is_whiteout(&self, name: &str) -> bool {
        let found = self.at(name);
        found.file_type().is_char_device() && found.rdev() == 0
    }

    /// Everything outside of the root is as it was.
    fn check_untouched(&self) {
        let secret = self.dir.path().join("secret");
        assert_eq!(std::fs::read(&secret).unwrap(), b"untouched");
        let (mode, links) = secret.metadata().map(|m| (m.mode() & 0o7777, m.nlink())).unwrap();
        assert_eq!((mode & 0o777, links), (0o644, 1));
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        assert_eq!(entries.count(), 2, "something appeared beside the root");
    }
}

#[test]
fn kinds_modes_owners_and_times_are_kept() {
    let Some(world) = World::new("kinds_modes_owners_and_times_are_kept") else { return };
    let layer = Archive::new()
        .entry(EntryType::Directory, "./", "", b"", |h| h.set_mode(0o751))
        .entry(EntryType::Directory, "dir/", "", b"", |h| {
            h.set_mode(0o2775);
            h.set_mtime(1_111_111_111);
        })
        .entry(EntryType::Regular, "dir/su", "", b"#!", |h| {
            h.set_mode(0o4755);
            h.set_uid(33);
            h.set_gid(4_294_967_294);
        })
        .hardlink("dir/hard", "dir/su")
        .symlink("dir/link", "/nowhere/at/all")
        .entry(EntryType::Fifo, "pipe", "", b"", |h| h.set_mode(0o622))
        .file("implied/dir/file", "x");
    let unpacked = world.unpack(&layer);
    assert_eq!((unpacked.bytes, unpacked.entries), (3, 7));
    assert_eq!(world.at("").mode() & 0o7777, 0o751);
    let (dir, su) = (world.at("dir"), world.at("dir/su"));
    assert_eq!((dir.mode() & 0o7777, dir.mtime()), (0o2775, 1_111_111_111));
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid()), (0o4755, 33, 4_294_967_294));
    assert_eq!((su.mtime(), su.nlink()), (1_000_000_000, 2));
    assert_eq!(world.at("dir/hard").ino(), su.ino());
    let target = std::fs::read_link(world.root().join("dir/link")).unwrap();
    assert_eq!(target, Path::new("/nowhere/at/all"));
    assert!(world.at("pipe").file_type().is_fifo() && world.at("pipe").mode() & 0o777 == 0o622);
    assert_eq!(world.at("implied").mode() & 0o777, 0o755);
}

#[test]
fn attributes_and_sparse_files_are_kept() {
    let Some(world) = World::new("attributes_and_sparse_files_are_kept") else { return };
    // cap_net_raw=ep, as setcap(8) writes it.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Archive::new()
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.note", b"a=b\nc"),
            ("SCHILY.xattr.security.selinux", b"from the build host"),
        ])
        .file("ping", "x")
        .pax(&[("GNU.sparse.map", b"1048576,3"), ("GNU.sparse.size", b"2097152")])
        .file("sparse", "abc");
    world.unpack(&layer);
    let attribute = |name: &str| {
        let mut value = [0u8; 64];
        let count = rustix::fs::getxattr(world.root().join("ping"), name, &mut value[..]);
        count.map(|count| value[..count].to_vec())
    };
    assert_eq!(attribute("security.capability").unwrap(), capability);
    match attribute("user.note") {
        Ok(value) => assert_eq!(value, b"a=b\nc"),
        // tmpfs before Linux 6.6 has no user attributes.
        Err(errno) => assert_eq!(errno, rustix::io::Errno::OPNOTSUPP),
    }
    assert!(attribute("security.selinux").is_err());
    let sparse = std::fs::read(world.root().join("sparse")).unwrap();
    assert_eq!((sparse.len(), &sparse[1_048_576..1_048_579]), (2_097_152, &b"abc"[..]));
    assert!(world.at("sparse").blocks() * 512 < 1_048_576);
}

#[test]
fn whiteouts_become_what_overlayfs_knows() {
    let Some(world) = World::new("whiteouts_become_what_overlayfs_knows") else { return };
    let layer = Archive::new()
        .file("a/.wh.gone", "")
        .dir("b")
        .file("b/.wh..wh..opq", "")
        .file("b/new", "x")
        // Deleted and made again, in both orders: the directory must not show the old content.
        .dir("again")
        .file("again/new", "x")
        .file(".wh.again", "")
        .file(".wh.turned", "")
        .dir("turned")
        .file(".wh.deep", "")
        .file("deep/inside/file", "x")
        .file("kept", "x")
        .file(".wh.kept", "")
        .file(".wh..wh.plnk", "")
        .file("file", "was a directory")
        .file("file/.wh.below", "");
    world.unpack(&layer);
    assert!(world.is_whiteout("a/gone"));
    for opaque in ["b", "again", "turned", "deep"] {
        assert!(world.at(opaque).is_dir() && world.is_opaque(opaque), "{opaque}");
    }
    assert!(!world.is_opaque("deep/inside") && world.at("kept").is_file());
    let names = std::fs::read_dir(world.root()).unwrap().count();
    assert_eq!(names, 7, "aufs bookkeeping was unpacked");
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let Some(world) = World::new("a_later_entry_replaces_an_earlier_one") else { return };
    let layer = Archive::new()
        .file("file", "old and long")
        .file("file", "new")
        .dir("dir")
        .file("dir/below", "x")
        .file("dir", "now a file")
        .symlink("link", "file")
        .file("link", "own")
        .file("was-file", "x")
        .dir("was-file")
        .file("was-file/below", "x")
        .hardlink("file", "file");
    world.unpack(&layer);
    assert_eq!(std::fs::read(world.root().join("file")).unwrap(), b"new");
    assert!(world.at("dir").is_file() && world.at("link").is_file());
    assert!(world.at("was-file/below").is_file());
}

#[test]
fn links_inside_the_image_are_followed() {
    let Some(world) = World::new("links_inside_the_image_are_followed") else { return };
    let layer = Archive::new()
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("usr/up", "../usr/lib")
        .file("lib/a", "x")
        .file("usr/up/b", "x");
    world.unpack(&layer);
    assert!(world.at("usr/lib/a").is_file() && world.at("usr/lib/b").is_file());
}

#[test]
fn an_absolute_name_lands_inside_and_dev_nodes_are_left_out() {
    let test = "an_absolute_name_lands_inside_and_dev_nodes_are_left_out";
    let Some(world) = World::new(test) else { return };
    let inside = format!("{}/absolute", world.dir.path().display());
    let layer = Archive::new()
        .file(&inside, "x")
        .device(EntryType::Char, "dev/null", (1, 3))
        .device(EntryType::Block, "./dev/sda", (8, 0));
    let unpacked = world.unpack(&layer);
    world.check_untouched();
    assert!(world.at(&inside[1..]).is_file());
    assert_eq!(unpacked.devices_left_out, 2);
    assert!(!world.root().join("dev/sda").exists());
}

/// The attack's words, all of them with their causes.
fn refusal(world: &World, layer: &Archive) -> String {
    let limits = Limits { bytes_max: 1 << 20, entries_max: 50, depth_max: 40, ..Limits::DEFAULT };
    let error = world.unpack_within(layer, limits).expect_err("it was unpacked");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

type Attack = (&'static str, Archive, &'static str);

/// Names and links that lead out.
fn attacks_on_paths() -> Vec<Attack> {
    let new = Archive::new;
    let out = "its name goes through a link that leads out of the image";
    vec![
        ("dot-dot", new().file("../secret", "x"), "its name has a .. in it"),
        ("dot-dot inside", new().dir("a").file("a/../../secret", "x"), "its name has a .. in it"),
        ("absolute link", new().symlink("l", "/").file("l/tmp/x", "x"), out),
        ("climbing link", new().symlink("l", "..").file("l/secret", "x"), out),
        (
            "chain of links",
            new().symlink("a", "b").symlink("b", "c/..").symlink("c", "..").file("a/x", "x"),
            out,
        ),
        ("link through /proc", new().symlink("l", "/proc/self/cwd").file("l/x", "x"), out),
        (
            "loop of links",
            new().symlink("a", "b").symlink("b", "a").file("a/x", "x"),
            "its name goes through a loop of links",
        ),
        ("link as root", new().symlink("./", "/etc"), "it would replace the root directory"),
        ("file as directory", new().file("f", "x").file("f/x", "x"), "not a directory"),
        ("dangling link", new().symlink("l", "nothing").file("l/x", "x"), "not a directory"),
        ("hard link up", new().hardlink("l", "../secret"), "its name has a .. in it"),
        (
            "hard link out",
            new().hardlink("l", "/etc/passwd"),
            "it is a hard link to \"/etc/passwd\", which is not in this layer",
        ),
        ("hard link through a link", new().symlink("d", "..").hardlink("l", "d/secret"), out),
        ("hard link to directory", new().dir("d").hardlink("l", "d"), "a directory or a device"),
        (
            "hard link to a whiteout",
            new().file(".wh.w", "").hardlink("l", "w"),
            "a directory or a device",
        ),
        ("whiteout of itself", new().file("d/.wh..", ""), "it is a whiteout of nothing"),
        ("whiteout of the parent", new().file("d/.wh...", ""), "it is a whiteout of nothing"),
        ("whiteout outside", new().symlink("l", "..").file("l/.wh.secret", ""), out),
        ("opaque outside", new().symlink("l", "..").file("l/.wh..wh..opq", ""), out),
        ("directory outside", new().symlink("l", "..").dir("l/new"), out),
    ]
}

/// Things that an image has no business to hold.
fn attacks_with_content() -> Vec<Attack> {
    let new = Archive::new;
    let attribute = |name: &str, value: &[u8]| new().pax(&[(name, value)]).dir("d");
    vec![
        (
            "block device",
            new().device(EntryType::Block, "disk", (8, 0)),
            "it is a device (8:0) outside of dev/",
        ),
        (
            "forged whiteout",
            new().device(EntryType::Char, "etc/x", (0, 0)),
            "it is a device (0:0) outside of dev/",
        ),
        (
            "redirect",
            attribute("SCHILY.xattr.trusted.overlay.redirect", b"/../../etc"),
            "it sets \"trusted.overlay.redirect\", which belongs to overlayfs",
        ),
        (
            "user redirect",
            attribute("SCHILY.xattr.user.overlay.redirect", b"/"),
            "it sets \"user.overlay.redirect\", which belongs to overlayfs",
        ),
        (
            "owner -1",
            new().pax(&[("uid", b"4294967295")]).file("f", ""),
            "its owner 4294967295:0 is not below 4294967295",
        ),
        (
            "owner that wraps to root",
            new().pax(&[("gid", b"4294967296")]).file("f", ""),
            "its owner 0:4294967296 is not below 4294967295",
        ),
        ("link without target", new().symlink("l", ""), "a symbolic link without a target"),
        ("NUL in a name", new().pax(&[("path", b"a\0/../b")]).file("f", ""), "has a bad name"),
    ]
}

/// Small archives that would become something big.
fn bombs() -> Vec<Attack> {
    let new = Archive::new;
    let deep = "d/".repeat(41);
    let many = (0..60).fold(new(), |archive, n| archive.file(&format!("f{n}"), ""));
    let long = "n".repeat(300);
    vec![
        (
            "size",
            new().entry(EntryType::Regular, "f", "", b"", |h| h.set_size(1 << 40)),
            "the layer is larger than 1048576 bytes",
        ),
        (
            "sparse",
            new()
                .pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"9223372036854775807")])
                .file("f", "x"),
            "the layer is larger than 1048576 bytes",
        ),
        ("entries", many, "the layer has more than 50 entries"),
        ("depth", new().file(&deep, ""), "its name is deeper than 40 directories"),
        ("name", new().pax(&[("path", long.as_bytes())]).file("f", ""), "longer than 255 bytes"),
        (
            "PAX header",
            new().entry(EntryType::XHeader, "p", "", b"", |h| h.set_size(1 << 33)),
            "the PAX header at byte 0 is longer than 1048576 bytes",
        ),
    ]
}

#[test]
fn every_attack_is_refused_by_name_and_leaves_the_host_untouched() {
    let test = "every_attack_is_refused_by_name_and_leaves_the_host_untouched";
    for attacks in [attacks_on_paths(), attacks_with_content(), bombs()] {
        for (name, layer, expected) in attacks {
            let Some(world) = World::new(test) else { return };
            let words = refusal(&world, &layer);
            assert!(words.contains(expected), "{name}: {words}");
            world.check_untouched();
        }
    }
}

/// CVE-2021-32760: a layer gives modes and owners to links, and to hard links of links, whose
/// targets are files of the host.
#[test]
fn cve_2021_32760_modes_are_never_set_through_links() {
    let test = "cve_2021_32760_modes_are_never_set_through_links";
    let Some(world) = World::new(test) else { return };
    let secret = world.dir.path().join("secret");
    let give = |h: &mut tar::Header| {
        h.set_mode(0o4777);
        h.set_uid(1234);
    };
    let target = secret.to_str().unwrap();
    let layer = Archive::new()
        .entry(EntryType::Symlink, "relative", "../secret", b"", give)
        .entry(EntryType::Symlink, "absolute", target, b"", give)
        .entry(EntryType::Link, "hard", "relative", b"", give)
        .entry(EntryType::Link, "hard2", "absolute", b"", give);
    world.unpack(&layer);
    world.check_untouched();
    assert_eq!(secret.metadata().unwrap().uid(), nix::unistd::geteuid().as_raw());
    assert!(world.at("hard").is_symlink() && world.at("hard2").is_symlink());
}

#[test]
fn at_each_bound_a_layer_is_unpacked_and_one_beyond_it_is_not() {
    let test = "at_each_bound_a_layer_is_unpacked_and_one_beyond_it_is_not";
    let Some(world) = World::new(test) else { return };
    let fits = |layer: &Archive, limits| world.unpack_within(layer, limits).is_ok();
    let limits = Limits { bytes_max: 4096, entries_max: 2, depth_max: 3, names_bytes_max: 9 };
    let text = |count| "x".repeat(count);
    assert!(fits(&Archive::new().file("a", &text(3000)).file("b", &text(1000)), limits));
    assert!(!fits(&Archive::new().file("a", &text(3000)).file("b", &text(1100)), limits));
    assert!(!fits(&Archive::new().dir("a").dir("b").dir("c"), limits));
    assert!(fits(&Archive::new().dir("a/b/c"), limits));
    assert!(!fits(&Archive::new().dir("a/b/c/d"), limits));
    assert!(fits(&Archive::new().dir("nine-long"), limits));
    assert!(!fits(&Archive::new().dir("ten-bytes-"), limits));
    assert!(fits(&Archive::new().file("nine-long/and-a-file", ""), limits));
    assert!(!fits(&Archive::new().file("four/nine/file", ""), limits), "implied: 4 and 9 bytes");
}

/// Names and targets that meet each other: directories, links and files of the same name.
const NAMES: [&str; 16] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "l",
    "l/a",
    "./",
    "..",
    "../secret",
    "/a",
    "a/../../secret",
    ".wh.a",
    "a/.wh.b",
    "a/.wh..wh..opq",
    "l/.wh.secret",
    "l/secret",
];
const TARGETS: [&str; 10] = ["a", "b", "..", "../secret", "/", "/etc", "l", ".", "a/b", "a/.."];

fn archive_of(entries: &[(u8, &str, &str)]) -> Archive {
    entries.iter().fold(Archive::new(), |archive, (kind, name, target)| match kind {
        0 => archive.dir(name),
        1 => archive.symlink(name, target),
        2 => archive.hardlink(name, target),
        3 => archive.device(EntryType::Char, name, (1, 3)),
        _ => archive.file(name, "changed"),
    })
}

#[test]
fn no_sequence_of_entries_touches_what_is_outside() {
    let test = "no_sequence_of_entries_touches_what_is_outside";
    if World::new(test).is_none() {
        return;
    }
    let config = proptest::test_runner::Config {
        cases: 300,
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    };
    let entry = (0..6u8, proptest::sample::select(&NAMES), proptest::sample::select(&TARGETS));
    let entries = proptest::collection::vec(entry, 1..12);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&entries, |entries| {
        let world = World::new(test).unwrap();
        // Refused or not: neither may reach outside, and what is there can be removed.
        let _ = world.unpack_within(&archive_of(&entries), Limits::DEFAULT);
        world.check_untouched();
        let dir = rooted::open_dir(world.dir.path()).unwrap();
        rooted::remove_tree(dir.as_fd(), b"root").unwrap();
        Ok(())
    });
    outcome.unwrap();
}
