//! Situations made by hand: what a node does in them, and what it answers.

use messages::{
    AddRaftVoterRequest, ApiVersionsResponse, BeginQuorumEpochRequest, DescribeQuorumRequest,
    FetchRequest, FetchResponse, FetchSnapshotRequest, RemoveRaftVoterRequest,
    UpdateRaftVoterRequest, VoteRequest, add_raft_voter_request, api_versions_response,
    describe_quorum_request, fetch_response, fetch_snapshot_request, update_raft_voter_request,
};
use raft::{
    AskError, Config, Effect, Event, Request, Response, Restored, RoleKind, SnapshotId, VoterSet,
};
use wire::{Bytes, ErrorCode, Uuid};

use crate::hand::*;
use crate::node::Batch;

#[test]
fn a_lone_voter_leads_after_one_store_and_commits_after_one_flush() {
    let mut hand = Hand::fixed(1, Restored::default());
    let [Effect::Became { .. }, Effect::Store { number, data, version: 0 }] = &hand.take()[..]
    else {
        panic!("first a store and nothing else")
    };
    assert_eq!((data.leader_id, data.leader_epoch, data.voted_id), (1, 1, 1));
    hand.step(Event::Stored { number: *number });
    let [Effect::AppendControl { batch, end: 1 }, Effect::Became { role, epoch: 1, .. }] =
        &hand.take()[..]
    else {
        panic!("the epoch begins with a batch")
    };
    assert_eq!((*role, hand.raft.leading()), (RoleKind::Leader, Some(1)));
    assert_eq!(Batch::parse(batch.clone()).epoch, 1);
    hand.step(Event::Flushed { end: 1 });
    assert!(matches!(hand.take()[..], [Effect::Committed { high_watermark: 1 }]));
    hand.step(Event::Appended { epoch: 1, end: 5 });
    assert_eq!((hand.take().len(), hand.raft.committed()), (0, 1), "nothing is flushed yet");
    hand.step(Event::Flushed { end: 5 });
    assert_eq!(hand.raft.committed(), 5);
    assert_eq!(hand.raft.next_deadline_ms(), None, "a lone voter needs no clock");
}

#[test]
fn a_lone_voter_that_restarts_leads_the_next_epoch() {
    let mut hand = Hand::fixed(1, Restored::default());
    let Some(Effect::Store { data, .. }) = hand.take().pop() else { panic!("no store") };
    let restored = Restored {
        quorum_state: Some(data),
        log_end: 5,
        flushed: 3,
        epochs: vec![(1, 0)],
        ..Default::default()
    };
    let mut hand = Hand::fixed(1, restored);
    assert!(hand.take().iter().any(|effect| match effect {
        Effect::Store { data, .. } => data.leader_epoch == 2 && data.leader_id == 1,
        _ => false,
    }));
    hand.step(Event::Stored { number: 1 });
    assert_eq!((hand.raft.leading(), hand.raft.log_end()), (Some(2), 6));
    hand.step(Event::Flushed { end: 5 });
    assert_eq!(hand.raft.committed(), 0, "nothing of the new epoch is flushed");
    hand.step(Event::Flushed { end: 6 });
    assert_eq!(hand.raft.committed(), 6);
}

#[test]
fn the_first_leader_writes_the_voters_of_the_format_into_the_log_and_later_ones_do_not() {
    let mut hand = Hand::formatted(1);
    hand.step(Event::Stored { number: 1 });
    let batch = hand.take().into_iter().find_map(|effect| match effect {
        Effect::AppendControl { batch, .. } => Some(Batch::parse(batch)),
        _ => None,
    });
    let batch = batch.unwrap();
    let set = VoterSet::new([voter(1, directory(1))]);
    assert_eq!(
        (batch.end, batch.kraft_version, batch.voters),
        (3, Some((1, 1)), Some((2, set.clone())))
    );
    let config = Config::new(1, directory(1), "ours".into());
    let restored = Restored {
        log_end: 3,
        flushed: 3,
        epochs: vec![(1, 0)],
        kraft_versions: vec![(1, 1)],
        voters: vec![(2, set)],
        ..Default::default()
    };
    let mut hand = Hand::start(config, restored, false);
    hand.step(Event::Stored { number: 1 });
    assert_eq!(hand.raft.log_end(), 4, "LEADER_CHANGE alone");
}

