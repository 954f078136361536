//! The keys of a group (KIP-848, KIP-932, KIP-1071), resource type 32.

use std::collections::{BTreeMap, BTreeSet};

use crate::layers::{Entry, Layers, Source};
use crate::value::{Invalid, Kind, MAX, MAX_INT, shown, split_list};

/// One key of a group.
#[derive(Debug)]
pub struct Row {
    /// The key.
    pub name: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// Its default, as text; where there is a synonym that one's counts.
    pub default: Option<&'static str>,
    /// The broker key that says it for groups that don't.
    pub synonym: Option<&'static str>,
    /// Accepted but not shown.
    pub internal: bool,
}

const fn row(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    synonym: Option<&'static str>,
    internal: bool,
) -> Row {
    Row { name, kind, default, synonym, internal }
}

/// Every group key of Apache Kafka 4.4.0, by name.
pub const ROWS: &[Row] = &[
    row(
        "consumer.assignment.interval.ms",
        Kind::Int(0, MAX_INT),
        Some("1000"),
        Some("group.consumer.assignment.interval.ms"),
        false,
    ),
    row(
        "consumer.assignor.offload.enable",
        Kind::Boolean,
        Some("true"),
        Some("group.consumer.assignor.offload.enable"),
        true,
    ),
    row(
        "consumer.heartbeat.interval.ms",
        Kind::Int(1, MAX_INT),
        Some("5000"),
        Some("group.consumer.heartbeat.interval.ms"),
        false,
    ),
    row(
        "consumer.session.timeout.ms",
        Kind::Int(1, MAX_INT),
        Some("45000"),
        Some("group.consumer.session.timeout.ms"),
        false,
    ),
    row("errors.deadletterqueue.copy.record.enable", Kind::Boolean, Some("false"), None, false),
    row("errors.deadletterqueue.topic.name", Kind::Text, Some(""), None, false),
    row(
        "share.assignment.interval.ms",
        Kind::Int(0, MAX_INT),
        Some("1000"),
        Some("group.share.assignment.interval.ms"),
        false,
    ),
    row(
        "share.assignor.offload.enable",
        Kind::Boolean,
        Some("true"),
        Some("group.share.assignor.offload.enable"),
        true,
    ),
    row("share.auto.offset.reset", Kind::OffsetReset, Some("latest"), None, false),
    row(
        "share.delivery.count.limit",
        Kind::Int(2, MAX_INT),
        Some("5"),
        Some("group.share.delivery.count.limit"),
        false,
    ),
    row(
        "share.heartbeat.interval.ms",
        Kind::Int(1, MAX_INT),
        Some("5000"),
        Some("group.share.heartbeat.interval.ms"),
        false,
    ),
    row(
        "share.isolation.level",
        Kind::OneOf(&["read_committed", "read_uncommitted"]),
        Some("read_uncommitted"),
        None,
        false,
    ),
    row(
        "share.partition.max.record.locks",
        Kind::Int(100, MAX_INT),
        Some("2000"),
        Some("group.share.partition.max.record.locks"),
        false,
    ),
    row(
        "share.record.lock.duration.ms",
        Kind::Int(1000, MAX_INT),
        Some("30000"),
        Some("group.share.record.lock.duration.ms"),
        false,
    ),
    row("share.renew.acknowledge.enable", Kind::Boolean, Some("true"), None, false),
    row(
        "share.session.timeout.ms",
        Kind::Int(1, MAX_INT),
        Some("45000"),
        Some("group.share.session.timeout.ms"),
        false,
    ),
    row(
        "streams.acceptable.recovery.lag",
        Kind::Long(0, MAX),
        Some("10000"),
        Some("group.streams.acceptable.recovery.lag"),
        true,
    ),
    row(
        "streams.assignment.interval.ms",
        Kind::Int(0, MAX_INT),
        Some("1000"),
        Some("group.streams.assignment.interval.ms"),
        false,
    ),
    row("streams.assignor.name", Kind::Text, None, Some("group.streams.assignors"), false),
    row(
        "streams.assignor.offload.enable",
        Kind::Boolean,
        Some("true"),
        Some("group.streams.assignor.offload.enable"),
        true,
    ),
    row(
        "streams.heartbeat.interval.ms",
        Kind::Int(1, MAX_INT),
        Some("5000"),
        Some("group.streams.heartbeat.interval.ms"),
        false,
    ),
    row(
        "streams.initial.rebalance.delay.ms",
        Kind::Int(0, MAX_INT),
        Some("3000"),
        Some("group.streams.initial.rebalance.delay.ms"),
        false,
    ),
    row(
        "streams.num.standby.replicas",
        Kind::Int(0, MAX_INT),
        Some("0"),
        Some("group.streams.num.standby.replicas"),
        false,
    ),
    row(
        "streams.num.warmup.replicas",
        Kind::Int(0, MAX_INT),
        Some("2"),
        Some("group.streams.num.warmup.replicas"),
        true,
    ),
    row(
        "streams.rack.aware.assignment.tags",
        Kind::List(&[]),
        Some(""),
        Some("group.streams.rack.aware.assignment.tags"),
        false,
    ),
    row(
        "streams.session.timeout.ms",
        Kind::Int(1, MAX_INT),
        Some("45000"),
        Some("group.streams.session.timeout.ms"),
        false,
    ),
    row(
        "streams.task.offset.interval.ms",
        Kind::Int(1, MAX_INT),
        Some("60000"),
        Some("group.streams.task.offset.interval.ms"),
        true,
    ),
];

