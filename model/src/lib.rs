//! Loadline's vocabulary: ids, resources, what a task is made of, the task state machine, and the
//! node's line. The agent, the controller and the protocol's conversions all speak in these types.
//!
//! Invariants: no I/O, no clock, no randomness and no wire format in this crate. Times are
//! milliseconds since the Unix epoch that a caller passes in. Serde derives exist because both the
//! agent's ledger and the controller's store keep these values on disk.

#![forbid(unsafe_code)]

pub mod ids;
pub mod lifecycle;
pub mod line;
pub mod linux;
pub mod logging;
pub mod network;
pub mod report;
pub mod resources;
pub mod status;
pub mod storage;
pub mod task;
pub mod usage;

pub use ids::{ContainerName, InstanceArn, InvalidId, TaskArn};
pub use lifecycle::{
    Condition, Dependency, DependencyFault, HealthCheck, HealthStatus, RestartPolicy,
};
pub use line::{Line, Refusal, RefusalReason};
pub use linux::{Device, IpcMode, LinuxParameters, PidMode, Right, Tmpfs, Ulimit};
pub use logging::{LogConfiguration, LogDriver};
pub use network::{ContainerNetwork, NetworkBinding, NetworkMode, PortMapping, Protocol};
pub use report::{ContainerReport, TaskReport};
pub use resources::Resources;
pub use status::{ContainerStatus, DesiredStatus, IllegalStep, StopCode, TaskStatus};
pub use storage::{MountPoint, Volume, VolumeFrom, VolumeSource};
pub use task::{Assignment, ContainerSpec, KeyValue, TaskSpec};
pub use usage::{ContainerUsage, TaskUsage};
