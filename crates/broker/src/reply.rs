//! Answers on their way to a connection.
//!
//! The node decides what an answer says; whoever sends it encodes it and, for answers that hold
//! data of a log, finds that data. So no file is read inside a step. Records of a Fetch are read
//! only where it has to be seen how far they may be: else the answer is an outline with gaps, which
//! are filled from files while it is sent.

use std::sync::Arc;

use messages::fetch_response::FetchResponse;
use messages::header::response_header_version;
use messages::list_offsets_response::ListOffsetsResponse;
use messages::{Message, ResponseHeader};
use ottla_log::disk::{Disk, FileId};
use ottla_log::{Damage, Extract, Found, ReadError, ReadPlan, TimePlan, TimestampedOffset};
use wire::{Bytes, EncodeError, ErrorCode, Frame, Writer};

use crate::event::Call;
use crate::key_filters::KeyReads;

/// One answer.
#[derive(Debug)]
pub struct Reply {
    /// What is answered.
    pub call: Call,
    /// With what.
    pub body: Body,
}

/// What an answer holds.
pub enum Body {
    /// A finished response.
    Message(Box<dyn Encode>),
    /// A fetch response whose records are still on disk.
    Fetch(Box<FetchReply>),
    /// A list-offsets response with timestamps still to be looked up.
    Offsets(Box<OffsetsReply>),
    /// Nothing is sent: produce with acks=0.
    Nothing,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Message(_) => "Message",
            Self::Fetch(_) => "Fetch",
            Self::Offsets(_) => "Offsets",
            Self::Nothing => "Nothing",
        })
    }
}

/// A response of any type.
pub trait Encode: Send {
    /// Writes the given version.
    ///
    /// # Errors
    /// A field that this version can't carry is set.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

impl<M: Message + Send> Encode for M {
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        Message::encode(self, w, version)
    }
}

/// A fetch response and where its records are.
#[derive(Debug)]
pub struct FetchReply {
    response: FetchResponse,
    /// What to read, in the order of the response: topic, partition, plan.
    plans: Vec<(usize, usize, ReadPlan)>,
    /// Bytes of records there is room for still.
    room: usize,
    /// Records were found.
    any: bool,
    /// What the first plans found, or why it can't be read.
    found: Vec<Result<Found, ErrorCode>>,
    /// Where what keys spare is counted.
    key_reads: Arc<KeyReads>,
}

/// A list-offsets response and what is still to be looked up.
#[derive(Debug)]
pub struct OffsetsReply {
    response: ListOffsetsResponse,
    plans: Vec<OffsetPlan>,
    /// What the first plans found, as `FetchReply::found`.
    found: Vec<Result<Option<TimestampedOffset>, ErrorCode>>,
}

/// One timestamp to be looked up.
#[derive(Debug)]
pub struct OffsetPlan {
    /// Where in the response: topic, partition.
    pub place: (usize, usize),
    /// How.
    pub plan: TimePlan,
    /// The most bytes a batch may have when opened.
    pub opened_max: usize,
}

/// A frame to send, with gaps that are filled from files.
#[derive(Debug)]
pub struct Outline {
    /// The frame, size prefix included.
    pub frame: Frame,
    /// What belongs into its gaps, in order.
    pub extracts: Vec<Extract>,
}

impl Outline {
    /// The frame with its gaps filled.
    ///
    /// # Errors
    /// A file is gone, or can't be read.
    pub fn read(mut self, disk: &dyn Disk) -> Result<Frame, ReadError> {
        let content: Result<Vec<_>, _> =
            self.extracts.iter().map(|extract| extract.read(disk)).collect();
        self.frame.fill(content?);
        Ok(self.frame)
    }
}

/// The disk that was asked doesn't wait, and would have to: ask one that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCached;

impl Reply {
    /// Finds out where the answer's data is, reading indexes and heads of batches; of records only
    /// those in which it has to be seen how far they may be read. To be called before
    /// [`Self::outline`], again if it fails.
    ///
    /// # Errors
    /// See [`NotCached`]; what was found is kept.
    pub fn find(&mut self, disk: &dyn Disk) -> Result<(), NotCached> {
        match &mut self.body {
            Body::Message(_) | Body::Nothing => Ok(()),
            Body::Fetch(fetch) => fetch.find(disk),
            Body::Offsets(offsets) => offsets.find(disk),
        }
    }

