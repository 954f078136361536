//! Configuration: of topics, brokers, groups and client metrics subscriptions.
//!
//! The checks and their order are those a client of a broker sees from Apache Kafka 4.4.0; log
//! levels are the broker's own and not in the metadata.

use std::collections::{BTreeMap, BTreeSet};

use config::{Layers, client_metrics, group, topic};
use messages::alter_configs_response::AlterConfigsResourceResponse as LegacyResponse;
use messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use messages::{
    AlterConfigsRequest, AlterConfigsResponse, ClearElrRecord, ConfigRecord,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use wire::ErrorCode;

use super::topics::check_name;
use super::{ELR, RECORD_BYTES_MAX, RECORDS_MAX, Refusal, TEXT_MAX, refusal, shortened};
use crate::image::{Image, resource};
use crate::record::Record;

/// What the broker that decides knows besides the image.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Its id.
    pub node_id: i32,
    /// What it is configured with.
    pub layers: &'a Layers,
}

/// One change of one key.
struct Change<'a> {
    name: &'a str,
    operation: i8,
    value: Option<&'a str>,
}

/// A resource: type and name.
type Resource<'a> = (i8, &'a str);

/// Decides an IncrementalAlterConfigs request (KIP-339). Resources of brokers' loggers are not
/// looked at: give those answers with `loggers`.
pub fn incremental_alter(
    image: &Image,
    request: &IncrementalAlterConfigsRequest,
    context: Context<'_>,
    mut loggers: impl FnMut(
        &messages::incremental_alter_configs_request::AlterConfigsResource,
        bool,
    ) -> Result<(), Refusal>,
) -> (Vec<Record>, IncrementalAlterConfigsResponse) {
    let mut records = Vec::new();
    let mut responses = Vec::new();
    let mut budget = Budget { records: RECORDS_MAX, bytes: RECORD_BYTES_MAX };
    let names = request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str()));
    let twice = repeated(names);
    for wanted in &request.resources {
        let resource = (wanted.resource_type, wanted.resource_name.as_str());
        let outcome = if twice.contains(&resource) {
            refusal(ErrorCode::INVALID_REQUEST, EACH_ONCE)
        } else {
            let changes: Vec<Change<'_>> = wanted
                .configs
                .iter()
                .map(|config| Change {
                    name: &config.name,
                    operation: config.config_operation,
                    value: config.value.as_deref(),
                })
                .collect();
            check_changes(&changes).and_then(|()| {
                if wanted.resource_type == resource::BROKER_LOGGER {
                    return loggers(wanted, request.validate_only);
                }
                let more = alter(image, resource, &changes, context)?;
                budget.take(&more)?;
                records.extend(more);
                Ok(())
            })
        };
        let (code, error_message) = outcome.map_err(shortened).err().unwrap_or_default();
        responses.push(AlterConfigsResourceResponse {
            error_code: code.0,
            error_message,
            resource_type: wanted.resource_type,
            resource_name: wanted.resource_name.clone(),
            ..Default::default()
        });
    }
    if request.validate_only {
        records.clear();
    }
    (records, IncrementalAlterConfigsResponse { responses, ..Default::default() })
}

/// Decides an AlterConfigs request: what is not named any more is forgotten.
pub fn legacy_alter(
    image: &Image,
    request: &AlterConfigsRequest,
    context: Context<'_>,
) -> (Vec<Record>, AlterConfigsResponse) {
    let mut records = Vec::new();
    let mut responses = Vec::new();
    let mut budget = Budget { records: RECORDS_MAX, bytes: RECORD_BYTES_MAX };
    let names = request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str()));
    let twice = repeated(names);
    for wanted in &request.resources {
        let resource = (wanted.resource_type, wanted.resource_name.as_str());
        let outcome = if twice.contains(&resource) {
            refusal(ErrorCode::INVALID_REQUEST, EACH_ONCE)
        } else {
            let mut changes: Vec<Change<'_>> = wanted
                .configs
                .iter()
                .map(|config| Change {
                    name: &config.name,
                    operation: SET,
                    value: config.value.as_deref(),
                })
                .collect();
            let checked = check_changes(&changes).and_then(|()| match wanted.resource_type {
                resource::BROKER_LOGGER => {
                    let text = format!("Unknown resource type {}", resource::BROKER_LOGGER);
                    refusal(ErrorCode::INVALID_REQUEST, text)
                }
                _ => Ok(()),
            });
            checked.and_then(|()| {
                let named: Vec<&str> = changes.iter().map(|change| change.name).collect();
                let forgotten = image
                    .overrides(resource.0, resource.1)
                    .into_iter()
                    .flat_map(BTreeMap::keys)
                    .filter(|key| !named.contains(&key.as_str()))
                    .map(|key| Change { name: key, operation: DELETE, value: None });
                changes.extend(forgotten);
                let more = alter(image, resource, &changes, context)?;
                budget.take(&more)?;
                records.extend(more);
                Ok(())
            })
        };
        let (code, error_message) = outcome.map_err(shortened).err().unwrap_or_default();
        responses.push(LegacyResponse {
            error_code: code.0,
            error_message,
            resource_type: wanted.resource_type,
            resource_name: wanted.resource_name.clone(),
            ..Default::default()
        });
    }
    if request.validate_only {
        records.clear();
    }
    (records, AlterConfigsResponse { responses, ..Default::default() })
}

