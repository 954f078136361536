//! Our compaction against Apache Kafka 4.4.0's own `Cleaner`: both clean the same directories,
//! round by round, and what they leave must be the same: segments, batches with every field of
//! their headers, records, transaction indexes, and, where nothing is compressed, the other
//! indexes, too.
//!
//! Differences on purpose: none in what is compared, but for indexes too small for what was put
//! together, over which Apache Kafka's cleaner stumbles and ours does not. Not compared, because
//! they do differ: times of files (Apache Kafka gives a cleaned segment the time of its newest
//! source), and the bytes that codecs make of the same records.
#![allow(clippy::print_stdout, reason = "the counts belong into the test's output")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ottla_log::disk::os::OsDisk;
use ottla_log::{
    CleanStep, CleanedLog, Completion, Disk, FileIds, Log, LogConfig, MapBudget, OpenMode,
    Submission, Validated,
};
use wire::batch::{BatchHeader, Batches, TimestampType};
use wire::compress::Compression;
use wire::record::{
    BatchBuilder, BatchOptions, ControlKind, EndTxnMarker, ProducerStamp, RecordIter,
};
use wire::{Bytes, Uuid};

/// Covers the first run, which downloads the jars.
const DEADLINE: Duration = Duration::from_secs(1500);
const CLEAN: OpenMode = OpenMode { clean: true, recovery_point: 0, mark: None };
/// Directories; each is drawn from its number.
const LOGS: u64 = 30;
const ROUNDS: i64 = 4;
const BEGIN_MS: i64 = 1_790_000_000_000;
const RETENTION_MS: i64 = 60_000;

/// A small generator; tests must be repeatable from their seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// One log and how it is cleaned.
#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    segment_bytes: u32,
    index_bytes: u32,
    index_interval: u32,
    map_bytes: u64,
    compressed: bool,
}

impl Case {
    fn draw(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut pick = |from: &[u32]| from[random.below(from.len() as u64) as usize];
        Self {
            seed,
            segment_bytes: pick(&[1_200, 4_000, 20_000]),
            // Not smaller: where segments are put together Apache Kafka's cleaner adds entries to
            // an index that may be full by then, and gives the log up.
            index_bytes: pick(&[1 << 20]),
            index_interval: pick(&[0, 200, 4_096]),
            map_bytes: u64::from(pick(&[24 * 6, 24 * 40, 1 << 20])),
            compressed: seed % 2 == 1,
        }
    }

    fn config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            segment_index_bytes: self.index_bytes,
            index_interval_bytes: self.index_interval,
            compact: true,
            delete: false,
            delete_retention_ms: RETENTION_MS,
            producer_id_expiration_ms: i64::MAX,
            // Nothing is to survive a cut here.
            flush_messages: u64::MAX,
            ..LogConfig::default()
        }
    }

    fn line(&self, directory: &Path, first_dirty: i64, now_ms: i64) -> String {
        let Self { segment_bytes, index_bytes, index_interval, map_bytes, .. } = self;
        format!(
            "{}\t{first_dirty}\t{now_ms}\t{map_bytes}\t0.9\tcleanup.policy=compact\t\
             internal.segment.bytes={segment_bytes}\tsegment.index.bytes={index_bytes}\t\
             index.interval.bytes={index_interval}\tdelete.retention.ms={RETENTION_MS}\n",
            directory.display()
        )
    }
}

/// A log on the files of a directory.
struct Open {
    disk: OsDisk,
    log: Log,
    ids: FileIds,
    out: Vec<Submission>,
}

impl Open {
    fn at(path: &Path, config: LogConfig, make: bool) -> Self {
        let (disk, mut ids, mut out) = (OsDisk::new(), FileIds::default(), Vec::new());
        let log = if make {
            Log::create(path, Uuid(9 << 90), config, &mut out)
        } else {
            Log::open(&disk, path, config, CLEAN, None, &mut ids).expect("a log").0
        };
        let mut open = Self { disk, log, ids, out };
        open.settle();
        open
    }

