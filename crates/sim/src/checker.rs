//! What must hold in every run.
//!
//! - C1: an acknowledged record is in the log at its offset, for ever: across power cuts too.
//! - C2: what a consumer was shown at an offset is what everybody is shown there, for ever.
//! - C3: consumers see offsets without gaps and never past the high watermark they were told.
//! - C4: a record of an idempotent producer is in the log at most once, and its records are in
//!   the order in which it sent them.
//! - C5: the high watermark never goes back, across power cuts too.

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

/// Everything that was promised.
#[derive(Debug, Default)]
pub struct Checker {
    promised: BTreeMap<(i32, i64), Letter>,
    high_watermarks: BTreeMap<i32, i64>,
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
