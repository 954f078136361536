//! Candidate: asks the voters for their votes in an epoch of its own.
//!
//! Its own vote counts, and the others are asked, once the vote is stored. After a lost election
//! it waits for a random time that doubles with each, so that two candidates don't stay in step.

use ottla_log::planted::{self, Bug};

use crate::raft::Raft;
use crate::role::{Role, Tally};

/// An election.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Votes; our own from the moment it is stored.
    pub tally: Tally,
    /// When the election counts as lost.
    pub deadline_ms: i64,
    /// The election is lost; until then nothing is tried again.
    pub retry_at_ms: Option<i64>,
}

impl Raft {
    pub(crate) fn drive_candidate(&mut self) {
        let durable = self.is_durable() || planted::is(Bug::RaftAskBeforeStored);
        let Role::Candidate(candidate) = &mut self.role else { return };
        if durable {
            candidate.tally.record(self.me.id, true);
        }
        let voters = self.history.voters();
        if candidate.tally.is_won(voters) && !self.stopping {
            let granting = candidate.tally.granted.clone();
            self.become_leader(granting);
        } else if let Some(at) = candidate.retry_at_ms {
            if self.now_ms >= at {
                self.become_prospective();
            }
        } else if candidate.tally.is_lost(voters) || self.now_ms >= candidate.deadline_ms {
            let pause_ms = self.election_backoff_ms();
            if let Role::Candidate(candidate) = &mut self.role {
                candidate.retry_at_ms = Some(self.now_ms + pause_ms);
            }
        } else if durable && !self.stopping {
            let open = voters.ids().filter(|id| candidate.tally.is_open(*id)).collect();
            self.ask_for_votes(open, false);
        }
    }

    /// Binary exponential backoff, in steps of 50 ms.
    fn election_backoff_ms(&mut self) -> i64 {
        self.elections_lost = self.elections_lost.saturating_add(1);
        let steps = 2i64 << (self.elections_lost - 1).min(BACKOFF_DOUBLINGS_MAX);
        (BACKOFF_STEP_MS * self.random.below(steps)).min(self.config.election_backoff_max_ms)
    }
}

const BACKOFF_STEP_MS: i64 = 50;
const BACKOFF_DOUBLINGS_MAX: u32 = 20;
