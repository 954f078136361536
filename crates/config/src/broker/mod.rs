//! The keys of a broker, as its file names them.
//!
//! Each says what this version does about it ([`State`]): nothing is swallowed in silence. A key
//! that guards data or access and can't be honoured yet keeps the node from starting.

use crate::layers::{Entry, Layers, Source};
use crate::value::{Invalid, Kind, MAX, WireType, shown};

/// One key of a broker.
#[derive(Debug)]
pub struct Row {
    /// The key.
    pub name: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// Its default, as text.
    pub default: Option<&'static str>,
    /// Who may change it while the broker runs.
    pub scope: Scope,
    /// Accepted but not shown.
    pub internal: bool,
    /// What this version does about it.
    pub state: State,
    /// What it is for, in a line.
    pub doc: &'static str,
}

/// Who may change a key while the broker runs (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nobody.
    ReadOnly,
    /// Each broker's own value may change.
    PerBroker,
    /// The default of all brokers may change, too.
    Cluster,
}
/// What this version does about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// What Apache Kafka does.
    Honoured,
    /// It is accepted and nothing follows from it, for this reason.
    NoEffect(&'static str),
    /// Any value but the default keeps the node from starting, for this reason.
    Refused(&'static str),
}

/// Builds the table from its rows, each in two or three lines.
macro_rules! table {
    ($($name:literal: $kind:expr, $default:expr, $scope:ident $($internal:ident)?, $state:expr,
        $doc:literal;)*) => {
        &[$(Row {
            name: $name,
            kind: $kind,
            default: $default,
            scope: $scope,
            internal: table!(@internal $($internal)?),
            state: $state,
            doc: $doc,
        },)*]
    };
    (@internal internal) => { true };
    (@internal) => { false };
}
mod rows;

pub use rows::ROWS;

/// Keys that exist only while the broker runs: rates that a reassignment sets.
const DYNAMIC_ONLY: [&str; 3] = [
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

/// Keys that Apache Kafka can change while it runs and this version reads at its start only.
const AT_START: [&str; 2] = ["listeners", "max.connections"];

/// Keys of our own: Apache Kafka has nothing like them. They are shown where they are set, or asked
/// for by name.
pub const OWN: [&str; 2] = ["log.scrub.interval.ms", "log.scrub.io.max.bytes.per.second"];

/// Counts of threads: no change may more than double or halve them.
const THREADS: [&str; 5] = [
    "background.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
];

/// Keys that say the same in different units, the finest first.
const GROUPS: [&[&str]; 4] = [
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
];

/// The row of a key.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.binary_search_by(|row| row.name.cmp(name)).ok().and_then(|index| ROWS.get(index))
}

/// The key that looks most like one that does not exist, if any looks like it at all.
pub fn nearest(name: &str) -> Option<&'static str> {
    crate::nearest(name, ROWS.iter().filter(|row| !row.internal).map(|row| row.name))
}

/// A key without the listener it is for: `listener.name.NAME.KEY` (KIP-226).
pub(crate) fn base_key(key: &str) -> &str {
    let own = key.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.'));
    match own {
        Some((_, key)) if find(key).is_some() => key,
        // A SASL mechanism may stand before the key, too.
        Some((_, rest)) => rest.split_once('.').map_or(key, |(_, key)| key),
        None => key,
    }
}

