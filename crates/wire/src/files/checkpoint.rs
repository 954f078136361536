//! Checkpoint files: a version line, a count line, then one entry a line.
//!
//! An empty file means no entries: `cleaner-offset-checkpoint` is born that way.

use std::fmt::Write as _;

use super::FileError;

/// A line of `recovery-point-`, `log-start-`, `replication-` or `cleaner-offset-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// A line of `leader-epoch-checkpoint`: the epoch and the first offset written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// Leader epoch.
    pub epoch: i32,
    /// Offset of its first record.
    pub start_offset: i64,
}

/// What recovery may take for granted of one segment; a line of our own `recovery-marks` has that
/// of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryMark {
    /// The segment's base offset.
    pub base: i64,
    /// All below is durable, and what indexes, epochs and the producer snapshot at this offset say
    /// of it is on disk.
    pub offset: i64,
    /// The byte of the segment at which that offset begins.
    pub position: u64,
    /// The byte at which the last batch below begins.
    pub tail_position: u64,
    /// The checksum in that batch's header: if it is the same, so is all before it.
    pub tail_crc: u32,
    /// The segment's largest timestamp below.
    pub max_timestamp: i64,
    /// The last offset of the first batch that has it.
    pub max_timestamp_offset: i64,
    /// The leader epoch of the last record below.
    pub epoch: i32,
    /// Aborted transactions whose markers are in the segment, below.
    pub aborted: u32,
}

/// Reads recovery marks: topic, partition, mark.
///
/// # Errors
/// Another version, a malformed line, or a count that does not match.
pub fn parse_marks(content: &[u8]) -> Result<Vec<(String, i32, RecoveryMark)>, FileError> {
    parse(content, |words| {
        let [topic, partition, base, offset, position, tail, crc, max, max_offset, epoch, aborted] =
            words
        else {
            return None;
        };
        let mark = RecoveryMark {
            base: base.parse().ok().filter(|base| *base >= 0)?,
            offset: offset.parse().ok()?,
            position: position.parse().ok()?,
            tail_position: tail.parse().ok()?,
            tail_crc: crc.parse().ok()?,
            max_timestamp: max.parse().ok()?,
            max_timestamp_offset: max_offset.parse().ok()?,
            epoch: epoch.parse().ok()?,
            aborted: aborted.parse().ok()?,
        };
        let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
        Some(((*topic).to_owned(), partition, mark))
    })
}

/// The text of recovery marks.
pub fn render_marks(entries: &[(String, i32, RecoveryMark)]) -> String {
    let mut text = head(entries.len());
    for (topic, partition, mark) in entries {
        let _ = writeln!(
            text,
            "{topic} {partition} {} {} {} {} {} {} {} {} {}",
            mark.base,
            mark.offset,
            mark.position,
            mark.tail_position,
            mark.tail_crc,
            mark.max_timestamp,
            mark.max_timestamp_offset,
            mark.epoch,
            mark.aborted
        );
    }
    text
}

/// Reads an offset checkpoint.
///
/// # Errors
/// Another version, a malformed line, or a count that does not match.
pub fn parse_offsets(content: &[u8]) -> Result<Vec<OffsetEntry>, FileError> {
    parse(content, |words| {
        let [topic, partition, offset] = words else { return None };
        Some(OffsetEntry {
            topic: (*topic).to_owned(),
            partition: partition.parse().ok().filter(|partition| *partition >= 0)?,
            offset: offset.parse().ok()?,
        })
    })
}

/// The text of an offset checkpoint.
pub fn render_offsets(entries: &[OffsetEntry]) -> String {
    let mut text = head(entries.len());
    for entry in entries {
        let _ = writeln!(text, "{} {} {}", entry.topic, entry.partition, entry.offset);
    }
    text
}

/// Reads a leader epoch checkpoint. Entries come as written; whether they rise is for the log.
///
/// # Errors
/// Another version, a malformed line, or a count that does not match.
pub fn parse_epochs(content: &[u8]) -> Result<Vec<EpochStart>, FileError> {
    parse(content, |words| {
        let [epoch, start_offset] = words else { return None };
        Some(EpochStart { epoch: epoch.parse().ok()?, start_offset: start_offset.parse().ok()? })
    })
}

