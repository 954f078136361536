//! What the node counts, under the names that Apache Kafka's numbers have in Prometheus (by the
//! rules that Strimzi ships).
//!
//! Owns: the list of metrics ([`METRICS`]) and their text. A metric is one row here; what it shows
//! is counted where it happens, in [`Counters`] and [`Traffic`].
//!
//! Invariants:
//! - I1: counters only rise while the process lives; those of a topic go with its partitions.
//! - I2: nothing is counted per record.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use wire::ErrorCode;

use crate::key_filters::KeyReadSample;
use crate::node::Node;
use crate::scrubber::ScrubProgress;

/// What a partition took in and gave out since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Records appended.
    pub messages_in: u64,
    /// Bytes of the batches appended.
    pub bytes_in: u64,
    /// Bytes read for consumers, as planned: what a connection could not send any more is counted.
    pub bytes_out: u64,
}

impl Traffic {
    fn add(&mut self, more: Self) {
        self.messages_in += more.messages_in;
        self.bytes_in += more.bytes_in;
        self.bytes_out += more.bytes_out;
    }
}

/// What the node counts over all partitions, those that are gone included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// In and out.
    pub traffic: Traffic,
    /// Partitions that produce requests named.
    pub produced: u64,
    /// Of these, those that failed for reasons which are not the client's.
    pub produce_failed: u64,
    /// Partitions that fetch requests read.
    pub fetched: u64,
    /// Of these, those that failed for reasons which are not the client's.
    pub fetch_failed: u64,
    /// Records deleted before all groups in `retention.consumer.groups` had read them.
    pub retention_unread: u64,
    /// Damaged places found in logs.
    pub damaged: u64,
    /// Key filters built.
    pub filters_built: u64,
    /// Bytes of segments read for that.
    pub filter_bytes_read: u64,
}

impl Counters {
    /// An append ended with this error, or none.
    pub fn appended(&mut self, error: Option<ErrorCode>) {
        self.produced += 1;
        self.produce_failed += u64::from(error.is_some_and(|code| !is_ordinary(code)));
    }

    /// A partition was read with this error, or none.
    pub fn read(&mut self, error: Option<ErrorCode>) {
        self.fetched += 1;
        self.fetch_failed += u64::from(error.is_some_and(|code| !is_ordinary(code)));
    }
}

/// What Apache Kafka, too, does not count as a failure: stale clients and bad requests.
fn is_ordinary(code: ErrorCode) -> bool {
    [
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::FENCED_LEADER_EPOCH,
        ErrorCode::UNKNOWN_LEADER_EPOCH,
        ErrorCode::OFFSET_OUT_OF_RANGE,
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::RECORD_LIST_TOO_LARGE,
        ErrorCode::CORRUPT_MESSAGE,
        ErrorCode::KAFKA_STORAGE_ERROR,
    ]
    .contains(&code)
}

/// One metric.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it says, for the scraper's HELP line.
    pub help: &'static str,
    /// Where its value comes from.
    source: Source,
}

/// Values by topic and group.
type ByGroup = BTreeMap<(Arc<str>, String), u64>;

#[derive(Clone, Copy)]
enum Source {
    /// A counter of the node.
    Total(fn(&Sample) -> u64),
    /// A counter of the node and, by topic, of its partitions.
    ByTopic(fn(&Traffic) -> u64),
    /// What is so now.
    Gauge(fn(&Sample) -> u64),
    /// What is so now of a topic and a group; the operator's configuration bounds how many.
    ByGroup(fn(&Sample) -> &ByGroup),
}

