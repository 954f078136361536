//! Which header version goes with which message version (KIP-482).

use crate::ApiKey;

/// The request header's version for a request of this version.
pub fn request_header_version(api: ApiKey, version: i16) -> i16 {
    if version >= api.facts().flexible_from { 2 } else { 1 }
}

/// The response header's version for a response of this version.
///
/// ApiVersions always answers with version 0, so that a client that knows nothing of the broker
/// yet can read it (KIP-511).
pub fn response_header_version(api: ApiKey, version: i16) -> i16 {
    if api == ApiKey::ApiVersions || version < api.facts().flexible_from { 0 } else { 1 }
}
