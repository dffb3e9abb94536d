//! What containers use, as their node measures it.

use crate::{ContainerName, TaskArn};

/// What a task's containers use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskUsage {
    /// Which task.
    pub task: TaskArn,
    /// When it was measured, Unix milliseconds.
    pub at_ms: u64,
    /// Whether its containers have one network together: each of them tells the same counters.
    pub shares_network: bool,
    /// Those that run.
    pub containers: Vec<ContainerUsage>,
}

impl TaskUsage {
    /// CPU units that all of it used on average since the measurement before.
    #[must_use]
    pub fn cpu_units(&self) -> u64 {
        let each = self.containers.iter().map(|container| container.cpu_units.unwrap_or(0));
        each.fold(0, u64::saturating_add)
    }

    /// Memory that all of it has and could not give back, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let each = self.containers.iter().map(ContainerUsage::working_set_bytes);
        each.fold(0, u64::saturating_add)
    }
}

/// What a container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Which of its task.
    pub name: ContainerName,
    /// CPU time since its start, in nanoseconds.
    pub cpu_ns: u64,
    /// CPU units (1024 a vCPU) that it used on average since the measurement before; `None` at
    /// the first.
    pub cpu_units: Option<u64>,
    /// Memory in use, page cache included, in bytes.
    pub memory_bytes: u64,
    /// Page cache among it that nobody used lately, in bytes: given back where memory is short.
    pub cache_bytes: u64,
    /// The most memory that was in use, in bytes.
    pub memory_peak_bytes: u64,
    /// What its memory is limited to, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: u64,
    /// Of its own network, where it has one.
    pub network: Option<NetworkUsage>,
    /// Of all block devices.
    pub block: BlockUsage,
}

impl ContainerUsage {
    /// Memory that it has and could not give back, in bytes (as docker and ECS count it).
    #[must_use]
    pub fn working_set_bytes(&self) -> u64 {
        self.memory_bytes.saturating_sub(self.cache_bytes)
    }
}

/// What came in and went out, as the container sees it, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkUsage {
    /// Bytes that came.
    pub rx_bytes: u64,
    /// Packets that came.
    pub rx_packets: u64,
    /// Of these, broken ones.
    pub rx_errors: u64,
    /// Of these, dropped ones.
    pub rx_dropped: u64,
    /// Bytes that went.
    pub tx_bytes: u64,
    /// Packets that went.
    pub tx_packets: u64,
    /// Of these, broken ones.
    pub tx_errors: u64,
    /// Of these, dropped ones.
    pub tx_dropped: u64,
}

/// Reads and writes of block devices since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockUsage {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Requests to read.
    pub reads: u64,
    /// Requests to write.
    pub writes: u64,
}
