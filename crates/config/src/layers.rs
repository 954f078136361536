//! What a broker was told, layer over layer: for itself while running, for all brokers while
//! running, in its file, by default (KIP-226).

use std::collections::BTreeMap;

use crate::broker;
use crate::value::{WireType, shown};

/// Where a value comes from; the numbers are those of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Source {
    /// Set for the topic.
    Topic = 1,
    /// Set for this broker while it runs.
    DynamicBroker = 2,
    /// Set for all brokers while they run.
    DynamicDefaultBroker = 3,
    /// From the file or the command line.
    StaticBroker = 4,
    /// Nobody said anything.
    Default = 5,
    /// A log level.
    DynamicBrokerLogger = 6,
    /// Set for a client metrics subscription.
    ClientMetrics = 7,
    /// Set for a group.
    Group = 8,
}

/// One place that gives a key a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, or a synonym of it.
    pub name: &'static str,
    /// The value; `None` if it may not be shown.
    pub value: Option<String>,
    /// The place.
    pub source: Source,
}

/// The layers above the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// Set for this broker while it runs.
    pub broker: BTreeMap<String, String>,
    /// Set for all brokers while they run.
    pub cluster: BTreeMap<String, String>,
    /// From the file and the command line.
    pub file: BTreeMap<String, String>,
}

impl Layers {
    /// The value in force for a broker key; `None` if it has none, not even by default.
    pub fn get(&self, key: &str) -> Option<&str> {
        let set = [&self.broker, &self.cluster, &self.file];
        let found = set.iter().find_map(|layer| layer.get(key)).map(String::as_str);
        found.or_else(|| broker::find(key).and_then(|row| row.default))
    }

    /// Every place that gives one of `names` a value, the strongest layer first, from the first
    /// one on that is about `key` itself.
    pub fn entries(&self, key: &str, names: &[&'static str]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let set = [
            (&self.broker, Source::DynamicBroker),
            (&self.cluster, Source::DynamicDefaultBroker),
            (&self.file, Source::StaticBroker),
        ];
        for (layer, source) in set {
            for name in names {
                if let Some(value) = layer.get(*name) {
                    entries.push(entry(name, value, source));
                }
            }
        }
        for name in names {
            if let Some(default) = broker::find(name).and_then(|row| row.default) {
                entries.push(entry(name, default, Source::Default));
            }
        }
        let first = entries.iter().position(|entry| entry.name == key);
        first.map_or(Vec::new(), |first| entries.split_off(first))
    }
}

fn entry(name: &'static str, value: &str, source: Source) -> Entry {
    let row = broker::find(name);
    let secret = row.is_some_and(|row| row.kind.wire_type() == WireType::Password);
    let value = row.map_or_else(|| value.to_owned(), |row| shown(row.kind, value));
    Entry { name, value: (!secret).then_some(value), source }
}
