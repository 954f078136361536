//! What must hold in every run.
//!
//! - C1: an acknowledged record is in the log at its offset, for ever: across power cuts too.
//! - C2: what a consumer was shown at an offset is what everybody is shown there, for ever.
//! - C3: consumers see offsets without gaps and never past the high watermark they were told.
//! - C4: a record of an idempotent producer is in the log at most once, and its records are in
//!   the order in which it sent them.
//! - C5: the high watermark never goes back, across power cuts too.
//! - C9: an acknowledged commit of an offset is found, for ever: what is found is it, or one that
//!   was asked for after it.
//! - C10: a member is told one assignment a generation.
//! - C11: no record that is held for a group is deleted before it has committed past it; checked by
//!   [`crate::keeper`].
//! - C12: in a compacted topic the newest acknowledged value of every key is readable, or one sent
//!   after it; a key is missing only if it was deleted. What was shown or acknowledged at an offset
//!   is there or gone, but never something else.

use std::collections::BTreeMap;

/// A record's content: who wrote it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    /// The producer.
    pub from: u32,
    /// Its number, rising per producer and partition.
    pub number: u32,
    /// Whether the producer is idempotent.
    pub once: bool,
}

impl Letter {
    /// As a record's value.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(9 + self.number as usize % 50);
        bytes.extend(self.from.to_be_bytes());
        bytes.extend(self.number.to_be_bytes());
        bytes.push(u8::from(self.once));
        // Sizes differ, so that positions in files do.
        bytes.resize(9 + self.number as usize % 50, b'.');
        bytes
    }

    /// From a record's value.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (from, rest) = bytes.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let once = *rest.first()? == 1;
        Some(Self { from: u32::from_be_bytes(*from), number: u32::from_be_bytes(*number), once })
    }
}

/// A record of the ledger: each write of a key has the next number; every fourth is a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: u8,
    /// Which write of the key, from 1 on.
    pub number: u32,
}

impl Entry {
    /// True if it deletes its key.
    pub fn is_tombstone(self) -> bool {
        self.number.is_multiple_of(4)
    }
}

/// Everything that was promised.
#[derive(Debug, Default)]
pub struct Checker {
    promised: BTreeMap<(i32, i64), Letter>,
    high_watermarks: BTreeMap<i32, i64>,
    /// By partition: the newest commit acknowledged, the newest asked for.
    commits: BTreeMap<i32, (i64, i64)>,
    assignments: BTreeMap<(i32, String), Vec<u8>>,
    /// By key of the ledger: the newest number acknowledged, the newest asked for.
    keys: BTreeMap<u8, (u32, u32)>,
    /// What was acknowledged or shown in the ledger: key and number, or a tombstone.
    ledger: BTreeMap<i64, (u8, Option<u32>)>,
    /// Writes to the ledger acknowledged.
    pub kept: u64,
    /// Commits acknowledged.
    pub committed: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records shown.
    pub shown: u64,
}

impl Checker {
    /// A producer was told that its record is at this offset.
    ///
    /// # Errors
    /// Something else was promised there.
    pub fn acknowledged(
        &mut self,
        partition: i32,
        offset: i64,
        letter: Letter,
    ) -> Result<(), String> {
        self.acknowledged += 1;
        self.promise(partition, offset, letter, "acknowledged")
    }

    /// A consumer was shown a record.
    ///
    /// # Errors
    /// Something else was promised there.
    pub fn shown(&mut self, partition: i32, offset: i64, letter: Letter) -> Result<(), String> {
        self.shown += 1;
        self.promise(partition, offset, letter, "shown")
    }

    /// A consumer was told the high watermark.
    ///
    /// # Errors
    /// It went back.
    pub fn high_watermark(&mut self, partition: i32, offset: i64) -> Result<(), String> {
        let known = self.high_watermarks.entry(partition).or_insert(offset);
        if offset < *known {
            return Err(format!("C5: partition {partition}: high watermark {known} -> {offset}"));
        }
        *known = offset;
        Ok(())
    }

    /// A member is about to commit: the offset it is to take, larger than any before.
    pub fn commit_asked(&mut self, partition: i32) -> i64 {
        let (_, asked) = self.commits.entry(partition).or_insert((-1, -1));
        *asked += 1;
        *asked
    }

    /// A commit was acknowledged.
    pub fn commit_acknowledged(&mut self, partition: i32, offset: i64) {
        self.committed += 1;
        let (acknowledged, _) = self.commits.entry(partition).or_insert((-1, -1));
        *acknowledged = offset.max(*acknowledged);
    }

    /// Somebody was told what is committed; -1 is nothing.
    ///
    /// # Errors
    /// An acknowledged commit is gone, or nobody committed that.
    pub fn commit_found(&self, partition: i32, offset: i64) -> Result<(), String> {
        let (acknowledged, asked) = self.commits.get(&partition).copied().unwrap_or((-1, -1));
        if (acknowledged..=asked).contains(&offset) {
            return Ok(());
        }
        Err(format!(
            "C9: partition {partition}: committed {offset}, acknowledged {acknowledged}, asked for \
             {asked}"
        ))
    }

