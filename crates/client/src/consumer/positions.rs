//! The partitions a consumer reads, where it is in each, and what was fetched of them.
//!
//! Invariants:
//! - I1: a partition is in at most one fetch at a time, and in none while records of it wait.
//! - I2: what was asked before a partition was taken away, given again or moved by a seek changes
//!   nothing: every question carries the number under which it was asked.
//! - I3: records are handed out in the order of offsets, none twice, none left out.

use std::collections::{BTreeMap, BTreeSet};

use messages::fetch_response::PartitionData;
use wire::{Bytes, ErrorCode};

use super::ConsumerRecord;
use super::unpack::Fetched;
use crate::admin::OffsetSpec;
use crate::error::{ApiError, Error, Result};
use crate::options::{ConsumerOptions, OffsetReset};
use crate::topic_partition::TopicPartition;

/// A position to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next offset to read.
    pub offset: i64,
    /// The epoch of the record before it, if known.
    pub leader_epoch: Option<i32>,
}

/// Where a partition's position comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// It is known.
    At(Position),
    /// The group's committed offset, or else the reset policy.
    Committed,
    /// An offset to look up.
    Spec(OffsetSpec),
}

#[derive(Debug)]
struct Assigned {
    place: Where,
    /// Under which its position is asked for or fetched from (I2).
    number: u64,
    asking: bool,
    fetching: bool,
    not_before_ms: i64,
    paused: bool,
    fetched: Option<Fetched>,
    /// Where the application was when it polled last: all before counts as processed.
    processed: Option<Position>,
}

/// A partition to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which one.
    pub partition: TopicPartition,
    /// Under which number.
    pub number: u64,
    /// From where on.
    pub offset: i64,
    /// The leader's epoch, as far as known.
    pub leader_epoch: i32,
}

/// See the module. Times in milliseconds.
#[derive(Debug)]
pub struct Positions {
    reset: OffsetReset,
    in_group: bool,
    read_committed: bool,
    check_crcs: bool,
    only_key: Option<Bytes>,
    retry_backoff_ms: i64,
    partitions: BTreeMap<TopicPartition, Assigned>,
    busy: BTreeSet<i32>,
    next_number: u64,
    /// After which partition the next records are taken: every partition gets its turn.
    turn: Option<TopicPartition>,
    error: Option<Error>,
}

impl Positions {
    /// Of nothing yet.
    pub fn new(options: &ConsumerOptions, retry_backoff_ms: i64) -> Self {
        Self {
            reset: options.offset_reset,
            in_group: options.group_id.is_some(),
            read_committed: options.read_committed,
            check_crcs: options.check_crcs,
            only_key: options.only_key.clone(),
            retry_backoff_ms: retry_backoff_ms.max(1),
            partitions: BTreeMap::new(),
            busy: BTreeSet::new(),
            next_number: 0,
            turn: None,
            error: None,
        }
    }

    /// Reads exactly these from now on; those that stay keep their place.
    pub fn assign(&mut self, partitions: &[TopicPartition]) {
        self.partitions.retain(|partition, _| partitions.contains(partition));
        for partition in partitions {
            if !self.partitions.contains_key(partition) {
                let place = match (self.in_group, self.reset) {
                    (true, _) | (false, OffsetReset::None) => Where::Committed,
                    (false, OffsetReset::Earliest) => Where::Spec(OffsetSpec::Earliest),
                    (false, OffsetReset::Latest) => Where::Spec(OffsetSpec::Latest),
                };
                let number = self.number();
                let assigned = Assigned {
                    place,
                    number,
                    asking: false,
                    fetching: false,
                    not_before_ms: 0,
                    paused: false,
                    fetched: None,
                    processed: None,
                };
                self.partitions.insert(partition.clone(), assigned);
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// What is assigned.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    /// Reads on at another place.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        if offset < 0 {
            return Err(Error::Config("seek offset must not be a negative number".into()));
        }
        self.place(partition, Where::At(Position { offset, leader_epoch: None }))
    }

    /// Reads on at an offset that has to be looked up.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn seek_to(&mut self, partition: &TopicPartition, spec: OffsetSpec) -> Result<()> {
        self.place(partition, Where::Spec(spec))
    }

