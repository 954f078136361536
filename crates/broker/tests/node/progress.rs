//! Retention by consumer progress as clients and the operator see it: what is past its retention
//! stays for the groups that a topic names, until they have committed past it or a bound is hit.

use crate::retention::{
    MINUTE_MS, VALUE_BYTES, bounds, bounds_of, create, pass, produce, produce_to,
};
use crate::rig::Rig;
use broker::Event;
use broker::metrics::Sample;
use messages::create_partitions_request::CreatePartitionsTopic;
use messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use messages::delete_topics_request::DeleteTopicState;
use messages::describe_configs_request::DescribeConfigsResource;
use messages::describe_configs_response::DescribeConfigsResourceResult;
use messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use messages::*;
use wire::{ErrorCode, Uuid};

const HOUR: (&str, &str) = ("retention.ms", "3600000");
const SMALL: (&str, &str) = ("segment.bytes", "1048576");
const GROUPS: &str = "retention.consumer.groups";
const MAX_MS: &str = "retention.consumer.groups.max.ms";
const MAX_BYTES: &str = "retention.consumer.groups.max.bytes";
/// No bound on time.
const UNBOUNDED: (&str, &str) = (MAX_MS, "-1");

/// A node whose topic keeps records for an hour, and longer for these groups.
fn holding(more: &[(&str, &str)]) -> Rig {
    let mut rig = Rig::with_coordinator();
    let mut configs = vec![HOUR, SMALL];
    configs.retain(|(key, _)| more.iter().all(|(other, _)| key != other));
    configs.extend(more);
    create(&mut rig, &configs);
    rig
}

/// Six records, two a segment, all past their retention by the end of it.
fn fill(rig: &mut Rig) {
    for _ in 0..6 {
        produce(rig);
        pass(rig, 1);
    }
    pass(rig, 80);
}

fn committing(group: &str, offset: i64, index: i32, topic_id: Uuid) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: index,
        committed_offset: offset,
        ..Default::default()
    };
    let name = if topic_id.is_zero() { "old" } else { "" };
    let topic = OffsetCommitRequestTopic {
        name: name.into(),
        topic_id,
        partitions: vec![partition],
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn commit(rig: &mut Rig, group: &str, offset: i64) {
    commit_to(rig, group, offset, 0);
}

fn commit_to(rig: &mut Rig, group: &str, offset: i64, index: i32) {
    let request = committing(group, offset, index, Uuid::ZERO);
    let answer: OffsetCommitResponse = rig.ask(8, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

fn alter(rig: &mut Rig, key: &str, value: Option<&str>) -> (i16, String) {
    let config = AlterableConfig {
        name: key.into(),
        config_operation: if value.is_some() { 0 } else { 1 },
        value: value.map(str::to_owned),
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: 2,
        resource_name: "old".into(),
        configs: vec![config],
        ..Default::default()
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer: IncrementalAlterConfigsResponse = rig.ask(1, &request);
    let first = answer.responses.into_iter().next().expect("an answer");
    (first.error_code, first.error_message.unwrap_or_default())
}

fn warnings(rig: &Rig) -> Vec<&str> {
    rig.said.iter().filter_map(|line| line.strip_prefix("WARN ")).collect()
}

/// A metric without labels.
fn metric(rig: &Rig, name: &str) -> u64 {
    let text = Sample::of(&rig.node).text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.and_then(|value| value.parse().ok()).expect("the metric")
}

#[test]
fn records_stay_until_the_group_has_committed_past_their_segment() {
    let mut rig = holding(&[(GROUPS, "billing"), UNBOUNDED]);
    fill(&mut rig);
    // Nobody committed anything yet: a group that was not started holds, too.
    assert_eq!(bounds(&mut rig), (0, 6));
    assert_eq!(
        rig.said,
        ["old: records past their retention are kept for group billing, which has committed \
             nothing there in partition 0 (retention.consumer.groups)"]
    );
    assert!(metric(&rig, "ottla_retention_held_bytes") > 6 * VALUE_BYTES as u64);
    let text = Sample::of(&rig.node).text();
    let lag = "ottla_retention_held_records{topic=\"old\",group=\"billing\"} 6\n";
    assert!(text.contains(lag), "{text}");
    // Into a segment is not past it.
    commit(&mut rig, "billing", 3);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (2, 6));
    let text = Sample::of(&rig.node).text();
    assert!(text.contains("group=\"billing\"} 3\n"), "{text}");
    commit(&mut rig, "billing", 6);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (6, 6));
    assert_eq!(metric(&rig, "ottla_retention_held_bytes"), 0);
    assert_eq!(metric(&rig, "ottla_retention_unread_records_total"), 0);
    assert!(!Sample::of(&rig.node).text().contains("group=\"billing\""));
    assert_eq!(rig.said.len(), 1, "{:?}", rig.said);
}

#[test]
fn what_is_not_past_its_retention_stays_however_far_groups_are() {
    let mut rig = holding(&[(GROUPS, "billing"), UNBOUNDED]);
    produce(&mut rig);
    commit(&mut rig, "billing", 1);
    pass(&mut rig, 50);
    assert_eq!(bounds(&mut rig), (0, 1));
    pass(&mut rig, 20);
    assert_eq!(bounds(&mut rig), (1, 1));
}

#[test]
fn the_slowest_of_several_groups_counts() {
    let mut rig = holding(&[(GROUPS, "billing, audit ,mail"), UNBOUNDED]);
    fill(&mut rig);
    commit(&mut rig, "billing", 6);
    commit(&mut rig, "audit", 4);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (0, 6));
    commit(&mut rig, "mail", 2);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (2, 6));
    let text = Sample::of(&rig.node).text();
    assert!(text.contains("group=\"audit\"} 2\n") && text.contains("group=\"mail\"} 4\n"));
    commit(&mut rig, "mail", 6);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (4, 6));
}

