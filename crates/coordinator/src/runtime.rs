//! The runtime: which partitions of the coordinator's log this node leads, how they are loaded,
//! and when answers may leave.
//!
//! A request is decided at once and its records are replayed at once, so that the next request
//! sees them; its answer waits. Records are appended when the step ends. While an append waits for
//! the high watermark, further records pile up and go as one batch after it: there is no other
//! linger. After the checks of a step an append fails only if the log fails; the shard then forgets
//! everything and loads its log again.
//!
//! The caller carries out effects in order: [`Effect::Append`] is followed at once by
//! [`Coordinator::appended`]; [`Effect::Load`] asks for the log's bytes from an offset on, as many
//! as the caller likes, which come back through [`Coordinator::loaded`].
//!
//! Invariants:
//! - I1: an answer waits for the last unit of records it saw; answers of a shard leave in the order
//!   they were decided, or by their deadline.
//! - I2: nothing is decided from a shard that is not active.
//! - I3: at most one load of a shard is asked for at a time; what comes of an older one is ignored.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use messages::{DeleteGroupsResponse, DescribeGroupsResponse, ListGroupsResponse};
use wire::batch::Batches;
use wire::record::{BatchBuilder, BatchOptions, ControlKind, ProducerStamp, RecordIter};
use wire::{Bytes, ErrorCode};

use crate::group::{BATCH_OVERHEAD, Groups, Turn, encoded_bytes};
use crate::operation::{Answer, Caller, Request, client_error};
use crate::record::{Encoded, Record};
use crate::{GroupConfig, IdSource, Now};

/// An order to the caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read whole batches of the partition's log, from that offset to the high watermark.
    Load {
        /// Of the coordinator's topic.
        partition: i32,
        /// To be given back.
        load: u64,
        /// The first offset wanted.
        from: i64,
    },
    /// Append these batches as the leader, up to the first that fails, and say at once what
    /// became of them.
    Append {
        /// Of the coordinator's topic.
        partition: i32,
        /// Whole batches; almost always one.
        batches: Vec<Bytes>,
    },
    /// Answer a request.
    Reply(u64, Answer),
    /// Tell the operator.
    Warn(String),
}

/// The partition of a group: Java's hash of its id, made positive the way Apache Kafka does, which
/// takes the absolute value, and 0 where there is none.
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash =
        group.encode_utf16().fold(0i32, |h, unit| h.wrapping_mul(31).wrapping_add(unit.into()));
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

/// An answer that waits.
#[derive(Debug)]
struct Waiting {
    /// Units it saw, counted from the shard's start.
    units: u64,
    token: u64,
    answer: Answer,
    deadline_ms: i64,
}

#[derive(Debug, PartialEq)]
enum State {
    /// The next offset to read; true while the caller reads.
    Loading(i64, bool),
    Active,
    /// The log can't be read: nothing is served until somebody leads again.
    Failed,
}

#[derive(Debug)]
struct Shard {
    state: State,
    load: u64,
    /// Where the log begins.
    start: i64,
    batch_bytes_max: usize,
    groups: Groups,
    /// Units decided since the load.
    decided: u64,
    /// Units that the high watermark has passed.
    committed: u64,
    /// Decided and not appended.
    unwritten: Vec<Vec<Encoded>>,
    /// Appended: the units up to there, and the offset that makes them visible.
    in_flight: Option<(u64, i64)>,
    waiting: VecDeque<Waiting>,
}

/// A request about groups of several shards.
#[derive(Debug)]
struct Gather {
    token: u64,
    request: Request,
    /// Answers by where the groups are, in the order of asking.
    parts: Vec<Option<Answer>>,
    missing: usize,
}

/// All shards that this node leads.
#[derive(Debug)]
pub struct Coordinator {
    config: GroupConfig,
    partitions: i32,
    shards: BTreeMap<i32, Shard>,
    gathers: BTreeMap<u64, Gather>,
    /// Parts of gathers, by the token that the shard knows.
    parts: BTreeMap<u64, (u64, usize)>,
    next_load: u64,
    next_gather: u64,
    /// [`Self::next_deadline_ms`], until something is done that may change it: it is asked for at
    /// each step of the node, whatever that is about.
    due_ms: Cell<Option<i64>>,
}

