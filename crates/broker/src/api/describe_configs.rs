//! DescribeConfigs: what a topic, broker, group or subscription is configured with, and where each
//! value comes from (KIP-226, KIP-569).

use config::{Entry, Source, WireType, broker, client_metrics, group, topic, value};
use messages::describe_configs_request::DescribeConfigsResource;
use messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use metadata::controller::check_name;
use metadata::image::resource;
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(DescribeConfigs, 1..=4, DescribeConfigsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: DescribeConfigsRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    let mut response = DescribeConfigsResponse::default();
    let mut entries = 0;
    // A type that does not exist fails the request as a whole.
    let malformed = request.resources.iter().any(|wanted| !KNOWN.contains(&wanted.resource_type));
    for wanted in &request.resources {
        let mut result = DescribeConfigsResult {
            resource_type: wanted.resource_type,
            resource_name: wanted.resource_name.clone(),
            error_message: Some(String::new()),
            ..Default::default()
        };
        let described = if malformed {
            Err((ErrorCode::INVALID_REQUEST, ErrorCode::INVALID_REQUEST.words().to_owned()))
        } else if entries > ENTRIES_MAX {
            let text = format!("More than {ENTRIES_MAX} entries are asked for at once.");
            Err((ErrorCode::INVALID_REQUEST, text))
        } else {
            describe(node, wanted)
        };
        match described {
            Ok(mut configs) => {
                // No key named is every key.
                if let Some(keys) = wanted.configuration_keys.as_ref().filter(|k| !k.is_empty()) {
                    configs.retain(|config| keys.contains(&config.name));
                }
                for config in &mut configs {
                    if !request.include_synonyms {
                        config.synonyms.clear();
                    }
                    if !request.include_documentation || call.version < 3 {
                        // A logger has no documentation to leave out.
                        let empty =
                            call.version < 3 || wanted.resource_type == resource::BROKER_LOGGER;
                        config.documentation = empty.then(String::new);
                    }
                }
                entries += configs.len();
                result.configs = configs;
            }
            Err((code, text)) => {
                result.error_code = code.0;
                result.error_message = Some(text);
            }
        }
        response.results.push(result);
    }
    node.answer(call, response, out);
}

/// Bounds what a small request can make of memory; ten thousand topics have fewer.
const ENTRIES_MAX: usize = 500_000;

/// The types of resources that can be described.
const KNOWN: [i8; 5] = [
    resource::TOPIC,
    resource::BROKER,
    resource::BROKER_LOGGER,
    resource::GROUP,
    resource::CLIENT_METRICS,
];

type Found = Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)>;

fn describe(node: &Node, wanted: &DescribeConfigsResource) -> Found {
    let name = wanted.resource_name.as_str();
    let refuse = |text: String| Err((ErrorCode::INVALID_REQUEST, text));
    match wanted.resource_type {
        resource::TOPIC => {
            let keys = wanted.configuration_keys.as_deref().unwrap_or_default();
            describe_topic(node, name, keys)
        }
        resource::BROKER if name.is_empty() => Ok(brokers(broker::describe_cluster(&node.layers))),
        resource::BROKER => match name.parse::<i32>() {
            Ok(id) if id == node.config.node_id => {
                let keys = wanted.configuration_keys.as_deref().unwrap_or_default();
                Ok(brokers(broker::describe_all(&node.layers, keys)))
            }
            Ok(id) => refuse(format!(
                "Unexpected broker id, expected {} or empty string, but received {id}",
                node.config.node_id
            )),
            Err(_) => refuse(format!("Broker id must be an integer, but it is: {name}")),
        },
        resource::BROKER_LOGGER if name.is_empty() => refuse("Broker id must not be empty".into()),
        resource::BROKER_LOGGER => match name.parse::<i32>() {
            Ok(id) if id == node.config.node_id => Ok(loggers(node)),
            Ok(id) => refuse(format!(
                "Unexpected broker id, expected {} but received {id}",
                node.config.node_id
            )),
            Err(_) => refuse(format!("Broker id must be an integer, but it is: {name}")),
        },
        resource::GROUP if name.is_empty() => refuse("Group name must not be empty".into()),
        resource::GROUP => Ok(describe_group(node, name)),
        resource::CLIENT_METRICS if name.is_empty() => {
            refuse("Client metrics subscription name must not be empty".into())
        }
        resource::CLIENT_METRICS => Ok(describe_client_metrics(node, name)),
        _ => refuse(ErrorCode::INVALID_REQUEST.words().into()),
    }
}

