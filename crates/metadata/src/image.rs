//! What all records up to an offset add up to.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::Uuid;

use crate::Record;

/// One topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    /// Its name.
    pub name: Arc<str>,
    /// Its id, never used again for another topic.
    pub id: Uuid,
    /// By partition index, dense from 0; shared between images that agree on one.
    pub partitions: Vec<Arc<PartitionImage>>,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionImage {
    /// Brokers that hold it, preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them in sync.
    pub isr: Vec<i32>,
    /// The leader; -1 if there is none.
    pub leader: i32,
    /// Raised with each leader.
    pub leader_epoch: i32,
    /// Raised with each change.
    pub partition_epoch: i32,
    /// 1 while a leader elected uncleanly has not recovered yet, else 0.
    pub recovery_state: i8,
    /// The log directory of each replica (KIP-858).
    pub directories: Vec<Uuid>,
    /// What few partitions have, and few of them for long; `None` if it is empty.
    rare: Option<Box<Rare>>,
}

/// Lists of replicas that most partitions don't have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rare {
    /// Eligible leader replicas (KIP-966).
    pub elr: Vec<i32>,
    /// The last known ELR (KIP-966).
    pub last_known_elr: Vec<i32>,
    /// Being removed by a reassignment.
    pub removing: Vec<i32>,
    /// Being added by a reassignment.
    pub adding: Vec<i32>,
}

impl PartitionImage {
    /// The lists that are seldom there, empty if they are not.
    pub fn rare(&self) -> &Rare {
        const NONE: &Rare = &Rare {
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            removing: Vec::new(),
            adding: Vec::new(),
        };
        self.rare.as_deref().unwrap_or(NONE)
    }

    fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.take().unwrap_or_default();
        change(&mut rare);
        self.rare = (*rare != Rare::default()).then_some(rare);
    }
}

/// One registered broker.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerImage {
    /// Its registration with all changes since.
    pub registration: messages::RegisterBrokerRecord,
}

impl BrokerImage {
    /// True while it may not lead.
    pub fn is_fenced(&self) -> bool {
        self.registration.fenced
    }
}

/// Whom a client quota is for: (entity type, name; `None` is the default of that type), by type.
pub type QuotaEntity = Vec<(String, Option<String>)>;

/// The whole state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Topics by id.
    pub topics: BTreeMap<Uuid, TopicImage>,
    /// Topic ids by name.
    pub topic_ids: BTreeMap<Arc<str>, Uuid>,
    /// Overrides by (resource type, resource name), then key.
    pub configs: BTreeMap<(i8, String), BTreeMap<String, String>>,
    /// Brokers by id.
    pub brokers: BTreeMap<i32, BrokerImage>,
    /// Finalized feature levels by name.
    pub features: BTreeMap<String, i16>,
    /// The first producer id not handed out yet.
    pub next_producer_id: i64,
    /// Registered controllers by id.
    pub controllers: BTreeMap<i32, messages::RegisterControllerRecord>,
    /// Client quotas: values by key.
    pub quotas: BTreeMap<QuotaEntity, BTreeMap<String, f64>>,
    /// Access control entries by id.
    pub acls: BTreeMap<Uuid, messages::AccessControlEntryRecord>,
    /// SCRAM credentials by mechanism and user.
    pub scram: BTreeMap<(i8, String), messages::UserScramCredentialRecord>,
    /// Delegation tokens by id.
    pub tokens: BTreeMap<String, messages::DelegationTokenRecord>,
}

/// Resource types of configuration records.
pub mod resource {
    /// A topic.
    pub const TOPIC: i8 = 2;
    /// A broker; the empty name is the default of all.
    pub const BROKER: i8 = 4;
    /// The loggers of a broker; never in a record.
    pub const BROKER_LOGGER: i8 = 8;
    /// A client metrics subscription (KIP-714).
    pub const CLIENT_METRICS: i8 = 16;
    /// A group.
    pub const GROUP: i8 = 32;
}

/// A record that contradicts what was replayed before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction(pub String);

impl std::fmt::Display for Contradiction {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the metadata log contradicts itself: {}", self.0)
    }
}

impl std::error::Error for Contradiction {}

impl Image {
    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&TopicImage> {
        self.topic_ids.get(name).and_then(|id| self.topics.get(id))
    }

    /// A topic's overrides.
    pub fn topic_overrides(&self, name: &str) -> BTreeMap<String, String> {
        self.configs.get(&(resource::TOPIC, name.to_owned())).cloned().unwrap_or_default()
    }

