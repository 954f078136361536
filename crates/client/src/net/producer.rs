//! The producer's shell: a task that carries out what the core decides.
//!
//! Invariants:
//! - I1: requests to a broker are begun in the order in which the core handed them out.
//! - I2: the core's lock is never held across an await.
//! - I3: whoever waits for a record or for room is told when the producer ends: nothing is taken in
//!   after `closed`.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use messages::{InitProducerIdRequest, ProduceRequest};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use wire::ErrorCode;

use super::client::How;
use super::connection::{Answer, Connection, Written};
use super::{Client, To, pause};
use crate::error::{ApiError, Error, Result};
use crate::producer::accumulator::{Append, Outgoing};
use crate::producer::partitioner::{Sticky, of_key};
use crate::producer::{
    Accumulator, BatchId, Effect, Outcome, Record, RecordMetadata, Settings, request,
};
use crate::topic_partition::TopicPartition;

/// Sends records. Cheap to clone; clones share buffers and order. What is not flushed when the
/// last one is dropped is lost: [`Producer::close`] it.
#[derive(Clone, Debug)]
pub struct Producer(Arc<Handle>);

/// Ends the task when the last producer is dropped.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.shut();
    }
}

#[derive(Debug)]
struct Shared {
    client: Client,
    core: Mutex<Core>,
    /// Something may be ready to send.
    wake: Notify,
    /// Batches were completed: there may be room, and a flush may be done.
    completed: Notify,
    started: Instant,
    lane: u32,
}

#[derive(Debug)]
struct Core {
    accumulator: Accumulator,
    sticky: Sticky,
    /// Who waits for a batch, by its number.
    waiting: BTreeMap<u64, Waiting>,
    /// Under the lock, so that nobody begins to wait afterwards (I3).
    closed: bool,
}

/// Who waits for the records of a batch, however many it is split into.
#[derive(Debug)]
struct Waiting {
    parts: watch::Sender<Vec<Part>>,
    records: u32,
    done: u32,
}

/// What became of some records of a batch.
#[derive(Clone, Debug)]
struct Part {
    first: u32,
    count: u32,
    outcome: Outcome,
}

impl Part {
    /// Where a record is in it, if it is.
    fn index(&self, of: u32) -> Option<u32> {
        of.checked_sub(self.first).filter(|index| *index < self.count)
    }
}

/// A record on its way; await it for what became of it. Dropping it does not recall the record.
#[derive(Debug)]
pub struct Delivery {
    parts: watch::Receiver<Vec<Part>>,
    index: u32,
    topic: String,
    partition: i32,
    timestamp: i64,
}

impl Delivery {
    async fn wait(mut self) -> Result<RecordMetadata> {
        let number = self.index;
        let of = |parts: &Vec<Part>| {
            parts.iter().find_map(|part| Some((part.index(number)?, part.outcome.clone())))
        };
        let found = match self.parts.wait_for(|parts| of(parts).is_some()).await {
            Ok(parts) => of(&parts),
            Err(_) => None,
        };
        match found {
            Some((index, Outcome::Written { base_offset, log_append_time })) => {
                Ok(RecordMetadata {
                    topic: self.topic,
                    partition: self.partition,
                    offset: base_offset.map(|base| base + i64::from(index)),
                    timestamp: log_append_time.unwrap_or(self.timestamp),
                })
            }
            Some((_, Outcome::Failed(error))) => Err(error),
            None => Err(Error::Closed("producer")),
        }
    }
}

impl IntoFuture for Delivery {
    type Output = Result<RecordMetadata>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}

