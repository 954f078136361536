//! The task behind a consumer: does what membership and positions decide, and tells them what
//! came of it.
//!
//! Invariants:
//! - I1: every request runs in a task of its own and ends in one [`Report`]; nothing here waits for
//!   one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use messages::{
    FetchResponse, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wire::{ErrorCode, Uuid};

use super::{Noted, Shared, State, isolation, requests};
use crate::Admin;
use crate::admin::{CommittedOffset, Item, ListedOffset, OffsetSpec};
use crate::consumer::group::{Command, Identity, Membership};
use crate::consumer::positions::{Position, Positions, Wanted, searched_to};
use crate::error::{ApiError, Error, Result};
use crate::net::client::How;
use crate::net::{Client, To, pause};
use crate::topic_partition::TopicPartition;

/// What the task is told.
enum Report {
    Joined(u64, Result<JoinGroupResponse>),
    Counted(u64, Result<BTreeMap<String, i32>>),
    Synced(u64, Result<SyncGroupResponse>),
    Heartbeat(Identity, Result<ErrorCode>),
    Committed(
        Vec<(TopicPartition, u64)>,
        Result<Vec<Item<TopicPartition, Option<CommittedOffset>>>>,
    ),
    Listed(Vec<(TopicPartition, u64, OffsetSpec)>, Result<Vec<Item<TopicPartition, ListedOffset>>>),
    Fetched(Answered),
    AutoCommitted,
    /// Of every topic, if it worked and was asked for.
    Refreshed {
        all: bool,
    },
    /// Metadata may be asked for again.
    Rested,
}

/// What came of a fetch.
struct Answered {
    broker: i32,
    wanted: Vec<Wanted>,
    /// Under which ids topics were asked for.
    ids: BTreeMap<Uuid, String>,
    answer: Result<FetchResponse>,
    took: Duration,
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    reports: mpsc::UnboundedReceiver<Report>,
    report: mpsc::UnboundedSender<Report>,
    refreshing: bool,
    refresh_due_ms: i64,
    wanted: BTreeSet<String>,
    /// Metadata of every topic is wanted.
    all_wanted: bool,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (report, reports) = mpsc::unbounded_channel();
        let refresh_due_ms = shared.client.options().metadata_max_age.as_millis() as i64;
        Self {
            shared,
            reports,
            report,
            refreshing: false,
            refresh_due_ms,
            wanted: BTreeSet::new(),
            all_wanted: false,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.shared.closed.load(Ordering::Acquire) {
            let wait = self.step();
            let shared = self.shared.clone();
            tokio::select! {
                () = shared.wake.notified() => {}
                Some(report) = self.reports.recv() => {
                    self.take_report(report);
                    while let Ok(report) = self.reports.try_recv() {
                        self.take_report(report);
                    }
                    shared.changed.notify_waiters();
                }
                () = pause(wait) => {}
            }
        }
        self.shared.changed.notify_waiters();
        self.shared.client.close_lane(self.shared.fetch_lane);
        self.shared.client.close_lane(self.shared.group_lane);
        self.shared.client.close_lane(self.shared.commit_lane);
    }