#[test]
fn a_group_that_never_comes_holds_for_twice_the_retention_and_no_longer() {
    let mut rig = holding(&[(GROUPS, "billing,audit")]);
    for _ in 0..3 {
        produce(&mut rig);
        produce(&mut rig);
        pass(&mut rig, 20);
    }
    commit(&mut rig, "audit", 6);
    pass(&mut rig, 50);
    assert_eq!((bounds(&mut rig), warnings(&rig)), ((0, 6), vec![]));
    pass(&mut rig, 20);
    assert_eq!(bounds(&mut rig), (2, 6));
    let told = "old-0: records from offset 0 to 1 were deleted unread: group billing has committed \
                nothing there, and retention.consumer.groups.max.ms (7200000) was reached; the log \
                begins at 2 now. Let the group catch up, raise retention.consumer.groups.max.ms, \
                or take the group out of retention.consumer.groups";
    assert_eq!(warnings(&rig), [told]);
    pass(&mut rig, 40);
    assert_eq!(bounds(&mut rig), (6, 6));
    assert_eq!(warnings(&rig).len(), 1, "said within the hour: {:?}", rig.said);
    assert_eq!(metric(&rig, "ottla_retention_unread_records_total"), 6);
    produce(&mut rig);
    pass(&mut rig, 130);
    assert_eq!(bounds(&mut rig), (7, 7));
    let later = warnings(&rig).split_off(1);
    assert_eq!(later.len(), 2, "{later:?}");
    assert!(later[1].contains("from offset 6 to 6 ") && later[1].contains("audit has committed"));
}

#[test]
fn a_partition_above_its_bound_of_bytes_loses_what_a_group_has_not_read() {
    let (limit, most) = ((5 * VALUE_BYTES).to_string(), (8 * VALUE_BYTES).to_string());
    let forever = ("retention.ms", "-1");
    let mut rig = holding(&[
        (GROUPS, "billing"),
        forever,
        ("retention.bytes", limit.as_str()),
        (MAX_BYTES, most.as_str()),
    ]);
    for _ in 0..8 {
        produce(&mut rig);
    }
    pass(&mut rig, 10);
    assert_eq!((bounds(&mut rig), warnings(&rig)), ((0, 8), vec![]));
    for _ in 8..20 {
        produce(&mut rig);
    }
    commit(&mut rig, "billing", 5);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (12, 20));
    let told = warnings(&rig);
    let words = "old-0: records from offset 5 to 11 were deleted unread: group billing has \
                 committed offset 5, and retention.consumer.groups.max.bytes (3276800) was reached";
    assert!(told.len() == 1 && told[0].starts_with(words), "{told:?}");
    assert_eq!(metric(&rig, "ottla_retention_unread_records_total"), 7);
    commit(&mut rig, "billing", 20);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (14, 20));
}

