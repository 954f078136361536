//! Bytes that no client of good faith sends.
//!
//! The frames are put together by hand where a codec would refuse to; what the broker may do with
//! them is to close the connection or to answer with an error, soon, and nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use harness::{Node, have, run};
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::{ApiVersionsResponse, Message as _, ProduceRequest, ProduceResponse};
use wire::batch::{ATTRIBUTE_CONTROL, CRC_START, HEADER_BYTES};
use wire::record::{BatchBuilder, BatchOptions};
use wire::{Bytes, ErrorCode, Reader};

use crate::{directory, kcat_consume, kcat_produce};

/// By when a connection must be closed or answered.
const SOON: Duration = Duration::from_secs(5);

/// What memory may grow by under all of this.
const GROWTH_MAX: u64 = 64 << 20;

#[test]
fn hostile_bytes_neither_stop_nor_bloat_the_broker() {
    if !have("hostile bytes", &["kcat"]) {
        return;
    }
    let directory = directory();
    let mut node = Node::start(directory.path());
    let lines: Vec<String> = (0..100).map(|n| format!("{n}:value {n}")).collect();
    kcat_produce(&node, "target", &lines);

    hostile_round(&mut node);
    let before = node.resident_bytes();
    for _ in 0..20 {
        hostile_round(&mut node);
    }
    mutated_frames(&mut node);
    if !Node::is_peer() {
        // Apache Kafka makes room for the whole frame as soon as its length arrives.
        let held = half_sent_frames(&node);
        let grown = node.resident_bytes().saturating_sub(before);
        assert!(grown <= GROWTH_MAX, "grew by {} MiB", grown >> 20);
        drop(held);
    }
    node.assert_alive();

    assert_eq!(kcat_consume(&node, "target", "%k:%s\n"), lines.join("\n") + "\n");
    kcat_produce(&node, "after", &lines);
    assert_eq!(kcat_consume(&node, "after", "%k:%s\n"), lines.join("\n") + "\n");
}

fn hostile_round(node: &mut Node) {
    for (what, bytes) in broken_frames() {
        exchange(node, what, &bytes, false);
    }
    for (what, bytes) in cut_frames() {
        exchange(node, what, &bytes, true);
    }
    unsupported_api_versions(node);
    let mut acknowledged = Vec::new();
    for (what, records) in broken_batches() {
        let frame = produce(records);
        let Some(answer) = exchange(node, what, &frame, false) else { continue };
        if produce_error(answer).is_none() {
            acknowledged.push(what);
        }
    }
    assert!(acknowledged.is_empty(), "broken batches acknowledged: {acknowledged:?}");
}

