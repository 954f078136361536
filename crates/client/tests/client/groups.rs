//! Consumers that share a topic.

use std::collections::BTreeSet;
use std::time::Duration;

use client::{Admin, Consumer, Producer, Record, Start, TopicPartition};

use crate::data::{consume, text};
use crate::{Node, run};

const ASSIGNORS: [&str; 4] = ["range", "roundrobin", "sticky", "cooperative-sticky"];

async fn member(node: &Node, more: &[(&str, &str)]) -> Consumer {
    let mut properties = vec![
        ("group.id", "readers"),
        ("auto.offset.reset", "earliest"),
        ("heartbeat.interval.ms", "50"),
        ("retry.backoff.ms", "20"),
        ("enable.auto.commit", "false"),
    ];
    properties.extend(more);
    let consumer = Consumer::new(node.client(&properties).await);
    consumer.subscribe(&["letters"]).unwrap();
    consumer
}

/// Polls both until they share all partitions evenly.
async fn until_shared(members: &[&Consumer], partitions: usize) -> Vec<String> {
    let mut values = Vec::new();
    loop {
        for member in members {
            let records = member.poll(Duration::from_millis(20)).await.unwrap();
            values.extend(records.iter().map(text));
        }
        let assigned: Vec<_> = members.iter().map(|member| member.assignment()).collect();
        let distinct: BTreeSet<_> = assigned.iter().flatten().collect();
        let even = assigned.iter().all(|one| one.len() == partitions / members.len());
        if even && distinct.len() == partitions {
            return values;
        }
    }
}

#[test]
fn two_consumers_share_a_topic_and_the_one_that_stays_takes_over() {
    run(async {
        let node = Node::start().await;
        let admin = node.topic("letters", 4).await;
        let producer = Producer::new(node.client(&[]).await);
        for (round, assignor) in ASSIGNORS.into_iter().enumerate() {
            let group = format!("readers-{assignor}");
            let with = [("partition.assignment.strategy", assignor), ("group.id", group.as_str())];
            let first = member(&node, &with).await;
            until_shared(&[&first], 4).await;
            let second = member(&node, &with).await;
            until_shared(&[&first, &second], 4).await;
            let described = admin.describe_groups(std::slice::from_ref(&group)).await.unwrap();
            let described = described[0].1.as_ref().unwrap();
            assert_eq!(
                (described.state.as_str(), described.assignor.as_str()),
                ("Stable", assignor)
            );
            let shares: Vec<_> =
                described.members.iter().map(|member| member.assignment.len()).collect();
            assert_eq!(shares, [2, 2]);
            let stays = first.assignment();
            second.close().await.unwrap();
            until_shared(&[&first], 4).await;
            if assignor.ends_with("sticky") {
                assert!(stays.iter().all(|one| first.assignment().contains(one)));
            }
            let mut expected = BTreeSet::new();
            for partition in 0..4 {
                let mut record = Record::new("letters", format!("{round} {partition}"));
                record.partition = Some(partition);
                producer.send(record).await.unwrap();
                expected.insert(format!("{round} {partition}"));
            }
            while !expected.is_empty() {
                for record in consume(&first, 1).await {
                    expected.remove(&text(&record));
                }
            }
            first.close().await.unwrap();
        }
        node.stop().await;
    });
}

#[test]
fn committed_offsets_are_where_the_next_member_goes_on() {
    run(async {
        let node = Node::start().await;
        let admin = node.topic("letters", 1).await;
        let producer = Producer::new(node.client(&[]).await);
        for index in 0..6 {
            producer.send(Record::new("letters", index.to_string())).await.unwrap();
        }
        let partition = TopicPartition::new("letters", 0);
        let first = member(&node, &[("max.poll.records", "2")]).await;
        assert_eq!(consume(&first, 2).await.len(), 2);
        first.commit_sync().await.unwrap();
        let committed = first.committed(std::slice::from_ref(&partition)).await.unwrap();
        assert_eq!(committed[0].1.as_ref().map(|at| at.offset), Some(2));
        // Read, but not committed: the next member reads it again.
        assert_eq!(consume(&first, 2).await.len(), 2);
        first.close().await.unwrap();
        let auto = [("enable.auto.commit", "true"), ("auto.commit.interval.ms", "1")];
        let second = member(&node, &auto).await;
        assert_eq!(text(&consume(&second, 4).await[0]), "2");
        second.close().await.unwrap();
        let offsets = admin.list_consumer_group_offsets("readers", None, true).await.unwrap();
        assert_eq!(offsets[0].1.as_ref().unwrap().as_ref().unwrap().offset, 6);
        // Asynchronously, and by hand.
        let third = member(&node, &[]).await;
        until_shared(&[&third], 1).await;
        third.commit_offsets(&[(partition.clone(), 1)]).await.unwrap();
        third.seek(&partition, 3).unwrap();
        consume(&third, 1).await;
        let (done, committed) = tokio::sync::oneshot::channel();
        third.commit_async(|result| drop(done.send(result)));
        committed.await.unwrap().unwrap();
        let committed = third.committed(&[partition]).await.unwrap();
        assert_eq!(committed[0].1.as_ref().map(|at| at.offset), Some(6));
        third.close().await.unwrap();
        node.stop().await;
    });
}

