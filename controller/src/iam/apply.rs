//! What is asked of users, roles and policies, and what it changes. Pure, as all of `apply` is.

use std::collections::BTreeMap;
use std::sync::Arc;

use loadline_model::KeyValue;

use super::record::{arn, identity_key, policy_key, unique_id};
use super::{
    AccessKey, Directory, Identity, IdentityKind, KeyStatus, ManagedPolicy, PolicyText,
    PolicyVersion, Record, builtin,
};
use crate::state::{IdSource, Scope};

/// Most managed policies attached to one user or role (AWS's default quota).
pub const ATTACHED_MAX: usize = 10;
/// Most groups of a user (AWS's bound).
const GROUPS_MAX: usize = 10;
/// Most access keys of a user (AWS's bound).
pub const KEYS_MAX: usize = 2;
/// Most versions of a managed policy (AWS's bound).
pub const VERSIONS_MAX: usize = 5;
/// Most characters of all inline policies of a user or role together (AWS: 2,048 and 10,240, of a
/// group 5,120).
const INLINE_CHARS_MAX: [usize; 4] = [2048, 10_240, 5120, 0];
/// Most records: users, roles and policies together.
const RECORDS_MAX: usize = 10_000;

/// A change that somebody asks for. Texts are within their bounds already.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Makes a user or role.
    Create(NewIdentity),
    /// Changes a user or role that is there.
    Change(IdentityKind, String, Grant),
    /// Ends a user or role that has nothing attached any more.
    Delete(IdentityKind, String),
    /// Makes a managed policy.
    CreatePolicy(NewPolicy),
    /// Adds a version, which may become the one that counts.
    AddVersion {
        /// The policy.
        arn: String,
        /// What it says.
        policy: PolicyText,
        /// Whether it counts from now on.
        default: bool,
    },
    /// Makes another version the one that counts.
    SetDefault(String, u32),
    /// Ends a version that does not count.
    DeleteVersion(String, u32),
    /// Ends a managed policy that is attached to nobody and has one version left.
    DeletePolicy(String),
}

/// A user or role to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewIdentity {
    /// Which of them.
    pub kind: IdentityKind,
    /// The name.
    pub name: String,
    /// Begins and ends with a slash.
    pub path: String,
    /// For people.
    pub description: String,
    /// A role's.
    pub trust: Option<PolicyText>,
    /// A role's, seconds.
    pub session_s_max: u32,
    /// Tags.
    pub tags: Vec<KeyValue>,
    /// ARN of the managed policy beyond which nothing is allowed.
    pub boundary: Option<String>,
}

impl NewIdentity {
    /// One with nothing but its name.
    #[must_use]
    pub fn named(kind: IdentityKind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            path: "/".to_owned(),
            description: String::new(),
            trust: None,
            session_s_max: 0,
            tags: Vec::new(),
            boundary: None,
        }
    }
}

/// A managed policy to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPolicy {
    /// The name.
    pub name: String,
    /// Begins and ends with a slash.
    pub path: String,
    /// For people.
    pub description: String,
    /// What it says.
    pub policy: PolicyText,
    /// Tags.
    pub tags: Vec<KeyValue>,
}

/// What changes about a user or role.
#[derive(Clone, Debug, PartialEq)]
pub enum Grant {
    /// Puts an inline policy.
    PutPolicy(String, PolicyText),
    /// Removes an inline policy.
    DeletePolicy(String),
    /// Attaches a managed policy.
    Attach(String),
    /// Detaches one.
    Detach(String),
    /// Another trust policy.
    Trust(PolicyText),
    /// Another description and longest session, where they are given.
    Describe(Option<String>, Option<u32>),
    /// Puts tags.
    Tag(Vec<KeyValue>),
    /// Removes tags by name.
    Untag(Vec<String>),
    /// Adds an access key, its secret sealed already.
    AddKey(String, crate::keyring::Sealed),
    /// Switches an access key on or off.
    SetKey(String, KeyStatus),
    /// Removes an access key.
    DeleteKey(String),
    /// Bounds it by a managed policy, or no longer.
    Bound(Option<String>),
    /// Puts a user into a group.
    Join(String),
    /// Takes a user out of a group.
    Leave(String),
    /// Puts a role into an instance profile.
    AddRole(String),
    /// Takes it out again.
    RemoveRole(String),
}