impl Coordinator {
    /// Leads nothing yet.
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            partitions: 0,
            shards: BTreeMap::new(),
            gathers: BTreeMap::new(),
            parts: BTreeMap::new(),
            next_load: 0,
            next_gather: 0,
            due_ms: Cell::new(None),
        }
    }

    /// How many partitions the coordinator's topic has; 0 while there is none.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// The topic has so many partitions, whoever leads them.
    pub fn set_partitions(&mut self, partitions: i32) {
        self.due_ms.set(None);
        self.partitions = partitions;
    }

    /// This node leads a partition: its log, which begins at `start`, is to be loaded.
    pub fn lead(
        &mut self,
        partition: i32,
        start: i64,
        batch_bytes_max: usize,
        out: &mut Vec<Effect>,
    ) {
        self.due_ms.set(None);
        self.next_load += 1;
        let shard = Shard {
            state: State::Loading(start, true),
            load: self.next_load,
            start,
            batch_bytes_max,
            groups: Groups::new(self.config.clone()),
            decided: 0,
            committed: 0,
            unwritten: Vec::new(),
            in_flight: None,
            waiting: VecDeque::new(),
        };
        self.shards.insert(partition, shard);
        out.push(Effect::Load { partition, load: self.next_load, from: start });
    }

    /// True if requests of that partition are carried out.
    pub fn is_active(&self, partition: i32) -> bool {
        self.shards.get(&partition).is_some_and(|shard| shard.state == State::Active)
    }

    /// The groups of a partition.
    pub fn groups(&self, partition: i32) -> Option<&Groups> {
        self.shards.get(&partition).map(|shard| &shard.groups)
    }

    /// When [`Self::tick`] is due, on the steady clock.
    pub fn next_deadline_ms(&self) -> i64 {
        let due_ms = self.due_ms.get().unwrap_or_else(|| self.first_deadline_ms());
        self.due_ms.set(Some(due_ms));
        due_ms
    }

    fn first_deadline_ms(&self) -> i64 {
        let of_shard = |shard: &Shard| {
            let answer = shard.waiting.front().map_or(i64::MAX, |waiting| waiting.deadline_ms);
            answer.min(shard.groups.next_deadline_ms())
        };
        self.shards.values().map(of_shard).min().unwrap_or(i64::MAX)
    }

    /// What was read for [`Effect::Load`]: whole batches, and where the log ends. An error means
    /// that the log can't be read.
    pub fn loaded(
        &mut self,
        partition: i32,
        load: u64,
        read: Result<(Bytes, i64), String>,
        now: Now,
        ids: &mut dyn IdSource,
        out: &mut Vec<Effect>,
    ) {
        self.due_ms.set(None);
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        let State::Loading(from, true) = shard.state else { return };
        if shard.load != load {
            return;
        }
        let progress = read.and_then(|(bytes, end)| Ok((shard.replay(bytes, from)?, end)));
        match progress {
            Err(reason) => {
                shard.state = State::Failed;
                out.push(Effect::Warn(format!(
                    "__consumer_offsets-{partition}: groups are not served: {reason}"
                )));
            }
            Ok((next, end)) if next >= end => {
                shard.state = State::Active;
                let mut turn = Turn::new(now, ids, shard.batch_bytes_max);
                shard.groups.start(&mut turn);
                self.end(partition, turn, out);
            }
            // Nothing more is visible yet; the high watermark will tell.
            Ok((next, _)) if next == from => shard.state = State::Loading(next, false),
            Ok((next, _)) => {
                shard.state = State::Loading(next, true);
                out.push(Effect::Load { partition, load, from: next });
            }
        }
    }

    /// Carries out a request.
    pub fn request(
        &mut self,
        caller: Caller,
        request: Request,
        now: Now,
        ids: &mut dyn IdSource,
        out: &mut Vec<Effect>,
    ) {
        self.due_ms.set(None);
        let group = match &request {
            Request::Join(request) => &request.group_id,
            Request::Sync(request) => &request.group_id,
            Request::Heartbeat(request) => &request.group_id,
            Request::Leave(request) => &request.group_id,
            Request::DeleteOffsets(request) => &request.group_id,
            Request::Commit(request) => &request.group_id,
            Request::Fetch(..) | Request::Describe(_) | Request::List(_) | Request::Delete(_) => {
                return self.gather(caller, request, now, ids, out);
            }
        };
        // Simple consumers may commit without a name.
        if group.is_empty() && !matches!(request, Request::Commit(_)) {
            let answer = Answer::refusal(&request, ErrorCode::INVALID_GROUP_ID);
            out.push(Effect::Reply(caller.token, answer));
            return;
        }
        let partition = partition_of(group, self.partitions);
        self.one(partition, caller, request, now, ids, out);
    }

    /// A request about groups of one shard.
    fn one(
        &mut self,
        partition: i32,
        caller: Caller,
        request: Request,
        now: Now,
        ids: &mut dyn IdSource,
        out: &mut Vec<Effect>,
    ) {
        let refusal = match self.shards.get(&partition).map(|shard| &shard.state) {
            Some(State::Active) => None,
            Some(State::Loading(..)) => Some(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
            Some(State::Failed) | None => Some(ErrorCode::NOT_COORDINATOR),
        };
        if let Some(code) = refusal {
            let answer = Answer::refusal(&request, code);
            return self.reply(caller.token, answer, out);
        }
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        let mut turn = Turn::new(now, ids, shard.batch_bytes_max);
        shard.groups.request(caller, request, &mut turn);
        shard.groups.tick(&mut turn);
        self.end(partition, turn, out);
    }

    /// A request that is split by shard and answered when all parts are.
    fn gather(
        &mut self,
        caller: Caller,
        request: Request,
        now: Now,
        ids: &mut dyn IdSource,
        out: &mut Vec<Effect>,
    ) {
        let parts = self.split(&request);
        self.next_gather += 1;
        let id = self.next_gather;
        let gather = Gather {
            token: caller.token,
            request,
            parts: parts.iter().map(|_| None).collect(),
            missing: parts.len(),
        };
        self.gathers.insert(id, gather);
        if parts.is_empty() {
            return self.gathered(id, out);
        }
        let tokens: Vec<u64> = (0..parts.len() as u64).map(|n| PART | id << 20 | n).collect();
        for (index, token) in tokens.iter().enumerate() {
            self.parts.insert(*token, (id, index));
        }
        for ((partition, part), token) in parts.into_iter().zip(tokens) {
            let caller = Caller { token, ..caller.clone() };
            self.one(partition, caller, part, now, ids, out);
        }
    }

    /// What to ask which shard. Groups keep their order within a shard.
    fn split(&self, request: &Request) -> Vec<(i32, Request)> {
        let mut parts: BTreeMap<i32, Request> = BTreeMap::new();
        let of = |group: &str| partition_of(group, self.partitions);
        match request {
            Request::List(_) => {
                return self.shards.keys().map(|index| (*index, request.clone())).collect();
            }
            Request::Describe(groups) => {
                for group in groups {
                    let part =
                        parts.entry(of(group)).or_insert_with(|| Request::Describe(Vec::new()));
                    if let Request::Describe(list) = part {
                        list.push(group.clone());
                    }
                }
            }
            Request::Delete(groups) => {
                for group in groups {
                    let part =
                        parts.entry(of(group)).or_insert_with(|| Request::Delete(Vec::new()));
                    if let Request::Delete(list) = part {
                        list.push(group.clone());
                    }
                }
            }
            Request::Fetch(groups, stable) => {
                for group in groups {
                    let part = parts
                        .entry(of(&group.group_id))
                        .or_insert_with(|| Request::Fetch(Vec::new(), *stable));
                    if let Request::Fetch(list, _) = part {
                        list.push(group.clone());
                    }
                }
            }
            _ => {}
        }
        parts.into_iter().collect()
    }

    /// A step of a shard is over: appends what may be appended, parks and gives answers.
    fn end(&mut self, partition: i32, turn: Turn<'_>, out: &mut Vec<Effect>) {
        let Turn { now, units, answers, .. } = turn;
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        let before = shard.decided;
        shard.decided += units.len() as u64;
        shard.unwritten.extend(units);
        let deadline_ms = now.steady_ms.saturating_add(self.config.commit_timeout_ms);
        for (token, answer, saw) in answers {
            let units = before + saw as u64;
            shard.waiting.push_back(Waiting { units, token, answer, deadline_ms });
        }
        shard.append(partition, now, out);
        self.release(partition, out);
    }

    /// What became of an [`Effect::Append`]: the offset behind it, or why it failed.
    pub fn appended(
        &mut self,
        partition: i32,
        outcome: Result<i64, ErrorCode>,
        now: Now,
        ids: &mut dyn IdSource,
        out: &mut Vec<Effect>,
    ) {
        self.due_ms.set(None);
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        match outcome {
            Ok(end) => {
                if let Some((_, offset)) = &mut shard.in_flight {
                    *offset = end;
                }
            }
            Err(code) => self.reload(partition, code, now, ids, out),
        }
    }

    /// The high watermark of a partition is at that offset now.
    pub fn advanced(
        &mut self,
        partition: i32,
        high_watermark: i64,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.due_ms.set(None);
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        if let State::Loading(from, false) = shard.state {
            shard.state = State::Loading(from, true);
            out.push(Effect::Load { partition, load: shard.load, from });
            return;
        }
        if let Some((units, end)) = shard.in_flight
            && end <= high_watermark
        {
            shard.in_flight = None;
            shard.committed = units;
        }
        shard.append(partition, now, out);
        self.release(partition, out);
    }

    /// The log of a partition failed: nothing of it is served any more.
    pub fn failed(
        &mut self,
        partition: i32,
        now: Now,
        ids: &mut dyn IdSource,
        out: &mut Vec<Effect>,
    ) {
        self.due_ms.set(None);
        self.unload(partition, ErrorCode::NOT_COORDINATOR, now, ids, out);
        if let Some(shard) = self.shards.get_mut(&partition) {
            shard.state = State::Failed;
        }
    }

    /// Another node leads the partition, or the topic is gone.
    pub fn resign(
        &mut self,
        partition: i32,
        now: Now,
        ids: &mut dyn IdSource,
        out: &mut Vec<Effect>,
    ) {
        self.due_ms.set(None);
        self.unload(partition, ErrorCode::NOT_COORDINATOR, now, ids, out);
        self.shards.remove(&partition);
    }

    /// Does what is due by now.
    pub fn tick(&mut self, now: Now, ids: &mut dyn IdSource, out: &mut Vec<Effect>) {
        self.due_ms.set(None);
        let due: Vec<i32> = self
            .shards
            .iter()
            .filter(|(_, shard)| {
                let waiting = shard.waiting.front().map_or(i64::MAX, |w| w.deadline_ms);
                waiting.min(shard.groups.next_deadline_ms()) <= now.steady_ms
            })
            .map(|(partition, _)| *partition)
            .collect();
        for partition in due {
            self.time_out(partition, now, out);
            let Some(shard) = self.shards.get_mut(&partition) else { continue };
            if shard.state == State::Active {
                let mut turn = Turn::new(now, ids, shard.batch_bytes_max);
                shard.groups.tick(&mut turn);
                self.end(partition, turn, out);
            }
        }
    }

    /// Topics are gone; what was committed in them is forgotten.
    pub fn topics_deleted(
        &mut self,
        names: &BTreeSet<String>,
        now: Now,
        ids: &mut dyn IdSource,
        out: &mut Vec<Effect>,
    ) {
        self.due_ms.set(None);
        let active = self.shards.iter().filter(|(_, shard)| shard.state == State::Active);
        let active: Vec<i32> = active.map(|(partition, _)| *partition).collect();
        for partition in active {
            let Some(shard) = self.shards.get_mut(&partition) else { continue };
            let mut turn = Turn::new(now, ids, shard.batch_bytes_max);
            shard.groups.topics_deleted(names, &mut turn);
            self.end(partition, turn, out);
        }
    }

    /// Answers that waited too long: the records may still become durable, so that the client has
    /// to ask again.
    fn time_out(&mut self, partition: i32, now: Now, out: &mut Vec<Effect>) {
        while let Some(shard) = self.shards.get_mut(&partition) {
            let due = shard.waiting.front().is_some_and(|w| w.deadline_ms <= now.steady_ms);
            let Some(mut waiting) = shard.waiting.pop_front_if(|_| due) else { return };
            waiting.answer.fail(client_error(ErrorCode::REQUEST_TIMED_OUT));
            self.reply(waiting.token, waiting.answer, out);
        }
    }

    fn unload(
        &mut self,
        partition: i32,
        code: ErrorCode,
        now: Now,
        ids: &mut dyn IdSource,
        out: &mut Vec<Effect>,
    ) {
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        let mut turn = Turn::new(now, ids, shard.batch_bytes_max);
        shard.groups.stop(code, &mut turn);
        let parked = turn.answers;
        shard.unwritten.clear();
        shard.in_flight = None;
        (shard.decided, shard.committed) = (0, 0);
        let waiting = std::mem::take(&mut shard.waiting);
        for Waiting { token, mut answer, .. } in waiting {
            answer.fail(code);
            self.reply(token, answer, out);
        }
        for (token, answer, _) in parked {
            self.reply(token, answer, out);
        }
    }

    /// State and log disagree from here on: only the log counts.
    fn reload(
        &mut self,
        partition: i32,
        code: ErrorCode,
        now: Now,
        ids: &mut dyn IdSource,
        out: &mut Vec<Effect>,
    ) {
        self.unload(partition, client_error(code), now, ids, out);
        self.next_load += 1;
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        shard.load = self.next_load;
        shard.state = State::Loading(shard.start, true);
        out.push(Effect::Load { partition, load: self.next_load, from: shard.start });
    }

    /// Gives the answers whose records are visible.
    fn release(&mut self, partition: i32, out: &mut Vec<Effect>) {
        while let Some(shard) = self.shards.get_mut(&partition) {
            let committed = shard.committed;
            let ready = |waiting: &mut Waiting| waiting.units <= committed;
            let Some(waiting) = shard.waiting.pop_front_if(ready) else { return };
            self.reply(waiting.token, waiting.answer, out);
        }
    }

    fn reply(&mut self, token: u64, answer: Answer, out: &mut Vec<Effect>) {
        let Some((id, index)) = self.parts.remove(&token) else {
            out.push(Effect::Reply(token, answer));
            return;
        };
        let Some(gather) = self.gathers.get_mut(&id) else { return };
        if let Some(place) = gather.parts.get_mut(index) {
            *place = Some(answer);
        }
        gather.missing -= 1;
        if gather.missing == 0 {
            self.gathered(id, out);
        }
    }

    fn gathered(&mut self, id: u64, out: &mut Vec<Effect>) {
        let Some(gather) = self.gathers.remove(&id) else { return };
        let answer = join(&gather.request, gather.parts.into_iter().flatten());
        out.push(Effect::Reply(gather.token, answer));
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one does not hold: a mistake of ours.
    pub fn check(&self) {
        assert_eq!(self.next_deadline_ms(), self.first_deadline_ms());
        for shard in self.shards.values() {
            if shard.state == State::Active {
                shard.groups.check();
            }
            assert!(shard.committed <= shard.decided);
            let in_order = shard.waiting.iter().is_sorted_by_key(|waiting| waiting.units);
            assert!(in_order, "I1: answers out of order");
            let visible = shard.waiting.front().is_some_and(|w| w.units <= shard.committed);
            assert!(!visible, "I1: an answer was forgotten");
            let idle = shard.state != State::Active;
            assert!(!idle || (shard.waiting.is_empty() && shard.unwritten.is_empty()), "I2");
        }
        for gather in self.gathers.values() {
            let missing = gather.parts.iter().filter(|part| part.is_none()).count();
            assert!(missing == gather.missing && missing > 0);
        }
    }
}

impl Shard {
    /// Replays whole batches; gives the offset behind them.
    fn replay(&mut self, bytes: Bytes, from: i64) -> Result<i64, String> {
        let mut next = from;
        for batch in Batches::new(bytes) {
            let (header, batch) = batch.map_err(|error| format!("at offset {next}: {error}"))?;
            let damaged = |error: &dyn std::fmt::Display| {
                format!("batch at offset {}: {error}", header.base_offset)
            };
            let producer = header.is_transactional().then_some(header.producer_id);
            let records = RecordIter::open(&batch, BATCH_OPENED_MAX).map_err(|e| damaged(&e))?;
            for record in records {
                let record = record.map_err(|error| damaged(&error))?;
                if header.is_control() {
                    match ControlKind::of_key(&record.key.unwrap_or_default()) {
                        Some(ControlKind::Commit) => {
                            self.groups.end_transaction(header.producer_id, true);
                        }
                        Some(ControlKind::Abort) => {
                            self.groups.end_transaction(header.producer_id, false);
                        }
                        _ => {}
                    }
                    continue;
                }
                let found = Record::decode(record.key, record.value).map_err(|e| damaged(&e))?;
                if let Some(found) = found {
                    self.groups.replay(&found, producer);
                }
            }
            next = next.max(header.next_offset());
        }
        Ok(next)
    }

    /// Appends what was decided, unless an append is under way.
    fn append(&mut self, partition: i32, now: Now, out: &mut Vec<Effect>) {
        if self.in_flight.is_some() || self.unwritten.is_empty() {
            return;
        }
        let mut full = Vec::new();
        let mut batch = new_batch();
        let mut bytes = BATCH_OVERHEAD;
        for unit in std::mem::take(&mut self.unwritten) {
            let more: usize = unit.iter().map(encoded_bytes).sum();
            if batch.count() > 0 && bytes + more > self.batch_bytes_max {
                full.push(std::mem::replace(&mut batch, new_batch()));
                bytes = BATCH_OVERHEAD;
            }
            bytes += more;
            for (key, value) in &unit {
                batch.push(now.wall_ms, Some(key), value.as_deref(), &[]);
            }
        }
        full.push(batch);
        let batches: Result<Vec<Bytes>, _> = full.into_iter().map(BatchBuilder::build).collect();
        match batches {
            Ok(batches) => {
                self.in_flight = Some((self.decided, i64::MAX));
                out.push(Effect::Append { partition, batches });
            }
            // Uncompressed, and each unit's size was checked: this can't happen, and if it did the
            // answers would say so by running into their deadline.
            Err(error) => out.push(Effect::Warn(format!("records not appended: {error}"))),
        }
    }
}

fn new_batch() -> BatchBuilder {
    // Nobody's producer, but with the sequence number that Apache Kafka's coordinator writes.
    let producer = Some(ProducerStamp { id: -1, epoch: -1, base_sequence: 0 });
    BatchBuilder::new(BatchOptions { leader_epoch: -1, producer, ..Default::default() })
}

/// One answer of many: groups in the order they were asked for.
fn join(request: &Request, parts: impl Iterator<Item = Answer>) -> Answer {
    match request {
        Request::Describe(ids) => {
            let mut found = BTreeMap::new();
            for part in parts {
                if let Answer::Describe(answer) = part {
                    found.extend(answer.groups.into_iter().map(|g| (g.group_id.clone(), g)));
                }
            }
            let groups = ids.iter().filter_map(|id| found.get(id).cloned()).collect();
            Answer::Describe(DescribeGroupsResponse { groups, ..Default::default() })
        }
        Request::Delete(ids) => {
            let mut found = BTreeMap::new();
            for part in parts {
                if let Answer::Delete(answer) = part {
                    // The first of two deletions of one group is the one that counts.
                    for result in answer.results {
                        found.entry(result.group_id.clone()).or_insert(result);
                    }
                }
            }
            let mut results = Vec::new();
            for id in ids {
                results.extend(found.remove(id));
            }
            Answer::Delete(DeleteGroupsResponse { results, ..Default::default() })
        }
        Request::Fetch(groups, _) => {
            let mut found: BTreeMap<String, VecDeque<_>> = BTreeMap::new();
            for part in parts {
                if let Answer::Fetch(answer) = part {
                    for group in answer {
                        found.entry(group.group_id.clone()).or_default().push_back(group);
                    }
                }
            }
            let take = |group: &messages::offset_fetch_request::OffsetFetchRequestGroup| {
                found.get_mut(&group.group_id)?.pop_front()
            };
            Answer::Fetch(groups.iter().filter_map(take).collect())
        }
        _ => {
            let mut all = ListGroupsResponse::default();
            for part in parts {
                if let Answer::List(answer) = part {
                    all.groups.extend(answer.groups);
                    if answer.error_code != 0 && answer.error_code != ErrorCode::NOT_COORDINATOR.0 {
                        all.error_code = answer.error_code;
                    }
                }
            }
            if all.error_code != 0 {
                all.groups.clear();
            }
            Answer::List(all)
        }
    }
}

/// No batch of ours is near that size when opened; what a foreign one may have is bounded too.
const BATCH_OPENED_MAX: usize = 64 << 20;
/// Marks tokens of parts, which callers never use.
const PART: u64 = 1 << 63;
