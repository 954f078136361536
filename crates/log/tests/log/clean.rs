//! Compaction against the plainest model of it there is, and with the power cut at each operation.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_log::disk::mem::MemDisk;
use ottla_log::{
    CleanError, CleanStep, CleanedLog, Disk, LogConfig, MapBudget, OpenMode, Validated,
};
use wire::batch::{BatchHeader, Batches, HEADER_BYTES};
use wire::compress::Compression;
use wire::record::{
    BatchBuilder, BatchOptions, ControlKind, EndTxnMarker, ProducerStamp, Record, RecordIter,
};

use crate::rig::{Random, Rig, dir, small};

const KILLED: OpenMode = OpenMode { clean: false, recovery_point: 0, mark: None };
const RETENTION_MS: i64 = 1_000;

fn compacted() -> LogConfig {
    LogConfig { compact: true, delete: false, delete_retention_ms: RETENTION_MS, ..small() }
}

/// What one batch is to hold; a value of `None` is a tombstone.
struct Sent<'a> {
    timestamp: i64,
    records: &'a [(u8, Option<&'a str>)],
    codec: Compression,
    producer: Option<ProducerStamp>,
    transactional: bool,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        let codec = Compression::None;
        Self { timestamp: 7, records: &[], codec, producer: None, transactional: false }
    }
}

fn append(rig: &mut Rig, sent: &Sent<'_>) -> i64 {
    let mut builder = BatchBuilder::new(BatchOptions {
        leader_epoch: -1,
        compression: sent.codec,
        producer: sent.producer,
        transactional: sent.transactional,
        ..BatchOptions::default()
    });
    for (index, (key, value)) in sent.records.iter().enumerate() {
        let headers = [("h", Some(&b"1"[..])), ("empty", None)];
        let value = value.map(str::as_bytes);
        let timestamp = sent.timestamp + index as i64;
        builder.push(timestamp, Some(&[*key]), value, &headers[..index % 3]);
    }
    let batch = Validated::trusted(builder.build().unwrap()).unwrap();
    rig.append(batch, 3).unwrap().first_offset
}

fn put(rig: &mut Rig, records: &[(u8, Option<&str>)]) -> i64 {
    append(rig, &Sent { records, ..Sent::default() })
}

/// So many bytes that whatever follows begins a new segment.
fn roll(rig: &mut Rig) {
    let config = LogConfig::clone(rig.log.config());
    rig.log.set_config(LogConfig { segment_bytes: 100, ..config.clone() });
    put(rig, &[(0xff, Some("roll"))]);
    rig.settle();
    rig.log.set_config(config);
}

fn marker(rig: &mut Rig, id: i64, kind: ControlKind) {
    let mut builder = BatchBuilder::new(BatchOptions {
        leader_epoch: -1,
        producer: Some(ProducerStamp { id, epoch: 0, base_sequence: -1 }),
        transactional: true,
        control: true,
        ..BatchOptions::default()
    });
    let value = EndTxnMarker { coordinator_epoch: 1 }.to_bytes();
    builder.push_control(7, kind, &value);
    rig.append(Validated::trusted(builder.build().unwrap()).unwrap(), 3).unwrap();
}

