//! Committed offsets: storing, reading, forgetting.
//!
//! - A member commits in its generation. Who has no member id commits for a group without members
//!   (KIP-289): such a "simple" group comes into being by its first commit.
//! - An offset is forgotten `offsets.retention.minutes` after its group became empty, or after the
//!   commit if the group has no members of its own or no longer subscribes to the topic (KIP-211);
//!   a retention that an old client asked for goes before that. An empty group without offsets goes
//!   with them.
//! - Offsets of a transaction count when its marker is replayed; of two commits of one partition
//!   the one recorded later wins, not the one whose transaction ended later.

use std::collections::{BTreeMap, BTreeSet};

use messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use messages::{
    OffsetCommitKey, OffsetCommitRequest, OffsetCommitResponse, OffsetCommitValue,
    OffsetDeleteRequest, OffsetDeleteResponse,
};
use wire::{ErrorCode, Uuid};

use super::classic::{Group, State};
use super::{Groups, Turn};
use crate::operation::{Caller, refused_commit};
use crate::record::Record;

/// An offset of a group in a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Where the group goes on.
    pub offset: i64,
    /// The leader epoch of the record before it, or -1.
    pub leader_epoch: i32,
    /// The client's note.
    pub metadata: String,
    /// When, by the wall clock.
    pub commit_ms: i64,
    /// When it is to be forgotten, if the client said so; -1 if not.
    pub expire_ms: i64,
    /// The topic's id, if it was known; else zeros.
    pub topic_id: Uuid,
    /// Rises with every offset replayed. Not part of the state: compaction leaves gaps.
    order: Order,
}

/// Compares equal to any other: two stores are equal if they hold the same offsets.
#[derive(Clone, Copy, Debug)]
struct Order(u64);

impl PartialEq for Order {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Offsets by topic and partition.
type OfGroup = BTreeMap<String, BTreeMap<i32, Committed>>;

/// All offsets of a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetStore {
    committed: BTreeMap<String, OfGroup>,
    /// By the producer whose transaction is open.
    pending: BTreeMap<i64, BTreeMap<String, OfGroup>>,
    /// Which producers have pending offsets in a group.
    open: BTreeMap<String, BTreeSet<i64>>,
    next: Order,
}

impl Default for OffsetStore {
    fn default() -> Self {
        Self {
            committed: BTreeMap::new(),
            pending: BTreeMap::new(),
            open: BTreeMap::new(),
            next: Order(0),
        }
    }
}

impl OffsetStore {
    /// Applies a record.
    pub(super) fn replay(
        &mut self,
        key: &OffsetCommitKey,
        value: Option<&OffsetCommitValue>,
        producer: Option<i64>,
    ) {
        let Some(value) = value else {
            remove(&mut self.committed, key);
            let Some(producers) = self.open.get_mut(&key.group) else { return };
            producers.retain(|producer| {
                let Some(pending) = self.pending.get_mut(producer) else { return false };
                remove(pending, key);
                pending.contains_key(&key.group)
            });
            // A group that is deleted amid a transaction must not stay known by it.
            if producers.is_empty() {
                self.open.remove(&key.group);
            }
            return;
        };
        self.next = Order(self.next.0 + 1);
        let committed = Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.clone(),
            commit_ms: value.commit_timestamp,
            expire_ms: value.expire_timestamp,
            topic_id: value.topic_id,
            order: self.next,
        };
        match producer {
            None => put(&mut self.committed, key, committed),
            Some(producer) => {
                put(self.pending.entry(producer).or_default(), key, committed);
                self.open.entry(key.group.clone()).or_default().insert(producer);
            }
        }
    }

    /// Applies a transaction marker.
    pub(super) fn end_transaction(&mut self, producer: i64, is_commit: bool) {
        let Some(pending) = self.pending.remove(&producer) else { return };
        for (group, topics) in pending {
            for (topic, partitions) in topics {
                for (partition, offset) in partitions.into_iter().filter(|_| is_commit) {
                    let known = self.get(&group, &topic, partition);
                    if known.is_none_or(|known| known.order.0 < offset.order.0) {
                        let key = OffsetCommitKey {
                            group: group.clone(),
                            topic: topic.clone(),
                            partition,
                        };
                        put(&mut self.committed, &key, offset);
                    }
                }
            }
        }
        self.open.retain(|_, producers| {
            producers.remove(&producer);
            !producers.is_empty()
        });
    }

    /// A committed offset.
    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.committed.get(group)?.get(topic)?.get(&partition)
    }

    /// True if a transaction that is open commits that offset.
    pub fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.open.get(group).into_iter().flatten().any(|producer| {
            let of_group = self.pending.get(producer).and_then(|pending| pending.get(group));
            of_group
                .and_then(|topics| topics.get(topic))
                .is_some_and(|partitions| partitions.contains_key(&partition))
        })
    }

    /// Groups with offsets.
    pub fn groups(&self) -> BTreeSet<String> {
        self.committed.keys().chain(self.open.keys()).cloned().collect()
    }

    /// The committed offsets of a group.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = (&str, i32, &Committed)> {
        let topics = self.committed.get(group).into_iter().flatten();
        topics.flat_map(|(topic, partitions)| {
            partitions.iter().map(|(partition, offset)| (topic.as_str(), *partition, offset))
        })
    }

    /// Topic and partition of every offset of a group, pending ones too.
    fn all_keys(&self, group: &str) -> BTreeSet<(String, i32)> {
        let open = self.open.get(group).into_iter().flatten();
        let pending = open.filter_map(|producer| self.pending.get(producer)?.get(group));
        let of_groups = self.committed.get(group).into_iter().chain(pending);
        let partitions = of_groups.flatten().flat_map(|(topic, partitions)| {
            partitions.keys().map(|partition| (topic.clone(), *partition))
        });
        partitions.collect()
    }

    /// Checks that nothing empty is kept.
    ///
    /// # Panics
    /// If something is: a mistake of ours.
    pub fn check(&self) {
        for topics in self.committed.values() {
            assert!(!topics.is_empty() && topics.values().all(|topic| !topic.is_empty()));
        }
    }
}

