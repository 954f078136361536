//! Membership of a classic group: when to join, what to say, when to be heard.
//!
//! A rebalance goes on only while the application polls, because its partitions are taken from
//! under it; heartbeats go on without it, until it has not polled for `max.poll.interval.ms`.
//!
//! Invariants:
//! - I1: at most one request of joining (JoinGroup, SyncGroup) is under way; answers to an attempt
//!   that was given up change nothing.
//! - I2: under an eager protocol a member that joins owns nothing; under a cooperative one it keeps
//!   what it has until an assignment takes it away.
//! - I3: heartbeats carry the generation of the last assignment, and are sent only with one.

use std::collections::{BTreeMap, BTreeSet};

use messages::join_group_request::JoinGroupRequestProtocol;
use messages::sync_group_request::SyncGroupRequestAssignment;
use messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse};
use wire::{Bytes, ErrorCode};

use super::assignor;
use super::protocol::{
    Subscription, decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use crate::error::{ApiError, Error};
use crate::options::{Assignor, ConsumerOptions};
use crate::topic_partition::TopicPartition;

/// What the shell has to do; answers come back with the attempt's number.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Commit what was processed if auto commit is on, then send it. Under an eager protocol all
    /// partitions are to be let go of first.
    Join {
        /// The attempt.
        attempt: u64,
        /// The request; fields that older versions lack are the shell's to clear.
        request: Box<JoinGroupRequest>,
        /// Let go of everything.
        revoke: bool,
    },
    /// Find out how many partitions these topics have, then call [`Membership::lead`].
    Count {
        /// The attempt.
        attempt: u64,
        /// Every topic that some member wants.
        topics: BTreeSet<String>,
    },
    /// Send it.
    Sync {
        /// The attempt.
        attempt: u64,
        /// The request.
        request: Box<SyncGroupRequest>,
    },
    /// Send a heartbeat of [`Membership::identity`].
    Heartbeat,
    /// Leave the group as this member.
    Leave(String),
    /// These are this member's partitions now.
    Assigned(Vec<TopicPartition>),
    /// Forget who coordinates the group.
    Forget,
}

/// Who a member is to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The generation; -1 outside of one.
    pub generation: i32,
    /// The member id; empty before the coordinator gave one.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not a member; joins when the application polls.
    Out,
    /// JoinGroup is under way.
    Joining,
    /// Counting partitions, or SyncGroup is under way.
    Syncing,
    /// A member with an assignment.
    Stable,
}

/// See the module. Times in milliseconds.
#[derive(Debug)]
pub struct Membership {
    group_id: String,
    instance_id: Option<String>,
    rack: Option<String>,
    session_timeout_ms: i64,
    heartbeat_interval_ms: i64,
    max_poll_interval_ms: i64,
    retry_backoff_ms: i64,
    assignors: Vec<Assignor>,
    topics: Vec<String>,
    phase: Phase,
    attempt: u64,
    member_id: String,
    generation: i32,
    /// What was assigned last, and in which generation.
    owned: Vec<TopicPartition>,
    rejoin: bool,
    not_before_ms: i64,
    /// As the leader: members and what they want.
    led: Option<Led>,
    /// Partition counts this member led by; a change makes it rebalance.
    counts: Option<BTreeMap<String, i32>>,
    /// Every topic of the group it leads.
    led_topics: BTreeSet<String>,
    heartbeat_due_ms: i64,
    heartbeat_under_way: bool,
    heard_ms: i64,
    polled_ms: i64,
    fatal: Option<Error>,
}

#[derive(Debug)]
struct Led {
    assignor: Assignor,
    members: BTreeMap<String, Subscription>,
    protocol_type: Option<String>,
    protocol_name: Option<String>,
}

impl Membership {
    /// A member to be of `group_id`.
    pub fn new(
        group_id: &str,
        rack: &str,
        options: &ConsumerOptions,
        retry_backoff_ms: i64,
    ) -> Self {
        let ms =
            |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self {
            group_id: group_id.to_owned(),
            instance_id: options.group_instance_id.clone(),
            rack: Some(rack.to_owned()).filter(|rack| !rack.is_empty()),
            session_timeout_ms: ms(options.session_timeout),
            heartbeat_interval_ms: ms(options.heartbeat_interval),
            max_poll_interval_ms: ms(options.max_poll_interval),
            retry_backoff_ms: retry_backoff_ms.max(1),
            assignors: options.assignors.clone(),
            topics: Vec::new(),
            phase: Phase::Out,
            attempt: 0,
            member_id: String::new(),
            generation: -1,
            owned: Vec::new(),
            rejoin: false,
            not_before_ms: 0,
            led: None,
            counts: None,
            led_topics: BTreeSet::new(),
            heartbeat_due_ms: 0,
            heartbeat_under_way: false,
            heard_ms: 0,
            polled_ms: 0,
            fatal: None,
        }
    }