/// Bounds that the operator sets: key, broker key of the least value, of the largest.
const BOUNDS: &[(&str, &str, &str)] = &[
    (
        "consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
    ),
    (
        "consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
    (
        "consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
    ),
    (
        "share.session.timeout.ms",
        "group.share.min.session.timeout.ms",
        "group.share.max.session.timeout.ms",
    ),
    (
        "share.heartbeat.interval.ms",
        "group.share.min.heartbeat.interval.ms",
        "group.share.max.heartbeat.interval.ms",
    ),
    (
        "share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
    ),
    (
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms",
        "group.share.max.record.lock.duration.ms",
    ),
    (
        "share.delivery.count.limit",
        "group.share.min.delivery.count.limit",
        "group.share.max.delivery.count.limit",
    ),
    (
        "share.partition.max.record.locks",
        "group.share.min.partition.max.record.locks",
        "group.share.max.partition.max.record.locks",
    ),
    (
        "streams.session.timeout.ms",
        "group.streams.min.session.timeout.ms",
        "group.streams.max.session.timeout.ms",
    ),
    (
        "streams.heartbeat.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
    ),
    (
        "streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
    ),
];

/// The row of a key.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.binary_search_by(|row| row.name.cmp(name)).ok().and_then(|index| ROWS.get(index))
}

