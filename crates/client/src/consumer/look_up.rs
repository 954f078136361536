//! The newest record of a key: a partition is read from its start to its end, of which brokers of
//! ours leave out what can't hold the key, and the last record with it is kept.
//!
//! Invariants:
//! - I1: it is done only when an answer reached the end that the same answer named. A compacted log
//!   drops a record only when there is a newer one of its key, which lies ahead of the reader then:
//!   so what is kept at that moment is the newest.

use messages::fetch_response::PartitionData;
use wire::Bytes;

use super::ConsumerRecord;
use super::positions::{Wanted, searched_to};
use super::unpack::Fetched;
use crate::error::{ApiError, Result};
use crate::topic_partition::TopicPartition;

/// What was found of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// Its newest record. Without a value it is a tombstone: the key was deleted.
    pub newest: Option<ConsumerRecord>,
    /// Bytes of record batches that were read for it.
    pub bytes_read: u64,
}

/// How to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more to read.
    More,
    /// There is more, but nothing came.
    Nothing,
    /// That was all.
    Done,
}

/// A key that is looked for in a partition.
#[derive(Debug)]
pub struct LookUp {
    place: TopicPartition,
    key: Bytes,
    position: i64,
    read_committed: bool,
    check_crcs: bool,
    /// How often in a row nothing came.
    idle: u32,
    found: LookedUp,
}

impl LookUp {
    /// From the log start offset on.
    pub fn new(
        place: TopicPartition,
        key: Bytes,
        start: i64,
        read_committed: bool,
        check_crcs: bool,
    ) -> Self {
        let found = LookedUp { newest: None, bytes_read: 0 };
        Self { place, key, position: start, read_committed, check_crcs, idle: 0, found }
    }

    /// What to fetch.
    pub fn wanted(&self, leader_epoch: i32) -> Wanted {
        let (partition, offset) = (self.place.clone(), self.position);
        Wanted { partition, number: 0, offset, leader_epoch }
    }

    /// Takes the answer to [`Self::wanted`]; `throttled` if the broker may have held back records.
    ///
    /// # Errors
    /// What the leader said, or records that can't be read.
    pub fn take(&mut self, data: PartitionData, throttled: bool) -> Result<Next> {
        ApiError::check(data.error_code, None)?;
        let before = self.position;
        let end = if self.read_committed { data.last_stable_offset } else { data.high_watermark };
        let searched = searched_to(&self.wanted(-1), &data);
        let records = data.records.unwrap_or_default();
        self.found.bytes_read += records.len() as u64;
        if records.is_empty() {
            self.position = searched.unwrap_or(before);
        } else {
            let aborted = data.aborted_transactions.unwrap_or_default().into_iter();
            let aborted = aborted.map(|one| (one.producer_id, one.first_offset)).collect();
            let mut fetched = Fetched::new(
                self.place.topic.as_str().into(),
                self.place.partition,
                records,
                before,
                self.read_committed.then_some(aborted),
                self.check_crcs,
            )
            .only_key(Some(self.key.clone()));
            while let Some(record) = fetched.next_record()? {
                self.found.newest = Some(record);
            }
            self.position = fetched.position();
        }
        // Invariant I1.
        if self.position >= end {
            return Ok(Next::Done);
        }
        if self.position > before {
            self.idle = 0;
            return Ok(Next::More);
        }
        // Compaction may leave nothing between the last record and the end.
        self.idle += u32::from(!throttled);
        Ok(if self.idle < IDLE_MAX { Next::Nothing } else { Next::Done })
    }

    /// What was found.
    pub fn into_found(self) -> LookedUp {
        self.found
    }
}

/// What is there comes at once, so nothing so often is all there is.
const IDLE_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use wire::record::{BatchBuilder, BatchOptions};

    use super::*;

    fn look_up() -> LookUp {
        LookUp::new(TopicPartition::new("t", 0), Bytes::from_static(b"k"), 0, false, true)
    }

    /// Records of these keys and values from an offset on, in a log that ends there.
    fn data(base_offset: i64, end: i64, records: &[(&str, Option<&str>)]) -> PartitionData {
        let mut builder = BatchBuilder::new(BatchOptions { base_offset, ..Default::default() });
        for (key, value) in records {
            builder.push(1, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
        }
        let records = (!records.is_empty()).then(|| builder.build().unwrap());
        PartitionData { high_watermark: end, records, ..Default::default() }
    }

    fn value(look: LookUp) -> Option<(i64, Option<String>)> {
        let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
        look.into_found().newest.map(|record| (record.offset, record.value.map(text)))
    }

    #[test]
    fn the_last_record_of_the_key_counts_whatever_comes_behind_it() {
        let mut look = look_up();
        let first = data(0, 7, &[("k", Some("old")), ("a", Some("x")), ("k", Some("new"))]);
        assert_eq!(look.take(first, false), Ok(Next::More));
        assert_eq!(look.wanted(3).offset, 3);
        // Nothing came; then it is told that there is nothing, as far as that goes.
        assert_eq!(look.take(data(3, 7, &[]), false), Ok(Next::Nothing));
        let mut searched = data(3, 7, &[]);
        searched.set_searched_to(5);
        assert_eq!(look.take(searched, false), Ok(Next::More));
        assert_eq!(look.take(data(6, 7, &[("b", Some("y"))]), false), Ok(Next::Done));
        assert_eq!(value(look), Some((2, Some("new".into()))));
    }

    #[test]
    fn a_tombstone_is_the_newest_record_and_no_record_is_none() {
        let mut look = look_up();
        let records = data(4, 6, &[("k", Some("v")), ("k", None)]);
        assert_eq!(look.take(records, false), Ok(Next::Done));
        assert_eq!(value(look), Some((5, None)));
        let mut look = look_up();
        let mut searched = data(0, 9, &[]);
        searched.set_searched_to(9);
        assert_eq!(look.take(searched, false), Ok(Next::Done));
        assert_eq!(value(look), None);
    }

    #[test]
    fn an_end_that_moves_on_is_followed() {
        let mut look = look_up();
        assert_eq!(look.take(data(0, 2, &[("k", Some("a")), ("a", None)]), false), Ok(Next::Done));
        let mut look = look_up();
        assert_eq!(look.take(data(0, 3, &[("k", Some("a")), ("a", None)]), false), Ok(Next::More));
        // Compaction took the first meanwhile, and what made it go lies ahead.
        assert_eq!(look.take(data(2, 4, &[("a", None)]), false), Ok(Next::More));
        assert_eq!(look.take(data(3, 4, &[("k", Some("b"))]), false), Ok(Next::Done));
        assert_eq!(value(look), Some((3, Some("b".into()))));
    }

    #[test]
    fn an_end_that_nothing_leads_to_is_reached_unless_the_broker_holds_back() {
        let mut look = look_up();
        assert_eq!(look.take(data(0, 9, &[("k", Some("a"))]), false), Ok(Next::More));
        for _ in 0..5 {
            assert_eq!(look.take(data(1, 9, &[]), true), Ok(Next::Nothing));
        }
        let rest: Vec<_> = (0..3).map(|_| look.take(data(1, 9, &[]), false)).collect();
        assert_eq!(rest, [Ok(Next::Nothing), Ok(Next::Nothing), Ok(Next::Done)]);
        assert_eq!(value(look), Some((0, Some("a".into()))));
    }

    #[test]
    fn what_the_leader_says_is_told() {
        let error = look_up().take(PartitionData { error_code: 1, ..Default::default() }, false);
        assert_eq!(error.unwrap_err().code(), Some(wire::ErrorCode::OFFSET_OUT_OF_RANGE));
    }
}