    /// Damage that was come across and that nobody was told of yet: to be given to the node.
    pub fn take_damage(&self) -> Vec<Damage> {
        match &self.body {
            Body::Message(_) | Body::Nothing => Vec::new(),
            Body::Fetch(fetch) => {
                fetch.plans.iter().flat_map(|(_, _, plan)| plan.take_damage()).collect()
            }
            Body::Offsets(offsets) => {
                offsets.plans.iter().flat_map(|plan| plan.plan.take_damage()).collect()
            }
        }
    }

    /// How many places are to be looked at.
    pub fn plans(&self) -> usize {
        match &self.body {
            Body::Message(_) | Body::Nothing => 0,
            Body::Fetch(fetch) => fetch.plans.len(),
            Body::Offsets(offsets) => offsets.plans.len(),
        }
    }

    /// The next file that is to be looked at, if any.
    pub fn file(&self) -> Option<FileId> {
        match &self.body {
            Body::Message(_) | Body::Nothing => None,
            Body::Fetch(fetch) => {
                let mut left = fetch.plans.iter().skip(fetch.found.len());
                left.find_map(|(_, _, plan)| plan.file())
            }
            Body::Offsets(offsets) => {
                let mut left = offsets.plans.iter().skip(offsets.found.len());
                left.find_map(|plan| plan.plan.file())
            }
        }
    }

    /// Answers the partitions whose extracts `keep` refuses, in the order in which
    /// [`Outline::extracts`] has the others, with an error.
    pub fn keep(&mut self, mut keep: impl FnMut(&Extract) -> bool) {
        if let Body::Fetch(fetch) = &mut self.body {
            for found in &mut fetch.found {
                if matches!(found, Ok(Found::There(extract)) if !keep(extract)) {
                    *found = Err(ErrorCode::KAFKA_STORAGE_ERROR);
                }
            }
        }
    }

    /// The frame to send; `None` if nothing is sent.
    ///
    /// # Errors
    /// A field that the version can't carry is set: a mistake of ours, after which the connection
    /// is closed.
    pub fn outline(self) -> Result<Option<Outline>, EncodeError> {
        let mut writer = Writer::with_capacity(256);
        writer.i32(0);
        let header =
            ResponseHeader { correlation_id: self.call.correlation_id, ..Default::default() };
        let version = self.call.version;
        header.encode(&mut writer, response_header_version(self.call.api, version))?;
        let mut extracts = Vec::new();
        match self.body {
            Body::Message(message) => message.encode(&mut writer, version)?,
            Body::Fetch(fetch) => {
                fetch.response(&mut writer, &mut extracts).encode(&mut writer, version)?;
            }
            Body::Offsets(offsets) => offsets.response(version).encode(&mut writer, version)?,
            Body::Nothing => return Ok(None),
        }
        writer.patch_size();
        Ok(Some(Outline { frame: writer.finish(), extracts }))
    }
}

impl FetchReply {
    /// A response but for the records, which are where `plans` say: topic, partition, plan, in the
    /// order of the response. At most `max_bytes` of them are sent, unless the first batch alone is
    /// larger.
    pub fn new(
        response: FetchResponse,
        plans: Vec<(usize, usize, ReadPlan)>,
        max_bytes: usize,
        key_reads: &Arc<KeyReads>,
    ) -> Self {
        // With all else a frame has to fit into its size prefix.
        let room = max_bytes.min(RECORDS_MAX);
        let key_reads = key_reads.clone();
        Self { response, plans, room, any: false, found: Vec::new(), key_reads }
    }

