//! The keys of a client, as Apache Kafka's and librdkafka's users know them.
//!
//! Each says what our client does about it ([`State`]): nothing is swallowed in silence. A key
//! that guards access and can't be honoured is refused; one that no client has is warned about
//! with the nearest one that exists. Where librdkafka has another name for the same thing, the row
//! carries it as an alias; a key of librdkafka alone has a row of its own.

use std::collections::BTreeMap;

use crate::broker::State;
use crate::value::{Invalid, Kind, MAX, MAX_INT};

/// One key of a client.
#[derive(Debug)]
pub struct Row {
    /// The key, as Apache Kafka has it.
    pub name: &'static str,
    /// librdkafka's name for the same, empty if there is none.
    pub alias: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// Its default, as text; none must be given.
    pub default: Option<&'static str>,
    /// Which of [`PRODUCER`], [`CONSUMER`] and [`ADMIN`] read it.
    pub uses: u8,
    /// What our client does about it.
    pub state: State,
    /// What it is for, in a line.
    pub doc: &'static str,
}

/// Read by producers.
pub const PRODUCER: u8 = 1;
/// Read by consumers.
pub const CONSUMER: u8 = 2;
/// Read by administration.
pub const ADMIN: u8 = 4;
/// Read by all of them.
pub const ALL: u8 = PRODUCER | CONSUMER | ADMIN;

const NO_SECURITY: &str = "this client talks PLAINTEXT only so far";

/// Properties that were checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    given: BTreeMap<&'static str, String>,
    /// What was passed over, a line each.
    pub warnings: Vec<String>,
}

impl Checked {
    /// The value of a key, given or default; empty if it has neither.
    pub fn get(&self, name: &str) -> &str {
        let given = self.given.get(name).map(String::as_str);
        given.or_else(|| find(name).and_then(|row| row.default)).unwrap_or_default().trim()
    }

    /// True if the key was given.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The number of a key whose kind is one; 0 for any other.
    pub fn number(&self, name: &str) -> i64 {
        self.get(name).parse().unwrap_or_default()
    }

    /// The truth of a key whose kind is that.
    pub fn truth(&self, name: &str) -> bool {
        crate::value::parse_bool(self.get(name)).unwrap_or_default()
    }
}

/// Checks what a user asks of a client.
///
/// # Errors
/// A value out of its type or range, or one that can't be honoured and must not be ignored.
pub fn check(properties: &BTreeMap<String, String>) -> Result<Checked, Invalid> {
    let mut checked = Checked::default();
    for (key, value) in properties {
        let Some(row) = find(key) else {
            if ["sasl.", "ssl."].iter().any(|prefix| key.starts_with(prefix)) {
                return Err(refused(key, "[hidden]", NO_SECURITY));
            }
            checked.warnings.push(unknown(key));
            continue;
        };
        if row.name == "security.protocol" && !value.trim().eq_ignore_ascii_case("PLAINTEXT") {
            return Err(refused(key, value, NO_SECURITY));
        }
        row.kind.check(key, value)?;
        let usual = row.default.is_some_and(|default| default == value.trim());
        match row.state {
            State::Refused(why) if !usual => {
                let hidden = row.kind == Kind::Password;
                return Err(refused(key, if hidden { "[hidden]" } else { value }, why));
            }
            State::NoEffect(why) if !usual => {
                checked.warnings.push(format!("{key} has no effect: {why}"));
            }
            _ => {}
        }
        // The name wins over the alias, wherever it stands.
        if *key == row.name || !checked.given.contains_key(row.name) {
            checked.given.insert(row.name, value.clone());
        }
    }
    Ok(checked)
}

fn refused(key: &str, value: &str, why: &str) -> Invalid {
    Invalid::plain(key, format!("{key}={} can't be honoured: {why}", value.trim()))
}

fn unknown(key: &str) -> String {
    match nearest(key) {
        Some(nearest) => format!("unknown key {key}; did you mean {nearest}?"),
        None => format!("unknown key {key}"),
    }
}

/// The row of a key, by either of its names.
pub fn find(name: &str) -> Option<&'static Row> {
    match ROWS.binary_search_by(|row| row.name.cmp(name)) {
        Ok(index) => ROWS.get(index),
        Err(_) => ROWS.iter().find(|row| !row.alias.is_empty() && row.alias == name),
    }
}

