//! What goes in and what comes out: facts, orders, and the configuration they are read under.

use messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, ApiVersionsRequest, ApiVersionsResponse,
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, EndQuorumEpochRequest, EndQuorumEpochResponse, FetchRequest,
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, QuorumStateData,
    RemoveRaftVoterRequest, RemoveRaftVoterResponse, UpdateRaftVoterRequest,
    UpdateRaftVoterResponse, VoteRequest, VoteResponse,
};
use wire::{Bytes, Uuid};

use crate::control::{Statement, statements_in};
use crate::marks::SnapshotId;
use crate::voters::{Endpoint, VoterSet};

/// Who this node is and how patient.
#[derive(Clone, Debug)]
pub struct Config {
    /// `node.id`.
    pub node_id: i32,
    /// Id of the metadata directory.
    pub directory_id: Uuid,
    /// Id of the cluster.
    pub cluster_id: String,
    /// Our listeners for peers; the one called `listener_name` is what peers ask.
    pub endpoints: Vec<Endpoint>,
    /// The listener by which voters are asked: the first of `controller.listener.names`.
    pub listener_name: String,
    /// First and last `kraft.version` this node supports.
    pub kraft_versions: (i16, i16),
    /// `controller.quorum.voters`: in force until the log states voters. Their directories are
    /// unknown (zero).
    pub static_voters: VoterSet,
    /// `controller.quorum.bootstrap.servers`: host and port of nodes that know the leader.
    pub bootstrap_servers: Vec<(String, u16)>,
    /// `controller.quorum.election.timeout.ms`; jitter of up to as much again is added.
    pub election_timeout_ms: i64,
    /// `controller.quorum.fetch.timeout.ms`.
    pub fetch_timeout_ms: i64,
    /// `controller.quorum.election.backoff.max.ms`.
    pub election_backoff_max_ms: i64,
    /// `controller.quorum.request.timeout.ms`.
    pub request_timeout_ms: i64,
    /// `controller.quorum.retry.backoff.ms`.
    pub retry_backoff_ms: i64,
    /// How long a leader may keep a fetch of ours that finds nothing.
    pub fetch_wait_max_ms: i32,
    /// How many bytes a fetch or a piece of a snapshot may have.
    pub fetch_bytes_max: i32,
    /// Seed of the jitter; nodes of one quorum need different ones.
    pub seed: u64,
}

impl Config {
    /// A node with Apache Kafka's timeouts.
    pub fn new(node_id: i32, directory_id: Uuid, cluster_id: String) -> Self {
        Self {
            node_id,
            directory_id,
            cluster_id,
            endpoints: Vec::new(),
            listener_name: "CONTROLLER".to_owned(),
            kraft_versions: (0, 1),
            static_voters: VoterSet::default(),
            bootstrap_servers: Vec::new(),
            election_timeout_ms: 1_000,
            fetch_timeout_ms: 2_000,
            election_backoff_max_ms: 1_000,
            request_timeout_ms: 2_000,
            retry_backoff_ms: 20,
            fetch_wait_max_ms: 500,
            fetch_bytes_max: 8 << 20,
            seed: node_id as u64,
        }
    }
}

/// What a node finds on its disk when it starts.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The file `quorum-state`, if there is one.
    pub quorum_state: Option<QuorumStateData>,
    /// First offset of the log.
    pub log_start: i64,
    /// End of the log, exclusive.
    pub log_end: i64,
    /// What of it is certainly on disk. A log that was found in the page cache of a process that
    /// died isn't: the caller flushes it and says [`Event::Flushed`].
    pub flushed: i64,
    /// Epochs in the log and where each begins, ascending.
    pub epochs: Vec<(i32, i64)>,
    /// Whole snapshots on disk and their sizes, the bootstrap snapshot included.
    pub snapshots: Vec<(SnapshotId, u64)>,
    /// Offsets and values of the KRAFT_VERSION records from the latest snapshot on; what the
    /// snapshot says has its end offset minus one.
    pub kraft_versions: Vec<(i64, i16)>,
    /// Likewise the KRAFT_VOTERS records.
    pub voters: Vec<(i64, VoterSet)>,
}

