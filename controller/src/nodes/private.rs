//! What only the node of a task may know of it: credentials of its role, and its secrets.
//!
//! Nothing of it is in the desired state, in a record or on a disk of ours: it is made anew from
//! the view for each session, sent behind what assigns the task, and kept by the agent in memory
//! only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use loadline_model::{ContainerName, DesiredStatus, KeyValue, TaskArn};
use loadline_proto::convert::{TaskCredentials, TaskSecrets};

use super::awslogs::stream_name;
use super::environment::{self, Contents, FileFault};
use crate::api::logs::group_arn;
use crate::iam::{Context, Denied, Principal, Request, Session, TaskRole, authorize, mint};
use crate::keyring::{Keyring, Purpose};
use crate::objects::ObjectName;
use crate::state::{AwsLogs, ContainerSecret, EnvironmentFile, Task, View};
use crate::vault::{Parameter, Secret, ValueKind, parameter_key, secret_key};

/// How long credentials of a task hold, in seconds (ECS: six hours).
const CREDENTIALS_S: i64 = 6 * 3600;
/// They are sent anew so long before they expire, in seconds.
const REFRESH_BEFORE_S: i64 = 3600;
/// Longest reason that a node is told, in characters: it becomes the task's `stoppedReason`.
const REASON_CHARS_MAX: usize = 1000;

/// Which tasks of a session have credentials, and until when they hold.
#[derive(Debug, Default)]
pub(super) struct Given {
    until_s: BTreeMap<TaskArn, i64>,
}

impl Given {
    /// Credentials were sent.
    pub(super) fn note(&mut self, credentials: &TaskCredentials) {
        let until_s = i64::try_from(credentials.expires_at_ms / 1000).unwrap_or(i64::MAX);
        self.until_s.insert(credentials.task.clone(), until_s);
    }

    /// Tasks that need new ones by now; those that are gone are forgotten.
    pub(super) fn due(&mut self, view: &View, now_s: i64) -> Vec<TaskArn> {
        self.until_s.retain(|task, _| view.task(task).is_some_and(|task| task.held));
        let due = self.until_s.iter().filter(|(_, until)| **until <= now_s + REFRESH_BEFORE_S);
        due.map(|(task, _)| task.clone()).collect()
    }
}

/// A session of one of the task's roles.
pub(super) fn session(
    view: &View,
    task: &Task,
    role: &str,
    of: TaskRole,
    until_s: i64,
) -> Option<Session> {
    let identity = view.iam.role_by_arn(&view.scope, role)?;
    let mut session = Session::of(identity, task.arn.id(), until_s);
    session.task = Some((task.arn.to_string(), of));
    Some(session)
}

/// Fresh credentials of the task's role; `None` where it has none, or the role is gone.
pub(super) fn credentials(
    view: &View,
    keyring: &Keyring,
    task: &TaskArn,
    now_s: i64,
) -> Option<TaskCredentials> {
    let task = view.task(task)?;
    let definition = view.definitions.get(&task.definition)?;
    let role_arn = definition.roles(task.overrides.as_deref()).task?;
    let session = session(view, task, &role_arn, TaskRole::Task, now_s + CREDENTIALS_S)?;
    let made = mint(keyring, session);
    Some(TaskCredentials {
        task: task.arn.clone(),
        role_arn,
        access_key_id: made.access_key_id,
        secret_access_key: made.secret_access_key,
        session_token: made.session_token,
        expires_at_ms: u64::try_from(made.expires_at_s).unwrap_or(0).saturating_mul(1000),
    })
}

/// The log groups that must be there before these tasks start: nobody makes them on the way.
pub(super) fn log_groups(view: &View, tasks: &[TaskArn]) -> BTreeSet<String> {
    let tasks = tasks.iter().filter_map(|arn| view.task(arn));
    let definitions = tasks.filter_map(|task| view.definitions.get(&task.definition));
    let logs = definitions.flat_map(|definition| definition.body.logs.values());
    logs.filter(|logs| !logs.create_group).map(|logs| logs.group.clone()).collect()
}

