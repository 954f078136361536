//! A coordinator with a log in memory whose durability the test controls.

use std::collections::BTreeMap;

use coordinator::{Answer, Caller, Coordinator, Effect, GroupConfig, IdSource, Now, Request};
use messages::join_group_request::JoinGroupRequestProtocol;
use messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use messages::offset_fetch_response::OffsetFetchResponsePartitions;
use messages::sync_group_request::SyncGroupRequestAssignment;
use messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, SyncGroupRequest, SyncGroupResponse,
};
use wire::batch::{BatchHeader, PREFIX_BYTES};
use wire::{Bytes, ErrorCode, Uuid};

/// Numbers that look like random ids.
#[derive(Debug)]
pub struct Ids(pub u64);

impl IdSource for Ids {
    fn next_id(&mut self) -> Uuid {
        self.0 += 1;
        Uuid(u128::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }
}

/// A partition's log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub batches: Vec<Bytes>,
    pub end: i64,
    pub high_watermark: i64,
}

impl Log {
    pub fn append(&mut self, batch: &Bytes) {
        let header = BatchHeader::parse(batch).expect("a batch");
        let mut bytes = header.stamp(self.end, 0).to_vec();
        bytes.extend_from_slice(&batch[PREFIX_BYTES..]);
        self.end += i64::from(header.last_offset_delta) + 1;
        self.batches.push(bytes.into());
    }
}

/// The rig.
pub struct World {
    pub core: Coordinator,
    pub config: GroupConfig,
    pub now: Now,
    pub ids: Ids,
    pub logs: BTreeMap<i32, Log>,
    pub answers: BTreeMap<u64, Answer>,
    pub warnings: Vec<String>,
    /// What is appended is durable at once.
    pub durable_at_once: bool,
    /// Appends fail with this.
    pub fail_appends: Option<ErrorCode>,
    /// How many bytes a read gives, at least one batch.
    pub read_batches: usize,
    pub next_token: u64,
    /// What clients call themselves.
    pub client_id: String,
    partitions: i32,
}

