//! What users and roles have in common: to be made, found, changed, listed and deleted.

use std::sync::Arc;

use super::check::{self, Page};
use super::role_shapes::Role;
use super::user_shapes::User;
use super::values::{AttachedPermissionsBoundary, AttachedPolicy, FormInt, IsoTime, show_tags};
use crate::api::ecs::from_call;
use crate::api::{Api, ApiError, Code};
use crate::iam::{Command, Grant, Identity, IdentityKind, NewIdentity, Record};
use crate::state::Scope;

/// The identity that a record is.
fn identity(record: Record) -> Result<Arc<Identity>, ApiError> {
    match record {
        Record::Identity(identity) => Ok(identity),
        Record::Policy(_) => Err(ApiError::new(Code::Server, "a policy, not a user or role")),
    }
}

pub(super) async fn create(api: &Api, new: NewIdentity) -> Result<Arc<Identity>, ApiError> {
    check::identity_name(new.kind, &new.name)?;
    identity(api.engine.call(Command::Create(new)).await.map_err(from_call)?)
}

pub(super) async fn change(
    api: &Api,
    kind: IdentityKind,
    name: &str,
    grant: Grant,
) -> Result<Arc<Identity>, ApiError> {
    let command = Command::Change(kind, name.to_owned(), grant);
    identity(api.engine.call(command).await.map_err(from_call)?)
}

pub(super) async fn delete(api: &Api, kind: IdentityKind, name: &str) -> Result<(), ApiError> {
    let command = Command::Delete(kind, name.to_owned());
    api.engine.call(command).await.map_err(from_call).map(drop)
}

pub(super) fn find(api: &Api, kind: IdentityKind, name: &str) -> Result<Arc<Identity>, ApiError> {
    let view = api.engine.snapshot();
    let what = || check::not_found(crate::iam::whose(kind), name);
    view.iam.identity(kind, name).cloned().ok_or_else(what)
}

pub(super) fn list(
    api: &Api,
    kind: IdentityKind,
    path: Option<&str>,
    marker: Option<&str>,
    max: Option<FormInt>,
) -> Result<Page<Arc<Identity>>, ApiError> {
    let view = api.engine.snapshot();
    let below = |identity: &&Arc<Identity>| path.is_none_or(|path| identity.path.starts_with(path));
    let all = view.iam.identities(kind, None).filter(below).cloned();
    check::page(all, |identity| identity.name.to_ascii_lowercase(), marker, max)
}

pub(super) fn inline_names(
    identity: &Identity,
    marker: Option<&str>,
    max: Option<FormInt>,
) -> Result<Page<String>, ApiError> {
    check::page(identity.inline.keys().cloned(), Clone::clone, marker, max)
}

pub(super) fn inline(identity: &Identity, name: &str) -> Result<String, ApiError> {
    let policy = identity.inline.get(name);
    let policy = policy.ok_or_else(|| check::not_found("policy with name", name))?;
    Ok(check::encoded(policy.text()))
}

pub(super) fn attached(
    identity: &Identity,
    path: Option<&str>,
    marker: Option<&str>,
    max: Option<FormInt>,
) -> Result<Page<AttachedPolicy>, ApiError> {
    let show = |arn: &String| {
        let name = arn.rsplit('/').next().unwrap_or_default().to_owned();
        AttachedPolicy { policy_name: name, policy_arn: arn.clone() }
    };
    let below = |policy: &AttachedPolicy| {
        let resource = policy.policy_arn.split_once(":policy").unwrap_or_default().1;
        path.is_none_or(|path| resource.starts_with(path))
    };
    let all = identity.attached.iter().map(show).filter(below);
    check::page(all, |policy| policy.policy_arn.clone(), marker, max)
}

fn boundary(identity: &Identity) -> Option<AttachedPermissionsBoundary> {
    identity.boundary.as_ref().map(|arn| AttachedPermissionsBoundary {
        permissions_boundary_type: "Policy".to_owned(),
        permissions_boundary_arn: arn.clone(),
    })
}

/// A role as it is shown.
pub(super) fn role(scope: &Scope, identity: &Identity) -> Role {
    let trust = identity.trust.as_ref().map_or("", |trust| trust.text());
    Role {
        path: identity.path.clone(),
        role_name: identity.name.clone(),
        role_id: identity.id.clone(),
        arn: identity.arn(scope),
        create_date: IsoTime::from_ms(identity.created_at_ms),
        assume_role_policy_document: check::encoded(trust),
        description: Some(identity.description.clone()).filter(|text| !text.is_empty()),
        max_session_duration: identity.session_s_max.into(),
        permissions_boundary: boundary(identity),
        tags: show_tags(&identity.tags),
    }
}

/// A user as it is shown.
pub(super) fn user(scope: &Scope, identity: &Identity) -> User {
    User {
        path: identity.path.clone(),
        user_name: identity.name.clone(),
        user_id: identity.id.clone(),
        arn: identity.arn(scope),
        create_date: IsoTime::from_ms(identity.created_at_ms),
        permissions_boundary: boundary(identity),
        tags: show_tags(&identity.tags),
    }
}
