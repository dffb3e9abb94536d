//! A container's use, in the form of docker's statistics, with the rates that ECS adds. Pure.

use loadline_model::usage::NetworkUsage;
use loadline_runtime::cgroup::{IoEntry, Stats};
use serde_json::{Map, Value, json};

use super::document::{put, time};
use crate::network::plan::INSIDE_LINK;
use crate::task::Task;
use crate::usage::meter::{Sample, cache_bytes};

/// What is known of a container's use.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What its cgroup says.
    pub stats: &'a Stats,
    /// What its network has counted, where it has one.
    pub network: Option<NetworkUsage>,
    /// The measurement before.
    pub before: Option<Sample>,
    /// CPU time of the whole host, in nanoseconds.
    pub host_cpu_ns: u64,
    /// The host's CPUs.
    pub cpus: usize,
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// The document.
#[must_use]
pub fn stats(task: &Task, at: usize, known: &Known<'_>) -> Value {
    let Known { stats, network, before, host_cpu_ns, cpus, now_ms } = *known;
    let id = task.runtime_id(at);
    let mut all = json!({
        "read": time(Some(now_ms)),
        "preread": time(before.map(|then| then.at_ms)),
        "id": id,
        "name": id,
        "cpu_stats": cpu(stats, host_cpu_ns, cpus),
        "memory_stats": memory(stats),
        "pids_stats": { "current": stats.pids.current.unwrap_or(0) },
        "blkio_stats": {
            "io_service_bytes_recursive": blocks(&stats.io.bytes),
            "io_serviced_recursive": blocks(&stats.io.operations),
        },
        "storage_stats": {},
    });
    let precpu = before.map(|then| {
        json!({
            "cpu_usage": { "total_usage": then.cpu_ns },
            "system_cpu_usage": then.host_cpu_ns,
            "online_cpus": cpus,
        })
    });
    put(&mut all, "precpu_stats", precpu);
    if let Some(own) = network {
        put(&mut all, "networks", Some(json!({ (INSIDE_LINK): link(own) })));
        let rates = before.and_then(|then| rates(own, then, now_ms));
        put(&mut all, "network_rate_stats", rates);
    }
    all
}

fn cpu(stats: &Stats, host_cpu_ns: u64, cpus: usize) -> Value {
    let own = &stats.cpu;
    let mut usage = json!({ "total_usage": own.usage_ns.unwrap_or(0) });
    put(&mut usage, "usage_in_usermode", own.user_ns.map(Value::from));
    put(&mut usage, "usage_in_kernelmode", own.system_ns.map(Value::from));
    let each = (!own.per_cpu_ns.is_empty()).then(|| json!(own.per_cpu_ns));
    put(&mut usage, "percpu_usage", each);
    json!({
        "cpu_usage": usage,
        "system_cpu_usage": host_cpu_ns,
        "online_cpus": cpus,
        "throttling_data": {
            "periods": own.periods,
            "throttled_periods": own.throttled_periods,
            "throttled_time": own.throttled_ns,
        },
    })
}

fn memory(stats: &Stats) -> Value {
    let own = &stats.memory;
    let mut lines: Map<String, Value> =
        own.stat.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    // docker's clients look for v2's name.
    lines.entry("inactive_file").or_insert(json!(cache_bytes(stats)));
    let mut all = json!({ "usage": own.usage_bytes.unwrap_or(0), "stats": lines });
    put(&mut all, "max_usage", own.usage_bytes_max.map(Value::from));
    put(&mut all, "failcnt", (0 < own.limit_hits).then(|| json!(own.limit_hits)));
    put(&mut all, "limit", own.limit_bytes.map(Value::from));
    all
}

fn blocks(entries: &[IoEntry]) -> Value {
    let entry = |entry: &IoEntry| {
        let IoEntry { major, minor, operation, value } = entry;
        json!({ "major": major, "minor": minor, "op": operation, "value": value })
    };
    entries.iter().map(entry).collect()
}

fn link(own: NetworkUsage) -> Value {
    json!({
        "rx_bytes": own.rx_bytes,
        "rx_packets": own.rx_packets,
        "rx_errors": own.rx_errors,
        "rx_dropped": own.rx_dropped,
        "tx_bytes": own.tx_bytes,
        "tx_packets": own.tx_packets,
        "tx_errors": own.tx_errors,
        "tx_dropped": own.tx_dropped,
    })
}

/// Bytes a second since the measurement before.
fn rates(now: NetworkUsage, then: Sample, now_ms: u64) -> Option<Value> {
    let before = then.network?;
    let seconds = now_ms.checked_sub(then.at_ms).filter(|ms| 0 < *ms)? as f64 / 1000.0;
    let rate = |now: u64, then: u64| Some(now.checked_sub(then)? as f64 / seconds);
    Some(json!({
        "rx_bytes_per_sec": rate(now.rx_bytes, before.rx_bytes)?,
        "tx_bytes_per_sec": rate(now.tx_bytes, before.tx_bytes)?,
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::task::testing;

    #[test]
    fn clients_of_docker_find_what_they_look_for() {
        let mut stats = Stats::default();
        stats.cpu.usage_ns = Some(700);
        stats.memory.usage_bytes = Some(1000);
        stats.memory.stat.insert("total_inactive_file".into(), 40);
        let entry = |operation: &str| IoEntry {
            major: 8,
            minor: 0,
            operation: operation.into(),
            value: 4096,
        };
        stats.io.bytes = vec![entry("Read"), entry("Write")];
        let network = |rx_bytes| NetworkUsage { rx_bytes, tx_bytes: 5, ..Default::default() };
        let before = Sample {
            at_ms: 1_000,
            at: Instant::now(),
            cpu_ns: 300,
            host_cpu_ns: 10,
            network: Some(network(100)),
        };
        let known = Known {
            stats: &stats,
            network: Some(network(300)),
            before: Some(before),
            host_cpu_ns: 20,
            cpus: 2,
            now_ms: 3_000,
        };
        let told = super::stats(&testing::task(1), 0, &known);
        assert_eq!(told["cpu_stats"]["cpu_usage"]["total_usage"], 700);
        assert_eq!(told["precpu_stats"]["cpu_usage"]["total_usage"], 300);
        assert_eq!(told["precpu_stats"]["system_cpu_usage"], 10);
        assert_eq!(told["memory_stats"]["stats"]["inactive_file"], 40);
        assert_eq!(told["networks"]["eth0"]["rx_bytes"], 300);
        assert_eq!(told["network_rate_stats"]["rx_bytes_per_sec"], 100.0);
        let written = &told["blkio_stats"]["io_service_bytes_recursive"][1];
        let expected = json!({ "major": 8, "minor": 0, "op": "Write", "value": 4096 });
        assert_eq!(*written, expected);
    }
}
