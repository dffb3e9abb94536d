//! An exec that leaves the container no way to the runtime's executable (CVE-2019-5736).
//!
//! The attack: a container's program is `/proc/self/exe` (or a script or a library path that leads
//! there), so the kernel executes the runtime itself as a process of the container, and the
//! container's root opens that process's executable for writing. Others answer by executing
//! themselves again from a sealed copy, which costs as much as starting a program.
//!
//! Here the process forgets its executable instead: a few machine instructions in an anonymous
//! page unmap the program they came from, make an empty sealed file the process's executable
//! (`PR_SET_MM_MAP`, kernels with CONFIG_CHECKPOINT_RESTORE), drop the capability that this needs,
//! and execute. From then on `/proc/self/exe` names the empty file, which nobody can execute or
//! write. Should anything of the program still be mapped, the kernel refuses and nothing runs.

use std::arch::global_asm;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::creds::{CapSets, RawCapSets};
use super::{Errno, Result, check};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the instructions below are x86_64's: port them first");

// In: rdi = calls, rsi = their count, rdx = message, ecx = socket. Position-independent, and it
// uses no stack, because it outlives everything around it.
//
// Two calls are none of the kernel's: TWIN starts a thread that sends the descriptor of the
// filter's listener as soon as there is one, and AWAIT_TWIN waits for it without a system call,
// because any may be filtered by then. Threads that are not synchronized have no filter.
global_asm!(
    ".pushsection .text.loadline_finale, \"ax\", @progbits",
    ".globl loadline_finale_begin",
    ".globl loadline_finale_end",
    "loadline_finale_begin:",
    "mov r12, rdi",
    "mov r13, rsi",
    "mov r14, rdx",
    "mov r15d, ecx",
    "2:",
    "mov rax, [r12]",
    "test rax, rax",
    "js 6f",
    "mov rdi, [r12 + 8]",
    "mov rsi, [r12 + 16]",
    "mov rdx, [r12 + 24]",
    "mov r10, [r12 + 32]",
    "mov r8, [r12 + 40]",
    "xor r9d, r9d",
    "syscall",
    "cmp rax, -4095",
    "jae 3f",
    "5:",
    "add r12, 48",
    "dec r13",
    "jnz 2b",
    "3:",
    "neg eax",
    "mov [r14 + 4], eax",
    "mov edi, r15d",
    "mov rsi, r14",
    "mov edx, 8",
    "mov r10d, 0x4000",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "mov eax, 44",
    "syscall",
    "mov edi, 1",
    "mov eax, 231",
    "syscall",
    "ud2",
    "6:",
    "inc rax",
    "jz 9f",
    "7:",
    "mov rdi, [r12 + 8]",
    "mov rsi, [r12 + 16]",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "mov eax, 56",
    "syscall",
    "cmp rax, -4095",
    "jae 3b",
    "test rax, rax",
    "jnz 5b",
    "8:",
    "mov edi, r15d",
    "mov rsi, [r12 + 24]",
    "mov edx, 0x4000",
    "mov eax, 46",
    "syscall",
    "cmp eax, -9",
    "jne 20f",
    "mov rdi, [r12 + 40]",
    "xor esi, esi",
    "mov eax, 35",
    "syscall",
    "jmp 8b",
    "20:",
    "mov rdx, [r12 + 32]",
    "mov [rdx], eax",
    "xor edi, edi",
    "mov eax, 60",
    "syscall",
    "ud2",
    "9:",
    "mov rdx, [r12 + 8]",
    "22:",
    "pause",
    "movsxd rax, dword ptr [rdx]",
    "test rax, rax",
    "jz 22b",
    "js 3b",
    "jmp 5b",
    "loadline_finale_end:",
    ".popsection",
);

unsafe extern "C" {
    static loadline_finale_begin: u8;
    static loadline_finale_end: u8;
    /// The first byte of the program in memory, by the linker.
    static __executable_start: u8;
    /// The byte after its last one.
    static _end: u8;
}

const PAGE_BYTES: usize = 4096;

/// The two calls that are none of the kernel's.
const AWAIT_TWIN: u64 = u64::MAX;
const TWIN: u64 = u64::MAX - 1;

/// The pause between two looks for the listener's descriptor.
const LOOK_PAUSE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };

/// One system call of the finale; the layout is what the instructions read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u64,
    arguments: [u64; 5],
}

/// The kernel's `struct prctl_mm_map`.
#[repr(C)]
#[derive(Debug)]
struct MemoryMap {
    addresses: [u64; 11],
    auxv: u64,
    auxv_bytes: u32,
    exe_fd: u32,
}

/// The kernel's `struct user_msghdr`, which C libraries lay out with types of their own.
#[repr(C)]
#[derive(Debug)]
struct Message {
    name: u64,
    name_bytes: u32,
    parts: u64,
    part_count: u64,
    control: u64,
    control_bytes: u64,
    flags: u32,
}

