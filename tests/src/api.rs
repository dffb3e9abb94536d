//! A client of the controller's API, as any AWS SDK is one: signed JSON over HTTP.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::http;
use crate::program::until;
use crate::sigv4::{Key, Scope, authorization};

/// ECS's own prefix of operations.
pub const ECS: &str = "AmazonEC2ContainerServiceV20141113";

/// The prefix of Loadline's own operations.
pub const LOADLINE: &str = "Loadline_20261126";

/// An error that the API answered with.
#[derive(Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// For example `ClusterNotFoundException`.
    pub code: String,
    /// For people.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)
    }
}

impl std::error::Error for Refused {}

/// See the module.
#[derive(Clone, Debug)]
pub struct Client {
    /// Host and port.
    pub address: String,
    /// What requests are signed with.
    pub key: Key,
    /// The region of the signature.
    pub region: String,
}

impl Client {
    /// Calls an operation of ECS.
    ///
    /// # Errors
    /// A [`Refused`] where the API says no; others where it can't be reached or says no JSON.
    pub fn ecs(&self, operation: &str, input: &Value) -> anyhow::Result<Value> {
        self.call(ECS, operation, input)
    }

    /// Calls an operation of Loadline's own.
    ///
    /// # Errors
    /// As [`Client::ecs`].
    pub fn own(&self, operation: &str, input: &Value) -> anyhow::Result<Value> {
        self.call(LOADLINE, operation, input)
    }

