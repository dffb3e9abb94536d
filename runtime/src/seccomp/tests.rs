//! Compiled filters against a plain reading of their profiles, by an interpreter of the few
//! instructions that are used.

use oci_spec::runtime::LinuxSeccomp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::profile::{Abi, Condition, KILL_PROCESS, Profile, Test};
use super::program::{
    AND, ARCHITECTURE, AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, IF_EQUAL, IF_GREATER,
    IF_GREATER_OR_EQUAL, JUMP, LOAD, NUMBER, RETURN,
};
use super::table::{Table, X32_BIT};
use super::{Filter, Instruction, compile};

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;

#[derive(Clone, Copy, Debug)]
struct Call {
    architecture: u32,
    number: u32,
    arguments: [u64; 6],
}

fn run(program: &[Instruction], call: Call) -> u32 {
    let load = |offset: u32| match offset {
        NUMBER => call.number,
        ARCHITECTURE => call.architecture,
        offset => {
            let argument = call.arguments[(offset as usize - 16) / 8];
            if offset % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
        }
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, jump_true, jump_false, operand } = program[at];
        at += 1;
        let holds = match code {
            LOAD => {
                accumulator = load(operand);
                continue;
            }
            AND => {
                accumulator &= operand;
                continue;
            }
            JUMP => {
                at += operand as usize;
                continue;
            }
            RETURN => return operand,
            IF_EQUAL => accumulator == operand,
            IF_GREATER => accumulator > operand,
            IF_GREATER_OR_EQUAL => accumulator >= operand,
            other => panic!("instruction {other:#x} is not used"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}

/// A profile with its names looked up once: for each ABI, rule and numbers.
struct Reading {
    profile: Profile,
    names: [Vec<Named>; 3],
}

struct Named {
    rule: usize,
    number: Option<u32>,
    /// Number and first argument of the old way to it.
    old_way: Option<(u32, u64)>,
}

impl Reading {
    fn of(profile: &Value) -> Reading {
        let profile = Profile::validate(&oci(profile)).unwrap();
        let names = [Abi::X86_64, Abi::X32, Abi::X86].map(|abi| {
            let table = Table::of(abi);
            let rules = profile.rules.iter().enumerate();
            let names = rules.flat_map(|(n, rule)| rule.names.iter().map(move |name| (n, name)));
            let named = |(rule, name): (usize, &String)| {
                let is_plain = profile.rules[rule].alternatives.is_empty();
                let old_way = table.multiplexed(name).filter(|_| is_plain);
                Named {
                    rule,
                    number: table.number(name),
                    old_way: old_way.map(|way| (way.number, way.first_argument)),
                }
            };
            names.map(named).collect()
        });
        Reading { profile, names }
    }

    /// From top to bottom: rules with conditions first, then those without.
    fn answer(&self, call: Call) -> u32 {
        let Reading { profile, names } = self;
        let abi = match (call.architecture, call.number & X32_BIT != 0) {
            (AUDIT_ARCH_X86_64, false) => Abi::X86_64,
            (AUDIT_ARCH_X86_64, true) => Abi::X32,
            (AUDIT_ARCH_I386, _) => Abi::X86,
            _ => return KILL_PROCESS,
        };
        if !profile.abis.contains(&abi) {
            return KILL_PROCESS;
        }
        let names = &names[abi as usize];
        for Named { rule, number, old_way } in names {
            let rule = &profile.rules[*rule];
            let is_it = *number == Some(call.number);
            let holds_all = |all: &Vec<Condition>| all.iter().all(|c| holds(c, call));
            let is_old_way = *old_way == Some((call.number, call.arguments[0]));
            if is_old_way || (is_it && rule.alternatives.iter().any(holds_all)) {
                return rule.answer;
            }
        }
        for Named { rule, number, .. } in names {
            let rule = &profile.rules[*rule];
            let is_it = *number == Some(call.number) && rule.alternatives.is_empty();
            if is_it && rule.answer != profile.default {
                return rule.answer;
            }
        }
        let numbers = names.iter().flat_map(|n| n.number.into_iter().chain(n.old_way.map(|w| w.0)));
        let is_known = numbers.max().is_some_and(|last| call.number <= last);
        if is_known { profile.default } else { profile.newer }
    }
}

fn holds(condition: &Condition, call: Call) -> bool {
    let argument = call.arguments[condition.index];
    match condition.test {
        Test::Equal(value) => argument == value,
        Test::NotEqual(value) => argument != value,
        Test::Less(value) => argument < value,
        Test::LessOrEqual(value) => argument <= value,
        Test::Greater(value) => argument > value,
        Test::GreaterOrEqual(value) => argument >= value,
        Test::Masked { mask, value } => argument & mask == value,
    }
}

fn oci(profile: &Value) -> LinuxSeccomp {
    serde_json::from_value(profile.clone()).unwrap()
}

fn compiled(profile: &Value) -> Filter {
    compile(&oci(profile)).unwrap()
}

#[track_caller]
fn check(filter: &Filter, name: &str, arguments: [u64; 6], answer: u32) {
    let number = Table::of(Abi::X86_64).number(name).unwrap();
    let call = Call { architecture: AUDIT_ARCH_X86_64, number, arguments };
    assert_eq!(run(&filter.program, call), answer, "{name} {arguments:?}");
}

#[test]
fn bits_of_a_value_outside_of_its_mask_say_nothing() {
    let profile = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{
        "names": ["personality"], "action": "SCMP_ACT_ALLOW",
        "args": [{ "index": 0, "value": 0xf0_0000_00f0_u64, "valueTwo": 0xffff_ffff_ffff_ff2f_u64,
            "op": "SCMP_CMP_MASKED_EQ" }] }] });
    let Filter { program, .. } = compile(&oci(&profile)).unwrap();
    let number = Table::of(Abi::X86_64).number("personality").unwrap();
    for (argument, answer) in [(0xf0_0000_0020, ALLOW), (0xf0_0000_0123, ALLOW), (0x20, ERRNO | 1)]
    {
        let arguments = [argument, 0, 0, 0, 0, 0];
        let call = Call { architecture: AUDIT_ARCH_X86_64, number, arguments };
        assert_eq!(run(&program, call), answer, "{argument:#x}");
    }
}

