//! What a log does at its edges, one behaviour each.

use ottla_log::disk::mem::MemDisk;
use ottla_log::{
    Bound, Disk, Expired, FileId, FileIds, Found, Hold, Log, LogConfig, Op, OpenMode, StorageError,
};
use wire::batch::{BatchHeader, HEADER_BYTES};
use wire::files::RecoveryMark;
use wire::record::{BatchBuilder, BatchOptions, ControlKind, EndTxnMarker, ProducerStamp};

use crate::rig::{Random, Rig, batch, built, checked, dir, small};

const KILLED: OpenMode = OpenMode { clean: false, recovery_point: 0, mark: None };
const CLEAN: OpenMode = OpenMode { clean: true, recovery_point: 0, mark: None };

fn log_file(base: i64) -> std::path::PathBuf {
    dir().join(format!("{base:020}.log"))
}

fn filled(batches: usize) -> Rig {
    let mut rig = Rig::new(small());
    for index in 0..batches {
        rig.append_values(1_000 + index as i64, &["first", &"x".repeat(100)]);
        rig.settle();
    }
    rig
}

#[test]
fn a_log_without_records_has_no_files_but_its_metadata() {
    let mut rig = Rig::new(small());
    rig.settle();
    assert_eq!(rig.file_names(), ["partition.metadata"]);
    rig.reopen(KILLED, None).unwrap();
    assert_eq!((rig.log.start(), rig.log.end()), (0, 0));
    assert_eq!(rig.log.topic_id(), Some(wire::Uuid(7 << 90)));
    assert_eq!(rig.append_values(1, &["a"]).first_offset, 0);
    rig.settle();
    assert_eq!(rig.log.flushed(), 1);
    rig.reopen(CLEAN, Some(40)).unwrap();
    assert_eq!((rig.log.start(), rig.log.end()), (40, 40), "the checkpoint outlives the records");
}

#[test]
fn writes_completed_during_a_sync_share_the_next_one() {
    let mut rig = filled(1);
    let synced = |rig: &Rig| rig.out.iter().filter(|s| s.op.name() == "sync").count();
    let complete = |rig: &mut Rig, token| {
        let done = ottla_log::Completion { token, result: Ok(()) };
        rig.log.on_completion(done, &mut rig.out).unwrap()
    };
    for index in 0..3 {
        rig.append_values(index, &["a"]);
    }
    let writes: Vec<_> = rig.out.drain(..).collect();
    assert_eq!(complete(&mut rig, writes[0].token).written, 3);
    assert_eq!(synced(&rig), 1);
    let first = rig.out.remove(0);
    // The second write completes last: `written` waits for it, and no other sync starts.
    assert_eq!(complete(&mut rig, writes[2].token).written, 3);
    assert_eq!(complete(&mut rig, writes[1].token).written, 5);
    assert_eq!(synced(&rig), 0);
    let progress = complete(&mut rig, first.token);
    assert_eq!((progress.flushed, synced(&rig)), (3, 1), "covers only what it was submitted for");
    let second = rig.out.remove(0);
    assert_eq!(complete(&mut rig, second.token).flushed, 5);
}

#[test]
fn nothing_counts_as_flushed_before_its_files_have_durable_names() {
    let mut rig = Rig::new(small());
    rig.append_values(1, &["a"]);
    for name in ["create directory", "replace", "sync directory", "create"] {
        rig.settle_but_paths();
        assert_eq!((rig.log.written(), rig.log.flushed()), (0, 0));
        rig.run_first(name);
    }
    rig.settle_but_paths();
    assert_eq!((rig.log.written(), rig.log.flushed()), (1, 0));
    assert_eq!(rig.waiting(), ["sync directory"]);
    rig.run_first("sync directory");
    assert_eq!(rig.log.flushed(), 1);
}

#[test]
fn the_recovery_point_waits_for_the_indexes_of_a_rolled_segment() {
    let mut rig = filled(1);
    while rig.log.segment_bases().len() == 1 {
        rig.settle();
        rig.append_values(1, &[&"x".repeat(300)]);
    }
    let border = rig.log.segment_bases()[1];
    rig.settle_but_paths();
    // Within the older segment, so that it is walked; but of what is durable no more is given up
    // than where it ends, or damage in it would pass for a write that was torn.
    let point = rig.log.recovery_point();
    assert_eq!(point, border - 1);
    assert_eq!(rig.log.flushed(), border, "the older segment is durable all the same");
    let mode = OpenMode { recovery_point: point, ..KILLED };
    rig.disk.rot(&log_file(0), 100, 1);
    let error = rig.reopen(mode, None).unwrap_err();
    assert!(error.to_string().contains("were durable"), "{error}");
    rig.disk.rot(&log_file(0), 100, 1);
    assert_eq!(rig.reopen(mode, None).unwrap().recovered_segments, 1);
    // The newer one has no name yet.
    assert_eq!(rig.log.end(), border);
    rig.settle();
    assert_eq!(rig.log.recovery_point(), rig.log.end());
}

/// The files of a mark may be there before its records are: those say nothing against the one
/// before it.
#[test]
fn a_mark_holds_though_files_of_a_later_one_tell_of_records_that_are_lost() {
    let mut rig = Rig::new(LogConfig { segment_bytes: 100_000, ..small() });
    let fill = |rig: &mut Rig| {
        for _ in 0..9 {
            rig.append_values(1, &[&"x".repeat(90)]);
        }
        rig.settle();
        rig.log.write_mark(&mut rig.out);
        rig.settle();
        (rig.log.mark().unwrap(), rig.log.size())
    };
    let (mark, size) = fill(&mut rig);
    let (later, _) = fill(&mut rig);
    assert_eq!((mark.offset, later.offset), (9, 18));
    let file = FileId(1 << 40);
    for op in [
        Op::OpenExisting { file, path: log_file(0) },
        Op::Truncate { file, len: size },
        Op::Close { file },
    ] {
        rig.disk.execute(&op).unwrap();
    }
    let report = rig.reopen(OpenMode { mark: Some(mark), ..KILLED }, None).unwrap();
    assert_eq!((report.recovered_bytes, rig.log.end()), (0, 9));
    assert_eq!(rig.read_all().len(), 9);
}

