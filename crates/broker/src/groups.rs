//! The group coordinator in the node: which partitions of `__consumer_offsets` it leads, requests
//! on their way into it, and its effects on their way out.
//!
//! Owns the coordinator, the calls that wait for it, and where each connection comes from (groups
//! tell the tools). The rules of groups are in `coordinator`.
//!
//! Invariants:
//! - I1: each call given to the coordinator is answered once, by the coordinator's answer.
//! - I2: a partition's log is read outside steps, below its high watermark.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use config::Layers;
use coordinator::{Answer, Caller, Coordinator, GroupConfig, Request};
use messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use messages::offset_fetch_request::OffsetFetchRequestGroup;
use messages::{CreateTopicsRequest, OffsetCommitResponse, OffsetDeleteResponse};
use ottla_log::Validated;
use ottla_log::planted::{self, Bug};
use wire::{Bytes, ErrorCode};

use crate::api::{
    delete_groups, describe_groups, join_group, leave_group, offset_commit, offset_delete,
    offset_fetch,
};
use crate::event::{Call, ConnId, Effect, Lane, Now};
use crate::metadata_log::OnCommit;
use crate::node::{Node, submit};
use crate::partition::Partition;
use crate::progress;
use crate::reply::Body;

/// What an answer needs besides what the coordinator says.
#[derive(Debug)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// Partitions that were refused before.
    Commit(OffsetCommitResponse),
    /// Partitions that were refused before.
    DeleteOffsets(OffsetDeleteResponse),
    /// What the version makes of it.
    Fetch(offset_fetch::Asked),
    /// Operations are to be listed.
    Describe(bool),
}

/// What the operator chose about groups.
pub fn config(layers: &Layers) -> GroupConfig {
    let number = |key: &str| {
        layers.get(key).and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or_default()
    };
    GroupConfig {
        session_timeout_min_ms: number("group.min.session.timeout.ms") as i32,
        session_timeout_max_ms: number("group.max.session.timeout.ms") as i32,
        initial_rebalance_delay_ms: number("group.initial.rebalance.delay.ms") as i32,
        size_max: number("group.max.size").max(1) as usize,
        offset_metadata_max: number("offset.metadata.max.bytes").max(0) as usize,
        offsets_retention_ms: number("offsets.retention.minutes") * 60_000,
        offsets_check_interval_ms: number("offsets.retention.check.interval.ms"),
        commit_timeout_ms: number("offsets.commit.timeout.ms"),
        topic_partitions: number("offsets.topic.num.partitions") as i32,
        topic_replication_factor: number("offsets.topic.replication.factor") as i16,
        topic_segment_bytes: number("offsets.topic.segment.bytes") as i32,
    }
}

/// The coordinator and who waits for it.
#[derive(Debug)]
pub struct Groups {
    coordinator: Coordinator,
    lanes: BTreeMap<i32, Lane>,
    indexes: BTreeMap<Lane, i32>,
    /// Partitions that were opened and are not led yet.
    opened: Vec<i32>,
    calls: BTreeMap<u64, (Call, Rest)>,
    /// Questions of the node's own.
    own: BTreeSet<u64>,
    hosts: BTreeMap<ConnId, String>,
    next_token: u64,
}

impl Groups {
    /// No partitions yet.
    pub fn new(config: GroupConfig) -> Self {
        Self {
            coordinator: Coordinator::new(config),
            lanes: BTreeMap::new(),
            indexes: BTreeMap::new(),
            opened: Vec::new(),
            calls: BTreeMap::new(),
            own: BTreeSet::new(),
            hosts: BTreeMap::new(),
            next_token: 0,
        }
    }

    /// When [`tick`] is due, on the steady clock.
    pub fn next_deadline_ms(&self) -> i64 {
        if self.opened.is_empty() { self.coordinator.next_deadline_ms() } else { i64::MIN }
    }

    /// Checks the coordinator's invariants.
    ///
    /// # Panics
    /// If one does not hold: a mistake of ours.
    pub fn check(&self) {
        self.coordinator.check();
    }