/// Checks what a running broker (`per_broker`), or all of them, are asked to be configured with:
/// `wanted` is all that would be set after the change, `changed` the keys it is about.
///
/// # Errors
/// The reason in Apache Kafka's words; its code is INVALID_REQUEST.
pub fn validate_dynamic(
    wanted: &std::collections::BTreeMap<String, String>,
    per_broker: bool,
    layers: &Layers,
) -> Result<(), String> {
    let those = |is: &dyn Fn(&str) -> bool| -> Option<String> {
        let keys: Vec<&str> = wanted.keys().map(String::as_str).filter(|key| is(key)).collect();
        (!keys.is_empty()).then(|| format!("[{}]", keys.join(", ")))
    };
    let scope = |key: &str| find(base_key(key)).map(|row| row.scope);
    let fixed = |key: &str| scope(key) == Some(Scope::ReadOnly) || AT_START.contains(&key);
    let at_cluster = |key: &str| !per_broker && scope(key) == Some(Scope::PerBroker);
    // A key that may not be set for all brokers is refused for that, even if it is fixed here.
    if let Some(keys) = those(&|key| fixed(key) && !at_cluster(key)) {
        return Err(format!("Cannot update these configs dynamically: {keys}"));
    }
    let guards = |key: &str| scope(key) == Some(Scope::PerBroker) && key.starts_with("ssl.");
    if let Some(keys) = those(&guards) {
        return Err(format!(
            "These security configs can be dynamically updated only per-listener using the \
             listener prefix: {keys}"
        ));
    }
    for (key, value) in wanted {
        if let Some(row) = find(base_key(key)) {
            row.kind.check(key, value).map_err(|invalid| invalid.to_string())?;
        } else if DYNAMIC_ONLY.contains(&key.as_str()) {
            Kind::Long(0, MAX).check(key, value).map_err(|invalid| invalid.to_string())?;
        }
    }
    for (key, value) in wanted.iter().filter(|(key, _)| find(key).is_some_and(|r| r.kind.is_list()))
    {
        let mut seen = std::collections::BTreeSet::new();
        if crate::value::split_list(value).any(|entry| !seen.insert(entry)) {
            return Err(format!("Configuration '{key}' values must not be duplicated."));
        }
    }
    if let Some(keys) = those(&at_cluster) {
        return Err(format!(
            "Cannot update these configs at default cluster level, broker id must be specified: \
             {keys}"
        ));
    }
    for (key, value) in wanted {
        let state = find(base_key(key)).map(|row| (row.state, row.default));
        if let Some((State::Refused(reason), default)) = state
            && Some(value.trim()) != default
        {
            return Err(format!("{key} can't be set: {reason}"));
        }
    }
    for (key, value) in wanted {
        if let Some(text) = beyond_limits(key, value) {
            return Err(format!("requirement failed: {text}"));
        }
    }
    THREADS.iter().try_for_each(|key| check_threads(key, wanted.get(*key), layers))
}

/// What is wrong with a time that has the right type: none at all would empty or cut every log.
fn beyond_limits(key: &str, value: &str) -> Option<String> {
    let number = value.trim().parse::<i64>().ok()?;
    let unit = key.rsplit_once('.').map(|(_, unit)| unit);
    let in_time = matches!(unit, Some("ms" | "minutes" | "hours"));
    match key {
        _ if !in_time => None,
        _ if key.starts_with("log.retention.") && key != "log.retention.check.interval.ms" => {
            (number == 0)
                .then(|| format!("{key} must be unlimited (-1) or, greater than or equal to 1"))
        }
        "log.roll.ms" | "log.roll.hours" => {
            (number < 1).then(|| format!("{key} must be greater than or equal to 1"))
        }
        _ => None,
    }
}

fn check_threads(key: &str, wanted: Option<&String>, layers: &Layers) -> Result<(), String> {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let (Some(new), Some(now)) =
        (wanted.and_then(|text| number(text)), layers.get(key).and_then(number))
    else {
        return Ok(());
    };
    let limit = if new > now * 2 {
        format!("value should not be greater than double the current value {now}")
    } else if new < now / 2 {
        format!("value should be at least half the current value {now}")
    } else {
        return Ok(());
    };
    Err(format!(
        "Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count update \
         validation failed for {key}={new}, {limit} for configuration Invalid dynamic configuration"
    ))
}

/// What DescribeConfigs says of one key of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The key.
    pub name: String,
    /// Its value; `None` if there is none or it may not be shown.
    pub value: Option<String>,
    /// It can't be changed while the broker runs.
    pub read_only: bool,
    /// It is never shown.
    pub sensitive: bool,
    /// Its type.
    pub wire_type: WireType,
    /// Where the value comes from.
    pub source: Source,
    /// All places that say something, the strongest first.
    pub synonyms: Vec<(String, Option<String>, Source)>,
    /// What it is for.
    pub doc: &'static str,
}

/// Everything a broker is configured with, by key; of our own keys those that are set, or `asked`
/// for.
pub fn describe_all(layers: &Layers, asked: &[String]) -> Vec<Described> {
    let places = [&layers.broker, &layers.cluster, &layers.file];
    let is_set = |key: &str| places.iter().any(|layer| layer.contains_key(key));
    let is_shown = |row: &&'static Row| {
        let own = OWN.contains(&row.name);
        !row.internal && (!own || is_set(row.name) || asked.iter().any(|key| key == row.name))
    };
    let mut all: Vec<Described> =
        ROWS.iter().filter(is_shown).map(|row| describe_row(row, layers)).collect();
    let mut others: Vec<&String> = [&layers.broker, &layers.cluster, &layers.file]
        .into_iter()
        .flat_map(|layer| layer.keys())
        .filter(|key| find(key).is_none_or(|row| row.internal))
        .collect();
    others.sort();
    others.dedup();
    all.extend(others.into_iter().map(|key| describe_other(key, layers)));
    all
}

