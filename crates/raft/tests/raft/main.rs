//! The core under a simulated disk, network and clock (`simulation`), with bugs planted in it
//! (`planted`), and in situations made by hand (`scenarios`).

mod checker;
mod cluster;
mod hand;
mod node;
#[cfg(feature = "planted")]
mod planted;
mod scenarios;
mod simulation;
