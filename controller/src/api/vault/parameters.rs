//! ssm's parameters.

use std::sync::Arc;

use super::parameter_shapes::{
    AddTagsToResourceRequest, AddTagsToResourceResponse, DeleteParameterRequest,
    DeleteParameterResponse, DeleteParametersRequest, DeleteParametersResponse,
    DescribeParametersRequest, DescribeParametersResponse, GetParameterHistoryRequest,
    GetParameterHistoryResponse, GetParameterRequest, GetParameterResponse,
    GetParametersByPathRequest, GetParametersByPathResponse, GetParametersRequest,
    GetParametersResponse, ListTagsForResourceRequest, ListTagsForResourceResponse,
    Parameter as Shown, ParameterHistory, ParameterMetadata, ParameterStringFilter,
    PutParameterRequest, PutParameterResponse, RemoveTagsFromResourceRequest,
    RemoveTagsFromResourceResponse,
};
use super::values::{page, read_tags, show_tags, validation};
use crate::api::ecs::from_call;
use crate::api::wire::{EpochSeconds, operations};
use crate::api::{Api, ApiError, Code};
use crate::keyring::Purpose;
use crate::state::View;
use crate::vault::{
    Command, NewParameter, Parameter, ParameterKind, ParameterVersion, Record, parameter_key,
};

/// Largest value, in bytes (AWS's bound of the standard tier).
const VALUE_BYTES_MAX: usize = 4096;
const NAME_CHARS_MAX: usize = 1011;
const DESCRIPTION_CHARS_MAX: usize = 1024;
const PATTERN_CHARS_MAX: usize = 1024;
/// Deepest name (AWS's own bound).
const LEVELS_MAX: usize = 15;
/// Most names of one call (AWS's own bound).
const NAMES_MAX: usize = 10;
/// The only key that values are sealed with.
const OWN_KEY: &str = "alias/aws/ssm";

operations! {
    "PutParameter" => put, PutParameterRequest => PutParameterResponse;
    "GetParameter" => get, GetParameterRequest => GetParameterResponse;
    "GetParameters" => get_many, GetParametersRequest => GetParametersResponse;
    "GetParametersByPath" => get_below,
        GetParametersByPathRequest => GetParametersByPathResponse;
    "DescribeParameters" => describe, DescribeParametersRequest => DescribeParametersResponse;
    "DeleteParameter" => delete, DeleteParameterRequest => DeleteParameterResponse;
    "DeleteParameters" => delete_many, DeleteParametersRequest => DeleteParametersResponse;
    "GetParameterHistory" => history,
        GetParameterHistoryRequest => GetParameterHistoryResponse;
    "AddTagsToResource" => tag, AddTagsToResourceRequest => AddTagsToResourceResponse;
    "RemoveTagsFromResource" => untag,
        RemoveTagsFromResourceRequest => RemoveTagsFromResourceResponse;
    "ListTagsForResource" => list_tags,
        ListTagsForResourceRequest => ListTagsForResourceResponse;
}

fn not_found(name: &str) -> ApiError {
    super::refusal(&crate::vault::Refusal::NoParameter(name.to_owned()))
}

async fn call(api: &Api, command: Command) -> Result<Arc<Parameter>, ApiError> {
    match api.engine.call(command).await.map_err(from_call)? {
        Record::Parameter(parameter) => Ok(parameter),
        Record::Secret(_) => Err(ApiError::new(Code::Server, "no parameter")),
    }
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
    let levels = name.split('/').filter(|part| !part.is_empty()).count();
    let whole = !name.contains("//") && !name.ends_with('/');
    let rooted = name.starts_with('/') || !name.contains('/');
    if name.is_empty() || NAME_CHARS_MAX < name.len() || !name.chars().all(allowed) || !whole {
        return Err(validation(format!(
            "Parameter name: can only include the following symbols: letters, digits and _.-/ (1 \
             to {NAME_CHARS_MAX} characters)"
        )));
    }
    if LEVELS_MAX < levels || !rooted {
        let message = format!(
            "Parameter name must be a fully qualified name: it begins with / where it has one, and \
             has at most {LEVELS_MAX} levels"
        );
        return Err(validation(message));
    }
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    if first.starts_with("aws") || first.starts_with("ssm") {
        let message =
            "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).";
        return Err(validation(message.to_owned()));
    }
    Ok(())
}

fn pattern(pattern: Option<&str>, value: &str) -> Result<(), ApiError> {
    let Some(pattern) = pattern else { return Ok(()) };
    if PATTERN_CHARS_MAX < pattern.chars().count() {
        let message = format!("AllowedPattern must have at most {PATTERN_CHARS_MAX} characters");
        return Err(validation(message));
    }
    let code = |name, message: String| ApiError::new(Code::of(name, 400), message);
    let regex = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(|error| {
        code("InvalidAllowedPatternException", format!("AllowedPattern: {error}"))
    })?;
    if regex.is_match(value) {
        return Ok(());
    }
    let message = format!("Parameter value, cannot be validated against allowedPattern: {pattern}");
    Err(code("ParameterPatternMismatchException", message))
}

