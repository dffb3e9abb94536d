//! Account settings. Each of AWS's settings has exactly one value that Loadline serves, so there is
//! nothing to remember: asking for that value is no change, asking for another is refused by name.

use super::page::Pager;
use crate::api::wire::shape;
use crate::api::{Api, ApiError};

/// AWS's names, in their order, with the value that holds here.
const SETTINGS: [(&str, &str); 11] = [
    ("awsvpcTrunking", "disabled"),
    ("containerInsights", "disabled"),
    ("containerInstanceLongArnFormat", "enabled"),
    ("defaultLogDriverMode", "blocking"),
    ("fargateEventWindows", "disabled"),
    ("fargateFIPSMode", "disabled"),
    ("fargateTaskRetirementWaitPeriod", "7"),
    ("guardDutyActivate", "off"),
    ("serviceLongArnFormat", "enabled"),
    ("tagResourceAuthorization", "off"),
    ("taskLongArnFormat", "enabled"),
];

shape! {
    /// ListAccountSettings' input.
    ListAccountSettingsRequest = "ListAccountSettingsRequest" {
        /// Only this one.
        name: "name" => Option<String>,
        /// Only those with this value.
        value: "value" => Option<String>,
        /// The account's root, which is everybody.
        principal_arn: "principalArn" => Option<String>,
        /// Whether defaults are listed too; they are in any case, as all are defaults.
        effective_settings: "effectiveSettings" => Option<bool>,
        /// From the page before.
        next_token: "nextToken" => Option<String>,
        /// 1 to 100.
        max_results: "maxResults" => Option<i32>,
    }
}

shape! {
    /// ListAccountSettings' output.
    ListAccountSettingsResponse = "ListAccountSettingsResponse" {
        /// By name.
        settings: "settings" => Vec<Setting>,
        /// For the next page.
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// A setting.
    Setting = "Setting" {
        /// Its name.
        name: "name" => String,
        /// Its value.
        value: "value" => String,
        /// The account's root.
        principal_arn: "principalArn" => String,
        /// user, or aws_managed.
        kind: "type" => String,
    }
}

shape! {
    /// PutAccountSetting's input.
    PutAccountSettingRequest = "PutAccountSettingRequest" {
        /// Its name.
        name: "name" => String,
        /// Its value.
        value: "value" => String,
        /// The account's root.
        principal_arn: "principalArn" => Option<String>,
    }
}

shape! {
    /// PutAccountSetting's output.
    PutAccountSettingResponse = "PutAccountSettingResponse" {
        /// As it is now.
        setting: "setting" => Setting,
    }
}

shape! {
    /// PutAccountSettingDefault's input.
    PutAccountSettingDefaultRequest = "PutAccountSettingDefaultRequest" {
        /// Its name.
        name: "name" => String,
        /// Its value.
        value: "value" => String,
    }
}

shape! {
    /// PutAccountSettingDefault's output.
    PutAccountSettingDefaultResponse = "PutAccountSettingDefaultResponse" {
        /// As it is now.
        setting: "setting" => Setting,
    }
}

shape! {
    /// DeleteAccountSetting's input.
    DeleteAccountSettingRequest = "DeleteAccountSettingRequest" {
        /// Its name.
        name: "name" => String,
        /// The account's root.
        principal_arn: "principalArn" => Option<String>,
    }
}

shape! {
    /// DeleteAccountSetting's output.
    DeleteAccountSettingResponse = "DeleteAccountSettingResponse" {
        /// As it is now: the default.
        setting: "setting" => Setting,
    }
}

pub(super) async fn list(
    api: &Api,
    request: ListAccountSettingsRequest,
) -> Result<ListAccountSettingsResponse, ApiError> {
    check_principal(api, request.principal_arn.as_deref())?;
    let (name, value) = (request.name.as_deref(), request.value.as_deref());
    if let Some(name) = name {
        served(name)?;
    }
    let question = format!("ListAccountSettings {name:?} {value:?}");
    let pager = Pager::new(question, request.next_token.as_deref(), request.max_results)?;
    let settings = SETTINGS
        .iter()
        .filter(|(have, _)| name.is_none_or(|name| name == *have))
        .filter(|(_, have)| value.is_none_or(|value| value == *have))
        .filter(|(have, _)| pager.after().is_none_or(|after| after < *have));
    let (page, next_token) = pager.page(settings, |(name, _)| (*name).to_owned());
    let settings = page.into_iter().map(|(name, value)| show(api, name, value)).collect();
    Ok(ListAccountSettingsResponse { settings, next_token })
}

pub(super) async fn put(
    api: &Api,
    request: PutAccountSettingRequest,
) -> Result<PutAccountSettingResponse, ApiError> {
    check_principal(api, request.principal_arn.as_deref())?;
    Ok(PutAccountSettingResponse { setting: keep(api, &request.name, &request.value)? })
}

pub(super) async fn put_default(
    api: &Api,
    request: PutAccountSettingDefaultRequest,
) -> Result<PutAccountSettingDefaultResponse, ApiError> {
    Ok(PutAccountSettingDefaultResponse { setting: keep(api, &request.name, &request.value)? })
}

pub(super) async fn delete(
    api: &Api,
    request: DeleteAccountSettingRequest,
) -> Result<DeleteAccountSettingResponse, ApiError> {
    check_principal(api, request.principal_arn.as_deref())?;
    let value = served(&request.name)?;
    Ok(DeleteAccountSettingResponse { setting: show(api, &request.name, value) })
}

/// The value that holds for a setting.
fn served(name: &str) -> Result<&'static str, ApiError> {
    let setting = SETTINGS.iter().find(|(have, _)| *have == name);
    setting.map(|(_, value)| *value).ok_or_else(|| {
        ApiError::invalid(format_args!("name: there is no account setting {name:?}"))
    })
}

fn keep(api: &Api, name: &str, value: &str) -> Result<Setting, ApiError> {
    let have = served(name)?;
    if have != value {
        let what = format_args!("{name} {value:?} (only {have:?} is)").to_string();
        return Err(ApiError::unsupported(what));
    }
    Ok(show(api, name, value))
}

fn check_principal(api: &Api, principal: Option<&str>) -> Result<(), ApiError> {
    match principal.filter(|arn| !arn.is_empty()) {
        Some(arn) if arn != root(api) => {
            Err(ApiError::unsupported(format_args!("principalArn other than {}", root(api))))
        }
        _ => Ok(()),
    }
}

fn root(api: &Api) -> String {
    let view = api.engine.snapshot();
    format!("arn:{}:iam::{}:root", view.scope.partition, view.scope.account)
}

fn show(api: &Api, name: &str, value: &str) -> Setting {
    // As in AWS's model: the only one that is not the user's.
    let kind = if name == "guardDutyActivate" { "aws_managed" } else { "user" };
    let principal_arn = root(api);
    Setting { name: name.into(), value: value.into(), principal_arn, kind: kind.into() }
}
