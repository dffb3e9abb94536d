//! `loadline token`

use clap::Subcommand;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::options::Context;
use crate::output::{dash, now_s, span};
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
    /// List the join tokens that still let a node in, without their secrets
    Ls {
        /// Also those that are expired, revoked or used up (they are remembered for a day)
        #[arg(long, short)]
        all: bool,
    },
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
                let all = client.own("ListJoinTokens", json!({})).await?;
                let known = all["tokens"].as_array().map_or(&[][..], Vec::as_slice);
                let now_s = now_s();
                if let Some(token) = known.iter().find(|token| token["tokenId"] == id)
                    && state(token, now_s) != GOOD
                {
                    eprintln!("loadline: it lets nobody in already: {}", state(token, now_s));
                }
                let gone = client.own("RevokeJoinToken", json!({"tokenId": id})).await?;
                context.output.either(&gone, id)?;
            }
            Self::Ls { all: every } => {
                let all = client.own("ListJoinTokens", json!({})).await?;
                let tokens = all["tokens"].as_array().map_or(&[][..], Vec::as_slice);
                let now_s = now_s();
                let shown = tokens.iter().filter(|token| every || state(token, now_s) == GOOD);
                let rows = shown.map(|token| row(token, now_s)).collect();
                let header = ["TOKEN", "CLUSTER", "STATE", "USES LEFT", "EXPIRES IN"];
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

const GOOD: &str = "good";

/// What keeps a token from letting a node in, if anything does.
fn state(token: &Value, now_s: f64) -> &'static str {
    if token["revoked"].as_bool() == Some(true) {
        "revoked"
    } else if token["expiresAt"].as_f64().is_some_and(|at| at <= now_s) {
        "expired"
    } else if token["usesLeft"].as_i64() == Some(0) {
        "used up"
    } else {
        GOOD
    }
}

fn row(token: &Value, now_s: f64) -> Vec<String> {
    let left = token["expiresAt"].as_f64().map(|at| at - now_s).filter(|left| 0.0 < *left);
    vec![
        dash(token["tokenId"].as_str()),
        dash(token["cluster"].as_str()),
        state(token, now_s).to_owned(),
        dash(token["usesLeft"].as_i64()),
        dash(left.map(span)),
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
        let check = |expires_at: f64, revoked: bool, uses_left: u32, expected: &[&str]| {
            let token = json!({"expiresAt": expires_at, "revoked": revoked, "usesLeft": uses_left});
            assert_eq!(row(&token, 1e9)[2..], *expected);
        };
        check(1e9 + 7_300.0, false, 1, &["good", "1", "2h"]);
        check(1e9 + 90.0, true, 1, &["revoked", "1", "1m"]);
        check(1e9 + 90.0, false, 0, &["used up", "0", "1m"]);
        check(1e9, false, 1, &["expired", "1", "-"]);
    }
}