    /// A partition's log was opened.
    pub fn added(&mut self, partition: &Partition, lane: Lane) {
        if &*partition.topic == OFFSETS_TOPIC {
            self.lanes.insert(partition.index, lane);
            self.indexes.insert(lane, partition.index);
            self.opened.push(partition.index);
        }
    }

    /// A connection began.
    pub fn connected(&mut self, conn: ConnId, host: String) {
        self.hosts.insert(conn, host);
    }

    /// A connection ended. Members behind it are not gone before their session ends.
    pub fn disconnected(&mut self, conn: ConnId) {
        self.hosts.remove(&conn);
    }
}

/// Gives a call to the coordinator.
pub fn ask(
    node: &mut Node,
    call: Call,
    request: Request,
    rest: Rest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let groups = &mut node.groups;
    groups.next_token += 1;
    let host = groups.hosts.get(&call.conn).cloned();
    let caller = Caller {
        token: groups.next_token,
        version: call.version,
        client_id: call.client_id.clone().unwrap_or_default(),
        client_host: host.unwrap_or_else(|| "/unknown".to_owned()),
    };
    groups.calls.insert(caller.token, (call, rest));
    let mut effects = Vec::new();
    groups.coordinator.request(caller, request, at(now), &mut node.rng, &mut effects);
    carry(node, effects, now, out);
}

/// Asks for the node itself what groups have committed; `progress::answered` gets the answer.
pub fn look_up(
    node: &mut Node,
    wanted: Vec<OffsetFetchRequestGroup>,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let groups = &mut node.groups;
    groups.next_token += 1;
    groups.own.insert(groups.next_token);
    let caller = Caller {
        token: groups.next_token,
        version: 0,
        client_id: String::new(),
        client_host: String::new(),
    };
    // Offsets of open transactions don't count, and need not be waited for.
    let request = Request::Fetch(wanted, false);
    let mut effects = Vec::new();
    groups.coordinator.request(caller, request, at(now), &mut node.rng, &mut effects);
    carry(node, effects, now, out);
}

/// The partition of `__consumer_offsets` that a group belongs to; `None` while there is no such
/// topic.
pub fn partition_of(node: &Node, group: &str) -> Option<i32> {
    let topic = node.image.topic(OFFSETS_TOPIC)?;
    Some(coordinator::partition_of(group, topic.partitions.len() as i32))
}

