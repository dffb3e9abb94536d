//! Clients that are not ours: boto3 and others drive the controller with nothing but its address.

use std::process::Command;

use loadline_fixtures::{Image, folders};
use loadline_tests::cluster::Cluster;
use loadline_tests::program;
use loadline_tests::require;
use loadline_tests::require::{Facility, python};

use crate::world::{cluster, end};

/// Runs a script of `tests/clients` against the cluster; it ends with 0 where every claim holds.
fn script(cluster: &Cluster, name: &str) {
    let mut command = Command::new(python());
    command.arg(folders::workspace().join("tests/clients").join(name));
    command.arg(format!("http://{}", cluster.api.address));
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

/// Every file below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
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
