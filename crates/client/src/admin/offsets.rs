//! Offsets of partitions: looked up, and raised by deleting records before them.
//!
//! Both ask the leaders of partitions, one request a leader, all leaders at once; partitions whose
//! leader moved are asked for again.

use std::collections::BTreeMap;

use messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use messages::{DeleteRecordsRequest, ListOffsetsRequest};
use wire::ErrorCode;

use super::{Admin, Item, unanswered};
use crate::error::{ApiError, Error, Result};
use crate::net::client::How;
use crate::net::{Client, To, all};
use crate::topic_partition::TopicPartition;

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start offset.
    Earliest,
    /// The end: the high watermark, or the last stable offset.
    Latest,
    /// The offset of the record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// The first offset on the broker's own disk (KIP-405).
    EarliestLocal,
    /// The last offset in tiered storage (KIP-1005).
    LatestTiered,
    /// The first offset that waits for tiered storage (KIP-1023).
    EarliestPendingUpload,
    /// The first record at or after these milliseconds since 1970.
    Timestamp(i64),
}

impl OffsetSpec {
    /// What stands for it in the timestamp field.
    fn timestamp(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::MaxTimestamp => -3,
            Self::EarliestLocal => -4,
            Self::LatestTiered => -5,
            Self::EarliestPendingUpload => -6,
            Self::Timestamp(ms) => ms,
        }
    }

    /// The first version that knows it.
    fn version(self) -> i16 {
        match self {
            Self::Earliest | Self::Latest | Self::Timestamp(_) => 1,
            Self::MaxTimestamp => 7,
            Self::EarliestLocal => 8,
            Self::LatestTiered => 9,
            Self::EarliestPendingUpload => 11,
        }
    }
}

/// Whether open and aborted transactions count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// They do.
    #[default]
    ReadUncommitted,
    /// They do not.
    ReadCommitted,
}

/// An offset that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; -1 if no record is that young.
    pub offset: i64,
    /// The record's timestamp, in milliseconds; -1 where none was looked for.
    pub timestamp: i64,
    /// The epoch of the leader that wrote it, if the broker tells.
    pub leader_epoch: Option<i32>,
}

impl Admin {
    /// Looks up an offset of each partition.
    ///
    /// # Errors
    /// Nobody can be reached, or a broker does not know a kind of offset.
    pub async fn list_offsets(
        &self,
        wanted: &[(TopicPartition, OffsetSpec)],
        isolation: Isolation,
    ) -> Result<Vec<Item<TopicPartition, ListedOffset>>> {
        let specs: BTreeMap<TopicPartition, OffsetSpec> = wanted.iter().cloned().collect();
        let timeout_ms = self.timeout_ms();
        let ask = move |client: Client,
                        leader: i32,
                        partitions: Vec<(TopicPartition, OffsetSpec)>| async move {
            list_at(&client, leader, &partitions, isolation, timeout_ms).await
        };
        let answers = self.ask_leaders(specs, ask).await?;
        Ok(in_order(wanted.iter().map(|(partition, _)| partition), answers))
    }

    /// Deletes the records before an offset of each partition (-1: all); the new log start
    /// offsets come back.
    ///
    /// # Errors
    /// Nobody can be reached.
    pub async fn delete_records(
        &self,
        before: &[(TopicPartition, i64)],
    ) -> Result<Vec<Item<TopicPartition, i64>>> {
        let offsets: BTreeMap<TopicPartition, i64> = before.iter().cloned().collect();
        let timeout_ms = self.timeout_ms();
        let ask = move |client: Client, leader, partitions: Vec<_>| async move {
            delete_at(&client, leader, &partitions, timeout_ms).await
        };
        let answers = self.ask_leaders(offsets, ask).await?;
        Ok(in_order(before.iter().map(|(partition, _)| partition), answers))
    }

