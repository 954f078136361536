//! Produce requests, written and their answers read.

use std::collections::BTreeMap;

use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::{ProduceRequest, ProduceResponse};
use wire::{Bytes, ErrorCode};

use super::Verdict;
use crate::topic_partition::TopicPartition;

/// From version 13 on topics have ids instead of names (KIP-516); names serve all brokers, and a
/// topic made again under its name.
pub const VERSION_MAX: i16 = 12;

/// The request that carries these batches.
pub fn compose(
    acks: i16,
    timeout_ms: i32,
    batches: Vec<(TopicPartition, Bytes)>,
) -> ProduceRequest {
    let mut topics: BTreeMap<String, Vec<PartitionProduceData>> = BTreeMap::new();
    for (to, records) in batches {
        topics.entry(to.topic).or_default().push(PartitionProduceData {
            index: to.partition,
            records: Some(records),
            ..Default::default()
        });
    }
    let topic =
        |(name, partition_data)| TopicProduceData { name, partition_data, ..Default::default() };
    ProduceRequest {
        acks,
        timeout_ms,
        topic_data: topics.into_iter().map(topic).collect(),
        ..Default::default()
    }
}

/// A leader that a broker named in passing: topic partition, broker, epoch (KIP-951).
pub type Moved = (TopicPartition, i32, i32);

/// What an answer says about each partition, and the leaders it names.
pub fn read(response: ProduceResponse) -> (BTreeMap<TopicPartition, Verdict>, Vec<Moved>) {
    let mut verdicts = BTreeMap::new();
    let mut moved = Vec::new();
    for topic in response.responses {
        for partition in topic.partition_responses {
            let named = TopicPartition::new(topic.name.clone(), partition.index);
            let leader = &partition.current_leader;
            if leader.leader_id >= 0 {
                moved.push((named.clone(), leader.leader_id, leader.leader_epoch));
            }
            let of_record = partition.record_errors.into_iter().next();
            let of_record = of_record.and_then(|error| error.batch_index_error_message);
            let verdict = Verdict {
                code: ErrorCode(partition.error_code),
                message: partition.error_message.or(of_record).unwrap_or_default(),
                base_offset: partition.base_offset,
                log_append_time: partition.log_append_time_ms,
            };
            verdicts.insert(named, verdict);
        }
    }
    (verdicts, moved)
}
