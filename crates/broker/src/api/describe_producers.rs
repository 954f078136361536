//! DescribeProducers: who wrote to a partition lately (KIP-664).

use messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use messages::{DescribeProducersRequest, DescribeProducersResponse};
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(DescribeProducers, 0..=0, DescribeProducersRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: DescribeProducersRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    let mut response = DescribeProducersResponse::default();
    for topic in &request.topics {
        let describe = |index: &i32| {
            let found = describe(node, &topic.name, *index);
            // Only of a topic that does not exist it says more than the code.
            let absent = node.image.topic(&topic.name).is_none();
            PartitionResponse {
                partition_index: *index,
                error_message: absent
                    .then(|| ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.words().to_owned()),
                error_code: found.as_ref().err().map_or(0, |code| code.0),
                active_producers: found.unwrap_or_default(),
                ..Default::default()
            }
        };
        response.topics.push(TopicResponse {
            name: topic.name.clone(),
            partitions: topic.partition_indexes.iter().map(describe).collect(),
            ..Default::default()
        });
    }
    node.answer(call, response, out);
}

fn describe(node: &Node, topic: &str, index: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    let partition = node.partition(topic, index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if partition.offline {
        return Err(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    let state = |entry: wire::files::ProducerEntry| ProducerState {
        producer_id: entry.producer_id,
        producer_epoch: i32::from(entry.producer_epoch),
        last_sequence: entry.last_sequence,
        last_timestamp: entry.timestamp,
        coordinator_epoch: entry.coordinator_epoch,
        current_txn_start_offset: entry.current_txn_first_offset,
        ..Default::default()
    };
    Ok(partition.log.producers().entries().into_iter().map(state).collect())
}