/// Why not. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// AWS: NoSuchEntity.
    #[error("The {what} {name} cannot be found.")]
    NotFound {
        /// For example `role with name`.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// AWS: EntityAlreadyExists.
    #[error("{what} with name {name} already exists.")]
    Exists {
        /// For example `Role`.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// AWS: DeleteConflict.
    #[error("Cannot delete entity, must {0} first.")]
    Conflict(&'static str),
    /// AWS: LimitExceeded.
    #[error("Cannot exceed quota for {what}: {max}")]
    Limit {
        /// For example `PoliciesPerRole`.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// AWS: InvalidInput.
    #[error("{0}")]
    Invalid(&'static str),
}

/// What a command writes and answers: the record as it is now, or as it was.
pub type Applied = (Vec<Change>, Record);

/// A record's new value, or its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The new value.
    Put(Record),
    /// By its key.
    Forget(String),
}

/// Decides one command.
///
/// # Errors
/// [`Refusal`]
pub fn apply(
    scope: &Scope,
    directory: &Directory,
    command: &Command,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    match command {
        Command::Create(new) => create(directory, new, now_ms, ids),
        Command::Change(kind, name, grant) => {
            let mut identity = Identity::clone(find(directory, *kind, name)?);
            change(directory, &mut identity, grant, now_ms)?;
            Ok(put(Record::Identity(Arc::new(identity))))
        }
        Command::Delete(kind, name) => delete(directory, find(directory, *kind, name)?),
        Command::CreatePolicy(new) => create_policy(scope, directory, new, now_ms, ids),
        Command::AddVersion { arn, policy, default } => {
            add_version(own_policy(directory, arn)?, policy, *default, now_ms)
        }
        Command::SetDefault(arn, version) => {
            let mut policy = own_policy(directory, arn)?;
            version_of(&policy, *version)?;
            policy.default_version = *version;
            Ok(put(Record::Policy(Arc::new(policy))))
        }
        Command::DeleteVersion(arn, version) => {
            let mut policy = own_policy(directory, arn)?;
            version_of(&policy, *version)?;
            if policy.default_version == *version {
                return Err(Refusal::Conflict("make another version the default"));
            }
            policy.versions.remove(version);
            Ok(put(Record::Policy(Arc::new(policy))))
        }
        Command::DeletePolicy(arn) => delete_policy(directory, arn),
    }
}

fn put(record: Record) -> Applied {
    (vec![Change::Put(record.clone())], record)
}

/// How a refusal names one of this kind.
#[must_use]
pub const fn whose(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::User => "user with name",
        IdentityKind::Role => "role with name",
        IdentityKind::Group => "group with name",
        IdentityKind::Profile => "instance profile",
    }
}

fn find<'a>(
    directory: &'a Directory,
    kind: IdentityKind,
    name: &str,
) -> Result<&'a Arc<Identity>, Refusal> {
    directory
        .identity(kind, name)
        .ok_or_else(|| Refusal::NotFound { what: whose(kind), name: name.to_owned() })
}

fn room(directory: &Directory) -> Result<(), Refusal> {
    if RECORDS_MAX <= directory.count() {
        return Err(Refusal::Limit { what: "users, roles and policies", max: RECORDS_MAX });
    }
    Ok(())
}

fn create(
    directory: &Directory,
    new: &NewIdentity,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    let what = match new.kind {
        IdentityKind::User => "User",
        IdentityKind::Role => "Role",
        IdentityKind::Group => "Group",
        IdentityKind::Profile => "Instance Profile",
    };
    if directory.identity(new.kind, &new.name).is_some() {
        return Err(Refusal::Exists { what, name: new.name.clone() });
    }
    room(directory)?;
    if let Some(arn) = &new.boundary {
        directory.policy(arn).ok_or_else(|| not_found("policy", arn))?;
    }
    Ok(put(Record::Identity(Arc::new(Identity {
        kind: new.kind,
        name: new.name.clone(),
        path: new.path.clone(),
        id: unique_id(new.kind.id_prefix(), &ids.fresh()),
        created_at_ms: now_ms,
        description: new.description.clone(),
        trust: new.trust.clone(),
        session_s_max: new.session_s_max,
        inline: BTreeMap::new(),
        attached: Default::default(),
        tags: new.tags.clone(),
        keys: Vec::new(),
        boundary: new.boundary.clone(),
        groups: Default::default(),
        role: None,
    }))))
}

