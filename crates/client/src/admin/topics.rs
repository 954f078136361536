//! Topics: made, removed, listed, described, grown.

use std::collections::BTreeMap;

use messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use messages::delete_topics_request::DeleteTopicState;
use messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic;
use messages::metadata_request::MetadataRequestTopic;
use messages::metadata_response::MetadataResponseTopic;
use messages::{
    ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest, MetadataRequest, MetadataResponse,
};
use wire::{ErrorCode, Uuid};

use super::{Admin, Item, none, not_controller, unanswered};
use crate::error::{ApiError, Error, Result};
use crate::net::To;
use crate::net::client::How;

/// A topic to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` is the broker's default.
    pub partitions: Option<i32>,
    /// How many replicas each; `None` is the broker's default.
    pub replication_factor: Option<i16>,
    /// Brokers of each partition, by partition; given instead of the two numbers.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Configuration.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic of that many partitions with the broker's default of replicas.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions: Some(partitions), ..Self::default() }
    }
}

/// A topic that was made, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; zero if it was validated only.
    pub id: Uuid,
    /// How many partitions; -1 if the broker does not tell.
    pub partitions: i32,
    /// How many replicas each; -1 if the broker does not tell.
    pub replication_factor: i16,
    /// Its configuration: key and value.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic by name or by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(Uuid),
}

/// A topic in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// Kept by the cluster for itself.
    pub is_internal: bool,
}

/// A topic with its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// Kept by the cluster for itself.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition with its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub index: i32,
    /// `NONE`, or what is wrong with it (no leader, most likely).
    pub code: ErrorCode,
    /// Its leader, if it has one.
    pub leader: Option<i32>,
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// Brokers that have a replica, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
    /// Eligible leaders beyond them (KIP-966); `None` if the broker does not tell.
    pub elr: Option<Vec<i32>>,
    /// The last of them that were known; `None` if the broker does not tell.
    pub last_known_elr: Option<Vec<i32>>,
    /// Replicas that are not there.
    pub offline: Vec<i32>,
}

