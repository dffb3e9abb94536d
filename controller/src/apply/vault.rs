//! Secrets and parameters: [`crate::vault`] decides, this takes the decision into the state.

use super::Applied;
use crate::command::{Refusal, Reply};
use crate::state::{IdSource, State, Write};
use crate::vault::{self, Change};

pub(super) fn apply(
    state: &State,
    command: &vault::Command,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    let view = &state.view;
    let (changes, record) =
        vault::apply(&view.scope, &view.vault, command, now_ms, ids).map_err(Refusal::Vault)?;
    let writes = changes.into_iter().map(|change| match change {
        Change::Put(record) => Write::Vault(record),
        Change::Forget(key) => Write::ForgetVault(key),
    });
    Ok((writes.collect(), Reply::Vault(record)))
}
