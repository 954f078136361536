//! Joining: from a request to a new generation.
//!
//! - From version 4 on a member without an id is given one and must come back with it (KIP-394),
//!   so that a client that never reads its answer leaves no member behind. Static members (KIP-345)
//!   need no such id: a process that comes back takes over the place of the one before it.
//! - A group's first rebalance waits a while for more members, and longer if more come.
//! - A later one waits until all members have joined again, at most as long as the slowest of them
//!   may take.

use messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupResponse};
use wire::{Bytes, ErrorCode};

use super::classic::{Group, Member, State, owned};
use super::timers::Timer;
use super::{Groups, Life, Turn};
use crate::operation::{Answer, Caller};
use crate::record::Record;

impl Groups {
    /// JoinGroup.
    pub(super) fn join(&mut self, caller: Caller, request: JoinGroupRequest, turn: &mut Turn<'_>) {
        let refuse = |turn: &mut Turn<'_>, code: ErrorCode| {
            let member_id = request.member_id.clone();
            turn.answer(caller.token, refusal(code, &member_id));
        };
        let timeout = request.session_timeout_ms;
        if timeout < self.config.session_timeout_min_ms
            || timeout > self.config.session_timeout_max_ms
        {
            return refuse(turn, ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        let id = request.group_id.clone();
        if self.durable.foreign.contains_key(&id) {
            let code = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
            return turn.answer(caller.token, refusal(code, ""));
        }
        let is_new = !self.live.contains_key(&id);
        if is_new {
            if !request.member_id.is_empty() {
                return refuse(turn, ErrorCode::UNKNOWN_MEMBER_ID);
            }
            let group = Group::new(turn.now.wall_ms);
            // The group is known from now on, to whoever takes over as well. Whether that could
            // be written or not, a rebalance will write the next record.
            let record = Record::Group(id.clone(), Some(group.to_record(|_| Bytes::new())));
            if let Err(code) = turn.write(&mut self.durable, &[record]) {
                return refuse(turn, code);
            }
            self.live.insert(id.clone(), group);
        }
        self.with(&id, turn, |life| life.join(caller, request));
    }
}

impl Life<'_, '_> {
    fn session(&self, member: &str) -> Timer {
        Timer::Session(self.id.to_owned(), member.to_owned())
    }

    /// The member is heard of: its session begins again.
    pub(super) fn heard_of(&mut self, member: &str) {
        if let Some(found) = self.group.members.get(member) {
            let timeout = i64::from(found.session_timeout_ms);
            self.timers.set(self.session(member), self.turn.now.steady_ms + timeout);
        }
    }

    /// No session is watched any more.
    pub(super) fn forget_session(&mut self, member: &str) {
        self.timers.cancel(&self.session(member));
    }

    fn join(&mut self, caller: Caller, request: JoinGroupRequest) {
        let id = request.member_id.as_str();
        if !self.has_room_for(id) {
            self.group.remove(id);
            self.forget_session(id);
            return self.turn.answer(caller.token, refusal(ErrorCode::GROUP_MAX_SIZE_REACHED, ""));
        }
        if !self.group.supports(&request.protocol_type, &request.protocols) {
            let code = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
            return self.turn.answer(caller.token, refusal(code, id));
        }
        if id.is_empty() {
            self.join_as_newcomer(caller, request);
        } else if self.group.pending_joins.contains(id) {
            if request.group_instance_id.is_some() {
                // The id was given to a member without an instance; it can't have got one since.
                let code = ErrorCode::UNKNOWN_MEMBER_ID;
                return self.turn.answer(caller.token, refusal(code, id));
            }
            let id = id.to_owned();
            self.add(caller, &request, id);
        } else {
            self.join_again(caller, request);
        }
    }

    /// A group larger than allowed can only come from a larger bound before; it shrinks as its
    /// members join again.
    fn has_room_for(&self, id: &str) -> bool {
        let group = &self.group;
        let known = group.members.get(id);
        match group.state {
            State::Empty => true,
            State::PreparingRebalance => {
                known.is_some_and(|member| member.waiting_join.is_some())
                    || group.waiting_joins() < self.config.size_max
            }
            State::CompletingRebalance | State::Stable => {
                known.is_some() || group.members.len() < self.config.size_max
            }
        }
    }

