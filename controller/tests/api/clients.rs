//! boto3 and aws-cli, unmodified but for the endpoint, against the API: `tests/clients/*.py`.

use std::path::PathBuf;
use std::process::Command;

use crate::world::{REGION, World};

/// The interpreter that `cargo xtask test` prepared, or the machine's.
fn python() -> String {
    std::env::var("LOADLINE_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn has_python_module(module: &str) -> bool {
    let import = format!("import {module}");
    Command::new(python()).args(["-c", &import]).output().is_ok_and(|out| out.status.success())
}

async fn check(test: &str, script: &str, module: &str) {
    if !has_python_module(module) {
        eprintln!("SKIPPED {test}: needs {module} (python3 -m pip install {module})");
        return;
    }
    run(&python(), script, 1).await;
}

/// The same with two nodes.
async fn check_on_two(test: &str, script: &str, module: &str) {
    if !has_python_module(module) {
        eprintln!("SKIPPED {test}: needs {module} (python3 -m pip install {module})");
        return;
    }
    run(&python(), script, 2).await;
}

/// Runs a script of `tests/clients` against a world of its own.
async fn run(program: &str, script: &str, nodes: u8) {
    let world = World::with_nodes(nodes).await;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    let mut client = tokio::process::Command::new(program);
    client
        .arg(folder.join(script))
        .arg(format!("http://{}", world.address))
        .env("AWS_SHARED_CREDENTIALS_FILE", &world.credentials)
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_ENDPOINT_URL")
        .kill_on_drop(true);
    let out = client.output().await.unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let complained = String::from_utf8_lossy(&out.stderr);
    println!("{said}");
    assert!(out.status.success(), "{script} failed:\n{said}\n{complained}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_takes_a_task_through_its_life() {
    check("boto3_takes_a_task_through_its_life", "lifecycle.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_with_awss_codes() {
    check("bad_requests_are_refused_with_awss_codes", "refusals.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages() {
    check("lists_come_in_pages", "pages.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_cli_walks_the_same_road() {
    check("aws_cli_walks_the_same_road", "cli.py", "awscli").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_at_once_place_what_fits_and_no_more() {
    let test = "two_hundred_calls_at_once_place_what_fits_and_no_more";
    check(test, "crowd.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_put_listed_and_removed() {
    check("tags_are_put_listed_and_removed", "tags.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sts_says_who_is_calling() {
    check("sts_says_who_is_calling", "sts.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_roles_may_what_their_policies_say() {
    check("users_and_roles_may_what_their_policies_say", "iam.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_and_parameters_are_kept_and_told_to_whom_may_know() {
    let test = "secrets_and_parameters_are_kept_and_told_to_whom_may_know";
    check(test, "vault.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_events_are_kept_and_found() {
    check("log_events_are_kept_and_found", "logs.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_kept_and_rolled_forward() {
    check("a_service_is_kept_and_rolled_forward", "services.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_revision_is_rolled_back_and_a_node_is_drained() {
    let test = "a_bad_revision_is_rolled_back_and_a_node_is_drained";
    check_on_two(test, "trouble.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_carried_out_or_refused_with_its_reason() {
    let test = "every_operation_is_carried_out_or_refused_with_its_reason";
    check(test, "operations.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_boundaries_count() {
    check("groups_and_boundaries_count", "iam_more.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ecs_deploy_deploys_a_revision() {
    check("ecs_deploy_deploys_a_revision", "deploy.py", "ecs_deploy").await;
}

/// Where Node finds the JavaScript SDK: a folder in which `npm install @aws-sdk/client-ecs` ran.
const MODULES: &str = "LOADLINE_NODE_MODULES";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_sdk_lists_and_refuses() {
    let folder = std::env::var(MODULES).unwrap_or_default();
    if !PathBuf::from(&folder).join("node_modules/@aws-sdk/client-ecs").exists() {
        eprintln!(
            "SKIPPED the_javascript_sdk_lists_and_refuses: needs @aws-sdk/client-ecs in the \
             folder that {MODULES} names"
        );
        return;
    }
    run("node", "list.mjs", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_and_filters_are_judged() {
    check("settings_and_filters_are_judged", "settings.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_are_put_and_asked_for() {
    check("attributes_are_put_and_asked_for", "attributes.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_drained_and_tokens_are_made() {
    check("nodes_are_drained_and_tokens_are_made", "nodes.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_of_the_host_are_used_once() {
    check("ports_of_the_host_are_used_once", "ports.py", "boto3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protected_tasks_outlive_scale_in() {
    check("protected_tasks_outlive_scale_in", "protection.py", "boto3").await;
}
