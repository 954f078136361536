//! One core driven by hand, and the words of peers that a test lets them say.

use messages::{
    BeginQuorumEpochRequest, EndQuorumEpochRequest, FetchRequest, FetchResponse, VoteRequest,
    VoteResponse, begin_quorum_epoch_request, end_quorum_epoch_request, fetch_request,
    fetch_response, vote_request, vote_response,
};
use raft::{
    Config, Effect, Endpoint, Event, Raft, ReplicaKey, Request, Response, Restored, RoleKind,
    SnapshotId, Voter, VoterSet,
};
use wire::{Bytes, ErrorCode, Uuid};

pub const TOPIC: &str = "__cluster_metadata";
pub const START_MS: i64 = 1_000_000;

pub fn directory(id: i32) -> Uuid {
    Uuid(1_000 + id as u128)
}

pub fn endpoint(id: i32) -> Endpoint {
    Endpoint { name: "CONTROLLER".into(), host: "n".into(), port: id as u16 }
}

pub fn voter(id: i32, directory_id: Uuid) -> Voter {
    let key = ReplicaKey::new(id, directory_id);
    Voter { key, endpoints: vec![endpoint(id)], kraft_versions: (0, 1) }
}

/// Node 1 of a cluster, and what it orders.
pub struct Hand {
    pub raft: Raft,
    pub now: i64,
    pub out: Vec<Effect>,
    pub next_ticket: u64,
    /// Stores and flushes complete at once.
    pub prompt: bool,
}

impl Hand {
    /// Voters of the configuration.
    pub fn fixed(voters: i32, restored: Restored) -> Self {
        let mut config = Config::new(1, directory(1), "ours".into());
        config.static_voters = VoterSet::new((1..=voters).map(|id| voter(id, Uuid::ZERO)));
        Self::start(config, restored, voters != 1)
    }

    /// Voters in the log, as formatted.
    pub fn formatted(voters: i32) -> Self {
        let config = Config::new(1, directory(1), "ours".into());
        let set = VoterSet::new((1..=voters).map(|id| voter(id, directory(id))));
        let restored = Restored {
            snapshots: vec![(SnapshotId::BOOTSTRAP, 100)],
            kraft_versions: vec![(-1, 1)],
            voters: vec![(-1, set)],
            ..Default::default()
        };
        Self::start(config, restored, voters != 1)
    }

    pub fn start(mut config: Config, restored: Restored, prompt: bool) -> Self {
        config.endpoints = vec![endpoint(1)];
        let mut out = Vec::new();
        let raft = Raft::new(config, restored, START_MS, &mut out);
        let mut hand = Self { raft, now: START_MS, out, next_ticket: 0, prompt };
        hand.settle();
        hand
    }

    pub fn step(&mut self, event: Event) {
        self.raft.step(self.now, event, &mut self.out);
        self.raft.check();
        self.settle();
    }

    pub fn settle(&mut self) {
        let stored = |effect: &Effect| match effect {
            Effect::Store { number, .. } => Some(*number),
            _ => None,
        };
        while self.prompt {
            let Some(number) = self.out.iter().rev().find_map(stored) else { break };
            self.out.retain(|effect| stored(effect).is_none());
            self.raft.step(self.now, Event::Stored { number }, &mut self.out);
            self.raft.check();
        }
    }

    pub fn pass(&mut self, ms: i64) {
        self.now += ms;
        self.step(Event::Ticked);
    }

    /// Goes from deadline to deadline until the role is reached.
    pub fn wait_for(&mut self, role: RoleKind) {
        for _ in 0..100 {
            if self.raft.role() == role {
                return;
            }
            let at = self.raft.next_deadline_ms().expect("a deadline");
            self.now = at.max(self.now);
            self.step(Event::Ticked);
        }
        panic!("still {:?}", self.raft.role());
    }

