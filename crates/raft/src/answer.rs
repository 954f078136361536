//! The answers to requests: each says which epoch this node is in, who leads it and where.

use messages::{
    BeginQuorumEpochResponse, EndQuorumEpochResponse, FetchResponse, FetchSnapshotResponse,
    UpdateRaftVoterResponse, VoteResponse, begin_quorum_epoch_response, end_quorum_epoch_response,
    fetch_response, fetch_snapshot_response, update_raft_voter_response, vote_response,
};
use wire::{ErrorCode, Uuid};

use crate::question::TOPIC;
use crate::raft::Raft;
use crate::voters::Endpoint;

impl Raft {
    fn leader_or_none(&self) -> i32 {
        self.state.leader.unwrap_or(-1)
    }

    /// Where the leader is, as peers reach it.
    fn leader_endpoint(&self) -> Option<&Endpoint> {
        self.state.leader?;
        Endpoint::find(&self.leader_endpoints, &self.config.listener_name)
    }

    pub(crate) fn vote_answer(&self, code: ErrorCode, vote_granted: bool) -> VoteResponse {
        let partition = vote_response::PartitionData {
            error_code: code.0,
            leader_id: self.leader_or_none(),
            leader_epoch: self.state.epoch,
            vote_granted,
            ..Default::default()
        };
        let topic = vote_response::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let node = |at: &Endpoint| vote_response::NodeEndpoint {
            node_id: self.leader_or_none(),
            host: at.host.clone(),
            port: at.port,
            ..Default::default()
        };
        VoteResponse {
            topics: vec![topic],
            node_endpoints: self.leader_endpoint().map(node).into_iter().collect(),
            ..Default::default()
        }
    }

    pub(crate) fn begin_answer(&self, code: ErrorCode) -> BeginQuorumEpochResponse {
        let partition = begin_quorum_epoch_response::PartitionData {
            error_code: code.0,
            leader_id: self.leader_or_none(),
            leader_epoch: self.state.epoch,
            ..Default::default()
        };
        let topic = begin_quorum_epoch_response::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let node = |at: &Endpoint| begin_quorum_epoch_response::NodeEndpoint {
            node_id: self.leader_or_none(),
            host: at.host.clone(),
            port: at.port,
            ..Default::default()
        };
        BeginQuorumEpochResponse {
            topics: vec![topic],
            node_endpoints: self.leader_endpoint().map(node).into_iter().collect(),
            ..Default::default()
        }
    }

    pub(crate) fn end_answer(&self, code: ErrorCode) -> EndQuorumEpochResponse {
        let partition = end_quorum_epoch_response::PartitionData {
            error_code: code.0,
            leader_id: self.leader_or_none(),
            leader_epoch: self.state.epoch,
            ..Default::default()
        };
        let topic = end_quorum_epoch_response::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let node = |at: &Endpoint| end_quorum_epoch_response::NodeEndpoint {
            node_id: self.leader_or_none(),
            host: at.host.clone(),
            port: at.port,
            ..Default::default()
        };
        EndQuorumEpochResponse {
            topics: vec![topic],
            node_endpoints: self.leader_endpoint().map(node).into_iter().collect(),
            ..Default::default()
        }
    }

    /// A fetch's answer without records; `fill` says what is particular about it.
    pub(crate) fn fetch_answer(
        &self,
        code: ErrorCode,
        high_watermark: i64,
        fill: impl FnOnce(&mut fetch_response::PartitionData),
    ) -> FetchResponse {
        let mut partition = fetch_response::PartitionData {
            error_code: code.0,
            high_watermark,
            log_start_offset: self.marks.start(),
            current_leader: fetch_response::LeaderIdAndEpoch {
                leader_id: self.leader_or_none(),
                leader_epoch: self.state.epoch,
                ..Default::default()
            },
            records: Some(wire::Bytes::new()),
            ..Default::default()
        };
        fill(&mut partition);
        let topic = fetch_response::FetchableTopicResponse {
            topic: TOPIC.to_owned(),
            topic_id: Uuid::ONE,
            partitions: vec![partition],
            ..Default::default()
        };
        let node = |at: &Endpoint| fetch_response::NodeEndpoint {
            node_id: self.leader_or_none(),
            host: at.host.clone(),
            port: i32::from(at.port),
            ..Default::default()
        };
        FetchResponse {
            responses: vec![topic],
            node_endpoints: self.leader_endpoint().map(node).into_iter().collect(),
            ..Default::default()
        }
    }

    pub(crate) fn snapshot_answer(
        &self,
        code: ErrorCode,
        fill: impl FnOnce(&mut fetch_snapshot_response::PartitionSnapshot),
    ) -> FetchSnapshotResponse {
        let mut partition = fetch_snapshot_response::PartitionSnapshot {
            error_code: code.0,
            current_leader: fetch_snapshot_response::LeaderIdAndEpoch {
                leader_id: self.leader_or_none(),
                leader_epoch: self.state.epoch,
                ..Default::default()
            },
            ..Default::default()
        };
        fill(&mut partition);
        let topic = fetch_snapshot_response::TopicSnapshot {
            name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let node = |at: &Endpoint| fetch_snapshot_response::NodeEndpoint {
            node_id: self.leader_or_none(),
            host: at.host.clone(),
            port: at.port,
            ..Default::default()
        };
        FetchSnapshotResponse {
            topics: vec![topic],
            node_endpoints: self.leader_endpoint().map(node).into_iter().collect(),
            ..Default::default()
        }
    }

    pub(crate) fn update_voter_answer(&self, code: ErrorCode) -> UpdateRaftVoterResponse {
        let at = self.leader_endpoint();
        UpdateRaftVoterResponse {
            error_code: code.0,
            current_leader: update_raft_voter_response::CurrentLeader {
                leader_id: self.leader_or_none(),
                leader_epoch: self.state.epoch,
                host: at.map(|at| at.host.clone()).unwrap_or_default(),
                port: at.map_or(0, |at| i32::from(at.port)),
                ..Default::default()
            },
            ..Default::default()
        }
    }
}
