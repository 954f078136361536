//! The node: everything one broker with its own controller knows, and how events change it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use config::Layers;
use messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use messages::{CreateTopicsRequest, CreateTopicsResponse, ProduceResponse, RegisterBrokerRecord};
use metadata::controller::{self, Defaults};
use metadata::image::{METADATA_VERSION_MAX, METADATA_VERSION_MIN};
use metadata::{Image, Record};
use ottla_log::disk::{Completion, FileIds, Submission};
use ottla_log::planted::{self, Bug};
use ottla_log::{AppendError, AppendInfo, Inspected};
use wire::{ErrorCode, Uuid};

use crate::api::{fetch, init_producer_id};
use crate::apply::Removals;
use crate::cleaner::Cleaner;
use crate::event::{Call, ConnId, Effect, Event, Lane, ListenerId, Now};
use crate::full::Full;
use crate::groups::{self, Groups};
use crate::key_filters::{KeyFilters, KeyReads};
use crate::metadata_log::{MetadataLog, OnCommit};
use crate::metrics::Counters;
use crate::partition::{Partition, validate_config};
use crate::progress::Holds;
use crate::reply::{Body, Encode, Reply};
use crate::rng::Rng;
use crate::scrubber::Scrubber;
use crate::session::{Scope, Sessions, Wants};
use crate::upkeep::Upkeep;

/// A directory that holds logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// Its own id (KIP-858).
    pub id: Uuid,
    /// Where it is.
    pub path: PathBuf,
}

/// A listener that clients come in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in upper case, `PLAINTEXT` or one of the operator's.
    pub name: String,
    /// The host and port that its clients are told to connect to; a listener that is not advertised
    /// leads to no broker.
    pub advertised: Option<(String, u16)>,
}

impl Listener {
    /// The only listener of a node of its own.
    pub fn plaintext(host: &str, port: u16) -> Self {
        Self { name: "PLAINTEXT".to_owned(), advertised: Some((host.to_owned(), port)) }
    }
}

/// What a node is told once.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `node.id`.
    pub node_id: i32,
    /// `cluster.id` of its directories.
    pub cluster_id: String,
    /// `log.dirs`, at least one.
    pub log_dirs: Vec<LogDir>,
    /// `metadata.log.dir`, one of `log_dirs` or another one.
    pub metadata_dir: LogDir,
    /// Where clients come in; a [`ListenerId`] is a place in this list.
    pub listeners: Vec<Listener>,
    /// The controller listener, if there is one: name, host, port.
    pub controller: Option<(String, String, u16)>,
    /// The operator's file and command line: broker keys, checked.
    pub file: BTreeMap<String, String>,
    /// `max.incremental.fetch.session.cache.slots`.
    pub session_slots: usize,
}

/// A produce whose batches are appended but not all durable.
#[derive(Debug)]
pub struct PendingProduce {
    /// What to answer.
    pub call: Call,
    /// With what, once durable.
    pub response: ProduceResponse,
    /// Batches still waited for.
    pub outstanding: usize,
    /// When to give up, on the steady clock.
    pub deadline_ms: i64,
}

/// A fetch that found too little.
#[derive(Debug)]
pub struct PendingFetch {
    /// What to answer.
    pub call: Call,
    /// Its session.
    pub scope: Scope,
    /// What it asks for.
    pub wants: Wants,
    /// Only what committed transactions wrote.
    pub read_committed: bool,
    /// It waits for so many bytes.
    pub min_bytes: usize,
    /// It takes so many.
    pub max_bytes: usize,
    /// When to answer with what there is, on the steady clock.
    pub deadline_ms: i64,
}

#[derive(Debug)]
enum Waiting {
    /// With the batches it waits for: lane, offset, place in the response.
    Produce(PendingProduce, Vec<(Lane, i64, (usize, usize))>),
    Fetch(PendingFetch, Vec<Lane>),
}

