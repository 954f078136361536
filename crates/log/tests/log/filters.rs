//! Key filters against a scan of the whole log: whatever happens to the log, to the files or to the
//! power, who reads one key is shown all of its records.

use bytes::Bytes;
use ottla_log::{
    CleanError, CleanStep, Disk, LogConfig, MapBudget, Op, OpenMode, Skipped, Validated,
};
use wire::batch::Batches;
use wire::compress::Compression;
use wire::files::KeyHash;
use wire::record::{
    BatchBuilder, BatchOptions, ControlKind, EndTxnMarker, ProducerStamp, RecordIter,
};

use crate::rig::{Random, Rig, dir, small};

const KEYS: u64 = 24;
const KILLED: OpenMode = OpenMode { clean: false, recovery_point: 0, mark: None };

fn config() -> LogConfig {
    LogConfig { compact: true, delete_retention_ms: 1_000, ..small() }
}

/// Half of them longer than a stripe of the hash.
fn key(number: u64) -> Bytes {
    let text = format!("key {number}");
    Bytes::from(if number.is_multiple_of(2) { text } else { text.repeat(7) })
}

fn append(rig: &mut Rig, records: &[(Option<Bytes>, &str)], codec: Compression) {
    let mut builder = BatchBuilder::new(BatchOptions {
        leader_epoch: -1,
        compression: codec,
        ..BatchOptions::default()
    });
    for (key, value) in records {
        let value = (!value.is_empty()).then_some(value.as_bytes());
        builder.push(7, key.as_deref(), value, &[]);
    }
    rig.append(Validated::trusted(builder.build().unwrap()).unwrap(), 0).unwrap();
}

/// A record at the end of a segment.
fn put_and_roll(rig: &mut Rig, number: u64) {
    append(rig, &[(Some(key(number)), "value")], Compression::None);
    roll(rig);
}

fn roll(rig: &mut Rig) {
    let config = LogConfig::clone(rig.log.config());
    rig.log.set_config(LogConfig { segment_bytes: 100, ..config.clone() });
    append(rig, &[(None, "roll")], Compression::None);
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
    builder.push_control(7, kind, &EndTxnMarker { coordinator_epoch: 1 }.to_bytes());
    rig.append(Validated::trusted(builder.build().unwrap()).unwrap(), 0).unwrap();
}

/// Builds what filters are lacking, and gives each its name.
fn build(rig: &mut Rig) -> Result<usize, CleanError> {
    let mut count = 0;
    while let Some(plan) = rig.log.plan_filter(&mut rig.ids) {
        let built = plan.build(&rig.disk, &mut |_| true)?;
        assert!(rig.log.install_filter(built, &mut rig.out));
        count += 1;
    }
    Ok(count)
}

fn clean(rig: &mut Rig, now_ms: i64) -> Option<Result<(), CleanError>> {
    let high_watermark = rig.log.flushed();
    rig.log.on_high_watermark(high_watermark);
    let dirt = rig.log.dirt(None, high_watermark, now_ms);
    let plan = rig.log.plan_clean(&dirt, high_watermark, now_ms, &mut rig.ids)?;
    let mut job = plan.start(MapBudget::default());
    let mut random = Random(now_ms as u64);
    loop {
        match job.step(&rig.disk, &mut |_| true) {
            Ok(CleanStep::Mapped) => {}
            Ok(CleanStep::Group(group)) => {
                rig.log.install_cleaned(*group, now_ms, &mut rig.out);
                while let Some(result) = rig.step(&mut random) {
                    if let Err(error) = result {
                        return Some(Err(CleanError::Disk(error)));
                    }
                }
            }
            Ok(CleanStep::Done(_)) => return Some(Ok(())),
            Err(error) => return Some(Err(error)),
        }
    }
}

type Shown = Vec<(i64, Option<Bytes>)>;

fn records(bytes: Bytes, from: i64, shown: &mut Shown) -> i64 {
    let mut next = from;
    for (header, batch) in Batches::new(bytes).map(Result::unwrap) {
        next = header.next_offset();
        if header.is_control() {
            continue;
        }
        for record in RecordIter::open(&batch, 1 << 20).unwrap().map(Result::unwrap) {
            if record.offset >= from {
                shown.push((record.offset, record.key));
            }
        }
    }
    next
}