#[test]
fn a_group_whose_offsets_are_deleted_or_too_old_holds_again() {
    let mut rig = holding(&[(GROUPS, "billing"), UNBOUNDED]);
    for _ in 0..6 {
        produce(&mut rig);
    }
    commit(&mut rig, "billing", 6);
    let delete = DeleteGroupsRequest { groups_names: vec!["billing".into()], ..Default::default() };
    let deleted: DeleteGroupsResponse = rig.ask(2, &delete);
    assert_eq!(deleted.results[0].error_code, 0);
    pass(&mut rig, 90);
    assert_eq!(bounds(&mut rig), (0, 6));
    // Offsets without members are forgotten after seven days.
    assert_eq!(alter(&mut rig, "retention.ms", Some("777600000")).0, 0);
    for _ in 0..2 {
        produce(&mut rig);
    }
    commit(&mut rig, "billing", 8);
    pass(&mut rig, 10 * 24 * 60);
    assert_eq!(bounds(&mut rig), (0, 8));
    commit(&mut rig, "billing", 8);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (8, 8));
}

#[test]
fn each_partition_is_held_for_itself_new_ones_too() {
    let mut rig = holding(&[(GROUPS, "billing"), UNBOUNDED]);
    let topic = CreatePartitionsTopic {
        name: "old".into(),
        count: 3,
        assignments: None,
        ..Default::default()
    };
    let request =
        CreatePartitionsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    let answer: CreatePartitionsResponse = rig.ask(3, &request);
    assert_eq!(answer.results[0].error_code, 0);
    for index in [0, 1, 2, 0, 1, 2] {
        produce_to(&mut rig, index);
    }
    commit_to(&mut rig, "billing", 2, 0);
    commit_to(&mut rig, "billing", 1, 2);
    pass(&mut rig, 80);
    let found: Vec<(i64, i64)> = (0..3).map(|index| bounds_of(&mut rig, index)).collect();
    assert_eq!(found, [(2, 2), (0, 2), (0, 2)]);
    let lag = "ottla_retention_held_records{topic=\"old\",group=\"billing\"} 3\n";
    assert!(Sample::of(&rig.node).text().contains(lag));
}

#[test]
fn what_was_committed_in_another_topic_of_that_name_does_not_count() {
    let mut rig = holding(&[(GROUPS, "billing"), UNBOUNDED]);
    for _ in 0..6 {
        produce(&mut rig);
    }
    let id = rig.node.image.topic("old").expect("the topic").id;
    let answer: OffsetCommitResponse = rig.ask(10, &committing("billing", 6, 0, id));
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    // While its coordinator is loading nobody makes it forget the topic.
    rig.restart();
    let gone = DeleteTopicState { name: Some("old".into()), ..Default::default() };
    let request =
        DeleteTopicsRequest { topics: vec![gone], timeout_ms: 1000, ..Default::default() };
    let answer: DeleteTopicsResponse = rig.ask(6, &request);
    assert_eq!(answer.responses[0].error_code, 0);
    rig.load();
    create(&mut rig, &[HOUR, SMALL, (GROUPS, "billing"), UNBOUNDED]);
    fill(&mut rig);
    assert_eq!(bounds(&mut rig), (0, 6));
    // Nor does what lies behind the end, whatever it was committed for.
    commit(&mut rig, "billing", 7);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (0, 6));
    commit(&mut rig, "billing", 6);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (6, 6));
}

#[test]
fn while_the_coordinator_loads_everything_is_held() {
    let mut rig = holding(&[(GROUPS, "billing"), UNBOUNDED]);
    for _ in 0..6 {
        produce(&mut rig);
    }
    commit(&mut rig, "billing", 6);
    rig.restart();
    pass(&mut rig, 90);
    assert_eq!(bounds(&mut rig), (0, 6));
    assert!(rig.said[0].contains("can't be asked"), "{:?}", rig.said);
    rig.load();
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (6, 6));
    // But not beyond the bounds: nobody knows when it will be loaded.
    assert_eq!(alter(&mut rig, MAX_MS, Some("-2")).0, 0);
    produce(&mut rig);
    commit(&mut rig, "billing", 7);
    rig.restart();
    pass(&mut rig, 130);
    assert_eq!(bounds(&mut rig), (7, 7));
    assert!(warnings(&rig)[0].contains("group billing can't be asked"), "{:?}", rig.said);
}

