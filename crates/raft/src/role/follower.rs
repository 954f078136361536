//! Follower: fetches from the leader of the epoch, as a voter or as an observer.
//!
//! The next fetch goes out when the last one's records are flushed: its offset is how a leader
//! learns what is safe here.
//!
//! Invariants:
//! - I1: the high watermark is at most the end of the log.
//! - I2: nothing below the high watermark is truncated (the core's I4).

use messages::fetch_response::PartitionData;
use messages::{FetchResponse, FetchSnapshotResponse};
use wire::{Bytes, ErrorCode};

use crate::control::{Statement, read_fetched};
use crate::event::{Effect, Peer, Response};
use crate::marks::SnapshotId;
use crate::question::{fetched_partition, fetched_snapshot};
use crate::raft::Raft;
use crate::role::Role;

/// A leader and how it is followed.
#[derive(Debug)]
pub(crate) struct Follower {
    /// When the leader counts as gone.
    pub deadline_ms: i64,
    /// The leader has answered a fetch: promising others a vote would be disloyal.
    pub has_fetched: bool,
    /// The snapshot being downloaded.
    pub download: Option<Download>,
    /// When to look whether the leader must be told of our endpoints.
    pub update_at_ms: i64,
    /// It was told in this epoch.
    pub updated: bool,
}

/// A snapshot on its way here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Download {
    pub id: SnapshotId,
    pub position: i64,
}

impl Follower {
    pub fn new(now_ms: i64, fetch_timeout_ms: i64) -> Self {
        Self {
            deadline_ms: now_ms + fetch_timeout_ms,
            has_fetched: false,
            download: None,
            update_at_ms: now_ms + fetch_timeout_ms,
            updated: false,
        }
    }
}

impl Raft {
    pub(crate) fn drive_follower(&mut self) {
        let Role::Follower(follower) = &self.role else { return };
        let late = self.now_ms >= follower.deadline_ms;
        if late && self.can_stand() {
            self.become_prospective();
            return;
        }
        let Some(leader) = self.leader_peer() else { return };
        if !self.is_voter() && (late || self.peers.is_pausing(leader.id, self.now_ms)) {
            self.ask_anybody();
            return;
        }
        let busy = !self.is_voter() && self.peers.is_any_inflight();
        if busy || !self.may_fetch() || !self.peers.is_ready(leader.id, self.now_ms) {
            return;
        }
        let request = if self.take_update_turn() {
            self.update_voter_request()
        } else {
            match self.download() {
                Some(download) => self.fetch_snapshot_request(download),
                None => self.fetch_request(),
            }
        };
        self.ask(leader, request);
    }

    fn download(&self) -> Option<Download> {
        match &self.role {
            Role::Follower(follower) => follower.download,
            _ => None,
        }
    }

    /// Now and then a voter looks whether the log has its endpoints right. Without reconfiguration
    /// the leader keeps them in memory and is told once (KIP-853).
    fn take_update_turn(&mut self) -> bool {
        let voter = self.is_voter();
        let outdated = match self.history.kraft_version() {
            0 => None,
            _ => {
                let known = self.history.voters().get(self.me.id);
                Some(known.is_some_and(|known| *known != self.as_voter()))
            }
        };
        let (now_ms, period_ms) = (self.now_ms, self.config.fetch_timeout_ms);
        let Role::Follower(follower) = &mut self.role else { return false };
        if !voter || now_ms < follower.update_at_ms {
            return false;
        }
        follower.update_at_ms = now_ms + period_ms;
        let due = outdated.unwrap_or(!follower.updated);
        follower.updated = true;
        due
    }

    /// The leader is there.
    fn heard_from_leader(&mut self) {
        let deadline_ms = self.now_ms + self.config.fetch_timeout_ms;
        if let Role::Follower(follower) = &mut self.role {
            follower.deadline_ms = deadline_ms;
        }
    }

    /// The time our own disk took is not the leader's.
    pub(crate) fn flushed_as_follower(&mut self) {
        if self.marks.flushed() == self.marks.end() {
            self.heard_from_leader();
        }
    }

    pub(crate) fn on_fetch_response(&mut self, peer: &Peer, response: FetchResponse) {
        let error = ErrorCode(response.error_code);
        let Some(partition) = fetched_partition(&response).filter(|_| error.is_none()) else {
            self.pause(peer.id);
            return;
        };
        let said = &partition.current_leader;
        let error = ErrorCode(partition.error_code);
        let nodes = response.node_endpoints.iter();
        let nodes = nodes.map(|node| (node.node_id, node.host.as_str(), node.port as u16));
        let endpoints = self.endpoints_in(said.leader_id, nodes);
        if self.absorb(peer, error, said.leader_id, said.leader_epoch, endpoints) {
            return;
        }
        // Only the leader answers a fetch without an error.
        let follows = matches!(&self.role, Role::Follower(_));
        if !follows || !error.is_none() || self.state.leader != Some(said.leader_id) {
            self.pause(peer.id);
            return;
        }
        let taken = match (&partition.diverging_epoch, &partition.snapshot_id) {
            (diverging, _) if diverging.epoch >= 0 => {
                self.truncate_to(diverging.epoch, diverging.end_offset)
            }
            (_, id) if id.epoch >= 0 || id.end_offset >= 0 => {
                self.begin_download(SnapshotId { end_offset: id.end_offset, epoch: id.epoch })
            }
            _ => self.append_fetched(partition),
        };
        if let Err(why) = taken {
            // A leader that sends this is broken; the next fetch may find another one.
            self.last_refusal = Some(why);
            self.pause(peer.id);
            return;
        }
        self.heard_from_leader();
        if let Role::Follower(follower) = &mut self.role {
            follower.has_fetched = true;
        }
    }

