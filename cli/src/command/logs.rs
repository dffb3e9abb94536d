//! `loadline logs`

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use futures_util::future::try_join_all;
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
/// Most lines of `--tail`: they are held in memory.
const TAIL_MAX: u64 = 100_000;

/// Print what a task's containers wrote
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Logs {
    /// Its id, the beginning of it, or its ARN
    task: String,
    /// Only this container; all where absent, each line behind its container's name
    #[arg(long, short, value_name = "NAME")]
    container: Option<String>,
    /// Go on until the containers end
    #[arg(long, short)]
    follow: bool,
    /// Only what was written since then: 10m, 2h, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since_ms)]
    since: Option<u64>,
    /// Only the last lines of each container, and with --follow what comes after them
    #[arg(long, short = 'n', value_name = "LINES")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=TAIL_MAX))]
    tail: Option<u64>,
    /// Print when each line was written
    #[arg(long, short)]
    timestamps: bool,
}

const EXAMPLES: &str = "\
Examples:
  loadline logs 4f1c
  loadline logs --tail 20 --follow 4f1c
  loadline logs --container web --since 10m --timestamps 4f1c";

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let arn = query::find_task(&client, context.cluster(), &self.task).await?;
        let mut readers = readers(context, &client, &arn, self.container).await?;
        for reader in &mut readers {
            reader.since_ms = self.since.unwrap_or(0);
            reader.timestamps = self.timestamps;
        }
        let tail = self.tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX));
        print_all(&client, &mut readers, self.follow, tail).await?;
        Ok(0)
    }
}

/// A reader for each container of a task, or for the one that is named.
pub(crate) async fn readers<'a>(
    context: &'a Context,
    client: &Client,
    arn: &str,
    container: Option<String>,
) -> Result<Vec<Reader<'a>>, Failure> {
    if let Some(name) = container {
        return Ok(vec![Reader::new(context, arn, Some(name))]);
    }
    let task = query::task(client, context.cluster(), arn).await?;
    let names: Vec<String> = task.containers.into_iter().map(|one| one.name).collect();
    if names.len() < 2 {
        return Ok(vec![Reader::new(context, arn, None)]);
    }
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let reader = |name: String| {
        let prefix = format!("{name:width$} | ");
        Reader { prefix, ..Reader::new(context, arn, Some(name)) }
    };
    Ok(names.into_iter().map(reader).collect())
}

