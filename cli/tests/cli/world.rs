//! A peer that answers HTTP with canned text and remembers what it was asked; and the program.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    /// The operation that it names.
    pub(crate) fn operation(&self) -> &str {
        self.headers.get("x-amz-target").map_or("", |target| target.rsplit('.').next().unwrap())
    }
}

/// Gives the status and body of an answer.
type Answer = Arc<dyn Fn(&Asked) -> (u16, String) + Send + Sync>;

pub(crate) struct World {
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    endpoint: String,
    folder: tempfile::TempDir,
}

impl World {
    /// A controller that answers so.
    pub(crate) fn controller(
        answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let world = Self::new(endpoint);
        let (asked, answer): (_, Answer) = (Arc::clone(&world.asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, asked, answer) =
                    (stream.unwrap(), Arc::clone(&asked), Arc::clone(&answer));
                std::thread::spawn(move || serve(&stream, &stream, &asked, &answer));
            }
        });
        world
    }

    /// An agent that answers so, and no controller.
    pub(crate) fn agent(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let world = Self::new("http://127.0.0.1:1".to_owned());
        std::fs::create_dir(world.state().join("agent")).unwrap();
        let listener = UnixListener::bind(world.state().join("agent/agent.sock")).unwrap();
        let (asked, answer): (_, Answer) = (Arc::clone(&world.asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                serve(&stream, &stream, &asked, &answer);
            }
        });
        world
    }

    fn new(endpoint: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = "[default]\naws_access_key_id = AKTEST\naws_secret_access_key = SECRET\n";
        std::fs::write(folder.path().join("credentials"), text).unwrap();
        Self { asked: Arc::default(), endpoint, folder }
    }

    pub(crate) fn state(&self) -> &Path {
        self.folder.path()
    }

    /// The program with nothing of this machine's own settings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadline"));
        command
            .env_clear()
            .env("LOADLINE_ENDPOINT", &self.endpoint)
            .env("LOADLINE_STATE_DIR", self.state())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Types it; exit code, standard output and standard error.
    pub(crate) fn type_it(&self, args: &[&str]) -> (i32, String, String) {
        said(self.command(args).output().unwrap())
    }

    /// The names of the operations that were asked for.
    pub(crate) fn operations(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|asked| asked.operation().to_owned()).collect()
    }

    /// A file of this world.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.state().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

pub(crate) fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// One request, one answer, and the end of the connection.
fn serve(input: impl Read, mut output: impl Write, asked: &Mutex<Vec<Asked>>, answer: &Answer) {
    let mut reader = BufReader::new(input);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let request = Asked { line: line.trim_end().to_owned(), headers, body };
    let (status, text) = answer(&request);
    asked.lock().unwrap().push(request);
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", text.len());
    // A program that left early is what some tests are about.
    let _ = output.write_all((head + &text).as_bytes());
}
