//! Every name on the wire against AWS's published model of ECS, as botocore ships it.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::wire::{OperationShapes, Shape};
use super::{Api, Code, Gate, ecs, iam, logs, own, sts, vault};
use crate::engine::{Engine, Options};
use crate::keyring::Keyring;
use crate::logs::LogStore;
use crate::nodes::LogsRelay;
use crate::seeing::Seeing;
use crate::state::{Scope, Sha256Hash};
use crate::store::RedbStore;

/// AWS's models of the services that are served, from whatever botocore Python finds; `None`,
/// counted as skipped, where there is none.
fn published(test: &str) -> Option<Value> {
    let services: Vec<&str> = services().iter().map(|(name, _)| *name).collect();
    let program = "import json, sys, botocore.loaders as l; load = l.Loader().load_service_model; \
                   json.dump({s: load(s, 'service-2') for s in sys.argv[1:]}, sys.stdout)";
    let python = std::env::var("LOADLINE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let out = Command::new(python).args(["-c", program]).args(services).output();
    let model = out.ok().filter(|out| out.status.success());
    let model = model.and_then(|out| serde_json::from_slice(&out.stdout).ok());
    if model.is_none() {
        eprintln!("SKIPPED {test}: needs botocore (python3 -m pip install boto3)");
    }
    model
}

/// Every service of AWS's by botocore's name, and its operations.
fn services() -> Vec<(&'static str, Vec<OperationShapes>)> {
    vec![
        ("ecs", ecs::shapes()),
        ("iam", iam::shapes()),
        ("sts", sts::shapes()),
        ("secretsmanager", vault::secrets::shapes()),
        ("ssm", vault::parameters::shapes()),
        ("logs", logs::shapes()),
    ]
}

fn members<'a>(model: &'a Value, shape: &str) -> Vec<&'a str> {
    let members = model["shapes"][shape]["members"].as_object();
    members.map(|members| members.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn check_shape(model: &Value, operation: &str, shape: &Shape, wrong: &mut Vec<String>) {
    assert!(!shape.aws_name.is_empty(), "{operation}: a shape of our own among ECS's");
    if model["shapes"][shape.aws_name]["type"] != "structure" {
        wrong.push(format!("{operation}: AWS has no structure {}", shape.aws_name));
    }
    let known = members(model, shape.aws_name);
    for field in shape.fields.iter().chain(shape.unsupported) {
        if !known.contains(field) {
            wrong.push(format!("{operation}: {} has no field {field}", shape.aws_name));
        }
    }
    if let Some(twice) = shape.fields.iter().find(|field| shape.unsupported.contains(field)) {
        wrong.push(format!("{}: {twice} is both served and refused", shape.aws_name));
    }
}

/// A field of a newer AWS is refused as unknown, which is right but could say more: worth a note.
fn note_newer(model: &Value, of: &OperationShapes) {
    for shape in &of.request {
        let newer = members(model, shape.aws_name);
        let newer = newer
            .iter()
            .filter(|field| !shape.fields.contains(field) && !shape.unsupported.contains(field));
        for field in newer {
            eprintln!("note: {} of {} is new in AWS's model", field, shape.aws_name);
        }
    }
}

#[test]
fn every_name_on_the_wire_is_one_of_awss_model() {
    let Some(models) = published("every_name_on_the_wire_is_one_of_awss_model") else { return };
    let mut wrong = Vec::new();
    for (service, operations) in services() {
        let model = &models[service];
        assert!(!operations.is_empty(), "{service}");
        for of in &operations {
            let published = &model["operations"][of.name];
            if !published.is_object() {
                wrong.push(format!("{service} has no operation {}", of.name));
            }
            for (direction, shapes) in [("input", &of.request), ("output", &of.answer)] {
                // An operation without an answer of its own answers with nothing.
                let expected = published[direction]["shape"].as_str().unwrap_or_default();
                if expected != shapes[0].aws_name {
                    wrong.push(format!("{}: {direction} is not {}", of.name, shapes[0].aws_name));
                }
                let named =
                    shapes.iter().filter(|shape| !expected.is_empty() || 1 < shape.fields.len());
                for shape in named {
                    check_shape(model, of.name, shape, &mut wrong);
                }
            }
            note_newer(model, of);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_operation_says_what_a_caller_needs_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let api = tokio::runtime::Runtime::new().unwrap().block_on(async { api(folder.path()).0 });
    let view = api.engine.snapshot();
    let nothing = serde_json::json!({});
    for of in ecs::shapes() {
        assert!(ecs::needs(&view, of.name, &nothing).is_some(), "{}", of.name);
    }
    for of in iam::shapes() {
        assert!(iam::needs(&view, of.name, &nothing).is_some(), "{}", of.name);
    }
    assert!(ecs::needs(&view, "Frobnicate", &nothing).is_none());
}

#[test]
fn each_operation_of_ecs_is_served_or_refused_with_its_reason() {
    let served: BTreeSet<_> = ecs::shapes().iter().map(|of| of.name).collect();
    for name in ecs::absent_names() {
        assert!(!served.contains(name), "{name} is both");
        let refused = ecs::absent(name).unwrap();
        assert_eq!(refused.code, Code::UnsupportedFeature);
        assert!(refused.message.starts_with(name), "{refused}");
    }
    assert!(ecs::absent("ListTasks").is_none());
    let Some(models) = published("each_operation_of_ecs_is_served_or_refused_with_its_reason")
    else {
        return;
    };
    let known: BTreeSet<_> = served.into_iter().chain(ecs::absent_names()).collect();
    let all = models["ecs"]["operations"].as_object().unwrap().keys();
    for name in all.filter(|name| !known.contains(name.as_str())) {
        eprintln!("note: {name} of ecs is new in AWS's model");
    }
}

#[test]
fn every_error_of_ecs_is_one_of_awss_model() {
    let Some(models) = published("every_error_of_ecs_is_one_of_awss_model") else { return };
    let model = &models["ecs"];
    for code in [
        Code::AccessDenied,
        Code::Client,
        Code::ClusterContainsContainerInstances,
        Code::ClusterContainsServices,
        Code::ClusterContainsTasks,
        Code::ClusterNotFound,
        Code::Conflict,
        Code::InvalidParameter,
        Code::LimitExceeded,
        Code::ResourceNotFound,
        Code::Server,
        Code::ServiceNotActive,
        Code::ServiceDeploymentNotFound,
        Code::ServiceNotFound,
        Code::UnsupportedFeature,
        Code::TargetNotFound,
        Code::UpdateInProgress,
    ] {
        assert_eq!(model["shapes"][code.as_str()]["exception"], true, "{}", code.as_str());
    }
}

#[test]
fn own_operations_claim_no_name_of_awss() {
    for of in own::shapes() {
        assert!(of.request.iter().chain(&of.answer).all(|s| s.aws_name.is_empty()), "{}", of.name);
    }
}

/// The API on a store of its own, and the thread that owns its state.
pub(super) fn api(folder: &std::path::Path) -> (Api, std::thread::JoinHandle<()>) {
    let scope =
        Scope { partition: "aws".into(), region: "r-1".into(), account: "000000000000".into() };
    let store = RedbStore::open(&folder.join("state.redb")).unwrap();
    let (engine, owner) = Engine::open(Box::new(store), Options::new(scope)).unwrap();
    let api = Api {
        engine,
        gate: Gate::AnyKey,
        relay: LogsRelay::new(),
        keyring: Arc::new(Keyring::new(&[7; 32])),
        logs: LogStore::open(&folder.join("logs.redb")).unwrap(),
        replays: Arc::default(),
        seeing: Seeing::default(),
        caller: Default::default(),
        asker: None,
        authority: None,
        ca_hash: Sha256Hash([0; 32]),
    };
    (api, owner)
}

/// Texts that mean something somewhere in a request, and some that do nowhere.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "default",
            "c",
            "web",
            "web:1",
            "web:0",
            "EC2",
            "FARGATE",
            "none",
            "host",
            "bridge",
            "ACTIVE",
            "DRAINING",
            "STOPPED",
            "DESC",
            "TAGS",
            "memberOf",
            "spread",
            "binpack",
            "cpu",
            "attribute:a =~ (",
            "256",
            ".25 vCPU",
            "1 GB",
            "",
            ":",
            "arn:",
            "arn:aws:ecs:r-1:000000000000:cluster/default",
            "arn:aws:ecs:r-1:000000000000:task/default/1",
            "containerInsights",
            "disabled",
        ])
        .prop_map(ToOwned::to_owned),
        ".{0,12}",
    ]
}