/// The objects that the task's environment files are, where its execution role may read them;
/// none for a task without such files, and for one that shall not run any more.
pub(super) fn files(
    view: &View,
    keyring: &Keyring,
    task: &TaskArn,
    now_s: i64,
) -> Result<Vec<ObjectName>, FileFault> {
    let Some(task) = view.task(task).filter(|task| task.desired == DesiredStatus::Running) else {
        return Ok(Vec::new());
    };
    let Some(definition) = view.definitions.get(&task.definition) else { return Ok(Vec::new()) };
    let overrides = task.overrides.as_deref();
    let wanted = definition.environment_files(overrides);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let role = definition.roles(overrides).execution.ok_or(FileFault::NoRole)?;
    let session = session(view, task, &role, TaskRole::Execution, now_s + 60);
    let principal = Principal::Session(session.ok_or(FileFault::NoRole)?.into());
    let looker = Looker { view, keyring, principal };
    let object = |file: &EnvironmentFile| {
        let name = ObjectName::parse(&file.object)
            .map_err(|why| FileFault::Name(file.object.clone(), why))?;
        // By the name that it is read by, however its ARN was written.
        looker.may("s3:GetObject", &name.to_string())?;
        Ok(name)
    };
    wanted.iter().map(object).collect()
}

/// The task's secrets, looked up with the rights of its execution role, which must also let it
/// write its log streams where it has one, and the variables of its environment files; `None` for
/// a task that awaits nothing.
pub(super) fn secrets(
    view: &View,
    keyring: &Keyring,
    task: &TaskArn,
    found: Found,
    now_s: i64,
) -> Option<TaskSecrets> {
    let Found { missing, files: contents } = found;
    // One that shall not run any more is told so next, and needs nothing.
    let task = view.task(task).filter(|task| task.desired == DesiredStatus::Running)?;
    let definition = view.definitions.get(&task.definition)?;
    let overrides = task.overrides.as_deref();
    let (wanted, logs) = (&definition.body.secrets, &definition.body.logs);
    let files = definition.environment_files(overrides);
    if wanted.is_empty() && logs.is_empty() && files.is_empty() {
        return None;
    }
    let role = definition.roles(overrides).execution;
    let as_role = |role: String| session(view, task, &role, TaskRole::Execution, now_s + 60);
    let values = match (role, wanted.is_empty()) {
        // Its output goes to the controller's own store, which asks for no role.
        (None, true) => Ok(BTreeMap::new()),
        (role, _) => match role.and_then(as_role) {
            Some(session) => {
                let principal = Principal::Session(session.into());
                let looker = Looker { view, keyring, principal };
                let values = looker.all(wanted).map_err(Failure::Secrets);
                values.and_then(|values| looker.may_log(task, logs).map(|()| values))
            }
            None => Err(Failure::Secrets(Fault::NoRole)),
        },
    };
    let is_lost = |logs: &&AwsLogs| !logs.create_group && missing.contains(&logs.group);
    let lost = logs.values().find(is_lost);
    let values = values.and_then(|values| match lost {
        Some(logs) => Err(Failure::NoGroup(logs.group.clone())),
        None => Ok(values),
    });
    let spec = definition.task_spec(task.arn.clone(), overrides);
    let values = values.and_then(|mut values| {
        environment::lay_under(&mut values, &spec.containers, &files, &contents?)?;
        Ok(values)
    });
    let values = values.map_err(|failure| {
        let text = format!("ResourceInitializationError: {failure}");
        text.chars().take(REASON_CHARS_MAX).collect()
    });
    Some(TaskSecrets { task: task.arn.clone(), values })
}

/// What was looked up elsewhere for a task that is about to start.
#[derive(Debug)]
pub(super) struct Found {
    /// Log groups that are not there.
    pub(super) missing: Arc<BTreeSet<String>>,
    /// The contents of its [`files`].
    pub(super) files: Result<Contents, FileFault>,
}

/// Why a task can't start.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("unable to pull secrets or registry auth: {0}")]
    Secrets(Fault),
    #[error("failed to download env files: {0}")]
    Files(#[from] FileFault),
    #[error("failed to initialize logging driver: log group {0}: AccessDeniedException: {1}")]
    Logs(String, Denied),
    #[error(
        "failed to initialize logging driver: failed to create Cloudwatch log stream: \
         ResourceNotFoundException: The specified log group does not exist: {0}"
    )]
    NoGroup(String),
}