#[test]
fn a_file_is_cut_only_after_all_above_it_is_durably_gone() {
    let mut rig = filled(12);
    let Rig { log, disk, out, .. } = &mut rig;
    assert!(log.truncate_to(2, disk, out).unwrap());
    rig.append_values(1, &["new"]);
    while let [first, ..] = rig.waiting()[..] {
        rig.settle_but_paths();
        let Some(next) = rig.waiting().first().copied() else { break };
        assert!(!rig.waiting().contains(&"truncate"), "{first}");
        assert_eq!(rig.log.written(), 2);
        rig.run_first(next);
    }
    assert_eq!((rig.log.written(), rig.log.flushed(), rig.log.end()), (3, 3, 3));
    assert_eq!(rig.read_all().len(), 2);
}

#[test]
fn damage_below_the_recovery_point_is_refused_and_above_it_is_cut() {
    let mut rig = filled(3);
    let size = rig.disk.content(&log_file(0)).unwrap().len();
    rig.disk.rot(&log_file(0), size - 1, 0xff);
    let below = OpenMode { clean: false, recovery_point: 6, mark: None };
    let error = rig.reopen(below, None).unwrap_err();
    assert_eq!(error.kind, std::io::ErrorKind::InvalidData);
    for part in ["00000000000000000000.log", "offset 4", "recovery-point-offset-checkpoint"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(rig.disk.content(&log_file(0)).unwrap().len(), size, "nothing was touched");
    let above = OpenMode { clean: false, recovery_point: 4, mark: None };
    let report = rig.reopen(above, None).unwrap();
    let truncated = report.truncated.unwrap();
    assert_eq!((truncated.offset, truncated.segments_removed), (4, 0));
    assert!(truncated.reason.contains("checksum"), "{}", truncated.reason);
    assert_eq!((rig.log.end(), rig.log.flushed()), (4, 4));
    assert_eq!(rig.read_all().len(), 2);
}

#[test]
fn segments_behind_a_damaged_one_are_removed() {
    let mut rig = filled(12);
    let bases = rig.log.segment_bases();
    assert!(bases.len() >= 3, "{bases:?}");
    rig.disk.rot(&log_file(bases[1]), 70, 1);
    let report = rig.reopen(KILLED, None).unwrap();
    let truncated = report.truncated.unwrap();
    assert_eq!(truncated.offset, bases[1]);
    assert_eq!(truncated.segments_removed as usize, bases.len() - 2);
    assert_eq!(rig.log.segment_bases(), bases[..2]);
    assert_eq!(rig.append_values(1, &["again"]).first_offset, bases[1]);
    rig.settle();
    rig.reopen(KILLED, None).unwrap();
    assert_eq!(rig.log.end(), bases[1] + 1);
}

#[test]
fn every_offset_is_found_in_rolled_and_active_segments_alike() {
    let mut rig = filled(20);
    for round in 0..2 {
        for offset in 0..rig.log.end() {
            let bytes = rig.read(offset, 1);
            let header = BatchHeader::parse(&bytes).unwrap();
            assert_eq!(header.size_in_bytes(), bytes.len(), "just one batch");
            assert!((header.base_offset..=header.last_offset()).contains(&offset));
        }
        let mode =
            OpenMode { clean: round == 0, recovery_point: rig.log.recovery_point(), mark: None };
        let Rig { log, out, .. } = &mut rig;
        log.close(out);
        rig.settle();
        rig.reopen(mode, None).unwrap();
    }
    let end = rig.log.end();
    assert!(rig.log.plan_read(end, 100, end).unwrap().is_empty());
    assert_eq!(rig.log.plan_read(end + 1, 100, end).unwrap_err().end, end);
    let plan = rig.log.plan_read(0, 10, end).unwrap();
    assert!(plan.execute(&rig.disk, false).unwrap().is_empty(), "too large and not forced");
    let plan = rig.log.plan_read(0, 1 << 20, 3).unwrap();
    let bytes = plan.execute(&rig.disk, true).unwrap();
    assert_eq!(BatchHeader::parse(&bytes).unwrap().size_in_bytes(), bytes.len(), "cut at 3");
}

/// At every mark that is in use, in the middle of writes, syncs and rolls, after truncations.
#[test]
fn what_is_sent_from_a_file_ends_where_it_may_be_read() {
    let (mut from_file, mut looked_at) = (0, 0);
    for (seed, flush_messages) in (0..30).zip([1, 4, u64::MAX].into_iter().cycle()) {
        let mut random = Random(seed);
        let mut rig = Rig::new(LogConfig { flush_messages, ..small() });
        for round in 0..300 {
            if random.below(3) == 0 {
                let long = "x".repeat(random.below(200) as usize);
                rig.append_values(round, &["first", &long][..1 + random.below(2) as usize]);
            } else if let Some(result) = rig.step(&mut random) {
                result.unwrap();
            }
            if random.below(100) == 0 {
                rig.settle();
                let back = rig.log.end() - random.below(4) as i64;
                let Rig { log, disk, out, .. } = &mut rig;
                log.truncate_to(back.max(0), disk, out).unwrap();
                continue;
            }
            for mark in [rig.log.flushed(), rig.log.written(), 7] {
                let offset = random.below(rig.log.end().max(1) as u64) as i64;
                let max_bytes = [1, 130, 700, 1 << 20][random.below(4) as usize];
                let plan = rig.log.plan_read(offset, max_bytes, mark).unwrap();
                let mark = mark.min(rig.log.written());
                let bytes = match plan.find(&rig.disk, usize::MAX, true).unwrap() {
                    Found::There(extract) => {
                        from_file += 1;
                        extract.read(&rig.disk).unwrap()
                    }
                    Found::Read(bytes) => {
                        looked_at += usize::from(!bytes.is_empty());
                        bytes
                    }
                };
                let mut at = 0;
                while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
                    assert!(header.last_offset() < mark, "{header:?} at a mark of {mark}");
                    assert!(
                        at > 0 || (header.base_offset..=header.last_offset()).contains(&offset)
                    );
                    at = (at + header.size_in_bytes()).min(bytes.len());
                }
                let first = BatchHeader::parse(&bytes).map_or(0, |header| header.size_in_bytes());
                assert!(bytes.len() >= first, "the first batch is whole");
                assert!(bytes.len() <= max_bytes.max(first));
                assert_eq!(plan.execute(&rig.disk, true).unwrap(), bytes[..whole(&bytes)]);
            }
        }
    }
    assert!(from_file > 1_000 && looked_at > 100, "both are taken: {from_file}, {looked_at}");
}

