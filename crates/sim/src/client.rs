//! Clients of a run: they encode requests and decode answers, as foreign clients do, and tell the
//! checker what they were promised.

use std::collections::VecDeque;

use messages::fetch_request::{FetchPartition, FetchTopic};
use messages::header::{request_header_version, response_header_version};
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::{
    ApiKey, FetchRequest, FetchResponse, InitProducerIdRequest, InitProducerIdResponse, Message,
    ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
};
use wire::batch::{BatchError, BatchHeader, Batches};
use wire::record::{BatchBuilder, BatchOptions, ProducerStamp, RecordIter};
use wire::{Bytes, ErrorCode, Reader, Writer};

use crate::checker::{Checker, Letter};
use crate::random::Random;

/// The topic of every run.
pub const TOPIC: &str = "letters";
/// Its partitions.
pub const PARTITIONS: i32 = 3;
/// No batch is larger when opened.
const OPENED_MAX: usize = 1 << 20;

/// Encodes a request, without its size.
///
/// # Errors
/// A field that the version can't carry is set.
pub fn request<M: Message>(message: &M, version: i16, correlation: i32) -> Result<Bytes, String> {
    let api = ApiKey::from_i16(M::KEY).ok_or("no such API")?;
    let mut writer = Writer::new();
    let header = RequestHeader {
        request_api_key: M::KEY,
        request_api_version: version,
        correlation_id: correlation,
        client_id: Some("sim".into()),
        ..Default::default()
    };
    let failed = |error: wire::EncodeError| error.to_string();
    header.encode(&mut writer, request_header_version(api, version)).map_err(failed)?;
    message.encode(&mut writer, version).map_err(failed)?;
    Ok(writer.finish().to_bytes())
}

/// Decodes an answer, its size included.
///
/// # Errors
/// It is not one.
pub fn response<M: Message>(frame: Bytes, version: i16, correlation: i32) -> Result<M, String> {
    let api = ApiKey::from_i16(M::KEY).ok_or("no such API")?;
    let mut reader = Reader::new(frame);
    let failed = |error: wire::DecodeError| format!("{}: {error}", M::NAME);
    let size = reader.i32().map_err(failed)?;
    if size as usize != reader.remaining() {
        return Err(format!("{}: size {size}, {} bytes follow", M::NAME, reader.remaining()));
    }
    let header = ResponseHeader::decode(&mut reader, response_header_version(api, version))
        .map_err(failed)?;
    if header.correlation_id != correlation {
        return Err(format!(
            "C6: {} answers request {}, expected {correlation}",
            M::NAME,
            header.correlation_id
        ));
    }
    let message = M::decode(&mut reader, version).map_err(failed)?;
    reader.finish().map_err(failed)?;
    Ok(message)
}

#[derive(Clone, Debug)]
struct Sent {
    correlation: i32,
    /// 0 if it is not a produce.
    partition: i32,
    base_sequence: i32,
    letters: Vec<Letter>,
    init: bool,
    /// It was refused before.
    failed: bool,
}

/// A producer with several requests under way.
#[derive(Debug)]
pub struct Producer {
    id: u32,
    once: bool,
    version: i16,
    producer_id: i64,
    next_number: u32,
    next_sequence: [i32; PARTITIONS as usize],
    sent: VecDeque<Sent>,
    /// To be sent again, in this order, before anything new.
    again: VecDeque<Sent>,
    next_correlation: i32,
    /// What the node remembers of producers may have rotted.
    pub may_be_forgotten: bool,
}

impl Producer {
    /// A producer; an idempotent one sends again what it got no answer for.
    pub fn new(id: u32, once: bool, random: &mut Random) -> Self {
        Self {
            id,
            once,
            version: random.pick(&[3, 7, 8, 9, 11, 12]),
            producer_id: -1,
            next_number: 0,
            next_sequence: [0; PARTITIONS as usize],
            sent: VecDeque::new(),
            again: VecDeque::new(),
            next_correlation: 0,
            may_be_forgotten: false,
        }
    }

