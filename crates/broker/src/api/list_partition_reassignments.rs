//! ListPartitionReassignments: one node has nowhere to move a partition to, so none is under way.

use messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api =
    api!(ListPartitionReassignments, 0..=0, ListPartitionReassignmentsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    _request: ListPartitionReassignmentsRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    let response = ListPartitionReassignmentsResponse { error_message: None, ..Default::default() };
    node.answer(call, response, out);
}