impl Producer {
    /// A producer with the client's options.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(client: Client) -> Self {
        let options = client.options();
        let settings = Settings::new(&options.producer, options.retry_backoff);
        // The standard library's hasher is seeded by the system.
        let seed = RandomState::new().build_hasher().finish();
        let core = Core {
            accumulator: Accumulator::new(settings),
            sticky: Sticky::new(options.producer.batch_bytes, seed),
            waiting: BTreeMap::new(),
            closed: false,
        };
        let shared = Arc::new(Shared {
            lane: client.take_lane(),
            client,
            core: Mutex::new(core),
            wake: Notify::new(),
            completed: Notify::new(),
            started: Instant::now(),
        });
        tokio::spawn(Sender::new(shared.clone()).run());
        Self(Arc::new(Handle(shared)))
    }

    /// Sends a record and waits until it is acknowledged.
    ///
    /// Records of one task that awaits each go out in their order; to have many under way, use
    /// [`Self::enqueue`]. Cancelling before the first pending point has passed may or may not have
    /// sent the record.
    ///
    /// # Errors
    /// The broker's refusal, or that nobody took the record in time.
    pub async fn send(&self, record: Record) -> Result<RecordMetadata> {
        self.enqueue(record).await?.await
    }

    /// Takes a record into a batch, waiting for room if `buffer.memory` is used up, and returns
    /// what can be awaited for its acknowledgement. The order of calls is the order of records.
    ///
    /// # Errors
    /// A record that is too large, a topic that is not there, no room within `max.block.ms`.
    pub async fn enqueue(&self, mut record: Record) -> Result<Delivery> {
        let shared = &self.0.0;
        let options = &shared.client.options().producer;
        shared.lock().check_open()?;
        let size = record.size();
        if size > options.request_bytes_max {
            let most = options.request_bytes_max;
            let words = format!(
                "The message is {size} bytes when serialized which is larger than {most}, which \
                 is the value of the max.request.size configuration."
            );
            return Err(Error::Broker(ErrorCode::MESSAGE_TOO_LARGE, words));
        }
        let timestamp = record.timestamp.unwrap_or_else(wall_ms);
        record.timestamp = Some(timestamp);
        let deadline = Instant::now() + options.max_block;
        loop {
            let partitions = match shared.client.fresh(&record.topic) {
                Some(topic) => topic,
                None => shared.await_topic(&record.topic, deadline).await?,
            };
            let room = shared.completed.notified();
            let mut room = std::pin::pin!(room);
            // Registered before the look, so that no completion in between is missed.
            room.as_mut().enable();
            if let Some(delivery) = shared.take(&record, timestamp, &partitions)? {
                return Ok(delivery);
            }
            shared.wake.notify_one();
            let left = deadline.saturating_duration_since(Instant::now());
            if timeout(left, room).await.is_err() && !shared.lock().accumulator.has_room(size) {
                let what = "room in buffer.memory".to_owned();
                return Err(Error::Timeout { what, after: options.max_block });
            }
        }
    }

    /// Sends what lingers, and waits until everything that was enqueued before is acknowledged or
    /// given up.
    ///
    /// # Errors
    /// The producer is closed meanwhile.
    pub async fn flush(&self) -> Result<()> {
        let shared = &self.0.0;
        let upto = shared.lock().accumulator.flush();
        shared.wake.notify_one();
        loop {
            let completed = shared.completed.notified();
            let mut completed = std::pin::pin!(completed);
            completed.as_mut().enable();
            {
                let core = shared.lock();
                if core.accumulator.oldest_open() >= upto {
                    return Ok(());
                }
                core.check_open()?;
            }
            completed.await;
        }
    }

    /// Flushes and ends the producer, and every clone of it.
    ///
    /// # Errors
    /// It was closed before.
    pub async fn close(self) -> Result<()> {
        let flushed = self.flush().await;
        self.0.0.shut();
        flushed
    }
}