impl Admin {
    /// Makes topics, or only checks that they could be made.
    ///
    /// # Errors
    /// Nobody answered. What is wrong with a topic is in its item.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Vec<Item<String, CreatedTopic>>> {
        let request = CreateTopicsRequest {
            topics: topics.iter().map(creatable).collect(),
            timeout_ms: self.timeout_ms(),
            validate_only,
            ..Default::default()
        };
        let response = self
            .repeat(&To::Controller, &request, |response| {
                not_controller(response.topics.iter().map(|topic| topic.error_code))
            })
            .await?;
        let mut answers: BTreeMap<String, _> = BTreeMap::new();
        for topic in response.topics {
            let checked = ApiError::check(topic.error_code, topic.error_message);
            let configs = topic.configs.unwrap_or_default().into_iter();
            let made = CreatedTopic {
                id: topic.topic_id,
                partitions: topic.num_partitions,
                replication_factor: topic.replication_factor,
                configs: configs.map(|config| (config.name, config.value)).collect(),
            };
            answers.insert(topic.name, checked.map(|()| made));
        }
        let names = topics.iter().map(|topic| topic.name.clone());
        Ok(names.map(|name| in_order(name, &mut answers)).collect())
    }

    /// Removes topics.
    ///
    /// # Errors
    /// Nobody answered, or an id was given to a broker that knows none.
    pub async fn delete_topics(&self, topics: &[TopicRef]) -> Result<Vec<Item<TopicRef, ()>>> {
        let timeout_ms = self.timeout_ms();
        let shape = |version: i16| {
            let mut request = DeleteTopicsRequest { timeout_ms, ..Default::default() };
            for topic in topics {
                match topic {
                    TopicRef::Name(name) if version < 6 => request.topic_names.push(name.clone()),
                    TopicRef::Name(name) => request
                        .topics
                        .push(DeleteTopicState { name: Some(name.clone()), ..Default::default() }),
                    TopicRef::Id(_) if version < 6 => return Err(no_ids()),
                    TopicRef::Id(id) => request
                        .topics
                        .push(DeleteTopicState { topic_id: *id, ..Default::default() }),
                }
            }
            Ok(request)
        };
        let response = self
            .insist(&To::Controller, How::default(), shape, |response| {
                not_controller(response.responses.iter().map(|topic| topic.error_code))
            })
            .await?;
        let mut answers = BTreeMap::new();
        for topic in response.responses {
            let checked = ApiError::check(topic.error_code, topic.error_message);
            answers.insert(TopicRef::Id(topic.topic_id), checked.clone());
            if let Some(name) = topic.name {
                answers.insert(TopicRef::Name(name), checked);
            }
        }
        Ok(topics.iter().map(|topic| in_order(topic.clone(), &mut answers)).collect())
    }

    /// Every topic, by name.
    ///
    /// # Errors
    /// Nobody answered.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>> {
        let response = self.ask_metadata(None).await?;
        let listed = response.topics.into_iter().filter(|topic| topic.error_code == 0);
        let listed = listed.filter_map(|topic| {
            let (id, is_internal) = (topic.topic_id, topic.is_internal);
            Some(TopicListing { name: topic.name?, id, is_internal })
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(listed)
    }

    /// Describes topics by name.
    ///
    /// # Errors
    /// Nobody answered.
    pub async fn describe_topics(
        &self,
        names: &[String],
    ) -> Result<Vec<Item<String, TopicDescription>>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let paged = self.client().supports(To::Any, ApiKey::DescribeTopicPartitions).await;
        let mut answers = match paged {
            Ok(true) => match self.describe_paged(names).await {
                // Advertised, but refused: an old node behind a new one.
                Err(Error::Unsupported(_)) => self.describe_by_metadata(names).await?,
                other => other?,
            },
            _ => self.describe_by_metadata(names).await?,
        };
        Ok(names.iter().map(|name| in_order(name.clone(), &mut answers)).collect())
    }

    /// Describes topics by id; eligible leader replicas are not told this way.
    ///
    /// # Errors
    /// Nobody answered, or the broker knows no ids.
    pub async fn describe_topics_by_id(
        &self,
        ids: &[Uuid],
    ) -> Result<Vec<Item<Uuid, TopicDescription>>> {
        let topics = ids.iter().map(|id| MetadataRequestTopic {
            topic_id: *id,
            name: None,
            ..Default::default()
        });
        let response = self.ask_metadata(Some(topics.collect())).await?;
        let mut answers = BTreeMap::new();
        for topic in response.topics {
            let id = topic.topic_id;
            answers.insert(id, described(topic));
        }
        Ok(ids.iter().map(|id| in_order(*id, &mut answers)).collect())
    }

    async fn describe_paged(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, Result<TopicDescription, ApiError>>> {
        let mut sorted = names.to_vec();
        sorted.sort();
        sorted.dedup();
        let mut answers: BTreeMap<String, Result<TopicDescription, ApiError>> = BTreeMap::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let from = cursor.as_ref().map(|cursor| cursor.topic_name.as_str());
            let asked = sorted.iter().filter(|name| from.is_none_or(|from| name.as_str() >= from));
            let request = DescribeTopicPartitionsRequest {
                topics: asked
                    .map(|name| TopicRequest { name: name.clone(), ..Default::default() })
                    .collect(),
                response_partition_limit: PARTITIONS_A_PAGE,
                cursor: cursor.clone(),
                ..Default::default()
            };
            let response = self.repeat(&To::Any, &request, none).await?;
            for topic in response.topics {
                let Some(name) = topic.name.clone() else { continue };
                let page = described_page(topic);
                match (answers.get_mut(&name), page) {
                    (Some(Ok(known)), Ok(more)) => known.partitions.extend(more.partitions),
                    (_, page) => {
                        answers.insert(name, page);
                    }
                }
            }
            let Some(next) = response.next_cursor else { return Ok(answers) };
            let next = Cursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
                ..Default::default()
            };
            let forward = cursor.as_ref().is_none_or(|before| {
                (&before.topic_name, before.partition_index)
                    < (&next.topic_name, next.partition_index)
            });
            if !forward {
                return Err(Error::Protocol("DescribeTopicPartitions goes in circles".into()));
            }
            cursor = Some(next);
        }
    }

    async fn describe_by_metadata(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, Result<TopicDescription, ApiError>>> {
        let named =
            |name: &String| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
        let response = self.ask_metadata(Some(names.iter().map(named).collect())).await?;
        let mut answers = BTreeMap::new();
        for topic in response.topics {
            if let Some(name) = topic.name.clone() {
                answers.insert(name, described(topic));
            }
        }
        Ok(answers)
    }

    /// Metadata as it is, without the cache: that keeps no errors of partitions.
    async fn ask_metadata(
        &self,
        topics: Option<Vec<MetadataRequestTopic>>,
    ) -> Result<MetadataResponse> {
        let shape = |version: i16| {
            let by_id = topics.iter().flatten().any(|topic| topic.name.is_none());
            if by_id && version < 12 {
                return Err(no_ids());
            }
            let all = topics.is_none() && version == 0;
            Ok(MetadataRequest {
                topics: if all { Some(Vec::new()) } else { topics.clone() },
                allow_auto_topic_creation: version < 4,
                ..Default::default()
            })
        };
        self.insist(&To::Any, How::default(), shape, none).await
    }

    /// Gives topics more partitions: name, the new count, and the brokers of each new partition
    /// (or none, for the broker to choose).
    ///
    /// # Errors
    /// Nobody answered.
    #[allow(clippy::type_complexity)]
    pub async fn create_partitions(
        &self,
        topics: &[(String, i32, Option<Vec<Vec<i32>>>)],
        validate_only: bool,
    ) -> Result<Vec<Item<String, ()>>> {
        let assignment = |brokers: &Vec<i32>| CreatePartitionsAssignment {
            broker_ids: brokers.clone(),
            ..Default::default()
        };
        let grown = topics.iter().map(|(name, count, brokers)| CreatePartitionsTopic {
            name: name.clone(),
            count: *count,
            assignments: brokers.as_ref().map(|all| all.iter().map(assignment).collect()),
            ..Default::default()
        });
        let request = CreatePartitionsRequest {
            topics: grown.collect(),
            timeout_ms: self.timeout_ms(),
            validate_only,
            ..Default::default()
        };
        let response = self
            .repeat(&To::Controller, &request, |response| {
                not_controller(response.results.iter().map(|topic| topic.error_code))
            })
            .await?;
        let answers = response.results.into_iter();
        let answers = answers
            .map(|topic| (topic.name, ApiError::check(topic.error_code, topic.error_message)));
        let mut answers: BTreeMap<_, _> = answers.collect();
        Ok(topics.iter().map(|(name, ..)| in_order(name.clone(), &mut answers)).collect())
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let assigned =
        topic.assignments.iter().map(|(partition_index, broker_ids)| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: broker_ids.clone(),
            ..Default::default()
        });
    let configs = topic.configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: name.clone(),
        value: Some(value.clone()),
        ..Default::default()
    });
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partitions.unwrap_or(-1),
        replication_factor: topic.replication_factor.unwrap_or(-1),
        assignments: assigned.collect(),
        configs: configs.collect(),
        ..Default::default()
    }
}

