//! Who gets which partitions: range, round robin, sticky and cooperative sticky.
//!
//! Members and topics are taken in order, so that the outcome follows from the input alone.
//!
//! Invariants, for every assignor:
//! - I1: every partition of a topic that some member wants is given to exactly one member that
//!   wants it (cooperative sticky: or to nobody, while its owner still has to give it up).
//! - I2: sticky ones: no partition could move to a member with at least two fewer, and a partition
//!   whose owner keeps enough stays where it is.

use std::collections::{BTreeMap, BTreeSet};

use super::protocol::Subscription;
use crate::options::Assignor;
use crate::topic_partition::TopicPartition;

/// Partitions of each member, by member id; members without any have an empty list.
pub type Assignment = BTreeMap<String, Vec<TopicPartition>>;

/// Assigns the partitions of all topics; `counts` says how many each topic has.
pub fn assign(
    assignor: Assignor,
    members: &BTreeMap<String, Subscription>,
    counts: &BTreeMap<String, i32>,
) -> Assignment {
    match assignor {
        Assignor::Range => range(members, counts),
        Assignor::RoundRobin => round_robin(members, counts),
        Assignor::Sticky => sticky(members, counts),
        Assignor::CooperativeSticky => {
            let mut assignment = sticky(members, counts);
            withhold(members, &mut assignment);
            assignment
        }
    }
}

/// Static members by their names come before dynamic ones by their ids, as in Apache Kafka.
fn in_order(members: &BTreeMap<String, Subscription>) -> Vec<(&String, &Subscription)> {
    let mut ordered: Vec<_> = members.iter().collect();
    ordered.sort_by_key(|(id, subscription)| {
        let name = subscription.instance_id.as_ref();
        (name.is_none(), name, *id)
    });
    ordered
}

fn wants(subscription: &Subscription, topic: &str) -> bool {
    subscription.topics.iter().any(|wanted| wanted == topic)
}

fn nobody(members: &BTreeMap<String, Subscription>) -> Assignment {
    members.keys().map(|id| (id.clone(), Vec::new())).collect()
}

fn range(members: &BTreeMap<String, Subscription>, counts: &BTreeMap<String, i32>) -> Assignment {
    let mut assignment = nobody(members);
    let ordered = in_order(members);
    for (topic, count) in counts {
        let wanting: Vec<_> = ordered.iter().filter(|(_, member)| wants(member, topic)).collect();
        let many = wanting.len().max(1) as i32;
        let (each, more) = (count / many, count % many);
        let mut next = 0;
        for (index, (id, _)) in (0..).zip(wanting) {
            let end = next + each + i32::from(index < more);
            if let Some(given) = assignment.get_mut(*id) {
                given.extend((next..end).map(|one| TopicPartition::new(topic.clone(), one)));
            }
            next = end;
        }
    }
    assignment
}

fn round_robin(
    members: &BTreeMap<String, Subscription>,
    counts: &BTreeMap<String, i32>,
) -> Assignment {
    let mut assignment = nobody(members);
    let ordered = in_order(members);
    let mut turn = 0;
    for (topic, count) in counts {
        if !ordered.iter().any(|(_, member)| wants(member, topic)) {
            continue;
        }
        for partition in 0..*count {
            // Whose turn it is gets it, unless the topic is of no use to that member.
            let mut around = (0..ordered.len()).map(|step| (turn + step) % ordered.len());
            let next = around.find(|at| ordered.get(*at).is_some_and(|(_, m)| wants(m, topic)));
            let Some((at, (id, _))) = next.and_then(|at| Some((at, ordered.get(at)?))) else {
                continue;
            };
            if let Some(given) = assignment.get_mut(*id) {
                given.push(TopicPartition::new(topic.clone(), partition));
            }
            turn = (at + 1) % ordered.len();
        }
    }
    assignment
}

/// Who owns what, as far as it can be believed: of two that claim a partition, the one of the
/// later generation; of two of the same generation, neither.
fn owners(
    members: &BTreeMap<String, Subscription>,
    counts: &BTreeMap<String, i32>,
) -> BTreeMap<TopicPartition, String> {
    let mut claims: BTreeMap<&TopicPartition, Vec<(i32, &String)>> = BTreeMap::new();
    for (id, member) in members {
        for partition in &member.owned {
            let exists = counts
                .get(&partition.topic)
                .is_some_and(|count| (0..*count).contains(&partition.partition));
            if exists && wants(member, &partition.topic) {
                claims.entry(partition).or_default().push((member.generation, id));
            }
        }
    }
    let mut owners = BTreeMap::new();
    for (partition, mut claims) in claims {
        claims.sort();
        claims.dedup();
        match claims.as_slice() {
            [.., (before, _), (last, _)] if before == last => {}
            [.., (_, id)] => drop(owners.insert(partition.clone(), (*id).clone())),
            [] => {}
        }
    }
    owners
}