    /// Does what is to be done; how long until there is more.
    fn step(&mut self) -> Duration {
        let now = self.shared.now_ms();
        let mut next: Vec<i64> = Vec::new();
        let shared = self.shared.clone();
        let mut state = shared.lock();
        let polling = state.polls > 0;
        let mut commands = Vec::new();
        if state.subscribed
            && let Some(membership) = &mut state.membership
        {
            let (more, at) = membership.step(now, polling);
            commands = more;
            next.extend(at);
        }
        drop(state);
        self.carry_out(commands);
        let mut state = shared.lock();
        let (committed, listed) = state.positions.questions(now);
        let client = &shared.client;
        let leader =
            |one: &TopicPartition| client.metadata(|known| known.leader(&one.topic, one.partition));
        let (fetches, leaderless) = state.positions.fetches(now, leader);
        next.extend(state.positions.next_ms(now));
        let commit = self.auto_commit(&mut state, now, &mut next);
        if now >= self.refresh_due_ms {
            let age = client.options().metadata_max_age.as_millis() as i64;
            self.refresh_due_ms = now.saturating_add(age.max(1));
            self.wanted.extend(topics(&state));
            self.all_wanted |= state.pattern.is_some();
        }
        self.all_wanted |= state.pattern.as_ref().is_some_and(|pattern| !pattern.looked);
        next.push(self.refresh_due_ms);
        drop(state);
        self.wanted.extend(leaderless);
        self.ask(committed, listed);
        for (broker, wanted) in fetches {
            self.fetch(broker, wanted);
        }
        if let Some(noted) = commit {
            let report = self.report.clone();
            tokio::spawn(async move {
                // What is not committed now is, with more, the next time.
                let _ = shared.commit(noted).await;
                let _ = report.send(Report::AutoCommitted);
            });
        }
        self.refresh();
        let next = next.into_iter().min().unwrap_or(i64::MAX);
        let wait = next.saturating_sub(self.shared.now_ms()).clamp(0, IDLE_MS);
        Duration::from_millis(wait as u64)
    }