/// The metrics, in the order they are written.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "kafka_server_brokertopicmetrics_messagesin_total",
        help: "Records appended",
        source: Source::ByTopic(|traffic| traffic.messages_in),
    },
    Metric {
        name: "kafka_server_brokertopicmetrics_bytesin_total",
        help: "Bytes of record batches appended",
        source: Source::ByTopic(|traffic| traffic.bytes_in),
    },
    Metric {
        name: "kafka_server_brokertopicmetrics_bytesout_total",
        help: "Bytes of record batches read for consumers",
        source: Source::ByTopic(|traffic| traffic.bytes_out),
    },
    Metric {
        name: "kafka_server_brokertopicmetrics_totalproducerequests_total",
        help: "Partitions named by produce requests",
        source: Source::Total(|sample| sample.counters.produced),
    },
    Metric {
        name: "kafka_server_brokertopicmetrics_failedproducerequests_total",
        help: "Partitions that produce requests could not append to",
        source: Source::Total(|sample| sample.counters.produce_failed),
    },
    Metric {
        name: "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        help: "Partitions read by fetch requests",
        source: Source::Total(|sample| sample.counters.fetched),
    },
    Metric {
        name: "kafka_server_brokertopicmetrics_failedfetchrequests_total",
        help: "Partitions that fetch requests could not read",
        source: Source::Total(|sample| sample.counters.fetch_failed),
    },
    Metric {
        name: "kafka_server_replicamanager_partitioncount",
        help: "Partitions with a replica here",
        source: Source::Gauge(|sample| sample.partitions),
    },
    Metric {
        name: "kafka_server_replicamanager_leadercount",
        help: "Partitions led from here",
        source: Source::Gauge(|sample| sample.partitions - sample.offline),
    },
    Metric {
        name: "kafka_server_replicamanager_underreplicatedpartitions",
        help: "Partitions led from here with replicas out of sync",
        source: Source::Gauge(|sample| sample.under_replicated),
    },
    Metric {
        name: "kafka_server_replicamanager_underminisrpartitioncount",
        help: "Partitions led from here with fewer replicas in sync than min.insync.replicas",
        source: Source::Gauge(|sample| sample.under_min_isr),
    },
    Metric {
        name: "kafka_server_replicamanager_offlinereplicacount",
        help: "Replicas here whose disk failed",
        source: Source::Gauge(|sample| sample.offline),
    },
    Metric {
        name: "kafka_log_logcleaner_cleaner_recopy_percent",
        help: "Bytes written for a hundred read, by the last cleaning of a compacted log",
        source: Source::Gauge(|sample| sample.cleaner.recopy_percent),
    },
    Metric {
        name: "kafka_log_logcleaner_deadthreadcount",
        help: "Threads of the cleaner that died",
        source: Source::Gauge(|_| 0),
    },
    Metric {
        name: "kafka_log_logcleaner_max_clean_time_secs",
        help: "How long the last cleaning of a compacted log took",
        source: Source::Gauge(|sample| sample.cleaner.took_secs),
    },
    Metric {
        name: "kafka_log_logcleaner_max_compaction_delay_secs",
        help: "By how much max.compaction.lag.ms was exceeded when the cleaner last looked",
        source: Source::Gauge(|sample| sample.cleaner.delay_secs),
    },
    Metric {
        name: "kafka_log_logcleanermanager_max_dirty_percent",
        help: "Dirty bytes of the filthiest compacted log when the cleaner last looked",
        source: Source::Gauge(|sample| sample.cleaner.max_dirty_percent),
    },
    Metric {
        name: "kafka_log_logcleanermanager_uncleanable_partitions_count",
        help: "Compacted logs that hold what the cleaner can't read",
        source: Source::Gauge(|sample| sample.cleaner.uncleanable),
    },
    Metric {
        name: "kafka_log_logmanager_offlinelogdirectorycount",
        help: "Log directories in which a disk failed",
        source: Source::Gauge(|sample| sample.offline_dirs),
    },
    // While logs are opened there is no node yet: see [`recovery_text`].
    Metric {
        name: REMAINING_LOGS,
        help: "Logs that are still to be opened, and recovered if need be, before the node serves",
        source: Source::Gauge(|_| 0),
    },
    Metric {
        name: "kafka_controller_kafkacontroller_activecontrollercount",
        help: "1 on the active controller",
        source: Source::Gauge(|_| 1),
    },
    Metric {
        name: "kafka_controller_kafkacontroller_offlinepartitionscount",
        help: "Partitions without a leader",
        source: Source::Gauge(|sample| sample.leaderless),
    },
    Metric {
        name: "kafka_controller_kafkacontroller_globaltopiccount",
        help: "Topics of the cluster",
        source: Source::Gauge(|sample| sample.global_topics),
    },
    Metric {
        name: "kafka_controller_kafkacontroller_globalpartitioncount",
        help: "Partitions of the cluster",
        source: Source::Gauge(|sample| sample.global_partitions),
    },
    // From here on they are ours: Apache Kafka has nothing like them.
    Metric {
        name: "ottla_key_filters",
        help: "Rolled segments with a filter of their keys",
        source: Source::Gauge(|sample| sample.key_filters),
    },
    Metric {
        name: "ottla_key_filter_builds_total",
        help: "Filters of segments' keys that were built",
        source: Source::Total(|sample| sample.counters.filters_built),
    },
    Metric {
        name: "ottla_key_filter_build_bytes_total",
        help: "Bytes of segments read to build filters of their keys",
        source: Source::Total(|sample| sample.counters.filter_bytes_read),
    },
    Metric {
        name: "ottla_key_read_bytes_total",
        help: "Bytes of record batches read for consumers of a single key",
        source: Source::Total(|sample| sample.key_reads.bytes_sent),
    },
    Metric {
        name: "ottla_key_read_skipped_bytes_total",
        help: "Bytes of segments that consumers of a single key were spared",
        source: Source::Total(|sample| sample.key_reads.bytes_skipped),
    },
    Metric {
        name: "ottla_key_read_skipped_segments_total",
        help: "Segments that consumers of a single key were spared",
        source: Source::Total(|sample| sample.key_reads.segments_skipped),
    },
    Metric {
        name: "ottla_retention_held_bytes",
        help: "Bytes kept beyond their retention for groups in retention.consumer.groups",
        source: Source::Gauge(|sample| sample.held_bytes),
    },
    Metric {
        name: "ottla_retention_held_records",
        help: "Records kept beyond their retention that this group has yet to read",
        source: Source::ByGroup(|sample| &sample.held),
    },
    Metric {
        name: "ottla_log_damage_found_total",
        help: "Damaged places found in logs by reads and the scrub; see the log lines",
        source: Source::Total(|sample| sample.counters.damaged),
    },
    Metric {
        name: "ottla_log_damaged_places",
        help: "Places in logs that are known to be damaged, and are not served",
        source: Source::Gauge(|sample| sample.damaged),
    },
    Metric {
        name: RECOVERY_REMAINING,
        help: "How long opening logs will take still, about",
        source: Source::Gauge(|_| 0),
    },
    Metric {
        name: "ottla_log_scrub_rounds_total",
        help: "Rounds of the scrub that came to their end",
        source: Source::Total(|sample| sample.scrub_rounds),
    },
    Metric {
        name: "ottla_log_scrub_bytes",
        help: "Bytes that the round of the scrub under way is about; 0 between rounds",
        source: Source::Gauge(|sample| sample.scrub.bytes),
    },
    Metric {
        name: "ottla_log_scrub_done_bytes",
        help: "Bytes of these that were checked",
        source: Source::Gauge(|sample| sample.scrub.done),
    },
    Metric {
        name: "ottla_log_scrub_remaining_secs",
        help: "How long the round will take still, about",
        source: Source::Gauge(|sample| sample.scrub.left_secs),
    },
    Metric {
        name: "ottla_log_cleaner_segments",
        help: "Segments that the cleanings under way are about",
        source: Source::Gauge(|sample| sample.cleaner.segments),
    },
    Metric {
        name: "ottla_log_cleaner_done_segments",
        help: "Segments of these that were written anew",
        source: Source::Gauge(|sample| sample.cleaner.done_segments),
    },
    Metric {
        name: "ottla_log_cleaner_remaining_secs",
        help: "How long the longest of them will take still, about",
        source: Source::Gauge(|sample| sample.cleaner.left_secs),
    },
    Metric {
        name: "ottla_retention_unread_records_total",
        help: "Records deleted before all groups in retention.consumer.groups had read them",
        source: Source::Total(|sample| sample.counters.retention_unread),
    },
];

