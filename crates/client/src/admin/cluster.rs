//! The cluster: its brokers, and what is in their log directories.

use messages::describe_log_dirs_request::DescribableLogDirTopic;
use messages::{ApiKey, DescribeClusterRequest, DescribeLogDirsRequest, DescribeLogDirsResponse};
use wire::ErrorCode;

use super::groups::by_topic;
use super::{Admin, none};
use crate::error::{ApiError, Error, Result};
use crate::metadata::Broker;
use crate::net::client::How;
use crate::net::{To, all};
use crate::topic_partition::TopicPartition;

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// `cluster.id`.
    pub cluster_id: String,
    /// The controller, or whom to send its requests to; `None` if nobody is.
    pub controller: Option<i32>,
    /// Its brokers, by id.
    pub brokers: Vec<ClusterBroker>,
}

/// A broker of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterBroker {
    /// Who and where it is.
    pub broker: Broker,
    /// It is registered, but leads nothing.
    pub is_fenced: bool,
}

/// A log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// Its path on the broker.
    pub path: String,
    /// Bytes of its file system; -1 if the broker does not tell.
    pub total_bytes: i64,
    /// Bytes free in it; -1 if the broker does not tell.
    pub usable_bytes: i64,
    /// No new replicas are put into it (KIP-1066).
    pub is_cordoned: bool,
    /// What is in it.
    pub replicas: Vec<LogDirReplica>,
}

/// A replica in a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirReplica {
    /// Of which partition.
    pub partition: TopicPartition,
    /// Bytes of its segments.
    pub bytes: i64,
    /// How far it lags: behind the high watermark, or, a future replica, behind the present one.
    pub offset_lag: i64,
    /// It will replace the replica in another directory.
    pub is_future: bool,
}

impl Admin {
    /// Describes the cluster, fenced brokers included if asked for (KIP-1073).
    ///
    /// # Errors
    /// Nobody can be reached, or the broker can't tell of fenced ones.
    pub async fn describe_cluster(&self, fenced_too: bool) -> Result<ClusterDescription> {
        if !self.client().supports(To::Any, ApiKey::DescribeCluster).await? {
            return self.cluster_by_metadata().await;
        }
        let shape = |version: i16| {
            if fenced_too && version < 2 {
                return Err(Error::Unsupported("The broker can't list fenced brokers.".into()));
            }
            Ok(DescribeClusterRequest { include_fenced_brokers: fenced_too, ..Default::default() })
        };
        let response = self
            .insist(&To::Any, How::default(), shape, |response| ErrorCode(response.error_code))
            .await?;
        ApiError::check(response.error_code, response.error_message)?;
        let brokers = response.brokers.into_iter().map(|broker| ClusterBroker {
            is_fenced: broker.is_fenced,
            broker: Broker {
                id: broker.broker_id,
                host: broker.host,
                port: broker.port,
                rack: broker.rack,
            },
        });
        let mut brokers: Vec<_> = brokers.collect();
        brokers.sort_by_key(|broker| broker.broker.id);
        let controller = Some(response.controller_id).filter(|id| *id >= 0);
        Ok(ClusterDescription { cluster_id: response.cluster_id, controller, brokers })
    }

    async fn cluster_by_metadata(&self) -> Result<ClusterDescription> {
        self.look_again(&To::Any).await?;
        Ok(self.client().metadata(|known| ClusterDescription {
            cluster_id: known.cluster_id.clone().unwrap_or_default(),
            controller: known.controller,
            brokers: known
                .brokers
                .values()
                .map(|broker| ClusterBroker { broker: broker.clone(), is_fenced: false })
                .collect(),
        }))
    }

    /// What is in the log directories of brokers, of all partitions or of these. The outer result
    /// is a broker's, the inner one a directory's.
    ///
    /// # Errors
    /// None as a whole: each broker has its own.
    #[allow(clippy::type_complexity)]
    pub async fn describe_log_dirs(
        &self,
        brokers: &[i32],
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Vec<(i32, Result<Vec<(String, Result<LogDir, ApiError>)>>)>> {
        let topics = partitions.map(|partitions| {
            let topic = |(topic, partitions)| DescribableLogDirTopic {
                topic,
                partitions,
                ..Default::default()
            };
            by_topic(partitions).into_iter().map(topic).collect::<Vec<_>>()
        });
        let request = DescribeLogDirsRequest { topics, ..Default::default() };
        let ask = |broker: i32| {
            let (admin, request) = (self.clone(), request.clone());
            async move {
                let to = To::Broker(broker);
                let answer = admin.repeat(&to, &request, none).await;
                (broker, answer.and_then(directories))
            }
        };
        Ok(all(brokers.iter().copied().map(ask).collect()).await)
    }
}

fn directories(
    response: DescribeLogDirsResponse,
) -> Result<Vec<(String, Result<LogDir, ApiError>)>> {
    ApiError::check(response.error_code, None)?;
    let mut found = Vec::new();
    for result in response.results {
        let mut replicas = Vec::new();
        for topic in result.topics {
            replicas.extend(topic.partitions.into_iter().map(|partition| LogDirReplica {
                partition: TopicPartition::new(topic.name.clone(), partition.partition_index),
                bytes: partition.partition_size,
                offset_lag: partition.offset_lag,
                is_future: partition.is_future_key,
            }));
        }
        let directory = LogDir {
            path: result.log_dir.clone(),
            total_bytes: result.total_bytes,
            usable_bytes: result.usable_bytes,
            is_cordoned: result.is_cordoned,
            replicas,
        };
        let checked = ApiError::check(result.error_code, None);
        found.push((result.log_dir, checked.map(|()| directory)));
    }
    Ok(found)
}
