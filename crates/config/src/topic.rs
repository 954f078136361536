//! The keys of a topic.
//!
//! A key's value is, in this order: what the topic was given, what the broker's synonyms of the key
//! were given, the default. The typed view is built once per change, never on the hot path.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::layers::{Entry, Layers, Source};
use crate::value::{Invalid, Kind, MAX, MAX_INT, MIN, parse_bool, shown, split_list};

/// One key of a topic.
#[derive(Debug)]
pub struct Row {
    /// The key.
    pub name: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// Its default, as text.
    pub default: Option<&'static str>,
    /// Broker keys that say it for topics that don't, the finest unit first.
    pub synonyms: &'static [(&'static str, Unit)],
    /// Shown only where it is set, or where it is asked for by its name: so that a topic which
    /// doesn't use it looks as it does to Apache Kafka.
    pub only_where_set: bool,
    /// What a key of our own does; the others are documented by Apache Kafka.
    pub doc: Option<&'static str>,
}

/// The unit of a broker key that speaks for a topic key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The topic key's own.
    Same,
    /// Minutes for milliseconds.
    Minutes,
    /// Hours for milliseconds.
    Hours,
}

const fn row(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    synonyms: &'static [(&'static str, Unit)],
    only_where_set: bool,
) -> Row {
    Row { name, kind, default, synonyms, only_where_set, doc: None }
}