#[test]
fn a_vote_is_given_once_an_epoch_and_answered_when_it_is_stored() {
    let mut hand = Hand::fixed(3, Restored::default());
    hand.prompt = false;
    let ticket = hand.request(2, Request::Vote(ask_vote(2, 4, 0, 0)));
    assert!(hand.answer_to(ticket).is_none());
    let stored = hand.take().into_iter().find_map(|effect| match effect {
        Effect::Store { number, data, .. } => Some((number, data.leader_epoch, data.voted_id)),
        _ => None,
    });
    let (number, epoch, voted) = stored.unwrap();
    assert_eq!((epoch, voted), (4, 2));
    hand.step(Event::Stored { number });
    let Some(Response::Vote(answer)) = hand.answer_to(ticket) else { panic!("no answer") };
    assert!(answer.topics[0].partitions[0].vote_granted);
    hand.prompt = true;
    assert_eq!(hand.vote(ask_vote(3, 4, 0, 9)), (ErrorCode::NONE, false));
    assert_eq!(hand.vote(ask_vote(2, 4, 0, 0)), (ErrorCode::NONE, true), "it is repeated");
    assert_eq!(hand.vote(ask_vote(3, 5, 0, 0)), (ErrorCode::NONE, true), "another epoch");
}

#[test]
fn votes_are_refused_as_apache_kafka_refuses_them() {
    let restored =
        Restored { log_end: 10, flushed: 10, epochs: vec![(2, 0)], ..Default::default() };
    let mut hand = Hand::fixed(3, restored);
    let foreign = VoteRequest { cluster_id: Some("other".into()), ..ask_vote(2, 9, 2, 10) };
    assert_eq!(hand.vote(foreign), (ErrorCode::INCONSISTENT_CLUSTER_ID, false));
    let mut topic = ask_vote(2, 9, 2, 10);
    topic.topics[0].topic_name = "topic".into();
    assert_eq!(hand.vote(topic), (ErrorCode::INVALID_REQUEST, false));
    assert_eq!(hand.vote(ask_vote(2, 9, 9, 10)), (ErrorCode::INVALID_REQUEST, false));
    assert_eq!(hand.vote(ask_vote(2, 9, 2, -1)), (ErrorCode::INVALID_REQUEST, false));
    assert_eq!(hand.vote(ask_vote(2, 1, 0, 10)), (ErrorCode::FENCED_LEADER_EPOCH, false));
    assert_eq!(hand.vote(ask_vote(-1, 9, 2, 10)), (ErrorCode::INVALID_REQUEST, false));
    assert_eq!(hand.raft.epoch(), 2, "nothing of it counted");
    let mut other = ask_vote(2, 9, 2, 10);
    other.topics[0].partitions[0].voter_directory_id = Uuid(7);
    assert_eq!(hand.vote(other), (ErrorCode::INVALID_VOTER_KEY, false));
    assert_eq!(hand.vote(ask_vote(2, 9, 2, 9)), (ErrorCode::NONE, false), "a shorter log");
    assert_eq!(hand.vote(ask_vote(2, 9, 1, 99)), (ErrorCode::NONE, false), "an older log");
    assert_eq!(hand.vote(ask_vote(2, 9, 2, 10)), (ErrorCode::NONE, true));
}

#[test]
fn a_promise_costs_nothing_and_a_loyal_follower_makes_none() {
    let mut hand = Hand::fixed(3, Restored::default());
    assert_eq!(hand.vote(pre_vote(ask_vote(2, 0, 0, 0))), (ErrorCode::NONE, true));
    assert_eq!(hand.vote(pre_vote(ask_vote(3, 0, 0, 0))), (ErrorCode::NONE, true));
    assert_eq!(hand.raft.epoch(), 0);
    hand.follow(4);
    assert_eq!(hand.vote(pre_vote(ask_vote(3, 4, 0, 0))), (ErrorCode::NONE, true));
    hand.receive(|_| {});
    assert_eq!(hand.vote(pre_vote(ask_vote(3, 4, 0, 0))), (ErrorCode::NONE, false));
    assert_eq!(hand.vote(ask_vote(3, 4, 0, 0)), (ErrorCode::NONE, false), "the epoch has a leader");
}

#[test]
fn an_election_asks_for_promises_first_and_goes_on_without_where_they_are_unknown() {
    let mut hand = Hand::fixed(3, Restored::default());
    hand.wait_for(RoleKind::Prospective);
    let asked = hand.asked();
    let pre = |request: &Request| match request {
        Request::Vote(vote) => vote.topics[0].partitions[0].pre_vote,
        _ => false,
    };
    assert_eq!(asked.iter().filter(|(.., request)| pre(request)).count(), 2);
    assert_eq!(hand.raft.epoch(), 0);
    let outcome = Err(AskError::UnsupportedVersion);
    hand.step(Event::Answered { number: asked[0].1, outcome });
    assert_eq!((hand.raft.role(), hand.raft.epoch()), (RoleKind::Candidate, 1));
    let asked = hand.asked();
    assert!(asked.len() == 2 && asked.iter().all(|(.., request)| !pre(request)));
    for (_, number, _) in asked {
        hand.answered(number, Response::Vote(vote_answer(1, None, false)));
    }
    assert_eq!(hand.raft.role(), RoleKind::Candidate, "it waits before it tries again");
    hand.wait_for(RoleKind::Prospective);
}

