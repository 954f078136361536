//! OffsetDelete: forgets offsets of topics that no member subscribes to (KIP-496).

use std::collections::BTreeMap;

use coordinator::Request;
use messages::offset_delete_request::OffsetDeleteRequestTopic;
use messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::groups::{self, Rest};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(OffsetDelete, 0..=0, OffsetDeleteRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    mut request: OffsetDeleteRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let mut refused = OffsetDeleteResponse::default();
    for topic in &mut request.topics {
        let count = node.image.topic(&topic.name).map_or(0, |topic| topic.partitions.len());
        let is_there = |index: i32| (0..count as i64).contains(&index.into());
        let absent = refusal(topic, |index| !is_there(index));
        if !absent.partitions.is_empty() {
            refused.topics.push(absent);
        }
        topic.partitions.retain(|partition| is_there(partition.partition_index));
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    if request.topics.is_empty() {
        node.answer(call, refused, out);
        return;
    }
    let rest = Rest::DeleteOffsets(refused);
    groups::ask(node, call, Request::DeleteOffsets(request), rest, now, out);
}

fn refusal(
    topic: &OffsetDeleteRequestTopic,
    which: impl Fn(i32) -> bool,
) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.iter().filter(|one| which(one.partition_index));
    OffsetDeleteResponseTopic {
        name: topic.name.clone(),
        partitions: partitions
            .map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
            })
            .collect(),
    }
}

/// The coordinator's answer with what was refused before it; an error of the group is all there is
/// to say.
pub fn merged(
    answer: OffsetDeleteResponse,
    mut refused: OffsetDeleteResponse,
) -> OffsetDeleteResponse {
    if answer.error_code != 0 {
        return answer;
    }
    let mut places = BTreeMap::new();
    for (place, topic) in refused.topics.iter().enumerate() {
        places.insert(topic.name.clone(), place);
    }
    for topic in answer.topics {
        let place = places.get(&topic.name);
        match place.and_then(|place| refused.topics.get_mut(*place)) {
            Some(found) => found.partitions.extend(topic.partitions),
            None => refused.topics.push(topic),
        }
    }
    refused
}
