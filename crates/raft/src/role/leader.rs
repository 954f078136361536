//! Leader: knows how far each replica got, and so what is committed.
//!
//! Invariants:
//! - I1: the high watermark is known only when a record of the leader's own epoch is on the disks
//!   of a majority; before that the epoch's fetches carry none (Raft, 5.4.2).
//! - I2: the leader counts itself, if it votes, at what it flushed.
//! - I3: at most one change of the voters is on its way.

use std::collections::{BTreeMap, BTreeSet};

use messages::LeaderChangeMessage;
use messages::leader_change_message::Voter as ChangeVoter;
use ottla_log::planted::{self, Bug};

use crate::control::ControlBatch;
use crate::event::{Config, Effect, Ticket};
use crate::raft::Raft;
use crate::role::Role;
use crate::voters::{Endpoint, ReplicaKey, VoterSet};

/// What a leader knows of its epoch.
#[derive(Debug)]
pub(crate) struct Leader {
    /// Where the epoch begins in the log.
    pub epoch_start: i64,
    /// What is committed, once this epoch knows.
    pub high_watermark: Option<i64>,
    /// Who voted for it.
    pub granting: BTreeSet<i32>,
    /// Voters as the voter set names them, observers as they name themselves.
    pub replicas: BTreeMap<ReplicaKey, Progress>,
    /// Voters that fetched since the quorum was last seen whole.
    pub fetched: BTreeSet<i32>,
    /// When a leader without its majority resigns.
    pub check_quorum_at_ms: i64,
    /// When voters that don't fetch are told again who leads.
    pub begin_at_ms: i64,
    /// The change of voters on its way.
    pub change: Option<Change>,
    /// It shall lead no more.
    pub resigning: bool,
}

/// How far a replica got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Where it fetches: the end of what it flushed.
    pub end: i64,
    pub last_fetch_ms: i64,
    /// The leader's end when it last fetched.
    pub last_fetch_end: i64,
    pub caught_up_ms: i64,
}

/// A request to change the voters that isn't answered yet.
#[derive(Debug)]
pub(crate) struct Change {
    pub ticket: Ticket,
    pub kind: ChangeKind,
    /// The offset of its record, once appended.
    pub offset: Option<i64>,
    pub deadline_ms: i64,
}

#[derive(Debug)]
pub(crate) enum ChangeKind {
    Add { key: ReplicaKey, endpoints: Vec<Endpoint>, probe: u64, wait_for_commit: bool },
    Remove,
}

impl Leader {
    pub fn new(start: i64, granting: BTreeSet<i32>, now_ms: i64, config: &Config) -> Self {
        Self {
            epoch_start: start,
            high_watermark: None,
            granting,
            replicas: BTreeMap::new(),
            fetched: BTreeSet::new(),
            check_quorum_at_ms: now_ms + check_quorum_ms(config),
            begin_at_ms: now_ms,
            change: None,
            resigning: false,
        }
    }
}

fn check_quorum_ms(config: &Config) -> i64 {
    config.fetch_timeout_ms + config.fetch_timeout_ms / 2
}

