//! Two members and a coordinator that is a few lines.

use messages::join_group_response::JoinGroupResponseMember;

use super::*;

fn member(assignor: &str) -> Membership {
    let all = [
        ("bootstrap.servers", "a:1"),
        ("group.id", "g"),
        ("partition.assignment.strategy", assignor),
    ];
    let all = all.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let options = crate::Options::from_properties(&BTreeMap::from(all)).unwrap();
    let mut member = Membership::new("g", "", &options.consumer, 10);
    member.subscribe(&["t".to_owned()]);
    member
}

fn join(member: &mut Membership, now: i64) -> (u64, Box<JoinGroupRequest>, bool) {
    let (commands, _) = member.step(now, true);
    match commands.into_iter().next() {
        Some(Command::Join { attempt, request, revoke }) => (attempt, request, revoke),
        other => panic!("{other:?}"),
    }
}

/// Both members join as `a` (the leader) and `b` in `generation`; what each gets.
fn rebalance(a: &mut Membership, b: &mut Membership, generation: i32) -> [Vec<TopicPartition>; 2] {
    let joins = [join(a, 100), join(b, 100)];
    let members =
        ["a", "b"].into_iter().zip(&joins).map(|(id, (_, request, _))| JoinGroupResponseMember {
            member_id: id.to_owned(),
            metadata: request.protocols[0].metadata.clone(),
            ..Default::default()
        });
    let members: Vec<_> = members.collect();
    let answer = |id: &str, members: Vec<_>| JoinGroupResponse {
        generation_id: generation,
        protocol_name: Some(joins[0].1.protocols[0].name.clone()),
        leader: "a".into(),
        member_id: id.into(),
        members,
        ..Default::default()
    };
    let commands = a.joined(100, joins[0].0, Ok(answer("a", members)));
    assert!(matches!(&commands[..], [Command::Count { .. }]), "{commands:?}");
    let commands = a.lead(joins[0].0, BTreeMap::from([("t".to_owned(), 4)]));
    let Some(Command::Sync { request, .. }) = commands.into_iter().next() else { panic!("sync") };
    let followed = b.joined(100, joins[1].0, Ok(answer("b", vec![])));
    assert!(matches!(&followed[..], [Command::Sync { .. }]), "{followed:?}");
    let mut given = request.assignments.into_iter().map(|one| {
        let (member, attempt) =
            if one.member_id == "a" { (&mut *a, joins[0].0) } else { (&mut *b, joins[1].0) };
        let answer = SyncGroupResponse { assignment: one.assignment, ..Default::default() };
        match member.synced(100, attempt, Ok(answer)).into_iter().next() {
            Some(Command::Assigned(partitions)) => partitions,
            other => panic!("{other:?}"),
        }
    });
    [given.next().unwrap(), given.next().unwrap()]
}

#[test]
fn eager_members_let_go_and_the_leader_assigns() {
    let (mut a, mut b) = (member("range"), member("range"));
    assert!(a.step(0, false).0.is_empty(), "nobody joins behind the application's back");
    let (attempt, request, revoke) = join(&mut a, 0);
    assert!(revoke && request.member_id.is_empty());
    let named = JoinGroupResponse {
        error_code: ErrorCode::MEMBER_ID_REQUIRED.0,
        member_id: "a".into(),
        ..Default::default()
    };
    assert!(a.joined(0, attempt, Ok(named)).is_empty());
    let [first, second] = rebalance(&mut a, &mut b, 1);
    assert_eq!((first.len(), second.len()), (2, 2));
    assert_eq!(a.identity().generation, 1);
    assert!(!a.holds_back());
    // An answer to an attempt that is over changes nothing.
    let late = JoinGroupResponse { error_code: 25, ..Default::default() };
    assert!(a.joined(0, attempt, Ok(late)).is_empty());
    assert_eq!(a.identity().member_id, "a");
}

#[test]
fn cooperative_members_keep_what_they_have_and_come_back_after_giving_up() {
    let mut a = member("cooperative-sticky");
    let (attempt, ..) = join(&mut a, 0);
    let alone = JoinGroupResponse {
        generation_id: 1,
        protocol_name: Some("cooperative-sticky".into()),
        leader: "x".into(),
        member_id: "a".into(),
        ..Default::default()
    };
    a.joined(0, attempt, Ok(alone));
    let all: Vec<_> = (0..4).map(|index| TopicPartition::new("t", index)).collect();
    let answer = SyncGroupResponse { assignment: encode_assignment(&all), ..Default::default() };
    a.synced(0, attempt, Ok(answer));
    assert!(!a.holds_back());
    a.heartbeat(50, &a.identity(), Ok(ErrorCode::REBALANCE_IN_PROGRESS));
    assert!(a.holds_back());
    let mut b = member("cooperative-sticky");
    let [first, second] = rebalance(&mut a, &mut b, 2);
    assert_eq!((first.len(), second.len()), (2, 0));
    assert!(a.holds_back(), "it gave something up, and so joins again");
    b.heartbeat(150, &b.identity(), Ok(ErrorCode::REBALANCE_IN_PROGRESS));
    let [first, second] = rebalance(&mut a, &mut b, 3);
    assert_eq!((first.len(), second.len()), (2, 2));
    assert!(!a.holds_back() && !b.holds_back());
}

