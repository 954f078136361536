//! Heartbeat: a member of a classic group is alive, and learns of rebalances.
//!
//! While the group is being loaded it is told that all is well: its session can't end meanwhile.

use coordinator::Request;
use messages::HeartbeatRequest;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::groups::{self, Rest};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(Heartbeat, 0..=4, HeartbeatRequest, handle);

fn handle(node: &mut Node, call: Call, request: HeartbeatRequest, now: Now, out: &mut Vec<Effect>) {
    groups::ask(node, call, Request::Heartbeat(request), Rest::Nothing, now, out);
}