impl Raft {
    pub(crate) fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    pub(crate) fn leader_mut(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    pub(crate) fn drive_leader(&mut self) {
        let alone = self.history.voters().is_only(&self.me);
        let Some(leader) = self.leader() else { return };
        let lost = !alone && self.now_ms >= leader.check_quorum_at_ms;
        if lost || leader.resigning || (self.stopping && !alone) {
            self.become_resigned();
            return;
        }
        let begin = self.now_ms >= leader.begin_at_ms;
        self.expire_change();
        if begin && self.is_durable() {
            self.tell_voters();
        }
    }

    /// Tells voters that haven't fetched lately who leads.
    fn tell_voters(&mut self) {
        let period_ms = self.config.fetch_timeout_ms / 2;
        let (now_ms, me) = (self.now_ms, self.me.id);
        let Some(leader) = self.leader_mut() else { return };
        leader.begin_at_ms = now_ms + period_ms;
        let fresh = |progress: &Progress| now_ms - progress.last_fetch_ms < period_ms;
        let replicas = &leader.replicas;
        let heard: BTreeSet<ReplicaKey> =
            replicas.iter().filter(|(_, progress)| fresh(progress)).map(|(key, _)| *key).collect();
        let keys: Vec<ReplicaKey> = self.history.voters().iter().map(|voter| voter.key).collect();
        for key in keys.into_iter().filter(|key| key.id != me && !heard.contains(key)) {
            if let Some(peer) = self.voter_peer(key.id)
                && self.peers.is_ready(key.id, now_ms)
            {
                let request = self.begin_epoch_request(key);
                self.ask(peer, request);
            }
        }
    }

    /// The control batch with which an epoch begins: who leads, and the voters if the log doesn't
    /// have them, or has our endpoints wrong.
    pub(crate) fn begin_epoch(&mut self) {
        let Some(leader) = self.leader() else { return };
        let voter = |voter_id| ChangeVoter { voter_id, ..Default::default() };
        let change = LeaderChangeMessage {
            leader_id: self.me.id,
            voters: self.history.voters().ids().map(voter).collect(),
            granting_voters: leader.granting.iter().copied().map(voter).collect(),
            ..Default::default()
        };
        let voters = match self.history.voters_offset() {
            // Only what formatting wrote, or another endpoint: the log must say it itself.
            Some(offset) if self.history.kraft_version() > 0 => {
                let updated = self.history.voters().updated(self.as_voter());
                updated.filter(|updated| offset < 0 || updated != self.history.voters())
            }
            _ => None,
        };
        self.append_control(Some(&change), voters);
    }

    /// Appends a control batch; the voters in it are in force at once. False if it can't be
    /// written: the node stops, because a leader that can't write must not lead.
    pub(crate) fn append_control(
        &mut self,
        change: Option<&LeaderChangeMessage>,
        voters: Option<VoterSet>,
    ) -> bool {
        let mut batch = ControlBatch::new(self.marks.end(), self.state.epoch, self.now_ms);
        let kraft_version = self.history.kraft_version();
        let mut built = change.map_or(Ok(()), |change| batch.push_leader_change(change));
        let version_offset = batch.next_offset();
        if let (Some(voters), Ok(())) = (&voters, &built) {
            if change.is_some() {
                built = batch.push_kraft_version(kraft_version);
            }
            built = built.and_then(|()| batch.push_voters(voters));
        }
        let end = batch.next_offset();
        let Some(batch) = built.ok().and_then(|()| batch.build()) else {
            self.halt("a control batch can't be encoded".to_owned());
            return false;
        };
        if let Some(voters) = voters {
            if change.is_some() {
                self.history.push_kraft_version(version_offset, kraft_version);
            }
            self.history.push_voters(end - 1, voters);
        }
        self.marks.appended(self.state.epoch, end);
        self.out.push(Effect::AppendControl { batch, end });
        self.advance();
        true
    }

    /// The name under which a replica is kept: that of the voter it is, else its own.
    pub(crate) fn known_as(&self, replica: ReplicaKey) -> ReplicaKey {
        let voter = self.history.voters().get(replica.id);
        voter.filter(|voter| voter.key.names(&replica)).map_or(replica, |voter| voter.key)
    }

    /// A replica fetched validly from `offset`: everything below is on its disk.
    pub(crate) fn note_fetch(&mut self, replica: ReplicaKey, offset: i64) {
        if replica.id < 0 {
            return;
        }
        let (now_ms, end) = (self.now_ms, self.marks.end());
        let replica = self.known_as(replica);
        let voters = self.history.voters();
        let Role::Leader(leader) = &mut self.role else { return };
        let idle = |progress: &Progress| now_ms - progress.last_fetch_ms >= OBSERVER_EXPIRY_MS;
        leader.replicas.retain(|key, progress| voters.contains(key) || !idle(progress));
        if leader.replicas.len() >= REPLICAS_MAX && !leader.replicas.contains_key(&replica) {
            // More names than a cluster has: whoever invents them may not fill the memory.
            let observers = leader.replicas.iter().filter(|(key, _)| !voters.contains(key));
            let oldest = observers.min_by_key(|(_, progress)| progress.last_fetch_ms);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                leader.replicas.remove(&oldest);
            }
        }
        let before = leader.replicas.get(&replica).copied().unwrap_or(Progress::NONE);
        let caught_up_ms = if offset >= end {
            now_ms
        } else if before.last_fetch_end > 0 && offset >= before.last_fetch_end {
            before.caught_up_ms.max(before.last_fetch_ms)
        } else {
            before.caught_up_ms
        };
        let progress =
            Progress { end: offset, last_fetch_ms: now_ms, last_fetch_end: end, caught_up_ms };
        leader.replicas.insert(replica, progress);
        self.note_alive(replica);
        self.advance();
    }