/// The text of a leader epoch checkpoint.
pub fn render_epochs(entries: &[EpochStart]) -> String {
    let mut text = head(entries.len());
    for entry in entries {
        let _ = writeln!(text, "{} {}", entry.epoch, entry.start_offset);
    }
    text
}

fn head(count: usize) -> String {
    format!("0\n{count}\n")
}

fn parse<T>(content: &[u8], entry: impl Fn(&[&str]) -> Option<T>) -> Result<Vec<T>, FileError> {
    let bad = |line, what| FileError::Line { line, what };
    let text = std::str::from_utf8(content).map_err(|_| bad(0, "not UTF-8"))?;
    let mut lines = text.lines();
    let Some(version) = lines.next() else { return Ok(Vec::new()) };
    if version.trim() != "0" {
        return Err(bad(1, "expected version 0"));
    }
    let count = lines.next().and_then(|line| line.trim().parse::<usize>().ok());
    let count = count.ok_or(bad(2, "expected the number of entries"))?;
    let mut entries = Vec::new();
    for (index, line) in lines.enumerate() {
        // No entry has more than eleven words; a twelfth is enough to be wrong.
        let words: Vec<&str> = line.split_whitespace().take(12).collect();
        entries.push(entry(&words).ok_or(bad(index + 3, "malformed entry"))?);
    }
    if entries.len() != count {
        return Err(bad(2, "the number of entries does not match"));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_round_trip_and_the_empty_file_has_none() {
        let text = "0\n2\n__consumer_offsets 0 30\nt1 1 52\n";
        let entries = parse_offsets(text.as_bytes()).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[1].topic.as_str(), entries[1].offset), ("t1", 52));
        assert_eq!(render_offsets(&entries), text);
        assert_eq!(parse_offsets(b""), Ok(Vec::new()));
    }

    #[test]
    fn marks_round_trip() {
        let mark = RecoveryMark {
            base: 100,
            offset: 120,
            position: 4_000,
            tail_position: 3_900,
            tail_crc: u32::MAX,
            max_timestamp: -1,
            max_timestamp_offset: 119,
            epoch: 3,
            aborted: 2,
        };
        let entries = [("t".to_owned(), 7, mark)];
        let text = render_marks(&entries);
        assert_eq!(text, "0\n1\nt 7 100 120 4000 3900 4294967295 -1 119 3 2\n");
        assert_eq!(parse_marks(text.as_bytes()).unwrap(), entries);
        assert!(parse_marks(b"0\n1\nt 7 100 120 4000 3900 4294967295 -1 119 3\n").is_err());
        assert!(parse_marks(b"0\n1\nt 7 100 120 4000 3900 4294967295 -1 119 3 2 5\n").is_err());
    }

    #[test]
    fn epochs_round_trip() {
        let entries =
            [EpochStart { epoch: 0, start_offset: 0 }, EpochStart { epoch: 4, start_offset: 70 }];
        assert_eq!(render_epochs(&entries), "0\n2\n0 0\n4 70\n");
        assert_eq!(parse_epochs(render_epochs(&entries).as_bytes()).unwrap(), entries);
    }

    #[test]
    fn malformed_files_are_named_by_line() {
        let line = |text: &str| match parse_offsets(text.as_bytes()) {
            Err(FileError::Line { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line("1\n0\n"), 1);
        assert_eq!(line("0\n"), 2);
        assert_eq!(line("0\n-1\n"), 2);
        assert_eq!(line("0\n2\nt 0 1\n"), 2);
        assert_eq!(line("0\n99999999999\n"), 2);
        assert_eq!(line("0\n1\nt 0\n"), 3);
        assert_eq!(line("0\n1\nt -1 0\n"), 3);
        assert_eq!(line("0\n1\nt 0 1 2\n"), 3);
        assert!(parse_offsets(&[0xff]).is_err());
    }
}
