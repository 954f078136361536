//! Looking a key up: what [`crate::consumer::look_up`] wants is fetched until it is done.

use wire::{Bytes, ErrorCode};

use super::requests;
use crate::Admin;
use crate::admin::{Isolation, OffsetSpec};
use crate::consumer::ConsumerRecord;
use crate::consumer::look_up::{LookUp, LookedUp, Next};
use crate::error::{ApiError, Error, Result};
use crate::net::client::LOOK_UP_LANE;
use crate::net::{Client, Patience};
use crate::producer::partitioner::of_key;
use crate::topic_partition::TopicPartition;

impl Client {
    /// The newest record of a key, if there is one and it is no tombstone. Looks in the partition
    /// that producers put the key into unless they are told otherwise; see [`Self::look_up`] on
    /// what that takes, and for other partitions.
    ///
    /// # Errors
    /// There is no such topic, or as [`Self::look_up`].
    pub async fn latest(&self, topic: &str, key: &[u8]) -> Result<Option<ConsumerRecord>> {
        let partition = self.partition_of(topic, key).await?;
        let found = self.look_up(&partition, key).await?;
        Ok(found.newest.filter(|record| record.value.is_some()))
    }

    /// The partition that Apache Kafka's producers, and ours, put a key into by default.
    ///
    /// # Errors
    /// There is no such topic, or nobody can be reached.
    pub async fn partition_of(&self, topic: &str, key: &[u8]) -> Result<TopicPartition> {
        let count = self.topic(topic, false).await?.partitions.len();
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        Ok(TopicPartition::new(topic, of_key(key, count)))
    }

    /// The newest record of a key in a partition, a tombstone, too, and what it took to find it.
    ///
    /// The partition is read from start to end; under `isolation.level=read_committed` what
    /// transactions wrote counts once they are committed. A broker of ours sends only segments that
    /// may hold the key, where it has filters (topic key `segment.key.filter`), one of Apache
    /// Kafka's sends everything. As with every reader of a compacted topic, a tombstone has to be
    /// come by before `delete.retention.ms` is over.
    ///
    /// Safe to cancel.
    ///
    /// # Errors
    /// What the leader said, or nothing came for `default.api.timeout.ms`.
    pub async fn look_up(&self, partition: &TopicPartition, key: &[u8]) -> Result<LookedUp> {
        let options = self.options();
        let key = Bytes::copy_from_slice(key);
        let fresh = || Patience::new(options.api_timeout, options.retry_backoff);
        let (mut patience, mut look) = (fresh(), None);
        loop {
            let error = match self.look_on(partition, &key, &mut look).await {
                Ok(Next::More) => {
                    patience = fresh();
                    continue;
                }
                Ok(Next::Done) => {
                    if let Some(look) = look.take() {
                        return Ok(look.into_found());
                    }
                    continue;
                }
                Ok(Next::Nothing) => ApiError::of(ErrorCode::OFFSET_NOT_AVAILABLE).into(),
                // Records were deleted meanwhile: the log begins elsewhere.
                Err(Error::Broker(ErrorCode::OFFSET_OUT_OF_RANGE, _)) => {
                    look = None;
                    ApiError::of(ErrorCode::OFFSET_NOT_AVAILABLE).into()
                }
                // It will be as damaged the next time.
                Err(error @ Error::Broker(ErrorCode::CORRUPT_MESSAGE, _)) => return Err(error),
                Err(error) => {
                    if error.is_retriable() {
                        // The next attempt tells if this one failed, too.
                        let _ = self.refresh(Some(vec![partition.topic.clone()]), false).await;
                    }
                    error
                }
            };
            patience.again(&format!("looking a key up in {partition}"), error).await?;
        }
    }

    /// Fetches once.
    async fn look_on(
        &self,
        partition: &TopicPartition,
        key: &Bytes,
        look: &mut Option<LookUp>,
    ) -> Result<Next> {
        let options = &self.options().consumer;
        let look = match look {
            Some(look) => look,
            None => {
                self.check_partition(partition).await?;
                let (start, end) = self.bounds(partition, options.read_committed).await?;
                let look = look.insert(LookUp::new(
                    partition.clone(),
                    key.clone(),
                    start,
                    options.read_committed,
                    options.check_crcs,
                ));
                if start >= end {
                    // A fetch would wait for something to come.
                    return Ok(Next::Done);
                }
                look
            }
        };
        let leader = self.metadata(|known| known.leader(&partition.topic, partition.partition));
        let missing = || Error::from(ApiError::of(ErrorCode::LEADER_NOT_AVAILABLE));
        let (broker, epoch) = leader.ok_or_else(missing)?;
        let wanted = [look.wanted(epoch)];
        let (_, answer) = requests::fetch(self, broker, LOOK_UP_LANE, &wanted, Some(key)).await;
        let response = answer?;
        ApiError::check(response.error_code, None)?;
        let throttled = response.throttle_time_ms > 0;
        let mut partitions = response.responses.into_iter().flat_map(|topic| topic.partitions);
        let data = partitions.find(|data| data.partition_index == partition.partition);
        let unanswered = || Error::Protocol(format!("the answer to a fetch lacks {partition}"));
        look.take(data.ok_or_else(unanswered)?, throttled)
    }

    /// Whether there is such a partition; it may have come a moment ago.
    async fn check_partition(&self, partition: &TopicPartition) -> Result<()> {
        let mut known = self.topic(&partition.topic, false).await?;
        if known.partition(partition.partition).is_none() {
            self.refresh(Some(vec![partition.topic.clone()]), false).await?;
            known = self.topic(&partition.topic, false).await?;
        }
        let count = known.partitions.len();
        match known.partition(partition.partition) {
            Some(_) => Ok(()),
            None => Err(Error::Config(format!(
                "{} has no partition {}, but {count}",
                partition.topic, partition.partition
            ))),
        }
    }

    /// Where a partition begins and ends now.
    async fn bounds(&self, partition: &TopicPartition, committed: bool) -> Result<(i64, i64)> {
        let admin = Admin::new(self.clone());
        let isolation = super::isolation(committed);
        let mut bounds = [0, 0];
        for (bound, spec) in bounds.iter_mut().zip([OffsetSpec::Earliest, OffsetSpec::Latest]) {
            // Where it begins is the same for everybody.
            let isolation =
                if spec == OffsetSpec::Latest { isolation } else { Isolation::ReadUncommitted };
            let listed = admin.list_offsets(&[(partition.clone(), spec)], isolation).await?;
            let unanswered = || Error::Protocol(format!("no offset for {partition}"));
            let (_, listed) = listed.into_iter().next().ok_or_else(unanswered)?;
            *bound = listed?.offset;
        }
        Ok(bounds.into())
    }
}