    fn auto_commit(&self, state: &mut State, now: i64, next: &mut Vec<i64>) -> Option<Noted> {
        if !state.commits_itself(&self.shared.client) || state.committing {
            return None;
        }
        if now < state.commit_due_ms {
            next.push(state.commit_due_ms);
            return None;
        }
        let interval = self.shared.client.options().consumer.auto_commit_interval;
        state.commit_due_ms = now.saturating_add(interval.as_millis() as i64);
        next.push(state.commit_due_ms);
        let mut offsets = state.positions.to_commit();
        offsets.retain(|one, at| state.committed.get(one).is_none_or(|(_, done)| done != at));
        if offsets.is_empty() {
            return None;
        }
        state.committing = true;
        Some(state.note(offsets))
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Join { attempt, request, revoke } => self.join(attempt, *request, revoke),
                Command::Count { attempt, topics } => self.count(attempt, topics),
                Command::Sync { attempt, request } => self.sync(attempt, *request),
                Command::Heartbeat => self.heartbeat(),
                Command::Leave(member) => self.shared.leave_behind(member),
                Command::Assigned(partitions) => {
                    let mut state = self.shared.lock();
                    state.positions.assign(&partitions);
                    // Others may commit for what is not read here.
                    state.committed.clear();
                }
                Command::Forget => {
                    if let Ok(group) = self.shared.group() {
                        self.shared.client.forget_coordinator(group);
                    }
                }
            }
        }
    }

    /// Commits what is processed, in the generation that ends, and joins the next.
    fn join(&self, attempt: u64, request: JoinGroupRequest, revoke: bool) {
        let (shared, report) = (self.shared.clone(), self.report.clone());
        let mut state = shared.lock();
        let commits = state.commits_itself(&shared.client);
        let offsets = state.positions.to_commit();
        let noted = commits.then(|| state.note(offsets));
        if revoke {
            state.positions.assign(&[]);
        }
        drop(state);
        tokio::spawn(async move {
            let (client, lane) = (&shared.client, shared.group_lane);
            if let Some(noted) = noted {
                // Refused or late: the join matters more.
                let _ = timeout(COMMIT_PATIENCE, shared.commit(noted)).await;
            }
            let answer = requests::join(client, lane, request).await;
            let _ = report.send(Report::Joined(attempt, answer));
        });
    }

    fn count(&self, attempt: u64, topics: BTreeSet<String>) {
        let (shared, report) = (self.shared.clone(), self.report.clone());
        tokio::spawn(async move {
            let may_create = shared.client.options().consumer.auto_create_topics;
            let named: Vec<String> = topics.iter().cloned().collect();
            let refreshed = shared.client.refresh(Some(named), may_create).await;
            let own = shared.lock().membership.as_ref().map(|member| member.topics().to_vec());
            let refused = refused(&shared.client, own.iter().flatten());
            let counts = refreshed
                .and_then(|()| refused.map_or(Ok(()), Err))
                .map(|()| counts(&shared.client, topics.iter()));
            let _ = report.send(Report::Counted(attempt, counts));
        });
    }

    fn sync(&self, attempt: u64, request: SyncGroupRequest) {
        let (shared, report) = (self.shared.clone(), self.report.clone());
        tokio::spawn(async move {
            let answer = requests::sync(&shared.client, shared.group_lane, request).await;
            let _ = report.send(Report::Synced(attempt, answer));
        });
    }

    fn heartbeat(&self) {
        let (shared, report) = (self.shared.clone(), self.report.clone());
        let identity = shared.lock().identity();
        tokio::spawn(async move {
            let answer = async {
                let group = shared.group()?;
                let shape = |version: i16| {
                    Ok(HeartbeatRequest {
                        group_id: group.to_owned(),
                        generation_id: identity.generation,
                        member_id: identity.member_id.clone(),
                        group_instance_id: identity.instance_id.clone().filter(|_| version >= 3),
                        ..Default::default()
                    })
                };
                let how = How { lane: shared.commit_lane, ..How::default() };
                let to = To::Group(group.to_owned());
                let call = shared.client.call_how::<HeartbeatRequest, _>(&to, how, shape);
                Ok(ErrorCode(call.await?.error_code))
            };
            let answer = answer.await;
            let _ = report.send(Report::Heartbeat(identity, answer));
        });
    }

    fn ask(
        &self,
        committed: Vec<(TopicPartition, u64)>,
        listed: Vec<(TopicPartition, u64, OffsetSpec)>,
    ) {
        let admin = Admin::new(self.shared.client.clone());
        let options = self.shared.client.options();
        if let (false, Some(group)) = (committed.is_empty(), options.consumer.group_id.clone()) {
            let (admin, report) = (admin.clone(), self.report.clone());
            tokio::spawn(async move {
                let asked: Vec<_> = committed.iter().map(|(one, _)| one.clone()).collect();
                let answer = admin.list_consumer_group_offsets(&group, Some(&asked), true).await;
                let _ = report.send(Report::Committed(committed, answer));
            });
        }
        if !listed.is_empty() {
            let report = self.report.clone();
            let isolation = isolation(options.consumer.read_committed);
            tokio::spawn(async move {
                let asked: Vec<_> =
                    listed.iter().map(|(one, _, spec)| (one.clone(), *spec)).collect();
                let answer = admin.list_offsets(&asked, isolation).await;
                let _ = report.send(Report::Listed(listed, answer));
            });
        }
    }

    fn fetch(&self, broker: i32, wanted: Vec<Wanted>) {
        let (shared, report) = (self.shared.clone(), self.report.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let (client, lane) = (&shared.client, shared.fetch_lane);
            let only_key = client.options().consumer.only_key.as_ref();
            let (ids, answer) = requests::fetch(client, broker, lane, &wanted, only_key).await;
            let took = began.elapsed();
            let answered = Answered { broker, wanted, ids, answer, took };
            let _ = report.send(Report::Fetched(answered));
        });
    }

    fn take_report(&mut self, report: Report) {
        let now = self.shared.now_ms();
        let shared = self.shared.clone();
        let mut state = shared.lock();
        let mut commands = Vec::new();
        let State { membership, positions, .. } = &mut *state;
        match (report, membership) {
            (Report::Joined(attempt, answer), Some(member)) => {
                commands = member.joined(now, attempt, answer);
            }
            (Report::Counted(attempt, Ok(counts)), Some(member)) => {
                commands = member.lead(attempt, counts);
            }
            (Report::Counted(attempt, Err(error)), Some(member)) => {
                commands = member.synced(now, attempt, Err(error));
            }
            (Report::Synced(attempt, answer), Some(member)) => {
                commands = member.synced(now, attempt, answer);
            }
            (Report::Heartbeat(identity, answer), Some(member)) => {
                commands = member.heartbeat(now, &identity, answer);
            }
            (Report::Committed(asked, answer), _) => committed(positions, now, &asked, answer),
            (Report::Listed(asked, answer), _) => listed(positions, now, &asked, answer),
            (Report::Fetched(answered), _) => {
                let moved = self.fetched(positions, now, answered);
                self.wanted.extend(moved);
            }
            (Report::AutoCommitted, _) => state.committing = false,
            (Report::Rested, _) => self.refreshing = false,
            (Report::Refreshed { all }, _) => commands = refreshed(&mut state, &shared.client, all),
            (_, None) => {}
        }
        drop(state);
        self.carry_out(commands);
    }

    /// Takes in a fetch; topics whose leaders have to be looked for.
    fn fetched(&self, positions: &mut Positions, now: i64, answered: Answered) -> BTreeSet<String> {
        let Answered { broker, wanted, ids, answer, took } = answered;
        let mut moved = BTreeSet::new();
        let answer = answer.and_then(|response| {
            ApiError::check(response.error_code, None)?;
            Ok(response)
        });
        // A broker that has nothing waits before it says so; one that doesn't is not to be asked
        // in a circle.
        let max_wait = self.shared.client.options().consumer.fetch_max_wait;
        let news = |response: &FetchResponse| {
            let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
            // Of a key that is looked for it is news where it is not.
            partitions.any(|data| wanted.iter().any(|one| searched_to(one, data).is_some()))
        };
        let hasty = answer.as_ref().is_ok_and(|response| is_empty(response) && !news(response))
            && took < max_wait / 2;
        let rest = answer.is_err() || hasty;
        let topics = match answer {
            Ok(response) => response.responses,
            Err(error) => {
                moved.extend(wanted.iter().map(|one| one.partition.topic.clone()));
                positions.fetch_failed(&error);
                Vec::new()
            }
        };
        for topic in topics {
            let name = match topic.topic_id.is_zero() {
                true => Some(topic.topic),
                false => ids.get(&topic.topic_id).cloned(),
            };
            // A topic that was not asked for.
            let Some(name) = name else { continue };
            for data in topic.partitions {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                let Some(asked) = wanted.iter().find(|one| one.partition == partition) else {
                    continue;
                };
                let leader = data.current_leader.clone();
                if positions.fetched(now, asked, data) {
                    let known = self.shared.client.metadata_mut(|known| {
                        let (id, epoch) = (leader.leader_id, leader.leader_epoch);
                        known.leader_moved(&name, partition.partition, id, epoch)
                    });
                    if !known {
                        moved.insert(name.clone());
                    }
                }
            }
        }
        positions.fetch_done(now, broker, &wanted, rest);
        moved
    }

    /// One refresh at a time, with a pause between two.
    fn refresh(&mut self) {
        if self.refreshing || (self.wanted.is_empty() && !self.all_wanted) {
            return;
        }
        self.refreshing = true;
        let all = std::mem::take(&mut self.all_wanted);
        // The question after every topic creates none; those wanted by name come after it.
        let topics =
            (!all).then(|| std::mem::take(&mut self.wanted).into_iter().collect::<Vec<_>>());
        let (shared, report) = (self.shared.clone(), self.report.clone());
        tokio::spawn(async move {
            let options = shared.client.options();
            let may_create = options.consumer.auto_create_topics;
            let refreshed = shared.client.refresh(topics, may_create).await;
            let _ = report.send(Report::Refreshed { all: all && refreshed.is_ok() });
            pause(options.retry_backoff.after(1)).await;
            let _ = report.send(Report::Rested);
        });
    }
}

