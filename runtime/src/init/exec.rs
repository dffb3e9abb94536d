//! The last steps: find the program, wait for `start`, execute.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, stat};
use nix::unistd::{AccessFlags, eaccess};

use super::sync::{Cause, Failure, FromChild};
use super::{Done, Init};
use crate::plan::Program;
use crate::seccomp;
use crate::sys::seal::{Filter, Finale, execute};
use crate::sys::signal;

/// Where programs are looked for when the environment does not say.
const PATH_DEFAULT: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of the container's /etc/passwd is read for HOME.
const PASSWD_BYTES_MAX: u64 = 1024 * 1024;

/// What will be executed.
#[derive(Debug)]
pub(super) struct Found {
    path: CString,
    home: Option<CString>,
}

impl Init<'_> {
    /// Inside the root and as the user, so that what is found can be executed.
    pub(super) fn find_program(&mut self) -> Done {
        let program = self.planned_program()?;
        let path = find(&program.args[0], variable(program, b"PATH"))?;
        let home = match variable(program, b"HOME") {
            Some(_) => None,
            None => Some(home_of(program.uid)),
        };
        self.program = Some(Found { path, home });
        Ok(())
    }

    pub(super) fn await_start(&mut self) -> Done {
        let listener = self.start.listener.take().ok_or(Cause::Kernel(Errno::EBADF))?;
        let connection = loop {
            match crate::sys::fd::accept(listener.as_fd()) {
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                other => break other?,
            }
        };
        self.starter = Some(connection);
        Ok(())
    }

    pub(super) fn exec(&mut self, program: &Program) -> Done {
        let found = self.program.take().ok_or(Cause::NoProgram)?;
        signal::reset(self.ignored)?;
        let failure = Failure {
            step: (self.plan.child.len() - 1) as u16,
            cause: Cause::Exec(Errno::UnknownErrno),
        };
        let instructions = instructions(program);
        let has_listener = program.filter.as_ref().is_some_and(|filter| filter.listener.is_some());
        let listener = has_listener.then(|| FromChild::Listener.encode());
        Err(execute(Finale {
            path: found.path.clone(),
            args: program.args.clone(),
            env: environment(program, Some(&found)),
            limits: limits(program),
            capabilities: program.cap_sets(),
            filter: filter(program, &instructions, listener),
            socket: self.starter.as_ref().map_or(self.start.sync.fd(), |fd| fd.as_fd()),
            message: FromChild::Failed(failure).encode(),
        })
        .into())
    }
}

/// With what sd_listen_fds(3) reads, if there are such sockets, and HOME, if config.json has none.
/// Of entries with one name the last one counts, where programs would read the first.
/// `LISTEN_FDNAMES` is the caller's.
pub(super) fn environment(program: &Program, found: Option<&Found>) -> Vec<CString> {
    let mut sockets = Vec::new();
    if program.listen_fds > 0 {
        sockets.push(format!("LISTEN_FDS={}", program.listen_fds));
        sockets.push(format!("LISTEN_PID={}", std::process::id()));
        let names = std::env::var("LISTEN_FDNAMES").ok();
        sockets.extend(names.map(|names| format!("LISTEN_FDNAMES={names}")));
    }
    // The program reads the first one of a name.
    let sockets = sockets.into_iter().filter_map(|entry| CString::new(entry).ok());
    let home = found.and_then(|found| found.home.clone());
    sockets.chain(last_of_each_name(&program.env)).chain(home).collect()
}

/// From the end, so that each entry is looked at once.
fn last_of_each_name(env: &[CString]) -> impl Iterator<Item = CString> {
    let mut names = BTreeSet::new();
    let mut last: Vec<&CString> =
        env.iter().rev().filter(|entry| names.insert(name_of(entry))).collect();
    last.reverse();
    last.into_iter().cloned()
}

/// The name of an entry of an environment.
fn name_of(entry: &CStr) -> &[u8] {
    entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}

/// The program's filter, as the last instructions before an exec load it. The kernel takes a flag
/// about its listener only where there is one.
pub(super) fn filter<'a>(
    program: &Program,
    instructions: &'a [libc::sock_filter],
    listener: Option<[u8; 8]>,
) -> Option<Filter<'a>> {
    let of_listener = match listener {
        Some(_) => 0,
        None => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    };
    program.filter.as_ref().map(|filter| Filter {
        program: instructions,
        flags: filter.flags & !of_listener,
        before_capabilities: !program.no_new_privileges,
        listener,
    })
}

