//! The decision. Source: IAM User Guide, "Policy evaluation logic".

use super::policy::{Asker, Effect, Named};
use super::{Context, Document};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// For example `ecs:RunTask`.
    pub action: &'a str,
    /// An ARN, or `*` where the action has no resource.
    pub resource: &'a str,
    /// What conditions are judged by.
    pub context: &'a Context,
}

/// What all policies together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least one allows it and none denies it.
    Allowed,
    /// One denies it.
    Denied,
    /// None allows it.
    NotAllowed,
}

/// What these policies say about a request. Their order does not matter.
pub fn decide<'a>(
    documents: impl IntoIterator<Item = &'a Document>,
    request: Request<'_>,
) -> Verdict {
    let mut verdict = Verdict::NotAllowed;
    for statement in documents.into_iter().flat_map(|document| &document.statements) {
        if statement.applies(request.action, request.resource, request.context) {
            match statement.effect {
                Effect::Deny => return Verdict::Denied,
                Effect::Allow => verdict = Verdict::Allowed,
            }
        }
    }
    verdict
}

/// What a trust policy says about who asks to assume its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It names them: their own policies need not allow it, but may deny it.
    Full,
    /// It names their account: their own policies decide.
    OfAccount,
    /// It does not name them.
    None,
    /// It denies them.
    Denied,
}

/// What a trust policy says about a caller, or about one of AWS's services.
pub(super) fn trust(document: &Document, asker: Asker<'_>, context: &Context) -> Trust {
    let mut trust = Trust::None;
    for statement in &document.statements {
        let Some(named) = statement.names(asker) else { continue };
        if !statement.applies("sts:AssumeRole", "*", context) {
            continue;
        }
        trust = match (statement.effect, named, trust) {
            (Effect::Deny, ..) => return Trust::Denied,
            (Effect::Allow, Named::Itself, _) | (_, _, Trust::Full) => Trust::Full,
            (Effect::Allow, Named::ByAccount, _) => Trust::OfAccount,
        };
    }
    trust
}

/// Whether a trust policy lets one of AWS's services assume its role.
#[must_use]
pub fn trusts(document: &Document, service: &str, context: &Context) -> bool {
    trust(document, Asker::Service(service), context) == Trust::Full
}

#[cfg(test)]
mod tests {
    use super::super::PolicyKind;
    use super::*;

    const TASK: &str = "arn:aws:ecs:r:1:task/blue/1";

    fn context() -> Context {
        let mut context = Context::default();
        context.put("ecs:cluster", "arn:aws:ecs:r:1:cluster/blue");
        context.put("aws:username", "ann");
        context
    }

