//! A client of the API with one connection that it keeps: signed JSON over HTTP/1.1.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

/// ECS's prefix of operations.
pub const ECS: &str = "AmazonEC2ContainerServiceV20141113";
/// The prefix of Loadline's own operations.
pub const OWN: &str = "Loadline_20261126";
const REGION: &str = "us-east-1";
/// Longest wait for an answer, in seconds.
const ANSWER_S_MAX: u64 = 120;
/// A connection that was not used for so long may be closed from the other side: a new one is made.
const IDLE_S_MAX: u64 = 5;
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// An access key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// What is signed with.
    pub secret: String,
}

impl Key {
    /// Reads the file that a controller writes for the AWS tools.
    ///
    /// # Errors
    /// Where it can't be read, or has no key.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let value = |name: &str| {
            let values = text.lines().filter_map(|line| line.split_once('='));
            let mut values = values.filter(|(key, _)| key.trim() == name);
            values.next().map(|(_, value)| value.trim().to_owned())
        };
        match (value("aws_access_key_id"), value("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Ok(Self { id, secret }),
            _ => bail!("no key in {}", path.display()),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    address: String,
    key: Key,
    stream: BufReader<TcpStream>,
    /// When it was used last.
    used: Instant,
}

impl Client {
    /// Connects to the controller's API.
    ///
    /// # Errors
    /// Where nobody listens.
    pub fn connect(address: &str, key: &Key) -> anyhow::Result<Self> {
        let stream = open(address)?;
        Ok(Self { address: address.to_owned(), key: key.clone(), stream, used: Instant::now() })
    }

    /// Calls an operation.
    ///
    /// # Errors
    /// A refusal, with its words, or a connection that failed.
    pub fn call(&mut self, service: &str, operation: &str, input: &Value) -> anyhow::Result<Value> {
        let (target, body) = (format!("{service}.{operation}"), input.to_string());
        let head = self.head(&target, &body)?;
        if self.used.elapsed() > Duration::from_secs(IDLE_S_MAX) {
            self.stream = open(&self.address)?;
        }
        self.stream.get_mut().write_all((head + &body).as_bytes()).context("send a request")?;
        let (status, answer) = self.answer()?;
        self.used = Instant::now();
        let value: Value = serde_json::from_slice(&answer).context("read an answer as JSON")?;
        ensure!(status == 200, "{operation}: {status} {value}");
        Ok(value)
    }

    fn head(&self, target: &str, body: &str) -> anyhow::Result<String> {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let time = OffsetDateTime::now_utc().format(&format).context("spell the time")?;
        let kind = "application/x-amz-json-1.1";
        let signed = "content-type;host;x-amz-date;x-amz-target";
        let lines = format!(
            "content-type:{kind}\nhost:{}\nx-amz-date:{time}\nx-amz-target:{target}\n",
            self.address
        );
        let body_hash = hash(body.as_bytes());
        let canonical = hash(format!("POST\n/\n\n{lines}\n{signed}\n{body_hash}").as_bytes());
        let scope = format!("{}/{REGION}/ecs/aws4_request", &time[..8]);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}");
        let secret = format!("AWS4{}", self.key.secret).into_bytes();
        let parts = [&time[..8], REGION, "ecs", "aws4_request", &to_sign];
        let signature = parts.iter().fold(secret, |key, part| hmac(&key, part));
        Ok(format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: {kind}\r\nx-amz-date: {time}\r\n\
             x-amz-target: {target}\r\nauthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, \
             SignedHeaders={signed}, Signature={}\r\ncontent-length: {}\r\n\r\n",
            self.address,
            self.key.id,
            hex(&signature),
            body.len()
        ))
    }

    fn answer(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).context("read an answer's head")?;
            if read == 0 {
                bail!("the controller closed the connection");
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if status.is_none() {
                status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
            } else if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().context("read content-length")?;
            }
        }
        ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
        let mut body = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut body).context("read an answer")?;
        Ok((status.context("an answer without a status")?, body))
    }
}

fn open(address: &str) -> anyhow::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true).context("send at once")?;
    stream.set_read_timeout(Some(Duration::from_secs(ANSWER_S_MAX))).context("set a limit")?;
    Ok(BufReader::new(stream))
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
