//! The API over a real socket: AWS's own clients, and clients that misbehave. The nodes behind it
//! are hollow: they report what was asked of them without running anything.

#[cfg(test)]
mod clients;
#[cfg(test)]
mod hollow;
#[cfg(test)]
mod http;
#[cfg(test)]
mod world;
