//! A run: time, the queue of what will happen, the node and its ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use broker::key_filters::KeyReads;
use broker::startup::{self, Options};
use broker::{
    Cleaned, ConnId, Effect, Event, FilterOrder, Lane, Listener, ListenerId, Node, Now, Reopening,
    Reply, Scrubbed,
};
use messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use messages::{CreateTopicsRequest, CreateTopicsResponse};
use ottla_log::disk::mem::MemDisk;
use ottla_log::disk::{Disk, Op};
use ottla_log::{CleanJob, CleanStep, Damage, ReadPlan, ScrubJob, ScrubStep};
use wire::Bytes;

use crate::bookkeeper::{Bookkeeper, LEDGER};
use crate::checker::Checker;
use crate::client::{Consumer, PARTITIONS, Producer, TOPIC, request, response};
use crate::gardener::Gardener;
use crate::keeper::{DIARY, Keeper};
use crate::lanes::{Lanes, Started};
use crate::member::Member;
use crate::random::Random;
use crate::rot::Rot;

/// A run that kept all promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Of every event in order: equal for equal runs.
    pub trace: u64,
    /// Events.
    pub events: u64,
    /// Power cuts.
    pub crashes: u32,
    /// Clean stops.
    pub stops: u32,
    /// Operations that failed on the disk and made an operator restart the node.
    pub disk_failures: u32,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records shown to consumers.
    pub shown: u64,
    /// Commits of offsets acknowledged.
    pub committed: u64,
    /// Logs of which recovery read only what came after a mark.
    pub marked: u64,
    /// Records deleted once every group had read them.
    pub retired: u64,
    /// Writes to the compacted topic acknowledged.
    pub kept: u64,
    /// Segments that were compacted.
    pub compacted: u64,
    /// Logs that a full disk stalled, and that were opened anew.
    pub reopened: u64,
    /// Bits that turned over.
    pub rotted: u64,
    /// Starts and reads that were refused for that.
    pub refused: (u64, u64),
    /// Rounds of the scrub.
    pub scrubs: u64,
    /// Key filters that were built.
    pub filtered: u64,
    /// Segments that they kept readers of one key from reading.
    pub spared: u64,
}

/// A run that broke one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which run.
    pub seed: u64,
    /// After how many events.
    pub event: u64,
    /// What was broken.
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "seed {} event {}: {}\n  replay: cargo run --release -p ottla-sim -- --trace {}",
            self.seed, self.event, self.what, self.seed
        )
    }
}

/// Runs one seed; `print` gets a line for every event.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, print: Option<&mut dyn FnMut(String)>) -> Result<Summary, Failure> {
    let mut world = World::new(seed, print);
    let outcome = world.live();
    let event = world.events;
    outcome.map_err(|what| Failure { seed, event, what })?;
    Ok(Summary {
        trace: world.trace,
        events: world.events,
        crashes: world.crashes,
        stops: world.stops,
        disk_failures: world.disk_failures,
        acknowledged: world.checker.acknowledged,
        shown: world.checker.shown,
        committed: world.checker.committed,
        marked: world.marked,
        retired: world.retired,
        kept: world.checker.kept,
        compacted: world.compacted,
        reopened: world.reopened,
        rotted: world.rot.count,
        refused: (world.rot.refused_starts, world.rot.refused_reads),
        scrubs: world.scrubs,
        filtered: world.filtered,
        spared: world.key_reads.iter().map(|reads| reads.sample().segments_skipped).sum(),
    })
}

/// Something that will happen, in the life of the node it was meant for.
enum Happening {
    Arrive(usize, Bytes),
    DiskEnds(Started),
    Load(Lane, u64, ReadPlan),
    Clean(Lane, Box<CleanJob>),
    Scrub(Lane, Box<ScrubJob>),
    Damaged(Vec<Damage>),
    Filter(Lane, Box<FilterOrder>),
    Answer(usize, Bytes),
    Wake(usize),
    Tick,
    PowerCut,
    Stop,
    /// Somebody else takes nearly all room on the disk, and gives it back.
    Fill,
    Relieve,
    Measure(PathBuf),
    Reopen(Lane, Box<Reopening>),
}

enum Actor {
    Admin { created: bool },
    Producer(Box<Producer>),
    Consumer(Box<Consumer>),
    Gardener(Box<Gardener>),
    Member(Box<Member>),
    Keeper(Box<Keeper>),
    Bookkeeper(Box<Bookkeeper>),
}

struct Connection {
    actor: Actor,
    conn: ConnId,
    serial: u64,
    /// Answers that came before their turn.
    early: BTreeMap<u64, Reply>,
    next_answer: u64,
    /// A network keeps the order of a connection.
    last_arrival_us: u64,
    last_answer_us: u64,
}