/// A key that Apache Kafka doesn't have.
const fn own(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> Row {
    Row { name, kind, default, synonyms: &[], only_where_set: true, doc: Some(doc) }
}

/// Every topic key of Apache Kafka 4.4.0, by name: 37 public ones and an internal one; and four of
/// our own (decisions 6 and 9).
///
/// `flush.messages` is the one default that differs: ours is 1, so that what is acknowledged is
/// on disk; Apache Kafka leaves flushing to the operating system.
pub const ROWS: &[Row] = &[
    row(
        "cleanup.policy",
        Kind::List(&["compact", "delete"]),
        Some("delete"),
        &[("log.cleanup.policy", Unit::Same)],
        false,
    ),
    row(
        "compression.gzip.level",
        Kind::GzipLevel,
        Some("-1"),
        &[("compression.gzip.level", Unit::Same)],
        false,
    ),
    row(
        "compression.lz4.level",
        Kind::Int(1, 17),
        Some("9"),
        &[("compression.lz4.level", Unit::Same)],
        false,
    ),
    row(
        "compression.type",
        Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        Some("producer"),
        &[("compression.type", Unit::Same)],
        false,
    ),
    row(
        "compression.zstd.level",
        Kind::Int(-131_072, 22),
        Some("3"),
        &[("compression.zstd.level", Unit::Same)],
        false,
    ),
    row(
        "delete.retention.ms",
        Kind::Long(0, MAX),
        Some("86400000"),
        &[("log.cleaner.delete.retention.ms", Unit::Same)],
        false,
    ),
    row("errors.deadletterqueue.group.enable", Kind::Boolean, Some("false"), &[], false),
    row(
        "file.delete.delay.ms",
        Kind::Long(0, MAX),
        Some("60000"),
        &[("log.segment.delete.delay.ms", Unit::Same)],
        false,
    ),
    row(
        "flush.messages",
        Kind::Long(1, MAX),
        Some("1"),
        &[("log.flush.interval.messages", Unit::Same)],
        false,
    ),
    row(
        "flush.ms",
        Kind::Long(0, MAX),
        Some("9223372036854775807"),
        &[("log.flush.interval.ms", Unit::Same), ("log.flush.scheduler.interval.ms", Unit::Same)],
        false,
    ),
    row("follower.replication.throttled.replicas", Kind::ThrottledReplicas, Some(""), &[], false),
    row(
        "index.interval.bytes",
        Kind::Int(0, MAX_INT),
        Some("4096"),
        &[("log.index.interval.bytes", Unit::Same)],
        false,
    ),
    row("internal.segment.bytes", Kind::Int(crate::value::MIN_INT, MAX_INT), None, &[], true),
    row("leader.replication.throttled.replicas", Kind::ThrottledReplicas, Some(""), &[], false),
    row(
        "local.retention.bytes",
        Kind::Long(-2, MAX),
        Some("-2"),
        &[("log.local.retention.bytes", Unit::Same)],
        false,
    ),
    row(
        "local.retention.ms",
        Kind::Long(-2, MAX),
        Some("-2"),
        &[("log.local.retention.ms", Unit::Same)],
        false,
    ),
    row(
        "max.compaction.lag.ms",
        Kind::Long(1, MAX),
        Some("9223372036854775807"),
        &[("log.cleaner.max.compaction.lag.ms", Unit::Same)],
        false,
    ),
    row(
        "max.decompressed.message.bytes",
        Kind::Int(1, 2_147_483_639),
        Some("2147483639"),
        &[("max.decompressed.message.bytes", Unit::Same)],
        false,
    ),
    row(
        "max.message.bytes",
        Kind::Int(0, MAX_INT),
        Some("1048588"),
        &[("message.max.bytes", Unit::Same)],
        false,
    ),
    row(
        "message.timestamp.after.max.ms",
        Kind::Long(0, MAX),
        Some("3600000"),
        &[("log.message.timestamp.after.max.ms", Unit::Same)],
        false,
    ),
    row(
        "message.timestamp.before.max.ms",
        Kind::Long(0, MAX),
        Some("9223372036854775807"),
        &[("log.message.timestamp.before.max.ms", Unit::Same)],
        false,
    ),
    row(
        "message.timestamp.type",
        Kind::OneOf(&["CreateTime", "LogAppendTime"]),
        Some("CreateTime"),
        &[("log.message.timestamp.type", Unit::Same)],
        false,
    ),
    row(
        "min.cleanable.dirty.ratio",
        Kind::Double(0.0, 1.0),
        Some("0.5"),
        &[("log.cleaner.min.cleanable.ratio", Unit::Same)],
        false,
    ),
    row(
        "min.compaction.lag.ms",
        Kind::Long(0, MAX),
        Some("0"),
        &[("log.cleaner.min.compaction.lag.ms", Unit::Same)],
        false,
    ),
    row(
        "min.insync.replicas",
        Kind::Int(1, MAX_INT),
        Some("1"),
        &[("min.insync.replicas", Unit::Same)],
        false,
    ),
    row("preallocate", Kind::Boolean, Some("false"), &[("log.preallocate", Unit::Same)], false),
    row(
        "remote.copy.lag.bytes",
        Kind::Long(-1, MAX),
        Some("-1"),
        &[("log.remote.copy.lag.bytes", Unit::Same)],
        false,
    ),
    row(
        "remote.copy.lag.ms",
        Kind::Long(-1, MAX),
        Some("0"),
        &[("log.remote.copy.lag.ms", Unit::Same)],
        false,
    ),
    row("remote.log.copy.disable", Kind::Boolean, Some("false"), &[], false),
    row("remote.log.delete.on.disable", Kind::Boolean, Some("false"), &[], false),
    row("remote.storage.enable", Kind::Boolean, Some("false"), &[], false),
    row(
        "retention.bytes",
        Kind::Long(MIN, MAX),
        Some("-1"),
        &[("log.retention.bytes", Unit::Same)],
        false,
    ),
    own(
        RETENTION_GROUPS,
        Kind::List(&[]),
        Some(""),
        "Consumer groups, separated by commas, that records are kept for: what retention.ms or \
         retention.bytes would delete stays until each of these groups has committed an offset \
         past it. A group that is not there yet, or has committed nothing, holds everything. How \
         much is held at most say retention.consumer.groups.max.ms and .max.bytes. Counts where \
         cleanup.policy has delete. Ottla's own key: Apache Kafka does not heed it, and forgets it \
         with its next snapshot of the metadata.",
    ),
    own(
        RETENTION_GROUPS_MAX_BYTES,
        Kind::Long(-2, MAX),
        Some("-2"),
        "Records are held for retention.consumer.groups no longer once their partition is larger \
         than this, measured as for retention.bytes. -2 is twice retention.bytes (without limit \
         where that has none), -1 is without limit: a group that never comes can fill the disk.",
    ),
    own(
        RETENTION_GROUPS_MAX_MS,
        Kind::Long(-2, MAX),
        Some("-2"),
        "Records older than this are held for retention.consumer.groups no longer, measured as \
         for retention.ms. -2 is twice retention.ms (without limit where that has none), -1 is \
         without limit: a group that never comes can fill the disk.",
    ),
    row(
        "retention.ms",
        Kind::Long(-1, MAX),
        Some("604800000"),
        &[
            ("log.retention.ms", Unit::Same),
            ("log.retention.minutes", Unit::Minutes),
            ("log.retention.hours", Unit::Hours),
        ],
        false,
    ),
    row(
        "segment.bytes",
        Kind::Int(1_048_576, MAX_INT),
        Some("1073741824"),
        &[("log.segment.bytes", Unit::Same)],
        false,
    ),
    row(
        "segment.index.bytes",
        Kind::Int(4, MAX_INT),
        Some("10485760"),
        &[("log.index.size.max.bytes", Unit::Same)],
        false,
    ),
    row(
        "segment.jitter.ms",
        Kind::Long(0, MAX),
        Some("0"),
        &[("log.roll.jitter.ms", Unit::Same), ("log.roll.jitter.hours", Unit::Hours)],
        false,
    ),
    own(
        SEGMENT_KEY_FILTER,
        Kind::OneOf(&["auto", "true", "false"]),
        Some("auto"),
        "Whether each segment gets a filter of its keys when it is rolled, so that whoever asks \
         for one key need not read the segments that don't hold it. auto is where cleanup.policy \
         has compact, but for the cluster's own topics: to build one, all records of a segment are \
         opened. Filters that are there are used and kept whatever this says. Ottla's own key: \
         Apache Kafka does not heed it, and forgets it with its next snapshot of the metadata.",
    ),
    row(
        "segment.ms",
        Kind::Long(1, MAX),
        Some("604800000"),
        &[("log.roll.ms", Unit::Same), ("log.roll.hours", Unit::Hours)],
        false,
    ),
    row(
        "unclean.leader.election.enable",
        Kind::Boolean,
        Some("false"),
        &[("unclean.leader.election.enable", Unit::Same)],
        false,
    ),
];

/// Whether a topic with these overrides shows a key. With the groups that records are kept for come
/// the bounds of that, so that they are seen where they count.
pub fn is_shown(row: &Row, overrides: &BTreeMap<String, String>) -> bool {
    !row.only_where_set
        || overrides.contains_key(row.name)
        || (row.name.starts_with(RETENTION_GROUPS) && overrides.contains_key(RETENTION_GROUPS))
}

/// The row of a key.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.binary_search_by(|row| row.name.cmp(name)).ok().and_then(|index| ROWS.get(index))
}