    /// The topics to read; none means to leave.
    pub fn subscribe(&mut self, topics: &[String]) -> Vec<Command> {
        self.topics = topics.to_vec();
        self.topics.sort();
        self.topics.dedup();
        self.rejoin = true;
        self.fatal = None;
        if self.topics.is_empty() { self.leave() } else { Vec::new() }
    }

    /// The topics to read.
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Who this member is now.
    pub fn identity(&self) -> Identity {
        Identity {
            generation: self.generation,
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
        }
    }

    /// The application polled.
    pub fn polled(&mut self, now_ms: i64) {
        self.polled_ms = now_ms;
    }

    /// True if records must not be handed out: partitions are about to be taken away.
    pub fn holds_back(&self) -> bool {
        match self.phase {
            Phase::Stable => self.rejoin,
            Phase::Out => true,
            Phase::Joining | Phase::Syncing => !self.is_cooperative(),
        }
    }

    /// What can't be helped; told once.
    pub fn take_fatal(&mut self) -> Option<Error> {
        let fatal = self.fatal.take()?;
        // The next poll tries again: the application may have mended what was wrong.
        self.not_before_ms = 0;
        Some(fatal)
    }

    /// Every assignor must be cooperative for the group to be.
    pub fn is_cooperative(&self) -> bool {
        self.assignors.iter().all(|assignor| assignor.is_cooperative())
    }

    /// What to do now, and when to look again. `polling`: the application is in a poll.
    pub fn step(&mut self, now_ms: i64, polling: bool) -> (Vec<Command>, Option<i64>) {
        let mut commands = Vec::new();
        if self.topics.is_empty() || self.fatal.is_some() {
            return (commands, None);
        }
        let has_generation = self.generation >= 0 && self.phase == Phase::Stable;
        let idle_since = if polling { now_ms } else { self.polled_ms };
        if has_generation && now_ms - idle_since > self.max_poll_interval_ms {
            commands.extend(self.leave());
            return (commands, None);
        }
        let due = match self.phase {
            Phase::Out => polling,
            Phase::Stable => self.rejoin && polling,
            Phase::Joining | Phase::Syncing => false,
        };
        if due && now_ms >= self.not_before_ms {
            commands.push(self.join());
            return (commands, None);
        }
        let mut next = due.then_some(self.not_before_ms);
        if has_generation {
            if now_ms - self.heard_ms > self.session_timeout_ms {
                // The coordinator is out of reach, or forgot this member: ask who it is.
                self.heard_ms = now_ms;
                commands.push(Command::Forget);
            }
            if !self.heartbeat_under_way && now_ms >= self.heartbeat_due_ms {
                self.heartbeat_under_way = true;
                self.heartbeat_due_ms = now_ms.saturating_add(self.heartbeat_interval_ms);
                commands.push(Command::Heartbeat);
            }
            let alarms = [self.heartbeat_due_ms, self.polled_ms + self.max_poll_interval_ms + 1];
            let alarm = alarms.into_iter().filter(|at| *at > now_ms).min();
            next = [next, alarm].into_iter().flatten().min();
        }
        (commands, next)
    }

    fn join(&mut self) -> Command {
        self.attempt += 1;
        self.phase = Phase::Joining;
        self.rejoin = false;
        let revoke = !self.is_cooperative();
        self.counts = None;
        let protocols = self.assignors.iter().map(|assignor| JoinGroupRequestProtocol {
            name: assignor.name().to_owned(),
            metadata: encode_subscription(&self.subscription(*assignor), *assignor),
            ..Default::default()
        });
        let ms = |ms: i64| i32::try_from(ms).unwrap_or(i32::MAX);
        let request = JoinGroupRequest {
            group_id: self.group_id.clone(),
            session_timeout_ms: ms(self.session_timeout_ms),
            rebalance_timeout_ms: ms(self.max_poll_interval_ms),
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id.clone(),
            protocol_type: "consumer".to_owned(),
            protocols: protocols.collect(),
            ..Default::default()
        };
        Command::Join { attempt: self.attempt, request: Box::new(request), revoke }
    }

    /// What this member says under one assignor. By I2 an eager member owns nothing, whatever the
    /// group chooses (KIP-429); that the eager sticky assignor is told what it had is a wish.
    fn subscription(&self, assignor: Assignor) -> Subscription {
        let keeps = self.is_cooperative() || assignor == Assignor::Sticky;
        Subscription {
            topics: self.topics.clone(),
            owned: if keeps { self.owned.clone() } else { Vec::new() },
            generation: self.generation,
            rack: self.rack.clone(),
            instance_id: None,
        }
    }

