//! What the client knows of the cluster: brokers, topics by name and by id, leaders, epochs.
//!
//! Pure: answers go in, questions are asked of it.
//!
//! Invariants:
//! - I1: a leader epoch known of a partition never goes back as long as the topic keeps its id, so
//!   that a broker that lags can't send a client back to an old leader (KIP-320).
//! - I2: the map of ids holds exactly the ids of the topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use messages::{FindCoordinatorResponse, MetadataResponse};
use wire::{ErrorCode, Uuid};

/// A broker, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `node.id`.
    pub id: i32,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
}

impl Broker {
    /// `host:port`, the host in brackets if it is an IPv6 address.
    pub fn address(&self) -> String {
        if self.host.contains(':') && !self.host.starts_with('[') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id; zero from brokers that know none.
    pub id: Uuid,
    /// Kept by the cluster for itself.
    pub is_internal: bool,
    /// Partitions, by index.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub index: i32,
    /// Its leader; `None` if it has none.
    pub leader: Option<i32>,
    /// Epoch of the leader; -1 from brokers that don't tell.
    pub leader_epoch: i32,
    /// Brokers that have a replica.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
    /// Those that are not there.
    pub offline: Vec<i32>,
}

impl Topic {
    /// The partition of that index.
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.index == index)
    }
}

/// What is known of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// `cluster.id`.
    pub cluster_id: Option<String>,
    /// Whom to send what changes the cluster; `None` if nobody is named.
    pub controller: Option<i32>,
    /// Brokers by id.
    pub brokers: BTreeMap<i32, Broker>,
    topics: BTreeMap<String, Arc<Topic>>,
    names: BTreeMap<Uuid, String>,
    errors: BTreeMap<String, ErrorCode>,
}

