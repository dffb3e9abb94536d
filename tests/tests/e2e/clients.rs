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
