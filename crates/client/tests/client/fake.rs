//! A broker that does what Apache Kafka may do and a node of ours doesn't.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Consumer, ConsumerRecord, Error, Options, Producer, Record, TopicPartition};
use messages::api_versions_response::ApiVersion;
use messages::fetch_response::{FetchableTopicResponse, PartitionData};
use messages::header::response_header_version;
use messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use messages::{
    ApiKey, ApiVersionsResponse, FetchResponse, InitProducerIdResponse, MetadataResponse,
    ProduceResponse, ResponseHeader,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::record::{BatchBuilder, BatchOptions};
use wire::{Bytes, Uuid, Writer};

use crate::run;

/// Broker 1, leader of partition 0 of the topics `a` and `z`.
#[derive(Default)]
struct Fake {
    port: u16,
    /// Topics have no ids, and `a` has records.
    old: bool,
    /// Broker 0, if it names one.
    other: Option<u16>,
    /// It names no topics.
    bare: AtomicBool,
    fetches: AtomicU64,
    produces: AtomicU64,
    rack_seen: AtomicBool,
}

const RACK: &str = "rack-of-the-reader";

impl Fake {
    async fn start(mut self) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let fake = Arc::new(self);
        let served = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        fake
    }

    async fn client(&self, more: &[(&str, &str)]) -> Client {
        let servers = ("bootstrap.servers".to_owned(), format!("127.0.0.1:{}", self.port));
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let all = [servers].into_iter().chain(more).collect();
        Client::connect(Options::from_properties(&all).unwrap()).await.unwrap()
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        while let Ok(size) = stream.read_i32().await {
            let mut request = vec![0; size as usize];
            if stream.read_exact(&mut request).await.is_err() {
                return;
            }
            let Some(answer) = self.answer(&request).await else { return };
            let _ = stream.write_all(&answer).await;
        }
    }

    async fn answer(&self, request: &[u8]) -> Option<Bytes> {
        let key = i16::from_be_bytes([request[0], request[1]]);
        let version = i16::from_be_bytes([request[2], request[3]]);
        let correlation_id = i32::from_be_bytes(request[4..8].try_into().unwrap());
        let known = [
            ApiKey::ApiVersions,
            ApiKey::Metadata,
            ApiKey::Fetch,
            ApiKey::InitProducerId,
            ApiKey::Produce,
        ];
        let api = known.into_iter().find(|api| *api as i16 == key)?;
        let mut writer = Writer::new();
        writer.i32(0);
        let header = ResponseHeader { correlation_id, ..Default::default() };
        header.encode(&mut writer, response_header_version(api, version)).unwrap();
        match api {
            ApiKey::ApiVersions => self.versions().encode(&mut writer, version),
            ApiKey::Metadata => self.metadata().encode(&mut writer, version),
            ApiKey::Fetch => {
                self.fetches.fetch_add(1, Ordering::Relaxed);
                let seen = request.windows(RACK.len()).any(|window| window == RACK.as_bytes());
                self.rack_seen.fetch_or(seen, Ordering::Relaxed);
                self.fetched(version).encode(&mut writer, version)
            }
            ApiKey::Produce => {
                match self.produces.fetch_add(1, Ordering::Relaxed) {
                    // Nothing that could be read.
                    0 => Ok(()),
                    _ => written().encode(&mut writer, version),
                }
            }
            _ => InitProducerIdResponse { producer_id: 7, ..Default::default() }
                .encode(&mut writer, version),
        }
        .unwrap();
        writer.patch_size();
        Some(writer.finish().to_bytes())
    }

    fn versions(&self) -> ApiVersionsResponse {
        let one = |key: ApiKey, min_version, max_version| ApiVersion {
            api_key: key as i16,
            min_version,
            max_version,
            ..Default::default()
        };
        ApiVersionsResponse {
            api_keys: vec![
                one(ApiKey::ApiVersions, 0, 4),
                one(ApiKey::Metadata, 0, if self.old { 9 } else { 12 }),
                one(ApiKey::Fetch, 4, if self.old { 11 } else { 13 }),
                one(ApiKey::InitProducerId, 0, 4),
                one(ApiKey::Produce, 3, 9),
            ],
            ..Default::default()
        }
    }

    fn metadata(&self) -> MetadataResponse {
        let broker = |node_id, port: u16| MetadataResponseBroker {
            node_id,
            host: "127.0.0.1".into(),
            port: port.into(),
            ..Default::default()
        };
        let topic = |name: &str, id| MetadataResponseTopic {
            name: Some(name.into()),
            topic_id: Uuid(if self.old { 0 } else { id }),
            partitions: vec![MetadataResponsePartition { leader_id: 1, ..Default::default() }],
            ..Default::default()
        };
        let bare = self.bare.load(Ordering::Relaxed);
        let other = self.other.map(|port| broker(0, port));
        MetadataResponse {
            brokers: other.into_iter().chain([broker(1, self.port)]).collect(),
            controller_id: 1,
            topics: if bare { vec![] } else { vec![topic("a", 1), topic("z", 2)] },
            ..Default::default()
        }
    }

    /// Of `a` a record, if it is old; of both nothing, at once, if not.
    fn fetched(&self, version: i16) -> FetchResponse {
        let topic = |name: &str, id| {
            let mut batch = BatchBuilder::new(BatchOptions::default());
            batch.push(1, None, Some(name.as_bytes()), &[]);
            let records =
                if self.old && name == "a" { batch.build().unwrap() } else { Bytes::new() };
            let by_name = version < 13;
            FetchableTopicResponse {
                topic: if by_name { name.into() } else { String::new() },
                topic_id: Uuid(if by_name { 0 } else { id }),
                partitions: vec![PartitionData { records: Some(records), ..Default::default() }],
                ..Default::default()
            }
        };
        FetchResponse { responses: vec![topic("a", 1), topic("z", 2)], ..Default::default() }
    }
}

