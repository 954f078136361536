//! Members: joining, syncing, staying, going.

use coordinator::{GroupConfig, Request};
use messages::leave_group_request::MemberIdentity;
use messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use wire::ErrorCode;

use crate::world::{World, join, of, static_join};

fn leaving(group: &str, members: &[(&str, Option<&str>)]) -> LeaveGroupRequest {
    LeaveGroupRequest {
        group_id: group.into(),
        members: members
            .iter()
            .map(|(member, instance)| MemberIdentity {
                member_id: (*member).into(),
                group_instance_id: instance.map(str::to_owned),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// Two members in generation 2; the first leads.
fn pair(world: &mut World) -> (String, String) {
    let (one, _) = world.stable_one();
    let (two, second) = world.join(join("g", &["range"]));
    assert_eq!(world.heartbeat(&one, 1), ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(world.is_waiting(second));
    let first = world.ask_join(9, of(join("g", &["range"]), &one));
    let (first, second) = (world.join_answer(first), world.join_answer(second));
    assert_eq!((first.generation_id, second.generation_id), (2, 2));
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
    assert_eq!((&first.leader, &second.leader), (&one, &one));
    let follower = world.ask_sync(&two, 2, &[]);
    assert!(world.is_waiting(follower));
    let leader = world.ask_sync(&one, 2, &[(&one, "left"), (&two, "right")]);
    assert_eq!(world.sync_answer(leader).assignment, "left");
    assert_eq!(world.sync_answer(follower).assignment, "right");
    (one, two)
}

#[test]
fn two_members_share_what_the_leader_assigns() {
    let mut world = World::new();
    let (one, two) = pair(&mut world);
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.heartbeat(&one, 2), ErrorCode::NONE);
    assert_eq!(world.heartbeat(&two, 1), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(world.heartbeat("nobody", 2), ErrorCode::UNKNOWN_MEMBER_ID);
    // Who asks again is told again.
    let again = world.ask_sync(&two, 2, &[]);
    assert_eq!(world.sync_answer(again).assignment, "right");
}

#[test]
fn requests_that_can_not_be_are_refused() {
    let mut world = World::new();
    let mut refused = |version, request| {
        let token = world.ask_join(version, request);
        ErrorCode(world.join_answer(token).error_code)
    };
    let good = join("g", &["range"]);
    assert_eq!(refused(9, join("", &["range"])), ErrorCode::INVALID_GROUP_ID);
    for session_timeout_ms in [5_999, 1_800_001] {
        let request = JoinGroupRequest { session_timeout_ms, ..good.clone() };
        assert_eq!(refused(9, request), ErrorCode::INVALID_SESSION_TIMEOUT);
    }
    assert_eq!(refused(9, of(good.clone(), "x")), ErrorCode::UNKNOWN_MEMBER_ID);
    let nothing = join("g", &[]);
    assert_eq!(refused(9, nothing), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let untyped = JoinGroupRequest { protocol_type: String::new(), ..good };
    assert_eq!(refused(9, untyped), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);

    let (member, _) = world.stable_one();
    let mut refused = |request| {
        let token = world.ask_join(9, request);
        ErrorCode(world.join_answer(token).error_code)
    };
    assert_eq!(refused(join("g", &["other"])), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let connect = JoinGroupRequest { protocol_type: "connect".into(), ..join("g", &["range"]) };
    assert_eq!(refused(connect), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(refused(of(join("g", &["range"]), "x")), ErrorCode::UNKNOWN_MEMBER_ID);

    let token = world.ask_sync(&member, 7, &[]);
    assert_eq!(world.sync_answer(token).error_code, ErrorCode::ILLEGAL_GENERATION.0);
    let token = world.ask_sync("x", 1, &[]);
    assert_eq!(world.sync_answer(token).error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
    let request = SyncGroupRequest {
        group_id: "g".into(),
        member_id: member,
        generation_id: 1,
        protocol_type: Some("connect".into()),
        ..Default::default()
    };
    let token = world.ask(5, Request::Sync(request));
    let code = world.sync_answer(token).error_code;
    assert_eq!(code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL.0);
}

#[test]
fn a_member_id_is_demanded_from_version_4_on() {
    let mut world = World::new();
    let token = world.ask_join(3, join("g", &["range"]));
    let answer = world.join_answer(token);
    assert_eq!((answer.error_code, answer.generation_id), (0, 1));
    let parts: Vec<usize> = answer.member_id.split('-').map(str::len).collect();
    assert_eq!(parts, [6, 8, 4, 4, 4, 12], "{}", answer.member_id);
}

#[test]
fn a_client_with_an_enormous_name_does_not_get_an_enormous_id() {
    let mut world = World::new();
    world.client_id = "é".repeat(16_000);
    let token = world.ask_join(3, join("g", &["range"]));
    let answer = world.join_answer(token);
    assert_eq!((answer.error_code, answer.member_id.len()), (0, (16 << 10) + 37));
}

#[test]
fn an_id_that_is_never_used_is_forgotten_after_a_session() {
    let mut world = World::new();
    let token = world.ask_join(9, join("g", &["range"]));
    let id = world.join_answer(token).member_id;
    world.pass(10_001);
    let token = world.ask_join(9, of(join("g", &["range"]), &id));
    assert_eq!(world.join_answer(token).error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
}

#[test]
fn the_first_rebalance_waits_and_is_extended_by_each_that_joins() {
    let config = GroupConfig::default();
    let mut world = World::with(config, 1);
    let (_, one) = world.join(join("g", &["range"]));
    world.pass(2_000);
    let (_, two) = world.join(join("g", &["range"]));
    world.pass(1_500);
    assert!(world.is_waiting(one), "extended by the second");
    world.pass(2_500);
    let (one, two) = (world.join_answer(one), world.join_answer(two));
    assert_eq!((one.generation_id, two.generation_id), (1, 1));
    assert_eq!(one.members.len(), 2);
}

#[test]
fn members_that_do_not_join_again_are_dropped_after_the_rebalance_timeout() {
    let mut world = World::new();
    let (one, _) = world.stable_one();
    let (_, second) = world.join(join("g", &["range"]));
    // It stays alive, but does not come back.
    for _ in 0..10 {
        world.pass(3_000);
        if world.is_waiting(second) {
            assert_eq!(world.heartbeat(&one, 1), ErrorCode::REBALANCE_IN_PROGRESS);
        }
    }
    let answer = world.join_answer(second);
    assert_eq!((answer.generation_id, answer.members.len()), (2, 1));
    assert_eq!(world.heartbeat(&one, 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn silence_ends_a_session_and_the_others_rebalance() {
    let mut world = World::new();
    let (one, two) = pair(&mut world);
    world.pass(6_000);
    assert_eq!(world.heartbeat(&one, 2), ErrorCode::NONE);
    world.pass(6_000);
    assert_eq!(world.heartbeat(&one, 2), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(world.heartbeat(&two, 2), ErrorCode::UNKNOWN_MEMBER_ID);
    let token = world.ask_join(9, of(join("g", &["range"]), &one));
    assert_eq!(world.join_answer(token).generation_id, 3);
    world.pass(60_000);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn members_that_never_sync_are_dropped() {
    let mut world = World::new();
    let (one, token) = world.join(join("g", &["range"]));
    assert_eq!(world.join_answer(token).generation_id, 1);
    for _ in 0..6 {
        world.pass(5_000);
        let _ = world.heartbeat(&one, 1);
    }
    assert_eq!(world.heartbeat(&one, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn who_leaves_is_gone_at_once() {
    let mut world = World::new();
    let (one, two) = pair(&mut world);
    let answer = world.leave(leaving("g", &[(&one, None), ("x", None)]));
    let codes: Vec<i16> = answer.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::UNKNOWN_MEMBER_ID.0]);
    assert_eq!(world.heartbeat(&two, 2), ErrorCode::REBALANCE_IN_PROGRESS);
    let token = world.ask_join(9, of(join("g", &["range"]), &two));
    let answer = world.join_answer(token);
    assert_eq!((answer.generation_id, &answer.leader), (3, &two));
    assert_eq!(world.leave(leaving("g", &[(&two, None)])).members[0].error_code, 0);
    assert_eq!(world.state(), "Empty");
    let absent = world.leave(leaving("other", &[("x", None)]));
    assert_eq!(absent.members[0].error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
}

#[test]
fn the_protocol_that_all_support_and_most_prefer_is_chosen() {
    let mut world = World::new();
    let (one, token) = world.join(join("g", &["a", "b", "c"]));
    assert_eq!(world.join_answer(token).protocol_name.as_deref(), Some("a"));
    let (_, two) = world.join(join("g", &["c", "b"]));
    let (_, three) = world.join(join("g", &["c", "b"]));
    let one = world.ask_join(9, of(join("g", &["a", "b", "c"]), &one));
    for token in [one, two, three] {
        assert_eq!(world.join_answer(token).protocol_name.as_deref(), Some("c"));
    }
}

#[test]
fn a_full_group_takes_nobody() {
    let config =
        GroupConfig { initial_rebalance_delay_ms: 0, size_max: 1, ..GroupConfig::default() };
    let mut world = World::with(config, 1);
    world.stable_one();
    let token = world.ask_join(9, join("g", &["range"]));
    let answer = world.join_answer(token);
    assert_eq!(answer.error_code, ErrorCode::GROUP_MAX_SIZE_REACHED.0);
    assert_eq!(answer.member_id, "");
}

#[test]
fn a_follower_that_joins_unchanged_does_not_disturb_but_a_leader_does() {
    let mut world = World::new();
    let (one, two) = pair(&mut world);
    let token = world.ask_join(9, of(join("g", &["range"]), &two));
    assert_eq!(world.join_answer(token).generation_id, 2);
    assert_eq!(world.state(), "Stable");
    let changed = world.ask_join(9, of(join("g", &["range", "new"]), &two));
    assert_eq!(world.state(), "PreparingRebalance");
    let token = world.ask_join(9, of(join("g", &["range"]), &one));
    assert_eq!(world.join_answer(token).generation_id, 3);
    assert_eq!(world.join_answer(changed).generation_id, 3);
    // Before the assignment, asking again only repeats the answer.
    let token = world.ask_join(9, of(join("g", &["range"]), &one));
    let answer = world.join_answer(token);
    assert_eq!((answer.generation_id, answer.members.len()), (3, 2));
    let token = world.ask_sync(&one, 3, &[]);
    assert_eq!(world.sync_answer(token).assignment, "");
    let leader = world.ask_join(9, of(join("g", &["range"]), &one));
    assert!(world.is_waiting(leader));
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_sync_that_waits_is_told_of_the_next_rebalance() {
    let mut world = World::new();
    let (one, two) = pair(&mut world);
    let second = world.ask_join(9, of(join("g", &["range", "x"]), &two));
    let first = world.ask_join(9, of(join("g", &["range"]), &one));
    assert_eq!(world.join_answer(first).generation_id, 3);
    assert_eq!(world.join_answer(second).generation_id, 3);
    let sync = world.ask_sync(&two, 3, &[]);
    assert!(world.is_waiting(sync));
    world.leave(leaving("g", &[(&one, None)]));
    assert_eq!(world.sync_answer(sync).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
}

#[test]
fn the_older_of_two_joins_of_one_member_is_answered() {
    let mut world = World::new();
    let (one, _) = world.stable_one();
    let (_, newcomer) = world.join(join("g", &["range"]));
    let (three, older) = world.join(join("g", &["range"]));
    let younger = world.ask_join(9, of(join("g", &["range"]), &three));
    assert_eq!(world.join_answer(older).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
    let first = world.ask_join(9, of(join("g", &["range"]), &one));
    for token in [first, newcomer, younger] {
        assert_eq!(world.join_answer(token).error_code, 0);
    }
}

#[test]
fn a_static_member_keeps_its_assignment_under_a_new_id() {
    let mut world = World::new();
    let token = world.ask_join(9, static_join("i"));
    let first = world.join_answer(token);
    assert_eq!((first.error_code, first.generation_id), (0, 1));
    assert!(first.member_id.starts_with("i-"));
    let token = world.ask_sync(&first.member_id, 1, &[(&first.member_id, "mine")]);
    assert_eq!(world.sync_answer(token).error_code, 0);

    let token = world.ask_join(9, static_join("i"));
    let second = world.join_answer(token);
    assert_eq!((second.error_code, second.generation_id), (0, 1));
    assert!(second.skip_assignment && second.leader == second.member_id);
    assert_ne!(second.member_id, first.member_id);
    assert_eq!(second.members.len(), 1);
    let token = world.ask_sync(&second.member_id, 1, &[]);
    assert_eq!(world.sync_answer(token).assignment, "mine");
    // Before version 9 the leader is told that another one leads.
    let token = world.ask_join(8, static_join("i"));
    let third = world.join_answer(token);
    assert!(!third.skip_assignment && third.leader == second.member_id);
    assert_eq!(world.state(), "Stable");

    // The process before it is fenced wherever it asks with its instance.
    let heartbeat = |member: &str| HeartbeatRequest {
        group_id: "g".into(),
        member_id: member.into(),
        generation_id: 1,
        group_instance_id: Some("i".into()),
        ..Default::default()
    };
    let token = world.ask(4, Request::Heartbeat(heartbeat(&first.member_id)));
    let coordinator::Answer::Heartbeat(answer) = world.answer(token) else { panic!() };
    assert_eq!(answer.error_code, ErrorCode::FENCED_INSTANCE_ID.0);
    let request = JoinGroupRequest { member_id: first.member_id.clone(), ..static_join("i") };
    let token = world.ask_join(9, request);
    assert_eq!(world.join_answer(token).error_code, ErrorCode::FENCED_INSTANCE_ID.0);
    let request = JoinGroupRequest { member_id: first.member_id, ..static_join("unknown") };
    let token = world.ask_join(9, request);
    assert_eq!(world.join_answer(token).error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);

    // All of it survives the coordinator.
    world.reload();
    let token = world.ask_sync(&third.member_id, 1, &[]);
    assert_eq!(world.sync_answer(token).assignment, "mine");
    let answer = world.leave(leaving("g", &[("", Some("i")), ("", Some("j"))]));
    let codes: Vec<i16> = answer.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::UNKNOWN_MEMBER_ID.0]);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn a_static_member_that_waits_is_fenced_by_its_successor() {
    let mut world = World::new();
    let (one, _) = world.stable_one();
    let before = world.ask_join(9, static_join("i"));
    let after = world.ask_join(9, static_join("i"));
    assert_eq!(world.join_answer(before).error_code, ErrorCode::FENCED_INSTANCE_ID.0);
    let first = world.ask_join(9, of(join("g", &["range"]), &one));
    assert_eq!(world.join_answer(first).members.len(), 2);
    assert_eq!(world.join_answer(after).error_code, 0);
}

#[test]
fn an_absent_static_member_keeps_its_place_in_a_rebalance() {
    let mut world = World::new();
    let token =
        world.ask_join(9, JoinGroupRequest { session_timeout_ms: 120_000, ..static_join("i") });
    let first = world.join_answer(token);
    let token = world.ask_sync(&first.member_id, 1, &[(&first.member_id, "mine")]);
    assert_eq!(world.sync_answer(token).error_code, 0);
    let (two, second) = world.join(join("g", &["range"]));
    world.pass(30_001);
    let answer = world.join_answer(second);
    assert_eq!((answer.generation_id, answer.members.len(), &answer.leader), (2, 2, &two));
}
