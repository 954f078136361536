//! Every API of a broker listener: one file each, listed once, here.
//!
//! The list is what ApiVersions advertises and what README's table is made from. An API that is
//! not in it does not exist for clients.

use messages::ApiKey;
use wire::{DecodeError, Reader};

use crate::event::{Call, Effect, Now};
use crate::node::Node;

pub mod alter_configs;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;

/// What carries out a decoded request.
pub type Handler = Box<dyn FnOnce(&mut Node, Call, Now, &mut Vec<Effect>) + Send>;

/// One API: which versions are served, and how a request of it is read.
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// First and last version, both inclusive.
    pub versions: (i16, i16),
    /// The first version that is advertised, if not the first that is served.
    pub advertised_from: i16,
    /// Reads the body that follows the request header.
    pub prepare: fn(&mut Reader, i16) -> Result<Handler, DecodeError>,
}

/// Builds an [`Api`] from its key, versions, request type and handler.
macro_rules! api {
    ($key:ident, $first:literal..=$last:literal, $request:ty, $handle:path) => {
        $crate::api::Api {
            key: messages::ApiKey::$key,
            versions: ($first, $last),
            advertised_from: $first,
            prepare: |reader, version| {
                let request = <$request>::decode(reader, version)?;
                Ok(Box::new(move |node, call, now, out| $handle(node, call, request, now, out)))
            },
        }
    };
}
pub(crate) use api;

/// The APIs, in the order of their keys.
pub const APIS: &[Api] = &[
    produce::API,
    fetch::API,
    list_offsets::API,
    metadata::API,
    offset_commit::API,
    offset_fetch::API,
    find_coordinator::API,
    join_group::API,
    heartbeat::API,
    leave_group::API,
    sync_group::API,
    describe_groups::API,
    list_groups::API,
    api_versions::API,
    create_topics::API,
    delete_topics::API,
    delete_records::API,
    init_producer_id::API,
    offset_for_leader_epoch::API,
    describe_configs::API,
    alter_configs::API,
    describe_log_dirs::API,
    create_partitions::API,
    delete_groups::API,
    incremental_alter_configs::API,
    list_partition_reassignments::API,
    offset_delete::API,
    describe_quorum::API,
    describe_cluster::API,
    describe_producers::API,
    list_config_resources::API,
    describe_topic_partitions::API,
];

/// The API with that key, if it is served.
pub fn find(key: ApiKey) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_serves_no_version_that_the_schemas_lack() {
        assert!(APIS.is_sorted_by(|left, right| left.key < right.key));
        for api in APIS {
            let facts = api.key.facts();
            assert!(facts.broker, "{} is not a broker API", facts.name);
            assert!(api.versions.0 >= facts.versions.0, "{}", facts.name);
            assert!(api.versions.1 <= facts.versions.1, "{}", facts.name);
        }
    }
}
