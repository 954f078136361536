//! Who votes: replica keys, endpoints, voter sets, and their history by offset (KIP-853).
//!
//! Owns: [`History`], which says what the log makes of the quorum. A voter set counts from the
//! moment its record is appended, committed or not, and is forgotten when it is truncated.
//!
//! Invariants:
//! - I1: the entries of a history have increasing offsets, all below the end of the log.
//! - I2: a voter id occurs once in a set.

use std::collections::BTreeMap;

use messages::VotersRecord;
use messages::voters_record;
use ottla_log::planted::{self, Bug};
use wire::Uuid;

/// A replica: a node id and the metadata directory it writes to.
///
/// A node that lost its disk comes back with the same id and another directory; it must not be
/// taken for the voter it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaKey {
    /// Node id.
    pub id: i32,
    /// Directory id; zero if it isn't known, as in static voter sets.
    pub directory_id: Uuid,
}

impl ReplicaKey {
    /// A replica.
    pub fn new(id: i32, directory_id: Uuid) -> Self {
        Self { id, directory_id }
    }

    /// True if a voter known by this key is `replica`: the directory counts if it is known.
    pub fn names(&self, replica: &Self) -> bool {
        self.id == replica.id
            && (self.directory_id.is_zero() || self.directory_id == replica.directory_id)
    }
}

/// Where a node listens for its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, upper case.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint of the listener called `name`.
    pub(crate) fn find<'a>(list: &'a [Self], name: &str) -> Option<&'a Self> {
        list.iter().find(|endpoint| endpoint.name.eq_ignore_ascii_case(name))
    }
}

/// A member of a voter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Which replica.
    pub key: ReplicaKey,
    /// Its listeners for peers.
    pub endpoints: Vec<Endpoint>,
    /// First and last `kraft.version` it supports.
    pub kraft_versions: (i16, i16),
}

/// The voters of a quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterSet {
    voters: BTreeMap<i32, Voter>,
}

impl VoterSet {
    /// A set; of two voters with one id the later stays.
    pub fn new(voters: impl IntoIterator<Item = Voter>) -> Self {
        Self { voters: voters.into_iter().map(|voter| (voter.key.id, voter)).collect() }
    }

    /// The voter with that id.
    pub fn get(&self, id: i32) -> Option<&Voter> {
        self.voters.get(&id)
    }

    /// True if the replica is a voter.
    pub fn contains(&self, replica: &ReplicaKey) -> bool {
        self.get(replica.id).is_some_and(|voter| voter.key.names(replica))
    }

    /// All, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.voters.values()
    }

    /// All ids, ascending.
    pub fn ids(&self) -> impl Iterator<Item = i32> {
        self.voters.keys().copied()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.voters.len()
    }

    /// How many of them decide.
    pub fn majority(&self) -> usize {
        self.count() / 2 + 1
    }

    /// True if the replica is the one voter.
    pub fn is_only(&self, replica: &ReplicaKey) -> bool {
        self.count() == 1 && self.contains(replica)
    }

    /// The set and one more; none if the id is taken.
    pub fn with(&self, voter: Voter) -> Option<Self> {
        if self.voters.contains_key(&voter.key.id) {
            return None;
        }
        let mut more = self.clone();
        more.voters.insert(voter.key.id, voter);
        Some(more)
    }

    /// The set without exactly that voter; none if it isn't there.
    pub fn without(&self, key: &ReplicaKey) -> Option<Self> {
        self.get(key.id).filter(|voter| voter.key == *key)?;
        let mut less = self.clone();
        less.voters.remove(&key.id);
        Some(less)
    }

    /// The set with new facts about a voter of it; none if it isn't there.
    pub fn updated(&self, voter: Voter) -> Option<Self> {
        self.get(voter.key.id).filter(|known| known.key.names(&voter.key))?;
        let mut changed = self.clone();
        changed.voters.insert(voter.key.id, voter);
        Some(changed)
    }

    /// The set a record states.
    pub fn from_record(record: VotersRecord) -> Self {
        Self::new(record.voters.into_iter().map(|voter| {
            let range = voter.k_raft_version_feature;
            Voter {
                key: ReplicaKey::new(voter.voter_id, voter.voter_directory_id),
                endpoints: voter
                    .endpoints
                    .into_iter()
                    .map(|at| Endpoint { name: at.name, host: at.host, port: at.port })
                    .collect(),
                kraft_versions: (range.min_supported_version, range.max_supported_version),
            }
        }))
    }

    /// The record that states the set.
    pub fn to_record(&self) -> VotersRecord {
        let endpoint = |at: &Endpoint| voters_record::Endpoint {
            name: at.name.clone(),
            host: at.host.clone(),
            port: at.port,
            ..Default::default()
        };
        let voters = self.iter().map(|voter| voters_record::Voter {
            voter_id: voter.key.id,
            voter_directory_id: voter.key.directory_id,
            endpoints: voter.endpoints.iter().map(endpoint).collect(),
            k_raft_version_feature: voters_record::KRaftVersionFeature {
                min_supported_version: voter.kraft_versions.0,
                max_supported_version: voter.kraft_versions.1,
                ..Default::default()
            },
            ..Default::default()
        });
        VotersRecord { voters: voters.collect(), ..Default::default() }
    }
}

