//! A client that writes what expires at once, for two groups of which one is slow, and commits for
//! both.
//!
//! Promise C11: no record is deleted before every group that its topic names has committed past it.
//! That is so at every moment by what was asked to be committed at all, and whenever somebody asks
//! what is committed by the answer, across power cuts too: a commit that may be lost deletes
//! nothing.

use messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    ProduceRequest, ProduceResponse,
};
use wire::record::{BatchBuilder, BatchOptions};
use wire::{Bytes, ErrorCode};

use crate::client::{request, response};
use crate::random::Random;

/// The topic, of one partition.
pub const DIARY: &str = "diary";
const GROUPS: [&str; 2] = ["fast", "slow"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Write(i64),
    Commit(usize),
    Audit,
}

/// The client, with one request under way at most.
#[derive(Debug, Default)]
pub struct Keeper {
    /// It only looks at what is committed, once.
    audits: bool,
    seen: bool,
    /// Below are records that were acknowledged.
    end: i64,
    /// The largest offset that each group was asked to commit.
    asked: [i64; 2],
    under_way: Option<(i32, Ask)>,
    next_correlation: i32,
}

impl Keeper {
    /// Somebody who looks at what is committed and is done.
    pub fn auditor() -> Self {
        Self { audits: true, asked: [i64::MAX; 2], ..Self::default() }
    }

    /// True if nothing is under way, and an auditor has seen what it came for.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_none() && (self.seen || !self.audits)
    }

    /// The connection was lost: what was asked may have been done.
    pub fn disconnected(&mut self) {
        self.under_way = None;
    }

    /// The topic, whose records are past their retention soon.
    pub fn topic(random: &mut Random) -> CreatableTopic {
        let config = |name: &str, value: &str| CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
            ..Default::default()
        };
        let (by_time, by_size) =
            random.pick(&[("1", "-1"), ("40", "-1"), ("-1", "0"), ("-1", "300")]);
        let configs = vec![
            config("retention.ms", by_time),
            config("retention.bytes", by_size),
            config("retention.consumer.groups", &GROUPS.join(",")),
            config("retention.consumer.groups.max.ms", "-1"),
            config("retention.consumer.groups.max.bytes", "-1"),
            // A segment takes two or three batches.
            config("segment.index.bytes", random.pick(&["24", "48"])),
            config("index.interval.bytes", "0"),
        ];
        CreatableTopic {
            name: DIARY.into(),
            num_partitions: 1,
            replication_factor: 1,
            configs,
            ..Default::default()
        }
    }

    /// The next request to send, if there is one; nothing new if `winding_up`.
    ///
    /// # Errors
    /// A request that can't be encoded.
    pub fn next(
        &mut self,
        winding_up: bool,
        wall_ms: i64,
        random: &mut Random,
    ) -> Result<Option<Bytes>, String> {
        if self.under_way.is_some() || self.seen || (winding_up && !self.audits) {
            return Ok(None);
        }
        self.next_correlation += 1;
        let correlation = self.next_correlation;
        let ask = match random.below(10) {
            _ if self.audits => Ask::Audit,
            0..=4 => Ask::Write(1 + random.below(3) as i64),
            5..=6 => Ask::Commit(0),
            7..=8 => Ask::Commit(1),
            _ => Ask::Audit,
        };
        self.under_way = Some((correlation, ask));
        let frame = match ask {
            Ask::Write(count) => write(count, wall_ms, correlation),
            Ask::Commit(group) => {
                let asked = self.asked.get_mut(group).ok_or("no such group")?;
                let unread = (self.end - *asked) as u64;
                // The slow one leaves most of it for later.
                let more = if group == 0 { unread } else { random.below(2 + unread / 3) };
                *asked += more.min(unread) as i64;
                commit(group, *asked, correlation)
            }
            Ask::Audit => audit(correlation),
        };
        frame.map(Some)
    }

    /// Takes an answer; the log begins at `start`.
    ///
    /// # Errors
    /// A promise broken, or an answer that makes no sense.
    pub fn answered(&mut self, frame: Bytes, start: i64) -> Result<(), String> {
        let (correlation, ask) = self.under_way.take().ok_or("C6: an answer to nothing")?;
        let code = match ask {
            Ask::Write(count) => {
                let answer: ProduceResponse = response(frame, 9, correlation)?;
                let topic = answer.responses.first();
                let partition = topic.and_then(|topic| topic.partition_responses.first());
                let partition = partition.ok_or("produce answered without a partition")?;
                if partition.error_code == 0 {
                    self.end = self.end.max(partition.base_offset + count);
                }
                partition.error_code
            }
            Ask::Commit(_) => {
                let answer: OffsetCommitResponse = response(frame, 8, correlation)?;
                let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
                partition.ok_or("a commit answered without a partition")?.error_code
            }
            Ask::Audit => {
                let answer: OffsetFetchResponse = response(frame, 8, correlation)?;
                let refused = answer.groups.iter().find(|group| group.error_code != 0);
                match refused {
                    Some(group) => group.error_code,
                    None => {
                        self.seen = self.audits;
                        self.compare(&answer, start)?
                    }
                }
            }
        };
        match ErrorCode(code) {
            ErrorCode::NONE
            | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
            | ErrorCode::NOT_COORDINATOR
            | ErrorCode::COORDINATOR_NOT_AVAILABLE
            // The disk failed, or was about to: the node will be started again.
            | ErrorCode::KAFKA_STORAGE_ERROR
            | ErrorCode::REQUEST_TIMED_OUT => Ok(()),
            code => {
                let name = code.name().unwrap_or("an unknown error");
                Err(format!("{ask:?} of the diary answered with {name}"))
            }
        }
    }

    fn compare(&self, answer: &OffsetFetchResponse, start: i64) -> Result<i16, String> {
        for group in &answer.groups {
            let partition = group.topics.first().and_then(|topic| topic.partitions.first());
            let committed = partition.ok_or("offsets of no partition")?.committed_offset;
            // -1 is nothing committed: nothing may be missing then.
            if start > committed.max(0) {
                return Err(format!(
                    "C11: the diary begins at {start}, {} has committed {committed}",
                    group.group_id
                ));
            }
        }
        Ok(0)
    }

    /// Looks at where the log begins and ends.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn inspect(&self, start: i64, end: i64) -> Result<(), String> {
        if end < self.end {
            return Err(format!("C1: the diary ends at {end}, {} was acknowledged", self.end));
        }
        let slowest = self.asked.into_iter().min().unwrap_or_default();
        if start > slowest {
            return Err(format!(
                "C11: the diary begins at {start}, nobody asked both groups to commit more than \
                 {slowest}"
            ));
        }
        Ok(())
    }
}

