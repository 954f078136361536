//! Elections as seen by those who are asked, and what the answers mean to who asked; also the
//! beginnings and ends of epochs that leaders announce.

use messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest,
    EndQuorumEpochResponse, VoteRequest, VoteResponse,
};
use ottla_log::planted::{self, Bug};
use wire::ErrorCode;

use crate::event::{Peer, Response, Ticket};
use crate::question::is_metadata;
use crate::raft::Raft;
use crate::role::Role;
use crate::voters::{Endpoint, ReplicaKey};

impl Raft {
    /// Asks these voters, as far as they can be asked now.
    pub(crate) fn ask_for_votes(&mut self, voters: Vec<i32>, pre_vote: bool) {
        for id in voters {
            let Some(key) = self.history.voters().get(id).map(|voter| voter.key) else { continue };
            if let Some(peer) = self.voter_peer(id)
                && id != self.me.id
                && self.peers.is_ready(id, self.now_ms)
            {
                let request = self.vote_request(key, pre_vote);
                self.ask(peer, request);
            }
        }
    }

    /// What is wrong with a request only a voter or a leader of this epoch may send.
    fn voter_only(&self, replica_id: i32, epoch: i32) -> Result<(), ErrorCode> {
        if epoch < self.state.epoch {
            Err(ErrorCode::FENCED_LEADER_EPOCH)
        } else if replica_id < 0 {
            Err(ErrorCode::INVALID_REQUEST)
        } else {
            Ok(())
        }
    }

    /// True if the request is for this replica, not for what had its id before.
    fn is_addressee(&self, voter: ReplicaKey) -> bool {
        voter.id < 0 || voter.names(&self.me)
    }

    pub(crate) fn on_vote(&mut self, ticket: Ticket, request: VoteRequest) {
        let response = self.vote(&request);
        self.answer(ticket, Response::Vote(response));
    }