/// Prints what there is, the oldest first whichever container wrote it; then, where it is followed,
/// what comes, until all of them have ended.
pub(crate) async fn print_all(
    client: &Client,
    readers: &mut [Reader<'_>],
    follow: bool,
    tail: Option<usize>,
) -> Result<(), Failure> {
    try_join_all(readers.iter_mut().map(|reader| reader.begin(client, follow, tail))).await?;
    if readers.iter().all(|reader| reader.refused.is_some())
        && let Some(refused) = readers.iter_mut().find_map(|reader| reader.refused.take())
    {
        return Err(refused);
    }
    loop {
        for reader in readers.iter_mut().filter(|reader| reader.waiting.is_empty()) {
            reader.fetch_what_is_there(client).await?;
        }
        let first = |reader: &&mut Reader<'_>| reader.waiting.front().map(written_ms);
        let oldest = readers.iter_mut().filter(|reader| !reader.waiting.is_empty());
        let Some(oldest) = oldest.min_by_key(first) else { break };
        if let Some(event) = oldest.waiting.pop_front() {
            oldest.print(&event)?;
        }
    }
    if follow {
        try_join_all(readers.iter_mut().map(|reader| reader.follow(client))).await?;
    }
    Ok(())
}

fn written_ms(event: &Value) -> u64 {
    event["timestamp"].as_u64().unwrap_or_default()
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
    /// In front of each line, where others are printed too.
    prefix: String,
    cursor: String,
    /// What was read and is not printed yet.
    waiting: VecDeque<Value>,
    /// There is nothing more now.
    dry: bool,
    /// There will never be more.
    end: bool,
    /// Why there is nothing of this one.
    refused: Option<Failure>,
    /// Whether the last piece printed on (stdout, stderr) was not the end of a line.
    open_line: (bool, bool),
}

impl<'a> Reader<'a> {
    fn new(context: &'a Context, task: &str, container: Option<String>) -> Self {
        Self {
            context,
            task: task.to_owned(),
            container,
            since_ms: 0,
            timestamps: false,
            prefix: String::new(),
            cursor: String::new(),
            waiting: VecDeque::new(),
            dry: false,
            end: false,
            refused: None,
            open_line: (false, false),
        }
    }

    /// Reads the first page, and with a `tail` all that there is, of which only the end is kept.
    async fn begin(
        &mut self,
        client: &Client,
        follow: bool,
        tail: Option<usize>,
    ) -> Result<(), Failure> {
        let mut looks = 0;
        loop {
            let refused = match self.fetch(client, false).await {
                Ok(()) => break,
                Err(refused @ Failure::Refused { .. }) => refused,
                Err(failure) => return Err(failure),
            };
            let cluster = self.context.cluster();
            let task = match begun_later(client, cluster, &self.task, refused).await {
                Ok(task) => task,
                // A container that never began may have nothing where others have.
                Err(refused) => {
                    (self.refused, self.end) = (Some(refused), true);
                    return Ok(());
                }
            };
            if !follow {
                let id = task.id();
                let text = format!(
                    "task {id} has written nothing yet: it is {}; wait for it with --follow, and \
                     see why it waits with `loadline why {id}`",
                    task.last_status
                );
                return Err(Failure::NothingWritten(text));
            }
            wait::pause(&mut looks).await;
        }
        let Some(tail) = tail else { return Ok(()) };
        keep_last(&mut self.waiting, tail);
        while !self.dry && !self.end {
            self.fetch(client, false).await?;
            keep_last(&mut self.waiting, tail);
        }
        // What is written from now on is read by whoever follows.
        self.dry = true;
        Ok(())
    }

    async fn fetch_what_is_there(&mut self, client: &Client) -> Result<(), Failure> {
        if self.dry || self.end { Ok(()) } else { self.fetch(client, false).await }
    }

    async fn follow(&mut self, client: &Client) -> Result<(), Failure> {
        while !self.end {
            self.fetch(client, true).await?;
            while let Some(event) = self.waiting.pop_front() {
                self.print(&event)?;
            }
        }
        Ok(())
    }

    /// Reads the next page; with `wait`, waits a while for one that has something.
    async fn fetch(&mut self, client: &Client, wait: bool) -> Result<(), Failure> {
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
        self.dry = events.is_empty();
        self.end = answer["end"].as_bool().unwrap_or(false);
        self.waiting.extend(events);
        Ok(())
    }

    fn print(&mut self, event: &Value) -> Result<(), Failure> {
        if self.context.output.is_json() {
            let mut event = event.clone();
            if let Some(container) = &self.container {
                event["containerName"] = json!(container);
            }
            return self.context.output.line(&event.to_string());
        }
        let to_stderr = event["stream"] == "stderr";
        let open = if to_stderr { &mut self.open_line.1 } else { &mut self.open_line.0 };
        let mut text = String::new();
        if !*open {
            text.push_str(&self.prefix);
        }
        if self.timestamps && !*open {
            text.push_str(&timestamp(written_ms(event)));
            text.push(' ');
        }
        // Among others a line is ended where it is cut: the next one may be another's.
        *open = self.prefix.is_empty() && event["partial"].as_bool().unwrap_or(false);
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

/// Drops all but the last lines; a line may be in several pieces.
fn keep_last(events: &mut VecDeque<Value>, lines: usize) {
    let ends_line = |event: &Value| event["partial"] != true;
    // A line that is not ended yet is one too.
    let open = usize::from(events.back().is_some_and(|last| !ends_line(last)));
    let mut surplus =
        (events.iter().filter(|event| ends_line(event)).count() + open).saturating_sub(lines);
    while 0 < surplus {
        let Some(first) = events.pop_front() else { return };
        surplus -= usize::from(ends_line(&first) || events.is_empty());
    }
}

/// A time with its milliseconds, all three digits of them.
pub(crate) fn timestamp(unix_ms: u64) -> String {
    let (s, ms) = (i64::try_from(unix_ms / 1_000).ok(), unix_ms % 1_000);
    let time = s.and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    let text = text.and_then(|text| Some(format!("{}.{ms:03}Z", text.strip_suffix('Z')?)));
    text.unwrap_or_else(|| unix_ms.to_string())
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
        assert_eq!(timestamp(1_440_938_160_250), "2015-08-30T12:36:00.250Z");
    }

    #[test]
    fn the_last_lines_are_kept_whole() {
        let kept = |pieces: &[(&str, bool)], lines| {
            let event =
                |(text, partial): &(&str, bool)| json!({ "message": text, "partial": partial });
            let mut events: VecDeque<Value> = pieces.iter().map(event).collect();
            keep_last(&mut events, lines);
            events.iter().map(|e| e["message"].as_str().unwrap()).collect::<String>()
        };
        let pieces = [("a", false), ("b", true), ("c", false), ("d", false)];
        assert_eq!(kept(&pieces, 9), "abcd");
        assert_eq!(kept(&pieces, 2), "bcd", "b and c are one line");
        assert_eq!(kept(&pieces, 1), "d");
        assert_eq!(kept(&pieces, 0), "");
        assert_eq!(kept(&[("a", false), ("b", true)], 1), "b");
        assert_eq!(kept(&[("b", true)], 0), "");
    }
}
