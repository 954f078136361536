//! Configuration of topics, brokers, groups and client metrics.

use std::collections::BTreeMap;

use messages::describe_configs_request::DescribeConfigsResource;
use messages::describe_configs_response::DescribeConfigsResourceResult;
use messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};
use wire::ErrorCode;

use super::{Admin, Item, none, not_controller, unanswered};
use crate::error::{ApiError, Error, Result};
use crate::net::To;
use crate::net::client::How;

/// What can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceKind {
    /// A topic.
    Topic = 2,
    /// A broker; the empty name is the default of all.
    Broker = 4,
    /// The loggers of a broker.
    BrokerLogger = 8,
    /// A subscription to clients' metrics.
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

impl ResourceKind {
    /// By its number on the wire.
    pub fn from_i8(number: i8) -> Option<Self> {
        [Self::Topic, Self::Broker, Self::BrokerLogger, Self::ClientMetrics, Self::Group]
            .into_iter()
            .find(|kind| *kind as i8 == number)
    }
}

/// Something that has a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    /// What it is.
    pub kind: ResourceKind,
    /// Which one.
    pub name: String,
}

impl ConfigResource {
    /// The one of that name.
    pub fn new(kind: ResourceKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// Brokers' own configuration is known to themselves only.
    fn broker(&self) -> Option<i32> {
        match self.kind {
            ResourceKind::Broker | ResourceKind::BrokerLogger => self.name.parse().ok(),
            _ => None,
        }
    }
}

/// Where a value comes from, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigSource(pub i8);

impl ConfigSource {
    /// Nobody set it.
    pub const DEFAULT: Self = Self(5);

    /// The name, as Apache Kafka's tools print it.
    pub fn name(self) -> &'static str {
        match self.0 {
            1 => "DYNAMIC_TOPIC_CONFIG",
            2 => "DYNAMIC_BROKER_CONFIG",
            3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            4 => "STATIC_BROKER_CONFIG",
            5 => "DEFAULT_CONFIG",
            6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
            7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
            8 => "DYNAMIC_GROUP_CONFIG",
            _ => "UNKNOWN",
        }
    }
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// Its value; `None` if there is none or it is secret.
    pub value: Option<String>,
    /// Nobody may change it while the broker runs.
    pub read_only: bool,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Its value is not shown.
    pub sensitive: bool,
    /// Every layer that has a value, the winning one first; empty unless asked for.
    pub synonyms: Vec<ConfigSynonym>,
    /// The type of the value, by its number on the wire.
    pub kind: i8,
    /// What it is for; `None` unless asked for.
    pub documentation: Option<String>,
}

/// A layer's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key in that layer.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
    /// The layer.
    pub source: ConfigSource,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The key.
    pub name: String,
    /// What to do.
    pub op: AlterOp,
    /// The value; `None` to delete.
    pub value: Option<String>,
}

/// What to do to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum AlterOp {
    /// Give it a value.
    Set = 0,
    /// Take its value away.
    Delete = 1,
    /// Add entries to a list.
    Append = 2,
    /// Remove entries from a list.
    Subtract = 3,
}

