//! v2's device control: an eBPF program on the group's directory (`BPF_PROG_TYPE_CGROUP_DEVICE`,
//! Linux 4.15), which the kernel asks at each open and mknod of a device.
//!
//! The program keeps the operations that are still undecided and goes through the rules from the
//! last to the first: a matching "deny" of an undecided operation refuses, a matching "allow"
//! takes its operations out, and when none is left the answer is yes. What no rule decides is
//! refused. So `allow r` and `allow w` together allow `rw`, as on v1.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::decide::{Access, DeviceKind, DeviceRule};
use super::dir::Dir;
use super::error::Error;
use crate::sys::bpf::{self, Instruction as I, Register as R};

/// `BPF_DEVCG_DEV_*` and `BPF_DEVCG_ACC_*` of linux/bpf.h.
const DEVICE_BLOCK: i32 = 1;
const DEVICE_CHAR: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;

/// Replaces the group's device programs by one that decides by `rules`. The new one is in force
/// before an old one goes.
pub(super) fn attach(dir: &Dir, rules: &[DeviceRule]) -> Result<(), Error> {
    let fail = |step| move |errno: Errno| Error::io(step, dir.path(), errno);
    let program = program(rules);
    let program = bpf::load_device_program(&program)
        .map_err(fail("load a device program (needs CAP_BPF and CONFIG_CGROUP_BPF) for"))?;
    let old = bpf::device_programs(dir.as_fd()).map_err(fail("list the device programs of"))?;
    bpf::attach_device_program(dir.as_fd(), program.as_fd())
        .map_err(fail("attach the device program to"))?;
    for program in old {
        bpf::detach_device_program(dir.as_fd(), program.as_fd())
            .map_err(fail("detach the old device program from"))?;
    }
    Ok(())
}

/// The program for some rules: pure.
fn program(rules: &[DeviceRule]) -> Vec<I> {
    // struct bpf_cgroup_dev_ctx { u32 access_type, major, minor }, access in the upper half
    let mut code = vec![
        I::load_u32(R::R2, R::R1, 0),
        I::copy(R::R3, R::R2),
        I::and(R::R2, 0xffff),
        I::shift_right(R::R3, 16),
        I::load_u32(R::R4, R::R1, 4),
        I::load_u32(R::R5, R::R1, 8),
    ];
    for rule in rules.iter().rev() {
        push_rule(&mut code, rule);
        if rule.matches_everything() {
            break;
        }
    }
    code.extend([I::set(R::R0, 0), I::exit()]);
    code
}

fn push_rule(code: &mut Vec<I>, rule: &DeviceRule) {
    let mut conditions = Vec::with_capacity(3);
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Block => conditions.push((R::R2, DEVICE_BLOCK)),
        DeviceKind::Char => conditions.push((R::R2, DEVICE_CHAR)),
    }
    conditions.extend(rule.major.map(|major| (R::R4, major.cast_signed())));
    conditions.extend(rule.minor.map(|minor| (R::R5, minor.cast_signed())));
    let access = access_bits(rule.access);
    let verdict = if rule.allow {
        vec![I::and(R::R3, !access), I::jump_unless_zero(R::R3, 2), I::set(R::R0, 1), I::exit()]
    } else {
        vec![I::jump_if_any(R::R3, access, 1), I::jump(2), I::set(R::R0, 0), I::exit()]
    };
    let count = conditions.len();
    for (n, (register, value)) in conditions.into_iter().enumerate() {
        let to_next_rule = count - n - 1 + verdict.len();
        code.push(I::jump_unless_equal(register, value, to_next_rule));
    }
    code.extend(verdict);
}

fn access_bits(access: Access) -> i32 {
    let bit = |on, bit| if on { bit } else { 0 };
    bit(access.mknod, ACCESS_MKNOD)
        | bit(access.read, ACCESS_READ)
        | bit(access.write, ACCESS_WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::decide::{RULES_MAX, default_rules};
    use crate::sys::bpf::run_device_program;

    const NULL: (i32, u32, u32) = (DEVICE_CHAR, 1, 3);
    const DISK: (i32, u32, u32) = (DEVICE_BLOCK, 8, 0);
    const FUSE: (i32, u32, u32) = (DEVICE_CHAR, 10, 229);

    fn rule(allow: bool, text: &str) -> DeviceRule {
        let (kind, rest) = text.split_at(1);
        let mut words = rest.split_whitespace();
        let (major, minor) = words.next().unwrap().split_once(':').unwrap();
        let letters = words.next().unwrap();
        DeviceRule {
            allow,
            kind: match kind {
                "a" => DeviceKind::All,
                "b" => DeviceKind::Block,
                _ => DeviceKind::Char,
            },
            major: major.parse().ok(),
            minor: minor.parse().ok(),
            access: Access {
                read: letters.contains('r'),
                write: letters.contains('w'),
                mknod: letters.contains('m'),
            },
        }
    }

    #[track_caller]
    fn check(rules: &[DeviceRule], device: (i32, u32, u32), access: i32, allowed: bool) {
        let (kind, major, minor) = device;
        let context = [u32::try_from(access << 16 | kind).unwrap(), major, minor];
        let verdict = run_device_program(&program(rules), context);
        assert_eq!(verdict, u64::from(allowed), "{device:?} access {access}");
    }

    #[test]
    fn without_rules_nothing_is_allowed() {
        check(&[], NULL, ACCESS_READ, false);
    }

    #[test]
    fn the_defaults_allow_null_and_making_nodes_only() {
        let rules = default_rules();
        check(&rules, NULL, ACCESS_READ | ACCESS_WRITE, true);
        check(&rules, DISK, ACCESS_READ, false);
        check(&rules, DISK, ACCESS_MKNOD, true);
        check(&rules, DISK, ACCESS_MKNOD | ACCESS_READ, false);
        check(&rules, (DEVICE_CHAR, 136, 77), ACCESS_READ | ACCESS_WRITE, true);
    }

    #[test]
    fn the_last_matching_rule_decides() {
        let rules = [rule(true, "a*:* rwm"), rule(false, "b8:* w"), rule(true, "b8:1 w")];
        check(&rules, FUSE, ACCESS_WRITE, true);
        check(&rules, DISK, ACCESS_READ, true);
        check(&rules, DISK, ACCESS_READ | ACCESS_WRITE, false);
        check(&rules, (DEVICE_BLOCK, 8, 1), ACCESS_READ | ACCESS_WRITE, true);
        check(&rules, (DEVICE_CHAR, 8, 0), ACCESS_WRITE, true);
    }

    #[test]
    fn operations_allowed_one_by_one_are_allowed_together() {
        let rules = [rule(true, "c10:229 r"), rule(true, "c10:229 w")];
        check(&rules, FUSE, ACCESS_READ | ACCESS_WRITE, true);
        check(&rules, FUSE, ACCESS_READ | ACCESS_MKNOD, false);
    }

    #[test]
    fn rules_before_one_for_everything_do_not_matter() {
        let rules = [rule(true, "c10:229 rwm"), rule(false, "a*:* rwm")];
        check(&rules, FUSE, ACCESS_READ, false);
        assert_eq!(program(&rules), program(&rules[1..]));
    }

    #[test]
    fn the_longest_program_fits() {
        let longest = rule(true, "c4294967295:4294967295 rwm");
        assert!(program(&[longest; RULES_MAX]).len() <= 4096);
    }
}
