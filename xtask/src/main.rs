//! `cargo xtask VERB`: what the people who build Loadline repeat. One verb, one module; every verb
//! can be typed on a fresh machine and says what it does, and what to do where it can't.

#![forbid(unsafe_code)]

mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "What the people who build Loadline repeat")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Checks the style rules: one line for each finding, exit 0 where there is none.
    Tidy,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> anyhow::Result<()> {
    let workspace = workspace()?;
    match verb {
        Verb::Tidy => tidy::run(&workspace),
    }
}

/// The root of the workspace: the folder above this crate.
fn workspace() -> anyhow::Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set: start this as `cargo xtask`")?;
    let parent = Path::new(&manifest).parent().context("the xtask crate has no folder above")?;
    Ok(parent.to_owned())
}
