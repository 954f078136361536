//! Deadlines by what they are for: one each, moved by setting it again.

use std::collections::{BTreeMap, BTreeSet};

/// What becomes due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The session of a member of a group, or an id handed out and not used.
    Session(String, String),
    /// A group's joins.
    Join(String),
    /// A group's syncs.
    Sync(String),
    /// The look for offsets that nobody needs any more.
    Expiry,
}

/// All deadlines of a shard, on the steady clock.
#[derive(Debug, Default)]
pub struct Timers {
    at: BTreeMap<Timer, i64>,
    queue: BTreeSet<(i64, Timer)>,
}

impl Timers {
    /// Sets or moves one.
    pub fn set(&mut self, timer: Timer, at_ms: i64) {
        if let Some(before) = self.at.insert(timer.clone(), at_ms) {
            self.queue.remove(&(before, timer.clone()));
        }
        self.queue.insert((at_ms, timer));
    }

    /// Removes one.
    pub fn cancel(&mut self, timer: &Timer) {
        if let Some(at) = self.at.remove(timer) {
            self.queue.remove(&(at, timer.clone()));
        }
    }

    /// True if it will become due.
    pub fn is_set(&self, timer: &Timer) -> bool {
        self.at.contains_key(timer)
    }

    /// The next that is due by `now_ms`, removed.
    pub fn pop_due(&mut self, now_ms: i64) -> Option<Timer> {
        if self.next_ms() > now_ms {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }

    /// When the next is due.
    pub fn next_ms(&self) -> i64 {
        self.queue.first().map_or(i64::MAX, |(at, _)| *at)
    }
}
