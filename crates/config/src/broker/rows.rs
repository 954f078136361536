//! The table: every key of Apache Kafka 4.4.0, by name, 350 public ones and 29 internal ones, and
//! those of our own ([`super::OWN`]).
//!
//! `log.flush.interval.messages` is the one default that differs: ours is 1, so that what is
//! acknowledged is on disk; Apache Kafka leaves flushing to the operating system.

use super::Row;
use super::Scope::{Cluster, PerBroker, ReadOnly};
use super::State::{Honoured, NoEffect, Refused};
use crate::value::Kind::{
    Boolean, Class, Double, FullList, GzipLevel, Int, List, Long, NonEmpty, OneOf, OneOfAnyCase,
    Password, Short, Text,
};
use crate::value::{MAX, MAX_INT, MAX_SHORT, MIN, MIN_INT};

/// The table; a row is key, type and range, default, who may change it, state, and what it is for.
pub const ROWS: &[Row] = table! {
    "add.partitions.to.txn.retry.backoff.max.ms": Int(0, MAX_INT), Some("100"), ReadOnly,
        NoEffect("transactions run inside one process"),
        "Longest time the broker keeps retrying a verification of a transaction's partition.";
    "add.partitions.to.txn.retry.backoff.ms": Int(1, MAX_INT), Some("20"), ReadOnly,
        NoEffect("transactions run inside one process"),
        "Pause between two tries to verify a partition of a transaction.";
    "advertised.listeners": FullList(&[]), None, ReadOnly, Honoured,
        "Addresses told to clients when they differ from where the node listens.";
    "alter.config.policy.class.name": Class, None, ReadOnly,
        Refused("a Java class cannot be loaded"),
        "Java class that may veto configuration changes.";
    "alter.log.dirs.replication.quota.window.num": Int(1, MAX_INT), Some("11"), ReadOnly,
        NoEffect("moves between directories are not throttled"),
        "Samples kept for the quota on moves between log directories.";
    "alter.log.dirs.replication.quota.window.size.seconds": Int(1, MAX_INT), Some("1"), ReadOnly,
        NoEffect("moves between directories are not throttled"),
        "Length of one sample for the quota on moves between log directories.";
    "authorizer.class.name": Text, Some(""), ReadOnly, Refused("there is no authorizer yet"),
        "Java class that decides who may do what; empty allows everybody.";
    "auto.create.topics.enable": Boolean, Some("true"), ReadOnly, Honoured,
        "Create a topic when a client asks for one that does not exist.";
    "auto.leader.rebalance.enable": Boolean, Some("true"), ReadOnly,
        NoEffect("one node always leads"),
        "Let the controller move leadership back to preferred replicas.";
    "background.threads": Int(1, MAX_INT), Some("10"), Cluster,
        NoEffect("the node sizes its own threads"),
        "Threads for background work.";
    "broker.heartbeat.interval.ms": Int(MIN_INT, MAX_INT), Some("2000"), ReadOnly,
        NoEffect("one node sends no heartbeats"),
        "How often a broker tells the controller that it is alive.";
    "broker.id": Int(MIN_INT, MAX_INT), Some("-1"), ReadOnly, Honoured,
        "Old name of node.id; both must agree when both are given.";
    "broker.rack": Text, None, ReadOnly, Honoured,
        "Rack or zone of this node, shown to clients in metadata.";
    "broker.session.timeout.ms": Int(MIN_INT, MAX_INT), Some("9000"), ReadOnly,
        NoEffect("one node sends no heartbeats"),
        "How long the controller waits for a heartbeat before it fences a broker.";
    "client.quota.callback.class": Class, None, ReadOnly, Refused("a Java class cannot be loaded"),
        "Java class that computes client quotas.";
    "compression.gzip.level": GzipLevel, Some("-1"), Cluster, Honoured,
        "Level used when the broker compresses with gzip; -1 is the library's own.";
    "compression.lz4.level": Int(1, 17), Some("9"), Cluster, Honoured,
        "Level used when the broker compresses with lz4.";
    "compression.type": OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        Some("producer"), Cluster, Honoured,
        "Codec that topics store by default; producer keeps what was sent.";
    "compression.zstd.level": Int(-131_072, 22), Some("3"), Cluster, Honoured,
        "Level used when the broker compresses with zstd.";
    "config.providers": List(&[]), Some(""), Cluster,
        Refused("variables in values cannot be resolved"),
        "Names of sources for ${...} variables in configuration values.";
    "connection.failed.authentication.delay.ms": Int(0, MAX_INT), Some("100"), ReadOnly,
        NoEffect("connections are not authenticated yet"),
        "How long a connection stays open after a failed authentication.";
    "connections.max.idle.ms": Long(MIN, MAX), Some("600000"), ReadOnly, Honoured,
        "Close a connection that has been silent for this long.";
    "connections.max.reauth.ms": Long(MIN, MAX), Some("0"), ReadOnly,
        Refused("SASL is not available yet"),
        "Longest life of a SASL session before the client must authenticate again.";
    "controlled.shutdown.enable": Boolean, Some("true"), ReadOnly,
        NoEffect("one node has nobody to hand over to"),
        "Hand leadership to others before the node stops.";
    "controller.listener.names": FullList(&[]), None, ReadOnly, Honoured,
        "Names of the listeners that belong to the controller.";
    "controller.performance.always.log.threshold.ms": Long(0, MAX), Some("2000"), ReadOnly internal,
        NoEffect("controller events are not timed this way"),
        "Always log a controller event that takes longer than this.";
    "controller.performance.sample.period.ms": Long(100, MAX), Some("60000"), ReadOnly internal,
        NoEffect("controller events are not timed this way"),
        "Period over which slow controller events are summed up in the log.";
    "controller.quorum.append.linger.ms": Int(0, MAX_INT), Some("25"), ReadOnly,
        NoEffect("one voter writes without waiting"),
        "How long the metadata leader collects records before it writes them.";
    "controller.quorum.auto.join.enable": Boolean, Some("false"), ReadOnly,
        NoEffect("one voter has no quorum to join"),
        "Let a new controller add itself to the voters.";
    "controller.quorum.bootstrap.servers": List(&[]), Some(""), ReadOnly,
        NoEffect("one voter has nobody to ask for its quorum"),
        "Controller addresses at which a node first looks for the quorum.";
    "controller.quorum.election.backoff.max.ms": Int(0, MAX_INT), Some("1000"), ReadOnly,
        NoEffect("one voter elects itself"),
        "Longest pause after an election without a winner.";
    "controller.quorum.election.timeout.ms": Int(0, MAX_INT), Some("1000"), ReadOnly,
        NoEffect("one voter elects itself"),
        "Longest wait for votes before a candidate starts over.";
    "controller.quorum.fetch.max.bytes": Int(1, MAX_INT), Some("1048576"), ReadOnly,
        NoEffect("one voter fetches from nobody"),
        "Most bytes in one fetch of the metadata log.";
    "controller.quorum.fetch.snapshot.max.bytes": Int(1, MAX_INT), Some("1048576"), ReadOnly,
        NoEffect("one voter fetches from nobody"),
        "Most bytes in one fetch of a metadata snapshot.";
    "controller.quorum.fetch.timeout.ms": Int(0, MAX_INT), Some("2000"), ReadOnly,
        NoEffect("one voter fetches from nobody"),
        "How long a follower may go without a good fetch before it calls an election.";
    "controller.quorum.request.timeout.ms": Int(0, MAX_INT), Some("2000"), ReadOnly,
        NoEffect("one voter sends no requests"),
        "How long a quorum member waits for an answer.";
    "controller.quorum.retry.backoff.ms": Int(0, MAX_INT), Some("20"), ReadOnly,
        NoEffect("one voter sends no requests"),
        "Pause before a failed quorum request is sent again.";
    "controller.quorum.voters": List(&[]), Some(""), ReadOnly, Honoured,
        "The fixed voters as id@host:port; must name this node.";
    "controller.quota.window.num": Int(1, MAX_INT), Some("11"), ReadOnly,
        NoEffect("quotas come later"),
        "Samples kept for the quota on topic changes.";
    "controller.quota.window.size.seconds": Int(1, MAX_INT), Some("1"), ReadOnly,
        NoEffect("quotas come later"),
        "Length of one sample for the quota on topic changes.";
    "controller.socket.timeout.ms": Int(MIN_INT, MAX_INT), Some("30000"), ReadOnly,
        NoEffect("the controller is in the same process"),
        "Socket timeout for requests from the controller to brokers.";
    "cordoned.log.dirs": List(&[]), Some(""), PerBroker,
        Refused("directories cannot be cordoned yet"),
        "Log directories that get no new partitions; * means all.";
    "create.topic.policy.class.name": Class, None, ReadOnly,
        Refused("a Java class cannot be loaded"),
        "Java class that may veto the creation of topics.";
    "default.replication.factor": Int(MIN_INT, MAX_INT), Some("1"), ReadOnly, Honoured,
        "Replicas of a new topic whose creator does not say how many.";
    "delegation.token.expiry.check.interval.ms": Long(1, MAX), Some("3600000"), ReadOnly,
        Refused("delegation tokens are not available yet"),
        "How often expired delegation tokens are removed.";
    "delegation.token.expiry.time.ms": Long(1, MAX), Some("86400000"), ReadOnly,
        Refused("delegation tokens are not available yet"),
        "How long a delegation token lasts before it must be renewed.";
    "delegation.token.max.lifetime.ms": Long(1, MAX), Some("604800000"), ReadOnly,
        Refused("delegation tokens are not available yet"),
        "Longest life of a delegation token, renewals included.";
    "delegation.token.secret.key": Password, None, ReadOnly,
        Refused("delegation tokens are not available yet"),
        "Secret that signs delegation tokens; the same on every node.";
    "delete.records.purgatory.purge.interval.requests": Int(MIN_INT, MAX_INT), Some("1"), ReadOnly,
        NoEffect("finished waits are dropped at once"),
        "How many waiting delete-records requests pass between two clean-ups.";
    "delete.topic.enable": Boolean, Some("true"), ReadOnly, Honoured,
        "Allow topics to be deleted.";
    "early.start.listeners": List(&[]), None, ReadOnly, NoEffect("all listeners open together"),
        "Listeners that open before the authorizer is ready.";
    "errors.deadletterqueue.auto.create.topics.enable": Boolean, Some("false"), Cluster,
        NoEffect("share groups are not available yet"),
        "Create a missing dead letter topic of a share group.";
    "errors.deadletterqueue.topic.name.prefix": Text, Some("dlq."), Cluster,
        NoEffect("share groups are not available yet"),
        "Prefix that the names of dead letter topics must start with.";
    "fetch.max.bytes": Int(1024, MAX_INT), Some("57671680"), ReadOnly, Honoured,
        "Most bytes the node returns for one fetch request.";
    "fetch.purgatory.purge.interval.requests": Int(MIN_INT, MAX_INT), Some("1000"), ReadOnly,
        NoEffect("finished waits are dropped at once"),
        "How many waiting fetches pass between two clean-ups.";
    "follower.fetch.last.tiered.offset.enable": Boolean, Some("false"), Cluster,
        NoEffect("there are no followers and no tiered storage"),
        "Let a new follower start at the last offset in tiered storage.";
    "group.consumer.assignment.interval.ms": Int(0, MAX_INT), Some("1000"), Cluster,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Least time between two assignments of a consumer group.";
    "group.consumer.assignor.offload.enable": Boolean, Some("true"), Cluster internal,
        NoEffect("assignments run where the node decides"),
        "Compute assignments of consumer groups away from the coordinator's thread.";
    "group.consumer.assignors": FullList(&[]), Some("uniform,range"), ReadOnly,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Server-side assignors of consumer groups, the default first.";
    "group.consumer.heartbeat.interval.ms": Int(1, MAX_INT), Some("5000"), ReadOnly,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Heartbeat interval told to members of consumer groups.";
    "group.consumer.max.assignment.interval.ms": Int(0, MAX_INT), Some("15000"), ReadOnly,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Highest assignment interval a consumer group may be given.";
    "group.consumer.max.heartbeat.interval.ms": Int(1, MAX_INT), Some("15000"), ReadOnly,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Highest heartbeat interval a consumer group may be given.";
    "group.consumer.max.session.timeout.ms": Int(1, MAX_INT), Some("60000"), ReadOnly,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Highest session timeout a consumer group may be given.";
    "group.consumer.max.size": Int(1, MAX_INT), Some("2147483647"), ReadOnly,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Most members in one consumer group.";
    "group.consumer.migration.policy":
        OneOfAnyCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]),
        Some("bidirectional"),
        ReadOnly, NoEffect("consumer groups of KIP-848 are not available yet"),
        "Which ways a group may change between the classic and the consumer protocol.";
    "group.consumer.min.assignment.interval.ms": Int(0, MAX_INT), Some("0"), ReadOnly,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Lowest assignment interval a consumer group may be given.";
    "group.consumer.min.heartbeat.interval.ms": Int(1, MAX_INT), Some("5000"), ReadOnly,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Lowest heartbeat interval a consumer group may be given.";
    "group.consumer.min.session.timeout.ms": Int(1, MAX_INT), Some("45000"), ReadOnly,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Lowest session timeout a consumer group may be given.";
    "group.consumer.regex.refresh.interval.ms": Int(10_000, MAX_INT),
        Some("600000"),
        ReadOnly internal, NoEffect("consumer groups of KIP-848 are not available yet"),
        "How often subscriptions by regular expression are matched again.";
    "group.consumer.session.timeout.ms": Int(1, MAX_INT), Some("45000"), ReadOnly,
        NoEffect("consumer groups of KIP-848 are not available yet"),
        "Drop a member of a consumer group after this long without a heartbeat.";
    "group.coordinator.append.linger.ms": Int(-1, MAX_INT), Some("-1"), ReadOnly,
        NoEffect("records are written when the last write is done"),
        "How long group records are collected before a write; -1 decides by load.";
    "group.coordinator.background.threads": Int(1, MAX_INT), Some("2"), ReadOnly,
        NoEffect("the node sizes its own threads"),
        "Threads that compute assignments.";
    "group.coordinator.cached.buffer.max.bytes": Int(524_288, MAX_INT), Some("1048588"), Cluster,
        NoEffect("the node manages its own buffers"),
        "Largest write buffer the group coordinator keeps for reuse.";
    "group.coordinator.rebalance.protocols": FullList(&["consumer", "classic", "share", "streams"]),
        Some("classic,consumer,streams"), ReadOnly,
        NoEffect("groups of the classic protocol are all there is"),
        "Group protocols on offer; classic must be among them.";
    "group.coordinator.threads": Int(1, MAX_INT), Some("4"), ReadOnly,
        NoEffect("the node sizes its own threads"),
        "Threads of the group coordinator.";
    "group.initial.rebalance.delay.ms": Int(MIN_INT, MAX_INT), Some("3000"), ReadOnly, Honoured,
        "How long a new classic group waits for more members.";
    "group.max.session.timeout.ms": Int(MIN_INT, MAX_INT), Some("1800000"), ReadOnly, Honoured,
        "Highest session timeout a classic member may ask for.";
    "group.max.size": Int(1, MAX_INT), Some("2147483647"), ReadOnly, Honoured,
        "Most members in one classic group.";
    "group.min.session.timeout.ms": Int(MIN_INT, MAX_INT), Some("6000"), ReadOnly, Honoured,
        "Lowest session timeout a classic member may ask for.";
    "group.share.assignment.interval.ms": Int(0, MAX_INT), Some("1000"), Cluster,
        NoEffect("share groups are not available yet"),
        "Least time between two assignments of a share group.";
    "group.share.assignor.offload.enable": Boolean, Some("true"), Cluster internal,
        NoEffect("assignments run where the node decides"),
        "Compute assignments of share groups away from the coordinator's thread.";
    "group.share.assignors": FullList(&[]), Some("simple"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Server-side assignors of share groups; one is allowed.";
    "group.share.delivery.count.limit": Int(2, 10), Some("5"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "How often a share group tries to deliver a record before it gives up.";
    "group.share.dlq.manager.class.name": Text,
        Some("org.apache.kafka.server.share.dlq.DefaultShareGroupDLQManager"),
        ReadOnly internal, Refused("a Java class cannot be loaded"),
        "Java class that writes to dead letter topics.";
    "group.share.heartbeat.interval.ms": Int(1, MAX_INT), Some("5000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Heartbeat interval told to members of share groups.";
    "group.share.initialize.retry.interval.ms": Int(1, MAX_INT), Some("30000"), ReadOnly internal,
        NoEffect("share groups are not available yet"),
        "Pause before the start of a share partition is tried again.";
    "group.share.max.assignment.interval.ms": Int(0, MAX_INT), Some("15000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Highest assignment interval a share group may be given.";
    "group.share.max.delivery.count.limit": Int(5, 25), Some("10"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Highest delivery limit a share group may be given.";
    "group.share.max.heartbeat.interval.ms": Int(1, MAX_INT), Some("15000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Highest heartbeat interval a share group may be given.";
    "group.share.max.partition.max.record.locks": Int(2000, 10_000), Some("4000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Highest number of locked records a share group may be given.";
    "group.share.max.record.lock.duration.ms": Int(30_000, 3_600_000), Some("60000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Longest record lock a share group may be given.";
    "group.share.max.session.timeout.ms": Int(1, MAX_INT), Some("60000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Highest session timeout a share group may be given.";
    "group.share.max.share.sessions": Int(1, MAX_INT), Some("2000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Most share sessions on this node.";
    "group.share.max.size": Int(1, 1000), Some("200"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Most members in one share group.";
    "group.share.min.assignment.interval.ms": Int(0, MAX_INT), Some("0"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Lowest assignment interval a share group may be given.";
    "group.share.min.delivery.count.limit": Int(2, 5), Some("2"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Lowest delivery limit a share group may be given.";
    "group.share.min.heartbeat.interval.ms": Int(1, MAX_INT), Some("5000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Lowest heartbeat interval a share group may be given.";
    "group.share.min.partition.max.record.locks": Int(100, 2000), Some("100"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Lowest number of locked records a share group may be given.";
    "group.share.min.record.lock.duration.ms": Int(1000, 30_000), Some("15000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Shortest record lock a share group may be given.";
    "group.share.min.session.timeout.ms": Int(1, MAX_INT), Some("45000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Lowest session timeout a share group may be given.";
    "group.share.partition.max.record.locks": Int(100, 10_000), Some("2000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Most records locked at once in one share partition.";
    "group.share.persister.class.name": Text,
        Some("org.apache.kafka.server.share.persister.DefaultStatePersister"),
        ReadOnly internal, Refused("a Java class cannot be loaded"),
        "Java class that stores the state of share groups.";
    "group.share.record.lock.duration.ms": Int(1000, 3_600_000), Some("30000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "How long a share consumer may hold a record before it is given to another.";
    "group.share.session.timeout.ms": Int(1, MAX_INT), Some("45000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Drop a member of a share group after this long without a heartbeat.";
    "group.streams.acceptable.recovery.lag": Long(0, MAX), Some("10000"), ReadOnly internal,
        NoEffect("streams groups are not available yet"),
        "Lag up to which a task of a streams group counts as caught up.";
    "group.streams.assignment.interval.ms": Int(0, MAX_INT), Some("1000"), Cluster,
        NoEffect("streams groups are not available yet"),
        "Least time between two assignments of a streams group.";
    "group.streams.assignor.offload.enable": Boolean, Some("true"), Cluster internal,
        NoEffect("assignments run where the node decides"),
        "Compute assignments of streams groups away from the coordinator's thread.";
    "group.streams.assignors": FullList(&[]), Some("sticky"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Task assignors of streams groups, the default first.";
    "group.streams.heartbeat.interval.ms": Int(1, MAX_INT), Some("5000"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Heartbeat interval told to members of streams groups.";
    "group.streams.initial.rebalance.delay.ms": Int(0, MAX_INT), Some("3000"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "How long a new streams group waits for more members.";
    "group.streams.max.assignment.interval.ms": Int(0, MAX_INT), Some("15000"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Highest assignment interval a streams group may be given.";
    "group.streams.max.heartbeat.interval.ms": Int(1, MAX_INT), Some("15000"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Highest heartbeat interval a streams group may be given.";
    "group.streams.max.session.timeout.ms": Int(1, MAX_INT), Some("60000"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Highest session timeout a streams group may be given.";
    "group.streams.max.size": Int(1, MAX_INT), Some("2147483647"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Most members in one streams group.";
    "group.streams.max.standby.replicas": Int(0, MAX_INT), Some("2"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Most standby copies per task a streams group may be given.";
    "group.streams.max.warmup.replicas": Int(0, MAX_INT), Some("20"), ReadOnly internal,
        NoEffect("streams groups are not available yet"),
        "Most warm-up copies a streams group may be given.";
    "group.streams.min.assignment.interval.ms": Int(0, MAX_INT), Some("0"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Lowest assignment interval a streams group may be given.";
    "group.streams.min.heartbeat.interval.ms": Int(1, MAX_INT), Some("5000"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Lowest heartbeat interval a streams group may be given.";
    "group.streams.min.session.timeout.ms": Int(1, MAX_INT), Some("45000"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Lowest session timeout a streams group may be given.";
    "group.streams.min.task.offset.interval.ms": Int(1, MAX_INT), Some("15000"), ReadOnly internal,
        NoEffect("streams groups are not available yet"),
        "Lowest task offset interval a streams group may be given.";
    "group.streams.num.standby.replicas": Int(0, MAX_INT), Some("0"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Standby copies of each task of a streams group.";
    "group.streams.num.warmup.replicas": Int(0, MAX_INT), Some("2"), ReadOnly internal,
        NoEffect("streams groups are not available yet"),
        "Extra copies that may catch up at one time in a streams group.";
    "group.streams.rack.aware.assignment.tags": List(&[]), Some(""), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Client tags over which standby copies are spread.";
    "group.streams.session.timeout.ms": Int(1, MAX_INT), Some("45000"), ReadOnly,
        NoEffect("streams groups are not available yet"),
        "Drop a member of a streams group after this long without a heartbeat.";
    "group.streams.task.offset.interval.ms": Int(1, MAX_INT), Some("60000"), ReadOnly internal,
        NoEffect("streams groups are not available yet"),
        "How often members of a streams group report task offsets.";
    "group.streams.topology.description.plugin.class": Class, None, ReadOnly,
        NoEffect("a Java class cannot be loaded"),
        "Java class that keeps descriptions of streams topologies.";
    "initial.broker.registration.timeout.ms": Int(MIN_INT, MAX_INT), Some("60000"), ReadOnly,
        NoEffect("one node registers with itself"),
        "How long a starting broker waits for the controller to accept it.";
    "inter.broker.listener.name": Text, None, ReadOnly, NoEffect("checked, but one node talks to no other"),
        "Name of the listener that brokers use among themselves.";
    "internal.metadata.delete.delay.millis": Long(MIN, MAX), Some("60000"), ReadOnly internal,
        NoEffect("old metadata files are removed at once"),
        "Wait before a dropped metadata file leaves the disk.";
    "internal.metadata.log.segment.bytes": Int(MIN_INT, MAX_INT), None, ReadOnly internal,
        NoEffect("metadata batches and segments are sized by the node"),
        "Segment size of the metadata log, for tests only.";
    "internal.metadata.max.batch.size.in.bytes": Int(MIN_INT, MAX_INT),
        Some("8388608"),
        ReadOnly internal, NoEffect("metadata batches and segments are sized by the node"),
        "Largest batch in the metadata log.";
    "kafka.metrics.polling.interval.secs": Int(1, MAX_INT), Some("10"), ReadOnly,
        NoEffect("Java reporters cannot be loaded"),
        "How often the old metrics reporters are asked.";
    "kafka.metrics.reporters": List(&[]), Some(""), ReadOnly,
        NoEffect("Java reporters cannot be loaded"),
        "Java classes that export the old kind of metrics.";
    "leader.imbalance.check.interval.seconds": Long(1, MAX), Some("300"), ReadOnly,
        NoEffect("one node always leads"),
        "How often the controller looks for misplaced leaders.";
    "listener.security.protocol.map": Text,
        Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"),
        PerBroker, Honoured,
        "The protocol of each listener name; only PLAINTEXT until TLS and SASL exist.";
    "listeners": FullList(&[]), Some("PLAINTEXT://:9092"), PerBroker, Honoured,
        "Addresses to listen on, as NAME://host:port.";
    "log.cleaner.backoff.ms": Long(0, MAX), Some("15000"), Cluster, Honoured,
        "How long the cleaner sleeps when nothing is dirty.";
    "log.cleaner.dedupe.buffer.size": Long(MIN, MAX), Some("134217728"), Cluster, Honoured,
        "Memory for the key tables of all cleaner threads.";
    "log.cleaner.delete.retention.ms": Long(0, MAX), Some("86400000"), Cluster, Honoured,
        "How long delete markers stay in a compacted log.";
    "log.cleaner.enable": Boolean, Some("true"), ReadOnly, Honoured,
        "Run the cleaner; compacted topics grow for ever without it.";
    "log.cleaner.io.buffer.load.factor": Double(f64::MIN, f64::MAX), Some("0.9"), Cluster, Honoured,
        "How full the cleaner's key table may get.";
    "log.cleaner.io.buffer.size": Int(0, MAX_INT), Some("524288"), Cluster,
        NoEffect("reads and writes are of some hundred KiB in any case"),
        "Memory for reading and writing of all cleaner threads.";
    "log.cleaner.io.max.bytes.per.second": Double(f64::MIN, f64::MAX),
        Some("1.7976931348623157E308"), Cluster, Honoured,
        "Most bytes per second the cleaner reads and writes.";
    "log.cleaner.max.compaction.lag.ms": Long(1, MAX), Some("9223372036854775807"), Cluster,
        Honoured,
        "Longest time a record may stay uncompacted.";
    "log.cleaner.min.cleanable.ratio": Double(0.0, 1.0), Some("0.5"), Cluster, Honoured,
        "Share of dirty bytes at which a log is cleaned.";
    "log.cleaner.min.compaction.lag.ms": Long(0, MAX), Some("0"), Cluster, Honoured,
        "Shortest time a record stays uncompacted.";
    "log.cleaner.threads": Int(0, MAX_INT), Some("1"), Cluster, Honoured,
        "Threads that compact logs.";
    "log.cleanup.policy": List(&["compact", "delete"]), Some("delete"), Cluster, Honoured,
        "What happens to old data of a topic: delete, compact, both or nothing.";
    "log.dir": FullList(&[]), Some("/tmp/kafka-logs"), ReadOnly, Honoured,
        "One data directory, used when log.dirs is not given.";
    "log.dir.failure.timeout.ms": Long(1, MAX), Some("30000"), ReadOnly,
        NoEffect("a failed directory stops the node"),
        "How long a broker may fail to report a dead directory before it stops.";
    "log.dirs": FullList(&[]), None, ReadOnly, Honoured,
        "Data directories, separated by commas.";
    "log.flush.interval.messages": Long(1, MAX), Some("1"), Cluster, Honoured,
        "Sync a partition to disk after this many records.";
    "log.flush.interval.ms": Long(MIN, MAX), None, Cluster, Honoured,
        "Sync a partition to disk at the latest after this time.";
    "log.flush.offset.checkpoint.interval.ms": Int(0, MAX_INT), Some("60000"), ReadOnly,
        NoEffect("recovery points are written with the data"),
        "How often the recovery points are written.";
    "log.flush.scheduler.interval.ms": Long(MIN, MAX), Some("9223372036854775807"), ReadOnly,
        NoEffect("idle logs are looked at every second"),
        "How often the node looks for data that is due for a sync.";
    "log.flush.start.offset.checkpoint.interval.ms": Int(0, MAX_INT), Some("60000"), ReadOnly,
        NoEffect("start offsets are written when they change"),
        "How often the start offsets of logs are written.";
    "log.index.interval.bytes": Int(0, MAX_INT), Some("4096"), Cluster, Honoured,
        "Bytes of records between two entries of an index.";
    "log.index.size.max.bytes": Int(4, MAX_INT), Some("10485760"), Cluster, Honoured,
        "Largest index of a segment; a full index rolls the segment.";
    "log.initial.task.delay.ms": Long(0, MAX), Some("30000"), ReadOnly internal, Honoured,
        "Wait after the start before data that may be deleted is looked for.";
    "log.local.retention.bytes": Long(-2, MAX), Some("-2"), Cluster,
        NoEffect("there is no tiered storage"),
        "Bytes kept on local disk when a log is tiered; -2 takes the full limit.";
    "log.local.retention.ms": Long(-2, MAX), Some("-2"), Cluster,
        NoEffect("there is no tiered storage"),
        "Time data stays on local disk when a log is tiered; -2 takes the full limit.";
    "log.message.timestamp.after.max.ms": Long(0, MAX), Some("3600000"), Cluster, Honoured,
        "How far a record's time may lie ahead of the node's clock.";
    "log.message.timestamp.before.max.ms": Long(0, MAX), Some("9223372036854775807"), Cluster,
        Honoured,
        "How far a record's time may lie behind the node's clock.";
    "log.message.timestamp.type": OneOf(&["CreateTime", "LogAppendTime"]),
        Some("CreateTime"), Cluster, Honoured,
        "Whether a record keeps the producer's time or gets the time of arrival.";
    "log.preallocate": Boolean, Some("false"), Cluster, NoEffect("files grow as data arrives"),
        "Reserve the disk space of a segment when it is created.";
    "log.remote.copy.lag.bytes": Long(-1, MAX), Some("-1"), Cluster,
        NoEffect("there is no tiered storage"),
        "Bytes of closed segments that wait before they are copied to tiered storage.";
    "log.remote.copy.lag.ms": Long(-1, MAX), Some("0"), Cluster,
        NoEffect("there is no tiered storage"),
        "Time a closed segment waits before it is copied to tiered storage.";
    "log.retention.bytes": Long(MIN, MAX), Some("-1"), Cluster, Honoured,
        "Most bytes kept per partition; -1 has no limit.";
    "log.retention.check.interval.ms": Long(1, MAX), Some("300000"), ReadOnly, Honoured,
        "How often logs are checked for data that may be deleted.";
    "log.retention.hours": Int(MIN_INT, MAX_INT), Some("168"), ReadOnly, Honoured,
        "How many hours data is kept; minutes or ms win over it.";
    "log.retention.minutes": Int(MIN_INT, MAX_INT), None, ReadOnly, Honoured,
        "How many minutes data is kept; ms wins over it.";
    "log.retention.ms": Long(MIN, MAX), None, Cluster, Honoured,
        "How long data is kept, in milliseconds; -1 has no limit.";
    "log.roll.hours": Int(1, MAX_INT), Some("168"), ReadOnly, Honoured,
        "Start a new segment after this many hours; ms wins over it.";
    "log.roll.jitter.hours": Int(0, MAX_INT), Some("0"), ReadOnly,
        NoEffect("segments roll without jitter"),
        "Most hours taken off the roll time at random; ms wins over it.";
    "log.roll.jitter.ms": Long(MIN, MAX), None, Cluster, NoEffect("segments roll without jitter"),
        "Most milliseconds taken off the roll time at random.";
    "log.roll.ms": Long(MIN, MAX), None, Cluster, Honoured,
        "Start a new segment after this many milliseconds.";
    "log.scrub.interval.ms": Long(-1, MAX), Some("604800000"), Cluster, Honoured,
        "Time from one check of all logs for damage to the next; -1 is never. Ottla's own key.";
    "log.scrub.io.max.bytes.per.second": Long(0, MAX), Some("33554432"), Cluster, Honoured,
        "Most bytes a second read to check logs for damage; 0 is no limit. Ottla's own key.";
    "log.segment.bytes": Int(1_048_576, MAX_INT), Some("1073741824"), Cluster, Honoured,
        "Largest size of one segment file.";
    "log.segment.delete.delay.ms": Long(0, MAX), Some("60000"), Cluster, Honoured,
        "How long a deleted segment file stays on disk.";
    "max.connection.creation.rate": Int(0, MAX_INT), Some("2147483647"), Cluster,
        NoEffect("connection rates are not limited yet"),
        "Most new connections per second.";
    "max.connections": Int(0, MAX_INT), Some("2147483647"), Cluster, Honoured,
        "Most open connections on the node.";
    "max.connections.per.ip": Int(0, MAX_INT), Some("2147483647"), Cluster,
        NoEffect("connections are not counted by address yet"),
        "Most open connections from one address.";
    "max.connections.per.ip.overrides": Text, Some(""), Cluster,
        NoEffect("connections are not counted by address yet"),
        "Other limits for single addresses, as host:count.";
    "max.decompressed.message.bytes": Int(1, 2_147_483_639), Some("2147483639"), Cluster,
        NoEffect("batches are opened up to 256 MiB"),
        "Most bytes a batch may take once it is decompressed.";
    "max.incremental.fetch.session.cache.slots": Int(0, MAX_INT), Some("1000"), ReadOnly,
        NoEffect("there are always 1000 slots"),
        "Most incremental fetch sessions kept at a time.";
    "max.request.partition.size.limit": Int(1, MAX_INT), Some("2000"), ReadOnly,
        Honoured,
        "Most partitions in one answer about topic partitions.";
    "message.max.bytes": Int(0, MAX_INT), Some("1048588"), Cluster, Honoured,
        "Largest batch a topic takes, as it came over the wire.";
    "metadata.log.dir": Text, None, ReadOnly, Honoured,
        "Directory of the metadata log; the first of log.dirs if not given.";
    "metadata.log.max.record.bytes.between.snapshots": Long(1, MAX), Some("20971520"), ReadOnly,
        Honoured,
        "Bytes of new metadata after which a snapshot is written.";
    "metadata.log.max.snapshot.interval.ms": Long(0, MAX), Some("3600000"), ReadOnly, Honoured,
        "Longest time between two metadata snapshots; 0 turns the clock off.";
    "metadata.log.segment.bytes": Int(8_388_608, MAX_INT), Some("1073741824"), ReadOnly, Honoured,
        "Largest segment of the metadata log.";
    "metadata.log.segment.ms": Long(MIN, MAX), Some("604800000"), ReadOnly, Honoured,
        "Start a new metadata segment after this time.";
    "metadata.max.idle.interval.ms": Int(0, MAX_INT), Some("500"), ReadOnly,
        NoEffect("one voter needs no idle records"),
        "How often an idle controller writes an empty record; 0 never.";
    "metadata.max.retention.bytes": Long(MIN, MAX), Some("104857600"), ReadOnly, Honoured,
        "Bytes of metadata log and snapshots kept before old ones go.";
    "metadata.max.retention.ms": Long(MIN, MAX), Some("604800000"), ReadOnly, Honoured,
        "Age at which old metadata log and snapshots go.";
    "metric.reporters": List(&[]), Some("org.apache.kafka.common.metrics.JmxReporter"), Cluster,
        NoEffect("Java reporters cannot be loaded"),
        "Java classes that export metrics.";
    "metrics.num.samples": Int(1, MAX_INT), Some("2"), ReadOnly,
        NoEffect("metrics are not sampled this way"),
        "Samples behind one metric.";
    "metrics.recording.level": Text, Some("INFO"), ReadOnly,
        NoEffect("metrics are always recorded"),
        "How detailed metrics are.";
    "metrics.sample.window.ms": Long(1, MAX), Some("30000"), ReadOnly,
        NoEffect("metrics are not sampled this way"),
        "Length of one sample of a metric.";
    "min.insync.replicas": Int(1, MAX_INT), Some("1"), Cluster, Honoured,
        "Replicas in sync that a write with acks=all needs.";
    "node.id": Int(0, MAX_INT), None, ReadOnly, Honoured,
        "The number of this node in the cluster.";
    "num.io.threads": Int(1, MAX_INT), Some("8"), Cluster,
        NoEffect("the node sizes its own threads"),
        "Threads that handle requests.";
    "num.network.threads": Int(1, MAX_INT), Some("3"), Cluster,
        NoEffect("the node sizes its own threads"),
        "Threads that read and write sockets, per listener.";
    "num.partitions": Int(1, MAX_INT), Some("1"), ReadOnly, Honoured,
        "Partitions of a new topic whose creator does not say how many.";
    "num.recovery.threads.per.data.dir": Int(1, MAX_INT), Some("2"), Cluster,
        NoEffect("the node sizes its own threads"),
        "Threads per directory that load and check logs at start.";
    "num.replica.alter.log.dirs.threads": Int(MIN_INT, MAX_INT), None, ReadOnly,
        NoEffect("the node sizes its own threads"),
        "Threads that move replicas between directories.";
    "num.replica.fetchers": Int(1, MAX_INT), Some("1"), Cluster,
        NoEffect("one node replicates from nobody"),
        "Fetcher threads per source broker.";
    "offset.metadata.max.bytes": Int(MIN_INT, MAX_INT), Some("4096"), ReadOnly, Honoured,
        "Longest text a client may store with a committed offset.";
    "offsets.commit.timeout.ms": Int(1, MAX_INT), Some("5000"), ReadOnly, Honoured,
        "How long an offset commit may wait for its write.";
    "offsets.load.buffer.size": Int(1, MAX_INT), Some("5242880"), ReadOnly,
        NoEffect("the node manages its own buffers"),
        "Bytes read at a time when group state is loaded.";
    "offsets.retention.check.interval.ms": Long(1, MAX), Some("600000"), ReadOnly, Honoured,
        "How often old committed offsets are looked for.";
    "offsets.retention.minutes": Int(1, MAX_INT), Some("10080"), ReadOnly, Honoured,
        "How long offsets of an empty group are kept.";
    "offsets.topic.compression.codec": Int(MIN_INT, MAX_INT), Some("0"), ReadOnly,
        NoEffect("offsets are written uncompressed"),
        "Codec number of the records in the offsets topic.";
    "offsets.topic.num.partitions": Int(1, MAX_INT), Some("50"), ReadOnly, Honoured,
        "Partitions of the offsets topic; fixed once it exists.";
    "offsets.topic.replication.factor": Short(1, MAX_SHORT), Some("3"), ReadOnly, Honoured,
        "Replicas of the offsets topic; a single node needs 1.";
    "offsets.topic.segment.bytes": Int(1, MAX_INT), Some("104857600"), ReadOnly, Honoured,
        "Segment size of the offsets topic.";
    "principal.builder.class": Class,
        Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"),
        PerBroker, Refused("a Java class cannot be loaded"),
        "Java class that turns a connection into a user name.";
    "process.roles": FullList(&["broker", "controller"]), None, ReadOnly, Honoured,
        "What this node is: broker, controller or both.";
    "producer.id.expiration.check.interval.ms": Int(1, MAX_INT), Some("600000"), ReadOnly internal,
        NoEffect("producers are looked at when retention is"),
        "How often idle producer ids are looked for.";
    "producer.id.expiration.ms": Int(1, MAX_INT), Some("86400000"), Cluster,
        NoEffect("producers are forgotten after a day"),
        "Forget a producer's sequence numbers after this long without a write.";
    "producer.purgatory.purge.interval.requests": Int(MIN_INT, MAX_INT), Some("1000"), ReadOnly,
        NoEffect("finished waits are dropped at once"),
        "How many waiting produce requests pass between two clean-ups.";
    "queued.max.request.bytes": Long(MIN, MAX), Some("-1"), ReadOnly,
        NoEffect("a memory budget bounds requests"),
        "Most bytes of requests waiting to be handled; -1 has no limit.";
    "queued.max.requests": Int(1, MAX_INT), Some("500"), ReadOnly,
        NoEffect("a memory budget bounds requests"),
        "Requests that may wait before sockets are no longer read.";
    "quota.window.num": Int(1, MAX_INT), Some("11"), ReadOnly, NoEffect("quotas come later"),
        "Samples kept for client quotas.";
    "quota.window.size.seconds": Int(1, MAX_INT), Some("1"), ReadOnly,
        NoEffect("quotas come later"),
        "Length of one sample for client quotas.";
    "remote.fetch.max.wait.ms": Int(1, MAX_INT), Some("500"), Cluster,
        NoEffect("there is no tiered storage"),
        "How long a fetch waits for tiered storage.";
    "remote.list.offsets.request.timeout.ms": Long(1, MAX), Some("30000"), Cluster,
        NoEffect("there is no tiered storage"),
        "How long an offset lookup waits for tiered storage.";
    "remote.log.index.file.cache.total.size.bytes": Long(1, MAX), Some("1073741824"), Cluster,
        NoEffect("there is no tiered storage"),
        "Disk space for index files fetched from tiered storage.";
    "remote.log.index.file.cache.ttl.ms": Long(-1, MAX), Some("900000"), ReadOnly internal,
        NoEffect("there is no tiered storage"),
        "How long an unused fetched index file is kept; -1 for ever.";
    "remote.log.manager.copier.thread.pool.size": Int(1, MAX_INT), Some("10"), Cluster,
        NoEffect("there is no tiered storage"),
        "Threads that copy segments to tiered storage.";
    "remote.log.manager.copy.max.bytes.per.second": Long(1, MAX),
        Some("9223372036854775807"), Cluster, NoEffect("there is no tiered storage"),
        "Most bytes per second copied to tiered storage.";
    "remote.log.manager.copy.quota.window.num": Int(1, MAX_INT), Some("11"), ReadOnly,
        NoEffect("there is no tiered storage"),
        "Samples kept for the quota on copies to tiered storage.";
    "remote.log.manager.copy.quota.window.size.seconds": Int(1, MAX_INT), Some("1"), ReadOnly,
        NoEffect("there is no tiered storage"),
        "Length of one sample for the quota on copies to tiered storage.";
    "remote.log.manager.expiration.thread.pool.size": Int(1, MAX_INT), Some("10"), Cluster,
        NoEffect("there is no tiered storage"),
        "Threads that delete expired segments in tiered storage.";
    "remote.log.manager.fetch.max.bytes.per.second": Long(1, MAX),
        Some("9223372036854775807"), Cluster, NoEffect("there is no tiered storage"),
        "Most bytes per second read from tiered storage.";
    "remote.log.manager.fetch.quota.window.num": Int(1, MAX_INT), Some("11"), ReadOnly,
        NoEffect("there is no tiered storage"),
        "Samples kept for the quota on reads from tiered storage.";
    "remote.log.manager.fetch.quota.window.size.seconds": Int(1, MAX_INT), Some("1"), ReadOnly,
        NoEffect("there is no tiered storage"),
        "Length of one sample for the quota on reads from tiered storage.";
    "remote.log.manager.follower.thread.pool.size": Int(1, MAX_INT), Some("2"), Cluster,
        NoEffect("there is no tiered storage"),
        "Threads that do a follower's share of tiering.";
    "remote.log.manager.task.interval.ms": Long(1, MAX), Some("30000"), ReadOnly,
        NoEffect("there is no tiered storage"),
        "How often tiering looks for work.";
    "remote.log.manager.task.retry.backoff.max.ms": Long(1, MAX), Some("30000"), ReadOnly internal,
        NoEffect("there is no tiered storage"),
        "Longest pause before a failed tiering task runs again.";
    "remote.log.manager.task.retry.backoff.ms": Long(1, MAX), Some("500"), ReadOnly internal,
        NoEffect("there is no tiered storage"),
        "First pause before a failed tiering task runs again.";
    "remote.log.manager.task.retry.jitter": Double(0.0, 0.5), Some("0.2"), ReadOnly internal,
        NoEffect("there is no tiered storage"),
        "Share of randomness in the pauses of tiering tasks.";
    "remote.log.manager.thread.pool.size": Int(1, MAX_INT), Some("2"), ReadOnly,
        NoEffect("there is no tiered storage"),
        "Threads that run tiering tasks.";
    "remote.log.metadata.custom.metadata.max.bytes": Int(0, MAX_INT), Some("128"), ReadOnly,
        NoEffect("there is no tiered storage"),
        "Most bytes of a plugin's own data per tiered segment.";
    "remote.log.metadata.manager.class.name": NonEmpty,
        Some("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"),
        ReadOnly, NoEffect("there is no tiered storage"),
        "Java class that remembers which segments are tiered.";
    "remote.log.metadata.manager.class.path": Text, None, ReadOnly,
        NoEffect("there is no tiered storage"),
        "Where to find the Java class that remembers tiered segments.";
    "remote.log.metadata.manager.impl.prefix": NonEmpty, Some("rlmm.config."), ReadOnly,
        NoEffect("there is no tiered storage"),
        "Prefix of the keys handed to the tiering metadata plugin.";
    "remote.log.metadata.manager.listener.name": NonEmpty, None, ReadOnly,
        NoEffect("there is no tiered storage"),
        "Listener the tiering metadata plugin connects to.";
    "remote.log.reader.max.pending.tasks": Int(1, MAX_INT), Some("100"), ReadOnly,
        NoEffect("there is no tiered storage"),
        "Reads from tiered storage that may wait in line.";
    "remote.log.reader.threads": Int(1, MAX_INT), Some("10"), Cluster,
        NoEffect("there is no tiered storage"),
        "Threads that read from tiered storage.";
    "remote.log.storage.manager.class.name": NonEmpty, None, ReadOnly,
        NoEffect("there is no tiered storage"),
        "Java class that stores segments elsewhere.";
    "remote.log.storage.manager.class.path": Text, None, ReadOnly,
        NoEffect("there is no tiered storage"),
        "Where to find the Java class that stores segments elsewhere.";
    "remote.log.storage.manager.impl.prefix": NonEmpty, Some("rsm.config."), ReadOnly,
        NoEffect("there is no tiered storage"),
        "Prefix of the keys handed to the tiered storage plugin.";
    "remote.log.storage.system.enable": Boolean, Some("false"), ReadOnly,
        Refused("there is no tiered storage"),
        "Turn tiered storage on for this node.";
    "replica.fetch.backoff.ms": Int(0, MAX_INT), Some("1000"), ReadOnly,
        NoEffect("one node replicates from nobody"),
        "Pause of a follower after a failed fetch.";
    "replica.fetch.max.bytes": Int(0, MAX_INT), Some("1048576"), ReadOnly,
        NoEffect("one node replicates from nobody"),
        "Bytes a follower asks for per partition.";
    "replica.fetch.min.bytes": Int(MIN_INT, MAX_INT), Some("1"), ReadOnly,
        NoEffect("one node replicates from nobody"),
        "Bytes a follower wants before its fetch is answered.";
    "replica.fetch.response.max.bytes": Int(0, MAX_INT), Some("10485760"), ReadOnly,
        NoEffect("one node replicates from nobody"),
        "Bytes a follower asks for per fetch.";
    "replica.fetch.wait.max.ms": Int(MIN_INT, MAX_INT), Some("500"), ReadOnly,
        NoEffect("one node replicates from nobody"),
        "How long a follower's fetch may wait.";
    "replica.high.watermark.checkpoint.interval.ms": Long(MIN, MAX), Some("5000"), ReadOnly,
        NoEffect("one node's log end is its high watermark"),
        "How often high watermarks are written to disk.";
    "replica.lag.time.max.ms": Long(MIN, MAX), Some("30000"), ReadOnly,
        NoEffect("one node has no followers"),
        "How far behind in time a follower may fall and still count as in sync.";
    "replica.selector.class": Text, None, ReadOnly, NoEffect("one node has only one replica"),
        "Java class that picks the replica a consumer reads from.";
    "replica.socket.receive.buffer.bytes": Int(MIN_INT, MAX_INT), Some("65536"), ReadOnly,
        NoEffect("one node replicates from nobody"),
        "Socket buffer of a follower's fetches.";
    "replica.socket.timeout.ms": Int(MIN_INT, MAX_INT), Some("30000"), ReadOnly,
        NoEffect("one node replicates from nobody"),
        "Socket timeout of a follower's fetches.";
    "replication.quota.window.num": Int(1, MAX_INT), Some("11"), ReadOnly,
        NoEffect("one node replicates to nobody"),
        "Samples kept for the replication quota.";
    "replication.quota.window.size.seconds": Int(1, MAX_INT), Some("1"), ReadOnly,
        NoEffect("one node replicates to nobody"),
        "Length of one sample for the replication quota.";
    "request.timeout.ms": Int(MIN_INT, MAX_INT), Some("30000"), ReadOnly,
        NoEffect("the controller is in the same process"),
        "How long the node waits for answers to its own requests.";
    "sasl.client.callback.handler.class": Class, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Java class that answers SASL questions when the node is the client.";
    "sasl.enabled.mechanisms": List(&[]), Some("GSSAPI"), PerBroker,
        Refused("SASL is not available yet"),
        "SASL mechanisms the node accepts.";
    "sasl.jaas.config": Password, None, PerBroker, Refused("SASL is not available yet"),
        "Login settings of a listener and mechanism.";
    "sasl.kerberos.kinit.cmd": Text, Some("/usr/bin/kinit"), PerBroker,
        Refused("SASL is not available yet"),
        "Path of the kinit program.";
    "sasl.kerberos.min.time.before.relogin": Long(MIN, MAX), Some("60000"), PerBroker,
        Refused("SASL is not available yet"),
        "Least time between two Kerberos logins.";
    "sasl.kerberos.principal.to.local.rules": List(&[]), Some("DEFAULT"), PerBroker,
        Refused("SASL is not available yet"),
        "Rules that shorten Kerberos names to user names.";
    "sasl.kerberos.service.name": Text, None, PerBroker, Refused("SASL is not available yet"),
        "Service name of the node in Kerberos.";
    "sasl.kerberos.ticket.renew.jitter": Double(f64::MIN, f64::MAX), Some("0.05"), PerBroker,
        Refused("SASL is not available yet"),
        "Randomness in the time of a ticket renewal.";
    "sasl.kerberos.ticket.renew.window.factor": Double(f64::MIN, f64::MAX), Some("0.8"), PerBroker,
        Refused("SASL is not available yet"),
        "Share of a ticket's life after which it is renewed.";
    "sasl.login.callback.handler.class": Class, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Java class that supplies login data.";
    "sasl.login.class": Class, None, ReadOnly, Refused("SASL is not available yet"),
        "Java class that performs the login.";
    "sasl.login.connect.timeout.ms": Int(MIN_INT, MAX_INT), None, ReadOnly,
        Refused("SASL is not available yet"),
        "How long to wait for a connection to the login service.";
    "sasl.login.read.timeout.ms": Int(MIN_INT, MAX_INT), None, ReadOnly,
        Refused("SASL is not available yet"),
        "How long to wait for an answer of the login service.";
    "sasl.login.refresh.buffer.seconds": Short(-32_768, MAX_SHORT), Some("300"), PerBroker,
        Refused("SASL is not available yet"),
        "Time kept in reserve before a token expires.";
    "sasl.login.refresh.min.period.seconds": Short(-32_768, MAX_SHORT), Some("60"), PerBroker,
        Refused("SASL is not available yet"),
        "Least time before a token is refreshed.";
    "sasl.login.refresh.window.factor": Double(f64::MIN, f64::MAX), Some("0.8"), PerBroker,
        Refused("SASL is not available yet"),
        "Share of a token's life after which it is refreshed.";
    "sasl.login.refresh.window.jitter": Double(f64::MIN, f64::MAX), Some("0.05"), PerBroker,
        Refused("SASL is not available yet"),
        "Randomness in the time of a token refresh.";
    "sasl.login.retry.backoff.max.ms": Long(MIN, MAX), Some("10000"), ReadOnly,
        Refused("SASL is not available yet"),
        "Longest pause between two tries to log in.";
    "sasl.login.retry.backoff.ms": Long(MIN, MAX), Some("100"), ReadOnly,
        Refused("SASL is not available yet"),
        "First pause between two tries to log in.";
    "sasl.mechanism.controller.protocol": Text, Some("GSSAPI"), ReadOnly,
        Refused("SASL is not available yet"),
        "SASL mechanism towards the controllers.";
    "sasl.mechanism.inter.broker.protocol": Text, Some("GSSAPI"), PerBroker,
        Refused("SASL is not available yet"),
        "SASL mechanism between brokers.";
    "sasl.oauthbearer.allow.unverified.audience": Boolean, Some("false"), ReadOnly,
        Refused("SASL is not available yet"),
        "Accept tokens without checking for whom they were issued.";
    "sasl.oauthbearer.allow.unverified.issuer": Boolean, Some("false"), ReadOnly,
        Refused("SASL is not available yet"),
        "Accept tokens without checking who issued them.";
    "sasl.oauthbearer.assertion.algorithm": OneOfAnyCase(&["ES256", "RS256"]),
        Some("RS256"), ReadOnly, Refused("SASL is not available yet"),
        "Algorithm that signs the assertion for a token.";
    "sasl.oauthbearer.assertion.claim.aud": Text, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Audience named in the assertion.";
    "sasl.oauthbearer.assertion.claim.exp.seconds": Int(0, 86_400), Some("300"), ReadOnly,
        Refused("SASL is not available yet"),
        "Seconds until the assertion expires.";
    "sasl.oauthbearer.assertion.claim.iss": Text, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Issuer named in the assertion.";
    "sasl.oauthbearer.assertion.claim.jti.include": Boolean, Some("false"), ReadOnly,
        Refused("SASL is not available yet"),
        "Give each assertion an id of its own.";
    "sasl.oauthbearer.assertion.claim.nbf.seconds": Int(0, 3600), Some("60"), ReadOnly,
        Refused("SASL is not available yet"),
        "Seconds by which the assertion is valid before now.";
    "sasl.oauthbearer.assertion.claim.sub": Text, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Subject named in the assertion.";
    "sasl.oauthbearer.assertion.file": Text, None, ReadOnly, Refused("SASL is not available yet"),
        "File with a ready-made assertion.";
    "sasl.oauthbearer.assertion.private.key.file": Text, None, ReadOnly,
        Refused("SASL is not available yet"),
        "File with the private key that signs assertions.";
    "sasl.oauthbearer.assertion.private.key.passphrase": Password, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Passphrase of the private key that signs assertions.";
    "sasl.oauthbearer.assertion.template.file": Text, None, ReadOnly,
        Refused("SASL is not available yet"),
        "File with fixed headers and claims of assertions.";
    "sasl.oauthbearer.client.credentials.client.id": Text, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Client id for getting a token.";
    "sasl.oauthbearer.client.credentials.client.secret": Password, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Client secret for getting a token.";
    "sasl.oauthbearer.clock.skew.seconds": Int(MIN_INT, MAX_INT), Some("30"), ReadOnly,
        Refused("SASL is not available yet"),
        "Clock difference allowed when a token's times are checked.";
    "sasl.oauthbearer.expected.audience": List(&[]), Some(""), ReadOnly,
        Refused("SASL is not available yet"),
        "Audiences a token may be issued for.";
    "sasl.oauthbearer.expected.issuer": Text, None, ReadOnly, Refused("SASL is not available yet"),
        "Issuer that tokens must come from.";
    "sasl.oauthbearer.jwks.endpoint.refresh.ms": Long(MIN, MAX), Some("3600000"), ReadOnly,
        Refused("SASL is not available yet"),
        "How often the keys that verify tokens are fetched again.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms": Long(MIN, MAX), Some("10000"), ReadOnly,
        Refused("SASL is not available yet"),
        "Longest pause between two tries to fetch the keys.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms": Long(MIN, MAX), Some("100"), ReadOnly,
        Refused("SASL is not available yet"),
        "First pause between two tries to fetch the keys.";
    "sasl.oauthbearer.jwks.endpoint.url": Text, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Where the keys that verify tokens are found.";
    "sasl.oauthbearer.jwt.retriever.class": Class,
        Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever"),
        ReadOnly, Refused("SASL is not available yet"),
        "Java class that gets tokens.";
    "sasl.oauthbearer.jwt.validator.class": Class,
        Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator"),
        ReadOnly, Refused("SASL is not available yet"),
        "Java class that checks tokens.";
    "sasl.oauthbearer.scope": Text, None, ReadOnly, Refused("SASL is not available yet"),
        "Scope asked for when getting a token.";
    "sasl.oauthbearer.scope.claim.name": Text, Some("scope"), ReadOnly,
        Refused("SASL is not available yet"),
        "Claim of a token that holds its scope.";
    "sasl.oauthbearer.sub.claim.name": Text, Some("sub"), ReadOnly,
        Refused("SASL is not available yet"),
        "Claim of a token that holds the user name.";
    "sasl.oauthbearer.token.endpoint.url": Text, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Where tokens are issued.";
    "sasl.server.callback.handler.class": Class, None, ReadOnly,
        Refused("SASL is not available yet"),
        "Java class that checks the credentials of clients.";
    "sasl.server.max.receive.size": Int(MIN_INT, MAX_INT), Some("524288"), ReadOnly,
        Refused("SASL is not available yet"),
        "Largest request accepted before a client has authenticated.";
    "security.inter.broker.protocol": OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
        Some("PLAINTEXT"), ReadOnly, Refused("TLS and SASL are not available yet"),
        "Protocol between brokers; not together with inter.broker.listener.name.";
    "security.providers": Text, None, ReadOnly, Refused("a Java class cannot be loaded"),
        "Java classes that add security algorithms.";
    "server.max.startup.time.ms": Long(0, MAX), Some("9223372036854775807"), ReadOnly internal,
        NoEffect("the start has no time limit"),
        "Give up when the node takes longer than this to start.";
    "share.coordinator.append.linger.ms": Int(-1, MAX_INT), Some("-1"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "How long share records are collected before a write; -1 decides by load.";
    "share.coordinator.cached.buffer.max.bytes": Int(524_288, MAX_INT), Some("1048588"), Cluster,
        NoEffect("the node manages its own buffers"),
        "Largest write buffer the share coordinator keeps for reuse.";
    "share.coordinator.cold.partition.snapshot.interval.ms": Int(1, MAX_INT),
        Some("300000"), ReadOnly internal, NoEffect("share groups are not available yet"),
        "How often the state of an idle share partition is written in full.";
    "share.coordinator.load.buffer.size": Int(1, MAX_INT), Some("5242880"), ReadOnly,
        NoEffect("the node manages its own buffers"),
        "Bytes read at a time when share state is loaded.";
    "share.coordinator.snapshot.update.records.per.snapshot": Int(0, 500), Some("500"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Changes of a share partition between two full writes of its state.";
    "share.coordinator.state.topic.compression.codec": Int(MIN_INT, MAX_INT), Some("0"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Codec number of the records in the share state topic.";
    "share.coordinator.state.topic.min.isr": Short(1, MAX_SHORT), Some("2"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Replicas in sync that a write to the share state topic needs.";
    "share.coordinator.state.topic.num.partitions": Int(1, MAX_INT), Some("50"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Partitions of the share state topic; fixed once it exists.";
    "share.coordinator.state.topic.prune.interval.ms": Int(1, MAX_INT),
        Some("300000"), ReadOnly internal, NoEffect("share groups are not available yet"),
        "How often old records of the share state topic are deleted.";
    "share.coordinator.state.topic.replication.factor": Short(1, MAX_SHORT), Some("3"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Replicas of the share state topic; a single node needs 1.";
    "share.coordinator.state.topic.segment.bytes": Int(1, MAX_INT), Some("104857600"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "Segment size of the share state topic.";
    "share.coordinator.threads": Int(1, MAX_INT), Some("1"), ReadOnly,
        NoEffect("the node sizes its own threads"),
        "Threads of the share coordinator.";
    "share.coordinator.write.timeout.ms": Int(1, MAX_INT), Some("5000"), ReadOnly,
        NoEffect("share groups are not available yet"),
        "How long the share coordinator waits for a write.";
    "share.fetch.purgatory.purge.interval.requests": Int(MIN_INT, MAX_INT), Some("1000"), ReadOnly,
        NoEffect("finished waits are dropped at once"),
        "How many waiting share fetches pass between two clean-ups.";
    "socket.connection.setup.timeout.max.ms": Long(MIN, MAX), Some("30000"), ReadOnly,
        NoEffect("one node opens no connections"),
        "Longest wait for an outgoing connection.";
    "socket.connection.setup.timeout.ms": Long(MIN, MAX), Some("10000"), ReadOnly,
        NoEffect("one node opens no connections"),
        "First wait for an outgoing connection.";
    "socket.listen.backlog.size": Int(1, MAX_INT), Some("50"), ReadOnly,
        NoEffect("the system bounds the backlog"),
        "Connections that may wait to be accepted.";
    "socket.receive.buffer.bytes": Int(MIN_INT, MAX_INT), Some("102400"), ReadOnly,
        NoEffect("the system sizes socket buffers"),
        "Receive buffer of a client's socket; -1 leaves it to the system.";
    "socket.request.max.bytes": Int(1, MAX_INT), Some("104857600"), ReadOnly, Honoured,
        "Largest request the node reads.";
    "socket.send.buffer.bytes": Int(MIN_INT, MAX_INT), Some("102400"), ReadOnly,
        NoEffect("the system sizes socket buffers"),
        "Send buffer of a client's socket; -1 leaves it to the system.";
    "ssl.allow.dn.changes": Boolean, Some("false"), ReadOnly, Refused("TLS is not available yet"),
        "Let a new certificate carry another subject name.";
    "ssl.allow.san.changes": Boolean, Some("false"), ReadOnly, Refused("TLS is not available yet"),
        "Let a new certificate carry other alternative names.";
    "ssl.cipher.suites": List(&[]), Some(""), PerBroker, Refused("TLS is not available yet"),
        "Cipher suites that TLS may use; empty allows all.";
    "ssl.client.auth": OneOf(&["required", "requested", "none"]), Some("none"), PerBroker,
        Refused("TLS is not available yet"),
        "Whether clients must, may or need not show a certificate.";
    "ssl.enabled.protocols": List(&[]), Some("TLSv1.2,TLSv1.3"), PerBroker,
        Refused("TLS is not available yet"),
        "TLS versions on offer.";
    "ssl.endpoint.identification.algorithm": Text, Some("https"), PerBroker,
        Refused("TLS is not available yet"),
        "How the name in a server's certificate is checked; empty turns it off.";
    "ssl.engine.factory.class": Class, None, PerBroker, Refused("TLS is not available yet"),
        "Java class that builds TLS engines.";
    "ssl.key.password": Password, None, PerBroker, Refused("TLS is not available yet"),
        "Password of the private key.";
    "ssl.keymanager.algorithm": Text, Some("SunX509"), PerBroker,
        Refused("TLS is not available yet"),
        "Java algorithm that picks keys.";
    "ssl.keystore.certificate.chain": Password, None, PerBroker,
        Refused("TLS is not available yet"),
        "Certificate chain of the node, as PEM text.";
    "ssl.keystore.key": Password, None, PerBroker, Refused("TLS is not available yet"),
        "Private key of the node, as PEM text.";
    "ssl.keystore.location": Text, None, PerBroker, Refused("TLS is not available yet"),
        "File with the node's key and certificates.";
    "ssl.keystore.password": Password, None, PerBroker, Refused("TLS is not available yet"),
        "Password of the key file.";
    "ssl.keystore.type": Text, Some("JKS"), PerBroker, Refused("TLS is not available yet"),
        "Format of the key file.";
    "ssl.principal.mapping.rules": Text, Some("DEFAULT"), ReadOnly,
        Refused("TLS is not available yet"),
        "Rules that turn certificate names into user names.";
    "ssl.protocol": Text, Some("TLSv1.3"), PerBroker, Refused("TLS is not available yet"),
        "TLS version that contexts are made for.";
    "ssl.provider": Text, None, PerBroker, Refused("TLS is not available yet"),
        "Java security provider for TLS.";
    "ssl.secure.random.implementation": Text, None, PerBroker, Refused("TLS is not available yet"),
        "Java random generator for TLS.";
    "ssl.trustmanager.algorithm": Text, Some("PKIX"), PerBroker,
        Refused("TLS is not available yet"),
        "Java algorithm that checks certificates.";
    "ssl.truststore.certificates": Password, None, PerBroker, Refused("TLS is not available yet"),
        "Trusted certificates, as PEM text.";
    "ssl.truststore.location": Text, None, PerBroker, Refused("TLS is not available yet"),
        "File with trusted certificates.";
    "ssl.truststore.password": Password, None, PerBroker, Refused("TLS is not available yet"),
        "Password of the file with trusted certificates.";
    "ssl.truststore.type": Text, Some("JKS"), PerBroker, Refused("TLS is not available yet"),
        "Format of the file with trusted certificates.";
    "telemetry.max.bytes": Int(1, MAX_INT), Some("1048576"), ReadOnly,
        NoEffect("nothing receives client metrics yet"),
        "Largest metrics push a client may send.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": Int(1, MAX_INT),
        Some("10000"), ReadOnly, NoEffect("transactions are not available yet"),
        "How often transactions that ran out of time are looked for.";
    "transaction.max.timeout.ms": Int(1, MAX_INT), Some("900000"), ReadOnly,
        NoEffect("transactions are not available yet"),
        "Longest transaction timeout a producer may ask for.";
    "transaction.partition.verification.enable": Boolean, Some("true"), Cluster,
        Refused("writes are always checked against their transaction"),
        "Check before a write that its partition belongs to the transaction.";
    "transaction.remove.expired.transaction.cleanup.interval.ms": Int(1, MAX_INT),
        Some("3600000"), ReadOnly, NoEffect("transactions are not available yet"),
        "How often unused transactional ids are looked for.";
    "transaction.state.log.load.buffer.size": Int(1, MAX_INT), Some("5242880"), ReadOnly,
        NoEffect("the node manages its own buffers"),
        "Bytes read at a time when transaction state is loaded.";
    "transaction.state.log.min.isr": Int(1, MAX_INT), Some("2"), ReadOnly,
        NoEffect("transactions are not available yet"),
        "Replicas in sync that a write to the transaction topic needs.";
    "transaction.state.log.num.partitions": Int(1, MAX_INT), Some("50"), ReadOnly,
        NoEffect("transactions are not available yet"),
        "Partitions of the transaction topic; fixed once it exists.";
    "transaction.state.log.replication.factor": Short(1, MAX_SHORT), Some("3"), ReadOnly,
        NoEffect("transactions are not available yet"),
        "Replicas of the transaction topic; a single node needs 1.";
    "transaction.state.log.segment.bytes": Int(1, MAX_INT), Some("104857600"), ReadOnly,
        NoEffect("transactions are not available yet"),
        "Segment size of the transaction topic.";
    "transaction.two.phase.commit.enable": Boolean, Some("false"), ReadOnly,
        Refused("two-phase commit is not available yet"),
        "Allow transactions that never time out, for two-phase commit.";
    "transactional.id.expiration.ms": Int(1, MAX_INT), Some("604800000"), ReadOnly,
        NoEffect("transactions are not available yet"),
        "Forget a transactional id after this long without use.";
    "unclean.leader.election.enable": Boolean, Some("false"), Cluster,
        NoEffect("one node has only one replica"),
        "Allow a replica that lacks data to become the leader.";
    "unclean.leader.election.interval.ms": Long(1, MAX), Some("300000"), ReadOnly internal,
        NoEffect("one node has only one replica"),
        "How often the controller looks for partitions that need such an election.";
    "unstable.api.versions.enable": Boolean, Some("false"), ReadOnly internal,
        Refused("unfinished API versions are not offered"),
        "Offer API versions that are still being developed.";
    "unstable.feature.versions.enable": Boolean, Some("false"), ReadOnly internal,
        Refused("unfinished feature versions are not offered"),
        "Offer feature levels that are still being developed.";
};