/// The bytes of whole batches at the front.
fn whole(bytes: &bytes::Bytes) -> usize {
    let batches = wire::batch::Batches::new(bytes.clone()).map_while(Result::ok);
    batches.map(|(_, batch)| batch.len()).sum()
}

#[test]
fn timestamps_find_the_first_record_that_late() {
    let rig = filled(20);
    let find = |timestamp| {
        let plan = rig.log.plan_offset_for_timestamp(timestamp, i64::MAX);
        plan.execute(&rig.disk, 1 << 20).unwrap().map(|found| (found.offset, found.timestamp))
    };
    for index in 0..20 {
        assert_eq!(find(1_000 + index), Some((index * 2, 1_000 + index)));
    }
    assert_eq!(find(0), Some((0, 1_000)));
    assert_eq!(find(1_020), None);
    let plan = rig.log.plan_max_timestamp(i64::MAX);
    assert_eq!(plan.execute(&rig.disk, 1 << 20).unwrap().unwrap().offset, 38);
}

#[test]
fn a_deleted_record_hides_none_that_is_as_late() {
    let mut rig = Rig::new(small());
    let sent = |rig: &mut Rig, timestamps: &[i64]| {
        for timestamp in timestamps {
            rig.append_values(*timestamp, &[&"x".repeat(200)]);
            rig.settle();
        }
    };
    sent(&mut rig, &[2_000, 1_000, 1_500]);
    rig.log.delete_records(1);
    for again in [false, true] {
        if again {
            rig.log.close(&mut rig.out);
            rig.settle();
            rig.reopen(CLEAN, Some(1)).unwrap();
        }
        let find = |rig: &Rig, plan: ottla_log::TimePlan| {
            plan.execute(&rig.disk, 1 << 20).unwrap().map(|found| found.offset)
        };
        let at = |rig: &Rig, timestamp| {
            find(rig, rig.log.plan_offset_for_timestamp(timestamp, i64::MAX))
        };
        assert_eq!(
            [900, 1_000, 1_200, 1_501].map(|at_ms| at(&rig, at_ms)),
            [Some(1), Some(1), Some(2), None]
        );
        // In later segments there is one that late.
        let first = rig.log.segment_bases().len();
        while rig.log.segment_bases().len() == first {
            sent(&mut rig, &[1_700]);
        }
        assert_eq!([1_200, 1_501].map(|at_ms| at(&rig, at_ms)), [Some(2), Some(3)]);
        if !again {
            let end = rig.log.end();
            assert_eq!(find(&rig, rig.log.plan_max_timestamp(i64::MAX)), Some(end - 1));
            rig = Rig::new(small());
            sent(&mut rig, &[2_000, 1_000, 1_500]);
            rig.log.delete_records(1);
        }
    }
}

/// Of what is left, wherever it is, and whatever was deleted.
#[test]
fn the_latest_record_is_looked_for_among_those_that_are_left() {
    let timestamps = [2_000, 1_800, 1_900, 1_100, 1_700, 1_900, 1_300, 1_000];
    let mut rig = Rig::new(LogConfig { segment_bytes: 600, ..small() });
    for timestamp in timestamps {
        rig.append_values(timestamp, &[&"x".repeat(200)]);
        rig.settle();
    }
    assert!(rig.log.segment_bases().len() > 2);
    for again in [false, true] {
        for start in 0..timestamps.len() as i64 {
            if again {
                rig.log.close(&mut rig.out);
                rig.settle();
                rig.reopen(CLEAN, Some(start)).unwrap();
            } else {
                rig.log.delete_records(start);
            }
            let left = (start..).zip(&timestamps[start as usize..]);
            let latest = left.max_by_key(|(offset, timestamp)| (**timestamp, -offset));
            let found = rig.log.plan_max_timestamp(i64::MAX).execute(&rig.disk, 1 << 20).unwrap();
            let found = found.map(|found| (found.offset, found.timestamp));
            assert_eq!(found, latest.map(|(offset, timestamp)| (offset, *timestamp)), "{start}");
        }
        if !again {
            rig.reopen(KILLED, None).unwrap();
        }
    }
}

/// The age of a record from 1970 is known: it must not keep what follows it.
#[test]
fn retention_by_time_knows_the_first_second() {
    for reopened in [None, Some(CLEAN), Some(KILLED)] {
        let mut rig = Rig::new(LogConfig { retention_ms: 100, segment_ms: 50, ..small() });
        rig.append_values(0, &["old"]);
        rig.settle();
        rig.append_values(10_000, &["new"]);
        rig.settle();
        if let Some(mode) = reopened {
            rig.log.close(&mut rig.out);
            rig.settle();
            rig.reopen(mode, None).unwrap();
        }
        let Rig { log, ids, out, .. } = &mut rig;
        assert_eq!(log.expire(10_050, 2, ids, out), [0], "{reopened:?}");
    }
}

/// Size, too, takes the last segment where nothing is to stay, as in Apache Kafka.
#[test]
fn retention_of_no_bytes_keeps_nothing() {
    let mut rig = filled(20);
    let bases = rig.log.segment_bases();
    rig.log.set_config(LogConfig { retention_bytes: 0, ..small() });
    let Rig { log, ids, out, .. } = &mut rig;
    assert_eq!(log.expire(1_050, 40, ids, out), bases);
    rig.settle();
    assert_eq!((rig.log.start(), rig.log.end(), rig.log.size()), (40, 40, 0));
    let Rig { log, ids, out, .. } = &mut rig;
    assert!(log.expire(1_050, 40, ids, out).is_empty(), "an empty one has nothing to give");
}

