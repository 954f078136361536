//! DeleteGroups: groups without members, with all their offsets (KIP-229).

use coordinator::Request;
use messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::groups::{self, Rest};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(DeleteGroups, 0..=3, DeleteGroupsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: DeleteGroupsRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    groups::ask(node, call, Request::Delete(request.groups_names), Rest::Nothing, now, out);
}

/// The answer in the shape of the version: messages came with version 3.
pub fn shaped(mut answer: DeleteGroupsResponse, version: i16) -> DeleteGroupsResponse {
    if version < 3 {
        answer.results.iter_mut().for_each(|result| result.error_message = None);
    }
    answer
}
