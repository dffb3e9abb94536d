//! Whole clusters on the real kernel, a module for each subject. Every test starts a cluster of its
//! own, and ends with the claim that nothing of it is left.

#![forbid(unsafe_code)]

#[cfg(test)]
mod agent_death;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod containers;
#[cfg(test)]
mod controller_death;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod everyday;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod images;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod metadata;
#[cfg(test)]
mod networks;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod services;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod together;
#[cfg(test)]
mod up;
#[cfg(test)]
mod world;
