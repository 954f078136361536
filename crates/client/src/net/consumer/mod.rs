//! The consumer's shell: a task that carries out what membership and positions decide, and the
//! calls of the application.
//!
//! Invariants:
//! - I1: the state's lock is never held across an await.
//! - I2: records are taken out of the state and returned without an await in between, so that a
//!   poll that is cancelled loses none.
//! - I3: a commit never replaces one of positions that were noted later.

mod driver;
mod look_up;
mod requests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use wire::ErrorCode;

use super::{Client, Patience};
use crate::Admin;
use crate::admin::{CommittedOffset, Isolation, ListedOffset, OffsetSpec};
use crate::consumer::ConsumerRecord;
use crate::consumer::group::{Command, Identity, Membership};
use crate::consumer::positions::{Position, Positions};
use crate::error::{Error, Result};
use crate::topic_partition::TopicPartition;

/// Reads records, alone or as a member of a group. Cheap to clone; clones are the same member.
/// Without [`Consumer::close`] nothing is committed at the end, and the group waits for the
/// session's timeout before others get its partitions.
#[derive(Clone, Debug)]
pub struct Consumer(Arc<Handle>);

/// Where to begin in a partition that is assigned by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Here.
    At(i64),
    /// At the first offset.
    Beginning,
    /// At the end, so that only what comes later is read.
    End,
}

/// Which topics to read, for a consumer that does not name them.
#[derive(Clone)]
struct Pattern {
    matches: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// The cluster's topics were looked through once.
    looked: bool,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pattern").field("looked", &self.looked).finish_non_exhaustive()
    }
}

/// Ends the task when the last consumer is dropped.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }
}

#[derive(Debug)]
struct Shared {
    client: Client,
    state: Mutex<State>,
    /// Something may be to be done.
    wake: Notify,
    /// Something changed that a caller may wait for.
    changed: Notify,
    closed: AtomicBool,
    started: Instant,
    /// One commit at a time, so that none overtakes another (I3).
    commits: tokio::sync::Mutex<()>,
    /// For fetches, which brokers hold back.
    fetch_lane: u32,
    /// For the group, whose coordinator holds back joins.
    group_lane: u32,
    /// For commits and heartbeats, which a join that is held back must not hold up.
    commit_lane: u32,
}

#[derive(Debug)]
struct State {
    membership: Option<Membership>,
    positions: Positions,
    subscribed: bool,
    /// By what topics are subscribed to, if not by name.
    pattern: Option<Pattern>,
    /// Polls under way.
    polls: usize,
    commit_due_ms: i64,
    committing: bool,
    commit_serial: u64,
    /// What this member committed last, and under which serial it was noted.
    committed: BTreeMap<TopicPartition, (u64, Position)>,
}

/// Counts a poll as long as it lasts, cancelled or not.
struct Polling<'a>(&'a Shared);

impl<'a> Polling<'a> {
    /// What was returned before is processed now.
    fn begin(shared: &'a Shared) -> Self {
        let mut state = shared.lock();
        state.polls += 1;
        state.positions.polled();
        Self(shared)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.polls -= 1;
        let now = self.0.now_ms();
        if let Some(membership) = &mut state.membership {
            membership.polled(now);
        }
    }
}

