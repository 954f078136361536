//! The keys of a topic.
//!
//! A key's value is, in this order: what the topic was given, what the broker's synonym of the key
//! was given, the default. The typed view is built once per change, never on the hot path.

use std::collections::BTreeMap;

use crate::value::{Invalid, Kind, parse_bool, split_list};

/// One key of a topic.
#[derive(Debug)]
pub struct Row {
    /// The key.
    pub name: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// Its default, as text.
    pub default: &'static str,
}

const fn row(name: &'static str, kind: Kind, default: &'static str) -> Row {
    Row { name, kind, default }
}

const MAX: i64 = i64::MAX;
const MAX_INT: i64 = i32::MAX as i64;
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// Every public topic key of Apache Kafka 4.4.0, by name.
///
/// `flush.messages` is the one default that differs: ours is 1, so that what is acknowledged is
/// on disk; Apache Kafka leaves flushing to the operating system.
pub const ROWS: &[Row] = &[
    row("cleanup.policy", Kind::List(&["compact", "delete"]), "delete"),
    row("compression.gzip.level", Kind::Int(-1, 9), "-1"),
    row("compression.lz4.level", Kind::Int(1, 17), "9"),
    row("compression.type", Kind::OneOf(CODECS), "producer"),
    row("compression.zstd.level", Kind::Int(-131_072, 22), "3"),
    row("delete.retention.ms", Kind::Long(0, MAX), "86400000"),
    row("errors.deadletterqueue.group.enable", Kind::Boolean, "false"),
    row("file.delete.delay.ms", Kind::Long(0, MAX), "60000"),
    row("flush.messages", Kind::Long(1, MAX), "1"),
    row("flush.ms", Kind::Long(0, MAX), "9223372036854775807"),
    row("follower.replication.throttled.replicas", Kind::List(&[]), ""),
    row("index.interval.bytes", Kind::Int(0, MAX_INT), "4096"),
    row("leader.replication.throttled.replicas", Kind::List(&[]), ""),
    row("local.retention.bytes", Kind::Long(-2, MAX), "-2"),
    row("local.retention.ms", Kind::Long(-2, MAX), "-2"),
    row("max.compaction.lag.ms", Kind::Long(1, MAX), "9223372036854775807"),
    row("max.decompressed.message.bytes", Kind::Int(0, MAX_INT), "2147483639"),
    row("max.message.bytes", Kind::Int(0, MAX_INT), "1048588"),
    row("message.timestamp.after.max.ms", Kind::Long(0, MAX), "3600000"),
    row("message.timestamp.before.max.ms", Kind::Long(0, MAX), "9223372036854775807"),
    row("message.timestamp.type", Kind::OneOf(&["CreateTime", "LogAppendTime"]), "CreateTime"),
    row("min.cleanable.dirty.ratio", Kind::Double(0.0, 1.0), "0.5"),
    row("min.compaction.lag.ms", Kind::Long(0, MAX), "0"),
    row("min.insync.replicas", Kind::Int(1, MAX_INT), "1"),
    row("preallocate", Kind::Boolean, "false"),
    row("remote.copy.lag.bytes", Kind::Long(-1, MAX), "-1"),
    row("remote.copy.lag.ms", Kind::Long(-1, MAX), "0"),
    row("remote.log.copy.disable", Kind::Boolean, "false"),
    row("remote.log.delete.on.disable", Kind::Boolean, "false"),
    row("remote.storage.enable", Kind::Boolean, "false"),
    row("retention.bytes", Kind::Long(-1, MAX), "-1"),
    row("retention.ms", Kind::Long(-1, MAX), "604800000"),
    row("segment.bytes", Kind::Int(1_048_576, MAX_INT), "1073741824"),
    row("segment.index.bytes", Kind::Int(4, MAX_INT), "10485760"),
    row("segment.jitter.ms", Kind::Long(0, MAX), "0"),
    row("segment.ms", Kind::Long(1, MAX), "604800000"),
    row("unclean.leader.election.enable", Kind::Boolean, "false"),
];

/// The row of a key.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.binary_search_by(|row| row.name.cmp(name)).ok().and_then(|index| ROWS.get(index))
}