fn check_value(value: &str) -> Result<(), ApiError> {
    if value.is_empty() || VALUE_BYTES_MAX < value.len() {
        return Err(validation(format!(
            "Standard tier parameters support a maximum parameter value of {VALUE_BYTES_MAX} \
             characters, and at least one."
        )));
    }
    Ok(())
}

async fn put(api: &Api, request: PutParameterRequest) -> Result<PutParameterResponse, ApiError> {
    check_name(&request.name)?;
    check_value(&request.value)?;
    let unsupported = |what: &str| validation(format!("{what} is not supported"));
    match request.tier.as_deref() {
        None | Some("Standard" | "Intelligent-Tiering") => {}
        Some(other) => return Err(unsupported(&format!("Tier {other}"))),
    }
    if request.data_type.as_deref().is_some_and(|data_type| data_type != "text") {
        return Err(unsupported("DataType other than text"));
    }
    if request.key_id.as_deref().is_some_and(|key| !key.is_empty() && key != OWN_KEY) {
        return Err(unsupported("KeyId: values are sealed with the controller's own key, so it"));
    }
    let kind = request.kind.as_deref().map(|text| {
        ParameterKind::parse(text).ok_or_else(|| {
            let message = format!("Type has no value {text:?}");
            ApiError::new(Code::of("UnsupportedParameterType", 400), message)
        })
    });
    let described = request.description.as_ref().map_or(0, |text| text.chars().count());
    if DESCRIPTION_CHARS_MAX < described {
        let message = format!("Description must have at most {DESCRIPTION_CHARS_MAX} characters");
        return Err(validation(message));
    }
    pattern(request.allowed_pattern.as_deref(), &request.value)?;
    let value = request.value.as_bytes();
    let new = NewParameter {
        kind: kind.transpose()?,
        sealed: api.keyring.seal(Purpose::Value, &parameter_key(&request.name), value),
        name: request.name,
        description: request.description,
        allowed_pattern: request.allowed_pattern,
        overwrite: request.overwrite == Some(true),
        tags: read_tags(request.tags, validation)?,
    };
    let made = call(api, Command::PutParameter(new)).await?;
    Ok(PutParameterResponse {
        version: made.newest().map_or(0, number),
        tier: "Standard".to_owned(),
    })
}

fn number(version: &ParameterVersion) -> i64 {
    i64::try_from(version.number).unwrap_or(i64::MAX)
}

/// `name`, or `name:3` for a version of it, or an ARN. Labels are not supported.
fn select<'a>(
    view: &'a View,
    asked: &str,
) -> Result<(&'a Arc<Parameter>, &'a ParameterVersion, Option<String>), ApiError> {
    let whole = |name: &str| view.vault.parameter(&view.scope, name);
    let newest = whole(asked).and_then(|one| Some((one, one.newest()?, None)));
    if let Some(found) = newest {
        return Ok(found);
    }
    let (name, selector) = asked.rsplit_once(':').ok_or_else(|| not_found(asked))?;
    let parameter = whole(name).ok_or_else(|| not_found(asked))?;
    let wanted: Option<u64> = selector.parse().ok();
    let version = wanted.and_then(|n| parameter.versions.iter().find(|v| v.number == n));
    let missing = || {
        let message = format!("Systems Manager could not find version {selector} of {name}.");
        ApiError::new(Code::of("ParameterVersionNotFound", 400), message)
    };
    Ok((parameter, version.ok_or_else(missing)?, Some(format!(":{selector}"))))
}

