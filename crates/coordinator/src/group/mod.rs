//! The groups of one partition of `__consumer_offsets`: what is durable, what is volatile, and
//! which timer is due.
//!
//! Durable is what records say ([`Durable`]): the last record of each group, and offsets. It is
//! changed by [`Durable::replay`] only. Volatile is the life of classic groups between records
//! ([`classic::Group`]): who joins, waits, votes. After an unload it is built anew.
//!
//! Invariants:
//! - I1: a `Stable` group is, but for the time of its state, what its last record says.
//! - I2: every group that has a record or an offset, and is not of another protocol, is in `live`.
//! - I3: a timer exists for each member and each id handed out, unless a request of it waits.

pub mod admin;
pub mod assignment;
pub mod classic;
pub mod offsets;
pub mod rebalance;
pub mod sessions;
mod timers;

use std::collections::BTreeMap;

use messages::GroupMetadataValue;
use wire::{Bytes, ErrorCode};

use crate::operation::{Answer, Caller, Request};
use crate::record::{Encoded, ForeignKind, Record};
use crate::{GroupConfig, IdSource, Now};
use classic::{Group, State};
use offsets::OffsetStore;
use timers::{Timer, Timers};

/// What records say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durable {
    /// The last record of each group.
    pub groups: BTreeMap<String, GroupMetadataValue>,
    /// Groups of other protocols.
    pub foreign: BTreeMap<String, ForeignKind>,
    /// Offsets, and those of transactions still open.
    pub offsets: OffsetStore,
}

impl Durable {
    /// Applies a record; `producer` is the id of the transaction it is part of.
    pub fn replay(&mut self, record: &Record, producer: Option<i64>) {
        match record {
            Record::Offset(key, value) => self.offsets.replay(key, value.as_ref(), producer),
            Record::Group(group, Some(value)) => {
                // The later record says which protocol the group has now.
                self.foreign.remove(group);
                self.groups.insert(group.clone(), value.clone());
            }
            Record::Group(group, None) => {
                self.groups.remove(group);
            }
            Record::Foreign(group, Some(kind)) => {
                self.groups.remove(group);
                self.foreign.insert(group.clone(), *kind);
            }
            Record::Foreign(group, None) => {
                self.foreign.remove(group);
            }
        }
    }
}

/// What one step brings forth.
pub struct Turn<'a> {
    /// The step's time.
    pub now: Now,
    /// Where member ids come from.
    pub ids: &'a mut dyn IdSource,
    /// No unit may be larger: one batch has to hold it.
    pub batch_bytes_max: usize,
    /// Records to append; a unit is appended whole or not at all.
    pub units: Vec<Vec<Encoded>>,
    /// Who is answered what, and how many units the answer saw.
    pub answers: Vec<(u64, Answer, usize)>,
}

impl<'a> Turn<'a> {
    /// A step at that time.
    pub fn new(now: Now, ids: &'a mut dyn IdSource, batch_bytes_max: usize) -> Self {
        Self { now, ids, batch_bytes_max, units: Vec::new(), answers: Vec::new() }
    }

    /// Answers a request.
    pub fn answer(&mut self, token: u64, answer: Answer) {
        self.answers.push((token, answer, self.units.len()));
    }

    /// Takes decided records: encodes, checks and replays them. Nothing happens on an error.
    ///
    /// # Errors
    /// What a client is told if they can't be one batch.
    pub fn write(&mut self, durable: &mut Durable, records: &[Record]) -> Result<(), ErrorCode> {
        if records.is_empty() {
            return Ok(());
        }
        let mut unit = Vec::with_capacity(records.len());
        let mut bytes = BATCH_OVERHEAD;
        for record in records {
            let encoded = record.encode().map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
            bytes += encoded_bytes(&encoded);
            unit.push(encoded);
        }
        if bytes > self.batch_bytes_max {
            return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
        }
        for record in records {
            durable.replay(record, None);
        }
        self.units.push(unit);
        Ok(())
    }
}

/// At least the bytes that a record takes in a batch.
pub fn encoded_bytes((key, value): &Encoded) -> usize {
    key.len() + value.as_ref().map_or(0, Bytes::len) + RECORD_OVERHEAD
}

/// The groups of one partition.
#[derive(Debug)]
pub struct Groups {
    config: GroupConfig,
    durable: Durable,
    live: BTreeMap<String, Group>,
    timers: Timers,
}

/// One group within a step, with what it may touch.
struct Life<'a, 'b> {
    id: &'a str,
    group: &'a mut Group,
    durable: &'a mut Durable,
    timers: &'a mut Timers,
    config: &'a GroupConfig,
    turn: &'a mut Turn<'b>,
}