/// Creates `__consumer_offsets`, unless that is under way.
pub fn create_topic(node: &mut Node, now: Now, out: &mut Vec<Effect>) {
    let config = config(&node.layers);
    let entry = |name: &str, value: String| CreatableTopicConfig {
        name: name.to_owned(),
        value: Some(value),
        ..Default::default()
    };
    let topic = CreatableTopic {
        name: OFFSETS_TOPIC.to_owned(),
        num_partitions: config.topic_partitions,
        replication_factor: config.topic_replication_factor,
        configs: vec![
            entry("cleanup.policy", "compact".to_owned()),
            entry("compression.type", "producer".to_owned()),
            entry("segment.bytes", config.topic_segment_bytes.to_string()),
        ],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    // A refusal (it is being created) shows when the client asks again.
    let (records, _) = node.decide_create_topics(&request);
    if !records.is_empty() {
        node.write_metadata(records, OnCommit::Nothing, now, out);
    }
}

/// Leads partitions that were opened, and does what is due.
pub fn tick(node: &mut Node, now: Now, out: &mut Vec<Effect>) {
    if node.groups.next_deadline_ms() > now.steady_ms {
        return;
    }
    let mut effects = Vec::new();
    let groups = &mut node.groups;
    if let Some(topic) = node.image.topic(OFFSETS_TOPIC) {
        groups.coordinator.set_partitions(topic.partitions.len() as i32);
    }
    for index in std::mem::take(&mut groups.opened) {
        let lane = groups.lanes.get(&index);
        let Some(partition) = lane.and_then(|lane| node.partitions.get(lane)) else { continue };
        let bytes_max = usize::try_from(partition.config.max_message_bytes).unwrap_or_default();
        groups.coordinator.lead(index, partition.log.start(), bytes_max, &mut effects);
    }
    groups.coordinator.tick(at(now), &mut node.rng, &mut effects);
    carry(node, effects, now, out);
}

/// What [`Effect::Load`] asked for was read.
pub fn loaded(
    node: &mut Node,
    lane: Lane,
    load: u64,
    read: Result<Bytes, String>,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let Some(&index) = node.groups.indexes.get(&lane) else { return };
    let Some(partition) = node.partitions.get(&lane) else { return };
    let (end, visible) = (partition.log.end(), partition.high_watermark);
    // Nothing where all is visible: compaction took the last records, and this is the end. Only the
    // coordinator writes there, and it does not before it has loaded.
    let read = read.map(|bytes| match bytes.is_empty() && visible >= end {
        true => (bytes, 0),
        false => (bytes, end),
    });
    let mut effects = Vec::new();
    node.groups.coordinator.loaded(index, load, read, at(now), &mut node.rng, &mut effects);
    carry(node, effects, now, out);
}

/// The high watermark of a partition rose.
pub fn advanced(node: &mut Node, lane: Lane, now: Now, out: &mut Vec<Effect>) {
    let Some(&index) = node.groups.indexes.get(&lane) else { return };
    let Some(partition) = node.partitions.get(&lane) else { return };
    let mut effects = Vec::new();
    node.groups.coordinator.advanced(index, partition.high_watermark, at(now), &mut effects);
    carry(node, effects, now, out);
}

/// A partition is offline.
pub fn failed(node: &mut Node, lane: Lane, now: Now, out: &mut Vec<Effect>) {
    let Some(&index) = node.groups.indexes.get(&lane) else { return };
    let mut effects = Vec::new();
    node.groups.coordinator.failed(index, at(now), &mut node.rng, &mut effects);
    carry(node, effects, now, out);
}

/// The topic of a partition is gone: nobody's coordinator is here any more.
pub fn removed(node: &mut Node, lane: Lane, now: Now, out: &mut Vec<Effect>) {
    let Some(index) = node.groups.indexes.remove(&lane) else { return };
    node.groups.lanes.remove(&index);
    node.groups.opened.retain(|opened| *opened != index);
    let mut effects = Vec::new();
    node.groups.coordinator.resign(index, at(now), &mut node.rng, &mut effects);
    carry(node, effects, now, out);
}

/// Topics are gone: what was committed in them is forgotten.
pub fn topics_deleted(node: &mut Node, names: &BTreeSet<String>, now: Now, out: &mut Vec<Effect>) {
    let mut effects = Vec::new();
    node.groups.coordinator.topics_deleted(names, at(now), &mut node.rng, &mut effects);
    carry(node, effects, now, out);
}

/// The node stops: whoever waits in a group is told to look for another coordinator.
pub fn stop(node: &mut Node, now: Now, out: &mut Vec<Effect>) {
    let mut effects = Vec::new();
    node.groups.opened.clear();
    for index in node.groups.lanes.keys() {
        node.groups.coordinator.resign(*index, at(now), &mut node.rng, &mut effects);
    }
    carry(node, effects, now, out);
}

fn carry(node: &mut Node, effects: Vec<coordinator::Effect>, now: Now, out: &mut Vec<Effect>) {
    let mut queue = VecDeque::from(effects);
    while let Some(effect) = queue.pop_front() {
        let mut more = Vec::new();
        match effect {
            coordinator::Effect::Reply(token, answer) => {
                if let Some((call, rest)) = node.groups.calls.remove(&token) {
                    let body = respond(node, &call, answer, rest);
                    node.answer_with(call, body, out);
                } else if let (true, Answer::Fetch(found)) =
                    (node.groups.own.remove(&token), answer)
                {
                    progress::answered(node, found, now, out);
                }
            }
            coordinator::Effect::Warn(text) => out.push(Effect::Warn(text)),
            coordinator::Effect::Append { partition, batches } => {
                let outcome = append(node, partition, batches, now, out);
                let coordinator = &mut node.groups.coordinator;
                coordinator.appended(partition, outcome, at(now), &mut node.rng, &mut more);
                if planted::is(Bug::LoseOffsetCommit) {
                    coordinator.advanced(partition, i64::MAX, at(now), &mut more);
                }
            }
            coordinator::Effect::Load { partition, load, from } => {
                let read = match plan(node, partition, from) {
                    Ok((lane, plan, _)) if !plan.is_empty() => {
                        out.push(Effect::Load(lane, load, plan));
                        continue;
                    }
                    Ok((.., end)) => Ok((Bytes::new(), end)),
                    Err(reason) => Err(reason),
                };
                let coordinator = &mut node.groups.coordinator;
                coordinator.loaded(partition, load, read, at(now), &mut node.rng, &mut more);
            }
        }
        queue.extend(more);
    }
}

/// What to read next of a partition, and where its log ends.
fn plan(node: &Node, index: i32, from: i64) -> Result<(Lane, ottla_log::ReadPlan, i64), String> {
    let found = node.groups.lanes.get(&index);
    let found = found.and_then(|lane| Some((*lane, node.partitions.get(lane)?)));
    let (lane, partition) = found.ok_or("its log is gone")?;
    if partition.offline {
        return Err("its log is offline".to_owned());
    }
    let log = &partition.log;
    let plan = log
        .plan_read(from, LOAD_BYTES, partition.high_watermark)
        .map_err(|range| format!("no offset {from} between {} and {}", range.start, range.end))?;
    Ok((lane, plan, log.end()))
}

/// Appends the coordinator's batches; gives the offset behind the last.
fn append(
    node: &mut Node,
    index: i32,
    batches: Vec<Bytes>,
    now: Now,
    out: &mut Vec<Effect>,
) -> Result<i64, ErrorCode> {
    let lane = node.groups.lanes.get(&index).copied().ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    let partition = node.partitions.get_mut(&lane).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    if partition.offline {
        return Err(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    let mut submissions = Vec::new();
    let mut outcome = Ok(partition.log.end());
    for batch in batches {
        let appended = Validated::trusted(batch).and_then(|batch| {
            partition.log.append_as_leader(
                now.wall_ms,
                batch,
                partition.leader_epoch,
                &mut node.files,
                &mut submissions,
            )
        });
        outcome = match appended {
            Ok(info) => Ok(info.last_offset + 1),
            Err(error) => Err(ErrorCode(error.code())),
        };
        if outcome.is_err() {
            break;
        }
    }
    submit(lane, submissions, out);
    outcome
}

fn respond(node: &Node, call: &Call, answer: Answer, rest: Rest) -> Body {
    let version = call.version;
    match (answer, rest) {
        (Answer::Join(answer), _) => Body::Message(Box::new(join_group::shaped(answer, version))),
        (Answer::Sync(answer), _) => Body::Message(Box::new(answer)),
        (Answer::Heartbeat(answer), _) => Body::Message(Box::new(answer)),
        (Answer::Leave(answer), _) => Body::Message(Box::new(leave_group::shaped(answer, version))),
        (Answer::Commit(answer), Rest::Commit(refused)) => {
            Body::Message(Box::new(offset_commit::merged(answer, refused)))
        }
        (Answer::Commit(answer), _) => Body::Message(Box::new(answer)),
        (Answer::DeleteOffsets(answer), Rest::DeleteOffsets(refused)) => {
            Body::Message(Box::new(offset_delete::merged(answer, refused)))
        }
        (Answer::DeleteOffsets(answer), _) => Body::Message(Box::new(answer)),
        (Answer::Fetch(groups), Rest::Fetch(asked)) => {
            Body::Message(Box::new(offset_fetch::shaped(node, groups, asked, version)))
        }
        (Answer::Fetch(groups), _) => {
            let response = messages::OffsetFetchResponse { groups, ..Default::default() };
            Body::Message(Box::new(response))
        }
        (Answer::Describe(answer), rest) => {
            let operations = matches!(rest, Rest::Describe(true));
            Body::Message(Box::new(describe_groups::shaped(answer, version, operations)))
        }
        (Answer::List(answer), _) => Body::Message(Box::new(answer)),
        (Answer::Delete(answer), _) => {
            Body::Message(Box::new(delete_groups::shaped(answer, version)))
        }
    }
}

fn at(now: Now) -> coordinator::Now {
    coordinator::Now { wall_ms: now.wall_ms, steady_ms: now.steady_ms }
}

/// Where groups and offsets are stored.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// How much is read at a time; a larger batch comes whole.
const LOAD_BYTES: usize = 1 << 20;
