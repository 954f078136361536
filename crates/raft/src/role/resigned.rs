//! Resigned: led the epoch and leads it no more, by its own decision or by a restart.
//!
//! It tells the voters, the most promising first, and can't vote in the epoch. If nobody takes
//! over it leaves the epoch behind, so that no fetch is answered with a leader that isn't one.

use std::collections::BTreeSet;

use crate::raft::Raft;
use crate::role::Role;
use crate::voters::ReplicaKey;

/// An epoch to hand over.
#[derive(Debug)]
pub(crate) struct Resigned {
    /// Who should lead next, the best first.
    pub successors: Vec<ReplicaKey>,
    /// Ids of voters that don't know yet.
    pub unacknowledged: BTreeSet<i32>,
    /// When the epoch is given up.
    pub deadline_ms: i64,
}

impl Raft {
    pub(crate) fn drive_resigned(&mut self) {
        let Role::Resigned(resigned) = &self.role else { return };
        if self.now_ms >= resigned.deadline_ms && !self.stopping {
            match self.state.epoch.checked_add(1) {
                Some(epoch) => self.become_unattached(epoch),
                None => self.halt("there is no epoch left".to_owned()),
            }
            return;
        }
        if !self.is_durable() {
            return;
        }
        let request = self.end_epoch_request(&resigned.successors);
        let voters: Vec<i32> = resigned.unacknowledged.iter().copied().collect();
        for id in voters {
            if let Some(peer) = self.voter_peer(id)
                && self.peers.is_ready(id, self.now_ms)
            {
                self.ask(peer, request.clone());
            }
        }
    }
}
