//! Unattached: the epoch has no leader this node could follow.
//!
//! A voter waits for its election timeout; it may vote. An observer asks around who leads.

use crate::event::RoleKind;
use crate::raft::Raft;
use crate::role::Role;

/// What an unattached node waits for.
#[derive(Debug)]
pub(crate) struct Unattached {
    /// When a voter loses patience.
    pub deadline_ms: i64,
}

impl Raft {
    pub(crate) fn drive_unattached(&mut self) {
        let Role::Unattached(unattached) = &self.role else { return };
        if self.can_stand() && self.now_ms >= unattached.deadline_ms {
            self.become_prospective();
        } else if !self.is_voter() {
            self.ask_anybody();
        }
    }

    /// Fetches from the next node that may know the leader. An observer's only way to find it.
    pub(crate) fn ask_anybody(&mut self) {
        if self.peers.is_any_inflight() || !self.may_fetch() {
            return;
        }
        let candidates = self.acquaintances();
        for _ in 0..candidates.len() {
            let at = self.next_acquaintance % candidates.len();
            self.next_acquaintance = self.next_acquaintance.wrapping_add(1);
            let Some(peer) = candidates.get(at) else { continue };
            if self.peers.is_ready(peer.id, self.now_ms) {
                let request = self.fetch_request();
                self.ask(peer.clone(), request);
                return;
            }
        }
    }

    /// Whether this node may turn to others with a fetch: what it has is stored and flushed.
    pub(crate) fn may_fetch(&self) -> bool {
        let early = ottla_log::planted::is(ottla_log::planted::Bug::RaftFollowerUnflushed);
        let flushed = self.marks.flushed() == self.marks.end() || early;
        self.is_durable()
            && flushed
            && self.installing.is_none()
            && self.role.kind() != RoleKind::Leader
    }
}
