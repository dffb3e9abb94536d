//! What containers use.

use loadline_model::usage::{BlockUsage, ContainerUsage, NetworkUsage, TaskUsage};
use loadline_model::{ContainerName, TaskArn};

use super::task::CONTAINERS_MAX;
use super::{InvalidField, at_most, distinct, each, id};
use crate::v1;

/// Most tasks in one message.
pub const USAGES_MAX: usize = 64;

/// Checks one message.
///
/// # Errors
/// [`InvalidField`] with a path that begins with `tasks`.
pub fn usage_from_wire(wire: v1::Usage) -> Result<Vec<TaskUsage>, InvalidField> {
    at_most("tasks", wire.tasks.len(), USAGES_MAX)?;
    each("tasks", wire.tasks)
}

impl TryFrom<v1::TaskUsage> for TaskUsage {
    type Error = InvalidField;

    fn try_from(wire: v1::TaskUsage) -> Result<Self, InvalidField> {
        at_most("containers", wire.containers.len(), CONTAINERS_MAX)?;
        let containers: Vec<ContainerUsage> = each("containers", wire.containers)?;
        distinct("containers", containers.iter().map(|c| c.name.as_str()))?;
        Ok(Self {
            task: id("task_arn", TaskArn::parse(&wire.task_arn))?,
            at_ms: wire.at_ms,
            shares_network: wire.shares_network,
            containers,
        })
    }
}

impl From<TaskUsage> for v1::TaskUsage {
    fn from(usage: TaskUsage) -> Self {
        Self {
            task_arn: usage.task.into(),
            at_ms: usage.at_ms,
            shares_network: usage.shares_network,
            containers: usage.containers.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::ContainerUsage> for ContainerUsage {
    type Error = InvalidField;

    fn try_from(wire: v1::ContainerUsage) -> Result<Self, InvalidField> {
        let block = wire.block.unwrap_or_default();
        Ok(Self {
            name: id("name", ContainerName::parse(&wire.name))?,
            cpu_ns: wire.cpu_ns,
            cpu_units: wire.cpu_units,
            memory_bytes: wire.memory_bytes,
            cache_bytes: wire.cache_bytes,
            memory_peak_bytes: wire.memory_peak_bytes,
            memory_limit_bytes: wire.memory_limit_bytes,
            processes: wire.processes,
            network: wire.network.map(Into::into),
            block: BlockUsage {
                read_bytes: block.read_bytes,
                write_bytes: block.write_bytes,
                reads: block.reads,
                writes: block.writes,
            },
        })
    }
}

impl From<ContainerUsage> for v1::ContainerUsage {
    fn from(usage: ContainerUsage) -> Self {
        let BlockUsage { read_bytes, write_bytes, reads, writes } = usage.block;
        Self {
            name: usage.name.into(),
            cpu_ns: usage.cpu_ns,
            cpu_units: usage.cpu_units,
            memory_bytes: usage.memory_bytes,
            cache_bytes: usage.cache_bytes,
            memory_peak_bytes: usage.memory_peak_bytes,
            memory_limit_bytes: usage.memory_limit_bytes,
            processes: usage.processes,
            network: usage.network.map(Into::into),
            block: Some(v1::BlockUsage { read_bytes, write_bytes, reads, writes }),
        }
    }
}

impl From<v1::NetworkUsage> for NetworkUsage {
    fn from(wire: v1::NetworkUsage) -> Self {
        Self {
            rx_bytes: wire.rx_bytes,
            rx_packets: wire.rx_packets,
            rx_errors: wire.rx_errors,
            rx_dropped: wire.rx_dropped,
            tx_bytes: wire.tx_bytes,
            tx_packets: wire.tx_packets,
            tx_errors: wire.tx_errors,
            tx_dropped: wire.tx_dropped,
        }
    }
}

impl From<NetworkUsage> for v1::NetworkUsage {
    fn from(usage: NetworkUsage) -> Self {
        Self {
            rx_bytes: usage.rx_bytes,
            rx_packets: usage.rx_packets,
            rx_errors: usage.rx_errors,
            rx_dropped: usage.rx_dropped,
            tx_bytes: usage.tx_bytes,
            tx_packets: usage.tx_packets,
            tx_errors: usage.tx_errors,
            tx_dropped: usage.tx_dropped,
        }
    }
}