#[test]
fn listed_calls_get_their_answer_and_others_the_default() {
    let filter = compiled(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read", "write", "nosuch"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30},
        {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}));
    check(&filter, "read", [0; 6], ALLOW);
    check(&filter, "mkdir", [0; 6], ERRNO | 30);
    check(&filter, "reboot", [0; 6], KILL_PROCESS);
    check(&filter, "chmod", [0; 6], ERRNO | 1);
    // beyond the last one named, so a caller may fall back
    check(&filter, "openat2", [0; 6], ERRNO | 38);
    assert_eq!(filter.flags, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW);
}

#[test]
fn a_default_errno_that_was_chosen_is_kept_for_new_calls() {
    let filter = compiled(&json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}));
    check(&filter, "openat2", [0; 6], ERRNO | 1);
}

#[test]
fn arguments_are_compared_in_all_their_bits() {
    let big = 0x1_0000_0002u64;
    for (op, holds, fails) in [
        ("SCMP_CMP_EQ", vec![big], vec![2, big + 1, 0x1_0000_0000]),
        ("SCMP_CMP_NE", vec![2, 0, big + 1], vec![big]),
        ("SCMP_CMP_LT", vec![0, 3, big - 1], vec![big, big + 1, u64::MAX]),
        ("SCMP_CMP_LE", vec![0, 3, big], vec![big + 1, u64::MAX]),
        ("SCMP_CMP_GT", vec![big + 1, u64::MAX], vec![0, 3, big]),
        ("SCMP_CMP_GE", vec![big, u64::MAX], vec![0, 3, big - 1]),
    ] {
        let filter = compiled(&json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
            {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 5, "value": big, "op": op}]}]}));
        let answer = |value| [0, 0, 0, 0, 0, value];
        holds.into_iter().for_each(|value| check(&filter, "ioctl", answer(value), ALLOW));
        fails.into_iter().for_each(|value| check(&filter, "ioctl", answer(value), KILL_PROCESS));
    }
    let filter = compiled(&json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 0x7e02_0000u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}]}));
    check(&filter, "clone", [0x11; 6], ALLOW);
    check(&filter, "clone", [0x1000_0011; 6], KILL_PROCESS);
}

#[test]
fn two_conditions_on_one_argument_are_alternatives_and_on_two_are_both() {
    let rule = |args: Value| {
        compiled(&json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": args}]}))
    };
    let equal = |index, value| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let either = rule(json!([equal(0, 1), equal(0, 8)]));
    check(&either, "personality", [8, 0, 0, 0, 0, 0], ALLOW);
    check(&either, "personality", [9, 0, 0, 0, 0, 0], KILL_PROCESS);
    let both = rule(json!([equal(0, 1), equal(1, 8)]));
    check(&both, "personality", [1, 8, 0, 0, 0, 0], ALLOW);
    check(&both, "personality", [1, 9, 0, 0, 0, 0], KILL_PROCESS);
}

#[test]
fn an_abi_that_is_not_listed_is_killed() {
    let profile = |architectures: Value| {
        compiled(&json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures,
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]}))
    };
    let native = profile(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]));
    let all = profile(json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"]));
    let answer = |filter: &Filter, architecture, number, first| {
        let arguments = [first, 0, 0, 0, 0, 0];
        run(&filter.program, Call { architecture, number, arguments })
    };
    // mkdir is 39 on x86, and 83 with a bit on x32
    for (architecture, number) in [(AUDIT_ARCH_I386, 39), (AUDIT_ARCH_X86_64, X32_BIT | 83)] {
        assert_eq!(answer(&native, architecture, number, 0), KILL_PROCESS);
        assert_eq!(answer(&all, architecture, number, 0), ERRNO | 1);
    }
    assert_eq!(answer(&all, 0xc000_00b7, 0, 0), KILL_PROCESS);
    // socket by its own number, and as the first of socketcall
    assert_eq!(answer(&all, AUDIT_ARCH_I386, 359, 0), ERRNO | 5);
    assert_eq!(answer(&all, AUDIT_ARCH_I386, 102, 1), ERRNO | 5);
    assert_eq!(answer(&all, AUDIT_ARCH_I386, 102, 2), ALLOW);
    // x32 has an ioctl of its own
    assert_eq!(Table::of(Abi::X32).number("ioctl"), Some(X32_BIT | 514));
}

