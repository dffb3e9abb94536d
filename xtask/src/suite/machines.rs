//! The suites that run again in a virtual machine: on unified cgroups, and with systemd.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::Extent;
use super::count::Count;
use crate::{sh, vm};

/// Tests that run in one machine: the names of cargo's test targets, what is process 1, and which
/// of their tests.
struct Machine {
    name: &'static str,
    targets: &'static [&'static str],
    init: vm::Init,
    tests: &'static [&'static str],
    /// Whether only `--full` runs them.
    extent: Extent,
}

/// The runtime's own tests of the kernel differ on version 2 and with systemd. Those of `e2e` are
/// about cgroups and processes, and so differ too; all of them would take too long under emulation,
/// and an emulated machine on a busy host can be so slow that its agent loses its lease again and
/// again.
const MACHINES: &[Machine] = &[
    Machine {
        name: "runtime on cgroup v2",
        targets: &[
            "cgroup",
            "live",
            "seccomp",
            "lifecycle",
            "process",
            "mounts",
            "rootless",
            "escapes",
        ],
        init: vm::Init::Script,
        tests: &[],
        extent: Extent::Usual,
    },
    Machine {
        name: "failing steps on cgroup v2",
        targets: &["failures"],
        init: vm::Init::Script,
        tests: &[],
        extent: Extent::Full,
    },
    Machine {
        name: "runtime on cgroup v2 with systemd",
        targets: &["systemd", "cgroup", "live"],
        init: vm::Init::Systemd,
        tests: &[],
        extent: Extent::Usual,
    },
    Machine {
        name: "e2e on cgroup v2",
        targets: &["e2e"],
        init: vm::Init::Script,
        tests: &["containers::", "agent_death::tasks", "--skip", "debian"],
        extent: Extent::Full,
    },
    Machine {
        name: "checkpoints on cgroup v2",
        targets: &["checkpoint"],
        init: vm::Init::Script,
        tests: &[],
        extent: Extent::Full,
    },
    Machine {
        name: "units with systemd",
        targets: &["units"],
        init: vm::Init::Systemd,
        tests: &[],
        extent: Extent::Full,
    },
];

/// How long one test program may take in a machine before it is ended: many times what it takes on
/// a quiet host.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// Runs each program in turn, in the folder of its crate as cargo does. One that does not end is
/// named, and fails; libtest has said before which test has been running for long.
const SCRIPT: &str = r#"limit=$1 workspace=$2; shift 2
status=0
for pair; do
    folder=${pair%%=*} program=${pair#*=}
    cd "$workspace/$folder" || exit 1
    timeout -k 5 "$limit" "$program" $TESTS_OF_MACHINE
    code=$?
    [ $code = 124 ] && echo && echo "test $program: still running after $limit s ... FAILED"
    [ $code = 0 ] || status=$code
done
exit $status"#;

/// The conformance suite and some tests again, on unified cgroups and with systemd.
pub(super) fn run(
    workspace: &Path,
    bin: &Path,
    extent: Extent,
    count: &mut Count,
) -> anyhow::Result<()> {
    if let Some(why) = vm::missing() {
        count.skipped.insert(format!("vm conformance, runtime, e2e and systemd: needs {why}"));
        return Ok(());
    }
    let options = vm::Options { bin: Some(bin.to_owned()), ..vm::Options::default() };
    sh::step("conformance on cgroup v2, in a virtual machine");
    let suite = bin.join("loadline-conformance");
    let suite = suite.to_str().context("the path of the suite is no text")?;
    let command = [suite, "--runtime", "loadline-runtime"].map(str::to_owned);
    count.suite("vm: conformance on cgroup v2", |count| {
        match vm::run_seen(workspace, &command, &options) {
            Ok(seen) => count.read_own("vm conformance", &seen),
            Err(error) => count.check("vm conformance", Err(error)),
        }
    });
    for machine in MACHINES {
        if machine.extent == Extent::Full && extent != Extent::Full {
            println!("{} in a virtual machine is part of --full", machine.name);
            continue;
        }
        sh::step(&format!("{}, in a virtual machine", machine.name));
        let command = command_of(workspace, machine)?;
        let options = vm::Options { init: machine.init, ..options.clone() };
        count.suite(&format!("vm: {}", machine.name), |count| {
            let failed = count.failed.len();
            match vm::run_seen(workspace, &command, &options) {
                Ok(seen) => {
                    count.read_libtest(&seen.lines);
                    if !seen.status.success() && count.failed.len() == failed {
                        count.failed.push(format!("vm {}: {}", machine.name, seen.status));
                    }
                }
                Err(error) => count.check(&format!("vm {}", machine.name), Err(error)),
            }
        });
    }
    Ok(())
}

fn command_of(workspace: &Path, machine: &Machine) -> anyhow::Result<Vec<String>> {
    let mut words = vec!["--test-threads", "1", "--color", "never", "--show-output"];
    words.extend(machine.tests);
    let environment = format!("TESTS_OF_MACHINE={}", words.join(" "));
    let limit = PROGRAM_TIME_MAX.as_secs().to_string();
    let workspace_text = workspace.to_str().context("the workspace's path is no text")?;
    let mut command: Vec<String> =
        ["env", &environment, "sh", "-c", SCRIPT, "sh", &limit, workspace_text]
            .map(str::to_owned)
            .to_vec();
    command.extend(test_programs(workspace, machine.targets)?);
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
