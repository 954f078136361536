//! Fetch: records from an offset on, waiting for them if there are none yet.
//!
//! - From version 7 on sessions carry the interest from request to request (KIP-227); from version
//!   13 on topics are named by id (KIP-516).
//! - A waiting fetch is parked at its partitions and looked at again when one of them has more to
//!   show, or at its deadline.
//! - Records are not read here: the answer carries plans that the connection carries out.
//! - A partition may name the only key its reader has a use for, in a tagged field of our own
//!   (decision 9): segments whose filters deny it are passed over.

use messages::FetchRequest;
use messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, PartitionData,
};
use ottla_log::ReadPlan;
use wire::{Bytes, ErrorCode};

use crate::api::{Api, api};
use crate::event::{Call, Effect, Lane, Now};
use crate::node::{Node, PendingFetch};
use crate::reply::{Body, FetchReply, Reply};
use crate::session::{TopicRef, Want};

/// The entry in the list of APIs.
pub const API: Api = api!(Fetch, 4..=18, FetchRequest, handle);

fn handle(node: &mut Node, call: Call, request: FetchRequest, now: Now, out: &mut Vec<Effect>) {
    let fresh = (node.rng.next_u64() >> 33) as i32;
    let begun = node.sessions.begin(&request, call.version, fresh, now.steady_ms);
    let (scope, wants) = match begun {
        Ok(begun) => begun,
        Err(code) => {
            let response = FetchResponse { error_code: code.0, ..Default::default() };
            node.answer(call, response, out);
            return;
        }
    };
    let max_bytes = (request.max_bytes.max(0) as usize).min(node.fetch_max_bytes);
    let pending = PendingFetch {
        call,
        scope,
        wants,
        read_committed: request.isolation_level == 1,
        // More than it may be given is not waited for.
        min_bytes: (request.min_bytes.max(0) as usize).min(max_bytes),
        max_bytes,
        deadline_ms: now.steady_ms + i64::from(request.max_wait_ms.max(0)),
    };
    let (ready, lanes) = look(node, &pending);
    if ready || request.max_wait_ms <= 0 || pending.wants.is_empty() {
        respond(node, pending, out);
    } else {
        node.park_fetch(pending, &lanes);
    }
}

/// What one partition has for a fetch.
enum Shown {
    /// Nothing to say but the marks.
    Marks,
    /// Records.
    Records(ReadPlan),
    /// The consumer's log went another way (KIP-320).
    Diverging(EpochEndOffset),
    /// An error; the partition's marks may be known.
    Error(ErrorCode),
}

struct View {
    lane: Option<Lane>,
    shown: Shown,
    high_watermark: i64,
    last_stable_offset: i64,
    log_start: i64,
    available: usize,
}

