//! Good requests of every service, broken in one to three places: whatever comes, the answer is a
//! refusal with an AWS code below 500 or a success, never a panic; and what was taken can be read
//! back from the disk.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};

use super::tests::api;
use super::{Api, ApiError, ecs, iam, logs, own, vault};
use crate::engine::{Engine, Options};
use crate::store::RedbStore;

/// How often each good request is broken.
const MUTATIONS: usize = 60;
/// Where the mutations begin; a failure names what was sent.
const SEED: u64 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Ecs,
    Own,
    Iam,
    Secrets,
    Parameters,
    Logs,
}

impl Service {
    /// As a caller's request goes: what it needs is found out before it is carried out.
    async fn run(self, api: &Api, operation: &str, body: Value) -> Result<Vec<u8>, ApiError> {
        let view = api.engine.snapshot();
        let _ = match self {
            Self::Ecs => ecs::needs(&view, operation, &body),
            Self::Own => own::needs(&view, operation, &body),
            Self::Iam => iam::needs(&view, operation, &body),
            Self::Secrets => vault::secret_needs(&view, operation, &body),
            Self::Parameters => vault::parameter_needs(&view, operation, &body),
            Self::Logs => logs::needs(&view, operation, &body),
        };
        match self {
            Self::Ecs => ecs::run(api, operation, body).await,
            Self::Own => own::run(api, operation, body).await,
            Self::Iam => iam::run(api, operation, body).await,
            Self::Secrets => vault::secrets::run(api, operation, body).await,
            Self::Parameters => vault::parameters::run(api, operation, body).await,
            Self::Logs => logs::run(api, operation, body).await,
        }
    }
}

