//! Members of a group: they join, share out partitions that mean nothing, and commit rising
//! offsets, each in a partition of its own, so that what was acknowledged can be compared.

use messages::join_group_request::JoinGroupRequestProtocol;
use messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use messages::sync_group_request::SyncGroupRequestAssignment;
use messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use wire::{Bytes, ErrorCode};

use crate::checker::Checker;
use crate::client::{TOPIC, request, response};
use crate::random::Random;

/// The group of every run that has one.
const GROUP: &str = "readers";

/// What is asked next, or was asked and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Find,
    Join,
    Sync,
    Heartbeat,
    Commit(i64),
    Fetch,
}

/// A member with one request under way at most.
#[derive(Debug)]
pub struct Member {
    /// The partition whose offset it commits.
    partition: i32,
    /// It only looks at what was committed, once.
    audits: bool,
    /// An auditor has seen what it came for.
    seen: bool,
    join_version: i16,
    id: String,
    generation: i32,
    roster: Vec<String>,
    next: Ask,
    under_way: Option<(i32, Ask)>,
    next_correlation: i32,
}

impl Member {
    /// A member that commits in that partition.
    pub fn new(partition: i32, random: &mut Random) -> Self {
        Self {
            partition,
            audits: false,
            seen: false,
            join_version: random.pick(&[2, 5, 9]),
            id: String::new(),
            generation: -1,
            roster: Vec::new(),
            next: Ask::Find,
            under_way: None,
            next_correlation: 0,
        }
    }

    /// Somebody who looks at the offset committed in that partition and is done.
    pub fn auditor(partition: i32, random: &mut Random) -> Self {
        Self { audits: true, ..Self::new(partition, random) }
    }