/// Those that come more than once.
fn repeated<'a>(resources: impl Iterator<Item = Resource<'a>>) -> BTreeSet<Resource<'a>> {
    let mut seen = BTreeSet::new();
    resources.filter(|resource| !seen.insert(*resource)).collect()
}

/// What holds for every resource, whatever it is.
fn check_changes(changes: &[Change<'_>]) -> Result<(), Refusal> {
    let mut names: Vec<&str> = changes.iter().map(|change| change.name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair.first() == pair.last()) {
        return refusal(ErrorCode::INVALID_REQUEST, "Error due to duplicate config keys");
    }
    let nulls: Vec<&str> = changes
        .iter()
        .filter(|change| change.operation != DELETE && change.value.is_none())
        .map(|change| change.name)
        .collect();
    if !nulls.is_empty() {
        let text = format!("Null value not supported for : {}", nulls.join(","));
        return refusal(ErrorCode::INVALID_REQUEST, text);
    }
    Ok(())
}

fn alter(
    image: &Image,
    resource: Resource<'_>,
    changes: &[Change<'_>],
    context: Context<'_>,
) -> Result<Vec<Record>, Refusal> {
    check_resource(resource, context.node_id)?;
    let (resource_type, resource_name) = resource;
    let none = BTreeMap::new();
    let current = image.overrides(resource_type, resource_name).unwrap_or(&none);
    let mut wanted = current.clone();
    let mut records = Vec::new();
    for change in changes {
        let new = change.apply(resource_type, current, context.layers)?;
        // Brokers read again even what did not change: that is how an operator reloads.
        if new.as_ref() != current.get(change.name) || resource_type == resource::BROKER {
            records.push(Record::Config(ConfigRecord {
                resource_type,
                resource_name: resource_name.to_owned(),
                name: change.name.to_owned(),
                value: new.clone(),
                ..Default::default()
            }));
        }
        match new {
            Some(value) => wanted.insert(change.name.to_owned(), value),
            None => wanted.remove(change.name),
        };
    }
    let long = |record: &&Record| match record {
        Record::Config(config) => {
            let value = config.value.as_ref().map_or(0, String::len);
            config.resource_name.len().max(config.name.len()).max(value) > TEXT_MAX
        }
        _ => false,
    };
    if records.iter().find(long).is_some() {
        let text = format!("A name or value is longer than {TEXT_MAX} bytes.");
        return refusal(ErrorCode::INVALID_CONFIG, text);
    }
    check_wanted(resource, &wanted, context.layers)?;
    check_elr(image, resource, changes, current)?;
    if resource_type == resource::TOPIC && image.topic(resource_name).is_none() {
        let text = format!("The topic '{resource_name}' does not exist.");
        return refusal(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, text);
    }
    clear_elr(image, resource, &mut records);
    Ok(records)
}

/// Whether there can be such a resource at all.
fn check_resource((resource_type, name): Resource<'_>, node_id: i32) -> Result<(), Refusal> {
    let refuse = |text: String| refusal(ErrorCode::INVALID_REQUEST, text);
    match resource_type {
        resource::TOPIC if name.is_empty() => {
            refuse("Default topic resources are not allowed.".into())
        }
        resource::TOPIC => check_name(name),
        resource::GROUP if name.is_empty() => {
            refuse("Default group resources are not allowed.".into())
        }
        resource::CLIENT_METRICS if name.is_empty() => {
            refuse("Subscription name can't be empty".into())
        }
        resource::GROUP | resource::CLIENT_METRICS => Ok(()),
        resource::BROKER if name.is_empty() => Ok(()),
        resource::BROKER => match name.parse::<i32>() {
            Ok(id) if id == node_id => Ok(()),
            Ok(id) => {
                refuse(format!("Unexpected broker id, expected {node_id}, but received {id}"))
            }
            Err(_) => refuse(format!("Node id must be an integer, but it is: {name}")),
        },
        other => refuse(format!("Unknown resource type {other}")),
    }
}

impl Change<'_> {
    /// The value after the change; `None` if there is none then.
    fn apply(
        &self,
        resource_type: i8,
        current: &BTreeMap<String, String>,
        layers: &Layers,
    ) -> Result<Option<String>, Refusal> {
        let value = self.value.unwrap_or_default();
        match self.operation {
            SET => Ok(Some(value.to_owned())),
            DELETE => Ok(None),
            APPEND | SUBTRACT => {
                let verb = if self.operation == APPEND { "APPEND" } else { "SUBTRACT" };
                if !self.is_list(resource_type) {
                    let text = if resource_type == resource::BROKER {
                        let verb = verb.to_ascii_lowercase();
                        format!("Config value {verb} is not allowed for config key: {}", self.name)
                    } else {
                        format!("Can't {verb} to key {} because its type is not LIST.", self.name)
                    };
                    return refusal(ErrorCode::INVALID_CONFIG, text);
                }
                let before = match current.get(self.name) {
                    Some(value) => value.clone(),
                    None => self.default_list(resource_type, layers),
                };
                let mut entries: Vec<&str> =
                    before.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
                for entry in value.split(',') {
                    let known = entries.iter().position(|other| *other == entry);
                    match (self.operation, known) {
                        (APPEND, None) => entries.push(entry),
                        (SUBTRACT, Some(index)) => {
                            entries.remove(index);
                        }
                        _ => {}
                    }
                }
                Ok(Some(entries.join(",")))
            }
            _ => Err((ErrorCode::UNKNOWN_SERVER_ERROR, None)),
        }
    }

    fn is_list(&self, resource_type: i8) -> bool {
        let kind = match resource_type {
            resource::TOPIC => topic::find(self.name).map(|row| row.kind),
            resource::BROKER => config::broker::find(self.name).map(|row| row.kind),
            resource::GROUP => group::find(self.name).map(|row| row.kind),
            _ => None,
        };
        kind.is_some_and(config::Kind::is_list)
    }

    fn default_list(&self, resource_type: i8, layers: &Layers) -> String {
        match resource_type {
            resource::TOPIC => topic::value_of(self.name, &BTreeMap::new(), layers).into_owned(),
            resource::BROKER => layers.get(self.name).unwrap_or_default().to_owned(),
            _ => String::new(),
        }
    }
}

/// Eligible leader replicas depend on the one `min.insync.replicas` of the cluster.
fn check_elr(
    image: &Image,
    (resource_type, name): Resource<'_>,
    changes: &[Change<'_>],
    current: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    let change = changes.iter().find(|change| change.name == MIN_INSYNC);
    let (Some(change), resource::BROKER, true) = (change, resource_type, keeps_elr(image)) else {
        return Ok(());
    };
    if !name.is_empty() {
        let text = "Broker-level min.insync.replicas cannot be altered while ELR is enabled.";
        return refusal(ErrorCode::INVALID_CONFIG, text);
    }
    if change.operation == DELETE && current.contains_key(MIN_INSYNC) {
        let text = "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.";
        return refusal(ErrorCode::INVALID_CONFIG, text);
    }
    Ok(())
}

fn keeps_elr(image: &Image) -> bool {
    image.features.get(ELR).is_some_and(|level| *level > 0)
}

/// Eligible leader replicas were judged by the old `min.insync.replicas`.
fn clear_elr(image: &Image, (resource_type, name): Resource<'_>, records: &mut Vec<Record>) {
    let touched = records.iter().any(|record| match record {
        Record::Config(config) => config.name == MIN_INSYNC,
        _ => false,
    });
    let everywhere = resource_type == resource::BROKER && name.is_empty();
    if keeps_elr(image) && touched && (everywhere || resource_type == resource::TOPIC) {
        let topic_name = if everywhere { String::new() } else { name.to_owned() };
        records.push(Record::ClearElr(ClearElrRecord { topic_name, ..Default::default() }));
    }
}

/// Whether all that would be set for a resource fits together.
fn check_wanted(
    (resource_type, name): Resource<'_>,
    wanted: &BTreeMap<String, String>,
    layers: &Layers,
) -> Result<(), Refusal> {
    let invalid = |invalid: config::Invalid| (ErrorCode::INVALID_CONFIG, Some(invalid.to_string()));
    match resource_type {
        resource::TOPIC => topic::validate(wanted, layers).map_err(invalid),
        resource::GROUP => group::validate(wanted, layers).map_err(invalid),
        resource::BROKER => config::broker::validate_dynamic(wanted, !name.is_empty(), layers)
            .map_err(|text| (ErrorCode::INVALID_REQUEST, Some(text))),
        _ => client_metrics::validate(wanted).map_err(|refused| match refused {
            client_metrics::Refusal::Request(text) => (ErrorCode::INVALID_REQUEST, Some(text)),
            client_metrics::Refusal::Config(text) => (ErrorCode::INVALID_CONFIG, Some(text)),
        }),
    }
}

/// What one request may still write: all of it is one batch.
struct Budget {
    records: usize,
    bytes: usize,
}

impl Budget {
    fn take(&mut self, records: &[Record]) -> Result<(), Refusal> {
        let bytes = |record: &Record| match record {
            Record::Config(config) => {
                let value = config.value.as_ref().map_or(0, String::len);
                config.resource_name.len() + config.name.len() + value
            }
            _ => 0,
        };
        let bytes: usize = records.iter().map(bytes).sum();
        let left = (self.records.checked_sub(records.len()), self.bytes.checked_sub(bytes));
        let (Some(records), Some(bytes)) = left else {
            let text = "Unable to perform excessively large batch operation.";
            return refusal(ErrorCode::POLICY_VIOLATION, text);
        };
        *self = Self { records, bytes };
        Ok(())
    }
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
const MIN_INSYNC: &str = "min.insync.replicas";
const EACH_ONCE: &str = "Each resource must appear at most once.";

#[cfg(test)]
mod tests {
    use super::*;
    use messages::TopicRecord;
    use messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    use wire::Uuid;

    fn image() -> Image {
        let mut image = Image::default();
        let mut records = crate::controller::bootstrap(crate::controller::features(), "1");
        records.push(Record::Topic(TopicRecord {
            name: "t".into(),
            topic_id: Uuid(200),
            ..Default::default()
        }));
        for record in records {
            image.replay(&record).unwrap();
        }
        image
    }

    /// One resource, several changes: (operation, key, value).
    fn ask(
        image: &mut Image,
        resource_type: i8,
        name: &str,
        changes: &[(i8, &str, Option<&str>)],
    ) -> (i16, Option<String>) {
        let configs = changes
            .iter()
            .map(|(operation, key, value)| AlterableConfig {
                name: (*key).into(),
                config_operation: *operation,
                value: value.map(str::to_owned),
                ..Default::default()
            })
            .collect();
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type,
                resource_name: name.into(),
                configs,
                ..Default::default()
            }],
            ..Default::default()
        };
        let layers = Layers::default();
        let context = Context { node_id: 1, layers: &layers };
        let (records, response) = incremental_alter(image, &request, context, |_, _| Ok(()));
        for record in &records {
            image.replay(record).unwrap();
        }
        let answer = &response.responses[0];
        (answer.error_code, answer.error_message.clone())
    }

    #[test]
    fn lists_are_appended_to_what_is_in_force_and_subtracted_from_it() {
        let mut image = image();
        let policy = |image: &Image| {
            image.overrides(2, "t").and_then(|values| values.get("cleanup.policy")).cloned()
        };
        let append = [(APPEND, "cleanup.policy", Some("compact"))];
        assert_eq!(ask(&mut image, 2, "t", &append).0, 0);
        assert_eq!(policy(&image).as_deref(), Some("delete,compact"));
        assert_eq!(ask(&mut image, 2, "t", &append).0, 0);
        assert_eq!(policy(&image).as_deref(), Some("delete,compact"));
        let subtract = [(SUBTRACT, "cleanup.policy", Some("delete"))];
        assert_eq!(ask(&mut image, 2, "t", &subtract).0, 0);
        assert_eq!(policy(&image).as_deref(), Some("compact"));
        assert_eq!(ask(&mut image, 2, "t", &[(DELETE, "cleanup.policy", None)]).0, 0);
        assert_eq!(policy(&image), None);
    }

    #[test]
    fn refusals_have_the_codes_and_words_of_apache_kafka() {
        let mut image = image();
        let request = ErrorCode::INVALID_REQUEST.0;
        let config = ErrorCode::INVALID_CONFIG.0;
        let no_topic = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        for (resource_type, name, change, code, text) in [
            (2, "t", (0, "nosuch", Some("1")), config, "Unknown topic config name: nosuch"),
            (
                2,
                "t",
                (0, "retention.ms", None),
                request,
                "Null value not supported for : retention.ms",
            ),
            (
                2,
                "t",
                (2, "retention.ms", Some("5")),
                config,
                "Can't APPEND to key retention.ms because its type is not LIST.",
            ),
            (2, "x", (0, "retention.ms", Some("1")), no_topic, "The topic 'x' does not exist."),
            (
                2,
                "",
                (0, "retention.ms", Some("1")),
                request,
                "Default topic resources are not allowed.",
            ),
            (
                4,
                "99",
                (0, "log.retention.ms", Some("5")),
                request,
                "Unexpected broker id, expected 1, but received 99",
            ),
            (
                4,
                "",
                (1, "min.insync.replicas", None),
                config,
                "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
            ),
            (99, "x", (0, "a", Some("b")), request, "Unknown resource type 99"),
            (32, "", (0, "a", Some("b")), request, "Default group resources are not allowed."),
            (16, "", (0, "a", Some("b")), request, "Subscription name can't be empty"),
        ] {
            let answer = ask(&mut image, resource_type, name, &[change]);
            assert_eq!(answer, (code, Some(text.to_owned())), "{resource_type} {name} {change:?}");
        }
        assert_eq!(ask(&mut image, 2, "t", &[(9, "retention.ms", Some("1"))]), (-1, None));
        let twice = [(0, "retention.ms", Some("1")), (1, "retention.ms", None)];
        let answer = ask(&mut image, 2, "t", &twice);
        assert_eq!(answer, (request, Some("Error due to duplicate config keys".into())));
    }

    #[test]
    fn the_cluster_default_of_min_insync_replicas_clears_eligible_leaders() {
        let image = image();
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 4,
                configs: vec![AlterableConfig {
                    name: MIN_INSYNC.into(),
                    value: Some("1".into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let layers = Layers::default();
        let context = Context { node_id: 1, layers: &layers };
        let (records, _) = incremental_alter(&image, &request, context, |_, _| Ok(()));
        assert_eq!(records.len(), 2);
        assert!(matches!(&records[1], Record::ClearElr(clear) if clear.topic_name.is_empty()));
    }

    #[test]
    fn the_legacy_call_forgets_what_it_does_not_name() {
        use messages::alter_configs_request as legacy;
        let mut image = image();
        ask(&mut image, 2, "t", &[(0, "retention.ms", Some("5")), (0, "flush.ms", Some("6"))]);
        let request = AlterConfigsRequest {
            resources: vec![legacy::AlterConfigsResource {
                resource_type: 2,
                resource_name: "t".into(),
                configs: vec![legacy::AlterableConfig {
                    name: "flush.ms".into(),
                    value: Some("7".into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let layers = Layers::default();
        let context = Context { node_id: 1, layers: &layers };
        let (records, response) = legacy_alter(&image, &request, context);
        assert_eq!(response.responses[0].error_code, 0);
        for record in &records {
            image.replay(record).unwrap();
        }
        let left: Vec<_> = image.overrides(2, "t").unwrap().iter().collect();
        assert_eq!(left, [(&"flush.ms".to_owned(), &"7".to_owned())]);
    }

    #[test]
    fn a_list_can_not_grow_longer_than_a_record_holds() {
        let mut image = image();
        let key = "leader.replication.throttled.replicas";
        let entries = |from: usize| {
            let pairs: Vec<String> = (from..from + 2_500).map(|n| format!("{n}:{n}")).collect();
            pairs.join(",")
        };
        let (first, second) = (entries(0), entries(2_500));
        assert!(first.len() < TEXT_MAX && first.len() + second.len() > TEXT_MAX);
        assert_eq!(ask(&mut image, 2, "t", &[(SET, key, Some(&first))]).0, 0);
        let (code, text) = ask(&mut image, 2, "t", &[(APPEND, key, Some(&second))]);
        assert_eq!(code, ErrorCode::INVALID_CONFIG.0, "{text:?}");
        // What was taken can be written.
        for record in crate::snapshot::records(&image) {
            record.to_value(33).unwrap();
        }
    }

    #[test]
    fn a_refusal_that_quotes_a_client_still_fits_into_an_answer() {
        let mut image = image();
        let name = "x".repeat(30_000);
        let (code, text) = ask(&mut image, 2, &name, &[(SET, "retention.ms", Some("1"))]);
        assert_eq!(code, ErrorCode::INVALID_TOPIC_EXCEPTION.0);
        assert!(text.is_some_and(|text| text.len() < 1_100));
    }
}
