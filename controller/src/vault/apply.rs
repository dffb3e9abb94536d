//! What is asked of secrets and parameters, and what it changes. Pure, as all of `apply` is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use loadline_model::KeyValue;

use super::record::{parameter_key, secret_key};
use super::{
    CURRENT, PREVIOUS, Parameter, ParameterKind, ParameterVersion, Payload, Record, Secret,
    SecretVersion, Vault,
};
use crate::command::TAGS_MAX;
use crate::keyring::Sealed;
use crate::state::{IdSource, Scope};

/// Most records: secrets and parameters together.
const RECORDS_MAX: usize = 20_000;
/// Most versions of a secret that are kept; those without a label go first (AWS: about 100).
const VERSIONS_MAX: usize = 20;
/// Most versions of a parameter that are kept (AWS: 100).
pub const HISTORY_MAX: usize = 20;

/// A change that somebody asks for. Texts are within their bounds, values are sealed.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Makes a secret.
    CreateSecret(NewSecret),
    /// Changes one.
    ChangeSecret(String, SecretChange),
    /// Puts a parameter.
    PutParameter(NewParameter),
    /// Puts or removes tags of a parameter.
    TagParameter(String, Vec<KeyValue>, Vec<String>),
    /// Ends a parameter.
    DeleteParameter(String),
}

/// A secret to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSecret {
    /// The name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Its first version: id and value.
    pub version: Option<(String, Payload)>,
    /// Tags.
    pub tags: Vec<KeyValue>,
}

/// What changes about a secret.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretChange {
    /// Adds a version with these labels; `AWSCURRENT` where there are none.
    AddVersion(String, Payload, Vec<String>),
    /// Another description, another value that counts from now on, or both at once.
    Update {
        /// For people.
        description: Option<String>,
        /// Id and value of the new version.
        version: Option<(String, Payload)>,
    },
    /// Moves a label from one version to another.
    MoveStage {
        /// The label.
        stage: String,
        /// The version that has it.
        from: Option<String>,
        /// The version that gets it.
        to: Option<String>,
    },
    /// Ends it in so many milliseconds; at once where `None`.
    Delete(Option<u64>),
    /// Takes an end that has not come yet back.
    Restore,
    /// Puts tags.
    Tag(Vec<KeyValue>),
    /// Removes tags by name.
    Untag(Vec<String>),
}

/// A parameter to be put.
#[derive(Clone, Debug, PartialEq)]
pub struct NewParameter {
    /// The name.
    pub name: String,
    /// The type; absent: as it was.
    pub kind: Option<ParameterKind>,
    /// The value.
    pub sealed: Sealed,
    /// For people.
    pub description: Option<String>,
    /// A regular expression that the value matches.
    pub allowed_pattern: Option<String>,
    /// Whether there may be one already.
    pub overwrite: bool,
    /// Tags; only for a new one.
    pub tags: Vec<KeyValue>,
}

/// Why not. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// secretsmanager: ResourceNotFoundException.
    #[error("Secrets Manager can't find the specified secret.")]
    NoSecret,
    /// secretsmanager: ResourceNotFoundException.
    #[error("Secrets Manager can't find the specified secret version: {0}")]
    NoVersion(String),
    /// secretsmanager: ResourceExistsException.
    #[error("The operation failed because the secret {0} already exists.")]
    SecretExists(String),
    /// secretsmanager: ResourceExistsException.
    #[error("A resource with the ID {0} exists already with another value.")]
    VersionExists(String),
    /// secretsmanager: InvalidRequestException.
    #[error("{0}")]
    InvalidRequest(String),
    /// ssm: ParameterNotFound.
    #[error("{0}")]
    NoParameter(String),
    /// ssm: ParameterAlreadyExists.
    #[error(
        "The parameter already exists. To overwrite this value, set the overwrite option in the \
         request to true."
    )]
    ParameterExists,
    /// ssm: ValidationException.
    #[error("{0}")]
    Validation(String),
    /// LimitExceededException.
    #[error("{what}: at most {max}")]
    Limit {
        /// What there would be too much of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

/// A record's new value, or its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The new value.
    Put(Record),
    /// By its key.
    Forget(String),
}