    /// JoinGroup was answered, or failed on the way.
    pub fn joined(
        &mut self,
        now_ms: i64,
        attempt: u64,
        answer: Result<JoinGroupResponse, Error>,
    ) -> Vec<Command> {
        if attempt != self.attempt || self.phase != Phase::Joining {
            return Vec::new();
        }
        let response = match answer {
            Ok(response) => response,
            Err(error) => return self.failed(now_ms, error),
        };
        let code = ErrorCode(response.error_code);
        if code == ErrorCode::MEMBER_ID_REQUIRED {
            // KIP-394: the same again under the id that was given.
            self.member_id = response.member_id;
            self.phase = Phase::Out;
            self.not_before_ms = now_ms;
            return Vec::new();
        }
        if !code.is_none() {
            return self.refused(now_ms, code);
        }
        self.member_id = response.member_id.clone();
        self.generation = response.generation_id;
        self.phase = Phase::Syncing;
        self.heard_ms = now_ms;
        let name = response.protocol_name.clone().unwrap_or_default();
        if response.leader != response.member_id || response.skip_assignment {
            self.counts = None;
            return vec![self.sync(response.protocol_type, response.protocol_name, Vec::new())];
        }
        let Some(assignor) = Assignor::from_name(&name) else {
            let words = format!("the group chose {name:?}, which this member did not offer");
            return self.failed(now_ms, Error::Protocol(words));
        };
        let members = response.members.into_iter().map(|member| {
            let mut subscription = decode_subscription(&member.metadata, assignor);
            subscription.instance_id = member.group_instance_id;
            (member.member_id, subscription)
        });
        let members: BTreeMap<String, Subscription> = members.collect();
        let topics = members.values().flat_map(|member| member.topics.iter().cloned());
        let topics: BTreeSet<String> = topics.collect();
        self.led_topics.clone_from(&topics);
        let (protocol_type, protocol_name) = (response.protocol_type, response.protocol_name);
        self.led = Some(Led { assignor, members, protocol_type, protocol_name });
        vec![Command::Count { attempt, topics }]
    }

    /// The leader knows how many partitions there are: it assigns them.
    pub fn lead(&mut self, attempt: u64, counts: BTreeMap<String, i32>) -> Vec<Command> {
        if attempt != self.attempt || self.phase != Phase::Syncing {
            return Vec::new();
        }
        let Some(led) = self.led.take() else { return Vec::new() };
        let assignment = assignor::assign(led.assignor, &led.members, &counts);
        self.counts = Some(counts);
        let assignments =
            assignment.into_iter().map(|(member_id, partitions)| SyncGroupRequestAssignment {
                member_id,
                assignment: encode_assignment(&partitions),
                ..Default::default()
            });
        vec![self.sync(led.protocol_type, led.protocol_name, assignments.collect())]
    }

    fn sync(
        &self,
        protocol_type: Option<String>,
        protocol_name: Option<String>,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) -> Command {
        let request = SyncGroupRequest {
            group_id: self.group_id.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id.clone(),
            protocol_type: protocol_type.or(Some("consumer".to_owned())),
            protocol_name,
            assignments,
            ..Default::default()
        };
        Command::Sync { attempt: self.attempt, request: Box::new(request) }
    }

    /// SyncGroup was answered, or something failed between JoinGroup and that.
    pub fn synced(
        &mut self,
        now_ms: i64,
        attempt: u64,
        answer: Result<SyncGroupResponse, Error>,
    ) -> Vec<Command> {
        if attempt != self.attempt || self.phase != Phase::Syncing {
            return Vec::new();
        }
        let response = match answer {
            Ok(response) => response,
            Err(error) => return self.failed(now_ms, error),
        };
        let code = ErrorCode(response.error_code);
        if !code.is_none() {
            return self.refused(now_ms, code);
        }
        self.assigned(now_ms, &response.assignment)
    }

    fn assigned(&mut self, now_ms: i64, bytes: &Bytes) -> Vec<Command> {
        let Some(mut partitions) = decode_assignment(bytes) else {
            let words = "the leader's assignment can't be read".to_owned();
            return self.failed(now_ms, Error::Protocol(words));
        };
        partitions.sort();
        self.phase = Phase::Stable;
        self.heard_ms = now_ms;
        self.polled_ms = self.polled_ms.max(now_ms);
        self.heartbeat_due_ms = now_ms.saturating_add(self.heartbeat_interval_ms);
        self.heartbeat_under_way = false;
        // What was taken away can be given to others as soon as this member says so (KIP-429).
        let gave_up = self.owned.iter().any(|owned| !partitions.contains(owned));
        self.rejoin |= self.is_cooperative() && gave_up;
        self.owned = partitions.clone();
        vec![Command::Assigned(partitions)]
    }