impl Metadata {
    /// Takes in an answer. `all` if every topic was asked for: those not named are gone. An answer
    /// that names no brokers is one of a broker that knows nothing yet: it changes nothing.
    pub fn update(&mut self, response: MetadataResponse, all: bool) {
        if response.brokers.is_empty() {
            return;
        }
        self.cluster_id = response.cluster_id.or(self.cluster_id.take());
        self.controller = Some(response.controller_id).filter(|id| *id >= 0);
        let brokers = response.brokers.into_iter().map(|broker| {
            let (id, host) = (broker.node_id, broker.host);
            (id, Broker { id, host, port: broker.port, rack: broker.rack })
        });
        self.brokers = brokers.collect();
        if all {
            let named: Vec<&str> =
                response.topics.iter().filter_map(|topic| topic.name.as_deref()).collect();
            let gone = self.topics.keys().filter(|name| !named.contains(&name.as_str()));
            for name in gone.cloned().collect::<Vec<_>>() {
                self.forget(&name);
            }
        }
        for topic in response.topics {
            let Some(name) = topic.name else { continue };
            let code = ErrorCode(topic.error_code);
            if !code.is_none() {
                // A leaderless topic keeps what is known; one that is not there does not.
                if code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                    self.forget(&name);
                }
                self.errors.insert(name, code);
                continue;
            }
            let partitions = topic.partitions.into_iter().map(|partition| Partition {
                index: partition.partition_index,
                leader: Some(partition.leader_id).filter(|id| *id >= 0),
                leader_epoch: partition.leader_epoch,
                replicas: partition.replica_nodes,
                isr: partition.isr_nodes,
                offline: partition.offline_replicas,
            });
            let (id, is_internal) = (topic.topic_id, topic.is_internal);
            self.insert(Topic { name, id, is_internal, partitions: partitions.collect() });
        }
        self.check();
    }

    fn insert(&mut self, mut topic: Topic) {
        topic.partitions.sort_by_key(|partition| partition.index);
        if let Some(old) = self.topics.get(&topic.name) {
            if old.id == topic.id {
                for partition in &mut topic.partitions {
                    let known = old.partition(partition.index);
                    // Invariant I1.
                    if let Some(known) =
                        known.filter(|known| known.leader_epoch > partition.leader_epoch)
                    {
                        *partition = known.clone();
                    }
                }
            } else {
                self.names.remove(&old.id);
            }
        }
        self.errors.remove(&topic.name);
        if !topic.id.is_zero() {
            self.names.insert(topic.id, topic.name.clone());
        }
        self.topics.insert(topic.name.clone(), Arc::new(topic));
    }

    fn forget(&mut self, name: &str) {
        if let Some(topic) = self.topics.remove(name) {
            self.names.remove(&topic.id);
        }
    }

    /// A broker told of a newer leader in passing (KIP-951). True if that was news.
    pub fn leader_moved(&mut self, topic: &str, index: i32, leader: i32, epoch: i32) -> bool {
        let Some(known) = self.topics.get_mut(topic) else { return false };
        let newer = known.partition(index).is_some_and(|known| known.leader_epoch < epoch);
        if !newer || leader < 0 || !self.brokers.contains_key(&leader) {
            return false;
        }
        let known = Arc::make_mut(known);
        for partition in known.partitions.iter_mut().filter(|one| one.index == index) {
            partition.leader = Some(leader);
            partition.leader_epoch = epoch;
        }
        true
    }

    /// A coordinator may be a broker that no metadata named yet. Its id, or the error.
    ///
    /// # Errors
    /// The code and words of the broker.
    pub fn coordinator(
        &mut self,
        response: FindCoordinatorResponse,
    ) -> Result<i32, (ErrorCode, Option<String>)> {
        let (code, message, id, host, port) = match response.coordinators.into_iter().next() {
            Some(found) => {
                (found.error_code, found.error_message, found.node_id, found.host, found.port)
            }
            None => (
                response.error_code,
                response.error_message,
                response.node_id,
                response.host,
                response.port,
            ),
        };
        if code != 0 {
            return Err((ErrorCode(code), message));
        }
        if id < 0 {
            return Err((ErrorCode::COORDINATOR_NOT_AVAILABLE, None));
        }
        self.brokers.entry(id).or_insert(Broker { id, host, port, rack: None });
        Ok(id)
    }

    /// A topic that is known.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// A topic that is known, by its id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// Every known topic, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// Why the last answer did not describe a topic.
    pub fn error(&self, name: &str) -> Option<ErrorCode> {
        self.errors.get(name).copied()
    }

    /// The leader of a partition and its epoch; none if nobody says where that broker is.
    pub fn leader(&self, topic: &str, index: i32) -> Option<(i32, i32)> {
        let partition = self.topics.get(topic)?.partition(index)?;
        let leader = partition.leader.filter(|id| self.brokers.contains_key(id))?;
        Some((leader, partition.leader_epoch))
    }

    /// Asserts the invariants.
    fn check(&self) {
        let ids = self.topics.values().filter(|topic| !topic.id.is_zero()).count();
        // Two topics with one id are a broker's mistake, not ours.
        debug_assert!(self.names.len() <= ids, "I2: ids of topics that are gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };

    fn answer(topics: &[(&str, u128, i16, i32, i32)]) -> MetadataResponse {
        let topics = topics.iter().map(|(name, id, error_code, leader_id, leader_epoch)| {
            MetadataResponseTopic {
                name: Some((*name).to_owned()),
                topic_id: Uuid(*id),
                error_code: *error_code,
                partitions: vec![MetadataResponsePartition {
                    leader_id: *leader_id,
                    leader_epoch: *leader_epoch,
                    ..Default::default()
                }],
                ..Default::default()
            }
        });
        let broker = |node_id| MetadataResponseBroker { node_id, ..Default::default() };
        MetadataResponse {
            brokers: vec![broker(1), broker(2)],
            topics: topics.collect(),
            ..Default::default()
        }
    }

    #[test]
    fn older_leader_epochs_are_not_believed_unless_the_topic_is_another() {
        let mut metadata = Metadata::default();
        metadata.update(answer(&[("a", 7, 0, 1, 5)]), false);
        metadata.update(answer(&[("a", 7, 0, 2, 4)]), false);
        assert_eq!(metadata.leader("a", 0), Some((1, 5)));
        assert!(!metadata.leader_moved("a", 0, 2, 5));
        assert!(metadata.leader_moved("a", 0, 2, 6));
        assert_eq!(metadata.leader("a", 0), Some((2, 6)));
        metadata.update(answer(&[("a", 8, 0, 1, 0)]), false);
        assert_eq!(metadata.leader("a", 0), Some((1, 0)));
        assert!(metadata.topic_by_id(Uuid(7)).is_none());
        assert_eq!(metadata.topic_by_id(Uuid(8)).map(|topic| topic.name.as_str()), Some("a"));
    }

    #[test]
    fn topics_that_are_gone_are_forgotten() {
        let mut metadata = Metadata::default();
        metadata.update(answer(&[("a", 1, 0, 1, 0), ("b", 2, 0, 1, 0)]), true);
        metadata.update(answer(&[("b", 2, 3, 1, 0)]), true);
        assert_eq!(metadata.topics().count(), 0);
        assert_eq!(metadata.error("b"), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        assert!(metadata.topic_by_id(Uuid(1)).is_none());
    }

    #[test]
    fn leaders_are_brokers_that_are_named_and_answers_without_brokers_say_nothing() {
        let mut metadata = Metadata::default();
        metadata.update(answer(&[("a", 1, 0, 5, 0), ("b", 2, 0, 1, 0)]), true);
        assert_eq!(metadata.leader("a", 0), None);
        metadata.update(MetadataResponse::default(), true);
        assert_eq!(metadata.leader("b", 0), Some((1, 0)));
    }

    #[test]
    fn addresses_can_be_connected_to() {
        let mut broker = Broker { id: 1, host: "::1".into(), port: 9092, rack: None };
        assert_eq!(broker.address(), "[::1]:9092");
        broker.host = "a".into();
        assert_eq!(broker.address(), "a:9092");
    }
}
