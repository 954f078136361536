//! DescribeLogDirs: which directory holds what, and how large it is (KIP-113, KIP-827).
//!
//! How much room a directory's volume has is not known inside a step: it is answered as unknown.

use std::collections::{BTreeMap, BTreeSet};

use messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::api::{Api, api};
use crate::event::{Call, Effect, Now};
use crate::node::Node;

/// The entry in the list of APIs.
pub const API: Api = api!(DescribeLogDirs, 1..=5, DescribeLogDirsRequest, handle);

fn handle(
    node: &mut Node,
    call: Call,
    request: DescribeLogDirsRequest,
    _now: Now,
    out: &mut Vec<Effect>,
) {
    let wanted: Option<BTreeSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let pairs = topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.topic.as_str(), *partition))
        });
        pairs.collect()
    });
    let mut response = DescribeLogDirsResponse::default();
    for dir in &node.config.log_dirs {
        let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for partition in node.partitions.values() {
            let key = (&*partition.topic, partition.index);
            let here = partition.log.path().parent() == Some(&*dir.path);
            if !here || wanted.as_ref().is_some_and(|wanted| !wanted.contains(&key)) {
                continue;
            }
            topics.entry(&partition.topic).or_default().push(DescribeLogDirsPartition {
                partition_index: partition.index,
                partition_size: i64::try_from(partition.log.size()).unwrap_or(i64::MAX),
                offset_lag: (partition.high_watermark - partition.log.end()).max(0),
                ..Default::default()
            });
        }
        let topic = |(name, partitions): (&str, Vec<DescribeLogDirsPartition>)| {
            DescribeLogDirsTopic { name: name.to_owned(), partitions, ..Default::default() }
        };
        response.results.push(DescribeLogDirsResult {
            log_dir: dir.path.display().to_string(),
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        });
    }
    node.answer(call, response, out);
}