fn put(groups: &mut BTreeMap<String, OfGroup>, key: &OffsetCommitKey, committed: Committed) {
    let topics = groups.entry(key.group.clone()).or_default();
    topics.entry(key.topic.clone()).or_default().insert(key.partition, committed);
}

fn remove(groups: &mut BTreeMap<String, OfGroup>, key: &OffsetCommitKey) {
    let Some(topics) = groups.get_mut(&key.group) else { return };
    let Some(partitions) = topics.get_mut(&key.topic) else { return };
    partitions.remove(&key.partition);
    if partitions.is_empty() {
        topics.remove(&key.topic);
    }
    if topics.is_empty() {
        groups.remove(&key.group);
    }
}

fn tombstone(group: &str, topic: &str, partition: i32) -> Record {
    let key = OffsetCommitKey { group: group.to_owned(), topic: topic.to_owned(), partition };
    Record::Offset(key, None)
}

impl Groups {
    /// OffsetCommit.
    pub(super) fn commit(
        &mut self,
        caller: &Caller,
        request: &OffsetCommitRequest,
        turn: &mut Turn<'_>,
    ) -> OffsetCommitResponse {
        if let Err(code) = self.validate_commit(request, caller.version) {
            return refused_commit(request, code);
        }
        let id = &request.group_id;
        self.with(id, turn, |life| {
            if matches!(life.group.state, State::Stable | State::PreparingRebalance) {
                life.heard_of(&request.member_id);
            }
        });
        let (records, answer) = self.decide_commit(request, turn.now.wall_ms);
        if let Err(code) = turn.write(&mut self.durable, &records) {
            return refused_commit(request, code);
        }
        if !records.is_empty() && !self.durable.foreign.contains_key(id) {
            self.live.entry(id.clone()).or_insert_with(|| Group::new(turn.now.wall_ms));
        }
        answer
    }