/// A filter of system calls, and whether it is loaded while the capabilities are still there.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// The program (`struct sock_filter` each). It must be on the heap.
    pub program: &'a [libc::sock_filter],
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
    /// Before the capabilities are dropped, as a process without no_new_privs must.
    pub before_capabilities: bool,
    /// With a listener (`SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0), whose descriptor is sent
    /// over the socket together with this message.
    pub listener: Option<[u8; 8]>,
}

/// What the last instructions do.
#[derive(Debug)]
pub struct Finale<'a> {
    /// The program's path. It and all other strings must be on the heap.
    pub path: CString,
    /// Its arguments.
    pub args: Vec<CString>,
    /// Its environment.
    pub env: Vec<CString>,
    /// The capability sets that it starts with.
    pub capabilities: CapSets,
    /// The filter that it starts with.
    pub filter: Option<Filter<'a>>,
    /// Resource limits that it starts with: resource, soft and hard limit.
    pub limits: Vec<(u32, u64, u64)>,
    /// Where a failure is told.
    pub socket: BorrowedFd<'a>,
    /// What is told there: a message of 8 bytes whose last 4 become the errno.
    pub message: [u8; 8],
}

/// Forgets the executable and executes the program. Returns only when it could not begin; a later
/// failure is told over the socket, and the process ends.
pub fn execute(finale: Finale<'_>) -> Errno {
    match prepare(&finale) {
        Ok(prepared) => prepared.run(finale.socket),
        Err(errno) => errno,
    }
}

/// Everything that the instructions read, alive on the heap until the process's memory is gone.
struct Prepared {
    page: usize,
    calls: Vec<Call>,
    message: Box<[u8; 8]>,
}

fn prepare(finale: &Finale<'_>) -> Result<Prepared> {
    let page = executable_page()?;
    let mut calls = Vec::with_capacity(6);
    let (start, length) = program_range();
    calls.push(call(libc::SYS_munmap, [start as u64, length as u64, 0, 0, 0]));
    let file = empty_file()?;
    let map = leak(MemoryMap {
        addresses: plausible_addresses(page as u64),
        auxv: 0,
        auxv_bytes: 0,
        exe_fd: file.as_raw_fd() as u32,
    });
    // The file stays open until exec closes it.
    std::mem::forget(file);
    let size = size_of::<MemoryMap>() as u64;
    let set = [libc::PR_SET_MM as u64, libc::PR_SET_MM_MAP as u64, map as u64, size, 0];
    calls.push(call(libc::SYS_prctl, set));
    // Before a filter is loaded, which may not know the call.
    calls.extend(finale.limits.iter().map(|(resource, soft, hard)| {
        let limit = leak(libc::rlimit64 { rlim_cur: *soft, rlim_max: *hard });
        call(libc::SYS_prlimit64, [0, u64::from(*resource), limit as u64, 0, 0])
    }));
    let raw = leak(RawCapSets::from(finale.capabilities));
    let (header, data) = RawCapSets::pointers(raw);
    let capset = call(libc::SYS_capset, [header as u64, data as u64, 0, 0, 0]);
    let filter = finale.filter.map(load_filter).transpose()?;
    let is_early = finale.filter.is_some_and(|filter| filter.before_capabilities);
    if !is_early {
        calls.push(capset);
    }
    calls.extend(filter.into_iter().flatten());
    if is_early {
        calls.push(capset);
    }
    // Nothing is opened from here on: the filter's listener has the next descriptor's number.
    let path = finale.path.clone().into_raw();
    let (args, env) = (strings(&finale.args), strings(&finale.env));
    calls.push(call(libc::SYS_execve, [path as u64, args as u64, env as u64, 0, 0]));
    Ok(Prepared { page, calls, message: Box::new(finale.message) })
}

impl Prepared {
    fn run(mut self, socket: BorrowedFd<'_>) -> ! {
        type Entry = unsafe extern "C" fn(*const Call, usize, *mut u8, i32) -> !;
        // SAFETY: `page` holds the instructions between the two labels, which have this signature
        // and do not depend on where they are.
        let entry: Entry = unsafe { std::mem::transmute(self.page) };
        let (calls, count) = (self.calls.as_ptr(), self.calls.len());
        // SAFETY: `calls` and `message` are alive on the heap, which the calls do not unmap, and
        // the instructions never return.
        unsafe { entry(calls, count, self.message.as_mut_ptr(), socket.as_raw_fd()) }
    }
}

fn call(number: libc::c_long, arguments: [u64; 5]) -> Call {
    Call { number: number as u64, arguments }
}

