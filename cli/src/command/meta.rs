//! `loadline completions` and `loadline man`

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Line;
use crate::failure::Failure;

/// Print completions for a shell
///
/// For example: loadline completions bash > /etc/bash_completion.d/loadline
#[derive(Debug, Args)]
pub(crate) struct Completions {
    shell: Shell,
}

/// Print the manual page, or write the pages of all commands to a folder
///
/// For example: loadline man | man -l -
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write loadline.1, loadline-run.1, … there
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Completions {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Line::command(), "loadline", &mut text);
        io::stdout().write_all(&text).map_err(Failure::Output)?;
        Ok(0)
    }
}

impl Man {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let command = Line::command();
        if let Some(folder) = self.folder {
            clap_mangen::generate_to(command, &folder)
                .map_err(|e| Failure::io("write manual pages to", &folder, e))?;
            return Ok(0);
        }
        let mut text = Vec::new();
        let page = clap_mangen::Man::new(command);
        page.render(&mut text).map_err(Failure::Output)?;
        io::stdout().write_all(&text).map_err(Failure::Output)?;
        Ok(0)
    }
}
