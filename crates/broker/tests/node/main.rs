//! The node by its bytes: requests in, answers out, on a disk in memory.

mod compaction;
mod damage;
mod fetch;
mod groups;
mod keys;
mod progress;
mod retention;
mod rig;
