//! Who is calling, and whether they may do what they ask for.

use std::fmt;
use std::sync::Arc;

use super::decide::trust;
use super::policy::Asker;
use super::record::arn;
use super::session::Session;
use super::{Context, Directory, Identity, IdentityKind, Request, Trust, Verdict, decide};
use crate::state::Scope;

/// Who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The account itself: a key of the credentials file. May do everything.
    Root,
    /// A user, by an access key.
    User {
        /// The name.
        name: String,
        /// The unique id.
        id: String,
        /// `user/path/name`
        resource: String,
    },
    /// Somebody who assumed a role.
    Session(Box<Session>),
}

impl Principal {
    /// The user.
    #[must_use]
    pub fn user(identity: &Identity) -> Self {
        Self::User {
            name: identity.name.clone(),
            id: identity.id.clone(),
            resource: identity.resource(),
        }
    }

    /// As `sts get-caller-identity` shows it.
    #[must_use]
    pub fn arn(&self, scope: &Scope) -> String {
        match self {
            Self::Root => arn(scope, "root"),
            Self::User { resource, .. } => arn(scope, resource),
            Self::Session(session) => format!(
                "arn:{}:sts::{}:assumed-role/{}/{}",
                scope.partition, scope.account, session.role, session.name
            ),
        }
    }

    /// The unique id, as `aws:userid`.
    #[must_use]
    pub fn user_id(&self, scope: &Scope) -> String {
        match self {
            Self::Root => scope.account.clone(),
            Self::User { id, .. } => id.clone(),
            Self::Session(session) => format!("{}:{}", session.role_id, session.name),
        }
    }

    /// Its user or role, if that is still what it was.
    fn identity<'a>(&self, directory: &'a Directory) -> Option<&'a Arc<Identity>> {
        let (kind, name, id) = match self {
            Self::Root => return None,
            Self::User { name, id, .. } => (IdentityKind::User, name, id),
            Self::Session(session) => (IdentityKind::Role, &session.role, &session.role_id),
        };
        directory.identity(kind, name).filter(|identity| identity.id == *id)
    }

    /// What conditions can say about it.
    #[must_use]
    pub fn context(&self, scope: &Scope, directory: &Directory) -> Context {
        let mut context = Context::default();
        let identity = self.identity(directory);
        let principal_arn =
            identity.map_or_else(|| self.arn(scope), |identity| identity.arn(scope));
        context.put("aws:PrincipalArn", principal_arn);
        context.put("aws:PrincipalAccount", &scope.account);
        context.put("aws:userid", self.user_id(scope));
        context.put(
            "aws:PrincipalType",
            match self {
                Self::Root => "Account",
                Self::User { .. } => "User",
                Self::Session(_) => "AssumedRole",
            },
        );
        if let Self::User { name, .. } = self {
            context.put("aws:username", name);
        }
        for tag in identity.iter().flat_map(|identity| &identity.tags) {
            context.put(&format!("aws:PrincipalTag/{}", tag.name), &tag.value);
        }
        context
    }
}

/// Somebody may not do something. AWS's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Denied {
    /// The caller's ARN.
    pub who: String,
    /// For example `ecs:RunTask`.
    pub action: String,
    /// An ARN, or `*`.
    pub resource: String,
    /// [`Verdict::Denied`] or [`Verdict::NotAllowed`].
    pub verdict: Verdict,
    /// Whose verdict it is.
    pub by: Layer,
}

/// Policies that all must allow what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The caller's own policies, and those of a user's groups.
    Identity,
    /// The caller's permissions boundary.
    Boundary,
    /// The policy that a role was assumed with.
    Session,
}

impl Layer {
    /// AWS's words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, action, resource, verdict, by } = self;
        let by = by.words();
        write!(f, "User: {who} is not authorized to perform: {action} on resource: {resource} ")?;
        match verdict {
            Verdict::Denied => {
                let article = if by.starts_with('i') { "an" } else { "a" };
                write!(f, "with an explicit deny in {article} {by}")
            }
            Verdict::Allowed | Verdict::NotAllowed => {
                write!(f, "because no {by} allows the {action} action")
            }
        }
    }
}

/// Whether the caller may do this.
///
/// # Errors
/// [`Denied`]
pub fn authorize(
    scope: &Scope,
    directory: &Directory,
    principal: &Principal,
    request: Request<'_>,
) -> Result<(), Denied> {
    let verdict = verdict(directory, principal, request);
    if verdict.0 == Verdict::Allowed {
        return Ok(());
    }
    Err(denied(scope, principal, request, verdict))
}

fn denied(
    scope: &Scope,
    principal: &Principal,
    request: Request<'_>,
    (verdict, by): (Verdict, Layer),
) -> Denied {
    Denied {
        who: principal.arn(scope),
        action: request.action.to_owned(),
        resource: request.resource.to_owned(),
        verdict,
        by,
    }
}

