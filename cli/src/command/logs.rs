//! `loadline logs`

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::wait;
use crate::api::Client;
use crate::failure::Failure;
use crate::options::Context;
use crate::query;
use crate::text::duration_s;

/// How long the node waits for the next line while following.
const FOLLOW_WAIT_MS: u32 = 10_000;

/// Print what a task's container wrote
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Logs {
    /// Its id, the beginning of it, or its ARN
    task: String,
    /// Which container; needed where the task has more than one
    #[arg(long, short, value_name = "NAME")]
    container: Option<String>,
    /// Go on until the container ends
    #[arg(long, short)]
    follow: bool,
    /// Only what was written since then: 10m, 2h, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since_ms)]
    since: Option<u64>,
    /// Print when each line was written
    #[arg(long, short)]
    timestamps: bool,
}

const EXAMPLES: &str = "\
Examples:
  loadline logs 4f1c
  loadline logs --follow --since 10m --timestamps 4f1c";

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let arn = query::find_task(&client, context.cluster(), &self.task).await?;
        let mut reader = Reader::new(context, arn);
        reader.container = self.container;
        reader.since_ms = self.since.unwrap_or(0);
        reader.timestamps = self.timestamps;
        let mut looks = 0;
        loop {
            let page = match reader.next(&client, self.follow).await {
                Ok(page) => page,
                Err(refused @ Failure::Refused { .. }) => {
                    let (cluster, arn) = (context.cluster(), &reader.task);
                    let task = begun_later(&client, cluster, arn, refused).await?;
                    if !self.follow {
                        let id = task.id();
                        let text = format!(
                            "task {id} has written nothing yet: it is {}; wait for it with \
                             --follow, and see why it waits with `loadline why {id}`",
                            task.last_status
                        );
                        return Err(Failure::NothingWritten(text));
                    }
                    wait::pause(&mut looks).await;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if page.end || (page.empty && !self.follow) {
                return Ok(0);
            }
        }
    }
}

/// Where a node has no log of a task: the task, if it may still begin. One that never began is told
/// with its reason; any other keeps the refusal.
async fn begun_later(
    client: &Client,
    cluster: &str,
    arn: &str,
    refused: Failure,
) -> Result<query::Task, Failure> {
    let Ok(task) = query::task(client, cluster, arn).await else { return Err(refused) };
    let is_early = ["PROVISIONING", "PENDING", "ACTIVATING"].contains(&task.last_status.as_str());
    if is_early {
        return Ok(task);
    }
    if task.is_stopped() && task.stop_code.as_deref() == Some("TaskFailedToStart") {
        let text = format!("task {} never began, and wrote nothing: {}", task.id(), task.why());
        return Err(Failure::NothingWritten(text));
    }
    Err(refused)
}

/// Reads one container's output page by page, and prints it.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    context: &'a Context,
    task: String,
    container: Option<String>,
    since_ms: u64,
    timestamps: bool,
    cursor: String,
    /// Whether the last piece printed on (stdout, stderr) was not the end of a line.
    open_line: (bool, bool),
}

/// What a page told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// There was nothing.
    pub(crate) empty: bool,
    /// There will never be more.
    pub(crate) end: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(context: &'a Context, task: String) -> Self {
        Self {
            context,
            task,
            container: None,
            since_ms: 0,
            timestamps: false,
            cursor: String::new(),
            open_line: (false, false),
        }
    }

    /// Prints the next page; with `wait`, waits a while for one that has something.
    pub(crate) async fn next(&mut self, client: &Client, wait: bool) -> Result<Page, Failure> {
        let mut request = json!({
            "cluster": self.context.cluster(),
            "task": self.task,
            "waitMs": if wait { FOLLOW_WAIT_MS } else { 0 },
            "sinceMs": self.since_ms,
        });
        if let Some(container) = &self.container {
            request["containerName"] = json!(container);
        }
        if !self.cursor.is_empty() {
            request["cursor"] = json!(self.cursor);
        }
        let answer = client.own("ReadTaskLogs", request).await?;
        let events: Vec<Value> = query::part(&answer, "events")?;
        if let Some(cursor) = answer["nextCursor"].as_str() {
            cursor.clone_into(&mut self.cursor);
        }
        for event in &events {
            self.print(event)?;
        }
        let end = answer["end"].as_bool().unwrap_or(false);
        Ok(Page { empty: events.is_empty(), end })
    }

    fn print(&mut self, event: &Value) -> Result<(), Failure> {
        if self.context.output.is_json() {
            return self.context.output.line(&event.to_string());
        }
        let to_stderr = event["stream"] == "stderr";
        let open = if to_stderr { &mut self.open_line.1 } else { &mut self.open_line.0 };
        let mut text = String::new();
        if self.timestamps && !*open {
            text.push_str(&timestamp(event["timestamp"].as_u64().unwrap_or_default()));
            text.push(' ');
        }
        *open = event["partial"].as_bool().unwrap_or(false);
        text.push_str(event["message"].as_str().unwrap_or_default());
        if !*open {
            text.push('\n');
        }
        let written = if to_stderr {
            std::io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        written.map_err(Failure::Output)
    }
}

pub(crate) fn timestamp(unix_ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| unix_ms.to_string())
}

/// Unix milliseconds, from a time or from how long ago it was.
pub(crate) fn since_ms(text: &str) -> Result<u64, String> {
    if let Ok(ago_s) = duration_s(text) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        return Ok(now.saturating_sub(ago_s.saturating_mul(1000)));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "how long ago, as in 10m, or a time, as in 2026-01-31T12:00:00Z")?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| "before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        assert_eq!(since_ms("1970-01-01T00:01:00Z"), Ok(60_000));
        assert_eq!(since_ms("1970-01-01T01:00:00+01:00"), Ok(0));
        let hour_ago = since_ms("1h").unwrap();
        let now = since_ms("0s").unwrap();
        assert!((3_600_000..3_700_000).contains(&(now - hour_ago)));
        assert!(since_ms("yesterday").is_err() && since_ms("1960-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn a_timestamp_is_shown_in_utc() {
        assert_eq!(timestamp(1_440_938_160_250), "2015-08-30T12:36:00.25Z");
    }
}
