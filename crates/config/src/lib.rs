//! Configuration keys as data: each is one row with its type, default and range.
//!
//! Owns: the tables of keys of a broker ([`broker`]), a topic ([`topic`]), a group ([`group`]) and
//! a client metrics subscription ([`client_metrics`]), those of a client ([`client`]), the layers a
//! value comes from ([`layers`]), the operator's file ([`mod@file`]), what formatting takes of it
//! ([`storage`]), and the typed values behind them; which known word a wrong one was meant to be
//! ([`nearest`]). Names and defaults are Apache Kafka's; where a default of ours differs the row
//! says so.

pub mod broker;
pub mod client;
pub mod client_metrics;
pub mod file;
pub mod group;
pub mod layers;
pub mod storage;
pub mod topic;
pub mod value;

pub use layers::{Entry, Layers, Source};
pub use topic::TopicConfig;
pub use value::{Invalid, Kind, WireType};

/// The known word that looks most like one that is not, if any looks like it at all: of keys here,
/// of flags in the tools.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, nearest) = known.map(|known| (distance(word, known), known)).min()?;
    (distance <= 1 + word.len() / 6).then_some(nearest)
}

/// How many letters have to be put in, taken out or changed.
fn distance(left: &str, right: &str) -> usize {
    let mut costs: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.bytes().enumerate() {
        let mut diagonal = row;
        let mut before = row + 1;
        for (cost, to) in costs.iter_mut().skip(1).zip(right.bytes()) {
            let change = diagonal + usize::from(from != to);
            diagonal = *cost;
            before = change.min(before + 1).min(*cost + 1);
            *cost = before;
        }
        if let Some(first) = costs.first_mut() {
            *first = row + 1;
        }
    }
    costs.last().copied().unwrap_or_default()
}