impl Core {
    fn complete(&mut self, batch: BatchId, count: u32, outcome: Outcome) {
        let Some(waiting) = self.waiting.get_mut(&batch.0) else { return };
        waiting.parts.send_modify(|parts| parts.push(Part { first: batch.1, count, outcome }));
        waiting.done += count;
        if waiting.done >= waiting.records {
            self.waiting.remove(&batch.0);
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.closed { Err(Error::Closed("producer")) } else { Ok(()) }
    }
}

impl Shared {
    /// Invariant I3. Ends the task, too.
    fn shut(&self) {
        let mut core = self.lock();
        core.closed = true;
        // Whoever still waits is told by the end of the channels.
        core.waiting.clear();
        drop(core);
        self.completed.notify_waiters();
        self.wake.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Core> {
        // Nothing panics while it holds this; and if it did, the data is whole.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        self.started.elapsed().as_millis() as i64
    }

    /// Metadata of a topic, waited for: it may be in the making.
    async fn await_topic(
        &self,
        topic: &str,
        deadline: Instant,
    ) -> Result<Arc<crate::metadata::Topic>> {
        let options = self.client.options();
        let mut failures = 0;
        loop {
            self.lock().check_open()?;
            let error = match self.client.topic(topic, true).await {
                Ok(topic) if !topic.partitions.is_empty() => return Ok(topic),
                Ok(_) => ApiError::of(ErrorCode::LEADER_NOT_AVAILABLE).into(),
                Err(error) => error,
            };
            failures += 1;
            let wait = options.retry_backoff.after(failures);
            if !error.is_retriable() {
                return Err(error);
            }
            if Instant::now() + wait >= deadline {
                let what = format!("metadata of topic {topic}: {error}");
                return Err(Error::Timeout { what, after: options.producer.max_block });
            }
            pause(wait).await;
        }
    }

    /// Puts a record into its batch; `None` if there is no room now.
    fn take(
        &self,
        record: &Record,
        timestamp: i64,
        topic: &crate::metadata::Topic,
    ) -> Result<Option<Delivery>> {
        let ignore_keys = self.client.options().producer.ignore_keys;
        let mut core = self.lock();
        core.check_open()?;
        let count = topic.partitions.len() as i32;
        let key = record.key.as_deref().filter(|_| !ignore_keys);
        let partition = match (record.partition, key) {
            (Some(partition), _) if (0..count).contains(&partition) => partition,
            (Some(partition), _) => {
                return Err(Error::Config(format!(
                    "Invalid partition given with record: {partition} is not in the range \
                     [0...{count})."
                )));
            }
            (None, Some(key)) => of_key(key, count),
            (None, None) => {
                let led = topic.partitions.iter().filter(|one| one.leader.is_some());
                let mut usable: Vec<i32> = led.map(|one| one.index).collect();
                if usable.is_empty() {
                    usable = topic.partitions.iter().map(|one| one.index).collect();
                }
                core.sticky.partition(&record.topic, &usable).unwrap_or_default()
            }
        };
        let to = TopicPartition::new(record.topic.clone(), partition);
        let stamped;
        let record = match record.timestamp {
            Some(_) => record,
            None => {
                stamped = Record { timestamp: Some(timestamp), ..record.clone() };
                &stamped
            }
        };
        match core.accumulator.append(self.now_ms(), &to, record) {
            Append::Full => Ok(None),
            Append::Taken { batch, index, wake } => {
                if record.partition.is_none() && key.is_none() {
                    core.sticky.count(&record.topic, record.size());
                }
                let waiting = core.waiting.entry(batch.0).or_insert_with(|| Waiting {
                    parts: watch::channel(Vec::new()).0,
                    records: 0,
                    done: 0,
                });
                waiting.records = index + 1;
                let parts = waiting.parts.subscribe();
                drop(core);
                if wake {
                    self.wake.notify_one();
                }
                let topic = record.topic.clone();
                Ok(Some(Delivery { parts, index, topic, partition, timestamp }))
            }
        }
    }
}

/// What the task is told.
enum Report {
    Connected(i32, Result<Connection>),
    Answered(u64, Result<messages::ProduceResponse>),
    /// Written, of a request that is not answered.
    Told(u64, Result<()>),
    Identified(Result<(i64, i16)>),
    Refreshed,
}

/// A request under way.
enum Begun {
    Told(Written),
    Asked(Answer, i16),
}

/// Tells everybody when the task ends.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.shut();
        self.0.client.close_lane(self.0.lane);
    }
}

struct Sender {
    shared: Arc<Shared>,
    reports: mpsc::UnboundedReceiver<Report>,
    report: mpsc::UnboundedSender<Report>,
    connections: BTreeMap<i32, Connection>,
    connecting: BTreeSet<i32>,
    /// Brokers that could not be connected to: how often in a row, and until when they are left
    /// alone.
    resting: BTreeMap<i32, (u32, i64)>,
    refreshing: bool,
    wanted: BTreeSet<String>,
}

