//! Policies: their text, read whole or refused.
//!
//! Source: IAM User Guide, "Grammar of the IAM JSON policy language".

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Context;
use super::condition::Condition;
use super::pattern::{ArnPattern, Pattern};

/// Most statements of a policy: far above what the size limits leave room for.
const STATEMENTS_MAX: usize = 1000;

/// What a policy is attached to, which decides what its statements hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of a user, role or session: has resources, no principals.
    Identity,
    /// Of a role: says who may assume it; has principals, no resources.
    Trust,
}

/// A policy text that can't be read, and why. AWS: MalformedPolicyDocument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// A policy, ready to be decided by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub(super) statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) effect: Effect,
    principals: Vec<PrincipalPattern>,
    actions: Set<Pattern>,
    resources: Option<Set<ArnPattern>>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set<T> {
    not: bool,
    items: Vec<T>,
}

impl<T> Set<T> {
    fn holds(&self, matches: impl Fn(&T) -> bool) -> bool {
        self.items.iter().any(matches) != self.not
    }
}

/// One principal of a trust policy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PrincipalPattern {
    /// `*`
    Anyone,
    /// An account, by its number or its root's ARN.
    Account(String),
    /// A user, role, or session.
    Arn(String),
    /// For example `ecs-tasks.amazonaws.com`.
    Service(String),
}

/// How a trust policy names somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// By its own ARN, or as a service, or as anyone.
    Itself,
    /// Only through its account.
    ByAccount,
}

/// Who asks to assume a role.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker<'a> {
    /// A caller: its own ARN, that of its user or role, and its account.
    Caller { arn: &'a str, principal_arn: &'a str, account: &'a str },
    /// One of AWS's services, whose part the controller plays.
    Service(&'a str),
}

impl Statement {
    /// Whether it speaks about this action on this resource, and its conditions hold.
    pub(super) fn applies(&self, action: &str, resource: &str, context: &Context) -> bool {
        let action = action.to_ascii_lowercase();
        self.actions.holds(|pattern| pattern.matches(&action, context))
            && self
                .resources
                .as_ref()
                .is_none_or(|set| set.holds(|pattern| pattern.matches(resource, context)))
            && self.conditions.iter().all(|condition| condition.holds(context))
    }

    /// How it names who asks; the most direct way counts.
    pub(super) fn names(&self, asker: Asker<'_>) -> Option<Named> {
        let direct = |pattern: &PrincipalPattern| match (pattern, asker) {
            (PrincipalPattern::Anyone, _) => true,
            (PrincipalPattern::Service(have), Asker::Service(service)) => have == service,
            (PrincipalPattern::Arn(have), Asker::Caller { arn, principal_arn, .. }) => {
                have == arn || have == principal_arn
            }
            _ => false,
        };
        let by_account = |pattern: &PrincipalPattern| match (pattern, asker) {
            (PrincipalPattern::Account(have), Asker::Caller { account, .. }) => have == account,
            _ => false,
        };
        if self.principals.iter().any(direct) {
            return Some(Named::Itself);
        }
        self.principals.iter().any(by_account).then_some(Named::ByAccount)
    }
}

impl Document {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`Unreadable`] says what is wrong and where.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, Unreadable> {
        let value = crate::json::from_slice(text.as_bytes())
            .map_err(|error| Unreadable(format!("Syntax errors in policy: {error}")))?;
        let mut fields = Fields::open(value, "the policy")?;
        match fields.take("Version") {
            None => {}
            Some(Value::String(version)) if version == "2012-10-17" || version == "2008-10-17" => {}
            Some(other) => {
                return Err(Unreadable(format!("Version must be 2012-10-17, not {other}")));
            }
        }
        if let Some(id) = fields.take("Id")
            && !id.is_string()
        {
            return Err(Unreadable("Id must be a string".into()));
        }
        let statements = match fields.take("Statement") {
            Some(Value::Array(list)) => list,
            Some(one @ Value::Object(_)) => vec![one],
            _ => return Err(Unreadable("Missing required field Statement".into())),
        };
        fields.close()?;
        if statements.is_empty() || STATEMENTS_MAX < statements.len() {
            return Err(Unreadable(format!("a policy has 1 to {STATEMENTS_MAX} statements")));
        }
        let statements = statements.into_iter().enumerate().map(|(n, value)| {
            statement(value, kind).map_err(|bad| Unreadable(format!("Statement[{n}]: {bad}")))
        });
        Ok(Self { statements: statements.collect::<Result<_, _>>()? })
    }
}

/// A JSON structure that is read field by field, with nothing left over.
struct Fields {
    map: Map<String, Value>,
    of: &'static str,
}

impl Fields {
    fn open(value: Value, of: &'static str) -> Result<Self, Unreadable> {
        match value {
            Value::Object(map) => Ok(Self { map, of }),
            _ => Err(Unreadable(format!("{of} must be a JSON object"))),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name)
    }