impl Admin {
    /// The configuration of resources, with every layer and with documentation if asked for.
    ///
    /// # Errors
    /// Nobody answered.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
        synonyms: bool,
        documentation: bool,
    ) -> Result<Vec<Item<ConfigResource, Vec<ConfigEntry>>>> {
        let mut answers = BTreeMap::new();
        for (to, resources) in by_broker(resources, To::Any) {
            let asked = resources.iter().map(|resource| DescribeConfigsResource {
                resource_type: resource.kind as i8,
                resource_name: resource.name.clone(),
                configuration_keys: None,
                ..Default::default()
            });
            let asked: Vec<_> = asked.collect();
            let shape = |version: i16| {
                Ok(DescribeConfigsRequest {
                    resources: asked.clone(),
                    include_synonyms: synonyms && version >= 1,
                    include_documentation: documentation && version >= 3,
                    ..Default::default()
                })
            };
            let response = self.insist(&to, How::default(), shape, none).await?;
            for result in response.results {
                let checked = ApiError::check(result.error_code, result.error_message);
                let entries = result.configs.into_iter().map(entry).collect();
                answers.insert(
                    (result.resource_type, result.resource_name),
                    checked.map(|()| entries),
                );
            }
        }
        Ok(in_order(resources, answers))
    }

    /// Changes configuration key by key (KIP-339).
    ///
    /// # Errors
    /// Nobody answered.
    pub async fn incremental_alter_configs(
        &self,
        changes: &[(ConfigResource, Vec<ConfigChange>)],
        validate_only: bool,
    ) -> Result<Vec<Item<ConfigResource, ()>>> {
        let resources: Vec<_> = changes.iter().map(|(resource, _)| resource.clone()).collect();
        let mut answers = BTreeMap::new();
        for (to, named) in by_broker(&resources, To::Controller) {
            let altered = changes.iter().filter(|(resource, _)| named.contains(resource));
            let altered = altered.map(|(resource, changes)| AlterConfigsResource {
                resource_type: resource.kind as i8,
                resource_name: resource.name.clone(),
                configs: changes.iter().map(alterable).collect(),
                ..Default::default()
            });
            let request = IncrementalAlterConfigsRequest {
                resources: altered.collect(),
                validate_only,
                ..Default::default()
            };
            let response = self
                .repeat(&to, &request, |response| {
                    not_controller(response.responses.iter().map(|result| result.error_code))
                })
                .await?;
            for result in response.responses {
                let checked = ApiError::check(result.error_code, result.error_message);
                answers.insert((result.resource_type, result.resource_name), checked);
            }
        }
        Ok(in_order(&resources, answers))
    }

    /// What has a configuration, of these kinds; none means all.
    ///
    /// # Errors
    /// Nobody answered, or the broker only lists client metrics and others were asked for.
    pub async fn list_config_resources(
        &self,
        kinds: &[ResourceKind],
    ) -> Result<Vec<ConfigResource>> {
        let numbers: Vec<i8> = kinds.iter().map(|kind| *kind as i8).collect();
        let shape = |version: i16| {
            if version == 0 && kinds != [ResourceKind::ClientMetrics] {
                let words = "The broker lists client metrics resources only.";
                return Err(Error::Unsupported(words.into()));
            }
            let resource_types = if version == 0 { Vec::new() } else { numbers.clone() };
            Ok(ListConfigResourcesRequest { resource_types, ..Default::default() })
        };
        let response = self
            .insist(&To::Any, How::default(), shape, |response| ErrorCode(response.error_code))
            .await?;
        ApiError::check(response.error_code, None)?;
        let listed = response.config_resources.into_iter().filter_map(|resource| {
            let kind = ResourceKind::from_i8(resource.resource_type)?;
            Some(ConfigResource { kind, name: resource.resource_name })
        });
        Ok(listed.collect())
    }
}

/// Who answers for which resources.
fn by_broker(resources: &[ConfigResource], others: To) -> Vec<(To, Vec<ConfigResource>)> {
    let mut own: BTreeMap<Option<i32>, Vec<ConfigResource>> = BTreeMap::new();
    for resource in resources {
        own.entry(resource.broker()).or_default().push(resource.clone());
    }
    let to = |broker: Option<i32>| broker.map_or(others.clone(), To::Broker);
    own.into_iter().map(|(broker, resources)| (to(broker), resources)).collect()
}

fn entry(result: DescribeConfigsResourceResult) -> ConfigEntry {
    let synonyms = result.synonyms.into_iter().map(|synonym| ConfigSynonym {
        name: synonym.name,
        value: synonym.value,
        source: ConfigSource(synonym.source),
    });
    ConfigEntry {
        name: result.name,
        value: result.value,
        read_only: result.read_only,
        source: ConfigSource(result.config_source),
        sensitive: result.is_sensitive,
        synonyms: synonyms.collect(),
        kind: result.config_type,
        documentation: result.documentation,
    }
}

fn alterable(change: &ConfigChange) -> AlterableConfig {
    AlterableConfig {
        name: change.name.clone(),
        config_operation: change.op as i8,
        value: change.value.clone(),
        ..Default::default()
    }
}

fn in_order<T>(
    resources: &[ConfigResource],
    mut answers: BTreeMap<(i8, String), Result<T, ApiError>>,
) -> Vec<Item<ConfigResource, T>> {
    let answered = |resource: &ConfigResource| {
        let answer = answers.remove(&(resource.kind as i8, resource.name.clone()));
        let answer = answer.unwrap_or_else(|| Err(unanswered(&resource.name)));
        (resource.clone(), answer)
    };
    resources.iter().map(answered).collect()
}