    pub fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.out)
    }

    pub fn asked(&mut self) -> Vec<(i32, u64, Request)> {
        let ask = |effect| match effect {
            Effect::Ask { peer, number, request } => Some((peer.id, number, request)),
            _ => None,
        };
        self.take().into_iter().filter_map(ask).collect()
    }

    pub fn request(&mut self, version: i16, request: Request) -> u64 {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.step(Event::Requested { ticket, version, request });
        ticket
    }

    pub fn answer_to(&mut self, ticket: u64) -> Option<Response> {
        let at = self.out.iter().position(|effect| match effect {
            Effect::Answer { ticket: answered, .. } => *answered == ticket,
            _ => false,
        })?;
        match self.out.remove(at) {
            Effect::Answer { response, .. } => Some(response),
            _ => None,
        }
    }

    pub fn answered(&mut self, number: u64, response: Response) {
        self.step(Event::Answered { number, outcome: Ok(response) });
    }

    /// Error (of the whole, else of the partition) and grant of a vote.
    pub fn vote(&mut self, request: VoteRequest) -> (ErrorCode, bool) {
        let ticket = self.request(2, Request::Vote(request));
        let Some(Response::Vote(answer)) = self.answer_to(ticket) else { panic!("no answer") };
        match answer.topics.first() {
            Some(topic) => {
                let said = &topic.partitions[0];
                (ErrorCode(said.error_code), said.vote_granted)
            }
            None => (ErrorCode(answer.error_code), false),
        }
    }

    pub fn fetch(&mut self, request: FetchRequest) -> Option<FetchResponse> {
        let ticket = self.request(18, Request::Fetch(request));
        self.fetched(ticket)
    }

    pub fn fetched(&mut self, ticket: u64) -> Option<FetchResponse> {
        if let Some(Response::Fetch(answer)) = self.answer_to(ticket) {
            return Some(answer);
        }
        let at = self.out.iter().position(|effect| match effect {
            Effect::ServeFetch { ticket: served, .. } => *served == ticket,
            _ => false,
        })?;
        match self.out.remove(at) {
            Effect::ServeFetch { response, .. } => Some(response),
            _ => None,
        }
    }

    /// Wins an election of three voters and flushes its first batch.
    pub fn lead(&mut self) {
        self.wait_for(RoleKind::Prospective);
        for role in [RoleKind::Candidate, RoleKind::Leader] {
            let epoch = self.raft.epoch();
            let asked = self.asked();
            let vote = |(_, number, request)| matches!(request, Request::Vote(_)).then_some(number);
            let number = asked.into_iter().find_map(vote).expect("a vote is asked for");
            self.answered(number, Response::Vote(vote_answer(epoch, None, true)));
            assert_eq!(self.raft.role(), role);
        }
        self.step(Event::Flushed { end: self.raft.log_end() });
    }

    /// Follows node 2 in an epoch.
    pub fn follow(&mut self, epoch: i32) {
        self.request(1, Request::BeginQuorumEpoch(begin(2, epoch)));
        assert_eq!((self.raft.role(), self.raft.leader_id()), (RoleKind::Follower, Some(2)));
    }

    /// Takes an answer of the leader, node 2, to the fetch that is under way.
    pub fn receive(&mut self, fill: impl FnOnce(&mut fetch_response::PartitionData)) {
        let fetch = |(_, number, request)| matches!(request, Request::Fetch(_)).then_some(number);
        let number = self.asked().into_iter().find_map(fetch).expect("a fetch");
        let mut body = empty_fetch(self.raft.epoch());
        fill(&mut body.responses[0].partitions[0]);
        self.answered(number, Response::Fetch(body));
    }
}

pub fn records(base_offset: i64, leader_epoch: i32, count: usize) -> Bytes {
    let options = wire::record::BatchOptions { base_offset, leader_epoch, ..Default::default() };
    let mut builder = wire::record::BatchBuilder::new(options);
    for _ in 0..count {
        builder.push(START_MS, None, Some(b"value"), &[]);
    }
    builder.build().unwrap()
}

