//! A blocking connection: administration by whole messages, load by encoded bytes.
//!
//! Owns its socket. The versions it speaks are fixed; both brokers have them.

use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use messages::delete_topics_request::DeleteTopicState;
use messages::header::{request_header_version, response_header_version};
use messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use messages::metadata_request::MetadataRequestTopic;
use messages::{
    ApiKey, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    ListOffsetsRequest, ListOffsetsResponse, Message, MetadataRequest, MetadataResponse,
    RequestHeader, ResponseHeader,
};
use wire::{Bytes, ErrorCode, Reader, Writer};

use super::PATIENCE;

/// A connection to one broker.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    correlation: i32,
}

/// A topic that a run needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it gets if it is created.
    pub partitions: i32,
    /// Its own configuration if it is created.
    pub config: Vec<(String, String)>,
}

/// From where a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its first record.
    Start,
    /// After its last.
    End,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody accepts.
    pub fn open(address: &str) -> Result<Self, String> {
        let wrong = |error: io::Error| format!("{address}: {error}");
        let at = address.to_socket_addrs().map_err(wrong)?.next();
        let at = at.ok_or_else(|| format!("{address} is no address"))?;
        let stream = TcpStream::connect_timeout(&at, PATIENCE).map_err(wrong)?;
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(wrong)?;
        Ok(Self { stream, correlation: 0 })
    }

    /// The socket, for whoever sends encoded requests.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// A request and its answer.
    ///
    /// # Errors
    /// If the broker goes away or answers what can't be read.
    pub fn ask<Q: Message, A: Message>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Q,
    ) -> Result<A, String> {
        self.correlation += 1;
        let frame = encode(api, version, self.correlation, request)?;
        let bytes = write_all(&mut self.stream, &frame, &[]).and_then(|()| {
            let mut size = [0; 4];
            self.stream.read_exact(&mut size)?;
            let mut answer = vec![0; u32::from_be_bytes(size) as usize];
            self.stream.read_exact(&mut answer)?;
            Ok(Bytes::from(answer))
        });
        let bytes = bytes.map_err(|error| format!("{}: {}", Q::NAME, reason(&error)))?;
        let mut reader = Reader::new(bytes);
        let header = response_header_version(api, version);
        let decoded = ResponseHeader::decode(&mut reader, header).and_then(|header| {
            let answer = A::decode(&mut reader, version)?;
            reader.finish()?;
            Ok((header.correlation_id, answer))
        });
        match decoded {
            Ok((correlation, answer)) if correlation == self.correlation => Ok(answer),
            Ok((correlation, _)) => {
                Err(format!("{}: answer {correlation}, not {}", Q::NAME, self.correlation))
            }
            Err(error) => Err(format!("{}: {error}", Q::NAME)),
        }
    }

    /// Creates the topic unless it is there, waits until all partitions are led, and returns how
    /// many it has.
    ///
    /// # Errors
    /// If the broker refuses, or leaders don't appear in time.
    pub fn ensure(&mut self, topic: &Topic) -> Result<i32, String> {
        if self.led(&topic.name)?.is_none() {
            self.create(topic)?;
        }
        self.wait_led(&topic.name)
    }

    /// Waits until all partitions of a topic are led and answer, and returns how many it has.
    ///
    /// # Errors
    /// If that takes too long, or the broker goes away.
    pub fn wait_led(&mut self, name: &str) -> Result<i32, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let asked = Instant::now();
            if let Some(Some(count)) = self.led(name)?
                && self.offsets(name, count, Place::End).is_ok()
            {
                return Ok(count);
            }
            if Instant::now() > until {
                return Err(format!("topic {name}: not all partitions are led"));
            }
            // Whoever asks about thousands all the time is a load.
            thread::park_timeout(POLL.max(asked.elapsed() * 4));
        }
    }

    /// Creates a topic with one replica.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn create(&mut self, topic: &Topic) -> Result<(), String> {
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: name.clone(),
            value: Some(value.clone()),
            ..CreatableTopicConfig::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.clone(),
                num_partitions: topic.partitions,
                replication_factor: 1,
                configs: topic.config.iter().map(config).collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: PATIENCE.as_millis() as i32,
            ..CreateTopicsRequest::default()
        };
        let answer: CreateTopicsResponse = self.ask(ApiKey::CreateTopics, 7, &request)?;
        let of = |topic: &messages::create_topics_response::CreatableTopicResult| topic.error_code;
        accepted(answer.topics.iter().map(of), &format!("creating topic {}", topic.name))
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn delete(&mut self, name: &str) -> Result<(), String> {
        let topic = DeleteTopicState { name: Some(name.to_owned()), ..DeleteTopicState::default() };
        let request = DeleteTopicsRequest {
            topics: vec![topic],
            timeout_ms: PATIENCE.as_millis() as i32,
            ..DeleteTopicsRequest::default()
        };
        let answer: DeleteTopicsResponse = self.ask(ApiKey::DeleteTopics, 6, &request)?;
        let codes = answer.responses.iter().map(|topic| topic.error_code);
        accepted(codes, &format!("deleting topic {name}"))
    }

    /// `None` if there is no such topic, `Some(None)` while partitions are without a leader,
    /// otherwise how many there are.
    fn led(&mut self, name: &str) -> Result<Option<Option<i32>>, String> {
        let topic =
            MetadataRequestTopic { name: Some(name.to_owned()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let answer: MetadataResponse = self.ask(ApiKey::Metadata, 12, &request)?;
        let topic = answer.topics.first().ok_or("Metadata answers without the topic")?;
        if topic.error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0 {
            return Ok(None);
        }
        let code = [topic.error_code].into_iter();
        if topic.error_code != ErrorCode::LEADER_NOT_AVAILABLE.0 {
            accepted(code, &format!("asking for topic {name}"))?;
        }
        let led = topic.partitions.iter().all(|one| one.error_code == 0 && one.leader_id >= 0);
        let count = topic.partitions.len() as i32;
        Ok(Some((led && count > 0).then_some(count)))
    }

    /// The first or the next offset of each of so many partitions.
    ///
    /// # Errors
    /// If the broker doesn't say.
    pub fn offsets(&mut self, name: &str, count: i32, place: Place) -> Result<Vec<i64>, String> {
        let timestamp = match place {
            Place::Start => -2,
            Place::End => -1,
        };
        let partition = |partition_index| ListOffsetsPartition {
            partition_index,
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let topic = ListOffsetsTopic {
            name: name.to_owned(),
            partitions: (0..count).map(partition).collect(),
            ..ListOffsetsTopic::default()
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![topic],
            ..ListOffsetsRequest::default()
        };
        let answer: ListOffsetsResponse = self.ask(ApiKey::ListOffsets, 7, &request)?;
        let partitions = answer.topics.first().map_or(&[][..], |topic| &topic.partitions);
        let codes = partitions.iter().map(|partition| partition.error_code);
        accepted(codes, &format!("asking for offsets of topic {name}"))?;
        let mut offsets = vec![0; count as usize];
        for partition in partitions {
            if let Some(place) = offsets.get_mut(partition.partition_index as usize) {
                *place = partition.offset;
            }
        }
        Ok(offsets)
    }
}

/// The bytes of a request, size and header included.
///
/// # Errors
/// If the version can't carry what the request says.
pub fn encode<Q: Message>(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    request: &Q,
) -> Result<Vec<u8>, String> {
    let header = RequestHeader {
        request_api_key: Q::KEY,
        request_api_version: version,
        correlation_id,
        client_id: Some("raw".to_owned()),
        ..RequestHeader::default()
    };
    let mut writer = Writer::new();
    writer.i32(0);
    header
        .encode(&mut writer, request_header_version(api, version))
        .and_then(|()| request.encode(&mut writer, version))
        .map_err(|error| format!("{}: {error}", Q::NAME))?;
    let mut bytes = writer.finish().to_bytes().to_vec();
    let size = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    Ok(bytes)
}

/// Sets the correlation id of an encoded request.
pub fn patch_correlation(request: &mut [u8], correlation: i32) {
    // Behind size, key and version.
    request[8..12].copy_from_slice(&correlation.to_be_bytes());
}

/// Writes two pieces one after the other, in as few calls as the kernel allows.
///
/// # Errors
/// Those of the socket.
pub fn write_all(stream: &mut TcpStream, head: &[u8], tail: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < head.len() {
        let pieces = [IoSlice::new(&head[done..]), IoSlice::new(tail)];
        match stream.write_vectored(&pieces) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.write_all(&tail[done - head.len()..])
}

/// Why reading or writing failed, for people.
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("the broker did nothing for {} s", PATIENCE.as_secs())
        }
        io::ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// An error if a code is one.
pub fn accepted(codes: impl IntoIterator<Item = i16>, what: &str) -> Result<(), String> {
    match codes.into_iter().find(|code| *code != 0) {
        None => Ok(()),
        Some(code) => Err(format!("{what}: {}", ErrorCode(code))),
    }
}

const POLL: Duration = Duration::from_millis(5);