/// One broker with its own controller.
#[derive(Debug)]
pub struct Node {
    /// What it was told.
    pub config: NodeConfig,
    /// The committed metadata.
    pub image: Image,
    /// The metadata with what is written but not committed: what the controller decides by.
    pub(crate) ahead: Image,
    /// Where metadata is written.
    pub metadata: MetadataLog,
    /// The partitions it leads.
    pub partitions: BTreeMap<Lane, Box<Partition>>,
    pub(crate) lanes: BTreeMap<Uuid, Vec<Option<Lane>>>,
    next_lane: u64,
    /// What it is configured with, running changes included.
    pub layers: Layers,
    /// `fetch.max.bytes`, which every fetch asks for.
    pub fetch_max_bytes: usize,
    /// The level of each logger: there is one, of everything.
    pub log_levels: BTreeMap<String, String>,
    /// Partitions on their way out of the file system.
    pub(crate) removals: Removals,
    /// What it counted since it started.
    pub counters: Counters,
    /// Fetch sessions.
    pub sessions: Sessions,
    /// Groups whose coordinator this node is.
    pub groups: Groups,
    /// Ids and session numbers.
    pub rng: Rng,
    pub(crate) files: FileIds,
    broker_epoch: i64,
    pub(crate) producer_ids: std::ops::Range<i64>,
    pub(crate) id_waiters: VecDeque<Call>,
    waiting: BTreeMap<u64, Waiting>,
    deadlines: BTreeSet<(i64, u64)>,
    next_waiting: u64,
    pub(crate) upkeep: Upkeep,
    /// What is kept beyond its retention for groups that have not read it.
    pub holds: Holds,
    pub(crate) cleaner: Cleaner,
    pub(crate) full: Full,
    pub(crate) scrubber: Scrubber,
    pub(crate) key_filters: KeyFilters,
    /// What readers of single keys were spared.
    pub key_reads: Arc<KeyReads>,
    halted: bool,
    /// Nothing is loaded before the node serves: clients are told that it is under way.
    pub(crate) starting: bool,
}

/// A partition without a leader says this.
const NO_LEADER: i32 = -1;
/// The metadata log's lane.
pub const METADATA_LANE: Lane = Lane(0);
/// The lane of checkpoint files.
pub const CHECKPOINT_LANE: Lane = Lane(1);
/// The lane of snapshots of the metadata.
pub const SNAPSHOT_LANE: Lane = Lane(2);
/// The lane in which directories of deleted partitions go.
pub const TRASH_LANE: Lane = Lane(3);
/// Partitions have the lanes from here on.
const FIRST_LANE: u64 = 16;

impl Node {
    /// A node over its opened metadata log; its partitions are added one by one.
    pub fn new(
        config: NodeConfig,
        image: Image,
        metadata: MetadataLog,
        rng: Rng,
        files: FileIds,
    ) -> Self {
        let layers = Layers { file: config.file.clone(), ..Layers::default() };
        let mut node = Self {
            sessions: Sessions::new(config.session_slots),
            groups: Groups::new(groups::config(&layers)),
            layers,
            ahead: image.clone(),
            image,
            metadata,
            partitions: BTreeMap::new(),
            lanes: BTreeMap::new(),
            next_lane: FIRST_LANE,
            fetch_max_bytes: 0,
            log_levels: BTreeMap::from([("root".to_owned(), "INFO".to_owned())]),
            removals: Removals::default(),
            counters: Counters::default(),
            rng,
            files,
            broker_epoch: -1,
            producer_ids: 0..0,
            id_waiters: VecDeque::new(),
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_waiting: 0,
            upkeep: Upkeep::default(),
            holds: Holds::default(),
            cleaner: Cleaner::default(),
            full: Full::default(),
            scrubber: Scrubber::default(),
            key_filters: KeyFilters::default(),
            key_reads: Arc::default(),
            halted: false,
            starting: true,
            config,
        };
        node.read_layers();
        node
    }

    /// A number the operator may have set, by its key in the table of broker keys.
    pub fn setting(&self, key: &str) -> i64 {
        self.layers.get(key).and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    }

    /// True if the operator wants it, or did not say and it is the default.
    pub fn flag(&self, key: &str) -> bool {
        self.layers.get(key).and_then(config::value::parse_bool).unwrap_or_default()
    }