/// Node `from` asks node 1 for its vote.
pub fn ask_vote(from: i32, epoch: i32, last_epoch: i32, last_offset: i64) -> VoteRequest {
    let partition = vote_request::PartitionData {
        replica_epoch: epoch,
        replica_id: from,
        replica_directory_id: directory(from),
        voter_directory_id: directory(1),
        last_offset_epoch: last_epoch,
        last_offset,
        ..Default::default()
    };
    let topic = vote_request::TopicData {
        topic_name: TOPIC.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let cluster_id = Some("ours".to_owned());
    VoteRequest { cluster_id, voter_id: 1, topics: vec![topic], ..Default::default() }
}

pub fn pre_vote(mut request: VoteRequest) -> VoteRequest {
    request.topics[0].partitions[0].pre_vote = true;
    request
}

pub fn vote_answer(epoch: i32, leader: Option<i32>, vote_granted: bool) -> VoteResponse {
    let partition = vote_response::PartitionData {
        leader_id: leader.unwrap_or(-1),
        leader_epoch: epoch,
        vote_granted,
        ..Default::default()
    };
    let topic = vote_response::TopicData {
        topic_name: TOPIC.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    VoteResponse { topics: vec![topic], ..Default::default() }
}

pub fn begin(leader_id: i32, leader_epoch: i32) -> BeginQuorumEpochRequest {
    let partition = begin_quorum_epoch_request::PartitionData {
        voter_directory_id: directory(1),
        leader_id,
        leader_epoch,
        ..Default::default()
    };
    let topic = begin_quorum_epoch_request::TopicData {
        topic_name: TOPIC.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    BeginQuorumEpochRequest { voter_id: 1, topics: vec![topic], ..Default::default() }
}

pub fn end(leader_id: i32, leader_epoch: i32, successors: &[i32]) -> EndQuorumEpochRequest {
    let candidate = |id: &i32| end_quorum_epoch_request::ReplicaInfo {
        candidate_id: *id,
        candidate_directory_id: directory(*id),
        ..Default::default()
    };
    let partition = end_quorum_epoch_request::PartitionData {
        leader_id,
        leader_epoch,
        preferred_candidates: successors.iter().map(candidate).collect(),
        ..Default::default()
    };
    let topic = end_quorum_epoch_request::TopicData {
        topic_name: TOPIC.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    EndQuorumEpochRequest { topics: vec![topic], ..Default::default() }
}

/// Node `from` fetches from node 1.
pub fn fetch(from: i32, epoch: i32, offset: i64, last_epoch: i32) -> FetchRequest {
    let partition = fetch_request::FetchPartition {
        current_leader_epoch: epoch,
        fetch_offset: offset,
        last_fetched_epoch: last_epoch,
        partition_max_bytes: 1_000,
        replica_directory_id: directory(from),
        ..Default::default()
    };
    let topic = fetch_request::FetchTopic {
        topic_id: Uuid::ONE,
        partitions: vec![partition],
        ..Default::default()
    };
    FetchRequest {
        cluster_id: Some("ours".into()),
        replica_state: fetch_request::ReplicaState { replica_id: from, ..Default::default() },
        max_wait_ms: 500,
        max_bytes: 1_000,
        topics: vec![topic],
        ..Default::default()
    }
}

pub fn error_of(response: &FetchResponse) -> ErrorCode {
    let partition = response.responses.first().map(|topic| topic.partitions[0].error_code);
    ErrorCode(partition.unwrap_or(response.error_code))
}

/// Node 2, leader of the epoch, has nothing new.
pub fn empty_fetch(epoch: i32) -> FetchResponse {
    let mut partition = fetch_response::PartitionData::default();
    partition.current_leader.leader_id = 2;
    partition.current_leader.leader_epoch = epoch;
    let topic = fetch_response::FetchableTopicResponse {
        topic_id: Uuid::ONE,
        partitions: vec![partition],
        ..Default::default()
    };
    FetchResponse { responses: vec![topic], ..Default::default() }
}
