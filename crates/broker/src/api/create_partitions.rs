//! CreatePartitions: more partitions for a topic; answered when committed.

use messages::create_partitions_response::CreatePartitionsTopicResult;
use messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use metadata::controller::topics;
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(CreatePartitions, 0..=3, CreatePartitionsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: CreatePartitionsRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    if request.timeout_ms <= 0 {
        let refused = |topic: &messages::create_partitions_request::CreatePartitionsTopic| {
            CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code: ErrorCode::REQUEST_TIMED_OUT.0,
                ..Default::default()
            }
        };
        let results = request.topics.iter().map(refused).collect();
        node.answer(call, CreatePartitionsResponse { results, ..Default::default() }, out);
        return;
    }
    let (records, response) = topics::create_partitions(node.ahead(), &request);
    node.write_and_answer(call, records, response, now, out);
}
