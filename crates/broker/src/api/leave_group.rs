//! LeaveGroup: members leave, or are removed by an operator, by id or by instance (KIP-345).
//!
//! Before version 3 one member leaves, and its error is the answer's.

use coordinator::Request;
use messages::leave_group_request::MemberIdentity;
use messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::groups::{self, Rest};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(LeaveGroup, 0..=5, LeaveGroupRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    mut request: LeaveGroupRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    if call.version < 3 {
        let member_id = std::mem::take(&mut request.member_id);
        request.members = vec![MemberIdentity { member_id, ..Default::default() }];
    }
    groups::ask(node, call, Request::Leave(request), Rest::Nothing, now, out);
}

/// The answer in the shape of the version.
pub fn shaped(mut answer: LeaveGroupResponse, version: i16) -> LeaveGroupResponse {
    if version < 3 {
        let members = std::mem::take(&mut answer.members);
        if let (Some(member), 0) = (members.first(), answer.error_code) {
            answer.error_code = member.error_code;
        }
    }
    answer
}
