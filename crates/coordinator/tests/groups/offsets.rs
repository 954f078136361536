//! Offsets: committing, reading, forgetting; and the tools' view of groups.

use std::collections::BTreeSet;

use coordinator::{Answer, GroupConfig, Request};
use messages::leave_group_request::MemberIdentity;
use messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use messages::offset_fetch_request::OffsetFetchRequestGroup;
use messages::{LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest};
use wire::{ErrorCode, Uuid};

use crate::world::{World, commit, join, of};

#[test]
fn a_member_commits_in_its_generation_only() {
    let mut world = World::new();
    let (one, generation) = world.stable_one();
    assert_eq!(world.commit(&one, generation, 5), ErrorCode::NONE);
    let found = world.fetch("g", "t", 0);
    assert_eq!((found.committed_offset, found.committed_leader_epoch), (5, 3));
    assert_eq!(found.metadata.as_deref(), Some("note"));
    assert_eq!(world.commit(&one, 9, 6), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(world.commit("x", generation, 6), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.commit("", -1, 6), ErrorCode::UNKNOWN_MEMBER_ID);
    let (two, second) = world.join(join("g", &["range"]));
    // Members hand over what they did before they join again.
    assert_eq!(world.commit(&one, generation, 7), ErrorCode::NONE);
    let first = world.ask_join(9, of(join("g", &["range"]), &one));
    assert_eq!((world.join_answer(first).error_code, world.join_answer(second).error_code), (0, 0));
    assert_eq!(world.commit(&two, 2, 8), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 7);
}

#[test]
fn groups_without_members_are_made_by_a_commit() {
    let mut world = World::new();
    assert_eq!(world.commit("m", 3, 1), ErrorCode::GROUP_ID_NOT_FOUND);
    let token = world.ask_commit(8, "m", 3, 1);
    assert_eq!(world.commit_answer(token), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(world.state(), "Dead");
    assert_eq!(world.commit("", -1, 1), ErrorCode::NONE);
    assert_eq!(world.state(), "Empty");
    world.reload();
    assert_eq!(world.state(), "Empty");
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 1);
    let nothing = world.fetch("g", "t", 1);
    assert_eq!((nothing.committed_offset, nothing.error_code), (-1, 0));
    assert_eq!(nothing.metadata.as_deref(), Some(""));
    assert_eq!(world.fetch("unknown", "t", 0).committed_offset, -1);
}

#[test]
fn long_notes_are_refused_by_utf16_units() {
    let mut world = World::new();
    for (note, code) in [
        ("é".repeat(4_096), ErrorCode::NONE),
        ("x".repeat(4_097), ErrorCode::OFFSET_METADATA_TOO_LARGE),
        ("🦀".repeat(2_049), ErrorCode::OFFSET_METADATA_TOO_LARGE),
    ] {
        let mut request = commit("g", "", -1, "t", 0, 1);
        request.topics[0].partitions[0].committed_metadata = Some(note);
        let token = world.ask(9, Request::Commit(request));
        assert_eq!(world.commit_answer(token), code);
    }
}

#[test]
fn what_is_larger_than_a_batch_is_refused_whole() {
    let mut world = World::new();
    let mut request = commit("g", "", -1, "t", 0, 1);
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = vec![one; 40_000];
    let token = world.ask(9, Request::Commit(request));
    assert_eq!(world.commit_answer(token), ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(world.state(), "Dead");
}

#[test]
fn all_offsets_of_a_group_are_told_and_topics_are_told_apart_by_id() {
    let mut world = World::new();
    for (topic, index, offset) in [("a", 0, 1), ("a", 1, 2), ("b", 0, 3)] {
        let mut request = commit("g", "", -1, topic, index, offset);
        request.topics[0].topic_id = Uuid(9);
        let token = world.ask(10, Request::Commit(request));
        assert_eq!(world.commit_answer(token), ErrorCode::NONE);
    }
    let mut group = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
    group.topics = None;
    let token = world.ask(8, Request::Fetch(vec![group.clone()], false));
    let Answer::Fetch(groups) = world.answer(token) else { panic!() };
    let mut topics = Vec::new();
    for topic in &groups[0].topics {
        topics.push((topic.name.as_str(), topic.partitions.len()));
    }
    assert_eq!(topics, [("a", 2), ("b", 1)]);

    for (topic_id, offset) in [(Uuid(9), 3), (Uuid(8), -1)] {
        group.topics = Some(vec![messages::offset_fetch_request::OffsetFetchRequestTopics {
            name: "b".into(),
            topic_id,
            partition_indexes: vec![0],
            ..Default::default()
        }]);
        let token = world.ask(10, Request::Fetch(vec![group.clone()], false));
        let Answer::Fetch(groups) = world.answer(token) else { panic!() };
        assert_eq!(groups[0].topics[0].partitions[0].committed_offset, offset);
    }
}

fn delete(topics: &[&str]) -> Request {
    Request::DeleteOffsets(OffsetDeleteRequest {
        group_id: "g".into(),
        topics: topics
            .iter()
            .map(|name| OffsetDeleteRequestTopic {
                name: (*name).into(),
                partitions: vec![OffsetDeleteRequestPartition::default()],
            })
            .collect(),
    })
}

#[test]
fn offsets_are_deleted_unless_the_group_subscribes_to_the_topic() {
    let mut world = World::new();
    let deleted = |world: &mut World, topics: &[&str]| {
        let token = world.ask(0, delete(topics));
        let Answer::DeleteOffsets(answer) = world.answer(token) else { panic!() };
        let codes = answer.topics.iter().map(|topic| topic.partitions[0].error_code);
        (answer.error_code, codes.collect::<Vec<_>>())
    };
    assert_eq!(deleted(&mut world, &["t"]), (ErrorCode::GROUP_ID_NOT_FOUND.0, vec![]));
    let (one, generation) = world.stable_one();
    for topic in ["t", "u"] {
        let request = Request::Commit(commit("g", &one, generation, topic, 0, 4));
        let token = world.ask(9, request);
        assert_eq!(world.commit_answer(token), ErrorCode::NONE);
    }
    let (code, codes) = deleted(&mut world, &["t", "u", "v"]);
    assert_eq!((code, codes), (0, vec![ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC.0, 0, 0]));
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 4);
    assert_eq!(world.fetch("g", "u", 0).committed_offset, -1);

    let mut world = World::new();
    let mut request = join("g", &["range"]);
    request.protocol_type = "connect".into();
    world.join(request);
    assert_eq!(deleted(&mut world, &["t"]).0, ErrorCode::NON_EMPTY_GROUP.0);
}

const WEEK_MS: i64 = 7 * 24 * 3_600_000;

#[test]
fn offsets_of_a_simple_group_expire_a_week_after_the_commit() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 1), ErrorCode::NONE);
    world.pass(WEEK_MS / 2);
    let token = world.ask(9, Request::Commit(commit("g", "", -1, "u", 0, 2)));
    assert_eq!(world.commit_answer(token), ErrorCode::NONE);
    world.pass(WEEK_MS / 2 + 600_000);
    assert_eq!(world.fetch("g", "t", 0).committed_offset, -1);
    assert_eq!(world.fetch("g", "u", 0).committed_offset, 2);
    world.pass(WEEK_MS / 2);
    assert_eq!(world.state(), "Dead");
    world.reload();
    assert_eq!(world.state(), "Dead");
}

