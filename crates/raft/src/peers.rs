//! Questions under way: at most one a peer, given up after the request timeout, repeated after a
//! pause when they fail.
//!
//! Owns: [`Peers`]. A new role forgets the questions of the old one, so that a late answer can't
//! be taken for one to a question of today.
//!
//! Invariants:
//! - I1: question numbers are never reused in the life of a core.

use std::collections::BTreeMap;

use crate::event::Peer;

/// What a question was, as far as its answer needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub peer: Peer,
    pub sent_at_ms: i64,
}

/// Questions under way and pauses, by peer id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    last_number: u64,
    inflight: BTreeMap<i32, (u64, Asked)>,
    retry_at_ms: BTreeMap<i32, i64>,
}

impl Peers {
    /// True if the peer can be asked now.
    pub fn is_ready(&self, id: i32, now_ms: i64) -> bool {
        let pausing = self.retry_at_ms.get(&id).is_some_and(|at| now_ms < *at);
        !pausing && !self.inflight.contains_key(&id)
    }

    /// True if somebody is being asked something.
    pub fn is_any_inflight(&self) -> bool {
        !self.inflight.is_empty()
    }

    /// True if the peer let us down and is left alone for a moment.
    pub fn is_pausing(&self, id: i32, now_ms: i64) -> bool {
        self.retry_at_ms.get(&id).is_some_and(|at| now_ms < *at)
    }

    /// Notes a question and numbers it.
    pub fn ask(&mut self, peer: &Peer, now_ms: i64) -> u64 {
        self.last_number += 1;
        let asked = Asked { peer: peer.clone(), sent_at_ms: now_ms };
        self.inflight.insert(peer.id, (self.last_number, asked));
        self.last_number
    }

    /// Takes the question an answer belongs to; none if it is no longer of interest.
    pub fn answered(&mut self, number: u64) -> Option<Asked> {
        let id = *self.inflight.iter().find(|(_, asked)| asked.0 == number)?.0;
        self.inflight.remove(&id).map(|(_, asked)| asked)
    }

    /// Leaves a peer alone until then.
    pub fn pause(&mut self, id: i32, until_ms: i64) {
        self.retry_at_ms.insert(id, until_ms);
    }

    /// Gives up the questions that were asked `timeout_ms` ago; their peers may be asked again.
    pub fn expire(&mut self, now_ms: i64, timeout_ms: i64) -> Vec<Peer> {
        let late = |asked: &Asked| now_ms - asked.sent_at_ms >= timeout_ms;
        let gone = self.inflight.extract_if(.., |_, (_, asked)| late(asked));
        let gone: Vec<Peer> = gone.map(|(_, (_, asked))| asked.peer).collect();
        self.retry_at_ms.retain(|_, at| now_ms < *at);
        gone
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.inflight.clear();
        self.retry_at_ms.clear();
    }

    /// When the next question is given up or the next pause ends.
    pub fn deadline_ms(&self, timeout_ms: i64) -> Option<i64> {
        let given_up = self.inflight.values().map(|(_, asked)| asked.sent_at_ms + timeout_ms);
        given_up.chain(self.retry_at_ms.values().copied()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: i32) -> Peer {
        Peer { id, host: "h".into(), port: 1 }
    }

    #[test]
    fn a_peer_is_asked_one_thing_at_a_time_and_late_answers_are_strangers() {
        let mut peers = Peers::default();
        let first = peers.ask(&peer(1), 0);
        assert!(!peers.is_ready(1, 0) && peers.is_ready(2, 0));
        assert_eq!(peers.deadline_ms(10), Some(10));
        assert!(peers.expire(9, 10).is_empty());
        assert_eq!(peers.expire(10, 10), [peer(1)]);
        assert_eq!(peers.answered(first), None);
        let second = peers.ask(&peer(1), 11);
        assert!(second > first);
        assert_eq!(peers.answered(second).unwrap().sent_at_ms, 11);
        peers.pause(1, 20);
        assert!(!peers.is_ready(1, 19) && peers.is_ready(1, 20));
    }
}
