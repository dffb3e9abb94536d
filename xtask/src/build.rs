//! `cargo xtask build`: all programs into one folder, where they find each other. Those that live
//! in containers' neighbourhood (runtime, supervisor, probe) are static: one file, no libraries to
//! load at each start.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::sh;

/// How the programs are compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Fast to compile.
    #[default]
    Dev,
    /// What is measured and shipped.
    Dist,
}

impl Profile {
    const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Dist => "dist",
        }
    }

    /// Where cargo puts what it built.
    const fn cargo_folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Dist => "dist",
        }
    }

    /// Where we put it, below the target folder.
    const fn folder(self) -> &'static str {
        match self {
            Self::Dev => "loadline/bin",
            Self::Dist => "loadline/dist",
        }
    }
}

/// Programs linked with the machine's libraries: package and program.
const DYNAMIC: &[(&str, &str)] = &[
    ("loadline-agent", "loadline-agent"),
    ("loadline-controller", "loadline-controller"),
    ("loadline", "loadline"),
];

/// The package of what measures.
pub(crate) const BENCH: &str = "loadline-bench";

/// Programs in C that are measured or measure, with the flags that they are compiled with beside
/// these: `-O2 -static`.
const IN_C: &[(&str, &[&str])] = &[
    ("floor", &[]),
    ("spawn", &[]),
    ("count", &[]),
    ("noop", &["-nostdlib", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"]),
];

/// The target of static programs, whose C library starts four times as fast as glibc, which asks
/// the processor for its caches: in a virtual machine each such question takes microseconds.
const MUSL: &str = "x86_64-unknown-linux-musl";

/// The package whose programs need no C compiler for that target.
const RUST_ONLY: &str = "loadline-runtime";

/// The package of the tests, and the program that runs the conformance suite.
const CONFORMANCE: (&str, &str) = ("loadline-tests", "loadline-conformance");

/// What the conformance suite runs and what containers in it run, besides peers.
const CONFORMANCE_STATIC: &[&str] =
    &["loadline-runtime", "loadline-probe", "loadline-leaky-runtime"];

/// The order of the runtime's functions in memory, made by `cargo xtask order`.
pub(crate) const ORDER: &str = "runtime/order.ld";

/// Programs of the tests.
const TESTS: &[(&str, &str)] =
    &[CONFORMANCE, ("loadline-tests", "loadline-engines"), ("loadline-tests", "loadline-demo")];

/// Programs that are one file.
const STATIC: &[(&str, &str)] = &[
    ("loadline-runtime", "loadline-runtime"),
    ("loadline-agent", "loadline-supervisor"),
    ("loadline-fixtures", "loadline-probe"),
    ("loadline-tests", "loadline-leaky-runtime"),
];

/// Cargo's target folder.
pub(crate) fn target(workspace: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace.join(folder),
        None => workspace.join("target"),
    }
}

/// Builds everything and gives the folder with the programs.
pub(crate) fn run(workspace: &Path, profile: Profile) -> anyhow::Result<PathBuf> {
    sh::step(&format!("build ({}): agent, controller, cli, tests", profile.name()));
    let folder = dynamic_programs(workspace, profile, &[DYNAMIC, TESTS].concat())?;
    for (package, program) in STATIC {
        static_program(workspace, profile, package, program)?;
    }
    Ok(folder)
}

/// Builds what the conformance suite needs and nothing else, and gives the folder.
pub(crate) fn conformance(workspace: &Path) -> anyhow::Result<PathBuf> {
    let profile = Profile::Dev;
    sh::step(&format!("build ({}): {}", profile.name(), CONFORMANCE.1));
    let folder = dynamic_programs(workspace, profile, &[CONFORMANCE])?;
    for (package, program) in STATIC.iter().filter(|(_, p)| CONFORMANCE_STATIC.contains(p)) {
        static_program(workspace, profile, package, program)?;
    }
    Ok(folder)
}

/// Builds programs that are linked with the machine's libraries, and gives their folder.
fn dynamic_programs(
    workspace: &Path,
    profile: Profile,
    programs: &[(&str, &str)],
) -> anyhow::Result<PathBuf> {
    let target = target(workspace);
    let folder = target.join(profile.folder());
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let built = target.join(profile.cargo_folder());
    let mut cargo = sh::cargo(workspace);
    cargo.args(["build", "--quiet", "--profile", profile.name()]);
    for (package, program) in programs {
        cargo.args(["--package", package, "--bin", program]);
    }
    sh::run(&mut cargo)?;
    for (_, program) in programs {
        put(&built.join(program), &folder.join(program))?;
    }
    Ok(folder)
}

/// Builds the runtime alone, as it is shipped, and gives its path.
pub(crate) fn runtime(workspace: &Path) -> anyhow::Result<PathBuf> {
    static_program(workspace, Profile::Dist, "loadline-runtime", "loadline-runtime")
}

/// Builds a program that is one file, and gives its path.
fn static_program(
    workspace: &Path,
    profile: Profile,
    package: &str,
    program: &str,
) -> anyhow::Result<PathBuf> {
    let target = target(workspace);
    let folder = target.join(profile.folder());
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let musl = profile == Profile::Dist && package == RUST_ONLY && has_musl(workspace);
    let library = if musl { "musl" } else { "glibc" };
    sh::step(&format!("build ({}): {program}, static ({library})", profile.name()));
    let mut cargo = sh::cargo(workspace);
    cargo.args(["rustc", "--quiet", "--profile", profile.name()]);
    cargo.args(["--package", package, "--bin", program]);
    if musl {
        cargo.args(["--target", MUSL]);
    }
    // For the last crate only: the others are the same in a static and a dynamic program, and
    // are compiled once.
    cargo.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
    if let Some(commit) = commit(workspace) {
        cargo.env("LOADLINE_COMMIT", commit);
    }
    // At a fixed address there is nothing to relocate at the start: 50 page faults fewer.
    cargo.args(["-C", "relocation-model=static"]);
    if musl {
        // What a start uses lies side by side: 18 page faults fewer.
        cargo.args(["-C", &format!("link-arg={}", ordered(workspace)?)]);
    }
    sh::run(&mut cargo)?;
    let built = if musl { target.join(MUSL) } else { target };
    let path = folder.join(program);
    put(&built.join(profile.cargo_folder()).join(program), &path)?;
    Ok(path)
}

/// What `--version` of the runtime tells; none where the sources are no clone.
fn commit(workspace: &Path) -> Option<String> {
    let mut git = sh::command(workspace, "git");
    let output = git.args(["describe", "--always", "--dirty", "--abbrev=12"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The runtime with its symbols, in the order that the linker gives it by itself.
pub(crate) fn runtime_with_symbols(workspace: &Path) -> anyhow::Result<PathBuf> {
    anyhow::ensure!(has_musl(workspace), "needs rustup's target {MUSL}");
    sh::step("build (dist): loadline-runtime, with symbols");
    let mut cargo = sh::cargo(workspace);
    cargo.args(["rustc", "--quiet", "--profile", Profile::Dist.name(), "--target", MUSL]);
    cargo.args(["--package", RUST_ONLY, "--bin", RUST_ONLY, "--"]);
    cargo.args(["-C", "target-feature=+crt-static", "-C", "strip=none"]);
    sh::run(cargo.args(["-C", "relocation-model=static"]))?;
    let folder = target(workspace).join(MUSL).join(Profile::Dist.cargo_folder());
    Ok(folder.join(RUST_ONLY))
}

/// The linker's words for the order of functions. With a number that changes with it, because cargo
/// does not look into the file.
fn ordered(workspace: &Path) -> anyhow::Result<String> {
    let path = workspace.join(ORDER);
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&text);
    let number = hasher.finish() as u32;
    Ok(format!("-Wl,-T,{},--defsym=loadline_order={number}", path.display()))
}

/// Whether the toolchain has the standard library for musl; rustup may add it.
pub(crate) fn has_musl(workspace: &Path) -> bool {
    let is_there = || {
        let folder = sh::ask("rustc", &["--print", "target-libdir", "--target", MUSL]);
        folder.is_some_and(|folder| {
            fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
        })
    };
    if !is_there() {
        let mut rustup = sh::command(workspace, "rustup");
        drop(rustup.args(["target", "add", MUSL]).status());
    }
    is_there()
}

/// Builds what measures, and gives the folder that it lies in.
pub(crate) fn bench(workspace: &Path) -> anyhow::Result<PathBuf> {
    let folder = target(workspace).join("loadline/bench");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    sh::step("build: what measures");
    for (name, flags) in IN_C {
        let mut cc = sh::command(workspace, "cc");
        cc.args(["-Wall", "-O2", "-static"]).args(*flags).arg("-o").arg(folder.join(name));
        sh::run(cc.arg(format!("benches/c/{name}.c")))?;
    }
    bench_program(workspace, "loadline-budget")?;
    bench_program(workspace, "loadline-bench-runtime")
}

/// Builds one program that measures, and gives the folder that it lies in.
pub(crate) fn bench_program(workspace: &Path, program: &str) -> anyhow::Result<PathBuf> {
    let folder = target(workspace).join("loadline/bench");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let mut cargo = sh::cargo(workspace);
    sh::run(cargo.args(["build", "--quiet", "--package", BENCH, "--bin", program]))?;
    put(&target(workspace).join("debug").join(program), &folder.join(program))?;
    Ok(folder)
}

/// Builds a node and its controller as they are shipped, and gives the folder that they are in.
pub(crate) fn node(workspace: &Path) -> anyhow::Result<PathBuf> {
    let profile = Profile::Dist;
    let target = target(workspace);
    let folder = target.join(profile.folder());
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    sh::step("build (dist): agent, controller");
    let programs = ["loadline-agent", "loadline-controller"];
    let mut cargo = sh::cargo(workspace);
    cargo.args(["build", "--quiet", "--profile", profile.name()]);
    for program in programs {
        cargo.args(["--package", program, "--bin", program]);
    }
    sh::run(&mut cargo)?;
    for program in programs {
        put(&target.join(profile.cargo_folder()).join(program), &folder.join(program))?;
    }
    static_program(workspace, profile, "loadline-runtime", "loadline-runtime")?;
    static_program(workspace, profile, "loadline-agent", "loadline-supervisor")?;
    Ok(folder)
}

/// Builds programs optimized, each the package and the program, and gives the folder that cargo
/// puts them in.
pub(crate) fn released(workspace: &Path, programs: &[(&str, &str)]) -> anyhow::Result<PathBuf> {
    let names: Vec<&str> = programs.iter().map(|(_, program)| *program).collect();
    sh::step(&format!("build (release): {}", names.join(", ")));
    let mut cargo = sh::cargo(workspace);
    cargo.args(["build", "--quiet", "--release"]);
    for (package, program) in programs {
        cargo.args(["--package", package, "--bin", program]);
    }
    sh::run(&mut cargo)?;
    Ok(target(workspace).join("release"))
}

/// Replaces `to` where `from` differs; never writes over a program that may be running.
fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read(to).ok().is_some_and(|old| old == bytes) {
        return Ok(());
    }
    let part = to.with_extension("part");
    fs::copy(from, &part).with_context(|| format!("copy {}", from.display()))?;
    fs::rename(&part, to).with_context(|| format!("put {} in place", to.display()))
}