/// Every record from an offset on.
fn scan(rig: &Rig, from: i64) -> Shown {
    let (mut at, mut shown) = (from, Vec::new());
    while at < rig.log.written() {
        let bytes = rig.read(at, 1 << 20);
        if bytes.is_empty() {
            break;
        }
        at = records(bytes, at, &mut shown);
    }
    shown
}

/// Every record of a key from an offset on, as its reader gets them, and what it was spared.
fn read_key(rig: &Rig, key: &Bytes, from: i64, max_bytes: usize) -> (Vec<i64>, Skipped) {
    let (mut at, mut shown, mut spared) = (from, Vec::new(), Skipped::default());
    let hash = KeyHash::of(key);
    while at < rig.log.written() {
        let mut plan = rig.log.plan_read_of_key(hash, at, max_bytes, i64::MAX).unwrap();
        let skipped = plan.skip(&rig.disk).unwrap();
        assert_eq!(plan.skip(&rig.disk).unwrap(), Skipped::default(), "once is enough");
        spared.segments += skipped.segments;
        spared.bytes += skipped.bytes;
        let bytes = plan.execute(&rig.disk, true).unwrap();
        let before = at;
        at = match plan.searched_to() {
            Some(to) if bytes.is_empty() => to,
            _ => records(bytes, at, &mut shown),
        };
        assert!(at <= rig.log.written());
        if at == before {
            break;
        }
    }
    let of_key = shown.into_iter().filter(|(_, of)| of.as_ref() == Some(key));
    (of_key.map(|(offset, _)| offset).collect(), spared)
}

/// Every key, from anywhere, with large and small answers.
fn check(rig: &Rig, random: &mut Random, what: &str) -> u64 {
    let (start, end) = (rig.log.start(), rig.log.written());
    let from = start + random.below((end - start + 1) as u64) as i64;
    let all = scan(rig, from);
    let mut spared = 0;
    for number in 0..KEYS {
        let key = key(number);
        let of_key = all.iter().filter(|(_, of)| of.as_ref() == Some(&key));
        let expected: Vec<i64> = of_key.map(|(offset, _)| *offset).collect();
        let (shown, skipped) = read_key(rig, &key, from, [1, 400, 1 << 20][number as usize % 3]);
        assert_eq!(shown, expected, "{what}: {key:?} from {from} of {start}..{end}");
        spared += skipped.segments;
    }
    spared
}

fn filter_names(rig: &Rig) -> Vec<String> {
    rig.file_names().into_iter().filter(|name| name.ends_with(".keyfilter")).collect()
}

#[test]
fn only_what_may_hold_the_key_is_read() {
    let mut rig = Rig::new(config());
    (0..10).for_each(|number| put_and_roll(&mut rig, number));
    assert_eq!(build(&mut rig), Ok(10), "all but the one that is written to");
    rig.settle();
    assert_eq!((filter_names(&rig).len(), rig.log.filters()), (10, 10));
    for number in 0..10 {
        let (shown, spared) = read_key(&rig, &key(number), 0, 1 << 20);
        assert_eq!((shown, spared.segments), (vec![2 * number as i64], 9));
    }
    // One that is nowhere is looked for in the last segment only.
    let mut plan = rig.log.plan_read_of_key(KeyHash::of(b"none"), 0, 1 << 20, i64::MAX).unwrap();
    assert_eq!(plan.skip(&rig.disk).unwrap().segments, 10);
    assert_eq!(plan.searched_to(), Some(19));
    assert_eq!(records(plan.execute(&rig.disk, true).unwrap(), 19, &mut Vec::new()), 20);
    // And up to a limit in the middle it is told how far there is nothing.
    for (from, upto) in [(0, 7), (3, 7), (6, 7), (0, 1)] {
        let mut plan = rig.log.plan_read_of_key(KeyHash::of(b"none"), from, 1 << 20, upto).unwrap();
        plan.skip(&rig.disk).unwrap();
        assert_eq!(plan.searched_to(), Some(upto));
        assert!(plan.execute(&rig.disk, true).unwrap().is_empty());
    }
    let plan = rig.log.plan_read_of_key(KeyHash::of(b"none"), 20, 1 << 20, i64::MAX).unwrap();
    assert!(plan.is_empty() && plan.searched_to().is_none());
    // A restart finds them again, killed or not.
    rig.reopen(KILLED, None).unwrap();
    assert_eq!(rig.log.filters(), 10);
    assert!(check(&rig, &mut Random(1), "killed") > 0);
}

