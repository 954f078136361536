//! FindCoordinator: which broker serves a group.
//!
//! - From version 4 on many keys are asked for at once (KIP-699).
//! - The first question creates `__consumer_offsets`; until it is there the coordinator is not
//!   available, which clients retry.
//! - There are no transactions and no share groups here. A transactional id is refused as
//!   InitProducerId refuses it, with TRANSACTIONAL_ID_AUTHORIZATION_FAILED: the one error at which
//!   Java and librdkafka both stop at once (on others librdkafka asks for ever). Share groups are
//!   answered as Apache Kafka does where they are switched off, with INVALID_REQUEST; so are key
//!   types of the future.

use messages::find_coordinator_response::Coordinator;
use messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, ListenerId, Now};
use crate::groups;
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(FindCoordinator, 0..=6, FindCoordinatorRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: FindCoordinatorRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let single = call.version < 4;
    let keys = if single { vec![request.key] } else { request.coordinator_keys };
    let kind = (request.key_type, call.listener);
    let found: Vec<Coordinator> =
        keys.into_iter().map(|key| find(node, key, kind, now, out)).collect();
    let mut response = FindCoordinatorResponse::default();
    if single {
        if let Some(only) = found.into_iter().next() {
            response.error_code = only.error_code;
            // Of what is found these versions say so in a word.
            let message = only.error_message.filter(|message| !message.is_empty());
            let message = message.unwrap_or_else(|| "NONE".to_owned());
            response.error_message = Some(message).filter(|_| call.version >= 1);
            response.node_id = only.node_id;
            response.host = only.host;
            response.port = only.port;
        }
    } else {
        response.coordinators = found;
    }
    node.answer(call, response, out);
}

fn find(
    node: &mut Node,
    key: String,
    (key_type, listener): (i8, ListenerId),
    now: Now,
    out: &mut Vec<Effect>,
) -> Coordinator {
    let nowhere = |key: String, code: ErrorCode, message: &str| Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code: code.0,
        error_message: Some(message.to_owned()),
        ..Default::default()
    };
    match key_type {
        GROUP => {}
        TRANSACTION => {
            let code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
            return nowhere(key, code, "Transactions are not available here.");
        }
        SHARE => {
            let code = ErrorCode::INVALID_REQUEST;
            return nowhere(key, code, "Share groups are not available here.");
        }
        _ => {
            let code = ErrorCode::INVALID_REQUEST;
            return nowhere(key, code, code.words());
        }
    }
    let unavailable = |key| {
        let code = ErrorCode::COORDINATOR_NOT_AVAILABLE;
        nowhere(key, code, code.words())
    };
    let Some(index) = groups::partition_of(node, &key) else {
        groups::create_topic(node, now, out);
        return unavailable(key);
    };
    let topic = node.image.topic(groups::OFFSETS_TOPIC);
    let partition = topic.and_then(|topic| topic.partitions.get(usize::try_from(index).ok()?));
    let leader = partition.and_then(|partition| node.image.brokers.get(&partition.leader));
    let endpoint = leader
        .filter(|broker| !broker.is_fenced())
        .and_then(|broker| Some((broker, node.endpoint(&broker.registration, listener)?)));
    match endpoint {
        Some((broker, endpoint)) => Coordinator {
            key,
            node_id: broker.registration.broker_id,
            host: endpoint.host.clone(),
            port: endpoint.port.into(),
            ..Default::default()
        },
        None => unavailable(key),
    }
}

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
