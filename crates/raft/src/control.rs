//! Control batches: those a leader writes about its quorum, and what replicas read from them.

use messages::{KRaftVersionRecord, LeaderChangeMessage, Message, VotersRecord};
use wire::batch::{self, Batches, HEADER_BYTES};
use wire::record::{BatchBuilder, BatchOptions, ControlKind, RecordIter};
use wire::{Bytes, EncodeError};

use crate::voters::VoterSet;

/// A control batch in the making.
#[derive(Debug)]
pub(crate) struct ControlBatch {
    builder: BatchBuilder,
    base_offset: i64,
    now_ms: i64,
}

impl ControlBatch {
    pub fn new(base_offset: i64, leader_epoch: i32, now_ms: i64) -> Self {
        let options =
            BatchOptions { base_offset, leader_epoch, control: true, ..Default::default() };
        Self { builder: BatchBuilder::new(options), base_offset, now_ms }
    }

    /// The offset the next record gets.
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.builder.count())
    }

    fn push(&mut self, kind: ControlKind, body: &impl Message) -> Result<(), EncodeError> {
        self.builder.push_control(self.now_ms, kind, &body.to_bytes(0)?);
        Ok(())
    }

    pub fn push_leader_change(&mut self, body: &LeaderChangeMessage) -> Result<(), EncodeError> {
        self.push(ControlKind::LeaderChange, body)
    }

    pub fn push_kraft_version(&mut self, version: i16) -> Result<(), EncodeError> {
        let body = KRaftVersionRecord { k_raft_version: version, ..Default::default() };
        self.push(ControlKind::KRaftVersion, &body)
    }

    pub fn push_voters(&mut self, voters: &VoterSet) -> Result<(), EncodeError> {
        self.push(ControlKind::KRaftVoters, &voters.to_record())
    }

    /// The batch, if it fits into one.
    pub fn build(self) -> Option<Bytes> {
        self.builder.build().ok()
    }
}

/// What a control record says about the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// The finalized `kraft.version`.
    KRaftVersion(i16),
    /// The voters.
    Voters(VoterSet),
}

/// What one whole batch, of a log or of a snapshot, says about the quorum, and at which offsets.
///
/// # Errors
/// Bytes that are no batch, or a control record that can't be read.
pub fn statements_in(batch: &Bytes) -> Result<Vec<(i64, Statement)>, &'static str> {
    let header = batch::BatchHeader::parse(batch).map_err(|_| "not a batch")?;
    if !header.is_control() {
        return Ok(Vec::new());
    }
    read_control(header, batch).ok_or("a control record that can't be read")
}

/// A batch fetched from a leader, as far as the core looks into it.
#[derive(Clone, Debug)]
pub(crate) struct FetchedBatch {
    pub epoch: i32,
    pub end_offset: i64,
    pub statements: Vec<(i64, Statement)>,
}

/// Walks the whole batches of a fetch response, which must continue a log that ends with `epoch`
/// at `offset`. Returns them and their bytes; the last batch may be cut short and is left out.
///
/// # Errors
/// What is wrong with them: a leader sends no such thing.
pub(crate) fn read_fetched(
    records: &Bytes,
    mut offset: i64,
    mut epoch: i32,
    epoch_max: i32,
) -> Result<(Vec<FetchedBatch>, Bytes), &'static str> {
    let mut found = Vec::new();
    let mut used = 0;
    for next in Batches::new(records.clone()) {
        let (header, bytes) = match next {
            Ok(next) => next,
            Err(batch::BatchError::Truncated { .. }) => break,
            Err(_) => return Err("a batch that can't be read"),
        };
        batch::verify_crc(&bytes).map_err(|_| "a batch with a wrong checksum")?;
        if header.base_offset != offset || header.last_offset_delta < 0 {
            return Err("records that don't continue the log");
        }
        if header.leader_epoch < epoch || header.leader_epoch > epoch_max {
            return Err("records of an epoch that can't be");
        }
        used += bytes.len();
        (offset, epoch) = (header.next_offset(), header.leader_epoch);
        let statements = if header.is_control() {
            read_control(header, &bytes).ok_or("a control record that can't be read")?
        } else {
            Vec::new()
        };
        found.push(FetchedBatch { epoch, end_offset: offset, statements });
    }
    Ok((found, records.slice(..used)))
}

