//! ListOffsets: offsets by timestamp or by name (KIP-79, KIP-734, KIP-405).
//!
//! What needs no file is answered in the step; a timestamp is looked up by the connection.

use std::collections::BTreeMap;

use messages::list_offsets_request::ListOffsetsPartition;
use messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use messages::{ListOffsetsRequest, ListOffsetsResponse};
use ottla_log::TimePlan;
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;
use crate::reply::{Body, OffsetPlan, OffsetsReply, Reply};

/// The entry in the list of APIs.
pub const API: Api = api!(ListOffsets, 1..=11, ListOffsetsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: ListOffsetsRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    let mut response = ListOffsetsResponse::default();
    let mut plans = Vec::new();
    for topic in &request.topics {
        let mut answers =
            ListOffsetsTopicResponse { name: topic.name.clone(), ..Default::default() };
        let mut asked: BTreeMap<i32, usize> = BTreeMap::new();
        for wanted in &topic.partitions {
            *asked.entry(wanted.partition_index).or_default() += 1;
        }
        for wanted in &topic.partitions {
            // A partition that is asked for twice is refused, once.
            match asked.get_mut(&wanted.partition_index) {
                Some(0) => continue,
                Some(count) if *count > 1 => {
                    *count = 0;
                    answers.partitions.push(ListOffsetsPartitionResponse {
                        partition_index: wanted.partition_index,
                        error_code: ErrorCode::INVALID_REQUEST.0,
                        ..Default::default()
                    });
                    continue;
                }
                _ => {}
            }
            let mut answer = ListOffsetsPartitionResponse {
                partition_index: wanted.partition_index,
                ..Default::default()
            };
            match one(node, &topic.name, wanted, request.isolation_level, call.version) {
                Ok(Found::Now(offset, leader_epoch)) => {
                    answer.offset = offset;
                    if call.version >= 4 {
                        answer.leader_epoch = leader_epoch;
                    }
                }
                Ok(Found::Nothing) => {}
                Ok(Found::Look(plan)) => {
                    let place = (response.topics.len(), answers.partitions.len());
                    plans.push(OffsetPlan { place, plan, opened_max: OPENED_MAX });
                }
                Err(code) => answer.error_code = code.0,
            }
            answers.partitions.push(answer);
        }
        response.topics.push(answers);
    }
    let body = Body::Offsets(Box::new(OffsetsReply::new(response, plans)));
    out.push(Effect::Reply(Reply { call, body }));
}

enum Found {
    /// Offset and leader epoch.
    Now(i64, i32),
    /// No such offset: -1.
    Nothing,
    /// To be read from the log.
    Look(TimePlan),
}

fn one(
    node: &Node,
    topic: &str,
    wanted: &ListOffsetsPartition,
    isolation_level: i8,
    version: i16,
) -> Result<Found, ErrorCode> {
    let partition = node
        .partition(topic, wanted.partition_index)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if partition.offline {
        return Err(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    partition.check_epoch(wanted.current_leader_epoch)?;
    let epoch_at =
        |offset: i64| partition.log.epochs().epoch_at(offset).unwrap_or(partition.leader_epoch);
    let limit = partition.visible_end(isolation_level == READ_COMMITTED);
    let since = match wanted.timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    };
    if version < since {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    Ok(match wanted.timestamp {
        LATEST => Found::Now(limit, partition.leader_epoch),
        EARLIEST | EARLIEST_LOCAL => {
            let start = partition.log.start();
            Found::Now(start, epoch_at(start))
        }
        // Nothing is tiered, so there is no latest tiered and nothing pending upload.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Found::Nothing,
        MAX_TIMESTAMP => Found::Look(partition.log.plan_max_timestamp(limit)),
        timestamp if timestamp >= 0 => {
            Found::Look(partition.log.plan_offset_for_timestamp(timestamp, limit))
        }
        _ => return Err(ErrorCode::UNSUPPORTED_VERSION),
    })
}

/// Bound on a batch opened to find a timestamp in it.
const OPENED_MAX: usize = 256 << 20;
const READ_COMMITTED: i8 = 1;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;