    /// True if nothing is under way, and an auditor has seen what it came for.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_none() && (self.seen || !self.audits)
    }

    /// The connection was lost; the membership may last.
    pub fn disconnected(&mut self) {
        self.under_way = None;
        self.next = Ask::Find;
    }

    /// The next request to send, if there is one; nothing new if `winding_up`.
    ///
    /// # Errors
    /// A request that can't be encoded.
    pub fn next(
        &mut self,
        winding_up: bool,
        checker: &mut Checker,
        random: &mut Random,
    ) -> Result<Option<Bytes>, String> {
        if self.under_way.is_some() || self.seen || (winding_up && !self.audits) {
            return Ok(None);
        }
        self.next_correlation += 1;
        let correlation = self.next_correlation;
        let mut ask = self.next;
        if ask == Ask::Heartbeat {
            ask = match random.below(10) {
                0..=4 => Ask::Commit(checker.commit_asked(self.partition)),
                5..=6 => Ask::Fetch,
                // Leaders may assign anew whenever they like.
                7 if random.chance(20) => Ask::Join,
                _ => Ask::Heartbeat,
            };
        }
        self.under_way = Some((correlation, ask));
        self.encode(ask, correlation, random).map(Some)
    }

    fn encode(&self, ask: Ask, correlation: i32, random: &mut Random) -> Result<Bytes, String> {
        let (group_id, member_id) = (GROUP.to_owned(), self.id.clone());
        match ask {
            Ask::Find => {
                let message = FindCoordinatorRequest { key: group_id, ..Default::default() };
                request(&message, 3, correlation)
            }
            Ask::Join => {
                let protocol =
                    JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
                let message = JoinGroupRequest {
                    group_id,
                    member_id,
                    session_timeout_ms: 6_000,
                    rebalance_timeout_ms: 100,
                    protocol_type: "consumer".into(),
                    protocols: vec![protocol],
                    ..Default::default()
                };
                request(&message, self.join_version, correlation)
            }
            Ask::Sync => {
                let assignments = self.roster.iter().map(|member| SyncGroupRequestAssignment {
                    member_id: member.clone(),
                    assignment: Bytes::from(random.next().to_be_bytes().to_vec()),
                    ..Default::default()
                });
                let message = SyncGroupRequest {
                    group_id,
                    member_id,
                    generation_id: self.generation,
                    assignments: assignments.collect(),
                    ..Default::default()
                };
                request(&message, 3, correlation)
            }
            Ask::Heartbeat => {
                let generation_id = self.generation;
                let message =
                    HeartbeatRequest { group_id, member_id, generation_id, ..Default::default() };
                request(&message, 4, correlation)
            }
            Ask::Commit(offset) => {
                let partition = OffsetCommitRequestPartition {
                    partition_index: self.partition,
                    committed_offset: offset,
                    ..Default::default()
                };
                let message = OffsetCommitRequest {
                    group_id,
                    member_id,
                    generation_id_or_member_epoch: self.generation,
                    topics: vec![OffsetCommitRequestTopic {
                        name: TOPIC.into(),
                        partitions: vec![partition],
                        ..Default::default()
                    }],
                    ..Default::default()
                };
                request(&message, 9, correlation)
            }
            Ask::Fetch => {
                let topic = OffsetFetchRequestTopics {
                    name: TOPIC.into(),
                    partition_indexes: vec![self.partition],
                    ..Default::default()
                };
                let group = OffsetFetchRequestGroup {
                    group_id,
                    topics: Some(vec![topic]),
                    ..Default::default()
                };
                let message = OffsetFetchRequest { groups: vec![group], ..Default::default() };
                request(&message, 8, correlation)
            }
        }
    }

    /// Takes an answer.
    ///
    /// # Errors
    /// A promise broken, or an answer that makes no sense.
    pub fn answered(&mut self, frame: Bytes, checker: &mut Checker) -> Result<(), String> {
        let (correlation, ask) = self.under_way.take().ok_or("C6: an answer to nothing")?;
        let code = match ask {
            Ask::Find => {
                let answer: FindCoordinatorResponse = response(frame, 3, correlation)?;
                if answer.error_code == 0 {
                    self.next = if self.audits { Ask::Fetch } else { Ask::Join };
                }
                answer.error_code
            }
            Ask::Join => {
                let answer: JoinGroupResponse = response(frame, self.join_version, correlation)?;
                if [0, ErrorCode::MEMBER_ID_REQUIRED.0].contains(&answer.error_code) {
                    self.id = answer.member_id;
                }
                if answer.error_code == 0 {
                    self.generation = answer.generation_id;
                    let members = answer.members.into_iter();
                    self.roster = members.map(|member| member.member_id).collect();
                    self.next = Ask::Sync;
                }
                answer.error_code
            }
            Ask::Sync => {
                let answer: SyncGroupResponse = response(frame, 3, correlation)?;
                if answer.error_code == 0 {
                    checker.assigned(self.generation, &self.id, &answer.assignment)?;
                    self.next = Ask::Heartbeat;
                }
                answer.error_code
            }
            Ask::Heartbeat => {
                let answer: HeartbeatResponse = response(frame, 4, correlation)?;
                answer.error_code
            }
            Ask::Commit(offset) => {
                let answer: OffsetCommitResponse = response(frame, 9, correlation)?;
                let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
                let code = partition.ok_or("a commit answered without a partition")?.error_code;
                if code == 0 {
                    checker.commit_acknowledged(self.partition, offset);
                }
                code
            }
            Ask::Fetch => {
                let answer: OffsetFetchResponse = response(frame, 8, correlation)?;
                let group = answer.groups.first().ok_or("offsets of no group")?;
                let partition = group.topics.first().and_then(|topic| topic.partitions.first());
                match (group.error_code, partition) {
                    (0, Some(partition)) => {
                        checker.commit_found(self.partition, partition.committed_offset)?;
                        self.seen = self.audits;
                        partition.error_code
                    }
                    (0, None) => return Err("offsets of no partition".into()),
                    (code, _) => code,
                }
            }
        };
        self.go_on(ask, ErrorCode(code))
    }

    /// What an error makes a client do.
    fn go_on(&mut self, ask: Ask, code: ErrorCode) -> Result<(), String> {
        match code {
            ErrorCode::NONE => {}
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => {}
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                self.next = Ask::Find;
            }
            ErrorCode::MEMBER_ID_REQUIRED
            | ErrorCode::REBALANCE_IN_PROGRESS
            | ErrorCode::ILLEGAL_GENERATION => self.next = Ask::Join,
            // Of a group that was gone after the restart, and of which nobody was told otherwise.
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::GROUP_ID_NOT_FOUND => {
                self.id.clear();
                self.next = Ask::Join;
            }
            code => {
                let name = code.name().unwrap_or("an unknown error");
                return Err(format!("{ask:?} of a group answered with {name}"));
            }
        }
        Ok(())
    }
}
