//! DescribeCluster: the cluster's id and its brokers (KIP-700, KIP-919, KIP-1073).

use messages::describe_cluster_response::DescribeClusterBroker;
use messages::{DescribeClusterRequest, DescribeClusterResponse};
use wire::ErrorCode;

use crate::api::metadata::CLUSTER_OPERATIONS;
use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(DescribeCluster, 0..=2, DescribeClusterRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: DescribeClusterRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    let mut response = DescribeClusterResponse {
        cluster_id: node.config.cluster_id.clone(),
        controller_id: node.config.node_id,
        ..Default::default()
    };
    if request.endpoint_type != BROKERS {
        let (code, text) = match request.endpoint_type {
            CONTROLLERS => (
                ErrorCode::MISMATCHED_ENDPOINT_TYPE,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of \
                 type CONTROLLER"
                    .to_owned(),
            ),
            other => {
                (ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, format!("Unsupported endpoint type {other}"))
            }
        };
        response.error_code = code.0;
        response.error_message = Some(text);
        response.cluster_id = String::new();
        response.controller_id = -1;
        node.answer(call, response, out);
        return;
    }
    for broker in node.image.brokers.values() {
        let registration = &broker.registration;
        let Some(endpoint) = node.endpoint(registration, call.listener) else { continue };
        if broker.is_fenced() && !request.include_fenced_brokers {
            continue;
        }
        response.brokers.push(DescribeClusterBroker {
            broker_id: registration.broker_id,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            rack: registration.rack.clone(),
            is_fenced: broker.is_fenced() && call.version >= 2,
            ..Default::default()
        });
    }
    // Without an authorizer everybody may do everything (KIP-430).
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    node.answer(call, response, out);
}

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