    fn join_as_newcomer(&mut self, caller: Caller, request: JoinGroupRequest) {
        let prefix = request.group_instance_id.as_deref().unwrap_or(&caller.client_id);
        let id = member_id(prefix, self.turn.ids.next_id().0);
        if let Some(instance) = &request.group_instance_id {
            match self.group.static_members.get(instance).cloned() {
                Some(before) => self.take_over(caller, &request, &before, &id),
                None => self.add(caller, &request, id),
            }
            return;
        }
        if caller.version < 4 {
            return self.add(caller, &request, id);
        }
        self.group.pending_joins.insert(id.clone());
        let until = self.turn.now.steady_ms + i64::from(request.session_timeout_ms);
        self.timers.set(self.session(&id), until);
        self.turn.answer(caller.token, refusal(ErrorCode::MEMBER_ID_REQUIRED, &id));
    }

    fn add(&mut self, caller: Caller, request: &JoinGroupRequest, id: String) {
        if self.group.members.is_empty() {
            self.group.protocol_type = Some(request.protocol_type.clone());
        }
        if self.group.state == State::PreparingRebalance && self.group.previous == State::Empty {
            self.group.new_member_added = true;
        }
        let (rebalance_timeout_ms, session_timeout_ms) = timeouts(request);
        let member = Member {
            instance: request.group_instance_id.clone(),
            client_id: caller.client_id,
            client_host: caller.client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            protocols: owned(&request.protocols),
            assignment: Bytes::new(),
            waiting_join: Some(caller.token),
            waiting_sync: None,
            is_new: true,
        };
        self.timers.set(self.session(&id), self.turn.now.steady_ms + NEW_MEMBER_JOIN_MS);
        self.group.insert(id, member);
        self.rebalance_or_complete();
    }

    fn join_again(&mut self, caller: Caller, request: JoinGroupRequest) {
        let id = request.member_id.as_str();
        let instance = request.group_instance_id.as_deref();
        if let Err(code) = self.group.validate(id, instance) {
            let mut answer = refused(code, id);
            answer.protocol_name = None;
            return self.turn.answer(caller.token, Answer::Join(answer));
        }
        let unchanged =
            self.group.members.get(id).is_some_and(|member| member.matches(&request.protocols));
        let is_leader = self.group.is_leader(id);
        let answered_at_once = match self.group.state {
            State::PreparingRebalance => false,
            // It did not get the answer; nothing changed since.
            State::CompletingRebalance => unchanged,
            // A leader joins again because it wants to assign anew.
            State::Stable => unchanged && !is_leader,
            State::Empty => {
                let code = ErrorCode::UNKNOWN_MEMBER_ID;
                return self.turn.answer(caller.token, refusal(code, id));
            }
        };
        if answered_at_once {
            let answer = self.joined(id, is_leader);
            return self.turn.answer(caller.token, Answer::Join(answer));
        }
        self.update(id, &request, caller.token);
        self.rebalance_or_complete();
    }

    fn update(&mut self, id: &str, request: &JoinGroupRequest, token: u64) {
        let before = self.group.update(id, &request.protocols, timeouts(request), token);
        if let Some(older) = before {
            // Its connection is most likely gone; where it isn't, the answers behind this one must
            // not wait for ever.
            let answer = refusal(ErrorCode::REBALANCE_IN_PROGRESS, id);
            self.turn.answer(older, answer);
        }
    }

    /// What a member is told of its generation.
    fn joined(&self, id: &str, as_leader: bool) -> JoinGroupResponse {
        JoinGroupResponse {
            generation_id: self.group.generation,
            protocol_type: self.group.protocol_type.clone(),
            protocol_name: self.group.protocol.clone(),
            leader: self.group.leader.clone().unwrap_or_default(),
            member_id: id.to_owned(),
            members: if as_leader { self.group.roster() } else { Vec::new() },
            ..Default::default()
        }
    }

