//! What Produce and Fetch answer at their edges, as Apache Kafka does.

use messages::fetch_request::{FetchPartition, FetchTopic};
use messages::fetch_response::PartitionData;
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::produce_response::PartitionProduceResponse;
use messages::*;
use wire::ErrorCode;
use wire::record::{BatchBuilder, BatchOptions};

use crate::rig::Rig;

/// A version that names topics and knows epochs and sessions.
const VERSION: i16 = 12;

fn produce(rig: &mut Rig, timeout_ms: i32) -> PartitionProduceResponse {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.push(rig.now.wall_ms, None, Some(&[7; 100]), &[]);
    let data = PartitionProduceData {
        records: Some(batch.build().expect("a batch")),
        ..Default::default()
    };
    let topic =
        TopicProduceData { name: "t".into(), partition_data: vec![data], ..Default::default() };
    let topic_data = vec![topic];
    let request = ProduceRequest { acks: -1, timeout_ms, topic_data, ..Default::default() };
    let mut answer: ProduceResponse = rig.ask(9, &request);
    answer.responses.remove(0).partition_responses.remove(0)
}

/// A fetch of the first partition from there on, of no session.
fn from(offset: i64) -> FetchRequest {
    let partition = FetchPartition {
        fetch_offset: offset,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
    FetchRequest {
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn fetch(rig: &mut Rig, request: &FetchRequest) -> (i32, Vec<PartitionData>) {
    let answer: FetchResponse = rig.ask(VERSION, request);
    assert_eq!(answer.error_code, 0);
    let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions).collect();
    (answer.session_id, partitions)
}

/// A sync takes longer than that; the record is stored all the same.
#[test]
fn a_producer_without_patience_is_answered_what_became_of_its_record() {
    let mut rig = Rig::new();
    for timeout_ms in [0, -1, 1] {
        let answer = produce(&mut rig, timeout_ms);
        assert_eq!((answer.error_code, answer.base_offset >= 0), (0, true), "{timeout_ms}");
    }
}

#[test]
fn more_than_may_be_given_is_not_waited_for() {
    let mut rig = Rig::new();
    produce(&mut rig, 1_000);
    let request = FetchRequest { min_bytes: 5_000, max_bytes: 100, max_wait_ms: 60_000, ..from(0) };
    let (_, partitions) = fetch(&mut rig, &request);
    assert!(partitions[0].records.as_ref().is_some_and(|records| records.len() > 100));
}

#[test]
fn after_an_error_a_session_is_told_the_marks_again() {
    let mut rig = Rig::new();
    produce(&mut rig, 1_000);
    let (session_id, first) = fetch(&mut rig, &FetchRequest { session_epoch: 0, ..from(1) });
    assert_eq!((first[0].error_code, first[0].high_watermark), (0, 1));
    let mut next = |session_epoch, request: FetchRequest| {
        let request = FetchRequest { session_id, session_epoch, ..request };
        let partitions = fetch(&mut rig, &request).1;
        let told = |one: PartitionData| (ErrorCode(one.error_code), one.high_watermark);
        partitions.into_iter().map(told).collect::<Vec<_>>()
    };
    let nothing = || FetchRequest { topics: Vec::new(), ..from(1) };
    assert_eq!(next(1, nothing()), []);
    assert_eq!(next(2, from(9)), [(ErrorCode::OFFSET_OUT_OF_RANGE, -1)]);
    assert_eq!(next(3, nothing()), [(ErrorCode::OFFSET_OUT_OF_RANGE, -1)]);
    assert_eq!(next(4, from(1)), [(ErrorCode::NONE, 1)]);
    assert_eq!(next(5, nothing()), []);
}

/// KIP-320: whoever has more than there is learns where it parted, not only that it is wrong.
#[test]
fn who_has_more_than_there_is_learns_where_it_parted() {
    let mut rig = Rig::new();
    produce(&mut rig, 1_000);
    let mut request = from(9);
    request.topics[0].partitions[0].last_fetched_epoch = 0;
    let (_, partitions) = fetch(&mut rig, &request);
    let diverging = &partitions[0].diverging_epoch;
    assert_eq!((partitions[0].error_code, diverging.epoch, diverging.end_offset), (0, 0, 1));
    // Below the start that is all there is to say.
    let mut request = from(-5);
    request.topics[0].partitions[0].last_fetched_epoch = 0;
    let (_, partitions) = fetch(&mut rig, &request);
    assert_eq!(ErrorCode(partitions[0].error_code), ErrorCode::OFFSET_OUT_OF_RANGE);
}