    fn validate_commit(
        &self,
        request: &OffsetCommitRequest,
        version: i16,
    ) -> Result<(), ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        let (member, instance) = (&request.member_id, request.group_instance_id.as_deref());
        let anonymous = generation < 0 && member.is_empty() && instance.is_none();
        let Some(group) = self.live.get(&request.group_id) else {
            return match self.durable.foreign.contains_key(&request.group_id) {
                true if anonymous => Ok(()),
                true => Err(ErrorCode::UNKNOWN_MEMBER_ID),
                false if generation < 0 => Ok(()),
                false if version >= 9 => Err(ErrorCode::GROUP_ID_NOT_FOUND),
                false => Err(ErrorCode::ILLEGAL_GENERATION),
            };
        };
        if generation < 0 && group.state == State::Empty {
            return Ok(());
        }
        if anonymous {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        group.validate(member, instance)?;
        if generation != group.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        // The member has joined but does not know its assignment yet.
        if group.state == State::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    fn decide_commit(
        &self,
        request: &OffsetCommitRequest,
        now_ms: i64,
    ) -> (Vec<Record>, OffsetCommitResponse) {
        let expire_timestamp = match request.retention_time_ms {
            -1 => -1,
            retention => now_ms.saturating_add(retention),
        };
        let mut records = Vec::new();
        let mut answer = OffsetCommitResponse::default();
        for topic in &request.topics {
            let mut answered = OffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                ..Default::default()
            };
            for partition in &topic.partitions {
                let metadata = partition.committed_metadata.clone().unwrap_or_default();
                let too_large = metadata.encode_utf16().count() > self.config.offset_metadata_max;
                let code =
                    if too_large { ErrorCode::OFFSET_METADATA_TOO_LARGE } else { ErrorCode::NONE };
                answered.partitions.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: code.0,
                    ..Default::default()
                });
                if too_large {
                    continue;
                }
                let key = OffsetCommitKey {
                    group: request.group_id.clone(),
                    topic: topic.name.clone(),
                    partition: partition.partition_index,
                };
                // The one version that holds an expiry lacks what is newer.
                let expires = expire_timestamp >= 0;
                let value = OffsetCommitValue {
                    offset: partition.committed_offset,
                    leader_epoch: if expires { -1 } else { partition.committed_leader_epoch },
                    metadata,
                    commit_timestamp: now_ms,
                    expire_timestamp,
                    topic_id: if expires { Uuid::ZERO } else { topic.topic_id },
                    ..Default::default()
                };
                records.push(Record::Offset(key, Some(value)));
            }
            answer.topics.push(answered);
        }
        (records, answer)
    }

    /// OffsetFetch of one group.
    pub(super) fn fetch(
        &self,
        request: &OffsetFetchRequestGroup,
        stable: bool,
    ) -> OffsetFetchResponseGroup {
        let id = request.group_id.as_str();
        let topics = match &request.topics {
            Some(topics) => topics.clone(),
            None => self.topics_of(id),
        };
        let one = |topic: &OffsetFetchRequestTopics, partition: i32| {
            let mut answer = OffsetFetchResponsePartitions {
                partition_index: partition,
                committed_offset: -1,
                metadata: Some(String::new()),
                ..Default::default()
            };
            if stable && self.durable.offsets.is_pending(id, &topic.name, partition) {
                answer.error_code = ErrorCode::UNSTABLE_OFFSET_COMMIT.0;
                return answer;
            }
            let found = self.durable.offsets.get(id, &topic.name, partition);
            // What was committed in a topic of that name which is gone says nothing of this one.
            let same = |offset: &&Committed| {
                offset.topic_id.is_zero()
                    || topic.topic_id.is_zero()
                    || offset.topic_id == topic.topic_id
            };
            if let Some(offset) = found.filter(same) {
                answer.committed_offset = offset.offset;
                answer.committed_leader_epoch = offset.leader_epoch;
                answer.metadata = Some(offset.metadata.clone());
            }
            answer
        };
        let topics = topics.iter().map(|topic| OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partition_indexes.iter().map(|index| one(topic, *index)).collect(),
            ..Default::default()
        });
        OffsetFetchResponseGroup {
            group_id: id.to_owned(),
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn topics_of(&self, group: &str) -> Vec<OffsetFetchRequestTopics> {
        let mut topics: Vec<OffsetFetchRequestTopics> = Vec::new();
        for (topic, partition, _) in self.durable.offsets.of_group(group) {
            match topics.last_mut().filter(|last| last.name == topic) {
                Some(last) => last.partition_indexes.push(partition),
                None => topics.push(OffsetFetchRequestTopics {
                    name: topic.to_owned(),
                    partition_indexes: vec![partition],
                    ..Default::default()
                }),
            }
        }
        topics
    }

    /// OffsetDelete.
    pub(super) fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        turn: &mut Turn<'_>,
    ) -> OffsetDeleteResponse {
        let refused =
            |code: ErrorCode| OffsetDeleteResponse { error_code: code.0, ..Default::default() };
        let id = &request.group_id;
        let Some(group) = self.live.get(id) else { return refused(ErrorCode::GROUP_ID_NOT_FOUND) };
        if group.state != State::Empty && !group.is_of_consumers() {
            return refused(ErrorCode::NON_EMPTY_GROUP);
        }
        let mut records = Vec::new();
        let mut answer = OffsetDeleteResponse::default();
        for topic in &request.topics {
            let in_use = group.is_subscribed(&topic.name);
            let code = if in_use { ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC } else { ErrorCode::NONE };
            let mut answered =
                OffsetDeleteResponseTopic { name: topic.name.clone(), ..Default::default() };
            for partition in &topic.partitions {
                let index = partition.partition_index;
                answered.partitions.push(OffsetDeleteResponsePartition {
                    partition_index: index,
                    error_code: code.0,
                });
                let offsets = &self.durable.offsets;
                let known = offsets.get(id, &topic.name, index).is_some()
                    || offsets.is_pending(id, &topic.name, index);
                if known && !in_use {
                    records.push(tombstone(id, &topic.name, index));
                }
            }
            answer.topics.push(answered);
        }
        match turn.write(&mut self.durable, &records) {
            Ok(()) => answer,
            Err(code) => refused(code),
        }
    }

    /// Records that forget everything a group committed.
    pub(super) fn offset_tombstones(&self, group: &str) -> Vec<Record> {
        let keys = self.durable.offsets.all_keys(group);
        keys.iter().map(|(topic, partition)| tombstone(group, topic, *partition)).collect()
    }

    /// Topics are gone, and with them what was committed in them.
    pub fn topics_deleted(&mut self, names: &BTreeSet<String>, turn: &mut Turn<'_>) {
        for group in self.durable.offsets.groups() {
            let keys = self.durable.offsets.all_keys(&group);
            let gone = keys.iter().filter(|(topic, _)| names.contains(topic));
            let records: Vec<Record> =
                gone.map(|(topic, partition)| tombstone(&group, topic, *partition)).collect();
            self.write_piecemeal(&records, turn);
        }
    }

    /// Forgets offsets that are old enough, and empty groups that have none left.
    pub(super) fn expire_offsets(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<String> = self.live.keys().cloned().collect();
        for id in ids {
            let Some(group) = self.live.get(&id) else { continue };
            let Some(expired) = self.expired(&id, group, turn.now.wall_ms) else { continue };
            let all = self.durable.offsets.all_keys(&id).len() == expired.len();
            let is_over = all && group.state == State::Empty;
            let mut records = expired;
            if is_over && self.durable.groups.contains_key(&id) {
                records.push(Record::Group(id.clone(), None));
            }
            self.write_piecemeal(&records, turn);
            if is_over {
                self.bury(&id);
            }
        }
    }

    /// Tombstones of the expired offsets; `None` if the group's offsets can't expire now.
    fn expired(&self, id: &str, group: &Group, now_ms: i64) -> Option<Vec<Record>> {
        let since_empty = match (&group.protocol_type, group.state) {
            // Nobody ever joined: each offset has its own age.
            (None, _) => None,
            (Some(_), State::Empty) => group.state_since_ms,
            (Some(_), State::Stable) if group.is_of_consumers() && group.subscribed.is_some() => {
                None
            }
            _ if self.durable.offsets.of_group(id).next().is_none() => None,
            _ => return None,
        };
        let is_old = |offset: &Committed| {
            if offset.expire_ms >= 0 {
                return now_ms >= offset.expire_ms;
            }
            let since = since_empty.unwrap_or(offset.commit_ms);
            now_ms.saturating_sub(since) >= self.config.offsets_retention_ms
        };
        let offsets = &self.durable.offsets;
        let expired = offsets.of_group(id).filter(|(topic, partition, offset)| {
            !group.is_subscribed(topic)
                && is_old(offset)
                && !offsets.is_pending(id, topic, *partition)
        });
        Some(expired.map(|(topic, partition, _)| tombstone(id, topic, partition)).collect())
    }

    /// Writes records that need not be in one batch.
    fn write_piecemeal(&mut self, records: &[Record], turn: &mut Turn<'_>) {
        for record in records {
            // A tombstone is smaller than the record it forgets, which was written.
            let _ = turn.write(&mut self.durable, std::slice::from_ref(record));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> OffsetCommitKey {
        OffsetCommitKey { group: "g".into(), topic: "t".into(), partition }
    }

    #[test]
    fn a_group_is_known_by_its_pending_offsets_until_the_last_is_forgotten() {
        let value = OffsetCommitValue { offset: 7, ..Default::default() };
        let mut store = OffsetStore::default();
        store.replay(&key(0), Some(&value), Some(1));
        store.replay(&key(0), Some(&value), Some(2));
        store.replay(&key(1), Some(&value), Some(2));
        store.replay(&key(0), None, None);
        assert!(store.groups().contains("g"));
        assert!(!store.is_pending("g", "t", 0) && store.is_pending("g", "t", 1));
        store.replay(&key(1), None, None);
        assert!(store.groups().is_empty());
        // What comes later in the same transaction is known again, and counts with its marker.
        store.replay(&key(0), Some(&value), Some(1));
        store.end_transaction(2, true);
        assert!(store.is_pending("g", "t", 0));
        store.end_transaction(1, true);
        assert_eq!(store.get("g", "t", 0).map(|found| found.offset), Some(7));
        store.check();
    }
}