fn describe_topic(node: &Node, name: &str, keys: &[String]) -> Found {
    check_name(name).map_err(|(code, text)| (code, text.unwrap_or_default()))?;
    if node.image.topic(name).is_none() {
        return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new()));
    }
    let overrides = node.image.topic_overrides(name);
    let shown = |row: &&topic::Row| {
        let asked = || row.doc.is_some() && keys.iter().any(|key| key == row.name);
        topic::is_shown(row, &overrides) || asked()
    };
    let describe = |row: &topic::Row| {
        let (value, source, entries) = topic::describe(row, &overrides, &node.layers);
        let mut found = found(row.name, Some(value), source, row.kind.wire_type(), entries);
        found.documentation = row.doc.map(str::to_owned);
        found
    };
    // Tools put them into a hash map of Java's, where ties come in the order they arrive. Backwards
    // these ties are, but for two, as from Apache Kafka, whose order is a hash map's, too.
    Ok(topic::ROWS.iter().rev().filter(shown).map(describe).collect())
}

fn describe_group(node: &Node, name: &str) -> Vec<DescribeConfigsResourceResult> {
    let overrides = node.image.overrides(resource::GROUP, name);
    let set = |row: &group::Row| overrides.is_some_and(|set| set.contains_key(row.name));
    let describe = |row: &group::Row| {
        let (value, source, entries) = group::describe(row, overrides, &node.layers);
        found(row.name, value, source, row.kind.wire_type(), entries)
    };
    group::ROWS.iter().filter(|row| !row.internal || set(row)).map(describe).collect()
}

fn describe_client_metrics(node: &Node, name: &str) -> Vec<DescribeConfigsResourceResult> {
    let overrides = node.image.overrides(resource::CLIENT_METRICS, name);
    let describe = |(key, kind, default): &(&'static str, value::Kind, &str)| {
        let own = overrides.and_then(|overrides| overrides.get(*key));
        let text = value::shown(*kind, own.map_or(*default, String::as_str));
        let (source, entries) = match own {
            None => (Source::Default, Vec::new()),
            Some(_) => {
                let source = Source::ClientMetrics;
                (source, vec![Entry { name: key, value: Some(text.clone()), source }])
            }
        };
        found(key, Some(text), source, kind.wire_type(), entries)
    };
    client_metrics::ROWS.iter().map(describe).collect()
}

fn loggers(node: &Node) -> Vec<DescribeConfigsResourceResult> {
    let describe = |(name, level): (&String, &String)| {
        let source = Source::DynamicBrokerLogger;
        found(name, Some(level.clone()), source, WireType::Unknown, Vec::new())
    };
    node.log_levels.iter().map(describe).collect()
}

fn brokers(all: Vec<broker::Described>) -> Vec<DescribeConfigsResourceResult> {
    let synonym = |(name, value, source): (String, Option<String>, Source)| {
        DescribeConfigsSynonym { name, value, source: source as i8, ..Default::default() }
    };
    all.into_iter()
        .map(|described| DescribeConfigsResourceResult {
            name: described.name,
            value: described.value,
            read_only: described.read_only,
            config_source: described.source as i8,
            is_sensitive: described.sensitive,
            synonyms: described.synonyms.into_iter().map(synonym).collect(),
            config_type: described.wire_type as i8,
            documentation: Some(described.doc.to_owned()),
            ..Default::default()
        })
        .collect()
}

fn found(
    name: &str,
    value: Option<String>,
    source: Source,
    wire_type: WireType,
    entries: Vec<Entry>,
) -> DescribeConfigsResourceResult {
    let synonym = |entry: Entry| DescribeConfigsSynonym {
        name: entry.name.to_owned(),
        value: entry.value,
        source: entry.source as i8,
        ..Default::default()
    };
    DescribeConfigsResourceResult {
        name: name.to_owned(),
        value,
        config_source: source as i8,
        synonyms: entries.into_iter().map(synonym).collect(),
        config_type: wire_type as i8,
        ..Default::default()
    }
}
