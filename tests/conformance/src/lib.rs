//! Nothing of its own: `tests/conformance.rs` starts the built broker and speaks to it with kcat,
//! with librdkafka through Python (`python/`), with Apache Kafka's client (`java/`), franz-go
//! (`go/`) and KafkaJS (`node/`), with Apache Kafka's tools and with raw sockets.