impl Sender {
    fn new(shared: Arc<Shared>) -> Self {
        let (report, reports) = mpsc::unbounded_channel();
        Self {
            shared,
            reports,
            report,
            connections: BTreeMap::new(),
            connecting: BTreeSet::new(),
            resting: BTreeMap::new(),
            refreshing: false,
            wanted: BTreeSet::new(),
        }
    }

    async fn run(mut self) {
        // However this ends, by a panic or with the runtime.
        let _end = End(self.shared.clone());
        while !self.shared.lock().closed {
            let wait = self.step();
            let shared = self.shared.clone();
            tokio::select! {
                () = shared.wake.notified() => {}
                Some(report) = self.reports.recv() => {
                    self.take_report(report);
                    while let Ok(report) = self.reports.try_recv() {
                        self.take_report(report);
                    }
                }
                () = pause(wait) => {}
            }
        }
    }

    /// Sends what can be sent; how long until there may be more.
    fn step(&mut self) -> Duration {
        let now = self.shared.now_ms();
        let client = self.shared.client.clone();
        let leader = |to: &TopicPartition| {
            client.metadata(|known| known.leader(&to.topic, to.partition)).map(|(id, _)| id)
        };
        let (brokers, next) = self.shared.lock().accumulator.ready(now, leader);
        for broker in brokers {
            let Some(connection) = self.connection(broker) else { continue };
            loop {
                let out = self.shared.lock().accumulator.drain(now, broker, leader);
                let Some(out) = out else { break };
                self.begin(&connection, out);
            }
        }
        self.carry_out();
        let rested = self.resting.values().map(|(_, until)| *until).filter(|until| *until > now);
        let next = rested.chain(next).min();
        let next = next.map_or(IDLE_MS, |next| (next - self.shared.now_ms()).clamp(0, IDLE_MS));
        Duration::from_millis(next as u64)
    }

    /// A live connection, or none yet.
    fn connection(&mut self, broker: i32) -> Option<Connection> {
        if let Some(open) = self.connections.get(&broker).filter(|open| !open.is_dead()) {
            return Some(open.clone());
        }
        self.connections.remove(&broker);
        if self.resting.get(&broker).is_some_and(|(_, until)| *until > self.shared.now_ms()) {
            return None;
        }
        if self.connecting.insert(broker) {
            let (shared, report) = (self.shared.clone(), self.report.clone());
            tokio::spawn(async move {
                let opened = shared.client.connection(&To::Broker(broker), shared.lane).await;
                let _ = report.send(Report::Connected(broker, opened));
            });
        }
        None
    }

    /// Invariant I1: nothing is awaited between the core's word and the connection's queue.
    fn begin(&mut self, connection: &Connection, out: Outgoing) {
        let options = self.shared.client.options();
        let patience = options.request_timeout;
        let timeout_ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        let number = out.request;
        let acks = options.producer.acks;
        let composed = request::compose(acks, timeout_ms, out.batches);
        let version = connection.version(messages::ApiKey::Produce);
        let version = version.map(|version| version.min(request::VERSION_MAX));
        let begun = version.and_then(|version| {
            if acks == 0 {
                return Ok(Begun::Told(connection.tell(&composed, version)?));
            }
            Ok(Begun::Asked(connection.begin(&composed, version)?, version))
        });
        match begun {
            Ok(Begun::Told(written)) => {
                let report = self.report.clone();
                tokio::spawn(async move {
                    let _ = report.send(Report::Told(number, written.done(patience).await));
                });
            }
            Ok(Begun::Asked(answer, version)) => {
                let report = self.report.clone();
                tokio::spawn(async move {
                    // A little more than the broker was told: its words are better than ours.
                    let patience = patience + ANSWER_GRACE;
                    let answered = answer.response::<ProduceRequest>(version, patience).await;
                    let _ = report.send(Report::Answered(number, answered));
                });
            }
            Err(error) => {
                let now = self.shared.now_ms();
                self.shared.lock().accumulator.lost(now, number, &error);
            }
        }
    }