/// How many logs are still to be opened.
const REMAINING_LOGS: &str = "kafka_log_logmanager_remaininglogstorecover";
/// How long that takes.
const RECOVERY_REMAINING: &str = "ottla_log_recovery_remaining_secs";

/// What a scraper is told while logs are opened.
pub fn recovery_text(remaining_logs: u64, left_secs: u64) -> String {
    let mut text = String::new();
    for (name, value) in [(REMAINING_LOGS, remaining_logs), (RECOVERY_REMAINING, left_secs)] {
        let metric = METRICS.iter().find(|metric| metric.name == name);
        let help = metric.map_or("", |metric| metric.help);
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    text
}

/// The cleaner's numbers of one moment.
#[derive(Clone, Copy, Debug, Default)]
struct CleanerSample {
    recopy_percent: u64,
    took_secs: u64,
    delay_secs: u64,
    max_dirty_percent: u64,
    uncleanable: u64,
    segments: u64,
    done_segments: u64,
    left_secs: u64,
}

/// The numbers of one moment, apart from the node, so that their text is made without it.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    counters: Counters,
    topics: BTreeMap<Arc<str>, Traffic>,
    cleaner: CleanerSample,
    partitions: u64,
    offline: u64,
    offline_dirs: u64,
    under_replicated: u64,
    under_min_isr: u64,
    leaderless: u64,
    global_topics: u64,
    global_partitions: u64,
    held_bytes: u64,
    held: ByGroup,
    damaged: u64,
    scrub: ScrubProgress,
    scrub_rounds: u64,
    key_filters: u64,
    key_reads: KeyReadSample,
}