fn described(topic: MetadataResponseTopic) -> Result<TopicDescription, ApiError> {
    ApiError::check(topic.error_code, None)?;
    let partitions = topic.partitions.into_iter().map(|partition| PartitionDescription {
        index: partition.partition_index,
        code: ErrorCode(partition.error_code),
        leader: Some(partition.leader_id).filter(|id| *id >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes,
        isr: partition.isr_nodes,
        elr: None,
        last_known_elr: None,
        offline: partition.offline_replicas,
    });
    let mut partitions: Vec<_> = partitions.collect();
    partitions.sort_by_key(|partition| partition.index);
    let name = topic.name.unwrap_or_default();
    Ok(TopicDescription { name, id: topic.topic_id, is_internal: topic.is_internal, partitions })
}

fn described_page(
    topic: DescribeTopicPartitionsResponseTopic,
) -> Result<TopicDescription, ApiError> {
    ApiError::check(topic.error_code, None)?;
    let partitions = topic.partitions.into_iter().map(|partition| PartitionDescription {
        index: partition.partition_index,
        code: ErrorCode(partition.error_code),
        leader: Some(partition.leader_id).filter(|id| *id >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes,
        isr: partition.isr_nodes,
        elr: partition.eligible_leader_replicas,
        last_known_elr: partition.last_known_elr,
        offline: partition.offline_replicas,
    });
    let mut partitions: Vec<_> = partitions.collect();
    partitions.sort_by_key(|partition| partition.index);
    let name = topic.name.unwrap_or_default();
    Ok(TopicDescription { name, id: topic.topic_id, is_internal: topic.is_internal, partitions })
}

/// The answer to one item; the same item asked twice gets it once.
fn in_order<K: Ord + std::fmt::Debug, T>(
    item: K,
    answers: &mut BTreeMap<K, Result<T, ApiError>>,
) -> Item<K, T> {
    let answer = answers.remove(&item);
    let answer = answer.unwrap_or_else(|| Err(unanswered(&format!("{item:?}"))));
    (item, answer)
}

fn no_ids() -> Error {
    Error::Unsupported("The broker does not know topics by id.".into())
}

const PARTITIONS_A_PAGE: i32 = 2000;
