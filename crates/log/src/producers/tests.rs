//! Tables of KIP-98's and KIP-360's rules.

use super::*;

fn batch(epoch: i16, base_sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset,
        length: 100,
        leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: 5,
        max_timestamp: 5,
        producer_id: 7,
        producer_epoch: epoch,
        base_sequence,
        count,
    }
}

fn transactional(mut header: BatchHeader) -> BatchHeader {
    header.attributes |= wire::batch::ATTRIBUTE_TRANSACTIONAL;
    header
}

fn marker(producers: &mut Producers, kind: ControlKind, epoch: i16, at: i64) -> Option<AbortedTxn> {
    let mut header = transactional(batch(epoch, -1, 1, at));
    header.attributes |= wire::batch::ATTRIBUTE_CONTROL;
    producers.append_marker(&header, &Marker { kind, coordinator_epoch: 3 })
}

#[test]
fn sequences_must_follow_one_another() {
    let mut producers = Producers::default();
    // Nothing known: any sequence starts.
    assert_eq!(producers.check(&batch(1, 50, 2, 0)), Ok(()));
    producers.append(&batch(1, 50, 2, 0));
    let code = |header| producers.check(&header).map_err(|error| error.code());
    let cases = [
        (batch(1, 52, 1, 2), Ok(())),
        (batch(1, 53, 1, 2), Err(45)),
        (batch(1, 51, 1, 2), Err(45)),
        (batch(0, 52, 1, 2), Err(47)),
        (batch(2, 52, 1, 2), Err(45)),
        (batch(2, 0, 1, 2), Ok(())),
    ];
    for (header, expected) in cases {
        assert_eq!(code(header), expected, "{} {}", header.producer_epoch, header.base_sequence);
    }
}

#[test]
fn sequences_wrap_after_the_largest() {
    let mut producers = Producers::default();
    producers.append(&batch(0, i32::MAX - 1, 2, 0));
    assert_eq!(producers.check(&batch(0, 0, 1, 2)), Ok(()));
    producers.append(&batch(0, i32::MAX, 3, 2));
    assert_eq!(producers.duplicate_of(&batch(0, i32::MAX, 3, -1)).unwrap().first_offset, 2);
    assert_eq!(producers.check(&batch(0, 2, 1, 5)), Ok(()));
}

#[test]
fn the_last_five_batches_are_recognised_and_older_ones_are_not() {
    let mut producers = Producers::default();
    for index in 0..6 {
        producers.append(&batch(0, index * 2, 2, i64::from(index) * 2));
    }
    assert_eq!(producers.duplicate_of(&batch(0, 0, 2, 0)), None);
    for index in 1..6 {
        let duplicate = producers.duplicate_of(&batch(0, index * 2, 2, 0)).unwrap();
        assert_eq!(duplicate.first_offset, i64::from(index) * 2);
        assert_eq!(duplicate.last_offset, i64::from(index) * 2 + 1);
    }
    assert_eq!(producers.duplicate_of(&batch(0, 4, 1, 0)), None, "another range");
    assert_eq!(producers.duplicate_of(&batch(1, 4, 2, 0)), None, "another epoch");
}

#[test]
fn a_marker_ends_the_transaction_and_an_abort_is_indexed() {
    let mut producers = Producers::default();
    producers.append(&transactional(batch(0, 0, 2, 10)));
    assert_eq!(producers.first_unstable_offset(), Some(10));
    assert_eq!(producers.check(&batch(0, 2, 1, 12)).unwrap_err().code(), 48);
    let aborted = marker(&mut producers, ControlKind::Abort, 0, 12).unwrap();
    assert_eq!((aborted.first_offset, aborted.last_offset), (10, 12));
    assert_eq!(aborted.last_stable_offset, 13);
    // Not stable before the marker is replicated.
    assert_eq!(producers.first_unstable_offset(), Some(10));
    producers.on_high_watermark(12);
    assert_eq!(producers.first_unstable_offset(), Some(10));
    producers.on_high_watermark(13);
    assert_eq!(producers.first_unstable_offset(), None);
    assert_eq!(marker(&mut producers, ControlKind::Commit, 0, 13), None, "nothing was open");
}

