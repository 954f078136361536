//! One classic group: its members, its generation, and how it votes. Pure data; who changes it when
//! is in [`super::rebalance`], [`super::assignment`] and [`super::sessions`].
//!
//! All of it is volatile but what the group's last record holds: members that join, wait or vote
//! are forgotten when the coordinator moves, and join again.
//!
//! Invariants:
//! - I1: `Empty` has no members, `CompletingRebalance` and `Stable` have at least one.
//! - I2: the leader, if any, is a member.
//! - I3: `static_members` maps each instance id to the one member that has it.
//! - I4: counts (protocols, members waiting for a join) are those of the members.
//! - I5: nobody waits for a join outside `PreparingRebalance`, nor for a sync outside
//!   `CompletingRebalance`.

use std::collections::{BTreeMap, BTreeSet};

use messages::group_metadata_value::MemberMetadata;
use messages::join_group_request::JoinGroupRequestProtocol;
use messages::join_group_response::JoinGroupResponseMember;
use messages::{ConsumerProtocolSubscription, GroupMetadataValue};
use wire::{Bytes, ErrorCode, Reader};

/// Where a group is in its life. A group that is gone is called `Dead` by the tools; it has no
/// state here because it is not in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No members; it may still have offsets.
    Empty,
    /// Members are asked to join again.
    PreparingRebalance,
    /// All joined; the leader's assignment is awaited.
    CompletingRebalance,
    /// Everybody has, or can fetch, an assignment.
    Stable,
}

impl State {
    /// Apache Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// `group.instance.id` of a static member (KIP-345).
    pub instance: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// How long a rebalance waits for it.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// Assignment strategies it supports with its metadata for each, the preferred one first.
    pub protocols: Vec<(String, Bytes)>,
    /// What the leader gave it.
    pub assignment: Bytes,
    /// The JoinGroup that waits.
    pub waiting_join: Option<u64>,
    /// The SyncGroup that waits.
    pub waiting_sync: Option<u64>,
    /// It has not been through a rebalance yet, so waiting does not keep it alive for ever.
    pub is_new: bool,
}

impl Member {
    /// Its metadata for a protocol.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// True if a request lists the same protocols with the same metadata in the same order.
    pub fn matches(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        self.protocols.len() == protocols.len()
            && self
                .protocols
                .iter()
                .zip(protocols)
                .all(|((name, metadata), other)| *name == other.name && *metadata == other.metadata)
    }

    /// True while a request of it is parked here: it can't send heartbeats then.
    pub fn is_alive_by_waiting(&self) -> bool {
        !self.is_new && (self.waiting_join.is_some() || self.waiting_sync.is_some())
    }
}

/// The protocols of a request, copied: they outlive its frame.
pub fn owned(protocols: &[JoinGroupRequestProtocol]) -> Vec<(String, Bytes)> {
    let copy = |protocol: &JoinGroupRequestProtocol| {
        (protocol.name.clone(), Bytes::copy_from_slice(&protocol.metadata))
    };
    protocols.iter().map(copy).collect()
}

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Where it is.
    pub state: State,
    /// Where it was before: a rebalance from `Empty` waits for more members.
    pub previous: State,
    /// Counts completed joins.
    pub generation: i32,
    /// `consumer`, `connect`, ...; none for a group that only ever had offsets.
    pub protocol_type: Option<String>,
    /// The strategy chosen for this generation.
    pub protocol: Option<String>,
    /// Who assigns.
    pub leader: Option<String>,
    /// When it came into its state, by the wall clock.
    pub state_since_ms: Option<i64>,
    /// By member id.
    pub members: BTreeMap<String, Member>,
    /// Instance id to member id.
    pub static_members: BTreeMap<String, String>,
    /// Ids that were handed out and have not joined yet (KIP-394).
    pub pending_joins: BTreeSet<String>,
    /// Members that have not asked for their assignment yet.
    pub pending_syncs: BTreeSet<String>,
    /// Somebody joined while the initial rebalance waited.
    pub new_member_added: bool,
    /// The initial rebalance's delay, and how much longer it may be extended, in milliseconds.
    pub initial_delay: Option<(i32, i32)>,
    /// What its members subscribe to; `None` if that can't be known.
    pub subscribed: Option<BTreeSet<String>>,
    supported: BTreeMap<String, usize>,
    waiting_joins: usize,
}

impl Group {
    /// A group without members.
    pub fn new(now_ms: i64) -> Self {
        Self {
            state: State::Empty,
            previous: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            state_since_ms: Some(now_ms),
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            new_member_added: false,
            initial_delay: None,
            subscribed: None,
            supported: BTreeMap::new(),
            waiting_joins: 0,
        }
    }

