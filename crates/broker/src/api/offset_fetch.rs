//! OffsetFetch: how far groups have come.
//!
//! - Before version 8 one group is asked about, from then on many (KIP-709); inside, there are
//!   always many.
//! - From version 2 on null topics ask for all; from then on the group's error is its own, before
//!   it is every partition's.
//! - From version 7 on the client may insist on offsets that no open transaction will change
//!   (KIP-447).
//! - From version 10 on topics are named by id. A topic that is gone has no id any more and is left
//!   out where all are asked for.

use coordinator::Request;
use messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use messages::{OffsetFetchRequest, OffsetFetchResponse};
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::groups::{self, Rest};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(OffsetFetch, 1..=10, OffsetFetchRequest, handle);

/// What the answer has to fit.
#[derive(Debug)]
pub struct Asked {
    /// By group, in the order of the request: topics whose id is unknown.
    unknown: Vec<Vec<OffsetFetchRequestTopics>>,
    /// Topics asked for by a version that has no place for an error of the group.
    before_2: Vec<OffsetFetchRequestTopics>,
}

fn handle(
    node: &mut Node,
    call: Call,
    request: OffsetFetchRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let mut asked = Asked { unknown: Vec::new(), before_2: Vec::new() };
    let mut wanted = if call.version < 8 { vec![alone(&request)] } else { request.groups };
    if call.version < 2 {
        asked.before_2 = wanted.iter().flat_map(|group| group.topics.clone()).flatten().collect();
    }
    for group in &mut wanted {
        let mut unknown = Vec::new();
        if let (Some(topics), true) = (&mut group.topics, call.version >= 10) {
            for mut topic in std::mem::take(topics) {
                match node.image.topics.get(&topic.topic_id) {
                    Some(found) => {
                        topic.name = found.name.to_string();
                        topics.push(topic);
                    }
                    None => unknown.push(topic),
                }
            }
        }
        asked.unknown.push(unknown);
    }
    let request = Request::Fetch(wanted, request.require_stable);
    groups::ask(node, call, request, Rest::Fetch(asked), now, out);
}

/// The one group of an older request.
fn alone(request: &OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.as_ref().map(|topics| {
        let widened = topics.iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name.clone(),
            partition_indexes: topic.partition_indexes.clone(),
            ..Default::default()
        });
        widened.collect()
    });
    OffsetFetchRequestGroup { group_id: request.group_id.clone(), topics, ..Default::default() }
}

/// The answer in the shape of the version.
pub fn shaped(
    node: &Node,
    mut groups: Vec<OffsetFetchResponseGroup>,
    asked: Asked,
    version: i16,
) -> OffsetFetchResponse {
    if version < 8 {
        let group = groups.into_iter().next().unwrap_or_default();
        return narrowed(group, &asked.before_2, version);
    }
    if version >= 10 {
        for (group, unknown) in groups.iter_mut().zip(asked.unknown) {
            group.topics.retain_mut(|topic| {
                let found = node.image.topic(&topic.name);
                topic.topic_id = found.map(|found| found.id).unwrap_or_default();
                found.is_some()
            });
            if group.error_code == 0 {
                group.topics.extend(unknown.iter().map(unknown_topic));
            }
        }
    }
    OffsetFetchResponse { groups, ..Default::default() }
}

fn unknown_topic(topic: &OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
    let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
        partition_index: *index,
        committed_offset: -1,
        metadata: Some(String::new()),
        error_code: ErrorCode::UNKNOWN_TOPIC_ID.0,
        ..Default::default()
    });
    OffsetFetchResponseTopics {
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn narrowed(
    group: OffsetFetchResponseGroup,
    before_2: &[OffsetFetchRequestTopics],
    version: i16,
) -> OffsetFetchResponse {
    let mut response = OffsetFetchResponse::default();
    if group.error_code != 0 {
        if version >= 2 {
            response.error_code = group.error_code;
            return response;
        }
        response.topics = before_2
            .iter()
            .map(|topic| OffsetFetchResponseTopic {
                name: topic.name.clone(),
                partitions: topic
                    .partition_indexes
                    .iter()
                    .map(|index| OffsetFetchResponsePartition {
                        partition_index: *index,
                        committed_offset: -1,
                        metadata: Some(String::new()),
                        error_code: group.error_code,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect();
        return response;
    }
    let one = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..Default::default()
    };
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(one).collect(),
        ..Default::default()
    });
    response.topics = topics.collect();
    response
}
