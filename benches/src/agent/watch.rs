//! Waits for tasks to run: one connection asks for all that are under way at once, so that what is
//! asked does not take the processors from what is measured.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use loadline_bench::client::{Client, ECS};
use serde_json::{Value, json};

use super::loadline::PAGE;

/// How long a launch may take.
const TASK_S_MAX: u64 = 300;

/// From one answer to the next question.
const ASK_MS: u64 = 2;

/// That it runs, or why it does not.
type Outcome = Result<(), String>;

#[derive(Debug, Default)]
struct Waiting {
    tasks: BTreeMap<String, Sender<Outcome>>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that asks for as long as somebody waits.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Asks over this connection.
    pub(crate) fn start(client: Client) -> Self {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = Some(std::thread::spawn(move || ask(&theirs, client)));
        Self { shared, thread }
    }

    /// Comes back when the task runs.
    pub(crate) fn until_running(&self, arn: &str) -> anyhow::Result<()> {
        let (told, outcome) = channel();
        self.shared.lock().tasks.insert(arn.to_owned(), told);
        self.shared.more.notify_one();
        let outcome = outcome.recv_timeout(Duration::from_secs(TASK_S_MAX));
        if outcome.is_err() {
            self.shared.lock().tasks.remove(arn);
        }
        let outcome = outcome.with_context(|| format!("{arn}: no end in {TASK_S_MAX} s"))?;
        outcome.map_err(|why| anyhow!("{arn} does not run: {why}"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.more.notify_one();
        // A thread that panicked has told why.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn ask(shared: &Shared, mut client: Client) {
    loop {
        let arns: Vec<String> = {
            let mut waiting = shared.lock();
            while waiting.tasks.is_empty() && !waiting.closed {
                waiting = shared.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            if waiting.closed {
                return;
            }
            waiting.tasks.keys().cloned().collect()
        };
        for page in arns.chunks(PAGE) {
            let told = client.call(ECS, "DescribeTasks", &json!({ "tasks": page }));
            let outcomes: Vec<(&str, Outcome)> = match &told {
                Ok(told) => outcomes(told),
                Err(error) => page.iter().map(|arn| (&**arn, Err(format!("{error:#}")))).collect(),
            };
            for (arn, outcome) in outcomes {
                if let Some(told) = shared.lock().tasks.remove(arn) {
                    // Who gave up waiting has told so.
                    let _ = told.send(outcome);
                }
            }
        }
        sleep(Duration::from_millis(ASK_MS));
    }
}

/// What an answer tells of tasks whose end is known, those that could not be described among them.
fn outcomes(told: &Value) -> Vec<(&str, Outcome)> {
    let all = |list: &'static str| told[list].as_array().into_iter().flatten();
    let missing = |failure: &'_ Value| -> Option<String> {
        Some(format!("DescribeTasks: {}", failure["reason"].as_str()?))
    };
    let failures =
        all("failures").filter_map(|one| Some((one["arn"].as_str()?, Err(missing(one)?))));
    all("tasks").filter_map(of).chain(failures).collect()
}

/// What became of a task, if that is known.
fn of(task: &Value) -> Option<(&str, Outcome)> {
    let outcome = match task["lastStatus"].as_str()? {
        "RUNNING" => Ok(()),
        "STOPPED" | "STOPPING" | "DEPROVISIONING" => Err(task["stoppedReason"].to_string()),
        _ => return None,
    };
    Some((task["taskArn"].as_str()?, outcome))
}

#[cfg(test)]
mod tests {
    use super::outcomes;
    use serde_json::json;

    #[test]
    fn a_task_that_can_not_be_described_is_not_waited_for() {
        let told = json!({
            "tasks": [
                { "taskArn": "a", "lastStatus": "RUNNING" },
                { "taskArn": "b", "lastStatus": "PENDING" },
                { "taskArn": "c", "lastStatus": "STOPPED", "stoppedReason": "why" },
            ],
            "failures": [{ "arn": "d", "reason": "MISSING" }],
        });
        let told = outcomes(&told);
        let seen: Vec<_> = told.iter().map(|(arn, outcome)| (*arn, outcome.is_ok())).collect();
        assert_eq!(seen, [("a", true), ("c", false), ("d", false)]);
        assert_eq!(told[2].1.as_ref().unwrap_err(), "DescribeTasks: MISSING");
    }
}