/// What a command writes, and the record as it is now, or as it was.
pub type Applied = (Vec<Change>, Record);

/// Decides one command.
///
/// # Errors
/// [`Refusal`]
pub fn apply(
    scope: &Scope,
    vault: &Vault,
    command: &Command,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    match command {
        Command::CreateSecret(new) => create(scope, vault, new, now_ms, ids),
        Command::ChangeSecret(id, change) => {
            let secret = vault.secret(scope, id).ok_or(Refusal::NoSecret)?;
            change_secret(secret, change, now_ms)
        }
        Command::PutParameter(new) => put_parameter(scope, vault, new, now_ms),
        Command::TagParameter(name, put, remove) => {
            let mut parameter = Parameter::clone(parameter(scope, vault, name)?);
            tag(&mut parameter.tags, put)?;
            parameter.tags.retain(|tag| !remove.contains(&tag.name));
            Ok(written(Record::Parameter(Arc::new(parameter))))
        }
        Command::DeleteParameter(name) => {
            let gone = parameter(scope, vault, name)?;
            let key = parameter_key(&gone.name);
            Ok((vec![Change::Forget(key)], Record::Parameter(Arc::clone(gone))))
        }
    }
}

fn written(record: Record) -> Applied {
    (vec![Change::Put(record.clone())], record)
}

fn parameter<'a>(
    scope: &Scope,
    vault: &'a Vault,
    name: &str,
) -> Result<&'a Arc<Parameter>, Refusal> {
    vault.parameter(scope, name).ok_or_else(|| Refusal::NoParameter(name.to_owned()))
}

fn tag(tags: &mut Vec<KeyValue>, put: &[KeyValue]) -> Result<(), Refusal> {
    for tag in put {
        tags.retain(|have| have.name != tag.name);
        tags.push(tag.clone());
    }
    if TAGS_MAX < tags.len() {
        return Err(Refusal::Limit { what: "tags", max: TAGS_MAX });
    }
    Ok(())
}

fn room(vault: &Vault) -> Result<(), Refusal> {
    if RECORDS_MAX <= vault.count() {
        return Err(Refusal::Limit { what: "secrets and parameters", max: RECORDS_MAX });
    }
    Ok(())
}

fn create(
    scope: &Scope,
    vault: &Vault,
    new: &NewSecret,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    if let Some(have) = vault.secret(scope, &new.name) {
        if have.delete_at_ms.is_some() {
            return Err(marked("create"));
        }
        // The same call again is no change.
        let same = new.version.as_ref().is_some_and(|(id, payload)| {
            have.versions.get(id).is_some_and(|v| v.payload.fingerprint == payload.fingerprint)
        });
        if same {
            return Ok((Vec::new(), Record::Secret(Arc::clone(have))));
        }
        return Err(Refusal::SecretExists(new.name.clone()));
    }
    room(vault)?;
    let version = |(id, payload): &(String, Payload)| {
        let stages = BTreeSet::from([CURRENT.to_owned()]);
        (id.clone(), SecretVersion { payload: payload.clone(), created_at_ms: now_ms, stages })
    };
    Ok(written(Record::Secret(Arc::new(Secret {
        name: new.name.clone(),
        suffix: ids.fresh().chars().take(6).collect(),
        description: new.description.clone(),
        created_at_ms: now_ms,
        changed_at_ms: now_ms,
        delete_at_ms: None,
        versions: new.version.iter().map(version).collect(),
        tags: new.tags.clone(),
    }))))
}

fn marked(what: &str) -> Refusal {
    Refusal::InvalidRequest(format!(
        "You can't {what} this secret because a secret with this name is already scheduled for \
         deletion."
    ))
}