/// What all brokers are configured with while they run, by key.
pub fn describe_cluster(layers: &Layers) -> Vec<Described> {
    let only = Layers { cluster: layers.cluster.clone(), ..Layers::default() };
    let mut all = describe_all(&only, &[]);
    all.retain(|described| described.source == Source::DynamicDefaultBroker);
    for described in &mut all {
        described.synonyms.retain(|(.., source)| *source == Source::DynamicDefaultBroker);
    }
    all
}

fn describe_row(row: &'static Row, layers: &Layers) -> Described {
    let alone = [row.name];
    let names = GROUPS.iter().find(|group| group.contains(&row.name)).copied().unwrap_or(&alone);
    let entries = layers.entries(row.name, names);
    let sensitive = row.kind.wire_type() == WireType::Password;
    let value = layers.get(row.name).filter(|_| !sensitive);
    Described {
        name: row.name.to_owned(),
        value: value.map(|value| shown(row.kind, value)),
        read_only: row.scope == Scope::ReadOnly,
        sensitive,
        wire_type: row.kind.wire_type(),
        source: entries.first().map_or(Source::Default, |entry| entry.source),
        synonyms: entries
            .into_iter()
            .map(|Entry { name, value, source }| (name.to_owned(), value, source))
            .collect(),
        doc: row.doc,
    }
}

/// Keys outside the table: unknown ones are taken for secrets, because they may be somebody's.
fn describe_other(key: &str, layers: &Layers) -> Described {
    let row = find(base_key(key));
    let rate = DYNAMIC_ONLY.contains(&key);
    let kind = row.map(|row| row.kind).or(rate.then_some(Kind::Long(0, MAX)));
    let sensitive = kind.is_none_or(|kind| kind.wire_type() == WireType::Password);
    let show = |value: &str| match kind {
        Some(kind) if !sensitive => Some(shown(kind, value)),
        _ => None,
    };
    let places = [
        (&layers.broker, Source::DynamicBroker),
        (&layers.cluster, Source::DynamicDefaultBroker),
        (&layers.file, Source::StaticBroker),
    ];
    let mut synonyms: Vec<(String, Option<String>, Source)> = places
        .into_iter()
        .filter_map(|(layer, source)| Some((key.to_owned(), show(layer.get(key)?), source)))
        .collect();
    let first = synonyms.first().cloned();
    if let Some(row) = row.filter(|row| row.name != key)
        && let Some(default) = layers.get(row.name)
    {
        synonyms.push((row.name.to_owned(), show(default), Source::Default));
    }
    Described {
        name: key.to_owned(),
        value: first.as_ref().and_then(|(_, value, _)| value.clone()),
        read_only: !rate && !row.is_some_and(|row| row.name == key && row.scope != Scope::ReadOnly),
        sensitive,
        wire_type: kind.map_or(WireType::Unknown, Kind::wire_type),
        source: first.map_or(Source::Default, |(.., source)| source),
        synonyms,
        doc: row.map_or("", |row| row.doc),
    }
}

