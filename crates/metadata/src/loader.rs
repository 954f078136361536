//! From the bytes of a snapshot and a log to an image.
//!
//! Invariants:
//! - I1: the records of a transaction (KIP-868) count when it ends; of an aborted one, or one that
//!   has not ended, nothing is seen.
//! - I2: anything not understood is an error: metadata must not be guessed.

use messages::{KRaftVersionRecord, Message, SnapshotHeaderRecord, VotersRecord};
use wire::Bytes;
use wire::batch::{BatchHeader, Batches};
use wire::record::{ControlKind, Record as LogRecord, RecordIter};

use crate::Record;
use crate::image::Image;
use crate::snapshot::QuorumStatement;

/// Builds an image, batch by batch.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    /// What was committed by records so far.
    pub image: Image,
    /// The time of the last record.
    pub last_timestamp_ms: i64,
    /// The epoch of the last record.
    pub last_epoch: i32,
    /// `kraft.version` from each offset on; voters likewise. What a snapshot said is at -1.
    pub kraft_versions: Vec<(i64, i16)>,
    /// See `kraft_versions`.
    pub voters: Vec<(i64, VotersRecord)>,
    transaction: Option<Vec<Record>>,
}

impl Loader {
    /// What the log states about its quorum at its end.
    pub fn quorum(&self) -> QuorumStatement {
        QuorumStatement {
            kraft_version: self.kraft_versions.last().map_or(0, |(_, version)| *version),
            voters: self.voters.last().map(|(_, voters)| voters.clone()),
        }
    }

    /// True if a transaction began that has not ended: whoever leads next must abort it.
    pub fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Replays a snapshot, from its header to its footer.
    ///
    /// # Errors
    /// Damage, a missing end, or records that are not understood.
    pub fn snapshot(&mut self, file: &Bytes) -> Result<(), String> {
        let mut ended = false;
        let mut expected = 0;
        for batch in Batches::new(file.clone()) {
            let (header, batch) = batch.map_err(|error| error.to_string())?;
            if ended || header.base_offset != expected {
                return Err(format!("a batch at offset {}, not {expected}", header.base_offset));
            }
            expected = header.next_offset();
            for record in open(&header, &batch)? {
                let record = record.map_err(|error| error.to_string())?;
                if !header.is_control() {
                    self.data(record)?;
                    continue;
                }
                let first = record.offset == 0;
                match kind(&record) {
                    Some(ControlKind::SnapshotHeader) if first => {
                        let body: SnapshotHeaderRecord = body(record)?;
                        self.last_timestamp_ms = body.last_contained_log_timestamp;
                    }
                    Some(ControlKind::SnapshotFooter) if !first => ended = true,
                    Some(ControlKind::SnapshotHeader | ControlKind::SnapshotFooter) | None => {
                        return Err("a control record out of its place".to_owned());
                    }
                    Some(_) if first => return Err("no header".to_owned()),
                    Some(other) => self.control(other, -1, record)?,
                }
            }
            self.last_epoch = header.leader_epoch;
        }
        if !ended {
            return Err("the end is missing".to_owned());
        }
        Ok(())
    }

    /// Replays one batch of the log.
    ///
    /// # Errors
    /// Damage, or records that are not understood.
    pub fn batch(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<(), String> {
        for record in open(header, batch)? {
            let record = record.map_err(|error| error.to_string())?;
            if !header.is_control() {
                self.data(record)?;
            } else if let Some(kind) = kind(&record) {
                let offset = record.offset;
                self.control(kind, offset, record)?;
            }
        }
        self.last_timestamp_ms = header.max_timestamp;
        self.last_epoch = header.leader_epoch;
        Ok(())
    }

    fn data(&mut self, record: LogRecord) -> Result<(), String> {
        let value = record.value.unwrap_or_default();
        self.record(Record::from_value(value).map_err(|error| error.to_string())?)
    }

    /// Takes one record, transactions respected.
    ///
    /// # Errors
    /// It contradicts what came before it.
    pub fn record(&mut self, record: Record) -> Result<(), String> {
        match (&record, &mut self.transaction) {
            (Record::BeginTransaction(_), None) => self.transaction = Some(Vec::new()),
            (Record::EndTransaction(_), Some(_)) => {
                for record in self.transaction.take().unwrap_or_default() {
                    self.image.replay(&record).map_err(|error| error.to_string())?;
                }
            }
            (Record::AbortTransaction(_), Some(_)) => self.transaction = None,
            (Record::BeginTransaction(_), Some(_)) => {
                return Err("a transaction begins within another".to_owned());
            }
            (Record::EndTransaction(_) | Record::AbortTransaction(_), None) => {
                return Err("a transaction ends that did not begin".to_owned());
            }
            (_, Some(held)) => held.push(record),
            (_, None) => self.image.replay(&record).map_err(|error| error.to_string())?,
        }
        Ok(())
    }

    fn control(&mut self, kind: ControlKind, offset: i64, record: LogRecord) -> Result<(), String> {
        match kind {
            ControlKind::KRaftVersion => {
                let version: KRaftVersionRecord = body(record)?;
                self.kraft_versions.push((offset, version.k_raft_version));
            }
            ControlKind::KRaftVoters => self.voters.push((offset, body(record)?)),
            _ => {}
        }
        Ok(())
    }
}

fn open(header: &BatchHeader, batch: &Bytes) -> Result<RecordIter, String> {
    let opened = RecordIter::open(batch, BATCH_MAX);
    opened.map_err(|error| format!("batch at offset {}: {error}", header.base_offset))
}

fn kind(record: &LogRecord) -> Option<ControlKind> {
    record.key.as_ref().and_then(|key| ControlKind::of_key(key))
}

fn body<M: Message>(record: LogRecord) -> Result<M, String> {
    let value = record.value.unwrap_or_default();
    M::from_bytes(value, 0).map_err(|error| error.to_string())
}

/// Apache Kafka's bound for a batch of metadata records, doubled for compression overhead.
const BATCH_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use messages::{
        AbortTransactionRecord, BeginTransactionRecord, EndTransactionRecord, FeatureLevelRecord,
    };

    fn feature(level: i16) -> Record {
        Record::FeatureLevel(FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: level,
            ..Default::default()
        })
    }

    #[test]
    fn a_transaction_counts_when_it_ends_and_never_when_aborted() {
        let begin = || Record::BeginTransaction(BeginTransactionRecord::default());
        let end = || Record::EndTransaction(EndTransactionRecord::default());
        let abort = || Record::AbortTransaction(AbortTransactionRecord::default());
        let mut loader = Loader::default();
        for record in [feature(20), begin(), feature(30)] {
            loader.record(record).unwrap();
        }
        assert_eq!(loader.image.metadata_version(), 20);
        assert!(loader.is_in_transaction());
        loader.record(end()).unwrap();
        assert_eq!(loader.image.metadata_version(), 30);
        for record in [begin(), feature(33), abort()] {
            loader.record(record).unwrap();
        }
        assert_eq!(loader.image.metadata_version(), 30);
        assert!(loader.record(end()).is_err());
        assert!(loader.record(begin()).is_ok() && loader.record(begin()).is_err());
    }
}
