//! OffsetForLeaderEpoch: where an epoch ended, by which consumers and replicas notice that the log
//! they read was cut (KIP-101, KIP-320).

use messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(OffsetForLeaderEpoch, 2..=4, OffsetForLeaderEpochRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: OffsetForLeaderEpochRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in &request.topics {
        let answer = |wanted: &OffsetForLeaderPartition| {
            let found = find(node, &topic.topic, wanted);
            let (leader_epoch, end_offset) = found.unwrap_or((-1, -1));
            EpochEndOffset {
                error_code: found.err().unwrap_or(ErrorCode::NONE).0,
                partition: wanted.partition,
                leader_epoch,
                end_offset,
                ..Default::default()
            }
        };
        response.topics.push(OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions: topic.partitions.iter().map(answer).collect(),
            ..Default::default()
        });
    }
    node.answer(call, response, out);
}

fn find(
    node: &Node,
    topic: &str,
    wanted: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let partition =
        node.partition(topic, wanted.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if partition.offline {
        return Err(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    partition.check_epoch(wanted.current_leader_epoch)?;
    if wanted.leader_epoch == partition.leader_epoch {
        return Ok((partition.leader_epoch, partition.log.end()));
    }
    Ok(partition.log.offset_for_leader_epoch(wanted.leader_epoch))
}
