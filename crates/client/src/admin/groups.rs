//! Groups and their committed offsets.

use std::collections::BTreeMap;

use messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use messages::{
    ApiKey, ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetFetchResponse, consumer_group_describe_response as described,
    describe_groups_response as classic,
};
use wire::{Bytes, ErrorCode};

use super::{Admin, Item, unanswered};
use crate::consumer::protocol::decode_assignment;
use crate::error::{ApiError, Error, Result};
use crate::metadata::Broker;
use crate::net::To;
use crate::net::client::How;
use crate::topic_partition::TopicPartition;

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group_id: String,
    /// `consumer`, mostly; empty if nobody ever joined.
    pub protocol_type: String,
    /// `Stable`, `Empty`, ...; empty from brokers that don't tell.
    pub state: String,
    /// `Classic`, `Consumer`, ...; empty from brokers that don't tell.
    pub kind: String,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group_id: String,
    /// `Stable`, `Empty`, `Dead`, ...
    pub state: String,
    /// `Classic` or `Consumer`.
    pub kind: &'static str,
    /// `consumer`, mostly.
    pub protocol_type: String,
    /// How partitions are assigned.
    pub assignor: String,
    /// Group epoch; `None` for classic groups.
    pub group_epoch: Option<i32>,
    /// Epoch of the assignment aimed at; `None` for classic groups.
    pub assignment_epoch: Option<i32>,
    /// The broker that coordinates it.
    pub coordinator: Option<Broker>,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its name, if it is static.
    pub instance_id: Option<String>,
    /// Its client's `client.id`.
    pub client_id: String,
    /// The address it comes from.
    pub host: String,
    /// Partitions it has.
    pub assignment: Vec<TopicPartition>,
    /// Partitions it is to have; `None` for classic groups.
    pub target: Option<Vec<TopicPartition>>,
    /// Its epoch; `None` for classic groups.
    pub epoch: Option<i32>,
    /// What a member of a classic group said when it joined, undecoded.
    pub metadata: Bytes,
    /// What it was assigned, undecoded: for protocols other than `consumer`.
    pub assignment_bytes: Bytes,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Epoch of the leader of the record before it, if known.
    pub leader_epoch: Option<i32>,
    /// What the committer wrote beside it.
    pub metadata: String,
}

impl Admin {
    /// Every group of every broker, of these states and types; none means all.
    ///
    /// # Errors
    /// A broker did not answer: the list would not be whole.
    pub async fn list_groups(
        &self,
        states: &[String],
        kinds: &[String],
    ) -> Result<Vec<GroupListing>> {
        self.look_again(&To::Any).await?;
        let brokers: Vec<i32> =
            self.client().metadata(|known| known.brokers.keys().copied().collect());
        let shape = |version: i16| {
            let unable = |what: &str| {
                Error::Unsupported(format!("The broker can't filter groups by {what}."))
            };
            if version < 4 && !states.is_empty() {
                return Err(unable("state"));
            }
            if version < 5 && !kinds.is_empty() {
                return Err(unable("type"));
            }
            Ok(ListGroupsRequest {
                states_filter: states.to_vec(),
                types_filter: kinds.to_vec(),
                ..Default::default()
            })
        };
        let mut groups = BTreeMap::new();
        for broker in brokers {
            let response = self
                .insist(&To::Broker(broker), How::default(), shape, |response| {
                    ErrorCode(response.error_code)
                })
                .await?;
            ApiError::check(response.error_code, None)?;
            for group in response.groups {
                let listing = GroupListing {
                    group_id: group.group_id.clone(),
                    protocol_type: group.protocol_type,
                    state: group.group_state,
                    kind: group.group_type,
                };
                groups.insert(group.group_id, listing);
            }
        }
        Ok(groups.into_values().collect())
    }

    /// Describes groups, of the consumer protocol (KIP-848) or classic ones.
    ///
    /// # Errors
    /// Nobody can be reached.
    pub async fn describe_groups(
        &self,
        groups: &[String],
    ) -> Result<Vec<Item<String, GroupDescription>>> {
        let mut answers = Vec::new();
        for group in groups {
            let answer = match self.describe_group(group).await {
                Ok(description) => Ok(description),
                Err(Error::Broker(code, message)) => Err(ApiError { code, message }),
                Err(error) => return Err(error),
            };
            answers.push((group.clone(), answer));
        }
        Ok(answers)
    }

