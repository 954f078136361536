//! Incremental fetch sessions (KIP-227): what a consumer is interested in, kept between requests,
//! so that a request names changes only and an answer only what changed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use messages::fetch_request::{FetchRequest, FetchTopic};
use ottla_log::planted::{self, Bug};
use wire::files::KeyHash;
use wire::{ErrorCode, Uuid};

/// A topic as the fetch request names it: by name up to version 12, by id from 13 on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// Up to version 12.
    Name(String),
    /// From version 13 on.
    Id(Uuid),
}

/// What a fetch wants of one partition, and what it was last told.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// The next offset the consumer needs.
    pub fetch_offset: i64,
    /// The leader epoch the consumer knows; -1 if none.
    pub current_leader_epoch: i32,
    /// The epoch of the last record it has; -1 if none.
    pub last_fetched_epoch: i32,
    /// At most so many bytes.
    pub max_bytes: i32,
    /// The only key it has a use for, if there is one; the hash alone, so that a session keeps hold
    /// of no request.
    pub key: Option<KeyHash>,
    /// The high watermark it was last told.
    pub told_high_watermark: i64,
    /// The log start offset it was last told.
    pub told_log_start: i64,
}

/// Partitions in the order in which they are answered.
pub type Wants = Vec<(TopicRef, i32, Want)>;

/// A session kept between requests.
#[derive(Debug)]
struct Session {
    epoch: i32,
    /// By turn: those answered last come last.
    wants: BTreeMap<u64, (TopicRef, i32, Want)>,
    turns: BTreeMap<(TopicRef, i32), u64>,
    next_turn: u64,
    last_used_ms: i64,
    by_id: bool,
}

impl Session {
    fn new(wants: &Wants, by_id: bool, now_ms: i64) -> Self {
        let mut session = Self {
            epoch: 1,
            wants: BTreeMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
            last_used_ms: now_ms,
            by_id,
        };
        wants.iter().for_each(|(topic, index, want)| session.want(topic, *index, want.clone()));
        session
    }

    /// Adds a partition, or takes over what is new about one that is there.
    fn want(&mut self, topic: &TopicRef, index: i32, want: Want) {
        let key = (topic.clone(), index);
        if let Some((_, _, known)) = self.turns.get(&key).and_then(|at| self.wants.get_mut(at)) {
            if planted::is(Bug::SessionKeepsOffset) {
                return;
            }
            *known = Want {
                told_high_watermark: known.told_high_watermark,
                told_log_start: known.told_log_start,
                ..want
            };
            return;
        }
        self.turns.insert(key, self.next_turn);
        self.wants.insert(self.next_turn, (topic.clone(), index, want));
        self.next_turn += 1;
    }

    fn forget(&mut self, topic: &TopicRef, index: i32) {
        if let Some(turn) = self.turns.remove(&(topic.clone(), index)) {
            self.wants.remove(&turn);
        }
    }

    fn wants(&self) -> Wants {
        self.wants.values().cloned().collect()
    }
}

/// All sessions of a node.
#[derive(Debug)]
pub struct Sessions {
    sessions: BTreeMap<i32, Session>,
    slots: usize,
}

/// How an answer relates to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The id to answer with; 0 if there is no session.
    pub session: i32,
    /// Only what changed is answered.
    pub incremental: bool,
}

impl Sessions {
    /// At most `slots` sessions (`max.incremental.fetch.session.cache.slots`).
    pub fn new(slots: usize) -> Self {
        Self { sessions: BTreeMap::new(), slots }
    }