/// Records were deleted up to where nothing was durable, and then lost: the log begins there.
#[test]
fn a_start_beyond_what_is_left_begins_the_log_anew() {
    let mut rig = Rig::new(LogConfig { flush_messages: u64::MAX, ..small() });
    let send = |rig: &mut Rig, count| {
        for _ in 0..count {
            rig.append_values(1, &[&"x".repeat(90)]);
            rig.settle();
        }
    };
    send(&mut rig, 12);
    rig.log.flush(&mut rig.out);
    rig.settle();
    send(&mut rig, 3);
    assert_eq!((rig.log.flushed(), rig.log.written()), (12, 15));
    assert!(rig.log.delete_records(15));
    // Nothing that was not synced stays.
    rig.disk.crash(&mut |_| 0);
    let mode = OpenMode { recovery_point: 12, ..KILLED };
    rig.reopen(mode, Some(15)).unwrap();
    assert_eq!((rig.log.start(), rig.log.end(), rig.log.size()), (15, 15, 0));
    assert_eq!(rig.file_names(), ["leader-epoch-checkpoint", "partition.metadata"]);
    // Nor is that forgotten by the next life.
    let mode = OpenMode { recovery_point: 15, ..KILLED };
    rig.disk.crash(&mut |_| 0);
    rig.reopen(mode, Some(15)).unwrap();
    send(&mut rig, 1);
    rig.log.flush(&mut rig.out);
    rig.settle();
    rig.disk.crash(&mut |_| 0);
    rig.reopen(mode, Some(15)).unwrap();
    let offsets: Vec<_> = rig.read_all().iter().map(|(first, last, _)| (*first, *last)).collect();
    assert_eq!(offsets, [(15, 15)]);
}

/// And so does the next start where that was killed half way, or the power was cut.
#[test]
fn a_log_that_begins_anew_may_be_killed_at_it() {
    let mode = OpenMode { recovery_point: 24, ..KILLED };
    let mut random = Random(7);
    for (power, clean) in [(false, false), (true, false), (false, true)] {
        let mut done = false;
        for nth in 0.. {
            let mut rig = Rig::new(LogConfig { flush_messages: u64::MAX, ..small() });
            for index in 0..12 {
                let sent = batch(1, &vec![vec![7; 90].into(); 2], stamped(0, 2 * index));
                rig.append(checked(sent), 0).unwrap();
                rig.settle();
            }
            assert!(rig.log.segment_bases().len() > 2);
            rig.log.close(&mut rig.out);
            rig.settle();
            let mode = if clean { CLEAN } else { mode };
            rig.disk.fail_nth(nth);
            let opened = rig.reopen(mode, Some(30));
            if !rig.disk.heal() {
                opened.unwrap();
                done = true;
                break;
            }
            opened.unwrap_err();
            if power {
                rig.disk.crash(&mut |bound| random.below(bound));
            }
            rig.reopen(mode, Some(30)).unwrap_or_else(|error| panic!("{power} {nth}: {error}"));
            assert_eq!((rig.log.start(), rig.log.end(), rig.log.size()), (30, 30, 0));
            assert!(rig.log.producers().entries().is_empty());
        }
        assert!(done);
    }
}

/// What hangs is stable up to where the log begins: below there is nothing to wait for.
#[test]
fn the_last_stable_offset_is_not_below_the_start() {
    let mut rig = Rig::new(small());
    let open = built(1, &["x".into()], stamped(0, 0), true);
    rig.append(checked(open), 0).unwrap();
    rig.append_values(1, &["a", "b"]);
    rig.settle();
    assert_eq!(rig.log.last_stable_offset(3), 0);
    rig.log.delete_records(2);
    assert_eq!(rig.log.last_stable_offset(3), 2);
}

#[test]
fn retention_removes_old_segments_but_nothing_above_the_high_watermark() {
    let mut rig = filled(20);
    let bases = rig.log.segment_bases();
    let mut config = LogConfig { retention_ms: 100, ..small() };
    rig.log.set_config(config.clone());
    let Rig { log, ids, out, .. } = &mut rig;
    assert!(log.expire(1_050, 40, ids, out).is_empty(), "young");
    assert!(log.expire(9_000, 1, ids, out).is_empty(), "not replicated");
    assert_eq!(log.expire(9_000, bases[2], ids, out), bases[..2]);
    assert_eq!(log.start(), bases[2]);
    rig.settle();
    assert!(rig.file_names().contains(&format!("{:020}.log.deleted", bases[0])));
    let Rig { log, out, .. } = &mut rig;
    assert_eq!(log.empty_trash(9_000, out), 0);
    assert_eq!(log.empty_trash(9_000 + 60_000, out), 2);
    rig.settle();
    assert!(!rig.file_names().iter().any(|name| name.ends_with(".deleted")));
    config.retention_ms = -1;
    config.retention_bytes = 1;
    rig.log.set_config(config);
    let Rig { log, ids, out, .. } = &mut rig;
    log.expire(9_000, 40, ids, out);
    assert_eq!(log.segment_bases(), bases[bases.len() - 1..], "the last one is behind the limit");
    log.set_config(LogConfig { retention_ms: 100, ..small() });
    log.expire(9_000, 40, ids, out);
    rig.settle();
    assert_eq!((rig.log.start(), rig.log.end()), (40, 40), "by time it goes, too");
    assert_eq!(rig.append_values(1, &["next"]).first_offset, 40);
    rig.settle();
    rig.reopen(KILLED, Some(40)).unwrap();
    assert_eq!((rig.log.start(), rig.log.end()), (40, 41));
}

fn stamped(epoch: i16, base_sequence: i32) -> Option<ProducerStamp> {
    Some(ProducerStamp { id: 77, epoch, base_sequence })
}

fn marker(kind: ControlKind) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: stamped(0, -1),
        transactional: true,
        control: true,
        ..BatchOptions::default()
    });
    let value = EndTxnMarker { coordinator_epoch: 1 };
    builder.push_control(5, kind, &value.to_bytes());
    builder.build().unwrap()
}

#[test]
fn duplicates_are_answered_with_their_offsets_also_after_recovery() {
    let mut rig = filled(2);
    let sent = batch(5, &[b"a"[..].into(), b"b"[..].into()], stamped(0, 0));
    let first = rig.append(checked(sent.clone()), 0).unwrap();
    assert!(!first.duplicate);
    for _ in 0..3 {
        rig.settle();
        let again = rig.append(checked(sent.clone()), 0).unwrap();
        assert!(again.duplicate);
        assert_eq!((again.first_offset, again.last_offset), (4, 5));
        rig.reopen(KILLED, None).unwrap();
    }
    let gap = batch(5, &[b"c"[..].into()], stamped(0, 3));
    assert_eq!(rig.append(checked(gap), 0).unwrap_err().code(), 45);
    assert_eq!(rig.log.end(), 6);
}

