//! A network namespace that is made aside.
//!
//! The kernel takes half a millisecond for one, as long as for everything else that a container
//! has. Here a thread makes it while the runtime and the container's first process go on, sends its
//! descriptor to the latter, and ends.
//!
//! The thread shares all memory with a process that goes on running Rust, so it uses none of it but
//! its job and a stack of its own: no allocator, and no C library, whose `errno` it would share.
//! It makes system calls by an instruction of its own. It begins after the clone of the container's
//! first process: that one has no other thread, and needs none of what this one does in memory.

use std::arch::asm;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};

use super::net::loopback_request;
use super::{Errno, Result};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the instructions below are x86_64's: port them first");

/// More than the calls below need, also without optimization.
const STACK_BYTES: usize = 8 * 1024;

/// Gives the network namespace of a socket as a descriptor (linux/sockios.h, Linux 4.10).
const SIOCGSKNS: libc::c_long = 0x894c;

/// A network namespace that is to be made. Dropped, it waits until the thread has ended.
#[derive(Debug)]
pub struct Making {
    /// What the thread sends from. It is closed after the thread's end only: its number must not
    /// become another file's before.
    departure: OwnedFd,
    /// What the thread shares with this process, for ever.
    job: Option<&'static Job>,
}

/// Where a namespace arrives that the runtime makes aside.
#[derive(Debug)]
pub struct Arrival(OwnedFd);

/// What the thread knows.
#[derive(Debug)]
struct Job {
    departure: RawFd,
    loopback: libc::ifreq,
    /// Not zero while the thread runs: the kernel clears it, and wakes who waits (a futex).
    thread: AtomicU32,
}

/// The kernel's `struct user_msghdr`, which C libraries lay out with types of their own.
#[repr(C)]
struct Message {
    name: u64,
    name_bytes: u32,
    parts: *const libc::iovec,
    part_count: u64,
    control: *const Control,
    control_bytes: u64,
    flags: u32,
}

/// A `struct cmsghdr` with one descriptor.
#[repr(C)]
struct Control {
    bytes: u64,
    level: i32,
    kind: i32,
    fd: i32,
}

/// The two ends of what [`Making::begin`] makes: this process's, and that of its next child.
///
/// # Errors
/// The kernel's errno.
pub fn pair() -> Result<(Making, Arrival)> {
    let (arrival, departure) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Making { departure, job: None }, Arrival(arrival)))
}

impl Making {
    /// Begins to make a network namespace whose loopback interface is up.
    ///
    /// # Errors
    /// The kernel's errno, where there can't be a thread.
    pub fn begin(&mut self) -> Result<()> {
        let job: &'static Job = Box::leak(Box::new(Job {
            departure: self.departure.as_raw_fd(),
            loopback: loopback_request(),
            thread: AtomicU32::new(1),
        }));
        let stack = Box::<[u128]>::new_uninit_slice(STACK_BYTES / size_of::<u128>());
        let stack = Box::leak(stack).as_mut_ptr_range();
        let flags = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM
            | libc::CLONE_CHILD_CLEARTID;
        let result: isize;
        // SAFETY: in the new thread the call returns with the same registers but for the stack
        // pointer, which is the end of a stack that nobody else has, aligned to 16 bytes; it calls
        // `work`, which never returns. In this thread nothing but the named registers changes.
        unsafe {
            asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "xor ebp, ebp",
                "mov rdi, r12",
                "call r13",
                "ud2",
                "2:",
                inlateout("rax") libc::SYS_clone as isize => result,
                in("rdi") i64::from(flags),
                in("rsi") stack.end,
                in("rdx") 0,
                in("r10") job.thread.as_ptr(),
                in("r8") 0,
                in("r12") ptr::from_ref(job),
                in("r13") work as *const (),
                lateout("rcx") _,
                lateout("r11") _,
            );
        }
        if result < 0 {
            return Err(Errno::from_raw(-result as i32));
        }
        self.job = Some(job);
        Ok(())
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let Some(job) = self.job else { return };
        let thread = &job.thread;
        loop {
            match thread.load(Ordering::Acquire) {
                0 => return,
                // Spurious wake-ups and a number that was cleared meanwhile end in another look.
                running => wait_for_change(thread, running),
            }
        }
    }
}

/// Waits (`futex(2)`) as long as the number is this one.
fn wait_for_change(number: &AtomicU32, seen: u32) {
    let forever = ptr::null::<libc::timespec>();
    // SAFETY: the number lives until return, and the null pointer stands for no timeout.
    unsafe { libc::syscall(libc::SYS_futex, number.as_ptr(), libc::FUTEX_WAIT, seen, forever) };
}