fn view(
    node: &Node,
    topic: &TopicRef,
    index: i32,
    want: &Want,
    (read_committed, keyed): (bool, bool),
) -> View {
    let mut view = View {
        lane: None,
        shown: Shown::Marks,
        high_watermark: -1,
        last_stable_offset: -1,
        log_start: -1,
        available: 0,
    };
    let (lane, unknown) = match topic {
        TopicRef::Name(name) => (node.lane(name, index), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        TopicRef::Id(id) if node.image.topics.contains_key(id) => {
            (node.lane_by_id(*id, index), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }
        TopicRef::Id(_) => (None, ErrorCode::UNKNOWN_TOPIC_ID),
    };
    let Some(partition) = lane.and_then(|lane| node.partitions.get(&lane)) else {
        view.shown = Shown::Error(unknown);
        return view;
    };
    view.lane = lane;
    if partition.offline {
        view.shown = Shown::Error(ErrorCode::KAFKA_STORAGE_ERROR);
        return view;
    }
    if let Err(code) = partition.check_epoch(want.current_leader_epoch) {
        view.shown = Shown::Error(code);
        return view;
    }
    view.high_watermark = partition.high_watermark;
    view.last_stable_offset = partition.visible_end(true);
    view.log_start = partition.log.start();
    if want.fetch_offset < view.log_start {
        view.shown = Shown::Error(ErrorCode::OFFSET_OUT_OF_RANGE);
        return view;
    }
    // Before the end is looked at: who has more than there is learns where it parted.
    if want.last_fetched_epoch >= 0 {
        let (epoch, end_offset) = partition.log.offset_for_leader_epoch(want.last_fetched_epoch);
        if end_offset < 0 {
            view.shown = Shown::Error(ErrorCode::OFFSET_OUT_OF_RANGE);
            return view;
        }
        if end_offset < want.fetch_offset || epoch < want.last_fetched_epoch {
            let diverging = EpochEndOffset { epoch, end_offset, ..Default::default() };
            view.shown = Shown::Diverging(diverging);
            return view;
        }
    }
    if want.fetch_offset > partition.log.end() {
        view.shown = Shown::Error(ErrorCode::OFFSET_OUT_OF_RANGE);
        return view;
    }
    let limit = partition.visible_end(read_committed);
    if limit > want.fetch_offset {
        let max_bytes = want.max_bytes.max(0) as usize;
        let log = &partition.log;
        let planned = match want.key {
            Some(key) if keyed => log.plan_read_of_key(key, want.fetch_offset, max_bytes, limit),
            _ => log.plan_read(want.fetch_offset, max_bytes, limit),
        };
        match planned {
            Ok(plan) => {
                view.available = plan.estimate().max(1);
                view.shown = Shown::Records(plan);
            }
            Err(_) => view.shown = Shown::Error(ErrorCode::OFFSET_OUT_OF_RANGE),
        }
    }
    view
}

/// Whether a fetch can be answered now; if not, the partitions to wait for.
pub fn look(node: &Node, pending: &PendingFetch) -> (bool, Vec<Lane>) {
    let mut bytes = 0usize;
    let mut lanes = Vec::new();
    for (topic, index, want) in &pending.wants {
        let view = view(node, topic, *index, want, (pending.read_committed, false));
        match view.shown {
            Shown::Error(_) | Shown::Diverging(_) => return (true, lanes),
            Shown::Records(_) => bytes = bytes.saturating_add(view.available),
            // The marks of a consumer's session changed: told at once in Apache Kafka only with
            // the next data or deadline, and so here.
            Shown::Marks => {}
        }
        if bytes > 0 && bytes >= pending.min_bytes {
            return (true, lanes);
        }
        lanes.extend(view.lane);
    }
    (bytes >= pending.min_bytes, lanes)
}

/// Answers a fetch with what there is.
pub fn respond(node: &mut Node, pending: PendingFetch, out: &mut Vec<Effect>) {
    let mut response = FetchResponse { session_id: pending.scope.session, ..Default::default() };
    let mut plans = Vec::new();
    let mut told = Vec::new();
    let mut room = pending.max_bytes;
    let mut spare = KEYED_SEGMENTS_MAX;
    for (topic, index, want) in &pending.wants {
        let keyed = room > 0 && spare > 0;
        let view = view(node, topic, *index, want, (pending.read_committed, keyed));
        let changed = view.high_watermark != want.told_high_watermark
            || view.log_start != want.told_log_start;
        let quiet = matches!(view.shown, Shown::Marks);
        if pending.scope.incremental && quiet && !changed {
            continue;
        }
        // Partitions that the limit leaves out keep their turn, or those before them would be
        // first for ever.
        let has_data = room > 0 && matches!(view.shown, Shown::Records(_));
        count(node, &view, room);
        room = room.saturating_sub(view.available);
        let mut answer = PartitionData {
            partition_index: *index,
            high_watermark: view.high_watermark,
            last_stable_offset: view.last_stable_offset,
            log_start_offset: view.log_start,
            // Only readers of committed data are told of aborted transactions.
            aborted_transactions: pending.read_committed.then(Vec::new),
            // Empty, not null: old clients take null for a protocol error.
            records: Some(Bytes::new()),
            ..Default::default()
        };
        let place = topic_place(&mut response.responses, topic);
        let position = response.responses.get(place).map_or(0, |topic| topic.partitions.len());
        match view.shown {
            Shown::Marks => {}
            Shown::Records(plan) => {
                spare = spare.saturating_sub(if plan.is_of_key() { plan.segments() } else { 0 });
                plans.push((place, position, plan));
                if pending.read_committed {
                    answer.aborted_transactions = Some(aborted(node, view.lane, want));
                }
            }
            Shown::Diverging(diverging) => answer.diverging_epoch = diverging,
            Shown::Error(code) => {
                answer.error_code = code.0;
                answer.high_watermark = -1;
                answer.last_stable_offset = -1;
                answer.log_start_offset = -1;
                // Of a partition that it does not have Apache Kafka answers before it asks for any.
                let unknown = code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                    || code == ErrorCode::UNKNOWN_TOPIC_ID;
                answer.aborted_transactions = unknown.then(Vec::new);
            }
        }
        // Of one with an error no marks: they are told once it is well again.
        let (high_watermark, log_start) = (answer.high_watermark, answer.log_start_offset);
        told.push((topic.clone(), *index, high_watermark, log_start, has_data));
        if let Some(topic) = response.responses.get_mut(place) {
            topic.partitions.push(answer);
        }
    }
    node.sessions.told(pending.scope.session, &told);
    let reply = FetchReply::new(response, plans, pending.max_bytes, &node.key_reads);
    let body = Body::Fetch(Box::new(reply));
    out.push(Effect::Reply(Reply { call: pending.call, body }));
}

fn count(node: &mut Node, view: &View, room: usize) {
    node.counters.read(match view.shown {
        Shown::Error(code) => Some(code),
        _ => None,
    });
    // What comes of looking for a key is not known yet.
    let is_of_key = matches!(&view.shown, Shown::Records(plan) if plan.is_of_key());
    if room > 0
        && !is_of_key
        && let Some(partition) = view.lane.and_then(|lane| node.partitions.get_mut(&lane))
    {
        let bytes = view.available.min(room) as u64;
        partition.traffic.bytes_out += bytes;
        node.counters.traffic.bytes_out += bytes;
    }
}

/// The transactions whose records a reader of committed data has to leave out. Those beyond what it
/// is sent are told, too: it looks at each when it comes to its first offset.
fn aborted(node: &Node, lane: Option<Lane>, want: &Want) -> Vec<AbortedTransaction> {
    let Some(partition) = lane.and_then(|lane| node.partitions.get(&lane)) else {
        return Vec::new();
    };
    let found = partition.log.aborted_transactions(want.fetch_offset, partition.visible_end(true));
    let told = |txn: wire::files::AbortedTxn| AbortedTransaction {
        producer_id: txn.producer_id,
        first_offset: txn.first_offset,
        ..Default::default()
    };
    found.into_iter().map(told).collect()
}

/// The index of the topic's entry: the last one, if it is the same topic.
fn topic_place(topics: &mut Vec<FetchableTopicResponse>, topic: &TopicRef) -> usize {
    let same = |entry: &FetchableTopicResponse| match topic {
        TopicRef::Name(name) => entry.topic == *name,
        TopicRef::Id(id) => entry.topic_id == *id,
    };
    if !topics.last().is_some_and(same) {
        let mut entry = FetchableTopicResponse::default();
        match topic {
            TopicRef::Name(name) => entry.topic.clone_from(name),
            TopicRef::Id(id) => entry.topic_id = *id,
        }
        topics.push(entry);
    }
    topics.len() - 1
}

/// So many segments are looked at for the keys that one request names, whatever the partitions.
const KEYED_SEGMENTS_MAX: usize = 128;
