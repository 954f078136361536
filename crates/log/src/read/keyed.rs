//! Reading only what may hold a key: segments whose filters deny it are passed over.
//!
//! The plan takes along the filters of the segments that follow; who executes it asks them, since
//! that is I/O. What is left is a plan like any other.
//!
//! Invariants:
//! - I1: a segment is passed over only if its filter was read and says no, or if it is empty.
//! - I2: no segment is passed over in which a transaction was aborted: a reader of committed data
//!   is told of the transaction, and has to come by its marker, or it takes what the same producer
//!   committed later for aborted, too.
//! - I3: what was passed over lies below the limit of the reader: the offset that is told in place
//!   of records is never beyond it.

use wire::files::{KEY_FILTER_BLOCK_BYTES, KeyHash};

use super::{Extent, OutOfRange, ReadError, ReadPlan};
use crate::disk::Disk;
use crate::log::Log;

/// What a plan for one key knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    key: KeyHash,
    /// Where the plan's extents end, exclusive.
    covered: i64,
    /// Something was passed over.
    moved: bool,
}

/// What [`ReadPlan::skip`] passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Segments with records.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Log {
    /// As [`Self::plan_read`], for a reader that has no use for records without this key.
    ///
    /// # Errors
    /// As [`Self::plan_read`].
    pub fn plan_read_of_key(
        &self,
        key: KeyHash,
        offset: i64,
        max_bytes: usize,
        upto: i64,
    ) -> Result<ReadPlan, OutOfRange> {
        let mut plan = self.plan_read(offset, max_bytes, upto)?;
        let upto = plan.upto;
        let mut covered = upto;
        if !plan.is_empty() {
            plan.extents.clear();
            let after = self.segments.partition_point(|segment| segment.base <= offset);
            let mut ended = false;
            for segment in self.segments.iter().skip(after.saturating_sub(1)) {
                if segment.base >= upto {
                    break;
                }
                if ended {
                    covered = segment.base;
                    break;
                }
                let hint = segment.position_hint(offset);
                let end = self.known_end(segment, upto);
                // Invariant I2.
                let filter = segment.filter.there().filter(|_| segment.aborted.is_empty()).cloned();
                plan.extents.push(Extent { end, filter, ..self.extent(segment, hint) });
                // The last one is never empty: behind others without a batch there is one.
                ended = plan.extents.len() >= EXTENTS_MAX && segment.size > 0;
            }
        }
        plan.key = Some(Search { key, covered, moved: false });
        Ok(plan)
    }
}

impl ReadPlan {
    /// Leaves out the first segments as long as their filters deny the key; for a plan without a
    /// key there is nothing to do. To be called before [`Self::find`], again if it fails.
    ///
    /// # Errors
    /// [`ReadError::NotCached`] alone: a filter that can't be read denies nothing.
    pub fn skip(&mut self, disk: &dyn Disk) -> Result<Skipped, ReadError> {
        let Some(search) = &mut self.key else { return Ok(Skipped::default()) };
        let (mut count, mut skipped) = (0, Skipped::default());
        for extent in &self.extents {
            if extent.may_hold(search.key, disk)? {
                break;
            }
            count += 1;
            skipped.segments += u64::from(extent.size > 0);
            skipped.bytes += extent.size - extent.hint.at;
        }
        if count > 0 {
            let next = self.extents.get(count).map_or(search.covered, |next| next.base);
            self.offset = self.offset.max(next);
            self.extents.drain(..count);
            search.moved = true;
        }
        Ok(skipped)
    }

    /// How many segments it names: what it takes to keep and to carry out.
    pub fn segments(&self) -> usize {
        self.extents.len()
    }

    /// True if it looks for a key.
    pub fn is_of_key(&self) -> bool {
        self.key.is_some()
    }

    /// The offset up to which [`Self::skip`] passed over everything, if it did anything.
    pub fn searched_to(&self) -> Option<i64> {
        self.key.is_some_and(|search| search.moved).then_some(self.offset)
    }
}

impl Extent {
    fn may_hold(&self, key: KeyHash, disk: &dyn Disk) -> Result<bool, ReadError> {
        if self.size == 0 {
            return Ok(false);
        }
        let Some(filter) = &self.filter else { return Ok(true) };
        let Some(at) = filter.header.position(key) else { return Ok(true) };
        match disk.read_at(filter.file, at, KEY_FILTER_BLOCK_BYTES).map_err(super::gone) {
            Ok(block) => Ok(filter.header.may_hold(key, &block).unwrap_or(true)),
            Err(ReadError::NotCached) => Err(ReadError::NotCached),
            Err(_) => Ok(true),
        }
    }
}

/// So many segments are looked at for one answer: each takes a read, and a consumer asks again.
const EXTENTS_MAX: usize = 128;
