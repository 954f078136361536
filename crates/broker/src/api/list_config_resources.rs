//! ListConfigResources: what there is to configure (KIP-1142).

use messages::list_config_resources_response::ConfigResource;
use messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use metadata::image::resource;
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(ListConfigResources, 0..=1, ListConfigResourcesRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: ListConfigResourcesRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    let mut response = ListConfigResourcesResponse::default();
    let types: &[i8] = match request.resource_types.as_slice() {
        // The first version knows of subscriptions only.
        _ if call.version == 0 => &[resource::CLIENT_METRICS],
        [] => &ALL,
        some => some,
    };
    if types.iter().any(|wanted| !ALL.contains(wanted)) {
        response.error_code = ErrorCode::UNSUPPORTED_VERSION.0;
        node.answer(call, response, out);
        return;
    }
    for resource_type in ALL.iter().filter(|known| types.contains(known)) {
        for resource_name in names(node, *resource_type) {
            let resource_type = *resource_type;
            let found = ConfigResource { resource_name, resource_type, ..Default::default() };
            response.config_resources.push(found);
        }
    }
    node.answer(call, response, out);
}

fn names(node: &Node, resource_type: i8) -> Vec<String> {
    match resource_type {
        resource::TOPIC => node.image.topic_ids.keys().map(ToString::to_string).collect(),
        resource::BROKER | resource::BROKER_LOGGER => {
            node.image.brokers.keys().map(ToString::to_string).collect()
        }
        _ => {
            let set = node.image.configs.keys().filter(|(found, _)| *found == resource_type);
            set.map(|(_, name)| name.clone()).collect()
        }
    }
}

const ALL: [i8; 5] = [
    resource::GROUP,
    resource::CLIENT_METRICS,
    resource::BROKER_LOGGER,
    resource::BROKER,
    resource::TOPIC,
];