    fn settle(&mut self) {
        while !self.out.is_empty() {
            for Submission { token, op } in std::mem::take(&mut self.out) {
                let result = self.disk.execute(&op);
                self.log.on_completion(Completion { token, result }, &mut self.out).expect("done");
            }
        }
        self.log.on_high_watermark(self.log.written());
    }

    fn append(&mut self, builder: BatchBuilder) {
        let batch = Validated::trusted(builder.build().expect("a batch")).expect("one batch");
        let Self { log, ids, out, .. } = self;
        log.append_as_leader(BEGIN_MS, batch, 4, ids, out).expect("appended");
        self.settle();
    }

    fn close(mut self) {
        self.log.close(&mut self.out);
        self.settle();
        assert!(self.log.is_closed());
    }

    fn clean(
        &mut self,
        first_dirty: i64,
        now_ms: i64,
        budget: MapBudget,
    ) -> (Option<CleanedLog>, i64, f64) {
        let end = self.log.end();
        let dirt = self.log.dirt(Some(first_dirty), end, now_ms);
        let (bound, ratio) = (dirt.first_uncleanable, dirt.ratio());
        let plan = self.log.plan_clean(&dirt, end, now_ms, &mut self.ids);
        let Some(plan) = plan else { return (None, bound, ratio) };
        let mut job = plan.start(budget);
        loop {
            match job.step(&self.disk, &mut |_| true).expect("a step") {
                CleanStep::Mapped => {}
                CleanStep::Group(group) => {
                    assert!(self.log.install_cleaned(*group, now_ms, &mut self.out));
                    self.settle();
                }
                CleanStep::Done(done) => return (Some(done), bound, ratio),
            }
        }
    }
}

/// A producer of the log that is made: what it sends next.
#[derive(Clone, Copy)]
struct Writer {
    id: i64,
    epoch: i16,
    sequence: i32,
    /// In a transaction.
    open: bool,
}

/// Writes a log with all that a cleaner meets.
fn fill(case: &Case, path: &Path) {
    let mut random = Random(case.seed ^ 0xabcd_ef00);
    let mut open = Open::at(path, case.config(), true);
    let mut writers: Vec<Writer> =
        (0..4).map(|id| Writer { id: 100 + id, epoch: 0, sequence: 0, open: false }).collect();
    let keys = 2 + random.below(30);
    let batches = 60 + random.below(200);
    for index in 0..batches {
        let chosen = random.below(6) as usize;
        let writer = writers.get(chosen).copied();
        // Only some are transactional.
        if let Some(writer) = writer.filter(|writer| writer.id >= 102 && writer.open)
            && random.chance(40)
        {
            let kind = if random.chance(50) { ControlKind::Abort } else { ControlKind::Commit };
            mark(&mut open, writer.id, writer.epoch, kind);
            writers[chosen].open = false;
            continue;
        }
        let count = 1 + random.below(5) as i32;
        let mut options = BatchOptions { leader_epoch: -1, ..BatchOptions::default() };
        if case.compressed {
            options.compression = Compression::from_id(random.below(5) as u8).expect("a codec");
        }
        if random.chance(15) {
            options.timestamp_type = TimestampType::LogAppendTime;
            options.log_append_time_ms = BEGIN_MS - random.below(1_000) as i64;
        }
        if let Some(writer) = writers.get_mut(chosen) {
            if !writer.open && random.chance(5) {
                (writer.epoch, writer.sequence) = (writer.epoch + 1, 0);
            }
            let (id, epoch, base_sequence) = (writer.id, writer.epoch, writer.sequence);
            options.producer = Some(ProducerStamp { id, epoch, base_sequence });
            options.transactional = writer.id >= 102;
            writer.open |= options.transactional;
            writer.sequence += count;
        }
        let mut builder = BatchBuilder::new(options);
        for record in 0..count {
            let key = format!("key {}", random.below(keys));
            let value = format!("value {index} {record} {}", "x".repeat(random.below(60) as usize));
            let value = (!random.chance(20)).then_some(value.as_bytes());
            // A record without a key can be there from before the topic was compacted.
            let key = (!random.chance(2)).then_some(key.as_bytes());
            let timestamp = BEGIN_MS - 5_000 + random.below(10_000) as i64;
            let headers = [("one", Some(&b"1"[..])), ("none", None)];
            builder.push(timestamp, key, value, &headers[..random.below(3) as usize]);
        }
        open.append(builder);
    }
    // Some transactions stay open: nothing behind their begin is cleaned.
    for writer in writers.iter().filter(|writer| writer.open) {
        if !random.chance(30) {
            mark(&mut open, writer.id, writer.epoch, ControlKind::Abort);
        }
    }
    let end = open.log.end();
    open.close();
    if case.seed.is_multiple_of(3) {
        // An active segment without records: the last batch before it ends at the high watermark.
        let empty = path.join(format!("{end:020}.log"));
        if !empty.exists() {
            fs::write(empty, []).expect("a segment");
        }
    }
}