#[test]
fn aborted_transactions_are_found_again_by_recovery_and_after_a_clean_stop() {
    let mut rig = filled(6);
    let first = rig.log.end();
    for sequence in 0..6 {
        let values = [vec![b'x'; 150].into()];
        let sent = built(5, &values, stamped(0, sequence), true);
        rig.append(checked(sent), 0).unwrap();
    }
    assert_eq!(rig.log.last_stable_offset(first + 1), first);
    let control = ottla_log::Validated::trusted(marker(ControlKind::Abort)).unwrap();
    let last = rig.append(control, 0).unwrap().first_offset;
    rig.settle();
    rig.log.on_high_watermark(last + 1);
    assert_eq!(rig.log.last_stable_offset(last + 1), last + 1);
    let expected = rig.log.aborted_transactions(first, last);
    assert_eq!(expected.len(), 1);
    assert_eq!((expected[0].first_offset, expected[0].last_offset), (first, last));
    // The marker's segment is rolled, so that its index file must say the same.
    for _ in 0..5 {
        rig.append_values(1, &["x".repeat(300).as_str()]);
        rig.settle();
    }
    let durable = OpenMode { clean: false, recovery_point: rig.log.recovery_point(), mark: None };
    for mode in [durable, KILLED, durable] {
        rig.reopen(mode, None).unwrap();
        assert_eq!(rig.log.aborted_transactions(first, last), expected);
    }
    let Rig { log, out, .. } = &mut rig;
    log.close(out);
    rig.settle();
    rig.reopen(CLEAN, None).unwrap();
    assert_eq!(rig.log.aborted_transactions(first, last), expected);
    assert!(rig.log.aborted_transactions(last + 1, last + 2).is_empty());
}

#[test]
fn replicated_batches_keep_their_offsets_and_epochs() {
    let mut leader = filled(9);
    let mut follower = Rig::new(small());
    let everything: Vec<u8> = leader.read_all().into_iter().flat_map(|b| b.2.to_vec()).collect();
    let Rig { log, ids, out, .. } = &mut follower;
    let half = everything.len() / 2;
    let last = log.append_as_follower(0, everything[..half].to_vec().into(), ids, out).unwrap();
    let rest: Vec<u8> = leader
        .read_all()
        .into_iter()
        .filter(|b| b.0 > last.unwrap())
        .flat_map(|b| b.2.to_vec())
        .collect();
    assert_eq!(log.append_as_follower(0, rest.clone().into(), ids, out), Ok(Some(17)));
    let again = log.append_as_follower(0, rest.into(), ids, out).unwrap_err();
    assert!(again.to_string().contains("where the log ends at 18"), "{again}");
    follower.settle();
    assert_eq!(follower.read_all(), leader.read_all());
    assert_eq!(follower.log.epochs(), leader.log.epochs());
    leader.settle();
}

#[test]
fn truncation_forgets_epochs_producers_and_later_segments() {
    let mut rig = filled(8);
    let sent = |sequence| checked(batch(5, &[b"a"[..].into()], stamped(0, sequence)));
    rig.append(sent(0), 3).unwrap();
    rig.append(sent(1), 4).unwrap();
    rig.settle();
    let Rig { log, disk, out, .. } = &mut rig;
    assert!(log.truncate_to(17, disk, out).unwrap());
    assert_eq!((log.end(), log.flushed(), log.epochs().latest()), (17, 17, Some(3)));
    rig.settle();
    // The second batch is forgotten, so it is no duplicate.
    assert_eq!(rig.append(sent(1), 5).unwrap().first_offset, 17);
    rig.settle();
    let Rig { log, disk, out, .. } = &mut rig;
    assert!(log.truncate_to(3, disk, out).unwrap());
    assert_eq!(log.end(), 2, "offset 3 is inside of the batch at 2");
    assert_eq!(log.segment_bases(), [0]);
    rig.settle();
    rig.reopen(KILLED, None).unwrap();
    assert_eq!((rig.log.end(), rig.read_all().len()), (2, 1));
}

#[test]
fn a_log_that_was_reset_begins_anew_where_it_was_told() {
    let mut rig = filled(8);
    rig.append_values(1, &["in flight"]);
    assert!(!rig.log.reset_to(500, &mut rig.out));
    rig.settle();
    assert!(rig.log.reset_to(500, &mut rig.out));
    assert_eq!((rig.log.start(), rig.log.end(), rig.log.flushed()), (500, 500, 500));
    assert_eq!(rig.append_values(1, &["new"]).first_offset, 500);
    rig.settle();
    assert_eq!((rig.log.flushed(), rig.log.segment_bases()), (501, vec![500]));
    let mut random = Random(5);
    rig.disk.crash(&mut |bound| random.below(bound));
    rig.reopen(OpenMode { clean: false, recovery_point: 501, mark: None }, None).unwrap();
    assert_eq!((rig.log.start(), rig.log.end()), (500, 501));
}

#[test]
fn leftovers_of_interrupted_work_are_finished_or_removed() {
    let rig = filled(1);
    let content = rig.disk.content(&log_file(0)).unwrap();
    let disk = MemDisk::new();
    let put = |name: &str, bytes: &[u8]| disk.put(&dir().join(name), bytes);
    put("00000000000000000000.log", &content);
    put("00000000000000000000.index", &[]);
    put("00000000000000000000.log.swap", &content);
    put("00000000000000000000.index.swap", &[0; 80]);
    put("00000000000000000001.log", b"covered by the swap");
    put("00000000000000000009.log.deleted", b"x");
    put("00000000000000000009.log.cleaned", b"x");
    put("00000000000000000030.index", b"orphan");
    put("00000000000000000030.snapshot", b"beyond the end");
    put("leader-epoch-checkpoint.tmp", b"x");
    let mut ids = FileIds::default();
    let (log, report) = Log::open(&disk, &dir(), small(), KILLED, None, &mut ids).unwrap();
    assert_eq!((log.end(), report.truncated), (2, None));
    let left = disk.list(&dir()).unwrap();
    let plain = |name: &str| format!("{:020}.{name}", 0);
    assert_eq!(left, [plain("index"), plain("log"), "leader-epoch-checkpoint".to_owned()]);
    assert_eq!(report.leftovers.len(), 6, "{:?}", report.leftovers);
}