impl Consumer {
    /// A consumer with the client's options; it reads nothing yet.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(client: Client) -> Self {
        let options = client.options();
        let backoff = options.retry_backoff.after(1).as_millis() as i64;
        let membership = options.consumer.group_id.as_ref();
        let membership = membership
            .map(|group| Membership::new(group, &options.rack, &options.consumer, backoff));
        let state = State {
            membership,
            positions: Positions::new(&options.consumer, backoff),
            subscribed: false,
            pattern: None,
            polls: 0,
            commit_due_ms: 0,
            committing: false,
            commit_serial: 0,
            committed: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            fetch_lane: client.take_lane(),
            group_lane: client.take_lane(),
            commit_lane: client.take_lane(),
            client,
            state: Mutex::new(state),
            wake: Notify::new(),
            changed: Notify::new(),
            closed: AtomicBool::new(false),
            commits: tokio::sync::Mutex::default(),
            started: Instant::now(),
        });
        tokio::spawn(driver::Driver::new(shared.clone()).run());
        Self(Arc::new(Handle(shared)))
    }

    /// Reads these topics as a member of the group `group.id`, which shares out their partitions;
    /// replaces what was subscribed to before. The group is joined by polling.
    ///
    /// # Errors
    /// There is no `group.id`, partitions were assigned by hand, or a name is blank.
    pub fn subscribe<S: AsRef<str>>(&self, topics: &[S]) -> Result<()> {
        let shared = &self.0.0;
        let mut state = shared.lock();
        if !state.subscribed && !state.positions.assignment().is_empty() {
            return Err(exclusive());
        }
        let topics: Vec<String> = topics.iter().map(|topic| topic.as_ref().to_owned()).collect();
        if topics.iter().any(|topic| topic.trim().is_empty()) {
            let words = "Topic collection to subscribe to cannot contain null or empty topic";
            return Err(Error::Config(words.into()));
        }
        let now = shared.now_ms();
        let membership = state.membership.as_mut().ok_or_else(no_group)?;
        membership.polled(now);
        let commands = membership.subscribe(&topics);
        state.subscribed = !topics.is_empty();
        state.pattern = None;
        drop(state);
        // Leaving is all that can be asked for here.
        for command in commands {
            match command {
                Command::Leave(member) => shared.leave_behind(member),
                Command::Assigned(partitions) => shared.lock().positions.assign(&partitions),
                _ => {}
            }
        }
        shared.wake.notify_one();
        Ok(())
    }

    /// As [`Self::subscribe`], to whatever topics `matches` says, now and later: the cluster is
    /// looked through when this is called and every `metadata.max.age.ms`. The topics that it
    /// keeps for itself are left out unless `exclude.internal.topics` is false.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub fn subscribe_matching(
        &self,
        matches: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<()> {
        let shared = &self.0.0;
        let mut state = shared.lock();
        if !state.subscribed && !state.positions.assignment().is_empty() {
            return Err(exclusive());
        }
        let now = shared.now_ms();
        // What was subscribed to before stays until the topics are known.
        state.membership.as_mut().ok_or_else(no_group)?.polled(now);
        state.subscribed = true;
        state.pattern = Some(Pattern { matches: Arc::new(matches), looked: false });
        drop(state);
        shared.wake.notify_one();
        Ok(())
    }

    /// Leaves the group, or drops what was assigned by hand.
    pub fn unsubscribe(&self) {
        let subscribed = self.0.0.lock().subscribed;
        match subscribed {
            true => drop(self.subscribe::<&str>(&[])),
            false => self.0.0.lock().positions.assign(&[]),
        }
    }

    /// Reads exactly these partitions, without a group's help; those that stay keep their place.
    ///
    /// # Errors
    /// Topics are subscribed to.
    pub fn assign(&self, partitions: &[TopicPartition]) -> Result<()> {
        let mut state = self.0.0.lock();
        if state.subscribed {
            return Err(exclusive());
        }
        state.positions.assign(partitions);
        drop(state);
        self.0.0.wake.notify_one();
        Ok(())
    }

    /// As [`Self::assign`], each from that place on, whatever was committed.
    ///
    /// # Errors
    /// Topics are subscribed to, or an offset is negative.
    pub fn assign_from(&self, partitions: &[(TopicPartition, Start)]) -> Result<()> {
        let mut state = self.0.0.lock();
        if state.subscribed {
            return Err(exclusive());
        }
        let names: Vec<TopicPartition> = partitions.iter().map(|(one, _)| one.clone()).collect();
        state.positions.assign(&names);
        // Under the same lock, so that nobody asks where to begin in between.
        for (partition, start) in partitions {
            match start {
                Start::At(offset) => state.positions.seek(partition, *offset)?,
                Start::Beginning => state.positions.seek_to(partition, OffsetSpec::Earliest)?,
                Start::End => state.positions.seek_to(partition, OffsetSpec::Latest)?,
            }
        }
        drop(state);
        self.0.0.wake.notify_one();
        Ok(())
    }

    /// The partitions that are read now.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.0.0.lock().positions.assignment()
    }

    /// The topics that are subscribed to.
    pub fn subscription(&self) -> Vec<String> {
        let state = self.0.0.lock();
        state.membership.as_ref().map(|member| member.topics().to_vec()).unwrap_or_default()
    }

    /// Up to `max.poll.records` records, as soon as there are any; none if `patience` ends before.
    ///
    /// A group is joined and rebalanced only within polls, so poll again within
    /// `max.poll.interval.ms`. What a poll returned counts as processed at the next one: that is
    /// what auto commit commits. Safe to cancel: no record is lost.
    ///
    /// # Errors
    /// What keeps records from being read or this member from its group. Polling again goes on
    /// after the error, where that is possible.
    pub async fn poll(&self, patience: Duration) -> Result<Vec<ConsumerRecord>> {
        let shared = &self.0.0;
        let max = shared.client.options().consumer.max_poll_records;
        let deadline = Instant::now().checked_add(patience);
        let polling = Polling::begin(shared);
        loop {
            let changed = shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the look, so that no change in between is missed.
            changed.as_mut().enable();
            if shared.closed.load(Ordering::Acquire) {
                return Err(Error::Closed("consumer"));
            }
            let records = shared.take(max);
            shared.wake.notify_one();
            match records {
                Ok(records) if records.is_empty() => {}
                other => {
                    drop(polling);
                    return other;
                }
            }
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if timeout(left, changed).await.is_err() {
                return shared.take(max);
            }
        }
    }

    /// Reads on at this offset.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn seek(&self, partition: &TopicPartition, offset: i64) -> Result<()> {
        let result = self.0.0.lock().positions.seek(partition, offset);
        self.0.0.wake.notify_one();
        result
    }

    /// Reads on at the beginning of these partitions, or of all.
    ///
    /// # Errors
    /// A partition is not assigned.
    pub fn seek_to_beginning(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.seek_to(partitions, OffsetSpec::Earliest)
    }

    /// Reads on at the end of these partitions, or of all.
    ///
    /// # Errors
    /// A partition is not assigned.
    pub fn seek_to_end(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.seek_to(partitions, OffsetSpec::Latest)
    }

    fn seek_to(&self, partitions: &[TopicPartition], spec: OffsetSpec) -> Result<()> {
        let mut state = self.0.0.lock();
        let all = state.positions.assignment();
        for partition in if partitions.is_empty() { &all } else { partitions } {
            state.positions.seek_to(partition, spec)?;
        }
        drop(state);
        self.0.0.wake.notify_one();
        Ok(())
    }

    /// Stops fetching these partitions; they stay assigned.
    ///
    /// # Errors
    /// A partition is not assigned.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, true)
    }

    /// Fetches them again.
    ///
    /// # Errors
    /// A partition is not assigned.
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, false)
    }

    fn set_paused(&self, partitions: &[TopicPartition], paused: bool) -> Result<()> {
        let mut state = self.0.0.lock();
        partitions.iter().try_for_each(|one| state.positions.pause(one, paused))?;
        drop(state);
        self.0.0.wake.notify_one();
        Ok(())
    }

    /// What is paused.
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.0.0.lock().positions.paused()
    }

    /// The offset of the next record a poll returns, found out if need be.
    ///
    /// # Errors
    /// The partition is not assigned, or nothing is known in `default.api.timeout.ms`.
    pub async fn position(&self, partition: &TopicPartition) -> Result<i64> {
        let shared = &self.0.0;
        let whole = shared.client.options().api_timeout;
        let found = async {
            loop {
                let changed = shared.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                if let Some(position) = shared.lock().positions.position(partition)? {
                    return Ok(position.offset);
                }
                shared.wake.notify_one();
                changed.await;
            }
        };
        let late = Error::Timeout { what: format!("position of {partition}"), after: whole };
        timeout(whole, found).await.unwrap_or(Err(late))
    }

    /// Commits everything that polls returned so far, and waits for it.
    ///
    /// # Errors
    /// The group refused, most likely because it rebalanced and the partitions are others' now.
    pub async fn commit_sync(&self) -> Result<()> {
        let noted = self.0.0.note_all();
        self.0.0.commit(noted).await
    }

    /// Commits these offsets: each the next one to read.
    ///
    /// # Errors
    /// As [`Self::commit_sync`].
    pub async fn commit_offsets(&self, offsets: &[(TopicPartition, i64)]) -> Result<()> {
        let position = |offset| Position { offset, leader_epoch: None };
        let offsets = offsets.iter().map(|(one, offset)| (one.clone(), position(*offset)));
        let noted = self.0.0.lock().note(offsets.collect());
        self.0.0.commit(noted).await
    }

    /// Commits everything that polls returned so far; `done` is told what became of it.
    pub fn commit_async(&self, done: impl FnOnce(Result<()>) + Send + 'static) {
        let shared = self.0.0.clone();
        let noted = shared.note_all();
        tokio::spawn(async move { done(shared.commit(noted).await) });
    }

    /// What the group committed for partitions.
    ///
    /// # Errors
    /// There is no `group.id`, or the coordinator's error.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<CommittedOffset>)>> {
        let client = &self.0.0.client;
        let group = client.options().consumer.group_id.as_ref().ok_or_else(no_group)?;
        let admin = Admin::new(client.clone());
        let found = admin.list_consumer_group_offsets(group, Some(partitions), true).await?;
        found.into_iter().map(|(one, answer)| Ok((one, answer?))).collect()
    }

    /// The first record at or after these times (milliseconds since 1970) of each partition.
    ///
    /// # Errors
    /// What a leader said about a partition.
    pub async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<Vec<(TopicPartition, Option<ListedOffset>)>> {
        let wanted = times.iter().map(|(one, ms)| (one.clone(), OffsetSpec::Timestamp(*ms)));
        let found = self.list(wanted.collect()).await?;
        Ok(found.into_iter().map(|(one, at)| (one, Some(at).filter(|at| at.offset >= 0))).collect())
    }

    /// The first offset of each partition.
    ///
    /// # Errors
    /// What a leader said about a partition.
    pub async fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, i64)>> {
        let wanted = partitions.iter().map(|one| (one.clone(), OffsetSpec::Earliest));
        let found = self.list(wanted.collect()).await?;
        Ok(found.into_iter().map(|(one, at)| (one, at.offset)).collect())
    }

    /// The end of each partition: the offset that the next record will have, or, under
    /// `read_committed`, the first offset of an open transaction.
    ///
    /// # Errors
    /// What a leader said about a partition.
    pub async fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, i64)>> {
        let wanted = partitions.iter().map(|one| (one.clone(), OffsetSpec::Latest));
        let found = self.list(wanted.collect()).await?;
        Ok(found.into_iter().map(|(one, at)| (one, at.offset)).collect())
    }

    async fn list(
        &self,
        wanted: Vec<(TopicPartition, OffsetSpec)>,
    ) -> Result<Vec<(TopicPartition, ListedOffset)>> {
        let client = &self.0.0.client;
        let isolation = isolation(client.options().consumer.read_committed);
        let found = Admin::new(client.clone()).list_offsets(&wanted, isolation).await?;
        found.into_iter().map(|(one, answer)| Ok((one, answer?))).collect()
    }

    /// Who this member is in its group.
    pub fn group_identity(&self) -> Option<Identity> {
        self.0.0.lock().membership.as_ref().map(Membership::identity)
    }

    /// Commits if auto commit is on, leaves the group unless the member is static, and ends the
    /// consumer and every clone of it.
    ///
    /// # Errors
    /// The last commit failed; the consumer is closed nevertheless.
    pub async fn close(self) -> Result<()> {
        let shared = self.0.0.clone();
        let options = shared.client.options();
        let whole = options.request_timeout;
        let mut result = Ok(());
        let (commits, member) = {
            let state = shared.lock();
            let identity = state.membership.as_ref().map(Membership::identity);
            let member = identity.filter(|identity| {
                !identity.member_id.is_empty() && identity.instance_id.is_none()
            });
            (state.commits_itself(&shared.client), member)
        };
        if commits {
            let late = Error::Timeout { what: "the last commit".into(), after: whole };
            let commit = shared.commit(shared.note_all());
            result = timeout(whole, commit).await.unwrap_or(Err(late));
        }
        shared.closed.store(true, Ordering::Release);
        shared.wake.notify_one();
        if let Some(member) = member {
            // Whether it is heard or not: the session's timeout does the same later.
            let _ = timeout(whole, requests::leave(&shared.client, member.member_id)).await;
        }
        shared.changed.notify_waiters();
        result
    }
}

