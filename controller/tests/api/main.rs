//! The API over a real socket: AWS's own clients, and clients that misbehave. The nodes behind it
//! are hollow: they report what was asked of them without running anything.

mod clients;
mod hollow;
mod http;
mod world;
