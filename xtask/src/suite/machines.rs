//! The suites that run again in a virtual machine: on unified cgroups, and with systemd.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::Extent;
use super::count::Count;
use crate::{sh, vm};

/// What runs in a machine.
enum Work {
    /// The conformance suite, with more arguments.
    Conformance(&'static [&'static str]),
    /// The suite of container engines.
    Engines,
    /// The names of cargo's test targets.
    Tests(&'static [&'static str]),
}

/// One machine, and what runs in it.
pub(super) struct Machine {
    pub(super) name: &'static str,
    work: Work,
    init: vm::Init,
    cgroups: vm::Cgroups,
    /// Which of the tests.
    tests: &'static [&'static str],
    /// How long one test program may take.
    limit: Duration,
    /// Whether only `--full` runs them.
    pub(super) extent: Extent,
}

/// The runtime's own tests of the kernel differ on version 2 and with systemd. Those of `e2e` are
/// about cgroups and processes, and so differ too; all of them would take too long under emulation.
/// An emulated machine on a busy host stands still for seconds: tests give its nodes a long lease.
pub(super) const MACHINES: &[Machine] = &[
    Machine {
        name: "conformance on cgroup v2",
        work: Work::Conformance(&[]),
        init: vm::Init::Script,
        cgroups: vm::Cgroups::Unified,
        tests: &[],
        limit: PROGRAM_TIME_MAX,
        extent: Extent::Usual,
    },
    Machine {
        name: "runtime on cgroup v2",
        work: Work::Tests(&[
            "cgroup",
            "live",
            "seccomp",
            "lifecycle",
            "process",
            "mounts",
            "rootless",
            "escapes",
        ]),
        init: vm::Init::Script,
        cgroups: vm::Cgroups::Unified,
        tests: &[],
        limit: PROGRAM_TIME_MAX,
        extent: Extent::Usual,
    },
    Machine {
        name: "failing steps on cgroup v2",
        work: Work::Tests(&["failures"]),
        init: vm::Init::Script,
        cgroups: vm::Cgroups::Unified,
        tests: &[],
        limit: LONG_TIME_MAX,
        extent: Extent::Full,
    },
    Machine {
        name: "runtime on cgroup v2 with systemd",
        work: Work::Tests(&["systemd", "cgroup", "live"]),
        init: vm::Init::Systemd,
        cgroups: vm::Cgroups::Unified,
        tests: &[],
        limit: PROGRAM_TIME_MAX,
        extent: Extent::Usual,
    },
    Machine {
        name: "conformance of cgroups by systemd",
        work: Work::Conformance(&[
            "--systemd-cgroup",
            "--filter",
            "cgroups/",
            "--filter",
            "resources/",
            "--filter",
            "lifecycle/",
        ]),
        init: vm::Init::Systemd,
        cgroups: vm::Cgroups::Unified,
        tests: &[],
        limit: PROGRAM_TIME_MAX,
        extent: Extent::Usual,
    },
    Machine {
        name: "e2e on cgroup v2",
        work: Work::Tests(&["e2e"]),
        init: vm::Init::Script,
        cgroups: vm::Cgroups::Unified,
        tests: &["containers::", "agent_death::tasks", "--skip", "debian"],
        limit: PROGRAM_TIME_MAX,
        extent: Extent::Full,
    },
    Machine {
        name: "checkpoints on cgroup v2",
        work: Work::Tests(&["checkpoint"]),
        init: vm::Init::Script,
        cgroups: vm::Cgroups::Unified,
        tests: &[],
        limit: LONG_TIME_MAX,
        extent: Extent::Full,
    },
    Machine {
        name: "checkpoints on cgroup v1",
        work: Work::Tests(&["checkpoint"]),
        init: vm::Init::Script,
        cgroups: vm::Cgroups::V1,
        tests: &[],
        limit: LONG_TIME_MAX,
        extent: Extent::Full,
    },
    Machine {
        name: "conformance on cgroup v1",
        work: Work::Conformance(&[]),
        init: vm::Init::Script,
        cgroups: vm::Cgroups::V1,
        tests: &[],
        limit: PROGRAM_TIME_MAX,
        extent: Extent::Full,
    },
    Machine {
        name: "conformance on cgroup v2 with systemd",
        work: Work::Conformance(&["--systemd-cgroup"]),
        init: vm::Init::Systemd,
        cgroups: vm::Cgroups::Unified,
        tests: &[],
        limit: PROGRAM_TIME_MAX,
        extent: Extent::Full,
    },
    Machine {
        name: "engines on cgroup v2 with systemd",
        work: Work::Engines,
        init: vm::Init::Systemd,
        cgroups: vm::Cgroups::Unified,
        tests: &[],
        limit: PROGRAM_TIME_MAX,
        extent: Extent::Full,
    },
    Machine {
        name: "units with systemd",
        work: Work::Tests(&["units"]),
        init: vm::Init::Systemd,
        cgroups: vm::Cgroups::Unified,
        tests: &[],
        limit: PROGRAM_TIME_MAX,
        extent: Extent::Full,
    },
];