/// Checks one key of a file.
///
/// # Errors
/// A bad value, or one this version must not pretend to honour.
pub fn check_static(row: &Row, value: &str) -> Result<(), Invalid> {
    row.kind.check(row.name, value)?;
    if let Some(text) = beyond_limits(row.name, value) {
        return Err(Invalid {
            key: row.name.to_owned(),
            value: value.to_owned(),
            reason: text.clone(),
            allowed: text,
        });
    }
    if let State::Refused(reason) = row.state {
        let same = row.default.map(|default| shown(row.kind, default));
        if same.as_deref() != Some(shown(row.kind, value).as_str()) {
            let allowed = match row.default {
                Some(default) => format!("only {default:?} is possible: {reason}"),
                None => format!("it can't be set: {reason}"),
            };
            return Err(Invalid {
                key: row.name.to_owned(),
                value: if row.kind == Kind::Password {
                    "[hidden]".to_owned()
                } else {
                    value.to_owned()
                },
                reason: allowed.clone(),
                allowed,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn dynamic(entries: &[(&str, &str)], per_broker: bool) -> Result<(), String> {
        validate_dynamic(&map(entries), per_broker, &Layers::default())
    }

    #[test]
    fn rows_are_sorted_complete_and_every_default_is_valid() {
        assert!(ROWS.is_sorted_by(|left, right| left.name < right.name));
        assert!(OWN.iter().all(|key| find(key).is_some()));
        let theirs = ROWS.iter().filter(|row| !OWN.contains(&row.name));
        assert_eq!(theirs.clone().count(), 379);
        assert_eq!(theirs.filter(|row| !row.internal).count(), 350);
        for row in ROWS {
            let default = row.default.unwrap_or_default();
            // Some defaults are none of the values one may write: nothing, mostly.
            if !default.is_empty() {
                row.kind.check(row.name, default).unwrap();
            }
            assert!(!row.doc.is_empty() && row.doc.len() <= 100, "{}", row.name);
            if let State::NoEffect(reason) | State::Refused(reason) = row.state {
                assert!(reason.len() > 5, "{}", row.name);
            }
        }
    }

    #[test]
    fn running_brokers_refuse_changes_in_apache_kafkas_words() {
        assert_eq!(
            dynamic(&[("node.id", "5"), ("process.roles", "broker")], true),
            Err("Cannot update these configs dynamically: [node.id, process.roles]".into())
        );
        assert_eq!(
            dynamic(&[("listeners", "PLAINTEXT://:1")], false),
            Err("Cannot update these configs at default cluster level, broker id must be \
                 specified: [listeners]"
                .into())
        );
        assert_eq!(
            dynamic(&[("ssl.keystore.location", "/x")], false),
            Err("These security configs can be dynamically updated only per-listener using the \
                 listener prefix: [ssl.keystore.location]"
                .into())
        );
        assert_eq!(
            dynamic(&[("log.retention.ms", "abc")], false),
            Err("Invalid value abc for configuration log.retention.ms: Not a number of type LONG"
                .into())
        );
        assert_eq!(
            dynamic(&[("num.io.threads", "100")], true),
            Err("Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread \
                 count update validation failed for num.io.threads=100, value should not be \
                 greater than double the current value 8 for configuration Invalid dynamic \
                 configuration"
                .into())
        );
        assert_eq!(dynamic(&[("nosuch", "x"), ("log.retention.ms", "5")], true), Ok(()));
        assert_eq!(dynamic(&[("leader.replication.throttled.rate", "1000")], true), Ok(()));
        assert!(dynamic(&[("leader.replication.throttled.rate", "-1")], true).is_err());
        for (key, value) in [("log.retention.ms", "00"), ("log.roll.ms", "-1")] {
            assert!(dynamic(&[(key, value)], true).is_err(), "{key}={value}");
        }
        assert_eq!(dynamic(&[("log.retention.ms", "-5")], true), Ok(()));
    }

    #[test]
    fn what_guards_and_cannot_be_honoured_is_refused() {
        let guarded = ["ssl.client.auth", "authorizer.class.name", "sasl.jaas.config"];
        for key in guarded {
            let row = find(key).unwrap();
            assert!(matches!(row.state, State::Refused(_)), "{key}");
            let value = if key == "ssl.client.auth" { "required" } else { "something" };
            let refusal = check_static(row, value).unwrap_err();
            assert_eq!(refusal.key, key);
        }
        let row = find("ssl.client.auth").unwrap();
        assert!(check_static(row, "none").is_ok());
        let prefixed = [("listener.name.plaintext.ssl.keystore.location", "/x")];
        assert!(dynamic(&prefixed, true).is_err());
    }

    #[test]
    fn unknown_keys_are_taken_for_secrets_and_told_the_nearest() {
        let broker = map(&[("nosuch.key", "v"), ("log.retention.ms", "5")]);
        let layers = Layers { broker, ..Layers::default() };
        let all = describe_all(&layers, &[]);
        assert_eq!(all.len(), 351);
        let other = all.iter().find(|described| described.name == "nosuch.key").unwrap();
        assert!(other.sensitive && other.read_only && other.value.is_none());
        let retention = all.iter().find(|described| described.name == "log.retention.ms").unwrap();
        assert_eq!(retention.value.as_deref(), Some("5"));
        assert_eq!(retention.synonyms.len(), 2);
        assert_eq!(nearest("log.retention.hour"), Some("log.retention.hours"));
        assert_eq!(nearest("zookeeper.connect"), None);
    }
}