fn read_control(header: batch::BatchHeader, bytes: &Bytes) -> Option<Vec<(i64, Statement)>> {
    if bytes.len() < HEADER_BYTES || header.compression_id() != 0 {
        return None;
    }
    let mut found = Vec::new();
    for record in RecordIter::new(header, bytes.slice(HEADER_BYTES..)) {
        let record = record.ok()?;
        // Kinds of the future say nothing to us.
        let Some(kind) = record.key.as_deref().and_then(ControlKind::of_key) else { continue };
        let body = record.value.unwrap_or_default();
        match kind {
            ControlKind::KRaftVersion => {
                let version = KRaftVersionRecord::from_bytes(body, 0).ok()?.k_raft_version;
                found.push((record.offset, Statement::KRaftVersion(version)));
            }
            ControlKind::KRaftVoters => {
                let voters = VotersRecord::from_bytes(body, 0).ok()?;
                let voters = VoterSet::from_record(voters);
                found.push((record.offset, Statement::Voters(voters)));
            }
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Restored, SnapshotId};

    fn control(base_offset: i64, epoch: i32) -> Bytes {
        let mut batch = ControlBatch::new(base_offset, epoch, 1_000);
        batch.push_leader_change(&LeaderChangeMessage::default()).unwrap();
        batch.push_kraft_version(1).unwrap();
        assert_eq!(batch.next_offset(), base_offset + 2);
        batch.push_voters(&VoterSet::default()).unwrap();
        batch.build().unwrap()
    }

    #[test]
    fn what_a_leader_states_is_read_back_with_its_offsets() {
        let (found, used) = read_fetched(&control(5, 3), 5, 2, 3).unwrap();
        assert_eq!((found.len(), found[0].end_offset, found[0].epoch), (1, 8, 3));
        let voters = Statement::Voters(VoterSet::default());
        assert_eq!(found[0].statements, [(6, Statement::KRaftVersion(1)), (7, voters)]);
        assert_eq!(used, control(5, 3));
    }

    #[test]
    fn a_restart_reads_the_same_statements_and_what_a_snapshot_says_counts_as_said_before_it() {
        let mut restored = Restored::default();
        let id = SnapshotId { end_offset: 7, epoch: 2 };
        restored.read_snapshot(id, &control(0, 0)).unwrap();
        // The record at offset 6 is in the snapshot already.
        restored.read_log(&control(5, 3)).unwrap();
        let voters = VoterSet::default();
        assert_eq!(restored.kraft_versions, [(6, 1)]);
        assert_eq!(restored.voters, [(6, voters.clone()), (7, voters)]);
        assert!(restored.read_log(&Bytes::from_static(b"rubbish")).is_err());
    }

    #[test]
    fn a_batch_cut_short_is_left_out() {
        let whole = control(5, 3);
        let both = Bytes::from([&whole[..], &control(8, 3)[..20]].concat());
        let (found, used) = read_fetched(&both, 5, 2, 3).unwrap();
        assert_eq!((found.len(), used), (1, whole));
    }

    #[test]
    fn records_that_no_leader_sends_are_refused() {
        let batch = control(5, 3);
        let refusal = |bytes: &Bytes, offset, epoch, max| {
            read_fetched(bytes, offset, epoch, max).map(|_| ()).unwrap_err()
        };
        assert_eq!(refusal(&batch, 4, 0, 3), "records that don't continue the log");
        assert_eq!(refusal(&batch, 5, 4, 4), "records of an epoch that can't be");
        assert_eq!(refusal(&batch, 5, 0, 2), "records of an epoch that can't be");
        let mut damaged = batch.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(refusal(&damaged.into(), 5, 0, 3), "a batch with a wrong checksum");
        let rubbish = Bytes::from(vec![7; 100]);
        assert!(read_fetched(&rubbish, 5, 0, 3).is_err() || rubbish.len() < HEADER_BYTES);
    }
}
