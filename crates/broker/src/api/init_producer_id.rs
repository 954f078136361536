//! InitProducerId: an id for an idempotent producer (KIP-98, KIP-360).
//!
//! Transactions are not built: a transactional id is answered with a final error, so that a client
//! stops at once instead of retrying for ever.

use messages::{InitProducerIdRequest, InitProducerIdResponse};
use wire::ErrorCode;

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs. Version 6 (two-phase commit) is not stable in 4.4.
pub const API: Api = api!(InitProducerId, 0..=5, InitProducerIdRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: InitProducerIdRequest,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let refusal = if request.transactional_id.is_some() {
        Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    } else if request.producer_id != -1 || request.producer_epoch != -1 {
        // Only transactional producers may ask for the next epoch of an id they have.
        (request.producer_id < 0 || request.producer_epoch < 0)
            .then_some(ErrorCode::INVALID_REQUEST)
    } else {
        None
    };
    if let Some(code) = refusal {
        let response = InitProducerIdResponse {
            error_code: code.0,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        node.answer(call, response, out);
        return;
    }
    node.give_producer_id(call, now, out);
}

/// The answer with a fresh id.
pub fn granted(producer_id: i64) -> InitProducerIdResponse {
    InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() }
}