/// Whole frames, as far as their length says, or lengths that no frame may have.
fn broken_frames() -> Vec<(&'static str, Vec<u8>)> {
    let metadata = |version, body: &[u8]| request(3, version, body);
    let mut wide_client_id = vec![0, 3, 0, 1, 0, 0, 0, 7, 0x7f, 0xff];
    wide_client_id.splice(0..0, (wide_client_id.len() as i32).to_be_bytes());
    let mut bad_client_id = vec![0, 3, 0, 1, 0, 0, 0, 7, 0, 2, 0xff, 0xfe, 0, 0, 0, 0];
    bad_client_id.splice(0..0, (bad_client_id.len() as i32).to_be_bytes());
    vec![
        ("2 GiB frame", [&[0x7f, 0xff, 0xff, 0xff][..], &[0; 64]].concat()),
        ("negative length", vec![0xff, 0xff, 0xff, 0xff, 0, 0]),
        ("most negative length", vec![0x80, 0, 0, 0, 0, 0]),
        ("empty frame", vec![0, 0, 0, 0]),
        ("frame shorter than its header", vec![0, 0, 0, 3, 0, 3, 0]),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("TLS", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat()),
        ("client id longer than the frame", wide_client_id),
        ("client id that is not UTF-8", bad_client_id),
        ("array of 2^31-1 elements", metadata(1, &[0x7f, 0xff, 0xff, 0xff, 0, 0])),
        ("array of -2 elements", metadata(1, &[0xff, 0xff, 0xff, 0xfe])),
        ("compact array of 2^32-2 elements", flexible(3, 12, &[0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("variable-length integer without end", flexible(3, 12, &[0xff; 12])),
        ("string longer than the frame", metadata(1, &[0, 0, 0, 1, 0x7f, 0xff, b'a'])),
        ("string of -2 bytes", metadata(1, &[0, 0, 0, 1, 0xff, 0xfe])),
        ("null string where none is allowed", metadata(1, &[0, 0, 0, 1, 0xff, 0xff])),
        ("topic name that is not UTF-8", metadata(1, &[0, 0, 0, 1, 0, 3, b'a', 0xff, 0xfe])),
        ("tag longer than the frame", flexible(3, 12, &[1, 0, 0, 0, 1, 9, 0xff, 0xff, 0x7f])),
        ("2^32-1 tags", flexible(3, 12, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("body missing", metadata(12, &[])),
        ("unknown API", request(999, 0, &[0; 8])),
        ("negative API", request(-1, 0, &[0; 8])),
        ("retired version of an API", request(0, 0, &[0; 8])),
        ("version far ahead", request(0, 999, &[0; 8])),
        ("negative version", request(3, -1, &[0; 8])),
        ("garbage", frame(&(0..4000u32).map(|n| ((n * n) >> 3) as u8).collect::<Vec<_>>())),
    ]
}

/// Frames that end before their length says.
fn cut_frames() -> Vec<(&'static str, Vec<u8>)> {
    let whole = produce(batch(1));
    let middle = whole.len() / 2;
    vec![
        ("nothing at all", Vec::new()),
        ("two bytes of a length", vec![0, 0]),
        ("length alone", vec![0, 0, 0, 50]),
        ("half a header", vec![0, 0, 0, 50, 0, 3, 0]),
        ("half a produce request", whole[..middle].to_vec()),
        ("all but one byte", whole[..whole.len() - 1].to_vec()),
    ]
}

/// KIP-511: the one request of which an unknown version is answered, in version 0.
fn unsupported_api_versions(node: &mut Node) {
    let what = "ApiVersions of a version far ahead";
    let answer = exchange(node, what, &flexible(18, 999, &[]), false);
    let mut reader = Reader::new(answer.expect("an answer to ApiVersions"));
    assert_eq!(reader.i32(), Ok(CORRELATION));
    let answer = ApiVersionsResponse::decode(&mut reader, 0).expect("version 0");
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::UNSUPPORTED_VERSION);
}

fn broken_batches() -> Vec<(&'static str, Vec<u8>)> {
    const ATTRIBUTES: usize = 21;
    const LAST_OFFSET_DELTA: usize = 23;
    const COUNT: usize = 57;
    let whole = batch(3);
    let edited = |at: usize, bytes: &[u8]| {
        let mut edited = whole.clone();
        edited[at..at + bytes.len()].copy_from_slice(bytes);
        edited
    };
    let sealed = |at: usize, bytes: &[u8]| seal(edited(at, bytes));
    let mut more = sealed(COUNT, &4i32.to_be_bytes());
    more[LAST_OFFSET_DELTA..LAST_OFFSET_DELTA + 4].copy_from_slice(&3i32.to_be_bytes());
    let mut long_record = whole.clone();
    long_record[HEADER_BYTES] = 0x7e;
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("a record") ^= 1;
    vec![
        ("flipped bit", flipped),
        ("wrong CRC", edited(17, &[1, 2, 3, 4])),
        ("one record more than there is, offsets too", seal(more)),
        ("one record more than there is", sealed(COUNT, &4i32.to_be_bytes())),
        ("one record less than there is", sealed(COUNT, &2i32.to_be_bytes())),
        ("2^31-1 records", sealed(COUNT, &i32::MAX.to_be_bytes())),
        ("-1 records", sealed(COUNT, &(-1i32).to_be_bytes())),
        ("last offset too high", sealed(LAST_OFFSET_DELTA, &9i32.to_be_bytes())),
        ("last offset negative", sealed(LAST_OFFSET_DELTA, &(-1i32).to_be_bytes())),
        ("magic 0", edited(16, &[0])),
        ("magic 99", edited(16, &[99])),
        ("batch longer than the request", edited(8, &0x7fff_ffffi32.to_be_bytes())),
        ("batch shorter than its header", edited(8, &5i32.to_be_bytes())),
        ("negative batch length", edited(8, &(-5i32).to_be_bytes())),
        ("half a batch", whole[..whole.len() / 2].to_vec()),
        ("gzip that is none", sealed(ATTRIBUTES, &1i16.to_be_bytes())),
        ("snappy that is none", sealed(ATTRIBUTES, &2i16.to_be_bytes())),
        ("lz4 that is none", sealed(ATTRIBUTES, &3i16.to_be_bytes())),
        ("zstd that is none", sealed(ATTRIBUTES, &4i16.to_be_bytes())),
        ("unknown codec", sealed(ATTRIBUTES, &7i16.to_be_bytes())),
        ("control batch", sealed(ATTRIBUTES, &ATTRIBUTE_CONTROL.to_be_bytes())),
        ("record longer than its batch", seal(long_record)),
        ("two batches", [whole.clone(), whole.clone()].concat()),
    ]
}

/// Valid frames with a few bytes changed at random. Most still parse as something.
fn mutated_frames(node: &mut Node) {
    let valid = [
        flexible(18, 3, &[2, b'x', 2, b'1', 0]),
        request(3, 1, &[0, 0, 0, 1, 0, 7, b'm', b'u', b't', b'a', b't', b'e', b'd']),
        produce(batch(2)),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 33) as usize % bound
    };
    for case in 0..600 {
        let mut bytes = valid[case % valid.len()].clone();
        // A topic that no frame here can produce to, lest the check of contents be fooled.
        for at in 0..bytes.len().saturating_sub(6) {
            if &bytes[at..at + 6] == b"target" {
                bytes[at..at + 6].copy_from_slice(b"absent");
            }
        }
        for _ in 0..=next(4) {
            let at = 4 + next(bytes.len() - 4);
            bytes[at] = match next(3) {
                0 => 0xff,
                1 => 0,
                _ => next(256) as u8,
            };
        }
        exchange(node, "mutated frame", &bytes, true);
    }
}

/// Connections that promise 99 MiB each and send next to nothing.
fn half_sent_frames(node: &Node) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(node.socket()).expect("a connection");
        stream.write_all(&(99i32 << 20).to_be_bytes()).expect("a length");
        stream.write_all(&request(0, 7, &[0; 32])[4..]).expect("the frame's start");
        stream
    };
    let streams = (0..50).map(open).collect();
    // An answer on a later connection means that the earlier ones were looked at.
    let bytes = flexible(18, 3, &[2, b'x', 2, b'1', 0]);
    assert!(try_exchange(node, "ApiVersions", &bytes, false).is_some(), "no ApiVersions");
    streams
}

/// Sends the bytes on a connection of their own. Returns the frame that came back, or nothing if
/// the broker closed the connection; fails if it does neither in time or has died of it.
#[track_caller]
fn exchange(node: &mut Node, what: &str, bytes: &[u8], half_close: bool) -> Option<Bytes> {
    let answer = try_exchange(node, what, bytes, half_close);
    node.assert_alive();
    answer
}

#[track_caller]
fn try_exchange(node: &Node, what: &str, bytes: &[u8], half_close: bool) -> Option<Bytes> {
    let mut stream = TcpStream::connect_timeout(&node.socket(), SOON)
        .unwrap_or_else(|error| panic!("{what}: connect: {error}"));
    stream.set_read_timeout(Some(SOON)).expect("a read timeout");
    stream.set_write_timeout(Some(SOON)).expect("a write timeout");
    // The broker may close before it has read everything.
    let sent = stream.write_all(bytes);
    if half_close && sent.is_ok() {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut size = [0; 4];
    let mut rest = |buffer: &mut [u8]| match stream.read_exact(buffer) {
        Ok(()) => true,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("{what}: neither closed nor answered in {SOON:?}")
        }
        Err(_) => false,
    };
    if !rest(&mut size) {
        return None;
    }
    let size = usize::try_from(i32::from_be_bytes(size)).expect("a positive size of an answer");
    assert!(size < 16 << 20, "{what}: answered with {size} bytes");
    let mut answer = vec![0; size];
    assert!(rest(&mut answer), "{what}: the answer breaks off");
    Some(answer.into())
}

/// All frames that come until the broker closes the connection.
fn until_closed(node: &Node, bytes: &[u8]) -> Vec<Bytes> {
    let mut stream = TcpStream::connect_timeout(&node.socket(), SOON).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a read timeout");
    stream.write_all(bytes).expect("requests");
    let mut answers = Vec::new();
    loop {
        let mut size = [0; 4];
        match stream.read_exact(&mut size) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("not closed"),
            Err(_) => return answers,
        }
        let mut answer = vec![0; i32::from_be_bytes(size) as usize];
        stream.read_exact(&mut answer).expect("a whole answer");
        answers.push(answer.into());
    }
}