struct World<'a> {
    random: Random,
    print: Option<&'a mut dyn FnMut(String)>,
    now_us: u64,
    skew_ms: i64,
    disk: MemDisk,
    node: Option<Node>,
    life: u64,
    lanes: Lanes,
    queue: BTreeMap<(u64, u64), (u64, Happening)>,
    next_happening: u64,
    connections: Vec<Connection>,
    next_conn: u64,
    checker: Checker,
    events: u64,
    trace: u64,
    crashes: u32,
    stops: u32,
    disk_failures: u32,
    /// In every life of the node one operation may fail.
    disk_fails: bool,
    /// Recovery may not read much.
    marks: bool,
    /// Logs of which it read a part only.
    marked: u64,
    /// Producers that joined.
    producers: u32,
    /// There is a group.
    with_group: bool,
    /// There is a topic whose records are held for groups, and retention is looked at all the time.
    with_keeper: bool,
    /// How far the diary's log begins.
    retired: u64,
    /// There is a compacted topic.
    with_ledger: bool,
    /// Segments that were compacted.
    compacted: u64,
    /// The disk becomes full now and then.
    with_full: bool,
    /// It was, in this life of the node.
    filled: bool,
    /// Logs opened anew after that.
    reopened: u64,
    /// Bits turn over, and logs are scrubbed all the time.
    with_rot: bool,
    rot: Rot,
    scrubs: u64,
    /// Key filters that were built.
    filtered: u64,
    /// What readers of one key were spared, life by life.
    key_reads: Vec<Arc<KeyReads>>,
    winding_up: bool,
    next_tick_us: u64,
}

impl<'a> World<'a> {
    fn new(seed: u64, print: Option<&'a mut dyn FnMut(String)>) -> Self {
        Self {
            random: Random::new(seed),
            print,
            now_us: 0,
            skew_ms: 0,
            disk: MemDisk::new(),
            node: None,
            life: 0,
            lanes: Lanes::default(),
            queue: BTreeMap::new(),
            next_happening: 0,
            connections: Vec::new(),
            next_conn: 0,
            checker: Checker::default(),
            events: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            crashes: 0,
            stops: 0,
            disk_failures: 0,
            disk_fails: false,
            marks: false,
            marked: 0,
            producers: 0,
            with_group: seed % 4 == 3,
            with_keeper: seed % 8 == 7,
            retired: 0,
            with_ledger: seed % 4 == 1,
            compacted: 0,
            with_full: seed % 8 == 4 || seed % 16 == 9,
            filled: false,
            reopened: 0,
            with_rot: seed % 4 == 2,
            rot: Rot::default(),
            scrubs: 0,
            filtered: 0,
            key_reads: Vec::new(),
            winding_up: false,
            next_tick_us: u64::MAX,
        }
    }

    /// Everything, from an empty disk to the last look at the log.
    fn live(&mut self) -> Result<(), String> {
        self.boot()?;
        self.disk_fails = self.random.chance(15);
        self.marks = self.random.chance(50);
        self.plan_disk_failure();
        for _ in 0..self.random.below(5) {
            let at = self.now_us + self.random.below(400_000);
            self.at(at, Happening::PowerCut);
        }
        for _ in 0..self.random.below(3) {
            let at = self.now_us + self.random.below(400_000);
            self.at(at, Happening::Stop);
        }
        for _ in 0..if self.with_full { 1 + self.random.below(2) } else { 0 } {
            let at = self.now_us + 20_000 + self.random.below(300_000);
            self.at(at, Happening::Fill);
            let until = at + 5_000 + self.random.below(80_000);
            self.at(until, Happening::Relieve);
        }
        self.join(Actor::Admin { created: false });
        // From the answer on the topic must be there, for ever.
        while !self.is_settled() {
            if !self.step()? {
                return Err("C7: the topic is never created".into());
            }
        }
        for _ in 0..1 + self.random.below(3) {
            self.join_producer();
        }
        for partition in 0..PARTITIONS {
            let consumer = Consumer::new(partition, &mut self.random);
            self.join(Actor::Consumer(Box::new(consumer)));
        }
        self.join(Actor::Gardener(Box::default()));
        if self.with_group {
            for partition in 0..MEMBERS {
                let member = Member::new(partition, &mut self.random);
                self.join(Actor::Member(Box::new(member)));
            }
        }
        if self.with_ledger {
            self.join(Actor::Bookkeeper(Box::default()));
        }
        if self.with_keeper {
            self.join(Actor::Keeper(Box::default()));
        }
        let work_until = self.now_us + 400_000;
        while self.now_us < work_until && self.step()? {}
        self.winding_up = true;
        // Bounded: an answer that never comes is a failure of its own.
        let patience = self.now_us + 60_000_000;
        while !self.is_settled() {
            if self.now_us > patience || !self.step()? {
                return Err("C7: a request is never answered".into());
            }
        }
        if self.with_rot {
            self.rot_away()?;
        }
        // What was promised must survive one more cut, of all that was not synced.
        self.power_cut()?;
        self.last_look()
    }

