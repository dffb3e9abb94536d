//! Classic BPF for a profile: a decision tree over ranges of system call numbers.
//!
//! Jumps go forward only, and a conditional one reaches 255 instructions; a tree is put together
//! from its leaves, and a longer way gets an unconditional jump.

use super::profile::{Abi, Answer, Condition, KILL_PROCESS, Profile, Test};
use super::verdict::{Range, Verdict, ranges};

/// One instruction, as `struct sock_filter` lays it out (linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if the comparison holds.
    pub jump_true: u8,
    /// How many instructions to skip if not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

/// BPF_LD | BPF_W | BPF_ABS
pub(super) const LOAD: u16 = 0x20;
/// BPF_ALU | BPF_AND | BPF_K
pub(super) const AND: u16 = 0x54;
/// BPF_JMP | BPF_JA
pub(super) const JUMP: u16 = 0x05;
/// BPF_JMP | BPF_JEQ | BPF_K
pub(super) const IF_EQUAL: u16 = 0x15;
/// BPF_JMP | BPF_JGT | BPF_K
pub(super) const IF_GREATER: u16 = 0x25;
/// BPF_JMP | BPF_JGE | BPF_K
pub(super) const IF_GREATER_OR_EQUAL: u16 = 0x35;
/// BPF_RET | BPF_K
pub(super) const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// linux/audit.h
pub(super) const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
pub(super) const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// The whole program: by architecture, then by number, then by arguments.
pub(super) fn assemble(profile: &Profile) -> Vec<Instruction> {
    let mut code = vec![plain(LOAD, ARCHITECTURE)];
    let mut architecture = |number: u32, is_x86: bool| {
        let mut tree = vec![plain(LOAD, NUMBER)];
        tree.extend(subtree(&ranges(profile, is_x86)));
        code.push(Instruction { code: IF_EQUAL, jump_true: 1, jump_false: 0, operand: number });
        code.push(plain(JUMP, distance(tree.len())));
        code.extend(tree);
    };
    architecture(AUDIT_ARCH_X86_64, false);
    if profile.abis.contains(&Abi::X86) {
        architecture(AUDIT_ARCH_I386, true);
    }
    code.push(plain(RETURN, KILL_PROCESS));
    code
}

fn subtree(ranges: &[Range]) -> Vec<Instruction> {
    if let [(_, verdict)] = ranges {
        return leaf(verdict);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (low, bound, high) = (subtree(low), high[0].0, subtree(high));
    let compare = |jump_true, jump_false| Instruction {
        code: IF_GREATER_OR_EQUAL,
        jump_true,
        jump_false,
        operand: bound,
    };
    let mut code = Vec::with_capacity(low.len() + high.len() + 2);
    match u8::try_from(low.len()) {
        Ok(distance) => code.push(compare(distance, 0)),
        Err(_) => code.extend([compare(0, 1), plain(JUMP, distance(low.len()))]),
    }
    code.extend(low);
    code.extend(high);
    code
}

fn leaf(verdict: &Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Plain(answer) => vec![plain(RETURN, *answer)],
        Verdict::Checked { alternatives, otherwise } => {
            let mut code = Vec::new();
            for (conditions, answer) in alternatives {
                code.extend(alternative(conditions, *answer));
            }
            code.push(plain(RETURN, *otherwise));
            code
        }
    }
}

/// Returns the answer if all conditions hold, else runs on behind its end.
fn alternative(conditions: &[Condition], answer: Answer) -> Vec<Instruction> {
    let pieces: Vec<Vec<Piece>> = conditions.iter().map(condition).collect();
    let mut left: usize = pieces.iter().map(Vec::len).sum();
    let mut code = Vec::with_capacity(left + 1);
    for pieces in pieces {
        let count = pieces.len();
        for (n, piece) in pieces.into_iter().enumerate() {
            left -= 1;
            // Up to the next condition; and past all of them and the return.
            let (holds, fails) = (count - n - 1, left + 1);
            code.push(piece.resolve(holds, fails));
        }
    }
    code.push(plain(RETURN, answer));
    code
}

/// Where a comparison leads inside a condition.
#[derive(Clone, Copy)]
enum To {
    Next,
    Holds,
    Fails,
}

/// An instruction whose jumps are not yet counted.
struct Piece {
    code: u16,
    operand: u32,
    when_true: To,
    when_false: To,
}

impl Piece {
    fn resolve(self, holds: usize, fails: usize) -> Instruction {
        let count = |to| match to {
            To::Next => 0,
            To::Holds => holds,
            To::Fails => fails,
        };
        // Six conditions of six instructions at most.
        let jump = |to| u8::try_from(count(to)).expect("conditions are shorter than 255");
        let (jump_true, jump_false) = (jump(self.when_true), jump(self.when_false));
        Instruction { code: self.code, jump_true, jump_false, operand: self.operand }
    }
}

/// Arguments have 64 bits, and BPF's accumulator has 32: the upper half first.
fn condition(condition: &Condition) -> Vec<Piece> {
    let offset = ARGUMENTS + 8 * u32::try_from(condition.index).expect("validated to be 0 to 5");
    use To::{Fails, Holds, Next};
    let load = |offset| piece(LOAD, offset, Next, Next);
    let (low, high) = (load(offset), load(offset + 4));
    let mask = |half| piece(AND, half, Next, Next);
    let equal = |half, yes, no| piece(IF_EQUAL, half, yes, no);
    let greater = |half, yes, no| piece(IF_GREATER, half, yes, no);
    let least = |half, yes, no| piece(IF_GREATER_OR_EQUAL, half, yes, no);
    match condition.test {
        Test::Equal(v) => {
            vec![high, equal(upper(v), Next, Fails), low, equal(lower(v), Holds, Fails)]
        }
        Test::NotEqual(v) => {
            vec![high, equal(upper(v), Next, Holds), low, equal(lower(v), Fails, Holds)]
        }
        Test::Masked { mask: m, value: v } => vec![
            high,
            mask(upper(m)),
            equal(upper(v), Next, Fails),
            low,
            mask(lower(m)),
            equal(lower(v), Holds, Fails),
        ],
        Test::Greater(v) => vec![
            high,
            greater(upper(v), Holds, Next),
            equal(upper(v), Next, Fails),
            low,
            greater(lower(v), Holds, Fails),
        ],
        Test::GreaterOrEqual(v) => vec![
            high,
            greater(upper(v), Holds, Next),
            equal(upper(v), Next, Fails),
            low,
            least(lower(v), Holds, Fails),
        ],
        Test::Less(v) => vec![
            high,
            greater(upper(v), Fails, Next),
            equal(upper(v), Next, Holds),
            low,
            least(lower(v), Fails, Holds),
        ],
        Test::LessOrEqual(v) => vec![
            high,
            greater(upper(v), Fails, Next),
            equal(upper(v), Next, Holds),
            low,
            greater(lower(v), Fails, Holds),
        ],
    }
}

fn piece(code: u16, operand: u32, when_true: To, when_false: To) -> Piece {
    Piece { code, operand, when_true, when_false }
}

fn plain(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

/// The tree of any profile that the kernel takes is shorter than 4096; one that is longer is
/// refused as a whole, so the value does not matter there.
fn distance(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn upper(value: u64) -> u32 {
    (value >> 32) as u32
}

fn lower(value: u64) -> u32 {
    value as u32
}
