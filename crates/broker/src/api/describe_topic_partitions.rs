//! DescribeTopicPartitions: topics piece by piece, with their eligible leader replicas (KIP-966).

use std::collections::BTreeSet;
use std::sync::Arc;

use messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use metadata::controller::check_name;
use metadata::{PartitionImage, TopicImage};
use wire::ErrorCode;

use crate::api::metadata::{TOPIC_OPERATIONS, is_internal};
use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(DescribeTopicPartitions, 0..=0, DescribeTopicPartitionsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: DescribeTopicPartitionsRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    let all = request.topics.is_empty();
    let mut names: BTreeSet<&str> =
        request.topics.iter().map(|topic| topic.name.as_str()).collect();
    if all {
        names.extend(node.image.topic_ids.keys().map(|name| &**name));
    }
    let (from, first) = match &request.cursor {
        Some(cursor) if cursor.partition_index < 0 => {
            // Apache Kafka fails the request as a whole, each topic with the same error.
            let response = refuse(&request, ErrorCode::INVALID_REQUEST);
            node.answer(call, response, out);
            return;
        }
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index as usize),
        None => ("", 0),
    };
    let limit = i64::from(request.response_partition_limit);
    let mut room = limit.min(node.setting("max.request.partition.size.limit")).max(1) as usize;
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.into_iter().filter(|name| *name >= from) {
        let Some(topic) = node.image.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let first = if name == from { first } else { 0 };
        if room == 0 {
            response.next_cursor = Some(cursor(name, first));
            break;
        }
        let end = topic.partitions.len().min(first.saturating_add(room));
        response.topics.push(describe(node, &call, topic, first, end));
        room -= end.saturating_sub(first);
        if end < topic.partitions.len() {
            response.next_cursor = Some(cursor(name, end));
            break;
        }
    }
    node.answer(call, response, out);
}

fn cursor(name: &str, partition: usize) -> Cursor {
    let partition_index = partition as i32;
    Cursor { topic_name: name.to_owned(), partition_index, ..Default::default() }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match check_name(name) {
        Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err((code, _)) => code,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: code.0,
        name: Some(name.to_owned()),
        is_internal: is_internal(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

fn refuse(
    request: &DescribeTopicPartitionsRequest,
    code: ErrorCode,
) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: code.0,
        name: Some(topic.name.clone()),
        ..Default::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() }
}

fn describe(
    node: &Node,
    call: &Call,
    topic: &TopicImage,
    first: usize,
    end: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let partition = |(index, partition): (usize, &Arc<PartitionImage>)| {
        let (leader_id, code) = node.leader_for(partition.leader, call.listener, true);
        DescribeTopicPartitionsResponsePartition {
            error_code: code.0,
            partition_index: index as i32,
            leader_id,
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            eligible_leader_replicas: Some(partition.rare().elr.clone()),
            last_known_elr: Some(partition.rare().last_known_elr.clone()),
            ..Default::default()
        }
    };
    let partitions = topic.partitions.iter().enumerate();
    DescribeTopicPartitionsResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: is_internal(&topic.name),
        partitions: partitions.skip(first).take(end.saturating_sub(first)).map(partition).collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}
