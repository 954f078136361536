//! Records there and back: codecs, order, restarts, places.

use std::collections::BTreeMap;
use std::time::Duration;

use client::admin::{Isolation, OffsetSpec};
use client::{Client, Consumer, ConsumerRecord, Delivery, Producer, Record, TopicPartition};
use wire::ErrorCode;

use crate::{Node, run};

const MANY: usize = 10_000;

/// Enqueues all, and waits for every one of them.
async fn produce(producer: &Producer, records: impl Iterator<Item = Record>) -> Vec<(i32, i64)> {
    let mut deliveries: Vec<Delivery> = Vec::new();
    for record in records {
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    producer.flush().await.unwrap();
    let mut places = Vec::new();
    for delivery in deliveries {
        let at = delivery.await.unwrap();
        places.push((at.partition, at.offset.unwrap()));
    }
    places
}

/// Polls until `count` records came.
pub async fn consume(consumer: &Consumer, count: usize) -> Vec<ConsumerRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(consumer.poll(Duration::from_secs(5)).await.unwrap());
    }
    records
}

pub fn text(record: &ConsumerRecord) -> String {
    String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
}

/// A consumer of every partition of a topic, from the beginning.
async fn reader(client: Client, topic: &str) -> Consumer {
    let partitions = client.partitions_for(topic).await.unwrap();
    let consumer = Consumer::new(client);
    let all: Vec<_> = partitions.iter().map(|one| TopicPartition::new(topic, one.index)).collect();
    consumer.assign(&all).unwrap();
    consumer
}

const EARLIEST: (&str, &str) = ("auto.offset.reset", "earliest");

#[test]
fn records_of_every_codec_come_back_whole_and_in_order() {
    run(async {
        let node = Node::start().await;
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            node.topic(codec, 3).await;
            let client = node.client(&[("compression.type", codec), EARLIEST]).await;
            let producer = Producer::new(client.clone());
            let record = |index: usize| {
                let mut record = Record::new(codec, format!("value {index}"));
                record.key = Some(format!("key {}", index % 7).into());
                record.headers =
                    vec![("n".into(), Some(index.to_string().into())), ("x".into(), None)];
                record.timestamp = Some(1_000 + index as i64);
                record
            };
            let places = produce(&producer, (0..MANY).map(record)).await;
            producer.close().await.unwrap();
            let consumer = reader(client, codec).await;
            let records = consume(&consumer, MANY).await;
            assert_eq!(records.len(), MANY);
            let mut next: BTreeMap<i32, i64> = BTreeMap::new();
            let mut seen = vec![false; MANY];
            for read in &records {
                let offset = next.entry(read.partition).or_default();
                assert_eq!(read.offset, *offset, "{codec}");
                *offset += 1;
                let index: usize = text(read).strip_prefix("value ").unwrap().parse().unwrap();
                assert_eq!(places[index], (read.partition, read.offset));
                assert_eq!(read.timestamp, 1_000 + index as i64);
                assert_eq!(read.headers[0].1.as_deref(), Some(index.to_string().as_bytes()));
                assert_eq!(read.headers[1], ("x".to_owned(), None));
                assert!(!std::mem::replace(&mut seen[index], true));
            }
            consumer.close().await.unwrap();
        }
        node.stop().await;
    });
}

