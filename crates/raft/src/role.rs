//! The roles of a node and the ways between them.
//!
//! Owns: [`Role`] and the transitions, each of which leaves `quorum-state` as it must be for the
//! new role. What a role does while it lasts is in the file of its name.
//!
//! Invariants:
//! - I1: the epoch only grows; within an epoch a vote once given and a leader once known stay.
//! - I2: a transition forgets the questions of the role before.

mod candidate;
mod follower;
mod leader;
mod prospective;
mod resigned;
mod unattached;

use std::collections::BTreeSet;

pub(crate) use candidate::Candidate;
pub(crate) use follower::{Download, Follower};
pub(crate) use leader::{Change, ChangeKind, Leader, Progress};
pub(crate) use prospective::Prospective;
pub(crate) use resigned::Resigned;
pub(crate) use unattached::Unattached;

use crate::event::RoleKind;
use crate::quorum_state::QuorumState;
use crate::raft::Raft;
use crate::voters::{Endpoint, VoterSet};

/// A role and what it needs while it lasts.
#[derive(Debug)]
pub(crate) enum Role {
    Unattached(Unattached),
    Prospective(Prospective),
    Candidate(Candidate),
    Leader(Box<Leader>),
    Follower(Follower),
    Resigned(Resigned),
}

impl Role {
    pub fn kind(&self) -> RoleKind {
        match self {
            Self::Unattached(_) => RoleKind::Unattached,
            Self::Prospective(_) => RoleKind::Prospective,
            Self::Candidate(_) => RoleKind::Candidate,
            Self::Leader(_) => RoleKind::Leader,
            Self::Follower(_) => RoleKind::Follower,
            Self::Resigned(_) => RoleKind::Resigned,
        }
    }
}

/// Votes, or promises of votes, by voter id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub granted: BTreeSet<i32>,
    pub rejected: BTreeSet<i32>,
}

impl Tally {
    pub fn record(&mut self, voter_id: i32, granted: bool) {
        let (into, other) = match granted {
            true => (&mut self.granted, &self.rejected),
            false => (&mut self.rejected, &self.granted),
        };
        // A voter that says both things in one election is believed the first time.
        if !other.contains(&voter_id) {
            into.insert(voter_id);
        }
    }

    pub fn is_won(&self, voters: &VoterSet) -> bool {
        voters.ids().filter(|id| self.granted.contains(id)).count() >= voters.majority()
    }

    pub fn is_lost(&self, voters: &VoterSet) -> bool {
        let left = voters.ids().filter(|id| !self.rejected.contains(id)).count();
        left < voters.majority()
    }

    pub fn is_open(&self, voter_id: i32) -> bool {
        !self.granted.contains(&voter_id) && !self.rejected.contains(&voter_id)
    }
}

impl Raft {
    fn enter(&mut self, role: Role) {
        self.abandon_change();
        self.peers.reset();
        self.role = role;
    }

    fn random_election_ms(&mut self) -> i64 {
        let timeout = self.config.election_timeout_ms;
        timeout + self.random.below(timeout)
    }

    /// No leader to follow in this epoch: a later one, or the present one if it is the same.
    pub(crate) fn become_unattached(&mut self, epoch: i32) {
        if epoch > self.state.epoch {
            self.state = QuorumState::of_epoch(epoch);
            self.leader_endpoints.clear();
        }
        let deadline_ms = self.now_ms + self.random_election_ms();
        self.enter(Role::Unattached(Unattached { deadline_ms }));
    }

    /// Leads the present epoch, or begins a later one.
    pub(crate) fn become_follower(&mut self, epoch: i32, leader: i32, endpoints: Vec<Endpoint>) {
        assert!(leader != self.me.id && epoch >= self.state.epoch, "I1: {leader} in {epoch}");
        if epoch > self.state.epoch {
            self.state = QuorumState::of_epoch(epoch);
        }
        let known = self.state.leader.replace(leader);
        assert!(known.is_none_or(|known| known == leader), "I1: {known:?}, {leader} in {epoch}");
        let reachable = Endpoint::find(&endpoints, &self.config.listener_name).is_some();
        self.leader_endpoints = endpoints;
        if !reachable {
            // It can't be fetched from; somebody will say where it is.
            self.become_unattached(epoch);
            return;
        }
        self.elections_lost = 0;
        let follower = Follower::new(self.now_ms, self.config.fetch_timeout_ms);
        self.enter(Role::Follower(follower));
    }

