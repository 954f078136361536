//! Appending: as the leader, which decides offsets, and as a replica, which takes them.

use bytes::Bytes;
use wire::batch::{self, BatchHeader, Batches};
use wire::record::{ControlKind, EndTxnMarker, RecordIter};

use crate::disk::{FileId, FileIds, Submission};
use crate::error::AppendError;
use crate::log::Log;
use crate::planted::{self, Bug};
use crate::producers::Marker;
use crate::validate::Validated;

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of its last record: a reply hangs on a mark passing it.
    pub last_offset: i64,
    /// The leader's time, if the records have it.
    pub log_append_time_ms: Option<i64>,
    /// The log's first offset.
    pub log_start: i64,
    /// The batch had been appended before, and these are its offsets then. Its reply hangs on
    /// the same marks.
    pub duplicate: bool,
}

/// Bytes for one file, gathered so that several batches are one write.
struct Run {
    file: FileId,
    at: u64,
    parts: Vec<Bytes>,
    end: i64,
}

impl Log {
    /// Appends one batch at the end of the log.
    ///
    /// `now_ms` is only for rolling by time where batches have none.
    ///
    /// # Errors
    /// The batch may not follow what its producer wrote, or the log is offline or closed.
    pub fn append_as_leader(
        &mut self,
        now_ms: i64,
        validated: Validated,
        leader_epoch: i32,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) -> Result<AppendInfo, AppendError> {
        self.accepts_appends()?;
        let log_append_time_ms = validated.log_append_time_ms();
        let header = *validated.header();
        let (size, limit) = (header.size_in_bytes(), self.config.segment_bytes as usize);
        if size > limit {
            return Err(AppendError::RecordListTooLarge { size, limit });
        }
        let marker = marker_of(&header, validated.batch())?;
        match &marker {
            Some(marker) => self.producers.check_marker(&header, marker)?,
            None if header.has_producer_id() && !header.is_control() => {
                if let Some(before) = self.producers.duplicate_of(&header) {
                    return Ok(AppendInfo {
                        first_offset: before.first_offset,
                        last_offset: before.last_offset,
                        log_append_time_ms: log_append_time_ms.map(|_| before.timestamp),
                        log_start: self.start,
                        duplicate: true,
                    });
                }
                self.producers.check(&header)?;
            }
            None => {}
        }
        let header = BatchHeader { base_offset: self.end, leader_epoch, ..header };
        if header.last_offset() == i64::MAX {
            return Err(AppendError::InvalidRecord("the log has no offsets left".into()));
        }
        let first_offset = self.end;
        self.roll_if_full(&header, now_ms, ids, out);
        let (file, at) = self.note(&header, marker);
        self.commit.write(file, at, validated.parts(&header), self.end, out);
        let off = if planted::is(Bug::BaseOffsetOfNext) { self.end - first_offset } else { 0 };
        Ok(AppendInfo {
            first_offset: first_offset + off,
            last_offset: header.last_offset(),
            log_append_time_ms,
            log_start: self.start,
            duplicate: false,
        })
    }

    /// Appends batches that have their offsets and leader epochs: those a leader sent, or a KRaft
    /// log's own. Bytes of a partial batch at the end are ignored. Gives the last offset appended,
    /// if any was.
    ///
    /// # Errors
    /// A damaged batch, offsets that do not continue the log (all checked before anything is
    /// appended), or the log is offline or closed.
    pub fn append_as_follower(
        &mut self,
        now_ms: i64,
        records: Bytes,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) -> Result<Option<i64>, AppendError> {
        self.accepts_appends()?;
        let batches = self.check_replicated(records)?;
        let mut run: Option<Run> = None;
        for (header, batch, marker) in batches {
            if self.is_full_for(&header, now_ms) {
                self.write_run(run.take(), out);
                self.roll_if_full(&header, now_ms, ids, out);
            }
            let (file, at) = self.note(&header, marker);
            let run = run.get_or_insert(Run { file, at, parts: Vec::new(), end: self.end });
            run.parts.push(batch);
            run.end = self.end;
        }
        let last = run.as_ref().map(|run| run.end - 1);
        self.write_run(run, out);
        Ok(last)
    }

    fn check_replicated(
        &self,
        records: Bytes,
    ) -> Result<Vec<(BatchHeader, Bytes, Option<Marker>)>, AppendError> {
        let corrupt = |error: batch::BatchError| AppendError::CorruptMessage(error.to_string());
        let mut end = self.end;
        let mut checked = Vec::new();
        for next in Batches::new(records) {
            let (header, batch) = match next {
                Ok(found) => found,
                Err(batch::BatchError::Truncated { .. }) => break,
                Err(error) => return Err(corrupt(error)),
            };
            batch::verify_crc(&batch).map_err(corrupt)?;
            let got = header.base_offset;
            if got < end || header.last_offset_delta < 0 || header.last_offset() == i64::MAX {
                return Err(AppendError::OffsetsOutOfOrder { got, end });
            }
            end = header.next_offset();
            let marker = marker_of(&header, &batch)?;
            checked.push((header, batch, marker));
        }
        Ok(checked)
    }

    fn write_run(&mut self, run: Option<Run>, out: &mut Vec<Submission>) {
        if let Some(Run { file, at, parts, end }) = run {
            self.commit.write(file, at, parts, end, out);
        }
    }

    /// Enters a batch, offsets final, in all that is kept in memory; gives its place.
    fn note(&mut self, header: &BatchHeader, marker: Option<Marker>) -> (FileId, u64) {
        let interval = self.config.index_interval_bytes;
        self.epochs_dirty |= self.epochs.assign(header.leader_epoch, header.base_offset);
        let aborted = match &marker {
            Some(marker) => self.producers.append_marker(header, marker),
            None => {
                self.producers.append(header);
                None
            }
        };
        self.end = header.next_offset();
        let segment = self.segments.last_mut();
        let segment = segment.expect("roll_if_full left an active segment");
        segment.aborted.extend(aborted);
        (segment.file, segment.note(header, interval))
    }
}

/// The transaction marker of a control batch; other control batches concern no producer.
pub(crate) fn marker_of(
    header: &BatchHeader,
    batch: &Bytes,
) -> Result<Option<Marker>, AppendError> {
    if !header.is_control() || !header.has_producer_id() {
        return Ok(None);
    }
    let corrupt = |what: String| AppendError::CorruptMessage(what);
    let mut records =
        RecordIter::open(batch, CONTROL_BYTES_MAX).map_err(|error| corrupt(error.to_string()))?;
    let Some(record) = records.next() else { return Ok(None) };
    let record = record.map_err(|error| corrupt(error.to_string()))?;
    let kind = record.key.as_deref().and_then(ControlKind::of_key);
    let Some(kind @ (ControlKind::Abort | ControlKind::Commit)) = kind else { return Ok(None) };
    let value = record.value.as_deref().and_then(EndTxnMarker::parse);
    let value = value.ok_or_else(|| corrupt("malformed transaction marker".into()))?;
    Ok(Some(Marker { kind, coordinator_epoch: value.coordinator_epoch }))
}

/// Control batches are small; more is not one.
const CONTROL_BYTES_MAX: usize = 1 << 20;