type Request = (Service, &'static str, Value);

fn definition() -> Value {
    json!({
        "family": "web", "cpu": "256", "memory": "512", "networkMode": "bridge",
        "requiresCompatibilities": ["EC2"], "pidMode": "task",
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:a == linux"}],
        "volumes": [{"name": "v", "host": {"sourcePath": "/srv"}}],
        "tags": [{"key": "k", "value": "v"}],
        "containerDefinitions": [{
            "name": "main", "image": "web:1", "cpu": 10, "memory": 64, "memoryReservation": 32,
            "essential": true, "command": ["sleep", "1"], "entryPoint": ["/bin/sh"],
            "environment": [{"name": "A", "value": "b"}], "user": "1:1", "workingDirectory": "/",
            "portMappings": [{"containerPort": 80, "hostPort": 8080, "protocol": "tcp"}],
            "mountPoints": [{"sourceVolume": "v", "containerPath": "/v", "readOnly": true}],
            "ulimits": [{"name": "nofile", "softLimit": 10, "hardLimit": 20}],
            "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5, "retries": 2},
            "restartPolicy": {"enabled": true, "ignoredExitCodes": [3]},
            "linuxParameters": {"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}},
            "stopTimeout": 5, "startTimeout": 5, "dockerLabels": {"a": "b"},
            "logConfiguration": {"logDriver": "json-file", "options": {"max-size": "1m"}},
        }],
    })
}

fn clusters_and_tasks() -> Vec<Request> {
    use Service::Ecs;
    let strategy = json!([{"type": "spread", "field": "instanceId"}]);
    let overrides = json!({"containerOverrides": [{"name": "main", "cpu": 5, "command": ["x"]}]});
    let arn = "arn:aws:ecs:r-1:000000000000:cluster/c";
    vec![
        (Ecs, "CreateCluster", json!({"clusterName": "c", "tags": [{"key": "a", "value": "b"}]})),
        (Ecs, "RegisterTaskDefinition", definition()),
        (
            Ecs,
            "CreateService",
            json!({
                "cluster": "c", "serviceName": "s", "taskDefinition": "web", "desiredCount": 2,
                "launchType": "EC2", "schedulingStrategy": "REPLICA", "placementStrategy": strategy,
                "deploymentConfiguration": {
                    "minimumHealthyPercent": 50, "maximumPercent": 200,
                    "deploymentCircuitBreaker": {"enable": true, "rollback": true}},
                "placementConstraints": [{"type": "distinctInstance"}], "propagateTags": "SERVICE",
            }),
        ),
        (Ecs, "UpdateService", json!({"cluster": "c", "service": "s", "desiredCount": 3})),
        (Ecs, "DescribeServices", json!({"cluster": "c", "services": ["s"], "include": ["TAGS"]})),
        (Ecs, "ListServices", json!({"cluster": "c", "maxResults": 5})),
        (
            Ecs,
            "RunTask",
            json!({
                "cluster": "c", "taskDefinition": "web:1", "count": 2, "overrides": overrides,
                "group": "g", "startedBy": "me", "clientToken": "t", "placementStrategy": strategy,
                "tags": [{"key": "a", "value": "b"}],
            }),
        ),
        (Ecs, "DescribeTasks", json!({"cluster": "c", "tasks": ["0".repeat(32)]})),
        (Ecs, "ListTasks", json!({"cluster": "c", "desiredStatus": "RUNNING", "family": "web"})),
        (Ecs, "StopTask", json!({"cluster": "c", "task": "0".repeat(32), "reason": "why"})),
        (
            Ecs,
            "ListContainerInstances",
            json!({"cluster": "c", "filter": "agentConnected == true"}),
        ),
        (Ecs, "DescribeClusters", json!({"clusters": ["c"], "include": ["STATISTICS"]})),
        (Ecs, "ListTaskDefinitions", json!({"familyPrefix": "web", "sort": "DESC"})),
        (Ecs, "DescribeTaskDefinition", json!({"taskDefinition": "web:1"})),
        (Ecs, "TagResource", json!({"resourceArn": arn, "tags": [{"key": "x", "value": "y"}]})),
        (Ecs, "PutAccountSetting", json!({"name": "containerInsights", "value": "disabled"})),
        (
            Ecs,
            "PutAttributes",
            json!({"cluster": "c", "attributes": [{"name": "a", "value": "1"}]}),
        ),
        (
            Service::Own,
            "CreateJoinToken",
            json!({"cluster": "c", "uses": 2, "expiresInSeconds": 9}),
        ),
        (Service::Own, "ListJoinTokens", json!({})),
    ]
}

fn access() -> Vec<Request> {
    use Service::Iam;
    let statement = json!({"Effect": "Allow", "Action": "ecs:*", "Resource": "*",
                           "Condition": {"StringLike": {"ecs:cluster": "c*"}}});
    let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    vec![
        (Iam, "CreateUser", json!({"UserName": "u", "Path": "/a/"})),
        (
            Iam,
            "CreateRole",
            json!({"RoleName": "r", "AssumeRolePolicyDocument": trust.to_string(),
                                   "MaxSessionDuration": "3600"}),
        ),
        (
            Iam,
            "PutRolePolicy",
            json!({"RoleName": "r", "PolicyName": "p", "PolicyDocument": policy}),
        ),
        (
            Iam,
            "PutUserPolicy",
            json!({"UserName": "u", "PolicyName": "p", "PolicyDocument": policy}),
        ),
        (Iam, "CreatePolicy", json!({"PolicyName": "p", "PolicyDocument": policy})),
        (Iam, "ListRoles", json!({"PathPrefix": "/", "MaxItems": "10"})),
        (Iam, "GetRole", json!({"RoleName": "r"})),
        (Iam, "CreateAccessKey", json!({"UserName": "u"})),
    ]
}

fn secrets_and_logs() -> Vec<Request> {
    use Service::{Logs, Parameters, Secrets};
    let event = json!({"timestamp": 1_700_000_000_000_u64, "message": "m"});
    vec![
        (
            Secrets,
            "CreateSecret",
            json!({"Name": "s", "SecretString": "x", "Description": "d",
                                         "Tags": [{"Key": "a", "Value": "b"}]}),
        ),
        (Secrets, "PutSecretValue", json!({"SecretId": "s", "SecretBinary": "AAEC"})),
        (Secrets, "GetSecretValue", json!({"SecretId": "s", "VersionStage": "AWSCURRENT"})),
        (Secrets, "ListSecrets", json!({"MaxResults": 5})),
        (Secrets, "DeleteSecret", json!({"SecretId": "s", "RecoveryWindowInDays": 7})),
        (
            Parameters,
            "PutParameter",
            json!({"Name": "/a/b", "Value": "v", "Type": "SecureString",
                                            "Overwrite": true}),
        ),
        (Parameters, "GetParameters", json!({"Names": ["/a/b", "/a"], "WithDecryption": true})),
        (Parameters, "GetParametersByPath", json!({"Path": "/a", "Recursive": true})),
        (Parameters, "DeleteParameter", json!({"Name": "/a/b"})),
        (Logs, "CreateLogGroup", json!({"logGroupName": "g", "tags": {"a": "b"}})),
        (Logs, "CreateLogStream", json!({"logGroupName": "g", "logStreamName": "s"})),
        (
            Logs,
            "PutLogEvents",
            json!({"logGroupName": "g", "logStreamName": "s",
                                      "logEvents": [event]}),
        ),
        (
            Logs,
            "GetLogEvents",
            json!({"logGroupName": "g", "logStreamName": "s", "limit": 5,
                                      "startFromHead": true, "startTime": 0}),
        ),
        (
            Logs,
            "FilterLogEvents",
            json!({"logGroupName": "g", "filterPattern": "\"m\" -x",
                                         "startTime": 0, "limit": 3}),
        ),
        (Logs, "PutRetentionPolicy", json!({"logGroupName": "g", "retentionInDays": 7})),
        (Logs, "DescribeLogGroups", json!({"logGroupNamePrefix": "g", "limit": 5})),
    ]
}

/// Each place in a value, as the way to it.
fn places(value: &Value, way: &str, found: &mut Vec<String>) {
    found.push(way.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| places(value, &format!("{way}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, v)| places(v, &format!("{way}/{n}"), found));
        }
        _ => {}
    }
}

fn odd(random: &mut StdRng) -> Value {
    let texts = ["", " ", "*", "..", "\u{0}", "\u{202e}é\u{1f600}", "arn:aws:", "{", "-1", "x:0"];
    let long = "a".repeat(random.random_range(1..5000));
    let deep = (0..random.random_range(1..100)).fold(json!({}), |inner, _| json!({"a": inner}));
    let choices = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5e300),
        json!(texts.choose(random)),
        json!(long),
        json!([]),
        json!([[], null, {}]),
        json!(vec!["x"; 300]),
        deep,
    ];
    choices.choose(random).cloned().unwrap_or_default()
}

/// The value with one place of it broken.
fn broken(mut value: Value, random: &mut StdRng) -> Value {
    let mut ways = Vec::new();
    places(&value, "", &mut ways);
    let Some(way) = ways.choose(random).cloned() else { return value };
    let change = random.random_range(0..5);
    let odd = odd(random);
    let Some(at) = value.pointer_mut(&way) else { return value };
    match (change, &mut *at) {
        (0, Value::Object(fields)) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            names.choose(random).map(|name| fields.remove(name));
        }
        (1, Value::Object(fields)) => {
            fields.insert("colour".into(), odd);
        }
        (2, Value::Array(items)) => {
            let again: Vec<Value> = items.iter().cycle().take(items.len() * 60).cloned().collect();
            items.extend(again);
        }
        (3, Value::String(text)) => {
            let at = random.random_range(0..=text.chars().count());
            *text = text.chars().take(at).chain(['é', '\n']).chain(text.chars().skip(at)).collect();
        }
        _ => *at = odd,
    }
    value
}