#[test]
fn a_commit_that_a_power_cut_could_take_back_deletes_nothing() {
    let mut rig = holding(&[(GROUPS, "billing"), UNBOUNDED]);
    fill(&mut rig);
    let index = broker::groups::partition_of(&rig.node, "billing").expect("the topic");
    rig.stuck = rig.node.lane(broker::groups::OFFSETS_TOPIC, index);
    assert!(rig.send(8, &committing("billing", 6, 0, Uuid::ZERO)).is_empty());
    pass(&mut rig, 30);
    assert_eq!(bounds(&mut rig), (0, 6));
    rig.unstick();
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (6, 6));
}

#[test]
fn what_is_held_lives_through_a_restart_and_goes_when_nobody_is_named_any_more() {
    let mut rig = holding(&[(GROUPS, "billing"), UNBOUNDED]);
    fill(&mut rig);
    rig.restart();
    rig.load();
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (0, 6));
    assert_eq!(alter(&mut rig, GROUPS, None).0, 0);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (6, 6));
    assert_eq!(metric(&rig, "ottla_retention_held_bytes"), 0);
}

#[test]
fn delete_records_deletes_what_is_held() {
    let mut rig = holding(&[(GROUPS, "billing"), UNBOUNDED]);
    fill(&mut rig);
    let partition = DeleteRecordsPartition { partition_index: 0, offset: 4, ..Default::default() };
    let topic = DeleteRecordsTopic {
        name: "old".into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = DeleteRecordsRequest { topics: vec![topic], ..Default::default() };
    let answer: DeleteRecordsResponse = rig.ask(2, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (4, 6));
    let log = &rig.node.partition("old", 0).expect("the partition").log;
    assert_eq!(log.segment_bases(), [4]);
}

#[test]
fn a_node_without_offsets_holds_as_for_a_group_that_is_missing() {
    let mut rig = Rig::new();
    create(&mut rig, &[HOUR, SMALL, (GROUPS, "billing")]);
    fill(&mut rig);
    assert_eq!(bounds(&mut rig), (0, 6));
    rig.now.wall_ms += 60 * MINUTE_MS;
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (6, 6));
    assert!(warnings(&rig)[0].contains("group billing has committed nothing there"));
    rig.step(Event::Stopping);
}

fn described(rig: &mut Rig, keys: &[&str]) -> Vec<DescribeConfigsResourceResult> {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: "old".into(),
        configuration_keys: (!keys.is_empty()).then_some(keys),
        ..Default::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_documentation: true,
        ..Default::default()
    };
    let answer: DescribeConfigsResponse = rig.ask(4, &request);
    assert_eq!(answer.results[0].error_code, 0);
    answer.results.into_iter().flat_map(|result| result.configs).collect()
}

#[test]
fn the_keys_are_checked_and_shown_with_what_they_mean() {
    let mut rig = holding(&[]);
    let own = |all: &[DescribeConfigsResourceResult]| -> Vec<(String, String)> {
        let own = all.iter().filter(|config| config.name.starts_with(GROUPS));
        own.map(|one| (one.name.clone(), one.value.clone().unwrap_or_default())).collect()
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    // A topic that doesn't use them looks as it does to Apache Kafka.
    let all = described(&mut rig, &[]);
    assert_eq!((all.len(), own(&all)), (37, vec![]));
    let asked = described(&mut rig, &[MAX_BYTES]);
    assert_eq!(own(&asked), [pair(MAX_BYTES, "-2")]);
    assert!(asked[0].documentation.as_ref().is_some_and(|text| text.contains("twice")));
    assert_eq!(alter(&mut rig, GROUPS, Some(" a ,b, a")).0, 0);
    let all = own(&described(&mut rig, &[]));
    assert_eq!(all, [pair(MAX_MS, "-2"), pair(MAX_BYTES, "-2"), pair(GROUPS, "a,b")]);
    let invalid = ErrorCode::INVALID_CONFIG.0;
    let words = "retention.consumer.groups.max.ms (1000) comes to no more than retention.ms \
                 (3600000): nothing would ever be held; give it a value above, -2 for twice \
                 retention.ms, or -1 for no limit";
    assert_eq!(alter(&mut rig, MAX_MS, Some("1000")), (invalid, words.to_owned()));
    assert_eq!(alter(&mut rig, MAX_BYTES, Some("-3")).0, invalid);
    assert_eq!(alter(&mut rig, MAX_BYTES, Some("many")).0, invalid);
    assert_eq!(alter(&mut rig, GROUPS, Some("a,,b")).0, invalid);
    let shown = own(&described(&mut rig, &[]));
    assert_eq!(shown, all);
}