    fn vote(&mut self, request: &VoteRequest) -> VoteResponse {
        let top = |code: ErrorCode| VoteResponse { error_code: code.0, ..Default::default() };
        if !self.is_our_cluster(request.cluster_id.as_deref()) {
            return top(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let Some(asked) = request.topics.first().and_then(|topic| {
            let one = is_metadata(&topic.topic_name) && request.topics.len() == 1;
            topic.partitions.first().filter(|found| one && found.partition_index == 0)
        }) else {
            return top(ErrorCode::INVALID_REQUEST);
        };
        // A candidate has made its epoch itself, so its log can't have it yet.
        let epoch_max = asked.replica_epoch - i32::from(!asked.pre_vote);
        if asked.last_offset < 0
            || asked.last_offset_epoch < 0
            || asked.last_offset_epoch > epoch_max
        {
            return self.vote_answer(ErrorCode::INVALID_REQUEST, false);
        }
        if let Err(code) = self.voter_only(asked.replica_id, asked.replica_epoch) {
            return self.vote_answer(code, false);
        }
        if asked.replica_epoch > self.state.epoch {
            self.become_unattached(asked.replica_epoch);
        }
        if !self.is_addressee(ReplicaKey::new(request.voter_id, asked.voter_directory_id)) {
            return self.vote_answer(ErrorCode::INVALID_VOTER_KEY, false);
        }
        let candidate = ReplicaKey::new(asked.replica_id, asked.replica_directory_id);
        let log = (asked.last_offset_epoch, asked.last_offset);
        let up_to_date = log >= (self.marks.last_epoch(), self.marks.end())
            || planted::is(Bug::RaftVoteIgnoresLog);
        let granted =
            self.installing.is_none() && self.grants(candidate, up_to_date, asked.pre_vote);
        if granted && !asked.pre_vote {
            self.state.voted = Some(candidate);
        }
        self.vote_answer(ErrorCode::NONE, granted)
    }

    /// Whether the role of this node allows the vote. Unattached and prospective nodes are free;
    /// the others have decided for somebody, and may only promise what is of a later epoch.
    fn grants(&self, candidate: ReplicaKey, up_to_date: bool, pre_vote: bool) -> bool {
        if pre_vote {
            // Who hears from its leader does not help to unseat it.
            return up_to_date
                && match &self.role {
                    Role::Leader(_) => false,
                    Role::Follower(follower) => !follower.has_fetched,
                    _ => true,
                };
        }
        if planted::is(Bug::RaftSecondVote) && !matches!(self.role, Role::Leader(_)) {
            return up_to_date;
        }
        match &self.role {
            Role::Unattached(_) | Role::Prospective(_) => match self.state.voted {
                Some(voted) => voted.names(&candidate),
                None => self.state.leader.is_none() && up_to_date,
            },
            _ => false,
        }
    }

    pub(crate) fn on_vote_response(&mut self, peer: &Peer, response: VoteResponse) {
        let error = ErrorCode(response.error_code);
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let Some(said) = partition.filter(|_| error.is_none()) else {
            self.on_top_level_error(peer, error);
            return;
        };
        let nodes = response.node_endpoints.iter();
        let nodes = nodes.map(|node| (node.node_id, node.host.as_str(), node.port));
        let endpoints = self.endpoints_in(said.leader_id, nodes);
        let error = ErrorCode(said.error_code);
        if self.absorb(peer, error, said.leader_id, said.leader_epoch, endpoints) {
            return;
        }
        if !error.is_none() {
            self.on_top_level_error(peer, error);
            return;
        }
        match &mut self.role {
            Role::Prospective(prospective) => {
                prospective.tally.record(peer.id, said.vote_granted);
            }
            Role::Candidate(candidate) => candidate.tally.record(peer.id, said.vote_granted),
            _ => {}
        }
    }

    /// A peer that can't be asked whether it would vote is asked to vote.
    pub(crate) fn on_unsupported(&mut self) {
        if matches!(self.role, Role::Prospective(_)) && self.can_stand() {
            self.become_candidate();
        }
    }

    pub(crate) fn on_top_level_error(&mut self, peer: &Peer, error: ErrorCode) {
        if error == ErrorCode::UNSUPPORTED_VERSION {
            self.on_unsupported();
        }
        self.pause(peer.id);
    }

    pub(crate) fn on_begin_epoch(&mut self, ticket: Ticket, request: BeginQuorumEpochRequest) {
        let response = self.begin(request);
        self.answer(ticket, Response::BeginQuorumEpoch(response));
    }

    fn begin(&mut self, request: BeginQuorumEpochRequest) -> BeginQuorumEpochResponse {
        let top =
            |code: ErrorCode| BeginQuorumEpochResponse { error_code: code.0, ..Default::default() };
        if !self.is_our_cluster(request.cluster_id.as_deref()) {
            return top(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let Some(said) = request.topics.first().and_then(|topic| {
            let one = is_metadata(&topic.topic_name) && request.topics.len() == 1;
            topic.partitions.first().filter(|found| one && found.partition_index == 0)
        }) else {
            return top(ErrorCode::INVALID_REQUEST);
        };
        if let Err(code) = self.voter_only(said.leader_id, said.leader_epoch) {
            return self.begin_answer(code);
        }
        let listeners = request.leader_endpoints.into_iter();
        let endpoints: Vec<Endpoint> =
            listeners.map(|at| Endpoint { name: at.name, host: at.host, port: at.port }).collect();
        let code = if !self.hear_of(Some(said.leader_id), said.leader_epoch, endpoints, true) {
            ErrorCode::INVALID_REQUEST
        } else if !self.is_addressee(ReplicaKey::new(request.voter_id, said.voter_directory_id)) {
            ErrorCode::INVALID_VOTER_KEY
        } else {
            ErrorCode::NONE
        };
        self.begin_answer(code)
    }

    pub(crate) fn on_begin_epoch_response(
        &mut self,
        peer: &Peer,
        response: BeginQuorumEpochResponse,
    ) {
        let error = ErrorCode(response.error_code);
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let Some(said) = partition.filter(|_| error.is_none()) else {
            self.pause(peer.id);
            return;
        };
        let nodes = response.node_endpoints.iter();
        let nodes = nodes.map(|node| (node.node_id, node.host.as_str(), node.port));
        let endpoints = self.endpoints_in(said.leader_id, nodes);
        let error = ErrorCode(said.error_code);
        self.absorb(peer, error, said.leader_id, said.leader_epoch, endpoints);
    }

    pub(crate) fn on_end_epoch(&mut self, ticket: Ticket, request: EndQuorumEpochRequest) {
        let response = self.end(request);
        self.answer(ticket, Response::EndQuorumEpoch(response));
    }

    fn end(&mut self, request: EndQuorumEpochRequest) -> EndQuorumEpochResponse {
        let top =
            |code: ErrorCode| EndQuorumEpochResponse { error_code: code.0, ..Default::default() };
        if !self.is_our_cluster(request.cluster_id.as_deref()) {
            return top(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let Some(said) = request.topics.first().and_then(|topic| {
            let one = is_metadata(&topic.topic_name) && request.topics.len() == 1;
            topic.partitions.first().filter(|found| one && found.partition_index == 0)
        }) else {
            return top(ErrorCode::INVALID_REQUEST);
        };
        if let Err(code) = self.voter_only(said.leader_id, said.leader_epoch) {
            return self.end_answer(code);
        }
        let listeners = request.leader_endpoints.into_iter();
        let endpoints: Vec<Endpoint> =
            listeners.map(|at| Endpoint { name: at.name, host: at.host, port: at.port }).collect();
        if !self.hear_of(Some(said.leader_id), said.leader_epoch, endpoints, false) {
            return self.end_answer(ErrorCode::INVALID_REQUEST);
        }
        let successors: Vec<ReplicaKey> = if said.preferred_candidates.is_empty() {
            let key = |id: &i32| ReplicaKey::new(*id, wire::Uuid::ZERO);
            said.preferred_successors.iter().map(key).collect()
        } else {
            let listed = said.preferred_candidates.iter();
            listed.map(|it| ReplicaKey::new(it.candidate_id, it.candidate_directory_id)).collect()
        };
        let pause_ms = self.succession_ms(&successors);
        let at_ms = self.now_ms + pause_ms;
        if self.state.leader == Some(said.leader_id)
            && let Role::Follower(follower) = &mut self.role
        {
            // The leader is gone: the sooner, the better this node's place among the successors.
            follower.deadline_ms = at_ms;
            follower.has_fetched = false;
        }
        self.end_answer(ErrorCode::NONE)
    }

    /// The first successor stands at once, the next ones later and later.
    fn succession_ms(&self, successors: &[ReplicaKey]) -> i64 {
        let max_ms = self.config.election_backoff_max_ms;
        let place = successors.iter().position(|key| key.names(&self.me));
        match place {
            // A leader that restarted names nobody.
            None if successors.is_empty() => 0,
            None => max_ms,
            Some(0) => 0,
            Some(place) => {
                let step = max_ms >> (successors.len() - 1).min(SHIFT_MAX);
                max_ms.min(step.saturating_mul(1 << (place - 1).min(SHIFT_MAX)))
            }
        }
    }

    pub(crate) fn on_end_epoch_response(&mut self, peer: &Peer, response: EndQuorumEpochResponse) {
        let error = ErrorCode(response.error_code);
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let Some(said) = partition.filter(|_| error.is_none()) else {
            self.pause(peer.id);
            return;
        };
        let nodes = response.node_endpoints.iter();
        let nodes = nodes.map(|node| (node.node_id, node.host.as_str(), node.port));
        let endpoints = self.endpoints_in(said.leader_id, nodes);
        let error = ErrorCode(said.error_code);
        if self.absorb(peer, error, said.leader_id, said.leader_epoch, endpoints) {
            return;
        }
        if !error.is_none() {
            self.pause(peer.id);
        } else if let Role::Resigned(resigned) = &mut self.role {
            resigned.unacknowledged.remove(&peer.id);
        }
    }
}

const SHIFT_MAX: usize = 30;
