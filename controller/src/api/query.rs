//! AWS's query protocol: a form in, XML out. Forms become the same JSON values that the other
//! services take, so that requests are declared and read in one way ([`super::wire`]).
//!
//! `Tags.member.1.Key=a` is field `Key` of the first element of the list `Tags`.

use serde_json::{Map, Value};

use super::reply::escape;
use super::{ApiError, Code};

/// Most parameters of one form.
const PARAMETERS_MAX: usize = 1000;
/// Deepest name: `A.member.1.B`.
const DEPTH_MAX: usize = 16;

/// What a form asks for.
#[derive(Debug)]
pub(super) struct Form {
    /// `Action`
    pub(super) action: String,
    /// `Version`
    version: String,
    /// All the rest.
    pub(super) body: Value,
}

impl Form {
    /// Reads a form, of the body or of the query.
    pub(super) fn read(text: &[u8]) -> Result<Self, ApiError> {
        let (mut action, mut version) = (None, None);
        let mut root = Map::new();
        for (count, (name, value)) in form_urlencoded::parse(text).enumerate() {
            if PARAMETERS_MAX <= count {
                let message = format!("a form has at most {PARAMETERS_MAX} parameters");
                return Err(ApiError::invalid(message));
            }
            match name.as_ref() {
                // What signs a presigned request is no parameter of its action.
                name if name.starts_with("X-Amz-") => {}
                "Action" => action = Some(value.into_owned()),
                "Version" => version = Some(value.into_owned()),
                _ => put(&mut root, &name, value.into_owned())?,
            }
        }
        let missing = || ApiError::new(Code::of("MissingAction", 400), "Action is missing");
        Ok(Self {
            action: action.ok_or_else(missing)?,
            version: version.unwrap_or_default(),
            body: lists(Value::Object(root))?,
        })
    }

    /// Refuses another version than the service's.
    pub(super) fn of_version(self, version: &str) -> Result<Self, ApiError> {
        if self.version == version {
            return Ok(self);
        }
        let shown: String = self.version.chars().take(64).collect();
        let message = format!("Version must be {version}, not {shown:?}");
        Err(ApiError::new(Code::UnknownOperation, message))
    }
}

fn put(root: &mut Map<String, Value>, name: &str, value: String) -> Result<(), ApiError> {
    let bad = |why: &str| {
        let shown: String = name.chars().take(128).collect();
        ApiError::invalid(format_args!("the parameter {shown:?} {why}"))
    };
    let parts: Vec<&str> = name.split('.').collect();
    if DEPTH_MAX < parts.len() || parts.iter().any(|part| part.is_empty()) {
        return Err(bad("has no name"));
    }
    let (last, path) = parts.split_last().ok_or_else(|| bad("has no name"))?;
    let mut at = root;
    for part in path {
        let next = at.entry((*part).to_owned()).or_insert_with(|| Value::Object(Map::new()));
        at = next.as_object_mut().ok_or_else(|| bad("is a value and a structure"))?;
    }
    if at.insert((*last).to_owned(), Value::String(value)).is_some() {
        return Err(bad("is there twice"));
    }
    Ok(())
}

/// Turns every `{"member": {"1": …, "2": …}}` into a list.
fn lists(value: Value) -> Result<Value, ApiError> {
    let Value::Object(mut map) = value else { return Ok(value) };
    if map.len() == 1
        && let Some(Value::Object(members)) = map.get("member")
    {
        let mut numbered = Vec::new();
        for (number, member) in members {
            let number: usize = number.parse().map_err(|_| {
                ApiError::invalid(format_args!("a list's member is numbered, not {number:?}"))
            })?;
            numbered.push((number, member.clone()));
        }
        numbered.sort_by_key(|(number, _)| *number);
        let members = numbered.into_iter().map(|(_, member)| lists(member));
        return Ok(Value::Array(members.collect::<Result<_, _>>()?));
    }
    for value in map.values_mut() {
        *value = lists(value.take())?;
    }
    Ok(Value::Object(map))
}

/// An answer of an action as XML.
pub(super) fn to_xml(namespace: &str, action: &str, answer: &Value, request_id: &str) -> Vec<u8> {
    let mut text = format!("<{action}Response xmlns=\"{namespace}\">");
    if answer.as_object().is_some_and(|fields| !fields.is_empty()) {
        element(&mut text, &format!("{action}Result"), answer);
    }
    text.push_str("<ResponseMetadata>");
    element(&mut text, "RequestId", &Value::String(request_id.to_owned()));
    text.push_str(&format!("</ResponseMetadata></{action}Response>"));
    text.into_bytes()
}

fn element(text: &mut String, name: &str, value: &Value) {
    if value.is_null() {
        return;
    }
    text.push_str(&format!("<{name}>"));
    match value {
        Value::Null => {}
        Value::String(inner) => text.push_str(&escape(inner)),
        Value::Bool(inner) => text.push_str(&inner.to_string()),
        Value::Number(inner) => text.push_str(&inner.to_string()),
        Value::Array(items) => items.iter().for_each(|item| element(text, "member", item)),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| element(text, name, value));
        }
    }
    text.push_str(&format!("</{name}>"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_is_read_as_the_structure_that_it_spells() {
        let form = b"Action=TagRole&Version=2010-05-08&RoleName=a+b&Tags.member.2.Key=y\
                     &Tags.member.1.Key=x&Tags.member.1.Value=%3C1%3E&X-Amz-Date=z";
        let form = Form::read(form).unwrap();
        assert_eq!(form.action, "TagRole");
        let form = form.of_version("2010-05-08").unwrap();
        let tags = json!([{"Key": "x", "Value": "<1>"}, {"Key": "y"}]);
        assert_eq!(form.body, json!({"RoleName": "a b", "Tags": tags}));
        Form::read(b"Action=a&Version=1").unwrap().of_version("2").unwrap_err();
        for bad in [
            "",
            "Action=a&b=1&b=2",
            "Action=a&b=1&b.c=2",
            "Action=a&b..c=1",
            "Action=a&b.member.x=1",
        ] {
            assert!(Form::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_written_as_aws_writes_it() {
        let answer = json!({"Roles": [{"RoleName": "a<b"}], "IsTruncated": false, "Marker": null});
        let xml = String::from_utf8(to_xml("https://x/", "ListRoles", &answer, "id")).unwrap();
        let expected = "<ListRolesResponse xmlns=\"https://x/\"><ListRolesResult>\
            <IsTruncated>false</IsTruncated>\
            <Roles><member><RoleName>a&lt;b</RoleName></member></Roles></ListRolesResult>\
            <ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></ListRolesResponse>";
        assert_eq!(xml, expected);
    }

    proptest! {
        #[test]
        fn no_form_makes_it_panic(form in "[a-c.=&1-3member]{0,60}") {
            let _ = Form::read(form.as_bytes());
        }
    }
}
