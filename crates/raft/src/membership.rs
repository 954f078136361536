//! Changes of the voter set, one at a time (KIP-853).
//!
//! A change is a record that is in force as soon as it is appended. Two sets that differ by one
//! voter share a majority, so the next change waits until the last one is committed, and the first
//! of an epoch until the epoch has committed something.

use messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, ApiVersionsResponse, RemoveRaftVoterRequest,
    RemoveRaftVoterResponse, UpdateRaftVoterRequest,
};
use wire::ErrorCode;

use crate::event::{Peer, Response, Ticket};
use crate::raft::Raft;
use crate::role::{Change, ChangeKind};
use crate::voters::{Endpoint, ReplicaKey, Voter, VoterSet};

type Refusal = (ErrorCode, Option<String>);

fn refuse<T>(code: ErrorCode, message: &str) -> Result<T, Refusal> {
    Err((code, Some(message.to_owned())))
}

impl Raft {
    /// What every change must find: nothing else changing, the epoch established, and a quorum
    /// whose voters are in the log. Returns the voters that are to be changed.
    fn changeable(&self) -> Result<VoterSet, Refusal> {
        let Some(leader) = self.leader() else {
            return Err((ErrorCode::NOT_LEADER_OR_FOLLOWER, None));
        };
        if leader.change.is_some() {
            return refuse(ErrorCode::REQUEST_TIMED_OUT, "a voter change is on its way");
        }
        let Some(high_watermark) = leader.high_watermark else {
            let why = "the leader has not committed anything in its epoch";
            return refuse(ErrorCode::REQUEST_TIMED_OUT, why);
        };
        if self.history.kraft_version() < 1 {
            let why = "kraft.version 0 keeps the voters in the configuration";
            return refuse(ErrorCode::UNSUPPORTED_VERSION, why);
        }
        if self.history.voters_offset().is_none_or(|offset| offset >= high_watermark) {
            return refuse(ErrorCode::REQUEST_TIMED_OUT, "the last voter change isn't committed");
        }
        Ok(self.history.voters().clone())
    }

    fn check_cluster(&self, cluster_id: Option<&String>) -> Result<(), Refusal> {
        match cluster_id {
            Some(other) if *other != self.config.cluster_id => {
                let own = &self.config.cluster_id;
                let why = format!("cluster id {other} is not this cluster's, {own}");
                Err((ErrorCode::INCONSISTENT_CLUSTER_ID, Some(why)))
            }
            _ => Ok(()),
        }
    }

    fn check_leading(&self, epoch: i32) -> Result<(), Refusal> {
        self.leader_only(epoch).map_err(|code| (code, None))
    }

    pub(crate) fn on_add_voter(&mut self, ticket: Ticket, request: AddRaftVoterRequest) {
        if let Err((code, message)) = self.begin_adding(ticket, request) {
            self.answer_add(ticket, code, message);
        }
    }

    fn begin_adding(
        &mut self,
        ticket: Ticket,
        request: AddRaftVoterRequest,
    ) -> Result<(), Refusal> {
        self.check_cluster(request.cluster_id.as_ref())?;
        self.check_leading(self.state.epoch)?;
        if request.voter_id < 0 || request.voter_directory_id.is_zero() {
            return refuse(ErrorCode::INVALID_REQUEST, "a voter has an id and a directory id");
        }
        let key = ReplicaKey::new(request.voter_id, request.voter_directory_id);
        let listeners = request.listeners.into_iter();
        let endpoints: Vec<Endpoint> =
            listeners.map(|at| Endpoint { name: at.name, host: at.host, port: at.port }).collect();
        let Some(at) = Endpoint::find(&endpoints, &self.config.listener_name).cloned() else {
            let why = format!("no endpoint for the listener {}", self.config.listener_name);
            return Err((ErrorCode::INVALID_REQUEST, Some(why)));
        };
        let voters = self.changeable()?;
        if voters.get(key.id).is_some() {
            return refuse(ErrorCode::DUPLICATE_VOTER, "the id is a voter's already");
        }
        // Asked which versions of `kraft.version` it supports, it also proves to be there.
        if !self.peers.is_ready(key.id, self.now_ms) {
            return refuse(ErrorCode::REQUEST_TIMED_OUT, "the new voter can't be asked now");
        }
        let peer = Peer { id: key.id, host: at.host, port: at.port };
        let probe = self.ask(peer, Self::api_versions_request());
        let wait_for_commit = request.ack_when_committed;
        let kind = ChangeKind::Add { key, endpoints, probe, wait_for_commit };
        self.begin_change(Change { ticket, kind, offset: None, deadline_ms: 0 });
        Ok(())
    }

