//! The protocol's error codes: what a client is told.
//!
//! Numbers and names are Apache Kafka's, because clients branch on the first and people search for
//! the second. Code and table are checked against the Java enumeration by the oracle test.

use std::fmt;

/// An error code of the protocol; zero is success.
///
/// Any 16-bit value can arrive from a newer peer, so this is a number with names, not an enum.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// -1.
    pub const UNKNOWN_SERVER_ERROR: Self = Self(-1);
    /// 0.
    pub const NONE: Self = Self(0);
    /// 1.
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    /// 2; may be retried.
    pub const CORRUPT_MESSAGE: Self = Self(2);
    /// 3; retry after refreshing metadata.
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    /// 4.
    pub const INVALID_FETCH_SIZE: Self = Self(4);
    /// 5; retry after refreshing metadata.
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    /// 6; retry after refreshing metadata.
    pub const NOT_LEADER_OR_FOLLOWER: Self = Self(6);
    /// 7; may be retried.
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    /// 8.
    pub const BROKER_NOT_AVAILABLE: Self = Self(8);
    /// 9; retry after refreshing metadata.
    pub const REPLICA_NOT_AVAILABLE: Self = Self(9);
    /// 10.
    pub const MESSAGE_TOO_LARGE: Self = Self(10);
    /// 11.
    pub const STALE_CONTROLLER_EPOCH: Self = Self(11);
    /// 12.
    pub const OFFSET_METADATA_TOO_LARGE: Self = Self(12);
    /// 13; retry after refreshing metadata.
    pub const NETWORK_EXCEPTION: Self = Self(13);
    /// 14; may be retried.
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    /// 15; may be retried.
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    /// 16; may be retried.
    pub const NOT_COORDINATOR: Self = Self(16);
    /// 17.
    pub const INVALID_TOPIC_EXCEPTION: Self = Self(17);
    /// 18.
    pub const RECORD_LIST_TOO_LARGE: Self = Self(18);
    /// 19; may be retried.
    pub const NOT_ENOUGH_REPLICAS: Self = Self(19);
    /// 20; may be retried.
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: Self = Self(20);
    /// 21.
    pub const INVALID_REQUIRED_ACKS: Self = Self(21);
    /// 22.
    pub const ILLEGAL_GENERATION: Self = Self(22);
    /// 23.
    pub const INCONSISTENT_GROUP_PROTOCOL: Self = Self(23);
    /// 24.
    pub const INVALID_GROUP_ID: Self = Self(24);
    /// 25.
    pub const UNKNOWN_MEMBER_ID: Self = Self(25);
    /// 26.
    pub const INVALID_SESSION_TIMEOUT: Self = Self(26);
    /// 27.
    pub const REBALANCE_IN_PROGRESS: Self = Self(27);
    /// 28.
    pub const INVALID_COMMIT_OFFSET_SIZE: Self = Self(28);
    /// 29.
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    /// 30.
    pub const GROUP_AUTHORIZATION_FAILED: Self = Self(30);
    /// 31.
    pub const CLUSTER_AUTHORIZATION_FAILED: Self = Self(31);
    /// 32.
    pub const INVALID_TIMESTAMP: Self = Self(32);
    /// 33.
    pub const UNSUPPORTED_SASL_MECHANISM: Self = Self(33);
    /// 34.
    pub const ILLEGAL_SASL_STATE: Self = Self(34);
    /// 35.
    pub const UNSUPPORTED_VERSION: Self = Self(35);
    /// 36.
    pub const TOPIC_ALREADY_EXISTS: Self = Self(36);
    /// 37.
    pub const INVALID_PARTITIONS: Self = Self(37);
    /// 38.
    pub const INVALID_REPLICATION_FACTOR: Self = Self(38);
    /// 39.
    pub const INVALID_REPLICA_ASSIGNMENT: Self = Self(39);
    /// 40.
    pub const INVALID_CONFIG: Self = Self(40);
    /// 41; may be retried.
    pub const NOT_CONTROLLER: Self = Self(41);
    /// 42.
    pub const INVALID_REQUEST: Self = Self(42);
    /// 43.
    pub const UNSUPPORTED_FOR_MESSAGE_FORMAT: Self = Self(43);
    /// 44.
    pub const POLICY_VIOLATION: Self = Self(44);
    /// 45.
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: Self = Self(45);
    /// 46.
    pub const DUPLICATE_SEQUENCE_NUMBER: Self = Self(46);
    /// 47.
    pub const INVALID_PRODUCER_EPOCH: Self = Self(47);
    /// 48.
    pub const INVALID_TXN_STATE: Self = Self(48);
    /// 49.
    pub const INVALID_PRODUCER_ID_MAPPING: Self = Self(49);
    /// 50.
    pub const INVALID_TRANSACTION_TIMEOUT: Self = Self(50);
    /// 51; may be retried.
    pub const CONCURRENT_TRANSACTIONS: Self = Self(51);
    /// 52.
    pub const TRANSACTION_COORDINATOR_FENCED: Self = Self(52);
    /// 53.
    pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Self = Self(53);
    /// 54.
    pub const SECURITY_DISABLED: Self = Self(54);
    /// 55.
    pub const OPERATION_NOT_ATTEMPTED: Self = Self(55);
    /// 56; retry after refreshing metadata.
    pub const KAFKA_STORAGE_ERROR: Self = Self(56);
    /// 57.
    pub const LOG_DIR_NOT_FOUND: Self = Self(57);
    /// 58.
    pub const SASL_AUTHENTICATION_FAILED: Self = Self(58);
    /// 59.
    pub const UNKNOWN_PRODUCER_ID: Self = Self(59);
    /// 60.
    pub const REASSIGNMENT_IN_PROGRESS: Self = Self(60);
    /// 61.
    pub const DELEGATION_TOKEN_AUTH_DISABLED: Self = Self(61);
    /// 62.
    pub const DELEGATION_TOKEN_NOT_FOUND: Self = Self(62);
    /// 63.
    pub const DELEGATION_TOKEN_OWNER_MISMATCH: Self = Self(63);
    /// 64.
    pub const DELEGATION_TOKEN_REQUEST_NOT_ALLOWED: Self = Self(64);
    /// 65.
    pub const DELEGATION_TOKEN_AUTHORIZATION_FAILED: Self = Self(65);
    /// 66.
    pub const DELEGATION_TOKEN_EXPIRED: Self = Self(66);
    /// 67.
    pub const INVALID_PRINCIPAL_TYPE: Self = Self(67);
    /// 68.
    pub const NON_EMPTY_GROUP: Self = Self(68);
    /// 69.
    pub const GROUP_ID_NOT_FOUND: Self = Self(69);
    /// 70; may be retried.
    pub const FETCH_SESSION_ID_NOT_FOUND: Self = Self(70);
    /// 71; may be retried.
    pub const INVALID_FETCH_SESSION_EPOCH: Self = Self(71);
    /// 72; retry after refreshing metadata.
    pub const LISTENER_NOT_FOUND: Self = Self(72);
    /// 73.
    pub const TOPIC_DELETION_DISABLED: Self = Self(73);
    /// 74; retry after refreshing metadata.
    pub const FENCED_LEADER_EPOCH: Self = Self(74);
    /// 75; may be retried.
    pub const UNKNOWN_LEADER_EPOCH: Self = Self(75);
    /// 76.
    pub const UNSUPPORTED_COMPRESSION_TYPE: Self = Self(76);
    /// 77.
    pub const STALE_BROKER_EPOCH: Self = Self(77);
    /// 78; may be retried.
    pub const OFFSET_NOT_AVAILABLE: Self = Self(78);
    /// 79.
    pub const MEMBER_ID_REQUIRED: Self = Self(79);
    /// 80; retry after refreshing metadata.
    pub const PREFERRED_LEADER_NOT_AVAILABLE: Self = Self(80);
    /// 81.
    pub const GROUP_MAX_SIZE_REACHED: Self = Self(81);
    /// 82.
    pub const FENCED_INSTANCE_ID: Self = Self(82);
    /// 83; retry after refreshing metadata.
    pub const ELIGIBLE_LEADERS_NOT_AVAILABLE: Self = Self(83);
    /// 84; retry after refreshing metadata.
    pub const ELECTION_NOT_NEEDED: Self = Self(84);
    /// 85.
    pub const NO_REASSIGNMENT_IN_PROGRESS: Self = Self(85);
    /// 86.
    pub const GROUP_SUBSCRIBED_TO_TOPIC: Self = Self(86);
    /// 87.
    pub const INVALID_RECORD: Self = Self(87);
    /// 88; may be retried.
    pub const UNSTABLE_OFFSET_COMMIT: Self = Self(88);
    /// 89; may be retried.
    pub const THROTTLING_QUOTA_EXCEEDED: Self = Self(89);
    /// 90.
    pub const PRODUCER_FENCED: Self = Self(90);
    /// 91.
    pub const RESOURCE_NOT_FOUND: Self = Self(91);
    /// 92.
    pub const DUPLICATE_RESOURCE: Self = Self(92);
    /// 93.
    pub const UNACCEPTABLE_CREDENTIAL: Self = Self(93);
    /// 94.
    pub const INCONSISTENT_VOTER_SET: Self = Self(94);
    /// 95.
    pub const INVALID_UPDATE_VERSION: Self = Self(95);
    /// 96.
    pub const FEATURE_UPDATE_FAILED: Self = Self(96);
    /// 97.
    pub const PRINCIPAL_DESERIALIZATION_FAILURE: Self = Self(97);
    /// 98.
    pub const SNAPSHOT_NOT_FOUND: Self = Self(98);
    /// 99.
    pub const POSITION_OUT_OF_RANGE: Self = Self(99);
    /// 100; retry after refreshing metadata.
    pub const UNKNOWN_TOPIC_ID: Self = Self(100);
    /// 101.
    pub const DUPLICATE_BROKER_REGISTRATION: Self = Self(101);
    /// 102.
    pub const BROKER_ID_NOT_REGISTERED: Self = Self(102);
    /// 103; retry after refreshing metadata.
    pub const INCONSISTENT_TOPIC_ID: Self = Self(103);
    /// 104.
    pub const INCONSISTENT_CLUSTER_ID: Self = Self(104);
    /// 105.
    pub const TRANSACTIONAL_ID_NOT_FOUND: Self = Self(105);
    /// 106; may be retried.
    pub const FETCH_SESSION_TOPIC_ID_ERROR: Self = Self(106);
    /// 107.
    pub const INELIGIBLE_REPLICA: Self = Self(107);
    /// 108.
    pub const NEW_LEADER_ELECTED: Self = Self(108);
    /// 109.
    pub const OFFSET_MOVED_TO_TIERED_STORAGE: Self = Self(109);
    /// 110.
    pub const FENCED_MEMBER_EPOCH: Self = Self(110);
    /// 111.
    pub const UNRELEASED_INSTANCE_ID: Self = Self(111);
    /// 112.
    pub const UNSUPPORTED_ASSIGNOR: Self = Self(112);
    /// 113.
    pub const STALE_MEMBER_EPOCH: Self = Self(113);
    /// 114.
    pub const MISMATCHED_ENDPOINT_TYPE: Self = Self(114);
    /// 115.
    pub const UNSUPPORTED_ENDPOINT_TYPE: Self = Self(115);
    /// 116.
    pub const UNKNOWN_CONTROLLER_ID: Self = Self(116);
    /// 117.
    pub const UNKNOWN_SUBSCRIPTION_ID: Self = Self(117);
    /// 118.
    pub const TELEMETRY_TOO_LARGE: Self = Self(118);
    /// 119.
    pub const INVALID_REGISTRATION: Self = Self(119);
    /// 120.
    pub const TRANSACTION_ABORTABLE: Self = Self(120);
    /// 121.
    pub const INVALID_RECORD_STATE: Self = Self(121);
    /// 122; may be retried.
    pub const SHARE_SESSION_NOT_FOUND: Self = Self(122);
    /// 123; may be retried.
    pub const INVALID_SHARE_SESSION_EPOCH: Self = Self(123);
    /// 124.
    pub const FENCED_STATE_EPOCH: Self = Self(124);
    /// 125.
    pub const INVALID_VOTER_KEY: Self = Self(125);
    /// 126.
    pub const DUPLICATE_VOTER: Self = Self(126);
    /// 127.
    pub const VOTER_NOT_FOUND: Self = Self(127);
    /// 128.
    pub const INVALID_REGULAR_EXPRESSION: Self = Self(128);
    /// 129.
    pub const REBOOTSTRAP_REQUIRED: Self = Self(129);
    /// 130.
    pub const STREAMS_INVALID_TOPOLOGY: Self = Self(130);
    /// 131.
    pub const STREAMS_INVALID_TOPOLOGY_EPOCH: Self = Self(131);
    /// 132.
    pub const STREAMS_TOPOLOGY_FENCED: Self = Self(132);
    /// 133; may be retried.
    pub const SHARE_SESSION_LIMIT_REACHED: Self = Self(133);
    /// 134.
    pub const GROUP_DELETION_FAILED: Self = Self(134);
    /// 135.
    pub const STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED: Self = Self(135);
    /// 136.
    pub const CONTROLLER_ID_NOT_REGISTERED: Self = Self(136);

    /// True for [`Self::NONE`].
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// The name, as Apache Kafka spells it; `None` for a code that 4.4 doesn't have.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.1)
    }

    /// What Apache Kafka, broker or client, says of it where there is nothing more to say; empty
    /// for codes that this was not needed for.
    pub fn words(self) -> &'static str {
        WORDS.iter().find(|(code, _)| *code == self).map_or("", |(_, words)| words)
    }

    /// True if the same request may succeed later.
    pub fn is_retriable(self) -> bool {
        self.row().is_some_and(|row| row.2 != Retry::No)
    }

    /// True if a client should refresh its metadata before it retries: leader or coordinator
    /// may have moved.
    pub fn refreshes_metadata(self) -> bool {
        self.row().is_some_and(|row| row.2 == Retry::AfterRefresh)
    }

    /// Every known code, in rising order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> Option<&'static (Self, &'static str, Retry)> {
        // The table has no gaps: a test holds it to that.
        TABLE.get(usize::try_from(i32::from(self.0) + 1).ok()?)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => out.write_str(name),
            None => write!(out, "error code {}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Whether a client may try again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    No,
    Yes,
    AfterRefresh,
}

