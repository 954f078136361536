//! Every kind of file, sound and damaged, against what Apache Kafka 4.3.1 prints.

use std::path::PathBuf;

use messages::{GroupMetadataKey, Message as _, TopicRecord};
use tempfile::TempDir;
use wire::batch::BatchHeader;
use wire::compress::Compression;
use wire::files::{AbortedTxn, OffsetIndexEntry, ProducerEntry, TimeIndexEntry, render_producers};
use wire::record::{BatchBuilder, BatchOptions, EndTxnMarker, ProducerStamp};

use super::*;
use crate::run_for_test;

/// A directory with files of the segment at offset 0.
struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, suffix: &str, content: &[u8]) -> String {
        let path: PathBuf = self.0.path().join(format!("00000000000000000000.{suffix}"));
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn dump(path: &str, flags: &[&str]) -> (u8, String, String) {
    let mut args = vec!["--files", path];
    args.extend(flags);
    run_for_test(&TOOL, &args, "")
}

fn batch(base_offset: i64, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset,
        leader_epoch: 4,
        compression,
        producer: Some(ProducerStamp { id: 7, epoch: 1, base_sequence: 10 }),
        ..Default::default()
    });
    builder.push(1000, None, Some(b"one"), &[("h", Some(b"x")), ("i", None)]);
    builder.push(1001, Some(b"key"), None, &[]);
    builder.build().unwrap()
}

fn crc(batch: &Bytes) -> u32 {
    BatchHeader::parse(batch).unwrap().crc
}

#[test]
fn batches_and_records_are_shown_as_apache_kafka_shows_them() {
    let dir = Dir::new();
    let first = batch(0, Compression::None);
    let path = dir.write("log", &first);
    let (code, out, err) = dump(&path, &["--print-data-log"]);
    let expected = format!(
        "Dumping {path}\nLog starting offset: 0\nbaseOffset: 0 lastOffset: 1 count: 2 baseSequence: \
         10 lastSequence: 11 producerId: 7 producerEpoch: 1 partitionLeaderEpoch: 4 \
         isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty position: 0 \
         CreateTime: 1001 size: {} magic: 2 compresscodec: none crc: {} isvalid: true\n\
         | offset: 0 CreateTime: 1000 keySize: -1 valueSize: 3 sequence: 10 headerKeys: [h,i] \
         payload: one\n\
         | offset: 1 CreateTime: 1001 keySize: 3 valueSize: -1 sequence: 11 headerKeys: [] \
         key: key\n",
        first.len(),
        crc(&first)
    );
    assert_eq!((code, out, err), (0, expected, String::new()));
}

#[test]
fn without_metadata_only_contents_are_shown() {
    let dir = Dir::new();
    let path = dir.write("log", &batch(0, Compression::Gzip));
    let (_, out, _) = dump(&path, &["--print-data-log", "--skip-record-metadata"]);
    let contents: Vec<&str> = out.lines().skip(3).collect();
    assert_eq!(contents, ["| payload: one", "| key: key"]);
}

#[test]
fn a_cut_batch_is_counted_as_invalid_bytes_and_gaps_are_told() {
    let dir = Dir::new();
    let (first, second) = (batch(0, Compression::None), batch(5, Compression::Zstd));
    let mut content = [&first[..], &second, &first].concat();
    content.truncate(content.len() - 1);
    let path = dir.write("log", &content);
    let (code, out, err) = dump(&path, &["--deep-iteration"]);
    let found = "Found 87 invalid bytes at the end of 00000000000000000000.log\n";
    assert_eq!(first.len(), 88);
    assert!(out.ends_with(found), "{out}");
    assert!(err.contains("  1 is followed by 5\n"), "{err}");
    assert_eq!(code, 0);
    let (_, out, _) = dump(&path, &["--max-bytes", "100"]);
    assert_eq!(out.lines().count(), 3, "one batch, nothing about the rest: {out}");
}

#[test]
fn damage_ends_the_dump_after_what_could_be_read() {
    let dir = Dir::new();
    let good = batch(0, Compression::None);
    let mut bad = good.to_vec();
    bad[HEADER] = 0x7f;
    let path = dir.write("log", &[&good[..], &bad].concat());
    let (code, out, err) = dump(&path, &["--deep-iteration"]);
    assert_eq!(code, 1);
    assert!(out.ends_with("isvalid: false\n"), "{out}");
    assert!(err.starts_with(&format!("error: {path}: record 1: ")), "{err}");

    let mut unknown_codec = good.to_vec();
    unknown_codec[22] |= 7;
    let path = dir.write("log", &unknown_codec);
    let (code, out, _) = dump(&path, &[]);
    assert_eq!(code, 1);
    assert!(out.ends_with("deleteHorizonMs: OptionalLong.empty"), "half a line: {out}");

    let mut short = good.to_vec();
    short[11] = 5;
    short[8..11].fill(0);
    assert_eq!(dump(&dir.write("log", &short), &[]).0, 1);
}

