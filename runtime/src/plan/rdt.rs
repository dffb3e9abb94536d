//! Groups of resctrl, by the rules of config-linux.md, "IntelRdt".

use super::Builder;
use super::step::{ParentStep, RdtGroup, RdtMake};
use crate::spec::DEFAULT_CLASS;

/// What is made before the clone, and joined after it.
pub(super) fn group(b: &Builder<'_>) -> Option<RdtGroup> {
    let rdt = b.spec.linux.intel_rdt.as_ref()?;
    let top = b.host.resctrl.clone()?;
    let (path, make) = match rdt.class.as_deref() {
        None => (top.join(&b.ask.id), RdtMake::Own),
        Some(DEFAULT_CLASS) => (top, RdtMake::Never),
        Some(class) if rdt.schemata.is_empty() => (top.join(class), RdtMake::Never),
        Some(class) => (top.join(class), RdtMake::Shared),
    };
    let monitor = rdt.is_monitored.then(|| path.join("mon_groups").join(&b.ask.id));
    Some(RdtGroup { path, make, schemata: rdt.schemata.clone(), monitor })
}

/// Puts the first process into the groups.
pub(super) fn join(group: &RdtGroup) -> ParentStep {
    let groups = std::iter::once(&group.path).chain(&group.monitor).cloned().collect();
    ParentStep::JoinRdtGroups { groups }
}