    /// True if nothing is under way or to be sent again.
    pub fn is_idle(&self) -> bool {
        self.sent.is_empty() && self.again.is_empty()
    }

    /// The request sent last, for the trace.
    pub fn last_sent(&self) -> String {
        let describe = |sent: &Sent| {
            format!(
                "partition {} sequence {} records {} again {}",
                sent.partition,
                sent.base_sequence,
                sent.letters.len(),
                self.again.len()
            )
        };
        self.sent.back().map_or(String::new(), describe)
    }

    /// The connection was lost: what is under way may or may not have been written.
    pub fn disconnected(&mut self) {
        let lost = std::mem::take(&mut self.sent);
        if self.once {
            for sent in lost.into_iter().filter(|sent| !sent.init).rev() {
                self.again.push_front(sent);
            }
        }
    }

    /// What failed is sent again in the order of its sequence, as the clients do it.
    fn send_again(&mut self, sent: Sent) {
        self.again.push_back(Sent { failed: true, ..sent });
        let order = |sent: &Sent| (sent.partition, sent.base_sequence);
        self.again.make_contiguous().sort_by_key(order);
    }

    /// True if something else failed that was sent before, whether it is under way again or not.
    /// What comes after it does not count: of a batch that rotted nothing is known any more, and it
    /// would be sent for ever (seed 5950).
    fn comes_again_before(&self, sent: &Sent) -> bool {
        let before = |other: &Sent| {
            other.partition == sent.partition && other.base_sequence < sent.base_sequence
        };
        self.again.iter().chain(&self.sent).any(before)
    }

    /// The next request to send, if there is one; nothing new if `winding_up`.
    ///
    /// # Errors
    /// A request that can't be encoded.
    pub fn next(&mut self, winding_up: bool, random: &mut Random) -> Result<Option<Bytes>, String> {
        if self.sent.len() >= 5 || self.sent.iter().any(|sent| sent.init) {
            return Ok(None);
        }
        self.next_correlation += 1;
        let correlation = self.next_correlation;
        if self.once && self.producer_id < 0 {
            if winding_up {
                return Ok(None);
            }
            let init = Sent {
                correlation,
                partition: 0,
                base_sequence: 0,
                letters: Vec::new(),
                init: true,
                failed: false,
            };
            self.sent.push_back(init);
            let message = InitProducerIdRequest { transactional_id: None, ..Default::default() };
            return request(&message, 4, correlation).map(Some);
        }
        let sent = match self.again.pop_front() {
            Some(sent) => Sent { correlation, ..sent },
            None if winding_up => return Ok(None),
            None => self.compose(correlation, random),
        };
        let frame = self.encode(&sent)?;
        self.sent.push_back(sent);
        Ok(Some(frame))
    }

    fn compose(&mut self, correlation: i32, random: &mut Random) -> Sent {
        let partition = random.below(PARTITIONS as u64) as i32;
        let count = 1 + random.below(4) as u32;
        let letters: Vec<Letter> = (0..count)
            .map(|index| Letter {
                from: self.id,
                number: self.next_number + index,
                once: self.once,
            })
            .collect();
        self.next_number += count;
        let sequence = &mut self.next_sequence[partition as usize];
        let base_sequence = *sequence;
        *sequence += count as i32;
        Sent { correlation, partition, base_sequence, letters, init: false, failed: false }
    }

