//! The records of a fetched partition, opened batch by batch as they are asked for.
//!
//! Invariants:
//! - I1: records below the position, of control batches, of other keys than the only one wanted,
//!   and (under `read_committed`) of aborted transactions are not handed out, but the position
//!   moves past them.
//! - I2: a batch cut off behind a whole one is what a broker may send to keep to a limit; it is
//!   ignored. Anything else wrong is an error that names the batch.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use wire::Bytes;
use wire::batch::{BatchError, BatchHeader, Batches, verify_crc};
use wire::record::{ControlKind, RecordIter};

use super::ConsumerRecord;
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct Fetched {
    topic: Arc<str>,
    partition: i32,
    batches: Batches,
    /// A batch that is whole was seen.
    whole: bool,
    current: Option<(BatchHeader, RecordIter)>,
    /// The next offset to hand out.
    position: i64,
    /// Aborted transactions that begin later, by first offset; `None` if all records are read.
    aborted: Option<VecDeque<(i64, i64)>>,
    /// Producers whose transaction at this point was aborted.
    aborting: BTreeSet<i64>,
    check_crcs: bool,
    only_key: Option<Bytes>,
    leader_epoch: Option<i32>,
}

impl Fetched {
    /// Of an answer; `aborted` are producer ids and first offsets under `read_committed`.
    pub fn new(
        topic: Arc<str>,
        partition: i32,
        records: Bytes,
        position: i64,
        aborted: Option<Vec<(i64, i64)>>,
        check_crcs: bool,
    ) -> Self {
        let aborted = aborted.map(|aborted| {
            let mut by_offset: Vec<_> =
                aborted.into_iter().map(|(id, first)| (first, id)).collect();
            by_offset.sort_unstable();
            by_offset.into()
        });
        Self {
            topic,
            partition,
            batches: Batches::new(records),
            whole: false,
            current: None,
            position,
            aborted,
            aborting: BTreeSet::new(),
            check_crcs,
            only_key: None,
            leader_epoch: None,
        }
    }

    /// Hands out records with that key alone, if there is one.
    pub fn only_key(self, key: Option<Bytes>) -> Self {
        Self { only_key: key, ..self }
    }

    /// Where the next record is looked for.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The leader epoch of the last batch that was opened.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// A batch that can't be read. The position stays before it.
    pub fn next_record(&mut self) -> Result<Option<ConsumerRecord>> {
        loop {
            let Some((header, records)) = &mut self.current else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            let Some(record) = records.next() else {
                self.position = self.position.max(header.next_offset());
                self.current = None;
                continue;
            };
            let header = *header;
            let record = record.map_err(|error| self.damaged(&header, &error.to_string()))?;
            if record.offset < self.position {
                continue;
            }
            self.position = record.offset + 1;
            if self.only_key.is_some() && self.only_key != record.key {
                continue;
            }
            let text = |name: Bytes| String::from_utf8_lossy(&name).into_owned();
            let headers = record.headers.into_iter();
            return Ok(Some(ConsumerRecord {
                topic: self.topic.clone(),
                partition: self.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                timestamp_type: header.timestamp_type(),
                leader_epoch: self.leader_epoch,
                key: record.key,
                value: record.value,
                headers: headers.map(|(name, value)| (text(name), value)).collect(),
            }));
        }
    }

    /// Opens the next batch that has something to hand out; false at the end.
    fn open_next(&mut self) -> Result<bool> {
        loop {
            let (header, batch) = match self.batches.next() {
                None => return Ok(false),
                Some(Err(BatchError::Truncated { .. })) if self.whole => return Ok(false),
                Some(Err(error)) => {
                    let at = self.position;
                    return Err(Error::Protocol(format!(
                        "{}-{} at offset {at}: {error}",
                        self.topic, self.partition
                    )));
                }
                Some(Ok(next)) => next,
            };
            self.whole = true;
            if header.next_offset() <= self.position {
                // Its transaction may still matter to what follows.
                self.skips(&header, &batch);
                continue;
            }
            if self.check_crcs {
                verify_crc(&batch).map_err(|error| self.damaged(&header, &error.to_string()))?;
            }
            self.leader_epoch = Some(header.leader_epoch).filter(|epoch| *epoch >= 0);
            if self.skips(&header, &batch) {
                self.position = header.next_offset();
                continue;
            }
            let records = RecordIter::open(&batch, OPENED_BYTES_MAX)
                .map_err(|error| self.damaged(&header, &error.to_string()))?;
            self.current = Some((header, records));
            return Ok(true);
        }
    }

    /// True for batches without anything for the application (I1). Keeps account of transactions.
    fn skips(&mut self, header: &BatchHeader, batch: &Bytes) -> bool {
        if let Some(aborted) = &mut self.aborted {
            while let Some((_, id)) =
                aborted.pop_front_if(|(first, _)| *first <= header.last_offset())
            {
                self.aborting.insert(id);
            }
        }
        if header.is_control() {
            let mut records = RecordIter::open(batch, OPENED_BYTES_MAX).into_iter().flatten();
            let key = records.next().and_then(|record| record.ok()?.key);
            if key.and_then(|key| ControlKind::of_key(&key)) == Some(ControlKind::Abort) {
                self.aborting.remove(&header.producer_id);
            }
            return true;
        }
        header.is_transactional() && self.aborting.contains(&header.producer_id)
    }