    /// Bits turn over in segments that were read and checked before: the scrub is to find them, and
    /// from then on no read gets there. All else is read as before.
    fn rot_away(&mut self) -> Result<(), String> {
        let patience = self.now_us + 60_000_000;
        // What is in the page cache when the disk rots is given as it was; this disk has none.
        while !self.have_read_all() {
            if self.now_us > patience || !self.step()? {
                return Err("C7: what was produced can't be read".into());
            }
        }
        self.rot.strike_rolled(&self.disk, &mut self.random);
        let (mut life, mut rounds) = (self.life, self.rounds());
        // One round may be past them; the next one is not.
        while self.rounds() < rounds + 2 {
            if self.now_us > patience || !self.step()? {
                return Err("C14: the scrub does not come to its end".into());
            }
            if self.life != life {
                (life, rounds) = (self.life, 0);
            }
        }
        self.rot.all_told()?;
        for partition in 0..PARTITIONS {
            let consumer = Consumer::new(partition, &mut self.random);
            self.join(Actor::Consumer(Box::new(consumer)));
        }
        while !self.have_read_all() {
            if self.now_us > patience || !self.step()? {
                return Err("C7: what did not rot can't be read".into());
            }
        }
        self.rot.mend(&self.disk);
        Ok(())
    }

    fn rounds(&self) -> u64 {
        self.node.as_ref().map_or(0, Node::scrub_rounds)
    }

    /// True if all consumers are at the ends of their logs.
    fn have_read_all(&self) -> bool {
        let Some(node) = &self.node else { return false };
        self.connections.iter().all(|connection| match &connection.actor {
            Actor::Consumer(consumer) => {
                let partition = node.partition(TOPIC, consumer.partition());
                partition.is_some_and(|one| consumer.next_offset >= one.high_watermark)
            }
            _ => true,
        })
    }

    fn join_producer(&mut self) {
        let once = self.random.chance(60);
        let producer = Producer::new(self.producers, once, &mut self.random);
        self.producers += 1;
        self.join(Actor::Producer(Box::new(producer)));
    }

    /// Somewhere in the life that has just begun, an operation fails.
    fn plan_disk_failure(&mut self) {
        if self.disk_fails && !self.winding_up {
            self.disk.fail_nth(self.random.below(600));
        }
    }

    /// What only comes after a restart: fresh clients, and the next power cut before the node
    /// has settled.
    fn trouble_after_restart(&mut self) {
        let joined = self.producers > 0;
        if self.winding_up || !joined {
            return;
        }
        if self.random.chance(50) {
            self.join_producer();
        }
        if self.random.chance(30) {
            let at = self.now_us + self.random.below(10_000);
            self.at(at, Happening::PowerCut);
        }
    }

    fn is_settled(&self) -> bool {
        self.connections.iter().all(|connection| match &connection.actor {
            Actor::Producer(producer) => producer.is_idle(),
            Actor::Admin { created } => *created,
            Actor::Consumer(_) => true,
            Actor::Gardener(gardener) => gardener.is_idle(),
            Actor::Member(member) => member.is_idle(),
            Actor::Keeper(keeper) => keeper.is_idle(),
            Actor::Bookkeeper(keeper) => keeper.is_idle(),
        })
    }

    /// Reads every partition to its end and compares.
    fn last_look(&mut self) -> Result<(), String> {
        for connection in &self.connections {
            if let (Actor::Gardener(gardener), Some(node)) = (&connection.actor, &self.node) {
                gardener.inspect(node)?;
            }
        }
        self.connections.clear();
        self.queue.clear();
        // The tick went with the queue, and the node may have loads to begin.
        self.next_tick_us = u64::MAX;
        self.plan_tick();
        for partition in 0..PARTITIONS {
            let consumer = Consumer::new(partition, &mut self.random);
            self.join(Actor::Consumer(Box::new(consumer)));
            let index = self.connections.len() - 1;
            let end = self
                .node
                .as_ref()
                .and_then(|node| node.partition(TOPIC, partition))
                .map(|partition| partition.log.end())
                .ok_or("C1: the topic is gone")?;
            let mut log = Vec::new();
            let patience = self.now_us + 60_000_000;
            while (log.len() as i64) < end {
                if self.now_us > patience {
                    return Err(format!("C7: partition {partition} can't be read to its end"));
                }
                self.step_collecting(Some((index, &mut log)))?;
            }
            self.checker.end(partition, &log)?;
        }
        for partition in self.checker.commit_partitions() {
            let auditor = Member::auditor(partition, &mut self.random);
            self.join(Actor::Member(Box::new(auditor)));
        }
        if self.with_keeper {
            self.join(Actor::Keeper(Box::new(Keeper::auditor())));
        }
        if let Some(ledger) = self.node.as_ref().and_then(|node| node.partition(LEDGER, 0)) {
            let auditor = Bookkeeper::auditor(ledger.log.end());
            self.join(Actor::Bookkeeper(Box::new(auditor)));
        } else if self.with_ledger {
            return Err("C12: the ledger is gone".into());
        }
        let patience = self.now_us + 60_000_000;
        while !self.is_settled() {
            if self.now_us > patience || !self.step()? {
                return Err("C7: committed offsets or the ledger can't be read".into());
            }
        }
        Ok(())
    }

