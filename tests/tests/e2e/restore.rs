//! A controller that is lost with its disk, and made anew from a backup: nodes, clients, secrets
//! and log events are as they were.

use loadline_tests::program::{self, until};
use loadline_tests::require;
use loadline_tests::require::Facility;
use serde_json::json;

use crate::world::{cluster, end, processes, ready, trapped};

#[test]
fn a_controller_made_of_a_backup_goes_on_with_its_nodes_clients_secrets_and_logs() {
    require!(
        "a_controller_made_of_a_backup_goes_on_with_its_nodes_clients_secrets_and_logs":
            Facility::Root
    );
    let mut cluster = cluster(1024);
    let tasks = trapped(&cluster, 3);
    let before = ready(&cluster, &tasks);
    let (api, folder) = (cluster.api.clone(), cluster.folder.path().to_owned());
    let secret = json!({ "Name": "db", "SecretString": "hush" });
    api.call("secretsmanager", "CreateSecret", &secret).unwrap();
    let logs = |operation: &str, input| api.call("Logs_20140328", operation, &input).unwrap();
    let stream = json!({ "logGroupName": "g", "logStreamName": "s" });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now_ms = u64::try_from(now.as_millis()).unwrap();
    // These answer with nothing.
    for (operation, input) in
        [("CreateLogGroup", json!({ "logGroupName": "g" })), ("CreateLogStream", stream.clone())]
    {
        let target = format!("Logs_20140328.{operation}");
        assert_eq!(api.send(&target, input.to_string().as_bytes()).unwrap().status, 200);
    }
    let mut put = stream.clone();
    put["logEvents"] = json!([{ "timestamp": now_ms, "message": "kept" }]);
    logs("PutLogEvents", put);

    let made = api.own("CreateBackup", &json!({})).unwrap();
    let backup = folder.join("backup.jsonl");
    std::fs::copy(made["path"].as_str().unwrap(), &backup).unwrap();
    let reserved = json!({ "memoryReservation": 32 });
    let definition = cluster.define("late", &["trap", "TERM", "0"], json!({}), reserved).unwrap();
    let late = api.run(&definition, 1).unwrap();
    api.until(&late, "RUNNING").unwrap();
    cluster.kill_controller().unwrap();
    std::fs::remove_dir_all(folder.join("controller")).unwrap();
    std::fs::remove_file(folder.join("credentials")).unwrap();

    let mut restore = program::command(&program::find("loadline-controller").unwrap());
    restore.arg("--state-dir").arg(folder.join("controller"));
    restore.arg("--credentials-file").arg(folder.join("credentials"));
    let restored = program::run(&folder, restore.arg("restore").arg(&backup)).unwrap();
    assert!(restored.succeeded().unwrap().stdout.contains("of logs restored"));
    cluster.start_controller().unwrap();
    assert_eq!(cluster.api.key.id, api.key.id, "clients keep their key");
    cluster.until_connected(1).unwrap();
    let arns: Vec<String> = tasks.keys().cloned().collect();
    api.until(&arns, "RUNNING").unwrap();
    for (task, pids) in &before {
        assert_eq!(processes(&cluster, task), *pids, "{task} noticed");
    }
    until("a task that the backup does not know has ended", || {
        Ok(processes(&cluster, &late[0]).is_empty().then_some(()))
    })
    .unwrap();
    let told = api.call("secretsmanager", "GetSecretValue", &json!({ "SecretId": "db" })).unwrap();
    assert_eq!(told["SecretString"], "hush");
    let mut asked = stream;
    asked["startFromHead"] = json!(true);
    let seen = logs("GetLogEvents", asked);
    assert_eq!(seen["events"][0]["message"], "kept", "{seen}");
    let more = trapped(&cluster, 1);
    ready(&cluster, &more);
    end(cluster);
}