#[test]
fn nothing_is_lost_repeated_or_reordered_when_the_broker_restarts() {
    run(async {
        let node = Node::start().await;
        node.topic("letters", 2).await;
        let properties = [("linger.ms", "0"), ("retry.backoff.ms", "20"), EARLIEST];
        let client = node.client(&properties).await;
        let producer = Producer::new(client.clone());
        let writing = tokio::spawn({
            let producer = producer.clone();
            async move {
                let mut deliveries = Vec::new();
                for index in 0..3_000 {
                    let mut record = Record::new("letters", index.to_string());
                    record.partition = Some(index % 2);
                    deliveries.push(producer.enqueue(record).await.unwrap());
                    if index % 10 == 0 {
                        tokio::task::yield_now().await;
                    }
                    if index % 1_000 == 0 {
                        producer.flush().await.unwrap();
                    }
                }
                for delivery in deliveries {
                    delivery.await.unwrap();
                }
            }
        });
        let node = node.restart().await;
        let node = node.restart().await;
        writing.await.unwrap();
        let consumer = reader(client, "letters").await;
        let records = consume(&consumer, 3_000).await;
        for partition in 0..2 {
            let of = records.iter().filter(|record| record.partition == partition);
            let seen: Vec<i32> = of.map(|record| text(record).parse().unwrap()).collect();
            let expected: Vec<i32> = (0..3_000).filter(|index| index % 2 == partition).collect();
            assert_eq!(seen, expected);
        }
        // And nothing more: the ends are where the records end.
        let ends: Vec<_> = (0..2).map(|index| TopicPartition::new("letters", index)).collect();
        for (_, end) in consumer.end_offsets(&ends).await.unwrap() {
            assert_eq!(end, 1_500);
        }
        node.stop().await;
    });
}

#[test]
fn consumer_goes_on_over_a_restart() {
    run(async {
        let node = Node::start().await;
        node.topic("letters", 1).await;
        let client = node.client(&[EARLIEST]).await;
        let producer = Producer::new(client.clone());
        let consumer = reader(client, "letters").await;
        producer.send(Record::new("letters", "before")).await.unwrap();
        assert_eq!(text(&consume(&consumer, 1).await[0]), "before");
        let node = node.restart().await;
        let at = producer.send(Record::new("letters", "after")).await.unwrap();
        assert_eq!(at.offset, Some(1));
        assert_eq!(text(&consume(&consumer, 1).await[0]), "after");
        node.stop().await;
    });
}

#[test]
fn consumer_is_where_it_was_told_to_be() {
    run(async {
        let node = Node::start().await;
        let admin = node.topic("letters", 1).await;
        let client = node.client(&[EARLIEST, ("max.poll.records", "3")]).await;
        let producer = Producer::new(client.clone());
        let record = |index: i64| {
            let mut record = Record::new("letters", index.to_string());
            record.timestamp = Some(100 * index);
            record
        };
        produce(&producer, (0..10).map(record)).await;
        let consumer = reader(client, "letters").await;
        let partition = TopicPartition::new("letters", 0);
        let all = std::slice::from_ref(&partition);
        assert_eq!(consumer.position(&partition).await, Ok(0));
        let polled = consumer.poll(Duration::from_secs(5)).await.unwrap();
        assert_eq!(polled.len(), 3);
        assert_eq!(consumer.position(&partition).await, Ok(3));
        consumer.seek(&partition, 8).unwrap();
        assert_eq!(text(&consume(&consumer, 1).await[0]), "8");
        consumer.seek_to_beginning(&[]).unwrap();
        assert_eq!(text(&consume(&consumer, 1).await[0]), "0");
        let found = consumer.offsets_for_times(&[(partition.clone(), 450)]).await.unwrap();
        assert_eq!(found[0].1.map(|at| (at.offset, at.timestamp)), Some((5, 500)));
        let none = consumer.offsets_for_times(&[(partition.clone(), 5_000)]).await.unwrap();
        assert_eq!(none[0].1, None);
        assert_eq!(consumer.beginning_offsets(all).await.unwrap()[0].1, 0);
        consumer.seek_to_end(all).unwrap();
        assert_eq!(consumer.position(&partition).await, Ok(10));
        // Records before 4 are deleted: out of range, and so from the earliest on.
        admin.delete_records(&[(partition.clone(), 4)]).await.unwrap()[0].1.as_ref().unwrap();
        consumer.seek(&partition, 1).unwrap();
        assert_eq!(text(&consume(&consumer, 1).await[0]), "4");
        consumer.pause(all).unwrap();
        consumer.seek(&partition, 6).unwrap();
        assert!(consumer.poll(Duration::from_millis(50)).await.unwrap().is_empty());
        consumer.resume(all).unwrap();
        assert_eq!(text(&consume(&consumer, 1).await[0]), "6");
        let newest = [(partition, OffsetSpec::MaxTimestamp)];
        let found = admin.list_offsets(&newest, Isolation::ReadUncommitted).await.unwrap();
        assert_eq!(found[0].1.as_ref().map(|at| (at.offset, at.timestamp)), Ok((9, 900)));
        node.stop().await;
    });
}