#[test]
fn every_damaged_byte_is_survived() {
    let dir = Dir::new();
    for codec in [Compression::None, Compression::Lz4] {
        let good = batch(0, codec);
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = good.to_vec();
                bad[at] ^= flip;
                let path = dir.write("log", &bad);
                dump(&path, &["--offsets-decoder"]);
                dump(&path, &["--cluster-metadata-decoder"]);
                dump(&path, &["--remote-log-metadata-decoder"]);
            }
        }
    }
}

#[test]
fn control_records_say_what_they_control() {
    let dir = Dir::new();
    let mut builder = BatchBuilder::new(BatchOptions {
        control: true,
        transactional: true,
        ..BatchOptions::default()
    });
    let marker = EndTxnMarker { coordinator_epoch: 3 };
    builder.push_control(5, ControlKind::Commit, &marker.to_bytes());
    let version = [0, 0, 0, 1, 0];
    builder.push_control(5, ControlKind::KRaftVersion, &version);
    builder.push(5, Some(&[0, 0, 0, 99]), Some(b""), &[]);
    let path = dir.write("log", &builder.build().unwrap());
    let (_, out, _) = dump(&path, &["--print-data-log"]);
    let ends = [
        "[] endTxnMarker: COMMIT coordinatorEpoch: 3",
        "[] KRaftVersion {\"version\":0,\"kRaftVersion\":1}",
        "[] controlType: UNKNOWN(99)",
    ];
    for (line, end) in out.lines().skip(3).zip(ends) {
        assert!(line.ends_with(end), "{line}");
    }
    assert_eq!(out.lines().count(), 6);
}

#[test]
fn decoders_print_json_and_go_on_after_what_they_cannot_read() {
    let dir = Dir::new();
    let topic = TopicRecord { name: "t".into(), ..TopicRecord::default() };
    let value = [&[1, 2, 0][..], &topic.to_bytes(0).unwrap()].concat();
    let group = GroupMetadataKey { group: "g".into() };
    let key = [&[0, 2][..], &group.to_bytes(0).unwrap()].concat();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(1, Some(&key), Some(&value), &[]);
    builder.push(1, Some(&[0, 99]), Some(&[1, 99, 0]), &[]);
    let path = dir.write("log", &builder.build().unwrap());
    let payloads = |flag: &str| -> Vec<String> {
        let (code, out, _) = dump(&path, &[flag, "--skip-record-metadata"]);
        assert_eq!(code, 0);
        out.lines().skip(3).map(str::to_owned).collect()
    };
    assert_eq!(
        payloads("--cluster-metadata-decoder"),
        [
            "| payload: {\"type\":\"TOPIC_RECORD\",\"version\":0,\"data\":{\"name\":\"t\",\
             \"topicId\":\"AAAAAAAAAAAAAAAAAAAAAA\"}}",
            "| payload: Error at 1, skipping. \
             org.apache.kafka.common.errors.UnsupportedVersionException: Unknown metadata id 99"
        ]
    );
    assert_eq!(
        payloads("--offsets-decoder"),
        [
            "| key: Error at offset 0, skipping. Found an unknown record version 258 for 2 type",
            "| key: Unknown record type 99 at offset 1, skipping."
        ]
    );
}

#[test]
fn a_tombstone_is_a_delete_and_a_missing_key_ends_the_dump() {
    let dir = Dir::new();
    let group = GroupMetadataKey { group: "g".into() };
    let key = [&[0, 2][..], &group.to_bytes(0).unwrap()].concat();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(1, Some(&key), None, &[]);
    builder.push(1, None, None, &[]);
    let path = dir.write("log", &builder.build().unwrap());
    let (code, out, _) = dump(&path, &["--offsets-decoder", "--skip-record-metadata"]);
    let shown = "| key: {\"type\":\"2\",\"data\":{\"group\":\"g\"}} payload: <DELETE>\n";
    assert!(out.ends_with(shown), "{out}");
    assert_eq!(code, 1);
}

