//! Numbers for Prometheus, in its text format (version 0.0.4): the state from the newest view, and
//! the API's calls as they are counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::Seeing;
use super::usage::{Utilization, utilization};
use crate::state::{NodeStatus, ServiceStatus, View};

/// Upper bounds of the histogram of calls, in microseconds.
const BOUNDS_US: [u64; 9] =
    [1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];
/// Most pairs of operation and code that are counted apart; what comes later counts as `other`.
const PAIRS_MAX: usize = 1_000;

/// The API's calls so far; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    by_pair: Arc<Mutex<BTreeMap<(String, String), Count>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    calls: u64,
    sum_us: u64,
    buckets: [u64; BOUNDS_US.len()],
}

impl Calls {
    /// Counts a call. The lock is held for a look only.
    pub fn count(&self, operation: &str, code: &str, took_us: u64) {
        let mut by_pair = self.by_pair.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (operation.to_owned(), code.to_owned());
        let pair = if by_pair.len() < PAIRS_MAX || by_pair.contains_key(&pair) {
            pair
        } else {
            ("other".to_owned(), code.to_owned())
        };
        let count = by_pair.entry(pair).or_default();
        count.calls += 1;
        count.sum_us = count.sum_us.saturating_add(took_us);
        for (bucket, bound) in count.buckets.iter_mut().zip(BOUNDS_US) {
            *bucket += u64::from(took_us <= bound);
        }
    }

