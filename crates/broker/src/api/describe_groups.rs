//! DescribeGroups: state, members and assignments of classic groups.
//!
//! From version 6 on a group that isn't there is an error with a message; before it was called
//! dead (KIP-1043).

use coordinator::Request;
use messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::groups::{self, Rest};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(DescribeGroups, 0..=6, DescribeGroupsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: DescribeGroupsRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let rest = Rest::Describe(request.include_authorized_operations);
    groups::ask(node, call, Request::Describe(request.groups), rest, now, out);
}

/// The answer in the shape of the version, with the operations if they were asked for.
pub fn shaped(
    mut answer: DescribeGroupsResponse,
    version: i16,
    operations: bool,
) -> DescribeGroupsResponse {
    for group in &mut answer.groups {
        if version < 6 {
            group.error_message = None;
        }
        // Without an authorizer everybody may do everything (KIP-430).
        if operations && group.error_code == 0 {
            group.authorized_operations = GROUP_OPERATIONS;
        }
    }
    answer
}

/// Bits of READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS.
const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;