#[test]
fn offsets_of_a_group_with_members_stay_until_a_week_after_the_last_left() {
    let mut world = World::new();
    let (one, generation) = world.stable_one();
    assert_eq!(world.commit(&one, generation, 5), ErrorCode::NONE);
    let token = world.ask(9, Request::Commit(commit("g", &one, generation, "other", 0, 2)));
    assert_eq!(world.commit_answer(token), ErrorCode::NONE);
    for _ in 0..WEEK_MS / 9_000 + 100 {
        world.pass(9_000);
        assert_eq!(world.heartbeat(&one, generation), ErrorCode::NONE);
    }
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 5);
    assert_eq!(world.fetch("g", "other", 0).committed_offset, -1, "not subscribed to");
    let member = MemberIdentity { member_id: one, ..Default::default() };
    world.leave(LeaveGroupRequest {
        group_id: "g".into(),
        members: vec![member],
        ..Default::default()
    });
    world.pass(WEEK_MS - 1_000_000);
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 5);
    world.pass(2_000_000);
    assert_eq!(world.state(), "Dead");
}

#[test]
fn an_old_client_chooses_how_long_its_offsets_stay() {
    let mut world = World::new();
    let request =
        OffsetCommitRequest { retention_time_ms: 1_000_000, ..commit("g", "", -1, "t", 0, 1) };
    let token = world.ask(4, Request::Commit(request));
    assert_eq!(world.commit_answer(token), ErrorCode::NONE);
    world.reload();
    world.pass(900_000);
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 1);
    world.pass(1_000_000);
    assert_eq!(world.fetch("g", "t", 0).committed_offset, -1);
}

