//! The log: when answers leave, what is read back, what a failure does.

use coordinator::{Answer, Caller, Coordinator, Effect, GroupConfig, Request, partition_of};
use messages::{ListGroupsRequest, OffsetCommitKey, OffsetCommitValue};
use wire::compress::Compression;
use wire::record::{BatchBuilder, BatchOptions, ControlKind, ProducerStamp};
use wire::{Bytes, ErrorCode};

use crate::world::{Log, World, commit, join, of};

#[test]
fn groups_are_where_apache_kafka_puts_them() {
    // What Java computes, negative hashes and those outside the basic plane included.
    for (group, of_50) in [("g-classic", 18), ("console-consumer", 40), ("my-group", 12)] {
        assert_eq!(partition_of(group, 50), of_50, "{group}");
    }
    assert_eq!(partition_of("🦀", 50), (55_358 * 31 + 56_704) % 50);
    // Its hash is the one number without an absolute value.
    assert_eq!(partition_of("polygenelubricants", 50), 0);
    assert_eq!(partition_of("", 50), 0);
}

#[test]
fn answers_wait_until_what_they_saw_is_durable_and_appends_do_not_overlap() {
    let mut world = World::new();
    world.durable_at_once = false;
    let first = world.ask_commit(9, "", -1, 1);
    assert!(world.is_waiting(first));
    assert_eq!(world.logs[&0].batches.len(), 1);
    // These see the first, and pile up behind its append.
    let second = world.ask_commit(9, "", -1, 2);
    let third = world.ask_commit(9, "", -1, 3);
    let list = world.ask(5, Request::List(ListGroupsRequest::default()));
    assert_eq!(world.logs[&0].batches.len(), 1);
    assert!(world.is_waiting(list));
    world.sync_all();
    assert_eq!(world.logs[&0].batches.len(), 2, "the second and third are one batch");
    for token in [first, second, third] {
        assert_eq!(world.commit_answer(token), ErrorCode::NONE);
    }
    assert!(!world.is_waiting(list));
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 3);
}

#[test]
fn a_commit_that_is_not_durable_in_time_is_answered_with_an_error() {
    let mut world = World::new();
    world.durable_at_once = false;
    let token = world.ask_commit(9, "", -1, 1);
    world.pass(4_999);
    assert!(world.is_waiting(token));
    world.pass(1);
    assert_eq!(world.commit_answer(token), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    // It happened all the same.
    world.sync_all();
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 1);
}

#[test]
fn a_power_cut_takes_back_only_what_nobody_was_told() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 1), ErrorCode::NONE);
    world.durable_at_once = false;
    let token = world.ask_commit(9, "", -1, 2);
    assert!(world.is_waiting(token));
    world.reload();
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 1);
}

#[test]
fn a_failed_append_unloads_and_everybody_is_told() {
    let mut world = World::new();
    let (one, _) = world.stable_one();
    let (_, newcomer) = world.join(join("g", &["range"]));
    world.fail_appends = Some(ErrorCode::KAFKA_STORAGE_ERROR);
    let token = world.ask(9, Request::Commit(commit("h", "", -1, "t", 0, 1)));
    assert_eq!(world.commit_answer(token), ErrorCode::NOT_COORDINATOR);
    assert_eq!(world.join_answer(newcomer).error_code, ErrorCode::NOT_COORDINATOR.0);
    world.fail_appends = None;
    // What the log says counts again: the newcomer never was.
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.heartbeat(&one, 1), ErrorCode::NONE);
    let groups = world.core.groups(0).expect("a shard");
    assert!(!groups.live().contains_key("h"));
}

#[test]
fn a_reload_finds_members_and_they_need_not_join_again() {
    let mut world = World::new();
    let (one, generation) = world.stable_one();
    world.reload();
    assert_eq!(world.heartbeat(&one, generation), ErrorCode::NONE);
    let token = world.ask_sync(&one, generation, &[]);
    assert_eq!(world.sync_answer(token).assignment, "mine");
    let token = world.ask_join(9, of(join("g", &["range"]), &one));
    assert_eq!(world.join_answer(token).generation_id, generation + 1);
    world.reload();
    world.pass(10_001);
    assert_eq!(world.state(), "Empty");
}

