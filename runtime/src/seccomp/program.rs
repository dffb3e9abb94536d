//! Classic BPF for a profile: a decision tree over ranges of system call numbers.
//!
//! Jumps go forward only, and a conditional one reaches 255 instructions; a program is put together
//! from its end, and a longer way gets an unconditional jump or a return of its own.

use std::collections::BTreeMap;

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

/// How far a conditional jump reaches.
const REACH: usize = 255;
/// What may come between a jump's target and the jump after it was found near enough: the other
/// target of the same jump.
const SLACK: usize = 1;

/// The whole program: by architecture, then by number, then by arguments.
pub(super) fn assemble(profile: &Profile) -> Vec<Instruction> {
    let mut code = Backwards::default();
    let mut otherwise = To::Answer(KILL_PROCESS);
    if profile.abis.contains(&Abi::X86) {
        let x86 = code.numbers(&ranges(profile, true));
        // The hot way is that of x86_64, so this one's comparison comes after it.
        let x86_64 = code.numbers(&ranges(profile, false));
        otherwise = code.branch(IF_EQUAL, AUDIT_ARCH_I386, x86, otherwise);
        code.branch(IF_EQUAL, AUDIT_ARCH_X86_64, x86_64, otherwise);
    } else {
        let x86_64 = code.numbers(&ranges(profile, false));
        code.branch(IF_EQUAL, AUDIT_ARCH_X86_64, x86_64, otherwise);
    }
    code.plain(LOAD, ARCHITECTURE);
    code.instructions.reverse();
    code.instructions
}

/// Where a jump leads.
#[derive(Clone, Copy, Debug)]
enum To {
    /// An instruction, by its place from the end.
    Place(usize),
    /// Any return of this answer.
    Answer(Answer),
}

/// A program from its last instruction to its first: jumps go forward only, so what they lead to
/// is there before they are, and a return is made once for all that can reach it. What the kernel
/// does for a filter at each start (check, translate, try each number) grows with its length.
#[derive(Debug, Default)]
struct Backwards {
    instructions: Vec<Instruction>,
    /// The newest return of each answer.
    returns: BTreeMap<Answer, usize>,
}

impl Backwards {
    /// Puts an instruction before all others.
    fn push(&mut self, instruction: Instruction) -> To {
        self.instructions.push(instruction);
        To::Place(self.instructions.len() - 1)
    }

    /// One that runs on into what was put last.
    fn plain(&mut self, code: u16, operand: u32) -> To {
        self.push(Instruction { code, jump_true: 0, jump_false: 0, operand })
    }

    /// How many instructions the next one has to skip to get there.
    fn distance(&self, place: usize) -> usize {
        self.instructions.len() - place - 1
    }

    /// A place that the next conditional jump can reach, also if another is settled before it.
    fn settle(&mut self, to: To) -> usize {
        let known = match to {
            To::Place(place) => Some(place),
            To::Answer(answer) => self.returns.get(&answer).copied(),
        };
        if let Some(place) = known.filter(|place| self.distance(*place) + SLACK <= REACH) {
            return place;
        }
        let place = self.instructions.len();
        match to {
            // A program that the kernel takes is shorter than 4096; a longer one is refused.
            To::Place(far) => {
                self.plain(JUMP, u32::try_from(self.distance(far)).unwrap_or(u32::MAX));
            }
            To::Answer(answer) => {
                self.plain(RETURN, answer);
                self.returns.insert(answer, place);
            }
        }
        place
    }

    fn branch(&mut self, code: u16, operand: u32, when_true: To, when_false: To) -> To {
        let (when_true, when_false) = (self.settle(when_true), self.settle(when_false));
        let jump = |place| u8::try_from(self.distance(place)).expect("settled within reach");
        let (jump_true, jump_false) = (jump(when_true), jump(when_false));
        self.push(Instruction { code, jump_true, jump_false, operand })
    }

    /// Loads the number and looks for it in the ranges.
    fn numbers(&mut self, ranges: &[Range]) -> To {
        let tree = self.tree(ranges);
        let place = self.settle(tree);
        if self.distance(place) != 0 {
            self.plain(JUMP, u32::try_from(self.distance(place)).unwrap_or(u32::MAX));
        }
        self.plain(LOAD, NUMBER)
    }