    /// Asks the leader of each partition; those that can be answered later are asked again.
    async fn ask_leaders<Q, T, F>(
        &self,
        mut open: BTreeMap<TopicPartition, Q>,
        ask: impl Fn(Client, i32, Vec<(TopicPartition, Q)>) -> F + Send,
    ) -> Result<BTreeMap<TopicPartition, Result<T, ApiError>>>
    where
        Q: Copy + Send + 'static,
        T: Send + 'static,
        F: Future<Output = Result<Vec<(TopicPartition, Result<T, ApiError>)>>> + Send + 'static,
    {
        let mut patience = self.patience();
        let mut answers = BTreeMap::new();
        loop {
            let leaders = self.leaders(&open).await?;
            let mut later: Option<Error> = None;
            let mut asked = Vec::new();
            for (leader, partitions) in leaders {
                match leader {
                    Ok(leader) => asked.push(ask(self.client().clone(), leader, partitions)),
                    Err(error) if error.code.is_retriable() && !is_gone(error.code) => {
                        answers.extend(
                            partitions.into_iter().map(|(one, _)| (one, Err(error.clone()))),
                        );
                        later = Some(error.into());
                    }
                    Err(error) => {
                        for (partition, _) in partitions {
                            open.remove(&partition);
                            answers.insert(partition, Err(error.clone()));
                        }
                    }
                }
            }
            for answer in all(asked).await {
                match answer {
                    Ok(items) => {
                        for (partition, answer) in items {
                            match &answer {
                                Err(error) if error.code.is_retriable() => {
                                    later = Some(error.clone().into());
                                }
                                _ => drop(open.remove(&partition)),
                            }
                            answers.insert(partition, answer);
                        }
                    }
                    Err(error) if error.is_retriable() => later = Some(error),
                    Err(error) => return Err(error),
                }
            }
            if open.is_empty() {
                return Ok(answers);
            }
            let error = later.unwrap_or_else(|| Error::Protocol("incomplete answer".into()));
            if let Err(error) = patience.again("offsets", error).await {
                let answered = open.keys().all(|partition| answers.contains_key(partition));
                return if answered { Ok(answers) } else { Err(error) };
            }
            let topics: Vec<String> = open.keys().map(|one| one.topic.clone()).collect();
            self.client().refresh(Some(topics), false).await?;
        }
    }

    /// Partitions by leader, or by why there is none.
    #[allow(clippy::type_complexity)]
    async fn leaders<Q: Copy>(
        &self,
        open: &BTreeMap<TopicPartition, Q>,
    ) -> Result<Vec<(Result<i32, ApiError>, Vec<(TopicPartition, Q)>)>> {
        let mut unknown: Vec<String> = open
            .keys()
            .filter(|partition| self.client().fresh(&partition.topic).is_none())
            .map(|partition| partition.topic.clone())
            .collect();
        unknown.dedup();
        if !unknown.is_empty() {
            self.client().refresh(Some(unknown), false).await?;
        }
        let mut leaders: BTreeMap<i32, Vec<(TopicPartition, Q)>> = BTreeMap::new();
        let mut without = Vec::new();
        for (partition, wanted) in open {
            let found = self.client().metadata(|metadata| {
                let Some(topic) = metadata.topic(&partition.topic) else {
                    let code = metadata.error(&partition.topic);
                    return Err(code.unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
                };
                let known = topic.partition(partition.partition);
                let known = known.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
                known.leader.ok_or(ErrorCode::LEADER_NOT_AVAILABLE)
            });
            let item = (partition.clone(), *wanted);
            match found {
                Ok(leader) => leaders.entry(leader).or_default().push(item),
                Err(code) => without.push((Err(ApiError::of(code)), vec![item])),
            }
        }
        let led = leaders.into_iter().map(|(leader, partitions)| (Ok(leader), partitions));
        Ok(led.chain(without).collect())
    }
}

async fn list_at(
    client: &Client,
    leader: i32,
    partitions: &[(TopicPartition, OffsetSpec)],
    isolation: Isolation,
    timeout_ms: i32,
) -> Result<Vec<Item<TopicPartition, ListedOffset>>> {
    let needed = partitions.iter().map(|(_, spec)| spec.version()).max().unwrap_or(0);
    let shape = |version: i16| {
        if version < needed {
            return Err(Error::Unsupported(format!(
                "Broker {leader} knows ListOffsets up to version {version}; this kind of offset \
                 needs {needed}."
            )));
        }
        Ok(ListOffsetsRequest {
            replica_id: -1,
            isolation_level: i8::from(isolation == Isolation::ReadCommitted),
            topics: list_topics(client, partitions, version),
            timeout_ms: if version >= 10 { timeout_ms } else { 0 },
            ..Default::default()
        })
    };
    let response = client
        .call_how::<ListOffsetsRequest, _>(&To::Broker(leader), How::default(), shape)
        .await?;
    let mut answers = Vec::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let found = ListedOffset {
                offset: partition.offset,
                timestamp: partition.timestamp,
                leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
            };
            let answer = ApiError::check(partition.error_code, None).map(|()| found);
            answers
                .push((TopicPartition::new(topic.name.clone(), partition.partition_index), answer));
        }
    }
    complete(partitions, &mut answers);
    Ok(answers)
}