#[test]
fn indexes_are_compared_with_their_log() {
    let dir = Dir::new();
    let (first, second) = (batch(0, Compression::None), batch(2, Compression::None));
    dir.write("log", &[&first[..], &second].concat());
    let entry = |relative_offset, position| OffsetIndexEntry { relative_offset, position };
    let right = entry(3, first.len() as u32).to_bytes();
    let path = dir.write("index", &[&right[..], &[0; 16]].concat());
    let (code, out, err) = dump(&path, &[]);
    let line = format!("Dumping {path}\noffset: 3 position: {}\n", first.len());
    assert_eq!((code, out, err), (0, line, String::new()), "zeros end an index");

    let time = |timestamp, relative_offset| TimeIndexEntry { timestamp, relative_offset };
    let times = dir.write("timeindex", &[time(1001, 3).to_bytes(), time(9, 1).to_bytes()].concat());
    let (_, out, err) = dump(&times, &[]);
    assert!(out.ends_with("\ntimestamp: 1001 offset: 3\ntimestamp: 9 offset: 1\n"), "{out}");
    assert!(err.contains("index timestamp 9 after 1001"), "{err}");
    assert!(err.contains("index timestamp 9, but the log has 1001"), "{err}");
    let (_, out, _) = dump(&times, &["--verify-index-only"]);
    assert_eq!(out.lines().count(), 1);
    assert_eq!(dump(&times, &["--index-sanity-check"]).0, 1, "its timestamps fall");

    let path = dir.write("index", &entry(2, 0).to_bytes());
    let (_, out, err) = dump(&path, &["--index-sanity-check"]);
    assert!(out.ends_with(".index passed sanity check.\n") && err.is_empty(), "{out}{err}");
    let (_, _, err) = dump(&path, &[]);
    assert!(err.contains("  Index offset: 2, log offset: 1\n"), "{err}");
    let path = dir.write("index", b"");
    assert!(dump(&path, &[]).1.ends_with(".index is empty.\n"));
}

#[test]
fn producers_and_aborted_transactions_are_listed() {
    let dir = Dir::new();
    let entry = ProducerEntry {
        producer_id: 5,
        producer_epoch: 2,
        last_sequence: 3,
        last_offset: 9,
        offset_delta: 4,
        timestamp: 77,
        coordinator_epoch: -1,
        current_txn_first_offset: 8,
    };
    let path = dir.write("snapshot", &render_producers([&entry]));
    let (_, out, _) = dump(&path, &[]);
    assert_eq!(
        out.lines().nth(1).unwrap(),
        "producerId: 5 producerEpoch: 2 coordinatorEpoch: -1 currentTxnFirstOffset: \
         OptionalLong[8] lastTimestamp: 77 firstSequence: 2147483647 lastSequence: 3 \
         lastOffset: 9 offsetDelta: 4 timestamp: 77"
    );
    let (code, out, err) = dump(&dir.write("snapshot", b"damaged"), &[]);
    assert_eq!((code, out.lines().count()), (0, 1));
    assert!(err.starts_with("error: "), "{err}");

    let aborted =
        AbortedTxn { producer_id: 1, first_offset: 2, last_offset: 3, last_stable_offset: 4 };
    let path = dir.write("txnindex", &[&aborted.to_bytes()[..], &[0; 5]].concat());
    let (_, out, _) = dump(&path, &[]);
    let line = "version: 0 producerId: 1 firstOffset: 2 lastOffset: 3 lastStableOffset: 4";
    assert_eq!(out.lines().skip(1).collect::<Vec<_>>(), [line]);
}

#[test]
fn numbers_are_decoded_where_a_class_says_so() {
    let dir = Dir::new();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(1, Some(&7_i64.to_be_bytes()), Some(&(-2_i32).to_be_bytes()), &[]);
    builder.push(1, None, Some(b"abc"), &[]);
    let path = dir.write("log", &builder.build().unwrap());
    let api = "org.apache.kafka.tools.api.";
    let (key, value) = (format!("{api}LongDecoder"), format!("{api}IntegerDecoder"));
    let flags =
        ["--key-decoder-class", &key, "--value-decoder-class", &value, "--skip-record-metadata"];
    let (code, out, err) = dump(&path, &flags);
    assert!(out.ends_with("\n| key: 7 payload: -2\n"), "{out}");
    assert!(code == 1 && err.contains("3 bytes are too few for a number"), "{err}");
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let told = |args: &[&str]| {
        let (code, _, err) = run_for_test(&TOOL, args, "");
        (code, err.lines().next().unwrap_or_default().to_owned())
    };
    assert_eq!(told(&["--print-data-log"]), (1, "error: --files is required".into()));
    let (code, err) = told(&["--files", "0.log", "--value-decoder-class", "com.example.D"]);
    assert!(code == 1 && err.contains("Java classes can't be loaded"), "{err}");
    let (code, err) = told(&["--files", "0.log", "--max-bytes", "many"]);
    assert!(code == 1 && err.contains("--max-bytes many: expected a number"), "{err}");
    assert_eq!(told(&["--files", "x.unknown"]), (0, "Ignoring unknown file x.unknown".into()));
    assert_eq!(told(&["--files", "nowhere/0.log"]).0, 1);
    assert_eq!(told(&["--files", "nowhere/letters.log"]).0, 1);
}

const HEADER: usize = wire::batch::HEADER_BYTES;