#[test]
fn who_loses_the_promises_follows_its_leader_again() {
    let mut hand = Hand::fixed(3, Restored::default());
    hand.follow(4);
    hand.wait_for(RoleKind::Prospective);
    for (_, number, _) in hand.asked() {
        hand.answered(number, Response::Vote(vote_answer(4, Some(2), false)));
    }
    assert_eq!((hand.raft.role(), hand.raft.epoch()), (RoleKind::Follower, 4));
}

#[test]
fn a_leader_commits_what_a_majority_flushed_from_its_own_epoch_on() {
    let restored =
        Restored { log_end: 10, flushed: 10, epochs: vec![(2, 0)], ..Default::default() };
    let mut hand = Hand::fixed(3, restored);
    hand.lead();
    let epoch = hand.raft.epoch();
    let answer = hand.fetch(fetch(2, epoch, 10, 2)).unwrap();
    let partition = &answer.responses[0].partitions[0];
    assert_eq!((partition.high_watermark, hand.raft.committed()), (-1, 0), "of an older epoch");
    assert_eq!(partition.current_leader.leader_id, 1);
    let waiting = hand.request(18, Request::Fetch(fetch(3, epoch, 11, epoch)));
    assert_eq!(hand.raft.committed(), 11);
    assert!(hand.fetched(waiting).is_none(), "it asked to wait");
    hand.step(Event::Appended { epoch, end: 12 });
    assert!(hand.fetched(waiting).is_some(), "there is something now");
    hand.fetch(fetch(3, epoch, 12, epoch));
    assert_eq!(hand.raft.committed(), 11, "the leader hasn't flushed it");
    hand.step(Event::Flushed { end: 12 });
    assert_eq!(hand.raft.committed(), 12);
}

#[test]
fn a_fetch_waits_for_records_for_a_new_high_watermark_or_for_its_time() {
    let mut hand = Hand::fixed(3, Restored::default());
    hand.lead();
    let epoch = hand.raft.epoch();
    let mut knowing = fetch(9, epoch, 1, epoch);
    knowing.topics[0].partitions[0].high_watermark = 0;
    let observer = hand.request(18, Request::Fetch(knowing));
    assert!(hand.fetched(observer).is_none());
    let voter = hand.request(18, Request::Fetch(fetch(2, epoch, 1, epoch)));
    let news = hand.fetched(observer).expect("the high watermark is news");
    assert_eq!(news.responses[0].partitions[0].high_watermark, 1);
    assert!(hand.fetched(voter).is_none(), "it can't say what it knows");
    let again = hand.request(18, Request::Fetch(fetch(2, epoch, 1, epoch)));
    assert!(hand.fetched(voter).is_some(), "a replica waits once");
    hand.pass(499);
    assert!(hand.fetched(again).is_none());
    hand.pass(1);
    assert_eq!(error_of(&hand.fetched(again).unwrap()), ErrorCode::NONE);
}

