//! Groups through the node, in every version of their APIs: bytes in, bytes out, on a disk in
//! memory.

use crate::rig::Rig;
use broker::{ConnId, Event, ListenerId};
use messages::header::request_header_version;
use messages::join_group_request::JoinGroupRequestProtocol;
use messages::leave_group_request::MemberIdentity;
use messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::*;
use wire::{Bytes, ErrorCode, Uuid, Writer};

impl Rig {
    /// With `__consumer_offsets` there.
    pub fn with_coordinator() -> Self {
        let mut rig = Self::new();
        let request = FindCoordinatorRequest { key: "g".into(), ..Default::default() };
        let first: FindCoordinatorResponse = rig.ask(0, &request);
        assert_eq!(first.error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
        let second: FindCoordinatorResponse = rig.ask(0, &request);
        assert_eq!((second.error_code, second.node_id, second.port), (0, 1, 9092));
        rig
    }

    fn topic_id(&self) -> Uuid {
        self.node.image.topic("t").expect("the topic").id
    }
}

fn joining(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), ..Default::default() }],
        ..Default::default()
    }
}

fn committing(
    member_id: &str,
    generation: i32,
    topics: &[(&str, Uuid, i32)],
) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.into(),
        topics: topics
            .iter()
            .map(|(name, topic_id, index)| OffsetCommitRequestTopic {
                name: (*name).into(),
                topic_id: *topic_id,
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: *index,
                    committed_offset: 42,
                    ..Default::default()
                }],
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

#[test]
fn a_member_lives_through_every_version() {
    for version in 0..=9 {
        let mut rig = Rig::with_coordinator();
        let mut joined: JoinGroupResponse = rig.ask(version, &joining(""));
        if version >= 4 {
            assert_eq!(joined.error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
            joined = rig.ask(version, &joining(&joined.member_id));
        }
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "v{version}");
        let me = joined.member_id.clone();
        assert_eq!((joined.leader, joined.members.len()), (me.clone(), 1));
        let sync = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: 1,
            member_id: me.clone(),
            ..Default::default()
        };
        let synced: SyncGroupResponse = rig.ask(version.min(5), &sync);
        assert_eq!(synced.error_code, 0);
        let heartbeat = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: 1,
            member_id: me.clone(),
            ..Default::default()
        };
        let alive: HeartbeatResponse = rig.ask(version.min(4), &heartbeat);
        assert_eq!(alive.error_code, 0);
        let describe = DescribeGroupsRequest {
            groups: vec!["g".into(), "x".into()],
            include_authorized_operations: version >= 3,
            ..Default::default()
        };
        let shown: DescribeGroupsResponse = rig.ask(version.min(6), &describe);
        assert_eq!(shown.groups[0].members[0].client_host, "/10.0.0.9");
        let absent = if version >= 6 { ErrorCode::GROUP_ID_NOT_FOUND.0 } else { 0 };
        assert_eq!(shown.groups[1].error_code, absent);
        let listed: ListGroupsResponse = rig.ask(version.min(5), &ListGroupsRequest::default());
        assert_eq!(listed.groups[0].group_id, "g");
        let delete = DeleteGroupsRequest { groups_names: vec!["g".into()], ..Default::default() };
        let deleted: DeleteGroupsResponse = rig.ask(version.min(3), &delete);
        assert_eq!(deleted.results[0].error_code, ErrorCode::NON_EMPTY_GROUP.0);
        let leaving = |member_id: &str| match version {
            ..3 => LeaveGroupRequest {
                group_id: "g".into(),
                member_id: member_id.into(),
                ..Default::default()
            },
            _ => LeaveGroupRequest {
                group_id: "g".into(),
                members: vec![MemberIdentity { member_id: member_id.into(), ..Default::default() }],
                ..Default::default()
            },
        };
        let left: LeaveGroupResponse = rig.ask(version.min(5), &leaving("x"));
        let code = left.members.first().map_or(left.error_code, |member| member.error_code);
        assert_eq!(code, ErrorCode::UNKNOWN_MEMBER_ID.0, "v{version}");
        let left: LeaveGroupResponse = rig.ask(version.min(5), &leaving(&me));
        assert_eq!(left.error_code, 0);
        let deleted: DeleteGroupsResponse = rig.ask(version.min(3), &delete);
        assert_eq!(deleted.results[0].error_code, 0);
    }
}