fn load_filter(filter: Filter<'_>) -> Result<Vec<Call>> {
    let program = leak(libc::sock_fprog {
        len: filter.program.len() as u16,
        // The kernel only reads it.
        filter: filter.program.as_ptr().cast_mut(),
    });
    let mode = u64::from(libc::SECCOMP_SET_MODE_FILTER);
    let load = |flags| call(libc::SYS_seccomp, [mode, flags, program as u64, 0, 0]);
    let Some(message) = filter.listener else { return Ok(vec![load(filter.flags)]) };
    let sent = leak(0i32) as u64;
    let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND;
    let flags = flags | libc::CLONE_THREAD | libc::CLONE_SYSVSEM;
    // It uses no stack either, but the kernel wants one to be named.
    let stack = leak([0u64; 16]) as u64;
    let message = leak_message(message, next_descriptor()?) as u64;
    let pause = leak(LOOK_PAUSE) as u64;
    Ok(vec![
        Call { number: TWIN, arguments: [flags as u64, stack, message, sent, pause] },
        load(filter.flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
        Call { number: AWAIT_TWIN, arguments: [sent, 0, 0, 0, 0] },
    ])
}

/// The number of the descriptor that this process opens next: nobody else opens one in it.
fn next_descriptor() -> Result<i32> {
    let (near, _far) = nix::unistd::pipe()?;
    Ok(near.as_raw_fd())
}

/// A message (`struct msghdr`) with the descriptor of this number, which need not be there yet.
fn leak_message(data: [u8; 8], number: i32) -> *const Message {
    let length = size_of::<libc::cmsghdr>() + size_of::<i32>();
    // `struct cmsghdr` is a length, a level and a type, and the descriptor follows.
    let control = leak([
        length as u64,
        libc::SOL_SOCKET as u64 | (libc::SCM_RIGHTS as u64) << 32,
        u64::from(number as u32),
    ]);
    let part = leak(libc::iovec {
        iov_base: leak(data) as *mut libc::c_void,
        iov_len: size_of_val(&data),
    });
    leak(Message {
        name: 0,
        name_bytes: 0,
        parts: part as u64,
        part_count: 1,
        control: control as u64,
        control_bytes: size_of::<[u64; 3]>() as u64,
        flags: 0,
    })
}

/// What the kernel checks of these is their order only, and exec sets them anew.
fn plausible_addresses(page: u64) -> [u64; 11] {
    let mut addresses = [page; 11];
    addresses[1] = page + 1;
    addresses
}

fn strings(list: &[CString]) -> *const *const libc::c_char {
    let owned = list.iter().map(|text| text.clone().into_raw().cast_const());
    let pointers: Vec<_> = owned.chain([ptr::null()]).collect();
    pointers.leak().as_ptr()
}

/// Onto the heap, until the process's memory is replaced.
fn leak<T>(value: T) -> *const T {
    Box::leak(Box::new(value))
}

/// Pages of the program: code, constants, data.
fn program_range() -> (usize, usize) {
    let start = (&raw const __executable_start) as usize & !(PAGE_BYTES - 1);
    let end = ((&raw const _end) as usize).next_multiple_of(PAGE_BYTES);
    (start, end - start)
}

/// The instructions, copied into a page of their own.
fn executable_page() -> Result<usize> {
    let begin = &raw const loadline_finale_begin;
    let length = (&raw const loadline_finale_end) as usize - begin as usize;
    assert!(length <= PAGE_BYTES, "the instructions fit into a page");
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let none = ptr::null_mut::<u8>();
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other.
    let page =
        check(unsafe { libc::syscall(libc::SYS_mmap, none, PAGE_BYTES, writable, flags, -1, 0) })?;
    let page = page as *mut u8;
    // SAFETY: the source has `length` bytes between its labels, and the page is new, writable and
    // at least as long.
    unsafe { ptr::copy_nonoverlapping(begin, page, length) };
    let executable = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: the page is ours alone, and nothing writes to it from here on.
    check(unsafe { libc::syscall(libc::SYS_mprotect, page, PAGE_BYTES, executable) })?;
    Ok(page as usize)
}

/// A file that has nothing to execute and that nobody can write to.
fn empty_file() -> Result<OwnedFd> {
    const MFD_EXEC: u32 = 0x10;
    const NAME: &CStr = c"sealed";
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // The kernel wants an executable as the executable. Linux 6.3 wants to be told so.
    let file = match memfd_create(NAME, flags | MFdFlags::from_bits_retain(MFD_EXEC)) {
        Err(Errno::EINVAL) => memfd_create(NAME, flags)?,
        other => other?,
    };
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::program_range;

    #[test]
    fn the_program_s_range_is_what_the_kernel_mapped_of_it() {
        let exe = std::fs::read_link("/proc/self/exe").unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let (start, length) = program_range();
        for line in maps.lines().filter(|line| line.ends_with(exe.to_str().unwrap())) {
            let range = line.split(' ').next().unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let number = |hex| usize::from_str_radix(hex, 16).unwrap();
            assert!(number(from) >= start && number(to) <= start + length, "{line}");
        }
    }
}