#[test]
fn heartbeats_go_on_without_the_application_until_it_is_gone_too_long() {
    let (mut a, mut b) = (member("range"), member("range"));
    rebalance(&mut a, &mut b, 1);
    let (commands, _) = a.step(4_000, false);
    assert_eq!(commands, [Command::Heartbeat]);
    assert!(a.step(4_001, false).0.is_empty(), "one at a time");
    a.heartbeat(4_002, &a.identity(), Ok(ErrorCode::NONE));
    let (commands, _) = a.step(400_000, false);
    let gone = [Command::Leave("a".into()), Command::Assigned(vec![])];
    assert_eq!(commands, gone);
    // Somebody took the partitions meanwhile: start over, under a new id.
    let commands = b.heartbeat(5_000, &b.identity(), Ok(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(commands, [Command::Assigned(vec![])]);
    assert!(join(&mut b, 6_000).1.member_id.is_empty());
}

#[test]
fn what_can_not_be_helped_is_told_once() {
    let mut a = member("range");
    let (attempt, ..) = join(&mut a, 0);
    let code = ErrorCode::GROUP_AUTHORIZATION_FAILED.0;
    a.joined(0, attempt, Ok(JoinGroupResponse { error_code: code, ..Default::default() }));
    assert!(a.step(1_000, true).0.is_empty());
    assert_eq!(a.take_fatal().and_then(|error| error.code()).map(|code| code.0), Some(code));
    assert!(a.take_fatal().is_none());
    let (attempt, ..) = join(&mut a, 2_000);
    // The coordinator moved: ask who it is, and try again a little later.
    let lost = Error::Disconnected { address: "a:1".into(), why: "reset".into() };
    assert_eq!(a.joined(2_000, attempt, Err(lost)), [Command::Forget]);
    assert_eq!(a.step(2_000, true), (vec![], Some(2_010)));
    join(&mut a, 2_010);
}

/// `a` leads alone; what it knows of partitions is `counts`.
fn leads(a: &mut Membership, counts: &[(&str, i32)]) -> Vec<Command> {
    let (attempt, request, _) = join(a, 100);
    let metadata = request.protocols[0].metadata.clone();
    let one = JoinGroupResponseMember { member_id: "a".into(), metadata, ..Default::default() };
    let answer = JoinGroupResponse {
        generation_id: 1,
        protocol_name: Some(request.protocols[0].name.clone()),
        leader: "a".into(),
        member_id: "a".into(),
        members: vec![one],
        ..Default::default()
    };
    a.joined(100, attempt, Ok(answer));
    a.lead(attempt, map(counts));
    let all: Vec<_> = (0..4).map(|index| TopicPartition::new("t", index)).collect();
    let answer = SyncGroupResponse { assignment: encode_assignment(&all), ..Default::default() };
    a.synced(100, attempt, Ok(answer))
}

fn map(counts: &[(&str, i32)]) -> BTreeMap<String, i32> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn eager_member_owns_nothing_under_any_assignor() {
    let mut a = member("range,sticky,cooperative-sticky");
    leads(&mut a, &[("t", 4)]);
    a.heartbeat(150, &a.identity(), Ok(ErrorCode::REBALANCE_IN_PROGRESS));
    let (_, request, revoke) = join(&mut a, 200);
    assert!(revoke);
    for (assignor, owned) in
        [(Assignor::Range, 0), (Assignor::Sticky, 4), (Assignor::CooperativeSticky, 0)]
    {
        let said = request.protocols.iter().find(|one| one.name == assignor.name()).unwrap();
        let said = decode_subscription(&said.metadata, assignor);
        assert_eq!(said.owned.len(), owned, "{assignor:?}");
    }
}

#[test]
fn the_leader_assigns_anew_when_any_topic_of_the_group_comes_goes_or_grows() {
    for (now, again) in [
        (&[("t", 4)][..], false),
        (&[("t", 4), ("own", 9)][..], false),
        (&[("t", 5)][..], true),
        (&[("t", 4), ("late", 1)][..], true),
        (&[][..], true),
    ] {
        let mut a = member("range");
        a.subscribe(&["t".to_owned(), "late".to_owned()]);
        leads(&mut a, &[("t", 4)]);
        assert!(!a.holds_back() && a.watched().contains("late"));
        a.counted(&map(now));
        assert_eq!(a.holds_back(), again, "{now:?}");
    }
}