fn write(count: i64, wall_ms: i64, correlation: i32) -> Result<Bytes, String> {
    let mut batch = BatchBuilder::new(BatchOptions { leader_epoch: -1, ..Default::default() });
    for _ in 0..count {
        batch.push(wall_ms, None, Some(b"dear diary"), &[]);
    }
    let records = batch.build().map_err(|error| error.to_string())?;
    let data = PartitionProduceData { records: Some(records), ..Default::default() };
    let topic =
        TopicProduceData { name: DIARY.into(), partition_data: vec![data], ..Default::default() };
    let message = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    request(&message, 9, correlation)
}

fn commit(group: usize, offset: i64, correlation: i32) -> Result<Bytes, String> {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic = OffsetCommitRequestTopic {
        name: DIARY.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let message = OffsetCommitRequest {
        group_id: GROUPS.get(group).copied().unwrap_or_default().into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    request(&message, 8, correlation)
}

fn audit(correlation: i32) -> Result<Bytes, String> {
    let topic = OffsetFetchRequestTopics {
        name: DIARY.into(),
        partition_indexes: vec![0],
        ..Default::default()
    };
    let group = |group: &str| OffsetFetchRequestGroup {
        group_id: group.into(),
        topics: Some(vec![topic.clone()]),
        ..Default::default()
    };
    let groups = GROUPS.into_iter().map(group).collect();
    request(&OffsetFetchRequest { groups, ..Default::default() }, 8, correlation)
}