    /// The overrides of a resource that is not a topic, or of a topic: by key.
    pub fn overrides(&self, resource_type: i8, name: &str) -> Option<&BTreeMap<String, String>> {
        self.configs.get(&(resource_type, name.to_owned()))
    }

    /// The level of `metadata.version`; the oldest one where none was written yet.
    pub fn metadata_version(&self) -> i16 {
        self.features.get(METADATA_VERSION).copied().unwrap_or(METADATA_VERSION_MIN)
    }

    /// Applies one record.
    ///
    /// # Errors
    /// A record about something that is not there. Nothing was changed then, and the node must
    /// stop: its metadata can't be trusted.
    pub fn replay(&mut self, record: &Record) -> Result<(), Contradiction> {
        match record {
            Record::Topic(topic) => {
                let name: Arc<str> = topic.name.as_str().into();
                self.topic_ids.insert(name.clone(), topic.topic_id);
                self.topics.insert(
                    topic.topic_id,
                    TopicImage { name, id: topic.topic_id, partitions: Vec::new() },
                );
            }
            Record::Partition(partition) => self.replay_partition(partition)?,
            Record::PartitionChange(change) => self.replay_partition_change(change)?,
            Record::RemoveTopic(removed) => {
                let topic = self
                    .topics
                    .remove(&removed.topic_id)
                    .ok_or_else(|| missing_topic(removed.topic_id))?;
                // A topic of the same name may have been created since.
                if self.topic_ids.get(&topic.name) == Some(&removed.topic_id) {
                    self.topic_ids.remove(&topic.name);
                }
                self.configs.remove(&(resource::TOPIC, topic.name.to_string()));
            }
            Record::Config(config) => {
                let resource = (config.resource_type, config.resource_name.clone());
                match &config.value {
                    Some(value) => {
                        let values = self.configs.entry(resource).or_default();
                        values.insert(config.name.clone(), value.clone());
                    }
                    None => {
                        if let Some(values) = self.configs.get_mut(&resource) {
                            values.remove(&config.name);
                            if values.is_empty() {
                                self.configs.remove(&resource);
                            }
                        }
                    }
                }
            }
            Record::RegisterBroker(registration) => {
                let broker = BrokerImage { registration: registration.clone() };
                self.brokers.insert(registration.broker_id, broker);
            }
            Record::UnregisterBroker(gone) => {
                self.broker(gone.broker_id)?;
                self.brokers.remove(&gone.broker_id);
            }
            Record::FenceBroker(fence) => self.broker(fence.id)?.registration.fenced = true,
            Record::UnfenceBroker(unfence) => {
                self.broker(unfence.id)?.registration.fenced = false;
            }
            Record::BrokerRegistrationChange(change) => {
                self.replay_registration_change(change)?;
            }
            Record::FeatureLevel(feature) => {
                if feature.feature_level == 0 {
                    self.features.remove(&feature.name);
                } else {
                    self.features.insert(feature.name.clone(), feature.feature_level);
                }
            }
            Record::ProducerIds(ids) => self.next_producer_id = ids.next_producer_id,
            Record::RegisterController(controller) => {
                self.controllers.insert(controller.controller_id, controller.clone());
            }
            Record::UnregisterController(gone) => {
                self.controllers.remove(&gone.controller_id);
            }
            Record::ClientQuota(quota) => self.replay_quota(quota),
            Record::AccessControlEntry(entry) => {
                self.acls.insert(entry.id, entry.clone());
            }
            Record::RemoveAccessControlEntry(gone) => {
                self.acls.remove(&gone.id).ok_or_else(|| missing("ACL", gone.id))?;
            }
            Record::UserScramCredential(credential) => {
                let key = (credential.mechanism, credential.name.clone());
                self.scram.insert(key, credential.clone());
            }
            Record::RemoveUserScramCredential(gone) => {
                self.scram.remove(&(gone.mechanism, gone.name.clone()));
            }
            Record::DelegationToken(token) => {
                self.tokens.insert(token.token_id.clone(), token.clone());
            }
            Record::RemoveDelegationToken(gone) => {
                self.tokens.remove(&gone.token_id);
            }
            Record::ClearElr(clear) => self.clear_elr(&clear.topic_name)?,
            // Nothing to remember: time passing, and borders of transactions, which `Loader`
            // keeps to; a migration from ZooKeeper is over before 4.0 opens a directory.
            Record::NoOp(_)
            | Record::ZkMigrationState(_)
            | Record::BeginTransaction(_)
            | Record::EndTransaction(_)
            | Record::AbortTransaction(_) => {}
        }
        Ok(())
    }

