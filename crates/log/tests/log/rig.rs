//! A log on a disk in memory, with operations executed late and in any order the contract allows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_log::disk::mem::MemDisk;
use ottla_log::{
    AppendError, AppendInfo, Completion, Disk, FileIds, Log, LogConfig, Op, OpenMode, Progress,
    RecoveryReport, StorageError, Submission, ValidateConfig, Validated, inspect, validate,
};
use wire::batch::TimestampType;
use wire::record::{BatchBuilder, BatchOptions, ProducerStamp};

/// A small generator; tests must be repeatable from their seed.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

pub fn dir() -> PathBuf {
    PathBuf::from("/data/t-0")
}

pub fn small() -> LogConfig {
    LogConfig { segment_bytes: 1_000, index_interval_bytes: 150, ..LogConfig::default() }
}

pub fn batch(timestamp: i64, values: &[Bytes], producer: Option<ProducerStamp>) -> Bytes {
    built(timestamp, values, producer, false)
}

pub fn built(
    timestamp: i64,
    values: &[Bytes],
    producer: Option<ProducerStamp>,
    transactional: bool,
) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        leader_epoch: -1,
        producer,
        transactional,
        ..BatchOptions::default()
    });
    for value in values {
        builder.push(timestamp, None, Some(value), &[]);
    }
    builder.build().unwrap()
}

pub fn checked(records: Bytes) -> Validated {
    let config = ValidateConfig {
        timestamp_type: TimestampType::CreateTime,
        timestamp_after_max_ms: i64::MAX,
        ..ValidateConfig::default()
    };
    validate(inspect(records, config.decompressed_bytes_max).unwrap(), &config).unwrap()
}

pub struct Rig {
    pub disk: MemDisk,
    pub log: Log,
    pub ids: FileIds,
    pub out: Vec<Submission>,
    /// Operations on names are kept waiting: the adversary of whatever relies on them.
    pub starve_paths: bool,
    submitted: Vec<Submission>,
    completed: Vec<Completion>,
}

impl Rig {
    pub fn new(config: LogConfig) -> Self {
        let disk = MemDisk::new();
        let parent = PathBuf::from("/data");
        disk.execute(&Op::CreateDir { path: parent.clone() }).unwrap();
        for path in ["/", "/data"] {
            disk.execute(&Op::SyncDir { path: path.into() }).unwrap();
        }
        let mut out = Vec::new();
        let log = Log::create(&dir(), wire::Uuid(7 << 90), config, &mut out);
        let ids = FileIds::default();
        let (submitted, completed) = (Vec::new(), Vec::new());
        Self { disk, log, ids, out, starve_paths: false, submitted, completed }
    }

    pub fn append(&mut self, validated: Validated, epoch: i32) -> Result<AppendInfo, AppendError> {
        self.log.append_as_leader(0, validated, epoch, &mut self.ids, &mut self.out)
    }

    pub fn append_values(&mut self, timestamp: i64, values: &[&str]) -> AppendInfo {
        let values: Vec<_> = values.iter().map(|v| Bytes::copy_from_slice(v.as_bytes())).collect();
        self.append(checked(batch(timestamp, &values, None)), 0).unwrap()
    }

    /// Executes one operation, or delivers one completion, whichever `random` likes among those
    /// the contract (D1) allows. `None` if there is nothing to do.
    pub fn step(&mut self, random: &mut Random) -> Option<Result<Progress, StorageError>> {
        self.submitted.append(&mut self.out);
        let mut ready = self.ready();
        if self.starve_paths {
            ready.retain(|index| !lanes(&self.submitted[*index].op).contains(&None));
        }
        let choices = ready.len() + self.completed.len();
        if choices == 0 {
            return None;
        }
        let choice = random.below(choices as u64) as usize;
        if let Some(&index) = ready.get(choice) {
            let Submission { token, op } = self.submitted.remove(index);
            let result = self.disk.execute(&op);
            self.completed.push(Completion { token, result });
            return Some(Ok(Progress {
                written: self.log.written(),
                flushed: self.log.flushed(),
                moved: false,
                closed: false,
            }));
        }
        let completion = self.completed.swap_remove(choice - ready.len());
        Some(self.log.on_completion(completion, &mut self.out))
    }