    /// The new voter answered the probe, or can't be reached.
    pub(crate) fn on_api_versions(&mut self, number: u64, response: Option<ApiVersionsResponse>) {
        let Some(change) = self.leader().and_then(|leader| leader.change.as_ref()) else { return };
        let ChangeKind::Add { key, endpoints, probe, wait_for_commit } = &change.kind else {
            return;
        };
        if *probe != number || change.offset.is_some() {
            return;
        }
        let (key, endpoints, waits) = (*key, endpoints.clone(), *wait_for_commit);
        match self.probed(key, endpoints, response) {
            Ok(voters) => {
                let offset = self.marks.end();
                if let Some(leader) = self.leader_mut()
                    && let Some(change) = &mut leader.change
                {
                    change.offset = Some(offset);
                }
                self.append_control(None, Some(voters));
                if !waits {
                    self.end_change(ErrorCode::NONE, None);
                }
            }
            Err((code, message)) => self.end_change(code, message),
        }
    }

    fn probed(
        &self,
        key: ReplicaKey,
        endpoints: Vec<Endpoint>,
        response: Option<ApiVersionsResponse>,
    ) -> Result<VoterSet, Refusal> {
        let Some(response) = response.filter(|response| response.error_code == 0) else {
            return refuse(ErrorCode::REQUEST_TIMED_OUT, "the new voter doesn't say what it can");
        };
        let mut features = response.supported_features.iter();
        let feature = features.find(|feature| feature.name == "kraft.version");
        let range = feature.map_or((0, 0), |found| (found.min_version, found.max_version));
        if !(range.0..=range.1).contains(&self.history.kraft_version()) {
            let why = "the new voter doesn't support the finalized kraft.version";
            return refuse(ErrorCode::INVALID_REQUEST, why);
        }
        let progress = self.leader().and_then(|leader| leader.replicas.get(&key));
        let caught_up = progress.is_some_and(|progress| {
            progress.caught_up_ms > 0 && self.now_ms - progress.last_fetch_ms < CAUGHT_UP_MS
        });
        if !caught_up {
            return refuse(ErrorCode::REQUEST_TIMED_OUT, "the new voter is lagging behind");
        }
        let voter = Voter { key, endpoints, kraft_versions: range };
        match self.history.voters().with(voter) {
            Some(voters) => Ok(voters),
            None => refuse(ErrorCode::DUPLICATE_VOTER, "the id is a voter's already"),
        }
    }

    pub(crate) fn on_remove_voter(&mut self, ticket: Ticket, request: RemoveRaftVoterRequest) {
        match self.without_voter(&request) {
            Ok(voters) => {
                let offset = Some(self.marks.end());
                let kind = ChangeKind::Remove;
                self.begin_change(Change { ticket, kind, offset, deadline_ms: 0 });
                self.append_control(None, Some(voters));
            }
            Err((code, message)) => self.answer_remove(ticket, code, message),
        }
    }

    fn without_voter(&self, request: &RemoveRaftVoterRequest) -> Result<VoterSet, Refusal> {
        self.check_cluster(request.cluster_id.as_ref())?;
        self.check_leading(self.state.epoch)?;
        if request.voter_id < 0 || request.voter_directory_id.is_zero() {
            return refuse(ErrorCode::INVALID_REQUEST, "a voter has an id and a directory id");
        }
        let voters = self.changeable()?;
        match voters.without(&ReplicaKey::new(request.voter_id, request.voter_directory_id)) {
            Some(fewer) if fewer.count() == 0 => {
                refuse(ErrorCode::INVALID_REQUEST, "the last voter can't be removed")
            }
            Some(fewer) => Ok(fewer),
            None => refuse(ErrorCode::VOTER_NOT_FOUND, "no such voter"),
        }
    }

    pub(crate) fn on_update_voter(&mut self, ticket: Ticket, request: UpdateRaftVoterRequest) {
        // Answered at once: the voter looks into the log to see whether it was done.
        let code = match self.with_updated(request) {
            Ok(Some(voters)) => {
                self.append_control(None, Some(voters));
                ErrorCode::NONE
            }
            Ok(None) => ErrorCode::NONE,
            Err((code, _)) => code,
        };
        let response = self.update_voter_answer(code);
        self.answer(ticket, Response::UpdateVoter(response));
    }

