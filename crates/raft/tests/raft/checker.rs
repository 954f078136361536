//! What must hold across all nodes, whatever happened.
//!
//! - C1: an epoch has one leader.
//! - C2: a node votes for one candidate an epoch, restarts or not.
//! - C3: what is committed is the same batch at the same offset everywhere, for ever.
//! - C4: who begins to lead has everything that was committed in earlier epochs.
//! - C5: a node's high watermark only grows while it runs.
//! - C6: a node's voters are those its log states last.
//! - C7: snapshots of one id state the same voters.

use std::collections::BTreeMap;

use raft::{ReplicaKey, SnapshotId, VoterSet};

use crate::node::{Batch, Log};

/// What a snapshot says about the quorum.
pub type Stated = (i16, Option<VoterSet>);

/// The memory of all promises.
#[derive(Debug, Default)]
pub struct Checker {
    leaders: BTreeMap<i32, i32>,
    votes: BTreeMap<(i32, ReplicaKey), i32>,
    /// Committed batches by base offset, and the epoch in which that was seen first.
    committed: BTreeMap<i64, (Batch, i32)>,
    pub committed_end: i64,
    pub snapshots: BTreeMap<SnapshotId, Stated>,
}

impl Checker {
    pub fn leads(&mut self, id: i32, epoch: i32, log: &Log) -> Result<(), String> {
        let known = *self.leaders.entry(epoch).or_insert(id);
        if known != id {
            return Err(format!("C1: {known} and {id} lead epoch {epoch}"));
        }
        for (batch, seen) in self.committed.range(log.start..).map(|(_, entry)| entry) {
            if *seen < epoch && !log.holds(batch) {
                let at = batch.base;
                return Err(format!("C4: {id} leads {epoch} without the batch at {at}"));
            }
        }
        Ok(())
    }

    pub fn votes(&mut self, voter: ReplicaKey, epoch: i32, candidate: i32) -> Result<(), String> {
        let known = *self.votes.entry((epoch, voter)).or_insert(candidate);
        if known == candidate {
            return Ok(());
        }
        Err(format!("C2: {} voted for {known} and {candidate} in epoch {epoch}", voter.id))
    }

    /// A node with this log says that everything in `from..to` is committed.
    pub fn commits(
        &mut self,
        id: i32,
        epoch: i32,
        from: i64,
        to: i64,
        log: &Log,
    ) -> Result<(), String> {
        if to <= from {
            return Err(format!("C5: {id} went from {from} to {to}"));
        }
        for batch in log.batches_in(from.max(log.start), to) {
            if batch.base >= self.committed_end {
                if batch.base != self.committed_end || batch.end > to {
                    return Err(format!("C3: {id} commits {to}, a gap or half of {batch:?}"));
                }
                self.committed_end = batch.end;
                self.committed.insert(batch.base, (batch.clone(), epoch));
            } else if self.committed.get(&batch.base).is_none_or(|known| known.0 != *batch) {
                let known = self.committed.get(&batch.base);
                return Err(format!("C3: {id} commits {batch:?} where {known:?} is"));
            }
        }
        if log.end() < to {
            Err(format!("C3: {id} commits {to}, has {}", log.end()))
        } else {
            Ok(())
        }
    }

    pub fn snapshot(&mut self, id: SnapshotId, stated: Stated) -> Result<(), String> {
        let known = self.snapshots.entry(id).or_insert_with(|| stated.clone());
        if *known == stated { Ok(()) } else { Err(format!("C7: {id:?}: {known:?}, {stated:?}")) }
    }

    /// At the end of a run, when all faults are over: a node has what was committed below `end`.
    pub fn has_all(&self, id: i32, end: i64, log: &Log) -> Result<(), String> {
        let mut lost = self
            .committed
            .range(log.start..end.max(log.start))
            .filter(|(_, entry)| !log.holds(&entry.0));
        match lost.next() {
            Some((at, _)) => Err(format!("C3: {id} has lost the batch at {at}")),
            None => Ok(()),
        }
    }
}
