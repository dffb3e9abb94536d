//! What containers use, as their nodes measured it last.

use loadline_model::TaskArn;
use loadline_model::usage::{ContainerUsage, NetworkUsage, TaskUsage};

use super::within;
use crate::api::ecs::{cluster_name, find_task};
use crate::api::wire::shape;
use crate::api::{Api, ApiError};
use crate::engine::{Clock as _, SystemClock};
use crate::state::Task;

/// Most tasks of one answer, and the default.
const TASKS_MAX: u32 = 1000;
/// Most tasks that one request may name.
const NAMED_MAX: usize = 100;
const MIB: f64 = 1024.0 * 1024.0;

shape! {
    /// ReadTaskUsage's input.
    ReadTaskUsageRequest = "" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Ids or ARNs, at most 100; all that run where absent.
        tasks: "tasks" => Option<Vec<String>>,
        /// 1 to 1,000.
        limit: "limit" => Option<i64>,
        /// From the answer before.
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// ReadTaskUsage's output.
    ReadTaskUsageResponse = "" {
        /// Those that were measured lately, by their ARNs.
        tasks: "tasks" => Vec<TaskUsageShown>,
        /// Where there is more.
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// A task.
    TaskUsageShown = "" {
        /// ARN.
        task_arn: "taskArn" => String,
        /// `family:FAMILY` or `service:SERVICE`, or what RunTask said.
        group: "group" => String,
        /// The node.
        container_instance_arn: "containerInstanceArn" => String,
        /// When it was measured, Unix milliseconds.
        measured_at: "measuredAt" => u64,
        /// CPU units that it reserved.
        cpu_units_reserved: "cpuUnitsReserved" => u64,
        /// MiB that it reserved.
        memory_mib_reserved: "memoryMiBReserved" => u64,
        /// In use, in percent of what it reserved; absent where it reserved none.
        cpu_percent: "cpuPercent" => Option<f64>,
        /// The same of memory.
        memory_percent: "memoryPercent" => Option<f64>,
        /// Those that run.
        containers: "containers" => Vec<ContainerUsageShown>,
    }
}

shape! {
    /// A container.
    ContainerUsageShown = "" {
        /// Its name.
        name: "name" => String,
        /// CPU units in use on average since the measurement before; absent at the first.
        cpu_units: "cpuUnits" => Option<u64>,
        /// CPU time since its start, in nanoseconds.
        cpu_ns: "cpuNs" => u64,
        /// Memory in use, page cache included.
        memory_bytes: "memoryBytes" => u64,
        /// Without page cache that nobody used lately.
        memory_working_set_bytes: "memoryWorkingSetBytes" => u64,
        /// The most that was in use.
        memory_peak_bytes: "memoryPeakBytes" => u64,
        /// Its hard limit.
        memory_limit_bytes: "memoryLimitBytes" => Option<u64>,
        /// Processes and threads.
        processes: "processes" => u64,
        /// Where it has a network of its own, or its task has.
        network: "network" => Option<NetworkUsageShown>,
        /// Bytes read from block devices.
        block_read_bytes: "blockReadBytes" => u64,
        /// Bytes written to block devices.
        block_write_bytes: "blockWriteBytes" => u64,
    }
}

shape! {
    /// Counters of a network.
    NetworkUsageShown = "" {
        /// Whether the task's other containers tell the same counters.
        shared: "shared" => bool,
        /// Bytes that came.
        rx_bytes: "rxBytes" => u64,
        /// Packets that came.
        rx_packets: "rxPackets" => u64,
        /// Bytes that went.
        tx_bytes: "txBytes" => u64,
        /// Packets that went.
        tx_packets: "txPackets" => u64,
    }
}

pub(super) async fn read(
    api: &Api,
    request: ReadTaskUsageRequest,
) -> Result<ReadTaskUsageResponse, ApiError> {
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    let limit = within("limit", request.limit, 1, TASKS_MAX, TASKS_MAX)?;
    let limit = usize::try_from(limit).unwrap_or(1);
    let named = request.tasks.unwrap_or_default();
    if NAMED_MAX < named.len() {
        return Err(ApiError::invalid(format_args!("tasks can have at most {NAMED_MAX} items.")));
    }
    let after = request.next_token.as_deref().map(|token| {
        let invalid = |_| ApiError::invalid("nextToken is of no answer before");
        TaskArn::parse(token).map_err(invalid)
    });
    let after = after.transpose()?;
    let mut tasks: Vec<&Task> = if named.is_empty() {
        // One more tells whether there is more.
        let rest = view.tasks_in(&cluster, after.as_ref()).map(|task| &**task);
        rest.filter(|task| task.held).take(limit + 1).collect()
    } else {
        let mut found = Vec::new();
        for name in &named {
            found.push(&**find_task(&view, &cluster, name)?);
        }
        found
    };
    tasks.sort_by(|a, b| a.arn.cmp(&b.arn));
    tasks.dedup_by(|a, b| a.arn == b.arn);
    if let Some(after) = &after {
        tasks.retain(|task| *after < task.arn);
    }
    let now_ms = SystemClock::new().unix_ms();
    let measured = |task: &&Task| {
        let usage = api.seeing.usage.get(&task.arn, now_ms)?;
        Some(show(task, &usage))
    };
    let next_token = tasks.get(limit - 1).filter(|_| limit < tasks.len());
    let next_token = next_token.map(|task| task.arn.to_string());
    let tasks = tasks.iter().take(limit).filter_map(measured).collect();
    Ok(ReadTaskUsageResponse { tasks, next_token })
}

fn show(task: &Task, usage: &TaskUsage) -> TaskUsageShown {
    let percent = |part: f64, whole: u64| (0 < whole).then(|| part / whole as f64 * 100.0);
    TaskUsageShown {
        task_arn: task.arn.to_string(),
        group: task.group.to_string(),
        container_instance_arn: task.node.to_string(),
        measured_at: usage.at_ms,
        cpu_units_reserved: task.reserved.cpu_units,
        memory_mib_reserved: task.reserved.memory_mib,
        cpu_percent: percent(usage.cpu_units() as f64, task.reserved.cpu_units),
        memory_percent: percent(usage.memory_bytes() as f64 / MIB, task.reserved.memory_mib),
        containers: usage.containers.iter().map(|own| container(usage, own)).collect(),
    }
}

fn container(usage: &TaskUsage, own: &ContainerUsage) -> ContainerUsageShown {
    let network = |of: NetworkUsage| NetworkUsageShown {
        shared: usage.shares_network,
        rx_bytes: of.rx_bytes,
        rx_packets: of.rx_packets,
        tx_bytes: of.tx_bytes,
        tx_packets: of.tx_packets,
    };
    ContainerUsageShown {
        name: own.name.to_string(),
        cpu_units: own.cpu_units,
        cpu_ns: own.cpu_ns,
        memory_bytes: own.memory_bytes,
        memory_working_set_bytes: own.working_set_bytes(),
        memory_peak_bytes: own.memory_peak_bytes,
        memory_limit_bytes: own.memory_limit_bytes,
        processes: own.processes,
        network: own.network.map(network),
        block_read_bytes: own.block.read_bytes,
        block_write_bytes: own.block.write_bytes,
    }
}
