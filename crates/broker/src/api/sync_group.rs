//! SyncGroup: the leader of a classic group hands in the assignment, all members fetch theirs.
//!
//! - The answer waits for the leader's, and for the record that holds the assignment.
//! - From version 5 on protocol type and name are compared (KIP-559).

use coordinator::Request;
use messages::SyncGroupRequest;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::groups::{self, Rest};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(SyncGroup, 0..=5, SyncGroupRequest, handle);

fn handle(node: &mut Node, call: Call, request: SyncGroupRequest, now: Now, out: &mut Vec<Effect>) {
    groups::ask(node, call, Request::Sync(request), Rest::Nothing, now, out);
}