#[test]
fn what_was_committed_in_a_deleted_topic_is_forgotten() {
    let mut world = World::new();
    for topic in ["t", "u"] {
        let token = world.ask(9, Request::Commit(commit("g", "", -1, topic, 0, 2)));
        assert_eq!(world.commit_answer(token), ErrorCode::NONE);
    }
    let mut out = Vec::new();
    let names = BTreeSet::from(["t".to_owned()]);
    world.core.topics_deleted(&names, world.now, &mut world.ids, &mut out);
    world.carry(out);
    world.reload();
    assert_eq!(world.fetch("g", "t", 0).committed_offset, -1);
    assert_eq!(world.fetch("g", "u", 0).committed_offset, 2);
}

#[test]
fn groups_are_deleted_when_they_are_empty() {
    let mut world =
        World::with(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() }, 5);
    world.stable_one();
    for group in ["a", "b", "c"] {
        let token = world.ask(9, Request::Commit(commit(group, "", -1, "t", 0, 2)));
        assert_eq!(world.commit_answer(token), ErrorCode::NONE);
    }
    let names = ["c", "g", "nobody", "a"].map(str::to_owned).to_vec();
    let token = world.ask(2, Request::Delete(names.clone()));
    let Answer::Delete(answer) = world.answer(token) else { panic!() };
    let found: Vec<(&str, i16)> =
        answer.results.iter().map(|r| (r.group_id.as_str(), r.error_code)).collect();
    let (non_empty, absent) = (ErrorCode::NON_EMPTY_GROUP.0, ErrorCode::GROUP_ID_NOT_FOUND.0);
    assert_eq!(found, [("c", 0), ("g", non_empty), ("nobody", absent), ("a", 0)]);
    world.reload();
    let token = world.ask(5, Request::List(ListGroupsRequest::default()));
    let Answer::List(answer) = world.answer(token) else { panic!() };
    let groups: BTreeSet<&str> = answer.groups.iter().map(|g| g.group_id.as_str()).collect();
    assert_eq!(groups, BTreeSet::from(["b", "g"]));
}

#[test]
fn groups_are_listed_by_state_and_type_and_described() {
    let mut world = World::new();
    let (one, _) = world.stable_one();
    let token = world.ask(9, Request::Commit(commit("simple", "", -1, "t", 0, 2)));
    assert_eq!(world.commit_answer(token), ErrorCode::NONE);
    let mut listed = |states: &[&str], types: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        let request = ListGroupsRequest {
            states_filter: own(states),
            types_filter: own(types),
            ..Default::default()
        };
        let token = world.ask(5, Request::List(request));
        let Answer::List(answer) = world.answer(token) else { panic!() };
        let groups = answer.groups.into_iter();
        groups.map(|g| (g.group_id, g.protocol_type, g.group_state)).collect::<Vec<_>>()
    };
    let stable = ("g".to_owned(), "consumer".to_owned(), "Stable".to_owned());
    let simple = ("simple".to_owned(), String::new(), "Empty".to_owned());
    assert_eq!(listed(&[], &[]), [stable.clone(), simple.clone()]);
    assert_eq!(listed(&["stable"], &["CLASSIC"]), [stable]);
    assert_eq!(listed(&["Empty", "Dead"], &[]), [simple]);
    assert_eq!(listed(&[], &["consumer"]), []);

    let names = vec!["g".to_owned(), "x".to_owned()];
    let token = world.ask(6, Request::Describe(names.clone()));
    let Answer::Describe(answer) = world.answer(token) else { panic!() };
    let group = &answer.groups[0];
    assert_eq!((group.protocol_data.as_str(), group.members.len()), ("range", 1));
    let member = &group.members[0];
    assert_eq!((&member.member_id, member.client_host.as_str()), (&one, "/10.0.0.1"));
    assert_eq!(member.member_assignment, "mine");
    assert!(member.member_metadata.starts_with(b"\0\0\0\0\0\x01\0\x01t"));
    let absent = &answer.groups[1];
    assert_eq!(absent.error_code, ErrorCode::GROUP_ID_NOT_FOUND.0);
    assert_eq!(absent.error_message.as_deref(), Some("Group x not found."));
    let token = world.ask(5, Request::Describe(names));
    let Answer::Describe(answer) = world.answer(token) else { panic!() };
    assert_eq!((answer.groups[1].error_code, answer.groups[1].group_state.as_str()), (0, "Dead"));
}
