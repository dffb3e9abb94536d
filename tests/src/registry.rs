//! A registry on loopback: images over plain HTTP, as far as a node needs it to pull them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use loadline_fixtures::Image;
use serde_json::Value;

/// How long a client may take to say what it wants.
const REQUEST_S_MAX: u64 = 30;

/// Kind and bytes of what a path leads to.
type Content = (String, Vec<u8>);

#[derive(Debug, Default)]
struct Shared {
    content: Mutex<BTreeMap<String, Content>>,
    asked: Mutex<Vec<String>>,
    over: AtomicBool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module. It lives in the network namespace of the thread that starts it.
#[derive(Debug)]
pub struct Registry {
    /// Host and port, as they stand in front of an image's name.
    pub address: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Registry {
    /// One without images.
    ///
    /// # Errors
    /// Where there is no port for it.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen for a registry")?;
        let address = listener.local_addr().context("find the registry's port")?.to_string();
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), theirs) = (stream, Arc::clone(&theirs)) else { continue };
                // A client that goes away in the middle is told nothing.
                std::thread::spawn(move || drop(answer(&theirs, stream)));
            }
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Takes an image in as `NAME:TAG`; gives the reference to pull it by, and its digest.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn add(&self, name: &str, tag: &str, image: &Image) -> anyhow::Result<(String, String)> {
        let folder = tempfile::tempdir().context("make a folder")?;
        image.write_oci_layout(folder.path())?;
        let index = std::fs::read(folder.path().join("index.json")).context("read the index")?;
        let index: Value = serde_json::from_slice(&index).context("read the index")?;
        let manifest = &index["manifests"][0];
        let digest = manifest["digest"].as_str().context("an index without a digest")?;
        let kind = manifest["mediaType"].as_str().context("an index without a type")?;
        let mut content = lock(&self.shared.content);
        let blobs = folder.path().join("blobs/sha256");
        for entry in blobs.read_dir().context("list the blobs")?.flatten() {
            let bytes = std::fs::read(entry.path()).context("read a blob")?;
            let own = format!("sha256:{}", entry.file_name().to_string_lossy());
            if own == digest {
                for name_of in [tag, digest] {
                    let path = format!("/v2/{name}/manifests/{name_of}");
                    content.insert(path, (kind.to_owned(), bytes.clone()));
                }
            }
            let kind = "application/octet-stream".to_owned();
            content.insert(format!("/v2/{name}/blobs/{own}"), (kind, bytes));
        }
        Ok((format!("{}/{name}:{tag}", self.address), digest.to_owned()))
    }

    /// The paths that were asked for, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shared.asked).clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it is over.
        let woken = TcpStream::connect(&self.address);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn answer(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(REQUEST_S_MAX)))?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while 2 < reader.read_line(&mut line)? {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    lock(&shared.asked).push(path.clone());
    let found = lock(&shared.content).get(&path).cloned();
    let (status, (kind, body)) = match found {
        Some(content) => ("200 OK", content),
        None if path == "/v2/" => ("200 OK", ("application/json".to_owned(), b"{}".to_vec())),
        None => {
            let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such"}]}"#;
            ("404 Not Found", ("application/json".to_owned(), body.to_vec()))
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\
         \r\n",
        body.len()
    );
    let mut stream = reader.into_inner();
    stream.write_all(head.as_bytes())?;
    if !first.starts_with("HEAD ") {
        stream.write_all(&body)?;
    }
    stream.flush()
}