    /// The group that a record describes: `Stable` with its members, or `Empty`.
    pub fn from_record(value: &GroupMetadataValue) -> Self {
        let state = if value.members.is_empty() { State::Empty } else { State::Stable };
        let protocol_type = Some(value.protocol_type.clone()).filter(|name| !name.is_empty());
        let mut group = Self {
            state,
            previous: state,
            generation: value.generation,
            protocol_type,
            protocol: value.protocol.clone(),
            state_since_ms: Some(value.current_state_timestamp).filter(|since| *since != -1),
            ..Self::new(0)
        };
        let protocol = value.protocol.clone().unwrap_or_default();
        for loaded in &value.members {
            let member = Member {
                instance: loaded.group_instance_id.clone(),
                client_id: loaded.client_id.clone(),
                client_host: loaded.client_host.clone(),
                rebalance_timeout_ms: match loaded.rebalance_timeout {
                    -1 => loaded.session_timeout,
                    timeout => timeout,
                },
                session_timeout_ms: loaded.session_timeout,
                protocols: vec![(protocol.clone(), Bytes::copy_from_slice(&loaded.subscription))],
                assignment: Bytes::copy_from_slice(&loaded.assignment),
                waiting_join: None,
                waiting_sync: None,
                is_new: false,
            };
            // No coordinator writes a member twice; should one have, the later one counts.
            let holder = member.instance.as_ref().and_then(|one| group.static_members.get(one));
            if let Some(holder) = holder.cloned() {
                group.remove(&holder);
            }
            group.remove(&loaded.member_id);
            group.insert(loaded.member_id.clone(), member);
        }
        // A leader that is no member any more can't lead.
        group.leader = value.leader.clone().filter(|leader| group.members.contains_key(leader));
        group.subscribed = group.compute_subscribed();
        group
    }

    /// The record of this generation with the assignment that its members have.
    pub fn as_recorded(&self) -> GroupMetadataValue {
        let assignment = |id: &str| self.members.get(id).map(|member| member.assignment.clone());
        self.to_record(|id| assignment(id).unwrap_or_default())
    }

