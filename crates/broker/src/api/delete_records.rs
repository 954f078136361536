//! DeleteRecords: the log start offset rises (KIP-107). One replica answers at once.
//!
//! As in Apache Kafka the new start is written down within a minute, not before the answer: a crash
//! may bring deleted records back.

use std::collections::BTreeMap;

use messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use wire::ErrorCode;

use crate::api::metadata::is_internal;
use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(DeleteRecords, 0..=2, DeleteRecordsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: DeleteRecordsRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    // Of two offsets for a partition the last one counts.
    let mut wanted: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in &request.topics {
        let partitions = wanted.entry(&topic.name).or_default();
        for partition in &topic.partitions {
            partitions.insert(partition.partition_index, partition.offset);
        }
    }
    let mut response = DeleteRecordsResponse::default();
    for (topic, partitions) in wanted {
        let partitions = partitions
            .into_iter()
            .map(|(index, offset)| {
                let outcome = delete(node, topic, index, offset);
                DeleteRecordsPartitionResult {
                    partition_index: index,
                    low_watermark: outcome.unwrap_or(-1),
                    error_code: outcome.err().unwrap_or(ErrorCode::NONE).0,
                    ..Default::default()
                }
            })
            .collect();
        let name = topic.to_owned();
        response.topics.push(DeleteRecordsTopicResult { name, partitions, ..Default::default() });
    }
    node.answer(call, response, out);
}

fn delete(node: &mut Node, topic: &str, index: i32, offset: i64) -> Result<i64, ErrorCode> {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let lane = node.lane(topic, index).ok_or(unknown)?;
    if is_internal(topic) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    let partition = node.partitions.get_mut(&lane).ok_or(unknown)?;
    if partition.offline {
        return Err(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    if partition.config.compact && !partition.config.delete {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let high_watermark = partition.high_watermark;
    let offset = if offset == TO_HIGH_WATERMARK { high_watermark } else { offset };
    if !(0..=high_watermark).contains(&offset) {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    partition.log.delete_records(offset);
    let start = partition.log.start();
    node.upkeep.note_change();
    Ok(start)
}

const TO_HIGH_WATERMARK: i64 = -1;
