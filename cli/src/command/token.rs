//! `loadline token`

use clap::Subcommand;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::options::Context;
use crate::output::{age, dash};
use crate::text::duration_s;

/// Make, list and revoke join tokens: what a new node needs once
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a join token and print it; it is shown this once
    ///
    /// On the new machine:
    ///     sudo loadline-agent run --controller HOST:7071 --join-token-file -
    #[command(verbatim_doc_comment)]
    Create {
        /// How long it can be used, for example 10m, 24h or 7d
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration_s)]
        expires_in: u64,
        /// How many nodes it lets in
        #[arg(long, value_name = "N", default_value_t = 1)]
        uses: u32,
    },
    /// List the join tokens, without their secrets
    Ls,
    /// Let nobody in with this token from now on; nodes that joined with it stay
    Revoke {
        /// The token's id, or the whole token
        id: String,
    },
}

impl Token {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        match self {
            Self::Create { expires_in, uses } => {
                let request = json!({
                    "cluster": context.cluster(), "expiresInSeconds": expires_in, "uses": uses,
                });
                let made = client.own("CreateJoinToken", request).await?;
                context.output.either(&made, &dash(made["token"].as_str()))?;
            }
            Self::Revoke { id } => {
                let id = token_id(&id);
                let gone = client.own("RevokeJoinToken", json!({"tokenId": id})).await?;
                context.output.either(&gone, id)?;
            }
            Self::Ls => {
                let all = client.own("ListJoinTokens", json!({})).await?;
                let tokens = all["tokens"].as_array().map_or(&[][..], Vec::as_slice);
                let rows = tokens.iter().map(row).collect();
                let header = ["TOKEN", "CLUSTER", "STATE", "USES LEFT"];
                context.output.table(&all, &header, rows)?;
            }
        }
        Ok(0)
    }
}

/// The public part of a whole token, `loadline1.ID.SECRET.HASH`, or the text itself.
fn token_id(text: &str) -> &str {
    let mut parts = text.split('.');
    match (parts.next(), parts.next()) {
        (Some("loadline1"), Some(id)) => id,
        _ => text,
    }
}

fn row(token: &Value) -> Vec<String> {
    let expires_at = token["expiresAt"].as_f64();
    let expired = age(expires_at) != "0s" && age(expires_at) != "-";
    let state = match (token["revoked"].as_bool(), expired) {
        (Some(true), _) => "revoked",
        (_, true) => "expired",
        _ => "good",
    };
    vec![
        dash(token["tokenId"].as_str()),
        dash(token["cluster"].as_str()),
        state.to_owned(),
        dash(token["usesLeft"].as_i64()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_revoked_by_its_id_or_whole() {
        assert_eq!(token_id("loadline1.00ff.aa.bb"), "00ff");
        assert_eq!(token_id("00ff"), "00ff");
    }

    #[test]
    fn a_token_is_good_until_it_ends() {
        let state = |expires_at: f64, revoked: bool| {
            row(&json!({"expiresAt": expires_at, "revoked": revoked}))[2].clone()
        };
        assert_eq!(state(4e9, false), "good");
        assert_eq!(state(4e9, true), "revoked");
        assert_eq!(state(1e9, false), "expired");
    }
}