    fn write(&self, page: &mut Page) {
        let name = "loadline_api_call_seconds";
        page.head(name, "histogram", "Calls of the API by operation and outcome.");
        let by_pair = self.by_pair.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((operation, code), count) in by_pair {
            let labels = [("operation", operation.as_str()), ("code", code.as_str())];
            for (bucket, bound) in count.buckets.iter().zip(BOUNDS_US) {
                let bound = seconds(bound).to_string();
                let labels = [labels[0], labels[1], ("le", bound.as_str())];
                page.line(&format!("{name}_bucket"), &labels, *bucket as f64);
            }
            let all = [labels[0], labels[1], ("le", "+Inf")];
            page.line(&format!("{name}_bucket"), &all, count.calls as f64);
            page.line(&format!("{name}_sum"), &labels, seconds(count.sum_us));
            page.line(&format!("{name}_count"), &labels, count.calls as f64);
        }
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// The whole page.
#[must_use]
pub fn page(view: &View, seeing: &Seeing, now_ms: u64) -> String {
    let mut page = Page::default();
    let version = env!("CARGO_PKG_VERSION");
    page.head("loadline_controller_info", "gauge", "The program.");
    page.line("loadline_controller_info", &[("version", version)], 1.0);
    clusters(&mut page, view);
    nodes(&mut page, view);
    services(&mut page, view);
    utilized(&mut page, &utilization(view, &seeing.usage, now_ms));
    seeing.calls.write(&mut page);
    page.text
}

fn clusters(page: &mut Page, view: &View) {
    page.head("loadline_tasks", "gauge", "Tasks by cluster; live ones are all but STOPPED.");
    for entry in view.clusters() {
        let counts = [
            ("running", entry.running_tasks),
            ("pending", entry.pending_tasks),
            ("live", entry.live_tasks),
        ];
        for (state, count) in counts {
            let labels = [("cluster", entry.record.name.as_str()), ("state", state)];
            page.line("loadline_tasks", &labels, count.into());
        }
    }
}

fn nodes(page: &mut Page, view: &View) {
    let mut by_state: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut sums: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for entry in view.nodes.values() {
        let record = &entry.record;
        let cluster = record.cluster.as_str();
        let state = match record.status {
            NodeStatus::Inactive => continue,
            _ if record.lost_at_ms.is_some() => "lost",
            _ if !entry.agent_connected() => "disconnected",
            _ if record.quarantined_until_ms.is_some() => "quarantined",
            NodeStatus::Draining => "draining",
            NodeStatus::Active => "active",
        };
        *by_state.entry((cluster, state)).or_default() += 1;
        for (kind, amount) in [("registered", record.registered), ("reserved", entry.reserved)] {
            *sums.entry((cluster, kind, "cpu_units")).or_default() += amount.cpu_units;
            *sums.entry((cluster, kind, "memory_mib")).or_default() += amount.memory_mib;
        }
    }
    page.head("loadline_nodes", "gauge", "Container instances by cluster and state.");
    for ((cluster, state), count) in by_state {
        page.line("loadline_nodes", &[("cluster", cluster), ("state", state)], count as f64);
    }
    page.head("loadline_resources", "gauge", "What nodes registered and what tasks reserve.");
    for ((cluster, kind, unit), sum) in sums {
        let labels = [("cluster", cluster), ("kind", kind), ("unit", unit)];
        page.line("loadline_resources", &labels, sum as f64);
    }
}

fn services(page: &mut Page, view: &View) {
    page.head("loadline_service_tasks", "gauge", "Tasks of services, wanted and as they are.");
    let alive = view.services.values();
    for entry in alive.filter(|entry| entry.record.status != ServiceStatus::Inactive) {
        let key = &entry.record.key;
        let states = [
            ("desired", entry.record.desired_count),
            ("running", entry.running_tasks),
            ("pending", entry.pending_tasks),
        ];
        for (state, count) in states {
            let (cluster, service) = (key.cluster.as_str(), key.name.as_str());
            let labels = [("cluster", cluster), ("service", service), ("state", state)];
            page.line("loadline_service_tasks", &labels, count.into());
        }
    }
}

/// ECS's CPUUtilization and MemoryUtilization.
fn utilized(page: &mut Page, all: &Utilization) {
    let name = "loadline_cluster_utilization_percent";
    page.head(name, "gauge", "What tasks use of what ACTIVE and DRAINING nodes registered.");
    for (cluster, sum) in &all.clusters {
        for (resource, percent) in [("cpu", sum.cpu_percent()), ("memory", sum.memory_percent())] {
            let labels = [("cluster", cluster.as_str()), ("resource", resource)];
            percent.into_iter().for_each(|percent| page.line(name, &labels, percent));
        }
    }
    let name = "loadline_service_utilization_percent";
    page.head(name, "gauge", "What a service's tasks use of what they reserved.");
    for (key, sum) in &all.services {
        for (resource, percent) in [("cpu", sum.cpu_percent()), ("memory", sum.memory_percent())] {
            let (cluster, service) = (key.cluster.as_str(), key.name.as_str());
            let labels = [("cluster", cluster), ("service", service), ("resource", resource)];
            percent.into_iter().for_each(|percent| page.line(name, &labels, percent));
        }
    }
}

#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String can't fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.text, "{name}{{{}}} {value}", labels.join(","));
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use loadline_model::usage::{BlockUsage, ContainerUsage, TaskUsage};
    use loadline_model::{ContainerName, InstanceArn};

    use super::super::usage::{FRESH_MS, UsageBoard};
    use super::*;
    use crate::apply::testing::{World, connect, definition, register, run};

    #[test]
    fn the_page_tells_what_is_registered_reserved_and_called() {
        let mut world = World::new();
        world.must(definition("web", 10, 20));
        world.must(register("n1", 100, 200));
        world.must(connect("n1", "r"));
        world.run(run("web", 2));
        let seeing = Seeing::default();
        seeing.calls.count("ecs.RunTask", "ok", 2_000);
        seeing.calls.count("ecs.RunTask", "ok", 20_000_000);
        measure(&world.state.view, &seeing.usage);
        let page = page(&world.state.view, &seeing, 5_000);
        let plain = page.replace('"', "");
        for line in [
            "loadline_tasks{cluster=default,state=pending} 2",
            "loadline_nodes{cluster=default,state=active} 1",
            "loadline_resources{cluster=default,kind=reserved,unit=memory_mib} 40",
            "loadline_cluster_utilization_percent{cluster=default,resource=cpu} 8",
            "loadline_cluster_utilization_percent{cluster=default,resource=memory} 5",
            "loadline_api_call_seconds_bucket{operation=ecs.RunTask,code=ok,le=0.001} 0",
            "loadline_api_call_seconds_bucket{operation=ecs.RunTask,code=ok,le=10} 1",
            "loadline_api_call_seconds_bucket{operation=ecs.RunTask,code=ok,le=+Inf} 2",
            "loadline_api_call_seconds_sum{operation=ecs.RunTask,code=ok} 20.002",
        ] {
            assert!(plain.lines().any(|have| have == line), "{line} is not in\n{page}");
        }
        assert_eq!(escaped("a\"b\\c\n"), "a\\\"b\\\\c\\n");
    }

    /// Each task of the node uses 4 CPU units and 5 MiB; somebody else's is not taken.
    fn measure(view: &View, board: &UsageBoard) {
        let tasks: Vec<_> = view.tasks.values().cloned().collect();
        let usage = |task: &crate::state::Task| TaskUsage {
            task: task.arn.clone(),
            at_ms: 4_000,
            shares_network: false,
            containers: vec![ContainerUsage {
                name: ContainerName::parse("main").unwrap(),
                cpu_ns: 0,
                cpu_units: Some(4),
                memory_bytes: 6 << 20,
                cache_bytes: 1 << 20,
                memory_peak_bytes: 0,
                memory_limit_bytes: None,
                processes: 1,
                network: None,
                block: BlockUsage::default(),
            }],
        };
        let told: Vec<TaskUsage> = tasks.iter().map(|task| usage(task)).collect();
        let own = &tasks[0].node;
        assert!(board.put(view, own, told.clone()).is_empty());
        let other = InstanceArn::parse(&own.to_string().replace("/n1", "/n2")).unwrap();
        let foreign = board.put(view, &other, told);
        assert_eq!(foreign.len(), 2, "a node speaks for its own tasks alone");
        assert!(board.get(&tasks[0].arn, 4_001).is_some());
        assert!(board.get(&tasks[0].arn, 4_000 + FRESH_MS).is_none(), "too old");
    }

    #[test]
    fn what_is_counted_apart_is_bounded() {
        let calls = Calls::default();
        for n in 0..PAIRS_MAX + 10 {
            calls.count(&n.to_string(), "ok", 1);
        }
        let by_pair = calls.by_pair.lock().unwrap();
        assert_eq!(by_pair.len(), PAIRS_MAX + 1);
        assert_eq!(by_pair[&("other".to_owned(), "ok".to_owned())].calls, 10);
    }
}