#[test]
fn fetches_are_refused_as_apache_kafka_refuses_them() {
    let mut hand = Hand::fixed(3, Restored::default());
    let code = |hand: &mut Hand, request| error_of(&hand.fetch(request).unwrap());
    assert_eq!(code(&mut hand, fetch(2, 0, 0, 0)), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    hand.lead();
    let epoch = hand.raft.epoch();
    assert_eq!(code(&mut hand, fetch(2, epoch - 1, 0, 0)), ErrorCode::FENCED_LEADER_EPOCH);
    assert_eq!(code(&mut hand, fetch(2, epoch + 1, 0, 0)), ErrorCode::UNKNOWN_LEADER_EPOCH);
    assert_eq!(code(&mut hand, fetch(2, epoch, -1, 0)), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(&mut hand, fetch(2, epoch, 0, epoch + 1)), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(&mut hand, fetch(1, epoch, 0, 0)), ErrorCode::INVALID_REQUEST);
    let foreign = FetchRequest { cluster_id: Some("x".into()), ..fetch(2, epoch, 0, 0) };
    assert_eq!(code(&mut hand, foreign), ErrorCode::INCONSISTENT_CLUSTER_ID);
    let nothing = FetchRequest { topics: Vec::new(), ..fetch(2, epoch, 0, 0) };
    assert_eq!(code(&mut hand, nothing), ErrorCode::INVALID_REQUEST);
    let diverging = hand.fetch(fetch(2, epoch, 8, 0)).unwrap();
    let said = &diverging.responses[0].partitions[0].diverging_epoch;
    assert_eq!((said.epoch, said.end_offset), (0, 0));
}

#[test]
fn snapshots_are_offered_and_served_but_for_the_bootstrap_snapshot() {
    let mut hand = Hand::formatted(3);
    hand.lead();
    let epoch = hand.raft.epoch();
    hand.fetch(fetch(2, epoch, 3, epoch));
    assert_eq!(hand.raft.committed(), 3);
    let ask = |end_offset, snapshot_epoch, position| {
        let partition = fetch_snapshot_request::PartitionSnapshot {
            current_leader_epoch: epoch,
            snapshot_id: fetch_snapshot_request::SnapshotId {
                end_offset,
                epoch: snapshot_epoch,
                ..Default::default()
            },
            position,
            ..Default::default()
        };
        let topic = fetch_snapshot_request::TopicSnapshot {
            name: TOPIC.into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let (replica_id, max_bytes) = (2, 10);
        FetchSnapshotRequest { replica_id, max_bytes, topics: vec![topic], ..Default::default() }
    };
    let code = |hand: &mut Hand, request| {
        let ticket = hand.request(1, Request::FetchSnapshot(request));
        match hand.answer_to(ticket) {
            Some(Response::FetchSnapshot(it)) => ErrorCode(it.topics[0].partitions[0].error_code),
            _ => ErrorCode::NONE,
        }
    };
    assert_eq!(code(&mut hand, ask(0, 0, 0)), ErrorCode::SNAPSHOT_NOT_FOUND);
    assert_eq!(code(&mut hand, ask(3, epoch, 0)), ErrorCode::SNAPSHOT_NOT_FOUND);
    let id = SnapshotId { end_offset: 3, epoch };
    hand.step(Event::SnapshotTaken { id, bytes: 50 });
    assert_eq!(code(&mut hand, ask(3, epoch, 50)), ErrorCode::POSITION_OUT_OF_RANGE);
    hand.take();
    assert_eq!(code(&mut hand, ask(3, epoch, 40)), ErrorCode::NONE);
    let served = hand.take().into_iter().any(|effect| match effect {
        Effect::ServeSnapshot { id: served, position: 40, max_bytes: 10, response, .. } => {
            served == id && response.topics[0].partitions[0].size == 50
        }
        _ => false,
    });
    assert!(served);
    let offered = hand.fetch(fetch(3, epoch, 0, 0)).unwrap();
    let said = &offered.responses[0].partitions[0].snapshot_id;
    assert_eq!((said.end_offset, said.epoch), (3, epoch));
}

#[test]
fn a_leader_without_its_majority_resigns_and_leaves_the_epoch() {
    let mut hand = Hand::fixed(3, Restored::default());
    hand.lead();
    let epoch = hand.raft.epoch();
    hand.pass(2_900);
    assert_eq!(hand.raft.role(), RoleKind::Leader);
    hand.fetch(fetch(3, epoch, 0, 0));
    let waiting = hand.request(18, Request::Fetch(fetch(3, epoch, 1, epoch)));
    hand.take();
    hand.pass(3_100);
    assert_eq!(hand.raft.role(), RoleKind::Resigned);
    assert!(hand.out.iter().any(|effect| matches!(
        effect,
        Effect::Answer { ticket, response: Response::Fetch(it) }
            if *ticket == waiting && error_of(it) == ErrorCode::NOT_LEADER_OR_FOLLOWER
    )));
    let successors = hand.asked().into_iter().find_map(|(_, _, request)| match request {
        Request::EndQuorumEpoch(it) => {
            Some(it.topics[0].partitions[0].preferred_successors.clone())
        }
        _ => None,
    });
    assert_eq!(successors, Some(vec![3, 2]), "the most caught up first");
    assert_eq!(hand.vote(ask_vote(3, epoch, 0, 99)), (ErrorCode::NONE, false));
    hand.wait_for(RoleKind::Unattached);
    assert_eq!(hand.raft.epoch(), epoch + 1);
}

#[test]
fn the_first_successor_stands_at_once_and_the_others_later() {
    let mut first = Hand::fixed(3, Restored::default());
    first.follow(4);
    first.request(1, Request::EndQuorumEpoch(end(2, 4, &[1, 3])));
    assert_eq!(first.raft.role(), RoleKind::Prospective);
    let mut second = Hand::fixed(3, Restored::default());
    second.follow(4);
    second.request(1, Request::EndQuorumEpoch(end(2, 4, &[3, 1])));
    assert_eq!(second.raft.role(), RoleKind::Follower);
    second.pass(500);
    assert_eq!(second.raft.role(), RoleKind::Prospective);
}

#[test]
fn leaders_of_old_epochs_and_second_leaders_are_refused() {
    let mut hand = Hand::fixed(3, Restored::default());
    hand.follow(4);
    let code = |hand: &mut Hand, request| {
        let ticket = hand.request(1, Request::BeginQuorumEpoch(request));
        let Some(Response::BeginQuorumEpoch(it)) = hand.answer_to(ticket) else { panic!() };
        let partition = it.topics.first().map(|topic| topic.partitions[0].error_code);
        ErrorCode(partition.unwrap_or(it.error_code))
    };
    assert_eq!(code(&mut hand, begin(3, 3)), ErrorCode::FENCED_LEADER_EPOCH);
    assert_eq!(code(&mut hand, begin(3, 4)), ErrorCode::INVALID_REQUEST);
    assert_eq!(hand.raft.leader_id(), Some(2));
    let mut other = begin(3, 5);
    other.topics[0].partitions[0].voter_directory_id = Uuid(7);
    assert_eq!(code(&mut hand, other), ErrorCode::INVALID_VOTER_KEY);
    let foreign = BeginQuorumEpochRequest { cluster_id: Some("x".into()), ..begin(2, 9) };
    assert_eq!(code(&mut hand, foreign), ErrorCode::INCONSISTENT_CLUSTER_ID);
}

#[test]
fn a_follower_asks_for_more_when_it_has_flushed_and_commits_what_it_has() {
    let mut hand = Hand::fixed(3, Restored::default());
    hand.follow(4);
    hand.receive(|partition| {
        partition.records = Some(records(0, 4, 3));
        partition.high_watermark = 9;
    });
    let effects = hand.take();
    assert!(matches!(
        effects[..],
        [Effect::AppendFetched { end: 3, .. }, Effect::Committed { high_watermark: 3 }]
    ));
    hand.step(Event::Flushed { end: 3 });
    let asked = hand.asked();
    let Some((2, _, Request::Fetch(next))) = asked.first() else { panic!("no fetch") };
    let partition = &next.topics[0].partitions[0];
    assert_eq!((partition.fetch_offset, partition.last_fetched_epoch), (3, 4));
}

#[test]
fn a_follower_truncates_to_the_end_of_the_epoch_and_never_below_the_high_watermark() {
    let restored = || Restored {
        log_end: 10,
        flushed: 10,
        epochs: vec![(1, 0), (2, 4)],
        ..Default::default()
    };
    let mut hand = Hand::fixed(3, restored());
    hand.follow(4);
    hand.receive(|partition| {
        partition.diverging_epoch.epoch = 1;
        partition.diverging_epoch.end_offset = 6;
    });
    assert!(hand.out.iter().any(|effect| matches!(effect, Effect::Truncate { to: 4 })));
    assert_eq!(hand.raft.log_end(), 4);
    let mut hand = Hand::fixed(3, restored());
    hand.follow(4);
    hand.receive(|partition| partition.high_watermark = 8);
    hand.receive(|partition| {
        partition.diverging_epoch.epoch = 1;
        partition.diverging_epoch.end_offset = 4;
    });
    assert!(matches!(&hand.out[..], [Effect::Halt { reason }] if reason.contains("watermark 8")));
    assert_eq!(hand.raft.next_deadline_ms(), None);
}

#[test]
fn rubbish_from_a_leader_is_not_appended() {
    let mut hand = Hand::fixed(3, Restored::default());
    hand.follow(4);
    let cut = records(0, 4, 1).slice(..65);
    for rubbish in [records(7, 4, 1), records(0, 5, 1), Bytes::from(vec![0; 200]), cut] {
        hand.receive(|partition| partition.records = Some(rubbish));
        assert!(hand.take().is_empty());
        assert_eq!(hand.raft.log_end(), 0);
        assert!(hand.raft.last_refusal().is_some());
        hand.pass(20);
    }
}

/// What AddRaftVoter and its relatives answer.
fn change_code(response: Option<Response>) -> Option<ErrorCode> {
    match response? {
        Response::AddVoter(it) => Some(ErrorCode(it.error_code)),
        Response::RemoveVoter(it) => Some(ErrorCode(it.error_code)),
        Response::UpdateVoter(it) => Some(ErrorCode(it.error_code)),
        _ => None,
    }
}

fn add(id: i32) -> Request {
    let listener = add_raft_voter_request::Listener {
        name: "CONTROLLER".into(),
        host: "n".into(),
        port: id as u16,
        ..Default::default()
    };
    Request::AddVoter(AddRaftVoterRequest {
        cluster_id: Some("ours".into()),
        voter_id: id,
        voter_directory_id: directory(id),
        listeners: vec![listener],
        ..Default::default()
    })
}

fn remove(id: i32, directory_id: Uuid) -> Request {
    Request::RemoveVoter(RemoveRaftVoterRequest {
        cluster_id: Some("ours".into()),
        voter_id: id,
        voter_directory_id: directory_id,
        ..Default::default()
    })
}

fn change(hand: &mut Hand, request: Request) -> Option<ErrorCode> {
    let ticket = hand.request(1, request);
    change_code(hand.answer_to(ticket))
}

#[test]
fn voter_changes_are_refused_as_apache_kafka_refuses_them() {
    let mut fixed = Hand::fixed(3, Restored::default());
    assert_eq!(change(&mut fixed, add(4)), Some(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    fixed.lead();
    assert_eq!(change(&mut fixed, add(4)), Some(ErrorCode::REQUEST_TIMED_OUT), "no mark yet");
    let epoch = fixed.raft.epoch();
    fixed.fetch(fetch(2, epoch, 1, epoch));
    assert_eq!(change(&mut fixed, add(4)), Some(ErrorCode::UNSUPPORTED_VERSION));
    let mut hand = Hand::formatted(3);
    hand.lead();
    let epoch = hand.raft.epoch();
    hand.fetch(fetch(2, epoch, 3, epoch));
    let foreign = match add(4) {
        Request::AddVoter(it) => AddRaftVoterRequest { cluster_id: Some("x".into()), ..it },
        _ => panic!(),
    };
    let foreign = Request::AddVoter(foreign);
    assert_eq!(change(&mut hand, foreign), Some(ErrorCode::INCONSISTENT_CLUSTER_ID));
    assert_eq!(change(&mut hand, add(-1)), Some(ErrorCode::INVALID_REQUEST));
    assert_eq!(change(&mut hand, add(3)), Some(ErrorCode::DUPLICATE_VOTER));
    assert_eq!(change(&mut hand, remove(3, Uuid(7))), Some(ErrorCode::VOTER_NOT_FOUND));
    assert_eq!(change(&mut hand, remove(3, Uuid::ZERO)), Some(ErrorCode::INVALID_REQUEST));
    assert_eq!(change(&mut hand, remove(3, directory(3))), None, "it waits to be committed");
    assert_eq!(hand.raft.history().voters().count(), 2, "but is in force");
    assert_eq!(change(&mut hand, add(4)), Some(ErrorCode::REQUEST_TIMED_OUT), "one at a time");
    let mut alone = Hand::formatted(1);
    alone.prompt = true;
    alone.settle();
    alone.step(Event::Flushed { end: 3 });
    assert_eq!(change(&mut alone, remove(1, directory(1))), Some(ErrorCode::INVALID_REQUEST));
}

#[test]
fn a_voter_is_added_after_it_was_asked_and_answered_when_that_is_committed() {
    let mut hand = Hand::formatted(1);
    hand.prompt = true;
    hand.settle();
    hand.step(Event::Flushed { end: 3 });
    let epoch = hand.raft.epoch();
    let probe = |hand: &mut Hand| {
        hand.take();
        let ticket = hand.request(1, add(2));
        let asked = hand.asked();
        let Some((2, number, Request::ApiVersions(_))) = asked.first() else { panic!("no probe") };
        let feature = api_versions_response::SupportedFeatureKey {
            name: "kraft.version".into(),
            max_version: 1,
            ..Default::default()
        };
        let supported_features = vec![feature];
        let body = ApiVersionsResponse { supported_features, ..Default::default() };
        hand.answered(*number, Response::ApiVersions(body));
        ticket
    };
    let ticket = probe(&mut hand);
    let answer = hand.answer_to(ticket);
    assert_eq!(change_code(answer), Some(ErrorCode::REQUEST_TIMED_OUT), "it is lagging");
    hand.fetch(fetch(2, epoch, 3, epoch));
    let ticket = probe(&mut hand);
    assert!(hand.answer_to(ticket).is_none());
    assert_eq!((hand.raft.history().voters().count(), hand.raft.log_end()), (2, 4));
    hand.step(Event::Flushed { end: 4 });
    assert_eq!(hand.raft.committed(), 3, "two voters, one of them has it");
    hand.fetch(fetch(2, epoch, 4, epoch));
    assert_eq!(change_code(hand.answer_to(ticket)), Some(ErrorCode::NONE));
}

#[test]
fn a_leader_that_is_removed_resigns_when_that_is_committed() {
    let mut hand = Hand::formatted(3);
    hand.lead();
    let epoch = hand.raft.epoch();
    hand.fetch(fetch(2, epoch, 3, epoch));
    assert_eq!(change(&mut hand, remove(1, directory(1))), None);
    let ticket = hand.next_ticket;
    hand.step(Event::Flushed { end: 4 });
    hand.fetch(fetch(2, epoch, 4, epoch));
    assert_eq!(hand.raft.committed(), 3, "the leader doesn't count");
    hand.fetch(fetch(3, epoch, 4, epoch));
    assert_eq!(hand.raft.committed(), 4);
    assert_eq!(change_code(hand.answer_to(ticket)), Some(ErrorCode::NONE));
    assert_eq!(hand.raft.role(), RoleKind::Resigned);
    hand.wait_for(RoleKind::Unattached);
    assert_eq!(hand.raft.epoch(), epoch + 1);
}

#[test]
fn endpoints_are_updated_in_the_log() {
    let mut hand = Hand::formatted(3);
    hand.lead();
    let epoch = hand.raft.epoch();
    hand.fetch(fetch(2, epoch, 3, epoch));
    let update = |id: i32, name: &str| {
        let listener = update_raft_voter_request::Listener {
            name: name.into(),
            host: "elsewhere".into(),
            port: 7,
            ..Default::default()
        };
        let range = update_raft_voter_request::KRaftVersionFeature {
            max_supported_version: 1,
            ..Default::default()
        };
        Request::UpdateVoter(UpdateRaftVoterRequest {
            cluster_id: Some("ours".into()),
            current_leader_epoch: epoch,
            voter_id: id,
            voter_directory_id: directory(id),
            listeners: vec![listener],
            k_raft_version_feature: range,
            ..Default::default()
        })
    };
    assert_eq!(change(&mut hand, update(2, "OTHER")), Some(ErrorCode::INVALID_REQUEST));
    assert_eq!(change(&mut hand, update(9, "CONTROLLER")), Some(ErrorCode::VOTER_NOT_FOUND));
    assert_eq!(change(&mut hand, update(2, "CONTROLLER")), Some(ErrorCode::NONE));
    let known = hand.raft.history().voters().get(2).unwrap().endpoints[0].clone();
    assert_eq!((known.host.as_str(), known.port), ("elsewhere", 7));
    assert_eq!(change(&mut hand, update(3, "CONTROLLER")), Some(ErrorCode::REQUEST_TIMED_OUT));
}

#[test]
fn only_the_leader_describes_the_quorum() {
    let mut hand = Hand::fixed(3, Restored::default());
    let describe = |hand: &mut Hand, version: i16, name: &str| {
        let topic = describe_quorum_request::TopicData {
            topic_name: name.into(),
            partitions: vec![Default::default()],
            ..Default::default()
        };
        let request = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
        let ticket = hand.request(version, Request::DescribeQuorum(request));
        let Some(Response::DescribeQuorum(it)) = hand.answer_to(ticket) else { panic!() };
        it
    };
    let code =
        |it: messages::DescribeQuorumResponse| ErrorCode(it.topics[0].partitions[0].error_code);
    assert_eq!(code(describe(&mut hand, 2, TOPIC)), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(code(describe(&mut hand, 2, "t")), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    hand.lead();
    let epoch = hand.raft.epoch();
    hand.fetch(fetch(2, epoch, 1, epoch));
    hand.fetch(fetch(9, epoch, 0, 0));
    for version in 0..=2 {
        let described = describe(&mut hand, version, TOPIC);
        let partition = &described.topics[0].partitions[0];
        assert_eq!((partition.leader_id, partition.high_watermark), (1, 1));
        let ends: Vec<_> = partition.current_voters.iter().map(|it| it.log_end_offset).collect();
        assert_eq!(ends, [1, 1, -1]);
        assert_eq!(partition.observers[0].replica_id, 9);
        assert_eq!(described.nodes.len(), if version < 2 { 0 } else { 3 });
        messages::Message::to_bytes(&described, version).unwrap();
    }
}

#[test]
fn a_node_that_stops_hands_over_first() {
    let mut hand = Hand::fixed(3, Restored::default());
    hand.lead();
    hand.take();
    hand.step(Event::Stopping);
    assert_eq!(hand.raft.role(), RoleKind::Resigned);
    let stopped = |effect: &Effect| matches!(effect, Effect::Stopped);
    assert!(!hand.out.iter().any(stopped));
    hand.follow(9);
    assert!(hand.out.iter().any(stopped));
    let mut alone = Hand::fixed(1, Restored::default());
    alone.step(Event::Stopping);
    assert!(alone.out.iter().any(stopped));
    assert_eq!(alone.raft.next_deadline_ms(), None);
}

#[test]
fn an_observer_finds_the_leader_by_asking_and_never_stands() {
    let mut config = Config::new(1, directory(1), "ours".into());
    config.bootstrap_servers = vec![("n".into(), 2)];
    let mut hand = Hand::start(config, Restored::default(), true);
    let asked = hand.asked();
    let Some((-2, number, Request::Fetch(_))) = asked.first() else { panic!("no fetch") };
    let mut partition = fetch_response::PartitionData {
        error_code: ErrorCode::FENCED_LEADER_EPOCH.0,
        ..Default::default()
    };
    partition.current_leader.leader_id = 2;
    partition.current_leader.leader_epoch = 6;
    let topic = fetch_response::FetchableTopicResponse {
        topic_id: Uuid::ONE,
        partitions: vec![partition],
        ..Default::default()
    };
    let node = fetch_response::NodeEndpoint {
        node_id: 2,
        host: "n".into(),
        port: 2,
        ..Default::default()
    };
    let body =
        FetchResponse { responses: vec![topic], node_endpoints: vec![node], ..Default::default() };
    hand.answered(*number, Response::Fetch(body));
    assert_eq!((hand.raft.role(), hand.raft.epoch()), (RoleKind::Follower, 6));
    let asked = hand.asked();
    assert!(matches!(asked.first(), Some((2, _, Request::Fetch(_)))));
    for _ in 0..50 {
        hand.pass(400);
    }
    assert_eq!((hand.raft.role(), hand.raft.epoch()), (RoleKind::Follower, 6));
}

#[test]
fn a_snapshot_is_downloaded_in_pieces_and_replaces_the_log() {
    let mut hand = Hand::fixed(3, Restored::default());
    hand.follow(4);
    hand.receive(|partition| {
        partition.snapshot_id.end_offset = 30;
        partition.snapshot_id.epoch = 3;
    });
    let id = SnapshotId { end_offset: 30, epoch: 3 };
    for (position, bytes) in [(0, vec![1; 6]), (6, vec![2; 4])] {
        let asked = hand.asked();
        let Some((2, number, Request::FetchSnapshot(it))) = asked.first() else { panic!() };
        assert_eq!(it.topics[0].partitions[0].position, position);
        let mut partition = messages::fetch_snapshot_response::PartitionSnapshot {
            size: 10,
            position,
            unaligned_records: bytes.into(),
            ..Default::default()
        };
        partition.snapshot_id.end_offset = 30;
        partition.snapshot_id.epoch = 3;
        partition.current_leader.leader_id = 2;
        partition.current_leader.leader_epoch = 4;
        let topic = messages::fetch_snapshot_response::TopicSnapshot {
            name: TOPIC.into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let body = messages::FetchSnapshotResponse { topics: vec![topic], ..Default::default() };
        hand.answered(*number, Response::FetchSnapshot(body));
    }
    assert!(
        hand.out.iter().any(|it| matches!(it, Effect::InstallSnapshot { id: it } if *it == id))
    );
    assert_eq!(hand.vote(ask_vote(3, 9, 3, 99)), (ErrorCode::NONE, false), "it is busy");
    hand.take();
    hand.step(Event::SnapshotInstalled { id, bytes: 10, kraft_version: 0, voters: None });
    assert_eq!((hand.raft.log_end(), hand.raft.committed()), (30, 30));
    assert_eq!(hand.vote(ask_vote(3, 9, 3, 29)), (ErrorCode::NONE, false), "a shorter log");
    assert_eq!(hand.vote(ask_vote(3, 9, 3, 30)), (ErrorCode::NONE, true));
}

#[test]
fn a_log_that_contradicts_its_snapshot_is_replaced_before_anything_else() {
    let id = SnapshotId { end_offset: 5, epoch: 2 };
    let restored = Restored {
        log_end: 11,
        flushed: 11,
        epochs: vec![(1, 0)],
        snapshots: vec![(id, 50)],
        ..Default::default()
    };
    let mut hand = Hand::fixed(3, restored);
    assert!(
        hand.out.iter().any(|it| matches!(it, Effect::InstallSnapshot { id: it } if *it == id))
    );
    assert_eq!((hand.raft.committed(), hand.raft.epoch()), (0, 2));
    hand.step(Event::SnapshotInstalled { id, bytes: 50, kraft_version: 0, voters: None });
    assert_eq!((hand.raft.log_end(), hand.raft.committed()), (5, 5));
}

#[test]
fn a_voter_tells_the_leader_of_endpoints_that_the_log_has_wrong() {
    let told = |hand: &mut Hand| {
        hand.follow(4);
        hand.take();
        hand.wait_for(RoleKind::Follower);
        let mut told = 0;
        for _ in 0..30 {
            hand.pass(300);
            for (_, number, request) in hand.asked() {
                if let Request::UpdateVoter(it) = &request {
                    assert_eq!((it.voter_id, it.listeners[0].port), (1, 1));
                    told += 1;
                    let body = messages::UpdateRaftVoterResponse::default();
                    hand.answered(number, Response::UpdateVoter(body));
                } else if let Request::Fetch(_) = request {
                    hand.answered(number, Response::Fetch(empty_fetch(4)));
                }
            }
        }
        assert_eq!(hand.raft.role(), RoleKind::Follower);
        told
    };
    assert_eq!(told(&mut Hand::formatted(3)), 0);
    assert_eq!(told(&mut Hand::fixed(3, Restored::default())), 1, "the log can't say");
    let mut moved = voter(1, directory(1));
    moved.endpoints[0].port = 99;
    let set = VoterSet::new([moved, voter(2, directory(2)), voter(3, directory(3))]);
    let restored =
        Restored { kraft_versions: vec![(-1, 1)], voters: vec![(-1, set)], ..Default::default() };
    let config = Config::new(1, directory(1), "ours".into());
    assert!(told(&mut Hand::start(config, restored, true)) > 1, "until the log has it right");
}

#[test]
fn a_removed_voter_stands_for_the_log_that_only_it_has() {
    let set = VoterSet::new([voter(1, directory(1)), voter(2, directory(2))]);
    let without = VoterSet::new([voter(2, directory(2))]);
    let restored = Restored {
        log_end: 4,
        flushed: 4,
        epochs: vec![(1, 0)],
        kraft_versions: vec![(1, 1)],
        voters: vec![(2, set), (3, without)],
        ..Default::default()
    };
    let mut hand = Hand::start(Config::new(1, directory(1), "ours".into()), restored, true);
    hand.wait_for(RoleKind::Prospective);
    assert_eq!(hand.raft.epoch(), 1, "its own promise isn't enough");
    hand.lead();
    let epoch = hand.raft.epoch();
    hand.fetch(fetch(2, epoch, 5, epoch));
    assert_eq!((hand.raft.committed(), hand.raft.role()), (5, RoleKind::Resigned));
    assert_eq!(hand.raft.leader_id(), Some(1));
    hand.wait_for(RoleKind::Unattached);
}
