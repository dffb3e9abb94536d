//! Images: both forms are taken, and what is broken is refused with nothing left behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use loadline_fixtures::Image;
use loadline_fixtures::image::write_layer;
use loadline_tests::api::why_stopped;
use loadline_tests::cluster::Cluster;
use loadline_tests::require::Facility;
use loadline_tests::{http, require};
use serde_json::{Value, json};

use crate::world::{cluster, end};

fn names(cluster: &Cluster) -> Value {
    let socket = cluster.nodes[0].state.join("agent.sock");
    let answer = http::unix(&socket, "GET /v1/images", b"").unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

/// Files below a folder, with their sizes, without what an agent writes by itself.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn a_docker_archive_runs_as_an_oci_layout_does() {
    require!("a_docker_archive_runs_as_an_oci_layout_does": Facility::Root);
    let cluster = cluster(1024);
    let archive = cluster.folder.path().join("saved.tar");
    Image::probe("saved:v1").unwrap().write_docker_archive(&archive).unwrap();
    cluster.import_path(0, &archive).unwrap();
    let container = json!({ "image": "saved:v1", "command": ["exit", "12"] });
    let definition = cluster.define("saved", &[], json!({ "memory": "32" }), container).unwrap();
    let tasks = cluster.api.run(&definition, 1).unwrap();
    let state = cluster.api.until(&tasks, "STOPPED").unwrap();
    assert_eq!(state[0]["containers"][0]["exitCode"], 12, "{}", why_stopped(&state[0]));
    end(cluster);
}

#[test]
fn a_truncated_image_is_refused_and_leaves_nothing() {
    require!("a_truncated_image_is_refused_and_leaves_nothing": Facility::Root);
    let cluster = cluster(1024);
    let before = (names(&cluster), files(&cluster.nodes[0].state.join("images")));
    let archive = cluster.folder.path().join("cut.tar");
    Image::probe("cut:latest").unwrap().write_docker_archive(&archive).unwrap();
    let length = archive.metadata().unwrap().len();
    File::options().write(true).open(&archive).unwrap().set_len(length / 2).unwrap();
    let error = cluster.import_path(0, &archive).unwrap_err().to_string();
    assert!(error.len() < 1000 && error.contains("cut.tar"), "{error}");
    let after = (names(&cluster), files(&cluster.nodes[0].state.join("images")));
    assert_eq!(after, before);
    end(cluster);
}

#[test]
fn a_blob_that_does_not_match_its_digest_is_refused() {
    require!("a_blob_that_does_not_match_its_digest_is_refused": Facility::Root);
    let cluster = cluster(1024);
    let before = (names(&cluster), files(&cluster.nodes[0].state.join("images")));
    // Not a layer that the node already has: that one it need not read again.
    let (layout, tar) = (cluster.folder.path().join("layout"), cluster.folder.path().join("tar"));
    let noise: Vec<u8> = (0..100_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
    write_layer(&tar, &[("noise", 0o644, &noise)]).unwrap();
    Image::new("forged:latest").layer(tar).write_oci_layout(&layout).unwrap();
    let blobs = layout.join("blobs/sha256");
    let layer = blobs.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let layer = layer.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&layer, bytes).unwrap();
    let error = cluster.import_path(0, &layout).unwrap_err().to_string();
    let digest = layer.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(&digest[..12]), "the blob is not named: {error}");
    let after = (names(&cluster), files(&cluster.nodes[0].state.join("images")));
    assert_eq!(after, before);
    end(cluster);
}

#[test]
fn a_task_whose_image_is_not_there_says_so() {
    require!("a_task_whose_image_is_not_there_says_so": Facility::Root);
    let cluster = cluster(1024);
    let container = json!({ "image": "no-such-image:v9" });
    let size = json!({ "memory": "32" });
    let definition = cluster.define("imageless", &["true"], size, container).unwrap();
    let tasks = cluster.api.run(&definition, 1).unwrap();
    let state = cluster.api.until(&tasks, "STOPPED").unwrap();
    assert_eq!(state[0]["stopCode"], "TaskFailedToStart");
    let why = why_stopped(&state[0]);
    assert!(why.contains("CannotPullContainerError") && why.contains("no-such-image"), "{why}");
    end(cluster);
}