#[test]
fn a_reader_comes_by_every_marker_of_an_aborted_transaction() {
    for (kind, expected) in [(ControlKind::Commit, 3), (ControlKind::Abort, 1)] {
        let mut rig = Rig::new(config());
        put_and_roll(&mut rig, 1);
        let mut builder = BatchBuilder::new(BatchOptions {
            leader_epoch: -1,
            producer: Some(ProducerStamp { id: 5, epoch: 0, base_sequence: 0 }),
            transactional: true,
            ..BatchOptions::default()
        });
        builder.push(7, Some(&key(2)), Some(b"of a transaction"), &[]);
        rig.append(Validated::trusted(builder.build().unwrap()).unwrap(), 0).unwrap();
        marker(&mut rig, 5, kind);
        roll(&mut rig);
        put_and_roll(&mut rig, 3);
        build(&mut rig).unwrap();
        let hash = KeyHash::of(b"none");
        let mut plan = rig.log.plan_read_of_key(hash, 0, 1 << 20, i64::MAX).unwrap();
        assert_eq!(plan.skip(&rig.disk).unwrap().segments, expected, "{kind:?}");
        check(&rig, &mut Random(4), "transactions");
    }
}

#[test]
fn many_segments_are_passed_over_piece_by_piece() {
    let mut rig = Rig::new(config());
    (0..200).for_each(|_| roll(&mut rig));
    put_and_roll(&mut rig, 5);
    build(&mut rig).unwrap();
    let mut plan = rig.log.plan_read_of_key(KeyHash::of(&key(5)), 0, 1 << 20, i64::MAX).unwrap();
    assert_eq!(plan.skip(&rig.disk).unwrap().segments, 128);
    assert_eq!(plan.searched_to(), Some(128));
    assert!(plan.execute(&rig.disk, true).unwrap().is_empty());
    assert_eq!(read_key(&rig, &key(5), 0, 1 << 20).0, [200]);
}

#[test]
fn a_filter_goes_with_its_segment() {
    let mut rig = Rig::new(LogConfig { delete: true, ..config() });
    (0..6).for_each(|number| put_and_roll(&mut rig, number));
    build(&mut rig).unwrap();
    rig.settle();
    let names = filter_names(&rig);
    // Retention.
    assert!(rig.log.delete_records(3));
    let Rig { log, ids, out, .. } = &mut rig;
    assert_eq!(log.expire(0, 12, ids, out), [0, 1]);
    rig.settle();
    assert_eq!(filter_names(&rig), names[2..]);
    // Truncation, of the one that is cut, too, and of one that is being built.
    let plan = rig.log.plan_filter(&mut rig.ids);
    assert!(plan.is_none());
    let Rig { log, disk, out, .. } = &mut rig;
    assert!(log.truncate_to(6, disk, out).unwrap());
    rig.settle();
    assert_eq!(filter_names(&rig), names[2..3], "the one that begins at 5 is written to again");
    roll(&mut rig);
    let plan = rig.log.plan_filter(&mut rig.ids).unwrap();
    let built = plan.build(&rig.disk, &mut |_| true).unwrap();
    let Rig { log, disk, out, .. } = &mut rig;
    assert!(log.truncate_to(5, disk, out).unwrap());
    assert!(!log.install_filter(built, out));
    rig.settle();
    assert_eq!(filter_names(&rig), names[2..3]);
    // Compaction, whose result gets one of its own.
    (0..6).for_each(|number| put_and_roll(&mut rig, number % 2));
    build(&mut rig).unwrap();
    rig.settle();
    let bases = rig.log.segment_bases();
    assert_eq!(filter_names(&rig).len(), bases.len() - 1);
    clean(&mut rig, 5_000).unwrap().unwrap();
    assert!(rig.log.segment_bases().len() < bases.len());
    assert_eq!(filter_names(&rig), Vec::<String>::new());
    assert!(build(&mut rig).unwrap() > 0);
    rig.settle();
    check(&rig, &mut Random(2), "compacted");
    // The log begins anew.
    let Rig { log, out, .. } = &mut rig;
    assert!(log.reset_to(100, out));
    rig.settle();
    assert_eq!(filter_names(&rig), Vec::<String>::new());
    let left = rig.file_names();
    assert!(!left.iter().any(|name| name.ends_with("tmp")), "{left:?}");
}