/// A SecureString is opened only where the caller asks for it: AWS then gives what is encrypted,
/// and so do we.
fn value(
    api: &Api,
    name: &str,
    version: &ParameterVersion,
    decrypt: Option<bool>,
) -> Result<String, ApiError> {
    if version.kind == ParameterKind::SecureString && decrypt != Some(true) {
        return Ok(hex::encode(&version.sealed.bytes));
    }
    let opened = api.keyring.open(Purpose::Value, &parameter_key(name), &version.sealed);
    let bytes = opened.map_err(|error| {
        let message = format!("The value of {name} can't be opened: {error}");
        ApiError::new(Code::of("InternalServerError", 500), message)
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn show(
    api: &Api,
    view: &View,
    (parameter, version, selector): (&Parameter, &ParameterVersion, Option<String>),
    decrypt: Option<bool>,
) -> Result<Shown, ApiError> {
    Ok(Shown {
        name: parameter.name.clone(),
        kind: version.kind.as_str().to_owned(),
        value: value(api, &parameter.name, version, decrypt)?,
        version: number(version),
        selector,
        last_modified_date: EpochSeconds::from_ms(version.modified_at_ms),
        arn: Parameter::arn(&view.scope, &parameter.name),
        data_type: "text".to_owned(),
    })
}

async fn get(api: &Api, request: GetParameterRequest) -> Result<GetParameterResponse, ApiError> {
    let view = api.engine.snapshot();
    let (parameter, version, selector) = select(&view, &request.name)?;
    let found = (parameter.as_ref(), version, selector);
    Ok(GetParameterResponse { parameter: show(api, &view, found, request.with_decryption)? })
}

fn names(names: &[String]) -> Result<(), ApiError> {
    if names.is_empty() || NAMES_MAX < names.len() {
        return Err(validation(format!("Names must have 1 to {NAMES_MAX} items")));
    }
    Ok(())
}

async fn get_many(
    api: &Api,
    request: GetParametersRequest,
) -> Result<GetParametersResponse, ApiError> {
    names(&request.names)?;
    let view = api.engine.snapshot();
    let mut answer = GetParametersResponse { parameters: vec![], invalid_parameters: vec![] };
    for name in request.names {
        match select(&view, &name) {
            Ok((parameter, version, selector)) => {
                let found = (parameter.as_ref(), version, selector);
                answer.parameters.push(show(api, &view, found, request.with_decryption)?);
            }
            Err(_) => answer.invalid_parameters.push(name),
        }
    }
    Ok(answer)
}

async fn get_below(
    api: &Api,
    request: GetParametersByPathRequest,
) -> Result<GetParametersByPathResponse, ApiError> {
    if !request.path.starts_with('/') {
        let message = "The parameter path must begin with a forward slash \"/\".";
        return Err(validation(message.to_owned()));
    }
    let view = api.engine.snapshot();
    let folder = format!("{}/", request.path.trim_end_matches('/'));
    let deep = request.recursive == Some(true);
    let below = view.vault.parameters().filter(|parameter| {
        let rest = parameter.name.strip_prefix(&folder);
        rest.is_some_and(|rest| deep || !rest.contains('/'))
    });
    let token = request.next_token.as_deref();
    let key = |parameter: &&Arc<Parameter>| parameter.name.clone();
    let (found, next_token) = page(below, key, token, request.max_results, (10, 10), validation)?;
    let shown = found.into_iter().filter_map(|one| {
        Some(show(api, &view, (one, one.newest()?, None), request.with_decryption))
    });
    Ok(GetParametersByPathResponse { parameters: shown.collect::<Result<_, _>>()?, next_token })
}

fn passes(parameter: &Parameter, filter: &ParameterStringFilter) -> Result<bool, ApiError> {
    let values = filter.values.as_deref().unwrap_or_default();
    let by = filter.option.as_deref().unwrap_or("Equals");
    let holds = |text: &str| -> Result<bool, ApiError> {
        Ok(match by {
            "Equals" => values.iter().any(|value| text == value),
            "BeginsWith" => values.iter().any(|value| text.starts_with(value.as_str())),
            "Contains" => values.iter().any(|value| text.contains(value.as_str())),
            other => {
                return Err(validation(format!("the filter option {other:?} is not supported")));
            }
        })
    };
    let kind = parameter.newest().map_or("", |version| version.kind.as_str());
    match filter.key.as_str() {
        "Name" => holds(&parameter.name),
        "Type" => holds(kind),
        "Path" => Ok(values.iter().any(|path| {
            let folder = format!("{}/", path.trim_end_matches('/'));
            let rest = parameter.name.strip_prefix(&folder);
            rest.is_some_and(|rest| by == "Recursive" || !rest.contains('/'))
        })),
        key => match key.strip_prefix("tag:") {
            Some(name) => {
                let tag = parameter.tags.iter().find(|tag| tag.name == name);
                Ok(tag.is_some_and(|tag| values.is_empty() || values.contains(&tag.value)))
            }
            None => Err(validation(format!("the filter key {key:?} is not supported"))),
        },
    }
}

async fn describe(
    api: &Api,
    request: DescribeParametersRequest,
) -> Result<DescribeParametersResponse, ApiError> {
    let old = request.filters.unwrap_or_default().into_iter().map(|filter| {
        let option = (filter.key == "Name").then(|| "BeginsWith".to_owned());
        ParameterStringFilter { key: filter.key, option, values: Some(filter.values) }
    });
    let filters: Vec<_> =
        request.parameter_filters.unwrap_or_default().into_iter().chain(old).collect();
    let view = api.engine.snapshot();
    let mut wanted = Vec::new();
    for parameter in view.vault.parameters() {
        let mut all = true;
        for filter in &filters {
            all &= passes(parameter, filter)?;
        }
        if all {
            wanted.push(parameter);
        }
    }
    let token = request.next_token.as_deref();
    let key = |parameter: &&Arc<Parameter>| parameter.name.clone();
    let (found, next_token) =
        page(wanted.into_iter(), key, token, request.max_results, (50, 50), validation)?;
    let shown = found.into_iter().filter_map(|parameter| {
        let version = parameter.newest()?;
        Some(ParameterMetadata {
            name: parameter.name.clone(),
            arn: Parameter::arn(&view.scope, &parameter.name),
            kind: version.kind.as_str().to_owned(),
            last_modified_date: EpochSeconds::from_ms(version.modified_at_ms),
            description: Some(version.description.clone()).filter(|text| !text.is_empty()),
            allowed_pattern: version.allowed_pattern.clone(),
            version: number(version),
            tier: "Standard".to_owned(),
            data_type: "text".to_owned(),
        })
    });
    Ok(DescribeParametersResponse { parameters: shown.collect(), next_token })
}

async fn delete(
    api: &Api,
    request: DeleteParameterRequest,
) -> Result<DeleteParameterResponse, ApiError> {
    call(api, Command::DeleteParameter(request.name)).await?;
    Ok(DeleteParameterResponse {})
}

async fn delete_many(
    api: &Api,
    request: DeleteParametersRequest,
) -> Result<DeleteParametersResponse, ApiError> {
    names(&request.names)?;
    let mut answer =
        DeleteParametersResponse { deleted_parameters: vec![], invalid_parameters: vec![] };
    for name in request.names {
        match call(api, Command::DeleteParameter(name.clone())).await {
            Ok(_) => answer.deleted_parameters.push(name),
            Err(error) if error.code == Code::of("ParameterNotFound", 400) => {
                answer.invalid_parameters.push(name);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

async fn history(
    api: &Api,
    request: GetParameterHistoryRequest,
) -> Result<GetParameterHistoryResponse, ApiError> {
    let view = api.engine.snapshot();
    let found = view.vault.parameter(&view.scope, &request.name);
    let parameter = found.ok_or_else(|| not_found(&request.name))?;
    let mut all = Vec::new();
    for version in &parameter.versions {
        all.push(ParameterHistory {
            name: parameter.name.clone(),
            kind: version.kind.as_str().to_owned(),
            last_modified_date: EpochSeconds::from_ms(version.modified_at_ms),
            description: Some(version.description.clone()).filter(|text| !text.is_empty()),
            value: value(api, &parameter.name, version, request.with_decryption)?,
            allowed_pattern: version.allowed_pattern.clone(),
            version: number(version),
            labels: vec![],
            tier: "Standard".to_owned(),
            data_type: "text".to_owned(),
        });
    }
    let key = |one: &ParameterHistory| format!("{:020}", one.version);
    let token = request.next_token.as_deref();
    let (parameters, next_token) =
        page(all.into_iter(), key, token, request.max_results, (50, 50), validation)?;
    Ok(GetParameterHistoryResponse { parameters, next_token })
}

fn of_parameter(kind: &str) -> Result<(), ApiError> {
    if kind == "Parameter" {
        return Ok(());
    }
    let message = format!("ResourceType {kind:?} is not supported, only Parameter");
    Err(ApiError::new(Code::of("InvalidResourceType", 400), message))
}

fn no_resource(error: ApiError) -> ApiError {
    if error.code == Code::of("ParameterNotFound", 400) {
        return ApiError::new(Code::of("InvalidResourceId", 400), error.message);
    }
    error
}

async fn tag(
    api: &Api,
    request: AddTagsToResourceRequest,
) -> Result<AddTagsToResourceResponse, ApiError> {
    of_parameter(&request.resource_type)?;
    let tags = read_tags(Some(request.tags), validation)?;
    let command = Command::TagParameter(request.resource_id, tags, vec![]);
    call(api, command).await.map_err(no_resource)?;
    Ok(AddTagsToResourceResponse {})
}

async fn untag(
    api: &Api,
    request: RemoveTagsFromResourceRequest,
) -> Result<RemoveTagsFromResourceResponse, ApiError> {
    of_parameter(&request.resource_type)?;
    let command = Command::TagParameter(request.resource_id, vec![], request.tag_keys);
    call(api, command).await.map_err(no_resource)?;
    Ok(RemoveTagsFromResourceResponse {})
}

async fn list_tags(
    api: &Api,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ApiError> {
    of_parameter(&request.resource_type)?;
    let view = api.engine.snapshot();
    let parameter = view.vault.parameter(&view.scope, &request.resource_id);
    let parameter = parameter.ok_or_else(|| no_resource(not_found(&request.resource_id)))?;
    Ok(ListTagsForResourceResponse { tag_list: show_tags(&parameter.tags) })
}
