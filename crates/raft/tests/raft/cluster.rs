//! A quorum under faults, from one seed: virtual time, a network that delays, loses, repeats and
//! separates, nodes that crash, sleep and take snapshots, voters that come and go. After the
//! faults the cluster must come to rest with a leader that commits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use messages::{
    AddRaftVoterRequest, ApiVersionsResponse, RemoveRaftVoterRequest, add_raft_voter_request,
    api_versions_response,
};
use raft::{
    AskError, Config, Effect, Endpoint, Event, Raft, ReplicaKey, Request, Response, RoleKind,
    SnapshotId, Voter, VoterSet,
};
use wire::record::{BatchBuilder, BatchOptions};
use wire::{Bytes, Uuid};

use crate::checker::Checker;
use crate::node::{Batch, LogOp, Node, snapshot_bytes};

/// When faults end, and when the run does.
const FAULTS_MS: i64 = 9_000;
const CALM_MS: i64 = 8_000;
/// Time begins here: Unix time is never 0.
const START_MS: i64 = 1_000_000;
const CLUSTER: &str = "cluster";

/// Numbers from a seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: i64) -> i64 {
        if bound <= 0 { 0 } else { (self.next() % bound as u64) as i64 }
    }

    fn percent(&mut self, chance: i64) -> bool {
        self.below(100) < chance
    }
}

#[derive(Debug)]
enum What {
    Tick(usize, u64),
    Deliver { to: usize, from: usize, incarnation: u64, number: u64, request: Request },
    Answer { to: usize, incarnation: u64, number: u64, outcome: Result<Response, AskError> },
    Flushed(usize, u64, u64),
    Stored(usize, u64, u64),
    Installed(usize, u64, SnapshotId),
    Restart(usize),
    Crash(usize, u64),
    Client,
    Snapshots,
    Membership,
    Fault,
    Heal,
}

#[derive(Debug)]
struct Entry(i64, u64, What);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Who waits for the answer to a request that was delivered.
#[derive(Debug)]
struct Asker {
    node: usize,
    incarnation: u64,
    number: u64,
    /// Epoch and candidate, if it was about a vote.
    vote: Option<(i32, i32)>,
}

/// What a run was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub trace: u64,
    pub steps: u64,
    pub elections: u64,
    pub crashes: u64,
    pub committed: i64,
    pub truncations: u64,
    pub installs: u64,
    pub voter_changes: u64,
}

#[derive(Debug)]
pub struct Cluster {
    now: i64,
    seq: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    nodes: Vec<Node>,
    dice: Dice,
    checker: Checker,
    askers: BTreeMap<u64, Asker>,
    next_ticket: u64,
    next_value: u64,
    dynamic: bool,
    faulty: bool,
    loss: i64,
    effects: Vec<Effect>,
    report: Report,
}