fn caller(token: u64) -> Caller {
    Caller { token, version: 5, client_id: String::new(), client_host: String::new() }
}

#[test]
fn requests_are_refused_while_loading_and_for_partitions_of_others() {
    let mut world = World::new();
    let mut core = Coordinator::new(GroupConfig::default());
    core.set_partitions(2);
    let mut out = Vec::new();
    core.lead(0, 0, 1_000, &mut out);
    assert!(matches!(out[..], [Effect::Load { partition: 0, from: 0, .. }]));
    let mut ask = |request| {
        let mut out = Vec::new();
        core.request(caller(1), request, world.now, &mut world.ids, &mut out);
        match out.pop() {
            Some(Effect::Reply(1, answer)) => answer,
            other => panic!("{other:?}"),
        }
    };
    let of_group = |group: &str| Request::Commit(commit(group, "", -1, "t", 0, 1));
    let code = |answer: Answer| match answer {
        Answer::Commit(answer) => ErrorCode(answer.topics[0].partitions[0].error_code),
        Answer::List(answer) => ErrorCode(answer.error_code),
        Answer::Heartbeat(answer) => ErrorCode(answer.error_code),
        other => panic!("{other:?}"),
    };
    // "a" hashes to 97, "b" to 98.
    assert_eq!(code(ask(of_group("b"))), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert_eq!(code(ask(of_group("a"))), ErrorCode::NOT_COORDINATOR);
    let list = Request::List(ListGroupsRequest::default());
    assert_eq!(code(ask(list)), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    let heartbeat = messages::HeartbeatRequest { group_id: "b".into(), ..Default::default() };
    assert_eq!(code(ask(Request::Heartbeat(heartbeat))), ErrorCode::NONE);
}

fn offset_record(offset: i64) -> (Bytes, Bytes) {
    let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 0 };
    let value = OffsetCommitValue { offset, ..Default::default() };
    let (key, value) =
        coordinator::record::Record::Offset(key, Some(value)).encode().expect("a record");
    (key, value.expect("a value"))
}

fn batch(options: BatchOptions, offset: i64) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    let (key, value) = offset_record(offset);
    builder.push(0, Some(&key), Some(&value), &[]);
    builder.build().expect("a batch")
}

fn transactional(producer: i64, offset: i64) -> Bytes {
    let stamp = ProducerStamp { id: producer, epoch: 0, base_sequence: 0 };
    let options = BatchOptions { producer: Some(stamp), transactional: true, ..Default::default() };
    batch(options, offset)
}

fn marker(producer: i64, kind: ControlKind) -> Bytes {
    let stamp = ProducerStamp { id: producer, epoch: 0, base_sequence: -1 };
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: Some(stamp),
        transactional: true,
        control: true,
        ..Default::default()
    });
    builder.push_control(0, kind, &[0; 6]);
    builder.build().expect("a batch")
}

fn world_of(batches: &[Bytes]) -> World {
    let mut world = World::new();
    let log = world.logs.get_mut(&0).expect("a log");
    batches.iter().for_each(|batch| log.append(batch));
    log.high_watermark = log.end;
    world.reload();
    world
}

