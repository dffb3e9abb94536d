//! A connection to systemd's manager: over the system bus, or where no bus daemon runs over the
//! manager's own socket, which speaks the same language.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::BusError;
use super::property::Property;
use super::wire::{Call, Kind, PROLOGUE_LEN, Reader, Received, Writer, decode, rest_len};
use crate::cgroup::layout::uid_outside;

/// How long systemd may take for an answer or a job.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many ended jobs are remembered until the reply says which one is ours.
const JOBS_MAX: usize = 256;
/// The longest line of the authentication.
const LINE_LEN_MAX: usize = 1024;

const BUS: &str = "org.freedesktop.DBus";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";

/// systemd's manager.
pub(super) struct Manager {
    stream: UnixStream,
    serial: u32,
    /// Jobs that have ended, and how.
    ended_jobs: Vec<(String, String)>,
}

impl Manager {
    /// Connects, and asks to be told of jobs.
    pub(super) fn connect() -> Result<Manager, BusError> {
        let mut tried = Vec::new();
        let (uid, is_root) = identity();
        for (path, has_daemon) in sockets(uid, is_root) {
            let Ok(stream) = UnixStream::connect(&path) else {
                tried.push(path.display().to_string());
                continue;
            };
            let limit = Some(ANSWER_TIMEOUT);
            let limited = stream.set_read_timeout(limit).and(stream.set_write_timeout(limit));
            limited.map_err(io_error("set up the connection"))?;
            let mut manager = Manager { stream, serial: 0, ended_jobs: Vec::new() };
            manager.authenticate(uid)?;
            if has_daemon {
                manager.greet()?;
            }
            manager.call(manager_call("Subscribe", "", Writer::default()))?;
            return Ok(manager);
        }
        Err(BusError::Unreachable { tried: tried.join(", ") })
    }

    /// Starts a transient unit and waits until its job has ended.
    pub(super) fn start_transient(
        &mut self,
        unit: &str,
        properties: &[Property],
    ) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        // "fail" would refuse a unit whose earlier one is still being stopped.
        body.text("replace");
        body.properties(properties);
        body.array(8, |_| {});
        let call = manager_call("StartTransientUnit", "ssa(sv)a(sa(sv))", body);
        self.run_job(call)
    }

    /// Stops a unit and waits until its job has ended.
    pub(super) fn stop(&mut self, unit: &str) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        self.run_job(manager_call("StopUnit", "ss", body))
    }

    /// Lets a failed unit be forgotten.
    pub(super) fn reset_failed(&mut self, unit: &str) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        match self.call(manager_call("ResetFailedUnit", "s", body)) {
            // It was forgotten meanwhile.
            Err(BusError::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
            done => done.map(drop),
        }
    }

    /// Sets properties until the machine is switched off.
    pub(super) fn set_properties(
        &mut self,
        unit: &str,
        properties: &[Property],
    ) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        body.u32(1);
        body.properties(properties);
        self.call(manager_call("SetUnitProperties", "sba(sv)", body)).map(drop)
    }

    fn run_job(&mut self, call: Call<'_>) -> Result<(), BusError> {
        let reply = self.call(call)?;
        let job = Reader::new(&reply.body).text().map(str::to_owned);
        let job = job.ok_or(BusError::Protocol("systemd's reply names no job"))?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            if let Some((_, result)) = self.ended_jobs.iter().find(|(ended, _)| *ended == job) {
                return match result.as_str() {
                    "done" => Ok(()),
                    other => Err(BusError::Job(other.to_owned())),
                };
            }
            let received = self.receive()?;
            self.note_job(&received);
            if Instant::now() >= deadline {
                return Err(BusError::Protocol("systemd did not end the job in 30 s"));
            }
        }
    }

    /// Calls a method and waits for its reply; signals that come in between are kept.
    fn call(&mut self, call: Call<'_>) -> Result<Received, BusError> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&call.encode(serial)).map_err(io_error("send a call"))?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while Instant::now() < deadline {
            let received = self.receive()?;
            if received.reply_to != Some(serial) {
                self.note_job(&received);
                continue;
            }
            if received.kind == Some(Kind::Error) {
                let message = Reader::new(&received.body).text().unwrap_or_default().to_owned();
                return Err(BusError::Refused { name: received.error_name, message });
            }
            return Ok(received);
        }
        Err(BusError::Protocol("systemd did not answer in 30 s"))
    }

    /// `JobRemoved(u id, o job, s unit, s result)`
    fn note_job(&mut self, received: &Received) {
        if received.kind != Some(Kind::Signal) || received.member != "JobRemoved" {
            return;
        }
        let mut body = Reader::new(&received.body);
        let (_, job, _, result) = (body.u32(), body.text(), body.text(), body.text());
        if let (Some(job), Some(result)) = (job, result) {
            // On a busy machine others' jobs end as well; the last ones are ours.
            if self.ended_jobs.len() == JOBS_MAX {
                self.ended_jobs.remove(0);
            }
            self.ended_jobs.push((job.to_owned(), result.to_owned()));
        }
    }

    fn receive(&mut self) -> Result<Received, BusError> {
        let mut prologue = [0; PROLOGUE_LEN];
        self.stream.read_exact(&mut prologue).map_err(io_error("receive a message"))?;
        let rest = rest_len(&prologue).ok_or(BusError::Protocol("what came is no message"))?;
        let mut bytes = vec![0; rest];
        self.stream.read_exact(&mut bytes).map_err(io_error("receive a message"))?;
        decode(&prologue, &bytes).ok_or(BusError::Protocol("what came is no message"))
    }

    /// By the credentials of the socket ("EXTERNAL" of the D-Bus specification).
    fn authenticate(&mut self, uid: u32) -> Result<(), BusError> {
        let hex: String = uid.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        let hello = format!("\0AUTH EXTERNAL {hex}\r\n");
        self.stream.write_all(hello.as_bytes()).map_err(io_error("authenticate"))?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < LINE_LEN_MAX {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).map_err(io_error("authenticate"))?;
            line.extend(byte);
        }
        if !line.starts_with(b"OK ") {
            return Err(BusError::Protocol("the bus does not accept this user"));
        }
        self.stream.write_all(b"BEGIN\r\n").map_err(io_error("authenticate"))
    }

    /// What a bus daemon wants to hear first, and which signals it is to pass on.
    fn greet(&mut self) -> Result<(), BusError> {
        let call = |member, signature, body| Call {
            destination: BUS,
            path: "/org/freedesktop/DBus",
            interface: BUS,
            member,
            signature,
            body,
        };
        self.call(call("Hello", "", Writer::default()))?;
        let mut rule = Writer::default();
        rule.text(&format!("type='signal',interface='{MANAGER}',member='JobRemoved'"));
        self.call(call("AddMatch", "s", rule)).map(drop)
    }
}