#[test]
fn static_member_comes_back_to_what_it_had() {
    run(async {
        let node = Node::start().await;
        let admin = node.topic("letters", 2).await;
        let named = [("group.instance.id", "one")];
        let first = member(&node, &named).await;
        until_shared(&[&first], 2).await;
        let before = first.group_identity().unwrap();
        first.close().await.unwrap();
        let groups = ["readers".to_owned()];
        let described = admin.describe_groups(&groups).await.unwrap();
        let members = &described[0].1.as_ref().unwrap().members;
        assert_eq!(members[0].instance_id.as_deref(), Some("one"));
        let again = member(&node, &named).await;
        until_shared(&[&again], 2).await;
        let after = again.group_identity().unwrap();
        assert_ne!(before.member_id, after.member_id);
        assert_eq!(before.generation, after.generation, "no rebalance");
        again.close().await.unwrap();
        node.stop().await;
    });
}

#[test]
fn group_goes_on_over_a_restart_and_new_partitions_are_found() {
    run(async {
        let node = Node::start().await;
        node.topic("letters", 2).await;
        let consumer = member(&node, &[("metadata.max.age.ms", "50")]).await;
        until_shared(&[&consumer], 2).await;
        let node = node.restart().await;
        let producer = Producer::new(node.client(&[]).await);
        producer.send(Record::new("letters", "after")).await.unwrap();
        assert_eq!(text(&consume(&consumer, 1).await[0]), "after");
        consumer.commit_sync().await.unwrap();
        let admin = Admin::new(node.client(&[]).await);
        let grown = admin.create_partitions(&[("letters".into(), 4, None)], false).await.unwrap();
        grown[0].1.as_ref().unwrap();
        until_shared(&[&consumer], 4).await;
        consumer.unsubscribe();
        assert!(consumer.assignment().is_empty());
        consumer.close().await.unwrap();
        node.stop().await;
    });
}

