//! Which leader epoch wrote which offsets (KIP-101).
//!
//! Owns the list behind `leader-epoch-checkpoint`. Invariant I1: epochs and start offsets both
//! rise strictly.

use wire::files::EpochStart;

/// The start offsets of the leader epochs in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    entries: Vec<EpochStart>,
}

impl Epochs {
    /// Takes what a checkpoint held; entries that contradict later ones are dropped.
    pub fn from_entries(entries: Vec<EpochStart>) -> Self {
        let mut epochs = Self::default();
        for entry in entries {
            epochs.assign(entry.epoch, entry.start_offset);
        }
        epochs
    }

    /// The entries, rising.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// Gives back memory that is not used.
    pub(crate) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// The latest epoch.
    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// Records that `epoch` writes from `start_offset` on; true if that was news. Entries it
    /// contradicts were of a history this log no longer has.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 || self.latest() == Some(epoch) {
            return false;
        }
        let holds = |entry: &EpochStart| entry.epoch < epoch && entry.start_offset < start_offset;
        self.entries.retain(holds);
        self.entries.push(EpochStart { epoch, start_offset });
        true
    }

    /// Forgets epochs that start at or after `end`; true if there were any.
    pub fn truncate_from_end(&mut self, end: i64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end);
        self.entries.len() != before
    }

    /// Forgets epochs that end at or before `start`, and lets the one there begin there; true if
    /// anything changed.
    pub fn truncate_from_start(&mut self, start: i64) -> bool {
        let covered = self.entries.partition_point(|entry| entry.start_offset <= start);
        match covered.checked_sub(1).and_then(|last| self.entries.get(last).copied()) {
            Some(last) if last.start_offset != start || covered > 1 => {
                self.entries.drain(..covered - 1);
                self.entries[0] = EpochStart { epoch: last.epoch, start_offset: start };
                true
            }
            _ => false,
        }
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).map(|index| self.entries[index].epoch)
    }

    /// The largest epoch not above `epoch` and the offset at which it ends, as
    /// OffsetForLeaderEpoch answers: (-1, -1) for unknown or future epochs.
    pub fn end_offset_for(&self, epoch: i32, log_end: i64) -> (i32, i64) {
        if epoch < 0 {
            return (-1, -1);
        }
        if self.latest() == Some(epoch) {
            return (epoch, log_end);
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let Some(higher) = self.entries.get(after) else { return (-1, -1) };
        match after.checked_sub(1) {
            // Older than all known: the answer keeps the epoch asked for.
            None => (epoch, higher.start_offset),
            Some(floor) => (self.entries[floor].epoch, higher.start_offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(pairs: &[(i32, i64)]) -> Epochs {
        let entry = |&(epoch, start_offset): &(i32, i64)| EpochStart { epoch, start_offset };
        Epochs::from_entries(pairs.iter().map(entry).collect())
    }

    #[test]
    fn end_offsets_follow_kip_101() {
        let known = epochs(&[(2, 10), (4, 20), (5, 30)]);
        let cases = [
            (-1, (-1, -1)),
            (1, (1, 10)),
            (2, (2, 20)),
            (3, (2, 20)),
            (4, (4, 30)),
            (5, (5, 99)),
            (6, (-1, -1)),
        ];
        for (asked, answer) in cases {
            assert_eq!(known.end_offset_for(asked, 99), answer, "epoch {asked}");
        }
        assert_eq!(Epochs::default().end_offset_for(0, 5), (-1, -1));
    }

    #[test]
    fn a_new_epoch_removes_those_it_contradicts() {
        let mut known = epochs(&[(2, 10), (4, 20), (5, 30)]);
        assert!(known.assign(6, 25));
        assert_eq!(known, epochs(&[(2, 10), (4, 20), (6, 25)]));
        assert!(!known.assign(6, 40));
    }

    #[test]
    fn truncation_from_both_sides_keeps_the_covering_epoch() {
        let mut known = epochs(&[(2, 10), (4, 20), (5, 30)]);
        assert!(known.truncate_from_start(25));
        assert_eq!(known, epochs(&[(4, 25), (5, 30)]));
        assert!(!known.truncate_from_start(25));
        assert!(known.truncate_from_end(30));
        assert_eq!(known, epochs(&[(4, 25)]));
        assert_eq!((known.epoch_at(24), known.epoch_at(26)), (None, Some(4)));
    }
}
