//! JoinGroup: into a classic group, or into its next generation.
//!
//! - The answer waits until all members have joined; it may take as long as a rebalance.
//! - From version 4 on a new member is first given its id (KIP-394), from 5 on members may be
//!   static (KIP-345), from 9 on a static leader may be told to keep the assignment (KIP-814).

use coordinator::Request;
use messages::{JoinGroupRequest, JoinGroupResponse};

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::groups::{self, Rest};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(JoinGroup, 0..=9, JoinGroupRequest, handle);

fn handle(node: &mut Node, call: Call, request: JoinGroupRequest, now: Now, out: &mut Vec<Effect>) {
    groups::ask(node, call, Request::Join(request), Rest::Nothing, now, out);
}

/// Before version 7 there is always a protocol name, if only an empty one; from then on never an
/// empty one.
pub fn shaped(mut answer: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    if version < 7 {
        answer.protocol_name.get_or_insert_default();
    } else {
        answer.protocol_name = answer.protocol_name.filter(|name| !name.is_empty());
    }
    answer
}