/// The caller's own policies, then the boundary, then the session's policy: the first that does not
/// allow it decides.
fn verdict(directory: &Directory, principal: &Principal, request: Request<'_>) -> (Verdict, Layer) {
    if *principal == Principal::Root {
        return (Verdict::Allowed, Layer::Identity);
    }
    let Some(identity) = principal.identity(directory) else {
        return (Verdict::NotAllowed, Layer::Identity);
    };
    let own = decide(directory.documents(identity), request);
    if own != Verdict::Allowed {
        return (own, Layer::Identity);
    }
    if let Some(boundary) = directory.boundary(identity) {
        let bounded = decide(boundary, request);
        if bounded != Verdict::Allowed {
            return (bounded, Layer::Boundary);
        }
    }
    if let Principal::Session(session) = principal
        && let Some(policy) = &session.policy
    {
        return (decide([policy.document().as_ref()], request), Layer::Session);
    }
    (own, Layer::Identity)
}

/// Whether the caller may assume this role: by its trust policy alone where that names them, else
/// by their own policies where it names the account.
///
/// # Errors
/// [`Denied`]
pub(crate) fn may_assume(
    scope: &Scope,
    directory: &Directory,
    principal: &Principal,
    role: &Identity,
    context: &Context,
) -> Result<(), Denied> {
    let (own, resource) = (principal.arn(scope), role.arn(scope));
    let request = Request { action: "sts:AssumeRole", resource: &resource, context };
    let principal_arn = principal.identity(directory).map(|identity| identity.arn(scope));
    let asker = Asker::Caller {
        arn: &own,
        principal_arn: principal_arn.as_deref().unwrap_or(&own),
        account: &scope.account,
    };
    let trust = role.trust.as_ref().map_or(Trust::None, |t| trust(t.document(), asker, context));
    let (own, by) = verdict(directory, principal, request);
    let verdict = match (trust, own) {
        (Trust::Denied, _) | (_, Verdict::Denied) => Verdict::Denied,
        // Root's own policies say yes to all, so it may assume what trusts its account. AWS refuses
        // root here; our root is the key that everybody begins with.
        (Trust::Full, _) | (Trust::OfAccount, Verdict::Allowed) => return Ok(()),
        _ => Verdict::NotAllowed,
    };
    Err(denied(scope, principal, request, (verdict, by)))
}

#[cfg(test)]
mod tests {
    use super::super::{ManagedPolicy, PolicyKind, PolicyText, PolicyVersion, Record};
    use super::*;

    fn scope() -> Scope {
        Scope { partition: "aws".into(), region: "r".into(), account: "000000000001".into() }
    }

