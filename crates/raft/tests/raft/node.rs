//! One simulated node: a core, and a disk that forgets what wasn't flushed.

use std::collections::BTreeMap;

use messages::{Message, QuorumStateData, VotersRecord};
use raft::{Config, Raft, ReplicaKey, Restored, SnapshotId, VoterSet};
use wire::Bytes;
use wire::batch::{BatchHeader, HEADER_BYTES};
use wire::record::{ControlKind, RecordIter};

use crate::checker::Stated;

/// A batch in a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub base: i64,
    pub end: i64,
    pub epoch: i32,
    pub bytes: Bytes,
    /// Voters it states, and where.
    pub voters: Option<(i64, VoterSet)>,
    pub kraft_version: Option<(i64, i16)>,
}

impl Batch {
    pub fn parse(bytes: Bytes) -> Self {
        let header = BatchHeader::parse(&bytes).unwrap();
        let (mut voters, mut kraft_version) = (None, None);
        if header.is_control() {
            for record in RecordIter::new(header, bytes.slice(HEADER_BYTES..)) {
                let record = record.unwrap();
                let value = record.value.unwrap_or_default();
                match record.key.as_deref().and_then(ControlKind::of_key) {
                    Some(ControlKind::KRaftVoters) => {
                        let set = VotersRecord::from_bytes(value, 0).unwrap();
                        voters = Some((record.offset, VoterSet::from_record(set)));
                    }
                    Some(ControlKind::KRaftVersion) => {
                        let body = messages::KRaftVersionRecord::from_bytes(value, 0).unwrap();
                        kraft_version = Some((record.offset, body.k_raft_version));
                    }
                    _ => {}
                }
            }
        }
        let (base, end) = (header.base_offset, header.next_offset());
        Self { base, end, epoch: header.leader_epoch, bytes, voters, kraft_version }
    }
}

/// The log as the node sees it, or as the disk has it.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub start: i64,
    batches: Vec<Batch>,
}

impl Log {
    pub fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |batch| batch.end)
    }

    pub fn holds(&self, batch: &Batch) -> bool {
        let at = self.batches.binary_search_by_key(&batch.base, |known| known.base);
        at.is_ok_and(|at| self.batches[at] == *batch)
    }

    pub fn batches_in(&self, from: i64, to: i64) -> &[Batch] {
        let first = self.batches.partition_point(|batch| batch.end <= from);
        let last = self.batches.partition_point(|batch| batch.base < to);
        &self.batches[first..last.max(first)]
    }

    pub fn apply(&mut self, op: &LogOp) {
        match op {
            LogOp::Append(batch) => {
                assert_eq!(batch.base, self.end(), "appended somewhere else");
                self.batches.push(batch.clone());
            }
            LogOp::Truncate(to) => {
                self.batches.retain(|batch| batch.base < *to);
                assert_eq!(self.end(), *to, "truncated inside a batch");
            }
        }
    }

    pub fn delete_prefix(&mut self, start: i64) {
        self.batches.retain(|batch| batch.base >= start);
        self.start = start;
    }

    pub fn replace(&mut self, start: i64) {
        self.batches.clear();
        self.start = start;
    }

    fn epochs(&self) -> Vec<(i32, i64)> {
        let mut epochs: Vec<(i32, i64)> = Vec::new();
        for batch in &self.batches {
            if epochs.last().is_none_or(|last| last.0 != batch.epoch) {
                epochs.push((batch.epoch, batch.base));
            }
        }
        epochs
    }
}

#[derive(Clone, Debug)]
pub enum LogOp {
    Append(Batch),
    Truncate(i64),
}

/// A flush under way: the first `ops` changes will be on disk.
#[derive(Clone, Debug)]
pub struct Flush {
    pub number: u64,
    pub ops: u64,
    pub end: i64,
}

/// A node and its disk.
#[derive(Debug)]
pub struct Node {
    pub key: ReplicaKey,
    pub config: Config,
    pub raft: Option<Raft>,
    /// Distinguishes what was meant for the node before it crashed.
    pub incarnation: u64,
    pub log: Log,
    disk: Log,
    /// Changes of the log the disk may not have, numbered from `ops_done` on.
    ops: Vec<LogOp>,
    ops_done: u64,
    pub flushes: Vec<Flush>,
    next_flush: u64,
    pub flushed: i64,
    quorum_state: Option<QuorumStateData>,
    pub stores: BTreeMap<u64, QuorumStateData>,
    pub snapshots: BTreeMap<SnapshotId, Stated>,
    /// Voters by which the node was formatted.
    formatted: Option<VoterSet>,
    pub download: Option<(SnapshotId, Vec<u8>)>,
    pub high_watermark: i64,
    pub tick_at: Option<i64>,
    pub asleep_until: i64,
    pub is_blocked: bool,
}

impl Node {
    pub fn new(config: Config, formatted: Option<VoterSet>) -> Self {
        let mut snapshots = BTreeMap::new();
        if formatted.is_some() {
            snapshots.insert(SnapshotId::BOOTSTRAP, (1, formatted.clone()));
        }
        Self {
            key: ReplicaKey::new(config.node_id, config.directory_id),
            config,
            raft: None,
            incarnation: 0,
            log: Log::default(),
            disk: Log::default(),
            ops: Vec::new(),
            ops_done: 0,
            flushes: Vec::new(),
            next_flush: 0,
            flushed: 0,
            quorum_state: None,
            stores: BTreeMap::new(),
            snapshots,
            formatted,
            download: None,
            high_watermark: 0,
            tick_at: None,
            asleep_until: 0,
            is_blocked: false,
        }
    }

