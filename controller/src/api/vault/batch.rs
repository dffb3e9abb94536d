//! BatchGetSecretValue: several secrets at once, each with its own right to be read.

use super::secret_needs;
use super::secret_shapes::{
    BatchGetSecretValueRequest, BatchGetSecretValueResponse, GetSecretValueRequest, SecretError,
    SecretValueEntry,
};
use super::secrets::{passes, value};
use super::values::{invalid, page};
use crate::api::{Api, ApiError};
use crate::state::View;
use crate::vault::Secret;

/// Most secrets of one call, and of one page (AWS's own bound).
const SECRETS_MAX: usize = 20;

pub(super) async fn get(
    api: &Api,
    request: BatchGetSecretValueRequest,
) -> Result<BatchGetSecretValueResponse, ApiError> {
    let view = api.engine.snapshot();
    let (ids, next_token) = asked(&view, request)?;
    let mut answer =
        BatchGetSecretValueResponse { secret_values: vec![], next_token, errors: vec![] };
    for secret_id in ids {
        match one(api, &view, &secret_id) {
            Ok(entry) => answer.secret_values.push(entry),
            Err(error) => answer.errors.push(SecretError {
                secret_id,
                error_code: error.code.as_str().to_owned(),
                message: error.message,
            }),
        }
    }
    Ok(answer)
}

/// By their ids, or a page of those that pass filters.
fn asked(
    view: &View,
    request: BatchGetSecretValueRequest,
) -> Result<(Vec<String>, Option<String>), ApiError> {
    let BatchGetSecretValueRequest { secret_id_list, filters, max_results, next_token } = request;
    let filters = filters.unwrap_or_default();
    let ids = secret_id_list.unwrap_or_default();
    if ids.is_empty() == filters.is_empty() {
        return Err(invalid("Either SecretIdList or Filters is required, not both.".to_owned()));
    }
    if !ids.is_empty() {
        if SECRETS_MAX < ids.len() || max_results.is_some() {
            let message = format!("SecretIdList: at most {SECRETS_MAX}, and no MaxResults");
            return Err(invalid(message));
        }
        return Ok((ids, None));
    }
    let mut names = Vec::new();
    for secret in view.vault.secrets().filter(|secret| secret.delete_at_ms.is_none()) {
        let mut all = true;
        for filter in &filters {
            all &= passes(secret, filter)?;
        }
        names.extend(all.then(|| secret.name.clone()));
    }
    let most = (SECRETS_MAX as i64, SECRETS_MAX as i64);
    page(names.into_iter(), String::clone, next_token.as_deref(), max_results, most, invalid)
}

fn one(api: &Api, view: &View, id: &str) -> Result<SecretValueEntry, ApiError> {
    let body = serde_json::json!({ "SecretId": id });
    api.may(view, secret_needs(view, "GetSecretValue", &body))?;
    let secret: Option<&std::sync::Arc<Secret>> = view.vault.secret(&view.scope, id);
    let secret = secret.ok_or_else(|| super::refusal(&crate::vault::Refusal::NoSecret))?;
    let request =
        GetSecretValueRequest { secret_id: id.to_owned(), version_id: None, version_stage: None };
    value(api, secret, &request)
}