fn change_secret(
    have: &Arc<Secret>,
    change: &SecretChange,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    let ending = have.delete_at_ms.is_some();
    if ending && !matches!(change, SecretChange::Restore | SecretChange::Delete(_)) {
        return Err(Refusal::InvalidRequest(
            "You can't perform this operation on the secret because it was marked for deletion."
                .to_owned(),
        ));
    }
    let mut secret = Secret::clone(have);
    match change {
        SecretChange::AddVersion(id, payload, stages) => {
            if !add_version(&mut secret, id, payload, stages, now_ms)? {
                return Ok((Vec::new(), Record::Secret(Arc::clone(have))));
            }
        }
        SecretChange::Update { description, version } => {
            let mut changed = false;
            if let Some((id, payload)) = version {
                changed |= add_version(&mut secret, id, payload, &[], now_ms)?;
            }
            if let Some(text) = description.as_ref().filter(|text| **text != secret.description) {
                secret.description.clone_from(text);
                changed = true;
            }
            if !changed {
                return Ok((Vec::new(), Record::Secret(Arc::clone(have))));
            }
        }
        SecretChange::MoveStage { stage, from, to } => {
            move_stage(&mut secret, stage, from.as_deref(), to.as_deref())?;
        }
        SecretChange::Delete(None) => {
            let key = secret_key(&secret.name);
            secret.delete_at_ms = Some(now_ms);
            return Ok((vec![Change::Forget(key)], Record::Secret(Arc::new(secret))));
        }
        SecretChange::Delete(Some(_)) if ending => {
            return Err(Refusal::InvalidRequest(
                "You can't perform this operation on the secret because it was already scheduled \
                 for deletion."
                    .to_owned(),
            ));
        }
        SecretChange::Delete(Some(in_ms)) => {
            secret.delete_at_ms = Some(now_ms.saturating_add(*in_ms));
        }
        SecretChange::Restore => secret.delete_at_ms = None,
        SecretChange::Tag(tags) => tag(&mut secret.tags, tags)?,
        SecretChange::Untag(names) => secret.tags.retain(|tag| !names.contains(&tag.name)),
    }
    secret.changed_at_ms = now_ms;
    Ok(written(Record::Secret(Arc::new(secret))))
}

/// `false` where the same was done before.
fn add_version(
    secret: &mut Secret,
    id: &str,
    payload: &Payload,
    stages: &[String],
    now_ms: u64,
) -> Result<bool, Refusal> {
    if let Some(have) = secret.versions.get(id) {
        if have.payload.fingerprint == payload.fingerprint {
            return Ok(false);
        }
        return Err(Refusal::VersionExists(id.to_owned()));
    }
    let version =
        SecretVersion { payload: payload.clone(), created_at_ms: now_ms, stages: BTreeSet::new() };
    secret.versions.insert(id.to_owned(), version);
    let current = [CURRENT.to_owned()];
    for stage in if stages.is_empty() { &current[..] } else { stages } {
        give(secret, stage, id);
    }
    shed(&mut secret.versions, id);
    Ok(true)
}

/// Takes a label from whoever has it. What counted until now is what counted before.
fn give(secret: &mut Secret, stage: &str, to: &str) {
    let had = secret.versions.iter().find(|(_, version)| version.stages.contains(stage));
    let had = had.map(|(id, _)| id.clone()).filter(|id| id != to);
    for version in secret.versions.values_mut() {
        version.stages.remove(stage);
    }
    if stage == CURRENT
        && let Some(had) = had
    {
        give(secret, PREVIOUS, &had);
    }
    if let Some(version) = secret.versions.get_mut(to) {
        version.stages.insert(stage.to_owned());
    }
}

/// Drops the oldest versions without a label beyond the bound.
fn shed(versions: &mut BTreeMap<String, SecretVersion>, kept: &str) {
    while VERSIONS_MAX < versions.len() {
        let bare = versions.iter().filter(|(id, v)| v.stages.is_empty() && *id != kept);
        let oldest = bare.min_by_key(|(_, v)| v.created_at_ms).map(|(id, _)| id.clone());
        let Some(oldest) = oldest else { return };
        versions.remove(&oldest);
    }
}