    /// The node in one line.
    pub fn describe(&self) -> String {
        let Some(raft) = &self.raft else { return format!("{} is down", self.key.id) };
        let voters: Vec<i32> = raft.history().voters().ids().collect();
        let (role, epoch, leader) = (raft.role(), raft.epoch(), raft.leader_id());
        let (end, mark, id) = (self.log.end(), self.high_watermark, self.key.id);
        let refusal = raft.last_refusal();
        format!("{id} {role:?} {epoch} of {leader:?}, {mark}/{end}, voters {voters:?} {refusal:?}")
    }

    /// Changes the log. What is flushed is only what the disk has.
    pub fn change_log(&mut self, op: LogOp) {
        self.log.apply(&op);
        if let LogOp::Truncate(to) = op {
            self.flushed = self.flushed.min(to);
            for flush in &mut self.flushes {
                flush.end = flush.end.min(to);
            }
        }
        self.ops.push(op);
    }

    /// Begins to flush all there is; returns the flush's number.
    pub fn begin_flush(&mut self) -> u64 {
        self.next_flush += 1;
        let ops = self.ops_done + self.ops.len() as u64;
        let (number, end) = (self.next_flush, self.log.end());
        self.flushes.push(Flush { number, ops, end });
        number
    }

    /// A flush is done; returns the end of what is on disk.
    pub fn end_flush(&mut self, number: u64) -> Option<i64> {
        let at = self.flushes.iter().position(|flush| flush.number == number)?;
        let flush = self.flushes.remove(at);
        let count = flush.ops.saturating_sub(self.ops_done) as usize;
        self.persist(count);
        self.flushed = self.flushed.max(flush.end);
        Some(flush.end)
    }

    fn persist(&mut self, count: usize) {
        for op in self.ops.drain(..count) {
            self.disk.apply(&op);
            self.ops_done += 1;
        }
    }

    pub fn stored(&mut self, number: u64) -> bool {
        let Some(data) = self.stores.remove(&number) else { return false };
        self.stores.retain(|other, _| *other > number);
        self.quorum_state = Some(data);
        true
    }

    pub fn delete_prefix(&mut self, start: i64) {
        // Deletions wait for what they rest on.
        self.persist(self.ops.len());
        self.log.delete_prefix(start);
        self.disk.delete_prefix(start);
        self.flushed = self.flushed.max(start);
    }

    pub fn install(&mut self, id: SnapshotId, stated: Stated) {
        self.ops_done += self.ops.len() as u64;
        self.ops.clear();
        self.flushes.clear();
        self.log.replace(id.end_offset);
        self.disk.replace(id.end_offset);
        self.flushed = id.end_offset;
        self.snapshots.insert(id, stated);
    }

    /// The node dies. Of what the disk wasn't asked to keep, `ops` changes and `stores` writes of
    /// `quorum-state` happen to be there; if only the process died, the log is all there.
    pub fn crash(&mut self, process_only: bool, ops: usize, stores: usize) {
        self.raft = None;
        self.incarnation += 1;
        self.tick_at = None;
        self.download = None;
        self.flushes.clear();
        let kept: Vec<u64> = self.stores.keys().copied().take(stores).collect();
        for number in kept {
            self.stored(number);
        }
        self.stores.clear();
        if !process_only {
            self.persist(ops.min(self.ops.len()));
            self.ops.clear();
            self.log = self.disk.clone();
            self.flushed = self.log.end();
        }
    }

    /// What the node finds when it starts.
    pub fn restored(&self) -> Restored {
        let base = self.snapshots.iter().rev().find(|(id, _)| id.end_offset <= self.log.start);
        let mut kraft_versions = Vec::new();
        let mut voters = Vec::new();
        if let Some((id, (version, stated))) = base {
            kraft_versions.push((id.end_offset - 1, *version));
            voters.extend(stated.clone().map(|stated| (id.end_offset - 1, stated)));
        }
        let mut restored = Restored {
            quorum_state: self.quorum_state.clone(),
            log_start: self.log.start,
            log_end: self.log.end(),
            flushed: self.flushed,
            epochs: self.log.epochs(),
            snapshots: self
                .snapshots
                .keys()
                .map(|id| (*id, snapshot_bytes(*id).len() as u64))
                .collect(),
            kraft_versions,
            voters,
        };
        for batch in &self.log.batches {
            restored.read_log(&batch.bytes).unwrap();
        }
        restored
    }

    /// The voters this node's log states last (C6).
    pub fn stated_voters(&self) -> Option<VoterSet> {
        let in_log = self.log.batches.iter().rev().find_map(|batch| batch.voters.as_ref());
        if let Some((_, voters)) = in_log {
            return Some(voters.clone());
        }
        let base = self.snapshots.iter().rev().find(|(id, _)| id.end_offset <= self.log.start);
        base.and_then(|(_, (_, voters))| voters.clone()).or_else(|| self.formatted.clone())
    }
}

/// The file of a snapshot: its content is not the core's business.
pub fn snapshot_bytes(id: SnapshotId) -> Vec<u8> {
    let length = 50 + (id.end_offset * 7 % 300) as usize;
    (0..length).map(|at| (at as i64 * 31 + id.end_offset + i64::from(id.epoch)) as u8).collect()
}