/// Runs a seed to its end.
pub fn run(seed: u64) -> Result<Report, String> {
    let mut cluster = Cluster::new(seed);
    cluster.go().map(|()| cluster.report)
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let voters = [1, 3, 3, 3, 5, 2, 4][dice.below(7) as usize];
        let observers = dice.below(3) as usize;
        let dynamic = dice.percent(70);
        let address = |id: i32| Endpoint { name: "C".into(), host: "n".into(), port: id as u16 };
        let voter = |id: i32| Voter {
            key: ReplicaKey::new(id, if dynamic { directory(id) } else { Uuid::ZERO }),
            endpoints: vec![address(id)],
            kraft_versions: (0, 1),
        };
        let set = VoterSet::new((1..=voters).map(voter));
        let all = voters + observers as i32;
        let mut nodes = Vec::new();
        for id in 1..=all {
            let mut config = Config::new(id, directory(id), CLUSTER.into());
            config.endpoints = vec![address(id)];
            config.listener_name = "C".into();
            config.bootstrap_servers = (1..=all).map(|id| ("n".into(), id as u16)).collect();
            config.election_timeout_ms = 300;
            config.fetch_timeout_ms = 500;
            config.request_timeout_ms = 400;
            config.election_backoff_max_ms = 300;
            config.fetch_wait_max_ms = 200;
            config.fetch_bytes_max = 400;
            config.seed = dice.next();
            let formatted = (dynamic && id <= voters).then(|| set.clone());
            if !dynamic {
                config.static_voters = set.clone();
            }
            nodes.push(Node::new(config, formatted));
        }
        Self {
            now: START_MS,
            seq: 0,
            queue: BinaryHeap::new(),
            nodes,
            loss: dice.below(15),
            dice,
            checker: Checker::default(),
            askers: BTreeMap::new(),
            next_ticket: 0,
            next_value: 0,
            dynamic,
            faulty: true,
            effects: Vec::new(),
            report: Report::default(),
        }
    }

    fn go(&mut self) -> Result<(), String> {
        for node in 0..self.nodes.len() {
            let delay = self.dice.below(50);
            self.push(delay, What::Restart(node));
        }
        for what in [What::Client, What::Snapshots, What::Membership, What::Fault] {
            self.push(200, what);
        }
        self.run_until(START_MS + FAULTS_MS)?;
        self.faulty = false;
        self.heal();
        for node in 0..self.nodes.len() {
            if self.nodes[node].raft.is_none() {
                self.push(1, What::Restart(node));
            }
        }
        self.run_until(START_MS + FAULTS_MS + CALM_MS / 2)?;
        let before = self.checker.committed_end;
        self.run_until(START_MS + FAULTS_MS + CALM_MS)?;
        self.at_rest(before)
    }

    fn run_until(&mut self, end: i64) -> Result<(), String> {
        while let Some(Reverse(Entry(at, ..))) = self.queue.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse(Entry(at, _, what))) = self.queue.pop() else { break };
            self.now = at;
            self.happen(what)?;
        }
        self.now = end;
        Ok(())
    }

    /// The faults are over: somebody leads, and what clients append is committed everywhere.
    fn at_rest(&mut self, before: i64) -> Result<(), String> {
        if self.checker.committed_end <= before {
            let nodes: Vec<String> = self.nodes.iter().map(Node::describe).collect();
            let nodes = nodes.join("; ");
            return Err(format!("liveness: nothing was committed after {before}: {nodes}"));
        }
        for node in &self.nodes {
            // The last appends may still be on their way.
            if node.high_watermark < before {
                return Err(format!(
                    "liveness: stayed below {before}: {}",
                    self.nodes.iter().map(Node::describe).collect::<Vec<_>>().join("; ")
                ));
            }
            self.checker.has_all(node.key.id, before, &node.log)?;
        }
        self.report.committed = self.checker.committed_end;
        Ok(())
    }

    fn push(&mut self, delay: i64, what: What) {
        self.seq += 1;
        self.queue.push(Reverse(Entry(self.now + delay.max(0), self.seq, what)));
    }

    fn trace(&mut self, values: [i64; 3]) {
        for value in values {
            self.report.trace = (self.report.trace ^ value as u64).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn is_current(&self, node: usize, incarnation: u64) -> bool {
        self.nodes[node].raft.is_some() && self.nodes[node].incarnation == incarnation
    }

    fn happen(&mut self, what: What) -> Result<(), String> {
        if let Some((node, until)) = self.sleeper(&what) {
            // A node whose clock stands still notices nothing before it goes on.
            let delay = until - self.now + node as i64 % 3;
            self.push(delay, what);
            return Ok(());
        }
        match what {
            What::Tick(node, incarnation) => {
                if self.is_current(node, incarnation)
                    && self.nodes[node].tick_at.is_some_and(|at| at <= self.now)
                {
                    self.nodes[node].tick_at = None;
                    self.step(node, Event::Ticked)?;
                }
            }
            What::Deliver { to, from, incarnation, number, request } => {
                self.deliver(to, from, incarnation, number, request)?;
            }
            What::Answer { to, incarnation, number, outcome } => {
                if self.is_current(to, incarnation) {
                    self.step(to, Event::Answered { number, outcome })?;
                }
            }
            What::Flushed(node, incarnation, number) => {
                if self.is_current(node, incarnation)
                    && let Some(end) = self.nodes[node].end_flush(number)
                {
                    self.step(node, Event::Flushed { end })?;
                }
            }
            What::Stored(node, incarnation, number) => {
                if self.is_current(node, incarnation) && self.nodes[node].stored(number) {
                    self.step(node, Event::Stored { number })?;
                }
            }
            What::Installed(node, incarnation, id) => {
                if self.is_current(node, incarnation) {
                    self.installed(node, id)?;
                }
            }
            What::Restart(node) => self.start(node)?,
            What::Crash(node, incarnation) => {
                if self.is_current(node, incarnation) {
                    self.crash(node);
                }
            }
            What::Client => self.client()?,
            What::Snapshots => self.snapshots()?,
            What::Membership => self.membership()?,
            What::Fault => self.fault()?,
            What::Heal => self.heal(),
        }
        Ok(())
    }

    fn sleeper(&self, what: &What) -> Option<(usize, i64)> {
        let node = match what {
            What::Tick(node, _) | What::Flushed(node, ..) | What::Stored(node, ..) => *node,
            What::Installed(node, ..) => *node,
            What::Deliver { to, .. } | What::Answer { to, .. } => *to,
            _ => return None,
        };
        let until = self.nodes[node].asleep_until;
        (until > self.now).then_some((node, until))
    }

    fn start(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].raft.is_some() {
            return Ok(());
        }
        let restored = self.nodes[node].restored();
        let unflushed = restored.flushed < restored.log_end;
        let mut effects = std::mem::take(&mut self.effects);
        let raft = Raft::new(self.nodes[node].config.clone(), restored, self.now, &mut effects);
        self.nodes[node].high_watermark = raft.committed();
        self.nodes[node].raft = Some(raft);
        if unflushed {
            self.flush(node);
        }
        self.obey(node, effects)
    }

    fn step(&mut self, node: usize, event: Event) -> Result<(), String> {
        let mut effects = std::mem::take(&mut self.effects);
        let now = self.now;
        let Some(raft) = &mut self.nodes[node].raft else { return Ok(()) };
        raft.step(now, event, &mut effects);
        self.obey(node, effects)
    }

    /// Carries out the orders of a step, then looks at what it did.
    fn obey(&mut self, node: usize, mut effects: Vec<Effect>) -> Result<(), String> {
        self.report.steps += 1;
        let changes_log = effects.iter().any(|effect| {
            matches!(
                effect,
                Effect::AppendControl { .. }
                    | Effect::AppendFetched { .. }
                    | Effect::Truncate { .. }
            )
        });
        for effect in effects.drain(..) {
            self.carry_out(node, effect)?;
        }
        self.effects = effects;
        let state = &self.nodes[node];
        let Some(raft) = &state.raft else { return Ok(()) };
        raft.check();
        if raft.log_end() != state.log.end() && state.download.is_none() {
            return Err(format!("{}: the marks say {}", state.key.id, raft.log_end()));
        }
        if changes_log && self.dynamic {
            let stated = state.stated_voters().unwrap_or_default();
            if *raft.history().voters() != stated {
                return Err(format!("C6: {}: the log states {stated:?}", state.key.id));
            }
        }
        let deadline = raft.next_deadline_ms();
        let values = [self.now, node as i64, raft.log_end() * 8 + raft.role() as i64];
        self.trace(values);
        let state = &mut self.nodes[node];
        if let Some(at) = deadline {
            let at = at.max(self.now + 1);
            if state.tick_at.is_none_or(|known| at < known || known <= self.now) {
                state.tick_at = Some(at);
                let incarnation = state.incarnation;
                self.push(at - self.now, What::Tick(node, incarnation));
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, node: usize, effect: Effect) -> Result<(), String> {
        let incarnation = self.nodes[node].incarnation;
        match effect {
            Effect::Store { number, data, .. } => {
                self.nodes[node].stores.insert(number, data);
                let delay = self.disk_delay();
                self.push(delay, What::Stored(node, incarnation, number));
            }
            Effect::AppendControl { batch, end } => {
                self.append(node, batch);
                assert_eq!(self.nodes[node].log.end(), end);
            }
            Effect::AppendFetched { records, end } => {
                for batch in wire::batch::Batches::new(records) {
                    let bytes = batch.map_err(|error| format!("{error:?}"))?.1;
                    self.nodes[node].change_log(LogOp::Append(Batch::parse(bytes)));
                }
                assert_eq!(self.nodes[node].log.end(), end);
                self.flush(node);
            }
            Effect::Truncate { to } => {
                self.report.truncations += 1;
                self.nodes[node].change_log(LogOp::Truncate(to));
            }
            Effect::AppendSnapshotChunk { id, position, bytes } => {
                let download = &mut self.nodes[node].download;
                if position == 0 {
                    *download = Some((id, Vec::new()));
                }
                let Some((known, content)) = download else { return Err("no download".into()) };
                assert_eq!((*known, content.len() as i64), (id, position));
                content.extend_from_slice(&bytes);
            }
            Effect::InstallSnapshot { id } => {
                let delay = 1 + self.dice.below(20);
                self.push(delay, What::Installed(node, incarnation, id));
            }
            Effect::Ask { peer, number, request } => {
                let to = peer.port as usize - 1;
                if let Request::Vote(vote) = &request
                    && !vote.topics[0].partitions[0].pre_vote
                {
                    let epoch = vote.topics[0].partitions[0].replica_epoch;
                    let key = self.nodes[node].key;
                    self.checker.votes(key, epoch, key.id)?;
                    self.crash_soon(node, 10);
                }
                self.send(node, to, number, request);
            }
            Effect::Answer { ticket, response } => self.answer(node, ticket, response)?,
            Effect::ServeFetch { ticket, mut response, offset, max_bytes } => {
                let records = self.read(node, offset, max_bytes);
                response.responses[0].partitions[0].records = Some(records);
                self.answer(node, ticket, Response::Fetch(response))?;
            }
            Effect::ServeSnapshot { ticket, mut response, id, position, max_bytes } => {
                let bytes = snapshot_bytes(id);
                let end = (position as usize + max_bytes as usize / 4).min(bytes.len());
                let piece = Bytes::copy_from_slice(&bytes[position as usize..end]);
                response.topics[0].partitions[0].unaligned_records = piece;
                self.answer(node, ticket, Response::FetchSnapshot(response))?;
            }
            Effect::Committed { high_watermark } => self.commits(node, high_watermark)?,
            Effect::Became { role, epoch, .. } => {
                if role == RoleKind::Leader {
                    self.report.elections += 1;
                    let state = &self.nodes[node];
                    self.checker.leads(state.key.id, epoch, &state.log)?;
                }
            }
            Effect::Stopped => self.push(1, What::Crash(node, incarnation)),
            Effect::Halt { reason } => return Err(format!("halted: {reason}")),
        }
        Ok(())
    }

    fn append(&mut self, node: usize, batch: Bytes) {
        self.nodes[node].change_log(LogOp::Append(Batch::parse(batch)));
        self.flush(node);
    }

    fn flush(&mut self, node: usize) {
        let number = self.nodes[node].begin_flush();
        let incarnation = self.nodes[node].incarnation;
        let delay = self.disk_delay();
        self.push(delay, What::Flushed(node, incarnation, number));
    }

    /// Disks are fast, but for when they aren't.
    fn disk_delay(&mut self) -> i64 {
        match self.faulty {
            true if self.dice.percent(10) => self.dice.below(400),
            true => self.dice.below(30),
            false => self.dice.below(5),
        }
    }

    fn commits(&mut self, node: usize, to: i64) -> Result<(), String> {
        let state = &mut self.nodes[node];
        let from = std::mem::replace(&mut state.high_watermark, to);
        let epoch = state.raft.as_ref().map_or(0, Raft::epoch);
        if self.faulty && self.dice.percent(2) {
            // What is committed must be on disks: the power fails everywhere.
            for node in 0..self.nodes.len() {
                self.crash_soon(node, 100);
            }
        }
        let state = &self.nodes[node];
        self.checker.commits(state.key.id, epoch, from, to, &state.log)
    }

    /// Batches from `offset` on, sometimes with half of one at the end, as from a file.
    fn read(&mut self, node: usize, offset: i64, max_bytes: i32) -> Bytes {
        let log = &self.nodes[node].log;
        let mut records = Vec::new();
        for batch in log.batches_in(offset, i64::MAX) {
            let room = (max_bytes as usize).saturating_sub(records.len());
            if !records.is_empty() && batch.bytes.len() > room {
                records.extend_from_slice(&batch.bytes[..room]);
                break;
            }
            records.extend_from_slice(&batch.bytes);
        }
        records.into()
    }

    fn send(&mut self, from: usize, to: usize, number: u64, request: Request) {
        let incarnation = self.nodes[from].incarnation;
        if self.nodes[to].raft.is_none() && self.dice.percent(70) {
            let outcome = Err(AskError::Unreachable);
            let delay = 1 + self.dice.below(5);
            self.push(delay, What::Answer { to: from, incarnation, number, outcome });
            return;
        }
        let copies = if self.faulty && self.dice.percent(3) { 2 } else { 1 };
        for _ in 0..copies {
            if self.passes(from, to) {
                let delay = self.delay();
                let request = request.clone();
                self.push(delay, What::Deliver { to, from, incarnation, number, request });
            }
        }
    }

    fn passes(&mut self, from: usize, to: usize) -> bool {
        let parted = self.nodes[from].is_blocked != self.nodes[to].is_blocked;
        let lost = self.faulty && self.dice.percent(self.loss);
        !parted && !lost
    }

    fn delay(&mut self) -> i64 {
        if self.faulty && self.dice.percent(5) {
            self.dice.below(600)
        } else {
            2 + self.dice.below(12)
        }
    }

    fn deliver(
        &mut self,
        to: usize,
        from: usize,
        incarnation: u64,
        number: u64,
        request: Request,
    ) -> Result<(), String> {
        if self.nodes[to].raft.is_none() {
            return Ok(());
        }
        if let Request::ApiVersions(_) = request {
            // The shell of the node answers that.
            let feature = api_versions_response::SupportedFeatureKey {
                name: "kraft.version".into(),
                max_version: 1,
                ..Default::default()
            };
            let supported_features = vec![feature];
            let body = ApiVersionsResponse { supported_features, ..Default::default() };
            let outcome = Ok(Response::ApiVersions(body));
            self.push(5, What::Answer { to: from, incarnation, number, outcome });
            return Ok(());
        }
        let vote = match &request {
            Request::Vote(vote) => {
                let asked = &vote.topics[0].partitions[0];
                (!asked.pre_vote).then_some((asked.replica_epoch, asked.replica_id))
            }
            _ => None,
        };
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.askers.insert(ticket, Asker { node: from, incarnation, number, vote });
        let version = match &request {
            Request::Fetch(_) => 18,
            _ => 1,
        };
        self.step(to, Event::Requested { ticket, version, request })
    }

    fn answer(&mut self, node: usize, ticket: u64, response: Response) -> Result<(), String> {
        if let Response::AddVoter(_) | Response::RemoveVoter(_) = &response {
            return Ok(());
        }
        let Some(asker) = self.askers.remove(&ticket) else {
            return Err(format!("{} answers {ticket} twice", self.nodes[node].key.id));
        };
        if let (Response::Vote(answer), Some((epoch, candidate))) = (&response, asker.vote) {
            let granted =
                answer.topics.first().is_some_and(|topic| topic.partitions[0].vote_granted);
            if granted {
                self.checker.votes(self.nodes[node].key, epoch, candidate)?;
                self.crash_soon(node, 25);
            }
        }
        if self.passes(node, asker.node) {
            let delay = self.delay();
            let Asker { node: to, incarnation, number, .. } = asker;
            self.push(delay, What::Answer { to, incarnation, number, outcome: Ok(response) });
        }
        Ok(())
    }

    fn installed(&mut self, node: usize, id: SnapshotId) -> Result<(), String> {
        self.report.installs += 1;
        let bytes = snapshot_bytes(id);
        let Some((known, content)) = self.nodes[node].download.take() else {
            return Err("installed without a download".into());
        };
        if (known, &content) != (id, &bytes) {
            return Err(format!("{known:?} was downloaded as {} bytes", content.len()));
        }
        let Some((kraft_version, voters)) = self.checker.snapshots.get(&id).cloned() else {
            return Err(format!("nobody took {id:?}"));
        };
        self.nodes[node].install(id, (kraft_version, voters.clone()));
        let bytes = bytes.len() as u64;
        self.step(node, Event::SnapshotInstalled { id, bytes, kraft_version, voters })
    }

    /// Clients append to whoever believes to lead.
    fn client(&mut self) -> Result<(), String> {
        for node in 0..self.nodes.len() {
            let Some(epoch) = self.nodes[node].raft.as_ref().and_then(Raft::leading) else {
                continue;
            };
            if self.nodes[node].asleep_until > self.now {
                continue;
            }
            let options = BatchOptions {
                base_offset: self.nodes[node].log.end(),
                leader_epoch: epoch,
                ..Default::default()
            };
            let mut builder = BatchBuilder::new(options);
            for _ in 0..1 + self.dice.below(3) {
                self.next_value += 1;
                let value = format!("{} of {}", self.next_value, self.nodes[node].key.id);
                builder.push(self.now, None, Some(value.as_bytes()), &[]);
            }
            let batch = builder.build().map_err(|error| error.to_string())?;
            self.append(node, batch);
            let end = self.nodes[node].log.end();
            self.step(node, Event::Appended { epoch, end })?;
        }
        let delay = 40 + self.dice.below(200);
        self.push(delay, What::Client);
        Ok(())
    }

    /// Now and then a node takes a snapshot, or deletes what one covers.
    fn snapshots(&mut self) -> Result<(), String> {
        let node = self.dice.below(self.nodes.len() as i64) as usize;
        let state = &self.nodes[node];
        if let Some(raft) = &state.raft
            && state.download.is_none()
            && state.asleep_until <= self.now
        {
            let (start, end) = (state.log.start, raft.snapshot_end_max());
            let batches = state.log.batches_in(start, end);
            let whole = batches.get(batches.len() / 2).filter(|batch| batch.end <= end);
            if let Some(batch) = whole.cloned() {
                let id = SnapshotId { end_offset: batch.end, epoch: batch.epoch };
                assert_eq!(raft.epoch_before(batch.end), batch.epoch);
                let voters = raft.history().voters_before(batch.end).map(|it| it.1.clone());
                let stated = (raft.history().kraft_version_before(batch.end), voters);
                self.take_snapshot(node, id, stated)?;
            }
        }
        let delay = 100 + self.dice.below(900);
        self.push(delay, What::Snapshots);
        Ok(())
    }

    fn take_snapshot(
        &mut self,
        node: usize,
        id: SnapshotId,
        stated: (i16, Option<VoterSet>),
    ) -> Result<(), String> {
        self.checker.snapshot(id, stated.clone())?;
        self.nodes[node].snapshots.insert(id, stated);
        let bytes = snapshot_bytes(id).len() as u64;
        self.step(node, Event::SnapshotTaken { id, bytes })?;
        let busy = self.nodes[node].download.is_some();
        if busy || self.nodes[node].log.start >= id.end_offset || self.dice.percent(40) {
            return Ok(());
        }
        let start = id.end_offset;
        self.nodes[node].delete_prefix(start);
        self.step(node, Event::PrefixDeleted { start })?;
        let snapshots = self.nodes[node].snapshots.keys().copied();
        let old: Vec<SnapshotId> = snapshots.filter(|known| known.end_offset < start).collect();
        for id in old {
            self.nodes[node].snapshots.remove(&id);
            self.step(node, Event::SnapshotDeleted { id })?;
        }
        Ok(())
    }

    /// Somebody wants another voter, or one less.
    fn membership(&mut self) -> Result<(), String> {
        let delay = 100 + self.dice.below(1_200);
        self.push(delay, What::Membership);
        let ids: BTreeSet<usize> = (0..self.nodes.len()).collect();
        let leads = |node: &usize| {
            self.nodes[*node].raft.as_ref().is_some_and(|raft| raft.leading().is_some())
        };
        let Some(leader) = ids.into_iter().find(leads) else { return Ok(()) };
        if !self.dynamic || self.nodes[leader].asleep_until > self.now {
            return Ok(());
        }
        let other = self.dice.below(self.nodes.len() as i64) as usize;
        let key = self.nodes[other].key;
        let Some(raft) = &self.nodes[leader].raft else { return Ok(()) };
        let votes = raft.history().voters().contains(&key);
        let listener = |at: &Endpoint| add_raft_voter_request::Listener {
            name: at.name.clone(),
            host: at.host.clone(),
            port: at.port,
            ..Default::default()
        };
        let request = if votes {
            Request::RemoveVoter(RemoveRaftVoterRequest {
                cluster_id: Some(CLUSTER.into()),
                voter_id: key.id,
                voter_directory_id: key.directory_id,
                ..Default::default()
            })
        } else {
            Request::AddVoter(AddRaftVoterRequest {
                cluster_id: Some(CLUSTER.into()),
                voter_id: key.id,
                voter_directory_id: key.directory_id,
                listeners: self.nodes[other].config.endpoints.iter().map(listener).collect(),
                ack_when_committed: self.dice.percent(50),
                ..Default::default()
            })
        };
        self.report.voter_changes += 1;
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.step(leader, Event::Requested { ticket, version: 1, request })
    }

    fn fault(&mut self) -> Result<(), String> {
        if !self.faulty {
            return Ok(());
        }
        let delay = 150 + self.dice.below(900);
        self.push(delay, What::Fault);
        let node = self.dice.below(self.nodes.len() as i64) as usize;
        match self.dice.below(12) {
            0..=3 => self.crash(node),
            4..=6 => {
                // A minority, a majority, or a single node on the other side.
                for other in 0..self.nodes.len() {
                    self.nodes[other].is_blocked = other == node || self.dice.percent(30);
                }
                let delay = 300 + self.dice.below(1_500);
                self.push(delay, What::Heal);
            }
            7 => self.nodes[node].asleep_until = self.now + self.dice.below(1_500),
            8..=9 => {
                // The power fails everywhere.
                for node in 0..self.nodes.len() {
                    self.crash(node);
                }
            }
            10 => self.step(node, Event::Resigning)?,
            _ => {
                // An orderly stop, cut off if it takes too long.
                let incarnation = self.nodes[node].incarnation;
                self.push(1_500, What::Crash(node, incarnation));
                self.step(node, Event::Stopping)?;
            }
        }
        Ok(())
    }

    /// The worst moment for a crash: right after something was promised.
    fn crash_soon(&mut self, node: usize, chance: i64) {
        if self.faulty && self.dice.percent(chance) {
            let incarnation = self.nodes[node].incarnation;
            let delay = self.dice.below(3);
            self.push(delay, What::Crash(node, incarnation));
        }
    }

    fn crash(&mut self, node: usize) {
        if self.nodes[node].raft.is_none() {
            return;
        }
        self.report.crashes += 1;
        let process_only = self.dice.percent(30);
        let (ops, stores) = (self.dice.below(4) as usize, self.dice.below(2) as usize);
        self.nodes[node].crash(process_only, ops, stores);
        let delay = match self.dice.percent(40) {
            true => 1 + self.dice.below(20),
            false => self.dice.below(800),
        };
        self.push(delay, What::Restart(node));
    }

    fn heal(&mut self) {
        for node in &mut self.nodes {
            node.is_blocked = false;
            if !self.faulty {
                node.asleep_until = 0;
            }
        }
    }
}

/// The metadata directory of a node.
fn directory(id: i32) -> Uuid {
    Uuid(1_000 + id as u128)
}
