//! Nothing of its own: `tests/oracle.rs` compares our codec with Apache Kafka's, whose side is in
//! `java/`; `jars` gathers its class paths and `run` starts our Java programs on them.
