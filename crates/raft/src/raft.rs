//! The machine: takes events to who they concern, lets the role go on, and holds answers back
//! until what they rest on is stored.
//!
//! Owns: [`Raft`]. Invariants as in the crate's documentation; [`Raft::check`] asserts them.

use std::collections::VecDeque;

use ottla_log::planted::{self, Bug};
use wire::ErrorCode;

use crate::event::{
    AskError, Config, Effect, Event, Peer, Request, Response, Restored, RoleKind, Ticket,
};
use crate::marks::{Marks, SnapshotId};
use crate::peers::Peers;
use crate::quorum_state::QuorumState;
use crate::role::{Role, Unattached};
use crate::serve::Fetch;
use crate::splitmix::SplitMix;
use crate::voters::{Endpoint, History, ReplicaKey, Voter};

/// One node of a quorum, voter or observer.
///
/// [`Self::new`] begins, [`Self::step`] goes on; both append orders to `effects`, which are carried
/// out in their order before the next step. [`Self::next_deadline_ms`] says when
/// [`Event::Ticked`] is due if nothing happens before.
#[derive(Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) me: ReplicaKey,
    pub(crate) random: SplitMix,
    /// Time as last told; it never goes back.
    pub(crate) now_ms: i64,
    /// What will be remembered, stored or not.
    pub(crate) state: QuorumState,
    /// What was ordered to be stored last, and how far that got.
    ordered: QuorumState,
    ordered_number: u64,
    stored_number: u64,
    pub(crate) marks: Marks,
    pub(crate) history: History,
    /// All below is certainly committed.
    pub(crate) committed: i64,
    pub(crate) role: Role,
    /// Where the leader in `state` is; our own endpoints if we lead.
    pub(crate) leader_endpoints: Vec<Endpoint>,
    pub(crate) peers: Peers,
    /// Fetches that found nothing yet.
    pub(crate) waiting: Vec<Fetch>,
    /// Answers and the order that must be carried out before each is given.
    held: VecDeque<(u64, Ticket, Response)>,
    answers: Vec<(Ticket, Response)>,
    /// The snapshot that is about to replace the log.
    pub(crate) installing: Option<SnapshotId>,
    pub(crate) elections_lost: u32,
    pub(crate) next_acquaintance: usize,
    pub(crate) stopping: bool,
    said_stopped: bool,
    halted: bool,
    /// Why the last answer of a leader was of no use.
    pub(crate) last_refusal: Option<&'static str>,
    became: Option<(RoleKind, i32, Option<i32>)>,
    pub(crate) out: Vec<Effect>,
}

impl Raft {
    /// A node as it comes up, and its first orders. `now_ms` is Unix time: it stamps the records
    /// of the quorum.
    pub fn new(config: Config, restored: Restored, now_ms: i64, effects: &mut Vec<Effect>) -> Self {
        let Restored { log_start, log_end, flushed, epochs, snapshots, .. } = restored;
        let marks = Marks::new(log_start, log_end, flushed, epochs, snapshots);
        let mut history = History::new(config.static_voters.clone());
        for (offset, version) in restored.kraft_versions {
            history.push_kraft_version(offset, version);
        }
        for (offset, voters) in restored.voters {
            history.push_voters(offset, voters);
        }
        let stored = restored.quorum_state.as_ref().map(QuorumState::from_data);
        let stored = stored.unwrap_or_default();
        let mut raft = Self {
            me: ReplicaKey::new(config.node_id, config.directory_id),
            random: SplitMix::new(config.seed),
            now_ms,
            state: stored,
            ordered: stored,
            ordered_number: 0,
            stored_number: 0,
            committed: marks.committed_at_least(),
            marks,
            history,
            role: Role::Unattached(Unattached { deadline_ms: now_ms }),
            leader_endpoints: Vec::new(),
            peers: Peers::default(),
            waiting: Vec::new(),
            held: VecDeque::new(),
            answers: Vec::new(),
            installing: None,
            elections_lost: 0,
            next_acquaintance: 0,
            stopping: false,
            said_stopped: false,
            halted: false,
            last_refusal: None,
            became: None,
            out: Vec::new(),
            config,
        };
        // The node died between the end of a download and the change of the log.
        if let Some(id) = raft.marks.snapshot_ahead() {
            raft.installing = Some(id);
            raft.out.push(Effect::InstallSnapshot { id });
        }
        raft.enter_first_role();
        raft.go_on();
        raft.finish(effects);
        raft
    }