fn written() -> ProduceResponse {
    let partition_responses =
        vec![PartitionProduceResponse { base_offset: 5, ..Default::default() }];
    let topic =
        TopicProduceResponse { name: "a".into(), partition_responses, ..Default::default() };
    ProduceResponse { responses: vec![topic], ..Default::default() }
}

async fn reader(fake: &Fake, topics: &[&str], more: &[(&str, &str)]) -> Consumer {
    let consumer = Consumer::new(fake.client(more).await);
    let all: Vec<_> = topics.iter().map(|topic| TopicPartition::new(*topic, 0)).collect();
    consumer.assign(&all).unwrap();
    all.iter().for_each(|one| consumer.seek(one, 0).unwrap());
    consumer
}

/// The records of a poll. That offsets can't be listed is told if it was asked before the seek.
async fn poll(consumer: &Consumer, patience: Duration) -> Vec<ConsumerRecord> {
    match consumer.poll(patience).await {
        Err(Error::Unsupported(_)) => consumer.poll(patience).await.unwrap(),
        polled => polled.unwrap(),
    }
}

#[test]
fn topics_without_ids_keep_their_records() {
    run(async {
        let fake = Fake { old: true, ..Default::default() }.start().await;
        let consumer = reader(&fake, &["a", "z"], &[]).await;
        let records = poll(&consumer, Duration::from_secs(30)).await;
        assert!(!records.is_empty());
        for record in records {
            assert_eq!((&*record.topic, record.value), ("a", Some(Bytes::from_static(b"a"))));
        }
    });
}

#[test]
fn fetches_name_no_rack_and_hasty_answers_are_not_asked_for_in_a_circle() {
    run(async {
        let fake = Fake::default().start().await;
        let consumer = reader(&fake, &["a"], &[("client.rack", RACK)]).await;
        assert_eq!(poll(&consumer, Duration::from_secs(1)).await.len(), 0);
        let fetches = fake.fetches.load(Ordering::Relaxed);
        assert!((1..=20).contains(&fetches), "{fetches} fetches in a second");
        assert!(!fake.rack_seen.load(Ordering::Relaxed));
    });
}

#[test]
fn broker_that_says_nothing_holds_up_nobody() {
    run(async {
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = mute.local_addr().unwrap().port();
        let fake = Fake { other: Some(port), ..Default::default() }.start().await;
        let client = fake.client(&[("request.timeout.ms", "20000")]).await;
        let began = Instant::now();
        let all = tokio::join!(client.refresh(None, false), client.refresh(None, false));
        assert_eq!(all, (Ok(()), Ok(())));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    });
}

#[test]
fn record_that_waits_for_its_topic_is_told_when_the_producer_closes() {
    run(async {
        let fake = Fake { bare: AtomicBool::new(true), ..Default::default() }.start().await;
        let producer = Producer::new(fake.client(&[("max.block.ms", "100000")]).await);
        let other = producer.clone();
        let sent = tokio::spawn(async move { other.send(Record::new("a", "x")).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        producer.close().await.unwrap();
        fake.bare.store(false, Ordering::Relaxed);
        assert_eq!(sent.await.unwrap().unwrap_err(), Error::Closed("producer"));
    });
}

#[test]
fn record_whose_answer_can_not_be_read_is_sent_again() {
    run(async {
        let fake = Fake::default().start().await;
        let producer = Producer::new(fake.client(&[]).await);
        let sent = producer.send(Record::new("a", "x")).await.unwrap();
        assert_eq!(sent.offset, Some(5));
        assert_eq!(fake.produces.load(Ordering::Relaxed), 2);
    });
}
