//! Answers on their way to a connection.
//!
//! The node decides what an answer says; the connection's own thread encodes it and, for answers
//! that hold data of a log, reads that data. So no file is read inside a step.

use messages::fetch_response::FetchResponse;
use messages::header::response_header_version;
use messages::list_offsets_response::ListOffsetsResponse;
use messages::{Message, ResponseHeader};
use ottla_log::disk::Disk;
use ottla_log::{ReadPlan, TimePlan};
use wire::{EncodeError, ErrorCode, Frame, Writer};

use crate::event::Call;

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
    /// Everything but the records.
    pub response: FetchResponse,
    /// What to read, in the order of the response: topic, partition, plan.
    pub plans: Vec<(usize, usize, ReadPlan)>,
    /// At most so many bytes of records, unless the first batch alone is larger.
    pub max_bytes: usize,
}

/// A list-offsets response and what is still to be looked up.
#[derive(Debug)]
pub struct OffsetsReply {
    /// Everything that was known at once.
    pub response: ListOffsetsResponse,
    /// Topic, partition, look-up, and the most bytes a batch may have when opened.
    pub plans: Vec<(usize, usize, TimePlan, usize)>,
}

impl Reply {
    /// The frame to send, size prefix included; `None` if nothing is sent.
    ///
    /// # Errors
    /// A field that the version can't carry is set: a mistake of ours, after which the connection
    /// is closed.
    pub fn encode(self, disk: &dyn Disk) -> Result<Option<Frame>, EncodeError> {
        let mut writer = Writer::with_capacity(256);
        writer.i32(0);
        let header =
            ResponseHeader { correlation_id: self.call.correlation_id, ..Default::default() };
        let version = self.call.version;
        header.encode(&mut writer, response_header_version(self.call.api, version))?;
        match self.body {
            Body::Message(message) => message.encode(&mut writer, version)?,
            Body::Fetch(fetch) => fetch.read(disk).encode(&mut writer, version)?,
            Body::Offsets(offsets) => {
                offsets.look_up(disk, version).encode(&mut writer, version)?
            }
            Body::Nothing => return Ok(None),
        }
        writer.patch_size();
        Ok(Some(writer.finish()))
    }
}

impl FetchReply {
    fn read(self, disk: &dyn Disk) -> FetchResponse {
        let mut response = self.response;
        let mut room = self.max_bytes;
        let mut nothing_yet = true;
        for (topic, partition, plan) in self.plans {
            let Some(place) = response
                .responses
                .get_mut(topic)
                .and_then(|topic| topic.partitions.get_mut(partition))
            else {
                continue;
            };
            if room == 0 && !nothing_yet {
                continue;
            }
            // The first batch is sent whole whatever its size, or a consumer with a small limit
            // could never pass it (KIP-74).
            match plan.limited_to(room).execute(disk, nothing_yet) {
                Ok(bytes) => {
                    nothing_yet &= bytes.is_empty();
                    room = room.saturating_sub(bytes.len());
                    place.records = Some(bytes);
                }
                Err(_) => place.error_code = ErrorCode::KAFKA_STORAGE_ERROR.0,
            }
        }
        response
    }
}

impl OffsetsReply {
    fn look_up(self, disk: &dyn Disk, version: i16) -> ListOffsetsResponse {
        let mut response = self.response;
        for (topic, partition, plan, opened_max) in self.plans {
            let Some(place) = response
                .topics
                .get_mut(topic)
                .and_then(|topic| topic.partitions.get_mut(partition))
            else {
                continue;
            };
            match plan.execute(disk, opened_max) {
                Ok(Some(found)) => {
                    place.offset = found.offset;
                    place.timestamp = found.timestamp;
                    if version >= 4 {
                        place.leader_epoch = found.leader_epoch;
                    }
                }
                // No record that young: offset and timestamp stay at -1.
                Ok(None) => {}
                Err(_) => place.error_code = ErrorCode::KAFKA_STORAGE_ERROR.0,
            }
        }
        response
    }
}