fn mark(open: &mut Open, id: i64, epoch: i16, kind: ControlKind) {
    let mut builder = BatchBuilder::new(BatchOptions {
        leader_epoch: -1,
        producer: Some(ProducerStamp { id, epoch, base_sequence: -1 }),
        transactional: true,
        control: true,
        ..BatchOptions::default()
    });
    let value = EndTxnMarker { coordinator_epoch: 0 };
    builder.push_control(BEGIN_MS, kind, &value.to_bytes());
    open.append(builder);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

fn with<'a>(
    names: &'a [PathBuf],
    extension: &'a str,
) -> impl DoubleEndedIterator<Item = &'a PathBuf> {
    names.iter().filter(move |path| path.extension().is_some_and(|of| of == extension))
}

/// What a directory holds, as text that is compared.
fn describe(path: &Path, compressed: bool) -> String {
    let names = fs::read_dir(path).expect("a directory");
    let mut names: Vec<PathBuf> = names.map(|entry| entry.expect("a file").path()).collect();
    names.sort();
    let mut text = String::new();
    for file in with(&names, "log") {
        let _ = writeln!(text, "{}", file.file_name().expect("a name").display());
        let bytes = Bytes::from(fs::read(file).expect("a segment"));
        for next in Batches::new(bytes) {
            let (header, batch) = next.expect("a batch");
            wire::batch::verify_crc(&batch).expect("a checksum");
            // Codecs make different bytes of the same records.
            let plain = BatchHeader { crc: 0, length: 0, ..header };
            let _ = writeln!(text, "  {plain:?}");
            for record in RecordIter::open(&batch, 1 << 24).expect("a payload") {
                let _ = writeln!(text, "    {:?}", record.expect("a record"));
            }
        }
    }
    let active = with(&names, "log").next_back().and_then(|path| path.file_stem());
    for (extension, compared) in
        [("txnindex", true), ("index", !compressed), ("timeindex", !compressed)]
    {
        // Apache Kafka does not make all files of the active segment again.
        let rolled = with(&names, extension).filter(|path| compared && path.file_stem() != active);
        for file in rolled {
            let mut bytes = fs::read(file).expect("an index");
            // Room that was made beforehand.
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
            if !bytes.is_empty() {
                let name = file.file_name().expect("a name").display();
                let _ = writeln!(text, "{name} {bytes:?}");
            }
        }
    }
    text
}

/// What the other side printed of a cleaning: two offsets and a share of dirty bytes.
fn parse(line: &str) -> (i64, i64, f64) {
    let mut fields = line.split('\t');
    let mut next = || fields.next().expect("three fields");
    let (end, bound, ratio) = (next(), next(), next());
    let offset = |text: &str| text.parse().expect("an offset");
    // Of no bytes no share is dirty; Java says that it is no number.
    let ratio = if ratio == "NaN" { 0.0 } else { ratio.parse().expect("a number") };
    (offset(end), offset(bound), ratio)
}

