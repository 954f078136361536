//! Batches from the first record to the last word about them: collecting, sequences, order,
//! retries, deadlines.
//!
//! Owns every record that was accepted and not answered yet.
//!
//! Invariants:
//! - I1: batches of a partition are in the order in which their records came, in the queue and in
//!   flight; a batch that is to be sent again goes back to its place.
//! - I2: a batch keeps its producer id, epoch and sequence as long as the broker may have written
//!   it. It is numbered anew only after the broker said that the lowest batch without an answer
//!   doesn't follow what it has (so none of them was written), with nothing in flight.
//! - I3: every batch ends with exactly one [`Effect::Complete`]; one that was split, as its parts.
//! - I4: `buffered` is the sum of the sizes of the batches that are not complete.

use std::collections::{BTreeMap, VecDeque};

use wire::batch::{BatchHeader, HEADER_BYTES, increment_sequence};
use wire::compress::Compression;
use wire::record::{BatchBuilder, BatchOptions, RecordIter};
use wire::{Bytes, ErrorCode};

use super::Record;
use crate::error::{ApiError, Error};
use crate::options::{Backoff, ProducerOptions};
use crate::topic_partition::TopicPartition;

/// A batch, in rising order of records: its number, and which record of what was collected under
/// that number is its first (not 0 if it was split).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u64, pub u32);

/// What the accumulator goes by; times in milliseconds.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Settings {
    pub idempotent: bool,
    pub linger_ms: i64,
    pub batch_bytes: usize,
    pub batch_records: usize,
    pub buffer_bytes: usize,
    pub request_bytes_max: usize,
    pub compression: Compression,
    pub compression_level: Option<i32>,
    pub delivery_timeout_ms: i64,
    pub in_flight_max: usize,
    pub retries: u32,
    pub retry_backoff: Backoff,
}

impl Settings {
    /// From a producer's options.
    pub fn new(options: &ProducerOptions, retry_backoff: Backoff) -> Self {
        let ms =
            |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self {
            idempotent: options.idempotent,
            linger_ms: ms(options.linger),
            batch_bytes: options.batch_bytes,
            batch_records: options.batch_records.max(1),
            buffer_bytes: options.buffer_bytes,
            request_bytes_max: options.request_bytes_max,
            compression: options.compression,
            compression_level: options.compression_level,
            delivery_timeout_ms: ms(options.delivery_timeout),
            in_flight_max: options.in_flight_max.max(1),
            retries: options.retries,
            retry_backoff,
        }
    }
}

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is written.
    Written {
        /// Offset of its first record, if the broker said.
        base_offset: Option<i64>,
        /// The broker's time, if the topic has log append time.
        log_append_time: Option<i64>,
    },
    /// It is not, or nobody knows.
    Failed(Error),
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell whoever waits for the records of a batch, of so many; never after anything else about
    /// it.
    Complete(BatchId, u32, Outcome),
    /// Ask for metadata of a topic: its leaders may have moved.
    Refresh(String),
    /// Ask for a producer id, and call [`Accumulator::identified`].
    Identify,
}

/// What an answer says about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Zero is success.
    pub code: ErrorCode,
    /// The broker's words.
    pub message: String,
    /// Offset of the first record; -1 if unknown.
    pub base_offset: i64,
    /// The broker's time, -1 for create time.
    pub log_append_time: i64,
}

/// Batches to send to a broker in one request.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// To name it when the answer comes.
    pub request: u64,
    /// A batch a partition.
    pub batches: Vec<(TopicPartition, Bytes)>,
}

/// Whether a record was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Append {
    /// It is number `index` of the batch; `wake` if something may be ready to send sooner.
    Taken {
        /// The batch.
        batch: BatchId,
        /// The record in it.
        index: u32,
        /// The first record of a batch, or the last.
        wake: bool,
    },
    /// There is no room now.
    Full,
}

/// Who the producer is to brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    id: i64,
    epoch: i16,
}

#[derive(Debug)]
struct Batch {
    id: BatchId,
    created_ms: i64,
    /// Bytes it counts for, uncompressed.
    size: usize,
    count: u32,
    body: Body,
    stamp: Option<(Identity, i32)>,
    /// How many batches of the partition were sent before it.
    ordinal: u64,
    attempts: u32,
    not_before_ms: i64,
    /// Completed while in flight: its answer only makes room.
    given_up: bool,
}