/// Checks what a client asks a group to be configured with.
///
/// # Errors
/// An unknown key, a bad value, or one outside the operator's bounds.
pub fn validate(overrides: &BTreeMap<String, String>, layers: &Layers) -> Result<(), Invalid> {
    for key in overrides.keys() {
        if find(key).is_none() {
            return Err(Invalid::plain(key, format!("Unknown group config name: {key}")));
        }
    }
    for (key, value) in overrides {
        if let Some(row) = find(key) {
            row.kind.check(key, value)?;
        }
    }
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<i64>().ok());
    for (key, least, most) in BOUNDS {
        let Some(value) = number(overrides.get(*key).map(String::as_str)) else { continue };
        let (Some(least), Some(most)) = (number(layers.get(least)), number(layers.get(most)))
        else {
            continue;
        };
        if !(least..=most).contains(&value) {
            let text = format!("{key} must be in the range {least} to {most} inclusive.");
            return Err(Invalid::plain(key, text));
        }
    }
    let standby = "streams.num.standby.replicas";
    let most = number(layers.get("group.streams.max.standby.replicas")).unwrap_or(i64::MAX);
    if number(overrides.get(standby).map(String::as_str)).is_some_and(|value| value > most) {
        let text = format!("{standby} must be less than or equal to {most}");
        return Err(Invalid::plain(standby, text));
    }
    if let Some(name) = overrides.get("streams.assignor.name").map(|name| name.trim()) {
        let known = layers.get("group.streams.assignors").unwrap_or_default();
        if !split_list(known).any(|other| other == name) {
            let known: Vec<&str> = split_list(known).collect();
            let text = format!(
                "streams.assignor.name '{name}' is not a registered task assignor. Registered \
                 assignors are: [{}].",
                known.join(", ")
            );
            return Err(Invalid::plain("streams.assignor.name", text));
        }
    }
    let tags = "streams.rack.aware.assignment.tags";
    let mut seen = BTreeSet::new();
    let named = overrides.get(tags).map(String::as_str).unwrap_or_default();
    if split_list(named).any(|tag| !seen.insert(tag)) {
        return Err(Invalid::plain(tags, format!("{tags} must not contain duplicate tag keys.")));
    }
    let dead_letters = "errors.deadletterqueue.topic.name";
    if overrides.get(dead_letters).is_some_and(|name| name.trim().starts_with("__")) {
        let text = format!("{dead_letters}: DLQ topic name must not start with '__'");
        return Err(Invalid::plain(dead_letters, text));
    }
    Ok(())
}

/// What DescribeConfigs says of one key of a group.
pub fn describe(
    row: &Row,
    overrides: Option<&BTreeMap<String, String>>,
    layers: &Layers,
) -> (Option<String>, Source, Vec<Entry>) {
    let mut entries = Vec::new();
    if let Some(own) = overrides.and_then(|overrides| overrides.get(row.name)) {
        let value = Some(shown(row.kind, own));
        entries.push(Entry { name: row.name, value, source: Source::Group });
    }
    match (row.synonym, row.default) {
        (Some(synonym), _) => entries.extend(layers.entries(synonym, &[synonym])),
        (None, Some(default)) => {
            let value = Some(shown(row.kind, default));
            entries.push(Entry { name: row.name, value, source: Source::Default });
        }
        (None, None) => {}
    }
    let first = entries.first();
    let source = first.map_or(Source::Default, |entry| entry.source);
    let value = match first {
        Some(entry) => entry.value.clone(),
        None => row.default.map(|default| shown(row.kind, default)),
    };
    (value, source, entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, value: &str) -> Result<(), String> {
        let overrides = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        validate(&overrides, &Layers::default()).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn rows_are_sorted_their_synonyms_exist_and_so_do_the_bounds() {
        assert!(ROWS.is_sorted_by(|left, right| left.name < right.name));
        assert_eq!(ROWS.len(), 27);
        for row in ROWS {
            if let Some(synonym) = row.synonym {
                assert!(crate::broker::find(synonym).is_some(), "{synonym}");
            }
        }
        for (key, least, most) in BOUNDS {
            assert!(find(key).is_some(), "{key}");
            for bound in [least, most] {
                assert!(crate::broker::find(bound).is_some(), "{bound}");
            }
        }
    }

    #[test]
    fn values_outside_the_operators_bounds_are_refused_in_apache_kafkas_words() {
        assert_eq!(
            check("consumer.session.timeout.ms", "1000"),
            Err("consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive.".into())
        );
        assert_eq!(
            check("consumer.session.timeout.ms", "0"),
            Err("Invalid value 0 for configuration consumer.session.timeout.ms: Value must be at \
                 least 1"
                .into())
        );
        assert_eq!(check("nosuch", "1"), Err("Unknown group config name: nosuch".into()));
        assert_eq!(check("consumer.session.timeout.ms", "46000"), Ok(()));
        assert!(check("streams.assignor.name", "foo").is_err());
        assert!(check("streams.rack.aware.assignment.tags", "a,a").is_err());
        assert_eq!(check("share.auto.offset.reset", "by_duration:PT1H"), Ok(()));
        assert!(check("share.auto.offset.reset", "by_duration:-PT1H").is_err());
        assert!(check("errors.deadletterqueue.topic.name", "__x").is_err());
    }
}