/// Checks what a client asks a topic to be configured with.
///
/// # Errors
/// An unknown key, a bad value, or values that exclude each other.
pub fn validate(overrides: &BTreeMap<String, String>, layers: &Layers) -> Result<(), Invalid> {
    // Unknown keys first, whatever their place: that is what Apache Kafka complains of.
    for key in overrides.keys() {
        if find(key).is_none() {
            return Err(Invalid::plain(key, format!("Unknown topic config name: {key}")));
        }
    }
    for (key, value) in overrides {
        let Some(row) = find(key) else { continue };
        row.kind.check(key, value)?;
    }
    let long = |key: &str| value_of(key, overrides, layers).trim().parse::<i64>().unwrap_or(0);
    let (least, most) = (long("min.compaction.lag.ms"), long("max.compaction.lag.ms"));
    if least > most {
        let text = format!(
            "conflict topic config setting min.compaction.lag.ms ({least}) > \
             max.compaction.lag.ms ({most})"
        );
        return Err(Invalid::plain("min.compaction.lag.ms", text));
    }
    validate_held(overrides, layers)?;
    // It guards data: what isn't built yet must not be taken as promised.
    let tiered = overrides.get("remote.storage.enable").and_then(|value| parse_bool(value));
    if tiered == Some(true) {
        let text = "Tiered Storage functionality is disabled in the broker. Topic cannot be \
                    configured with remote log storage.";
        return Err(Invalid::plain("remote.storage.enable", text));
    }
    Ok(())
}

