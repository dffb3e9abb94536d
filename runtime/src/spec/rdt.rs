//! `linux.intelRdt`: shares of caches and memory bandwidth (resctrl.rst of the kernel).

use oci_spec::runtime as oci;

use super::Violations;

/// What is asked of resctrl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntelRdt {
    /// The class of service; `None` is one of the container's own, with its id as the name.
    pub class: Option<String>,
    /// Lines of the class's `schemata`, in the order in which they are written.
    pub schemata: Vec<String>,
    /// Whether the container has a monitoring group of its own.
    pub is_monitored: bool,
}

/// The name of the default class: resctrl's root.
pub const DEFAULT_CLASS: &str = "/";

/// Validates the part.
pub(super) fn validate(oci: &oci::LinuxIntelRdt, found: &mut Violations) -> IntelRdt {
    let class = oci.clos_id().clone().filter(|class| !class.is_empty());
    // resctrl's own entries, and what would lead elsewhere.
    let reserved = [".", "..", "info", "mon_data", "mon_groups"];
    if let Some(class) = class.as_deref().filter(|class| *class != DEFAULT_CLASS)
        && (reserved.contains(&class) || class.contains(['/', '\n', '\0']))
    {
        found.add("linux.intelRdt.closID", format!("is no name of a class: {class:?}"));
    }
    let mut schemata = Vec::new();
    for (name, prefix, line) in [
        ("l3CacheSchema", "L3", oci.l3_cache_schema()),
        ("memBwSchema", "MB:", oci.mem_bw_schema()),
    ] {
        let Some(line) = line.as_deref().filter(|line| !line.is_empty()) else { continue };
        let field = format!("linux.intelRdt.{name}");
        if !line.starts_with(prefix) {
            found.add(&field, format!("does not begin with {prefix:?}"));
        }
        add_line(&field, line, &mut schemata, found);
    }
    for line in oci.schemata().iter().flatten() {
        add_line("linux.intelRdt.schemata", line, &mut schemata, found);
    }
    IntelRdt { class, schemata, is_monitored: is_monitored(oci) }
}

/// The two older properties ask for the same group; no kernel can count one without the other.
#[allow(deprecated, reason = "configurations of 1.1 and 1.2 have them")]
fn is_monitored(oci: &oci::LinuxIntelRdt) -> bool {
    let asked = [oci.enable_monitoring(), oci.enable_cmt(), oci.enable_mbm()];
    asked.into_iter().any(|asked| *asked == Some(true))
}

fn add_line(field: &str, line: &str, lines: &mut Vec<String>, found: &mut Violations) {
    if line.contains('\n') {
        found.add(field, "contains a newline");
    }
    lines.push(line.to_owned());
}