    /// Executes some of what may be executed, and tells of all that ended together; what that
    /// orders is not carried out if it is an error. `None` if there is nothing to do.
    pub fn step_together(&mut self, random: &mut Random) -> Option<Result<Progress, StorageError>> {
        self.submitted.append(&mut self.out);
        for _ in 0..1 + random.below(8) {
            let ready = self.ready();
            let Some(&index) = ready.first() else { break };
            let Submission { token, op } = self.submitted.remove(index);
            let result = self.disk.execute(&op);
            self.completed.push(Completion { token, result });
        }
        if self.completed.is_empty() {
            return None;
        }
        let mut orders = Vec::new();
        let progress = self.log.on_completions(std::mem::take(&mut self.completed), &mut orders);
        if progress.is_ok() {
            self.out.append(&mut orders);
        }
        Some(progress)
    }

    /// Runs all that can be run while operations on names wait.
    pub fn settle_but_paths(&mut self) {
        let mut random = Random(2);
        self.starve_paths = true;
        while let Some(result) = self.step(&mut random) {
            result.unwrap();
        }
        self.starve_paths = false;
    }

    /// Runs the first operation that waits, which is of that name, and delivers its completion.
    pub fn run_first(&mut self, name: &str) {
        self.submitted.append(&mut self.out);
        let Submission { token, op } = self.submitted.remove(0);
        assert_eq!(op.name(), name);
        let result = self.disk.execute(&op);
        self.log.on_completion(Completion { token, result }, &mut self.out).unwrap();
    }

    /// Names of the operations that wait.
    pub fn waiting(&mut self) -> Vec<&'static str> {
        self.submitted.append(&mut self.out);
        self.submitted.iter().map(|submission| submission.op.name()).collect()
    }

    /// Indexes of submissions with nothing before them in any of their lanes.
    fn ready(&self) -> Vec<usize> {
        let mut taken = BTreeSet::new();
        let mut ready = Vec::new();
        for (index, submission) in self.submitted.iter().enumerate() {
            let lanes = lanes(&submission.op);
            if lanes.iter().all(|lane| !taken.contains(lane)) {
                ready.push(index);
            }
            taken.extend(lanes);
        }
        ready
    }

    pub fn settle(&mut self) {
        let mut random = Random(1);
        let starved = std::mem::take(&mut self.starve_paths);
        while let Some(result) = self.step(&mut random) {
            result.unwrap();
        }
        self.starve_paths = starved;
    }

    /// Drops the log; what was submitted but not executed never happens.
    pub fn reopen(
        &mut self,
        mode: OpenMode,
        log_start: Option<i64>,
    ) -> Result<RecoveryReport, StorageError> {
        self.out.clear();
        self.submitted.clear();
        self.completed.clear();
        let config = self.log.config().clone();
        let opened = Log::open(&self.disk, &dir(), config, mode, log_start, &mut self.ids);
        let (log, report) = opened?;
        self.log = log;
        Ok(report)
    }

    pub fn read(&self, offset: i64, max_bytes: usize) -> Bytes {
        let plan = self.log.plan_read(offset, max_bytes, i64::MAX).unwrap();
        plan.execute(&self.disk, true).unwrap()
    }

    /// All batches from `start` to what is written.
    pub fn read_all(&self) -> Vec<(i64, i64, Bytes)> {
        let mut at = self.log.start();
        let mut batches = Vec::new();
        while at < self.log.written() {
            let bytes = self.read(at, 1 << 20);
            assert!(!bytes.is_empty(), "nothing at {at} below {}", self.log.written());
            for next in wire::batch::Batches::new(bytes) {
                let (header, batch) = next.unwrap();
                wire::batch::verify_crc(&batch).unwrap();
                assert!(header.last_offset() >= at);
                at = header.next_offset();
                batches.push((header.base_offset, header.last_offset(), batch));
            }
        }
        batches
    }

    pub fn file_names(&self) -> Vec<String> {
        self.disk.list(Path::new("/data/t-0")).unwrap()
    }
}

/// Operations that share a lane keep their order.
fn lanes(op: &Op) -> Vec<Option<u64>> {
    const PATHS: Option<u64> = None;
    match op {
        Op::Create { file, .. } | Op::OpenExisting { file, .. } => vec![PATHS, Some(file.0)],
        Op::Write { file, .. }
        | Op::Sync { file }
        | Op::Truncate { file, .. }
        | Op::Close { file } => vec![Some(file.0)],
        _ => vec![PATHS],
    }
}
