//! Tests of the log as a whole, on the forgetful disk and on a directory of Apache Kafka's.

mod behaviour;
mod clean;
mod damage;
mod faults;
mod filters;
mod golden;
mod model;
mod rig;