    fn join(&mut self, actor: Actor) {
        self.next_conn += 1;
        self.connections.push(Connection {
            actor,
            conn: ConnId(self.next_conn),
            serial: 0,
            early: BTreeMap::new(),
            next_answer: 0,
            last_arrival_us: 0,
            last_answer_us: 0,
        });
        let index = self.connections.len() - 1;
        let at = self.now_us + self.random.below(2_000);
        self.at(at, Happening::Wake(index));
    }

    fn at(&mut self, at_us: u64, happening: Happening) {
        self.next_happening += 1;
        self.queue.insert((at_us, self.next_happening), (self.life, happening));
    }

    fn now(&self) -> Now {
        Now {
            wall_ms: 1_800_000_000_000 + (self.now_us / 1000) as i64 + self.skew_ms,
            steady_ms: (self.now_us / 1000) as i64,
        }
    }

    fn note(&mut self, line: impl Fn() -> String, digest: u64) {
        self.events += 1;
        for byte in digest.to_be_bytes().into_iter().chain(self.now_us.to_be_bytes()) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(print) = &mut self.print {
            print(format!("{:>8} us {}", self.now_us, line()));
        }
    }

    fn step(&mut self) -> Result<bool, String> {
        self.step_collecting(None)
    }

    /// The next thing happens; false if nothing ever will again.
    fn step_collecting(
        &mut self,
        collect: Option<(usize, &mut Vec<crate::checker::Letter>)>,
    ) -> Result<bool, String> {
        let Some(((at, _), (life, happening))) = self.queue.pop_first() else { return Ok(false) };
        self.now_us = self.now_us.max(at);
        // What was under way when the power failed never happens; clients outlive it.
        let outlives =
            matches!(happening, Happening::Wake(_) | Happening::PowerCut | Happening::Stop)
                || matches!(happening, Happening::Fill | Happening::Relieve);
        if life != self.life && !outlives {
            return Ok(true);
        }
        match happening {
            Happening::Wake(index) => self.wake(index)?,
            Happening::Arrive(index, frame) => self.arrive(index, frame)?,
            Happening::DiskEnds(started) => self.disk_ends(started)?,
            Happening::Load(lane, load, plan) => {
                let read = plan.execute(&self.disk, true).map_err(|error| error.to_string());
                self.give(Event::Loaded(lane, load, read))?;
            }
            Happening::Clean(lane, job) => self.clean(lane, job)?,
            Happening::Scrub(lane, job) => self.scrub(lane, job)?,
            Happening::Damaged(all) => self.give(Event::Damaged(all))?,
            Happening::Filter(lane, order) => {
                let built = order.plan.build(&self.disk, &mut |_| true);
                self.note(|| format!("key filter, lane {}", lane.0), 8 << 32 | lane.0);
                self.filtered += u64::from(built.is_ok());
                self.give(Event::KeyFilterBuilt(lane, Box::new(built)))?;
            }
            Happening::Answer(index, frame) => {
                let shown = self.answer(index, frame)?;
                if let Some((wanted, log)) = collect
                    && wanted == index
                {
                    log.extend(shown);
                }
            }
            Happening::Tick => {
                self.next_tick_us = u64::MAX;
                self.give(Event::Ticked)?;
            }
            Happening::PowerCut | Happening::Stop | Happening::Fill if self.winding_up => {}
            Happening::Fill => {
                let room = self.random.below(3_000);
                self.note(|| format!("the disk is full but for {room} bytes"), 8 << 32 | room);
                self.disk.set_room(Some(room));
                self.filled = true;
            }
            Happening::Relieve => {
                self.note(|| "the disk has room".into(), 9 << 32);
                self.disk.set_room(None);
            }
            Happening::Measure(dir) => {
                let space = self.disk.space(&dir);
                self.give(Event::Measured(dir, space))?;
            }
            Happening::Reopen(lane, order) => {
                self.note(|| format!("lane {} is opened anew", lane.0), 10 << 32 | lane.0);
                let reopened = order.carry_out(&self.disk);
                self.reopened += u64::from(reopened.is_ok());
                self.give(Event::Reopened(lane, reopened))?;
            }
            Happening::Stop => self.clean_stop()?,
            Happening::PowerCut => self.power_cut()?,
        }
        Ok(true)
    }

