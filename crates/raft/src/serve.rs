//! What a leader gives to replicas and to who asks about the quorum: records, snapshots, state.
//!
//! A fetch that finds nothing waits here, as data, until there is something, the high watermark is
//! news to it, its time is up, or the leader leads no more.

use messages::{
    DescribeQuorumRequest, DescribeQuorumResponse, FetchRequest, FetchResponse,
    FetchSnapshotRequest, FetchSnapshotResponse, describe_quorum_response,
};
use wire::ErrorCode;

use crate::event::{Effect, Response, Ticket};
use crate::marks::{Position, SnapshotId};
use crate::question::{TOPIC, is_metadata};
use crate::raft::Raft;
use crate::role::Progress;
use crate::voters::ReplicaKey;

/// A fetch, waiting or about to be served.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    ticket: Ticket,
    replica: ReplicaKey,
    epoch: i32,
    offset: i64,
    last_epoch: i32,
    /// The high watermark the replica knows; the maximum if it can't say.
    known_watermark: i64,
    max_bytes: i32,
    pub deadline_ms: i64,
    /// The leader took note of the offset.
    noted: bool,
}

impl Raft {
    /// What is wrong with a request of `epoch` that only its leader may answer.
    pub(crate) fn leader_only(&self, epoch: i32) -> Result<(), ErrorCode> {
        if epoch < self.state.epoch {
            Err(ErrorCode::FENCED_LEADER_EPOCH)
        } else if epoch > self.state.epoch {
            Err(ErrorCode::UNKNOWN_LEADER_EPOCH)
        } else if self.leader().is_none() {
            Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)
        } else {
            Ok(())
        }
    }

    pub(crate) fn on_fetch(&mut self, ticket: Ticket, version: i16, request: FetchRequest) {
        match self.read_fetch(ticket, version, &request) {
            Ok(fetch) => {
                // A replica fetches one thing at a time; its last fetch is the one that counts.
                let earlier =
                    |other: &Fetch| other.replica == fetch.replica && fetch.replica.id >= 0;
                let given_up: Vec<Fetch> =
                    self.waiting.extract_if(.., |other| earlier(other)).collect();
                for fetch in given_up {
                    let response = self.empty_fetch_answer();
                    self.answer(fetch.ticket, Response::Fetch(response));
                }
                self.serve_or_keep(fetch);
            }
            Err(response) => self.answer(ticket, Response::Fetch(*response)),
        }
    }

    fn read_fetch(
        &self,
        ticket: Ticket,
        version: i16,
        request: &FetchRequest,
    ) -> Result<Fetch, Box<FetchResponse>> {
        let top =
            |code: ErrorCode| Box::new(FetchResponse { error_code: code.0, ..Default::default() });
        if !self.is_our_cluster(request.cluster_id.as_deref()) {
            return Err(top(ErrorCode::INCONSISTENT_CLUSTER_ID));
        }
        let topic = request.topics.first().filter(|_| request.topics.len() == 1);
        let topic = topic.filter(|topic| match version {
            ..13 => is_metadata(&topic.topic),
            _ => topic.topic_id == wire::Uuid::ONE,
        });
        let partition = topic.and_then(|topic| topic.partitions.first());
        let Some(asked) = partition.filter(|asked| asked.partition == 0) else {
            return Err(top(ErrorCode::INVALID_REQUEST));
        };
        let id = match version {
            ..15 => request.replica_id,
            _ => request.replica_state.replica_id,
        };
        let replica = ReplicaKey::new(id, asked.replica_directory_id);
        if request.max_wait_ms < 0
            || asked.fetch_offset < 0
            || asked.last_fetched_epoch < 0
            || asked.last_fetched_epoch > asked.current_leader_epoch
            || replica == self.me
        {
            return Err(Box::new(self.fetch_answer(ErrorCode::INVALID_REQUEST, -1, |_| {})));
        }
        Ok(Fetch {
            ticket,
            replica,
            epoch: asked.current_leader_epoch,
            offset: asked.fetch_offset,
            last_epoch: asked.last_fetched_epoch,
            known_watermark: asked.high_watermark,
            max_bytes: request.max_bytes.min(asked.partition_max_bytes.max(1)).max(1),
            deadline_ms: self.now_ms + i64::from(request.max_wait_ms),
            noted: false,
        })
    }

    fn empty_fetch_answer(&self) -> FetchResponse {
        let watermark = self.leader().and_then(|leader| leader.high_watermark);
        self.fetch_answer(ErrorCode::NONE, watermark.unwrap_or(-1), |_| {})
    }

    /// Answers a fetch, or keeps it until it can be answered.
    fn serve_or_keep(&mut self, mut fetch: Fetch) {
        if let Err(code) = self.leader_only(fetch.epoch) {
            let response = self.fetch_answer(code, -1, |_| {});
            self.answer(fetch.ticket, Response::Fetch(response));
            return;
        }
        if !self.is_durable() {
            // Nobody may learn of an epoch that could be forgotten.
            self.waiting.push(fetch);
            return;
        }
        match self.marks.position(fetch.offset, fetch.last_epoch) {
            Position::Valid => {
                if !fetch.noted {
                    fetch.noted = true;
                    self.note_fetch(fetch.replica, fetch.offset);
                }
                self.serve_valid(fetch);
            }
            Position::Diverging { epoch, end_offset } => {
                let watermark = self.leader().and_then(|leader| leader.high_watermark);
                let watermark = watermark.unwrap_or(-1);
                let response = self.fetch_answer(ErrorCode::NONE, watermark, |partition| {
                    partition.diverging_epoch.epoch = epoch;
                    partition.diverging_epoch.end_offset = end_offset;
                });
                self.answer(fetch.ticket, Response::Fetch(response));
            }
            Position::Snapshot(id) => {
                let watermark = self.leader().and_then(|leader| leader.high_watermark);
                let watermark = watermark.unwrap_or(-1);
                let response = self.fetch_answer(ErrorCode::NONE, watermark, |partition| {
                    partition.snapshot_id.end_offset = id.end_offset;
                    partition.snapshot_id.epoch = id.epoch;
                });
                self.answer(fetch.ticket, Response::Fetch(response));
            }
        }
    }

    fn serve_valid(&mut self, fetch: Fetch) {
        let response = self.empty_fetch_answer();
        let watermark = self.leader().and_then(|leader| leader.high_watermark).unwrap_or(-1);
        if self.marks.end() > fetch.offset {
            let Fetch { ticket, offset, max_bytes, .. } = fetch;
            self.out.push(Effect::ServeFetch { ticket, response, offset, max_bytes });
        } else if watermark > fetch.known_watermark || self.now_ms >= fetch.deadline_ms {
            self.answer(fetch.ticket, Response::Fetch(response));
        } else {
            self.waiting.push(fetch);
        }
    }

    /// Looks at all waiting fetches again: something may have happened.
    pub(crate) fn serve_waiting(&mut self) {
        if self.waiting.is_empty() || (self.leader().is_some() && !self.is_durable()) {
            return;
        }
        for fetch in std::mem::take(&mut self.waiting) {
            self.serve_or_keep(fetch);
        }
    }

    pub(crate) fn on_fetch_snapshot(&mut self, ticket: Ticket, request: FetchSnapshotRequest) {
        if let Err(response) = self.serve_snapshot(ticket, &request) {
            self.answer(ticket, Response::FetchSnapshot(*response));
        }
    }

    fn serve_snapshot(
        &mut self,
        ticket: Ticket,
        request: &FetchSnapshotRequest,
    ) -> Result<(), Box<FetchSnapshotResponse>> {
        let top = |code: ErrorCode| {
            Box::new(FetchSnapshotResponse { error_code: code.0, ..Default::default() })
        };
        if !self.is_our_cluster(request.cluster_id.as_deref()) {
            return Err(top(ErrorCode::INCONSISTENT_CLUSTER_ID));
        }
        let Some((topic, asked)) = request.topics.first().and_then(|topic| {
            let one = request.topics.len() == 1 && topic.partitions.len() == 1;
            topic.partitions.first().filter(|_| one).map(|asked| (topic, asked))
        }) else {
            return Err(top(ErrorCode::INVALID_REQUEST));
        };
        let refuse = |code: ErrorCode| Box::new(self.snapshot_answer(code, |_| {}));
        if !is_metadata(&topic.name) || asked.partition != 0 {
            return Err(refuse(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        }
        self.leader_only(asked.current_leader_epoch).map_err(refuse)?;
        if !self.is_durable() {
            // Not before the epoch is stored; this answer waits for that, too.
            return Err(refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER));
        }
        let id = &asked.snapshot_id;
        let id = SnapshotId { end_offset: id.end_offset, epoch: id.epoch };
        let bytes = self.marks.snapshot_bytes(&id).filter(|_| id != SnapshotId::BOOTSTRAP);
        let bytes = bytes.ok_or_else(|| refuse(ErrorCode::SNAPSHOT_NOT_FOUND))? as i64;
        if !(0..bytes).contains(&asked.position) {
            return Err(refuse(ErrorCode::POSITION_OUT_OF_RANGE));
        }
        let response = self.snapshot_answer(ErrorCode::NONE, |partition| {
            partition.snapshot_id.end_offset = id.end_offset;
            partition.snapshot_id.epoch = id.epoch;
            partition.size = bytes;
            partition.position = asked.position;
        });
        let (position, max_bytes) = (asked.position, request.max_bytes.max(1));
        self.out.push(Effect::ServeSnapshot { ticket, response, id, position, max_bytes });
        self.note_alive(ReplicaKey::new(request.replica_id, asked.replica_directory_id));
        Ok(())
    }

    pub(crate) fn on_describe(
        &mut self,
        ticket: Ticket,
        version: i16,
        request: &DescribeQuorumRequest,
    ) {
        let response = self.describe(version, request);
        self.answer(ticket, Response::DescribeQuorum(response));
    }

    fn describe(&self, version: i16, request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
        let partition = |error: ErrorCode| describe_quorum_response::PartitionData {
            error_code: error.0,
            ..Default::default()
        };
        let topic = |name: &str, partitions| describe_quorum_response::TopicData {
            topic_name: name.to_owned(),
            partitions,
            ..Default::default()
        };
        let [asked] = request.topics.as_slice() else {
            return unknown_partitions(request);
        };
        let one = matches!(asked.partitions.as_slice(), [it] if it.partition_index == 0);
        if !is_metadata(&asked.topic_name) || !one {
            return unknown_partitions(request);
        }
        let Some(leader) = self.leader() else {
            let refused = partition(ErrorCode::NOT_LEADER_OR_FOLLOWER);
            let topics = vec![topic(TOPIC, vec![refused])];
            return DescribeQuorumResponse { topics, ..Default::default() };
        };
        let voters = self.history.voters();
        let state = |key: &ReplicaKey, progress: &Progress| {
            let own = key.names(&self.me);
            let at = if own {
                let (end, now_ms) = (self.marks.end(), self.now_ms);
                Progress { end, last_fetch_ms: now_ms, last_fetch_end: end, caught_up_ms: now_ms }
            } else {
                *progress
            };
            describe_quorum_response::ReplicaState {
                replica_id: key.id,
                // Older versions can't carry it.
                replica_directory_id: if version >= 2 {
                    key.directory_id
                } else {
                    Default::default()
                },
                log_end_offset: at.end,
                last_fetch_timestamp: at.last_fetch_ms,
                last_caught_up_timestamp: at.caught_up_ms,
                ..Default::default()
            }
        };
        let progress = |key: &ReplicaKey| leader.replicas.get(key).unwrap_or(&Progress::NONE);
        let listed = voters.iter().map(|voter| state(&voter.key, progress(&voter.key)));
        let observers = leader.replicas.iter().filter(|(key, _)| !voters.contains(key));
        let described = describe_quorum_response::PartitionData {
            leader_id: self.me.id,
            leader_epoch: self.state.epoch,
            high_watermark: leader.high_watermark.unwrap_or(-1),
            current_voters: listed.collect(),
            observers: observers.map(|(key, progress)| state(key, progress)).collect(),
            ..Default::default()
        };
        let topics = vec![topic(TOPIC, vec![described])];
        // Older versions can't carry the nodes.
        let nodes = if version >= 2 { self.voter_nodes() } else { Vec::new() };
        DescribeQuorumResponse { topics, nodes, ..Default::default() }
    }

    fn voter_nodes(&self) -> Vec<describe_quorum_response::Node> {
        let listener = |at: &crate::voters::Endpoint| describe_quorum_response::Listener {
            name: at.name.clone(),
            host: at.host.clone(),
            port: at.port,
            ..Default::default()
        };
        let voters = self.history.voters().iter();
        let node = |voter: &crate::voters::Voter| describe_quorum_response::Node {
            node_id: voter.key.id,
            listeners: voter.endpoints.iter().map(listener).collect(),
            ..Default::default()
        };
        voters.map(node).collect()
    }
}

/// The answer about anything but the quorum's partition: whatever was asked for isn't known.
fn unknown_partitions(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = request.topics.iter().map(|topic| {
        let asked = topic.partitions.iter();
        let partitions = asked.map(|asked| describe_quorum_response::PartitionData {
            partition_index: asked.partition_index,
            error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
            error_message: Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.words().to_owned()),
            ..Default::default()
        });
        describe_quorum_response::TopicData {
            topic_name: topic.topic_name.clone(),
            partitions: partitions.collect(),
            ..Default::default()
        }
    });
    DescribeQuorumResponse { topics: topics.collect(), ..Default::default() }
}