    /// The voters after the update; none if there is nothing to write.
    fn with_updated(&self, request: UpdateRaftVoterRequest) -> Result<Option<VoterSet>, Refusal> {
        self.check_cluster(request.cluster_id.as_ref())?;
        self.check_leading(request.current_leader_epoch)?;
        let range = &request.k_raft_version_feature;
        let range = (range.min_supported_version, range.max_supported_version);
        let listeners = request.listeners.into_iter();
        let endpoints: Vec<Endpoint> =
            listeners.map(|at| Endpoint { name: at.name, host: at.host, port: at.port }).collect();
        let reachable = Endpoint::find(&endpoints, &self.config.listener_name).is_some();
        let named = request.voter_id >= 0 && !request.voter_directory_id.is_zero();
        if !named || !reachable || range.0 < 0 || range.1 < range.0 {
            return Err((ErrorCode::INVALID_REQUEST, None));
        }
        let key = ReplicaKey::new(request.voter_id, request.voter_directory_id);
        let voter = Voter { key, endpoints, kraft_versions: range };
        if self.history.kraft_version() < 1 {
            // The endpoints in force are the configuration's; what a voter supports would matter
            // only to raise `kraft.version`.
            let known = self.history.voters().contains(&key);
            return if known { Ok(None) } else { Err((ErrorCode::VOTER_NOT_FOUND, None)) };
        }
        let voters = self.changeable()?;
        if !(range.0..=range.1).contains(&self.history.kraft_version()) {
            return Err((ErrorCode::INVALID_REQUEST, None));
        }
        let updated = voters.updated(voter).ok_or((ErrorCode::VOTER_NOT_FOUND, None))?;
        Ok(Some(updated).filter(|updated| *updated != voters))
    }

    fn begin_change(&mut self, change: Change) {
        let deadline_ms = self.now_ms + self.config.request_timeout_ms;
        if let Some(leader) = self.leader_mut() {
            leader.change = Some(Change { deadline_ms, ..change });
        }
    }

    /// The high watermark rose: a change below it is done, and a leader that no longer votes goes.
    pub(crate) fn complete_change(&mut self) {
        let Some(leader) = self.leader() else { return };
        let committed = |offset: i64| leader.high_watermark.is_some_and(|mark| mark > offset);
        let done = leader.change.as_ref().and_then(|change| change.offset).is_some_and(committed);
        let settled = self.history.voters_offset().is_some_and(committed);
        if done {
            self.end_change(ErrorCode::NONE, None);
        }
        let leaves = settled && !self.is_voter();
        if let Some(leader) = self.leader_mut().filter(|_| leaves) {
            leader.resigning = true;
        }
    }

    pub(crate) fn expire_change(&mut self) {
        let now_ms = self.now_ms;
        let change = self.leader().and_then(|leader| leader.change.as_ref());
        if change.is_some_and(|change| now_ms >= change.deadline_ms) {
            self.end_change(ErrorCode::REQUEST_TIMED_OUT, None);
        }
    }

    /// Whether the change happens is up to the next leader.
    pub(crate) fn abandon_change(&mut self) {
        self.end_change(ErrorCode::NOT_LEADER_OR_FOLLOWER, None);
    }

    fn end_change(&mut self, code: ErrorCode, message: Option<String>) {
        let Some(change) = self.leader_mut().and_then(|leader| leader.change.take()) else {
            return;
        };
        match change.kind {
            ChangeKind::Add { .. } => self.answer_add(change.ticket, code, message),
            ChangeKind::Remove => self.answer_remove(change.ticket, code, message),
        }
    }

    fn answer_add(&mut self, ticket: Ticket, code: ErrorCode, error_message: Option<String>) {
        let error_code = code.0;
        let body = AddRaftVoterResponse { error_code, error_message, ..Default::default() };
        self.answer(ticket, Response::AddVoter(body));
    }

    fn answer_remove(&mut self, ticket: Ticket, code: ErrorCode, error_message: Option<String>) {
        let error_code = code.0;
        let body = RemoveRaftVoterResponse { error_code, error_message, ..Default::default() };
        self.answer(ticket, Response::RemoveVoter(body));
    }
}

/// A replica that fetched everything, and fetched within this time, may become a voter.
const CAUGHT_UP_MS: i64 = 3_600_000;
