//! ListGroups: the groups whose coordinator this node is, by state (KIP-518) and type (KIP-848).

use coordinator::Request;
use messages::ListGroupsRequest;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::groups::{self, Rest};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(ListGroups, 0..=5, ListGroupsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: ListGroupsRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    groups::ask(node, call, Request::List(request), Rest::Nothing, now, out);
}
