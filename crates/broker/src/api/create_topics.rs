//! CreateTopics: decided by the controller, answered when the records are committed.

use messages::CreateTopicsRequest;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

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
    node.write_and_answer(call, records, response, now, out);
}