/// Who this process is outside of its user namespace, and whether that is the machine's root, whose
/// manager is another than the users'.
fn identity() -> (u32, bool) {
    let own = nix::unistd::geteuid().as_raw();
    match own == 0 && crate::sys::creds::in_initial_user_namespace() {
        true => (0, true),
        false => (uid_outside(own), false),
    }
}

/// The sockets of root's manager or of this user's, and whether a bus daemon listens there.
fn sockets(uid: u32, is_root: bool) -> Vec<(PathBuf, bool)> {
    if is_root {
        return vec![
            (PathBuf::from("/run/dbus/system_bus_socket"), true),
            (PathBuf::from("/run/systemd/private"), false),
        ];
    }
    let variable = |name| std::env::var_os(name).and_then(|value| value.into_string().ok());
    let mut sockets = Vec::new();
    let address = variable("DBUS_SESSION_BUS_ADDRESS");
    sockets.extend(address.as_deref().and_then(socket_of).map(|path| (path, true)));
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|path| path.is_absolute());
    let runtime = runtime.unwrap_or_else(|| PathBuf::from(format!("/run/user/{uid}")));
    sockets.extend([(runtime.join("bus"), true), (runtime.join("systemd/private"), false)]);
    sockets
}

/// The path in a bus's address, such as `unix:path=/run/user/7/bus,guid=…`, the first one there.
fn socket_of(address: &str) -> Option<PathBuf> {
    let keys = address.split(';').find_map(|one| one.strip_prefix("unix:"))?;
    let path = keys.split(',').find_map(|key| key.strip_prefix("path="))?;
    // What an address escapes by %xx is no part of these paths.
    (path.starts_with('/') && !path.contains('%')).then(|| PathBuf::from(path))
}

fn manager_call<'a>(member: &'a str, signature: &'a str, body: Writer) -> Call<'a> {
    let (destination, path, interface) = (SYSTEMD, MANAGER_PATH, MANAGER);
    Call { destination, path, interface, member, signature, body }
}

fn io_error(step: &'static str) -> impl Fn(io::Error) -> BusError {
    move |source| BusError::Io { step, source }
}

#[cfg(test)]
mod tests {
    use super::socket_of;
    use std::path::PathBuf;

    #[test]
    fn the_socket_is_in_the_address() {
        let path = |text: &str| socket_of(text).unwrap_or_default();
        assert_eq!(path("unix:path=/run/user/7/bus"), PathBuf::from("/run/user/7/bus"));
        assert_eq!(path("tcp:host=x;unix:guid=1,path=/b,x=y"), PathBuf::from("/b"));
        for none in ["", "unix:abstract=/tmp/x", "unix:path=relative", "unix:path=/a%20b"] {
            assert_eq!(socket_of(none), None, "{none}");
        }
    }
}