    /// Takes in one fact and appends the orders that follow from it to `effects`.
    pub fn step(&mut self, now_ms: i64, event: Event, effects: &mut Vec<Effect>) {
        if self.halted {
            return;
        }
        self.now_ms = self.now_ms.max(now_ms);
        match event {
            Event::Ticked => {}
            Event::Requested { ticket, version, request } => {
                self.on_request(ticket, version, request);
            }
            Event::Answered { number, outcome } => self.on_answer(number, outcome),
            Event::Appended { epoch, end } => {
                assert!(self.leading() == Some(epoch), "appended as leader of {epoch}");
                self.marks.appended(epoch, end);
            }
            Event::Flushed { end } => {
                self.marks.flush(end);
                self.advance();
                self.flushed_as_follower();
            }
            Event::Stored { number } => {
                self.stored_number = self.stored_number.max(number.min(self.ordered_number));
            }
            Event::SnapshotTaken { id, bytes } => {
                assert!(id.end_offset <= self.snapshot_end_max(), "a snapshot of what may be lost");
                self.marks.add_snapshot(id, bytes);
            }
            Event::SnapshotDeleted { id } => self.marks.remove_snapshot(&id),
            Event::SnapshotInstalled { id, bytes, kraft_version, voters } => {
                assert!(self.installing.take() == Some(id), "installed what wasn't ordered");
                self.marks.add_snapshot(id, bytes);
                self.marks.replace(id);
                self.history.replace(id.end_offset, kraft_version, voters);
                self.commit(id.end_offset);
                self.flushed_as_follower();
            }
            Event::PrefixDeleted { start } => {
                assert!(start <= self.snapshot_end_max(), "deleted what may be needed");
                self.marks.move_start(start);
                self.history.forget_before(start);
            }
            Event::Resigning => {
                if let Some(leader) = self.leader_mut() {
                    leader.resigning = true;
                }
            }
            Event::Stopping => self.stopping = true,
        }
        self.go_on();
        self.finish(effects);
    }

    /// The epoch this node leads; records may be appended in it, and in no other.
    pub fn leading(&self) -> Option<i32> {
        self.leader().map(|_| self.state.epoch)
    }

    /// The epoch.
    pub fn epoch(&self) -> i32 {
        self.state.epoch
    }

    /// The leader of the epoch, if known.
    pub fn leader_id(&self) -> Option<i32> {
        self.state.leader
    }

    /// The role.
    pub fn role(&self) -> RoleKind {
        self.role.kind()
    }

    /// Exclusive end of what is certainly committed.
    pub fn committed(&self) -> i64 {
        self.committed
    }

    /// Up to here, exclusive, a snapshot may be taken: what is committed, and flushed here. What
    /// is only committed could be lost here and leave a log that contradicts the snapshot.
    pub fn snapshot_end_max(&self) -> i64 {
        self.committed.min(self.marks.flushed())
    }

    /// Exclusive end of the log, as the core counts it.
    pub fn log_end(&self) -> i64 {
        self.marks.end()
    }

    /// What the log says about the quorum; a snapshot of it begins with that.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Epoch of the record before `end`: with it, the id of a snapshot that ends there.
    pub fn epoch_before(&self, end: i64) -> i32 {
        self.marks.epoch_before(end)
    }