    fn encode(&self, sent: &Sent) -> Result<Bytes, String> {
        let producer = self.once.then_some(ProducerStamp {
            id: self.producer_id,
            epoch: 0,
            base_sequence: sent.base_sequence,
        });
        let options = BatchOptions { leader_epoch: -1, producer, ..Default::default() };
        let mut batch = BatchBuilder::new(options);
        for letter in &sent.letters {
            batch.push(
                1_800_000_000_000 + i64::from(letter.number),
                None,
                Some(&letter.to_bytes()),
                &[],
            );
        }
        let records = batch.build().map_err(|error| error.to_string())?;
        let message = ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                name: TOPIC.into(),
                partition_data: vec![PartitionProduceData {
                    index: sent.partition,
                    records: Some(records),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        request(&message, self.version, sent.correlation)
    }

    /// Takes an answer.
    ///
    /// # Errors
    /// A promise broken, or an answer that makes no sense.
    pub fn answered(&mut self, frame: Bytes, checker: &mut Checker) -> Result<(), String> {
        let sent = self.sent.pop_front().ok_or("C6: an answer to nothing")?;
        if sent.init {
            let message: InitProducerIdResponse = response(frame, 4, sent.correlation)?;
            if message.error_code != 0 {
                return Err(format!("no producer id: error {}", message.error_code));
            }
            self.producer_id = message.producer_id;
            return Ok(());
        }
        let message: ProduceResponse = response(frame, self.version, sent.correlation)?;
        let answer = message
            .responses
            .first()
            .and_then(|topic| topic.partition_responses.first())
            .ok_or("produce answered without a partition")?;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {
                for (index, letter) in sent.letters.iter().enumerate() {
                    let offset = answer.base_offset + index as i64;
                    checker.acknowledged(sent.partition, offset, *letter)?;
                }
                Ok(())
            }
            // The disk failed, or was about to: the node will be started again.
            ErrorCode::KAFKA_STORAGE_ERROR | ErrorCode::REQUEST_TIMED_OUT => {
                if self.once {
                    self.send_again(sent);
                }
                Ok(())
            }
            // What was sent before this failed and is sent again, so this comes again after it.
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER if self.comes_again_before(&sent) => {
                self.send_again(sent);
                Ok(())
            }
            // Of a producer that nothing is known of any sequence may be the first: if what was
            // sent after this came to be that, as with Apache Kafka, this is given up.
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER if sent.failed => Ok(()),
            // Not acknowledged, and the application is told.
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER if self.may_be_forgotten => Ok(()),
            code => Err(format!(
                "produce of {sent:?} answered with {}: {}",
                code.name().unwrap_or("an unknown error"),
                answer.error_message.as_deref().unwrap_or_default()
            )),
        }
    }
}

/// A consumer that reads one partition from its start.
#[derive(Debug)]
pub struct Consumer {
    partition: i32,
    /// The next offset it needs.
    pub next_offset: i64,
    version: i16,
    session: (i32, i32),
    with_session: bool,
    under_way: Option<(i32, i64)>,
    next_correlation: i32,
    /// What it asked for last is damaged.
    pub refused: bool,
    /// The records it was given last, as they came.
    pub given: Bytes,
}

impl Consumer {
    /// A consumer, with fetch sessions or without.
    pub fn new(partition: i32, random: &mut Random) -> Self {
        let version = random.pick(&[4, 7, 11, 12]);
        Self {
            partition,
            next_offset: 0,
            version,
            session: (0, 0),
            with_session: version >= 7 && random.chance(60),
            under_way: None,
            next_correlation: 0,
            refused: false,
            given: Bytes::new(),
        }
    }

    /// The partition it reads.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// True if it waits for an answer.
    pub fn is_waiting(&self) -> bool {
        self.under_way.is_some()
    }

    /// The connection was lost, and its session with it.
    pub fn disconnected(&mut self) {
        self.under_way = None;
        self.session = (0, 0);
    }

