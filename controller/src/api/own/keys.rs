//! Access keys for people, in one step each: what `loadline key` speaks. They are IAM's users and
//! keys like any other; IAM's own operations see and change them.

use std::sync::Arc;

use crate::api::iam::{CreateAccessKeyRequest, create_key, grant_user, make_user};
use crate::api::wire::{EpochSeconds, shape};
use crate::api::{Api, ApiError};
use crate::iam::{AccessKey, Grant, Identity, IdentityKind};

shape! {
    /// CreateAccessKey's input.
    MakeAccessKeyRequest = "" {
        /// Made where there is no such user.
        user_name: "userName" => String,
        /// ARN of a managed policy to attach.
        policy_arn: "policyArn" => Option<String>,
        /// A policy of the user's own, put under the name `loadline`.
        policy_document: "policyDocument" => Option<String>,
    }
}

shape! {
    /// CreateAccessKey's output.
    CreateAccessKeyResponse = "" {
        /// The user.
        user_name: "userName" => String,
        /// ARN.
        user_arn: "userArn" => String,
        /// The public part.
        access_key_id: "accessKeyId" => String,
        /// Told this once.
        secret_access_key: "secretAccessKey" => String,
    }
}

shape! {
    /// ListAccessKeys' input.
    ListAccessKeysRequest = "" {}
}

shape! {
    /// ListAccessKeys' output.
    ListAccessKeysResponse = "" {
        /// Every key of every user.
        access_keys: "accessKeys" => Vec<KeyShown>,
    }
}

shape! {
    /// An access key without its secret.
    KeyShown = "" {
        /// Whose.
        user_name: "userName" => String,
        /// The public part.
        access_key_id: "accessKeyId" => String,
        /// Active or Inactive.
        status: "status" => String,
        /// When it was made.
        created_at: "createdAt" => EpochSeconds,
    }
}

shape! {
    /// DeleteAccessKey's input.
    DeleteAccessKeyRequest = "" {
        /// The public part.
        access_key_id: "accessKeyId" => String,
    }
}

shape! {
    /// DeleteAccessKey's output.
    DeleteAccessKeyResponse = "" {}
}

pub(super) async fn create(
    api: &Api,
    request: MakeAccessKeyRequest,
) -> Result<CreateAccessKeyResponse, ApiError> {
    let name = request.user_name;
    let known = api.engine.snapshot().iam.identity(IdentityKind::User, &name).cloned();
    let user = match known {
        Some(user) => user,
        None => make_user(api, &name).await?,
    };
    if let Some(arn) = request.policy_arn {
        grant_user(api, &name, Grant::Attach(arn)).await?;
    }
    if let Some(text) = request.policy_document {
        let policy = crate::api::iam::inline_policy(&text)?;
        grant_user(api, &name, Grant::PutPolicy("loadline".to_owned(), policy)).await?;
    }
    let made = create_key(api, CreateAccessKeyRequest { user_name: name }).await?.access_key;
    Ok(CreateAccessKeyResponse {
        user_arn: user.arn(&api.engine.snapshot().scope),
        user_name: made.user_name,
        access_key_id: made.access_key_id,
        secret_access_key: made.secret_access_key,
    })
}

pub(super) async fn list(
    api: &Api,
    _request: ListAccessKeysRequest,
) -> Result<ListAccessKeysResponse, ApiError> {
    let view = api.engine.snapshot();
    let show = |user: &Arc<Identity>, key: &AccessKey| KeyShown {
        user_name: user.name.clone(),
        access_key_id: key.id.clone(),
        status: key.status.as_str().to_owned(),
        created_at: EpochSeconds::from_ms(key.created_at_ms),
    };
    let users = view.iam.identities(IdentityKind::User, None);
    let access_keys = users.flat_map(|user| user.keys.iter().map(|key| show(user, key))).collect();
    Ok(ListAccessKeysResponse { access_keys })
}

pub(super) async fn delete(
    api: &Api,
    request: DeleteAccessKeyRequest,
) -> Result<DeleteAccessKeyResponse, ApiError> {
    let id = request.access_key_id;
    let view = api.engine.snapshot();
    let owner = view.iam.access_key(&id).map(|(user, _)| user.name.clone());
    let owner = owner.ok_or_else(|| ApiError::client(format_args!("no user has the key {id}")))?;
    grant_user(api, &owner, Grant::DeleteKey(id)).await?;
    Ok(DeleteAccessKeyResponse {})
}