    fn place(&mut self, partition: &TopicPartition, place: Where) -> Result<()> {
        let number = self.number();
        let assigned = self.partitions.get_mut(partition).ok_or_else(|| not_assigned(partition))?;
        assigned.place = place;
        assigned.number = number;
        assigned.asking = false;
        assigned.fetching = false;
        assigned.fetched = None;
        assigned.not_before_ms = 0;
        Ok(())
    }

    /// Stops or resumes fetching a partition; its place stays.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn pause(&mut self, partition: &TopicPartition, paused: bool) -> Result<()> {
        let assigned = self.partitions.get_mut(partition).ok_or_else(|| not_assigned(partition))?;
        assigned.paused = paused;
        Ok(())
    }

    /// What is paused.
    pub fn paused(&self) -> Vec<TopicPartition> {
        let paused = self.partitions.iter().filter(|(_, assigned)| assigned.paused);
        paused.map(|(partition, _)| partition.clone()).collect()
    }

    /// The next offset that will be handed out; `None` while it is being found out.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn position(&self, partition: &TopicPartition) -> Result<Option<Position>> {
        let assigned = self.partitions.get(partition).ok_or_else(|| not_assigned(partition))?;
        Ok(match assigned.place {
            Where::At(position) => Some(position),
            Where::Committed | Where::Spec(_) => None,
        })
    }

    /// The application is back: what it was given before is processed.
    pub fn polled(&mut self) {
        for assigned in self.partitions.values_mut() {
            if let Where::At(position) = assigned.place {
                assigned.processed = Some(position);
            }
        }
    }

    /// What to commit: all that is processed.
    pub fn to_commit(&self) -> BTreeMap<TopicPartition, Position> {
        let processed = self.partitions.iter();
        processed.filter_map(|(one, assigned)| Some((one.clone(), assigned.processed?))).collect()
    }

    /// Partitions whose committed offset is to be asked for, and those whose offset is to be
    /// looked up, each with its number.
    #[allow(clippy::type_complexity)]
    pub fn questions(
        &mut self,
        now_ms: i64,
    ) -> (Vec<(TopicPartition, u64)>, Vec<(TopicPartition, u64, OffsetSpec)>) {
        let (mut committed, mut listed) = (Vec::new(), Vec::new());
        for (partition, assigned) in &mut self.partitions {
            if assigned.asking || assigned.not_before_ms > now_ms {
                continue;
            }
            match assigned.place {
                Where::At(_) => continue,
                Where::Committed if !self.in_group => {
                    self.error = Some(no_offset(partition));
                    continue;
                }
                Where::Committed => committed.push((partition.clone(), assigned.number)),
                Where::Spec(spec) => listed.push((partition.clone(), assigned.number, spec)),
            }
            assigned.asking = true;
        }
        (committed, listed)
    }

    /// A question was answered: a committed offset, or none.
    pub fn committed(
        &mut self,
        now_ms: i64,
        partition: &TopicPartition,
        number: u64,
        answer: Result<Option<Position>>,
    ) {
        let reset = self.reset;
        let Some(assigned) = self.current(partition, number) else { return };
        assigned.asking = false;
        match answer {
            Ok(Some(position)) => assigned.at(position),
            Ok(None) => match reset {
                OffsetReset::Earliest => assigned.place = Where::Spec(OffsetSpec::Earliest),
                OffsetReset::Latest => assigned.place = Where::Spec(OffsetSpec::Latest),
                OffsetReset::None => self.fail(now_ms, partition, no_offset(partition)),
            },
            Err(error) => self.fail(now_ms, partition, error),
        }
    }

    /// A question was answered: an offset that was looked up.
    pub fn listed(
        &mut self,
        now_ms: i64,
        partition: &TopicPartition,
        number: u64,
        answer: Result<Position>,
    ) {
        let Some(assigned) = self.current(partition, number) else { return };
        assigned.asking = false;
        match answer {
            Ok(position) => assigned.at(position),
            Err(error) => self.fail(now_ms, partition, error),
        }
    }

    /// Invariant I2.
    fn current(&mut self, partition: &TopicPartition, number: u64) -> Option<&mut Assigned> {
        self.partitions.get_mut(partition).filter(|assigned| assigned.number == number)
    }

    /// Tries again a little later, or tells the application.
    fn fail(&mut self, now_ms: i64, partition: &TopicPartition, error: Error) {
        let later = now_ms.saturating_add(self.retry_backoff_ms);
        if let Some(assigned) = self.partitions.get_mut(partition) {
            assigned.not_before_ms = later;
        }
        if !error.is_retriable() {
            self.error.get_or_insert(error);
        }
    }

    /// What to fetch from whom; brokers with a fetch under way are left alone.
    pub fn fetches(
        &mut self,
        now_ms: i64,
        leader: impl Fn(&TopicPartition) -> Option<(i32, i32)>,
    ) -> (BTreeMap<i32, Vec<Wanted>>, BTreeSet<String>) {
        let mut fetches: BTreeMap<i32, Vec<Wanted>> = BTreeMap::new();
        let mut leaderless = BTreeSet::new();
        for (partition, assigned) in &mut self.partitions {
            let Where::At(position) = assigned.place else { continue };
            let waits = assigned.fetching
                || assigned.paused
                || assigned.fetched.is_some()
                || assigned.not_before_ms > now_ms;
            if waits {
                continue;
            }
            let Some((broker, leader_epoch)) = leader(partition) else {
                leaderless.insert(partition.topic.clone());
                continue;
            };
            if self.busy.contains(&broker) {
                continue;
            }
            assigned.fetching = true;
            fetches.entry(broker).or_default().push(Wanted {
                partition: partition.clone(),
                number: assigned.number,
                offset: position.offset,
                leader_epoch,
            });
        }
        self.busy.extend(fetches.keys());
        (fetches, leaderless)
    }

    /// When a partition that has to wait may be asked about again.
    pub fn next_ms(&self, now_ms: i64) -> Option<i64> {
        let waiting = self.partitions.values().map(|assigned| assigned.not_before_ms);
        waiting.filter(|at| *at > now_ms).min()
    }

    /// A fetch is over; its partitions, as far as answered, were given to [`Self::fetched`].
    /// `rest`: not to be fetched again at once.
    pub fn fetch_done(&mut self, now_ms: i64, broker: i32, wanted: &[Wanted], rest: bool) {
        self.busy.remove(&broker);
        let later = now_ms.saturating_add(self.retry_backoff_ms);
        for one in wanted {
            if let Some(assigned) = self.current(&one.partition, one.number) {
                assigned.fetching = false;
                if rest {
                    assigned.not_before_ms = later;
                }
            }
        }
    }

    /// A fetch failed as a whole: what does not pass is told.
    pub fn fetch_failed(&mut self, error: &Error) {
        // Metadata mends a broker that is not there.
        let passes = error.is_retriable()
            || error.code() == Some(ErrorCode::BROKER_NOT_AVAILABLE)
            || matches!(error, Error::Closed(_));
        if !passes {
            self.error.get_or_insert_with(|| error.clone());
        }
    }

    /// A partition of an answer. True if metadata is to be asked for.
    pub fn fetched(&mut self, now_ms: i64, wanted: &Wanted, data: PartitionData) -> bool {
        let (read_committed, check_crcs) = (self.read_committed, self.check_crcs);
        let only_key = self.only_key.clone();
        let reset = self.reset;
        let partition = &wanted.partition;
        let Some(assigned) = self.current(partition, wanted.number) else { return false };
        assigned.fetching = false;
        let code = ErrorCode(data.error_code);
        match code {
            ErrorCode::NONE => {
                let searched_to = searched_to(wanted, &data).filter(|_| only_key.is_some());
                let records = data.records.unwrap_or_default();
                if records.is_empty() {
                    if let (Some(offset), Where::At(position)) = (searched_to, assigned.place) {
                        assigned.place = Where::At(Position { offset, ..position });
                    }
                    return false;
                }
                let aborted = data.aborted_transactions.unwrap_or_default().into_iter();
                let aborted = aborted.map(|one| (one.producer_id, one.first_offset)).collect();
                let fetched = Fetched::new(
                    partition.topic.as_str().into(),
                    partition.partition,
                    records,
                    wanted.offset,
                    read_committed.then_some(aborted),
                    check_crcs,
                );
                assigned.fetched = Some(fetched.only_key(only_key));
                false
            }
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                match reset {
                    OffsetReset::Earliest => assigned.place = Where::Spec(OffsetSpec::Earliest),
                    OffsetReset::Latest => assigned.place = Where::Spec(OffsetSpec::Latest),
                    OffsetReset::None => {
                        let words = format!(
                            "Fetch position {} of {partition} is out of range, and \
                             auto.offset.reset is none.",
                            wanted.offset
                        );
                        self.fail(now_ms, partition, Error::Broker(code, words));
                    }
                }
                false
            }
            // It will be as damaged the next time: whoever waits for records has to hear of it.
            ErrorCode::CORRUPT_MESSAGE => {
                let words = format!("{partition} is damaged at offset {}", wanted.offset);
                let error = Error::Broker(code, words);
                self.error.get_or_insert(error);
                self.fail(now_ms, partition, ApiError::of(code).into());
                false
            }
            code => {
                self.fail(now_ms, partition, ApiError::of(code).into());
                code.is_retriable()
            }
        }
    }

    /// Up to `max` records, partition by partition in turn.
    ///
    /// # Errors
    /// What a partition can't be read for; told once everything before it was handed out.
    pub fn take(&mut self, max: usize) -> Result<Vec<ConsumerRecord>> {
        let mut records = Vec::new();
        let after = |turn: &Option<TopicPartition>, one: &TopicPartition| {
            turn.as_ref().is_none_or(|turn| one > turn)
        };
        let turn = self.turn.clone();
        let (first, then): (Vec<_>, Vec<_>) = self
            .partitions
            .iter_mut()
            .filter(|(_, assigned)| assigned.fetched.is_some() && !assigned.paused)
            .partition(|(one, _)| after(&turn, one));
        for (partition, assigned) in first.into_iter().chain(then) {
            if records.len() >= max {
                break;
            }
            self.turn = Some(partition.clone());
            while records.len() < max {
                match assigned.next() {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => break,
                    Err(error) => {
                        // The next poll fetches it again, and fails again: nothing is left out.
                        if records.is_empty() {
                            return Err(error);
                        }
                        return Ok(records);
                    }
                }
            }
        }
        match self.error.take() {
            Some(error) if records.is_empty() => Err(error),
            Some(error) => {
                self.error = Some(error);
                Ok(records)
            }
            None => Ok(records),
        }
    }
}