/// What the log says about the quorum, by the offset that says it.
///
/// What a snapshot states counts as said at the last offset it covers; for the bootstrap snapshot
/// that is -1.
#[derive(Clone, Debug, Default)]
pub struct History {
    fixed: VoterSet,
    voters: Vec<(i64, VoterSet)>,
    kraft_versions: Vec<(i64, i16)>,
}

impl History {
    /// A history that falls back to `fixed`, the `controller.quorum.voters` of the configuration.
    pub fn new(fixed: VoterSet) -> Self {
        Self { fixed, ..Default::default() }
    }

    /// The voters in force.
    pub fn voters(&self) -> &VoterSet {
        self.voters.last().map_or(&self.fixed, |(_, voters)| voters)
    }

    /// Where the voters in force were stated; none if that is the configuration.
    pub fn voters_offset(&self) -> Option<i64> {
        self.voters.last().map(|(offset, _)| *offset)
    }

    /// The voters stated last below `end`, and where.
    pub fn voters_before(&self, end: i64) -> Option<(i64, &VoterSet)> {
        let found = self.voters.iter().rev().find(|(offset, _)| *offset < end);
        found.map(|(offset, voters)| (*offset, voters))
    }

    /// The `kraft.version` in force; 0 until one is stated.
    pub fn kraft_version(&self) -> i16 {
        self.kraft_versions.last().map_or(0, |(_, version)| *version)
    }

    /// The `kraft.version` stated last below `end`.
    pub fn kraft_version_before(&self, end: i64) -> i16 {
        let found = self.kraft_versions.iter().rev().find(|(offset, _)| *offset < end);
        found.map_or(0, |(_, version)| *version)
    }

    /// A set was stated. Offsets only grow (I1).
    pub fn push_voters(&mut self, offset: i64, voters: VoterSet) {
        assert!(self.voters_offset().is_none_or(|last| last < offset), "I1: voters at {offset}");
        self.voters.push((offset, voters));
    }

    /// A `kraft.version` was stated. Offsets only grow (I1).
    pub fn push_kraft_version(&mut self, offset: i64, version: i16) {
        let last = self.kraft_versions.last();
        assert!(last.is_none_or(|(last, _)| *last < offset), "I1: kraft.version at {offset}");
        self.kraft_versions.push((offset, version));
    }

    /// The log ends at `end` now: what it said from there on was never said.
    pub fn truncate(&mut self, end: i64) {
        if planted::is(Bug::RaftVotersSurviveTruncation) {
            return;
        }
        self.voters.retain(|(offset, _)| *offset < end);
        self.kraft_versions.retain(|(offset, _)| *offset < end);
    }