#[test]
fn what_is_no_filter_of_its_segment_is_removed_at_the_start() {
    // A log with one rolled segment, its filter, and the same of another log.
    let made = |number: u64| {
        let mut rig = Rig::new(config());
        put_and_roll(&mut rig, number);
        build(&mut rig).unwrap();
        rig.settle();
        rig
    };
    let path = dir().join("00000000000000000000.keyfilter");
    let log = dir().join("00000000000000000000.log");
    // Of the same length, so that all but its end says that it is the same.
    let other = made(4);
    type Change<'a> = &'a dyn Fn(&Rig);
    let changes: [(&str, Change<'_>); 6] = [
        ("the filter of another log", &|rig| {
            rig.disk.put(&path, &other.disk.content(&path).unwrap());
        }),
        ("a segment that something else wrote", &|rig| {
            rig.disk.put(&log, &other.disk.content(&log).unwrap());
        }),
        ("a header with a flipped bit", &|rig| rig.disk.rot(&path, 30, 4)),
        ("a file that ends early", &|rig| {
            let content = rig.disk.content(&path).unwrap();
            rig.disk.put(&path, &content[..content.len() - 1]);
        }),
        ("a file that was never written", &|rig| {
            let length = rig.disk.content(&path).unwrap().len();
            rig.disk.put(&path, &vec![0; length]);
        }),
        ("an empty file", &|rig| rig.disk.put(&path, b"")),
    ];
    for (what, change) in changes {
        let mut rig = made(2);
        change(&rig);
        rig.reopen(KILLED, None).unwrap();
        assert_eq!((rig.log.filters(), filter_names(&rig).len()), (0, 0), "{what}");
        check(&rig, &mut Random(3), what);
        assert_eq!(build(&mut rig), Ok(1), "{what}");
    }
    // What is left of an attempt, of a segment that is gone, and of one that is written to.
    let mut rig = made(2);
    let content = rig.disk.content(&path).unwrap();
    for name in [
        "00000000000000000000.keyfilter.77.tmp",
        "00000000000000000055.keyfilter",
        "00000000000000000001.keyfilter",
    ] {
        rig.disk.put(&dir().join(name), &content);
    }
    rig.reopen(KILLED, None).unwrap();
    assert_eq!(filter_names(&rig), ["00000000000000000000.keyfilter"]);
    assert!(!rig.file_names().iter().any(|name| name.ends_with("tmp")));
    // A flipped bit behind the header is found when it is asked.
    for at in 64..128 {
        let rig = made(2);
        rig.disk.rot(&path, at, 0x10);
        assert_eq!(read_key(&rig, &key(9), 0, 1 << 20).1.segments, 0, "byte {at}");
        assert_eq!(read_key(&rig, &key(2), 0, 1 << 20).0, [0]);
    }
}

#[test]
fn a_segment_that_can_not_be_read_gets_no_filter_and_is_read() {
    let mut rig = Rig::new(config());
    put_and_roll(&mut rig, 1);
    put_and_roll(&mut rig, 2);
    rig.disk.rot(&dir().join("00000000000000000000.log"), 70, 1);
    let plan = rig.log.plan_filter(&mut rig.ids).unwrap();
    let file = plan.file();
    match plan.build(&rig.disk, &mut |_| true) {
        Err(CleanError::Damaged(error)) => assert!(error.to_string().contains("checksum")),
        other => panic!("{other:?}"),
    }
    rig.log.forgo_filter(file);
    assert_eq!(build(&mut rig), Ok(1));
    rig.settle();
    assert_eq!(filter_names(&rig).len(), 1);
    let mut plan = rig.log.plan_read_of_key(KeyHash::of(b"none"), 0, 1 << 20, i64::MAX).unwrap();
    assert_eq!(plan.skip(&rig.disk).unwrap().segments, 0);
    // Stopped, it leaves nothing behind.
    put_and_roll(&mut rig, 3);
    let plan = rig.log.plan_filter(&mut rig.ids).unwrap();
    assert!(matches!(plan.build(&rig.disk, &mut |_| false), Err(CleanError::Stopped)));
    assert!(!rig.file_names().iter().any(|name| name.ends_with("tmp")));
}

struct Model {
    rig: Rig,
    random: Random,
    now_ms: i64,
    spared: u64,
}

impl Model {
    fn append(&mut self) {
        let codecs = [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Gzip];
        let codec = codecs[self.random.below(4) as usize];
        let count = 1 + self.random.below(5);
        let mut records = Vec::new();
        for _ in 0..count {
            let key = (self.random.below(9) > 0).then(|| key(self.random.below(KEYS)));
            let value = ["", "v", "a longer value that takes some room"];
            records.push((key, value[self.random.below(3) as usize]));
        }
        append(&mut self.rig, &records, codec);
        if self.random.below(8) == 0 {
            marker(&mut self.rig, 5, ControlKind::Commit);
        }
    }

    /// A file of a filter, damaged; the running log must not be misled by it, nor the next.
    fn damage(&mut self) {
        let names = filter_names(&self.rig);
        if names.is_empty() {
            return;
        }
        let path = dir().join(&names[self.random.below(names.len() as u64) as usize]);
        let content = self.rig.disk.content(&path).unwrap();
        match self.random.below(3) {
            0 => {
                let at = self.random.below(content.len() as u64) as usize;
                self.rig.disk.rot(&path, at, 1 << self.random.below(8));
            }
            1 => {
                let keep = self.random.below(content.len() as u64) as usize;
                self.rig.disk.put(&path, &content[..keep]);
            }
            // Another segment's under this name.
            _ => {
                let from = dir().join(&names[self.random.below(names.len() as u64) as usize]);
                let other = self.rig.disk.content(&from).unwrap();
                self.rig.disk.put(&path, &other);
            }
        }
    }

    fn reopen(&mut self) {
        let (random, rig) = (&mut self.random, &mut self.rig);
        if random.below(2) == 0 {
            rig.disk.crash(&mut |bound| random.below(bound));
        }
        rig.reopen(KILLED, Some(rig.log.start())).unwrap();
    }

    fn step(&mut self) {
        self.now_ms += 100;
        match self.random.below(100) {
            0..50 => self.append(),
            50..62 => {
                if let Some(plan) = self.rig.log.plan_filter(&mut self.rig.ids) {
                    let built = plan.build(&self.rig.disk, &mut |_| true).unwrap();
                    // It takes a while, in which anything may happen.
                    if self.random.below(3) == 0 {
                        self.step();
                    }
                    self.rig.log.install_filter(built, &mut self.rig.out);
                }
            }
            62..70 => {
                build(&mut self.rig).unwrap();
            }
            70..76 => {
                self.rig.settle();
                if let Some(result) = clean(&mut self.rig, self.now_ms) {
                    result.unwrap();
                }
            }
            76..80 => {
                let (start, end) = (self.rig.log.start(), self.rig.log.flushed());
                let to = start + self.random.below((end - start + 1) as u64) as i64;
                self.rig.log.delete_records(to);
                let Rig { log, ids, out, .. } = &mut self.rig;
                log.expire(self.now_ms, end, ids, out);
                log.empty_trash(self.now_ms, out);
            }
            80..84 => {
                self.rig.settle();
                let (start, end) = (self.rig.log.start(), self.rig.log.end());
                let to = start + self.random.below((end - start + 1) as u64) as i64;
                let Rig { log, disk, out, .. } = &mut self.rig;
                assert!(log.truncate_to(to, disk, out).unwrap());
            }
            84..90 => self.damage(),
            90..95 => self.reopen(),
            _ => self.rig.settle(),
        }
    }
}

#[test]
fn whatever_happens_a_reader_of_a_key_is_shown_what_a_scan_shows() {
    let mut spared = 0;
    for seed in 0..150 {
        let rig = Rig::new(LogConfig { file_delete_delay_ms: 300, ..config() });
        let mut model = Model { rig, random: Random(seed), now_ms: 0, spared: 0 };
        model.rig.settle();
        for step in 0..80 {
            model.step();
            let Model { rig, random, .. } = &mut model;
            let what = format!("seed {seed} step {step}");
            model.spared += check(rig, random, &what);
        }
        spared += model.spared;
    }
    assert!(spared > 20_000, "only {spared} segments were passed over");
}

#[test]
fn whichever_operation_is_cut_no_record_of_a_key_is_passed_over() {
    let (mut cut, mut ended, mut spared) = (0, false, 0);
    for nth in 0..400 {
        for seed in 0..6 {
            let mut rig = Rig::new(config());
            for round in 0..3 {
                (0..4).for_each(|number| put_and_roll(&mut rig, round * 2 + number));
                build(&mut rig).unwrap();
            }
            rig.settle();
            rig.disk.fail_nth(nth);
            // Filters of new segments, others in the place of the old, and their filters.
            put_and_roll_failing(&mut rig);
            let mut result = build(&mut rig).map(drop);
            pump(&mut rig);
            if result.is_ok() {
                result = clean(&mut rig, 9_000).unwrap_or(Ok(()));
            }
            if result.is_ok() {
                result = build(&mut rig).map(drop);
            }
            pump(&mut rig);
            ended |= !rig.disk.heal();
            cut += u32::from(result.is_err());
            let mut random = Random(nth * 100 + seed);
            rig.disk.crash(&mut |bound| random.below(bound));
            rig.disk.fail_nth(random.below(40));
            if rig.reopen(KILLED, None).is_err() {
                rig.disk.crash(&mut |bound| random.below(bound));
            }
            rig.disk.heal();
            rig.reopen(KILLED, None).unwrap();
            let what = format!("operation {nth} seed {seed}");
            spared += check(&rig, &mut random, &what);
            build(&mut rig).unwrap();
            rig.settle();
            check(&rig, &mut random, &what);
            let left = rig.file_names();
            assert!(!left.iter().any(|name| name.ends_with("tmp")), "{what}: {left:?}");
        }
        if ended {
            break;
        }
    }
    assert!(ended && cut > 100 && spared > 1_000, "{cut} cuts, {spared} passed over");
}

/// A roll on a disk that may fail: the log is offline then, and what follows finds nothing to do.
fn put_and_roll_failing(rig: &mut Rig) {
    let config = LogConfig::clone(rig.log.config());
    rig.log.set_config(LogConfig { segment_bytes: 100, ..config });
    let mut builder = BatchBuilder::new(BatchOptions { leader_epoch: -1, ..Default::default() });
    builder.push(7, Some(&key(2)), Some(b"failing"), &[]);
    let batch = Validated::trusted(builder.build().unwrap()).unwrap();
    let _ = rig.append(batch, 0);
    pump(rig);
}

fn pump(rig: &mut Rig) {
    let mut random = Random(1);
    while let Some(Ok(_)) = rig.step(&mut random) {}
}

/// The same for a job whose directory goes away under it.
#[test]
fn a_directory_that_is_gone_ends_the_building() {
    let mut rig = Rig::new(config());
    put_and_roll(&mut rig, 1);
    let plan = rig.log.plan_filter(&mut rig.ids).unwrap();
    let (from, to) = (dir(), dir().with_file_name("t-0.gone-delete"));
    rig.disk.execute(&Op::RenameDir { from, to }).unwrap();
    let mut out = Vec::new();
    rig.log.abandon(&mut out);
    out.iter().for_each(|submission| rig.disk.execute(&submission.op).unwrap());
    assert!(matches!(plan.build(&rig.disk, &mut |_| true), Err(CleanError::Gone)));
}
