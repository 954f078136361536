//! The log of the cluster's metadata, and what is done when records in it are committed.
//!
//! A single node is its own quorum, by the rules of every quorum: `raft` says what is committed,
//! when a leader may write, and what it writes first.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use messages::voters_record::{Endpoint, KRaftVersionFeature, Voter};
use messages::{DescribeQuorumRequest, DescribeQuorumResponse, VotersRecord};
use metadata::{Image, QuorumStatement, Record, SnapshotId, snapshot};
use ottla_log::Log;
use ottla_log::disk::{FileIds, Op, Submission, Token};
use ottla_log::planted::{self, Bug};
use raft::Raft;
use wire::Uuid;
use wire::record::{BatchBuilder, BatchOptions};

use crate::event::{Call, Now};
use crate::reply::Body;

/// What to do when records are committed.
#[derive(Debug)]
pub enum OnCommit {
    /// Nothing beyond applying them.
    Nothing,
    /// Answer the request that asked for them.
    Answer(Call, Body),
    /// Begin to hand out the block of producer ids that starts here.
    ProducerIds(i64),
}

/// Records on their way to being committed.
#[derive(Debug)]
struct Pending {
    end: i64,
    bytes: u64,
    written_ms: i64,
    records: Vec<Record>,
    then: OnCommit,
}

/// The metadata log of a node that leads its quorum.
#[derive(Debug)]
pub struct MetadataLog {
    /// The log itself.
    pub log: Log,
    /// Its snapshots.
    pub snapshots: Snapshots,
    raft: Raft,
    /// When the last committed record was written.
    committed_ms: i64,
    pending: VecDeque<Pending>,
}

impl MetadataLog {
    /// Takes over a log whose quorum this node leads.
    pub fn new(log: Log, raft: Raft, snapshots: Snapshots, committed_ms: i64) -> Self {
        Self { log, snapshots, raft, committed_ms, pending: VecDeque::new() }
    }

    /// Tells the quorum's core a fact. What it may order where nobody else votes is little.
    fn tell(&mut self, event: raft::Event, now_ms: i64) -> Result<(), String> {
        let mut orders = Vec::new();
        self.raft.step(now_ms, event, &mut orders);
        for order in orders {
            match order {
                raft::Effect::Committed { .. } | raft::Effect::Became { .. } => {}
                raft::Effect::Halt { reason } => return Err(reason),
                other => return Err(format!("a quorum of one does not order {other:?}")),
            }
        }
        Ok(())
    }

    /// The quorum as its core sees it.
    pub fn describe_quorum(
        &mut self,
        request: DescribeQuorumRequest,
        version: i16,
        now_ms: i64,
    ) -> Option<DescribeQuorumResponse> {
        let mut orders = Vec::new();
        let request = raft::Request::DescribeQuorum(request);
        let event = raft::Event::Requested { ticket: 0, version, request };
        self.raft.step(now_ms, event, &mut orders);
        orders.into_iter().find_map(|order| match order {
            raft::Effect::Answer { response: raft::Response::DescribeQuorum(response), .. } => {
                Some(response)
            }
            _ => None,
        })
    }

    /// What the log states about its quorum.
    fn quorum(&self) -> QuorumStatement {
        let history = self.raft.history();
        let kraft_version = history.kraft_version();
        let voters = (kraft_version > 0).then(|| history.voters().to_record());
        QuorumStatement { kraft_version, voters }
    }

    /// The end of what is committed, exclusive: the offset the image is at.
    pub fn committed(&self) -> i64 {
        self.raft.committed()
    }

    /// The offset the next record will have.
    pub fn next_offset(&self) -> i64 {
        self.log.end()
    }

