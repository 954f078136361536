//! The requests of a consumer, shaped for the version that is spoken.

use std::collections::BTreeMap;
use std::time::Duration;

use messages::fetch_request::{FetchPartition, FetchTopic};
use messages::leave_group_request::MemberIdentity;
use messages::{
    FetchRequest, FetchResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, SyncGroupRequest, SyncGroupResponse,
};
use wire::{Bytes, ErrorCode, Uuid};

use crate::admin::{commit_topics, offsets_by_name};
use crate::consumer::group::Identity;
use crate::consumer::positions::{Position, Wanted};
use crate::error::{Error, Result};
use crate::net::client::How;
use crate::net::{Client, To};
use crate::topic_partition::TopicPartition;

pub(super) async fn join(
    client: &Client,
    lane: u32,
    request: JoinGroupRequest,
) -> Result<JoinGroupResponse> {
    let to = To::Group(request.group_id.clone());
    // The coordinator answers when all members came, or the rebalance timed out.
    let rebalance = Duration::from_millis(request.rebalance_timeout_ms.max(0) as u64);
    let patience = client.options().request_timeout.max(rebalance + Duration::from_secs(5));
    let how = How { lane, patience: Some(patience), ..How::default() };
    let shape = |version: i16| {
        static_members(version, 5, request.group_instance_id.as_ref())?;
        Ok(request)
    };
    client.call_how::<JoinGroupRequest, JoinGroupRequest>(&to, how, shape).await
}

pub(super) async fn sync(
    client: &Client,
    lane: u32,
    mut request: SyncGroupRequest,
) -> Result<SyncGroupResponse> {
    let to = To::Group(request.group_id.clone());
    let shape = |version: i16| {
        static_members(version, 3, request.group_instance_id.as_ref())?;
        if version < 5 {
            request.protocol_type = None;
            request.protocol_name = None;
        }
        Ok(request)
    };
    let how = How { lane, ..How::default() };
    client.call_how::<SyncGroupRequest, SyncGroupRequest>(&to, how, shape).await
}

fn static_members(version: i16, from: i16, instance_id: Option<&String>) -> Result<()> {
    if version < from && instance_id.is_some() {
        return Err(Error::Unsupported("The broker knows no static members.".into()));
    }
    Ok(())
}

pub(super) async fn leave(client: &Client, member_id: String) -> Result<()> {
    let Some(group) = client.options().consumer.group_id.clone() else { return Ok(()) };
    let to = To::Group(group.clone());
    let shape = |version: i16| {
        let mut request = LeaveGroupRequest { group_id: group, ..Default::default() };
        if version < 3 {
            request.member_id = member_id;
        } else {
            request.members = vec![MemberIdentity { member_id, ..Default::default() }];
        }
        Ok(request)
    };
    // Not on the group's lane: a join may be held back there.
    let call = client.call_how::<LeaveGroupRequest, LeaveGroupRequest>(&to, How::default(), shape);
    call.await.map(|_| ())
}

/// Commits once; the first code that is an error.
pub(super) async fn commit(
    client: &Client,
    group: &str,
    lane: u32,
    identity: &Identity,
    offsets: &BTreeMap<TopicPartition, Position>,
) -> Result<ErrorCode> {
    let shape = |version: i16| {
        let entries = offsets
            .iter()
            .map(|(partition, position)| (partition, position.offset, position.leader_epoch, ""));
        Ok(OffsetCommitRequest {
            group_id: group.to_owned(),
            generation_id_or_member_epoch: identity.generation,
            member_id: identity.member_id.clone(),
            group_instance_id: identity.instance_id.clone().filter(|_| version >= 7),
            topics: commit_topics(version, entries),
            ..Default::default()
        })
    };
    let how = How { lane, ..offsets_by_name() };
    let to = To::Group(group.to_owned());
    let call = client.call_how::<OffsetCommitRequest, OffsetCommitRequest>(&to, how, shape);
    let response = call.await?;
    let codes = response.topics.iter().flat_map(|topic| &topic.partitions);
    let failed = codes.map(|partition| partition.error_code).find(|code| *code != 0);
    Ok(ErrorCode(failed.unwrap_or_default()))
}

/// Fetches without a session, records with one key alone if there is one; the ids under which
/// topics were asked for, and the answer.
pub(super) async fn fetch(
    client: &Client,
    broker: i32,
    lane: u32,
    wanted: &[Wanted],
    only_key: Option<&Bytes>,
) -> (BTreeMap<Uuid, String>, Result<FetchResponse>) {
    let options = &client.options().consumer;
    let mut topics: BTreeMap<&str, (Uuid, Vec<&Wanted>)> = BTreeMap::new();
    client.metadata(|known| {
        for one in wanted {
            let name = one.partition.topic.as_str();
            let id = known.topic(name).map_or(Uuid::ZERO, |topic| topic.id);
            topics.entry(name).or_insert((id, Vec::new())).1.push(one);
        }
    });
    let has_ids = topics.values().all(|(id, _)| !id.is_zero());
    // Zero is no id: topics that have none are answered by name.
    let ids = topics.iter().filter(|(_, (id, _))| !id.is_zero());
    let ids = ids.map(|(name, (id, _))| (*id, (*name).to_owned())).collect();
    let max_wait_ms = i32::try_from(options.fetch_max_wait.as_millis()).unwrap_or(i32::MAX);
    let shape = |version: i16| {
        let by_id = version >= 13;
        let partition = |one: &&Wanted| {
            let mut partition = FetchPartition {
                partition: one.partition.partition,
                current_leader_epoch: if version >= 9 { one.leader_epoch } else { -1 },
                fetch_offset: one.offset,
                partition_max_bytes: options.partition_max_bytes,
                ..Default::default()
            };
            // Brokers that don't know the field send everything, which is left out here then.
            only_key.into_iter().for_each(|key| partition.set_key(key.clone()));
            partition
        };
        let topic = |(name, (id, partitions)): (&&str, &(Uuid, Vec<&Wanted>))| FetchTopic {
            topic: if by_id { String::new() } else { (*name).to_owned() },
            topic_id: if by_id { *id } else { Uuid::ZERO },
            partitions: partitions.iter().map(partition).collect(),
            ..Default::default()
        };
        Ok(FetchRequest {
            max_wait_ms,
            min_bytes: options.fetch_min_bytes,
            max_bytes: options.fetch_max_bytes,
            isolation_level: i8::from(options.read_committed),
            topics: topics.iter().map(topic).collect(),
            // No rack: a leader that knows it names a follower instead of answering (KIP-392),
            // and this client does not fetch from followers.
            ..Default::default()
        })
    };
    let how = How {
        lane,
        // Names where ids are not known (KIP-516).
        version_max: (!has_ids).then_some(12),
        patience: Some(client.options().request_timeout + options.fetch_max_wait),
        ..How::default()
    };
    let to = To::Broker(broker);
    let answer = client.call_how::<FetchRequest, FetchRequest>(&to, how, shape).await;
    (ids, answer)
}
