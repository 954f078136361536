//! What a log knows of its idempotent and transactional producers (KIP-98, KIP-360).
//!
//! Owns the last five batches per producer, open transactions, and the last stable offset.
//! Invariants:
//! - I1: a batch already appended is recognised among the producer's last five, by sequence
//!   range and epoch.
//! - I2: `ongoing` holds exactly the producers with an open transaction, by its first offset.

use std::collections::{BTreeMap, VecDeque};

use wire::batch::{BatchHeader, decrement_sequence, increment_sequence};
use wire::files::{AbortedTxn, ProducerEntry};
use wire::record::ControlKind;

use crate::AppendError;
use crate::planted::{self, Bug};

/// All producers of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    by_id: ById,
    /// Open transactions: first offset to producer.
    ongoing: BTreeMap<i64, i64>,
    /// Decided transactions whose marker is not yet below the high watermark: first to last
    /// offset. Readers of committed data wait for the marker to be replicated.
    unreplicated: BTreeMap<i64, i64>,
}

/// Producers by rising id. Most logs have one or few, and a node of a tree has room for eleven: few
/// are a list. Ids come in any order, so many are a tree.
#[derive(Clone, Debug)]
enum ById {
    Few(Vec<(i64, Box<Producer>)>),
    Many(BTreeMap<i64, Box<Producer>>),
}

impl Default for ById {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// However they are kept.
impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ById {}

impl ById {
    fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(tree) => tree.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        let (list, tree) = match self {
            Self::Few(list) => (Some(list), None),
            Self::Many(tree) => (None, Some(tree)),
        };
        let few = list.into_iter().flatten().map(|(id, producer)| (*id, &**producer));
        few.chain(tree.into_iter().flatten().map(|(id, producer)| (*id, &**producer)))
    }

    fn get(&self, id: i64) -> Option<&Producer> {
        match self {
            Self::Few(list) => {
                let place = list.binary_search_by_key(&id, |(id, _)| *id).ok()?;
                list.get(place).map(|(_, producer)| &**producer)
            }
            Self::Many(tree) => tree.get(&id).map(|producer| &**producer),
        }
    }

    fn get_mut(&mut self, id: i64) -> Option<&mut Producer> {
        match self {
            Self::Few(list) => {
                let place = list.binary_search_by_key(&id, |(id, _)| *id).ok()?;
                list.get_mut(place).map(|(_, producer)| &mut **producer)
            }
            Self::Many(tree) => tree.get_mut(&id).map(|producer| &mut **producer),
        }
    }

    /// The producer of that id, made if it is new.
    fn entry(&mut self, id: i64, new: impl FnOnce() -> Producer) -> &mut Producer {
        if let Self::Few(list) = self
            && list.len() >= FEW
        {
            *self = Self::Many(std::mem::take(list).into_iter().collect());
        }
        match self {
            Self::Few(list) => {
                let place = list.binary_search_by_key(&id, |(id, _)| *id).unwrap_or_else(|place| {
                    list.insert(place, (id, Box::new(new())));
                    place
                });
                // Found there, or put there.
                &mut list[place].1
            }
            Self::Many(tree) => tree.entry(id).or_insert_with(|| Box::new(new())),
        }
    }

    fn retain(&mut self, keep: impl Fn(&Producer) -> bool) {
        match self {
            Self::Few(list) => list.retain(|(_, producer)| keep(producer)),
            Self::Many(tree) => tree.retain(|_, producer| keep(producer)),
        }
    }

    /// Gives back memory that is not used.
    fn shrink(&mut self) {
        if let Self::Many(tree) = self
            && tree.len() <= FEW / 2
        {
            *self = Self::Few(std::mem::take(tree).into_iter().collect());
        }
        match self {
            Self::Few(list) => {
                list.iter_mut().for_each(|(_, producer)| producer.batches.shrink_to_fit());
                list.shrink_to_fit();
            }
            Self::Many(tree) => {
                tree.values_mut().for_each(|producer| producer.batches.shrink_to_fit());
            }
        }
    }
}

/// So many are a list.
const FEW: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Written>,
    coordinator_epoch: i32,
    timestamp: i64,
    txn_first_offset: Option<i64>,
}

impl Default for Producer {
    /// One of which nothing is known.
    fn default() -> Self {
        Self {
            epoch: -1,
            batches: VecDeque::new(),
            coordinator_epoch: -1,
            timestamp: -1,
            txn_first_offset: None,
        }
    }
}

/// A batch remembered for recognising its repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    last_sequence: i32,
    last_offset: i64,
    offset_delta: i32,
    timestamp: i64,
}