/// Indexed by code + 1.
const TABLE: [(ErrorCode, &str, Retry); 138] = [
    (ErrorCode::UNKNOWN_SERVER_ERROR, "UNKNOWN_SERVER_ERROR", Retry::No),
    (ErrorCode::NONE, "NONE", Retry::No),
    (ErrorCode::OFFSET_OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE", Retry::No),
    (ErrorCode::CORRUPT_MESSAGE, "CORRUPT_MESSAGE", Retry::Yes),
    (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "UNKNOWN_TOPIC_OR_PARTITION", Retry::AfterRefresh),
    (ErrorCode::INVALID_FETCH_SIZE, "INVALID_FETCH_SIZE", Retry::No),
    (ErrorCode::LEADER_NOT_AVAILABLE, "LEADER_NOT_AVAILABLE", Retry::AfterRefresh),
    (ErrorCode::NOT_LEADER_OR_FOLLOWER, "NOT_LEADER_OR_FOLLOWER", Retry::AfterRefresh),
    (ErrorCode::REQUEST_TIMED_OUT, "REQUEST_TIMED_OUT", Retry::Yes),
    (ErrorCode::BROKER_NOT_AVAILABLE, "BROKER_NOT_AVAILABLE", Retry::No),
    (ErrorCode::REPLICA_NOT_AVAILABLE, "REPLICA_NOT_AVAILABLE", Retry::AfterRefresh),
    (ErrorCode::MESSAGE_TOO_LARGE, "MESSAGE_TOO_LARGE", Retry::No),
    (ErrorCode::STALE_CONTROLLER_EPOCH, "STALE_CONTROLLER_EPOCH", Retry::No),
    (ErrorCode::OFFSET_METADATA_TOO_LARGE, "OFFSET_METADATA_TOO_LARGE", Retry::No),
    (ErrorCode::NETWORK_EXCEPTION, "NETWORK_EXCEPTION", Retry::AfterRefresh),
    (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, "COORDINATOR_LOAD_IN_PROGRESS", Retry::Yes),
    (ErrorCode::COORDINATOR_NOT_AVAILABLE, "COORDINATOR_NOT_AVAILABLE", Retry::Yes),
    (ErrorCode::NOT_COORDINATOR, "NOT_COORDINATOR", Retry::Yes),
    (ErrorCode::INVALID_TOPIC_EXCEPTION, "INVALID_TOPIC_EXCEPTION", Retry::No),
    (ErrorCode::RECORD_LIST_TOO_LARGE, "RECORD_LIST_TOO_LARGE", Retry::No),
    (ErrorCode::NOT_ENOUGH_REPLICAS, "NOT_ENOUGH_REPLICAS", Retry::Yes),
    (ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retry::Yes),
    (ErrorCode::INVALID_REQUIRED_ACKS, "INVALID_REQUIRED_ACKS", Retry::No),
    (ErrorCode::ILLEGAL_GENERATION, "ILLEGAL_GENERATION", Retry::No),
    (ErrorCode::INCONSISTENT_GROUP_PROTOCOL, "INCONSISTENT_GROUP_PROTOCOL", Retry::No),
    (ErrorCode::INVALID_GROUP_ID, "INVALID_GROUP_ID", Retry::No),
    (ErrorCode::UNKNOWN_MEMBER_ID, "UNKNOWN_MEMBER_ID", Retry::No),
    (ErrorCode::INVALID_SESSION_TIMEOUT, "INVALID_SESSION_TIMEOUT", Retry::No),
    (ErrorCode::REBALANCE_IN_PROGRESS, "REBALANCE_IN_PROGRESS", Retry::No),
    (ErrorCode::INVALID_COMMIT_OFFSET_SIZE, "INVALID_COMMIT_OFFSET_SIZE", Retry::No),
    (ErrorCode::TOPIC_AUTHORIZATION_FAILED, "TOPIC_AUTHORIZATION_FAILED", Retry::No),
    (ErrorCode::GROUP_AUTHORIZATION_FAILED, "GROUP_AUTHORIZATION_FAILED", Retry::No),
    (ErrorCode::CLUSTER_AUTHORIZATION_FAILED, "CLUSTER_AUTHORIZATION_FAILED", Retry::No),
    (ErrorCode::INVALID_TIMESTAMP, "INVALID_TIMESTAMP", Retry::No),
    (ErrorCode::UNSUPPORTED_SASL_MECHANISM, "UNSUPPORTED_SASL_MECHANISM", Retry::No),
    (ErrorCode::ILLEGAL_SASL_STATE, "ILLEGAL_SASL_STATE", Retry::No),
    (ErrorCode::UNSUPPORTED_VERSION, "UNSUPPORTED_VERSION", Retry::No),
    (ErrorCode::TOPIC_ALREADY_EXISTS, "TOPIC_ALREADY_EXISTS", Retry::No),
    (ErrorCode::INVALID_PARTITIONS, "INVALID_PARTITIONS", Retry::No),
    (ErrorCode::INVALID_REPLICATION_FACTOR, "INVALID_REPLICATION_FACTOR", Retry::No),
    (ErrorCode::INVALID_REPLICA_ASSIGNMENT, "INVALID_REPLICA_ASSIGNMENT", Retry::No),
    (ErrorCode::INVALID_CONFIG, "INVALID_CONFIG", Retry::No),
    (ErrorCode::NOT_CONTROLLER, "NOT_CONTROLLER", Retry::Yes),
    (ErrorCode::INVALID_REQUEST, "INVALID_REQUEST", Retry::No),
    (ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Retry::No),
    (ErrorCode::POLICY_VIOLATION, "POLICY_VIOLATION", Retry::No),
    (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, "OUT_OF_ORDER_SEQUENCE_NUMBER", Retry::No),
    (ErrorCode::DUPLICATE_SEQUENCE_NUMBER, "DUPLICATE_SEQUENCE_NUMBER", Retry::No),
    (ErrorCode::INVALID_PRODUCER_EPOCH, "INVALID_PRODUCER_EPOCH", Retry::No),
    (ErrorCode::INVALID_TXN_STATE, "INVALID_TXN_STATE", Retry::No),
    (ErrorCode::INVALID_PRODUCER_ID_MAPPING, "INVALID_PRODUCER_ID_MAPPING", Retry::No),
    (ErrorCode::INVALID_TRANSACTION_TIMEOUT, "INVALID_TRANSACTION_TIMEOUT", Retry::No),
    (ErrorCode::CONCURRENT_TRANSACTIONS, "CONCURRENT_TRANSACTIONS", Retry::Yes),
    (ErrorCode::TRANSACTION_COORDINATOR_FENCED, "TRANSACTION_COORDINATOR_FENCED", Retry::No),
    (
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        Retry::No,
    ),
    (ErrorCode::SECURITY_DISABLED, "SECURITY_DISABLED", Retry::No),
    (ErrorCode::OPERATION_NOT_ATTEMPTED, "OPERATION_NOT_ATTEMPTED", Retry::No),
    (ErrorCode::KAFKA_STORAGE_ERROR, "KAFKA_STORAGE_ERROR", Retry::AfterRefresh),
    (ErrorCode::LOG_DIR_NOT_FOUND, "LOG_DIR_NOT_FOUND", Retry::No),
    (ErrorCode::SASL_AUTHENTICATION_FAILED, "SASL_AUTHENTICATION_FAILED", Retry::No),
    (ErrorCode::UNKNOWN_PRODUCER_ID, "UNKNOWN_PRODUCER_ID", Retry::No),
    (ErrorCode::REASSIGNMENT_IN_PROGRESS, "REASSIGNMENT_IN_PROGRESS", Retry::No),
    (ErrorCode::DELEGATION_TOKEN_AUTH_DISABLED, "DELEGATION_TOKEN_AUTH_DISABLED", Retry::No),
    (ErrorCode::DELEGATION_TOKEN_NOT_FOUND, "DELEGATION_TOKEN_NOT_FOUND", Retry::No),
    (ErrorCode::DELEGATION_TOKEN_OWNER_MISMATCH, "DELEGATION_TOKEN_OWNER_MISMATCH", Retry::No),
    (
        ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
        "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
        Retry::No,
    ),
    (
        ErrorCode::DELEGATION_TOKEN_AUTHORIZATION_FAILED,
        "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
        Retry::No,
    ),
    (ErrorCode::DELEGATION_TOKEN_EXPIRED, "DELEGATION_TOKEN_EXPIRED", Retry::No),
    (ErrorCode::INVALID_PRINCIPAL_TYPE, "INVALID_PRINCIPAL_TYPE", Retry::No),
    (ErrorCode::NON_EMPTY_GROUP, "NON_EMPTY_GROUP", Retry::No),
    (ErrorCode::GROUP_ID_NOT_FOUND, "GROUP_ID_NOT_FOUND", Retry::No),
    (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, "FETCH_SESSION_ID_NOT_FOUND", Retry::Yes),
    (ErrorCode::INVALID_FETCH_SESSION_EPOCH, "INVALID_FETCH_SESSION_EPOCH", Retry::Yes),
    (ErrorCode::LISTENER_NOT_FOUND, "LISTENER_NOT_FOUND", Retry::AfterRefresh),
    (ErrorCode::TOPIC_DELETION_DISABLED, "TOPIC_DELETION_DISABLED", Retry::No),
    (ErrorCode::FENCED_LEADER_EPOCH, "FENCED_LEADER_EPOCH", Retry::AfterRefresh),
    (ErrorCode::UNKNOWN_LEADER_EPOCH, "UNKNOWN_LEADER_EPOCH", Retry::Yes),
    (ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, "UNSUPPORTED_COMPRESSION_TYPE", Retry::No),
    (ErrorCode::STALE_BROKER_EPOCH, "STALE_BROKER_EPOCH", Retry::No),
    (ErrorCode::OFFSET_NOT_AVAILABLE, "OFFSET_NOT_AVAILABLE", Retry::Yes),
    (ErrorCode::MEMBER_ID_REQUIRED, "MEMBER_ID_REQUIRED", Retry::No),
    (
        ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE,
        "PREFERRED_LEADER_NOT_AVAILABLE",
        Retry::AfterRefresh,
    ),
    (ErrorCode::GROUP_MAX_SIZE_REACHED, "GROUP_MAX_SIZE_REACHED", Retry::No),
    (ErrorCode::FENCED_INSTANCE_ID, "FENCED_INSTANCE_ID", Retry::No),
    (
        ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE,
        "ELIGIBLE_LEADERS_NOT_AVAILABLE",
        Retry::AfterRefresh,
    ),
    (ErrorCode::ELECTION_NOT_NEEDED, "ELECTION_NOT_NEEDED", Retry::AfterRefresh),
    (ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, "NO_REASSIGNMENT_IN_PROGRESS", Retry::No),
    (ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC, "GROUP_SUBSCRIBED_TO_TOPIC", Retry::No),
    (ErrorCode::INVALID_RECORD, "INVALID_RECORD", Retry::No),
    (ErrorCode::UNSTABLE_OFFSET_COMMIT, "UNSTABLE_OFFSET_COMMIT", Retry::Yes),
    (ErrorCode::THROTTLING_QUOTA_EXCEEDED, "THROTTLING_QUOTA_EXCEEDED", Retry::Yes),
    (ErrorCode::PRODUCER_FENCED, "PRODUCER_FENCED", Retry::No),
    (ErrorCode::RESOURCE_NOT_FOUND, "RESOURCE_NOT_FOUND", Retry::No),
    (ErrorCode::DUPLICATE_RESOURCE, "DUPLICATE_RESOURCE", Retry::No),
    (ErrorCode::UNACCEPTABLE_CREDENTIAL, "UNACCEPTABLE_CREDENTIAL", Retry::No),
    (ErrorCode::INCONSISTENT_VOTER_SET, "INCONSISTENT_VOTER_SET", Retry::No),
    (ErrorCode::INVALID_UPDATE_VERSION, "INVALID_UPDATE_VERSION", Retry::No),
    (ErrorCode::FEATURE_UPDATE_FAILED, "FEATURE_UPDATE_FAILED", Retry::No),
    (ErrorCode::PRINCIPAL_DESERIALIZATION_FAILURE, "PRINCIPAL_DESERIALIZATION_FAILURE", Retry::No),
    (ErrorCode::SNAPSHOT_NOT_FOUND, "SNAPSHOT_NOT_FOUND", Retry::No),
    (ErrorCode::POSITION_OUT_OF_RANGE, "POSITION_OUT_OF_RANGE", Retry::No),
    (ErrorCode::UNKNOWN_TOPIC_ID, "UNKNOWN_TOPIC_ID", Retry::AfterRefresh),
    (ErrorCode::DUPLICATE_BROKER_REGISTRATION, "DUPLICATE_BROKER_REGISTRATION", Retry::No),
    (ErrorCode::BROKER_ID_NOT_REGISTERED, "BROKER_ID_NOT_REGISTERED", Retry::No),
    (ErrorCode::INCONSISTENT_TOPIC_ID, "INCONSISTENT_TOPIC_ID", Retry::AfterRefresh),
    (ErrorCode::INCONSISTENT_CLUSTER_ID, "INCONSISTENT_CLUSTER_ID", Retry::No),
    (ErrorCode::TRANSACTIONAL_ID_NOT_FOUND, "TRANSACTIONAL_ID_NOT_FOUND", Retry::No),
    (ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR, "FETCH_SESSION_TOPIC_ID_ERROR", Retry::Yes),
    (ErrorCode::INELIGIBLE_REPLICA, "INELIGIBLE_REPLICA", Retry::No),
    (ErrorCode::NEW_LEADER_ELECTED, "NEW_LEADER_ELECTED", Retry::No),
    (ErrorCode::OFFSET_MOVED_TO_TIERED_STORAGE, "OFFSET_MOVED_TO_TIERED_STORAGE", Retry::No),
    (ErrorCode::FENCED_MEMBER_EPOCH, "FENCED_MEMBER_EPOCH", Retry::No),
    (ErrorCode::UNRELEASED_INSTANCE_ID, "UNRELEASED_INSTANCE_ID", Retry::No),
    (ErrorCode::UNSUPPORTED_ASSIGNOR, "UNSUPPORTED_ASSIGNOR", Retry::No),
    (ErrorCode::STALE_MEMBER_EPOCH, "STALE_MEMBER_EPOCH", Retry::No),
    (ErrorCode::MISMATCHED_ENDPOINT_TYPE, "MISMATCHED_ENDPOINT_TYPE", Retry::No),
    (ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, "UNSUPPORTED_ENDPOINT_TYPE", Retry::No),
    (ErrorCode::UNKNOWN_CONTROLLER_ID, "UNKNOWN_CONTROLLER_ID", Retry::No),
    (ErrorCode::UNKNOWN_SUBSCRIPTION_ID, "UNKNOWN_SUBSCRIPTION_ID", Retry::No),
    (ErrorCode::TELEMETRY_TOO_LARGE, "TELEMETRY_TOO_LARGE", Retry::No),
    (ErrorCode::INVALID_REGISTRATION, "INVALID_REGISTRATION", Retry::No),
    (ErrorCode::TRANSACTION_ABORTABLE, "TRANSACTION_ABORTABLE", Retry::No),
    (ErrorCode::INVALID_RECORD_STATE, "INVALID_RECORD_STATE", Retry::No),
    (ErrorCode::SHARE_SESSION_NOT_FOUND, "SHARE_SESSION_NOT_FOUND", Retry::Yes),
    (ErrorCode::INVALID_SHARE_SESSION_EPOCH, "INVALID_SHARE_SESSION_EPOCH", Retry::Yes),
    (ErrorCode::FENCED_STATE_EPOCH, "FENCED_STATE_EPOCH", Retry::No),
    (ErrorCode::INVALID_VOTER_KEY, "INVALID_VOTER_KEY", Retry::No),
    (ErrorCode::DUPLICATE_VOTER, "DUPLICATE_VOTER", Retry::No),
    (ErrorCode::VOTER_NOT_FOUND, "VOTER_NOT_FOUND", Retry::No),
    (ErrorCode::INVALID_REGULAR_EXPRESSION, "INVALID_REGULAR_EXPRESSION", Retry::No),
    (ErrorCode::REBOOTSTRAP_REQUIRED, "REBOOTSTRAP_REQUIRED", Retry::No),
    (ErrorCode::STREAMS_INVALID_TOPOLOGY, "STREAMS_INVALID_TOPOLOGY", Retry::No),
    (ErrorCode::STREAMS_INVALID_TOPOLOGY_EPOCH, "STREAMS_INVALID_TOPOLOGY_EPOCH", Retry::No),
    (ErrorCode::STREAMS_TOPOLOGY_FENCED, "STREAMS_TOPOLOGY_FENCED", Retry::No),
    (ErrorCode::SHARE_SESSION_LIMIT_REACHED, "SHARE_SESSION_LIMIT_REACHED", Retry::Yes),
    (ErrorCode::GROUP_DELETION_FAILED, "GROUP_DELETION_FAILED", Retry::No),
    (
        ErrorCode::STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED,
        "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED",
        Retry::No,
    ),
    (ErrorCode::CONTROLLER_ID_NOT_REGISTERED, "CONTROLLER_ID_NOT_REGISTERED", Retry::No),
];

/// What Apache Kafka says of a code where there is nothing more to say; of the others nobody asked
/// yet.
const WORDS: &[(ErrorCode, &str)] = &[
    (
        ErrorCode::UNKNOWN_SERVER_ERROR,
        "The server experienced an unexpected error when processing the request.",
    ),
    (
        ErrorCode::OFFSET_OUT_OF_RANGE,
        "The requested offset is not within the range of offsets maintained by the server.",
    ),
    (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition."),
    (
        ErrorCode::LEADER_NOT_AVAILABLE,
        "There is no leader for this topic-partition as we are in the middle of a leadership \
         election.",
    ),
    (
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        "For requests intended only for the leader, this error indicates that the broker is not \
         the current leader. For requests intended for any replica, this error indicates that the \
         broker is not a replica of the topic partition.",
    ),
    (ErrorCode::REQUEST_TIMED_OUT, "The request timed out."),
    (
        ErrorCode::MESSAGE_TOO_LARGE,
        "The request included a message larger than the max message size the server will accept.",
    ),
    (ErrorCode::COORDINATOR_NOT_AVAILABLE, "The coordinator is not available."),
    (ErrorCode::NOT_COORDINATOR, "This is not the correct coordinator."),
    (
        ErrorCode::INVALID_TOPIC_EXCEPTION,
        "The request attempted to perform an operation on an invalid topic.",
    ),
    (
        ErrorCode::INVALID_REQUEST,
        "This most likely occurs because of a request being malformed by the client library or the \
         message was sent to an incompatible broker. See the broker logs for more details.",
    ),
    (ErrorCode::INVALID_GROUP_ID, "The group id is invalid."),
    (ErrorCode::POLICY_VIOLATION, "Request parameters do not satisfy the configured policy."),
    (ErrorCode::UNKNOWN_MEMBER_ID, "The coordinator is not aware of this member."),
    (ErrorCode::TOPIC_ALREADY_EXISTS, "Topic with this name already exists."),
    (ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID."),
    (ErrorCode::NON_EMPTY_GROUP, "The group is not empty."),
    (ErrorCode::GROUP_ID_NOT_FOUND, "The group id does not exist."),
    (
        ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
        "Deleting offsets of a topic is forbidden while the consumer group is actively subscribed \
         to it.",
    ),
    (ErrorCode::UNSUPPORTED_VERSION, "The version of API is not supported."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_indexed_by_code_without_gaps() {
        for (index, code) in ErrorCode::all().enumerate() {
            assert_eq!(i32::from(code.0), index as i32 - 1);
        }
    }

    #[test]
    fn unknown_codes_keep_their_number_and_are_final() {
        for code in [i16::MIN, -2, TABLE.len() as i16 - 1, i16::MAX].map(ErrorCode) {
            assert_eq!(code.name(), None);
            assert!(!code.is_retriable() && !code.refreshes_metadata());
            assert_eq!(code.to_string(), format!("error code {}", code.0));
        }
        assert_eq!(ErrorCode::NOT_LEADER_OR_FOLLOWER.to_string(), "NOT_LEADER_OR_FOLLOWER");
    }
}