    /// Forgets all but what is in force at `start`, where the log begins now.
    pub fn forget_before(&mut self, start: i64) {
        let keep = |offsets: Vec<i64>| offsets.iter().rposition(|offset| *offset < start);
        if let Some(first) = keep(self.voters.iter().map(|entry| entry.0).collect()) {
            self.voters.drain(..first);
        }
        if let Some(first) = keep(self.kraft_versions.iter().map(|entry| entry.0).collect()) {
            self.kraft_versions.drain(..first);
        }
    }

    /// A snapshot replaced the log: only what it states is known.
    pub fn replace(&mut self, end: i64, kraft_version: i16, voters: Option<VoterSet>) {
        self.voters = voters.map(|voters| (end - 1, voters)).into_iter().collect();
        self.kraft_versions = vec![(end - 1, kraft_version)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(id: i32) -> Voter {
        Voter {
            key: ReplicaKey::new(id, Uuid(id as u128 + 1000)),
            endpoints: vec![Endpoint { name: "C".into(), host: format!("h{id}"), port: 9093 }],
            kraft_versions: (0, 1),
        }
    }

    #[test]
    fn a_set_survives_its_record() {
        let set = VoterSet::new([voter(3), voter(1)]);
        assert_eq!(VoterSet::from_record(set.to_record()), set);
        assert_eq!(set.ids().collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn a_directory_counts_where_it_is_known() {
        let set = VoterSet::new([voter(1)]);
        assert!(set.contains(&voter(1).key));
        assert!(!set.contains(&ReplicaKey::new(1, Uuid(5))));
        let fixed = Voter { key: ReplicaKey::new(1, Uuid::ZERO), ..voter(1) };
        assert!(VoterSet::new([fixed]).contains(&ReplicaKey::new(1, Uuid(5))));
    }

    #[test]
    fn sets_change_by_one_voter_and_only_by_the_right_one() {
        let set = VoterSet::new([voter(1), voter(2)]);
        assert_eq!(set.with(voter(2)), None);
        assert_eq!(set.with(voter(3)).unwrap().count(), 3);
        assert_eq!(set.without(&ReplicaKey::new(2, Uuid(1))), None);
        assert!(set.without(&voter(2).key).unwrap().is_only(&voter(1).key));
        assert_eq!(set.updated(voter(3)), None);
        let moved = Voter { endpoints: Vec::new(), ..voter(2) };
        assert_eq!(set.updated(moved.clone()).unwrap().get(2), Some(&moved));
        assert_eq!((set.majority(), set.with(voter(3)).unwrap().majority()), (2, 2));
    }

    #[test]
    fn a_history_rolls_back_and_forgets() {
        let mut history = History::new(VoterSet::new([voter(9)]));
        assert_eq!((history.voters().count(), history.voters_offset()), (1, None));
        history.push_kraft_version(1, 1);
        history.push_voters(2, VoterSet::new([voter(1)]));
        history.push_voters(7, VoterSet::new([voter(1), voter(2)]));
        assert_eq!(history.voters_before(7).unwrap().0, 2);
        assert_eq!((history.voters_before(2), history.kraft_version_before(1)), (None, 0));
        history.truncate(7);
        assert_eq!((history.voters().count(), history.kraft_version()), (1, 1));
        history.push_voters(8, VoterSet::new([voter(1), voter(2), voter(3)]));
        history.forget_before(5);
        assert_eq!(history.voters_before(8).unwrap().0, 2);
        history.forget_before(9);
        assert_eq!(history.voters_before(8), None);
        history.replace(20, 1, Some(VoterSet::new([voter(4)])));
        assert_eq!((history.voters_offset(), history.kraft_version()), (Some(19), 1));
        history.truncate(0);
        assert_eq!(history.voters().ids().collect::<Vec<_>>(), [9]);
    }
}
