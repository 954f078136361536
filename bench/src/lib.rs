//! Measures Ottla and Apache Kafka 4.3.1 side by side, on one machine, in turn.
//!
//! ```text
//! cargo run --release -p ottla-bench -- run            everything, about a quarter of an hour
//! cargo run --release -p ottla-bench -- table --update the table in README
//! cargo run --release -p ottla-bench -- run cells      the cells of the log ([`cells`])
//! cargo run --release -p ottla-bench -- raw ...        one load, on one broker ([`raw`])
//! ```
//!
//! Owns the brokers and load drivers that it starts, `target/bench/` (their data, scratch results)
//! and `bench/results/`. Time limits are measured here and asserted nowhere.
//!
//! # How
//!
//! Both brokers run at the same time on the same `server.properties` (but for ports and
//! directories), Apache Kafka with the heap and collector of its start script. Nothing is tuned;
//! only `log.segment.delete.delay.ms` is short on both, so that what one run wrote is gone before
//! the next. The load comes from one foreign client for both, franz-go (`bench/driver`).
//!
//! Both are warm: each broker gets runs first that don't count (`replay` and `steady` of half the
//! time), until two in a row of every workload each take at least nine tenths of the CPU by the
//! byte of the one before (the JVM compiles for long), but no more than ten; they are in the
//! results, and the table says who was not warm in what. Then every round is A B B A (A is Ottla),
//! so that what drifts evenly hits both alike. Each turn has a fresh topic, which `ingest` and
//! `replay` share and whose files are removed after it. The disk is synced after every run.
//!
//! # Workloads
//!
//! Chosen for two cores that driver and broker share: the load is light for the driver, whose CPU
//! is recorded too, to tell when it and not the broker is the limit.
//!
//! - `ingest`: four idempotent producers with acks=all write records of 1 KiB over 12 partitions as
//!   fast as they are taken. Not compressed: a codec would run in the driver and be measured as
//!   well. The latency is in the results and not in the table: at most 2 048 records wait in a
//!   producer, so it is the time in a full queue, which is its length by the rate.
//! - `replay`: two connected consumers read that topic from its beginning, again and again for
//!   eight seconds; it is in the page cache.
//! - `steady`: 2 000 records of 256 bytes a second over 12 partitions and four connections without
//!   linger, so nearly every record is a request of its own, and a tailing consumer. An open loop:
//!   latencies count from the time at which a record was to be sent, so a stall can't hide itself
//!   by stalling the load. At 5 000 a second Apache Kafka and the driver fill both cores, and the
//!   latency would be that of the queue for them.
//! - `start`: from the start of the process to the first connection accepted, resident memory then;
//!   and from an empty directory to the first record on the consumer's output, all with the
//!   system's own tools. For Apache Kafka, formatting counts in the latter only.
//!
//! # Durability differs
//!
//! Both run with their defaults: Ottla syncs a batch before it acknowledges it, Apache Kafka leaves
//! it to the page cache. What Apache Kafka's `ingest` writes below the kernel's dirty limit
//! (`vm.dirty_background_ratio`) is not yet on disk when its figure is taken; what ours writes is.
//! `--peer durable` measures Apache Kafka with
//! `log.flush.interval.messages=1`, which makes it sync before it acknowledges, too (the segment
//! and its indexes, where Ottla syncs the segment alone); both results are kept.
//!
//! # What counts as a difference
//!
//! See [`stats`]: all rounds agree, and the ratio is beyond what rounds differ by.
//!
//! Invariants:
//! - I1: nothing waits without a deadline.
//! - I2: no broker, driver or tool outlives us, whatever ends us: the kernel kills it.
//! - I3: `bench/results/` holds full measurements of committed trees only; all else is scratch.
#![allow(clippy::print_stdout)] // A command line tool talks to its user.

pub mod bare;
pub mod broker;
pub mod cells;
pub mod driver;
pub mod limits;
pub mod machine;
pub mod proc;
pub mod raw;
pub mod results;
pub mod run;
pub mod start;
pub mod stats;
pub mod table;
