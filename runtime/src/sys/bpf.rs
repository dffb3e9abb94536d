//! eBPF programs that decide on device access (bpf(2); instruction set: the kernel's
//! Documentation/bpf/standardization/instruction-set.rst).
//!
//! Only what such a program needs: no maps, no helpers, no loops.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Result, check};

/// How many programs of a group are looked at; the kernel allows 64.
const PROGRAMS_MAX: usize = 64;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// A register: R0 is the answer, R1 the context; `exit` returns R0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "numbered registers")]
pub enum Register {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R5 = 5,
}

/// One instruction, as `struct bpf_insn` lays it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_U32: u8 = 0x61;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP: u8 = 0x05;
// The comparisons are of the lower 32 bits, so that a number above 2^31 needs no care.
const JUMP_UNLESS_EQUAL: u8 = 0x56;
const JUMP_IF_ANY: u8 = 0x46;
const EXIT: u8 = 0x95;

impl Instruction {
    fn new(code: u8, to: Register, from: Register, offset: usize, immediate: i32) -> Instruction {
        let offset = i16::try_from(offset).expect("a rule is a few instructions long");
        Instruction { code, registers: to as u8 | (from as u8) << 4, offset, immediate }
    }

    fn simple(code: u8, register: Register, offset: usize, immediate: i32) -> Instruction {
        Instruction::new(code, register, Register::R0, offset, immediate)
    }

    /// `to = *(u32 *)(from + offset)`
    pub fn load_u32(to: Register, from: Register, offset: usize) -> Instruction {
        Instruction::new(LOAD_U32, to, from, offset, 0)
    }

    /// `to = from`
    pub fn copy(to: Register, from: Register) -> Instruction {
        Instruction::new(COPY, to, from, 0, 0)
    }

    /// `to = value`
    pub fn set(to: Register, value: i32) -> Instruction {
        Instruction::simple(SET, to, 0, value)
    }

    /// `to &= mask`
    pub fn and(to: Register, mask: i32) -> Instruction {
        Instruction::simple(AND, to, 0, mask)
    }

    /// `to >>= bits`
    pub fn shift_right(to: Register, bits: i32) -> Instruction {
        Instruction::simple(SHIFT_RIGHT, to, 0, bits)
    }

    /// Skips `count` instructions.
    pub fn jump(count: usize) -> Instruction {
        Instruction::simple(JUMP, Register::R0, count, 0)
    }

    /// Skips `count` instructions unless the register equals the value.
    pub fn jump_unless_equal(register: Register, value: i32, count: usize) -> Instruction {
        Instruction::simple(JUMP_UNLESS_EQUAL, register, count, value)
    }

    /// Skips `count` instructions unless the register is 0.
    pub fn jump_unless_zero(register: Register, count: usize) -> Instruction {
        Instruction::jump_unless_equal(register, 0, count)
    }

    /// Skips `count` instructions if the register has any bit of the mask.
    pub fn jump_if_any(register: Register, mask: i32, count: usize) -> Instruction {
        Instruction::simple(JUMP_IF_ANY, register, count, mask)
    }

    /// Returns R0.
    pub fn exit() -> Instruction {
        Instruction::simple(EXIT, Register::R0, 0, 0)
    }
}

/// The beginning of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The same for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// The same for BPF_PROG_QUERY.
#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// The same for BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Loads a device program.
///
/// # Errors
/// `EPERM` without CAP_BPF or CAP_SYS_ADMIN; `EINVAL` from a kernel without CONFIG_CGROUP_BPF.
pub fn load_device_program(code: &[Instruction]) -> Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    // SAFETY: `attr` is laid out as bpf(2) wants it for this command, `code` has `insn_cnt`
    // instructions, and both live until return.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &raw mut attr) }?;
    // SAFETY: the kernel just returned this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a device program to a group's directory, beside those that are there: a device is
/// allowed if all of them allow it.
///
/// # Errors
/// `EPERM` when a group above does not let programs below it decide.
pub fn attach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = attach_attr(group, program, BPF_F_ALLOW_MULTI);
    // SAFETY: `attr` is laid out as bpf(2) wants it for this command and lives until return.
    unsafe { bpf(BPF_PROG_ATTACH, &raw mut attr) }.map(drop)
}

/// Takes a device program off a group's directory.
///
/// # Errors
/// `ENOENT` when it is not attached there.
pub fn detach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = attach_attr(group, program, 0);
    // SAFETY: `attr` is laid out as bpf(2) wants it for this command and lives until return.
    unsafe { bpf(BPF_PROG_DETACH, &raw mut attr) }.map(drop)
}

/// The device programs attached to this very group.
///
/// # Errors
/// The kernel's errno.
pub fn device_programs(group: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; PROGRAMS_MAX];
    let mut attr = QueryAttr {
        target_fd: group.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: PROGRAMS_MAX as u32,
        padding: 0,
    };
    // SAFETY: `attr` is laid out as bpf(2) wants it for this command, `ids` has room for
    // `prog_cnt` numbers, and both live until return.
    unsafe { bpf(BPF_PROG_QUERY, &raw mut attr) }?;
    let count = (attr.prog_cnt as usize).min(PROGRAMS_MAX);
    ids[..count].iter().map(|id| program_by_id(*id)).collect()
}

fn program_by_id(id: u32) -> Result<OwnedFd> {
    let mut attr = IdAttr { id, next_id: 0, open_flags: 0 };
    // SAFETY: `attr` is laid out as bpf(2) wants it for this command and lives until return.
    let fd = unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &raw mut attr) }?;
    // SAFETY: the kernel just returned this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn attach_attr(group: BorrowedFd<'_>, program: BorrowedFd<'_>, attach_flags: u32) -> AttachAttr {
    AttachAttr {
        target_fd: group.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags,
    }
}

/// `bpf(2)`.
///
/// # Safety
/// `attr` must be what the command wants, and all that it points to must live until return.
unsafe fn bpf<T>(command: libc::c_int, attr: *mut T) -> Result<libc::c_long> {
    // SAFETY: the caller promises that `attr`, of the given size, is what the command wants.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) })
}

/// Runs a program as the kernel would, for tests of the code that writes one.
#[cfg(test)]
pub(crate) fn run_device_program(code: &[Instruction], context: [u32; 3]) -> u64 {
    let mut registers = [0u64; 6];
    let mut at = 0;
    loop {
        let Instruction { code: op, registers: pair, offset, immediate } = code[at];
        let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
        let skip = usize::try_from(offset).expect("no backward jumps");
        let low = registers[to] as u32;
        at += 1;
        match op {
            LOAD_U32 => registers[to] = u64::from(context[skip / 4]),
            COPY => registers[to] = registers[from],
            SET => registers[to] = immediate as u64,
            AND => registers[to] &= immediate as u64,
            SHIFT_RIGHT => registers[to] >>= immediate,
            JUMP => at += skip,
            JUMP_UNLESS_EQUAL if low != immediate.cast_unsigned() => at += skip,
            JUMP_IF_ANY if low & immediate.cast_unsigned() != 0 => at += skip,
            JUMP_UNLESS_EQUAL | JUMP_IF_ANY => {}
            EXIT => return registers[0],
            other => panic!("instruction {other:#x} is not used"),
        }
    }
}