/// What is to be committed, by whom, as of when.
#[derive(Debug)]
struct Noted {
    /// Rises with every note.
    serial: u64,
    /// Of when it was noted: in a later generation the partitions may be others'.
    identity: Identity,
    offsets: BTreeMap<TopicPartition, Position>,
}

impl State {
    /// Notes positions to commit.
    fn note(&mut self, offsets: BTreeMap<TopicPartition, Position>) -> Noted {
        self.commit_serial += 1;
        Noted { serial: self.commit_serial, identity: self.identity(), offsets }
    }

    /// Those of which nothing noted later is committed.
    fn still_new(&self, noted: &Noted) -> BTreeMap<TopicPartition, Position> {
        let mut offsets = noted.offsets.clone();
        offsets.retain(|one, _| {
            self.committed.get(one).is_none_or(|(serial, _)| *serial < noted.serial)
        });
        offsets
    }

    /// The identity for a commit: that of no member if partitions were assigned by hand.
    fn identity(&self) -> Identity {
        let member = self.membership.as_ref().filter(|_| self.subscribed);
        let nobody = Identity { generation: -1, member_id: String::new(), instance_id: None };
        member.map_or(nobody, Membership::identity)
    }

    /// True if it is for the consumer to commit.
    fn commits_itself(&self, client: &Client) -> bool {
        let options = &client.options().consumer;
        let member = self.membership.as_ref().map(Membership::identity);
        let may = member.is_some_and(|member| !self.subscribed || member.generation >= 0);
        options.auto_commit && may
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it holds this; and if it did, the data is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        self.started.elapsed().as_millis() as i64
    }