impl Restored {
    /// Takes in what a batch of the latest snapshot says about the quorum, the bootstrap snapshot
    /// included. Snapshot first, then the log.
    ///
    /// # Errors
    /// A batch that can't be read.
    pub fn read_snapshot(&mut self, id: SnapshotId, batch: &Bytes) -> Result<(), &'static str> {
        for (_, statement) in statements_in(batch)? {
            self.state(id.end_offset - 1, statement);
        }
        Ok(())
    }

    /// Takes in what a batch of the log says about the quorum; batches in the log's order.
    ///
    /// # Errors
    /// A batch that can't be read.
    pub fn read_log(&mut self, batch: &Bytes) -> Result<(), &'static str> {
        for (offset, statement) in statements_in(batch)? {
            self.state(offset, statement);
        }
        Ok(())
    }

    /// What the snapshot covers, the log may repeat.
    fn state(&mut self, offset: i64, statement: Statement) {
        match statement {
            Statement::KRaftVersion(version) => {
                if self.kraft_versions.last().is_none_or(|(last, _)| *last < offset) {
                    self.kraft_versions.push((offset, version));
                }
            }
            Statement::Voters(voters) => {
                if self.voters.last().is_none_or(|(last, _)| *last < offset) {
                    self.voters.push((offset, voters));
                }
            }
        }
    }
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its node id; below -1 for bootstrap servers, whose ids aren't known.
    pub id: i32,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Names the request an answer belongs to; chosen by the caller.
pub type Ticket = u64;

/// A request, from a peer or to one. Fields that a negotiated version lacks are the caller's to
/// drop, but for [`Request::Vote`]: a peer that can't do version 2 is not asked with `pre_vote`,
/// the caller answers [`AskError::UnsupportedVersion`].
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Request {
    Vote(VoteRequest),
    BeginQuorumEpoch(BeginQuorumEpochRequest),
    EndQuorumEpoch(EndQuorumEpochRequest),
    Fetch(FetchRequest),
    FetchSnapshot(FetchSnapshotRequest),
    DescribeQuorum(DescribeQuorumRequest),
    AddVoter(AddRaftVoterRequest),
    RemoveVoter(RemoveRaftVoterRequest),
    UpdateVoter(UpdateRaftVoterRequest),
    ApiVersions(ApiVersionsRequest),
}

/// The answer to a [`Request`].
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Response {
    Vote(VoteResponse),
    BeginQuorumEpoch(BeginQuorumEpochResponse),
    EndQuorumEpoch(EndQuorumEpochResponse),
    Fetch(FetchResponse),
    FetchSnapshot(FetchSnapshotResponse),
    DescribeQuorum(DescribeQuorumResponse),
    AddVoter(AddRaftVoterResponse),
    RemoveVoter(RemoveRaftVoterResponse),
    UpdateVoter(UpdateRaftVoterResponse),
    ApiVersions(ApiVersionsResponse),
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskError {
    /// No connection, or none any more.
    Unreachable,
    /// The peer doesn't know the request in a version that could carry it.
    UnsupportedVersion,
}

/// A fact.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed. Needed at [`crate::Raft::next_deadline_ms`]; harmless at any other time.
    Ticked,
    /// A request came in. [`Request::ApiVersions`] is not for the core.
    Requested {
        /// Names it in the answer.
        ticket: Ticket,
        /// The version it came in, in which the answer will be written.
        version: i16,
        /// It.
        request: Request,
    },
    /// An answer came to [`Effect::Ask`], or it is certain that none will.
    Answered {
        /// The number of the question.
        number: u64,
        /// The answer.
        outcome: Result<Response, AskError>,
    },
    /// The caller, while [`crate::Raft::leading`], appended records of the leader's epoch.
    Appended {
        /// The epoch they carry.
        epoch: i32,
        /// End of the log now, exclusive.
        end: i64,
    },
    /// All below is on disk. A completion that a truncation overtook must be left out, or have an
    /// `end` that was cut to the truncated log's.
    Flushed {
        /// Exclusive end of what is on disk.
        end: i64,
    },
    /// `quorum-state` is on disk, as [`Effect::Store`] ordered.
    Stored {
        /// The number of the order; those before it are done as well.
        number: u64,
    },
    /// The caller wrote a snapshot, which ends at [`crate::Raft::snapshot_end_max`] at most.
    SnapshotTaken {
        /// Which.
        id: SnapshotId,
        /// Its size.
        bytes: u64,
    },
    /// A snapshot is no longer on disk.
    SnapshotDeleted {
        /// Which.
        id: SnapshotId,
    },
    /// The downloaded snapshot is in place, the log is empty and begins behind it: durably.
    SnapshotInstalled {
        /// Which.
        id: SnapshotId,
        /// Its size.
        bytes: u64,
        /// The `kraft.version` in it; 0 if none is.
        kraft_version: i16,
        /// The voters in it.
        voters: Option<VoterSet>,
    },
    /// A prefix of the log was deleted; a snapshot covers it.
    PrefixDeleted {
        /// First offset of the log now.
        start: i64,
    },
    /// A leader shall step down: the controller in it can't go on.
    Resigning,
    /// The node shall stop: it stands for nothing any more, and a leader hands over.
    Stopping,
}