/// Cleans once, from the point on, which moves.
fn clean(
    rig: &mut Rig,
    point: &mut Option<i64>,
    budget: MapBudget,
    now_ms: i64,
) -> Option<Result<CleanedLog, CleanError>> {
    rig.settle();
    let high_watermark = rig.log.flushed();
    rig.log.on_high_watermark(high_watermark);
    let dirt = rig.log.dirt(*point, high_watermark, now_ms);
    let plan = rig.log.plan_clean(&dirt, high_watermark, now_ms, &mut rig.ids)?;
    let mut job = plan.start(budget);
    let mut random = Random(now_ms as u64);
    loop {
        match job.step(&rig.disk, &mut |_| true) {
            Ok(CleanStep::Mapped) => {}
            Ok(CleanStep::Group(group)) => {
                assert!(rig.log.install_cleaned(*group, now_ms, &mut rig.out));
                while let Some(result) = rig.step(&mut random) {
                    if let Err(error) = result {
                        return Some(Err(CleanError::Disk(error)));
                    }
                }
            }
            Ok(CleanStep::Done(done)) => {
                *point = Some(done.end);
                return Some(Ok(done));
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

/// All batches, holes or not, in order.
fn batches(rig: &Rig) -> Vec<(BatchHeader, Bytes)> {
    let (mut at, mut found) = (rig.log.start(), Vec::new());
    while at < rig.log.written() {
        let bytes = rig.read(at, 1 << 20);
        if bytes.is_empty() {
            break;
        }
        for next in Batches::new(bytes) {
            let (header, batch) = next.unwrap();
            wire::batch::verify_crc(&batch).unwrap();
            assert!(header.base_offset >= at || found.is_empty(), "{header:?} after {at}");
            at = header.next_offset();
            found.push((header, batch));
        }
    }
    found
}

fn open(header: &BatchHeader, batch: &Bytes) -> Vec<Record> {
    let records: Vec<Record> =
        RecordIter::open(batch, 1 << 20).unwrap().map(Result::unwrap).collect();
    assert_eq!(records.len() as i32, header.count);
    records
}

/// The records of data, without those of transactions that were aborted.
fn records(rig: &Rig) -> Vec<Record> {
    let all = batches(rig);
    let mut found = Vec::new();
    for (header, batch) in &all {
        let aborted = rig.log.aborted_transactions(header.base_offset, header.next_offset());
        let within = |txn: &&wire::files::AbortedTxn| {
            txn.producer_id == header.producer_id && txn.first_offset <= header.base_offset
        };
        if header.is_control() || (header.is_transactional() && aborted.iter().any(|t| within(&t)))
        {
            continue;
        }
        found.extend(open(header, batch));
    }
    found
}

fn offsets(rig: &Rig) -> Vec<i64> {
    records(rig).iter().map(|record| record.offset).collect()
}

/// The plainest model: a list of batches.
#[derive(Clone, Debug)]
struct Modelled {
    records: Vec<Record>,
    horizon: Option<i64>,
}

/// What a cleaning that began at `first_dirty` and ended at `end` is to leave of them. It rewrites
/// what is below `border`.
fn modelled(all: &mut Vec<Modelled>, first_dirty: i64, end: i64, border: i64, now_ms: i64) {
    let mut newest: BTreeMap<Bytes, i64> = BTreeMap::new();
    let records = all.iter().flat_map(|batch| &batch.records);
    for record in records.filter(|record| (first_dirty..end).contains(&record.offset)) {
        newest.insert(record.key.clone().unwrap(), record.offset);
    }
    for batch in all.iter_mut() {
        if batch.records.first().is_none_or(|first| first.offset >= border) {
            continue;
        }
        let horizon = batch.horizon;
        batch.records.retain(|record| {
            let newer =
                newest.get(record.key.as_ref().unwrap()).is_some_and(|n| *n > record.offset);
            let due = record.value.is_none() && horizon.is_some_and(|horizon| now_ms >= horizon);
            record.offset >= end || !(newer || due)
        });
        if batch.records.iter().any(|record| record.value.is_none()) && horizon.is_none() {
            batch.horizon = Some(now_ms + RETENTION_MS);
        }
    }
    all.retain(|batch| !batch.records.is_empty());
}

#[test]
fn compaction_leaves_what_the_plainest_model_leaves() {
    let (mut passes, mut full, mut dropped) = (0, 0, 0);
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut rig = Rig::new(LogConfig {
            segment_bytes: [300, 600, 2_000][random.below(3) as usize],
            ..compacted()
        });
        let mut all: Vec<Modelled> = Vec::new();
        let (mut point, mut now_ms) = (None, 10_000);
        let keys = 1 + random.below(12);
        for _ in 0..6 {
            for _ in 0..random.below(30) {
                let records: Vec<(u8, Option<&str>)> = (0..1 + random.below(4))
                    .map(|_| {
                        let value = ["a", "some longer value", ""][random.below(3) as usize];
                        (random.below(keys) as u8, (random.below(4) > 0).then_some(value))
                    })
                    .collect();
                let codec = Compression::from_id(random.below(5) as u8).unwrap();
                let timestamp = random.below(1_000) as i64;
                let sent = Sent { timestamp, records: &records, codec, ..Sent::default() };
                append(&mut rig, &sent);
            }
            rig.settle();
            let known: BTreeSet<i64> =
                all.iter().flat_map(|b| &b.records).map(|record| record.offset).collect();
            for (header, batch) in batches(&rig) {
                let records = open(&header, &batch);
                if records.iter().all(|record| !known.contains(&record.offset))
                    && header.base_offset > known.last().copied().unwrap_or(-1)
                {
                    all.push(Modelled { records, horizon: None });
                }
            }
            let small = MapBudget { bytes: 24 * (2 + random.below(6)), load_factor: 0.9 };
            let budget = if random.below(3) == 0 { small } else { MapBudget::default() };
            let bases = rig.log.segment_bases();
            let first_dirty = point.unwrap_or(0);
            if let Some(done) = clean(&mut rig, &mut point, budget, now_ms) {
                let done = done.unwrap();
                passes += 1;
                full += u32::from(done.stats.map_was_full);
                let border = bases.iter().copied().find(|base| *base >= done.end);
                let before: usize = all.iter().map(|batch| batch.records.len()).sum();
                modelled(&mut all, first_dirty, done.end, border.unwrap(), now_ms);
                let after: usize = all.iter().map(|batch| batch.records.len()).sum();
                dropped += before - after;
            }
            let expected: Vec<Record> = all.iter().flat_map(|b| b.records.clone()).collect();
            assert_eq!(records(&rig), expected, "seed {seed}");
            match random.below(4) {
                0 => {
                    rig.reopen(KILLED, None).unwrap();
                }
                1 => {
                    let random = &mut random;
                    rig.disk.crash(&mut |bound| random.below(bound));
                    rig.reopen(KILLED, None).unwrap();
                }
                _ => {}
            }
            assert_eq!(records(&rig), expected, "seed {seed}, opened again");
            // Whatever offset is asked for, what follows it is found.
            for offset in rig.log.start()..rig.log.end() {
                let next = expected.iter().find(|record| record.offset >= offset);
                let bytes = rig.read(offset, 1);
                let found = Batches::new(bytes).next().map(|next| next.unwrap().0);
                let covers = |header: BatchHeader| {
                    next.is_none_or(|next| header.base_offset <= next.offset)
                        && header.last_offset() >= offset
                };
                assert!(found.map_or(next.is_none(), covers), "seed {seed} offset {offset}");
            }
            now_ms += random.below(1_500) as i64;
        }
    }
    assert!(passes > 800 && full > 150 && dropped > 10_000, "{passes} {full} {dropped}");
}

#[test]
fn a_tombstone_stays_until_its_horizon_and_takes_older_values_with_it_at_once() {
    let mut rig = Rig::new(compacted());
    put(&mut rig, &[(1, Some("old")), (2, Some("stays"))]);
    roll(&mut rig);
    put(&mut rig, &[(1, None)]);
    roll(&mut rig);
    put(&mut rig, &[(9, Some("active"))]);
    let mut point = None;
    let budget = MapBudget::default();
    clean(&mut rig, &mut point, budget, 5_000).unwrap().unwrap();
    assert_eq!(offsets(&rig), [1, 2, 3, 4, 5], "key 1 is deleted, and says so");
    let horizon = |rig: &Rig| {
        let all = batches(rig);
        let tombstone = all.iter().find(|(header, _)| header.base_offset == 3).cloned();
        tombstone.map(|(header, _)| (header.has_delete_horizon(), header.base_timestamp))
    };
    assert_eq!(horizon(&rig), Some((true, 5_000 + RETENTION_MS)));
    // Nothing is dirty: something must be, for the log to be cleaned at all.
    for (now_ms, there) in [(5_000 + RETENTION_MS - 1, true), (5_000 + RETENTION_MS, false)] {
        roll(&mut rig);
        put(&mut rig, &[(9, Some("active"))]);
        clean(&mut rig, &mut point, budget, now_ms).unwrap().unwrap();
        assert_eq!(horizon(&rig).is_some(), there, "at {now_ms}");
    }
    rig.reopen(KILLED, None).unwrap();
    assert!(!offsets(&rig).contains(&3));
}

#[test]
fn the_last_sequence_of_a_producer_outlives_its_records() {
    let mut rig = Rig::new(compacted());
    let stamp = |sequence| Some(ProducerStamp { id: 5, epoch: 2, base_sequence: sequence });
    let sent = |sequence, records| Sent { producer: stamp(sequence), records, ..Sent::default() };
    append(&mut rig, &sent(0, &[(1, Some("a"))]));
    append(&mut rig, &sent(1, &[(1, Some("b")), (2, Some("b")), (1, Some("c"))]));
    put(&mut rig, &[(1, Some("newer")), (2, Some("newer"))]);
    roll(&mut rig);
    put(&mut rig, &[(9, Some("active"))]);
    let before = rig.log.producers().entries();
    clean(&mut rig, &mut None, MapBudget::default(), 5_000).unwrap().unwrap();
    let all = batches(&rig);
    let (empty, bytes) = &all[0];
    assert_eq!((empty.base_offset, empty.last_offset(), empty.count), (1, 3, 0));
    assert_eq!((empty.base_sequence, empty.last_sequence()), (1, 3));
    assert_eq!((empty.producer_epoch, bytes.len()), (2, HEADER_BYTES));
    assert_eq!(offsets(&rig), [4, 5, 6, 7]);
    // Without any snapshot the batches themselves tell.
    for name in rig.file_names().iter().filter(|name| name.ends_with(".snapshot")) {
        rig.disk.execute(&ottla_log::Op::RemoveFile { path: dir().join(name) }).unwrap();
    }
    rig.reopen(KILLED, None).unwrap();
    assert_eq!(rig.log.producers().entries(), before);
    // A repetition is still one, and the next sequence is the next.
    let again = append(&mut rig, &sent(1, &[(1, Some("b")), (2, Some("b")), (1, Some("c"))]));
    assert_eq!(again, 1);
    assert_eq!(append(&mut rig, &sent(4, &[(3, Some("d"))])), 8);
}

#[test]
fn aborted_data_goes_and_markers_stay_as_long_as_they_are_needed() {
    let mut rig = Rig::new(compacted());
    let stamp = |id| Some(ProducerStamp { id, epoch: 0, base_sequence: 0 });
    let sent =
        |id, records| Sent { producer: stamp(id), transactional: true, records, ..Sent::default() };
    put(&mut rig, &[(1, Some("committed before"))]);
    append(&mut rig, &sent(5, &[(1, Some("aborted")), (2, Some("aborted"))]));
    append(&mut rig, &sent(6, &[(2, Some("committed"))]));
    marker(&mut rig, 5, ControlKind::Abort);
    marker(&mut rig, 6, ControlKind::Commit);
    roll(&mut rig);
    append(&mut rig, &sent(7, &[(3, Some("open"))]));
    roll(&mut rig);
    put(&mut rig, &[(9, Some("active"))]);
    let mut point = None;
    let done = clean(&mut rig, &mut point, MapBudget::default(), 5_000).unwrap().unwrap();
    assert_eq!(done.end, 6, "up to the segment with the open transaction");
    // The aborted batch was its producer's last: it stays, empty, and so does the marker.
    let headers: Vec<_> =
        batches(&rig).iter().map(|(h, _)| (h.base_offset, h.count, h.is_control())).collect();
    assert_eq!(
        headers[..5],
        [(0, 1, false), (1, 0, false), (3, 1, false), (4, 1, true), (5, 1, true)]
    );
    assert_eq!(records(&rig)[0].value.as_deref(), Some(&b"committed before"[..]));
    let aborted = rig.log.aborted_transactions(0, 7);
    assert_eq!(aborted.len(), 1);
    marker(&mut rig, 7, ControlKind::Commit);
    rig.settle();
    // Its producer forgotten, nothing of the aborted transaction is left: the marker gets a
    // horizon, and goes when that is over.
    rig.log.set_config(LogConfig { producer_id_expiration_ms: 0, ..compacted() });
    rig.log.expire_producers(1 << 40);
    for (now_ms, markers) in [(6_000, 3), (7_000, 3), (8_000, 2)] {
        roll(&mut rig);
        put(&mut rig, &[(9, Some("active"))]);
        clean(&mut rig, &mut point, MapBudget::default(), now_ms).unwrap().unwrap();
        let all = batches(&rig);
        let there = all.iter().filter(|(header, _)| header.is_control()).count();
        assert_eq!(there, markers, "at {now_ms}");
    }
    assert!(rig.log.aborted_transactions(0, 7).is_empty());
}

#[test]
fn readers_under_way_finish_with_the_old_files() {
    let mut rig = Rig::new(compacted());
    for value in ["a", "b", "c"] {
        put(&mut rig, &[(1, Some(value))]);
        roll(&mut rig);
    }
    put(&mut rig, &[(9, Some("active"))]);
    rig.settle();
    let plan = rig.log.plan_read(0, 1 << 20, i64::MAX).unwrap();
    let before = plan.execute(&rig.disk, true).unwrap();
    clean(&mut rig, &mut None, MapBudget::default(), 5_000).unwrap().unwrap();
    assert_eq!(plan.execute(&rig.disk, true).unwrap(), before);
    assert_eq!(offsets(&rig), [3, 4, 5, 6]);
    rig.log.empty_trash(i64::MAX, &mut rig.out);
    rig.settle();
    assert_eq!(plan.execute(&rig.disk, true), Err(ottla_log::ReadError::Gone));
    assert!(!rig.file_names().iter().any(|name| name.ends_with("deleted")));
}

#[test]
fn what_changed_meanwhile_is_not_replaced_and_nothing_is_left_behind() {
    for change in 0..3 {
        let mut rig = Rig::new(compacted());
        for value in ["a", "b", "c"] {
            put(&mut rig, &[(1, Some(value))]);
            roll(&mut rig);
        }
        put(&mut rig, &[(9, Some("active"))]);
        rig.settle();
        let flushed = rig.log.flushed();
        let dirt = rig.log.dirt(None, flushed, 5_000);
        let plan = rig.log.plan_clean(&dirt, flushed, 5_000, &mut rig.ids).unwrap();
        let mut job = plan.start(MapBudget::default());
        let mut groups = Vec::new();
        while groups.is_empty() {
            match job.step(&rig.disk, &mut |_| true).unwrap() {
                CleanStep::Group(group) => groups.push(group),
                CleanStep::Mapped => {}
                CleanStep::Done(_) => panic!("no group"),
            }
        }
        let Rig { log, disk, ids, out, .. } = &mut rig;
        match change {
            0 => assert!(log.truncate_to(5, disk, out).unwrap()),
            1 => assert!(log.reset_to(100, out)),
            _ => {
                log.delete_records(2);
                assert_eq!(log.expire(5_000, 7, ids, out), [0]);
            }
        }
        rig.settle();
        let before = batches(&rig);
        let group = groups.remove(0);
        assert!(!rig.log.install_cleaned(*group, 5_000, &mut rig.out), "change {change}");
        rig.settle();
        assert_eq!(batches(&rig), before);
        assert!(!rig.file_names().iter().any(|name| name.ends_with("cleaned")));
    }
}

#[test]
fn a_damaged_batch_ends_the_cleaning_and_leaves_the_log_as_it_is() {
    let mut rig = Rig::new(compacted());
    for value in ["a", "b"] {
        put(&mut rig, &[(1, Some(value))]);
        roll(&mut rig);
    }
    put(&mut rig, &[(9, Some("active"))]);
    rig.settle();
    rig.disk.rot(&dir().join("00000000000000000000.log"), HEADER_BYTES + 2, 1);
    let names = rig.file_names();
    match clean(&mut rig, &mut None, MapBudget::default(), 5_000).unwrap() {
        Err(CleanError::Damaged(error)) => assert!(error.to_string().contains("checksum")),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.file_names(), names);
}

/// Each key's newest record is there, or none if that was a tombstone, and every record is one
/// that was written; all that no cleaning looked at are there.
fn check_content(rig: &Rig, written: &[Record], uncleaned: i64, what: &str) {
    let found = records(rig);
    let newest = |records: &[Record]| {
        let mut newest: BTreeMap<Bytes, Record> = BTreeMap::new();
        for record in records {
            newest.insert(record.key.clone().unwrap(), record.clone());
        }
        newest.retain(|_, record| record.value.is_some());
        newest
    };
    assert_eq!(newest(&found), newest(written), "{what}");
    assert!(found.iter().all(|record| written.contains(record)), "{what}");
    assert!(found.windows(2).all(|pair| pair[0].offset < pair[1].offset), "{what}");
    for record in written.iter().filter(|record| record.offset >= uncleaned) {
        assert!(found.contains(record), "{what}: offset {}", record.offset);
    }
}

/// A log with several groups to clean, whose end is mostly dropped, aborted data and tombstones
/// past their horizon included.
fn worth_cleaning() -> (Rig, Option<i64>) {
    let mut rig = Rig::new(LogConfig { segment_bytes: 700, ..compacted() });
    let mut point = None;
    for round in 0..3 {
        for key in 0..4 {
            put(&mut rig, &[(key, Some("an older value that goes")), (key + 10, Some("v"))]);
        }
        put(&mut rig, &[(0, None), (1, None)]);
        let producer = Some(ProducerStamp { id: 5, epoch: 0, base_sequence: 2 * round });
        let records = &[(2, Some("aborted")), (3, None)];
        append(&mut rig, &Sent { producer, transactional: true, records, ..Sent::default() });
        roll(&mut rig);
        marker(&mut rig, 5, ControlKind::Abort);
        roll(&mut rig);
        if round == 1 {
            rig.settle();
            clean(&mut rig, &mut point, MapBudget::default(), 1_000).unwrap().unwrap();
        }
    }
    put(&mut rig, &[(2, Some("newest")), (9, Some("active"))]);
    rig.settle();
    (rig, point)
}

#[test]
fn whichever_operation_of_a_cleaning_is_cut_every_key_has_its_newest_record() {
    let (mut cut, mut ended) = (0, false);
    for nth in 0..400 {
        for seed in 0..12 {
            let (mut rig, mut point) = worth_cleaning();
            let written = records(&rig);
            let end = *rig.log.segment_bases().last().unwrap();
            rig.disk.fail_nth(nth);
            let result = clean(&mut rig, &mut point, MapBudget::default(), 9_000).unwrap();
            ended |= result.is_ok();
            cut += u32::from(result.is_err());
            rig.disk.heal();
            let mut random = Random(nth * 100 + seed);
            rig.disk.crash(&mut |bound| random.below(bound));
            // The start is cut, too, and the one after that is not.
            let recovery_point = [0, end][random.below(2) as usize];
            let mode = OpenMode { clean: false, recovery_point, mark: None };
            rig.disk.fail_nth(random.below(40));
            if rig.reopen(mode, None).is_err() {
                rig.disk.crash(&mut |bound| random.below(bound));
            }
            rig.disk.heal();
            rig.reopen(mode, None).unwrap();
            let what = format!("operation {nth} seed {seed}");
            check_content(&rig, &written, end, &what);
            rig.log.on_high_watermark(rig.log.end());
            assert_eq!(rig.log.last_stable_offset(i64::MAX), i64::MAX, "{what}");
            let left = rig.file_names();
            assert!(!left.iter().any(|name| name.contains("swap") || name.contains("cleaned")));
            // And it can be cleaned.
            clean(&mut rig, &mut None, MapBudget::default(), 20_000).unwrap().unwrap();
            check_content(&rig, &written, end, &what);
        }
        if ended {
            break;
        }
    }
    assert!(ended && cut > 200, "{cut} cuts");
}

#[test]
fn a_directory_cut_in_the_middle_of_a_swap_forgets_what_the_list_names() {
    let (rig, _) = worth_cleaning();
    let bases = rig.log.segment_bases();
    let file = |base: i64, extension: &str| dir().join(format!("{base:020}.{extension}"));
    let disk = MemDisk::new();
    for name in rig.file_names() {
        let path = dir().join(&name);
        disk.put(&path, &rig.disk.content(&path).unwrap());
    }
    // A new segment in the place of the first three, of which it holds only the first batch.
    let first = batches(&rig).remove(0).1;
    disk.put(&file(bases[0], "log.swap"), &first);
    let list: String = bases[..3].iter().map(|base| format!("{base}\n")).collect();
    disk.put(&file(bases[0], "replaced.swap"), list.as_bytes());
    let mut ids = ottla_log::FileIds::default();
    let (log, _) =
        ottla_log::Log::open(&disk, &dir(), compacted(), KILLED, None, &mut ids).unwrap();
    let mut expected = vec![bases[0]];
    expected.extend(&bases[3..]);
    assert_eq!(log.segment_bases(), expected);
}
