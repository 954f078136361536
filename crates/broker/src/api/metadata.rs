//! Metadata: topics, their partitions, and where the brokers are.
//!
//! - Version 0 asks for all topics with an empty list, later ones with null.
//! - From version 10 on topics may be asked for by id, from 12 on without a name.
//! - A missing topic is created if both the client and `auto.create.topics.enable` allow it; the
//!   answer says UNKNOWN_TOPIC_OR_PARTITION all the same, which clients retry.

use std::sync::Arc;

use messages::create_topics_request::CreatableTopic;
use messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use messages::{CreateTopicsRequest, MetadataRequest, MetadataResponse};
use metadata::controller::{METADATA_TOPIC, check_name};
use metadata::{PartitionImage, TopicImage};
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::metadata_log::OnCommit;
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(Metadata, 0..=13, MetadataRequest, handle);

fn handle(node: &mut Node, call: Call, request: MetadataRequest, now: Now, out: &mut Vec<Effect>) {
    let mut response = MetadataResponse {
        brokers: node
            .image
            .brokers
            .values()
            .filter(|broker| !broker.is_fenced())
            .filter_map(|broker| {
                let endpoint = node.endpoint(&broker.registration, call.listener)?;
                Some(MetadataResponseBroker {
                    node_id: broker.registration.broker_id,
                    host: endpoint.host.clone(),
                    port: i32::from(endpoint.port),
                    rack: broker.registration.rack.clone(),
                    ..Default::default()
                })
            })
            .collect(),
        cluster_id: Some(node.config.cluster_id.to_string()),
        controller_id: node.config.node_id,
        ..Default::default()
    };
    let mut to_create = Vec::new();
    match &request.topics {
        Some(topics) if call.version > 0 || !topics.is_empty() => {
            for wanted in topics {
                response.topics.push(one(node, &call, &request, wanted, &mut to_create));
            }
        }
        _ => {
            let topics = node.image.topics.values();
            response.topics = topics.map(|topic| present(node, &call, topic)).collect();
        }
    }
    // Without an authorizer everybody may do everything (KIP-430).
    if request.include_topic_authorized_operations {
        for topic in response.topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    if call.version < 12 {
        // A name can't be null yet where a topic is asked for by an unknown id.
        for topic in &mut response.topics {
            topic.name.get_or_insert_default();
        }
    }
    create(node, to_create, now, out);
    node.answer(call, response, out);
}

fn one(
    node: &Node,
    call: &Call,
    request: &MetadataRequest,
    wanted: &messages::metadata_request::MetadataRequestTopic,
    to_create: &mut Vec<String>,
) -> MetadataResponseTopic {
    let failed = |code: ErrorCode| MetadataResponseTopic {
        error_code: code.0,
        name: wanted.name.clone(),
        topic_id: wanted.topic_id,
        is_internal: wanted.name.as_deref().is_some_and(is_internal),
        ..Default::default()
    };
    let Some(name) = &wanted.name else {
        return match node.image.topics.get(&wanted.topic_id) {
            Some(topic) => present(node, call, topic),
            None => failed(ErrorCode::UNKNOWN_TOPIC_ID),
        };
    };
    if let Some(topic) = node.image.topic(name) {
        return present(node, call, topic);
    }
    if check_name(name).is_err() {
        return failed(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if request.allow_auto_topic_creation && node.flag("auto.create.topics.enable") {
        to_create.push(name.clone());
    }
    failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

fn present(node: &Node, call: &Call, topic: &TopicImage) -> MetadataResponseTopic {
    let partition = |(index, partition): (usize, &Arc<PartitionImage>)| {
        let (leader_id, code) =
            node.leader_for(partition.leader, call.listener, call.version >= NAMES_LISTENERS);
        MetadataResponsePartition {
            error_code: code.0,
            partition_index: index as i32,
            leader_id,
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            offline_replicas: Vec::new(),
            ..Default::default()
        }
    };
    MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: is_internal(&topic.name),
        partitions: topic.partitions.iter().enumerate().map(partition).collect(),
        ..Default::default()
    }
}

/// From here on a partition without the client's listener is told apart from one without leader.
const NAMES_LISTENERS: i16 = 6;

/// Topics of Apache Kafka's own: clients may not write to them.
pub fn is_internal(name: &str) -> bool {
    matches!(
        name,
        METADATA_TOPIC | "__consumer_offsets" | "__transaction_state" | "__share_group_state"
    )
}

fn create(node: &mut Node, names: Vec<String>, now: Now, out: &mut Vec<Effect>) {
    let topics: Vec<CreatableTopic> = names
        .into_iter()
        .filter(|name| !is_internal(name))
        .map(|name| CreatableTopic {
            name,
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        })
        .collect();
    if topics.is_empty() {
        return;
    }
    let request = CreateTopicsRequest { topics, ..Default::default() };
    // Refusals (a creation under way, a colliding name) show in the client's next request.
    let (records, _) = node.decide_create_topics(&request);
    if !records.is_empty() {
        node.write_metadata(records, OnCommit::Nothing, now, out);
    }
}

/// Bits of READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS.
pub(crate) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Bits of CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS and
/// IDEMPOTENT_WRITE.
pub(crate) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