/// Takes in metadata: topics may have come, gone or grown, or are refused.
fn refreshed(state: &mut State, client: &Client, all: bool) -> Vec<Command> {
    let mut commands = Vec::new();
    if let (true, Some(pattern), Some(member)) = (all, &mut state.pattern, &mut state.membership) {
        pattern.looked = true;
        let internal = !client.options().consumer.exclude_internal_topics;
        let matching: Vec<String> = client.metadata(|known| {
            let wanted = known.topics().filter(|topic| internal || !topic.is_internal);
            wanted.filter(|one| (pattern.matches)(&one.name)).map(|one| one.name.clone()).collect()
        });
        // Both are in the order of names.
        if member.topics() != matching {
            commands = member.subscribe(&matching);
        }
    }
    if let Some(member) = &mut state.membership {
        member.counted(&counts(client, member.watched().iter()));
    }
    let assigned: BTreeSet<String> =
        state.positions.assignment().into_iter().map(|one| one.topic).collect();
    if let Some(error) = refused(client, assigned.iter()) {
        state.positions.fetch_failed(&error);
    }
    commands
}

/// The first topic that will never be there, or not for this client.
fn refused<'a>(client: &Client, topics: impl Iterator<Item = &'a String>) -> Option<Error> {
    client.metadata(|known| {
        let mut errors = topics.filter_map(|name| Some((name, known.error(name)?)));
        errors.find_map(|(name, code)| match code {
            ErrorCode::INVALID_TOPIC_EXCEPTION | ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
                Some(Error::Broker(code, format!("{name}: {}", ApiError::of(code))))
            }
            _ => None,
        })
    })
}

