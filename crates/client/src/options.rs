//! What a user asks of a client, checked and typed.
//!
//! The keys themselves are rows of `config::client`; here they become fields.

use std::collections::BTreeMap;
use std::time::Duration;

use config::client::Checked;
use wire::Bytes;
use wire::compress::Compression;

use crate::error::{Error, Result};

/// Everything a client, producer or consumer reads.
#[derive(Clone, Debug)]
pub struct Options {
    /// `bootstrap.servers`, as `host:port` each.
    pub bootstrap: Vec<String>,
    /// `client.id`; "ottla" if none is given.
    pub client_id: String,
    /// `client.rack`.
    pub rack: String,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`.
    pub api_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub retry_backoff: Backoff,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
    pub reconnect_backoff: Backoff,
    /// `socket.connection.setup.timeout.ms`.
    pub connect_timeout: Duration,
    /// `metadata.max.age.ms`.
    pub metadata_max_age: Duration,
    /// `receive.message.max.bytes`.
    pub response_bytes_max: usize,
    /// What a producer reads.
    pub producer: ProducerOptions,
    /// What a consumer reads.
    pub consumer: ConsumerOptions,
    /// What was passed over in the properties, a line each.
    pub warnings: Vec<String>,
}

/// Pauses between attempts: the first, doubled with each failure up to the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The largest.
    pub largest: Duration,
}

impl Backoff {
    /// The pause after `failures` failed attempts; nothing after none.
    pub fn after(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                self.first.saturating_mul(1 << doublings.min(20)).min(self.largest.max(self.first))
            }
        }
    }
}

/// What a producer reads. Times as the keys say.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ProducerOptions {
    /// -1 is all.
    pub acks: i16,
    pub idempotent: bool,
    pub linger: Duration,
    pub batch_bytes: usize,
    pub batch_records: usize,
    pub buffer_bytes: usize,
    pub max_block: Duration,
    pub request_bytes_max: usize,
    pub compression: Compression,
    pub compression_level: Option<i32>,
    pub delivery_timeout: Duration,
    pub in_flight_max: usize,
    pub retries: u32,
    pub ignore_keys: bool,
}

/// What a consumer reads. Times as the keys say.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ConsumerOptions {
    pub group_id: Option<String>,
    pub group_instance_id: Option<String>,
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    pub max_poll_interval: Duration,
    pub max_poll_records: usize,
    /// Names of assignors, by preference.
    pub assignors: Vec<Assignor>,
    pub auto_commit: bool,
    pub auto_commit_interval: Duration,
    pub offset_reset: OffsetReset,
    pub read_committed: bool,
    pub fetch_min_bytes: i32,
    pub fetch_max_wait: Duration,
    pub fetch_max_bytes: i32,
    pub partition_max_bytes: i32,
    pub check_crcs: bool,
    pub auto_create_topics: bool,
    /// Patterns match no topic that the cluster keeps for itself.
    pub exclude_internal_topics: bool,
    /// Only records with this key are handed out. No property: it is set by who makes the client.
    /// Brokers of ours pass over what can't hold it, from others all is read and left out here.
    pub only_key: Option<Bytes>,
}

/// Where to begin without a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the log start offset.
    Earliest,
    /// At the end.
    Latest,
    /// Nowhere: the poll fails.
    None,
}

/// How a group's partitions are shared out, by Apache Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Ranges of each topic.
    Range,
    /// All partitions in turn.
    RoundRobin,
    /// Evenly, moving as few as possible; everything is revoked first.
    Sticky,
    /// The same, revoking only what moves (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// The name in JoinGroup.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// By that name, or by that of Apache Kafka's class.
    pub fn from_name(name: &str) -> Option<Self> {
        let class = name.strip_prefix("org.apache.kafka.clients.consumer.").unwrap_or(name);
        match class {
            "range" | "RangeAssignor" => Some(Self::Range),
            "roundrobin" | "RoundRobinAssignor" => Some(Self::RoundRobin),
            "sticky" | "StickyAssignor" => Some(Self::Sticky),
            "cooperative-sticky" | "CooperativeStickyAssignor" => Some(Self::CooperativeSticky),
            _ => None,
        }
    }

    /// True if members keep what they have while the group rebalances.
    pub fn is_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }
}

impl Options {
    /// The defaults, for one or more servers separated by commas.
    ///
    /// # Errors
    /// No server, or one that is not `host:port`.
    pub fn new(bootstrap: &str) -> Result<Self> {
        let pair = ("bootstrap.servers".to_owned(), bootstrap.to_owned());
        Self::from_properties(&BTreeMap::from([pair]))
    }

    /// Reads properties with Apache Kafka's or librdkafka's names.
    ///
    /// # Errors
    /// A value that is out of its range, contradicts another, or can't be honoured and must not
    /// be ignored (anything that guards access).
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<Self> {
        let checked = config::client::check(properties)?;
        let backoff = |first: &str, largest: &str| Backoff {
            first: millis(&checked, first),
            largest: millis(&checked, largest),
        };
        let client_id = checked.get("client.id");
        Ok(Self {
            bootstrap: bootstrap(checked.get("bootstrap.servers"))?,
            client_id: if client_id.is_empty() { "ottla".into() } else { client_id.to_owned() },
            rack: checked.get("client.rack").to_owned(),
            request_timeout: millis(&checked, "request.timeout.ms"),
            api_timeout: millis(&checked, "default.api.timeout.ms"),
            retry_backoff: backoff("retry.backoff.ms", "retry.backoff.max.ms"),
            reconnect_backoff: backoff("reconnect.backoff.ms", "reconnect.backoff.max.ms"),
            connect_timeout: millis(&checked, "socket.connection.setup.timeout.ms"),
            metadata_max_age: millis(&checked, "metadata.max.age.ms"),
            response_bytes_max: size(&checked, "receive.message.max.bytes"),
            producer: ProducerOptions::from_checked(&checked)?,
            consumer: ConsumerOptions::from_checked(&checked)?,
            warnings: checked.warnings,
        })
    }
}

impl ProducerOptions {
    fn from_checked(checked: &Checked) -> Result<Self> {
        let acks = match checked.get("acks") {
            "0" => 0,
            "1" => 1,
            _ => -1,
        };
        let in_flight_max = size(checked, "max.in.flight.requests.per.connection");
        let retries = checked.number("retries") as u32;
        let idempotent = idempotence(checked, acks, in_flight_max, retries)?;
        let compression = checked.get("compression.type");
        let compression = Compression::from_name(compression).unwrap_or_default();
        let level = |key: &str| Some(checked.number(key) as i32);
        let linger = millis(checked, "linger.ms");
        let mut delivery_timeout = millis(checked, "delivery.timeout.ms");
        let least = linger + millis(checked, "request.timeout.ms");
        if delivery_timeout < least {
            if checked.is_given("delivery.timeout.ms") {
                return Err(Error::Config(
                    "delivery.timeout.ms should be equal to or larger than linger.ms + \
                     request.timeout.ms"
                        .into(),
                ));
            }
            delivery_timeout = least;
        }
        Ok(Self {
            acks,
            idempotent,
            linger,
            batch_bytes: size(checked, "batch.size"),
            batch_records: size(checked, "batch.num.messages"),
            buffer_bytes: size(checked, "buffer.memory"),
            max_block: millis(checked, "max.block.ms"),
            request_bytes_max: size(checked, "max.request.size"),
            compression,
            compression_level: match compression {
                Compression::Gzip => level("compression.gzip.level"),
                Compression::Zstd => level("compression.zstd.level"),
                _ => None,
            },
            delivery_timeout,
            in_flight_max,
            retries,
            ignore_keys: checked.truth("partitioner.ignore.keys"),
        })
    }
}

/// Idempotence is given up where other keys contradict it, unless it was asked for (KIP-679).
fn idempotence(checked: &Checked, acks: i16, in_flight_max: usize, retries: u32) -> Result<bool> {
    if !checked.truth("enable.idempotence") {
        return Ok(false);
    }
    let contradictions = [
        (acks != -1, "Must set acks to all in order to use the idempotent producer."),
        (
            in_flight_max > 5,
            "Must set max.in.flight.requests.per.connection to at most 5 to use the idempotent \
             producer.",
        ),
        (retries == 0, "Must set retries to non-zero when using the idempotent producer."),
    ];
    let asked = checked.is_given("enable.idempotence");
    match contradictions.iter().find(|(holds, _)| *holds) {
        None => Ok(true),
        // Only `max.in.flight` beyond 5 contradicts even the default, as in Apache Kafka 4.
        Some((_, words)) if asked || (acks == -1 && retries != 0) => {
            Err(Error::Config((*words).to_owned()))
        }
        Some(_) => Ok(false),
    }
}

impl ConsumerOptions {
    fn from_checked(checked: &Checked) -> Result<Self> {
        let text = |key: &str| Some(checked.get(key).to_owned()).filter(|text| !text.is_empty());
        let mut assignors = Vec::new();
        for name in config::value::split_list(checked.get("partition.assignment.strategy")) {
            let assignor = Assignor::from_name(name).ok_or_else(|| {
                Error::Config(format!(
                    "partition.assignment.strategy: no assignor {name}; there are range, \
                     roundrobin, sticky and cooperative-sticky"
                ))
            })?;
            if !assignors.contains(&assignor) {
                assignors.push(assignor);
            }
        }
        let session_timeout = millis(checked, "session.timeout.ms");
        let heartbeat_interval = millis(checked, "heartbeat.interval.ms");
        if heartbeat_interval >= session_timeout {
            return Err(Error::Config(
                "heartbeat.interval.ms must be lower than session.timeout.ms".into(),
            ));
        }
        Ok(Self {
            group_id: text("group.id"),
            group_instance_id: text("group.instance.id"),
            session_timeout,
            heartbeat_interval,
            max_poll_interval: millis(checked, "max.poll.interval.ms"),
            max_poll_records: size(checked, "max.poll.records"),
            assignors,
            auto_commit: checked.truth("enable.auto.commit"),
            auto_commit_interval: millis(checked, "auto.commit.interval.ms"),
            offset_reset: match checked.get("auto.offset.reset") {
                "earliest" | "smallest" | "beginning" => OffsetReset::Earliest,
                "none" | "error" => OffsetReset::None,
                _ => OffsetReset::Latest,
            },
            read_committed: checked.get("isolation.level") == "read_committed",
            fetch_min_bytes: checked.number("fetch.min.bytes") as i32,
            fetch_max_wait: millis(checked, "fetch.max.wait.ms"),
            fetch_max_bytes: checked.number("fetch.max.bytes") as i32,
            partition_max_bytes: checked.number("max.partition.fetch.bytes") as i32,
            check_crcs: checked.truth("check.crcs"),
            auto_create_topics: checked.truth("allow.auto.create.topics"),
            exclude_internal_topics: checked.truth("exclude.internal.topics"),
            only_key: None,
        })
    }
}

fn millis(checked: &Checked, key: &str) -> Duration {
    Duration::from_millis(checked.number(key).max(0) as u64)
}

fn size(checked: &Checked, key: &str) -> usize {
    usize::try_from(checked.number(key)).unwrap_or_default()
}

fn bootstrap(list: &str) -> Result<Vec<String>> {
    let mut servers = Vec::new();
    for server in config::value::split_list(list) {
        // A listener's name before the address is what people copy from a broker's file.
        let address = server.split_once("://").map_or(server, |(_, address)| address);
        let port = address.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
            (!host.is_empty()).then_some(port)
        });
        if port.is_none() {
            return Err(Error::Config(format!(
                "Invalid url in bootstrap.servers: {server} (expected host:port)"
            )));
        }
        servers.push(address.to_owned());
    }
    if servers.is_empty() {
        return Err(Error::Config("No bootstrap urls given in bootstrap.servers".into()));
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<Options, String> {
        let all = [("bootstrap.servers", "localhost:9092")].iter().chain(pairs);
        let all = all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Options::from_properties(&all).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_apache_kafkas() {
        let options = options(&[]).unwrap();
        assert!(options.producer.idempotent && options.producer.acks == -1);
        assert_eq!(options.producer.linger, Duration::from_millis(5));
        assert_eq!(options.consumer.assignors, [Assignor::Range, Assignor::CooperativeSticky]);
        assert_eq!(options.consumer.offset_reset, OffsetReset::Latest);
        assert_eq!(options.producer.delivery_timeout, Duration::from_secs(120));
        assert!(options.warnings.is_empty());
    }

    #[test]
    fn idempotence_yields_to_what_contradicts_it_unless_asked_for() {
        assert!(!options(&[("acks", "1")]).unwrap().producer.idempotent);
        let error = options(&[("acks", "1"), ("enable.idempotence", "true")]).unwrap_err();
        assert!(error.contains("Must set acks to all"), "{error}");
        assert!(options(&[("max.in.flight", "6")]).is_err());
    }

    #[test]
    fn servers_are_hosts_with_ports() {
        let servers = bootstrap("a:1, PLAINTEXT://[::1]:2").unwrap();
        assert_eq!(servers, ["a:1", "[::1]:2"]);
        for bad in ["", "a", "a:0", "a:x", ":1"] {
            assert!(bootstrap(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_largest() {
        let ms = Duration::from_millis;
        let backoff = Backoff { first: ms(100), largest: ms(350) };
        let pauses: Vec<_> = (0..5).map(|failures| backoff.after(failures)).collect();
        assert_eq!(pauses, [ms(0), ms(100), ms(200), ms(350), ms(350)]);
        assert_eq!(backoff.after(u32::MAX), ms(350));
    }
}