    async fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        let coordinator = self.coordinator(group).await?;
        let to = To::Group(group.to_owned());
        if self.client().supports(to.clone(), ApiKey::ConsumerGroupDescribe).await? {
            let request = ConsumerGroupDescribeRequest {
                group_ids: vec![group.to_owned()],
                ..Default::default()
            };
            let response = self
                .repeat(&to, &request, |response| {
                    first_code(response.groups.iter().map(|group| group.error_code))
                })
                .await?;
            let found = response.groups.into_iter().next().filter(|group| group.error_code == 0);
            // Anything else is told by the classic call: that one knows of all groups.
            if let Some(found) = found {
                return Ok(describe_consumer(found, coordinator));
            }
        }
        let request =
            DescribeGroupsRequest { groups: vec![group.to_owned()], ..Default::default() };
        let response = self
            .repeat(&to, &request, |response| {
                first_code(response.groups.iter().map(|group| group.error_code))
            })
            .await?;
        let found = response.groups.into_iter().next().ok_or_else(|| unanswered(group))?;
        ApiError::check(found.error_code, found.error_message.clone())?;
        Ok(describe_classic(found, coordinator))
    }

    /// Finds the coordinator with patience: the offsets topic may be in the making.
    async fn coordinator(&self, group: &str) -> Result<Option<Broker>> {
        let mut patience = self.patience();
        loop {
            match self.client().coordinator(group).await {
                Ok(id) => {
                    return Ok(self.client().metadata(|known| known.brokers.get(&id).cloned()));
                }
                Err(error @ Error::Unreachable { .. }) => return Err(error),
                Err(error) => patience.again("coordinator", error).await?,
            }
        }
    }

    /// Removes groups without members, with their offsets.
    ///
    /// # Errors
    /// Nobody can be reached.
    pub async fn delete_groups(&self, groups: &[String]) -> Result<Vec<Item<String, ()>>> {
        let mut answers = Vec::new();
        for group in groups {
            self.coordinator(group).await?;
            let request =
                DeleteGroupsRequest { groups_names: vec![group.clone()], ..Default::default() };
            let to = To::Group(group.clone());
            let response = self
                .repeat(&to, &request, |response| {
                    first_code(response.results.iter().map(|group| group.error_code))
                })
                .await?;
            let answer = match response.results.into_iter().next() {
                Some(found) => ApiError::check(found.error_code, found.error_message),
                None => Err(unanswered(group)),
            };
            answers.push((group.clone(), answer));
        }
        Ok(answers)
    }

    /// The committed offsets of a group, of these partitions or (`None`) of all that have one.
    /// `None` in an answer: nothing is committed for a partition that was asked for.
    ///
    /// # Errors
    /// Nobody can be reached, or what the coordinator said about the group as a whole.
    pub async fn list_consumer_group_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Result<Vec<Item<TopicPartition, Option<CommittedOffset>>>> {
        self.coordinator(group).await?;
        let topics = partitions.map(by_topic);
        let shape = |version: i16| {
            let mut request = OffsetFetchRequest {
                require_stable: require_stable && version >= 7,
                ..Default::default()
            };
            shape_offset_fetch(&mut request, group, topics.as_ref(), version)?;
            Ok(request)
        };
        let to = To::Group(group.to_owned());
        let response = self.insist(&to, offsets_by_name(), shape, offset_fetch_code).await?;
        let (code, mut found) = committed(response);
        ApiError::check(code, None)?;
        let Some(partitions) = partitions else {
            return Ok(found.into_iter().filter(|(_, answer)| *answer != Ok(None)).collect());
        };
        let answered = |partition: &TopicPartition| {
            let answer = found.remove(partition);
            (partition.clone(), answer.unwrap_or_else(|| Err(unanswered(&partition.to_string()))))
        };
        Ok(partitions.iter().map(answered).collect())
    }

    /// Commits offsets on behalf of a group without members.
    ///
    /// # Errors
    /// Nobody can be reached.
    pub async fn alter_consumer_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<Vec<Item<TopicPartition, ()>>> {
        self.coordinator(group).await?;
        let shape = |version: i16| {
            let entries = offsets.iter().map(|(partition, offset)| {
                (partition, offset.offset, offset.leader_epoch, offset.metadata.as_str())
            });
            Ok(OffsetCommitRequest {
                group_id: group.to_owned(),
                generation_id_or_member_epoch: -1,
                topics: commit_topics(version, entries),
                ..Default::default()
            })
        };
        let to = To::Group(group.to_owned());
        let response = self
            .insist(&to, offsets_by_name(), shape, |response| {
                let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                first_code(partitions.map(|partition| partition.error_code))
            })
            .await?;
        let mut answers = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions {
                let named = TopicPartition::new(topic.name.clone(), partition.partition_index);
                answers.insert(named, ApiError::check(partition.error_code, None));
            }
        }
        Ok(in_order(offsets.iter().map(|(partition, _)| partition), answers))
    }

    /// Forgets committed offsets of topics that no member reads.
    ///
    /// # Errors
    /// Nobody can be reached, or what the coordinator said about the group as a whole.
    pub async fn delete_consumer_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Item<TopicPartition, ()>>> {
        self.coordinator(group).await?;
        let topics = by_topic(partitions).into_iter().map(|(name, indexes)| {
            let partition = |partition_index| OffsetDeleteRequestPartition { partition_index };
            OffsetDeleteRequestTopic {
                name,
                partitions: indexes.into_iter().map(partition).collect(),
            }
        });
        let request = OffsetDeleteRequest { group_id: group.to_owned(), topics: topics.collect() };
        let to = To::Group(group.to_owned());
        let response =
            self.repeat(&to, &request, |response| ErrorCode(response.error_code)).await?;
        ApiError::check(response.error_code, None)?;
        let mut answers = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions {
                let named = TopicPartition::new(topic.name.clone(), partition.partition_index);
                answers.insert(named, ApiError::check(partition.error_code, None));
            }
        }
        Ok(in_order(partitions.iter(), answers))
    }
}

