//! Prospective: asks the voters whether they would vote for this node (PreVote, KIP-996).
//!
//! Nothing is spent yet: the epoch stays, a vote given in it stays given, and a leader that was
//! only slow is followed again.

use crate::raft::Raft;
use crate::role::{Role, Tally};

/// An election that may be worth holding.
#[derive(Debug)]
pub(crate) struct Prospective {
    /// Promises, our own included.
    pub tally: Tally,
    /// When the asking ends.
    pub deadline_ms: i64,
}

impl Raft {
    pub(crate) fn drive_prospective(&mut self) {
        let Role::Prospective(prospective) = &self.role else { return };
        let voters = self.history.voters();
        if prospective.tally.is_won(voters) && self.can_stand() {
            self.become_candidate();
        } else if prospective.tally.is_lost(voters)
            || self.now_ms >= prospective.deadline_ms
            || !self.can_stand()
        {
            self.leave_prospective();
        } else if self.is_durable() {
            let open = voters.ids().filter(|id| prospective.tally.is_open(*id)).collect();
            self.ask_for_votes(open, true);
        }
    }

    /// Back to where it came from: to the leader if one is known, else to waiting.
    fn leave_prospective(&mut self) {
        let reachable = self.leader_peer().is_some();
        match self.state.leader {
            Some(leader) if reachable && leader != self.me.id => {
                let endpoints = self.leader_endpoints.clone();
                self.become_follower(self.state.epoch, leader, endpoints);
            }
            _ => self.become_unattached(self.state.epoch),
        }
    }
}