    /// A static member's new process takes the place of the one before.
    fn take_over(&mut self, caller: Caller, request: &JoinGroupRequest, old: &str, new: &str) {
        let leader_before = self.group.leader.clone().unwrap_or_default();
        let was_leader = self.group.is_leader(old);
        if let Some(token) = self.group.take_join(old) {
            self.turn.answer(token, refusal(ErrorCode::FENCED_INSTANCE_ID, old));
        }
        let Some(mut member) = self.group.remove(old) else { return };
        if let Some(token) = member.waiting_sync.take() {
            self.turn.answer(token, sync_refusal(ErrorCode::FENCED_INSTANCE_ID));
        }
        self.forget_session(old);
        self.group.insert(new.to_owned(), member);
        if was_leader {
            self.group.leader = Some(new.to_owned());
        }
        self.update(new, request, caller.token);
        self.heard_of(new);
        match self.group.state {
            State::Stable if self.group.select_protocol() == self.group.protocol => {
                self.keep_assignment(&caller, new, leader_before);
            }
            State::Stable => self.rebalance_or_complete(),
            State::CompletingRebalance => self.prepare_rebalance(),
            State::PreparingRebalance => self.maybe_complete_join(),
            // Members exist, so the group is not empty.
            State::Empty => {}
        }
    }

    /// The generation goes on with the new member id in the place of the old one.
    fn keep_assignment(&mut self, caller: &Caller, new: &str, leader_before: String) {
        let record = Record::Group(self.id.to_owned(), Some(self.group.as_recorded()));
        if self.turn.write(self.durable, &[record]).is_err() {
            // The generation can't be stored as it is now; the next one may be smaller.
            return self.rebalance_or_complete();
        }
        let Some(token) = self.group.take_join(new) else { return };
        let is_leader = self.group.is_leader(new);
        // Before version 9 a leader could not be told to keep the assignment, so it is told that
        // somebody else leads.
        let answer = if caller.version >= 9 {
            JoinGroupResponse { skip_assignment: is_leader, ..self.joined(new, is_leader) }
        } else {
            JoinGroupResponse { leader: leader_before, ..self.joined(new, false) }
        };
        self.turn.answer(token, Answer::Join(answer));
    }

    /// Somebody came, went or changed.
    pub(super) fn rebalance_or_complete(&mut self) {
        if self.group.state == State::PreparingRebalance {
            self.maybe_complete_join();
        } else {
            self.prepare_rebalance();
        }
    }

