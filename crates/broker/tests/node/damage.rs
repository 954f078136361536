//! Damage as a client and the operator see it: what is whole is served, what is not is refused by
//! name, and told of once, by whoever met it first.

use std::path::{Path, PathBuf};

use broker::Event;
use broker::metrics::Sample;
use messages::describe_configs_request::DescribeConfigsResource;
use messages::fetch_request::{FetchPartition, FetchTopic};
use messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use messages::*;
use ottla_log::disk::Disk as _;
use wire::ErrorCode;
use wire::batch::Batches;

use crate::retention::{MINUTE_MS, create, produce};
use crate::rig::Rig;

/// One fetch: the code, and the base offsets of what was given.
fn fetch(rig: &mut Rig, fetch_offset: i64) -> (ErrorCode, Vec<i64>) {
    let partition =
        FetchPartition { fetch_offset, partition_max_bytes: 16 << 20, ..Default::default() };
    let topic =
        FetchTopic { topic: "old".into(), partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        max_bytes: 16 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let mut answer: FetchResponse = rig.ask(11, &request);
    let answer = answer.responses.remove(0).partitions.remove(0);
    let records = answer.records.unwrap_or_default();
    let given = Batches::new(records).map(|next| {
        let (header, batch) = next.expect("whole batches");
        wire::batch::verify_crc(&batch).expect("good batches");
        header.base_offset
    });
    (ErrorCode(answer.error_code), given.collect())
}

fn at_timestamp(rig: &mut Rig, timestamp: i64) -> (ErrorCode, i64) {
    let partition = ListOffsetsPartition { timestamp, ..Default::default() };
    let topic =
        ListOffsetsTopic { name: "old".into(), partitions: vec![partition], ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let mut answer: ListOffsetsResponse = rig.ask(5, &request);
    let answer = answer.topics.remove(0).partitions.remove(0);
    (ErrorCode(answer.error_code), answer.offset)
}

fn number(rig: &Rig, name: &str) -> u64 {
    let text = Sample::of(&rig.node).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
}

/// Six records, two a segment, the times a minute apart; another life then, in which nobody
/// checked them.
fn written() -> Rig {
    let mut rig = Rig::new();
    create(&mut rig, &[("segment.bytes", "1048576"), ("retention.ms", "-1")]);
    for _ in 0..6 {
        rig.now.wall_ms += MINUTE_MS;
        produce(&mut rig);
    }
    let Rig { disk, node, .. } = rig;
    broker::startup::close(&disk, node).expect("an orderly stop");
    Rig::on(disk)
}

fn log(base: i64) -> PathBuf {
    Path::new("/data/old-0").join(format!("{base:020}.log"))
}

#[test]
fn damaged_records_are_refused_and_all_others_served() {
    let mut rig = written();
    let began_ms = 1_800_000_000_000;
    rig.disk.rot(&log(2), 100, 0x20);
    assert_eq!(fetch(&mut rig, 0), (ErrorCode::NONE, vec![0, 1]));
    assert!(rig.said.is_empty(), "{:?}", rig.said);
    assert_eq!(fetch(&mut rig, 2), (ErrorCode::CORRUPT_MESSAGE, vec![]));
    assert_eq!(fetch(&mut rig, 3), (ErrorCode::NONE, vec![3]));
    assert_eq!(fetch(&mut rig, 2), (ErrorCode::CORRUPT_MESSAGE, vec![]));
    assert_eq!(at_timestamp(&mut rig, began_ms + 3 * MINUTE_MS).0, ErrorCode::CORRUPT_MESSAGE);
    assert_eq!(at_timestamp(&mut rig, began_ms + 5 * MINUTE_MS), (ErrorCode::NONE, 4));
    let [line] = &rig.said[..] else { panic!("{:?}", rig.said) };
    for words in ["ERROR old-0 is damaged: ", "00000000000000000002.log, bytes 0 to ", "offset 3;"]
    {
        assert!(line.contains(words), "{words} in {line}");
    }
    assert_eq!(number(&rig, "ottla_log_damage_found_total"), 1);
    assert_eq!(number(&rig, "ottla_log_damaged_places"), 1);
    produce(&mut rig);
    assert_eq!(fetch(&mut rig, 6), (ErrorCode::NONE, vec![6]));
}

#[test]
fn the_scrub_comes_to_every_log_and_tells_of_damage_before_anybody_reads_it() {
    let mut rig = written();
    rig.disk.rot(&log(4), 200, 1);
    rig.step(Event::Ticked);
    assert!(rig.said.is_empty() && rig.node.scrub_rounds() == 0, "a start has better things to do");
    rig.now.steady_ms += 11 * MINUTE_MS;
    rig.step(Event::Ticked);
    assert_eq!(rig.node.scrub_rounds(), 1);
    assert_eq!(rig.said.len(), 1, "{:?}", rig.said);
    assert!(rig.said[0].contains("offsets 4 to 4"), "{}", rig.said[0]);
    assert_eq!(fetch(&mut rig, 4).0, ErrorCode::CORRUPT_MESSAGE);
    assert_eq!(fetch(&mut rig, 5), (ErrorCode::NONE, vec![5]));
    // The next one comes after a week, and tells of nothing that is known.
    let next_ms = rig.node.next_deadline_ms();
    assert!(next_ms <= rig.now.steady_ms + MINUTE_MS, "the operator may choose otherwise");
    rig.now.steady_ms += 6 * 24 * 60 * MINUTE_MS;
    rig.step(Event::Ticked);
    assert_eq!(rig.node.scrub_rounds(), 1);
    rig.now.steady_ms += 2 * 24 * 60 * MINUTE_MS;
    rig.step(Event::Ticked);
    assert_eq!((rig.node.scrub_rounds(), rig.said.len()), (2, 1));
    assert_eq!(number(&rig, "ottla_log_scrub_rounds_total"), 2);
    assert_eq!(number(&rig, "ottla_log_scrub_bytes"), 0);
}

#[test]
fn keys_of_the_scrub_are_shown_where_asked_for() {
    let mut rig = Rig::new();
    let mut shown = |keys: Option<Vec<String>>| {
        let resource = DescribeConfigsResource {
            resource_type: 4,
            resource_name: "1".into(),
            configuration_keys: keys,
            ..Default::default()
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let answer: DescribeConfigsResponse = rig.ask(4, &request);
        let configs = answer.results.into_iter().flat_map(|result| result.configs);
        let own = configs.filter(|config| config.name.starts_with("log.scrub."));
        own.map(|config| config.value.unwrap_or_default()).collect::<Vec<_>>()
    };
    assert!(shown(None).is_empty());
    assert_eq!(shown(Some(vec!["log.scrub.interval.ms".into()])), ["604800000"]);
}

/// The first byte of a file is enough of a reason to look: nothing there is what it was.
#[test]
fn a_segment_whose_first_header_is_gone_is_refused_as_far_as_that_goes() {
    let mut rig = written();
    rig.disk.rot(&log(2), 16, 0x08);
    assert_eq!(fetch(&mut rig, 2).0, ErrorCode::CORRUPT_MESSAGE);
    assert_eq!(fetch(&mut rig, 3), (ErrorCode::NONE, vec![3]));
    assert!(rig.said[0].contains("unknown message format"), "{}", rig.said[0]);
    let names = rig.disk.list(Path::new("/data/old-0")).expect("a directory");
    assert!(names.contains(&"00000000000000000002.log".to_owned()), "nothing was removed");
}
