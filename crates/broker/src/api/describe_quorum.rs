//! DescribeQuorum: who votes on the metadata and how far everybody is (KIP-595, KIP-853).

use messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(DescribeQuorum, 0..=2, DescribeQuorumRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: DescribeQuorumRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let described = node.metadata.describe_quorum(request, call.version, now.wall_ms);
    let response = described.unwrap_or_else(|| DescribeQuorumResponse {
        error_code: ErrorCode::NOT_CONTROLLER.0,
        ..Default::default()
    });
    node.answer(call, response, out);
}
