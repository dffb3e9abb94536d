//! The whole node against a fake controller: the real protocol, the real supervisor, a real OCI
//! runtime, real cgroups. Each test has a folder, a CA and a cgroup of its own.

#[cfg(test)]
mod away;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod join;
#[cfg(test)]
mod life;
#[cfg(test)]
mod local;
#[cfg(test)]
mod logging;
#[cfg(test)]
mod network;
#[cfg(test)]
mod order;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod world;