#[test]
fn offsets_of_transactions_count_when_committed_and_in_the_order_of_their_records() {
    let mut world = world_of(&[transactional(7, 10)]);
    let found = world.fetch("g", "t", 0);
    assert_eq!(found.error_code, ErrorCode::UNSTABLE_OFFSET_COMMIT.0);
    assert_eq!(found.committed_offset, -1);

    let (commit, abort) = (ControlKind::Commit, ControlKind::Abort);
    let mut world = world_of(&[transactional(7, 10), marker(7, commit)]);
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 10);
    let plain = || batch(BatchOptions::default(), 5);
    let mut world = world_of(&[plain(), transactional(7, 10), marker(7, abort)]);
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 5);
    // The plain commit is younger than the one in the transaction, which ends after it.
    let mut world = world_of(&[transactional(7, 10), plain(), marker(7, commit)]);
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 5);
    // Expiry leaves alone what an open transaction is about to change.
    let mut world = world_of(&[plain(), transactional(7, 10)]);
    world.pass(8 * 24 * 3_600_000);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn compressed_batches_are_read_and_the_last_record_of_a_key_counts() {
    let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let batches: Vec<Bytes> = codecs
        .iter()
        .zip(1..)
        .map(|(compression, offset)| {
            batch(BatchOptions { compression: *compression, ..Default::default() }, offset)
        })
        .collect();
    let mut world = world_of(&batches);
    assert_eq!(world.fetch("g", "t", 0).committed_offset, 4);
    let mut tombstone = BatchBuilder::new(BatchOptions::default());
    tombstone.push(0, Some(&offset_record(0).0), None, &[]);
    let mut world = world_of(&[batches[0].clone(), tombstone.build().expect("a batch")]);
    assert_eq!(world.state(), "Dead");
}

#[test]
fn a_record_that_can_not_be_read_stops_the_partition_with_a_reason() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(0, Some(b"\0\x01\0\x01g"), Some(b"\0\x03"), &[]);
    let mut world = world_of(&[builder.build().expect("a batch")]);
    assert!(world.warnings[0].contains("__consumer_offsets-0"), "{:?}", world.warnings);
    assert_eq!(world.commit("", -1, 1), ErrorCode::NOT_COORDINATOR);
}

fn golden(bytes: &'static [u8]) -> World {
    let mut world = World::new();
    let batches: Vec<Bytes> = wire::batch::Batches::new(Bytes::from_static(bytes))
        .map(|batch| batch.expect("a batch").1)
        .collect();
    world.logs.insert(0, Log::default());
    let log = world.logs.get_mut(&0).expect("a log");
    batches.iter().for_each(|batch| log.append(batch));
    log.high_watermark = log.end;
    world.reload();
    assert_eq!(world.warnings, [""; 0]);
    world
}

#[test]
fn what_apache_kafka_wrote_of_a_classic_group_is_understood() {
    let mut world = golden(include_bytes!("golden/classic.log"));
    let token = world.ask(5, Request::List(ListGroupsRequest::default()));
    let Answer::List(answer) = world.answer(token) else { panic!() };
    let groups: Vec<(&str, &str)> =
        answer.groups.iter().map(|g| (g.group_id.as_str(), g.protocol_type.as_str())).collect();
    assert_eq!(groups, [("g", "consumer"), ("g-classic", "consumer")]);
    let offsets = &world.core.groups(0).expect("a shard").durable().offsets;
    let of_group = |group| -> Vec<(&str, i32, i64)> {
        offsets.of_group(group).map(|(topic, index, found)| (topic, index, found.offset)).collect()
    };
    assert_eq!(of_group("g-classic"), [("t1", 0, 52), ("t1", 1, 52)]);
    assert_eq!(of_group("g"), [("t", 0, 0), ("t", 1, 1)]);
}

#[test]
fn groups_of_other_protocols_survive_and_are_not_taken_for_classic_ones() {
    let mut world = golden(include_bytes!("golden/consumer-and-share.log"));
    let token = world.ask(5, Request::List(ListGroupsRequest::default()));
    let Answer::List(answer) = world.answer(token) else { panic!() };
    let types: Vec<(&str, &str)> =
        answer.groups.iter().map(|g| (g.group_id.as_str(), g.group_type.as_str())).collect();
    assert_eq!(types, [("g-consumer", "consumer"), ("sg1", "share")]);
    let token = world.ask_join(9, join("g-consumer", &["range"]));
    let code = world.join_answer(token).error_code;
    assert_eq!(code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL.0);
    let token = world.ask(2, Request::Delete(vec!["sg1".into()]));
    let Answer::Delete(answer) = world.answer(token) else { panic!() };
    assert_eq!(answer.results[0].error_code, ErrorCode::GROUP_ID_NOT_FOUND.0);
}