impl Groups {
    /// No groups yet.
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            durable: Durable::default(),
            live: BTreeMap::new(),
            timers: Timers::default(),
        }
    }

    /// What records say.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// The groups as they live.
    pub fn live(&self) -> &BTreeMap<String, Group> {
        &self.live
    }

    /// Applies a record read from the log.
    pub fn replay(&mut self, record: &Record, producer: Option<i64>) {
        self.durable.replay(record, producer);
    }

    /// Applies the marker that ends a transaction.
    pub fn end_transaction(&mut self, producer: i64, committed: bool) {
        self.durable.offsets.end_transaction(producer, committed);
    }

    /// Everything was read: brings the groups to life.
    pub fn start(&mut self, turn: &mut Turn<'_>) {
        for (id, value) in &self.durable.groups {
            self.live.insert(id.clone(), Group::from_record(value));
        }
        for id in self.durable.offsets.groups() {
            if !self.durable.foreign.contains_key(&id) {
                self.live.entry(id).or_insert_with(|| Group::new(turn.now.wall_ms));
            }
        }
        let ids: Vec<String> = self.live.keys().cloned().collect();
        for id in ids {
            self.with(&id, turn, |life| life.resume());
        }
        self.timers.set(Timer::Expiry, turn.now.steady_ms + self.config.offsets_check_interval_ms);
    }

    /// The coordinator goes away: everybody who waits in a group is told so.
    pub fn stop(&mut self, code: ErrorCode, turn: &mut Turn<'_>) {
        for group in self.live.values_mut() {
            for member in group.members.values_mut() {
                if let Some(token) = member.waiting_join.take() {
                    let answer =
                        messages::JoinGroupResponse { error_code: code.0, ..Default::default() };
                    turn.answer(token, Answer::Join(answer));
                }
                if let Some(token) = member.waiting_sync.take() {
                    let answer =
                        messages::SyncGroupResponse { error_code: code.0, ..Default::default() };
                    turn.answer(token, Answer::Sync(answer));
                }
            }
        }
        *self = Self::new(self.config.clone());
    }

    /// When a timer is due.
    pub fn next_deadline_ms(&self) -> i64 {
        self.timers.next_ms()
    }

    /// Carries out a request about groups of this partition.
    pub fn request(&mut self, caller: Caller, request: Request, turn: &mut Turn<'_>) {
        let token = caller.token;
        match request {
            Request::Join(request) => self.join(caller, request, turn),
            Request::Sync(request) => self.sync(token, request, turn),
            Request::Heartbeat(request) => {
                let answer = self.heartbeat(&request, turn);
                turn.answer(token, Answer::Heartbeat(answer));
            }
            Request::Leave(request) => self.leave(token, request, turn),
            Request::Commit(request) => {
                let answer = self.commit(&caller, &request, turn);
                turn.answer(token, Answer::Commit(answer));
            }
            Request::Fetch(groups, stable) => {
                let groups = groups.iter().map(|group| self.fetch(group, stable)).collect();
                turn.answer(token, Answer::Fetch(groups));
            }
            Request::DeleteOffsets(request) => {
                let answer = self.delete_offsets(&request, turn);
                turn.answer(token, Answer::DeleteOffsets(answer));
            }
            Request::Describe(groups) => {
                let answer = self.describe(&groups, caller.version);
                turn.answer(token, Answer::Describe(answer));
            }
            Request::List(request) => {
                let answer = self.list(&request);
                turn.answer(token, Answer::List(answer));
            }
            Request::Delete(groups) => {
                let answer = self.delete(&groups, turn);
                turn.answer(token, Answer::Delete(answer));
            }
        }
    }

    /// Does what is due by now.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some(timer) = self.timers.pop_due(turn.now.steady_ms) {
            match timer {
                Timer::Session(group, member) => {
                    self.with(&group, turn, |life| life.session_ended(&member));
                }
                Timer::Join(group) => {
                    self.with(&group, turn, |life| life.join_phase_ended());
                }
                Timer::Sync(group) => {
                    self.with(&group, turn, |life| life.sync_phase_ended());
                }
                Timer::Expiry => {
                    self.expire_offsets(turn);
                    let next = turn.now.steady_ms + self.config.offsets_check_interval_ms.max(1);
                    self.timers.set(Timer::Expiry, next);
                }
            }
        }
    }

    /// Works on a group; `None` if there is none.
    fn with<T>(
        &mut self,
        id: &str,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Life<'_, '_>) -> T,
    ) -> Option<T> {
        let group = self.live.get_mut(id)?;
        let mut life = Life {
            id,
            group,
            durable: &mut self.durable,
            timers: &mut self.timers,
            config: &self.config,
            turn,
        };
        Some(work(&mut life))
    }

    /// Forgets the life of a group whose records are gone.
    fn bury(&mut self, id: &str) {
        if let Some(group) = self.live.remove(id) {
            for member in group.members.keys().chain(&group.pending_joins) {
                self.timers.cancel(&Timer::Session(id.to_owned(), member.clone()));
            }
            self.timers.cancel(&Timer::Join(id.to_owned()));
            self.timers.cancel(&Timer::Sync(id.to_owned()));
        }
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one does not hold: a mistake of ours.
    pub fn check(&self) {
        for (id, group) in &self.live {
            group.check();
            if group.state == State::Stable {
                // As it would be loaded: what others wrote may say things twice.
                let stored = self.durable.groups.get(id).map(Group::from_record);
                let said = |group: &Group| GroupMetadataValue {
                    current_state_timestamp: -1,
                    ..group.as_recorded()
                };
                assert_eq!(stored.as_ref().map(said), Some(said(group)), "I1: group {id}");
            }
            for (member, state) in &group.members {
                let key = Timer::Session(id.clone(), member.clone());
                let waits = state.is_alive_by_waiting();
                assert!(waits || self.timers.is_set(&key), "I3: {member} of {id}");
            }
            for member in &group.pending_joins {
                let key = Timer::Session(id.clone(), member.clone());
                assert!(self.timers.is_set(&key), "I3: {member} of {id}");
            }
        }
        let with_offsets = self.durable.offsets.groups();
        for id in self.durable.groups.keys().chain(&with_offsets) {
            let known = self.live.contains_key(id) || self.durable.foreign.contains_key(id);
            assert!(known, "I2: group {id}");
        }
        self.durable.offsets.check();
    }
}

/// Bytes of a batch around its records.
pub const BATCH_OVERHEAD: usize = 61;
/// At most: length, attributes, deltas, two lengths and a header count.
const RECORD_OVERHEAD: usize = 36;
