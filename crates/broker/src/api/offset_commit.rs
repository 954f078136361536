//! OffsetCommit: how far a group has come.
//!
//! - From version 10 on topics are named by id (KIP-848 and after).
//! - Topics and partitions that don't exist are refused one by one, the rest is committed.
//! - Before version 5 the client chooses how long its offsets are kept.

use std::collections::BTreeMap;

use coordinator::Request;
use messages::offset_commit_request::OffsetCommitRequestTopic;
use messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use messages::{OffsetCommitRequest, OffsetCommitResponse};
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::groups::{self, Rest};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(OffsetCommit, 2..=10, OffsetCommitRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    mut request: OffsetCommitRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let by_id = call.version >= 10;
    let mut refused = OffsetCommitResponse::default();
    let mut known = Vec::new();
    for mut topic in std::mem::take(&mut request.topics) {
        let found = match by_id {
            true => node.image.topics.get(&topic.topic_id),
            false => node.image.topic(&topic.name),
        };
        let Some(found) = found else {
            let code = match by_id {
                true => ErrorCode::UNKNOWN_TOPIC_ID,
                false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            refused.topics.push(refusal(&topic, code, |_| true));
            continue;
        };
        topic.name = found.name.to_string();
        topic.topic_id = found.id;
        let is_there = |index: i32| (0..found.partitions.len() as i64).contains(&index.into());
        let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let absent = refusal(&topic, code, |index| !is_there(index));
        if !absent.partitions.is_empty() {
            refused.topics.push(absent);
        }
        topic.partitions.retain(|partition| is_there(partition.partition_index));
        if !topic.partitions.is_empty() {
            known.push(topic);
        }
    }
    if known.is_empty() {
        node.answer(call, refused, out);
        return;
    }
    request.topics = known;
    groups::ask(node, call, Request::Commit(request), Rest::Commit(refused), now, out);
}

fn refusal(
    topic: &OffsetCommitRequestTopic,
    code: ErrorCode,
    which: impl Fn(i32) -> bool,
) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().filter(|one| which(one.partition_index));
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: code.0,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// The coordinator's answer with what was refused before it.
pub fn merged(
    answer: OffsetCommitResponse,
    mut refused: OffsetCommitResponse,
) -> OffsetCommitResponse {
    let mut places = BTreeMap::new();
    for (place, topic) in refused.topics.iter().enumerate() {
        places.insert((topic.name.clone(), topic.topic_id.0), place);
    }
    for topic in answer.topics {
        let place = places.get(&(topic.name.clone(), topic.topic_id.0));
        match place.and_then(|place| refused.topics.get_mut(*place)) {
            Some(found) => found.partitions.extend(topic.partitions),
            None => refused.topics.push(topic),
        }
    }
    refused
}