    /// Calls `prefix.operation`.
    ///
    /// # Errors
    /// As [`Client::ecs`].
    pub fn call(&self, prefix: &str, operation: &str, input: &Value) -> anyhow::Result<Value> {
        let body = input.to_string();
        let answer = self.send(&format!("{prefix}.{operation}"), body.as_bytes())?;
        let told: Value = serde_json::from_slice(&answer.body).with_context(|| {
            format!("read the answer to {operation}: {}", String::from_utf8_lossy(&answer.body))
        })?;
        if answer.status == 200 {
            return Ok(told);
        }
        let text = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| told[*name].as_str());
            found.unwrap_or_default().to_owned()
        };
        let code = text(["__type", "code"]);
        let code = code.rsplit('#').next().unwrap_or_default().to_owned();
        let message = text(["message", "Message"]);
        Err(Refused { status: answer.status, code, message }.into())
    }

    /// Sends a signed request with any body.
    ///
    /// # Errors
    /// Where it can't be sent.
    pub fn send(&self, target: &str, body: &[u8]) -> anyhow::Result<http::Answer> {
        let kind = ("content-type", "application/x-amz-json-1.1");
        let service = match target.split('.').next() {
            Some("Logs_20140328") => "logs",
            Some("secretsmanager") => "secretsmanager",
            _ => "ecs",
        };
        self.signed(service, &[kind], Some(target), body)
    }

    /// Calls an operation of a service that speaks forms (iam, sts), to which `version` is added.
    ///
    /// # Errors
    /// Where it is refused, with its words.
    pub fn form(&self, service: &str, version: &str, form: &[(&str, &str)]) -> anyhow::Result<()> {
        let last = ("Version", version);
        let pairs = form.iter().chain([&last]);
        let pairs: Vec<String> =
            pairs.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let kind = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let answer = self.signed(service, &[kind], None, pairs.join("&").as_bytes())?;
        if answer.status != 200 {
            let said = String::from_utf8_lossy(&answer.body);
            bail!("{service} {form:?}: {}: {said}", answer.status);
        }
        Ok(())
    }

    fn signed(
        &self,
        service: &str,
        kind: &[(&str, &str)],
        target: Option<&str>,
        body: &[u8],
    ) -> anyhow::Result<http::Answer> {
        let time = timestamp();
        let mut headers = kind.to_vec();
        headers.extend([("host", self.address.as_str()), ("x-amz-date", time.as_str())]);
        headers.extend(target.map(|target| ("x-amz-target", target)));
        let scope = Scope { time: &time, region: &self.region, service };
        let signed = authorization(&self.key, scope, &headers, body);
        headers.push(("authorization", &signed));
        http::tcp(&self.address, "POST /", &headers, body)
    }

    /// Runs `count` tasks of a task definition in the cluster `default`; gives their ARNs.
    ///
    /// # Errors
    /// As [`Client::ecs`], and where one could not be placed.
    pub fn run(&self, definition: &str, count: u32) -> anyhow::Result<Vec<String>> {
        let answer =
            self.ecs("RunTask", &json!({ "taskDefinition": definition, "count": count }))?;
        let failures = answer["failures"].as_array().cloned().unwrap_or_default();
        if !failures.is_empty() {
            bail!("run {definition}: {}", answer["failures"]);
        }
        let tasks = answer["tasks"].as_array().cloned().unwrap_or_default();
        let arns = tasks.iter().filter_map(|task| task["taskArn"].as_str()).map(str::to_owned);
        Ok(arns.collect())
    }

    /// One task, as DescribeTasks tells it.
    ///
    /// # Errors
    /// As [`Client::ecs`], and where it is unknown.
    pub fn task(&self, arn: &str) -> anyhow::Result<Value> {
        let mut tasks = self.tasks(&[arn.to_owned()])?;
        tasks.pop().with_context(|| format!("{arn} is unknown"))
    }

    /// Several tasks, in any number.
    ///
    /// # Errors
    /// As [`Client::ecs`].
    pub fn tasks(&self, arns: &[String]) -> anyhow::Result<Vec<Value>> {
        let mut found = Vec::new();
        for some in arns.chunks(100) {
            let answer = self.ecs("DescribeTasks", &json!({ "tasks": some }))?;
            found.extend(answer["tasks"].as_array().cloned().unwrap_or_default());
        }
        Ok(found)
    }

    /// Waits until all tasks have `status`.
    ///
    /// # Errors
    /// Where one stops instead, or it takes too long.
    pub fn until(&self, arns: &[String], status: &str) -> anyhow::Result<Vec<Value>> {
        until(&format!("{} tasks {status}", arns.len()), || {
            let tasks = self.tasks(arns)?;
            if let Some(task) =
                tasks.iter().find(|task| task["lastStatus"] == "STOPPED" && status != "STOPPED")
            {
                bail!("a task stopped: {}", why_stopped(task));
            }
            let there = tasks.iter().filter(|task| task["lastStatus"] == status).count();
            Ok((there == arns.len()).then_some(tasks))
        })
    }

    /// Everything that a task's only container wrote, as lines.
    ///
    /// # Errors
    /// As [`Client::ecs`].
    pub fn logs(&self, task: &str) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut cursor = Value::Null;
        until("the end of the log", || {
            let mut input = json!({ "task": task, "limit": 1000, "waitMs": 1000 });
            if cursor.is_string() {
                input["cursor"] = cursor.clone();
            }
            let answer = self.own("ReadTaskLogs", &input)?;
            let events = answer["events"].as_array().cloned().unwrap_or_default();
            lines.extend(events.iter().filter_map(|e| e["message"].as_str()).map(str::to_owned));
            cursor = answer["nextCursor"].clone();
            Ok((answer["end"] == true && events.is_empty()).then_some(()))
        })?;
        Ok(lines)
    }

    /// What a task's only container has written so far, as lines: the first thousand.
    ///
    /// # Errors
    /// As [`Client::ecs`].
    pub fn logs_so_far(&self, task: &str) -> anyhow::Result<Vec<String>> {
        let answer = self.own("ReadTaskLogs", &json!({ "task": task, "limit": 1000 }))?;
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        Ok(events.iter().filter_map(|e| e["message"].as_str()).map(str::to_owned).collect())
    }

    /// The code of the error that `operation` is refused with.
    ///
    /// # Errors
    /// Where it is not refused, or fails in another way.
    pub fn refused(&self, operation: &str, input: &Value) -> anyhow::Result<Refused> {
        match self.ecs(operation, input) {
            Ok(answer) => bail!("{operation} was not refused: {answer}"),
            Err(error) => error.downcast::<Refused>().context("fail in another way"),
        }
    }
}

/// Why a task stopped, with its containers' reasons and exit codes, for messages.
#[must_use]
pub fn why_stopped(task: &Value) -> String {
    let containers = task["containers"].as_array().cloned().unwrap_or_default();
    let container = |c: &Value| format!("{} exit {} {}", c["name"], c["exitCode"], c["reason"]);
    let containers: Vec<String> = containers.iter().map(container).collect();
    format!("{} {} [{}]", task["stopCode"], task["stoppedReason"], containers.join(", "))
}

/// A value of a form.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let one = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(one).collect()
}

/// Now, as signatures write it.
fn timestamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (now / 86_400, now % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The date of a day counted from 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while months[month] <= days {
        days -= months[month];
        month += 1;
    }
    (year, month as u64 + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_783), (2026, 11, 26));
    }
}