fn create(node: &Node, topic: &str, partitions: u32) {
    let mut command = Command::new(harness::binary());
    command.args(["topic", "create", topic, "-p", &partitions.to_string()]);
    run(command.args(["--server", &node.address()]), Duration::from_secs(60)).success();
}

#[test]
fn what_was_asked_before_garbage_is_answered() {
    let directory = directory();
    let node = Node::start(directory.path());
    create(&node, "target", 1);
    let good = [produce(batch(3)), produce(batch(1)), produce(batch(2))].concat();
    let garbage = (-1i32).to_be_bytes().to_vec();
    let refused = request(0, PRODUCE, &produce_body("nothing", 0, batch(1)));
    // What is left unread must not take the answers away.
    let long = [garbage.clone(), vec![7; 300_000]].concat();
    for end in [garbage, long, request(999, 0, &[]), refused] {
        // Nothing after it counts.
        let bytes = [good.clone(), end, produce(batch(1))].concat();
        let answers = until_closed(&node, &bytes);
        assert_eq!(answers.len(), 3);
        for answer in answers {
            assert_eq!(produce_error(answer), ErrorCode::NONE);
        }
    }
}

#[test]
fn who_does_not_read_answers_makes_the_broker_hold_little() {
    let directory = directory();
    let mut node = Node::start(directory.path());
    for topic in ["a", "b", "c", "d"] {
        create(&node, topic, 500);
    }
    // Metadata of all topics: null, no creation, no operations, no tags.
    let ask = flexible(3, 9, &[0, 0, 0, 0, 0]);
    let answer = try_exchange(&node, "Metadata", &ask, false).expect("metadata");
    assert!(answer.len() > 2000 * 20, "{} bytes", answer.len());
    let before = node.resident_bytes();
    let mut stream = TcpStream::connect_timeout(&node.socket(), SOON).expect("a connection");
    stream.set_write_timeout(Some(SOON)).expect("a write timeout");
    stream.write_all(&ask.repeat(1000)).expect("requests");
    // By then the node has seen what it takes of them.
    for _ in 0..50 {
        assert!(try_exchange(&node, "Metadata", &ask, false).is_some());
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown <= GROWTH_MAX, "grew by {} MiB", grown >> 20);
    // All of them are answered to who reads after all.
    stream.set_read_timeout(Some(SOON)).expect("a read timeout");
    let mut whole = vec![0; 1000 * (4 + answer.len())];
    stream.read_exact(&mut whole).expect("a thousand answers");
    node.assert_alive();
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as i32).to_be_bytes(), body].concat()
}