#[test]
fn preallocated_indexes_of_apache_kafka_are_accepted() {
    let mut rig = filled(12);
    let Rig { log, out, .. } = &mut rig;
    log.close(out);
    rig.settle();
    let bases = rig.log.segment_bases();
    for base in &bases {
        for extension in ["index", "timeindex"] {
            let path = dir().join(format!("{base:020}.{extension}"));
            let mut content = rig.disk.content(&path).unwrap();
            content.resize(content.len() + 1200, 0);
            rig.disk.put(&path, &content);
        }
    }
    let report = rig.reopen(CLEAN, None).unwrap();
    assert_eq!(report.recovered_segments, 0);
    assert_eq!(rig.read_all().len(), 12);
    let path = dir().join(format!("{:020}.index", bases[0]));
    rig.disk.put(&path, &[9; 24]);
    let report = rig.reopen(CLEAN, None).unwrap();
    assert_eq!(report.recovered_segments, 1, "damaged ones are rebuilt");
    assert_eq!(rig.read_all().len(), 12);
}

#[test]
fn a_removed_segment_is_gone_for_old_plans_and_says_so() {
    let mut rig = filled(12);
    let plan = rig.log.plan_read(0, 100, 100).unwrap();
    rig.log.set_config(LogConfig { retention_ms: 1, ..small() });
    let Rig { log, ids, out, .. } = &mut rig;
    log.expire(1 << 40, 4, ids, out);
    rig.settle();
    let Rig { log, ids, out, .. } = &mut rig;
    let _ = log.expire(1 << 40, 24, ids, out);
    rig.settle();
    assert!(!plan.execute(&rig.disk, true).unwrap().is_empty(), "readers have time to finish");
    rig.log.empty_trash(i64::MAX, &mut rig.out);
    rig.settle();
    assert_eq!(plan.execute(&rig.disk, true), Err(ottla_log::ReadError::Gone));
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    let mut rig = filled(1);
    let sent = checked(batch(1, &[vec![1; 1_000 - HEADER_BYTES + 1].into()], None));
    assert_eq!(rig.append(sent, 0).unwrap_err().code(), 18);
    rig.log.close(&mut rig.out);
    let sent = checked(batch(1, &[b"late"[..].into()], None));
    assert_eq!(rig.append(sent, 0).unwrap_err().code(), 6);
    let mut random = Random(1);
    let mut last: Option<Result<_, StorageError>> = None;
    while let Some(result) = rig.step(&mut random) {
        last = Some(result);
    }
    assert!(last.unwrap().unwrap().closed);
}

/// A mark spares recovery what is before it, and what is found is the same.
#[test]
fn recovery_reads_only_what_came_after_the_mark() {
    let mut rig = Rig::new(LogConfig { segment_bytes: 100_000, ..small() });
    let send = |rig: &mut Rig, sequence: i32, epoch| {
        let values = vec![vec![sequence as u8; 90].into(); 2];
        let sent = batch(5_000 - i64::from(sequence), &values, stamped(0, 2 * sequence));
        rig.append(checked(sent), epoch).unwrap();
        rig.settle();
    };
    (0..20).for_each(|sequence| send(&mut rig, sequence, sequence / 10));
    assert_eq!(rig.log.mark(), None);
    let size = rig.log.size();
    assert_eq!(rig.log.recovery_bytes(0), size);
    rig.log.write_mark(&mut rig.out);
    assert_eq!(rig.log.mark(), None, "its files are not written");
    rig.settle();
    let mark = rig.log.mark().unwrap();
    assert_eq!((mark.base, mark.offset, mark.position), (0, 40, size));
    assert_eq!(rig.log.recovery_bytes(0), 0);
    send(&mut rig, 20, 1);
    let after = rig.log.size() - size;
    assert_eq!(rig.log.recovery_bytes(0), after);
    let (all, producers) = (rig.read_all(), rig.log.producers().entries());
    let epochs = rig.log.epochs().clone();
    let marked = OpenMode { mark: Some(mark), ..KILLED };
    let report = rig.reopen(marked, None).unwrap();
    assert_eq!((report.recovered_segments, report.recovered_bytes), (1, after));
    assert_eq!((report.producer_snapshot, report.replayed_batches), (Some(40), 1));
    let same = |rig: &Rig| {
        assert_eq!(rig.read_all(), all);
        assert_eq!(rig.log.producers().entries(), producers);
        assert_eq!(rig.log.epochs(), &epochs);
        for offset in 0..rig.log.end() {
            let header = BatchHeader::parse(&rig.read(offset, 1)).unwrap();
            assert!((header.base_offset..=header.last_offset()).contains(&offset));
        }
        let plan = rig.log.plan_offset_for_timestamp(5_000, i64::MAX);
        let found = plan.execute(&rig.disk, 1 << 20).unwrap();
        assert_eq!(found.map(|found| found.offset), Some(0));
    };
    same(&rig);
    assert_eq!(rig.log.mark(), Some(mark), "it is as good as before");
    // With all records deleted no epoch is known of them, and nothing has to be read all the same.
    let mut emptied = Rig::new(LogConfig { segment_bytes: 100_000, ..small() });
    send(&mut emptied, 0, 3);
    assert!(emptied.log.delete_records(2));
    emptied.log.write_mark(&mut emptied.out);
    emptied.settle();
    let mode = OpenMode { mark: emptied.log.mark(), ..KILLED };
    for _ in 0..2 {
        let report = emptied.reopen(mode, Some(2)).unwrap();
        assert_eq!((report.mark, report.recovered_bytes), (mode.mark, 0));
        assert!(report.mark.is_some());
    }
    // Marks that what is there does not bear out: everything is read.
    let size = rig.log.size();
    for wrong in [
        RecoveryMark { tail_crc: mark.tail_crc ^ 1, ..mark },
        RecoveryMark { offset: 38, ..mark },
        RecoveryMark { position: size + 1, ..mark },
        RecoveryMark { tail_position: mark.tail_position - 1, ..mark },
        RecoveryMark { epoch: 0, ..mark },
        RecoveryMark { aborted: 1, ..mark },
        RecoveryMark { base: 7, ..mark },
    ] {
        let report = rig.reopen(OpenMode { mark: Some(wrong), ..KILLED }, None).unwrap();
        assert_eq!(report.recovered_bytes, size, "{wrong:?}");
        same(&rig);
    }
    // Damage behind the mark is found, that before it is not looked for.
    rig.disk.rot(&log_file(0), size as usize - 1, 1);
    let report = rig.reopen(marked, None).unwrap();
    assert_eq!(report.truncated.unwrap().offset, 40);
    assert_eq!(rig.log.end(), 40);
    // Closed in order, the files say all there is: nothing is written when nothing came.
    rig.log.close(&mut rig.out);
    rig.settle();
    assert_eq!(rig.reopen(CLEAN, None).unwrap().recovered_bytes, 0);
    assert_eq!(rig.log.mark().unwrap().offset, 40);
    rig.log.close(&mut rig.out);
    assert!(!rig.waiting().contains(&"replace"), "{:?}", rig.waiting());
}

