//! The requests this node sends, and where in an answer its one partition is.

use messages::begin_quorum_epoch_request as begin;
use messages::end_quorum_epoch_request as end;
use messages::fetch_response::PartitionData;
use messages::fetch_snapshot_response::PartitionSnapshot;
use messages::{
    ApiVersionsRequest, BeginQuorumEpochRequest, EndQuorumEpochRequest, FetchRequest,
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, UpdateRaftVoterRequest,
    VoteRequest, fetch_request, fetch_snapshot_request, update_raft_voter_request, vote_request,
};
use wire::Uuid;

use crate::event::Request;
use crate::raft::Raft;
use crate::role::Download;
use crate::voters::ReplicaKey;

/// The topic whose one partition is the log of the quorum.
pub(crate) const TOPIC: &str = "__cluster_metadata";

pub(crate) fn is_metadata(topic: &str) -> bool {
    topic == TOPIC
}

/// The one partition of a fetch response. Topics have ids from version 13 on and names before.
pub(crate) fn fetched_partition(response: &FetchResponse) -> Option<&PartitionData> {
    let topic = response.responses.first()?;
    let ours = topic.topic_id == Uuid::ONE || is_metadata(&topic.topic);
    topic.partitions.first().filter(|found| ours && found.partition_index == 0)
}

pub(crate) fn fetched_snapshot(response: &FetchSnapshotResponse) -> Option<&PartitionSnapshot> {
    let topic = response.topics.first().filter(|topic| is_metadata(&topic.name))?;
    topic.partitions.first().filter(|found| found.index == 0)
}

impl Raft {
    pub(crate) fn vote_request(&self, voter: ReplicaKey, pre_vote: bool) -> Request {
        let partition = vote_request::PartitionData {
            replica_epoch: self.state.epoch,
            replica_id: self.me.id,
            replica_directory_id: self.me.directory_id,
            voter_directory_id: voter.directory_id,
            last_offset_epoch: self.marks.last_epoch(),
            last_offset: self.marks.end(),
            pre_vote,
            ..Default::default()
        };
        let topic = vote_request::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        Request::Vote(VoteRequest {
            cluster_id: Some(self.config.cluster_id.clone()),
            voter_id: voter.id,
            topics: vec![topic],
            ..Default::default()
        })
    }

    pub(crate) fn begin_epoch_request(&self, voter: ReplicaKey) -> Request {
        let partition = begin::PartitionData {
            voter_directory_id: voter.directory_id,
            leader_id: self.me.id,
            leader_epoch: self.state.epoch,
            ..Default::default()
        };
        let topic = begin::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let endpoints = self.config.endpoints.iter();
        let endpoints = endpoints.map(|at| begin::LeaderEndpoint {
            name: at.name.clone(),
            host: at.host.clone(),
            port: at.port,
            ..Default::default()
        });
        Request::BeginQuorumEpoch(BeginQuorumEpochRequest {
            cluster_id: Some(self.config.cluster_id.clone()),
            voter_id: voter.id,
            topics: vec![topic],
            leader_endpoints: endpoints.collect(),
            ..Default::default()
        })
    }

    pub(crate) fn end_epoch_request(&self, successors: &[ReplicaKey]) -> Request {
        let candidate = |key: &ReplicaKey| end::ReplicaInfo {
            candidate_id: key.id,
            candidate_directory_id: key.directory_id,
            ..Default::default()
        };
        let partition = end::PartitionData {
            leader_id: self.me.id,
            leader_epoch: self.state.epoch,
            // Version 0 has the one list, later ones the other.
            preferred_successors: successors.iter().map(|key| key.id).collect(),
            preferred_candidates: successors.iter().map(candidate).collect(),
            ..Default::default()
        };
        let topic = end::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let endpoints = self.config.endpoints.iter();
        let endpoints = endpoints.map(|at| end::LeaderEndpoint {
            name: at.name.clone(),
            host: at.host.clone(),
            port: at.port,
            ..Default::default()
        });
        Request::EndQuorumEpoch(EndQuorumEpochRequest {
            cluster_id: Some(self.config.cluster_id.clone()),
            topics: vec![topic],
            leader_endpoints: endpoints.collect(),
            ..Default::default()
        })
    }

    pub(crate) fn fetch_request(&self) -> Request {
        let partition = fetch_request::FetchPartition {
            current_leader_epoch: self.state.epoch,
            fetch_offset: self.marks.end(),
            last_fetched_epoch: self.marks.last_epoch(),
            partition_max_bytes: self.config.fetch_bytes_max,
            replica_directory_id: self.me.directory_id,
            // What we know, so that the leader answers when it knows more.
            high_watermark: self.announced_watermark(),
            ..Default::default()
        };
        let topic = fetch_request::FetchTopic {
            topic: TOPIC.to_owned(),
            topic_id: Uuid::ONE,
            partitions: vec![partition],
            ..Default::default()
        };
        Request::Fetch(FetchRequest {
            cluster_id: Some(self.config.cluster_id.clone()),
            replica_id: self.me.id,
            replica_state: fetch_request::ReplicaState {
                replica_id: self.me.id,
                ..Default::default()
            },
            max_wait_ms: self.config.fetch_wait_max_ms,
            max_bytes: self.config.fetch_bytes_max,
            topics: vec![topic],
            ..Default::default()
        })
    }

    pub(crate) fn fetch_snapshot_request(&self, download: Download) -> Request {
        let partition = fetch_snapshot_request::PartitionSnapshot {
            current_leader_epoch: self.state.epoch,
            snapshot_id: fetch_snapshot_request::SnapshotId {
                end_offset: download.id.end_offset,
                epoch: download.id.epoch,
                ..Default::default()
            },
            position: download.position,
            replica_directory_id: self.me.directory_id,
            ..Default::default()
        };
        let topic = fetch_snapshot_request::TopicSnapshot {
            name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        Request::FetchSnapshot(FetchSnapshotRequest {
            cluster_id: Some(self.config.cluster_id.clone()),
            replica_id: self.me.id,
            max_bytes: self.config.fetch_bytes_max,
            topics: vec![topic],
            ..Default::default()
        })
    }

    pub(crate) fn update_voter_request(&self) -> Request {
        let listeners = self.config.endpoints.iter();
        let listeners = listeners.map(|at| update_raft_voter_request::Listener {
            name: at.name.clone(),
            host: at.host.clone(),
            port: at.port,
            ..Default::default()
        });
        Request::UpdateVoter(UpdateRaftVoterRequest {
            cluster_id: Some(self.config.cluster_id.clone()),
            current_leader_epoch: self.state.epoch,
            voter_id: self.me.id,
            voter_directory_id: self.me.directory_id,
            listeners: listeners.collect(),
            k_raft_version_feature: update_raft_voter_request::KRaftVersionFeature {
                min_supported_version: self.config.kraft_versions.0,
                max_supported_version: self.config.kraft_versions.1,
                ..Default::default()
            },
            ..Default::default()
        })
    }

    pub(crate) fn api_versions_request() -> Request {
        Request::ApiVersions(ApiVersionsRequest {
            client_software_name: "ottla".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }
}
