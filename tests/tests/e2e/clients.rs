//! Clients that are not ours: boto3 and others drive the controller with nothing but its address.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use loadline_fixtures::{Image, folders};
use loadline_tests::cluster::{Cluster, NodeOptions};
use loadline_tests::program;
use loadline_tests::require;
use loadline_tests::require::{Facility, python};

use crate::world::{cluster, end};

/// Runs a script of `tests/clients` against the cluster; it ends with 0 where every claim holds.
fn script(cluster: &Cluster, name: &str) {
    script_with(cluster, name, &[]);
}

/// The same with more arguments.
fn script_with(cluster: &Cluster, name: &str, more: &[&str]) {
    let mut command = Command::new(python());
    command.arg(folders::workspace().join("tests/clients").join(name));
    command.arg(format!("http://{}", cluster.api.address)).args(more);
    command.env("AWS_ACCESS_KEY_ID", &cluster.api.key.id);
    command.env("AWS_SECRET_ACCESS_KEY", &cluster.api.key.secret);
    command.env("AWS_DEFAULT_REGION", &cluster.api.region);
    command.env("LOADLINE_AGENT_ADDRESS", &cluster.agent_address);
    command.stdin(std::process::Stdio::null());
    let ran = program::run(cluster.folder.path(), &mut command).unwrap();
    print!("{}", ran.stdout);
    assert!(ran.status.success(), "{name}: {}\n{}", ran.said(), ran.stdout);
}

#[test]
fn boto3_takes_a_task_through_its_life() {
    require!(
        "boto3_takes_a_task_through_its_life": Facility::Root,
        Facility::Python("boto3"),
    );
    let cluster = cluster(1024);
    script(&cluster, "lifecycle.py");
    end(cluster);
}

#[test]
fn boto3_runs_containers_that_wait_for_each_other_with_volumes_and_limits() {
    require!(
        "boto3_runs_containers_that_wait_for_each_other_with_volumes_and_limits": Facility::Root,
        Facility::Python("boto3"),
        Facility::Program("busybox"),
    );
    let cluster = cluster(1024);
    cluster.import(0, &Image::busybox("busybox:latest").unwrap()).unwrap();
    script(&cluster, "features.py");
    end(cluster);
}

#[test]
fn a_task_is_told_its_secrets_and_its_output_becomes_log_events() {
    require!(
        "a_task_is_told_its_secrets_and_its_output_becomes_log_events": Facility::Root,
        Facility::Python("boto3"),
        Facility::Program("busybox"),
    );
    let cluster = cluster(1024);
    cluster.import(0, &Image::busybox("busybox:latest").unwrap()).unwrap();
    script(&cluster, "told.py");
    let mut state = Vec::new();
    for folder in walk(cluster.folder.path()) {
        let text = std::fs::read(&folder).unwrap_or_default();
        let told = text.windows(6).any(|six| six == b"hush-1");
        if told && !folder.to_string_lossy().contains("/log") {
            state.push(folder);
        }
    }
    assert!(state.is_empty(), "a secret lies on disk in the clear: {state:?}");
    end(cluster);
}

#[test]
fn variables_of_files_in_a_store_reach_their_container_and_nobody_else() {
    require!(
        "variables_of_files_in_a_store_reach_their_container_and_nobody_else": Facility::Root,
        Facility::Python("boto3"),
        Facility::Program("busybox"),
    );
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("s3-credentials");
    let text = "[store]\naws_access_key_id = STORE\naws_secret_access_key = store-secret\n";
    std::fs::write(&key, text).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    // Free for a moment more; the script listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let endpoint = format!("http://127.0.0.1:{port}");
    let key = key.to_string_lossy();
    let more =
        ["--s3-endpoint", &endpoint, "--s3-region", "eu-west-1", "--s3-credentials-file", &key];
    let mut cluster = Cluster::start_more(&more).unwrap();
    let memory_mib = Some(1024);
    cluster.add_node(&NodeOptions { memory_mib, ..NodeOptions::default() }).unwrap();
    cluster.import(0, &Image::busybox("busybox:latest").unwrap()).unwrap();
    script_with(&cluster, "files.py", &[&port]);
    let told = |file: &PathBuf| {
        let text = std::fs::read(file).unwrap_or_default();
        text.windows(6).any(|six| six == b"hush-1") && !file.to_string_lossy().contains("/log")
    };
    let state: Vec<PathBuf> = walk(cluster.folder.path()).into_iter().filter(told).collect();
    assert!(state.is_empty(), "a variable lies on disk in the clear: {state:?}");
    end(cluster);
}

#[test]
fn without_a_store_environment_files_are_taken_and_their_task_says_what_is_missing() {
    require!(
        "without_a_store_environment_files_are_taken_and_their_task_says_what_is_missing":
            Facility::Root,
        Facility::Python("boto3"),
        Facility::Program("busybox"),
    );
    let cluster = cluster(1024);
    cluster.import(0, &Image::busybox("busybox:latest").unwrap()).unwrap();
    script_with(&cluster, "files.py", &["none"]);
    end(cluster);
}

/// Every file below a folder.
fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(walk(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}
