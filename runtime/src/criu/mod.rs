//! criu(8), which writes process trees into images and makes them from images again. One criu
//! serves one request over a socket (`criu swrk`), and tells of the stages that it reaches.

pub mod request;
pub mod rpc;
pub mod verb;

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair,
};
use prost::Message;

use crate::sys::fd::received;
use rpc::{Kind, Request, Response};

/// The largest message of criu's that is read.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// How much of the end of a log is looked through for the reason of a failure.
const LOG_BYTES_MAX: u64 = 64 * 1024;
/// How many stages are taken from one request: criu has about ten.
const STAGES_MAX: usize = 1000;

/// The stage at which credentials and labels are those of the container, and nothing runs yet.
pub const STAGE_READY: &str = "pre-resume";

/// criu did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program.
    #[error("start {}: install criu", .program.display())]
    Start {
        /// Which.
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The socket.
    #[error("{step} criu")]
    Talk {
        /// What was done.
        step: &'static str,
        #[source]
        source: Errno,
    },
    /// A message that is none.
    #[error("criu's answer cannot be read")]
    Decode(#[from] prost::DecodeError),
    /// It ended without an answer.
    #[error("criu ended without an answer{}", told(.reason))]
    Died {
        /// An error of its log.
        reason: Option<String>,
    },
    /// It said no.
    #[error("criu could not {what}{}; its log is {}", told(.reason), .log.display())]
    Failed {
        /// What was asked for.
        what: &'static str,
        /// Its own words, or an error of its log.
        reason: Option<String>,
        /// Where it says more.
        log: PathBuf,
    },
}

fn told(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// A stage that criu reached, and waits for an answer.
#[derive(Debug)]
pub struct Notice {
    /// `setup-namespaces`, `post-restore` …
    pub stage: String,
    /// The first process.
    pub pid: i32,
    /// What came along: a terminal's master.
    pub fd: Option<OwnedFd>,
}

/// One criu at work; killed on drop unless it has answered.
#[derive(Debug)]
pub struct Service {
    socket: OwnedFd,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts criu. `inherited` are open in it under their own numbers; `log` is where it will
    /// write, for errors.
    ///
    /// # Errors
    /// When the program is missing.
    pub fn start(
        program: &Path,
        inherited: &[BorrowedFd<'_>],
        log: PathBuf,
    ) -> Result<Service, Error> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let failed = |source| Error::Talk { step: "make a socket for", source };
        let (socket, theirs) = pair.map_err(failed)?;
        for fd in inherited.iter().copied().chain([theirs.as_fd()]) {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map_err(failed)?;
        }
        // A restored program has this process's standard descriptors.
        let mut command = Command::new(program);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string()).stdin(Stdio::inherit());
        let child = command
            .spawn()
            .map_err(|source| Error::Start { program: program.to_owned(), source })?;
        // Hooks that run meanwhile are not given them.
        for fd in inherited {
            fcntl(*fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(failed)?;
        }
        Ok(Service { socket, child, log })
    }

    /// criu's pid.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Makes the request, and answers each notice with what `on_notice` says; gives the answer.
    ///
    /// # Errors
    /// What criu said, or what `on_notice` did: criu undoes its work then. At [`STAGE_READY`] it
    /// would go on all the same, and is killed.
    pub fn ask<E: From<Error>>(
        self,
        request: &Request,
        mut on_notice: impl FnMut(Notice) -> Result<(), E>,
    ) -> Result<Response, E> {
        self.send(request)?;
        let mut refused = None;
        for _ in 0..STAGES_MAX {
            let (response, fd) = self.receive()?;
            if response.kind != Kind::Notify as i32 {
                return match refused {
                    Some(error) => Err(error),
                    None if response.success => Ok(self.finish(response)),
                    None => Err(self.failure(request, &response).into()),
                };
            }
            let stage = response.notice.unwrap_or_default();
            let (name, pid) = (stage.name.unwrap_or_default(), stage.pid.unwrap_or(0));
            let is_last = name == STAGE_READY;
            let mut success = true;
            match on_notice(Notice { stage: name, pid, fd }) {
                Ok(()) => {}
                Err(error) if is_last => return Err(error),
                Err(error) => {
                    success = false;
                    refused = refused.or(Some(error));
                }
            }
            let kind = Kind::Notify as i32;
            self.send(&Request { kind, options: None, notify_success: Some(success) })?;
        }
        Err(Error::Died { reason: first_error(&self.log) }.into())
    }

    fn send(&self, request: &Request) -> Result<(), Error> {
        let bytes = request.encode_to_vec();
        let sent = send(self.socket.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL);
        sent.map(drop).map_err(|source| self.broken("ask", source))
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>), Error> {
        let failed = |source| self.broken("hear from", source);
        let mut data = vec![0; MESSAGE_BYTES_MAX];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let (length, fd) = loop {
            let mut parts = [IoSliceMut::new(&mut data)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
                Err(Errno::EINTR) => {}
                Err(source) => return Err(failed(source)),
                Ok(message) => {
                    let fds = message.cmsgs().map_err(failed)?.find_map(|control| match control {
                        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                        _ => None,
                    });
                    break (message.bytes, fds.map(received));
                }
            }
        };
        if length == 0 {
            return Err(Error::Died { reason: first_error(&self.log) });
        }
        Ok((Response::decode(&data[..length])?, fd))
    }

    fn broken(&self, step: &'static str, source: Errno) -> Error {
        match source {
            Errno::EPIPE | Errno::ECONNRESET => Error::Died { reason: first_error(&self.log) },
            source => Error::Talk { step, source },
        }
    }

    /// After a pre-dump criu waits for more; the end of the socket ends it.
    fn finish(mut self, response: Response) -> Response {
        let (ours, theirs) = (self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Write);
        // One that has ended already needs no word.
        let _ = nix::sys::socket::shutdown(ours, theirs);
        let _ = self.child.wait();
        response
    }

    fn failure(&self, request: &Request, response: &Response) -> Error {
        let what = match Kind::try_from(request.kind) {
            Ok(Kind::Restore) => "restore the container",
            Ok(Kind::PreDump) => "write the container's memory",
            _ => "checkpoint the container",
        };
        let errno = response.errno.filter(|errno| *errno != 0);
        let message = response.message.as_deref().map(words);
        let words = message.or_else(|| first_error(&self.log));
        let reason = words.or_else(|| errno.map(|errno| Errno::from_raw(errno).to_string()));
        Error::Failed { what, reason, log: self.log.clone() }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that has ended was reaped by `finish`, and is not signalled again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The line of a log that tells of an error before others follow from it.
fn first_error(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find(|line| line.contains("Error ("))?;
    Some(words(line))
}

/// The words of a line such as `(00.012345) Error (file.c:12): words`.
fn words(line: &str) -> String {
    line.split_once("): ").map_or(line, |(_, words)| words).trim().to_owned()
}