/// The key that looks most like one that does not exist, if any looks like it at all.
pub fn nearest(name: &str) -> Option<&'static str> {
    let names = ROWS.iter().flat_map(|row| [row.name, row.alias]).filter(|name| !name.is_empty());
    crate::nearest(name, names)
}

/// Builds the table from its rows, each in two or three lines.
macro_rules! table {
    ($($name:literal ($alias:literal): $kind:expr, $default:expr, $uses:expr, $state:expr,
        $doc:literal;)*) => {
        &[$(Row {
            name: $name,
            alias: $alias,
            kind: $kind,
            default: $default,
            uses: $uses,
            state: $state,
            doc: $doc,
        },)*]
    };
}

/// Every key of a client that this version knows, by name.
pub const ROWS: &[Row] = table! {
    "acks" ("request.required.acks"): Kind::OneOf(&["all", "-1", "0", "1"]), Some("all"), PRODUCER, State::Honoured,
        "Who has to have a record before it counts as sent.";
    "allow.auto.create.topics" (""): Kind::Boolean, Some("true"), CONSUMER, State::Honoured,
        "Let the broker create topics that are subscribed to.";
    "auto.commit.interval.ms" (""): Kind::Int(0, MAX_INT), Some("5000"), CONSUMER, State::Honoured,
        "How often.";
    "auto.offset.reset" (""): Kind::OneOf(&["earliest", "latest", "none", "smallest", "beginning", "largest", "end", "error"]), Some("latest"), CONSUMER, State::Honoured,
        "Where to begin without a committed offset.";
    "batch.num.messages" (""): Kind::Int(1, 1000000), Some("10000"), PRODUCER, State::Honoured,
        "Records at which a batch is sent without waiting.";
    "batch.size" (""): Kind::Int(0, MAX_INT), Some("16384"), PRODUCER, State::Honoured,
        "Bytes at which a batch is sent without waiting.";
    "bootstrap.controllers" (""): Kind::List(&[]), Some(""), ADMIN, State::Refused("only brokers are talked to"),
        "Controllers to administer a quorum through.";
    "bootstrap.servers" ("metadata.broker.list"): Kind::FullList(&[]), None, ALL, State::Honoured,
        "Servers to learn the cluster from, as host:port.";
    "broker.address.family" (""): Kind::OneOf(&["any", "v4", "v6"]), Some("any"), ALL, State::NoEffect("every address of a name is tried"),
        "Addresses to connect to.";
    "buffer.memory" (""): Kind::Long(0, MAX), Some("33554432"), PRODUCER, State::Honoured,
        "Bytes of records that may wait; senders wait beyond.";
    "check.crcs" (""): Kind::Boolean, Some("true"), CONSUMER, State::Honoured,
        "Verify the checksums of batches.";
    "client.dns.lookup" (""): Kind::OneOf(&["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"]), Some("use_all_dns_ips"), ALL, State::NoEffect("every address of a name is tried anyway"),
        "How names become addresses.";
    "client.id" (""): Kind::Text, Some(""), ALL, State::Honoured,
        "What the broker's logs and quotas know this client by.";
    "client.rack" (""): Kind::Text, Some(""), CONSUMER, State::Honoured,
        "The rack this client is in, told to the group and to brokers.";
    "compression.gzip.level" (""): Kind::GzipLevel, Some("-1"), PRODUCER, State::Honoured,
        "Level of gzip.";
    "compression.lz4.level" (""): Kind::Int(1, 17), Some("9"), PRODUCER, State::NoEffect("lz4 is the fast variant at every level"),
        "Level of lz4.";
    "compression.type" ("compression.codec"): Kind::OneOf(&["none", "gzip", "snappy", "lz4", "zstd"]), Some("none"), PRODUCER, State::Honoured,
        "Codec of batches.";
    "compression.zstd.level" (""): Kind::Int(-131072, 22), Some("3"), PRODUCER, State::Honoured,
        "Level of zstd.";
    "config.providers" (""): Kind::List(&[]), Some(""), ALL, State::Refused("no configuration providers are there yet"),
        "Where ${...} in values is looked up.";
    "connections.max.idle.ms" (""): Kind::Long(-1, MAX), Some("540000"), ALL, State::NoEffect("connections are kept; a server that closes one is connected to again"),
        "When an idle connection is closed.";
    "debug" (""): Kind::List(&[]), Some(""), ALL, State::NoEffect("there is no debug log"),
        "librdkafka's debug contexts.";
    "default.api.timeout.ms" (""): Kind::Int(0, MAX_INT), Some("60000"), CONSUMER | ADMIN, State::Honoured,
        "How long a call as a whole may take, with all its retries.";
    "delivery.timeout.ms" ("message.timeout.ms"): Kind::Int(0, MAX_INT), Some("120000"), PRODUCER, State::Honoured,
        "How long a record may take to be acknowledged or given up.";
    "enable.auto.commit" (""): Kind::Boolean, Some("true"), CONSUMER, State::Honoured,
        "Commit what was polled from time to time.";
    "enable.auto.offset.store" (""): Kind::Boolean, Some("true"), CONSUMER, State::Refused("what a poll returned counts as processed at the next poll"),
        "librdkafka: count records as processed when they are handed out.";
    "enable.idempotence" (""): Kind::Boolean, Some("true"), PRODUCER, State::Honoured,
        "Number batches so that none is written twice or out of order.";
    "enable.metrics.push" (""): Kind::Boolean, Some("true"), ALL, State::NoEffect("this client sends no metrics"),
        "Send metrics to brokers that ask for them.";
    "enable.partition.eof" (""): Kind::Boolean, Some("false"), CONSUMER, State::Refused("the end of a partition is no event here"),
        "librdkafka: report the end of a partition.";
    "enable.ssl.certificate.verification" (""): Kind::Boolean, Some("true"), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "exclude.internal.topics" (""): Kind::Boolean, Some("true"), CONSUMER, State::Honoured,
        "Leave internal topics out of patterns.";
    "fetch.max.bytes" (""): Kind::Int(0, MAX_INT), Some("52428800"), CONSUMER, State::Honoured,
        "Bytes of an answer, unless a single batch has more.";
    "fetch.max.wait.ms" ("fetch.wait.max.ms"): Kind::Int(0, MAX_INT), Some("500"), CONSUMER, State::Honoured,
        "How long it waits at most.";
    "fetch.min.bytes" (""): Kind::Int(0, MAX_INT), Some("1"), CONSUMER, State::Honoured,
        "Bytes a broker waits for before it answers.";
    "group.id" (""): Kind::Text, Some(""), CONSUMER, State::Honoured,
        "The group to share partitions with.";
    "group.instance.id" (""): Kind::Text, Some(""), CONSUMER, State::Honoured,
        "Name of a static member, which keeps its partitions over a restart.";
    "group.protocol" (""): Kind::OneOfAnyCase(&["classic"]), Some("classic"), CONSUMER, State::Honoured,
        "How the group shares partitions; classic only so far.";
    "group.remote.assignor" (""): Kind::Text, Some(""), CONSUMER, State::NoEffect("for the consumer protocol only"),
        "Assignor on the broker.";
    "heartbeat.interval.ms" (""): Kind::Int(0, MAX_INT), Some("3000"), CONSUMER, State::Honoured,
        "How often the group hears of a member.";
    "interceptor.classes" (""): Kind::List(&[]), Some(""), PRODUCER | CONSUMER, State::Refused("Java classes are not loaded"),
        "Classes that see every record.";
    "isolation.level" (""): Kind::OneOf(&["read_uncommitted", "read_committed"]), Some("read_uncommitted"), CONSUMER, State::Honoured,
        "Whether records of open and aborted transactions are seen.";
    "key.deserializer" (""): Kind::Class, Some(""), CONSUMER, State::NoEffect("keys and values are bytes here"),
        "How objects become bytes.";
    "key.serializer" (""): Kind::Class, Some(""), PRODUCER, State::NoEffect("keys and values are bytes here"),
        "How objects become bytes.";
    "linger.ms" ("queue.buffering.max.ms"): Kind::Long(0, MAX), Some("5"), PRODUCER, State::Honoured,
        "How long a batch waits for more records.";
    "log_level" (""): Kind::Int(0, 7), Some("6"), ALL, State::NoEffect("there is no log"),
        "librdkafka's log level.";
    "max.block.ms" (""): Kind::Long(0, MAX), Some("60000"), PRODUCER, State::Honoured,
        "How long a send waits for metadata and for room.";
    "max.in.flight.requests.per.connection" ("max.in.flight"): Kind::Int(1, MAX_INT), Some("5"), PRODUCER, State::Honoured,
        "Requests a broker is sent before the first is answered.";
    "max.partition.fetch.bytes" ("fetch.message.max.bytes"): Kind::Int(0, MAX_INT), Some("1048576"), CONSUMER, State::Honoured,
        "Bytes of a partition in an answer, unless a single batch has more.";
    "max.poll.interval.ms" (""): Kind::Int(1, MAX_INT), Some("300000"), CONSUMER, State::Honoured,
        "When a member that does not poll leaves the group.";
    "max.poll.records" (""): Kind::Int(1, MAX_INT), Some("500"), CONSUMER, State::Honoured,
        "Records a poll returns at most.";
    "max.request.size" ("message.max.bytes"): Kind::Int(0, MAX_INT), Some("1048576"), PRODUCER, State::Honoured,
        "The largest record, and the largest request.";
    "metadata.max.age.ms" ("topic.metadata.refresh.interval.ms"): Kind::Long(0, MAX), Some("300000"), ALL, State::Honoured,
        "When metadata is asked for again even if nothing failed.";
    "metadata.max.idle.ms" (""): Kind::Long(5000, MAX), Some("300000"), PRODUCER, State::NoEffect("topics are forgotten with the client"),
        "When a topic not produced to is forgotten.";
    "metadata.recovery.rebootstrap.trigger.ms" (""): Kind::Long(0, MAX), Some("300000"), ALL, State::NoEffect("bootstrap servers are always tried when no known broker answers"),
        "When to start over from the bootstrap servers.";
    "metadata.recovery.strategy" (""): Kind::OneOfAnyCase(&["none", "rebootstrap"]), Some("rebootstrap"), ALL, State::NoEffect("bootstrap servers are always tried when no known broker answers"),
        "What to do when no known broker answers.";
    "metric.reporters" (""): Kind::List(&[]), Some("org.apache.kafka.common.metrics.JmxReporter"), ALL, State::NoEffect("this client keeps no metrics yet"),
        "How metrics are collected.";
    "metrics.num.samples" (""): Kind::Int(1, MAX_INT), Some("2"), ALL, State::NoEffect("this client keeps no metrics yet"),
        "How metrics are collected.";
    "metrics.recording.level" (""): Kind::OneOf(&["INFO", "DEBUG", "TRACE"]), Some("INFO"), ALL, State::NoEffect("this client keeps no metrics yet"),
        "How metrics are collected.";
    "metrics.sample.window.ms" (""): Kind::Long(0, MAX), Some("30000"), ALL, State::NoEffect("this client keeps no metrics yet"),
        "How metrics are collected.";
    "partition.assignment.strategy" (""): Kind::FullList(&[]), Some("org.apache.kafka.clients.consumer.RangeAssignor,org.apache.kafka.clients.consumer.CooperativeStickyAssignor"), CONSUMER, State::Honoured,
        "Assignors, by class or by the names range, roundrobin, sticky, cooperative-sticky.";
    "partitioner" (""): Kind::OneOf(&["murmur2_random", "consistent_random"]), Some("murmur2_random"), PRODUCER, State::Refused("the partitioner is murmur2 for keys, sticky without"),
        "librdkafka's name of a partitioner.";
    "partitioner.adaptive.partitioning.enable" (""): Kind::Boolean, Some("true"), PRODUCER, State::NoEffect("records without a key are spread evenly"),
        "Give slow brokers fewer records.";
    "partitioner.availability.timeout.ms" (""): Kind::Long(0, MAX), Some("0"), PRODUCER, State::NoEffect("records without a key are spread evenly"),
        "When a broker counts as unavailable.";
    "partitioner.class" (""): Kind::Text, Some(""), PRODUCER, State::Refused("the partitioner is murmur2 for keys, sticky without"),
        "Class that picks partitions.";
    "partitioner.ignore.keys" (""): Kind::Boolean, Some("false"), PRODUCER, State::Honoured,
        "Pick partitions as if records had no keys.";
    "queue.buffering.max.kbytes" (""): Kind::Int(1, MAX_INT), Some("1048576"), PRODUCER, State::NoEffect("buffer.memory bounds what waits"),
        "Kilobytes that may wait.";
    "queue.buffering.max.messages" (""): Kind::Int(0, MAX_INT), Some("100000"), PRODUCER, State::NoEffect("buffer.memory bounds what waits"),
        "Records that may wait.";
    "queued.max.messages.kbytes" (""): Kind::Int(1, 2097151), Some("65536"), CONSUMER, State::NoEffect("one answer a broker is kept ready"),
        "librdkafka: kilobytes to keep ready.";
    "queued.min.messages" (""): Kind::Int(1, 10000000), Some("100000"), CONSUMER, State::NoEffect("one answer a broker is kept ready"),
        "librdkafka: records to keep ready.";
    "receive.buffer.bytes" ("socket.receive.buffer.bytes"): Kind::Int(-1, MAX_INT), Some("65536"), ALL, State::NoEffect("the system sizes socket buffers"),
        "Size of the socket's buffer for receiving.";
    "receive.message.max.bytes" (""): Kind::Int(1000, MAX_INT), Some("100000000"), ALL, State::Honoured,
        "The largest answer that is read.";
    "reconnect.backoff.max.ms" (""): Kind::Long(0, MAX), Some("1000"), ALL, State::Honoured,
        "The longest such pause; it doubles with each failure.";
    "reconnect.backoff.ms" (""): Kind::Long(0, MAX), Some("50"), ALL, State::Honoured,
        "Pause before a lost connection is made anew.";
    "request.timeout.ms" ("socket.timeout.ms"): Kind::Int(1, MAX_INT), Some("30000"), ALL, State::Honoured,
        "How long an answer is waited for before the connection is given up.";
    "retries" ("message.send.max.retries"): Kind::Int(0, MAX_INT), Some("2147483647"), PRODUCER, State::Honoured,
        "How often a batch is sent again.";
    "retry.backoff.max.ms" (""): Kind::Long(0, MAX), Some("1000"), ALL, State::Honoured,
        "The longest such pause; it doubles with each failure.";
    "retry.backoff.ms" (""): Kind::Long(0, MAX), Some("100"), ALL, State::Honoured,
        "Pause before a failed request is sent again.";
    "sasl.client.callback.handler.class" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of SASL, which is not there yet.";
    "sasl.jaas.config" (""): Kind::Password, Some(""), ALL, State::Refused(NO_SECURITY),
        "Login module and its options.";
    "sasl.kerberos.service.name" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of SASL, which is not there yet.";
    "sasl.login.callback.handler.class" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of SASL, which is not there yet.";
    "sasl.login.class" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of SASL, which is not there yet.";
    "sasl.mechanism" (""): Kind::Text, Some("GSSAPI"), ALL, State::Refused(NO_SECURITY),
        "How to prove who this client is.";
    "sasl.mechanisms" (""): Kind::Text, Some("GSSAPI"), ALL, State::Refused(NO_SECURITY),
        "How to prove who this client is, by librdkafka's name.";
    "sasl.oauthbearer.token.endpoint.url" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of SASL, which is not there yet.";
    "sasl.password" (""): Kind::Password, Some(""), ALL, State::Refused(NO_SECURITY),
        "Password to log in with.";
    "sasl.username" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Name to log in with.";
    "security.protocol" (""): Kind::OneOfAnyCase(&["PLAINTEXT"]), Some("PLAINTEXT"), ALL, State::Honoured,
        "How to talk to brokers; PLAINTEXT only so far.";
    "security.providers" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Java classes that provide algorithms.";
    "send.buffer.bytes" ("socket.send.buffer.bytes"): Kind::Int(-1, MAX_INT), Some("131072"), ALL, State::NoEffect("the system sizes socket buffers"),
        "Size of the socket's buffer for sending.";
    "session.timeout.ms" (""): Kind::Int(0, MAX_INT), Some("45000"), CONSUMER, State::Honoured,
        "When a member that is not heard of is out of the group.";
    "socket.connection.setup.timeout.max.ms" (""): Kind::Long(1, MAX), Some("30000"), ALL, State::NoEffect("the time to connect does not grow with failures here"),
        "The longest time a connection may take to be made.";
    "socket.connection.setup.timeout.ms" (""): Kind::Long(1, MAX), Some("10000"), ALL, State::Honoured,
        "How long a connection may take to be made.";
    "socket.keepalive.enable" (""): Kind::Boolean, Some("false"), ALL, State::NoEffect("requests have deadlines of their own"),
        "Probe idle connections.";
    "socket.nagle.disable" (""): Kind::Boolean, Some("true"), ALL, State::NoEffect("always on"),
        "Send small requests at once.";
    "ssl.ca.location" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.ca.pem" (""): Kind::Password, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.certificate.location" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.cipher.suites" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.enabled.protocols" (""): Kind::Text, Some("TLSv1.2,TLSv1.3"), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.endpoint.identification.algorithm" (""): Kind::Text, Some("https"), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.key.location" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.key.password" (""): Kind::Password, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.keystore.certificate.chain" (""): Kind::Password, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.keystore.key" (""): Kind::Password, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.keystore.location" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.keystore.password" (""): Kind::Password, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.keystore.type" (""): Kind::Text, Some("JKS"), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.protocol" (""): Kind::Text, Some("TLSv1.3"), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.truststore.certificates" (""): Kind::Password, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.truststore.location" (""): Kind::Text, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.truststore.password" (""): Kind::Password, Some(""), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "ssl.truststore.type" (""): Kind::Text, Some("JKS"), ALL, State::Refused(NO_SECURITY),
        "Part of TLS, which is not there yet.";
    "statistics.interval.ms" (""): Kind::Int(0, MAX_INT), Some("0"), ALL, State::NoEffect("this client keeps no metrics yet"),
        "How metrics are collected.";
    "transaction.timeout.ms" (""): Kind::Int(0, MAX_INT), Some("60000"), PRODUCER, State::NoEffect("transactions are not there yet"),
        "How long a transaction may be open.";
    "transaction.two.phase.commit.enable" (""): Kind::Boolean, Some("false"), PRODUCER, State::Refused("transactions are not there yet"),
        "Take part in two-phase commits.";
    "transactional.id" (""): Kind::Text, Some(""), PRODUCER, State::Refused("transactions are not there yet"),
        "Name under which transactions go on after a restart.";
    "value.deserializer" (""): Kind::Class, Some(""), CONSUMER, State::NoEffect("keys and values are bytes here"),
        "How objects become bytes.";
    "value.serializer" (""): Kind::Class, Some(""), PRODUCER, State::NoEffect("keys and values are bytes here"),
        "How objects become bytes.";
};

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pairs: &[(&str, &str)]) -> Result<Checked, String> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        check(&pairs.collect()).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn rows_are_sorted_names_are_unique_and_defaults_are_valid() {
        assert!(ROWS.is_sorted_by(|left, right| left.name < right.name));
        for row in ROWS {
            assert!(ROWS.iter().all(|other| other.name != row.alias), "{}", row.alias);
            assert!(!row.doc.is_empty() && row.uses & ALL != 0, "{}", row.name);
            if let Some(default) = row.default.filter(|default| !default.is_empty()) {
                row.kind.check(row.name, default).unwrap();
            }
        }
    }

    #[test]
    fn both_names_of_a_key_are_known_and_the_first_wins() {
        let one = checked(&[("metadata.broker.list", "a:1")]).unwrap();
        assert_eq!(one.get("bootstrap.servers"), "a:1");
        let both = checked(&[("linger.ms", "7"), ("queue.buffering.max.ms", "9")]).unwrap();
        assert_eq!(both.number("linger.ms"), 7);
        let both = checked(&[("acks", "1"), ("request.required.acks", "0")]).unwrap();
        assert_eq!((both.get("acks"), both.truth("enable.idempotence")), ("1", true));
    }

    #[test]
    fn what_guards_access_is_refused_and_the_rest_warned_about() {
        for (key, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("ssl.key.location", "k"),
        ] {
            let error = checked(&[(key, value)]).unwrap_err();
            assert_eq!(error, format!("{key}={value} can't be honoured: {NO_SECURITY}"));
        }
        let error = checked(&[("sasl.password", "secret")]).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        assert!(checked(&[("security.protocol", "plaintext")]).unwrap().warnings.is_empty());
        let odd =
            checked(&[("linger.msec", "1"), ("zzz", "1"), ("send.buffer.bytes", "1")]).unwrap();
        assert_eq!(
            odd.warnings,
            [
                "unknown key linger.msec; did you mean linger.ms?",
                "send.buffer.bytes has no effect: the system sizes socket buffers",
                "unknown key zzz",
            ]
        );
        assert!(checked(&[("linger.ms", "soon")]).is_err());
    }
}