/// What kind of role a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleKind {
    /// No leader is known.
    Unattached,
    /// Asking whether an election could be won (PreVote, KIP-996).
    Prospective,
    /// Asking for votes.
    Candidate,
    /// Leading the epoch.
    Leader,
    /// Following its leader.
    Follower,
    /// Was leader of the epoch and leads no more.
    Resigned,
}

/// An order. Orders are carried out one after the other, in this order, before the core is stepped
/// again; only [`Effect::Store`], [`Effect::InstallSnapshot`] and flushes complete later.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Replace `quorum-state` durably, then say [`Event::Stored`]. A later order replaces an
    /// earlier one that isn't under way yet.
    Store {
        /// Names the order.
        number: u64,
        /// What the file holds: [`crate::quorum_state::to_text`].
        data: QuorumStateData,
        /// In which version.
        version: i16,
    },
    /// Append this control batch to the log as it is, and flush it like any other. The core counts
    /// it as appended; [`Event::Appended`] is not said.
    AppendControl {
        /// One batch with offsets and epoch.
        batch: Bytes,
        /// End of the log behind it, exclusive.
        end: i64,
    },
    /// Append these batches from the leader as they are, and flush them.
    AppendFetched {
        /// Whole batches.
        records: Bytes,
        /// End of the log behind them, exclusive.
        end: i64,
    },
    /// Cut the log. Nothing at or above `to` was committed.
    Truncate {
        /// The end, exclusive.
        to: i64,
    },
    /// Put a piece into the file of a snapshot that is being downloaded. Position 0 begins a new
    /// file and discards whatever was downloaded before.
    AppendSnapshotChunk {
        /// Which snapshot.
        id: SnapshotId,
        /// Where the piece belongs: the end of the file.
        position: i64,
        /// The piece.
        bytes: Bytes,
    },
    /// The download is whole, or was when the node died: put it in place if it isn't yet, empty
    /// the log so that it begins behind it, read the voters and `kraft.version` in it, and say
    /// [`Event::SnapshotInstalled`].
    InstallSnapshot {
        /// Which.
        id: SnapshotId,
    },
    /// Ask a peer and say [`Event::Answered`].
    Ask {
        /// Whom.
        peer: Peer,
        /// Names the question.
        number: u64,
        /// What.
        request: Request,
    },
    /// Answer a request.
    Answer {
        /// Which.
        ticket: Ticket,
        /// With what.
        response: Response,
    },
    /// Answer a fetch after putting the log's bytes from `offset` on into its one partition.
    ServeFetch {
        /// Which request.
        ticket: Ticket,
        /// The answer but for its records.
        response: FetchResponse,
        /// Where to read.
        offset: i64,
        /// At most so many bytes, but at least one whole batch.
        max_bytes: i32,
    },
    /// Answer after putting bytes of a snapshot into its one partition.
    ServeSnapshot {
        /// Which request.
        ticket: Ticket,
        /// The answer but for its bytes.
        response: FetchSnapshotResponse,
        /// Which snapshot.
        id: SnapshotId,
        /// Where to read; below the snapshot's size.
        position: i64,
        /// At most so many bytes.
        max_bytes: i32,
    },
    /// All below is committed.
    Committed {
        /// Exclusive end; only grows in the life of a core.
        high_watermark: i64,
    },
    /// The node's role, or who leads, changed.
    Became {
        /// The role.
        role: RoleKind,
        /// The epoch.
        epoch: i32,
        /// Its leader, if known.
        leader: Option<i32>,
    },
    /// After [`Event::Stopping`]: nothing holds the node any more.
    Stopped,
    /// Stop the node: going on could lose what was committed. The core is deaf from now on.
    Halt {
        /// Why, for the operator.
        reason: String,
    },
}