#[tokio::test]
async fn a_broken_request_is_refused_with_a_code_and_never_answered_as_our_own_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (api, owner) = api(folder.path());
    let requests: Vec<_> =
        [clusters_and_tasks(), access(), secrets_and_logs()].into_iter().flatten().collect();
    let mut well = Map::new();
    for (service, operation, body) in &requests {
        let answer = service.run(&api, operation, body.clone()).await;
        well.insert((*operation).to_owned(), json!(answer.is_ok()));
    }
    let good = well.values().filter(|ok| **ok == true).count();
    assert!(requests.len() * 3 / 4 < good, "the requests are not good ones: {well:?}");
    let mut random = StdRng::seed_from_u64(SEED);
    let mut refused = 0;
    for (service, operation, body) in &requests {
        for _ in 0..MUTATIONS {
            let places = random.random_range(1..=3);
            let sent = (0..places).fold(body.clone(), |body, _| broken(body, &mut random));
            if let Err(error) = service.run(&api, operation, sent.clone()).await {
                let status = error.code.status().as_u16();
                assert!((400..500).contains(&status), "{operation} {sent}: {status} {error}");
                assert!(!error.message.is_empty() && !error.code.as_str().is_empty());
                refused += 1;
            }
        }
    }
    assert!(requests.len() * MUTATIONS / 2 < refused, "only {refused} were refused");
    let before = api.engine.snapshot();
    api.engine.stop();
    owner.join().unwrap();
    drop(api);
    let store = RedbStore::open(&folder.path().join("state.redb")).unwrap();
    let (again, _owner) =
        Engine::open(Box::new(store), Options::new((*before.scope).clone())).unwrap();
    assert_eq!(again.snapshot().clusters().count(), before.clusters().count());
    assert_eq!(again.snapshot().definitions().count(), before.definitions().count());
    again.stop();
}