/// From version 10 on topics have ids instead of names; a topic that was removed and made again
/// has offsets by its name only.
pub(crate) fn offsets_by_name() -> How {
    How { version_max: Some(9), ..How::default() }
}

/// Fills in the group and its partitions as that version has them.
///
/// # Errors
/// The version has no way of asking for all.
pub(crate) fn shape_offset_fetch(
    request: &mut OffsetFetchRequest,
    group: &str,
    topics: Option<&BTreeMap<String, Vec<i32>>>,
    version: i16,
) -> Result<()> {
    if version < 2 && topics.is_none() {
        let words = "The broker can't list all offsets of a group.";
        return Err(Error::Unsupported(words.into()));
    }
    if version < 8 {
        let topic = |(name, indexes): (&String, &Vec<i32>)| OffsetFetchRequestTopic {
            name: name.clone(),
            partition_indexes: indexes.clone(),
            ..Default::default()
        };
        request.group_id = group.to_owned();
        request.topics = topics.map(|topics| topics.iter().map(topic).collect());
        return Ok(());
    }
    let topic = |(name, indexes): (&String, &Vec<i32>)| OffsetFetchRequestTopics {
        name: name.clone(),
        partition_indexes: indexes.clone(),
        ..Default::default()
    };
    request.groups = vec![OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics: topics.map(|topics| topics.iter().map(topic).collect()),
        ..Default::default()
    }];
    Ok(())
}

/// Offsets to commit, by topic: partition, offset, leader epoch, metadata.
pub(crate) fn commit_topics<'a>(
    version: i16,
    entries: impl Iterator<Item = (&'a TopicPartition, i64, Option<i32>, &'a str)>,
) -> Vec<OffsetCommitRequestTopic> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, offset, epoch, metadata) in entries {
        topics.entry(&partition.topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: offset,
            committed_leader_epoch: epoch.filter(|_| version >= 6).unwrap_or(-1),
            committed_metadata: Some(metadata.to_owned()),
            ..Default::default()
        });
    }
    let topic = |(name, partitions): (&str, _)| OffsetCommitRequestTopic {
        name: name.to_owned(),
        partitions,
        ..Default::default()
    };
    topics.into_iter().map(topic).collect()
}

