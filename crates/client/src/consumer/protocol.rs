//! What members of a group tell each other through the broker: the consumer protocol, in Apache
//! Kafka's bytes, and what its sticky assignors put into the user data.
//!
//! Invariants:
//! - I1: bytes of newer versions are read as far as this version knows them; bytes that make no
//!   sense are those of a member that owns nothing, never an error for the whole group.

use std::collections::BTreeMap;

use messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, Message};
use wire::{Bytes, Reader, Writer};

use crate::options::Assignor;
use crate::topic_partition::TopicPartition;

/// What a member says when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Topics it wants.
    pub topics: Vec<String>,
    /// Partitions it has.
    pub owned: Vec<TopicPartition>,
    /// The generation in which it got them; -1 if unknown.
    pub generation: i32,
    /// Its rack.
    pub rack: Option<String>,
    /// Its name, if it is static: the broker tells, it is not part of the bytes.
    pub instance_id: Option<String>,
}

/// The metadata for JoinGroup under one assignor.
pub fn encode_subscription(subscription: &Subscription, assignor: Assignor) -> Bytes {
    let cooperative = assignor.is_cooperative();
    let owned = by_topic(&subscription.owned);
    let generation = subscription.generation;
    let user_data = match assignor {
        // Nothing to remember, as in Apache Kafka: no user data.
        Assignor::Sticky if subscription.owned.is_empty() && generation < 0 => None,
        Assignor::Sticky => Some(sticky_data(&owned, generation)),
        Assignor::CooperativeSticky => Some(Bytes::copy_from_slice(&generation.to_be_bytes())),
        Assignor::Range | Assignor::RoundRobin => None,
    };
    let owned = owned
        .into_iter()
        .filter(|_| cooperative)
        .map(|(topic, partitions)| OwnedTopic { topic, partitions });
    let mut topics = subscription.topics.clone();
    topics.sort();
    let message = ConsumerProtocolSubscription {
        topics,
        user_data,
        owned_partitions: owned.collect(),
        generation_id: generation,
        rack_id: subscription.rack.clone(),
    };
    with_version(&message)
}

/// Partitions and generation, as Apache Kafka's sticky assignor writes them.
fn sticky_data(owned: &BTreeMap<String, Vec<i32>>, generation: i32) -> Bytes {
    let mut writer = Writer::new();
    writer.i32(owned.len() as i32);
    for (topic, partitions) in owned {
        // A topic's name is far shorter than what a length can say.
        let _ = writer.string(false, topic, "topic");
        writer.i32(partitions.len() as i32);
        for partition in partitions {
            writer.i32(*partition);
        }
    }
    writer.i32(generation);
    writer.finish().to_bytes()
}

/// Reads what a member said under one assignor.
pub fn decode_subscription(bytes: &Bytes, assignor: Assignor) -> Subscription {
    let Some(message) = decode::<ConsumerProtocolSubscription>(bytes) else {
        return Subscription { generation: -1, ..Subscription::default() };
    };
    let owned = message.owned_partitions.into_iter().flat_map(|topic| {
        let name = topic.topic;
        topic.partitions.into_iter().map(move |index| TopicPartition::new(name.clone(), index))
    });
    let mut subscription = Subscription {
        topics: message.topics,
        owned: owned.collect(),
        generation: message.generation_id,
        rack: message.rack_id,
        instance_id: None,
    };
    match (assignor, message.user_data) {
        (Assignor::Sticky, Some(data)) => {
            // Only the user data counts for this assignor.
            let (owned, generation) = decode_sticky(data).unwrap_or((Vec::new(), -1));
            subscription.owned = owned;
            subscription.generation = generation;
        }
        (Assignor::CooperativeSticky, Some(data)) if subscription.generation < 0 => {
            // Members of before KIP-792 say it here.
            let generation = data.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes));
            subscription.generation = generation.unwrap_or(-1);
        }
        _ => {}
    }
    subscription
}

fn decode_sticky(data: Bytes) -> Option<(Vec<TopicPartition>, i32)> {
    let mut reader = Reader::new(data);
    let mut owned = Vec::new();
    for _ in 0..reader.i32().ok()? {
        let topic = reader.string(false).ok()?;
        for _ in 0..reader.i32().ok()? {
            owned.push(TopicPartition::new(topic.clone(), reader.i32().ok()?));
        }
    }
    // The first version of the data ends here.
    Some((owned, reader.i32().unwrap_or(-1)))
}

