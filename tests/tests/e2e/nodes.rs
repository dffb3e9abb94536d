//! How nodes join, and what is refused: tokens, certificates, keys.

use loadline_tests::cluster::Cluster;
use loadline_tests::program;
use loadline_tests::require;
use loadline_tests::require::Facility;
use serde_json::json;

/// What an agent says that is given `token` for the controller at `address`, where it must fail.
fn refused(cluster: &Cluster, address: &str, token: &str) -> String {
    let state = tempfile::tempdir_in(cluster.folder.path()).unwrap();
    let mut agent = program::command(&program::find("loadline-agent").unwrap());
    agent.arg("run").arg("--state-dir").arg(state.path().join("agent"));
    agent.args(["--controller", address, "--join-token", token]);
    let parent = format!("loadline-refused-{}", std::process::id());
    let ran = program::run(state.path(), agent.args(["--cgroup-parent", &parent])).unwrap();
    assert_ne!(ran.code(), 0, "the agent was not refused: {}", ran.said());
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    let secret = token.split('.').nth(2).unwrap_or(token);
    assert!(!ran.stderr.contains(secret), "the token's secret is told: {}", ran.stderr);
    let left = loadline_tests::kernel::cgroups_named(&parent);
    left.iter().for_each(|cgroup| drop(std::fs::remove_dir(cgroup)));
    assert!(left.is_empty(), "cgroups are left: {left:?}");
    ran.stderr.to_lowercase()
}

fn token(cluster: &Cluster, input: serde_json::Value) -> String {
    let answer = cluster.api.own("CreateJoinToken", &input).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

fn check(cluster: &Cluster, token: &str, word: &str) {
    let said = refused(cluster, &cluster.agent_address, token);
    assert!(said.contains("token"), "the token is not named: {said}");
    assert!(said.contains(word), "not told to be {word}: {said}");
}

#[test]
fn a_token_that_is_none_is_refused() {
    require!("a_token_that_is_none_is_refused": Facility::Root);
    let cluster = Cluster::start().unwrap();
    let said = refused(&cluster, &cluster.agent_address, "nonsense");
    assert!(said.contains("token"), "{said}");
    let good = token(&cluster, json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let unknown = format!("{}.{}.{}.{}", parts[0], "0".repeat(16), parts[2], parts[3]);
    let said = refused(&cluster, &cluster.agent_address, &unknown);
    assert!(said.contains("token"), "{said}");
}

#[test]
fn a_token_that_expired_is_refused() {
    require!("a_token_that_expired_is_refused": Facility::Root);
    let cluster = Cluster::start().unwrap();
    let short = token(&cluster, json!({ "expiresInSeconds": 1 }));
    std::thread::sleep(std::time::Duration::from_secs(2));
    check(&cluster, &short, "expired");
}

#[test]
fn a_token_that_was_revoked_is_refused() {
    require!("a_token_that_was_revoked_is_refused": Facility::Root);
    let cluster = Cluster::start().unwrap();
    let answer = cluster.api.own("CreateJoinToken", &json!({})).unwrap();
    cluster.api.own("RevokeJoinToken", &json!({ "tokenId": answer["tokenId"] })).unwrap();
    check(&cluster, answer["token"].as_str().unwrap(), "revoked");
}

#[test]
fn a_token_that_was_used_up_is_refused() {
    require!("a_token_that_was_used_up_is_refused": Facility::Root);
    let mut cluster = Cluster::start().unwrap();
    cluster.add_node(&loadline_tests::cluster::NodeOptions::default()).unwrap();
    let used = std::fs::read_to_string(cluster.folder.path().join("token0")).unwrap();
    check(&cluster, used.trim(), "used");
    crate::world::end(cluster);
}

#[test]
fn a_controller_with_another_ca_is_refused_before_the_token_is_sent() {
    require!(
        "a_controller_with_another_ca_is_refused_before_the_token_is_sent": Facility::Root
    );
    let (own, other) = (Cluster::start().unwrap(), Cluster::start().unwrap());
    let token = own.token().unwrap();
    let said = refused(&own, &other.agent_address, &token);
    assert!(said.contains("ca"), "the CA is not named: {said}");
    // It was not used: it still lets a node in.
    let listed = own.api.own("ListJoinTokens", &json!({})).unwrap();
    assert_eq!(listed["tokens"][0]["usesLeft"], 1, "{listed}");
}

#[test]
fn a_wrong_key_is_refused() {
    require!("a_wrong_key_is_refused": Facility::Root);
    let cluster = Cluster::start().unwrap();
    let mut client = cluster.api.clone();
    client.key.secret.push('x');
    let refused = client.refused("ListClusters", &json!({})).unwrap();
    assert!((400..=403).contains(&refused.status), "{refused}");
    assert!(refused.code.contains("Signature"), "{refused}");
    client.key.id = "AKIAUNKNOWN0000000000".to_owned();
    let refused = client.refused("ListClusters", &json!({})).unwrap();
    assert_eq!(refused.code, "UnrecognizedClientException", "{refused}");
}

#[test]
fn an_unknown_field_is_refused_by_name() {
    require!("an_unknown_field_is_refused_by_name": Facility::Root);
    let cluster = Cluster::start().unwrap();
    let input = json!({ "taskDefinition": "x", "startedByy": "me" });
    let refused = cluster.api.refused("RunTask", &input).unwrap();
    assert_eq!(refused.status, 400, "{refused}");
    assert!(refused.message.contains("startedByy"), "{refused}");
}

#[test]
fn development_mode_is_refused_off_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let mut controller = program::command(&program::find("loadline-controller").unwrap());
    controller.arg("--state-dir").arg(folder.path().join("state"));
    controller.arg("--credentials-file").arg(folder.path().join("credentials"));
    controller.args(["--api-listen", "0.0.0.0:0", "--agent-listen", "127.0.0.1:0", "--dev"]);
    let ran = program::run(folder.path(), &mut controller).unwrap();
    assert_ne!(ran.code(), 0, "{}", ran.said());
    assert!(ran.stderr.contains("loopback"), "{}", ran.said());
}
