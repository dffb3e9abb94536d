//! secretsmanager.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::secret_shapes::{
    BatchGetSecretValueRequest, BatchGetSecretValueResponse, CreateSecretRequest,
    CreateSecretResponse, DeleteSecretRequest, DeleteSecretResponse, DescribeSecretRequest,
    DescribeSecretResponse, Filter, GetResourcePolicyRequest, GetResourcePolicyResponse,
    GetSecretValueRequest, GetSecretValueResponse, ListSecretVersionIdsRequest,
    ListSecretVersionIdsResponse, ListSecretsRequest, ListSecretsResponse, PutSecretValueRequest,
    PutSecretValueResponse, RestoreSecretRequest, RestoreSecretResponse, SecretListEntry,
    SecretValueEntry, SecretVersionsListEntry, TagResourceRequest, UntagResourceRequest,
    UpdateSecretRequest, UpdateSecretResponse, UpdateSecretVersionStageRequest,
    UpdateSecretVersionStageResponse,
};
use super::values::{Nothing, Stages, invalid, page, read_tags, show_tags};
use super::{batch, passwords};
use crate::api::ecs::from_call;
use crate::api::wire::{EpochSeconds, operations};
use crate::api::{Api, ApiError, Code};
use crate::engine::{Clock as _, SystemClock};
use crate::keyring::Purpose;
use crate::vault::{
    Command, NewSecret, Payload, Record, Secret, SecretChange, SecretVersion, ValueKind,
    secret_arn_start, secret_key,
};

/// Largest value, in bytes (AWS's own bound).
const VALUE_BYTES_MAX: usize = 65_536;
const NAME_CHARS_MAX: usize = 512;
const DESCRIPTION_CHARS_MAX: usize = 2048;
/// Days until a deleted secret is gone, where the caller does not say.
const RECOVERY_DAYS_DEFAULT: i64 = 30;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Results of a page: the default and the most (AWS's own).
const RESULTS: (i64, i64) = (100, 100);
/// The only key that values are sealed with.
const OWN_KEY: &str = "alias/aws/secretsmanager";

operations! {
    "CreateSecret" => create, CreateSecretRequest => CreateSecretResponse;
    "GetSecretValue" => get, GetSecretValueRequest => GetSecretValueResponse;
    "BatchGetSecretValue" => batch::get,
        BatchGetSecretValueRequest => BatchGetSecretValueResponse;
    "PutSecretValue" => put, PutSecretValueRequest => PutSecretValueResponse;
    "UpdateSecret" => update, UpdateSecretRequest => UpdateSecretResponse;
    "DescribeSecret" => describe, DescribeSecretRequest => DescribeSecretResponse;
    "ListSecrets" => list, ListSecretsRequest => ListSecretsResponse;
    "DeleteSecret" => delete, DeleteSecretRequest => DeleteSecretResponse;
    "RestoreSecret" => restore, RestoreSecretRequest => RestoreSecretResponse;
    "ListSecretVersionIds" => list_versions,
        ListSecretVersionIdsRequest => ListSecretVersionIdsResponse;
    "UpdateSecretVersionStage" => move_stage,
        UpdateSecretVersionStageRequest => UpdateSecretVersionStageResponse;
    "GetRandomPassword" => passwords::random,
        passwords::GetRandomPasswordRequest => passwords::GetRandomPasswordResponse;
    "GetResourcePolicy" => policy, GetResourcePolicyRequest => GetResourcePolicyResponse;
    "TagResource" => tag, TagResourceRequest => Nothing;
    "UntagResource" => untag, UntagResourceRequest => Nothing;
}

async fn call(api: &Api, command: Command) -> Result<Arc<Secret>, ApiError> {
    match api.engine.call(command).await.map_err(from_call)? {
        Record::Secret(secret) => Ok(secret),
        Record::Parameter(_) => Err(ApiError::new(Code::Server, "no secret")),
    }
}

async fn change(api: &Api, id: &str, change: SecretChange) -> Result<Arc<Secret>, ApiError> {
    call(api, Command::ChangeSecret(id.to_owned(), change)).await
}

fn find(api: &Api, id: &str) -> Result<Arc<Secret>, ApiError> {
    let view = api.engine.snapshot();
    let secret = view.vault.secret(&view.scope, id).cloned();
    secret.ok_or_else(|| super::refusal(&crate::vault::Refusal::NoSecret))
}

fn arn(api: &Api, secret: &Secret) -> String {
    secret.arn(&api.engine.snapshot().scope)
}

/// Text or bytes, one of both or none, sealed.
fn payload(
    api: &Api,
    name: &str,
    text: Option<String>,
    bytes: Option<String>,
) -> Result<Option<Payload>, ApiError> {
    let (kind, value) = match (text, bytes) {
        (None, None) => return Ok(None),
        (Some(text), None) => (ValueKind::Text, text.into_bytes()),
        (None, Some(text)) => {
            let bytes = STANDARD.decode(text);
            let bytes = bytes.map_err(|_| invalid("SecretBinary is not base64".to_owned()))?;
            (ValueKind::Bytes, bytes)
        }
        (Some(_), Some(_)) => {
            let message = "You can't specify both a binary secret value and a string secret value";
            return Err(invalid(message.to_owned()));
        }
    };
    if value.is_empty() || VALUE_BYTES_MAX < value.len() {
        let message = format!("a secret's value has 1 to {VALUE_BYTES_MAX} bytes");
        return Err(invalid(message));
    }
    let sealed_for = secret_key(name);
    let fingerprint = api.keyring.fingerprint(&sealed_for, &value);
    let sealed = api.keyring.seal(Purpose::Value, &sealed_for, &value);
    Ok(Some(Payload { kind, sealed, fingerprint }))
}

/// The caller's token names the version, so that a repeated call is no change.
fn version_id(token: Option<String>) -> Result<String, ApiError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(uuid());
    };
    if !(32..=64).contains(&token.len()) || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(invalid("ClientRequestToken must have 32 to 64 characters".to_owned()));
    }
    Ok(token)
}

