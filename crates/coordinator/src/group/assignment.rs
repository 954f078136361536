//! Syncing: the leader hands in an assignment, everybody else fetches theirs.
//!
//! The assignment is written with the generation; members see it when it is durable, because
//! answers wait for the high watermark.

use std::collections::BTreeMap;

use messages::{SyncGroupRequest, SyncGroupResponse};
use wire::{Bytes, ErrorCode};

use super::classic::State;
use super::rebalance::sync_refusal;
use super::timers::Timer;
use super::{Groups, Life, Turn};
use crate::operation::Answer;
use crate::record::Record;

impl Groups {
    /// SyncGroup.
    pub(super) fn sync(&mut self, token: u64, request: SyncGroupRequest, turn: &mut Turn<'_>) {
        let known = self.live.get(&request.group_id);
        if !known.is_some_and(|group| group.state != State::Empty) {
            return turn.answer(token, sync_refusal(ErrorCode::UNKNOWN_MEMBER_ID));
        }
        let id = request.group_id.clone();
        self.with(&id, turn, |life| life.sync(token, request));
    }
}

impl Life<'_, '_> {
    fn sync(&mut self, token: u64, request: SyncGroupRequest) {
        if let Err(code) = self.validate_sync(&request) {
            return self.turn.answer(token, sync_refusal(code));
        }
        let id = request.member_id.as_str();
        match self.group.state {
            State::Empty | State::PreparingRebalance => {
                self.turn.answer(token, sync_refusal(ErrorCode::REBALANCE_IN_PROGRESS));
            }
            State::Stable => {
                self.synced(id);
                let answer = self.assigned(id);
                self.turn.answer(token, answer);
            }
            State::CompletingRebalance => {
                let member = self.group.members.get_mut(id);
                let older = member.and_then(|member| member.waiting_sync.replace(token));
                if let Some(older) = older {
                    // As for joins: whoever asks twice on one connection must not stop it.
                    let answer = sync_refusal(ErrorCode::REBALANCE_IN_PROGRESS);
                    self.turn.answer(older, answer);
                }
                self.synced(id);
                if self.group.is_leader(id) {
                    self.assign(request);
                }
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.group.validate(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.group.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        // Version 5 names them (KIP-559).
        let differs = |asked: &Option<String>, ours: &Option<String>| {
            asked.is_some() && ours.is_some() && asked != ours
        };
        if differs(&request.protocol_type, &self.group.protocol_type)
            || differs(&request.protocol_name, &self.group.protocol)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        Ok(())
    }

    /// A member asked for its assignment.
    fn synced(&mut self, id: &str) {
        self.group.pending_syncs.remove(id);
        if self.group.pending_syncs.is_empty() {
            self.timers.cancel(&Timer::Sync(self.id.to_owned()));
        }
    }

    fn assigned(&self, id: &str) -> Answer {
        let member = self.group.members.get(id);
        Answer::Sync(SyncGroupResponse {
            protocol_type: self.group.protocol_type.clone(),
            protocol_name: self.group.protocol.clone(),
            assignment: member.map(|member| member.assignment.clone()).unwrap_or_default(),
            ..Default::default()
        })
    }

    /// The leader's assignment: written, then given to all that wait. Members it leaves out get
    /// nothing; ids it made up are ignored.
    fn assign(&mut self, request: SyncGroupRequest) {
        let mut given: BTreeMap<String, Bytes> = BTreeMap::new();
        for entry in &request.assignments {
            let assignment = Bytes::copy_from_slice(&entry.assignment);
            given.insert(entry.member_id.clone(), assignment);
        }
        let value = self.group.to_record(|id| given.get(id).cloned().unwrap_or_default());
        let record = Record::Group(self.id.to_owned(), Some(value));
        if let Err(code) = self.turn.write(self.durable, &[record]) {
            self.give_up_assignment(code);
            return self.rebalance_or_complete();
        }
        self.group.transition(State::Stable, self.turn.now.wall_ms);
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.group.members.get_mut(&id) else { continue };
            member.assignment = given.remove(&id).unwrap_or_default();
            if let Some(token) = member.waiting_sync.take() {
                let answer = self.assigned(&id);
                self.turn.answer(token, answer);
                self.heard_of(&id);
            }
        }
    }

    /// No assignment will come in this generation.
    pub(super) fn give_up_assignment(&mut self, code: ErrorCode) {
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.group.members.get_mut(&id) else { continue };
            member.assignment = Bytes::new();
            if let Some(token) = member.waiting_sync.take() {
                self.turn.answer(token, sync_refusal(code));
                self.heard_of(&id);
            }
        }
    }

    /// Some members never asked for their assignment: they are dropped.
    pub(super) fn sync_phase_ended(&mut self) {
        let syncing = matches!(self.group.state, State::CompletingRebalance | State::Stable);
        if !syncing || self.group.pending_syncs.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.group.pending_syncs) {
            self.group.remove(&id);
            self.forget_session(&id);
        }
        self.prepare_rebalance();
    }
}