    fn role(trust: &str, allows: &str) -> Identity {
        let inline =
            format!(r#"{{"Statement":{{"Effect":"Allow","Action":"{allows}","Resource":"*"}}}}"#);
        Identity {
            kind: IdentityKind::Role,
            name: "Deploy".into(),
            path: "/ci/".into(),
            id: "AROA1".into(),
            created_at_ms: 0,
            description: String::new(),
            trust: Some(PolicyText::parse(trust, PolicyKind::Trust).unwrap()),
            session_s_max: 3600,
            inline: [("p".to_owned(), PolicyText::parse(&inline, PolicyKind::Identity).unwrap())]
                .into(),
            attached: Default::default(),
            tags: vec![],
            keys: vec![],
            boundary: None,
            groups: Default::default(),
            role: None,
        }
    }

    fn session(role_id: &str, policy: Option<&str>) -> Principal {
        let parse = |text| PolicyText::parse(text, PolicyKind::Identity).unwrap();
        Principal::Session(Box::new(Session {
            of: Default::default(),
            role: "Deploy".into(),
            role_id: role_id.into(),
            name: "ann".into(),
            expires_at_s: 10,
            policy: policy.map(parse),
            task: None,
        }))
    }

    #[test]
    fn a_boundary_allows_nothing_and_ends_what_it_does_not_allow() {
        let parse = |text: &str| PolicyText::parse(text, PolicyKind::Identity).unwrap();
        let statement = |effect: &str, action: &str| {
            format!(r#"{{"Effect":"{effect}","Action":"{action}","Resource":"*"}}"#)
        };
        let text = |statements: &[String]| format!(r#"{{"Statement":[{}]}}"#, statements.join(","));
        let bound = text(&[statement("Allow", "ecs:*"), statement("Deny", "ecs:StopTask")]);
        let version = PolicyVersion { policy: parse(&bound), created_at_ms: 0 };
        let arn = "arn:aws:iam::000000000001:policy/bound";
        let mut directory = Directory::default();
        directory.absorb(&Record::Policy(Arc::new(ManagedPolicy {
            arn: arn.into(),
            name: "bound".into(),
            path: "/".into(),
            id: "ANPA1".into(),
            description: String::new(),
            created_at_ms: 0,
            updated_at_ms: 0,
            versions: [(1, version)].into(),
            default_version: 1,
            last_version: 1,
            tags: vec![],
        })));
        let bounded = Identity { boundary: Some(arn.into()), ..role(TRUST, "*") };
        directory.absorb(&Record::Identity(Arc::new(bounded)));
        let context = Context::default();
        let check = |action: &str, expected: Result<(), &str>| {
            let request = Request { action, resource: "*", context: &context };
            let got = authorize(&scope(), &directory, &session("AROA1", None), request);
            let got = got.map_err(|denied| denied.to_string());
            let end = got.as_ref().err().and_then(|text| text.split_once("on resource: * "));
            match expected {
                Ok(()) => assert_eq!(got, Ok(())),
                Err(words) => assert_eq!(end.unwrap().1, words),
            }
        };
        check("ecs:RunTask", Ok(()));
        let no = "because no permissions boundary allows the iam:ListRoles action";
        check("iam:ListRoles", Err(no));
        check("ecs:StopTask", Err("with an explicit deny in a permissions boundary"));
        let own = Identity { boundary: Some(arn.into()), ..role(TRUST, "iam:ListRoles") };
        directory.absorb(&Record::Identity(Arc::new(own)));
        let request = Request { action: "ecs:RunTask", resource: "*", context: &context };
        let refused = authorize(&scope(), &directory, &session("AROA1", None), request);
        assert!(refused.is_err(), "what the boundary allows is not granted by it");
    }

    #[test]
    fn a_user_has_the_policies_of_its_groups() {
        let ann = |groups: &[&str]| {
            Record::Identity(Arc::new(Identity {
                kind: IdentityKind::User,
                name: "ann".into(),
                id: "AIDA1".into(),
                inline: Default::default(),
                groups: groups.iter().map(|name| (*name).to_owned()).collect(),
                ..role(TRUST, "*")
            }))
        };
        let mut directory = Directory::default();
        let group =
            Identity { kind: IdentityKind::Group, name: "ops".into(), ..role(TRUST, "ecs:*") };
        directory.absorb(&Record::Identity(Arc::new(group)));
        let context = Context::default();
        let may = |directory: &Directory, action: &str| {
            let id = "AIDA1".to_owned();
            let user = Principal::User { name: "ann".into(), id, resource: "user/ann".to_owned() };
            let request = Request { action, resource: "*", context: &context };
            authorize(&scope(), directory, &user, request).is_ok()
        };
        directory.absorb(&ann(&[]));
        assert!(!may(&directory, "ecs:RunTask"));
        directory.absorb(&ann(&["ops"]));
        assert!(may(&directory, "ecs:RunTask") && !may(&directory, "iam:ListRoles"));
    }

    const TRUST: &str = r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole",
        "Principal":{"AWS":"000000000001"}}}"#;

    #[test]
    fn a_session_may_what_its_role_and_its_own_policy_both_allow() {
        let trust = r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole",
            "Principal":{"AWS":"000000000001"}}}"#;
        let mut directory = Directory::default();
        directory.absorb(&Record::Identity(Arc::new(role(trust, "ecs:*"))));
        let context = Context::default();
        let check = |principal: &Principal, action: &str, expected: Result<(), &str>| {
            let request = Request { action, resource: "*", context: &context };
            let got = authorize(&scope(), &directory, principal, request);
            assert_eq!(got.map_err(|denied| denied.to_string()), expected.map_err(str::to_owned));
        };
        check(&session("AROA1", None), "ecs:ListClusters", Ok(()));
        check(&Principal::Root, "iam:DeleteRole", Ok(()));
        let who = "User: arn:aws:sts::000000000001:assumed-role/Deploy/ann is not authorized to \
                   perform: iam:ListRoles on resource: * because no identity-based policy allows \
                   the iam:ListRoles action";
        check(&session("AROA1", None), "iam:ListRoles", Err(who));
        let narrow = r#"{"Statement":{"Effect":"Allow","Action":"ecs:List*","Resource":"*"}}"#;
        check(&session("AROA1", Some(narrow)), "ecs:ListClusters", Ok(()));
        let gone = session("AROA0", None);
        let request = Request { action: "ecs:ListClusters", resource: "*", context: &context };
        assert!(authorize(&scope(), &directory, &gone, request).is_err(), "of a deleted namesake");
        let narrowed = session("AROA1", Some(narrow));
        let request = Request { action: "ecs:RunTask", resource: "*", context: &context };
        assert!(authorize(&scope(), &directory, &narrowed, request).is_err());
    }
}