    /// One of two fields that exclude each other; whether it was the `Not` one.
    fn either(&mut self, name: &str) -> Result<Option<(bool, Value)>, Unreadable> {
        let (plain, not) = (self.take(name), self.take(&format!("Not{name}")));
        match (plain, not) {
            (Some(_), Some(_)) => {
                Err(Unreadable(format!("{name} and Not{name} exclude each other")))
            }
            (Some(value), None) => Ok(Some((false, value))),
            (None, Some(value)) => Ok(Some((true, value))),
            (None, None) => Ok(None),
        }
    }

    fn close(self) -> Result<(), Unreadable> {
        match self.map.keys().next() {
            Some(name) => Err(Unreadable(format!("{} has no field {name:?}", self.of))),
            None => Ok(()),
        }
    }
}

fn statement(value: Value, kind: Kind) -> Result<Statement, Unreadable> {
    let mut fields = Fields::open(value, "a statement")?;
    if let Some(sid) = fields.take("Sid")
        && !sid.is_string()
    {
        return Err(Unreadable("Sid must be a string".into()));
    }
    let effect = match fields.take("Effect").as_ref().and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(Unreadable("Effect must be Allow or Deny".into())),
    };
    let (not, actions) = fields
        .either("Action")?
        .ok_or_else(|| Unreadable("Missing required field Action".into()))?;
    let actions = texts("Action", actions)?;
    if let Some(bad) = actions.iter().find(|action| *action != "*" && !action.contains(':')) {
        return Err(Unreadable(format!(
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc. ({bad:?})"
        )));
    }
    let actions = actions.iter().map(|text| Pattern::wild(&text.to_ascii_lowercase())).collect();
    let resources = fields.either("Resource")?;
    let principals = fields.take("Principal");
    if fields.map.contains_key("NotPrincipal") {
        return Err(Unreadable("NotPrincipal is not supported".into()));
    }
    let (resources, principals) = match (kind, resources, principals) {
        (Kind::Identity, Some((not, value)), None) => (Some(arns(not, value)?), Vec::new()),
        (Kind::Identity, None, _) => {
            return Err(Unreadable("Policy statement must contain resources.".into()));
        }
        (Kind::Identity, _, Some(_)) => {
            return Err(Unreadable("Policy document should not specify a principal.".into()));
        }
        (Kind::Trust, None, Some(value)) => (None, read_principals(value)?),
        (Kind::Trust, None, None) => {
            return Err(Unreadable("AssumeRolepolicy must contain a principal.".into()));
        }
        (Kind::Trust, Some(_), _) => {
            return Err(Unreadable("Has prohibited field Resource".into()));
        }
    };
    let conditions = fields.take("Condition").map(conditions).transpose()?.unwrap_or_default();
    fields.close()?;
    let actions = Set { not, items: actions };
    Ok(Statement { effect, principals, actions, resources, conditions })
}

fn arns(not: bool, value: Value) -> Result<Set<ArnPattern>, Unreadable> {
    let items = texts("Resource", value)?;
    let items = items.iter().map(|text| {
        ArnPattern::read(text)
            .ok_or_else(|| Unreadable(format!("Resource {text} must be in ARN format or \"*\".")))
    });
    Ok(Set { not, items: items.collect::<Result<_, _>>()? })
}

/// A string or a list of strings; a list must not be empty.
fn texts(name: &str, value: Value) -> Result<Vec<String>, Unreadable> {
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    if list.is_empty() {
        return Err(Unreadable(format!("{name} is an empty list")));
    }
    list.into_iter()
        .map(|item| match item {
            Value::String(text) => Ok(text),
            Value::Bool(flag) => Ok(flag.to_string()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(Unreadable(format!("{name} must be a string or a list of strings"))),
        })
        .collect()
}

fn read_principals(value: Value) -> Result<Vec<PrincipalPattern>, Unreadable> {
    let map = match value {
        Value::String(text) if text == "*" => return Ok(vec![PrincipalPattern::Anyone]),
        Value::Object(map) => map,
        _ => return Err(Unreadable("Principal must be \"*\" or a JSON object".into())),
    };
    let mut principals = Vec::new();
    for (kind, value) in map {
        for text in texts("Principal", value)? {
            principals.push(match kind.as_str() {
                "AWS" => aws_principal(&text)?,
                "Service" => PrincipalPattern::Service(text),
                other => return Err(Unreadable(format!("Principal {other:?} is not supported"))),
            });
        }
    }
    Ok(principals)
}

fn aws_principal(text: &str) -> Result<PrincipalPattern, Unreadable> {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if text == "*" {
        return Ok(PrincipalPattern::Anyone);
    }
    if is_account(text) {
        return Ok(PrincipalPattern::Account(text.to_owned()));
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", _, "iam", "", account, "root"] if is_account(account) => {
            Ok(PrincipalPattern::Account((*account).to_owned()))
        }
        ["arn", _, "iam" | "sts", "", account, name]
            if is_account(account) && !name.contains('*') =>
        {
            Ok(PrincipalPattern::Arn(text.to_owned()))
        }
        _ => Err(Unreadable(format!("Invalid principal in policy: \"AWS\":{text:?}"))),
    }
}