/// JSON of the names that the operations know, nested as it comes.
fn request(names: Vec<&'static str>) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-2i64..200).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::String),
        text().prop_map(|text| Value::Array(vec![Value::String(text)])),
    ];
    let name = prop::sample::select(names);
    leaf.prop_recursive(3, 24, 6, move |inner| {
        let map = prop::collection::hash_map(name.clone(), inner.clone(), 1..6);
        let object = map.prop_map(|map| {
            map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>()
        });
        prop_oneof![3 => object, 1 => prop::collection::vec(inner, 0..4).prop_map(Value::Array)]
    })
}

#[test]
fn no_request_makes_it_panic_or_answer_that_it_is_its_own_fault() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (api, _owner) = api(folder.path());
    let operations: Vec<_> = ecs::shapes().into_iter().chain(own::shapes()).collect();
    let case = prop::sample::select((0..operations.len()).collect::<Vec<_>>());
    let shapes = operations.clone();
    let case = case.prop_flat_map(move |index| {
        let names = shapes[index].request.iter().flat_map(|s| s.fields.iter().chain(s.unsupported));
        let names: Vec<&'static str> = names.copied().chain(["colour"]).collect();
        (Just(index), request(names))
    });
    let config = ProptestConfig { cases: 1500, ..ProptestConfig::default() };
    let ran = std::cell::Cell::new((0u32, 0u32));
    proptest!(config, |((index, body) in case)| {
        let name = operations[index].name;
        let answer = runtime.block_on(async {
            if index < ecs::shapes().len() {
                ecs::run(&api, name, body.clone()).await
            } else {
                own::run(&api, name, body.clone()).await
            }
        });
        let (ok, refused) = ran.get();
        match answer {
            Ok(json) => {
                prop_assert!(serde_json::from_slice::<Value>(&json).is_ok());
                ran.set((ok + 1, refused));
            }
            Err(error) => {
                prop_assert!(error.code != Code::Server, "{} {}: {}", name, body, error);
                prop_assert!(!error.message.is_empty());
                ran.set((ok, refused + 1));
            }
        }
    });
    let (ok, refused) = ran.get();
    assert!(0 < ok && 0 < refused, "both kinds of answers were seen: {ok}, {refused}");
    api.engine.stop();
}

#[test]
fn the_documentation_names_every_operation_and_no_other() {
    let page = include_str!("../../../docs/ecs-api.md");
    let rows = |heading: &str| {
        let part = page.split(heading).nth(1).and_then(|rest| rest.split("\n## ").next());
        part.into_iter().flat_map(str::lines).filter(|line| line.starts_with('|')).skip(2)
    };
    let cell = |row: &str, n: usize| row.split('|').nth(n).unwrap_or_default().trim().to_owned();
    let names = |operations: Vec<OperationShapes>| {
        operations.iter().map(|of| of.name.to_owned()).collect::<BTreeSet<_>>()
    };
    let served: Vec<String> = rows("\n## What is served\n")
        .flat_map(|row| cell(row, 2).split(' ').map(ToOwned::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(served.iter().cloned().collect::<BTreeSet<_>>(), names(ecs::shapes()));
    assert_eq!(served.len(), ecs::shapes().len(), "each is named once");
    let own: BTreeSet<_> =
        rows("\n## Loadline's own operations\n").map(|row| cell(row, 1)).collect();
    assert_eq!(own, names(own::shapes()));
}
