//! Every message and record of Apache Kafka 4.4.
