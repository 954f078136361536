//! DeleteTopics: by name, from version 6 on by id too (KIP-516); answered when committed.

use messages::DeleteTopicsRequest;
use metadata::controller::topics;
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(DeleteTopics, 1..=6, DeleteTopicsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: DeleteTopicsRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let refusal = if !node.flag("delete.topic.enable") {
        // Older clients do not know the code.
        let known = call.version >= 3;
        Some(if known { ErrorCode::TOPIC_DELETION_DISABLED } else { ErrorCode::INVALID_REQUEST })
    } else {
        (request.timeout_ms <= 0).then_some(ErrorCode::REQUEST_TIMED_OUT)
    };
    let (records, mut response) = match refusal {
        Some(code) => (Vec::new(), topics::refuse_deletions(&request, code)),
        None => topics::delete_topics(node.ahead(), &request),
    };
    if call.version < 6 {
        // A name can't be null yet.
        for result in &mut response.responses {
            result.name.get_or_insert_default();
        }
    }
    node.write_and_answer(call, records, response, now, out);
}