    fn find(&mut self, disk: &dyn Disk) -> Result<(), NotCached> {
        while let Some((_, _, plan)) = self.plans.get_mut(self.found.len()) {
            // The first batch is sent whole whatever its size, or a consumer with a small limit
            // could never pass it (KIP-74).
            let first = !self.any;
            let found = if self.room == 0 && !first {
                Ok(Found::Read(Bytes::new()))
            } else {
                if plan.is_of_key() {
                    let skipped = plan.skip(disk).map_err(|_| NotCached)?;
                    self.key_reads.skipped(skipped);
                }
                found(plan.find(disk, self.room, first))?
            };
            let len = found.as_ref().map_or(0, Found::len);
            if plan.is_of_key() {
                self.key_reads.sent(len);
            }
            self.room = self.room.saturating_sub(len);
            self.any |= len > 0;
            self.found.push(found);
        }
        Ok(())
    }

    /// The response; for records in files the writer leaves gaps.
    fn response(self, writer: &mut Writer, extracts: &mut Vec<Extract>) -> FetchResponse {
        let mut response = self.response;
        let mut found = self.plans.iter().zip(self.found).peekable();
        for (topic_at, topic) in response.responses.iter_mut().enumerate() {
            for (at, place) in topic.partitions.iter_mut().enumerate() {
                let here = |(topic, partition, _): &(usize, usize, _)| (*topic, *partition);
                let found = found.next_if(|(plan, _)| here(plan) == (topic_at, at));
                let mut gap = 0;
                let searched_to = found.as_ref().and_then(|((.., plan), _)| plan.searched_to());
                match found.map(|(_, found)| found) {
                    None => {}
                    Some(Ok(Found::Read(bytes))) if bytes.is_empty() => {
                        place.records = Some(bytes);
                        // Whoever looks for a key goes on from there.
                        searched_to.into_iter().for_each(|offset| place.set_searched_to(offset));
                    }
                    Some(Ok(Found::There(extract))) => {
                        gap = extract.len;
                        extracts.push(extract);
                        place.records = Some(Bytes::new());
                    }
                    Some(Ok(Found::Read(bytes))) => place.records = Some(bytes),
                    Some(Err(code)) => place.error_code = code.0,
                }
                // A field that is null does not ask for its gap.
                if place.records.is_some() {
                    writer.leave_gaps([gap]);
                }
            }
        }
        response
    }
}

impl OffsetsReply {
    /// A response but for the timestamps that are still to be looked up.
    pub fn new(response: ListOffsetsResponse, plans: Vec<OffsetPlan>) -> Self {
        Self { response, plans, found: Vec::new() }
    }

    fn find(&mut self, disk: &dyn Disk) -> Result<(), NotCached> {
        while let Some(OffsetPlan { plan, opened_max, .. }) = self.plans.get(self.found.len()) {
            self.found.push(found(plan.execute(disk, *opened_max))?);
        }
        Ok(())
    }

    fn response(self, version: i16) -> ListOffsetsResponse {
        let mut response = self.response;
        for (OffsetPlan { place: (topic, partition), .. }, found) in
            self.plans.iter().zip(self.found)
        {
            let topic = response.topics.get_mut(*topic);
            let Some(place) = topic.and_then(|topic| topic.partitions.get_mut(*partition)) else {
                continue;
            };
            match found {
                Ok(Some(found)) => {
                    place.offset = found.offset;
                    place.timestamp = found.timestamp;
                    if version >= 4 {
                        place.leader_epoch = found.leader_epoch;
                    }
                }
                // No record that young: offset and timestamp stay at -1.
                Ok(None) => {}
                Err(code) => place.error_code = code.0,
            }
        }
        response
    }
}

/// What a read came to, for the client.
fn found<T>(read: Result<T, ReadError>) -> Result<Result<T, ErrorCode>, NotCached> {
    Ok(match read {
        Ok(found) => Ok(found),
        Err(ReadError::NotCached) => return Err(NotCached),
        // Consumers of Apache Kafka tell their users, and go nowhere by themselves.
        Err(ReadError::Damaged(_)) => Err(ErrorCode::CORRUPT_MESSAGE),
        Err(ReadError::Storage(error)) if error.is_damage() => Err(ErrorCode::CORRUPT_MESSAGE),
        Err(ReadError::Gone | ReadError::Storage(_)) => Err(ErrorCode::KAFKA_STORAGE_ERROR),
    })
}

/// Bytes of records in one answer.
const RECORDS_MAX: usize = i32::MAX as usize - (64 << 20);