/// Aborted transactions before a mark come from its files, those after it are found again.
#[test]
fn marks_know_of_aborted_transactions() {
    let mut rig = Rig::new(LogConfig { segment_bytes: 100_000, ..small() });
    let abort = |rig: &mut Rig, sequence| {
        let data = built(10, &["lost".into()], stamped(0, sequence), true);
        rig.append(checked(data), 0).unwrap();
        let control = ottla_log::Validated::trusted(marker(ControlKind::Abort)).unwrap();
        rig.append(control, 0).unwrap();
        rig.settle();
    };
    abort(&mut rig, 0);
    abort(&mut rig, 1);
    rig.log.write_mark(&mut rig.out);
    rig.settle();
    let mark = rig.log.mark().unwrap();
    assert_eq!(mark.aborted, 2);
    abort(&mut rig, 2);
    let aborted = rig.log.aborted_transactions(0, 100);
    assert_eq!(aborted.len(), 3);
    let report = rig.reopen(OpenMode { mark: Some(mark), ..KILLED }, None).unwrap();
    assert_eq!(rig.log.aborted_transactions(0, 100), aborted);
    assert!(report.recovered_bytes < rig.log.size() / 2);
}

#[test]
fn what_is_held_stays_until_it_is_read_or_a_bound_is_passed() {
    let mut rig = filled(20);
    let bases = rig.log.segment_bases();
    rig.log.set_config(LogConfig { retention_ms: 100, ..small() });
    let hold = |read_to, max_ms, max_bytes| Hold { read_to, max_ms, max_bytes };
    let Rig { log, ids, out, .. } = &mut rig;
    let before = log.size();
    let held = log.expire_but(&Hold::EVERYTHING, 9_000, 40, ids, out);
    let wanted = Expired { held_bytes: before, held_end: 40, ..Expired::default() };
    assert_eq!((held, log.size()), (wanted, before));
    // Below the high watermark only, and nothing that is young.
    let held = log.expire_but(&Hold::EVERYTHING, 9_000, bases[1], ids, out);
    assert_eq!(held.held_end, bases[1]);
    assert_eq!(log.expire_but(&Hold::EVERYTHING, 1_050, 40, ids, out), Expired::default());
    // To the last offset of a segment is not past it.
    let held = log.expire_but(&hold(bases[1] - 1, -1, -1), 9_000, 40, ids, out);
    assert_eq!((held.removed.len(), held.held_bytes), (0, before));
    let held = log.expire_but(&hold(bases[1], -1, -1), 9_000, 40, ids, out);
    assert_eq!((held.removed, held.over), (vec![bases[0]], None));
    assert_eq!((log.start(), held.held_bytes), (bases[1], log.size()));
    // The bounds are measured as retention is, and a segment that was read goes past none.
    let held = log.expire_but(&hold(bases[2], 8_100, -1), 9_000, 40, ids, out);
    assert_eq!((held.removed, held.over), (vec![bases[1]], None));
    let held = log.expire_but(&hold(0, 1_000, -1), 1_500, 40, ids, out);
    assert_eq!((held.removed.len(), held.over), (0, None), "not that old");
    let size = log.size();
    let first = log.expire_but(&hold(0, -1, size as i64 - 999), 9_000, 40, ids, out);
    assert_eq!((first.removed.len(), first.over), (1, Some(Bound::Size)));
    let last = log.expire_but(&hold(0, 7_000, -1), 9_000, 40, ids, out);
    assert_eq!((last.over, last.held_bytes), (Some(Bound::Time), 0));
    assert_eq!((log.start(), log.end()), (40, 40), "by time the last one goes, too");
}

#[test]
fn a_hold_keeps_no_record_that_nobody_can_read_any_more() {
    let mut rig = filled(20);
    let bases = rig.log.segment_bases();
    rig.log.delete_records(bases[2] + 1);
    let Rig { log, ids, out, .. } = &mut rig;
    // Whatever the policy: this is how DeleteRecords frees the disk.
    log.set_config(LogConfig { retention_ms: 100, delete: false, ..small() });
    let left = log.expire_but(&Hold::EVERYTHING, 9_000, 40, ids, out);
    assert_eq!((left.removed.as_slice(), left.held_bytes, left.over), (&bases[..2], 0, None));
    log.set_config(LogConfig { retention_ms: 100, ..small() });
    let held = log.expire_but(&Hold::EVERYTHING, 9_000, 40, ids, out);
    assert_eq!((held.removed.len(), held.held_bytes), (0, log.size()));
}

#[test]
fn by_size_only_what_is_above_it_is_held() {
    let (mut rig, mut twin) = (filled(20), filled(20));
    let half =
        LogConfig { retention_ms: -1, retention_bytes: rig.log.size() as i64 / 2, ..small() };
    twin.log.set_config(half.clone());
    let Rig { log, ids, out, .. } = &mut twin;
    let removed = log.expire(9_000, 40, ids, out);
    assert!(removed.len() > 1 && log.segment_bases().len() > 1);
    rig.log.set_config(half);
    let Rig { log, ids, out, .. } = &mut rig;
    let held = log.expire_but(&Hold::EVERYTHING, 9_000, 40, ids, out);
    assert_eq!((held.removed.len(), held.held_end), (0, twin.log.start()));
}

/// Where segments begin when a record is appended at each of these timestamps.
fn rolled(config: LogConfig, timestamps: &[i64]) -> Vec<i64> {
    let mut rig = Rig::new(config);
    for timestamp in timestamps {
        rig.append_values(*timestamp, &["x"]);
        rig.settle();
    }
    rig.log.segment_bases()
}