/// The assignment for SyncGroup.
pub fn encode_assignment(partitions: &[TopicPartition]) -> Bytes {
    let assigned = by_topic(partitions)
        .into_iter()
        .map(|(topic, partitions)| AssignedTopic { topic, partitions });
    let message = ConsumerProtocolAssignment {
        assigned_partitions: assigned.collect(),
        ..Default::default()
    };
    with_version(&message)
}

/// Partitions of an assignment; `None` for bytes that are none.
pub fn decode_assignment(bytes: &Bytes) -> Option<Vec<TopicPartition>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let message = decode::<ConsumerProtocolAssignment>(bytes)?;
    let named = message.assigned_partitions.into_iter().flat_map(|topic| {
        let name = topic.topic;
        topic.partitions.into_iter().map(move |index| TopicPartition::new(name.clone(), index))
    });
    Some(named.collect())
}

/// A version, then the fields it has.
fn with_version<M: Message>(message: &M) -> Bytes {
    let version = M::VERSIONS.1;
    let mut writer = Writer::new();
    writer.i16(version);
    // The last version carries every field, and names are shorter than their length can say.
    let _ = message.encode(&mut writer, version);
    writer.finish().to_bytes()
}

/// Invariant I1: what follows the fields is of newer versions.
fn decode<M: Message>(bytes: &Bytes) -> Option<M> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16().ok().filter(|version| *version >= M::VERSIONS.0)?;
    M::decode(&mut reader, version.min(M::VERSIONS.1)).ok()
}

/// Partition numbers by topic, both in rising order.
fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<String, Vec<i32>> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic.clone()).or_default().push(partition.partition);
    }
    topics.values_mut().for_each(|partitions| partitions.sort_unstable());
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription() -> Subscription {
        Subscription {
            topics: vec!["t".into()],
            owned: vec![TopicPartition::new("t", 1), TopicPartition::new("t", 0)],
            generation: 3,
            rack: None,
            instance_id: None,
        }
    }

    #[test]
    fn subscriptions_have_the_bytes_of_the_java_client() {
        let bytes = encode_subscription(&subscription(), Assignor::Range);
        let expected = [
            &[0, 3][..],               // version
            &[0, 0, 0, 1, 0, 1, b't'], // topics
            &[0xff; 4],                // no user data
            &[0, 0, 0, 0],             // owned: none under an eager assignor
            &[0, 0, 0, 3],             // generation
            &[0xff, 0xff],             // no rack
        ]
        .concat();
        assert_eq!(bytes[..], expected);
        let bytes = encode_subscription(&subscription(), Assignor::CooperativeSticky);
        let owned = [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1];
        let expected = [
            &[0, 3, 0, 0, 0, 1, 0, 1, b't'][..],
            &[0, 0, 0, 4, 0, 0, 0, 3], // user data: the generation
            &owned,
            &[0, 0, 0, 3, 0xff, 0xff],
        ]
        .concat();
        assert_eq!(bytes[..], expected);
        let bytes = encode_subscription(&subscription(), Assignor::Sticky);
        let data = [&owned[..], &[0, 0, 0, 3]].concat();
        assert_eq!(bytes[9..13], (data.len() as i32).to_be_bytes());
        assert_eq!(bytes[13..13 + data.len()], data);
    }

    #[test]
    fn subscriptions_and_assignments_round_trip() {
        let mut sorted = subscription();
        sorted.owned.sort();
        for assignor in [Assignor::Sticky, Assignor::CooperativeSticky] {
            let bytes = encode_subscription(&subscription(), assignor);
            assert_eq!(decode_subscription(&bytes, assignor), sorted);
            for cut in 0..bytes.len() {
                decode_subscription(&bytes.slice(..cut), assignor);
            }
        }
        let bytes = encode_assignment(&sorted.owned);
        assert_eq!(decode_assignment(&bytes), Some(sorted.owned));
        assert_eq!(decode_assignment(&Bytes::new()), Some(Vec::new()));
        assert_eq!(decode_assignment(&Bytes::from_static(&[0])), None);
        // A version of the future, with more fields behind.
        let future = Bytes::from([&[0, 9][..], &bytes[2..], &[1, 2, 3]].concat());
        assert_eq!(decode_assignment(&future), decode_assignment(&bytes));
    }
}