    /// Takes one event.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        // Nothing may follow from what can't be trusted any more.
        if self.halted {
            return;
        }
        let before = out.len();
        match event {
            Event::Requested { call, handler } => handler(self, call, now, out),
            Event::Connected(conn, host) => self.groups.connected(conn, host),
            Event::Disconnected(conn) => self.disconnect(conn),
            Event::Completed(lane, completions) => self.complete(lane, completions, now, out),
            Event::Loaded(lane, load, read) => groups::loaded(self, lane, load, read, now, out),
            Event::Cleaned(lane, news) => self.cleaned(lane, news, now, out),
            Event::Measured(dir, space) => self.measured(dir, space, now, out),
            Event::Reopened(lane, reopened) => self.reopened(lane, reopened, now, out),
            Event::Scrubbed(lane, news) => self.scrubbed(lane, news, now, out),
            Event::Damaged(all) => self.damaged(all, out),
            Event::KeyFilterBuilt(lane, built) => self.key_filter_built(lane, *built, now, out),
            Event::Ticked => {}
            Event::Stopping => {
                self.cleaner.stop();
                self.scrubber.stop();
                self.key_filters.stop();
                self.answer_fetches(out);
                groups::stop(self, now, out);
            }
        }
        self.expire(now, out);
        self.keep_up(now, out);
        self.unstall(now, out);
        if !self.starting {
            self.clean(now, out);
            self.scrub(now, out);
            self.build_key_filters(now, out);
            groups::tick(self, now, out);
        }
        let mut followed = out.iter().skip(before);
        self.halted = followed.any(|effect| matches!(effect, Effect::Halt(_)));
    }

    /// When the next [`Event::Ticked`] is due, on the steady clock.
    pub fn next_deadline_ms(&self) -> i64 {
        let waiting = self.deadlines.first().map_or(i64::MAX, |(deadline, _)| *deadline);
        let own = waiting.min(self.upkeep.next_ms()).min(self.removals.next_ms());
        let own = own.min(self.full.next_ms()).min(self.groups.next_deadline_ms());
        let background = self.cleaner.next_ms().min(self.key_filters.next_ms());
        own.min(background).min(self.scrubber.next_ms())
    }

    /// Answers with a message.
    pub fn answer<M: Encode + 'static>(&self, call: Call, message: M, out: &mut Vec<Effect>) {
        self.answer_with(call, Body::Message(Box::new(message)), out);
    }

    /// Answers with any body.
    pub fn answer_with(&self, call: Call, body: Body, out: &mut Vec<Effect>) {
        out.push(Effect::Reply(Reply { call, body }));
    }

    /// Where clients of that listener reach a broker; `None` if it has no such listener.
    pub fn endpoint<'a>(
        &self,
        broker: &'a RegisterBrokerRecord,
        listener: ListenerId,
    ) -> Option<&'a BrokerEndpoint> {
        let listener = self.config.listeners.get(usize::from(listener.0))?;
        broker.end_points.iter().find(|endpoint| endpoint.name == listener.name)
    }

    /// What a client of that listener is told about a partition's leader: its id, and what is wrong
    /// with it. `names_listeners` is true for requests that know the error of a missing listener.
    pub fn leader_for(
        &self,
        leader: i32,
        listener: ListenerId,
        names_listeners: bool,
    ) -> (i32, ErrorCode) {
        match self.image.brokers.get(&leader) {
            Some(broker) if self.endpoint(&broker.registration, listener).is_some() => {
                (leader, ErrorCode::NONE)
            }
            Some(_) if names_listeners => (NO_LEADER, ErrorCode::LISTENER_NOT_FOUND),
            _ => (NO_LEADER, ErrorCode::LEADER_NOT_AVAILABLE),
        }
    }

    /// The lane of a partition this node leads, by the topic's name.
    pub fn lane(&self, topic: &str, index: i32) -> Option<Lane> {
        self.lane_by_id(*self.image.topic_ids.get(topic)?, index)
    }

    /// The lane of a partition this node leads, by the topic's id.
    pub fn lane_by_id(&self, topic: Uuid, index: i32) -> Option<Lane> {
        *self.lanes.get(&topic)?.get(usize::try_from(index).ok()?)?
    }

    /// A partition this node leads.
    pub fn partition(&self, topic: &str, index: i32) -> Option<&Partition> {
        self.partitions.get(&self.lane(topic, index)?).map(|partition| &**partition)
    }

    /// Decides which records a CreateTopics request leads to; nothing is written yet.
    pub fn decide_create_topics(
        &mut self,
        request: &CreateTopicsRequest,
    ) -> (Vec<Record>, CreateTopicsResponse) {
        let defaults = Defaults {
            partitions: self.setting("num.partitions") as i32,
            replication_factor: i16::try_from(self.setting("default.replication.factor"))
                .unwrap_or(-1),
        };
        let (mut records, response) =
            controller::create_topics(&self.ahead, request, &defaults, &self.layers, &mut self.rng);
        controller::assign_directories(&self.ahead, &mut records);
        (records, response)
    }

    /// The metadata with what is written but not committed: what decisions are made by.
    pub fn ahead(&self) -> &Image {
        &self.ahead
    }

    /// Writes what a request led to and answers it when that is committed; at once if it led to
    /// nothing.
    pub fn write_and_answer<M: Encode + 'static>(
        &mut self,
        call: Call,
        records: Vec<Record>,
        response: M,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if records.is_empty() {
            self.answer(call, response, out);
            return;
        }
        let then = OnCommit::Answer(call, Body::Message(Box::new(response)));
        self.write_metadata(records, then, now, out);
    }

    /// Writes metadata records; `then` is done when they are committed.
    pub fn write_metadata(
        &mut self,
        records: Vec<Record>,
        then: OnCommit,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let level = match self.ahead.features.is_empty() {
            true => controller::metadata_version(&records),
            false => self.ahead.metadata_version(),
        };
        for record in &records {
            if let Err(contradiction) = self.ahead.replay(record) {
                out.push(Effect::Halt(contradiction.to_string()));
                return;
            }
        }
        let mut submissions = Vec::new();
        let appended = self.metadata.append(
            records,
            level,
            then,
            now.wall_ms,
            &mut self.files,
            &mut submissions,
        );
        if let Err(reason) = appended {
            out.push(Effect::Halt(format!("__cluster_metadata-0: {reason}")));
        }
        // So that topics can be deleted on a full disk.
        self.metadata.log.reserve(METADATA_RESERVE, &mut submissions);
        submit(METADATA_LANE, submissions, out);
    }

    /// Registers this node with its own controller and lets it lead what it can.
    pub fn register(&mut self, now: Now, out: &mut Vec<Effect>) {
        use messages::register_controller_record::{ControllerEndpoint, ControllerFeature};
        let incarnation_id = controller::IdSource::next_id(&mut self.rng);
        let (name, first, last) = ("metadata.version", METADATA_VERSION_MIN, METADATA_VERSION_MAX);
        if self.ahead.metadata_version() >= CONTROLLERS_REGISTER {
            let feature = ControllerFeature {
                name: name.into(),
                min_supported_version: first,
                max_supported_version: last,
                ..Default::default()
            };
            let endpoint =
                self.config.controller.iter().map(|(name, host, port)| ControllerEndpoint {
                    name: name.clone(),
                    host: host.clone(),
                    port: *port,
                    ..Default::default()
                });
            let registration = messages::RegisterControllerRecord {
                controller_id: self.config.node_id,
                incarnation_id: controller::IdSource::next_id(&mut self.rng),
                end_points: endpoint.collect(),
                features: vec![feature],
                ..Default::default()
            };
            let records = vec![Record::RegisterController(registration)];
            self.write_metadata(records, OnCommit::Nothing, now, out);
        }
        self.broker_epoch = self.metadata.next_offset();
        let feature = BrokerFeature {
            name: name.into(),
            min_supported_version: first,
            max_supported_version: last,
            ..Default::default()
        };
        let mut log_dirs: Vec<Uuid> = self.config.log_dirs.iter().map(|dir| dir.id).collect();
        log_dirs.sort_unstable();
        let endpoints = self.config.listeners.iter().filter_map(|listener| {
            let (host, port) = listener.advertised.clone()?;
            let name = listener.name.clone();
            Some(BrokerEndpoint { name, host, port, ..Default::default() })
        });
        let registration = RegisterBrokerRecord {
            broker_id: self.config.node_id,
            incarnation_id,
            broker_epoch: self.broker_epoch,
            end_points: endpoints.collect(),
            features: vec![feature],
            rack: self.layers.get("broker.rack").map(str::to_owned),
            fenced: true,
            log_dirs,
            ..Default::default()
        };
        let records = controller::register(registration).to_vec();
        self.write_metadata(records, OnCommit::Nothing, now, out);
        // One batch may hold so many; a crash between two of them leaves the rest for next time.
        let elected = controller::elect_leaders(&self.ahead, self.config.node_id);
        for some in elected.chunks(ELECTED_AT_ONCE) {
            self.write_metadata(some.to_vec(), OnCommit::Nothing, now, out);
        }
    }

    /// The epoch of this node's registration.
    pub fn broker_epoch(&self) -> i64 {
        self.broker_epoch
    }

    /// Answers with a fresh producer id, at once or when a block of them is committed.
    pub fn give_producer_id(&mut self, call: Call, now: Now, out: &mut Vec<Effect>) {
        if let Some(id) = self.producer_ids.next() {
            self.answer(call, init_producer_id::granted(id), out);
            return;
        }
        self.id_waiters.push_back(call);
        if self.id_waiters.len() > 1 {
            return;
        }
        let (record, first) =
            controller::allocate_producer_ids(&self.ahead, self.config.node_id, self.broker_epoch);
        if planted::is(Bug::IdsBeforeDurable) {
            self.producer_ids = first..first + controller::PRODUCER_ID_BLOCK;
            self.write_metadata(vec![record], OnCommit::Nothing, now, out);
            for call in std::mem::take(&mut self.id_waiters) {
                self.give_producer_id(call, now, out);
            }
            return;
        }
        self.write_metadata(vec![record], OnCommit::ProducerIds(first), now, out);
    }

    /// Adds a partition whose log is open.
    pub fn add_partition(&mut self, partition: Partition, now: Now) -> Lane {
        let lane = Lane(self.next_lane);
        self.next_lane += 1;
        let lanes = self.lanes.entry(partition.topic_id).or_default();
        let index = partition.index as usize;
        if lanes.len() <= index {
            lanes.resize(index + 1, None);
        }
        lanes[index] = Some(lane);
        self.groups.added(&partition, lane);
        let mut partition = Box::new(partition);
        self.upkeep.wake(lane, &mut partition, now);
        self.partitions.insert(lane, partition);
        lane
    }

    /// Appends a produced batch: what it became, and the offset the answer waits for.
    ///
    /// # Errors
    /// The protocol's error, with a message where there is more to say.
    pub fn append(
        &mut self,
        lane: Lane,
        records: Inspected,
        acks: i16,
        zstd_allowed: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(AppendInfo, i64), (ErrorCode, Option<String>)> {
        let appended = self.append_to(lane, records, acks, zstd_allowed, now, out);
        self.counters.appended(appended.as_ref().err().map(|(code, _)| *code));
        appended
    }

    fn append_to(
        &mut self,
        lane: Lane,
        records: Inspected,
        acks: i16,
        zstd_allowed: bool,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(AppendInfo, i64), (ErrorCode, Option<String>)> {
        let partition =
            self.partitions.get_mut(&lane).ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None))?;
        if partition.offline || self.full.is_full(partition.log.path().parent()) {
            return Err((ErrorCode::KAFKA_STORAGE_ERROR, None));
        }
        // One replica in sync is all a single node has.
        if acks == -1 && partition.config.min_insync_replicas > 1 {
            return Err((ErrorCode::NOT_ENOUGH_REPLICAS, None));
        }
        // Apache Kafka, too, has words only for records that break a rule of their topic.
        let refused = |error: AppendError| {
            let of_record =
                matches!(error, AppendError::KeyMissing | AppendError::InvalidTimestamp(_));
            (ErrorCode(error.code()), of_record.then(|| error.to_string()))
        };
        let rules = validate_config(&partition.config, zstd_allowed, now.wall_ms);
        let validated = ottla_log::validate(records, &rules).map_err(refused)?;
        if validated.header().is_transactional() {
            // No transaction can be open before transactions are built.
            return Err((ErrorCode::INVALID_TXN_STATE, None));
        }
        let bytes = validated.header().size_in_bytes() as u64;
        let mut submissions = Vec::new();
        let info = partition
            .log
            .append_as_leader(
                now.wall_ms,
                validated,
                partition.leader_epoch,
                &mut self.files,
                &mut submissions,
            )
            .map_err(refused)?;
        submit(lane, submissions, out);
        if !info.duplicate {
            let messages = (info.last_offset - info.first_offset + 1).max(0) as u64;
            for traffic in [&mut partition.traffic, &mut self.counters.traffic] {
                traffic.messages_in += messages;
                traffic.bytes_in += bytes;
            }
        }
        let wait_for = info.last_offset + 1;
        Ok((info, wait_for))
    }

    /// Answers a produce when all its batches are far enough.
    pub fn wait_for_produce(
        &mut self,
        mut pending: PendingProduce,
        waits: Vec<(Lane, i64, (usize, usize))>,
        out: &mut Vec<Effect>,
    ) {
        let id = self.next_waiting;
        let mut open = Vec::new();
        for (lane, offset, place) in waits {
            let Some(partition) = self.partitions.get_mut(&lane) else { continue };
            if partition.high_watermark >= offset || planted::is(Bug::AckBeforeDurable) {
                continue;
            }
            let at = partition.produces.partition_point(|(other, _)| *other <= offset);
            partition.produces.insert(at, (offset, id));
            open.push((lane, offset, place));
        }
        if open.is_empty() {
            self.answer(pending.call, pending.response, out);
            return;
        }
        pending.outstanding = open.len();
        self.next_waiting += 1;
        self.deadlines.insert((pending.deadline_ms, id));
        self.waiting.insert(id, Waiting::Produce(pending, open));
    }

    /// Lets a fetch wait for one of these partitions.
    pub fn park_fetch(&mut self, pending: PendingFetch, lanes: &[Lane]) {
        let id = self.next_waiting;
        self.next_waiting += 1;
        for lane in lanes {
            if let Some(partition) = self.partitions.get_mut(lane) {
                partition.fetches.push(id);
            }
        }
        self.deadlines.insert((pending.deadline_ms, id));
        self.waiting.insert(id, Waiting::Fetch(pending, lanes.to_vec()));
    }

    fn complete(
        &mut self,
        lane: Lane,
        completions: Vec<Completion>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let own = matches!(lane, CHECKPOINT_LANE | SNAPSHOT_LANE | TRASH_LANE);
        if own || !(lane == METADATA_LANE || self.partitions.contains_key(&lane)) {
            for completion in completions {
                match lane {
                    CHECKPOINT_LANE => self.checkpoint_ended(completion, now, out),
                    SNAPSHOT_LANE => self.snapshot_ended(completion, now, out),
                    TRASH_LANE => self.trash_ended(completion, out),
                    _ => self.removal_ended(lane, completion, now, out),
                }
            }
            return;
        }
        let mut submissions = Vec::new();
        if lane == METADATA_LANE {
            match self.metadata.log.on_completions(completions, &mut submissions) {
                Ok(_) => {
                    submit(lane, submissions, out);
                    self.upkeep.note_change();
                    self.commit(now, out);
                }
                // Without its metadata log a node can't promise anything any more.
                Err(error) => out.push(Effect::Halt(error.to_string())),
            }
            return;
        }
        let Some(partition) = self.partitions.get_mut(&lane) else { return };
        self.upkeep.wake(lane, partition, now);
        match partition.log.on_completions(completions, &mut submissions) {
            Ok(_) => {
                submit(lane, submissions, out);
                let settling = partition.cleaning.is_settling();
                if partition.advance() {
                    self.advanced(lane, out);
                    groups::advanced(self, lane, now, out);
                }
                if settling {
                    self.settle_cleaning(lane, out);
                }
            }
            Err(_) if partition.offline => {}
            Err(error) if error.is_full() => self.stall(lane, &error, now, out),
            Err(error) => self.fail_dir(lane, &error, now, out),
        }
    }

    /// The high watermark of a partition rose.
    pub(crate) fn advanced(&mut self, lane: Lane, out: &mut Vec<Effect>) {
        let Some(partition) = self.partitions.get_mut(&lane) else { return };
        let mut answered = Vec::new();
        while let Some(&(offset, id)) = partition.produces.front() {
            if offset > partition.high_watermark {
                break;
            }
            partition.produces.pop_front();
            answered.push(id);
        }
        let fetches = partition.fetches.clone();
        for id in answered {
            let Some(Waiting::Produce(pending, _)) = self.waiting.get_mut(&id) else { continue };
            pending.outstanding -= 1;
            if pending.outstanding == 0 {
                self.finish(id, out);
            }
        }
        for id in fetches {
            let Some(Waiting::Fetch(pending, _)) = self.waiting.get(&id) else { continue };
            if fetch::look(self, pending).0 {
                self.finish(id, out);
            }
        }
    }

    /// Everything that waits for a partition that is lost is told so.
    pub(crate) fn fail(&mut self, lane: Lane, code: ErrorCode, out: &mut Vec<Effect>) {
        let Some(partition) = self.partitions.get_mut(&lane) else { return };
        let produces: BTreeSet<u64> = partition.produces.drain(..).map(|(_, id)| id).collect();
        let fetches = partition.fetches.clone();
        for id in produces {
            let Some(Waiting::Produce(pending, waits)) = self.waiting.get_mut(&id) else {
                continue;
            };
            // What is durable by now keeps its offset.
            waits.retain(|(other, offset, _)| {
                self.partitions.get(other).is_some_and(|p| p.high_watermark < *offset)
            });
            refuse(pending, waits, Some(lane), code);
            waits.retain(|(other, ..)| *other != lane);
            pending.outstanding = waits.len();
            if pending.outstanding == 0 {
                self.finish(id, out);
            }
        }
        for id in fetches {
            self.finish(id, out);
        }
    }

    /// Answers a waiting request with what there is and forgets it.
    fn finish(&mut self, id: u64, out: &mut Vec<Effect>) {
        let Some(waiting) = self.forget(id) else { return };
        match waiting {
            Waiting::Produce(pending, _) => self.answer(pending.call, pending.response, out),
            Waiting::Fetch(pending, _) => fetch::respond(self, pending, out),
        }
    }

    /// Takes a waiting request off every list.
    fn forget(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        match &waiting {
            Waiting::Produce(pending, waits) => {
                self.deadlines.remove(&(pending.deadline_ms, id));
                for (lane, ..) in waits {
                    if let Some(partition) = self.partitions.get_mut(lane) {
                        partition.produces.retain(|(_, other)| *other != id);
                    }
                }
            }
            Waiting::Fetch(pending, lanes) => {
                self.deadlines.remove(&(pending.deadline_ms, id));
                for lane in lanes {
                    if let Some(partition) = self.partitions.get_mut(lane) {
                        partition.fetches.retain(|other| *other != id);
                    }
                }
            }
        }
        Some(waiting)
    }

    fn expire(&mut self, now: Now, out: &mut Vec<Effect>) {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now.steady_ms {
                return;
            }
            if let Some(Waiting::Produce(pending, waits)) = self.waiting.get_mut(&id) {
                // Batches that did become durable keep their offsets in the answer.
                waits.retain(|(lane, offset, _)| {
                    self.partitions.get(lane).is_some_and(|p| p.high_watermark < *offset)
                });
                refuse(pending, waits, None, ErrorCode::REQUEST_TIMED_OUT);
            }
            self.deadlines.remove(&(deadline, id));
            if planted::is(Bug::FetchForgotten) {
                self.forget(id);
            }
            self.finish(id, out);
        }
    }

    fn answer_fetches(&mut self, out: &mut Vec<Effect>) {
        let is_fetch = |waiting: &Waiting| matches!(waiting, Waiting::Fetch(..));
        let parked: Vec<u64> =
            self.waiting.iter().filter(|(_, w)| is_fetch(w)).map(|(id, _)| *id).collect();
        for id in parked {
            self.finish(id, out);
        }
    }

    fn disconnect(&mut self, conn: ConnId) {
        self.groups.disconnected(conn);
        let gone: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| match waiting {
                Waiting::Produce(pending, _) => pending.call.conn == conn,
                Waiting::Fetch(pending, _) => pending.call.conn == conn,
            })
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.forget(id);
        }
    }
}