/// Why a secret can't be had.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the task's execution role is not there")]
    NoRole,
    #[error("{0:?} is neither the name or ARN of a parameter nor the ARN of a secret")]
    Reference(String),
    #[error("unable to retrieve secret from asm: {0}: {1}")]
    Secret(String, Why),
    #[error("unable to retrieve secrets from ssm: {0}: {1}")]
    Parameter(String, Why),
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("AccessDeniedException: {0}")]
    Denied(#[from] Denied),
    #[error("ResourceNotFoundException: Secrets Manager can't find the specified secret.")]
    NoSecret,
    #[error("InvalidRequestException: the secret was marked for deletion")]
    Deleted,
    #[error("ResourceNotFoundException: it has no such version")]
    NoVersion,
    #[error("it has no text, and a variable can hold nothing else")]
    NotText,
    #[error("its value is no JSON object with the key {0:?}")]
    NoKey(String),
    #[error("invalid parameters: it is not there")]
    NoParameter,
    #[error("{0}")]
    Sealed(#[from] crate::keyring::OpenError),
}

/// Where a `valueFrom` points.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Parameter(&'a str),
    Secret { arn: String, key: &'a str, stage: &'a str, version: &'a str },
}

/// Reads a `valueFrom`. Behind a secret's ARN may stand `:json-key:version-stage:version-id`, each
/// of them empty or left out (ECS developer guide, "Pass Secrets Manager secrets").
fn place(value_from: &str) -> Option<Place<'_>> {
    if !value_from.starts_with("arn:") {
        return Some(Place::Parameter(value_from));
    }
    let parts: Vec<&str> = value_from.split(':').collect();
    match parts.as_slice() {
        [_, _, "ssm", _, _, name] if name.starts_with("parameter/") => {
            Some(Place::Parameter(value_from))
        }
        [_, _, "secretsmanager", _, _, "secret", _, rest @ ..] if rest.len() <= 3 => {
            let more = |n: usize| rest.get(n).copied().unwrap_or_default();
            let arn = parts[..7].join(":");
            Some(Place::Secret { arn, key: more(0), stage: more(1), version: more(2) })
        }
        _ => None,
    }
}

struct Looker<'a> {
    view: &'a View,
    keyring: &'a Keyring,
    principal: Principal,
}

impl Looker<'_> {
    fn all(
        &self,
        wanted: &[ContainerSecret],
    ) -> Result<BTreeMap<ContainerName, Vec<KeyValue>>, Fault> {
        let mut values: BTreeMap<ContainerName, Vec<KeyValue>> = BTreeMap::new();
        for secret in wanted {
            let value = self.value(&secret.value_from)?;
            let pair = KeyValue { name: secret.name.clone(), value };
            values.entry(secret.container.clone()).or_default().push(pair);
        }
        Ok(values)
    }

    fn value(&self, from: &str) -> Result<String, Fault> {
        match place(from).ok_or_else(|| Fault::Reference(from.to_owned()))? {
            Place::Parameter(name) => {
                self.parameter(name).map_err(|why| Fault::Parameter(from.to_owned(), why))
            }
            Place::Secret { arn, key, stage, version } => {
                let value = self.secret(&arn, stage, version).and_then(|text| of_key(text, key));
                value.map_err(|why| Fault::Secret(from.to_owned(), why))
            }
        }
    }

    fn may(&self, action: &str, resource: &str) -> Result<(), Denied> {
        let View { scope, iam, .. } = self.view;
        let mut context = Context::default();
        context.put("aws:RequestedRegion", &scope.region);
        context.extend(&self.principal.context(scope, iam));
        authorize(scope, iam, &self.principal, Request { action, resource, context: &context })
    }

    /// Whether the role may make and fill the log streams of the task's containers.
    fn may_log(&self, task: &Task, logs: &BTreeMap<ContainerName, AwsLogs>) -> Result<(), Failure> {
        for (container, one) in logs {
            let group = group_arn(&self.view.scope, &one.group);
            let denied = |denied| Failure::Logs(one.group.clone(), denied);
            if one.create_group {
                self.may("logs:CreateLogGroup", &format!("{group}:*")).map_err(denied)?;
            }
            let stream = format!("{group}:log-stream:{}", stream_name(task, container, one));
            for action in ["logs:CreateLogStream", "logs:PutLogEvents"] {
                self.may(action, &stream).map_err(denied)?;
            }
        }
        Ok(())
    }

    fn parameter(&self, name: &str) -> Result<String, Why> {
        let scope = &self.view.scope;
        let found = self.view.vault.parameter(scope, name);
        let own = |found: &Arc<Parameter>| Parameter::arn(scope, &found.name);
        let arn = match found {
            Some(parameter) => own(parameter),
            None if name.starts_with("arn:") => name.to_owned(),
            None => Parameter::arn(scope, name),
        };
        // Whether there is such a parameter is not told to whom may not know.
        self.may("ssm:GetParameters", &arn)?;
        let parameter = found.ok_or(Why::NoParameter)?;
        let version = parameter.newest().ok_or(Why::NoParameter)?;
        let name = parameter_key(&parameter.name);
        let value = self.keyring.open(Purpose::Value, &name, &version.sealed)?;
        String::from_utf8(value).map_err(|_| Why::NotText)
    }

    fn secret(&self, arn: &str, stage: &str, version: &str) -> Result<String, Why> {
        let scope = &self.view.scope;
        let found = self.view.vault.secret(scope, arn);
        let own = found.map_or_else(|| arn.to_owned(), |secret| Secret::arn(secret, scope));
        self.may("secretsmanager:GetSecretValue", &own)?;
        let secret = found.ok_or(Why::NoSecret)?;
        if secret.delete_at_ms.is_some() {
            return Err(Why::Deleted);
        }
        let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (version, stage) = (filled(version), filled(stage));
        let found = secret.version(version.as_deref(), stage.as_deref());
        let (_, version) = found.ok_or(Why::NoVersion)?;
        if version.payload.kind != ValueKind::Text {
            return Err(Why::NotText);
        }
        let name = secret_key(&secret.name);
        let value = self.keyring.open(Purpose::Value, &name, &version.payload.sealed)?;
        String::from_utf8(value).map_err(|_| Why::NotText)
    }
}