fn conditions(value: Value) -> Result<Vec<Condition>, Unreadable> {
    let Value::Object(operators) = value else {
        return Err(Unreadable("Condition must be a JSON object".into()));
    };
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let Value::Object(keys) = keys else {
            return Err(Unreadable(format!("Condition {operator} must be a JSON object")));
        };
        for (key, values) in keys {
            let values = texts("Condition", values)?;
            conditions.push(Condition::read(&operator, &key, values).map_err(Unreadable)?);
        }
    }
    Ok(conditions)
}

/// A policy as it was given, and as it is decided by. Stored as its text alone.
#[derive(Clone, PartialEq, Eq)]
pub struct PolicyText {
    text: String,
    document: Arc<Document>,
    kind: Kind,
}

impl fmt::Debug for PolicyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PolicyText").field(&self.text).finish()
    }
}

impl PolicyText {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn parse(text: &str, kind: Kind) -> Result<Self, Unreadable> {
        let document = Arc::new(Document::parse(text, kind)?);
        Ok(Self { text: text.to_owned(), document, kind })
    }

    /// As it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// As it is decided by.
    #[must_use]
    pub fn document(&self) -> &Arc<Document> {
        &self.document
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    trust: bool,
}

impl Serialize for PolicyText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let trust = self.kind == Kind::Trust;
        Stored { text: self.text.clone(), trust }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PolicyText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let kind = if stored.trust { Kind::Trust } else { Kind::Identity };
        Self::parse(&stored.text, kind).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn refused(text: &str, kind: Kind, part: &str) {
        let error = Document::parse(text, kind).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_can_not_be_read_whole_is_refused_by_name() {
        let identity = |statement: &str| format!(r#"{{"Statement":[{statement}]}}"#);
        let k = Kind::Identity;
        refused("{", k, "Syntax errors in policy");
        refused("{}", k, "Statement");
        refused(r#"{"Statement":[],"Statement":[]}"#, k, "twice");
        refused(r#"{"Version":"2012","Statement":{}}"#, k, "Version");
        refused(&identity("{}"), k, "Effect");
        refused(&identity(r#"{"Effect":"allow"}"#), k, "Effect");
        refused(&identity(r#"{"Effect":"Allow","Resource":"*"}"#), k, "Action");
        refused(&identity(r#"{"Effect":"Allow","Action":"ecs","Resource":"*"}"#), k, "vendor");
        refused(&identity(r#"{"Effect":"Allow","Action":"ecs:*"}"#), k, "resources");
        refused(&identity(r#"{"Effect":"Allow","Action":"ecs:*","Resource":"x"}"#), k, "ARN");
        let both = r#"{"Effect":"Deny","Action":"a:b","NotAction":"a:b","Resource":"*"}"#;
        refused(&identity(both), k, "exclude");
        let odd = r#"{"Effect":"Deny","Action":"a:b","Resource":"*","Colour":1}"#;
        refused(&identity(odd), k, "Colour");
        let principal = r#"{"Effect":"Deny","Action":"a:b","Resource":"*","Principal":"*"}"#;
        refused(&identity(principal), k, "principal");
        let operator = r#"{"Effect":"Allow","Action":"a:b","Resource":"*",
            "Condition":{"BinaryEquals":{"k":"v"}}}"#;
        refused(&identity(operator), k, "BinaryEquals");
        let t = Kind::Trust;
        refused(&identity(r#"{"Effect":"Allow","Action":"sts:AssumeRole"}"#), t, "principal");
        let federated = r#"{"Effect":"Allow","Action":"sts:AssumeRole",
            "Principal":{"Federated":"x"}}"#;
        refused(&identity(federated), t, "Federated");
        let part = r#"{"Effect":"Allow","Action":"sts:AssumeRole",
            "Principal":{"AWS":"arn:aws:iam::000000000000:user/*"}}"#;
        refused(&identity(part), t, "Invalid principal");
    }

    #[test]
    fn a_stored_policy_is_read_again_as_what_it_was() {
        let trust = r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole",
            "Principal":{"Service":["ecs-tasks.amazonaws.com"],"AWS":"000000000000"}}}"#;
        let policy = PolicyText::parse(trust, Kind::Trust).unwrap();
        let stored = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<PolicyText>(&stored).unwrap(), policy);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[{}\[\]":,a-zA-Z*]{0,60}"#) {
            let _ = Document::parse(&text, Kind::Identity);
            let _ = Document::parse(&text, Kind::Trust);
        }
    }
}