    fn boot(&mut self) -> Result<(), String> {
        let seed = [self.random.next(), self.random.next(), self.random.next(), 1];
        let dir = PathBuf::from("/data");
        let mut options = Options::alone(dir, 1, Listener::plaintext("sim", 9092), seed);
        // So small that lives begin with snapshots, and behind parts of the log given up.
        let small = [
            ("metadata.log.max.record.bytes.between.snapshots", "900"),
            ("metadata.max.retention.bytes", "2500"),
        ];
        if self.with_keeper {
            let often =
                [("log.initial.task.delay.ms", "0"), ("log.retention.check.interval.ms", "5")];
            options.file.extend(often.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
        if self.with_ledger {
            // So often that most of the log is compacted, with so few keys at once that it takes
            // several times.
            let keys = (2 + self.random.below(5)) * 24;
            let often = [("log.cleaner.backoff.ms", "10".to_owned())];
            let few = [("log.cleaner.dedupe.buffer.size", keys.to_string())];
            options.file.extend(often.into_iter().chain(few).map(|(k, v)| (k.to_owned(), v)));
        }
        if self.with_rot {
            options.file.insert("log.scrub.interval.ms".to_owned(), "40".to_owned());
        }
        options.file.extend(small.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let now = self.now();
        let mut opened = startup::open(&self.disk, &options, now);
        if let Err(error) = &opened
            && self.rot.refused(&error.0, &self.disk)
        {
            opened = startup::open(&self.disk, &options, now);
        }
        let (mut node, report) =
            opened.map_err(|error| format!("C8: the node does not start: {error}"))?;
        self.marked += report.marked as u64;
        if self.marks {
            node.limit_recovery(1_500, 150);
        }
        if self.with_ledger {
            node.look_for_filters(2);
            self.key_reads.push(node.key_reads.clone());
        }
        if let Some(print) = &mut self.print {
            for partition in node.partitions.values() {
                let log = &partition.log;
                print(format!(
                    "  {}-{}: {}..{} segments {:?} producers {:?}",
                    partition.topic,
                    partition.index,
                    log.start(),
                    log.end(),
                    log.segment_bases(),
                    log.producers()
                        .entries()
                        .iter()
                        .map(|p| (p.producer_id, p.last_sequence, p.last_offset))
                        .collect::<Vec<_>>()
                ));
            }
        }
        self.node = Some(node);
        self.lanes = Lanes::default();
        self.next_tick_us = u64::MAX;
        self.plan_tick();
        Ok(())
    }

    fn power_cut(&mut self) -> Result<(), String> {
        self.crashes += 1;
        self.note(|| "power cut".into(), 1);
        let random = &mut self.random;
        self.disk.crash(&mut |bound| random.below(bound.max(1)));
        // The operator makes room before the node is started again.
        self.disk.set_room(None);
        if self.with_rot {
            // Without that file recovery could not tell rot from a torn write.
            self.strike(60);
        } else if self.random.chance(40) {
            self.lose_recovery_points()?;
        }
        self.restart()
    }

    /// Perhaps bits turn over while the node is away.
    fn strike(&mut self, percent: u64) {
        if self.with_rot && !self.winding_up && self.random.chance(percent) {
            self.rot.strike_durable(&self.disk, &mut self.random);
        }
    }

    /// Recovery has to do without the file that shortens it: a start then walks whole logs.
    fn lose_recovery_points(&mut self) -> Result<(), String> {
        let path = PathBuf::from("/data/recovery-point-offset-checkpoint");
        let ops = [Op::RemoveFile { path }, Op::SyncDir { path: PathBuf::from("/data") }];
        ops.iter().try_for_each(|op| self.disk.execute(op)).map_err(|error| error.to_string())
    }

    /// Stops the node as `server` does: nothing new comes in, what is under way is carried out,
    /// and the logs are closed. Clients may have lost their answers all the same.
    fn clean_stop(&mut self) -> Result<(), String> {
        self.note(|| "clean stop".into(), 6);
        let life = self.life;
        let ends = |(key, (of, what)): (&(u64, u64), &(u64, Happening))| {
            (*of == life && matches!(what, Happening::DiskEnds(_))).then_some(*key)
        };
        while let Some(key) = self.queue.iter().find_map(ends) {
            let Some((_, Happening::DiskEnds(started))) = self.queue.remove(&key) else { break };
            self.now_us = self.now_us.max(key.0);
            self.disk_ends(started)?;
            if self.life != life {
                // The disk failed, and the node was started again.
                return Ok(());
            }
        }
        self.disk.heal();
        self.disk.set_room(None);
        if let Some(node) = self.node.take() {
            let closed = startup::close(&self.disk, node);
            // A log that a full disk stalled is not closed in order, and the next start recovers.
            if let Err(error) = closed.map_err(|error| format!("C8: does not stop: {error}"))
                && !self.filled
            {
                return Err(error);
            }
        }
        self.stops += 1;
        self.strike(60);
        self.restart()
    }

    /// Starts the node on what the disk holds; clients connect again.
    fn restart(&mut self) -> Result<(), String> {
        self.life += 1;
        self.node = None;
        self.filled = false;
        // Clocks may have been set meanwhile.
        self.skew_ms += self.random.below(4_000) as i64 - 2_000;
        self.boot()?;
        for index in 0..self.connections.len() {
            self.next_conn += 1;
            let connection = &mut self.connections[index];
            connection.conn = ConnId(self.next_conn);
            connection.serial = 0;
            connection.next_answer = 0;
            connection.early.clear();
            match &mut connection.actor {
                Actor::Admin { .. } => {}
                Actor::Producer(producer) => producer.disconnected(),
                Actor::Consumer(consumer) => consumer.disconnected(),
                Actor::Gardener(gardener) => gardener.disconnected(),
                Actor::Member(member) => member.disconnected(),
                Actor::Keeper(keeper) => keeper.disconnected(),
                Actor::Bookkeeper(keeper) => keeper.disconnected(),
            }
            let at = self.now_us + self.random.below(3_000);
            self.at(at, Happening::Wake(index));
        }
        self.plan_disk_failure();
        self.trouble_after_restart();
        Ok(())
    }

    fn wake(&mut self, index: usize) -> Result<(), String> {
        self.note(|| format!("client {index} wakes"), 2 << 32 | index as u64);
        let wall_ms = self.now().wall_ms;
        let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
        let random = &mut self.random;
        let (frame, pause_us) = match &mut connection.actor {
            Actor::Admin { created: true } => return Ok(()),
            Actor::Admin { .. } => {
                let with = (self.with_group, self.with_keeper, self.with_ledger);
                (Some(create_topics(with, random)?), 50_000)
            }
            Actor::Member(member) => {
                let frame = member.next(self.winding_up, &mut self.checker, random)?;
                (frame, 500 + random.below(8_000))
            }
            Actor::Keeper(keeper) => {
                let frame = keeper.next(self.winding_up, wall_ms, random)?;
                (frame, 500 + random.below(4_000))
            }
            Actor::Bookkeeper(keeper) => {
                let frame = keeper.next(self.winding_up, &mut self.checker, random)?;
                (frame, 500 + random.below(4_000))
            }
            Actor::Producer(producer) => {
                (producer.next(self.winding_up, random)?, 500 + random.below(8_000))
            }
            Actor::Gardener(_) if self.winding_up => return Ok(()),
            Actor::Gardener(gardener) if !gardener.is_idle() => (None, 2_000),
            Actor::Gardener(gardener) => (Some(gardener.next(random)?), random.below(20_000)),
            Actor::Consumer(consumer) if consumer.is_waiting() => (None, 20_000),
            Actor::Consumer(consumer) => (Some(consumer.next(random)?), 20_000),
        };
        if let Some(frame) = frame {
            if let (Some(print), Actor::Producer(producer)) =
                (&mut self.print, &self.connections[index].actor)
            {
                print(format!("{:>8} us   sends {}", self.now_us, producer.last_sent()));
            }
            let at = self.now_us + 20 + self.random.below(300);
            let connection = &mut self.connections[index];
            let at = at.max(connection.last_arrival_us + 1);
            connection.last_arrival_us = at;
            self.at(at, Happening::Arrive(index, frame));
        }
        let at = self.now_us + pause_us;
        self.at(at, Happening::Wake(index));
        Ok(())
    }

    fn arrive(&mut self, index: usize, frame: Bytes) -> Result<(), String> {
        self.note(|| format!("request of client {index}"), 3 << 32 | frame.len() as u64);
        let connection = &mut self.connections[index];
        let event =
            broker::connection::read(connection.conn, ListenerId(0), connection.serial, frame)?;
        connection.serial += 1;
        self.give(event)
    }

    fn disk_ends(&mut self, started: Started) -> Result<(), String> {
        let lane = started.lane;
        self.note(|| format!("disk, lane {}", lane.0), 4 << 32 | lane.0);
        let mut together = Vec::new();
        // The shell tells of a lane's operations together, if they ended together.
        let alone = self.random.chance(50);
        let mut next = Some(started);
        while let Some(started) = next {
            let (completion, more) = self.lanes.end(started, &self.disk, &mut self.random);
            self.schedule(more);
            together.push(completion);
            next = if alone { None } else { self.ends_soon(lane) };
        }
        self.give(Event::Completed(lane, together))
    }

    /// Another operation of that lane that is about to end.
    fn ends_soon(&mut self, lane: Lane) -> Option<Started> {
        let until = (self.now_us + 100, u64::MAX);
        let is_meant = |of: u64, what: &Happening| {
            of == self.life && matches!(what, Happening::DiskEnds(ended) if ended.lane == lane)
        };
        let mut soon = self.queue.range(..until);
        let key = soon.find_map(|(key, (of, what))| is_meant(*of, what).then_some(*key))?;
        match self.queue.remove(&key)? {
            (_, Happening::DiskEnds(started)) => Some(started),
            _ => None,
        }
    }

    /// The next step of a compaction, which is a thread of its own in `server`.
    fn clean(&mut self, lane: Lane, mut job: Box<CleanJob>) -> Result<(), String> {
        let step = job.step(&self.disk, &mut |_| true);
        self.note(|| format!("cleaner, lane {}", lane.0), 7 << 32 | lane.0);
        let news = match step {
            Ok(CleanStep::Mapped) => None,
            Ok(CleanStep::Group(group)) => {
                self.compacted += group.segments() as u64;
                Some(Cleaned::Group(group))
            }
            Ok(CleanStep::Done(done)) => return self.give_cleaned(lane, Cleaned::Ended(Ok(done))),
            Err(error) => return self.give_cleaned(lane, Cleaned::Ended(Err(error))),
        };
        let at = self.now_us + self.random.below(5_000);
        self.at(at, Happening::Clean(lane, job));
        news.map_or(Ok(()), |news| self.give_cleaned(lane, news))
    }

    /// The next piece of a scrub, which is a thread of its own in `server`.
    fn scrub(&mut self, lane: Lane, mut job: Box<ScrubJob>) -> Result<(), String> {
        let step = job.step(&self.disk);
        self.note(|| format!("scrub, lane {}", lane.0), 8 << 32 | lane.0);
        let news = match step {
            Ok(ScrubStep::Checked(bytes)) => Scrubbed::Checked(bytes),
            Ok(ScrubStep::Found(_, file, damage)) => Scrubbed::Found(file, damage),
            Ok(ScrubStep::Done(stats)) => Scrubbed::Ended(Some(Ok(stats))),
            Err(error) => Scrubbed::Ended(Some(Err(error))),
        };
        if !matches!(news, Scrubbed::Ended(_)) {
            let at = self.now_us + self.random.below(2_000);
            self.at(at, Happening::Scrub(lane, job));
        }
        let before = self.rounds();
        self.give(Event::Scrubbed(lane, news))?;
        self.scrubs += self.rounds().saturating_sub(before);
        Ok(())
    }

    fn give_cleaned(&mut self, lane: Lane, news: Cleaned) -> Result<(), String> {
        self.give(Event::Cleaned(lane, news))
    }

    fn schedule(&mut self, started: Vec<Started>) {
        for started in started {
            let at = self.now_us + started.takes_us;
            self.at(at, Happening::DiskEnds(started));
        }
    }

    /// Steps the node and carries out what it orders.
    fn give(&mut self, event: Event) -> Result<(), String> {
        let now = self.now();
        let Some(node) = self.node.as_mut() else { return Ok(()) };
        let mut effects = Vec::new();
        let mut must_restart = false;
        node.step(now, event, &mut effects);
        node.groups.check();
        if let Some(diary) = node.partition(DIARY, 0) {
            let (start, end) = (diary.log.start(), diary.log.end());
            self.retired = self.retired.max(start as u64);
            for connection in &self.connections {
                if let Actor::Keeper(keeper) = &connection.actor {
                    keeper.inspect(start, end)?;
                }
            }
        }
        for effect in effects {
            match effect {
                Effect::Disk(lane, submission) => {
                    let started = self.lanes.submit(lane, submission, &self.disk, &mut self.random);
                    self.schedule(started);
                }
                Effect::Load(lane, load, plan) => {
                    let at = self.now_us + self.random.below(20_000);
                    self.at(at, Happening::Load(lane, load, plan));
                }
                Effect::Clean(lane, order) => {
                    let job = Box::new(order.plan.start(order.budget));
                    let at = self.now_us + self.random.below(5_000);
                    self.at(at, Happening::Clean(lane, job));
                }
                Effect::Measure(dir) => {
                    let at = self.now_us + self.random.below(5_000);
                    self.at(at, Happening::Measure(dir));
                }
                Effect::Reopen(lane, order) => {
                    let at = self.now_us + self.random.below(20_000);
                    self.at(at, Happening::Reopen(lane, order));
                }
                Effect::Scrub(lane, order) => {
                    let job = Box::new(order.plan.start());
                    let at = self.now_us + self.random.below(2_000);
                    self.at(at, Happening::Scrub(lane, job));
                }
                Effect::Error(text) => {
                    if let Some(print) = &mut self.print {
                        print(format!("  ERROR {text}"));
                    }
                    self.rot.told(&text)?;
                }
                Effect::BuildKeyFilter(lane, order) => {
                    let at = self.now_us + self.random.below(5_000);
                    self.at(at, Happening::Filter(lane, order));
                }
                Effect::Reply(reply) => self.reply(reply)?,
                Effect::Close(_, _, reason) => return Err(format!("C6: closed: {reason}")),
                // A log or the node gave up because the disk failed: the operator restarts it.
                Effect::Halt(_) | Effect::Warn(_) if must_restart || self.disk.heal() => {
                    must_restart = true;
                }
                Effect::Halt(_) if self.filled => must_restart = true,
                Effect::Warn(text) if self.filled && !text.contains("offline") => {}
                Effect::Halt(reason) => return Err(format!("C8: the node halts: {reason}")),
                Effect::LogLevel(..) | Effect::Info(_) => {}
                Effect::Warn(text) => return Err(format!("C8: the node warns: {text}")),
            }
        }
        if must_restart {
            self.disk_failures += 1;
            return self.power_cut();
        }
        self.plan_tick();
        Ok(())
    }

    fn plan_tick(&mut self) {
        let Some(node) = &self.node else { return };
        let deadline = node.next_deadline_ms();
        let at = (deadline.clamp(0, i64::MAX / 2_000) as u64 * 1000).max(self.now_us);
        if at < self.next_tick_us {
            self.next_tick_us = at;
            self.at(at, Happening::Tick);
        }
    }

    fn reply(&mut self, reply: Reply) -> Result<(), String> {
        let conn = reply.call.conn;
        let found = self.connections.iter().position(|connection| connection.conn == conn);
        let Some(index) = found else { return Ok(()) };
        let connection = &mut self.connections[index];
        connection.early.insert(reply.call.serial, reply);
        loop {
            let connection = &mut self.connections[index];
            let Some(reply) = connection.early.remove(&connection.next_answer) else { break };
            connection.next_answer += 1;
            let mut reply = reply;
            reply.find(&self.disk).map_err(|_| "a disk that waits doesn't")?;
            let damage = reply.take_damage();
            if !damage.is_empty() {
                self.at(self.now_us, Happening::Damaged(damage));
            }
            let outline = reply.outline().map_err(|error| error.to_string())?;
            let Some(outline) = outline else { continue };
            let frame = outline.read(&self.disk).map_err(|error| error.to_string())?;
            let at = self.now_us + 20 + self.random.below(300);
            let at = at.max(self.connections[index].last_answer_us + 1);
            self.connections[index].last_answer_us = at;
            self.at(at, Happening::Answer(index, frame.to_bytes()));
        }
        Ok(())
    }

    fn answer(
        &mut self,
        index: usize,
        frame: Bytes,
    ) -> Result<Vec<crate::checker::Letter>, String> {
        self.note(|| format!("answer to client {index}"), 5 << 32 | frame.len() as u64);
        let diary = self.node.as_ref().and_then(|node| node.partition(DIARY, 0));
        let start = diary.map_or(0, |diary| diary.log.start());
        let Some(connection) = self.connections.get_mut(index) else { return Ok(Vec::new()) };
        let mut shown = Vec::new();
        match &mut connection.actor {
            Actor::Admin { created } => {
                let message: CreateTopicsResponse = response(frame, 5, 1)?;
                let code = message.topics.first().map_or(-1, |topic| topic.error_code);
                // 36: an answer was lost and the topic is there.
                if code != 0 && code != 36 {
                    return Err(format!("topic not created: error {code}"));
                }
                *created = true;
            }
            Actor::Producer(producer) => {
                producer.may_be_forgotten = self.rot.count > 0;
                producer.answered(frame, &mut self.checker)?;
            }
            Actor::Gardener(gardener) => gardener.answered(frame)?,
            Actor::Member(member) => member.answered(frame, &mut self.checker)?,
            Actor::Keeper(keeper) => keeper.answered(frame, start)?,
            Actor::Bookkeeper(keeper) => keeper.answered(frame, &mut self.checker)?,
            Actor::Consumer(consumer) => {
                let answered = consumer.answered(frame, &mut self.checker);
                self.rot.given(&std::mem::take(&mut consumer.given))?;
                shown = answered?;
                if std::mem::take(&mut consumer.refused) {
                    pass_damage(consumer, self.node.as_ref(), &mut self.rot)?;
                }
                let at = self.now_us + self.random.below(1_000);
                self.at(at, Happening::Wake(index));
            }
        }
        Ok(shown)
    }
}

/// Lets a consumer go on behind damage that its read was refused for.
fn pass_damage(consumer: &mut Consumer, node: Option<&Node>, rot: &mut Rot) -> Result<(), String> {
    let partition = node.and_then(|node| node.partition(TOPIC, consumer.partition()));
    let known = partition.map(|partition| partition.log.damage()).unwrap_or_default();
    let asked = consumer.next_offset;
    let here = known.iter().find(|damage| damage.offsets.contains(&asked));
    let damage = here.ok_or_else(|| format!("C13: offset {asked} is refused for no damage"))?;
    rot.refused_read(&damage.path, &damage.bytes)?;
    consumer.next_offset = damage.offsets.end;
    Ok(())
}

/// A group's topic is made with it, with fewer partitions than the node would give it.
fn create_topics(
    (with_group, with_keeper, with_ledger): (bool, bool, bool),
    random: &mut Random,
) -> Result<Bytes, String> {
    let config = |name: &str, value: &str| CreatableTopicConfig {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    };
    let mut configs = vec![config("retention.ms", "-1")];
    if random.chance(60) {
        // Small indexes fill soon, so segments roll soon.
        configs.push(config("segment.index.bytes", random.pick(&["24", "48", "96"])));
        configs.push(config("index.interval.bytes", random.pick(&["0", "50", "200"])));
    }
    let topic = |name: &str, num_partitions, configs| CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor: 1,
        configs,
        ..Default::default()
    };
    let mut topics = vec![topic(TOPIC, PARTITIONS, configs)];
    if with_group {
        topics.push(topic("__consumer_offsets", 2, vec![config("cleanup.policy", "compact")]));
    }
    if with_keeper {
        topics.push(Keeper::topic(random));
    }
    if with_ledger {
        let configs = vec![
            config("cleanup.policy", "compact"),
            config("min.cleanable.dirty.ratio", "0.01"),
            config("delete.retention.ms", random.pick(&["0", "30"])),
            config("segment.index.bytes", random.pick(&["24", "48", "96"])),
            config("index.interval.bytes", "0"),
        ];
        topics.push(topic(LEDGER, 1, configs));
    }
    let message = CreateTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    request(&message, 5, 1)
}

/// Members of a run's group.
const MEMBERS: i32 = 2;