/// How long one test program may take in a machine before it is ended: many times what it takes on
/// a quiet host.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// The same for the program that makes a container for each step of three plans, and lets that step
/// fail, some three hundred; and for that of checkpoints, as criu takes half a minute for a test.
const LONG_TIME_MAX: Duration = Duration::from_secs(50 * 60);

/// How long a machine may take to start, and to stop.
const AROUND: Duration = Duration::from_secs(5 * 60);

/// How long the engines may take: an emulated machine on a busy host needs half a minute for each
/// of their claims.
const ENGINES_TIME_MAX: Duration = Duration::from_secs(90 * 60);

/// How many seconds one call of an engine may take there: many times what it takes on hardware.
const ENGINES_PATIENCE: &str = "600";

/// What the engines' daemons and images need.
const ENGINES_MEMORY_MIB: u32 = 3072;

/// Runs each program in turn, in the folder of its crate as cargo does. One that does not end is
/// named, and fails; libtest has said before which test has been running for long.
const SCRIPT: &str = r#"limit=$1 workspace=$2; shift 2
status=0
for pair; do
    folder=${pair%%=*} program=${pair#*=}
    cd "$workspace/$folder" || exit 1
    timeout -k 5 "$limit" "$program" $TESTS_OF_MACHINE
    code=$?
    [ $code = 124 ] && printf '\nENDED still running after %s s: %s\n' "$limit" "$program"
    [ $code = 0 ] || status=$code
done
exit $status"#;

/// Runs what one machine is for.
pub(super) fn run(
    workspace: &Path,
    bin: &Path,
    machine: &Machine,
    count: &mut Count,
) -> anyhow::Result<()> {
    if let Some(why) = vm::missing() {
        count.skipped.insert(format!("{}: needs {why}", machine.name));
        return Ok(());
    }
    let usual = vm::Options::default();
    let options = vm::Options {
        init: machine.init,
        cgroups: machine.cgroups,
        bin: Some(bin.to_owned()),
        timeout: usual.timeout.max(machine.limit + AROUND),
        ..usual
    };
    let suite = |program: &str| -> anyhow::Result<Vec<String>> {
        let suite = bin.join(program);
        let suite = suite.to_str().context("the path of the suite is no text")?;
        Ok([suite, "--runtime", "loadline-runtime"].map(str::to_owned).to_vec())
    };
    let targets = match &machine.work {
        Work::Conformance(more) => {
            let mut command = suite("loadline-conformance")?;
            command.extend(more.iter().map(|word| (*word).to_owned()));
            count.read_own(&vm::run_seen(workspace, &command, &options)?);
            return Ok(());
        }
        Work::Engines => {
            let mut command = suite("loadline-engines")?;
            let more = ["--at-once", "2", "--patience", ENGINES_PATIENCE];
            command.extend(more.map(str::to_owned));
            let (timeout, memory_mib) = (ENGINES_TIME_MAX, ENGINES_MEMORY_MIB);
            let options = vm::Options { timeout, memory_mib, ..options };
            count.read_own(&vm::run_seen(workspace, &command, &options)?);
            return Ok(());
        }
        Work::Tests(targets) => targets,
    };
    let command = command_of(workspace, machine, targets)?;
    let seen = vm::run_seen(workspace, &command, &options)?;
    count.read_libtest(&seen.lines);
    if !seen.status.success() && count.failed.is_empty() {
        count.failed.push(seen.status.to_string());
    }
    Ok(())
}

fn command_of(
    workspace: &Path,
    machine: &Machine,
    targets: &[&str],
) -> anyhow::Result<Vec<String>> {
    let mut words = vec!["--test-threads", "1", "--color", "never", "--show-output"];
    words.extend(machine.tests);
    let environment = format!("TESTS_OF_MACHINE={}", words.join(" "));
    let limit = machine.limit.as_secs().to_string();
    let workspace_text = workspace.to_str().context("the workspace's path is no text")?;
    let mut command: Vec<String> =
        ["env", &environment, "sh", "-c", SCRIPT, "sh", &limit, workspace_text]
            .map(str::to_owned)
            .to_vec();
    command.extend(test_programs(workspace, targets)?);
    Ok(command)
}

/// `FOLDER=PROGRAM` of each test target, built where it is not. The whole workspace is named, as
/// for nextest: for one package alone, cargo may choose other features and compile all again.
fn test_programs(workspace: &Path, targets: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut cargo = sh::cargo(workspace);
    cargo.args(["test", "--quiet", "--workspace", "--no-run", "--message-format", "json"]);
    for target in targets {
        cargo.args(["--test", target]);
    }
    let output = cargo.output().context("start cargo to build the tests")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<serde_json::Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let program = |target: &&str| {
        let of_target = messages.iter().filter(|message| message["target"]["name"] == **target);
        let program = of_target.filter_map(|message| {
            let manifest = Path::new(message["manifest_path"].as_str()?).parent()?;
            let folder = manifest.strip_prefix(workspace).ok()?;
            Some(format!("{}={}", folder.display(), message["executable"].as_str()?))
        });
        let program = program.collect::<Vec<String>>().pop();
        program.with_context(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
    };
    targets.iter().map(program).collect()
}