    /// What a request asks for, after its session was brought up to date. `fresh` is drawn by the
    /// caller and names the session if one is opened.
    ///
    /// # Errors
    /// The session is gone, or the request is not the next one of it.
    pub fn begin(
        &mut self,
        request: &FetchRequest,
        version: i16,
        fresh: i32,
        now_ms: i64,
    ) -> Result<(Scope, Wants), ErrorCode> {
        let by_id = version >= 13;
        let full = version < 7 || matches!(request.session_epoch, EPOCH_NONE | EPOCH_FIRST);
        if full {
            if request.session_id != 0 {
                self.sessions.remove(&request.session_id);
            }
            let wants = wants_of(&request.topics, by_id);
            if version < 7 || request.session_epoch == EPOCH_NONE {
                return Ok((Scope { session: 0, incremental: false }, wants));
            }
            let session = self.open(fresh, &wants, by_id, now_ms);
            return Ok((Scope { session, incremental: false }, wants));
        }
        let Some(session) = self.sessions.get_mut(&request.session_id) else {
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        };
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        session.last_used_ms = now_ms;
        for forgotten in &request.forgotten_topics_data {
            let topic = topic_ref(by_id, &forgotten.topic, forgotten.topic_id);
            forgotten.partitions.iter().for_each(|index| session.forget(&topic, *index));
        }
        for (topic, index, want) in wants_of(&request.topics, by_id) {
            session.want(&topic, index, want);
        }
        if session.wants.len() > PARTITIONS_MAX {
            // Too much to be kept: the client is told to begin again, and gets no session then.
            self.sessions.remove(&request.session_id);
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        Ok((Scope { session: request.session_id, incremental: true }, session.wants()))
    }

    /// Remembers what a consumer was told, and moves answered partitions behind the others, so
    /// that no partition starves where the byte limit is always reached by the first ones.
    pub fn told(&mut self, session: i32, answered: &[(TopicRef, i32, i64, i64, bool)]) {
        let Some(session) = self.sessions.get_mut(&session) else { return };
        for (topic, index, high_watermark, log_start, had_data) in answered {
            let Some(turn) = session.turns.get_mut(&(topic.clone(), *index)) else { continue };
            let Some(mut entry) = session.wants.remove(turn) else { continue };
            entry.2.told_high_watermark = *high_watermark;
            entry.2.told_log_start = *log_start;
            if *had_data {
                *turn = session.next_turn;
                session.next_turn += 1;
            }
            session.wants.insert(*turn, entry);
        }
    }

    /// Opens a session, evicting the one unused for longest if there is no room and it has been
    /// idle for two minutes; 0 if none could be opened.
    fn open(&mut self, fresh: i32, wants: &Wants, by_id: bool, now_ms: i64) -> i32 {
        if wants.len() > PARTITIONS_MAX {
            return 0;
        }
        if self.sessions.len() >= self.slots {
            let oldest = self
                .sessions
                .iter()
                .min_by_key(|(_, s)| s.last_used_ms)
                .map(|(id, s)| (*id, s.last_used_ms));
            match oldest {
                Some((id, used)) if now_ms - used > EVICT_AFTER_MS => {
                    self.sessions.remove(&id);
                }
                _ => return 0,
            }
        }
        let id = fresh.max(1);
        if self.sessions.contains_key(&id) {
            return 0;
        }
        self.sessions.insert(id, Session::new(wants, by_id, now_ms));
        id
    }
}

fn topic_ref(by_id: bool, name: &str, id: Uuid) -> TopicRef {
    if by_id { TopicRef::Id(id) } else { TopicRef::Name(name.to_owned()) }
}

fn wants_of(topics: &[FetchTopic], by_id: bool) -> Wants {
    let mut wants = Vec::new();
    for topic in topics {
        for partition in &topic.partitions {
            let want = Want {
                fetch_offset: partition.fetch_offset,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
                max_bytes: partition.partition_max_bytes,
                key: partition.key().map(|key| KeyHash::of(key)),
                told_high_watermark: -1,
                told_log_start: -1,
            };
            wants.push((topic_ref(by_id, &topic.topic, topic.topic_id), partition.partition, want));
        }
    }
    once(wants)
}

/// Each partition once, where it was named first and as it was named last: what Apache Kafka's map
/// makes of a request. Otherwise few bytes of request could ask for the same work over and over.
fn once(wants: Wants) -> Wants {
    let mut named: Vec<_> = wants.iter().map(|(topic, index, _)| (topic, *index)).collect();
    // Clients name them in order, so this is one pass for them.
    named.sort();
    if named.windows(2).all(|pair| pair[0] != pair[1]) {
        return wants;
    }
    let mut places: BTreeMap<(TopicRef, i32), usize> = BTreeMap::new();
    let mut once: Wants = Vec::new();
    for (topic, index, want) in wants {
        match places.entry((topic.clone(), index)) {
            Entry::Occupied(place) => once[*place.get()].2 = want,
            Entry::Vacant(place) => {
                place.insert(once.len());
                once.push((topic, index, want));
            }
        }
    }
    once
}

/// `SessionEpoch` of a fetch outside any session.
const EPOCH_NONE: i32 = -1;
/// `SessionEpoch` of a fetch that opens a session.
const EPOCH_FIRST: i32 = 0;
/// A session with more partitions than this would cost more than it saves.
const PARTITIONS_MAX: usize = 100_000;
/// `FetchSessionCache.MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS` of Apache Kafka.
const EVICT_AFTER_MS: i64 = 120_000;

#[cfg(test)]
mod tests {
    use super::*;
    use messages::fetch_request::{FetchPartition, ForgottenTopic};

    fn request(session: i32, epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
        let partitions = partitions
            .iter()
            .map(|&(partition, fetch_offset)| FetchPartition {
                partition,
                fetch_offset,
                ..Default::default()
            })
            .collect();
        FetchRequest {
            session_id: session,
            session_epoch: epoch,
            topics: vec![FetchTopic { topic: "t".into(), partitions, ..Default::default() }],
            ..Default::default()
        }
    }

