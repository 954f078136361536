//! What a coordinator is asked and what it answers, in the protocol's own messages.

use messages::offset_fetch_request::OffsetFetchRequestGroup;
use messages::offset_fetch_response::OffsetFetchResponseGroup;
use messages::{
    DeleteGroupsResponse, DescribeGroupsResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
    ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, SyncGroupRequest, SyncGroupResponse,
};
use wire::ErrorCode;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What the answer is known by; unique among requests that are not answered yet.
    pub token: u64,
    /// The version of the request.
    pub version: i16,
    /// What the client calls itself; empty if it doesn't.
    pub client_id: String,
    /// Where it connects from, as Java prints addresses: with a leading slash.
    pub client_host: String,
}

/// A request; topics are named, and exist, before it comes here.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// JoinGroup.
    Join(JoinGroupRequest),
    /// SyncGroup.
    Sync(SyncGroupRequest),
    /// Heartbeat.
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup; before version 3 the one member is put into the list.
    Leave(LeaveGroupRequest),
    /// OffsetCommit.
    Commit(OffsetCommitRequest),
    /// OffsetFetch, in the shape of version 8 and later; true waits for open transactions.
    Fetch(Vec<OffsetFetchRequestGroup>, bool),
    /// OffsetDelete.
    DeleteOffsets(OffsetDeleteRequest),
    /// DescribeGroups.
    Describe(Vec<String>),
    /// ListGroups.
    List(ListGroupsRequest),
    /// DeleteGroups.
    Delete(Vec<String>),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Request::Join`].
    Join(JoinGroupResponse),
    /// To [`Request::Sync`].
    Sync(SyncGroupResponse),
    /// To [`Request::Heartbeat`].
    Heartbeat(HeartbeatResponse),
    /// To [`Request::Leave`].
    Leave(LeaveGroupResponse),
    /// To [`Request::Commit`].
    Commit(OffsetCommitResponse),
    /// To [`Request::Fetch`].
    Fetch(Vec<OffsetFetchResponseGroup>),
    /// To [`Request::DeleteOffsets`].
    DeleteOffsets(OffsetDeleteResponse),
    /// To [`Request::Describe`].
    Describe(DescribeGroupsResponse),
    /// To [`Request::List`].
    List(ListGroupsResponse),
    /// To [`Request::Delete`].
    Delete(DeleteGroupsResponse),
}

impl Answer {
    /// The answer that a request gets if the coordinator can't carry it out at all.
    pub fn refusal(request: &Request, code: ErrorCode) -> Self {
        let error_code = code.0;
        match request {
            Request::Join(request) => Self::Join(JoinGroupResponse {
                error_code,
                member_id: request.member_id.clone(),
                ..Default::default()
            }),
            Request::Sync(_) => Self::Sync(SyncGroupResponse { error_code, ..Default::default() }),
            Request::Heartbeat(_) => {
                // The session can't end while nobody keeps time, so the client may carry on.
                let loading = code == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
                let error_code = if loading { 0 } else { error_code };
                Self::Heartbeat(HeartbeatResponse { error_code, ..Default::default() })
            }
            Request::Leave(_) => {
                Self::Leave(LeaveGroupResponse { error_code, ..Default::default() })
            }
            Request::Commit(request) => Self::Commit(refused_commit(request, code)),
            Request::Fetch(groups, _) => Self::Fetch(
                groups
                    .iter()
                    .map(|group| OffsetFetchResponseGroup {
                        group_id: group.group_id.clone(),
                        error_code,
                        ..Default::default()
                    })
                    .collect(),
            ),
            Request::DeleteOffsets(_) => {
                Self::DeleteOffsets(OffsetDeleteResponse { error_code, ..Default::default() })
            }
            Request::Describe(groups) => {
                use messages::describe_groups_response::DescribedGroup;
                let groups = groups.iter().map(|group_id| DescribedGroup {
                    group_id: group_id.clone(),
                    error_code,
                    ..Default::default()
                });
                Self::Describe(DescribeGroupsResponse {
                    groups: groups.collect(),
                    ..Default::default()
                })
            }
            Request::List(_) => Self::List(ListGroupsResponse { error_code, ..Default::default() }),
            Request::Delete(groups) => {
                use messages::delete_groups_response::DeletableGroupResult;
                let results = groups.iter().map(|group_id| DeletableGroupResult {
                    group_id: group_id.clone(),
                    error_code,
                    ..Default::default()
                });
                Self::Delete(DeleteGroupsResponse {
                    results: results.collect(),
                    ..Default::default()
                })
            }
        }
    }

    /// Turns an answer that must not leave any more into an error.
    pub fn fail(&mut self, code: ErrorCode) {
        match self {
            Self::Join(answer) => {
                let member_id = std::mem::take(&mut answer.member_id);
                *answer = JoinGroupResponse { error_code: code.0, member_id, ..Default::default() };
            }
            Self::Sync(answer) => {
                *answer = SyncGroupResponse { error_code: code.0, ..Default::default() };
            }
            Self::Heartbeat(answer) => answer.error_code = code.0,
            Self::Leave(answer) => {
                *answer = LeaveGroupResponse { error_code: code.0, ..Default::default() };
            }
            Self::Commit(answer) => {
                let partitions = answer.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                partitions.for_each(|partition| partition.error_code = code.0);
            }
            Self::Fetch(groups) => {
                for group in groups {
                    group.error_code = code.0;
                    group.topics.clear();
                }
            }
            Self::DeleteOffsets(answer) => {
                *answer = OffsetDeleteResponse { error_code: code.0, ..Default::default() };
            }
            Self::Describe(answer) => {
                for group in &mut answer.groups {
                    let group_id = std::mem::take(&mut group.group_id);
                    *group = messages::describe_groups_response::DescribedGroup {
                        error_code: code.0,
                        group_id,
                        ..Default::default()
                    };
                }
            }
            Self::List(answer) => {
                *answer = ListGroupsResponse { error_code: code.0, ..Default::default() };
            }
            Self::Delete(answer) => {
                for result in &mut answer.results {
                    result.error_code = code.0;
                    result.error_message = None;
                }
            }
        }
    }
}

/// Every partition of the commit refused for the same reason.
pub fn refused_commit(request: &OffsetCommitRequest, code: ErrorCode) -> OffsetCommitResponse {
    use messages::offset_commit_response::{
        OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    };
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: code.0,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

/// What a client is told when a record could not be appended, as Apache Kafka maps it.
pub fn client_error(append: ErrorCode) -> ErrorCode {
    match append {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::REQUEST_TIMED_OUT => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => {
            ErrorCode::NOT_COORDINATOR
        }
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        other => other,
    }
}