#[test]
fn mistakes_are_named_all_at_once() {
    let errors = compile(&oci(&json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000,
        "syscalls": [
            {"names": [], "action": "SCMP_ACT_ALLOW", "errnoRet": 1},
            {"names": ["read"], "action": "SCMP_ACT_NOTIFY",
             "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]})));
    let text: Vec<String> = errors
        .unwrap_err()
        .into_iter()
        .map(|(property, why)| format!("{property} {why}"))
        .collect();
    assert_eq!(text.len(), 5, "{text:#?}");
}

#[test]
fn a_distributions_profile_compiles_small_and_means_what_it_says() {
    let path = "/usr/share/containers/seccomp.json";
    let Ok(text) = std::fs::read(path) else {
        eprintln!(
            "SKIPPED a_distributions_profile_compiles_small_and_means_what_it_says: needs {path}"
        );
        return;
    };
    let mut profile: Value = serde_json::from_slice(&text).unwrap();
    profile["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    let filter = compiled(&profile);
    assert!(filter.program.len() < 400, "{} instructions", filter.program.len());
    let reading = Reading::of(&profile);
    for base in [0, X32_BIT] {
        for number in base..base + 1024 {
            for architecture in [AUDIT_ARCH_X86_64, AUDIT_ARCH_I386] {
                for first in [0, 1, 2, 16, 0x2008, 0x7e02_0000, u64::MAX] {
                    let call = Call { architecture, number, arguments: [first, 9, 9, 0, 0, 0] };
                    let expected = reading.answer(call);
                    assert_eq!(run(&filter.program, call), expected, "{call:x?}");
                }
            }
        }
    }
}

#[test]
fn answers_beyond_a_jumps_reach_are_given_too() {
    let names = ["read", "write", "open", "close", "stat", "fstat", "lstat", "poll", "lseek"];
    let rule = |n: usize, name: &str, value: u64| {
        json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": n,
            "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"},
                {"index": 1, "value": value, "op": "SCMP_CMP_GT"}]})
    };
    let rules: Vec<Value> =
        (0..40).flat_map(|value| names.map(|name| rule(value as usize + 2, name, value))).collect();
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules,
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]});
    let filter = compiled(&profile);
    assert!(filter.program.len() > 3 * 255, "{} instructions", filter.program.len());
    let reading = Reading::of(&profile);
    for number in 0..512 {
        for (architecture, bit) in
            [(AUDIT_ARCH_X86_64, 0), (AUDIT_ARCH_X86_64, X32_BIT), (AUDIT_ARCH_I386, 0)]
        {
            for first in [0, 17, 39, 40] {
                let arguments = [first, 20, 0, 0, 0, 0];
                let call = Call { architecture, number: number | bit, arguments };
                assert_eq!(run(&filter.program, call), reading.answer(call), "{call:x?}");
            }
        }
    }
}

fn any_profile() -> impl Strategy<Value = Value> {
    let names =
        ["read", "write", "socket", "ioctl", "clone", "semop", "openat2", "nosuch", "mkdir"];
    let action = prop::sample::select(vec![
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_LOG",
        "SCMP_ACT_TRACE",
    ]);
    let operator = prop::sample::select(super::OPERATORS.to_vec());
    let value =
        prop::sample::select(vec![0u64, 1, 2, 5, u64::from(u32::MAX), 1 << 32, (1 << 32) + 1]);
    let argument = (0usize..3, value.clone(), value, operator)
        .prop_map(|(index, a, b, op)| json!({"index": index, "value": a, "valueTwo": b, "op": op}));
    let rule = (
        prop::sample::subsequence(names.to_vec(), 1..4),
        action.clone(),
        prop::collection::vec(argument, 0..4),
    )
        .prop_map(|(names, action, args)| json!({"names": names, "action": action, "args": args}));
    (action, prop::collection::vec(rule, 0..12)).prop_map(|(default, rules)| {
        json!({"defaultAction": default, "syscalls": rules,
            "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]})
    })
}

proptest! {
    #[test]
    fn a_compiled_filter_answers_as_the_profile_reads(
        profile in any_profile(),
        number in prop::sample::select(vec![0u32, 1, 16, 54, 56, 64, 83, 102, 117, 437, 999]),
        bit in prop::sample::select(vec![0, X32_BIT]),
        architecture in prop::sample::select(vec![AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, 7]),
        arguments in prop::array::uniform6(
            prop::sample::select(vec![0u64, 1, 2, 5, 1 << 32, (1 << 32) + 1, u64::MAX])),
    ) {
        let filter = compiled(&profile);
        let reading = Reading::of(&profile);
        let call = Call { architecture, number: number | bit, arguments };
        prop_assert_eq!(run(&filter.program, call), reading.answer(call));
    }
}