fn change(
    directory: &Directory,
    identity: &mut Identity,
    grant: &Grant,
    now_ms: u64,
) -> Result<(), Refusal> {
    match grant {
        Grant::PutPolicy(name, policy) => {
            identity.inline.insert(name.clone(), policy.clone());
            let max = INLINE_CHARS_MAX[identity.kind as usize];
            // AWS counts without white space.
            let count =
                |policy: &PolicyText| policy.text().chars().filter(|c| !c.is_whitespace()).count();
            if max < identity.inline.values().map(count).sum() {
                return Err(Refusal::Limit { what: "characters of inline policies", max });
            }
        }
        Grant::DeletePolicy(name) => {
            let gone = identity.inline.remove(name);
            gone.ok_or_else(|| not_found("policy with name", name))?;
        }
        Grant::Attach(arn) => {
            directory.policy(arn).ok_or_else(|| not_found("policy", arn))?;
            identity.attached.insert(arn.clone());
            if ATTACHED_MAX < identity.attached.len() {
                return Err(Refusal::Limit { what: "attached policies", max: ATTACHED_MAX });
            }
        }
        Grant::Detach(arn) => {
            if !identity.attached.remove(arn) {
                return Err(not_found("policy", arn));
            }
        }
        Grant::Trust(policy) => identity.trust = Some(policy.clone()),
        Grant::Describe(description, session_s_max) => {
            if let Some(text) = description {
                identity.description.clone_from(text);
            }
            identity.session_s_max = session_s_max.unwrap_or(identity.session_s_max);
        }
        Grant::Tag(tags) => {
            for tag in tags {
                identity.tags.retain(|have| have.name != tag.name);
                identity.tags.push(tag.clone());
            }
            if crate::command::TAGS_MAX < identity.tags.len() {
                return Err(Refusal::Limit { what: "tags", max: crate::command::TAGS_MAX });
            }
        }
        Grant::Untag(names) => identity.tags.retain(|tag| !names.contains(&tag.name)),
        Grant::AddKey(id, secret) => add_key(identity, id, secret, now_ms)?,
        Grant::SetKey(id, status) => key_of(identity, id)?.status = *status,
        Grant::DeleteKey(id) => {
            key_of(identity, id)?;
            identity.keys.retain(|key| key.id != *id);
        }
        Grant::Bound(policy) => bound(directory, identity, policy.as_ref())?,
        Grant::Join(_) | Grant::Leave(_) | Grant::AddRole(_) | Grant::RemoveRole(_) => {
            belong(directory, identity, grant)?;
        }
    }
    Ok(())
}

fn bound(
    directory: &Directory,
    identity: &mut Identity,
    policy: Option<&String>,
) -> Result<(), Refusal> {
    match policy {
        Some(arn) if directory.policy(arn).is_none() => return Err(not_found("policy", arn)),
        None if identity.boundary.is_none() => {
            return Err(not_found("permissions boundary of", &identity.name));
        }
        Some(_) | None => {}
    }
    identity.boundary = policy.cloned();
    Ok(())
}

/// Users in groups, roles in instance profiles: by the names as they were made.
fn belong(directory: &Directory, identity: &mut Identity, grant: &Grant) -> Result<(), Refusal> {
    match grant {
        Grant::Join(group) => {
            let group = find(directory, IdentityKind::Group, group)?;
            identity.groups.insert(group.name.clone());
            if GROUPS_MAX < identity.groups.len() {
                return Err(Refusal::Limit { what: "GroupsPerUser", max: GROUPS_MAX });
            }
        }
        Grant::Leave(group) => {
            let group = find(directory, IdentityKind::Group, group)?;
            if !identity.groups.remove(&group.name) {
                return Err(not_found("user in group", &group.name));
            }
        }
        Grant::AddRole(role) => {
            let role = find(directory, IdentityKind::Role, role)?;
            if identity.role.is_some() {
                return Err(Refusal::Limit { what: "InstanceSessionsPerInstanceProfile", max: 1 });
            }
            identity.role = Some(role.name.clone());
        }
        Grant::RemoveRole(role) => {
            let held = identity.role.take_if(|held| held.eq_ignore_ascii_case(role));
            held.ok_or_else(|| not_found("role in instance profile", role))?;
        }
        _ => {}
    }
    Ok(())
}

fn not_found(what: &'static str, name: &str) -> Refusal {
    Refusal::NotFound { what, name: name.to_owned() }
}

fn add_key(
    identity: &mut Identity,
    id: &str,
    secret: &crate::keyring::Sealed,
    now_ms: u64,
) -> Result<(), Refusal> {
    if KEYS_MAX <= identity.keys.len() {
        return Err(Refusal::Limit { what: "AccessKeysPerUser", max: KEYS_MAX });
    }
    identity.keys.push(AccessKey {
        id: id.to_owned(),
        secret: secret.clone(),
        status: KeyStatus::Active,
        created_at_ms: now_ms,
    });
    Ok(())
}