    /// The next fetch.
    ///
    /// # Errors
    /// A request that can't be encoded.
    pub fn next(&mut self, random: &mut Random) -> Result<Bytes, String> {
        self.next_correlation += 1;
        self.under_way = Some((self.next_correlation, self.next_offset));
        let (session_id, session_epoch) = match (self.version, self.with_session) {
            (..7, _) | (_, false) => (0, -1),
            _ => self.session,
        };
        let message = FetchRequest {
            max_wait_ms: random.below(50) as i32,
            min_bytes: random.pick(&[0, 1, 1, 1, 400]),
            max_bytes: 1 << 20,
            session_id,
            session_epoch,
            topics: vec![FetchTopic {
                topic: TOPIC.into(),
                partitions: vec![FetchPartition {
                    partition: self.partition,
                    fetch_offset: self.next_offset,
                    partition_max_bytes: random.pick(&[1, 300, 1 << 20]),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        request(&message, self.version, self.next_correlation)
    }

    /// Takes an answer; gives what was shown.
    ///
    /// # Errors
    /// A promise broken, or an answer that makes no sense.
    pub fn answered(&mut self, frame: Bytes, checker: &mut Checker) -> Result<Vec<Letter>, String> {
        let (correlation, asked) = self.under_way.take().ok_or("C6: an answer to nothing")?;
        let message: FetchResponse = response(frame, self.version, correlation)?;
        if message.error_code != 0 {
            return Err(format!("fetch answered with error {}", message.error_code));
        }
        if self.with_session {
            self.session =
                (message.session_id, if message.session_id == 0 { 0 } else { self.session.1 + 1 });
        }
        let mut letters = Vec::new();
        let answers = message.responses.iter().flat_map(|topic| &topic.partitions);
        for answer in answers {
            match ErrorCode(answer.error_code) {
                ErrorCode::NONE => {}
                ErrorCode::KAFKA_STORAGE_ERROR => return Ok(letters),
                ErrorCode::CORRUPT_MESSAGE => {
                    self.refused = true;
                    return Ok(letters);
                }
                code => {
                    return Err(format!(
                        "fetch from {asked} answered with {}",
                        code.name().unwrap_or("an unknown error")
                    ));
                }
            }
            checker.high_watermark(self.partition, answer.high_watermark)?;
            let records = answer.records.clone().unwrap_or_default();
            self.given = records.clone();
            self.read(&records, answer.high_watermark, &mut letters, checker)?;
        }
        Ok(letters)
    }

    fn read(
        &mut self,
        records: &Bytes,
        high_watermark: i64,
        letters: &mut Vec<Letter>,
        checker: &mut Checker,
    ) -> Result<(), String> {
        let mut read = 0;
        for batch in Batches::new(records.clone()) {
            let batch = match batch {
                Ok((_, batch)) => batch,
                // The limit of bytes cuts the last batch off, but not the first.
                Err(BatchError::Truncated { .. }) if read > 0 => {
                    let part = records.get(read..).and_then(|part| BatchHeader::parse(part).ok());
                    if part.is_some_and(|header| header.last_offset() >= high_watermark) {
                        return Err("C3: a part of a batch above the high watermark".to_owned());
                    }
                    break;
                }
                Err(error) => return Err(format!("C3: fetched {error}")),
            };
            read += batch.len();
            wire::batch::verify_crc(&batch).map_err(|error| format!("C3: fetched {error}"))?;
            let opened = RecordIter::open(&batch, OPENED_MAX).map_err(|error| error.to_string())?;
            for record in opened {
                let record = record.map_err(|error| error.to_string())?;
                if record.offset < self.next_offset {
                    // A batch comes whole: what is before the offset asked for is skipped.
                    continue;
                }
                if record.offset != self.next_offset || record.offset >= high_watermark {
                    return Err(format!(
                        "C3: partition {}: offset {} where {} is next, high watermark {}",
                        self.partition, record.offset, self.next_offset, high_watermark
                    ));
                }
                let value = record.value.unwrap_or_default();
                let letter = Letter::parse(&value).ok_or("C2: a record nobody wrote")?;
                checker.shown(self.partition, record.offset, letter)?;
                letters.push(letter);
                self.next_offset += 1;
            }
        }
        Ok(())
    }
}
