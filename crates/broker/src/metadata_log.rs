//! The log of the cluster's metadata, and what is done when records in it are committed.
//!
//! A single node is its own quorum: what is durable is committed. The formats are those of a
//! quorum all the same: batches carry the raft epoch, each epoch begins with a LEADER_CHANGE
//! record, and the first one also states `kraft.version` and the voters (KIP-853).

use std::collections::VecDeque;

use messages::voters_record::{Endpoint, KRaftVersionFeature, Voter};
use messages::{KRaftVersionRecord, LeaderChangeMessage, Message, VotersRecord};
use metadata::Record;
use ottla_log::Log;
use ottla_log::disk::{FileIds, Submission};
use ottla_log::planted::{self, Bug};
use wire::record::{BatchBuilder, BatchOptions, ControlKind};
use wire::{Bytes, Uuid};

use crate::event::Call;
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
    records: Vec<Record>,
    then: OnCommit,
}

/// The metadata log of a node that leads its quorum.
#[derive(Debug)]
pub struct MetadataLog {
    /// The log itself.
    pub log: Log,
    epoch: i32,
    committed: i64,
    pending: VecDeque<Pending>,
}

impl MetadataLog {
    /// Takes over a log in a new raft epoch.
    pub fn new(log: Log, epoch: i32) -> Self {
        let committed = log.end();
        Self { log, epoch, committed, pending: VecDeque::new() }
    }

    /// The end of what is committed, exclusive: the offset the image is at.
    pub fn committed(&self) -> i64 {
        self.committed
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
        then: OnCommit,
        now_ms: i64,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) -> Result<(), String> {
        let mut builder = BatchBuilder::new(self.options(false));
        for record in &records {
            let value = record.to_value().map_err(|error| error.to_string())?;
            builder.push(now_ms, None, Some(&value), &[]);
        }
        self.append_batch(builder, now_ms, ids, out)?;
        self.pending.push_back(Pending { end: self.log.end(), records, then });
        Ok(())
    }

    /// Appends the control batch with which this node's epoch begins.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn begin_epoch(
        &mut self,
        voter: &VoterIdentity,
        now_ms: i64,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) -> Result<(), String> {
        let first = self.log.end() == 0;
        let mut builder = BatchBuilder::new(self.options(true));
        let only =
            messages::leader_change_message::Voter { voter_id: voter.id, ..Default::default() };
        let change = LeaderChangeMessage {
            leader_id: voter.id,
            voters: vec![only.clone()],
            granting_voters: vec![only],
            ..Default::default()
        };
        push_control(&mut builder, ControlKind::LeaderChange, &change, now_ms)?;
        if first {
            push_voters(&mut builder, voter, now_ms)?;
        }
        self.append_batch(builder, now_ms, ids, out)
    }

    /// What was committed since the last call: records and what to do, in order.
    pub fn take_committed(&mut self) -> Vec<(Vec<Record>, OnCommit)> {
        let early = planted::is(Bug::MetadataBeforeDurable);
        self.committed = if early { self.log.written() } else { self.log.flushed() };
        let mut done = Vec::new();
        while self.pending.front().is_some_and(|pending| pending.end <= self.committed) {
            if let Some(pending) = self.pending.pop_front() {
                done.push((pending.records, pending.then));
            }
        }
        done
    }

    fn options(&self, control: bool) -> BatchOptions {
        BatchOptions {
            base_offset: self.log.end(),
            leader_epoch: self.epoch,
            control,
            ..Default::default()
        }
    }

    fn append_batch(
        &mut self,
        builder: BatchBuilder,
        now_ms: i64,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) -> Result<(), String> {
        let batch = builder.build().map_err(|error| error.to_string())?;
        self.log
            .append_as_follower(now_ms, batch, ids, out)
            .map_err(|error| format!("{error:?}"))?;
        Ok(())
    }
}

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

fn push_control<M: Message>(
    builder: &mut BatchBuilder,
    kind: ControlKind,
    body: &M,
    now_ms: i64,
) -> Result<(), String> {
    let value = body.to_bytes(0).map_err(|error| error.to_string())?;
    builder.push_control(now_ms, kind, &value);
    Ok(())
}

/// The records that make a quorum one with voters in its log.
fn push_voters(
    builder: &mut BatchBuilder,
    voter: &VoterIdentity,
    now_ms: i64,
) -> Result<(), String> {
    let version = KRaftVersionRecord { k_raft_version: 1, ..Default::default() };
    push_control(builder, ControlKind::KRaftVersion, &version, now_ms)?;
    let (name, host, port) = voter.endpoint.clone();
    let voters = VotersRecord {
        voters: vec![Voter {
            voter_id: voter.id,
            voter_directory_id: voter.directory_id,
            endpoints: vec![Endpoint { name, host, port, ..Default::default() }],
            k_raft_version_feature: KRaftVersionFeature {
                min_supported_version: 0,
                max_supported_version: 1,
                ..Default::default()
            },
            ..Default::default()
        }],
        ..Default::default()
    };
    push_control(builder, ControlKind::KRaftVoters, &voters, now_ms)
}

/// The bootstrap snapshot `0-0` that formatting a directory writes: quorum, then features.
///
/// # Errors
/// A record that can't be encoded: a mistake of ours.
pub fn bootstrap_snapshot(voter: &VoterIdentity, now_ms: i64) -> Result<Bytes, String> {
    let control = |base_offset| {
        BatchBuilder::new(BatchOptions { base_offset, control: true, ..Default::default() })
    };
    let build = |builder: BatchBuilder| builder.build().map_err(|error| error.to_string());
    let mut head = control(0);
    let header = messages::SnapshotHeaderRecord::default();
    push_control(&mut head, ControlKind::SnapshotHeader, &header, now_ms)?;
    push_voters(&mut head, voter, now_ms)?;
    let mut body = BatchBuilder::new(BatchOptions { base_offset: 3, ..Default::default() });
    let records = metadata::controller::bootstrap();
    for record in &records {
        let value = record.to_value().map_err(|error| error.to_string())?;
        body.push(now_ms, None, Some(&value), &[]);
    }
    let mut foot = control(3 + records.len() as i64);
    let footer = messages::SnapshotFooterRecord::default();
    push_control(&mut foot, ControlKind::SnapshotFooter, &footer, now_ms)?;
    Ok([build(head)?, build(body)?, build(foot)?].concat().into())
}