    fn tree(&mut self, ranges: &[Range]) -> To {
        if let [(_, verdict)] = ranges {
            return self.leaf(verdict);
        }
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let bound = high[0].0;
        let high = self.tree(high);
        let low = self.tree(low);
        self.branch(IF_GREATER_OR_EQUAL, bound, high, low)
    }

    fn leaf(&mut self, verdict: &Verdict) -> To {
        match verdict {
            Verdict::Plain(answer) => To::Answer(*answer),
            Verdict::Checked { alternatives, otherwise } => {
                let mut next = To::Answer(*otherwise);
                let mut left = alternatives.as_slice();
                while let Some((last, before)) = left.split_last() {
                    let values = values_of_one_argument(left);
                    (next, left) = if values.len() > 1 {
                        (self.one_of(&values, next), &left[..left.len() - values.len()])
                    } else {
                        (self.alternative(&last.0, last.1, next), before)
                    };
                }
                next
            }
        }
    }

    /// The answer if all conditions hold, else on to the next alternative.
    fn alternative(&mut self, conditions: &[Condition], answer: Answer, next: To) -> To {
        let mut holds = To::Answer(answer);
        for condition in conditions.iter().rev() {
            for piece in self::condition(condition).into_iter().rev() {
                // What was put last, where a piece leads there.
                let last = To::Place(self.instructions.len().saturating_sub(1));
                let to = |way| match way {
                    Way::Next => last,
                    Way::Holds => holds,
                    Way::Fails => next,
                };
                match piece.code {
                    LOAD | AND => self.plain(piece.code, piece.operand),
                    code => {
                        let (yes, no) = (to(piece.when_true), to(piece.when_false));
                        self.branch(code, piece.operand, yes, no)
                    }
                };
            }
            // A condition begins with a load.
            holds = To::Place(self.instructions.len() - 1);
        }
        holds
    }

    /// Values of one argument that have the upper half in common: that is looked at once.
    fn one_of(&mut self, values: &[(usize, u64, Answer)], next: To) -> To {
        let (index, first, _) = values[0];
        let mut test = next;
        for (_, value, answer) in values.iter().rev() {
            test = self.branch(IF_EQUAL, lower(*value), To::Answer(*answer), test);
        }
        let low = self.plain(LOAD, argument(index));
        self.branch(IF_EQUAL, upper(first), low, next);
        self.plain(LOAD, argument(index) + 4)
    }
}

/// The longest row of alternatives at the end that compare the same argument with a value of the
/// same upper half: argument, value and answer.
fn values_of_one_argument(alternatives: &[(Vec<Condition>, Answer)]) -> Vec<(usize, u64, Answer)> {
    let value = |(conditions, answer): &(Vec<Condition>, Answer)| match conditions.as_slice() {
        [Condition { index, test: Test::Equal(value) }] => Some((*index, *value, *answer)),
        _ => None,
    };
    let mut values: Vec<(usize, u64, Answer)> = Vec::new();
    for alternative in alternatives.iter().rev().map_while(value) {
        let is_alike = |last: &(usize, u64, Answer)| {
            (last.0, upper(last.1)) == (alternative.0, upper(alternative.1))
        };
        if !values.last().is_none_or(is_alike) {
            break;
        }
        values.push(alternative);
    }
    values.reverse();
    values
}

/// Where a comparison leads inside a condition.
#[derive(Clone, Copy)]
enum Way {
    Next,
    Holds,
    Fails,
}

/// An instruction of a condition.
struct Piece {
    code: u16,
    operand: u32,
    when_true: Way,
    when_false: Way,
}

/// Arguments have 64 bits, and BPF's accumulator has 32: the upper half first.
fn condition(condition: &Condition) -> Vec<Piece> {
    let offset = argument(condition.index);
    use Way::{Fails, Holds, Next};
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

fn piece(code: u16, operand: u32, when_true: Way, when_false: Way) -> Piece {
    Piece { code, operand, when_true, when_false }
}

/// The offset of an argument's lower half.
fn argument(index: usize) -> u32 {
    ARGUMENTS + 8 * u32::try_from(index).expect("validated to be 0 to 5")
}

fn upper(value: u64) -> u32 {
    (value >> 32) as u32
}

fn lower(value: u64) -> u32 {
    value as u32
}
