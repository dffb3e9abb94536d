//! The agent port over a real socket: enrolment, identity, sessions, and an agent that somebody
//! else wrote from the .proto alone.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod files;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod session;
#[cfg(test)]
mod world;