fn sticky(members: &BTreeMap<String, Subscription>, counts: &BTreeMap<String, i32>) -> Assignment {
    let mut held: BTreeMap<&String, BTreeSet<TopicPartition>> =
        members.keys().map(|id| (id, BTreeSet::new())).collect();
    let mut free = BTreeSet::new();
    let owners = owners(members, counts);
    for (topic, count) in counts {
        for partition in (0..*count).map(|index| TopicPartition::new(topic.clone(), index)) {
            match owners.get(&partition).and_then(|id| held.get_mut(id)) {
                Some(held) => drop(held.insert(partition)),
                None => drop(free.insert(partition)),
            }
        }
    }
    // Those that fewest members want come first: the others can make up for them.
    let wanted_by = |partition: &TopicPartition| {
        members.values().filter(|member| wants(member, &partition.topic)).count()
    };
    let mut free: Vec<_> = free.into_iter().collect();
    free.sort_by_cached_key(|partition| (wanted_by(partition), partition.clone()));
    for partition in free {
        let poorest = held
            .iter()
            .filter(|(id, _)| members.get(**id).is_some_and(|m| wants(m, &partition.topic)))
            .min_by_key(|(id, held)| (held.len(), **id))
            .map(|(id, _)| *id);
        if let Some(held) = poorest.and_then(|id| held.get_mut(id)) {
            held.insert(partition);
        }
    }
    while let Some((partition, from, to)) = improvement(members, &held) {
        if let Some(held) = held.get_mut(&from) {
            held.remove(&partition);
        }
        if let Some(held) = held.get_mut(&to) {
            held.insert(partition);
        }
    }
    held.into_iter().map(|(id, held)| (id.clone(), held.into_iter().collect())).collect()
}

/// A partition whose move makes the shares more even (I2); each move lowers the sum of the squares
/// of the shares, so there is a last one.
fn improvement(
    members: &BTreeMap<String, Subscription>,
    held: &BTreeMap<&String, BTreeSet<TopicPartition>>,
) -> Option<(TopicPartition, String, String)> {
    let mut richest: Vec<_> = held.iter().collect();
    richest.sort_by_key(|(id, held)| (std::cmp::Reverse(held.len()), **id));
    let mut poorest: Vec<_> = held.iter().collect();
    poorest.sort_by_key(|(id, held)| (held.len(), **id));
    let least = poorest.first()?.1.len();
    for (from, given) in richest {
        if given.len() < least + 2 {
            return None;
        }
        for (to, other) in poorest.iter().take_while(|(_, other)| other.len() + 2 <= given.len()) {
            debug_assert!(other.len() < given.len());
            // The last ones go first, as those of a range do.
            let wanted = |one: &&TopicPartition| {
                members.get(**to).is_some_and(|member| wants(member, &one.topic))
            };
            if let Some(partition) = given.iter().rev().find(wanted) {
                return Some((partition.clone(), (*from).clone(), (**to).clone()));
            }
        }
    }
    None
}