    /// The record of this generation with the given assignment.
    pub fn to_record(&self, assignment: impl Fn(&str) -> Bytes) -> GroupMetadataValue {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| MemberMetadata {
            member_id: id.clone(),
            group_instance_id: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(&protocol),
            assignment: assignment(id),
            ..Default::default()
        });
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: members.collect(),
            ..Default::default()
        }
    }

    /// Moves to another state.
    pub fn transition(&mut self, state: State, now_ms: i64) {
        self.previous = self.state;
        self.state = state;
        self.state_since_ms = Some(now_ms);
    }

    /// Adds or replaces a member; the first one leads.
    pub fn insert(&mut self, id: String, member: Member) {
        self.pending_joins.remove(&id);
        if let Some(instance) = &member.instance {
            self.static_members.insert(instance.clone(), id.clone());
        }
        for (name, _) in &member.protocols {
            *self.supported.entry(name.clone()).or_default() += 1;
        }
        self.waiting_joins += usize::from(member.waiting_join.is_some());
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, member);
    }

    /// Takes a member, or an id that was only handed out, off every list.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let removed = self.members.remove(id);
        if let Some(member) = &removed {
            self.forget_votes(member);
            self.waiting_joins -= usize::from(member.waiting_join.is_some());
            if let Some(instance) = &member.instance {
                self.static_members.remove(instance);
            }
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_joins.remove(id);
        self.pending_syncs.remove(id);
        removed
    }

    /// Takes over what a member says when it joins again. Gives the older JoinGroup of it that
    /// waited.
    pub fn update(
        &mut self,
        id: &str,
        protocols: &[JoinGroupRequestProtocol],
        timeouts: (i32, i32),
        waiting: u64,
    ) -> Option<u64> {
        let mut member = self.members.remove(id)?;
        self.forget_votes(&member);
        member.protocols = owned(protocols);
        (member.rebalance_timeout_ms, member.session_timeout_ms) = timeouts;
        for (name, _) in &member.protocols {
            *self.supported.entry(name.clone()).or_default() += 1;
        }
        let before = member.waiting_join.replace(waiting);
        self.waiting_joins += usize::from(before.is_none());
        self.members.insert(id.to_owned(), member);
        before
    }

    /// Gives the JoinGroup of a member that waits, which then no longer does.
    pub fn take_join(&mut self, id: &str) -> Option<u64> {
        let token = self.members.get_mut(id)?.waiting_join.take()?;
        self.waiting_joins -= 1;
        Some(token)
    }

    fn forget_votes(&mut self, member: &Member) {
        for (name, _) in &member.protocols {
            if let Some(count) = self.supported.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(name);
                }
            }
        }
    }

    /// True if that member assigns.
    pub fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// Members whose JoinGroup waits.
    pub fn waiting_joins(&self) -> usize {
        self.waiting_joins
    }

    /// True if a rebalance has nobody left to wait for.
    pub fn all_joined(&self) -> bool {
        self.members.len() == self.waiting_joins && self.pending_joins.is_empty()
    }

    /// The longest that any member may take to join.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// True if a member with these protocols could be in the group.
    pub fn supports(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| {
                self.supported.get(&protocol.name).copied().unwrap_or(0) == self.members.len()
            })
    }

    /// The protocol that most members prefer among those that all support. Ties go to the one the
    /// leader prefers (Apache Kafka leaves them to chance).
    pub fn select_protocol(&self) -> Option<String> {
        let everybody = self.members.len();
        let candidate = |name: &String| self.supported.get(name) == Some(&everybody);
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| candidate(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().max().copied()?;
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        let preferred = leader.into_iter().flat_map(|leader| &leader.protocols);
        let mut tied = preferred.map(|(name, _)| name.as_str());
        let chosen = tied.find(|name| votes.get(name) == Some(&most));
        let any = votes.iter().find(|(_, count)| **count == most).map(|(name, _)| *name);
        chosen.or(any).map(str::to_owned)
    }

    /// Lets a member that joined lead, if the leader did not; false if nobody joined.
    pub fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(|member| member.waiting_join.is_some()) {
            return true;
        }
        let joined = self.members.iter().find(|(_, member)| member.waiting_join.is_some());
        match joined.map(|(id, _)| id.clone()) {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// Begins the next generation with whoever is a member now.
    pub fn next_generation(&mut self, now_ms: i64) {
        // Wraps from the largest number to 0, which is the number of a fresh group.
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.pending_syncs.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.transition(State::Empty, now_ms);
        } else {
            self.protocol = self.select_protocol();
            self.transition(State::CompletingRebalance, now_ms);
        }
        self.subscribed = self.compute_subscribed();
    }

    /// What the leader is told of the members.
    pub fn roster(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.clone().unwrap_or_default();
        let entry = |(id, member): (&String, &Member)| JoinGroupResponseMember {
            member_id: id.clone(),
            group_instance_id: member.instance.clone(),
            metadata: member.metadata(&protocol),
            ..Default::default()
        };
        self.members.iter().map(entry).collect()
    }

    /// Checks that a request comes from a member, and not from an older process of it.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
    pub fn validate(&self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(known) if known != id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    /// True for groups of consumers, whose subscriptions the coordinator can read.
    pub fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// True if offsets of that topic are in use; if that can't be known they count as used.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    fn compute_subscribed(&self) -> Option<BTreeSet<String>> {
        if !self.is_of_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_ref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let mut reader = Reader::new(member.metadata(protocol));
            let _version = reader.i16().ok()?;
            // Later versions only add fields behind the topics.
            topics.extend(ConsumerProtocolSubscription::decode(&mut reader, 0).ok()?.topics);
        }
        Some(topics)
    }

    /// Checks I1 to I5.
    ///
    /// # Panics
    /// If one does not hold: a mistake of ours.
    pub fn check(&self) {
        match self.state {
            State::Empty => assert!(self.members.is_empty(), "I1: {self:?}"),
            State::PreparingRebalance => {}
            _ => assert!(!self.members.is_empty(), "I1: {self:?}"),
        }
        if let Some(leader) = &self.leader {
            assert!(self.members.contains_key(leader), "I2: {self:?}");
        }
        let instances = self
            .members
            .iter()
            .filter_map(|(id, member)| Some((member.instance.clone()?, id.clone())));
        assert_eq!(self.static_members, instances.collect(), "I3: {self:?}");
        let mut supported: BTreeMap<String, usize> = BTreeMap::new();
        for (name, _) in self.members.values().flat_map(|member| &member.protocols) {
            *supported.entry(name.clone()).or_default() += 1;
        }
        assert_eq!(self.supported, supported, "I4: {self:?}");
        let waiting = |member: &&Member| member.waiting_join.is_some();
        assert_eq!(self.waiting_joins, self.members.values().filter(waiting).count(), "I4");
        for member in self.members.values() {
            let preparing = self.state == State::PreparingRebalance;
            assert!(member.waiting_join.is_none() || preparing, "I5: {self:?}");
            let completing = self.state == State::CompletingRebalance;
            assert!(member.waiting_sync.is_none() || completing, "I5: {self:?}");
        }
    }
}

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";