    /// Asks whether an election could be won, before an epoch is spent on it.
    pub(crate) fn become_prospective(&mut self) {
        let deadline_ms = self.now_ms + self.random_election_ms();
        let mut tally = Tally::default();
        tally.record(self.me.id, true);
        self.enter(Role::Prospective(Prospective { tally, deadline_ms }));
    }

    /// Stands for leader of the next epoch.
    pub(crate) fn become_candidate(&mut self) {
        let Some(epoch) = self.state.epoch.checked_add(1) else {
            self.halt("there is no epoch left to stand for".to_owned());
            return;
        };
        // The only voter has won when its vote is stored: one write says both.
        let alone = self.history.voters().is_only(&self.me);
        let leader = alone.then_some(self.me.id);
        self.state = QuorumState { epoch, leader, voted: Some(self.me) };
        self.leader_endpoints.clear();
        let deadline_ms = self.now_ms + self.random_election_ms();
        let candidate = Candidate { tally: Tally::default(), deadline_ms, retry_at_ms: None };
        self.enter(Role::Candidate(candidate));
    }

    /// Leads the epoch it stood for, beginning with a control batch.
    pub(crate) fn become_leader(&mut self, granting: BTreeSet<i32>) {
        self.state.leader = Some(self.me.id);
        self.leader_endpoints = self.config.endpoints.clone();
        self.elections_lost = 0;
        let leader = Leader::new(self.marks.end(), granting, self.now_ms, &self.config);
        self.enter(Role::Leader(Box::new(leader)));
        self.begin_epoch();
    }

    /// Leads no more, and says so to the voters, the most promising successors first.
    pub(crate) fn become_resigned(&mut self) {
        let successors = self.successors();
        let deadline_ms = self.now_ms + self.random_election_ms();
        let others = self.history.voters().ids().filter(|id| *id != self.me.id);
        let unacknowledged = others.collect();
        let resigned = Resigned { successors, unacknowledged, deadline_ms };
        self.enter(Role::Resigned(resigned));
    }

    /// Takes in who leads which epoch, as a peer says. False if that contradicts what is known:
    /// nothing was changed then.
    ///
    /// `itself` is set when the leader itself speaks.
    pub(crate) fn hear_of(
        &mut self,
        leader: Option<i32>,
        epoch: i32,
        endpoints: Vec<Endpoint>,
        itself: bool,
    ) -> bool {
        let endpoints = match (leader, endpoints.is_empty()) {
            (Some(leader), true) => self.endpoints_of(leader),
            _ => endpoints,
        };
        let Some(leader) = leader else {
            if epoch > self.state.epoch {
                self.become_unattached(epoch);
            }
            return true;
        };
        if leader == self.me.id {
            return epoch <= self.state.epoch && self.role.kind() == RoleKind::Leader;
        }
        if epoch > self.state.epoch {
            self.become_follower(epoch, leader, endpoints);
        } else if epoch == self.state.epoch {
            if self.state.leader.is_some_and(|known| known != leader) {
                return false;
            }
            let waiting = !matches!(self.role, Role::Follower(_)) && itself;
            let news = self.state.leader.is_none()
                || endpoints.len() > self.leader_endpoints.len()
                || (waiting && !endpoints.is_empty());
            if news {
                self.become_follower(epoch, leader, endpoints);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voters::{ReplicaKey, Voter};
    use wire::Uuid;

    #[test]
    fn only_voters_count_and_each_once() {
        let voter = |id| Voter {
            key: ReplicaKey::new(id, Uuid(9)),
            endpoints: Vec::new(),
            kraft_versions: (0, 1),
        };
        let voters = VoterSet::new([voter(1), voter(2), voter(3)]);
        let mut tally = Tally::default();
        tally.record(1, true);
        tally.record(8, true);
        tally.record(1, true);
        assert!(!tally.is_won(&voters) && !tally.is_lost(&voters));
        tally.record(2, false);
        tally.record(2, true);
        assert!(!tally.is_won(&voters) && tally.is_open(3));
        tally.record(3, false);
        assert!(tally.is_lost(&voters));
        tally = Tally::default();
        tally.record(1, true);
        tally.record(3, true);
        assert!(tally.is_won(&voters));
    }
}
