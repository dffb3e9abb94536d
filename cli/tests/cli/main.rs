//! The program as it is typed, against a controller and an agent that say what a test wants.

#[cfg(test)]
mod api;
#[cfg(test)]
mod image;
#[cfg(test)]
mod units;
#[cfg(test)]
mod world;