    /// A voter is there. A leader that sees a majority often enough goes on leading.
    pub(crate) fn note_alive(&mut self, replica: ReplicaKey) {
        let voters = self.history.voters();
        if !voters.contains(&replica) {
            return;
        }
        let others = voters.majority() - usize::from(voters.contains(&self.me));
        let deadline_ms = self.now_ms + check_quorum_ms(&self.config);
        let ids: BTreeSet<i32> = voters.ids().collect();
        let Some(leader) = self.leader_mut() else { return };
        leader.fetched.insert(replica.id);
        if leader.fetched.intersection(&ids).count() >= others {
            leader.fetched.clear();
            leader.check_quorum_at_ms = deadline_ms;
        }
    }

    /// Commits what a majority of the voters has flushed.
    pub(crate) fn advance(&mut self) {
        let own = match planted::is(Bug::RaftLeaderUnflushed) {
            true => self.marks.end(),
            false => self.marks.flushed(),
        };
        let voters = self.history.voters();
        let (me, majority) = (self.me, voters.majority());
        let Some(leader) = self.leader() else { return };
        let end = |key: &ReplicaKey| match key.names(&me) {
            true => own,
            false => leader.replicas.get(key).map_or(-1, |progress| progress.end),
        };
        let mut ends: Vec<i64> = voters.iter().map(|voter| end(&voter.key)).collect();
        ends.sort_unstable_by(|left, right| right.cmp(left));
        let Some(end) = ends.get(majority - 1).copied() else { return };
        let older = planted::is(Bug::RaftCommitOlderEpochs);
        let own_epoch = end > leader.epoch_start || older;
        if !own_epoch || leader.high_watermark.is_some_and(|known| end <= known) {
            return;
        }
        if let Some(leader) = self.leader_mut() {
            leader.high_watermark = Some(end);
        }
        self.commit(end);
        self.complete_change();
    }

    /// The other voters, the most caught up first.
    pub(crate) fn successors(&self) -> Vec<ReplicaKey> {
        let Some(leader) = self.leader() else { return Vec::new() };
        let voters = self.history.voters().iter().map(|voter| voter.key);
        let mut others: Vec<ReplicaKey> = voters.filter(|key| !key.names(&self.me)).collect();
        let end = |key: &ReplicaKey| leader.replicas.get(key).map_or(-1, |progress| progress.end);
        others.sort_by_key(|key| std::cmp::Reverse(end(key)));
        others
    }
}

impl Progress {
    /// Of a replica that never fetched.
    pub const NONE: Self =
        Self { end: -1, last_fetch_ms: -1, last_fetch_end: -1, caught_up_ms: -1 };
}

/// How long DescribeQuorum shows an observer that fetches no more.
const OBSERVER_EXPIRY_MS: i64 = 300_000;
/// Replicas a leader keeps in mind.
const REPLICAS_MAX: usize = 1_000;