fn list_topics(
    client: &Client,
    partitions: &[(TopicPartition, OffsetSpec)],
    version: i16,
) -> Vec<ListOffsetsTopic> {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for (partition, spec) in partitions {
        let known = client
            .metadata(|metadata| metadata.leader(&partition.topic, partition.partition))
            .map_or(-1, |(_, epoch)| epoch);
        topics.entry(&partition.topic).or_default().push(ListOffsetsPartition {
            partition_index: partition.partition,
            current_leader_epoch: if version >= 4 { known } else { -1 },
            timestamp: spec.timestamp(),
            ..Default::default()
        });
    }
    let topic = |(name, partitions): (&str, _)| ListOffsetsTopic {
        name: name.to_owned(),
        partitions,
        ..Default::default()
    };
    topics.into_iter().map(topic).collect()
}

async fn delete_at(
    client: &Client,
    leader: i32,
    partitions: &[(TopicPartition, i64)],
    timeout_ms: i32,
) -> Result<Vec<Item<TopicPartition, i64>>> {
    let mut topics: BTreeMap<&str, Vec<DeleteRecordsPartition>> = BTreeMap::new();
    for (partition, offset) in partitions {
        topics.entry(&partition.topic).or_default().push(DeleteRecordsPartition {
            partition_index: partition.partition,
            offset: *offset,
            ..Default::default()
        });
    }
    let topic = |(name, partitions): (&str, _)| DeleteRecordsTopic {
        name: name.to_owned(),
        partitions,
        ..Default::default()
    };
    let topics = topics.into_iter().map(topic).collect();
    let request = DeleteRecordsRequest { topics, timeout_ms, ..Default::default() };
    let response = client.call(To::Broker(leader), request).await?;
    let mut answers = Vec::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let answer = ApiError::check(partition.error_code, None);
            let answer = answer.map(|()| partition.low_watermark);
            answers
                .push((TopicPartition::new(topic.name.clone(), partition.partition_index), answer));
        }
    }
    complete(partitions, &mut answers);
    Ok(answers)
}

/// Says so of partitions that an answer left out, so that nobody asks for them for ever.
fn complete<Q, T>(asked: &[(TopicPartition, Q)], answers: &mut Vec<Item<TopicPartition, T>>) {
    for (partition, _) in asked {
        if !answers.iter().any(|(answered, _)| answered == partition) {
            let missing = unanswered(&partition.to_string());
            answers.push((partition.clone(), Err(missing)));
        }
    }
}

/// Nothing to wait for: whoever administers a cluster wants to know at once.
fn is_gone(code: ErrorCode) -> bool {
    code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
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
