//! Which transactions a walk through the log is in: their data may go if they were aborted, their
//! markers once nothing of them is left.
//!
//! Follows Apache Kafka's `CleanedTransactionMetadata`, quirk for quirk: a marker may go when the
//! walk met no batch of its transaction, and batches that hold no record any more count as met.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use bytes::Bytes;
use wire::batch::BatchHeader;
use wire::files::AbortedTxn;
use wire::record::{ControlKind, RecordError, RecordIter};

/// The transactions of one walk.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Producers of which a batch was met that is not known to be aborted.
    committed: BTreeSet<i64>,
    /// By producer: its aborted transaction the walk is in, and whether a batch of it was met.
    aborted: BTreeMap<i64, (AbortedTxn, bool)>,
    /// Aborted transactions to come, by first offset.
    ahead: BinaryHeap<Reverse<Ahead>>,
    /// Aborted transactions whose marker stays: the transaction index of the segment being written.
    pub kept: Vec<AbortedTxn>,
}

/// An aborted transaction, ordered by where it begins.
#[derive(Debug, PartialEq, Eq)]
struct Ahead(AbortedTxn);

impl Ord for Ahead {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |of: &Self| (of.0.first_offset, of.0.last_offset, of.0.producer_id);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Ahead {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Transactions {
    /// Tells of aborted transactions that the walk will come to; some may be known already.
    pub fn expect(&mut self, aborted: impl IntoIterator<Item = AbortedTxn>) {
        self.ahead.extend(aborted.into_iter().map(|txn| Reverse(Ahead(txn))));
    }

    /// Takes note of a data batch; true if it is part of an aborted transaction.
    pub fn on_batch(&mut self, header: &BatchHeader) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((_, met)) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Takes note of a control batch; true if nothing needs it any more.
    ///
    /// # Errors
    /// Its record can't be read.
    pub fn on_control(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<bool, RecordError> {
        self.begin_up_to(header.last_offset());
        let first = RecordIter::open(batch, CONTROL_BYTES_MAX)?.next();
        // What was emptied by an earlier cleaning.
        let Some(record) = first else { return Ok(true) };
        Ok(match record?.key.as_deref().and_then(ControlKind::of_key) {
            Some(ControlKind::Abort) => match self.aborted.remove(&header.producer_id) {
                Some((txn, true)) => {
                    self.kept.push(txn);
                    false
                }
                _ => true,
            },
            Some(ControlKind::Commit) => !self.committed.remove(&header.producer_id),
            _ => false,
        })
    }

    fn begin_up_to(&mut self, offset: i64) {
        while self.ahead.peek().is_some_and(|Reverse(next)| next.0.first_offset <= offset) {
            if let Some(Reverse(Ahead(txn))) = self.ahead.pop() {
                self.aborted.entry(txn.producer_id).or_insert((txn, false));
            }
        }
    }
}

/// Control batches are small; more is not one.
const CONTROL_BYTES_MAX: usize = 1 << 20;