    /// Cuts the log to where it may still agree with the leader's, whose `epoch` ends there.
    fn truncate_to(&mut self, epoch: i32, end_offset: i64) -> Result<(), &'static str> {
        if end_offset < 0 {
            return Err("a diverging epoch without an end");
        }
        let to = match self.marks.end_of_epoch(epoch) {
            (known, end) if known == epoch || epoch == 0 => end.min(end_offset),
            (_, end) => end,
        };
        if to < self.committed {
            self.halt(format!(
                "the leader of epoch {} asks to truncate to {to}, below the high watermark {}",
                self.state.epoch, self.committed
            ));
            return Ok(());
        }
        self.marks.truncate(to);
        self.history.truncate(to);
        self.out.push(Effect::Truncate { to });
        Ok(())
    }

    fn begin_download(&mut self, id: SnapshotId) -> Result<(), &'static str> {
        if id.epoch < 0 || id.epoch > self.state.epoch || id.end_offset <= self.committed {
            return Err("a snapshot that can't be of use");
        }
        if let Role::Follower(follower) = &mut self.role {
            follower.download = Some(Download { id, position: 0 });
        }
        Ok(())
    }

    fn append_fetched(&mut self, partition: &PartitionData) -> Result<(), &'static str> {
        let records = partition.records.clone().unwrap_or_default();
        let (end, epoch) = (self.marks.end(), self.marks.last_epoch());
        let empty = records.is_empty();
        let (batches, records) = read_fetched(&records, end, epoch, self.state.epoch)?;
        if batches.is_empty() && !empty {
            return Err("not one whole batch");
        }
        for batch in batches {
            self.marks.appended(batch.epoch, batch.end_offset);
            for (offset, statement) in batch.statements {
                match statement {
                    Statement::KRaftVersion(version) => {
                        self.history.push_kraft_version(offset, version);
                    }
                    Statement::Voters(voters) => self.history.push_voters(offset, voters),
                }
            }
        }
        if !records.is_empty() {
            self.out.push(Effect::AppendFetched { records, end: self.marks.end() });
        }
        self.commit(partition.high_watermark.min(self.marks.end()));
        Ok(())
    }

    pub(crate) fn on_fetch_snapshot_response(
        &mut self,
        peer: &Peer,
        response: FetchSnapshotResponse,
    ) {
        let error = ErrorCode(response.error_code);
        let Some(partition) = fetched_snapshot(&response).filter(|_| error.is_none()) else {
            self.pause(peer.id);
            return;
        };
        let said = &partition.current_leader;
        let error = ErrorCode(partition.error_code);
        let nodes = response.node_endpoints.iter();
        let nodes = nodes.map(|node| (node.node_id, node.host.as_str(), node.port));
        let endpoints = self.endpoints_in(said.leader_id, nodes);
        if self.absorb(peer, error, said.leader_id, said.leader_epoch, endpoints) {
            return;
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(download) = follower.download else { return };
        let id = &partition.snapshot_id;
        let id = SnapshotId { end_offset: id.end_offset, epoch: id.epoch };
        if !error.is_none() || id != download.id || partition.position != download.position {
            // The leader may have deleted it: fetch again and see.
            follower.download = None;
            self.heard_from_leader();
            self.pause(peer.id);
            return;
        }
        let bytes: Bytes = partition.unaligned_records.clone();
        let position = download.position + bytes.len() as i64;
        if (bytes.is_empty() && position < partition.size) || position > partition.size {
            follower.download = None;
            self.pause(peer.id);
            return;
        }
        follower.download = Some(Download { id, position });
        self.out.push(Effect::AppendSnapshotChunk { id, position: download.position, bytes });
        if position == partition.size {
            follower.download = None;
            self.installing = Some(id);
            self.out.push(Effect::InstallSnapshot { id });
        }
        self.heard_from_leader();
    }

    /// An answer to UpdateRaftVoter only says who leads; whether the log has it will be seen.
    pub(crate) fn on_update_voter_response(&mut self, peer: &Peer, response: Response) {
        let Response::UpdateVoter(response) = response else { return };
        let said = &response.current_leader;
        let error = ErrorCode(response.error_code);
        let host = Some(said.host.as_str()).filter(|host| !host.is_empty());
        let node = host.map(|host| (said.leader_id, host, said.port as u16));
        let endpoints = self.endpoints_in(said.leader_id, node.into_iter());
        self.absorb(peer, error, said.leader_id, said.leader_epoch, endpoints);
    }
}