/// True if no partition of an answer says anything.
fn is_empty(response: &FetchResponse) -> bool {
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.all(|data| {
        data.error_code == 0 && data.records.as_ref().is_none_or(|records| records.is_empty())
    })
}

fn committed(
    positions: &mut Positions,
    now: i64,
    asked: &[(TopicPartition, u64)],
    answer: Result<Vec<Item<TopicPartition, Option<CommittedOffset>>>>,
) {
    let position = |found: CommittedOffset| Position {
        offset: found.offset,
        leader_epoch: found.leader_epoch,
    };
    for (one, number) in asked {
        let answer = match &answer {
            Err(error) => Err(error.clone()),
            Ok(items) => match items.iter().find(|(of, _)| of == one) {
                Some((_, Ok(found))) => Ok(found.clone().map(position)),
                Some((_, Err(error))) => Err(error.clone().into()),
                None => Ok(None),
            },
        };
        positions.committed(now, one, *number, answer);
    }
}

fn listed(
    positions: &mut Positions,
    now: i64,
    asked: &[(TopicPartition, u64, OffsetSpec)],
    answer: Result<Vec<Item<TopicPartition, ListedOffset>>>,
) {
    for (one, number, _) in asked {
        let answer = match &answer {
            Err(error) => Err(error.clone()),
            Ok(items) => match items.iter().find(|(of, _)| of == one) {
                Some((_, Ok(at))) => Ok(Position { offset: at.offset.max(0), leader_epoch: None }),
                Some((_, Err(error))) => Err(error.clone().into()),
                None => Err(Error::Protocol(format!("no offset for {one}"))),
            },
        };
        positions.listed(now, one, *number, answer);
    }
}

/// How many partitions topics have, as far as they are known.
fn counts<'a>(client: &Client, topics: impl Iterator<Item = &'a String>) -> BTreeMap<String, i32> {
    client.metadata(|known| {
        let counted = topics.filter_map(|name| {
            let count = known.topic(name)?.partitions.len();
            Some((name.clone(), i32::try_from(count).unwrap_or(i32::MAX)))
        });
        counted.collect()
    })
}

/// Every topic that is read or wanted.
fn topics(state: &State) -> BTreeSet<String> {
    let assigned = state.positions.assignment().into_iter().map(|one| one.topic);
    let wanted = state.membership.iter().flat_map(Membership::watched);
    assigned.chain(wanted).collect()
}

/// How long a join waits for the commit before it.
const COMMIT_PATIENCE: Duration = Duration::from_secs(3);
/// The longest sleep.
const IDLE_MS: i64 = 60_000;
