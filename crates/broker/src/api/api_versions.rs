//! ApiVersions: what this node serves (KIP-35, KIP-511, KIP-584, KIP-1242).
//!
//! - A version that is not known here is answered in version 0 with UNSUPPORTED_VERSION and the
//!   range of ApiVersions itself, so that the client can ask again.
//! - From version 5 on the client names the node it meant to reach; another one answers
//!   REBOOTSTRAP_REQUIRED.

use messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use wire::ErrorCode;

use crate::api::{APIS, Api, Handler, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(ApiVersions, 0..=5, ApiVersionsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: ApiVersionsRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    let response = match check(node, &call, &request) {
        Ok(()) => full(node, call.version),
        Err(code) => ApiVersionsResponse { error_code: code.0, ..Default::default() },
    };
    node.answer(call, response, out);
}

/// What carries out a request of a version that is not known here.
pub fn unsupported() -> Handler {
    Box::new(|node, call, _now, out| {
        let own = APIS.iter().filter(|api| api.key == ApiKey::ApiVersions).map(row).collect();
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION.0,
            api_keys: own,
            ..Default::default()
        };
        node.answer(call, response, out);
    })
}

fn check(node: &Node, call: &Call, request: &ApiVersionsRequest) -> Result<(), ErrorCode> {
    if call.version >= 3 {
        let valid = |text: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
            let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
            let bytes = text.as_bytes();
            edge(bytes.first()) && edge(bytes.last()) && text.bytes().all(inner)
        };
        if !valid(&request.client_software_name) || !valid(&request.client_software_version) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
    }
    if call.version >= 5 {
        let other_cluster =
            request.cluster_id.as_ref().is_some_and(|id| *id != node.config.cluster_id);
        let other_node = request.node_id >= 0 && request.node_id != node.config.node_id;
        if other_cluster || other_node {
            return Err(ErrorCode::REBOOTSTRAP_REQUIRED);
        }
    }
    Ok(())
}

fn row(api: &Api) -> ApiVersion {
    ApiVersion {
        api_key: api.key as i16,
        min_version: api.advertised_from,
        max_version: api.versions.1,
        ..Default::default()
    }
}

fn full(node: &Node, version: i16) -> ApiVersionsResponse {
    let mut response =
        ApiVersionsResponse { api_keys: APIS.iter().map(row).collect(), ..Default::default() };
    if version >= 3 {
        response.supported_features = vec![SupportedFeatureKey {
            name: METADATA_VERSION.into(),
            min_version: METADATA_VERSION_LEVEL,
            max_version: METADATA_VERSION_LEVEL,
            ..Default::default()
        }];
        response.finalized_features_epoch = node.metadata.committed() - 1;
        response.finalized_features = vec![FinalizedFeatureKey {
            name: METADATA_VERSION.into(),
            min_version_level: METADATA_VERSION_LEVEL,
            max_version_level: METADATA_VERSION_LEVEL,
            ..Default::default()
        }];
    }
    response
}

const METADATA_VERSION: &str = "metadata.version";
/// 4.4-IV2. The other features go with APIs that are not served yet, so they are not advertised.
const METADATA_VERSION_LEVEL: i16 = 33;