/// The whole text, or one key of the JSON object that it is.
fn of_key(text: String, key: &str) -> Result<String, Why> {
    if key.is_empty() {
        return Ok(text);
    }
    let missing = || Why::NoKey(key.to_owned());
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|_| missing())?;
    match value.get(key).ok_or_else(missing)? {
        serde_json::Value::String(text) => Ok(text.clone()),
        other => Ok(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_from_is_a_parameter_or_a_part_of_a_secret() {
        let secret = |key, stage, version| {
            let arn = "arn:aws:secretsmanager:r:1:secret:db-a1b2c3".to_owned();
            Some(Place::Secret { arn, key, stage, version })
        };
        for (text, expected) in [
            ("password", Some(Place::Parameter("password"))),
            ("/app/password", Some(Place::Parameter("/app/password"))),
            (
                "arn:aws:ssm:r:1:parameter/app",
                Some(Place::Parameter("arn:aws:ssm:r:1:parameter/app")),
            ),
            ("arn:aws:secretsmanager:r:1:secret:db-a1b2c3", secret("", "", "")),
            ("arn:aws:secretsmanager:r:1:secret:db-a1b2c3:user::", secret("user", "", "")),
            (
                "arn:aws:secretsmanager:r:1:secret:db-a1b2c3::AWSPREVIOUS:",
                secret("", "AWSPREVIOUS", ""),
            ),
            ("arn:aws:secretsmanager:r:1:secret:db-a1b2c3:::v1", secret("", "", "v1")),
            ("arn:aws:secretsmanager:r:1:secret:db-a1b2c3:a:b:c:d", None),
            ("arn:aws:s3:::bucket/x", None),
            ("arn:aws:ssm:r:1:document/x", None),
        ] {
            assert_eq!(place(text), expected, "{text}");
        }
    }

    #[test]
    fn a_key_of_a_secret_is_its_text_or_its_json() {
        let check = |text: &str, key: &str, expected: Option<&str>| {
            assert_eq!(of_key(text.to_owned(), key).ok().as_deref(), expected, "{text} {key}");
        };
        check("plain", "", Some("plain"));
        check(r#"{"a":"x","b":{"c":1},"n":7}"#, "a", Some("x"));
        check(r#"{"a":"x","b":{"c":1},"n":7}"#, "b", Some(r#"{"c":1}"#));
        check(r#"{"a":"x","b":{"c":1},"n":7}"#, "n", Some("7"));
        check(r#"{"a":"x"}"#, "z", None);
        check("plain", "a", None);
        check("[1]", "a", None);
    }
}