fn move_stage(
    secret: &mut Secret,
    stage: &str,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<(), Refusal> {
    for id in from.iter().chain(&to) {
        if !secret.versions.contains_key(*id) {
            return Err(Refusal::NoVersion((*id).to_owned()));
        }
    }
    let has = secret.versions.iter().find(|(_, version)| version.stages.contains(stage));
    let has = has.map(|(id, _)| id.clone());
    if let Some(has) = &has
        && from != Some(has.as_str())
        && to != Some(has.as_str())
    {
        return Err(Refusal::InvalidRequest(format!(
            "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently \
             attached to version {has}, so you must explicitly reference that version in \
             RemoveFromVersionId."
        )));
    }
    match to {
        Some(to) => give(secret, stage, to),
        None if stage == CURRENT => {
            let message = "You can't remove the label AWSCURRENT: move it to another version.";
            return Err(Refusal::InvalidRequest(message.to_owned()));
        }
        None => {
            if let Some(version) = from.and_then(|from| secret.versions.get_mut(from)) {
                version.stages.remove(stage);
            }
        }
    }
    Ok(())
}

fn put_parameter(
    scope: &Scope,
    vault: &Vault,
    new: &NewParameter,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    let have = vault.parameter(scope, &new.name);
    if have.is_some() && !new.overwrite {
        return Err(Refusal::ParameterExists);
    }
    if have.is_some() && !new.tags.is_empty() {
        let message = "Invalid request: tags and overwrite can't be used together.";
        return Err(Refusal::Validation(message.to_owned()));
    }
    if have.is_none() {
        room(vault)?;
    }
    let before = have.and_then(|parameter| parameter.newest());
    let kind = new.kind.or(before.map(|version| version.kind)).ok_or_else(|| {
        let message = "A parameter type is required when you create a parameter.";
        Refusal::Validation(message.to_owned())
    })?;
    let mut parameter = match have {
        Some(have) => Parameter::clone(have),
        None => Parameter { name: new.name.clone(), versions: Vec::new(), tags: new.tags.clone() },
    };
    let described = before.map(|version| version.description.clone());
    parameter.versions.push(ParameterVersion {
        number: before.map_or(1, |version| version.number + 1),
        kind,
        sealed: new.sealed.clone(),
        description: new.description.clone().or(described).unwrap_or_default(),
        allowed_pattern: new.allowed_pattern.clone(),
        modified_at_ms: now_ms,
    });
    let over = parameter.versions.len().saturating_sub(HISTORY_MAX);
    parameter.versions.drain(..over);
    Ok(written(Record::Parameter(Arc::new(parameter))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::CountingIds;
    use crate::vault::ValueKind;

    fn payload(text: &str) -> Payload {
        let sealed = Sealed { key_id: "k".into(), bytes: text.into() };
        Payload { kind: ValueKind::Text, sealed, fingerprint: text.into() }
    }

    fn scope() -> Scope {
        Scope { partition: "aws".into(), region: "r".into(), account: "1".into() }
    }

    #[derive(Default)]
    struct World(Vault);

    impl World {
        fn call(&mut self, command: Command, now_ms: u64) -> Result<Record, String> {
            let mut ids = CountingIds::default();
            let (changes, record) = apply(&scope(), &self.0, &command, now_ms, &mut ids)
                .map_err(|refusal| refusal.to_string())?;
            for change in changes {
                match change {
                    Change::Put(record) => self.0.absorb(&record),
                    Change::Forget(key) => self.0.forget(&key),
                }
            }
            Ok(record)
        }

        fn stages(&self) -> Vec<(String, Vec<String>)> {
            let secret = self.0.secret(&scope(), "s").unwrap();
            let stages = |v: &SecretVersion| v.stages.iter().cloned().collect();
            secret.versions.iter().map(|(id, v)| (id.clone(), stages(v))).collect()
        }
    }

    fn add(id: &str, text: &str, stages: &[&str]) -> Command {
        let stages = stages.iter().map(ToString::to_string).collect();
        let change = SecretChange::AddVersion(id.into(), payload(text), stages);
        Command::ChangeSecret("s".into(), change)
    }

    fn new_secret(text: &str) -> Command {
        Command::CreateSecret(NewSecret {
            name: "s".into(),
            description: String::new(),
            version: Some(("v1".into(), payload(text))),
            tags: vec![],
        })
    }

    #[test]
    fn the_label_of_what_counts_moves_and_leaves_one_behind() {
        let mut world = World::default();
        world.call(new_secret("a"), 0).unwrap();
        world.call(new_secret("a"), 0).unwrap();
        assert!(world.call(new_secret("b"), 0).unwrap_err().contains("already exists"));
        world.call(add("v2", "b", &[]), 1).unwrap();
        let own = |id: &str, stages: &[&str]| {
            (id.to_owned(), stages.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(world.stages(), [own("v1", &[PREVIOUS]), own("v2", &[CURRENT])]);
        world.call(add("v2", "b", &[]), 2).unwrap();
        assert!(world.call(add("v2", "c", &[]), 2).unwrap_err().contains("another value"));
        world.call(add("v3", "c", &["AWSPENDING"]), 3).unwrap();
        let back = SecretChange::MoveStage {
            stage: CURRENT.into(),
            from: Some("v2".into()),
            to: Some("v1".into()),
        };
        world.call(Command::ChangeSecret("s".into(), back), 4).unwrap();
        let expected = [own("v1", &[CURRENT]), own("v2", &[PREVIOUS]), own("v3", &["AWSPENDING"])];
        assert_eq!(world.stages(), expected);
        for n in 0..40 {
            world.call(add(&format!("w{n}"), "x", &["l"]), 5 + n).unwrap();
        }
        assert_eq!(world.stages().len(), VERSIONS_MAX);
    }

    #[test]
    fn a_description_and_a_value_come_together_or_not_at_all() {
        let mut world = World::default();
        world.call(new_secret("a"), 0).unwrap();
        let update = |text: &str, id: &str, value: &str| {
            let version = Some((id.to_owned(), payload(value)));
            let change = SecretChange::Update { description: Some(text.to_owned()), version };
            Command::ChangeSecret("s".into(), change)
        };
        assert!(world.call(update("d", "v1", "b"), 1).unwrap_err().contains("another value"));
        assert_eq!(world.0.secret(&scope(), "s").unwrap().description, "");
        for _ in 0..2 {
            world.call(update("d", "v2", "b"), 2).unwrap();
        }
        let secret = world.0.secret(&scope(), "s").unwrap();
        assert_eq!((secret.description.as_str(), secret.versions.len()), ("d", 2));
        assert_eq!(secret.version(None, None).unwrap().0, "v2");
    }

    #[test]
    fn a_secret_ends_when_it_is_due_and_can_be_restored_before() {
        let mut world = World::default();
        world.call(new_secret("a"), 0).unwrap();
        let change = |change| Command::ChangeSecret("s".into(), change);
        world.call(change(SecretChange::Delete(Some(10))), 5).unwrap();
        assert!(world.call(add("v2", "b", &[]), 6).unwrap_err().contains("marked for deletion"));
        assert!(world.call(new_secret("a"), 6).unwrap_err().contains("scheduled for deletion"));
        assert_eq!(world.0.ended_until(14).count(), 0);
        assert_eq!(world.0.ended_until(15).count(), 1);
        world.call(change(SecretChange::Restore), 7).unwrap();
        assert_eq!(world.0.ended_until(99).count(), 0);
        world.call(change(SecretChange::Delete(None)), 8).unwrap();
        assert_eq!(world.0.count(), 0);
    }

    #[test]
    fn a_parameter_counts_its_versions_and_keeps_the_newest() {
        let mut world = World::default();
        let put = |overwrite: bool, kind| {
            Command::PutParameter(NewParameter {
                name: "/a/b".into(),
                kind,
                sealed: payload("x").sealed,
                description: None,
                allowed_pattern: None,
                overwrite,
                tags: vec![],
            })
        };
        assert!(world.call(put(false, None), 0).unwrap_err().contains("type is required"));
        world.call(put(false, Some(ParameterKind::SecureString)), 0).unwrap();
        assert!(world.call(put(false, None), 0).unwrap_err().contains("already exists"));
        for n in 0..40 {
            world.call(put(true, None), n).unwrap();
        }
        let parameter = world.0.parameter(&scope(), "arn:aws:ssm:r:1:parameter/a/b").unwrap();
        let newest = parameter.newest().unwrap();
        assert_eq!((newest.number, newest.kind), (41, ParameterKind::SecureString));
        assert_eq!(parameter.versions.len(), HISTORY_MAX);
    }
}