impl World {
    /// One partition, no delay of the first rebalance.
    pub fn new() -> Self {
        Self::with(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() }, 1)
    }

    pub fn with(config: GroupConfig, partitions: i32) -> Self {
        let mut world = Self {
            core: Coordinator::new(config.clone()),
            config,
            now: Now { wall_ms: 1_700_000_000_000, steady_ms: 0 },
            ids: Ids(0),
            logs: (0..partitions).map(|index| (index, Log::default())).collect(),
            answers: BTreeMap::new(),
            warnings: Vec::new(),
            durable_at_once: true,
            fail_appends: None,
            read_batches: 3,
            next_token: 0,
            client_id: "client".into(),
            partitions,
        };
        world.reload();
        world
    }

    /// A new process over what is durable; whoever waited is on its own.
    pub fn reload(&mut self) {
        self.core = Coordinator::new(self.config.clone());
        self.core.set_partitions(self.partitions);
        for index in 0..self.partitions {
            let log = self.logs.get_mut(&index).expect("a log");
            while log.end > log.high_watermark {
                let batch = log.batches.pop().expect("a batch");
                log.end = BatchHeader::parse(&batch).expect("a header").base_offset;
            }
            let mut out = Vec::new();
            self.core.lead(index, 0, 1_048_588, &mut out);
            self.carry(out);
        }
    }

    pub fn carry(&mut self, effects: Vec<Effect>) {
        let mut queue = std::collections::VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            let mut more = Vec::new();
            match effect {
                Effect::Reply(token, answer) => {
                    let twice = self.answers.insert(token, answer);
                    assert_eq!(twice, None, "answered twice");
                }
                Effect::Warn(text) => self.warnings.push(text),
                Effect::Load { partition, load, from } => {
                    let log = &self.logs[&partition];
                    let wanted = log.batches.iter().filter(|batch| {
                        let header = BatchHeader::parse(batch).expect("a header");
                        header.last_offset() >= from && header.last_offset() < log.high_watermark
                    });
                    let bytes: Vec<u8> =
                        wanted.take(self.read_batches).flat_map(|batch| batch.to_vec()).collect();
                    let read = Ok((Bytes::from(bytes), log.end));
                    self.core.loaded(partition, load, read, self.now, &mut self.ids, &mut more);
                }
                Effect::Append { partition, batches } => {
                    let outcome = match self.fail_appends {
                        Some(code) => Err(code),
                        None => {
                            let log = self.logs.get_mut(&partition).expect("a log");
                            batches.iter().for_each(|batch| log.append(batch));
                            Ok(log.end)
                        }
                    };
                    self.core.appended(partition, outcome, self.now, &mut self.ids, &mut more);
                    if self.durable_at_once {
                        self.sync(partition, &mut more);
                    }
                }
            }
            queue.extend(more);
        }
        self.core.check();
    }

    fn sync(&mut self, partition: i32, out: &mut Vec<Effect>) {
        let log = self.logs.get_mut(&partition).expect("a log");
        log.high_watermark = log.end;
        self.core.advanced(partition, log.high_watermark, self.now, out);
    }

    /// Everything appended becomes durable, and what is appended then, too.
    pub fn sync_all(&mut self) {
        for index in 0..self.partitions {
            while self.logs[&index].high_watermark < self.logs[&index].end {
                let mut out = Vec::new();
                self.sync(index, &mut out);
                self.carry(out);
            }
        }
    }

    /// Time passes; what is due in between happens when it is due.
    pub fn pass(&mut self, ms: i64) {
        let until = self.now.steady_ms + ms;
        loop {
            let at = self.core.next_deadline_ms().clamp(self.now.steady_ms, until);
            self.now.wall_ms += at - self.now.steady_ms;
            self.now.steady_ms = at;
            let mut out = Vec::new();
            self.core.tick(self.now, &mut self.ids, &mut out);
            self.carry(out);
            if at == until {
                return;
            }
        }
    }

    pub fn ask(&mut self, version: i16, request: Request) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        let caller = Caller {
            token,
            version,
            client_id: self.client_id.clone(),
            client_host: "/10.0.0.1".into(),
        };
        let mut out = Vec::new();
        self.core.request(caller, request, self.now, &mut self.ids, &mut out);
        self.carry(out);
        token
    }

    /// The answer, which must be there.
    #[track_caller]
    pub fn answer(&mut self, token: u64) -> Answer {
        self.answers.remove(&token).expect("no answer yet")
    }

    pub fn is_waiting(&self, token: u64) -> bool {
        !self.answers.contains_key(&token)
    }

    pub fn ask_join(&mut self, version: i16, request: JoinGroupRequest) -> u64 {
        self.ask(version, Request::Join(request))
    }

    #[track_caller]
    pub fn join_answer(&mut self, token: u64) -> JoinGroupResponse {
        match self.answer(token) {
            Answer::Join(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Joins in version 9 as clients do: first for an id, then with it.
    #[track_caller]
    pub fn join(&mut self, request: JoinGroupRequest) -> (String, u64) {
        let token = self.ask_join(9, request.clone());
        let answer = self.join_answer(token);
        assert_eq!(answer.error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
        let member_id = answer.member_id;
        let token = self.ask_join(9, JoinGroupRequest { member_id: member_id.clone(), ..request });
        (member_id, token)
    }

    #[track_caller]
    pub fn sync_answer(&mut self, token: u64) -> SyncGroupResponse {
        match self.answer(token) {
            Answer::Sync(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub fn ask_sync(&mut self, member: &str, generation: i32, shares: &[(&str, &str)]) -> u64 {
        let request = SyncGroupRequest {
            group_id: "g".into(),
            member_id: member.into(),
            generation_id: generation,
            assignments: shares
                .iter()
                .map(|(member, share)| SyncGroupRequestAssignment {
                    member_id: (*member).into(),
                    assignment: Bytes::copy_from_slice(share.as_bytes()),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        self.ask(5, Request::Sync(request))
    }

    #[track_caller]
    pub fn heartbeat(&mut self, member: &str, generation: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            member_id: member.into(),
            generation_id: generation,
            ..Default::default()
        };
        let token = self.ask(4, Request::Heartbeat(request));
        match self.answer(token) {
            Answer::Heartbeat(answer) => ErrorCode(answer.error_code),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn leave(&mut self, request: LeaveGroupRequest) -> LeaveGroupResponse {
        let token = self.ask(5, Request::Leave(request));
        match self.answer(token) {
            Answer::Leave(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// A stable group `g` of one member with the assignment `mine`; its id and generation.
    #[track_caller]
    pub fn stable_one(&mut self) -> (String, i32) {
        let (member, token) = self.join(join("g", &["range"]));
        let generation = self.join_answer(token).generation_id;
        let token = self.ask_sync(&member, generation, &[(&member, "mine")]);
        assert_eq!(self.sync_answer(token).assignment, "mine");
        (member, generation)
    }

    pub fn ask_commit(&mut self, version: i16, member: &str, generation: i32, at: i64) -> u64 {
        self.ask(version, Request::Commit(commit("g", member, generation, "t", 0, at)))
    }

    #[track_caller]
    pub fn commit_answer(&mut self, token: u64) -> ErrorCode {
        match self.answer(token) {
            Answer::Commit(answer) => ErrorCode(answer.topics[0].partitions[0].error_code),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn commit(&mut self, member: &str, generation: i32, at: i64) -> ErrorCode {
        let token = self.ask_commit(9, member, generation, at);
        self.commit_answer(token)
    }

    #[track_caller]
    pub fn fetch(&mut self, group: &str, topic: &str, index: i32) -> OffsetFetchResponsePartitions {
        let group = OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic.into(),
                partition_indexes: vec![index],
                ..Default::default()
            }]),
            ..Default::default()
        };
        let token = self.ask(8, Request::Fetch(vec![group], true));
        match self.answer(token) {
            Answer::Fetch(groups) => {
                assert_eq!(groups[0].error_code, 0);
                groups[0].topics[0].partitions[0].clone()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The state of group `g` as DescribeGroups tells it.
    #[track_caller]
    pub fn state(&mut self) -> String {
        let token = self.ask(5, Request::Describe(vec!["g".into()]));
        match self.answer(token) {
            Answer::Describe(answer) => answer.groups[0].group_state.clone(),
            other => panic!("{other:?}"),
        }
    }
}

/// A JoinGroup of a consumer with these protocols, subscribed to `t`.
pub fn join(group: &str, protocols: &[&str]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".into(),
        protocols: protocols
            .iter()
            .map(|name| JoinGroupRequestProtocol {
                name: (*name).into(),
                // Version 0, one topic `t`, no user data.
                metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

pub fn of(request: JoinGroupRequest, member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest { member_id: member_id.into(), ..request }
}

pub fn static_join(instance: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.into()), ..join("g", &["range"]) }
}

pub fn commit(
    group: &str,
    member: &str,
    generation: i32,
    topic: &str,
    index: i32,
    offset: i64,
) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        member_id: member.into(),
        generation_id_or_member_epoch: generation,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: index,
                committed_offset: offset,
                committed_leader_epoch: 3,
                committed_metadata: Some("note".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}