    /// Appends records as one batch, so that they are replayed all or not at all.
    ///
    /// # Errors
    /// A record that can't be encoded or a batch the log refuses: a mistake of ours.
    pub fn append(
        &mut self,
        records: Vec<Record>,
        metadata_version: i16,
        then: OnCommit,
        now_ms: i64,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) -> Result<(), String> {
        let Some(leader_epoch) = self.raft.leading() else {
            return Err("this node does not lead its quorum".to_owned());
        };
        let base_offset = self.log.end();
        let options = BatchOptions { base_offset, leader_epoch, ..Default::default() };
        let mut builder = BatchBuilder::new(options);
        for record in &records {
            let value = record.to_value(metadata_version).map_err(|error| error.to_string())?;
            builder.push(now_ms, None, Some(&value), &[]);
        }
        let batch = builder.build().map_err(|error| error.to_string())?;
        let bytes = batch.len() as u64;
        self.log
            .append_as_follower(now_ms, batch, ids, out)
            .map_err(|error| format!("{error:?}"))?;
        let end = self.log.end();
        self.tell(raft::Event::Appended { epoch: leader_epoch, end }, now_ms)?;
        self.pending.push_back(Pending { end, bytes, written_ms: now_ms, records, then });
        Ok(())
    }

    /// What was committed since the last call: records and what to do, in order.
    ///
    /// # Errors
    /// The quorum's core can't go on.
    pub fn take_committed(&mut self, now_ms: i64) -> Result<Vec<(Vec<Record>, OnCommit)>, String> {
        let early = planted::is(Bug::MetadataBeforeDurable);
        let end = if early { self.log.written() } else { self.log.flushed() };
        self.tell(raft::Event::Flushed { end }, now_ms)?;
        let committed = self.committed();
        let mut done = Vec::new();
        while self.pending.front().is_some_and(|pending| pending.end <= committed) {
            if let Some(pending) = self.pending.pop_front() {
                self.snapshots.bytes_since += pending.bytes;
                self.committed_ms = pending.written_ms;
                done.push((pending.records, pending.then));
            }
        }
        Ok(done)
    }

    /// Writes a snapshot of the image, which is that of all that is committed, if it is time.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn take_snapshot(
        &mut self,
        image: &Image,
        rules: &SnapshotRules,
        now: Now,
    ) -> Result<Option<Submission>, String> {
        let (committed, quorum) = (self.committed(), self.quorum());
        let snapshots = &mut self.snapshots;
        let waited = now.steady_ms - snapshots.taken_ms >= rules.interval_ms;
        let due = snapshots.bytes_since >= rules.bytes_between
            || (rules.interval_ms > 0 && waited && snapshots.bytes_since > 0);
        if !due || snapshots.writing.is_some() || committed == 0 {
            return Ok(None);
        }
        let epoch = self.raft.epoch_before(committed);
        let id = SnapshotId { end_offset: committed, epoch };
        let mut records = snapshot::records(image);
        if planted::is(Bug::SnapshotForgetsTopic) {
            let youngest = image.topics.last_key_value().map(|(id, _)| *id);
            records.retain(|record| match record {
                Record::Topic(topic) => Some(topic.topic_id) != youngest,
                Record::Partition(partition) => Some(partition.topic_id) != youngest,
                _ => true,
            });
        }
        let file = snapshot::write(
            &records,
            image.metadata_version(),
            &quorum,
            epoch,
            self.committed_ms,
            now.wall_ms,
        )?;
        snapshots.taken_ms = now.steady_ms;
        snapshots.bytes_since = 0;
        let bytes = file.len() as u64;
        snapshots.writing = Some(Snapshot { id, bytes, last_timestamp_ms: self.committed_ms });
        let path = snapshots.dir.join(id.file_name());
        Ok(Some(Submission { token: SNAPSHOT_TOKEN, op: Op::Replace { path, bytes: file } }))
    }

    /// The snapshot under way is durable, or could not be written: then the next one is tried
    /// after as many bytes again.
    ///
    /// # Errors
    /// The quorum's core can't go on.
    pub fn snapshot_ended(&mut self, written: bool, now_ms: i64) -> Result<(), String> {
        let Some(snapshot) = self.snapshots.writing.take().filter(|_| written) else {
            return Ok(());
        };
        self.snapshots.kept.push(snapshot);
        let Snapshot { id, bytes, .. } = snapshot;
        self.tell(raft::Event::SnapshotTaken { id, bytes }, now_ms)
    }

    /// Gives up old snapshots and the part of the log before those that are kept: the newest one
    /// always, others while they are young and all together small enough.
    ///
    /// # Errors
    /// The quorum's core can't go on.
    pub fn prune(
        &mut self,
        rules: &SnapshotRules,
        now: Now,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) -> Result<Vec<Submission>, String> {
        let mut removed = Vec::new();
        while let [oldest, next, ..] = self.snapshots.kept.as_slice() {
            let sizes: u64 = self.snapshots.kept.iter().map(|snapshot| snapshot.bytes).sum();
            let total = i64::try_from(self.log.size() + sizes).unwrap_or(i64::MAX);
            let large = rules.retention_bytes >= 0 && total > rules.retention_bytes;
            let age = now.wall_ms.saturating_sub(oldest.last_timestamp_ms);
            let old = rules.retention_ms >= 0 && age > rules.retention_ms;
            if !large && !old {
                break;
            }
            let (start, id) = (next.id.end_offset, oldest.id);
            let path = self.snapshots.dir.join(id.file_name());
            removed.push(Submission { token: REMOVED_TOKEN, op: Op::RemoveFile { path } });
            self.snapshots.kept.remove(0);
            self.tell(raft::Event::SnapshotDeleted { id }, now.wall_ms)?;
            if self.log.delete_records(start) {
                self.tell(raft::Event::PrefixDeleted { start }, now.wall_ms)?;
            }
        }
        self.log.expire(now.wall_ms, self.committed(), ids, out);
        self.log.empty_trash(now.wall_ms, out);
        Ok(removed)
    }
}

