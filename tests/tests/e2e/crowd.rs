//! Many at once: the node's line is never passed (laws 7 and 13).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use loadline_tests::require;
use loadline_tests::require::Facility;
use serde_json::{Value, json};

use crate::world::{cluster, end};

/// Memory of one task in MiB.
const TASK_MIB: u64 = 32;

/// How many of them the node has memory for.
const FIT: u64 = 50;

const CALLS: usize = 200;

fn memory(nodes: &Value, list: &str) -> i64 {
    let resources = nodes["containerInstances"][0][list].as_array().unwrap();
    let memory = resources.iter().find(|resource| resource["name"] == "MEMORY").unwrap();
    memory["integerValue"].as_i64().unwrap()
}

#[test]
fn of_200_concurrent_calls_exactly_as_many_are_placed_as_fit() {
    require!("of_200_concurrent_calls_exactly_as_many_are_placed_as_fit": Facility::Root);
    let cluster = cluster(TASK_MIB * FIT);
    let size = json!({ "memory": TASK_MIB.to_string() });
    let definition = cluster.define("one", &["trap", "TERM", "0"], size, json!({})).unwrap();
    let node = cluster.api.ecs("ListContainerInstances", &json!({})).unwrap();
    let node = json!({ "containerInstances": node["containerInstanceArns"] });
    let (placed, refused) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let done = AtomicBool::new(false);
    let least = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut least = i64::MAX;
            while !done.load(Ordering::Relaxed) {
                let nodes = cluster.api.ecs("DescribeContainerInstances", &node).unwrap();
                least = least.min(memory(&nodes, "remainingResources"));
            }
            least
        });
        let call = || {
            let input = json!({ "taskDefinition": definition });
            let answer = cluster.api.ecs("RunTask", &input).unwrap();
            match answer["failures"][0]["reason"].as_str() {
                Some(reason) => refused.lock().unwrap().push(reason.to_owned()),
                None => {
                    let task = answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
                    placed.lock().unwrap().push(task);
                }
            }
        };
        let calls: Vec<_> = (0..CALLS).map(|_| scope.spawn(call)).collect();
        calls.into_iter().for_each(|call| call.join().unwrap());
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    });
    let (placed, refused) = (placed.into_inner().unwrap(), refused.into_inner().unwrap());
    assert_eq!((placed.len(), refused.len()), (50, 150));
    assert!(refused.iter().all(|reason| reason == "RESOURCE:MEMORY"), "{refused:?}");
    assert!(0 <= least, "the line was passed: {least} MiB were left");
    cluster.api.until(&placed, "RUNNING").unwrap();
    let nodes = cluster.api.ecs("DescribeContainerInstances", &node).unwrap();
    assert_eq!(memory(&nodes, "remainingResources"), 0);
    assert_eq!(memory(&nodes, "registeredResources"), i64::try_from(TASK_MIB * FIT).unwrap());
    end(cluster);
}