/// A partition that somebody else has now is given away in the next round only (KIP-429).
fn withhold(members: &BTreeMap<String, Subscription>, assignment: &mut Assignment) {
    for (id, given) in assignment {
        given.retain(|partition| {
            members.iter().all(|(other, member)| other == id || !member.owned.contains(partition))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Assignor; 4] =
        [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky];

    fn member(topics: &[&str]) -> Subscription {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Subscription { topics, generation: -1, ..Default::default() }
    }

    fn shown(assignment: &Assignment) -> Vec<String> {
        let line = |(id, given): (&String, &Vec<TopicPartition>)| {
            let given: Vec<String> = given.iter().map(TopicPartition::to_string).collect();
            format!("{id}: {}", given.join(" "))
        };
        assignment.iter().map(line).collect()
    }

    fn counts(topics: &[(&str, i32)]) -> BTreeMap<String, i32> {
        topics.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
    }

    fn two() -> BTreeMap<String, Subscription> {
        BTreeMap::from([("a".into(), member(&["t", "u"])), ("b".into(), member(&["t", "u"]))])
    }

    #[test]
    fn range_and_round_robin_are_apache_kafkas() {
        let counts = counts(&[("t", 3), ("u", 3)]);
        let given = assign(Assignor::Range, &two(), &counts);
        assert_eq!(shown(&given), ["a: t-0 t-1 u-0 u-1", "b: t-2 u-2"]);
        let given = assign(Assignor::RoundRobin, &two(), &counts);
        assert_eq!(shown(&given), ["a: t-0 t-2 u-1", "b: t-1 u-0 u-2"]);
        let mut named = two();
        named.get_mut("b").unwrap().instance_id = Some("z".into());
        let given = assign(Assignor::Range, &named, &counts);
        assert_eq!(shown(&given), ["a: t-2 u-2", "b: t-0 t-1 u-0 u-1"]);
        let some =
            BTreeMap::from([("a".into(), member(&["t"])), ("b".into(), member(&["t", "u"]))]);
        let given = assign(Assignor::RoundRobin, &some, &counts);
        assert_eq!(shown(&given), ["a: t-0 t-2", "b: t-1 u-0 u-1 u-2"]);
    }

    #[test]
    fn sticky_moves_no_more_than_balance_asks_for() {
        let counts = counts(&[("t", 7)]);
        let mut members = BTreeMap::from([("a".to_owned(), member(&["t"]))]);
        let mut before = assign(Assignor::Sticky, &members, &counts);
        for (round, id) in (1..).zip(["b", "c"]) {
            for (id, member) in &mut members {
                member.owned = before[id].clone();
                member.generation = round;
            }
            members.insert(id.to_owned(), member(&["t"]));
            let after = assign(Assignor::Sticky, &members, &counts);
            let moved: usize = before
                .iter()
                .map(|(id, held)| held.iter().filter(|one| !after[id].contains(one)).count())
                .sum();
            assert_eq!(moved, after[id].len(), "only what the new one gets");
            let shares: Vec<usize> = after.values().map(Vec::len).collect();
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
            before = after;
        }
    }

    #[test]
    fn cooperative_sticky_gives_away_only_what_was_given_up() {
        let counts = counts(&[("t", 4)]);
        let mut members =
            BTreeMap::from([("a".to_owned(), member(&["t"])), ("b".to_owned(), member(&["t"]))]);
        let all = (0..4).map(|index| TopicPartition::new("t", index)).collect();
        members.get_mut("a").unwrap().owned = all;
        let first = assign(Assignor::CooperativeSticky, &members, &counts);
        assert_eq!(shown(&first), ["a: t-0 t-1", "b: "]);
        members.get_mut("a").unwrap().owned = first["a"].clone();
        let second = assign(Assignor::CooperativeSticky, &members, &counts);
        assert_eq!(shown(&second), ["a: t-0 t-1", "b: t-2 t-3"]);
    }

    #[test]
    fn stale_claims_lose_to_later_ones() {
        let counts = counts(&[("t", 2)]);
        let mut members = two();
        let both: Vec<_> = (0..2).map(|index| TopicPartition::new("t", index)).collect();
        members.get_mut("a").unwrap().owned = both.clone();
        members.get_mut("a").unwrap().generation = 4;
        members.get_mut("b").unwrap().owned = vec![both[0].clone()];
        members.get_mut("b").unwrap().generation = 5;
        let given = assign(Assignor::Sticky, &members, &counts);
        assert_eq!(shown(&given), ["a: t-1", "b: t-0"]);
    }

    /// I1 and I2 for whatever members want and claim.
    #[test]
    fn every_partition_goes_to_one_member_that_wants_it() {
        let mut random = 1u64;
        let mut next = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (random >> 33) % bound
        };
        for _ in 0..300 {
            let topics = ["t", "u", "v"];
            let counts: BTreeMap<_, _> =
                topics.iter().map(|topic| ((*topic).to_owned(), next(6) as i32)).collect();
            let mut members = BTreeMap::new();
            for index in 0..1 + next(5) {
                let wanted: Vec<&str> = topics.into_iter().filter(|_| next(3) > 0).collect();
                let mut one = member(&wanted);
                one.generation = next(3) as i32;
                for _ in 0..next(6) {
                    let topic = topics[next(3) as usize];
                    one.owned.push(TopicPartition::new(topic, next(7) as i32));
                }
                members.insert(format!("m{index}"), one);
            }
            for assignor in ALL {
                let given = assign(assignor, &members, &counts);
                let mut seen = BTreeSet::new();
                for (id, partitions) in &given {
                    for partition in partitions {
                        assert!(wants(&members[id], &partition.topic), "{assignor:?}");
                        assert!(seen.insert(partition.clone()), "{assignor:?}: {partition} twice");
                    }
                }
                let wanted: usize = counts
                    .iter()
                    .filter(|(topic, _)| members.values().any(|member| wants(member, topic)))
                    .map(|(_, count)| *count as usize)
                    .sum();
                if assignor != Assignor::CooperativeSticky {
                    assert_eq!(seen.len(), wanted, "{assignor:?}");
                }
            }
        }
    }
}