/// When snapshots are taken and given up.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotRules {
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub bytes_between: u64,
    /// `metadata.log.max.snapshot.interval.ms`; 0 is never.
    pub interval_ms: i64,
    /// `metadata.max.retention.bytes`; negative is for ever.
    pub retention_bytes: i64,
    /// `metadata.max.retention.ms`; negative is for ever.
    pub retention_ms: i64,
}

/// A snapshot that is there.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// What it holds.
    pub id: SnapshotId,
    /// The size of its file.
    pub bytes: u64,
    /// The time of the last record in it.
    pub last_timestamp_ms: i64,
}

/// The snapshots of a metadata log.
#[derive(Debug)]
pub struct Snapshots {
    dir: PathBuf,
    /// From the oldest on.
    kept: Vec<Snapshot>,
    writing: Option<Snapshot>,
    /// Bytes of records committed since the last one.
    bytes_since: u64,
    /// When the last one was taken, on the steady clock.
    taken_ms: i64,
}

impl Snapshots {
    /// What the quorum's core is told of them at the start.
    pub fn known(&self) -> Vec<(SnapshotId, u64)> {
        self.kept.iter().map(|snapshot| (snapshot.id, snapshot.bytes)).collect()
    }

    /// Those found in a directory, and the bytes of the log behind the newest.
    pub fn new(dir: &Path, kept: Vec<Snapshot>, bytes_since: u64) -> Self {
        Self { dir: dir.to_owned(), kept, writing: None, bytes_since, taken_ms: 0 }
    }
}

/// Names the writing of a snapshot; one is under way at a time.
pub const SNAPSHOT_TOKEN: Token = Token(0);
/// Names removals, whose ends nobody waits for.
pub const REMOVED_TOKEN: Token = Token(1);

/// This node as a voter of its quorum.
#[derive(Clone, Debug)]
pub struct VoterIdentity {
    /// Its node id.
    pub id: i32,
    /// The id of its metadata directory.
    pub directory_id: Uuid,
    /// Name, host and port of its controller listener.
    pub endpoint: (String, String, u16),
}

impl VoterIdentity {
    /// What a log says whose only voter this is (KIP-853).
    pub fn alone(self) -> QuorumStatement {
        let (name, host, port) = self.endpoint;
        let voters = vec![Voter {
            voter_id: self.id,
            voter_directory_id: self.directory_id,
            endpoints: vec![Endpoint { name, host, port, ..Default::default() }],
            k_raft_version_feature: KRaftVersionFeature {
                min_supported_version: 0,
                max_supported_version: 1,
                ..Default::default()
            },
            ..Default::default()
        }];
        let voters = VotersRecord { voters, ..Default::default() };
        QuorumStatement { kraft_version: 1, voters: Some(voters) }
    }
}
