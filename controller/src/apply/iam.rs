//! Users, roles and policies: [`crate::iam`] decides, this takes the decision into the state.

use super::Applied;
use crate::command::{Refusal, Reply};
use crate::iam::{self, Change};
use crate::state::{IdSource, State, Write};

pub(super) fn apply(
    state: &State,
    command: &iam::Command,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    let view = &state.view;
    let (changes, record) =
        iam::apply(&view.scope, &view.iam, command, now_ms, ids).map_err(Refusal::Iam)?;
    let writes = changes.into_iter().map(|change| match change {
        Change::Put(record) => Write::Iam(record),
        Change::Forget(key) => Write::ForgetIam(key),
    });
    Ok((writes.collect(), Reply::Iam(record)))
}