/// Whether holding records for groups could ever do what it says.
fn validate_held(overrides: &BTreeMap<String, String>, layers: &Layers) -> Result<(), Invalid> {
    let groups = held_for(&value_of(RETENTION_GROUPS, overrides, layers));
    if groups.is_empty() {
        return Ok(());
    }
    if groups.len() > RETENTION_GROUPS_COUNT {
        let text = format!(
            "{RETENTION_GROUPS} names {} groups, and may name {RETENTION_GROUPS_COUNT}",
            groups.len()
        );
        return Err(Invalid::plain(RETENTION_GROUPS, text));
    }
    for (key, limit) in
        [(RETENTION_GROUPS_MAX_MS, "retention.ms"), (RETENTION_GROUPS_MAX_BYTES, "retention.bytes")]
    {
        let long = |key: &str| value_of(key, overrides, layers).trim().parse::<i64>().unwrap_or(-1);
        let (said, least) = (long(key), long(limit));
        let most = bound(said, least);
        // What is kept for ever needs no holding.
        if most >= 0 && most <= least && least < i64::MAX {
            let text = format!(
                "{key} ({said}) comes to no more than {limit} ({least}): nothing would ever be \
                 held; give it a value above, -2 for twice {limit}, or -1 for no limit"
            );
            return Err(Invalid::plain(key, text));
        }
    }
    Ok(())
}

/// The groups of a list, each once. Spaces around a name don't count, and a name with a comma can't
/// be written.
fn held_for(list: &str) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for group in split_list(list) {
        if !groups.iter().any(|known| known == group) {
            groups.push(group.to_owned());
        }
    }
    groups
}

/// What a bound of holding comes to: -2 is twice what retention says.
fn bound(said: i64, retention: i64) -> i64 {
    match said {
        -2 if retention < 0 => -1,
        -2 => retention.saturating_mul(2),
        said => said.max(-1),
    }
}

/// The value of a key for a topic with these overrides.
pub fn value_of<'a>(
    key: &str,
    overrides: &'a BTreeMap<String, String>,
    layers: &'a Layers,
) -> Cow<'a, str> {
    if let Some(value) = overrides.get(key) {
        return Cow::Borrowed(value);
    }
    let Some(row) = find(key) else { return Cow::Borrowed("") };
    for (name, unit) in row.synonyms {
        let Some(value) = layers.get(name) else { continue };
        let factor = match unit {
            Unit::Same => return Cow::Borrowed(value),
            Unit::Minutes => 60_000,
            Unit::Hours => 3_600_000,
        };
        let number = value.trim().parse::<i64>().unwrap_or(-1);
        // A negative time is no limit, in whatever unit.
        let scaled = if number < 0 { -1 } else { number.saturating_mul(factor) };
        return Cow::Owned(scaled.to_string());
    }
    Cow::Borrowed(row.default.unwrap_or_default())
}