#[test]
fn isolation_without_transactions_and_refusals_by_the_broker() {
    run(async {
        let node = Node::start().await;
        node.topic("letters", 1).await;
        let properties = [EARLIEST, ("isolation.level", "read_committed"), ("acks", "1")];
        let client = node.client(&properties).await;
        let producer = Producer::new(client.clone());
        producer.send(Record::new("letters", "plain")).await.unwrap();
        let consumer = reader(client.clone(), "letters").await;
        assert_eq!(text(&consume(&consumer, 1).await[0]), "plain");
        let big = Record::new("letters", vec![0; 2 << 20]);
        let error = producer.send(big).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::MESSAGE_TOO_LARGE), "{error}");
        let bad = producer.send(Record::new("bad name", "x")).await.unwrap_err();
        assert_eq!(bad.code(), Some(ErrorCode::INVALID_TOPIC_EXCEPTION), "{bad}");
        let mut nowhere = Record::new("letters", "x");
        nowhere.partition = Some(5);
        let error = producer.send(nowhere).await.unwrap_err().to_string();
        assert!(error.contains("5 is not in the range [0...1)"), "{error}");
        producer.clone().close().await.unwrap();
        assert!(producer.send(Record::new("letters", "late")).await.is_err());
        // Nobody waits for an answer with acks=0, but the record is there.
        let quiet = Producer::new(node.client(&[("acks", "0")]).await);
        let at = quiet.send(Record::new("letters", "quiet")).await.unwrap();
        assert_eq!(at.offset, None);
        assert_eq!(text(&consume(&consumer, 1).await[0]), "quiet");
        node.stop().await;
    });
}

#[test]
fn senders_wait_for_room() {
    run(async {
        let node = Node::start().await;
        node.topic("letters", 1).await;
        let small = [
            ("buffer.memory", "20000"),
            ("batch.size", "4000"),
            ("linger.ms", "60000"),
            ("delivery.timeout.ms", "120000"),
            EARLIEST,
        ];
        let client = node.client(&small).await;
        let producer = Producer::new(client.clone());
        // Twenty times what there is room for; nothing lingers while somebody waits.
        let records = (0..400).map(|_| Record::new("letters", vec![b'x'; 1000]));
        let places = produce(&producer, records).await;
        assert_eq!(places.last(), Some(&(0, 399)));
        node.stop().await;
    });
}

#[test]
fn records_without_acknowledgement_are_written_before_the_producer_is_closed() {
    run(async {
        let node = Node::start().await;
        node.topic("t", 1).await;
        let client = node.client(&[("acks", "0"), ("linger.ms", "0")]).await;
        let producer = Producer::new(client.clone());
        for _ in 0..MANY {
            producer.enqueue(Record::new("t", "x".repeat(1_000))).await.unwrap();
        }
        producer.close().await.unwrap();
        let consumer = Consumer::new(client);
        let partition = TopicPartition::new("t", 0);
        // The broker is told of the last ones; when it has written them it doesn't say.
        while consumer.end_offsets(std::slice::from_ref(&partition)).await.unwrap()[0].1
            < MANY as i64
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn batches_that_are_too_large_for_the_broker_are_split() {
    run(async {
        let node = Node::start().await;
        node.topic("t", 1).await;
        let with = [("batch.size", "4000000"), ("linger.ms", "1000")];
        let producer = Producer::new(node.client(&with).await);
        let places = produce(&producer, (0..2_000).map(|_| Record::new("t", "x".repeat(1_000))));
        let expected: Vec<_> = (0..2_000).map(|offset| (0, offset)).collect();
        assert_eq!(places.await, expected);
        producer.close().await.unwrap();
    });
}