#[test]
fn compaction_leaves_what_apache_kafkas_cleaner_leaves() {
    if !harness::have("cleaner oracle", &["mvn", "javac", "java"]) {
        return;
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    let at = |side: &str, seed: u64| root.path().join(side).join(format!("t-{seed}"));
    let cases: Vec<Case> = (0..LOGS).map(Case::draw).collect();
    for side in ["ours", "theirs"] {
        fs::create_dir_all(root.path().join(side)).expect("a directory");
    }
    for case in &cases {
        fill(case, &at("ours", case.seed));
        copy(&at("ours", case.seed), &at("theirs", case.seed));
    }
    let mut points = vec![0i64; cases.len()];
    let (mut read, mut kept, mut full) = (0, 0, 0);
    let mut differ = Vec::new();
    for round in 0..ROUNDS {
        // Horizons pass between the second round and the third.
        let now_ms = BEGIN_MS + 1_000 + round * RETENTION_MS * 2 / 3;
        let script = root.path().join("script");
        let lines = cases.iter().zip(&points);
        let lines: String = lines
            .map(|(case, first_dirty)| case.line(&at("theirs", case.seed), *first_dirty, now_ms))
            .collect();
        fs::write(&script, lines).expect("a script");
        let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("run");
        let mut command = Command::new(run);
        let theirs = harness::run(command.arg("CleanLogs").arg(&script), DEADLINE).success();
        let theirs: Vec<&str> = theirs.lines().filter(|line| line.contains('\t')).collect();
        assert_eq!(theirs.len(), cases.len(), "{theirs:?}");
        for (index, case) in cases.iter().enumerate() {
            let path = at("ours", case.seed);
            let mut open = Open::at(&path, case.config(), false);
            let budget = MapBudget { bytes: case.map_bytes, load_factor: 0.9 };
            let (done, bound, ratio) = open.clean(points[index], now_ms, budget);
            // Where nothing is dirty Apache Kafka's comes to the offset 0, and is never asked.
            let ours = (done.map_or(0, |done| done.end), bound, ratio);
            let theirs = theirs[index];
            let (their_end, their_bound, their_ratio) = parse(theirs);
            // What codecs made of the same records in an earlier round counts in the share.
            let slack = if case.compressed { 0.01 } else { 0.0 };
            let same = (ours.0, ours.1) == (their_end, their_bound);
            if !same || (ratio - their_ratio).abs() > slack {
                differ.push(format!("round {round} of {case:?}: ours {ours:?}, theirs {theirs}"));
            }
            open.close();
            let found = describe(&path, case.compressed);
            let wanted = describe(&at("theirs", case.seed), case.compressed);
            let first = found.lines().zip(wanted.lines()).find(|(ours, theirs)| ours != theirs);
            if found != wanted {
                let lines = (found.lines().count(), wanted.lines().count());
                differ.push(format!(
                    "round {round} of {case:?}: lines {lines:?}, (ours, theirs) {first:#?}"
                ));
            }
            let Some(done) = done else {
                points[index] = 0;
                continue;
            };
            read += done.stats.records_read;
            kept += done.stats.records_written;
            full += u32::from(done.stats.map_was_full);
            // The rest of a log of which only a part fit; then all of it again.
            points[index] = if done.stats.map_was_full { done.end } else { 0 };
        }
        // What comes after a difference differs anyway.
        assert!(differ.is_empty(), "{}\n{}", differ.len(), differ.join("\n"));
    }
    println!("{read} records read, {kept} kept, {full} times the map was full");
    assert!(read > 8_000 && kept < read / 2 && full > 10, "{read} {kept} {full}");
}
