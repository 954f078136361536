//! AlterConfigs: the older call, which forgets every key it does not name.

use messages::AlterConfigsRequest;
use metadata::controller::configs::{self, Context};

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(AlterConfigs, 0..=2, AlterConfigsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: AlterConfigsRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let context = Context { node_id: node.config.node_id, layers: &node.layers };
    let (records, response) = configs::legacy_alter(node.ahead(), &request, context);
    node.write_and_answer(call, records, response, now, out);
}