    /// Shares with another image what both say of the partition that a record was about: of
    /// thousands of partitions, two copies would be most of what they take.
    pub fn share(&mut self, other: &Self, record: &Record) {
        let (id, index) = match record {
            Record::Partition(record) => (record.topic_id, record.partition_id),
            Record::PartitionChange(record) => (record.topic_id, record.partition_id),
            _ => return,
        };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let theirs = other.topics.get(&id).and_then(|topic| topic.partitions.get(index));
        let ours = self.topics.get_mut(&id).and_then(|topic| topic.partitions.get_mut(index));
        if let (Some(ours), Some(theirs)) = (ours, theirs)
            && ours == theirs
        {
            ours.clone_from(theirs);
        }
    }

    fn replay_registration_change(
        &mut self,
        change: &messages::BrokerRegistrationChangeRecord,
    ) -> Result<(), Contradiction> {
        let registration = &mut self.broker(change.broker_id)?.registration;
        if change.fenced != 0 {
            registration.fenced = change.fenced > 0;
        }
        if change.in_controlled_shutdown != 0 {
            registration.in_controlled_shutdown = change.in_controlled_shutdown > 0;
        }
        if !change.log_dirs.is_empty() {
            registration.log_dirs.clone_from(&change.log_dirs);
        }
        if change.cordoned_log_dirs.is_some() {
            registration.cordoned_log_dirs.clone_from(&change.cordoned_log_dirs);
        }
        Ok(())
    }

    fn replay_quota(&mut self, quota: &messages::ClientQuotaRecord) {
        let mut entity: QuotaEntity = quota
            .entity
            .iter()
            .map(|part| (part.entity_type.clone(), part.entity_name.clone()))
            .collect();
        entity.sort();
        if !quota.remove {
            self.quotas.entry(entity).or_default().insert(quota.key.clone(), quota.value);
        } else if let Some(values) = self.quotas.get_mut(&entity) {
            values.remove(&quota.key);
            if values.is_empty() {
                self.quotas.remove(&entity);
            }
        }
    }

    /// Forgets the eligible leader replicas of a topic, or of all if the name is empty.
    fn clear_elr(&mut self, name: &str) -> Result<(), Contradiction> {
        let only =
            match name {
                "" => None,
                name => Some(*self.topic_ids.get(name).ok_or_else(|| {
                    Contradiction(format!("no topic {name} to clear the ELR of"))
                })?),
            };
        let topics = self.topics.values_mut().filter(|topic| only.is_none_or(|id| topic.id == id));
        for partition in topics.flat_map(|topic| &mut topic.partitions) {
            let rare = partition.rare();
            if !rare.elr.is_empty() || !rare.last_known_elr.is_empty() {
                let partition = Arc::make_mut(partition);
                partition.change_rare(|rare| {
                    rare.elr.clear();
                    rare.last_known_elr.clear();
                });
                partition.partition_epoch += 1;
            }
        }
        Ok(())
    }

    fn broker(&mut self, id: i32) -> Result<&mut BrokerImage, Contradiction> {
        self.brokers.get_mut(&id).ok_or_else(|| Contradiction(format!("no broker {id}")))
    }

    fn replay_partition(
        &mut self,
        record: &messages::PartitionRecord,
    ) -> Result<(), Contradiction> {
        let topic =
            self.topics.get_mut(&record.topic_id).ok_or_else(|| missing_topic(record.topic_id))?;
        let mut image = PartitionImage {
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            directories: record.directories.clone(),
            recovery_state: record.leader_recovery_state,
            rare: None,
        };
        image.change_rare(|rare| {
            rare.elr = record.eligible_leader_replicas.clone().unwrap_or_default();
            rare.last_known_elr = record.last_known_elr.clone().unwrap_or_default();
            rare.removing.clone_from(&record.removing_replicas);
            rare.adding.clone_from(&record.adding_replicas);
        });
        let index = record.partition_id as usize;
        if index == topic.partitions.len() {
            topic.partitions.push(Arc::new(image));
        } else if let Some(place) = topic.partitions.get_mut(index) {
            *place = Arc::new(image);
        } else {
            return Err(Contradiction(format!(
                "partition {} of topic {} comes before partition {}",
                record.partition_id,
                topic.name,
                topic.partitions.len()
            )));
        }
        Ok(())
    }