/// Checks what a client asks a topic to be configured with.
///
/// # Errors
/// An unknown key, a bad value, or values that exclude each other.
pub fn validate(overrides: &BTreeMap<String, String>) -> Result<(), Invalid> {
    for (key, value) in overrides {
        let Some(row) = find(key) else {
            return Err(Invalid {
                key: key.clone(),
                value: value.clone(),
                allowed: "unknown topic config name".to_owned(),
            });
        };
        row.kind.check(key, value)?;
        // Both guard data: what isn't built yet must not be taken as promised.
        if key == "remote.storage.enable" && parse_bool(value) == Some(true) {
            return Err(Invalid {
                key: key.clone(),
                value: value.clone(),
                allowed: "tiered storage is not available".to_owned(),
            });
        }
    }
    Ok(())
}

/// A topic's configuration, typed.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` has `compact`.
    pub compact: bool,
    /// `cleanup.policy` has `delete`.
    pub delete: bool,
    /// `compression.type`; `producer` keeps what came.
    pub compression: String,
    /// `compression.gzip.level`.
    pub gzip_level: i32,
    /// `compression.lz4.level`.
    pub lz4_level: i32,
    /// `compression.zstd.level`.
    pub zstd_level: i32,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `flush.messages`.
    pub flush_messages: i64,
    /// `flush.ms`.
    pub flush_ms: i64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: i32,
    /// `max.message.bytes`: the largest batch, compressed, header included.
    pub max_message_bytes: i32,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `retention.bytes`; -1 is for ever.
    pub retention_bytes: i64,
    /// `retention.ms`; -1 is for ever.
    pub retention_ms: i64,
    /// `segment.bytes`.
    pub segment_bytes: i32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: i32,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.ms`.
    pub segment_ms: i64,
}

impl TopicConfig {
    /// The typed view of checked overrides.
    ///
    /// # Errors
    /// Overrides that [`validate`] refuses.
    pub fn new(overrides: &BTreeMap<String, String>) -> Result<Self, Invalid> {
        validate(overrides)?;
        let text = |key: &str| -> &str {
            overrides
                .get(key)
                .map(String::as_str)
                .unwrap_or_else(|| find(key).map_or("", |row| row.default))
        };
        // The values were checked, so a failed parse can only mean a row of another type; zero
        // would show at once in the test below.
        let long = |key: &str| text(key).trim().parse::<i64>().unwrap_or_default();
        let int = |key: &str| text(key).trim().parse::<i32>().unwrap_or_default();
        let policy: Vec<&str> = split_list(text("cleanup.policy")).collect();
        Ok(Self {
            compact: policy.contains(&"compact"),
            delete: policy.contains(&"delete"),
            compression: text("compression.type").trim().to_owned(),
            gzip_level: int("compression.gzip.level"),
            lz4_level: int("compression.lz4.level"),
            zstd_level: int("compression.zstd.level"),
            file_delete_delay_ms: long("file.delete.delay.ms"),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            index_interval_bytes: int("index.interval.bytes"),
            max_message_bytes: int("max.message.bytes"),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            log_append_time: text("message.timestamp.type").trim() == "LogAppendTime",
            min_insync_replicas: int("min.insync.replicas"),
            retention_bytes: long("retention.bytes"),
            retention_ms: long("retention.ms"),
            segment_bytes: int("segment.bytes"),
            segment_index_bytes: int("segment.index.bytes"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_ms: long("segment.ms"),
        })
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        // The defaults pass their own checks (tested below).
        Self::new(&BTreeMap::new()).unwrap_or_else(|invalid| panic!("default: {invalid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_every_default_is_valid() {
        assert!(ROWS.is_sorted_by(|left, right| left.name < right.name));
        for row in ROWS {
            row.kind.check(row.name, row.default).unwrap();
        }
        assert_eq!(ROWS.len(), 37);
    }

    #[test]
    fn overrides_win_over_defaults_and_bad_ones_are_refused() {
        let mut overrides = BTreeMap::new();
        overrides.insert("cleanup.policy".to_owned(), "compact,delete".to_owned());
        overrides.insert("segment.ms".to_owned(), "5".to_owned());
        let config = TopicConfig::new(&overrides).unwrap();
        assert!(config.compact && config.delete);
        assert_eq!(config.segment_ms, 5);
        assert_eq!(config.max_message_bytes, 1_048_588);
        assert_eq!(config.retention_ms, 604_800_000);
        overrides.insert("segment.sm".to_owned(), "5".to_owned());
        assert!(TopicConfig::new(&overrides).is_err());
    }
}
