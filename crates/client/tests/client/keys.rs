//! One key of a topic: its newest record, and all of its records, whoever the broker is and whether
//! it has filters or not.

use std::time::Duration;

use client::admin::NewTopic;
use client::{Admin, Client, Consumer, Error, Producer, Record, TopicPartition};
use wire::{Bytes, ErrorCode};

use crate::{Node, run};

const KEYS: usize = 50;

fn key(number: usize) -> String {
    format!("key {number}")
}

async fn compacted(node: &Node, name: &str, partitions: i32) {
    let admin = Admin::new(node.client(&[]).await);
    let configs = [("cleanup.policy", "compact"), ("segment.bytes", "1048576")];
    let configs = configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let topic = NewTopic { configs, ..NewTopic::new(name, partitions) };
    admin.create_topics(&[topic], false).await.unwrap()[0].1.as_ref().expect("a topic");
}

async fn produce(client: &Client, records: impl Iterator<Item = Record>) {
    let producer = Producer::new(client.clone());
    let mut deliveries = Vec::new();
    for record in records {
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    producer.flush().await.unwrap();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

#[test]
fn the_newest_record_of_each_key_is_found_in_one_call() {
    run(async {
        let node = Node::start().await;
        for codec in ["none", "zstd"] {
            compacted(&node, codec, 3).await;
            let client = node.client(&[("compression.type", codec)]).await;
            assert_eq!(client.latest(codec, b"key 1").await, Ok(None), "nothing was written");
            let record = |index: usize| {
                let mut record = Record::new(codec, format!("value {index}"));
                record.key = Some(key(index % KEYS).into());
                if index % KEYS == 7 && index > 4_000 {
                    record.value = None;
                }
                record
            };
            produce(&client, (0..5_000).map(record)).await;
            for number in 0..KEYS {
                let found = client.latest(codec, key(number).as_bytes()).await.unwrap();
                let value = found.and_then(|record| record.value);
                let last = 5_000 - KEYS + number;
                let expected = (number != 7).then(|| Bytes::from(format!("value {last}")));
                assert_eq!(value, expected, "key {number}");
            }
            // What deleted a key is told to who wants to know.
            let partition = client.partition_of(codec, b"key 7").await.unwrap();
            let found = client.look_up(&partition, b"key 7").await.unwrap();
            assert!(found.bytes_read > 0);
            let tombstone = found.newest.expect("a record");
            assert_eq!((tombstone.value, tombstone.partition), (None, partition.partition));
            // It is nowhere else, and others are nowhere.
            for other in (0..3).filter(|other| *other != partition.partition) {
                let other = TopicPartition::new(codec, other);
                assert_eq!(client.look_up(&other, b"key 7").await.unwrap().newest, None);
            }
            assert_eq!(client.latest(codec, b"key").await, Ok(None));
            let missing = TopicPartition::new(codec, 3);
            let error = client.look_up(&missing, b"a").await.unwrap_err();
            assert!(matches!(error, Error::Config(_)), "{error}");
        }
        let client = node.client(&[]).await;
        let error = client.latest("nothing", b"a").await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    });
}

#[test]
fn records_before_the_start_do_not_count_and_the_end_is_followed() {
    run(async {
        let node = Node::start().await;
        let admin = node.topic("letters", 1).await;
        let client = node.client(&[]).await;
        let partition = TopicPartition::new("letters", 0);
        let record = |key: &'static str| Record::new("letters", key).key(key);
        produce(&client, ["a", "b", "c"].into_iter().map(record)).await;
        admin.delete_records(&[(partition.clone(), 1)]).await.unwrap()[0].1.clone().unwrap();
        assert_eq!(client.latest("letters", b"a").await, Ok(None));
        assert_eq!(client.latest("letters", b"b").await.unwrap().expect("a record").offset, 1);
        // All of it is deleted: a fetch would wait.
        admin.delete_records(&[(partition, -1)]).await.unwrap()[0].1.clone().unwrap();
        assert_eq!(client.latest("letters", b"c").await, Ok(None));
    });
}

/// A consumer of all partitions that has a use for one key only.
async fn reader(node: &Node, topic: &str, key: &str, partitions: i32) -> Consumer {
    let mut options = node.options(&[("auto.offset.reset", "earliest")]);
    options.consumer.only_key = Some(Bytes::copy_from_slice(key.as_bytes()));
    let consumer = Consumer::new(Client::connect(options).await.unwrap());
    let all: Vec<_> = (0..partitions).map(|index| TopicPartition::new(topic, index)).collect();
    consumer.assign(&all).unwrap();
    consumer
}

#[test]
fn a_consumer_of_one_key_is_handed_its_records_and_moves_past_the_others() {
    run(async {
        let node = Node::start().await;
        compacted(&node, "letters", 2).await;
        let client = node.client(&[]).await;
        let filler = "x".repeat(2_000);
        let record = |index: usize| {
            Record::new("letters", format!("{index} {filler}")).key(key(index % KEYS))
        };
        produce(&client, (0..3_000).map(record)).await;
        let consumer = reader(&node, "letters", "key 3", 2).await;
        let mut seen = Vec::new();
        let ends: Vec<_> = (0..2).map(|index| TopicPartition::new("letters", index)).collect();
        let ends = consumer.end_offsets(&ends).await.unwrap();
        let mut done = false;
        while !done {
            for record in consumer.poll(Duration::from_millis(200)).await.unwrap() {
                assert_eq!(record.key.as_deref(), Some(&b"key 3"[..]));
                let value = record.value.expect("a value");
                let text = String::from_utf8_lossy(&value).into_owned();
                seen.push(text.split(' ').next().unwrap().parse::<usize>().unwrap());
            }
            done = true;
            for (partition, end) in &ends {
                done &= consumer.position(partition).await.unwrap() >= *end;
            }
        }
        // A broker of Apache Kafka may have compacted the older ones away.
        assert!(seen.is_sorted() && seen.last() == Some(&2_953), "{seen:?}");
        assert!(seen.iter().all(|index| index % KEYS == 3));
    });
}

#[test]
fn filters_spare_reading() {
    if std::env::var("OTTLA_PEER").is_ok() {
        return;
    }
    run(async {
        let node = Node::start().await;
        compacted(&node, "letters", 1).await;
        let client = node.client(&[]).await;
        let filler = "x".repeat(2_000);
        // Each key in a stretch of its own, six segments and more in all.
        let record = |index: usize| Record::new("letters", filler.clone()).key(key(index / 100));
        produce(&client, (0..4_000).map(record)).await;
        let partition = TopicPartition::new("letters", 0);
        let all = loop {
            let found = client.look_up(&partition, b"nowhere").await.unwrap();
            assert_eq!(found.newest, None);
            // What is written to is always read.
            if found.bytes_read <= 1 << 20 {
                break found.bytes_read;
            }
        };
        for number in 0..40 {
            let found = client.look_up(&partition, key(number).as_bytes()).await.unwrap();
            let newest = found.newest.expect("a record");
            assert!(newest.offset / 100 == number as i64, "{}", newest.offset);
            // It, a neighbour, and now and then one that was taken for it.
            assert!(found.bytes_read <= all + (4 << 20), "{} bytes", found.bytes_read);
        }
    });
}