    fn offsets(wants: &Wants) -> Vec<(i32, i64)> {
        wants.iter().map(|(_, index, want)| (*index, want.fetch_offset)).collect()
    }

    #[test]
    fn a_session_keeps_what_is_not_named_again_and_forgets_what_it_is_told_to() {
        let mut sessions = Sessions::new(2);
        let (scope, wants) = sessions.begin(&request(0, 0, &[(0, 5), (1, 6)]), 12, 77, 0).unwrap();
        assert_eq!((scope.session, scope.incremental), (77, false));
        assert_eq!(offsets(&wants), [(0, 5), (1, 6)]);
        let (scope, wants) = sessions.begin(&request(77, 1, &[(1, 9)]), 12, 0, 0).unwrap();
        assert!(scope.incremental);
        assert_eq!(offsets(&wants), [(0, 5), (1, 9)]);
        let mut next = request(77, 2, &[]);
        next.forgotten_topics_data =
            vec![ForgottenTopic { topic: "t".into(), partitions: vec![0], ..Default::default() }];
        let (_, wants) = sessions.begin(&next, 12, 0, 0).unwrap();
        assert_eq!(offsets(&wants), [(1, 9)]);
    }

    #[test]
    fn a_partition_named_again_counts_once_where_it_was_first_as_it_was_last() {
        let mut sessions = Sessions::new(2);
        let many = request(0, 0, &[(3, 1), (0, 5), (3, 2), (1, 6), (3, 7), (0, 4)]);
        for epoch in [EPOCH_NONE, EPOCH_FIRST] {
            let request = FetchRequest { session_epoch: epoch, ..many.clone() };
            let (_, wants) = sessions.begin(&request, 12, 77, 0).unwrap();
            assert_eq!(offsets(&wants), [(3, 7), (0, 4), (1, 6)]);
        }
        let (_, wants) = sessions.begin(&request(77, 1, &[(1, 8), (1, 9)]), 12, 0, 0).unwrap();
        assert_eq!(offsets(&wants), [(3, 7), (0, 4), (1, 9)]);
    }

    #[test]
    fn a_wrong_session_or_epoch_is_told_so() {
        let mut sessions = Sessions::new(2);
        sessions.begin(&request(0, 0, &[(0, 5)]), 12, 77, 0).unwrap();
        let error = sessions.begin(&request(78, 1, &[]), 12, 0, 0).unwrap_err();
        assert_eq!(error, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        let error = sessions.begin(&request(77, 2, &[]), 12, 0, 0).unwrap_err();
        assert_eq!(error, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        sessions.begin(&request(77, EPOCH_NONE, &[]), 12, 0, 0).unwrap();
        assert!(sessions.begin(&request(77, 1, &[]), 12, 0, 0).is_err());
    }

    #[test]
    fn full_cache_gives_no_session_until_one_is_idle() {
        let mut sessions = Sessions::new(1);
        sessions.begin(&request(0, 0, &[(0, 5)]), 12, 77, 0).unwrap();
        let (scope, _) = sessions.begin(&request(0, 0, &[(0, 5)]), 12, 78, 1000).unwrap();
        assert_eq!(scope.session, 0);
        let (scope, _) = sessions.begin(&request(0, 0, &[(0, 5)]), 12, 78, 200_000).unwrap();
        assert_eq!(scope.session, 78);
    }

    #[test]
    fn a_session_keeps_the_key_until_the_partition_is_named_without_it() {
        let mut sessions = Sessions::new(1);
        let mut first = request(0, 0, &[(0, 5), (1, 5)]);
        first.topics[0].partitions[1].set_key(wire::Bytes::from_static(b"k"));
        sessions.begin(&first, 12, 77, 0).unwrap();
        let keys = |wants: &Wants| wants.iter().map(|(.., want)| want.key).collect::<Vec<_>>();
        let (_, wants) = sessions.begin(&request(77, 1, &[]), 12, 0, 0).unwrap();
        assert_eq!(keys(&wants), [None, Some(KeyHash::of(b"k"))]);
        let (_, wants) = sessions.begin(&request(77, 2, &[(1, 9)]), 12, 0, 0).unwrap();
        assert_eq!(keys(&wants), [None, None]);
    }

    #[test]
    fn partitions_that_had_data_go_to_the_end() {
        let mut sessions = Sessions::new(1);
        sessions.begin(&request(0, 0, &[(0, 5), (1, 5)]), 12, 77, 0).unwrap();
        sessions.told(77, &[(TopicRef::Name("t".into()), 0, 9, 0, true)]);
        let (_, wants) = sessions.begin(&request(77, 1, &[]), 12, 0, 0).unwrap();
        assert_eq!(offsets(&wants), [(1, 5), (0, 5)]);
        assert_eq!(wants[1].2.told_high_watermark, 9);
    }
}
