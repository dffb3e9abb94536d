//! What containers use as numbers for Prometheus, in its text format (version 0.0.4). Pure.

use std::fmt::Write as _;

use loadline_model::TaskUsage;
use loadline_model::usage::ContainerUsage;

/// A number of each container.
type Of = fn(&ContainerUsage) -> Option<f64>;

/// Name, kind, help, and where it comes from.
const NUMBERS: [(&str, &str, &str, Of); 14] = [
    ("cpu_seconds_total", "counter", "CPU time since its start.", |c| Some(c.cpu_ns as f64 / 1e9)),
    ("cpu_units", "gauge", "CPU in use on average, 1024 a vCPU.", |c| {
        c.cpu_units.map(|units| units as f64)
    }),
    ("memory_bytes", "gauge", "Memory in use, page cache included.", |c| {
        Some(c.memory_bytes as f64)
    }),
    ("memory_working_set_bytes", "gauge", "Memory that it could not give back.", |c| {
        Some(c.working_set_bytes() as f64)
    }),
    ("memory_peak_bytes", "gauge", "The most memory that was in use.", |c| {
        Some(c.memory_peak_bytes as f64)
    }),
    ("memory_limit_bytes", "gauge", "Its hard limit.", |c| {
        c.memory_limit_bytes.map(|bytes| bytes as f64)
    }),
    ("processes", "gauge", "Processes and threads.", |c| Some(c.processes as f64)),
    ("network_receive_bytes_total", "counter", "Bytes that came.", |c| {
        c.network.map(|own| own.rx_bytes as f64)
    }),
    ("network_receive_packets_total", "counter", "Packets that came.", |c| {
        c.network.map(|own| own.rx_packets as f64)
    }),
    ("network_transmit_bytes_total", "counter", "Bytes that went.", |c| {
        c.network.map(|own| own.tx_bytes as f64)
    }),
    ("network_transmit_packets_total", "counter", "Packets that went.", |c| {
        c.network.map(|own| own.tx_packets as f64)
    }),
    ("network_dropped_packets_total", "counter", "Packets that were dropped, both ways.", |c| {
        c.network.map(|own| own.rx_dropped.saturating_add(own.tx_dropped) as f64)
    }),
    ("block_read_bytes_total", "counter", "Bytes read from block devices.", |c| {
        Some(c.block.read_bytes as f64)
    }),
    ("block_write_bytes_total", "counter", "Bytes written to block devices.", |c| {
        Some(c.block.write_bytes as f64)
    }),
];

/// The whole page. A network that containers share is told once, of the first of them.
#[must_use]
pub fn page(tasks: &[TaskUsage]) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        text,
        "# HELP loadline_agent_info The program.\n# TYPE loadline_agent_info gauge\n\
         loadline_agent_info{{version=\"{}\"}} 1\n\
         # HELP loadline_agent_tasks Tasks that run.\n# TYPE loadline_agent_tasks gauge\n\
         loadline_agent_tasks {}",
        env!("CARGO_PKG_VERSION"),
        tasks.len()
    );
    for (name, kind, help, of) in NUMBERS {
        let _ = writeln!(
            text,
            "# HELP loadline_container_{name} {help}\n# TYPE loadline_container_{name} {kind}"
        );
        for task in tasks {
            for (at, container) in task.containers.iter().enumerate() {
                let again = task.shares_network && 0 < at && name.starts_with("network_");
                let Some(value) = of(container).filter(|_| !again) else { continue };
                let arn = task.task.as_str();
                let cluster = arn.split('/').rev().nth(1).unwrap_or_default();
                // Neither has a character that would have to be escaped.
                let _ = writeln!(
                    text,
                    "loadline_container_{name}{{cluster=\"{cluster}\",task=\"{}\",\
                     container=\"{}\"}} {value}",
                    task.task.id(),
                    container.name
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use loadline_model::usage::{BlockUsage, NetworkUsage};
    use loadline_model::{ContainerName, TaskArn};

    use super::*;

    #[test]
    fn each_container_is_a_line_and_a_shared_network_is_told_once() {
        let container = |name: &str| ContainerUsage {
            name: ContainerName::parse(name).unwrap(),
            cpu_ns: 1_500_000_000,
            cpu_units: None,
            memory_bytes: 100,
            cache_bytes: 30,
            memory_peak_bytes: 200,
            memory_limit_bytes: Some(400),
            processes: 3,
            network: Some(NetworkUsage { rx_bytes: 9, ..NetworkUsage::default() }),
            block: BlockUsage::default(),
        };
        let task = TaskUsage {
            task: TaskArn::parse("arn:aws:ecs:r:1:task/default/ab").unwrap(),
            at_ms: 0,
            shares_network: true,
            containers: vec![container("a"), container("b")],
        };
        let page = page(&[task]);
        let labels = "{cluster=\"default\",task=\"ab\",container=";
        for (line, count) in [
            (format!("loadline_container_cpu_seconds_total{labels}\"b\"}} 1.5"), 1),
            (format!("loadline_container_memory_working_set_bytes{labels}\"a\"}} 70"), 1),
            (format!("loadline_container_network_receive_bytes_total{labels}\"a\"}} 9"), 1),
            (format!("loadline_container_network_receive_bytes_total{labels}\"b\"}} 9"), 0),
            ("loadline_agent_tasks 1".to_owned(), 1),
        ] {
            assert_eq!(page.lines().filter(|have| *have == line).count(), count, "{line}\n{page}");
        }
        assert!(!page.contains("cpu_units{"), "there is no rate yet\n{page}");
    }
}