/// The limits that are set last.
pub(super) fn limits(program: &Program) -> Vec<(u32, u64, u64)> {
    program.limits.iter().map(|limit| (limit.resource, limit.soft, limit.hard)).collect()
}

/// The instructions of the program's filter; none without one.
pub(super) fn instructions(program: &Program) -> Vec<libc::sock_filter> {
    let as_kernel = |i: &seccomp::Instruction| libc::sock_filter {
        code: i.code,
        jt: i.jump_true,
        jf: i.jump_false,
        k: i.operand,
    };
    program.filter.iter().flat_map(|filter| &filter.program).map(as_kernel).collect()
}

fn variable<'p>(program: &'p Program, name: &[u8]) -> Option<&'p [u8]> {
    let value = |entry: &'p CString| {
        entry.to_bytes().strip_prefix(name).and_then(|rest| rest.strip_prefix(b"="))
    };
    program.env.iter().rev().find_map(value)
}

/// Looks a program up as execvp(3) does, and refuses what could not be executed.
fn find(name: &CStr, path: Option<&[u8]>) -> Result<CString, Cause> {
    if name.to_bytes().contains(&b'/') {
        return check(name).map(|()| name.to_owned());
    }
    if name.is_empty() {
        return Err(Cause::NoProgram);
    }
    let mut refused = Cause::NoProgram;
    for directory in path.unwrap_or(PATH_DEFAULT).split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let candidate = [directory, b"/", name.to_bytes()].concat();
        let candidate = CString::new(candidate).map_err(|_| Errno::EINVAL)?;
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Cause::Kernel(Errno::EACCES)) => refused = Cause::Kernel(Errno::EACCES),
            Err(_) => {}
        }
    }
    Err(refused)
}

fn check(path: &CStr) -> Result<(), Cause> {
    let mode = stat(path)?.st_mode;
    if mode & libc::S_IFMT == SFlag::S_IFDIR.bits() {
        return Err(Errno::EISDIR.into());
    }
    Ok(eaccess(path, AccessFlags::X_OK)?)
}

/// `HOME=` of the user as the container's /etc/passwd has it, or of `/`.
fn home_of(uid: u32) -> CString {
    let home = passwd_home(uid).unwrap_or_else(|| b"/".to_vec());
    CString::new([b"HOME=".as_slice(), &home].concat()).unwrap_or_else(|_| c"HOME=/".to_owned())
}

fn passwd_home(uid: u32) -> Option<Vec<u8>> {
    // A pipe or a device in its place must not block the start.
    let mut options = File::options();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open("/etc/passwd").ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    for line in BufReader::new(file.take(PASSWD_BYTES_MAX)).split(b'\n') {
        let line = line.ok()?;
        let fields: Vec<_> = line.split(|byte| *byte == b':').collect();
        let number = fields.get(2).and_then(|field| std::str::from_utf8(field).ok());
        if number.and_then(|number| number.parse::<u32>().ok()) == Some(uid) {
            return fields.get(5).filter(|home| !home.is_empty()).map(|home| home.to_vec());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::last_of_each_name;
    use std::ffi::CString;

    #[test]
    fn of_entries_with_one_name_the_last_stays_in_its_place() {
        let env = |text: &str| -> Vec<CString> {
            text.split(' ').map(|entry| CString::new(entry).unwrap()).collect()
        };
        let check = |given: &str, expected: &str| {
            let found: Vec<CString> = last_of_each_name(&env(given)).collect();
            assert_eq!(found, env(expected), "{given}");
        };
        check("A=1 B=2 A=3", "B=2 A=3");
        check("A=1 AB=2 A", "AB=2 A");
        check("B=2 A=1", "B=2 A=1");
    }

    /// As many as the kernel takes: each is looked at a few times, not once for each other.
    #[test]
    fn an_environment_of_many_entries_is_gone_through_once() {
        const ENTRIES: usize = 300_000;
        let env: Vec<CString> =
            (0..ENTRIES).map(|n| CString::new(format!("V{n}=x")).unwrap()).collect();
        assert_eq!(last_of_each_name(&env).count(), ENTRIES);
    }
}
