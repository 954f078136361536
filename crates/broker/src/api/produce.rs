//! Produce: batches are checked, get their offsets, and are acknowledged when durable.
//!
//! - Versions 0 to 2 are advertised because librdkafka needs to see them (KAFKA-18659) but were
//!   removed in 4.0; asking for one closes the connection.
//! - From version 13 on topics are named by id.
//! - acks=0 is never answered; its errors close the connection, so that the producer notices.

use messages::produce_request::PartitionProduceData;
use messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use messages::{ApiKey, ProduceRequest, ProduceResponse};
use ottla_log::{AppendError, Inspected};
use wire::ErrorCode;

use crate::api::Api;
use crate::api::metadata::is_internal;
use crate::event::{Call, Effect, Now};
use crate::node::{Node, PendingProduce};
use crate::reply::Body;

/// The entry in the list of APIs.
pub const API: Api = Api {
    key: ApiKey::Produce,
    versions: (3, 13),
    advertised_from: 0,
    prepare: |reader, version| {
        let mut request = ProduceRequest::decode(reader, version)?;
        let verdicts = inspect(&mut request);
        Ok(Box::new(move |node, call, now, out| {
            handle(node, call, request, verdicts, now, out);
        }))
    },
};

/// The records of each partition, or what is wrong with them, in the order of the request.
type Verdicts = std::vec::IntoIter<Result<Inspected, AppendError>>;

/// Opens and walks all records: on the connection's thread, because it is what costs most and
/// needs nothing of the node.
fn inspect(request: &mut ProduceRequest) -> Verdicts {
    let verdict = |data: &mut PartitionProduceData| {
        ottla_log::inspect(data.records.take().unwrap_or_default(), OPENED_MAX)
    };
    let partitions = request.topic_data.iter_mut().flat_map(|topic| &mut topic.partition_data);
    partitions.map(verdict).collect::<Vec<_>>().into_iter()
}

fn handle(
    node: &mut Node,
    call: Call,
    request: ProduceRequest,
    mut verdicts: Verdicts,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let by_id = call.version >= 13;
    let acks = request.acks;
    let mut response = ProduceResponse::default();
    let mut waits = Vec::new();
    for topic in request.topic_data {
        let name = if by_id {
            node.image.topics.get(&topic.topic_id).map(|topic| topic.name.to_string())
        } else {
            Some(topic.name.clone())
        };
        let mut answers = TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            ..Default::default()
        };
        for (data, verdict) in topic.partition_data.into_iter().zip(verdicts.by_ref()) {
            let mut answer = PartitionProduceResponse { index: data.index, ..blank() };
            let place = (response.responses.len(), answers.partition_responses.len());
            let outcome = match &name {
                None => Err(Refused(ErrorCode::UNKNOWN_TOPIC_ID, None)),
                Some(_) if request.transactional_id.is_some() => {
                    // No transaction can be open; a final error stops the producer at once.
                    Err(Refused(ErrorCode::INVALID_TXN_STATE, None))
                }
                Some(name) => match verdict {
                    Ok(records) => {
                        let partition = (name.as_str(), data.index);
                        append(node, partition, records, acks, call.version >= 7, now, out)
                    }
                    Err(error) => Err(Refused(ErrorCode(error.code()), None)),
                },
            };
            match outcome {
                Ok(Appended { lane, wait_for, first_offset, append_time_ms, log_start }) => {
                    answer.base_offset = first_offset;
                    answer.log_append_time_ms = append_time_ms;
                    answer.log_start_offset = log_start;
                    waits.push((lane, wait_for, place));
                }
                Err(Refused(code, message)) => {
                    answer.error_code = code.0;
                    answer.error_message = message;
                }
            }
            answers.partition_responses.push(answer);
        }
        response.responses.push(answers);
    }
    if acks == 0 {
        let failed = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .find(|answer| answer.error_code != 0);
        match failed {
            Some(answer) => out.push(Effect::Close(
                call.conn,
                call.serial,
                format!(
                    "produce with acks=0 failed: {}",
                    ErrorCode(answer.error_code).name().unwrap_or("UNKNOWN")
                ),
            )),
            None => node.answer_with(call, Body::Nothing, out),
        }
        return;
    }
    // The client's time-out is for other replicas, which Apache Kafka would not wait for here, and
    // with acks=1 never does. Whoever asks for less than a sync may take would hear that nothing
    // was stored, and send it again.
    let deadline_ms = match acks {
        -1 => now.steady_ms + i64::from(request.timeout_ms).max(SYNC_PATIENCE_MS),
        _ => i64::MAX,
    };
    node.wait_for_produce(
        PendingProduce { call, response, outstanding: 0, deadline_ms },
        waits,
        out,
    );
}

fn blank() -> PartitionProduceResponse {
    PartitionProduceResponse {
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        ..Default::default()
    }
}

struct Refused(ErrorCode, Option<String>);

struct Appended {
    lane: crate::event::Lane,
    wait_for: i64,
    first_offset: i64,
    append_time_ms: i64,
    log_start: i64,
}

fn append(
    node: &mut Node,
    (topic, index): (&str, i32),
    records: Inspected,
    acks: i16,
    zstd_allowed: bool,
    now: Now,
    out: &mut Vec<Effect>,
) -> Result<Appended, Refused> {
    if !matches!(acks, -1..=1) {
        return Err(Refused(ErrorCode::INVALID_REQUIRED_ACKS, None));
    }
    let lane =
        node.lane(topic, index).ok_or(Refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None))?;
    if is_internal(topic) {
        return Err(Refused(ErrorCode::INVALID_TOPIC_EXCEPTION, None));
    }
    node.append(lane, records, acks, zstd_allowed, now, out)
        .map(|(info, wait_for)| Appended {
            lane,
            wait_for,
            first_offset: info.first_offset,
            append_time_ms: info.log_append_time_ms.unwrap_or(-1),
            log_start: info.log_start,
        })
        .map_err(|(code, message)| Refused(code, message))
}

/// No batch may be larger when opened: half of what `max.decompressed.message.bytes` could allow
/// would already be more than the node can hold for several connections.
const OPENED_MAX: usize = 256 << 20;
/// So long at least a producer that waits for all replicas waits for the only one.
const SYNC_PATIENCE_MS: i64 = 5_000;