impl Sample {
    /// Takes the node's numbers.
    pub fn of(node: &Node) -> Self {
        let mut sample = Self { counters: node.counters, ..Self::default() };
        let cleaning = node.cleaner.progress();
        sample.cleaner = CleanerSample {
            recopy_percent: node.cleaner.recopy_percent,
            took_secs: node.cleaner.took_ms.max(0) as u64 / 1000,
            delay_secs: node.cleaner.max_delay_ms.max(0) as u64 / 1000,
            max_dirty_percent: node.cleaner.max_dirty_percent,
            uncleanable: 0,
            segments: cleaning.segments,
            done_segments: cleaning.done,
            left_secs: cleaning.left_secs,
        };
        sample.scrub = node.scrubber.progress();
        sample.scrub_rounds = node.scrubber.rounds;
        sample.key_reads = node.key_reads.sample();
        // Of these it was not known beforehand what would be read.
        sample.counters.traffic.bytes_out += sample.key_reads.bytes_sent;
        let mut offline_dirs = std::collections::BTreeSet::new();
        for partition in node.partitions.values() {
            sample.topics.entry(partition.topic.clone()).or_default().add(partition.traffic);
            sample.partitions += 1;
            sample.offline += u64::from(partition.offline);
            sample.damaged += partition.log.damaged_places() as u64;
            sample.cleaner.uncleanable += u64::from(partition.cleaning.uncleanable);
            sample.key_filters += partition.log.filters() as u64;
            // One replica is all a single node has.
            sample.under_min_isr += u64::from(partition.config.min_insync_replicas > 1);
            if partition.offline {
                offline_dirs.insert(partition.log.path().parent().map(std::path::Path::to_owned));
            }
        }
        sample.offline_dirs = offline_dirs.len() as u64;
        for (lane, held) in node.holds.held() {
            let Some(partition) = node.partitions.get(lane) else { continue };
            sample.held_bytes += held.bytes;
            for (group, records) in &held.lag {
                let of = (partition.topic.clone(), group.clone());
                *sample.held.entry(of).or_default() += records;
            }
        }
        for topic in node.image.topics.values() {
            sample.global_topics += 1;
            sample.global_partitions += topic.partitions.len() as u64;
            for partition in &topic.partitions {
                sample.leaderless += u64::from(partition.leader < 0);
                let own = partition.leader == node.config.node_id;
                let behind = partition.isr.len() < partition.replicas.len();
                sample.under_replicated += u64::from(own && behind);
            }
        }
        sample
    }

    /// The text that Prometheus scrapes (exposition format 0.0.4).
    pub fn text(&self) -> String {
        let mut text = String::new();
        for metric in METRICS {
            let kind = match metric.source {
                Source::Gauge(_) | Source::ByGroup(_) => "gauge",
                Source::Total(_) | Source::ByTopic(_) => "counter",
            };
            let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
            let _ = writeln!(text, "# TYPE {} {kind}", metric.name);
            let total = match metric.source {
                Source::Total(value) | Source::Gauge(value) => value(self),
                Source::ByTopic(value) => value(&self.counters.traffic),
                Source::ByGroup(values) => {
                    for ((topic, group), value) in values(self) {
                        let (name, group) = (metric.name, label(group));
                        let labels = format!("topic=\"{topic}\",group=\"{group}\"");
                        let _ = writeln!(text, "{name}{{{labels}}} {value}");
                    }
                    continue;
                }
            };
            let _ = writeln!(text, "{} {total}", metric.name);
            if let Source::ByTopic(value) = metric.source {
                // A topic's name has no character that a label would have to escape.
                for (topic, traffic) in &self.topics {
                    let value = value(traffic);
                    let _ = writeln!(text, "{}{{topic=\"{topic}\"}} {value}", metric.name);
                }
            }
        }
        text
    }
}

/// A label's value may hold anything, some of it escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_each_metric_once_with_its_topics() {
        let traffic = Traffic { messages_in: 3, bytes_in: 210, bytes_out: 70 };
        let mut sample = Sample::default();
        sample.counters.traffic = traffic;
        sample.counters.appended(Some(ErrorCode::MESSAGE_TOO_LARGE));
        sample.counters.appended(Some(ErrorCode::NOT_ENOUGH_REPLICAS));
        sample.topics.insert("letters".into(), traffic);
        sample.held.insert(("letters".into(), "a \"b\\\n".into()), 7);
        let text = sample.text();
        for metric in METRICS {
            let types = format!("# TYPE {} ", metric.name);
            assert_eq!(text.matches(&types).count(), 1, "{}", metric.name);
        }
        for line in [
            "kafka_server_brokertopicmetrics_messagesin_total 3\n",
            "kafka_server_brokertopicmetrics_bytesin_total{topic=\"letters\"} 210\n",
            "kafka_server_brokertopicmetrics_totalproducerequests_total 2\n",
            "kafka_server_brokertopicmetrics_failedproducerequests_total 1\n",
            "ottla_retention_held_bytes 0\n",
            "ottla_retention_held_records{topic=\"letters\",group=\"a \\\"b\\\\\\n\"} 7\n",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }
}