#[derive(Debug)]
enum Body {
    Open(Box<BatchBuilder>),
    Closed { header: BatchHeader, payload: Bytes },
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Batch>,
    in_flight: Vec<(u64, Batch)>,
    identity: Option<Identity>,
    next_sequence: i32,
    next_ordinal: u64,
    /// I2: number everything anew once nothing is in flight.
    renumber: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Accumulator {
    settings: Settings,
    queues: BTreeMap<TopicPartition, Queue>,
    /// Partitions of each request under way, by its number.
    requests: BTreeMap<u64, (i32, Vec<TopicPartition>)>,
    identity: Option<Identity>,
    identifying: bool,
    next_batch: u64,
    next_request: u64,
    buffered: usize,
    open: usize,
    /// Batches below this one are sent without lingering.
    flush_below: u64,
    /// Somebody waits for room: nothing lingers.
    pressed: bool,
    effects: Vec<Effect>,
}

impl Accumulator {
    /// An empty one.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            queues: BTreeMap::new(),
            requests: BTreeMap::new(),
            identity: None,
            identifying: false,
            next_batch: 0,
            next_request: 0,
            buffered: 0,
            open: 0,
            flush_below: 0,
            pressed: false,
            effects: Vec::new(),
        }
    }

    /// What is to be done, oldest first; each is handed out once.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Adds a record; its timestamp is set.
    pub fn append(&mut self, now_ms: i64, to: &TopicPartition, record: &Record) -> Append {
        let size = record.size();
        if self.buffered + size > self.settings.buffer_bytes && self.buffered > 0 {
            self.pressed = true;
            return Append::Full;
        }
        if !self.queues.contains_key(to) {
            self.queues.insert(to.clone(), Queue::default());
        }
        let next = BatchId(self.next_batch, 0);
        let builder = self.builder();
        let flush_below = self.flush_below;
        let settings = &self.settings;
        let Some(queue) = self.queues.get_mut(to) else { return Append::Full };
        let fits = queue.waiting.back().is_some_and(|last| {
            let open = matches!(last.body, Body::Open(_)) && last.attempts == 0;
            open && last.id.0 >= flush_below
                && last.size + size <= settings.batch_bytes
                && (last.count as usize) < settings.batch_records
        });
        let mut added = size;
        if !fits {
            queue.waiting.push_back(Batch {
                id: next,
                created_ms: now_ms,
                size: HEADER_BYTES,
                count: 0,
                body: Body::Open(builder),
                stamp: None,
                ordinal: 0,
                attempts: 0,
                not_before_ms: 0,
                given_up: false,
            });
            added += HEADER_BYTES;
            self.next_batch += 1;
            self.open += 1;
        }
        let Some(batch) = queue.waiting.back_mut() else { return Append::Full };
        if let Body::Open(builder) = &mut batch.body {
            let headers = record.headers.iter();
            let headers: Vec<_> =
                headers.map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            let timestamp = record.timestamp.unwrap_or(now_ms);
            builder.push(timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        }
        let index = batch.count;
        batch.count += 1;
        batch.size += size;
        self.buffered += added;
        let full = batch.size >= settings.batch_bytes;
        Append::Taken { batch: batch.id, index, wake: !fits || full }
    }

    /// Sends everything that is there without lingering. Done when [`Self::oldest_open`] is at
    /// least what this returns.
    pub fn flush(&mut self) -> BatchId {
        self.flush_below = self.next_batch;
        BatchId(self.next_batch, 0)
    }

    /// The oldest batch that is not complete; the next one to come if all are.
    pub fn oldest_open(&self) -> BatchId {
        let open = self.queues.values().flat_map(|queue| {
            let waiting = queue.waiting.iter();
            let in_flight = queue.in_flight.iter().map(|(_, batch)| batch);
            waiting.chain(in_flight).filter(|batch| !batch.given_up).map(|batch| batch.id)
        });
        open.min().unwrap_or(BatchId(self.next_batch, 0))
    }

    /// Bytes of records that wait.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// True if a record of that size could be taken.
    pub fn has_room(&self, size: usize) -> bool {
        self.buffered == 0 || self.buffered + size <= self.settings.buffer_bytes
    }

    /// Which brokers have something to be sent to now, and when to look again at the latest.
    /// `leader` names the broker of a partition, if it has one.
    pub fn ready(
        &mut self,
        now_ms: i64,
        leader: impl Fn(&TopicPartition) -> Option<i32>,
    ) -> (Vec<i32>, Option<i64>) {
        self.expire(now_ms);
        if self.settings.idempotent && self.identity.is_none() {
            if self.open > 0 && !self.identifying {
                self.identifying = true;
                self.effects.push(Effect::Identify);
            }
            return (Vec::new(), self.next_deadline(now_ms));
        }
        let mut brokers = Vec::new();
        let mut next = self.next_deadline(now_ms);
        let mut leaderless = Vec::new();
        for (partition, queue) in &self.queues {
            let Some(when) = self.sendable_at(queue) else { continue };
            if when > now_ms {
                next = Some(next.map_or(when, |next| next.min(when)));
                continue;
            }
            match leader(partition) {
                Some(broker) if self.in_flight(broker) >= self.settings.in_flight_max => {}
                Some(broker) if brokers.contains(&broker) => {}
                Some(broker) => brokers.push(broker),
                None => leaderless.push(partition.topic.clone()),
            }
        }
        leaderless.dedup();
        self.effects.extend(leaderless.into_iter().map(Effect::Refresh));
        (brokers, next)
    }

    /// When the first batch of a queue may go; `None` while something else has to happen first.
    fn sendable_at(&self, queue: &Queue) -> Option<i64> {
        if queue.renumber {
            return None;
        }
        let first = queue.waiting.front()?;
        if !queue.in_flight.is_empty() {
            // Invariant I1: what is sent again goes alone and first.
            let again = first.stamp.is_some() || first.attempts > 0;
            let others = queue.identity.is_some() && queue.identity != self.identity;
            // Brokers tell a repeated batch by its sequence among the last five: no batch may get
            // further ahead of the oldest without an answer, however often that one is sent.
            let oldest = queue.in_flight.iter().map(|(_, batch)| batch.ordinal).min();
            let ahead = oldest.map_or(0, |oldest| queue.next_ordinal - oldest);
            let many = ahead >= 5.min(self.settings.in_flight_max as u64);
            if many || again || others {
                return None;
            }
        }
        if first.attempts > 0 {
            return Some(first.not_before_ms);
        }
        let full = first.size >= self.settings.batch_bytes
            || first.count as usize >= self.settings.batch_records
            || queue.waiting.len() > 1
            || first.id.0 < self.flush_below
            || self.pressed;
        let linger = first.created_ms.saturating_add(self.settings.linger_ms);
        Some(if full { i64::MIN } else { linger })
    }

    fn in_flight(&self, broker: i32) -> usize {
        self.requests.values().filter(|(of, _)| *of == broker).count()
    }

    fn next_deadline(&self, now_ms: i64) -> Option<i64> {
        let oldest = self.queues.values().flat_map(|queue| {
            let in_flight = queue.in_flight.iter().map(|(_, batch)| batch);
            queue.waiting.iter().take(1).chain(in_flight).filter(|batch| !batch.given_up)
        });
        let oldest = oldest.map(|batch| batch.created_ms).min()?;
        Some(oldest.saturating_add(self.settings.delivery_timeout_ms).max(now_ms + 1))
    }

    /// Takes what goes to a broker in one request; `None` if there is nothing (any more).
    pub fn drain(
        &mut self,
        now_ms: i64,
        broker: i32,
        leader: impl Fn(&TopicPartition) -> Option<i32>,
    ) -> Option<Outgoing> {
        if self.in_flight(broker) >= self.settings.in_flight_max {
            return None;
        }
        let ready: Vec<TopicPartition> = self
            .queues
            .iter()
            .filter(|(partition, queue)| {
                let ready = self.sendable_at(queue).is_some_and(|when| when <= now_ms);
                ready && leader(partition) == Some(broker)
            })
            .map(|(partition, _)| partition.clone())
            .collect();
        let request = self.next_request;
        let mut batches = Vec::new();
        let mut bytes = 0;
        for partition in ready {
            let Some(batch) = self.take_first(&partition) else { continue };
            let (size, count) = (batch.size, batch.count);
            match self.close(&partition, batch) {
                Ok((batch, sealed)) => {
                    bytes += sealed.len();
                    if let Some(queue) = self.queues.get_mut(&partition) {
                        queue.in_flight.push((request, batch));
                    }
                    batches.push((partition, sealed));
                }
                Err((id, error)) => self.complete(id, size, count, Outcome::Failed(error)),
            }
            if bytes + self.settings.batch_bytes > self.settings.request_bytes_max {
                break;
            }
        }
        if batches.is_empty() {
            return None;
        }
        self.next_request += 1;
        let partitions = batches.iter().map(|(partition, _)| partition.clone()).collect();
        self.requests.insert(request, (broker, partitions));
        Some(Outgoing { request, batches })
    }

    fn take_first(&mut self, partition: &TopicPartition) -> Option<Batch> {
        self.queues.get_mut(partition)?.waiting.pop_front()
    }

    /// Closes a batch and numbers it, unless it has its number.
    fn close(
        &mut self,
        partition: &TopicPartition,
        mut batch: Batch,
    ) -> Result<(Batch, Bytes), (BatchId, Error)> {
        let id = batch.id;
        if let Body::Open(builder) = batch.body {
            let built = builder.build().map_err(|error| error.to_string());
            let parsed = built.and_then(|bytes| {
                let header = BatchHeader::parse(&bytes).map_err(|error| error.to_string())?;
                Ok((header, bytes.slice(HEADER_BYTES..)))
            });
            let (header, payload) = parsed.map_err(|error| (id, Error::Config(error)))?;
            batch.body = Body::Closed { header, payload };
        }
        if batch.attempts == 0
            && let Some(queue) = self.queues.get_mut(partition)
        {
            batch.ordinal = queue.next_ordinal;
            queue.next_ordinal += 1;
        }
        let Body::Closed { header, payload } = &batch.body else {
            return Err((id, Error::Closed("batch")));
        };
        let mut header = *header;
        if self.settings.idempotent
            && let (None, Some(current)) = (batch.stamp, self.identity)
            && let Some(queue) = self.queues.get_mut(partition)
        {
            if queue.identity != Some(current) {
                // A new epoch begins at 0; nothing of the old one is left here (`sendable_at`).
                queue.identity = Some(current);
                queue.next_sequence = 0;
            }
            batch.stamp = Some((current, queue.next_sequence));
            queue.next_sequence = increment_sequence(queue.next_sequence, batch.count as i32);
        }
        if let Some((identity, sequence)) = batch.stamp {
            header.producer_id = identity.id;
            header.producer_epoch = identity.epoch;
            header.base_sequence = sequence;
            header.seal(payload);
        }
        let sealed = [&header.to_bytes()[..], payload].concat().into();
        batch.attempts += 1;
        Ok((batch, sealed))
    }

    /// A producer id was granted.
    pub fn identified(&mut self, id: i64, epoch: i16) {
        self.identifying = false;
        self.identity = Some(Identity { id, epoch });
        self.renumber();
    }

    /// No producer id was granted: asked for again, unless nobody will ever get one.
    pub fn not_identified(&mut self, error: Error) {
        self.identifying = false;
        if error.is_retriable() {
            return;
        }
        for partition in self.queues.keys().cloned().collect::<Vec<_>>() {
            while let Some(batch) = self.take_first(&partition) {
                self.complete(batch.id, batch.size, batch.count, Outcome::Failed(error.clone()));
            }
        }
    }

    /// A request was answered; a partition that the answer leaves out is sent again.
    pub fn answered(
        &mut self,
        now_ms: i64,
        request: u64,
        verdicts: &BTreeMap<TopicPartition, Verdict>,
    ) {
        let Some((_, partitions)) = self.requests.remove(&request) else { return };
        for partition in partitions {
            let missing = Verdict {
                code: ErrorCode::NETWORK_EXCEPTION,
                message: String::new(),
                base_offset: -1,
                log_append_time: -1,
            };
            let verdict = verdicts.get(&partition).unwrap_or(&missing);
            self.judge(now_ms, request, &partition, verdict);
        }
        self.renumber();
    }

    /// Nobody knows what became of a request.
    pub fn lost(&mut self, now_ms: i64, request: u64, error: &Error) {
        let Some((_, partitions)) = self.requests.remove(&request) else { return };
        for partition in partitions {
            if let Some(batch) = self.landed(request, &partition) {
                self.effects.push(Effect::Refresh(partition.topic.clone()));
                // An answer that can't be read doesn't say that nothing was written.
                let again = error.is_retriable() || matches!(error, Error::Protocol(_));
                match again {
                    true => self.again(now_ms, &partition, batch, error.clone()),
                    false => self.complete(
                        batch.id,
                        batch.size,
                        batch.count,
                        Outcome::Failed(error.clone()),
                    ),
                }
            }
        }
        self.renumber();
    }

    /// A request that is not answered (`acks=0`) is on its way.
    pub fn told(&mut self, request: u64) {
        let Some((_, partitions)) = self.requests.remove(&request) else { return };
        for partition in partitions {
            if let Some(batch) = self.landed(request, &partition) {
                let outcome = Outcome::Written { base_offset: None, log_append_time: None };
                self.complete(batch.id, batch.size, batch.count, outcome);
            }
        }
    }

    /// Takes a batch out of those in flight; `None` if it was given up meanwhile.
    fn landed(&mut self, request: u64, partition: &TopicPartition) -> Option<Batch> {
        let queue = self.queues.get_mut(partition)?;
        let at = queue.in_flight.iter().position(|(of, _)| *of == request)?;
        let (_, batch) = queue.in_flight.remove(at);
        (!batch.given_up).then_some(batch)
    }

    fn judge(&mut self, now_ms: i64, request: u64, partition: &TopicPartition, verdict: &Verdict) {
        let Some(batch) = self.landed(request, partition) else { return };
        let code = verdict.code;
        let written = code.is_none() || code == ErrorCode::DUPLICATE_SEQUENCE_NUMBER;
        if written {
            let outcome = Outcome::Written {
                base_offset: Some(verdict.base_offset).filter(|offset| *offset >= 0),
                log_append_time: Some(verdict.log_append_time).filter(|time| *time >= 0),
            };
            return self.complete(batch.id, batch.size, batch.count, outcome);
        }
        let error = Error::from(ApiError { code, message: verdict.message.clone() });
        let out_of_sequence = [
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            ErrorCode::UNKNOWN_PRODUCER_ID,
            ErrorCode::INVALID_PRODUCER_EPOCH,
        ];
        if self.settings.idempotent && out_of_sequence.contains(&code) {
            // Invariant I2: only the lowest without an answer proves that none was written; one
            // behind it may just wait for it.
            if let Some(queue) = self.queues.get_mut(partition) {
                let lower = queue.in_flight.iter().map(|(_, other)| other).chain(&queue.waiting);
                let lowest = !lower
                    .into_iter()
                    .any(|other| other.id < batch.id && other.stamp.is_some() && !other.given_up);
                queue.renumber |= lowest;
            }
            return self.again(now_ms, partition, batch, error);
        }
        if code == ErrorCode::MESSAGE_TOO_LARGE && batch.count > 1 {
            return match self.split(&batch) {
                Some(parts) => self.replace(partition, batch, parts),
                None => {
                    self.complete(batch.id, batch.size, batch.count, Outcome::Failed(error));
                }
            };
        }
        if code.refreshes_metadata() {
            self.effects.push(Effect::Refresh(partition.topic.clone()));
        }
        match code.is_retriable() {
            true => self.again(now_ms, partition, batch, error),
            false => self.complete(batch.id, batch.size, batch.count, Outcome::Failed(error)),
        }
    }

    /// Two batches of the records of one that is too large. They have the sequences that it had
    /// (I2), so that what was sent behind it still follows.
    fn split(&self, batch: &Batch) -> Option<[Batch; 2]> {
        let Body::Closed { header, payload } = &batch.body else { return None };
        let whole: Bytes = [&header.to_bytes()[..], payload].concat().into();
        // What this producer wrote itself.
        let mut records = RecordIter::open(&whole, usize::MAX).ok()?;
        let first_count = batch.count / 2;
        let mut part = |first: u32, count: u32| {
            let mut builder = self.builder();
            for _ in 0..count {
                let record = records.next()?.ok()?;
                let headers = record.headers.iter();
                let headers = headers
                    .map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value.as_deref())));
                let headers = headers.collect::<Option<Vec<_>>>()?;
                let (key, value) = (record.key.as_deref(), record.value.as_deref());
                builder.push(record.timestamp, key, value, &headers);
            }
            let stamp = batch
                .stamp
                .map(|(identity, sequence)| (identity, increment_sequence(sequence, first as i32)));
            Some(Batch {
                id: BatchId(batch.id.0, batch.id.1 + first),
                created_ms: batch.created_ms,
                size: 0,
                count,
                body: Body::Open(builder),
                stamp,
                ordinal: batch.ordinal,
                attempts: batch.attempts,
                not_before_ms: 0,
                given_up: false,
            })
        };
        let mut parts = [part(0, first_count)?, part(first_count, batch.count - first_count)?];
        // Their share; what matters is that it is given back (I4).
        parts[0].size = batch.size / 2;
        parts[1].size = batch.size - batch.size / 2;
        Some(parts)
    }

    /// Puts the parts of a batch into its place (I1).
    fn replace(&mut self, partition: &TopicPartition, batch: Batch, parts: [Batch; 2]) {
        let Some(queue) = self.queues.get_mut(partition) else { return };
        let at = queue.waiting.iter().position(|other| other.id > batch.id);
        let at = at.unwrap_or(queue.waiting.len());
        for part in parts.into_iter().rev() {
            queue.waiting.insert(at, part);
        }
        self.open += 1;
    }

    fn builder(&self) -> Box<BatchBuilder> {
        Box::new(BatchBuilder::new(BatchOptions {
            leader_epoch: -1,
            compression: self.settings.compression,
            level: self.settings.compression_level,
            ..Default::default()
        }))
    }

    /// Puts a batch back into its place (I1), or gives it up.
    fn again(&mut self, now_ms: i64, partition: &TopicPartition, mut batch: Batch, error: Error) {
        if batch.attempts > self.settings.retries {
            return self.complete(batch.id, batch.size, batch.count, Outcome::Failed(error));
        }
        let pause = self.settings.retry_backoff.after(batch.attempts);
        batch.not_before_ms = now_ms.saturating_add(pause.as_millis() as i64);
        if let Some(queue) = self.queues.get_mut(partition) {
            let at = queue.waiting.iter().position(|other| other.id > batch.id);
            queue.waiting.insert(at.unwrap_or(queue.waiting.len()), batch);
        }
    }

    /// Invariant I2: once nothing is in flight, what the broker refused starts over in a new
    /// epoch. One epoch serves all partitions that wait for it.
    fn renumber(&mut self) {
        let due = |queue: &Queue| queue.renumber && queue.in_flight.is_empty();
        if !self.queues.values().any(due) {
            return;
        }
        let Some(current) = self.identity else { return };
        let Some(epoch) = current.epoch.checked_add(1) else {
            // Epochs of this id are used up.
            self.identity = None;
            return;
        };
        let fresh = Identity { epoch, ..current };
        self.identity = Some(fresh);
        for queue in self.queues.values_mut().filter(|queue| due(queue)) {
            queue.renumber = false;
            queue.identity = Some(fresh);
            queue.next_sequence = 0;
            for batch in &mut queue.waiting {
                batch.stamp = None;
            }
        }
    }

    /// Gives up what is too old, in flight or not.
    fn expire(&mut self, now_ms: i64) {
        let after = self.settings.delivery_timeout_ms;
        let mut gone = Vec::new();
        for (partition, queue) in &mut self.queues {
            let late = |batch: &Batch| now_ms.saturating_sub(batch.created_ms) >= after;
            while let Some(batch) = queue.waiting.pop_front_if(|batch| late(batch)) {
                gone.push((partition.clone(), batch.id, batch.size, batch.count));
            }
            for (_, batch) in queue.in_flight.iter_mut() {
                if late(batch) && !batch.given_up {
                    batch.given_up = true;
                    gone.push((partition.clone(), batch.id, batch.size, batch.count));
                }
            }
        }
        gone.sort_by_key(|(_, id, ..)| *id);
        for (partition, id, size, count) in gone {
            let what = format!("delivery to {partition}");
            let after = std::time::Duration::from_millis(after.max(0) as u64);
            self.complete(id, size, count, Outcome::Failed(Error::Timeout { what, after }));
        }
    }

    /// Invariants I3 and I4.
    fn complete(&mut self, id: BatchId, size: usize, count: u32, outcome: Outcome) {
        self.buffered = self.buffered.saturating_sub(size);
        self.open = self.open.saturating_sub(1);
        self.pressed = false;
        self.effects.push(Effect::Complete(id, count, outcome));
    }
}

#[cfg(test)]
#[path = "accumulator/tests.rs"]
mod tests;