fn key_of<'a>(identity: &'a mut Identity, id: &str) -> Result<&'a mut AccessKey, Refusal> {
    let key = identity.keys.iter_mut().find(|key| key.id == id);
    key.ok_or_else(|| not_found("Access Key with id", id))
}

fn delete(directory: &Directory, identity: &Arc<Identity>) -> Result<Applied, Refusal> {
    if identity.kind == IdentityKind::Group && directory.in_group(&identity.name).next().is_some() {
        return Err(Refusal::Conflict("remove users from group"));
    }
    if identity.kind == IdentityKind::Role && directory.with_role(&identity.name).next().is_some() {
        return Err(Refusal::Conflict("remove roles from instance profile"));
    }
    if !identity.groups.is_empty() {
        return Err(Refusal::Conflict("remove user from all groups"));
    }
    if identity.role.is_some() {
        return Err(Refusal::Conflict("remove roles from instance profile"));
    }
    if !identity.attached.is_empty() {
        return Err(Refusal::Conflict("detach all policies"));
    }
    if !identity.inline.is_empty() {
        return Err(Refusal::Conflict("delete policies"));
    }
    if !identity.keys.is_empty() {
        return Err(Refusal::Conflict("delete access keys"));
    }
    let key = identity_key(identity.kind, &identity.name);
    Ok((vec![Change::Forget(key)], Record::Identity(Arc::clone(identity))))
}

fn create_policy(
    scope: &Scope,
    directory: &Directory,
    new: &NewPolicy,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    let arn = arn(scope, &format!("policy{}{}", new.path, new.name));
    if directory.policies().any(|have| have.name.eq_ignore_ascii_case(&new.name)) {
        return Err(Refusal::Exists { what: "A policy", name: new.name.clone() });
    }
    room(directory)?;
    let version = PolicyVersion { policy: new.policy.clone(), created_at_ms: now_ms };
    Ok(put(Record::Policy(Arc::new(ManagedPolicy {
        arn,
        name: new.name.clone(),
        path: new.path.clone(),
        id: unique_id("ANPA", &ids.fresh()),
        description: new.description.clone(),
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
        versions: [(1, version)].into(),
        default_version: 1,
        last_version: 1,
        tags: new.tags.clone(),
    }))))
}

/// A policy that can be changed: AWS's own ones can't.
fn own_policy(directory: &Directory, arn: &str) -> Result<ManagedPolicy, Refusal> {
    if builtin().contains_key(arn) {
        return Err(Refusal::Invalid("AWS's own managed policies can't be changed."));
    }
    directory
        .policy(arn)
        .map(|policy| ManagedPolicy::clone(policy))
        .ok_or_else(|| Refusal::NotFound { what: "policy", name: arn.to_owned() })
}

fn version_of(policy: &ManagedPolicy, version: u32) -> Result<(), Refusal> {
    if policy.versions.contains_key(&version) {
        return Ok(());
    }
    Err(Refusal::NotFound { what: "policy version", name: format!("v{version}") })
}

fn add_version(
    mut policy: ManagedPolicy,
    text: &PolicyText,
    default: bool,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    if VERSIONS_MAX <= policy.versions.len() {
        return Err(Refusal::Limit { what: "PolicyVersionsPerPolicy", max: VERSIONS_MAX });
    }
    policy.last_version += 1;
    let version = PolicyVersion { policy: text.clone(), created_at_ms: now_ms };
    policy.versions.insert(policy.last_version, version);
    policy.updated_at_ms = now_ms;
    if default {
        policy.default_version = policy.last_version;
    }
    Ok(put(Record::Policy(Arc::new(policy))))
}

fn delete_policy(directory: &Directory, arn: &str) -> Result<Applied, Refusal> {
    let policy = own_policy(directory, arn)?;
    if directory.with_policy(arn).next().is_some() {
        return Err(Refusal::Conflict("detach policy from all users, roles and groups"));
    }
    if directory.bounded_by(arn).next().is_some() {
        return Err(Refusal::Conflict("remove it as permissions boundary"));
    }
    if 1 < policy.versions.len() {
        return Err(Refusal::Conflict("delete all versions but the default one"));
    }
    Ok((vec![Change::Forget(policy_key(arn))], Record::Policy(Arc::new(policy))))
}