    /// Why the last thing a leader sent could not be used, for the operator.
    pub fn last_refusal(&self) -> Option<&'static str> {
        self.last_refusal
    }

    /// When [`Event::Ticked`] is due.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        if self.halted {
            return None;
        }
        let stands = self.can_stand();
        let role = match &self.role {
            Role::Unattached(role) => Some(role.deadline_ms).filter(|_| stands),
            Role::Prospective(role) => Some(role.deadline_ms),
            Role::Candidate(role) => {
                let at = role.retry_at_ms.unwrap_or(role.deadline_ms);
                Some(at).filter(|_| !self.stopping)
            }
            Role::Leader(leader) => {
                let alone = self.history.voters().is_only(&self.me);
                let change = leader.change.as_ref().map(|change| change.deadline_ms);
                let fetch = self.waiting.iter().map(|fetch| fetch.deadline_ms).min();
                let begin = Some(leader.begin_at_ms).filter(|_| !alone && self.is_durable());
                let quorum = Some(leader.check_quorum_at_ms).filter(|_| !alone);
                let fetch = fetch.filter(|_| self.is_durable());
                [change, fetch, begin, quorum].into_iter().flatten().min()
            }
            Role::Follower(role) => {
                let gone = Some(role.deadline_ms).filter(|_| stands);
                let update =
                    Some(role.update_at_ms).filter(|_| stands && self.now_ms < role.update_at_ms);
                [gone, update].into_iter().flatten().min()
            }
            Role::Resigned(role) => Some(role.deadline_ms).filter(|_| !self.stopping),
        };
        let peers = self.peers.deadline_ms(self.config.request_timeout_ms);
        [role, peers].into_iter().flatten().min()
    }

    /// Asserts the invariants of the crate, those that a moment shows.
    pub fn check(&self) {
        self.marks.check();
        assert!(self.committed >= self.marks.start(), "I3: {} below the start", self.committed);
        assert!(self.committed <= self.marks.end(), "I4: {} above the end", self.committed);
        assert!(self.stored_number <= self.ordered_number, "I1: stored more than ordered");
        let stored_state = self.is_durable();
        let answered_all = self.held.iter().all(|(number, ..)| *number > self.stored_number);
        assert!(!stored_state || answered_all, "I1: an answer outlived its reason to wait");
        assert!(self.state.epoch >= self.marks.last_epoch(), "I2: the log is ahead");
        match &self.role {
            Role::Leader(leader) => {
                assert_eq!(self.state.leader, Some(self.me.id), "I2: leads without being leader");
                assert!(leader.high_watermark.is_none_or(|mark| mark == self.committed), "I3");
                assert!(self.marks.last_epoch() == self.state.epoch, "I2: nothing of the epoch");
            }
            Role::Candidate(_) => assert_eq!(self.state.voted, Some(self.me), "I2: own vote"),
            Role::Follower(_) => {
                let leader = self.state.leader;
                assert!(leader.is_some_and(|id| id != self.me.id), "follows {leader:?}");
            }
            Role::Unattached(_) | Role::Prospective(_) | Role::Resigned(_) => {}
        }
    }

    /// The role a restart leaves a node in. Whoever led or stood in the stored epoch does neither
    /// in it again: what it wrote may be lost here and alive elsewhere (I2).
    fn enter_first_role(&mut self) {
        let ahead = self.installing.map_or(0, |id| id.epoch);
        let last = self.marks.last_epoch().max(ahead);
        if self.state.epoch < last {
            self.become_unattached(last);
            return;
        }
        match self.state.leader {
            Some(leader) if leader == self.me.id => self.become_resigned(),
            Some(leader) => {
                let endpoints = self.endpoints_of(leader);
                self.become_follower(self.state.epoch, leader, endpoints);
            }
            None => self.become_unattached(self.state.epoch),
        }
    }

    fn on_request(&mut self, ticket: Ticket, version: i16, request: Request) {
        match request {
            Request::Vote(request) => self.on_vote(ticket, request),
            Request::BeginQuorumEpoch(request) => self.on_begin_epoch(ticket, request),
            Request::EndQuorumEpoch(request) => self.on_end_epoch(ticket, request),
            Request::Fetch(request) => self.on_fetch(ticket, version, request),
            Request::FetchSnapshot(request) => self.on_fetch_snapshot(ticket, request),
            Request::DescribeQuorum(request) => self.on_describe(ticket, version, &request),
            Request::AddVoter(request) => self.on_add_voter(ticket, request),
            Request::RemoveVoter(request) => self.on_remove_voter(ticket, request),
            Request::UpdateVoter(request) => self.on_update_voter(ticket, request),
            Request::ApiVersions(_) => {
                let body = messages::ApiVersionsResponse {
                    error_code: ErrorCode::UNSUPPORTED_VERSION.0,
                    ..Default::default()
                };
                self.answer(ticket, Response::ApiVersions(body));
            }
        }
    }

    fn on_answer(&mut self, number: u64, outcome: Result<Response, AskError>) {
        let Some(asked) = self.peers.answered(number) else { return };
        let peer = asked.peer;
        match outcome {
            Err(error) => {
                self.pause(peer.id);
                if error == AskError::UnsupportedVersion {
                    self.on_unsupported();
                }
                self.on_api_versions(number, None);
            }
            Ok(Response::Vote(response)) => self.on_vote_response(&peer, response),
            Ok(Response::BeginQuorumEpoch(it)) => self.on_begin_epoch_response(&peer, it),
            Ok(Response::EndQuorumEpoch(it)) => self.on_end_epoch_response(&peer, it),
            Ok(Response::Fetch(response)) => self.on_fetch_response(&peer, response),
            Ok(Response::FetchSnapshot(it)) => self.on_fetch_snapshot_response(&peer, it),
            Ok(response @ Response::UpdateVoter(_)) => {
                self.on_update_voter_response(&peer, response);
            }
            Ok(Response::ApiVersions(response)) => self.on_api_versions(number, Some(response)),
            // Not asked by this node.
            Ok(Response::DescribeQuorum(_) | Response::AddVoter(_) | Response::RemoveVoter(_)) => {
                self.pause(peer.id);
            }
        }
    }

    /// What every answer may say besides: another epoch, another leader, a refusal. True if that
    /// was all there was to it.
    pub(crate) fn absorb(
        &mut self,
        peer: &Peer,
        error: ErrorCode,
        leader: i32,
        epoch: i32,
        endpoints: Vec<Endpoint>,
    ) -> bool {
        let leader = Some(leader).filter(|id| *id >= 0);
        let elsewhere =
            error == ErrorCode::FENCED_LEADER_EPOCH || error == ErrorCode::NOT_LEADER_OR_FOLLOWER;
        if epoch < self.state.epoch || error == ErrorCode::UNKNOWN_LEADER_EPOCH {
            // The peer is behind and will learn; asking it at once again would not help.
            self.pause(peer.id);
            return true;
        }
        if epoch > self.state.epoch || elsewhere {
            let before = (self.role.kind(), self.state);
            self.hear_of(leader, epoch, endpoints, false);
            if before == (self.role.kind(), self.state) {
                self.pause(peer.id);
            }
            return true;
        }
        let lost = self.state.leader.is_none() || self.leader_endpoints.is_empty();
        if leader.is_some_and(|leader| leader != self.me.id) && lost {
            self.hear_of(leader, epoch, endpoints, false);
        }
        let refused = [
            ErrorCode::BROKER_NOT_AVAILABLE,
            ErrorCode::INVALID_VOTER_KEY,
            ErrorCode::INVALID_REQUEST,
        ];
        if refused.contains(&error) {
            self.pause(peer.id);
            return true;
        }
        false
    }

    /// Lets the role do what is due, until it is content.
    fn go_on(&mut self) {
        for peer in self.peers.expire(self.now_ms, self.config.request_timeout_ms) {
            self.pause(peer.id);
        }
        // Unattached, prospective, candidate, leader: a lone voter passes through all.
        for _ in 0..TRANSITIONS_MAX {
            if self.halted {
                return;
            }
            let before = (self.role.kind(), self.state);
            let settled = matches!(self.role, Role::Leader(_) | Role::Candidate(_));
            if !settled && self.can_stand() && self.history.voters().is_only(&self.me) {
                // Nobody else could have a say.
                self.become_candidate();
            }
            match &self.role {
                Role::Unattached(_) => self.drive_unattached(),
                Role::Prospective(_) => self.drive_prospective(),
                Role::Candidate(_) => self.drive_candidate(),
                Role::Leader(_) => self.drive_leader(),
                Role::Follower(_) => self.drive_follower(),
                Role::Resigned(_) => self.drive_resigned(),
            }
            if before == (self.role.kind(), self.state) {
                break;
            }
        }
        self.serve_waiting();
        self.say_stopped();
    }

    /// Orders what has to be stored, lets go of the answers that rest on what is, and tells the
    /// caller of a new role.
    fn finish(&mut self, effects: &mut Vec<Effect>) {
        if self.halted {
            effects.append(&mut self.out);
            return;
        }
        let became = (self.role.kind(), self.state.epoch, self.state.leader);
        if self.became != Some(became) {
            self.became = Some(became);
            let (role, epoch, leader) = became;
            self.out.push(Effect::Became { role, epoch, leader });
        }
        if self.state != self.ordered {
            self.ordered = self.state;
            self.ordered_number += 1;
            let version = i16::from(self.history.kraft_version() > 0);
            let data = self.state.to_data(version, self.history.voters().ids());
            let number = self.ordered_number;
            self.out.push(Effect::Store { number, data, version });
        }
        for (ticket, response) in self.answers.drain(..) {
            self.held.push_back((self.ordered_number, ticket, response));
        }
        let early = planted::is(Bug::RaftVoteBeforeStored);
        while let Some((number, ..)) = self.held.front() {
            if *number > self.stored_number && !early {
                break;
            }
            if let Some((_, ticket, response)) = self.held.pop_front() {
                self.out.push(Effect::Answer { ticket, response });
            }
        }
        effects.append(&mut self.out);
    }

    /// Whether `quorum-state` on disk is what this node goes by.
    pub(crate) fn is_durable(&self) -> bool {
        self.state == self.ordered && self.stored_number == self.ordered_number
    }

    pub(crate) fn is_voter(&self) -> bool {
        self.history.voters().contains(&self.me)
    }

    /// Whether this node may stand for leader.
    pub(crate) fn can_stand(&self) -> bool {
        (self.is_voter() || self.is_leaving()) && !self.stopping && self.installing.is_none()
    }

    /// A voter whose removal isn't known to be committed. If it has the only log with the removal
    /// in it, the remaining voters can't win without that log, and it doesn't vote for shorter
    /// ones: so it stands, without counting itself, until the removal is committed (Raft
    /// dissertation, 4.2.2).
    fn is_leaving(&self) -> bool {
        let Some(offset) = self.history.voters_offset() else { return false };
        let before = self.history.voters_before(offset);
        !self.is_voter()
            && offset >= self.committed
            && before.is_some_and(|(_, voters)| voters.contains(&self.me))
    }

    /// This node as the log should know it.
    pub(crate) fn as_voter(&self) -> Voter {
        Voter {
            key: self.me,
            endpoints: self.config.endpoints.clone(),
            kraft_versions: self.config.kraft_versions,
        }
    }

    /// A cluster id that is given must be ours.
    pub(crate) fn is_our_cluster(&self, cluster_id: Option<&str>) -> bool {
        cluster_id.is_none_or(|other| other == self.config.cluster_id)
    }

    /// Raises the high watermark, if this does.
    pub(crate) fn commit(&mut self, end: i64) {
        if end > self.committed {
            self.committed = end;
            self.out.push(Effect::Committed { high_watermark: end });
        }
    }

    /// The high watermark this node can vouch for in a fetch; -1 before it knows any.
    pub(crate) fn announced_watermark(&self) -> i64 {
        if self.committed > 0 { self.committed } else { -1 }
    }

    pub(crate) fn halt(&mut self, reason: String) {
        self.halted = true;
        self.out.push(Effect::Halt { reason });
    }

    pub(crate) fn answer(&mut self, ticket: Ticket, response: Response) {
        self.answers.push((ticket, response));
    }

    /// Asks; the caller of this made sure that what the question rests on is stored (I1).
    pub(crate) fn ask(&mut self, peer: Peer, request: Request) -> u64 {
        let number = self.peers.ask(&peer, self.now_ms);
        self.out.push(Effect::Ask { peer, number, request });
        number
    }

    pub(crate) fn pause(&mut self, peer_id: i32) {
        self.peers.pause(peer_id, self.now_ms + self.config.retry_backoff_ms.max(1));
    }

    /// The endpoints the voter set knows for a node.
    pub(crate) fn endpoints_of(&self, id: i32) -> Vec<Endpoint> {
        self.history.voters().get(id).map(|voter| voter.endpoints.clone()).unwrap_or_default()
    }

    /// Where an answer says its leader is: on the listener by which it was asked.
    pub(crate) fn endpoints_in<'a>(
        &self,
        leader: i32,
        mut nodes: impl Iterator<Item = (i32, &'a str, u16)>,
    ) -> Vec<Endpoint> {
        let found = nodes.find(|(id, ..)| *id == leader);
        let name = self.config.listener_name.clone();
        found
            .map(|(_, host, port)| Endpoint { name, host: host.to_owned(), port })
            .into_iter()
            .collect()
    }

    pub(crate) fn voter_peer(&self, id: i32) -> Option<Peer> {
        let voter = self.history.voters().get(id)?;
        let at = Endpoint::find(&voter.endpoints, &self.config.listener_name)?;
        Some(Peer { id, host: at.host.clone(), port: at.port })
    }

    pub(crate) fn leader_peer(&self) -> Option<Peer> {
        let id = self.state.leader?;
        let at = Endpoint::find(&self.leader_endpoints, &self.config.listener_name)?;
        Some(Peer { id, host: at.host.clone(), port: at.port })
    }

    /// Who may know the leader: the bootstrap servers, and the voters.
    pub(crate) fn acquaintances(&self) -> Vec<Peer> {
        let servers = self.config.bootstrap_servers.iter().enumerate();
        let servers = servers.map(|(index, (host, port))| Peer {
            id: BOOTSTRAP_ID - index as i32,
            host: host.clone(),
            port: *port,
        });
        let voters = self.history.voters().ids().filter(|id| *id != self.me.id);
        servers.chain(voters.filter_map(|id| self.voter_peer(id))).collect()
    }

    /// A node that stops is done when it leads nobody: it follows, or nobody else votes, or it
    /// never voted.
    fn say_stopped(&mut self) {
        if !self.stopping || self.said_stopped {
            return;
        }
        let alone = self.history.voters().is_only(&self.me);
        let handed_over = match &self.role {
            Role::Resigned(resigned) => resigned.unacknowledged.is_empty(),
            Role::Leader(_) => false,
            _ => true,
        };
        if alone || !self.is_voter() || handed_over {
            self.said_stopped = true;
            self.out.push(Effect::Stopped);
        }
    }
}

/// From any role to any other are at most so many transitions in a step.
const TRANSITIONS_MAX: usize = 8;
/// Id of the first bootstrap server; the next ones count down.
const BOOTSTRAP_ID: i32 = -2;
