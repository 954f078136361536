//! Nothing of its own: `tests/oracle.rs` compares our codec with Apache Kafka's, `tests/clean.rs`
//! our compaction with its; that side is in `java/`; `jars` gathers its class paths and `run`
//! starts our Java programs on them.