impl Arrival {
    /// Waits for the namespace.
    ///
    /// # Errors
    /// Why it could not be made; `EPIPE` where the runtime has ended.
    pub fn receive(self) -> Result<OwnedFd> {
        let mut bytes = [0; size_of::<i32>()];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let (from, flags) = (self.0.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
        let message = loop {
            match recvmsg::<()>(from, &mut parts, Some(&mut space), flags) {
                Err(Errno::EINTR) => {}
                message => break message?,
            }
        };
        let fd = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        let length = message.bytes;
        match (length, i32::from_ne_bytes(bytes), fd) {
            // SAFETY: the kernel made this descriptor for the receiver of the message.
            (_, 0, Some(fd)) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            (0, ..) => Err(Errno::EPIPE),
            (_, errno, _) => Err(Errno::from_raw(errno)),
        }
    }
}

/// The thread: makes the namespace, sends it or the errno, and ends.
extern "C" fn work(job: &Job) -> ! {
    let made = make(job);
    send(job.departure, made);
    if made >= 0 {
        call(libc::SYS_close, [made, 0, 0, 0, 0]);
    }
    loop {
        call(libc::SYS_exit, [0; 5]);
    }
}

/// A descriptor of the namespace, or the negated errno.
fn make(job: &Job) -> isize {
    let unshared = call(libc::SYS_unshare, [libc::CLONE_NEWNET as isize, 0, 0, 0, 0]);
    if unshared < 0 {
        return unshared;
    }
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // Any socket takes these requests; a local one is there in every kernel.
    let socket = call(libc::SYS_socket, [libc::AF_UNIX as isize, kind as isize, 0, 0, 0]);
    if socket < 0 {
        return socket;
    }
    let request = (&raw const job.loopback) as isize;
    let raised = call(libc::SYS_ioctl, [socket, libc::SIOCSIFFLAGS as isize, request, 0, 0]);
    let made = match raised {
        0 => call(libc::SYS_ioctl, [socket, SIOCGSKNS as isize, 0, 0, 0]),
        refused => refused,
    };
    call(libc::SYS_close, [socket, 0, 0, 0, 0]);
    made
}

/// The message is the errno, with the descriptor where that is 0.
fn send(socket: RawFd, made: isize) {
    let errno: i32 = if made < 0 { -made as i32 } else { 0 };
    let part =
        libc::iovec { iov_base: (&raw const errno).cast_mut().cast(), iov_len: size_of::<i32>() };
    let control = Control {
        bytes: (size_of::<libc::cmsghdr>() + size_of::<i32>()) as u64,
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        fd: made as i32,
    };
    let has_control = made >= 0;
    let message = Message {
        name: 0,
        name_bytes: 0,
        parts: &raw const part,
        part_count: 1,
        control: if has_control { &raw const control } else { ptr::null() },
        control_bytes: if has_control { size_of::<Control>() as u64 } else { 0 },
        flags: 0,
    };
    let message = (&raw const message) as isize;
    // A receiver that has ended wants nothing.
    call(libc::SYS_sendmsg, [socket as isize, message, libc::MSG_NOSIGNAL as isize, 0, 0]);
}

/// A system call whose error is the result, negated.
fn call(number: libc::c_long, arguments: [isize; 5]) -> isize {
    let [first, second, third, fourth, fifth] = arguments;
    let result: isize;
    // SAFETY: this module passes integers and pointers to its own live values only, as each call
    // wants them; the kernel keeps all registers but the named ones.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use super::pair;
    use crate::sys::Errno;
    use crate::sys::fd::namespace_kind;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_namespace_is_made_aside_and_is_no_other() {
        let (mut making, arrival) = pair().unwrap();
        making.begin().unwrap();
        let made = match arrival.receive() {
            Err(Errno::EPERM) => {
                eprintln!("SKIPPED a_namespace_is_made_aside_and_is_no_other: needs root");
                return;
            }
            made => made.unwrap(),
        };
        assert_eq!(namespace_kind(made.as_fd()), Ok(libc::CLONE_NEWNET as u64));
        let own = std::fs::metadata("/proc/thread-self/ns/net").unwrap();
        assert_ne!(own.ino(), nix::sys::stat::fstat(&made).unwrap().st_ino);
    }

    #[test]
    fn nobody_waits_for_a_runtime_that_has_ended() {
        let (making, arrival) = pair().unwrap();
        drop(making);
        assert_eq!(arrival.receive().err(), Some(Errno::EPIPE));
    }
}