    fn damaged(&self, header: &BatchHeader, what: &str) -> Error {
        let (topic, partition, offset) = (&self.topic, self.partition, header.base_offset);
        Error::Protocol(format!("{topic}-{partition}, batch at offset {offset}: {what}"))
    }
}

/// The most a batch may have when opened: a compressed one can claim anything.
const OPENED_BYTES_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use wire::compress::Compression;
    use wire::record::{BatchBuilder, BatchOptions, ProducerStamp};

    fn batch(base_offset: i64, producer: i64, values: &[&str]) -> Bytes {
        let stamp = ProducerStamp { id: producer, epoch: 0, base_sequence: 0 };
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset,
            compression: Compression::Lz4,
            producer: (producer >= 0).then_some(stamp),
            transactional: producer >= 0,
            ..Default::default()
        });
        for value in values {
            builder.push(1, None, Some(value.as_bytes()), &[]);
        }
        builder.build().unwrap()
    }

    fn marker(base_offset: i64, producer: i64, kind: ControlKind) -> Bytes {
        let stamp = ProducerStamp { id: producer, epoch: 0, base_sequence: -1 };
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset,
            producer: Some(stamp),
            transactional: true,
            control: true,
            ..Default::default()
        });
        builder.push_control(1, kind, &[0; 6]);
        builder.build().unwrap()
    }

    fn read(fetched: &mut Fetched) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(record) = fetched.next_record().unwrap() {
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            seen.push(format!("{}:{value}", record.offset));
        }
        seen
    }

    fn log() -> Bytes {
        [
            batch(0, -1, &["a", "b"]),
            batch(2, 7, &["aborted"]),
            batch(3, 8, &["committed"]),
            marker(4, 7, ControlKind::Abort),
            batch(5, 7, &["again"]),
            marker(6, 7, ControlKind::Commit),
            marker(7, 8, ControlKind::Commit),
        ]
        .concat()
        .into()
    }

    fn fetched(records: Bytes, position: i64, aborted: Option<Vec<(i64, i64)>>) -> Fetched {
        Fetched::new("t".into(), 0, records, position, aborted, true)
    }

    #[test]
    fn aborted_and_control_records_are_passed_over() {
        let mut all = fetched(log(), 0, None);
        assert_eq!(read(&mut all), ["0:a", "1:b", "2:aborted", "3:committed", "5:again"]);
        assert_eq!(all.position(), 8);
        let mut committed = fetched(log(), 1, Some(vec![(7, 2)]));
        assert_eq!(read(&mut committed), ["1:b", "3:committed", "5:again"]);
        assert_eq!(committed.position(), 8);
        // The fetch begins within the aborted transaction.
        let mut late = fetched(log(), 3, Some(vec![(7, 2)]));
        assert_eq!(read(&mut late), ["3:committed", "5:again"]);
    }

    #[test]
    fn records_of_other_keys_are_passed_over() {
        let mut builder = BatchBuilder::new(BatchOptions { base_offset: 4, ..Default::default() });
        for (key, value) in [(Some("k"), "a"), (None, "b"), (Some("kk"), "c"), (Some("k"), "d")] {
            builder.push(1, key.map(str::as_bytes), Some(value.as_bytes()), &[]);
        }
        builder.push(1, Some(b"other"), Some(b"e"), &[]);
        let records = builder.build().unwrap();
        let key = Bytes::from_static(b"k");
        let mut keyed = fetched(records.clone(), 0, None).only_key(Some(key.clone()));
        assert_eq!(read(&mut keyed), ["4:a", "7:d"]);
        assert_eq!(keyed.position(), 9);
        let mut rest = fetched(records.clone(), 5, None).only_key(Some(key));
        assert_eq!(read(&mut rest), ["7:d"]);
        let mut none = fetched(records, 0, None).only_key(Some(Bytes::new()));
        assert_eq!((read(&mut none).len(), none.position()), (0, 9));
    }

    #[test]
    fn cut_off_batches_are_ignored_and_damaged_ones_are_told() {
        let whole = [batch(0, -1, &["a"]), batch(1, -1, &["b"])].concat();
        let cut = Bytes::copy_from_slice(&whole[..whole.len() - 1]);
        let mut fetched_cut = fetched(cut, 0, None);
        assert_eq!(read(&mut fetched_cut), ["0:a"]);
        assert_eq!(fetched_cut.position(), 1);
        // Without a whole one there would be no end to it: the same would be fetched again.
        let mut stuck = fetched(Bytes::copy_from_slice(&whole[..70]), 0, None);
        assert!(stuck.next_record().unwrap_err().to_string().starts_with("protocol error: t-0 at"));
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let mut fetched_bad = fetched(damaged.clone().into(), 0, None);
        assert!(fetched_bad.next_record().unwrap().is_some());
        let error = fetched_bad.next_record().unwrap_err().to_string();
        assert!(error.starts_with("protocol error: t-0, batch at offset 1: "), "{error}");
        assert_eq!(fetched_bad.position(), 1);
    }
}