/// A request with header version 1.
fn request(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = [api.to_be_bytes(), version.to_be_bytes()].concat();
    bytes.extend(CORRELATION.to_be_bytes());
    bytes.extend([0, 1, b'h']);
    bytes.extend(body);
    frame(&bytes)
}

/// A request with header version 2: no tags.
fn flexible(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    request(api, version, &[&[0], body].concat())
}

fn produce(records: Vec<u8>) -> Vec<u8> {
    request(0, PRODUCE, &produce_body("target", -1, records))
}

fn produce_body(topic: &str, acks: i16, records: Vec<u8>) -> Vec<u8> {
    let partition = PartitionProduceData { records: Some(records.into()), ..Default::default() };
    let topic = TopicProduceData {
        name: topic.into(),
        partition_data: vec![partition],
        ..Default::default()
    };
    let body =
        ProduceRequest { acks, timeout_ms: 5000, topic_data: vec![topic], ..Default::default() };
    body.to_bytes(PRODUCE).expect("a request that version 7 can carry").to_vec()
}

#[track_caller]
fn produce_error(answer: Bytes) -> ErrorCode {
    let mut reader = Reader::new(answer);
    assert_eq!(reader.i32(), Ok(CORRELATION));
    let answer = ProduceResponse::decode(&mut reader, PRODUCE).expect("a produce response");
    ErrorCode(answer.responses[0].partition_responses[0].error_code)
}

/// A valid batch of so many records.
fn batch(count: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions { leader_epoch: -1, ..Default::default() });
    for _ in 0..count {
        builder.push(1_700_000_000_000, Some(b"key"), Some(b"a value"), &[]);
    }
    builder.build().expect("a small batch").to_vec()
}

/// Makes the CRC right again.
fn seal(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = wire::crc32c::of(&batch[CRC_START..]);
    batch[CRC_START - 4..CRC_START].copy_from_slice(&crc.to_be_bytes());
    batch
}

const CORRELATION: i32 = 0x0102_0304;

/// The last version without compact encodings that librdkafka and others still send.
const PRODUCE: i16 = 7;