#[test]
fn a_segment_rolls_when_its_records_span_more_than_segment_ms() {
    let config = LogConfig { segment_ms: 100, ..LogConfig::default() };
    assert_eq!(rolled(config.clone(), &[1_000, 1_100]), [0]);
    assert_eq!(rolled(config.clone(), &[1_000, 1_101, 1_201, 1_202]), [0, 1, 3]);
    // The first record counts, not the largest timestamp; one from before rolls nothing.
    assert_eq!(rolled(config.clone(), &[1_000, 900, 1_050, 1_101]), [0, 3]);
    let jitter = LogConfig { segment_jitter_ms: 40, ..config.clone() };
    assert_eq!(rolled(jitter, &[1_000, 1_060, 1_061]), [0, 2]);
    // Records without a time age from when their segment was made.
    let mut rig = Rig::new(config);
    for now_ms in [5_000, 5_100, 5_101] {
        let sent = checked(batch(-1, &[b"x"[..].into()], None));
        rig.log.append_as_leader(now_ms, sent, 0, &mut rig.ids, &mut rig.out).unwrap();
    }
    assert_eq!(rig.log.segment_bases(), [0, 2]);
}

#[test]
fn a_segment_rolls_when_one_of_its_indexes_is_full() {
    let full = |segment_index_bytes| LogConfig {
        segment_index_bytes,
        index_interval_bytes: 0,
        ..LogConfig::default()
    };
    // Three places of 8 bytes for offsets; no time is news but the first.
    assert_eq!(rolled(full(24), &[7; 9]), [0, 4, 8]);
    // Two places of 12 bytes for times.
    assert_eq!(rolled(full(24), &[1, 2, 3, 4, 5, 6, 7]), [0, 3, 6]);
    assert_eq!(rolled(full(1_000), &[7; 9]), [0]);
}

#[test]
fn records_from_the_future_stay_until_their_time_has_passed() {
    let mut rig = Rig::new(LogConfig { retention_ms: 100, segment_ms: 1, ..LogConfig::default() });
    for timestamp in [1_000, 50_000, 1_010] {
        rig.append_values(timestamp, &["x"]);
        rig.settle();
    }
    let bases = rig.log.segment_bases();
    assert_eq!(bases, [0, 1], "an older record does not roll");
    let Rig { log, ids, out, .. } = &mut rig;
    // A clock that was set back deletes nothing, whatever it shows.
    assert!(log.expire(0, 3, ids, out).is_empty());
    assert!(log.expire(i64::MIN, 3, ids, out).is_empty());
    assert_eq!(log.expire(1_101, 3, ids, out), [0]);
    assert!(log.expire(50_100, 3, ids, out).is_empty());
    // What came after them goes with them, not before.
    assert_eq!(log.expire(50_101, 3, ids, out), [1]);
    assert_eq!(log.start(), 3);
}

#[test]
fn a_crash_amid_retention_leaves_no_hole() {
    for seed in 0..100 {
        let mut rig = filled(60);
        rig.log.set_config(LogConfig { retention_ms: 100, ..small() });
        let (bases, end) = (rig.log.segment_bases(), rig.log.end());
        let mut random = Random(seed);
        // Some at one check, the rest at the next, and the power fails anywhere.
        for read_to in [bases[2], bases[bases.len() - 1]] {
            let hold = Hold { read_to, ..Hold::EVERYTHING };
            let Rig { log, ids, out, .. } = &mut rig;
            assert!(log.expire_but(&hold, 9_000, end, ids, out).removed.len() > 1);
            for _ in 0..random.below(40) {
                rig.step(&mut random).transpose().unwrap();
            }
        }
        rig.disk.crash(&mut |bound| random.below(bound));
        let mode = OpenMode { clean: false, recovery_point: end, mark: None };
        rig.reopen(mode, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let left = rig.log.segment_bases();
        assert!(bases.ends_with(&left) && rig.log.end() == end, "seed {seed}: {left:?}");
    }
}

/// A mark's snapshot has one batch of a producer; those before it are found again however much
/// came after the mark.
#[test]
fn repeated_batches_are_recognised_across_a_mark() {
    let mut rig = Rig::new(LogConfig { index_interval_bytes: 4096, ..LogConfig::default() });
    let sent = |sequence| batch(5, &[vec![b'p'; 100].into()], stamped(0, sequence));
    let send = |rig: &mut Rig, sequence| rig.append(checked(sent(sequence)), 0).unwrap();
    let fill = |rig: &mut Rig| {
        for _ in 0..40 {
            rig.append_values(1, &[&"x".repeat(20_000)]);
        }
    };
    fill(&mut rig);
    let offsets: Vec<i64> = (0..3).map(|sequence| send(&mut rig, sequence).first_offset).collect();
    rig.settle();
    rig.log.write_mark(&mut rig.out);
    rig.settle();
    let mark = rig.log.mark();
    assert_eq!(mark.unwrap().offset, 43);
    fill(&mut rig);
    send(&mut rig, 3);
    rig.settle();
    let report = rig.reopen(OpenMode { mark, ..KILLED }, None).unwrap();
    assert_eq!(report.mark, mark);
    for (sequence, offset) in (0..).zip(offsets) {
        let again = send(&mut rig, sequence);
        assert_eq!((again.duplicate, again.first_offset), (true, offset), "batch {sequence}");
    }
}

/// What is known of transactions that a cut of the power took is not known to the next ones.
#[test]
fn an_index_of_aborted_transactions_does_not_outlive_them() {
    let mut rig = Rig::new(LogConfig { segment_bytes: 100_000, ..small() });
    rig.append_values(1, &["first"]);
    rig.settle();
    let stale = wire::files::AbortedTxn {
        producer_id: 77,
        first_offset: 1,
        last_offset: 2,
        last_stable_offset: 3,
    };
    rig.disk.put(&dir().join(format!("{:020}.txnindex", 0)), &stale.to_bytes());
    for round in 0..2 {
        rig.append_values(1, &["other", "records"]);
        rig.settle();
        if round == 0 {
            rig.log.write_mark(&mut rig.out);
            rig.settle();
        }
        rig.log.close(&mut rig.out);
        rig.settle();
        rig.reopen(CLEAN, None).unwrap();
        assert_eq!(rig.log.aborted_transactions(0, 10), []);
    }
}