/// What DescribeConfigs says of one key of a topic: its value, where that comes from, and all
/// places that say something, the strongest first.
pub fn describe(
    row: &Row,
    overrides: &BTreeMap<String, String>,
    layers: &Layers,
) -> (String, Source, Vec<Entry>) {
    let value = shown(row.kind, &value_of(row.name, overrides, layers));
    let mut entries = Vec::new();
    if let Some(own) = overrides.get(row.name) {
        entries.push(Entry {
            name: row.name,
            value: Some(shown(row.kind, own)),
            source: Source::Topic,
        });
    }
    if let Some((first, _)) = row.synonyms.first() {
        let names: Vec<&'static str> = row.synonyms.iter().map(|(name, _)| *name).collect();
        entries.extend(layers.entries(first, &names));
    }
    let source = entries.first().map_or(Source::Default, |entry| entry.source);
    (value, source, entries)
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
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
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
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `retention.bytes`; -1 is for ever.
    pub retention_bytes: i64,
    /// `retention.consumer.groups`, each once.
    pub retention_groups: Vec<String>,
    /// `retention.consumer.groups.max.bytes`, with -2 worked out; -1 is for ever.
    pub retention_groups_max_bytes: i64,
    /// `retention.consumer.groups.max.ms`, with -2 worked out; -1 is for ever.
    pub retention_groups_max_ms: i64,
    /// `retention.ms`; -1 is for ever.
    pub retention_ms: i64,
    /// `segment.bytes`.
    pub segment_bytes: i32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: i32,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.key.filter`; none is `auto`.
    pub segment_key_filter: Option<bool>,
    /// `segment.ms`.
    pub segment_ms: i64,
}

impl TopicConfig {
    /// The typed view of overrides over the defaults alone.
    ///
    /// # Errors
    /// Overrides that [`validate`] refuses.
    pub fn new(overrides: &BTreeMap<String, String>) -> Result<Self, Invalid> {
        validate(overrides, &Layers::default())?;
        Ok(Self::resolve(overrides, &Layers::default()))
    }

    /// The typed view of overrides over what the broker was given. Values were checked when they
    /// were set; one that would not be taken today (an older version took it, or the broker's
    /// own values changed since) is replaced by the default: a topic must stay readable.
    pub fn resolve(overrides: &BTreeMap<String, String>, layers: &Layers) -> Self {
        let text = |key: &str| {
            let value = value_of(key, overrides, layers);
            match find(key) {
                Some(row) if row.kind.check(key, &value).is_err() => {
                    Cow::Borrowed(row.default.unwrap_or_default())
                }
                _ => value,
            }
        };
        // A failed parse can only mean a row of another type; zero would show at once in the test
        // below.
        let long = |key: &str| text(key).trim().parse::<i64>().unwrap_or_default();
        let int = |key: &str| text(key).trim().parse::<i32>().unwrap_or_default();
        let policy = text("cleanup.policy");
        let policy: Vec<&str> = split_list(&policy).collect();
        let segment_bytes = match overrides.get("internal.segment.bytes") {
            Some(bytes) => bytes.trim().parse::<i32>().unwrap_or_default().max(1),
            None => int("segment.bytes"),
        };
        Self {
            compact: policy.contains(&"compact"),
            delete: policy.contains(&"delete"),
            compression: text("compression.type").trim().to_owned(),
            gzip_level: int("compression.gzip.level"),
            lz4_level: int("compression.lz4.level"),
            zstd_level: int("compression.zstd.level"),
            delete_retention_ms: long("delete.retention.ms"),
            file_delete_delay_ms: long("file.delete.delay.ms"),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            index_interval_bytes: int("index.interval.bytes"),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            max_message_bytes: int("max.message.bytes"),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            log_append_time: text("message.timestamp.type").trim() == "LogAppendTime",
            min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio")
                .trim()
                .parse()
                .unwrap_or(0.5),
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            min_insync_replicas: int("min.insync.replicas"),
            retention_bytes: long("retention.bytes"),
            retention_groups: held_for(&text(RETENTION_GROUPS)),
            retention_groups_max_bytes: bound(
                long(RETENTION_GROUPS_MAX_BYTES),
                long("retention.bytes"),
            ),
            retention_groups_max_ms: bound(long(RETENTION_GROUPS_MAX_MS), long("retention.ms")),
            retention_ms: long("retention.ms").max(-1),
            segment_bytes,
            segment_index_bytes: int("segment.index.bytes"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_key_filter: parse_bool(&text(SEGMENT_KEY_FILTER)),
            segment_ms: long("segment.ms").max(1),
        }
    }
}

/// Names the groups that records are kept for.
pub const RETENTION_GROUPS: &str = "retention.consumer.groups";
/// Bounds what is kept for them by size.
pub const RETENTION_GROUPS_MAX_BYTES: &str = "retention.consumer.groups.max.bytes";
/// Bounds what is kept for them by age.
pub const RETENTION_GROUPS_MAX_MS: &str = "retention.consumer.groups.max.ms";
/// Whether segments get filters of their keys.
pub const SEGMENT_KEY_FILTER: &str = "segment.key.filter";
/// So many groups may be named: each is looked up, and counted in the metrics.
const RETENTION_GROUPS_COUNT: usize = 32;

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
            if let Some(default) = row.default {
                row.kind.check(row.name, default).unwrap();
            }
            for (synonym, unit) in row.synonyms {
                let broker = crate::broker::find(synonym).expect(synonym);
                if *unit == Unit::Same {
                    assert_eq!(broker.kind.wire_type(), row.kind.wire_type(), "{synonym}");
                }
            }
            if row.name != "internal.segment.bytes" {
                let value = value_of(row.name, &BTreeMap::new(), &Layers::default()).into_owned();
                assert_eq!(Some(value.as_str()), row.default, "{}", row.name);
            }
        }
        assert_eq!(ROWS.iter().filter(|row| !row.only_where_set).count(), 37);
        assert_eq!(ROWS.iter().filter(|row| row.doc.is_some()).count(), 4);
    }

    #[test]
    fn segments_are_filtered_as_the_topic_says_and_nobody_else_is_shown_that() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        for (value, expected) in [("auto", None), ("true", Some(true)), ("false", Some(false))] {
            let config = TopicConfig::new(&of(&[(SEGMENT_KEY_FILTER, value)])).unwrap();
            assert_eq!(config.segment_key_filter, expected);
        }
        assert_eq!(TopicConfig::default().segment_key_filter, None);
        assert!(TopicConfig::new(&of(&[(SEGMENT_KEY_FILTER, "yes")])).is_err());
        let row = find(SEGMENT_KEY_FILTER).unwrap();
        assert!(!is_shown(row, &of(&[])) && !is_shown(row, &of(&[(RETENTION_GROUPS, "a")])));
        assert!(is_shown(row, &of(&[(SEGMENT_KEY_FILTER, "auto")])));
        let bound = find(RETENTION_GROUPS_MAX_MS).unwrap();
        assert!(is_shown(bound, &of(&[(RETENTION_GROUPS, "a")])));
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

    #[test]
    fn the_brokers_words_count_where_the_topic_says_nothing() {
        let text = |value: &str| value.to_owned();
        let mut layers = Layers::default();
        layers.file.insert(text("log.retention.hours"), text("2"));
        let none = BTreeMap::new();
        assert_eq!(TopicConfig::resolve(&none, &layers).retention_ms, 7_200_000);
        layers.file.insert(text("log.retention.minutes"), text("3"));
        assert_eq!(TopicConfig::resolve(&none, &layers).retention_ms, 180_000);
        layers.cluster.insert(text("log.retention.ms"), text("90000000"));
        layers.broker.insert(text("log.retention.ms"), text("86400000"));
        let row = find("retention.ms").unwrap();
        let (value, source, entries) = describe(row, &none, &layers);
        assert_eq!((value.as_str(), source), ("86400000", Source::DynamicBroker));
        let names: Vec<(&str, Source)> =
            entries.iter().map(|entry| (entry.name, entry.source)).collect();
        assert_eq!(
            names,
            [
                ("log.retention.ms", Source::DynamicBroker),
                ("log.retention.ms", Source::DynamicDefaultBroker),
                ("log.retention.minutes", Source::StaticBroker),
                ("log.retention.hours", Source::StaticBroker),
                ("log.retention.hours", Source::Default),
            ]
        );
        let own = BTreeMap::from([(text("retention.ms"), text("5"))]);
        let (value, source, _) = describe(row, &own, &layers);
        assert_eq!((value.as_str(), source), ("5", Source::Topic));
    }

    #[test]
    fn a_topic_key_nobody_set_has_the_synonyms_apache_kafka_shows() {
        let none = BTreeMap::new();
        let layers = Layers::default();
        // log.retention.ms has no value of its own, and the list begins with it or is empty.
        let (value, source, entries) = describe(find("retention.ms").unwrap(), &none, &layers);
        assert_eq!((value.as_str(), source, entries.len()), ("604800000", Source::Default, 0));
        let (_, _, entries) = describe(find("segment.bytes").unwrap(), &none, &layers);
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn values_that_would_not_be_taken_today_keep_no_topic_from_being_read() {
        let text = |value: &str| value.to_owned();
        let stored = BTreeMap::from([
            (text("segment.bytes"), text("14")),
            (text("message.format.version"), text("2.8")),
            (text("min.compaction.lag.ms"), text("10000")),
            (text("retention.ms"), text("5")),
        ]);
        let mut layers = Layers::default();
        layers.cluster.insert(text("log.cleaner.max.compaction.lag.ms"), text("5000"));
        assert!(validate(&stored, &layers).is_err());
        let config = TopicConfig::resolve(&stored, &layers);
        assert_eq!((config.segment_bytes, config.retention_ms), (1 << 30, 5));
    }

    #[test]
    fn what_groups_hold_is_bounded_by_twice_the_retention_unless_it_says_otherwise() {
        let held = |pairs: &[(&str, &str)]| {
            let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let mut overrides: BTreeMap<String, String> = pairs.iter().map(own).collect();
            overrides.insert(RETENTION_GROUPS.to_owned(), " billing , audit,billing".to_owned());
            let config = TopicConfig::new(&overrides).map_err(|invalid| invalid.to_string())?;
            assert_eq!(config.retention_groups, ["billing", "audit"]);
            Ok::<_, String>((config.retention_groups_max_ms, config.retention_groups_max_bytes))
        };
        assert_eq!(held(&[]), Ok((2 * 604_800_000, -1)));
        assert_eq!(held(&[("retention.ms", "-1"), ("retention.bytes", "5")]), Ok((-1, 10)));
        assert_eq!(held(&[("retention.ms", "9223372036854775807")]), Ok((i64::MAX, -1)));
        let said = [(RETENTION_GROUPS_MAX_MS, "-1"), (RETENTION_GROUPS_MAX_BYTES, "7")];
        assert_eq!(held(&said), Ok((-1, 7)));
        let refused = held(&[("retention.ms", "11"), (RETENTION_GROUPS_MAX_MS, "10")]);
        assert_eq!(
            refused.unwrap_err(),
            "retention.consumer.groups.max.ms (10) comes to no more than retention.ms (11): nothing would ever \
             be held; give it a value above, -2 for twice retention.ms, or -1 for no limit"
        );
        assert!(held(&[("retention.bytes", "11"), (RETENTION_GROUPS_MAX_BYTES, "10")]).is_err());
        assert!(held(&[(RETENTION_GROUPS_MAX_BYTES, "-3")]).is_err());
        let of = |groups: String| TopicConfig::new(&[(RETENTION_GROUPS.to_owned(), groups)].into());
        let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert!(of(many(32)).is_ok() && of(many(33)).is_err() && of("a,,b".to_owned()).is_err());
        // Without groups the bounds are only kept.
        assert!(TopicConfig::new(&[(RETENTION_GROUPS_MAX_MS.into(), "0".into())].into()).is_ok());
    }
}