/// Marks the batches that did not make it in a produce response.
fn refuse(
    pending: &mut PendingProduce,
    waits: &[(Lane, i64, (usize, usize))],
    only: Option<Lane>,
    code: ErrorCode,
) {
    for (lane, _, (topic, partition)) in waits {
        if only.is_some_and(|only| only != *lane) {
            continue;
        }
        let answer = pending
            .response
            .responses
            .get_mut(*topic)
            .and_then(|topic| topic.partition_responses.get_mut(*partition));
        let Some(answer) = answer else { continue };
        answer.error_code = code.0;
        // What took too long has its place all the same.
        if code != ErrorCode::REQUEST_TIMED_OUT {
            answer.base_offset = -1;
            answer.log_append_time_ms = -1;
        }
    }
}

/// Orders the disk operations of a lane.
pub(crate) fn submit(lane: Lane, submissions: Vec<Submission>, out: &mut Vec<Effect>) {
    out.extend(submissions.into_iter().map(|submission| Effect::Disk(lane, submission)));
}

/// The level of `metadata.version` from which on controllers register (KIP-919).
const CONTROLLERS_REGISTER: i16 = 15;
const ELECTED_AT_ONCE: usize = 5_000;
/// Space set aside for the metadata log to grow: some ten thousand changes.
const METADATA_RESERVE: u64 = 4 << 20;