fn uuid() -> String {
    let hex = hex::encode(rand::random::<[u8; 16]>());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn own_key(key: Option<&str>) -> Result<(), ApiError> {
    match key {
        None | Some("" | OWN_KEY) => Ok(()),
        Some(_) => Err(ApiError::new(
            Code::InvalidParameter,
            "KmsKeyId is not supported: values are sealed with the controller's own key",
        )),
    }
}

fn name(text: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    if text.is_empty() || NAME_CHARS_MAX < text.len() || !text.chars().all(allowed) {
        return Err(invalid(format!(
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the \
             following: -/_+=.@ (1 to {NAME_CHARS_MAX} characters)"
        )));
    }
    Ok(())
}

fn description(text: Option<String>) -> Result<Option<String>, ApiError> {
    if text.as_ref().is_some_and(|text| DESCRIPTION_CHARS_MAX < text.chars().count()) {
        let message = format!("Description must have at most {DESCRIPTION_CHARS_MAX} characters");
        return Err(invalid(message));
    }
    Ok(text)
}

async fn create(api: &Api, request: CreateSecretRequest) -> Result<CreateSecretResponse, ApiError> {
    name(&request.name)?;
    own_key(request.kms_key_id.as_deref())?;
    let payload = payload(api, &request.name, request.secret_string, request.secret_binary)?;
    let id = version_id(request.client_request_token)?;
    let has_value = payload.is_some();
    let new = NewSecret {
        description: description(request.description)?.unwrap_or_default(),
        version: payload.map(|payload| (id.clone(), payload)),
        tags: read_tags(request.tags, invalid)?,
        name: request.name,
    };
    let made = call(api, Command::CreateSecret(new)).await?;
    Ok(CreateSecretResponse {
        arn: arn(api, &made),
        name: made.name.clone(),
        version_id: has_value.then_some(id),
    })
}

/// The value of a version: text, or bytes as base64.
fn opened(
    api: &Api,
    secret: &Secret,
    version: &SecretVersion,
) -> Result<(Option<String>, Option<String>), ApiError> {
    let sealed = &version.payload.sealed;
    let opened = api.keyring.open(Purpose::Value, &secret_key(&secret.name), sealed);
    let value = opened.map_err(|error| {
        let message = format!("The value of {} can't be opened: {error}", secret.name);
        ApiError::new(Code::of("DecryptionFailure", 400), message)
    })?;
    Ok(match version.payload.kind {
        ValueKind::Text => (Some(String::from_utf8_lossy(&value).into_owned()), None),
        ValueKind::Bytes => (None, Some(STANDARD.encode(value))),
    })
}

/// No secret has a policy of its own: what may be done with it is what callers' policies say.
async fn policy(
    api: &Api,
    request: GetResourcePolicyRequest,
) -> Result<GetResourcePolicyResponse, ApiError> {
    let secret = find(api, &request.secret_id)?;
    Ok(GetResourcePolicyResponse { arn: arn(api, &secret), name: secret.name.clone() })
}

async fn get(
    api: &Api,
    request: GetSecretValueRequest,
) -> Result<GetSecretValueResponse, ApiError> {
    let secret = find(api, &request.secret_id)?;
    let SecretValueEntry {
        arn,
        name,
        version_id,
        secret_string,
        secret_binary,
        version_stages,
        created_date,
    } = value(api, &secret, &request)?;
    Ok(GetSecretValueResponse {
        arn,
        name,
        version_id,
        secret_string,
        secret_binary,
        version_stages,
        created_date,
    })
}

/// A secret's value, of the version that is asked for.
pub(super) fn value(
    api: &Api,
    secret: &Secret,
    request: &GetSecretValueRequest,
) -> Result<SecretValueEntry, ApiError> {
    if secret.delete_at_ms.is_some() {
        let message = "You can't perform this operation on the secret because it was marked for \
                       deletion.";
        return Err(ApiError::new(Code::of("InvalidRequestException", 400), message));
    }
    let stage = request.version_stage.as_deref();
    let found = secret.version(request.version_id.as_deref(), stage).ok_or_else(|| {
        let which = match (&request.version_id, stage) {
            (Some(id), _) => format!("VersionId: {id}"),
            (None, stage) => format!("staging label: {}", stage.unwrap_or(crate::vault::CURRENT)),
        };
        let message = format!("Secrets Manager can't find the specified secret value for {which}");
        ApiError::new(Code::ResourceNotFound, message)
    })?;
    let (id, version) = found;
    let (secret_string, secret_binary) = opened(api, secret, version)?;
    Ok(SecretValueEntry {
        arn: arn(api, secret),
        name: secret.name.clone(),
        version_id: id.clone(),
        secret_string,
        secret_binary,
        version_stages: version.stages.iter().cloned().collect(),
        created_date: EpochSeconds::from_ms(version.created_at_ms),
    })
}

async fn put(
    api: &Api,
    request: PutSecretValueRequest,
) -> Result<PutSecretValueResponse, ApiError> {
    let secret = find(api, &request.secret_id)?;
    let payload = payload(api, &secret.name, request.secret_string, request.secret_binary)?;
    let payload = payload.ok_or_else(|| {
        invalid("You must provide either SecretString or SecretBinary.".to_owned())
    })?;
    let id = version_id(request.client_request_token)?;
    let stages = request.version_stages.unwrap_or_default();
    if 20 < stages.len() || stages.iter().any(|s| s.is_empty() || 256 < s.chars().count()) {
        let message = "VersionStages has at most 20 labels of 1 to 256 characters";
        return Err(invalid(message.to_owned()));
    }
    let added = SecretChange::AddVersion(id.clone(), payload, stages);
    let secret = change(api, &request.secret_id, added).await?;
    let version = secret.versions.get(&id);
    Ok(PutSecretValueResponse {
        arn: arn(api, &secret),
        name: secret.name.clone(),
        version_id: id,
        version_stages: version.map_or(vec![], |v| v.stages.iter().cloned().collect()),
    })
}

async fn update(api: &Api, request: UpdateSecretRequest) -> Result<UpdateSecretResponse, ApiError> {
    own_key(request.kms_key_id.as_deref())?;
    let secret = find(api, &request.secret_id)?;
    let payload = payload(api, &secret.name, request.secret_string, request.secret_binary)?;
    let id = version_id(request.client_request_token)?;
    let version = payload.map(|payload| (id, payload));
    let made = version.as_ref().map(|(id, _)| id.clone());
    let update = SecretChange::Update { description: description(request.description)?, version };
    let secret = change(api, &request.secret_id, update).await?;
    Ok(UpdateSecretResponse { arn: arn(api, &secret), name: secret.name.clone(), version_id: made })
}

fn stages(secret: &Secret) -> Option<Stages> {
    let all = secret.versions.iter().filter(|(_, version)| !version.stages.is_empty());
    let all = all.map(|(id, v)| (id.clone(), v.stages.iter().cloned().collect()));
    Some(Stages(all.collect())).filter(|stages| !stages.0.is_empty())
}

fn filled(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

async fn describe(
    api: &Api,
    request: DescribeSecretRequest,
) -> Result<DescribeSecretResponse, ApiError> {
    let secret = find(api, &request.secret_id)?;
    Ok(DescribeSecretResponse {
        arn: arn(api, &secret),
        name: secret.name.clone(),
        description: filled(&secret.description),
        last_changed_date: EpochSeconds::from_ms(secret.changed_at_ms),
        deleted_date: secret.delete_at_ms.map(EpochSeconds::from_ms),
        created_date: EpochSeconds::from_ms(secret.created_at_ms),
        tags: show_tags(&secret.tags),
        version_ids_to_stages: stages(&secret),
    })
}

/// A value that begins with `!` is what secrets must not have; others match by their beginning.
pub(super) fn passes(secret: &Secret, filter: &Filter) -> Result<bool, ApiError> {
    let texts: Vec<&str> = match filter.key.as_str() {
        "name" => vec![&secret.name],
        "description" => vec![&secret.description],
        "tag-key" => secret.tags.iter().map(|tag| tag.name.as_str()).collect(),
        "tag-value" => secret.tags.iter().map(|tag| tag.value.as_str()).collect(),
        other => return Err(invalid(format!("Filters: the key {other:?} is not supported"))),
    };
    Ok(filter.values.iter().any(|value| match value.strip_prefix('!') {
        Some(not) => !texts.iter().any(|text| text.starts_with(not)),
        None => texts.iter().any(|text| text.starts_with(value.as_str())),
    }))
}

async fn list(api: &Api, request: ListSecretsRequest) -> Result<ListSecretsResponse, ApiError> {
    if request.sort_order.as_deref().is_some_and(|order| order != "asc") {
        return Err(invalid("SortOrder other than asc is not supported".to_owned()));
    }
    let view = api.engine.snapshot();
    let filters = request.filters.unwrap_or_default();
    let ended = request.include_planned_deletion == Some(true);
    let mut wanted = Vec::new();
    for secret in view.vault.secrets() {
        let mut all = ended || secret.delete_at_ms.is_none();
        for filter in &filters {
            all &= passes(secret, filter)?;
        }
        if all {
            wanted.push(secret);
        }
    }
    let token = request.next_token.as_deref();
    let key = |secret: &&Arc<Secret>| secret.name.clone();
    let (secrets, next_token) =
        page(wanted.into_iter(), key, token, request.max_results, RESULTS, invalid)?;
    let show = |secret: &Arc<Secret>| SecretListEntry {
        arn: secret.arn(&view.scope),
        name: secret.name.clone(),
        description: filled(&secret.description),
        last_changed_date: EpochSeconds::from_ms(secret.changed_at_ms),
        deleted_date: secret.delete_at_ms.map(EpochSeconds::from_ms),
        created_date: EpochSeconds::from_ms(secret.created_at_ms),
        tags: show_tags(&secret.tags),
        secret_versions_to_stages: stages(secret),
    };
    Ok(ListSecretsResponse { secret_list: secrets.into_iter().map(show).collect(), next_token })
}

async fn delete(api: &Api, request: DeleteSecretRequest) -> Result<DeleteSecretResponse, ApiError> {
    let forced = request.force_delete_without_recovery == Some(true);
    let days = request.recovery_window_in_days;
    if forced && days.is_some() {
        let message = "You can't use ForceDeleteWithoutRecovery in conjunction with \
                       RecoveryWindowInDays.";
        return Err(invalid(message.to_owned()));
    }
    let days = days.unwrap_or(RECOVERY_DAYS_DEFAULT);
    let days =
        u64::try_from(days).ok().filter(|days| (7..=30).contains(days)).ok_or_else(|| {
            invalid("The RecoveryWindowInDays value must be between 7 and 30 days.".to_owned())
        })?;
    let end = SecretChange::Delete((!forced).then_some(days * DAY_MS));
    let secret = match change(api, &request.secret_id, end).await {
        // A forced end that is asked for again has come already.
        Err(error) if forced && error.code == Code::ResourceNotFound => {
            return Ok(gone(api, request.secret_id));
        }
        secret => secret?,
    };
    Ok(DeleteSecretResponse {
        arn: arn(api, &secret),
        name: secret.name.clone(),
        deletion_date: EpochSeconds::from_ms(secret.delete_at_ms.unwrap_or_default()),
    })
}

/// As AWS tells of a secret that is not there any more, by what the caller named.
fn gone(api: &Api, id: String) -> DeleteSecretResponse {
    let start = secret_arn_start(&api.engine.snapshot().scope);
    let now_ms = SystemClock::new().unix_ms();
    DeleteSecretResponse {
        arn: if id.starts_with("arn:") { id.clone() } else { format!("{start}{id}") },
        name: id.strip_prefix(&start).map_or(id.clone(), ToOwned::to_owned),
        deletion_date: EpochSeconds::from_ms(now_ms),
    }
}

async fn restore(
    api: &Api,
    request: RestoreSecretRequest,
) -> Result<RestoreSecretResponse, ApiError> {
    let secret = change(api, &request.secret_id, SecretChange::Restore).await?;
    Ok(RestoreSecretResponse { arn: arn(api, &secret), name: secret.name.clone() })
}

async fn list_versions(
    api: &Api,
    request: ListSecretVersionIdsRequest,
) -> Result<ListSecretVersionIdsResponse, ApiError> {
    let secret = find(api, &request.secret_id)?;
    let all = request.include_deprecated == Some(true);
    let wanted = secret.versions.iter().filter(|(_, v)| all || !v.stages.is_empty());
    let show = |(id, version): (&String, &SecretVersion)| SecretVersionsListEntry {
        version_id: id.clone(),
        version_stages: version.stages.iter().cloned().collect(),
        created_date: EpochSeconds::from_ms(version.created_at_ms),
    };
    let key = |entry: &SecretVersionsListEntry| entry.version_id.clone();
    let token = request.next_token.as_deref();
    let (versions, next_token) =
        page(wanted.map(show), key, token, request.max_results, RESULTS, invalid)?;
    let (arn, name) = (arn(api, &secret), secret.name.clone());
    Ok(ListSecretVersionIdsResponse { versions, next_token, arn, name })
}

async fn move_stage(
    api: &Api,
    request: UpdateSecretVersionStageRequest,
) -> Result<UpdateSecretVersionStageResponse, ApiError> {
    let moved = SecretChange::MoveStage {
        stage: request.version_stage,
        from: request.remove_from_version_id,
        to: request.move_to_version_id,
    };
    let secret = change(api, &request.secret_id, moved).await?;
    Ok(UpdateSecretVersionStageResponse { arn: arn(api, &secret), name: secret.name.clone() })
}

async fn tag(api: &Api, request: TagResourceRequest) -> Result<Nothing, ApiError> {
    let tags = read_tags(Some(request.tags), invalid)?;
    change(api, &request.secret_id, SecretChange::Tag(tags)).await?;
    Ok(Nothing {})
}

async fn untag(api: &Api, request: UntagResourceRequest) -> Result<Nothing, ApiError> {
    change(api, &request.secret_id, SecretChange::Untag(request.tag_keys)).await?;
    Ok(Nothing {})
}