#[test]
fn offsets_are_committed_and_read_in_every_version_and_survive_a_restart() {
    let mut rig = Rig::with_coordinator();
    let id = rig.topic_id();
    for version in 2..=10 {
        let (known, other) = (("t", id, 1), ("nowhere", Uuid(7), 0));
        let topics = [known, ("t", id, 3), other];
        let answer: OffsetCommitResponse = rig.ask(version, &committing("", -1, &topics));
        let mut codes: Vec<(i32, i16)> = answer
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| (partition.partition_index, partition.error_code))
            .collect();
        codes.sort_unstable();
        let absent = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        let nowhere = if version >= 10 { ErrorCode::UNKNOWN_TOPIC_ID.0 } else { absent };
        assert_eq!(codes, [(0, nowhere), (1, 0), (3, absent)], "v{version}");
    }
    rig.restart();
    let request = OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: "t".into(),
            partition_indexes: vec![1, 2],
            ..Default::default()
        }]),
        ..Default::default()
    };
    // What is being loaded is not guessed at.
    let loading = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS.0;
    let answer: OffsetFetchResponse = rig.ask(1, &request);
    assert_eq!(answer.topics[0].partitions[1].error_code, loading);
    let answer: OffsetFetchResponse = rig.ask(2, &request);
    assert_eq!((answer.error_code, answer.topics.len()), (loading, 0));
    rig.load();
    for version in 1..=7 {
        let answer: OffsetFetchResponse = rig.ask(version, &request);
        let offsets = answer.topics[0].partitions.iter().map(|one| one.committed_offset);
        assert_eq!(offsets.collect::<Vec<_>>(), [42, -1], "v{version}");
        if version >= 2 {
            let all = OffsetFetchRequest { topics: None, ..request.clone() };
            let answer: OffsetFetchResponse = rig.ask(version, &all);
            assert_eq!(answer.topics[0].partitions.len(), 1);
        }
    }
    for version in 8..=10 {
        let topics = |topic_id| {
            Some(vec![OffsetFetchRequestTopics {
                name: "t".into(),
                topic_id,
                partition_indexes: vec![1],
                ..Default::default()
            }])
        };
        let group = |group_id: &str, topics| OffsetFetchRequestGroup {
            group_id: group_id.into(),
            topics,
            ..Default::default()
        };
        let groups = vec![group("g", topics(id)), group("h", None), group("g", None)];
        let request = OffsetFetchRequest { groups, ..Default::default() };
        let answer: OffsetFetchResponse = rig.ask(version, &request);
        let names: Vec<&str> = answer.groups.iter().map(|g| g.group_id.as_str()).collect();
        assert_eq!(names, ["g", "h", "g"], "v{version}");
        for index in [0, 2] {
            let topic = &answer.groups[index].topics[0];
            assert_eq!(topic.partitions[0].committed_offset, 42);
            assert!(if version >= 10 { topic.topic_id == id } else { topic.name == "t" });
        }
        assert!(answer.groups[1].topics.is_empty());
    }
    let unknown = OffsetFetchRequestTopics {
        topic_id: Uuid(7),
        partition_indexes: vec![0],
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: "g".into(),
        topics: Some(vec![unknown]),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let answer: OffsetFetchResponse = rig.ask(10, &request);
    let partition = &answer.groups[0].topics[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::UNKNOWN_TOPIC_ID.0);

    let delete = |index| OffsetDeleteRequest {
        group_id: "g".into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: index }],
        }],
    };
    let absent: OffsetDeleteResponse = rig.ask(0, &delete(9));
    let code = absent.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
    let deleted: OffsetDeleteResponse = rig.ask(0, &delete(1));
    assert_eq!((deleted.error_code, deleted.topics[0].partitions[0].error_code), (0, 0));
}

#[test]
fn coordinators_are_found_for_groups_only() {
    let mut rig = Rig::with_coordinator();
    for version in 0..=6 {
        let mut codes = Vec::new();
        for key_type in if version == 0 { 0..1 } else { 0..4 } {
            let (key, keys) = ("g".to_owned(), vec!["g".to_owned(), "h".to_owned()]);
            let request = match version {
                ..4 => FindCoordinatorRequest { key, key_type, ..Default::default() },
                _ => FindCoordinatorRequest {
                    coordinator_keys: keys,
                    key_type,
                    ..Default::default()
                },
            };
            let answer: FindCoordinatorResponse = rig.ask(version, &request);
            let first = answer.coordinators.first();
            codes.push(first.map_or(answer.error_code, |first| first.error_code));
            assert_eq!(answer.coordinators.len(), if version < 4 { 0 } else { 2 });
        }
        let (none, invalid) = (ErrorCode::NONE.0, ErrorCode::INVALID_REQUEST.0);
        let transactions = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0;
        let wanted = [none, transactions, invalid, invalid];
        assert_eq!(codes, wanted[..codes.len()], "v{version}");
    }
    let topic = rig.node.image.topic(broker::groups::OFFSETS_TOPIC).expect("the topic");
    assert_eq!(topic.partitions.len(), 50);
    let overrides = rig.node.image.topic_overrides(broker::groups::OFFSETS_TOPIC);
    assert_eq!(overrides["cleanup.policy"], "compact");
    assert_eq!(overrides["segment.bytes"], "104857600");
}

#[test]
fn clients_may_not_write_where_groups_are_stored() {
    let mut rig = Rig::with_coordinator();
    let request = ProduceRequest {
        acks: -1,
        topic_data: vec![TopicProduceData {
            name: "__consumer_offsets".into(),
            partition_data: vec![PartitionProduceData::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer: ProduceResponse = rig.ask(9, &request);
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::INVALID_TOPIC_EXCEPTION.0);
}

#[test]
fn a_member_that_waits_is_told_when_the_node_stops() {
    let mut rig = Rig::with_coordinator();
    let token: JoinGroupResponse = rig.ask(9, &joining(""));
    let _: JoinGroupResponse = rig.ask(9, &joining(&token.member_id));
    // The leader's rebalance waits for the second, who has only got an id.
    let _: JoinGroupResponse = rig.ask(9, &joining(""));
    let mut writer = Writer::new();
    let header = RequestHeader {
        request_api_key: JoinGroupRequest::KEY,
        request_api_version: 9,
        ..Default::default()
    };
    let header_version = request_header_version(ApiKey::JoinGroup, 9);
    header.encode(&mut writer, header_version).expect("a header");
    let mut again = joining(&token.member_id);
    again.protocols[0].metadata = Bytes::from_static(b"changed");
    again.encode(&mut writer, 9).expect("a request");
    let frame = writer.finish().to_bytes();
    let event =
        broker::connection::read(ConnId(1), ListenerId(0), rig.serial, frame).expect("readable");
    assert!(rig.step(event).is_empty(), "it waits");
    assert_eq!(rig.step(Event::Stopping).len(), 1);
}