#[test]
fn misuse_is_told() {
    run(async {
        let node = Node::start().await;
        node.topic("letters", 1).await;
        let alone = Consumer::new(node.client(&[]).await);
        let error = alone.subscribe(&["letters"]).unwrap_err().to_string();
        assert!(error.contains("valid group.id"), "{error}");
        let member = member(&node, &[("auto.offset.reset", "none")]).await;
        let error = member.assign(&[TopicPartition::new("letters", 0)]).unwrap_err().to_string();
        assert!(error.contains("mutually exclusive"), "{error}");
        let error = loop {
            match member.poll(Duration::from_millis(50)).await {
                Ok(records) => assert!(records.is_empty()),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("no reset policy for partition letters-0"), "{error}");
        node.stop().await;
    });
}

#[test]
fn commits_and_heartbeats_are_not_held_up_by_a_join_that_is() {
    run(async {
        let node = Node::start().await;
        node.topic("letters", 4).await;
        let with = [("partition.assignment.strategy", "cooperative-sticky")];
        let (first, second) = (member(&node, &with).await, member(&node, &with).await);
        until_shared(&[&first, &second], 4).await;
        let third = member(&node, &with).await;
        // The second does not poll, and so the joins of the others are held back.
        for _ in 0..10 {
            let (ours, theirs) = tokio::join!(
                first.poll(Duration::from_millis(100)),
                third.poll(Duration::from_millis(100))
            );
            assert!(ours.unwrap().is_empty() && theirs.unwrap().is_empty());
        }
        let part = first.assignment()[0].clone();
        let offsets = [(part, 1)];
        let commit = first.commit_offsets(&offsets);
        let commit = tokio::time::timeout(Duration::from_secs(15), commit);
        assert_eq!(commit.await.expect("held up"), Ok(()));
    });
}

#[test]
fn eager_member_makes_way_for_a_cooperative_one() {
    run(async {
        let node = Node::start().await;
        node.topic("letters", 4).await;
        let both = [("partition.assignment.strategy", "range,cooperative-sticky")];
        let first = member(&node, &both).await;
        until_shared(&[&first], 4).await;
        let one = [("partition.assignment.strategy", "cooperative-sticky")];
        let second = member(&node, &one).await;
        until_shared(&[&first, &second], 4).await;
    });
}

#[test]
fn topic_that_comes_late_is_assigned() {
    run(async {
        let node = Node::start().await;
        let admin = node.topic("letters", 1).await;
        let with = [("metadata.max.age.ms", "200"), ("allow.auto.create.topics", "false")];
        let reader = member(&node, &with).await;
        reader.subscribe(&["letters", "late"]).unwrap();
        until_shared(&[&reader], 1).await;
        let made = admin.create_topics(&[client::admin::NewTopic::new("late", 2)], false).await;
        made.unwrap()[0].1.as_ref().expect("a topic");
        until_shared(&[&reader], 3).await;
    });
}

#[test]
fn topics_that_match_are_read_as_they_come_and_go() {
    run(async {
        let node = Node::start().await;
        let admin = node.topic("letters", 1).await;
        let with = [("metadata.max.age.ms", "200"), ("allow.auto.create.topics", "false")];
        let reader = member(&node, &with).await;
        // Everything else matches, but for what the cluster keeps for itself.
        reader.subscribe_matching(|name| name != "other").unwrap();
        until_shared(&[&reader], 1).await;
        let more =
            [client::admin::NewTopic::new("late", 2), client::admin::NewTopic::new("other", 4)];
        let made = admin.create_topics(&more, false).await.unwrap();
        assert!(made.iter().all(|(_, made)| made.is_ok()));
        until_shared(&[&reader], 3).await;
        assert_eq!(reader.subscription(), ["late", "letters"]);
        let gone = client::admin::TopicRef::Name("late".into());
        admin.delete_topics(&[gone]).await.unwrap()[0].1.as_ref().unwrap();
        until_shared(&[&reader], 1).await;
        reader.close().await.unwrap();

        let all = member(&node, &[("exclude.internal.topics", "false"), ("group.id", "all")]).await;
        all.subscribe_matching(|name| name.starts_with("__consumer")).unwrap();
        while all.assignment().is_empty() {
            all.poll(Duration::from_millis(20)).await.unwrap();
        }
        assert_eq!(all.subscription(), ["__consumer_offsets"]);
        all.close().await.unwrap();
        node.stop().await;
    });
}

#[test]
fn topic_that_can_never_be_is_told() {
    run(async {
        let node = Node::start().await;
        node.topic("letters", 1).await;
        let reader = member(&node, &[]).await;
        assert!(reader.subscribe(&["letters", " "]).is_err());
        reader.subscribe(&["letters", "a b"]).unwrap();
        let error = loop {
            match reader.poll(Duration::from_millis(20)).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), Some(wire::ErrorCode::INVALID_TOPIC_EXCEPTION), "{error}");
        assert!(error.to_string().starts_with("a b: "), "{error}");
        node.stop().await;
    });
}

#[test]
fn assigned_by_hand_from_a_place_asks_for_no_other() {
    run(async {
        let node = Node::start().await;
        node.topic("letters", 1).await;
        let producer = Producer::new(node.client(&[]).await);
        for index in 0..3 {
            producer.send(Record::new("letters", index.to_string())).await.unwrap();
        }
        let partition = TopicPartition::new("letters", 0);
        for (start, expected) in [(Start::At(1), "1"), (Start::Beginning, "0"), (Start::End, "3")] {
            let reader = Consumer::new(node.client(&[("auto.offset.reset", "none")]).await);
            reader.assign_from(&[(partition.clone(), start)]).unwrap();
            assert_eq!(reader.position(&partition).await.unwrap().to_string(), expected);
            if start != Start::End {
                assert_eq!(text(&consume(&reader, 1).await[0]), expected);
            }
            let negative = reader.assign_from(&[(partition.clone(), Start::At(-1))]);
            assert!(negative.is_err());
        }
        node.stop().await;
    });
}
