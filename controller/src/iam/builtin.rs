//! AWS's own managed policies that tools attach by name. Every controller has them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

use super::record::unique_id;
use super::{ManagedPolicy, PolicyKind, PolicyText, PolicyVersion};

/// Path, name and statement (AWS Managed Policy Reference).
const POLICIES: [(&str, &str, &str); 6] = [
    ("/", "AdministratorAccess", r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#),
    (
        "/service-role/",
        "AmazonECSTaskExecutionRolePolicy",
        r#"{"Effect":"Allow","Action":["ecr:GetAuthorizationToken",
            "ecr:BatchCheckLayerAvailability","ecr:GetDownloadUrlForLayer","ecr:BatchGetImage",
            "logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}"#,
    ),
    (
        "/",
        "AmazonSSMReadOnlyAccess",
        r#"{"Effect":"Allow","Action":["ssm:Describe*","ssm:Get*","ssm:List*"],"Resource":"*"}"#,
    ),
    ("/", "CloudWatchLogsFullAccess", r#"{"Effect":"Allow","Action":"logs:*","Resource":"*"}"#),
    ("/", "IAMFullAccess", r#"{"Effect":"Allow","Action":"iam:*","Resource":"*"}"#),
    (
        "/",
        "IAMReadOnlyAccess",
        r#"{"Effect":"Allow","Action":["iam:Get*","iam:List*","iam:SimulatePrincipalPolicy"],
            "Resource":"*"}"#,
    ),
];

/// By ARN.
#[must_use]
pub fn builtin() -> &'static BTreeMap<String, Arc<ManagedPolicy>> {
    static BUILTIN: OnceLock<BTreeMap<String, Arc<ManagedPolicy>>> = OnceLock::new();
    BUILTIN.get_or_init(|| POLICIES.iter().map(make).collect())
}

fn make((path, name, statement): &(&str, &str, &str)) -> (String, Arc<ManagedPolicy>) {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
    let policy = PolicyText::parse(&text, PolicyKind::Identity);
    let policy = policy.expect("the table's policies are well formed: a test reads them all");
    let arn = format!("arn:aws:iam::aws:policy{path}{name}");
    let version = PolicyVersion { policy, created_at_ms: 0 };
    let managed = ManagedPolicy {
        arn: arn.clone(),
        name: (*name).to_owned(),
        path: (*path).to_owned(),
        id: unique_id("ANPA", &hex::encode(Sha256::digest(&arn))),
        description: String::new(),
        created_at_ms: 0,
        updated_at_ms: 0,
        versions: [(1, version)].into(),
        default_version: 1,
        last_version: 1,
        tags: Vec::new(),
    };
    (arn, Arc::new(managed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn awss_own_policies_can_be_read() {
        let execution = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy";
        assert_eq!(builtin().len(), POLICIES.len());
        assert!(builtin()[execution].current().is_some());
    }
}
