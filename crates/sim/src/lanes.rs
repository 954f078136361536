//! When disk operations start and end.
//!
//! The rules are those of `server::disk`: a lane's operations start in order; writes and syncs may
//! start while syncs are under way, everything else waits. Within them chance decides: how long
//! each takes, and whether it touches the disk when it starts or when it ends.

use std::collections::{BTreeMap, VecDeque};

use broker::Lane;
use ottla_log::disk::mem::MemDisk;
use ottla_log::disk::{Completion, Disk, Op, Submission};

use crate::random::Random;

#[derive(Debug, Default)]
struct LaneState {
    queue: VecDeque<Submission>,
    /// Writes and syncs under way.
    shared: usize,
    /// Anything else under way.
    alone: usize,
}

/// An operation under way.
#[derive(Debug)]
pub struct Started {
    /// Its lane.
    pub lane: Lane,
    /// How long it takes, in microseconds.
    pub takes_us: u64,
    submission: Submission,
    /// What it did, if it did it when it started.
    result: Option<ottla_log::disk::Result<()>>,
}

/// All lanes of one run of the node.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: BTreeMap<Lane, LaneState>,
}

impl Lanes {
    /// Takes a submission; what can start does.
    pub fn submit(
        &mut self,
        lane: Lane,
        submission: Submission,
        disk: &MemDisk,
        random: &mut Random,
    ) -> Vec<Started> {
        let state = self.lanes.entry(lane).or_default();
        state.queue.push_back(submission);
        advance(lane, state, disk, random)
    }

    /// Ends an operation: its completion, and what can start now.
    pub fn end(
        &mut self,
        started: Started,
        disk: &MemDisk,
        random: &mut Random,
    ) -> (Completion, Vec<Started>) {
        let Started { lane, submission, result, .. } = started;
        let state = self.lanes.entry(lane).or_default();
        *state.count(&submission.op) -= 1;
        let result = result.unwrap_or_else(|| disk.execute(&submission.op));
        let completion = Completion { token: submission.token, result };
        (completion, advance(lane, state, disk, random))
    }
}

impl LaneState {
    fn count(&mut self, op: &Op) -> &mut usize {
        if may_overtake(op) { &mut self.shared } else { &mut self.alone }
    }
}

fn may_overtake(op: &Op) -> bool {
    matches!(op, Op::Write { .. } | Op::Sync { .. })
}

fn advance(lane: Lane, state: &mut LaneState, disk: &MemDisk, random: &mut Random) -> Vec<Started> {
    let mut out = Vec::new();
    while let Some(front) = state.queue.front() {
        let must_wait = if may_overtake(&front.op) { 0 } else { state.shared };
        if state.alone + must_wait > 0 {
            break;
        }
        let Some(submission) = state.queue.pop_front() else { break };
        *state.count(&submission.op) += 1;
        let quick = matches!(
            submission.op,
            Op::Write { .. } | Op::Create { .. } | Op::OpenExisting { .. } | Op::Close { .. }
        );
        let takes_us = if quick { random.below(50) } else { 100 + random.below(5_000) };
        // An open file must be there for what follows; the rest may happen early or late. A sync
        // that happens early covers only what was written before it, which is all it promises.
        let at_once = matches!(submission.op, Op::Create { .. } | Op::OpenExisting { .. })
            || random.chance(50);
        let result = at_once.then(|| disk.execute(&submission.op));
        out.push(Started { lane, takes_us, submission, result });
    }
    out
}
