//! The directory of a log with several segments, producers and an open transaction, of which one
//! file is damaged.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ottla_log::disk::mem::MemDisk;
use ottla_log::{
    Completion, Disk, FileIds, Log, LogConfig, Op, OpenMode, Submission, ValidateConfig, inspect,
    validate,
};
use wire::record::{BatchBuilder, BatchOptions, ProducerStamp};
use wire::{Bytes, Uuid, crc32c};

use crate::mutate::mutate;
use crate::random::Random;
use crate::{Input, batches, memory};

/// Names and contents of the undamaged directory.
fn files() -> &'static [(String, Vec<u8>)] {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(written)
}

fn dir() -> PathBuf {
    PathBuf::from("/data/t-0")
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 100,
        segment_index_bytes: 1 << 10,
        ..LogConfig::default()
    }
}

/// Writes a log and lists what is on the disk then. The operations are run in their order, so
/// nothing here may fail; a fixture that can't be made gives no files, which the test refuses.
fn written() -> Vec<(String, Vec<u8>)> {
    let disk = MemDisk::new();
    let _ = disk.execute(&Op::CreateDir { path: "/data".into() });
    let (mut out, mut ids) = (Vec::new(), FileIds::default());
    let mut log = Log::create(&dir(), Uuid(7 << 90), config(), &mut out);
    let limits = ValidateConfig { timestamp_after_max_ms: i64::MAX, ..ValidateConfig::default() };
    for index in 0..14 {
        let producer = (index % 3 != 0).then_some(ProducerStamp {
            id: i64::from(index % 3),
            epoch: 0,
            base_sequence: index / 3 * 4,
        });
        let options = BatchOptions {
            leader_epoch: -1,
            producer,
            transactional: index % 3 == 2,
            compression: batches::CODECS[index as usize % 5],
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        for record in 0..4 {
            builder.push(i64::from(index * 10 + record), None, Some(&[index as u8; 20]), &[]);
        }
        let Ok(batch) = builder.build() else { continue };
        let checked = inspect(batch, limits.decompressed_bytes_max);
        if let Ok(batch) = checked.and_then(|batch| validate(batch, &limits)) {
            let _ = log.append_as_leader(0, batch, index / 5, &mut ids, &mut out);
        }
        settle(&disk, &mut log, &mut out);
    }
    log.on_high_watermark(log.end());
    log.write_epochs(&mut out);
    log.close(&mut out);
    settle(&disk, &mut log, &mut out);
    let names = disk.list(&dir()).unwrap_or_default();
    let content = |name: String| disk.content(&dir().join(&name)).map(|bytes| (name, bytes));
    names.into_iter().filter_map(content).collect()
}

fn settle(disk: &MemDisk, log: &mut Log, out: &mut Vec<Submission>) {
    while !out.is_empty() {
        for Submission { token, op } in std::mem::take(out) {
            let result = disk.execute(&op);
            let _ = log.on_completion(Completion { token, result }, out);
        }
    }
}

/// One file, damaged; checksums are made good again in half of the cases.
pub fn make(random: &mut Random) -> Input {
    let choice = random.below(files().len());
    let Some((name, content)) = files().get(choice) else { return Input::default() };
    let mut bytes = content.clone();
    let partner = files()[random.below(files().len())].1.clone();
    mutate(random, &mut bytes, &partner);
    if random.chance(60) && name.ends_with(".log") {
        batches::reseal(&mut bytes);
    }
    if random.chance(60) && name.ends_with(".snapshot") && bytes.len() >= 6 {
        let crc = crc32c::of(&bytes[6..]);
        bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    }
    Input { choice, version: 0, flags: random.bits(), bytes: bytes.into() }
}

/// Opens the directory with that file; what opened once must open again with the same end.
///
/// # Errors
/// The broken property.
pub fn check(input: &Input) -> Result<(), String> {
    if files().len() < 8 {
        return Err(format!("the fixture is missing: {:?}", files()));
    }
    let disk = MemDisk::new();
    let mut total = input.bytes.len();
    for (index, (name, content)) in files().iter().enumerate() {
        total += content.len();
        let path = dir().join(name);
        // Now and then another file is missing altogether.
        if index == input.choice {
            disk.put(&path, &input.bytes);
        } else if input.flags & 7 != 0 || (input.flags >> 8) as usize % files().len() != index {
            disk.put(&path, content);
        }
    }
    let config = LogConfig { compact: input.flags & 16 != 0, ..config() };
    let recovery_point = if input.flags & 32 != 0 { 0 } else { (input.flags >> 16) as i64 % 60 };
    let mode = OpenMode { clean: input.flags & 64 != 0, recovery_point, mark: None };
    let log_start = (input.flags & 128 != 0).then_some((input.flags >> 24) as i64 % 70);
    let open = |disk: &MemDisk, mode| {
        let mut ids = FileIds::default();
        Log::open(disk, Path::new(&dir()), config.clone(), mode, log_start, &mut ids)
    };
    let opened = memory::bounded("open", memory::decoder_limit(total), || open(&disk, mode))?;
    let Ok((log, _)) = opened else { return Ok(()) };
    let again =
        open(&disk, OpenMode { clean: false, recovery_point: mode.recovery_point, mark: None });
    match again {
        Ok((second, _)) if second.end() == log.end() || mode.clean => Ok(()),
        Err(_) if mode.clean => Ok(()),
        Ok((second, _)) => Err(format!("opened up to {}, then {}", log.end(), second.end())),
        Err(error) => Err(format!("opened up to {}, then failed: {error}", log.end())),
    }
}

/// The content of each undamaged file whose name ends so.
pub fn ending(extension: &str) -> Vec<Bytes> {
    let found = files().iter().filter(|(name, _)| name.ends_with(extension));
    found.map(|(_, content)| Bytes::copy_from_slice(content)).collect()
}
