//! `loadline backup`

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::options::Context;
use crate::output::dash;

/// Back up the controller's state, while it runs, into a file on its machine
///
/// The file holds everything, keys included, as of one moment: keep it as safe as the state folder.
/// On another machine, `loadline-controller restore FILE` makes a state folder of it; nodes find
/// their controller again where their --controller leads to the new one.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Leave out log groups, streams and events, of which there may be gigabytes.
    #[arg(long)]
    without_logs: bool,
}

impl Backup {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let made = client.own("CreateBackup", json!({ "withoutLogs": self.without_logs })).await?;
        context.output.either(&made, &dash(made["path"].as_str()))?;
        Ok(0)
    }
}
