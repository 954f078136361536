//! A data directory written by Apache Kafka 4.4.0.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use ottla_log::disk::os::OsDisk;
use ottla_log::{FileIds, Log, LogConfig, OpenMode, RecoveryReport};
use wire::batch::{Batches, verify_crc};
use wire::files::parse_offsets;

fn unpack() -> tempfile::TempDir {
    let archive =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/kafka-4.4.0-datadir.tgz");
    let target = tempfile::tempdir().unwrap();
    let tar = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(target.path()).status();
    assert!(tar.unwrap().success());
    target
}

fn logs(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in ["data/d1", "data/d2", "data/meta"] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.join("partition.metadata").exists() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn open(disk: &OsDisk, path: &Path, clean: bool, ids: &mut FileIds) -> (Log, RecoveryReport) {
    let mode = OpenMode { clean, recovery_point: 0, mark: None };
    Log::open(disk, path, LogConfig::default(), mode, None, ids).unwrap()
}

/// Reads the whole log, checking every batch; gives the offset after the last.
fn read_through(disk: &OsDisk, log: &Log) -> i64 {
    let mut at = log.start();
    while at < log.end() {
        let plan = log.plan_read(at, 1 << 20, i64::MAX).unwrap();
        let bytes = plan.execute(disk, true).unwrap();
        assert!(!bytes.is_empty());
        for next in Batches::new(bytes) {
            let (header, batch) = next.unwrap();
            verify_crc(&batch).unwrap();
            for record in wire::record::RecordIter::open(&batch, 1 << 24).unwrap() {
                record.unwrap();
            }
            at = header.next_offset();
        }
    }
    at
}

#[test]
fn every_log_of_an_apache_kafka_directory_opens_clean_and_killed() {
    let root = unpack();
    let mut expected = BTreeMap::new();
    for dir in ["d1", "d2"] {
        let path = root.path().join("data").join(dir).join("recovery-point-offset-checkpoint");
        for entry in parse_offsets(&std::fs::read(path).unwrap()).unwrap() {
            let name = format!("{}-{}", entry.topic, entry.partition);
            expected.insert(name, entry.offset);
        }
    }
    let disk = OsDisk::new();
    let mut ids = FileIds::default();
    let mut compared = 0;
    for path in logs(root.path()) {
        for clean in [true, false] {
            let (log, report) = open(&disk, &path, clean, &mut ids);
            assert_eq!(report.truncated, None, "{}", path.display());
            assert_eq!(read_through(&disk, &log), log.end(), "{}", path.display());
            assert!(log.topic_id().is_some());
            let name = path.file_name().unwrap().to_str().unwrap();
            if let Some(end) = expected.get(name) {
                assert_eq!(log.end(), *end, "{name}");
                compared += 1;
            }
            if name.starts_with("t1-") {
                assert_eq!(log.producers().count(), 1, "{name}");
            }
            if name == "__cluster_metadata-0" {
                assert!(log.end() >= 288, "its producer snapshot is at 288");
            }
        }
    }
    assert!(compared > 10, "{compared} logs compared");
}

#[test]
fn appending_to_such_a_log_and_closing_it_leaves_files_that_open_again() {
    let root = unpack();
    let disk = OsDisk::new();
    let mut ids = FileIds::default();
    let path = root.path().join("data/d1/t1-1");
    let (mut log, _) = open(&disk, &path, true, &mut ids);
    let end = log.end();
    let mut out = Vec::new();
    let sent = crate::rig::checked(crate::rig::batch(5, &[b"more"[..].into()], None));
    let info = log.append_as_leader(0, sent, 9, &mut ids, &mut out).unwrap();
    assert_eq!(info.first_offset, end);
    log.close(&mut out);
    while !out.is_empty() {
        for submission in std::mem::take(&mut out) {
            let result = ottla_log::Disk::execute(&disk, &submission.op);
            let token = submission.token;
            log.on_completion(ottla_log::Completion { token, result }, &mut out).unwrap();
        }
    }
    assert!(log.is_closed());
    for clean in [true, false] {
        let (log, report) = open(&disk, &path, clean, &mut ids);
        assert_eq!((log.end(), &report.truncated), (end + 1, &None));
        assert_eq!(read_through(&disk, &log), end + 1);
        assert_eq!(log.epochs().latest(), Some(9));
    }
}