impl Written {
    fn first_sequence(&self) -> i32 {
        decrement_sequence(self.last_sequence, self.offset_delta)
    }
}

/// The last batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastWritten {
    /// Its last offset; `None` if only a marker told of the producer.
    pub offset: Option<i64>,
    pub epoch: i16,
}

/// Where a batch that is repeated was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub first_offset: i64,
    pub last_offset: i64,
    pub timestamp: i64,
}

/// A transaction marker, taken out of its control batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub kind: ControlKind,
    pub coordinator_epoch: i32,
}

impl Producers {
    /// Producers known.
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Gives back memory that is not used.
    pub(crate) fn shrink(&mut self) {
        self.by_id.shrink();
    }

    /// The first offset a reader of committed data must not see yet, if any.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        let first = |map: &BTreeMap<i64, i64>| map.first_key_value().map(|(offset, _)| *offset);
        [first(&self.ongoing), first(&self.unreplicated)].into_iter().flatten().min()
    }

    /// Forgets decided transactions whose markers are below the high watermark.
    pub fn on_high_watermark(&mut self, high_watermark: i64) {
        self.unreplicated.retain(|_, last_offset| *last_offset >= high_watermark);
    }

    /// Forgets producers that wrote nothing for `expiration_ms` and have no open transaction.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_id.retain(|producer| {
            producer.txn_first_offset.is_some()
                || now_ms.saturating_sub(producer.timestamp) < expiration_ms
        });
    }

    /// Where this very batch was appended before (I1).
    pub(crate) fn duplicate_of(&self, header: &BatchHeader) -> Option<Duplicate> {
        let producer = self.by_id.get(header.producer_id)?;
        if planted::is(Bug::SequencesUnchecked) {
            return None;
        }
        if !header.has_producer_id() || producer.epoch != header.producer_epoch {
            return None;
        }
        let same = |written: &&Written| {
            written.first_sequence() == header.base_sequence
                && written.last_sequence == header.last_sequence()
        };
        let forgotten = match planted::is(Bug::OnlyLastDuplicateKnown) {
            true => producer.batches.len().saturating_sub(1),
            false => 0,
        };
        producer.batches.iter().skip(forgotten).find(same).map(|written| Duplicate {
            first_offset: written.last_offset - i64::from(written.offset_delta),
            last_offset: written.last_offset,
            timestamp: written.timestamp,
        })
    }

    /// Decides whether a client's data batch may follow what its producer wrote.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<(), AppendError> {
        let Some(producer) = self.by_id.get(header.producer_id) else {
            // Nothing is known, maybe because retention took it: any sequence may start.
            return Ok(());
        };
        let producer_id = header.producer_id;
        self.check_epoch(header)?;
        if planted::is(Bug::SequencesUnchecked) {
            return Ok(());
        }
        let got = header.base_sequence;
        let last = if header.producer_epoch != producer.epoch {
            // A new epoch starts over.
            -1
        } else {
            producer.batches.back().map_or(-1, |written| written.last_sequence)
        };
        let expected = increment_sequence(last, 1);
        // An epoch may be known without records, from a marker; without an epoch all is new.
        if got != expected && producer.epoch != -1 {
            return Err(AppendError::OutOfOrderSequence { producer_id, got, expected });
        }
        if producer.txn_first_offset.is_some() && !header.is_transactional() {
            return Err(AppendError::InvalidTxnState(producer_id));
        }
        Ok(())
    }

    /// Decides whether a coordinator's marker may be appended.
    pub(crate) fn check_marker(
        &self,
        header: &BatchHeader,
        marker: &Marker,
    ) -> Result<(), AppendError> {
        self.check_epoch(header)?;
        match self.by_id.get(header.producer_id) {
            Some(producer) if producer.coordinator_epoch > marker.coordinator_epoch => {
                Err(AppendError::TransactionCoordinatorFenced {
                    producer_id: header.producer_id,
                    got: marker.coordinator_epoch,
                    current: producer.coordinator_epoch,
                })
            }
            _ => Ok(()),
        }
    }

    fn check_epoch(&self, header: &BatchHeader) -> Result<(), AppendError> {
        match self.by_id.get(header.producer_id) {
            Some(producer) if header.producer_epoch < producer.epoch => {
                Err(AppendError::InvalidProducerEpoch {
                    producer_id: header.producer_id,
                    got: header.producer_epoch,
                    current: producer.epoch,
                })
            }
            _ => Ok(()),
        }
    }

    fn entry(&mut self, header: &BatchHeader) -> &mut Producer {
        let new = || Producer { epoch: header.producer_epoch, ..Producer::default() };
        let producer = self.by_id.entry(header.producer_id, new);
        if producer.epoch < header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        producer
    }

    /// Takes note of an appended data batch, whose header has its final offsets.
    pub(crate) fn append(&mut self, header: &BatchHeader) {
        if !header.has_producer_id() || header.is_control() {
            return;
        }
        let producer = self.entry(header);
        producer.timestamp = header.max_timestamp;
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Written {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
        if header.is_transactional() && producer.txn_first_offset.is_none() {
            producer.txn_first_offset = Some(header.base_offset);
            self.ongoing.insert(header.base_offset, header.producer_id);
        }
    }

    /// Takes note of a batch older than all that are remembered of its producer.
    pub(crate) fn remember_older(&mut self, header: &BatchHeader) {
        if !header.has_producer_id() || header.is_control() {
            return;
        }
        let Some(producer) = self.by_id.get_mut(header.producer_id) else { return };
        let older = producer.batches.front().is_some_and(|first| {
            header.last_offset() < first.last_offset - i64::from(first.offset_delta)
        });
        if older
            && producer.epoch == header.producer_epoch
            && producer.batches.len() < BATCHES_REMEMBERED
        {
            producer.batches.push_front(Written {
                last_sequence: header.last_sequence(),
                last_offset: header.last_offset(),
                offset_delta: header.last_offset_delta,
                timestamp: header.max_timestamp,
            });
        }
    }

    /// Takes note of an appended marker; gives the index entry if it aborted something.
    pub(crate) fn append_marker(
        &mut self,
        header: &BatchHeader,
        marker: &Marker,
    ) -> Option<AbortedTxn> {
        let producer = self.entry(header);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.timestamp = header.max_timestamp;
        let first_offset = producer.txn_first_offset.take()?;
        let last_offset = header.last_offset();
        self.ongoing.remove(&first_offset);
        self.unreplicated.insert(first_offset, last_offset);
        // As Apache Kafka's lastStableOffset(completedTxn): others still open decide, or else
        // everything up to the marker is stable.
        let last_stable_offset =
            self.ongoing.first_key_value().map_or(last_offset + 1, |(offset, _)| *offset);
        (marker.kind == ControlKind::Abort).then_some(AbortedTxn {
            producer_id: header.producer_id,
            first_offset,
            last_offset,
            last_stable_offset,
        })
    }

    /// The last batch of each producer: its sequence must stay known.
    pub(crate) fn last_written(&self) -> BTreeMap<i64, LastWritten> {
        let last = |(id, producer): (i64, &Producer)| {
            let offset = producer.batches.back().map(|written| written.last_offset);
            (id, LastWritten { offset, epoch: producer.epoch })
        };
        self.by_id.iter().map(last).collect()
    }

    /// The entries of a snapshot, by producer id.
    pub fn entries(&self) -> Vec<ProducerEntry> {
        let entry = |(producer_id, producer): (i64, &Producer)| {
            let last = producer.batches.back();
            ProducerEntry {
                producer_id,
                producer_epoch: producer.epoch,
                last_sequence: last.map_or(-1, |written| written.last_sequence),
                last_offset: last.map_or(-1, |written| written.last_offset),
                offset_delta: last.map_or(0, |written| written.offset_delta),
                timestamp: producer.timestamp,
                coordinator_epoch: producer.coordinator_epoch,
                current_txn_first_offset: producer.txn_first_offset.unwrap_or(-1),
            }
        };
        self.by_id.iter().map(entry).collect()
    }

    /// What a snapshot says.
    pub fn from_entries(entries: &[ProducerEntry]) -> Self {
        let mut producers = Self::default();
        for entry in entries {
            let txn = Some(entry.current_txn_first_offset).filter(|offset| *offset >= 0);
            let written = Written {
                last_sequence: entry.last_sequence,
                last_offset: entry.last_offset,
                offset_delta: entry.offset_delta,
                timestamp: entry.timestamp,
            };
            let known = entry.last_offset >= 0;
            producers.ongoing.extend(txn.map(|offset| (offset, entry.producer_id)));
            let producer = Producer {
                epoch: entry.producer_epoch,
                batches: known.then_some(written).into_iter().collect(),
                coordinator_epoch: entry.coordinator_epoch,
                timestamp: entry.timestamp,
                txn_first_offset: txn,
            };
            // Of equal ids the last counts.
            *producers.by_id.entry(entry.producer_id, Producer::default) = producer;
        }
        producers
    }
}

const BATCHES_REMEMBERED: usize = 5;

#[cfg(test)]
mod tests;
