//! What a node has and what a task reserves of it.

use serde::{Deserialize, Serialize};

/// CPU units in one vCPU (ECS: 1024 CPU units are one vCPU).
pub const CPU_UNITS_PER_VCPU: u64 = 1024;

/// An amount of CPU and memory: a node's total, or one reservation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// CPU units; 1024 are one vCPU.
    pub cpu_units: u64,
    /// Memory in MiB (2^20 bytes).
    pub memory_mib: u64,
}

impl Resources {
    /// Nothing at all.
    pub const ZERO: Self = Self { cpu_units: 0, memory_mib: 0 };

    /// The sum, or `None` where either part would pass `u64::MAX`.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            cpu_units: self.cpu_units.checked_add(other.cpu_units)?,
            memory_mib: self.memory_mib.checked_add(other.memory_mib)?,
        })
    }

    /// What is left after `other` is taken away; a part that would go below zero is zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self {
            cpu_units: self.cpu_units.saturating_sub(other.cpu_units),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
        }
    }

    /// Whether both parts are at most those of `room`.
    #[must_use]
    pub fn fits_in(self, room: Self) -> bool {
        self.cpu_units <= room.cpu_units && self.memory_mib <= room.memory_mib
    }
}
