//! Staying and going: heartbeats, leaving, and sessions that end.

use messages::leave_group_response::MemberResponse;
use messages::{HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse};
use wire::ErrorCode;

use super::classic::State;
use super::rebalance::{refusal, sync_refusal};
use super::timers::Timer;
use super::{Groups, Life, Turn};
use crate::operation::Answer;

impl Groups {
    /// Heartbeat.
    pub(super) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        turn: &mut Turn<'_>,
    ) -> HeartbeatResponse {
        let outcome = self.with(&request.group_id, turn, |life| life.heartbeat(request));
        let code = match outcome {
            None => ErrorCode::UNKNOWN_MEMBER_ID,
            Some(Err(code)) => code,
            Some(Ok(())) => ErrorCode::NONE,
        };
        HeartbeatResponse { error_code: code.0, ..Default::default() }
    }

    /// LeaveGroup.
    pub(super) fn leave(&mut self, token: u64, request: LeaveGroupRequest, turn: &mut Turn<'_>) {
        let known = self.with(&request.group_id, turn, |life| life.leave(token, &request));
        if known.is_none() {
            let members = request.members.iter().map(|member| MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code: ErrorCode::UNKNOWN_MEMBER_ID.0,
                ..Default::default()
            });
            let answer = LeaveGroupResponse { members: members.collect(), ..Default::default() };
            turn.answer(token, Answer::Leave(answer));
        }
    }
}

impl Life<'_, '_> {
    /// A group comes to life from its record: all members have a session to go.
    pub(super) fn resume(&mut self) {
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            self.heard_of(&id);
        }
        // The bound was lowered: the group shrinks in a rebalance, so that members can commit.
        if self.group.members.len() > self.config.size_max {
            self.prepare_rebalance();
        }
    }

    fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        let id = request.member_id.as_str();
        self.group.validate(id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.group.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        self.heard_of(id);
        match self.group.state {
            State::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            _ => Ok(()),
        }
    }

    fn leave(&mut self, token: u64, request: &LeaveGroupRequest) {
        let mut answer = LeaveGroupResponse::default();
        let mut anybody = false;
        for member in &request.members {
            let instance = member.group_instance_id.as_deref();
            let outcome = self.leave_one(&member.member_id, instance);
            anybody |= outcome.is_ok();
            answer.members.push(MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code: outcome.err().unwrap_or(ErrorCode::NONE).0,
                ..Default::default()
            });
        }
        if anybody {
            match self.group.state {
                State::Stable | State::CompletingRebalance => self.rebalance_or_complete(),
                State::PreparingRebalance => self.maybe_complete_join(),
                State::Empty => {}
            }
        }
        self.turn.answer(token, Answer::Leave(answer));
    }

    fn leave_one(&mut self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if id.is_empty() {
            // An operator removes a static member by its instance (KIP-345).
            let found = instance.and_then(|instance| self.group.static_members.get(instance));
            let found = found.cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            self.drop_member(&found);
            return Ok(());
        }
        if self.group.pending_joins.remove(id) {
            self.forget_session(id);
            return Ok(());
        }
        self.group.validate(id, instance)?;
        self.drop_member(id);
        Ok(())
    }

    fn drop_member(&mut self, id: &str) {
        if let Some(token) = self.group.take_join(id) {
            self.turn.answer(token, refusal(ErrorCode::UNKNOWN_MEMBER_ID, ""));
        }
        if let Some(member) = self.group.remove(id)
            && let Some(token) = member.waiting_sync
        {
            self.turn.answer(token, sync_refusal(ErrorCode::UNKNOWN_MEMBER_ID));
        }
        self.forget_session(id);
    }

    /// A member, or an id that was handed out, was not heard of for too long.
    pub(super) fn session_ended(&mut self, id: &str) {
        if self.group.pending_joins.remove(id) {
            if self.group.state == State::PreparingRebalance && self.group.all_joined() {
                self.complete_join();
            }
            return;
        }
        let Some(member) = self.group.members.get(id) else { return };
        // The session begins again when its request is answered.
        if member.is_alive_by_waiting() {
            return;
        }
        self.drop_member(id);
        match self.group.state {
            State::Stable | State::CompletingRebalance => self.rebalance_or_complete(),
            State::PreparingRebalance if self.group.all_joined() => self.complete_join(),
            State::PreparingRebalance | State::Empty => {}
        }
        if self.group.members.is_empty() {
            self.timers.cancel(&Timer::Sync(self.id.to_owned()));
        }
    }
}