    #[track_caller]
    fn check(statements: &[&str], action: &str, resource: &str, expected: Verdict) {
        let documents: Vec<_> = statements
            .iter()
            .map(|statement| format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#))
            .map(|text| Document::parse(&text, PolicyKind::Identity).unwrap())
            .collect();
        let context = context();
        let request = Request { action, resource, context: &context };
        assert_eq!(decide(&documents, request), expected, "{action} {resource} {statements:?}");
        assert_eq!(decide(documents.iter().rev(), request), expected, "in the other order");
    }

    #[test]
    fn a_deny_beats_an_allow_and_silence_is_no() {
        use Verdict::{Allowed, Denied, NotAllowed};
        let all = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
        let ecs = r#"{"Effect":"Allow","Action":["ecs:Describe*","ecs:List*"],"Resource":"*"}"#;
        let no_stop = r#"{"Effect":"Deny","Action":"ecs:StopTask","Resource":"*"}"#;
        let but_stop = r#"{"Effect":"Allow","NotAction":"ecs:StopTask","Resource":"*"}"#;
        let blue =
            r#"{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:*:1:task/blue/*"}"#;
        let not_blue = r#"{"Effect":"Allow","Action":"ecs:*",
            "NotResource":"arn:aws:ecs:*:1:task/blue/*"}"#;
        let in_blue = r#"{"Effect":"Allow","Action":"ecs:RunTask","Resource":"*",
            "Condition":{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:r:1:cluster/blue"}}}"#;
        let in_red = r#"{"Effect":"Allow","Action":"ecs:RunTask","Resource":"*",
            "Condition":{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:r:1:cluster/red"}}}"#;
        let own = r#"{"Effect":"Allow","Action":"iam:GetUser",
            "Resource":"arn:aws:iam::1:user/${aws:username}"}"#;
        for (statements, action, resource, expected) in [
            (&[][..], "ecs:StopTask", TASK, NotAllowed),
            (&[all], "ecs:StopTask", TASK, Allowed),
            (&[all, no_stop], "ecs:StopTask", TASK, Denied),
            (&[all, no_stop], "ecs:RunTask", TASK, Allowed),
            (&[no_stop], "ecs:StopTask", TASK, Denied),
            (&[ecs], "ecs:StopTask", TASK, NotAllowed),
            (&[ecs], "ecs:DescribeTasks", TASK, Allowed),
            (&[ecs], "ECS:describetasks", TASK, Allowed),
            (&[ecs], "ecr:DescribeImages", "*", NotAllowed),
            (&[but_stop], "ecs:StopTask", TASK, NotAllowed),
            (&[but_stop], "ecs:RunTask", TASK, Allowed),
            (&[blue], "ecs:StopTask", TASK, Allowed),
            (&[blue], "ecs:StopTask", "arn:aws:ecs:r:1:task/red/1", NotAllowed),
            (&[blue], "ecs:ListClusters", "*", NotAllowed),
            (&[not_blue], "ecs:StopTask", TASK, NotAllowed),
            (&[not_blue], "ecs:StopTask", "arn:aws:ecs:r:1:task/red/1", Allowed),
            (&[in_blue], "ecs:RunTask", "arn:aws:ecs:r:1:task-definition/w:1", Allowed),
            (&[in_red], "ecs:RunTask", "arn:aws:ecs:r:1:task-definition/w:1", NotAllowed),
            (&[own], "iam:GetUser", "arn:aws:iam::1:user/ann", Allowed),
            (&[own], "iam:GetUser", "arn:aws:iam::1:user/bob", NotAllowed),
        ] {
            check(statements, action, resource, expected);
        }
    }

    #[test]
    fn a_role_is_assumed_by_whom_its_trust_policy_names() {
        let user = "arn:aws:iam::000000000001:user/ann";
        let caller = Asker::Caller { arn: user, principal_arn: user, account: "000000000001" };
        let check = |statements: &str, asker: Asker<'_>, expected: Trust| {
            let text = format!(r#"{{"Statement":[{statements}]}}"#);
            let document = Document::parse(&text, PolicyKind::Trust).unwrap();
            assert_eq!(trust(&document, asker, &context()), expected, "{statements}");
        };
        let statement = |effect: &str, principal: &str| {
            format!(r#"{{"Effect":"{effect}","Action":"sts:AssumeRole","Principal":{principal}}}"#)
        };
        let tasks = statement("Allow", r#"{"Service":"ecs-tasks.amazonaws.com"}"#);
        let account = statement("Allow", r#"{"AWS":"arn:aws:iam::000000000001:root"}"#);
        let ann = statement("Allow", &format!(r#"{{"AWS":"{user}"}}"#));
        let not_ann = statement("Deny", &format!(r#"{{"AWS":["{user}"]}}"#));
        check(&tasks, Asker::Service("ecs-tasks.amazonaws.com"), Trust::Full);
        check(&tasks, Asker::Service("ecs.amazonaws.com"), Trust::None);
        check(&tasks, caller, Trust::None);
        check(&account, caller, Trust::OfAccount);
        check(&ann, caller, Trust::Full);
        check(&format!("{ann},{account}"), caller, Trust::Full);
        check(&format!("{ann},{not_ann}"), caller, Trust::Denied);
        check(&statement("Allow", r#""*""#), caller, Trust::Full);
    }
}