    fn replay_partition_change(
        &mut self,
        change: &messages::PartitionChangeRecord,
    ) -> Result<(), Contradiction> {
        let topic =
            self.topics.get_mut(&change.topic_id).ok_or_else(|| missing_topic(change.topic_id))?;
        let partition = topic
            .partitions
            .get_mut(change.partition_id as usize)
            .ok_or_else(|| Contradiction(format!("no partition {}", change.partition_id)))?;
        let partition = Arc::make_mut(partition);
        let set = |place: &mut Vec<i32>, value: &Option<Vec<i32>>| {
            if let Some(value) = value {
                place.clone_from(value);
            }
        };
        set(&mut partition.isr, &change.isr);
        set(&mut partition.replicas, &change.replicas);
        partition.change_rare(|rare| {
            set(&mut rare.removing, &change.removing_replicas);
            set(&mut rare.adding, &change.adding_replicas);
            set(&mut rare.elr, &change.eligible_leader_replicas);
            set(&mut rare.last_known_elr, &change.last_known_elr);
        });
        if let Some(directories) = &change.directories {
            partition.directories.clone_from(directories);
        }
        if change.leader_recovery_state >= 0 {
            partition.recovery_state = change.leader_recovery_state;
        }
        if change.leader != LEADER_UNCHANGED {
            partition.leader = change.leader;
            // Also when it names the same leader: that is how a new epoch is forced.
            partition.leader_epoch += 1;
        }
        partition.partition_epoch += 1;
        Ok(())
    }
}

fn missing_topic(id: Uuid) -> Contradiction {
    missing("topic", id)
}

fn missing(what: &str, id: Uuid) -> Contradiction {
    Contradiction(format!("no {what} with id {id}"))
}

/// The feature that says which records may be written.
pub const METADATA_VERSION: &str = "metadata.version";
/// 3.3-IV3, the oldest that 4.x reads.
pub const METADATA_VERSION_MIN: i16 = 7;
/// 4.4-IV2, the newest whose records are known here.
pub const METADATA_VERSION_MAX: i16 = 33;
/// `PartitionChangeRecord.leader` where the leader stays.
pub const LEADER_UNCHANGED: i32 = -2;

#[cfg(test)]
mod tests {
    use super::*;
    use messages::{PartitionChangeRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};

    fn topic(name: &str, id: u128) -> Record {
        Record::Topic(TopicRecord { name: name.into(), topic_id: Uuid(id), ..Default::default() })
    }

    #[test]
    fn a_recreated_topic_outlives_the_removal_of_its_predecessor() {
        let mut image = Image::default();
        image.replay(&topic("t", 200)).unwrap();
        image.replay(&topic("t", 201)).unwrap();
        let gone = RemoveTopicRecord { topic_id: Uuid(200), ..Default::default() };
        image.replay(&Record::RemoveTopic(gone)).unwrap();
        assert_eq!(image.topic("t").unwrap().id, Uuid(201));
    }

    #[test]
    fn partition_changes_raise_epochs_and_need_their_topic() {
        let mut image = Image::default();
        image.replay(&topic("t", 200)).unwrap();
        let partition = PartitionRecord {
            partition_id: 0,
            topic_id: Uuid(200),
            leader: 1,
            leader_epoch: 0,
            partition_epoch: 0,
            ..Default::default()
        };
        image.replay(&Record::Partition(partition)).unwrap();
        let mut change = PartitionChangeRecord {
            partition_id: 0,
            topic_id: Uuid(200),
            leader: LEADER_UNCHANGED,
            ..Default::default()
        };
        image.replay(&Record::PartitionChange(change.clone())).unwrap();
        change.leader = 1;
        image.replay(&Record::PartitionChange(change.clone())).unwrap();
        let found = &image.topic("t").unwrap().partitions[0];
        assert_eq!((found.leader_epoch, found.partition_epoch), (1, 2));
        // What is shared is changed in one of the two only.
        let mut other = image.clone();
        let change_record = Record::PartitionChange(change.clone());
        other.replay(&change_record).unwrap();
        assert_eq!(image.topic("t").unwrap().partitions[0].partition_epoch, 2);
        image.share(&other, &change_record);
        let of = |image: &Image| image.topic("t").unwrap().partitions[0].clone();
        assert!(!Arc::ptr_eq(&of(&image), &of(&other)), "they differ");
        image.replay(&change_record).unwrap();
        image.share(&other, &change_record);
        assert!(Arc::ptr_eq(&of(&image), &of(&other)));
        change.topic_id = Uuid(300);
        assert!(image.replay(&Record::PartitionChange(change)).is_err());
    }
}