impl Assigned {
    fn at(&mut self, position: Position) {
        self.place = Where::At(position);
        self.processed = Some(position);
    }

    /// The next record of what was fetched; what is used up is dropped.
    fn next(&mut self) -> Result<Option<ConsumerRecord>> {
        let Some(fetched) = &mut self.fetched else { return Ok(None) };
        let next = fetched.next_record();
        let position =
            Position { offset: fetched.position(), leader_epoch: fetched.leader_epoch() };
        if let Where::At(_) = self.place {
            self.place = Where::At(position);
        }
        if !matches!(next, Ok(Some(_))) {
            self.fetched = None;
        }
        next
    }
}

/// How far a broker looked for the only key wanted, and found nothing, if that is news.
pub fn searched_to(wanted: &Wanted, data: &PartitionData) -> Option<i64> {
    data.searched_to().filter(|offset| *offset > wanted.offset)
}

fn not_assigned(partition: &TopicPartition) -> Error {
    Error::Config(format!("No current assignment for partition {partition}"))
}

fn no_offset(partition: &TopicPartition) -> Error {
    Error::Config(format!(
        "Undefined offset with no reset policy for partition {partition} (auto.offset.reset=none)"
    ))
}

#[cfg(test)]
#[path = "positions/tests.rs"]
mod tests;