    /// A heartbeat was answered.
    pub fn heartbeat(
        &mut self,
        now_ms: i64,
        of: &Identity,
        answer: Result<ErrorCode, Error>,
    ) -> Vec<Command> {
        if *of != self.identity() {
            return Vec::new();
        }
        self.heartbeat_under_way = false;
        if self.phase != Phase::Stable {
            return Vec::new();
        }
        match answer {
            Ok(code) if code.is_none() => {
                self.heard_ms = now_ms;
                Vec::new()
            }
            Ok(ErrorCode::REBALANCE_IN_PROGRESS) => {
                self.heard_ms = now_ms;
                self.rejoin = true;
                Vec::new()
            }
            Ok(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) => Vec::new(),
            Ok(code) => self.refused(now_ms, code),
            Err(_) => {
                self.heartbeat_due_ms = now_ms.saturating_add(self.retry_backoff_ms);
                vec![Command::Forget]
            }
        }
    }

    /// A commit was refused with this code: what it says about the membership.
    pub fn commit_refused(&mut self, now_ms: i64, of: &Identity, code: ErrorCode) -> Vec<Command> {
        if *of != self.identity() || self.phase != Phase::Stable {
            return Vec::new();
        }
        match code {
            ErrorCode::REBALANCE_IN_PROGRESS => {
                self.rejoin = true;
                Vec::new()
            }
            ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::FENCED_INSTANCE_ID => self.refused(now_ms, code),
            _ => Vec::new(),
        }
    }

    /// Topics whose partitions matter to this member: its own, and as the leader every member's.
    pub fn watched(&self) -> BTreeSet<String> {
        let led = self.led_topics.iter().filter(|_| self.counts.is_some());
        self.topics.iter().chain(led).cloned().collect()
    }

    /// How many partitions the topics of [`Self::watched`] have now, those that are there. If it
    /// is not what this member led by, it has to assign anew: a topic may have come, gone or
    /// grown.
    pub fn counted(&mut self, counts: &BTreeMap<String, i32>) {
        if let Some(known) = &self.counts {
            // Topics subscribed to since then are another reason, which is known already.
            let counts = counts.iter().filter(|(topic, _)| self.led_topics.contains(*topic));
            self.rejoin |= !counts.eq(known);
        }
    }

    /// Leaves; a static member stays, so that it can come back to what it had.
    pub fn leave(&mut self) -> Vec<Command> {
        self.attempt += 1;
        self.phase = Phase::Out;
        self.generation = -1;
        self.rejoin = true;
        let member_id = std::mem::take(&mut self.member_id);
        self.owned.clear();
        let mut commands = vec![Command::Assigned(Vec::new())];
        if !member_id.is_empty() && self.instance_id.is_none() {
            commands.insert(0, Command::Leave(member_id));
        }
        commands
    }

    /// Something failed that the coordinator did not say.
    fn failed(&mut self, now_ms: i64, error: Error) -> Vec<Command> {
        self.phase = Phase::Out;
        self.not_before_ms = now_ms.saturating_add(self.retry_backoff_ms);
        if error.is_retriable() {
            return vec![Command::Forget];
        }
        self.fatal = Some(error);
        Vec::new()
    }

    fn refused(&mut self, now_ms: i64, code: ErrorCode) -> Vec<Command> {
        let lost = |member: &mut Self| {
            // Others may have the partitions already.
            member.owned.clear();
            member.generation = -1;
            member.phase = Phase::Out;
            vec![Command::Assigned(Vec::new())]
        };
        match code {
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.member_id.clear();
                lost(self)
            }
            ErrorCode::ILLEGAL_GENERATION => lost(self),
            ErrorCode::FENCED_INSTANCE_ID => {
                self.fatal = Some(ApiError::of(code).into());
                lost(self)
            }
            ErrorCode::REBALANCE_IN_PROGRESS => {
                self.phase = Phase::Out;
                self.not_before_ms = now_ms;
                Vec::new()
            }
            code => {
                let stable = self.phase == Phase::Stable;
                let commands = self.failed(now_ms, ApiError::of(code).into());
                if stable && self.fatal.is_none() {
                    // Still a member: it is the coordinator that moved.
                    self.phase = Phase::Stable;
                }
                commands
            }
        }
    }
}

#[cfg(test)]
#[path = "group/tests.rs"]
mod tests;
