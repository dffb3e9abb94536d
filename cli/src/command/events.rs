//! `loadline events`

use clap::Args;
use serde_json::{Value, json};

use super::logs::{since_ms, timestamp};
use super::wait::Away;
use crate::failure::Failure;
use crate::options::Context;
use crate::query;
use crate::text::short;

/// How long the controller waits for the next event while following.
const FOLLOW_WAIT_MS: u32 = 10_000;

/// Print what happened to tasks, nodes and services
///
/// The controller remembers the newest 20,000 events since its start.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Events {
    /// Go on with what happens from now on
    #[arg(long, short)]
    follow: bool,
    /// Only what happened since then: 10m, 2h, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since_ms)]
    since: Option<u64>,
    /// Of all clusters
    #[arg(long)]
    all_clusters: bool,
}

const EXAMPLES: &str = "\
Examples:
  loadline events --follow
  loadline events --since 10m --output json | jq -c 'select(.kind == \"node\")'";

impl Events {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let mut cursor = String::new();
        let mut away = Away::default();
        loop {
            let mut request = json!({
                "cursor": cursor, "sinceMs": self.since.unwrap_or(0),
                "waitMs": if self.follow { FOLLOW_WAIT_MS } else { 0 },
            });
            if !self.all_clusters {
                request["cluster"] = json!(context.cluster());
            }
            let answer = client.own("ReadEvents", request).await;
            let answer = match (self.follow, answer) {
                (true, answer) => away.outlast(answer).await?,
                (false, answer) => Some(answer?),
            };
            let Some(answer) = answer else { continue };
            let events: Vec<Value> = query::part(&answer, "events")?;
            if answer["restarted"] == true {
                eprintln!("loadline: the controller was started anew; its events begin here");
            }
            if let Some(missed) = answer["missed"].as_u64().filter(|missed| 0 < *missed) {
                eprintln!("loadline: {missed} events came too fast and are forgotten");
            }
            for event in &events {
                let line = if context.output.is_json() { event.to_string() } else { line(event) };
                context.output.line(&line)?;
            }
            answer["nextCursor"].as_str().unwrap_or_default().clone_into(&mut cursor);
            if events.is_empty() && !self.follow {
                return Ok(0);
            }
        }
    }
}

/// `2026-… task 4f1c… RUNNING (family:web, node 8a1b…)`
fn line(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    let at = timestamp(event["timestamp"].as_u64().unwrap_or_default());
    let (kind, status) = (text("kind"), text("status"));
    if kind == "service" {
        return format!("{at} service {}", text("reason"));
    }
    let mut line = format!("{at} {kind} {} {status}", short(text("subject")));
    if text("desiredStatus") == "STOPPED" && status != "STOPPED" {
        line.push_str(" (to be stopped)");
    }
    if let Some(node) = event["containerInstanceArn"].as_str() {
        line.push_str(&format!(" of {} on {}", text("group"), short(node)));
    }
    if let Some(reason) = event["reason"].as_str() {
        line.push_str(&format!(": {reason}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = json!({
            "timestamp": 0, "kind": "task", "subject": "arn:x/default/4f", "status": "RUNNING",
            "desiredStatus": "STOPPED", "group": "family:web",
            "containerInstanceArn": "arn:x/default/8a", "reason": "Task stopped by user",
        });
        let expected = "1970-01-01T00:00:00.000Z task 4f RUNNING (to be stopped) of family:web on \
                        8a: Task stopped by user";
        assert_eq!(line(&event), expected);
        let event =
            json!({"timestamp": 0, "kind": "service", "reason": "(service web) is steady."});
        assert_eq!(line(&event), "1970-01-01T00:00:00.000Z service (service web) is steady.");
    }
}