    fn group(&self) -> Result<&str> {
        self.client.options().consumer.group_id.as_deref().ok_or_else(no_group)
    }

    fn take(&self, max: usize) -> Result<Vec<ConsumerRecord>> {
        let mut state = self.lock();
        if state.subscribed
            && let Some(membership) = &mut state.membership
        {
            if let Some(error) = membership.take_fatal() {
                return Err(error);
            }
            if membership.holds_back() {
                return Ok(Vec::new());
            }
        }
        state.positions.take(max)
    }

    /// Commits what was noted, after whatever is being committed. A position that was noted
    /// later and is committed already is left alone (I3).
    async fn commit(&self, noted: Noted) -> Result<()> {
        let group = self.group()?;
        let options = self.client.options();
        let mut patience = Patience::new(options.api_timeout, options.retry_backoff);
        let _turn = self.commits.lock().await;
        loop {
            let offsets = self.lock().still_new(&noted);
            if offsets.is_empty() {
                return Ok(());
            }
            let (lane, identity) = (self.commit_lane, &noted.identity);
            let answer = requests::commit(&self.client, group, lane, identity, &offsets).await;
            let error = match answer {
                Ok(code) if code.is_none() => {
                    let done = offsets.into_iter().map(|(one, at)| (one, (noted.serial, at)));
                    self.lock().committed.extend(done);
                    return Ok(());
                }
                Ok(code) => {
                    self.commit_refused(identity, code);
                    crate::ApiError::of(code).into()
                }
                Err(error) => error,
            };
            self.client.forget_coordinator(group);
            patience.again("commit", error).await?;
        }
    }

    /// Notes everything that was handed out: the application says that it is processed.
    fn note_all(&self) -> Noted {
        let mut state = self.lock();
        state.positions.polled();
        let offsets = state.positions.to_commit();
        state.note(offsets)
    }

    fn commit_refused(&self, identity: &Identity, code: ErrorCode) {
        let now = self.now_ms();
        let mut state = self.lock();
        let commands = match &mut state.membership {
            Some(membership) => membership.commit_refused(now, identity, code),
            None => Vec::new(),
        };
        for command in commands {
            if let Command::Assigned(partitions) = command {
                state.positions.assign(&partitions);
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Tells the coordinator, and waits for nothing.
    fn leave_behind(&self, member: String) {
        let client = self.client.clone();
        tokio::spawn(async move {
            let _ = requests::leave(&client, member).await;
        });
    }
}

fn isolation(read_committed: bool) -> Isolation {
    if read_committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

fn no_group() -> Error {
    Error::Config(
        "To use the group management or offset commit APIs, you must provide a valid group.id in \
         the consumer configuration."
            .into(),
    )
}

fn exclusive() -> Error {
    Error::Config("Subscription to topics, partitions and pattern are mutually exclusive".into())
}