/// The code of an answer as a whole.
pub(crate) fn offset_fetch_code(response: &OffsetFetchResponse) -> ErrorCode {
    let of_group = response.groups.first().map(|group| group.error_code);
    ErrorCode(of_group.unwrap_or(response.error_code))
}

/// The code as a whole and each partition's offset; `None` where nothing is committed.
#[allow(clippy::type_complexity)]
pub(crate) fn committed(
    response: OffsetFetchResponse,
) -> (i16, BTreeMap<TopicPartition, Result<Option<CommittedOffset>, ApiError>>) {
    let code = offset_fetch_code(&response).0;
    let mut found = BTreeMap::new();
    let mut take =
        |topic: &str, index: i32, offset: i64, epoch: i32, text: Option<String>, code| {
            let committed = (offset >= 0).then(|| CommittedOffset {
                offset,
                leader_epoch: Some(epoch).filter(|epoch| *epoch >= 0),
                metadata: text.unwrap_or_default(),
            });
            let answer = ApiError::check(code, None).map(|()| committed);
            found.insert(TopicPartition::new(topic, index), answer);
        };
    for topic in response.topics {
        for one in topic.partitions {
            let (offset, epoch) = (one.committed_offset, one.committed_leader_epoch);
            take(&topic.name, one.partition_index, offset, epoch, one.metadata, one.error_code);
        }
    }
    for topic in response.groups.into_iter().next().map(|group| group.topics).unwrap_or_default() {
        for one in topic.partitions {
            let (offset, epoch) = (one.committed_offset, one.committed_leader_epoch);
            take(&topic.name, one.partition_index, offset, epoch, one.metadata, one.error_code);
        }
    }
    (code, found)
}

/// Partition numbers by topic.
pub(crate) fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<String, Vec<i32>> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic.clone()).or_default().push(partition.partition);
    }
    topics
}

fn describe_consumer(
    found: described::DescribedGroup,
    coordinator: Option<Broker>,
) -> GroupDescription {
    let partitions = |assignment: &described::Assignment| {
        let topics = assignment.topic_partitions.iter();
        let named = topics.flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|index| TopicPartition::new(topic.topic_name.clone(), *index))
        });
        named.collect::<Vec<_>>()
    };
    let members = found.members.into_iter().map(|member| MemberDescription {
        assignment: partitions(&member.assignment),
        target: Some(partitions(&member.target_assignment)),
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        epoch: Some(member.member_epoch),
        metadata: Bytes::new(),
        assignment_bytes: Bytes::new(),
    });
    GroupDescription {
        group_id: found.group_id,
        state: found.group_state,
        kind: "Consumer",
        protocol_type: "consumer".into(),
        assignor: found.assignor_name,
        group_epoch: Some(found.group_epoch),
        assignment_epoch: Some(found.assignment_epoch),
        coordinator,
        members: members.collect(),
    }
}

fn describe_classic(
    found: classic::DescribedGroup,
    coordinator: Option<Broker>,
) -> GroupDescription {
    let is_consumer = found.protocol_type == "consumer";
    let members = found.members.into_iter().map(|member| MemberDescription {
        assignment: match is_consumer {
            true => decode_assignment(&member.member_assignment).unwrap_or_default(),
            false => Vec::new(),
        },
        target: None,
        member_id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        epoch: None,
        metadata: member.member_metadata,
        assignment_bytes: member.member_assignment,
    });
    GroupDescription {
        group_id: found.group_id,
        state: found.group_state,
        kind: "Classic",
        protocol_type: found.protocol_type,
        assignor: found.protocol_data,
        group_epoch: None,
        assignment_epoch: None,
        coordinator,
        members: members.collect(),
    }
}

/// The first code that is an error.
fn first_code(mut codes: impl Iterator<Item = i16>) -> ErrorCode {
    ErrorCode(codes.find(|code| *code != 0).unwrap_or_default())
}

fn in_order<'a, T>(
    asked: impl Iterator<Item = &'a TopicPartition>,
    mut answers: BTreeMap<TopicPartition, Result<T, ApiError>>,
) -> Vec<Item<TopicPartition, T>> {
    let answered = |partition: &TopicPartition| {
        let answer = answers.remove(partition);
        (partition.clone(), answer.unwrap_or_else(|| Err(unanswered(&partition.to_string()))))
    };
    asked.map(answered).collect()
}
