//! `loadline key`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::options::Context;
use crate::output::{age, dash};

/// Make, list and delete access keys of users, each with rights of its own
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make an access key for a user, who is made where there is none, and print it once
    ///
    /// What is printed is a profile for an AWS credentials file:
    ///     loadline key create ann --policy arn:aws:iam::aws:policy/AdministratorAccess >> keys
    ///     AWS_SHARED_CREDENTIALS_FILE=keys AWS_PROFILE=ann aws ecs list-clusters
    ///     AWS_PROFILE=ann loadline --credentials-file keys ps
    /// Without a policy the user may do nothing until one is given to them (aws iam
    /// attach-user-policy, put-user-policy).
    #[command(verbatim_doc_comment)]
    Create {
        /// The user
        user: String,
        /// Attach this managed policy to the user
        #[arg(long, value_name = "ARN")]
        policy: Option<String>,
        /// Give the user this policy, a JSON document
        #[arg(long, value_name = "FILE")]
        policy_file: Option<PathBuf>,
    },
    /// List the access keys of all users, without their secrets
    Ls,
    /// Delete an access key: it lets nobody in from now on
    Rm {
        /// The key's id, AKIA…
        id: String,
    },
}

impl Key {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        match self {
            Self::Create { user, policy, policy_file } => {
                let document = policy_file.map(|path| read(&path)).transpose()?;
                let request = json!({
                    "userName": user, "policyArn": policy, "policyDocument": document,
                });
                let made = client.own("CreateAccessKey", request).await?;
                context.output.either(&made, &profile(&made))?;
            }
            Self::Ls => {
                let all = client.own("ListAccessKeys", json!({})).await?;
                let keys = all["accessKeys"].as_array().map_or(&[][..], Vec::as_slice);
                let rows = keys.iter().map(row).collect();
                context.output.table(&all, &["KEY", "USER", "STATUS", "AGE"], rows)?;
            }
            Self::Rm { id } => {
                let gone = client.own("DeleteAccessKey", json!({"accessKeyId": id})).await?;
                context.output.either(&gone, &id)?;
            }
        }
        Ok(0)
    }
}

fn read(path: &std::path::Path) -> Result<String, Failure> {
    let object = path.display().to_string();
    std::fs::read_to_string(path).map_err(|source| Failure::Io { step: "read", object, source })
}

/// As an AWS credentials file has it.
fn profile(made: &Value) -> String {
    format!(
        "[{}]\naws_access_key_id = {}\naws_secret_access_key = {}",
        dash(made["userName"].as_str()),
        dash(made["accessKeyId"].as_str()),
        dash(made["secretAccessKey"].as_str()),
    )
}

fn row(key: &Value) -> Vec<String> {
    vec![
        dash(key["accessKeyId"].as_str()),
        dash(key["userName"].as_str()),
        dash(key["status"].as_str()),
        age(key["createdAt"].as_f64()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_printed_as_a_profile() {
        let made = json!({"userName": "ann", "accessKeyId": "AKIA1", "secretAccessKey": "s"});
        let expected = "[ann]\naws_access_key_id = AKIA1\naws_secret_access_key = s";
        assert_eq!(profile(&made), expected);
    }
}