    /// A member was told its assignment.
    ///
    /// # Errors
    /// It was told another one before.
    pub fn assigned(&mut self, generation: i32, member: &str, told: &[u8]) -> Result<(), String> {
        let known = self.assignments.entry((generation, member.to_owned()));
        if known.or_insert_with(|| told.to_vec()) == told {
            return Ok(());
        }
        Err(format!("C10: two assignments for {member} in generation {generation}"))
    }

    /// Partitions in which somebody wanted to commit.
    pub fn commit_partitions(&self) -> Vec<i32> {
        self.commits.keys().copied().collect()
    }

    /// A key of the ledger is about to be written.
    pub fn ledger_asked(&mut self, key: u8) -> Entry {
        let (_, asked) = self.keys.entry(key).or_default();
        *asked += 1;
        Entry { key, number: *asked }
    }

    /// A write to the ledger was acknowledged.
    ///
    /// # Errors
    /// Something else was promised there.
    pub fn ledger_acknowledged(&mut self, offset: i64, entry: Entry) -> Result<(), String> {
        self.kept += 1;
        let (acknowledged, _) = self.keys.entry(entry.key).or_default();
        *acknowledged = entry.number.max(*acknowledged);
        let number = (!entry.is_tombstone()).then_some(entry.number);
        self.ledger_shown(offset, entry.key, number)
    }

    /// A record of the ledger was shown; no number is a tombstone.
    ///
    /// # Errors
    /// Something else was promised there.
    pub fn ledger_shown(
        &mut self,
        offset: i64,
        key: u8,
        number: Option<u32>,
    ) -> Result<(), String> {
        let before = *self.ledger.entry(offset).or_insert((key, number));
        if before == (key, number) {
            return Ok(());
        }
        Err(format!("C12: ledger offset {offset}: {:?}, before {before:?}", (key, number)))
    }

    /// A reader of one key was shown nothing of it from one offset up to another: of what lies
    /// there, it was passed over what can't hold the key.
    ///
    /// # Errors
    /// The newest record of the key is there.
    pub fn ledger_denied(&self, key: u8, from: i64, to: i64) -> Result<(), String> {
        let (acknowledged, asked) = self.keys.get(&key).copied().unwrap_or_default();
        // What may have been written meanwhile may have taken its place.
        if acknowledged < asked || from >= to {
            return Ok(());
        }
        let newest = (key, Some(acknowledged));
        match self.ledger.range(from..to).find(|(_, record)| **record == newest) {
            Some((offset, _)) => Err(format!(
                "C12: the newest record of key {key} is at {offset}, but nobody who asks for it is \
                 shown what lies in {from}..{to}"
            )),
            None => Ok(()),
        }
    }

    /// All of the ledger was read: the newest record of each key.
    ///
    /// # Errors
    /// A promise that was not kept; true if all that is wrong is that a key is found whose newest
    /// record is a tombstone, which may have gone while that was read.
    pub fn ledger_end(&self, newest: &BTreeMap<u8, Option<u32>>) -> Result<(), (String, bool)> {
        let mut outlived = None;
        for (key, (acknowledged, asked)) in &self.keys {
            let found = newest.get(key).copied().flatten();
            let may_be = |number: u32| {
                let entry = Entry { key: *key, number };
                let deleted = entry.is_tombstone() || number == 0;
                found == (!deleted).then_some(number)
            };
            if !(*acknowledged..=*asked).any(may_be) {
                let broken = format!(
                    "C12: key {key} of the ledger: found {found:?}, acknowledged {acknowledged}, \
                     asked for {asked}"
                );
                let is_tombstone = |number| Entry { key: *key, number }.is_tombstone();
                if found.is_none() || !(*acknowledged..=*asked).any(is_tombstone) {
                    return Err((broken, false));
                }
                outlived.get_or_insert((broken, true));
            }
        }
        outlived.map_or(Ok(()), Err)
    }

    fn promise(
        &mut self,
        partition: i32,
        offset: i64,
        letter: Letter,
        how: &str,
    ) -> Result<(), String> {
        match self.promised.insert((partition, offset), letter) {
            Some(before) if before != letter => Err(format!(
                "C1/C2: partition {partition} offset {offset}: {how} {letter:?}, before {before:?}"
            )),
            _ => Ok(()),
        }
    }

    /// At the end: what the log holds, all of it.
    ///
    /// # Errors
    /// A promise that was not kept.
    pub fn end(&self, partition: i32, log: &[Letter]) -> Result<(), String> {
        for ((_, offset), promised) in
            self.promised.range((partition, i64::MIN)..=(partition, i64::MAX))
        {
            let found = usize::try_from(*offset).ok().and_then(|offset| log.get(offset));
            if found != Some(promised) {
                return Err(format!(
                    "C1: partition {partition} offset {offset}: promised {promised:?}, found \
                     {found:?}, log ends at {}",
                    log.len()
                ));
            }
        }
        let mut last: BTreeMap<u32, u32> = BTreeMap::new();
        for (offset, letter) in log.iter().enumerate().filter(|(_, letter)| letter.once) {
            if let Some(before) = last.insert(letter.from, letter.number)
                && before >= letter.number
            {
                return Err(format!(
                    "C4: partition {partition} offset {offset}: {letter:?} after number {before}"
                ));
            }
        }
        Ok(())
    }
}
