//! Which response answers which request.

use messages::{ApiKey, Message};

/// A request that a client sends.
pub trait Request: Message + Send + Sync {
    /// What answers it.
    type Response: Message + Send;
    /// Its API.
    const API: ApiKey;
}

/// Names the pairs; the schemas name both alike.
macro_rules! requests {
    ($($api:ident: $request:ident => $response:ident;)*) => {
        $(impl Request for messages::$request {
            type Response = messages::$response;
            const API: ApiKey = ApiKey::$api;
        })*
    };
}

requests! {
    Produce: ProduceRequest => ProduceResponse;
    Fetch: FetchRequest => FetchResponse;
    ListOffsets: ListOffsetsRequest => ListOffsetsResponse;
    Metadata: MetadataRequest => MetadataResponse;
    OffsetCommit: OffsetCommitRequest => OffsetCommitResponse;
    OffsetFetch: OffsetFetchRequest => OffsetFetchResponse;
    FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse;
    JoinGroup: JoinGroupRequest => JoinGroupResponse;
    Heartbeat: HeartbeatRequest => HeartbeatResponse;
    LeaveGroup: LeaveGroupRequest => LeaveGroupResponse;
    SyncGroup: SyncGroupRequest => SyncGroupResponse;
    DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse;
    ListGroups: ListGroupsRequest => ListGroupsResponse;
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse;
    CreateTopics: CreateTopicsRequest => CreateTopicsResponse;
    DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse;
    DeleteRecords: DeleteRecordsRequest => DeleteRecordsResponse;
    InitProducerId: InitProducerIdRequest => InitProducerIdResponse;
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse;
    DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse;
    AlterConfigs: AlterConfigsRequest => AlterConfigsResponse;
    AlterReplicaLogDirs: AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse;
    DescribeLogDirs: DescribeLogDirsRequest => DescribeLogDirsResponse;
    CreatePartitions: CreatePartitionsRequest => CreatePartitionsResponse;
    DeleteGroups: DeleteGroupsRequest => DeleteGroupsResponse;
    ElectLeaders: ElectLeadersRequest => ElectLeadersResponse;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;
    AlterPartitionReassignments:
        AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse;
    ListPartitionReassignments:
        ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse;
    OffsetDelete: OffsetDeleteRequest => OffsetDeleteResponse;
    DescribeQuorum: DescribeQuorumRequest => DescribeQuorumResponse;
    UpdateFeatures: UpdateFeaturesRequest => UpdateFeaturesResponse;
    DescribeCluster: DescribeClusterRequest => DescribeClusterResponse;
    DescribeProducers: DescribeProducersRequest => DescribeProducersResponse;
    UnregisterBroker: UnregisterBrokerRequest => UnregisterBrokerResponse;
    DescribeTransactions: DescribeTransactionsRequest => DescribeTransactionsResponse;
    ListTransactions: ListTransactionsRequest => ListTransactionsResponse;
    ConsumerGroupDescribe: ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse;
    ListConfigResources: ListConfigResourcesRequest => ListConfigResourcesResponse;
    DescribeTopicPartitions: DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse;
}

/// The highest version that both sides know, given what the broker says; `None` if there is none.
///
/// A last version that is not stable yet is left alone, as Apache Kafka's clients do.
pub(crate) fn highest_common(api: ApiKey, theirs: Option<(i16, i16)>) -> Option<i16> {
    let facts = api.facts();
    let (least, last) = facts.versions;
    let last = if facts.unstable_last { last - 1 } else { last };
    let (their_least, their_last) = theirs?;
    let version = last.min(their_last);
    (version >= least && version >= their_least).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_highest_both_know() {
        let (least, last) = ApiKey::Metadata.facts().versions;
        assert_eq!(highest_common(ApiKey::Metadata, Some((0, 5))), Some(5));
        assert_eq!(highest_common(ApiKey::Metadata, Some((least, i16::MAX))), Some(last));
        assert_eq!(highest_common(ApiKey::Metadata, Some((last + 1, last + 2))), None);
        assert_eq!(highest_common(ApiKey::Metadata, Some((3, -1))), None);
        assert_eq!(highest_common(ApiKey::Metadata, None), None);
    }
}