    /// Asks all members to join again.
    pub(super) fn prepare_rebalance(&mut self) {
        if self.group.state == State::CompletingRebalance {
            self.give_up_assignment(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.group.pending_syncs.clear();
        self.timers.cancel(&Timer::Sync(self.id.to_owned()));
        let is_initial = self.group.state == State::Empty;
        self.group.transition(State::PreparingRebalance, self.turn.now.wall_ms);
        if is_initial {
            let delay = self.config.initial_rebalance_delay_ms;
            let remaining = (self.group.rebalance_timeout_ms() - delay).max(0);
            self.group.new_member_added = false;
            self.group.initial_delay = Some((delay, remaining));
            self.set_join_timer(delay);
        } else if self.group.all_joined() {
            self.complete_join();
        } else {
            self.set_join_timer(self.group.rebalance_timeout_ms());
        }
    }

    fn set_join_timer(&mut self, after_ms: i32) {
        let at = self.turn.now.steady_ms + i64::from(after_ms);
        self.timers.set(Timer::Join(self.id.to_owned()), at);
    }

    /// Completes the joins if nobody is waited for.
    pub(super) fn maybe_complete_join(&mut self) {
        let preparing = self.group.state == State::PreparingRebalance;
        if preparing && self.group.previous != State::Empty && self.group.all_joined() {
            self.complete_join();
        }
    }

    /// The time for joining is over.
    pub(super) fn join_phase_ended(&mut self) {
        if self.group.state != State::PreparingRebalance {
            return;
        }
        if let Some((delay, remaining)) = self.group.initial_delay
            && self.group.new_member_added
            && remaining > 0
        {
            self.group.new_member_added = false;
            let next = self.config.initial_rebalance_delay_ms.min(remaining);
            self.group.initial_delay = Some((next, (remaining - delay).max(0)));
            return self.set_join_timer(next);
        }
        self.complete_join();
    }

    /// Begins the next generation with those who joined. Static members may be late: their place
    /// is kept until their session ends.
    pub(super) fn complete_join(&mut self) {
        self.timers.cancel(&Timer::Join(self.id.to_owned()));
        let absent = |member: &Member| member.waiting_join.is_none() && member.instance.is_none();
        let failed: Vec<String> = self
            .group
            .members
            .iter()
            .filter(|(_, member)| absent(member))
            .map(|(id, _)| id.clone())
            .collect();
        for id in failed {
            self.group.remove(&id);
            self.forget_session(&id);
        }
        if !self.group.elect_joined_leader() && !self.group.members.is_empty() {
            // Only static members, and none of them joined: they are waited for again. Never for no
            // time at all, or this step would not end.
            return self.set_join_timer(self.group.rebalance_timeout_ms().max(1));
        }
        self.group.initial_delay = None;
        self.group.next_generation(self.turn.now.wall_ms);
        if self.group.state == State::Empty {
            let value = self.group.to_record(|_| Bytes::new());
            let record = Record::Group(self.id.to_owned(), Some(value));
            // An empty group always fits a batch; were it not written, its members would only be
            // found dead after a fail-over.
            let _ = self.turn.write(self.durable, &[record]);
            return;
        }
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            if let Some(token) = self.group.take_join(&id) {
                let answer = self.joined(&id, self.group.is_leader(&id));
                self.turn.answer(token, Answer::Join(answer));
            }
            self.heard_of(&id);
            if let Some(member) = self.group.members.get_mut(&id) {
                member.is_new = false;
            }
            self.group.pending_syncs.insert(id);
        }
        let at = self.turn.now.steady_ms + i64::from(self.group.rebalance_timeout_ms());
        self.timers.set(Timer::Sync(self.id.to_owned()), at);
    }
}

/// A member's id: readable, and never the same twice. Bounded, or one member with an enormous name
/// could make the leader's answer one that older versions can't hold.
fn member_id(prefix: &str, random: u128) -> String {
    let (prefix, _) = prefix.split_at(prefix.floor_char_boundary(PREFIX_BYTES_MAX));
    let hex = format!("{random:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    let (a, b, c, d, e) = (part(0..8), part(8..12), part(12..16), part(16..20), part(20..32));
    format!("{prefix}-{a}-{b}-{c}-{d}-{e}")
}

fn timeouts(request: &JoinGroupRequest) -> (i32, i32) {
    // Version 0 has no rebalance timeout; the session's stands for it.
    let rebalance = match request.rebalance_timeout_ms {
        timeout if timeout < 0 => request.session_timeout_ms,
        timeout => timeout,
    };
    (rebalance, request.session_timeout_ms)
}

fn refused(code: ErrorCode, member_id: &str) -> JoinGroupResponse {
    JoinGroupResponse { error_code: code.0, member_id: member_id.to_owned(), ..Default::default() }
}

pub(super) fn refusal(code: ErrorCode, member_id: &str) -> Answer {
    Answer::Join(refused(code, member_id))
}

pub(super) fn sync_refusal(code: ErrorCode) -> Answer {
    Answer::Sync(SyncGroupResponse { error_code: code.0, ..Default::default() })
}

/// Far below the 32 767 bytes of a string on the wire.
const PREFIX_BYTES_MAX: usize = 16 << 10;
/// `group.new.member.join.timeout.ms`, which Apache Kafka keeps internal: a new member that waits
/// for a rebalance is dropped after so long, as its client may be gone.
const NEW_MEMBER_JOIN_MS: i64 = 300_000;
