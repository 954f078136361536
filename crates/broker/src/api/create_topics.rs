//! CreateTopics: decided by the controller, answered when the records are committed.

use messages::CreateTopicsRequest;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::metadata_log::OnCommit;
use crate::node::Node;
use crate::reply::Body;

/// The entry in the list of APIs.
pub const API: Api = api!(CreateTopics, 2..=7, CreateTopicsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: CreateTopicsRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let (records, response) = node.decide_create_topics(&request);
    if records.is_empty() {
        node.answer(call, response, out);
        return;
    }
    let then = OnCommit::Answer(call, Body::Message(Box::new(response)));
    node.write_metadata(records, then, now, out);
}
