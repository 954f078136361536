//! What becomes of one batch: it goes, stays as it is, or is written anew.
//!
//! The rules are Apache Kafka's (`Cleaner.cleanInto`, `MemoryRecords.filterTo`, KIP-534):
//! - A record goes if its key has a newer one, or if it is a tombstone past its horizon, or has no
//!   key; what lies beyond the reach of the map stays.
//! - Data of aborted transactions goes, and a marker once nothing of its transaction is left and
//!   its horizon has passed.
//! - A batch that keeps a tombstone, or a marker of nothing, for the first time gets its horizon,
//!   which lies `delete.retention.ms` ahead.
//! - A batch that keeps no record goes, unless it is the last of an active producer or ends at the
//!   high watermark: it stays without records then, so that sequence and offset stay known.
//!
//! Invariant I1: a batch written anew keeps its offsets, first and last, its producer, epoch and
//! sequence, its codec, and the offset and timestamp of each record.

use std::collections::BTreeMap;

use bytes::Bytes;
use wire::batch::{BatchHeader, HEADER_BYTES};
use wire::record::{BatchBuilder, BatchOptions, ProducerStamp, Record, RecordError, RecordIter};

use super::map::OffsetMap;
use super::transactions::Transactions;
use crate::planted::{self, Bug};
use crate::producers::LastWritten;

/// What a cleaning decides by.
pub(super) struct Rules<'a> {
    pub map: &'a OffsetMap,
    /// The last batch of each producer that is not forgotten.
    pub producers: &'a BTreeMap<i64, LastWritten>,
    pub high_watermark: i64,
    pub now_ms: i64,
    pub delete_retention_ms: i64,
}

/// What is left of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// All of it, not touched.
    Whole(u64),
    /// This batch with so many records.
    Part(Bytes, u64),
}

/// Decides about one whole batch, the next of the walk; gives what is left of it and how many
/// records were read.
///
/// # Errors
/// Its records can't be read, or not be written.
pub(super) fn rewrite(
    header: &BatchHeader,
    batch: &Bytes,
    rules: &Rules<'_>,
    transactions: &mut Transactions,
) -> Result<(Left, u64), RecordError> {
    let control = header.is_control();
    let useless = match control {
        true => transactions.on_control(header, batch)?,
        false => transactions.on_batch(header),
    };
    let horizon = header.has_delete_horizon().then_some(header.base_timestamp);
    let due = horizon.is_some_and(|horizon| horizon <= rules.now_ms);
    let discard = useless && (!control || due);
    let keep_empty =
        rules.is_last_of_producer(header) || header.next_offset() == rules.high_watermark;
    if discard {
        let left = if keep_empty { empty(header) } else { Left::Nothing };
        return Ok((left, 0));
    }
    let (mut kept, mut read, mut tombstones) = (Vec::new(), 0, false);
    for record in RecordIter::open(batch, OPENED_MAX)? {
        let record = record?;
        read += 1;
        if control || rules.keeps(&record, horizon) {
            tombstones |= record.value.is_none();
            kept.push(record);
        }
    }
    let left = match kept.len() as u64 {
        0 if keep_empty => empty(header),
        0 => Left::Nothing,
        count => {
            let news = horizon.is_none() && (tombstones || (useless && control));
            if count == read && !news {
                Left::Whole(count)
            } else {
                let ahead = rules.now_ms.saturating_add(rules.delete_retention_ms);
                let horizon = if news { Some(ahead) } else { horizon };
                Left::Part(rebuilt(header, &kept, horizon)?, count)
            }
        }
    };
    Ok((left, read))
}

impl Rules<'_> {
    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let last = self.producers.get(&header.producer_id).filter(|_| header.has_producer_id());
        last.is_some_and(|last| match last.offset {
            Some(offset) => header.last_offset() == offset,
            // Only a marker told of it: its epoch fences older ones.
            None => header.is_control() && header.producer_epoch == last.epoch,
        })
    }

    fn keeps(&self, record: &Record, horizon: Option<i64>) -> bool {
        if record.offset > self.map.latest() {
            return true;
        }
        let Some(key) = &record.key else { return false };
        let newest = self.map.get(key);
        let newest = if planted::is(Bug::CleanerDropsNewest) { newest + 1 } else { newest };
        // A key that is not in the map was not written to in the dirty part.
        let is_newest = record.offset >= newest;
        let deleted = record.value.is_none();
        is_newest && (!deleted || horizon.is_none_or(|horizon| self.now_ms < horizon))
    }
}

fn empty(header: &BatchHeader) -> Left {
    Left::Part(Bytes::copy_from_slice(&header.emptied()), 0)
}

fn rebuilt(
    header: &BatchHeader,
    kept: &[Record],
    horizon: Option<i64>,
) -> Result<Bytes, RecordError> {
    let codec = header.compression().ok_or(RecordError::UnknownCodec(header.compression_id()))?;
    let producer = ProducerStamp {
        id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    };
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: header.base_offset,
        leader_epoch: header.leader_epoch,
        compression: codec,
        timestamp_type: header.timestamp_type(),
        log_append_time_ms: header.max_timestamp,
        producer: Some(producer),
        transactional: header.is_transactional(),
        control: header.is_control(),
        // A base timestamp below 0 is none.
        delete_horizon_ms: horizon.filter(|horizon| *horizon >= 0),
        last_offset: Some(header.last_offset()),
        ..BatchOptions::default()
    });
    for record in kept {
        let name = |name: &Bytes| String::from_utf8_lossy(name).into_owned();
        let headers: Vec<_> =
            record.headers.iter().map(|(of, value)| (name(of), value.as_deref())).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push_at(record.offset, record.timestamp, key, value, &headers);
    }
    let batch = builder.build()?;
    debug_assert!(batch.len() >= HEADER_BYTES);
    Ok(batch)
}

/// No batch may be larger when opened: what produce accepts is not.
const OPENED_MAX: usize = 256 << 20;