    fn take_report(&mut self, report: Report) {
        let now = self.shared.now_ms();
        match report {
            Report::Connected(broker, opened) => {
                self.connecting.remove(&broker);
                match opened {
                    Ok(connection) => {
                        self.resting.remove(&broker);
                        self.connections.insert(broker, connection);
                    }
                    Err(_) => {
                        let (failures, until) = self.resting.entry(broker).or_default();
                        *failures = failures.saturating_add(1);
                        let pause = self.shared.client.options().reconnect_backoff.after(*failures);
                        *until = now.saturating_add((pause.as_millis() as i64).max(1));
                        // The leader may be another by now.
                        self.want_all();
                    }
                }
            }
            Report::Answered(number, Ok(response)) => {
                let (verdicts, moved) = request::read(response);
                self.shared.client.metadata_mut(|known| {
                    for (to, leader, epoch) in moved {
                        known.leader_moved(&to.topic, to.partition, leader, epoch);
                    }
                });
                self.shared.lock().accumulator.answered(now, number, &verdicts);
            }
            Report::Told(number, Ok(())) => self.shared.lock().accumulator.told(number),
            Report::Answered(number, Err(error)) | Report::Told(number, Err(error)) => {
                self.shared.lock().accumulator.lost(now, number, &error);
            }
            Report::Identified(Ok((id, epoch))) => {
                self.shared.lock().accumulator.identified(id, epoch);
            }
            Report::Identified(Err(error)) => {
                self.shared.lock().accumulator.not_identified(error);
            }
            Report::Refreshed => self.refreshing = false,
        }
        self.carry_out();
    }

    fn want_all(&mut self) {
        let known = self
            .shared
            .client
            .metadata(|known| known.topics().map(|topic| topic.name.clone()).collect::<Vec<_>>());
        self.wanted.extend(known);
        self.refresh();
    }

    /// Carries out what the core wants done.
    fn carry_out(&mut self) {
        let mut completed = false;
        loop {
            let mut core = self.shared.lock();
            let effects = core.accumulator.take_effects();
            if effects.is_empty() {
                break;
            }
            let mut identify = false;
            for effect in effects {
                match effect {
                    Effect::Complete(batch, count, outcome) => {
                        completed = true;
                        core.complete(batch, count, outcome);
                    }
                    Effect::Refresh(topic) => drop(self.wanted.insert(topic)),
                    Effect::Identify => identify = true,
                }
            }
            drop(core);
            if identify {
                self.identify();
            }
        }
        self.refresh();
        if completed {
            self.shared.completed.notify_waiters();
        }
    }

    fn identify(&self) {
        let (shared, report) = (self.shared.clone(), self.report.clone());
        tokio::spawn(async move {
            let request = InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: i32::MAX,
                ..Default::default()
            };
            let how = How { lane: shared.lane, ..How::default() };
            let shape = |_| Ok(&request);
            let answer = shared
                .client
                .call_how::<InitProducerIdRequest, _>(&To::Any, how, shape)
                .await
                .and_then(|answer| {
                    ApiError::check(answer.error_code, None)?;
                    Ok((answer.producer_id, answer.producer_epoch))
                });
            if answer.is_err() {
                pause(shared.client.options().retry_backoff.after(2)).await;
            }
            let _ = report.send(Report::Identified(answer));
        });
    }

    /// One refresh at a time, with a pause between two.
    fn refresh(&mut self) {
        if self.refreshing || self.wanted.is_empty() {
            return;
        }
        self.refreshing = true;
        let topics = std::mem::take(&mut self.wanted).into_iter().collect();
        let (shared, report) = (self.shared.clone(), self.report.clone());
        tokio::spawn(async move {
            let _ = shared.client.refresh(Some(topics), true).await;
            pause(shared.client.options().retry_backoff.after(1)).await;
            let _ = report.send(Report::Refreshed);
        });
    }
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// The longest sleep.
const IDLE_MS: i64 = 60_000;
/// How much longer than `request.timeout.ms` an answer is waited for.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
