//! Where a consumer is, and what changes it.

use wire::Bytes;
use wire::record::{BatchBuilder, BatchOptions};

use super::*;

fn options(pairs: &[(&str, &str)]) -> ConsumerOptions {
    let all = [("bootstrap.servers", "a:1")].iter().chain(pairs);
    let all = all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    crate::Options::from_properties(&all).unwrap().consumer
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

fn data(base_offset: i64, count: usize) -> PartitionData {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset, ..Default::default() });
    for _ in 0..count {
        builder.push(1, None, Some(b"v"), &[]);
    }
    let records: Option<Bytes> = Some(builder.build().unwrap());
    PartitionData { records, ..Default::default() }
}

fn at(offset: i64) -> Position {
    Position { offset, leader_epoch: None }
}

fn fetch(positions: &mut Positions) -> Vec<Wanted> {
    let (mut fetches, _) = positions.fetches(0, |_| Some((1, 0)));
    fetches.remove(&1).unwrap_or_default()
}

/// Reading two partitions from offset 0.
fn reading() -> Positions {
    let mut positions = Positions::new(&options(&[("group.id", "g")]), 10);
    positions.assign(&[partition(0), partition(1)]);
    for (one, number) in positions.questions(0).0 {
        positions.committed(0, &one, number, Ok(Some(at(0))));
    }
    positions
}

#[test]
fn without_a_committed_offset_the_reset_policy_decides() {
    let mut positions =
        Positions::new(&options(&[("group.id", "g"), ("auto.offset.reset", "earliest")]), 10);
    positions.assign(&[partition(0)]);
    let (committed, listed) = positions.questions(0);
    assert_eq!((committed.len(), listed.len()), (1, 0));
    assert_eq!(positions.questions(0), (vec![], vec![]), "asked once");
    positions.committed(0, &partition(0), committed[0].1, Ok(None));
    let (_, listed) = positions.questions(0);
    assert_eq!(listed, [(partition(0), committed[0].1, OffsetSpec::Earliest)]);
    positions.listed(0, &partition(0), listed[0].1, Ok(at(5)));
    assert_eq!(positions.position(&partition(0)), Ok(Some(at(5))));

    let mut none =
        Positions::new(&options(&[("group.id", "g"), ("auto.offset.reset", "none")]), 10);
    none.assign(&[partition(0)]);
    let (committed, _) = none.questions(0);
    none.committed(0, &partition(0), committed[0].1, Ok(None));
    let error = none.take(1).unwrap_err().to_string();
    assert!(error.contains("no reset policy for partition t-0"), "{error}");
}

#[test]
fn answers_from_before_a_seek_or_a_new_assignment_change_nothing() {
    let mut positions = reading();
    let wanted = fetch(&mut positions);
    assert_eq!(wanted.len(), 2);
    assert!(fetch(&mut positions).is_empty(), "one fetch a broker");
    positions.seek(&partition(0), 7).unwrap();
    positions.assign(&[partition(0)]);
    positions.assign(&[partition(0), partition(1)]);
    for one in &wanted {
        positions.fetched(0, one, data(0, 3));
    }
    positions.fetch_done(0, 1, &wanted, false);
    assert_eq!(positions.take(10), Ok(vec![]));
    assert_eq!(positions.position(&partition(0)), Ok(Some(at(7))));
    assert_eq!(positions.position(&partition(1)), Ok(None));
    assert!(positions.seek(&partition(3), 0).is_err());
}

#[test]
fn records_come_in_order_in_turn_and_count_as_processed_at_the_next_poll() {
    let mut positions = reading();
    let wanted = fetch(&mut positions);
    for one in &wanted {
        positions.fetched(0, one, data(0, 3));
    }
    positions.fetch_done(0, 1, &wanted, false);
    let taken = positions.take(4).unwrap();
    let seen: Vec<_> = taken.iter().map(|record| (record.partition, record.offset)).collect();
    assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 0)]);
    let processed = positions.to_commit();
    assert_eq!(processed[&partition(0)].offset, 0, "not before the next poll");
    positions.polled();
    let processed = positions.to_commit();
    assert_eq!((processed[&partition(0)].offset, processed[&partition(1)].offset), (3, 1));
    // What is left of partition 1 waits, and so only partition 0 is fetched again.
    let again = fetch(&mut positions);
    assert_eq!((again.len(), again[0].offset), (1, 3));
    positions.pause(&partition(1), true).unwrap();
    assert_eq!(positions.take(4), Ok(vec![]));
    positions.pause(&partition(1), false).unwrap();
    assert_eq!(positions.take(4).unwrap().len(), 2);
}

#[test]
fn where_nothing_of_the_only_key_is_the_position_moves_on() {
    let searched = |offset| {
        let mut data = PartitionData::default();
        data.set_searched_to(offset);
        data
    };
    for (only_key, expected) in [(Some(Bytes::from_static(b"k")), 9), (None, 5)] {
        let mut options = options(&[("group.id", "g")]);
        options.only_key = only_key;
        let mut positions = Positions::new(&options, 10);
        positions.assign(&[partition(0)]);
        let number = positions.questions(0).0[0].1;
        positions.committed(0, &partition(0), number, Ok(Some(at(5))));
        // Never back, and never for who asked for all.
        for offset in [9, 5, 3, -1] {
            let wanted = Wanted { offset: 5, number, partition: partition(0), leader_epoch: 0 };
            assert_eq!(searched_to(&wanted, &searched(offset)).is_some(), offset == 9);
            positions.fetched(0, &wanted, searched(offset));
        }
        assert_eq!(positions.position(&partition(0)), Ok(Some(at(expected))));
        assert_eq!(positions.to_commit()[&partition(0)].offset, 5, "not before the next poll");
        positions.polled();
        assert_eq!(positions.to_commit()[&partition(0)].offset, expected);
    }
}

#[test]
fn offset_out_of_range_goes_where_the_policy_says() {
    let out = || PartitionData { error_code: 1, ..Default::default() };
    let mut positions = reading();
    let wanted = fetch(&mut positions);
    assert!(!positions.fetched(0, &wanted[0], out()));
    assert_eq!(positions.questions(0).1[0].2, OffsetSpec::Latest);
    // A leader that moved: metadata first, and the same again a little later.
    let moved = PartitionData { error_code: 6, ..Default::default() };
    assert!(positions.fetched(0, &wanted[1], moved));
    positions.fetch_done(0, 1, &wanted, false);
    assert!(fetch(&mut positions).is_empty());
    assert_eq!(positions.next_ms(0), Some(10));
}

#[test]
fn fetches_that_fail_for_good_are_told_and_others_are_not() {
    let mut positions = reading();
    let code = |code| Error::from(ApiError::of(code));
    let passing = [
        Error::Disconnected { address: "a:1".into(), why: "reset".into() },
        code(ErrorCode::BROKER_NOT_AVAILABLE),
    ];
    for error in passing {
        positions.fetch_failed(&error);
        assert_eq!(positions.take(1), Ok(vec![]), "{error}");
    }
    for error in [Error::Protocol("no answer".into()), code(ErrorCode::INVALID_REQUEST)] {
        positions.fetch_failed(&error);
        assert_eq!(positions.take(1), Err(error));
        assert_eq!(positions.take(1), Ok(vec![]), "told once");
    }
}