#[test]
fn a_marker_of_a_later_epoch_fences_and_starts_sequences_over() {
    let mut producers = Producers::default();
    producers.append(&batch(0, 9, 1, 0));
    marker(&mut producers, ControlKind::Commit, 1, 1);
    assert_eq!(producers.check(&batch(0, 10, 1, 2)).unwrap_err().code(), 47);
    assert_eq!(producers.check(&batch(1, 10, 1, 2)).unwrap_err().code(), 45);
    assert_eq!(producers.check(&batch(1, 0, 1, 2)), Ok(()));
    let old = Marker { kind: ControlKind::Commit, coordinator_epoch: 2 };
    assert_eq!(producers.check_marker(&batch(1, -1, 1, 2), &old).unwrap_err().code(), 52);
}

#[test]
fn snapshots_keep_the_last_batch_and_the_open_transaction() {
    let mut producers = Producers::default();
    producers.append(&transactional(batch(0, 0, 2, 10)));
    producers.append(&transactional(batch(0, 2, 3, 12)));
    let loaded = Producers::from_entries(&producers.entries());
    assert_eq!(loaded.first_unstable_offset(), Some(10));
    assert_eq!(loaded.duplicate_of(&batch(0, 2, 3, 0)).unwrap().first_offset, 12);
    assert_eq!(loaded.check(&transactional(batch(0, 5, 1, 15))), Ok(()));
    assert_eq!(Producers::from_entries(&loaded.entries()), loaded);
}

#[test]
fn idle_producers_expire_unless_in_a_transaction() {
    let mut producers = Producers::default();
    producers.append(&transactional(batch(0, 0, 1, 0)));
    producers.expire(1_000, 100);
    assert_eq!(producers.count(), 1);
    marker(&mut producers, ControlKind::Commit, 0, 1);
    producers.expire(104, 100);
    assert_eq!(producers.count(), 1);
    producers.expire(105, 100);
    assert_eq!(producers.count(), 0);
}

#[test]
fn few_or_many_producers_in_any_order_are_the_same_to_everybody() {
    let ids = |count: i64| (0..count).map(move |n| (n * 37) % count);
    let of = |count: i64| {
        let mut producers = Producers::default();
        for id in ids(count) {
            producers.append(&BatchHeader { producer_id: id, ..batch(1, 0, 2, id * 10) });
        }
        producers
    };
    for count in [1, FEW as i64 - 1, FEW as i64, FEW as i64 + 1, 500] {
        let producers = of(count);
        assert_eq!(producers.count(), count as usize);
        let entries = producers.entries();
        assert!(entries.iter().map(|entry| entry.producer_id).eq(0..count), "{count}");
        assert_eq!(Producers::from_entries(&entries), producers, "{count}");
        for id in ids(count) {
            let header = |base_sequence| BatchHeader {
                producer_id: id,
                ..batch(1, base_sequence, 2, id * 10)
            };
            assert_eq!(producers.duplicate_of(&header(0)).unwrap().first_offset, id * 10);
            assert_eq!(producers.check(&header(2)), Ok(()));
            assert!(producers.check(&header(3)).is_err());
        }
    }
    // What is left of many is kept as a few would be, and equal to them.
    let mut left = of(500);
    left.by_id.retain(|producer| producer.batches[0].last_offset < 100);
    let mut few = of(500);
    few.by_id.retain(|producer| producer.batches[0].last_offset < 100);
    left.shrink();
    assert!(matches!(&left.by_id, ById::Few(list) if list.capacity() == 10));
    assert!(matches!(&few.by_id, ById::Many(_)));
    assert_eq!(left, few);
    // Entries of a snapshot in no order; of two for one producer the last counts.
    let mut entries = few.entries();
    entries.reverse();
    entries.insert(3, ProducerEntry { producer_epoch: 9, ..entries[5] });
    assert_eq!(Producers::from_entries(&entries), few);
}
