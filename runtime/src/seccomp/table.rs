//! Numbers of system calls by name, for each ABI that this machine has.

use std::collections::HashMap;

use syscalls::{x86, x86_64};

use super::profile::Abi;

/// Calls of x32 have this bit (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// From here on x32 has numbers of its own, for calls whose structures differ (arch/x86/entry/
/// syscalls/syscall_64.tbl).
const X32_OWN_FIRST: u32 = 512;
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// x86's old way to sockets: call and first argument (net.h).
const X86_SOCKETCALL: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// x86's old way to System V IPC: call and first argument (ipc.h).
const X86_IPC: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// Names to numbers of one ABI.
pub(super) struct Table {
    abi: Abi,
    numbers: HashMap<&'static str, u32>,
}

/// A call that multiplexes others by its first argument.
pub(super) struct Multiplexed {
    pub(super) number: u32,
    pub(super) first_argument: u64,
}

impl Table {
    pub(super) fn of(abi: Abi) -> Table {
        let numbers = match abi {
            Abi::X86 => numbers(x86::Sysno::last().id(), |n| Some(x86::Sysno::new(n)?.name())),
            Abi::X86_64 => native(),
            Abi::X32 => {
                let shared = native().into_iter().map(|(name, number)| (name, number | X32_BIT));
                let own = X32_OWN.into_iter().zip(X32_OWN_FIRST..);
                shared.chain(own.map(|(name, number)| (name, number | X32_BIT))).collect()
            }
        };
        Table { abi, numbers }
    }

    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The second way to a call, where the ABI has one.
    pub(super) fn multiplexed(&self, name: &str) -> Option<Multiplexed> {
        if self.abi != Abi::X86 {
            return None;
        }
        let (by, list): (_, &[(&str, u32)]) = match X86_IPC.iter().any(|(call, _)| *call == name) {
            true => ("ipc", &X86_IPC),
            false => ("socketcall", &X86_SOCKETCALL),
        };
        let (_, argument) = list.iter().find(|(call, _)| *call == name)?;
        Some(Multiplexed { number: self.number(by)?, first_argument: u64::from(*argument) })
    }
}

fn native() -> HashMap<&'static str, u32> {
    numbers(x86_64::Sysno::last().id(), |n| Some(x86_64::Sysno::new(n)?.name()))
}

fn numbers(last: i32, name: impl Fn(usize) -> Option<&'static str>) -> HashMap<&'static str, u32> {
    let last = u32::try_from(last).unwrap_or(0);
    (0..=last).filter_map(|number| Some((name(number as usize)?, number))).collect()
}
